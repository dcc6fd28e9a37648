"""The `methods` section: one entry a method, each with its options."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from fedsim.scenario.base import Config, Count, Flag, Positive, Problem, Text
from fedsim.scenario.model import Model


class LearningRates(Config):
    """A method's own learning rates, where the phase's does not suit it."""

    further_pretrain: Positive | None = None
    """Replaces the phase's learning rate."""
    finetune: Positive | None = None
    """Replaces the phase's learning rate."""


class MethodOptions(Config):
    """Options that every method has."""

    model: Model | None = None
    """Train this model instead of the scenario's (a light model next to the full one)."""
    learning_rates: LearningRates = LearningRates()
    """The method's own learning rates."""

    def depth_problems(self, layers: int) -> Iterator[Problem]:
        """Options that do not fit a global model of this many layers."""
        yield from ()


class FederatedOptions(MethodOptions):
    """Options of methods that average client updates."""

    weighting: Literal["samples", "uniform"] = "samples"
    """A client's weight in the average: its number of samples, or one."""
    optimizer_state: Literal["reset", "keep"] = "reset"
    """`keep`: a client's optimizer state waits on its device for its next round."""


class Centralized(MethodOptions):
    """All the cohort's data in one place, trained by one machine (BERT-C)."""

    kind: Literal["centralized"] = "centralized"
    device: Text = "server_gpu"
    """Device class of that machine."""


class FedAvg(FederatedOptions):
    """The whole model trained and sent (McMahan et al. 2017; BERT-FL)."""

    kind: Literal["fedavg"] = "fedavg"


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


class FedBT(FederatedOptions):
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


MethodSpec = Annotated[Centralized | FedAvg | FedBT, Field(discriminator="kind")]
METHOD_KINDS = ("centralized", "fedavg", "fedbt")
