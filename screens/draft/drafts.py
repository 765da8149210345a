"""The wizard's answers so far, independent of how they are asked."""

from __future__ import annotations

import contextlib
import functools
import shlex
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard import locations, user_paths
from ftwizard.advice import questions, recipe_rules, run_history
from ftwizard.advice.questions import FIT, Question
from ftwizard.advice.recipe_advice import EarlierRate
from ftwizard.advice.run_history import EarlierLoss
from ftwizard.advice.time_cap import SettingChange
from ftwizard.catalog.account import AccountReport
from ftwizard.catalog.prices import PriceRate
from ftwizard.catalog.providers import ProviderId
from ftwizard.data.documents import DataReport
from ftwizard.data.format_names import TargetName
from ftwizard.data.mapping.column_map import ColumnMap
from ftwizard.errors import FtwizardError
from ftwizard.estimate import plan_machine
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.estimate.report import EstimateReport
from ftwizard.hardware.machine import MachineInfo
from ftwizard.hosted_platforms import PLATFORMS, HostedProvider
from ftwizard.jobs.folder import is_id, iterate_ids
from ftwizard.models import model_config
from ftwizard.plan import changes, hosted_checks, objective_checks, plan_file, schema
from ftwizard.plan.objective_checks import OBJECTIVE_PARTS
from ftwizard.plan.schema import Plan, RiskName
from ftwizard.pricing import machine_rate
from ftwizard.runs import store
from ftwizard.text import make_visible

_ABOUT_THE_FILE = ("files", "format", "columns", "encoding")
"""Settings of the data that belong to its file."""
Fingerprint = tuple[int, int, int]
"""Inode, size in bytes and modification time (ns) of a file."""
DEFAULT_SERVICE: HostedProvider = "together"
"""The cloud service that needs no account at a cloud, where none is recommended."""
UNANSWERED = ""
NOT_SPECIFIED = "not specified"
OWN_FILE = "file"
SHARES = (
    ("0.1", "10%"), ("0.2", "20%"), (OWN_FILE, "a file"), ("none", "none"),
)  # fmt: skip
"""Sources of validation data: a share of the rows, or a separate file."""


def _empty_plan() -> Plan:
    files = schema.Files(train="")
    return Plan(data=schema.Data(files=files), model=schema.Model(name=""))


class ConvertedRows(NamedTuple):
    """Rows that were converted for one provider."""

    destination: str
    """The platform, or the provider, as ``Draft.destination``."""
    train: str
    """The new training file."""
    data: schema.Data
    """The data before."""


class AppliedLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A time limit that a draft was reduced to."""

    minutes: float
    changes: tuple[SettingChange, ...]
    """Settings that it changed, with their values before."""
    touched: tuple[str, ...] = ()
    """Names of those that the person had not chosen before."""


@dataclass(frozen=True)
class Draft:
    """All answers so far; each page returns a changed copy."""

    machine: MachineInfo
    plan: Plan = field(default_factory=_empty_plan)
    answers: dict[str, str] = field(default_factory=dict)
    """Answers of the Provider page, by question."""
    chosen_provider: ProviderId | None = None
    """The chosen provider; None while the recommendation is followed."""
    recommended: ProviderId = "local"
    reasons: tuple[str, ...] = ()
    """Reasons for the recommendation."""
    platform: HostedProvider | None = None
    """The cloud service that suits best, for when the cloud is chosen."""
    chosen_platform: HostedProvider | None = None
    """The cloud service that was chosen; None while the recommended one is followed."""
    models: Mapping[str, str] = field(default_factory=dict)
    """The model that was named for each place, as it is another one at each."""
    account: AccountReport | None = None
    """What the account at the platform may train, once it was looked up."""
    hour: PriceRate | None = None
    """Hourly price of this machine, if set."""
    touched: frozenset[str] = frozenset()
    """Settings of the recipe that the person has chosen."""
    converted: ConvertedRows | None = None
    """The last conversion of the rows; another provider reads them as they were."""
    checked: DataReport | None = None
    """The ``ftwizard check`` report on the training file."""
    stamp: Fingerprint | None = None
    """Fingerprint of the training file before its check."""
    checked_for: TargetName | None = None
    """The target of the check."""
    estimate: EstimateReport | None = None
    """The report of ``ftwizard estimate`` on the plan."""
    lengths: Mapping[str, LengthDistribution | None] | None = None
    """Lengths of training and validation rows, counted with the model's tokenizer. None before
    the count, and if rows were truncated, as they may be longer."""
    parameters: int | None = None
    """Parameters of the model; None until counted."""
    earlier: EarlierRate | None = None
    """The learning rate that the person chose for the previous model."""
    limit: AppliedLimit | None = None
    """The time limit that the settings were reduced to, until it is undone."""
    name: str = ""
    """Name of the run."""
    saved: str = ""
    """The name of the saved plan; its file may be overwritten."""

    def with_plan(self, **parts: Any) -> Draft:
        """Return a draft with changed parts of the plan; an estimate of the old plan is dropped."""
        changed = msgspec.structs.replace(self.plan, **parts)
        if changed == self.plan:
            return self
        draft = replace(self, plan=changed, estimate=None)
        if (changed.data, changed.model) != (self.plan.data, self.plan.model):
            draft = replace(draft, lengths=None)
        return draft if changed.model == self.plan.model else draft._with_new_model(self)

    def _with_new_model(self, before: Draft) -> Draft:
        """Forget the size of the model; remember for which model the learning rate was chosen."""
        rate, earlier = before.plan.recipe.learning_rate, before.earlier
        if rate and "learning_rate" in before.touched:
            size = before.parameters or model_config.count_parameters(before.plan.model.name)
            earlier = EarlierRate(rate=rate, parameters=size) if size else earlier
        return replace(self, parameters=None, earlier=earlier)

    def with_estimate(self, report: EstimateReport) -> Draft:
        """Return a draft with the report of ``ftwizard estimate`` on its plan."""
        return replace(
            self, estimate=report, parameters=report.parameters, lengths=report.exact_lengths
        )

    def with_recipe(self, **settings: Any) -> Draft:
        return self.with_plan(recipe=msgspec.structs.replace(self.plan.recipe, **settings))

    def with_data(self, **parts: Any) -> Draft:
        return self.with_plan(data=msgspec.structs.replace(self.plan.data, **parts))

    def with_rows_as_they_are(self) -> Draft:
        """Return a draft that reads other rows: in a format to detect, unmapped, in UTF-8."""
        return self.with_data(format="auto", columns=ColumnMap(), encoding=None)

    def with_answers(self, answers: dict[str, str]) -> Draft:
        return replace(self, answers=answers)

    @property
    def has_answers(self) -> bool:
        """Whether anything was answered; the Provider page's assumed answers do not count."""
        assumed = {question.id: question.assumed for question in list_questions(self)}
        return bool(
            self.plan.data.files.train
            or self.plan.model.name
            or self.chosen_provider
            or self.answers.items() - assumed.items()
        )

    @property
    def provider(self) -> ProviderId:
        """Return the chosen provider, else the recommended one."""
        return self.chosen_provider or self.recommended

    def with_provider(self, provider: ProviderId | None) -> Draft:
        """Return a draft with this provider; to choose the recommended one is to follow it."""
        chosen = None if provider == self.recommended else provider
        return replace(self, chosen_provider=chosen)

    def with_recommendation(
        self,
        provider: ProviderId,
        reasons: Iterable[str] = (),
        platform: HostedProvider | None = None,
    ) -> Draft:
        """Return a draft with another recommendation, which is followed if it was chosen anyway."""
        chosen = None if self.chosen_provider == provider else self.chosen_provider
        return replace(
            self,
            chosen_provider=chosen,
            recommended=provider,
            reasons=tuple(reasons),
            platform=platform,
        )

    def with_platform(self, platform: HostedProvider | None) -> Draft:
        """Return a draft with this cloud service; to choose the recommended one is to follow it."""
        return replace(self, chosen_platform=None if platform == self.platform else platform)

    @property
    def hardware(self) -> MachineInfo:
        """Return the facts about the machine that the plan trains on: this one, or a node of Slurm."""
        return plan_machine.resolve_machine(self.plan, self.machine)

    @property
    def service(self) -> HostedProvider | None:
        """Return the platform that trains; None for this machine, or while the cloud is unknown."""
        if self.provider == "cloud":
            return self.chosen_platform or self.platform
        return "openai" if self.provider == "openai" else None

    @property
    def hosted(self) -> HostedProvider | None:
        """Return the platform that trains, if ftwizard starts its jobs."""
        return next((name for name in PLATFORMS if name == self.service), None)

    @property
    def skipped_steps(self) -> frozenset[str]:
        """Return the wizard's steps that it leaves out: a platform's bill is part of the review."""
        return frozenset({"Estimate"} if self.hosted else ())

    @property
    def destination(self) -> str:
        """Return where it is trained: the platform, else the provider."""
        return self.service or self.provider

    def with_destination(self) -> Draft:
        """Return a draft whose plan names the place of training, and the model that was named for it.

        What was looked up about another account is forgotten, and so is the consent to send secrets.
        """
        provider = self.hosted or "local"
        before = self.plan.provider
        if provider == before:
            return self
        models = {**self.models, before: self.plan.model.name}
        model = schema.Model(name=models.get(provider, ""))
        account = self.account if self.account and self.account.provider == provider else None
        draft = self.with_plan(provider=provider, model=model).allowing("secrets", False)
        return replace(draft, models=models, account=account)

    @property
    def final_plan(self) -> Plan:
        """Return the plan without settings of other places, and without those that the chosen ones
        leave without effect. Both are kept here for a change of mind."""
        others = {name: kind() for name, kind in schema.HOSTED_PROVIDERS.items()}
        if (provider := self.plan.provider) == "local":
            return _without_unused_settings(msgspec.structs.replace(self.plan, **others))
        others[provider] = _without_unused(self.plan, provider)
        finish = msgspec.structs.replace(self.plan.finish, export=())
        return msgspec.structs.replace(
            self.plan, **others, recipe=schema.Recipe(), where=schema.Where(),
            samples=schema.Samples(), finish=finish, budget=schema.Budget(usd=self.plan.budget.usd),
            model=schema.Model(name=self.plan.model.name),
            report_to=tuple(name for name in self.plan.report_to if name == "wandb"),
        )  # fmt: skip

    @property
    def target(self) -> TargetName | None:
        """Return the target of the data check; None while the service is unknown, and for GRPO, which
        takes rows of any kind: the rules of their own kind count."""
        if self.provider == "local":
            is_any = self.plan.recipe.objective == "grpo"
            return None if is_any else schema.LOCAL_TARGETS[self.plan.recipe.objective]
        if self.hosted is not None:
            return msgspec.structs.replace(self.plan, provider=self.hosted).target
        return None

    def with_conversion(self, train: str) -> Draft:
        """Return a draft that remembers its data before ``train`` was made for its provider."""
        before, conversion = self.plan.data, self.converted
        if conversion and before.files.train == conversion.train:  # converted once more
            before = conversion.data
        return replace(self, converted=ConvertedRows(self.destination, train, before))

    def without_other_conversion(self) -> Draft:
        """Return a draft with its data as before it was converted for another provider."""
        conversion = self.converted
        if conversion is None or conversion.destination == self.destination:
            return self
        draft = replace(self, converted=None)
        if self.plan.data.files.train != conversion.train:
            return draft
        before = {name: getattr(conversion.data, name) for name in _ABOUT_THE_FILE}
        return draft.with_data(**before)

    def with_provider_reason(self) -> Draft:
        """Return a draft whose plan records why this provider was chosen.

        Without reasons none was compared: a wizard that begins with the data.
        """
        if self.provider == self.recommended:
            if not self.reasons:
                return self
            why = " ".join(("recommended:", *self.reasons))
        else:
            why = f"chosen although {self.recommended} was recommended"
        return self.with_plan(provider_reason=why)

    def with_check(
        self, files: schema.Files, checked: DataReport | None, stamp: Fingerprint | None = None
    ) -> Draft:
        """Return a draft with other data and its check report.

        Decisions about the rows of the previous data are reset. With another target, so are the
        settings that were advised from lengths counted for the previous one.
        """
        draft = self.with_data(files=files).allowing("skip-bad-rows", False)
        if files != self.plan.data.files:
            draft = draft.allowing("secrets", False)
        if self.checked is not None and self.checked_for != self.target:
            draft = draft._with_untouched_defaults()
        return replace(draft, checked=checked, stamp=stamp, checked_for=self.target)

    def _with_untouched_defaults(self) -> Draft:
        """Return a draft whose recipe has only the objective, with settings of its own, and those that
        the person has chosen."""
        recipe, kept = self.plan.recipe, {"objective", *OBJECTIVE_PARTS, *self.touched}
        chosen = {name: getattr(recipe, name) for name in recipe.__struct_fields__ if name in kept}
        return self.with_plan(recipe=schema.Recipe(**chosen))

    @property
    def is_stale(self) -> bool:
        """Whether the training file changed since its check."""
        return self.stamp is not None and self.stamp != get_fingerprint(self.plan.data.files.train)

    @property
    def share(self) -> str:
        """The chosen one of ``shares``."""
        if self.plan.data.files.validation is not None:
            return OWN_FILE
        split = self.plan.data.split.validation
        return "none" if split == 0 else f"{split or 0.1:g}"

    @property
    def shares(self) -> Sequence[tuple[str, str]]:
        """``SHARES``, with the share of an opened plan if it is another one."""
        if self.share in dict(SHARES):
            return SHARES
        return ((self.share, f"{float(self.share) * 100:g}%"), *SHARES)

    def with_validation(self, share: str) -> Draft:
        """Return a draft that validates with one of ``shares``."""
        split = self.plan.data.split  # an opened plan may have a share of its own for the test set
        if share == OWN_FILE:
            return self.with_data(split=msgspec.structs.replace(split, validation=None))
        files = msgspec.structs.replace(self.plan.data.files, validation=None)
        validation = 0.0 if share == "none" else float(share)
        split = msgspec.structs.replace(split, validation=validation)
        return self.with_data(files=files, split=split)

    @property
    def validates(self) -> bool:
        """Whether there is validation data, unless the platform takes none."""
        return self.plan.has_validation or not self.plan.takes_validation

    def with_hour_price(self, hour: PriceRate | None) -> Draft:
        """Return a draft with the hourly price of this machine."""
        return replace(self, hour=hour)

    def named(self, name: str) -> Draft:
        return replace(self, name=name)

    def with_touched(self, name: str) -> Draft:
        """Return a draft that records a setting as chosen by the person."""
        return replace(self, touched=self.touched | {name})

    def without_touched(self, name: str) -> Draft:
        """Return a draft that follows the advice on a setting again."""
        return replace(self, touched=self.touched - {name})

    def allowing(self, name: RiskName, on: bool = True) -> Draft:
        """Return a draft that allows a risk, or no longer does."""
        if on == (name in self.plan.allow):
            return self
        rest = tuple(risk for risk in self.plan.allow if risk != name)
        return self.with_plan(allow=(*rest, name) if on else rest)


