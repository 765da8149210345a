"""A run as the first form of the folder had it: what ``train`` wrote before there was QLoRA, a
template's hash or ``trained.json``."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ftwizard import models
from ftwizard.jobs.folder import JobFolder

FILES = Path(__file__).parent / "data" / "first_form"


def text(name: str, root: Path, run: Path) -> str:
    """Return a file of the run; its rows and its model are those in ``root``."""
    train = hashlib.sha256((root / "rows.jsonl").read_bytes()).hexdigest()
    model = models.locate(str(root / "model")).fingerprint
    found = (FILES / name).read_text()
    marks = {"ROOT": str(root), "RUN": str(run), "TRAIN": train, "MODEL": model}
    for mark, value in marks.items():
        found = found.replace(f"@{mark}@", value)
    return found


def lay(root: Path, run: Path) -> JobFolder:
    """Lay the whole run down, with a checkpoint that is complete and empty: all of 10 bytes."""
    for file in FILES.rglob("*"):
        if file.is_file():
            name = str(file.relative_to(FILES))
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_text(text(name, root, run))
    checkpoint = run / "checkpoints" / "checkpoint-22"
    (checkpoint / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth",
                 "trainer_state.json", "training_args.bin", "README.md", "adapter_config.json",
                 "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):  # fmt: skip
        (checkpoint / name).write_bytes(b"0" * 10)
    (run / "requests").mkdir()
    return JobFolder(run)
