"""Articulatory synthesis: English sentences spoken by a model of the vocal tract, with the true tract variables.

The model is VocalTractLab (Birkholz, https://www.vocaltractlab.de, GPL-3.0) in the package vocaltractlab-cython: an
extra, imported here only. Phones with durations become a gestural score, the score a sequence of tract and glottis
states, and these, in the geometry of a speaker, sound. What is true of each state is measured on its midsagittal
outlines.

It is synthetic speech, of one anatomy and its variations, with the vowels of German and without the r of English:
good for learning how sound and tongue go together, no measure of how well that works for people.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from phonemi import audio
from phonemi.constants import SAMPLE_RATE
from phonemi.data.corpora.corpus import Listing
from phonemi.data.corpora.procedural_noise import LEVEL_DB, MAX_PEAK
from phonemi.data.corpora.synthetic import draw_sentence
from phonemi.data.manifest import Interval, Recording, read_manifest, write_manifest
from phonemi.data.mixing import generator
from phonemi.errors import DataError, require_extra
from phonemi.files import remove_leftovers, write_text
from phonemi.inversion.source_features import source_features
from phonemi.inversion.tracks import RATE_HZ, fit_to_audio, frames_in, tracks_of, write_tracks
from phonemi.inversion.tract_variables import nearest
from phonemi.progress import Progress
from phonemi.workers import Worker

VERSION = 1  # of the corpus: raise it when the same arguments give other files
MARKER = ".phonemi-articulatory-synthesis.json"
MANIFEST = "speech.jsonl"
EXTRA = "articulatory"
MODULE = "vocaltractlab_cython"
_FLOOR_DB = -50.0  # noise floor relative to the speech: no recording is digitally silent


class Speaker(NamedTuple):
    """A vocal tract and a voice.

    The mouth is that of the model's own speaker, for whom the gestures of consonants were made; pharynx, larynx and
    vocal folds are those that the model gives a person of this age and sex (`set_anatomy_from_age`): there men, women
    and children differ most. `age_years` None: all of the model's own.

    Attributes:
        velar_raise_cm: how much higher the tongue body goes for k, g and ng, so that it reaches the velum, which is
            lower in a shorter pharynx.
    """

    name: str
    age_years: int | None
    is_male: bool
    f0_hz: float
    velar_raise_cm: float


SPEAKERS: tuple[Speaker, ...] = (
    Speaker("jd3", None, True, 108, 0.0),
    Speaker("f20", 20, False, 195, 0.5),
    Speaker("m20", 20, True, 96, 0.0),
    Speaker("f16", 16, False, 215, 0.5),
    Speaker("m17", 17, True, 122, 0.2),
    Speaker("f14", 14, False, 232, 0.55),
    Speaker("m21", 21, True, 88, 0.0),
    Speaker("m16", 16, True, 135, 0.3),
)

# The phones of the model, by its German names, for each ARPAbet phone, with their shares of its duration. It has no w,
# which is a short u, and no r of English: "9" stands for the rounded central vowel into which German r melts
# (`_R_SHAPE`), with the lowest third formant that it has. AE lies between two vowels that it has (`_AE_SHARE`).
GERMAN: dict[str, tuple[tuple[str, float], ...]] = {
    phone: ((name, 1.0),)
    for phone, name in {
        **{"AA": "a:", "AE": "E:", "AH": "6", "AO": "O", "AW": "aU", "AY": "aI", "EH": "E", "IH": "I", "IY": "i:"},
        **{"OY": "OY", "UH": "U", "UW": "u:", "R": "9", "W": "U", "Y": "j", "L": "l", "M": "m", "N": "n", "NG": "N"},
        **{"HH": "h", "P": "p", "B": "b", "T": "t", "D": "d", "K": "k", "G": "g", "CH": "tS", "JH": "dZ", "F": "f"},
        **{"V": "v", "TH": "T", "DH": "D", "S": "s", "Z": "z", "SH": "S", "ZH": "Z", "ER": "9", "SIL": ""},
    }.items()
} | {"EY": (("e:", 0.6), ("I", 0.4)), "OW": (("o:", 0.6), ("U", 0.4))}
_R_SHAPE = "6_mid"
_AE_SHARE = 0.5  # of the way from the shape E: to the shape a

# Typical durations of phones in read speech, in s.
_DURATIONS_S = {
    **dict.fromkeys(("AA", "AE", "AO"), 0.13),
    **dict.fromkeys(("AW", "AY", "OY"), 0.16),
    **dict.fromkeys(("EY", "OW", "IY", "UW", "ER"), 0.12),
    **dict.fromkeys(("EH", "IH", "UH", "AH"), 0.085),
    **dict.fromkeys(("CH", "JH", "S", "SH"), 0.11),
    **dict.fromkeys(("F", "TH", "Z", "ZH", "P", "T", "K"), 0.09),
    **dict.fromkeys(("V", "DH", "HH", "B", "D", "G", "M", "N", "NG", "L", "R", "W", "Y"), 0.068),
}
_SCHWA_S = 0.06
_VOWELS = frozenset(phone for phone in GERMAN if phone[0] in "AEIOU")
_EFFORTS = {"soft": (0.7, "breathy"), "normal": (1.0, "modal"), "loud": (1.3, "pressed")}  # pressure, glottal shape

_GESTURE = re.compile(r'<gesture value="([^"]*)" slope="[^"]*" duration_s="([^"]*)"')


class Utterance(NamedTuple):
    """What is to be rendered: everything that was drawn.

    Attributes:
        phones: ARPAbet with start and end, without gaps; silence at both ends.
        segments: phones of the model with their durations in s.
        effort: a key of `_EFFORTS`.
        f0: (duration in s, F0 in semitones over 1 Hz) one after the other.
        gain_db: of the RMS level of the recording over full scale.
    """

    name: str
    seed: int
    speaker: Speaker
    text: str
    phones: tuple[Interval, ...]
    segments: tuple[tuple[str, float], ...]
    effort: str
    f0: tuple[tuple[float, float], ...]
    gain_db: float


class Motion(NamedTuple):
    """A sequence of states, in the model's own anatomy.

    Attributes:
        tract, glottis: `[state, parameter]`, 401 states a second.
        velar: `[state]` 0..1, how much a velar closure is being made.
    """

    tract: np.ndarray
    glottis: np.ndarray
    velar: np.ndarray


def prepare_articulatory_synthesis(
    folder: str | Path,
    *,
    utterances: int = 600,
    speakers: int = len(SPEAKERS),
    seed: int = 0,
    processes: int | None = None,
) -> Listing:
    """Render the corpus in `folder` and list it: `speech/*.flac` at 16 kHz, `tracks/*.npz`, and `speech.jsonl`.

    Four to five seconds of computing make one of speech. What is there already is kept, so that the same command
    goes on after an interruption. An utterance depends on seed and index alone (and the number of speakers): a longer
    corpus begins with the shorter.

    Args:
        folder: where the corpus is put.
        utterances: sentences in all, of about 2 s; utterance i is spoken by speaker i modulo `speakers`.
        speakers: 1 to 8 of `SPEAKERS`.
        seed: of sentences, durations, pitch, effort and level.
        processes: that render at the same time; None: one less than there are cores.

    Raises:
        MissingExtra: if vocaltractlab-cython or pocketsphinx (its pronunciation dictionary) is not installed.
        DataError: if there is nothing to render, or there are more speakers than tracts.
    """
    if utterances < 1 or not 1 <= speakers <= len(SPEAKERS):
        raise DataError(f"{utterances} utterances by {speakers} speakers: need 1+ by 1 to {len(SPEAKERS)} speakers")
    folder = Path(folder)
    manifest, marker = folder / MANIFEST, folder / MARKER
    arguments = json.dumps({"version": VERSION, "utterances": utterances, "speakers": speakers, "seed": seed})
    if not (manifest.is_file() and marker.is_file() and marker.read_text(encoding="utf-8") == arguments):
        require_extra(MODULE, EXTRA)
        _dictionary()
        processes = max(1, (os.cpu_count() or 2) - 1) if processes is None else processes
        for path in (marker, manifest):
            path.unlink(missing_ok=True)
        plans = [draw_utterance(index, SPEAKERS[index % speakers], seed) for index in range(utterances)]
        _render_all(folder, plans, max(1, min(processes, utterances)))
        write_manifest(manifest, (_recording(folder, plan) for plan in plans))
        write_text(marker, arguments)
    return Listing(read_manifest(manifest), [f"synthetic speech by VocalTractLab, {MODULE}; the tracks are the truth"])


def draw_utterance(index: int, speaker: Speaker, seed: int) -> Utterance:
    """Sentence `index` of the corpus, as `speaker` says it."""
    rng = generator(seed, "articulatory synthesis", index)
    sentence = draw_sentence(rng)
    effort = str(rng.choice(list(_EFFORTS), p=[0.2, 0.6, 0.2]))
    rate, pitch = rng.uniform(0.85, 1.25), rng.normal(0, 1)
    words = [[*_pronounce(word.strip(",")), *(["SIL"] if word.endswith(",") else [])] for word in sentence.split()]
    phones: list[Interval] = []
    segments: list[tuple[str, float]] = []
    accents: list[tuple[float, float]] = []  # time and height in semitones
    at_s = 0.0

    def add(phone: str, duration_s: float) -> None:
        nonlocal at_s
        duration_s = round(duration_s, 3)
        phones.append(Interval(round(at_s, 3), round(at_s + duration_s, 3), phone))
        segments.extend((name, duration_s * share) for name, share in GERMAN[phone])
        at_s += duration_s

    add("SIL", rng.uniform(0.12, 0.3))
    last_vowel = max(place for place, word in enumerate(words) if _VOWELS & set(word))
    for place, word in enumerate(words):
        vowels = [number for number, phone in enumerate(word) if phone in _VOWELS]
        accented = vowels[0] if vowels and (len(word) > 2 or place == last_vowel) else None
        for number, phone in enumerate(word):
            if phone == "SIL":
                add(phone, rng.uniform(0.12, 0.3))
                continue
            duration_s = _SCHWA_S if phone == "AH" and number != accented else _DURATIONS_S[phone]
            duration_s *= float(np.exp(rng.normal(0, 0.15))) / rate
            duration_s *= 1.35 if place == len(words) - 1 and vowels and number >= vowels[-1] else 1.0
            if number == accented:
                accents.append((at_s + duration_s / 2, rng.uniform(1.5, 4.5)))
            add(phone, duration_s)
    add("SIL", rng.uniform(0.15, 0.3))
    base = 12 * np.log2(speaker.f0_hz) + pitch + {"soft": -1.0, "normal": 0.0, "loud": 2.0}[effort]
    f0 = _melody(accents, at_s, base, rises=sentence.startswith("where"))
    gain_db = LEVEL_DB + rng.uniform(-2, 2) + {"soft": -4.0, "normal": 0.0, "loud": 2.0}[effort]
    name = f"vtl-{speaker.name}_{index:05d}"
    text = sentence.replace(",", "")
    return Utterance(name, seed, speaker, text, tuple(phones), tuple(segments), effort, f0, gain_db)


def _melody(
    accents: Sequence[tuple[float, float]], end_s: float, base: float, rises: bool
) -> tuple[tuple[float, float], ...]:
    """Targets of F0: a line that falls by three semitones, accents on it, and a fall, or rise, at the end."""
    targets, at_s = [], 0.0
    for number, (time_s, height) in enumerate(accents):
        line = base + 1.5 - 3 * time_s / end_s
        last = number == len(accents) - 1
        for until_s, value in ((time_s - 0.06, line), (time_s + 0.06, line + (0 if last and rises else height))):
            if until_s > at_s + 0.01:
                targets.append((until_s - at_s, value))
                at_s = until_s
    targets.append((end_s - at_s, base + (4.0 if rises else -3.5)))
    return tuple((float(duration_s), float(value)) for duration_s, value in targets)


@cache
def _dictionary() -> dict[str, list[str]]:
    """The first pronunciation of each word, by the dictionary that comes with pocketsphinx."""
    pocketsphinx = require_extra("pocketsphinx", EXTRA)
    words: dict[str, list[str]] = {}
    with open(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"), encoding="utf-8") as lines:
        for line in lines:
            word, _, phones = line.partition(" ")
            words.setdefault(word, phones.split())
    return words


def _pronounce(word: str) -> list[str]:
    return _dictionary()[word]


def _recording(folder: Path, plan: Utterance) -> Recording:
    path = _sound(folder, plan)
    info = audio.probe(path)
    return Recording(
        id=plan.name,
        path=str(path),
        sample_rate=info.sample_rate,
        samples=info.samples,
        speaker=f"vtl-{plan.speaker.name}",
        text=plan.text,
        phones=plan.phones,
        tracks=str(_tracks(folder, plan)),
    )


def _sound(folder: Path, plan: Utterance) -> Path:
    return folder / "speech" / f"{plan.name}.flac"


def _tracks(folder: Path, plan: Utterance) -> Path:
    return folder / "tracks" / f"{plan.name}.npz"


def _marker(folder: Path, plan: Utterance) -> Path:
    return folder / "parts" / f"{plan.name}.json"


def _render_all(folder: Path, plans: Sequence[Utterance], processes: int) -> None:
    """Render what is not there yet. An utterance is there when its marker, which is written last, says what it is."""
    waiting = [plan for plan in plans if not _is_rendered(folder, plan)]
    remove_leftovers([path(folder, plan) for plan in waiting for path in (_sound, _tracks, _marker)])
    done = len(plans) - len(waiting)
    if not waiting:
        return
    # Setting an anatomy removes the shapes that gestural scores need, and makes the library crash at the end of its
    # process. So one process makes scores into states, others speak them, and all are killed rather than ended.
    mover, speakers = Worker(), [Worker() for _ in range(processes)]
    idle: SimpleQueue[Worker] = SimpleQueue()
    for worker in speakers:
        idle.put(worker)

    def speak(plan: Utterance, motion: Motion) -> None:
        worker = idle.get()
        try:
            worker.call(_render, str(folder), plan, motion)
        finally:
            idle.put(worker)

    try:
        with (
            ThreadPoolExecutor(processes) as threads,
            Progress().task("speaking", total=len(plans), completed=done) as task,
        ):
            try:
                running: set[Future[None]] = set()
                for plan in waiting:
                    if len(running) == processes:
                        finished, running = wait(running, return_when=FIRST_COMPLETED)
                        for future in finished:
                            future.result()
                            task.advance()
                    running.add(threads.submit(speak, plan, mover.call(_move, plan)))
                for future in running:
                    future.result()
                    task.advance()
            except BaseException:
                for worker in speakers:  # so that the threads that wait for them end
                    worker.kill()
                raise
    finally:
        for worker in (mover, *speakers):
            worker.kill()


def _is_rendered(folder: Path, plan: Utterance) -> bool:
    marker = _marker(folder, plan)
    return marker.is_file() and marker.read_text(encoding="utf-8") == _description(plan)


def _description(plan: Utterance) -> str:
    return json.dumps([VERSION, plan])


def _move(plan: Utterance) -> Motion:
    """The states of an utterance, in the model's own anatomy; in a process where no other was ever set."""
    vtl = require_extra(MODULE, EXTRA)
    with tempfile.TemporaryDirectory() as folder:
        score, motor = os.path.join(folder, "score.ges"), os.path.join(folder, "motor.txt")
        phones = os.path.join(folder, "phones.txt")
        lines = [f"name = {name}; duration_s = {duration_s:.6f};\n" for name, duration_s in plan.segments]
        Path(phones).write_text("".join(lines), encoding="utf-8")
        vtl.phoneme_file_to_gesture_file(phones, score)
        text = _adapt_score(Path(score).read_text(encoding="utf-8"), plan)
        Path(score).write_text(text, encoding="utf-8")
        vtl.gesture_file_to_motor_file(score, motor)
        rows = [line.split() for line in Path(motor).read_text(encoding="utf-8").splitlines() if line[:1] != "#"][2:]
    glottis, tract = (np.array(rows[start::2], dtype=np.float64) for start in (0, 1))
    constants = vtl.get_constants()
    times_s = np.arange(len(tract)) / constants["sr_internal"]
    velar = _activity(_gestures(text, "tongue-body-gestures"), "tb-velar-closure", times_s)
    spoken = [(phone, end_s - start_s) for start_s, end_s, phone in plan.phones]
    step = vtl.get_shape("a", "tract") - vtl.get_shape("E:", "tract")
    tract += _AE_SHARE * _activity(spoken, "AE", times_s)[:, None] * step
    return Motion(tract, glottis, velar)


