"""Any iterable, or several at once as in the builtin `map`, sync or async, sized or not -> numbered inputs, lazily.

The dispatcher orders so many inputs at most, and each order is answered by one event, as soon as one input is there. What
comes meanwhile, within the order, waits for the next one: so a fast input is drawn in large batches, and a slow one
delays nothing that has come.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextvars import Context
from itertools import islice

from flatout._errors import InputError
from flatout._events import InputEnded, TasksDrawn
from flatout._model import Batch
from flatout._threads._daemons import Daemon

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any

FAST = 1e-4  # seconds: inputs that come quicker may be drawn in one go by a caller who would have to wait for them

_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_IN_MEMORY = (list, tuple, range, str, bytes, bytearray, dict, set, frozenset, deque, *_VIEWS)

Post = Callable[[TasksDrawn | InputEnded], None]


def length(iterables: tuple[Any, ...]) -> int | None:
    """How many inputs there will be, where that can be known."""
    try:
        return min(len(iterable) for iterable in iterables)
    except Exception:  # they have none, or their own `__len__` raises: the plain loop would not ask
        return None


def are_async(iterables: tuple[Any, ...]) -> bool:
    """Whether any of them has to be awaited."""
    return any(isinstance(iterable, AsyncIterable) for iterable in iterables)


class Inputs:
    """Draws from plain iterables.

    Collections in memory are drawn from in whichever thread gives the order. Anything else may block or be bound to its
    thread: it is drawn from in the caller's thread while the caller does the work, then by a feeder thread.
    """

    def __init__(self, iterables: tuple[Iterable[Any], ...], context: Context) -> None:
        iterators = [context.run(iter, iterable) for iterable in iterables]
        self._iterator: Iterator[Any] = iterators[0] if len(iterators) == 1 else zip(*iterators, strict=False)
        self._in_memory = all(isinstance(iterable, _IN_MEMORY) for iterable in iterables)
        self._context = context
        self._first = 0
        self._fast = 0  # inputs in a row that came fast
        self._feeder: _Feeder | None = None
        self._end: InputEnded | None = None  # to be told once the inputs drawn before it are

    def draw(self, count: int, here: bool, post: Post) -> None:
        """Order up to `count` inputs; `here`: the calling thread is the consumer's, and may be kept waiting."""
        if self._end is not None or (self._feeder is None and (here or self._in_memory)):
            post(self._take(count))
            return
        if self._feeder is None:
            self._feeder = _Feeder(self._iterator, self._first, self._context, post)
        self._feeder.order(count)

    def close(self) -> None:
        """Draw no more, and let go of the user's iterator, which may have something to close."""
        self._iterator = iter(())
        if self._feeder is not None:
            self._feeder.close()

    def _take(self, count: int) -> TasksDrawn | InputEnded:
        inputs: list[Any] = []
        if self._end is None:
            try:
                # What came before an exception stays in the list.
                self._context.run(
                    inputs.extend,
                    islice(self._iterator, min(count, sys.maxsize)) if self._in_memory else self._some(count),
                )
            except BaseException as error:
                if not (isinstance(error, Exception) or _is_cancellation(error)):
                    raise
                self._end = InputEnded(_explained(error))
        if not inputs:
            return self._end or InputEnded()
        batch = Batch(self._first, inputs)
        self._first = batch.end
        return TasksDrawn(batch)

    def _some(self, count: int) -> Iterator[Any]:
        """As many as can be had without keeping the first of them waiting, as far as one can know."""
        for _ in range(max(1, min(count, self._fast // 4))):
            began = time.perf_counter()
            try:
                item = next(self._iterator)
            except StopIteration:
                return
            yield item
            self._fast += 1
            if time.perf_counter() - began > FAST:
                self._fast = 0
                return


class _Pending:
    """Inputs that have come and are not asked for yet, and how many more are wanted. Shared by two threads."""

    def __init__(self, first: int, post: Post) -> None:
        self._first = first
        self._post = post
        self._items: list[Any] = []
        self._room = 0
        self._asked = False
        self._end: InputEnded | None = None
        self._lock = threading.Lock()

    @property
    def wanted(self) -> bool:
        """Whether one more fits into the order."""
        return len(self._items) < self._room

    def order(self, count: int) -> None:
        """Up to `count` inputs are wanted, those that wait here included."""
        with self._lock:
            self._room = count
            self._asked = True
            event = self._answer()
        if event is not None:
            self._post(event)

    def came(self, item: Any) -> None:
        """One input has come."""
        with self._lock:
            self._items.append(item)
            event = self._answer()
        if event is not None:
            self._post(event)

    def ended(self, error: BaseException | None) -> None:
        """No more will come."""
        with self._lock:
            self._end = InputEnded(error)
            event = self._answer()
        if event is not None:
            self._post(event)

    def _answer(self) -> TasksDrawn | InputEnded | None:
        if not self._asked or not (self._items or self._end):
            return None
        self._asked = False
        if not self._items:
            return self._end
        batch = Batch(self._first, self._items)
        self._room -= len(batch)
        self._first, self._items = batch.end, []
        return TasksDrawn(batch)


class _Feeder:
    """A thread that draws."""

    def __init__(self, iterator: Iterator[Any], first: int, context: Context, post: Post) -> None:
        self._iterator = iterator
        self._context = context
        self._pending = _Pending(first, post)
        self._wake = threading.Event()
        self._closed = False
        Daemon(self._feed, "flatout-feeder").start()

    def order(self, count: int) -> None:
        """See `_Pending.order`."""
        self._pending.order(count)
        self._wake.set()

    def close(self) -> None:
        """Draw no more."""
        self._closed = True
        self._wake.set()

    def _feed(self) -> None:
        try:
            while not self._closed:
                self._wake.clear()
                while self._pending.wanted and not self._closed:
                    self._pending.came(self._context.run(next, self._iterator))
                self._wake.wait()
        except StopIteration:
            self._pending.ended(None)
        except BaseException as error:
            self._pending.ended(_explained(error))
        finally:
            self._iterator = iter(())  # closes a generator, in the thread that ran it


class AsyncInputs:
    """Draws from iterables of which one at least is async, in a task of the running event loop."""

    def __init__(self, iterables: tuple[Any, ...], post: Post) -> None:
        import asyncio

        self._iterators = [aiter(it) if isinstance(it, AsyncIterable) else iter(it) for it in iterables]
        self._pending = _Pending(0, post)
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._closing = False  # who cancels the task is this
        self._task = self._loop.create_task(self._feed())

    def draw(self, count: int, here: bool, post: Post) -> None:
        """Order up to `count` inputs; from any thread."""
        self._pending.order(count)
        self._loop.call_soon_threadsafe(self._wake.set)

    def close(self) -> None:
        """Draw no more, and let async generators clean up; from any thread."""
        self._closing = True
        self._loop.call_soon_threadsafe(self._task.cancel)

    async def closed(self) -> None:
        """Wait for the end of that."""
        import asyncio

        self._closing = True
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _feed(self) -> None:
        import asyncio

        try:
            while True:
                self._wake.clear()
                while self._pending.wanted:
                    items = [await _next(iterator) for iterator in self._iterators]
                    self._pending.came(items[0] if len(items) == 1 else tuple(items))
                await self._wake.wait()
        except StopAsyncIteration:
            self._pending.ended(None)
        except asyncio.CancelledError as error:
            if self._closing:
                raise
            self._pending.ended(error)
        except Exception as error:
            self._pending.ended(_explained(error))
        finally:
            for iterator in self._iterators:
                if isinstance(iterator, AsyncIterator) and hasattr(iterator, "aclose"):
                    await iterator.aclose()


async def _next(iterator: Any) -> Any:
    if hasattr(iterator, "__anext__"):
        return await anext(iterator)
    try:
        return next(iterator)
    except StopIteration:
        raise StopAsyncIteration from None


def _is_cancellation(error: BaseException) -> bool:
    """Whether it is asyncio's: nobody cancels who draws in plain calls, so that it is the iterator's own."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


def _explained(error: BaseException) -> BaseException:
    """What to do about an iterator that is bound to the thread that made it (a sqlite3 cursor, for one)."""
    import re

    if not re.search("(same|another|other|different) thread", str(error)):
        return error
    explained = InputError(
        f"the iterable of inputs works only in the thread that made it ({type(error).__name__}: {error}), but flatout "
        "draws inputs in a thread of its own while yours waits for results: pass list(...) of it instead"
    )
    explained.__cause__ = error
    return explained
