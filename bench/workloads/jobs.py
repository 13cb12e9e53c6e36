"""Real work of every day."""

from __future__ import annotations

import ast
import collections
import functools
import gzip
import io
import json
import os
import random
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.model import Function, Workload
from bench.workloads.gil_free import repeated

WIDTH = 300  # columns of the Mandelbrot set
DEEPEST = 80  # iterations for one of its points


@functools.cache
def photos(number: int) -> list[bytes]:
    from PIL import Image

    def photo(seed: int) -> bytes:
        noise = Image.frombytes("RGB", (96, 72), random.Random(seed).randbytes(96 * 72 * 3))
        file = io.BytesIO()
        noise.resize((1600, 1200)).save(file, "JPEG")
        return file.getvalue()

    return [photo(seed) for seed in range(number)]


def thumbnail(photo: bytes) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    with Image.open(io.BytesIO(photo)) as image:
        image.convert("RGB").resize((200, 150)).save(file, "JPEG")
    return file.getvalue()


def thumbnails(count: int) -> tuple[Function, Sequence[Any]]:
    return thumbnail, repeated(photos(4), count)


@functools.cache
def texts(number: int, words: int) -> list[str]:
    chance = random.Random(7)
    vocabulary = ["".join(chance.choices(string.ascii_lowercase, k=chance.randint(2, 9))) for _ in range(5_000)]
    return [" ".join(chance.choices(vocabulary, k=words)) for _ in range(number)]


def count_words(text: str) -> list[tuple[str, int]]:
    return collections.Counter(re.findall(r"\w+", text)).most_common(10)


def word_counts(count: int) -> tuple[Function, Sequence[Any]]:
    return count_words, repeated(texts(8, 40_000), count)


def gzip_file(path: str) -> int:
    return len(gzip.compress(Path(path).read_bytes(), 6, mtime=0))


def gzips(count: int) -> tuple[Function, Sequence[Any]]:
    folder = Path(os.environ["BENCH_SCRATCH"])
    paths = [folder / f"{i}.txt" for i in range(8)]
    for path, text in zip(paths, texts(8, 100_000), strict=True):
        if not path.exists():
            path.write_text(text)
    return gzip_file, repeated([str(path) for path in paths], count)


def total_of(document: str) -> float:
    return float(sum(line["price"] * line["number"] for line in json.loads(document)["lines"]))


@functools.cache
def documents(number: int) -> list[str]:
    chance = random.Random(7)
    return [
        json.dumps({"lines": [{"price": chance.random(), "number": i, "tags": ["a", "b"]} for i in range(4_000)]})
        for _ in range(number)
    ]


def totals(count: int) -> tuple[Function, Sequence[Any]]:
    return total_of, repeated(documents(8), count)


ERROR = re.compile(r"^(\d+\.\d+\.\d+\.\d+) .*\"GET (/\w+)\" (5\d\d)$", re.MULTILINE)


@functools.cache
def logs(number: int) -> list[str]:
    chance = random.Random(7)

    def line(page: int) -> str:
        return f'10.0.0.{chance.randint(0, 255)} - - "GET /page{page}" {chance.choice([200, 404, 500])}'

    return ["\n".join(map(line, range(8_000))) for _ in range(number)]


def count_errors(log: str) -> int:
    return len({match.groups() for match in ERROR.finditer(log)})


def error_counts(count: int) -> tuple[Function, Sequence[Any]]:
    return count_errors, repeated(logs(8), count)


def mandelbrot_row(height: int, row: int) -> list[int]:
    return [_escape(complex(3 * column / WIDTH - 2, 2 * row / height - 1)) for column in range(WIDTH)]


def _escape(c: complex) -> int:
    z = 0j
    for i in range(DEEPEST):
        if abs(z) > 2:
            return i
        z = z * z + c
    return DEEPEST


def mandelbrot(count: int) -> tuple[Function, Sequence[Any]]:
    return functools.partial(mandelbrot_row, count), range(count)


def count_nodes(path: str) -> int:
    return sum(1 for _ in ast.walk(ast.parse(Path(path).read_bytes())))


def modules(count: int) -> tuple[Function, Sequence[Any]]:
    return count_nodes, [str(path) for path in sorted(Path(os.__file__).parent.glob("*.py"))[:count]]


WORKLOADS = [
    Workload(name="thumbnails", about="photo to thumbnail by Pillow", make=thumbnails, count=40, quick=12,
             kinds=("thread", "process"), needs=("PIL",)),
    Workload(name="gzip", about="file compressed", make=gzips, count=24, kinds=("thread", "process")),
    Workload(name="json", about="JSON document parsed and added up", make=totals, count=100, quick=40),
    Workload(name="words", about="text's words counted", make=word_counts, count=60),
    Workload(name="regex", about="log searched by a regular expression", make=error_counts, count=80),
    Workload(name="mandelbrot", about="row of the Mandelbrot set", make=mandelbrot, count=200),
    Workload(name="ast", about="module of the standard library parsed", make=modules, count=150),
]  # fmt: skip