def _adapt_score(text: str, plan: Utterance) -> str:
    """The model's score, with r, pitch and effort of the utterance."""
    pressure, glottis = _EFFORTS[plan.effort]
    text = text.replace('value="modal"', f'value="{glottis}"').replace('value="9"', f'value="{_R_SHAPE}"')
    before, start, after = text.partition('<gesture_sequence type="lung-pressure-gestures"')
    after = re.sub(r'value="(\d[\d.]*)"', lambda value: f'value="{pressure * float(value[1]):.6f}"', after)
    text = before + start + after
    targets = "".join(
        f'    <gesture value="{value:.6f}" slope="0.000000" duration_s="{duration_s:.6f}" '
        'time_constant_s="0.030000" neutral="0" />\n'
        for duration_s, value in plan.f0
    )
    return re.sub(
        r'(<gesture_sequence type="f0-gestures"[^>]*>\n).*?(\s*</gesture_sequence>)',
        rf"\1{targets}\2",
        text,
        flags=re.DOTALL,
    )


def _gestures(text: str, tier: str) -> list[tuple[str, float]]:
    """Names and durations of the gestures of a tier of a score."""
    _, _, after = text.partition(f'<gesture_sequence type="{tier}"')
    body, _, _ = after.partition("</gesture_sequence>")
    return [(name, float(duration_s)) for name, duration_s in _GESTURE.findall(body)]


