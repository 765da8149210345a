"""Logs of inspect_ai as JSON: one for each set and model, which ``inspect view`` opens.

The format is version 2 of ``inspect_ai.log.EvalLog``, checked with inspect_ai 0.3.285.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from ftwizard import __version__
from ftwizard.data.example import get_text
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.prompts import build_messages
from ftwizard.jobs.folder import write_whole
from ftwizard.runs import paired_tests
from ftwizard.runs.environment import read_versions
from ftwizard.runs.evaluation import ItemAnswer, SetResult

_SCORER = "ftwizard"
_ROLES = {"developer": "system", "function": "tool"}
_LIBRARIES = ("torch", "transformers", "peft")
_INPUTS = {
    "train": "training data", "validation": "validation data", "test": "test data",
    "split": "split of the data", "weights": "base weights", "template": "chat template",
}  # fmt: skip


class RecordedSet(NamedTuple):
    """The answers of one model to one set."""

    name: str
    arm: Arm
    pairs: list[tuple[Item, ItemAnswer]]


class Recorded(NamedTuple):
    """All answers of an evaluation."""

    items: Sequence[Item]
    arms: Sequence[Arm]
    answers: Mapping[str, Sequence[ItemAnswer]]
    """By the name of the arm."""
    created: datetime
    """With a time zone."""

    def sets(self) -> Iterator[RecordedSet]:
        """Yield each set of each arm that has answers, with the items in their order."""
        for arm in self.arms:
            lines = {answer.item: answer for answer in self.answers.get(arm.name, ())}
            by_set: dict[str, list[tuple[Item, ItemAnswer]]] = {}
            for item in {item.id: item for item in self.items}.values():
                if answer := lines.get(item.id):
                    by_set.setdefault(item.set, []).append((item, answer))
            for name, pairs in by_set.items():
                yield RecordedSet(name, arm, pairs)


def write_logs(
    folder: Path, recorded: Recorded, sets: Mapping[str, SetResult], facts: Mapping[str, str]
) -> None:
    """Write the logs into ``folder``; earlier ones are removed. Arguments as in ``make_logs``.

    Raises OSError.
    """
    logs = make_logs(recorded, sets, facts)
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, data in logs.items():
        write_whole(folder / name, data)
    for path in folder.glob("*.json"):
        if path.name not in logs:
            path.unlink(missing_ok=True)


def list_facts(recorded: Recorded, hashes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what an evaluation was made from: models, hashes of the inputs, and versions."""
    yield "date", recorded.created.isoformat(sep=" ", timespec="minutes")
    for arm in recorded.arms:
        adapter = f" with {arm.adapter}" if arm.adapter else ""
        strength = f", strength {arm.scale:g}" if arm.scale != 1 else ""
        yield f"{arm.name} model", f"{arm.served_name or arm.model}{adapter}{strength}"
    for part, name in _INPUTS.items():
        if part in hashes:
            yield name, hashes[part]
    ids = "\n".join(item.id for item in recorded.items).encode("utf-8", "replace")
    yield "items", f"{len(recorded.items):,}, sha256 of their ids {hashlib.sha256(ids).hexdigest()}"
    yield "ftwizard", __version__
    yield from read_versions(_LIBRARIES).items()


def make_logs(
    recorded: Recorded, sets: Mapping[str, SetResult], facts: Mapping[str, str]
) -> dict[str, bytes]:
    """Return the content of the files by their name: ``<date>_target_tuned.json``.

    ``sets``: the results, whose scores and intervals the logs have as metrics. ``facts``: what they were
    made from, by name.
    """
    date = recorded.created.isoformat(timespec="seconds")
    logs = {}
    for part in recorded.sets():
        task = f"{_to_file_name(part.name)}_{_to_file_name(part.arm.name)}"
        log = _to_log(part, date, sets.get(part.name), facts)
        text = json.dumps(log, ensure_ascii=False, indent=2)
        logs[f"{date.replace(':', '-')}_{task}.json"] = text.encode("utf-8", "replace")
    return logs


def _to_log(
    part: RecordedSet, date: str, result: SetResult | None, facts: Mapping[str, str]
) -> dict[str, Any]:
    name = f"{part.name}_{part.arm.name}"
    ids = [item.id for item, _ in part.pairs]
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "eval_id": _make_id(date, name),
            "run_id": _make_id(date),
            "created": date,
            "task": part.name,
            "task_id": _make_id(name),
            "task_version": 0,
            "dataset": {
                "name": part.name,
                "samples": len(ids),
                "sample_ids": ids,
                "shuffled": False,
            },
            "model": _name_model(part),
            "model_args": {"adapter": part.arm.adapter, "scale": part.arm.scale},
            "config": {},
            "packages": {"ftwizard": __version__},
            "metadata": {"arm": part.arm.name, **facts},
        },
        "plan": {},
        "results": {
            "total_samples": len(ids),
            "completed_samples": len(ids),
            "scores": [_to_scores(part, result)],
        },
        "stats": {"started_at": date, "completed_at": date},
        "samples": [_to_sample(part, item, answer) for item, answer in part.pairs],
    }


def _name_model(part: RecordedSet) -> str:
    return part.arm.served_name or part.arm.model


def _to_scores(part: RecordedSet, result: SetResult | None) -> dict[str, Any]:
    values = [answer.value for _, answer in part.pairs if answer.value is not None]
    score = result.arms.get(part.arm.name) if result else None
    mean = sum(values) / len(values) if values else 0.0
    low, high = (score.low, score.high) if score else paired_tests.bound_mean(values)
    metrics = {"mean": score.score if score else mean, "ci_low": low, "ci_high": high}
    return {
        "name": _SCORER,
        "scorer": _SCORER,
        "scored_samples": len(values),
        "unscored_samples": len(part.pairs) - len(values),
        "metrics": {name: {"name": name, "value": value} for name, value in metrics.items()},
    }


def _to_sample(part: RecordedSet, item: Item, answer: ItemAnswer) -> dict[str, Any]:
    messages = [_to_message(message) for message in build_messages(part.arm, item)]
    reply = {"role": "assistant", "content": answer.text, "source": "generate"}
    reason = "stop" if answer.ended else "max_tokens"
    sample: dict[str, Any] = {
        "id": item.id,
        "epoch": 1,
        "input": messages,
        "target": item.expected,
        "messages": [*messages, reply],
        "output": {
            "model": _name_model(part),
            "choices": [{"message": reply, "stop_reason": reason}],
            "completion": answer.text,
        },
        "metadata": {"scorer": item.scorer, "category": item.category, "line": item.line},
    }
    if answer.value is not None:
        sample["scores"] = {_SCORER: {"value": answer.value, "answer": answer.text}}
    elif answer.score:
        sample["metadata"]["unscored"] = answer.score.note
    return sample


def _to_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message of inspect; a call of a tool is in its text, as its JSON."""
    role = str(message.get("role"))
    text = get_text(dict(message))
    if calls := message.get("tool_calls"):
        text = "\n".join(filter(None, (text, json.dumps(calls, ensure_ascii=False))))
    return {"role": _ROLES.get(role, role), "content": text}


def _make_id(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:22]


def _to_file_name(name: str) -> str:
    return re.sub(r"\W", "_", name)[:60] or "_"
