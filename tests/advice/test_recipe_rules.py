"""Settings of the wizard: their keys, and the other settings that they depend on."""

from __future__ import annotations

import operator
from typing import Any

import msgspec
import pytest

from ftwizard.advice import recipe_rules
from ftwizard.advice.recipe_rules import Setting
from ftwizard.plan import schema
from ftwizard.plan.changes import list_settings, replace_setting

PLAN = schema.Plan(
    data=schema.Data(files=schema.Files(train="rows.jsonl")), model=schema.Model(name="m")
)


def make_setting(part: str, name: str, **fields: Any) -> Setting:
    texts = {"label": "A label", "reason": "A reason.", "source": "a source", "as_of": "2026-11"}
    return msgspec.convert({"part": part, "name": name, **texts, **fields}, Setting)


@pytest.mark.parametrize(
    ("part", "name", "key"),
    [
        ("recipe", "epochs", "epochs"),
        ("samples", "count", "count"),
        ("together.wandb", "project", "project"),
        ("recipe.dpo", "beta", "dpo.beta"),
        ("recipe.kto", "beta", "kto.beta"),
        ("where", "processes", "where.processes"),
        ("slurm", "memory", "slurm.memory"),
    ],
)
def test_key_has_the_part_where_names_would_clash(part: str, name: str, key: str) -> None:
    assert make_setting(part, name).key == key


def test_every_setting_has_a_key_and_needs_of_its_own() -> None:
    settings = recipe_rules.settings()
    assert len({setting.key for setting in settings}) == len(settings)
    names = list_settings(PLAN)
    for setting in settings:
        assert recipe_rules.setting(setting.key) is setting
        assert setting.path in names and setting.needs.keys() <= names.keys()


def test_setting_applies_while_all_that_it_needs_is_set() -> None:
    setting = make_setting(
        "slurm", "gpu_type",
        needs={"where.scheduler": ("slurm",), "slurm.gpus": (1, 2)},
    )  # fmt: skip
    plan = PLAN
    assert not setting.applies(plan)
    plan = replace_setting(plan, "where.scheduler", "slurm")
    assert setting.applies(plan)
    assert not setting.applies(replace_setting(plan, "slurm.gpus", 0))


@pytest.mark.parametrize("name", ["recipe.dpo.beta", "recipe.rank", "slurm.nodes"])
def test_one_setting_is_replaced_and_no_other(name: str) -> None:
    changed = replace_setting(PLAN, name, 7)
    assert operator.attrgetter(name)(changed) == 7
    before, after = list_settings(PLAN), list_settings(changed)
    assert {key for key in before if before[key] != after[key]} == {name}
    assert isinstance(changed, schema.Plan)
