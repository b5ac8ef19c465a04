"""A file that libsndfile cannot read -> a temporary wav file of 32-bit floats, through the program ffmpeg."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phonemi.audio.faults import reason
from phonemi.errors import AudioError

# Formats that hold sound, and nothing that makes ffmpeg open further files or the network (playlists, concat, ...).
_FORMATS = (
    "aac,ac3,aea,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,iff,loas,matroska,webm,"
    "mov,mp4,m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,ogg,oma,qcp,rm,rso,shn,tak,truehd,tta,voc,w64,wav,wv,xwma"
)
_LEAST_LIMIT_S = 60
_SLOWEST_BYTES_PER_S = 100_000  # of the input; a laptop decodes some millions
_MOST_ALLOCATED = 1 << 29  # bytes in one piece


@contextmanager
def through_ffmpeg(path: Path, objection: str) -> Iterator[Path]:
    """Decode the first sound track of a file; the result is gone when the context ends.

    Args:
        path: the file.
        objection: what libsndfile said of it, for the message.

    Yields:
        Wav (RF64 above 4 GiB) with the rate, the channels and the texts (title, artist, ...) of the file.

    Raises:
        AudioError: if ffmpeg is not installed, cannot read the file either, finds it damaged, or takes too long.
    """
    unread = f"{path} is not sound that libsndfile can read: {objection}"
    if (program := shutil.which("ffmpeg")) is None:
        advice = "apt install ffmpeg, brew install ffmpeg, or https://ffmpeg.org"
        raise AudioError(f"{unread}; install ffmpeg to read further formats ({advice})")
    limit_s = _LEAST_LIMIT_S + os.path.getsize(path) // _SLOWEST_BYTES_PER_S
    with tempfile.TemporaryDirectory(prefix="phonemi-") as folder:
        decoded = Path(folder) / "decoded.wav"
        command = [
            *(program, "-nostdin", "-hide_banner", "-v", "error", "-xerror", "-max_alloc", str(_MOST_ALLOCATED)),
            *("-protocol_whitelist", "file", "-format_whitelist", _FORMATS, "-i", f"file:{os.path.abspath(path)}"),
            *("-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "wav", "-rf64", "auto", f"file:{decoded}"),
        ]
        try:
            said = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=limit_s
            )
        except subprocess.TimeoutExpired:
            raise AudioError(f"{unread}; ffmpeg did not finish in {limit_s} s") from None
        except OSError as error:
            raise AudioError(f"{unread}; ffmpeg cannot be started: {reason(error)}") from None
        if said.returncode or said.stderr or not decoded.exists():
            raise AudioError(f"{unread}; {_complaint(said, path)}")
        yield decoded


def _complaint(said: subprocess.CompletedProcess[bytes], path: Path) -> str:
    """What ffmpeg objected to: its first line, without the address of the part that said it, and what to do."""
    lines = said.stderr.decode(errors="replace").split("\n")
    words = lines[0].rpartition(" @ 0x")[2].partition("] ")
    text = " ".join((words[2] or lines[0]).removeprefix(f"file:{os.path.abspath(path)}: ").split())[:200]
    if said.returncode == 0:
        return f"ffmpeg finds it damaged ({text}): to go on with what is left, ffmpeg -i IN OUT.wav"
    return f"nor can ffmpeg: {text or f'it ended with code {said.returncode}'}"
