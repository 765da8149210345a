"""The processes of a run: their settings, their GPUs, repeated rows, and why they failed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.estimate import training_setup
from ftwizard.hardware import machine
from ftwizard.hardware.machine import Gpu
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.jobs.worker import EarlyEnd, Stopped
from ftwizard.plan import changes, plan_file
from ftwizard.plan.checks import find_problems
from ftwizard.plan.schema import Recipe
from ftwizard.slurm import client
from ftwizard.slurm.job_states import SlurmJob
from ftwizard.train import command, rank_agent, rank_launch, rank_records
from ftwizard.train.rank_records import AgentRecord, RankFailure, RankOutcome
from tests.helpers.machines import make_machine

MINIMAL = "data: {files: {train: a}}\nmodel: {name: b/c}\n"
GPUS = tuple(Gpu(name="test", memory=2**34) for _ in range(4))


@pytest.mark.parametrize(
    ("where", "setting"),
    [
        ("{processes: 2}", None),
        ("{processes: 0}", "where.processes"),
        ("{processes: 2, gpu: 1}", "where.gpu"),
        ("{parallel: ddp}", "where.parallel"),
        ("{processes: 2, parallel: fsdp}", None),
        ("{processes: 2, parallel: fsdp}\nrecipe: {precision: fp16}", "where.parallel"),
        ("{processes: 2, parallel: ddp}\nrecipe: {precision: fp16}", None),
    ],
)
def test_settings_that_contradict_each_other_are_refused(where: str, setting: str | None) -> None:
    problems = list(find_problems(plan_file.parse(f"{MINIMAL}where: {where}\n")))
    assert [problem.setting for problem in problems] == ([setting] if setting else [])


def test_steps_count_the_rows_of_all_processes() -> None:
    for rows in (1, 31, 32, 33):
        one = training_setup.count_steps(rows, Recipe(batch_size=2, gradient_accumulation=4))
        two = training_setup.count_steps(rows, Recipe(batch_size=2, gradient_accumulation=2), 2)
        assert one == two


@pytest.mark.parametrize(
    ("visible", "gpus"), [(None, "0,1"), ("3,5,7", "3,5"), ("GPU-a,GPU-b", "GPU-a,GPU-b")]
)
def test_training_sees_a_gpu_for_each_process(visible: str | None, gpus: str) -> None:
    plan = plan_file.parse(f"{MINIMAL}where: {{processes: 2}}\n")
    base = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert command.build_environment(plan, base, trains=True)["CUDA_VISIBLE_DEVICES"] == gpus
    alone = command.build_environment(plan, base)["CUDA_VISIBLE_DEVICES"]
    assert alone == gpus.split(",")[0]


def test_more_processes_than_gpus_or_cores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_file.parse(f"{MINIMAL}where: {{processes: 3}}\n")
    for facts, message in (
        (make_machine(*GPUS[:2]), "this machine has 2 GPUs. Each"),
        (make_machine(cores=2), "this machine has 2 CPU cores and no GPU. Each"),
    ):
        monkeypatch.setattr(machine, "read_machine_info", lambda facts=facts: facts)
        with pytest.raises(FtwizardError, match=message) as caught:
            command.check_processes(plan)
        assert caught.value.hint == "Set where.processes to 2."
    monkeypatch.setattr(machine, "read_machine_info", lambda: make_machine(*GPUS))
    command.check_processes(plan)


@pytest.mark.parametrize(
    ("processes", "accumulation", "refused"),
    [
        (1, 4, []),
        (4, 1, []),
        (2, 3, ["recipe.gradient_accumulation"]),
        (1, 2, ["where.processes"]),
        (1, 3, ["recipe.gradient_accumulation", "where.processes"]),
    ],
)
def test_resumed_run_takes_as_many_rows_in_a_step(
    processes: int, accumulation: int, refused: list[str]
) -> None:
    old, new = (
        plan_file.parse(
            f"{MINIMAL}where: {{processes: {number}}}\nrecipe: {{gradient_accumulation: {passes}}}\n"
        )
        for number, passes in ((2, 2), (processes, accumulation))
    )
    assert changes.find_refused(old, changes.find_changes(old, new)) == refused


def make_folder(tmp_path: Path) -> JobFolder:
    folder = JobFolder(tmp_path)
    rank_records.begin(folder, {"rows": 1})
    assert rank_records.read_inputs(folder) == {"rows": 1}
    return folder


def leave_kill(folder: JobFolder, rank: int, exit_code: int) -> None:
    failure = RankFailure(rank=rank, exit_code=exit_code, pid=7)
    record = AgentRecord(host="node1", t=time.time(), failures=[failure])
    write_json(rank_records.get_agent_record(folder, 0), record)


def make_failure(rank: int, t: float, reason: str, message: str) -> RankOutcome:
    return RankOutcome(rank=rank, host="node1", t=t, end_reason=reason, message=message)


@pytest.mark.parametrize(
    ("exit_code", "is_oom", "reason", "text"),
    [
        (-signal.SIGKILL, False, "killed", "Rank 1 on node1 was killed by SIGKILL."),
        (-signal.SIGKILL, True, "out_of_memory", "Rank 1 on node1 was killed by SIGKILL."),
        (-signal.SIGSEGV, False, "crashed", "Rank 1 on node1 was killed by SIGSEGV."),
    ],
)
def test_killed_process_is_the_cause_of_the_others_errors(
    tmp_path: Path, exit_code: int, is_oom: bool, reason: str, text: str
) -> None:
    folder = make_folder(tmp_path)
    leave_kill(folder, 1, exit_code)
    rank_records.leave_failure(folder, make_failure(0, 1.0, "crashed", "connection reset by peer"))
    error = rank_launch._explain(folder, 1, is_oom=is_oom)
    assert (getattr(error, "end_reason", ""), str(error)) == (reason, text)


def test_first_error_is_the_cause(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    leave_kill(folder, 0, -signal.SIGTERM)  # as the agent ends the others
    rank_records.leave_failure(folder, make_failure(0, 2.0, "crashed", "connection closed"))
    rank_records.leave_failure(folder, make_failure(1, 1.0, "out_of_gpu_memory", "CUDA: 2 GB"))
    error = rank_launch._explain(folder, 1, is_oom=False)
    assert getattr(error, "end_reason", "") == "out_of_gpu_memory"
    assert str(error) == "Rank 1 on node1: CUDA: 2 GB"


@pytest.mark.parametrize(
    ("stopped_at", "killed", "expected"),
    [
        (2.0, False, "out_of_gpu_memory"),  # the agent's TERM came before the connection broke
        (0.5, False, "stopped"),  # its own end was the cause of the others' errors
        (0.5, True, "killed"),
    ],
)
def test_failure_of_another_process_is_not_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: float, killed: bool, expected: str
) -> None:
    folder = make_folder(tmp_path)
    events = SimpleNamespace(sync=lambda: None, continue_after=lambda unwritten: None)
    worker: Any = SimpleNamespace(folder=folder, events=events, phase=lambda *_, **__: None)

    def end(*_: object) -> int:
        rank_records.leave_outcome(folder, make_failure(0, stopped_at, "stopped", ""))
        if killed:
            leave_kill(folder, 1, -signal.SIGKILL)
        else:
            reason = "out_of_gpu_memory"
            rank_records.leave_failure(folder, make_failure(1, 1.0, reason, "CUDA: 2 GB"))
        return 1

    monkeypatch.setattr(rank_launch, "_start_agent", lambda *_: None)
    monkeypatch.setattr(rank_launch, "_wait", end)
    with pytest.raises((EarlyEnd, Stopped)) as error:
        rank_launch.fit(worker, {"rows": 1}, lambda: None)
    assert getattr(error.value, "end_reason", "stopped") == expected


def test_node_that_does_not_end_after_another_failed_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, findings = make_folder(tmp_path), list[str]()
    events = SimpleNamespace(write_finding=lambda code, *_, **__: findings.append(code))
    worker: Any = SimpleNamespace(folder=folder, events=events, is_terminated=False)
    monkeypatch.setattr(rank_launch, "POLL_S", 0.01)
    monkeypatch.setattr(rank_launch, "MAX_END_S", 0.1)
    monkeypatch.setattr(plan_file, "read_recorded", lambda folder: None)
    assert wait_for(worker, "sleep 0.5; exit 3") == 3
    assert findings == [], "nothing failed"
    rank_records.leave_failure(folder, make_failure(0, 1.0, "crashed", "connection reset"))
    assert wait_for(worker, "sleep 0.5; exit 1") == 1
    assert findings == ["nodes_lost"]


def test_failure_is_explained_while_term_has_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm sends TERM where a node fails: the run would be recorded as stopped."""
    folder = make_folder(tmp_path)
    events = SimpleNamespace(sync=lambda: None, continue_after=lambda unwritten: None)
    worker: Any = SimpleNamespace(folder=folder, events=events, phase=lambda *_, **__: None)
    states = list[bool]()

    def explain(*_: object, **__: object) -> Exception:
        states.append(worker.saves_itself)
        return EarlyEnd("lost", "node2 failed.")

    monkeypatch.setattr(rank_launch, "_start_agent", lambda *_: None)
    monkeypatch.setattr(rank_launch, "_wait", lambda *_: 1)
    monkeypatch.setattr(rank_launch, "_explain", explain)
    with pytest.raises(EarlyEnd, match="node2 failed"):
        rank_launch.fit(worker, {"rows": 1}, lambda: None)
    assert states == [True] and worker.saves_itself and not worker.delegates


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rank_agent.NODES, "2")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(client, "list_hosts", lambda nodes: ["node1", "node2"])


