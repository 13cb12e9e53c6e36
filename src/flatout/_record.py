"""Frozen classes with slots, as those of `dataclasses` but quick to make.

`dataclasses` takes 6 ms to import (with inspect, ast and dis) and 0.3 ms a class: 15-20 ms of every program that uses
flatout. A record takes 0.05 ms (measured), and `dataclasses.replace`, `fields` and `asdict` take it for a dataclass.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_):
        """See `typing`."""
        return lambda function: function


class _Fresh:
    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def fresh(*, factory: Callable[[], T]) -> T:
    """The default of a field that is made anew for each record."""
    return _Fresh(factory)  # type: ignore[return-value]


@dataclass_transform(frozen_default=True, field_specifiers=(fresh,))
def record(cls: type[T]) -> type[T]:
    """Class decorator: its annotations become fields, with defaults where they have values. There is no inheritance."""
    names = tuple(cls.__annotations__)
    defaults = {name: vars(cls)[name] for name in names if name in vars(cls)}
    taken = (*names, "__dict__", "__weakref__")
    body = {name: value for name, value in vars(cls).items() if name not in taken}
    made: Any = type(cls.__name__, (), {**_METHODS, **body, "__slots__": names, "__match_args__": names})
    made.__qualname__ = cls.__qualname__
    made.__init__ = _init(made, names, defaults)
    made.__dataclass_fields__ = _Fields(defaults)
    return made  # type: ignore[no-any-return]


def replace(value: T, **changes: Any) -> T:
    """The same record with other values in some fields."""
    return type(value)(**{name: getattr(value, name) for name in _names(value)} | changes)


def _names(value: Any) -> tuple[str, ...]:
    names: tuple[str, ...] = type(value).__match_args__
    return names


def _values(value: Any) -> tuple[Any, ...]:
    return tuple([getattr(value, name) for name in _names(value)])


def _init(cls: Any, names: tuple[str, ...], defaults: dict[str, Any]) -> Any:
    """An `__init__` that sets every field by its slot, which a frozen class does not stop."""
    scope = {f"_set_{name}": vars(cls)[name].__set__ for name in names}
    scope |= {f"_default_{name}": value for name, value in defaults.items()}
    arguments, lines = ["self"], []
    for name in names:
        made = isinstance(defaults.get(name), _Fresh)
        value = f"_default_{name}.make() if {name} is _default_{name} else {name}" if made else name
        arguments.append(f"{name}=_default_{name}" if name in defaults else name)
        lines.append(f"_set_{name}(self, {value})")
    code = f"def __init__({', '.join(arguments)}):\n {'; '.join(lines) or 'pass'}"
    # Compiled first: to run source would have CPython forget, in whatever thread, that a Ctrl-C is ending the program.
    exec(compile(code, f"<{cls.__qualname__}>", "exec"), scope)
    init = scope["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = {**cls.__annotations__, "return": None}
    return init


def _equal(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _repr(self: Any) -> str:
    return f"{type(self).__qualname__}({', '.join([f'{name}={getattr(self, name)!r}' for name in _names(self)])})"


def _refuse(self: Any, name: str, *value: object) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot change field {name!r}")


def _reduce(self: Any) -> Any:
    return type(self), _values(self)


_METHODS = {
    "__eq__": _equal,
    "__hash__": _hash,
    "__repr__": _repr,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
    "__reduce__": _reduce,
    "__replace__": replace,  # what `copy.replace` calls, new in 3.13
}


class _Fields:
    """What `dataclasses` keeps about a dataclass, made when somebody asks for it."""

    def __init__(self, defaults: dict[str, Any]) -> None:
        self._defaults = defaults

    def __get__(self, instance: object, owner: type) -> dict[str, Any]:
        import dataclasses

        defaults = {
            name: dataclasses.field(default_factory=value.make) if isinstance(value, _Fresh) else value
            for name, value in self._defaults.items()
        }
        like = type(owner.__name__, (), {"__annotations__": owner.__annotations__, **defaults})
        fields: dict[str, Any] = dataclasses.dataclass(like).__dataclass_fields__  # type: ignore[attr-defined]
        return fields
