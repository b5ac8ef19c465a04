"""Every setting of a run: its range, default, unit, what the paper says, and which results it changes.

Defaults are those of Han et al. (2026) where the paper states a value ("section ..." in `paper`), or those of SUPERB's
recipe `enhancement_stft2`, which it follows ("recipe"). YAML files hold differences only.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core.core_schema import ValidationInfo

from phonemi.constants import DEFAULT_WHISPER, WhisperBackend

Number = TypeVar("Number", bound=float)


def _in_order(ends: tuple[Number, Number]) -> tuple[Number, Number]:
    if ends[0] > ends[1]:
        raise ValueError("the lowest comes first")
    return ends


Manifests = tuple[str, ...]
SnrsDb = Annotated[tuple[float, ...], Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
ReverberationS = Annotated[float, Field(ge=0.05, le=3)]
CutoffHz = Annotated[float, Field(ge=500, lt=8_000)]
GainDb = Annotated[float, Field(ge=-60, le=60)]
Speed = Annotated[float, Field(ge=0.5, le=1.5)]
Range = Annotated[tuple[Number, Number], AfterValidator(_in_order)]
YAML_NO = BeforeValidator(lambda value: "no" if value is False else value)  # YAML reads a bare `no` as false

SNRS_DB = (-10.0, -5.0, 0.0, 5.0, 10.0, 15.0, 20.0)
MANIFESTS = (
    "speech", "encoder_speech", "enhancer_speech", "noise", "test_speech", "dynamic_speech", "dynamic_noise",
    "train_pairs", "validation_pairs",
)  # fmt: skip

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
FRAMES: tuple[Result, ...] = ("frames.train", "frames.validation", "frames.test")
MIXTURES: tuple[Result, ...] = ("mixtures.train", "mixtures.validation")


def setting(
    default: Any,
    *,
    affects: Result | tuple[Result, ...],
    unit: str = "",
    paper: str = "",
    added: bool = False,
    **constraints: Any,
) -> Any:
    """Declare a setting. The string below it says what it is, in one sentence without its end.

    Args:
        default: its value where a configuration says nothing.
        affects: what must be made again when it changes; () for what changes no result.
        unit: of the value.
        paper: what Han et al. (2026) or their recipe say, and where.
        added: whether results that were made before the setting was there are those of its default, and stay current.
        constraints: as for `pydantic.Field`, such as ge=1.
    """
    affected = (affects,) if isinstance(affects, str) else affects
    declared: dict[str, Any] = {"affects": affected, "unit": unit, "paper": paper} | ({"added": True} if added else {})
    return Field(default, json_schema_extra=declared, **constraints)


def _unwrap(schema: dict[str, Any]) -> None:
    """Put each description on one line."""
    for declared in schema["properties"].values():
        if "description" in declared:
            declared["description"] = " ".join(declared["description"].split())


class Section(BaseModel):
    """A part of the configuration: immutable, and nothing but the settings that it declares."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, json_schema_extra=_unwrap
    )

    def settings_that_affect(self, result: Result) -> dict[str, Any]:
        """Every setting here, and in the sections inside, that affects a result by itself: dotted name -> value.

        One that was added later is left out as long as it has its default.
        """
        values = self.model_dump(mode="json")
        settings: dict[str, Any] = {}
        for name, info in type(self).model_fields.items():
            declared: Any = info.json_schema_extra
            value = getattr(self, name)
            if isinstance(value, Section):
                inner = value.settings_that_affect(result)
                settings |= {f"{name}.{key}": inner_value for key, inner_value in inner.items()}
            elif result in declared["affects"] and not (declared.get("added") and value == info.default):
                is_list = isinstance(value, tuple) and any(isinstance(item, Section) for item in value)
                settings[name] = [item.settings_that_affect(result) for item in value] if is_list else values[name]
        return settings


class Folds(Section):
    """Folds of the noise corpora. No fold may be used for two of the three purposes."""

    train: tuple[int, ...] = setting((1, 2, 3), affects="data", unit="folds", paper="1 to 4, section 2.2")
    """Folds of the noise for training"""
    validation: tuple[int, ...] = setting((4,), affects="data", unit="folds", paper="none, section 2.2")
    """Folds of the noise for validation"""
    test: tuple[int, ...] = setting((5,), affects="data", unit="folds", paper="5, section 2.2")
    """Folds of the noise for testing"""


