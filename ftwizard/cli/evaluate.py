"""``eval``: a model against its base on the target, general and safety sets, and a verdict."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard import credentials, locations, user_paths
from ftwizard.cli import output, run_argument, run_job
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.hosted_platforms import PLATFORMS
from ftwizard.jobs.folder import JobFolder, read_json
from ftwizard.jobs.status import observe
from ftwizard.models import hub
from ftwizard.plan import checks, plan_file
from ftwizard.plan.schema import Data, Files, Judge, Model, Plan
from ftwizard.rewards.recognized_answers import describe_answers
from ftwizard.runs import (
    blind_pairs,
    checkpoints,
    default_run,
    describe_evaluation,
    hosted,
    remote,
    watched,
)
from ftwizard.runs.evaluation import SWEEP
from ftwizard.runs.evaluation_files import NewestEvaluation
from ftwizard.runs.evaluation_job import EvaluationRequest, EvaluationResult
from ftwizard.runs.evaluation_plan import SetsReport, describe_check
from ftwizard.runs.remote import RemoteJob
from ftwizard.runs.result import TrainResult, read_trained
from ftwizard.text import make_visible
from ftwizard.train import command

EXIT_CODES = {"ship": 0, "do_not_ship": 1, "cannot_tell": 4}
"""With ``--gate``."""

_REPEATED = (
    "set", "base", "system", "shots", "scorer", "answer_pattern", "served_model", "key_variable",
    "judge", "judge_model", "judge_key",
)  # fmt: skip
"""Options of an evaluation that one with more items has, too."""


class _Case(NamedTuple):
    """What to evaluate."""

    request: EvaluationRequest
    plan: Plan
    root: Path
    """Folder of the jobs."""


def evaluate(arguments: argparse.Namespace) -> int:
    """Evaluate a run, a model or an endpoint in a job; print the verdict.

    With ``--gate`` the exit code is 0 for ship, 1 for do not ship, and 4 for cannot tell. With
    ``--check`` the files of ``--set`` are only read: 0 if all can be used, else 1.
    """
    if arguments.check:
        return _check_sets(arguments)
    if arguments.by_hand or arguments.choose or arguments.pairs:
        from ftwizard.cli.blind_pairs import judge_by_hand

        judged = judge_by_hand(arguments)
        return EXIT_CODES[judged.verdict] if arguments.gate else 0
    from ftwizard.export.card import write

    case = _make_case(arguments)
    _check(case)
    request = msgspec.to_builtins(case.request)
    text = plan_file.dump(case.plan)
    job = run_job.prepare(case.root, "eval", request | {"plan": text}, {"plan.yaml": text.encode()})
    again = shlex.join(["ftwizard", *sys.argv[1:]])
    run_job.run(job, _build_environment(case), again)
    result = read_json(job.result, EvaluationResult)
    if result is None:
        raise FtwizardError(f"{job.result} could not be read.", f"Evaluate again: {again}")
    if case.request.run:
        run = JobFolder(Path(case.request.run))
        if case.request.is_result:  # what was judged by hand of the same answers still counts
            newest = NewestEvaluation(run, result.evaluation)
            evaluation = blind_pairs.apply(newest, blind_pairs.read(run))
            result = msgspec.structs.replace(result, evaluation=evaluation)
        write.refresh(run)
    document = describe_evaluation.to_document(result.evaluation)
    document |= {"best": result.best, "candidates": msgspec.to_builtins(result.candidates)}
    document |= {"folder": str(job.path)}
    run_id = Path(case.request.run).name if case.request.run else ""
    output.print_report(arguments, document, _describe(arguments, result, run_id))
    return EXIT_CODES[result.evaluation.verdict] if arguments.gate else 0


def _check_sets(arguments: argparse.Namespace) -> int:
    """Read the user's sets and report what is wrong with them; no model answers."""
    if not arguments.set:
        raise FtwizardError("--check reads your own sets.", "Name them: --set FILE", USAGE)
    from ftwizard.evaluate import sets

    names = [plan_file.resolve_set(name, Path.cwd()) for name in arguments.set]
    report = SetsReport(sets=[sets.inspect(name) for name in names])
    lines = [line for checked in report.sets for line in describe_check(checked)]
    output.print_report(arguments, report, lines)
    return 0 if all(checked.is_usable for checked in report.sets) else 1


