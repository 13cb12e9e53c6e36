"""Decides what happens next while a run is under way. Pure: no I/O, no thread, no clock."""
