"""Where tensors are computed, and in which precision."""

from __future__ import annotations

import pytest
import torch

from phonemi.devices import choose_device, count_processes, multiplies_bf16
from phonemi.errors import ConfigError


@pytest.mark.parametrize(
    ("capability", "expected"),
    [("AVX512", True), ("AVX512_BF16", True), ("SVE256", True), ("AVX2", False), ("DEFAULT", False), ("NEON", False)],
)
def test_only_wide_cpus_multiply_in_bfloat16(monkeypatch: pytest.MonkeyPatch, capability: str, expected: bool) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert multiplies_bf16(torch.device("cpu")) == expected
    assert multiplies_bf16(torch.device("cuda"))


def test_a_device_is_what_there_is() -> None:
    assert choose_device("cpu").type == "cpu"
    if torch.cuda.is_available():
        assert choose_device("auto").type == choose_device("cuda").type == "cuda"
    else:
        assert choose_device("auto").type == "cpu"
        with pytest.raises(ConfigError, match="torch finds no GPU"):
            choose_device("cuda")


def test_processes_are_as_many_as_threads() -> None:
    before = torch.get_num_threads()
    try:
        for threads, expected in ((1, 1), (3, 3), (40, 16)):
            torch.set_num_threads(threads)
            assert count_processes() == expected
    finally:
        torch.set_num_threads(before)
