"""Mockingjay (Liu et al. 2020, arXiv:1910.12638) and TERA (Liu et al. 2021, arXiv:2007.06028), as S3PRL has them.

Both are one network, a BERT over frames of 10 ms, and differ in what was altered in their pre-training. Published
weights are read by `s3prl_checkpoint`; `phonemi pretrain` trains others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from phonemi.errors import ModelError
from phonemi.representations.acoustic_features import fbank_frames, mel_frames, standardise
from phonemi.representations.base import HiddenStates, check_lengths
from phonemi.representations.saved_encoder import EncoderConfig, SavedEncoder
from phonemi.signal import HOP, WINDOW, stft_frames, valid_mask

FRONT_ENDS = ("mel", "fbank")
LAYER_NORM_EPS = 1e-12
INITIAL_STD = 0.02  # of the weights before pre-training
MASKED_SCORE = -10_000.0  # added to the attention scores of padding


@dataclass(frozen=True)
class TeraConfig(EncoderConfig):
    """Sizes and options of a `Tera`; the default is the published TERA. The published Mockingjay has 12 blocks."""

    model_type: ClassVar[str] = "phonemi-tera"

    front_end: Literal["mel", "fbank"] = "mel"
    mels: int = 80
    dim: int = 768
    blocks: int = 3
    heads: int = 12
    feedforward: int = 3072
    longest: int = 1500  # frames of 10 ms; what is longer is encoded in equal parts; 0: never
    pre_norm: bool = False  # LayerNorm before attention and perceptron, and one more for each hidden state
    dropout: float = 0.1
    attention_dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.front_end not in FRONT_ENDS or self.dim % self.heads or self.longest < 0:
            raise ModelError(
                f"front_end {self.front_end!r} must be one of {', '.join(FRONT_ENDS)}, dim {self.dim} a multiple of "
                f"heads {self.heads}, and longest {self.longest} not below 0"
            )


class Block(nn.Module):
    """Transformer block of BERT, [batch, frame, dim] -> [batch, frame, dim]."""

    def __init__(self, config: TeraConfig) -> None:
        super().__init__()
        self.heads, self.pre_norm, self.attention_dropout = config.heads, config.pre_norm, config.attention_dropout
        self.query = nn.Linear(config.dim, config.dim)
        self.key = nn.Linear(config.dim, config.dim)
        self.value = nn.Linear(config.dim, config.dim)
        self.attention_output = nn.Linear(config.dim, config.dim)
        self.attention_norm = nn.LayerNorm(config.dim, LAYER_NORM_EPS)
        self.feedforward_input = nn.Linear(config.dim, config.feedforward)
        self.feedforward_output = nn.Linear(config.feedforward, config.dim)
        self.feedforward_norm = nn.LayerNorm(config.dim, LAYER_NORM_EPS)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, frames: Tensor, scores: Tensor | None) -> Tensor:
        """`scores`, [batch, 1, 1, frame], is added to what queries and keys score; None: nothing."""
        if self.pre_norm:
            frames = frames + self.dropout(self.attend(self.attention_norm(frames), scores))
            frames = frames + self.dropout(self.perceive(self.feedforward_norm(frames)))
        else:
            frames = self.attention_norm(frames + self.dropout(self.attend(frames, scores)))
            frames = self.feedforward_norm(frames + self.dropout(self.perceive(frames)))
        return frames

    def attend(self, frames: Tensor, scores: Tensor | None) -> Tensor:
        """Multi-head self-attention, arguments as for `forward`."""
        query, key, value = (
            layer(frames).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if scores is None else scores.to(query.dtype),
            dropout_p=self.attention_dropout if self.training else 0.0,
        )
        output: Tensor = self.attention_output(mixed.transpose(1, 2).flatten(2))
        return output

    def perceive(self, frames: Tensor) -> Tensor:
        """The perceptron, with the exact GELU."""
        output: Tensor = self.feedforward_output(functional.gelu(self.feedforward_input(frames)))
        return output


class Tera(SavedEncoder):
    """Mockingjay or TERA: standardised frames of 10 ms, a linear layer, sinusoidal positions, blocks of BERT.

    Hidden state 0 is the layer-normalised sum of projection and positions, hidden state i the output of block i. The
    front-end "mel" gives 1 + sample // 160 frames, centred at sample 160 k, and needs 201 samples; "fbank" gives
    (sample - 400) // 160 + 1 frames, centred at 160 k + 200. Both are standardised over the whole utterance, and so
    depend on what comes later in it.

    What has more than `config.longest` frames is encoded in the fewest equal parts that do not, each of which counts
    its positions from 0 and hears nothing of the others.
    """

    hop = HOP
    front_end = ("projection",)
    config: TeraConfig
    config_type = TeraConfig

    def __init__(self, config: TeraConfig, name: str = TeraConfig.model_type) -> None:
        super().__init__()
        self.config = config
        self.name, self.layers, self.dim = name, config.blocks + 1, config.dim
        self.shortest = WINDOW // 2 + 1 if config.front_end == "mel" else WINDOW
        self.first_centre = 0 if config.front_end == "mel" else WINDOW // 2
        self.bins = config.mels if config.front_end == "mel" else 3 * config.mels
        self.projection = nn.Linear(self.bins, config.dim)
        self.projection_norm = nn.LayerNorm(config.dim, LAYER_NORM_EPS)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        norms = self.layers if config.pre_norm else 0
        self.state_norms = nn.ModuleList(nn.LayerNorm(config.dim, LAYER_NORM_EPS) for _ in range(norms))
        self.apply(initialise)

    def frames(self, samples: int) -> int:
        if samples < self.shortest:
            return 0
        return stft_frames(samples - 2 * self.first_centre)

    def block_of(self, name: str) -> int:
        part, _, rest = name.partition(".")
        number = int(rest.partition(".")[0]) if part in ("blocks", "state_norms") and rest else 0
        return number + 1 if part == "blocks" and rest else number

    def layer_modules(self) -> list[nn.Module]:
        return [self.dropout, *self.blocks]

    def features(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The standardised frames that the encoder reads, each item alone.

        Arguments and errors are those of `Representation.forward`.

        Returns:
            float32 [batch, frame, bin], zero beyond the end of an item.
        """
        lengths = check_lengths(waveforms, lengths, self.shortest)
        front_end = mel_frames if self.config.front_end == "mel" else fbank_frames
        with torch.autocast(waveforms.device.type, enabled=False):
            items = [
                standardise(front_end(waveform[:length].float(), self.config.mels))
                for waveform, length in zip(waveforms, lengths.tolist(), strict=True)
            ]
        return pad_sequence(items, batch_first=True)

    def encode(self, features: Tensor, lengths: Tensor | None = None) -> HiddenStates:
        """Compute hidden states from `features`, [batch, frame, bin]; `lengths` counts frames, None: all."""
        batch, count, _ = features.shape
        if lengths is None:
            lengths = torch.full((batch,), count, device=features.device)
        lengths = lengths.to(features.device)
        parts = [
            part
            for item, length in zip(features, lengths.tolist(), strict=True)
            for part in self._split(item[:length], 0)
        ]
        part_lengths = torch.tensor([len(part) for part in parts], device=features.device)
        within = valid_mask(part_lengths, int(part_lengths.max()))
        states = self._encode(pad_sequence(parts, batch_first=True), None if bool(within.all()) else within)
        if len(parts) == batch and states.shape[2] == count:
            return HiddenStates(states * within[..., None], lengths)
        # Parts and items have the same frames in the same order.
        hidden = states.new_zeros(len(states), batch, count, self.dim)
        hidden[:, valid_mask(lengths, count)] = states[:, within]
        return HiddenStates(hidden, lengths)

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> HiddenStates:
        lengths = check_lengths(waveforms, lengths, self.shortest)
        features = self.features(waveforms, lengths)
        features = functional.pad(features, (0, 0, 0, self.frames(waveforms.shape[1]) - features.shape[1]))
        return self.encode(features, self._count(lengths))

    def padded(self, waveforms: Tensor, lengths: Tensor) -> HiddenStates:
        """Encode a batch as S3PRL does: the longest item decides into how many parts all are split.

        With "mel", a spectrum ends in the zeros behind its item and not in its mirror image, and an item has as many
        frames as its share of the longest one's.
        """
        lengths = check_lengths(waveforms, lengths, self.shortest)
        counts = own = self._count(lengths)
        if self.config.front_end == "mel":
            longest = int(lengths.max())
            counts = (lengths.double() / (longest / self.frames(longest))).round().long()
            with torch.autocast(waveforms.device.type, enabled=False):
                items = [
                    standardise(mel_frames(waveform[:length].float(), self.config.mels, longest - length)[:count])
                    for waveform, length, count in zip(waveforms, lengths.tolist(), counts.tolist(), strict=True)
                ]
            features = pad_sequence(items, batch_first=True)
        else:
            features = self.features(waveforms, lengths)
        states, start = [], 0
        for part in self._split(features, 1):
            states.append(self._encode(part, valid_mask(counts - start, part.shape[1])))
            start += part.shape[1]
        hidden = torch.cat(states, dim=2)
        hidden = functional.pad(hidden, (0, 0, 0, self.frames(waveforms.shape[1]) - hidden.shape[2]))
        return HiddenStates(hidden * valid_mask(own, hidden.shape[2])[..., None], own)

    def _count(self, lengths: Tensor) -> Tensor:
        """Number of frames of items of so many samples."""
        return torch.tensor([self.frames(length) for length in lengths.tolist()], device=lengths.device)

    def _split(self, frames: Tensor, dim: int) -> tuple[Tensor, ...]:
        """Equal parts, along an axis, of at most `config.longest` frames."""
        longest = self.config.longest or frames.shape[dim]
        return frames.chunk(math.ceil(frames.shape[dim] / longest), dim)

    def _encode(self, features: Tensor, valid: Tensor | None) -> Tensor:
        """[batch, frame, bin], which frames may be attended to (None: all) -> [layer, batch, frame, dim]."""
        positions = position_table(features.shape[1], self.dim).to(features)
        hidden = self.dropout(self.projection_norm(self.projection(features) + positions))
        scores = None if valid is None else (~valid).to(positions.dtype)[:, None, None] * MASKED_SCORE
        states = [hidden]
        for block in self.blocks:
            states.append(block(states[-1], scores))
        if self.state_norms:
            states = [norm(state) for norm, state in zip(self.state_norms, states, strict=True)]
        return torch.stack(states)


def position_table(frames: int, dim: int) -> Tensor:
    """sin (even j) or cos (odd j) of position / 10000^(2 floor(j / 2) / dim), float32 [frame, dim].

    >>> position_table(1, 4)
    tensor([[0., 1., 0., 1.]])
    """
    return _position_table(-(-frames // 1024) * 1024, dim)[:frames]


@lru_cache(maxsize=8)
def _position_table(frames: int, dim: int) -> Tensor:
    angles = np.arange(frames)[:, None] / 10_000 ** (2 * (np.arange(dim) // 2) / dim)
    angles[:, 0::2] = np.sin(angles[:, 0::2])
    angles[:, 1::2] = np.cos(angles[:, 1::2])
    return torch.from_numpy(angles.astype(np.float32))


def initialise(module: nn.Module) -> None:
    """Weights before pre-training: those of linear layers small and random, their biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=INITIAL_STD)
        nn.init.zeros_(module.bias)
