"""How many tasks run at once, and how many start a second: numbers in, numbers out. No I/O, no clock.

`_adaptive` finds the number in flight, `_rate` the rate, `_overload` tells by an exception that it was too much, and the
`Governor` puts them together and keeps the reasons.
"""
