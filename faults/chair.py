"""Starts a seat, puts a limit to its time, and looks for what it leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from faults.model import Case, Complaint, Contender, Verdict
from faults.seat import Order
from faults.traces import MARK, PATIENCE, marked, shared_memory, wait_until

START = 10.0  # seconds for a seat to import everything, and for healthy runs; guessed for slow machines
ROOT = Path(__file__).parents[1]


def examine(case: Case, contenders: Sequence[Contender], limit: float | None = None) -> list[Verdict]:
    """The verdicts on contenders that play a case one after the other in one process.

    limit: seconds for each; else what the case says. Who comes behind one that hangs or breaks is not heard.
    """
    limit = START + (limit or case.within + (case.timeout or 0)) * len(contenders)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        seat = Seat(case, contenders, Path(folder))
        try:
            hung = seat.hangs(limit)
            verdicts = seat.verdicts()
            if len(verdicts) < len(contenders):
                verdicts.append(seat.broken(contenders[len(verdicts)], hung, limit))
            elif hung:
                verdicts[-1].complaints.insert(0, Complaint("hangs", "as the program ends"))
            else:
                verdicts[-1].complaints += seat.leftovers()
        finally:
            seat.clear()
    for verdict in verdicts:
        verdict.known = known_limit(case, verdict)
    return verdicts


def known_limit(case: Case, verdict: Verdict) -> str:
    from faults.contenders import contender_named

    kind = contender_named(verdict.contender).kind
    if not kind or not verdict.complaints:
        return ""
    return case.limits.get("process" if kind == "executor" else kind, "")


class Seat:
    """A running seat, with a working directory and a directory for temporary files of its own."""

    def __init__(self, case: Case, contenders: Sequence[Contender], folder: Path) -> None:
        self._mark = uuid.uuid4().hex
        self._case = case
        self._folder = folder
        self._verdicts = folder / "verdicts"
        self._log = folder / "log"
        for name in ("here", "temporary", "files"):
            (folder / name).mkdir()
        order = Order(case.name, [one.name for one in contenders], str(folder / "files"), str(self._verdicts))
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "faults.seat", json.dumps(asdict(order))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder / "here",
                env=self._environment(),
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        paths = [str(ROOT), *map(os.path.abspath, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))]
        own = {MARK: self._mark, "TMPDIR": str(self._folder / "temporary"), "PYTHONPATH": os.pathsep.join(paths)}
        return {**os.environ, **own}

    def hangs(self, limit: float) -> bool:
        try:
            self._process.wait(limit)
        except subprocess.TimeoutExpired:
            return True
        return False

    def verdicts(self) -> list[Verdict]:
        try:
            lines = self._verdicts.read_text().splitlines()
        except FileNotFoundError:
            return []
        found = [Verdict(**json.loads(line)) for line in lines]
        for verdict in found:
            verdict.complaints = [Complaint(**one) for one in verdict.complaints]  # type: ignore[arg-type]
        return found

    def broken(self, contender: Contender, hung: bool, limit: float) -> Verdict:
        detail = f"> {limit:g} s" if hung else f"the caller's process ended with {self._process.returncode}"
        complaint = Complaint("hangs" if hung else "breaks", f"{detail}: {self._last_words()}")
        return Verdict(self._case.name, contender.name, limit if hung else 0.0, [complaint])

    def _last_words(self) -> str:
        text = self._log.read_bytes()[-2000:].decode(errors="replace").strip()
        return (text.splitlines() or ["no word"])[-1][:300]

    def leftovers(self) -> list[Complaint]:
        complaints = []
        if not wait_until(lambda: not marked(self._mark)):
            complaints.append(Complaint(f"leaves {_many(len(marked(self._mark)), 'process')}", str(marked(self._mark))))
        if not wait_until(lambda: not shared_memory(self._process.pid)):
            complaints.append(Complaint("leaves shared memory", str(shared_memory(self._process.pid))))
        files = sorted(os.listdir(self._folder / "temporary") + os.listdir(self._folder / "here"))
        if files:
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
