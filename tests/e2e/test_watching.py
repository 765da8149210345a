"""Samples, highest-loss examples and efficiency figures of real training runs."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import Attempt, write_json
from ftwizard.train import checkpoint_rotation, generate, model_loading
from ftwizard.train.encoder import Encoder
from tests.helpers.jobs import events
from tests.helpers.training import again, losses, rows, tiny_model, train

pytestmark = pytest.mark.slow
METHODS: list[dict[str, Any]] = [
    {"method": "lora", "dropout": 0.2},
    {"method": "qlora", "dropout": 0.2},
    {"method": "full", "learning_rate": 1e-3},
    {"method": "lora", "dropout": 0.2, "packing": True},
    {"method": "lora", "dropout": 0.2, "gradient_checkpointing": True},
    {"method": "full", "gradient_accumulation": 2, "precision": "bf16"},
]


@pytest.mark.parametrize("recipe", METHODS, ids=lambda item: "-".join(map(str, item.values())))
def test_samples_do_not_affect_training(tmp_path: Path, recipe: dict[str, Any]) -> None:
    few = {"count": 3, "max_tokens": 5}
    asked = train(tmp_path, "asked", samples=few, **recipe)
    quiet = train(tmp_path, "quiet", samples={"count": 0}, **recipe)
    assert losses(asked) == losses(quiet)
    weights = [next((f.checkpoints / c).glob("*model.safetensors")).read_bytes()
               for f in (asked, quiet) for c in sorted(p.name for p in f.checkpoints.iterdir())[-1:]]  # fmt: skip
    assert weights[0] == weights[1]
    assert not events(quiet, "sample")
    assert not [e for e in events(asked, "finding") if e["code"] == "samples_failed"]
    steps = [0, *(e["step"] for e in events(asked, "eval"))]
    result = [(e["step"], e["index"]) for e in events(asked, "sample")]
    assert result == [(step, index) for step in steps for index in range(3)]


def test_samples_are_validation_rows_of_different_lengths(tmp_path: Path) -> None:
    folder = train(tmp_path, "asked", samples={"max_tokens": 200})
    first = [e for e in events(folder, "sample") if e["step"] == 0]
    arguments = {
        row["messages"][0]["content"]: row["messages"][1]["content"] for row in rows(9, 500)
    }
    assert [e["expected"] for e in first] == [arguments[e["prompt"]] for e in first]
    lengths = [len(e["prompt"]) + len(e["expected"]) for e in first]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]
    for item in first:
        assert item["truncated"] and item["seconds"] > 0
    kept = json.loads((folder.evaluations / "samples.json").read_text())["asked"]
    assert [item["prompt"] for item in kept] == [item["prompt"] for item in first]


def test_memorized_answer_is_sampled_after_training(tmp_path: Path) -> None:
    """Samples use the current weights and the training template."""
    row = json.dumps(rows(1)[0])
    (tmp_path / "prompts.jsonl").write_text(row + "\n")
    folder = train(
        tmp_path, "heart", samples={"prompts": "prompts.jsonl"}, training=3, validation=1,
        method="full", epochs=100, learning_rate=0.02, batch_size=3, evaluation_steps=100,
    )  # fmt: skip
    before, after = events(folder, "sample")
    assert before["expected"] == after["expected"] == "the"
    assert before["answer"] != "the" and before["truncated"]
    assert after["answer"] == "the" and not after["truncated"]


def test_custom_prompts_are_sampled_and_long_ones_skipped(tmp_path: Path) -> None:
    prompts = ["the cat", "x" * 300]
    folder = train(tmp_path, "own", samples={"prompts": prompts, "max_tokens": 3})
    assert {e["index"] for e in events(folder, "sample")} == {0}
    assert {(e["prompt"], e["expected"]) for e in events(folder, "sample")} == {("the cat", None)}
    (left,) = [e for e in events(folder, "finding") if e["code"] == "sample_left_out"]
    assert left["message"].startswith("Prompt 2 of samples.prompts is skipped")


def test_resume_reuses_the_prompts_of_a_deleted_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed attempt uses the first attempt's prompts and does not repeat its samples."""
    monkeypatch.setattr(checkpoint_rotation, "rotate", lambda folder: None)
    file = tmp_path / "ask.txt"
    file.write_text("the cat\n\n  one bird \n")
    folder = train(tmp_path, "file", samples={"prompts": "ask.txt", "max_tokens": 3}, patience=99)
    file.unlink()
    shutil.rmtree(folder.checkpoints / "checkpoint-8")
    folder.trained.unlink()
    folder.result.unlink(missing_ok=True)
    begun = Attempt(number=2, started=0, host="", argv=[], checkpoint="checkpoints/checkpoint-4")
    write_json(folder.attempt(2), begun)
    again(folder)
    result = events(folder, "sample")
    assert [e["prompt"] for e in result[:2]] == ["the cat", "one bird"]
    first, second = ([(e["step"], e["index"], e["answer"]) for e in result if e["attempt"] == n]
                     for n in (1, 2))  # fmt: skip
    assert [step for step, _, _ in first] == [0, 0, 4, 4, 8, 8]
    assert second == first[4:], "the resumed attempt gives the same answers"


