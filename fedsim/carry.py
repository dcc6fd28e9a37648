"""Sums of blocks that started from an older model than the server has, or that count less than their shares."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedsim.downlink import Downlink
from fedsim.engine.tasks import IMPORTANCE, BlockSum, TrainBlock
from fedsim.model.layout import FloatArray
from fedsim.plan import layer_index
from fedsim.rounds import Turn
from fedsim.server.parameters import GlobalModel
from fedsim.server.stale import carried


@dataclass(frozen=True)
class Carry:
    """Of one round."""

    downlink: Downlink
    turn: Turn
    models: Mapping[int, GlobalModel]
    """What clients have started from, by round."""
    own: Mapping[int, Mapping[str, float]]
    """Shares in the mean of each group, by client."""
    scale: Mapping[int, float]
    """What these are multiplied by, where it is not 1."""
    sent: Mapping[int, tuple[str, ...]]
    """Groups that count, by client; twice where a client sends them twice."""
    mixed: bool
    """See `fedsim.policies.Policy`."""

    def block(self, task: TrainBlock, result: BlockSum) -> Mapping[str, FloatArray]:
        """What a block adds to the sums of the round."""
        begun = self.turn.phase.first_round + task.phase_round
        if begun == self.turn.round and not self.scale:
            return result.sums
        back = [report.client for report in result.clients if report.status == "completed"]
        found = {}
        for name, sums in result.sums.items():
            counts = [(client, self.own[client][name] * self.sent[client].count(name))
                      for client in back if name in self.own[client]]  # fmt: skip
            if not counts:
                continue
            share = float(np.sum([share for _, share in counts]))
            scaled = float(np.sum([share * self.scale.get(client, 1.0) for client, share in counts]))
            now, start = (self._entries(task, self.models[round_], name) for round_ in (self.turn.round, begun))
            found[name] = carried(sums, share, scaled, now, start, mixed=self.mixed, changes=self.turn.phase.wire.delta)
        return found

    def _entries(self, task: TrainBlock, model: GlobalModel, name: str) -> FloatArray:
        """What a local model of the block holds of a group."""
        values, place = self.downlink.got(model, name), layer_index(name)
        return values if task.window is None or place is None else values[task.window.entries(place)]


def scaled(shares: Mapping[str, float], factor: float) -> dict[str, float]:
    """A client's shares times a factor; how important it finds heads does not depend on how stale it is."""
    return {name: share if name == IMPORTANCE else share * factor for name, share in shares.items()}
