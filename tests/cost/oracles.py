"""Reference models built straight from `transformers`, with the parts of a plan trained and the rest frozen."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BartForSequenceClassification,
    BartModel,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertForSequenceClassification,
    DistilBertModel,
)
from transformers.pytorch_utils import prune_linear_layer

from fedsim.data.work import IntArray, Work
from fedsim.model.architecture import Architecture, Decoder, Head
from fedsim.plan import Layers, Plan

BERT_BASE = Architecture("bert", 30522, 768, 12, 12, 3072, 512, 0.1)
DISTILBERT = Architecture("distilbert", 30522, 768, 6, 12, 3072, 512, 0.1)
TINYBERT_6 = Architecture("bert", 30522, 768, 6, 12, 3072, 512, 0.1)
TINYBERT_4 = Architecture("bert", 30522, 312, 4, 12, 1200, 512, 0.1)
TINY = Architecture("bert", 211, 24, 3, 3, 40, 64, 0.1)
TINY_DISTILBERT = Architecture("distilbert", 211, 24, 3, 3, 40, 64, 0.1)
BART_BASE = Architecture("bart", 50265, 768, 12, 12, 3072, 1024, 0.1, decoder=Decoder(6))
TINY_BART = Architecture("bart", 211, 24, 5, 3, 40, 64, 0.1, decoder=Decoder(2))
PRUNED = replace(TINY, kept_heads=((0, 2), (0, 1, 2), (1,)))
PRUNED_DISTILBERT = replace(TINY_DISTILBERT, kept_heads=((2,), (0, 1), (0, 1, 2)))
NARROW = TINY.narrow(0.4)
HALF_BERT = BERT_BASE.narrow(0.5)

MLM = Head("mlm")
POOLER = Head("pooler", 13)
LINEAR = Head("linear", 13)
MEAN = Head("mean", 13)
TAGS = Head("tokens", 5)


def plan(depth: int, layers: tuple[int, ...] = (), *, embeddings: bool = False, head: bool = False) -> Plan:
    """A plan with that many local layers, training the local places in `layers`."""
    return Plan(Layers(tuple(range(depth))), layers, train_embeddings=embeddings, train_head=head)


@dataclass
class Reference:
    """A whole local model: `logits(ids, mask, positions)` and its parameters by group."""

    encoder: nn.Module
    layers: list[nn.Module]
    logits: Callable[[Tensor, Tensor | None, Tensor], Tensor]
    modules: nn.ModuleList
    head_parameters: list[nn.Parameter] = field(default_factory=list)

    def train_only(self, plan: Plan) -> None:
        """Let just the plan's parts require gradients."""
        self.modules.requires_grad_(False)
        if plan.train_head:
            for parameter in self.head_parameters:
                parameter.requires_grad_(True)
        for place in plan.train_layers:
            self.layers[place].requires_grad_(True)
        # After the head: the tied decoder follows the embeddings.
        self.embeddings.requires_grad_(plan.train_embeddings)

    @property
    def embeddings(self) -> nn.Module:
        """The embedding block."""
        if isinstance(self.encoder, BartModel):
            sides = (self.encoder.encoder, self.encoder.decoder)
            own = [part for side in sides for part in (side.embed_positions, side.layernorm_embedding)]
            return nn.ModuleList([self.encoder.shared, *own])
        module = self.encoder.embeddings
        assert isinstance(module, nn.Module)
        return module

    def loss(self, ids: Tensor, mask: Tensor | None, positions: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy at the head's positions."""
        return functional.cross_entropy(self.logits(ids, mask, positions), targets)


def reference(architecture: Architecture, head: Head, depth: int, attention: str) -> Reference:
    """Build on the current device; `attention` is the `attn_implementation`."""
    made = {"bert": _bert, "distilbert": _distilbert, "bart": _bart}[architecture.family](
        architecture, head, depth, attention
    )
    if architecture.kept_heads is not None:
        for index, layer in enumerate(made.layers):
            _keep_first(layer, architecture.attention_width(index), architecture.family)
    below = {id(p) for module in (made.embeddings, *made.layers) for p in module.parameters()}
    made.head_parameters = [p for p in made.modules.parameters() if id(p) not in below]
    return made


def _keep_first(layer: nn.Module, width: int, family: str) -> None:
    """Leave a layer as many heads as fit into `width`, by slicing its matrices."""
    attention = layer.get_submodule("attention")
    if family == "bert":
        names, mixer = ("self.query", "self.key", "self.value"), "output.dense"
    else:
        names, mixer = ("q_lin", "k_lin", "v_lin"), "out_lin"
    for name in (*names, mixer):
        owner, _, leaf = name.rpartition(".")
        linear = attention.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        setattr(
            attention.get_submodule(owner),
            leaf,
            prune_linear_layer(linear, torch.LongTensor(range(width)), dim=int(name == mixer)),
        )


def _bert(a: Architecture, head: Head, depth: int, attention: str) -> Reference:
    config = BertConfig(  # type: ignore[call-arg]
        vocab_size=a.vocabulary,
        hidden_size=a.hidden,
        num_hidden_layers=depth,
        num_attention_heads=a.heads,
        intermediate_size=a.feed_forward,
        max_position_embeddings=a.max_positions,
        hidden_dropout_prob=a.dropout,
        attention_probs_dropout_prob=a.dropout,
        num_labels=head.classes or 2,
        attn_implementation=attention,
    )
    model: nn.Module
    if head.kind == "mlm":
        model = BertForMaskedLM(config)
        encoder, cls = model.bert, model.cls
        return _at_positions(model, encoder, list(encoder.encoder.layer), cls)
    if head.kind == "pooler":
        model = BertForSequenceClassification(config)
        return Reference(
            model.bert, list(model.bert.encoder.layer), lambda i, m, p: model(i, m).logits, nn.ModuleList([model])
        )
    encoder = BertModel(config, add_pooling_layer=False)
    return _linear(encoder, list(encoder.encoder.layer), a, head)


def _distilbert(a: Architecture, head: Head, depth: int, attention: str) -> Reference:
    config = DistilBertConfig(  # type: ignore[call-arg]
        vocab_size=a.vocabulary,
        dim=a.hidden,
        n_layers=depth,
        n_heads=a.heads,
        hidden_dim=a.feed_forward,
        max_position_embeddings=a.max_positions,
        dropout=a.dropout,
        attention_dropout=a.dropout,
        seq_classif_dropout=a.dropout,
        num_labels=head.classes or 2,
        attn_implementation=attention,
    )
    if head.kind == "mlm":
        model = DistilBertForMaskedLM(config)
        encoder = model.distilbert
        transform = nn.Sequential(model.vocab_transform, nn.GELU(), model.vocab_layer_norm, model.vocab_projector)
        return _at_positions(model, encoder, list(encoder.transformer.layer), transform)
    if head.kind == "pooler":
        classifier = DistilBertForSequenceClassification(config)
        encoder = classifier.distilbert
        return Reference(
            encoder,
            list(encoder.transformer.layer),
            lambda i, m, p: classifier(i, m).logits,
            nn.ModuleList([classifier]),
        )
    encoder = DistilBertModel(config)
    return _linear(encoder, list(encoder.transformer.layer), a, head)


def _bart(a: Architecture, head: Head, depth: int, attention: str) -> Reference:
    """The text is read by both sides; `depth` is that of the architecture, which says how many layers each side has."""
    assert depth == a.layers
    config = BartConfig(  # type: ignore[call-arg]
        vocab_size=a.vocabulary,
        d_model=a.hidden,
        encoder_layers=a.encoder_layers,
        decoder_layers=a.decoder_layers,
        encoder_attention_heads=a.heads,
        decoder_attention_heads=a.heads,
        encoder_ffn_dim=a.feed_forward,
        decoder_ffn_dim=a.feed_forward,
        max_position_embeddings=a.max_positions,
        dropout=a.dropout,
        attention_dropout=a.dropout,
        activation_dropout=a.dropout,
        classifier_dropout=a.dropout,
        num_labels=head.classes or 2,
        use_cache=False,
        attn_implementation=attention,
    )
    made: nn.Module
    last: Callable[[Tensor], Tensor]
    if head.kind == "mlm":
        written = BartForConditionalGeneration(config)
        # the bias in front of the vocabulary is a constant in transformers, and trained here
        bias = nn.Parameter(torch.zeros(a.vocabulary))
        written.final_logits_bias = bias  # type: ignore[assignment]
        made, body, last = written, written.model, lambda states: written.lm_head(states) + bias
    elif head.kind == "pooler":
        labelled = BartForSequenceClassification(config)
        made, body, last = labelled, labelled.model, labelled.classification_head
    else:
        body = BartModel(config)
        linear = nn.Linear(a.hidden, head.classes)
        made, last = nn.ModuleList([body, linear]), nn.Sequential(nn.Dropout(a.dropout), linear)

    def logits(ids: Tensor, mask: Tensor | None, positions: Tensor) -> Tensor:
        hidden: Tensor = body(ids, mask, decoder_input_ids=ids).last_hidden_state
        if head.per_sample:
            seen = hidden.mean(1) if head.kind == "mean" else hidden[:, -1]
        else:
            seen = hidden.flatten(0, 1)
            seen = seen if positions.numel() == ids.numel() else seen[positions]
        out: Tensor = last(seen)
        return out

    return Reference(body, [*body.encoder.layers, *body.decoder.layers], logits, nn.ModuleList([made]))


def _at_positions(model: nn.Module, encoder: nn.Module, layers: list[nn.Module], head: nn.Module) -> Reference:
    def logits(ids: Tensor, mask: Tensor | None, positions: Tensor) -> Tensor:
        hidden: Tensor = encoder(ids, mask).last_hidden_state.flatten(0, 1)
        # All positions: as a user of the plain model would, without gathering.
        out: Tensor = head(hidden if positions.numel() == ids.numel() else hidden[positions])
        return out

    return Reference(encoder, layers, logits, nn.ModuleList([model]))


def _linear(encoder: nn.Module, layers: list[nn.Module], a: Architecture, head: Head) -> Reference:
    dropout, linear = nn.Dropout(a.dropout), nn.Linear(a.hidden, head.classes)

    def logits(ids: Tensor, mask: Tensor | None, positions: Tensor) -> Tensor:
        hidden: Tensor = encoder(ids, mask).last_hidden_state
        seen = {"linear": hidden[:, 0], "mean": hidden.mean(1)}.get(head.kind, hidden.flatten(0, 1))
        out: Tensor = linear(dropout(seen))
        return out

    return Reference(encoder, layers, logits, nn.ModuleList([encoder, linear, dropout]))


def positions_of(head: Head, samples: int, length: int, masked: int) -> int:
    """How many positions the head is evaluated at."""
    return {"mlm": masked, "pooler": samples, "linear": samples, "mean": samples, "tokens": samples * length}[head.kind]


def batch(samples: int, length: int, positions: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, head positions and targets of a batch (zeros: only shapes matter)."""
    ids = torch.zeros(samples, length, dtype=torch.long, device=device)
    index = torch.zeros(positions, dtype=torch.long, device=device)
    return ids, index, index


def work(samples: int, length: int, positions: int) -> Work:
    """Work of one client with one batch."""
    return works(np.array([[samples, length, positions]], dtype=np.int64))


def works(batches: IntArray) -> Work:
    """Work of clients with one batch each; shape [clients, 3]: samples, length, head positions."""
    samples, length, positions = batches.T
    tokens = samples * length
    return Work(
        batches=np.ones_like(samples),
        samples=samples,
        tokens=tokens,
        real_tokens=tokens,
        squared_tokens=tokens * length,
        positions=positions,
        largest_batch=batches,
    )
