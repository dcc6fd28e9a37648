"""The local layers of a whole cohort: drawn at once, as groups of the global model, and as text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fedsim import rng
from fedsim.data.work import IntArray
from fedsim.plan import Layers, Plan, Slot, group, layer
from fedsim.trace.schema import slots_text

BoolArray = npt.NDArray[np.bool_]

_NUMBERS = 4
"""A place of a random field has so many."""


@dataclass(frozen=True, eq=False)
class LocalLayers:
    """The local layers of one plan, for every member of a cohort."""

    layers: Layers
    drawn: IntArray
    """Global layers that were drawn, each row in ascending order, [cohort, draws]; no column where none are."""

    @classmethod
    def draw(cls, layers: Layers, clients: IntArray, seed: int, *key: str | int) -> Self:
        """Draw for these clients; what one of them is given does not depend on the others.

        Args:
            layers: what is drawn from.
            clients: their numbers in the fleet, [cohort].
            seed: of the scenario.
            key: names the draw: phase and round.
        """
        if layers.draw is None:
            return cls(layers, np.zeros((len(clients), 0), np.int64))
        places = -(-layers.draws // _NUMBERS)
        field = rng.field(seed, "slots", *key)
        numbers = field.at(np.repeat(clients, places), np.tile(np.arange(places), len(clients)))
        rows = numbers.T.reshape(len(clients), places * _NUMBERS)
        return cls(layers, layers.draw.layers(rows[:, : layers.draws]))

    def __getitem__(self, member: int) -> tuple[Slot, ...]:
        return self.layers.slots(self.drawn[member].tolist())

    def take(self, members: IntArray) -> Self:
        """Of some members, in this order."""
        return replace(self, drawn=self.drawn[members])

    def needed(self, plan: Plan, names: Sequence[str]) -> BoolArray:
        """Groups that each member must hold in their current version, [cohort, groups].

        Args:
            plan: whose local layers these are.
            names: the groups, bottom first.
        """
        if plan.full_pool and plan.split is None:
            always = [plan.keeps(name) for name in names]
        else:
            fixed = plan.downloaded(self.layers.below + self.layers.above)
            always = [name in fixed for name in names]
        table = np.tile(np.array(always), (len(self.drawn), 1))
        if self.layers.draw is not None and not plan.full_pool and plan.split is None:
            column = {name: i for i, name in enumerate(names)}
            of_layer = np.array([column[layer(i)] for i in range(self.layers.draw.stop)])
            table[np.arange(len(table))[:, None], of_layer[self.drawn]] = True
        return table

    def sent(self, plan: Plan, members: IntArray) -> set[str]:
        """Groups that any of these members uploads.

        Args:
            plan: whose local layers these are.
            members: places within the cohort; at least one.
        """
        below, some, names = len(self.layers.below), self[int(members[0])], set[str]()
        for part in plan.uploaded:
            if isinstance(part, int) and below <= part < below + self.layers.draws:
                names.update(map(layer, np.unique(self.drawn[members, part - below]).tolist()))
            else:
                names.add(group(part, some))
        return names

    def texts(self) -> pa.StringArray:
        """As in the trace, [cohort]; see `slots_text`."""
        ends = [slots_text(self.layers.below), slots_text(self.layers.above)]
        below, above = ([end] if end else [] for end in ends)
        if self.layers.draw is None:
            return pa.repeat(" ".join(below + above), len(self.drawn))
        words = pa.array([str(i) for i in range(self.layers.draw.stop)])
        columns = [words.take(pa.array(column)) for column in self.drawn.T]
        return pc.binary_join_element_wise(*below, *columns, *above, " ")


@dataclass(frozen=True, eq=False)
class Slots:
    """The local layers of every member of a cohort, each according to its plan."""

    options: tuple[LocalLayers, ...]
    """Those that each plan would give the whole cohort."""
    plan: IntArray
    """Index into these, [cohort]."""

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, member: int) -> tuple[Slot, ...]:
        return self.options[int(self.plan[member])][member]

    def take(self, members: IntArray) -> Self:
        """Of some members, in this order."""
        return replace(self, options=tuple(own.take(members) for own in self.options), plan=self.plan[members])

    @classmethod
    def join(cls, parts: "Sequence[Slots]") -> "Slots":
        """Of all members of several cohorts, whose plans may be of different stages."""
        if len(parts) == 1:
            return parts[0]
        kinds = list(dict.fromkeys(own.layers for part in parts for own in part.options))
        total = sum(len(part) for part in parts)
        drawn = [np.zeros((total, layers.draws), np.int64) for layers in kinds]
        plan, start = np.zeros(total, np.int64), 0
        for part in parts:
            for number, own in enumerate(part.options):
                rows, kind = np.flatnonzero(part.plan == number), kinds.index(own.layers)
                plan[start + rows] = kind
                drawn[kind][start + rows] = own.drawn[rows]
            start += len(part)
        return cls(tuple(map(LocalLayers, kinds, drawn)), plan)

    def sent(self, plan: Plan, members: IntArray) -> set[str]:
        """Groups that any of these members, who have the same plan, uploads."""
        own = ((number, members[self.plan[members] == number]) for number in range(len(self.options)))
        return set[str]().union(*(self.options[number].sent(plan, some) for number, some in own if len(some)))

    def texts(self) -> pa.StringArray:
        """As in the trace, [cohort]."""
        texts = [local.texts() for local in self.options]
        return texts[0] if len(texts) == 1 else pc.choose(pa.array(self.plan), *texts)
