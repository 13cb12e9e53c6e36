"""Threads as flatout wants them, which Python leaves to others: kept for the next run, spared Ctrl-C, with a loop, timed."""
