"""Sums over matrix products by hand: what frozen sides of an encoder-decoder cost."""

from fedsim.cost.flops import flops
from fedsim.cost.products import Coefficients, EncoderDecoder
from fedsim.model.architecture import LocalShape
from tests.cost.oracles import BART_BASE, MLM, plan

H, F = 768, 3072
WEIGHTS, UNITS = 8 * H * H, 4 * H * F


def test_the_gradient_of_an_encoder_comes_through_the_whole_of_a_frozen_decoder() -> None:
    found = flops(LocalShape.of(BART_BASE, MLM, plan(12, tuple(range(6))))).backward
    lowest, others = WEIGHTS + UNITS + 2 * H * H + UNITS, 2 * (WEIGHTS + UNITS)
    encoder = lowest + 5 * others
    # of the lowest layer of the decoder nothing that comes from its own input needs a gradient
    decoder = (6 * H * H + UNITS) + 5 * (2 * WEIGHTS + UNITS)
    assert found.token == encoder + decoder
    assert found.squared_token == 6 * 8 * H + 6 * H + 5 * 16 * H
    assert found.position == 2 * H * 50265  # the tied matrix passes the gradient on, and is frozen


def test_the_gradient_of_a_decoder_stops_at_the_encoder() -> None:
    found = flops(LocalShape.of(BART_BASE, MLM, plan(12, (11,)))).backward
    # its weights; not the inputs of its queries, keys and values, nor of keys and values of the encoder's states
    assert found.token == (2 * WEIGHTS + UNITS) + (2 * WEIGHTS - 6 * H * H - 4 * H * H + UNITS)
    assert found.squared_token == 16 * H


def test_where_nothing_is_trained_nothing_flows() -> None:
    layers = EncoderDecoder(BART_BASE, gradient=False)
    layers.encode(trained=False)
    layers.decode(trained=False, memory=False)
    assert layers.backward == Coefficients()
    assert not layers.gradient
    assert layers.forward == Coefficients(token=3 * WEIGHTS + 2 * UNITS, squared_token=12 * H)
