"""Paths, names and fields in the documents."""

from __future__ import annotations

import datetime
import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.catalog.hosted_models import check_deprecation, list_hosted_models
from ftwizard.cli import parser
from ftwizard.graders.grader_file import parse_grader
from ftwizard.graders.handler import LambdaFunction
from ftwizard.graders.process import Grade
from ftwizard.graders.trial import GradedItem, Trial, TrialFinding, TrialRow, try_grader
from ftwizard.hosted_platforms import PLATFORMS, HostedProvider
from ftwizard.plan import checks as plan_checks
from ftwizard.plan import plan_file
from ftwizard.plan.schema import GRPO, HOSTED_PROVIDERS, Hosted
from ftwizard.providers import launcher
from ftwizard.rewards.dry_run import try_rewards
from ftwizard.rewards.packaged import PACKAGED
from ftwizard.rewards.reward import Reward
from ftwizard.rewards.rows import PromptRow
from ftwizard.runs.remote import RemoteResult, RemoteSummary
from ftwizard.runs.store import RunStatus
from tests.helpers.hosted_doubles import serve_double
from tests.paths import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TOP = ("ftwizard", "screens", "assets", "tests", "docs", ".ci")
PACKAGE = tuple(path.name for path in (ROOT / "ftwizard").iterdir() if path.is_dir())
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
CODE = re.compile(r"`([\w.-]+(?:/[\w.-]+)+/?|\w+\.py)`")

COMMAND = re.compile(r"\bftwizard ([a-z]+)((?:(?!`|#|\n|ftwizard ).)*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
HOSTED_PAGES = ("hosted", *HOSTED_PROVIDERS)
GROUPS: dict[str, type[msgspec.Struct]] = {"hosted": Hosted, **dict(HOSTED_PROVIDERS.items())}
SETTING = re.compile(
    rf"^\| `((?:hosted|{'|'.join(HOSTED_PROVIDERS)})\.[\w.]+)` \|(.*)\|$", re.MULTILINE
)
NAME = re.compile(r"`(_?[A-Z]\w{3,})(?:[(=][^`]*)?`")


def find_missing(document: Path) -> list[str]:
    """Return the links and paths of a document that do not exist."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    missing = [link for link in LINK.findall(text) if not (document.parent / link).exists()]
    modules = {path.name for path in (ROOT / "ftwizard").rglob("*.py")}
    modules |= {
        path.name for folder in ("screens", "tests") for path in (ROOT / folder).rglob("*.py")
    }
    for path in CODE.findall(text):
        first, slash, _ = path.partition("/")
        if not slash:
            exists = path in modules
        elif first in TOP:
            exists = (ROOT / path).exists()
        else:
            # Another path may be in a run's folder; a module is in the package.
            is_ours = first in PACKAGE and path.endswith(".py")
            exists = not is_ours or (ROOT / "ftwizard" / path).exists()
        if not exists:
            missing.append(path)
    return missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_in_the_documents_exists(document: Path) -> None:
    assert find_missing(document) == []


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_name_in_the_developer_documents_exists(document: str) -> None:
    names = set(NAME.findall((ROOT / document).read_text()))
    folders = [ROOT / name for name in ("ftwizard", "screens", "tests")]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    words = set(re.findall(r"\w+", "\n".join(path.read_text() for path in files)))
    words |= {path.name for path in ROOT.iterdir()}
    assert names and not names - words


def test_documented_status_has_the_required_fields() -> None:
    text = (ROOT / "docs" / "json.md").read_text().partition("### The status of a run")[2]
    example = json.loads(text.partition("```json\n")[2].partition("```")[0])
    assert list(example) == [
        field.name for field in msgspec.structs.fields(RunStatus) if field.required
    ]


def read_page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def list_settings(group: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name, the default and the type of each setting of a group."""
    for field in msgspec.structs.fields(group):
        default = field.default
        if default is msgspec.NODEFAULT:
            default = field.default_factory()
        name = f"{prefix}.{field.encode_name}"
        if isinstance(default, msgspec.Struct):
            yield from list_settings(type(default), name)
        else:
            yield name, default, field.type


def write_default(default: Any) -> str:
    """Return a default as the tables have it."""
    if default is None or default in ((), {}):
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, float):
        return f"`{default:g}`".replace("e-0", "e-")
    return f"`{default}`"


def list_words(kind: Any) -> Iterator[str]:
    """Yield the words that a type allows."""
    for part in typing.get_args(kind):
        if isinstance(part, str):
            yield part
        else:
            yield from list_words(part)


def test_every_platform_is_in_one_table_with_its_methods() -> None:
    table = read_page("hosted").partition("| `provider` |")[2].partition("\n\n")[0]
    rows = {row[1].strip("` "): row for row in (line.split("|") for line in table.splitlines()[2:])}
    assert list(rows) == list(PLATFORMS)
    today = datetime.date.today()
    for provider, row in rows.items():
        methods = {
            method
            for model in list_hosted_models("current")
            if model.platform == provider and check_deprecation(model, today).tunable
            for method in model.methods
        }
        assert methods <= {word.strip() for word in row[4].split(",")}, provider


