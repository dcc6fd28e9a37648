import io

import pytest
from rich.console import Console

from fedsim.report.layout import Grid, draw
from fedsim.report.overview import WITHOUT, overview

from .summaries import method

QUALITY = {
    "further_pretrain__mlm_loss": 5.5,
    "further_pretrain__unigram_loss": 6.5,
    "further_pretrain__personal_mlm_loss": 5.6,
    "finetune__accuracy": 0.36,
    "finetune__macro_f1": 0.2,
    "finetune__majority_accuracy": 0.244,
    "finetune__personal_accuracy": 0.3175,
    "finetune__personal_majority_accuracy": 0.8075,
    "finetune__depth_1__accuracy": 0.1,
}
MANY = {name: [method(**QUALITY)] for name in ("fedbert-sequential", *(f"method-{i}" for i in range(19)))}


def table(grid: Grid) -> dict[str, dict[str, str]]:
    """Cells by row and header."""
    headers = [" ".join(header.split()) for header in grid.headers[1:]]
    return {row[0]: dict(zip(headers, row[1:], strict=True)) for row in grid.rows}


def test_a_method_is_a_row_with_what_it_reached_and_spent_in_one_unit_a_column() -> None:
    grid = overview([{"fedavg": [method(**QUALITY)], "fedbt": [method(0.25, wasted=0.4, server=1)]}], "t")
    cells = table(grid)
    assert cells["fedavg"] == {
        "mlm_loss": "5.500",
        "personal mlm_loss": "5.600",
        "accuracy": "0.360",
        "personal accuracy": "0.318",
        "upload, MB": "40.0",
        "upload, %": "100.0",
        "download, MB": "80.0",
        "TFLOP": "6.00",
        "FLOPs, %": "100.0",
        "server, TFLOP": "0",
        "wasted, %": "10.0",
        "energy, kJ": "5.00",
        "simulated, min": "5.00",
    }
    light = cells["fedbt"]
    assert (light["accuracy"], light["upload, MB"], light["upload, %"]) == ("", "10.0", "25.0")
    assert (light["TFLOP"], light["FLOPs, %"], light["server, TFLOP"]) == ("1.50", "25.0", "3.00")
    assert (light["wasted, %"], light["energy, kJ"], light["simulated, min"]) == ("40.0", "1.25", "1.25")
    assert (grid.title, grid.notes) == ("t", ["percentages: of what fedavg spent"])


def test_below_a_line_stands_what_is_reached_without_a_model() -> None:
    grid = overview([{"fedavg": [method(**QUALITY)], "fedbt": [method(**QUALITY)]}])
    assert grid.sections == {2}
    last = table(grid)[WITHOUT]
    assert {header: cell for header, cell in last.items() if cell} == {
        "mlm_loss": "6.500",
        "accuracy": "0.244",
        "personal accuracy": "0.807",
    }
    assert WITHOUT not in table(overview([{"fedavg": [method(finetune__span_f1=0.5)]}]))


def test_seeds_have_a_mean_and_a_sample_standard_deviation() -> None:
    seeds = [method(scale, finetune__accuracy=value) for scale, value in ((1.0, 0.3), (2.0, 0.4), (3.0, 0.35))]
    cells = table(overview([{"fedavg": seeds}]))["fedavg"]
    assert (cells["accuracy"], cells["upload, MB"], cells["TFLOP"]) == ("0.350 ± 0.050", "80.0", "12.0")
    assert "upload, %" not in cells  # of itself


def test_phases_that_measure_the_same_are_told_apart() -> None:
    grid = overview([{"a": [method(**{"finetune.kind__accuracy": 0.5, "finetune.library__accuracy": 0.25})]}])
    assert [" ".join(header.split()) for header in grid.headers[1:3]] == [
        "finetune.kind accuracy",
        "finetune.library accuracy",
    ]


def test_what_nobody_spends_has_no_column() -> None:
    nothing = method(0.0, wasted=0.0)
    assert overview([{"a": [nothing], "b": [nothing]}]).headers == ("",)
    alone = table(overview([{"centralized": [nothing], "fedavg": [method()]}]))
    assert (alone["centralized"]["upload, MB"], alone["fedavg"]["upload, MB"]) == ("0", "40.0")
    assert "upload, %" not in alone["fedavg"]  # of nothing


ALONE = {
    160: "",
    120: "personal mlm_loss, wasted, %, energy, kJ",
    80: "personal mlm_loss, personal accuracy, upload, %, download, MB, FLOPs, %, wasted, %, energy, kJ",
}
REPEATED = {
    160: "energy, kJ",
    120: "personal mlm_loss, personal accuracy, wasted, %, energy, kJ",
    80: f"{ALONE[80]}, simulated, min",
}


@pytest.mark.parametrize(("seeds", "widths"), [(1, ALONE), (3, REPEATED)])
@pytest.mark.parametrize("width", [160, 120, 80])
def test_twenty_methods_fit_into_a_page_as_one_table(width: int, seeds: int, widths: dict[int, str]) -> None:
    out = io.StringIO()
    draw(Console(file=out, width=width), overview([{name: own * seeds for name, own in MANY.items()}]))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if line.startswith("│")]
    assert [row.split("│")[1].strip() for row in rows] == [*MANY, WITHOUT]
    assert f"no room for: {widths[width]}".removesuffix("no room for: ") in " ".join(out.getvalue().split())
    assert ("no room" in out.getvalue()) == bool(widths[width])