class Data(Section):
    """Which manifests a run uses, and who is held out. Manifests are written by `phonemi prepare`."""

    speech: Manifests = setting((), affects="data", unit="manifests", paper="LibriSpeech dev-clean, section 2.2")
    """Manifests of clean speech with speakers and phones; split by speaker"""
    encoder_speech: Manifests = setting((), affects="data", unit="manifests")
    """Manifests of more speech to train the encoder on; it needs no labels"""
    enhancer_speech: Manifests = setting((), affects="data", unit="manifests")
    """Manifests of more clean speech to train the enhancers on; it needs no labels"""
    noise: Manifests = setting((), affects="data", unit="manifests", paper="ESC-50, section 2.2")
    """Manifests of noise with folds"""
    test_speech: Manifests = setting((), affects="data", unit="manifests", paper="LibriSpeech test-clean, section 2.2")
    """Manifests of the test speech, if it is a corpus of its own; no speaker of `speech` is then held out for
    testing"""
    dynamic_speech: Manifests = setting(
        (), affects="data", unit="manifests", paper="LibriSpeech train-clean-100, section 3.1"
    )
    """Manifests of the speech that DWS is pre-trained on; empty: the training part of `speech`"""
    dynamic_noise: Manifests = setting((), affects="data", unit="manifests", paper="MUSAN noise, section 3.1")
    """Manifests of the noise that DWS is pre-trained on, all folds; empty: the training folds of `noise`"""
    train_pairs: Manifests = setting((), affects="data", unit="manifests", paper="VoiceBank-DEMAND, section 3.1")
    """Manifests of noisy recordings with their clean ones, to train enhancers on; they replace the mixtures"""
    validation_pairs: Manifests = setting((), affects="data", unit="manifests", paper="speakers p226 and p287, recipe")
    """Manifests of noisy recordings with their clean ones, to choose checkpoints by; they replace the mixtures"""
    validation_pairs_share: Share = setting(0.0, affects="data", added=True, unit="0 to 1")
    """Share of `train_pairs` that are drawn to choose checkpoints by, as in BSSE (0.05), where speakers are then in
    both; 0: `validation_pairs`"""
    test_share: float = setting(0.2, affects="data", unit="0 to 1", ge=0, lt=1)
    """Share of the speakers of `speech` held out for testing; ignored if `test_speech` is set"""
    validation_share: float = setting(0.1, affects="data", unit="0 to 1", ge=0, lt=1)
    """Share of the speakers of `speech` held out for validation"""
    keep_in_training: tuple[str, ...] = setting((), affects="data", unit="speakers")
    """Speakers that must not be held out, nor judged in `test_speech`"""
    noise_folds: Folds = Folds()
    babble_share: Share = setting(0.0, affects="data", unit="0 to 1")
    """Share of the noise draws that are babble: three to seven other speakers of the same split"""

    @property
    def manifests(self) -> tuple[str, ...]:
        """Every manifest, in a fixed order."""
        return tuple(path for key in MANIFESTS for path in getattr(self, key))

    @model_validator(mode="after")
    def _both_pairs(self) -> Self:
        validation = bool(self.validation_pairs), bool(self.validation_pairs_share)
        if (self.validation_pairs and not self.train_pairs) or (self.train_pairs and not any(validation)):
            raise ValueError("train_pairs and validation_pairs belong together: set both or none")
        if all(validation):
            raise ValueError("validation_pairs_share draws from train_pairs: set one of it and validation_pairs")
        return self


class Round(Section):
    """One round of the training of an encoder: what is predicted, and for how long."""

    units: Literal["mel", "encoder", "phones", "teacher", "frames"] = setting("mel", affects="encoder")
    """What is predicted: k-means clusters of log-mel frames (mel), k-means clusters of a layer of the previous round's
    encoder (encoder), aligned phones (phones: training is then phone-supervised), the hidden states of another
    encoder, which hears the clean speech (teacher: distillation, where nothing is masked), or altered log-mel frames
    as they were (frames: the encoder is then a TERA, with a state every 10 ms)"""
    teacher: str | None = setting(None, affects="encoder", added=True, min_length=1)
    """The other encoder if `units` is 'teacher': name in the package, hub id or folder; null: none"""
    layers: tuple[Annotated[int, Field(ge=0)], ...] = setting((), affects="encoder", added=True, unit="layers")
    """Layers of the teacher that are predicted, from as many of the last layers, in this order"""
    continues: bool = setting(False, affects="encoder", added=True)
    """Go on with the weights of the round before instead of new ones"""
    layer: int = setting(4, affects="encoder", unit="layer", ge=0)
    """Layer whose hidden states are clustered if `units` is 'encoder'"""
    clusters: int = setting(100, affects="encoder", unit="clusters", ge=2)
    """Number of k-means clusters of 'mel' and 'encoder'"""
    frequency_share: Share = setting(0.2, affects="encoder", added=True, unit="0 to 1")
    """Largest share of the bands that is masked in a crop if `units` is 'frames', as in TERA; 0: none, as in
    Mockingjay"""
    noise_share: Share = setting(0.15, affects="encoder", added=True, unit="0 to 1")
    """Share of the crops with noise on all frames if `units` is 'frames', as in TERA; 0: none, as in Mockingjay"""
    steps: Count = setting(2000, affects="encoder", unit="updates")
    """Optimiser updates of the round"""
    learning_rate: float = setting(0.001, affects="encoder", gt=0)
    """Highest learning rate of the round; TERA was trained with 0.0002, in batches of 32 utterances"""

    @model_validator(mode="after")
    def _has_a_teacher(self) -> Self:
        if {bool(self.teacher), bool(self.layers)} != {self.units == "teacher"}:
            raise ValueError("a round has a teacher and its layers if `units` is 'teacher', otherwise none of them")
        return self


