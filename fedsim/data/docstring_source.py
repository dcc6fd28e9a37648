"""Docstrings of installed packages, and the names around them, from source that is parsed and never imported."""

import ast
import builtins
import importlib.metadata
import importlib.util
import os
import platform
import sysconfig
import warnings
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from fedsim.errors import UserError, choose
from fedsim.scenario.data import DOCSTRING_LIBRARIES

KINDS = ("module", "class", "method", "function")
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_RAISED = ("Error", "Exception", "Warning")
_BUILTIN_EXCEPTIONS = frozenset(
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
)


@dataclass(frozen=True)
class Library:
    """An installed package; `package` is the prefix of its modules' names, empty for the standard library."""

    name: str
    version: str
    root: Path
    package: str


@dataclass(frozen=True)
class Scope:
    """Names that mean something everywhere in a module: what it defines and what it imports.

    `modules` has dotted names and local aliases; `exceptions` has the built-in ones as well.
    """

    classes: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()
    exceptions: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()
    name: str = ""


@dataclass(frozen=True)
class Docstring:
    """One docstring, its indentation removed, and the arguments of what it describes."""

    kind: str
    text: str
    arguments: frozenset[str]


def find(name: str) -> Library:
    """Locate an installed package by the name used in a scenario.

    Raises:
        UserError: the name is not one of the known libraries, or the library is not installed.
    """
    key = "data.corpus.libraries"
    if name not in DOCSTRING_LIBRARIES:
        raise UserError(f"unknown library '{name}'; {choose(name, DOCSTRING_LIBRARIES)}", key=key)
    if name == "stdlib":
        return Library(name, platform.python_version(), Path(sysconfig.get_path("stdlib")), "")
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise UserError(f"library '{name}' is not installed: install it, or take it off the list", key=key)
    return Library(name, importlib.metadata.version(name), Path(spec.origin).parent, name)


def modules(library: Library) -> dict[str, Path]:
    """Source file of every module by dotted name; tests, vendored packages and scripts left out."""
    found: dict[str, Path] = {}
    for folder, folders, files in os.walk(library.root):
        folders[:] = sorted(part for part in folders if _belongs(part))
        prefix = (*filter(None, [library.package]), *Path(folder).relative_to(library.root).parts)
        for path in sorted(Path(folder, file) for file in files if file.endswith(".py")):
            if path.stem != "__init__" and _belongs(path.stem):
                found.setdefault(".".join((*prefix, path.stem)), path)
            elif path.stem == "__init__" and prefix:
                # Python prefers the package `x/__init__.py` to a module `x.py` beside it, and so do we.
                found[".".join(prefix)] = path
    return found


def _belongs(part: str) -> bool:
    test = part in ("test", "tests", "conftest") or part.startswith("test_") or part.endswith(("_test", "_tests"))
    foreign = any(word in part for word in ("vendor", "thirdparty", "third_party"))
    return part.isidentifier() and not test and not foreign and part != "__pycache__"


def read(module: str, path: Path, known: Container[str]) -> tuple[Scope, list[Docstring]]:
    """Parse one source file; docstrings in source order. `known` has the dotted names of the library's modules.

    Raises:
        OSError, SyntaxError, ValueError, RecursionError: the file cannot be read or parsed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings are not our user's concern
        tree = ast.parse(path.read_bytes())
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    nodes = list(_statements(tree.body, in_class=False))
    exceptions = _exceptions(nodes)
    classes = {node.name for node, _ in nodes if isinstance(node, ast.ClassDef)}
    functions = {node.name for node, _ in nodes if isinstance(node, _Function)}
    imported = _imports([node for node, _ in nodes], package, known)
    raised = {alias for alias in imported if alias.endswith(_RAISED)}
    scope = Scope(
        classes=frozenset(classes - exceptions),
        functions=frozenset(functions - classes),
        exceptions=frozenset(exceptions | raised | _BUILTIN_EXCEPTIONS),
        modules=frozenset(imported - raised),
        name=module,
    )
    docstrings = []
    if text := ast.get_docstring(tree):
        docstrings.append(Docstring("module", text, frozenset()))
    for node, in_class in nodes:
        if isinstance(node, ast.ClassDef) and (text := ast.get_docstring(node)):
            docstrings.append(Docstring("class", text, _constructor(node)))
        elif isinstance(node, _Function) and (text := ast.get_docstring(node)):
            docstrings.append(Docstring("method" if in_class else "function", text, _arguments(node, in_class)))
    return scope, docstrings


def _statements(body: list[ast.stmt], in_class: bool) -> Iterator[tuple[ast.stmt, bool]]:
    """Every statement, outer ones first, and whether it stands directly in a class; expressions are not entered."""
    for node in body:
        yield node, in_class
        inside = isinstance(node, ast.ClassDef) or (in_class and not isinstance(node, _Function))
        for field in ("body", "handlers", "orelse", "finalbody", "cases"):
            for child in getattr(node, field, ()):
                if isinstance(child, ast.ExceptHandler | ast.match_case):
                    yield from _statements(child.body, inside)
                elif isinstance(child, ast.stmt):
                    yield from _statements([child], inside)


def _arguments(node: _Function, in_class: bool) -> frozenset[str]:
    signature = node.args
    names = [argument.arg for argument in (*signature.posonlyargs, *signature.args)]
    static = any(isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in node.decorator_list)
    if in_class and not static:
        names = names[1:]
    names += [argument.arg for argument in signature.kwonlyargs]
    names += [argument.arg for argument in (signature.vararg, signature.kwarg) if argument]
    return frozenset(name for name in names if name.strip("_") and name not in ("self", "cls"))


def _constructor(node: ast.ClassDef) -> frozenset[str]:
    """What a class is called with: the arguments of its constructor, or the fields of a data class."""
    methods = {item.name: item for item in node.body if isinstance(item, _Function)}
    for name in ("__init__", "__new__"):
        if name in methods:
            return _arguments(methods[name], in_class=True)
    fields = [item.target for item in node.body if isinstance(item, ast.AnnAssign)]
    return frozenset(field.id for field in fields if isinstance(field, ast.Name) and field.id.strip("_"))


def _exceptions(nodes: list[tuple[ast.stmt, bool]]) -> set[str]:
    """Classes named like an exception or derived from one, through classes of the same module where need be."""
    bases = {node.name: {_last(base) for base in node.bases} for node, _ in nodes if isinstance(node, ast.ClassDef)}
    found = {name for name in bases if name.endswith(_RAISED)}
    while more := {
        name
        for name, above in bases.items()
        if name not in found
        and any(base in found or base in _BUILTIN_EXCEPTIONS or base.endswith(_RAISED) for base in above)
    }:
        found |= more
    return found


def _last(expression: ast.expr) -> str:
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else ""


def _imports(nodes: list[ast.stmt], package: str, known: Container[str]) -> set[str]:
    """Imported modules: dotted names, the packages around them, aliases; and exceptions imported by name."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                found |= _with_parents(alias.name)
                found.add(alias.asname or alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            found |= _with_parents(origin)
            for alias in node.names:
                name = alias.asname or alias.name
                if f"{origin}.{alias.name}" in known:
                    found |= {f"{origin}.{alias.name}", name}
                elif name.endswith(_RAISED):
                    found.add(name)
    return found - {""}


def _with_parents(dotted: str) -> set[str]:
    parts = dotted.split(".")
    return {".".join(parts[: count + 1]) for count in range(len(parts))}
