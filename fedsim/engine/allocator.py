"""The C library's allocator, told what local training does with memory. No result depends on it."""

import ctypes

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3

LARGE_BYTES = 100 * 10**6
"""Parameters of a local model above which memory matters more than page faults."""


def keep_freed_memory() -> None:
    """Let glibc reuse the megabytes of logits and activations that every batch frees, not fetch them anew.

    Given back and asked for again they cost thousands of page faults an update, a tenth to a quarter of the time of a
    small model. It holds for the whole process, until it is said otherwise.

    Threads other than the first have memory in heaps of 64 MiB. One that is empty is given back whatever the threshold
    is, unless the padding could not be taken from the one before it.
    """
    _set(mmap_threshold=2**25, trim_threshold=2**30, top_pad=2**26)


def return_freed_memory() -> None:
    """Let glibc give large pieces back, so that a large model takes what its price says.

    With them kept, a training step of BERT-base takes 17 to 39 % more, since freed pieces seldom fit what comes next.
    """
    _set(mmap_threshold=2**20, trim_threshold=2**20, top_pad=2**17)


def _set(mmap_threshold: int, trim_threshold: int, top_pad: int) -> None:
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # other C libraries have no such switch, and no such habit
        library.mallopt(_M_MMAP_THRESHOLD, mmap_threshold)
        library.mallopt(_M_TRIM_THRESHOLD, trim_threshold)
        library.mallopt(_M_TOP_PAD, top_pad)
