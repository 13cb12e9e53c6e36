"""`python -m flatout` is the command `flatout`."""

from flatout._cli import main

if __name__ == "__main__":
    main()
