"""`calibrate` from the command line: what it writes can be used at once."""

import csv
import json
from pathlib import Path

import pytest

from fedsim.fleet.devices import build
from fedsim.scenario.load import load
from tests.calibration.test_measurement import BACKWARD, FORWARD, file
from tests.command import Desk, desk


@pytest.fixture
def work(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    return desk(tmp_path, capsys, monkeypatch)


FROM = ("calibrate", "--from", "phone.json")
CLASS = ("--class", "my_phone", "--power-w", "3.5")


def of_classes(path: str, device: str) -> tuple[str, str]:
    """A change of the scenario: its fleet is of one class in this file."""
    source = f"{{kind: catalog, classes: {path}, devices: {{{device}: 1}}}}"
    return "fleet: {clients: 8}", f"fleet: {{clients: 8, source: {source}}}"


def test_from_a_file_to_a_fleet(work: Desk) -> None:
    file(work.folder)
    done = work.run(*FROM, *CLASS, "--power-source", "measured: a meter")
    assert done.code == 0, done.err
    assert "devices: {my_phone: 1}" in done.err
    with (work.folder / "device-classes.csv").open(encoding="utf-8") as lines:
        (row,) = csv.DictReader(lines)
    assert float(row["flops_per_s"]) == (FORWARD + BACKWARD) / 7
    assert row["compute_power_w_source"] == "measured: a meter"
    loaded = load(work.write(of_classes("device-classes.csv", "my_phone")))
    fleet = build(loaded.scenario.fleet, loaded.base, 0)
    assert fleet.devices == ("my_phone",)
    assert fleet.compute_power_w.tolist() == [3.5] * 8


def test_a_machine_is_measured_with_a_scenarios_training(work: Desk) -> None:
    done = work.run("calibrate", "mine.yaml", "--method", "fedbt", "--seconds", "0", "--batch", "2", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["class"] is None
    assert found["steps"] == 2
    assert found["trained"].startswith("fedbt, further_pretrain, stage ")
    assert min(found[f"{name}flops_per_s"] for name in ("", "forward_", "backward_")) > 0
    assert not (work.folder / "device-classes.csv").exists()


def test_a_bert_of_given_sizes(work: Desk) -> None:
    sizes = "hidden=16, layers=2, heads=2, feed_forward=24, vocabulary=50"
    done = work.run("calibrate", "--sizes", sizes, "--batch", "3", "--tokens", "9", "--seconds", "0", *CLASS)
    assert done.code == 0, done.err
    assert "BERT of 2 layers, 16 wide" in done.out
    assert "backward" in done.out
    assert (work.folder / "device-classes.csv").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("calibrate", "--class", "a"), "--power-w: give the watts"),
        (("calibrate", "--power-w", "3"), "--power-w: goes with --class"),
        (("calibrate", "--replace"), "--replace: goes with --class"),
        (("calibrate", "--method", "fedavg"), "--method: needs the NAME of a scenario"),
        (("calibrate", "--set", "seed=1"), "--set: needs the NAME of a scenario"),
        (("calibrate", "--sizes", "hiden=3"), "did you mean 'hidden'"),
        (("calibrate", "--sizes", "hidden=0"), "hidden is '0', it must be a whole number from 1 on"),
        (("calibrate", "--sizes", "hidden=10"), "heads must divide hidden (10), given 12"),
        (("calibrate", "mine.yaml", "--sizes", "hidden=8"), "--sizes: does not go with a scenario"),
        (("calibrate", "mine.yaml", "--method", "fedavgg"), "did you mean 'fedavg'"),
        ((*FROM, "--batch", "3"), "--batch: does not go with --from"),
        ((*FROM, "mine.yaml"), "NAME: does not go with --from"),
        ((*FROM, *CLASS, "--out", "classes.yaml"), "--out: must end in .csv"),
        (("calibrate", "--class", "phone_mid", "--power-w", "3"), "is a class of the catalogue"),
        (FROM, "the file cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_measured(
    work: Desk, options: tuple[str, ...], text: str
) -> None:
    done = work.run(*options)
    assert done.code == 2
    assert text in done.err
    assert not (work.folder / "device-classes.csv").exists()


def test_a_file_that_was_changed_is_refused(work: Desk) -> None:
    file(work.folder, flops_forward=FORWARD * 1000)
    done = work.run(*FROM, *CLASS)
    assert (done.code, done.out) == (2, "")
    assert f"phone.json: flops_forward: is {FORWARD * 1000}, a step of these sizes has {FORWARD}" in done.err


def test_classes_of_a_scenario_that_are_not_there(work: Desk) -> None:
    work.write(of_classes("no.csv", "a"))
    done = work.run("scenario", "mine.yaml", "--price")
    assert done.code == 2
    assert "fleet.source.classes: the file cannot be read" in done.err
    work.write(of_classes("no.yaml", "a"))
    done = work.run("scenario", "mine.yaml", "--price")
    assert "mine.yaml:" in done.err
    assert "'no.yaml' must end in .csv or .parquet" in done.err
