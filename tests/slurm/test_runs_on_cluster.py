"""Runs in jobs of a real Slurm cluster: from the queue to the end, and through what clusters do."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ftwizard.jobs import requests
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import Status, observe
from ftwizard.slurm import client
from ftwizard.slurm.cluster import MB, read_cluster
from tests.e2e.cli import FTWIZARD, as_json, ok, ok_here, run
from tests.e2e.workspace import losses
from tests.helpers import slurm_cluster
from tests.helpers.jobs import events, until, until_ended, until_step
from tests.helpers.slurm_cluster import Cluster, run_cluster
from tests.helpers.training import rows, tiny_model
from tests.helpers.work_here import work_here

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(slurm_cluster.find_missing()), reason=slurm_cluster.find_missing()),
]
if not slurm_cluster.find_missing() and (forbidden := slurm_cluster.find_forbidden()):
    pytestmark += [pytest.mark.cgroup, pytest.mark.skip(reason=forbidden)]
LONG = 100
"""Epochs of a run that does not end by itself within a test."""


@pytest.fixture(scope="module")
def running_cluster() -> Iterator[Cluster]:
    with run_cluster() as running:
        yield running


@pytest.fixture
def cluster(running_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Return a cluster without jobs, to which this process and its children talk."""
    use(running_cluster, monkeypatch)
    yield running_cluster
    running_cluster.cancel_all()
    client.forget()


