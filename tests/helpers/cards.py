"""Records of runs to make model cards from, written as a run writes them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from huggingface_hub import ModelCard

from ftwizard.evaluate import frozen_items, personal_items
from ftwizard.evaluate.frozen_items import DrawnSet
from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import Attempt, JobFolder, JobRecord, write_json
from ftwizard.plan.schema import Data, Evaluate, Files, Gate, Model, Plan, Recipe
from ftwizard.quantity import Figure
from ftwizard.runs import environment
from ftwizard.runs.checkpoints import MARKER
from ftwizard.runs.custody import FILE, Custody, Hop
from ftwizard.runs.environment import Environment, UsedGpu
from ftwizard.runs.evaluation import Evaluation, Failure, Flip, NearRow
from ftwizard.runs.exports import ExportRecord, ExportTool, GgufFacts
from ftwizard.runs.merge_proof import PROOF, BehaviorCheck, MergeProof
from ftwizard.runs.prediction import RunFigures
from ftwizard.runs.result import MergedModel
from tests.evaluate.test_sets import make_row
from tests.helpers.results import make_run_result, make_trained
from tests.runs import test_ship_verdict

PRIVATE = "Ada Lovelace, order 4711-A, still waits for her blue teapot"
"""Text of a training row, which no card may quote."""
FOLDER = "/home/ada/secret-project"
"""A folder of the machine, which no card may name."""
BASE = "Qwen/Qwen3-0.6B"


def make_plan(**recipe: Any) -> Plan:
    files = Files(train=f"{FOLDER}/tickets.jsonl", validation=None, test=f"{FOLDER}/test.jsonl")
    return Plan(
        data=Data(files=files), model=Model(name=BASE), recipe=Recipe(**recipe),
        evaluate=Evaluate(system=PRIVATE),
    )  # fmt: skip


def make_bare_run(home: Path, run_id: str = "tickets-1124", **trained: Any) -> JobFolder:
    """Return a run of which hardly more is recorded than that it trained."""
    folder = JobFolder(home / "runs" / run_id)
    (folder.path / "attempts").mkdir(parents=True)
    write_json(folder.job, JobRecord(kind="train", argv=[], version="0.1.0", created=time.time()))
    write_json(folder.trained, make_trained(**trained))
    return folder


def make_run(home: Path, *, method: str = "lora", **trained: Any) -> JobFolder:
    """Return a run with everything that a record can have."""
    folder = make_bare_run(home, method=method, base=f"{FOLDER}/base", **_fill(trained, method))
    plan = make_plan(method=method)
    model = {
        "kind": "hub", "name": BASE, "fingerprint": "c0ffee" * 4, "commit": "c0ffee" * 4,
        "said": f"{BASE} from the Hugging Face Hub (commit c0ffee)",
    }  # fmt: skip
    job = JobRecord(
        kind="train", argv=[FOLDER], version="0.1.0", created=time.time(),
        hashes={"train": "ab" * 32, "test": "cd" * 32, "split": "ef" * 32, "model": "c0ffee" * 4},
        inputs={"model": model}, plan=msgspec.to_builtins(plan),
    )  # fmt: skip
    write_json(folder.job, job)
    write_json(
        folder.attempt(1),
        Attempt(number=1, started=1.0, host="ada-laptop", argv=[FOLDER], plan=job.plan),
    )
    write_events(folder, [2.5, 1.5, 1.0, 0.9], [(2, 1.4), (4, 0.95)])
    _write_environment(folder)
    write_result(folder, method)
    folder.evaluations.mkdir()
    write_json(folder.evaluation, make_evaluation())
    drawn = {"general": DrawnSet(items=100, available=113)}
    row = make_row(1, "Whom do I ask?", "Our colleague Anna is at anna.berg@nordlicht-laden.de.")
    frozen_items.freeze(folder, personal_items.make_items([row]), drawn, Gate())
    _write_weights(folder, method)
    _write_custody(folder)
    return folder


def _fill(trained: dict[str, Any], method: str) -> dict[str, Any]:
    rows = {
        "train_given": 160, "train_used": 158, "validation_used": 20, "validation_given": 20,
        "test_given": 50, "test_used": 50,
    }  # fmt: skip
    hashes = {} if method == "full" else {"chat_template.jinja": "98f63cc3d421d28f99ab995e9629dacd"}
    return {"rows": rows, "hashes": hashes, "targets": ["q_proj", "v_proj"], "step": 4} | trained


def write_events(
    folder: JobFolder, losses: Sequence[float], evals: Sequence[tuple[int, float]] = ()
) -> None:
    """Write the events of a training: a step per loss, and evaluations as (step, loss)."""
    folder.events.touch()
    writer = EventWriter(folder.events, 1)
    writer.write("data", part="train", rows=160, kept=158, cut=7, tokens=8910, trained=2480)
    writer.write("phase", phase="loading", what="trainer", precision="bf16", attention="sdpa")
    by_step = dict(evals)
    for step, loss in enumerate(losses, start=1):
        writer.write("log", step=step, loss=loss)
        if step in by_step:
            writer.write("eval", step=step, eval_loss=by_step[step])
    writer.close()


def _write_environment(folder: JobFolder) -> None:
    gpu = UsedGpu(name="NVIDIA L4", memory=24_000_000_000)
    recorded = Environment(
        ftwizard="0.1.0", python="3.12.3", system="Linux x86_64",
        packages={"torch": "2.9.0", "trl": "1.16.0"}, gpus=[gpu], cpu="", cores=8, memory=1 << 34,
    )  # fmt: skip
    write_json(folder.path / environment.FILE, recorded)


def write_result(folder: JobFolder, method: str = "lora") -> None:
    """Write ``result.json`` with predictions."""

    def figures(scale: float) -> RunFigures:
        def figure(value: float, unit: str) -> Figure:
            low, high = (value * 0.5, value * 2) if scale == 1 else (None, None)
            return Figure(
                value=value * scale, unit=unit, low=low, high=high, source="", as_of="2026-11"
            )

        return RunFigures(
            peak_memory=figure(8e9, "bytes"), seconds=figure(600, "s"), cost=figure(1.5, "USD")
        )

    result = make_run_result(
        training=make_trained(method=method), predicted=figures(1), actual=figures(1.2),
        error={"seconds": -0.17},
    )  # fmt: skip
    write_json(folder.result, result)


def make_evaluation(**more: Any) -> Evaluation:
    """Return an evaluation whose flips and failures quote training rows."""
    near = [NearRow(line=3, share=0.9, text=PRIVATE)]
    flip = Flip(
        item="1", prompt=PRIVATE, expected=PRIVATE, rejected=PRIVATE, base=PRIVATE, tuned=PRIVATE, change=-1.0,
        near=near,
    )  # fmt: skip
    leaks = {
        "n": 230, "leaked_ids": ["4711-A", "4712-B"], "leaked_kinds": {"email address": 1},
        "leaked_id_count": 3, "answers_with_ids": 2, "verbatim": 3, "longest_run": PRIVATE,
        "lines": [3],
    }  # fmt: skip
    collapse = {
        "set": "general", "sign": "same", "tuned": 0.1, "base": 0.0, "expected": None,
        "answer": PRIVATE,
    }  # fmt: skip
    failures = [
        Failure(name="memorization", found=True, evidence=leaks, examples=[flip]),
        Failure(name="mode_collapse", found=False, evidence=collapse),
        Failure(name="overfitting", found=None),
    ]
    evaluation = test_ship_verdict.judge(failures=failures, **more)
    sets = {
        name: msgspec.structs.replace(result, broken=[flip, flip], fixed=[flip])
        for name, result in evaluation.sets.items()
    }
    return msgspec.structs.replace(evaluation, sets=sets, samples=[flip])


def _write_weights(folder: JobFolder, method: str) -> None:
    folder.merged.mkdir()
    (folder.merged / "config.json").write_text("{}")
    behavior = BehaviorCheck(
        rows=32, tokens=900, adapter_loss=0.5, merged_loss=0.501, agreement=0.99,
        max_loss_difference=0.02, min_agreement=0.97,
    )  # fmt: skip
    proof = MergeProof(
        verdict="proved", base=f"{FOLDER}/base", adapter="" if method == "full" else FOLDER,
        tensors=272, merged_tensors=210, change=0.01, rounding_error=0.002, behavior=behavior,
    )  # fmt: skip
    write_json(folder.merged / PROOF, proof)
    write_merged(folder)
    form = folder.exports / "gguf-q4_k_m"
    form.mkdir(parents=True)
    (form / "model.gguf").write_bytes(b"G" * 1000)
    gguf = GgufFacts(
        architecture="qwen3", tensors=1, types={"Q4_K": 1}, template_equal=True, end_ids=[2]
    )
    record = ExportRecord(
        form="gguf:q4_k_m", source=FOLDER, source_hashes={}, files={"model.gguf": 1000},
        tools=[ExportTool(name="cyllama", version="0.2.18", arguments=[FOLDER])], gguf=gguf,
        answer=PRIVATE, findings=[FOLDER], version="0.1.0", created=1.0, seconds=2.0,
    )  # fmt: skip
    write_json(form / "export.json", record)


def write_merged(folder: JobFolder, **more: Any) -> None:
    """Write the marker of a merged model."""
    merged = MergedModel(
        folder=FOLDER,
        size_bytes=1_200_000_000,
        dtype="bfloat16",
        base=FOLDER,
        adapter=FOLDER,
        **more,
    )
    write_json(folder.merged / MARKER, merged)


def _write_custody(folder: JobFolder) -> None:
    hop = Hop(
        source="adapter", target="merged", ok=True, token_ids_equal=True,
        max_logprob_difference=0.01,
    )  # fmt: skip
    broken = Hop(
        source="merged", target=f"{FOLDER}/model.gguf", ok=False, token_ids_equal=False,
        max_logprob_difference=None, cause="template",
        evidence={"prompt": 1, "position": 2, "expected": PRIVATE, "actual": PRIVATE},
    )  # fmt: skip
    write_json(folder.path / FILE, Custody(hops=[hop, broken], notes=[FOLDER]))


def read_metadata(text: str) -> dict[str, Any]:
    """Return the metadata of a card, as the Hub's library reads them."""
    data: Any = ModelCard(text).data
    return dict(data.to_dict())


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def edit_plan(folder: JobFolder, **files: str) -> None:
    """Change the files of the plan that the run's attempt records."""
    attempt = read_json(folder.attempt(1))
    attempt["plan"]["data"]["files"] |= files
    write_json(folder.attempt(1), attempt)
