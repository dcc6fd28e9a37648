"""Modules without values: their parameters become views of vectors that are filled later."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _Uninitialised(TorchFunctionMode):
    """Draws no initial values. On the meta device there are none to draw, and the attempt imports torch's compiler."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        given: Mapping[str, Any] = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)


@contextmanager
def unallocated() -> Iterator[None]:
    """Modules made inside are on the meta device: nothing is allocated or initialised."""
    with torch.device("meta"), _Uninitialised():
        yield
