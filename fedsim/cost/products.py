"""FLOPs as sums over matrix products, where what needs a gradient has to be followed from one to the next."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from fedsim.data.work import IntArray, Work
from fedsim.model.adapters import matrix_sizes
from fedsim.model.architecture import Architecture, LocalShape
from fedsim.plan import Adapters


@dataclass(frozen=True)
class Coefficients:
    """FLOPs per unit of each quantity that the work is measured in."""

    token: int = 0
    """Per position of every sample, padding included (B * L)."""
    squared_token: int = 0
    """Per pair of positions of the same sample (B * L * L)."""
    position: int = 0
    """Per position that the head is evaluated at."""

    def __add__(self, other: "Coefficients") -> "Coefficients":
        return Coefficients(
            self.token + other.token, self.squared_token + other.squared_token, self.position + other.position
        )

    def __mul__(self, times: int) -> "Coefficients":
        return Coefficients(self.token * times, self.squared_token * times, self.position * times)

    def total(self, work: Work) -> IntArray:
        """FLOPs of each client over all its batches, shape [clients]."""
        return self.token * work.tokens + self.squared_token * work.squared_tokens + self.position * work.positions


@dataclass(frozen=True)
class Top:
    """What of a layer is computed only where the head reads it; nothing, unless it is the top one."""

    narrow: bool = False
    """What stands behind the attention."""
    one_query: bool = False
    """The queries, too: one a sample."""

    @classmethod
    def of(cls, shape: LocalShape) -> Self:
        """Of the top layer of a local model."""
        return cls(shape.narrows, shape.narrows and shape.head.per_sample)

    def query(self, flops: int) -> Coefficients:
        """So many FLOPs a query."""
        return Coefficients(position=flops) if self.one_query else Coefficients(token=flops)

    def pairs(self, flops: int) -> Coefficients:
        """So many a pair of a query and a key."""
        return Coefficients(token=flops) if self.one_query else Coefficients(squared_token=flops)

    def behind(self, flops: int) -> Coefficients:
        """So many a position that something is computed for behind the attention."""
        return Coefficients(position=flops) if self.narrow else Coefficients(token=flops)


WHOLE = Top()
"""Every layer but the top one."""
Rows = Callable[[int], Coefficients]
"""FLOPs of one row -> FLOPs by what the rows are."""


def _every(flops: int) -> Coefficients:
    return Coefficients(token=flops)


@dataclass(frozen=True)
class Flops:
    """FLOPs of local training with one plan shape."""

    forward: Coefficients
    backward: Coefficients

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(self.forward + other.forward, self.backward + other.backward)


class Products:
    """A sum over matrix products, for layers in which what needs a gradient differs from matrix to matrix.

    Of a product of two tensors, each costs once more if that one does.
    """

    def __init__(self, width: int, top: Top = WHOLE) -> None:
        """`width` is that of queries, keys and values."""
        self.forward, self.backward = Coefficients(), Coefficients()
        self._width, self._top = width, top

    def _matrix(self, outputs: int, inputs: int, gradient: bool, trained: bool, of: Rows = _every) -> bool:
        """Apply a matrix to every token, or to some; whether the outcome needs a gradient."""
        one = of(2 * outputs * inputs)
        self.forward += one
        self.backward += one * (gradient + trained)
        return gradient or trained

    def _attend(self, query: bool, key: bool, value: bool) -> bool:
        """Scores of all pairs, and what they pick from the values; arguments say what needs a gradient."""
        self._product(query, key, self._width)
        self._product(query or key, value, self._width)
        return query or key or value

    def _product(self, left: bool, right: bool, width: int) -> None:
        """So many multiplications for every pair."""
        one = self._top.pairs(2 * width)
        self.forward += one
        self.backward += one * (left + right)


class EncoderDecoder(Products):
    """Layers of an encoder-decoder, one after the other.

    Both sides read as many tokens, so the pairs of the decoder's attention to the encoder are as many as its own. The
    dispatcher counts all of them, also those that a causal mask hides.
    """

    def __init__(self, architecture: Architecture, gradient: bool) -> None:
        """`gradient`: the embeddings need one."""
        super().__init__(architecture.hidden)
        self._h, self._f = architecture.hidden, architecture.feed_forward
        self.gradient = gradient
        """Whether what the last layer has made needs a gradient."""

    def encode(self, trained: bool) -> None:
        """Go through a layer of the encoder."""
        self._attention(self.gradient, trained)
        self._feed_forward(trained)

    def decode(self, trained: bool, memory: bool) -> None:
        """Go through a layer of the decoder; `memory`: what the encoder has made needs a gradient."""
        self._attention(self.gradient, trained)
        self._attention(memory, trained)
        self._feed_forward(trained)

    def _attention(self, source: bool, trained: bool) -> None:
        """From the states so far to a source of keys and values."""
        query = self._matrix(self._h, self._h, self.gradient, trained)
        key, value = (self._matrix(self._h, self._h, source, trained) for _ in "kv")
        mixed = self._matrix(self._h, self._h, self._attend(query, key, value), trained)
        self.gradient = self.gradient or mixed

    def _feed_forward(self, trained: bool) -> None:
        inner = self._matrix(self._f, self._h, self.gradient, trained)
        self.gradient = self._matrix(self._h, self._f, inner, trained) or self.gradient


class EncoderLayer(Products):
    """A layer of an encoder, whole or with low-rank factors beside some of its matrices: these may differ."""

    def __init__(
        self,
        architecture: Architecture,
        place: int,
        trained: bool = False,
        adapters: Adapters | None = None,
        top: Top = WHOLE,
    ) -> None:
        """`trained`: the matrices are; where there are adapters, those, and no matrix."""
        super().__init__(architecture.attention_width(place), top)
        self._sizes, self._adapters, self._trained = matrix_sizes(architecture, place), adapters, trained
        self._heads, self._hidden = architecture.heads_in(place), architecture.hidden

    def run(self, gradient: bool) -> bool:
        """Go through the layer; whether its input needs a gradient, and then whether its output does."""
        behind, query = self._top.behind, self._linear("query", gradient, self._top.query)
        if self._top.one_query and not self._beside("key", "value"):
            mixed = self._absorbed(query, gradient)
        else:
            mixed = self._attend(query, *(self._linear(name, gradient) for name in ("key", "value")))
        states = self._linear("attention_output", mixed, behind) or gradient
        return self._linear("feed_forward_out", self._linear("feed_forward_in", states, behind), behind) or states

    def _absorbed(self, query: bool, states: bool) -> bool:
        """The attention without keys and values (`fedsim.model.absorbed`): every head meets all of a state."""
        asking = self._linear("key", query, self._top.query)
        self._product(asking, states, self._heads * self._hidden)
        self._product(asking, states, self._heads * self._hidden)
        return self._linear("value", asking or states, self._top.query)

    def _beside(self, *names: str) -> bool:
        """Any of these matrices has factors beside it."""
        return self._adapters is not None and any(name in self._adapters.targets for name in names)

    def _linear(self, name: str, gradient: bool, of: Rows = _every) -> bool:
        outputs, inputs = self._sizes[name]
        needed = self._matrix(outputs, inputs, gradient, self._trained and self._adapters is None, of)
        if self._adapters is None or not self._beside(name):
            return needed
        rank, train_a = self._adapters.rank, self._trained and self._adapters.train_a
        return self._matrix(outputs, rank, self._matrix(rank, inputs, gradient, train_a, of), self._trained, of)
