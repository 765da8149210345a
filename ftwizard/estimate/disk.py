"""Room on the disk: what a run keeps, part by part."""

from __future__ import annotations

from ftwizard.figure import Figure

TOKENIZER_BYTES = 4_000_000
"""A tokenizer beside each set of weights (SmolLM2: 3.5 MB; vocabularies of 150,000: 11 MB)."""
CHECKPOINTS = 3
"""The best and the newest are kept, and a third is there while it is written."""
ADAM_BYTES = 12
"""Of each trained parameter in a checkpoint: weight and two AdamW moments in 32 bit.
Measured: 63 MB for the 4.9 million of SmolLM2-135M at rank 16."""
HALF_BYTES = 2
"""Of each parameter of a model saved in 16 bit."""


def parts(
    *, trained: int, parameters: int, adapter: bool, merges: bool, download: int | None = 0
) -> dict[str, Figure]:
    """Return bytes by part: ``download``, ``checkpoints``, ``adapter``, ``merged``.

    ``trained`` and ``parameters`` count the trained and all parameters of the model; ``download``
    is what of it is still to be fetched, in bytes, None where that is not known.
    """

    def figure(value: float, source: str) -> Figure:
        return Figure(value=value, unit="bytes", source=source)

    found: dict[str, Figure] = {}
    if download is None:
        found["download"] = figure(
            parameters * HALF_BYTES, f"{HALF_BYTES} bytes a parameter, as its size is not known"
        )
    elif download:
        found["download"] = figure(download, "files on the Hub that are not in the cache")
    one = trained * ADAM_BYTES + TOKENIZER_BYTES
    found["checkpoints"] = figure(
        CHECKPOINTS * one, f"{CHECKPOINTS} × ({ADAM_BYTES} bytes a trained parameter)"
    )
    if adapter:
        found["adapter"] = figure(trained * 4 + TOKENIZER_BYTES, "4 bytes a trained parameter")
    if merges or not adapter:
        found["merged"] = figure(
            parameters * HALF_BYTES + TOKENIZER_BYTES, f"{HALF_BYTES} bytes a parameter"
        )
    return found
