"""How well the law predicts: `make bench-law`, `make bench-law-quick`, or `python -m bench.law --help`.

Each workload of the benchmark runs with no option in a `seat` of its own: the choice says what every kind of worker would
take for the tasks that are left. Then each kind runs just those, by hand. `play` gives the turns, `model` does the sums,
`report` and `picture` show them.
"""
