import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsim.errors import UserError
from fedsim.fleet.availability import AllOf, Always, Markov, Recorded
from fedsim.fleet.devices import build as build_fleet
from fedsim.fleet.presence import Presence, build
from fedsim.scenario.fleet import Fleet as FleetSpec

DAY, NIGHT = {"available_s": 600, "away_s": 5400}, {"available_s": 7200, "away_s": 2400}
MARKOV = {"kind": "markov", "day": DAY, "night": NIGHT, "night_from_h": 22, "night_to_h": 6}


def present(folder: Path, clients: int = 1000, seed: int = 1, **keys: Any) -> Presence:
    spec = FleetSpec.model_validate({"clients": clients, **keys})
    return build(spec, build_fleet(spec, folder, seed), folder, seed)


def test_without_keys_everybody_is_always_there(tmp_path: Path) -> None:
    found = present(tmp_path)
    assert isinstance(found.availability, Always)
    assert (found.dropout, found.notes) == (None, ())


def test_days_and_nights_by_time_zone(tmp_path: Path) -> None:
    zones = {"UTC": 1, "UTC+8": 1}
    found = present(tmp_path, 20_000, availability={**MARKOV, "zones": zones, "starts_utc_h": 12}).availability
    assert isinstance(found, Markov)
    # noon in UTC, and 20 o'clock eight zones to the east: day, day
    assert found.at(np.arange(20_000), 0.0).mean() == pytest.approx(0.1, abs=0.01)
    # 12 h later it is midnight there, two hours into the night, and 8 in the morning, two hours after it
    fade = np.exp(-7200 * (1 / 7200 + 1 / 2400))
    share = found.at(np.arange(20_000), 12 * 3600.0).mean()
    assert share == pytest.approx((0.75 - 0.65 * fade + 0.1) / 2, abs=0.015)


def test_without_a_night_the_day_goes_on(tmp_path: Path) -> None:
    found = present(tmp_path, 20_000, availability={"kind": "markov", "day": DAY}).availability
    for hours in (0, 3, 15):
        assert found.at(np.arange(20_000), hours * 3600.0).mean() == pytest.approx(0.1, abs=0.01)


def test_a_spread_makes_some_stay_longer(tmp_path: Path) -> None:
    availability = {"kind": "markov", "day": {"available_s": 600, "away_s": 600}, "sigma": 2.0}
    found = present(tmp_path, 300, availability=availability).availability
    shares = np.mean([found.at(np.arange(300), 7200.0 * i) for i in range(100)], axis=0)
    assert np.quantile(shares, 0.1) < 0.2
    assert np.quantile(shares, 0.9) > 0.8


def test_conditions_have_random_numbers_of_their_own(tmp_path: Path) -> None:
    both = {"kind": "all_of", "conditions": {"charging": MARKOV, "wifi": MARKOV}}
    found = present(tmp_path, 2000, availability=both).availability
    assert isinstance(found, AllOf)
    devices = np.arange(2000)
    first, second = (part.at(devices, 3600.0) for part in found.conditions)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    alone = present(tmp_path, 2000, availability=MARKOV).availability
    assert not np.array_equal(alone.at(devices, 3600.0), first)
    again = present(tmp_path, 2000, availability=both).availability
    assert np.array_equal(again.at(devices, 3600.0), found.at(devices, 3600.0))
    other = present(tmp_path, 2000, seed=2, availability=both).availability
    assert not np.array_equal(other.at(devices, 3600.0), found.at(devices, 3600.0))


def test_recordings_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("client,start_s,end_s\na,0,10\nb,20,30\n")
    phone = {"messages": "2020-01-02 00:00:00\twifi\n2020-01-02 00:00:10\t4g\n2020-01-02 00:01:40\t4g"}
    (tmp_path / "flash.json").write_text(json.dumps({"x": phone, "broken": {}}))
    trace = {"active": [0], "inactive": [10], "finish_time": 100}
    (tmp_path / "trace").write_bytes(pickle.dumps({1: trace, 2: trace, 3: trace}))
    two = np.array([0, 1])
    own = present(tmp_path, 5, availability={"kind": "intervals", "path": "own.csv", "period_s": 100})
    assert isinstance(own.availability, Recorded)
    assert own.availability.at(two, 5.0).tolist() == [True, False]
    assert own.availability.at(np.array([2, 4]), 5.0).tolist() == [True, True], "recordings are used again"
    flash = {"kind": "flash", "path": "flash.json", "require": ["wifi"], "leave_out_broken": True}
    found = present(tmp_path, 5, availability=flash)
    assert found.availability.at(two, 5.0).tolist() == [True, True]
    assert found.notes == ("flash.json: 1 of its devices cannot be read and are left out",)
    fedscale = present(tmp_path, 2, availability={"kind": "fedscale", "path": "trace"})
    assert fedscale.availability.until(two, 105.0).tolist() == [5.0, 5.0]


def test_dropout_by_class(tmp_path: Path) -> None:
    source = {"kind": "catalog", "devices": {"pi_4": 1, "phone_low": 1}, "networks": {"wifi": 1}}
    found = present(
        tmp_path, 10, source=source, dropout={"per_s": 0.1, "devices": {"pi_4": 0.2}, "networks": {"wifi": 0.3}}
    )
    assert found.dropout is not None
    assert sorted(found.dropout.hazard_per_s.round(9).tolist()) == [0.4] * 5 + [0.6] * 5


@pytest.mark.parametrize(
    ("keys", "key", "says"),
    [
        ({"dropout": {"devices": {"phone_lov": 1}}}, "fleet.dropout.devices.phone_lov", "did you mean 'phone_low'"),
        ({"availability": {"kind": "fedscale", "path": "none"}}, "fleet.availability.path", "No such file"),
        (
            {"availability": {"kind": "all_of", "conditions": {"a": {"kind": "flash", "path": "none.json"}}}},
            "fleet.availability.conditions.a.path",
            "No such file",
        ),
    ],
)
def test_mistakes_are_told_with_their_key(keys: dict[str, Any], key: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says) as caught:
        present(tmp_path, 5, **keys)
    assert caught.value.key == key
