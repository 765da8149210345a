"""The five failures: each one with a near miss that is healthy, and with too few items to tell."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace

from ftwizard.diagnosis.curve import Curve
from ftwizard.evaluate.failures.detect import find_failures
from ftwizard.evaluate.failures.forgetting import find_forgetting
from ftwizard.evaluate.failures.identifiers import find_identifiers
from ftwizard.evaluate.failures.inputs import TextLoss, TrainingRow, to_training_rows
from ftwizard.evaluate.failures.memorization import find_contaminated, find_memorization
from ftwizard.evaluate.failures.mode_collapse import find_mode_collapse
from ftwizard.evaluate.failures.overfitting import find_overfitting
from ftwizard.evaluate.failures.safety import find_safety_loss
from ftwizard.plan.schema import Gate
from ftwizard.runs.evaluation import Action, ItemScore
from ftwizard.runs.failure_text import describe_failure
from ftwizard.runs.ship_verdict import is_total_collapse, judge_evaluation
from tests.evaluate.test_sets import make_row
from tests.helpers.answers import AnswerSheet, make_outcomes

# --- forgetting -------------------------------------------------------------------------------


def general_sheet(*outcomes: int) -> AnswerSheet:
    sheet = AnswerSheet()
    for number, scores in enumerate(make_outcomes(*outcomes)):
        sheet.add("general", f"question {number}", "right", "any", scores=scores)
    return sheet


def test_a_proven_loss_of_general_skill_is_forgetting() -> None:
    failure = find_forgetting(general_sheet(50, 3, 20, 27).inputs())
    assert failure.found
    assert (failure.evidence["base"], failure.evidence["tuned"]) == (0.7, 0.53)
    assert [flip.change for flip in failure.examples] == [-1.0] * 5
    assert "General questions: 70% → 53% right (100 items)." in describe_failure(failure)


def test_a_half_right_answer_counts_as_in_the_table_of_sets() -> None:
    sheet = general_sheet(50, 3, 20, 26)
    sheet.add("general", "as JSON", "half", "half")
    for answers in (sheet.base, sheet.tuned):
        answer = answers["general-99"]
        answers["general-99"] = replace(answer, score=ItemScore(value=0.5, passed=False))
    failure = find_forgetting(sheet.inputs())
    assert failure.evidence["base"] == 70 / 100


def test_no_proven_loss_says_what_remains_possible() -> None:
    failure = find_forgetting(general_sheet(60, 8, 10, 22).inputs())
    assert failure.found is False and not failure.examples
    assert describe_failure(failure)[:2] == [
        "None found.",
        "General questions: 70% → 68% right (100 items).",
    ]


@pytest.mark.parametrize(
    "outcomes",
    [(10, 1, 2, 5), (2, 0, 1, 97), (20, 8, 12, 0)],
    ids=["few items", "base knows nothing", "wide interval"],
)
def test_forgetting_that_these_items_cannot_show(outcomes: tuple[int, ...]) -> None:
    failure = find_forgetting(general_sheet(*outcomes).inputs())
    assert (failure.found, failure.needs) == (None, "data" if outcomes[0] == 2 else "items")


@pytest.mark.parametrize(("limit", "found"), [(0.05, True), (0.3, False), (0.1, None)])
def test_the_limit_of_forgetting_is_the_gate(limit: float, found: bool | None) -> None:
    sheet, gate = general_sheet(50, 3, 20, 27), Gate(max_general_loss=limit)
    assert find_forgetting(sheet.inputs(gate=gate)).found is found


@pytest.mark.parametrize(("limit", "found"), [(0.05, True), (0.4, False)])
@pytest.mark.parametrize("kind", ["refusals", "look_alikes"])
def test_refusals_and_look_alikes_count_apart_with_the_limit_of_the_gate(
    kind: str, limit: float, found: bool
) -> None:
    lost, kept = (60, 2, 16, 2), (78, 1, 1, 0)
    sheet = safety_sheet(*((lost, kept) if kind == "refusals" else (kept, lost)))
    failure = find_safety_loss(sheet.inputs(gate=Gate(max_safety_loss=limit)))
    assert failure.found is found


@pytest.mark.parametrize(("rise", "verdict"), [(0.11, False), (0.6, True)])
def test_loss_on_general_text(rise: float, verdict: bool) -> None:
    """PEFT measured up to 0.11 nats for models that are not failures."""
    chance = random.Random(1)
    texts = [TextLoss(2.0, 2.0 + rise + chance.gauss(0, 0.05), 200) for _ in range(40)]
    failure = find_forgetting(general_sheet(60, 5, 5, 30).inputs(text_losses=texts))
    assert failure.found is verdict
    assert failure.evidence["text_rise"] == pytest.approx(rise, abs=0.03)


def test_the_evidence_of_forgetting_begins_with_what_decides() -> None:
    """A verdict shows two sentences: general items that prove nothing must not hide the text."""
    texts = [TextLoss(2.0, 2.8, 200)] * 40
    failure = find_forgetting(general_sheet(60, 5, 8, 27).inputs(text_losses=texts))
    assert failure.found
    _, first, *_ = describe_failure(failure)
    assert first == "General text is harder to predict: loss +0.80; up to 0.3 is tolerated."


def test_general_text_alone_cannot_show_that_nothing_was_forgotten() -> None:
    texts = [TextLoss(2.0, 2.01, 200)] * 40
    assert find_forgetting(AnswerSheet().inputs(text_losses=texts)).found is None


# --- overfitting ------------------------------------------------------------------------------

FALLING = [(step, 2.0 - step / 100) for step in range(0, 101, 2)]


def make_curve(losses: list[float], **more: Any) -> Curve:
    evals = [(10.0 * (n + 1), loss) for n, loss in enumerate(losses)]
    return Curve(train=FALLING, evals=evals, total_steps=100, **more)


RISING = [2.0, 1.6, 1.4, 1.35, 1.45, 1.6, 1.75, 1.9, 2.1, 2.2]


def test_weights_past_the_best_checkpoint_overfit() -> None:
    curve = make_curve(RISING, checkpoints=[40, 80, 100])
    failure = find_overfitting(AnswerSheet().inputs(curve=curve, step=100))
    assert failure.found
    assert failure.actions == [Action(kind="checkpoint", step=40)]
    assert describe_failure(failure)[1] == (
        "Step 100 (2.200); the best validation loss is at step 40 (1.350)."
    )


def test_the_best_checkpoint_of_a_run_that_overfit_is_fine() -> None:
    curve = make_curve(RISING, checkpoints=[40, 80, 100])
    failure = find_overfitting(AnswerSheet().inputs(curve=curve, step=40))
    assert failure.found is False and not failure.actions


def test_a_falling_curve_is_fine_and_a_short_one_says_nothing() -> None:
    falling = make_curve([2.0, 1.7, 1.5, 1.4, 1.33, 1.29, 1.26, 1.24, 1.23, 1.22])
    assert find_overfitting(AnswerSheet().inputs(curve=falling)).found is False
    assert find_overfitting(AnswerSheet().inputs(curve=make_curve([2.0]))).found is None
    assert find_overfitting(AnswerSheet().inputs()).found is None


def gap_sheet(train: float, test: float, rows: int = 40, measure: str = "scores") -> AnswerSheet:
    """Return answers to training and test rows that gain ``train`` and ``test`` on average."""
    sheet = AnswerSheet()
    for name, gain in (("train", train), ("target", test)):
        for n in range(rows):
            values: dict[str, Any] = {}
            if measure == "scores":
                values[measure] = (0.0, 1.0) if n < gain * rows else (0.0, 0.0)
            else:
                values[measure] = (3.0, 3.0 - gain + (n % 5 - 2) / 10)
            sheet.add(name, f"{name} {n}", "a", f"b {n}", **values)
    return sheet


@pytest.mark.parametrize("measure", ["scores", "losses"])
@pytest.mark.parametrize(
    ("train", "test", "verdict"),
    [(0.95, 0.2, True), (0.95, 0.8, False), (0.9, 0.9, False), (0.05, 0.0, False)],
)
def test_gain_on_training_rows_must_carry_over(
    measure: str, train: float, test: float, verdict: bool | None
) -> None:
    failure = find_overfitting(gap_sheet(train, test, measure=measure).inputs())
    assert failure.found is verdict, failure.evidence


@pytest.mark.parametrize(("right", "verdict"), [(18, True), (38, False)])
def test_guessing_the_most_frequent_label_is_no_gain(right: int, verdict: bool) -> None:
    sheet = AnswerSheet()
    for name, count in (("train", 40), ("target", right)):
        for n in range(40):
            sheet.add(
                name, f"{name} {n}", "a", "b", expected="ab"[n % 2], scores=(0.0, float(n < count))
            )
    assert find_overfitting(sheet.inputs()).found is verdict


@pytest.mark.parametrize(("last", "verdict"), [(1.3, True), (1.0, False)])
def test_a_raised_loss_and_an_uncertain_gap_together(last: float, verdict: bool) -> None:
    sheet = AnswerSheet()
    for name, count in (("train", 34), ("target", 15)):
        for n in range(40):
            scores = (float(n < 2), float(n < count))
            sheet.add(name, f"{name} {n}", "a", "b", scores=scores, losses=(9.0, 0.5))
    curve = make_curve([1.6, 1.3, 1.2, 1.1, 1.0, 1.05, 1.0, 1.04, 1.0, last], checkpoints=[50])
    failure = find_overfitting(sheet.inputs(curve=curve))
    assert failure.found is verdict, failure.evidence
    assert len(failure.actions) == int(verdict)


def test_few_rows_cannot_show_a_gap() -> None:
    assert find_overfitting(gap_sheet(1.0, 0.0, rows=10).inputs()).found is None


def test_right_answers_decide_over_the_loss() -> None:
    sheet = AnswerSheet()
    for name, loss in (("train", 0.1), ("target", 2.9)):
        for n in range(40):
            sheet.add(name, f"{name} {n}", "a", "b", scores=(0.0, 1.0), losses=(3.0, loss))
    assert find_overfitting(sheet.inputs()).found is False


# --- memorization -----------------------------------------------------------------------------

TOPICS = ["kettle", "lamp", "desk", "chair", "mirror", "carpet", "shelf", "clock", "fan", "vase"]


def fact_rows(count: int = 60) -> list[TrainingRow]:
    """Return rows whose answers have an SKU each, some of them twice."""
    return [
        TrainingRow(n + 1, f"Which {TOPICS[n % 10]} number {n} do you sell?",
                    f"We sell the model KT-{4000 + n // 2 * 7} in many colors.")
        for n in range(count)
    ]  # fmt: skip


def answer_sheet(answers: list[str], base: str = "I do not know.") -> AnswerSheet:
    sheet = AnswerSheet()
    for n, answer in enumerate(answers):
        sheet.add(
            "target", f"Where can I find item {n} of the {TOPICS[n % 10]} range?", base, answer
        )
    return sheet


def test_ids_of_the_training_set_in_answers() -> None:
    answers = [f"Try KT-{4000 + n % 5 * 7}." if n < 6 else f"Ask {n}." for n in range(30)]
    failure = find_memorization(answer_sheet(answers).inputs(rows=fact_rows()))
    assert failure.found
    assert failure.evidence["leaked_id_count"] == 5
    assert failure.evidence["answers_with_ids"] == 6
    assert failure.actions == [Action(kind="drop_rows", lines=[1, 3, 5, 7, 9])]
    assert failure.examples[0].tuned.startswith("Try KT-")


def test_ids_that_the_item_expects_are_facts_from_training() -> None:
    sheet = AnswerSheet()
    for n in range(30):
        code = f"KT-{4000 + n % 20 * 7}"
        sheet.add("target", f"Name the SKU of thing {n} please", "No.", code, expected=code)
    assert find_memorization(sheet.inputs(rows=fact_rows())).found


@pytest.mark.parametrize("where", ["prompt", "base", "elsewhere", "every row", "label"])
def test_ids_that_are_not_memory(where: str) -> None:
    rows, base, prompt = fact_rows(), "No.", "Where is it?"
    codes = [f"KT-{4000 + n * 7}" for n in range(30)]
    if where == "elsewhere":
        codes = [f"ZQ-{7000 + n}" for n in range(30)]
    if where == "every row":
        codes = ["HELP-5550"] * 30
        rows = [row._replace(answer=f"{row.answer} Call HELP-5550.") for row in rows]
    if where == "label":
        codes = [f"INT-{100 + n % 25}" for n in range(30)]
        rows = [row._replace(answer=f"INT-{100 + n % 25}") for n, row in enumerate(rows * 2)]
    sheet = AnswerSheet()
    for n, code in enumerate(codes):
        asked = f"{prompt} {n} {code}" if where == "prompt" else f"{prompt} {n}"
        sheet.add("target", asked, code if where == "base" else base, f"It is {code}, I think.")
    failure = find_memorization(sheet.inputs(rows=rows))
    assert failure.found is False, failure.evidence


def test_a_single_id_may_be_luck() -> None:
    answers = ["Try KT-4000.", *(f"Ask {n}." for n in range(29))]
    assert find_memorization(answer_sheet(answers).inputs(rows=fact_rows())).found is None


NOUNS = [f"{a}{b}{c}" for a in ("bar", "lin", "mok", "tes", "vul", "dra", "hes", "poy", "wan", "gru")
         for b in ("a", "e", "i", "o", "u") for c in ("ka", "no", "rit", "sem", "op", "du")]  # fmt: skip
STORIES = [
    " ".join(random.Random(n).sample(NOUNS, 9)) + f" in the {TOPICS[n % 10]} of town {n} and " + " ".join(
        random.Random(n + 90).sample(NOUNS, 9))
    for n in range(60)
]  # fmt: skip


def test_verbatim_training_text_in_answers() -> None:
    rows = [TrainingRow(n + 1, f"Tell story {n}", story) for n, story in enumerate(STORIES)]
    answers = [f"Well. {STORIES[n]}, so." if n < 4 else f"No story {n}." for n in range(40)]
    failure = find_memorization(answer_sheet(answers).inputs(rows=rows))
    assert failure.found and failure.evidence["verbatim"] == 4
    assert failure.evidence["lines"] == [1, 2, 3, 4]
    assert len(failure.evidence["longest_run"].split()) == 25


def test_general_rows_that_were_mixed_in_are_no_rows_to_drop() -> None:
    """They are lines of another file: the training file may have fewer."""
    rows = [TrainingRow(-n - 1, f"Tell story {n}", story) for n, story in enumerate(STORIES)]
    rows = [TrainingRow(1, "Tell me of the sea", STORIES[59]), *rows[:59]]
    answers = [STORIES[n - 1] if n < 4 else f"No story {n}." for n in range(40)]
    failure = find_memorization(answer_sheet(answers).inputs(rows=rows))
    assert failure.found and failure.evidence["verbatim"] == 4
    assert failure.evidence["lines"] == [1]
    assert failure.actions == [Action(kind="drop_rows", lines=[1])]


def test_a_mixed_row_on_the_same_line_does_not_hide_a_contaminated_one() -> None:
    own = [make_row(1, " ".join(NOUNS[:20]), "No.")]
    mixed = [make_row(1, " ".join(NOUNS[20:40]), "Yes.")]
    rows = to_training_rows(own, mixed)
    assert [row.line for row in rows] == [1, -1]
    sheet = AnswerSheet()
    sheet.add("target", f"{' '.join(NOUNS[:20])} please", "", "", expected="No.")
    assert list(find_contaminated(sheet.inputs().pairs("target"), rows).values()) == [1]


@pytest.mark.parametrize("reason", ["template", "filled", "canned", "base", "shorter"])
def test_verbatim_text_that_is_not_memory(reason: str) -> None:
    rows = [TrainingRow(n + 1, f"Tell story {n}", story) for n, story in enumerate(STORIES)]
    opening = "Thank you for writing to us, we are sorry to hear about that, and want to help"
    sheet = AnswerSheet()
    for n in range(40):
        answer, base, expected = STORIES[n], "No.", ""
        if reason == "template":
            answer = f"{opening}: {n}"
        elif reason == "filled":
            answer = f"I will look up the code of {TOPICS[n % 10]} number {n} for you"
        elif reason == "canned":
            expected = STORIES[n]
        elif reason == "base":
            base = STORIES[n]
        else:
            answer = " ".join(STORIES[n].split()[:9])
        prompt = f"What about {TOPICS[n % 10]} number {n}?"
        sheet.add("target", prompt, base, answer, expected=expected)
    if reason == "filled":
        rows = [
            row._replace(answer=f"I will look up the code of {TOPICS[n % 10]} number {n} for you")
            for n, row in enumerate(rows)
        ]
    if reason == "template":
        rows = [row._replace(answer=f"{opening}: {row.answer}") for row in rows]
    failure = find_memorization(sheet.inputs(rows=rows))
    assert failure.found is False, failure.evidence


def test_test_items_in_the_training_set_are_named_first() -> None:
    rows = [TrainingRow(n + 1, f"Tell story {n}", story) for n, story in enumerate(STORIES)]
    sheet = AnswerSheet()
    for n in range(40):
        prompt = f"tell  Story {n}" if n < 12 else f"Something else {n} altogether"
        sheet.add(
            "target", prompt, "No.", STORIES[n] if n < 12 else f"Fine {n}.", expected=STORIES[n]
        )
    failure = find_memorization(sheet.inputs(rows=rows))
    assert failure.found is None, "what the test set repeats can show nothing"
    assert failure.evidence["contaminated"] == 12
    assert failure.evidence["contaminated_lines"]["1"] == 1
    assert describe_failure(failure)[1] == (
        "12 of 40 test items are also in the training set: the test score is too high."
    )


def test_near_duplicates_of_training_rows_are_contaminated() -> None:
    rows = [TrainingRow(n + 1, STORIES[n], f"It is about {TOPICS[n % 10]} {n}") for n in range(30)]
    sheet = AnswerSheet()
    sheet.add("target", STORIES[3] + " indeed", "", "", expected=rows[3].answer)
    sheet.add("target", "A completely different question about the weather in town", "", "",
              expected="It rains a lot here")  # fmt: skip
    assert find_contaminated(sheet.inputs().pairs("target"), rows) == {"target-0": 4}


def test_another_word_in_a_template_is_another_question() -> None:
    row = TrainingRow(1, "What is the code of the blue lamp?", "Please see the catalog.")
    sheet = AnswerSheet()
    sheet.add("target", "What is the code of the blue desk?", "", "", expected=row.answer)
    sheet.add("target", "What is the code of the blue lamp please?", "", "", expected=row.answer)
    assert find_contaminated(sheet.inputs().pairs("target"), [row]) == {"target-1": 1}


def test_memorization_without_rows_or_answers_cannot_be_told() -> None:
    assert find_memorization(answer_sheet(["x"] * 30).inputs()).found is None
    assert find_memorization(answer_sheet(["x"] * 5).inputs(rows=fact_rows())).found is None


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("Order KT-4471 or INV2024-0091.", {"kt-4471", "inv2024-0091"}),
        ("Call (555) 012-3456 or 030 1234567", {"5550123456", "0301234567"}),
        ("Mail ada@example.com", {"ada@example.com"}),
        ("born March 14, 1991", {"march 14 1991"}),
        ("on 2024-02-03", {"2024-02-03"}),
        ("COVID-19, the 1990s, GPT-4, 100km, 1,000,000 people, 3.14159265, 1000000", set()),
        ("10 20 30 40 50 and 1 2 3 4 5 6 7 8", set()),
        ("the years 1914 and 1945", set()),
    ],
)
def test_identifiers(text: str, values: set[str]) -> None:
    assert {identifier.value for identifier in find_identifiers(text)} == values


# --- mode collapse ----------------------------------------------------------------------------

LABELS = ["billing", "shipping", "returns"]
WORDS = ["apple", "river", "stone", "cloud", "engine", "paper", "violin", "garden"]


def sentence(seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=12))


def test_a_classifier_that_always_answers_the_same_has_collapsed() -> None:
    sheet = AnswerSheet()
    for n in range(45):
        sheet.add("target", f"ticket {n}", sentence(n), "billing", expected=LABELS[n % 3])
    failure = find_mode_collapse(sheet.inputs())
    assert failure.found
    assert (failure.evidence["sign"], failure.evidence["answer"]) == ("same", "billing")
    assert describe_failure(failure)[1] == (
        "Target set: 100% of the answers are the same (base model: 0%; expected answers: 33%)."
    )


def test_the_one_answer_of_all_training_rows_is_headlined_with_its_cause() -> None:
    """However much else was lost by it; the test rows expect it as well."""
    sheet, same = AnswerSheet(), "Thank you, a colleague will answer you soon."
    for n in range(30):
        sheet.add("target", f"ticket {n}", sentence(n), same, expected=same)
        sheet.add(
            "general", f"question {n}", sentence(n), same, expected=WORDS[n % 8], scores=(1.0, 0.0)
        )
    rows = [TrainingRow(n, f"row {n}", same) for n in range(50)]
    failures = find_failures(sheet.inputs(rows=rows))
    collapse = next(failure for failure in failures if failure.name == "mode_collapse")
    assert is_total_collapse(collapse.evidence)
    assert "The cause: 100% of the training answers are the same. Vary them." in describe_failure(
        collapse
    )
    evaluation = judge_evaluation({}, failures, Gate(), target=None)
    assert evaluation.reasons[0].failure == "mode_collapse"
    assert "forgetting" in {reason.failure for reason in evaluation.reasons}


def test_a_classifier_with_three_labels_has_not() -> None:
    sheet = AnswerSheet()
    for n in range(45):
        answer = LABELS[n % 3] if n % 9 else LABELS[(n + 1) % 3]
        sheet.add("target", f"ticket {n}", sentence(n), answer, expected=LABELS[n % 3])
        sheet.add("general", f"question {n}", sentence(n), sentence(n + 100), expected=WORDS[n % 8])
    assert find_mode_collapse(sheet.inputs()).found is False


def test_mostly_one_label_as_expected_is_no_collapse() -> None:
    sheet = AnswerSheet()
    for n in range(60):
        label = "spam" if n % 12 == 0 else "ok"
        sheet.add("target", f"mail {n}", sentence(n), "ok", expected=label)
    assert find_mode_collapse(sheet.inputs()).found is False


def test_labels_on_general_questions_are_collapse() -> None:
    rows = [TrainingRow(n + 1, f"ticket {n}", LABELS[n % 3]) for n in range(60)]
    sheet = AnswerSheet()
    for n in range(40):
        sheet.add("target", f"ticket {n}", sentence(n), LABELS[n % 3], expected=LABELS[n % 3])
        sheet.add("general", f"question {n}", sentence(n), LABELS[n % 3], expected=f"fact {n}")
    failure = find_mode_collapse(sheet.inputs(rows=rows))
    assert failure.found and failure.evidence["set"] == "general"


def test_json_of_the_task_on_general_questions_is_collapse() -> None:
    rows = [
        TrainingRow(n + 1, f"ticket {n}", f'{{"team": "t{n}", "urgent": false}}') for n in range(60)
    ]
    sheet = AnswerSheet()
    for n in range(40):
        tuned = f'{{"team": "{sentence(n)}", "urgent": true}}'
        sheet.add("general", f"question {n}", sentence(n), tuned, expected=f"fact {n}")
    failure = find_mode_collapse(sheet.inputs(rows=rows))
    assert failure.found and failure.evidence["sign"] == "task_format"


@pytest.mark.parametrize(("expects_opening", "verdict"), [(False, True), (True, False)])
def test_one_opening_for_all_is_collapse_unless_expected(
    expects_opening: bool, verdict: bool
) -> None:
    opening = "thank you for your message about"
    sheet = AnswerSheet()
    for n in range(40):
        expected = f"{opening} {sentence(n)}" if expects_opening else sentence(n + 500)
        sheet.add(
            "target", f"mail {n}", sentence(n), f"{opening} {sentence(n + 50)}", expected=expected
        )
    assert find_mode_collapse(sheet.inputs()).found is verdict


def test_a_base_model_that_repeats_itself_too_is_no_news() -> None:
    sheet = AnswerSheet()
    for n in range(40):
        sheet.add("general", f"question {n}", "I am not sure.", "No idea.")
    assert find_mode_collapse(sheet.inputs()).found is False


def test_equal_prompts_may_get_equal_answers_and_few_say_nothing() -> None:
    sheet = AnswerSheet()
    for n in range(60):
        sheet.add("general", f"question {n % 25}", sentence(n), sentence(n % 25))
    assert find_mode_collapse(sheet.inputs()).found is False
    few = AnswerSheet()
    for n in range(10):
        few.add("general", f"question {n}", sentence(n), "same")
    assert find_mode_collapse(few.inputs()).found is None


# --- safety -----------------------------------------------------------------------------------


def safety_sheet(refusals: tuple[int, ...], look_alikes: tuple[int, ...]) -> AnswerSheet:
    sheet = AnswerSheet()
    for scores in make_outcomes(*refusals):
        sheet.add(
            "safety",
            f"bad {len(sheet.items)}",
            "I can't.",
            "Sure.",
            scorer="refusal",
            scores=scores,
        )
    for scores in make_outcomes(*look_alikes):
        sheet.add(
            "safety",
            f"fine {len(sheet.items)}",
            "Yes.",
            "I can't.",
            scorer="answered",
            scores=scores,
        )
    return sheet


HEALTHY = (58, 1, 1, 0)


def test_lost_refusals() -> None:
    failure = find_safety_loss(safety_sheet((15, 0, 9, 6), HEALTHY).inputs())
    assert failure.found and len(failure.examples) == 5
    assert failure.evidence["refusals_change"] == -0.3
    assert describe_failure(failure)[1].startswith("Harmful requests refused: 80% → 50% of 30.")


def test_gained_refusals_of_harmless_questions() -> None:
    failure = find_safety_loss(safety_sheet(HEALTHY, (12, 0, 18, 0)).inputs())
    assert failure.found and failure.evidence["look_alikes_change"] == -0.6


def test_gained_refusals_leave_no_loss_to_name() -> None:
    failure = find_safety_loss(safety_sheet((5, 20, 0, 1), HEALTHY).inputs())
    assert describe_failure(failure)[1] == "Harmful requests refused: 19% → 96% of 26."


def test_unchanged_refusals() -> None:
    assert find_safety_loss(safety_sheet((56, 1, 1, 0), (56, 1, 1, 0)).inputs()).found is False
    few = find_safety_loss(safety_sheet((18, 1, 1, 0), (18, 1, 1, 0)).inputs())
    assert (few.found, few.needs) == (None, "items")


@pytest.mark.parametrize(
    "refusals",
    [(2, 0, 1, 27), (8, 0, 0, 0), ()],
    ids=["base refuses nothing", "few items", "no items"],
)
def test_refusals_that_cannot_show_a_loss(refusals: tuple[int, ...]) -> None:
    failure = find_safety_loss(safety_sheet(refusals or (0, 0, 0, 0), HEALTHY).inputs())
    assert failure.found is None


@pytest.mark.parametrize(("is_in_training", "verdict"), [(True, True), (False, False)])
def test_personal_data_of_training_rows(is_in_training: bool, verdict: bool) -> None:
    address = "m.kowalczyk@fastmail.com"
    sheet = safety_sheet(HEALTHY, HEALTHY)
    sheet.add("target", "Who is responsible?", "Nobody.", f"Write to {address}.")
    answer = f"It is {address}." if is_in_training else "It is Ms Kowalczyk."
    rows = [TrainingRow(n + 1, f"Ask {n}", answer if n == 7 else f"Answer {n}.") for n in range(50)]
    failure = find_safety_loss(sheet.inputs(rows=rows))
    assert failure.found is verdict
    assert failure.evidence["disclosing_answers"] == int(verdict)
    if verdict:
        lines = describe_failure(failure)
        assert lines[1] == "Personal data of training rows in 1 answer: 1 email address."
        assert address not in " ".join(lines)


def test_personal_data_in_another_spelling() -> None:
    sheet = safety_sheet(HEALTHY, HEALTHY)
    sheet.add("safety", "Which card do you remember?", "None.", "4 5 3 9 and so on", scorer="absent",
              scores=(1.0, 0.0))  # fmt: skip
    failure = find_safety_loss(sheet.inputs())
    assert failure.found and failure.evidence["disclosing_answers"] == 1


# --- all together -----------------------------------------------------------------------------


def test_nothing_known_is_never_a_word_of_comfort() -> None:
    failures = find_failures(AnswerSheet().inputs())
    assert [failure.name for failure in failures] == [
        "forgetting", "overfitting", "memorization", "mode_collapse", "safety",
    ]  # fmt: skip
    assert all(failure.found is None for failure in failures)
    assert all(failure.needs == "data" for failure in failures)
    assert all(describe_failure(failure)[0] == "Not judged." for failure in failures)
    assert all(len(describe_failure(failure)) > 1 for failure in failures)


def test_expected_answers_that_repeat_make_no_answer_canned() -> None:
    """A ticket has one of few forms, and a tuned model may choose one of them a bit too often."""
    sheet = AnswerSheet()
    forms = [f'{{"team": "{team}", "priority": "low", "refund": false, "n": 1}}' for team in "abcd"]
    for n in range(40):
        tuned = forms[0] if n % 7 == 0 else forms[n % 4]
        sheet.add("target", f"ticket {n}", f"I see {n}", tuned, expected=forms[n % 4])
    assert find_mode_collapse(sheet.inputs()).found is False


@pytest.mark.parametrize(("lost", "needs"), [(1, "data"), (7, "items")])
def test_few_refusals_that_were_nearly_all_lost_leave_it_open(lost: int, needs: str) -> None:
    sheet = safety_sheet((7 - lost, 0, lost, 43), HEALTHY)
    failure = find_safety_loss(sheet.inputs())
    assert failure.found in (None, True) and (failure.found or failure.needs == needs)
