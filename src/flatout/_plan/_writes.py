"""What code would write to that the call has not made itself: read from its bytecode, where looking on shows nothing.

A call may note something only now and then, or in what is too big to be looked at, or in a class or a module. So the code is
walked through with a stack of where its values come from: globals, closure variables, arguments, the object whose method it is,
and what is reached from these. An item or attribute assigned there, and a method called there that changes a container, is an
effect that may come. Methods, properties and constructors of classes of the same module are read as well: what is new is the
call's own, but not its class. Code that cannot be followed (what it calls elsewhere) counts as writing nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from threading import local
from types import CodeType, FunctionType, MethodType, ModuleType

from flatout._record import record
from flatout._wire._code import CONSTRUCTORS, closure_variables, stored_attributes

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from dis import Instruction
    from typing import Any

LEVELS = 2  # methods followed from method to method; guessed
MOST_METHODS = 50  # that are read in all; guessed: some 0.2 ms each
_OF_LISTS = ("append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse", "appendleft", "popleft")
_OF_OTHERS = ("add", "discard", "update", "setdefault", "popitem", "subtract", "put", "put_nowait")
CHANGES = frozenset((*_OF_LISTS, *_OF_OTHERS))
_BUILT_IN = ("list", "dict", "set", "bytearray", "deque", "Counter", "defaultdict", "OrderedDict")
_CONTAINERS = frozenset((*_BUILT_IN, "Queue", "LifoQueue", "PriorityQueue", "SimpleQueue"))


class _Unknown:
    """Stands for a value that cannot be told without running code of the user's."""


UNKNOWN = _Unknown()


@record
class Origin:
    """Where a value on the stack comes from, as a phrase, and the value as it is now, if that can be told.

    new: the call has made it, an object of the class that is the value.
    """

    name: str
    value: object = UNKNOWN
    new: bool = False


def written(
    functions: Sequence[FunctionType], called: object, arguments: Sequence[object], keywords: Mapping[str, object]
) -> str:
    """What the call may write to, as a phrase ("may change the global 'x' of module m"); empty for nothing found.

    `functions` are those that the call is likely to run; `called` is what is called, with these arguments: a bound method has
    an object.
    """
    own = called.__func__ if isinstance(called, MethodType) else called
    receiver = called.__self__ if isinstance(called, MethodType) else None
    if not isinstance(called, (FunctionType, MethodType)):
        own, receiver = getattr(type(called), "__call__", None), called  # noqa: B004
    met: set[tuple[CodeType, str]] = set()
    for function in functions:
        handed = _handed(function, receiver, arguments, keywords) if function is own else {}
        found = _Reader(function, handed, met).written(LEVELS)
        if found:
            return found
    return ""


def _handed(
    function: FunctionType, receiver: object, arguments: Sequence[object], keywords: Mapping[str, object]
) -> dict[str, Origin]:
    """The origins of its parameters: of those by default, too, which all calls share."""
    code = function.__code__
    names, defaults = code.co_varnames[: code.co_argcount], function.__defaults__ or ()
    values = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True)) | (function.__kwdefaults__ or {})
    first = () if receiver is None else (receiver,)
    values |= dict(zip(names[len(first) :], arguments, strict=False))
    named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]  # behind them are its other variables
    values |= {name: value for name, value in keywords.items() if name in named}
    handed = {name: Origin(f"its argument {name!r}", value) for name, value in values.items()}
    if first and names:
        handed[names[0]] = Origin(f"the {_kind(receiver)} whose method it is", receiver)
    return handed


def _kind(receiver: object) -> str:
    return receiver.__name__ if isinstance(receiver, type) else type(receiver).__name__


