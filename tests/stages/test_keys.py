"""Which results are made again when a setting, a sound file, a model or an alignment changes."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic.fields import FieldInfo

from phonemi import audio
from phonemi.config import load_config
from phonemi.config.sections import MANIFESTS, Config, Section
from phonemi.data.manifest import Interval, read_manifest, write_manifest
from phonemi.stages.keys import Keys
from phonemi.stages.run import Run
from phonemi.systems import find_system
from phonemi.weights.shipped import WEIGHTS

INVERTERS = ("inversion", "inversion-linguistic", "joint")
SYSTEMS = (
    *("log1p", "layer", "layer-1", "ws-acoustic", "ws-linguistic", "dws-hybrid+log1p", "ws-acoustic+tuned-2"),
    *INVERTERS,
)
WITH_ENCODER = tuple(name for name in SYSTEMS if name != "log1p")


def keys_of(keys: Keys) -> dict[str, str]:
    """Every key of a run that trains `SYSTEMS`."""
    systems = [find_system(name) for name in SYSTEMS]
    models = {f"model {system.name}": keys.model(system) for system in systems}
    scores = [keys.scores("noisy", None, []), *(keys.scores(s.name, keys.model(s), []) for s in systems)]
    metrics = keys.metrics(scores, systems)
    return {
        "encoder": keys.encoder,
        **{f"frames {split}": keys.frames(split) for split in ("train", "validation", "test")},
        "information": keys.information,
        "distance": keys.cn_distance([]),
        "aggregations": keys.aggregations,
        **{f"mixtures {split}": keys.mixtures(split) for split in ("train", "validation")},
        **{f"states {split}": keys.states(split) for split in ("train", "validation")},
        **models,
        "scores noisy": scores[0],
        "metrics": metrics,
        "examples": keys.examples(metrics),
    }


def models_of(*names: str) -> set[str]:
    return {f"model {name}" for name in names}


REPORT = {"metrics", "examples"}
ALL_MODELS = models_of(*SYSTEMS)
SUMS = models_of("ws-acoustic", "ws-linguistic", "dws-hybrid+log1p", "ws-acoustic+tuned-2", *INVERTERS)
PRETRAINED = models_of("ws-linguistic", "dws-hybrid+log1p", "inversion-linguistic")
EVERYTHING = {
    "encoder", "frames train", "frames validation", "frames test", "information", "distance", "aggregations",
    "mixtures train", "mixtures validation", "states train", "states validation",
    *ALL_MODELS, "scores noisy", *REPORT,
}  # fmt: skip
NEEDS_INFORMATION = {"information", *models_of("layer"), *REPORT}
NEEDS_ENCODER = {
    "encoder", "frames train", "frames validation", "frames test", "aggregations", "states train", "states validation",
    "distance",
    *models_of(*WITH_ENCODER), *NEEDS_INFORMATION,
}  # fmt: skip
TRAIN_FRAMES = {"frames train", "aggregations", *PRETRAINED, *NEEDS_INFORMATION}
ALL_FRAMES = {"frames validation", "frames test", "distance", *TRAIN_FRAMES}
LABELS = {"aggregations", *PRETRAINED, *NEEDS_INFORMATION}
ONE_MIXTURES = {
    split: {f"mixtures {split}", f"states {split}", *ALL_MODELS, *REPORT} for split in ("train", "validation")
}
BOTH_MIXTURES = ONE_MIXTURES["train"] | ONE_MIXTURES["validation"]
TRAINING = {*ALL_MODELS, *REPORT}
INVERSION = {*models_of(*INVERTERS), *REPORT}
# Sections and settings -> another value, and the keys that must change with it, all of them and no other.
EXPECTED: dict[str, tuple[Any, set[str]]] = {
    "seed": (1, EVERYTHING),
    "device": ("cpu", set()),
    "tensorboard": (True, set()),
    "representation": ("mini", NEEDS_ENCODER),
    "normalise_waveform": (True, NEEDS_ENCODER),
    "data.test_share": (0.3, EVERYTHING),
    "data.validation_share": (0.3, EVERYTHING),
    "data.validation_pairs_share": (0.3, EVERYTHING),
    "data.keep_in_training": (["somebody"], EVERYTHING),
    "data.babble_share": (0.5, EVERYTHING),
    "data.noise_folds.train": ([1, 2], EVERYTHING),
    "data.noise_folds.validation": ([3], EVERYTHING),
    "data.noise_folds.test": ([4], EVERYTHING),
    "encoder.mels": (40, NEEDS_ENCODER),
    "encoder.dim": (128, NEEDS_ENCODER),
    "encoder.blocks": (3, NEEDS_ENCODER),
    "encoder.heads": (2, NEEDS_ENCODER),
    "encoder.feedforward": (99, NEEDS_ENCODER),
    "encoder.block_kernel": (15, NEEDS_ENCODER),
    "encoder.position_kernel": (5, NEEDS_ENCODER),
    "encoder.dropout": (0.1, NEEDS_ENCODER),
    "encoder.rounds": ([{"units": "phones"}], NEEDS_ENCODER),
    "encoder.batch": (3, NEEDS_ENCODER),
    "encoder.accumulate": (2, NEEDS_ENCODER),
    "encoder.crop_frames": (32, NEEDS_ENCODER),
    "encoder.mask_start": (0.5, NEEDS_ENCODER),
    "encoder.mask_span": (5, NEEDS_ENCODER),
    "encoder.unmasked_weight": (0.5, NEEDS_ENCODER),
    "encoder.noisy_share": (0.5, NEEDS_ENCODER),
    "encoder.noisy_snrs_db": ([0, 10], NEEDS_ENCODER),
    "encoder.mixed_share": (0.5, NEEDS_ENCODER),
    "encoder.speeds": ([0.9, 1.1], NEEDS_ENCODER),
    "encoder.precision": ("fp16", NEEDS_ENCODER),
    "information.snrs_db": ([0], ALL_FRAMES),
    "information.most_frames": (1000, ALL_FRAMES),
    "information.copies": (3, TRAIN_FRAMES),
    "information.train_utterances": (5, TRAIN_FRAMES),
    "information.test_utterances": (5, {"frames test", "distance", *NEEDS_INFORMATION}),
    "information.clips": (2, {*ALL_FRAMES} - {"frames train"}),
    "information.silence": (False, LABELS),
    "information.stress": (True, LABELS),
    "information.label_at": ("start", LABELS),
    "information.depth": (1, NEEDS_INFORMATION),
    "information.hidden": (64, NEEDS_INFORMATION),
    "information.dropout": (0.5, NEEDS_INFORMATION),
    "information.epochs": (3, NEEDS_INFORMATION),
    "information.learning_rate": (0.1, NEEDS_INFORMATION),
    "information.batch_frames": (99, NEEDS_INFORMATION),
    "information.seeds": (3, NEEDS_INFORMATION),
    "information.precision": ("no", NEEDS_INFORMATION),
    "aggregate.aggregations": (["ws"], set()),
    "aggregate.normalise_layers": (True, {"aggregations", *SUMS, *REPORT}),
    "aggregate.projection_bias": (True, {"aggregations", *SUMS, *REPORT}),
    "aggregate.projection_dim": (8, {"aggregations", *SUMS, *REPORT}),
    "aggregate.renormalise": (False, {*SUMS, *REPORT}),
    "aggregate.first_layer": (1, {*SUMS, *REPORT}),
    "aggregate.steps": (3, {"aggregations", *PRETRAINED, *REPORT}),
    "aggregate.learning_rate": (0.1, {"aggregations", *PRETRAINED, *REPORT}),
    "aggregate.batch_frames": (99, {"aggregations", *PRETRAINED, *REPORT}),
    "aggregate.accumulate": (2, {"aggregations", *PRETRAINED, *REPORT}),
    "enhance.rows": (["log1p"], REPORT),
    "enhance.seeds": (2, REPORT),
    "enhance.seeds_of": ({"log1p": 2}, REPORT),
    "enhance.jobs": (2, set()),
    "enhance.start": ("mine", TRAINING),
    "enhance.purpose": ("recognition", TRAINING),
    "enhance.draw": (2, ONE_MIXTURES["train"]),
    "enhance.hidden": (8, TRAINING),
    "enhance.target": ("map", TRAINING),
    "enhance.feature_end": ("zeros", TRAINING),
    "enhance.encoder_learning_rate": (0.1, TRAINING),
    "enhance.warmup_steps": (3, TRAINING),
    "enhance.eps": (1e-8, TRAINING),
    "enhance.gradient_clip": (3, TRAINING),
    "enhance.feature_reference": ("paired", TRAINING),
    "enhance.reference_utterances": (3, TRAINING),
    "enhance.recompute_blocks": (True, set()),
    "enhance.redraw": ("training", TRAINING),
    "enhance.shuffle": (False, TRAINING),
    "enhance.crop_pairs": (True, BOTH_MIXTURES),
    "enhance.augment.gain_in_amplitude": (True, BOTH_MIXTURES),
    "enhance.augment.validation": (False, ONE_MIXTURES["validation"]),
    "enhance.layers": (1, TRAINING),
    "enhance.channels": (8, TRAINING),
    "enhance.most_channels": (64, TRAINING),
    "enhance.resample": (2, TRAINING),
    "enhance.dropout": (0.5, TRAINING),
    "enhance.level_db": (-30, TRAINING),
    "enhance.stft_pad": ("reflect", TRAINING),
    "enhance.encoder_padding": ("batch", {"states train", *models_of(*WITH_ENCODER), *REPORT}),
    "enhance.steps": (3, TRAINING),
    "enhance.batch": (3, TRAINING),
    "enhance.accumulate": (2, TRAINING),
    "enhance.learning_rate": (0.1, TRAINING),
    "enhance.schedule": ("cosine", TRAINING),
    "enhance.eps_before_correction": (True, TRAINING),
    "enhance.si_sdr_weight": (0.5, TRAINING),
    "enhance.artefact_weight": (2.0, TRAINING),
    "enhance.kept_noise_db": (14.0, TRAINING),
    "enhance.phone_weight": (0.1, TRAINING),
    "enhance.phone_judge": ("mine", set()),
    "enhance.validate_every": (3, TRAINING),
    "enhance.precision": ("bf16", TRAINING),
    "enhance.select_on": ("stoi", TRAINING),
    "enhance.snrs_db": ([0], BOTH_MIXTURES),
    "enhance.crop_s": (3, BOTH_MIXTURES),
    "enhance.train_mixtures": (3, ONE_MIXTURES["train"]),
    "enhance.validation_mixtures": (3, ONE_MIXTURES["validation"]),
    "enhance.augment.reverb_share": (0.5, BOTH_MIXTURES),
    "enhance.augment.rt60_s": ([0.2, 0.3], BOTH_MIXTURES),
    "enhance.augment.band_limit_share": (0.5, BOTH_MIXTURES),
    "enhance.augment.band_limit_hz": ([4000, 5000], BOTH_MIXTURES),
    "enhance.augment.clip_share": (0.5, BOTH_MIXTURES),
    "enhance.augment.codec_share": (0.5, BOTH_MIXTURES),
    "enhance.augment.gain_db": ([-3, 3], BOTH_MIXTURES),
    "inversion.hidden": (64, INVERSION),
    "inversion.heads": (2, INVERSION),
    "inversion.dropout": (0.5, INVERSION),
    "inversion.weight": (0.5, INVERSION),
    "inversion.smooth": (True, {"scores noisy", *REPORT}),
    "evaluate.snrs_db": ([0], {"scores noisy", *REPORT}),
    "evaluate.per_utterance": (2, {"scores noisy", *REPORT}),
    "evaluate.utterances": (3, {"scores noisy", *REPORT}),
    "evaluate.split": ("validation", {"scores noisy", *REPORT}),
    "evaluate.pairs": ("PAIRS", {"scores noisy", *REPORT}),
    "evaluate.recordings": ("PAIRS", {"scores noisy", *REPORT}),
    "evaluate.composite": ("divided", {"scores noisy", *REPORT}),
    "evaluate.lps": ("somebody/phones", {"scores noisy", *REPORT}),
    "evaluate.phone_bits": (True, {"scores noisy", *REPORT}),
    "evaluate.dnsmos": (True, {"scores noisy", *REPORT}),
    "evaluate.recogniser": ("none", {"scores noisy", *REPORT}),
    "evaluate.whisper": ("another/whisper", {"scores noisy", *REPORT}),
    "evaluate.systems": ({"theirs": "folder"}, REPORT),
    "evaluate.endpoint": ({"row": "log1p", "against": "noisy"}, REPORT),
    "evaluate.whisper_backend": ("transformers", {"scores noisy", *REPORT}),
    "evaluate.examples": (1, {"examples"}),
}


def settings_in(section: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Dotted name and declaration of every setting."""
    for name, info in section.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield from settings_in(info.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, info


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, corpus: Any) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    write_manifest(path, [replace(recording, clean=recording.path) for recording in read_manifest(corpus.speech)])
    return path


