"""Graders of reinforcement fine-tuning: reading one from the plan, its check, and a dry run."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import strict_yaml
from ftwizard.errors import FtwizardError
from ftwizard.graders.grader_file import (
    find_reference,
    is_python,
    parse_grader,
    read_grader,
)
from ftwizard.graders.trial import TRIAL_ROWS, GradedItem, Trial, try_grader
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.plan.schema import OpenAI
from ftwizard.providers.base import ProviderError
from ftwizard.providers.fields import read_number
from ftwizard.providers.openai.client import OpenAIClient
from ftwizard.providers.openai.jobs import dump_fields
from ftwizard.text import format_count, make_visible

_REFERENCE = re.compile(r"\{\{\s*item\.([A-Za-z_]\w*)")


class GraderTrial(msgspec.Struct, frozen=True, kw_only=True):
    """What a grader made of a few rows, each with its own reference as the answer."""

    rows: int
    rewards: tuple[float, ...] = ()
    errors: tuple[str, ...] = ()
    """What the platform said of the rows that it could not grade, each once."""
    failed: int = 0
    """Rows that it could not grade."""

    def describe(self) -> list[str]:
        """Return cautions; none if all rows were graded and their rewards differ from 0."""
        cautions = []
        if self.failed:
            rows = format_count(self.rows, "row")
            cautions.append(
                f"The grader failed on {self.failed} of {rows}: {'; '.join(self.errors)}."
            )
        if self.rewards and not any(self.rewards):
            count = format_count(len(self.rewards), "answer")
            cautions.append(
                f"The grader gave {count} the reward 0, although each was the reference of its row."
                " Check which field of the rows it reads."
            )
        return cautions


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


def read_first_rows(path: Path, count: int = TRIAL_ROWS) -> list[dict[str, Any]]:
    """Return the first rows of an upload file (JSON Lines, with or without a byte-order mark)."""
    with path.open(encoding="utf-8-sig") as file:
        lines = itertools.islice((line for line in file if line.strip()), count)
        rows = [json.loads(line) for line in lines]
    return [row for row in rows if isinstance(row, dict)]


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


def try_here(settings: OpenAI, path: Path) -> list[str]:
    """Run a grader of Python on this machine, on the first rows of an upload file; return cautions.

    Each row's own reference is the answer, then a wrong answer. Nothing is sent. Raises ProviderError
    if no row can be graded.
    """
    if not isinstance(settings.grader, str) or not is_python(settings.grader):
        return []
    try:
        grader = read_grader(Path(settings.grader))
        rows = enumerate(read_first_rows(path), start=1)
        items = [
            GradedItem(line=line, item=row, reference=find_reference(row, grader.fields))
            for line, row in rows
        ]
        trial = try_grader(grader, items)
    except FtwizardError as error:
        raise ProviderError("rejected", error.message, error.hint, code="grader_failed") from None
    if trial.rows and all(row.right_grade.problem for row in trial.rows):
        raise ProviderError(
            "rejected",
            f"{trial.findings[0].message} No row was sent.",
            f"{trial.findings[0].fix} Then: ftwizard grader try"
            f" {make_visible(shlex.quote(settings.grader), 200)} --rows ROWS",
            code="grader_failed",
        )
    return _list_cautions(trial)


def _list_cautions(trial: Trial) -> list[str]:
    return [f"On this machine: {finding.message} {finding.fix}" for finding in trial.findings]


def dry_run_grader(
    client: OpenAIClient, settings: OpenAI, path: Path, count: int = TRIAL_ROWS
) -> GraderTrial:
    """Grade the first rows of an upload file, each with its own reference as the answer.

    A grader that asks a model costs its tokens. Raises ProviderError if no row can be graded.
    """
    grader: Any = get_grader(settings, client.account.provider)
    fields = find_item_fields(grader)
    rows = read_first_rows(path, count)
    rewards, messages, failed = [], [], 0
    for row in rows:
        run = functools.partial(
            client.writer.fine_tuning.alpha.graders.run,
            grader=grader, item=row, model_sample=find_reference(row, fields),
        )  # fmt: skip
        answer = client.call("run the grader", run)
        problems = _list_errors(client, answer)
        messages += problems
        failed += bool(problems)
        reward = read_number(getattr(answer, "reward", None))
        if not problems and reward is not None:
            rewards.append(reward)
    if rows and failed == len(rows):
        raise ProviderError(
            "rejected",
            f"The grader failed on all of {format_count(failed, 'row')}:"
            f" {'; '.join(dict.fromkeys(messages))}.",
            f"Correct {client.account.provider}.grader.",
            code="grader_failed",
        )
    return GraderTrial(
        rows=len(rows),
        rewards=tuple(rewards),
        errors=tuple(dict.fromkeys(messages)),
        failed=failed,
    )


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
