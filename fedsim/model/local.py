"""A local model: `transformers` layers whose parameters are views of one vector a group."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedsim.model.adapters import adapter_layouts
from fedsim.model.architecture import LocalShape
from fedsim.model.bart import original, shifted
from fedsim.model.embedding import use_direct_gradients
from fedsim.model.heads import build_head
from fedsim.model.layout import Layout, embeddings_layout, head_layout, layer_layout, projection_layout
from fedsim.model.linear import plain_float32, use_onednn
from fedsim.model.lora import inject
from fedsim.model.meta import unallocated
from fedsim.model.modules import build_modules, fill_buffers
from fedsim.model.mutual import mutual_divergence
from fedsim.model.part import Part
from fedsim.model.tied import tied_loss
from fedsim.model.width import Window
from fedsim.plan import ADAPTER, EMBEDDINGS, PROJECTION, PartName, Slot, exit_head, layer


@dataclass(frozen=True)
class Batch:
    """Tensors of one batch of B samples padded to L tokens; P positions are predicted.

    `positions` indexes the flattened [B * L] tokens (MLM at masked positions) and is None where the head sees every
    position or just the first; `targets` is [P], or [B * L] with -100 where nothing is predicted, or [B].
    """

    ids: Tensor
    """[B, L] int64."""
    real: Tensor | None
    """[B, L] bool, False on padding; None without padding."""
    positions: Tensor | None
    targets: Tensor


class LocalModel:
    """A stack of layers between embeddings and a head, ready to be loaded, trained and read as vectors."""

    def __init__(self, shape: LocalShape, device: torch.device | None = None, clients: int | None = None) -> None:
        self.shape, self.clients = shape, clients
        self.device = device or torch.device("cpu")
        a = shape.architecture
        embeddings, layers = build_modules(a, shape.depth)
        if shape.adapters is not None:
            inject(layers, a, shape.adapters)
        head, exits = build_head(a, shape.head), [build_head(a, shape.head) for _ in shape.exits]
        self.module = nn.ModuleDict({"embeddings": embeddings, "layers": nn.ModuleList(layers), "head": head})
        self.module["exits"] = nn.ModuleList(exits)
        self.parts: dict[str | int, Part] = {
            EMBEDDINGS: self._part(embeddings, embeddings_layout(a), shape.train_embeddings),
            **{i: self._part(module, layer_layout(a, i), i in shape.train_layers) for i, module in enumerate(layers)},
            **self._beside(layers),
            **{
                exit_head(depth): self._part(module, head_layout(a, shape.head), shape.train_head)
                for depth, module in zip(shape.exits, exits, strict=True)
            },
            shape.top: self._part(head, head_layout(a, shape.head), shape.train_head),
        }
        if shape.distillation is not None and shape.distillation.projection:
            width = shape.distillation.teacher.hidden
            with unallocated():
                self.projection = nn.Linear(a.hidden, width)
            self.module["projection"] = self.projection
            self.parts[PROJECTION] = self._part(self.projection, projection_layout(a.hidden, width), True)
        left = [name for name, parameter in self.module.named_parameters() if parameter.is_meta]
        if left:
            raise ValueError(f"parameters without a place in a layout: {', '.join(left)}")
        fill_buffers(self.module, self.device)
        use_onednn(self.module)
        use_direct_gradients(self.module)
        self.embeddings, self.layers, self.head, self.exits = embeddings, layers, head, exits
        if shape.scale != 1.0:
            for module in (*self.head_mixers, *self.unit_mixers):
                module.register_forward_pre_hook(self._scaled)

    def _part(self, module: nn.Module, layout: Layout, trained: bool) -> Part:
        return Part(module, layout, trained, self.device, self.clients if trained else None)

    def _beside(self, layers: list[nn.Module]) -> dict[str | int, Part]:
        """The parts beside the layers."""
        adapters, trained = self.shape.adapters, self.shape.train_adapters
        if adapters is None:
            return {}
        return {
            name: self._part(module, layout, trained and name.startswith(ADAPTER))
            for i, module in enumerate(layers)
            for name, layout in adapter_layouts(self.shape.architecture, adapters, i).items()
        }

    @property
    def trained(self) -> dict[str | int, Part]:
        """The parts that are trained, from the bottom up."""
        return {name: part for name, part in self.parts.items() if part.grad is not None}

    @property
    def head_mixers(self) -> list[nn.Module]:
        """The matrix behind the heads of each layer."""
        name = "attention.output.dense" if self.shape.architecture.family == "bert" else "attention.out_lin"
        return [layer.get_submodule(name) for layer in self.layers]

    @property
    def unit_mixers(self) -> list[nn.Module]:
        """The matrix behind the feed-forward units of each layer."""
        name = "output.dense" if self.shape.architecture.family == "bert" else "ffn.lin2"
        return [layer.get_submodule(name) for layer in self.layers]

    def _scaled(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
        """In training, the fewer heads and units of a narrower model speak as loudly as all of them would."""
        return (inputs[0] * self.shape.scale,) if self.module.training else None

    def load(self, groups: Mapping[str, Tensor], slots: tuple[Slot, ...], window: Window | None = None) -> None:
        """Copy global groups in place: of layers what is in the window; a slot with several layers gets their mean."""
        with torch.no_grad():
            for name, part in self.parts.items():
                part.flat.copy_(source(name, groups, slots, window))

    def unpack(self, flat: Tensor) -> dict[str, Tensor]:
        """The groups of a whole model that came as one (`fedsim.model.layout.pack`)."""
        names = [layer(name) if isinstance(name, int) else name for name in self.parts]
        sizes = [part.layout.size for part in self.parts.values()]
        return dict(zip(names, torch.split(flat, sizes), strict=True))

    def zero_grad(self) -> None:
        """Clear the gradients of the trained parts."""
        for part in self.parts.values():
            if part.grad is not None:
                part.grad.zero_()

    def embedded(self, batch: Batch) -> Tensor:
        """What the lowest layer sees, [B, L, hidden]."""
        return self.embeddings(batch.ids)  # type: ignore[no-any-return]

    def mask(self, batch: Batch) -> Tensor | None:
        """Which tokens each token may look at, [B, 1, L, L]; None: all."""
        return None if batch.real is None else attention_mask(batch.real)

    def body(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """The layers alone: [B, L, hidden] to [B, L, hidden]."""
        for module in self.layers:
            states = module(states, mask)
        return states

    def hidden(self, batch: Batch) -> Tensor:
        """Last hidden states, [B, L, hidden]."""
        if self.shape.architecture.decoder is not None:
            return self._decoded(batch, self.shape.architecture.decoder.start)
        return self.body(self.embedded(batch), self.mask(batch))

    def _decoded(self, batch: Batch, start: int) -> Tensor:
        """Last hidden states of a decoder that reads the original text from `start` on, [B, L, hidden]."""
        below, mask = self.shape.architecture.encoder_layers, self.mask(batch)
        memory = self.embedded(batch)
        for module in self.layers[:below]:
            memory = module(memory, mask)
        text = original(batch.ids, batch.positions, batch.targets) if self.shape.head.kind == "mlm" else batch.ids
        states: Tensor = self.embeddings.decode(shifted(text, start))  # type: ignore[operator]
        for module in self.layers[below:]:
            # without a mask of their own its layers look back alone, and so at no padding
            states = module(states, None, memory, mask)
        return states

    def asked(self, batch: Batch) -> Tensor:
        """The last hidden states that the head answers from, one row for each entry of `batch.targets`."""
        rows = self._rows(batch) if self.shape.narrows else None
        if rows is None:
            return self._asked(self.hidden(batch), batch)
        states, mask = self.embedded(batch), self.mask(batch)
        for module in self.layers[:-1]:
            states = module(states, mask)
        return self.layers[-1](states, mask, rows)  # type: ignore[no-any-return]

    def logits(self, batch: Batch) -> Tensor:
        """[P, vocabulary], [B * L, classes] or [B, classes]: one row for each entry of `batch.targets`."""
        return self._answer(self.asked(batch), self.head)

    def exit_logits(self, batch: Batch) -> list[Tensor]:
        """Logits of every head, bottom first; the last is that on top."""
        states, mask, found = self.embedded(batch), self.mask(batch), []
        exits = dict(zip(self.shape.exits, self.exits, strict=True))
        for depth, module in enumerate(self.layers, start=1):
            states = module(states, mask)
            if depth in exits:
                found.append(self.answers(states, batch, exits[depth]))
        return [*found, self.answers(states, batch)]

    def answers(self, states: Tensor, batch: Batch, head: nn.Module | None = None) -> Tensor:
        """The logits of a head, of that on top where none is named, from the hidden states below it."""
        return self._answer(self._asked(states, batch), head or self.head)

    def _answer(self, asked: Tensor, head: nn.Module) -> Tensor:
        return head(asked, self._words) if self.shape.head.kind == "mlm" else head(asked)  # type: ignore[no-any-return]

    def _asked(self, states: Tensor, batch: Batch) -> Tensor:
        """The states that a head answers from: one row for each of its answers."""
        if self.shape.head.kind == "mean":
            return states.mean(1) if batch.real is None else _mean(states, batch.real)
        if self.shape.head.per_sample:
            return states[:, 0] if self.shape.architecture.decoder is None else _last(states, batch.real)
        states = states.flatten(0, 1)
        return states if batch.positions is None else states[batch.positions]

    def _rows(self, batch: Batch) -> Tensor | None:
        """Which of all B * L states these are, [P], or [B, 1] for one answer a sample; None: all."""
        if not self.shape.head.per_sample:
            return batch.positions
        samples, tokens = batch.ids.shape
        return torch.arange(0, samples * tokens, tokens, device=batch.ids.device)[:, None]

    @property
    def _words(self) -> Tensor:
        return self.embeddings.word_embeddings.weight  # type: ignore[union-attr, return-value]

    def answers_loss(self, states: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of the answers of the head on top, from the hidden states below it."""
        return self._answer_loss(self._asked(states, batch), batch.targets)

    def _answer_loss(self, asked: Tensor, targets: Tensor) -> Tensor:
        if self.shape.head.kind == "mlm" and plain_float32(asked):
            transformed = self.head.transform(asked)  # type: ignore[operator]
            return tied_loss(transformed, self._words, self.head.bias, targets)  # type: ignore[arg-type]
        return functional.cross_entropy(self._answer(asked, self.head).float(), targets)

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy over what is predicted; of several heads the sum, and what they learn from each other."""
        if not self.shape.exits:
            return self._answer_loss(self.asked(batch), batch.targets)
        logits = [own.float() for own in self.exit_logits(batch)]
        loss = torch.stack([functional.cross_entropy(own, batch.targets) for own in logits]).sum()
        return loss + self.shape.mutual * mutual_divergence(logits, batch.targets) if self.shape.mutual else loss


def source(
    name: PartName, groups: Mapping[str, Tensor], slots: tuple[Slot, ...], window: Window | None = None
) -> Tensor:
    """What a part is loaded with: its group, what is in the window of it, or the mean of a slot's layers."""
    slot = slots[name] if isinstance(name, int) else None
    if window is not None and isinstance(slot, int):
        whole = groups[layer(slot)]
        return whole[torch.from_numpy(window.entries(slot)).to(whole.device)]
    if isinstance(slot, tuple):
        return torch.stack([groups[layer(i)] for i in slot]).mean(0)
    return groups[name if isinstance(name, str) else layer(slot)]  # type: ignore[arg-type]


def attention_mask(real: Tensor) -> Tensor:
    """Every token may look at the real ones: [B, L] to [B, 1, L, L]."""
    return real[:, None, None, :].expand(-1, 1, real.shape[1], -1)


def _last(states: Tensor, real: Tensor | None) -> Tensor:
    """The states at the last real token, [B, hidden]: there a decoder has read all that stands before it."""
    if real is None:
        return states[:, -1]
    return states[torch.arange(len(states), device=states.device), real.sum(1) - 1]


def _mean(states: Tensor, real: Tensor) -> Tensor:
    """Mean over the real tokens, [B, hidden]."""
    weights = real.to(states.dtype)[:, :, None]
    return (states * weights).sum(1) / weights.sum(1)
