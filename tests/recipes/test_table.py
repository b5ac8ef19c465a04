from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonemi import audio
from phonemi.config import load_config, presets
from phonemi.data.manifest import read_manifest, write_manifest
from phonemi.errors import ConfigError, DataError
from phonemi.files import read_json
from phonemi.recipes import table
from phonemi.recipes.table import SCALES, _row, plan
from phonemi.systems import find_system, tabatabaee2026
from phonemi.systems.han2026 import ENCODERS, SINGLE_LAYER, TABLES
from phonemi.weights.training_record import TRAINING_FILE, find_training_record


def test_the_plan_of_the_paper_is_what_it_prints() -> None:
    for number, printed in TABLES.items():
        planned = [
            ("" if row == "log1p" else part.encoder, row) for part in plan(str(number), "paper") for row in part.rows
        ]
        assert planned == list(printed)
    assert sum(len(printed) for printed in TABLES.values()) == 28
    assert [part.representation for part in plan("1", "paper")] == list(ENCODERS.values())


def test_every_scale_is_a_preset_and_every_row_is_known() -> None:
    assert set(SCALES) <= set(presets())
    assert load_config("paper").enhance.steps == 100_000
    for scale in SCALES:
        assert all(
            find_system(row).name == row for part in plan("1", scale, ("wavlm", "some/folder")) for row in part.rows
        )


def test_the_table_of_bsse_has_every_encoder_and_kind_of_fine_tuning() -> None:
    parts = plan("bsse", "paper")
    assert [part.encoder for part in parts] == [
        "wavlm", "hubert", "wav2vec2", "wavlm-large", "hubert-large", "wav2vec2-large"
    ]  # fmt: skip
    assert [len(part.rows) for part in parts] == [10, 9, 9, 9, 9, 9]
    systems = [find_system(row) for row in parts[0].rows]
    assert Counter((system.tuned_from_block, system.keeps_front_end) for system in systems) == {
        (None, False): 4, (0, True): 3, (0, False): 3
    }  # fmt: skip
    # The blocks alone of HuBERT and wav2vec2, and the states of all of WavLM.
    assert [load_config("bsse", part.settings).aggregate.first_layer for part in parts] == [0, 1, 1, 0, 1, 1]
    settings = load_config("bsse")
    assert (settings.seed, settings.enhance.batch, settings.enhance.crop_s) == (999, 16, 1.28)
    assert settings.enhance.learning_rate == 10 * settings.enhance.encoder_learning_rate == 1e-4
    assert round(10 ** (settings.enhance.augment.gain_db[1] / 20), 3) == 2.5
    (mini,) = plan("bsse", "mini")
    assert (mini.encoder, len(mini.rows)) == ("mini", 10)
    assert load_config("bsse-mini").enhance.crop_s == 1.28


def test_the_table_of_feature_normalisation_sweeps_the_layers() -> None:
    parts = plan("feature-norm", "paper")
    assert [part.encoder for part in parts] == ["mockingjay", "tera", "wav2vec2", "wavlm", "hubert"]
    swept = {part.encoder: [find_system(row).normalised_layers for row in part.rows] for part in parts}
    assert swept["tera"] == [(), (), (0,), (1,), (2,), (3,), (0, 1, 2, 3)]
    assert swept["hubert"] == [(), (), (0,), (4,), (8,), (12,), tuple(range(6)), tuple(range(13))]
    (mini,) = plan("feature-norm", "mini")
    systems = {row: find_system(row) for row in mini.rows}
    assert systems["ws-acoustic+norm-0.1.2+tuned-entire"].compared_with[0] == "ws-acoustic+tuned-entire"
    assert sum(system.learns_encoder for system in systems.values()) == 7


@pytest.mark.slow
def test_the_table_of_bsse_is_made(
    phonemi: Callable[..., Any], corpus: Any, tmp_path: Path, blank_figures: None
) -> None:
    small = [change for change in corpus.settings if not change.startswith(("data.speech", "data.noise="))]
    small += ["enhance.steps=2", "enhance.validate_every=2", "evaluate.recogniser=none", "evaluate.utterances=2"]
    options = ["--out", tmp_path / "out", "--scale", "mini", "--manifests", corpus.data]
    options += [word for change in small for word in ("--set", change)]
    outcome = phonemi("table", "bsse", *options)
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout.startswith("# Table bsse\n\nScale mini. Encoders: mini")
    assert "PESQ 3.20" in outcome.stdout
    result = read_json(tmp_path / "out" / "table-bsse.json")
    rows = [row["row"] for row in result["rows"]]
    assert rows == ["noisy", "clean", *plan("bsse", "mini")[0].rows]
    assert all(np.isfinite(row["si_sdri_db"]) for row in result["rows"] if row["row"] != "clean")
    assert (tmp_path / "out" / "bsse" / "mini" / "report.html").exists()


@pytest.mark.parametrize("scale", SCALES)
def test_the_table_of_inversion_is_not_made_of_speech_without_tracks(scale: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"needs speech with tracks .* --manifests FOLDER") as error:
        table.make_table(table.TableRequest("inversion", tmp_path / "tables", scale))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "tables").exists()


