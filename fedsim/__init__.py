"""fedsim: what a federated language model costs and reaches on a fleet of unequal devices."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedsim.api import simulate
    from fedsim.errors import FedsimError, UserError
    from fedsim.trace.reader import Run, read_run

__version__ = "0.1.0"
__all__ = ["FedsimError", "Run", "UserError", "__version__", "read_run", "simulate"]

_MODULES = {
    "simulate": "fedsim.api",
    "read_run": "fedsim.trace.reader",
    "Run": "fedsim.trace.reader",
    "UserError": "fedsim.errors",
    "FedsimError": "fedsim.errors",
}


def __getattr__(name: str) -> Any:
    """Load pyarrow and the rest only for those who ask."""
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'fedsim' has no attribute {name!r}")
