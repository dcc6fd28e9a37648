"""Random streams named by what they are for.

Every draw in a simulation comes from `stream(seed, purpose, ...)`, so its value depends on the scenario's
seed and on the names alone: never on who draws first, on how many hosts there are, or on a resume.
"""

import hashlib

import numpy as np


def _words(seed: int, key: tuple[str | int, ...]) -> list[int]:
    text = "\x1f".join([str(seed), *(f"{type(part).__name__}:{part}" for part in key)])
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]


def stream(seed: int, *key: str | int) -> np.random.Generator:
    """An independent generator for this seed and key, e.g. ``stream(7, "cohort", "fedavg", 3)``."""
    return np.random.Generator(np.random.Philox(key=np.array(_words(seed, key), dtype="<u4").view("<u8")))


def integer(seed: int, *key: str | int) -> int:
    """A 63-bit seed for libraries that have their own generator (torch)."""
    low, high, *_ = _words(seed, key)
    return ((high << 32) | low) & (2**63 - 1)
