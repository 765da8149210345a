"""Steps with the model of an evaluated run: which is next, what it asks, and how it runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from textual.pilot import Pilot

from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import Attempt, JobFolder, write_json
from ftwizard.jobs.status import observe
from ftwizard.models.hub import ModelSource
from ftwizard.runs import describe, next_steps
from ftwizard.runs.evaluation import Failure
from ftwizard.runs.exports import PushReport, UploadPlan
from ftwizard.runs.merge_proof import MergeProof
from ftwizard.runs.result import MergedModel, read_result, read_trained
from ftwizard.runs.ship_verdict import judge_evaluation
from ftwizard.screens import subprocesses
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.monitor.results import ResultsPage
from tests.helpers.adapters import write_adapter, write_llama
from tests.helpers.results import make_run_result, make_trained
from tests.runs.test_ship_verdict import GATE, HEALTHY, STEADY, resemble
from tests.screens.frames import (
    drive,
    frame,
    until,
    wait_for_text,
)
from tests.screens.monitor.evaluated_runs import (
    LEAK,
    Calls,
    evaluate,
    judge,
    open_results,
    write_evaluation,
    write_export,
)
from tests.screens.runs_helpers import PLAN


@pytest.mark.slow
def test_x_merges_and_shows_the_proof(home: Path, tmp_path: Path) -> None:
    folder = write_evaluation(home, evaluate([]))
    base = write_llama(tmp_path / "base")
    folder.adapter.rmdir()
    write_adapter(base, folder.adapter)
    trained = make_trained(base=str(base))
    write_json(folder.trained, trained)
    write_json(folder.result, make_run_result(training=trained))

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await wait_for_text(pilot, "Merge it, and prove the merge")
        await pilot.press("enter")
        await wait_for_text(pilot, "Verify: compare all forms on the same prompts")

    shown = drive(FtwizardApp(("run", "one")), (100, 90), play)
    assert re.search(r"proof +✓ Proved: all \d+ tensors", shown)
    assert "✓ proved" in shown and "gguf" not in shown


def test_esc_waits_for_the_end_of_a_step_so_that_no_second_one_runs_beside_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocesses, "END_WAIT_S", 600.0)  # no kill on a busy machine
    folder = write_evaluation(home, evaluate([]))
    base = write_llama(tmp_path / "base")
    folder.adapter.rmdir()
    write_adapter(base, folder.adapter)
    write_json(folder.trained, make_trained(base=str(base)))
    (config,) = folder.adapter.glob("*.json")
    config.unlink()
    os.mkfifo(config)  # whoever reads it waits
    writers: list[int] = []

    def is_opened() -> bool:
        with contextlib.suppress(OSError):  # nobody reads it yet
            writers.append(os.open(config, os.O_WRONLY | os.O_NONBLOCK))
        return bool(writers)

    def list_children() -> list[psutil.Process]:
        return psutil.Process().children(recursive=True)

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await pilot.press("enter")
        await wait_for_text(pilot, "esc cancel")
        await until(pilot, is_opened)
        (command,) = psutil.Process().children()
        command.suspend()  # slow to end
        await pilot.press("escape")
        await wait_for_text(pilot, "canceling")
        await pilot.press("g", "escape", "enter")
        assert not isinstance(pilot.app.screen, ResultsPage)
        assert psutil.Process().children() == [command]
        os.close(*writers)
        command.resume()
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultsPage))
        assert not list_children()

    drive(FtwizardApp(("run", "one")), (100, 40), play)
    assert not folder.merged.exists()


def test_a_step_that_failed_says_why_and_stays_on_the_page(home: Path) -> None:
    folder = write_evaluation(home, evaluate([]))
    folder.trained.unlink()

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await wait_for_text(pilot, "Chat: compare the answers")
        await pilot.press("g")
        await wait_for_text(pilot, "ftwizard resume one")

    shown = drive(FtwizardApp(("run", "one")), (100, 90), play)
    assert "failed    ✗ Run one has no trained weights. Continue it: ftwizard resume one" in shown


def test_what_starts_a_training_asks_first(home: Path) -> None:
    leak = Failure(name="memorization", found=True, evidence=LEAK)
    write_evaluation(home, evaluate([leak]))

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await pilot.press("enter", "enter")  # a second, hasty Enter starts nothing
        await pilot.press("1")
        await wait_for_text(pilot, "Train for 1 epoch?")
        await wait_for_text(pilot, "ftwizard branch one --set recipe.epochs=1 --from start")
        await wait_for_text(pilot, "y train")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultsPage))

    drive(FtwizardApp(("run", "one")), (100, 40), play)
    assert [path.name for path in (home / "runs").iterdir()] == ["one"]


def test_three_ways_on_where_only_resemblance_was_measured(home: Path, calls: Calls) -> None:
    judged = judge_evaluation(STEADY, HEALTHY, GATE, target=resemble())
    write_evaluation(home, judged)

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await wait_for_text(pilot, "3 Let another model judge the answers")
        await pilot.press("enter")
        await wait_for_text(pilot, "Too few answers differ to compare them")
        await pilot.press("2")
        await wait_for_text(pilot, "The command: ftwizard eval RUN --answer-pattern PATTERN")
        await pilot.press(*"#x", "enter")
        await until(pilot, lambda: bool(calls))

    shown = drive(FtwizardApp(("run", "one")), (120, 50), play)
    assert "whether its answers are right was not measured" in shown
    assert calls[0][-2:] == ("--answer-pattern", "#x")


def test_what_was_judged_since_decides_the_next_step(home: Path) -> None:
    folder = write_evaluation(home, evaluate([], general=48))
    sweep = judge(folder, 1, {"scale-0.5": ("ship", 0.5), "scale-1": ("do_not_ship", 1.0)})
    shown = drive(FtwizardApp(("run", "one")), (110, 50), open_results)
    assert "judged    ✓ Ship: scale-0.5  target 80%" in shown
    assert (
        "Enter     Merge it at 0.5 of the adapter's strength, which passed: ftwizard merge one --scale 0.5"
        in shown
    )
    folder.merged.mkdir()
    merged = MergedModel(
        folder=str(folder.merged), size_bytes=9, dtype="bfloat16", scale=0.5, hashes={"a": "new"}
    )
    write_json(folder.result, make_run_result(merged=merged))
    assert find_command(folder) == "ftwizard merge one --scale 0.5", "the proof"
    proof = MergeProof(verdict="proved", base="/b", adapter="/a", tensors=3)
    write_json(folder.merged / "proof.json", proof)
    write_export(folder, "gguf", {"a": "old"})
    folder.plan.write_text(f"{PLAN}finish: {{export: [gguf]}}\n")
    assert find_command(folder) == "ftwizard export one --to gguf", "it has the old weights"
    write_export(folder, "gguf", {"a": "new"})
    assert find_command(folder) == "ftwizard verify one"
    judge(folder, 1, {"scale-0.5": ("do_not_ship", 0.5)})
    shown = drive(FtwizardApp(("run", "one")), (110, 50), open_results)
    assert sweep.exists() and "Enter     Mix 10% general rows into the training data" in shown


def test_a_model_is_complete_only_at_the_strength_that_passed(home: Path) -> None:
    folder = write_evaluation(home, evaluate([]))
    folder.merged.mkdir()
    merged = MergedModel(folder=str(folder.merged), size_bytes=9, dtype="bfloat16", scale=0.5)
    write_json(folder.result, make_run_result(merged=merged))
    assert find_command(folder) == "ftwizard eval one --scale 0.5"
    judge(folder, 1, {"scale-0.5": ("cannot_tell", 0.5)})
    assert find_command(folder) == "ftwizard merge one --replace", "full strength passed"
    judge(folder, 1, {"scale-0.5": ("ship", 0.5)})
    assert find_command(folder) == "ftwizard merge one --scale 0.5", "the proof"


def find_command(folder: JobFolder) -> str:
    return next_steps.find_next(folder).format_command(folder.id)


def test_what_stands_in_the_way_is_named_with_what_to_do(home: Path) -> None:
    folder = write_evaluation(home, evaluate([]))
    base = home / "base"
    os.truncate(base / "model.safetensors", 2**42)  # a sparse file of 4 TiB
    shown = drive(FtwizardApp(("run", "one")), (120, 40), open_results)
    assert re.search(r"disk +✗ \S+ \w+ of disk space are free; the next step needs about 4", shown)
    assert "ftwizard remove RUN --checkpoints" in shown
    (base / "model.safetensors").unlink()
    judge(folder, 1, {"tuned": ("ship", 1.0)}).unlink()
    job = JobFolder(folder.path / "jobs" / "1-eval")
    (job.path / "attempts").mkdir()
    write_json(job.attempt(1), Attempt(number=1, started=1.0, host=os.uname().nodename, argv=[]))
    events = EventWriter(job.events, 1)
    message, hint = "The endpoint answered 401.", "Set the key."
    events.write("done", end_reason="refused", message=message, hint=hint)
    events.close()
    shown = " ".join(drive(FtwizardApp(("run", "one")), (160, 40), open_results).split())
    assert (
        "eval ✗ The newest evaluation was refused: The endpoint answered 401. Set the key." in shown
    )
    restore = f"Restore its base model, which is missing: {base}"
    assert f"Enter {restore}" in shown and "base ✗" not in shown
    outcome = describe.describe_outcome(folder, observe(folder))
    assert f"next         {restore}" in outcome
    problem = "The newest evaluation was refused: The endpoint answered 401. Set the key."
    assert f"eval         ✗ {problem}" in outcome
    write_json(job.attempt(2), Attempt(number=2, started=2.0, host=os.uname().nodename, argv=[]))
    events = EventWriter(job.events, 2)
    events.write("done", end_reason="stopped", message="")
    events.close()
    outcome = describe.describe_outcome(folder, observe(folder))
    assert "eval         ■ The newest evaluation was stopped. Its answers are" in "\n".join(outcome)

    async def press(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await pilot.press("enter")
        await wait_for_text(pilot, "Then come back here.")

    drive(FtwizardApp(("run", "one")), (80, 24), press)
    model = ModelSource(kind="hub", name="owner/model", fingerprint="1", description="owner/model")
    record = msgspec.structs.replace(
        folder.read_job(), inputs={"model": msgspec.to_builtins(model)}
    )
    write_json(folder.job, record)
    shown = " ".join(drive(FtwizardApp(("run", "one")), (160, 40), open_results).split())
    download = f"Download its base model again, which is missing in {base}"
    assert f"Enter {download}: ftwizard merge one --base owner/model" in shown
    folder.merged.mkdir()
    proof = MergeProof(verdict="proved", base="/b", adapter="/a", tensors=3)
    write_json(folder.merged / "proof.json", proof)
    folder.plan.write_text(f"{PLAN}finish: {{export: [gguf]}}\n")
    shown = " ".join(drive(FtwizardApp(("run", "one")), (160, 40), open_results).split())
    assert (
        f"base ✗ The base model is missing. Evaluation, merge and proof need it. {download}"
        in shown
    )
    assert "Enter Export it as gguf" in shown


def test_an_upload_asks_for_the_repository_and_is_private(home: Path, calls: Calls) -> None:
    write_evaluation(home, evaluate([]))

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await pilot.press("u")
        await wait_for_text(pilot, "is private: only you and your organization")
        await pilot.press("end", *["backspace"] * 3, *"a b", "enter")
        await wait_for_text(pilot, "Type owner/name")
        assert not calls
        await pilot.press("backspace", "backspace", *"cme/mine", "enter")
        await wait_for_text(pilot, "Upload to acme/mine?")
        await wait_for_text(pilot, "! The evaluation says not to ship this model")
        await wait_for_text(pilot, "! owner/model is gated")
        await wait_for_text(pilot, "license: llama3.1. Its terms apply")
        await pilot.press("enter")
        await until(pilot, lambda: len(calls) == 2)

    plan = UploadPlan(
        repo="acme/mine", private=True, content="adapter", base="owner/model", gated=True,
        files={f"model-{n:05}.safetensors": 4_900_000_000 for n in range(20)}, user="ada",
        license="llama3.1", card="new", ship="do_not_ship",
    )  # fmt: skip
    calls.documents["push"] = msgspec.to_builtins(PushReport(plan=plan, pushed=None))
    drive(FtwizardApp(("run", "one")), (80, 24), play)
    argv = ("push", str(home / "runs" / "one"), "--repo", "acme/mine", "--adapter")
    assert calls == [(*argv, "--check"), (*argv, "--yes")]


def test_an_export_asks_for_its_form_and_shows_its_size(home: Path, calls: Calls) -> None:
    folder = write_evaluation(home, evaluate([]))
    folder.merged.mkdir()

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await pilot.press("x")
        await wait_for_text(pilot, "Export to which form?")
        assert re.search(r"gguf:q8_0 +~1\d\d MB  8 bit: nearly nothing is lost ", frame(pilot.app))
        assert re.search(r"gguf +~270 MB  for", frame(pilot.app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultsPage))
        assert not calls
        await pilot.press("x", "down", "enter")
        await until(pilot, lambda: bool(calls))

    drive(FtwizardApp(("run", "one")), (100, 40), play)
    assert calls == [("export", str(folder.path), "--to", "gguf:q8_0")]


def test_a_merge_of_qlora_asks_for_the_base(home: Path, calls: Calls) -> None:
    folder = write_evaluation(home, evaluate([]))
    trained = read_trained(folder)
    assert trained
    write_json(folder.trained, msgspec.structs.replace(trained, method="qlora"))
    folder.adapter.mkdir(exist_ok=True)

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await pilot.press("g")
        await wait_for_text(pilot, "Merge into which base?")
        assert "dequantized   as training used it" in frame(pilot.app)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultsPage))
        assert not calls
        await pilot.press("g", "down", "enter")
        await until(pilot, lambda: bool(calls))

    drive(FtwizardApp(("run", "one")), (80, 24), play)
    assert calls == [("merge", str(folder.path), "--onto", "dequantized")]


def test_a_proof_of_a_merge_repeats_its_options(home: Path) -> None:
    folder = write_evaluation(home, evaluate([]))
    trained, result = read_trained(folder), read_result(folder)
    assert trained and result
    merged = MergedModel(
        folder=str(folder.merged), size_bytes=270, dtype="float32", onto="dequantized", scale=0.5
    )
    folder.merged.mkdir()
    write_json(folder.trained, msgspec.structs.replace(trained, method="qlora"))
    write_json(folder.result, msgspec.structs.replace(result, merged=merged))
    (step, *_) = next_steps.list_missing(folder)
    assert step.options == ("--scale", "0.5", "--onto", "dequantized", "--dtype", "float32")


def test_a_server_runs_until_esc(home: Path, tmp_path: Path) -> None:
    folder = write_evaluation(home, evaluate([]))
    base = write_llama(tmp_path / "base")
    write_json(folder.trained, make_trained(base=str(base)))
    base.rename(folder.merged)

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await pilot.press("s")
        await wait_for_text(pilot, "✓ It answers at http://127.0.0.1:")
        (url,) = re.findall(r"http://\S+", frame(pilot.app))
        models = await asyncio.to_thread(read_url, f"{url}/models")
        assert b"one" in models
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultsPage))
        assert not psutil.Process().children(recursive=True)

    drive(FtwizardApp(("run", "one")), (100, 40), play)


def read_url(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as response:
        return bytes(response.read())