def _make_case(arguments: argparse.Namespace) -> _Case:
    name = arguments.model
    if name is not None and name.startswith(("http://", "https://")):
        tuned = {"name": "tuned", "model": name, "served_name": arguments.served_model,
                 "key_variable": arguments.key_variable}  # fmt: skip
        return _make_model_case(arguments, tuned)
    path = user_paths.expand(name) if name is not None else None
    if path is not None and path.is_dir() and not (path / "job.json").exists():
        return _make_folder_case(arguments, path.absolute())
    try:
        run = run_argument.find(name, default_run.choose_chatted)
    except FtwizardError:
        if name is None or name.count("/") != 1:
            raise
        return _make_model_case(arguments, {"name": "tuned", "model": name})
    watched.require_own(run, "evaluated")
    return _make_run_case(arguments, run)


def _make_run_case(arguments: argparse.Namespace, run: JobFolder) -> _Case:
    if observe(run).state != "ended":
        raise FtwizardError(
            f"Run {run.id} is still running: it evaluates its model itself when training ends.",
            f"Wait for its end, or stop it first: ftwizard stop {run.id}",
        )
    weakens = bool(arguments.scale or arguments.sweep)
    record = hosted.read_hosted(run) if weakens else hosted.read_served(run)
    if arguments.served_model and record is None:
        record = remote.read(run)
    if record:
        return _make_hosted_case(arguments, run, record)
    trained = read_trained(run)
    if trained is None:
        raise FtwizardError(
            f"Run {run.id} has no trained weights yet.",
            f"To continue it: ftwizard resume {run.id}",
        )
    if not any(Path(trained.base).glob("*.safetensors")):
        raise FtwizardError(
            f"The base model of run {run.id} is missing: {make_visible(trained.base)}.",
            "Restore it: the tuned model is compared with it.",
        )
    candidates, steps = _list_candidates(arguments, run, trained)
    used = plan_file.read_run(run)
    plan = _override(used, arguments)
    request = EvaluationRequest(
        run=str(run.path.absolute()),
        base={"name": "base", "model": trained.base},
        candidates=candidates,
        steps=steps,
        is_result=_asks_the_same(plan, used) and not _picks_weights(arguments),
    )
    return _Case(request, plan, run.path / "jobs")


def _asks_the_same(plan: Plan, used: Plan) -> bool:
    """Return whether a plan asks what a run was asked, perhaps with another scorer or judge."""
    kept = {name: getattr(used.evaluate, name) for name in ("scorer", "answer_pattern", "judge")}
    evaluate = msgspec.structs.replace(plan.evaluate, **kept)
    return msgspec.structs.replace(plan, evaluate=evaluate) == used


def _make_hosted_case(arguments: argparse.Namespace, run: JobFolder, record: RemoteJob) -> _Case:
    """Return the case of a run whose model is at a platform, where base and tuned model are asked."""
    _refuse_local_options(arguments, run, record)
    from ftwizard.evaluate.run.hosted import make_arm
    from ftwizard.providers.endpoints import find_endpoints, record_endpoint

    used = plan_file.read_run(run)
    chosen = _list_hosted_models(arguments, run, record)
    endpoints = [
        find_endpoints(
            run, record, used, tuned=arguments.served_model or "", base=arguments.base or "",
            checkpoint=step,
        )
        for _, step in chosen
    ]  # fmt: skip
    arms = [make_arm(name, at.tuned, used) for (name, _), at in zip(chosen, endpoints, strict=True)]
    steps = {name: step for name, step in chosen if step is not None}
    tuned, served_base = endpoints[0]
    base = make_arm("base", served_base, used) if served_base else None
    if arguments.served_model or arguments.base:
        is_tuned = not _picks_weights(arguments)
        record = msgspec.structs.replace(
            record, tuned_endpoint=record_endpoint(tuned) if is_tuned else record.tuned_endpoint,
            base_endpoint=record_endpoint(served_base) if served_base else None,
        )  # fmt: skip
        remote.write(run, record)  # chats and later evaluations ask the same deployments
    plan = _override(used, arguments)
    if not arguments.json:
        _print_cost(plan, run, record, len(arms))
    request = EvaluationRequest(
        run=str(run.path.absolute()),
        base=msgspec.to_builtins(base) if base else None,
        candidates=[msgspec.to_builtins(arm) for arm in arms],
        steps=steps,
        is_result=_asks_the_same(plan, used) and not _picks_weights(arguments),
    )
    return _Case(request, plan, run.path / "jobs")


