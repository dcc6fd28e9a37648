"""YAML read with the line of every key kept.

The scalars are those of YAML 1.2's core schema, not of YAML 1.1, which takes `1e-3` and `1:30` for a text and
for 90, `no` for false and `010` for 8. Here `1e-3` is a number, `1e6` and `1_000_000` are whole numbers, only
`true` and `false` are truth values, and everything else that is not plainly a decimal number is text.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fedsim.errors import UserError
from fedsim.scenario.base import Key

MAX_SHARED_VALUES = 10_000
"""Values that aliases may repeat; a few nested ones would otherwise grow without bound."""


class Place(NamedTuple):
    """Where something was written: a file and a line, or an option of the command line."""

    file: str
    line: int | None = None


@dataclass
class Document:
    """Plain data, and where each piece of it was written."""

    data: Any
    places: dict[Key, Place]
    repeated: list[tuple[Key, Place, str]] = field(default_factory=list)
    """Keys given twice in one mapping, each with a message."""

    def place(self, key: Key) -> Place:
        """Where a key, or the nearest thing around it, was written."""
        while key not in self.places:
            key = key[:-1]
        return self.places[key]


def read(path: Path) -> tuple[Document, str]:
    """A YAML file as data and as text.

    Raises:
        UserError: the file cannot be read, is not UTF-8, is empty or is not YAML; says which line.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=path) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError("is not UTF-8 text: save it with that encoding", file=path, line=line) from error
    document = parse(text, lambda line: Place(str(path), line))
    if document.data is None:
        raise UserError("is empty: a scenario is expected", file=path)
    return document, text


def parse(text: str, place: Callable[[int], Place]) -> Document:
    """One YAML document; `place` turns a line (from 1) into a place.

    Raises:
        UserError: the text is not YAML, or holds something that is not plain data.
    """
    try:
        # Nothing but plain data is ever built: nodes are read, and their tags only compared.
        return _Builder(place).document(_composed(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _user_error(_plain(error), place(mark.line + 1 if mark else 1)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _user_error(f"character {error.character!r} is not allowed in YAML", place(line)) from error
    except RecursionError as error:
        raise _user_error("is nested too deeply", place(1)) from error


class _Resolver(yaml.resolver.BaseResolver):
    yaml_implicit_resolvers = {}


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("merge", r"<<", "<"),
):
    _Resolver.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


class _Composer(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser, yaml.composer.Composer, _Resolver):
    """PyYAML's own reader, whose words for what is wrong are the ones that users see."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.composer.Composer.__init__(self)
        _Resolver.__init__(self)


class _Quick(yaml.composer.Composer, _Resolver):
    """Events from LibYAML, composed in Python: LibYAML's own composer overflows the stack where nesting is deep."""

    def __init__(self, text: str) -> None:
        yaml.composer.Composer.__init__(self)
        _Resolver.__init__(self)
        events = yaml.CSafeLoader(text)
        self.check_event, self.peek_event, self.get_event = events.check_event, events.peek_event, events.get_event


def _composed(text: str) -> yaml.Node | None:
    """The nodes of a document. LibYAML reads five times as fast, where PyYAML has it; what it refuses is read again."""
    if yaml.__with_libyaml__:
        with suppress(yaml.YAMLError, UnicodeError):
            return _Quick(text).get_single_node()
    return _Composer(text).get_single_node()


class _Builder:
    """Turns nodes into data, noting where each one starts."""

    def __init__(self, place: Callable[[int], Place]) -> None:
        self.place = place
        self.result = Document(None, {(): place(1)})
        self.built: set[int] = set()
        self.open: set[int] = set()
        self.shared = 0

    def document(self, node: yaml.Node | None) -> Document:
        if node is not None:
            self.result.data = self.build(node, ())
        return self.result

    def build(self, node: yaml.Node, key: Key) -> Any:
        self._bound(node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        self.open.add(id(node))
        value: Any
        if isinstance(node, yaml.SequenceNode):
            self._standard(node, "seq")
            value = []
            for index, item in enumerate(node.value):
                self.result.places[*key, index] = self._at(item)
                value.append(self.build(item, (*key, index)))
        elif isinstance(node, yaml.MappingNode):
            self._standard(node, "map")
            value = self._mapping(node, key)
        self.open.discard(id(node))
        return value

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        value: dict[str, Any] = {}
        own: dict[str, int] = {}
        merged = [pair for pair in node.value if pair[0].tag == "tag:yaml.org,2002:merge"]
        for _, source in merged:
            for mapping in reversed(source.value) if isinstance(source, yaml.SequenceNode) else [source]:
                if not isinstance(mapping, yaml.MappingNode):
                    raise _user_error("`<<` takes a mapping, or a list of mappings", self._at(source))
                value |= self.build(mapping, key)
        for name_node, item in (pair for pair in node.value if pair not in merged):
            if not isinstance(name_node, yaml.ScalarNode):
                raise _user_error("a key must be a plain word", self._at(name_node))
            # The text as written: a method called `2024` or a network called `null` is a name.
            name, line = name_node.value, name_node.start_mark.line + 1
            if name in own:
                message = f"is given twice: first on line {own[name]}"
                self.result.repeated.append(((*key, name), self.place(line), message))
            own.setdefault(name, line)
            self.result.places[*key, name] = self.place(line)
            value[name] = self.build(item, (*key, name))
        return value

    def _scalar(self, node: yaml.ScalarNode) -> str | int | float | bool | None:
        text, kind = node.value, node.tag.removeprefix("tag:yaml.org,2002:")
        try:
            match kind:
                case "str" | "merge":
                    return str(text)
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int":
                    return int(text)
                case "float":
                    return _number(text)
        except (KeyError, ValueError) as error:
            raise _user_error(f"'{text}' is not of type {kind}", self._at(node)) from error
        raise _user_error(f"the tag {node.tag} is not allowed: use plain values", self._at(node))

    def _standard(self, node: yaml.Node, kind: str) -> None:
        if node.tag != f"tag:yaml.org,2002:{kind}":
            raise _user_error(f"the tag {node.tag} is not allowed: use plain values", self._at(node))

    def _bound(self, node: yaml.Node) -> None:
        if id(node) in self.open:
            raise _user_error("an alias stands inside of what it names", self._at(node))
        self.shared += id(node) in self.built
        self.built.add(id(node))
        if self.shared > MAX_SHARED_VALUES:
            raise _user_error(f"aliases repeat more than {MAX_SHARED_VALUES} values", self._at(node))

    def _at(self, node: yaml.Node) -> Place:
        return self.place(node.start_mark.line + 1)


def _number(text: str) -> int | float:
    value = float(text.replace(".inf", "inf").replace(".Inf", "inf").replace(".INF", "inf").replace(".nan", "nan"))
    whole = "." not in text and "e" in text.lower() and value.is_integer() and abs(value) < 2**53
    return int(value) if whole else value


def _plain(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be read as YAML"
    if "\\t" in problem:
        return "a tab cannot indent: use spaces"
    context = f" ({error.context})" if error.context else ""
    return f"is not YAML: {problem}{context}"


def _user_error(message: str, place: Place) -> UserError:
    return UserError(message, file=place.file, line=place.line)
