"""Trial of a plan's grader before its job is created: what it means, and what it refuses."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard.data.reader import ParsedRow
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.graders.grader_file import find_reference
from ftwizard.graders.trial import (
    TRIAL_ROWS,
    GradedItem,
    TrialFinding,
    TrialRow,
    describe_scores,
    judge_scores,
)
from ftwizard.plan.schema import Plan
from ftwizard.providers.base import ProviderError
from ftwizard.text import format_count, make_visible

WEAK_CODE = "weak_grader"
_WEAK = ("all_zero", "all_equal", "wrong_as_high")
"""Findings on scores that do not tell right from wrong, of a grader that works otherwise."""


class TriedGrader(NamedTuple):
    """What the trial of a grader says to a person."""

    summary: str
    cautions: list[str]


def read_items(path: Path, fields: Sequence[str], count: int = TRIAL_ROWS) -> list[GradedItem]:
    """Return the first rows of an upload file (JSON Lines, with or without a byte-order mark).

    ``fields``: where the grader looks for a row's right answer, the first before the others.
    """
    with path.open(encoding="utf-8-sig") as file:
        lines = itertools.islice((line for line in file if line.strip()), count)
        rows: list[Any] = [json.loads(line) for line in lines]
    return [
        GradedItem(line=number, item=row, reference=find_reference(row, fields))
        for number, row in enumerate(rows, start=1)
        if isinstance(row, dict)
    ]


def judge_rows(plan: Plan, rows: Sequence[TrialRow], more: Sequence[str] = ()) -> TriedGrader:
    """Return what scores say of a grader, with ``more`` cautions; raise as ``judge`` does."""
    return judge(plan, rows, judge_scores(rows), more=more)


def judge(
    plan: Plan,
    rows: Sequence[TrialRow],
    findings: Sequence[TrialFinding],
    *,
    again: str = "",
    more: Sequence[str] = (),
) -> TriedGrader:
    """Return what a trial says of a grader.

    Raises ProviderError if the grader fails, and FtwizardError (``DECLINED``) if it does not tell
    right from wrong, unless the plan allows that. ``again``: how to repeat the trial.
    """
    cautions = list(more)
    for finding in findings:
        if finding.severity != "error":
            cautions.append(f"{finding.message} {finding.fix}")
        elif finding.code not in _WEAK:
            hint = " ".join(filter(None, (finding.fix, again)))
            raise ProviderError("rejected", finding.message, hint, code="grader_failed")
        elif "weak-grader" in plan.allow:
            cautions.append(finding.message)
        else:
            insist = "To train with it anyway: --allow weak-grader."
            hint = " ".join(filter(None, (finding.fix, insist, again)))
            raise FtwizardError(
                f"The grader does not tell right from wrong. {finding.message}",
                hint,
                DECLINED,
                code=WEAK_CODE,
            )
    return TriedGrader(describe_scores(rows), cautions)


def describe_function_trial(arn: str) -> str:
    """Describe the trial that a Lambda function gets once the upload is confirmed.

    It is named with its account, which gets the rows: a plan may be somebody else's.
    """
    start, _, name = arn.partition(":function:")
    shown = make_visible(f"{name} of account {start.rpartition(':')[2]}" if name else arn, 100)
    return (
        f"before the upload, the function {shown} grades {format_count(TRIAL_ROWS, 'row')}, each with"
        " the right answer and a wrong one"
    )


def answer_prompts(
    rows: Mapping[str, list[ParsedRow]], fields: Sequence[str]
) -> dict[str, list[ParsedRow]]:
    """Return the rows with their references as answers, for a comparison with the base model.

    ``fields``: where a reference is, the first before the others. A row without one stays a prompt.
    """
    return {part: [_answer(row, fields) for row in each] for part, each in rows.items()}


def _answer(row: ParsedRow, fields: Sequence[str]) -> ParsedRow:
    example, conversation = row.example, row.conversation
    name = next((field for field in fields if example.extra.get(field) is not None), None)
    if example.kind != "prompt" or name is None:
        return row
    answer = {"role": "assistant", "content": find_reference(example.extra, [name])}
    return msgspec.structs.replace(
        row,
        example=msgspec.structs.replace(
            example, kind="chat", messages=[*example.messages, answer], extra={}
        ),
        conversation=msgspec.structs.replace(
            conversation, messages=[*conversation.messages, answer], awaits_answer=False
        ),
    )
