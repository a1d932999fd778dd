"""A safe reader of pickles of lists, bytes, booleans, and arrays of these.

A pickle is a program: it may call any function, and ten bytes of it may make Python's own unpickler take gigabytes.
This reader knows only the instructions below, calls no function of a pickle, and makes no more bytes than the file has.
"""

import io
import pickletools
from collections.abc import Callable, Iterator
from typing import Any

from sdk.errors import InputError
from sdk.text import shortened

MOST_STEPS = 5_000_000
"""Most instructions of a pickle; an image takes two to ten."""

_ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_NAMES = {
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((module, name) for module in _ARRAYS[:2] for name in ("_reconstruct", "scalar")),
    *((module, "_frombuffer") for module in _ARRAYS[2:]),
}


class Array:
    """An array of bytes or booleans."""

    data = b""


class _Name(tuple[str, str]):
    """A module and a name in it."""


class _Type:
    """A dtype of one byte."""


def read_pickle(data: bytes) -> Any:
    """Read a pickle of lists, tuples, bytes, text, small integers, booleans, and arrays of bytes or booleans.

    Returns:
        The value; an array is an `Array`, and NumPy's boolean a bool.

    Raises:
        InputError: The pickle is damaged, asks for something else, or is too long.
    """
    try:
        return _Machine(data).run()
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the pickle is damaged: {shortened(error) or type(error).__name__}") from error


class _Machine:
    def __init__(self, data: bytes) -> None:
        self._steps: Iterator[Any] = pickletools.genops(io.BytesIO(data))
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._left = len(data)  # bytes that text may still be turned into

    def run(self) -> Any:
        for number, (step, value, _) in enumerate(self._steps):
            if number >= MOST_STEPS:
                raise InputError(f"the pickle has more than {MOST_STEPS:,} instructions, wanted fewer")
            if step.name == "STOP":
                return self._stack.pop()
            if step.name in _CONSTANTS:
                self._stack.append(_CONSTANTS[step.name](value))
            elif step.name in _ACTIONS:
                _ACTIONS[step.name](self, value)
            elif step.name not in ("PROTO", "FRAME"):
                raise InputError(f"the pickle holds {step.name}, wanted lists, bytes and booleans")
        raise InputError("the pickle ends early")

    def _taken(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise InputError("the pickle is damaged: it takes more values than there are")
        taken = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return taken

    def _since_mark(self) -> list[Any]:
        return self._taken(len(self._stack) - self._marks.pop())

    def mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def make_list(self, _: Any) -> None:
        self._stack.append(self._since_mark())

    def make_tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def make_tuple_of(self, count: int) -> None:
        self._stack.append(tuple(self._taken(count)))

    def append(self, _: Any) -> None:
        (value,) = self._taken(1)
        self._list().append(value)

    def append_all(self, _: Any) -> None:
        values = self._since_mark()
        self._list().extend(values)

    def _list(self) -> list[Any]:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise InputError(f"the pickle adds to a {type(target).__name__}, wanted a list")
        return target

    def put(self, key: int) -> None:
        self._memo[key] = self._stack[-1]

    def put_next(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def get(self, key: int) -> None:
        self._stack.append(self._memo[key])

    def name(self, text: str) -> None:
        self._named(*text.split(" ", 1))

    def name_of_stack(self, _: Any) -> None:
        self._named(*self._taken(2))

    def _named(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str) or (module, name) not in _NAMES:
            raise InputError(f"the pickle asks for {shortened(f'{module}.{name}')}, which is refused")
        self._stack.append(_Name((module, name)))

    def call(self, _: Any) -> None:
        called, arguments = self._taken(2)
        if not isinstance(called, _Name) or not isinstance(arguments, tuple):
            raise InputError("the pickle calls something that is no function")
        self._stack.append(self._result(called[1], arguments))

    def _result(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "encode":  # as older protocols write bytes
            text, encoding = arguments
            if not isinstance(text, str) or encoding not in ("latin1", "latin-1", b"latin1", b"latin-1"):
                raise InputError("the pickle encodes something else than bytes")
            self._left -= len(text)
            if self._left < 0:
                raise InputError("the pickle unpacks to more bytes than it has")
            return text.encode("latin-1")
        if name == "dtype":
            kind = arguments[0].decode("latin-1") if isinstance(arguments[0], bytes) else arguments[0]
            if kind not in ("b1", "u1"):
                raise InputError(f"the pickle holds an array of {shortened(repr(kind))}, wanted bytes or booleans")
            return _Type()
        if name == "scalar":
            return self._bytes(arguments[1]) != b"\0"
        array = Array()
        if name == "_frombuffer":
            array.data = self._bytes(arguments[0])
        return array

    def build(self, _: Any) -> None:
        (state,) = self._taken(1)
        target = self._stack[-1]
        if isinstance(target, Array):
            target.data = self._bytes(state[4])
        elif not isinstance(target, _Type):
            raise InputError("the pickle fills something that is no array")

    @staticmethod
    def _bytes(value: Any) -> bytes:
        if isinstance(value, Array):
            return value.data
        if not isinstance(value, bytes):
            raise InputError(f"the pickle holds {type(value).__name__}, wanted bytes")
        return value


def _same(value: Any) -> Any:
    return value


def _latin(value: Any) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else bytes(value)


_CONSTANTS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "INT", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"), _same),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), bytes),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _latin),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
}
"""Instructions that put a value on the stack, and how the value is made."""

_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "LIST": _Machine.make_list,
    "TUPLE": _Machine.make_tuple,
    "TUPLE1": lambda machine, _: machine.make_tuple_of(1),
    "TUPLE2": lambda machine, _: machine.make_tuple_of(2),
    "TUPLE3": lambda machine, _: machine.make_tuple_of(3),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.append_all,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    "MEMOIZE": _Machine.put_next,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_of_stack,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}
