"""flatout side by side with its peers: `make bench`, `make bench-quick`, or `python -m bench --help`.

Data flows one way: `workloads` (what is run) and `contenders` (who runs it) meet in a `seat`, a process of its own; the
`coordinator` gives each seat its turn, one at a time, while the `watch` looks for disturbances; `limits` says what the
machine would allow; `report` and `picture` say what came of it. `startup`, `latency` and `memory` measure what no map can.
"""