@pytest.mark.usefixtures("two_nodes")
@pytest.mark.parametrize(("failed_node", "verb"), [("node2", "failed"), (None, "does not answer")])
def test_node_that_left_nothing_is_the_cause_of_the_others_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failed_node: str | None, verb: str
) -> None:
    job = SlurmJob(id=7, state="RUNNING", failed_node=failed_node)
    monkeypatch.setattr(client, "read_job", lambda job_id: job)
    folder = make_folder(tmp_path)
    leave_kill(folder, 0, 1)
    rank_records.leave_failure(folder, make_failure(0, 1.0, "crashed", "connection reset by peer"))
    error = rank_launch._explain(folder, 1, is_oom=False)
    assert getattr(error, "end_reason", "") == "lost"
    assert str(error) == f"node2 {verb}. Rank 0 on node1: connection reset by peer"
    write_json(rank_records.get_agent_record(folder, 1), AgentRecord(host="node2", t=time.time()))
    error = rank_launch._explain(folder, 1, is_oom=False)
    assert getattr(error, "end_reason", "") == "crashed", "both nodes left a record"


@pytest.mark.usefixtures("two_nodes")
@pytest.mark.parametrize(
    ("requeue", "action"), [(True, "queues the job again"), (False, "ends the job")]
)
def test_node_that_does_not_answer_is_named_with_what_slurm_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requeue: bool, action: str
) -> None:
    folder, findings = make_folder(tmp_path), list[Any]()
    leave_kill(folder, 0, 1)
    plan = plan_file.parse(
        f"{MINIMAL}where: {{scheduler: slurm}}\nslurm: {{requeue: {str(requeue).lower()}}}\n"
    )
    monkeypatch.setattr(plan_file, "read_recorded", lambda folder: plan)
    events = SimpleNamespace(
        write_finding=lambda *words, action, **_: findings.append((*words, action))
    )
    rank_launch._report_wait(cast(Any, SimpleNamespace(folder=folder, events=events)))
    [(_, message, _, advice)] = findings
    assert "but node2 does not answer" in message and action in advice


