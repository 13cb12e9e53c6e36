"""What runs inside a worker process, and the zygote that forks it. Imports next to nothing."""

inside = False  # whether this process is a worker
