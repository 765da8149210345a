"""The batch script: a pure function whose values stay values."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.errors import FtwizardError
from ftwizard.plan import slurm_checks
from ftwizard.plan.schema import Plan, Slurm
from ftwizard.train import slurm_script, slurm_submission
from ftwizard.train.slurm_script import ScriptContext

PATHS = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1)
BASE = msgspec.convert(
    {
        "data": {"files": {"train": "a.jsonl"}},
        "model": {"name": "m"},
        "where": {"scheduler": "slurm"},
    },
    Plan,
)


def plan_with(**settings: object) -> Plan:
    return msgspec.structs.replace(BASE, slurm=msgspec.convert(settings, Slurm))


def render(plan: Plan, folder: str = "/shared/runs/one", **variables: str) -> str:
    context = ScriptContext(Path(folder), "/opt/py thon", "word", variables, "1.0")
    return slurm_script.render(plan, context)


def read_directives(script: str) -> list[str]:
    """Return the options that Slurm reads: those before the first command."""
    head = re.split(r"^(?!#|$)", script, maxsplit=1, flags=re.MULTILINE)[0]
    return [line for line in head.splitlines() if line.startswith("#SBATCH")]


def test_script_has_literal_options_and_no_variable_among_them() -> None:
    plan = plan_with(partition="gpu", account="lab", time="1-00:00:00", gpus=2, gpu_type="a100",
                     cpus=8, memory="64G", constraint="a100|h100", requeue=False)  # fmt: skip
    assert read_directives(render(plan)) == [
        "#SBATCH --job-name=one", "#SBATCH --partition=gpu", "#SBATCH --account=lab",
        "#SBATCH --nodes=1", "#SBATCH --ntasks-per-node=1", "#SBATCH --gpus-per-node=a100:2",
        "#SBATCH --cpus-per-task=8", "#SBATCH --mem=64G", "#SBATCH --time=1-00:00:00",
        "#SBATCH --constraint=a100|h100", "#SBATCH --signal=B:USR1@180",
        "#SBATCH --output=/dev/null", "#SBATCH --no-requeue",
    ]  # fmt: skip
    assert "--cpus-per-task=8 --kill-on-bad-exit=1" in render(plan)


def test_step_of_the_first_node_shares_what_it_has_where_several_train() -> None:
    script = render(plan_with(nodes=2, cpus=4))
    assert "#SBATCH --nodes=2" in read_directives(script)
    step = '--nodes=1 --ntasks=1 --cpus-per-task=4 --nodelist="$SLURMD_NODENAME" --overlap'
    assert f"srun {step}" in script
    assert "--overlap" not in render(plan_with(cpus=4))


def test_script_asks_for_nothing_that_the_plan_does_not_set() -> None:
    options = " ".join(read_directives(render(plan_with(gpus=0))))
    for name in ("partition", "account", "qos", "gpus", "cpus", "mem", "time", "constraint"):
        assert f"--{name}" not in options
    assert "--requeue" in options


@given(folder=PATHS, value=PATHS)
def test_any_path_and_variable_reach_the_shell_unchanged(folder: str, value: str) -> None:
    script = render(BASE, f"/shared/{folder}/one", FTWIZARD_HOME=value)
    assert len(read_directives(script)) == len(slurm_script.list_options(BASE.slurm, "one"))
    assigned = re.search(r"^run=.*?(?=^python=)", script, re.DOTALL | re.MULTILINE)
    exported = re.search(
        r"^export FTWIZARD_HOME=.*?(?=^# slurm.prelude)", script, re.DOTALL | re.MULTILINE
    )
    assert assigned and exported
    shown = subprocess.run(
        ["bash", "-c", f"{assigned[0]}{exported[0]}printf '%s\\0%s' \"$run\" \"$FTWIZARD_HOME\""],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert shown == f"/shared/{folder}/one\0{value}".encode()


@given(text=st.text())
def test_values_with_room_for_another_option_are_refused(text: str) -> None:
    for name in ("partition", "account", "qos", "gpu_type", "time", "memory", "constraint"):
        plan = plan_with(**{name: text})
        if not list(slurm_checks.find_problems(plan)):
            assert re.fullmatch(r"[!-~]+", text), "one word of ASCII"
            assert not set(text) & set("#'\"\\`$;<>="), "nothing that a shell or Slurm reads"


@pytest.mark.parametrize(
    "prelude", ["echo 'open", "if true; then", "cat <<END\nnever closed", "x=(1"]
)
def test_prelude_that_is_not_complete_shell_is_refused(prelude: str) -> None:
    with pytest.raises(FtwizardError, match="not complete shell"):
        slurm_submission.check_syntax(render(plan_with(prelude=prelude)))


def test_prelude_is_kept_as_it_is_and_cannot_replace_a_placeholder() -> None:
    prelude = 'module load cuda\nexport NOTE="@FOLDER@ $HOME"\n'
    script = render(plan_with(prelude=prelude))
    assert prelude in script
    slurm_submission.check_syntax(script)


def test_prelude_that_ends_the_script_leaves_its_status(tmp_path: Path) -> None:
    (tmp_path / "slurm.token").write_text("word")
    script = render(plan_with(prelude="echo no module\nexit 7"), str(tmp_path))
    done = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "SLURM_JOB_ID": "42"}, check=False
    )
    assert done.returncode == 7
    assert (tmp_path / "slurm.exit").read_text() == "42 7\n"
    assert (tmp_path / "slurm-42.out").read_text().endswith("no module\n")


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"partition": "gpu --exclusive"}, "slurm.partition"),
        ({"account": "lab\n#SBATCH --qos=high"}, "slurm.account"),
        ({"time": "tomorrow"}, "slurm.time"),
        ({"memory": "64 GB"}, "slurm.memory"),
        ({"nodes": 0}, "slurm.nodes"),
        ({"gpus": -1}, "slurm.gpus"),
        ({"gpus": 0, "gpu_type": "a100"}, "slurm.gpu_type"),
        ({"cpus": 0}, "slurm.cpus"),
        ({"stop_before_s": 0}, "slurm.stop_before_s"),
        ({"stop_before_s": 70_000}, "slurm.stop_before_s"),
        ({"prelude": "#SBATCH --qos=high"}, "slurm.prelude"),
        ({"prelude": "echo \x1b[2J"}, "slurm.prelude"),
    ],
)
def test_unusable_setting_is_named(settings: dict[str, object], setting: str) -> None:
    assert [p.setting for p in slurm_checks.find_problems(plan_with(**settings))] == [setting]


def test_settings_of_slurm_need_the_scheduler_and_leave_it_the_gpu() -> None:
    idle = msgspec.structs.replace(plan_with(cpus=4), where=BASE.where.__class__())
    assert [str(p) for p in slurm_checks.find_problems(idle)] == [
        "slurm is set, but where.scheduler is not slurm."
    ]
    both = msgspec.structs.replace(BASE, where=msgspec.structs.replace(BASE.where, gpu=1))
    assert [p.setting for p in slurm_checks.find_problems(both)] == ["where.gpu"]


@pytest.mark.parametrize(
    ("settings", "processes", "gpus"),
    [
        ({"gpus": 4, "nodes": 2}, 4, "--gpus-per-node=4"),
        ({"gpus": 4, "gpu_type": "a100"}, 2, "--gpus-per-node=a100:2"),
        ({"gpus": 1}, 1, "--gpus-per-node=1"),
        ({"gpus": 0}, 2, None),
    ],
)
def test_probe_asks_for_one_node_with_a_gpu_for_each_process(
    settings: dict[str, object], processes: int, gpus: str | None
) -> None:
    command = slurm_script.build_probe_command(plan_with(**settings).slurm, processes, "p.yaml")
    words = command.split()
    assert words[0] == "srun" and words[-3:] == ["ftwizard", "probe", "p.yaml"]
    assert "--nodes=1" in words and "--ntasks-per-node=1" in words
    assert [word for word in words if "gpus" in word] == ([gpus] if gpus else [])
