"""Slurm's text, and its commands where these are missing, slow or refuse."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.__main__ import main
from ftwizard.errors import FtwizardError
from ftwizard.runs import describe
from ftwizard.screens import subprocesses
from ftwizard.slurm import client, job_states, submit_errors

QUEUE = """\
17|PENDING|1796156651|1||Priority
18|RUNNING|1796156000|2|node[1-2]|None
19|CANCELLED|N/A|1|node1|None
20|PENDING|N/A|1||(Nodes required for job are DOWN, DRAINED or reserved|odd)
not a job
"""
DETAILS = (
    "JobId=17 JobName=one UserId=root(0) JobState=FAILED Reason=NonZeroExitCode Dependency=(null) "
    "Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=66:0 RunTime=00:00:01 "
    "StartTime=1796156651 NodeList=node1 BatchHost=node1 PreemptTime=None"
)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder whose programs are found instead of Slurm's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    client.forget()
    yield folder
    client.forget()


def write(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def test_queue_is_read_and_what_is_not_understood_left_out() -> None:
    jobs = job_states.parse_queue(QUEUE)
    assert sorted(jobs) == [17, 18, 19, 20]
    assert (jobs[17].phase, jobs[17].reason, jobs[17].expected_start) == (
        "waiting", "Priority", 1796156651)  # fmt: skip
    assert (jobs[18].phase, jobs[18].nodes) == ("active", "node[1-2]")
    assert (jobs[19].phase, jobs[19].expected_start) == ("over", None)
    assert jobs[20].reason == "(Nodes required for job are DOWN, DRAINED or reserved|odd)"


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    job_states.parse_queue(text)
    job_states.parse_job(text)
    job_states.describe_reason(text)
    client.parse_placement(text)


def test_details_have_the_exit_status_of_the_script_unless_a_signal_ended_it() -> None:
    job = job_states.parse_job(DETAILS)
    assert job is not None and (job.state, job.exit_status, job.nodes) == ("FAILED", 66, "node1")
    assert job.failed_node is None
    failed = job_states.parse_job(DETAILS.replace("Dependency", "FailedNode=node2 Dependency"))
    assert failed is not None and (failed.failed_node, failed.nodes) == ("node2", "node1")
    killed = job_states.parse_job(DETAILS.replace("66:0", "0:15"))
    assert killed is not None and killed.exit_status is None


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("Priority", "Priority: jobs of higher priority are ahead"),
        ("QOSMaxJobsPerUserLimit", "QOSMaxJobsPerUserLimit: a limit of the account or the QOS"),
        ("ReqNodeNotAvail, Reserved for maintenance", "ReqNodeNotAvail: the nodes that it needs are not available"),
        ("PartitionConfig", ("PartitionConfig: its partition takes no such job: of its account, QOS or user; "
         "change slurm.partition")),
        ("QOSNotAllowed", "QOSNotAllowed: its partition does not allow the QOS: change slurm.qos"),
        ("SomethingNew", "SomethingNew"),
        ("None", ""),
        (None, ""),
    ],
)  # fmt: skip
def test_reasons_are_named_as_slurm_does_and_explained(reason: str | None, text: str) -> None:
    assert job_states.describe_reason(reason) == text


def test_placement_is_read_from_the_answer_to_a_test() -> None:
    answer = "sbatch: Job 5 to start at 1796156591 using 4 processors on nodes node[1-2] in partition debug\n"
    placement = client.parse_placement(answer)
    assert placement is not None
    assert (placement.expected_start, placement.processors) == (1796156591, 4)
    assert (placement.nodes, placement.partition) == ("node[1-2]", "debug")


def test_job_over_the_time_limit_is_not_said_to_start() -> None:
    placement = client.Placement(expected_start=0.0, processors=2, nodes="node1", partition="gpu")
    assert "would start it at once" in describe.describe_placement(placement)
    never = msgspec.structs.replace(placement, expected_start=130_648_988_396.0)
    assert "partition gpu may not allow its account" in describe.describe_placement(never)
    over = msgspec.structs.replace(placement, exceeded_limit="1:00:00")
    text = describe.describe_placement(over)
    assert "more than 1:00:00, the time limit of partition gpu. Lower slurm.time" in text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("sbatch: error: Requested node configuration is not available", "Lower slurm.nodes, slurm.gpus"),
        ("sbatch: error: invalid partition specified: x", "slurm.partition to one of: debug, gpu"),
        ("sbatch: error: Invalid account or account/partition combination specified", "slurm.account"),
        ("sbatch: error: Requested time limit is invalid (missing or exceeds some limit)", "slurm.time"),
        ("allocation failure: Invalid feature specification", "slurm.constraint"),
        ("sbatch: error: Invalid qos specification", "slurm.qos"),
        ("sbatch: error: invalid partition specified: qos-account", "slurm.partition to one of: debug, gpu"),
        ("sbatch: error: Batch job submission failed: User's group not permitted to use this partition",
         "slurm.partition to one of: debug, gpu"),
        ("sbatch: error: Job's QOS not permitted to use this partition (gpu allows fast not normal)", "slurm.qos"),
        (("sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates "
         "accounting/QOS policy (job submit limit, user's size and/or time limits)"), "Wait until other jobs"),
        ("sbatch: error: \x1b[31msomething else", "slurm in the plan"),
    ],
)  # fmt: skip
def test_refusal_names_the_setting_to_change(text: str, hint: str) -> None:
    error = submit_errors.explain(text, lambda: ["debug", "gpu"])
    assert hint in error.hint and error.message.startswith("Slurm refused the job: ")
    assert "\x1b" not in error.text


UNREACHED = """\
{0}: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host
{0}: error: fetch_config: DNS SRV lookup failed
{0}: error: _establish_config_source: failed to fetch config
{0}: fatal: Could not establish a configuration source
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (UNREACHED, "Could not establish a configuration source"),
        ("slurm_load_partitions: Unable to contact slurm controller (connect failure)",
         "Unable to contact slurm controller (connect failure)"),
        ("sinfo: error: \x1b[31mx", "␛[31mx"),
    ],
)  # fmt: skip
def test_cluster_that_is_not_reached_is_one_sentence(
    commands: Path, text: str, reason: str
) -> None:
    write(commands, "sinfo", f"cat <<'END' >&2\n{text.format('sinfo')}\nEND\nexit 1")
    with pytest.raises(FtwizardError) as raised:
        client.ask("sinfo")
    assert raised.value.message == f"Slurm does not answer: {reason}."
    assert raised.value.hint == "See whether its controller is up: scontrol ping"


