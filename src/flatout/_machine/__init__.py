"""What the machine can give, at the start (`_machine`, `_cgroups`) and while worker processes are in use (`_resources`, `_memory`)."""
