"""A small speech encoder of our own: a transformer on log-mel frames that can be trained and run on a CPU.

It is the encoder of MelHuBERT (Lin et al. 2022, arXiv:2211.09944) with pre-norm blocks and a short convolutional
position embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.errors import ModelError
from phonemi.representations.base import HiddenStates, check_lengths
from phonemi.representations.saved_encoder import EncoderConfig, SavedEncoder
from phonemi.signal import SSL_FIELD, SSL_HOP, log_mel, ssl_frames, valid_mask

MODEL_TYPE = "phonemi-mel-transformer"
LEVEL_RMS = 0.05  # -26 dB re full scale, a usual level of speech


@dataclass(frozen=True)
class MelTransformerConfig(EncoderConfig):
    """Sizes of a `MelTransformer`; the section `encoder` of the configuration tells the usual ones."""

    model_type: ClassVar[str] = MODEL_TYPE

    mels: int
    dim: int
    blocks: int
    heads: int
    feedforward: int
    position_kernel: int  # frames of 20 ms
    block_kernel: int = 0  # frames of 20 ms of the convolution in a block; 0: there is none
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.dim % self.heads or self.position_kernel % 2 == 0 or self.block_kernel % 2 == 0 < self.block_kernel:
            raise ModelError(
                f"dim {self.dim} must be a multiple of heads {self.heads}, position_kernel {self.position_kernel} odd, "
                f"and block_kernel {self.block_kernel} odd or 0"
            )


class Block(nn.Module):
    """Pre-norm transformer block, [batch, frame, dim] -> [batch, frame, dim].

    With a `block_kernel` it convolves between attention and perceptron, as a Conformer does (arXiv 2005.08100, less its
    gate): neighbouring frames decide which phone it is, and attention learns that only from much speech.
    """

    def __init__(self, config: MelTransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(config.dim)
        self.query_key_value = nn.Linear(config.dim, 3 * config.dim)
        self.attention_output = nn.Linear(config.dim, config.dim)
        self.convolution = Convolution(config) if config.block_kernel else None
        self.feedforward_norm = nn.LayerNorm(config.dim)
        self.feedforward_input = nn.Linear(config.dim, config.feedforward)
        self.feedforward_output = nn.Linear(config.feedforward, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, frames: Tensor, keys: Tensor | None) -> Tensor:
        """`keys`, bool [batch, 1, 1, frame], is False for frames that may not be attended to; None: all may."""
        frames = frames + self.dropout(self.attend(self.attention_norm(frames), keys))
        if self.convolution is not None:
            frames = frames + self.dropout(self.convolution(frames, keys))
        hidden = functional.gelu(self.feedforward_input(self.feedforward_norm(frames)))
        update: Tensor = self.dropout(self.feedforward_output(hidden))
        return frames + update

    def attend(self, frames: Tensor, keys: Tensor | None) -> Tensor:
        """Multi-head self-attention, arguments as for `forward`."""
        batch, count, _ = frames.shape
        projected = self.query_key_value(frames).view(batch, count, 3, self.heads, -1)
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind()
        if query.requires_grad and query.dtype == torch.bfloat16 and query.device.type == "cpu":
            # The backward pass of the fused kernel gains nothing from bfloat16 on a CPU, where a training step takes
            # 1.25 times as long with it as with plain products. Everywhere else the fused kernel is faster.
            scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
            mixed = (scores if keys is None else scores.masked_fill(~keys, -torch.inf)).softmax(-1) @ value
        else:
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=keys)
        output: Tensor = self.attention_output(mixed.transpose(1, 2).reshape(batch, count, -1))
        return output


class Convolution(nn.Module):
    """A convolution of each feature along time, then a linear layer: [batch, frame, dim] -> [batch, frame, dim]."""

    def __init__(self, config: MelTransformerConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.depthwise = along_time(config.dim, config.block_kernel)
        self.output = nn.Linear(config.dim, config.dim)

    def forward(self, frames: Tensor, keys: Tensor | None) -> Tensor:
        """Arguments as for `Block.forward`."""
        hidden = self.norm(frames)
        if keys is not None:
            hidden = hidden * keys[:, 0, 0, :, None]  # or padding would be carried into the last frames
        hidden = self.depthwise(hidden.transpose(1, 2).unsqueeze(2)).squeeze(2).transpose(1, 2)
        output: Tensor = self.output(functional.silu(hidden))
        return output


def along_time(dim: int, kernel: int) -> nn.Conv2d:
    """A convolution of each feature along time, over [batch, dim, 1, frame].

    Only 2-d convolutions take [batch, frame, dim] as it lies in memory (channels last). On a CPU that is 2 (bfloat16)
    to 3 times as fast as Conv1d, forward and backward.
    """
    return nn.Conv2d(dim, dim, (1, kernel), padding=(0, kernel // 2), groups=dim)


class MelTransformer(SavedEncoder):
    """Log-mel pairs, a linear layer, a convolutional position embedding, then pre-norm transformer blocks.

    Frame t covers the same samples as frame t of HuBERT, WavLM and wav2vec2: it is centred at sample 320 t + 200, and
    there are (samples - 400) // 320 + 1 frames. Hidden state 0 is the input of the first block, hidden state i the
    output of block i. Each goes through a LayerNorm without parameters: the residual stream of a pre-norm transformer
    grows with depth, and the last layers would otherwise outweigh all others in a sum.

    All parameters are trainable at first, as pre-training needs it.
    """

    hop = SSL_HOP
    config: MelTransformerConfig
    config_type = MelTransformerConfig
    mask_parameter = "mask_embedding"
    front_end = ("embedding",)
    mean: Tensor  # [mels], see `set_statistics`
    std: Tensor

    def __init__(self, config: MelTransformerConfig, name: str = MODEL_TYPE) -> None:
        super().__init__()
        self.config = config
        self.name, self.layers, self.dim = name, config.blocks + 1, config.dim
        self.register_buffer("mean", torch.zeros(config.mels))
        self.register_buffer("std", torch.ones(config.mels))
        self.embedding = nn.Linear(2 * config.mels, config.dim)
        self.mask_embedding = nn.Parameter(0.5 * torch.randn(config.dim))
        self.position = along_time(config.dim, config.position_kernel)
        self.first_state = nn.Identity()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Standardise features with this mean and deviation of `levelled_log_mel`, [mels] both; the floor is 0.001."""
        self.mean.copy_(mean)
        self.std.copy_(std.clamp_min(1e-3))

    def frames(self, samples: int) -> int:
        return ssl_frames(samples)

    def block_of(self, name: str) -> int:
        return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else 0

    def layer_modules(self) -> list[nn.Module]:
        return [self.first_state, *self.blocks]

    def features(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute `mel_pairs`, with arguments and errors as for `Representation.forward`."""
        lengths = check_lengths(waveforms, lengths, SSL_FIELD)
        with torch.autocast(waveforms.device.type, enabled=False):
            return mel_pairs(waveforms, lengths, self.mean, self.std)

    def encode(
        self, features: Tensor, lengths: Tensor | None = None, mask: Tensor | None = None, collect: bool = True
    ) -> HiddenStates:
        """Compute hidden states from features.

        Args:
            features: [batch, frame, 2 * mels] from `features`.
            lengths: [batch], number of frames of each item; None: all.
            mask: bool [batch, frame], True where the learned mask embedding takes the place of the frame.
            collect: False returns only the last hidden state, [1, batch, frame, dim].
        """
        batch, count, _ = features.shape
        valid = None
        if lengths is None:
            lengths = torch.full((batch,), count, device=features.device)
        elif bool((lengths != count).any()):
            valid = valid_mask(lengths.to(features.device), count)
        # Autocast gives a bfloat16 embedding; the residual stream stays in the precision of the parameters.
        frames: Tensor = self.embedding(features).to(self.mask_embedding.dtype)
        if mask is not None:
            frames = torch.where(mask[..., None], self.mask_embedding, frames)
        if valid is not None:
            frames = frames * valid[..., None]  # or the convolution would carry padding into the last frames
        positions = self.position(frames.transpose(1, 2).unsqueeze(2)).squeeze(2).transpose(1, 2)
        states = [self.first_state(frames + functional.gelu(positions))]
        keys = None if valid is None else valid[:, None, None]
        for block in self.blocks:
            states.append(block(states[-1], keys))
        returned = states if collect else states[-1:]
        hidden_states = torch.stack([functional.layer_norm(state, (self.dim,)) for state in returned])
        return HiddenStates(hidden_states if valid is None else hidden_states * valid[..., None], lengths)

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> HiddenStates:
        lengths = check_lengths(waveforms, lengths, SSL_FIELD)
        return self.encode(self.features(waveforms, lengths), ssl_frames(lengths))


def mel_pairs(waveforms: Tensor, lengths: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Compute `levelled_log_mel`, standardise it by `mean` and `std`, [mels], and put two frames of 10 ms side by side.

    Returns:
        float32 [batch, frame, 2 * mels], a frame every 20 ms; zero beyond the lengths, which count samples.
    """
    mel, valid = levelled_log_mel(waveforms, lengths, len(mean))
    frames = (mel - mean) / std * valid[..., None]
    return frames.reshape(mel.shape[0], mel.shape[1] // 2, 2 * len(mean))


def levelled_log_mel(waveforms: Tensor, lengths: Tensor, mels: int) -> tuple[Tensor, Tensor]:
    """Compute log-mel frames that do not depend on the level of the recording, [batch, 2 * frame, mels].

    Which of them belong to the item, of `lengths` samples, is the second result, bool [batch, 2 * frame].
    """
    within = waveforms.float() * valid_mask(lengths, waveforms.shape[-1])
    # The logarithm has a floor under it: a faint recording is amplified first, so that the floor is equally far down.
    # Clamped before the root, whose gradient at 0 is infinite.
    rms = (within.square().sum(1) / lengths).clamp_min(1e-24).sqrt()
    mel = log_mel(within * (LEVEL_RMS / rms)[:, None], mels)
    # The level that is left is the mean over the valid frames and all bins.
    valid = valid_mask(2 * ssl_frames(lengths), mel.shape[1])
    weight = valid[..., None] / (valid.sum(1)[:, None, None] * mels)
    return mel - (mel * weight).sum((1, 2), keepdim=True), valid
