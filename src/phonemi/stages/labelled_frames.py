"""Hidden states with the phone, speaker, utterance and SNR of every frame: what probes are trained and judged on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from phonemi.config.sections import Information
from phonemi.data.alignment import IGNORE, frame_labels, inventory
from phonemi.data.mixing import PlannedMixtures
from phonemi.data.store import AudioStore
from phonemi.errors import DataError
from phonemi.representations.base import Representation
from phonemi.signal import SAMPLE_RATE, ssl_frames
from phonemi.stages.data_splits import DataSplits, Split, draw_evenly
from phonemi.stages.hidden_states import FrameSubset, StoredStates
from phonemi.stages.keys import Keys
from phonemi.stages.run import Run
from phonemi.tables import duration_text, plural


class FrameLabels(NamedTuple):
    """What is known of every frame of a set of mixtures, one mixture after the other; arrays [frame]."""

    phones: Tensor  # int64, IGNORE where the phone is unknown
    utterances: np.ndarray  # a number for each utterance, the same at all its SNRs
    speakers: np.ndarray  # a number for each speaker
    snrs_db: np.ndarray


class LabelledFrames(NamedTuple):
    """One split of the noisy speech that probes learn from or are judged on."""

    mixtures: PlannedMixtures
    states: StoredStates
    labels: FrameLabels

    def describe(self) -> str:
        """Its size, for the person watching."""
        frames, whole = self.states.starts[-1], count_frames(self.mixtures)
        share = f" of {duration_text(whole * 0.02)}" if frames < 0.9 * whole else ""
        speakers = plural(len(np.unique(self.labels.speakers)), "speaker")
        mixtures = plural(len(self.mixtures), "mixture")
        return f"{mixtures} of {speakers} ({duration_text(frames * 0.02)}{share})"


def labelled_frames(
    run: Run, representation: Representation, name: str = "encoder", keys: Keys | None = None, dynamic: bool = False
) -> dict[Split, LabelledFrames]:
    """Encode what is not on disk yet, and label it: train, test and, where it is held out, validation.

    Args:
        run: which mixtures, how many frames of them, and how they are labelled.
        representation: whose hidden states.
        name: of the files of states.
        keys: of these; None: those of the run.
        dynamic: train on the data that only dws learns from.

    Raises:
        DataError: if a split has no recording with phones, or no phone that is known.
    """
    settings, splits = run.config.information, dict[Split, LabelledFrames]()
    for split in ("train", "validation", "test") if run.data.holds_out else ("train", "test"):
        mixtures, stored, subset = encode_split(run, representation, split, name, keys, dynamic)
        labels = label_frames(mixtures, settings, subset)
        if bool((labels.phones == IGNORE).all()):
            raise DataError(f"no frame of the {split} split has a phone that is known: expected ARPAbet")
        splits[split] = LabelledFrames(mixtures, stored, labels)
    return splits


def encode_split(
    run: Run,
    representation: Representation,
    split: Split,
    name: str = "encoder",
    keys: Keys | None = None,
    dynamic: bool = False,
) -> tuple[PlannedMixtures, StoredStates, FrameSubset | None]:
    """The mixtures of one split, their hidden states, and which frames these are of; arguments as above."""
    settings, data = run.config.information, run.data
    is_dynamic = dynamic and split == "train"
    mixtures = plan_mixtures(settings, data, split, is_dynamic)
    subset = choose_frames(settings, mixtures, data.seed, per_copy=split == "train")
    file, key = f"information.{name}.{'dynamic' if is_dynamic else split}", (keys or run.keys).frames(split, is_dynamic)
    return mixtures, run.states.states(representation, mixtures, file, key, subset), subset


def count_classes(settings: Information) -> int:
    """Phone classes that there are labels for."""
    return len(inventory(settings.stress))


def plan_mixtures(settings: Information, data: DataSplits, split: Split, dynamic: bool = False) -> PlannedMixtures:
    """The noisy utterances of a split: at `copies` drawn SNRs for training, else at every SNR."""
    recordings = data.dynamic_speech if dynamic else data.speech[split]
    labelled = [recording for recording in recordings if recording.phones is not None]
    if not labelled:
        raise DataError(
            f"no recording of the {split} split has phones: run `phonemi align` on the manifests of data.speech"
        )
    limit = {"train": settings.train_utterances, "test": settings.test_utterances}.get(split)
    return PlannedMixtures(
        AudioStore(draw_evenly(labelled, limit, data.seed)),
        data.dynamic_noise_store() if dynamic else data.noise_store(split),
        snrs_db=settings.snrs_db,
        seed=data.seed,
        per_utterance=settings.copies if split == "train" else None,
        clips=1 if split == "train" else settings.clips,
    )


def choose_frames(settings: Information, mixtures: PlannedMixtures, seed: int, per_copy: bool) -> FrameSubset | None:
    """Which frames of the mixtures are stored, at most `information.most_frames`; None: all.

    Probes are judged on the same frames at every SNR, so that H(Y) is the same; they are trained on other frames of
    each copy (`per_copy`), so that they see more of the speech.
    """
    if settings.most_frames is None or settings.most_frames >= count_frames(mixtures):
        return None
    return FrameSubset(settings.most_frames / count_frames(mixtures), per_copy, seed)


def count_frames(mixtures: PlannedMixtures) -> int:
    """About how many frames the mixtures have, from the manifest alone."""
    recordings = mixtures.speech.recordings
    frames = sum(ssl_frames(round(recording.duration_s * SAMPLE_RATE)) for recording in recordings)
    return frames * len(mixtures) // len(recordings)


def label_frames(mixtures: PlannedMixtures, settings: Information, subset: FrameSubset | None = None) -> FrameLabels:
    """Labels of the frames of all mixtures, or of a subset of them as for the states; no mixture is made."""
    parts: list[tuple[np.ndarray, int, int, float]] = []
    numbers: dict[str, int] = {}
    for index in range(len(mixtures)):
        facts = mixtures.describe(index)
        count = ssl_frames(facts.samples)
        labels = np.full(count, IGNORE)
        if facts.phones is not None:
            labels = frame_labels(facts.phones, count, settings.label_at, settings.silence, settings.stress)
        if subset is not None:
            labels = labels[subset.frames(facts.id, count)]
        utterance = numbers.setdefault(facts.utterance_id, len(numbers))
        speaker = numbers.setdefault(f"speaker {facts.speaker or facts.utterance_id}", len(numbers))
        parts.append((labels, utterance, speaker, facts.snr_db))
    counts = [len(labels) for labels, *_ in parts]
    phones, utterances, speakers, snrs_db = zip(*parts, strict=True)
    repeated = (np.repeat(np.array(values), counts) for values in (utterances, speakers, snrs_db))
    return FrameLabels(torch.from_numpy(np.concatenate(phones)), *repeated)
