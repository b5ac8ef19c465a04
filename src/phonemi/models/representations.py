"""Waveforms [batch, sample] -> hidden states [layer, batch, frame, dim] and frame lengths [batch]."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.errors import DataError, ModelError, import_transformers, unreachable_model
from phonemi.files import read_json
from phonemi.models import shipped
from phonemi.models.fast_wavlm import fuse_attention
from phonemi.signal import BINS, HOP, SSL_HOP, log1p_spectrum, ssl_frames, stft_frames, to_ssl_grid, valid_mask

MODEL_TYPES = ("hubert", "wavlm", "wav2vec2")  # of transformers


class HiddenStates(NamedTuple):
    """Every layer's view of a batch; frames beyond an item's length are zero."""

    states: Tensor  # [layer, batch, frame, dim]
    lengths: Tensor  # [batch] frames


class Representation(nn.Module, ABC):
    """What every representation offers.

    Attributes:
        name: what `load_representation` was asked for.
        layers: hidden states returned: the input of the first block, then the output of every block.
        dim: size of a frame.
        hop: samples at 16 kHz between frames, 320 (50 Hz) or 160 (100 Hz).
    """

    name: str
    layers: int
    dim: int
    hop: int

    @abstractmethod
    def frames(self, samples: int) -> int:
        """Frames that `samples` samples give."""

    @abstractmethod
    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> HiddenStates:
        """Hidden states of a batch, the same for an item alone and beside longer ones.

        Args:
            waveforms: [batch, sample] at 16 kHz in [-1, 1].
            lengths: [batch] samples that belong to each item; None: all of them.

        Raises:
            ModelError: if an item is too short for a single frame, or the shapes do not fit.
        """

    def padded(self, waveforms: Tensor, lengths: Tensor) -> HiddenStates:
        """Hidden states as S3PRL computes them in a zero-padded batch; as `forward` where padding changes nothing."""
        return self(waveforms, lengths)

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What `load_representation` rebuilds this representation from, weights apart; JSON-able, with its `name`."""

    def train(self, mode: bool = True) -> Self:
        """Follow the owner into training mode only when there is something to train: frozen means no dropout."""
        return super().train(mode and any(parameter.requires_grad for parameter in self.parameters()))


def checked_lengths(waveforms: Tensor, lengths: Tensor | None, shortest: int) -> Tensor:
    """Lengths in samples, [batch] int64 on the waveforms' device.

    Raises:
        ModelError: if the shapes do not fit, or an item is shorter than `shortest` samples.
    """
    if waveforms.dim() != 2:
        raise ModelError(f"waveforms must be [batch, sample], found {list(waveforms.shape)}")
    batch, samples = waveforms.shape
    if lengths is None:
        lengths = torch.full((batch,), samples)
    lengths = lengths.to(waveforms.device, torch.int64)
    if lengths.shape != (batch,) or (batch and int(lengths.max()) > samples):
        raise ModelError(f"lengths {lengths.tolist()} do not fit waveforms of shape {list(waveforms.shape)}")
    if batch and int(lengths.min()) < shortest:
        raise ModelError(
            f"a waveform of {int(lengths.min())} samples is too short: one frame takes {shortest} samples at 16 kHz"
        )
    return lengths


class Log1p(Representation):
    """log(1 + |STFT|), 257 values every 10 ms, as a representation of one layer: the baseline without SSL features."""

    name, layers, dim, hop = "log1p", 1, BINS, HOP

    def frames(self, samples: int) -> int:
        """1 + samples // 160.

        >>> Log1p().frames(16_000)
        101
        """
        return stft_frames(samples)

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> HiddenStates:
        """Waveforms [batch, sample] -> [1, batch, 1 + sample // 160, 257]."""
        lengths = checked_lengths(waveforms, lengths, 1)
        with torch.autocast(waveforms.device.type, enabled=False):
            spectrum = log1p_spectrum(waveforms.float() * valid_mask(lengths, waveforms.shape[1]))
        counts = stft_frames(lengths)
        return HiddenStates((spectrum * valid_mask(counts, spectrum.shape[1])[..., None])[None], counts)

    def settings(self) -> dict[str, Any]:
        """Its name."""
        return {"name": self.name}


