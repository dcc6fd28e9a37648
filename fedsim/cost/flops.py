"""FLOPs of local training in closed form: matrix products only, 2 per multiply-add, forward and backward apart.

A product `X W` costs the same again for the gradient of X and the same again for the gradient of W, but each only
where automatic differentiation really asks for it. `flops` therefore follows which tensors need a gradient, bottom to
top. LayerNorm, GELU, softmax, embedding look-ups and the optimizer step count zero.
"""

from dataclasses import replace
from functools import cache

from fedsim.cost.products import WHOLE, Coefficients, EncoderDecoder, EncoderLayer, Flops, Top
from fedsim.model.architecture import Architecture, LocalShape
from fedsim.model.distillation import Distillation


@cache
def flops(shape: LocalShape) -> Flops:
    """Exact FLOPs of local training with a local model of this shape."""
    if shape.architecture.decoder is not None:
        body = _encoder_decoder(shape)
        head_forward, head_backward = _head(shape, input_gradient=body.gradient)
        return Flops(body.forward + head_forward, body.backward + head_backward)
    forward, backward = Coefficients(), Coefficients()
    gradient = shape.train_embeddings
    for place in range(shape.depth):
        top = Top.of(shape) if place == shape.depth - 1 else WHOLE
        trained = place in shape.train_layers if shape.adapters is None else shape.train_adapters
        layer = EncoderLayer(shape.architecture, place, trained, shape.adapters, top)
        gradient = layer.run(gradient)
        forward, backward = forward + layer.forward, backward + layer.backward
        if place + 1 in shape.exits:
            exit_forward, exit_backward = _head(shape, input_gradient=gradient)
            forward, backward = forward + exit_forward, backward + exit_backward
    if shape.distillation is None or shape.distillation.logits:
        head_forward, head_backward = _head(shape, input_gradient=gradient)
        forward, backward = forward + head_forward, backward + head_backward
    if shape.distillation is not None:
        extra = _distillation(shape, shape.distillation)
        forward, backward = forward + extra.forward, backward + extra.backward
    return Flops(forward, backward)


@cache
def importance_flops(shape: LocalShape) -> Flops:
    """Exact FLOPs of finding out how much the loss depends on each head (`fedsim.training.importance`).

    No parameter has a gradient, so nothing flows below the gates of the lowest layer.
    """
    a = shape.architecture
    backward = Coefficients(token=2 * a.hidden * a.attention_width(0) + 2 * 2 * a.hidden * a.feed_forward)
    for place in range(1, shape.depth):
        backward += _frozen(a, place, True).backward
    frozen = LocalShape(a, replace(shape.head, everywhere=True), shape.depth)
    return Flops(flops(frozen).forward, backward + _head(frozen, input_gradient=True)[1])


def layers_only_units(shape: LocalShape) -> int:
    """The layers-only count: a unit is one layer's forward pass over the data; embeddings and head are free.

    Forward 1 per local layer, weight gradient 1 per trained layer, input gradient 1 per layer from the lowest trained
    one upwards, that one included (with trained embeddings: every layer). Training all of 12 layers is 36 units.
    A teacher's layers are forward passes as well. Adapters are free but for the input gradients that lead to them.
    """
    lowest = 0 if shape.train_embeddings or shape.train_adapters else min(shape.train_layers, default=shape.depth)
    teacher = 0 if shape.distillation is None else shape.distillation.teacher_depth
    return shape.depth + len(shape.train_layers) + (shape.depth - lowest) + teacher


def _frozen(architecture: Architecture, place: int, gradient: bool = False) -> Flops:
    layer = EncoderLayer(architecture, place)
    layer.run(gradient)
    return Flops(layer.forward, layer.backward)


def _encoder_decoder(shape: LocalShape) -> EncoderDecoder:
    a = shape.architecture
    layers = EncoderDecoder(a, shape.train_embeddings)
    for place in range(a.encoder_layers):
        layers.encode(place in shape.train_layers)
    memory, layers.gradient = layers.gradient, shape.train_embeddings
    for place in range(a.encoder_layers, a.layers):
        layers.decode(place in shape.train_layers, memory)
    return layers


def _distillation(shape: LocalShape, distillation: Distillation) -> Flops:
    """What a teacher adds: its forward pass, the products behind attention scores, and the student's projections.

    The losses themselves are elementwise. Scores are computed once more, beside the fused attention.
    """
    own, teacher = shape.architecture.hidden, distillation.teacher
    forward, backward = Coefficients(), Coefficients()
    for place in range(distillation.teacher_depth):
        forward += _frozen(teacher, place).forward
    if distillation.teacher_logits:
        forward += _head(LocalShape(teacher, shape.head, teacher.layers), input_gradient=False)[0]
    gradient = shape.train_embeddings
    projected = Coefficients(token=2 * own * teacher.hidden)
    if distillation.embeddings > 0:
        forward += projected
        backward += projected + (projected if gradient else Coefficients())
    for place in range(shape.depth):
        gradient = gradient or place in shape.train_layers
        if distillation.transfers_attention:
            scores = Coefficients(squared_token=2 * shape.architecture.attention_width(place))
            imitated = teacher.attention_width(distillation.layer_map[place] - 1)
            forward += scores + Coefficients(squared_token=2 * imitated)
            backward += scores + scores if gradient else Coefficients()
        if distillation.hidden > 0:
            forward += projected
            backward += projected + (projected if gradient else Coefficients())
    return Flops(forward, backward)


def _head(shape: LocalShape, *, input_gradient: bool) -> tuple[Coefficients, Coefficients]:
    """Forward and backward of the head: a dense layer (`mlm`, `pooler`), then the tied matrix or the classifier."""
    h, head = shape.architecture.hidden, shape.head
    transformed = head.kind == "mlm" and shape.architecture.decoder is None
    dense = 2 * h * h if transformed or head.kind == "pooler" else 0
    last = 2 * h * (shape.architecture.vocabulary if head.kind == "mlm" else head.classes)
    # The tied matrix belongs to the embeddings, not to the head.
    last_trained = shape.train_embeddings if head.kind == "mlm" else shape.train_head
    last_input_gradient = input_gradient or (shape.train_head and dense > 0)
    backward = dense * (shape.train_head + input_gradient) + last * (last_trained + last_input_gradient)
    return Coefficients(position=dense + last), Coefficients(position=backward)
