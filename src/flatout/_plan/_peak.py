"""How much memory the first calls take for a while, as far as the system tells: by how much they raise the highest ever."""

from __future__ import annotations

from flatout._machine._machine import process_memory


class Peak:
    """Bytes that this process has taken at its highest since this was made, beyond what it had then."""

    def __init__(self) -> None:
        self._began = process_memory()

    def bytes(self) -> int:
        """0 where it has had more before, or where the system does not tell, so that nothing can be said."""
        highest = process_memory().get("VmHWM", 0)
        return max(0, highest - self._began["VmRSS"]) if highest > self._began.get("VmHWM", highest) else 0
