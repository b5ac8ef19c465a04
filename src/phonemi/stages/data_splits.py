"""The speech and noise of a run by split: no speaker and no fold of the noise is in two splits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from phonemi.config.sections import MANIFESTS, Data
from phonemi.data.fingerprints import fingerprint
from phonemi.data.manifest import (
    Recording,
    read_manifest,
    speaker_of,
    split_by_fold,
    split_by_speaker,
    validate,
    write_manifest,
)
from phonemi.data.mixing import generator
from phonemi.data.store import AudioStore, NoiseStore
from phonemi.errors import DataError
from phonemi.files import content_hash, read_jsonl
from phonemi.tables import plural

TEST_SPEECH = "test_speech without keep_in_training"

Split = str
"""train, validation or test."""


class DataSplits:
    """What the manifests of a configuration name, divided into splits. Whatever is wrong with them is a DataError.

    Args:
        settings: the section `data`.
        seed: decides who is held out.
        cache: folder in which contents of sound files are remembered by size and time, so that files are hashed once.
        manifests: folder that the splits are written to as manifests, when they are first asked for; None: nowhere.
        encoder_speakers: who trained the encoder from elsewhere that is used; none of them is held out.
    """

    def __init__(
        self,
        settings: Data,
        seed: int,
        cache: Path,
        manifests: Path | None = None,
        encoder_speakers: Iterable[str] = (),
    ) -> None:
        self.settings, self.seed, self.encoder_speakers = settings, seed, frozenset(encoder_speakers)
        self._cache, self._manifests = cache, manifests
        self._noise_stores: dict[Split, NoiseStore] = {}
        self._recordings: dict[str, list[Recording]] = {}  # by manifest
        for path in settings.manifests:
            if not Path(path).is_file():
                raise DataError(f"manifest {path} does not exist: make it with `phonemi prepare`")
            self._recordings[path] = read_manifest(path)

    @cached_property
    def version(self) -> str:
        """Hash of all that results depend on here: what is held out, and the contents of manifests and sound files."""
        settings = self.settings.settings_that_affect("data")
        for name in MANIFESTS:
            paths = settings.pop(name)
            if paths:
                self._read(name)  # for a message that says all that is wrong
                settings[name] = [manifest_version(path, self._cache) for path in paths]
        # Before version 0.2 those who are kept in training were judged in test_speech.
        judged = [TEST_SPEECH] if settings["keep_in_training"] and self.settings.test_speech else []
        return content_hash(settings, self.seed, *judged, *self._kept_in_training())

    def _kept_in_training(self) -> list[list[str]]:
        """Who trained the encoder, if that keeps any speaker in training: if not, nothing depends on it."""
        if not (self.encoder_speakers and self.settings.speech):
            return []
        splits = self._split(frozenset())
        held_out = {recording.speaker for split in ("validation", "test") for recording in splits[split]} - {None}
        return [sorted(self.encoder_speakers)] if held_out & self.encoder_speakers else []

    @cached_property
    def speech(self) -> dict[Split, list[Recording]]:
        """Recordings by split."""
        return self._written("speech", self._split(self.encoder_speakers))

    def _split(self, encoder_speakers: frozenset[str]) -> dict[Split, list[Recording]]:
        """Recordings by split, of which validation and test have none of these speakers."""
        settings, recordings = self.settings, self._read("speech")
        try:
            splits = split_by_speaker(
                recordings,
                test_share=0 if settings.test_speech else settings.test_share,
                validation_share=settings.validation_share,
                seed=self.seed,
                keep_in_training={*settings.keep_in_training, *encoder_speakers},
            )
        except DataError as error:
            trained = len({recording.speaker for recording in recordings} & encoder_speakers)
            raise DataError(
                f"{error} (the encoder was trained on {trained} of them)" if trained else str(error)
            ) from None
        if settings.test_speech:
            test = self._read("test_speech")
            heard = encoder_speakers | set(settings.keep_in_training)
            splits["test"] = [recording for recording in test if recording.speaker not in heard]
            if test and not splits["test"]:
                trained = {recording.speaker for recording in test} <= encoder_speakers
                reason = "the encoder was trained on" if trained else "data.keep_in_training names"
                raise DataError(f"{reason} every speaker of data.test_speech: name others")
            others = {r.speaker for split in ("train", "validation") for r in splits[split]}
            if in_both := sorted({r.speaker for r in splits["test"] if r.speaker is not None} & others):
                raise DataError(
                    f"data.test_speech shares {plural(len(in_both), 'speaker')} with data.speech ({in_both[0]}): "
                    "leave them out"
                )
        return splits

    @cached_property
    def noise(self) -> dict[Split, list[Recording]]:
        """Noise recordings by split."""
        folds = self.settings.noise_folds
        return self._written("noise", split_by_fold(self._read("noise"), folds.train, folds.validation, folds.test))

    @property
    def holds_out(self) -> bool:
        """Whether speakers and noises are held out for validation; the analysis of the paper holds out none."""
        return bool(self.settings.validation_share and self.settings.noise_folds.validation)

    @cached_property
    def encoder_speech(self) -> list[Recording]:
        """What the encoder is trained on: the training split and the speech that is for it only."""
        return self.speech["train"] + self._more_speech("encoder_speech")

    @cached_property
    def enhancer_speech(self) -> list[Recording]:
        """Clean speech that enhancers are trained on: the training split and the speech that is for them only."""
        return self.speech["train"] + self._more_speech("enhancer_speech")

    @cached_property
    def dynamic_speech(self) -> list[Recording]:
        """What dws is pre-trained on: the training split, or speech of its own."""
        return self._not_held_out("dynamic_speech") if self.settings.dynamic_speech else self.speech["train"]

    @property
    def has_dynamic_data(self) -> bool:
        """Whether dws is pre-trained on speech or noise of its own."""
        return bool(self.settings.dynamic_speech or self.settings.dynamic_noise)

    def noise_store(self, split: Split) -> NoiseStore:
        """Decoded noise of a split, with babble of its own speakers; one for all who mix with it."""
        if split not in self._noise_stores:
            self._noise_stores[split] = self._store(self.noise[split], self.speech[split])
        return self._noise_stores[split]

    def dynamic_noise_store(self) -> NoiseStore:
        """Decoded noise that dws is pre-trained in: that of the training split, or noise of its own."""
        if not self.settings.dynamic_noise:
            return self.noise_store("train")
        return self._store(self._read("dynamic_noise"), self.dynamic_speech)

    def pairs(self, split: Split) -> list[Recording]:
        """Noisy recordings with clean ones that enhancers are trained or validated on; none: they get mixtures."""
        share = self.settings.validation_pairs_share
        if share and split in ("train", "validation"):
            pairs = self._read("train_pairs")
            order = generator(self.seed, "validation pairs").permutation(len(pairs))
            drawn = set(order[: max(1, round(share * len(pairs)))].tolist())
            return [pair for index, pair in enumerate(pairs) if (index in drawn) == (split == "validation")]
        return self._read(f"{split}_pairs") if getattr(self.settings, f"{split}_pairs", ()) else []

    def _store(self, noise: list[Recording], speech: list[Recording]) -> NoiseStore:
        share = self.settings.babble_share
        return NoiseStore(AudioStore(noise), AudioStore(speech) if share else None, share)

    def _more_speech(self, setting: str) -> list[Recording]:
        """Training speech beside the splits, without recordings that are in them, under the same id or another."""
        if not getattr(self.settings, setting):
            return []
        used = {name for split in self.speech.values() for r in split for name in (r.id, r.path)}
        return [r for r in self._not_held_out(setting) if not used & {r.id, r.path}]

    def _not_held_out(self, setting: str) -> list[Recording]:
        """Recordings of manifests, without held-out ones and without those of held-out speakers."""
        held_out = [r for split in ("validation", "test") for r in self.speech[split]]
        speakers = {r.speaker for r in held_out} - {None}
        names = {name for r in held_out for name in (r.id, r.path)}
        return [r for r in self._read(setting) if r.speaker not in speakers and not names & {r.id, r.path}]

    def _read(self, setting: str) -> list[Recording]:
        """All recordings of the manifests that a setting names."""
        key, paths = f"data.{setting}", getattr(self.settings, setting)
        if not paths:
            raise DataError(f"{key} names no manifest: make one with `phonemi prepare`, then --set {key}=[FILE]")
        recordings = [recording for path in paths for recording in self._recordings[path]]
        try:
            validate(recordings, cache=self._cache)
        except DataError as error:
            raise DataError(f"{key} ({', '.join(paths)}): {error}") from None
        return recordings

    def _written(self, kind: str, splits: dict[Split, list[Recording]]) -> dict[Split, list[Recording]]:
        if self._manifests is not None:
            for split, recordings in splits.items():
                write_manifest(self._manifests / f"{kind}.{split}.jsonl", recordings)
        return splits


def manifest_version(path: str | Path, cache: Path) -> str:
    """Hash of what a manifest says and of the contents of its sound files, wherever these are."""
    rows = [
        {key: value for key, value in row.items() if key not in ("path", "clean", "tracks")} for row in read_jsonl(path)
    ]
    return content_hash(rows, fingerprint(read_manifest(path), cache))


def draw_evenly(recordings: Sequence[Recording], limit: int | None, seed: int) -> list[Recording]:
    """At most `limit` recordings, one of each speaker before a second of any, in the order of the manifest."""
    if limit is None or limit >= len(recordings):
        return list(recordings)
    by_speaker: dict[str, list[int]] = {}
    for index in generator(seed, "evenly").permutation(len(recordings)):
        by_speaker.setdefault(speaker_of(recordings[index]), []).append(int(index))
    turns = sorted((turn, index) for indices in by_speaker.values() for turn, index in enumerate(indices))
    return [recordings[index] for index in sorted(index for _, index in turns[:limit])]
