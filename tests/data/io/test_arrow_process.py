"""Reading Parquet and Arrow files in a process of its own."""

from __future__ import annotations

import io
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ftwizard.data.example import RowProblem
from ftwizard.data.io import arrow_child, arrow_process
from ftwizard.data.io.arrow_process import Row
from ftwizard.data.io.source import DataSource, FileProblem
from tests.paths import ROOT

ROWS = 3000
LIMIT_S = 60
"""For what takes a moment on an idle machine."""
READER = """
import signal, sys, time
from pathlib import Path
from ftwizard.data.io import arrow_process
from ftwizard.data.io.source import DataSource

# A background job of a shell script ignores SIGINT, one of nohup SIGHUP, and so would this process.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
with DataSource(Path(sys.argv[1])) as source:
    reader = arrow_process.read_rows(source, "parquet")
    next(reader)
    print("reading", flush=True)
    while sys.argv[2] == "wait":  # a signal just before signal.pause() would never end it
        time.sleep(0.1)
    while True:  # it reads the same file for ever
        for _ in reader:
            pass
        reader = arrow_process.read_rows(source, "parquet")
"""


def make_table(rows: int = ROWS) -> Any:
    numbers = range(rows)
    return pa.table({
        "prompt": [f"question {number % 50}?" for number in numbers],
        "completion": [f"answer {number}" for number in numbers],
    })  # fmt: skip


