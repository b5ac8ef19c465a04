"""Noisy speech -> enhanced speech: networks on waveforms at 16 kHz, and the `Enhancer` that meets recordings."""
