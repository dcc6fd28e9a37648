"""What the C library does with freed memory, counted by the kernel; in processes of their own."""

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, sys, threading
import torch
from fedsim.engine import allocator

def step():  # activations of 80 MB, more than one of glibc's heaps
    kept = [torch.ones(2**20) for _ in range(20)]

def faults():
    getattr(allocator, sys.argv[1])()
    for _ in range(3):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 5)

if sys.argv[2] == "first":
    faults()
else:
    thread = threading.Thread(target=faults)
    thread.start()
    thread.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
@pytest.mark.parametrize("thread", ["first", "another"])
def test_freed_memory_is_kept_or_given_back(thread: str) -> None:
    faults = {}
    for how in ("keep_freed_memory", "return_freed_memory"):
        command = [sys.executable, "-c", STEPS, how, thread]
        faults[how] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert faults["keep_freed_memory"] < 100
    assert faults["return_freed_memory"] > 10 * faults["keep_freed_memory"]