def _without_unused_settings(plan: Plan) -> Plan:
    """Return a plan of this machine without the settings that its objective, its processes and its
    scheduler leave without effect."""
    others = {
        name: defaults
        for name, defaults in OBJECTIVE_PARTS.items()
        if name != plan.recipe.objective
    }
    final = msgspec.structs.replace(
        plan, recipe=msgspec.structs.replace(plan.recipe, **others),
        slurm=plan.slurm if plan.where.scheduler == "slurm" else schema.Slurm(),
    )  # fmt: skip
    if not objective_checks.takes_mix(plan):
        data = msgspec.structs.replace(plan.data, mix=schema.Mix())
        final = msgspec.structs.replace(final, data=data)
    for setting in recipe_rules.settings():
        if not setting.applies(plan):
            final = changes.replace_setting(final, setting.path, setting.default)
    if final.ranks == 1:
        final = changes.replace_setting(final, "where.parallel", "auto")
    return final


def _without_unused(plan: Plan, provider: HostedProvider) -> schema.PlatformSettings:
    """Return settings of a platform without those that the chosen method or model does not use."""
    settings = plan.platform_settings
    default = type(settings)()
    unused = hosted_checks.CHECKS[provider].list_unused(plan, settings)
    return msgspec.structs.replace(settings, **{name: getattr(default, name) for name in unused})


