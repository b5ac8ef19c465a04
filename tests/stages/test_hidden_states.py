from __future__ import annotations

import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from phonemi.aggregations import WeightedSum
from phonemi.config import load_config
from phonemi.data.alignment import IGNORE, frame_labels
from phonemi.data.mixing import Mixture, PlannedMixtures
from phonemi.data.store import AudioStore
from phonemi.errors import DataError
from phonemi.files import write_json
from phonemi.representations.base import HiddenStates
from phonemi.representations.log1p import Log1p
from phonemi.representations.mel_transformer import MelTransformer, MelTransformerConfig
from phonemi.signal import ssl_frames
from phonemi.stages import hidden_states
from phonemi.stages.hidden_states import FrameSubset
from phonemi.stages.labelled_frames import LabelledFrames, count_frames, label_frames, labelled_frames, plan_mixtures
from phonemi.stages.run import Run


class Counting(MelTransformer):
    """A small encoder that counts what it encodes."""

    def __init__(self) -> None:
        super().__init__(MelTransformerConfig(mels=20, dim=16, blocks=2, heads=2, feedforward=32, position_kernel=5))
        self.encoded = 0

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> HiddenStates:
        self.encoded += len(waveforms)
        return super().forward(waveforms, lengths)


@pytest.fixture
def run(corpus: Any, tmp_path: Path) -> Run:
    return Run(tmp_path, load_config(None, corpus.settings), save=False)


@pytest.fixture
def encoder() -> Counting:
    torch.manual_seed(0)
    return Counting().eval()


def test_states_are_computed_once(run: Run, encoder: Counting) -> None:
    mixtures = plan_mixtures(run.config.information, run.data, "test")
    first = run.states.states(encoder, mixtures, "test", "key")
    assert encoder.encoded == len(mixtures) == 8
    again = run.states.states(encoder, mixtures, "test", "key")
    assert encoder.encoded == len(mixtures)
    assert torch.equal(first.values, again.values)
    assert first.starts == again.starts
    assert {path.name for path in (run.folder / "cache").glob("test*")} == {"test.bin", "test.json"}


def test_states_are_those_of_each_mixture_alone(run: Run, encoder: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden_states, "MAX_ENCODED_S", 3.5)  # batches of two or three, and a shorter last one
    mixtures = plan_mixtures(run.config.information, run.data, "test")
    found = run.states.states(encoder, mixtures, "test", "key")
    for index in range(len(mixtures)):
        alone = encoder(torch.from_numpy(mixtures[index].noisy)[None]).states[:, 0].permute(1, 0, 2)
        item = found.values[found.starts[index] : found.starts[index + 1]].float()
        assert len(item) == ssl_frames(len(mixtures[index].noisy))
        torch.testing.assert_close(item, alone, atol=4e-3, rtol=4e-3)  # half precision


