"""Speed of counting the tokens of chat rows, compared with tiktoken and Hugging Face tokenizers.

All count the same texts, without parsing: tiktoken and quicktok with the same vocabulary
(o200k_base), tokenizers with that of SmolLM2, which is smaller. Then whole rows are counted as in a
report. The last line is the share of 400 samples of 2,000 rows whose interval holds the true total.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from ftwizard.data import platforms
from ftwizard.data.example import Example
from ftwizard.data.tokens import stats, tokenizers
from ftwizard.models import hub
from tests.helpers.models import SMOLLM2
from tests.helpers.tokens import multilingual, tiktoken_encoding

ROWS = 20_000
SAMPLES = 400
DRAWN = 2_000


def rate(size: int, do: Callable[[], Any]) -> float:
    """Return MB of UTF-8 per second of CPU, the best of three."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        do()
        best = min(best, time.process_time() - began)
    return size / best / 1e6


def peer() -> Callable[[list[str]], Any]:
    from tokenizers import Tokenizer

    folder = hub.fetch(hub.locate(SMOLLM2), lambda *_, **__: None)
    tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda texts: [len(tokenizer.encode(text).ids) for text in texts]


def main() -> None:
    rows = [multilingual(random.Random(seed)) for seed in range(ROWS)]
    texts = [str(m["content"]) for row in rows for m in row.messages]
    sizes = [sum(len(str(m["content"]).encode()) for m in row.messages) for row in rows]
    size = sum(sizes)
    target = platforms.get_target("openai-sft")
    encoding = tokenizers.choose_encoding(target)
    tally = stats.TokenCounter(target, encoding)
    count, oracle, other = (
        tokenizers.make_counter(encoding),
        tiktoken_encoding("o200k_base"),
        peer(),
    )
    print(f"{ROWS:,} rows, {size / 1e6:.1f} MB of text")
    small = texts[: len(texts) // 8]
    speeds = {
        "quicktok count": rate(size, lambda: [count(text) for text in texts]),
        "tiktoken encode_ordinary": rate(size, lambda: [oracle.encode_ordinary(t) for t in texts]),
        "HF tokenizers": rate(sum(len(t.encode()) for t in small), lambda: other(small)),
        "rows (TokenCounter)": rate(size, lambda: [tally.add(0, row) for row in rows]),
    }
    for name, speed in speeds.items():
        print(
            f"{name:<26} {speed:6.1f} MB/CPU-s = {speed / speeds['tiktoken encode_ordinary']:.1f}x"
        )
    coverage(rows, sizes)


def coverage(rows: list[Example], sizes: list[int]) -> None:
    target = platforms.get_target("openai-sft")
    tally = stats.TokenCounter(target, tokenizers.choose_encoding(target))
    pairs = [
        (size, tally.add(line, row)[0])
        for line, (row, size) in enumerate(zip(rows, sizes, strict=True), 1)
    ]
    truth, whole = sum(t for _, t in pairs), sum(sizes)
    hits, width = 0, 0.0
    for seed in range(SAMPLES):
        drawn = random.Random(seed).sample(pairs, DRAWN)
        item = stats.sample_estimate(drawn, whole, len(pairs))
        hits += item.low <= truth <= item.high
        width += (item.high - item.low) / 2 / truth
    print(
        f"{DRAWN:,} of {ROWS:,} rows: ± {width / SAMPLES:.2%}, "
        f"the interval holds the true total in {hits / SAMPLES:.1%} of {SAMPLES} samples"
    )


if __name__ == "__main__":
    main()
