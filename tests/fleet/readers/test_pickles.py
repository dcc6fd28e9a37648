import math
import os
import pickle
import pickletools
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsim.fleet.readers.pickles import Unsafe, loads

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.integers() | st.text(), inner),
    max_leaves=20,
)


@pytest.mark.slow
@settings(max_examples=200)
@given(PLAIN, st.sampled_from([3, 4, 5]))
def test_plain_data_comes_back(value: Any, protocol: int) -> None:
    again = loads(pickle.dumps(value, protocol=protocol))
    assert again == value
    assert repr(again) == repr(value), "types, too"


@pytest.mark.parametrize("protocol", range(6))
def test_all_protocols(protocol: int) -> None:
    value = {1: [1, 2.5, -3, 10**30], "a": (None, True, False, (), (1,), (1, 2), (1, 2, 3, 4)), "u": "ä\n" * 300}
    assert loads(pickle.dumps(value, protocol=protocol)) == value


def test_sets_and_what_is_used_twice() -> None:
    shared = [1, 2]
    again = loads(pickle.dumps({"a": shared, "b": shared, "s": {1, 2}, "f": frozenset({"x"})}, protocol=4))
    assert again == {"a": [1, 2], "b": [1, 2], "s": {1, 2}, "f": frozenset({"x"})}
    assert again["a"] is again["b"]


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("value", [
    np.float64(2.5), np.float32(0.1), np.int64(-7), np.int32(7), np.uint8(200), np.float16(0.5), np.bool_(True),
])  # fmt: skip
def test_scalars_of_numpy_become_numbers(value: np.generic, protocol: int) -> None:
    again = loads(pickle.dumps({"x": value, "y": [value]}, protocol=protocol))
    assert again == {"x": value.item(), "y": [value.item()]}
    assert type(again["x"]) is type(value.item())


def test_scalars_in_the_other_order_of_bytes_and_of_the_old_module() -> None:
    data = pickle.dumps(np.float64(2.5), protocol=3)
    assert loads(data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")) == 2.5
    assert loads(pickle.dumps(np.dtype(">f8").type(1.5))) == 1.5
    swapped = data.replace(np.float64(2.5).tobytes(), np.float64(2.5).tobytes()[::-1]).replace(b"<", b">")
    assert loads(swapped) == 2.5


def test_reading_may_stop_early() -> None:
    data = pickle.dumps({i: {"x": float(i)} for i in range(5000)}, protocol=3)
    some = loads(data, entries=10)
    assert 10 <= len(some) < 5000
    assert some[3] == {"x": 3.0}
    assert loads(data[: len(data) // 2], entries=10) == some
    assert len(loads(data, entries=10_000)) == 5000


class Evil:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.what = (function, arguments)

    def __reduce__(self) -> Any:
        return self.what


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {1: {"computation": x}}, lambda x: [[x]]])
def test_a_hostile_pickle_is_refused_and_runs_nothing(wrap: Any, protocol: int, tmp_path: Path) -> None:
    target = tmp_path / "proof"
    data = pickle.dumps(wrap(Evil(os.system, f"touch {target}")), protocol=protocol)
    with pytest.raises(Unsafe, match=r"(posix|nt)\.system, it may only hold .*; nothing was run \(byte \d+\)"):
        loads(data)
    assert not target.exists()
    pickle.loads(data)
    assert target.exists(), "Python's own unpickler does run it, or this test would prove nothing"


@pytest.mark.parametrize(
    "value",
    [
        Evil(eval, "1+1"),
        Evil(getattr, 1, "real"),
        Evil(np.dtype, "O"),
        Evil(np.dtype, object),
        OrderedDict(a=1),
        np.arange(3),
        Path("x"),
        1j,
        np.dtype("f8"),
        bytearray(b"x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_but_plain_data_is_refused(value: Any) -> None:
    for protocol in (2, 4, 5):
        with pytest.raises(Unsafe):
            loads(pickle.dumps(value, protocol=protocol))


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'true'\ntR.",  # imports and calls
        b"(ios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'true'\no.",  # OBJ
        b"cnumpy\ndtype\n)\x81.",  # NEWOBJ
        b"cnumpy\ndtype\nS'f8'\n\x85R.",  # a type is no datum
        b"cnumpy\ndtype\n.",
        b"cnumpy.core.multiarray\nscalar\nS'f8'\nS'abc'\n\x86R.",
        b"]}b.",  # BUILD of a list
        b"P1\n.",  # persistent
        b"\x82\x01.",  # extension
        b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",  # bytes without end
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"]r\xff\xff\xff\x7f" + b"j\xff\xff\xff\x7e.",  # what was never put aside
        b"}(K\x01u.",  # a key without a value
        b"(K\x01K\x02t" * 2 + b"}.",  # two things left
        b"u.",
        b"t.",
        b".",
        b"",
        b"K",
        b"]K\x01",
        b"hello",
        b"\x80\x04" + b")\x85" * 5,
    ],
)
def test_damaged_and_forged_programs_are_refused(program: bytes) -> None:
    with pytest.raises(Unsafe):
        loads(program)


def test_nested_tuples_as_keys_cannot_overflow_the_stack() -> None:
    with pytest.raises(Unsafe, match="a tuple as a key"):
        loads(b"}(" + b")" + b"\x85" * 200_000 + b"K\x01u.")


def test_a_huge_place_in_the_memo_costs_nothing() -> None:
    assert loads(b"K\x05r\xff\xff\xff\x7f.") == 5


@settings(max_examples=300)
@given(st.data())
def test_any_change_to_a_pickle_is_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(pickle.dumps({i: {"computation": np.float64(i), "b": [1, "x"]} for i in range(3)}, protocol=3))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(whole)))
    with suppress(Unsafe):
        assert _plain(loads(bytes(whole[:cut])))


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_plain(part) for item in value.items() for part in item)
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_plain, value))
    return value is None or type(value) in (bool, int, float, str, bytes)


def test_every_instruction_of_python_is_either_known_to_be_harmless_or_refused() -> None:
    harmless = {
        *("MARK", "STOP", "PROTO", "FRAME", "NONE", "NEWTRUE", "NEWFALSE", "MEMOIZE"),
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("EMPTY_LIST", "APPEND", "APPENDS", "LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_SET", "ADDITEMS", "FROZENSET"),
        *("GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT"),
    }
    checked = {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"}
    for opcode in pickletools.opcodes:
        if opcode.name in harmless | checked:
            continue
        # POP, DUP, INST, OBJ, NEWOBJ, EXT1, PERSID, BYTEARRAY8, NEXT_BUFFER ...
        argument = b"" if opcode.arg is None else b"\x01" * max(opcode.arg.n, 1) + b"\n" * (opcode.arg.n < 0) * 2
        with pytest.raises(Unsafe):
            loads(b"](" + opcode.code.encode("latin-1") + argument + b".")


def test_not_a_number_is_a_number() -> None:
    assert math.isnan(loads(pickle.dumps(float("nan"))))
