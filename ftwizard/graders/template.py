"""Template of a grader: worked examples for answers that a program can check."""

from __future__ import annotations

from typing import Literal, get_args

from ftwizard.graders.grader_file import REFERENCE

GraderKind = Literal["exact", "number", "json"]
KINDS: tuple[GraderKind, ...] = get_args(GraderKind)

_TEMPLATE = '''\
"""Grader for reinforcement fine-tuning: scores one answer of the model, from 0 to 1.

The function `grade` below is called for each answer with two dictionaries:

    sample["output_text"]   the answer of the model, as text
    item                    the row: its messages, and each of its other fields

Three worked examples follow it. Keep the one that fits, and delete the others:

    grade_exact    One right wording: a label, a choice, a name, yes or no.
    grade_number   One right number, which may be rounded or end a worked solution.
    grade_json     An object whose fields count one by one, such as extracted data.

An answer whose quality is a matter of taste, such as a summary or a tone, cannot be graded this way.

What makes a grader good:

- The right answer has the highest score, every time. A model finds and uses each exception.
- An answer that cannot be read scores 0; it does not raise an error.
- Partly right answers score between 0 and 1, where that makes sense: the model then learns earlier.
- It takes milliseconds, uses no network, no files, and little except the standard library.

Try it on ten rows:          ftwizard grader try @FILE@ --rows ROWS.jsonl
For Amazon Bedrock (Lambda): ftwizard grader lambda @FILE@
"""

import json
import math
import re

TOLERANCE = 0.001  # relative: 100.1 is as right as 100


def grade(sample, item) -> float:
    """Return the score of one answer: 1 is right, 0 is wrong."""
    return grade_@KIND@(sample["output_text"], item["@FIELD@"])


def grade_exact(answer, reference) -> float:
    """Compare texts, without regard to case, spaces and a period at the end."""
    return float(clean(answer) == clean(reference))


def clean(text):
    return " ".join(str(text).casefold().split()).rstrip(".")


def grade_number(answer, reference) -> float:
    """Compare the last number of the answer with that of the reference."""
    number, wanted = find_number(answer), find_number(reference)
    if number is None or wanted is None:
        return 0.0
    return float(math.isclose(number, wanted, rel_tol=TOLERANCE, abs_tol=1e-9))


def find_number(text):
    """Return the last number of a text, also one with commas as in 1,250.5; None without any."""
    numbers = re.findall(r"-?\\d[\\d,]*(?:\\.\\d+)?(?:[eE][+-]?\\d+)?", str(text))
    return float(numbers[-1].replace(",", "")) if numbers else None


def grade_json(answer, reference) -> float:
    """Return the share of the reference's fields that the answer has with the same value."""
    value, wanted = read_json(answer), read_json(reference)
    if not isinstance(wanted, dict) or not isinstance(value, dict):
        return float(value == wanted and wanted is not None)
    names = wanted.keys() | value.keys()  # a field too many is wrong, too
    right = sum(name in value and name in wanted and value[name] == wanted[name] for name in names)
    return right / len(names) if names else 1.0


def read_json(value):
    """Return the value of a text with JSON, also within ``` fences; None if it is not JSON."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("```"):
        text = text.strip("`").removeprefix("json")
    try:
        return json.loads(text)
    except ValueError:
        return None
'''


def write_template(file: str, kind: GraderKind = "exact", field: str = REFERENCE) -> str:
    """Return a grader to edit. ``file`` is its name; ``field`` has the right answer of a row."""
    literal = field.replace("\\", "\\\\").replace('"', '\\"')
    return _TEMPLATE.replace("@KIND@", kind).replace("@FIELD@", literal).replace("@FILE@", file)
