"""Recordings on disk -> enhanced recordings on disk: plans, long files in overlapping chunks, batches, summaries."""

from phonemi.inference.batches import enhance_file
from phonemi.inference.chunks import CHUNK_S, OVERLAP_S
from phonemi.inference.folders import enhance_files
from phonemi.inference.plan import plan
from phonemi.inference.streams import standard_streams
from phonemi.inference.summary import Outcome, Summary

__all__ = ["CHUNK_S", "OVERLAP_S", "Outcome", "Summary", "enhance_file", "enhance_files", "plan", "standard_streams"]
