from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

FAULTS = """
import resource, numpy as np
from phonemi.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.zeros(1).repeat(8_000_000)  # 64 MB, every page written
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
keep_freed_memory()
faults()
print(before, faults())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="another C library than glibc")
def test_memory_that_is_freed_is_used_again() -> None:
    output = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout
    before, after = map(int, output.split())
    assert before > 100
    assert after < before / 10


def test_without_glibc_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    from phonemi.memory import keep_freed_memory

    def no_library(name: None) -> ctypes.CDLL:
        raise TypeError

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    keep_freed_memory()
