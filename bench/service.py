"""What workloads need around them: the HTTP server and a scratch folder, told to the seats by environment variables."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from bench.chair import environment
from bench.model import Workload


@contextmanager
def scratch() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        os.environ["BENCH_SCRATCH"] = folder
        yield


class Service:
    """The server of a workload, or none. cpu(): CPU seconds that it has used so far."""

    def __init__(self, process: psutil.Process | None) -> None:
        self._process = process

    def cpu(self) -> float:
        if self._process is None:
            return 0.0
        times = self._process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def service_for(workload: Workload) -> Iterator[Service]:
    if not workload.service:
        yield Service(None)
        return
    server = subprocess.Popen(
        [sys.executable, "-m", "bench.server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    )
    with server:
        assert server.stdout
        os.environ["BENCH_PORT"] = server.stdout.readline().decode().strip()
        try:
            yield Service(psutil.Process(server.pid))
        finally:
            server.terminate()
