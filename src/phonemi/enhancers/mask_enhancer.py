"""Noisy waveform [batch, sample] + one sequence [batch, frame, dim] -> enhanced waveform [batch, sample].

The model, loss and reconstruction are those of the SUPERB recipe `enhancement_stft2` (S3PRL): a bidirectional LSTM
predicts a sigmoid amplitude mask that is applied to the log1p magnitude; the phase stays noisy.
"""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from phonemi import signal
from phonemi.errors import ModelError, nearest

REACH = 2  # STFT frames beyond an item's own that its last samples are made of


class MaskEnhancer(nn.Module):
    """BLSTM mask on the log1p spectrum.

    Args:
        dim: size of the conditioning features; 0 when there are none.
        log1p: whether the noisy log1p spectrum (257 bins) is an input, after the features. Without features it must be.
        hop: samples between feature frames: 320 (repeated twice to meet the STFT) or 160.
        hidden: LSTM units for each direction.
        layers: LSTM layers.
        dropout: between the layers and before the output.
        level_db: root mean square in dB re full scale that every noisy recording is brought to before the spectrum, and
            back from afterwards, so that a faint recording is treated as a loud one; None, as in the paper: as it is.
        attenuation_limit_db: the most that `enhance` takes off any bin; None, as in the paper: without end. A little
            noise left masks what a mask does to the speech. Training does not know of it.
        stft_pad: what is beyond the ends of a recording, see `signal.stft`.

    >>> sum(p.numel() for p in MaskEnhancer(768).parameters())  # algorithms.md 1.3
    5387009
    """

    def __init__(
        self,
        dim: int,
        log1p: bool = False,
        hop: int = signal.SSL_HOP,
        hidden: int = 256,
        layers: int = 3,
        dropout: float = 0.1,
        level_db: float | None = None,
        attenuation_limit_db: float | None = None,
        stft_pad: signal.Pad = "zeros",
    ):
        super().__init__()
        if not dim and not log1p:
            raise ModelError("a mask enhancer needs features (dim > 0), the log1p spectrum, or both")
        if hop not in (signal.HOP, signal.SSL_HOP):
            raise ModelError(f"features every {hop} samples cannot meet the STFT's hop of 160: only 160 and 320 can")
        _least_gain(attenuation_limit_db)
        if stft_pad not in get_args(signal.Pad):
            raise ModelError(f"stft_pad is {stft_pad!r}: {nearest(str(stft_pad), get_args(signal.Pad))}")
        self.dim, self.log1p, self.hop, self.level_db = dim, log1p, hop, level_db
        self.attenuation_limit_db, self.stft_pad = attenuation_limit_db, stft_pad
        self.blstm = nn.LSTM(
            dim + log1p * signal.BINS,
            hidden,
            layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * hidden, signal.BINS)

    def settings(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        return {
            "dim": self.dim,
            "log1p": self.log1p,
            "hop": self.hop,
            "hidden": self.blstm.hidden_size,
            "layers": self.blstm.num_layers,
            "dropout": self.dropout.p,
            "level_db": self.level_db,
            "attenuation_limit_db": self.attenuation_limit_db,
            "stft_pad": self.stft_pad,
        }

    def forward(self, log1p: Tensor, features: Tensor | None, lengths: Tensor | None = None) -> Tensor:
        """Predict the mask.

        Args:
            log1p: noisy log1p magnitude, [batch, frame, 257].
            features: [batch, frame or half as many, dim], or None when dim is 0.
            lengths: valid STFT frames of each item, [batch], on the CPU for preference; None when all are valid.

        Returns:
            Amplitude mask in (0, 1), [batch, frame, 257]; anything beyond `lengths`.

        Raises:
            ModelError: for features of another size, or 5 frames or more away from the spectrum's number.
        """
        found = 0 if features is None else features.shape[-1]
        if found != self.dim:
            raise ModelError(f"the mask enhancer expects {self.dim} features a frame, got {found}")
        inputs = [] if features is None else [self._on_stft_grid(features, log1p.shape[1])]
        if self.log1p:
            inputs.append(log1p)
        sequence = torch.cat(inputs, dim=-1)
        hidden = self._recur(sequence, lengths)
        return torch.sigmoid(self.output(self.dropout(hidden)))

    def loss(
        self,
        noisy: Tensor,
        clean: Tensor,
        features: Tensor | None,
        lengths: Tensor | None = None,
        si_sdr_weight: float = 0.0,
    ) -> Tensor:
        """L1 between masked and clean log1p magnitudes: sum over bins, mean over valid frames, mean over the batch.

        Args:
            noisy, clean: waveforms [batch, sample], zero beyond `lengths`.
            features: see `forward`.
            lengths: valid samples, [batch]; None: all. On the CPU even beside a GPU, which is waited for otherwise.
            si_sdr_weight: what a dB of SI-SDR of the enhanced waveform weighs beside; 0 in the recipe. The magnitudes
                alone do not say that a bin whose phase is wrong had better be faint.
        """
        lengths, there = _lengths(noisy, lengths)
        gain = self._gain(noisy, there)
        spectrum = self._spectrum(gain * noisy, there)
        noisy_log1p = spectrum.abs().log1p()
        clean_log1p = signal.log1p_spectrum(gain * clean, self.stft_pad, there)
        mask = self._mask(noisy_log1p, features, lengths)
        frames = signal.stft_frames(there)
        recipe = noisy_log1p.shape[1] - REACH
        distance = (mask[:, :recipe] * noisy_log1p[:, :recipe] - clean_log1p).abs().sum(-1)
        loss = ((distance * signal.valid_mask(frames, recipe)).sum(1) / frames).mean()
        if si_sdr_weight:
            samples = noisy.shape[-1]
            enhanced = signal.istft(spectrum * self._gains(spectrum, mask), samples)
            enhanced = enhanced * signal.valid_mask(there, samples)
            loss = loss - si_sdr_weight * _si_sdr_db(enhanced, gain * clean).mean()
        return loss

    def enhance(self, noisy: Tensor, features: Tensor | None, lengths: Tensor | None = None) -> Tensor:
        """The waveforms of `enhance_with_gains`, [batch, sample] -> [batch, sample]."""
        return self.enhance_with_gains(noisy, features, lengths)[0]

    def enhance_with_gains(
        self,
        noisy: Tensor,
        features: Tensor | None,
        lengths: Tensor | None = None,
        attenuation_limit_db: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Masked magnitude, noisy phase: expm1(M log1p|X|) X / (|X| + 1e-10), never louder than X in any bin.

        Args:
            noisy: waveforms [batch, sample], zero beyond `lengths`.
            features: see `forward`.
            lengths: valid samples, [batch]; None: all.
            attenuation_limit_db: instead of the model's own; infinite: without end.

        Returns:
            Waveforms [batch, sample], zero beyond `lengths`; the same for an item alone and beside longer ones. And the
            amplitude gains [batch, frame, 257] in 0 to 1 that made them, of `REACH` more frames than the STFT has.

        Raises:
            ModelError: for a limit below 0.
        """
        limit_db = self.attenuation_limit_db if attenuation_limit_db is None else attenuation_limit_db
        least = _least_gain(limit_db)
        samples = noisy.shape[-1]
        lengths, there = _lengths(noisy, lengths)
        gain = self._gain(noisy, there)
        spectrum = self._spectrum(gain * noisy, there)
        mask = self._mask(spectrum.abs().log1p(), features, lengths)
        gains = self._gains(spectrum, mask, least)
        enhanced = signal.istft(spectrum * gains, samples) / gain
        return enhanced * signal.valid_mask(there, samples), gains

    def _spectrum(self, noisy: Tensor, lengths: Tensor) -> Tensor:
        """STFT with `REACH` more frames, which reach into the last samples.

        Without them the inverse STFT would divide by the edge of the last window there, which makes a click, and an
        item would end otherwise beside longer ones, where they exist.
        """
        return signal.stft(functional.pad(noisy, (0, REACH * signal.HOP)), self.stft_pad, lengths)

    def _mask(self, log1p: Tensor, features: Tensor | None, lengths: Tensor) -> Tensor:
        """The mask of each item, its last frame's held beyond it, float32 [batch, frame + REACH, 257]."""
        frames = signal.stft_frames(lengths)
        mask = self(log1p[:, : log1p.shape[1] - REACH], features, frames).float()
        last = frames.to(log1p.device, non_blocking=True)[:, None] - 1
        nearest_valid = torch.arange(log1p.shape[1], device=log1p.device).minimum(last)
        return mask.take_along_dim(nearest_valid[..., None], dim=1)

    def _gains(self, spectrum: Tensor, mask: Tensor, least: float = 0.0) -> Tensor:
        """What the amplitudes are multiplied by when their log1p is masked, but not below `least`, as the spectrum."""
        magnitude = spectrum.abs()
        return (torch.expm1(mask * magnitude.log1p()) / (magnitude + 1e-10)).clamp_min(least)

    def _gain(self, noisy: Tensor, lengths: Tensor) -> Tensor | float:
        """What brings each item to `level_db`, [batch, 1]; 1 for digital silence, and where no level is set."""
        if self.level_db is None:
            return 1.0
        rms = (noisy.float().square().sum(1, keepdim=True) / lengths[:, None]).sqrt()
        return torch.where(rms > 0, 10 ** (self.level_db / 20) / rms, torch.ones_like(rms))

    def _recur(self, sequence: Tensor, lengths: Tensor | None) -> Tensor:
        """BLSTM of each item alone, [batch, frame, feature] -> [batch, frame, 2 * hidden]; zero beyond `lengths`."""
        if lengths is None or bool((lengths == sequence.shape[1]).all()):
            return self.blstm(sequence)[0]
        if sequence.is_cuda:
            return self._recur_packed(sequence, lengths.cpu())
        # On a CPU a packed LSTM goes frame by frame, and its gradient costs time quadratic in the frames: several times
        # slower than one fused call for the items of each length.
        hidden = sequence.new_zeros(*sequence.shape[:2], 2 * self.blstm.hidden_size)
        for length in lengths.unique().tolist():
            chosen = (lengths == length).nonzero()[:, 0]
            found = self.blstm(sequence[chosen, :length])[0]
            hidden = hidden.index_put((chosen,), functional.pad(found, (0, 0, 0, hidden.shape[1] - length)).to(hidden))
        return hidden

    def _recur_packed(self, sequence: Tensor, lengths: Tensor) -> Tensor:
        """Packing keeps the backward direction from starting in the padding; sorted here, so that nothing waits."""
        order = lengths.argsort(descending=True)
        places, back = (one.to(sequence.device, non_blocking=True) for one in (order, order.argsort()))
        packed = nn.utils.rnn.pack_padded_sequence(sequence.index_select(0, places), lengths[order], batch_first=True)
        hidden, frames = self.blstm(packed)[0], sequence.shape[1]
        padded = nn.utils.rnn.pad_packed_sequence(hidden, batch_first=True, total_length=frames)[0]
        return padded.index_select(0, back)

    def _on_stft_grid(self, features: Tensor, frames: int) -> Tensor:
        if self.hop == signal.SSL_HOP:
            return signal.repeat_to_stft(features, frames)
        return signal.match_frames(features, frames)


def _lengths(noisy: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """The valid samples of each item, all if None: as they were given, and on the device of the waveforms."""
    if lengths is None:
        lengths = torch.full((len(noisy),), noisy.shape[-1])
    return lengths, lengths.to(noisy.device, non_blocking=True)


def _least_gain(attenuation_limit_db: float | None) -> float:
    """What a limit leaves of any bin."""
    if attenuation_limit_db is None:
        return 0.0
    if not attenuation_limit_db >= 0:
        raise ModelError(f"an attenuation limit of {attenuation_limit_db} dB would amplify: expected 0 or more")
    return 10 ** (-attenuation_limit_db / 20)


def _si_sdr_db(estimate: Tensor, clean: Tensor) -> Tensor:
    """SI-SDR as in `metrics.intrusive`, [batch, sample] -> [batch]; 0 where the clean speech is silent.

    A little of the target's power is added to the error's, so that a perfect item stops at 60 dB.
    """
    estimate, clean = estimate.float(), clean.float()
    power = clean.square().sum(1)
    target = ((estimate * clean).sum(1) / power.clamp_min(1e-10))[:, None] * clean
    wanted, error = target.square().sum(1), (target - estimate).square().sum(1)
    ratio = (wanted + 1e-10) / (error + 1e-6 * wanted + 1e-10)
    return torch.where(power > 0, 10 * ratio.log10(), torch.zeros_like(ratio))
