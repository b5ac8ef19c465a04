"""Numbers that several rooms must agree on. Importing this module loads nothing else."""

SAMPLE_RATE = 16_000  # Hz, of every waveform that a network or a metric sees
IGNORE = -100  # label of a frame that no loss and no statistic counts, as PyTorch's `ignore_index`
