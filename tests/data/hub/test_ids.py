"""Hub data set ids, and the existing paths that take precedence over them."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from ftwizard.data.hub import datasets, ids
from ftwizard.data.hub.ids import HubId
from ftwizard.errors import FtwizardError
from ftwizard.plan import plan_file


@pytest.mark.parametrize(
    ("name", "repo", "config", "split"),
    [
        ("tatsu-lab/alpaca", "tatsu-lab/alpaca", None, "train"),
        ("HuggingFaceH4/ultrachat_200k:train_sft", "HuggingFaceH4/ultrachat_200k", None, "train_sft"),
        ("HuggingFaceTB/smoltalk/all:test", "HuggingFaceTB/smoltalk", "all", "test"),
        ("a/b.c/config with spaces", "a/b.c", "config with spaces", "train"),
        ("a/rows.jsonl:train", "a/rows.jsonl", None, "train"),
        ("a/b:train[:10]", "a/b", None, "train[:10]"),
        ("https://huggingface.co/datasets/a/b", "a/b", None, "train"),
        ("hf://datasets/a/b/", "a/b", None, "train"),
    ],
)  # fmt: skip
def test_parse_reads_repo_config_and_split(
    name: str, repo: str, config: str | None, split: str
) -> None:
    assert ids.parse(name) == HubId(repo=repo, config=config, split=split)


@pytest.mark.parametrize(
    "name",
    [
        "", "rows", "rows.jsonl", "data/rows.jsonl", "data/rows.JSON", "a/b/c.parquet", "/a/b", "./a/b",
        "../a", "~/a", "a/b/c/d", "a//b", "a/b:", "a/", "a/--b", "a/b..c", "-a/b", "a/b\n", "a\x1b/b",
        "a/" + "b" * 97, "https://example.org/a/b", "a b/c",
    ],
)  # fmt: skip
def test_file_names_and_invalid_ids_are_not_hub_ids(name: str) -> None:
    assert ids.parse(name) is None


def test_existing_file_takes_precedence_over_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ids.parse("owner/name")
    (tmp_path / "owner").mkdir()
    assert ids.parse("owner/name")
    (tmp_path / "owner/name").write_text("{}")
    assert ids.parse("owner/name") is None


@hypothesis.given(st.text())
def test_parse_never_raises_on_any_text(text: str) -> None:
    ids.parse(text)
    ids.parse(f"a/b/{text}")


@hypothesis.given(st.text(max_size=300), st.text(max_size=300))
def test_slug_gives_each_text_a_unique_file_name(first: str, other: str) -> None:
    names = [datasets.slug(first), datasets.slug(other)]
    assert (names[0] == names[1]) == (first == other)
    assert all(len(name) < 80 and "/" not in name and name.isascii() for name in names)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_plan_with_a_data_set_id_suggests_the_check_command(part: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}")
    files = {"train": "rows.jsonl", part: "owner/name:test"}
    listed = ", ".join(f"{key}: '{value}'" for key, value in files.items())
    file = tmp_path / "plan.yaml"
    file.write_text(f"data: {{files: {{{listed}}}}}\nmodel: {{name: a/b}}\n")
    with pytest.raises(FtwizardError, match=f"data.files.{part} looks like a data set") as error:
        plan_file.load(file)
    assert "ftwizard check owner/name:test" in error.value.hint
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner/name:test").write_text("{}")
    assert plan_file.load(file)
