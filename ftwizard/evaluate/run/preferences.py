"""Preferences of each model among the answers of the test rows, by their probabilities."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ftwizard.data.reader import ParsedRow
from ftwizard.evaluate import preference_items, runner
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.failures.inputs import TRAIN
from ftwizard.evaluate.items import LIKELIHOOD_SCORERS, Item
from ftwizard.evaluate.run.subject import Answers, EvaluationSubject
from ftwizard.jobs.worker import Worker
from ftwizard.runs.evaluation import ItemAnswer


def read_likelihoods(
    worker: Worker,
    subject: EvaluationSubject,
    arms: Sequence[Arm],
    items: Sequence[Item],
    answers: Answers,
    seconds: float | None = None,
) -> Answers:
    """Return the answers of arms, those to rows of preferences with the probabilities of their answers.

    In limited ``seconds``, rows that no time is left for have no answer. An endpoint reports no
    probabilities that can be relied on.
    """
    rows = _find_rows(subject, items)
    local = [arm for arm in arms if not arm.is_endpoint]
    if not rows or not local:
        return answers
    by_id = {item.id: item for item in items}

    def report(name: str, done: int) -> None:
        worker.check_stop()
        worker.phase(
            "comparing",
            what=f"{name} model, probabilities",
            done=done,
            total=len(rows),
            unit="rows",
        )

    likelihoods = runner.compute_row_likelihoods(
        local, list(rows.values()), recipe=subject.plan.recipe, on_progress=report, seconds=seconds,
        say=lambda name: worker.phase("comparing", what=name),
    )  # fmt: skip
    complete = dict(answers)
    for arm in local:
        measured = dict(zip(rows, likelihoods[arm.name], strict=False))
        lines = list[ItemAnswer]()
        for answer in answers[arm.name]:
            if answer.item in measured and (likelihood := measured[answer.item]):
                answer = replace(answer, logps=likelihood.logps, logp_tokens=likelihood.tokens)
            elif answer.item in rows and answer.item not in measured:
                continue  # no time was left
            if answer.item in rows:
                score = preference_items.score(by_id[answer.item], answer)
                answer = replace(answer, score=score)
            lines.append(answer)
        complete[arm.name] = lines
    return complete


def _find_rows(subject: EvaluationSubject, items: Sequence[Item]) -> dict[str, ParsedRow]:
    """Return the rows of preferences by the id of their item, in the order of the items."""
    saved = subject.test_set
    tested = {row.line: row for row in (*saved.rows, *saved.unwanted)}
    trained = {row.line: row for row in saved.trained}
    rows = {}
    for item in items:
        lines = trained if item.set == TRAIN else tested
        if item.scorer in LIKELIHOOD_SCORERS and item.line in lines:
            rows[item.id] = lines[item.line]
    return rows
