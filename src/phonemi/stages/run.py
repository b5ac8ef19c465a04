"""What a stage is given: the settings, the folder of results, the data by split, the keys, and the encoder.

`Run` holds these; it decides nothing. Functions inside a stage take the parts that they need.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phonemi.claims import claimed, share
from phonemi.config import Config, save_config
from phonemi.devices import choose_device, launched_processes
from phonemi.errors import ConfigError, DataError
from phonemi.files import read_json, write_json
from phonemi.progress import Progress
from phonemi.stages.data_splits import DataSplits
from phonemi.stages.hidden_states import StateCache
from phonemi.stages.keys import Keys
from phonemi.systems import System, find_systems
from phonemi.training.distributed import Processes, join_processes
from phonemi.training.tracking import Tracker
from phonemi.weights import shipped
from phonemi.weights.training_record import find_training_record

if TYPE_CHECKING:
    import torch

    from phonemi.representations.base import Representation

ENCODER_RESULT = "encoder/result.json"
ENCODER_MODEL = "encoder/model"
CLAIMS = "claims"  # what each process is at, and holds against others


class RunFolder:
    """Results as JSON files in RUN, which is made when something is written.

    A result holds the key that it was made with (`stages.keys`). It is current as long as it would get the same now.

    Args:
        path: RUN.
        options: of the command line, which another command on this folder needs too.
        writes: whether this process writes results; of several that train together only the first does.
    """

    def __init__(self, path: str | Path, options: str = "", writes: bool = True) -> None:
        self.path, self.options, self.writes = Path(path), options, writes

    def __truediv__(self, name: str | Path) -> Path:
        """Path of a file in the folder."""
        return self.path / name

    def model(self, system: str) -> Path:
        """Folder of the trained model of a system, by its name."""
        return self.path / "rows" / system / "model"

    def command(self, name: str) -> str:
        """The command line that runs a stage on this folder."""
        return f"phonemi {name} --run {self.path}{self.options}"

    def is_current(self, name: str, key: str) -> bool:
        """Whether RUN/name is a JSON object that was made with this key."""
        path = self.path / name
        result = read_json(path) if path.exists() else None
        return isinstance(result, dict) and result.get("key") == key

    def read(self, name: str, key: str, needed_by: str, command: str) -> Any:
        """A result of an earlier stage, which `phonemi COMMAND` makes.

        Raises:
            DataError: if it is not there, or is of another configuration or data, with the command to run first.
        """
        path, line = self.path / name, self.command(command)
        if not path.exists():
            raise DataError(f"{needed_by} needs {path}, which is not there: run `{line}` first")
        if not self.is_current(name, key):
            raise DataError(f"{needed_by} needs {path}, which is of another configuration or data: run `{line}`")
        return read_json(path)

    def write(self, name: str, value: Any) -> None:
        """Write a result: all of it or, if that fails, nothing."""
        if self.writes:
            write_json(self.path / name, value)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of the block to RUN/timings.json, also when it is interrupted."""
        start = time.perf_counter()
        try:
            yield
        finally:
            path = self.path / "timings.json"
            seconds = {row["stage"]: row["seconds"] for row in read_json(path)["stages"]} if path.exists() else {}
            seconds[stage] = round(seconds.get(stage, 0.0) + time.perf_counter() - start, 1)
            self.write("timings.json", {"stages": [{"stage": name, "seconds": s} for name, s in seconds.items()]})


