"""Pickles read as data: numbers, strings and containers are made of them, and nothing is ever imported or called.

Python's own unpickler runs whatever a pickle asks for. Here a pickle is a list of instructions for a small machine with
a stack, of which only those are known that make plain data. NumPy's scalars are the one exception: what pickles say to
make one is recognised by its name, and its bytes are decoded here.
"""

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


class Unsafe(ValueError):
    """A pickle that is damaged, or that asks for more than plain data; says at which byte."""


@dataclass(frozen=True)
class _Name:
    """A name that would be imported."""

    module: str
    name: str


class _Dtype:
    """The type of a NumPy scalar."""

    def __init__(self, kind: str) -> None:
        self.kind, self.order = kind, "<"


_MARK = object()
_SCALARS = ("numpy.core.multiarray", "numpy._core.multiarray")
_KINDS = {f"{kind}{size}" for kind in "iuf" for size in (1, 2, 4, 8)} - {"f1"} | {"b1"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set, "EMPTY_TUPLE": tuple}
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = {"PROTO", "FRAME"}


def loads(data: bytes, entries: int | None = None) -> Any:
    """The one object that a pickle holds.

    Args:
        data: The pickle.
        entries: Stop once the object is a dictionary with at least so many; what comes later is not looked at.

    Raises:
        Unsafe: It is damaged, or holds anything but None, booleans, numbers, strings, bytes, and lists, tuples, sets
            and dictionaries of them, with numbers or strings for keys.
    """
    machine, position = _Machine(), 0
    try:
        for opcode, argument, at in pickletools.genops(data):
            position = at or 0
            if opcode.name == "STOP":
                return machine.result()
            machine.do(opcode.name, argument)
            if entries is not None and opcode.name in ("SETITEM", "SETITEMS") and machine.has(entries):
                return machine.result()
    except Unsafe as error:
        raise Unsafe(f"{error} (byte {position})") from None
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise Unsafe(f"is damaged at byte {position}: {error}") from None
    raise Unsafe("ends before it is complete")


class _Machine:
    """A stack, marks on it, and what was put aside to be used again."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def result(self) -> Any:
        (value,) = self.stack
        if isinstance(value, _Name | _Dtype):
            raise Unsafe("holds no data")
        return value

    def has(self, entries: int) -> bool:
        """The outermost object is a dictionary with so many entries, and nothing else is under way."""
        return len(self.stack) == 1 and len(self.stack[0]) >= entries

    def do(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[int(argument)])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else self.since_mark()
            self.top(dict).update(_pairs(items))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self.since_mark()
            self.top(list).extend(items)
        elif name == "ADDITEMS":
            items = self.since_mark()
            self.top(set).update(map(_key, items))
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _SHORT_TUPLES:
            items = stack[-_SHORT_TUPLES[name] :]
            del stack[-_SHORT_TUPLES[name] :]
            stack.append(tuple(items))
        elif name in ("TUPLE", "LIST", "DICT", "FROZENSET"):
            items = self.since_mark()
            makers: dict[str, Callable[[list[Any]], Any]] = {
                "TUPLE": tuple, "LIST": list, "DICT": lambda found: dict(_pairs(found)),
                "FROZENSET": lambda found: frozenset(map(_key, found)),
            }  # fmt: skip
            stack.append(makers[name](items))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        else:
            self.scalars(name, argument)

    def scalars(self, name: str, argument: Any) -> None:
        """Instructions that pickles of NumPy scalars need, for them and for nothing else."""
        stack = self.stack
        if name == "GLOBAL":
            module, _, attribute = argument.partition(" ")
            stack.append(_known(_Name(module, attribute)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(_known(_Name(str(module), str(attribute))))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_made(function, arguments))
        elif name == "BUILD":
            state = stack.pop()
            dtype = self.top(_Dtype)
            dtype.order = {"<": "<", ">": ">", "|": "<"}[state[1]]
        elif name not in _NOTHING:
            raise Unsafe(f"asks for {name}, which plain data does not need; nothing was run")

    def top(self, kind: type[Any]) -> Any:
        value = self.stack[-1]
        if type(value) is not kind:
            raise Unsafe(f"is damaged: {type(value).__name__} where a {kind.__name__} is needed")
        return value

    def since_mark(self) -> list[Any]:
        """What lies above the last mark, which is taken away with it."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                items = self.stack[place + 1 :]
                del self.stack[place:]
                return items
        raise Unsafe("is damaged: a mark is missing")


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(map(_key, items[::2]), items[1::2], strict=True)


def _key(value: Any) -> Any:
    # Hashing a tuple in a tuple in a tuple ... would overflow the interpreter's stack.
    if value is None or isinstance(value, int | float | str | bytes):
        return value
    raise Unsafe(f"is damaged: a {type(value).__name__} as a key")


def _known(name: _Name) -> _Name:
    if name == _Name("numpy", "dtype") or (name.module in _SCALARS and name.name == "scalar"):
        return name
    raise Unsafe(
        f"asks for {name.module}.{name.name}, it may only hold numbers, strings and containers; nothing was run"
    )


def _made(function: Any, arguments: Any) -> Any:
    if function == _Name("numpy", "dtype") and arguments[0] in _KINDS:
        return _Dtype(arguments[0])
    if isinstance(function, _Name) and function.name == "scalar":
        dtype, data = arguments
        if isinstance(dtype, _Dtype) and isinstance(data, bytes):
            return np.frombuffer(data, np.dtype(f"{dtype.order}{dtype.kind}"), 1)[0].item()
    raise Unsafe("calls something that makes no number; nothing was run")
