"""Which file of a folder belongs to a noisy recording: the one at the recording's own path, never another by chance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonemi import audio
from phonemi.config import load_config
from phonemi.data.corpora.folder import prepare_folder
from phonemi.data.manifest import write_manifest
from phonemi.errors import DataError
from phonemi.stages.run import Run
from phonemi.stages.test_sets import check_systems_from_elsewhere, find_signal, find_test_set, mix_test_speech

SAMPLES = 1600
Files = Callable[..., dict[str, float]]


@pytest.fixture
def level_of(tmp_path: Path) -> Files:
    """Write noisy and enhanced files, each enhanced one a constant; gives the constant that each recording gets."""

    def write(folder: str, names: dict[str, float]) -> None:
        for name, value in names.items():
            audio.save(tmp_path / folder / name, np.full(SAMPLES, value, np.float32), 16_000)

    def call(noisy: list[str], enhanced: dict[str, float], *changes: str) -> dict[str, float]:
        write("noisy", dict.fromkeys(noisy, 0.1))
        write("theirs", enhanced)
        write_manifest(tmp_path / "noisy.jsonl", prepare_folder(tmp_path / "noisy").recordings)
        settings = [
            f"evaluate.recordings={tmp_path / 'noisy.jsonl'}",
            f"evaluate.systems={{theirs: '{tmp_path / 'theirs'}'}}",
            "enhance.rows=[]",
        ]
        run = Run(tmp_path / "run", load_config(None, [*settings, *changes]), save=False)
        test_set = find_test_set(run.config.evaluate, run.data)
        check_systems_from_elsewhere(run, test_set)
        signal = find_signal(run, "theirs")
        return {test_set[i].id: round(float(signal(test_set[i])[0]), 2) for i in range(len(test_set))}

    return call


def test_an_older_file_of_the_same_name_further_down_does_not_win(level_of: Files) -> None:
    assert level_of(["u0.wav"], {"u0.wav": 0.5, "zold/u0.wav": 0.9, "aold/u0.flac": 0.9}) == {"u0": 0.5}


def test_results_lie_in_the_tree_of_the_recordings(level_of: Files) -> None:
    results = {"a/001.wav": 0.3, "b/001.flac": 0.4, "old/b/001.wav": 0.9, "001.wav": 0.9}
    assert level_of(["a/001.wav", "b/001.wav"], results) == {"a__001": 0.3, "b__001": 0.4}


def test_of_two_files_at_the_path_of_a_recording_the_one_of_its_extension_counts(level_of: Files) -> None:
    assert level_of(["u0.wav"], {"u0.flac": 0.9, "u0.wav": 0.5, "u0.ogg": 0.9}) == {"u0": 0.5}


def test_a_part_of_a_tree_finds_its_files_in_the_results_of_the_whole_tree(level_of: Files) -> None:
    assert level_of(["a/001.wav"], {"a/001.wav": 0.3, "b/001.wav": 0.9}) == {"001": 0.3}


def test_the_root_of_a_tree_is_that_of_all_recordings_not_of_those_drawn(level_of: Files) -> None:
    names = {"001.wav": 0.3, "a/001.wav": 0.4, "a/002.wav": 0.5}
    for seed in range(4):
        drawn = level_of(list(names), names, "evaluate.utterances=1", f"seed={seed}")
        assert drawn.items() <= {"001": 0.3, "a__001": 0.4, "002": 0.5}.items()


def test_a_flat_folder_is_read_by_ids(level_of: Files) -> None:
    results = {"a__001.wav": 0.3, "b__001.wav": 0.4, "002.flac": 0.5}
    assert level_of(["a/001.wav", "b/001.wav", "b/002.wav"], results) == {"a__001": 0.3, "b__001": 0.4, "002": 0.5}


def test_several_files_elsewhere_are_named(level_of: Files) -> None:
    with pytest.raises(DataError, match=r"several files for u0: x/u0\.wav, y/u0\.wav: keep one of them"):
        level_of(["u0.wav"], {"x/u0.wav": 0.5, "y/u0.wav": 0.9})


def test_results_of_a_tree_and_of_its_part_are_told_apart_by_nothing(level_of: Files) -> None:
    with pytest.raises(DataError, match=r"several files for 001: 001\.wav, a/001\.wav"):
        level_of(["a/001.wav"], {"001.wav": 0.5, "a/001.wav": 0.9})


def test_the_result_of_one_recording_is_not_taken_for_that_of_another(level_of: Files) -> None:
    with pytest.raises(DataError, match=r"no file named u0\.mp3"):
        level_of(["u0.wav", "u0.mp3"], {"u0.wav": 0.5})


def test_on_validation_others_are_judged_in_other_noise(corpus: Any, tmp_path: Path) -> None:
    judged = {}
    for split in ("test", "validation"):
        run = Run(tmp_path, load_config(None, [*corpus.settings, f"evaluate.split={split}"]), save=False)
        test_set = mix_test_speech(run.config.evaluate, run.data)
        assert {mixture.speaker for mixture in test_set} == {one.speaker for one in run.data.speech[split]}
        assert test_set.noise is run.data.noise_store(split)
        judged[split] = {mixture.speaker for mixture in test_set}
    assert judged["test"]
    assert judged["validation"]
    assert not judged["test"] & judged["validation"]
    alone = load_config(None, [*corpus.settings, "data.validation_share=0", "evaluate.split=validation"])
    run = Run(tmp_path, alone, save=False)
    with pytest.raises(DataError, match="the validation split has no recording"):
        mix_test_speech(run.config.evaluate, run.data)
