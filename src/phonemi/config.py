"""YAML files and `--set a.b=c` -> one validated configuration of a run, saved with the versions that made its results.

Every default below is the paper's where the paper states one; files hold differences only.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_core.core_schema import ValidationInfo

from phonemi.errors import ConfigError, nearest
from phonemi.files import write_text

SNRS_DB = (-10.0, -5.0, 0.0, 5.0, 10.0, 15.0, 20.0)
YAML_NO = BeforeValidator(lambda value: "no" if value is False else value)  # YAML reads a bare `no` as false
ReverberationS = Annotated[float, Field(ge=0.05, le=3)]
CutoffHz = Annotated[float, Field(ge=500, lt=8_000)]
GainDb = Annotated[float, Field(ge=-60, le=60)]
Speed = Annotated[float, Field(ge=0.5, le=1.5)]


def _in_order(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError("the lowest comes first")
    return ends


class Section(BaseModel):
    """A part of the configuration: immutable, and nothing but the keys it declares."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Folds(Section):
    """Cross-validation folds of the noise corpora, never shared between the three uses."""

    train: tuple[int, ...] = (1, 2, 3)
    validation: tuple[int, ...] = (4,)
    test: tuple[int, ...] = (5,)


class Data(Section):
    """Manifests, made by `phonemi prepare`."""

    speech: tuple[str, ...] = Field((), description="clean speech with speakers and phones; split by speaker")
    encoder_speech: tuple[str, ...] = Field((), description="more speech for training the encoder; no labels needed")
    enhancer_speech: tuple[str, ...] = Field((), description="more clean speech for training the enhancers only")
    noise: tuple[str, ...] = Field((), description="noise with folds")
    test_share: float = Field(0.2, ge=0, lt=1, description="share of the speakers held out for testing")
    validation_share: float = Field(0.1, ge=0, lt=1, description="share of the speakers held out for validation")
    keep_in_training: tuple[str, ...] = Field((), description="speakers that must not be held out")
    noise_folds: Folds = Folds()
    babble_share: float = Field(
        0.0, ge=0, le=1, description="share of the noise draws that are babble, of other speakers of the same split"
    )


class Round(Section):
    """One round of masked prediction: which units are predicted, and for how long."""

    units: Literal["mel", "encoder", "phones"] = Field(
        "mel", description="k-means of log-mel frames, k-means of the previous round's layer, or aligned phones"
    )
    layer: int = Field(4, ge=0, description="layer whose states are clustered when units are 'encoder'")
    clusters: int = Field(100, ge=2, description="k-means clusters (ignored for phones)")
    steps: int = Field(2_000, ge=1)
    learning_rate: float = Field(1e-3, gt=0)


class Encoder(Section):
    """MelHuBERT-style encoder trained by `phonemi pretrain`: masked prediction of units, round by round."""

    mels: int = Field(80, ge=1)
    dim: int = Field(256, ge=1)
    blocks: int = Field(6, ge=1)
    heads: int = Field(4, ge=1)
    feedforward: int = Field(1024, ge=1)
    position_kernel: int = Field(31, ge=1, description="odd")
    rounds: tuple[Round, ...] = Field((Round(), Round(units="encoder", clusters=200)), min_length=1)
    batch: int = Field(16, ge=1, description="crops in a batch")
    crop_frames: int = Field(256, ge=16, description="20 ms frames in a crop")
    mask_start: float = Field(0.08, gt=0, lt=1, description="probability that a masked span starts at a frame")
    mask_span: int = Field(10, ge=1, description="frames in a masked span")
    unmasked_weight: float = Field(0.0, ge=0, description="of the loss on frames that are not masked (HuBERT, eq. 3)")
    noisy_share: float = Field(
        0.0, ge=0, le=1, description="share of the crops that are made noisy, their units staying clean (as WavLM)"
    )
    noisy_snrs_db: tuple[float, float] = Field((-5.0, 20.0), description="lowest and highest SNR of noisy crops")
    mixed_share: float = Field(
        0.2, ge=0, le=1, description="of the noisy crops, those with another speaker over at most half of them"
    )
    speeds: Annotated[tuple[Speed, Speed], AfterValidator(_in_order)] = Field(
        (1.0, 1.0), description="lowest and highest speed at which a training crop is played; 1 as it is"
    )
    precision: Annotated[Literal["no", "bf16", "fp16"], YAML_NO] = "bf16"


