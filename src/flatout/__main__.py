"""The command `flatout`, which is `python -m flatout`, too."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # `signal` itself would take 3 ms, in which Ctrl-C would strike


def main() -> None:
    """The console script."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        # Until the command begins, Ctrl-C ends it like any program, without a traceback of what is being imported.
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    from flatout._cli import main

    main()


if __name__ == "__main__":
    main()
