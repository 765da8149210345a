"""Fine-tuning jobs of the double: their states, events, metrics and checkpoints."""

from __future__ import annotations

import datetime
import hashlib
import math
import time
import uuid
from typing import Any

from tests.doubles.together_service.scenario import Scenario

ENDED = ("completed", "error", "user_error", "cancelled")
EPOCH = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)


class Job:
    """A job, which advances by looks at it or by time."""

    def __init__(
        self, request: dict[str, Any], scenario: Scenario, tokens: int, usd: float
    ) -> None:
        self.id = f"ft-{uuid.uuid4()}"
        self.request, self.scenario, self.tokens, self.usd = request, scenario, tokens, usd
        self.started = time.monotonic()
        self.created = datetime.datetime.now(datetime.UTC)
        self.looks = 0
        self.cancel_look: int | None = None
        self.forced: str | None = None
        """Status that a test set."""
        base = (request.get("model") or request.get("from_checkpoint") or "").rpartition("/")[2]
        suffix = f"-{request['suffix']}" if request.get("suffix") else ""
        self.output = f"acme/{base}{suffix}-{self.id[3:11]}"
        self.adapter_id = f"ml_{uuid.uuid4().hex[:12]}"
        self.model_id = f"ml_{uuid.uuid4().hex[:12]}"
        self.is_unfunded = usd > scenario.balance_usd

    @property
    def is_lora(self) -> bool:
        kind = self.request.get("training_type") or {"type": "Lora"}
        return bool(kind["type"] == "Lora")

    @property
    def end(self) -> str:
        return "error" if self.is_unfunded else self.scenario.end

    def look(self) -> None:
        """Let one look pass."""
        self.looks += 1

    @property
    def position(self) -> float:
        if self.scenario.advance == "time":
            return (time.monotonic() - self.started) / max(self.scenario.state_s, 1e-6)
        return float(self.looks)

    @property
    def status(self) -> str:
        if self.forced is not None:
            return self.forced
        if self.cancel_look is not None:
            passed = self.looks - self.cancel_look
            return "cancel_requested" if passed < self.scenario.cancel_polls else "cancelled"
        position = self.position
        if position < 2:
            return ("pending", "queued")[int(position)]
        position -= 2
        if self.end != "completed":
            share = self.scenario.running_states * self.scenario.fails_after
            return self.scenario.running_status if position < share else self.end
        if position < self.scenario.running_states:
            return self.scenario.running_status
        position -= self.scenario.running_states
        return "compressing" if position < 1 else "uploading" if position < 2 else "completed"

    @property
    def share_done(self) -> float:
        """Share of the training that is done."""
        if self.forced == "completed":
            return 1.0
        end_position = self.cancel_look if self.cancel_look is not None else self.position
        done = max(0.0, end_position - 2) / max(self.scenario.running_states, 1)
        limit = 1.0 if self.end == "completed" else self.scenario.fails_after
        return min(done, limit)

    @property
    def steps_done(self) -> int:
        return math.floor(self.scenario.steps * self.share_done)

    @property
    def total_price(self) -> int:
        """Billionths of a dollar, once it is tokenized; of a canceled job, for the steps it did."""
        if self.status in ("pending", "queued"):
            return 0
        share = self.share_done if self.status in ("cancelled", "error", "user_error") else 1.0
        return round(self.usd * share * 1e9)

    def cancel(self) -> None:
        self.cancel_look = self.looks

    def truncated(self) -> dict[str, Any]:
        """Return the job as the service sends it after creation and in lists."""
        names = (
            "training_file", "validation_file", "model", "from_checkpoint", "n_epochs", "n_evals",
            "n_checkpoints", "learning_rate", "training_type", "training_method", "packing",
            "warmup_ratio", "weight_decay", "max_grad_norm", "random_seed", "wandb_project_name",
        )  # fmt: skip
        record = {name: self.request[name] for name in names if name in self.request}
        record |= {
            "id": self.id, "status": self.status, "user_id": "user_1", "batch_size": 32,
            "created_at": _format(self.created), "updated_at": _format(self._updated()),
            "token_count": 0 if self.status in ("pending", "queued") else self.tokens,
            "total_price": self.total_price, "events": [],
        }  # fmt: skip
        if self.scenario.has_suffix:
            record |= {"suffix": self.request.get("suffix"), "model_output_name": self.output}
        return record

    def whole(self) -> dict[str, Any]:
        """Return the job as the service sends it alone."""
        record = self.truncated() | {"model_output_name": self.output}
        record["job_id"] = self.id
        record["progress"] = {
            "estimate_available": self.status == "running",
            "seconds_remaining": 60,
        }
        if self.status == "completed" and self.is_lora:
            record |= {
                "adapter_object_id": self.adapter_id,
                "adapter_object_name": f"{self.output}-adapter",
            }
        if self.status == "completed" and (not self.is_lora or self.scenario.merges_lora):
            record |= {"model_object_id": self.model_id, "model_object_name": self.output}
        return record

    def _updated(self) -> datetime.datetime:
        return self.created + datetime.timedelta(seconds=self.looks)

    def events(self) -> list[dict[str, Any]]:
        """Return the events so far, oldest first."""
        order = ["pending", "queued", "running", "compressing", "uploading", "completed"]
        status = self.status
        reached = order.index(status) if status in order else 2
        events = [self._event(0, "job_pending", "Fine tune request created")]
        if reached >= 2 or status in ENDED:
            events.append(self._event(1, "job_start", "Job started"))
            events.append(self._event(2, "model_download_complete", "Model data downloaded"))
            events.append(
                self._event(
                    3, "training_start", "Training started", total_steps=self.scenario.steps
                )
            )
        events += [
            self._event(4 + index, **event)
            for index, event in enumerate(self.scenario.extra_events)
        ]
        steps = self.scenario.steps
        for epoch in range(1, self.request["n_epochs"] + 1):
            step = steps * epoch // self.request["n_epochs"]
            if step <= self.steps_done:
                events.append(
                    self._event(
                        10 + step, "epoch_complete", f"Epoch completed, at step {step}", step=step
                    )
                )
        events += [
            self._event(10 + step, "checkpoint_save", f"Checkpoint saved at step {step}", step=step)
            for step in self._checkpoint_steps()
        ]
        after = 20 + steps
        if reached >= 3:
            events.append(self._event(after, "training_complete", "Training completed"))
            events.append(self._event(after + 1, "model_compressing", "Compressing the model"))
        if reached >= 5:
            events.append(self._event(after + 2, "model_upload_complete", "Model uploaded"))
            events.append(self._event(after + 3, "job_complete", "Job finished"))
        if status in ("error", "user_error"):
            kind = "billing_limit" if self.is_unfunded else self.scenario.error_type
            message = (
                "The job was stopped: the account has insufficient funds."
                if self.is_unfunded
                else self.scenario.error_message
            )
            events.append(self._event(after, kind, message, level="error"))
        if status in ("cancel_requested", "cancelled"):
            events.append(
                self._event(after, "cancel_requested", "Cancellation requested", level="warning")
            )
        if status == "cancelled":
            events.append(self._event(after + 1, "job_stopped", "Job stopped", level="warning"))
        return events

    def _event(
        self, second: float, type: str, message: str, level: str = "info", **fields: Any
    ) -> dict[str, Any]:
        created = self.created + datetime.timedelta(seconds=second)
        digest = hashlib.sha256(f"{self.id}{type}{message}{second}".encode()).hexdigest()
        event = {
            "object": "fine-tune-event", "created_at": _format(created), "message": message, "type": type,
            "level": level, "param_count": 0, "token_count": 0, "total_steps": 0, "step": 0,
            "wandb_url": "", "checkpoint_path": "", "model_path": "", "training_offset": 0, "hash": digest,
        }  # fmt: skip
        return event | fields

    def metrics(self) -> list[dict[str, Any]]:
        """Return the metrics so far: each step's, and those of the evaluations."""
        scenario, rows = self.scenario, []
        evals = self._eval_steps()
        peak = self.request["learning_rate"]
        for step in range(1, self.steps_done + 1):
            share = step / scenario.steps
            loss = (
                scenario.losses[step - 1] if step <= len(scenario.losses) else 0.5 + 1.5 * 0.9**step
            )
            row = {
                "train/global_step": step, "train/loss": loss, "train/grad_norm": 0.7,
                "train/learning_rate": peak * (1 + math.cos(math.pi * share)) / 2,
                "train/epoch": share * self.request["n_epochs"],
            }  # fmt: skip
            rows.append(row)
            for number in [index for index, at in enumerate(evals) if at == step]:
                listed = scenario.eval_losses
                loss = listed[number] if number < len(listed) else 0.6 + 1.4 * 0.9**step
                rows.append({"train/global_step": step, "eval/loss": loss})
        return rows

    def _eval_steps(self) -> list[int]:
        count = self.request.get("n_evals") or 0
        return [self.scenario.steps * (index + 1) // count for index in range(count)]

    def _checkpoint_steps(self) -> list[int]:
        count = max(1, self.request.get("n_checkpoints") or 1)
        steps = [self.scenario.steps * (index + 1) // count for index in range(count)]
        return [step for step in steps if step <= self.steps_done]

    def checkpoints(self) -> list[dict[str, Any]]:
        """Return the checkpoints: of a LoRA job, adapter and merged model of a step."""
        kinds = [("adapter", "Intermediate Adapter")] if self.is_lora else []
        if not self.is_lora or self.scenario.merges_lora:
            kinds.insert(0, ("model", "Intermediate Merged"))
        return [
            {
                "step": step, "created_at": _format(self.created), "checkpoint": kind,
                "path": f"s3://together-checkpoints/{self.id}/{step}/{kind}",
                "checkpoint_type": f"{label} (step {step})",
            }
            for step in reversed(self._checkpoint_steps())
            for kind, label in kinds
        ]  # fmt: skip


def _format(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