class Encoder(Section):
    """The encoder that `phonemi pretrain` trains: masked prediction of units, round by round (MelHuBERT), or a TERA."""

    mels: Count = setting(80, affects="encoder", unit="bands")
    """Bands of the log-mel spectrum that is its input"""
    dim: Count = setting(256, affects="encoder")
    """Size of a hidden state"""
    blocks: Count = setting(6, affects="encoder", unit="blocks")
    """Transformer blocks; there is one hidden state more, the input of the first block"""
    heads: Count = setting(4, affects="encoder", unit="heads")
    """Attention heads of a block; `dim` must be a multiple of it"""
    feedforward: Count = setting(1024, affects="encoder")
    """Size of the hidden layer of a block's feed-forward network"""
    position_kernel: Count = setting(31, affects="encoder", unit="frames of 20 ms")
    """Length of the convolution that encodes positions; odd"""
    block_kernel: int = setting(0, affects="encoder", added=True, unit="frames of 20 ms", ge=0)
    """Length of the convolution in each block; odd, or 0: none"""
    dropout: float = setting(0.0, affects="encoder", added=True, unit="0 to 1", ge=0, lt=1)
    """Dropout in the blocks; TERA was trained with 0.1"""
    rounds: tuple[Round, ...] = setting(
        (Round(), Round(units="encoder", clusters=200)), affects="encoder", unit="rounds", min_length=1
    )
    """Rounds of masked prediction, in order; the default predicts units of log-mel frames first, then units of the
    encoder's own states"""
    batch: Count = setting(16, affects="encoder", unit="crops")
    """Crops in a batch"""
    accumulate: Count = setting(1, affects="encoder", added=True, unit="batches")
    """Batches of an update, whose gradients are averaged; several processes share them"""
    crop_frames: int = setting(256, affects="encoder", unit="frames of 20 ms", ge=16)
    """Length of a training crop"""
    mask_start: float = setting(0.08, affects="encoder", unit="0 to 1", gt=0, lt=1)
    """Probability that a masked span starts at a frame"""
    mask_span: Count = setting(10, affects="encoder", unit="frames of 20 ms")
    """Length of a masked span"""
    unmasked_weight: float = setting(0.0, affects="encoder", ge=0)
    """Weight of the loss on frames that are not masked (HuBERT, eq. 3); 0: masked frames only"""
    noisy_share: Share = setting(0.0, affects="encoder", unit="0 to 1")
    """Share of the crops that noise is added to; they predict the units of the clean speech, as in WavLM"""
    noisy_snrs_db: tuple[float, float] = setting((-5.0, 20.0), affects="encoder", unit="dB")
    """Lowest and highest SNR of the noisy crops"""
    mixed_share: Share = setting(0.2, affects="encoder", unit="0 to 1")
    """Share of the noisy crops that get a second speaker, over at most half of the crop, instead of noise"""
    speeds: Range[Speed] = setting((1.0, 1.0), affects="encoder", unit="times")
    """Lowest and highest speed at which a training crop is played; 1: unchanged"""
    precision: Annotated[Literal["no", "bf16", "fp16"], YAML_NO] = setting("bf16", affects="encoder")
    """Number format of the matrix products; the weights stay float32, and all on CPUs without such products"""

    @model_validator(mode="after")
    def _first_round_is_new(self) -> Self:
        if self.rounds[0].continues:
            raise ValueError("the first round has no weights to go on with: continues must be false")
        return self

    @model_validator(mode="after")
    def _one_architecture(self) -> Self:
        units = {round_.units for round_ in self.rounds}
        if "frames" in units and len(units) > 1:
            raise ValueError(
                "rounds with units 'frames' train another network than all others: use no others beside it"
            )
        if "frames" in units and (self.noisy_share > 0 or self.speeds != (1.0, 1.0)):
            raise ValueError("units 'frames' takes clean speech as it was spoken: noisy_share must be 0, speeds [1, 1]")
        return self


