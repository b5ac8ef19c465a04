"""Every stage, in order, through the command line and `runs/real.sh`, on the tiny corpus of conftest.py."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from phonemi.config import load_config
from phonemi.data.manifest import read_manifest
from phonemi.stages.labelled_frames import plan_mixtures
from phonemi.stages.run import Run
from phonemi.stages.test_sets import find_test_set
from phonemi.stages.training_batches import enhancement_mixtures

ROWS = ["log1p", "layer", "ws-acoustic", "ws-linguistic", "ws-hybrid", "dws-linguistic"]


def test_every_stage_leaves_its_results(finished: Any) -> None:
    folder = finished.folder
    information = json.loads((folder / "information.json").read_text())
    measured = {(row["representation"], row["layer"], row["snr_db"]) for row in information["rows"]}
    layers = [("encoder", 0), ("encoder", 1), ("encoder", 2), ("log1p", 0)]
    assert measured == {(name, layer, snr_db) for name, layer in layers for snr_db in (0.0, 10.0)}
    for kind in ("ws", "dws"):
        assert load_file(folder / "aggregations" / kind / "aggregation.safetensors")
    for row in ROWS:
        assert (folder / "rows" / row / "model" / "model.safetensors").is_file()
    weights = json.loads((folder / "layer_weights.json").read_text())["rows"]
    assert [row["row"] for row in weights] == ROWS[2:]
    assert all(sum(row["weights"]) == pytest.approx(1) for row in weights)
    for file in ("config.yaml", "log.jsonl", "dynamic_weights.json", "examples.json", "report.html", "results.md"):
        assert (folder / file).stat().st_size
    assert not list(folder.rglob("*.part*")), "nothing half-written stays"


def test_counts_and_durations_are_written_as_people_write_them(finished: Any) -> None:
    """No "1 mixtures", "0/0", "0.00 h" or "in 0:00:00", which a small run shows first."""
    counted = "clip|epoch|frame|layer|mixture|model|phone|recording|row|speaker|update|utterance"
    wrong = rf"(?<![\w.,])1 (?:[a-z]+ )?(?:{counted})s\b|(?<![\d.])0\.0+ (?:s|min|h)\b|\b0/0\b|\b0:00:00\b"
    said = finished.said + (finished.folder / "results.md").read_text(encoding="utf-8")
    assert not re.findall(wrong, said), said


def test_the_table_has_every_row_and_every_score(finished: Any) -> None:
    metrics = json.loads((finished.folder / "metrics.json").read_text())
    rows = {row["row"]: row for row in metrics["rows"]}
    assert list(rows) == ["noisy", "clean", *ROWS]
    assert metrics["data"]["utterances"] == 4
    for row in rows.values():
        assert {row[f"{metric}_total"] for metric in ("si_sdr_db", "si_sdri_db", "stoi", "pesq_wb_lqo", "wer")} == {4}
        assert all(row[metric] is not None for metric in ("stoi", "wer")), row
        assert (row["pesq_wb_lqo"] is None) == (find_spec("pesq") is None), "it needs a C compiler at install"
    assert rows["noisy"]["si_sdr_db"] == pytest.approx(10, abs=0.1)  # two utterances at 5 dB and two at 15 dB
    assert rows["noisy"]["si_sdri_db"] == 0
    assert (rows["clean"]["stoi"], rows["clean"]["si_sdr_db"]) == (pytest.approx(1), None)
    assert rows["clean"]["si_sdr_db_reasons"] == {"estimate equals reference": 4}
    assert all(isinstance(rows[name]["mi_bits"], float) for name in ROWS)
    compared = Counter((row["row"], row["against"]) for row in metrics["comparisons"])
    assert compared == {
        **{(name, "noisy"): 4 for name in ROWS},
        **{(name, "ws-acoustic"): 5 for name in ROWS if name != "ws-acoustic"},  # the MI too, of other features
    }


def test_every_utterance_of_every_row_is_listed(finished: Any) -> None:
    with open(finished.folder / "per_utterance.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    run = Run(finished.folder, load_config(finished.folder / "config.yaml"), save=False)
    mixtures = find_test_set(run.config.evaluate, run.data)
    ids = [mixtures[index].id for index in range(len(mixtures))]
    expected = [(row, id) for row in ["noisy", "clean", *ROWS] for id in ids]
    assert [(line["row"], line["id"]) for line in lines] == expected
    for line in lines:
        assert "nan" not in line.values()
        assert float(line["stoi"]) > 0
        assert float(line["wer"]) >= 0
        assert bool(line["si_sdr_db"]) != ("estimate equals reference" in line["failed"])


def test_no_held_out_speaker_or_noise_is_in_another_split(finished: Any) -> None:
    run = Run(finished.folder, load_config(finished.folder / "config.yaml"), save=False)
    names_of: dict[str, set[str | None]] = {"train": set(), "validation": set(), "test": set()}
    for split, names in names_of.items():
        sets = [
            plan_mixtures(run.config.information, run.data, split),
            find_test_set(run.config.evaluate, run.data)
            if split == "test"
            else enhancement_mixtures(run.config.enhance, run.data, split),
        ]
        mixtures = [mixture_set[index] for mixture_set in sets for index in range(len(mixture_set))]
        names |= {mixture.speaker for mixture in mixtures} | {f"noise {mixture.noise_id}" for mixture in mixtures}
    noises = {split: len([name for name in names if "noise" in str(name)]) for split, names in names_of.items()}
    assert noises == {"train": 3, "validation": 1, "test": 1}
    assert sum(map(len, names_of.values())) == len(set.union(*names_of.values()))
    trained = {recording.speaker for recording in run.data.encoder_speech}
    assert "201" in trained, "speech for the encoder alone is used"
    assert not trained & {recording.speaker for split in ("validation", "test") for recording in run.data.speech[split]}
    # The manifests of the splits, and the sizes of the caches, are those of these sets.
    for split in names_of:
        written = read_manifest(run.folder / "manifests" / f"speech.{split}.jsonl")
        assert {recording.speaker for recording in written} <= names_of[split]
        starts = json.loads((run.folder / "cache" / f"information.encoder.{split}.json").read_text())["starts"]
        assert len(starts) == len(plan_mixtures(run.config.information, run.data, split)) + 1


def test_every_mixture_is_encoded_once(finished: Any) -> None:
    run = Run(finished.folder, load_config(finished.folder / "config.yaml"), save=False)
    encoded = Counter(hash_ for command, hash_ in finished.encoded if command in ("information", "aggregate", "train"))
    sets = [plan_mixtures(run.config.information, run.data, split) for split in ("train", "validation", "test")]
    sets += [enhancement_mixtures(run.config.enhance, run.data, split) for split in ("train", "validation")]
    mixtures = [mixture_set[index] for mixture_set in sets for index in range(len(mixture_set))]
    assert encoded == Counter(dict.fromkeys((hash_of(mixture.noisy.tobytes()) for mixture in mixtures), 1))
    # Evaluation runs each saved enhancer as a user would; its probes read the states that are there.
    by_evaluation = [hash_ for command, hash_ in finished.encoded if command == "evaluate"]
    test = find_test_set(run.config.evaluate, run.data)
    assert Counter(by_evaluation) == {hash_of(test[index].noisy.tobytes()): len(ROWS) - 1 for index in range(len(test))}


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_running_the_script_again_skips_everything(finished: Any) -> None:
    assert finished.again.code == 0, finished.again.stderr
    for file, hash_ in finished.contents.items():
        assert hash_of((finished.folder / file).read_bytes()) == hash_, file
    lines = finished.again.stderr.splitlines()
    assert len([line for line in lines if line.endswith("done already")]) == len(lines) == 1 + 1 + 2 + len(ROWS) + 1
    shown = [line for line in finished.again.stdout.splitlines() if str(finished.folder) in line]
    assert shown == [str(finished.folder / name) for name in ("information.json", "results.md", "report.html")]


def test_results_do_not_depend_on_when_a_row_was_judged(
    finished: Any, phonemi: Callable[..., Any], tmp_path: Path, blank_figures: None
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    for file in ("metrics.json", "per_utterance.csv", "aggregated_information.json", "rows/noisy/scores.json"):
        (folder / file).unlink()
    assert phonemi("evaluate", "--run", folder).code == 0
    for file in ("metrics.json", "per_utterance.csv"):
        assert (folder / file).read_bytes() == (finished.folder / file).read_bytes()


def test_a_killed_training_ends_as_if_it_had_not_been(
    finished: Any, phonemi: Callable[..., Any], tmp_path: Path, blank_figures: None
) -> None:
    row = "ws-acoustic"
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    shutil.rmtree(folder / "rows" / row)
    for file in ("metrics.json", "per_utterance.csv", "aggregated_information.json", "log.jsonl"):
        (folder / file).unlink()

    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "phonemi.cli", "train", "--run", str(folder)]
    training = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    deadline_s = time.monotonic() + 120
    try:
        while not (folder / "log.jsonl").exists() or '"stage": "train"' not in (folder / "log.jsonl").read_text():
            assert training.poll() is None, training.communicate()
            assert time.monotonic() < deadline_s
            time.sleep(0.003)
    finally:
        training.kill()  # SIGKILL
    training.communicate()
    assert training.returncode == -signal.SIGKILL
    assert not (folder / "rows" / row / "result.json").exists(), "killed before the end"
    assert list((folder / "rows" / row / "checkpoints").rglob("last.pt"))

    outcome = phonemi("evaluate", "--run", folder)
    assert outcome.error == (
        f"row '{row}' is not trained with this configuration: run `phonemi train --run {folder}` first"
    )
    assert phonemi("train", "--run", folder).code == 0
    assert phonemi("evaluate", "--run", folder).code == 0
    model = Path("rows") / row / "model" / "model.safetensors"
    assert (folder / model).read_bytes() == (finished.folder / model).read_bytes()
    for file in ("metrics.json", "per_utterance.csv"):
        assert (folder / file).read_bytes() == (finished.folder / file).read_bytes()
    steps = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    validated = [line["step"] for line in steps if line["stage"] == "validate"]
    assert (validated.count(30), sorted(set(validated))) == (1, [30, 60, 90, 120]), "it went on at the checkpoint"
