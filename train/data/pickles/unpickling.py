"""A safe reader of pickles of plain values: containers, text, numbers, bytes, paths, and arrays of numbers.

A pickle is a program: it may call any function, and ten bytes of it may make Python's own unpickler take gigabytes.
This reader knows only the instructions below, calls no function of a pickle, and makes no more bytes than the file has.
"""

import io
import pickletools
import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError
from sdk.text import shortened

MOST_STEPS = 5_000_000
"""Most instructions of a pickle, by default; an image takes two to ten."""

_ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_PATHS = {
    f"{kind}{system}Path": pure
    for kind in ("", "Pure")
    for system, pure in (("Posix", PurePosixPath), ("Windows", PureWindowsPath))
}
_CONTAINERS = ("set", "frozenset", "OrderedDict")
_NAMES = {
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    *((module, name) for module in ("builtins", "__builtin__") for name in _CONTAINERS[:2]),
    *((module, name) for module in ("pathlib", "pathlib._local") for name in _PATHS),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((module, name) for module in _ARRAYS[:2] for name in ("_reconstruct", "scalar")),
    *((module, "_frombuffer") for module in _ARRAYS[2:]),
}
_NUMBERS = re.compile(r"[biu][1248]|f[248]")
_TEXT = re.compile(r"U\d{1,7}")
_LARGEST_INTEGER = 1 << 63


class Array:
    """An array of numbers.

    Attributes:
        data: Its bytes.
        kind: Its dtype, such as `<f4`.
        shape: Its shape.
        order: `C` or `F`, the order of its values.
    """

    data, kind, shape, order = b"", "u1", (0,), "C"

    def values(self) -> NDArray[Any]:
        """Return the array; it shares its memory with `data`.

        Raises:
            ValueError: There are more or fewer bytes than the shape needs.
        """
        return np.frombuffer(self.data, self.kind).reshape(self.shape, order=self.order)  # type: ignore[call-overload]


class _Name(tuple[str, str]):
    """A module and a name in it."""


class _Type:
    """A dtype: of numbers, or of text."""

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "<"

    @property
    def kind(self) -> str:
        """The dtype of an array."""
        if not _NUMBERS.fullmatch(self.code):
            raise InputError(f"the pickle holds an array of {shortened(repr(self.code))}, wanted numbers")
        return self.order + self.code


def read_pickle(data: bytes, most_steps: int | None = None) -> Any:
    """Read a pickle of containers, bytes, text, numbers, booleans, paths, and arrays of numbers.

    Args:
        data: The pickle.
        most_steps: Most instructions; `MOST_STEPS` by default.

    Returns:
        The value. An array is an `Array`; NumPy's numbers, text and booleans are Python's; a path is text.

    Raises:
        InputError: The pickle is damaged, asks for something else, which is named, or is too long.
    """
    try:
        return _Machine(data, MOST_STEPS if most_steps is None else most_steps).run()
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the pickle is damaged: {shortened(error) or type(error).__name__}") from error


class _Machine:
    def __init__(self, data: bytes, most_steps: int) -> None:
        self._steps: Iterator[Any] = pickletools.genops(io.BytesIO(data))
        self._most = most_steps
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._left = len(data)  # what values that the file has once may still be copied into

    def run(self) -> Any:
        for number, (step, value, _) in enumerate(self._steps):
            if number >= self._most:
                raise InputError(f"the pickle has more than {self._most:,} instructions, wanted fewer")
            if step.name == "STOP":
                return self._stack.pop()
            if step.name in _CONSTANTS:
                self._stack.append(_CONSTANTS[step.name](value))
            elif step.name in _ACTIONS:
                _ACTIONS[step.name](self, value)
            elif step.name not in ("PROTO", "FRAME"):
                raise InputError(f"the pickle holds {step.name}, wanted containers, text, numbers and arrays")
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

    def make_dict(self, _: Any) -> None:
        values = self._since_mark()
        self._stack.append({})
        self._fill(values)

    def set_item(self, _: Any) -> None:
        self._fill(self._taken(2))

    def set_items(self, _: Any) -> None:
        self._fill(self._since_mark())

    def _fill(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(values) % 2:
            raise InputError(f"the pickle fills a {type(target).__name__}, wanted a dict")
        target.update(zip(map(_key, values[::2]), values[1::2], strict=True))

    def add_items(self, _: Any) -> None:
        values, target = self._since_mark(), self._stack[-1]
        if not isinstance(target, set):
            raise InputError(f"the pickle adds to a {type(target).__name__}, wanted a set")
        target.update(map(_key, values))

    def make_frozenset(self, _: Any) -> None:
        self._stack.append(set(map(_key, self._since_mark())))

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
            self._spend(len(text))
            return text.encode("latin-1")
        if name in _CONTAINERS:
            return self._container(name, arguments)
        if name in _PATHS:
            if not all(isinstance(part, str) for part in arguments):
                raise InputError("the pickle makes a path of something that is no text")
            self._spend(sum(map(len, arguments)))
            return _PATHS[name](*arguments).as_posix()
        if name == "dtype":
            code = arguments[0].decode("latin-1") if isinstance(arguments[0], bytes) else arguments[0]
            if not isinstance(code, str):
                raise InputError(f"the pickle has a {type(code).__name__} as dtype, wanted text")
            return _Type(code.lstrip("<|="))
        if name == "scalar":
            return self._scalar(*arguments)
        array = Array()
        if name == "_frombuffer":
            data, kind, array.shape, array.order = arguments
            array.data, array.kind = self._bytes(data), kind.kind
        return array

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise InputError("the pickle unpacks to more bytes than it has")

    def _container(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if len(arguments) > 1 or not all(isinstance(part, list) for part in arguments):
            raise InputError(f"the pickle makes a {name} of something that is no list")
        values = arguments[0] if arguments else []
        self._spend(len(values))
        return {_key(key): value for key, value in values} if name == "OrderedDict" else set(map(_key, values))

    def _scalar(self, kind: _Type, value: Any) -> Any:
        data = self._bytes(value)
        if not _TEXT.fullmatch(kind.code):
            return np.frombuffer(data, kind.kind)[0].item()
        self._spend(len(data))
        return data.decode("utf-32-be" if kind.order == ">" else "utf-32-le").rstrip("\0")

    def build(self, _: Any) -> None:
        (state,) = self._taken(1)
        target = self._stack[-1]
        if isinstance(target, Array):
            _, target.shape, kind, fortran, data = state
            target.data, target.kind, target.order = self._bytes(data), kind.kind, "F" if fortran else "C"
        elif isinstance(target, _Type):
            target.order = {">": ">", b">": ">"}.get(state[1], "<")
        else:
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


def _key(value: Any) -> Any:
    """Return a value as a key. Nested tuples are none: hashing a very deep one would end the process."""
    if not isinstance(value, str | int | float):
        raise InputError(f"the pickle has a {type(value).__name__} as a key, wanted text or numbers")
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int) or not -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
        raise InputError("the pickle has an integer of more than 64 bits")
    return value


def _latin(value: Any) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else bytes(value)


_CONSTANTS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "FLOAT", "BINFLOAT"), _same),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1"), _integer),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), bytes),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _latin),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_DICT": lambda _: {},
    "EMPTY_SET": lambda _: set(),
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
    "DICT": _Machine.make_dict,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "ADDITEMS": _Machine.add_items,
    "FROZENSET": _Machine.make_frozenset,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    "MEMOIZE": _Machine.put_next,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_of_stack,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}
