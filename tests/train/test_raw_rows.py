"""Encoding of plain text and pretokenized rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data.example import IGNORE_INDEX, Example, RowProblem
from ftwizard.data.split import split
from ftwizard.train import mask_report
from ftwizard.train.encoder import Encoder, EncodingError, encode_rows
from tests.helpers.models import tiny_tokenizer
from tests.helpers.rows import row


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def encoder(tokenizer: Any) -> Encoder:
    return Encoder(tokenizer, {tokenizer.eos_token_id})


def tokens(**columns: list[int]) -> Example:
    return Example(kind="tokens", tokens=dict(columns))


def test_whole_text_and_its_end_token_are_trained_on(encoder: Encoder, tokenizer: Any) -> None:
    item = encoder.encode_row(row(3, Example(kind="text", text="Once upon a time")))
    assert tokenizer.decode(item.input_ids) == "Once upon a time<|im_end|>"
    assert item.labels == [IGNORE_INDEX, *item.input_ids[1:]]
    assert item.line == 3
    kept, report = encode_rows(encoder, [row(1, Example(kind="text", text="abc" * 50))], 20)
    assert report.route == "text" and len(kept[0].input_ids) == 20
    assert kept[0].trained == report.trainable_tokens == 19
    result, _ = mask_report.report_tokens(
        encoder, [row(1, Example(kind="text", text="abc"))], 20, "m", lambda *_, **__: None
    )
    assert (result.route, result.end_tokens) == ("text", ["<|im_end|>"])


def test_text_with_an_end_token_gets_no_second_end_token(encoder: Encoder, tokenizer: Any) -> None:
    item = encoder.encode_row(row(1, Example(kind="text", text="Done<|im_end|>")))
    assert item.input_ids.count(tokenizer.eos_token_id) == 1


def test_tokenizer_without_an_end_token_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    encoder = Encoder(tokenizer, set())
    tokenizer.eos_token = None
    with pytest.raises(EncodingError, match=r"Line 8: .*never learn to stop"):
        encoder.encode_row(row(8, Example(kind="text", text="abc")))


def test_pretokenized_rows_keep_their_labels_and_masks(encoder: Encoder) -> None:
    item = encoder.encode_row(row(1, tokens(input_ids=[5, 6, 7, 8], labels=[-100, -100, 7, 8])))
    assert (item.input_ids, item.labels) == ([5, 6, 7, 8], [IGNORE_INDEX, IGNORE_INDEX, 7, 8])
    bare = encoder.encode_row(row(1, tokens(input_ids=[5, 6, 7])))
    assert bare.labels == [IGNORE_INDEX, 6, 7]
    masked = encoder.encode_row(row(1, tokens(input_ids=[5, 6, 7], completion_mask=[0, 0, 1])))
    assert masked.labels == [IGNORE_INDEX, IGNORE_INDEX, 7]
    _, report = encode_rows(encoder, [row(1, tokens(input_ids=[5, 6, 7]))], 10)
    assert report.route == "tokens"


def test_padding_of_pretokenized_rows_is_removed(encoder: Encoder) -> None:
    item = encoder.encode_row(
        row(1, tokens(input_ids=[0, 5, 6, 7, 0], attention_mask=[0, 1, 1, 1, 0]))
    )
    assert item.input_ids == [5, 6, 7]
    assert item.labels[1:] == [6, 7]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"input_ids": [1, 2, 99_999]}, "input_ids contains 99999"),
        ({"input_ids": [1, -2, 3]}, "input_ids contains -2"),
        ({"input_ids": [5, 6, 7], "labels": [6, 7, 8]}, "must not be shifted"),
        ({"input_ids": [5, 6, 7], "seq_lengths": [1, 2]}, "packs"),
    ],
)
def test_invalid_pretokenized_rows_are_refused(
    encoder: Encoder, columns: dict[str, list[int]], says: str
) -> None:
    with pytest.raises(EncodingError, match=f"Line 4: .*{says}"):
        encoder.encode_row(row(4, tokens(**columns)))
    result, _ = mask_report.report_tokens(
        encoder, [row(4, tokens(**columns))], 10, "m", lambda *_, **__: None
    )
    assert [(finding.code, finding.lines) for finding in result.findings] == [
        ("model_mismatch", [4])
    ]


@pytest.mark.parametrize(
    ("example", "code"),
    [
        (Example(kind="text", text=" \n"), "empty_text"),
        (tokens(input_ids=[5]), "tokens_nothing_to_train"),
        (tokens(input_ids=[5, 6], labels=[5, -100]), "tokens_nothing_to_train"),
        (tokens(input_ids=[5, 6], attention_mask=[1, 0]), "tokens_nothing_to_train"),
        (Example(kind="prompt", messages=[{"role": "user", "content": "Hi"}]), "wrong_kind"),
    ],
)
def test_rows_without_trainable_tokens_are_problems(example: Example, code: str) -> None:
    with pytest.raises(RowProblem) as problem:
        row(1, example)
    assert problem.value.code == code


@given(st.lists(st.integers(0, 200), min_size=2, max_size=20), st.data())
def test_loss_mask_follows_the_labels_of_the_row(
    encoder: Encoder, ids: list[int], data: st.DataObject
) -> None:
    marks = data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    marks[1] = True
    labels = [i if marked else IGNORE_INDEX for i, marked in zip(ids, marks, strict=True)]
    item = encoder.encode_row(row(1, tokens(input_ids=ids, labels=labels)))
    assert item.labels == [IGNORE_INDEX, *labels[1:]]


def test_split_keeps_duplicate_texts_together() -> None:
    rows = [row(n, Example(kind="text", text=f"text {n % 20}")) for n in range(40)]
    parts = split(rows, validation=0.1, test=0.1, seed=1)
    assert (len(parts.validation), len(parts.test), len(parts.train)) == (4, 4, 32)
    sides = [{r.example.text for r in part} for part in (parts.train, parts.validation, parts.test)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
