"""The plan of a resumed run: its ``plan.yaml`` may have been edited since the run began."""

from __future__ import annotations

from pathlib import Path

from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.jobs.folder import JobFolder, write_whole
from ftwizard.plan import changes, plan_file
from ftwizard.plan.schema import MANY_EPOCHS, Plan
from ftwizard.runs import describe


def read(folder: JobFolder) -> tuple[Plan, changes.Changes]:
    """Return the plan to resume with, and what differs from the plan of the attempt before.

    Raises FtwizardError for an unusable plan, and (DECLINED, with the code ``PLAN_CHANGED``) for
    changes that a resumed run would mix. A run of an earlier version recorded no plan: it continues
    with its ``plan.yaml``.
    """
    used = plan_file.read_recorded(folder)
    try:
        edited = plan_file.copy_mix(plan_file.load(folder.plan, begun=True))
    except FtwizardError as error:
        if used is None:
            raise
        # Where the file is missing, there is nothing to correct in it.
        correct = f"{error.hint} Or continue" if folder.plan.exists() else "Continue"
        raise FtwizardError(
            error.message,
            f"{correct} {_describe_restore(folder)}",
            error.exit_code,
            code=changes.PLAN_UNUSABLE,
        ) from None
    edited = changes.pin_defaults(edited)
    if used is None:
        return edited, {}
    differences = changes.find_changes(used, edited)
    if refused := changes.find_refused(used, differences):
        if "where.processes" in refused:
            raise _refuse_processes(folder, used, edited)
        raise _refuse(folder, edited, differences, refused)
    return edited, differences


def _refuse(
    folder: JobFolder, edited: Plan, differences: changes.Changes, refused: list[str]
) -> FtwizardError:
    more = ""
    if "finish.compare" in refused:  # the kept plan names the share of the test set: none
        more += " --set data.split.test=0.1"
    epochs = edited.recipe.epochs
    if "recipe.epochs" in refused and epochs > MANY_EPOCHS and "many-epochs" not in edited.allow:
        more += " --allow many-epochs"
    listed = {name: differences[name] for name in refused}
    others = {name: pair for name, pair in differences.items() if name not in refused}
    is_gate = all(name.startswith(("gate.", "evaluate.")) for name in refused)
    reason = (
        "Gate and sets are fixed once a run has begun, so that no result can move them."
        if is_gate
        else "A resumed run would mix the old and the new settings."
    )
    message = (
        f"The plan of run {folder.id} was edited: {describe.describe_changes(listed)}. {reason}"
    )
    if others:
        message += f" This alone would take effect: {describe.describe_changes(others)}."
    error = FtwizardError(
        message,
        f"Start a child run with the new settings: ftwizard branch {folder.id} --edited{more}   "
        f"Or continue {_describe_restore(folder)}",
        DECLINED,
        code=changes.PLAN_CHANGED,
    )
    error.document = {"changes": dict(differences), "refused": refused}
    return error


def _refuse_processes(folder: JobFolder, used: Plan, edited: Plan) -> FtwizardError:
    """Return the error of another number of processes whose steps would take other rows."""
    passes = used.ranks * used.recipe.gradient_accumulation
    keep = (
        f"Set recipe.gradient_accumulation to {passes // edited.ranks}, so that steps stay the same. "
        "Weights and optimizer then continue. "
        if passes % edited.ranks == 0
        else ""
    )
    error = FtwizardError(
        f"The plan of run {folder.id} was edited: where.processes is {edited.ranks}, was {used.ranks}. "
        f"Each step would take {edited.ranks * edited.recipe.gradient_accumulation} batches, not "
        f"{passes}, so the remaining steps and the learning rate would not fit.",
        f"{keep}Or start a child run, from the newest weights with a new optimizer: "
        f"ftwizard branch {folder.id} --edited   Or continue {_describe_restore(folder)}",
        DECLINED,
        code=changes.PLAN_CHANGED,
    )
    differences = changes.find_changes(used, edited)
    refused = changes.find_refused(used, differences)
    error.document = {"changes": dict(differences), "refused": refused}
    return error


def _describe_restore(folder: JobFolder) -> str:
    return f"without the edits: ftwizard resume {folder.id} --restore-plan"


def restore(folder: JobFolder) -> Path | None:
    """Write the plan that a run uses to its ``plan.yaml`` again; keep the edited file.

    Return where that was moved; None if there was none, or it says the same. Raises FtwizardError
    for a run of an earlier version, which recorded no plan.
    """
    used = plan_file.read_recorded(folder)
    if used is None:
        raise FtwizardError(
            f"Run {folder.id} was started by an earlier version, which kept no second copy of its plan.",
            f"Correct {folder.plan} yourself, then run: ftwizard resume {folder.id}",
        )
    text = plan_file.dump(used).encode()
    moved = None
    if folder.plan.exists() and not _contains(folder.plan, text):
        moved = _find_free_name(folder.path)
        folder.plan.rename(moved)
    write_whole(folder.plan, text)
    return moved


def _contains(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:  # also a folder
        return False


def _find_free_name(folder: Path) -> Path:
    number, path = 1, folder / "plan.edited.yaml"
    while path.exists():
        number += 1
        path = folder / f"plan.edited-{number}.yaml"
    return path
