"""The planners on one page: it answers, a control changes the picture, and what is asked wrongly gets one line."""

from __future__ import annotations

import json
import re
import threading
from html.parser import HTMLParser
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from figures import crowded

from scalept_lab.errors import InputError
from scalept_lab.plots import page, style


@pytest.fixture(scope="module")
def address():
    with page.serve() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def ask(address: str, path: str) -> dict:
    with urlopen(f"{address}/picture/{path}", timeout=30) as answer:
        return json.loads(answer.read())


def size(found: dict) -> tuple[int, int]:
    """Pixels of the PNG in an answer."""
    import base64

    data = base64.b64decode(re.search(r"base64,([^\"]+)", found["picture"])[1])
    assert data.startswith(b"\x89PNG")
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def test_a_control_changes_the_picture(address):
    first = ask(address, "ring?tflops=2.6&causal=true&key_share=2")
    moved = ask(address, "ring?tflops=3.2&causal=true&key_share=2")
    assert first["message"] == moved["message"] == "" and first["picture"] != moved["picture"]
    assert "a rank" in first["picture"] and "tflops = 1585" in moved["picture"]  # 10^3.2 = 1584.9
    assert ask(address, "ring?tflops=2.6&causal=true&key_share=2")["picture"] == first["picture"]


def test_in_haste_the_picture_is_smaller_and_on_a_phone_narrow(address):
    assert size(ask(address, "ring?tflops=2"))[0] == 840  # 7 inches at 120 dots
    assert size(ask(address, "ring?tflops=2.1&hasty=1"))[0] == 700
    assert size(ask(address, "ring?tflops=2&small=1"))[0] == 504  # 4.2 inches


def test_the_page_names_each_control_and_loads_nothing_from_elsewhere(address):
    with urlopen(address + "/", timeout=60) as answer:
        text = answer.read().decode()
    tags: list[tuple[str, dict]] = []

    class Page(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append((tag, dict(attrs)))

    Page().feed(text)
    named = {attrs["for"] for tag, attrs in tags if tag == "label"}
    controls = [attrs["id"] for tag, attrs in tags if tag in ("input", "select")]
    assert len(controls) == len(set(controls)) > 30 and set(controls) == named
    sections = [attrs["id"] for tag, attrs in tags if tag == "section"]
    assert sections == list(page.PLANNERS)
    assert "http" not in text.replace("http-equiv", "") and "src=" not in text
    assert "default-src 'none'" in text


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/picture/nobody", "planner: expected one of"),
        ("/picture/ring?bits=4", "control: expected one of"),
        ("/picture/ring?tflops=99", "tflops: expected a value that the control can take, got '99'"),
        ("/picture/ring?tflops=nan", "tflops: expected"),
        ("/picture/ring?key_share=-1", "key_share: expected"),
        ("/picture/ring?causal=perhaps", "causal: expected"),
        ("/etc/passwd", "expected / or /picture/<planner>"),
    ],
)
def test_what_is_asked_wrongly_gets_one_line(address, path, said):
    with pytest.raises(HTTPError) as error:
        urlopen(address + path, timeout=30)
    told = error.value.read().decode()
    assert error.value.code == 404 and said in told and "\n" not in told


def test_what_a_figure_refuses_is_said_beside_the_last_picture(address):
    found = ask(address, "footprint?batch=0&accumulate=4")
    assert "cannot be cut into 256 parts" in found["message"] and "<img" in found["picture"]


def test_a_port_that_is_taken_is_said(address):
    with pytest.raises(InputError, match="expected one that is free"):
        page.serve(int(address.rsplit(":", 1)[1]))


@pytest.mark.parametrize("name", page.PLANNERS)
def test_on_a_phone_no_label_is_cut(name):
    box = page.PLANNERS[name][2]()
    fig = box.plot(**{key: control.value for key, control in box.controls.items()})
    assert crowded(style.narrow(fig)) == []