def test_missing_or_empty_prompt_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    for name, says in (("no.txt", "No such file"), ("empty.txt", "contains no prompts")):
        with pytest.raises(FtwizardError, match=says):
            train(tmp_path, name.partition(".")[0], samples={"prompts": name})


def test_generation_ends_by_stop_token_length_or_time(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path))
    model.eval()
    encoder = Encoder(model_loading.load_tokenizer(tmp_path / "tiny"), set())
    prompts = [
        encoder.prompt_ids([{"role": "user", "content": text}], None) for text in ("a", "bcd")
    ]
    long = generate.generate_answers(model, encoder, prompts, 12)
    assert [item.ended for item in long] == [False, False]
    short = generate.generate_answers(model, encoder, prompts, 400, seconds=0)
    assert all(len(item.text) <= 1 and not item.ended for item in short)
    alone = [generate.generate_answers(model, encoder, [prompt], 12)[0] for prompt in prompts]
    assert alone == long, "padding changes nothing"
    torch.nn.init.zeros_(model.lm_head.weight)
    encoder.stop_ids.add(0)  # with equal logits, the first token is chosen
    assert [answer.ended for answer in generate.generate_answers(model, encoder, prompts, 12)] == [
        True,
        True,
    ]


def test_failed_samples_do_not_end_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from ftwizard.train import generate

    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(generate, "generate_answers", fail)
    folder = train(tmp_path, "failing")
    assert not events(folder, "sample") and len(events(folder, "log")) == 8
    (result,) = [e for e in events(folder, "finding") if e["code"] == "samples_failed"]
    assert "OutOfMemoryError: no room" in result["message"]


@pytest.mark.parametrize("packing", [False, True])
def test_example_losses_match_the_evaluation_of_one_batch(tmp_path: Path, packing: bool) -> None:
    """With one batch, the loss is the mean over its trained tokens."""
    folder = train(tmp_path, "one", samples={"count": 0}, batch_size=9, packing=packing)
    for measured, result in zip(events(folder, "eval"), events(folder, "rows"), strict=True):
        tokens = sum(row["tokens"] for row in result["rows"])
        mean = sum(row["loss"] * row["tokens"] for row in result["rows"]) / tokens
        assert math.isclose(mean, measured["eval_loss"], abs_tol=1e-4)
        assert measured["step"] == result["step"]
        worst = [row["loss"] for row in result["rows"]]
        assert worst == sorted(worst, reverse=True)
        assert {row["row"] for row in result["rows"]} == set(range(1, 10))
        arguments = rows(9, 500)
        for row in result["rows"]:
            question, answer = arguments[row["row"] - 1]["messages"]
            assert (row["start"], row["answer"]) == (question["content"], answer["content"])
            assert row["tokens"] == len(answer["content"]) + 1, (
                "one token per byte, and an end token"
            )
            assert row["file"] == "validation"


def test_example_losses_match_the_evaluation_of_many_batches(tmp_path: Path) -> None:
    """The trainer's loss is the mean over rows of the means of their batches."""
    folder = train(tmp_path, "many", samples={"count": 0}, batch_size=4)
    for measured, result in zip(events(folder, "eval"), events(folder, "rows"), strict=True):
        by_line = {row["row"]: row for row in result["rows"]}
        total = 0.0
        for start in (1, 5, 9):
            batch = [by_line[n] for n in range(start, min(start + 4, 10))]
            tokens = sum(row["tokens"] for row in batch)
            total += len(batch) * sum(row["loss"] * row["tokens"] for row in batch) / tokens
        assert math.isclose(total / 9, measured["eval_loss"], abs_tol=1e-4)


def test_twenty_distinct_examples_are_reported_even_when_packed(tmp_path: Path) -> None:
    for packing in (False, True):
        folder = train(tmp_path, f"{packing}", samples={"count": 0}, validation=40, batch_size=8,
                       packing=packing)  # fmt: skip
        arguments = rows(40, 500)
        for event in events(folder, "rows"):
            assert len({row["row"] for row in event["rows"]}) == 20
            for row in event["rows"]:
                answer = arguments[row["row"] - 1]["messages"][1]["content"]
                assert row["tokens"] == len(answer) + 1


def test_logs_report_wait_and_padding_shares(tmp_path: Path) -> None:
    folder = train(tmp_path, "padded", samples={"count": 0}, training=48, gradient_accumulation=2)
    packed = train(tmp_path, "packed", samples={"count": 0}, training=48, packing=True)
    for run, padded in ((folder, True), (packed, False)):
        logs = events(run, "log")
        assert all(0 <= e["wait_share"] < 1 and e["tokens_per_s"] > 0 for e in logs)
        assert any(e["padding_share"] > 0 for e in logs) == padded
        assert all("flops_share" not in e for e in logs), "the peak speed of this CPU is unknown"
    shares = [e["padding_share"] for e in events(folder, "log")]
    assert 0 < sum(shares) / len(shares) < 0.6
