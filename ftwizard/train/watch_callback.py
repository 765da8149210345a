"""A callback that records the training of a person's own script as a run.

``trainer = SFTTrainer(..., callbacks=[WatchCallback()])`` and nothing else. It never raises into
the training: what fails here is reported once, and training continues unrecorded.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from enum import IntFlag
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

import msgspec
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftwizard import __version__, locations
from ftwizard.diagnosis import Curve
from ftwizard.errors import FtwizardError
from ftwizard.jobs import launch
from ftwizard.jobs.ending import classify_error
from ftwizard.jobs.folder import JobFolder, JobRecord, check_id
from ftwizard.jobs.self_kept import SelfKeptJob
from ftwizard.jobs.status import observe
from ftwizard.runs import store, watched
from ftwizard.runs.summary import SummaryWriter
from ftwizard.runs.watched import Script
from ftwizard.text import make_visible
from ftwizard.train.diagnosis_callback import DiagnosisCallback
from ftwizard.train.moments import Moment
from ftwizard.train.rank_channel import RankChannel, count_ranks, open_channel

PROGRESS_INTERVAL_S = 1.0
MAX_FIELDS = 48
"""Logged values of a step that are recorded."""
OBJECTIVES = {"GRPOConfig": "grpo", "DPOConfig": "dpo", "KTOConfig": "kto", "SFTConfig": "sft"}
"""Objectives by the class of the trainer's arguments, as TRL names it."""
_SUMMARY = frozenset(("total_flos", "epoch", "step", "num_tokens"))
"""Logged values that are recorded under another name, or not at all."""
_SPEEDS = ("_samples_per_second", "_steps_per_second", "_model_preparation_time")


class Signal(IntFlag):
    """What all ranks do at the end of a step."""

    STOP = 1
    """Save, then stop."""
    SAVE = 2
    EVALUATE = 4
    ABORT = 8
    """Stop without saving: the weights are broken."""


def _guarded(handle: Callable[[WatchCallback, Moment], None]) -> Callable[..., TrainerControl]:
    """Let a method take a ``Moment``; a failure ends the recording, never the training."""

    @functools.wraps(handle)
    def call(
        self: WatchCallback, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        **values: Any,
    ) -> TrainerControl:  # fmt: skip
        try:
            handle(self, Moment(args, state, control, values))
        except Exception as error:  # noqa: BLE001 (reported once; the training continues)
            self.give_up(error)
        return control

    return call


class WatchCallback(TrainerCallback):
    """Records a training as a run: monitor, diagnosis, stop key and history of ftwizard.

    Add it in all processes of a distributed training; the first one writes.
    """

    def __init__(self, name: str | None = None, *, stop_on_nan: bool = False) -> None:
        """Set up the callback.

        ``name``: of the run; by default from the trainer's ``output_dir`` and the time.
        ``stop_on_nan``: stop, without saving, once the training loss is NaN or infinite; by default,
        the diagnosis only warns.
        """
        self._name = name
        self._stop_on_nan = stop_on_nan
        self._recording: _Recording | None = None
        self._channel: RankChannel | None = None
        self._ranks = 1
        self._has_failed = False

    @_guarded
    def on_train_begin(self, moment: Moment) -> None:
        self._close_former()
        self._has_failed = False
        self._ranks = count_ranks()
        if self._ranks > 1:
            self._open_channel()
        if moment.state.is_world_process_zero:
            self._recording = _Recording(moment, self._name, self._ranks, self._stop_on_nan)
            run = self._recording.job.folder.id
            _report(f"recording this training as run {run}. Watch it: ftwizard watch {run}")

    def _open_channel(self) -> None:
        try:
            self._channel = open_channel()
        except Exception as error:  # noqa: BLE001 (the training is recorded without it)
            _report(f"stopping from outside will not work: {error}")

    def _close_former(self) -> None:
        """End the recording of a training that was left by an exception, as in a notebook."""
        if self._recording is not None:
            self._recording.end_by_error(None)
            self._recording = None
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    @_guarded
    def on_step_begin(self, moment: Moment) -> None:
        if self._recording:
            self._recording.begin_step()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **values: Any
    ) -> TrainerControl:
        """Do what a viewer asked for, in all ranks at the same step."""
        moment = Moment(args, state, control, values)
        signals = self._choose_signals(moment)
        if self._channel is not None:
            try:
                signals = Signal(self._channel.broadcast(signals))
            except Exception as error:  # noqa: BLE001 (a rank that died ends the training by itself)
                self._channel, signals = None, Signal(0)
                _report(f"stopping from outside no longer works: {error}")
        if signals & Signal.STOP:
            control.should_save = control.should_training_stop = True
        if signals & Signal.SAVE:
            control.should_save = True
        if signals & Signal.EVALUATE:
            control.should_evaluate = True
        if signals & Signal.ABORT:
            control.should_save = control.should_evaluate = False
            control.should_training_stop = True
        return control

    def _choose_signals(self, moment: Moment) -> Signal:
        try:
            if self._recording is not None:
                can_signal = self._ranks == 1 or self._channel is not None
                return self._recording.end_step(moment, can_signal=can_signal)
        except Exception as error:  # noqa: BLE001 (the training continues)
            self.give_up(error)
        return Signal(0)

    @_guarded
    def on_log(self, moment: Moment) -> None:
        if self._recording:
            self._recording.log(moment)

    @_guarded
    def on_prediction_step(self, moment: Moment) -> None:
        if self._recording:
            self._recording.report_evaluating(moment)

    @_guarded
    def on_evaluate(self, moment: Moment) -> None:
        if self._recording:
            self._recording.evaluate(moment)

    @_guarded
    def on_save(self, moment: Moment) -> None:
        if self._recording:
            self._recording.save(moment)

    @_guarded
    def on_train_end(self, moment: Moment) -> None:
        recording, self._recording = self._recording, None
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        if recording:
            recording.end(moment)

    def give_up(self, error: Exception) -> None:
        """Report once why the training is not recorded (any more)."""
        recording, self._recording = self._recording, None
        if not self._has_failed:
            self._has_failed = True
            _report(f"this training is not recorded from here on: {_describe(error)}")
        if recording is not None:
            with contextlib.suppress(Exception):  # it was reported above
                recording.end_unrecorded(error)


