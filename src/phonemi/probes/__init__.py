"""Classifiers of frames: what they can tell of the phones is a lower bound on the mutual information."""
