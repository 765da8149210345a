"""The keeper: starts a job's command, watches it, stops it, and records how it ended.

It knows nothing of what the command does. It ignores hang-ups and holds no pipe to the command. If
the keeper is killed, the command keeps running: hours of work matter more than supervision.
Run as ``python -m ftwizard.jobs.keeper FOLDER LOCK_FD``; the launcher passes the lock on.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import Any

import msgspec
import psutil

from ftwizard.hardware import machine
from ftwizard.jobs import identity, launch, leftovers, liveness, requests, rescue
from ftwizard.jobs.ending import (
    TERMINATED,
    describe_end_reason,
    determine_end_reason,
    read_done_event,
)
from ftwizard.jobs.events import EventWriter, decode
from ftwizard.jobs.folder import (
    APPEND,
    HeldFolder,
    JobFolder,
    State,
    append,
    find_own,
    write_json,
    write_whole,
)
from ftwizard.jobs.hook import Hook
from ftwizard.jobs.identity import Identity
from ftwizard.jobs.pace import TERM_GRACE_S, read_pace
from ftwizard.text import format_count, format_duration

TICK_S = 0.5
HEARTBEAT_S = 1.0
SAMPLE_S = 2.0
END_RETRY_S = 5.0
"""Time that a disk has to take the end of a job, before it is written to another disk."""
OOM_WINDOW_S = 60.0
"""An out-of-memory kill within this time before the end may be its cause."""
UNEXPECTED_ENDS = ("killed", "out_of_memory", "crashed")
"""End reasons after which a command is started again, where its attempt says so."""
LONG_S = 600.0
"""Run time from which an unexpected end counts as the first one."""
REMOVED = "Its folder was removed while it ran, or moved to another disk."
BALLAST_BYTES = 64 * 1024
HOST_NAMESPACE = 0xEFFFFFFC
"""Inode of the host's pid namespace: PROC_PID_INIT_INO, linux/proc_ns.h."""
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2): the keeper adopts orphans of the command