class _Recording:
    """One training, as its first rank writes it to a run's folder."""

    def __init__(self, moment: Moment, name: str | None, ranks: int, stop_on_nan: bool) -> None:
        trainer, self._loop = _find_trainer()
        self._thread_id = threading.get_ident()
        self._absences = 0
        self._last_error = id(_get_last_error())  # a reference would keep its frames in memory
        self._pid = os.getpid()
        script = _describe_script(moment, trainer, ranks)
        self.job = SelfKeptJob(_open_folder(script, name, moment.step), self._look)
        _open_recordings.add(self)
        _install_hooks()
        self._output = Path(script.output_dir)
        self._stop_on_nan = stop_on_nan
        self._is_broken = False
        self._was_asked_to_stop = False
        self._began = self._saving_since = time.monotonic()
        self._last_progress = 0.0
        self._evaluated_batches = 0
        self._set_losses: dict[str, float] = {}
        self._eval_losses: dict[int, float] = {}
        """The newest validation loss, by its step."""
        self._summary = SummaryWriter(self.job.folder)
        objective = _get_objective(moment.args)
        facts = {"objective": objective} if objective else {}
        self._diagnosis = _Diagnosis(self.job, facts, self._output)
        self._diagnosis.begin(moment)
        self.job.events.write(
            "phase",
            phase="training",
            step=moment.step,
            total=moment.state.max_steps,
            unit="steps",
            vocabulary=_get_vocabulary(moment),
            accumulation=moment.args.gradient_accumulation_steps,
            **facts,
        )

    def begin_step(self) -> None:
        self._began = time.monotonic()
        self._write_mean_of_sets()

    def end_step(self, moment: Moment, *, can_signal: bool) -> Signal:
        """Return what viewers asked for; ``can_signal``: whether all ranks would do it."""
        self.job.pace.expect("step", time.monotonic() - self._began)
        self._saving_since = time.monotonic()
        if not can_signal:
            self._refuse_requests(moment)
            return Signal(0)
        signals = Signal(0)
        if self.job.is_asked("stop"):
            self._was_asked_to_stop = True
            signals |= Signal.STOP
        if self.job.take_request("save"):
            signals |= Signal.SAVE
        if self.job.take_request("evaluate"):
            if moment.validates:
                signals |= Signal.EVALUATE
            else:
                self.job.events.write_finding(
                    "nothing_to_evaluate",
                    "An evaluation was requested, but this trainer has eval_strategy “no”.",
                    step=moment.step,
                )
        if self._is_broken and self._stop_on_nan:
            signals = Signal.ABORT
        return signals

    def _refuse_requests(self, moment: Moment) -> None:
        for name in ("stop", "save", "evaluate"):
            if self.job.take_request(name):
                self.job.events.write_finding(
                    "cannot_signal",
                    f"“{name}” was requested, but not all processes of this training have "
                    "WatchCallback: those without it would wait forever.",
                    "warning",
                    step=moment.step,
                    action="Add WatchCallback in all processes, not only in the first one.",
                )

    def log(self, moment: Moment) -> None:
        logs = moment.logs
        if "loss" not in logs:
            return  # evaluations come by on_evaluate; the rest is the final summary
        fields = _pick_numbers(logs)
        if (tokens := _to_float(logs.get("num_tokens"))) is not None:
            fields["tokens"] = tokens
        memory, on_gpu = _measure_memory()
        self.job.events.write(
            "log",
            step=moment.step,
            epoch=moment.state.epoch,
            memory=memory,
            memory_on_gpu=on_gpu,
            **fields,
        )
        self._is_broken = not math.isfinite(fields.get("loss", 0.0))
        self._diagnosis.on_log(moment.args, moment.state, moment.control, **moment.values)

    def report_evaluating(self, moment: Moment) -> None:
        self._evaluated_batches += 1
        now = time.monotonic()
        if now - self._last_progress < PROGRESS_INTERVAL_S:
            return
        self._last_progress = now
        loader = moment.values.get("eval_dataloader")
        self.job.events.write(
            "phase",
            phase="evaluating",
            done=self._evaluated_batches,
            total=_count(loader),
            unit="batches",
        )

    def evaluate(self, moment: Moment) -> None:
        self._evaluated_batches = 0
        fields = _pick_numbers(moment.metrics)
        if (seconds := fields.get("eval_runtime")) is not None:
            self.job.pace.expect("evaluation", seconds)
        loss = fields.get("eval_loss")
        if loss is not None and math.isfinite(loss):
            self._eval_losses = {moment.step: loss}
        self.job.events.write("eval", step=moment.step, epoch=moment.state.epoch, **fields)
        self._set_losses |= {
            name: value for name, value in fields.items()
            if loss is None and name.startswith("eval_") and name.endswith("_loss")
        }  # fmt: skip
        self._evaluated_at = moment.step
        self._saving_since = time.monotonic()
        self._diagnosis.on_evaluate(moment.args, moment.state, moment.control, **moment.values)

    def _write_mean_of_sets(self) -> None:
        """Write the mean loss of several validation sets, which the trainer evaluates one by one."""
        losses, self._set_losses = list(self._set_losses.values()), {}
        if losses:
            mean = sum(losses) / len(losses)
            self._eval_losses = {self._evaluated_at: mean} if math.isfinite(mean) else {}
            self.job.events.write("eval", step=self._evaluated_at, eval_loss=mean)

    def save(self, moment: Moment) -> None:
        path = self._output / f"checkpoint-{moment.step}"
        seconds = time.monotonic() - self._saving_since
        if not path.is_dir():
            return  # another callback, or a trainer with a layout of its own
        self.job.pace.expect("save", seconds)
        self.job.events.write(
            "checkpoint",
            step=moment.step,
            path=str(path),
            eval_loss=self._eval_losses.get(moment.step),
            seconds=round(seconds, 3),
        )

    def end(self, moment: Moment) -> None:
        """End the recording at the end of the training."""
        self._write_mean_of_sets()
        self._diagnosis.on_train_end(moment.args, moment.state, moment.control)
        step, total = moment.step, moment.state.max_steps
        if self._is_broken and self._stop_on_nan:
            self._end("nan", f"Training loss became NaN or infinite at step {step}.")
        elif self._was_asked_to_stop and step < total:
            self._end("stopped")
        elif step < total:
            self._end("early_stopped", f"The trainer ended at step {step} of {total}.")
        else:
            self._end("finished")

    def end_by_error(self, error: BaseException | None) -> None:
        """End the recording of a training that was left without ``on_train_end``."""
        if error is None:
            self._end(
                "crashed", "Its training was left by an exception. See the output of its script."
            )
        elif isinstance(error, KeyboardInterrupt):
            self._end("cancelled", "Interrupted from the keyboard.")
        else:
            message = make_visible(_describe(error), 2000)
            self._end(classify_error(error, self.job.folder), message)

    def end_unrecorded(self, error: Exception) -> None:
        """End the recording because something failed in it; the training continues."""
        message = f"The recording failed, and the training went on without it: {_describe(error)}"
        self._end("lost", make_visible(message, 2000))

    def _end(self, reason: str, message: str = "") -> None:
        _open_recordings.discard(self)
        if os.getpid() != self._pid:  # a fork of the training process
            return
        self.job.end(reason, message)
        self._summary.close()

    def _look(self) -> None:
        """End the recording once the training loop is no longer on its thread's stack.

        An exception ends a training without a call of any callback, and a notebook keeps running.
        """
        if self._loop is None:
            return
        frame = sys._current_frames().get(self._thread_id)
        self._absences = 0 if _is_running(self._loop, frame) else self._absences + 1
        if self._absences > 1:
            error = _get_last_error()
            self.end_by_error(None if id(error) == self._last_error else error)


