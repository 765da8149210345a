"""Pictures: their address, type, size and number, read and never opened."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from ftwizard.data.checks import images
from ftwizard.data.example import Example
from ftwizard.data.platforms import get_target

PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)
JPEG = b"\xff\xd8\xff\xe0" + bytes(32)
GIF = b"GIF89a" + bytes(33)
ANSWER: dict[str, Any] = {"role": "assistant", "content": "A cat."}


def data(content: bytes = PNG, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def picture(url: Any, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}, **more}


def shown(*parts: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": "What is it?"}, *parts]}


def codes(*messages: dict[str, Any], to: str = "openai-sft") -> list[str]:
    row = Example(kind="chat", messages=[*messages])
    return [result.code for result in images.check(row, get_target(to))]


@pytest.mark.parametrize(
    ("url", "to"),
    [
        (data(), "openai-sft"),
        (data(JPEG, "image/jpeg"), "openai-sft"),
        (data(JPEG, "image/png"), "openai-sft"),  # named wrongly, and of a type that is taken
        ("https://example.org/a.png", "openai-sft"),
        ("HTTP://example.org/a?size=3", "foundry-sft"),
        ("s3://bucket/a.png", "bedrock-nova"),
        ("gs://bucket/a.jpg", "vertex-gemini"),
    ],
)
def test_pictures_that_are_right(url: str, to: str) -> None:
    assert codes(shown(picture(url)), ANSWER, to=to) == []


@pytest.mark.parametrize(
    ("url", "to"),
    [
        ("/etc/passwd", "openai-sft"),
        ("file:///etc/passwd", "openai-sft"),
        ("C:\\cat.png", "openai-sft"),
        ("cat.png", "vertex-gemini"),
        ("", "openai-sft"),
        (None, "openai-sft"),
        ("https://example.org/a.png", "together-sft"),
        ("https://example.org/a.png", "bedrock-nova"),
        ("s3://bucket/a.png", "openai-sft"),
        ("data:image/png,%89PNG", "openai-sft"),
        ("data:image/png;base64,", "openai-sft"),
        ("data:image/png;base64,iVBORw0KGgo=!", "openai-sft"),
        (data() [:-3], "openai-sft"),
        (data() + "\n", "openai-sft"),
    ],
)  # fmt: skip
def test_addresses_that_are_not_taken(url: Any, to: str) -> None:
    assert "image_url" in codes(shown(picture(url)), ANSWER, to=to)


def test_a_path_is_named_and_not_opened(tmp_path: Any) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    before = path.stat().st_atime_ns
    row = Example(kind="chat", messages=[shown(picture(str(path))), ANSWER])
    (finding,) = images.check(row, get_target("openai-sft"))
    assert "is a path" in finding.message and path.stat().st_atime_ns == before


@pytest.mark.parametrize(
    ("url", "to"),
    [
        (data(GIF, "image/gif"), "openai-sft"),
        (data(GIF, "image/png"), "openai-sft"),  # named wrongly
        (data(JPEG, "image/jpg"), "together-sft"),
        (data(b"%PDF-1.7" + bytes(31), "application/pdf"), "openai-sft"),
        ("https://example.org/a.tiff?x=1", "openai-sft"),
        ("s3://bucket/a.bmp", "bedrock-nova"),
    ],
)
def test_types_that_are_not_taken(url: str, to: str) -> None:
    assert "image_type" in codes(shown(picture(url)), ANSWER, to=to)


def test_a_type_that_the_row_tells() -> None:
    assert codes(shown(picture("s3://b/a", format="tiff")), ANSWER, to="bedrock-nova") == [
        "image_type"
    ]
    assert codes(shown(picture("s3://b/a", format="png")), ANSWER, to="bedrock-nova") == []


def test_the_size_is_that_of_the_picture_not_of_its_base64() -> None:
    most = 10_485_760
    assert codes(shown(picture(data(PNG + bytes(most - len(PNG))))), ANSWER) == []
    assert codes(shown(picture(data(PNG + bytes(most - len(PNG) + 1)))), ANSWER) == ["image_size"]


def test_how_many_a_row_takes() -> None:
    assert codes(shown(*[picture(data())] * 10), ANSWER) == []
    assert codes(shown(*[picture(data())] * 11), ANSWER) == ["image_count"]
    half = shown(*[picture(data())] * 6)
    assert codes(half, ANSWER, half, ANSWER) == ["image_count"]
    assert codes(half, ANSWER, half, ANSWER, to="foundry-sft") == []


def test_pictures_are_the_users() -> None:
    assert codes(shown(), shown(picture(data()), role="assistant")) == ["image_role"]
    assert codes(shown(picture(data()), role="system"), ANSWER) == ["image_role"]


def test_places_that_take_text_only() -> None:
    for to in ("trl-sft", "bedrock-claude", "vertex-open"):
        assert codes(shown(picture(data())), ANSWER, to=to) == ["images_unsupported"]
    assert codes(shown(), ANSWER, to="trl-sft") == []


def test_other_media() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
    assert codes(shown(sound), ANSWER) == ["media_unsupported"]
    video = {"type": "video", "video": "gs://b/v.mp4"}
    assert codes(shown(video), ANSWER, to="vertex-gemini") == []
    assert codes(shown(video), ANSWER, to="bedrock-nova") == []
    both = shown(video, picture("s3://b/a.png"))
    assert codes(both, ANSWER, to="bedrock-nova") == ["image_count"]
    assert codes(shown({"type": "refusal", "refusal": "no"})) == []


def test_together_wants_parts_throughout_and_pictures_without_weight() -> None:
    parts = {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]}
    assert codes(shown(picture(data())), parts, to="together-sft") == []
    assert codes(shown(picture(data())), ANSWER, to="together-sft") == ["image_mixed"]
    heavy = {**shown(picture(data())), "weight": 1}
    assert codes(heavy, parts, to="together-sft") == ["weight"]
    assert codes({**heavy, "weight": 0}, parts, to="together-sft") == []


def test_a_url_that_stands_alone_is_not_the_form_that_is_sent() -> None:
    bare = {"type": "image_url", "image_url": data()}
    assert codes(shown(bare), ANSWER) == ["image_url"]
