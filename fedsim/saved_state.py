"""A method's state as a checkpoint holds it: arrays by name, and numbers that JSON can hold."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from fedsim.model.architecture import Heads
from fedsim.model.layout import Layout
from fedsim.rounds import Flights, State
from fedsim.server.parameters import GlobalModel, Pools
from fedsim.server.tiers import Tiers
from fedsim.store.atomic import Array
from fedsim.store.checkpoint import CheckpointState

LayoutsAfter = Callable[[int, Heads | None], dict[str, Layout]]
"""The global model's layouts after so many rounds, with the attention heads that were left by then."""


def dump(state: State) -> tuple[dict[str, Array], dict[str, Any]]:
    """All arrays and all numbers of a state."""
    arrays: dict[str, Array] = {f"group/{name}": values for name, values in state.model.groups.items()}
    arrays |= {f"server/{name}": values for name, values in state.server.items()}
    for old in state.older.values():
        for name, values in old.groups.items():
            if values is not state.model.groups.get(name):
                arrays[f"older/{old.versions[name]}/{name}"] = values
    arrays |= {f"flights/{f.name}": getattr(state.flights, f.name) for f in fields(Flights)}
    arrays |= {f"tiers/{name}": values for name, values in state.tiers.models.items()}
    arrays |= {f"record/{name}": values for name, values in (state.record or {}).items()}
    if state.importance is not None:
        arrays["importance"] = state.importance
    arrays |= {f"pools/{name}": values for name, values in state.pools.tables.items()}
    left = np.flatnonzero(state.kept >= 0)
    arrays |= {"kept/places": left, "kept/rounds": state.kept[left]}
    meta = {
        "now_s": state.now_s,
        "versions": state.model.versions,
        "kept_heads": state.model.kept_heads,
        "quality": state.quality,
        "last_picked": state.last_picked,
        "told": state.told,
        "empty_rounds": state.empty_rounds,
        "tier_steps": dict(state.tiers.steps),
        "older": {str(r): {"versions": old.versions, "kept_heads": old.kept_heads} for r, old in state.older.items()},
    }
    return arrays, meta


def load(state: State, stored: CheckpointState, layouts_after: LayoutsAfter) -> None:
    """Put a state back to what a checkpoint holds.

    Args:
        state: Changed in place.
        stored: The checkpoint.
        layouts_after: A phase may bring another head, and a stage prune some.
    """
    meta, arrays = stored.meta, stored.arrays
    heads = _heads(meta["kept_heads"])
    layouts = layouts_after(stored.round, heads)
    state.model = GlobalModel(layouts, _under(arrays, "group/"), dict(meta["versions"]), heads)
    state.server = _under(arrays, "server/")
    state.older = {}
    for round_, old in meta["older"].items():
        versions, left = dict(old["versions"]), _heads(old["kept_heads"])
        groups = {
            name: values if versions[name] == state.model.versions[name] else arrays[f"older/{versions[name]}/{name}"]
            for name, values in state.model.groups.items()
        }
        # as the round found it that those trips started in
        state.older[int(round_)] = GlobalModel(layouts_after(int(round_) + 1, left), groups, versions, left)
    state.flights = Flights(**_under(arrays, "flights/"))
    state.record = _under(arrays, "record/") or None
    state.importance = arrays.get("importance")
    state.pools = Pools.of(_under(arrays, "pools/"), len(state.kept) - 1)
    state.kept[arrays["kept/places"]] = arrays["kept/rounds"]
    state.round, state.now_s, state.quality = stored.round, meta["now_s"], dict(meta["quality"])
    state.last_picked, state.told, state.empty_rounds = meta["last_picked"], meta["told"], meta["empty_rounds"]
    state.tiers = Tiers(_under(arrays, "tiers/"), dict(meta["tier_steps"]))


def _under(arrays: Mapping[str, Array], kind: str) -> dict[str, Any]:
    return {name.removeprefix(kind): values for name, values in arrays.items() if name.startswith(kind)}


def _heads(stored: Any) -> Heads | None:
    return None if stored is None else tuple(map(tuple, stored))
