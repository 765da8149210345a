"""Pairs and labeled answers, from rows to the batches of a preference trainer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data.checks.row_checker import to_trained
from ftwizard.data.conversation import to_labeled, to_pair
from ftwizard.data.example import IGNORE_INDEX, Example, RowProblem
from ftwizard.data.formats import to_example
from ftwizard.data.reader import ParsedRow
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.plan.schema import KTO, Recipe
from ftwizard.train import mask_report, trainer_rows
from ftwizard.train.encoder import EncodedRow, Encoder, encode_rows
from ftwizard.train.inputs import describe_imbalance
from tests.helpers.models import tiny_tokenizer

DPO_RECIPE = Recipe(objective="dpo", batch_size=2)
KTO_RECIPE = Recipe(objective="kto", batch_size=2)


@pytest.fixture(scope="module")
def encoder() -> Iterator[Encoder]:
    tokenizer = tiny_tokenizer()
    yield Encoder(tokenizer, {tokenizer.eos_token_id})


def pair(line: int, chosen: str, rejected: str, prompt: str = "Why?") -> ParsedRow:
    row = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    example = to_example(row, "preference")
    return ParsedRow(line=line, example=example, conversation=to_trained(example, "trl-dpo"))


def labeled(line: int, prompt: str, answer: str, *, label: bool) -> ParsedRow:
    example = to_example({"prompt": prompt, "completion": answer, "label": label}, "kto")
    return ParsedRow(line=line, example=example, conversation=to_trained(example, "trl-kto"))


def trained_text(encoder: Encoder, row: EncodedRow) -> str:
    ids = [label for label in row.labels if label != IGNORE_INDEX]
    return str(encoder.tokenizer.decode(ids))


def test_both_answers_of_a_pair_are_encoded_as_a_conversation_is(encoder: Encoder) -> None:
    (row,), report = encode_rows(encoder, [pair(7, "Good.", "Bad!")], 1000)
    assert row.rejected and (row.line, row.rejected.line) == (7, 7)
    assert trained_text(encoder, row) == "Good.<|im_end|>"
    assert trained_text(encoder, row.rejected) == "Bad!<|im_end|>"
    assert (
        row.input_ids == encoder.encode(to_pair(pair(7, "Good.", "Bad!").example)[0], 7).input_ids
    )
    assert report.tokens == len(row.input_ids) + len(row.rejected.input_ids)
    assert report.trainable_tokens == len("Good.") + len("Bad!") + 2
    assert report.longest_row == row.longest == len(row.input_ids)


def test_answers_in_the_prompt_are_not_trained_on(encoder: Encoder) -> None:
    prompt = [
        {"role": "user", "content": "A"},
        {"role": "assistant", "content": "B"},
        {"role": "user", "content": "C"},
    ]
    example = Example(
        kind="preference", messages=prompt, chosen=[{"role": "assistant", "content": "D"}],
        rejected=[{"role": "assistant", "content": "E"}],
    )  # fmt: skip
    row = encoder.encode_row(ParsedRow(line=1, example=example, conversation=to_pair(example)[0]))
    assert trained_text(encoder, row) == "D<|im_end|>"
    answered = Example(
        kind="labelled", messages=[*prompt, {"role": "assistant", "content": "D"}], label=False
    )
    judged = encoder.encode_row(
        ParsedRow(line=1, example=answered, conversation=to_labeled(answered))
    )
    assert trained_text(encoder, judged) == "D<|im_end|>" and judged.label is False
    assert judged.input_ids == row.input_ids


def test_equal_pairs_and_rows_without_trainable_tokens_are_reported(encoder: Encoder) -> None:
    long = "x" * 60
    rows = [
        pair(1, "yes", "no"),
        pair(2, long + "a", long + "b"),  # equal once truncated
        pair(3, "yes", "no", prompt="p" * 80),  # no answer is left
        pair(4, "yes", long * 2),
    ]
    kept, report = encode_rows(encoder, rows, 60)
    assert [row.line for row in kept] == [1, 4]
    assert (report.rows, report.used, report.truncated) == (4, 2, 3)
    assert (report.equal_pairs, report.lines_without_loss) == ([2], [3])
    shown, again = mask_report.report_tokens(encoder, rows, 60, "m", lambda *_, **__: None)
    assert again == kept and shown.used == 2
    with pytest.raises(FtwizardError, match="equal answers, the first at line 2") as caught:
        encode_rows(encoder, rows[1:2], 60)
    assert caught.value.exit_code == DECLINED


def test_rows_that_no_trainer_could_use_are_problems() -> None:
    image = [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]
    row = {"prompt": [{"role": "user", "content": image}], "chosen": "a", "rejected": "b"}
    for bad, code in (
        (row, "images_unsupported"),
        ({"prompt": "p", "chosen": "same", "rejected": "same"}, "identical_pair"),
        ({"prompt": "p", "chosen": "", "rejected": "b"}, "empty_chosen"),
    ):
        with pytest.raises(RowProblem) as caught:
            to_trained(to_example(bad, "preference"), "trl-dpo")
        assert caught.value.code == code
    chat = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    with pytest.raises(RowProblem, match="a conversation with answers"):
        to_trained(to_example(chat, "openai-chat"), "trl-dpo")


def test_batches_of_pairs_are_those_of_trl(encoder: Encoder) -> None:
    """All chosen answers come first, then all rejected ones, padded on the right."""
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    rows, _ = encode_rows(encoder, [pair(1, "yes", "no"), pair(2, "perhaps", "nay")], 1000)
    data = trainer_rows.build_dataset(rows, DPO_RECIPE)
    own = trainer_rows.PreferenceCollator(0)(list(data))
    trl = DataCollatorForPreference(pad_token_id=0)([
        {
            "prompt_ids": row.input_ids[: trainer_rows.find_answer(row)],
            **{
                f"{side}_ids": encoded.input_ids[trainer_rows.find_answer(encoded) :]
                for side, encoded in zip(trainer_rows.PAIR, row.sequences, strict=True)
            },
        }
        for row in rows
    ])  # fmt: skip
    assert own.keys() == trl.keys()
    assert all(own[name].tolist() == trl[name].tolist() for name in ("input_ids", "attention_mask"))
    # What follows the end of a turn, a line break here, does not count.
    assert (own["completion_mask"] <= trl["completion_mask"]).all()
    assert (trl["completion_mask"] - own["completion_mask"]).sum(1).tolist() == [1] * 4


def test_kto_keeps_its_batches_and_answers_to_other_prompts(encoder: Encoder) -> None:
    rows, _ = encode_rows(
        encoder, [labeled(n, f"Q{n}", f"A{n}", label=n % 2 == 0) for n in range(1, 6)], 1000
    )
    data = trainer_rows.build_in_order(rows, KTO_RECIPE)
    assert data["label"] == [False, True, False, True, False]
    texts = [encoder.tokenizer.decode(ids) for ids in data["KL_input_ids"]]
    asked = [text[text.index("Q") :][:2] for text in texts]
    answered = [text[text.index("A") :][:2] for text in texts]
    assert asked == ["Q1", "Q2", "Q3", "Q4", "Q5"]
    assert answered == ["A2", "A1", "A4", "A3", "A4"], "the last is alone in its batch"
    batch = trainer_rows.PreferenceCollator(0)(list(data)[:2])
    assert batch["label"].tolist() == [False, True] and "KL_completion_mask" in batch
    plain = Recipe(objective="kto", kto=KTO(loss_type="apo_zero_unpaired"))
    assert "KL_input_ids" not in trainer_rows.build_in_order(rows, plain).column_names


@pytest.mark.parametrize(
    ("wanted", "unwanted", "settings", "advice"),
    [
        (10, 10, KTO(), None),
        (13, 10, KTO(), None),
        (10, 40, KTO(), "recipe.kto.desirable_weight to 4"),
        (40, 10, KTO(), "recipe.kto.undesirable_weight to 4"),
        (10, 40, KTO(desirable_weight=4.0), None),
        (40, 10, KTO(undesirable_weight=4.0), None),
        (5, 0, KTO(), None),
    ],
)
def test_labels_that_outweigh_the_other_are_reported(
    wanted: int, unwanted: int, settings: KTO, advice: str | None
) -> None:
    rows = [
        EncodedRow(line=n, input_ids=[1, 2], labels=[-100, 2], label=n < wanted)
        for n in range(wanted + unwanted)
    ]
    message = describe_imbalance(rows, settings)
    assert message is None if advice is None else advice in str(message)


@given(count=st.integers(1, 30), batch=st.integers(2, 7), seed=st.integers(0, 5))
def test_dataset_holds_every_row_once(count: int, batch: int, seed: int) -> None:
    rows = [
        EncodedRow(line=n, input_ids=[9] * (n + 1), labels=[-100] + [9] * n, label=n % 3 == 0)
        for n in range(1, count + 1)
    ]
    data = trainer_rows.build_dataset(rows, Recipe(objective="kto", batch_size=batch, seed=seed))
    trainer_rows.verify_rows(data, rows)
    pairs = {len(ids): label for ids, label in zip(data["input_ids"], data["label"], strict=True)}
    assert pairs == {len(row.input_ids): row.label for row in rows}
    with pytest.raises(FtwizardError, match="dropped or changed rows"):
        trainer_rows.verify_rows(data, rows[1:])


def test_pairs_reach_the_trainer_in_the_order_of_their_sides() -> None:
    rows = [
        EncodedRow(
            line=1, input_ids=[1, 2, 3], labels=[-100, 2, 3],
            rejected=EncodedRow(line=1, input_ids=[1, 4], labels=[-100, 4]),
        )
    ]  # fmt: skip
    data: Any = trainer_rows.build_dataset(rows, DPO_RECIPE)
    trainer_rows.verify_rows(data, rows)
    batch = trainer_rows.PreferenceCollator(0)(list(data))
    assert batch["input_ids"].tolist() == [[1, 2, 3], [1, 4, 0]]
    assert batch["completion_mask"].tolist() == [[0, 1, 1], [0, 1, 0]]
