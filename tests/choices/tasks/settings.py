"""A module of settings, which others change."""

last = 0
