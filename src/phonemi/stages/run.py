"""A configuration and a folder -> a Run: its data splits, its encoder, its results, and which of these are current."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from phonemi.config import MANIFESTS, Config, save_config
from phonemi.data.manifest import Recording, read_manifest, split_by_fold, split_by_speaker, validate, write_manifest
from phonemi.data.noise import NoiseStore
from phonemi.data.store import AudioStore
from phonemi.errors import ConfigError, DataError
from phonemi.files import content_hash, read_json, write_json
from phonemi.progress import Progress
from phonemi.systems.system import parse_all
from phonemi.training.tracking import Tracker
from phonemi.weights import shipped

if TYPE_CHECKING:
    from phonemi.representations.base import Representation


class Run:
    """One run folder. Stages get it, and nothing else.

    Args:
        folder: RUN; made if absent.
        config: what to do.
        progress: where progress is shown; a silent one by default.
        save: whether to write RUN/config.yaml and RUN/manifests; not in the processes of a stage that runs several.

    Raises:
        ConfigError: for a row that does not exist.
        DataError: for a manifest that does not exist; RUN is not made then.
    """

    def __init__(self, folder: str | Path, config: Config, progress: Progress | None = None, save: bool = True):
        self.folder = Path(folder)
        self.config = config
        self.progress = progress or Progress(enabled=False)
        self.rows = parse_all(config.enhance.rows, config.enhance.seeds)
        self._saves = save
        if save:
            save_config(config, self.folder, {"data": self._data_hash})
        self.tracker = Tracker(self.folder, config.tensorboard)

    @property
    def device(self) -> torch.device:
        """The configured device; `auto` takes CUDA where there is one.

        Raises:
            ConfigError: if there is no GPU and one is asked for.
        """
        chosen = self.config.device
        if chosen == "cuda" and not torch.cuda.is_available():
            raise ConfigError("device is 'cuda', but torch finds no GPU here: set device to auto or cpu")
        return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if chosen == "auto" else chosen)

    @property
    def processes(self) -> int:
        """How many processes may work beside this one: as many as it has threads, within reason."""
        return max(1, min(16, torch.get_num_threads()))

    # Data -------------------------------------------------------------------------------------------------------

    @cached_property
    def speech(self) -> dict[str, list[Recording]]:
        """Recordings by split: no speaker is in two of them.

        Raises:
            DataError: if a speaker of data.test_speech is in data.speech too.
        """
        data = self.config.data
        splits = split_by_speaker(
            _read_all(data.speech, "data.speech"),
            test_share=0 if data.test_speech else data.test_share,
            validation_share=data.validation_share,
            seed=self.config.seed,
            keep_in_training=data.keep_in_training,
        )
        if data.test_speech:
            splits["test"] = _read_all(data.test_speech, "data.test_speech")
            heard = {r.speaker for split in ("train", "validation") for r in splits[split]}
            twice = sorted({r.speaker for r in splits["test"] if r.speaker is not None and r.speaker in heard})
            if twice:
                raise DataError(
                    f"data.test_speech has {len(twice)} speakers of data.speech ({twice[0]}): leave them out"
                )
        return self._written("speech", splits)

    @cached_property
    def dynamic_speech(self) -> list[Recording]:
        """What dws is pre-trained on: the training split, or speech of its own."""
        if not self.config.data.dynamic_speech:
            return self.speech["train"]
        return self._not_held_out(self.config.data.dynamic_speech, "data.dynamic_speech")

    @cached_property
    def noise(self) -> dict[str, list[Recording]]:
        """Noise recordings by split: no fold is in two of them."""
        data = self.config.data
        folds = data.noise_folds
        splits = split_by_fold(_read_all(data.noise, "data.noise"), folds.train, folds.validation, folds.test)
        return self._written("noise", splits)

    @cached_property
    def encoder_speech(self) -> list[Recording]:
        """What the encoder is trained on: the training split and the speech that is for it only."""
        return self.speech["train"] + self._more(self.config.data.encoder_speech, "data.encoder_speech")

    @cached_property
    def enhancer_speech(self) -> list[Recording]:
        """Clean speech that the enhancers are trained on: the training split and the speech that is for them only."""
        return self.speech["train"] + self._more(self.config.data.enhancer_speech, "data.enhancer_speech")

    def _more(self, paths: tuple[str, ...], key: str) -> list[Recording]:
        """Training speech beside the splits.

        The manifests may name recordings of the splits again, under the same id or another: those are left out.
        """
        known = {name for split in self.speech.values() for r in split for name in (r.id, r.path)}
        return [r for r in self._not_held_out(paths, key) if not known & {r.id, r.path}] if paths else []

    def _not_held_out(self, paths: tuple[str, ...], key: str) -> list[Recording]:
        """The recordings of manifests, without those of speakers who are held out, or that are held out themselves."""
        held_out = [r for split in ("validation", "test") for r in self.speech[split]]
        speakers = {r.speaker for r in held_out} - {None}
        known = {name for r in held_out for name in (r.id, r.path)}
        return [r for r in _read_all(paths, key) if r.speaker not in speakers and not known & {r.id, r.path}]

    @property
    def holds_out(self) -> bool:
        """Whether speakers and noises are held out for validation; the paper's analysis holds out none."""
        return bool(self.config.data.validation_share and self.config.data.noise_folds.validation)

    def noise_store(self, split: str) -> NoiseStore:
        """Decoded noise of a split, with babble of its own speakers, shared by everything that mixes with it."""
        stores: dict[str, NoiseStore] = self.__dict__.setdefault("_noise_stores", {})
        if split not in stores:
            share = self.config.data.babble_share
            babble = AudioStore(self.speech[split]) if share else None
            stores[split] = NoiseStore(AudioStore(self.noise[split]), babble, share)
        return stores[split]

    def dynamic_noise_store(self) -> NoiseStore:
        """Decoded noise that dws is pre-trained in: that of the training split, or noise of its own."""
        data = self.config.data
        if not data.dynamic_noise:
            return self.noise_store("train")
        babble = AudioStore(self.dynamic_speech) if data.babble_share else None
        return NoiseStore(AudioStore(_read_all(data.dynamic_noise, "data.dynamic_noise")), babble, data.babble_share)

    def pairs(self, split: str) -> list[Recording]:
        """Noisy recordings with clean ones that the enhancers are trained or validated on; none: they get mixtures."""
        paths = getattr(self.config.data, f"{split}_pairs")
        return _read_all(paths, f"data.{split}_pairs") if paths else []

    # Models -----------------------------------------------------------------------------------------------------

    @property
    def encoder_folder(self) -> Path:
        """Where `pretrain` leaves the encoder of this run."""
        return self.folder / "encoder" / "model"

    @cached_property
    def representation(self) -> Representation:
        """The frozen encoder of this run, on its device.

        Raises:
            DataError: if `pretrain` has not made it with this configuration.
            ModelError: if another one cannot be loaded.
            ConfigError: if it does not take the waveform as normalise_waveform wants it.
        """
        from phonemi.representations.huggingface import HuggingFaceRepresentation
        from phonemi.representations.names import load_representation

        name = self.config.representation
        if name == "encoder":
            self.read("encoder/result.json", self.encoder_key, "the encoder", "pretrain")
            name = str(self.encoder_folder)
        encoder = load_representation(name).to(self.device).eval()
        if (normalise := self.config.normalise_waveform) is not None:
            if not isinstance(encoder, HuggingFaceRepresentation):
                raise ConfigError(f"normalise_waveform is for encoders of transformers, not {name!r}: set it to null")
            encoder.normalise = normalise
        return encoder

    @property
    def representation_name(self) -> str:
        """Short name for tables and figures; "encoder" is the run's own."""
        return Path(self.config.representation).name

    # Results ----------------------------------------------------------------------------------------------------

    def key(self, *parts: Any) -> str:
        """Hash of what a result depends on: the data, the seed, and the given parts of the configuration."""
        plain = [part.for_key() if hasattr(part, "for_key") else part for part in parts]
        return content_hash(self._data_hash, self.config.seed, *plain)

    @property
    def encoder_key(self) -> str:
        """Hash of what the encoder depends on: how it is trained, or which version of a shipped one it is."""
        name, normalise = self.config.representation, self.config.normalise_waveform
        made_from = self.config.encoder if name == "encoder" else shipped.version_of(name)
        return self.key(name, made_from, *([] if normalise is None else [f"normalise {normalise}"]))

    def is_done(self, name: str, key: str) -> bool:
        """Whether RUN/name (a JSON object) holds the result of this very configuration."""
        path = self.folder / name
        if not path.exists():
            return False
        found = read_json(path)
        return isinstance(found, dict) and found.get("key") == key

    def read(self, name: str, key: str, needed_by: str, made_by: str) -> Any:
        """A result of an earlier stage.

        Raises:
            DataError: if it is not there, or not of this very configuration, naming the command to run first.
        """
        path, command = self.folder / name, f"phonemi {made_by} --run {self.folder}"
        if not path.exists():
            raise DataError(f"{needed_by} needs {path}, which is not there: run `{command}` first")
        if not self.is_done(name, key):
            raise DataError(f"{needed_by} needs {path}, which is of another configuration or data: run `{command}`")
        return read_json(path)

    def write(self, name: str, value: Any) -> None:
        """Write a result atomically."""
        write_json(self.folder / name, value)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent to RUN/timings.json, also when interrupted, so that sums over resumed runs are honest."""
        start = time.perf_counter()
        try:
            yield
        finally:
            path = self.folder / "timings.json"
            stages = {row["stage"]: row["seconds"] for row in read_json(path)["stages"]} if path.exists() else {}
            stages[stage] = round(stages.get(stage, 0.0) + time.perf_counter() - start, 1)
            write_json(path, {"stages": [{"stage": name, "seconds": s} for name, s in stages.items()]})

    def say(self, text: str) -> None:
        """One line for the person watching."""
        self.progress.say(text)

    @cached_property
    def _data_hash(self) -> str:
        data = self.config.data
        texts = []
        for path in data.manifests:
            if not Path(path).is_file():
                raise DataError(f"manifest {path} does not exist: make it with `phonemi prepare`")
            try:
                texts.append(Path(path).read_text(encoding="utf-8"))
            except UnicodeDecodeError as error:
                raise DataError(f"{path} is not a manifest ({error})") from None
        used = {key: len(getattr(data, key)) for key in MANIFESTS if getattr(data, key)}
        return content_hash(data.model_dump(mode="json", exclude=set(MANIFESTS)), used, texts)

    def _written(self, kind: str, splits: dict[str, list[Recording]]) -> dict[str, list[Recording]]:
        for split, recordings in splits.items() if self._saves else ():
            write_manifest(self.folder / "manifests" / f"{kind}.{split}.jsonl", recordings)
        return splits


def _read_all(paths: tuple[str, ...], key: str) -> list[Recording]:
    if not paths:
        raise DataError(f"{key} names no manifest: make one with `phonemi prepare`, then --set {key}=[FILE]")
    recordings = [recording for path in paths for recording in read_manifest(path)]
    try:
        validate(recordings)
    except DataError as error:
        raise DataError(f"{key} ({', '.join(paths)}): {error}") from None
    return recordings
