"""How much the members of a cohort have to compute in a round.

Samples of declared data are all alike, so clients with as many of them have the same batches: these are worked out once
and looked up for everybody. Of real text, every member's own samples decide.
"""

from collections.abc import Sequence

import numpy as np

from fedsim import rng
from fedsim.data.batches import compose, measure
from fedsim.data.work import IntArray
from fedsim.rounds import Turn
from fedsim.scenario.phases import CurriculumStep
from fedsim.world import World

Batched = tuple[IntArray, IntArray | None, list[IntArray], int, int]
"""Lengths and head positions of a client's samples, its batches, and their padding: as `measure` takes."""


class Workload:
    """The batches of one method's clients, which come from the seed and the round alone.

    Args:
        world: samples and whose they are.
        longest: most tokens that the model takes.
    """

    def __init__(self, world: World, longest: int) -> None:
        self.world, self.longest = world, longest
        self._declared = world.sizes() if world.tokens is None else None
        self._known: dict[tuple[str, CurriculumStep | None, int], tuple[int, IntArray]] = {}

    def measure(self, turn: Turn, clients: IntArray) -> tuple[IntArray, IntArray]:
        """Samples of each member that count in this round, [cohort], and its row of `measure`, [cohort, 9]."""
        if self._declared is None:
            own = [self.batches(turn, client) for client in clients.tolist()]
            return _table([len(lengths) for lengths, *_ in own], [measure(*of) for of in own])
        distinct, which = np.unique(self._declared[clients], return_inverse=True)
        found = [self._measured(turn, size) for size in distinct.tolist()]
        counts, rows = _table([count for count, _ in found], [row for _, row in found])
        return counts[which], rows[which]

    def batches(self, turn: Turn, client: int) -> Batched:
        """Those of one client."""
        if self._declared is not None:
            return self._alike(turn, int(self._declared[client]))
        samples = self.world.samples(client, turn.phase.config.step(turn.phase_round))
        examples = self.world.examples(turn.phase.trained)
        lengths = examples.lengths(samples)
        draw = rng.stream(self.world.scenario.seed, "batches", turn.phase.name, turn.phase_round, client)
        batches = compose(lengths, turn.phase.config.local, self.longest, draw)
        return lengths, examples.counts(samples), batches, self.longest, turn.phase.objective.width

    def _measured(self, turn: Turn, size: int) -> tuple[int, IntArray]:
        """Samples that count, of so many, and the row of `measure`."""
        key = (turn.phase.name, turn.phase.config.step(turn.phase_round), size)
        if key not in self._known:
            batched = self._alike(turn, size)
            self._known[key] = len(batched[0]), measure(*batched)
        return self._known[key]

    def _alike(self, turn: Turn, size: int) -> Batched:
        """Batches of a client with so many samples of declared data: as they are cut, a short one last."""
        phase, unused = turn.phase, rng.stream(self.world.scenario.seed, "batches")
        examples = self.world.examples(phase.trained)
        samples = self.world.alike(size, phase.config.step(turn.phase_round))
        lengths = examples.lengths(samples)
        local = phase.config.local.model_copy(update={"order": "fixed"})
        batches = compose(lengths, local, self.longest, unused)
        return lengths, examples.counts(samples), batches, self.longest, phase.objective.width


def _table(counts: Sequence[int], rows: Sequence[IntArray]) -> tuple[IntArray, IntArray]:
    """As arrays, also where nobody is there."""
    return np.array(counts, np.int64), np.array(rows, np.int64).reshape(-1, 9)
