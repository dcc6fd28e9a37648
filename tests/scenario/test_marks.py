import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fedsim.errors import UserError
from fedsim.scenario.marks import Document, Place, parse, read


def document(text: str) -> Document:
    return parse(text, lambda line: Place("f", line))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("5E-5", 5e-5),
        ("1.5e3", 1500.0),
        ("1e6", 1_000_000),
        ("1_000_000", 1_000_000),
        ("+3", 3),
        ("-0", 0),
        (".5", 0.5),
        ("3.", 3.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        # Text, where YAML 1.1 has numbers, dates and truth values
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("010", "010"),
        ("0o17", "0o17"),
        ("0x1F", "0x1F"),
        ("4g", "4g"),
        ("1_000.5", "1_000.5"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("2024-01-01", "2024-01-01"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("=", "="),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    read = document(f"key: {text}").data["key"]
    assert read == value
    assert type(read) is type(value)


def test_infinity_and_nan_are_numbers() -> None:
    assert document("[.inf, -.INF, .nan]").data[:2] == [math.inf, -math.inf]
    assert math.isnan(document(".nan").data)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_is_read_back(value: float) -> None:
    assert document(f"- {value!r}").data == [value]


@given(st.integers())
def test_every_integer_is_read_back(value: int) -> None:
    assert document(f"- {value}").data == [value]


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="ascii", exclude_categories=["C"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcdef"), inner, max_size=4),
    max_leaves=20,
)


@given(json_like)
def test_what_yaml_writes_is_read_back_and_every_piece_has_a_place(value: Any) -> None:
    result = document(yaml.safe_dump(value))
    assert result.data == value
    assert not result.repeated

    def check(piece: Any, key: tuple[str | int, ...]) -> None:
        assert key in result.places
        for name, below in piece.items() if isinstance(piece, dict) else enumerate(piece):
            if isinstance(below, dict | list):
                check(below, (*key, name))

    if isinstance(value, dict | list):
        check(value, ())


def test_lines_of_keys_and_items() -> None:
    result = document("# first\na:\n  b: 1\n  c:\n  - x\n  - {d: 2}\n")
    assert {key: place.line for key, place in result.places.items()} == {
        (): 1,
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "c"): 4,
        ("a", "c", 0): 5,
        ("a", "c", 1): 6,
        ("a", "c", 1, "d"): 6,
    }
    assert result.place(("a", "c", 1, "missing", "deeper")).line == 6


def test_keys_are_names_whatever_they_look_like() -> None:
    assert document("{1: a, null: b, true: c, 4g: d, 1e3: e}").data == {
        "1": "a",
        "null": "b",
        "true": "c",
        "4g": "d",
        "1e3": "e",
    }


def test_merge_keys() -> None:
    text = "base: &base {a: 1, b: 2}\nmore: &more {b: 3, c: 4}\nx: {<<: *base, b: 5}\ny: {<<: [*base, *more]}\n"
    result = document(text)
    assert result.data["x"] == {"a": 1, "b": 5}
    assert result.data["y"] == {"a": 1, "b": 2, "c": 4}
    assert not result.repeated
    assert result.places["x", "b"].line == 3


def test_a_key_given_twice() -> None:
    (repeat,) = document("a: 1\nb: 2\na: 3\n").repeated
    assert repeat == (("a",), Place("f", 3), "is given twice: first on line 1")


BOMB = "\n".join(["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10))])


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\n\tb: 2\n", 2, "a tab cannot indent: use spaces"),
        ("a:\n\t- 2\n", 2, "a tab cannot indent: use spaces"),
        ("a: 1\nb: [1, 2\n", 3, "is not YAML: expected ',' or ']'"),
        ("a: 1\n b: 2\n", 2, "is not YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2\n", 2, "is not YAML: but found another document"),
        ("a: 'open\n", 2, "is not YAML: found unexpected end of stream"),
        ("a: *nobody\n", 1, "is not YAML: found undefined alias 'nobody'"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]\n", 2, "is not allowed: use plain values"),
        ("a: 1\nb: !own 3\n", 2, "the tag !own is not allowed"),
        ("a: !!int three\n", 1, "'three' is not of type int"),
        ("a: !!set {x}\n", 1, "is not allowed: use plain values"),
        ("{[1, 2]: 3}\n", 1, "a key must be a plain word"),
        ("a: {<<: 3}\n", 1, "`<<` takes a mapping"),
        ("a: 1\nb: &b [*b]\n", 2, "an alias stands inside of what it names"),
        (BOMB, 1, "aliases repeat more than 10000 values"),
        ("[" * 5000, 1, "is nested too deeply"),
        ("a: 1\nb: \x00\n", 2, "is not allowed in YAML"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_cannot_be_read(text: str, line: int, says: str) -> None:
    with pytest.raises(UserError) as caught:
        document(text)
    assert caught.value.line == line
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (b"", None, "is empty"),
        (b"# only a comment\n", None, "is empty"),
        (b"name: x\nsummary: caf\xe9\n", 2, "is not UTF-8 text"),
    ],
)
def test_files_that_cannot_be_read(content: bytes, line: int | None, says: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        read(file)
    assert (caught.value.file, caught.value.line) == (file, line)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read(tmp_path)


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xef\xbb\xbfname: \xc3\xa9\n")
    assert read(file)[0].data == {"name": "é"}


def test_a_document_is_the_same_with_and_without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted((Path(__file__).parents[2] / "scenarios").glob("*.yaml"))
    texts = [*(file.read_text(encoding="utf-8") for file in files), "a: {b:1, c: [d:e, 'f\n\n g']}", "a: &x 1\nb: *x"]
    quick = [document(text) for text in texts]
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    assert [document(text) for text in texts] == quick
