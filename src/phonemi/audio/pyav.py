"""Decoding with PyAV, whose wheels contain FFmpeg, for files that soundfile cannot read.

PyAV is optional (`pip install 'phonemi[av]'`) and imported only when such a file is met.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from phonemi.audio.formats import TEXTS, reason, truncated
from phonemi.errors import AudioError
from phonemi.files import replacing

# Formats that hold sound. Playlists and the like are left out: they make FFmpeg open other files or the network.
_FORMATS = (
    "aac,ac3,aea,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,iff,loas,matroska,webm,"
    "mov,mp4,m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,ogg,oma,qcp,rm,rso,shn,tak,truehd,tta,voc,w64,wav,wv,xwma"
)
_MAX_ALLOCATED_BYTES = 1 << 29  # in one piece, against headers that lie
_BUFFER_BYTES = 1 << 18
# Files of these formats say how long they are. For others FFmpeg guesses it from the size of the file.
_FORMATS_WITH_DURATION = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf", "avi"}
_TOLERANCE_S = 0.25  # between the duration that a file says and the one it has; matroska counts milliseconds


class FFmpegFile:
    """The first sound track of a file. To know its length in samples, it is decoded once.

    `flac_bits`: of a sample, 16 or 24, if the file holds flac in Ogg; otherwise None.

    AudioError, with the `objection` of soundfile to the file, if PyAV is not installed or FFmpeg cannot read it either.
    """

    def __init__(self, path: Path, objection: str) -> None:
        self._path = path
        self._objection = objection
        self._frames: Iterator[np.ndarray] | None = None
        self._rest = np.zeros((0, 0), np.float32)
        with self._open() as (container, stream):
            self.sample_rate, self.channels = stream.rate, stream.channels
            self.texts = _texts(container.metadata | stream.metadata)
            promised_s = _duration_s(container, stream)
            self.flac_bits = _flac_bits(container, stream)
        self.samples = sum(frame.shape[1] for frame in self._decode())
        if self.samples == 0:
            raise AudioError(f"{path} is empty (0 samples)")
        if promised_s is not None and self.samples / self.sample_rate < promised_s - _TOLERANCE_S:
            raise truncated(path, round(promised_s * self.sample_rate), self.samples)

    def close(self) -> None:
        """End reading; the next `read_channels` begins at the start again."""
        if self._frames is not None:
            self._frames.close()  # type: ignore[attr-defined]
            self._frames = None

    def read_channels(self, samples: int) -> np.ndarray:
        """The next samples, float32 `[channel, sample]`; fewer at the end of the track."""
        if self._frames is None:
            self._frames = self._decode()
            self._rest = np.zeros((self.channels, 0), np.float32)
        pieces, missing = [self._rest], samples - self._rest.shape[1]
        while missing > 0 and (frame := next(self._frames, None)) is not None:
            pieces.append(frame)
            missing -= frame.shape[1]
        decoded = np.concatenate(pieces, axis=1)
        self._rest = decoded[:, samples:]
        return decoded[:, :samples]

    @contextmanager
    def _open(self) -> Iterator[tuple[Any, Any]]:
        """Yield container and sound track; FFmpeg's errors inside the block become an AudioError."""
        unreadable = f"{self._path} is not sound that libsndfile can read: {self._objection}"
        try:
            av = importlib.import_module("av")
        except ImportError:
            raise AudioError(f"{unreadable}; to read further formats, pip install 'phonemi[av]'") from None
        limits = {"format_whitelist": _FORMATS, "max_alloc": str(_MAX_ALLOCATED_BYTES)}
        try:
            # An open file, because FFmpeg takes some names for protocols (http:, concat:).
            with (
                open(self._path, "rb") as raw,
                av.open(raw, options=limits, buffer_size=_BUFFER_BYTES, metadata_errors="replace") as container,
            ):
                if not container.streams.audio:
                    raise AudioError(f"{unreadable}; FFmpeg finds no sound in it")
                yield container, container.streams.audio[0]
        except av.FFmpegError as error:
            raise AudioError(f"{unreadable}; nor can FFmpeg: {reason(error)}") from None

    def _decode(self) -> Iterator[np.ndarray]:
        """Decode from the start, in float32 `[channel, sample]` pieces of FFmpeg's choice."""
        with self._open() as (container, stream):
            av = importlib.import_module("av")
            to_float = av.AudioResampler(format="fltp")  # it changes no rate
            form = (stream.rate, stream.channels)
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.InvalidDataError:
                    if stream.codec_context.name.startswith("mp3"):
                        continue  # tags and zeros between the frames, which every player skips
                    raise
                for frame in frames:
                    if frame.is_corrupt:
                        raise AudioError(f"{self._path} is damaged: FFmpeg decodes only a part of it")
                    if (frame.sample_rate, frame.layout.nb_channels) != form:
                        raise AudioError(f"{self._path} cannot be read: its sample rate or channels change on the way")
                    yield from (converted.to_ndarray() for converted in to_float.resample(frame))


def wrap_in_ogg(path: Path) -> None:
    """Make a flac file one of flac in Ogg, with the same samples and texts."""
    av = importlib.import_module("av")
    with (
        replacing(path) as temporary,
        open(path, "rb") as raw,
        open(temporary, "wb") as file,
        av.open(raw, format="flac") as source,
        av.open(file, "w", format="ogg") as target,
    ):
        stream = target.add_stream_from_template(source.streams.audio[0])
        target.metadata.update(source.metadata)
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:  # the last one is empty
                packet.stream = stream
                target.mux(packet)


def _flac_bits(container: Any, stream: Any) -> int | None:
    if container.format.name != "ogg" or stream.codec_context.name != "flac":
        return None
    info = stream.codec_context.extradata[-34:]  # STREAMINFO: 5 bits, after those of sizes, rate and channels
    return 16 if ((info[12] & 1) << 4 | info[13] >> 4) + 1 <= 16 else 24


def read_texts(path: Path, encoding: str) -> dict[str, str]:
    """Title, artist, ... of a file whose texts are not UTF-8; none if PyAV is not installed."""
    try:
        av = importlib.import_module("av")
        with av.open(open(path, "rb"), metadata_encoding=encoding, metadata_errors="replace") as container:
            return _texts(container.metadata)
    except (ImportError, OSError, ValueError):
        return {}


def _texts(metadata: Mapping[str, str]) -> dict[str, str]:
    """FFmpeg's names for texts -> those of libsndfile."""
    texts = {name.lower(): text for name, text in metadata.items() if text}
    if "track" in texts:
        texts.setdefault("tracknumber", texts["track"])
    return {name: texts[name] for name in TEXTS if name in texts}


def _duration_s(container: Any, stream: Any) -> float | None:
    """How long the file says the track is; None if it does not."""
    if container.format.name not in _FORMATS_WITH_DURATION:
        return None
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if "DURATION" in stream.metadata:  # of matroska: 00:00:03.031000000
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    if len(container.streams) == 1 and container.duration:
        return float(container.duration) / 1e6
    return None
