"""Small scenarios in which the server does not wait for a whole cohort."""

from collections.abc import Mapping
from typing import Any

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

SOME = {name: METHODS[name] for name in ("kept", "fedbt", "split")} | {
    "adam": {"kind": "fedopt", "server": {"kind": "fedadam", "learning_rate": 0.01}},
}
"""Methods with state on clients, with drawn layers and stages, with codecs, and with a server that has an optimizer."""

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


def playing(policy: str, methods: Mapping[str, Mapping[str, Any]] = SOME, **changes: Any) -> dict[str, Any]:
    """The small scenario under a policy, with a few more rounds."""
    part = POLICIES[policy]
    return small(
        methods,
        **{
            "phases__further_pretrain__rounds": 4,
            "phases__further_pretrain__participation": part,
            "phases__finetune__rounds": 5,
            "phases__finetune__participation": part,
            **changes,
        },
    )
