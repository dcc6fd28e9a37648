"""LoRA (Hu et al. 2022): the model stays as it is, and low-rank factors beside its matrices are trained and sent.

FedPETuning (Zhang et al. 2023) compares this with other small things to train. Means of factors are not the factors of
the mean: FlexLoRA (Bai et al. 2024) averages products instead, FFA-LoRA (Sun et al. 2024) trains one factor alone.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field

from fedsim.methods.base import Federated, PhaseName, Stage
from fedsim.model.adapters import matrix_sizes
from fedsim.model.architecture import Architecture, Head
from fedsim.plan import Adapters, Layers, Plan
from fedsim.scenario.base import Count, Positive, Problem, Rate
from fedsim.training.recipe import Recipe

Target = Literal["query", "key", "value", "attention_output", "feed_forward_in", "feed_forward_out"]


class LoRA(Federated):
    """Low-rank factors beside frozen matrices, and the head, trained and sent (LoRA, Hu et al. 2022)."""

    kind: Literal["lora"] = "lora"
    rank: Count = 8
    """Rows of A and columns of B."""
    alpha: Positive = 16.0
    """B A counts alpha / rank times."""
    targets: Annotated[tuple[Target, ...], Field(min_length=1)] = ("query", "value")
    """Matrices of every layer that have factors beside them."""
    dropout: Rate = 0.0
    """Dropout of what A sees in training."""
    aggregation: Literal["mean", "product_svd", "freeze_a"] = "mean"
    """The mean of each factor; the mean of B A, factored again; or A stays as it was drawn, and B alone is trained."""

    def problems(self) -> Iterator[Problem]:
        """Each target once, and nothing that products cannot do."""
        yield from super().problems()
        if len(set(self.targets)) != len(self.targets):
            yield Problem(("targets",), "lists a matrix twice")
        if self.aggregation == "product_svd":
            if self.server.kind != "average":
                yield Problem(("server", "kind"), "must be average: factors of two rounds are not to be subtracted")
            if self.what == "delta":
                yield Problem(("what",), "must be weights: the product of changes is no change of the product")

    def size_problems(self, architecture: Architecture) -> Iterator[Problem]:
        """A product of that rank fits into every matrix."""
        sizes = (matrix_sizes(architecture, index) for index in range(architecture.layers))
        smallest = min(min(layer[target]) for layer in sizes for target in self.targets)
        if self.rank > smallest:
            yield Problem(("rank",), f"is {self.rank}, more than the {smallest} that a matrix of this model can have")

    def stages(self, phase: PhaseName, rounds: int, architecture: Architecture, head: Head) -> Sequence[Stage]:
        """A single stage: factors and head."""
        layers = Layers(tuple(range(architecture.layers)))
        train_a = self.aggregation != "freeze_a"
        adapters = Adapters(self.rank, self.alpha, self.targets, self.dropout, train_a)
        plan = Plan(layers, (), train_embeddings=False, train_head=True, adapters=adapters)
        return [Stage(rounds, (plan,), f"factors of rank {self.rank}, head")]

    def synchronous(self) -> str | None:
        """A mean of products is none of changes."""
        if self.aggregation != "product_svd":
            return None
        return "averages products (aggregation: product_svd), which must start from the same factors"

    def recipe(self) -> Recipe:
        """What is averaged."""
        return Recipe(products=self.aggregation == "product_svd")
