"""Small scenarios in which the server does not wait for a whole cohort."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import fedsim
from fedsim import Run
from tests import runs
from tests.runs import METHODS, small

POLICIES: dict[str, dict[str, Any]] = {
    "buffered": {"clients_per_round": 2, "policy": {"kind": "buffered", "concurrency": 5}},
    "asynchronous": {
        "clients_per_round": 1,
        "policy": {"kind": "asynchronous", "concurrency": 4, "max_staleness": 3, "older_stage": "map"},
    },
    "tiered": {"clients_per_round": 2, "policy": {"kind": "tiered", "tiers": 2, "older_stage": "map"}},
    "synchronous": {"clients_per_round": 3, "over_selection": 1.5, "deadline_quantile": 0.8, "quorum": 2},
}
"""A participation of each kind."""

KINDS: dict[str, dict[str, Any]] = METHODS | {
    "adam": {"kind": "fedopt", "server": {"kind": "fedadam", "learning_rate": 0.01}},
    "progfed": {},
}
SOME: dict[str, dict[str, dict[str, Any]]] = {
    policy: {name: KINDS[name] for name in names}
    for policy, names in {
        "buffered": ("split", "adam"),
        "asynchronous": ("kept", "progfed"),
        "tiered": ("progfed",),
        "synchronous": ("fedbt",),
    }.items()
}
"""Methods with state on clients, with drawn layers, with layers that stages fill anew, with codecs, and with a server
that has an optimizer."""

PRESENCE: dict[str, Any] = {
    "fleet__availability": {
        "kind": "markov",
        "day": {"available_s": 0.4, "away_s": 0.1},
        "sigma": 0.5,
    },
    "fleet__dropout": {"per_s": 2.0},
    "fleet__latency_sigma": 0.5,
    "fleet__pace": {"backward_speed": 0.7, "hot_after_s": 0.01, "hot_speed": 0.5},
}
"""Devices that come and go, vanish, and are slow at times."""


def playing(policy: str, methods: Mapping[str, Mapping[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """The small scenario under a policy, with a few more rounds."""
    part = POLICIES[policy]
    return small(
        SOME[policy] if methods is None else methods,
        **{
            "phases__further_pretrain__rounds": 4,
            "phases__further_pretrain__participation": part,
            "phases__finetune__rounds": 5,
            "phases__finetune__participation": part,
            **changes,
        },
    )


def priced(participation: Mapping[str, Any], rounds: int = 20, **changes: Any) -> dict[str, Any]:
    """One phase of declared data for price mode, on the devices of `fleet.csv`."""
    raw: dict[str, Any] = {
        "name": "priced",
        "seed": 5,
        "data": {"corpus": {"kind": "declared", "tokens": 16, "samples_per_client": 6}, "max_tokens": 16},
        "model": {
            "vocabulary": 50,
            "hidden": 16,
            "layers": 2,
            "heads": 2,
            "feed_forward": 32,
            "max_positions": 16,
            "last_layer": "all",
        },
        "fleet": {"clients": 8, "source": {"kind": "file", "path": "fleet.csv"}},
        "phases": {"further_pretrain": {"rounds": rounds, "participation": dict(participation)}, "evaluate": None},
        "methods": {"fedavg": None},
    }
    return changed(raw, **changes)


def changed(raw: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """As `tests.runs.small` changes its scenario."""
    for path, value in changes.items():
        *parents, last = path.split("__")
        here = raw
        for name in parents:
            here = here.setdefault(name, {})
        here[last] = value
    return raw


def devices(folder: Path, seconds: Sequence[float], **columns: Sequence[float] | float) -> Path:
    """Write `fleet.csv`: devices that compute for so many seconds a trip; transfers take next to no time."""
    speeds = [FLOPS / s for s in seconds]
    rest = {"memory_bytes": 10**9, "downlink_bits_per_s": 1e12, "uplink_bits_per_s": 1e12, "latency_s": 0.0}
    table = pd.DataFrame({"flops_per_s": speeds, **rest, "compute_power_w": 1.0, "radio_power_w": 1.0} | columns)
    table.to_csv(folder / "fleet.csv", index=False)
    return folder


FLOPS = 3_025_152
"""What a trip of `priced` takes."""


def played(raw: Mapping[str, Any], base: Path, out: Path) -> Run:
    """The run in price mode."""
    runs.run(raw, base, out, None)
    return fedsim.read_run(out)
