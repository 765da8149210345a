"""The page on what follows the training: sets, gate and exports; its plan, and its plain twin."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.pilot import Pilot
from textual.widgets import Input

from ftwizard.data.documents import RowPreview
from ftwizard.data.example import Example
from ftwizard.hardware import machine
from ftwizard.hardware.machine import Gpu
from ftwizard.plan import plan_file, schema
from ftwizard.plan.export_forms import QUANTIZATIONS
from ftwizard.rewards.recognized_answers import RowScorer
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.draft import after_training, first_draft, setting_values
from ftwizard.screens.draft.drafts import Draft, PageOutcome
from ftwizard.screens.plain import after_training as plain
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.wizard.after_training import AfterTrainingPage
from ftwizard.screens.wizard.review import ReviewPage
from tests.helpers.machines import make_machine
from tests.screens.frames import assert_frame, drive, frame, until, wait_for_text
from tests.screens.plain.scripted import Scripted
from tests.screens.wizard.data.reports import report

MODEL = "Qwen/Qwen3-0.6B"
Play = Callable[[Pilot[Any], AfterTrainingPage], Any]
GOOD: list[dict[str, Any]] = [
    {"prompt": "What is 2+2?", "expected": 4},
    {"prompt": "Capital of France?", "expected": "Paris"},
]
BAD = [
    {"prompt": "What is 2+2?"},
    {"prompt": "Where?", "expected": "Paris", "scorer": "normalised"},
    {"prompt": "Who?", "pattern": "("},
    {"prompt": "Fine?", "expected": "yes"},
]


def write_set(file: Path, items: list[dict[str, Any]]) -> Path:
    file.write_text("\n".join(map(json.dumps, items)))
    return file


def make_draft(*extras: Any) -> Draft:
    draft = Draft(make_machine(extras=extras or ("local",)))
    draft = draft.with_plan(model=schema.Model(name=MODEL))
    return draft.with_check(schema.Files(train="/data/rows.jsonl"), report("x"))


def on_page(
    play: Play, draft: Draft | None = None, size: tuple[int, int] = (80, 24)
) -> tuple[str, list[PageOutcome | None]]:
    """Show the page alone, play, and return the last frame and the results."""
    left: list[PageOutcome | None] = []

    async def whole(pilot: Pilot[Any]) -> None:
        page = AfterTrainingPage(draft or make_draft())
        pilot.app.push_screen(page, left.append)
        await until(pilot, lambda: pilot.app.screen is page and page.is_mounted)
        await pilot.pause()
        await play(pilot, page)

    return drive(FtwizardApp(), size, whole), left


async def do_nothing(pilot: Pilot[Any], page: AfterTrainingPage) -> None:
    await wait_for_text(pilot, "→ test rows")


@pytest.mark.parametrize("size", [(80, 24), (60, 16)])
def test_first_look(size: tuple[int, int]) -> None:
    shown, _ = on_page(do_nothing, size=size)
    assert_frame(f"after-training-{size[0]}x{size[1]}", shown)


@pytest.mark.parametrize("size", [(80, 24), (60, 16)])
def test_export_names_disk_rehearsal_and_missing_packages(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "is_installed", lambda name: name == "pip")

    async def play(pilot: Pilot[Any], page: AfterTrainingPage) -> None:
        choice = page.query_one("#setting-gguf Choice", Choice)
        choice.focus()
        await pilot.press("right", "right")
        await wait_for_text(pilot, "ftwizard[export]")

    shown, _ = on_page(play, size=size)
    assert_frame(f"after-training-export-{size[0]}x{size[1]}", shown)


def test_enter_passes_at_once_and_changes_nothing() -> None:
    async def play(pilot: Pilot[Any], page: AfterTrainingPage) -> None:
        await pilot.press("enter")
        await until(pilot, lambda: not page.is_attached)

    draft = make_draft()
    _, (step,) = on_page(play, draft)
    assert step == PageOutcome(draft, 1)


def test_installed_extra_is_not_asked_for() -> None:
    gguf = after_training.get_setting("gguf")
    for extras, is_missing in ((("local",), True), (("local", "export"), False)):
        draft = setting_values.with_value(make_draft(*extras), gguf, "gguf:q4_k_m")
        assert bool(after_training.find_missing_extra(draft)) is is_missing
    vllm = setting_values.with_value(make_draft(), after_training.get_setting("vllm"), "vllm")
    assert not after_training.find_missing_extra(vllm), "nothing is converted"


def test_power_line_is_of_the_actual_sets_and_the_gate() -> None:
    draft = make_draft()
    text = after_training.format_powers(draft, {}).plain
    assert "general: 113 items can show a loss of 10 points; for 5 points: about 390" in text, (
        "on a CPU"
    )
    draft = draft.with_plan(evaluate=schema.Evaluate(max_items=400, safety=False))
    draft = draft.with_plan(gate=schema.Gate(max_general_loss=0.2))
    text = after_training.format_powers(draft, {}).plain
    assert "general: 113 items can show a loss of 10 points" in text
    assert "; for" not in text.split("general:")[1] and "safety" not in text


def test_answers_are_counted_as_they_are_asked() -> None:
    """On a CPU, the prompted model answers no packaged set; without examples, there is none."""
    draft = make_draft()
    assert "· at most 818 answers" in after_training.describe_sets(draft, {})
    bare = draft.with_plan(evaluate=schema.Evaluate(shots=0))
    assert "· at most 698 answers" in after_training.describe_sets(bare, {})
    gpu = replace(draft, machine=make_machine(Gpu(name="GPU", memory=24 * 10**9)))
    assert "· at most 1,224 answers" in after_training.describe_sets(gpu, {})


def test_choices_are_in_the_plan_and_back_keeps_them() -> None:
    async def play(pilot: Pilot[Any], page: AfterTrainingPage) -> None:
        page.query_one("#setting-gain Input", Input).value = "7.1"
        page.query_one("#setting-general Choice", Choice).value = "False"
        page.query_one("#setting-requires_headroom Choice", Choice).value = "True"
        page.query_one("#setting-finish Choice", Choice).value = "both"
        page.query_one("#setting-ollama Choice", Choice).value = "ollama:q4_k_m"
        page.query_one("#setting-vllm Choice", Choice).value = "vllm"
        page.query_one("#setting-system Input", Input).value = "Be brief."
        await pilot.press("escape")
        await until(pilot, lambda: not page.is_attached)

    _, (step,) = on_page(play)
    assert step is not None and step.direction == -1
    plan = step.draft.plan
    assert plan.gate == schema.Gate(gain=0.071)
    assert plan.evaluate == schema.Evaluate(
        general=False, requires_headroom=True, system="Be brief."
    )
    assert plan.finish.export == ("ollama:q4_k_m", "vllm")
    assert plan_file.parse(plan_file.dump(plan)) == plan
    shown, _ = on_page(do_nothing, step.draft)
    assert "7.1" in shown and "yours" in shown and "( ) yes   (•) no" in shown


@pytest.mark.parametrize(
    ("name", "typed", "message"),
    [
        ("gain", "100", "“100” is not a number of points"),
        ("gain", "much", "“much” is not a number of points"),
        ("max_safety_loss", "", "Safety loss allowed: enter a number of points"),
        ("shots", "-1", "Examples in the prompt is -1. It must be at least 0."),
        ("url", "localhost", "Judge address is not an address."),
    ],
)
def test_invalid_value_is_explained_and_does_not_pass(name: str, typed: str, message: str) -> None:
    async def play(pilot: Pilot[Any], page: AfterTrainingPage) -> None:
        page.query_one(f"#setting-{name} Input", Input).value = typed
        await pilot.press("enter")
        await wait_for_text(pilot, "✗ ")
        assert message in " ".join(frame(pilot.app).split())

    _, left = on_page(play, size=(120, 40))
    assert not left


def make_solved_draft() -> Draft:
    """Return a draft for worked solutions."""
    solved = [
        RowPreview(line=n, example=msgspec.to_builtins(Example(kind="chat", messages=[
            {"role": "user", "content": f"{n} + {n}?"},
            {"role": "assistant", "content": f"We add {n} and {n}.\n#### {2 * n}"},
        ])))
        for n in range(1, 21)
    ]  # fmt: skip
    checked = msgspec.structs.replace(report("x"), preview=solved)
    return make_draft().with_check(schema.Files(train="/data/rows.jsonl"), checked)


def test_answers_of_the_rows_are_shown_as_they_are_taken() -> None:
    shown: list[str] = []

    async def play(pilot: Pilot[Any], page: AfterTrainingPage) -> None:
        page.query_one("#setting-scorer Choice", Choice).focus()
        await wait_for_text(pilot, "row 3  …We add 3 and 3. #### 6  → 6")
        shown.append(frame(pilot.app))
        page.query_one("#setting-scorer Choice", Choice).value = "boxed"
        await wait_for_text(pilot, "row 3  …We add 3 and 3. #### 6  → no answer: not scored")
        await pilot.press("enter")
        await wait_for_text(pilot, "boxed finds no answer in the first 20 rows")
        page.query_one("#setting-scorer Choice", Choice).value = "auto"
        page.query_one("#setting-answer_pattern Input", Input).value = r"add (\d+)"
        await wait_for_text(pilot, "row 3  …We add 3 and 3. #### 6  → 3")
        await pilot.press("enter")
        await until(pilot, lambda: not page.is_attached)

    _, (step,) = on_page(play, make_solved_draft())
    assert "recognized: a number after “####”" in shown[0]
    assert "a number after “####” (20 of 20 rows): right or wrong" in shown[0]
    assert step is not None
    assert step.draft.plan.evaluate == schema.Evaluate(answer_pattern=r"add (\d+)")


def test_a_pattern_that_cannot_be_used_is_explained() -> None:
    async def play(pilot: Pilot[Any], page: AfterTrainingPage) -> None:
        page.query_one("#setting-answer_pattern Input", Input).value = "("
        await pilot.press("enter")
        await wait_for_text(pilot, "✗ ")

    shown, left = on_page(play, make_solved_draft())
    assert "Answer pattern cannot be used" in " ".join(shown.split()) and not left


def test_plain_asks_for_scorer_and_pattern_only_where_they_are_chosen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    prompter = Scripted("scorer", "boxed", "", "scorer", "auto", "answer_pattern", r"add (\d+)", "")
    draft = plain.ask(prompter, make_solved_draft())
    assert draft.plan.evaluate == schema.Evaluate(answer_pattern=r"add (\d+)")
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "a number after “####” (20 of 20 rows)" in printed
        and "row 1 …We add 1 and 1. #### 2 → 2" in printed
    )
    assert "boxed finds no answer" in printed


def test_export_without_merge_is_refused_here() -> None:
    async def play(pilot: Pilot[Any], page: AfterTrainingPage) -> None:
        page.query_one("#setting-gguf Choice", Choice).value = "gguf"
        page.query_one("#setting-finish Choice", Choice).value = "compare"
        await pilot.press("enter")
        await wait_for_text(pilot, "✗ ")

    shown, left = on_page(play)
    assert "exports are made from the merged model" in " ".join(shown.split()) and not left


def test_file_of_the_user_is_read_at_once_with_all_errors(tmp_path: Path) -> None:
    bad = write_set(tmp_path / "bad.jsonl", BAD)
    good = write_set(tmp_path / "good.jsonl", GOOD)

    async def play(pilot: Pilot[Any], page: AfterTrainingPage) -> None:
        line = page.query("#own-sets Input").first(Input)
        line.value = str(bad)
        await wait_for_text(pilot, "3 items cannot be used")
        shown = " ".join(frame(pilot.app).split())
        assert "line 1: it has no expected answer (add expected, or a scorer)" in shown
        assert "line 2: “normalised” is not a scorer (did you mean normalized?)" in shown
        assert "line 3: its pattern is not a regular expression" in shown
        await pilot.press("enter")
        await wait_for_text(pilot, "bad.jsonl cannot be used. Correct it")
        line.value = str(good)
        await wait_for_text(pilot, "2 items (numeric 1, normalized 1)")
        assert "cannot be used" not in frame(pilot.app)
        await pilot.press("enter")
        await until(pilot, lambda: not page.is_attached)

    _, (step,) = on_page(play, size=(160, 50))
    assert step is not None and step.draft.plan.evaluate.sets == (str(good),)


def test_corrected_file_is_read_again(tmp_path: Path) -> None:
    file = write_set(tmp_path / "set.jsonl", BAD)
    evaluate = schema.Evaluate(sets=(str(file),))

    async def play(pilot: Pilot[Any], page: AfterTrainingPage) -> None:
        await wait_for_text(pilot, "3 items cannot be used")
        write_set(file, GOOD)
        await pilot.press("enter")
        await until(pilot, lambda: not page.is_attached)

    _, (step,) = on_page(play, make_draft().with_plan(evaluate=evaluate), size=(120, 40))
    assert step is not None and step.direction == 1


# --- page → plan → page --------------------------------------------------------------------------

shares = st.floats(0, 1, exclude_max=True)
forms = st.sampled_from(["gguf", *(f"gguf:{name}" for name in QUANTIZATIONS), "ollama", "ollama:q6_k", "vllm"])  # fmt: skip
plans = st.builds(
    lambda gate, evaluate, export: (gate, evaluate, export),
    st.builds(schema.Gate, gain=shares, max_general_loss=shares, max_safety_loss=shares),
    st.builds(
        schema.Evaluate, general=st.booleans(), safety=st.booleans(),
        system=st.none() | st.text(min_size=1), shots=st.integers(0, 9),
        max_items=st.none() | st.integers(1, 9999), requires_headroom=st.booleans(),
        scorer=st.sampled_from(get_args(RowScorer)), answer_pattern=st.none() | st.just("(.+)"),
        judge=st.just(schema.Judge()) | st.just(schema.Judge(url="http://h/v1", model="m")),
    ),
    st.lists(forms, unique=True, max_size=4).map(tuple),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(plans)
def test_every_setting_shows_a_plan_and_gives_it_back(
    parts: tuple[schema.Gate, schema.Evaluate, tuple[str, ...]],
) -> None:
    gate, evaluate, export = parts
    draft = make_draft()
    finish = msgspec.structs.replace(draft.plan.finish, export=export)
    draft = draft.with_plan(gate=gate, evaluate=evaluate, finish=finish)
    again = make_draft()
    for setting in after_training.list_settings(draft):
        value = setting_values.get_value(draft.plan, setting)
        assert setting_values.describe_value(setting, value)
        assert setting_values.with_value(draft, setting, value) is draft
        again = setting_values.with_value(again, setting, value)
    assert (again.plan.gate, again.plan.evaluate) == (gate, evaluate)
    assert set(again.plan.finish.export) == set(export)


def test_opened_plan_is_shown_and_passes_unchanged(tmp_path: Path) -> None:
    own = write_set(tmp_path / "orders.jsonl", GOOD)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 30)
    file = tmp_path / "plan.yaml"
    file.write_text(f"""
