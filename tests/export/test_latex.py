import re
from pathlib import Path

from fedsim.export.latex import escaped, latex, table
from fedsim.report.layout import Grid
from fedsim.trace.reader import Run


def cells(row: str) -> list[str]:
    """The cells of a row; an escaped ampersand is part of one."""
    assert row.endswith(r" \\")
    return [cell.strip() for cell in re.split(r"(?<!\\)&", row[:-3])]


def test_every_row_has_a_cell_for_every_column(run: Run, tmp_path: Path) -> None:
    (file,) = latex([run.path], [], tmp_path / "table.tex")
    lines = [line for line in file.read_text().splitlines() if not line.startswith("%")]
    begin = re.fullmatch(r"\\begin\{tabular\}\{([lr]+)\}", lines[0])
    assert begin is not None
    assert lines[1] == r"\toprule"
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]
    rows = [cells(line) for line in lines[1:-2] if not line.endswith("rule")]
    assert {len(row) for row in rows} == {len(begin[1])}
    content = file.read_text()
    assert content.count("{") == content.count("}")
    assert rows[0].index("download") == rows[1].index("MB", rows[1].index("MB") + 1)
    assert [row[0] for row in rows[2:]] == ["fedavg", "fedbt", r"split\_in\_turn"]


def test_a_subset_and_several_runs(run: Run, tmp_path: Path) -> None:
    (file,) = latex([run.path], ["fedbt"], tmp_path / "table.tex")
    assert "fedavg" not in file.read_text()


def test_signs_that_mean_something_are_escaped() -> None:
    assert escaped("a_b & 5 % of $1 #2 {x} ~^") == (
        r"a\_b \& 5 \% of \$1 \#2 \{x\} \textasciitilde{}\textasciicircum{}"
    )
    assert escaped("0.5 ± 0.1") == r"0.5 $\pm$ 0.1"
    assert escaped("\\") == r"\textbackslash{}"


def test_lines_of_a_header_are_rows_with_the_unit_last() -> None:
    grid = Grid(("", "upload,\nMB", "accuracy"), [("one", "1", "0.5"), ("two", "", "")], notes=["50 % of it"],
                sections=frozenset({1}))  # fmt: skip
    assert table(grid).splitlines() == [
        r"% needs \usepackage{booktabs}",
        "% 50 % of it",
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r" & upload &  \\",
        r" & MB & accuracy \\",
        r"\midrule",
        r"one & 1 & 0.5 \\",
        r"\midrule",
        r"two &  &  \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
