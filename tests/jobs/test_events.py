"""Event files: torn lines, full disks and values that JSON lacks."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ftwizard.jobs import events
from ftwizard.jobs.events import EventReader, EventWriter

_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def _write(path: Path, count: int) -> None:
    writer = EventWriter(path, 1)
    for step in range(count):
        writer.write("log", step=step, loss=1.5)
    writer.close()


def _with_infinities_as_strings(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_infinities_as_strings(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_infinities_as_strings(item) for item in value]
    return str(value) if value in (math.inf, -math.inf) else value


def test_reader_returns_each_event_once_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    reader = EventReader(path)
    assert reader.read() == []
    writer = EventWriter(path, 3)
    writer.write("log", step=1)
    assert [(e["step"], e["attempt"], e["v"]) for e in reader.read()] == [(1, 3, 1)]
    writer.write("log", step=2)
    writer.write("log", step=3)
    assert [e["step"] for e in reader.read(limit=1)] == [2]
    assert [e["step"] for e in reader.read()] == [3]
    assert reader.read() == []
    writer.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(value=_json)
@example(value={"list": [1.0, math.inf], "dict": {"low": -math.inf, "flags": [True, 1, None]}})
def test_any_json_value_survives_a_round_trip(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "any.jsonl"
    path.unlink(missing_ok=True)
    writer = EventWriter(path, 1)
    writer.write("log", value=value)
    writer.close()
    (event,) = EventReader(path).read()
    # The text of a value also tells 1, 1.0 and true apart.
    assert repr(event["value"]) == repr(_with_infinities_as_strings(value))
    if isinstance(value, float):
        assert events.to_number(event["value"]) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinities_are_stored_as_strings(tmp_path: Path, value: float) -> None:
    path = tmp_path / "events.jsonl"
    writer = EventWriter(path, 1)
    writer.write("log", loss=value, more=[value])
    writer.close()
    event = EventReader(path).read()[0]
    assert event["loss"] == event["more"][0] == str(value)
    back = events.to_number(event["loss"])
    assert back is not None
    assert math.isnan(back) if math.isnan(value) else back == value


def test_file_torn_at_any_byte_loses_only_the_torn_line(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    _write(whole, 5)
    data = whole.read_bytes()
    for cut in range(len(data) + 1):
        path = tmp_path / "torn.jsonl"
        path.write_bytes(data[:cut])
        complete = data[:cut].count(b"\n")
        writer = EventWriter(path, 2)
        writer.write("log", step=99)
        writer.close()
        reader = EventReader(path)
        steps = [e["step"] for e in reader.read()]
        # A line that lacks only its line break is completed by the next writer.
        assert steps[:complete] == list(range(complete)), cut
        assert steps[-1] == 99, cut
        assert reader.torn + len(steps) == complete + 1 + (data[:cut][-1:] not in (b"", b"\n"))


def test_reader_waits_for_a_complete_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    _write(path, 1)
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    reader = EventReader(path)
    assert reader.read() == []
    path.write_bytes(data)
    assert len(reader.read()) == 1
    assert reader.torn == 0


def test_writer_buffers_events_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    writer = EventWriter(path, 1)
    real_write = os.write
    free_bytes = [40]

    def write_until_full(descriptor: int, data: bytes) -> int:
        if not free_bytes[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = data[: free_bytes[0]]
        free_bytes[0] -= len(part)
        return real_write(descriptor, part)

    monkeypatch.setattr(os, "write", write_until_full)
    for step in range(5):
        writer.write("log", step=step)
    assert writer.error and writer.error.errno == errno.ENOSPC
    free_bytes[0] = 10_000
    writer.sync()
    assert writer.error is None
    assert writer.close() == b""
    reader = EventReader(path)
    *steps, finding = reader.read()
    assert [e["step"] for e in steps] == [0, 1, 2, 3, 4]
    assert finding["message"].endswith("(No space left on device); nothing was lost.")
    assert reader.torn == 1, "the part of a line that was written before the disk was full"


def test_events_that_memory_cannot_hold_are_counted_and_the_oldest_steps_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    writer = EventWriter(path, 1)
    monkeypatch.setattr(events, "MAX_PENDING", 4)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _fail)
        writer.write("eval", step=1)
        for step in range(1, 7):
            writer.write("log", step=step)
        writer.write_finding("code", "text")
    writer.sync()
    writer.close()
    first, *steps, finding, outage = EventReader(path).read()
    assert first["kind"] == "eval" and finding["code"] == "code"
    assert [e["step"] for e in steps] == [5, 6]
    assert outage["message"].endswith("(Input/output error); 4 events were lost.")
    assert (outage["severity"], outage["evidence"]["lost"]) == ("warning", 4)


def _fail(*_: object) -> int:
    raise OSError(errno.EIO, "Input/output error")


def test_replaced_file_is_read_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    _write(path, 3)
    reader = EventReader(path)
    assert len(reader.read()) == 3
    _write(tmp_path / "new.jsonl", 5)  # longer, so only its inode tells it from the old file
    (tmp_path / "new.jsonl").replace(path)
    assert [e["step"] for e in reader.read()] == [0, 1, 2, 3, 4]


def test_file_truncated_in_place_is_read_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    _write(path, 3)
    reader = EventReader(path)
    assert len(reader.read()) == 3
    inode = path.stat().st_ino
    os.truncate(path, 0)
    assert reader.read() == []
    _write(path, 2)
    assert path.stat().st_ino == inode
    assert [e["step"] for e in reader.read()] == [0, 1]
    os.truncate(path, 0)
    _write(path, 1)  # both between two reads
    assert [e["step"] for e in reader.read()] == [0]
    assert reader.torn == 0


def test_invalid_lines_are_skipped_and_counted_as_torn(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'[]\n{"kind":7,"t":1}\n{"kind":"log"}\n{"kind":"new","t":1.5,"x":1}\n\xff\n')
    reader = EventReader(path)
    assert [e["kind"] for e in reader.read()] == ["new"]
    assert reader.torn == 4


@pytest.mark.parametrize("value", [b"[" * 100_000 + b"]" * 100_000, b"9" * 5_000, b"1e999"])
def test_unparsable_value_drops_only_its_line(tmp_path: Path, value: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"kind":"log","t":1,"x":%s}\n{"kind":"log","t":2}\n' % value)
    reader = EventReader(path)
    assert [e["t"] for e in reader.read()] == [2]
    assert reader.torn == 1


@pytest.mark.parametrize("value", [None, True, [], {}, "1", "NaN", 10**400])
def test_invalid_numbers_convert_to_none(value: Any) -> None:
    assert events.to_number(value) is None
    assert events.to_measure(value) is None
    assert events.to_count(value) is None


def test_counts_measures_and_times_reject_invalid_values() -> None:
    assert [events.to_count(value) for value in (0, 7, -1, 1.0, 2**53)] == [0, 7, None, None, None]
    assert [events.to_measure(value) for value in (0, 7.5, -1, "inf")] == [0, 7.5, None, None]
    assert events.get_time({"t": 1.7e9}) == 1.7e9 and events.get_time({"t": 1e300}) is None


def test_decode_counts_each_invalid_line_as_torn() -> None:
    whole = b'{"kind":"log","t":1,"step":1}'
    deep = b'{"kind":"log","t":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for line in (
        b'{"kind":"log","t":1,"x":"\xff"}', b"\xff\xfe", deep, b"[" * 100_000, b"null", b"[]", b"{}",
        b'{"kind":1,"t":1}', b'{"kind":"log","t":"1"}', b'{"kind":"log","t":true}',
        b'{"kind":"log","t":1' + b"0" * 400 + b"}", b"\0" * 4096, b"\r",
    ):  # fmt: skip
        decoded, torn = events.decode(whole + b"\n" + line + b"\n" + whole + b"\n")
        assert (len(decoded), torn) == (2, 1), line[:40]


@given(st.binary())
def test_decode_accepts_any_bytes(data: bytes) -> None:
    events.decode(data)
