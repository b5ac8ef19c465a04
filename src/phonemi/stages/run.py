"""A configuration and a folder -> a Run: its data splits, its encoder, its results, and which of these are current."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from phonemi.config import Config, save_config
from phonemi.data.manifest import Recording, read_manifest, split_by_fold, split_by_speaker, write_manifest
from phonemi.data.mixing import AudioStore
from phonemi.errors import DataError
from phonemi.files import content_hash, read_json, write_json
from phonemi.progress import Progress
from phonemi.training.tracking import Tracker

if TYPE_CHECKING:
    from phonemi.models.representations import Representation


class Run:
    """One run folder. Stages get it, and nothing else.

    Args:
        folder: RUN; made if absent.
        config: what to do.
        progress: where progress is shown; a silent one by default.
        save: whether to write RUN/config.yaml; not in the processes of a stage that runs several.
    """

    def __init__(self, folder: str | Path, config: Config, progress: Progress | None = None, save: bool = True):
        self.folder = Path(folder)
        self.config = config
        self.progress = progress or Progress(enabled=False)
        self.folder.mkdir(parents=True, exist_ok=True)
        if save:
            save_config(config, self.folder, {"data": self._data_hash})
        self.tracker = Tracker(self.folder)

    @property
    def device(self) -> torch.device:
        """The configured device; `auto` takes CUDA where there is one."""
        chosen = self.config.device
        return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if chosen == "auto" else chosen)

    # Data -------------------------------------------------------------------------------------------------------

    @cached_property
    def speech(self) -> dict[str, list[Recording]]:
        """Recordings by split: no speaker is in two of them."""
        data = self.config.data
        recordings = _read_all(data.speech, "data.speech")
        splits = split_by_speaker(
            recordings,
            test_share=data.test_share,
            validation_share=data.validation_share,
            seed=self.config.seed,
            keep_in_training=data.keep_in_training,
        )
        return self._written("speech", splits)

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
        more = (
            _read_all(self.config.data.encoder_speech, "data.encoder_speech") if self.config.data.encoder_speech else []
        )
        held_out = {r.speaker for split in ("validation", "test") for r in self.speech[split]}
        known = {r.id for r in self.speech["train"]}
        return self.speech["train"] + [r for r in more if r.id not in known and r.speaker not in held_out]

    def noise_store(self, split: str) -> AudioStore:
        """Decoded noise of a split, shared by everything that mixes with it."""
        stores: dict[str, AudioStore] = self.__dict__.setdefault("_noise_stores", {})
        if split not in stores:
            stores[split] = AudioStore(self.noise[split])
        return stores[split]

    # Models -----------------------------------------------------------------------------------------------------

    @property
    def encoder_folder(self) -> Path:
        """Where `pretrain` leaves the encoder of this run."""
        return self.folder / "encoder" / "model"

    @cached_property
    def representation(self) -> Representation:
        """The frozen encoder of this run, on its device."""
        from phonemi.models.representations import load_representation

        name = self.config.representation
        if name == "encoder":
            if not self.encoder_folder.exists():
                raise DataError(
                    f"{self.encoder_folder} does not exist: run `phonemi pretrain` first, or set representation"
                )
            name = str(self.encoder_folder)
        return load_representation(name).to(self.device).eval()

    @property
    def representation_name(self) -> str:
        """Short name for tables and figures."""
        return "mini" if self.config.representation == "encoder" else Path(self.config.representation).name

    # Results ----------------------------------------------------------------------------------------------------

    def key(self, *parts: Any) -> str:
        """Hash of what a result depends on: the data, the seed, and the given parts of the configuration."""
        plain = [part.model_dump(mode="json") if hasattr(part, "model_dump") else part for part in parts]
        return content_hash(self._data_hash, self.config.seed, *plain)

    @property
    def encoder_key(self) -> str:
        """Hash of what the encoder depends on."""
        name = self.config.representation
        return self.key(name, self.config.encoder if name == "encoder" else None)

    def is_done(self, name: str, key: str) -> bool:
        """Whether RUN/name (a JSON object) holds the result of this very configuration."""
        path = self.folder / name
        return path.exists() and read_json(path).get("key") == key

    def read(self, name: str, needed_by: str, made_by: str) -> Any:
        """A result of an earlier stage.

        Raises:
            DataError: naming the stage to run first.
        """
        if not (self.folder / name).exists():
            raise DataError(f"{needed_by} needs {self.folder / name}: run `phonemi {made_by}` first")
        return read_json(self.folder / name)

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
        for path in (*data.speech, *data.encoder_speech, *data.noise):
            if not Path(path).is_file():
                raise DataError(f"manifest {path} does not exist: make it with `phonemi prepare`")
            texts.append(Path(path).read_text(encoding="utf-8"))
        return content_hash(data.model_dump(mode="json", exclude={"speech", "encoder_speech", "noise"}), texts)

    def _written(self, kind: str, splits: dict[str, list[Recording]]) -> dict[str, list[Recording]]:
        for split, recordings in splits.items():
            write_manifest(self.folder / "manifests" / f"{kind}.{split}.jsonl", recordings)
        return splits


def _read_all(paths: tuple[str, ...], key: str) -> list[Recording]:
    if not paths:
        raise DataError(f"{key} names no manifest: make one with `phonemi prepare`, then --set {key}=[FILE]")
    return [recording for path in paths for recording in read_manifest(path)]
