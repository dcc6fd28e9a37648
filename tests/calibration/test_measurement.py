import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsim.calibration import table
from fedsim.calibration.measurement import Measurement, step_flops, whole
from fedsim.cost.memory import peak_polynomial
from fedsim.errors import UserError
from fedsim.fleet import catalog
from fedsim.fleet.classes import read
from fedsim.scenario.phases import Optimizer

SIZES = {"hidden": 16, "layers": 2, "heads": 2, "feed_forward": 24, "vocabulary": 50}
FORWARD, BACKWARD = step_flops(whole(SIZES, 9), 3, 9, 3)
FOUND: dict[str, Any] = {
    "kind": "fedsim device measurement",
    "version": 1,
    "machine": {"device": "cpu", "processor": "a chip", "system": "an OS", "cores": 4, "threads": 2, "torch": "2.9"},
    "sizes": SIZES,
    "samples": 3,
    "tokens": 9,
    "positions": 3,
    "flops_forward": FORWARD,
    "flops_backward": BACKWARD,
    "forward_s": [9.0, 8.0, 1.0, 3.0],
    "backward_s": [9.0, 2.0, 4.0, 6.0],
    "available_bytes": 900_000_000,
    "peak_bytes": 300_000_000,
}


def file(folder: Path, **changes: object) -> Path:
    path = folder / "phone.json"
    path.write_text(json.dumps(FOUND | changes), encoding="utf-8")
    return path


def test_speeds_are_those_of_the_later_half(tmp_path: Path) -> None:
    found = Measurement.of_file(file(tmp_path))
    assert found.forward_flops_per_s == FORWARD / 2
    assert found.backward_flops_per_s == BACKWARD / 5
    assert found.flops_per_s == (FORWARD + BACKWARD) / 7
    assert found.slowed_to == 18 / 9


def test_an_odd_step_counts_as_late(tmp_path: Path) -> None:
    found = Measurement.of_file(file(tmp_path, forward_s=[9, 1, 3], backward_s=[1, 1, 1]))
    assert found.forward_flops_per_s == FORWARD / 2


def test_memory_is_what_is_left_beside_the_process(tmp_path: Path) -> None:
    found = Measurement.of_file(file(tmp_path))
    priced = int(peak_polynomial(whole(SIZES, 9), Optimizer(kind="adamw")).at(np.array([[3, 9, 3]]))[0])
    assert found.priced_bytes == priced
    assert found.other_bytes == 300_000_000 - priced
    assert found.memory_bytes == 900_000_000 - 300_000_000 + priced
    assert replace(found, peak_bytes=priced - 1).other_bytes == 0


def test_a_class_goes_through_its_table_without_losing_a_bit(tmp_path: Path) -> None:
    one = Measurement.of_file(file(tmp_path)).as_class("my_phone", 3.7, "data sheet: battery")
    out = tmp_path / "deep" / "classes.csv"
    table.add(one, out)
    again = read(out, "key")["my_phone"]
    assert again == one
    assert set(again.sources) == {"flops_per_s", "forward_flops_per_s", "backward_flops_per_s", "memory_bytes",
                                  "compute_power_w"}  # fmt: skip
    assert all(text.startswith(("measured: ", "data sheet: ")) for text in again.sources.values())
    table.add(replace(one, name="another", flops_per_s=1 / 3 * 1e9), out)
    assert list(read(out, "key")) == ["my_phone", "another"]
    table.add(replace(one, flops_per_s=2e9), out, replace=True)
    assert [(n, c.flops_per_s) for n, c in read(out, "key").items()] == [("my_phone", 2e9), ("another", 1 / 3 * 1e9)]


def test_memory_by_hand_where_a_system_says_nothing(tmp_path: Path) -> None:
    found = Measurement.of_file(file(tmp_path, available_bytes=None))
    assert found.memory_bytes is None
    with pytest.raises(UserError, match="--memory-bytes: this system does not say"):
        found.as_class("a", 1.0)
    one = found.as_class("a", 1.0, memory_bytes=5_000_000)
    assert (one.memory_bytes, one.sources["memory_bytes"]) == (5_000_000, "assumption: given by hand")
    assert one.sources["compute_power_w"] == "assumption: given by hand"
    assert Measurement.of_file(file(tmp_path, peak_bytes=None)).memory_bytes is None


