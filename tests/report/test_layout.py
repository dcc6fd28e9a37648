import io

from rich.console import Console

from fedsim.report.layout import Grid, draw

GRID = Grid(
    ("name", "about", "how\nmany"),
    [("first", "a sentence that is rather longer than the others are", "1,000"), ("second", "short [sic]", "")],
    title="things",
    notes=["a note"],
    left=frozenset({0, 1}),
    wraps=frozenset({1}),
)


def drawn(grid: Grid, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    draw(console, grid)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return lines


def test_a_wide_terminal_gets_a_table() -> None:
    lines = drawn(GRID, 100)
    assert (lines[0], lines[-1]) == ("things", "a note")
    assert "│ first  │ a sentence that is rather longer than the others are │ 1,000 │" in lines
    assert any("short [sic]" in line for line in lines)


def test_running_text_is_wrapped_before_anything_is_given_up() -> None:
    # 6 + 24 + 5 characters, and 3 for each column and one more for the lines
    lines = drawn(GRID, 45)
    assert "│ first  │ a sentence that is       │ 1,000 │" in lines
    assert drawn(GRID, 44)[1] == "first"


def test_a_narrow_terminal_gets_a_list() -> None:
    lines = drawn(GRID, 30)
    assert lines[1:5] == ["first", "  about: a sentence that is", "    rather longer than the", "    others are"]
    assert "  how many: 1,000" in lines
    assert lines[-3:] == ["second", "  about: short [sic]", "a note"]


def test_sections_are_parted_by_lines() -> None:
    grid = Grid(("a", "b"), [("x", "1"), ("y", "2"), ("z", "3")], sections=frozenset({0, 2}))
    bars = [line for line in drawn(grid, 40) if line.startswith("├")]
    assert len(bars) == 1
    lines = drawn(grid, 40)
    assert lines.index(bars[0]) == lines.index("│ z │ 3 │") - 1


def test_spare_columns_go_one_by_one_before_a_table_becomes_a_list() -> None:
    headers = ("name", "kept", "first\nto go", "last\nto go")
    grid = Grid(headers, [("x", "1,000", "2", "3")], left=frozenset({0, 3}), sections=frozenset(), spare=(2, 3))
    whole = drawn(grid, 32)  # 4 + 5 + 5 + 5 characters, and 3 for each column and one more for the lines
    assert "│ x    │ 1,000 │     2 │ 3     │" in whole
    assert not any("no room" in line for line in whole)
    fewer = drawn(grid, 31)
    assert "│ x    │ 1,000 │ 3     │" in fewer
    assert fewer[-1] == "no room for: first to go"
    fewest = drawn(grid, 23)
    assert "│ x    │ 1,000 │" in fewest
    assert " ".join(" ".join(fewest[-2:]).split()) == "no room for: first to go, last to go"
    assert drawn(grid, 15)[:2] == ["x", "  kept: 1,000"]