class Information(Section):
    """The analysis of section 2.2: MI by layer and SNR with one MLP probe per layer."""

    snrs_db: tuple[float, ...] = Field(SNRS_DB, min_length=1)
    copies: int = Field(2, ge=1, description="noisy copies of each training utterance, each at a drawn SNR")
    train_utterances: int | None = Field(None, ge=1, description="at most this many, drawn evenly over speakers")
    test_utterances: int | None = Field(None, ge=1)
    hidden: int = Field(512, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    epochs: int = Field(15, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    batch_frames: int = Field(4096, ge=1)
    precision: Annotated[Literal["no", "bf16"], YAML_NO] = "bf16"


class Aggregate(Section):
    """Pre-training of the linguistic aggregations with a linear probe, on the speech and noise of `Information`."""

    aggregations: tuple[Literal["ws", "dws"], ...] = ("ws", "dws")
    steps: int = Field(1_500, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    batch_frames: int = Field(4096, ge=1)


class Augment(Section):
    """What happens to the mixtures of `Enhance`, for training and for validation; nothing by default."""

    reverb_share: float = Field(0.0, ge=0, le=1, description="share of the mixtures whose speech is in a drawn room")
    rt60_s: Annotated[tuple[ReverberationS, ReverberationS], AfterValidator(_in_order)] = Field(
        (0.1, 0.6), description="shortest and longest reverberation time"
    )
    band_limit_share: float = Field(0.0, ge=0, le=1, description="share of the mixtures without an upper band")
    band_limit_hz: Annotated[tuple[CutoffHz, CutoffHz], AfterValidator(_in_order)] = Field(
        (3_000.0, 7_500.0), description="lowest and highest cutoff"
    )
    gain_db: Annotated[tuple[GainDb, GainDb], AfterValidator(_in_order)] = Field(
        (0.0, 0.0), description="lowest and highest gain, of noisy and clean speech alike"
    )


class Enhance(Section):
    """Training of the mask enhancers: the SUPERB `enhancement_stft2` recipe; rows are named in `stages/rows.py`."""

    rows: tuple[str, ...] = (
        "log1p", "layer", "ws-acoustic", "ws-linguistic", "ws-hybrid", "dws-linguistic",
    )  # fmt: skip
    hidden: int = Field(256, ge=1)
    layers: int = Field(3, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    level_db: float | None = Field(
        None, ge=-100, le=40, description="level that every recording is brought to first, dB; none: as it is (paper)"
    )
    steps: int = Field(100_000, ge=1)
    batch: int = Field(8, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    schedule: Literal["constant", "cosine"] = Field("constant", description="of the learning rate")
    si_sdr_weight: float = Field(
        0.0, ge=0, description="of a dB of SI-SDR in the loss, beside the L1 of the spectra; 0: the L1 alone (paper)"
    )
    snrs_db: tuple[float, ...] = Field((0.0, 5.0, 10.0, 15.0), min_length=1)
    train_mixtures: int = Field(10_802, ge=1, description="noisy utterances made once and seen every epoch")
    validation_mixtures: int = Field(770, ge=1)
    crop_s: float | None = Field(None, gt=0, description="seconds of a training mixture; none: whole utterances")
    validate_every: int = Field(1_250, ge=1)
    precision: Annotated[Literal["no", "bf16", "fp16"], YAML_NO] = "no"
    select_on: Literal["pesq_wb_lqo", "stoi", "si_sdri_db"] = "pesq_wb_lqo"
    seeds: int = Field(1, ge=1, le=100, description="models of each row, from other initial weights")
    jobs: int = Field(1, ge=1, description="rows trained side by side, each with its share of the cores")
    augment: Augment = Augment()


class Evaluate(Section):
    """The test set and how it is judged."""

    snrs_db: tuple[float, ...] = Field((2.5, 7.5, 12.5, 17.5), min_length=1)
    per_utterance: int | None = Field(1, ge=1, description="SNRs drawn for each test utterance; none: all of them")
    utterances: int | None = Field(None, ge=1)
    pairs: str | None = Field(None, description="manifest of noisy recordings with clean ones to judge")
    recordings: str | None = Field(None, description="or of noisy ones alone: judged by DNSMOS and words")
    systems: dict[str, str] = Field({}, description="more rows: name -> enhancer, or folder of enhanced files")
    dnsmos: bool = Field(False, description="DNSMOS where there is clean speech too; slow, hence off")
    recogniser: Literal["pocketsphinx", "pocketsphinx-grammar", "none"] = "pocketsphinx"
    examples: int = Field(4, ge=1)
    resamples: int = Field(2_000, ge=1)

    @field_validator("recordings")
    @classmethod
    def _one_test_set(cls, recordings: str | None, others: ValidationInfo) -> str | None:
        if recordings is not None and others.data.get("pairs") is not None:
            raise ValueError("evaluate.pairs names another test set: set one of the two to null")
        return recordings


class Config(Section):
    """Everything a run depends on."""

    seed: int = Field(0, ge=0, lt=2**63)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    representation: str = Field(
        "encoder", description="'encoder' (trained by this run), 'mini' or 'mini-kmeans' (shipped), hub id, or folder"
    )
    data: Data = Data()
    encoder: Encoder = Encoder()
    information: Information = Information()
    aggregate: Aggregate = Aggregate()
    enhance: Enhance = Enhance()
    evaluate: Evaluate = Evaluate()


def load_config(source: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Read a configuration.

    Args:
        source: a YAML file, the name of a preset in the package (`"quickstart"`), or None for the defaults.
        overrides: `a.b=value` with the value in YAML, applied after the file.

    Raises:
        ConfigError: for a file that cannot be read, or a key or value that does not exist, naming the nearest key.

    >>> load_config(None, ["enhance.steps=10", "evaluate.snrs_db=[0]"]).evaluate.snrs_db
    (0.0,)
    """
    tree = _read(source) if source is not None else {}
    for override in overrides:
        _apply(tree, override)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, source)) from None


def presets() -> list[str]:
    """Names of the configurations that come with the package."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in _preset_folder().iterdir() if entry.name[-5:] == ".yaml"
    )


def save_config(config: Config, run_dir: Path, extra: dict[str, Any] | None = None) -> None:
    """Write RUN/config.yaml: the resolved configuration, and in comments what else the results depend on."""
    lines = [f"# {key}: {value}" for key, value in {**provenance(), **(extra or {})}.items()]
    body = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=110)
    write_text(run_dir / "config.yaml", "\n".join(lines) + "\n" + body)


def provenance() -> dict[str, str]:
    """Versions, git commit, machine and command of this process."""
    packages = "phonemi torch transformers numpy soundfile soxr pesq pystoi pocketsphinx speechmos onnxruntime"
    facts = {"python": platform.python_version(), "machine": f"{platform.machine()}, {_cores()} cores"}
    for package in packages.split():
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            facts[package] = "not installed"
    facts["commit"] = _commit()
    facts["command"] = " ".join(["phonemi", *sys.argv[1:]])
    return facts


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _commit() -> str:
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():  # installed; git would describe whatever repository that happens to be in
        return "unknown (not a git checkout)"
    try:
        describe = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(describe, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown (not a git checkout)"


def _preset_folder() -> Any:
    return resources.files("phonemi") / "presets"


def _read(source: str | Path) -> dict[str, Any]:
    path = Path(source)
    try:
        if str(source) in presets() and not path.is_file():
            text = (_preset_folder() / f"{source}.yaml").read_text(encoding="utf-8")
        elif path.suffix in (".yaml", ".yml") or path.exists():
            text = path.read_text(encoding="utf-8")
        else:
            raise ConfigError(
                f"no configuration {source!r}: not a file, and no preset ({nearest(str(source), presets())})"
            )
        tree = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {source} ({error})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not YAML ({' '.join(str(error).split())})") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: expected sections with keys, found {type(tree).__name__}")
    return tree


def _apply(tree: dict[str, Any], override: str) -> None:
    """Put the value of `a.b=value` into nested dictionaries."""
    key, equals, value = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override}: expected KEY=VALUE, for instance --set enhance.steps=100")
    node = tree
    *parents, last = key.strip().split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {override}: {parent} is a value, not a section")
    try:
        node[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not YAML ({' '.join(str(error).split())})") from None


def _explain(error: ValidationError, source: str | Path | None) -> str:
    """The first problem in one line, with the nearest key for an unknown one."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    where = f"{source}: " if source is not None else ""
    if problem["type"] != "extra_forbidden":
        return f"{where}{place}: {problem['msg']} (found {problem['input']!r})"
    fields = _section_at(problem["loc"][:-1]).model_fields
    return f"{where}unknown key {place!r}; {nearest(str(problem['loc'][-1]), fields)}"


def _section_at(location: tuple[int | str, ...]) -> type[Section]:
    section: type[Section] = Config
    for part in location:
        if isinstance(part, int):  # an entry of a list of sections; only rounds are such
            section = Round
        elif part != "rounds":
            section = type(section.model_fields[part].get_default())
    return section