def keep(folder: HeldFolder, lock_fd: int) -> int:
    """Run the command of the newest attempt until it ends; return the keeper's exit status."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    return _Keeper(folder, lock_fd).run()


class _Keeper:
    def __init__(self, folder: HeldFolder, lock_fd: int) -> None:
        self.folder = folder
        self.lock_fd = lock_fd
        self.attempt = folder.read_attempt(folder.newest_attempt())
        self.record = folder.read_job()
        self.oom_kills = [machine.count_oom_kills()] * 2
        """Counts of one to two minutes ago, and of less than a minute ago: older kills do not count."""
        self.began = self.counted = self.command_began = time.monotonic()
        self.beaten = self.sampled = 0.0
        self.restarts = 0
        """Times that the command was started again, since it last ran for long."""
        self.ending = False
        self.stop_began: float | None = None
        """Monotonic time at which a request to stop was seen."""
        self.log_from = 0
        self.next_signal: tuple[float, signal.Signals] | None = None
        self.sampler = machine.Sampler(SAMPLE_S)
        self.is_written = True
        """Whether the disk took the newest state."""
        self.unwritten = b""
        """Lines of events that the command left and the disk did not take."""
        self.state = State(
            state="starting",
            attempt=self.attempt.number,
            started=self.attempt.started,
            slurm_job=self.attempt.slurm_job,
            keeper=identity.from_pid(os.getpid()),
        )

    def run(self) -> int:
        self._create_ballast()
        with contextlib.suppress(OSError):
            self.folder.heartbeat.touch(mode=0o600)
        signal.signal(signal.SIGTERM, self._on_term)
        self.hook = Hook(self.folder)
        reason = self._run_command()
        while (wait_s := self._find_wait(reason)) is not None:
            if (asked := self._wait_to_restart(reason, wait_s)) is not None:
                reason = asked
                break
            reason = self._run_command()
        requests.remove(self.folder, "kill")
        done = self.state.done or read_done_event(self.folder, self.attempt.number) or {}
        self._write_state(
            state="ended",
            end_reason=reason,
            # What the command obeyed: the request may have come and gone between two looks.
            stop_cause=done.get("stop_cause", self.state.stop_cause),
            ended=time.time(),
            seconds=round(time.monotonic() - self.began, 1),
        )
        is_recorded = self._record_end()
        # The job is over: nothing waits for the notification command.
        os.close(self.lock_fd)
        self.hook.end(reason, self.state.done)
        return 0 if is_recorded else 1

    def _run_command(self) -> str:
        """Start the command and watch it until it ends; return why it did."""
        with contextlib.suppress(OSError):
            self.log_from = self.folder.log.stat().st_size
        handover, variable = rescue.open_handover()
        mark = leftovers.make_mark(self.folder, self.attempt.number)
        self.command_began = time.monotonic()
        process = launch.spawn(
            self.folder,
            self.attempt.argv,
            lock_fd=self.lock_fd,
            environment={**os.environ, **mark, **variable},
            more_fds=[handover],
        )
        self._write_state(state="running", end_reason=None, command=identity.from_pid(process.pid))
        while process.poll() is None:
            self._look_after()
            self._handle_requests(time.monotonic(), process)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(TICK_S)
        orphans = self.state.orphans + leftovers.kill(self._find_orphans)
        self.state = msgspec.structs.replace(
            self.state, returncode=process.returncode, orphans=orphans
        )
        return self._determine_end(process.returncode, rescue.take_over(handover))

    def _look_after(self) -> None:
        """Beat, sample the machine, and do what else is due."""
        now = time.monotonic()
        if now - self.beaten >= HEARTBEAT_S:
            self._beat(now)
            self.beaten = now
        if now - self.sampled >= SAMPLE_S:
            self._sample()
            self.sampled = now
        self.hook.look()
        if not self.is_written:
            self._write_state()

    def _find_wait(self, reason: str) -> float | None:
        """Return the seconds after which the command is started again; None if it is not."""
        waits_s, attempt = self.attempt.restart_after_s, self.attempt.number
        is_asked = self.ending or any(
            requests.read_pending(self.folder, name, attempt) for name in ("stop", "kill")
        )
        if not waits_s or is_asked or reason not in UNEXPECTED_ENDS:
            return None
        if self.state.returncode in TERMINATED or read_done_event(self.folder, attempt):
            return None
        if time.monotonic() - self.command_began >= LONG_S:
            self.restarts = 0
        if self.restarts < len(waits_s):
            return waits_s[self.restarts]
        times = format_count(self.restarts, "time")
        message = f"It was started again {times}, and ended unexpectedly each time."
        done = {"kind": "done", "end_reason": reason, "message": message}
        self.state = msgspec.structs.replace(self.state, done=done)
        return None

    def _wait_to_restart(self, reason: str, wait_s: float) -> str | None:
        """Wait until the command is started again; return the end reason if the user ends the job."""
        attempt = self.attempt.number
        self.restarts += 1
        text = f"Its process {describe_end_reason(reason)}."
        text += f" It is started again in {format_duration(wait_s)}."
        with contextlib.suppress(OSError):
            writer = EventWriter(self.folder.events, attempt)  # the command, which wrote, is dead
            writer.write_finding("restarted", text, "warning")
            writer.close()
        self._write_state(state="starting", end_reason=reason)
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            self._look_after()
            pending = {n for n in requests.NAMES if requests.read_pending(self.folder, n, attempt)}
            if self.ending or "kill" in pending:
                return "killed"
            if "stop" in pending:
                return "stopped"
            if pending:
                break  # it is wanted now
            time.sleep(min(TICK_S, wait_s))
        return None

    def _determine_end(self, returncode: int, unwritten: bytes) -> str:
        """Return why the command ended, by the events that it left or by what is in the folder."""
        # A line of which the disk took a part is ended first.
        self.unwritten = b"\n" + unwritten if unwritten else b""
        done = [event for event in decode(unwritten)[0] if event["kind"] == "done"]
        if not done and self._is_removed():
            done = [{"kind": "done", "end_reason": "killed", "message": REMOVED}]
        if done:
            self.state = msgspec.structs.replace(self.state, done=done[-1])
            return str(done[-1].get("end_reason", "crashed"))
        return determine_end_reason(
            self.folder,
            self.attempt.number,
            returncode,
            killed_by_request=self.ending,
            oom_killed=self._was_oom_killed(),
            log_from=self.log_from,
        )

    def _record_end(self) -> bool:
        """Write the last state and the events that are left; return False if no disk takes them."""
        end = time.monotonic() + END_RETRY_S
        while not ((self.is_written or self._write_state()) and self._write_events()):
            if self._is_removed() or time.monotonic() >= end:
                return rescue.save(self.record, self._write_elsewhere) is not None
            time.sleep(TICK_S)
        return True

    def _write_events(self) -> bool:
        """Append the events that the command left; return whether the disk took all."""
        try:
            while self.unwritten:
                with open(os.open(self.folder.events, APPEND, 0o600), "wb", buffering=0) as file:
                    self.unwritten = self.unwritten[file.write(self.unwritten) :]
                    os.fdatasync(file.fileno())
        except OSError:
            return False
        return True

    def _write_elsewhere(self, folder: JobFolder) -> None:
        write_whole(folder.events, self.unwritten)
        write_json(folder.state, self.state)

    def _beat(self, now: float) -> None:
        """Touch the heartbeat; kill a command whose folder was removed: it has nowhere to save."""
        try:
            if now - self.counted > OOM_WINDOW_S:
                self.oom_kills = [self.oom_kills[1], machine.count_oom_kills()]
                self.counted = now
            self.folder.heartbeat.touch(mode=0o600)
            liveness.write_heartbeat(self.folder)
        except OSError:  # a file system that is briefly unavailable does not end a job
            if not self.ending and self._is_removed():
                self.ending = True
                self.next_signal = (now, signal.SIGKILL)

    def _is_removed(self) -> bool:
        try:
            self.folder.job.stat()
        except OSError as error:
            return isinstance(error, FileNotFoundError | NotADirectoryError)
        return False

    def _handle_requests(self, now: float, process: subprocess.Popen[bytes]) -> None:
        """Send TERM for ``kill``, and for ``stop`` after its grace period; then KILL."""
        attempt = self.attempt.number
        if not self.ending and requests.read_pending(self.folder, "kill", attempt):
            self.ending = True
            self.next_signal = (now, signal.SIGTERM)
            self.state = msgspec.structs.replace(self.state, stop_cause="user")
        elif request := requests.read_pending(self.folder, "stop", attempt):
            is_new, self.stop_began = self.stop_began is None, self.stop_began or now
            if is_new:
                self._send(process, signal.SIGCONT)  # a suspended command could not save
            if is_new or request.cause != self.state.stop_cause:
                self._write_state(state="stopping", stop_cause=request.cause)
        if self.stop_began is not None and not self.ending:
            # Read again each time: the command may just have begun something longer.
            grace_s = read_pace(self.folder, attempt).stop_s
            self.next_signal = (self.stop_began + grace_s, signal.SIGTERM)
        if self.next_signal is None or now < self.next_signal[0]:
            return
        number = self.next_signal[1]
        self.ending = True
        self.next_signal = (now + TERM_GRACE_S, signal.SIGKILL)
        self._send(process, number)
        self._send(process, signal.SIGCONT)

    def _send(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    def _on_term(self, *_: object) -> None:
        """Let the command save, as ``stop`` does: the machine is going down."""
        with contextlib.suppress(OSError):
            if requests.read_pending(self.folder, "stop", self.attempt.number) is None:
                requests.send(self.folder, "stop", self.attempt.number, "signal")
        if self.state.stop_cause is None:
            self.state = msgspec.structs.replace(self.state, stop_cause="signal")
        if self.state.command:
            identity.signal_group(self.state.command, signal.SIGTERM)

    def _find_orphans(self) -> list[psutil.Process]:
        orphans = []
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if not self.hook.is_own(process.pid) and leftovers.is_running(process):
                    orphans.append(process)
        return orphans

    def _was_oom_killed(self) -> bool:
        before, now = self.oom_kills[0], machine.count_oom_kills()
        return before is not None and now is not None and now > before

    def _create_ballast(self) -> None:
        with contextlib.suppress(OSError):
            self.folder.ballast.unlink(missing_ok=True)
            try:
                with self.folder.ballast.open("xb") as file:
                    file.write(os.urandom(BALLAST_BYTES))
            except OSError:
                self.folder.ballast.unlink(missing_ok=True)

    def _sample(self) -> None:
        reading = self.sampler.sample()
        reading["gpus"] = add_own_memory(reading["gpus"], self.state.command)
        line = msgspec.json.encode({"v": 1, **reading}) + b"\n"
        with contextlib.suppress(OSError):  # telemetry never ends a job
            append(self.folder.machine(os.uname().nodename), line)

    def _write_state(self, **changes: object) -> bool:
        self.state = msgspec.structs.replace(self.state, **changes)
        self.is_written = False
        with contextlib.suppress(OSError):  # tried again until the disk takes it
            # Frozen while another machine started it again, this keeper has nothing more to say.
            self.is_written = self.folder.newest_attempt() > self.attempt.number or write_json(
                self.folder.state, self.state, ballast=self.folder.ballast
            )
        return self.is_written


def add_own_memory(gpus: list[dict[str, Any]], command: Identity | None) -> list[dict[str, Any]]:
    """Return GPU readings with ``ours`` in place of ``processes``.

    ``ours`` is the bytes used by the process ``command``, its session and its descendants. It is
    None if unknown: the driver does not list processes or their memory, or this is a container,
    where the driver's pids are those of the host.
    """
    changed = []
    for gpu in gpus:
        fields = dict(gpu)
        if "processes" in gpu:
            fields["ours"] = _sum_own_bytes(fields.pop("processes"), command)
        changed.append(fields)
    return changed


def _sum_own_bytes(processes: list[dict[str, Any]] | None, command: Identity | None) -> int | None:
    if processes is None or command is None or command.pid_namespace != HOST_NAMESPACE:
        return None
    sizes = [p["memory"] for p in processes if _belongs(p["pid"], command.pid)]
    return None if None in sizes else sum(sizes)


def _belongs(pid: int, command: int) -> bool:
    try:
        if os.getsid(pid) == command:
            return True
        # A launcher starts each of its workers in a separate session.
        return any(parent.pid == command for parent in psutil.Process(pid).parents())
    except (OSError, psutil.Error, OverflowError):
        return False


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(keep(HeldFolder(find_own(sys.argv[1])), int(sys.argv[2])))
