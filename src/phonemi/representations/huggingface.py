"""HuBERT, WavLM and wav2vec2 of `transformers` as representations."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.errors import ModelError
from phonemi.representations.base import HiddenStates, Representation, checked_lengths
from phonemi.representations.wavlm_attention import fuse_attention
from phonemi.signal import HOP, SSL_HOP, valid_mask
from phonemi.transformers_import import import_transformers, unreachable_model

MODEL_TYPES = ("hubert", "wavlm", "wav2vec2")  # of transformers


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
