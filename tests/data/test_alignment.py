"""Alignment files and frame labels whose answers are known on paper."""

from pathlib import Path

import numpy as np
import pytest

from phonemi.data.alignment import (
    IGNORE,
    PHONES,
    check_fit,
    frame_labels,
    inventory,
    is_htk,
    phone_class,
    read_ctm,
    read_htk,
    read_textgrid,
)
from phonemi.data.manifest import Interval, Recording
from phonemi.errors import DataError

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 0.5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 0.5
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = "say ""7 xmin = 3"" <exists>"
    item [2]:
        class = "TextTier"
        name = "marks"
        xmin = 0
        xmax = 0.5
        points: size = 1
        points [1]:
            number = 0.2
            mark = "here"
    item [3]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 0.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.1
            text = ""
        intervals [2]:
            xmin = 0.1
            xmax = 3.0e-1
            text = "AE1"
        intervals [3]:
            xmin = .3
            xmax = 0.5
            text = "spn"
"""
SHORT = """File type = "ooTextFile short"
"TextGrid"

0
0.5
<exists>
1
"IntervalTier"
"Anna - Phones"
0
0.5
3
0
0.1
""
0.1
0.3
"AE1"
0.3
0.5
"spn"
"""
PHONE_TIER = [Interval(0.0, 0.1, ""), Interval(0.1, 0.3, "AE1"), Interval(0.3, 0.5, "spn")]


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "file"
    path.write_bytes(text.encode(encoding))
    return path


def recording(*phones: tuple[float, float, str], duration_s: float = 1.0) -> Recording:
    intervals = tuple(Interval(*phone) for phone in phones)
    return Recording(id="r", path="r.wav", sample_rate=1000, samples=round(1000 * duration_s), phones=intervals)


def test_inventory_is_silence_and_39_phones_in_order() -> None:
    assert len(PHONES) == len(set(PHONES)) == 40
    assert PHONES[0] == "SIL"
    assert list(PHONES[1:]) == sorted(PHONES[1:])


@pytest.mark.parametrize("label", ["AE", "ae", "AE0", "AE1", "AE2", "ae1_B", "AE_I", " AE_E ", "AE1_S"])
def test_spellings_of_one_phone(label: str) -> None:
    assert phone_class(label) == PHONES.index("AE")


@pytest.mark.parametrize("label", ["", " ", "sil", "SIL", "sp", "SP", "silence", "SIL_S", "[SIL]"])
def test_spellings_of_silence(label: str) -> None:
    assert phone_class(label) == 0


@pytest.mark.parametrize("label", ["spn", "SPN_S", "+NSN+", "<unk>", "AX", "AE3", "AE12", "1"])
def test_unknown_labels(label: str) -> None:
    assert phone_class(label) is None


@pytest.mark.parametrize("text", [LONG, SHORT], ids=["long", "short"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_textgrid(tmp_path: Path, text: str, encoding: str) -> None:
    assert read_textgrid(written(tmp_path, text, encoding)) == PHONE_TIER


def test_textgrid_label_with_quotes_and_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, LONG.replace("\n", "\r\n"))
    assert read_textgrid(path, "words") == [Interval(0.0, 0.5, 'say "7 xmin = 3" <exists>')]


def textgrid(*tiers: tuple[str, list[tuple[float, float, str]]], end_s: float = 1.0) -> str:
    """A TextGrid in the short format, with interval tiers of these names."""
    lines = ['"ooTextFile short"', '"TextGrid"', "0", f"{end_s}", "<exists>", f"{len(tiers)}"]
    for name, intervals in tiers:
        lines += ['"IntervalTier"', f'"{name}"', "0", f"{end_s}", f"{len(intervals)}"]
        lines += [f'{start_s}\n{end_s}\n"{label}"' for start_s, end_s, label in intervals]
    return "\n".join(lines) + "\n"


ANNA = [(0.0, 0.25, "HH"), (0.25, 0.5, "IY1"), (0.5, 1.0, "")]


def test_textgrid_with_a_tier_for_each_speaker(tmp_path: Path) -> None:
    ben = [(0.0, 0.4995, "sil"), (0.4995, 0.75, "S"), (0.75, 1.0, "spn")]
    words = ("Ben - words", [(0.0, 1.0, "see")])
    path = written(tmp_path, textgrid(("Anna - phones", ANNA), words, ("Ben - phones", ben)))
    assert read_textgrid(path) == [(0.0, 0.25, "HH"), (0.25, 0.5, "IY1"), (0.4995, 0.75, "S"), (0.75, 1.0, "spn")]
    assert read_textgrid(path, "words") == [(0.0, 1.0, "see")]


def test_speakers_of_a_textgrid_who_talk_at_once_are_named(tmp_path: Path) -> None:
    ben = [(0.0, 0.4, ""), (0.4, 1.0, "S")]
    path = written(tmp_path, textgrid(("Ben - phones", ben), ("Anna - phones", ANNA)))
    with pytest.raises(DataError, match=r"'Anna - phones' and 'Ben - phones' .* at 0\.400-0\.500 s"):
        read_textgrid(path)


@pytest.mark.parametrize("silence", ["", "sil"])
def test_a_recording_in_which_nobody_speaks_is_silence(tmp_path: Path, silence: str) -> None:
    quiet = [(0.0, 0.4, silence), (0.4, 1.0, silence)]
    for tiers in ([("phones", quiet)], [("Anna - phones", quiet), ("Ben - phones", quiet)]):
        intervals = read_textgrid(written(tmp_path, textgrid(*tiers)))
        assert check_fit(recording(*intervals)).phones == tuple(quiet)
        assert frame_labels(intervals, 49).tolist() == [0] * 49


@pytest.mark.parametrize("tier", ["phone", "marks"])
def test_textgrid_without_the_tier(tmp_path: Path, tier: str) -> None:
    with pytest.raises(DataError, match=f"no interval tier '{tier}'"):
        read_textgrid(written(tmp_path, LONG), tier)


@pytest.mark.parametrize("kept", range(0, len(SHORT) - 8, 12))
def test_textgrid_cut_anywhere_is_refused(tmp_path: Path, kept: int) -> None:
    with pytest.raises(DataError, match="file is not a"):
        read_textgrid(written(tmp_path, SHORT[:kept]))


def test_other_files_are_not_textgrids(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a TextGrid"):
        read_textgrid(written(tmp_path, 'a "b" and "c"'))
    with pytest.raises(DataError, match="is not UTF-8 text"):
        read_textgrid(written(tmp_path, SHORT.replace("Anna", "é"), "latin-1"))
    with pytest.raises(DataError, match="cannot be read"):
        read_textgrid(tmp_path / "absent")


def test_ctm(tmp_path: Path) -> None:
    path = written(tmp_path, ";; a comment\nb 1 0.1 0.2 K 0.99\nb 1 0.0 0.1 SIL\n\na A .5 0.25 AH1\n")
    assert read_ctm(path) == {"a": [(0.5, 0.75, "AH1")], "b": [(0.0, 0.1, "SIL"), (0.1, 0.3, "K")]}


def test_ctm_of_two_channels_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "a 1 0 1 K\nb A 0 0.5 HH\nb B 0.5 0.5 S\n")
    with pytest.raises(DataError, match=r"file: 'b' is on the channels A and B: keep the lines of the channel"):
        read_ctm(path)


@pytest.mark.parametrize("line", ["b 1 0.1 0.2", "b 1 zero 0.2 K"])
def test_ctm_names_the_bad_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match="file:2: expected 'utterance channel"):
        read_ctm(written(tmp_path, f"a 1 0 1 K\n{line}\n"))


def test_htk(tmp_path: Path) -> None:
    path = written(tmp_path, "0 1000000 sil\n1000000 2500000 ae -31.5 cat\n")
    assert read_htk(path) == [(0.0, 0.1, "sil"), (0.1, 0.25, "ae")]
    with pytest.raises(DataError, match="file:1: expected 'start end phone'"):
        read_htk(written(tmp_path, "#!MLF!#\n"))


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("0 1000000 sil\n", True),
        ("\n0 1000000 sil -31.5 cat\n", True),
        ("0.0 0.31 sil\n", True),  # in seconds: `read_htk` says what is wrong with it
        ("he was a good man\n", False),
        ("2 good men\n", False),
        ("20 20 vision\n", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_labels_and_transcripts_have_the_same_extension(tmp_path: Path, text: str, labels: bool, encoding: str) -> None:
    assert is_htk(written(tmp_path, text, encoding)) == labels


def test_a_file_that_is_no_text_has_no_labels(tmp_path: Path) -> None:
    assert not is_htk(written(tmp_path, "Ren\u00e9", "latin-1"))
    assert not is_htk(tmp_path / "absent")


def test_frame_labels_are_half_open_around_the_receptive_field_centre() -> None:
    # The centres of frames 0, 1, 2 are 12.5, 32.5 and 52.5 ms.
    aa, b = PHONES.index("AA"), PHONES.index("B")
    assert frame_labels([Interval(0, 0.0325, "AA"), Interval(0.0325, 0.0525, "B")], 4).tolist() == [aa, b, 0, 0]


def test_frame_labels_in_gaps_are_silence_and_unknown_ones_ignored() -> None:
    intervals = [Interval(0.06, 0.08, "spn"), Interval(0.02, 0.04, "AA")]
    assert frame_labels(intervals, 5).tolist() == [0, PHONES.index("AA"), 0, IGNORE, 0]


def test_frame_labels_agree_with_looking_at_every_frame() -> None:
    rng = np.random.default_rng(0)
    bounds_s = np.sort(rng.uniform(0, 2, 60)).round(3)
    names = rng.choice([*PHONES, "spn"], 59)
    intervals = [Interval(*times, name) for *times, name in zip(bounds_s[:-1], bounds_s[1:], names, strict=True)]
    expected = []
    for frame in range(110):
        centre_s = (320 * frame + 200) / 16000
        found = [phone_class(phone) for start_s, end_s, phone in intervals if start_s <= centre_s < end_s] or [0]
        expected.append(IGNORE if found[0] is None else found[0])
    labels = frame_labels(intervals, 110)
    assert labels.dtype == np.int64
    assert labels.tolist() == expected


def test_frame_labels_by_other_conventions() -> None:
    intervals = [Interval(0, 0.02, "AA"), Interval(0.02, 0.032, "SIL"), Interval(0.032, 0.06, "B")]
    aa, b = PHONES.index("AA"), PHONES.index("B")
    assert frame_labels(intervals, 4).tolist() == [aa, b, b, 0]
    assert frame_labels(intervals, 4, at="start").tolist() == [aa, 0, b, 0]
    assert frame_labels(intervals, 4, at="start", silence=False).tolist() == [aa, IGNORE, b, IGNORE]
    assert frame_labels([], 2, silence=False).tolist() == [IGNORE, IGNORE]
    assert len(inventory(stress=True)) == 70
    stressed = frame_labels(
        [Interval(0, 0.03, "AA1"), Interval(0.03, 0.05, "AA"), Interval(0.05, 0.07, "B")], 4, stress=True
    )
    assert [inventory(stress=True)[label] for label in stressed] == ["AA1", "AA0", "B", "SIL"]


@pytest.mark.parametrize("frames", [0, 3])
def test_frame_labels_of_no_interval(frames: int) -> None:
    assert frame_labels([], frames).tolist() == [0] * frames


def test_a_fitting_alignment_passes() -> None:
    check_fit(recording((0.0, 0.5, "sil"), (0.4995, 1.05, "AE1")))
    check_fit(recording((0.0, 0.5, "spn"), (0.5, 0.6, "HH"), (0.6, 0.7, "<unk>"), (0.7, 0.8, "+NSN+")))


@pytest.mark.parametrize(
    ("phones", "message"),
    [
        ([], "has no interval"),
        ([(0.0, 1.06, "AE")], r"phone 'AE' at 0.000-1.060 s ends after the audio \(1.000 s\)"),
        ([(-0.1, 0.5, "AE")], "phone 'AE' at -0.100-0.500 s runs backwards or starts before 0"),
        ([(0.5, 0.4, "AE")], "at 0.500-0.400 s runs backwards"),
        ([(0.0, float("nan"), "AE")], "at 0.000-nan s runs backwards"),
        ([(0.0, 0.5, "AE"), (0.4, 0.6, "B")], "'B' at 0.400-0.600 s overlaps the one before, which ends at 0.500 s"),
        ([(0.0, 0.5, "spn")], "not in ARPAbet: 'spn'"),
        ([(0.0, 0.5, "sil"), (0.5, 0.6, "spn")], "not in ARPAbet: 'spn'"),
        ([(0.0, 0.5, "b"), (0.5, 0.6, "ɹ")], "not in ARPAbet: 'ɹ'"),
        ([(0.0, 0.5, "uh"), (0.5, 0.6, "he")], "not in ARPAbet: 'he'"),
        ([(0.0, 0.5, "ah"), (0.5, 0.6, "he"), (0.6, 0.7, "er"), (0.7, 0.8, "was")], "not in ARPAbet: 'he', 'was'"),
    ],
)
def test_a_misfit_is_refused_with_the_numbers(phones: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_fit(recording(*phones))
