"""Stations: calls submitted one by one, each station with one kind of worker. What stands behind an executor."""