@pytest.mark.parametrize("damage", ["another key", "cut short", "no index", "no states", "another encoder"])
def test_states_that_cannot_be_trusted_are_made_again(run: Run, encoder: Counting, damage: str) -> None:
    mixtures = plan_mixtures(run.config.information, run.data, "validation")
    whole = run.states.states(encoder, mixtures, "validation", "key").values.clone()
    path, index = run.folder / "cache" / "validation.bin", run.folder / "cache" / "validation.json"
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:-2])
    elif damage == "no index":
        index.unlink()
    elif damage == "no states":
        path.unlink()
    elif damage == "another encoder":
        encoder.name = "another"
    again = run.states.states(encoder, mixtures, "validation", "other" if damage == "another key" else "key")
    assert encoder.encoded == 2 * len(mixtures)
    assert torch.equal(again.values, whole)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight mixtures are encoded in three parts."""
    monkeypatch.setattr(hidden_states, "PART_MIXTURES", 3)


def test_parts_are_the_whole(run: Run, encoder: Counting, parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    mixtures = plan_mixtures(run.config.information, run.data, "test")
    joined = run.states.states(encoder, mixtures, "test", "key")
    assert encoder.encoded == len(mixtures) == 8
    assert {path.name for path in (run.folder / "cache").glob("test*")} == {"test.bin", "test.json"}
    monkeypatch.undo()
    whole = run.states.states(encoder, mixtures, "whole", "key")
    assert joined.starts == whole.starts
    torch.testing.assert_close(joined.values, whole.values, atol=4e-3, rtol=4e-3)
    assert run.states.states(encoder, mixtures, "test", "key").starts == joined.starts
    assert encoder.encoded == 16


@pytest.mark.parametrize("stage", ["a part", "the joining", "the last move"])
def test_who_is_killed_loses_one_part(
    run: Run, encoder: Counting, parts: None, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixtures = plan_mixtures(run.config.information, run.data, "test")
    expected = run.states.states(encoder, mixtures, "whole", "key")

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    encoder.encoded = 0
    with monkeypatch.context() as patch:
        if stage == "a part":
            calls = iter([encoder.forward, kill])  # in the second part
            patch.setattr(encoder, "forward", lambda *arguments: next(calls)(*arguments))
        elif stage == "the joining":
            patch.setattr(hidden_states.shutil, "copyfileobj", kill)
        else:
            patch.setattr(hidden_states.shutil, "rmtree", kill)
        with pytest.raises(Killed):
            run.states.states(encoder, mixtures, "test", "key")
    before = encoder.encoded
    again = run.states.states(encoder, mixtures, "test", "key")
    assert torch.equal(again.values, expected.values)
    assert again.starts == expected.starts
    assert encoder.encoded - before == (len(mixtures) - 3 if stage == "a part" else 0)


def test_parts_of_another_key_count_for_nothing(run: Run, encoder: Counting, parts: None) -> None:
    mixtures = plan_mixtures(run.config.information, run.data, "test")
    expected = run.states.states(encoder, mixtures, "whole", "key")
    stale = hidden_states.StateFiles(run.folder / "cache", "test", "another", parts=3)
    for number in range(3):
        path = stale.part(number)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(2 * 3 * 16))
        write_json(path.with_suffix(".json"), {"key": "another", "starts": [0, 1], "layers": 3, "dim": 16})
        assert stale.has_part(number)
    stale.part(0).rename(stale.part(0).with_name("joined.bin"))
    write_json(
        stale.part(0).with_name("joined.json"), {"key": "another", "starts": [0, 1], "layers": 3, "dim": 16, "parts": 1}
    )
    assert torch.equal(run.states.states(encoder, mixtures, "test", "key").values, expected.values)


ENCODE = """
import sys
from pathlib import Path
import torch
from phonemi.config import load_config
from phonemi.progress import Progress
from phonemi.representations.names import load_representation
from phonemi.stages import hidden_states
from phonemi.stages.labelled_frames import plan_mixtures
from phonemi.stages.run import Run
hidden_states.PART_MIXTURES = 1
run = Run(sys.argv[1], load_config(None, sys.argv[2:]), Progress(), save=False)
encoded = 0
encode = hidden_states.StateCache._encode
def count(*arguments):
    global encoded
    encoded += 1
    return encode(*arguments)
