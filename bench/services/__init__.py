"""Simulated services on a virtual clock, and flatout against them: how many at once does it find?"""
