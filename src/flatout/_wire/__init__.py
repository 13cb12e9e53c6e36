"""How tasks and results cross a process border. No other module pickles."""
