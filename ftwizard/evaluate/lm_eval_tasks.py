"""Tasks of lm-eval as sets, where it is installed: it asks and scores local models itself.

Items come from a run with lm-eval's model ``dummy``, which builds all prompts and asks nothing. Each
arm is then asked by a process of its own, for the items drawn only.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.data.privacy.quote import quote
from ftwizard.errors import FtwizardError
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.items import Item
from ftwizard.plan.schema import LM_EVAL, Recipe
from ftwizard.runs.evaluation import ItemAnswer, ItemScore
from ftwizard.train import model_loading, runtime

POLL_S = 0.5
GRACE_S = 5.0
"""Between asking the process to end and ending it."""
BATCH_SIZE = 8
_PROGRESS = re.compile(r"Running \w+ requests:[^\r\n]*?(\d+)/(\d+) \[")
_TAIL_BYTES = 4096
_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
_BINARY = ("acc", "acc_norm", "exact_match", "em", "pass@1")
"""Metrics by which an item is right or wrong; others are graded."""
OnProgress = Callable[[int, int], None]
"""Called with the requests done and in total; may raise Stopped."""


class _Sample(msgspec.Struct, frozen=True):
    """A line of lm-eval's ``samples_<task>_<time>.jsonl``."""

    doc_id: int
    doc_hash: str
    target: Any
    arguments: dict[str, dict[str, Any]]
    filtered_resps: list[Any]
    metrics: list[str]
    scores: dict[str, Any]
    """Its other fields, which are the metrics."""


def is_task(name: str) -> bool:
    """Return whether the name of a set is a task of lm-eval, not a file."""
    return name.startswith(LM_EVAL)


def require_installed() -> list[str]:
    """Return the command of lm-eval; raise FtwizardError if it is not installed."""
    if importlib.util.find_spec("lm_eval"):
        return [sys.executable, "-m", "lm_eval"]
    if program := shutil.which("lm-eval"):
        return [program]
    raise FtwizardError(
        "lm-eval is not installed.", "Install it with: pip install 'lm-eval>=0.4.13'"
    )


def make_items(name: str, on_progress: OnProgress = lambda done, total: None) -> list[Item]:
    """Return the items of ``lm-eval:TASK``: of a task, a group of tasks, or the YAML file of one.

    Raises FtwizardError if lm-eval is not installed, does not know the task, or if the task has no
    metric from 0 to 1.
    """
    with tempfile.TemporaryDirectory(prefix="ftwizard-lm-eval-") as folder:
        arguments = ["--model", "dummy", "--tasks", _find_task(name)]
        _run(arguments, Path(folder), name, on_progress)
        samples = _read_samples(Path(folder))
    items = [_make_item(name, task, sample) for task, sample in samples]
    if not samples or not any(_find_metric(sample) for _, sample in samples):
        raise FtwizardError(
            f"{quote(name, 80)} has no metric from 0 to 1 for each item.",
            "Choose another task: lm-eval ls tasks",
        )
    return list({item.id: item for item in items}.values())


def answer(
    arm: Arm,
    items: Sequence[Item],
    *,
    recipe: Recipe,
    on_progress: OnProgress = lambda done, total: None,
) -> list[ItemAnswer]:
    """Return the answers of a local model to items of one call of ``make_items``, scored by lm-eval.

    The model's chat template is used if it has one. An endpoint and a weaker adapter cannot be asked:
    then answers have no score, and say why. Raises FtwizardError if lm-eval fails.
    """
    if arm.is_endpoint or arm.scale != 1.0:
        note = "lm-eval asks models in a folder, with their full adapter."
        return [ItemAnswer(item=item.id, text="", score=ItemScore(note=note)) for item in items]
    wanted: dict[str, list[int]] = {}
    for item in items:
        wanted.setdefault(item.rule["task"], []).append(item.rule["doc_id"])
    import torch

    precision = runtime.choose_precision(recipe, model_loading.read_config(Path(arm.model)))
    model = {"pretrained": arm.model, "dtype": _DTYPES[precision]}
    if arm.adapter:
        model["peft"] = arm.adapter
    arguments = [
        "--model", "hf", "--model_args", msgspec.json.encode(model).decode(),
        "--tasks", _find_task(items[0].rule["source"]), "--samples", msgspec.json.encode(wanted).decode(),
        "--batch_size", str(BATCH_SIZE), "--device", "cuda" if torch.cuda.is_available() else "cpu",
    ]  # fmt: skip
    if _has_template(Path(arm.model)):
        arguments.append("--apply_chat_template")
    with tempfile.TemporaryDirectory(prefix="ftwizard-lm-eval-") as folder:
        _run(arguments, Path(folder), items[0].set, on_progress)
        by_doc = {(part, sample.doc_hash): sample for part, sample in _read_samples(Path(folder))}
    return [_make_answer(item, by_doc) for item in items]


