"""Wizard drafts: answers that are kept, and answers that no longer apply."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.advice.recipe_advice import EarlierRate
from ftwizard.catalog.providers import ProviderId
from ftwizard.data.documents import DataReport
from ftwizard.errors import FtwizardError
from ftwizard.estimate.report import EstimateReport
from ftwizard.hardware.machine import MachineInfo, read_machine_info
from ftwizard.plan import schema
from ftwizard.screens.draft import drafts, setting_values
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.wizard import open_points
from ftwizard.screens.wizard.data import data_check
from tests.helpers.estimates import make_report
from tests.helpers.machines import make_machine
from tests.screens.wizard.data.reports import clean


@pytest.fixture(scope="module")
def here() -> MachineInfo:
    return read_machine_info()


def counted(parameters: int) -> EstimateReport:
    return make_report(parameters=parameters, parts={"train": {"kept": 100}})


def test_rewritten_or_deleted_file_makes_the_draft_stale(tmp_path: Path, here: MachineInfo) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("{}")
    fingerprint = drafts.get_fingerprint(str(file))
    draft = Draft(here).with_check(schema.Files(train=str(file)), clean(file), fingerprint)
    assert not draft.is_stale
    file.write_text("{} ")
    assert draft.is_stale
    file.unlink()
    assert draft.is_stale
    assert drafts.get_fingerprint("nul\0") is None


def test_skip_bad_rows_is_not_carried_to_another_file(
    here: MachineInfo,
) -> None:
    draft = Draft(here).allowing("skip-bad-rows").allowing("no-validation")
    other = draft.with_check(schema.Files(train="/other.jsonl"), None)
    assert other.plan.allow == ("no-validation",)


def test_learning_rate_from_another_model_size_is_warned_about(here: MachineInfo) -> None:
    draft = Draft(here).with_plan(model=schema.Model(name="owner/small"))
    draft = draft.with_recipe(learning_rate=2e-4).with_touched("learning_rate")
    small = draft.with_estimate(counted(135_000_000))
    assert "learning rate" not in open_points.format_open_points(small).plain
    large = small.with_plan(model=schema.Model(name="owner/large"))
    assert large.parameters is None
    assert large.earlier == EarlierRate(rate=2e-4, parameters=135_000_000)
    text = open_points.format_open_points(large.with_estimate(counted(14_000_000_000))).plain
    assert "learning rate 2e-4, advised 1e-4: chosen for a model of another size" in text
    other = large.with_recipe(learning_rate=1e-4).with_estimate(counted(14_000_000_000))
    assert "another size" not in open_points.format_open_points(other).plain


def test_learning_rate_keeps_its_model_size_without_an_estimate(here: MachineInfo) -> None:
    draft = Draft(here).with_plan(model=schema.Model(name="Qwen/Qwen3-0.6B"))
    draft = draft.with_recipe(learning_rate=3e-4).with_touched("learning_rate")
    large = draft.with_plan(model=schema.Model(name="meta-llama/Llama-3.1-70B"))
    assert large.earlier == EarlierRate(rate=3e-4, parameters=596_049_920)
    text = open_points.format_open_points(large.with_estimate(counted(70_553_706_496))).plain
    assert "learning rate 3e-4, advised 1e-4: chosen for a model of another size" in text
    unknown = draft.with_plan(model=schema.Model(name="owner/nowhere"))
    assert unknown.with_plan(model=schema.Model(name="x/y")).earlier == large.earlier


def test_name_of_an_existing_run_or_plan_is_rejected(home: Path) -> None:
    (home / "runs/old").mkdir(parents=True)
    (home / "plans").mkdir()
    (home / "plans/kept.yaml").touch()
    assert "Run old already exists" in drafts.find_name_problem("old")
    assert "A plan kept already exists" in drafts.find_name_problem("kept")
    assert drafts.find_name_problem("kept", saved="kept") == ""
    assert "letters" in drafts.find_name_problem("../x")


def test_printed_command_quotes_the_plan_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTWIZARD_HOME", str(tmp_path / "my home"))
    argv = shlex.split(drafts.format_command("first"))
    plan = str(tmp_path / "my home/plans/first.yaml")
    assert argv == ["ftwizard", "train", plan, "--name", "first"]


def test_unwritable_temporary_folder_raises_an_error_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: MachineInfo
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(FtwizardError) as error, drafts.temporary_plan(Draft(here)):
        pass
    assert "TMPDIR" in error.value.hint


def test_chosen_provider_overrides_the_recommendation(here: MachineInfo) -> None:
    draft = Draft(here).with_recommendation("cloud")
    assert draft.provider == "cloud"
    assert draft.with_provider("local").with_recommendation("openai").provider == "local"


def test_plan_records_why_the_provider_was_chosen(here: MachineInfo) -> None:
    followed = (
        Draft(here).with_recommendation("local", ("The rows stay here.",)).with_provider_reason()
    )
    assert followed.plan.provider_reason == "recommended: The rows stay here."
    chosen = (
        Draft(here)
        .with_recommendation("openai", ("No GPU.",))
        .with_provider("local")
        .with_provider_reason()
    )
    assert chosen.plan.provider_reason == "chosen although openai was recommended"


PATHS: tuple[ProviderId, ...] = ("local", "openai", "cloud")


def take_path(draft: Draft, provider: ProviderId, rows: Path) -> Draft:
    """Choose a provider, have the rows checked for it, and take the advice if it trains here."""
    draft = draft.with_recommendation("local", ("It can start.",), "together")
    draft = draft.with_provider(provider).without_other_conversion()
    longest = {"trl-sft": 90, "openai-sft": 400, "together-sft": 3000}[draft.target or ""]
    if data_check.needs_recheck(draft) or draft.checked is None:
        named = draft.plan.data.files
        draft = draft.with_check(named if named.train else schema.Files(train=str(rows)), None)
        report = count_rows(rows, longest, draft.plan.recipe.max_length)
        draft = draft.with_check(draft.plan.data.files, report)
    if provider != "local" and draft.converted is None:
        converted = schema.Files(train=f"{rows}.{provider}")
        draft = draft.with_conversion(converted.train).with_rows_as_they_are()
        report = count_rows(rows, longest, draft.plan.recipe.max_length)
        draft = draft.with_check(converted, report)
    if provider != "local":
        return draft.with_provider_reason()
    draft = draft.with_plan(model=schema.Model(name="owner/small"))
    return setting_values.apply_advice(draft)[0].with_provider_reason()


def count_rows(rows: Path, longest: int, limit: int) -> DataReport:
    """Return a report whose lengths depend on the tokenizer of a provider."""
    checked = clean(rows)
    assert checked.tokens is not None
    tokens = msgspec.structs.replace(
        checked.tokens, max=longest, p50=longest, p95=longest, p99=longest, mean=longest,
        limit=limit, histogram=[(longest, checked.tokens.rows)],
    )  # fmt: skip
    return msgspec.structs.replace(checked, tokens=tokens)


@given(st.lists(st.sampled_from(PATHS), max_size=4), st.sampled_from(PATHS))
def test_going_back_from_another_path_leaves_nothing_behind(
    visited: list[ProviderId], path: ProviderId
) -> None:
    rows = Path("/data/rows.jsonl")
    direct = take_path(Draft(make_machine(extras=("local",))), path, rows)
    draft = Draft(make_machine(extras=("local",)))
    for other in visited:
        draft = take_path(draft, other, rows)
    assert take_path(draft, path, rows) == (
        direct if "local" not in visited else with_model_of(direct)
    )


def with_model_of(draft: Draft) -> Draft:
    """Return the draft with the model that was chosen on the way."""
    return draft.with_plan(model=schema.Model(name="owner/small"))


def test_consent_to_send_secrets_is_for_these_rows_and_this_platform() -> None:
    openai = Draft(make_machine()).with_provider("openai").with_destination().allowing("secrets")
    files = schema.Files(train="other.jsonl")
    assert "secrets" in openai.with_destination().plan.allow
    assert "secrets" in openai.with_check(openai.plan.data.files, None).plan.allow
    assert "secrets" not in openai.with_check(files, None).plan.allow
    elsewhere = openai.with_provider("cloud").with_platform("together").with_destination()
    assert "secrets" not in elsewhere.plan.allow


def test_a_platform_has_no_step_for_the_estimate() -> None:
    assert Draft(make_machine()).skipped_steps == frozenset()
    assert Draft(make_machine()).with_provider("openai").skipped_steps == {"Estimate"}


def test_a_platform_without_validation_rows_lacks_none() -> None:
    draft = Draft(make_machine()).with_provider("cloud").with_platform("mantle").with_destination()
    assert draft.validates and draft.with_validation("none").validates
    assert not draft.with_platform("bedrock").with_destination().with_validation("none").validates


def test_shares_of_an_opened_plan_are_offered_and_kept(here: MachineInfo) -> None:
    split = schema.Split(validation=0.15, test=0.25, group_by="prompts", seed=7)
    draft = Draft(here).with_data(split=split)
    assert draft.shares[0] == (draft.share, "15%") and draft.shares[1:] == drafts.SHARES
    assert draft.with_validation(draft.share).plan.data.split == split
    changed = draft.with_validation("0.2")
    assert changed.plan.data.split == msgspec.structs.replace(split, validation=0.2)
    assert changed.shares == Draft(here).shares == drafts.SHARES
    own = draft.with_validation(drafts.OWN_FILE)
    assert own.plan.data.split == msgspec.structs.replace(split, validation=None)


def test_settings_without_effect_are_kept_but_not_in_the_plan(here: MachineInfo) -> None:
    recipe = schema.Recipe(
        objective="kto",
        packing=True,
        dropout=0.1,
        dpo=schema.DPO(beta=0.3),
        kto=schema.KTO(beta=0.2),
    )
    where = schema.Where(parallel="ddp")
    draft = Draft(here).with_plan(recipe=recipe, where=where, slurm=schema.Slurm(partition="gpu"))
    final = draft.final_plan
    assert final.recipe == schema.Recipe(objective="kto", kto=schema.KTO(beta=0.2))
    assert final.where == schema.Where() and final.slurm == schema.Slurm()
    # A change of mind brings them back.
    assert draft.with_recipe(objective="dpo").final_plan.recipe.dpo.beta == 0.3
    assert draft.with_recipe(objective="sft").final_plan.recipe.packing
    where = schema.Where(scheduler="slurm", processes=2, parallel="ddp")
    submitted = draft.with_recipe(objective="sft").with_plan(where=where)
    assert submitted.final_plan.slurm.partition == "gpu"
    assert submitted.final_plan.where.parallel == "ddp"
