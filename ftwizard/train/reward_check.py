"""Rewards of a plan before its training starts: the dry run, and the files of the user's functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftwizard.data.reader import ParsedRow
from ftwizard.jobs.folder import hash_file
from ftwizard.plan.schema import Plan
from ftwizard.rewards import dry_run
from ftwizard.rewards.dry_run import DryRun
from ftwizard.rewards.reward import Reward
from ftwizard.rewards.rows import make_batch, to_row
from ftwizard.rewards.scoring import open_scorers
from ftwizard.text import make_visible


def try_plan(plan: Plan, rows: Sequence[ParsedRow], count: int = dry_run.DRY_ROWS) -> DryRun:
    """Return the dry run of a plan's rewards on the first of its training rows."""
    settings = plan.recipe.grpo
    pool = [to_row(row) for row in rows[: max(count, dry_run.POOL_ROWS)]]
    return dry_run.try_rewards(settings.rewards, pool, count, template=settings.answer_template)


def require_signal(plan: Plan, rows: Mapping[str, Sequence[ParsedRow]]) -> None:
    """Raise FtwizardError if a reward of the plan fails, or gives every answer the same.

    So for a function that scores the test rows: their own answers must have scores.
    """
    if scorer := _find_scorer(plan):
        tests = [to_row(row) for row in rows.get("test", ())[: dry_run.DRY_ROWS]]
        with open_scorers([scorer]) as (opened,):
            opened.score(make_batch(tests, [row.reference for row in tests]))
    if plan.is_hosted or plan.recipe.objective != "grpo":
        return
    report = try_plan(plan, rows["train"])
    dry_run.require_signal(report, allowed="weak-grader" in plan.allow)


def hash_functions(plan: Plan) -> dict[str, str]:
    """Return the hash of each file with a reward function of the user, or one that scores the test rows."""
    rewards = list(plan.recipe.grpo.rewards) if plan.recipe.objective == "grpo" else []
    if scorer := _find_scorer(plan):
        rewards.append(scorer)
    return {str(file): hash_file(file) for reward in rewards if (file := reward.file)}


def _find_scorer(plan: Plan) -> Reward | None:
    """Return the user's function that scores the test rows."""
    reward = Reward(function=plan.evaluate.scorer)
    return reward if reward.file else None


def describe_changes(plan: Plan, before: Mapping[str, str]) -> str | None:
    """Return a message if a file with a reward function is not the one that the run started with."""
    now = hash_functions(plan)
    changed = [make_visible(name, 200) for name in now if before.get(name, now[name]) != now[name]]
    if not changed:
        return None
    return (
        f"{', '.join(changed)} changed since the run started. Rewards from here on may not compare with "
        "those before."
    )
