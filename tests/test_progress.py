import io
import re

import pytest
from rich.console import Console

from phonemi import progress as module
from phonemi.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def stopped_clock(monkeypatch):
    monkeypatch.setattr(module.time, "monotonic", lambda: 0.0)


@pytest.mark.usefixtures("stopped_clock")
def test_a_file_gets_one_line_at_the_end_of_quick_work():
    out = io.StringIO()
    with Progress(file=out).task("encoding", total=1000) as task:
        for _ in range(1000):
            task.advance()
    assert out.getvalue() == "encoding: 1000/1000 in less than 0.1 s\n"


def test_a_file_gets_at_most_one_line_in_ten_seconds(monkeypatch):
    now_s = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s)
    out = io.StringIO()
    with Progress(file=out).task("train", total=100, completed=50) as task:
        for step in range(50):
            now_s += 0.5
            task.advance(1, note=f"loss {step}")
    assert out.getvalue().splitlines() == [
        "train: 70/100 after 10.0 s, 15.0 s left, loss 19",
        "train: 90/100 after 20.0 s, 5.0 s left, loss 39",
        "train: 100/100 in 25.0 s, loss 49",
    ]


def test_of_what_is_done_nothing_is_left(monkeypatch):
    now_s = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s)
    out = io.StringIO()
    with Progress(file=out).task("listening", total=1) as task:
        now_s = 11.3
        task.advance()
    assert out.getvalue() == "listening: 1/1 in 11.3 s\n"


@pytest.mark.usefixtures("stopped_clock")
def test_unknown_total_and_failure_in_a_file():
    out = io.StringIO()

    def fail():
        with Progress(file=out).task("reading") as task:
            task.advance(3)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        fail()
    assert out.getvalue() == "reading: 3 stopped after less than 0.1 s\n"


def test_no_work_is_no_line_in_a_file():
    out = io.StringIO()
    assert list(Progress(file=out).over([], "items")) == []
    with Progress(file=out).task("reading"):
        pass
    assert out.getvalue() == ""


@pytest.mark.usefixtures("stopped_clock")
def test_a_total_that_is_known_later_is_written():
    out = io.StringIO()
    with Progress(file=out).task("downloading") as task:
        task.total = 3
        task.advance(3)
    assert out.getvalue() == "downloading: 3/3 in less than 0.1 s\n"


def test_over_yields_everything_and_counts():
    out = io.StringIO()
    assert list(Progress(file=out).over(range(3), "items")) == [0, 1, 2]
    assert out.getvalue().startswith("items: 3/3 in")


def test_disabled_writes_nothing_to_a_terminal():
    out = Terminal()
    progress = Progress(enabled=False, file=out)
    assert list(progress.over("ab", "letters")) == ["a", "b"]
    with progress.task("work", 2) as task:
        task.advance(2, note="x")
    assert out.getvalue() == ""
    assert task.completed == 2


@pytest.mark.usefixtures("stopped_clock")
def test_forced_colour_draws_no_bar_into_a_file(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = io.StringIO()
    list(Progress(file=out).over("ab", "letters"))
    assert out.getvalue() == "letters: 2/2 in less than 0.1 s\n"


def lines_on_a_terminal(width, monkeypatch):
    """What stays on a terminal of `width` columns after one task with a nested one, and all that was ever drawn."""
    out = Terminal()
    progress = Progress(file=out)
    monkeypatch.setattr(progress, "_console", lambda: Console(file=out, width=width, force_terminal=True))
    with progress.task("train a [long] label of a table's row", total=2000) as task:
        task.advance(1500, note="loss 0.1234 " + "and much more " * 9)
        list(progress.over(range(3), "validating"))
        task.advance(500)
    drawn = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    final = drawn.split("\r")[-1]
    return [line for line in final.splitlines() if line.strip()], drawn.replace("\r", "\n").splitlines()


@pytest.mark.parametrize("width", [40, 80, 160])
def test_a_terminal_gets_one_line_per_task_that_fits(width, monkeypatch):
    final, drawn = lines_on_a_terminal(width, monkeypatch)
    assert len(final) == 1
    assert len(final[0]) <= width
    assert final[0].startswith("train a [")
    assert "100%" in final[0]
    assert "━━━━" in final[0]
    assert ("2000/2000" in final[0]) == (width > 72)
    assert ("loss 0.1234" in final[0]) == (width > 72)
    assert max(map(len, drawn)) <= width


def test_no_work_is_no_line_on_a_terminal():
    out = Terminal()
    assert list(Progress(file=out).over([], "items")) == []
    assert "0/0" not in out.getvalue()


def test_what_is_made_while_it_is_quiet_is_silent():
    out = io.StringIO()
    with module.quiet():
        progress = Progress(file=out)
        list(progress.over("ab", "letters"))
        progress.say("a note")
    assert out.getvalue() == ""
    Progress(file=out).say("a note")
    assert out.getvalue() == "a note\n"
