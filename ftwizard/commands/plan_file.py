"""The plan that a command is given: rows in its place are told apart before they are read as YAML."""

from __future__ import annotations

from collections.abc import Container, Iterable
from pathlib import Path

from ftwizard import plan
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.plan import Plan, RiskName
from ftwizard.text import visible

ROWS = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".zst")
"""How names of files of rows end. A plan may be JSON, which is YAML."""
IN_A_PLAN = (
    "A plan names them: data: {{files: {{train: {name}}}}}, and model: {{name: owner/model}}."
)


def load(
    name: str,
    allow: Iterable[str],
    *,
    of_rows: str = IN_A_PLAN,
    later: Container[RiskName] = (),
) -> Plan:
    """Return the plan; ``of_rows``: what to do with rows, which ``{name}`` stands for; ``later``:
    warnings that the command sees to itself.

    Raises FtwizardError for rows, PlanError for a plan that cannot be used.
    """
    if name.lower().endswith(ROWS):
        shown = visible(name, 100)
        raise FtwizardError(
            f"{shown} looks like rows, not like a plan.", of_rows.format(name=shown), USAGE
        )
    return plan.load(Path(name), allow, later=later)
