"""The chess exhibition: one master, many tables, and where the twelve hours went.

Told three ways: by the law, on a virtual clock (with the very coroutines that are then played live), and live through
`flatout.map`. `lines` tells all of it, for the command `flatout chess`.
"""

from flatout._chess._drawing import draw_into, drawings
from flatout._chess._exhibition import (
    Ends,
    Exhibition,
    Hall,
    Span,
    ends,
    ends_table_to_table,
    play_game_after_game,
    play_table_to_table,
)
from flatout._chess._live import Live, play_live
from flatout._chess._picture import bars, picture
from flatout._chess._story import lines

__all__ = [
    "Ends",
    "Exhibition",
    "Hall",
    "Live",
    "Span",
    "bars",
    "draw_into",
    "drawings",
    "ends",
    "ends_table_to_table",
    "lines",
    "picture",
    "play_game_after_game",
    "play_live",
    "play_table_to_table",
]
