from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

FAULTS = """
import resource, numpy as np
from phonemi.memory import give_freed_memory_back, keep_freed_memory

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        np.zeros(1).repeat(8_000_000)  # 64 MB, every page written
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults(20)
keep_freed_memory()
faults(1)
kept = faults(20)
give_freed_memory_back()
print(before, kept, faults(1))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="another C library than glibc")
def test_memory_that_is_freed_is_used_again_unless_it_is_given_back() -> None:
    output = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout
    before, kept, returned = map(int, output.split())
    assert kept < before / 100
    assert kept < returned / 5 < before


def test_without_glibc_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    from phonemi.memory import keep_freed_memory

    def no_library(name: None) -> ctypes.CDLL:
        raise TypeError

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    keep_freed_memory()