def _activity(sequence: Sequence[tuple[str, float]], name: str, times_s: np.ndarray) -> np.ndarray:
    """1 while the one called `name` of a sequence of (name, duration in s) is on, else 0, with flanks of 50 ms."""
    result, start_s = np.zeros(len(times_s)), 0.0
    for each, duration_s in sequence:
        if each == name:
            result[(times_s >= start_s) & (times_s < start_s + duration_s)] = 1
        start_s += duration_s
    window = np.hanning(2 + round(0.05 / max(times_s[1], 1e-4)))
    smoothed: np.ndarray = np.convolve(result, window / window.sum(), mode="same")
    return smoothed


def _render(folder: str, plan: Utterance, motion: Motion) -> None:
    """Speak an utterance and write its sound, its tracks and, last, its marker."""
    vtl = require_extra(MODULE, EXTRA)
    names = [parameter["name"] for parameter in vtl.get_param_info("tract")]
    tract = _adapted(vtl, plan.speaker, motion, names)
    constants = vtl.get_constants()
    sound = audio.resample(vtl.synth_block(tract, motion.glottis), constants["sr_audio"], SAMPLE_RATE)
    sound = _recorded(sound, plan)
    frames = frames_in(len(sound) / SAMPLE_RATE)
    places = np.arange(frames) / RATE_HZ * constants["sr_internal"]
    states = np.stack([np.interp(places, np.arange(len(tract)), parameter) for parameter in tract.T], axis=1)
    columns = geometry(vtl, states, names) | source_features(sound).columns()
    tracks = fit_to_audio(tracks_of(columns), len(sound) / SAMPLE_RATE, plan.name)
    where = Path(folder)
    audio.save(_sound(where, plan), sound, SAMPLE_RATE)
    write_tracks(_tracks(where, plan), tracks)
    write_text(_marker(where, plan), _description(plan))


