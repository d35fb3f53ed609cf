"""What must not be learned goes, beside letters of any script and written in any width; what looks like it stays."""

from __future__ import annotations

import pytest

from scalept_lab.data import redaction
from scripts import ORDINARY, SECRETS, full_width

CODE = '''def shortest(graph, source):
    """Distances from the source to every node that can be reached, by Dijkstra's algorithm."""
    return {source: 0.0}
'''
ONE_OF_EACH = {
    "email": ("write to jane.doe+list@mail.example.org now", "jane"),
    "private_key": ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----", "MIIEow"),
    "access_token": ("token: " + "gh" + "p_" + "a1B2" * 9, "a1B2"),
    "assigned_secret": ("API_KEY = 'q9w8e7r6t5y4u3i2o1p0'", "q9w8"),
    "long_hex": ("commit " + "0a1b2c3d4e" * 4, "0a1b"),
    "iban": ("pay to GB82 WEST 1234 5698 7654 32 TODAY", "5698"),
    "card": ("card 3782 822463 10005.", "822463"),
    "phone": ("call +1 (202) 555-0143, please", "555"),
}


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_secrets_go(kind):
    text, secret = ONE_OF_EACH[kind]
    redacted, counts = redaction.redact(text)
    assert counts == {kind: 1} and secret not in redacted and "<" in redacted


def test_each_kind_has_its_text():
    assert {kind.name for kind in redaction.KINDS} == set(ONE_OF_EACH)


@pytest.mark.parametrize("text", [
    CODE, "@property\ndef x(self): ...", "c = a@b", "y = x @ W.T", "password = getpass()", "key = 'short'",
    "secret = 'the_name_of_a_function'", "n = 1234567890123456789012345678901234567890123", "user@localhost", *ORDINARY,
    "GB83 WEST 1234 5698 7654 32", "4111 1111 1111 1112", "4111 11111111 1111",
    "x+4420794609580", "我＠你。", "a.4111 1111 1111 1111",
])  # fmt: skip
def test_what_is_ordinary_is_left_alone(text):
    assert redaction.redact(text) == (text, {})


@pytest.mark.parametrize(
    "before, after",
    [
        ("联系我", "请注明"),
        ("メールは", "まで"),
        ("ติดต่อ", "ครับ"),
        ("راسلني", "شكرا"),
        ("लिखें", "पर"),
        ("👉", "👈"),
        ("（", "）"),
        ("：", "，"),
        ("۔", "։"),
    ],
)
def test_secrets_go_between_letters_of_any_script(before, after):
    marks = {"mail": "<EMAIL>", "key": "<SECRET>", "phone": "<PHONE>", "iban": "<IBAN>", "card": "<CARD>"}
    for kind, ways in SECRETS.items():
        for secret in ways:
            assert redaction.redact(before + secret + after)[0] == before + marks[kind] + after
    assert redaction.redact(before + "0a" * 25 + after)[0] == before + "<HEX>" + after


def test_what_is_written_in_another_width_or_digits():
    assert redaction.redact(full_width("password='a1b2c3d4e5f6g7h8'")) == (
        full_width("password='") + "<SECRET>" + full_width("'"), {"assigned_secret": 1},
    )  # fmt: skip
    arabic = "+966 55 123 4567".translate({ord("0") + d: chr(0x660 + d) for d in range(10)})
    assert redaction.redact(f"هاتف {arabic} شكرا")[0] == "هاتف <PHONE> شكرا"
    assert (
        redaction.redact("4111\u00a01111\u20111111\u00a01111")[0] == "4111\u00a01111\u20111111\u00a01111"
    )  # a mixture is none
    assert redaction.redact("4111\u00a01111\u00a01111\u00a01111")[0] == "<CARD>"


@pytest.mark.parametrize(
    "address", ["иван@почта.рф", "γιώργος@ταχυδρομείο.ελ", "राम@डाक.भारत", "a@xn--80a1acny.xn--p1ai"]
)
def test_addresses_in_the_letters_of_their_country(address):
    assert redaction.redact(f"“{address}”") == ("“<EMAIL>”", {"email": 1})


def test_check_digits_by_hand():
    """7992739871 takes a 3 (ISO/IEC 7812's own way: 7 9 9 2 7 3 9 8 7 1 doubled from the right make 67); the standard's IBAN."""
    assert redaction.luhn("0000079927398713") and not redaction.luhn("0000079927398731")
    assert redaction.mod_97("GB82WEST12345698765432") and not redaction.mod_97("GB28WEST12345698765432")
    assert redaction.redact("DE89370400440532013000 OK")[0] == "<IBAN> OK"
    assert redaction.redact("GB82 WEST 1234 5698 7654 32 TO 4000")[0] == "<IBAN> TO 4000"


def test_all_of_many_go_and_are_counted():
    text = "张三a@b.org，李四+44 20 7946 0958，ｃ＠ｄ．ｏｒｇ。" * 3
    assert redaction.redact(text) == ("张三<EMAIL>，李四<PHONE>，<EMAIL>。" * 3, {"email": 6, "phone": 3})


@pytest.mark.parametrize(
    "part",
    ["-----BEGIN A PRIVATE KEY-----", "a@", "a.a@a.", "4111 ", "GB82 WEST ", "é@é.", "password='", "+1 2 3"],
)
def test_no_text_takes_longer_than_its_length_asks(part):
    """Twenty thousand times the beginning of a secret: what looks from each of them to the end would take hours."""
    assert redaction.redact(part * 20_000)[0]


def test_a_key_ends_where_its_dashes_do():
    key = "-----BEGIN PRIVATE KEY-----\nDEK-Info: a--b\nMIIE\n-----END PRIVATE KEY-----"
    assert redaction.redact(f"-----BEGIN PRIVATE KEY----- is how one begins\n{key}\nend") == (
        "-----BEGIN PRIVATE KEY----- is how one begins\n<PRIVATE_KEY>\nend", {"private_key": 1},
    )  # fmt: skip