def wait_for(worker: Any, script: str) -> int:
    with subprocess.Popen(["bash", "-c", script]) as agent:
        return rank_launch._wait(worker, agent)


def test_outcome_that_no_disk_takes_goes_through_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, memory = make_folder(tmp_path), os.memfd_create("test")
    monkeypatch.setenv(rank_records.MEMORY, f"/proc/{os.getpid()}/fd/{memory}")
    assert rank_records.read_outcome(folder, memory) is None
    outcome = make_failure(0, 1.0, "disk_full", "full")
    folder.ranks.rename(tmp_path / "gone")
    rank_records.leave_outcome(folder, outcome)
    assert rank_records.read_outcome(folder, memory) == outcome
    os.close(memory)


def test_repeated_rows_are_cut_from_a_batch() -> None:
    torch = pytest.importorskip("torch")
    from ftwizard.train.rank_rows import cut

    ids = torch.arange(6).reshape(3, 2)
    batch = {"input_ids": ids, "attention_mask": torch.ones(3, 2), "labels": ids.clone()}
    first = cut(batch, [2, 2, 2], 2)
    assert first["labels"].tolist() == [[0, 1], [2, 3]]
    assert first["input_ids"].shape == first["attention_mask"].shape == (2, 2)
    empty = cut(batch, [2, 2, 2], 0)
    assert empty["labels"].tolist() == [[-100, -100]]
    assert empty["input_ids"].tolist() == [[0, 1]]
    packed = {"input_ids": ids.reshape(1, 6), "labels": ids.reshape(1, 6)}
    assert cut(packed, [4, 2], 1)["labels"].tolist() == [[0, 1, 2, 3, -100, -100]]
    assert packed["labels"].tolist() == [[0, 1, 2, 3, 4, 5]]
