from pathlib import Path

import pytest

from fedsim.data import docstring_source
from fedsim.data.docstring_source import Library
from fedsim.errors import UserError
from tests.data.shapes import write_package


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path)


def test_source_gives_kinds_in_order_with_the_arguments_of_each(package: Path) -> None:
    _, found = docstring_source.read("shapes", package / "__init__.py", {"shapes", "shapes.inner"})
    arguments = [(each.kind, sorted(each.arguments)) for each in found]
    assert arguments == [
        ("module", []),
        ("class", []),
        ("class", []),
        ("class", ["extra", "height", "rest", "unit", "width"]),
        ("function", ["value"]),
        ("class", []),
        ("method", ["factor"]),
        ("method", []),
        ("method", ["seconds"]),
        ("class", ["max_value", "x"]),
    ]


def test_scope_has_definitions_imports_and_exceptions(package: Path) -> None:
    scope, _ = docstring_source.read("shapes", package / "__init__.py", {"shapes", "shapes.inner"})
    assert scope.classes == {"Box", "Inner", "Point"}
    assert scope.functions == {"__init__", "nested", "scale_by", "area", "wait"}
    assert {"ShapeError", "Worse", "DepthError", "KeyError", "Warning"} <= scope.exceptions
    assert scope.modules == {"os", "os.path", "numpy", "np", "shapes", "shapes.inner", "inner", "shapes.errors"}


def test_relative_imports_count_from_the_package(tmp_path: Path) -> None:
    file = tmp_path / "leaf.py"
    file.write_text("from .. import side\nfrom ..side import Thing\nfrom .near import thing as other\n")
    scope, _ = docstring_source.read("top.mid.leaf", file, {"top.side"})
    assert scope.modules == {"top", "top.side", "side", "top.mid", "top.mid.near"}


def test_tests_vendored_packages_and_scripts_are_left_out(tmp_path: Path) -> None:
    for name in (
        *("__init__.py", "good.py", "testing.py", "both.py", "both/__init__.py", "test_x.py", "x_test.py", "run-me.py"),
        *("tests/a.py", "_vendor/b.py", "thirdparty_files/c.py", "site-packages/d.py", "__pycache__/e.py", "data.txt"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = docstring_source.modules(Library("x", "1", tmp_path, "x"))
    assert set(found) == {"x", "x.good", "x.testing", "x.both"}
    assert found["x.both"].name == "__init__.py"
    assert set(docstring_source.modules(Library("x", "1", tmp_path, ""))) == {"good", "testing", "both"}


def test_unknown_and_missing_libraries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError, match=r"unknown library 'nunpy'; did you mean 'numpy'\? allowed: .*stdlib"
    ) as unknown:
        docstring_source.find("nunpy")
    assert unknown.value.key == "data.corpus.libraries"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="'sympy' is not installed") as missing:
        docstring_source.find("sympy")
    assert missing.value.key == "data.corpus.libraries"


def test_standard_library_is_found_without_installed_packages() -> None:
    found = docstring_source.modules(docstring_source.find("stdlib"))
    assert {"argparse", "email.message", "json"} <= set(found)
    assert not [name for name in found if name.split(".")[0] in ("numpy", "pip", "pytest", "test")]
