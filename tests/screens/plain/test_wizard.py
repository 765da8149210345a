"""The plain wizard: question order, going back, allowed risks and the resulting plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ftwizard.cli import edit
from ftwizard.data.mapping.column_map import ColumnMap
from ftwizard.errors import FtwizardError
from ftwizard.plan import plan_file, schema
from ftwizard.plan.checks import check_plan
from ftwizard.screens.draft import STEPS, draft_document, drafts, saved_drafts, setting_values
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.draft.saved_drafts import DraftFile
from ftwizard.screens.plain import after_training, data, provider, wizard
from ftwizard.screens.plain import recipe as recipes
from ftwizard.screens.plain.prompts import (
    BACK,
    CONTINUE,
    FORGET,
    OTHER,
    GoBack,
    Prompter,
    UserQuit,
)
from ftwizard.screens.plain.wizard import WizardQuestion
from tests.helpers.machines import make_machine
from tests.helpers.objective_rows import write_rows
from tests.screens.draft.test_time_limit import make_draft as make_limited_draft
from tests.screens.plain.scripted import Scripted

FACTS = make_machine(extras=("local",))


def checked(tmp_path: Path, *, bad: int = 0) -> tuple[Path, Draft]:
    """Return a data file with ``bad`` bad rows, and the draft after the file was read."""
    file = tmp_path / "rows.jsonl"
    good = {"instruction": "Say \x1b]0;hi\x07", "input": "", "output": "hi"}
    lines = [json.dumps({**good, "input": str(n)}) for n in range(20)]
    file.write_text("\n".join([*lines, *['{"instruction": "Say'] * bad]))
    return file, data.ask_file(Scripted(str(file)), Draft(FACTS))


def test_back_returns_to_the_previous_question_and_keeps_answers() -> None:
    def item(name: str) -> WizardQuestion:
        def ask(asker: Prompter, draft: Draft) -> Draft:
            return draft.named(draft.name + asker.ask_line(name, check=lambda _: ""))

        return WizardQuestion("Provider", ask, name)

    def silent(asker: Prompter, draft: Draft) -> Draft:
        return draft

    ask = Scripted("a", "b", BACK, BACK, "x", "y", "z")
    items = [item("one"), WizardQuestion("Provider", silent), item("two"), item("three")]
    recorded: list[str] = []

    def end(asker: Prompter, draft: Draft) -> Draft:
        recorded.append(draft.name)
        raise UserQuit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wizard, "list_items", lambda _: [*items, WizardQuestion("Provider", end)])
        with pytest.raises(UserQuit):
            wizard._ask_all(ask, Draft(FACTS), [], DraftFile(), STEPS[0])
    assert ask.questions == ["one", "two", "three", "two", "one", "two", "three"]
    assert recorded == ["abxyz"]


def test_enter_keeps_the_earlier_provider_answer() -> None:
    items = wizard.list_items(Draft(FACTS))
    draft = items[0].ask(Scripted("behavior"), Draft(FACTS))
    assert draft.answers == {"fit": "behavior"}
    assert items[0].ask(Scripted(""), draft).answers == {"fit": "behavior"}, "Enter keeps it"


def test_changing_facts_require_confirmation() -> None:
    draft = Draft(FACTS, answers={"fit": "facts"})
    ask = Scripted("")
    provider.confirm_tool(ask, draft)
    assert ask.questions == ["Fine-tune on facts that change?"]
    ask = Scripted()
    provider.confirm_tool(ask, Draft(FACTS, answers={"fit": "behavior"}))
    assert not ask.questions


def test_every_cloud_service_is_one_whose_jobs_start() -> None:
    follows = provider.choose_provider(Scripted(""), Draft(FACTS))
    assert (follows.provider, follows.chosen_provider) == ("local", None)
    for service in ("vertex", "bedrock", "mantle", "foundry", "together"):
        asker = Scripted("cloud", service)
        draft = provider.choose_provider(asker, Draft(FACTS))
        assert (draft.chosen_provider, draft.service, draft.hosted) == ("cloud", service, service)
        assert asker.questions == ["Which provider?", "Which cloud service?"]
    on_aws = provider.choose_provider(
        Scripted("cloud", ""), Draft(FACTS).with_answers({"cloud": "aws"})
    )
    assert on_aws.hosted == "bedrock" and on_aws.with_destination().plan.provider == "bedrock"


def test_questions_about_other_providers_are_asked_on_request() -> None:
    asker = Scripted("\0questions", "own-cloud", "yes", "small", BACK, "")
    draft = provider.choose_provider(asker, Draft(FACTS))
    assert draft.answers == {"data": "own-cloud", "weights": "yes", "size": "small"}
    assert draft.provider == "local"
    assumed = Scripted("\0questions", "", "", "", "", "", "", "")
    assert provider.choose_provider(assumed, Draft(FACTS)).answers == {}


def test_file_prompt_repeats_until_the_file_is_usable(tmp_path: Path) -> None:
    nothing = tmp_path / "none.jsonl"
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"")
    file, _ = checked(tmp_path)
    ask = Scripted(
        OTHER, "", str(tmp_path), str(nothing), str(empty), "a\x1b[2Jb", "x" * 5000, str(file)
    )
    draft = data.ask_file(ask, Draft(FACTS))
    assert draft.plan.data.files.train == str(file)
    assert draft.checked and draft.checked.usable == 20
    assert [refused.partition(" /")[0] for refused in ask.refused] == [
        "Enter a file name.",
        "That is a folder. Name a file in it.",
        f"{nothing} does not exist.",
        "“a␛[2Jb” contains control characters.",
        "That is too long.",
    ]


def test_bad_rows_are_skipped_only_after_confirmation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, draft = checked(tmp_path, bad=2)
    shown = " ".join(capsys.readouterr().out.split())
    assert "at lines 21, 22." in shown and "(f)" not in shown
    assert "with: ftwizard check " in shown and "--fix NEW.jsonl --redact" in shown
    assert data.confirm_doubts(Scripted(""), draft).plan.allow == ("skip-bad-rows",)
    with pytest.raises(GoBack) as back:
        data.confirm_doubts(Scripted(OTHER), draft)
    assert back.value.to == "file"


def test_requested_row_is_shown_with_controls_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, draft = checked(tmp_path)
    capsys.readouterr()
    data.inspect_rows(Scripted("row:2", ""), draft)
    shown = capsys.readouterr().out
    assert "assistant\nhi" in shown and "␛]0;hi␇" in shown
    assert "\x1b" not in shown and "\x07" not in shown


def test_no_validation_requires_typing_the_phrase(tmp_path: Path) -> None:
    _, draft = checked(tmp_path)
    ask = Scripted("none", "yes", "No Validation")
    without = data.ask_validation(ask, draft)
    assert without.plan.validation_share == 0 and without.plan.allow == ("no-validation",)
    assert ask.refused == ["Type “no validation”, or go back."]
    again = data.ask_validation(Scripted("0.2"), without)
    assert again.plan.validation_share == 0.2 and not again.plan.allow
    back = data.ask_validation(Scripted("none", BACK, ""), draft)
    assert back.plan.validation_share == 0.1 and not back.plan.allow


def test_recipe_questions_suggest_the_advised_values(tmp_path: Path) -> None:
    _, draft = checked(tmp_path)
    draft = recipes.ask_model(Scripted(OTHER, "", "owner/mine"), draft)
    assert draft.plan.model.name == "owner/mine"
    assert recipes.ask_model(Scripted(""), draft) == draft, "Enter keeps it"
    ask = Scripted(
        "", "", "2", "", "1e-3", "many", "8", "", "", "rank", "0", "32", "", "finish", "merge", ""
    )
    for question in (*recipes.list_questions(), after_training.ask):
        draft = question(ask, draft)
    recipe = draft.plan.recipe
    assert (recipe.epochs, recipe.learning_rate, recipe.batch_size) == (2.0, 2e-4, 8)
    assert recipe.rank == 32 and "rank" in draft.touched and "learning_rate" not in draft.touched
    assert draft.plan.finish.merge and not draft.plan.finish.compare
    assert any("is not a whole number" in item for item in ask.refused)
    assert "recipe.rank is 0. It must be at least 1." in ask.refused


def test_sample_prompts_must_come_from_an_existing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "asked.txt").write_text("May I send it back?\n")
    draft = Draft(FACTS).with_check(schema.Files(train="/x/rows.jsonl"), None)
    draft = draft.with_plan(model=schema.Model(name="owner/m"))
    ask = Scripted("prompts", "none.txt", "asked.txt", "count", "30", "5", "")
    chosen = recipes.ask_advanced(ask, draft)
    assert chosen.plan.samples == schema.Samples(prompts=str(tmp_path / "asked.txt"), count=5)
    assert {"prompts", "count"} <= chosen.touched
    assert ask.refused[0].startswith("Sample prompts: none.txt does not exist.")
    assert ask.refused[1].startswith("samples.count is 30. It must be 0 to 20")
    again = recipes.ask_advanced(Scripted("prompts", "validation rows", "count", "0", ""), chosen)
    assert again.plan.samples == schema.Samples(count=0)
    assert plan_file.parse(plan_file.dump(chosen.plan, defaults=False)) == chosen.plan


def test_plan_without_defaults_parses_to_the_same_plan() -> None:
    draft = (
        Draft(FACTS).with_check(schema.Files(train="/x/rows.jsonl"), None).with_validation("0.2")
    )
    draft = draft.with_plan(model=schema.Model(name="owner/m")).with_recipe(epochs=2.0)
    draft = setting_values.with_value(draft, setting_values.AFTER, "merge")
    text = plan_file.dump(draft.plan, defaults=False)
    assert plan_file.parse(text) == draft.plan
    assert len(text.splitlines()) == 11, text


def test_confirmation_repeats_what_still_stands(capsys: pytest.CaptureFixture[str]) -> None:
    draft = Draft(FACTS).with_plan(model=schema.Model(name="owner/m")).named("first")
    draft = draft.with_recipe(epochs=8.0).with_validation("none").with_touched("epochs")
    with pytest.raises(UserQuit):
        wizard._confirm(Scripted("leave"), draft)
    shown = capsys.readouterr().out
    assert "! Data      no validation data: overfitting goes unnoticed" in shown
    assert "! Recipe    epochs 8, advised 3: usually leads to memorization" in shown


def test_run_name_must_be_free_and_valid(home: Path) -> None:
    (home / "runs" / "taken").mkdir(parents=True)
    assert "already" in drafts.find_name_problem("taken")
    assert "letters" in drafts.find_name_problem("../x")
    assert drafts.find_name_problem("free") == ""


def test_suggested_name_taken_meanwhile_gets_a_number(home: Path) -> None:
    draft = Draft(FACTS).with_check(schema.Files(train="/x/rows.jsonl"), None)
    suggested = drafts.suggest_run_name(draft)
    (home / "runs" / suggested).mkdir(parents=True)

    settled = drafts.settle_run_name(draft, suggested, suggested)
    assert settled.startswith("rows-") and settled != suggested
    assert drafts.find_name_problem(settled) == ""
    (home / "runs" / "typed").mkdir()
    assert drafts.settle_run_name(draft, "typed", suggested) == "typed", "the problem is shown"


def test_plan_of_another_wizard_is_not_overwritten(home: Path) -> None:
    draft = Draft(FACTS).with_check(schema.Files(train="/x/rows.jsonl"), None).named("mine")
    file = Path(drafts.save(draft))
    before = file.read_bytes()
    with pytest.raises(FtwizardError, match="A plan mine already exists"):
        drafts.save(draft.with_recipe(epochs=2.0))
    assert file.read_bytes() == before
    drafts.save(replace(draft, saved="mine").with_recipe(epochs=2.0))
    assert file.read_bytes() != before


def test_rows_are_repaired_and_converted_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, draft = checked(tmp_path, bad=1)
    capsys.readouterr()
    ask = Scripted(
        OTHER, "repair", "", "", OTHER, "lengths", OTHER, "convert", "openai-sft", "", OTHER
    )
    with pytest.raises(UserQuit):
        data.inspect_rows(ask, draft)
    shown = capsys.readouterr().out
    assert "✓ 20 of 21 rows written to rows.fixed.jsonl" in shown
    assert "✗ 1 row skipped" in shown and "! 20 rows: removed control characters" in shown
    assert "20 rows, Alpaca" in shown and "≤" in shown
    assert "✓ 20 of 20 rows written to rows.fixed.openai-sft.jsonl" in shown
    assert [Path(name).name for name in ask.written_files] == [
        "rows.fixed.jsonl", "rows.fixed.openai-sft.jsonl",
    ]  # fmt: skip
    left = wizard._describe_leftovers([], ask.written_files, is_kept=True)
    assert "New files: " in left and "offers to continue" in left
    assert wizard._describe_leftovers([], [], is_kept=False) == wizard.NOTHING


def test_validation_file_is_read_before_it_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, draft = checked(tmp_path)
    ask = Scripted(OTHER, "split", "", "", "")
    draft = data.inspect_rows(ask, draft)
    assert draft.plan.data.files.validation == str(tmp_path / "rows.validation.jsonl")
    assert draft.checked and draft.checked.validation and draft.checked.validation.rows >= 1
    assert "validation  " in capsys.readouterr().out
    kept = data.ask_validation(Scripted("", ""), draft)
    assert kept.validates and not kept.plan.allow and kept.checked == draft.checked
    share = data.ask_validation(Scripted("0.2"), kept)
    assert share.plan.data.files.validation is None and share.plan.validation_share == 0.2
    own = data.ask_validation(Scripted("file", "rows.validation.jsonl"), share)
    assert own.plan.data.files.validation == str(tmp_path / "rows.validation.jsonl")
    check_plan(own.with_plan(model=schema.Model(name="owner/m")).plan)


def test_requested_finding_shows_its_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, draft = checked(tmp_path, bad=1)
    capsys.readouterr()
    data.inspect_rows(Scripted("train:error:invalid_json", ""), draft)
    shown = capsys.readouterr().out
    assert "row 21" in shown and '{"instruction": "Say' in shown


def _interrupt(file: Path) -> None:
    """Leave a wizard at the recipe."""
    saved = DraftFile()
    draft = Draft(FACTS).with_check(schema.Files(train=str(file)), None).with_recipe(epochs=2.0)
    saved.save(str(file), STEPS.index("Recipe"), draft_document.encode(draft))
    saved.release()


def test_interrupted_draft_is_offered_and_continues_with_its_rows(tmp_path: Path) -> None:
    file, _ = checked(tmp_path)
    _interrupt(file)
    ask = Scripted("")
    draft, step, _ = wizard._choose_draft(ask, Draft(FACTS))
    assert ask.questions == ["Continue?"]
    assert STEPS[step] == "Recipe" and draft.plan.recipe.epochs == 2.0
    assert draft.checked and draft.checked.usable == 20


def test_only_answers_on_the_named_data_are_offered(tmp_path: Path) -> None:
    file, _ = checked(tmp_path)
    _interrupt(file)
    ask, new = Scripted("", FORGET), Draft(FACTS)
    assert STEPS[wizard._choose_draft(ask, new, [str(tmp_path / "other.jsonl")])[1]] == "Data"
    assert not ask.questions
    assert STEPS[wizard._choose_draft(ask, new, [str(file)])[1]] == "Recipe"
    draft, step, _ = wizard._choose_draft(ask, new, [str(file)])
    assert draft is new and STEPS[step] == "Data", "begun anew"


def test_declined_draft_is_forgotten_on_request(tmp_path: Path) -> None:
    file, _ = checked(tmp_path)
    _interrupt(file)
    draft, step, _ = wizard._choose_draft(Scripted(FORGET), Draft(FACTS))
    assert (draft, step) == (Draft(FACTS), 0)
    ask = Scripted()
    wizard._choose_draft(ask, Draft(FACTS))
    assert not ask.questions


def test_started_run_leaves_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(asker: Prompter, draft: Draft) -> Draft:
        return draft.named(asker.ask_line("Name", check=lambda _: "")).with_provider("openai")

    monkeypatch.setattr(wizard, "list_items", lambda _: [WizardQuestion("Provider", ask)])
    file, errors = DraftFile(), [FtwizardError("no")]

    def start(*_: object) -> str:
        file.release()
        assert len(saved_drafts.list_drafts().drafts) == 1, "kept until the run is started"
        if errors:
            raise errors.pop()
        return "run"

    monkeypatch.setattr(wizard, "_start", start)
    assert wizard._ask_all(Scripted("a", "b"), Draft(FACTS), [], file, STEPS[0]) == "run"
    assert not saved_drafts.list_drafts().drafts


def test_recent_file_is_offered_or_forgotten(tmp_path: Path) -> None:
    file, _ = checked(tmp_path)
    ask = Scripted("")
    assert data.ask_file(ask, Draft(FACTS)).plan.data.files.train == str(file)
    assert ask.questions == ["Which data?"]
    ask = Scripted(FORGET, str(file))
    data.ask_file(ask, Draft(FACTS))
    assert ask.questions == ["Which data?", "Data file"]


def test_row_is_edited_in_the_editor_until_it_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, draft = checked(tmp_path)
    texts = ["{", '{"instruction": "new", "input": "", "output": "hi"}']

    def run_editor(argv: list[str], name: str) -> None:
        Path(name).write_text(texts.pop(0))

    monkeypatch.setenv("EDITOR", "editor")
    monkeypatch.setattr(edit, "run_editor", run_editor)
    ask = Scripted(OTHER, "edit", "3", "", str(tmp_path / "new.jsonl"), "")
    changed = data.inspect_rows(ask, draft)
    assert changed.plan.data.files.train == str(tmp_path / "new.jsonl")
    assert changed.checked and changed.checked.usable == 20
    assert "instruction changed" in capsys.readouterr().out
    assert '"new"' in (tmp_path / "new.jsonl").read_text().splitlines()[2]
    assert '"new"' not in file.read_text()


def test_columns_are_asked_where_no_format_fits(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = ({"question_text": f"Where is {n}?", "gold_reply": f"At {n}."} for n in range(12))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ask = Scripted(str(file), "again", "", "typed", "{question_text} Tell me.", "", "", "", "")
    draft = data.ask_file(ask, Draft(FACTS))
    assert draft.plan.data.columns == ColumnMap(
        prompt="{question_text} Tell me.", completion="gold_reply"
    )
    assert draft.checked and draft.checked.usable == 12
    assert ask.questions[1] == "Is the row right?"


def test_answer_column_is_asked_where_a_table_has_none_of_that_name(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(
        "prompt,answr\n"
        + "".join(f"Where is {n}?,It is at the shelf number {n}.\n" for n in range(12))
    )
    ask = Scripted(str(file), "", "")
    draft = data.ask_file(ask, Draft(FACTS))
    assert draft.plan.data.columns == ColumnMap(prompt="prompt", completion="answr")


def test_encoding_is_asked_where_the_file_is_not_utf_8(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    lines = (f'{{"prompt": "Où est {n}?", "completion": "Là-bas, à côté."}}\n' for n in range(12))
    file.write_bytes("".join(lines).encode("cp1252"))
    draft = data.ask_file(Scripted(str(file), ""), Draft(FACTS))
    assert draft.plan.data.encoding == "windows-1252"
    assert draft.checked and draft.checked.usable == 12
    assert "Là-bas" in capsys.readouterr().out


def test_quick_look_is_asked_for_and_undone(capsys: pytest.CaptureFixture[str]) -> None:
    draft = make_limited_draft()
    prompter = Scripted("2", "60", "use")
    limited = wizard.switch_limit(prompter, draft)
    assert "take" in prompter.refused[0] and prompter.questions == [
        "Minutes",
        "Use these settings?",
    ]
    assert limited.plan.budget.minutes == 60 and limited.limit
    shown = capsys.readouterr().out
    assert "of 1,436 rows, drawn" in shown and "Expect a worse model" in shown
    assert wizard.switch_limit(Scripted(), limited).plan == draft.plan
    assert wizard.switch_limit(Scripted("60", "keep"), draft) == draft


def ask_recipe(draft: Draft, *answers: str) -> tuple[Draft, Scripted]:
    """Ask the questions about the recipe up to the advanced settings."""
    ask = Scripted(*answers)
    for question in recipes.list_questions():
        draft = question(ask, draft)
    return draft, ask


def read_rows(tmp_path: Path, kind: str, *answers: str) -> Draft:
    """Read a file of rows of a kind, as ``ftwizard FILE --plain`` does."""
    draft = Draft(FACTS).with_plan(model=schema.Model(name="owner/m"))
    named = draft.with_data(files=schema.Files(train=str(write_rows(tmp_path, kind))))
    return data.ask_file(Scripted(*answers), named)


def test_rows_choose_the_objective_and_its_questions(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = read_rows(tmp_path, "pairs")
    assert draft.plan.recipe.objective == "dpo" and draft.checked_for == "trl-dpo"
    shown = " ".join(capsys.readouterr().out.split())
    assert "objective DPO: the rows are pairs of a chosen and a rejected answer" in shown
    draft, ask = ask_recipe(draft, *[""] * 7, "0.3", "sigmoid, sftt", "sigmoid, sft", "", "")
    assert ask.questions[:1] == ["Objective"] and ask.questions[-3:-1] == ["Beta", "Loss"]
    assert "Weight of good answers" not in ask.questions
    assert ask.refused == ["Loss: “sftt” is not one of its values. Did you mean sft?"]
    plan = draft.final_plan
    assert plan.recipe.dpo == schema.DPO(beta=0.3, loss_type=("sigmoid", "sft"))
    assert (plan.recipe.epochs, plan.recipe.learning_rate) == (1.0, 5e-6)
    assert {"dpo.beta", "dpo.loss_type"} <= draft.touched
    assert plan_file.parse(plan_file.dump(plan, defaults=False)) == plan


def test_objective_of_other_rows_is_refused_with_the_one_that_fits(
    tmp_path: Path, home: Path
) -> None:
    draft = read_rows(tmp_path, "pairs")
    draft, ask = ask_recipe(draft, "kto", CONTINUE, *[""] * 9)
    assert ask.questions[:2] == ["Objective", "What now?"]
    assert draft.plan.recipe.objective == "dpo" and "objective" not in draft.touched


@pytest.mark.slow
def test_rewards_are_tried_and_named_again(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rewards.py").write_text("def mine(completions, **_):\n    raise OSError('gone')\n")
    draft = read_rows(tmp_path, "bare")
    assert draft.plan.recipe.objective == "grpo"
    answers = ["", "", "length_limt", f"{tmp_path}/rewards.py:mine", *[""] * 10, "", OTHER]
    draft, ask = ask_recipe(draft, *answers, "length_limit=50", "")
    assert ask.refused[0].startswith("Rewards: name what scores an answer")
    assert "Did you mean length_limit?" in ask.refused[1]
    shown = " ".join(capsys.readouterr().out.split())
    assert "raised OSError: gone" in shown and "It runs the code of your file" in shown
    assert "length_limit 1" in shown
    assert [reward.name for reward in draft.final_plan.recipe.grpo.rewards] == ["length_limit"]
    check_plan(draft.final_plan)
