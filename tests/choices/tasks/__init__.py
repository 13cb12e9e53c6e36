"""The functions of the cases, at module level, as a stranger's would stand in a module of his."""
