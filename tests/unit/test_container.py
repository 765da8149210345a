"""Files are told by their bytes: rows are read, everything else is named, nothing hangs."""

from __future__ import annotations

import errno
import gzip
import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ftwizard.data import container, read
from ftwizard.data.container import FileProblem

ROWS = "".join(
    json.dumps({"prompt": f"Wie groß ist {n}?", "completion": f"{n} cm"}, ensure_ascii=False) + "\n"
    for n in range(5)
)
PLAIN = ROWS.encode()


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        b"\xef\xbb\xbf" + PLAIN,
        ROWS.encode("utf-16"),
        b"\xfe\xff" + ROWS.encode("utf-16-be"),
        ROWS.encode("utf-32"),
        gzip.compress(PLAIN),
        gzip.compress(ROWS.encode("utf-16")),
        gzip.compress(PLAIN[:100]) + gzip.compress(PLAIN[100:]),
    ],
    ids=["utf-8", "bom", "utf-16le", "utf-16be", "utf-32", "gzip", "gzip of utf-16", "members"],
)
def test_rows_are_read_whatever_the_name_says(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(data)
    table = read.read(path)
    assert [row.conversation.answer for row in table.rows] == [f"{n} cm" for n in range(5)]
    assert not table.problems


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"PAR1" + bytes(40), "binary", "Parquet"),
        (b"PK\x03\x04" + bytes(40), "binary", "zip"),
        (b"\x28\xb5\x2f\xfd" + bytes(40), "compressed", "Zstandard"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "lfs_pointer", "Git LFS"),
        (b"\n <!DOCTYPE html>\n<html><body>404</body></html>", "web_page", "web page"),
        (gzip.compress(b"<html></html>"), "web_page", "web page"),
        (gzip.compress(PLAIN)[:-9], "compressed", "breaks off"),
        (b"\x1f\x8b" + bytes(30), "compressed", "damaged"),
        (gzip.compress(b" \n"), "file_empty", "once it is unpacked"),
        (ROWS.encode("utf-16-le"), "encoding", "UTF-16 without"),
        (ROWS.encode("utf-16-be"), "encoding", "UTF-16 without"),
        (bytes(range(256)) * 4, "binary", "no text"),
        (bytes(100), "file_empty", "nothing but blanks"),
        (b"", "file_empty", "is empty"),
    ],
)
def test_what_holds_no_rows_is_named(tmp_path: Path, data: bytes, code: str, says: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    with pytest.raises(FileProblem) as found:
        read.read(path)
    assert found.value.code == code
    assert says in found.value.message


def test_a_byte_that_is_not_utf_8_costs_its_row_only(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    overlong, latin = b'{"prompt": "\xc0\xaf", "completion": "x"}\n', '{"é": 1}\n'.encode("latin-1")
    path.write_bytes(PLAIN + overlong + PLAIN + latin)
    table = read.read(path)
    assert len(table.rows) == 10
    assert [(one.line, one.code) for one in table.problems] == [(6, "encoding"), (12, "encoding")]
    assert "0xC0" in table.problems[0].message and "iconv" in table.problems[0].fix


def test_nothing_is_waited_for_or_followed_in_a_circle(tmp_path: Path) -> None:
    pipe, loop, door = tmp_path / "pipe", tmp_path / "loop", tmp_path / "door"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(door))
    for path, says in (
        (pipe, "a pipe"),
        (loop, "leads back to itself"),
        (door, "a socket"),
        (Path("/dev/zero"), "a device"),
        (tmp_path, "is a folder"),
        (tmp_path / "none", "There is no data file"),
        (tmp_path / ("x" * 300), "cannot be read"),
        (Path("a\0b"), "no name"),
    ):
        with pytest.raises(FileProblem, match=says):
            container.load(path)
    listener.close()


def test_a_file_of_others_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)  # root may read everything
    with pytest.raises(FileProblem, match="Permission denied"):
        container.load(tmp_path / "rows.jsonl")


def test_a_file_that_changes_while_it_is_read_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(PLAIN)
    stat = os.fstat
    calls: list[int] = []

    def grown(descriptor: int) -> os.stat_result:
        if calls:
            with path.open("ab") as file:
                file.write(PLAIN)
        calls.append(descriptor)
        return stat(descriptor)

    monkeypatch.setattr(os, "fstat", grown)
    with pytest.raises(FileProblem, match="changed while it was read"):
        container.load(path)


@given(st.binary(max_size=400))
@example(b"\x1f\x8b\x08")
@example(b"\xff\xfe\x00\x00")
def test_any_bytes_are_text_or_a_problem(data: bytes) -> None:
    try:
        assert isinstance(container.text(Path("rows"), data), str)
    except FileProblem as problem:
        assert problem.message.isprintable()
