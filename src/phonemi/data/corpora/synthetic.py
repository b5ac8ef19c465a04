"""A synthetic corpus: sentences spoken by espeak-ng, with text and exact phones, and procedural noises.

All that a first run needs, made in seconds and without a network: `speech/*.flac` and `noise/*.flac` at 16 kHz, and a
manifest of each.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from phonemi import audio
from phonemi.constants import SAMPLE_RATE
from phonemi.data.corpora.corpus import Listing
from phonemi.data.corpora.espeak import Espeak, Voice, phone_intervals
from phonemi.data.corpora.procedural_noise import LEVEL_DB, MAX_PEAK, babble, procedural_noise
from phonemi.data.manifest import Interval, Recording, read_manifest, write_manifest
from phonemi.data.mixing import generator
from phonemi.errors import DataError
from phonemi.files import write_text
from phonemi.progress import Progress
from phonemi.tables import plural

VERSION = 1  # of the corpus: raise it when the same arguments give other files
MARKER = ".phonemi-synthetic.json"
_FAMILIES = ("white", "pink", "brown", "speech-shaped", "hum", "keyboard", "fan", "chirps", "rain", "siren", "babble")
# Family, number and fold of each noise clip. The three clips of a family are two folds apart, so that no fold has the
# families of the next.
_CLIPS: tuple[tuple[str, int, int], ...] = tuple(
    (family, clip + 1, (index + 2 * clip) % 5 + 1) for clip in range(3) for index, family in enumerate(_FAMILIES)
)
_CLIP_S = 6.0
_FLOOR_DB = -50.0  # noise floor relative to the speech: no recording is digitally silent

# A smaller number of speakers takes the first ones, so both sexes and several accents come early. No variant has echo,
# which would fill the closures of stops, or breath, which would draw from the C library's `rand`.
SPEAKERS: tuple[Voice, ...] = (
    Voice("en-us+m3", 150, 50),
    Voice("en-us+f1", 155, 50),
    Voice("en+m1", 145, 46),
    Voice("en-us+linda", 150, 54),
    Voice("en-gb-x-rp+m6", 160, 50),
    Voice("en-gb-scotland+f1", 150, 50),
    Voice("en-us+Alex", 165, 55),
    Voice("en-us+aunty", 140, 48),
    Voice("en-us-nyc+m7", 150, 45),
    Voice("en-gb-x-rp+anika", 150, 50),
    Voice("en-us+m5", 135, 42),
    Voice("en-us+steph", 160, 52),
)
MAX_SPEAKERS = 3 * len(SPEAKERS)
TALKERS: tuple[Voice, ...] = tuple(  # voices of the babble, none of them a speaker
    Voice(f"en-us+{variant}", 140 + 5 * index)
    for index, variant in enumerate(("croak", "Gene", "grandpa", "Annie", "Denis", "belinda", "Mike", "grandma"))
)

# Alternatives are separated by "|"; <name> stands for one of the alternatives of that name. A comma is a pause.
GRAMMAR: dict[str, str] = {
    "sentence": "<move> the <thing> | <move> the <quality> <thing> <place> | please <move> the <thing> <place> | "
    "turn the <machine> <switch> <when> | my <person> <did> <number> <things> | "
    "the <person> <did> <number> <things> <when> | the <quality> <animal> <went> <place> | "
    "where is the <quality> <thing> | there are <number> <things> <place> | "
    "room <number> <number> <number> is <state> | the weather is usually <weather> in <season> | "
    "we travel <direction> on <day> <time> | <greeting>, this is the <person> | <greeting>, my <thing> is <quality>",
    "move": "put | push | bring | leave | hide | throw",
    "quality": "red | blue | green | yellow | orange | purple | black | white | small | large | heavy | broken",
    "thing": "book | bottle | cup | chair | coin | jacket | watch | telephone | measure | toy | basket | feather",
    "things": "apples | potatoes | shirts | cookies | candles | flowers | roses | matches",
    "place": "under the table | behind the door | near the window | beside the river | above the shelf | "
    "inside the garage | outside the house | over the bridge | around the kitchen",
    "machine": "radio | television | heater | music | engine | camera",
    "switch": "on | off | up | down",
    "when": "today | tomorrow | yesterday | tonight | now | again | this morning",
    "person": "mother | father | brother | teacher | doctor | neighbor | farmer | uncle | boy | girl",
    "did": "bought | sold | found | lost | wanted | counted",
    "number": "zero | one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve",
    "animal": "dog | cat | horse | bird | mouse | rabbit | elephant | chicken",
    "went": "walked | jumped | slept | waited | vanished | looked",
    "state": "empty | closed | open | quiet | full",
    "weather": "cold | warm | rainy | foggy | cloudy",
    "season": "spring | summer | autumn | winter",
    "direction": "north | south | east | west",
    "day": "monday | tuesday | wednesday | thursday | friday",
    "time": "morning | evening | at noon",
    "greeting": "hello | thank you | good morning | excuse me | welcome",
}


def grammar_jsgf() -> str:
    """The grammar of the sentences in JSGF, for a recogniser that knows these sentences only.

    >>> grammar_jsgf().splitlines()[:2]
    ['#JSGF V1.0;', 'grammar phonemi;']
    """
    rules = (f"<{name}> = {alternatives.replace(',', '')};" for name, alternatives in GRAMMAR.items())
    return "\n".join(["#JSGF V1.0;", "grammar phonemi;", *rules]).replace("<sentence> =", "public <sentence> =") + "\n"


def draw_sentence(rng: np.random.Generator, rule: str = "sentence") -> str:
    """One sentence of three to eight lower-case words, with a comma where the speaker pauses."""
    alternatives = GRAMMAR[rule].split(" | ")
    alternative = alternatives[rng.integers(len(alternatives))]
    return re.sub(r"<(\w+)>", lambda name: draw_sentence(rng, name[1]), alternative)


def synthesise(
    folder: str | Path,
    *,
    utterances: int = 300,
    speakers: int = 12,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Path, Path]:
    """Write the corpus, unless a marker in `folder`, which is written last, says that it is there already.

    An interrupted call starts again. Sound files of other arguments may stay, but no manifest names them.

    Args:
        folder: where `speech/`, `noise/`, `speech.jsonl` (with phones) and `noise.jsonl` (with folds 1 to 5) are put.
        utterances: sentences in all; utterance i is spoken by speaker i modulo `speakers`.
        speakers: 1 to 36; beyond 12 the voices return with another pitch and rate.
        seed: of the sentences, silences, levels and noises.
        progress: shows how many files are done.

    Returns:
        The paths of the speech and the noise manifest.

    Raises:
        MissingExtra: if the package `espeakng_loader` is not installed.
        DataError: if there is nothing to write or there are more speakers than voices.
    """
    if utterances < 1 or not 1 <= speakers <= MAX_SPEAKERS:
        raise DataError(
            f"{plural(utterances, 'utterance')}, {plural(speakers, 'speaker')}: need 1+ by 1 to {MAX_SPEAKERS} speakers"
        )
    folder = Path(folder)
    speech, noise, marker = folder / "speech.jsonl", folder / "noise.jsonl", folder / MARKER
    arguments = json.dumps({"version": VERSION, "utterances": utterances, "speakers": speakers, "seed": seed})
    if all(path.is_file() for path in (speech, noise, marker)) and marker.read_text(encoding="utf-8") == arguments:
        return speech, noise
    espeak = Espeak()
    for path in (marker, speech, noise):
        path.unlink(missing_ok=True)
    recordings = []
    files = range(utterances + len(_CLIPS))
    for index in (progress or Progress(enabled=False)).over(files, "synthesising speech"):
        if index < utterances:
            recording, waveform = _utterance(espeak, folder / "speech", index, index % speakers, seed)
        else:
            recording, waveform = _noise(espeak, folder / "noise", *_CLIPS[index - utterances], seed)
        audio.save(recording.path, waveform, SAMPLE_RATE)
        recordings.append(recording)
    write_manifest(speech, recordings[:utterances])
    write_manifest(noise, recordings[utterances:])
    write_text(marker, arguments)
    return speech, noise


def prepare_synthetic(folder: str | Path, *, utterances: int = 300, seed: int = 0) -> Listing:
    """Make the corpus in `folder` and list the speech; the noise is listed in noise.jsonl."""
    speech, noise = synthesise(folder, utterances=utterances, seed=seed)
    return Listing(read_manifest(speech), [f"the noise is in {noise}"])


def speak(
    espeak: Espeak, sentence: str, voice: Voice, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[Interval, ...]]:
    """Speak a sentence as if it were recorded: 0.1 to 0.3 s of silence at both ends, and a faint noise floor.

    Returns:
        float32 `[sample]` at 16 kHz, -25 to -21 dB RMS (less where a peak would exceed 0.95), and its phones without
        gaps from 0 s to the end.
    """
    spoken = espeak.speak(sentence, voice)
    phones = phone_intervals(spoken, voice.language)
    sounding = [phone for phone in phones if phone.phone != "SIL"]
    start_s, end_s = sounding[0].start_s, sounding[-1].end_s
    sounding_part = slice(round(start_s * spoken.sample_rate), round(end_s * spoken.sample_rate))
    before, after = (int(samples) for samples in rng.uniform(0.1, 0.3, 2) * SAMPLE_RATE)
    waveform = np.pad(audio.resample(spoken.waveform[sounding_part], spoken.sample_rate, SAMPLE_RATE), (before, after))
    level = np.sqrt(np.mean(np.square(waveform)))
    waveform = waveform + rng.standard_normal(len(waveform)) * level * 10 ** (_FLOOR_DB / 20)
    gain = min(10 ** ((LEVEL_DB + rng.uniform(-2, 2)) / 20) / level, MAX_PEAK / np.abs(waveform).max())
    shift_s, duration_s = before / SAMPLE_RATE - start_s, len(waveform) / SAMPLE_RATE
    moved = [
        Interval(round(phone.start_s + shift_s, 5), round(phone.end_s + shift_s, 5), phone.phone)
        for phone in phones
        if start_s <= phone.start_s < end_s
    ]
    silences = Interval(0.0, moved[0].start_s, "SIL"), Interval(moved[-1].end_s, duration_s, "SIL")
    return (waveform * gain).astype(np.float32), (silences[0], *moved, silences[1])


def _utterance(espeak: Espeak, folder: Path, index: int, speaker: int, seed: int) -> tuple[Recording, np.ndarray]:
    rng = generator(seed, "synthetic speech", index)
    variation, voice = speaker // len(SPEAKERS), SPEAKERS[speaker % len(SPEAKERS)]
    voice = Voice(voice.name, voice.rate_wpm + (0, 14, -14)[variation], voice.pitch + (0, -12, 12)[variation])
    sentence = draw_sentence(rng)
    waveform, phones = speak(espeak, sentence, voice, rng)
    name = f"es-{voice.name.replace('+', '-')}-{speaker + 1}"
    recording = Recording(
        id=f"{name}_{index:04d}",
        path=str(folder / f"{name}_{index:04d}.flac"),
        sample_rate=SAMPLE_RATE,
        samples=len(waveform),
        speaker=name,
        text=sentence.replace(",", ""),
        phones=phones,
    )
    return recording, waveform


def _noise(
    espeak: Espeak, folder: Path, family: str, number: int, fold: int, seed: int
) -> tuple[Recording, np.ndarray]:
    rng = generator(seed, "synthetic noise", family, number)
    samples = round(_CLIP_S * SAMPLE_RATE)
    if family == "babble":
        talkers = rng.choice(len(TALKERS), rng.integers(4, 7), replace=False)
        voices = []
        for talker in talkers:
            spoken = espeak.speak(". ".join(draw_sentence(rng) for _ in range(3)), TALKERS[talker])
            voices.append(audio.resample(spoken.waveform, spoken.sample_rate, SAMPLE_RATE))
        waveform = babble(voices, samples, rng)
    else:
        waveform = procedural_noise(family, samples, rng)
    name = f"{family}-{number}"
    path = str(folder / f"{name}.flac")
    return Recording(id=name, path=path, sample_rate=SAMPLE_RATE, samples=samples, fold=fold), waveform
