"""Jobs as Slurm shows them: states, reasons for waiting, and how they are read from its text."""

from __future__ import annotations

import contextlib
import re
from typing import Literal

import msgspec

Phase = Literal["waiting", "active", "closing", "over"]
"""``waiting``: in the queue. ``active``: on its nodes. ``closing``: being ended there; a job that is
queued again waits afterwards."""
_PHASES: dict[str, Phase] = {
    **dict.fromkeys(
        ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
        "waiting",
    ),
    **dict.fromkeys(
        ("CONFIGURING", "RUNNING", "RESIZING", "SIGNALING", "STOPPED", "SUSPENDED"), "active"
    ),
    **dict.fromkeys(("COMPLETING", "STAGE_OUT"), "closing"),
}

REASONS = {
    "None": "Slurm has not looked at it yet",
    "Resources": "waiting for free nodes",
    "Priority": "jobs of higher priority are ahead",
    "BeginTime": "its start time has not come yet",
    "Dependency": "waiting for another job",
    "JobHeldUser": "held: scontrol release",
    "JobHeldAdmin": "held by an administrator",
    "NodeDown": "a node that it needs is down",
    "ReqNodeNotAvail": "the nodes that it needs are not available",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition does not start jobs",
    "PartitionConfig": "its partition takes no such job: of its account, QOS or user; change slurm.partition",
    "AccountNotAllowed": "its partition does not allow the account: change slurm.account",
    "QOSNotAllowed": "its partition does not allow the QOS: change slurm.qos",
    "PartitionNodeLimit": "lower slurm.nodes: its partition allows fewer",
    "PartitionTimeLimit": "lower slurm.time: its partition allows less",
    "Licenses": "waiting for a license",
    "Reservation": "waiting for its reservation",
    "InvalidAccount": "its account is not valid: change slurm.account",
    "InvalidQOS": "its QOS is not valid: change slurm.qos",
    "Cleaning": "its last start is still being cleaned up",
}
"""What the reasons of Slurm mean. The others name a limit of the account or the QOS."""
_LIMIT = re.compile(r"(QOS|Assoc)\w*")


class SlurmJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job as Slurm has it."""

    id: int
    state: str
    """As Slurm names it: ``PENDING``, ``RUNNING``, ``NODE_FAIL``."""
    reason: str | None = None
    """Why it waits, or ended, by Slurm's own name."""
    expected_start: float | None = None
    """Unix seconds; of a job that started, when."""
    nodes: str | None = None
    """In Slurm's notation: ``node[1-2]``."""
    exit_status: int | None = None
    """Exit status of its script."""
    failed_node: str | None = None
    """The node whose failure ended it."""

    @property
    def phase(self) -> Phase:
        return _PHASES.get(self.state, "over")


def describe_reason(reason: str | None) -> str:
    """Return in words why a job waits, after Slurm's own name; empty without a reason."""
    if not reason or reason == "None":
        return ""
    name = reason.partition(",")[0].strip()
    if meaning := REASONS.get(name):
        return f"{name}: {meaning}"
    return f"{name}: a limit of the account or the QOS" if _LIMIT.fullmatch(name) else name


def parse_queue(text: str) -> dict[int, SlurmJob]:
    """Read the lines of ``squeue``; what is not understood is left out."""
    jobs = {}
    for line in text.splitlines():
        fields = line.split("|", 5)
        if len(fields) != 6 or not fields[0].strip().isdigit():
            continue
        number, state, start, _, nodes, reason = (field.strip() for field in fields)
        jobs[int(number)] = SlurmJob(
            id=int(number),
            state=state,
            reason=reason or None,
            expected_start=_read_time(start),
            nodes=nodes or None,
        )
    return jobs


def parse_job(text: str) -> SlurmJob | None:
    """Read a line of ``scontrol --oneliner show job``."""
    fields = dict(
        re.findall(
            r"(?:^|\s)(JobId|JobState|Reason|FailedNode|NodeList|ExitCode|StartTime)=(\S*)", text
        )
    )
    if not fields.get("JobId", "").isdigit() or not fields.get("JobState"):
        return None
    status, _, number = fields.get("ExitCode", "").partition(":")
    is_signal = number.isdigit() and int(number) > 0
    return SlurmJob(
        id=int(fields["JobId"]),
        state=fields["JobState"],
        reason=fields.get("Reason") or None,
        expected_start=_read_time(fields.get("StartTime", "")),
        nodes=None if fields.get("NodeList") in (None, "", "(null)") else fields["NodeList"],
        failed_node=fields.get("FailedNode") or None,
        exit_status=int(status) if status.isdigit() and not is_signal else None,
    )


def _read_time(text: str) -> float | None:
    with contextlib.suppress(ValueError):
        return float(text)
    return None