@pytest.mark.parametrize("page", HOSTED_PAGES)
def test_every_hosted_setting_is_documented_with_its_default(page: str) -> None:
    rows = {name: cells.split(" | ") for name, cells in SETTING.findall(read_page(page))}
    settings = {name: (default, kind) for name, default, kind in list_settings(GROUPS[page], page)}
    assert list(rows) and rows.keys() == settings.keys()
    for name, (default, kind) in settings.items():
        shown, values = rows[name][0].strip(), rows[name][1]
        assert (name, shown) == (name, write_default(default))
        missing = [word for word in list_words(kind) if f"`{word}`" not in values]
        assert (name, missing) == (name, [])


@pytest.mark.parametrize("page", HOSTED_PROVIDERS)
def test_every_variable_of_a_platform_is_documented(page: str) -> None:
    provider = next(name for name in HOSTED_PROVIDERS if name == page)
    names = (
        *PLATFORMS[provider].variables,
        PLATFORMS[provider].address_variable,
        "FTWIZARD_POLL_S",
    )
    for name in names:
        assert f"`{name}`" in read_page(page).partition("## A worked example")[0]


@pytest.mark.parametrize("page", HOSTED_PAGES)
def test_plans_of_hosted_pages_can_be_read(page: str) -> None:
    plans = [
        block
        for block in re.findall(r"^```yaml\n(.*?)^```", read_page(page), re.DOTALL | re.MULTILINE)
        if "provider:" in block
    ]
    for block in plans:
        plan = plan_file.parse(block)
        assert plan.provider in (page, "openai")
        assert plan.is_hosted
    assert plans


def list_rows(page: HostedProvider) -> Iterator[str]:
    """Yield the rows of a page's example: conversations, or prompts where answers are graded."""
    for name in ("train", "validation", "test"):
        text = (ROOT / "assets" / "samples" / "tickets" / f"{name}.jsonl").read_text()
        for line in text.splitlines():
            row = json.loads(line)
            if page == "mantle":
                *messages, answer = row["messages"]
                row = {"messages": messages, "reference_answer": answer["content"]}
            yield json.dumps(row, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("page", HOSTED_PROVIDERS)
def test_worked_example_prints_what_leaves_the_machine(
    page: HostedProvider, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = read_page(page).partition("## A worked example")[2]
    (block,) = re.findall(
        r"^```yaml\n(.*?)^```", example.partition("\n## ")[0], re.DOTALL | re.MULTILINE
    )
    (tmp_path / "rows.jsonl").write_text("".join(list_rows(page)))
    (tmp_path / "plan.yaml").write_text(block)
    with serve_double(page) as double:
        for name, value in double.environment.items():
            monkeypatch.setenv(name, value)
        pending = launcher.preview(plan_file.load(tmp_path / "plan.yaml"))
    printed = example.splitlines()
    assert [line for line in pending.lines if line not in printed] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_the_documents_exists_with_its_options(document: Path) -> None:
    _, parsers = parser._build_parsers()
    for name, rest in COMMAND.findall(document.read_text()):
        if name in parsers:
            options = set(parsers[name]._option_string_actions)
            assert (name, set(OPTION.findall(rest)) - options) == (name, set())


def test_the_grader_in_the_documents_tells_right_from_wrong(tmp_path: Path) -> None:
    source = read_page("openai").partition("```python\n")[2].partition("```")[0]
    grader = parse_grader(source, str(tmp_path / "grader.py"))
    Path(grader.path).write_text(source)
    items = [
        GradedItem(line=n, item={"reference_answer": str(n)}, reference=str(n)) for n in range(3)
    ]
    assert try_grader(grader, items).verdict == "ok"
    fields = {*Trial.__struct_fields__, *TrialRow.__struct_fields__, *Grade.__struct_fields__}
    fields |= {*TrialFinding.__struct_fields__, *LambdaFunction.__struct_fields__}
    page = read_page("json")
    assert [name for name in sorted(fields) if f"`{name}`" not in page] == []


def test_fields_of_a_hosted_run_are_documented() -> None:
    text = read_page("hosted").partition("## For scripts")[2]
    for field in RemoteSummary.__struct_fields__:
        assert f"`{field}`" in text
    for field in RemoteResult.__struct_fields__:
        assert f"`remote.{field}`" in text or f"`.{field}`" in text


def test_the_reward_in_the_documents_tells_answers_apart(tmp_path: Path) -> None:
    page = read_page("rewards")
    source = page.partition("```python\n")[2].partition("```")[0]
    path = tmp_path / "rewards.py"
    path.write_text(source)
    words = ["Paris", "Rome", "the Nile"]
    rows = [
        PromptRow(line=n, prompt=[{"role": "user", "content": "?"}], reference=word)
        for n, word in enumerate(words, 1)
    ]
    assert try_rewards([Reward(function=f"{path}:my_reward")], rows).verdict == "ok"
    for name, packaged in PACKAGED.items():
        (line,) = (line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        assert [option for option in packaged.options if f"`{option}`" not in line] == []


def test_every_setting_of_grpo_is_documented_and_its_example_can_be_read(tmp_path: Path) -> None:
    page = read_page("rewards")
    table = page.partition("## Settings\n")[2].partition("\n## ")[0]
    assert [name for name in GRPO.__struct_fields__ if not re.search(rf"[.]{name}`", table)] == []
    fields = [name for name in Reward.__struct_fields__ if f"`{name}`" not in table]
    assert fields == []
    plan = plan_file.parse(page.partition("```yaml\n")[2].partition("```")[0])
    assert list(plan_checks.find_problems(plan)) == []
    assert plan.recipe.count_prompts() == 1