def test_job_that_no_controller_judged_is_not_called_refused() -> None:
    error = submit_errors.explain(UNREACHED.format("sbatch"), list)
    assert error.message == "Slurm does not answer: Could not establish a configuration source."
    down = "sbatch: error: Batch job submission failed: Unable to contact slurm controller"
    assert submit_errors.explain(down, list).message.startswith("Slurm does not answer: Batch job")


@pytest.mark.parametrize(
    "words",
    [
        "Batch job submission failed: Socket timed out on send/recv operation",
        "Batch job submission failed: Zero Bytes were transmitted or received",
    ],
)
def test_job_that_was_not_answered_may_be_queued_all_the_same(
    commands: Path, tmp_path: Path, words: str
) -> None:
    """A busy controller queues such a job as soon as it can."""
    write(commands, "sbatch", f"echo 'sbatch: error: {words}' >&2; exit 1")
    with pytest.raises(FtwizardError) as raised:
        client.submit(tmp_path / "job.sbatch", {"PATH": str(commands)}, tmp_path)
    assert raised.value.message == f"Slurm does not answer: {words}."
    assert "may have submitted the job" in raised.value.hint
    assert f"squeue --me --name={tmp_path.name}" in raised.value.hint


def test_machine_without_slurm_is_told_where_to_start(
    commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(commands))
    with pytest.raises(FtwizardError, match="sbatch was not found") as raised:
        client.require_installed()
    assert "login node" in raised.value.hint
    with pytest.raises(FtwizardError, match="does not answer"):
        client.find_job(1)


