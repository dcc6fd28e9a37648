"""Payloads: as long as is priced, and decoded to within the bounds of their codec."""

from math import ceil, prod
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from fedsim import rng
from fedsim.model.architecture import Architecture
from fedsim.model.layout import FloatArray, Layout, initialise, layer_layout
from fedsim.wire import PLAIN, Codec

LAYOUT = Layout((("word.weight", (7, 5)), ("out.weight", (3, 4)), ("word.bias", (6,)), ("norm.weight", (1,))))
RUNS = {"tensor": [35, 12, 6, 1], "row": [5] * 7 + [4] * 3 + [6, 1], "affine": [35, 12, 6, 1]}
"""Lengths of what shares a scale, by scheme."""
FLOATS = [Codec(), Codec(bits=16), Codec(bits=16, half="bfloat16")]
INTEGERS = [
    Codec.model_validate({"bits": bits, "scheme": scheme, "rounding": rounding})
    for bits in (8, 4, 2)
    for scheme in ("tensor", "row", "affine")
    for rounding in ("nearest", "stochastic")
]
SPARSE = [codec.model_copy(update={"share": share}) for codec in (*FLOATS, *INTEGERS) for share in (0.25, 0.1)]
ALL = [*FLOATS, *INTEGERS, *SPARSE]
ordinary = st.floats(-1e4, 1e4, width=32, allow_subnormal=False)
vectors = arrays(np.float32, LAYOUT.size, elements=ordinary)


def draw(*key: str | int) -> np.random.Generator:
    return rng.stream(11, *key)


def around(codec: Codec, flat: FloatArray, layout: Layout = LAYOUT, *key: str | int) -> FloatArray:
    """There and back."""
    return codec.decode(codec.encode(flat, layout, draw(*key)), layout)


def steps(codec: Codec, flat: FloatArray) -> FloatArray:
    """The step between two numbers that the codec can express, at every entry."""
    out: list[float] = []
    for run in np.split(flat.astype(np.float64), np.cumsum(RUNS[codec.scheme])[:-1]):
        if codec.scheme == "affine":
            step = (run.max() - run.min()) / (2**codec.bits - 1)
        else:
            step = np.abs(run).max() / (2 ** (codec.bits - 1) - 1)
        out += [step] * len(run)
    return np.array(out, np.float32)


def rounding_of_float32(flat: FloatArray) -> Any:
    """What float32 itself may add to an error: some units in the last place of the largest value."""
    return 4 * np.finfo(np.float32).eps * np.abs(flat).max()


@pytest.mark.parametrize("codec", ALL, ids=str)
def test_a_payload_is_as_long_as_is_priced(codec: Codec) -> None:
    flat = draw("values").standard_normal(LAYOUT.size, np.float32)
    sent = LAYOUT.size if codec.share == 1 else max(1, round(codec.share * LAYOUT.size))
    scales = 0 if codec.bits > 8 else len(RUNS[codec.scheme]) * (8 if codec.scheme == "affine" else 4)
    wanted = 8 * (codec.share < 1) + scales + ceil(sent * codec.bits / 8)
    assert len(codec.encode(flat, LAYOUT, draw())) == codec.payload_bytes(LAYOUT) == wanted
    assert codec.values(LAYOUT) == sent


@given(
    shapes=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple), min_size=1, max_size=5),
    codec=st.sampled_from(ALL),
)
def test_a_payload_is_as_long_as_is_priced_for_any_group(shapes: list[tuple[int, ...]], codec: Codec) -> None:
    layout = Layout(tuple((f"tensor {i}", shape) for i, shape in enumerate(shapes)))
    flat = draw("any").standard_normal(layout.size, np.float32)
    payload = codec.encode(flat, layout, draw())
    assert len(payload) == codec.payload_bytes(layout)
    decoded = codec.decode(payload, layout)
    assert decoded.shape == (sum(map(prod, shapes)),)
    assert decoded.dtype == np.float32