class Information(Section):
    """The analysis of section 2.2: mutual information by layer and SNR, with one probe for each layer."""

    snrs_db: SnrsDb = setting(SNRS_DB, affects=FRAMES, unit="dB", paper="-10, -5, 0, 5, 10, 15, 20, section 2.2")
    """SNRs of the mixtures: training draws one for each copy, the test measures at every one"""
    copies: Count = setting(2, affects="frames.train", unit="copies")
    """Noisy copies of each training utterance, each at an SNR drawn from `snrs_db`"""
    train_utterances: Count | None = setting(
        None, affects="frames.train", unit="utterances", paper="all of dev-clean, section 2.2"
    )
    """Largest number of training utterances, drawn evenly over the speakers; null: all"""
    test_utterances: Count | None = setting(
        None, affects="frames.test", unit="utterances", paper="all of test-clean, section 2.2"
    )
    """Largest number of test utterances, drawn evenly over the speakers; null: all"""
    most_frames: int | None = setting(None, affects=FRAMES, unit="frames of 20 ms", ge=1000)
    """About the largest number of frames of each split whose hidden states are stored, drawn evenly over the
    utterances; null: all"""
    clips: Count = setting(1, affects=("frames.validation", "frames.test"), unit="clips")
    """Noise clips that each test utterance is mixed with, each of them at every SNR"""
    depth: int = setting(
        3, affects="information", unit="layers", paper="3, section 2.2 (a linear probe in section 2.1)", ge=1, le=6
    )
    """Linear layers of a probe; 1: a linear probe"""
    hidden: Count = setting(512, affects="information")
    """Size of the hidden layers of a probe"""
    dropout: float = setting(
        0.1, affects="information", unit="0 to 1", paper="yes, without a number, section 2.2", ge=0, lt=1
    )
    """Dropout between the layers of a probe"""
    silence: bool = setting(True, affects=("information", "aggregations"))
    """Count silence as one of the classes; false: leave out the frames of silence"""
    stress: bool = setting(False, affects=("information", "aggregations"))
    """Tell vowels with different stress apart: 70 classes instead of 40, if the labels give the stress"""
    label_at: Literal["centre", "start"] = setting("centre", affects=("information", "aggregations"))
    """Sample of frame t at which its phone is read: the centre of its receptive field, 320 t + 200, or the start,
    320 t"""
    epochs: Count = setting(15, affects="information", unit="epochs", paper="15, section 2.2")
    """Passes of a probe over the training frames"""
    learning_rate: float = setting(0.001, affects="information", paper="0.001, section 2.2", gt=0)
    """Learning rate of the probes (Adam, constant)"""
    batch_frames: Count = setting(4096, affects="information", unit="frames of 20 ms")
    """Frames in a batch of the probes"""
    seeds: int = setting(1, affects="information", unit="probes", ge=1, le=100)
    """Probes trained for each layer, from different initial weights; their mean and spread are reported"""
    precision: Annotated[Literal["no", "bf16"], YAML_NO] = setting("bf16", affects="information")
    """Number format of the probes' matrix products; the weights stay float32, and all on CPUs without such products"""


class Aggregate(Section):
    """Pre-training of the linguistic aggregations with a linear probe, on the speech and noise of `information`."""

    aggregations: tuple[Literal["ws", "dws"], ...] = setting(("ws", "dws"), affects=(), paper="both, section 3")
    """Linguistic aggregations to pre-train: the weighted sum (ws), the dynamic weighted sum (dws), or both"""
    normalise_layers: bool = setting(False, affects=("aggregations", "models"))
    """Apply a LayerNorm without parameters to each layer before the sum"""
    projection_bias: bool = setting(False, affects=("aggregations", "models"))
    """Add biases to the query and key projections of dws"""
    projection_dim: Count | None = setting(None, affects=("aggregations", "models"), paper="D, eq. (3)")
    """Size of the queries and keys of dws; null: the size D of a hidden state"""
    renormalise: bool = setting(True, affects="models", paper="open, section 3")
    """In ws-hybrid the weights keep adding up to 1 while layer 0 is tuned; false: the weight of layer 0 is free and the
    others stay as they are"""
    first_layer: int = setting(0, affects="models", added=True, unit="layer", ge=0)
    """The first layer that the sums of bsse-ws have a weight for; in BSSE's code 1 for HuBERT and wav2vec2"""
    steps: Count = setting(1500, affects="aggregations", unit="updates")
    """Optimiser updates of the pre-training"""
    learning_rate: float = setting(
        0.001, affects="aggregations", paper="0.001 (the objective of section 2.1), section 3.1", gt=0
    )
    """Learning rate of the pre-training (AdamW, constant)"""
    batch_frames: Count = setting(4096, affects="aggregations", unit="frames of 20 ms")
    """Frames in a batch of the pre-training"""
    accumulate: Count = setting(1, affects="aggregations", added=True, unit="batches")
    """Batches of an update, whose gradients are averaged; several processes share them"""


