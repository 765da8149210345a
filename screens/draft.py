"""What has been answered so far, and what comes of it; free of any way to ask."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import plan as plans
from ftwizard import runs, settings, strict_yaml
from ftwizard.advice import questions
from ftwizard.advice.questions import FIT, Question
from ftwizard.catalog import PathId
from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import is_id, write_whole
from ftwizard.machine import Facts
from ftwizard.plan import InsistName, Plan
from ftwizard.text import visible

UNANSWERED = ""
NOT_SAID = "not said"
SHARES = (("0.1", "a tenth of the rows"), ("0.2", "a fifth"), ("none", "none"))
"""Of the rows, that validate."""
STEPS = ("Path", "Data", "Recipe", "Estimate", "Review")


def _empty() -> Plan:
    files = plans.Files(train="")
    return Plan(data=plans.Data(files=files), model=plans.Model(name=""))


@dataclass(frozen=True)
class Draft:
    """Everything that was answered so far; each page returns a changed one."""

    machine: Facts
    plan: Plan = field(default_factory=_empty)
    answers: dict[str, str] = field(default_factory=dict)
    """Of the path page, by question."""
    path: PathId | None = None
    """None while the recommendation is followed."""
    touched: frozenset[str] = frozenset()
    """Settings of the recipe that the person has chosen."""
    checked: dict[str, Any] | None = None
    """What ``ftwizard check`` said of the training file."""
    estimate: dict[str, Any] | None = None
    """What ``ftwizard estimate`` said of the plan."""
    name: str = ""
    """Of the run."""

    def with_plan(self, **parts: Any) -> Draft:
        """Return a draft whose plan has other parts; an estimate of the old plan is dropped."""
        changed = msgspec.structs.replace(self.plan, **parts)
        return self if changed == self.plan else replace(self, plan=changed, estimate=None)

    def with_recipe(self, **settings: Any) -> Draft:
        return self.with_plan(recipe=msgspec.structs.replace(self.plan.recipe, **settings))

    def with_data(self, **parts: Any) -> Draft:
        return self.with_plan(data=msgspec.structs.replace(self.plan.data, **parts))

    def answering(self, answers: dict[str, str]) -> Draft:
        return replace(self, answers=answers)

    def on_path(self, path: PathId) -> Draft:
        return replace(self, path=path)

    def reading(self, files: plans.Files, checked: dict[str, Any] | None) -> Draft:
        """Return a draft with other data, and what a check said of it."""
        return replace(self.with_data(files=files), checked=checked)

    @property
    def share(self) -> str:
        """Which of ``SHARES`` validates."""
        split = self.plan.data.split.validation
        return "none" if split == 0 else f"{split or 0.1:g}"

    def validating(self, share: str) -> Draft:
        """Return a draft that sets one of ``SHARES`` aside for validation."""
        return self.with_data(
            split=plans.Split(validation=0.0 if share == "none" else float(share))
        )

    def called(self, name: str) -> Draft:
        return replace(self, name=name)

    def touching(self, name: str) -> Draft:
        """Return a draft that knows of a setting which the person has chosen."""
        return replace(self, touched=self.touched | {name})

    def insisting(self, name: InsistName, on: bool = True) -> Draft:
        """Return a draft that overrules a warning, or no longer does."""
        if on == (name in self.plan.insist):
            return self
        others = tuple(one for one in self.plan.insist if one != name)
        return self.with_plan(insist=(*others, name) if on else others)


@dataclass(frozen=True)
class Step:
    """How a page was left."""

    draft: Draft
    by: int
    """1: next, -1: back, 0: the wizard ends here."""


def asked(draft: Draft) -> tuple[Question, ...]:
    """Return what is asked: all that neither the machine nor the wizard knows."""
    return (FIT, *(one for one in questions.questions(draft.machine) if one.id != FIT.id))


def options(question: Question) -> list[tuple[str, str]]:
    """Return id and label of each answer, “not said” first where nothing is assumed."""
    said = [(one.id, one.label) for one in question.options]
    return said if question.assumed else [(UNANSWERED, NOT_SAID), *said]


@contextlib.contextmanager
def passing_file(draft: Draft) -> Iterator[str]:
    """Yield a file with the plan as it is so far, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ftwizard-") as folder:
        file = Path(folder) / "plan.yaml"
        file.write_text(plans.dump(draft.plan))
        yield str(file)


def save(draft: Draft) -> str:
    """Write the plan down; return its file. Raises FtwizardError when it cannot be written."""
    file = plan_file(draft.name)
    settings.private_folder(file.parent)
    try:
        write_whole(file, plans.dump(draft.plan).encode())
    except OSError as error:
        raise FtwizardError(f"The plan cannot be written to {file}: {error.strerror}.") from error
    return str(file)


def plan_file(name: str) -> Path:
    """Return where the wizard keeps the plan of a run."""
    return settings.home() / "plans" / f"{name}.yaml"


def whole(name: str) -> str:
    """Return a typed file name as an absolute one."""
    return os.path.normpath(Path(name).expanduser().absolute())


def brief(plan: Plan) -> str:
    """Return the plan as YAML, without what has its default: it is read as the same plan."""
    return strict_yaml.dumps(_chosen(plan))


def _chosen(part: msgspec.Struct) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for field_ in msgspec.structs.fields(part):
        value = getattr(part, field_.name)
        if isinstance(value, msgspec.Struct):
            if below := _chosen(value):
                chosen[field_.name] = below
        elif field_.required or value != field_.default:
            chosen[field_.name] = value
    return chosen


def suggested_name(draft: Draft) -> str:
    """Return the run's name, or one made of the file of rows and the time."""
    return draft.name or runs.new_id(Path(draft.plan.data.files.train).stem)


def name_problem(name: str) -> str:
    """Say why a run cannot be called so; empty where it can."""
    if not is_id(name):
        return "A name is made of letters, digits, dots, dashes and underscores."
    if (settings.runs_folder() / name).exists():
        return f"There is a run {name} already; choose another name."
    return ""


def command(name: str) -> str:
    """Return what starts the saved plan without the wizard."""
    return f"ftwizard train {visible(str(plan_file(name)))} --name {visible(name)}"
