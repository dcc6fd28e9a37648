"""Figures of papers, printed and ours."""

import json
import subprocess
import sys
from fractions import Fraction

import pytest

from fedsim.methods.progfed import stage_lengths
from fedsim.papers.base import BERT_BASE, Paper, Row, encoder_parameters, shelf
from fedsim.papers.progfed import CIFAR_10, EMNIST, resnet18, saved
from fedsim.report.papers import comparison, records
from tests.command import Desk


def rows(name: str) -> list[Row]:
    return list(shelf()[name].rows())


def row(name: str, table: str, of: str, quantity: str, unit: str | None = None) -> Row:
    (found,) = [
        r for r in rows(name) if (r.table, r.row, r.quantity) == (table, of, quantity) and unit in (None, r.unit)
    ]
    return found


def test_payloads_of_fedbts_tables_to_a_thousandth() -> None:
    payloads = [r for r in rows("fedbt") if r.quantity == "payload"]
    assert len(payloads) == 17
    for found in payloads:
        assert abs(found.relative_error) < 1e-3, found
    assert {r.unit for r in payloads if r.table == "table 1" and r.row != "DistilBERT"} == {"MiB", "% of BERT-FL"}
    # the slip of the table: read as MiB, its figure would be 5 % off
    slip = row("fedbt", "table 1", "DistilBERT", "payload")
    assert slip.unit == "MB"
    assert slip.ours * 1e6 / 2**20 < 0.96 * slip.printed


@pytest.mark.parametrize(("table", "layers_only", "everything"), [("table 1", 34.44, 41.31), ("table 3", 50.56, 49.88)])
def test_compute_of_fedbt_by_both_counts(table: str, layers_only: float, everything: float) -> None:
    assert round(row("fedbt", table, "FedBT", "compute, layers only").ours, 2) == layers_only
    assert round(row("fedbt", table, "FedBT", "compute, all FLOPs").ours, 2) == everything


def test_progfeds_schedule_on_cifar_10() -> None:
    assert CIFAR_10.stages == (1226, 20042, 56970, 122960)
    assert stage_lengths(2000, 4) == [250, 250, 250, 1250]
    share = Fraction(250 * (1226 + 20042 + 56970) + 1250 * 122960, 2000 * 122960)
    assert saved(CIFAR_10.stages, [250, 250, 250, 1250]) == pytest.approx(float(1 - share), rel=1e-12)
    assert f"{100 * float(1 - share):.1f}" == "29.5"
    assert row("progfed", "federated experiments", "CIFAR-10", "one-way traffic").ours == pytest.approx(
        29.5464, abs=1e-4
    )


def test_progfeds_other_networks() -> None:
    # the size of ResNet-18 with ten classes on small images, as it is often quoted
    assert resnet18(10).stages[-1] == 11_173_962
    assert resnet18(100).stages == (156_324, 688_292, 2_800_804, 11_220_132)
    assert EMNIST.stages[-1] == 1_206_590
    assert 100 * saved(resnet18(100).stages, stage_lengths(3000, 4)) == pytest.approx(33.4, abs=0.05)


def test_a_network_that_does_not_grow_saves_nothing_and_extra_rounds_cost() -> None:
    assert saved([7], [12]) == 0.0
    assert saved([7, 7], [3, 9]) == 0.0
    assert saved([5, 10], [5, 5]) == 0.25
    assert saved([5, 10], [5, 5], extra=25) == 0.0


@pytest.mark.parametrize("stages", [2, 3, 4, 6, 12])
def test_progfeds_schedule_on_bert_base(stages: int) -> None:
    table, name = "BERT-base, equal blocks (not in the paper)", f"S = {stages}"
    closed = Fraction(3 * stages + 1, 4 * stages)
    layers = row("progfed", table, name, "compute, layers only")
    assert layers.ours == pytest.approx(100 * float(closed), rel=1e-12)
    whole, encoder = 109_514_298, 12 * 7_087_872
    traffic = row("progfed", table, name, "one-way traffic")
    assert traffic.ours == pytest.approx(100 * float((whole - encoder + closed * encoder) / whole), rel=1e-12)
    assert f"{traffic.ours:.1f}" == f"{traffic.printed:.1f}"
    assert f"{100 * float(closed):.2f}" == {2: "87.50", 3: "83.33", 4: "81.25", 6: "79.17", 12: "77.08"}[stages]


