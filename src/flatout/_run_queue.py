"""How long a thread has waited for a core, as Linux tells: on a busy machine that looks like waiting for something else."""

from __future__ import annotations

VISIBLE = 0.001  # seconds without a core from which it is worth asking, which takes 10 us (measured)


def queued() -> float:
    """Seconds that the calling thread has waited for a core so far; 0.0 where nobody tells."""
    try:
        with open("/proc/thread-self/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


class Queued:
    """What of the time that the thread which makes this seems to wait it waits for a core."""

    def __init__(self) -> None:
        self._before = queued()

    def since(self, waited: float) -> float:
        """Seconds since this was asked last, where the thread has waited visibly; called by that thread."""
        if waited < VISIBLE:
            return 0.0
        before, self._before = self._before, queued()
        return min(waited, self._before - before)
