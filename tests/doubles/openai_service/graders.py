"""Graders of reinforcement fine-tuning: validation, and a run on one sample."""

from __future__ import annotations

import ast
import difflib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

TEMPLATE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
ERRORS = (
    "formula_parse_error",
    "sample_parse_error",
    "truncated_observation_error",
    "unresponsive_reward_error",
    "invalid_variable_error",
    "other_error",
    "python_grader_server_error",
    "python_grader_runtime_error",
    "model_grader_server_error",
    "model_grader_refusal_error",
    "model_grader_parse_error",
)
DETAILS = (
    "python_grader_server_error_type",
    "python_grader_runtime_error_details",
    "model_grader_server_error_details",
)
FUNCTIONS: dict[str, Callable[..., float]] = {"min": min, "max": max, "abs": abs, "round": round}


CALLER = "import json, sys\nprint(float(grade(*json.load(sys.stdin))))"
SOURCE_S = 20.0


class SourceFailed(Exception):
    """Raised where a grader's own code fails."""


class VariableMissing(Exception):
    """Raised where a template names what neither the item nor the sample has."""


def find_problem(grader: dict[str, Any], models: set[str]) -> str | None:
    """Return what is wrong with a grader that follows the schema; None if nothing is."""
    kind = grader["type"]
    if kind == "multi":
        for inner in grader["graders"].values():
            if problem := find_problem(inner, models):
                return problem
        return _find_formula_problem(grader["calculate_output"], set(grader["graders"]))
    if kind == "python":
        return _find_source_problem(grader["source"])
    if kind in ("score_model", "label_model") and grader["model"] not in models:
        return f"Model {grader['model']} is not available for grading."
    for text in TEMPLATE.findall(json.dumps(grader)):
        namespace = text.split(".")[0].split("[")[0]
        if namespace not in ("item", "sample"):
            return f"Invalid template variable '{text}': it must begin with 'item' or 'sample'."
    return None


def _find_source_problem(source: str) -> str | None:
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return f"The source of the python grader is invalid: {error.msg} (line {error.lineno})."
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    if not any(function.name == "grade" for function in functions):
        return "The source of the python grader must define grade(sample, item)."
    return None


def _find_formula_problem(formula: str, names: set[str]) -> str | None:
    try:
        tree = ast.parse(formula, mode="eval")
    except SyntaxError:
        return f"calculate_output cannot be parsed: {formula}"
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    unknown = sorted(used - names - set(FUNCTIONS))
    return f"calculate_output names an unknown grader: {unknown[0]}" if unknown else None


def run(grader: dict[str, Any], item: dict[str, Any], text: str) -> dict[str, Any]:
    """Return what the service answers to a run of a grader."""
    errors: dict[str, Any] = dict.fromkeys(ERRORS, False)
    errors |= dict.fromkeys(DETAILS)
    start = time.monotonic()
    scores: dict[str, float] = {}
    try:
        reward = _score(grader, item, _make_sample(text), scores)
    except VariableMissing:
        reward = 0.0
        errors["invalid_variable_error"] = True
    except SourceFailed as error:
        reward = 0.0
        errors["python_grader_runtime_error"] = True
        errors["python_grader_runtime_error_details"] = str(error)
    return {
        "reward": float(reward),
        "metadata": {
            "name": grader.get("name") or "grader",
            "type": grader["type"],
            "errors": errors,
            "execution_time": round(time.monotonic() - start, 6),
            "scores": scores,
            "token_usage": None,
            "sampled_model_name": None,
        },
        "sub_rewards": scores,
        "model_grader_token_usage_per_model": {},
    }


def _make_sample(text: str) -> dict[str, Any]:
    sample: dict[str, Any] = {"output_text": text, "output_tools": []}
    with suppress(ValueError):
        sample["output_json"] = json.loads(text)
    return sample


def _score(
    grader: dict[str, Any], item: dict[str, Any], sample: dict[str, Any], scores: dict[str, float]
) -> float:
    kind = grader["type"]
    if kind == "multi":
        for name, inner in grader["graders"].items():
            scores[name] = _score(inner, item, sample, {})
        code = compile(grader["calculate_output"], "<formula>", "eval")
        return float(eval(code, {"__builtins__": {}}, {**FUNCTIONS, **scores}))
    if kind == "python":
        return _run_source(grader["source"], sample, item)
    names = {"item": item, "sample": sample}
    if kind in ("score_model", "label_model"):
        # The model that grades: how much of the item's texts the sample has.
        texts = [value for value in item.values() if isinstance(value, str)]
        return max((_compare(value, sample["output_text"]) for value in texts), default=0.0)
    left, right = _fill(grader["input"], names), _fill(grader["reference"], names)
    if kind == "text_similarity":
        return _compare(left, right)
    operation = grader["operation"]
    if operation in ("eq", "ne"):
        return float((left == right) == (operation == "eq"))
    if operation == "ilike":
        left, right = left.lower(), right.lower()
    return float(right in left)


def _run_source(source: str, sample: dict[str, Any], item: dict[str, Any]) -> float:
    """Run a grader's own code in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"{source}\n{CALLER}"],
        check=False,
        input=json.dumps([sample, item]),
        capture_output=True,
        text=True,
        timeout=SOURCE_S,
    )
    if done.returncode:
        raise SourceFailed(done.stderr.strip().splitlines()[-1])
    return float(done.stdout.splitlines()[-1])


def _compare(left: str, right: str) -> float:
    return difflib.SequenceMatcher(None, left, right).ratio()


def _fill(template: str, names: dict[str, Any]) -> str:
    def replace(match: re.Match[str]) -> str:
        value: Any = names
        for part in match[1].split("."):
            if not isinstance(value, dict) or part not in value:
                raise VariableMissing(match[1])
            value = value[part]
        return value if isinstance(value, str) else json.dumps(value)

    return TEMPLATE.sub(replace, template)
