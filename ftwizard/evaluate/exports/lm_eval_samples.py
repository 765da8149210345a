"""Samples files of lm-eval: a line for each item, with the model's answer and its score.

The format is that of lm-eval 0.4.13 (``lm_eval.result_schema.SampleResult``): a folder for each
model, in it a file for each set. Files of different models join on ``doc_hash``.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ftwizard.evaluate.exports.recorded import Recorded, RecordedSet, to_file_name
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.prompts import build_messages
from ftwizard.runs.evaluation import ItemAnswer


def make_samples(recorded: Recorded) -> dict[str, bytes]:
    """Return the content of the files by their path: ``tuned/samples_target_<date>.jsonl``."""
    date = recorded.created.replace(tzinfo=None).isoformat().replace(":", "-")
    return {
        f"{to_file_name(part.arm.name)}/samples_{to_file_name(part.name)}_{date}.jsonl": _to_lines(
            part
        )
        for part in recorded.sets()
    }


def _to_lines(part: RecordedSet) -> bytes:
    lines = [
        json.dumps(_to_sample(number, part, item, answer), ensure_ascii=False)
        for number, (item, answer) in enumerate(part.pairs)
    ]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def _to_sample(number: int, part: RecordedSet, item: Item, answer: ItemAnswer) -> dict[str, Any]:
    """Return a sample. An answer that could not be scored has no metric."""
    doc = _to_doc(item)
    target = item.expected[0] if item.expected else ""
    prompt = json.dumps(build_messages(part.arm, item), ensure_ascii=False)
    scores: dict[str, float] = {}
    if answer.score and answer.score.value is not None:
        scores["score"] = answer.score.value
        if answer.score.passed is not None:
            scores["acc"] = float(answer.score.passed)
    return {
        "doc_id": number,
        "doc": doc,
        "target": target,
        "arguments": {
            "gen_args_0": {
                "arg_0": prompt,
                "arg_1": {"until": [], "max_gen_toks": item.max_tokens, "do_sample": False},
            }
        },
        "resps": [[answer.text]],
        "filtered_resps": [answer.text],
        "filter": "none",
        "metrics": list(scores),
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(prompt),
        "target_hash": _hash(target),
        **scores,
    }


def _to_doc(item: Item) -> dict[str, Any]:
    """Return an item with the same fields and types in each row, so that `datasets` loads the file."""
    return {
        "id": item.id,
        "set": item.set,
        "messages": json.dumps(item.messages, ensure_ascii=False),
        "scorer": item.scorer,
        "expected": item.expected,
        "rule": json.dumps(item.rule, ensure_ascii=False),
        "category": item.category,
        "line": item.line,
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
