"""Files from outside: whatever one is, it costs little, and what is wrong with it is said in one line."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from refusals import one_line

from scalept_lab import outside
from scalept_lab.errors import InputError

ROOT = Path(__file__).parents[1]


def refused(path, read=outside.json_value, **options) -> str:
    with pytest.raises(InputError) as caught:
        read(path, "a config", **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count(str(path)) == 1
    return str(caught.value).removeprefix(f"{path}: ")


def test_json_with_and_without_a_mark(tmp_path):
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "a.json").write_text('{"a": "北京"}', encoding=encoding)
        assert outside.json_object(tmp_path / "a.json", "a config") == {"a": "北京"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "expected a config, got what is not JSON (Expecting value"),
        (b"{", "expected a config, got what is not JSON (Expecting property name"),
        (b"[" * 100_000, "expected a config, got one nested too deep to read"),
        (b"1" * 5000, "expected a config, got what is not JSON (Exceeds the limit"),
        ("{}".encode("utf-16"), "expected a config in UTF-8, got UTF-16; save it as UTF-8"),
        (b'{"a": "\xb1\xb1"}', "expected a config in UTF-8, got bytes that are none, the first at 7; save"),
    ],
)
def test_what_is_no_json_is_told(tmp_path, content, says):
    (tmp_path / "a.json").write_bytes(content)
    assert refused(tmp_path / "a.json").startswith(says)


def test_an_object_is_asked_for(tmp_path):
    (tmp_path / "a.json").write_text("[1, 2]")
    assert refused(tmp_path / "a.json", outside.json_object) == "expected a config, a JSON object, got [1, 2]"


def test_only_regular_files_are_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the path of a socket is short
        server.bind("socket")
        assert refused(tmp_path / "pipe") == "expected a config, got a pipe; give a file"
        assert refused(tmp_path) == "expected a config, got a folder; give a file"
        assert refused("/dev/zero") == "expected a config, got a device; give a file"
        assert "expected a config, got " in refused(tmp_path / "socket")
    assert refused(tmp_path / "none") == "expected a config, found no such file"
    os.symlink(tmp_path / "loop", tmp_path / "loop")
    assert "expected a config, got " in refused(tmp_path / "loop")


def test_size_is_asked_before_reading(tmp_path):
    with open(tmp_path / "large", "wb") as file:
        file.truncate(3 * 10**9)  # a hole: it takes no room
    assert refused(tmp_path / "large") == "expected a config of at most 10 MB, got 3 GB; give a smaller one"


def test_what_unpacks_may_take_so_much_memory(tmp_path):
    """Zeros take no room in a file. A limit of a tenth of a gigabyte shows it as well as one of a whole."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    import numpy as np

    count = 200_000_000
    text = pa.Array.from_buffers(pa.binary(), 1, [None, pa.py_buffer(np.array([0, count], np.int32)),
                                                  pa.py_buffer(np.zeros(count, np.uint8))])  # fmt: skip
    pq.write_table(
        pa.table({"a": text}), tmp_path / "zeros.parquet", compression="zstd", use_dictionary=False
    )
    assert (tmp_path / "zeros.parquet").stat().st_size < 100_000
    pq.write_table(pa.table({"a": [1]}), tmp_path / "small.parquet")
    done = subprocess.run(  # a process of its own: this one's allocator may have room set aside
        [sys.executable, "-c", READ, "zeros.parquet", "small.parquet"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "zeros.parquet: expected a table, got one that unpacks to more than 100 MB; give one with fewer rows",
        "1 row",
        "no limit is left",
    ], done.stderr


READ = """
import resource, sys
import pyarrow.parquet as pq
from scalept_lab import outside
outside.MEMORY = 10**8
before = resource.getrlimit(resource.RLIMIT_DATA)
for path in sys.argv[1:]:
    try:
        with outside.opened(path, "a table", unpacks=True) as file:
            print(pq.read_table(file).num_rows, "row")
    except outside.InputError as error:
        print(error)
if resource.getrlimit(resource.RLIMIT_DATA) == before:
    print("no limit is left")
"""


def test_two_readers_at_once_leave_no_limit_behind(tmp_path):
    (tmp_path / "a").write_text("1")
    before, inside, go = resource.getrlimit(resource.RLIMIT_DATA), threading.Event(), threading.Event()

    def first():
        with outside.opened(tmp_path / "a", "a file", unpacks=True):
            inside.set()
            go.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(10)
    with outside.opened(tmp_path / "a", "a file", unpacks=True):
        assert resource.getrlimit(resource.RLIMIT_DATA) != before
        go.set()
        thread.join()
        assert resource.getrlimit(resource.RLIMIT_DATA) != before
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_what_goes_wrong_inside_is_told_as_well(tmp_path):
    (tmp_path / "a").write_text("1")

    def read(path, expected):
        with outside.opened(path, expected):
            raise KeyError("a column\nof two lines")

    assert refused(tmp_path / "a", read) == (
        "expected a config, got another or a damaged one ('a column\\nof two lines')"
    )
    assert json.loads((tmp_path / "a").read_text()) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for_and_what_is_written_into_one_is(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with outside.unwaiting(path) as file:
        assert file.read() == b""
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # so that the writer comes in
    writer = os.open(path, os.O_WRONLY)
    late = threading.Timer(0.2, lambda: (os.write(writer, b"late"), os.close(writer)))
    with outside.unwaiting(path) as file:
        late.start()
        assert file.read() == b"late"
    late.join()
    os.close(reader)


def test_the_reason_is_one_line_without_controls(tmp_path):
    def read(path, expected):
        with outside.opened(path, expected):
            raise RuntimeError("two\nlines \x1b[2J")

    path = tmp_path / "x"
    path.touch()
    assert refused(path, read) == "expected a config, got another or a damaged one (two lines \\x1b[2J)"


def test_an_object_that_knows_its_digest_is_what_was_written_or_refused(tmp_path):
    made = outside.marked({"b": [1.5, None], "a": "ä"})
    assert outside.unmarked("f", dict(reversed(made.items()))) == {"a": "ä", "b": [1.5, None]}
    for changed in ({**made, "b": [1.5]}, {**made, "c": 1}, {**made, "sha256": "0" * 64}, {"a": 1, "b": 2}):
        one_line(lambda changed=changed: outside.unmarked("f", changed), "f: damaged, its content is not")
    old = {"a": 1}
    assert outside.unmarked("f", old, needed=False) == old
    one_line(lambda: outside.unmarked("f", {**made, "a": "b"}, needed=False), "f: damaged")
    named = outside.marked(old, "card")
    assert set(named) == {"a", "card"} and outside.unmarked("f", named, "card") == old
