"""Every setting of a run: its range, default, unit, what the paper says, and which results it changes.

Defaults are those of Han et al. (2026) where the paper states a value ("section ..." in `paper`), or those of SUPERB's
recipe `enhancement_stft2`, which it follows ("recipe"). YAML files hold differences only.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import ValidationInfo

SNRS_DB = (-10.0, -5.0, 0.0, 5.0, 10.0, 15.0, 20.0)
YAML_NO = BeforeValidator(lambda value: "no" if value is False else value)  # YAML reads a bare `no` as false
ReverberationS = Annotated[float, Field(ge=0.05, le=3)]
CutoffHz = Annotated[float, Field(ge=500, lt=8_000)]
GainDb = Annotated[float, Field(ge=-60, le=60)]
Speed = Annotated[float, Field(ge=0.5, le=1.5)]

Result = Literal[
    "data",  # everything: which speech and noise there is, and who is held out
    "encoder",
    "frames.train", "frames.validation", "frames.test",  # the hidden states that probes and aggregations learn from
    "information",
    "aggregations",
    "mixtures.train", "mixtures.validation",  # what enhancers are trained and chosen on
    "states.train",  # their hidden states
    "models",
    "scores",
    "metrics",
    "examples",
]  # fmt: skip
"""What a setting can change by itself. What is made of these changes with them: `phonemi.stages.keys` says how."""


def setting(
    default: Any,
    description: str,
    *,
    affects: tuple[Result, ...],
    unit: str = "",
    paper: str = "",
    **constraints: Any,
) -> Any:
    """Declare a setting.

    Args:
        default: its value where a configuration says nothing.
        description: one sentence, without its end.
        affects: the results that must be made again when it changes; () for what changes no result.
        unit: of the value.
        paper: what Han et al. (2026) or their recipe say, and where.
        constraints: as for `pydantic.Field`, such as ge=1.
    """
    declared: dict[str, Any] = {"affects": affects, "unit": unit, "paper": paper}
    return Field(default, description=description, json_schema_extra=declared, **constraints)


def _in_order(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError("the lowest comes first")
    return ends


MANIFESTS = (
    "speech", "encoder_speech", "enhancer_speech", "noise", "test_speech", "dynamic_speech", "dynamic_noise",
    "train_pairs", "validation_pairs",
)  # fmt: skip


class Section(BaseModel):
    """A part of the configuration: immutable, and nothing but the settings that it declares."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def settings_that_affect(self, result: Result) -> dict[str, Any]:
        """Every setting here, and in the sections inside, that affects a result by itself: dotted name -> value."""
        values = self.model_dump(mode="json")
        settings: dict[str, Any] = {}
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Section):
                inner = value.settings_that_affect(result)
                settings |= {f"{name}.{key}": inner_value for key, inner_value in inner.items()}
            elif result in affected_by(info):
                settings[name] = values[name]
        return settings


def affected_by(info: FieldInfo) -> tuple[Result, ...]:
    """The results that a setting affects by itself."""
    declared = info.json_schema_extra
    return declared["affects"] if isinstance(declared, dict) else ()  # type: ignore[return-value]  # JSON to pydantic


class Folds(Section):
    """Folds of the noise corpora. No fold may be used for two of the three purposes."""

    train: tuple[int, ...] = setting(
        (1, 2, 3), "Folds of the noise for training", affects=("data",), unit="folds", paper="1 to 4, section 2.2"
    )
    validation: tuple[int, ...] = setting(
        (4,), "Folds of the noise for validation", affects=("data",), unit="folds", paper="none, section 2.2"
    )
    test: tuple[int, ...] = setting(
        (5,), "Folds of the noise for testing", affects=("data",), unit="folds", paper="5, section 2.2"
    )


