"""Near-duplicates among 100,000 rows of 2.4 kB: rows per second of CPU, recall, false hits, memory.

1 % of the rows are repeated with 3 % of their words changed. Limits: 20 s of CPU for 100,000 rows,
99 % of the copies found, no distinct rows reported, 150 MB. If datasketch is installed
(``pip install datasketch``), it is measured on a tenth of the rows.
"""

from __future__ import annotations

import importlib.util
import json
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROWS = 100_000
MEDIAN_WORDS = 260
CHANGED_SHARE = 0.03
LIMIT_CPU_S = 20.0
LIMIT_RECALL = 0.99
LIMIT_BYTES = 150e6
Groups = list[list[int]]


def write(path: Path, rows: int) -> list[tuple[int, int]]:
    """Write rows, then the changed copies, one per line; return the line numbers of each pair."""
    rng = random.Random(7)
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["".join(rng.choices(letters, k=rng.randint(2, 10))) for _ in range(30_000)]
    chosen = set(rng.sample(range(rows), rows // 100))
    copies: list[tuple[int, list[str]]] = []
    with path.open("w") as file:
        for line in range(rows):
            length = max(20, round(rng.lognormvariate(math.log(MEDIAN_WORDS), 0.8)))
            # Half of the words are among the hundred most frequent, as in natural text.
            words = [
                vocabulary[int(100 ** rng.random()) - 1 if rng.random() < 0.5 else rng.randrange(30_000)]
                for _ in range(length)
            ]  # fmt: skip
            file.write(" ".join(words) + "\n")
            if line in chosen:
                copies.append((line, words))
        for _, words in copies:
            for index in rng.sample(range(len(words)), max(1, round(CHANGED_SHARE * len(words)))):
                words[index] = rng.choice(vocabulary)
            file.write(" ".join(words) + "\n")
    return [(line, rows + number) for number, (line, _) in enumerate(copies)]


def lines(path: Path) -> Iterator[str]:
    with path.open() as file:
        yield from file


def ours(path: Path) -> Groups:
    from ftwizard.data.dedup.near_duplicates import NearIndex

    offsets = [0]
    with path.open("rb") as file:

        def text_of(line: int) -> str:
            file.seek(offsets[line])
            return file.readline().decode()

        index = NearIndex(text_of)
        for line, text in enumerate(lines(path)):
            offsets.append(offsets[-1] + len(text))
            index.add(line, text)
        return index.groups()


def datasketch(path: Path) -> Groups:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=0.7, num_perm=128)
    recorded: Groups = []
    for line, text in enumerate(lines(path)):
        words = text.lower().split()
        row = MinHash(num_perm=128)
        row.update_batch([" ".join(words[at : at + 3]).encode() for at in range(len(words) - 2)])
        recorded += [sorted((other, line)) for other in index.query(row)]
        index.insert(line, row)
    return recorded


TOOLS: dict[str, Callable[[Path], Groups]] = {"ours": ours, "datasketch": datasketch}


def measure(tool: str, path: Path) -> tuple[float, float, Groups]:
    """Run a tool in its own process; return its seconds of CPU, peak bytes and groups."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.near_duplicates", tool, str(path)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    document = json.loads(done.stdout)
    return document["cpu_s"], document["bytes"], document["groups"]


def child(tool: str, path: Path) -> None:
    began = time.process_time()
    groups = TOOLS[tool](path)
    used = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"cpu_s": used, "bytes": peak, "groups": groups}))


def report(name: str, rows: int, planted: list[tuple[int, int]], tool: str, path: Path) -> float:
    """Print the result of a tool, and return its rows per second of CPU."""
    used, peak, groups = measure(tool, path)
    wanted = set(planted)
    result = {(group[0], other) for group in groups for other in group[1:]}
    recall, false = len(wanted & result) / len(wanted), len(result - wanted)
    rate = (rows + len(planted)) / used
    print(
        f"{name:<28} {used:6.1f} s CPU  {rate:7,.0f} rows/CPU-s  recall {recall:.4f}  "
        f"false hits {false}  peak {peak / 1e6:.0f} MB"
    )
    if rows == ROWS:
        print(
            f"{'':<28} {used / LIMIT_CPU_S:.0%} of the CPU limit, {peak / LIMIT_BYTES:.0%} of the "
            f"memory limit, recall {'within' if recall >= LIMIT_RECALL else 'BELOW'} its limit"
        )
    return rate


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.txt"
        report(f"ours, {ROWS:,} rows", ROWS, write(path, ROWS), "ours", path)
        few = ROWS // 10
        planted = write(path, few)
        rate = report(f"ours, {few:,} rows", few, planted, "ours", path)
        if importlib.util.find_spec("datasketch") is None:
            print("datasketch is not installed: no comparison")
            return
        peer = report(f"datasketch, {few:,} rows", few, planted, "datasketch", path)
        print(f"ratio to datasketch: {rate / peer:.1f}")


if __name__ == "__main__":
    child(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) > 1 else main()
