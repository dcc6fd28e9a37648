import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim import rng
from fedsim.engine.sabotage import RUN_BITS, flip
from fedsim.wire import checksum


def test_the_checksum_is_crc_32() -> None:
    # the check value of CRC-32/ISO-HDLC
    assert checksum.seal(b"123456789") == 0xCBF43926


@given(st.binary(min_size=1, max_size=400), st.integers(1, RUN_BITS - 1), st.integers(0, 10**6))
def test_flipped_bits_lie_in_a_run_and_are_always_found(payload: bytes, bits: int, seed: int) -> None:
    damaged = flip(payload, bits, rng.stream(seed, "flips"))
    assert len(damaged) == len(payload)
    changed = np.flatnonzero(np.unpackbits(np.frombuffer(payload, np.uint8) ^ np.frombuffer(damaged, np.uint8)))
    assert len(changed) == min(bits, 8 * len(payload))
    assert changed[-1] - changed[0] < RUN_BITS
    assert not checksum.intact(damaged, checksum.seal(payload))
    assert checksum.intact(payload, checksum.seal(payload))


@pytest.mark.parametrize(("bits", "draws"), [(1, 10_000), (31, 300)])
def test_any_place_may_be_hit(bits: int, draws: int) -> None:
    payload, hit = bytes(8), set[int]()
    for seed in range(draws):
        hit |= set(np.flatnonzero(np.unpackbits(np.frombuffer(flip(payload, bits, rng.stream(seed, "f")), np.uint8))))
    assert hit == set(range(64))


def test_the_same_seed_flips_the_same_bits() -> None:
    payload = bytes(range(100))
    assert flip(payload, 3, rng.stream(1, "a")) == flip(payload, 3, rng.stream(1, "a"))
    assert flip(payload, 3, rng.stream(1, "a")) != flip(payload, 3, rng.stream(2, "a"))
