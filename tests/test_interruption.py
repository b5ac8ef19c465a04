"""Signals: held back while it matters, and never lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import pytest

from phonemi.interruption import Interrupted, Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_end_of_a_deferred_part(number: signal.Signals) -> None:
    done: list[str] = []

    def interrupted() -> None:
        with Interruption() as interruption:
            with interruption.deferred():
                os.kill(os.getpid(), number)
                done.append("whole")
            done.append("never")

    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted) as raised:
        interrupted()
    assert done == ["whole"]
    assert raised.value.number == number
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_signal_elsewhere_does_not_wait() -> None:
    done: list[str] = []

    def interrupted() -> None:
        with Interruption():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("never")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not done


def test_a_second_signal_does_not_wait() -> None:
    done: list[str] = []

    def interrupted() -> None:
        with Interruption() as interruption, interruption.deferred():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("one")
            os.kill(os.getpid(), signal.SIGINT)
            done.append("never")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == ["one"]


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with Interruption() as interruption, interruption.deferred():
                pass
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failures


def test_an_error_of_a_deferred_part_does_not_hide_the_signal() -> None:
    """Another process of the same training, which the signal ended first, makes an update of this one fail."""

    def interrupted() -> None:
        with Interruption() as interruption, interruption.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            raise ConnectionError("the other process is gone")

    with pytest.raises(Interrupted):
        interrupted()


def test_the_system_may_repeat_its_signal_while_the_work_is_saved() -> None:
    saved = []

    def interrupted() -> None:
        with Interruption():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                saved.append("whole")

    with pytest.raises(Interrupted):
        interrupted()
    assert saved == ["whole"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def end_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)  # the handler runs between two steps of Python


def test_the_inner_of_two_has_the_say() -> None:
    with Interruption():
        outer = signal.getsignal(signal.SIGTERM)
        with pytest.raises(Interrupted), Interruption():
            end_this_process()
        assert signal.getsignal(signal.SIGTERM) == outer
        with pytest.raises(Interrupted):
            end_this_process()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs copies of a process")
def test_a_copy_of_the_process_ends_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()

    def wait() -> None:
        ready.set()
        for _ in range(600):  # a signal just before a long sleep would only be handled after it
            time.sleep(0.1)

    with Interruption():
        process = context.Process(target=wait)
        process.start()
        assert ready.wait(30)
        process.terminate()
        process.join()
    assert process.exitcode == -signal.SIGTERM
    assert capfd.readouterr().err == ""
