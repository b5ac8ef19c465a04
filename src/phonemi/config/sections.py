"""What a run can be told: sections of settings with their ranges and defaults.

Every default below is the paper's where the paper states one; files hold differences only.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core.core_schema import ValidationInfo

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


MANIFESTS = (
    "speech", "encoder_speech", "enhancer_speech", "noise", "test_speech", "dynamic_speech", "dynamic_noise",
    "train_pairs", "validation_pairs",
)  # fmt: skip


class Section(BaseModel):
    """A part of the configuration: immutable, and nothing but the keys it declares."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    later: ClassVar[frozenset[str]] = frozenset()  # settings that joined when there were results without them

    def for_key(self, **chosen: set[str]) -> dict[str, Any]:
        """What the hash of a result is made of: those of `later` only where they are not at their defaults.

        Args:
            chosen: `include` or `exclude`, names of settings.
        """
        fields, values = type(self).model_fields, self.model_dump(mode="json", **chosen)  # type: ignore[arg-type]
        return {
            name: part.for_key() if isinstance(part := getattr(self, name), Section) else value
            for name, value in values.items()
            if name not in self.later or getattr(self, name) != fields[name].default
        }


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
    test_speech: tuple[str, ...] = Field(
        (), description="speech to test on, where it is a corpus of its own: `speech` is then not held out for it"
    )
    dynamic_speech: tuple[str, ...] = Field((), description="what dws is pre-trained on, if not the training speech")
    dynamic_noise: tuple[str, ...] = Field((), description="and its noise, of all folds, if not the training noise")
    train_pairs: tuple[str, ...] = Field((), description="noisy recordings with clean ones, to train enhancers on")
    validation_pairs: tuple[str, ...] = Field((), description="and to choose their checkpoints; instead of mixtures")
    test_share: float = Field(0.2, ge=0, lt=1, description="share of the speakers held out for testing")
    validation_share: float = Field(0.1, ge=0, lt=1, description="share of the speakers held out for validation")
    keep_in_training: tuple[str, ...] = Field((), description="speakers that must not be held out")
    noise_folds: Folds = Folds()
    babble_share: float = Field(
        0.0, ge=0, le=1, description="share of the noise draws that are babble, of other speakers of the same split"
    )

    @property
    def manifests(self) -> tuple[str, ...]:
        """Every manifest, in a fixed order."""
        return tuple(path for key in MANIFESTS for path in getattr(self, key))

    @model_validator(mode="after")
    def _both_pairs(self) -> Self:
        if bool(self.train_pairs) != bool(self.validation_pairs):
            raise ValueError("train_pairs and validation_pairs belong together: set both or none")
        return self


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

    later: ClassVar[frozenset[str]] = frozenset({"stress", "seeds"})
    snrs_db: tuple[float, ...] = Field(SNRS_DB, min_length=1)
    copies: int = Field(2, ge=1, description="noisy copies of each training utterance, each at a drawn SNR")
    train_utterances: int | None = Field(None, ge=1, description="at most this many, drawn evenly over speakers")
    test_utterances: int | None = Field(None, ge=1)
    most_frames: int | None = Field(
        None, ge=1_000, description="at most about so many frames of each split are kept on disk, drawn evenly"
    )
    depth: int = Field(3, ge=1, le=6, description="linear layers of a probe; 1: a linear probe")
    hidden: int = Field(512, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    silence: bool = Field(True, description="whether silence is one of the classes; false: its frames are left out")
    stress: bool = Field(
        False, description="vowels with another stress are other classes, 70 instead of 40, where the labels tell it"
    )
    label_at: Literal["centre", "start"] = Field(
        "centre", description="where of its samples a frame takes its phone: 320 t + 200, or 320 t"
    )
    epochs: int = Field(15, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    batch_frames: int = Field(4096, ge=1)
    seeds: int = Field(1, ge=1, le=100, description="probes of each slot, from other starts: their mean and spread")
    precision: Annotated[Literal["no", "bf16"], YAML_NO] = "bf16"


class Aggregate(Section):
    """Pre-training of the linguistic aggregations with a linear probe, on the speech and noise of `Information`."""

    later: ClassVar[frozenset[str]] = frozenset({"projection_dim"})
    aggregations: tuple[Literal["ws", "dws"], ...] = ("ws", "dws")
    normalise_layers: bool = Field(False, description="LayerNorm without parameters on each layer before the sum")
    projection_bias: bool = Field(False, description="biases in the query and key projections of dws")
    projection_dim: int | None = Field(
        None, ge=1, description="size of the queries and keys of dws; none: that of a frame, as printed"
    )
    renormalise: bool = Field(
        True, description="ws-hybrid: the weights keep adding up to 1; false: layer 0 is free beside the others"
    )
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

    later: ClassVar[frozenset[str]] = frozenset({"stft_pad", "encoder_padding", "eps_before_correction"})
    rows: tuple[str, ...] = (
        "log1p", "layer", "ws-acoustic", "ws-linguistic", "ws-hybrid", "dws-linguistic",
    )  # fmt: skip
    hidden: int = Field(256, ge=1)
    layers: int = Field(3, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    level_db: float | None = Field(
        None, ge=-100, le=40, description="level that every recording is brought to first, dB; none: as it is (paper)"
    )
    stft_pad: Literal["zeros", "reflect"] = Field(
        "zeros", description="what is beyond the ends of a recording: librosa from 0.10 on, or before"
    )
    encoder_padding: Literal["alone", "batch"] = Field(
        "alone", description="training speech is encoded item by item, or zero-padded in batches as S3PRL does it"
    )
    steps: int = Field(100_000, ge=1)
    batch: int = Field(8, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    schedule: Literal["constant", "cosine"] = Field("constant", description="of the learning rate")
    eps_before_correction: bool = Field(
        False, description="AdamW's eps joins before the bias correction, as in S3PRL; false: after it, as in torch"
    )
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
    recogniser: Literal["pocketsphinx", "pocketsphinx-grammar", "whisper", "none"] = "pocketsphinx"
    whisper: str = Field(
        "openai/whisper-large-v3", min_length=1, description="model of the recogniser 'whisper': hub id or folder"
    )
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

    later: ClassVar[frozenset[str]] = frozenset({"normalise_waveform", "tensorboard"})
    seed: int = Field(0, ge=0, lt=2**63)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    tensorboard: bool = Field(False, description="curves of RUN/log.jsonl in RUN/tensorboard too")
    representation: str = Field(
        "encoder", description="'encoder' (trained by this run), 'mini' or 'mini-kmeans' (shipped), hub id, or folder"
    )
    normalise_waveform: bool | None = Field(
        None, description="each waveform to zero mean and unit variance before the encoder; none: as it was trained"
    )
    data: Data = Data()
    encoder: Encoder = Encoder()
    information: Information = Information()
    aggregate: Aggregate = Aggregate()
    enhance: Enhance = Enhance()
    evaluate: Evaluate = Evaluate()