def make_parquet(table: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def read(path: Path) -> list[Row]:
    with DataSource(path) as source:
        return list(arrow_process.read_rows(source, "parquet"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    path.write_bytes(make_parquet(make_table(), row_group_size=1000))
    return path


def count_problems(rows: list[Row]) -> int:
    return sum(isinstance(value, RowProblem) for _, value in rows)


def test_idle_process_that_ends_when_it_is_needed_is_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(path)
    idle = arrow_process._idle[-1]
    os.kill(idle._process.pid, signal.SIGKILL)
    idle._process.wait()
    monkeypatch.setattr(arrow_process._ReaderProcess, "is_usable", lambda _: True)
    rows = read(path)
    assert len(rows) == ROWS
    assert not count_problems(rows)


def test_file_is_read_without_the_proc_file_system(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_process, "_DESCRIPTORS", "/nonexistent")
    rows = read(path)
    assert [number for number, _ in rows] == list(range(1, ROWS + 1))
    assert not count_problems(rows)


def test_files_are_read_alternately_and_closed_in_the_middle(path: Path) -> None:
    with DataSource(path) as first, DataSource(path) as second:
        readers = [arrow_process.read_rows(source, "parquet") for source in (first, second)]
        pairs = list(itertools.islice(zip(*readers, strict=True), 100))
        for reader in readers:
            reader.close()  # type: ignore[attr-defined]
    assert all(one == other for one, other in pairs)
    assert len(read(path)) == ROWS


def test_files_are_read_in_threads(path: Path) -> None:
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(len(read(path)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [ROWS] * 3


@pytest.fixture
def large_rows(tmp_path: Path) -> Path:
    """Return a file whose replies are larger than the buffer of a socket."""
    path = tmp_path / "large.parquet"
    text = [str(number) * 1_000_000 for number in range(10)]
    path.write_bytes(make_parquet(pa.table({"text": text * 5}), row_group_size=10))
    return path


def list_children(pid: int | None = None) -> set[psutil.Process]:
    """Return the processes that read files for a process, by default this one."""
    children = psutil.Process(pid).children()
    return {child for child in children if arrow_child.__name__ in " ".join(child.cmdline())}


def is_running(process: psutil.Process) -> bool:
    """Return whether a process has not ended; a zombie has."""
    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("mode", ["wait", "read"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_process_ends_with_the_one_that_started_it(
    large_rows: Path, number: signal.Signals, mode: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", READER, large_rows, mode], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    ) as reader:  # fmt: skip
        assert reader.stdout and reader.stdout.readline() == b"reading\n"
        (child,) = list_children(reader.pid)
        assert is_running(child)
        if number == signal.SIGINT:
            os.killpg(reader.pid, number)  # as ctrl-c in a terminal
        else:
            reader.send_signal(number)
        assert reader.wait(LIMIT_S) == -number
        wait_until(lambda: not is_running(child))


def test_process_that_waits_for_a_reader_serves_the_next_one(large_rows: Path) -> None:
    with DataSource(large_rows) as source:
        for _ in range(3):
            reader = arrow_process.read_rows(source, "parquet")
            assert next(reader)[0] == 1
            reader.close()  # type: ignore[attr-defined]
        rows = list(arrow_process.read_rows(source, "parquet"))
    assert [len(value) for _, value in rows if isinstance(value, bytes)] == [1_000_011] * 50


@pytest.fixture
def no_idle_processes() -> Iterator[None]:
    arrow_process._end_all()
    arrow_process._idle.clear()
    yield


@pytest.mark.usefixtures("no_idle_processes")
def test_idle_process_ends_and_leaves_no_zombie(
    large_rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_process, "IDLE_S", 0.01)
    before = list_children()
    with DataSource(large_rows) as source:
        reader = arrow_process.read_rows(source, "parquet")
        next(reader)  # further replies fill the socket
        (child,) = list_children() - before
        reader.close()  # type: ignore[attr-defined]
    wait_until(lambda: not psutil.pid_exists(child.pid))
    assert not arrow_process._idle


@pytest.mark.usefixtures("no_idle_processes")
def test_killed_process_costs_a_row_group_and_is_explained(large_rows: Path) -> None:
    before = list_children()
    with DataSource(large_rows) as source:
        reader = arrow_process.read_rows(source, "parquet")
        rows = [next(reader)]
        (child,) = list_children() - before
        child.kill()  # as the kernel does when memory runs out
        rows += reader
    assert [number for number, _ in rows] == list(range(1, 51))
    problems = [value for _, value in rows if isinstance(value, RowProblem)]
    assert 0 < len(problems) < 10
    assert "could not be read: the process that reads it was killed" in problems[0].message
    assert problems[0].fix == "free some memory, then try again"


def test_process_ends_with_the_socket_of_its_reader(path: Path) -> None:
    with DataSource(path) as source:
        reader = arrow_process.read_rows(source, "parquet")
        next(reader)
        frame = reader.gi_frame.f_locals["reading"]  # type: ignore[attr-defined]
        assert frame.part is not None
        reader.close()  # type: ignore[attr-defined]
    process = arrow_process._idle.pop()
    process._channel.close()  # as it is when this process is killed
    assert process._process.wait(30) == 0


def test_rows_claimed_in_the_footer_are_not_believed(path: Path) -> None:
    data = make_parquet(make_table(123))
    size = int.from_bytes(data[-8:-4], "little")
    footer = data[-8 - size : -8].replace(b"\x16" + _varint(123), b"\x16" + _varint(10**12))
    damaged = data[: -8 - size] + footer + len(footer).to_bytes(4, "little") + b"PAR1"
    path.write_bytes(damaged)
    ((number, problem),) = read(path)
    assert number == 1
    assert isinstance(problem, RowProblem)
    assert "claims 1,000,000,000,000 rows" in problem.message


def _varint(number: int) -> bytes:
    number, out = 2 * number, b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def test_damaged_dictionary_page_costs_its_row_group(path: Path) -> None:
    data = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    for position in range(column.dictionary_page_offset, column.data_page_offset):
        data[position] = 0xFF
    path.write_bytes(data)
    rows = read(path)
    assert [number for number, _ in rows] == list(range(1, ROWS + 1))
    assert count_problems(rows) == 1000
    assert isinstance(rows[1000][1], RowProblem) and isinstance(rows[1999][1], RowProblem)


def test_types_nested_2000_deep_are_refused_in_a_sentence(path: Path) -> None:
    column = pa.array(["text"])
    for _ in range(2000):
        column = pa.StructArray.from_arrays([column], ["inner"])
    out = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"], "deep": column}), out)
    path.write_bytes(out.getvalue())
    with pytest.raises(FileProblem, match="too deeply nested"):
        read(path)


def test_rows_out_of_proportion_to_the_file_are_not_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_child, "_MIN_READ_ROWS", 100)
    monkeypatch.setattr(arrow_child, "_MAX_ROWS_PER_BYTE", 0)
    with path.open("rb") as file:
        request = arrow_child.Request(1, "parquet")
        frames = [frame for reply in arrow_child._read_file(file, request) for frame in reply]
    read_rows = b"".join(payload for kind, _, payload in frames if kind == arrow_child.ROWS)
    assert 100 <= read_rows.count(b"\n") < 1000
    (problem,) = (payload for kind, _, payload in frames if kind == arrow_child.PROBLEM)
    assert b"too many rows for its size" in problem


@pytest.mark.slow
def test_record_batch_that_unpacks_to_much_costs_only_itself(tmp_path: Path) -> None:
    path, size = tmp_path / "rows.arrow", 1 << 30
    schema = make_table(1).schema
    offsets = pa.py_buffer((0).to_bytes(4, "little") + (size).to_bytes(4, "little"))
    zeros = pa.py_buffer(memoryview(bytearray(size)))
    large = pa.Array.from_buffers(pa.string(), 1, [None, offsets, zeros])
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(path, schema, options=options) as writer:
        writer.write_table(make_table(100))
        writer.write_batch(pa.record_batch([pa.array(["question"]), large], schema=schema))
        writer.write_table(make_table(50))
    with DataSource(path) as source:
        rows = list(arrow_process.read_rows(source, "arrow"))
    assert len(rows) == 151
    assert count_problems(rows) == 1
    assert isinstance(rows[100][1], RowProblem)
