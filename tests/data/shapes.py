"""A small package to read docstrings from."""

from pathlib import Path

SOURCE = '''
"""Tools for shapes, built on `os.path` and numpy as `np`; see `shapes.inner.Cube`."""
import os.path
import numpy as np
from . import inner
from .errors import DepthError

class ShapeError(ValueError):
    """Raised when a shape has no area."""

class Worse(ShapeError):
    "Even worse than a ShapeError, which is bad enough."

class Box:
    """A box. Call `area` or use `scale_by`.

    Parameters
    ----------
    width, height : float
        Sides of the box.
    *rest
        Ignored.
    """

    def __init__(self, width, height, *rest, unit="m", **extra):
        def nested(value):
            """Nested functions are functions, whatever `value` is."""
        if width:
            class Inner:
                """A class in a method, without arguments."""

    @staticmethod
    def scale_by(factor):
        """Scale the Box, see Box.area(), by `factor`.

        :param factor: How much; a DepthError or DeprecationWarning may follow.
        """

    @property
    def area(self):
        """The area of this box, see `self.scale_by`."""

    if True:
        async def wait(self, seconds):
            """Wait for seconds, or seconds(s); `seconds` must be positive."""

class Point(tuple):
    """A data class with fields `x` and `max_value`."""
    x: int
    max_value: int
'''


def write_package(folder: Path) -> Path:
    root = folder / "shapes"
    (root / "inner").mkdir(parents=True)
    (root / "__init__.py").write_text(SOURCE)
    (root / "inner" / "__init__.py").write_text('"""The inner shapes, which nobody sees from outside."""\n')
    return root
