"""Plain mode: where a run trains, and the job that Slurm would start."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ftwizard.errors import FtwizardError
from ftwizard.hardware.machine import Gpu
from ftwizard.plan import schema
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.plain import recipe, wizard
from ftwizard.screens.plain.prompts import CONTINUE
from ftwizard.slurm import cluster
from ftwizard.slurm.client import JobPreview, Placement
from ftwizard.slurm.cluster import ClusterReport
from tests.helpers.machines import make_machine
from tests.screens.frames import assert_frame
from tests.screens.plain.scripted import Scripted
from tests.screens.wizard.data.reports import report
from tests.slurm.test_cluster import SINFO

H100 = Gpu(name="NVIDIA H100 80GB HBM3", memory=85 * 10**9)
REPORT = ClusterReport(partitions=cluster.parse_partitions(SINFO))


class OnCluster(Scripted):
    """Answers from a list, where Slurm answers with a document or an error."""

    def __init__(self, *answers: str, answer: Any = REPORT) -> None:
        super().__init__(*answers)
        self.answer, self.commands = answer, list[tuple[str, ...]]()

    def run(self, title: str, *argv: str, **options: Any) -> Any:
        self.commands.append(argv)
        if isinstance(self.answer, FtwizardError):
            raise self.answer
        return msgspec.to_builtins(self.answer)


class Transcript(OnCluster):
    """Prints each question with its answer, as a terminal shows them."""

    def _next(self) -> str:
        answer = super()._next()
        self.print_line(f"? {self.questions[-1]}: {answer or '(Enter)'}")
        return answer


def make_draft(*gpus: Gpu, **facts: Any) -> Draft:
    draft = Draft(make_machine(*gpus, extras=("local",), **facts))
    model = schema.Model(name="Qwen/Qwen3-0.6B")
    return draft.with_plan(model=model).with_check(schema.Files(train="/data/a.jsonl"), report("x"))


def make_preference_draft() -> Draft:
    """Return a draft of pairs, checked for DPO."""
    draft = make_draft(H100).with_recipe(objective="dpo")
    pairs = report("x", format="preference", target="trl-dpo")
    return draft.with_check(draft.plan.data.files, pairs)


def read_lines(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was printed, without the spaces at the ends of lines."""
    return "\n".join(map(str.rstrip, capsys.readouterr().out.rstrip().splitlines()))


def ask_basic(prompter: Scripted, draft: Draft) -> Draft:
    for ask in recipe.list_questions()[:-1]:
        draft = ask(prompter, draft)
    return draft


def find_answers(draft: Draft, **answers: str) -> list[str]:
    """Return the answers to all basic questions of a draft: Enter, but for the named ones."""
    listed: list[str] = []
    labels = {"processes": "GPUs to train on", "scheduler": "Trains on", "partition": "Partition",
              "gpus": "GPUs of each node", "nodes": "Nodes"}  # fmt: skip
    named = {labels[key]: value for key, value in answers.items()}

    class Recorder(OnCluster):
        def _next(self) -> str:
            listed.append(named.get(self.questions[-1], ""))
            return listed[-1]

    ask_basic(Recorder(), draft)
    return listed


def test_one_gpu_without_slurm_is_asked_nothing() -> None:
    prompter = OnCluster(*find_answers(make_draft(H100)))
    draft = ask_basic(prompter, make_draft(H100))
    assert not {"Trains on", "GPUs to train on", "Parallel"} & set(prompter.questions)
    assert draft.plan.where == schema.Where() and not prompter.commands


def test_several_gpus_share_the_step_and_more_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    start = make_draft(H100, H100)
    alone = ask_basic(OnCluster(*find_answers(start)), start).plan.recipe
    answers = find_answers(start, processes="2")
    place = answers.index("2")
    prompter = OnCluster(*answers[:place], "3", *answers[place:])
    draft = ask_basic(prompter, start)
    (refused,) = prompter.refused
    assert refused.startswith("where.processes is 3, but this machine has 2 GPUs.")
    assert prompter.questions.index("GPUs to train on") < prompter.questions.index("Batch size")
    assert draft.plan.where.processes == 2 and "where.processes" in draft.touched
    shared = draft.plan.recipe
    assert 2 * shared.batch_size * shared.gradient_accumulation == (
        alone.batch_size * alone.gradient_accumulation
    )
    assert "auto uses DDP. It fits" in capsys.readouterr().out


