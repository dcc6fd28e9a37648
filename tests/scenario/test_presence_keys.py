"""The keys about who is there and who is picked: what is allowed, and what is refused with which words."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from fedsim.errors import UserError
from fedsim.scenario.availability import Availability, Dropout, Markov, ServerLink
from fedsim.scenario.load import load
from fedsim.scenario.participation import Participation
from fedsim.scenario.selection import Uniform

KINDS: TypeAdapter[Any] = TypeAdapter(Availability)
DAY = {"available_s": 600, "away_s": 1800}


def fleet_key(folder: Path, text: str, participation: str = "") -> str:
    """What is told of a scenario with this in its fleet section."""
    file = folder / "x.yaml"
    file.write_text(
        f"name: x\nfleet:\n  clients: 9\n{text}"
        f"phases:\n  finetune:\n    rounds: 1\n    participation: {{clients_per_round: 4{participation}}}\n"
        "methods: {fedavg: }\n"
    )
    with pytest.raises(UserError) as caught:
        load(file)
    return str(caught.value).replace(str(file), "x.yaml")


def test_offsets_of_time_zones() -> None:
    zones = {"UTC": 1, "UTC-8": 1, "UTC+5:30": 2, "UTC-3:30": 1, "UTC+14": 1, "UTC-0:30": 1}
    found = Markov.model_validate({"day": DAY, "zones": zones}).offsets_s()
    assert found == {0.0: 1, -28_800.0: 1, 19_800.0: 2, -12_600.0: 1, 50_400.0: 1, -1800.0: 1}


@pytest.mark.parametrize("zone", ["GMT", "UTC+15", "UTC8", "UTC+5:75", "utc", "UTC+05:30:00", ""])
def test_unknown_time_zones(zone: str) -> None:
    with pytest.raises(ValidationError):
        Markov.model_validate({"day": DAY, "zones": {zone: 1}})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "  availability: {kind: markov, day: {available_s: 0, away_s: 5}}\n",
            "x.yaml:4: fleet.availability.day.available_s: must be more than 0, given 0",
        ),
        ("  availability: {kind: markov, day: {available_s: -3, away_s: 5}}\n", "fleet.availability.day.available_s"),
        ("  availability: {kind: markov, day: {available_s: .nan, away_s: 5}}\n", "fleet.availability.day.available_s"),
        ("  availability: {kind: markov}\n", "x.yaml:4: fleet.availability.day: is required"),
        (
            "  availability: {kind: markov, day: {available_s: 1, away_s: 1}, night_to_h: 7}\n",
            "x.yaml:4: fleet.availability.night_to_h: is not used without `night`, the habits by night",
        ),
        (
            "  availability: {kind: markov, day: {available_s: 1, away_s: 1}, night: {available_s: 1, away_s: 1}, "
            "night_from_h: 6}\n",
            "fleet.availability.night_to_h: is 6, when the night begins: it must end at another hour",
        ),
        ("  availability: {kind: markow}\n", "unknown kind 'markow'; did you mean 'markov'?"),
        (
            "  availability: {kind: intervals, path: a.json, period_s: 60}\n",
            "fleet.availability.path: 'a.json' must end in .csv or .parquet",
        ),
        ("  availability: {kind: flash, path: a.json, require: [power]}\n", "fleet.availability.require.0"),
        ("  availability: {kind: all_of, conditions: {}}\n", "fleet.availability.conditions"),
        (
            "  availability: {kind: all_of, conditions: {a: {kind: all_of, conditions: {}}}}\n",
            "fleet.availability.conditions.a.kind: unknown kind 'all_of'",
        ),
        ("  dropout: {per_s: -0.1}\n", "x.yaml:4: fleet.dropout.per_s"),
        ("  dropout: {devices: {phone_low: -1}}\n", "x.yaml:4: fleet.dropout.devices.phone_low"),
        ("  dropout: {per_sec: 1}\n", "fleet.dropout.per_sec: unknown key; did you mean 'per_s'?"),
        (
            "  server_link: {uplink_bits_per_s: 0}\n",
            "x.yaml:4: fleet.server_link.uplink_bits_per_s: must be more than 0, given 0",
        ),
        ("  server_link: {uplink_bits_per_s: .inf}\n", "fleet.server_link.uplink_bits_per_s"),
        ("  server_link: {}\n", "fleet.server_link: give at least one of downlink_bits_per_s, uplink_bits_per_s"),
    ],
    ids=lambda value: value.strip()[:60],
)
def test_mistakes_in_the_fleet(text: str, says: str, tmp_path: Path) -> None:
    assert says in fleet_key(tmp_path, text)


@pytest.mark.parametrize(
    ("participation", "says"),
    [
        (", selection: {kind: uniformly}", "unknown kind 'uniformly'; did you mean 'uniform'?"),
        (", selection: {kind: power_of_choice}", "phases.finetune.participation.selection.candidates: is required"),
        (
            ", over_selection: 1.5, selection: {kind: power_of_choice, candidates: 5}",
            "phases.finetune.participation.selection.candidates: is 5, the cohort is 6: draw at least as many",
        ),
        (
            ", cohorts: [[1, 2, 3, 4]], selection: {kind: samples}",
            "phases.finetune.participation.selection: is not used where `cohorts` are given",
        ),
        (
            ", selection: {kind: oort, exploration: 0.2}",
            "selection.exploration_least: is 0.3, more than `exploration` (0.2)",
        ),
        (", selection: {kind: oort, cut_off: 1.5}", "phases.finetune.participation.selection.cut_off"),
        (", selection: {kind: oort, window: 0.5}", "phases.finetune.participation.selection.window"),
        (
            ", selection: {kind: uniform, candidates: 9}",
            "phases.finetune.participation.selection.candidates: unknown key",
        ),
    ],
    ids=lambda value: value[2:60],
)
def test_mistakes_in_the_selection(participation: str, says: str, tmp_path: Path) -> None:
    assert says in fleet_key(tmp_path, "", participation)


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "always"},
        {"kind": "markov", "day": DAY},
        {"kind": "markov", "day": DAY, "night": DAY, "night_from_h": 23.5, "zones": {"UTC+1": 1}, "sigma": 0.3},
        {"kind": "intervals", "path": "a.csv", "period_s": 86_400, "assign": "random"},
        {"kind": "flash", "path": "a.json", "require": ["wifi"], "leave_out_broken": True},
        {"kind": "fedscale", "path": "trace"},
        {"kind": "all_of", "conditions": {"charging": {"kind": "markov", "day": DAY}, "wifi": {"kind": "always"}}},
    ],
    ids=lambda value: value["kind"],
)
def test_what_is_written_reads_back_the_same(value: dict[str, Any]) -> None:
    found = KINDS.validate_python(value)
    assert KINDS.validate_python(KINDS.dump_python(found, mode="json")) == found


def test_defaults_change_nothing() -> None:
    assert Participation(clients_per_round=1).selection == Uniform()
    assert Dropout().per_s == 0.0
    assert ServerLink(uplink_bits_per_s=1.0).downlink_bits_per_s is None