class Augment(Section):
    """Rooms, channels and gains for the mixtures that enhancers are trained and validated on. Off by default."""

    reverb_share: Share = setting(0.0, affects=MIXTURES, unit="0 to 1")
    """Share of the mixtures whose speech is put in a simulated room"""
    rt60_s: Range[ReverberationS] = setting((0.1, 0.6), affects=MIXTURES, unit="s")
    """Shortest and longest reverberation time of the rooms"""
    band_limit_share: Share = setting(0.0, affects=MIXTURES, unit="0 to 1")
    """Share of the mixtures that are low-passed, noisy and clean speech alike"""
    band_limit_hz: Range[CutoffHz] = setting((3000.0, 7500.0), affects=MIXTURES, unit="Hz")
    """Lowest and highest cutoff of the low-pass"""
    clip_share: Share = setting(0.0, affects=MIXTURES, added=True, unit="0 to 1")
    """Share of the mixtures that are recorded too loud: up to 3 % of the noisy samples are clipped"""
    codec_share: Share = setting(0.0, affects=MIXTURES, added=True, unit="0 to 1")
    """Share of the mixtures that a lossy codec has changed: Opus, Vorbis or GSM, the noisy speech alone"""
    gain_db: Range[GainDb] = setting((0.0, 0.0), affects=MIXTURES, unit="dB")
    """Lowest and highest gain, applied to noisy and clean speech alike"""
    gain_in_amplitude: bool = setting(False, affects=MIXTURES, added=True)
    """Draw the gain evenly in amplitude, as BSSE does; false: in dB"""
    validation: bool = setting(True, affects="mixtures.validation", added=True)
    """Change the validation mixtures too; false, as in BSSE: the training mixtures alone"""

    def __bool__(self) -> bool:
        """Whether any change is possible."""
        shares = self.reverb_share, self.band_limit_share, self.clip_share, self.codec_share
        return any(shares) or any(self.gain_db)


