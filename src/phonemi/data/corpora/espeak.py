"""Speech synthesis by espeak-ng, with exact phone labels.

The library and the voices are those of the package `espeakng_loader`. espeak-ng reports the mnemonic of each phoneme
and the sample at which it begins, so the labels are exact: nothing has to be aligned.
"""

from __future__ import annotations

import ctypes
import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from phonemi.data.manifest import Interval
from phonemi.errors import DataError, require_extra

# The numbers of espeak-ng's speak_lib.h.
_SYNCHRONOUS, _PHONEME_EVENTS, _UTF8, _RATE, _PITCH = 2, 1, 1, 1, 3
_EVENT_LIST_END, _EVENT_PHONEME = 0, 7
# The state of espeak-ng is global in its library.
_LOCK = threading.Lock()


class _Event(ctypes.Structure):
    _fields_ = [  # noqa: RUF012
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("mnemonic", ctypes.c_char * 8),  # a union, which has other contents for other types of event
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Voice:
    """How to speak: a language and variant such as `"en-us+m3"`, 80 to 450 words a minute, pitch 0 to 99."""

    name: str
    rate_wpm: int = 150
    pitch: int = 50

    @property
    def language(self) -> str:
        """The language, such as "en-us": it decides which phonemes are spoken."""
        return self.name.partition("+")[0]


class Phoneme(NamedTuple):
    """An espeak-ng mnemonic without its stress mark, and the sample at which it begins."""

    start: int
    mnemonic: str


class Utterance(NamedTuple):
    """Synthesised speech: float32 `[sample]` in [-1, 1] at espeak-ng's own rate, and the phonemes in order."""

    waveform: np.ndarray
    sample_rate: int
    phonemes: tuple[Phoneme, ...]


class Espeak:
    """A speech synthesiser; the same calls of one object in the same order give the same samples.

    The pitch flutter of espeak-ng goes on from one utterance to the next, so an utterance depends (slightly) on those
    that the same object spoke before it. Voices with `breath` in their definition also use the C library's `rand`.

    Raises:
        MissingExtra: if the package `espeakng_loader` is not installed.
        DataError: if its library or its data cannot be loaded.
    """

    def __init__(self) -> None:
        loader = require_extra("espeakng_loader", "synth")
        self._data = Path(loader.get_data_path())
        self._library = _private_library(loader.get_library_path())
        self._samples: list[np.ndarray] = []
        self._phonemes: list[Phoneme] = []
        self._callback = _Callback(self._receive)  # an attribute, because espeak-ng itself keeps only its address
        with _LOCK:
            data = str(self._data).encode()
            self.sample_rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS)
            self._library.espeak_SetSynthCallback(self._callback)
        if self.sample_rate <= 0:
            raise DataError(f"espeak-ng cannot read its data in {self._data}: reinstall espeakng-loader")

    def speak(self, text: str, voice: Voice) -> Utterance:
        """Speak one sentence or several.

        Raises:
            DataError: if there is no such voice or nothing to say.
        """
        encoded = text.encode()
        with _LOCK:
            self._choose(voice)
            self._samples, self._phonemes = [], []
            # bytes, size, start, kind of start, end (0: none), encoding, identifier, user data
            size = ctypes.c_size_t(len(encoded) + 1)
            self._library.espeak_Synth(encoded, size, 0, 1, 0, _UTF8, None, ctypes.c_void_p())
        if not any(phoneme.mnemonic.strip("_:") for phoneme in self._phonemes):
            raise DataError(f"espeak-ng finds nothing to say in {text!r}")
        waveform = np.concatenate(self._samples).astype(np.float32) / 32768
        return Utterance(waveform, self.sample_rate, tuple(self._phonemes))

    def _choose(self, voice: Voice) -> None:
        variant = voice.name.partition("+")[2]
        # espeak-ng itself ignores a variant that it does not have.
        if variant and not (self._data / "voices" / "!v" / variant).is_file():
            raise DataError(f"espeak-ng has no voice variant {variant!r}, asked for in {voice.name!r}")
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise DataError(f"espeak-ng has no voice {voice.name!r}")
        self._library.espeak_SetParameter(_RATE, voice.rate_wpm, 0)
        self._library.espeak_SetParameter(_PITCH, voice.pitch, 0)

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        """Callback of espeak-ng for each piece of sound; returning 0 asks it to go on."""
        if samples and count > 0:
            self._samples.append(np.ctypeslib.as_array(samples, (count,)).copy())
        for event in events:
            if event.type == _EVENT_LIST_END:
                break
            if event.type == _EVENT_PHONEME:
                self._phonemes.append(Phoneme(event.sample, event.mnemonic.decode().lstrip("',%=")))
        return 0


def _private_library(path: str) -> ctypes.CDLL:
    """Load a copy of the library, which has a fresh state of its own, whatever else uses espeak-ng in this process."""
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            return ctypes.CDLL(shutil.copy(path, folder))
    except OSError:  # the temporary folder may not allow running code
        pass
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise DataError(f"espeak-ng's library cannot be loaded ({error}): reinstall espeakng-loader") from None