def _refuse_local_options(arguments: argparse.Namespace, run: JobFolder, record: RemoteJob) -> None:
    platform = hosted.name_platform(record.provider)
    if arguments.scale or arguments.sweep:
        raise FtwizardError(
            f"The weights of run {run.id} are at {platform}: there is no adapter here to weaken.",
            "Evaluate a checkpoint that it keeps: --checkpoint N",
            USAGE,
        )
    if arguments.checkpoints and arguments.served_model:
        raise FtwizardError(
            "--served-model names one deployment, and --checkpoints asks one for each checkpoint.",
            "Evaluate one of them: --checkpoint N --served-model NAME",
            USAGE,
        )


def _print_cost(plan: Plan, run: JobFolder, record: RemoteJob, candidates: int) -> None:
    """Say what the platform is asked, and what that costs, before it is."""
    from ftwizard.providers.consent_text import describe_asking
    from ftwizard.train.dataset import SavedTestSet

    saved = read_json(run.evaluations / "test.json", SavedTestSet)
    tests = len(saved.rows) if saved else 0
    trained = len(saved.trained) if saved else 0
    print(f"· {describe_asking(plan, record, tests, candidates, trained)}", file=sys.stderr)


def _list_hosted_models(
    arguments: argparse.Namespace, run: JobFolder, record: RemoteJob
) -> list[tuple[str, int | None]]:
    """Return the models to evaluate, each with its name here and its step (None: the tuned model)."""
    if not arguments.checkpoints:
        return [("tuned", arguments.checkpoint)]
    kept = sorted(c.step for c in record.checkpoints if c.model)
    if not kept:
        platform = hosted.name_platform(record.provider)
        raise FtwizardError(f"{platform} has no checkpoint of run {run.id} that can be asked.")
    return [(f"checkpoint-{step}", step) for step in kept]


def _picks_weights(arguments: argparse.Namespace) -> bool:
    picks = (arguments.checkpoint, arguments.checkpoints, arguments.scale, arguments.sweep)
    return any(pick not in (None, False) for pick in picks)