def test_the_table_of_inversion_has_the_joint_model_and_its_baselines() -> None:
    for scale, model in (("paper", "microsoft/wavlm-large"), ("mini", "mini")):
        (part,) = plan("inversion", scale)
        assert (part.representation, part.rows) == (model, tabatabaee2026.ROWS)
        settings = load_config({"paper": "inversion", "mini": "inversion-mini"}[scale])
        assert settings.enhance.select_on == "loss", "rows that make no signal have no other"
        assert settings.evaluate.per_utterance is None, "every utterance at every SNR"


def test_only_what_hears_the_spectrum_alone_is_of_no_encoder() -> None:
    (inversion,), (first, *_) = plan("inversion", "mini"), plan("1", "mini")
    encoders = {row: _row(part, {"row": row}, False)["encoder"] for part in (inversion, first) for row in part.rows}
    assert {row for row, encoder in encoders.items() if not encoder} == {"log1p"}
    assert encoders["cascade"] == "mini", "of what it is made of"
    assert _row(first, {"row": "noisy"}, False)["encoder"] == ""


def test_any_encoder_can_be_named() -> None:
    parts = plan("1", "mini", ("mini", "hubert", "somebody/encoder"))
    assert [part.encoder for part in parts] == ["mini", "hubert", "encoder"]
    assert [part.rows[:2] for part in parts] == [
        ("log1p", "layer"),
        ("layer-11", "ws-acoustic"),
        ("layer", "ws-acoustic"),
    ]
    assert [bool(part.settings) for part in plan("1", "paper", ("hubert", "somebody/encoder"))] == [False, True]
    for part in plan("2", "paper", ("hubert", "somebody/encoder")):
        data = load_config("paper", part.settings).data
        held_out = {"hubert": (0, ()), "encoder": (0.1, (4,))}[part.encoder]
        assert (data.validation_share, data.noise_folds.validation) == held_out
    assert parts[2].representation == "somebody/encoder"
    with pytest.raises(ConfigError, match="encoder 'mini' is named twice"):
        plan("2", "mini", ("mini", "another/mini"))


def test_what_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no table 3: known are 1, 2, bsse, feature-norm"):
        table.make_table(table.TableRequest("3", tmp_path, "mini"))
    with pytest.raises(ConfigError, match="unknown scale 'tiny': paper or mini"):
        table.make_table(table.TableRequest("1", tmp_path, "tiny"))
    with pytest.raises(DataError, match="--manifests FOLDER"):
        table.make_table(table.TableRequest("1", tmp_path, "paper"))
    with pytest.raises(DataError, match=r"manifest .*librispeech-dev-clean.jsonl does not exist"):
        table.make_table(table.TableRequest("2", tmp_path, "paper", manifests=tmp_path))


@pytest.fixture
def papers_corpora(corpus: Any, tmp_path: Path) -> Path:
    """Manifests with the names and the parts of the paper's corpora: nobody is in two of them."""
    speech, noise = read_manifest(corpus.speech), read_manifest(corpus.noise)
    speakers = sorted({recording.speaker for recording in speech})
    by_speaker = {name: [recording for recording in speech if recording.speaker == name] for name in speakers}
    names = ["librispeech-dev-clean", "librispeech-dev-clean", "librispeech-test-clean", "librispeech-train-clean-100"]
    for name in dict.fromkeys(names):
        speakers = [recordings for part, recordings in zip(names, by_speaker.values(), strict=False) if part == name]
        write_manifest(tmp_path / f"{name}.jsonl", [recording for recordings in speakers for recording in recordings])
    write_manifest(tmp_path / "esc50.jsonl", noise)
    write_manifest(tmp_path / "musan-noise.jsonl", [replace(noise[0], id=f"musan-{noise[0].id}")])
    for number, split in enumerate(("train", "validation", "test")):
        pairs = []
        for recording in list(by_speaker.values())[3 + number]:
            clean = audio.load(recording.path)
            path = tmp_path / "noisy" / f"{recording.id}.wav"
            audio.save(path, clean + 0.02 * np.random.default_rng(0).normal(size=len(clean)), 16_000)
            pairs.append(replace(recording, path=str(path), clean=recording.path, phones=None))
        write_manifest(tmp_path / f"voicebank-demand-{split}.jsonl", pairs)
    return tmp_path


