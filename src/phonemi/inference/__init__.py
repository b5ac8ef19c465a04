"""Enhancing files and folders; long recordings in overlapping chunks.

protocol      what an enhancer must offer
plan          which files are read and where their enhanced versions go
existing      whether an output is up to date
chunks        cutting recordings into overlapping chunks, and joining them again
recording     the way of one recording: read, cut, enhance, join, write
batches       chunks of several recordings through the network together
folders       many files, and what became of each
streams       standard input and output
summary       a sentence and a JSON object about what became of the files
"""

from phonemi.inference.batches import enhance_file
from phonemi.inference.chunks import CHUNK_S, OVERLAP_S
from phonemi.inference.folders import enhance_files
from phonemi.inference.plan import plan
from phonemi.inference.protocol import ChunkEnhancer, EnhancedChunk
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
