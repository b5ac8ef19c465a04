"""What the modules of the corpora share, and the list of the corpora."""

import subprocess
import sys

import pytest

from phonemi.data.corpora import CORPORA
from phonemi.data.corpora.alignment_files import attach_phones
from phonemi.data.corpora.corpus import Listing, Omissions
from phonemi.data.manifest import Recording


def test_the_corpora_by_name() -> None:
    assert list(CORPORA) == [
        *("librispeech", "voicebank-demand", "esc50", "musan", "folder", "synthetic", "procedural-noise"),
        *("spire-ema", "hprc", "xrmb", "articulatory", "articulatory-synthesis"),
    ]
    assert CORPORA["folder"].download is None
    assert CORPORA["esc50"].download is not None


@pytest.mark.slow
def test_listing_a_corpus_starts_without_what_it_does_not_need() -> None:
    code = "import sys, phonemi.data.corpora; print(*sys.modules.keys() & {'torch', 'scipy', 'espeakng_loader'})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "\n"


def test_nothing_left_out_is_no_note() -> None:
    assert Omissions().notes("recording", "skipped") == []


def test_no_alignments_change_nothing() -> None:
    recording = Recording(id="a", path="a.wav", sample_rate=16_000, samples=1)
    assert attach_phones(Listing([recording], ["a note"]), []) == ([recording], ["a note"])
