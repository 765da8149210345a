"""Samples of rows for ``data.max_rows``: in proportion, nested, and only of the training rows."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data import sample
from ftwizard.data.reader import ParsedRow
from ftwizard.errors import FtwizardError
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Data, Files, Plan
from ftwizard.train import dataset, launcher
from tests.data.test_split import row

_rows = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 60), st.booleans()), min_size=2, max_size=120
).map(
    lambda drawn: [
        row(line, (f"question {line} " + "word " * length, f"label {label}"),
            *([("more?", "yes")] if several else []))
        for line, (label, length, several) in enumerate(drawn, 1)
    ]
)  # fmt: skip


def lines(rows: list[ParsedRow]) -> list[int]:
    return [item.line for item in rows]


@given(_rows, st.integers(1, 130), st.integers())
def test_sample_has_every_stratum_in_proportion(
    rows: list[ParsedRow], count: int, seed: int
) -> None:
    drawn = sample.draw_rows(rows, count, seed)
    assert len(drawn) == min(count, len(rows))
    assert lines(drawn) == sorted(set(lines(drawn))) and set(lines(drawn)) <= set(lines(rows))
    strata = dict(zip(lines(rows), sample.find_strata([r.example for r in rows]), strict=True))
    for stratum, size in Counter(strata.values()).items():
        share = len(drawn) * size / len(rows)
        assert abs(sum(strata[line] == stratum for line in lines(drawn)) - share) < 1


@given(_rows, st.integers(1, 60), st.integers(0, 60), st.integers(), st.randoms())
def test_larger_sample_contains_the_smaller_whatever_the_order_of_the_file(
    rows: list[ParsedRow], count: int, more: int, seed: int, rng: random.Random
) -> None:
    smaller = set(lines(sample.draw_rows(rows, count, seed)))
    assert smaller <= set(lines(sample.draw_rows(rows, count + more, seed)))
    shuffled = rng.sample(rows, len(rows))
    assert smaller == set(lines(sample.draw_rows(shuffled, count, seed)))


def test_another_seed_draws_other_rows() -> None:
    rows = [row(n, (f"question {n}", "yes")) for n in range(200)]
    first, other = (lines(sample.draw_rows(rows, 50, seed)) for seed in (1, 2))
    assert first != other and first == lines(sample.draw_rows(rows, 50, 1))


@given(st.dictionaries(st.tuples(st.text(max_size=2), st.integers(0, 3)),
                       st.integers(1, 40), min_size=1, max_size=12))  # fmt: skip
def test_every_beginning_of_a_draw_is_in_proportion(sizes: dict[tuple[str, int], int]) -> None:
    total, counts = sum(sizes.values()), Counter[tuple[str, int]]()
    for step, stratum in enumerate(sample.interleave_strata(sizes), 1):
        counts[stratum] += 1
        assert all(abs(counts[name] - step * sizes[name] / total) < 1 for name in sizes)
    assert counts == sizes


def make_plan(folder: Path, more: str = "", rows: int = 400) -> Plan:
    def write(name: str, count: int, kind: str) -> None:
        (folder / name).write_text("".join(
            json.dumps({"messages": [
                {"role": "user", "content": f"{kind} {n}: " + "why " * (n * 7 % 23)},
                {"role": "assistant", "content": f"because {n % 4}"},
            ]}) + "\n"
            for n in range(count)
        ))  # fmt: skip

    write("rows.jsonl", rows, "row")
    write("extra.jsonl", 900, "extra")
    text = f"data: {{files: {{train: {folder}/rows.jsonl}}, {more}}}\nmodel: {{name: m}}\n"
    return plan_file.parse(text)


def test_max_rows_are_drawn_after_the_split_so_that_the_test_set_stays_the_same(
    tmp_path: Path,
) -> None:
    available: dict[str, int] = {}
    whole = dataset.load_rows(make_plan(tmp_path), {}, sampled=available)
    assert available == {}
    small = dataset.load_rows(make_plan(tmp_path, "max_rows: 160"), {}, sampled=available)
    assert available == {"train": len(whole["train"])}
    assert lines(small["test"]) == lines(whole["test"])
    assert lines(small["validation"]) == lines(whole["validation"])  # a tenth
    assert len(small["train"]) == 160
    assert set(lines(small["train"])) < set(lines(whole["train"]))


def test_validation_rows_are_limited_to_a_quarter_and_not_below_a_minimum(tmp_path: Path) -> None:
    data = Data(files=Files(train="a"), max_rows=1000)
    assert data.max_validation_rows == 250
    assert Data(files=Files(train="a"), max_rows=8).max_validation_rows == 32
    assert Data(files=Files(train="a")).max_validation_rows is None

    available: dict[str, int] = {}
    plan = make_plan(tmp_path, "max_rows: 240, mix: {share: 0.1}")
    files = msgspec.structs.replace(plan.data.files, validation=str(tmp_path / "extra.jsonl"))
    plan = msgspec.structs.replace(plan, data=msgspec.structs.replace(plan.data, files=files))
    parts = dataset.load_rows(plan, {}, sampled=available)
    assert len(parts["validation"]) == 60 and available["validation"] == 900
    assert len(parts["mix"]) == 27  # a tenth of what is trained on, not of the file


def test_resumed_run_refuses_another_sample(tmp_path: Path) -> None:
    hashes = launcher.hash_data(make_plan(tmp_path, "max_rows: 100"))
    dataset.load_rows(make_plan(tmp_path, "max_rows: 100"), hashes)
    for other in ("max_rows: 101", "format: auto", "max_rows: 100, split: {seed: 7}"):
        with pytest.raises(FtwizardError, match="data split differs"):
            dataset.load_rows(make_plan(tmp_path, other), hashes)


@pytest.mark.parametrize("rows", [0, -1, 1, 2.5, "many"])
def test_invalid_max_rows_are_refused(tmp_path: Path, rows: Any) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "plan.yaml").write_text(
        f"data: {{files: {{train: rows.jsonl}}, max_rows: {rows}}}\nmodel: {{name: m}}\n"
    )
    with pytest.raises(FtwizardError) as error:
        plan_file.load(tmp_path / "plan.yaml")
    assert "max_rows" in error.value.message
