"""Text of an estimate, by training objective."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
import pytest

from ftwizard.estimate import training_machine
from ftwizard.estimate.longest_rows import LongestRows
from ftwizard.estimate.memory import estimate_each
from ftwizard.estimate.memory_savings import changed_settings, describe_changes, search
from ftwizard.estimate.report_text import Hints, format_report
from ftwizard.estimate.training_machine import TrainingMachine
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.objectives import ObjectiveName
from ftwizard.plan.schema import DPO, GRPO, Recipe
from tests.helpers.estimates import make_report
from tests.helpers.shapes import decoder

PARTS = {"train": {"rows": 40, "kept": 40, "tokens": 4000, "trained": 900, "longest": 130}}
MACHINE = TrainingMachine(cores=2)


def write(recipe: Recipe, **fields: Any) -> str:
    """Return the text of an estimate on one line."""
    document = {"parts": PARTS, "tokens": 4000, "recipe": msgspec.to_builtins(recipe)} | fields
    lines = format_report(make_report(**document), Hints(price="", probe=""))
    return " ".join(" ".join(f"{line.name} {line.text}" for line in lines).split())


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(), "recipe LoRA, rank 16; 4 rows per step, max length 1,024"),
        (Recipe(max_steps=12), "max length 1,024 tokens; 3 epochs, at most 12 steps"),
        (Recipe(packing=True), "recipe LoRA, rank 16; 4 packed sequences per step"),
        (
            Recipe(objective="dpo"),
            "recipe DPO (sigmoid, beta 0.1), LoRA, rank 16; 4 pairs per step",
        ),
        (
            Recipe(objective="dpo", method="full", dpo=DPO(loss_type=("sigmoid", "sft"))),
            "recipe DPO (sigmoid + sft, beta 0.1), full fine-tuning; 4 pairs per step",
        ),
        (Recipe(objective="kto"), "recipe KTO (kto, beta 0.1), LoRA, rank 16; 4 rows per step"),
        (
            Recipe(objective="grpo", gradient_accumulation=2),
            "recipe GRPO, LoRA, rank 16; 4 answers × 2 passes per step, prompts of up to 1,024",
        ),
    ],
)
def test_recipe_names_the_objective_and_counts_what_it_learns_from(
    recipe: Recipe, words: str
) -> None:
    assert words in write(recipe)


def test_reinforcement_trains_on_answers_that_no_row_has() -> None:
    recipe = Recipe(objective="grpo", grpo=GRPO(max_completion_length=256))
    words = write(recipe)
    assert "prompts tokens longest training 40 4,000 130" in words
    assert "4,000 of prompts; each gets 8 answers of up to 256 tokens" in words
    assert "trained on 900" not in words and "processed" not in words
    assert "rows tokens trained on longest training 40 4,000 900 130" in write(Recipe())


def test_rows_that_are_left_out_are_named() -> None:
    part = PARTS["train"] | {"equal_pairs": [3, 9], "too_long": [4]}
    words = write(Recipe(objective="dpo"), parts={"train": part})
    assert "! 2 pairs (training) with two equal answers, left out: line 3, 9" in words
    assert "! 1 prompt (training) longer than 1,024 tokens, left out: line 4" in words


def test_fewer_rows_per_pass_are_named_only_if_longer_rows_fit_with_them() -> None:
    two = LongestRows(batch_size=2, unit="pair", fits=512, may_fit=512, limit=8192)
    single = LongestRows(batch_size=1, unit="pair", fits=8192, may_fit=8192, limit=8192)
    all_fit = msgspec.structs.replace(two, fits=8192, may_fit=8192)
    assert write(Recipe(), longest_rows=[two, single]).count("(1 pair per pass)") == 1
    words = write(Recipe(), longest_rows=[all_fit, single])
    assert "8,192 tokens fit, all that the model was made for (2 pairs per pass)" in words
    assert "1 pair" not in words


def resolve(objective: ObjectiveName) -> TrainingSetup:
    return training_machine.resolve_setup(Recipe(objective=objective, max_length=512), MACHINE)


def test_smaller_batches_of_pairs_keep_their_pairs() -> None:
    setup = resolve("dpo")
    assert (setup.batch_size, setup.rows, setup.row_unit) == (8, 4, "pair")
    smaller = msgspec.structs.replace(setup, batch_size=4, accumulation=2)
    assert changed_settings(setup, smaller) == {"batch_size": 2, "gradient_accumulation": 2}
    description, _ = describe_changes(setup, smaller, None)
    assert description == "2 pairs per pass instead of 4, 2 passes per step"


def test_shorter_answers_are_the_shorter_length_of_reinforcement() -> None:
    setup = resolve("grpo")
    assert (setup.length, setup.row_length, setup.row_unit) == (1024, 512, "answer")
    shorter = msgspec.structs.replace(setup, length=768, answer_length=256)
    assert changed_settings(setup, shorter) == {"grpo.max_completion_length": 256}
    assert describe_changes(setup, shorter, None)[0] == (
        "answers of up to 256 tokens instead of 512"
    )

    shape = decoder(
        layers=16, hidden=2048, intermediate=8192, heads=16, kv_heads=8, vocabulary=128_256
    )
    estimate = functools.partial(estimate_each, shape)
    enough = estimate(shorter).peak.highest
    for cheaper, _ in search(setup, estimate, lambda memory: memory.peak.highest <= enough):
        assert cheaper.row_length == 512, "prompts are never cut for it"


def list_names(**fields: Any) -> list[str]:
    """Return the names of the lines of an estimate, in order."""
    document = {"parts": PARTS, "tokens": 4000, "recipe": msgspec.to_builtins(Recipe())} | fields
    lines = format_report(make_report(**document), Hints(price="", probe=""))
    return [line.name for line in lines if line.name]


def test_fit_time_and_cost_come_before_the_details() -> None:
    warning = {"code": "rate-too-high", "message": "far above the usual"}
    names = list_names(warnings=[warning])
    assert names[:4] == ["model", "memory", "time", "cost"]
    assert names.index("!") < names.index("training") < names.index("recipe")
    assert names.index("parameters") > names.index("recipe")


@pytest.mark.parametrize("objective", ["sft", "dpo", "kto"])
def test_gradients_count_at_the_loss_only_if_earlier_passes_left_them(
    objective: ObjectiveName,
) -> None:
    shape = decoder(layers=2, hidden=64, intermediate=128, heads=4, kv_heads=2, vocabulary=50_000)
    setup = msgspec.structs.replace(resolve(objective), accumulation=1)
    single = estimate_each(shape, setup)
    accumulating = estimate_each(shape, msgspec.structs.replace(setup, accumulation=2))
    assert single.moment == accumulating.moment == "loss"
    assert single.parts["gradients"].value == 0
    assert accumulating.parts["gradients"].value == accumulating.parts["adapter"].value > 0
    assert "No gradients then" in write(Recipe(), memory=msgspec.to_builtins(single))
    assert "No gradients" not in write(Recipe(), memory=msgspec.to_builtins(accumulating))
