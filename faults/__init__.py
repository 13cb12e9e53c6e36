"""What one task can do to the others, tried out on flatout and its peers: `make faults`, or `python -m faults --help`.

Data flows one way: `cases` (what goes wrong, and what must hold then) and `contenders` (who runs it) meet in a `seat`, a
process of its own; the `judge` says there what did not hold. The `chair` puts a limit to a seat's time and looks for what it
has left behind; `report` says what came of it.
"""
