"""The check of a resumed training: every process has the saved weights, and the loss continues."""

from __future__ import annotations

import contextlib
import math
import statistics
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import write_json
from ftwizard.jobs.worker import Worker
from ftwizard.runs.certificate import ResumeCertificate
from ftwizard.train import sharding
from ftwizard.train.initial_weights import ADAPTER
from ftwizard.train.moments import Moment, with_moment
from ftwizard.train.rank_group import RankGroup

COMPARED_LOSSES = 10
"""Losses before the checkpoint that the first one after it is compared with."""
MAX_DEVIATIONS = 6.0
MAX_RISE = 0.5
"""The first loss is reported if it is further from their mean than both: in standard deviations, and
as a share of the mean."""


class ResumeCheck(TrainerCallback):
    """Writes the certificate of a resumed attempt; raises FtwizardError for other weights."""

    def __init__(self, worker: Worker, checkpoint: Path, group: RankGroup) -> None:
        self._worker = worker
        self._checkpoint = checkpoint
        self._group = group
        self._certificate: ResumeCertificate | None = None
        self._trainer: Any = None

    def attach(self, trainer: Any) -> None:
        """Set the trainer whose weights are compared."""
        self._trainer = trainer

    @with_moment
    def on_train_begin(self, moment: Moment) -> None:
        saved = loaded = None
        if (self._checkpoint / ADAPTER[0]).exists():
            saved, loaded = _hash_file(self._checkpoint), _hash_adapter(self._trainer)
        hashes = self._group.gather((saved, loaded))
        for rank, (in_file, in_memory) in enumerate(hashes):
            if len({in_file, in_memory, hashes[0][1]}) != 1:
                raise FtwizardError(
                    f"Rank {rank} did not load the adapter of {self._checkpoint.name}: its weights "
                    "differ from the file's or from rank 0's.",
                    "Resume again. If it happens again, please report it: this is a bug.",
                )
        losses = [entry["loss"] for entry in moment.state.log_history if "loss" in entry]
        losses = [loss for loss in losses[-COMPARED_LOSSES:] if math.isfinite(loss)]
        before, restored, missing = _list_parts(self._checkpoint, self._group.size)
        # GRPO keeps the answers of a step in memory, for as many steps as train on them.
        if moment.step % getattr(self._trainer, "num_iterations", 1):
            missing["answers"] = "no checkpoint has those of the steps before, so they are new"
        self._certificate = ResumeCertificate(
            attempt=self._worker.attempt,
            step=moment.step,
            ranks=self._group.size,
            ranks_before=before,
            adapter=loaded,
            restored=restored,
            not_restored=missing,
            loss_before=statistics.fmean(losses) if losses else None,
            loss_noise=statistics.stdev(losses) if len(losses) > 2 else None,
        )

    @with_moment
    def on_log(self, moment: Moment) -> None:
        certificate, loss = self._certificate, moment.logs.get("loss")
        if certificate is None or loss is None:
            return
        self._certificate = None
        if not self._group.is_first:
            return
        folder = self._worker.folder.certificates
        shown = loss if math.isfinite(loss) else None
        with contextlib.suppress(OSError):  # the disk is reported when weights are saved
            folder.mkdir(mode=0o700, exist_ok=True)
            # A resumed training is only as good as what it continues with, so this is kept.
            record = _with_loss(certificate, shown)
            write_json(folder / f"{certificate.attempt}.json", record)
        self._report(certificate, float(loss), moment.step)

    def _report(self, certificate: ResumeCertificate, loss: float, step: int) -> None:
        before, noise = certificate.loss_before, certificate.loss_noise
        if certificate.not_restored:
            reasons = "; ".join(f"{part}: {why}" for part, why in certificate.not_restored.items())
            self._worker.events.write_finding(
                "not_restored", f"Not restored: {reasons}.", step=step
            )
        if before is None or noise is None or not math.isfinite(loss):
            return
        if loss - before > max(MAX_DEVIATIONS * noise, MAX_RISE * abs(before)):
            self._worker.events.write_finding(
                "resumed_loss",
                f"The first loss after resuming is {loss:.4g}, but the last ones before were "
                f"{before:.4g} on average.",
                "warning",
                step=step,
                action="Stop and compare: the weights or the rows may not be those of before.",
                actions=["go_on", "stop"],
                evidence={"before": before, "noise": noise, "first": loss},
            )


def _with_loss(certificate: ResumeCertificate, loss: float | None) -> ResumeCertificate:
    import msgspec

    return msgspec.structs.replace(certificate, loss_first=loss)


def _list_parts(checkpoint: Path, ranks: int) -> tuple[int | None, tuple[str, ...], dict[str, str]]:
    """Return how many processes saved a checkpoint, and what they left and did not."""
    states = len(list(checkpoint.glob("rng_state_*.pth")))
    before = states or (1 if (checkpoint / "rng_state.pth").exists() else None)
    restored, missing = ["weights"], {}
    if (checkpoint / "optimizer.pt").exists() and (checkpoint / "scheduler.pt").exists():
        restored += ["optimizer", "learning rate"]
    else:
        missing["optimizer"] = "the checkpoint has none, so it begins anew"
    if before == ranks:
        restored.append("random state")
    elif before is None:
        missing["random state"] = "the checkpoint has none, so random choices differ"
    else:
        missing["random state"] = (
            f"saved by {before}, now {ranks} processes, so random choices differ"
        )
    return before, tuple(restored), missing


def _hash_file(checkpoint: Path) -> str:
    from safetensors.torch import load_file

    return _hash_tensors(load_file(checkpoint / ADAPTER[0]))


def _hash_adapter(trainer: Any) -> str:
    from peft import get_peft_model_state_dict

    model = trainer.accelerator.unwrap_model(trainer.model)
    return _hash_tensors(sharding.gather(get_peft_model_state_dict(model)))


def _hash_tensors(tensors: dict[str, Any]) -> str:
    """Return a hash of tensors by name, in 32 bit: files may be of another precision."""
    import torch
    import xxhash

    digest = xxhash.xxh3_128()
    for name in sorted(tensors):
        digest.update(name.encode())
        values = tensors[name].detach().to(device="cpu", dtype=torch.float32).contiguous()
        digest.update(values.numpy())
    return digest.hexdigest()
