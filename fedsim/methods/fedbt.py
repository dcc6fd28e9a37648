"""FedBT: Wang et al., Journal of Software 36(9), 2025; its pre-training half is FedBFPT (IJCAI 2023, algorithm 1).

Further pre-training trains one layer and the output layer of a shortened model; fine-tuning trains a suffix
of layers that grows downwards and starts again. Everything else is frozen, and neither trained nor sent.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from fedsim.methods.base import Federated, PhaseName, Stage, merge_equal
from fedsim.model.architecture import Architecture, Head
from fedsim.plan import Draw, Layers, Plan, Slot
from fedsim.scenario.base import Config, Count, Flag, Problem


class FedBTPretraining(Config):
    """FedBT's further pre-training: one layer and the output layer at a time (section 2 of docs/methods/fedbt.md)."""

    local_layers: Count | None = None
    """L_k: layers of the local model; null: half of the global ones."""
    schedule: Literal["shallow_progressive", "equal", "first_layer"] = "shallow_progressive"
    """Rounds per layer: half of what is left, equal shares (\\SP), or layer 0 always (\\PL)."""
    mapping: Literal["sampled", "none", "averaged"] = "sampled"
    """Upper local layers: drawn from the deep global ones, the global model's first ones (\\M), or averages (\\S)."""
    train: Literal["layer", "all"] = "layer"
    """What is trained and sent: one layer and the output layer, or every parameter of the local model (-All)."""

    def problems(self) -> Iterator[Problem]:
        """An average of layers cannot be sent back to any of them."""
        if self.mapping == "averaged" and self.train == "all":
            yield Problem(("train",), "averages of layers cannot be trained: with mapping: averaged, train is layer")


class FedBTFinetuning(Config):
    """FedBT's fine-tuning: a suffix of layers that grows and starts again."""

    local_layers: Count | None = None
    """L_k; null: all layers of the global model."""
    schedule: Literal["cyclic", "last_layer", "half"] = "cyclic"
    """Lowest trained layer: cyclic decreasing, always the last (\\Circle), or always the middle (-Half)."""
    cycle: Count | None = None
    """c: rounds of a cycle; null: half of the global layers."""
    grow: Flag = True
    """Train all layers from the lowest one up; false: one layer and the output layer a round (\\Add)."""
    mapping: Literal["sampled", "none"] = "sampled"
    """Lower local layers when L_k is smaller than the global model: drawn, or the global model's first ones (-Map)."""
    train: Literal["layers", "all"] = "layers"
    """What is trained and sent: as scheduled, or every parameter of the local model (-All)."""

    def problems(self) -> Iterator[Problem]:
        """A cycle needs the cyclic schedule."""
        if self.cycle is not None and self.schedule != "cyclic":
            yield Problem(("cycle",), f"goes with schedule: cyclic, schedule is {self.schedule}")


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


class FedBT(Federated):
    """FedBT (Wang et al. 2025; its first half is FedBFPT, IJCAI 2023)."""

    kind: Literal["fedbt"] = "fedbt"
    further_pretrain: FedBTPretraining = FedBTPretraining()
    """Options of further pre-training."""
    finetune: FedBTFinetuning = FedBTFinetuning()
    """Options of fine-tuning."""
    pool: Literal["full", "needed"] = "full"
    """A client keeps up to date the whole global model, or downloads just the layers that its local model needs."""

    def depth_problems(self, layers: int) -> Iterator[Problem]:
        """A local model is no deeper than the global one, and a cycle no longer than the local model is deep."""
        for phase, local in (("further_pretrain", self.further_pretrain), ("finetune", self.finetune)):
            if (local.local_layers or 1) > layers:
                yield Problem((phase, "local_layers"), f"is {local.local_layers}, the global model has {layers} layers")
        cycle, deepest = self.finetune.cycle or 1, self.finetune.local_layers or layers
        if cycle > deepest:
            yield Problem(("finetune", "cycle"), f"is {cycle}, the local model has {deepest} layers")

    def stages(self, phase: PhaseName, rounds: int, architecture: Architecture, head: Head) -> Sequence[Stage]:
        """One stage for each run of rounds with the same trained layers."""
        if phase == "further_pretrain":
            return self._pretraining(self.further_pretrain, rounds, architecture.layers)
        return self._finetuning(self.finetune, rounds, architecture.layers)

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
                full_pool=self.pool == "full",
            )
            stages.append(Stage(1, (plan,), "local model" if everything else f"layer {trained}, head"))
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
                full_pool=self.pool == "full",
            )
            what = f"layers {lowest}-{layers - 1}" if options.grow and lowest < layers - 1 else f"layer {lowest}"
            stages.append(Stage(1, (plan,), "local model" if everything else f"{what}, head"))
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
