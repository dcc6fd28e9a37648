"""Every method by its kind: a file of this package, or an entry point of another, with a `Method` that has a `kind`."""

import pkgutil
from collections.abc import Mapping
from functools import cache, reduce
from importlib import import_module
from importlib.metadata import entry_points
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from fedsim import methods
from fedsim.methods.base import Method


@cache
def kinds() -> Mapping[str, type[Method]]:
    """The methods by kind, in alphabetical order."""
    found: dict[str, type[Method]] = {}
    modules = [import_module(f"{methods.__name__}.{module.name}") for module in pkgutil.iter_modules(methods.__path__)]
    own = [value for module in modules for value in vars(module).values()]
    for value in (*own, *(entry.load() for entry in entry_points(group="fedsim.methods"))):
        if isinstance(value, type) and issubclass(value, Method) and "kind" in value.model_fields:
            found[str(value.model_fields["kind"].default)] = value
    return dict(sorted(found.items()))


def _union() -> Any:
    return Annotated[reduce(or_, kinds().values()), Field(discriminator="kind")]


if TYPE_CHECKING:
    MethodSpec = Method
else:
    MethodSpec = _union()