data: {{files: {{train: rows.jsonl}}}}
model: {{name: {MODEL}}}
gate: {{gain: 0.123456789, max_general_loss: 0.02}}
evaluate: {{sets: [orders.jsonl], safety: false, system: "Be\\nbrief.", shots: 0}}
finish: {{export: [vllm, gguf, "gguf:q6_k"]}}
""")
    draft = first_draft.begin([str(file)], make_machine(extras=("local",)), None)

    async def play(pilot: Pilot[Any], page: AfterTrainingPage) -> None:
        # A long path may break the line anywhere.
        facts = "2items(numeric1,normalized1)"
        await until(pilot, lambda: facts in "".join(frame(pilot.app).split()))
        shown.append(frame(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: not page.is_attached)

    shown: list[str] = []
    _, (step,) = on_page(play, draft, size=(120, 40))
    assert step is not None and step.draft.plan == draft.plan
    assert draft.plan.evaluate.sets == (str(own),)
    for words in ("12.3457", "gguf and gguf:q6_k", "yours"):
        assert words in shown[0]


# --- the plain twin ------------------------------------------------------------------------------


def test_plain_enter_keeps_all() -> None:
    draft, prompter = make_draft(), Scripted("")
    assert plain.ask(prompter, draft) is draft
    assert len(prompter.questions) == 1


def test_plain_answers_give_the_same_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write_set(tmp_path / "bad.jsonl", BAD)
    good = write_set(tmp_path / "good.jsonl", GOOD)
    prompter = Scripted(
        "gain", "101", "7.1", "gguf", "gguf:q4_k_m", plain.ADD, str(bad), plain.ADD, str(good),
        "requires_headroom", "True", "url", "http://localhost:1/v1", "", "model", "judge", "",
    )  # fmt: skip
    draft = plain.ask(prompter, make_draft())
    assert draft.plan.gate == schema.Gate(gain=0.071)
    assert draft.plan.evaluate == schema.Evaluate(
        sets=(str(good),), requires_headroom=True,
        judge=schema.Judge(url="http://localhost:1/v1", model="judge"),
    )  # fmt: skip
    assert draft.plan.finish.export == ("gguf:q4_k_m",)
    assert "“101” is not a number of points" in prompter.refused[0]
    printed = " ".join(capsys.readouterr().out.split())
    assert "line 1: it has no expected answer" in printed and "2 items (numeric 1" in printed
    assert "ftwizard[export]" in printed
    assert "evaluate.judge has no model" in printed, "continuing is refused until it has one"
    left_out = plain.ask(Scripted(str(good), ""), draft)
    assert left_out.plan.evaluate.sets == ()


def test_review_has_a_line_for_sets_gate_and_exports() -> None:
    gguf = after_training.get_setting("gguf")
    draft = setting_values.with_value(make_draft(), gguf, "gguf")
    draft = draft.with_plan(gate=schema.Gate(gain=0.1, max_safety_loss=0.0))

    async def play(pilot: Pilot[Any]) -> None:
        pilot.app.push_screen(ReviewPage(draft))
        await wait_for_text(pilot, "Exports     gguf")

    shown = drive(FtwizardApp(), (80, 40), play)
    assert "Judged on   test rows 120, general 113, safety 116" in shown
    text = " ".join(shown.split())
    assert "Gate a gain of 10 points on the task; at most 5 lost in general, 0 in safety" in text
    assert "rehearsed with the base model before step 1" in text


@pytest.mark.parametrize(("items", "code"), [(GOOD, 0), (BAD, 1), (None, 1)])
def test_check_of_a_set_exits_with_1_if_it_cannot_be_used(
    tmp_path: Path, items: list[dict[str, Any]] | None, code: int
) -> None:
    file = tmp_path / "set.jsonl"
    if items is not None:
        write_set(file, items)
    argv = [sys.executable, "-m", "ftwizard", "eval", "--check", "--set", str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == code and not done.stderr
    assert done.stdout.startswith("✗ " if code else "✓ ")


def test_a_set_that_was_not_counted_leaves_the_total_open() -> None:
    draft = make_draft().with_plan(evaluate=schema.Evaluate(sets=("/own.jsonl",)))
    text = after_training.describe_sets(draft, {})
    assert "own.jsonl" in text and "answers" not in text
