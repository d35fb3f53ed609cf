"""A refusal is one line that can be shown, whatever it quotes."""

from __future__ import annotations

import pickle

from scalept_lab import errors
from scalept_lab.errors import LONGEST, InputError, printable


def test_a_refusal_is_one_printable_line():
    text = str(InputError("a.json: got 'x\r\n\x1b[2J\u2028y\ud800'; 北京 می\u200cخواهم"))
    assert text == "a.json: got 'x  \\x1b[2J y\\ud800'; 北京 می\u200cخواهم"
    assert len(text.splitlines()) == 1
    assert str(pickle.loads(pickle.dumps(InputError("a\nb")))) == "a b"  # as it comes from a worker


def test_a_long_one_keeps_its_beginning_and_its_end():
    text = str(InputError("a.json: " + "x" * 10**6 + "; shorten it"))
    assert len(text) < LONGEST + 10 and text.startswith("a.json: xx") and text.endswith("; shorten it")
    assert str(InputError("y" * LONGEST)) == "y" * LONGEST
    assert len(str(InputError("\0" * LONGEST))) <= LONGEST


def test_what_is_left_out_costs_nothing(monkeypatch):
    """A column's name may have ten million letters."""
    seen = []
    monkeypatch.setattr(errors, "printable", lambda text, most: seen.append(len(text)) or text)
    InputError("x" * 10**7)
    assert seen[0] <= LONGEST


def test_a_name_is_cut_and_its_controls_are_marked():
    assert printable("a\tb\x00c" + "d" * 300, 10) == "a b\\x00cddddd"