@pytest.fixture
def keys_with(corpus: Any, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """The keys of a run on the tiny corpus with the given settings, all others being the defaults."""

    def keys(*settings: str) -> dict[str, str]:
        data = [f"data.speech=[{corpus.speech}]", f"data.noise=[{corpus.noise}]"]
        return keys_of(Run(tmp_path / "run", load_config(None, [*data, *settings]), save=False).keys)

    return keys


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_every_setting_has_an_expectation() -> None:
    declared = {name for name, _ in settings_in(Config)}
    manifests = {f"data.{name}" for name in MANIFESTS}
    assert declared - manifests == EXPECTED.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_a_setting_changes_the_keys_of_what_it_affects_and_no_other(
    keys_with: Callable[..., dict[str, str]], pairs: Path, name: str
) -> None:
    value, expected = EXPECTED[name]
    text = str(value).replace("'", "").replace("PAIRS", str(pairs)).replace("True", "true").replace("False", "false")
    if name == "data.noise_folds.validation":
        text = "[]"
    assert changed(keys_with(), keys_with(f"{name}={text}")) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_changes_everything(
    keys_with: Callable[..., dict[str, str]], corpus: Any, pairs: Path, name: str
) -> None:
    both = [f"data.{split}_pairs=[{corpus.speech}]" for split in ("train", "validation")]
    before = keys_with(*both) if name.endswith("_pairs") else keys_with()
    settings = [*both, f"data.{name}=[{pairs}]"] if name.endswith("_pairs") else [f"data.{name}=[{pairs}]"]
    assert changed(before, keys_with(*settings)) == EVERYTHING


@pytest.mark.slow
def test_the_batch_changes_hidden_states_only_where_it_is_padded(keys_with: Callable[..., dict[str, str]]) -> None:
    padding = "enhance.encoder_padding=batch"
    alone = changed(keys_with(), keys_with("enhance.batch=3"))
    padded = changed(keys_with(padding), keys_with(padding, "enhance.batch=3"))
    assert padded - alone == {"states train"}


def test_the_same_data_elsewhere_has_the_same_keys(
    keys_with: Callable[..., dict[str, str]], corpus: Any, tmp_path: Path
) -> None:
    copy = shutil.copytree(corpus.data, tmp_path / "copy")
    shutil.copy(corpus.speech, copy / "speech.jsonl")
    text = (copy / "speech.jsonl").read_text().replace(str(corpus.data), str(copy))
    (copy / "speech.jsonl").write_text(text)
    assert changed(keys_with(), keys_with(f"data.speech=[{copy / 'speech.jsonl'}]")) == set()


@pytest.fixture
def copied(corpus: Any, tmp_path: Path) -> Path:
    """A copy of the tiny corpus that may be changed; its manifest of speech."""
    copy = shutil.copytree(corpus.data, tmp_path / "copy")
    path = copy / "speech.jsonl"
    path.write_text(corpus.speech.read_text().replace(str(corpus.data), str(copy)))
    return Path(path)


@pytest.mark.slow
def test_another_sound_under_the_same_name_changes_everything(
    keys_with: Callable[..., dict[str, str]], copied: Path
) -> None:
    setting = f"data.speech=[{copied}]"
    before = keys_with(setting)
    path = Path(read_manifest(copied)[0].path)
    state, waveform = path.stat(), audio.load(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000_000))
    assert changed(before, keys_with(setting)) == set(), "touched, but the same"
    audio.save(path, np.ascontiguousarray(waveform[::-1]), 16_000)
    assert changed(before, keys_with(setting)) == EVERYTHING


