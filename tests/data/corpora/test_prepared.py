"""What the modules of the corpora share, and the list of the corpora."""

import subprocess
import sys
import threading
from pathlib import Path

from phonemi.data.corpora import CORPORA
from phonemi.data.corpora.prepared import LeftOut, attach_phones, read_all
from phonemi.data.manifest import Recording
from phonemi.errors import AudioError


def test_the_corpora_by_name() -> None:
    assert list(CORPORA) == ["librispeech", "voicebank-demand", "esc50", "musan", "folder", "synthetic"]
    assert all(corpus.name == name and corpus.description for name, corpus in CORPORA.items())
    assert CORPORA["folder"].download is None
    assert CORPORA["esc50"].download is not None


def test_the_synthesiser_is_not_imported_with_them() -> None:
    code = "import sys, phonemi.data.corpora; print('phonemi.data.corpora.synthetic' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_read_all_keeps_the_order_and_the_errors() -> None:
    first_may_end = threading.Event()

    def read(path: Path) -> str:
        if path.name == "0":
            first_may_end.wait(5)
        if path.name == "1":
            raise AudioError("1 is empty")
        first_may_end.set()
        return path.name

    results = read_all(read, [Path(str(index)) for index in range(4)])
    assert [str(result) for result in results] == ["0", "1 is empty", "2", "3"]
    assert isinstance(results[1], AudioError)


def test_nothing_left_out_is_no_note() -> None:
    assert LeftOut().notes("recording", "skipped") == []


def test_no_alignments_change_nothing() -> None:
    recording = Recording(id="a", path="a.wav", sample_rate=16_000, samples=1)
    assert attach_phones([recording], []) == ([recording], [])