@dataclass(frozen=True)
class PageOutcome:
    """The outcome of a page."""

    draft: Draft
    direction: int | None
    """1: next, -1: back, 0: the page once more, at another place; None: the wizard ends."""


def list_questions(draft: Draft) -> tuple[Question, ...]:
    """List the questions that neither the machine nor the wizard can answer.

    All but the first only matter for a comparison with other providers. The model size that is
    assumed is one that this machine trains.
    """
    others = (question for question in questions.open_questions(draft.machine) if question != FIT)
    here = questions.size_here(draft.machine, {})
    return (
        FIT,
        *(
            msgspec.structs.replace(question, assumed=here) if question.id == "size" else question
            for question in others
        ),
    )


def drop_assumed(asked: Iterable[Question], answers: Mapping[str, str]) -> dict[str, str]:
    """Return the answers to questions without those that are assumed anyway."""
    assumed: dict[str, str | None] = {question.id: question.assumed for question in asked}
    return {
        id: value for id, value in answers.items() if value not in (UNANSWERED, assumed.get(id))
    }


def list_answers(question: Question) -> list[tuple[str, str]]:
    """List id and label of each answer, “not specified” first if nothing is assumed."""
    answers = [(option.id, option.label) for option in question.options]
    return answers if question.assumed else [(UNANSWERED, NOT_SPECIFIED), *answers]


