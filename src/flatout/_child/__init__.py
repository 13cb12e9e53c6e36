"""What runs inside a worker process, and the zygote that forks it. Imports next to nothing."""

inside = False  # whether this process is a worker
cores = 0  # of a worker: its share of the cores, for what it may itself run
