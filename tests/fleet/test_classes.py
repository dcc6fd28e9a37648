from pathlib import Path

import numpy as np
import pytest

from fedsim.clock.trips import durations
from fedsim.errors import UserError
from fedsim.fleet import catalog
from fedsim.fleet.classes import read
from fedsim.fleet.devices import Fleet, build
from fedsim.scenario.fleet import CatalogFleet, Pace
from fedsim.scenario.fleet import Fleet as FleetSpec
from tests.clock import cohorts

HEADER = "name,flops_per_s,memory_bytes,compute_power_w"
APART = f"{HEADER},forward_flops_per_s,backward_flops_per_s"


def write(folder: Path, *lines: str) -> Path:
    path = folder / "mine.csv"
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


def drawn(path: Path, shares: dict[str, float], clients: int = 10, spread: float = 0.0) -> Fleet:
    source = CatalogFleet(classes=Path(path.name), devices=shares, speed_sigma=spread)
    return build(FleetSpec(clients=clients, source=source), path.parent, 0)


def test_a_fleet_of_classes_of_ones_own_and_of_the_catalogue(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, "my_pi,3.5e9,3000000000,7.5", "box,8e10,8e9,40")
    fleet = drawn(path, {"my_pi": 0.5, "box": 0.3, "phone_mid": 0.2})
    own = np.array([fleet.devices[code] for code in fleet.device])
    assert sorted(own) == ["box"] * 3 + ["my_pi"] * 5 + ["phone_mid"] * 2
    assert fleet.flops_per_s[own == "my_pi"].tolist() == [3.5e9] * 5
    assert fleet.memory_bytes[own == "box"].tolist() == [8_000_000_000] * 3
    assert fleet.compute_power_w[own == "my_pi"].tolist() == [7.5] * 5


def test_a_file_of_classes_changes_nothing_for_those_of_the_catalogue(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, "my_pi,3.5e9,3000000000,7.5")
    plain = build(FleetSpec(clients=20, source=CatalogFleet()), tmp_path, 3)
    other = build(FleetSpec(clients=20, source=CatalogFleet(classes=Path(path.name))), tmp_path, 3)
    assert all(np.array_equal(value, getattr(other, name)) for name, value in vars(plain).items())


def test_descriptions_and_sources_may_stand_there(tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEADER},description,flops_per_s_source", "a,1e9,1e9,5,a board,measured: here")
    one = read(path, "key")["a"]
    assert (one.description, one.sources) == ("a board", {"flops_per_s": "measured: here"})
    assert one.forward_flops_per_s is None


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ((HEADER.replace("memory_bytes,", ""), "a,1e9,5"), "memory_bytes: this column is missing"),
        ((f"{HEADER},speed", "a,1e9,1e9,5,3"), "unknown column 'speed'"),
        ((HEADER, "a,0,1e9,5"), "flops_per_s: row 1 is 0, it must be a number from 1"),
        ((HEADER, "a,1e9,nan,5"), "memory_bytes: row 1 is nan"),
        ((HEADER, "a,1e9,1.5,5"), "it must be a whole number"),
        ((HEADER, "a,1e9,1e9,-5"), "compute_power_w: row 1 is -5"),
        ((HEADER, "a,1e9,1e9,5", "a,2e9,1e9,5"), "mine.csv:3: name: row 2 is 'a' again"),
        ((HEADER, "phone_mid,1e9,1e9,5"), "is a class of the catalogue"),
        ((HEADER, "my pi,1e9,1e9,5"), "letters, digits"),
        ((f"{HEADER},forward_flops_per_s", "a,1e9,1e9,5,2e9"), "goes with backward_flops_per_s"),
        ((APART, "a,1e9,1e9,5,2e9,inf"), "backward_flops_per_s: row 1 is inf"),
    ],
)
def test_nonsense_is_refused_with_its_place(tmp_path: Path, lines: tuple[str, ...], text: str) -> None:
    with pytest.raises(UserError) as caught:
        read(write(tmp_path, *lines), "fleet.source.classes")
    assert text in str(caught.value)
    assert "mine.csv" in str(caught.value)


def test_an_unknown_class_is_told_of_with_those_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, "my_pi,3.5e9,3000000000,7.5")
    with pytest.raises(UserError, match="did you mean 'my_pi'") as caught:
        drawn(path, {"my_py": 1.0})
    assert caught.value.key == "fleet.source.devices.my_py"


def test_a_missing_file_is_told_of_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fleet\.source\.classes: the file cannot be read"):
        drawn(tmp_path / "nowhere.csv", {"phone_mid": 1.0})


def test_both_passes_have_the_speed_that_was_measured(tmp_path: Path) -> None:
    path = write(tmp_path, APART, "slow,3e9,1e9,5,4e9,1e9")
    source = CatalogFleet(classes=Path(path.name), devices={"slow": 1, "phone_mid": 1}, speed_sigma=0.5)
    fleet = build(FleetSpec(clients=6, source=source, pace=Pace(backward_speed=0.5)), tmp_path, 0)
    plain = build(FleetSpec(clients=6, source=CatalogFleet(devices={"phone_mid": 1}, speed_sigma=0.5)), tmp_path, 0)
    spread = plain.flops_per_s / catalog.devices()["phone_mid"].flops_per_s
    own = np.array([fleet.devices[code] == "slow" for code in fleet.device])
    work = cohorts.prices(6, flops_forward=10**9, flops_backward=2 * 10**9)
    seconds = durations(work, fleet).compute_s * spread
    # 1 GFLOP forward at 4 GFLOP/s and 2 backward at 1 GFLOP/s; the catalogue's phone as `pace` has it
    assert seconds[own] == pytest.approx(np.full(3, 0.25 + 2.0))
    phone = catalog.devices()["phone_mid"].flops_per_s
    assert seconds[~own] == pytest.approx(np.full(3, (1e9 + 2e9 / 0.5) / phone))
    assert fleet.take(np.array([3, 1])).backward_speed.tolist() == fleet.backward_speed[[3, 1]].tolist()  # type: ignore[union-attr, index]


def test_a_catalogue_without_measured_passes_has_one_speed(tmp_path: Path) -> None:
    assert build(FleetSpec(clients=3, source=CatalogFleet()), tmp_path, 0).backward_speed == 1.0