def _adapted(vtl: Any, speaker: Speaker, motion: Motion, names: Sequence[str]) -> np.ndarray:
    """The states of the tract `[state, parameter]` for a speaker, whose anatomy this sets.

    The larynx is as high between its limits as in the model's own anatomy, and the tongue reaches the velum.
    """
    tract = motion.tract.copy()
    hyoid, tongue = names.index("HY"), names.index("TCY")
    own_low, own_high = _own_limits(vtl)[hyoid]
    low, high = _set_anatomy(vtl, speaker)[hyoid]
    tract[:, hyoid] = low + (tract[:, hyoid] - own_low) * (high - low) / (own_high - own_low)
    tract[:, tongue] += speaker.velar_raise_cm * motion.velar
    return tract


@cache
def _own_anatomy(vtl: Any) -> np.ndarray:
    """The anatomy that the model has before another is set."""
    anatomy: np.ndarray = vtl.get_anatomy_params()
    return anatomy


@cache
def _own_limits(vtl: Any) -> list[tuple[float, float]]:
    """The limits of the parameters in the model's own anatomy, which this sets."""
    return _set_anatomy(vtl, SPEAKERS[0])


def _limits(vtl: Any) -> list[tuple[float, float]]:
    return [(float(parameter["min"]), float(parameter["max"])) for parameter in vtl.get_param_info("tract")]


