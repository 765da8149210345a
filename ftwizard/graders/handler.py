"""AWS Lambda function around a grader: its code, and the commands that create it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import msgspec

from ftwizard.errors import USAGE, FtwizardError
from ftwizard.graders.grader_file import GraderFile, require_own_name
from ftwizard.text import make_visible

MODULE = "lambda_function"
RUNTIME = "python3.13"
TIMEOUT_S = 300
"""Of one call, which has several answers. AWS's own default of 3 s is too short; 900 s is the most."""
MEMORY_MB = 512
REGIONS = {"Nova": "us-east-1", "open weights": "us-west-2"}
"""Where Bedrock trains with reinforcement; the function must be there as well."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}\Z")

_HANDLER = '''\
"""AWS Lambda function that scores answers for reinforcement at Amazon Bedrock.

Bedrock calls it with a list of answers, and expects a list of scores in the same order. The scores are
those of `grade` in @FILE@, which is in the same ZIP file. Written by ftwizard.
"""

import json
import math
import traceback
from importlib import import_module

grade = import_module("@NAME@").grade
ROLES = ("assistant", "nova_assistant")


def lambda_handler(event, context):
    """Return a score for each answer of the event."""
    rows = event if isinstance(event, list) else event.get("trajectories", [])
    return [score_row(row) for row in rows]


def score_row(row):
    """Return the score of one answer. One that cannot be graded scores 0, and is logged."""
    try:
        score = float(grade(make_sample(find_answer(row)), make_item(row)))
        if not math.isfinite(score):
            raise ValueError(f"grade returned {score}")
    except Exception:
        print(f"row {row.get('id')}:", traceback.format_exc())  # to CloudWatch
        score = 0.0
    return {
        "id": row.get("id"),
        "aggregate_reward_score": score,
        "metrics_list": [{"name": "score", "value": score, "type": "Reward"}],
    }


def find_answer(row):
    """Return the text of the last message of the model."""
    for message in reversed(row.get("messages") or []):
        if message.get("role") in ROLES:
            content = message.get("content")
            if isinstance(content, list):
                return "".join(part.get("text") or "" for part in content)
            return content or ""
    return ""


def make_item(row):
    """Return the row as `grade` gets it elsewhere: the prompt, and all other fields."""
    item = {name: value for name, value in row.items() if name not in ("metadata", "messages")}
    item.update(row.get("metadata") or {})
    messages = list(row.get("messages") or [])
    if messages and messages[-1].get("role") in ROLES:
        del messages[-1]
    item["messages"] = messages
    return item


def make_sample(text):
    """Return the answer as `grade` gets it elsewhere."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    return {"output_text": text, "output_tools": [], "output_json": value}
'''


class LambdaFunction(msgspec.Struct, frozen=True, kw_only=True):
    """The files and commands of a Lambda function."""

    handler: str
    """File with the handler."""
    name: str
    """Name of the function."""
    timeout_s: int
    commands: tuple[str, ...]
    """They pack, create and update it, then let its ARN be read."""
    cautions: tuple[str, ...] = ()


def write_handler(grader: GraderFile) -> str:
    """Return the code of the Lambda function; raise FtwizardError for a name that it cannot import."""
    name = grader.name
    if not _NAME.match(name) or name == MODULE:
        raise FtwizardError(
            f"A Lambda function cannot import the file {make_visible(Path(grader.path).name, 100)}.",
            "Rename it: up to 40 letters, digits, - and _, then .py.",
            USAGE,
        )
    require_own_name(Path(grader.path))
    return _HANDLER.replace("@FILE@", f"{name}.py").replace("@NAME@", name)


def describe_function(grader: GraderFile, handler: Path, region: str) -> LambdaFunction:
    """Return the commands that create the function of a grader in a region, and what it lacks."""
    name = f"ftwizard-{grader.name}"
    chosen = f"--function-name {name} --region {shlex.quote(region)}"
    archive = shlex.quote(str(handler.with_name(f"{grader.name}.zip")))
    files = shlex.join([str(handler), grader.path])
    options = (
        f"--runtime {RUNTIME} --handler {MODULE}.lambda_handler --zip-file fileb://{archive}"
        f" --timeout {TIMEOUT_S} --memory-size {MEMORY_MB}"
    )
    cautions = []
    if grader.installed:
        cautions.append(
            f"The grader imports {', '.join(grader.installed)}, which Lambda does not have. Add it as a"
            " layer, or do without it."
        )
    return LambdaFunction(
        handler=str(handler),
        name=name,
        timeout_s=TIMEOUT_S,
        commands=(
            f"zip -j {archive} {files}",
            f"aws lambda create-function {chosen} {options} --role EXECUTION_ROLE_ARN",
            f"aws lambda update-function-code {chosen} --zip-file fileb://{archive}",
            f"aws lambda get-function-configuration {chosen} --query FunctionArn --output text",
        ),
        cautions=tuple(cautions),
    )
