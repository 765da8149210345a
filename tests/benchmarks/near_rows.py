"""Training rows near to flips: CPU time for 100,000 rows / that of splitting the same rows into words.

Limit: 4 times, with 300 flips. All rows and flips share a template, as real ones do.
"""

from __future__ import annotations

import random
import re
import sys
import time

from ftwizard.evaluate.near_rows import find_near_rows

ROWS, WORDS, FLIPS = 100_000, 200, 300
TEMPLATE = "You are the assistant of a shop; classify this ticket by its intent and answer in JSON:"
LIMIT = 4.0


def measure() -> float:
    draw = random.Random(0)
    words = [f"w{number}" for number in range(20_000)]
    texts = [f"{TEMPLATE} {' '.join(draw.choices(words, k=WORDS))}" for _ in range(ROWS)]
    queries = [texts[draw.randrange(ROWS)][:400] for _ in range(FLIPS)]
    began = time.process_time()
    for text in texts:
        re.findall(r"\w+", text.casefold())
    split = time.process_time() - began
    began = time.process_time()
    near = find_near_rows(queries, [(line, "", text) for line, text in enumerate(texts)])
    search_s = time.process_time() - began
    if not all(rows and rows[0].share > 0.8 for rows in near):
        sys.exit("A flip's own row was not its nearest.")
    print(f"{search_s:.1f} s / {split:.1f} s = {search_s / split:.1f} for {ROWS:,} rows")
    return search_s / split


if __name__ == "__main__":
    sys.exit(measure() > LIMIT)
