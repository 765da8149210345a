"""Graders of reinforcement fine-tuning: reading one from the plan, its check, and a dry run."""

from __future__ import annotations

import contextlib
import functools
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ftwizard import strict_yaml
from ftwizard.errors import FtwizardError
from ftwizard.graders.grader_file import (
    is_python,
    parse_grader,
    read_grader,
)
from ftwizard.graders.process import Grade
from ftwizard.graders.trial import TRIAL_ROWS, GradedItem, make_rows, pick_wrongs, try_grader
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.plan.schema import OpenAI, Plan
from ftwizard.providers.base import ProviderError
from ftwizard.providers.fields import read_number
from ftwizard.providers.grader_trial import TriedGrader, judge, judge_rows, read_items
from ftwizard.providers.openai.client import OpenAIClient
from ftwizard.providers.openai.jobs import dump_fields
from ftwizard.text import format_count, make_visible

_REFERENCE = re.compile(r"\{\{\s*item\.([A-Za-z_]\w*)")


def get_grader(settings: OpenAI, provider: HostedProvider) -> dict[str, Any]:
    """Return the grader of the settings; raise ProviderError if there is none."""
    if settings.grader is None:
        hint = (
            f"Set {provider}.grader to a grader object, to a JSON or YAML file with one, or to a file"
            " of Python. Template: ftwizard grader new FILE.py"
        )
        problem = f"{provider}.grader is missing: reinforcement needs one."
        raise ProviderError("rejected", problem, hint, code="setting")
    try:
        return load_grader(settings.grader)
    except FtwizardError as error:
        raise ProviderError("rejected", error.message, error.hint, code="setting") from None


def load_grader(grader: Mapping[str, Any] | str) -> dict[str, Any]:
    """Return the grader object of a plan; raise FtwizardError for a file that has none.

    The source of a Python file becomes a grader of the type ``python``.
    """
    if isinstance(grader, Mapping):
        return dict(grader)
    if is_python(grader):
        file = read_grader(Path(grader))
        return {"type": "python", "name": make_visible(file.name, 60), "source": file.source}
    name = make_visible(grader, 200)
    try:
        text = strict_yaml.read_text(Path(grader))
    except FileNotFoundError:
        raise FtwizardError(
            f"The grader file {name} does not exist.", "Check the setting grader in the plan."
        ) from None
    value = strict_yaml.load_value(text, name)
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise FtwizardError(
            f"{name} has no grader: an object with type, name and the keys of its type.",
            'Example: {"type": "string_check", "name": "exact", "operation": "eq",'
            ' "input": "{{sample.output_text}}", "reference": "{{item.answer}}"}',
        )
    return value


def find_item_fields(grader: object) -> list[str]:
    """Return the fields of a row that a grader names in its templates or its source, in order."""
    return list(dict.fromkeys(_iterate_references(grader)))


def _iterate_references(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield from _REFERENCE.findall(value)
    elif isinstance(value, Mapping) and value.get("type") == "python":
        with contextlib.suppress(FtwizardError):  # the platform says what is wrong with it
            yield from parse_grader(str(value.get("source")), "grader").fields
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _iterate_references(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _iterate_references(part)


def validate_grader(client: OpenAIClient, settings: OpenAI) -> list[str]:
    """Let the platform validate the grader; return cautions."""
    if settings.method != "reinforcement" or settings.grader is None:
        return []
    grader: Any = get_grader(settings, client.account.provider)
    validate = functools.partial(client.writer.fine_tuning.alpha.graders.validate, grader=grader)
    try:
        client.call("validate the grader", validate)
    except ProviderError as error:
        if error.kind in ("missing", "unreachable"):
            return [f"The grader was not validated: {error.message}"]
        if error.kind == "rejected":
            hint = f"Correct {client.account.provider}.grader."
            raise ProviderError("rejected", error.message, hint, code=error.code) from None
        raise
    return []


def try_here(plan: Plan, settings: OpenAI, path: Path) -> TriedGrader:
    """Run a grader of Python on this machine, on the first rows of an upload file.

    Each row's own reference is the answer, then a wrong answer. Nothing is sent. Raises as ``judge``
    does.
    """
    if not isinstance(settings.grader, str) or not is_python(settings.grader):
        return TriedGrader("", [])
    try:
        grader = read_grader(Path(settings.grader))
        trial = try_grader(grader, read_items(path, grader.fields))
    except FtwizardError as error:
        raise ProviderError("rejected", error.message, error.hint, code="grader_failed") from None
    shown = make_visible(shlex.quote(settings.grader), 200)
    again = f"Try it: ftwizard grader try {shown} --rows ROWS"
    return judge(plan, trial.rows, trial.findings, again=again)


def dry_run_grader(
    client: OpenAIClient, plan: Plan, settings: OpenAI, path: Path, count: int = TRIAL_ROWS
) -> TriedGrader:
    """Grade the first rows of an upload file, each with its own reference, then with a wrong answer.

    A grader that asks a model costs its tokens. Raises ProviderError if no row can be graded, and as
    ``judge`` does.
    """
    grader: Any = get_grader(settings, client.account.provider)
    items = read_items(path, find_item_fields(grader), count)
    right = [_grade(client, grader, item, item.reference) for item in items]
    failures = dict.fromkeys(grade.message for grade in right if grade.problem)
    failed = sum(grade.problem is not None for grade in right)
    if failed and failed == len(right):
        raise ProviderError(
            "rejected",
            f"The grader failed on all of {format_count(failed, 'row')}: {'; '.join(failures)}.",
            f"Correct {client.account.provider}.grader.",
            code="grader_failed",
        )
    wrong = [
        _grade(client, grader, item, answer)
        for item, answer in zip(items, pick_wrongs(items), strict=True)
    ]
    cautions = []
    if failed:
        rows = format_count(len(items), "row")
        cautions.append(f"The grader failed on {failed} of {rows}: {'; '.join(failures)}.")
    return judge_rows(plan, make_rows(items, right, wrong), cautions)


def _grade(client: OpenAIClient, grader: Any, item: GradedItem, answer: str) -> Grade:
    """Let the platform grade an answer to a row."""
    run = functools.partial(
        client.writer.fine_tuning.alpha.graders.run,
        grader=grader, item=item.item, model_sample=answer,
    )  # fmt: skip
    reply = client.call("run the grader", run)
    if problems := _list_errors(client, reply):
        return Grade(problem="exception", message="; ".join(problems))
    return Grade(score=read_number(getattr(reply, "reward", None)))


def _list_errors(client: OpenAIClient, answer: Any) -> list[str]:
    """Return what went wrong in one run of a grader."""
    flags = getattr(getattr(answer, "metadata", None), "errors", None)
    values = dump_fields(flags)
    problems = []
    for name, value in values.items():
        if value is True:
            details = values.get(f"{name}_details")
            words = name.removeprefix("api_").replace("_", " ")
            problems.append(f"{words} ({details})" if details else words)
    return [client.account.redact(problem) for problem in problems]
