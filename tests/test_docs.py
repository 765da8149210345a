"""Paths, names and fields in the documents."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from ftwizard.runs.store import RunStatus
from tests.paths import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TOP = ("ftwizard", "screens", "assets", "tests", "docs", ".ci")
PACKAGE = tuple(path.name for path in (ROOT / "ftwizard").iterdir() if path.is_dir())
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
CODE = re.compile(r"`([\w.-]+(?:/[\w.-]+)+/?|\w+\.py)`")

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