def use(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(client, "CACHE_S", 0.2)
    client.forget()


class Lab:
    """A folder with plans for the cluster, and its runs."""

    def __init__(self, root: Path, home: Path) -> None:
        self.root, self.home = root, home

    def plan(self, epochs: int = 1, *, save_steps: int = 2, **settings: Any) -> Path:
        for name, part in (("train", rows(16)), ("validation", rows(4, 500))):
            text = "".join(json.dumps(row) + "\n" for row in part)
            (self.root / f"{name}.jsonl").write_text(text)
        body = {
            "data": {"files": {"train": "train.jsonl", "validation": "validation.jsonl"}},
            "model": {"name": str(tiny_model(self.root))},
            "recipe": {"batch_size": 2, "epochs": epochs, "rank": 4, "evaluation_steps": 50,
                       "save_steps": save_steps, "max_length": 200, "patience": 1000,
                       "dropout": 0.0},
            "where": {"scheduler": "slurm"},
            "slurm": {"gpus": 0, **settings},
            "finish": {"merge": False, "compare": False},
            "evaluate": {"general": False, "safety": False},
            "samples": {"count": 0},
            "allow": ["many-epochs"],
        }  # fmt: skip
        path = self.root / "plan.yaml"
        path.write_text(json.dumps(body))
        return path

    def train(self, plan: Path, name: str = "one") -> JobFolder:
        assert ok("train", plan, "--name", name).strip() == name
        return JobFolder(self.home / "runs" / name)


@pytest.fixture
def lab(tmp_path: Path, home: Path, cluster: Cluster) -> Lab:
    return Lab(tmp_path, home)


def job_of(folder: JobFolder) -> int:
    state = folder.read_state()
    assert state is not None and state.slurm_job is not None
    return state.slurm_job


def until_running(folder: JobFolder, attempt: int, step: int = 1) -> Status:
    status = until(folder, lambda s: s.state == "running" and s.attempt == attempt, 60)
    until_step(folder, step, 60)
    return status


def started_at(folder: JobFolder, attempt: int) -> str | None:
    return folder.read_attempt(attempt).checkpoint


def test_run_in_a_job_trains_to_its_end_and_leaves_no_secret(
    lab: Lab, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_a-secret-of-the-test")
    plan = lab.plan(prelude="export FTWIZARD_NOTE='of the node'\necho \"prelude: $FTWIZARD_NOTE\"")
    asked = as_json("slurm", plan)
    assert asked["placement"]["nodes"] in cluster.nodes, "Slurm tested the script"
    assert not (lab.home / "runs").exists() or not any((lab.home / "runs").iterdir())
    folder = lab.train(plan)
    job = job_of(folder)
    status = until_ended(folder, 120)
    assert status.end_reason == "finished", (status, output_of(folder, job))
    slurm_cluster.wait_until(lambda: cluster.job_state(job) == "COMPLETED", "the job's end")
    assert "prelude: of the node" in output_of(folder, job)
    report = as_json("status", folder.id)
    assert report["slurm"]["job_id"] == job and report["state"] == "ended"
    assert folder.read_attempt(1).host in cluster.nodes, "the keeper ran inside the allocation"
    assert not list((lab.home / "secrets").iterdir()), "deleted at the end"
    for path in folder.path.rglob("*"):
        assert not path.is_file() or b"hf_a-secret" not in path.read_bytes(), path


def output_of(folder: JobFolder, job: int) -> str:
    path = folder.path / f"slurm-{job}.out"
    return path.read_text() if path.exists() else "no output"


def test_run_in_the_queue_says_why_it_waits_and_is_canceled_by_a_stop(
    lab: Lab, cluster: Cluster
) -> None:
    blocker = cluster.run("sbatch", "--parsable", "--exclusive", "--output=/dev/null",
                          "--time=10", "--wrap=sleep 300").stdout.strip()  # fmt: skip
    slurm_cluster.wait_until(lambda: cluster.job_state(int(blocker)) == "RUNNING", "the blocker")
    folder = lab.train(lab.plan())
    status = until(folder, lambda s: bool(s.allocation and s.allocation.reason == "Resources"), 60)
    assert status.state == "queued" and status.attempt == 1
    slurm_cluster.wait_until(
        lambda: (as_json("status", folder.id)["slurm"]["expected_start"] or 0) > 0,
        "an expected start",
    )
    shown = ok("status", folder.id)
    assert "waiting for free nodes" in shown and "expected to start" in shown
    refused = run("resume", folder.id)
    assert refused.returncode == 1 and "already" in refused.stderr
    job = job_of(folder)
    ended = run("stop", folder.id)
    assert "stopped" in ended.stdout, (ended.stdout, ended.stderr)
    assert cluster.job_state(job) == "CANCELLED"
    assert observe(folder).end_reason == "stopped" and folder.newest_attempt() == 0


def test_stop_of_a_running_job_saves_and_a_resume_is_a_new_job(lab: Lab, cluster: Cluster) -> None:
    folder = lab.train(lab.plan(LONG))
    until_running(folder, 1)
    job = job_of(folder)
    assert "stopped" in ok("stop", folder.id)
    slurm_cluster.wait_until(lambda: cluster.job_state(job) == "COMPLETED", "the job's end")
    assert observe(folder).end_reason == "stopped"
    ok("resume", folder.id)
    assert job_of(folder) != job
    until_running(folder, 2)
    assert started_at(folder, 2), "it continues from a checkpoint"
    ended = run("stop", folder.id, "--kill")
    assert "killed" in ended.stdout or "stopped" in ended.stdout, (ended.stdout, ended.stderr)
    slurm_cluster.wait_until(lambda: cluster.job_state(job_of(folder)) in (
        "CANCELLED", "COMPLETED", "FAILED"), "the end of the killed job")  # fmt: skip


def test_time_limit_saves_queues_the_job_again_and_the_next_attempt_continues(
    lab: Lab, cluster: Cluster
) -> None:
    folder = lab.train(lab.plan(LONG, stop_before_s=30, time=10))
    until_running(folder, 1, step=3)
    job = job_of(folder)
    # What Slurm does before the limit, for which the test does not wait.
    cluster.run("scancel", "--batch", "--signal=USR1", str(job))
    status = until(folder, lambda s: s.state == "queued" and s.attempt == 2, 60)
    assert status.allocation is not None and status.allocation.job_id == job
    cluster.skip_wait(job)
    until_running(folder, 2)
    assert job_of(folder) == job
    saved = started_at(folder, 2)
    assert saved is not None and int(saved.rpartition("-")[2]) >= 3, output_of(folder, job)
    assert "stopped" in ok("stop", folder.id)
    slurm_cluster.wait_until(lambda: cluster.job_state(job) == "COMPLETED", "the job's end")
    assert folder.newest_attempt() == 2, "what the user stops is not queued again"


def test_two_nodes_train_as_one_process_does_and_continue_after_the_time_limit(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path, home)
    with run_cluster(2) as cluster:
        use(cluster, monkeypatch)
        plan = lab.plan(LONG, nodes=2, save_steps=5)
        folder = lab.train(plan)
        until_running(folder, 1, step=2)
        job = job_of(folder)
        assert as_json("status", folder.id)["ranks"]["processes"] == 2
        assert read_hosts(cluster, job) == "node[1-2]"
        cluster.run("scancel", "--batch", "--signal=USR1", str(job))
        until(folder, lambda s: s.state == "queued" and s.attempt == 2, 90)
        cluster.skip_wait(job)
        until_running(folder, 2)
        assert started_at(folder, 2), output_of(folder, job)
        assert "stopped" in ok("stop", folder.id)
    training = [event for event in events(folder, "phase") if event["phase"] == "training"]
    assert training[-1]["ranks"] == 2
    expected = train_alone(lab, plan, steps=3)
    measured = losses(folder)
    assert [measured[step] for step in expected] == pytest.approx([*expected.values()], rel=1e-4)


def train_alone(lab: Lab, plan: Path, steps: int) -> dict[int, float]:
    """Return the first losses of a plan for two nodes, in one process with as many rows a step."""
    body = json.loads(plan.read_text())
    body["recipe"]["gradient_accumulation"] = 2
    del body["where"], body["slurm"]
    plan.write_text(json.dumps(body))
    with work_here(stop_after=steps):
        ok_here("train", plan, "--name", "alone")
    return losses(JobFolder(lab.home / "runs" / "alone"))


def test_probe_in_an_allocation_measures_the_processes_of_one_node(
    lab: Lab, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    path = lab.plan(nodes=2, cpus=2)
    body = json.loads(path.read_text())
    body["where"]["processes"] = 2
    path.write_text(json.dumps(body))
    refused = run("probe", path)
    assert refused.returncode == 2 and not cluster.run("squeue", "-h").stdout
    command = refused.stderr.partition("Measure on such a node: ")[2].split()
    assert command[0] == "srun" and command[-3:] == ["ftwizard", "probe", str(path)]
    command[-3:] = [str(FTWIZARD), "probe", str(path), "--steps", "1"]
    done = subprocess.run(
        command, env=dict(os.environ), capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "with 2 processes, DDP" in text and "Measured on one node of 2: with DDP" in text
    probe = as_json("estimate", path)["probe"]  # on the login node
    assert (probe["measured"]["processes"], probe["measured"]["mode"]) == (2, "ddp")


def read_hosts(cluster: Cluster, job: int) -> str:
    return cluster.run("squeue", "-h", "-j", str(job), "-o", "%N").stdout.strip()


def test_preempted_run_saves_makes_room_and_continues(lab: Lab, cluster: Cluster) -> None:
    folder = lab.train(lab.plan(LONG, partition="debug"))
    until_running(folder, 1, step=3)
    job = job_of(folder)
    urgent = cluster.run("sbatch", "--parsable", "--partition=high", "--exclusive", "--time=5",
                         "--output=/dev/null", "--wrap=sleep 1").stdout.strip()  # fmt: skip
    status = until(folder, lambda s: s.state == "queued" and s.attempt == 2, 60)
    assert status.allocation is not None and status.allocation.job_id == job
    slurm_cluster.wait_until(lambda: cluster.job_state(int(urgent)) == "COMPLETED", "urgent job")
    cluster.skip_wait(job)
    until_running(folder, 2)
    assert int((started_at(folder, 2) or "-0").rpartition("-")[2]) >= 3, "it had saved"
    assert "stopped" in ok("stop", folder.id)


def test_job_that_an_administrator_queues_again_continues(lab: Lab, cluster: Cluster) -> None:
    folder = lab.train(lab.plan(LONG))
    until_running(folder, 1, step=3)
    job = job_of(folder)
    cluster.run("scontrol", "requeue", str(job))
    status = until(folder, lambda s: s.state == "queued" and s.attempt == 2, 60)
    assert status.allocation is not None and status.allocation.job_id == job
    cluster.skip_wait(job)
    until_running(folder, 2)
    assert started_at(folder, 2), "it continues from what it saved"
    keepers = find_keepers(folder)
    assert keepers
    for process in keepers:
        process.kill()
    psutil.wait_procs(keepers, 20)
    until_step(folder, newest_step(folder) + 20, 60)
    assert cluster.job_state(job) == "RUNNING", "the job lasts as long as its training"
    requests.request_stop(folder, 2)
    slurm_cluster.wait_until(lambda: cluster.job_state(job) == "COMPLETED", "the job's end")
    client.forget()
    assert observe(folder).end_reason == "stopped"


def find_keepers(folder: JobFolder) -> list[psutil.Process]:
    """Return the run's keepers on the nodes, which are processes of this machine."""
    keepers = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if "ftwizard.jobs.keeper" in words and str(folder.path) in words:
                keepers.append(process)
    return keepers


def newest_step(folder: JobFolder) -> int:
    return max(int(event["step"]) for event in events(folder, "log"))


def test_run_survives_the_crash_of_its_node(lab: Lab, cluster: Cluster) -> None:
    folder = lab.train(lab.plan(LONG))
    until_running(folder, 1, step=5)
    job = job_of(folder)
    cluster.crash("node1")
    status = until(folder, lambda s: s.state == "queued", 120)
    assert status.attempt == 2 and status.allocation is not None
    assert status.allocation.job_id == job
    cluster.reboot("node1")
    cluster.skip_wait(job)
    until_running(folder, 2)
    assert started_at(folder, 2), "it continues from its newest complete checkpoint"
    assert "stopped" in ok("stop", folder.id)


def test_canceled_job_ends_its_run_and_is_not_queued_again(lab: Lab, cluster: Cluster) -> None:
    folder = lab.train(lab.plan(LONG))
    until_running(folder, 1)
    job = job_of(folder)
    cluster.run("scancel", str(job))
    status = until_ended(folder, 60)
    assert status.end_reason in ("stopped", "killed")
    slurm_cluster.wait_until(lambda: cluster.job_state(job) == "CANCELLED", "the job's end")
    client.forget()
    assert observe(folder).state == "ended" and folder.newest_attempt() == 1
    assert events(folder, "checkpoint"), "it saved"


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"partition": "nosuch"}, "debug, high"),
        ({"memory": "900G"}, "slurm.memory"),
        ({"gpus": 1}, "The cluster's GPUs"),
    ],
)
def test_refused_submission_names_the_setting_and_leaves_nothing(
    lab: Lab, cluster: Cluster, settings: dict[str, Any], word: str
) -> None:
    plan = lab.plan(**settings)
    for command in (("slurm", plan), ("train", plan, "--name", "one")):
        done = run(*command)
        assert done.returncode == 1, done.stdout
        assert "Slurm refused the job" in done.stderr and word in done.stderr, done.stderr
    assert list((lab.home / "runs").iterdir()) == []
    assert not (lab.home / "secrets").exists() or not list((lab.home / "secrets").iterdir())
    assert cluster.run("squeue", "-h").stdout == ""


