from typing import Any

import pytest

from fedsim.report.compare import comparison, of_run, of_runs
from fedsim.report.spread import Repeats

from .summaries import method


def test_carbon_is_told_where_every_method_has_it() -> None:
    one, two = {**method(), "carbon_g": 2500.0}, {**method(0.5), "carbon_g": 1250.0}
    assert rows(a=one, b=two)["CO2"] == ("2.50 kg 100.0 %", "1.25 kg 50.0 %")
    assert "CO2" not in rows(a=one, b=method())


def rows(**methods: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Cells by row; rows below another one as `upload, MB/useful`."""
    found, above = {}, ""
    for label, *cells in comparison(methods).rows:
        above = above if label.startswith("  ") else label
        key = f"{above}/{label.strip()}" if label.startswith("  ") else label
        found[key] = tuple(" ".join(cell.split()) for cell in cells)
    return found


def test_every_cost_is_told_whole_useful_and_wasted_and_as_a_share_of_the_first_method() -> None:
    table = rows(fedavg=method(), fedbt=method(0.25, wasted=0.4))
    assert table["upload, MB"] == ("40.0 100.0 %", "10.0 25.0 %")
    assert table["upload, MB/useful"] == ("36.0 90.0 %", "6.0 15.0 %")
    assert table["upload, MB/wasted"] == ("4.0 10.0 %", "4.0 10.0 %")
    assert table["download, MB"] == ("80.0 100.0 %", "20.0 25.0 %")
    assert table["forward"] == ("2.00 TFLOP 100.0 %", "500 GFLOP 25.0 %")
    assert table["backward/useful"] == ("3.60 TFLOP 90.0 %", "600 GFLOP 15.0 %")
    assert table["device time/wasted"] == ("100.0 s 10.0 %", "100.0 s 10.0 %")
    assert table["energy"] == ("5.00 kJ 100.0 %", "1.25 kJ 25.0 %")
    assert table["simulated time"] == ("5.0 min 100.0 %", "75.0 s 25.0 %")
    assert table["mean upload, MB"] == ("1.000 100.0 %", "0.167 16.7 %")
    assert table["mean upload, MiB"][0] == "0.954 100.0 %"
    assert table["tokens, padded"] == ("64,000 100.0 %", "16,000 25.0 %")
    assert table["padding"] == ("25.0 %", "25.0 %")
    assert table["rounds"] == ("12", "12")
    assert table["client updates used"] == ("36", "36")


def test_a_server_that_computes_has_rows_of_its_own() -> None:
    table = rows(fedavg=method(), fedbert=method(server=1))
    assert table["cut up, MB"] == ("0.000", "30.0")
    assert table["cut down, MB/wasted"] == ("0.000", "2.0")
    assert table["server forward"] == ("0 FLOP", "1.00 TFLOP")
    assert table["server backward/useful"] == ("0 FLOP", "1.80 TFLOP")
    assert not any("server" in row or "cut" in row for row in rows(fedavg=method()))


def test_a_method_alone_has_no_shares_but_of_its_waste() -> None:
    table = rows(fedavg=method())
    assert table["upload, MB"] == ("40.0",)
    assert table["upload, MB/wasted"] == ("4.0 10.0 %",)
    assert comparison({"fedavg": method()}).notes == []


def test_waste_is_left_out_where_there_is_none() -> None:
    table = comparison({"a": method(wasted=0.0), "b": method(wasted=0.0)})
    assert not [label for label, *_ in table.rows if label.startswith("  ")]
    assert len(table.sections) == 1


def test_what_is_not_sent_is_left_out() -> None:
    alone = method() | {"upload_bytes": 0, "wasted_upload_bytes": 0, "download_bytes": 0, "wasted_download_bytes": 0}
    table = rows(centralized=alone)
    assert "upload, MB" not in table
    assert "mean upload, MB" not in table
    both = rows(centralized=alone, fedavg=method())
    assert both["upload, MB"] == ("0.000", "40.0")


@pytest.mark.parametrize("updates", [0, 36])
def test_a_mean_needs_updates(updates: int) -> None:
    table = rows(a=method() | {"clients_trained": updates})
    assert ("mean upload, MB" in table) == bool(updates)


def test_quality_stands_first_and_only_what_people_read() -> None:
    table = rows(
        a=method(further_pretrain__mlm_loss=6.6308, finetune__accuracy=0.71, finetune__loss=1.2),
        b=method(finetune__accuracy=0.5),
    )
    assert list(table)[:3] == ["further_pretrain mlm_loss", "finetune accuracy", "upload, MB"]
    assert table["further_pretrain mlm_loss"] == ("6.6308", "")
    assert table["finetune accuracy"] == ("0.7100", "0.5000")


def test_a_run_is_told_in_full_where_there_is_room_and_else_with_one_row_a_method() -> None:
    methods = {name: method(finetune__accuracy=0.5) for name in ("fedavg", "fedbt", "progfed")}
    assert of_run(methods, 120, "t").headers == ("", "fedavg", "fedbt", "progfed")
    turned = of_run(methods, 90, "t")
    assert [row[0] for row in turned.rows] == ["fedavg", "fedbt", "progfed"]
    assert (turned.title, turned.headers[1]) == ("t", "accuracy")
    assert "every number of a method: --method NAME" in turned.notes


def test_runs_with_several_seeds_are_one_row_a_method_however_few() -> None:
    one, two = method(finetune__accuracy=0.5), method(finetune__accuracy=0.7)
    grid = of_runs([Repeats(("a", "b"), (7, 1), {"fedavg": [one, two], "fedbt": [two]})], 160)
    assert [row[:2] for row in grid.rows] == [("fedavg", "0.600 ± 0.141"), ("fedbt (n = 1)", "0.700")]
    note = "quality: mean ± sample standard deviation, costs: mean of 2 runs with seeds 7, 1"
    assert grid.notes == [note, "percentages: of what fedavg spent"]


def test_runs_of_several_worlds_are_called_by_their_first_run() -> None:
    own = method(finetune__accuracy=0.5)
    alone = [Repeats(("a",), (7,), {"fedavg": [own]}), Repeats(("c",), (7,), {"fedavg": [own]})]
    assert of_runs(alone, 160).headers == ("", "a\nfedavg", "c\nfedavg")
    grid = of_runs([Repeats(("a", "b"), (7, 1), {"fedavg": [own, own]}), alone[1]], 160)
    assert [row[0] for row in grid.rows] == ["a fedavg", "c fedavg"]
    assert grid.notes[0].startswith("a: quality: mean ± sample standard deviation")
