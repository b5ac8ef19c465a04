"""HuBERT, WavLM and wav2vec2 of the `transformers` package as representations."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.errors import ModelError
from phonemi.representations.base import HiddenStates, Representation, check_lengths
from phonemi.representations.wavlm_attention import fuse_attention
from phonemi.signal import HOP, SSL_HOP, valid_mask

BLOCKS = "model.encoder.layers."  # prefix of the parameters of all transformer blocks


class HuggingFaceRepresentation(Representation):
    """HuBERT, WavLM or wav2vec2, in evaluation mode and frozen until `unfreeze` is called.

    Hidden state 0 is the input of the first transformer block (convolutions, projection, position embedding and, in
    Base models, LayerNorm), hidden state i the output of block i. In pre-norm (Large) models the last one is taken
    after the final LayerNorm. These are the tensors that S3PRL hooks.

    Training drops activations out at the rates of the model's configuration, in blocks that are trained. It drops no
    blocks (LayerDrop), which would have no hidden state then, and masks nothing (SpecAugment) unless
    `model.config.apply_spec_augment` is set to True afterwards; torch's seed does not set those masks.

    WavLM's table of position biases is a parameter of block 1 that all blocks use. It is trained with block 1 only,
    because it would change frozen blocks otherwise.

    Args:
        model: a `HubertModel`, `WavLMModel` or `Wav2Vec2Model`.
        name: the name that `load_representation` was called with.
        normalise: bring each waveform to zero mean and unit variance over its valid samples. None: as the models were
            trained, that is, where the front-end normalises by layer (Large), not where it normalises by group (Base).
        layer_norm_states: pass each hidden state through a LayerNorm without parameters. None: for pre-norm models
            only, whose inner states are raw residual streams that grow with depth.
        fused: replace the attention by a faster one with the same results, see `wavlm_attention.fuse_attention`.

    Raises:
        ModelError: if the convolutions do not step by 160 or 320 samples, as the frames of an enhancer do.
    """

    mask_parameter = "model.masked_spec_embed"
    front_end = ("model.feature_extractor",)

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
        self.model = model.float().requires_grad_(False)
        self.name, self.layers, self.dim = name, config.num_hidden_layers + 1, config.hidden_size
        self.convolutions = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.hop = math.prod(config.conv_stride)
        if self.hop not in (HOP, SSL_HOP):
            raise ModelError(f"{name} has a frame every {self.hop} samples; only {HOP} and {SSL_HOP} can be used")
        self.shortest = 1  # samples that one frame takes
        for kernel, stride in reversed(self.convolutions):
            self.shortest = (self.shortest - 1) * stride + kernel
        self.first_centre = self.shortest // 2
        self.is_pre_norm: bool = config.do_stable_layer_norm
        # A group norm takes its statistics over time, so that padding changes every frame, whatever is masked later.
        self.padding_leaks: bool = config.feat_extract_norm == "group"
        self.normalise = not self.padding_leaks if normalise is None else normalise
        self.layer_norm_states = self.is_pre_norm if layer_norm_states is None else layer_norm_states
        self.eval()

    def frames(self, samples: int) -> int:
        for kernel, stride in self.convolutions:
            samples = max((samples - kernel) // stride + 1, 0)
        return samples

    def block_of(self, name: str) -> int:
        if name.startswith(BLOCKS):
            return int(name.removeprefix(BLOCKS).partition(".")[0]) + 1
        # The LayerNorm of the encoder comes after the blocks of a pre-norm model, and before those of a post-norm one.
        return self.layers - 1 if self.is_pre_norm and name.startswith("model.encoder.layer_norm") else 0

    def layer_modules(self) -> list[nn.Module]:
        encoder: Any = self.model.encoder
        return [encoder.dropout, *encoder.layers]

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> HiddenStates:
        """As `Representation.forward`. Where padding would leak, only items of equal length run together."""
        return self._encode(waveforms, lengths, as_s3prl=False)

    def padded(self, waveforms: Tensor, lengths: Tensor) -> HiddenStates:
        """Encode items of all lengths together, as S3PRL does: a group norm in the front-end sees the padding.

        S3PRL splits the padded batch evenly into frames, and masks a frame only if all of its samples are padding.
        """
        return self._encode(waveforms, lengths, as_s3prl=True)

    def settings(self) -> dict[str, Any]:
        config: Any = self.model.config
        options = {"normalise": self.normalise, "layer_norm_states": self.layer_norm_states}
        return {"name": self.name, **options, "config": config.to_dict()}

    def _encode(self, waveforms: Tensor, lengths: Tensor | None, as_s3prl: bool) -> HiddenStates:
        all_valid = lengths is None
        lengths = check_lengths(waveforms, lengths, self.shortest)
        waveforms = normalise_waveforms(waveforms, lengths) if self.normalise else waveforms
        if all_valid:  # no number is read from a tensor here, so that a traced graph fits any batch and length
            states = self._run(waveforms, None)
            return HiddenStates(states, torch.full_like(lengths, states.shape[2]))
        counts = torch.tensor([self.frames(int(n)) for n in lengths], device=waveforms.device)
        longest, frames = int(lengths.max()), int(counts.max())
        if int(lengths.min()) == longest:
            states = self._run(waveforms[:, :longest], None)
        elif self.padding_leaks and not as_s3prl:
            states = self._run_by_length(waveforms, lengths)
        else:
            samples_per_frame = longest // frames
            attended = (-(-lengths // samples_per_frame)).clamp_max(frames) if as_s3prl else counts
            # The model wants a mask of samples and counts the frames that they give: hence the way back.
            mask = valid_mask((attended - 1) * self.hop + self.shortest, longest)
            states = self._run(waveforms[:, :longest] * valid_mask(lengths, longest), mask)
        # As many frames as the padded waveforms have, though the longest item may be shorter.
        states = functional.pad(states, (0, 0, 0, self.frames(waveforms.shape[1]) - states.shape[2]))
        return HiddenStates(states * valid_mask(counts, states.shape[2])[..., None], counts)

    def _run_by_length(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Run items of the same length together, and put the items back in order."""
        frames = self.frames(int(lengths.max()))
        rows, states = [], []
        for length in sorted(set(lengths.tolist())):
            rows.append((lengths == length).nonzero()[:, 0])
            group = self._run(waveforms[rows[-1], :length], None)
            states.append(functional.pad(group, (0, 0, 0, frames - group.shape[2])))
        return torch.cat(states, dim=1)[:, torch.cat(rows).argsort()]

    def _run(self, waveforms: Tensor, valid: Tensor | None) -> Tensor:
        """Call the model once, [batch, sample] -> [layer, batch, frame, dim]."""
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
        if self.layer_norm_states:
            states = [functional.layer_norm(state, (self.dim,)) for state in states]
        return torch.stack(states)


def normalise_waveforms(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Bring each item to zero mean and unit variance over its valid samples; zeros beyond, [batch, sample].

    The variance has the floor 1e-7 of the feature extractor of `transformers`.
    """
    valid = valid_mask(lengths, waveforms.shape[1])
    count = lengths[:, None]
    centred = (waveforms - (waveforms * valid).sum(1, keepdim=True) / count) * valid
    return centred / (centred.square().sum(1, keepdim=True) / count + 1e-7).sqrt()