def test_another_alignment_changes_everything(keys_with: Callable[..., dict[str, str]], copied: Path) -> None:
    setting = f"data.speech=[{copied}]"
    before = keys_with(setting)
    first, *others = read_manifest(copied)
    write_manifest(copied, [replace(first, phones=(Interval(0.0, 0.1, "AA"),)), *others])
    assert changed(before, keys_with(setting)) == EVERYTHING


def test_other_weights_in_the_folder_of_an_encoder_change_what_is_made_of_it(
    keys_with: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"first")
    before = keys_with(f"representation={folder}")
    (folder / "model.safetensors").write_bytes(b"other")
    assert changed(before, keys_with(f"representation={folder}")) == NEEDS_ENCODER


def test_another_version_of_a_shipped_encoder_changes_what_is_made_of_it(
    keys_with: Callable[..., dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phonemi.weights.shipped.WEIGHTS", tmp_path / "weights")
    (tmp_path / "weights" / "mini").mkdir(parents=True)
    keys = []
    for content in ("first", "second"):
        (tmp_path / "weights" / "mini" / "model.safetensors").write_text(content)
        keys.append(keys_with("representation=mini"))
    assert changed(*keys) == NEEDS_ENCODER


def test_other_test_recordings_under_the_same_names_change_the_scores(
    keys_with: Callable[..., dict[str, str]], copied: Path
) -> None:
    write_manifest(copied, [replace(recording, clean=recording.path) for recording in read_manifest(copied)])
    setting = f"evaluate.pairs={copied}"
    before = keys_with(setting)
    audio.save(read_manifest(copied)[0].path, np.full(8000, 0.1, np.float32), 16_000)
    assert changed(before, keys_with(setting)) == {"scores noisy", *REPORT}


def test_another_path_to_the_same_test_recordings_changes_nothing(
    keys_with: Callable[..., dict[str, str]], pairs: Path, tmp_path: Path
) -> None:
    copy = shutil.copy(pairs, tmp_path / "copy.jsonl")
    assert changed(keys_with(f"evaluate.pairs={pairs}"), keys_with(f"evaluate.pairs={copy}")) == set()
    # With clean recordings other scores are computed than without.
    without_clean = keys_with(f"evaluate.recordings={pairs}")
    assert "scores noisy" in changed(keys_with(f"evaluate.pairs={pairs}"), without_clean)


def test_a_setting_that_was_added_leaves_older_results_current_while_it_has_its_default() -> None:
    assert "enhance.kept_noise_db" not in load_config().settings_that_affect("models")
    assert load_config(None, ["enhance.kept_noise_db=14"]).settings_that_affect("models")["enhance.kept_noise_db"] == 14
    first, *_ = load_config().settings_that_affect("encoder")["encoder.rounds"]
    assert "teacher" not in first
    assert "units" in first


def test_models_trained_for_a_phone_judge_depend_on_its_contents(
    keys_with: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    judge = shutil.copytree(WEIGHTS / "phone-judge", tmp_path / "judge")
    settings = f"enhance.phone_judge={judge}", "enhance.phone_weight=0.1"
    before = keys_with(*settings)
    moved = shutil.copytree(judge, tmp_path / "moved")
    assert changed(before, keys_with(f"enhance.phone_judge={moved}", "enhance.phone_weight=0.1")) == set()
    with open(judge / "model.safetensors", "ab") as weights:
        weights.write(b"1")
    assert changed(before, keys_with(*settings)) == TRAINING


def test_a_model_that_goes_on_from_another_depends_on_its_contents_and_on_no_aggregation(
    keys_with: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    start = shutil.copytree(WEIGHTS / "default", tmp_path / "start")
    moved = shutil.copytree(start, tmp_path / "moved")
    before = keys_with(f"enhance.start={start}")
    assert changed(before, keys_with(f"enhance.start={moved}")) == set()
    assert changed(before, keys_with(f"enhance.start={start}", "aggregate.steps=3")) & TRAINING <= {*SUMS, *REPORT}
    with open(start / "model.safetensors", "ab") as weights:
        weights.write(b"1")
    assert changed(before, keys_with(f"enhance.start={start}")) == TRAINING


def test_scores_depend_on_what_makes_the_signals_and_on_packages(corpus: Any, tmp_path: Path) -> None:
    keys = Run(tmp_path, load_config(None, corpus.settings), save=False).keys
    scores = [keys.scores("theirs", "v1", {}), keys.scores("theirs", "v2", {}), keys.scores("ours", "v1", {})]
    scores += [keys.scores("theirs", "v1", {"pesq": version}) for version in ("0.0.4", "missing")]
    assert len(set(scores)) == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("phonemi.metrics.words.faster_whisper.installed_version", lambda package: "99"),
        ("phonemi.metrics.words.faster_whisper.DECODING", {"beam_size": 1}),
        ("phonemi.metrics.words.whisper.find_backend", lambda model, device: "transformers"),
        ("phonemi.stages.keys.choose_device", lambda name: torch.device("cuda")),
    ],
)
def test_another_decoder_of_the_same_whisper_changes_the_scores(
    keys_with: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch, target: str, value: Any
) -> None:
    """Rows are compared pair by pair: no two of them may be judged by two decoders."""
    monkeypatch.setattr("phonemi.metrics.words.whisper.find_backend", lambda model, device: "faster-whisper")
    settings = ["evaluate.recogniser=whisper", "evaluate.whisper=base.en"]
    before, without_words = keys_with(*settings), keys_with("evaluate.recogniser=none")
    monkeypatch.setattr(target, value)
    assert changed(before, keys_with(*settings)) == {"scores noisy", *REPORT}
    assert changed(without_words, keys_with("evaluate.recogniser=none")) == set()


@pytest.mark.slow
def test_keys_need_neither_a_model_nor_a_package_of_words(
    keys_with: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("faster_whisper", "transformers", "pocketsphinx"):
        monkeypatch.setitem(sys.modules, package, None)
    for recogniser in ("auto", "whisper", "pocketsphinx", "pocketsphinx-grammar"):
        assert keys_with(f"evaluate.recogniser={recogniser}", "evaluate.whisper=no/model")


def test_files_of_a_system_from_elsewhere_are_known_by_their_contents(corpus: Any, tmp_path: Path) -> None:
    keys = Run(tmp_path / "run", load_config(None, corpus.settings), save=False).keys
    (tmp_path / "theirs").mkdir()
    versions = []
    for content in (b"one", b"two"):
        (tmp_path / "theirs" / "a.wav").write_bytes(content)
        versions.append(keys.model_version(str(tmp_path / "theirs")))
    assert versions[0] != versions[1]
    assert keys.model_version("account/model") == "account/model"


def test_every_setting_is_described() -> None:
    assert [name for name, info in settings_in(Config) if not info.description] == []
