"""FedBT: Wang et al., Journal of Software 36(9), 2025; its pre-training half is FedBFPT (IJCAI 2023, algorithm 1).

Further pre-training trains one layer and the output layer of a shortened model; fine-tuning trains a suffix
of layers that grows downwards and starts again. Everything else is frozen, and neither trained nor sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedsim.methods.base import PhaseName, Stage, merge_equal
from fedsim.plan import Draw, Layers, Plan, Slot
from fedsim.scenario.methods import FedBT as Options
from fedsim.scenario.methods import FedBTFinetuning, FedBTPretraining


def shallow_progressive(rounds: int, depth: int) -> list[int]:
    """The layer trained in each round: layer 0 for half of the rounds, layer 1 for half of the rest, and so on.

    FedBT, section 3.2 (FedBFPT, section 3.3); 5 rounds give 0 0 0 1 2, ten give 0 0 0 0 0 1 1 1 2 3.
    """
    trained, start, left = 0, 0, rounds
    schedule = []
    for index in range(rounds):
        if index > start and index == rounds - left // 2 and trained + 1 < depth:
            trained, left, start = trained + 1, rounds - index, index
        schedule.append(trained)
    return schedule


def equal_rounds(rounds: int, depth: int) -> list[int]:
    """Every local layer is trained for the same number of rounds, from the lowest up (the ablation without SP)."""
    return [index * depth // rounds for index in range(rounds)]


def cyclic_decreasing(rounds: int, layers: int, cycle: int) -> list[int]:
    """Lowest trained layer of each round: the last one, then one lower a round, `cycle` rounds long (section 4.2)."""
    return [layers - 1 - index % cycle for index in range(rounds)]


@dataclass(frozen=True)
class FedBT:
    """Layer-by-layer pre-training with sampled deep layers; suffix fine-tuning."""

    options: Options
    pooled: bool = False

    def stages(self, phase: PhaseName, rounds: int, layers: int) -> Sequence[Stage]:
        """One stage for each run of rounds with the same trained layers."""
        if phase == "further_pretrain":
            return self._pretraining(self.options.further_pretrain, rounds, layers)
        return self._finetuning(self.options.finetune, rounds, layers)

    def _pretraining(self, options: FedBTPretraining, rounds: int, layers: int) -> Sequence[Stage]:
        depth = options.local_layers or max(1, layers // 2)
        if options.schedule == "shallow_progressive":
            schedule = shallow_progressive(rounds, depth)
        else:
            schedule = equal_rounds(rounds, depth) if options.schedule == "equal" else [0] * rounds
        stages = []
        for trained in schedule:
            local = _deep(options, trained, depth, layers)
            everything = options.train == "all"
            plan = Plan(
                local,
                tuple(range(depth)) if everything else (trained,),
                train_embeddings=everything,
                train_head=True,
                full_pool=self.options.pool == "full",
            )
            stages.append(Stage(1, plan, "local model" if everything else f"layer {trained}, head"))
        return merge_equal(stages)

    def _finetuning(self, options: FedBTFinetuning, rounds: int, layers: int) -> Sequence[Stage]:
        depth = options.local_layers or layers
        cycle = min(options.cycle or max(1, layers // 2), depth)
        if options.schedule == "cyclic":
            schedule = cyclic_decreasing(rounds, layers, cycle)
        else:
            schedule = [layers - 1 if options.schedule == "last_layer" else layers // 2] * rounds
        stages = []
        for lowest in schedule:
            # the local model's top is the global model's top, so an index moves down by what is missing below
            position = lowest - (layers - depth)
            kept = range(max(position, 0), depth)
            everything = options.train == "all"
            trained = tuple(range(depth)) if everything else tuple(kept) if options.grow else (kept[0],)
            plan = Plan(
                _shallow(options, kept[0], depth, layers),
                trained,
                train_embeddings=everything,
                train_head=True,
                full_pool=self.options.pool == "full",
            )
            what = f"layers {lowest}-{layers - 1}" if options.grow and lowest < layers - 1 else f"layer {lowest}"
            stages.append(Stage(1, plan, "local model" if everything else f"{what}, head"))
        return merge_equal(stages)


def _deep(options: FedBTPretraining, trained: int, depth: int, layers: int) -> Layers:
    """Local layers up to the trained one are the global model's; those above stand for its deep layers."""
    above = depth - trained - 1
    if above == 0 or depth == layers or options.mapping == "none":
        return Layers(tuple(range(depth)))
    below = tuple(range(trained + 1))
    if options.mapping == "sampled":
        return Layers(below, Draw(above, trained + 1, layers))
    chunks = np.array_split(np.arange(trained + 1, layers), above)
    averages: tuple[Slot, ...] = tuple(tuple(int(i) for i in chunk) for chunk in chunks)
    return Layers(below, above=averages)


def _shallow(options: FedBTFinetuning, lowest: int, depth: int, layers: int) -> Layers:
    """Local layers from the lowest trained one up are the global model's top; those below stand for its bottom."""
    missing = layers - depth
    top = tuple(range(lowest + missing, layers))
    if lowest == 0 or missing == 0:
        return Layers(tuple(range(lowest)) + top)
    if options.mapping == "none":
        return Layers(tuple(range(lowest)) + top)
    return Layers(draw=Draw(lowest, 0, lowest + missing), above=top)
