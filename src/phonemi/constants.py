"""Numbers and names that several packages must agree on. Importing this module loads nothing heavy."""

from typing import Literal, get_args

SAMPLE_RATE = 16_000  # Hz, of every waveform that a network or a metric sees
IGNORE = -100  # label of a frame that no loss and no statistic counts, as PyTorch's `ignore_index`

Tuning = Literal["acoustic", "linguistic", "hybrid"]
"""When an aggregation is learned: with the enhancer (acoustic), before it, to tell phones, and then frozen
(linguistic), or before it with the weight of layer 0 learned on with the enhancer (hybrid)."""
TUNINGS: tuple[Tuning, ...] = get_args(Tuning)

DEFAULT_WHISPER = "openai/whisper-large-v3"  # as in Han et al. (2026)
WhisperBackend = Literal["auto", "faster-whisper", "transformers"]
"""What runs Whisper; auto: the one whose form the model has."""
