"""The nouns: what goes wrong, who has to cope with it, what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from faults.tasks import SURVIVED
from flatout import Failure

Kind = Literal["process", "thread", "async", "inline", "auto", "executor", "mixture"]
Inside = Literal["", "thread", "async"]
Style = Literal["return", "skip", "raise"]

EVERYWHERE: tuple[Kind, ...] = ("process", "thread", "async", "inline", "auto")
ISOLATED: tuple[Kind, ...] = ("process", "auto")

COUNT = 10  # inputs of a case
WORKERS = 2  # processes, threads or calls at once, for every contender
WITHIN = 20.0  # seconds for one contender and one case; what flatout needs is a tenth of it, guessed for slow machines


@dataclass(frozen=True)
class Expected:
    """What an exception must be.

    ours: it is one of flatout's own, so that of others any exception will do, if it comes in the right place.
    """

    words: str
    check: Callable[[BaseException], bool]
    ours: bool = False


def survived(value: object) -> bool:
    return type(value) is str and value == SURVIVED


def nothing_wrong(folder: Path) -> str:
    return ""


@dataclass(frozen=True)
class Case:
    """Something that goes wrong in the calls for some inputs, and what must hold then.

    fault: what the task does for the inputs at fault; for all others it returns their square. error: what it must fail with,
    None if it must not fail. may_survive: it may as well return what `value` approves. kinds: the kinds of worker in which
    it can be survived; why: the reason why not in the others. inputs, count, at: the inputs (None: range(count)) and the
    indices of those at fault. timeout: seconds for a task. initializer: of the workers. ends, delivered: the run as a whole ends with
    this, after so many results. collateral: so many others may be lost with it. gone: what tasks have started must have ended when the run is over. left: the kinds in which something of the task stays
    behind in the caller's process, as is documented. meanwhile: runs in a thread beside it, with a folder as its argument. after: looks at that folder, and
    says what is wrong with it. peers: why others than flatout are not tried. unmixed: what
    runs tasks in the processes of those mixtures in which it cannot be done: a thread is not the main one, a loop runs. limits: what flatout does not meet, by kind,
    and why. within: seconds. quick: part of the quick run. memory: bytes that it takes. needs: says why it cannot be tried here.
    """

    name: str
    about: str
    fault: Callable[[], Any]
    error: Expected | None = None
    may_survive: bool = False
    value: Callable[[Any], bool] = survived
    kinds: tuple[Kind, ...] = EVERYWHERE
    why: str = ""
    count: int = COUNT
    at: tuple[int, ...] = (3,)
    inputs: Callable[[], Any] | None = None
    timeout: float | None = None
    initializer: Callable[[], None] | None = None
    ends: Expected | None = None
    delivered: int = 0
    collateral: int = 0
    gone: bool = False
    left: tuple[Kind, ...] = ()
    meanwhile: Callable[[Path], None] | None = None
    after: Callable[[Path], str] = nothing_wrong
    peers: str = ""
    unmixed: tuple[Inside, ...] = ()
    limits: dict[Kind, str] = field(default_factory=dict)
    within: float = WITHIN
    quick: bool = True
    memory: int = 0
    needs: Callable[[], str] = str

    @property
    def must_fail(self) -> bool:
        return self.error is not None and not self.may_survive

    @property
    def safe_here(self) -> bool:
        """Whether the caller's own process survives it."""
        return "inline" in self.kinds


@dataclass(frozen=True)
class Outcome:
    """What a contender gave for one input: a value or an error, and for flatout the `Failure` that the error came in."""

    value: Any = None
    error: BaseException | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Trial:
    """A case made ready: the function, the inputs, and what is told to whoever maps it.

    safe_here: the caller's own process survives it.
    """

    task: Callable[[Any], Any]
    inputs: Callable[[], Any]
    timeout: float | None = None
    initializer: Callable[[], None] | None = None
    safe_here: bool = True


@dataclass(frozen=True)
class Contender:
    """One way to run a case. `play` gives an outcome for each input, in order, and may raise.

    kind: of flatout's workers, None for peers. style: `on_error`. single: tasks are sent one by one. inside: what runs
    the tasks in each process of a mixture, where a task is tried twice. quick: part of the quick run. needs: the module that
    must be there.
    """

    name: str
    column: str
    play: Callable[[Trial], Iterator[Outcome]]
    kind: Kind | None = None
    style: Style = "return"
    single: bool = False
    inside: Inside = ""
    quick: bool = True
    needs: str = ""

    @property
    def awaits(self) -> bool:
        """Whether its tasks are coroutines."""
        return "async" in (self.kind, self.inside)

    @property
    def installed(self) -> bool:
        return not self.needs or find_spec(self.needs) is not None

    def suits(self, case: Case) -> bool:
        """Whether it makes sense to try it: peers have processes, and an exception raised needs one that must come."""
        if self.kind is None:
            return "process" in case.kinds and not case.peers
        if self.kind == "executor":
            return "process" in case.kinds and case.timeout is None and case.ends is None and case.inputs is None
        if self.kind == "mixture":
            return "process" in case.kinds and self.inside not in case.unmixed
        return self.kind in case.kinds and (self.style == "return" or (case.must_fail and not case.collateral))


@dataclass(frozen=True)
class Complaint:
    """Something that did not hold: a word for the table, and the details."""

    word: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.word}: {self.detail}" if self.detail else self.word


@dataclass
class Verdict:
    """What came of one case and one contender. No complaints: all held. known: a limit of flatout's that is documented."""

    case: str
    contender: str
    seconds: float = 0.0
    complaints: list[Complaint] = field(default_factory=list)
    known: str = ""

    @property
    def word(self) -> str:
        """For the table: the worst there is to say."""
        return self.complaints[0].word if self.complaints else "ok"

    @property
    def missed(self) -> bool:
        return bool(self.complaints) and not self.known
