"""The encoder of Whisper (Radford et al. 2023) as a representation: it was trained with transcripts, not by itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi.constants import SAMPLE_RATE
from phonemi.representations.base import HiddenStates, Representation, check_lengths
from phonemi.signal import HOP, SSL_FIELD, SSL_HOP, WINDOW, ssl_frames, valid_mask

MODEL_TYPE = "whisper"  # as transformers calls it
BLOCKS = "model.layers."  # prefix of the parameters of all transformer blocks
STEP = 1000  # frames from one window of a long recording to the next
MARGIN = 250  # frames at the seam of two windows that serve as context alone


class WhisperRepresentation(Representation):
    """The encoder of Whisper without its decoder, frozen until `unfreeze` is called.

    Whisper pads every recording to 30 s and centres its first frame at the first sample. Here a recording has its own
    length, and a frame is where those of HuBERT, WavLM and wav2vec2 are: frame t is centred at sample 320 t + 200, and
    there are (samples - 400) // 320 + 1. On 30 s the states are those of transformers. Positions end at 30 s (1 500
    frames): a longer recording is encoded in windows of 30 s every 20 s, each frame taken where it is farther from an
    end.

    Hidden state 0 is the input of the first block (two convolutions and positions), hidden state i the output of block
    i, the last one after the final LayerNorm. The positions are never trained.

    Args:
        model: a `WhisperEncoder`.
        name: the name that `load_representation` was called with.
        layer_norm_states: pass each hidden state through a LayerNorm without parameters, because the residual stream of
            a pre-norm model grows with depth. None: yes.
    """

    hop = SSL_HOP
    front_end = ("model.conv1", "model.conv2")
    filters: Tensor  # [201, mels]

    def __init__(self, model: nn.Module, name: str, layer_norm_states: bool | None = None) -> None:
        from transformers.audio_utils import mel_filter_bank

        super().__init__()
        config: Any = model.config
        self.model: Any = model.float().requires_grad_(False)
        self.name, self.layers, self.dim = name, config.encoder_layers + 1, config.d_model
        self.longest: int = config.max_source_positions
        self.layer_norm_states = layer_norm_states is not False
        filters = mel_filter_bank(
            WINDOW // 2 + 1, config.num_mel_bins, 0.0, SAMPLE_RATE / 2, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)
        self.eval()

    def frames(self, samples: int) -> int:
        return ssl_frames(samples)

    def block_of(self, name: str) -> int:
        if name.startswith(BLOCKS):
            return int(name.removeprefix(BLOCKS).partition(".")[0]) + 1
        return self.layers - 1 if name.startswith("model.layer_norm") else 0

    def unfreeze(self, from_block: int = 1, keep_front_end: bool = False) -> WhisperRepresentation:
        super().unfreeze(from_block, keep_front_end)
        self.model.embed_positions.requires_grad_(False)
        return self

    def settings(self) -> dict[str, Any]:
        options = {"layer_norm_states": self.layer_norm_states}
        return {"name": self.name, **options, "config": self.model.config.to_dict()}

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> HiddenStates:
        all_valid = lengths is None
        lengths = check_lengths(waveforms, lengths, SSL_FIELD)
        if ssl_frames(waveforms.shape[1]) > self.longest:
            return self._encode_long(waveforms, lengths)
        mel, valid = self.log_mel(waveforms, lengths)
        if all_valid:
            return HiddenStates(self._encode(mel, None), ssl_frames(lengths))
        return HiddenStates(self._encode(mel, valid), ssl_frames(lengths))

    def log_mel(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The input of Whisper: log-mel power from 8 decades below the loudest value of an item on, about -1 to 1.

        It is computed in float32, also under autocast.

        Returns:
            [batch, frame, mels], frame k over samples [160 k, 160 k + 400), zero beyond the end of an item; and which
            frames belong to the item, bool [batch, frame].
        """
        window = torch.hann_window(WINDOW, device=waveforms.device)
        with torch.autocast(waveforms.device.type, enabled=False):
            power = torch.fft.rfft(waveforms.float().unfold(-1, WINDOW, HOP) * window).abs().square()
            mel = (power @ self.filters).clamp_min(1e-10).log10()
        valid = valid_mask((lengths - WINDOW) // HOP + 1, mel.shape[1])
        loudest = mel.masked_fill(~valid[..., None], -torch.inf).amax((1, 2), keepdim=True)
        return (torch.maximum(mel, loudest - 8) + 4) / 4 * valid[..., None], valid

    def _encode(self, mel: Tensor, valid: Tensor | None) -> Tensor:
        """[batch, 10-ms frame, mels] of at most 30 s -> [layer, batch, frame, dim]; `valid` as `log_mel` gives it."""
        hidden = functional.gelu(self.model.conv1(mel.transpose(1, 2)))
        if valid is not None:
            hidden = hidden * valid[:, None]  # or the second convolution would carry padding into the last frame
        hidden = functional.gelu(self.model.conv2(hidden)).transpose(1, 2)
        hidden = hidden + self.model.embed_positions.weight[: hidden.shape[1]]
        within = None if valid is None else valid[:, ::2]
        states = [hidden]
        for block in self.model.layers:
            states.append(_run_block(block, states[-1], None if within is None else within[:, None, None]))
        states[-1] = self.model.layer_norm(states[-1])
        if self.layer_norm_states:
            states = [functional.layer_norm(state, (self.dim,)) for state in states]
        stacked = torch.stack(states)
        return stacked if within is None else stacked * within[..., None]

    def _encode_long(self, waveforms: Tensor, lengths: Tensor) -> HiddenStates:
        """Items of which one is longer than 30 s, each by itself."""
        states = []
        for waveform, length in zip(waveforms, lengths, strict=True):
            mel, _ = self.log_mel(waveform[None, : int(length)], length[None])
            windows = max(0, -(-(int(ssl_frames(length)) - self.longest) // STEP)) + 1
            pieces = []
            for index in range(windows):
                start = 2 * STEP * index
                piece = self._encode(mel[:, start : start + 2 * self.longest], None)[:, 0]
                end = piece.shape[1] if index == windows - 1 else STEP + MARGIN
                pieces.append(piece[:, (0 if index == 0 else MARGIN) : end])
            states.append(torch.cat(pieces, 1))
        frames = ssl_frames(waveforms.shape[1])
        padded = [functional.pad(state, (0, 0, 0, frames - state.shape[1])) for state in states]
        return HiddenStates(torch.stack(padded, 1), ssl_frames(lengths))


def _run_block(block: Any, frames: Tensor, keys: Tensor | None) -> Tensor:
    """A `WhisperEncoderLayer`, [batch, frame, dim]; `keys`, bool [batch, 1, 1, frame], says what may be attended to."""
    attention = block.self_attn
    batch, count, dim = frames.shape
    normed = block.self_attn_layer_norm(frames)
    query, key, value = (
        projection(normed).view(batch, count, attention.num_heads, -1).transpose(1, 2)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    dropped = attention.dropout if block.training else 0.0
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=keys, dropout_p=dropped)
    update = attention.out_proj(mixed.transpose(1, 2).reshape(batch, count, dim))
    frames = frames + functional.dropout(update, block.dropout, block.training)
    hidden = block.activation_fn(block.fc1(block.final_layer_norm(frames)))
    update = block.fc2(functional.dropout(hidden, block.activation_dropout, block.training))
    summed: Tensor = frames + functional.dropout(update, block.dropout, block.training)
    return summed
