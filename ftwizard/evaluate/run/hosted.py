"""The evaluation of a hosted run: by what its models answer at the platform, which computes no losses.

A model that cannot be asked is reported, and never fails the run: its job is done and paid for.
"""

from __future__ import annotations

from pathlib import Path

from ftwizard.catalog.hosted_models import find_rate
from ftwizard.errors import FtwizardError
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.run.asking import ask, ask_base_arm, list_base_arms
from ftwizard.evaluate.run.baseline import evaluate_base_arm
from ftwizard.evaluate.run.item_selection import freeze_items
from ftwizard.evaluate.run.subject import Answers, EvaluationSubject
from ftwizard.evaluate.run.tuned import judge_run
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Plan
from ftwizard.providers.base import Endpoint
from ftwizard.runs import remote
from ftwizard.runs.evaluation import Evaluation
from ftwizard.runs.hosted import (
    describe_deploying,
    describe_unserved,
    find_serving,
    has_released_weights,
)
from ftwizard.runs.remote import RemoteEndpoint
from ftwizard.text import make_visible
from ftwizard.train import dataset


def make_arm(name: str, endpoint: Endpoint | RemoteEndpoint, plan: Plan) -> Arm:
    """Return the arm of a model at a platform. ``name``: ``base``, ``tuned`` or of a checkpoint."""
    rate = endpoint.requests_per_minute
    if rate is None and name != "base":
        rate = find_rate(plan.provider, plan.model.name)
    return Arm(
        name=name, model=endpoint.address, served_name=endpoint.served_name,
        key_variable=endpoint.key_variable or None, requests_per_minute=rate,
    )  # fmt: skip


def evaluate_hosted_base(worker: Worker, plan: Plan, base: Arm) -> None:
    """Evaluate the base model before the job is created, so that headroom is known before it costs.

    Raises EarlyEnd where the plan asks for headroom that there is not. A base model that cannot be
    asked is reported.
    """
    if not plan.finish.compare:
        return
    save_rows(worker, worker.folder, plan)
    try:
        evaluate_base_arm(worker, plan, base)
    except FtwizardError as error:
        _report_base(worker, worker.folder.id, error.message)


def evaluate_hosted(
    worker: Worker,
    plan: Plan,
    base: Arm | None,
    tuned: Arm | None,
    *,
    why_not_base: str = "",
    why_not_tuned: str = "",
) -> Evaluation | None:
    """Let base and tuned model answer, and judge them; write ``eval/evaluation.json``.

    None where the plan does not ask for it, and where the tuned model cannot be asked. Without
    answers of the base model the verdict cannot tell. What an earlier attempt asked is not asked again.
    ``why_not_base`` and ``why_not_tuned``: why there is no arm, where that is known.
    """
    if not plan.finish.compare:
        return None
    save_rows(worker, worker.folder, plan)
    if tuned is None:
        _report_unserved(worker, why_not_tuned)
        return None
    test_set = dataset.read_test_set(worker.folder)
    subject = EvaluationSubject(
        worker.folder, plan, base, test_set, uses_endpoints=True,
        requests_per_minute=tuned.requests_per_minute,
    )  # fmt: skip
    items = freeze_items(worker, subject)
    answers = ask_base_endpoint(worker, subject, items, why_not_base)
    try:
        answers |= ask(worker, subject, [tuned], items, base=answers.get("base", ()))
    except FtwizardError as error:
        _report_tuned(worker, error.message)
        return None
    return judge_run(worker, subject, tuned, items, answers, step=_find_step(worker.folder))


def save_rows(worker: Worker, folder: JobFolder, plan: Plan) -> None:
    """Save what the evaluation of the run in ``folder`` needs of its rows, unless that was done; they are read, not encoded.

    Rows that cannot be read any more, as of a job that was created elsewhere, leave it without a test
    set.
    """
    if (folder.evaluations / "test.json").exists():
        return
    rows: dataset.Rows = {"train": [], "validation": [], "test": []}
    try:
        rows = dataset.load_rows(plan, folder.read_job().hashes)
    except FtwizardError as error:
        worker.events.write_finding(
            "rows_unreadable",
            f"{error.message} Without its rows, the run is evaluated without a test set.",
            "warning",
        )
    dataset.save_test_set(folder, rows, plan.evaluate, plan.recipe.seed)


def ask_base_endpoint(
    worker: Worker, subject: EvaluationSubject, items: list[Item], why_not: str = ""
) -> Answers:
    """Return the answers of the base arms that can be asked; report it if they cannot.

    ``why_not``: why there is no base arm, if that is known.
    """
    run_id = Path(worker.record.inputs.get("run") or worker.folder.id).name
    if subject.base is None:
        reason = why_not or "It is not deployed, or the platform serves no such model."
        _report_base(worker, run_id, reason)
        return {}
    answers: Answers = {}
    for arm in list_base_arms(subject):
        try:
            answers |= ask_base_arm(worker, subject, arm, items)
        except FtwizardError as error:
            _report_base(worker, run_id, error.message)
            break  # the prompted model is the same one
    return answers


def _report_base(worker: Worker, run_id: str, reason: str) -> None:
    worker.events.write_finding(
        "base_not_asked",
        f"The base model could not be asked, so a gain cannot be shown: {make_visible(reason, 400)}",
        "warning",
        action=f"ftwizard eval {run_id}",
    )


def _report_unserved(worker: Worker, reason: str) -> None:
    """Report that the tuned model answers nowhere, and what comes before its evaluation."""
    run_id, record = worker.folder.id, remote.read(worker.folder)
    serving = find_serving(record) if record else "at_once"
    if record and serving == "never":
        is_here = worker.folder.adapter.is_dir()
        text, hint = describe_unserved(run_id, record, is_downloaded=is_here)
        action = f"ftwizard download {run_id}" if has_released_weights(record) else None
        if is_here:
            action, hint = f"ftwizard merge {run_id}", f"{hint}, then: ftwizard eval {run_id}"
        message = f"The tuned model was not evaluated: {text} {hint}"
        worker.events.write_finding("tuned_not_asked", message, "warning", action=action)
    elif record and serving != "at_once":
        deploy = describe_deploying(run_id, record)
        _report_tuned(worker, f"{reason or 'it is not deployed.'} {deploy}")
    else:
        _report_tuned(worker, reason or "the platform does not serve it.")


def _report_tuned(worker: Worker, reason: str) -> None:
    again = f"ftwizard eval {worker.folder.id}"
    worker.events.write_finding(
        "tuned_not_asked",
        f"The tuned model could not be asked: {make_visible(reason, 400)} Evaluate it later: {again}",
        "warning",
        action=again,
    )


def _find_step(folder: JobFolder) -> int | None:
    """Return the step of the tuned model: that of the checkpoint with its name; None for the last."""
    record = remote.read(folder)
    if record is None or record.tuned_model is None:
        return None
    steps = [kept.step for kept in record.checkpoints if kept.model == record.tuned_model]
    return max(steps, default=None)
