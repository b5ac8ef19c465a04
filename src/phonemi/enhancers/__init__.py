"""Enhancer networks at 16 kHz, and the `Enhancer` around them that users load and give recordings to."""
