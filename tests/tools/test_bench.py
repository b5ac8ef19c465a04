from __future__ import annotations

import os
import time

import numpy as np
import pytest
import torch

from phonemi.errors import ConfigError
from phonemi.tools import bench
from phonemi.tools.bench import NAMES, Bench, Comparison, Size, table

TINY = Size(layers=2, utterances=2, seconds=0.5, epochs=1, repeats=1)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def made() -> Bench:
    return Bench("wavlm", TINY, CPU, dim=64)


def test_both_ways_give_the_same_hidden_states(made: Bench) -> None:
    plain, ours = made.encoder_ways()
    expected = torch.stack(plain().hidden_states).flatten(1, 2)
    torch.testing.assert_close(ours().float(), expected, atol=2e-2, rtol=0)  # half precision


@pytest.mark.slow
def test_both_ways_measure_every_layer(made: Bench) -> None:
    plain, ours = made.information_ways()
    assert len(plain()) == made.encoder.layers == 3
    assert len(ours()) == 3 * len(bench.SNRS_DB)
    assert np.isfinite([*plain(), *ours()]).all()


def test_an_epoch_from_disk_is_that_of_the_encoder(made: Bench) -> None:
    losses: list[list[float]] = []
    cross_entropy = torch.nn.functional.cross_entropy

    def noted(*given: torch.Tensor) -> torch.Tensor:
        loss = cross_entropy(*given)
        losses[-1].append(loss.item())
        return loss

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bench.functional, "cross_entropy", noted)
        for way in made.aggregation_ways():
            losses.append([])
            torch.manual_seed(0)
            way()
    assert len(losses[0]) == 2
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


@pytest.mark.slow
def test_everything_is_compared() -> None:
    comparisons = bench.run(size=TINY, device="cpu", dim=64)
    assert [comparison.name for comparison in comparisons] == list(NAMES)
    assert len(table(comparisons).text().splitlines()) == 5
    assert max(map(len, table(comparisons).text().splitlines())) <= 60


@pytest.mark.slow
def test_each_way_is_given_its_own_time_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_and_large() -> None:
        large = np.ones(8_000_000)  # 64 MB
        time.sleep(0.2 * large[0])

    monkeypatch.setattr(Bench, "encoder_ways", lambda self: (slow_and_large, lambda: time.sleep(0.01)))
    (comparison,) = bench.run(["encoder"], size=TINY, device="cpu", dim=64)
    assert comparison.plain_s >= 0.2 > comparison.ours_s >= 0.01
    assert comparison.ratio > 1
    if hasattr(os, "fork"):
        assert comparison.plain_mb == pytest.approx(64, rel=0.2)
        assert comparison.ours_mb < 10


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ConfigError, match="unknown comparison 'encodr'; did you mean 'encoder'"):
        bench.run(["encodr"])
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="torch finds no GPU here"):
            bench.run(device="cuda")


def test_the_table() -> None:
    text = table([Comparison("encoder", 2.0, 0.5, 100.0, float("nan"))]).text()
    assert text.splitlines()[2].split() == ["encoder", "2.000", "0.500", "4.0", "100", "–"]
