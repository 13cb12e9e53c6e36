"""What tests of concurrent code need: a virtual clock on which sleeping costs no time and order is exact."""

from flatout._virtual import VirtualTimeError, virtual_run

__all__ = ["VirtualTimeError", "virtual_run"]
