"""What has been answered so far, and what comes of it; free of any way to ask."""

from __future__ import annotations

import contextlib
import shlex
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import file_names, hour_price, runs, settings, strict_yaml
from ftwizard import plan as plans
from ftwizard.advice import questions
from ftwizard.advice.questions import FIT, Question
from ftwizard.advice.recipe import EarlierRate
from ftwizard.catalog.paths import PathId, PlatformId
from ftwizard.catalog.prices import Rate
from ftwizard.data.target_names import TargetName
from ftwizard.errors import FtwizardError
from ftwizard.estimate import batches
from ftwizard.estimate.batches import Lengths
from ftwizard.jobs.folder import is_id, write_whole
from ftwizard.machine import Facts
from ftwizard.plan import Plan, RiskName
from ftwizard.screens import remembered
from ftwizard.text import visible

_TARGETS: dict[PlatformId, TargetName] = {
    "foundry": "foundry-sft", "together": "together-sft", "vertex": "vertex-gemini",
}  # fmt: skip
"""Of the cloud services on which the rows' form does not go by the model."""
Stamp = tuple[int, int, int]
"""Of a file: its inode, its bytes, and when it was changed."""
UNANSWERED = ""
NOT_SAID = "not said"
OWN_FILE = "file"
SHARES = (
    ("0.1", "one row in ten"), ("0.2", "one in five"), (OWN_FILE, "a file"), ("none", "none"),
)  # fmt: skip
"""What validates: a share of the rows, or a file of its own."""


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
    recommended: PathId = "local"
    reasons: tuple[str, ...] = ()
    """Of the recommendation."""
    platform: PlatformId | None = None
    """The cloud service that is recommended, where one is."""
    hour: Rate | None = None
    """What an hour of this machine costs, as far as anybody said."""
    touched: frozenset[str] = frozenset()
    """Settings of the recipe that the person has chosen."""
    checked: dict[str, Any] | None = None
    """What ``ftwizard check`` said of the training file."""
    stamp: Stamp | None = None
    """Of the training file, before it was checked."""
    checked_for: TargetName | None = None
    """The target that the check was told."""
    estimate: dict[str, Any] | None = None
    """What ``ftwizard estimate`` said of the plan."""
    lengths: Mapping[str, Lengths | None] | None = None
    """Of the rows in training and validation, as the model's own tokenizer counted them; None
    before, and where rows were cut, as they may be longer."""
    parameters: int | None = None
    """Of the model; None until they were counted."""
    earlier: EarlierRate | None = None
    """The rate that the person chose for the model named before."""
    name: str = ""
    """Of the run."""
    saved: str = ""
    """The name that the plan was saved under; its file may be written again."""

    def with_plan(self, **parts: Any) -> Draft:
        """Return a draft whose plan has other parts; an estimate of the old plan is dropped."""
        changed = msgspec.structs.replace(self.plan, **parts)
        if changed == self.plan:
            return self
        draft = replace(self, plan=changed, estimate=None)
        if (changed.data, changed.model) != (self.plan.data, self.plan.model):
            draft = replace(draft, lengths=None)
        return draft if changed.model == self.plan.model else draft._of_another_size(self)

    def _of_another_size(self, before: Draft) -> Draft:
        """Return a draft that forgets the size of the model, and knows whose rate it carries."""
        rate, earlier = before.plan.recipe.learning_rate, before.earlier
        if rate and "learning_rate" in before.touched:
            size = before.parameters or remembered.size(before.plan.model.name)
            earlier = EarlierRate(rate=rate, parameters=size) if size else earlier
        return replace(self, parameters=None, earlier=earlier)

    def counted(self, estimate: dict[str, Any]) -> Draft:
        """Return a draft that knows what ``ftwizard estimate`` said of its plan."""
        found = replace(self, estimate=estimate, parameters=estimate["parameters"])
        return replace(found, lengths=batches.of_estimate(estimate))

    def with_recipe(self, **settings: Any) -> Draft:
        return self.with_plan(recipe=msgspec.structs.replace(self.plan.recipe, **settings))

    def with_data(self, **parts: Any) -> Draft:
        return self.with_plan(data=msgspec.structs.replace(self.plan.data, **parts))

    def answering(self, answers: dict[str, str]) -> Draft:
        return replace(self, answers=answers)

    @property
    def way(self) -> PathId:
        """Return the path that was chosen, or is followed."""
        return self.path or self.recommended

    def on_path(self, path: PathId | None) -> Draft:
        return replace(self, path=path)

    def recommending(
        self, path: PathId, reasons: Iterable[str] = (), platform: PlatformId | None = None
    ) -> Draft:
        return replace(self, recommended=path, reasons=tuple(reasons), platform=platform)

    @property
    def target(self) -> TargetName | None:
        """Return what the rows are checked for, None where it is not known which service it is."""
        if self.way == "local":
            return "trl-sft"
        if self.way == "openai":
            return "openai-sft"
        return _TARGETS.get(self.platform) if self.platform else None

    def for_the_record(self) -> Draft:
        """Return a draft whose plan says why this path was taken."""
        if self.way == self.recommended:
            why = " ".join(("recommended:", *self.reasons)) if self.reasons else "recommended"
        else:
            why = f"chosen, though {self.recommended} was recommended"
        return self.with_plan(provider_reason=why)

    def reading(
        self, files: plans.Files, checked: dict[str, Any] | None, stamp: Stamp | None = None
    ) -> Draft:
        """Return a draft with other data, and what a check said of it.

        What was decided about the rows of other data is asked again.
        """
        draft = self.with_data(files=files).allowing("skip-bad-rows", False)
        return replace(draft, checked=checked, stamp=stamp, checked_for=self.target)

    @property
    def is_stale(self) -> bool:
        """Whether the training file is another one than was checked."""
        return self.stamp is not None and self.stamp != stamp(self.plan.data.files.train)

    @property
    def share(self) -> str:
        """Which of ``SHARES`` validates."""
        if self.plan.data.files.validation is not None:
            return OWN_FILE
        split = self.plan.data.split.validation
        return "none" if split == 0 else f"{split or 0.1:g}"

    def validating(self, share: str) -> Draft:
        """Return a draft that sets one of ``SHARES`` aside for validation."""
        if share == OWN_FILE:
            return self.with_data(split=plans.Split())
        files = msgspec.structs.replace(self.plan.data.files, validation=None)
        split = plans.Split(validation=0.0 if share == "none" else float(share))
        return self.with_data(files=files, split=split)

    @property
    def validates(self) -> bool:
        """Whether anything does."""
        return bool(self.plan.data.files.validation or self.plan.validation_share)

    def priced(self, hour: Rate | None) -> Draft:
        """Return a draft that knows what an hour of this machine costs."""
        return replace(self, hour=hour)

    def called(self, name: str) -> Draft:
        return replace(self, name=name)

    def touching(self, name: str) -> Draft:
        """Return a draft that knows of a setting which the person has chosen."""
        return replace(self, touched=self.touched | {name})

    def allowing(self, name: RiskName, on: bool = True) -> Draft:
        """Return a draft that overrules a warning, or no longer does."""
        if on == (name in self.plan.allow):
            return self
        others = tuple(one for one in self.plan.allow if one != name)
        return self.with_plan(allow=(*others, name) if on else others)


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
    """Yield a file with the plan as it is so far, which is gone afterwards.

    Raises FtwizardError where none can be made.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ftwizard-"))
            file = Path(folder) / "plan.yaml"
            file.write_text(plans.dump(draft.plan))
        except OSError as error:
            raise FtwizardError(
                f"There is no room for a temporary file: {error.strerror or error}.",
                "Free some space, or set TMPDIR to a folder that can be written.",
            ) from error
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


def stamp(file: str) -> Stamp | None:
    """Return what tells a file from a changed one, None where it cannot be seen."""
    try:
        seen = Path(file).stat()
    except (OSError, ValueError):
        return None
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def shown_path(path: str) -> str:
    """Return a path as it is shown and typed: from here on, where it is below this folder."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def whole(name: str) -> str:
    """Return a typed file name as an absolute one; raises FtwizardError where none is called so."""
    return str(file_names.whole(name))


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


def name_problem(name: str, saved: str = "") -> str:
    """Say why a run cannot be called so; empty where it can.

    ``saved``: the name whose plan is the wizard's own.
    """
    if not is_id(name):
        return "A name is made of letters, digits, dots, dashes and underscores."
    if (settings.runs_folder() / name).exists():
        return f"There is a run {name} already; choose another name."
    if name != saved and plan_file(name).exists():
        return f"There is a plan {name} already; choose another name."
    return ""


def command(name: str, hour: Rate | None = None) -> str:
    """Return what starts the saved plan without the wizard, at the price of an hour typed in it."""
    words = ["ftwizard", "train", str(plan_file(name)), "--name", name, *hour_price.argv(hour)]
    return visible(shlex.join(words))
