"""Recordings on disk -> training and evaluation examples: manifests, alignments, mixtures, batches and corpora."""
