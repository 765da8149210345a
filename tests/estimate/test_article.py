"""The article's rule of thumb compared with our own estimate."""

from __future__ import annotations

import pytest

from ftwizard.catalog.model_configs import find_config
from ftwizard.estimate import article
from ftwizard.estimate.article import RuleOfThumb
from ftwizard.hardware.machine import Gpu
from ftwizard.models.architectures import build_shape
from ftwizard.models.shapes import ModelShape
from ftwizard.plan import schema
from ftwizard.plan.schema import Method
from tests.helpers.machines import make_machine

CARD = Gpu(name="NVIDIA GeForce RTX 4090", memory=24 * 2**30)


def _shape(name: str) -> ModelShape:
    config = find_config(name)
    assert config is not None
    return build_shape(config.config, name)


def _compare(name: str, method: Method = "qlora", *gpus: Gpu) -> RuleOfThumb | None:
    chosen = schema.Plan(
        data=schema.Data(files=schema.Files(train="r.jsonl")), model=schema.Model(name=name),
        recipe=schema.Recipe(method=method),
    )  # fmt: skip
    facts = make_machine(*gpus)
    return article.compare_with_article(chosen, {}, _shape(name), facts)


@pytest.mark.parametrize("gpus", [(), (CARD,)])
@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [("meta-llama/Llama-3.1-8B", 16), ("meta-llama/Llama-3.1-70B", 48)],
)
def test_article_figure_is_compared_with_our_estimate(
    name: str, gigabytes: int, method: Method, gpus: tuple[Gpu, ...]
) -> None:
    text = _compare(name, method, *gpus)
    assert text is not None
    assert text.peak.value == gigabytes * 10**9
    assert text.peak.as_of == "2026-04"
    assert "4-bit weights with embeddings take" in text.why
    assert ("our estimate is" in text.why) == (method != "qlora" or not gpus)
    assert not text.parts or sum(part.value for part in text.parts.values()) == text.peak.value


def test_article_parts_for_8b_are_10_2_and_4_gb() -> None:
    text = _compare("meta-llama/Llama-3.1-8B")
    assert text and [part.value / 1e9 for part in text.parts.values()] == [10, 2, 4]


def test_article_gives_no_figure_for_other_sizes() -> None:
    assert _compare("meta-llama/Llama-3.2-1B") is None
