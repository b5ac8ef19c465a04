"""The recogniser of a run: `stages.evaluate` loads it, and `stages.keys` asks what its words depend on."""

from __future__ import annotations

from phonemi.config.sections import Evaluate
from phonemi.data.corpora.synthetic import grammar_jsgf
from phonemi.metrics.words import Choice, RecogniserOptions, choose_recogniser


def recogniser_of(settings: Evaluate, device: str) -> Choice | None:
    """The recogniser that the settings name, not loaded yet, and why "auto" did not take Whisper; None for "none"."""
    if settings.recogniser == "none":
        return None
    options = RecogniserOptions(settings.whisper, settings.whisper_backend, device, grammar_jsgf())
    return choose_recogniser(settings.recogniser, options)
