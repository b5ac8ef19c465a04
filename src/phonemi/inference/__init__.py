"""Enhancing files and folders; long recordings in overlapping chunks.

plan          which files are read and where their enhanced versions go; whether those are up to date
recordings    the way of recordings: read, cut, enhanced in batches, joined, written; what fails stops no other
chunks        cutting recordings into overlapping chunks, and joining them; what an enhancer of chunks offers
streams       standard input and output
summary       a sentence and a JSON object about what became of the files
"""

from phonemi.inference.chunks import CHUNK_S, OVERLAP_S, ChunkEnhancer, EnhancedChunk
from phonemi.inference.plan import plan
from phonemi.inference.recordings import enhance_file, enhance_files
from phonemi.inference.streams import STREAM, name_streams, standard_streams
from phonemi.inference.summary import Outcome, Summary

__all__ = [
    "CHUNK_S",
    "OVERLAP_S",
    "STREAM",
    "ChunkEnhancer",
    "EnhancedChunk",
    "Outcome",
    "Summary",
    "enhance_file",
    "enhance_files",
    "name_streams",
    "plan",
    "standard_streams",
]