@pytest.mark.slow
def test_the_recipe_of_the_paper_runs(
    phonemi: Callable[..., Any],
    corpus: Any,
    papers_corpora: Path,
    finished: Any,
    blank_figures: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = tmp_path / "encoder"  # whose speakers are not known, as those of WavLM
    shutil.copytree(finished.folder / "encoder" / "model", encoder, ignore=shutil.ignore_patterns(TRAINING_FILE))
    monkeypatch.setitem(ENCODERS, "wavlm", str(encoder))
    monkeypatch.setitem(SINGLE_LAYER, "wavlm", "layer-1")
    options = ["--out", tmp_path / "out", "--scale", "paper", "--manifests", papers_corpora, "--encoder", "wavlm"]
    small = [change for change in corpus.settings if not change.startswith("data.")]
    small += ["enhance.steps=10", "enhance.validate_every=10", "evaluate.recogniser=none"]
    options += [word for change in small for word in ("--set", change)]
    for number in (1, 2):
        outcome = phonemi("table", number, *options)
        assert outcome.code == 0, outcome.stderr
        rows = read_json(tmp_path / "out" / f"table{number}.json")["rows"]
        assert [row["row"] for row in rows] == [
            *("noisy", "clean"), *(row for part in plan(str(number), "paper", ("wavlm",)) for row in part.rows)
        ]  # fmt: skip
        assert all(("mi_bits" in row) == ("+log1p" not in row["row"]) for row in rows[2:])
        assert all(row["stoi_total"] == 2 for row in rows), "the test pairs"
    run = tmp_path / "out" / "wavlm"
    assert read_json(run / "information.json")["validation"] == []
    parts = {split: read_manifest(run / "manifests" / f"speech.{split}.jsonl") for split in ("train", "test")}
    assert {split: len(recordings) for split, recordings in parts.items()} == {"train": 4, "test": 2}
    assert len(read_manifest(run / "manifests" / "noise.train.jsonl")) == 4


@pytest.mark.slow
def test_both_tables_share_a_folder(
    phonemi: Callable[..., Any],
    corpus: Any,
    finished: Any,
    blank_figures: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = [*corpus.settings, "enhance.steps=10", "enhance.validate_every=10", "evaluate.recogniser=none"]
    changes.append("evaluate.utterances=2")
    options = ["--out", tmp_path / "out", "--scale", "mini", "--manifests", corpus.data]
    options += ["--encoder", finished.folder / "encoder" / "model"]
    options += [word for change in changes for word in ("--set", change)]
    first = phonemi("table", 1, *options)
    assert first.code == 0, first.stderr
    result = read_json(tmp_path / "out" / "table1.json")
    sums = [f"ws-{tuning}{plus}" for tuning in ("acoustic", "linguistic", "hybrid") for plus in ("", "+log1p")]
    assert [row["row"] for row in result["rows"]] == ["noisy", "clean", "log1p", "layer", *sums]
    by_name = {row["row"]: row for row in result["rows"]}
    assert by_name["log1p"]["published"]["pesq_wb_lqo"] == 2.81
    assert "published" not in by_name["ws-hybrid"]  # the paper has not met this encoder
    assert {(comparison["row"], comparison["against"]) for comparison in result["comparisons"]} >= {
        ("ws-hybrid", "ws-acoustic"), ("ws-hybrid+log1p", "ws-acoustic+log1p"), ("log1p", "ws-acoustic")
    }  # fmt: skip
    assert first.stdout.startswith("# Table 1\n\nScale mini. Encoders: ")
    assert "- **Enhancers**: BLSTM of" in first.stdout
    assert "known speakers; none of the test speakers among them" in first.stdout
    assert f"({by_name['log1p']['published']['wer']:.4f})" in first.stdout

    monkeypatch.setattr("phonemi.stages.train.fit", None)  # nothing is trained twice
    assert phonemi("table", 1, *options).stdout == first.stdout
    monkeypatch.undo()
    second = phonemi("table", 2, *options)
    assert second.code == 0, second.stderr
    assert "information: done already" in second.stderr
    rows = read_json(tmp_path / "out" / "table2.json")["rows"]
    assert [row["row"] for row in rows] == ["noisy", "clean", *(f"d{name}" for name in sums)]
    assert all(("mi_bits" in row) == ("+log1p" not in row["row"]) for row in rows[2:]), "as printed"
    again = phonemi("table", 1, *options)
    assert "evaluate: done already" in again.stderr, "the rows of the other table make none of this one's stale"
    again_rows = read_json(tmp_path / "out" / "table1.json")["rows"]
    for before, after in zip(result["rows"], again_rows, strict=True):
        assert after.get("mi_bits", 0.0) == pytest.approx(before.get("mi_bits", 0.0), abs=1e-6), before["row"]


def test_several_encoders_are_tested_on_speakers_that_trained_none_of_them() -> None:
    changes = ["data.keep_in_training=[someone]"]
    assert table._same_test_speakers(plan("1", "mini", ("mini",)), "mini", changes) == []
    (setting,) = table._same_test_speakers(plan("1", "mini", ("mini", "microsoft/wavlm-base")), "mini", changes)
    record = find_training_record("mini")
    assert record is not None
    assert set(load_config("mini", [setting]).data.keep_in_training) == {"someone", *record.speakers}


def test_an_encoder_in_a_folder_has_the_rows_of_its_name() -> None:
    by_name, by_folder = (table.plan("feature-norm", "mini", (encoder,))[0] for encoder in ("tera", "my/tera"))
    assert by_folder.rows == by_name.rows
    assert (by_folder.encoder, by_folder.representation) == ("tera", "my/tera")
    assert not any("norm-4" in row for row in by_folder.rows), "it has three blocks"


@pytest.mark.parametrize("name", list(table.TABLES))
def test_every_row_of_every_encoder_is_named_once(name: str) -> None:
    for part in table.plan(name, "paper"):
        assert len(part.rows) == len(set(part.rows)), part.encoder