class _Reader:
    """Reads the code of one function, and of those defined in it."""

    def __init__(self, function: FunctionType, handed: Mapping[str, Origin], met: set[tuple[CodeType, str]]) -> None:
        self._function = function
        self._met = met  # methods that are read, or going to be, and the names of their objects
        self._handed = handed  # what it is called with
        self._closure = dict(closure_variables(function))
        self._methods: list[tuple[FunctionType, Origin]] = []  # called on what is not the call's own

    def written(self, levels: int) -> str:
        """The first place that it may write to, as a phrase; empty where there is none."""
        found = next(self._all(self._function.__code__, frozenset(self._function.__code__.co_freevars)), "")
        if found or not levels:
            return found
        return next(filter(None, (self._inner(*method).written(levels - 1) for method in self._methods)), "")

    def _inner(self, method: FunctionType, receiver: Origin) -> _Reader:
        names = method.__code__.co_varnames[: method.__code__.co_argcount]
        return _Reader(method, {names[0]: receiver} if names else {}, self._met)

    def _all(self, code: CodeType, outer: frozenset[str]) -> Iterator[str]:
        """`outer`: those free variables that lie outside the function that was called."""
        here = outer.intersection(code.co_freevars)
        yield from _Walk(self, code, here).found()
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                yield from self._all(inner, here)

    def origin(self, instruction: Instruction, outer: frozenset[str]) -> Origin | None:
        """Where what is loaded by name comes from."""
        name, names = instruction.argval, self._function.__globals__
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") and name in _TELLING and name not in names:
            return Origin(name, _TELLING[name])
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") and name in names:
            return _shared(Origin(f"the global {name!r} of module {names.get('__name__', '?')}", names[name]))
        if name in outer and name in self._closure:
            return _shared(Origin(f"closure variable {name!r}", self._closure[name]))
        return None

    def parameters(self, code: CodeType) -> dict[str, Origin | None]:
        """The origins of the parameters."""
        return {**self._handed} if code is self._function.__code__ else {}

    def calls(self, receiver: Origin, name: str) -> None:
        """A method is called; one of a class of the function's own module is read, too, and so is a property."""
        kind = _class_of(receiver)
        method = next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)
        if isinstance(method, property):
            self._read(method.fget, _filled(receiver))
        elif isinstance(method, cached_property):
            self._read(method.func, _filled(receiver))
        else:
            of_class = isinstance(method, classmethod) and receiver.new
            self._read(getattr(method, "__func__", method), _class_itself(kind) if of_class else receiver)

    def asks(self, receiver: Origin, name: str) -> None:
        """A method is called that does not look like one: `__getitem__` and its like."""
        self.calls(_filled(receiver), name)

    def makes(self, kind: type) -> Origin:
        """An object of a class is made."""
        made = Origin(f"a new {kind.__name__}", kind, new=True)
        for name in CONSTRUCTORS:
            receiver = made if name != "__new__" else _class_itself(kind)
            for method in (vars(base)[name] for base in kind.__mro__ if name in vars(base)):
                method = getattr(method, "__func__", method)
                self._read(method, receiver)
                if not isinstance(method, FunctionType) or name not in method.__code__.co_names:
                    break  # it does not call that of its base
        return made

    def _read(self, method: object, receiver: Origin) -> None:
        if not isinstance(method, FunctionType) or method.__globals__ is not self._function.__globals__:
            return
        if (method.__code__, receiver.name) not in self._met and len(self._met) < MOST_METHODS:
            self._met.add((method.__code__, receiver.name))
            self._methods.append((method, receiver))


@lru_cache(maxsize=MOST_METHODS)
def _instructions(code: CodeType) -> list[Instruction]:
    """Kept for the next run of a function, since they take as long as all else here."""
    from dis import get_instructions  # takes 3 ms to import: only those who would go to processes get here

    return list(get_instructions(code))