def test_sizes_of_a_layer_of_bert_base() -> None:
    """7,087,872 parameters in 16 tensors; 6,912 rows of matrices and 10 vectors."""
    layout = layer_layout(Architecture("bert", 30522, 768, 12, 12, 3072, 512, 0.1), 0)
    sizes = {
        Codec(): 28_351_488,
        Codec(bits=16): 14_175_744,
        Codec(bits=8): 7_087_872 + 4 * 16,
        Codec(bits=8, scheme="row"): 7_087_872 + 4 * 6_922,
        Codec(bits=8, scheme="affine"): 7_087_872 + 8 * 16,
        Codec(bits=4): 3_543_936 + 4 * 16,
        Codec(bits=2): 1_771_968 + 4 * 16,
        Codec(share=0.25): 8 + 7_087_872,
        Codec(bits=8, share=0.25): 8 + 4 * 16 + 1_771_968,
        Codec(bits=8, share=0.1): 8 + 4 * 16 + 708_787,
    }
    assert {codec: codec.payload_bytes(layout) for codec in sizes} == sizes


@given(vectors)
def test_float32_is_the_same_bits(flat: FloatArray) -> None:
    assert PLAIN.lossless
    assert PLAIN.encode(flat, LAYOUT, draw()) == flat.tobytes()
    assert around(PLAIN, flat).tobytes() == flat.tobytes()
    assert not any(codec.lossless for codec in ALL if codec != PLAIN)


@given(vectors)
def test_sixteen_bits_are_those_of_torch(flat: FloatArray) -> None:
    for half, kind in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        wanted = torch.from_numpy(flat).to(kind)
        codec = Codec.model_validate({"bits": 16, "half": half})
        assert codec.encode(flat, LAYOUT, draw()) == wanted.view(torch.int16).numpy().tobytes()
        assert around(codec, flat).tobytes() == wanted.float().numpy().tobytes()


@pytest.mark.parametrize("codec", INTEGERS, ids=str)
@settings(max_examples=25)
@given(flat=vectors)
def test_no_value_is_further_off_than_half_a_step(codec: Codec, flat: FloatArray) -> None:
    error = np.abs(around(codec, flat) - flat)
    most = steps(codec, flat) * (0.5 if codec.rounding == "nearest" else 1.0)
    assert (error <= most * (1 + 1e-4) + rounding_of_float32(flat)).all()


@pytest.mark.parametrize("codec", INTEGERS, ids=str)
def test_extremes_and_zeros_are_kept(codec: Codec) -> None:
    """The largest magnitude of a symmetric run is on its grid, as are both ends of an affine one."""
    flat = draw("extremes").standard_normal(LAYOUT.size, np.float32)
    found = around(codec, flat)
    start = 0
    for size in RUNS[codec.scheme]:
        run = slice(start, start + size)
        ends = [flat[run].argmin(), flat[run].argmax()] if codec.scheme == "affine" else [np.abs(flat[run]).argmax()]
        for place in ends:
            assert found[run][place] == pytest.approx(flat[run][place], rel=1e-6)
        start += size
    assert (around(codec, np.zeros(LAYOUT.size, np.float32)) == 0).all()
    assert (around(codec, np.full(LAYOUT.size, 0.5, np.float32)) == 0.5).all()


def test_two_bits_are_three_values_or_four() -> None:
    flat = draw("few").standard_normal(LAYOUT.size, np.float32)
    assert set(np.sign(around(Codec(bits=2), flat))) == {-1.0, 0.0, 1.0}
    assert len(np.unique(np.abs(around(Codec(bits=2), flat)[:35]))) == 2
    assert len(np.unique(around(Codec(bits=2, scheme="affine"), flat)[:35])) == 4


@pytest.mark.parametrize("scheme", ["tensor", "row", "affine"])
def test_rounding_at_random_is_right_in_the_mean(scheme: str) -> None:
    flat = draw("mean").standard_normal(LAYOUT.size, np.float32)
    codec = Codec.model_validate({"bits": 4, "scheme": scheme, "rounding": "stochastic"})
    stream, times = draw("stochastic"), 2000
    several = np.array([codec.decode(codec.encode(flat, LAYOUT, stream), LAYOUT) for _ in range(times)])
    # a rounding has a variance of at most step^2 / 4: five standard deviations of the mean
    assert (np.abs(several.mean(0, np.float64) - flat) <= 5 * steps(codec, flat) / 2 / times**0.5 + 1e-6).all()
    nearest = codec.model_copy(update={"rounding": "nearest"})
    assert np.abs(around(nearest, flat) - flat).max() > 5 * steps(codec, flat).max() / 2 / times**0.5


