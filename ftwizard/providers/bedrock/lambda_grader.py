"""The Lambda function that grades answers: its settings, and a trial on a few rows."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftwizard.graders.grader_file import REFERENCE
from ftwizard.graders.process import Grade
from ftwizard.graders.trial import TRIAL_ROWS, GradedItem, make_rows, pick_wrongs
from ftwizard.plan.schema import Plan
from ftwizard.providers.base import ProviderError
from ftwizard.providers.bedrock.client import TIMEOUT_S, BedrockClient
from ftwizard.providers.fields import read_number
from ftwizard.providers.grader_trial import TriedGrader, judge_rows, read_items
from ftwizard.text import format_count, format_duration, make_visible

MIN_TIMEOUT_S = 60
"""Lambda's own default of 3 s is too short for a call with many answers."""
MAX_TIMEOUT_S = 900
MAX_BYTES = 5 * 2**20
"""A call takes 6 MB."""
_REGION = re.compile(r"arn:aws[a-z-]*:lambda:([a-z0-9-]+):(\d{12}):function:([^:]+)")
Sample = dict[str, Any]


def check_function(client: BedrockClient, arn: str, region: str) -> list[str]:
    """Check that a function can grade for a job in ``region``; return cautions."""
    match = _REGION.match(arn)
    if match is None or match[1] != region:
        raise ProviderError(
            "rejected",
            f"The grader {make_visible(arn, 150)} is not in {region}, where the job runs.",
            f"Create the function there: ftwizard grader lambda FILE.py --region {region}",
            code="grader_region",
        )
    function = client.connect("lambda", region)
    try:
        answer = client.call(
            "look up the grader",
            functools.partial(function.get_function_configuration, FunctionName=arn),
        )
    except ProviderError as error:
        if error.kind == "missing":
            raise ProviderError(
                "missing",
                f"There is no Lambda function {make_visible(match[3], 80)} in {region}.",
                "Create it (ftwizard grader lambda FILE writes the commands), or correct the setting"
                " grader.",
                code="no_grader",
            ) from None
        if error.kind != "permission":
            raise
        return [f"The grader was not checked: {error.message}"]
    return _check_settings(answer, match[3])


def _check_settings(answer: Mapping[str, Any], name: str) -> list[str]:
    state, timeout_s = answer.get("State"), read_number(answer.get("Timeout"))
    shown = make_visible(name, 80)
    cautions = []
    if state not in (None, "Active", "Inactive"):  # an inactive one starts at the next call
        cautions.append(f"The function {shown} is {make_visible(str(state), 40)}, not Active.")
    if timeout_s is not None and timeout_s < MIN_TIMEOUT_S:
        cautions.append(
            f"The function {shown} ends after {format_duration(timeout_s)}, which is too short to grade"
            f" many answers. Raise it: aws lambda update-function-configuration --function-name {shown}"
            " --timeout 300"
        )
    return cautions


def try_function(
    client: BedrockClient, plan: Plan, arn: str, region: str, path: Path, count: int = TRIAL_ROWS
) -> TriedGrader:
    """Let a function grade the first rows of an upload file, which leave the machine.

    Each row is graded with its reference as the answer, then with a wrong one. Raises ProviderError
    if it fails, and as ``judge`` does.
    """
    items = read_items(path, [REFERENCE], count)
    right = _grade(client, arn, region, items, [item.reference for item in items])
    wrong = _grade(client, arn, region, items, pick_wrongs(items))
    return judge_rows(plan, make_rows(items, right, wrong))


def make_sample(row: Mapping[str, Any], number: int, answer: str) -> Sample:
    """Return an answer to a row as Bedrock hands it to a grader.

    Descriptions of AWS put the reference under ``metadata``, its examples next to it: it has both.
    """
    more = {name: value for name, value in row.items() if name not in ("messages", "id")}
    messages = [*row.get("messages", []), {"role": "assistant", "content": answer}]
    return {**more, "id": str(number), "messages": messages, "metadata": more}


def _grade(
    client: BedrockClient,
    arn: str,
    region: str,
    items: Sequence[GradedItem],
    answers: Sequence[str],
) -> list[Grade]:
    """Let a function grade an answer to each row, of the first rows if all do not fit.

    Raises ProviderError if it answers with something that is not a score.
    """
    samples = [
        make_sample(item.item, number, answer)
        for number, (item, answer) in enumerate(zip(items, answers, strict=True))
    ]
    payload = json.dumps(samples, ensure_ascii=False).encode("utf-8", "replace")
    while len(payload) > MAX_BYTES and len(samples) > 1:
        samples = samples[: len(samples) // 2]
        payload = json.dumps(samples, ensure_ascii=False).encode("utf-8", "replace")
    rewards, problem = read_scores(_invoke(client, arn, region, payload), samples)
    if problem:
        raise ProviderError(
            "rejected",
            f"The grader answered with {problem}.",
            'It must return a list with {"id": ..., "aggregate_reward_score": NUMBER} for each sample.'
            " ftwizard grader lambda FILE writes such a function.",
            code="grader_answer",
        )
    return [Grade(score=reward) for reward in rewards]


def _invoke(client: BedrockClient, arn: str, region: str, payload: bytes) -> Any:
    """Return what a function answers, None if that is not JSON; raise ProviderError if it fails."""
    function = client.connect(
        "lambda", region, creates=True, timeout_s=max(TIMEOUT_S, MAX_TIMEOUT_S + 5.0)
    )
    answer = client.call(
        "run the grader",
        functools.partial(
            function.invoke, FunctionName=arn, InvocationType="RequestResponse", Payload=payload
        ),
    )
    body = client.guard("read the answer of the grader", lambda: answer["Payload"].read())
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if answer.get("FunctionError"):
        raise _explain_error(client, value)
    return value


def _explain_error(client: BedrockClient, value: Any) -> ProviderError:
    """Return the error for a function that failed."""
    details = value if isinstance(value, Mapping) else {}
    texts = (str(details.get(name) or "") for name in ("errorType", "errorMessage"))
    text = client.account.redact(": ".join(filter(None, texts)))
    return ProviderError(
        "rejected",
        f"The grader failed: {text.rstrip('.') or 'it gives no reason'}.",
        "Correct the function; its log is in CloudWatch.",
        code="grader_failed",
    )


def read_scores(value: Any, samples: Sequence[Sample]) -> tuple[list[float], str]:
    """Return the scores in an answer, and what is wrong with it; the latter is empty for a valid one."""
    if not isinstance(value, list):
        return [], "something that is not a list"
    if len(value) != len(samples):
        return [], f"{format_count(len(value), 'score')} for {format_count(len(samples), 'sample')}"
    scores = []
    for entry, sample in zip(value, samples, strict=True):
        if not isinstance(entry, Mapping) or str(entry.get("id")) != sample["id"]:
            return [], "an entry without the id of its sample"
        score = entry.get("aggregate_reward_score")
        if (
            isinstance(score, bool)
            or not isinstance(score, int | float)
            or not math.isfinite(score)
        ):
            return [], "an aggregate_reward_score that is not a number"
        scores.append(float(score))
    return scores, ""
