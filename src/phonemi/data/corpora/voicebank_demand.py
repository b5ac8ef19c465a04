"""VoiceBank-DEMAND: noisy recordings, `noisy_testset_wav/p232_001.wav` and the like, with their clean counterparts.

Valentini-Botinhao, "Noisy speech database for training speech enhancement algorithms and TTS models", CC BY 4.0,
https://doi.org/10.7488/ds/2117 (Edinburgh DataShare, handle 10283/2791). The names of the archives, their layout and
the addresses of their contents are those that public download scripts use. Several of the scripts give the same MD5
sums of the four archives of sound; two name the repository's own records as the source of three of them. No checksum of
the archives of texts and logs was found: only the checksums inside the zip files guard them.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from phonemi import audio
from phonemi.data.alignment import parse_lines
from phonemi.data.corpora.corpus import Listing, Omissions, fitting_pairs, read_transcript, recordings_of
from phonemi.data.corpora.download import Progress, fetch_and_extract
from phonemi.errors import DataError, nearest
from phonemi.tables import plural

URL = "https://datashare.ed.ac.uk/server/api/core/bitstreams/{bitstream}/content"

_TRAIN = (
    *("p227", "p228", "p230", "p231", "p233", "p236", "p239", "p243", "p244", "p250", "p254", "p256", "p258"),
    *("p259", "p267", "p268", "p269", "p270", "p273", "p274", "p276", "p277", "p278", "p279", "p282", "p286"),
)
SPEAKERS = {"train": _TRAIN, "validation": ("p226", "p287"), "test": ("p232", "p257")}
"""Speakers of each split. Two of the 28 training speakers are held out for validation, as S3PRL and others do."""

PUBLISHED = {"train": 10_802, "validation": 770, "test": 824}  # recordings in each split

LOGS = ("log_trainset_28spk.txt", "log_testset.txt")


# Archives of the repository: the id of the contents of each, and its MD5 sum, if known.
ARCHIVES = {
    "logfiles.zip": ("11185dc8-9cf1-405b-b858-35bd6a04aedd", None),
    "testset_txt.zip": ("09e12592-879e-4749-bf6d-e34cf0d1ddf6", None),
    "clean_testset_wav.zip": ("dec213d3-bf57-4777-9663-c24bdce92d5e", "34eb1c0ba7ef667e9b966866c542fc16"),
    "noisy_testset_wav.zip": ("13c1bfbf-14a6-41db-9b41-8f7310f01ad5", "fb1b86caa31e8ba5b506c0c64da9aab5"),
    "trainset_28spk_txt.zip": ("fb55b5de-c2db-4451-ac0a-134e98011ffa", None),
    "clean_trainset_28spk_wav.zip": ("245452b6-6235-44b6-a6f9-e7eb19797769", "d2d5a45ec32f8fcbf201bde0447e20ba"),
    "noisy_trainset_28spk_wav.zip": ("ecb5a102-bb00-46d3-8af5-40c79823b837", "1fca9e8bafb8cd069f6653c6d92f9e9c"),
}

_NAME = re.compile(r"(p\d{3})_\d{3}")
_ROLE = re.compile(r"noisy|clean")
_AT_16_KHZ = re.compile(r"16[ _-]?k")


def download_voicebank_demand(
    folder: str | Path, *, split: str | None = None, progress: Progress | None = None
) -> list[str]:
    """Download the archives into `folder` and unpack them there; archives that are there already are used.

    With a `split`, one of `SPEAKERS`, only what it needs is fetched (test: 330 MB); by default all (5.6 GB).
    """
    _check_split(split or "test")
    part = {None: "", "test": "testset"}.get(split, "trainset")
    for name, (bitstream, md5) in ARCHIVES.items():
        if part in name or name == "logfiles.zip":
            fetch_and_extract(URL.format(bitstream=bitstream), folder, name=name, md5=md5, progress=progress)
    return []


def prepare_voicebank_demand(folder: str | Path, *, split: str = "test", strict: bool = False) -> Listing:
    """List the noisy recordings of one split: id "p232_001", speaker "vb-p232", the clean counterpart in `clean`.

    The split of a recording is that of its speaker, so any layout will do in which noisy and clean recordings have the
    same names, in folders with "noisy" and "clean" in their paths: noisy_testset_wav and clean_testset_wav, with or
    without 28spk or _16k; test/noisy and test/clean; wavs_noisy and wavs_clean with everything in them. A recording
    that is in several folders is taken from one with "16k" in its path.

    The text is that of "<id>.txt" in any folder (as published: testset_txt, trainset_28spk_txt); noise and SNR are
    those of `LOGS`, also in any folder. Other speakers, for instance those of the 56-speaker set, are left out.

    Args:
        folder: contains the corpus at any depth; 48 kHz as published or at any other rate.
        split: "train" (26 speakers), "validation" (p226 and p287, held out of the training set) or "test".
        strict: refuse to leave a recording of the split out.

    Raises:
        DataError: if the split is unknown, there are no pairs of it, or a log file has a line of another form; with
            `strict`, for a recording that cannot be listed.
    """
    folder = Path(folder)
    _check_split(split)
    skipped, missing = Omissions(), Omissions()
    pairs, notes = _pairs(folder, split, skipped)
    readable = recordings_of([noisy for noisy, _ in pairs.values()], skipped)
    texts, conditions = _texts(folder, pairs, missing), _conditions(folder)
    listed = [
        replace(readable[noisy], clean=os.path.abspath(clean))
        for _, (noisy, clean) in sorted(pairs.items())
        if noisy in readable
    ]
    recordings = []
    for recording in fitting_pairs(listed, skipped):
        id = recording.id
        noise, snr_db = conditions.get(id, (None, None))
        speaker = f"vb-{id.split('_')[0]}"
        recordings.append(replace(recording, speaker=speaker, text=texts.get(id), noise=noise, snr_db=snr_db))
        if id not in texts:
            missing.add("no text", id)
        if noise is None:
            missing.add("no line in a log file", id)
    notes += skipped.skipped_recordings(strict) + missing.notes("gap", "in what is known of the recordings")
    if not recordings:
        raise DataError(f"no VoiceBank-DEMAND {split} pairs in {folder}: {'; '.join(notes)}")
    if len(recordings) != PUBLISHED[split]:
        notes.append(f"{plural(len(recordings), 'recording')} in the {split} split, {PUBLISHED[split]} are published")
    return Listing(recordings, notes)


def _check_split(split: str) -> None:
    if split not in SPEAKERS:
        raise DataError(f"VoiceBank-DEMAND has no split {split!r}; {nearest(split, SPEAKERS)}")


def _pairs(folder: Path, split: str, skipped: Omissions) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """Pairs by id, and notes on folders that were left out."""
    files: dict[str, dict[str, Path]] = defaultdict(dict)  # path below `folder`, in small letters -> id -> file
    for path in audio.find_recordings(folder):
        name = _NAME.fullmatch(path.stem)
        if name and name[1] in SPEAKERS[split]:
            files[path.parent.relative_to(folder).as_posix().lower()][path.stem] = path
    noisy_folders = [below for below in files if _role(below) == "noisy"]
    if not noisy_folders:
        archives = [name for name in ARCHIVES if any(folder.rglob(name))]
        hint = f"; {archives[0]} is there, which --download unpacks" if archives else ""
        example = f"noisy_testset_wav/{SPEAKERS[split][0]}_001.wav"
        raise DataError(f"no VoiceBank-DEMAND {split} pairs in {folder}: found no folders such as {example}{hint}")
    pairs: dict[str, tuple[Path, Path]] = {}
    notes = []
    for below in sorted(noisy_folders, key=lambda below: (not _AT_16_KHZ.search(below), below)):
        noisy = files[below]
        noisy_folder = next(iter(noisy.values())).parent  # `below` with its capital letters
        candidates = list(_clean_folders(below))
        clean = next((files[candidate] for candidate in candidates if candidate in files), None)
        if clean is None:
            notes.append(f"{noisy_folder} has no clean counterpart {folder / candidates[0]}")
            continue
        if repeated := len(noisy.keys() & pairs.keys()):
            notes.append(f"{plural(repeated, 'recording')} of {noisy_folder} left out: another folder has the same")
        for id in sorted((noisy.keys() | clean.keys()) - pairs.keys()):
            if id in noisy and id in clean:
                pairs[id] = noisy[id], clean[id]
            else:
                skipped.add("without a clean counterpart" if id in noisy else "without a noisy one", id)
    return pairs, notes


def _role(below: str) -> str | None:
    """Whether a folder is for "noisy" or "clean" recordings; its own name counts before those of the folders above."""
    roles = [role for part in below.split("/") for role in _ROLE.findall(part)[:1]]
    return roles[-1] if roles else None


def _clean_folders(below: str) -> Iterator[str]:
    """Where the clean counterparts of a folder may be: the innermost "noisy" replaced, or all of them.

    >>> list(_clean_folders("noisy-vctk/noisy_testset_wav"))
    ['noisy-vctk/clean_testset_wav', 'clean-vctk/clean_testset_wav']
    """
    before, _, after = below.rpartition("noisy")
    yield f"{before}clean{after}"
    yield below.replace("noisy", "clean")


def _texts(folder: Path, ids: Iterable[str], unread: Omissions) -> dict[str, str]:
    """The text of "<id>.txt" for each id."""
    files = {path.stem: path for path in sorted(folder.rglob("p*.txt"), reverse=True)}  # of several, the first
    texts = {id: read_transcript(files[id], unread) for id in ids if id in files}
    return {id: text for id, text in texts.items() if text}


def _conditions(folder: Path) -> dict[str, tuple[str, float]]:
    """Noise and SNR in dB by id, from lines such as "p232_001 bus 17.5"."""

    def parse(fields: list[str]) -> tuple[str, tuple[str, float]]:
        id, noise, snr_db = fields
        return id.removesuffix(".wav"), (noise, float(snr_db))

    logs = sorted(path for log in LOGS for path in folder.rglob(log))
    return dict(line for log in logs for line in parse_lines(log, parse, "utterance noise snr_db"))