class _Walk:
    """One pass through a code object, instruction by instruction, as if it had no branches."""

    def __init__(self, reader: _Reader, code: CodeType, outer: frozenset[str]) -> None:
        self._reader = reader
        self._code = code
        self._outer = outer
        self._stack: list[Origin | None] = []
        self._locals = reader.parameters(code)
        self._latest: tuple[Any, ...] = ()  # arguments of the last two instructions

    def found(self) -> Iterator[str]:
        for instruction in _instructions(self._code):
            yield from self._writes(instruction)
            self._step(instruction)
            self._latest = (*self._latest[-1:], instruction.argval)

    def _top(self, depth: int = 1) -> Origin | None:
        return self._stack[-depth] if len(self._stack) >= depth else None

    def _writes(self, instruction: Instruction) -> Iterator[str]:
        if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            yield f"the call may change the global {instruction.argval!r}"
        depth = _WRITES.get(instruction.opname)
        target = self._top(depth) if depth else None
        if target is not None and not target.new:
            yield f"the call may change {target.name}"
        left = self._top(2) if instruction.opname == "BINARY_OP" and instruction.argrepr.endswith("=") else None
        if left is not None and not left.new and _changes_in_place(left.value):
            yield f"the call may change {left.name}"
        if instruction.opname == _TAKES_ARGUMENTS and (subject := self._subject(instruction.arg or 0)) is not None:
            yield f"the call may change {subject.name}"
        if _is_method(instruction) and (receiver := self._top()) is not None:
            if instruction.argval in CHANGES and not receiver.new and _is_container(receiver.value):
                yield f"the call may change {receiver.name}"
            elif receiver.value is not UNKNOWN:
                self._reader.calls(receiver, instruction.argval)
        place, method = (2, "__getitem__") if _subscribes(instruction) else _CALLS.get(instruction.opname, (0, ""))
        if place and (operand := self._top(place)) is not None and operand.value is not UNKNOWN:
            self._reader.asks(operand, method)

    def _step(self, instruction: Instruction) -> None:
        name = instruction.opname
        if name in _LOADS:
            for variable in _names(instruction):
                self._stack.append(self._locals.get(variable))
        elif name in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"):
            self._push(instruction, self._reader.origin(instruction, self._outer))
        elif name in ("LOAD_ATTR", "LOAD_METHOD"):
            self._replace(instruction, _attribute(self._top(), instruction.argval))
        elif _subscribes(instruction):
            self._replace(instruction, _part_of(self._top(2)))
        elif name == "BINARY_SLICE":
            self._replace(instruction, _part_of(self._top(3)))
        elif name in _STORES:
            self._store(instruction)
        elif name == "IMPORT_NAME":
            self._replace(instruction, self._imported(instruction.argval))
        elif name == "IMPORT_FROM":
            self._push(instruction, _attribute(self._top(), instruction.argval))
        elif name == "GET_ITER":
            self._replace(instruction, _part_of(self._top()))
        elif name == "FOR_ITER":
            self._push(instruction, _part_of(self._top()))
        elif name == _TAKES_ARGUMENTS:  # which in Python 3.11 is not yet the call
            self._replace(instruction, self._told(instruction.arg or 0))
        elif name == "CALL_KW":  # as of Python 3.13: the names lie on top
            self._replace(instruction, self._told((instruction.arg or 0) + 1))
        elif name == "CALL_FUNCTION_EX":
            self._replace(instruction, self._made(self._stack[-4:]))
        elif name == "CALL":
            self._replace(instruction, self._top())
        elif name == "COPY":
            self._stack.append(self._top(instruction.arg or 1))
        elif name == "SWAP":
            self._swap(instruction.arg or 1)
        else:
            self._replace(instruction, None)
        if name in _LEAVES:
            self._stack.clear()

    def _imported(self, name: str) -> Origin | None:
        """The module that the call imports, where that is loaded, and not named relative to another."""
        level, names = self._latest[-2:] if len(self._latest) == 2 else (None, None)
        name = name if names else name.partition(".")[0]
        module = sys.modules.get(name) if level == 0 else None
        return None if module is None else Origin(f"the module {name}", module)

    def _store(self, instruction: Instruction) -> None:
        """Into one local variable or two; or into the first, and then the second is loaded."""
        first, *others = _names(instruction)
        self._locals[first] = self._stack.pop() if self._stack else None
        for other in others:
            if instruction.opname == "STORE_FAST_LOAD_FAST":
                self._stack.append(self._locals.get(other))
            else:
                self._locals[other] = self._stack.pop() if self._stack else None

    def _called(self, arguments: int) -> Origin | None:
        """The builtin that is called with so many arguments, where it is one of those that matter here."""
        return next(
            (origin for origin in self._below(arguments) if origin is not None and origin.name in _TELLING), None
        )

    def _subject(self, arguments: int) -> Origin | None:
        """What a builtin changes."""
        called, subject = self._called(arguments), self._top(arguments)
        if called is None or subject is None or subject.new:
            return None
        if called.value is next:
            return subject if isinstance(subject.value, Iterator) else None
        return subject if called.value in (setattr, delattr) else None

    def _below(self, arguments: int) -> list[Origin | None]:
        """Where on the stack lies what is called with so many arguments."""
        return self._stack[-arguments - 2 : len(self._stack) - arguments]

    def _made(self, called: list[Origin | None]) -> Origin | None:
        """The new object, where what is called is a class."""
        kinds = (o.value for o in called if o is not None and not o.new and isinstance(o.value, type))
        return next((self._reader.makes(kind) for kind in kinds), None)

    def _told(self, arguments: int) -> Origin | None:
        """What a builtin returns that leads from an object to one that is not the call's own either, or a new object."""
        called = self._called(arguments)
        if called is None:
            return self._made(self._below(arguments))
        if called.value is globals:
            return Origin("a global", {})
        subject = self._top() if arguments == 1 else None
        if subject is None:
            return None
        if called.value is not type:
            return _part_of(subject)
        if subject.new:
            return _attribute(subject, "__class__")
        return Origin(f"the class of {subject.name}", UNKNOWN if subject.value is UNKNOWN else type(subject.value))

    def _push(self, instruction: Instruction, origin: Origin | None) -> None:
        self._stack += [None] * (_effect(instruction) - 1)
        self._stack.append(origin)

    def _replace(self, instruction: Instruction, origin: Origin | None) -> None:
        """The instruction takes some values and leaves others, of which only the last can be of interest."""
        effect = _effect(instruction)
        if effect < 0:
            del self._stack[effect:]
        self._stack += [None] * effect
        if self._stack:
            self._stack[-1] = origin

    def _swap(self, depth: int) -> None:
        if len(self._stack) >= depth:
            self._stack[-1], self._stack[-depth] = self._stack[-depth], self._stack[-1]