def test_job_is_asked_for_with_what_the_cluster_has(capsys: pytest.CaptureFixture[str]) -> None:
    start = make_draft(slurm=True)
    answers = find_answers(start, scheduler="slurm", partition="gpu", gpus="4", nodes="2")
    prompter = OnCluster(*answers)
    draft = ask_basic(prompter, start)
    assert draft.plan.where.processes == 4, "one for each GPU, without a question more"
    assert draft.plan.slurm == schema.Slurm(partition="gpu", nodes=2, gpus=4)
    assert prompter.commands == [("slurm",)]
    assert "gpu (default): 6 nodes (3 idle)" in " ".join(capsys.readouterr().out.split())
    fewer = ask_basic(OnCluster(*find_answers(draft, gpus="2")), draft)
    assert fewer.plan.where.processes == 2, "it follows"


def test_slurm_that_does_not_answer_is_no_obstacle(capsys: pytest.CaptureFixture[str]) -> None:
    start = make_draft(slurm=True)
    answers = find_answers(start, scheduler="slurm", partition="any")
    prompter = OnCluster(*answers, answer=FtwizardError("Slurm does not answer."))
    assert ask_basic(prompter, start).plan.slurm.partition == "any"
    assert "Slurm does not answer." in capsys.readouterr().out


def test_shell_lines_are_asked_line_by_line() -> None:
    start = make_draft(slurm=True).with_plan(where=schema.Where(scheduler="slurm"))
    prompter = OnCluster(
        "slurm.prelude", "#SBATCH -x", "module load cuda", "export A=1", "", "\0done"
    )
    prompter.answers[-1] = CONTINUE
    draft = recipe.ask_advanced(prompter, start)
    assert draft.plan.slurm.prelude == "module load cuda\nexport A=1\n"
    assert prompter.refused[0].startswith("It has a line #SBATCH")
    again = OnCluster("slurm.prelude", "keep", "slurm.prelude", "none", CONTINUE)
    assert recipe.ask_advanced(again, draft).plan.slurm.prelude == ""


def test_review_prints_the_script_and_when_it_would_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    start = make_draft(slurm=True).with_plan(where=schema.Where(scheduler="slurm")).named("one")
    placement = Placement(expected_start=0.0, processors=2, nodes="node[1-2]", partition="gpu")
    tested = JobPreview(script="#!/bin/bash\n#SBATCH --nodes=1\n", placement=placement)
    prompter = OnCluster("start", answer=tested)
    wizard._confirm(prompter, start)
    text = capsys.readouterr().out
    assert "Trains on: a Slurm job in the default partition: 1 node with 1 GPU." in text
    assert "#SBATCH --nodes=1" in text
    assert "Slurm would start it at once, on node[1-2] (2 processors, partition gpu)." in text
    assert prompter.commands[0][0] == "slurm" and prompter.commands[0][2:] == ("--name", "one")
    refusal = FtwizardError("Slurm refused the job: x.", "Change it.", code="slurm.partition")
    refusal.document = {"script": tested.script}
    wizard._confirm(OnCluster("start", answer=refusal), start)
    text = " ".join(capsys.readouterr().out.split())
    assert "✗ Slurm refused the job: x. Change it. It is “Partition” on the Recipe page." in text
    assert "#SBATCH --nodes=1 ✗ Slurm refused" in text, "it is shown with what was refused"


def test_loss_that_needs_a_share_of_wrong_pairs_can_be_chosen() -> None:
    start = make_preference_draft()
    answers: list[str] = []

    class Recorder(OnCluster):
        def _next(self) -> str:
            named = {"Loss": "exo_pair", "Wrong pairs (share)": "0.001"}
            answers.append(named.get(self.questions[-1], ""))
            return answers[-1]

    asked = Recorder()
    draft = ask_basic(asked, start)
    assert not asked.refused
    assert asked.questions.index("Wrong pairs (share)") == asked.questions.index("Loss") + 1
    assert draft.plan.recipe.dpo == schema.DPO(loss_type="exo_pair", label_smoothing=0.001)
    usual = OnCluster(*[""] * len(answers))
    ask_basic(usual, start)
    assert "Wrong pairs (share)" not in usual.questions


def test_transcript_of_a_slurm_plan(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    start = make_draft(slurm=True)
    answers = find_answers(start, scheduler="slurm", partition="gpu", gpus="4", nodes="2")
    capsys.readouterr()
    ask_basic(Transcript(*answers), start)
    assert_frame("plain-slurm-80", read_lines(capsys))


def test_transcript_of_a_preference_plan(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    start = make_preference_draft()
    answers = find_answers(start)
    capsys.readouterr()
    ask_basic(Transcript(*answers), start)
    assert_frame("plain-dpo-80", read_lines(capsys))