def _find_task(name: str) -> str:
    """Return the task as lm-eval takes it: a name, or the absolute path of a YAML file."""
    task = name.removeprefix(LM_EVAL)
    return str(Path(task).absolute()) if task.endswith((".yaml", ".yml")) else task


def _has_template(model: Path) -> bool:
    if (model / "chat_template.jinja").exists():
        return True
    try:
        return b'"chat_template"' in (model / "tokenizer_config.json").read_bytes()
    except OSError:
        return False


def _run(arguments: list[str], folder: Path, name: str, on_progress: OnProgress) -> None:
    """Run lm-eval with its output in ``folder``; raise FtwizardError with its last line if it fails."""
    command = [*require_installed(), "run", *arguments, "--output_path", str(folder)]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--log_samples"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=folder,
        )  # fmt: skip
    try:
        while process.poll() is None:
            if match := list(_PROGRESS.finditer(_read_tail(log))):
                on_progress(int(match[-1][1]), int(match[-1][2]))
            else:
                on_progress(0, 0)
            time.sleep(POLL_S)
    finally:
        _end(process)
    if process.returncode:
        lines = [line for line in _read_tail(log).splitlines() if line.strip()]
        reason = quote(lines[-1], 200) if lines else f"exit code {process.returncode}"
        raise FtwizardError(
            f"lm-eval failed on {quote(name, 80)}: {reason}.",
            "Tasks that it knows: lm-eval ls tasks",
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read_tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _TAIL_BYTES))
        return file.read().decode("utf-8", "replace").replace("\r", "\n")


def _read_samples(folder: Path) -> list[tuple[str, _Sample]]:
    """Return the samples of each task; of several filters of an answer, the first.

    Raises FtwizardError for a file in another form, such as that of another version.
    """
    samples: dict[tuple[str, int], _Sample] = {}
    for path in sorted(folder.rglob("samples_*.jsonl")):
        task = re.sub(r"^samples_|_\d{4}-\d\d-\d\dT[^_]*$", "", path.stem)
        for line in path.read_bytes().splitlines():
            try:
                fields = msgspec.json.decode(line)
                sample = msgspec.convert({**fields, "scores": fields}, _Sample)
            except (msgspec.MsgspecError, TypeError):
                raise FtwizardError(
                    f"The samples of lm-eval for {quote(task, 80)} are in an unknown form.",
                    "Install the version that was tried: pip install lm-eval==0.4.13",
                ) from None
            samples.setdefault((task, sample.doc_id), sample)
    return [(task, sample) for (task, _), sample in samples.items()]


def _make_item(name: str, task: str, sample: _Sample) -> Item:
    prompt = str(_first_arguments(sample).get("arg_0", ""))
    return Item(
        id=f"{task}-{sample.doc_hash[:12]}",
        set=LM_EVAL + Path(name.removeprefix(LM_EVAL)).stem,
        messages=[{"role": "user", "content": prompt}],
        scorer="lm_eval",
        expected=[_name_target(sample)],
        rule={
            "source": name,
            "task": task,
            "doc_id": sample.doc_id,
            "doc_hash": sample.doc_hash,
        },
        category=task,
    )


def _first_arguments(sample: _Sample) -> dict[str, Any]:
    return next(iter(sample.arguments.values()), {})


def _list_choices(sample: _Sample) -> list[str]:
    """Return the texts that were compared by their likelihood; none for a generated answer."""
    texts = [arguments.get("arg_1") for arguments in sample.arguments.values()]
    pairs = all(isinstance(pair, list) and len(pair) == 2 for pair in sample.filtered_resps)
    return [str(text).strip() for text in texts] if len(texts) > 1 and pairs else []


def _name_target(sample: _Sample) -> str:
    choices, target = _list_choices(sample), str(sample.target)
    is_index = target.isdigit() and int(target) < len(choices)
    return choices[int(target)] if is_index else target


def _find_metric(sample: _Sample) -> str | None:
    """Return the first metric that is a share: ``acc`` before ``acc_norm``."""
    for metric in sample.metrics:
        value = sample.scores.get(metric)
        if isinstance(value, int | float) and 0 <= value <= 1:
            return metric
    return None


def _make_answer(item: Item, by_doc: dict[tuple[str, str], _Sample]) -> ItemAnswer:
    sample = by_doc.get((item.rule["task"], item.rule["doc_hash"]))
    metric = _find_metric(sample) if sample else None
    if sample is None or metric is None:
        note = "lm-eval has no score for it."
        return ItemAnswer(item=item.id, text="", score=ItemScore(note=note))
    value = float(sample.scores[metric])
    score = ItemScore(value=value, passed=bool(value) if metric in _BINARY else None)
    return ItemAnswer(item=item.id, text=_name_answer(sample), score=score)


def _name_answer(sample: _Sample) -> str:
    """Return the generated answer, or the most likely choice."""
    if choices := _list_choices(sample):
        likelihoods = [float(pair[0]) for pair in sample.filtered_resps]
        return choices[likelihoods.index(max(likelihoods))]
    return str(sample.filtered_resps[0]) if sample.filtered_resps else ""