@contextlib.contextmanager
def temporary_plan(draft: Draft, name: str = "plan") -> Iterator[str]:
    """Yield a temporary file, ``name.yaml``, with the current plan.

    Raises FtwizardError if it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ftwizard-"))
            file = Path(folder) / f"{name}.yaml"
            file.write_text(plan_file.dump(draft.final_plan))
        except OSError as error:
            raise FtwizardError(
                f"A temporary file could not be written: {error.strerror or error}.",
                "Free some disk space, or set TMPDIR to a writable folder.",
            ) from error
        yield str(file)


def save(draft: Draft) -> str:
    """Save the plan; return its file. Raises FtwizardError if it cannot be written."""
    return str(plan_file.save(draft.final_plan, draft.name, replace=draft.name == draft.saved))


def get_fingerprint(file: str) -> Fingerprint | None:
    """Return the fingerprint of a file; None if it cannot be read."""
    try:
        status = Path(file).stat()
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def format_path(path: str) -> str:
    """Format a path for display: relative if it is below the working directory."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def get_absolute_path(name: str) -> str:
    """Return a typed file name as an absolute path; raises FtwizardError if it is invalid."""
    return str(user_paths.make_absolute(name))


def suggest_run_name(draft: Draft) -> str:
    """Return the run's name, or a free one made from the data file and the time."""
    if draft.name:
        return draft.name
    ids = iterate_ids(store.make_id(Path(draft.plan.data.files.train).stem))
    return next(name for name in ids if not find_name_problem(name))


def settle_run_name(draft: Draft, name: str, suggested: str) -> str:
    """Return the name to use: where the suggested one was taken meanwhile, the next free one."""
    is_taken = name == suggested and not draft.name and find_name_problem(name)
    return suggest_run_name(draft) if is_taken else name


def find_name_problem(name: str, saved: str = "") -> str:
    """Describe why a run name is unusable; empty if it is usable.

    ``saved``: the name of the plan that this wizard saved itself.
    """
    if not is_id(name):
        return "Use only letters, digits, dots, dashes and underscores."
    if (locations.runs_folder() / name).exists():
        return f"Run {name} already exists. Choose another name."
    if name != saved and plan_file.get_path(name).exists():
        return f"A plan {name} already exists. Choose another name."
    return ""


def format_command(name: str, hour: PriceRate | None = None) -> str:
    """Format the command that starts the saved plan, with the hourly price that was typed."""
    argv = ("ftwizard", "train", str(plan_file.get_path(name)), "--name", name)
    return make_visible(shlex.join([*argv, *machine_rate.price_arguments(hour)]))


def find_earlier_run(draft: Draft) -> EarlierLoss | None:
    """Find an earlier run on the same data that informs more epochs than advised.

    None if the epochs are few or there is no such run. A large file is read once, which takes
    seconds.
    """
    plan = draft.plan
    if plan.recipe.epochs <= schema.MANY_EPOCHS or not plan.data.files.train:
        return None
    file = plan.data.files.train
    return run_history.find_earlier_loss(plan, lambda: _hash_file(file, get_fingerprint(file)))


@functools.lru_cache(maxsize=4)
def _hash_file(file: str, stamp: Fingerprint | None) -> str | None:
    """Hash a file; cached until the file changes."""
    return run_history.hash_rows(file)