class Enhance(Section):
    """Training of the enhancers: the SUPERB recipe `enhancement_stft2`."""

    rows: tuple[str, ...] = setting(
        ("log1p", "layer", "ws-acoustic", "ws-linguistic", "ws-hybrid", "dws-linguistic"),
        affects="metrics",
        paper="every row of Tables 1 and 2",
    )
    """Enhancers to train, by the name of their row: log1p, layer, layer-N, ws-TUNING or dws-TUNING with TUNING
    acoustic, linguistic or hybrid, each also with +log1p, and then with +complex, a complex mask, or without, and then
    with +waveform, a network in the waveform domain; bsse-raw, bsse-last and bsse-ws, these also with +log1p. +norm-K
    behind them normalises the features of layer K (0.1.2: of several), and +tuned-K at the end fine-tunes the encoder
    from block K on, or K is partial or entire"""
    start: str | None = setting(None, affects="models", added=True, paper="null, recipe", min_length=1)
    """Enhancer to go on from, with its aggregation and its network: a name, a folder or a hub id; null: begin anew. Its
    encoder must be `representation`, and `rows` the one row that it is of"""
    purpose: Literal["listening", "recognition"] = setting("listening", affects="models", added=True)
    """What the network is for; recognition: it begins as that of `start` for recognition or, if that has none, for
    listening, which the model keeps beside it"""
    hidden: Count = setting(256, affects="models", paper="256, recipe")
    """Size of an LSTM in one direction; this and the next two settings are of BLSTMs, not of +complex"""
    layers: Count = setting(3, affects="models", unit="layers", paper="3, recipe")
    """Bidirectional LSTM layers"""
    target: Literal["irm", "map"] = setting("irm", affects="models", added=True)
    """What the network of BSSE gives: a mask on the log1p spectrum (irm), or the enhanced spectrum itself (map)"""
    feature_end: Literal["repeat", "zeros"] = setting("repeat", affects="models", added=True)
    """What the network of BSSE is given in the frames beyond the last one of the encoder: that again, or zeros"""
    channels: Count | None = setting(None, affects="models", added=True)
    """Channels of the outermost convolution of +waveform; null, here and in the next two: those of a network of 5 M"""
    most_channels: Count | None = setting(None, affects="models", added=True)
    """Channels at the bottleneck of +waveform"""
    resample: Literal[1, 2, 4] | None = setting(None, affects="models", added=True, unit="times")
    """How many times more samples the network of +waveform sees"""
    dropout: float = setting(0.1, affects="models", unit="0 to 1", paper="0.1, recipe", ge=0, lt=1)
    """Dropout between the LSTM layers and after the last one"""
    level_db: float | None = setting(None, affects="models", unit="dB", paper="null, recipe", ge=-100, le=40)
    """Level that every recording is brought to before the spectrum, and back from afterwards; null: recordings keep
    their level, and with +complex are brought to 0 dB"""
    stft_pad: Literal["zeros", "reflect"] = setting("zeros", affects="models")
    """What the STFT sees beyond the ends of a recording: zeros (librosa from 0.10 on) or the mirrored recording
    (librosa before 0.10)"""
    encoder_padding: Literal["alone", "batch"] = setting("alone", affects="states.train", paper="batch, recipe")
    """How training speech is encoded: item by item (alone), or zero-padded in batches as S3PRL does (batch)"""
    steps: Count = setting(100000, affects="models", unit="updates", paper="100000, recipe")
    """Optimiser updates"""
    batch: Count = setting(8, affects="models", unit="mixtures", paper="8, recipe")
    """Mixtures in a batch"""
    accumulate: Count = setting(1, affects="models", added=True, unit="batches", paper="1, recipe")
    """Batches of an update, whose gradients are averaged; several processes share them"""
    learning_rate: float = setting(0.001, affects="models", paper="0.001, recipe", gt=0)
    """Highest learning rate (AdamW)"""
    encoder_learning_rate: float | None = setting(None, affects="models", added=True, gt=0)
    """Highest learning rate of the encoder in a row that fine-tunes it; null: that of the rest"""
    warmup_steps: int = setting(0, affects="models", added=True, unit="updates", paper="0, recipe", ge=0)
    """Updates in which the learning rates rise to their highest"""
    schedule: Literal["constant", "cosine"] = setting("constant", affects="models", paper="constant, recipe")
    """Course of the learning rate: constant, or falling to 0 along half a cosine"""
    eps_before_correction: bool = setting(False, affects="models", paper="true, recipe")
    """Add AdamW's eps before the bias correction, as S3PRL does; false: after it, as PyTorch does"""
    eps: float = setting(1e-7, affects="models", added=True, paper="1e-7, recipe", gt=0)
    """AdamW's eps"""
    gradient_clip: float | None = setting(1.0, affects="models", added=True, paper="1, recipe", gt=0)
    """Largest norm of a gradient; null: no limit"""
    feature_reference: Literal["global", "paired", "pretraining"] = setting("global", affects="models", added=True)
    """Whose statistics +norm-K gives to the features: those of clean training speech (global), of the speech that
    `data.encoder_speech` names (pretraining), or in training those of the clean recording itself (paired), and those
    of clean training speech afterwards"""
    reference_utterances: Count | None = setting(500, affects="models", added=True, unit="utterances")
    """Largest number of clean utterances whose statistics +norm-K takes, drawn evenly over the speakers; null: all"""
    recompute_blocks: bool = setting(False, affects=())
    """Keep of each block of an encoder that is fine-tuned its input alone, and compute the rest again for the gradient:
    less memory, a third more time"""
    si_sdr_weight: float = setting(0.0, affects="models", unit="1/dB", paper="0, recipe", ge=0)
    """Weight of a dB of SI-SDR in the loss, beside the L1 distance of the spectra; 0: the L1 distance alone"""
    artefact_weight: float = setting(1.0, affects="models", added=True, unit="times", paper="1, recipe", ge=1)
    """How much more than the noise that is left in it an artefact of the enhanced speech, which is neither speech nor
    noise of the recording, weighs in the SI-SDR of the loss (artefact-boosted SDR); 1: as much"""
    phone_weight: float = setting(0.0, affects="models", added=True, unit="1/nat", paper="0, recipe", ge=0)
    """Weight in the loss of each nat per frame by which `phone_judge` hears other phones in the enhanced speech than in
    the clean; 0: the judge is not asked"""
    phone_judge: str = setting("phone-judge", affects="models", added=True, min_length=1)
    """The judge of `phone_weight`: phone-judge, in the package, or a folder RUN/phone_judge"""
    kept_noise_db: float | None = setting(None, affects="models", added=True, unit="dB", paper="null, recipe", ge=0)
    """How much weaker than in the recording the noise is in what the network learns to give; null: it is clean. What
    costs a recogniser words is the artefacts, not the noise that is left"""
    snrs_db: SnrsDb = setting(
        (0.0, 5.0, 10.0, 15.0), affects=MIXTURES, unit="dB", paper="0, 5, 10, 15 (VoiceBank-DEMAND)"
    )
    """SNRs of the training and validation mixtures"""
    train_mixtures: Count = setting(10802, affects="mixtures.train", unit="mixtures", paper="10802, recipe")
    """Training mixtures; they are the same in every epoch"""
    draw: Count = setting(1, affects="mixtures.train", added=True, unit="draw")
    """Which draw of training mixtures: what goes on from a training wants others than those that it has seen"""
    redraw: Literal["never", "training", "always"] = setting(
        "never", affects="models", added=True, paper="never, recipe"
    )
    """Draw new training mixtures in every epoch (of pairs: new crops), or new validation mixtures at every validation
    too, as BSSE does; hidden states then cannot be stored, and the encoder runs in every update"""
    shuffle: bool = setting(True, affects="models", added=True, paper="true, recipe")
    """Take the mixtures in a new order in each epoch; false, as in BSSE: always in the same"""
    validation_mixtures: Count = setting(770, affects="mixtures.validation", unit="mixtures", paper="770, recipe")
    """Validation mixtures"""
    crop_s: float | None = setting(None, affects=MIXTURES, unit="s", paper="null, recipe", gt=0)
    """Length of a training mixture; null: whole utterances"""
    crop_pairs: bool = setting(False, affects=MIXTURES, added=True)
    """Cut pairs to `crop_s` too, at random, and repeat shorter ones up to it, as BSSE does; false: they stay whole"""
    validate_every: Count = setting(1250, affects="models", unit="updates", paper="1250, recipe")
    """Updates between two validations"""
    precision: Annotated[Literal["no", "bf16", "fp16"], YAML_NO] = setting("no", affects="models", paper="no, recipe")
    """Number format of the matrix products; the weights stay float32, and all on CPUs without such products"""
    select_on: Literal["pesq_wb_lqo", "stoi", "si_sdri_db", "loss"] = setting(
        "pesq_wb_lqo", affects="models", paper="pesq_wb_lqo, recipe"
    )
    """Validation score that the best checkpoint is chosen by; loss, as in BSSE: the lowest loss, and no score is
    computed"""
    seeds: int = setting(1, affects="metrics", unit="models", ge=1, le=100)
    """Models trained for each row, from different initial weights; tables give the mean over them and their spread"""
    seeds_of: dict[str, Count] = setting({}, affects="metrics", unit="models")
    """Models of single rows, by name, where it is another number than `seeds`"""
    jobs: Count = setting(1, affects=(), unit="processes")
    """Rows trained side by side, each with its share of the cores; where several processes train each row: one"""
    augment: Augment = Augment()

    @model_validator(mode="after")
    def _one_model_from_a_start(self) -> Self:
        if self.start is not None and (self.seeds > 1 or any(count > 1 for count in self.seeds_of.values())):
            raise ValueError("models that go on from one enhancer are no models of their own: with start, train one")
        return self