class Run:
    """The parts of a run: its settings (`config`), folder, progress, systems, each with its models, and data.

    Args:
        folder: RUN; made if absent.
        config: all settings.
        progress: where progress is shown; None: nowhere.
        save: whether to write RUN/config.yaml and RUN/manifests; not in the processes of a stage that runs several.
        options: see `RunFolder`.

    Raises:
        ConfigError, DataError, ModelError: for a system, a manifest or a phone judge that does not exist; RUN is then
            not made.
    """

    def __init__(
        self,
        folder: str | Path,
        config: Config,
        progress: Progress | None = None,
        save: bool = True,
        options: str = "",
    ) -> None:
        self.config = config
        rank = launched_processes().rank
        self.folder = RunFolder(folder, options, writes=rank == 0)
        self.progress = progress if progress and rank == 0 else Progress(enabled=False)
        if rank == 0:
            self.progress = self.progress.on_board(self.folder / CLAIMS)
        self.systems: list[System] = find_systems(config.enhance.rows, config.enhance.seeds, config.enhance.seeds_of)
        save = save and self.folder.writes
        manifests = self.folder / "manifests" if save else None
        own = config.representation == "encoder"
        heard = [round_.teacher or "" for round_ in config.encoder.rounds] if own else [config.representation]
        if config.enhance.phone_weight:
            from phonemi.information.phones_kept import encoder_of

            heard.append(encoder_of(config.enhance.phone_judge))
        records = [record for name in heard if name and (record := find_training_record(name))]
        speakers = {speaker for record in records for speaker in record.speakers}
        self.data = DataSplits(config.data, config.seed, self.folder / "cache", manifests, speakers)
        if save:
            save_config(config, self.folder.path, {"data": self.data.version})

    @cached_property
    def keys(self) -> Keys:
        """The keys of its results."""
        return Keys(self.config, self.data.version, self.folder / "cache")

    @cached_property
    def tracker(self) -> Tracker | None:
        """RUN/log.jsonl, and TensorBoard where it is asked for; None where this process does not write."""
        return Tracker(self.folder.path, self.config.tensorboard) if self.folder.writes else None

    @cached_property
    def processes(self) -> Processes:
        """Those that `torchrun` started, which are met here, or this one alone."""
        return join_processes(choose_device(self.config.device))

    @property
    def device(self) -> torch.device:
        """The configured device; of several processes each has its own GPU."""
        return self.processes.device

    @cached_property
    def states(self) -> StateCache:
        """Hidden states on disk."""
        return StateCache(self.folder / "cache", self.device, self.progress)

    @cached_property
    def encoder(self) -> Representation:
        """The frozen encoder, one for all who ask, on the device."""
        return self.load_encoder()

    def load_encoder(self) -> Representation:
        """The encoder of the configuration, another copy each time, on the device.

        Raises:
            DataError, ModelError: if `phonemi pretrain` has not made it with this configuration, or it does not load.
            ConfigError: if it does not take the waveform as normalise_waveform wants it.
        """
        from phonemi.representations.huggingface import HuggingFaceRepresentation
        from phonemi.representations.names import load_representation

        name = self.config.representation
        if name == "encoder":
            self.folder.read(ENCODER_RESULT, self.keys.encoder, "the encoder", "pretrain")
            name = str(self.folder / ENCODER_MODEL)
        encoder = load_representation(name).to(self.device).eval()
        if (normalise := self.config.normalise_waveform) is not None:
            if isinstance(encoder, HuggingFaceRepresentation):
                encoder.normalise = normalise
            elif normalise:
                raise ConfigError(f"normalise_waveform is for HuBERT, WavLM and wav2vec2, not {name!r}: set it to null")
        return encoder

    @property
    def encoder_name(self) -> str:
        """Short name of the encoder for tables and figures; "encoder" is the run's own."""
        return shipped.SIDE_BY_SIDE.join(Path(name).name for name in shipped.parts_of(self.config.representation))

    @contextmanager
    def claimed(self, name: str, wait: bool = True) -> Iterator[bool]:
        """Hold a piece of work of this run, such as a stage, against other launches; they are waited for.

        Several processes that train together are one launch: the first one holds it for all.
        """
        path = self.folder / CLAIMS / f"{name}.lock"
        with ExitStack() as stack:
            yield self.processes.from_first(lambda: stack.enter_context(claimed(path, wait, self.say)))

    def share(self, pieces: Mapping[str, Callable[[], None]], wait: bool = True) -> None:
        """Do pieces of work of this run, with other launches that do the same (`phonemi.claims.share`)."""
        share(pieces, self.claimed, wait)

    def say(self, text: str) -> None:
        """One line for the person watching."""
        self.progress.say(text)

    def is_done(self, work: str, result: str, key: str) -> bool:
        """Whether a result is current; says so, for instance "train: log1p done already" of the work "train: log1p"."""
        is_current = self.processes.from_first(lambda: self.folder.is_current(result, key))
        if is_current:
            self.say(f"{work} done already")
        return is_current


def run_of_all(
    folder: Path, load: Callable[[], Config], progress: Progress, save: bool = True, options: str = ""
) -> Run:
    """A `Run` with the configuration that `load` gives: one for each of the processes that `torchrun` started.

    The first one reads and writes, and says what is wrong; the others follow.
    """
    processes = join_processes("cpu")
    config = processes.from_first(load)
    with processes.first_ahead():
        return Run(folder, config, progress, save, options)
