"""What tests of concurrent code need: a virtual clock on which sleeping costs no time and order is exact.

And what tests of a new kind of worker need: the contract that every kind keeps, a stage to try a worker out on, and a
worker that does what a script says.

>>> @pytest.mark.parametrize("clause", WORKER_CONTRACT)        # doctest: +SKIP
... def test_my_worker_keeps_the_contract(clause):
...     clause(Filling("mine", MyWorker))
"""

from flatout._testing._contract import WORKER_CONTRACT, Clause
from flatout._testing._scripted import Death, Script, ScriptedWorker, silence
from flatout._testing._stage import Attempt, Filling, Stage
from flatout._virtual import VirtualTimeError, virtual_run

__all__ = [
    "WORKER_CONTRACT",
    "Attempt",
    "Clause",
    "Death",
    "Filling",
    "Script",
    "ScriptedWorker",
    "Stage",
    "VirtualTimeError",
    "silence",
    "virtual_run",
]
