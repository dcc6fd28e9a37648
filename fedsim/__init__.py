"""fedsim: what a federated language model costs and reaches on a fleet of unequal devices."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedsim.trace.reader import Run, read_run

__version__ = "0.1.0"
__all__ = ["Run", "__version__", "read_run"]


def __getattr__(name: str) -> Any:
    """Load pandas only for those who read traces."""
    if name in ("Run", "read_run"):
        from fedsim.trace import reader

        return getattr(reader, name)
    raise AttributeError(f"module 'fedsim' has no attribute {name!r}")
