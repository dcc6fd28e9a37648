"""What a scenario's keys mean: the docstrings below the fields, read when somebody asks.

Pydantic would read them while it makes the classes, which takes a third of the time that a command needs to start.
"""

import ast
import inspect
import sys
from functools import cache

from fedsim.scenario.base import Config


@cache
def meanings(section: type[Config]) -> dict[str, str]:
    """Field -> what stands below it, here or in a class that this one is made from; empty where nothing does."""
    found: dict[str, str] = {}
    for owner in reversed(section.__mro__):
        found |= _docstrings(owner.__module__).get(owner.__qualname__, {})
    return {name: field.description or found.get(name, "") for name, field in section.model_fields.items()}


@cache
def _docstrings(module: str) -> dict[str, dict[str, str]]:
    """Class -> field -> docstring, of all classes of a module."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError, KeyError):  # built in, or typed into a session
        return {}
    found: dict[str, dict[str, str]] = {}
    _collect(tree, "", found)
    return found


def _collect(node: ast.AST, path: str, found: dict[str, dict[str, str]]) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            found[path + child.name] = _fields(child)
            _collect(child, f"{path}{child.name}.", found)
        elif isinstance(child, ast.FunctionDef):
            _collect(child, f"{path}{child.name}.<locals>.", found)


def _fields(section: ast.ClassDef) -> dict[str, str]:
    texts: dict[str, str] = {}
    for before, after in zip(section.body, section.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name):
            match after:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    texts[before.target.id] = inspect.cleandoc(text)
    return texts