def test_sizes_of_students() -> None:
    assert row("distilbert", "sizes", "DistilBERT", "parameters").ours == 66_362_880
    assert row("distilbert", "sizes", "BERT-base", "parameters").ours == 109_482_240 == encoder_parameters(BERT_BASE)
    assert f"{row('tinybert', 'sizes', 'TinyBERT-4', 'parameters').ours:.2f}" == "14.35"
    assert f"{row('tinybert', 'sizes', 'TinyBERT-4', 'payload').ours:.2f}" == "13.13"


@pytest.mark.parametrize(("batch", "megabytes", "steps"), [("16 x 512", "100.7", "8.7"), ("32 x 128", "50.3", "17.4")])
def test_fedberts_traffic(batch: str, megabytes: str, steps: str) -> None:
    samples, tokens = map(int, batch.split(" x "))
    step, round_ = (found for found in rows("fedbert") if found.row == f"{batch} tokens")
    assert step.ours * 1e6 == pytest.approx(4 * samples * tokens * 768 * 4 + 4 * samples, rel=1e-12)
    assert f"{step.ours:.1f}" == megabytes
    assert f"{round_.ours:.1f}" == steps


def test_fedsplitberts_communication_by_our_reading() -> None:
    layer, rows_of_a_layer, vectors = 7_087_872, 4 * 768 + 3072 + 768, 16 - 6
    by_tensor, by_row = (found.ours for found in rows("fedsplitbert"))
    assert by_tensor == pytest.approx(12 * 4 * layer / (4 * (layer + 4 * 16)), rel=1e-12)
    assert by_row == pytest.approx(12 * 4 * layer / (4 * (layer + 4 * (rows_of_a_layer + vectors))), rel=1e-12)
    assert f"{by_row:.2f}" == "11.95"


@pytest.mark.parametrize("name", shelf())
def test_tables_and_records(name: str) -> None:
    paper: Paper = shelf()[name]
    grid = comparison(paper)
    assert len(grid.rows) == len(paper.rows()) == len(records({name: paper}))
    notes = {found.note for found in paper.rows() if found.note}
    assert [note.partition(": ")[2] for note in grid.notes] == list(
        dict.fromkeys(r.note for r in paper.rows() if r.note)
    )
    assert len(grid.notes) == len(notes)
    for found in paper.rows():
        assert found.relative_error == pytest.approx((found.ours - found.printed) / found.printed)


def test_the_command(work: Desk) -> None:
    ended = work.run("paper", "distilbert", "--json")
    assert (ended.code, ended.err) == (0, "")
    columns = ["paper", "table", "row", "quantity", "unit", "printed", "ours", "relative_error", "note"]
    assert [list(found) for found in json.loads(ended.out)] == [columns] * 3
    everything = work.run("paper", "--json")
    assert {found["paper"] for found in json.loads(everything.out)} == set(shelf())
    shown = work.run("paper")
    assert shown.code == 0
    assert all(paper.TITLE.split(":")[0] in shown.out for paper in shelf().values())


def test_an_unknown_paper(work: Desk) -> None:
    ended = work.run("paper", "progfet")
    assert ended.code == 2
    assert ended.out == ""
    assert "no paper 'progfet'; did you mean 'progfed'? allowed: " in ended.err


def test_figures_need_neither_torch_nor_transformers() -> None:
    program = (
        "import sys\n"
        "from fedsim.papers.base import shelf\n"
        "assert all(paper.rows() for paper in shelf().values())\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'ray')))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
