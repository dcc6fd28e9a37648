import pytest

from fedsim.data.docstring_source import Scope
from fedsim.data.mentions import TYPES, mentions
from fedsim.data.prose import extract

SCOPE = Scope(
    classes=frozenset({"DataFrame", "Series"}),
    functions=frozenset({"read_csv", "copy", "node"}),
    exceptions=frozenset({"KeyError", "Warning"}),
    modules=frozenset({"os", "os.path", "time", "np"}),
    name="pkg.mod",
)


def named(text: str, scope: Scope, *arguments: str) -> list[tuple[str, str]]:
    prose = extract(text)
    return [(prose.text[a:b], TYPES[kind]) for a, b, kind in mentions(prose, scope, frozenset(arguments))]


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("The axis is `axis`, not an axis.", [("axis", "argument")]),
        ("axis : int\n    The axis.", [("axis", "argument")]),
        ("axis (int, *optional*): The axis.", [("axis", "argument")]),
        ("- axis -- the axis", [("axis", "argument")]),
        ("x, axis : int", [("x", "argument"), ("axis", "argument")]),
        ("The max_iter limit holds.", [("max_iter", "argument")]),
        ("Neither 'max_iter' nor max_iterations nor x.max_iter.", []),
        ("A DataFrame or a Series or a `Series`.", [("DataFrame", "class"), ("Series", "class")]),
        ("Warning: it may raise KeyError.", [("KeyError", "exception")]),
        ("Make a copy; copy() copies; the node(s) stay.", [("copy", "function")]),
        ("Call read_csv or DataFrame.copy.", [("read_csv", "function"), ("DataFrame", "class"), ("copy", "function")]),
        ("Like os.path.join or np.array, each time.", [("os.path", "module"), ("np", "module")]),
        ("Uses `time` and pkg.mod.copy.", [("time", "module"), ("pkg.mod", "module"), ("copy", "function")]),
        ("It is in read_csv.py.", []),
        ("Pass --max_iter or a/max_iter to max_iter.", [("max_iter", "argument")]),
        ("``copy(axis=1)`` and ``'axis'``.", [("copy", "function"), ("axis", "argument")]),
    ],
)  # fmt: skip
def test_names_are_labelled_where_the_text_leaves_no_doubt(text: str, spans: list[tuple[str, str]]) -> None:
    assert named(text, SCOPE, "axis", "max_iter", "x") == spans


def test_an_argument_comes_before_a_definition_of_the_same_name() -> None:
    assert named("Use `copy`.", SCOPE, "copy") == [("copy", "argument")]
    assert named("Use `copy`.", SCOPE) == [("copy", "function")]
