"""C calls that let go of the GIL: threads do them at once."""

from __future__ import annotations

import bz2
import functools
import hashlib
import io
import lzma
import random
import sqlite3
import zlib
from typing import Any


@functools.cache
def noise(size: int) -> bytes:
    """Bytes that are neither random nor all alike."""
    return random.Random(7).randbytes(size // 4) * 4


def sha256(size: int) -> str:
    return hashlib.sha256(noise(size)).hexdigest()


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def stretch(iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", b"password", b"salt", iterations)


def compress_zlib(size: int) -> int:
    return len(zlib.compress(noise(size)))


def compress_bz2(size: int) -> int:
    return len(bz2.compress(noise(size)))


def compress_lzma(size: int) -> int:
    return len(lzma.compress(noise(size), preset=1))


@functools.cache
def floats(count: int) -> Any:
    import numpy as np

    return np.random.default_rng(7).random(count)


def sort_array(count: int) -> float:
    import numpy as np

    return float(np.sort(floats(count))[0])


def sine(count: int) -> float:
    import numpy as np

    return float(np.sin(floats(count)).sum())


@functools.cache
def matrix(size: int) -> Any:
    return floats(size * size).reshape(size, size)


def dot(size: int) -> float:
    a = matrix(size)
    return float((a @ a)[0, 0])


@functools.cache
def picture() -> Any:
    from PIL import Image

    return Image.frombytes("RGB", (1200, 800), noise(1200 * 800 * 3))


def blur(radius: int) -> tuple[int, ...]:
    from PIL import ImageFilter

    return tuple(picture().filter(ImageFilter.GaussianBlur(radius)).getpixel((1, 1)))


@functools.cache
def jpeg() -> bytes:
    file = io.BytesIO()
    picture().save(file, "JPEG")
    return file.getvalue()


def thumbnail(number: int) -> tuple[int, ...]:
    from PIL import Image

    with Image.open(io.BytesIO(jpeg())) as image:
        return tuple(image.convert("RGB").resize((200, 150)).size)


COUNTING = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?) SELECT sum(x * x % 7) FROM n"


def aggregate(rows: int) -> int:
    """One row of result: sqlite3 lets go of the GIL while it reckons."""
    connection = sqlite3.connect(":memory:")
    try:
        (total,) = connection.execute(COUNTING, (rows,)).fetchone()
    finally:
        connection.close()
    return int(total)