# Of the 13 anatomy parameters: length of the pharynx, length and width of the larynx, length of the vocal folds.
_THROAT = slice(8, 12)


def _set_anatomy(vtl: Any, speaker: Speaker) -> list[tuple[float, float]]:
    """Give the model the tract of a speaker; the result are the limits of its parameters."""
    anatomy = _own_anatomy(vtl).copy()
    if speaker.age_years is not None:
        vtl.set_anatomy_from_age(12 * speaker.age_years, speaker.is_male)
        anatomy[_THROAT] = vtl.get_anatomy_params()[_THROAT]
    vtl.set_anatomy_params(anatomy)
    return _limits(vtl)


def _recorded(sound: np.ndarray, plan: Utterance) -> np.ndarray:
    """At the level of the utterance, less where a peak would exceed `MAX_PEAK`, with a faint noise floor."""
    rng = generator(plan.seed, "articulatory synthesis", "noise floor", plan.name)
    sound = sound - sound.mean()
    level = np.sqrt(np.mean(np.square(sound)))
    sound = sound + rng.standard_normal(len(sound)) * level * 10 ** (_FLOOR_DB / 20)
    gain = min(10 ** (plan.gain_db / 20) / level, MAX_PEAK / np.abs(sound).max())
    scaled: np.ndarray = (sound * gain).astype(np.float32)
    return scaled


