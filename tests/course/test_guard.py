"""Whatever a learner's code does, one line says so and the notebook goes on."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from scalept_lab.course.answers import Verdict, build, judged
from scalept_lab.course.guard import guarded


def for_ever(x):
    while True:
        pass


def waits(x):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def swallows(x):
    while True:
        try:
            time.sleep(1)
        except Exception:
            continue


def leaves(x):
    sys.exit(3)


def leaves_at_once(x):
    os._exit(3)


def gives_up(x):
    raise KeyboardInterrupt


def never_ends(x):
    return never_ends(x)


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def mute(x):
    raise Mute


def lazy(x):
    return (value for value in x)


def maps(x):
    return map(float, x)


def changes(x):
    x *= 2
    return x / 2


def talks(x):
    print("a" * 1_000_000)
    return x + 1


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (for_ever, "was not done after 0.5 seconds"),
        (waits, "was not done after 0.5 seconds"),
        (swallows, "was not done after 0.5 seconds"),
        (leaves, "ended the program"),
        (leaves_at_once, "ended the program"),
        (gives_up, "was stopped"),
        (never_ends, "RecursionError"),
        (mute, "Mute: (its text could not be read)"),
        (lazy, "returns a generator, which can be read only once"),
        (maps, "returns a map, which can be read only once"),
        (changes, "changes its input x"),
        (talks, "off by"),
    ],
)
def test_a_build_ends_in_one_line(function, said):
    check = build(lambda x: x, [(np.array([1.0, 2.0]),)], seconds=0.5)
    began = time.monotonic()
    verdict = check(function)
    assert time.monotonic() - began < 5
    assert not verdict.ok and verdict.answered
    assert said in verdict.message and "\n" not in verdict.message, verdict.message
    assert len(verdict.printed) < 2100


def test_what_it_printed_is_kept_up_to_a_limit():
    outcome = guarded(lambda: talks(1), 5)
    assert outcome.value == 2 and outcome.error is None
    assert outcome.printed.startswith("aaa") and outcome.printed.endswith("(1,000,001 characters in all)")


def test_the_learners_own_line_is_named():
    def ratio(a, b):
        return np.divide(a, [b, b, b]) + a

    verdict = build(lambda a, b: a / b, [(np.ones(2), 2)])(ratio)
    assert "at your line" in verdict.message and '"return np.divide(a, [b, b, b]) + a"' in verdict.message


def test_processes_that_it_left_are_ended(tmp_path):
    def starts(x):
        import subprocess

        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        raise ValueError("and goes")

    outcome = guarded(lambda: starts(1), 10)
    assert "ValueError: and goes" in outcome.error
    time.sleep(0.1)
    left = [
        child
        for child in psutil.Process().children(recursive=True)
        if "sleep(60)" in " ".join(child.cmdline())
    ]
    assert not left


def test_a_rank_that_raises_or_waits_is_told_and_none_is_left():
    from elsewhere_ranks import deadlock, fail

    from scalept_lab.parallel.launcher import launch

    def runs(judge):
        def look(fn):
            launch(fn, 2, seconds=3)
            return Verdict(True)

        return judged(look, seconds=60)(judge)

    verdict = runs(fail)
    assert not verdict.ok and "rank" in verdict.message and "division by zero" in verdict.message
    assert "\n" not in verdict.message
    verdict = runs(deadlock)
    assert not verdict.ok and "rank" in verdict.message and "\n" not in verdict.message


def test_it_works_in_a_thread_as_well():
    found = []
    thread = threading.Thread(target=lambda: found.append(guarded(lambda: for_ever(1), 0.3)))
    thread.start()
    thread.join(10)
    assert "was not done" in found[0].error


def test_a_guard_inside_a_guard_leaves_the_outer_one_its_time():
    def both():
        guarded(lambda: 1, 5)
        for_ever(1)

    began = time.monotonic()
    assert "was not done after 0.6 seconds" in guarded(both, 0.6).error
    assert time.monotonic() - began < 3


def test_nothing_is_left_of_the_alarm():
    guarded(lambda: 1, 0.2)
    with contextlib.suppress(KeyboardInterrupt):
        time.sleep(0.4)
    assert os._exit.__name__ == "_exit"
