"""The certificate of a resumed attempt: what continues exactly as it was saved, and what does not."""

from __future__ import annotations

import msgspec

from ftwizard.jobs.folder import JobFolder, read_json
from ftwizard.text import format_count


class ResumeCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """``certificates/<attempt>.json``, written once the first step was trained."""

    attempt: int
    step: int
    """The step of the checkpoint."""
    ranks: int = 1
    """Processes that train."""
    ranks_before: int | None = None
    """Processes that saved the checkpoint; None if unknown."""
    adapter: str | None = None
    """Hash of the adapter's weights in every process, which is that of the checkpoint's file; None for
    a full fine-tune."""
    restored: tuple[str, ...] = ()
    not_restored: dict[str, str] = {}
    """What was not, with the reason."""
    loss_before: float | None = None
    """Mean of the last losses logged before the checkpoint."""
    loss_noise: float | None = None
    """Their standard deviation."""
    loss_first: float | None = None
    """The first loss logged after it."""


def read(folder: JobFolder, attempt: int) -> ResumeCertificate | None:
    """Return the certificate of an attempt; None if it has none."""
    return read_json(folder.certificates / f"{attempt}.json", ResumeCertificate)


def describe(certificate: ResumeCertificate) -> str:
    """Return what a resumed attempt continues with, in one line."""
    parts = [f"at step {certificate.step:,}"]
    if certificate.adapter:
        where = f" in all {certificate.ranks} processes" if certificate.ranks > 1 else ""
        parts.append(f"adapter as saved{where}")
    if certificate.ranks_before and certificate.ranks_before != certificate.ranks:
        before = format_count(certificate.ranks_before, "process", "processes")
        parts.append(f"moved from {before} to {certificate.ranks}")
    if certificate.loss_first is not None and certificate.loss_before is not None:
        parts.append(f"loss {certificate.loss_first:.4g} after {certificate.loss_before:.4g}")
    if certificate.not_restored:
        parts.append(f"not restored: {', '.join(certificate.not_restored)}")
    return "; ".join(parts)
