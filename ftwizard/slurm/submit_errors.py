"""Refusals of ``sbatch``: Slurm's own words, and what to change in the plan."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ftwizard.errors import FtwizardError
from ftwizard.text import make_visible

_PREFIX = re.compile(
    r"^(?:s[a-z]+: )?(?:(?:error|fatal): )?(?:allocation failure: )?(?:[a-z_]+_[a-z_]+(?: error)?: )?"
)
"""Command, severity and function before what is meant: ``sinfo: error: fetch_config: ``."""
_UNREACHED = re.compile("unable to contact|configuration (source|file)", re.IGNORECASE)
"""What its commands print where they reached no controller: it judged nothing."""
_UNANSWERED = re.compile("timed out|zero bytes were transmitted", re.IGNORECASE)
"""The same where one was reached and did not answer: what it was asked for may be done all the same."""
TIMEOUT = "slurm_timeout"
"""Code of the error of a command that was not answered in time."""
MAX_SUMMARY = 100
"""Characters of Slurm's words in an error that is not about the job."""
_NODES = "See what its nodes have: sinfo --Node --long"
_HINTS: tuple[tuple[str, str, str], ...] = (
    (
        "violates accounting/qos policy",
        "",
        (
            "A limit of the account or its QOS. Wait until other jobs have ended, or lower slurm.time, "
            "slurm.nodes or slurm.gpus. The limits: sacctmgr show associations user=$USER"
        ),
    ),
    (
        "account",
        "slurm.account",
        "Change slurm.account. Yours: sacctmgr show associations user=$USER",
    ),
    (
        "qos",
        "slurm.qos",
        "Change slurm.qos. Yours: sacctmgr show associations user=$USER format=account,qos",
    ),
    ("time limit", "slurm.time", "Lower slurm.time. The limits: sinfo --format='%P %l'"),
    (
        "--time",
        "slurm.time",
        "Write slurm.time as Slurm does: 90 (minutes), 12:00:00, or 1-00:00:00.",
    ),
    ("memory", "slurm.memory", f"Lower slurm.memory. {_NODES}"),
    (
        "generic resource",
        "slurm.gpus",
        "Change slurm.gpus or slurm.gpu_type. The cluster's GPUs: sinfo --format='%P %G'",
    ),
    ("feature", "slurm.constraint", "Change slurm.constraint. Theirs: sinfo --format='%P %f'"),
    (
        "node configuration",
        "",
        f"Its nodes are too few or too small. Lower slurm.nodes, slurm.gpus, slurm.cpus or slurm.memory. {_NODES}",
    ),
    ("requeue", "slurm.requeue", "The site does not allow this. Set slurm.requeue to false."),
)
"""Parts of Slurm's words, the setting that they are about (if it is one), and what to do; the first that
fits."""


def explain(text: str, list_partitions: Callable[[], Sequence[str]]) -> FtwizardError:
    """Return the error for a submission that Slurm refused with ``text``; its ``code`` is the setting
    that it is about, if it is one."""
    if _UNREACHED.search(text):
        return describe_silence(summarize(text))
    if _UNANSWERED.search(text):
        return describe_silence(summarize(text), TIMEOUT)
    lines = _list_lines(text)
    reason = make_visible("; ".join(lines[:3]), 300).rstrip(".") or "it gave no reason"
    message = f"Slurm refused the job: {reason}."
    lower = text.lower()
    is_unknown = "partition specified" in lower
    if is_unknown or ("partition" in lower and not re.search("account|qos", lower)):
        names = ", ".join(make_visible(name, 40) for name in list_partitions()[:20])
        return FtwizardError(
            message,
            f"Change slurm.partition to one of: {names or 'see sinfo'}.",
            code="slurm.partition",
        )
    default = "", "Change slurm in the plan, or ask your cluster's support."
    setting, hint = next(((name, hint) for part, name, hint in _HINTS if part in lower), default)
    return FtwizardError(message, hint, code=setting)


def describe_silence(reason: str, code: str = "") -> FtwizardError:
    """Return the error for a controller that does not answer."""
    return FtwizardError(
        f"Slurm does not answer{f': {reason}' if reason else ''}.",
        "See whether its controller is up: scontrol ping",
        code=code,
    )


def summarize(text: str) -> str:
    """Return what a command that failed says last, without its name: what it says first is how it tried."""
    return make_visible(next(reversed(_list_lines(text)), ""), MAX_SUMMARY).rstrip(".")


def _list_lines(text: str) -> list[str]:
    lines = [_PREFIX.sub("", line).strip() for line in text.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))
