"""Parts, samples and estimates of a file, and rows taken together."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftwizard.data.io import chunks, inspect, records, source

LINES = st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=30)


@pytest.mark.usefixtures("block")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES, st.booleans(), st.booleans(), st.integers(1, 40))
def test_parts_of_a_file_cover_all_its_lines(
    path: Path, rest: list[bytes], bom: bool, ended: bool, parts: int
) -> None:
    data = b"\n".join([b'{"a": 1}', *rest]) + b"\n" * ended
    path.write_bytes(b"\xef\xbb\xbf" * bom + data)
    result = inspect.inspect(path)
    if not result.is_plain_lines:
        return
    cuts = chunks.split_into_parts(path, result, parts)
    assert len(cuts) <= parts
    blocks = [b"".join(block.data for block in cut.blocks()) for cut in cuts]
    assert b"".join(blocks) == data
    assert all(block.endswith(b"\n") for block in blocks[:-1])
    for block in cuts[0].blocks():
        assert block.data.endswith(b"\n") or data.endswith(block.data)
        are_blank = not block.data.strip(b"\n")  # which are one
        assert block.line_count == len(block.lines()) or are_blank
    whole = data.split(b"\n")
    for record in records.read_records(path, result):
        assert isinstance(record.value, bytes)
        assert whole[record.line - 1].removesuffix(b"\r") == record.value


@pytest.mark.usefixtures("short_lines")
def test_part_reports_an_overlong_line_without_its_data(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "BLOCK", 100)
    path.write_bytes(b'{"a": 1}\n' + b"x" * 5000 + b"\n" + b"y" * 500 + b"\nz")
    result = inspect.inspect(path)
    blocks = [block for part in chunks.split_into_parts(path, result, 1) for block in part.blocks()]
    assert [block.problem and block.problem.code for block in blocks] == [
        None, "too_large", None, None,
    ]  # fmt: skip
    assert [(block.line, block.line_count) for block in blocks] == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert blocks[2].data == b"y" * 500 + b"\n"


def test_a_long_line_is_searched_once_when_a_file_is_divided(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b'{"a": 1}\n' + bytes(1 << 22))
    container = inspect.inspect(path)
    total, read = 0, source.DataSource.read

    def count_bytes(self: source.DataSource, offset: int, count: int) -> bytes:
        nonlocal total
        data = read(self, offset, count)
        total += len(data)
        return data

    monkeypatch.setattr(source.DataSource, "read", count_bytes)
    parts = chunks.split_into_parts(path, container, 100)
    assert [(part.start, part.end) for part in parts] == [(0, path.stat().st_size)]
    assert total <= 2 * path.stat().st_size


@given(st.lists(st.integers(0, 400), min_size=1, max_size=60), st.integers(1, 9), st.integers())
def test_sampled_rows_are_distinct_rows_of_the_file(
    path: Path, sizes: list[int], blocks: int, seed: int
) -> None:
    rows = [json.dumps({"n": n, "a": "x" * size}).encode() for n, size in enumerate(sizes)]
    data = b"\n".join(rows)
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "SAMPLE_BLOCK_BYTES", 200)
        result = inspect.inspect(path)
        sampled = list(chunks.sample_rows(path, result, blocks=blocks, seed=seed))
    for item in sampled:
        assert isinstance(item.value, bytes) and item.offset is not None
        assert data[item.offset :].split(b"\n", 1)[0] == item.value
        assert item.line is None or rows[item.line - 1] == item.value
    offsets = [item.offset for item in sampled]
    assert len(set(offsets)) == len(offsets)
    assert sampled[0].line == 1
    if len(data) <= 200 * (blocks + 2):
        assert [item.value for item in sampled] == rows


def test_estimated_rows_are_not_multiplied_by_one_huge_row(path: Path) -> None:
    short = b'{"a": "short"}\n' * 500
    path.write_bytes(short + b'{"a": "' + b"x" * (40 << 20) + b'"}\n' + short)
    assert 500 < chunks.estimate_rows(path, inspect.inspect(path)) < 2000
    path.write_bytes(short * 1000)
    assert 480_000 < chunks.estimate_rows(path, inspect.inspect(path)) < 520_000
    path.write_bytes(short)
    assert chunks.estimate_rows(path, inspect.inspect(path)) == 500


def test_sample_of_a_json_array_is_its_head(path: Path) -> None:
    rows = [{"a": n} for n in range(2000)]
    path.write_text(json.dumps(rows))
    sampled = list(chunks.sample_rows(path, inspect.inspect(path)))
    assert [(item.line, item.value) for item in sampled[:2]] == [(1, b'{"a": 0}'), (2, b'{"a": 1}')]
    assert len(sampled) < len(rows)


def test_rows_on_consecutive_lines_are_taken_together(path: Path) -> None:
    path.write_bytes(
        gzip.compress(b'{"a": 1}\n{"a": 2}\n\n{"a": 4}\n{"a": 5}\n' + b'{"a": 6}\n' * 200_000)
    )
    taken = list[tuple[int, int]]()

    class Count(chunks.Tally):
        def take_block(self, block: chunks.LineBlock) -> None:
            taken.append((block.line, block.line_count))
            assert len(block.lines()) == block.line_count

        def take_values(self, line: int, values: Any) -> None:
            raise AssertionError

    progress = list[int]()
    chunks.tally_rows(
        path,
        inspect.inspect(path),
        functools.partial(Count),
        say=lambda done, _: progress.append(done),
    )
    assert taken[:2] == [(1, 2), (4, 29_127)]
    assert sum(count for _, count in taken) == 200_004
    assert len(taken) == 8


def test_rows_of_several_lines_are_taken_alone_and_in_order(path: Path) -> None:
    path.write_text('[\n{"a": 1},\n{"a": 2},\n{"a":\n3},\n{"a": 4},\n{"b": NaN}, {"a": 5}\n]')
    taken = list[Any]()

    class Keep(chunks.Tally):
        def take(self, line: int, value: Any) -> None:
            taken.append((line, value))

    chunks.tally_rows(path, inspect.inspect(path), functools.partial(Keep), say=lambda *_: None)
    assert [line for line, _ in taken] == [2, 3, 4, 6, 7, 7]
    assert taken[2][1] == b'{"a":\n3}'
