"""Sound files and waveforms: the only package that reads or writes sound.

    reading       Reader, probe, load, load_channels, blocks; `AudioInfo`
    writing       Writer, save; a file is complete or absent
    formats       which names are sound, what can be written, recordings in a folder; error messages
    headers       what headers say about length that libsndfile does not
    chunks        what wav and aiff files hold beside sound and texts
    pyav          files that soundfile cannot read; flac in Ogg
    silence       what C libraries print
    codecs        what lossy codecs make of a waveform
    waveforms     level, resampling, samples that are not finite

Waveforms are float32 `[sample]` or `[channel, sample]`. soundfile (libsndfile) reads and writes; PyAV (FFmpeg) reads
what soundfile does not know, if it is installed; soxr resamples. Every file that cannot be used is an `AudioError` of
one line that names the file and what is wrong with it.
"""

from phonemi.audio.chunks import copy_chunks
from phonemi.audio.formats import EXTENSIONS, WRITABLE, find_recordings, output_coding, output_suffix
from phonemi.audio.reading import AudioInfo, Reader, blocks, load, load_channels, probe
from phonemi.audio.waveforms import check_finite, level_db, resample
from phonemi.audio.writing import Writer, save

__all__ = [
    "EXTENSIONS",
    "WRITABLE",
    "AudioInfo",
    "Reader",
    "Writer",
    "blocks",
    "check_finite",
    "copy_chunks",
    "find_recordings",
    "level_db",
    "load",
    "load_channels",
    "output_coding",
    "output_suffix",
    "probe",
    "resample",
    "save",
]