class Endpoint(Section):
    """A difference between two rows in one metric."""

    row: str = setting(..., affects="metrics")
    """Name of a row"""
    against: str = setting(..., affects="metrics")
    """Name of the row that it is compared with"""
    metric: Literal[
        "mi_bits",
        "si_sdri_db",
        "stoi",
        "pesq_wb_lqo",
        "dnsmos_sig",
        "dnsmos_bak",
        "dnsmos_ovrl",
        "lps",
        "phone_bits",
        "ppmc",
        "ppmc_clean",
        "rmse_mm",
        "wer",
    ] = setting("wer", affects="metrics")
    """What they are compared in"""

    @field_validator("against")
    @classmethod
    def _is_another_row(cls, against: str, others: ValidationInfo) -> str:
        if against == others.data.get("row"):
            raise ValueError(f"the endpoint compares {against} with itself: name another row")
        return against


class Evaluate(Section):
    """The test set, and how it is scored."""

    snrs_db: SnrsDb = setting(
        (2.5, 7.5, 12.5, 17.5), affects="scores", unit="dB", paper="2.5, 7.5, 12.5, 17.5 (VoiceBank-DEMAND)"
    )
    """SNRs of the test mixtures"""
    per_utterance: Count | None = setting(1, affects="scores", unit="mixtures", paper="1 (VoiceBank-DEMAND)")
    """SNRs drawn for each test utterance; null: every one of `snrs_db`"""
    utterances: Count | None = setting(None, affects="scores", unit="utterances", paper="all, section 3.1")
    """Largest number of test utterances, drawn evenly over the speakers; null: all"""
    pairs: str | None = setting(None, affects="scores", unit="manifest", paper="VoiceBank-DEMAND test set, section 3.1")
    """Manifest of noisy recordings with their clean ones to score; null: mixtures of the test speakers"""
    recordings: str | None = setting(None, affects="scores", unit="manifest")
    """Manifest of noisy recordings without clean ones, scored by DNSMOS and their words; instead of `pairs`"""
    split: Literal["test", "validation"] = setting("test", affects="scores", added=True)
    """Whose mixtures are judged: those of the speakers and noises of the test, or of validation, among which what is
    better may be chosen; nothing can be claimed of those"""
    systems: dict[str, str] = setting({}, affects="metrics")
    """More rows of the table, by name: an enhancer (name, folder or hub id), with ` --for recognition` behind it where
    it is judged so, or a folder of enhanced files"""
    dnsmos: bool = setting(False, affects="scores")
    """Compute DNSMOS where there is clean speech too; slow"""
    composite: bool | Literal["divided"] = setting(False, affects="scores", added=True)
    """Compute CSIG, CBAK, COVL and the segmental SNR where there is clean speech; divided: CSIG, CBAK and COVL with
    waveforms divided by 32768, about 0.1 too high, to stand beside published tables that were made so"""
    lps: str | None = setting(None, affects="scores", unit="model")
    """Model for the Levenshtein phone similarity of the URGENT challenges, hub id or folder; theirs is
    facebook/wav2vec2-lv-60-espeak-cv-ft (1.3 GB); null: not measured"""
    phone_bits: bool = setting(False, affects="scores")
    """Measure the phonetic information kept: the bits of the phones that a probe on the encoder, trained on clean and
    noisy speech of other speakers, finds in each recording; it needs the stage information"""
    recogniser: Literal["auto", "whisper", "pocketsphinx", "pocketsphinx-grammar", "none"] = setting(
        "auto", affects="scores", paper="whisper, section 3.1"
    )
    """Recogniser that the word error rate is measured with; auto: Whisper if its package is installed and its weights
    are on this machine (large-v3, the default, only on a GPU: on a CPU it takes hours), otherwise pocketsphinx, which
    needs no download and is a weak judge; pocketsphinx-grammar accepts only the sentences of the synthetic speech;
    none: no word error rate"""
    whisper: str = setting(DEFAULT_WHISPER, affects="scores", paper="Whisper large-v3, section 3.1", min_length=1)
    """The Whisper model: a size such as base.en, hub id or folder"""
    whisper_backend: WhisperBackend = setting("auto", affects="scores")
    """What runs Whisper; auto: the one whose form the model has; of a size, faster-whisper on a CPU, in 8-bit integers,
    and transformers on a GPU"""
    endpoint: Endpoint | None = setting(None, affects="metrics")
    """The one difference that the experiment is made for, tested at 5 % by itself; the p-values of all other
    differences are adjusted for their number; null: those of all"""
    examples: Count = setting(4, affects="examples", unit="utterances")
    """Test utterances that the report shows with spectrograms and players"""

    @field_validator("systems")
    @classmethod
    def _are_new_names(cls, systems: dict[str, str]) -> dict[str, str]:
        for name in systems:
            if not name or {*"/@\\"} & {*name} or name.startswith("."):
                raise ValueError(f"{name!r} cannot be the name of a row: no slash, no @, no dot at its start")
            if name in ("noisy", "clean"):
                raise ValueError(f"{name!r} is a row already: choose another name")
        return systems

    @field_validator("recordings")
    @classmethod
    def _one_test_set(cls, recordings: str | None, others: ValidationInfo) -> str | None:
        if recordings is not None and others.data.get("pairs") is not None:
            raise ValueError("evaluate.pairs names another test set: set one of the two to null")
        return recordings

    @field_validator("composite", "lps", "phone_bits")
    @classmethod
    def _needs_clean_speech(cls, value: Any, others: ValidationInfo) -> Any:
        if value and others.data.get("recordings") is not None:
            raise ValueError("evaluate.recordings have no clean speech, which this needs")
        return value


