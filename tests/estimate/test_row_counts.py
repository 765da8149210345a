"""Counts of the rows that a plan trains on, before the model's own tokenizer is there."""

from __future__ import annotations

import msgspec
import pytest

from ftwizard.data.tokens.stats import TokenEstimate
from ftwizard.estimate.batching import Bucket, LengthDistribution
from ftwizard.estimate.row_counts import CountedRows, take_training_rows
from ftwizard.plan.schema import Data, Files, Model, Plan, Split
from ftwizard.pricing.offer import TrainingLoad

TOKENS = TokenEstimate(value=1000, low=800, high=1500)
LOAD = TrainingLoad(
    tokens=TOKENS, epochs=3, counted="a test", rows=24, by_model={"openai/gpt-4.1": TOKENS}
)
BUCKET = Bucket(upto=64, length=1000 / 24, rows=24)
ROWS = CountedRows(
    load=LOAD, lengths=LengthDistribution(rows=24, total=1000, p99=60, buckets=(BUCKET,))
)


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (Data(files=Files(train="rows.jsonl")), 20),
        (Data(files=Files(train="rows.jsonl"), split=Split(validation=0.2)), 17),
        (Data(files=Files(train="rows.jsonl"), max_rows=6), 6),
        (Data(files=Files(train="rows.jsonl"), split=Split(validation=0.0, test=0.0)), 24),
    ],
)
def test_rows_set_aside_are_not_trained_on(data: Data, rows: int) -> None:
    taken = take_training_rows(ROWS, Plan(data=data, model=Model(name="owner/model")))
    assert taken.load.rows == rows and taken.lengths and taken.lengths.rows == rows
    assert taken.load.tokens.value == pytest.approx(1000 * rows / 24, abs=1)
    assert taken.load.by_model["openai/gpt-4.1"].high == pytest.approx(1500 * rows / 24, abs=1)


def test_tokens_without_a_number_of_rows_stay_as_they_are() -> None:
    typed = msgspec.structs.replace(ROWS, load=msgspec.structs.replace(LOAD, rows=None))
    plan = Plan(data=Data(files=Files(train="rows.jsonl")), model=Model(name="owner/model"))
    assert take_training_rows(typed, plan) is typed