def test_slow_controller_is_given_up_and_not_asked_again_at_once(
    commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(commands, "squeue", f"echo asked >>{commands}/calls; exec sleep 60")
    monkeypatch.setattr(client, "ASK_S", 0.5)
    for _ in range(3):
        with pytest.raises(FtwizardError, match="does not answer"):
            client.find_job(1)
    assert (commands / "calls").read_text().split() == ["asked"]


def test_one_answer_serves_several_views(commands: Path) -> None:
    write(commands, "squeue", f"echo asked >>{commands}/calls; echo '17|PENDING|N/A|1||Priority'")
    jobs = [client.find_job(number) for number in (17, 18, 17)]
    assert [job and job.state for job in jobs] == ["PENDING", None, "PENDING"]
    assert (commands / "calls").read_text().split() == ["asked"]
    client.forget()
    client.find_job(17)
    assert (commands / "calls").read_text().split() == ["asked"] * 2


def test_job_gets_no_secret_and_no_option_of_an_outer_job(
    commands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftwizard.train import slurm_submission

    write(commands, "sbatch", f"env >{tmp_path}/env; echo 42")
    for name, value in {"HF_TOKEN": "hf_secret", "SLURM_JOB_ID": "7", "SLURM_CONF": "/etc/slurm.conf",
                        "CUDA_VISIBLE_DEVICES": "3", "OMP_NUM_THREADS": "2"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    script = tmp_path / "job.sbatch"
    script.write_text("")
    assert client.submit(script, slurm_submission.build_environment(), tmp_path) == 42
    passed = (tmp_path / "env").read_text()
    assert "OMP_NUM_THREADS=2" in passed and "SLURM_CONF=/etc/slurm.conf" in passed
    for name in ("HF_TOKEN", "SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES"):
        assert name not in passed


def test_refusal_of_sbatch_is_an_error_with_its_words(commands: Path, tmp_path: Path) -> None:
    write(commands, "sbatch", "echo 'sbatch: error: Invalid qos specification' >&2; exit 1")
    with pytest.raises(FtwizardError, match="Invalid qos specification"):
        client.submit(tmp_path / "job.sbatch", os.environ, tmp_path)


def test_refused_plan_is_shown_with_its_script(
    commands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(commands, "sbatch", "echo 'sbatch: error: Invalid qos specification' >&2; exit 1")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "Which?", "completion": "This."}\n' * 8)
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"model: {{name: Qwen/Qwen3-0.6B}}\ndata: {{files: {{train: {rows}}}}}\n"
        "where: {scheduler: slurm}\nslurm: {qos: fast}\n"
    )
    assert main(["slurm", str(plan)]) != 0
    printed = capsys.readouterr()
    assert "#SBATCH --qos=fast" in printed.out and "Invalid qos specification" in printed.err
    code = main(["slurm", str(plan), "--json"])
    answer = capsys.readouterr().out.encode()
    with pytest.raises(FtwizardError, match="Invalid qos specification") as raised:
        subprocesses.decode_document("slurm", code, answer, b"")
    assert "#SBATCH --qos=fast" in raised.value.document["script"]
    assert raised.value.document.keys() == {"script"}


def test_submission_without_an_answer_may_have_been_accepted(
    commands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(commands, "sbatch", "exec sleep 60")
    monkeypatch.setattr(client, "SUBMIT_S", 0.3)
    with pytest.raises(FtwizardError, match=r"sbatch took longer than 0\.3 s") as raised:
        client.submit(tmp_path / "job.sbatch", os.environ, tmp_path)
    assert f"squeue --me --name={tmp_path.name}" in raised.value.hint


def test_step_of_all_nodes_takes_no_option_of_the_step_around_it() -> None:
    around = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_STEP_ID": "0", "SLURM_NNODES": "1",
              "SLURM_CONF": "/c", "HOME": "/h"}  # fmt: skip
    assert client.build_step_environment(around) == {
        "SLURM_JOB_ID": "7", "SLURM_CONF": "/c", "HOME": "/h"}  # fmt: skip
    assert client.build_step_argv(3)[:4] == ["srun", "--overlap", "--nodes=3", "--ntasks=3"]