@pytest.mark.parametrize("share", [0.25, 0.1])
def test_a_mask_keeps_its_share_and_scales_it_up(share: float) -> None:
    flat = draw("masked").standard_normal(LAYOUT.size, np.float32)
    codec, count = Codec(share=share), round(share * LAYOUT.size)
    found = around(codec, flat)
    kept = np.flatnonzero(found)
    assert len(kept) == count
    assert (found[kept] == flat[kept] * np.float32(LAYOUT.size / count)).all()
    stream, times = draw("masks"), 4000
    several = np.array([codec.decode(codec.encode(flat, LAYOUT, stream), LAYOUT) for _ in range(times)])
    # an entry is there with probability p and then 1 / p times as large: its variance is x^2 (1 - p) / p
    p = count / LAYOUT.size
    assert (np.abs(several.mean(0, np.float64) - flat) <= 5 * np.abs(flat) * ((1 - p) / p / times) ** 0.5).all()
    assert ((several != 0).sum(1) == count).all()


@pytest.mark.parametrize("codec", [codec for codec in SPARSE if codec.bits <= 8], ids=str)
@settings(max_examples=10)
@given(flat=vectors)
def test_mask_and_integers_together(codec: Codec, flat: FloatArray) -> None:
    """The same entries as without integers, each within half a step (as it was before it was scaled up)."""
    exact = around(Codec(share=codec.share), np.arange(1, LAYOUT.size + 1, dtype=np.float32))
    kept, scale = exact != 0, np.float32(LAYOUT.size / codec.values(LAYOUT))
    found = around(codec, flat)
    assert (found[~kept] == 0).all()
    most = steps(codec, flat)[kept] * (0.5 if codec.rounding == "nearest" else 1.0)
    error = np.abs(found[kept] / scale - flat[kept])
    assert (error <= most * (1 + 1e-4) + rounding_of_float32(flat)).all()


@pytest.mark.parametrize("codec", ALL, ids=str)
def test_the_stream_alone_decides(codec: Codec) -> None:
    flat = initialise(LAYOUT, draw("initial")) + np.float32(0.01)
    first, again, other = (codec.encode(flat, LAYOUT, draw("stream", key)) for key in (1, 1, 2))
    assert first == again
    assert (first == other) == (codec.share == 1 and codec.rounding == "nearest")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("codec", [codec for codec in ALL if codec.bits < 32 and codec.share == 1], ids=str)
def test_what_is_not_finite_is_not_sent(codec: Codec, value: float) -> None:
    flat = np.ones(LAYOUT.size, np.float32)
    flat[3] = value
    with pytest.raises(ValueError, match=r"finite|fit into"):
        codec.encode(flat, LAYOUT, draw())


def test_what_does_not_fit_is_not_sent() -> None:
    flat = np.full(LAYOUT.size, 7e4, np.float32)
    with pytest.raises(ValueError, match="up to 70000 do not fit into float16: use bfloat16"):
        Codec(bits=16).encode(flat, LAYOUT, draw())
    assert np.abs(around(Codec(bits=16, half="bfloat16"), flat) / flat - 1).max() < 2**-8


@pytest.mark.parametrize("codec", [PLAIN, Codec(bits=2), Codec(bits=8, share=0.25)], ids=str)
def test_a_payload_of_another_length_is_refused(codec: Codec) -> None:
    payload = codec.encode(np.ones(LAYOUT.size, np.float32), LAYOUT, draw())
    for wrong in (payload[:-1], payload + b"\0", b""):
        with pytest.raises(ValueError, match=f"payload has {len(wrong)} bytes, the group's has {len(payload)}"):
            codec.decode(wrong, LAYOUT)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bits": 3}, "32, 16, 8, 4 or 2"),
        ({"share": 0.0}, "greater than 0"),
        ({"share": 1.5}, "less than or equal to 1"),
        ({"bits": 8, "half": "bfloat16"}, "half: goes with bits: 16, bits is 8"),
        ({"scheme": "row"}, "scheme: goes with bits: 8, 4 or 2, bits is 32"),
        ({"bits": 16, "rounding": "stochastic"}, "rounding: goes with bits: 8, 4 or 2, bits is 16"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Codec.model_validate(options)
