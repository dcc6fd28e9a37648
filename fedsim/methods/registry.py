"""Every method of this package by its kind: a file with a `Method` that has a `kind` is all it takes."""

import pkgutil
from collections.abc import Mapping
from functools import cache, reduce
from importlib import import_module
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from fedsim import methods
from fedsim.methods.base import Method


@cache
def kinds() -> Mapping[str, type[Method]]:
    """The methods by kind, in alphabetical order."""
    found: dict[str, type[Method]] = {}
    for module in pkgutil.iter_modules(methods.__path__):
        for value in vars(import_module(f"{methods.__name__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Method) and "kind" in value.model_fields:
                found[str(value.model_fields["kind"].default)] = value
    return dict(sorted(found.items()))


def _union() -> Any:
    return Annotated[reduce(or_, kinds().values()), Field(discriminator="kind")]


if TYPE_CHECKING:
    MethodSpec = Method
else:
    MethodSpec = _union()
