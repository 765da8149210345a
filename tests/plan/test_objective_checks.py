"""The training objective of a plan: its settings, and what does not go with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard.plan import changes, checks, plan_file
from ftwizard.plan.schema import Plan, Recipe
from ftwizard.strict_yaml import SettingsError


def load(folder: Path, recipe: str, data: str = "files: {train: rows.jsonl}") -> Plan:
    path = folder / "plan.yaml"
    path.write_text(f"data: {{{data}}}\nmodel: {{name: owner/model}}\nrecipe: {{{recipe}}}\n")
    return plan_file.load(path)


@pytest.mark.parametrize(
    ("recipe", "setting"),
    [
        ("dpo: {beta: 0.2}", "recipe.dpo"),
        ("objective: dpo, kto: {beta: 0.2}", "recipe.kto"),
        ("objective: dpo, packing: true", "recipe.packing"),
        ("objective: dpo, dpo: {beta: 0}", "recipe.dpo.beta"),
        ("objective: dpo, dpo: {loss_type: []}", "recipe.dpo.loss_type"),
        ("objective: dpo, dpo: {loss_type: [sigmoid, sft], loss_weights: [1.0]}", "loss_weights"),
        ("objective: dpo, dpo: {loss_type: robust, label_smoothing: 0.5}", "label_smoothing"),
        ("objective: dpo, dpo: {loss_type: exo_pair}", "recipe.dpo.label_smoothing"),
        ("objective: dpo, dpo: {label_smoothing: 0.1}", "recipe.dpo.label_smoothing"),
        ("objective: kto, batch_size: 1", "recipe.batch_size"),
        ("objective: kto, kto: {desirable_weight: 0}", "recipe.kto.desirable_weight"),
    ],
)
def test_settings_that_cannot_be_trained_with_are_refused(
    tmp_path: Path, recipe: str, setting: str
) -> None:
    with pytest.raises(SettingsError, match=setting) as caught:
        load(tmp_path, recipe)
    assert caught.value.hint


def test_general_conversations_cannot_be_mixed_into_pairs(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"data\.mix\.share"):
        load(tmp_path, "objective: dpo", "files: {train: rows.jsonl}, mix: {share: 0.1}")


@pytest.mark.parametrize(
    ("recipe", "rate", "target"),
    [
        ("objective: sft", 2e-4, "trl-sft"),
        ("objective: dpo", 5e-6, "trl-dpo"),
        ("objective: dpo, method: full", 5e-7, "trl-dpo"),
        ("objective: kto, method: qlora", 5e-6, "trl-kto"),
        ("objective: kto, batch_size: 1, kto: {loss_type: apo_zero_unpaired}", 5e-6, "trl-kto"),
    ],
)
def test_objective_sets_the_learning_rate_and_the_rows(
    tmp_path: Path, recipe: str, rate: float, target: str
) -> None:
    plan = load(tmp_path, recipe)
    assert (plan.recipe.learning_rate, plan.target) == (rate, target)


def test_losses_are_one_or_several(tmp_path: Path) -> None:
    single = load(tmp_path, "objective: dpo, dpo: {loss_type: ipo}")
    assert single.recipe.dpo.loss_type == "ipo"
    both = load(
        tmp_path, "objective: dpo, dpo: {loss_type: [sigmoid, sft], loss_weights: [1, 0.5]}"
    )
    assert both.recipe.dpo.loss_type == ("sigmoid", "sft")
    assert plan_file.parse(plan_file.dump(both)) == both
    assert (
        changes.set_values(both, ["recipe.dpo.loss_type=sigmoid"]).recipe.dpo.loss_type == "sigmoid"
    )


def test_reference_is_asked_first_only_where_it_would_be_a_second_model() -> None:
    assert Recipe(objective="dpo", method="full").asks_reference_first
    assert not Recipe(objective="dpo").asks_reference_first
    assert not Recipe(method="full").asks_reference_first


@pytest.mark.parametrize(
    ("where", "recipe", "problem"),
    [
        ("processes: 2", "objective: dpo", None),
        ("processes: 4", "objective: kto, batch_size: 2", None),
        (
            "processes: 2, parallel: fsdp",
            "objective: dpo",
            ("is fsdp, which does not support recipe.objective dpo", "Set where.parallel to ddp"),
        ),
        # A group of answers may be shared by processes.
        (
            "processes: 4",
            (
                "objective: grpo, batch_size: 2, gradient_accumulation: 1, "
                "grpo: {num_generations: 8, rewards: [{function: exact_answer}]}"
            ),
            None,
        ),
        (
            "processes: 3",
            (
                "objective: grpo, batch_size: 2, gradient_accumulation: 5, "
                "grpo: {num_generations: 8, rewards: [{function: exact_answer}]}"
            ),
            (
                "is 8, but a step has 30 answers (batch_size × gradient_accumulation × 3 processes)",
                "Set recipe.gradient_accumulation to 4",
            ),
        ),
    ],
)
def test_objectives_train_in_several_processes(
    where: str, recipe: str, problem: tuple[str, str] | None
) -> None:
    plan = plan_file.parse(
        f"data: {{files: {{train: rows.jsonl}}}}\nmodel: {{name: owner/model}}\n"
        f"where: {{{where}}}\nrecipe: {{{recipe}}}\n"
    )
    problems = list(checks.find_problems(plan))
    assert len(problems) == (problem is not None)
    for error in problems:
        assert problem and problem[0] in error.message and problem[1] in error.hint


def test_step_of_several_processes_has_the_prompts_of_all() -> None:
    recipe = Recipe(objective="grpo", batch_size=8, gradient_accumulation=2)
    assert recipe.grpo.num_generations == 8
    assert (recipe.count_prompts(), recipe.count_prompts(4)) == (2, 8)