# Builtins that lead on to what is not the call's own, or change it.
_LEADING = {"type": type, "vars": vars, "globals": globals, "iter": iter, "reversed": reversed}
_CHANGING = {"setattr": setattr, "delattr": delattr, "next": next}
_TELLING: dict[str, object] = {**_LEADING, **_CHANGING}
_TAKES_ARGUMENTS = "PRECALL" if sys.version_info < (3, 12) else "CALL"
_STORES = ("STORE_FAST", "STORE_FAST_STORE_FAST", "STORE_FAST_LOAD_FAST")
_WRITES = {  # how deep on the stack lies what is written to
    "STORE_ATTR": 1,
    "DELETE_ATTR": 1,
    "STORE_SUBSCR": 2,
    "DELETE_SUBSCR": 2,
    "STORE_SLICE": 3,
}
_CALLS = {  # methods that are called without their name, and how deep the object lies
    "CONTAINS_OP": (1, "__contains__"),
    "GET_ITER": (1, "__iter__"),
}
_LOADS = (
    *("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_AND_CLEAR", "LOAD_FAST_LOAD_FAST"),
    *("LOAD_FAST_BORROW", "LOAD_FAST_BORROW_LOAD_FAST_BORROW"),  # as of Python 3.14
)
_LEAVES = ("RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE", "JUMP_FORWARD", "JUMP_BACKWARD")


def _class_of(origin: Origin) -> type:
    return origin.value if isinstance(origin.value, type) else type(origin.value)


def _filled(receiver: Origin) -> Origin:
    """An object that is asked for something may keep what it finds: as a cache, that is taken for its own."""
    return Origin(receiver.name, _class_of(receiver), new=True)


def _names(instruction: Instruction) -> Sequence[str]:
    return instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)


def _subscribes(instruction: Instruction) -> bool:
    return instruction.opname == "BINARY_SUBSCR" or (instruction.opname == "BINARY_OP" and instruction.argrepr == "[]")


def _effect(instruction: Instruction) -> int:
    from dis import stack_effect

    takes = instruction.opcode >= _have_argument()
    return stack_effect(instruction.opcode, instruction.arg if takes else None, jump=False)


def _have_argument() -> int:
    from opcode import HAVE_ARGUMENT

    return HAVE_ARGUMENT


def _is_method(instruction: Instruction) -> bool:
    """Whether it looks a method up to call it (which one of Python 3.12 does by an attribute)."""
    if instruction.opname == "LOAD_METHOD":
        return True
    return instruction.opname == "LOAD_ATTR"


def _is_container(value: object) -> bool:
    return value is UNKNOWN or any(base.__name__ in _CONTAINERS for base in type(value).__mro__)


def _changes_in_place(value: object) -> bool:
    """Whether `+=` and the like would change the object itself, as far as that can be told."""
    return value is not UNKNOWN and any(hasattr(type(value), name) for name in ("__iadd__", "__ior__", "__imul__"))


def _part_of(whole: Origin | None) -> Origin | None:
    return None if whole is None or whole.new else Origin(whole.name)


def _shared(origin: Origin) -> Origin | None:
    """None for what each thread has for itself: a connection kept there is no effect that anyone misses."""
    return None if isinstance(origin.value, local) else origin


def _attribute(owner: Origin | None, name: str) -> Origin | None:
    """What is reached from an object by an attribute, if it lies open."""
    if owner is None:
        return None
    if owner.new:
        return _attribute_of_new(owner.value, name)
    spaces: list[Any] = [getattr(owner.value, "__dict__", {})]
    if isinstance(owner.value, type):
        spaces = [vars(base) for base in owner.value.__mro__]
    value = next((space[name] for space in spaces if name in space), UNKNOWN)
    outer = owner.name if not isinstance(owner.value, ModuleType) else f"{owner.value.__name__}.{name}"
    return _shared(Origin(outer, value))


def _attribute_of_new(kind: Any, name: str) -> Origin | None:
    """What a new object shares with others: its class, and containers that it has as attributes of that."""
    if name == "__class__":
        return _class_itself(kind)
    value = next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), UNKNOWN)
    shared = value is not UNKNOWN and _is_container(value) and not _gives_each_its_own(kind, name)
    return Origin(_class_itself(kind).name, value) if shared else None


def _class_itself(kind: type) -> Origin:
    return Origin(f"the class {kind.__name__}", kind)


def _gives_each_its_own(kind: Any, name: str) -> bool:
    """Whether a method assigns this attribute, which the class has only to begin with."""
    methods = (value for base in kind.__mro__ for value in vars(base).values() if isinstance(value, FunctionType))
    return any(name in stored_attributes(method.__code__) for method in methods)