class Data(Section):
    """Which manifests a run uses, and who is held out. Manifests are written by `phonemi prepare`."""

    speech: tuple[str, ...] = setting(
        (),
        "Manifests of clean speech with speakers and phones; split by speaker",
        affects=("data",),
        unit="manifests",
        paper="LibriSpeech dev-clean, section 2.2",
    )
    encoder_speech: tuple[str, ...] = setting(
        (), "Manifests of more speech to train the encoder on; it needs no labels", affects=("data",), unit="manifests"
    )
    enhancer_speech: tuple[str, ...] = setting(
        (),
        "Manifests of more clean speech to train the enhancers on; it needs no labels",
        affects=("data",),
        unit="manifests",
    )
    noise: tuple[str, ...] = setting(
        (), "Manifests of noise with folds", affects=("data",), unit="manifests", paper="ESC-50, section 2.2"
    )
    test_speech: tuple[str, ...] = setting(
        (),
        "Manifests of the test speech, if it is a corpus of its own; no speaker of `speech` is then held out for "
        "testing",
        affects=("data",),
        unit="manifests",
        paper="LibriSpeech test-clean, section 2.2",
    )
    dynamic_speech: tuple[str, ...] = setting(
        (),
        "Manifests of the speech that DWS is pre-trained on; empty: the training part of `speech`",
        affects=("data",),
        unit="manifests",
        paper="LibriSpeech train-clean-100, section 3.1",
    )
    dynamic_noise: tuple[str, ...] = setting(
        (),
        "Manifests of the noise that DWS is pre-trained on, all folds; empty: the training folds of `noise`",
        affects=("data",),
        unit="manifests",
        paper="MUSAN noise, section 3.1",
    )
    train_pairs: tuple[str, ...] = setting(
        (),
        "Manifests of noisy recordings with their clean ones, to train enhancers on; they replace the mixtures",
        affects=("data",),
        unit="manifests",
        paper="VoiceBank-DEMAND, section 3.1",
    )
    validation_pairs: tuple[str, ...] = setting(
        (),
        "Manifests of noisy recordings with their clean ones, to choose checkpoints by; they replace the mixtures",
        affects=("data",),
        unit="manifests",
        paper="speakers p226 and p287, recipe",
    )
    test_share: float = setting(
        0.2,
        "Share of the speakers of `speech` held out for testing; ignored if `test_speech` is set",
        affects=("data",),
        unit="0 to 1",
        ge=0,
        lt=1,
    )
    validation_share: float = setting(
        0.1, "Share of the speakers of `speech` held out for validation", affects=("data",), unit="0 to 1", ge=0, lt=1
    )
    keep_in_training: tuple[str, ...] = setting(
        (), "Speakers that must not be held out", affects=("data",), unit="speakers"
    )
    noise_folds: Folds = Folds()
    babble_share: float = setting(
        0.0,
        "Share of the noise draws that are babble: three to seven other speakers of the same split",
        affects=("data",),
        unit="0 to 1",
        ge=0,
        le=1,
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

    units: Literal["mel", "encoder", "phones"] = setting(
        "mel",
        "What is predicted: k-means clusters of log-mel frames (mel), k-means clusters of a layer of the previous"
        " round's encoder (encoder), or aligned phones (phones: training is then phone-supervised)",
        affects=("encoder",),
    )
    layer: int = setting(
        4, "Layer whose hidden states are clustered if `units` is 'encoder'", affects=("encoder",), unit="layer", ge=0
    )
    clusters: int = setting(
        100, "Number of k-means clusters; ignored if `units` is 'phones'", affects=("encoder",), unit="clusters", ge=2
    )
    steps: int = setting(2000, "Optimiser updates of the round", affects=("encoder",), unit="updates", ge=1)
    learning_rate: float = setting(0.001, "Highest learning rate of the round", affects=("encoder",), gt=0)


class Encoder(Section):
    """The encoder that `phonemi pretrain` trains: masked prediction of units, round by round (MelHuBERT)."""

    mels: int = setting(80, "Bands of the log-mel spectrum that is its input", affects=("encoder",), unit="bands", ge=1)
    dim: int = setting(256, "Size of a hidden state", affects=("encoder",), ge=1)
    blocks: int = setting(
        6,
        "Transformer blocks; there is one hidden state more, the input of the first block",
        affects=("encoder",),
        unit="blocks",
        ge=1,
    )
    heads: int = setting(
        4, "Attention heads of a block; `dim` must be a multiple of it", affects=("encoder",), unit="heads", ge=1
    )
    feedforward: int = setting(
        1024, "Size of the hidden layer of a block's feed-forward network", affects=("encoder",), ge=1
    )
    position_kernel: int = setting(
        31, "Length of the convolution that encodes positions; odd", affects=("encoder",), unit="frames of 20 ms", ge=1
    )
    rounds: tuple[Round, ...] = setting(
        (Round(), Round(units="encoder", clusters=200)),
        "Rounds of masked prediction, in order; the default predicts units of log-mel frames first, then units of"
        " the encoder's own states",
        affects=("encoder",),
        unit="rounds",
        min_length=1,
    )
    batch: int = setting(16, "Crops in a batch", affects=("encoder",), unit="crops", ge=1)
    crop_frames: int = setting(256, "Length of a training crop", affects=("encoder",), unit="frames of 20 ms", ge=16)
    mask_start: float = setting(
        0.08, "Probability that a masked span starts at a frame", affects=("encoder",), unit="0 to 1", gt=0, lt=1
    )
    mask_span: int = setting(10, "Length of a masked span", affects=("encoder",), unit="frames of 20 ms", ge=1)
    unmasked_weight: float = setting(
        0.0,
        "Weight of the loss on frames that are not masked (HuBERT, eq. 3); 0: masked frames only",
        affects=("encoder",),
        ge=0,
    )
    noisy_share: float = setting(
        0.0,
        "Share of the crops that noise is added to; they predict the units of the clean speech, as in WavLM",
        affects=("encoder",),
        unit="0 to 1",
        ge=0,
        le=1,
    )
    noisy_snrs_db: tuple[float, float] = setting(
        (-5.0, 20.0), "Lowest and highest SNR of the noisy crops", affects=("encoder",), unit="dB"
    )
    mixed_share: float = setting(
        0.2,
        "Share of the noisy crops that get a second speaker, over at most half of the crop, instead of noise",
        affects=("encoder",),
        unit="0 to 1",
        ge=0,
        le=1,
    )
    speeds: Annotated[tuple[Speed, Speed], AfterValidator(_in_order)] = setting(
        (1.0, 1.0),
        "Lowest and highest speed at which a training crop is played; 1: unchanged",
        affects=("encoder",),
        unit="times",
    )
    precision: Annotated[Literal["no", "bf16", "fp16"], YAML_NO] = setting(
        "bf16", "Number format of the matrix products; the weights stay float32", affects=("encoder",)
    )


class Information(Section):
    """The analysis of section 2.2: mutual information by layer and SNR, with one probe for each layer."""

    snrs_db: tuple[float, ...] = setting(
        SNRS_DB,
        "SNRs of the mixtures: training draws one for each copy, the test measures at every one",
        affects=("frames.train", "frames.validation", "frames.test"),
        unit="dB",
        paper="-10, -5, 0, 5, 10, 15, 20, section 2.2",
        min_length=1,
    )
    copies: int = setting(
        2,
        "Noisy copies of each training utterance, each at an SNR drawn from `snrs_db`",
        affects=("frames.train",),
        unit="copies",
        ge=1,
    )
    train_utterances: int | None = setting(
        None,
        "Largest number of training utterances, drawn evenly over the speakers; null: all",
        affects=("frames.train",),
        unit="utterances",
        paper="all of dev-clean, section 2.2",
        ge=1,
    )
    test_utterances: int | None = setting(
        None,
        "Largest number of test utterances, drawn evenly over the speakers; null: all",
        affects=("frames.test",),
        unit="utterances",
        paper="all of test-clean, section 2.2",
        ge=1,
    )
    most_frames: int | None = setting(
        None,
        "About the largest number of frames of each split whose hidden states are stored, drawn evenly over the "
        "utterances; null: all",
        affects=("frames.train", "frames.validation", "frames.test"),
        unit="frames of 20 ms",
        ge=1000,
    )
    depth: int = setting(
        3,
        "Linear layers of a probe; 1: a linear probe",
        affects=("information",),
        unit="layers",
        paper="3, section 2.2 (a linear probe in section 2.1)",
        ge=1,
        le=6,
    )
    hidden: int = setting(512, "Size of the hidden layers of a probe", affects=("information",), ge=1)
    dropout: float = setting(
        0.1,
        "Dropout between the layers of a probe",
        affects=("information",),
        unit="0 to 1",
        paper="yes, without a number, section 2.2",
        ge=0,
        lt=1,
    )
    silence: bool = setting(
        True,
        "Count silence as one of the classes; false: leave out the frames of silence",
        affects=("information", "aggregations"),
    )
    stress: bool = setting(
        False,
        "Tell vowels with different stress apart: 70 classes instead of 40, if the labels give the stress",
        affects=("information", "aggregations"),
    )
    label_at: Literal["centre", "start"] = setting(
        "centre",
        "Sample of frame t at which its phone is read: the centre of its receptive field, 320 t + 200, or the "
        "start, 320 t",
        affects=("information", "aggregations"),
    )
    epochs: int = setting(
        15,
        "Passes of a probe over the training frames",
        affects=("information",),
        unit="epochs",
        paper="15, section 2.2",
        ge=1,
    )
    learning_rate: float = setting(
        0.001,
        "Learning rate of the probes (Adam, constant)",
        affects=("information",),
        paper="0.001, section 2.2",
        gt=0,
    )
    batch_frames: int = setting(
        4096, "Frames in a batch of the probes", affects=("information",), unit="frames of 20 ms", ge=1
    )
    seeds: int = setting(
        1,
        "Probes trained for each layer, from different initial weights; their mean and spread are reported",
        affects=("information",),
        unit="probes",
        ge=1,
        le=100,
    )
    precision: Annotated[Literal["no", "bf16"], YAML_NO] = setting(
        "bf16", "Number format of the probes' matrix products; the weights stay float32", affects=("information",)
    )


class Aggregate(Section):
    """Pre-training of the linguistic aggregations with a linear probe, on the speech and noise of `information`."""

    aggregations: tuple[Literal["ws", "dws"], ...] = setting(
        ("ws", "dws"),
        "Linguistic aggregations to pre-train: the weighted sum (ws), the dynamic weighted sum (dws), or both",
        affects=(),
        paper="both, section 3",
    )
    normalise_layers: bool = setting(
        False, "Apply a LayerNorm without parameters to each layer before the sum", affects=("aggregations", "models")
    )
    projection_bias: bool = setting(
        False, "Add biases to the query and key projections of dws", affects=("aggregations", "models")
    )
    projection_dim: int | None = setting(
        None,
        "Size of the queries and keys of dws; null: the size D of a hidden state",
        affects=("aggregations", "models"),
        paper="D, eq. (3)",
        ge=1,
    )
    renormalise: bool = setting(
        True,
        "In ws-hybrid the weights keep adding up to 1 while layer 0 is tuned; false: the weight of layer 0 is "
        "free and the others stay as they are",
        affects=("models",),
        paper="open, section 3",
    )
    steps: int = setting(1500, "Optimiser updates of the pre-training", affects=("aggregations",), unit="updates", ge=1)
    learning_rate: float = setting(
        0.001,
        "Learning rate of the pre-training (AdamW, constant)",
        affects=("aggregations",),
        paper="0.001 (the objective of section 2.1), section 3.1",
        gt=0,
    )
    batch_frames: int = setting(
        4096, "Frames in a batch of the pre-training", affects=("aggregations",), unit="frames of 20 ms", ge=1
    )


class Augment(Section):
    """Rooms, band limits and gains for the mixtures that enhancers are trained and validated on. Off by default."""

    reverb_share: float = setting(
        0.0,
        "Share of the mixtures whose speech is put in a simulated room",
        affects=("mixtures.train", "mixtures.validation"),
        unit="0 to 1",
        ge=0,
        le=1,
    )
    rt60_s: Annotated[tuple[ReverberationS, ReverberationS], AfterValidator(_in_order)] = setting(
        (0.1, 0.6),
        "Shortest and longest reverberation time of the rooms",
        affects=("mixtures.train", "mixtures.validation"),
        unit="s",
    )
    band_limit_share: float = setting(
        0.0,
        "Share of the mixtures that are low-passed, noisy and clean speech alike",
        affects=("mixtures.train", "mixtures.validation"),
        unit="0 to 1",
        ge=0,
        le=1,
    )
    band_limit_hz: Annotated[tuple[CutoffHz, CutoffHz], AfterValidator(_in_order)] = setting(
        (3000.0, 7500.0),
        "Lowest and highest cutoff of the low-pass",
        affects=("mixtures.train", "mixtures.validation"),
        unit="Hz",
    )
    gain_db: Annotated[tuple[GainDb, GainDb], AfterValidator(_in_order)] = setting(
        (0.0, 0.0),
        "Lowest and highest gain, applied to noisy and clean speech alike",
        affects=("mixtures.train", "mixtures.validation"),
        unit="dB",
    )

    def __bool__(self) -> bool:
        """Whether any change is possible."""
        return bool(self.reverb_share or self.band_limit_share or any(self.gain_db))


class Enhance(Section):
    """Training of the enhancers: the SUPERB recipe `enhancement_stft2`."""

    rows: tuple[str, ...] = setting(
        ("log1p", "layer", "ws-acoustic", "ws-linguistic", "ws-hybrid", "dws-linguistic"),
        "Enhancers to train, by the name of their row: log1p, layer, layer-N, ws-TUNING or dws-TUNING with TUNING"
        " acoustic, linguistic or hybrid, each also with +log1p",
        affects=("metrics",),
        paper="every row of Tables 1 and 2",
    )
    hidden: int = setting(256, "Size of an LSTM in one direction", affects=("models",), paper="256, recipe", ge=1)
    layers: int = setting(3, "Bidirectional LSTM layers", affects=("models",), unit="layers", paper="3, recipe", ge=1)
    dropout: float = setting(
        0.1,
        "Dropout between the LSTM layers and after the last one",
        affects=("models",),
        unit="0 to 1",
        paper="0.1, recipe",
        ge=0,
        lt=1,
    )
    level_db: float | None = setting(
        None,
        "Level that every recording is brought to before the spectrum, and back from afterwards; null: recordings"
        " keep their level",
        affects=("models",),
        unit="dB",
        paper="null, recipe",
        ge=-100,
        le=40,
    )
    stft_pad: Literal["zeros", "reflect"] = setting(
        "zeros",
        "What the STFT sees beyond the ends of a recording: zeros (librosa from 0.10 on) or the mirrored "
        "recording (librosa before 0.10)",
        affects=("models",),
    )
    encoder_padding: Literal["alone", "batch"] = setting(
        "alone",
        "How training speech is encoded: item by item (alone), or zero-padded in batches as S3PRL does (batch)",
        affects=("states.train",),
        paper="batch, recipe",
    )
    steps: int = setting(100000, "Optimiser updates", affects=("models",), unit="updates", paper="100000, recipe", ge=1)
    batch: int = setting(8, "Mixtures in a batch", affects=("models",), unit="mixtures", paper="8, recipe", ge=1)
    learning_rate: float = setting(
        0.001, "Highest learning rate (AdamW)", affects=("models",), paper="0.001, recipe", gt=0
    )
    schedule: Literal["constant", "cosine"] = setting(
        "constant",
        "Course of the learning rate: constant, or falling to 0 along half a cosine",
        affects=("models",),
        paper="constant, recipe",
    )
    eps_before_correction: bool = setting(
        False,
        "Add AdamW's eps before the bias correction, as S3PRL does; false: after it, as PyTorch does",
        affects=("models",),
        paper="true, recipe",
    )
    si_sdr_weight: float = setting(
        0.0,
        "Weight of a dB of SI-SDR in the loss, beside the L1 distance of the spectra; 0: the L1 distance alone",
        affects=("models",),
        unit="1/dB",
        paper="0, recipe",
        ge=0,
    )
    snrs_db: tuple[float, ...] = setting(
        (0.0, 5.0, 10.0, 15.0),
        "SNRs of the training and validation mixtures",
        affects=("mixtures.train", "mixtures.validation"),
        unit="dB",
        paper="0, 5, 10, 15 (VoiceBank-DEMAND)",
        min_length=1,
    )
    train_mixtures: int = setting(
        10802,
        "Training mixtures; they are the same in every epoch",
        affects=("mixtures.train",),
        unit="mixtures",
        paper="10802, recipe",
        ge=1,
    )
    validation_mixtures: int = setting(
        770, "Validation mixtures", affects=("mixtures.validation",), unit="mixtures", paper="770, recipe", ge=1
    )
    crop_s: float | None = setting(
        None,
        "Length of a training mixture; null: whole utterances",
        affects=("mixtures.train", "mixtures.validation"),
        unit="s",
        paper="null, recipe",
        gt=0,
    )
    validate_every: int = setting(
        1250, "Updates between two validations", affects=("models",), unit="updates", paper="1250, recipe", ge=1
    )
    precision: Annotated[Literal["no", "bf16", "fp16"], YAML_NO] = setting(
        "no", "Number format of the matrix products; the weights stay float32", affects=("models",), paper="no, recipe"
    )
    select_on: Literal["pesq_wb_lqo", "stoi", "si_sdri_db"] = setting(
        "pesq_wb_lqo",
        "Validation score that the best checkpoint is chosen by",
        affects=("models",),
        paper="pesq_wb_lqo, recipe",
    )
    seeds: int = setting(
        1,
        "Models trained for each row, from different initial weights; tables pool them and give their spread",
        affects=("metrics",),
        unit="models",
        ge=1,
        le=100,
    )
    jobs: int = setting(
        1, "Rows trained side by side, each with its share of the cores", affects=(), unit="processes", ge=1
    )
    augment: Augment = Augment()


class Evaluate(Section):
    """The test set, and how it is scored."""

    snrs_db: tuple[float, ...] = setting(
        (2.5, 7.5, 12.5, 17.5),
        "SNRs of the test mixtures",
        affects=("scores",),
        unit="dB",
        paper="2.5, 7.5, 12.5, 17.5 (VoiceBank-DEMAND)",
        min_length=1,
    )
    per_utterance: int | None = setting(
        1,
        "SNRs drawn for each test utterance; null: every one of `snrs_db`",
        affects=("scores",),
        unit="mixtures",
        paper="1 (VoiceBank-DEMAND)",
        ge=1,
    )
    utterances: int | None = setting(
        None,
        "Largest number of test utterances, drawn evenly over the speakers; null: all",
        affects=("scores",),
        unit="utterances",
        paper="all, section 3.1",
        ge=1,
    )
    pairs: str | None = setting(
        None,
        "Manifest of noisy recordings with their clean ones to score; null: mixtures of the test speakers",
        affects=("scores",),
        unit="manifest",
        paper="VoiceBank-DEMAND test set, section 3.1",
    )
    recordings: str | None = setting(
        None,
        "Manifest of noisy recordings without clean ones, scored by DNSMOS and their words; instead of `pairs`",
        affects=("scores",),
        unit="manifest",
    )
    systems: dict[str, str] = setting(
        {},
        "More rows of the table, by name: an enhancer (name, folder or hub id) or a folder of enhanced files",
        affects=("metrics",),
    )
    dnsmos: bool = setting(False, "Compute DNSMOS where there is clean speech too; slow", affects=("scores",))
    recogniser: Literal["pocketsphinx", "pocketsphinx-grammar", "whisper", "none"] = setting(
        "pocketsphinx",
        "Recogniser that the word error rate is measured with; pocketsphinx-grammar accepts only the sentences of"
        " the synthetic speech; none: no word error rate",
        affects=("scores",),
        paper="whisper, section 3.1",
    )
    whisper: str = setting(
        "openai/whisper-large-v3",
        "Whisper model if `recogniser` is 'whisper': hub id or folder",
        affects=("scores",),
        paper="Whisper large-v3, section 3.1",
        min_length=1,
    )
    examples: int = setting(
        4,
        "Test utterances that the report shows with spectrograms and players",
        affects=("examples",),
        unit="utterances",
        ge=1,
    )
    resamples: int = setting(
        2000,
        "Bootstrap resamples of an interval and sign flips of a permutation test",
        affects=("metrics",),
        unit="resamples",
        ge=1,
    )

    @field_validator("recordings")
    @classmethod
    def _one_test_set(cls, recordings: str | None, others: ValidationInfo) -> str | None:
        if recordings is not None and others.data.get("pairs") is not None:
            raise ValueError("evaluate.pairs names another test set: set one of the two to null")
        return recordings


class Config(Section):
    """Everything a run depends on."""

    seed: int = setting(
        0, "Every random draw of the run is a function of this number", affects=("data",), ge=0, lt=2**63
    )
    device: Literal["auto", "cpu", "cuda"] = setting(
        "auto", "Where the work is done; auto: on a GPU if PyTorch finds one", affects=()
    )
    tensorboard: bool = setting(False, "Write the training curves of RUN/log.jsonl to RUN/tensorboard too", affects=())
    representation: str = setting(
        "encoder",
        "The encoder: 'encoder' (the one this run trains), 'mini' or 'mini-kmeans' (in the package), a hub id, or"
        " a folder",
        affects=("encoder",),
        paper="HuBERT, WavLM and wav2vec 2.0 Base, section 2.2",
    )
    normalise_waveform: bool | None = setting(
        None,
        "Bring each waveform to zero mean and unit variance before the encoder; null: as the encoder was trained",
        affects=("encoder",),
    )
    data: Data = Data()
    encoder: Encoder = Encoder()
    information: Information = Information()
    aggregate: Aggregate = Aggregate()
    enhance: Enhance = Enhance()
    evaluate: Evaluate = Evaluate()
