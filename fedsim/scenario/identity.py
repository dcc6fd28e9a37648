"""What makes two scenarios the same run: everything that can change a result, and nothing else."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fedsim.scenario.schema import Scenario

WITHOUT_EFFECT: dict[str, Any] = {
    "name": True,
    "summary": True,
    "outputs": True,
    "engine": {"kind", "hosts", "address", "gpus_per_host", "dashboard", "metrics"},
}
"""Left out of the identity: a run may be resumed elsewhere, under another name, with more hosts."""


def fingerprint(scenario: Scenario) -> str:
    """SHA-256 (hex) over the canonical JSON of all settings that can change a result, defaults included."""
    text = json.dumps(_effective(scenario), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def world(scenario: Mapping[str, Any]) -> dict[str, Any]:
    """Of a scenario as JSON: all settings that can change a result, but for the seed and the methods.

    What runs of one world have in common; they need not be runs that this version of fedsim could go on with.
    """
    engine = {key: value for key, value in scenario["engine"].items() if key not in WITHOUT_EFFECT["engine"]}
    left_out = (*WITHOUT_EFFECT, "seed", "methods")
    return {key: value for key, value in scenario.items() if key not in left_out} | {"engine": engine}


def difference(before: Scenario, after: Scenario) -> list[str]:
    """The settings that make two fingerprints differ, as ``key: before -> after``, by key."""
    old, new = _leaves(_effective(before)), _leaves(_effective(after))
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return [f"{key}: {old.get(key, 'absent')} -> {new.get(key, 'absent')}" for key in changed]


def _effective(scenario: Scenario) -> dict[str, Any]:
    return scenario.model_dump(mode="json", exclude=WITHOUT_EFFECT)


def _leaves(value: Any, key: str = "") -> dict[str, str]:
    """Every setting by its dotted key; lists count as one setting, written as JSON."""
    if isinstance(value, dict) and value:
        return {k: v for name, below in value.items() for k, v in _leaves(below, f"{key}.{name}".lstrip(".")).items()}
    return {key: json.dumps(value, ensure_ascii=False)}
