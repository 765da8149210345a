"""``stop``: save and stop a run; with ``--kill``, end it at once."""

from __future__ import annotations

import argparse
import sys

from ftwizard.cli import hosted_run, output, run_argument
from ftwizard.errors import DECLINED, USAGE, FtwizardError
from ftwizard.jobs import allocation, identity, leftovers, lock, remote_host, requests, stopping
from ftwizard.jobs.folder import JobFolder, State
from ftwizard.jobs.status import Status, observe
from ftwizard.runs import default_run, describe, store
from ftwizard.slurm import client
from ftwizard.text import format_count, format_duration, make_visible


def stop(arguments: argparse.Namespace) -> int:
    """Request a run to save and stop, and wait until all its processes have ended.

    The request is written before the run's events are read. If the user stops waiting, it stands.
    """
    folder = run_argument.find(arguments.run, default_run.choose_stopped)
    if hosted_run.is_hosted(folder):
        if (code := hosted_run.end(folder, arguments)) is not None:
            return code
    elif arguments.cancel or arguments.detach or arguments.pause:
        raise FtwizardError(
            f"Run {folder.id} trains on this machine, not at a platform.",
            f"Save and stop it: ftwizard stop {folder.id}",
            USAGE,
        )
    if (code := _cancel_queued(folder, arguments)) is not None:
        return code
    state = folder.read_state()
    if arguments.kill and state is not None and state.is_self_kept:
        raise _make_kill_refusal(folder, state)
    attempt = folder.newest_attempt()
    host = remote_host.get_other_host(folder, state)
    is_repeated = False
    if attempt and (host or lock.is_held(folder.lock)):
        is_repeated = requests.request_stop(folder, attempt, now=arguments.kill)
    try:
        return _end(folder, attempt, arguments, is_repeated=is_repeated)
    except KeyboardInterrupt:
        stands = "It is still being killed" if arguments.kill else "It still saves and stops"
        print(f"\nNot waiting. {stands}. See: ftwizard status {folder.id}", file=sys.stderr)
        return DECLINED


def _cancel_queued(folder: JobFolder, arguments: argparse.Namespace) -> int | None:
    """Cancel the Slurm job of a run that waits in the queue; None for a run that does not.

    Where it starts meanwhile, None: it is stopped as any other.
    """
    state = folder.read_state()
    if state is None or state.slurm_job is None:
        return None
    status = observe(folder)
    if status.state != "queued" or status.allocation is None:
        return None
    _report(f"Canceling Slurm job {status.allocation.job_id}, which has not started yet.")
    if not allocation.cancel_queued(folder):
        return None
    return _print_ending(folder, observe(folder), arguments)


def _end(
    folder: JobFolder, attempt: int, arguments: argparse.Namespace, *, is_repeated: bool
) -> int:
    if count := leftovers.end(folder):
        killed = format_count(count, "process", "processes")
        _report(f"Its trainer and keeper were dead; killed {killed} left behind.")
    before = observe(folder)
    if before.state == "ended":
        requests.withdraw(folder, attempt)
        return _print_ending(folder, before, arguments)
    _report(_describe_stop(folder, before, kill=arguments.kill, is_repeated=is_repeated))
    if arguments.kill and before.allocation:
        client.cancel(before.allocation.job_id)
    has_ended = stopping.wait_for_end(folder, attempt, now=arguments.kill, report=_report)
    run_argument.require_folder(folder, "stop")
    if not has_ended:
        raise _make_error(folder, before, kill=arguments.kill)
    return _print_ending(folder, observe(folder), arguments)


def _describe_stop(folder: JobFolder, status: Status, *, kill: bool, is_repeated: bool) -> str:
    on = f" on {make_visible(status.host, 64)}" if status.host else ""
    if kill:
        return f"Killing it{on}."
    if hosted_run.is_hosted(folder):
        return f"Stopping the follower{on}. The job at the platform is not changed."
    left_s = stopping.read_seconds_left(folder, status.attempt)
    limit = f", up to {format_duration(left_s)}{' more' if is_repeated else ''}" if left_s else ""
    begin = "It is already stopping" if is_repeated else "Stopping"
    by_force = f" To kill it now, unsaved: ftwizard stop {folder.id} --kill"
    if status.liveness.is_self_kept:
        by_force = ""
    return f"{begin}{on}: it finishes its step and saves{limit}.{by_force}"


def _make_error(folder: JobFolder, status: Status, *, kill: bool) -> FtwizardError:
    by_force = f"ftwizard stop {folder.id} --kill"
    if status.allocation and not kill:
        return FtwizardError(
            f"Run {folder.id} has not ended yet.", f"To cancel its Slurm job: {by_force}"
        )
    if (state := folder.read_state()) is not None and state.is_self_kept:
        return FtwizardError(
            f"Run {folder.id} has not ended yet. The request stands until the end of its step.",
            f"Its process is your own script; to end it unsaved: {_name_kill(state)}",
        )
    if status.host:  # its processes are on another machine: here we can only ask
        return FtwizardError(
            f"Run {folder.id} has not ended yet and cannot be killed from here.",
            f"On {make_visible(status.host, 64)}, run: {by_force}",
        )
    hint = f"See its processes: ftwizard status {folder.id}" if kill else f"To kill it: {by_force}"
    return FtwizardError(f"Run {folder.id} has not ended yet.", hint)


def _make_kill_refusal(folder: JobFolder, state: State) -> FtwizardError:
    return FtwizardError(
        f"Run {folder.id} is a script of your own, which WatchCallback only records. It is never "
        "killed from here.",
        f"To save and stop it: ftwizard stop {folder.id}   To end it unsaved: {_name_kill(state)}",
        USAGE,
    )


def _name_kill(state: State) -> str:
    """Return the command that ends the user's own process, with its host if that is another one."""
    if state.command is None:
        return "end your script"
    on = "" if identity.is_alive(state.command) is not None else f" (on {state.command.host})"
    return f"kill {state.command.pid}{on}"


def _report(line: str) -> None:
    print(line, file=sys.stderr)


def _print_ending(folder: JobFolder, status: Status, arguments: argparse.Namespace) -> int:
    if arguments.json:
        output.print_json(store.read_status(folder))
    else:
        output.print_lines(output.make_console(), *describe.describe_end(folder, status))
    return 0
