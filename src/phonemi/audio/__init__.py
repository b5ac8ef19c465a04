"""Sound files <-> float32 arrays `[sample]` or `[channel, sample]`: the only part that reads or writes sound.

    reading       probe, load, load_channels, blocks; `AudioInfo`
    writing       save, Writer: whole or not at all
    formats       which file names are sound, what can be written, recordings in a folder
    headers       what headers say that libsndfile does not
    mpeg          how many samples the frames of an mp3 file hold
    conversion    what libsndfile cannot read, through ffmpeg
    streams       standard input and output
    waveforms     level, resampling

Reading goes through libsndfile, what it does not know through ffmpeg where that is installed, resampling through soxr.
Every file that cannot be used is an `AudioError` of one line that names the file and what was found in it.
"""

from phonemi.audio.faults import MAX_ABS_SAMPLE, check_finite
from phonemi.audio.formats import EXTENSIONS, WRITABLE, find_recordings, output_coding, output_suffix
from phonemi.audio.reading import AudioInfo, Reader, blocks, decoded, load, load_channels, probe
from phonemi.audio.streams import from_stream, to_stream
from phonemi.audio.waveforms import level_db, resample
from phonemi.audio.writing import Writer, save

__all__ = [
    "EXTENSIONS",
    "MAX_ABS_SAMPLE",
    "WRITABLE",
    "AudioInfo",
    "Reader",
    "Writer",
    "blocks",
    "check_finite",
    "decoded",
    "find_recordings",
    "from_stream",
    "level_db",
    "load",
    "load_channels",
    "output_coding",
    "output_suffix",
    "probe",
    "resample",
    "save",
    "to_stream",
]
