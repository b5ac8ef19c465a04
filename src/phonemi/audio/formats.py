"""File names -> whether they are sound, and what libsndfile writes under them."""

from __future__ import annotations

import os
from pathlib import Path

import soundfile

from phonemi.audio.faults import reason
from phonemi.errors import AudioError

_DEFAULTS = {  # extension: (libsndfile format, subtype)
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".oga": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".aiff": ("AIFF", "PCM_16"),
    ".aif": ("AIFF", "PCM_16"),
    ".caf": ("CAF", "PCM_16"),
    ".w64": ("W64", "PCM_16"),
    ".rf64": ("RF64", "PCM_16"),
    ".au": ("AU", "PCM_16"),
}
WRITABLE: tuple[str, ...] = tuple(_DEFAULTS)
_ONLY_READ = (
    *(".m4a", ".m4b", ".mp4", ".aac", ".wma", ".webm", ".mka", ".ac3", ".amr", ".ape", ".wv"),
    *(".mov", ".mkv", ".mp2", ".3gp", ".aifc", ".avi", ".tta"),
)
_READ_ONLY = ("MPEG_LAYER_I", "MPEG_LAYER_II", "DWVW_12", "DWVW_16", "DWVW_24", "DWVW_N")
EXTENSIONS: tuple[str, ...] = WRITABLE + _ONLY_READ

# Vorbis encodes no more, and libsndfile crashes when it is asked to.
_VORBIS_HIGHEST_RATE = 200_000
_VORBIS_MOST_CHANNELS = 255


def find_recordings(folder: str | Path) -> list[Path]:
    """All sound files in a folder and the folders below it, sorted; hidden ones, and so unfinished ones, are skipped.

    Links to folders are followed, under the names of the links; what is in two places is found once.

    Raises:
        AudioError: if the folder does not exist, or one of those below it cannot be read.
    """
    if not Path(folder).is_dir():
        raise AudioError(f"{folder} is not a folder")
    found, visited = [], set()
    starts = [str(folder)]
    for start in starts:  # links after true folders, so that what is in both goes by its own name
        for parent, folders, files in os.walk(start, onerror=_refuse):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if (true := os.path.realpath(parent)) in visited:
                folders.clear()
                continue
            visited.add(true)
            starts += [path for name in folders if os.path.islink(path := os.path.join(parent, name))]
            found += [Path(parent, name) for name in files if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in EXTENSIONS)


def _refuse(error: OSError) -> None:
    raise AudioError(f"cannot read the folder {error.filename}: {reason(error)}") from None


def output_suffix(source: str | Path) -> str:
    """Extension for what is made of a recording: its own where that can be written, otherwise `.wav`.

    >>> output_suffix("a.FLAC"), output_suffix("a.m4a")
    ('.FLAC', '.wav')
    """
    suffix = Path(source).suffix
    return suffix if suffix.lower() in _DEFAULTS else ".wav"


def output_coding(format: str, subtype: str, target: str | Path) -> tuple[str | None, str | None]:
    """How to write what is made of a recording: its own format and subtype, as far as the target's name allows.

    Args:
        format: of the recording, as in `AudioInfo`; it need not fit its name.
        subtype: the same.
        target: what will be written.

    Returns:
        For `Writer`; None stands for what is usual under that name.

    >>> output_coding("WAVEX", "PCM_24", "a.wav"), output_coding("WAV", "PCM_24", "a.flac")
    (('WAVEX', 'PCM_24'), ('FLAC', 'PCM_24'))
    >>> output_coding("MP3", "MPEG_LAYER_II", "a.mp3"), output_coding("WAVEX", "FLOAT", "a.mp3")
    (('MP3', None), ('MP3', None))
    """
    usual, _ = _DEFAULTS.get(Path(target).suffix.lower(), (None, None))
    if usual is None:
        return None, None
    wanted = format if usual == "WAV" and format in ("WAVEX", "RF64") else usual
    mp3_in_wav = wanted != "MP3" and subtype == "MPEG_LAYER_III"
    writable = subtype not in _READ_ONLY and not mp3_in_wav and soundfile.check_format(wanted, subtype)
    return wanted, subtype if writable else None


def coding(path: Path, format: str | None, subtype: str | None) -> tuple[str, str]:
    """libsndfile's format and subtype for a file name, checked.

    Raises:
        AudioError: if the name says no format and none is given, or libsndfile cannot write the two together.
    """
    usual_format, usual_subtype = _DEFAULTS.get(path.suffix.lower(), (None, None))
    if (format := format or usual_format) is None:
        raise AudioError(f"{path}: cannot write the sound format {path.suffix!r}; use one of {', '.join(WRITABLE)}")
    subtype = subtype or (usual_subtype if format == usual_format else None)
    if not soundfile.check_format(format, subtype):
        raise AudioError(f"{path}: libsndfile cannot write {format} with subtype {subtype}")
    return format, subtype or soundfile.default_subtype(format)


def check_vorbis(subtype: str, sample_rate: int, channels: int) -> None:
    """Refuse, with ValueError, what would crash the encoder."""
    if subtype == "VORBIS" and (sample_rate > _VORBIS_HIGHEST_RATE or channels > _VORBIS_MOST_CHANNELS):
        raise ValueError(f"Vorbis ends at {_VORBIS_HIGHEST_RATE} Hz and {_VORBIS_MOST_CHANNELS} channels")


def library_name(path: str | Path) -> str | bytes:
    """A name as libsndfile takes it: on POSIX any bytes, which need not be UTF-8."""
    return os.fsencode(path) if os.name == "posix" else str(path)
