"""Callables cross to real interpreters: each test is a script whose `__main__` the other side cannot import."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

SOURCE = Path(__file__).parent.parent / "src"

# The other side: obeys pickled (what, bytes) on stdin, answers pickled (value, error) with a plain pickle.
CHILD = """
import pickle, sys
from flatout._wire import _functions

callables = ()
while True:
    try:
        what, data = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    try:
        if what == "unpack":
            callables, value = _functions.unpack_callables([memoryview(data[0]), *data[1:]]), None
        elif what == "define":
            value = _functions.define(data)
        elif what == "evaluate":
            value = eval(data)
        else:
            value = callables[what](*pickle.loads(data))
        answer = pickle.dumps((value, None))
    except Exception as error:
        answer = pickle.dumps((None, error))
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
"""

# This side, imported by the scripts.
PARENT = """
import atexit, pickle, subprocess, sys
from pathlib import Path
from flatout._wire._functions import define, main_globals_in, pack_callables, pack_definitions

class Worker:
    def __init__(self):
        command = [sys.executable, str(Path(__file__).with_name("child.py"))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        atexit.register(self.process.communicate)

    def ask(self, what, data):
        pickle.dump((what, data), self.process.stdin)
        self.process.stdin.flush()
        value, error = pickle.load(self.process.stdout)
        if error is not None:
            raise error
        return value

    def unpack(self, *callables):
        packed = pack_callables(*callables)
        self.ask("unpack", [bytes(piece) for piece in packed.pieces])
        self.known = dict(packed.definitions)
        return packed

    def define(self, *values):
        new = {k: v for k, v in main_globals_in(values).items() if self.known.get(k) is not v}
        if new:
            self.ask("define", pack_definitions(new))
        self.known.update(new)

    def call(self, *args, index=0):
        self.define(*args)
        return self.ask(index, pickle.dumps(args))

    def evaluate(self, text):
        return self.ask("evaluate", text)
"""


@pytest.fixture
def script(tmp_path: Path):
    """Runs a script as `__main__` with a worker at hand; its assertions are the test's."""

    def run(source: str, *command: str) -> None:
        (tmp_path / "child.py").write_text(CHILD)
        (tmp_path / "parent.py").write_text(PARENT)
        (tmp_path / "script.py").write_text("from parent import *\n" + dedent(source))
        environment = {**os.environ, "PYTHONPATH": f"{SOURCE}{os.pathsep}{tmp_path}"}
        command = command or ("script.py",)
        done = subprocess.run(
            [sys.executable, *command],
            check=False,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr

    return run


def test_what_can_be_imported_goes_by_reference_without_cloudpickle(script) -> None:
    script("""
        import functools, json, operator
        worker = Worker()
        for func, args in [
            (json.loads, ("[1]",)), (len, ("abc",)), (functools.partial(int, base=2), ("101",)), ("a-b".split, ("-",)),
            (str.upper, ("a",)), (json.JSONEncoder(indent=1).encode, (3,)), (operator.itemgetter(1), ("ab",)),
        ]:
            packed = worker.unpack(func, None)
            assert not packed.needs_cloudpickle and packed.definitions == {}
            assert worker.call(*args) == func(*args)
        assert "cloudpickle" not in sys.modules
        assert not worker.evaluate("'cloudpickle' in sys.modules")
    """)


def test_functions_go_by_their_code_with_all_that_they_carry(script) -> None:
    script("""
        import json, xml.dom.minidom
        def outer(n):
            def f(x, y=[2], *, z: "a note" = 3):
                "Its doc."
                return x + y[0] + z + n
            return f
        f = outer(4)
        f.own = {"kept": True}
        def told():
            names = ("__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__",
                     "__annotations__", "own")
            return f(1), [getattr(f, name) for name in names], f.__code__.co_firstlineno
        def recursive(again=5):
            def count(n): return n and 1 + count(n - 1)
            return count(again)
        def unset():
            def use(): return later
            if 0: later = 1
            return use
        class_body = lambda: type("Made", (), {"doc": json.dumps([1])}).doc
        submodule = lambda text: xml.dom.minidom.parseString(text).documentElement.tagName
        def raises(use=unset()):
            try: use()
            except NameError as error: return "later" in str(error)
        worker = Worker()
        functions = (told, recursive, raises, class_body, submodule)
        packed = worker.unpack(*functions)
        assert not packed.needs_cloudpickle and packed.digest == pack_callables(*functions).digest
        for index, args in enumerate([(), (), (), (), ("<a/>",)]):
            assert worker.call(*args, index=index) == functions[index](*args)
        assert not worker.evaluate("'cloudpickle' in sys.modules") and "cloudpickle" not in sys.modules
    """)


@pytest.mark.parametrize(
    "source",
    [
        "class C: pass\nf = lambda: C",
        "class C: pass\nc = C()\nf = lambda: c",
        "import functools\nf = functools.lru_cache(lambda: 1)",
        "import typing\nT = typing.TypeVar('T')\nf = lambda: bool(T)",
        "import types\nmodule = types.ModuleType('made')\nf = lambda: module.__name__",
        "import weakref\nkept = weakref.WeakKeyDictionary()\nf = lambda: len(kept)",
        "made = {}\nexec('def f(): return 1', made)\nf = made['f']\nf.__module__ = '__main__'",
        "import cloudpickle, textwrap\ncloudpickle.register_pickle_by_value(textwrap)\nf = lambda: textwrap.dedent('  a')",
    ],
)
def test_what_code_alone_does_not_tell_goes_by_cloudpickle(script, source: str) -> None:
    script(f"""
        exec({source!r})
        worker = Worker()
        assert worker.unpack(f).needs_cloudpickle
        worker.ask(0, pickle.dumps(()))
    """)


def test_functions_of_main_call_each_other_and_share_globals(script) -> None:
    script("""
        base = 10
        def even(n): return n == 0 or odd(n - 1)
        def odd(n): return n != 0 and even(n - 1)
        def begin():
            global base
            base = 20
        def add(n): return base + n
        scale = 3
        closure = (lambda factor: lambda x: factor * x * scale)(2)
        worker = Worker()
        packed = worker.unpack(even, begin, add, closure)
        assert not packed.needs_cloudpickle and set(packed.definitions) == {
            "__main__:even", "__main__:odd", "__main__:begin", "__main__:add"
        }
        assert worker.call(10) and not worker.call(7)
        assert worker.call(1, index=2) == 11
        worker.call(index=1)
        assert worker.call(1, index=2) == 21 and base == 10
        assert worker.call(5, index=3) == 30
    """)


def test_the_digest_names_the_payload(script) -> None:
    script("""
        def f(x): return x
        def g(x): return -x
        assert pack_callables(f).digest == pack_callables(f).digest != pack_callables(g).digest
        from functools import partial
        long = [partial(f, letter * 100_000) for letter in 'xxy']
        x, again, y = (pack_callables(each).digest for each in long)
        assert x == again != y and len(x) == 64
    """)


CLASSES = """
    import abc, collections, enum, typing
    from dataclasses import dataclass, field

    @dataclass
    class Point:
        x: float
        y: float = 0.0
        tags: list = field(default_factory=lambda: [])
        def norm(self): return square(self.x) + square(self.y)
    def square(x): return x * x
    @dataclass(frozen=True, slots=True)
    class Frozen:
        x: int
    class Pair(typing.NamedTuple):
        a: int
        b: int
    Old = collections.namedtuple("Old", "a b")
    class Color(enum.Enum):
        RED = "r"
        GREEN = "g"
        def shout(self): return self.value.upper()
    class Bits(enum.Flag):
        A = 1
        B = 2
    class Number(enum.IntEnum):
        ONE = 1
    T = typing.TypeVar("T")
    class Box(typing.Generic[T]):
        def __init__(self, content: T) -> None: self.content = content
        def __eq__(self, other): return type(self) is type(other) and self.content == other.content
    class IntBox(Box[int]): pass
    class Meta(type):
        def __new__(cls, name, bases, namespace): return super().__new__(cls, name, bases, {**namespace, "made": True})
    class Made(metaclass=Meta):
        def __eq__(self, other): return type(self) is type(other)
    class Shape(abc.ABC):
        @abc.abstractmethod
        def area(self): ...
        @classmethod
        def unit(cls): return cls(1)
    class Square(Shape):
        def __init__(self, side):
            super().__init__()
            self.side = side
        def area(self): return self.side ** 2
        def __eq__(self, other): return type(self) is type(other) and self.side == other.side
    class Refused(Exception):
        def __init__(self, code, text):
            super().__init__(code, text)
            self.code = code
    class Outer:
        class Inner:
            def __eq__(self, other): return type(self) is type(other)
    VALUES = [
        Point(3, 4), Frozen(1), Pair(1, 2), Old(1, 2), Color.RED, Bits.A | Bits.B, Number.ONE, Box(1), IntBox(2), Made(),
        Square(2), Outer.Inner(), [{"deep": (Point(1), Color.GREEN)}],
    ]
"""


def test_instances_of_main_classes_cross_both_ways_with_their_identity(script) -> None:
    script(
        CLASSES
        + """
    def echo(x): return x
    def kind(x): return type(x)
    before = dict(vars(Point))
    for func in (echo, kind):
        worker = Worker()
        worker.unpack(func)
        for value in VALUES:
            back = worker.call(value)
            assert back == func(value) and type(back) is type(func(value)), (value, back)
    assert all(vars(Point)[name] is value for name, value in before.items())
    """
    )


def test_isinstance_and_except_hold_in_the_worker_and_here(script) -> None:
    script(
        CLASSES
        + """
    def judge(x):
        if x is Color.RED or x is Bits.A: return "the same member"
        if isinstance(x, Shape): return x.area()
        if isinstance(x, Point): return x.norm()
        try:
            refuse(x)
        except Refused as error:
            return error.code
    def refuse(x): raise Refused(x, "no")
    worker = Worker()
    worker.unpack(judge, refuse)
    assert worker.call(Color.RED) == worker.call(Bits.A) == "the same member"
    assert worker.call(Square.unit()) == 1 and worker.call(Point(3, 4)) == 25
    assert worker.call(7) == 7
    try:
        worker.call(8, index=1)
    except Refused as error:
        assert error.code == 8 and error.args == (8, "no")
    else:
        raise AssertionError
    """
    )


def test_functions_and_classes_as_inputs_and_results(script) -> None:
    script("""
        def double(x): return 2 * x
        def apply(f, x): return f(x)
        def itself(x): return itself
        class A: pass
        worker = Worker()
        worker.unpack(apply, itself)
        assert worker.call(double, 4) == 8
        assert worker.call(0, index=1) is itself
        assert worker.call(type, A()) is A
    """)


def test_the_newest_definition_wins_in_a_later_run_and_within_one(script) -> None:
    script("""
        def make(version):  # as a notebook's cell that is run again
            exec(f"class Point:\\n  def version(self): return {version}", globals())
        def ask(p): return p.version(), isinstance(p, Point)
        limit = 1
        def read(): return limit
        make(1)
        worker = Worker()
        worker.unpack(ask, read)
        old = Point()
        assert worker.call(old) == (1, True) and worker.call(index=1) == 1
        make(2)
        assert worker.call(Point()) == (2, True)
        make(3)
        limit = 3
        worker.unpack(ask, read)
        assert worker.call(Point()) == (3, True) and worker.call(index=1) == 3
        worker.unpack(read)
        assert not worker.evaluate("hasattr(sys.modules['__main__'], 'Point')")
        Point.version = lambda self: 4  # the same class, changed
        worker.unpack(ask)
        assert worker.call(Point()) == (4, True)
    """)


def test_a_class_sent_again_is_still_the_same_class(script) -> None:
    script(
        CLASSES
        + """
    kept = []
    def keep(x):
        kept.append(x)
        return [isinstance(x, type(kept[0])) for x in kept]
    worker = Worker()
    for value in VALUES[:-1]:
        worker.unpack(keep)
        worker.call(value)
        worker.ask("define", pack_definitions(main_globals_in(value)))
        assert worker.call(value) == [True, True], value
    """
    )


def test_definitions_leave_alone_what_calls_have_set(script) -> None:
    script("""
        connection = None
        count = 0
        def open_it():
            global connection
            connection = "open"
        def bump():
            global count
            count += 1
            return count
        class Client:
            def state(self): return connection, bump()
        def ask(client): return client.state()
        worker = Worker()
        worker.unpack(ask, open_it)
        worker.call(index=1)
        assert worker.call(Client()) == ("open", 1)
        assert worker.call(Client()) == ("open", 2)
        class Other(Client): pass
        assert worker.call(Other()) == ("open", 3)
    """)


def test_definitions_leave_alone_functions_that_remember(script) -> None:
    script("""
        def helper():
            helper.calls = getattr(helper, "calls", 0) + 1
            return helper.calls
        class Client:
            def ask(self): return helper()
        def ask(client): return helper() + client.ask()
        worker = Worker()
        worker.unpack(ask)
        assert worker.call(Client()) == 1 + 2
        class Other(Client): pass
        assert worker.call(Other()) == 3 + 4
    """)


def test_code_says_which_file_it_is_from(script) -> None:
    script("""
        class Kept: pass
        def fails(x):
            Kept()
            return (lambda: x / 0)()
        worker = Worker()
        worker.unpack(fails)
        def where():
            Kept()
            return fails.__code__.co_filename, where.__code__.co_filename
        worker.unpack(where)
        assert [name.rpartition("/")[2] for name in worker.call()] == ["script.py", "script.py"]
    """)


def test_classes_keep_their_slots(script) -> None:
    script("""
        import dataclasses
        @dataclasses.dataclass(slots=True)
        class Point:
            x: int
            y: int = 2
        class Account:
            __slots__ = ("__balance",)
            def __init__(self, balance): self.__balance = balance
            def balance(self): return self.__balance
        class Named(Account):
            __slots__ = "name"
        class Loose(Account): pass
        def spend(account, point):
            made = Named(account.balance() - point.x)
            made.name = [hasattr(thing, "__dict__") for thing in (account, point, made, Loose(1))]
            return made, Point(point.x + 1)
        worker = Worker()
        worker.unpack(spend)
        named, point = worker.call(Account(10), Point(3))
        assert (type(named), named.balance(), named.name) == (Named, 7, [False, False, False, True])
        assert point == Point(4)
    """)


@pytest.mark.parametrize("shadowed", [False, True])
@pytest.mark.parametrize("name", ["handmade", "plugin"])
def test_modules_that_a_worker_cannot_import_go_by_value(script, tmp_path: Path, name: str, shadowed: bool) -> None:
    if shadowed:
        (tmp_path / f"{name}.py").write_text("def f(x): raise AssertionError('another module of that name')")
    source = "factor = 2\nclass Thing:\n  def __init__(self, x): self.x = x\ndef f(x): return Thing(factor * x)\n"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "plugin.py").write_text(source)
    script(f"""
        import importlib.util, types
        if {name!r} == "plugin":
            spec = importlib.util.spec_from_file_location("plugin", "elsewhere/plugin.py")
            module = importlib.util.module_from_spec(spec)
            sys.modules["plugin"] = module
            spec.loader.exec_module(module)
        else:
            module = sys.modules["handmade"] = types.ModuleType("handmade")
            exec({source!r}, vars(module))
        worker = Worker()
        packed = worker.unpack(module.f, lambda x: module.f(x + 1))
        assert packed.needs_cloudpickle
        for index, expected in enumerate([6, 8]):
            back = worker.call(3, index=index)
            assert type(back) is module.Thing and back.x == expected
        assert set(main_globals_in([back])) == {{"{name}:Thing"}}
    """)


def test_python_dash_m_runs_relative_imports_in_functions(script, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("value = 5\n")
    (package / "program.py").write_text(
        dedent("""
        from parent import *
        import package.helper
        def f(x):
            from . import helper
            return helper.value + x, __file__, package.helper.value
        worker = Worker()
        worker.unpack(f)
        assert worker.call(1) == (6, __file__, 5)
    """)
    )
    script("", "-m", "package.program")


def test_what_cloudpickle_alone_cannot_do(script) -> None:
    script("""
        import functools, typing
        P = typing.ParamSpec("P"); R = typing.TypeVar("R"); Ts = typing.TypeVarTuple("Ts")
        UserId = typing.NewType("UserId", int)
        def logged(f: typing.Callable[P, R]) -> typing.Callable[P, R]:
            @functools.wraps(f)
            def inner(*args: P.args, **kwargs: P.kwargs) -> R: return f(*args, **kwargs)
            return inner
        @functools.lru_cache(maxsize=50)
        def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
        class Lazy:
            @functools.cached_property
            def value(self): return 6
        @functools.singledispatch
        def show(x): return "any"
        @show.register
        def _(x: int): return "int"
        @logged
        def f(n: UserId, *rest: *Ts) -> UserId: return UserId(fib(n)), Lazy().value, show(n), show("n")
        worker = Worker()
        worker.unpack(f, fib, functools.lru_cache(lambda x: -x))
        assert worker.call(30) == (832040, 6, "int", "any")
        assert worker.call(40, index=1) == 102334155
        assert worker.call(1, index=2) == -1
        assert worker.evaluate("callables[1].cache_info().maxsize") == 50
    """)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
def test_type_parameters(script) -> None:
    script("""
        type Ids = list[int]
        class Box[T]:
            def __init__(self, x: T) -> None: self.x = x
        def wrap[T](x: T, ids: Ids = []) -> Box[T]: return Box(x)
        worker = Worker()
        worker.unpack(wrap)
        assert type(worker.call(1)) is Box
    """)


def test_what_cannot_cross_is_named(script) -> None:
    script("""
        import threading
        from flatout._errors import NotPicklable
        lock = threading.Lock()
        class Client:
            def get(self):
                with lock: pass
        def f(x): return Client().get()
        for attempt in (lambda: pack_callables(len, f), lambda: pack_definitions(main_globals_in(Client()))):
            try:
                attempt()
            except NotPicklable as error:
                assert "global 'lock' of function Client.get: cannot pickle '_thread.lock' object" in str(error), error
                assert "initializer" in str(error) and "TypeError" in repr(error.__cause__)
            else:
                raise AssertionError
    """)


def test_main_globals_are_found_wherever_they_are(script) -> None:
    script(
        CLASSES
        + """
    import json, functools
    assert main_globals_in([1, "a", {"b": (2.0, json.loads)}, None, range(3), ValueError("x")]) == {}
    assert main_globals_in(Outer.Inner()) == {"__main__:Outer": Outer}
    assert main_globals_in({Color.RED: [functools.partial(square, 2), Point(1)]}) == {
        "__main__:Color": Color, "__main__:square": square, "__main__:Point": Point
    }
    """
    )


def test_the_workers_half_imports_next_to_nothing() -> None:
    code = """
import sys
import flatout._wire
before = set(sys.modules)
import flatout._wire._functions
print(sorted(set(sys.modules) - before - {"collections.abc", "pickle", "_pickle", "_compat_pickle", "struct", "_struct"}))
"""
    command = [sys.executable, "-c", "import re, io, functools, types" + code]
    done = subprocess.run(
        command, check=False, env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, timeout=60
    )
    names = ["_buffers", "_by_code", "_code", "_functions", "_modules", "_sentinels"]
    assert eval(done.stdout) == [f"flatout._wire.{name}" for name in names], done
