"""Secret checks: findings name kind and location, and never repeat the secret."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data.checks import run
from ftwizard.data.checks.row_checker import check_row
from ftwizard.data.checks.run import CheckOptions
from ftwizard.data.checks.secrets import check, iter_texts
from ftwizard.data.example import Example
from ftwizard.data.format_names import TargetName
from ftwizard.data.platforms import all_targets, get_target
from ftwizard.data.privacy.detect import find_secrets
from tests.data.privacy.test_detect import PASSWORD, TOKENS, json_values, random_text

TOKEN = "gh" + "p_" + random_text(36)
SFT = get_target("openai-sft")


def chat(*messages: Any, **more: Any) -> Example:
    return Example(kind="chat", messages=list(messages), **more)


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def calls(arguments: Any) -> list[dict[str, Any]]:
    return [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}]


SCHEMA = {"type": "function", "function": {"name": "f", "description": f"Send {TOKEN} along"}}
LOCATIONS: list[tuple[str, Example]] = [
    ("message 1 (user)", chat(user(f"use {TOKEN}"))),
    ("message 2 (user)", chat(user("a"), user([{"type": "text", "text": TOKEN}]))),
    (
        "message 1 (user)",
        chat(user([{"type": "image_url", "image_url": {"url": f"https://a.io/?t={TOKEN}"}}])),
    ),
    ("a tool call of message 1 (user)", chat(user(None, tool_calls=calls(f'{{"t": "{TOKEN}"}}')))),
    ("a tool call of message 1 (user)", chat(user(None, tool_calls=calls({"t": [{"u": TOKEN}]})))),
    ("message 1 (user)", chat(user("a", reasoning_content=TOKEN))),
    ("the tools", chat(user("a"), tools=[SCHEMA])),
    ("the field “note”", chat(user("a"), extra={"note": {"by": TOKEN}})),
    ("the text", Example(kind="text", text=f"a {TOKEN}")),
    ("the chosen answer", Example(kind="preference", messages=[user("a")], chosen=[user(TOKEN)])),
    (
        "the rejected answer",
        Example(kind="preference", messages=[user("a")], chosen=[user("b")], rejected=[user(TOKEN)]),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("where", "example"), LOCATIONS)
def test_finding_names_kind_and_location_but_not_the_secret(where: str, example: Example) -> None:
    (finding,) = check(example, SFT)
    assert finding.code == "secret"
    assert finding.message == f"{where} contains a possible secret: GitHub token, 40 characters"
    assert TOKEN not in finding.fix and SFT.severity(finding.code) == "warning"


def test_argument_names_reveal_passwords_and_card_numbers() -> None:
    arguments = {"db_password": PASSWORD, "card": 4539578763621486, "n": 4539578763621486}
    codes = [result.code for result in check(chat(user(None, tool_calls=calls(arguments))), SFT)]
    assert codes == ["secret", "card_number"]


def test_each_kind_of_secret_is_reported_once_per_message() -> None:
    content = f"{TOKEN} {TOKEN} ana@acme.io bob@acme.io 212-664-7665"
    result = [*check(chat(user(content), user(TOKEN)), SFT)]
    assert [item.message.split(":")[1].split(",")[0] for item in result] == [
        " GitHub token", " email address", " phone number", " GitHub token",
    ]  # fmt: skip
    assert [item.code for item in check_row(chat(user(content), user(TOKEN)), SFT)][-2:] == [
        "secret", "personal_data",
    ]  # fmt: skip


def test_secret_in_json_escapes_is_reported_after_decoding() -> None:
    token = next(token for kind, token in TOKENS if kind == "AWS access key")
    line = '{"role": "user", "content": "' + "".join(f"\\u{ord(c):04x}" for c in token) + '"}'
    assert token not in line
    (finding,) = check(chat(json.loads(line)), SFT)
    assert finding.code == "secret" and token not in finding.message


def test_inline_images_are_not_searched_for_secrets() -> None:
    url = (
        "data:image/png;base64,"
        + random_text(200)
        + "/"
        + "AK"
        + "IA"
        + random_text(16, "ABCDEFGH234567")
        + "/"
    )
    example = chat(user([{"type": "image_url", "image_url": {"url": url}}]))
    assert [*iter_texts(example)] == [("message 1 (user)", "type: image_url")]
    assert [*check(example, SFT)] == []


fields = st.dictionaries(st.text(max_size=5), json_values, max_size=3)
parts = st.lists(st.builds(lambda part: {**part, "type": "image"}, fields), min_size=1)
messages = st.lists(
    st.builds(
        lambda message, content: {**message, "role": "user", "content": content},
        st.fixed_dictionaries({}, optional={"tool_calls": json_values, "name": json_values}),
        st.none() | st.text() | parts,
    )
)


@given(messages, messages, st.lists(fields), st.text(), fields)
def test_arbitrary_rows_never_crash_or_leak_secrets(
    first: Any, two: Any, three: Any, four: Any, five: Any
) -> None:
    example = Example(kind="chat", messages=first, chosen=two, tools=three, text=four, extra=five)
    for result in check(example, SFT):
        assert find_secrets(result.message) == []


def test_secret_in_a_field_name_is_redacted() -> None:
    (finding,) = check(chat(user("a"), extra={TOKEN: 0}), SFT)
    assert finding.message.startswith("the field “[GitHub token, 40 characters]” contains")


def test_fix_mentions_upload_only_for_hosted_targets() -> None:
    row = chat(user(f"use {TOKEN}"), user("card 4111 1111 1111 1111"))
    for target, is_uploaded in ((SFT, True), (get_target("trl-sft"), False)):
        fixes = [finding.fix for finding in check(row, target)]
        assert len(fixes) == 2
        assert all(("an upload for OpenAI" in fix) is is_uploaded for fix in fixes)
        assert ["revoke" in fix for fix in fixes] == [True, False]


LOCAL = [name for name, target in all_targets().items() if not target.hosted]


@pytest.mark.parametrize("name", [None, *LOCAL])
def test_nothing_mentions_an_upload_when_training_is_here(
    name: TargetName | None, tmp_path: Path
) -> None:
    image = {"type": "image_url", "image_url": {"url": "picture.png"}}
    row = {
        "messages": [user([{"type": "text", "text": f"use {TOKEN}"}, image]), user("mail a@b.example"),
                     {"role": "assistant", "content": f"4111 1111 1111 1111 {TOKEN}"}],
        "chosen": [{"role": "assistant", "content": TOKEN}], "label": True, "other": 1,
    }  # fmt: skip
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress((json.dumps(row) + "\n").encode()))
    for format in ("openai-chat", "preference", "kto"):
        report = run.check_files(file, CheckOptions(target=name, format=format, near=False))
        assert report.findings
        assert "upload" not in json.dumps(msgspec.to_builtins(report)), (name, format)
