"""What `flatout.testing` offers: the worker contract, the stage it is played on, and a scripted worker."""
