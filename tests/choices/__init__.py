"""The choice table: functions of all sorts, and the kind of worker that an expert would take for each.

    python -m choices [--only REGEX] [--times N] [--load]

`cases` has the table, `generated` functions made at random, whose right kind follows from the law; `chair` runs each in a
fresh process, `seat` is that process; `readings` records what the probe saw there, and replays it.
"""
