"""Names and formats of sound files, how libsndfile takes them, and what it and the system say when they refuse one."""

from __future__ import annotations

import os
from pathlib import Path

import soundfile

from phonemi.errors import AudioError
from phonemi.tables import plural

_USUAL_CODING = {  # extension: (libsndfile format, subtype)
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".oga": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".aiff": ("AIFF", "PCM_16"),
    ".aif": ("AIFF", "PCM_16"),
    ".aifc": ("AIFF", "PCM_16"),
    ".caf": ("CAF", "PCM_16"),
    ".w64": ("W64", "PCM_16"),
    ".rf64": ("RF64", "PCM_16"),
    ".au": ("AU", "PCM_16"),
}
WRITABLE: tuple[str, ...] = tuple(_USUAL_CODING)
_READ_BY_FFMPEG = (
    *(".m4a", ".m4b", ".mp4", ".aac", ".wma", ".webm", ".mka", ".ac3", ".amr", ".ape", ".wv"),
    *(".mov", ".mkv", ".mp2", ".3gp", ".avi", ".tta"),
)
TEXTS = ("title", "artist", "album", "comment", "date", "genre", "tracknumber", "copyright", "license")
_NOT_WRITTEN = ("MPEG_LAYER_I", "MPEG_LAYER_II", "DWVW_12", "DWVW_16", "DWVW_24", "DWVW_N")
EXTENSIONS: tuple[str, ...] = WRITABLE + _READ_BY_FFMPEG
_SYSTEM_ERROR = 2  # libsndfile's code for an error of the operating system, whose text it does not give


def find_recordings(folder: str | Path, extensions: tuple[str, ...] = EXTENSIONS) -> list[Path]:
    """All sound files, or files of other `extensions`, in a folder and the folders below it, sorted.

    Hidden files are skipped; files that are still being written are hidden. Links to folders are followed, under the
    names of the links. A folder that can be reached in two ways is searched once.

    Raises:
        AudioError: if the folder does not exist, or one of those below it cannot be read.
    """
    if not Path(folder).is_dir():
        raise AudioError(f"{folder} is not a folder")
    recordings: list[Path] = []
    visited = set()
    starts = [str(folder)]
    for start in starts:  # links come last, so that a folder inside `folder` is listed under its own name
        for parent, folders, files in os.walk(start, onerror=_refuse):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if (real_path := os.path.realpath(parent)) in visited:
                folders.clear()
                continue
            visited.add(real_path)
            starts += [path for name in folders if os.path.islink(path := os.path.join(parent, name))]
            recordings += [Path(parent, name) for name in files if not name.startswith(".")]
    return sorted(path for path in recordings if path.suffix.lower() in extensions)


def _refuse(error: OSError) -> None:
    raise AudioError(f"cannot read the folder {error.filename}: {reason(error)}") from None


def output_suffix(source: str | Path) -> str:
    """Extension of the output for a recording: its own if that format can be written, otherwise `.wav`.

    >>> output_suffix("a.FLAC"), output_suffix("a.m4a")
    ('.FLAC', '.wav')
    """
    suffix = Path(source).suffix
    return suffix if suffix.lower() in _USUAL_CODING else ".wav"


def output_coding(format: str, subtype: str, target: str | Path) -> tuple[str | None, str | None]:
    """Format and subtype of the output for a recording: those of the recording, as far as the output's name allows.

    For `Writer`, where None stands for the usual one. The recording's own name need not fit its format.

    >>> output_coding("WAVEX", "PCM_24", "a.wav"), output_coding("WAV", "PCM_24", "a.flac")
    (('WAVEX', 'PCM_24'), ('FLAC', 'PCM_24'))
    >>> output_coding("MP3", "MPEG_LAYER_II", "a.mp3"), output_coding("WAVEX", "FLOAT", "a.mp3")
    (('MP3', None), ('MP3', None))
    """
    usual, _ = _USUAL_CODING.get(Path(target).suffix.lower(), (None, None))
    if usual is None:
        return None, None
    wanted = format if usual == "WAV" and format in ("WAVEX", "RF64") else usual
    if wanted == "OGG" and is_flac_in_ogg(format, subtype):
        return wanted, subtype
    mp3_in_wav = wanted != "MP3" and subtype == "MPEG_LAYER_III"
    writable = subtype not in _NOT_WRITTEN and not mp3_in_wav and soundfile.check_format(wanted, subtype)
    return wanted, subtype if writable else None


def coding(path: Path, format: str | None, subtype: str | None) -> tuple[str, str]:
    """libsndfile's format and subtype for a file name; AudioError if it cannot write them."""
    usual_format, usual_subtype = _USUAL_CODING.get(path.suffix.lower(), (None, None))
    if (format := format or usual_format) is None:
        raise AudioError(f"{path}: cannot write the sound format {path.suffix!r}; use one of {', '.join(WRITABLE)}")
    subtype = subtype or (usual_subtype if format == usual_format else None)
    if not soundfile.check_format("FLAC" if is_flac_in_ogg(format, subtype) else format, subtype):
        raise AudioError(f"{path}: libsndfile cannot write {format} with subtype {subtype}")
    return format, subtype or soundfile.default_subtype(format)


def is_flac_in_ogg(format: str, subtype: str | None) -> bool:
    """Whether Ogg is to hold samples as they are, which PyAV reads and writes.

    >>> is_flac_in_ogg("OGG", "PCM_16"), is_flac_in_ogg("OGG", "VORBIS")
    (True, False)
    """
    return format == "OGG" and subtype is not None and subtype.startswith("PCM_")


def library_name(path: str | Path) -> str | bytes:
    """A path in the form that libsndfile takes: on POSIX as bytes, which need not be UTF-8."""
    return os.fsencode(path) if os.name == "posix" else str(path)


def reason(error: BaseException) -> str:
    """The text of an error of the operating system, libsndfile or FFmpeg, in one line."""
    # soundfile raises AssertionError when fewer samples were written than it was given.
    if isinstance(error, AssertionError) or getattr(error, "code", None) == _SYSTEM_ERROR:
        return "the system refused; is the disk full?"
    text = getattr(error, "strerror", None) or getattr(error, "error_string", None) or error
    return " ".join(str(text).split()).rstrip(".")


def truncated(path: str | os.PathLike[str], promised: int, found: int) -> AudioError:
    """The error for a file that ends before its header says."""
    return AudioError(f"{path} is cut short: its header promises {plural(promised, 'sample')}, {found} can be read")