class _Diagnosis(DiagnosisCallback):
    """The live diagnosis, of a training whose checkpoints are in a folder of its own."""

    def __init__(self, job: SelfKeptJob, facts: Mapping[str, Any], output: Path) -> None:
        super().__init__(job, facts)
        self._script = Script(output_dir=str(output))

    def begin(self, moment: Moment) -> None:
        self._vocabulary = _get_vocabulary(moment)

    def _curve(self, moment: Moment) -> Curve:
        saved = watched.list_saved_steps(self._script)
        return dataclasses.replace(super()._curve(moment), checkpoints=saved)


_open_recordings: weakref.WeakSet[_Recording] = weakref.WeakSet()
_hooks_installed = False


def _install_hooks() -> None:
    """End open recordings at an uncaught exception, and at the exit of the process."""
    global _hooks_installed
    if _hooks_installed:
        return
    _hooks_installed = True
    previous = sys.excepthook

    def report_exception(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        _end_all(error)
        previous(kind, error, trace)

    sys.excepthook = report_exception
    atexit.register(_end_all, None)


def _end_all(error: BaseException | None) -> None:
    for recording in list(_open_recordings):
        with contextlib.suppress(Exception):  # the process is ending for another reason
            recording.end_by_error(error)


def _find_trainer() -> tuple[Trainer | None, CodeType | None]:
    """Return the trainer whose loop called this, and the code of that loop."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, Trainer):
            return owner, frame.f_code
        frame = frame.f_back
    return None, None


def _is_running(code: CodeType, frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code is code:
            return True
        frame = frame.f_back
    return False


def _get_last_error() -> BaseException | None:
    """Return the exception that an interactive session reported last."""
    return getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)


def _describe_script(moment: Moment, trainer: Trainer | None, ranks: int) -> Script:
    model = moment.values.get("model")
    name = getattr(getattr(model, "config", None), "_name_or_path", "")
    return Script(
        output_dir=str(Path(moment.args.output_dir or "trainer_output").absolute()),
        trainer=type(trainer).__name__ if trainer is not None else "",
        model=name if isinstance(name, str) else "",
        processes=ranks,
    )


def _open_folder(script: Script, name: str | None, step: int) -> JobFolder:
    """Create the folder of a run, or return that of the run which a resumed training continues."""
    if name is not None:
        check_id(name)
    if step and (folder := _find_resumed(script.output_dir, name)):
        return folder
    run_id = name or store.make_id(Path(script.output_dir).name)
    record = JobRecord(
        kind=watched.KIND,
        argv=[str(Path(sys.argv[0]).absolute())] if sys.argv and sys.argv[0] else [],
        version=__version__,
        created=time.time(),
        inputs=msgspec.to_builtins(script),
    )
    return launch.create(launch.claim(locations.runs_folder() / run_id), record, {})


def _find_resumed(output_dir: str, name: str | None) -> JobFolder | None:
    """Return the newest run that trained into the same folder and has ended."""
    for folder in reversed(store.list_runs()):
        script = watched.read(folder)
        if script and script.output_dir == output_dir and name in (None, folder.id):
            return folder if observe(folder).state == "ended" else None
    return None


def _pick_numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers that a trainer logged, named without slashes."""
    numbers = {}
    for name, value in values.items():
        number = _to_float(value)
        if number is None or name in _SUMMARY or name.endswith(_SPEEDS):
            continue
        numbers[name.replace("/", "_")] = number
        if len(numbers) >= MAX_FIELDS:
            break
    return numbers


def _to_float(value: Any) -> float | None:
    if isinstance(value, bool | str) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _count(loader: Any) -> int | None:
    try:
        return len(loader)
    except TypeError:
        return None


def _get_objective(args: TrainingArguments) -> str | None:
    """Return the objective by the class of the arguments; None for a trainer of another kind."""
    names = (kind.__name__ for kind in type(args).__mro__)
    return next((OBJECTIVES[name] for name in names if name in OBJECTIVES), None)


def _get_vocabulary(moment: Moment) -> int | None:
    """Return the model's vocabulary size; None for a model of another kind."""
    try:
        return moment.vocabulary
    except AttributeError:
        return None


def _measure_memory() -> tuple[int, bool]:
    """Return the peak memory of this process in bytes, and whether it is on the GPU.

    It resets no counter, which the script may use itself.
    """
    import resource

    import torch

    if torch.cuda.is_available() and (reserved := int(torch.cuda.max_memory_reserved())):
        return reserved, True
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, False


def _describe(error: BaseException) -> str:
    if isinstance(error, FtwizardError):
        return " ".join(filter(None, (error.message, error.hint)))
    return f"{type(error).__name__}: {error}"


def _report(text: str) -> None:
    """Print a line to stderr, which may be closed."""
    try:
        print(f"ftwizard: {text}", file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        return
