"""What methods share whose stages follow a rule: rounds in whole numbers, and names of layers."""

from collections.abc import Sequence


def apportion(rounds: int, shares: Sequence[int]) -> list[int]:
    """Whole rounds in proportion to the shares, none without a round; they add up to `rounds`.

    By largest remainder: each part is its exact share rounded down or up, and what is left goes to the largest
    fractions, the earlier part first where they are equal. A part that would have no round takes one from the largest.

    Raises:
        ValueError: fewer rounds than shares.
    """
    if rounds < len(shares):
        raise ValueError(f"{rounds} rounds are too few for {len(shares)} parts")
    whole = sum(shares)
    parts = [rounds * share // whole for share in shares]
    fractions = [rounds * share % whole for share in shares]
    for index in sorted(range(len(shares)), key=lambda i: -fractions[i])[: rounds - sum(parts)]:
        parts[index] += 1
    for index, part in enumerate(parts):
        if part == 0:
            parts[parts.index(max(parts))] -= 1
            parts[index] = 1
    return parts


def named(layers: Sequence[int]) -> str:
    """Neighbouring layers, for people."""
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]}-{layers[-1]}"