@pytest.mark.parametrize(
    ("power_w", "memory_bytes", "key"),
    [(-1.0, None, "--power-w"), (float("nan"), None, "--power-w"), (1.0, 0, "--memory-bytes"), (1.0, -5, "--memory")],
)
def test_numbers_that_no_device_has(tmp_path: Path, power_w: float, memory_bytes: int | None, key: str) -> None:
    found = Measurement.of_file(file(tmp_path))
    with pytest.raises(UserError, match=rf"{key}.*it must be a number from"):
        found.as_class("a", power_w, memory_bytes=memory_bytes)


def test_nothing_is_left_for_training(tmp_path: Path) -> None:
    found = Measurement.of_file(file(tmp_path, available_bytes=1_000_000))
    with pytest.raises(UserError, match=r"memory: is -.*, it must be a number from 1"):
        found.as_class("a", 1.0)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"kind": "something"}, "is no fedsim device measurement of version 1"),
        ({"version": 2}, "is no fedsim device measurement of version 1"),
        ({"machine": []}, "machine: must be a JSON object"),
        ({"machine": FOUND["machine"] | {"threads": "two"}}, "machine.threads: must be a whole number"),
        ({"machine": FOUND["machine"] | {"torch": 2}}, "machine.torch: must be text"),
        ({"sizes": SIZES | {"layers": 0}}, "sizes.layers: is 0"),
        ({"sizes": SIZES | {"heads": 3}}, "sizes.heads: must divide hidden (16)"),
        ({"tokens": True}, "tokens: is True"),
        ({"flops_forward": FORWARD + 1}, f"flops_forward: is {FORWARD + 1}, a step of these sizes has {FORWARD}"),
        ({"flops_backward": FORWARD}, "flops_backward: is"),
        ({"forward_s": []}, "forward_s: must be a list of seconds"),
        ({"forward_s": [1.0, 0.0, 1.0, 1.0]}, "forward_s: has 0.0"),
        ({"backward_s": [1.0, 2.0, 3.0, float("inf")]}, "backward_s: has inf"),
        ({"backward_s": [1.0, 2.0, 3.0, "4"]}, "backward_s: has '4'"),
        ({"backward_s": [1.0]}, "forward_s: must have as many steps as backward_s"),
        ({"available_bytes": -1}, "available_bytes: is -1"),
        ({"peak_bytes": 1.5}, "peak_bytes: is 1.5"),
    ],
)
def test_a_file_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, object], text: str) -> None:
    with pytest.raises(UserError) as caught:
        Measurement.of_file(file(tmp_path, **changes))
    assert text in str(caught.value)
    assert "phone.json" in str(caught.value)


@pytest.mark.parametrize(("content", "text"), [("{", "is not JSON"), ("[]", "must hold a JSON object")])
def test_files_that_are_something_else(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "phone.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=text):
        Measurement.of_file(path)
    with pytest.raises(UserError, match="cannot be read"):
        Measurement.of_file(tmp_path / "nowhere.json")


def test_names_that_are_taken(tmp_path: Path) -> None:
    one = Measurement.of_file(file(tmp_path)).as_class("mine", 1.0)
    out = tmp_path / "classes.csv"
    table.add(one, out)
    before = out.read_bytes()
    for name, text in (("mine", "--replace"), (next(iter(catalog.devices())), "the catalogue"), ("a b", "letters")):
        with pytest.raises(UserError, match=text):
            table.add(replace(one, name=name), out)
    with pytest.raises(UserError, match=r"must end in \.csv"):
        table.add(one, tmp_path / "classes.yaml")
    assert out.read_bytes() == before


def test_a_file_whose_classes_do_not_tell_the_passes_apart_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "classes.csv"
    out.write_text("name,flops_per_s,memory_bytes,compute_power_w\na,1e9,1e9,5\n", encoding="utf-8")
    with pytest.raises(UserError, match="lack forward_flops_per_s and backward_flops_per_s"):
        table.add(Measurement.of_file(file(tmp_path)).as_class("mine", 1.0), out)
