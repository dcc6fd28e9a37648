"""FedSplitBERT (Li, Si, Wang, Xiao, IJCNN 2022, arXiv 2205.13299): some layers are everybody's, the others one's own.

Every client trains the whole model. The global layers are averaged; the local ones stay on the client's disk and are
never sent, so that they fit its own text. What is sent may be quantised: `upload` and `download`, as for every method.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from fedsim.methods.base import Federated, PhaseName, Stage
from fedsim.model.architecture import Architecture, Head
from fedsim.plan import EMBEDDINGS, HEAD, Layers, PartName, Plan
from fedsim.scenario.base import NonNegative, Problem, Whole
from fedsim.training.recipe import Recipe


class FedSplitBERT(Federated):
    """Global layers are averaged, local ones stay on the client (Li et al. 2022)."""

    kind: Literal["fedsplitbert"] = "fedsplitbert"
    global_layers: tuple[Whole, ...] | None = None
    """Layers that are averaged, 0 being next to the embeddings; null: the lowest third."""
    embeddings: Literal["global", "local", "frozen"] = "frozen"
    """Averaged, each client's own, or as they are at the start."""
    head: Literal["global", "local"] = "local"
    """Averaged, or each client's own."""
    mu: NonNegative = 0.0
    """FedProx's proximal term (mu / 2) * |w - w_start|^2 over every trained part; 0: none."""

    def stages(self, phase: PhaseName, rounds: int, architecture: Architecture, head: Head) -> Sequence[Stage]:
        """A single stage over all rounds: everything is trained but frozen embeddings."""
        layers = range(architecture.layers)
        shared = self._shared(architecture.layers)
        private: list[PartName] = [EMBEDDINGS] if self.embeddings == "local" else []
        private += [i for i in layers if i not in shared]
        private += [HEAD] if self.head == "local" else []
        plan = Plan(
            Layers(tuple(layers)),
            tuple(layers),
            train_embeddings=self.embeddings != "frozen",
            train_head=True,
            private=tuple(private),
        )
        ends = [name for name in ("embeddings", "head") if getattr(self, name) == "global"]
        return [Stage(rounds, (plan,), ", ".join([f"global: {_text(shared)}", *ends]))]

    def recipe(self) -> Recipe:
        """The proximal term."""
        return Recipe(proximal=self.mu)

    def _shared(self, layers: int) -> tuple[int, ...]:
        if self.global_layers is None:
            return tuple(range(max(1, layers // 3)))
        return tuple(sorted(self.global_layers))

    def problems(self) -> Iterator[Problem]:
        """Something is averaged, and nothing is named twice."""
        yield from super().problems()
        named = self.global_layers
        if named is not None and not named:
            yield Problem(("global_layers",), "names no layer: nothing would be averaged; name at least one")
        if named is not None and len(set(named)) != len(named):
            yield Problem(("global_layers",), "must name each layer only once")

    def depth_problems(self, layers: int) -> Iterator[Problem]:
        """The global layers are layers of the model."""
        yield from super().depth_problems(layers)
        for place, index in enumerate(self.global_layers or ()):
            if index >= layers:
                yield Problem(("global_layers", place), f"is {index}, the model's layers are 0 to {layers - 1}")


def _text(layers: Sequence[int]) -> str:
    """Layers in words, runs shortened: ``layers 0-3, 7``."""
    runs: list[list[int]] = []
    for index in layers:
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    words = (str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"layer{'s' if len(layers) > 1 else ''} {', '.join(words)}"
