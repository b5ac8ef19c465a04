"""A network on 16 kHz waveforms [batch, sample] -> `enhance` for recordings of any rate, channel count and type."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from phonemi.enhancers.band import UpperBand
from phonemi.enhancers.condition import Condition
from phonemi.enhancers.recording import Options, Recording
from phonemi.errors import PhonemiError
from phonemi.inference.protocol import EnhancedChunk
from phonemi.signal import FFT, SAMPLE_RATE

# 6 to 7.3 kHz stand for what is above 8: higher ones lie in the slope of the filters that bring recordings to 16 kHz.
TOP_BINS = slice(6000 * FFT // SAMPLE_RATE, 7300 * FFT // SAMPLE_RATE)

# As many go through the network together as there are recordings, or this many: memory should not grow with the
# microphones of an array. More are more passes of the same result.
CHANNELS_AT_ONCE = 8

Waveform = TypeVar("Waveform", np.ndarray, Tensor)


class RecordingEnhancer(nn.Module, ABC):
    """What an enhancer offers to who has recordings. Nothing is set on it while it works: threads may share it."""

    name: str  # what tables and summaries call it

    @abstractmethod
    def with_gains(self, noisy: Tensor, lengths: Tensor | None, limit_db: float | None) -> tuple[Tensor, Tensor]:
        """16 kHz waveforms [batch, sample] -> enhanced ones and the gains of their STFT, [batch, frame, 257].

        Args:
            noisy: [batch, sample].
            lengths: valid samples, [batch]; None: all.
            limit_db: the most taken off any bin; None: as the network has it.
        """

    def enhance(
        self,
        waveform: Waveform,
        sample_rate: int = SAMPLE_RATE,
        *,
        mix: float = 1.0,
        attenuation_limit_db: float | None = None,
        upper_band: UpperBand = "attenuate",
        heard: Condition | None = None,
    ) -> Waveform:
        """Enhance one recording, all of it at once (`enhance_file` takes long ones in pieces).

        What becomes of level, silence, odd input and the band above 8 kHz: docs/enhance-rules.md.

        Args:
            waveform: numpy or torch, [sample] or [channel, sample]; floats, full scale 1. Channels are enhanced apart.
            sample_rate: in Hz, 4000 to 768 000.
            mix: share of the enhanced signal, 0 to 1; the rest is the noisy one.
            attenuation_limit_db: the most taken off any frequency; None: as the model has it; infinite: no limit.
            upper_band: what is above 8 kHz gets the gain that the mask has below it, is removed, or kept.
            heard: where to note what is wrong with the recording, instead of warning of it: for pieces of a long one.

        Returns:
            A new array or tensor of the same type, shape and rate. Digital silence stays digital silence.

        Raises:
            AudioError: for integers, another number of dimensions, [sample, channel], samples that are not finite, or
                an impossible rate.
            ConfigError: for options out of their range.
        """
        conditions = [Condition() if heard is None else heard]
        [enhanced] = self.enhance_batch(
            [waveform],
            sample_rate,
            mix=mix,
            attenuation_limit_db=attenuation_limit_db,
            upper_band=upper_band,
            heard=conditions,
        )
        if heard is None:
            conditions[0].warn()
        return enhanced

    def enhance_batch(
        self,
        waveforms: Sequence[Waveform],
        sample_rate: int = SAMPLE_RATE,
        *,
        mix: float = 1.0,
        attenuation_limit_db: float | None = None,
        upper_band: UpperBand = "attenuate",
        heard: Sequence[Condition] | None = None,
    ) -> list[Waveform]:
        """Enhance recordings of one rate in one pass of the network: the same as one by one, to rounding.

        Args and Raises: see `enhance`; `heard` is one for each recording. Memory is that of the longest
        recording times their number, so that recordings of nearly one length go together best.
        """
        options = Options(mix, attenuation_limit_db, upper_band)
        recordings = _recordings(waveforms, sample_rate)
        conditions = [Condition() for _ in recordings] if heard is None else heard
        made = self._made(recordings, options.attenuation_limit_db)
        enhanced = []
        for recording, condition, (lower, top_gain) in zip(recordings, conditions, made, strict=True):
            if len(recording.inputs):
                condition.add(recording.audible_noisy, recording.inputs, lower, sample_rate)
            enhanced.append(recording.enhanced(lower, top_gain, options))
        if heard is None:
            for condition in conditions:
                condition.warn()
        return enhanced

    def enhance_chunks(self, chunks: Sequence[np.ndarray], sample_rate: int, **options: Any) -> list[EnhancedChunk]:
        """Enhance chunks of recordings that were read from files, see `inference.protocol.ChunkEnhancer`."""
        conditions = [Condition() for _ in chunks]
        waveforms = self.enhance_batch(chunks, sample_rate, heard=conditions, **options)
        return [EnhancedChunk(*pair) for pair in zip(waveforms, conditions, strict=True)]

    @torch.inference_mode()  # not on `enhance`: tensors made in this mode cannot be changed by who gets them
    def _made(self, recordings: list[Recording], limit_db: float | None) -> list[tuple[np.ndarray, np.ndarray]]:
        """What the network makes of the inputs of each recording, and its gain at the top, [channel, frame]."""
        rows = [torch.from_numpy(row) for recording in recordings for row in recording.inputs]
        at_once = max(len(recordings), CHANNELS_AT_ONCE)
        passes = [self._passed(rows[start : start + at_once], limit_db) for start in range(0, len(rows), at_once)]
        made = iter([pair for enhanced, tops in passes for pair in zip(enhanced, tops, strict=True)])
        return [_stacked(list(islice(made, len(own))), own) for own in (recording.inputs for recording in recordings)]

    def _passed(self, rows: list[Tensor], limit_db: float | None) -> tuple[np.ndarray, np.ndarray]:
        """Rows [sample] -> what one pass of the network makes of them, [row, sample], and the gain at the top."""
        device = next(self.parameters()).device
        lengths = torch.tensor([len(row) for row in rows])
        one_length = bool((lengths == lengths[0]).all())
        batch = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
        made, bins = self.with_gains(batch, None if one_length else lengths.to(device), limit_db)
        return made.float().cpu().numpy(), bins[..., TOP_BINS].mean(-1).float().cpu().numpy()


def _stacked(made: list[tuple[np.ndarray, np.ndarray]], inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one recording, perhaps of two passes that were padded to two lengths -> [channel, ...], as its inputs."""
    if not made:
        return inputs, inputs
    frames = min(len(top) for _, top in made)
    return np.stack([row[: inputs.shape[1]] for row, _ in made]), np.stack([top[:frames] for _, top in made])


def _recordings(waveforms: Sequence[Any], sample_rate: int) -> list[Recording]:
    recordings = []
    for index, waveform in enumerate(waveforms):
        try:
            recordings.append(Recording(waveform, sample_rate))
        except PhonemiError as error:
            if len(waveforms) == 1:
                raise
            raise type(error)(f"recording {index} of the batch: {error}") from None
    return recordings