def _phones(entries: str) -> dict[str, tuple[str, ...]]:
    """ARPAbet phones of mnemonics, from text such as "tS=CH n-=AH+N ;=": none of the last."""
    pairs = (entry.split("=") for entry in entries.split())
    return {mnemonic: tuple(filter(None, phones.split("+"))) for mnemonic, phones in pairs}


# A centring or r-coloured vowel is one phoneme in espeak-ng and two phones in ARPAbet. Phonemes without a phone are
# glides of some 30 ms that belong to the phone before them.
_PHONES = _phones(
    "p=P b=B t=T t2=T t#=T ?=T d=D k=K g=G tS=CH dZ=JH f=F v=V T=TH D=DH s=S z=Z S=SH Z=ZH h=HH "
    "m=M n=N n-=AH+N N=NG l=L @L=AH+L r=R r-=R w=W w#=W j=Y "
    "i:=IY i=IY I=IH I2=IH I#=IH E=EH a=AE aa=AE A:=AA 0=AA O:=AO O2=AO U=UH u:=UW V=AH @=AH @2=AH a#=AH 3=AH 3:=ER "
    "eI=EY aI=AY OI=OY aU=AW oU=OW i@=IY+AH aI@=AY+AH A@=AA O@=AO o@=AO e@=EH+AH i@3=IH+AH U@=UH+AH "
    "_=SIL _:=SIL ;= @-="
)
_ACCENTS = {  # differences from the table above
    "en-us": _phones("3=ER A@=AA+R O@=AO+R o@=AO+R e@=EH+R i@3=IH+R U@=UH+R aI3=AY+ER"),
    "en-us-nyc": {},
    "en": {},
    "en-gb-x-rp": _phones("aa=AA U@=AO"),
    "en-gb-scotland": _phones("e@=EH i@3=IH U@=UH IR=ER VR=ER aI2=AY"),  # the r after a vowel is a separate phoneme
}


def arpabet(mnemonic: str, language: str) -> tuple[str, ...]:
    """The ARPAbet phones that one espeak-ng phoneme stands for: one, two, or none for a short glide.

    >>> arpabet("tS", "en-us"), arpabet("@L", "en"), arpabet("A@", "en"), arpabet("A@", "en-us")
    (('CH',), ('AH', 'L'), ('AA',), ('AA', 'R'))

    Raises:
        DataError: for a phoneme that the table does not have.
    """
    phones = _ACCENTS[language].get(mnemonic, _PHONES.get(mnemonic))
    if phones is None:
        raise DataError(f"espeak-ng's phoneme {mnemonic!r} ({language}) has no ARPAbet phone in the table")
    return phones


def phone_intervals(utterance: Utterance, language: str) -> tuple[Interval, ...]:
    """Phones of an utterance of espeak-ng, without gaps from 0 s to its end.

    espeak-ng fills the closure of a stop with zeros and reports the stop after them; here the closure belongs to the
    stop, as in manual labels. A phoneme that stands for two phones is divided into halves. An l or r after a vowel may
    be spoken as the end of that vowel and reported with no length: it gets the second half of the vowel.
    """
    waveform, sample_rate, phonemes = utterance
    starts = [0, *(phoneme.start for phoneme in phonemes), len(waveform)]
    labels: list[tuple[str, ...]] = [("SIL",), *(arpabet(phoneme.mnemonic, language) for phoneme in phonemes)]
    for index, phoneme in enumerate(phonemes, start=1):
        following = phonemes[index].mnemonic if index < len(phonemes) else ""
        if len(labels[index]) == 2 and labels[index][1] == "R" and following in ("r", "r-"):
            labels[index] = labels[index][:1]
        if labels[index - 1] != ("SIL",):
            sound = waveform[starts[index - 1] : phoneme.start]
            starts[index] -= len(sound) - len(np.trim_zeros(sound, "b"))
    return _intervals(starts, labels, sample_rate)


def _intervals(starts: Sequence[int], labels: Sequence[tuple[str, ...]], sample_rate: int) -> tuple[Interval, ...]:
    """Intervals of the segments that begin at `starts`, which has the end of the last as well; none is empty."""
    min_samples = round(0.005 * sample_rate)  # a shorter phoneme was not spoken: initial stops take some 17 ms
    segments: list[tuple[int, int, tuple[str, ...]]] = []
    for start, end, phones in zip(starts, starts[1:], labels, strict=False):
        is_silence = phones == ("SIL",)
        if segments and (not phones or end - start <= min_samples or (is_silence and segments[-1][2] == phones)):
            segments[-1] = (segments[-1][0], end, segments[-1][2] + (() if is_silence else phones))
        elif end - start > min_samples:
            segments.append((segments[-1][1] if segments else 0, end, phones))
    intervals: list[Interval] = []
    for start, end, phones in segments:
        edges_s = (np.linspace(start, end, len(phones) + 1) / sample_rate).tolist()
        intervals += map(Interval, edges_s, edges_s[1:], phones)
    return tuple(intervals)
