"""Starts a seat, puts a limit to its time, and looks for what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from faults.model import Case, Complaint, Contender, Kind, Verdict
from faults.traces import MARK, PATIENCE, PAUSE, marked, shared_memory, wait_until

DEAR = 2 << 30  # bytes from which on cases are played one at a time
PEERS_LIMIT = 5.0  # seconds for a case, where nothing is promised
START = 5.0  # seconds for a seat to import everything, and for healthy runs; guessed for slow machines
Pair = tuple[Case, Contender]
ROOT = Path(__file__).parents[1]

_memory = threading.Lock()  # held by whoever needs much of it
stopping = threading.Event()  # nobody wants to know any more


def examine(pairs: Sequence[Pair]) -> list[Verdict]:
    """The verdicts on cases and their contenders, played one after the other in one process, each with a limit to its time.

    Who comes behind one that hangs or breaks gets a new process.
    """
    verdicts: list[Verdict] = []
    with _memory if any(case.memory > DEAR for case, _ in pairs) else contextlib.nullcontext():
        while len(verdicts) < len(pairs):
            verdicts += _seated(pairs[len(verdicts) :])
    for verdict, (case, contender) in zip(verdicts, pairs, strict=True):
        verdict.known = _known_limit(case, contender) if verdict.complaints else ""
    return verdicts


def _seated(pairs: Sequence[Pair]) -> list[Verdict]:
    """The verdicts on the first of them, and on those behind it until one hangs or breaks."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        seat = Seat(pairs, Path(folder))
        try:
            hangs = seat.hangs()
            verdicts = seat.verdicts()
            if len(verdicts) < len(pairs):
                verdicts.append(seat.broken(hangs))
            elif hangs:
                verdicts[-1].complaints.insert(0, Complaint("hangs", "as the program ends"))
            else:
                verdicts[-1].complaints += seat.leftovers()
        finally:
            seat.clear()
    return verdicts


def _known_limit(case: Case, contender: Contender) -> str:
    kinds: list[Kind | None] = [contender.kind, "process" if contender.kind == "executor" else None]
    return next((case.limits[kind] for kind in kinds if kind in case.limits), "")


class Seat:
    """A running seat, with a folder and a directory for temporary files of its own."""

    def __init__(self, pairs: Sequence[Pair], folder: Path) -> None:
        self._mark = uuid.uuid4().hex
        self._pairs = pairs
        self._folder = folder
        self._verdicts = folder / "verdicts"
        self._log = folder / "log"
        for name in ("temporary", "files"):
            (folder / name).mkdir()
        names = [(case.name, contender.name) for case, contender in pairs]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "faults.seat", json.dumps(names), str(folder / "files"), str(self._verdicts)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=self._environment(),
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        paths = [str(ROOT), *map(os.path.abspath, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))]
        own = {MARK: self._mark, "TMPDIR": str(self._folder / "temporary"), "PYTHONPATH": os.pathsep.join(paths)}
        return {**os.environ, **own}

    def hangs(self) -> bool:
        """Wait until it ends; whether it has not said a word for too long."""
        heard, since = 0, time.monotonic()
        while True:
            try:
                self._process.wait(PAUSE)
                return False
            except subprocess.TimeoutExpired:
                pass
            if (now := len(self._lines())) > heard:
                heard, since = now, time.monotonic()
            elif time.monotonic() - since > self._limit(heard) or stopping.is_set():
                return True

    def _limit(self, heard: int) -> float:
        """Seconds for what comes after so many verdicts."""
        case, contender = self._pairs[min(heard, len(self._pairs) - 1)]
        return START + (case.within if contender.kind else PEERS_LIMIT) + (case.timeout or 0.0)

    def _lines(self) -> list[str]:
        try:
            lines = self._verdicts.read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [line for line in lines if line.endswith("\n")]

    def verdicts(self) -> list[Verdict]:
        found = [Verdict(**json.loads(line)) for line in self._lines()]
        for verdict in found:
            verdict.complaints = [Complaint(**one) for one in verdict.complaints]  # type: ignore[arg-type]
        return found

    def broken(self, hangs: bool) -> Verdict:
        """The verdict on the first of whom nothing was heard."""
        count = len(self._lines())
        case, contender = self._pairs[count]
        limit = self._limit(count)
        detail = f"> {limit:g} s" if hangs else f"the caller's process ended with {self._process.returncode}"
        complaint = Complaint("hangs" if hangs else "breaks", f"{detail}: {self._last_words()}")
        return Verdict(case.name, contender.name, limit if hangs else 0.0, [complaint])

    def _last_words(self) -> str:
        text = self._log.read_bytes()[-2000:].decode(errors="replace").strip()
        return (text.splitlines() or ["no word"])[-1][:300]

    def leftovers(self) -> list[Complaint]:
        complaints = []
        if not wait_until(lambda: not marked(self._mark)):
            complaints.append(Complaint(f"leaves {_many(len(marked(self._mark)), 'process')}", str(marked(self._mark))))
        if not wait_until(lambda: not shared_memory(self._process.pid)):
            complaints.append(Complaint("leaves shared memory", str(shared_memory(self._process.pid))))
        if files := sorted(path.name for path in (self._folder / "temporary").iterdir()):
            complaints.append(Complaint("leaves files", ", ".join(files)))
        return complaints

    def clear(self) -> None:
        """End all that still runs."""

        def is_clear() -> bool:
            for pid in marked(self._mark):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            return not marked(self._mark)

        wait_until(is_clear, 2 * PATIENCE)
        self._process.kill()
        self._process.wait()
        for path in shared_memory(self._process.pid):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("es" if count != 1 else "")