def test_node_without_the_folder_ends_the_run_with_a_sentence(lab: Lab, cluster: Cluster) -> None:
    plan = lab.plan()
    (lab.home / "runs").mkdir(parents=True)
    cluster.hide("node1", lab.home)
    try:
        folder = lab.train(plan)
        status = until_ended(folder, 60)
    finally:
        cluster.show("node1", lab.home)
    assert status.end_reason == "refused"
    assert "not shared" in status.message and "FTWIZARD_HOME" in status.hint


def test_node_with_another_version_ends_the_run_with_a_sentence(
    lab: Lab, cluster: Cluster, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "ftwizard"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("__version__ = '0.0.1'\n")
    folder = lab.train(lab.plan(prelude=f"export PYTHONPATH={other.parent}"))
    status = until_ended(folder, 60)
    assert status.end_reason == "refused"
    assert "another version" in status.message and "0.0.1" in status.message
    assert folder.script.is_file()


def test_cluster_lists_its_partitions(cluster: Cluster) -> None:
    report = read_cluster()
    assert [(each.name, each.is_default) for each in report.partitions] == [
        ("debug", True), ("high", False)]  # fmt: skip
    debug = report.partitions[0]
    assert (debug.nodes, debug.time_limit, debug.groups[0].cpus) == (1, None, cluster.cpus)
    assert debug.groups[0].memory == 8000 * MB
    assert report.accounts == (), "it keeps no accounts"