def _list_candidates(
    arguments: argparse.Namespace, run: JobFolder, trained: TrainResult
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return the weights of a run to evaluate, and the step of each by name."""
    from ftwizard.evaluate.run.tuned import make_tuned_arm

    if not _picks_weights(arguments):
        return [msgspec.to_builtins(make_tuned_arm(run, trained))], {"tuned": trained.step}
    is_result = arguments.checkpoint is None and not arguments.checkpoints
    chosen = [trained.step] if is_result else _choose_checkpoints(arguments, run)
    scales = SWEEP if arguments.sweep else (arguments.scale or 1.0,)
    if trained.method == "full" and scales != (1.0,):
        raise FtwizardError(
            f"Run {run.id} trained all weights: there is no adapter to weaken.",
            "Evaluate its checkpoints: --checkpoints",
            USAGE,
        )
    arms, steps = [], {}
    for step in chosen:
        folder = run.checkpoints / f"checkpoint-{step}"
        for scale in scales:
            name = f"scale-{scale:g}" if arguments.sweep else f"checkpoint-{step}"
            if len(chosen) * len(scales) == 1:
                name = "tuned"
            elif len(chosen) > 1 and len(scales) > 1:
                name = f"checkpoint-{step}-scale-{scale:g}"
            weights = {"model": trained.base, "adapter": str(run.adapter if is_result else folder)}
            if trained.method == "full":
                weights = {"model": str(folder), "tokenizer": trained.base}
            arms.append({"name": name, "scale": scale, **weights})
            steps[name] = step
    return arms, steps


def _choose_checkpoints(arguments: argparse.Namespace, run: JobFolder) -> list[int]:
    """Return the steps of checkpoints on disk to evaluate."""
    kept = sorted(kept.step for kept in checkpoints.all_complete(run.checkpoints))
    if arguments.checkpoints and kept:
        return kept
    if arguments.checkpoint in kept:
        return [arguments.checkpoint]
    listed = f"On disk: {', '.join(map(str, kept))}. Others were deleted." if kept else ""
    step = "complete checkpoint" if arguments.checkpoints else f"checkpoint {arguments.checkpoint}"
    raise FtwizardError(f"Run {run.id} has no {step} on disk.", listed)


def _make_folder_case(arguments: argparse.Namespace, folder: Path) -> _Case:
    """Return the case of a model's folder, or of an adapter's, which names its base model itself."""
    settings = read_json(folder / "adapter_config.json", dict[str, Any])
    if settings is not None:
        base = arguments.base or settings.get("base_model_name_or_path")
        if not base:
            raise FtwizardError(
                f"{make_visible(str(folder))} is an adapter that does not name its base model.",
                "Name it: --base FOLDER|ID",
            )
        arguments.base = base
        return _make_model_case(
            arguments, {"name": "tuned", "model": _find_model(base), "adapter": str(folder)}
        )
    if not (folder / "config.json").exists():
        raise FtwizardError(
            f"{make_visible(str(folder))} is neither a model, nor an adapter, nor a run.",
            "Name a folder with config.json or adapter_config.json.",
        )
    return _make_model_case(arguments, {"name": "tuned", "model": str(folder)})


def _make_model_case(arguments: argparse.Namespace, tuned: dict[str, Any]) -> _Case:
    if _picks_weights(arguments) and not (tuned.get("adapter") and not arguments.checkpoints):
        raise FtwizardError(
            "--checkpoint, --scale and --sweep are for the runs of this machine.",
            "Remove them, or name a run.",
            USAGE,
        )
    if arguments.scorer or arguments.answer_pattern:
        raise FtwizardError(
            "--scorer and --answer-pattern are for the test rows of a run.",
            "Name a run, or a scorer in each line of your own set.",
            USAGE,
        )
    base = {"name": "base", "model": _find_model(arguments.base)} if arguments.base else None
    model = str(tuned["model"])
    bare = Plan(
        data=Data(files=Files(train=str(Path.cwd() / "none.jsonl"))),
        model=Model(name=arguments.base or model),
        allow=("no-validation",),
    )
    scales = SWEEP if arguments.sweep else (arguments.scale or 1.0,)
    names = [f"scale-{scale:g}" if len(scales) > 1 else "tuned" for scale in scales]
    request = EvaluationRequest(
        base=base,
        candidates=[
            {**tuned, "name": name, "scale": scale}
            for name, scale in zip(names, scales, strict=True)
        ],
    )
    return _Case(request, _override(bare, arguments), locations.home_folder() / "evaluations")


def _find_model(name: str) -> str:
    """Return an address as it is, a folder by its absolute path, and a Hub id that can be used."""
    if name.startswith(("http://", "https://")):
        return name
    if user_paths.is_folder(Path(name).expanduser()):
        return str(user_paths.expand(name).absolute())
    hub.locate(name)  # raises FtwizardError if there is no such model
    return name


def _override(plan: Plan, arguments: argparse.Namespace) -> Plan:
    """Return the plan with the sets and prompts that the command names."""
    settings = plan.evaluate
    changes: dict[str, Any] = {}
    if arguments.set:
        own = [plan_file.resolve_set(name, Path.cwd()) for name in arguments.set]
        changes["sets"] = tuple(dict.fromkeys((*settings.sets, *own)))
    if arguments.system is not None:
        changes["system"] = _read_system(arguments.system)
    for name in ("shots", "max_items", "scorer", "answer_pattern"):
        if getattr(arguments, name) is not None:
            changes[name] = getattr(arguments, name)
    if arguments.scorer:
        changes["scorer"] = plan_file.resolve_function("--scorer", arguments.scorer, Path.cwd())
    if arguments.judge is not None:
        changes["judge"] = Judge(
            url=arguments.judge, model=arguments.judge_model, key_variable=arguments.judge_key
        )
    if not changes:
        return plan
    plan = msgspec.structs.replace(plan, evaluate=msgspec.structs.replace(settings, **changes))
    if arguments.scorer or arguments.answer_pattern:
        checks.check_scorer(plan)
    return plan


def _read_system(text: str) -> str:
    """Return a system prompt, or what the file of that name has."""
    path = user_paths.expand(text)
    if "\n" in text or not user_paths.exists(path):
        return text
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise FtwizardError(
            f"{make_visible(str(path))} could not be read: {make_visible(str(error), 200)}.",
            "Name a text file in UTF-8.",
        ) from None


def _check(case: _Case) -> None:
    """Raise FtwizardError for a file of items that cannot be used; warn without base or target set."""
    from ftwizard.evaluate import sets

    sets.check_files(case.plan.evaluate.sets)
    if case.request.base is None:
        print(
            "! There is no base model to compare with. Name it: --base MODEL|URL", file=sys.stderr
        )
    if not case.plan.evaluate.sets and not _has_target(case):
        print(
            "! There is no test set, so no gain can be shown. Add one: --set FILE", file=sys.stderr
        )


def _has_target(case: _Case) -> bool:
    from ftwizard.train import dataset

    if case.request.run is None:
        return False
    try:
        return bool(dataset.read_test_set(JobFolder(Path(case.request.run))).rows)
    except (OSError, msgspec.MsgspecError):
        return False


def _build_environment(case: _Case) -> dict[str, str]:
    """Return the environment of the job: one GPU, and only the keys of its endpoints."""
    environment = command.build_environment(case.plan)
    if case.plan.is_hosted:  # nothing of it may be needed to ask a platform
        environment = credentials.without_secrets(environment, _list_judge_keys(case.plan))
        # An SDK may find its credentials in the environment; keys are named by the models.
        platform = next(each for name, each in PLATFORMS.items() if name == case.plan.provider)
        names = () if platform.key_variable else platform.secrets
        environment |= {name: os.environ[name] for name in names if name in os.environ}
    for arm in (case.request.base or {}, *case.request.candidates):
        name = arm.get("key_variable")
        if name is None:
            continue
        if name not in os.environ:
            raise FtwizardError(
                f"The environment variable {make_visible(name, 60)} is not set.",
                "Set it to the key of the endpoint, or remove --key-variable.",
            )
        environment[name] = os.environ[name]
    return environment


def _list_judge_keys(plan: Plan) -> tuple[str, ...]:
    name = plan.evaluate.judge.key_variable
    return (name,) if name else ()


def _describe(arguments: argparse.Namespace, result: EvaluationResult, run_id: str) -> list[str]:
    lines = []
    if len(result.candidates) > 1:
        lines += _list_candidate_lines(result)
        lines += ["", describe_evaluation.describe_choice(len(result.candidates))]
        scale = next(
            candidate.scale for candidate in result.candidates if candidate.name == result.best
        )
        if scale != 1 and run_id and result.evaluation.verdict == "ship":
            lines.append(f"To merge it: ftwizard merge {run_id} --scale {scale:g} --out DIR")
        lines.append("")
    again = _list_words(arguments, result, run_id)
    lines += describe_evaluation.list_lines(result.evaluation, run_id, again)
    if kind := result.evaluation.answers:
        lines.append(
            f"Answers: {describe_answers(kind, is_changed=result.evaluation.scorer_changed)}"
        )
    return lines


def _list_words(arguments: argparse.Namespace, result: EvaluationResult, run_id: str) -> list[str]:
    """Return the command that evaluates the best candidate alone, for any number of items."""
    words = ["ftwizard", "eval", run_id or arguments.model]
    for name in _REPEATED:
        values = getattr(arguments, name)
        for value in values if isinstance(values, list) else [values]:
            words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    best = next(candidate for candidate in result.candidates if candidate.name == result.best)
    if best.step and (arguments.checkpoint is not None or arguments.checkpoints):
        words += ["--checkpoint", str(best.step)]
    return words + (["--scale", f"{best.scale:g}"] if best.scale != 1 else [])


def _list_candidate_lines(result: EvaluationResult) -> list[str]:
    names = list(
        dict.fromkeys(name for candidate in result.candidates for name in candidate.scores)
    )
    width = max(len(candidate.name) for candidate in result.candidates) + 2
    heading = "".join(f"{describe_evaluation.name_set(name):>10}" for name in names)
    lines = [f"{'':{width + 2}}{heading}"]
    sets = result.evaluation.sets
    base = {name: sets[name].arms.get("base") for name in names if name in sets}
    if any(base.values()):
        scores = "".join(
            f"{describe_evaluation.format_arm(base.get(name), with_bounds=False):>10}"
            for name in names
        )
        lines.append(f"  {'base':<{width}}{scores}")
    for candidate in result.candidates:
        scores = "".join(f"{candidate.scores.get(name, 0):>10.0%}" for name in names)
        best = "  best" if candidate.name == result.best else ""
        mark = describe_evaluation.MARKS[candidate.verdict]
        lines.append(f"{mark} {candidate.name:<{width}}{scores}{best}")
    return lines