class Inversion(Section):
    """Rows that recover articulation, such as `inversion` and `joint`. Training them is set in `enhance`."""

    hidden: Count = setting(256, affects="models", added=True)
    """Units of the first GRU in each direction; the second has half of them"""
    heads: Count = setting(4, affects="models", added=True)
    """Heads of the attention, a divisor of `hidden`"""
    dropout: float = setting(0.3, affects="models", added=True, unit="0 to 1", ge=0, lt=1)
    """Share of the features that training drops out"""
    weight: float = setting(1.0, affects="models", added=True, ge=0)
    """What the loss of the inverter is multiplied by before that of the enhancer is added, in rows that do both"""
    smooth: bool = setting(False, affects="scores", added=True)
    """Whether a Kalman smoother goes over the estimated tracks before they are judged"""


class Config(Section):
    """Everything a run depends on."""

    seed: int = setting(0, affects="data", ge=0, lt=2**63)
    """Every random draw of the run is a function of this number"""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", affects=())
    """Where the work is done; auto: on a GPU if PyTorch finds one"""
    tensorboard: bool = setting(False, affects=())
    """Write the training curves of RUN/log.jsonl to RUN/tensorboard too"""
    representation: str = setting("encoder", affects="encoder", paper="HuBERT, WavLM and wav2vec 2.0 Base, section 2.2")
    """The encoder: 'encoder' (the one this run trains), 'mini' or 'mini-kmeans' (in the package), a hub id, or a
    folder; two of them with a + between them, or one and log1p, stand side by side"""
    normalise_waveform: bool | None = setting(None, affects="encoder")
    """Bring each waveform to zero mean and unit variance before the encoder; null: as the encoder was trained"""
    data: Data = Data()
    encoder: Encoder = Encoder()
    information: Information = Information()
    aggregate: Aggregate = Aggregate()
    enhance: Enhance = Enhance()
    inversion: Inversion = Inversion()
    evaluate: Evaluate = Evaluate()