class HuggingFaceRepresentation(Representation):
    """HuBERT, WavLM or wav2vec2 of `transformers`; frozen unless its parameters are made to require gradients.

    State 0 is the input of the first transformer layer (convolutions, projection, position embedding and, in Base
    models, LayerNorm), state i the output of layer i; the last one is after the final LayerNorm of pre-norm (Large)
    models. These are the tensors that S3PRL hooks. LayerDrop and SpecAugment are off.

    Args:
        model: a `HubertModel`, `WavLMModel` or `Wav2Vec2Model`.
        name: what `load_representation` was asked for.
        normalise: bring each waveform to zero mean and unit variance over its valid samples. None: as the models were
            trained, that is where the front-end normalises by layer (Large), not where it normalises by group (Base).
        layer_norm_states: pass each state through a LayerNorm without parameters. None: for pre-norm models only, whose
            inner states are raw residual streams of growing size.
        fused: give the model fused attention (`fast_wavlm.fuse_attention`): the same states, from less work.

    Raises:
        ModelError: if the convolutions do not step by 160 or 320 samples, as the frames of an enhancer do.
    """

    def __init__(
        self,
        model: nn.Module,
        name: str,
        normalise: bool | None = None,
        layer_norm_states: bool | None = None,
        fused: bool = True,
    ) -> None:
        super().__init__()
        config: Any = model.config
        config.layerdrop, config.apply_spec_augment = 0.0, False
        if fused:
            fuse_attention(model)
        self.model = model.float().eval().requires_grad_(False)
        self.name, self.layers, self.dim = name, config.num_hidden_layers + 1, config.hidden_size
        self.convolutions = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.hop = math.prod(config.conv_stride)
        if self.hop not in (HOP, SSL_HOP):
            raise ModelError(f"{name} has a frame every {self.hop} samples; only {HOP} and {SSL_HOP} can be used")
        self.shortest = 1
        for kernel, stride in reversed(self.convolutions):
            self.shortest = (self.shortest - 1) * stride + kernel
        # Normalising by group runs over time, so that padding changes every frame, mask or no mask.
        self.padding_leaks = config.feat_extract_norm == "group"
        self.normalise = not self.padding_leaks if normalise is None else normalise
        self.layer_norm_states = config.do_stable_layer_norm if layer_norm_states is None else layer_norm_states

    def frames(self, samples: int) -> int:
        """(n - kernel) // stride + 1 for every convolution in turn; 0 where nothing is left."""
        for kernel, stride in self.convolutions:
            samples = max((samples - kernel) // stride + 1, 0)
        return samples

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> HiddenStates:
        """Hidden states of a batch; see `Representation.forward`.

        Where padding would leak, only items of equal length run together: batches by length are faster.
        """
        return self._states(waveforms, lengths, in_batch=False)

    def padded(self, waveforms: Tensor, lengths: Tensor) -> HiddenStates:
        """Items of all lengths together, as in S3PRL: where the front-end normalises by group, it hears the padding.

        Of the longest item's frames each owns samples // frames samples; it is attended to unless all are padding.
        """
        return self._states(waveforms, lengths, in_batch=True)

    def _states(self, waveforms: Tensor, lengths: Tensor | None, in_batch: bool) -> HiddenStates:
        lengths = checked_lengths(waveforms, lengths, self.shortest)
        waveforms = normalised(waveforms, lengths) if self.normalise else waveforms
        counts = torch.tensor([self.frames(int(n)) for n in lengths], device=waveforms.device)
        longest, frames = int(lengths.max()), int(counts.max())
        if int(lengths.min()) == longest:
            states = self._run(waveforms[:, :longest], None)
        elif self.padding_leaks and not in_batch:
            states = self._run_by_length(waveforms, lengths)
        else:
            attended = (-(-lengths // (longest // frames))).clamp_max(frames) if in_batch else counts
            mask = valid_mask((attended - 1) * self.hop + self.shortest, longest)  # the model counts samples
            states = self._run(waveforms[:, :longest] * valid_mask(lengths, longest), mask)
        if self.layer_norm_states:
            states = functional.layer_norm(states, (self.dim,))
        # As many frames as the padded waveforms have, though the longest item may be shorter.
        states = functional.pad(states, (0, 0, 0, self.frames(waveforms.shape[1]) - states.shape[2]))
        return HiddenStates(states * valid_mask(counts, states.shape[2])[..., None], counts)

    def _run_by_length(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        frames = self.frames(int(lengths.max()))
        rows: list[Tensor | None] = [None] * len(lengths)
        for length in lengths.unique().tolist():
            chosen = (lengths == length).nonzero()[:, 0]
            states = self._run(waveforms[chosen, :length], None)
            states = functional.pad(states, (0, 0, 0, frames - states.shape[2]))
            for place, row in enumerate(chosen.tolist()):
                rows[row] = states[:, place]
        return torch.stack(rows, dim=1)  # type: ignore[arg-type]

    def _run(self, waveforms: Tensor, valid: Tensor | None) -> Tensor:
        """One call of the model: [batch, sample] -> [layer, batch, frame, dim]."""
        mask = None if valid is None else valid.long()
        output = self.model(waveforms, attention_mask=mask, output_hidden_states=True)
        # The last entry lacks the final LayerNorm of pre-norm models in transformers 5, and had it in 4.
        states = [*output.hidden_states[:-1], output.last_hidden_state]
        frames = self.frames(waveforms.shape[1])
        if len(states) != self.layers or states[0].shape[1] != frames:
            raise ModelError(
                f"{self.name} gave {len(states)} hidden states of {states[0].shape[1]} frames, expected "
                f"{self.layers} of {frames}: this version of transformers is not supported"
            )
        return torch.stack(states)

    def settings(self) -> dict[str, Any]:
        """Name, options and the configuration of the model."""
        return {
            "name": self.name,
            "normalise": self.normalise,
            "layer_norm_states": self.layer_norm_states,
            "config": self.model.config.to_dict(),  # type: ignore[operator, union-attr]
        }


def normalised(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Zero mean and unit variance over the valid samples of each item, zeros beyond, [batch, sample].

    The variance has the floor 1e-7 of the feature extractor of `transformers`.
    """
    valid = valid_mask(lengths, waveforms.shape[1])
    count = lengths[:, None]
    centred = (waveforms - (waveforms * valid).sum(1, keepdim=True) / count) * valid
    return centred / (centred.square().sum(1, keepdim=True) / count + 1e-7).sqrt()


def at_50_hz(hidden: HiddenStates, hop: int, samples: int | Tensor) -> HiddenStates:
    """Bring hidden states to the SSL grid, on which phones are labelled and layers are compared.

    Args:
        hidden: states [layer, batch, frame, dim].
        hop: of the representation, 320 (nothing to do) or 160 (every second frame, see `signal.to_ssl_grid`).
        samples: samples of every item, one number or [batch].

    Returns:
        States of (samples - 400) // 320 + 1 frames.
    """
    if hop == SSL_HOP:
        return hidden
    lengths = ssl_frames(torch.as_tensor(samples, device=hidden.states.device)).expand(hidden.states.shape[1])
    states = to_ssl_grid(hidden.states, int(lengths.max()))
    return HiddenStates(states * valid_mask(lengths, states.shape[2])[..., None], lengths)


def load_representation(name: str | Path | dict[str, Any], token: str | bool | None = None) -> Representation:
    """Frozen representation in evaluation mode.

    Args:
        name: "log1p"; "mini" or "mini-kmeans" (they come with the package); a folder that `MelTransformer.save` or
            `transformers` wrote; or a name on the Hugging Face hub, such as "microsoft/wavlm-base-plus". A dict is
            the `settings()` of a representation: the same kind and options, fresh weights to copy trained ones into.
        token: for a private model on the hub; by default that of `hf auth login` or HF_TOKEN.

    Raises:
        ModelError: if there is no such model, it cannot be reached or read, or it is of another kind.

    >>> load_representation("log1p").dim
    257
    """
    if isinstance(name, dict):
        return _from_settings(name).eval().requires_grad_(False)
    if name == "log1p":
        return Log1p()
    from phonemi.models.mel_transformers import MODEL_TYPE, MelTransformer

    folder, name = shipped.folder_of(name, MODEL_TYPE) or Path(name), str(name)
    if not folder.exists() and "/" not in name:  # nothing that the hub could have
        known = f"one that ships ({shipped.listed(MODEL_TYPE)})"
        raise ModelError(f"no encoder {name!r}: expected {known}, a folder, a hub id such as microsoft/wavlm-base")
    if not (folder / "config.json").exists() or _model_type(folder / "config.json") != MODEL_TYPE:
        return HuggingFaceRepresentation(_pretrained(name, token), name)
    encoder = MelTransformer.load(folder).requires_grad_(False)
    encoder.name = name
    return encoder


def _from_settings(settings: dict[str, Any]) -> Representation:
    from phonemi.models.mel_transformers import MelTransformer, MelTransformerConfig

    name = settings["name"]
    if name == "log1p":
        return Log1p()
    if "config" not in settings:
        sizes = {key: value for key, value in settings.items() if key != "name"}
        return MelTransformer(MelTransformerConfig.from_json(sizes), name)
    _import_model(name, settings["config"]["model_type"])
    from transformers import AutoConfig, AutoModel

    model = AutoModel.from_config(AutoConfig.for_model(**settings["config"]))
    return HuggingFaceRepresentation(model, name, settings["normalise"], settings["layer_norm_states"])


def _model_type(path: Path) -> str | None:
    try:
        return read_json(path).get("model_type")
    except (DataError, AttributeError) as error:
        raise ModelError(f"{path} is not the configuration of a model ({error})") from None


def _pretrained(name: str, token: str | bool | None) -> nn.Module:
    """The model of a local folder or of the hub, without the heads it may have."""
    _import_model(name)
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # its report of unused heads frightens; what matters is checked below
    try:
        config = AutoConfig.from_pretrained(name, token=token)
        _import_model(name, config.model_type)
        model, report = AutoModel.from_pretrained(name, config=config, output_loading_info=True, token=token)
    except (OSError, ValueError, RuntimeError) as error:
        raise unreachable_model(name, error) from None
    finally:
        logging.set_verbosity(verbosity)
    if missing := sorted(set(report["missing_keys"]) - {"masked_spec_embed"}):
        raise ModelError(f"{name}: {len(missing)} weights are missing in the file, {missing[0]} the first of them")
    return model


def _import_model(name: str, model_type: str | None = None) -> None:
    if model_type is not None and model_type not in MODEL_TYPES:
        raise ModelError(f"{name} is of type {model_type!r}; known: {', '.join(MODEL_TYPES)}")
    import_transformers(name, model_type)
