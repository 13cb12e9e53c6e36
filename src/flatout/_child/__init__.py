"""What runs inside a worker process, and the zygote that forks it. Imports next to nothing."""

zygote = 0  # pid of the zygote that works for this process, once it was started
inside = False  # whether this process is a worker
loading = 0  # of a worker: the thread that loads what is to be called, or inputs, for which it may import modules
cores = 0  # of a worker: its share of the cores, for what it may itself run
