"""Decides the kind of worker, how many and how much at once, from measurements alone."""
