"""Decide whether an existing output file is an up-to-date enhancement of its source."""

from __future__ import annotations

from pathlib import Path

from phonemi import audio
from phonemi.errors import PhonemiError

# Codings of which every file has its exact length, by the beginnings of their names.
EXACT_CODINGS = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")
LENGTH_TOLERANCE_S = 0.25  # for all others, which pad or miscount: frames of mp3, blocks of ADPCM


def is_enhanced(source: audio.AudioInfo, target: Path) -> bool:
    """Whether the target has the rate, channels and length of its source and is not older.

    That it is complete need not be checked: a file appears under its name only when it is complete.
    """
    try:
        is_newer = target.stat().st_mtime_ns >= Path(source.path).stat().st_mtime_ns
        return is_newer and has_same_form(source, audio.probe(target))
    except (PhonemiError, OSError):
        return False


def has_same_form(source: audio.AudioInfo, output: audio.AudioInfo) -> bool:
    """Whether rate and channels are equal, and the lengths as far as the codings state them exactly."""
    if (output.sample_rate, output.channels) != (source.sample_rate, source.channels):
        return False
    exact = all(coding.startswith(EXACT_CODINGS) for coding in (source.subtype, output.subtype))
    return abs(output.samples - source.samples) <= (0 if exact else LENGTH_TOLERANCE_S * source.sample_rate)
