"""espeak-ng's speech and the phones it reports."""

from itertools import pairwise

import numpy as np
import pytest

from phonemi.data.alignment import PHONES
from phonemi.data.corpora import espeak as module
from phonemi.data.corpora.espeak import Espeak, Phoneme, Utterance, Voice, arpabet, phone_intervals
from phonemi.data.corpora.synthetic import GRAMMAR, SPEAKERS
from phonemi.data.manifest import Interval
from phonemi.errors import DataError, MissingExtra

VOWELS = {"AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"}
LANGUAGES = sorted({voice.language for voice in SPEAKERS})


def pitch_hz(utterance: Utterance) -> float:
    """From the highest peak of the autocorrelation between 50 and 400 Hz."""
    power = np.abs(np.fft.rfft(utterance.waveform, 2 * len(utterance.waveform))) ** 2
    lags = np.arange(utterance.sample_rate // 400, utterance.sample_rate // 50)
    return utterance.sample_rate / float(lags[np.argmax(np.fft.irfft(power)[lags])])


@pytest.fixture
def espeak() -> Espeak:
    pytest.importorskip("espeakng_loader")
    return Espeak()


def utterance(*pieces: tuple[str, int, int]) -> Utterance:
    """Phonemes with so many sounding samples and so many zeros after them, at 1000 Hz."""
    waveform, phonemes = [], []
    for mnemonic, sounding, zeros in pieces:
        phonemes.append(Phoneme(len(waveform), mnemonic))
        waveform += [0.5] * sounding + [0.0] * zeros
    return Utterance(np.array(waveform, dtype=np.float32), 1000, tuple(phonemes))


def labels(*pieces: tuple[str, int, int], language: str = "en-us") -> list[tuple[str, int, int]]:
    found = phone_intervals(utterance(*pieces), language)
    return [(phone, round(start_s * 1000), round(end_s * 1000)) for start_s, end_s, phone in found]


def test_the_closure_of_a_stop_belongs_to_the_stop() -> None:
    assert labels(("_", 0, 50), ("V", 100, 40), ("p", 20, 0)) == [("SIL", 0, 50), ("AH", 50, 150), ("P", 150, 210)]


def test_a_pause_begins_where_the_sound_ends() -> None:
    assert labels(("V", 100, 30), ("_:", 0, 60), ("t", 20, 0)) == [("AH", 0, 100), ("SIL", 100, 190), ("T", 190, 210)]


def test_two_phones_in_one_phoneme_share_it() -> None:
    assert labels(("@L", 100, 0), ("A@", 80, 0)) == [("AH", 0, 50), ("L", 50, 100), ("AA", 100, 140), ("R", 140, 180)]


def test_the_r_of_a_vowel_is_left_to_a_following_r() -> None:
    assert labels(("A@", 80, 0), ("r-", 40, 0)) == [("AA", 0, 80), ("R", 80, 120)]


@pytest.mark.parametrize("zeros", [0, 3, 30])
def test_a_liquid_without_a_length_of_its_own_takes_half_of_the_vowel(zeros: int) -> None:
    found = labels(("O:", 100, 0), ("l", 0, zeros), ("t", 40, 0))
    assert found == [("AO", 0, 50), ("L", 50, 100), ("T", 100, 140 + zeros)]


def test_a_glide_lengthens_the_phone_before_it() -> None:
    assert labels(("i", 50, 0), (";", 30, 0), ("I", 50, 0)) == [("IY", 0, 80), ("IH", 80, 130)]


def test_silences_are_joined() -> None:
    assert labels(("V", 50, 0), ("_:", 0, 60), ("_", 0, 10)) == [("AH", 0, 50), ("SIL", 50, 120)]


def test_unknown_phonemes_are_errors() -> None:
    with pytest.raises(DataError, match=r"'q@' \(en-us\)"):
        arpabet("q@", "en-us")


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_of_the_grammar_has_phones(espeak: Espeak, language: str) -> None:
    said = {
        phone.phone
        for rule in list(GRAMMAR.values())
        for words in rule.replace("<", "").replace(">", "").split(" | ")
        for phone in phone_intervals(espeak.speak(words, Voice(language)), language)
    }
    assert said <= set(PHONES)
    if language == "en-us":
        assert said == set(PHONES)


def test_phones_are_those_of_the_dictionary(espeak: Espeak) -> None:
    spoken = phone_intervals(espeak.speak("please turn the red camera off", Voice("en-us+m3")), "en-us")
    phones = [phone.phone for phone in spoken if phone.phone != "SIL"]
    assert " ".join(phones) == "P L IY Z T ER N DH AH R EH D K AE M R AH AO F"


@pytest.mark.parametrize("voice", SPEAKERS, ids=lambda voice: voice.name)
def test_intervals_cover_the_sound_and_vowels_are_loud(espeak: Espeak, voice: Voice) -> None:
    spoken = espeak.speak("my uncle found seven yellow candles, beside the small table", voice)
    phones = phone_intervals(spoken, voice.language)
    assert phones[0].start_s == 0
    assert phones[-1].end_s == pytest.approx(len(spoken.waveform) / spoken.sample_rate)
    assert all(left.end_s == right.start_s for left, right in pairwise(phones))
    assert all(phone.end_s - phone.start_s > 0.01 for phone in phones if phone.phone != "SIL")

    def power(phone: Interval) -> float:
        edges = (round(time_s * spoken.sample_rate) for time_s in phone[:2])
        return float(np.mean(spoken.waveform[slice(*edges)] ** 2))

    silence = max(power(phone) for phone in phones if phone.phone == "SIL")
    assert min(power(phone) for phone in phones if phone.phone in VOWELS) > 1000 * silence
    assert sum(phone.phone == "SIL" for phone in phones[1:-1]) == 1  # the comma


def test_the_same_calls_give_the_same_samples(espeak: Espeak) -> None:
    first = [espeak.speak("hello again", voice).waveform for voice in SPEAKERS[:2]]
    other = Espeak()
    again = [other.speak("hello again", voice).waveform for voice in SPEAKERS[:2]]
    for left, right in zip(first, again, strict=True):
        np.testing.assert_array_equal(left, right)


def test_rate_and_pitch_change_the_speech(espeak: Espeak) -> None:
    slow, fast = (espeak.speak("a little later", Voice("en-us", rate)).waveform for rate in (100, 300))
    assert len(slow) > 1.5 * len(fast)
    low, high = (pitch_hz(espeak.speak("a little later", Voice("en-us", 150, pitch))) for pitch in (20, 80))
    assert high > 1.3 * low


@pytest.mark.parametrize("name", ["martian", "en-us+nobody"])
def test_voices_that_do_not_exist(espeak: Espeak, name: str) -> None:
    with pytest.raises(DataError, match=name.rpartition("+")[2]):
        espeak.speak("hello", Voice(name))


def test_nothing_to_say(espeak: Espeak) -> None:
    with pytest.raises(DataError, match="nothing to say"):
        espeak.speak(" ", Voice("en-us"))


def test_a_folder_that_forbids_code_does_not_matter(espeak: Espeak, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Espeak().speak("hello", Voice("en-us")).waveform
    opened = module.ctypes.CDLL

    def forbidding(path: str) -> object:
        if "site-packages" not in str(path):
            raise OSError("failed to map segment from shared object")
        return opened(path)

    monkeypatch.setattr(module.ctypes, "CDLL", forbidding)
    assert len(Espeak().speak("hello", Voice("en-us")).waveform) == pytest.approx(len(expected), rel=0.05)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "espeakng_loader", None)
    with pytest.raises(MissingExtra, match=r"phonemi\[synth\]"):
        Espeak()
