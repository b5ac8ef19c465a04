"""Real noisy recordings, of which nobody has the clean speech: judged by DNSMOS and words, with no other data."""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonemi import audio
from phonemi.config import load_config
from phonemi.data.manifest import Recording, write_manifest
from phonemi.errors import DataError
from phonemi.files import read_json
from phonemi.metrics.non_intrusive import DNSMOS_KEYS, missing_packages
from phonemi.stages import evaluate
from phonemi.stages.run import Run

RATE = 16_000
NEEDS_NETWORKS = pytest.mark.skipif(bool(missing_packages()), reason="needs onnxruntime and speechmos")


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    """Two noisy recordings, one with a transcript, and a folder with the same less noisy."""
    rng = np.random.default_rng(0)
    time_s = np.arange(RATE * 6 // 10) / RATE
    voice = sum(np.sin(2 * np.pi * 130 * k * time_s) / k for k in range(1, 20)) * np.abs(np.sin(12 * time_s))
    recordings = []
    for name, text in (("a", "see me"), ("b", None)):
        noise = rng.standard_normal(len(time_s))
        for folder, gain in (("noisy", 0.05), ("mine", 0.001), ("clean", 0.0)):
            waveform = (0.05 * voice + gain * noise).astype(np.float32)
            audio.save(tmp_path / folder / f"{name}.wav", waveform, RATE, subtype="FLOAT")
        path, clean = (str(tmp_path / folder / f"{name}.wav") for folder in ("noisy", "clean"))
        found = Recording(id=name, path=path, clean=clean, sample_rate=RATE, samples=len(time_s), text=text)
        recordings.append(found)
    write_manifest(tmp_path / "noisy.jsonl", recordings)
    return [
        f"evaluate.recordings={tmp_path / 'noisy.jsonl'}",
        f"evaluate.systems={{mine: '{tmp_path / 'mine'}'}}",
        "enhance.rows=[]",
    ]


def judged(tmp_path: Path, settings: list[str], *changes: str) -> dict[str, Any]:
    """metrics.json after the stage has run, its rows by name."""
    run = Run(tmp_path / "run", load_config(None, [*settings, *changes]))
    evaluate.evaluate_systems(run)
    found = read_json(run.folder / "metrics.json")
    return found | {"rows": {row["row"]: row for row in found["rows"]}}


@pytest.mark.slow
@NEEDS_NETWORKS
def test_the_command_line_needs_nothing_but_the_recordings(
    phonemi: Callable[..., Any], tmp_path: Path, settings: list[str], blank_figures: None
) -> None:
    pytest.importorskip("pocketsphinx")
    run = tmp_path / "run"
    overrides = [word for setting in settings for word in ("--set", setting)]
    outcome = phonemi("evaluate", "--run", run, *overrides, "--set", "evaluate.recogniser=pocketsphinx-grammar")
    assert outcome.code == 0, outcome.stderr
    found = read_json(run / "metrics.json")
    assert [row["row"] for row in found["rows"]] == ["noisy", "mine"]
    noisy, mine = found["rows"]
    assert 1 < noisy["dnsmos_bak"] < mine["dnsmos_bak"] < 5
    assert noisy["dnsmos_ovrl_low"] <= noisy["dnsmos_ovrl"] <= noisy["dnsmos_ovrl_high"]
    assert (noisy["wer_scored"], noisy["wer_total"], noisy["wer_reasons"]) == (1, 2, {"no transcript": 1})
    assert not {"si_sdr_db", "si_sdri_db", "stoi", "pesq_wb_lqo", "mi_bits"} & noisy.keys()
    assert found["by_snr"] == []
    compared = {(c["row"], c["against"], c["metric"]): c for c in found["comparisons"]}
    assert list(compared) == [("mine", "noisy", metric) for metric in (*DNSMOS_KEYS, "wer")]
    difference = compared["mine", "noisy", "dnsmos_sig"]["difference"]
    assert difference == pytest.approx(mine["dnsmos_sig"] - noisy["dnsmos_sig"])
    with open(run / "per_utterance.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["row"], line["id"]) for line in lines] == [(row, i) for row in ("noisy", "mine") for i in "ab"]
    assert np.mean([float(line["dnsmos_bak"]) for line in lines[:2]]) == pytest.approx(noisy["dnsmos_bak"])
    assert "stoi" not in lines[0]

    assert phonemi("report", run).code == 0
    page = (run / "report.html").read_text()
    assert "DNSMOS OVRL" in page
    assert "PESQ" not in page
    assert "metrics.json holds nothing" not in page
    assert "| row | DNSMOS SIG MOS | DNSMOS BAK MOS | DNSMOS OVRL MOS | WER |" in (run / "results.md").read_text()


@pytest.mark.slow
@NEEDS_NETWORKS
def test_files_that_were_made_again_are_judged_again(tmp_path: Path, settings: list[str]) -> None:
    settings = [*settings, "evaluate.recogniser=none", "evaluate.utterances=1"]
    before = judged(tmp_path, settings)["rows"]
    name = "a" if (tmp_path / "run/per_utterance.csv").read_text().splitlines()[1].startswith("noisy,a") else "b"
    shutil.copy(tmp_path / "noisy" / f"{name}.wav", tmp_path / "mine" / f"{name}.wav")
    after = judged(tmp_path, settings)["rows"]
    assert after["noisy"] == before["noisy"], "scores of a row whose source is as it was are kept"
    assert after["mine"]["dnsmos_bak"] == before["noisy"]["dnsmos_bak"]


def test_without_packages_and_transcripts_everything_is_counted_as_failed(
    tmp_path: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnxruntime", "speechmos", "pocketsphinx"):
        monkeypatch.setitem(sys.modules, package, None)
    lines = [line.replace(', "text": "see me"', "") for line in (tmp_path / "noisy.jsonl").read_text().splitlines()]
    (tmp_path / "noisy.jsonl").write_text("\n".join(lines))
    found = judged(tmp_path, settings)
    assert found["data"]["recogniser"] == "none"
    for row in found["rows"].values():
        assert row["dnsmos_ovrl"] is None
        assert row["dnsmos_ovrl_reasons"] == {"onnxruntime is not installed": 2}
        assert row["wer_reasons"] == {"no transcript": 2}
    assert found["comparisons"] == []


@pytest.mark.slow
@NEEDS_NETWORKS
def test_dnsmos_beside_the_other_scores_where_it_is_asked_for(tmp_path: Path, settings: list[str]) -> None:
    settings = [settings[0].replace("recordings", "pairs"), *settings[2:], "evaluate.recogniser=none"]
    settings += ["evaluate.utterances=1"]
    without = judged(tmp_path, settings)["rows"]
    assert list(without) == ["noisy", "clean"]
    assert not set(DNSMOS_KEYS) & without["noisy"].keys()
    rows = judged(tmp_path, settings, "evaluate.dnsmos=true")["rows"]
    assert rows["noisy"]["dnsmos_bak"] < rows["clean"]["dnsmos_bak"]
    assert rows["noisy"]["si_sdr_db"] == without["noisy"]["si_sdr_db"]


def test_a_manifest_that_cannot_be_used_is_named(tmp_path: Path, settings: list[str]) -> None:
    manifest = tmp_path / "noisy.jsonl"
    manifest.write_text(2 * manifest.read_text())
    with pytest.raises(DataError, match=f"{manifest}: 2 problems in 4 recordings: a: used 2 times"):
        judged(tmp_path, settings)
    manifest.unlink()
    with pytest.raises(DataError, match=f"{manifest} does not exist"):
        judged(tmp_path, settings)
