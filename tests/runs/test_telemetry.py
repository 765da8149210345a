"""Machine readings from a file that grows, is replaced or is torn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ftwizard.runs.follower import Telemetry


def line(t: float, *uses: float | None) -> bytes:
    gpus = [{"index": n, "utilisation": use} for n, use in enumerate(uses)]
    return json.dumps({"t": t, "gpus": gpus}).encode() + b"\n"


def times(telemetry: Telemetry) -> list[float]:
    return [sample["t"] for sample in telemetry.samples]


def test_telemetry_reads_only_new_lines(tmp_path: Path) -> None:
    path = tmp_path / "machine"
    reader = Telemetry(path)
    assert not reader.read()
    path.write_bytes(line(1))
    assert reader.read() and not reader.read()
    with path.open("ab") as file:
        file.write(line(2) + line(3)[:8])
        file.flush()
        assert reader.read() and times(reader) == [1, 2]
        file.write(line(3)[8:])
    assert reader.read() and times(reader) == [1, 2, 3]


def test_telemetry_skips_torn_lines(tmp_path: Path) -> None:
    path = tmp_path / "machine"
    path.write_bytes(b'{"t":1}\n{"t":2\n[3]\n\xff\n\n{"t":4}\n' + b"[" * 100_000 + b'\n{"t":5}\n')
    reader = Telemetry(path)
    assert reader.read() and times(reader) == [1, 4, 5]


def test_replaced_or_truncated_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "machine"
    path.write_bytes(line(1) + line(2))
    reader = Telemetry(path)
    reader.read()
    path.write_bytes(line(3))
    assert reader.read() and times(reader) == [3]
    other = tmp_path / "other"
    other.write_bytes(line(4) + line(5) + line(6))
    other.replace(path)
    assert reader.read() and times(reader) == [4, 5, 6]
    path.unlink()
    assert not reader.read() and times(reader) == [4, 5, 6]


def test_telemetry_skips_to_the_end_of_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "machine"
    path.write_bytes(b"".join(line(t) for t in range(1000)))
    reader = Telemetry(path, max_bytes=200, kept=5)
    reader.read()
    assert times(reader) == list(range(995, 1000))
    with path.open("ab") as file:
        file.write(b"".join(line(t) for t in range(1000, 2000)))
    reader.read()
    assert times(reader)[-1] == 1999 and len(reader.samples) == 5


def test_overlong_unfinished_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "machine"
    path.write_bytes(line(1) + b"x" * 5000)
    reader = Telemetry(path, max_bytes=100)
    for _ in range(3):
        assert not reader.read()
    with path.open("ab") as file:
        file.write(b"\n" + line(2))
    assert reader.read() and times(reader) == [2]


@given(cuts=st.lists(st.integers(0, 400), max_size=12), most=st.integers(40, 500))
def test_each_reading_is_read_once_for_any_write_pattern(
    tmp_path_factory: Any, cuts: list[int], most: int
) -> None:
    path = tmp_path_factory.mktemp("t") / "machine"
    data = b"".join(line(t) for t in range(1, 18))
    reader = Telemetry(path, max_bytes=most)
    with path.open("wb") as file:
        done = 0
        for cut in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
            file.write(data[done:cut])
            file.flush()
            done = cut
            reader.read()
    reader.read()
    recorded = times(reader)
    assert recorded == sorted(set(recorded)) and recorded[-1] == 17
    if most >= len(data):
        assert recorded == list(range(1, 18))
