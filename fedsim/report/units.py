"""Numbers as people read them."""

_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def megabytes(count: float) -> str:
    """Bytes in MB (10^6)."""
    return f"{count / 1e6:,.1f}" if count < 1e9 else f"{count / 1e6:,.0f}"


def flops(count: float) -> str:
    """FLOPs with a metric prefix."""
    for size, prefix in _PREFIXES:
        if count >= size:
            return f"{count / size:.3g} {prefix}FLOP"
    return f"{count:.0f} FLOP"


def duration(seconds: float) -> str:
    """Seconds as s, min, h or days."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def share(value: float, whole: float) -> str:
    """A part of a whole in percent; nothing where there is no whole."""
    return f"{100 * value / whole:.1f} %" if whole else ""
