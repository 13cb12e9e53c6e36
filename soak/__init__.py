"""Runs of every kind, in several threads and loops at once, while their workers are killed: `make soak`.

`tasks` has what is run, and what must come of it; `runs` and `executors` ask for it in every way there is; the `killer` kills;
the `account` checks every outcome against the plain loop, and every failure against the killings; `leftovers` looks for what
has stayed behind.
"""