# Vertices of the upper outline of the model, from the larynx to the lips: the rear wall of the pharynx and the palate
# end with the gums behind the upper incisors; then come the incisors and the upper lip. The lower outline ends with the
# lower lip.
_INCISORS, _UPPER_LIP, _LOWER_LIP = slice(24, 26), slice(28, 34), slice(22, 28)
_WALL = slice(2, 26)
_TIP = 32  # vertex of the tongue's outline: behind it the root, before it the underside and the floor of the mouth
_TIP_CM = (0.0, 1.0)  # of the tongue, from its tip: what makes constrictions of the tongue tip
_BODY_CM = (1.5, 6.0)  # what pellets T2 to T4 cover, and a little more


def geometry(vtl: Any, states: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The true variables of each state, in mm, mm2 and degrees, from its midsagittal outlines.

    As near to `inversion.tract_variables` as a tract without pellets allows; the origin is the edge of the upper
    incisors too. What differs:

    - LA is the smallest distance between the lips themselves, 0 in a closure; that of pellets includes the lips.
    - LP is the foremost point of the lower lip.
    - The tongue tip is the first 10 mm of its outline rather than a pellet on it; TTCL is where it is nearest.
    - The body is its outline from 15 to 60 mm behind the tip. Both are compared with palate, velum, and the rear wall
      of the pharynx.
    - In a closure TTCD is about 0.4 mm and TBCD about 2 mm: there the model closes its tube before the outlines touch.

    VO is the area of the velum's opening (0 when shut), JA the angle of the jaw. Nothing is filtered: there is no noise
    of a measurement in these.

    Args:
        vtl: the library, with the anatomy of the speaker.
        states: `[frame, parameter]`.
        names: of the parameters.
    """
    values = np.zeros((len(states), 6))
    for frame, state in enumerate(states):
        if frame and np.array_equal(state, states[frame - 1]):
            values[frame] = values[frame - 1]
            continue
        outlines = vtl.get_outlines(state)
        upper, lower, tongue = outlines["upper"], outlines["lower"], outlines["tongue"]
        origin = upper[_INCISORS][:, 0].max()
        upper_lip, lower_lip = upper[_UPPER_LIP], lower[_LOWER_LIP]
        tip, body = (_stretch(tongue[: _TIP + 1][::-1], *part) for part in (_TIP_CM, _BODY_CM))
        la, _ = _gap(_stretch(lower_lip), upper_lip)
        ttcd, tip_x = _gap(tip, upper[_WALL])
        tbcd, body_x = _gap(body, upper[_WALL])
        values[frame] = la, lower_lip[:, 0].max() - origin, tip_x - origin, ttcd, body_x - origin, tbcd
    values *= 10  # cm
    columns = dict(zip(("LA", "LP", "TTCL", "TTCD", "TBCL", "TBCD"), values.T, strict=True))
    columns["VO"] = 100 * np.maximum(states[:, names.index("VO")], 0)  # cm2
    columns["JA"] = states[:, names.index("JA")]
    return columns


def _stretch(line: np.ndarray, start_cm: float = 0.0, end_cm: float = np.inf) -> np.ndarray:
    """Points of a line `[vertex, 2]`, 0.5 mm apart, from one distance from its first vertex to another."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    end_cm = min(end_cm, along[-1])
    places = np.linspace(min(start_cm, end_cm), end_cm, 2 + int((end_cm - start_cm) / 0.05))
    return np.stack([np.interp(places, along, coordinate) for coordinate in line.T], axis=1)


def _gap(points: np.ndarray, wall: np.ndarray) -> tuple[float, float]:
    """Width of the air between points and a wall above them, 0 where they touch or overlap; and x where it is least.

    The model lets the targets of closures lie inside the wall.
    """
    inside = _is_above(points, wall)
    if inside.any():
        depths = nearest(points[inside][:, None], wall)[0]
        return 0.0, float(points[inside][depths.argmax(), 0])
    width, index = nearest(points[None], wall)
    return float(width[0]), float(points[index[0], 0])


def _is_above(points: np.ndarray, wall: np.ndarray) -> np.ndarray:
    """Bool `[point]`: on the far side of a wall that runs from the back to the front, closed over the top."""
    x, y = wall.T
    top, far = max(y.max(), points[:, 1].max()) + 1, min(x.min(), points[:, 0].min()) - 1
    start = np.concatenate([wall, [[x[-1], top], [far, top], [far, y[0]]]])
    step = np.roll(start, -1, axis=0) - start
    at_y = points[:, 1:2]
    crosses = (start[:, 1] <= at_y) != (start[:, 1] + step[:, 1] <= at_y)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing_x = start[:, 0] + (at_y - start[:, 1]) / step[:, 1] * step[:, 0]
    odd: np.ndarray = np.sum(crosses & (points[:, :1] < crossing_x), axis=1) % 2 == 1
    return odd
