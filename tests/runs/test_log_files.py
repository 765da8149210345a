"""Readers of TensorBoard and W&B files: whole, growing, cut and damaged ones."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorboardX import SummaryWriter

from ftwizard.runs.protobuf import MalformedMessage, iterate_fields, to_int, to_signed
from ftwizard.runs.tensorboard import EventFile, crc32c
from ftwizard.runs.wandb_files import BLOCK_BYTES, HistoryFile
from tests.helpers import logs

FUZZED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
SCALARS = logs.to_tfrecords(
    [logs.field(3, "brain.Event:2"),
     *(logs.event(step, {"train/loss": 2.0 / step, "train/lr": 1e-4}) for step in range(1, 30))]
)  # fmt: skip
ROWS = logs.to_leveldb_log(
    [logs.field(17, logs.field(1, "id")),
     *(logs.history({"loss": 2.0 / step, "note": "x" * 3000}, step) for step in range(1, 40)),
     logs.exit_record(0)]
)  # fmt: skip


def read_events(path: Path, limit: int = 1 << 16) -> EventFile:
    """Read a file to its end; each reading makes progress, else it ends."""
    file = EventFile(path)
    before = -1
    while file.offset != before:
        before = file.offset
        file.read(limit)
    return file


def read_rows(path: Path, limit: int = 1 << 16) -> tuple[HistoryFile, int]:
    file, count, before = HistoryFile(path), 0, -1
    while file.offset != before:
        before = file.offset
        count += len(file.read(limit))
    return file, count


def test_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, B.4 and its reference value
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_events_of_tensorboardx(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(1, 60):
            writer.add_scalar("train/loss", 3 / step, step)
        writer.add_text("args", "{}", 1)
        writer.add_histogram("weights", [1.0, 2.0, 3.0], 3)
    (path,) = tmp_path.iterdir()
    file = EventFile(path)
    scalars = [s for s in file.read(1 << 20) if s.tag == "train/loss"]
    assert [s.step for s in scalars] == list(range(1, 60))
    assert scalars[-1].value == pytest.approx(3 / 59)
    assert (file.torn, file.damaged_at, file.offset) == (0, None, path.stat().st_size)


def test_scalars_of_tensorflow_2(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(logs.to_tfrecords([logs.tensor_event(5, "epoch_loss", 0.75)]))
    (scalar,) = EventFile(path).read(1 << 20)
    assert (scalar.step, scalar.tag, scalar.value) == (5, "epoch_loss", 0.75)


def test_record_is_read_once_its_end_is_written(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    file, read = EventFile(path), 0
    for end in range(0, len(SCALARS) + 1, 7):
        path.write_bytes(SCALARS[:end])
        read += len(file.read(1 << 20))
    path.write_bytes(SCALARS)
    read += len(file.read(1 << 20))
    assert read == 58 and file.torn == 0


def test_damaged_data_is_skipped_and_a_damaged_length_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    first = len(logs.to_tfrecords([logs.event(1, {"a": 1.0})]))
    sound = logs.to_tfrecords([logs.event(step, {"a": 1.0}) for step in (1, 2, 3)])
    path.write_bytes(sound[: first + 20] + b"\xff" + sound[first + 21 :])
    file = EventFile(path)
    assert [s.step for s in file.read(1 << 20)] == [1, 3] and file.torn == 1
    path.write_bytes(sound[:first] + b"\xff" + sound[first + 1 :])
    file = EventFile(path)
    assert [s.step for s in file.read(1 << 20)] == [1] and file.damaged_at == first


@FUZZED
@given(
    cut=st.integers(0, len(SCALARS)), at=st.integers(0, len(SCALARS) - 1), byte=st.integers(0, 255)
)
def test_any_damage_of_events_is_survived(tmp_path: Path, cut: int, at: int, byte: int) -> None:
    path = tmp_path / "events.out.tfevents.1"
    data = bytearray(SCALARS)
    is_changed = data[at] != byte and at < cut
    data[at] = byte
    path.write_bytes(data[:cut])
    file = read_events(path, 100)
    assert file.offset <= cut
    if is_changed and cut == len(SCALARS):
        assert file.torn or file.damaged_at is not None, "checksums catch each changed byte"


@FUZZED
@given(st.binary(max_size=400))
def test_any_bytes_are_no_events(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(data)
    assert read_events(path).read(1 << 20) == []
    path.write_bytes(logs.to_tfrecords([data]))
    read_events(path)


def test_history_crosses_blocks(tmp_path: Path) -> None:
    path = tmp_path / "run-a.wandb"
    path.write_bytes(ROWS)
    assert len(ROWS) > 3 * BLOCK_BYTES
    file = HistoryFile(path)
    rows = file.read(1 << 20)
    assert [row["_step"] for row in rows] == list(range(1, 40))
    assert rows[3] == {"loss": 0.5, "_step": 4}
    assert (file.exit_code, file.torn, file.is_foreign) == (0, 0, False)


def test_numbers_of_newer_versions_and_words_for_nan(tmp_path: Path) -> None:
    path = tmp_path / "run-a.wandb"
    items = [
        logs.field(1, "loss") + logs.field(6, 0.25),
        logs.field(1, "count") + logs.field(5, 9),  # a signed varint: -5
        logs.field(2, "a") + logs.field(2, "b") + logs.field(16, "3"),
        logs.field(1, "bad") + logs.field(16, '"NaN"'),
        logs.field(1, "text") + logs.field(16, '"words"'),
    ]
    record = logs.field(2, b"".join(logs.field(1, item) for item in items))
    path.write_bytes(logs.to_leveldb_log([record, logs.exit_record(3)]))
    file = HistoryFile(path)
    (row,) = file.read(1 << 20)
    assert math.isnan(row.pop("bad"))
    assert row == {"loss": 0.25, "count": -5, "a/b": 3} and file.exit_code == 3


def test_history_grows(tmp_path: Path) -> None:
    path = tmp_path / "run-a.wandb"
    file, count = HistoryFile(path), 0
    for end in [*range(0, len(ROWS), 1999), len(ROWS)]:
        path.write_bytes(ROWS[:end])
        count += len(file.read(1 << 20))
    assert count == 39 and file.torn == 0 and file.damaged_at is None


def test_damaged_block_costs_only_its_own_rows(tmp_path: Path) -> None:
    path = tmp_path / "run-a.wandb"
    data = bytearray(ROWS)
    data[BLOCK_BYTES + 5000] ^= 0xFF
    path.write_bytes(data)
    file, count = read_rows(path)
    assert 20 < count < 39 and file.torn == 1 and file.exit_code == 0


@FUZZED
@given(cut=st.integers(0, len(ROWS)), at=st.integers(0, len(ROWS) - 1), byte=st.integers(0, 255))
def test_any_damage_of_a_history_is_survived(tmp_path: Path, cut: int, at: int, byte: int) -> None:
    path = tmp_path / "run-a.wandb"
    data = bytearray(ROWS)
    data[at] = byte
    path.write_bytes(data[:cut])
    _, count = read_rows(path, 1000)
    assert count <= 39


@FUZZED
@given(st.binary(max_size=400))
def test_any_bytes_are_no_history(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "run-a.wandb"
    path.write_bytes(data)
    assert read_rows(path)[1] == 0 or data.startswith(b":W&B")
    path.write_bytes(logs.to_leveldb_log([data]))
    read_rows(path)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_malformed(data: bytes) -> None:
    try:
        fields = list(iterate_fields(data))
    except MalformedMessage:
        return
    assert all(number > 0 for number, _ in fields)


@given(st.integers(-(2**63), 2**63 - 1))
def test_numbers_survive(value: int) -> None:
    ((_, plain),) = iterate_fields(logs.field(1, value & (2**64 - 1)))
    assert to_int(plain) == value
    ((_, zigzag),) = iterate_fields(logs.field(1, (value << 1 ^ value >> 63) & (2**64 - 1)))
    assert to_signed(zigzag) == value
