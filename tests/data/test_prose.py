import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.data.prose import extract


@pytest.mark.parametrize(
    ("docstring", "prose"),
    [
        ("Plain   text\nover two lines.\n\nAnd more.", "Plain text over two lines. And more."),
        ("Doubles.\n\n>>> f(1)\n2\n>>> f(2)\n4\n\nThat was all.", "Doubles. That was all."),
        ("For example::\n\n    x = f(1)\n\n    y = 2\n\nThat was all.", "For example: That was all."),
        ("Use it:\n\n```python\nx = 1\n\ny = 2\n```\n\nThat was all.", "Use it: That was all."),
        ("Uses.\n\n.. code-block:: python\n\n   x = 1\n\n.. note:: Mind it.\n   Always.", "Uses. Mind it. Always."),
        (".. versionadded:: 1.2\n   Since then.\n.. deprecated:: 2.0\n\nWorks.", "Since then. Works."),
        ("Parameters\n----------\naxis : int, optional\n    The axis.", "axis : int, optional The axis."),
        ("Sums.\n\nReferences\n====\n.. [1] A. Nn.\n\nB. Nn\n\nNotes\n====\nSee [1]_ for more.", "Sums. See for more."),
        ("Args:\n    axis (int): The axis.\n\nReturns:\n    The sum.", "axis (int): The axis. The sum."),
        (":param int axis: the axis\n:type axis: int\n:returns: it\n:raises E: never", "axis: the axis it E: never"),
        ("One.\n\n==== ====\na    b\n==== ====\n1    2\n==== ====\n\nTwo.", "One. Two."),
        ("One.\n\n+---+---+\n| a | b |\n+---+---+\n\nTwo.", "One. Two."),
        ("Like :class:`~a.b.C`, :func:`f <g>`, :ref:`x` and :math:`\\frac{1}{2}`.", "Like C, f, and."),
        ("Like [`Model`], [`~x.Y`] and [this page](../page#a).", "Like Model, Y and this page."),
        ("See `the page <https://x.org/a>`_ or https://x.org/b_c?d=1.", "See the page or."),
        ("If *path* is **not** there, *args and **kw are.", "If path is not there, *args and **kw are."),
        ("A set $x_i$, or $$\\sum_i x_i$$ of them.", "A set x_i, or of them."),
        ("An unbalanced `tick and `code` here.", "An unbalanced tick and code here."),
        ("The :math:`i`\\th of ``x``\\ s.", "The ith of xs."),
        ("- one thing\n- another thing", "one thing another thing"),
        ("<Tip>\n\nIt is fast.\n\n</Tip>", "It is fast."),
        ("import os\nx = os.getcwd()\nprint(x)", ""),
        ("a\x02b\x05c\ttab", "a b c tab"),
    ],
)  # fmt: skip
def test_prose_is_what_is_left_without_code_and_markup(docstring: str, prose: str) -> None:
    assert extract(docstring).text == prose


@given(st.text("ab `*:\n-=~_[]()<>$.\\|>+\x02\x03\x04\x05", max_size=60))
def test_prose_of_anything_is_one_clean_line(docstring: str) -> None:
    prose = extract(docstring)
    assert prose.text == " ".join(prose.text.split())
    assert not set(prose.text) & set("\x02\x03\x04\x05`")
    for ranges in (prose.code, prose.heads):
        assert all(0 <= start < end <= len(prose.text) for start, end in ranges)
        assert list(ranges) == sorted(ranges)
