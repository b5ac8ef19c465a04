"""Enhance recordings of any rate, channel count and type with a network that takes 16 kHz waveforms [batch, sample]."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from phonemi.enhancers.band import UpperBand
from phonemi.enhancers.condition import Condition, examine, warn
from phonemi.enhancers.round_trip import EnhanceOptions, RoundTrip
from phonemi.errors import PhonemiError
from phonemi.inference import EnhancedChunk
from phonemi.signal import FFT, SAMPLE_RATE

# The gain above 8 kHz is the mean gain from 6 to 7.3 kHz. Bins above that are in the slope of the resampler's filters.
TOP_BINS = slice(6000 * FFT // SAMPLE_RATE, 7300 * FFT // SAMPLE_RATE)

# Maximum number of channels per pass of the network, or the number of recordings if that is larger. Additional channels
# take additional passes, not additional memory; the results are the same.
MAX_CHANNELS_PER_PASS = 8

Waveform = TypeVar("Waveform", bound=np.ndarray | Tensor)


class RecordingEnhancer(nn.Module, ABC):
    """What an enhancer offers for recordings. Enhancing sets no attribute, so that threads may share an enhancer."""

    name: str  # in tables and summaries

    @abstractmethod
    def with_gains(
        self, noisy: Tensor, lengths: Tensor | None = None, limit_db: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Enhance 16 kHz waveforms [batch, sample]; returns them and the gains of their STFT, [batch, frame, 257].

        Args:
            noisy: [batch, sample].
            lengths: valid samples, [batch]; None: all.
            limit_db: the most that is taken off any frequency; None: as the network was made; infinite: no limit.
        """

    def enhance(
        self,
        waveform: Waveform,
        sample_rate: int = SAMPLE_RATE,
        *,
        mix: float = 1.0,
        attenuation_limit_db: float | None = None,
        upper_band: UpperBand = "attenuate",
    ) -> Waveform:
        """Enhance one recording, all of it at once (`enhance_file` takes long ones in chunks).

        docs/enhance-rules.md says what happens to level, silence, odd input and the band above 8 kHz.

        Args:
            waveform: numpy or torch, [sample] or [channel, sample]; floats, full scale 1. Channels are enhanced apart.
            sample_rate: in Hz, 4000 to 768 000.
            mix: share of the enhanced signal, 0 to 1; the rest is the noisy one.
            attenuation_limit_db: the most taken off any frequency; None: as the model has it; infinite: no limit.
            upper_band: whether to scale the band above 8 kHz with the gain just below it, to remove it, or to keep it.

        Returns:
            A new array or tensor of the same type, shape and rate. Digital silence stays digital silence.

        Raises:
            AudioError: for integers, another number of dimensions, [sample, channel], samples that are not finite, or
                an impossible rate.
            ConfigError: for options out of their range.
        """
        [chunk] = self.enhance_chunks(
            [waveform],
            sample_rate,
            mix=mix,
            attenuation_limit_db=attenuation_limit_db,
            upper_band=upper_band,
        )
        warn(chunk.condition.texts())
        return cast(Waveform, chunk.waveform)

    def enhance_batch(
        self,
        waveforms: Sequence[Waveform],
        sample_rate: int = SAMPLE_RATE,
        *,
        mix: float = 1.0,
        attenuation_limit_db: float | None = None,
        upper_band: UpperBand = "attenuate",
    ) -> list[Waveform]:
        """Enhance recordings of one rate together; the results are those of `enhance`, to rounding.

        Args and Raises: see `enhance`. Memory is that of the longest recording times their number, so that recordings
        of similar length go together best.
        """
        chunks = self.enhance_chunks(
            waveforms,
            sample_rate,
            mix=mix,
            attenuation_limit_db=attenuation_limit_db,
            upper_band=upper_band,
        )
        for chunk in chunks:
            warn(chunk.condition.texts())
        return [cast(Waveform, chunk.waveform) for chunk in chunks]

    def enhance_chunks(
        self,
        chunks: Sequence[Any],
        sample_rate: int = SAMPLE_RATE,
        **options: Any,
    ) -> list[EnhancedChunk]:
        """Enhance recordings or chunks of some, and return with each what was noticed about it, without warnings.

        Args and Raises: see `enhance_batch`; options are its `mix`, `attenuation_limit_db` and `upper_band`.
        """
        wanted = EnhanceOptions(**options)
        round_trips = _round_trips(chunks, sample_rate)

        # Each channel that is not silent is one row of the network's batches.
        rows = [torch.from_numpy(row) for round_trip in round_trips for row in round_trip.inputs]
        enhanced_rows: list[np.ndarray] = []  # [sample or more]
        top_gains: list[np.ndarray] = []  # [frame or more]
        rows_per_pass = max(len(round_trips), MAX_CHANNELS_PER_PASS)
        device = next(self.parameters()).device
        # Inference mode ends before the results are made: tensors made in it cannot be changed by the caller.
        with torch.inference_mode():
            for start in range(0, len(rows), rows_per_pass):
                pass_rows = rows[start : start + rows_per_pass]
                lengths = torch.tensor([len(row) for row in pass_rows])
                has_one_length = bool((lengths == lengths[0]).all())
                batch = nn.utils.rnn.pad_sequence(pass_rows, batch_first=True).to(device)
                enhanced, gains = self.with_gains(
                    batch, None if has_one_length else lengths.to(device), wanted.attenuation_limit_db
                )
                enhanced_rows += list(enhanced.float().cpu().numpy())
                top_gains += list(gains[..., TOP_BINS].mean(-1).float().cpu().numpy())

        # Give every recording its rows back. Rows of one recording may come from two passes that were padded to
        # different lengths, so they are cut to what they have in common.
        results = []
        first = 0
        for round_trip in round_trips:
            inputs, condition = round_trip.inputs, Condition()
            outputs = top_gain = inputs  # right for a recording without audible channels: no rows
            if len(inputs):
                last = first + len(inputs)
                outputs = np.stack([row[: inputs.shape[1]] for row in enhanced_rows[first:last]])
                frames = min(len(gain) for gain in top_gains[first:last])
                top_gain = np.stack([gain[:frames] for gain in top_gains[first:last]])
                condition = examine(round_trip.audible, inputs, outputs, sample_rate)
                first = last
            results.append(EnhancedChunk(round_trip.restore(outputs, top_gain, wanted), condition))
        return results


def _round_trips(waveforms: Sequence[Any], sample_rate: int) -> list[RoundTrip]:
    """A round trip for each waveform; an error names the waveform if there are several."""
    round_trips = []
    for index, waveform in enumerate(waveforms):
        try:
            round_trips.append(RoundTrip(waveform, sample_rate))
        except PhonemiError as error:
            if len(waveforms) == 1:
                raise
            raise type(error)(f"recording {index} of the batch: {error}") from None
    return round_trips
