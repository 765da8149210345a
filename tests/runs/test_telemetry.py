"""Readings of a machine, followed in their file whatever happens to it."""

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


def test_it_reads_what_is_new_alone(tmp_path: Path) -> None:
    path = tmp_path / "machine"
    followed = Telemetry(path)
    assert not followed.read()
    path.write_bytes(line(1))
    assert followed.read() and not followed.read()
    with path.open("ab") as file:
        file.write(line(2) + line(3)[:8])
        file.flush()
        assert followed.read() and times(followed) == [1, 2]
        file.write(line(3)[8:])
    assert followed.read() and times(followed) == [1, 2, 3]


def test_torn_lines_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "machine"
    path.write_bytes(b'{"t":1}\n{"t":2\n[3]\n\xff\n\n{"t":4}\n' + b"[" * 100_000 + b'\n{"t":5}\n')
    followed = Telemetry(path)
    assert followed.read() and times(followed) == [1, 4, 5]


def test_a_replaced_or_shortened_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "machine"
    path.write_bytes(line(1) + line(2))
    followed = Telemetry(path)
    followed.read()
    path.write_bytes(line(3))
    assert followed.read() and times(followed) == [3]
    other = tmp_path / "other"
    other.write_bytes(line(4) + line(5) + line(6))
    other.replace(path)
    assert followed.read() and times(followed) == [4, 5, 6]
    path.unlink()
    assert not followed.read() and times(followed) == [4, 5, 6]


def test_it_begins_with_the_end_and_skips_to_it_when_it_was_away(tmp_path: Path) -> None:
    path = tmp_path / "machine"
    path.write_bytes(b"".join(line(t) for t in range(1000)))
    followed = Telemetry(path, max_bytes=200, kept=5)
    followed.read()
    assert times(followed) == list(range(995, 1000))
    with path.open("ab") as file:
        file.write(b"".join(line(t) for t in range(1000, 2000)))
    followed.read()
    assert times(followed)[-1] == 1999 and len(followed.samples) == 5


def test_a_line_without_an_end_costs_no_more_than_a_look(tmp_path: Path) -> None:
    path = tmp_path / "machine"
    path.write_bytes(line(1) + b"x" * 5000)
    followed = Telemetry(path, max_bytes=100)
    for _ in range(3):
        assert not followed.read()
    with path.open("ab") as file:
        file.write(b"\n" + line(2))
    assert followed.read() and times(followed) == [2]


@given(cuts=st.lists(st.integers(0, 400), max_size=12), most=st.integers(40, 500))
def test_however_it_is_written_each_reading_is_seen_once(
    tmp_path_factory: Any, cuts: list[int], most: int
) -> None:
    path = tmp_path_factory.mktemp("t") / "machine"
    data = b"".join(line(t) for t in range(1, 18))
    followed = Telemetry(path, max_bytes=most)
    with path.open("wb") as file:
        done = 0
        for cut in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
            file.write(data[done:cut])
            file.flush()
            done = cut
            followed.read()
    followed.read()
    recorded = times(followed)
    assert recorded == sorted(set(recorded)) and recorded[-1] == 17
    if most >= len(data):
        assert recorded == list(range(1, 18))
