"""Numbers as people read them."""

_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def megabytes(count: float) -> str:
    """Bytes in MB (10^6), with more decimals the fewer there are."""
    if count < 1e6:
        return f"{count / 1e6:.3f}"
    return f"{count / 1e6:,.1f}" if count < 1e9 else f"{count / 1e6:,.0f}"


def metric(count: float, unit: str) -> str:
    """Three digits and a metric prefix: 1.36 GFLOP."""
    for size, prefix in _PREFIXES:
        if count >= 0.9995 * size:
            return f"{_three_digits(count / size)} {prefix}{unit}"
    return f"{_three_digits(count)} {unit}" if count % 1 else f"{count:.0f} {unit}"


def flops(count: float) -> str:
    """FLOPs with a metric prefix."""
    return metric(count, "FLOP")


def joules(count: float) -> str:
    """Energy with a metric prefix."""
    return metric(count, "J")


def duration(seconds: float) -> str:
    """Seconds as s, min, h or days."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:,.1f} days"


def clock(seconds: float) -> str:
    """Seconds as a stop-watch shows them: 0:07, 1:02:03, 2 days 3 h."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} {'day' if days == 1 else 'days'} {hour} h"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def share(value: float, whole: float) -> str:
    """A part of a whole in percent; nothing where there is no whole."""
    return f"{100 * value / whole:,.1f} %" if whole else ""


def _three_digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:,.{decimals}f}"
