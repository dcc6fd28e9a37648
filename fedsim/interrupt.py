"""Stopping between two rounds, never inside the step that commits one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C but with its own exit code."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back SIGINT and SIGTERM until the block is over."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append(number)

    before = {number: signal.signal(number, hold) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if held:
        signal.raise_signal(held[0])


@contextmanager
def stoppable() -> Iterator[None]:
    """Within the block the first SIGINT raises KeyboardInterrupt and the first SIGTERM raises `Terminated`.

    Whatever comes after the first one is ignored: a second Ctrl-C would hit the work of ending cleanly.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: int | None = None

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if first is None:
            first = number
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    # A shell starts background jobs with SIGINT ignored: its Ctrl-C is not for them.
    before = {number: signal.signal(number, stop) for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN}
    try:
        yield
    except KeyboardInterrupt as interrupt:
        # Ray raises a KeyboardInterrupt of its own for whatever a handler raises while it waits.
        if first == signal.SIGTERM and not isinstance(interrupt, Terminated):
            raise Terminated from interrupt
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
