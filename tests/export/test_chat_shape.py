"""Ollama's TEMPLATE renders the prompts of the training, or is not written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftwizard.export import chat_shape, ollama
from ftwizard.export.chat_shape import ShapeError
from tests.helpers import go_template
from tests.helpers.models import tiny_tokenizer

CHATS = [
    [{"role": "user", "content": "Hi"}],
    [
        {"role": "system", "content": "Be brief.\nAlways."},
        {"role": "user", "content": "Hi {{ x }}"},
    ],
    [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "First, “naïve” 🦙"},
        {"role": "user", "content": "Two"},
        {"role": "assistant", "content": "Second"},
        {"role": "user", "content": "Three"},
    ],
]
NO_SHAPE = {
    "gptoss": "several turns",  # leaves the reasoning of earlier answers out
    "deepseekv3": "several turns",
    "llava_next": "several turns",
}


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> Any:
    from ftwizard.train import model_loading

    return model_loading.load_tokenizer(smollm2)


def _list_templates() -> list[Path]:
    import trl

    return sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))


@pytest.mark.parametrize("path", _list_templates(), ids=lambda path: path.stem)
def test_go_renders_what_jinja_renders(path: Path, tokenizer: Any) -> None:
    """Every template that TRL ships is either proved, and then equal, or refused."""
    tokenizer.chat_template = path.read_text()
    render = chat_shape.make_renderer(tokenizer)
    try:
        shape = chat_shape.find_shape(render)
    except ShapeError as error:
        family = path.stem.removesuffix("_training")
        assert NO_SHAPE.get(family, "") in str(error)
        assert not family.startswith(("llama3", "qwen2_5", "gemma", "phi", "lfm2", "cohere"))
        return
    assert path.stem not in NO_SHAPE
    template = ollama.to_go(shape)
    assert template is not None
    chats = CHATS if shape.system_head is not None else [CHATS[0], CHATS[2]]
    for chat in chats:
        assert go_template.execute(template, chat) == render(chat)


def test_neighbors_of_one_role_are_joined_as_ollama_does(tokenizer: Any) -> None:
    template = '{{ range .Messages }}{{ if eq .Role "user" }}[{{ .Content }}]{{ end }}{{ end }}'
    chat = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    assert go_template.execute(template, chat) == "[a\n\nb]"


@pytest.mark.parametrize(
    ("template", "cause"),
    [
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "as it is"),
        ("{% for m in messages %}{{ loop.index }}{{ m.content }}|{% endfor %}", "otherwise"),
        ("{{ messages[-1].content }}", "as it is"),
        ("{{ raise_exception('no') }}", "does not render a single question"),
    ],
)
def test_a_template_without_fixed_texts_is_refused(template: str, cause: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(ShapeError, match=cause):
        chat_shape.find_shape(chat_shape.make_renderer(tokenizer))


def test_a_missing_generation_prompt_is_noticed() -> None:
    tokenizer = tiny_tokenizer()
    renderers = [chat_shape.make_renderer(tokenizer, prompt=prompt) for prompt in (True, False)]
    assert not chat_shape.lacks_generation_prompt(*renderers)
    tokenizer.chat_template = tokenizer.chat_template.partition("{% if add_generation_prompt")[0]
    assert chat_shape.lacks_generation_prompt(*renderers)
    # Mistral's [/INST] opens the answer: nothing is missing.
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %}"
        " {{ m.content }}</s>{% endif %}{% endfor %}"
    )
    assert not chat_shape.lacks_generation_prompt(*renderers)