hidden_states.StateCache._encode = count
mixtures = plan_mixtures(run.config.information, run.data, "test")
print("ready", flush=True)
sys.stdin.readline()
states = run.states.states(load_representation("mini"), mixtures, "test", "key")
print(encoded, float(states.values.double().sum()))
"""


@pytest.mark.slow
def test_two_processes_share_the_encoding(corpus: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENCODE, str(tmp_path), *corpus.settings]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    counts, sums = zip(*(process.communicate()[0].split() for process in both), strict=True)
    assert sum(map(int, counts)) == 8, "each mixture once"
    assert min(map(int, counts)) > 0
    assert sums[0] == sums[1]


def test_nothing_is_left_of_states_that_could_not_be_finished(run: Run, encoder: Counting) -> None:
    class Broken(list):
        def __getitem__(self, index: int) -> Mixture:  # type: ignore[override]
            if index:
                raise DataError("no such noise")
            return plan_mixtures(run.config.information, run.data, "validation")[0]

    with pytest.raises(DataError, match="no such noise"):
        run.states.states(encoder, Broken([0, 0]), "validation", "key")
    assert list((run.folder / "cache").glob("validation*")) == []


def test_audio_shorter_than_a_frame_is_named(run: Run, encoder: Counting) -> None:
    short = Mixture("tiny", np.ones(399, np.float32), np.ones(399, np.float32), 0.0, None, None, "noise")
    with pytest.raises(DataError, match="tiny has 399 samples: the encoder needs at least 400"):
        run.states.states(encoder, [short], "short", "key")


def test_log1p_comes_to_the_same_grid(run: Run) -> None:
    mixtures = plan_mixtures(run.config.information, run.data, "validation")
    found = run.states.states(Log1p(), mixtures, "log1p", "key")
    assert found.values.shape == (sum(ssl_frames(len(mixtures[i].noisy)) for i in range(len(mixtures))), 1, 257)


def test_labels_are_in_the_order_of_the_states(run: Run, encoder: Counting) -> None:
    mixtures = plan_mixtures(run.config.information, run.data, "test")
    starts = run.states.states(encoder, mixtures, "test", "key").starts
    labels = label_frames(mixtures, run.config.information)
    assert len(labels.phones) == starts[-1]
    for index in range(len(mixtures)):
        mixture, part = mixtures[index], slice(starts[index], starts[index + 1])
        phones = next(r.phones for r in mixtures.speech.recordings if mixture.id.startswith(f"{r.id}@"))
        assert labels.phones[part].tolist() == frame_labels(phones or (), starts[index + 1] - starts[index]).tolist()
        assert set(labels.snrs_db[part]) == {mixture.snr_db}
    # Four utterances of two speakers, each at two SNRs.
    assert len(set(labels.utterances)) == 4
    assert len(set(labels.speakers)) == 2
    assert not set(labels.utterances) & set(labels.speakers)


def test_frames_without_phones_are_ignored(run: Run) -> None:
    speech = AudioStore([replace(run.data.speech["test"][0], phones=None)])
    mixtures = PlannedMixtures(speech, run.data.noise_store("test"), snrs_db=[0.0], seed=0)
    assert set(label_frames(mixtures, run.config.information).phones.tolist()) == {IGNORE}


def test_fused_features_are_the_aggregation_of_all_frames(run: Run, encoder: Counting) -> None:
    found = run.states.states(encoder, plan_mixtures(run.config.information, run.data, "test"), "test", "key")
    fused = found.aggregated(WeightedSum(3), frames_at_once=50)
    torch.testing.assert_close(fused.float(), found.values.float().mean(1), atol=2e-3, rtol=2e-3)


def test_a_share_of_the_frames_is_the_same_at_every_snr_and_has_its_labels(run: Run, encoder: Counting) -> None:
    mixtures = plan_mixtures(run.config.information, run.data, "test")
    whole = run.states.states(encoder, mixtures, "whole", "key")
    quarter = FrameSubset(0.25, per_copy=False, seed=run.config.seed)
    part = run.states.states(encoder, mixtures, "part", "key", quarter)
    every, some = (
        label_frames(mixtures, run.config.information),
        label_frames(mixtures, run.config.information, quarter),
    )
    by_utterance: dict[str, list[list[int]]] = {}
    for index in range(len(mixtures)):
        frames = whole.starts[index + 1] - whole.starts[index]
        kept = quarter.frames(mixtures[index].id, frames)
        assert len(set(kept.tolist())) == len(kept) == round(0.25 * frames)
        place, own = whole.starts[index] + kept, slice(part.starts[index], part.starts[index + 1])
        assert torch.equal(part.values[own], whole.values[torch.from_numpy(place)])
        assert torch.equal(some.phones[own], every.phones[torch.from_numpy(place)])
        assert (some.snrs_db[own] == mixtures[index].snr_db).all()
        by_utterance.setdefault(mixtures[index].id.rsplit("@", 1)[0], []).append(kept.tolist())
    assert all(first == other for first, *others in by_utterance.values() for other in others)
    of_copies = FrameSubset(0.25, per_copy=True, seed=run.config.seed)
    assert of_copies.frames(mixtures[0].id, 400).tolist() != of_copies.frames(mixtures[1].id, 400).tolist()
    assert part.starts[-1] == len(some.phones) == len(some.utterances)


def test_most_frames_bound_what_is_stored(finished: Any, tmp_path: Path) -> None:
    settings = load_config(finished.folder / "config.yaml")

    def log1p_frames(run: Run) -> dict[str, LabelledFrames]:
        return labelled_frames(run, Log1p(), "log1p")

    whole = log1p_frames(Run(tmp_path, settings, save=False))
    for frames in whole.values():  # these are too few to be cut
        assert count_frames(frames.mixtures) == pytest.approx(frames.states.starts[-1], rel=0.02)
        assert "of" not in frames.describe().partition("(")[2].partition(")")[0]
    settings = settings.model_copy(update={"information": settings.information.model_copy(update={"most_frames": 50})})
    for frames in log1p_frames(Run(tmp_path, settings, save=False)).values():
        assert frames.states.starts[-1] == pytest.approx(50, abs=len(frames.mixtures))
        assert len(frames.labels.phones) == frames.states.starts[-1]
        assert re.search(r"\(1\.\d s of \d\.\d s\)", frames.describe())


def test_labels_need_no_sound(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    mixtures = plan_mixtures(run.config.information, run.data, "test")
    expected = label_frames(mixtures, run.config.information)
    unheard = plan_mixtures(run.config.information, run.data, "test")
    monkeypatch.setattr("phonemi.audio.load", None)
    labels = label_frames(unheard, run.config.information)
    assert torch.equal(labels.phones, expected.phones)
    assert (labels.snrs_db == expected.snrs_db).all()


def test_what_a_killed_process_left_of_a_file_is_removed(tmp_path: Path, run: Run) -> None:
    code = (
        "import os, signal, sys\n"
        "from phonemi.files import replacing\n"
        "with replacing(sys.argv[1]) as temporary:\n"
        "    temporary.write_bytes(bytes(1000))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for name in ("states.bin", "states.json"):
        killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "cache" / name)], check=False)
        assert killed.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "cache").iterdir())) == 2
    cache = hidden_states.StateCache(tmp_path / "cache")
    cache.states(Log1p(), plan_mixtures(run.config.information, run.data, "test"), "states", "key")
    left = {path.name for path in (tmp_path / "cache").iterdir()}
    assert left == {"states.bin", "states.json", "headers.json"} | left & {"fingerprints.json"}
