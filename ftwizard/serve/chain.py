"""The chain of custody of a run: the same prompts through each form of its model, from the adapter on."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.evaluate import placement
from ftwizard.evaluate.answer_cache import AnswerCache
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.local_model import LocalModels
from ftwizard.export import ollama, source
from ftwizard.hardware import machine
from ftwizard.jobs import ending
from ftwizard.jobs.folder import JobFolder, read_json, write_json
from ftwizard.locations import create_private_folder
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Recipe
from ftwizard.runs import base_weights, custody, exports, merge_proof
from ftwizard.runs.checkpoints import MARKER
from ftwizard.runs.custody import Custody, Hop
from ftwizard.runs.result import MergedModel, TrainResult, read_trained
from ftwizard.serve import (
    comparison,
    gguf_hop,
    local_forms,
    measures,
    merge_hop,
    probes,
    server_hop,
)
from ftwizard.serve.comparison import Reference
from ftwizard.serve.local_forms import Scores
from ftwizard.serve.probes import Probe
from ftwizard.serve.server_client import Client, Server
from ftwizard.serve.server_hop import Questions
from ftwizard.text import make_visible
from ftwizard.train import checkpoint_rotation, generate, model_loading

_T = TypeVar("_T")
Say = Callable[..., None]
"""``say(phase, what=…, done=…, total=…, unit=…)``."""
MIN_LONG_TOKENS = 512
MIN_ROUNDED_STRENGTH = 0.9
"""Effect of an adapter that is left after rounding, below which that is reported. Measured on
SmolLM2-135M: 0.98 after 22 steps at a learning rate of 5e-4, 0.78 after 14 steps at 2e-4."""
STOP_PROBES = 3
"""Prompts that get a longer answer, if no shorter one ended."""


def verify(
    folder: JobFolder, *, gguf: Path | None = None, server: Server | None = None, say: Say
) -> Custody:
    """Compare all forms of a run's model; write the outcome to the run and return it.

    ``gguf``: a file to check instead of those that were exported. Raises FtwizardError if the run
    has no weights, its base has changed, or there is not enough memory.
    """
    trained = read_trained(folder)
    if trained is None:
        raise FtwizardError(
            f"Run {folder.id} has no trained weights yet.",
            f"Wait for its end, or resume it. Its state: ftwizard status {folder.id}",
        )
    if trained.method == "full" and not folder.merged.is_dir():
        raise FtwizardError(
            f"Run {folder.id} has no merged model.", f"Merge it first: ftwizard merge {folder.id}"
        )
    is_full = trained.method == "full"  # then the merged model is what was trained
    if not is_full and (damage := checkpoint_rotation.find_result_damage(folder, trained)):
        shown = ", ".join(make_visible(name, 80) for name in damage[:3])
        raise FtwizardError(
            f"The weights of run {folder.id} are damaged: {shown}.",
            "Restore them from a copy, or train again.",
        )
    say("verifying", what="base weights")
    base_weights.require_unchanged(
        folder, Path(trained.base), say=lambda part: say("verifying", what=part)
    )
    result = _Chain(folder, trained, say).run(gguf, server)
    create_private_folder(folder.exports)
    write_json(folder.path / custody.FILE, result)
    return result


class _Chain:
    """The forms of one run, compared in their order."""

    def __init__(self, folder: JobFolder, trained: TrainResult, say: Say) -> None:
        self._folder, self._trained, self._say = folder, trained, say
        self._base = Path(trained.base)
        self._plan = plan_file.read_run(folder)
        is_full = trained.method == "full"
        self._first = "model" if is_full else "adapter"
        marker = read_json(folder.merged / MARKER, MergedModel)
        scale = marker.scale if marker and not is_full else 1.0
        self._tuned = Arm(
            name="tuned",
            model=str(folder.merged if is_full else self._base),
            adapter=None if is_full else str(folder.adapter),
            scale=scale,
        )
        self._models = LocalModels(AnswerCache(None), self._choose_recipe())
        tokenizer = folder.merged if is_full else folder.adapter
        self._encoder = local_forms.load_encoder(
            tokenizer, Path(self._tuned.model), trained.end_ids
        )
        self._probes, self._prompts = self._choose_probes()
        self._notes: list[str] = []
        if scale != 1.0:
            self._notes.append(f"The adapter was merged at {scale:g} of its strength, as asked.")

    def run(self, gguf: Path | None, server: Server | None) -> Custody:
        """Compare each form with the one before it."""
        client = Client(server) if server else None
        if client:
            client.list_models()  # before the minutes of computing: is there a server?
        merged = None
        if self._trained.method != "full":
            if self._folder.merged.is_dir():
                merged = self._compare_files(_make_hop("adapter", "merged"))
            else:
                self._notes.append(f"There is no merged model: ftwizard merge {self._folder.id}")
        # Files first: what is wrong there shows whether or not memory suffices for answers.
        reference, stops = self._measure(self._build_reference) or (None, [])
        name, before = self._first, reference.tuned if reference else None
        hops: list[Hop] = []
        if merged:
            scores = None
            if reference and merged.cause != "unreadable":
                merged, scores = self._compare_merged(merged, reference)
            hops.append(merged)
            if scores:
                name, before = "merged", scores
        self._models.unload()
        files = [(gguf.name, gguf, False)] if gguf else self._list_files()
        if not files:
            self._notes.append(
                f"There is no GGUF file: ftwizard export {self._folder.id} --to gguf"
            )
        served = name, before
        for label, file, is_changed in files:
            hop, file_scores = _make_hop(name, label), None
            if reference and before:
                compared = self._measure(self._compare_gguf, hop, file, reference, before)
                hop, file_scores = compared or (self._doubt_memory(hop), None)
            if is_changed:
                detail = f"{file.name} changed since it was exported"
                hop = comparison.fail(hop, "weights_differ", detail=detail)
            hops.append(hop)
            if not gguf and (modelfile := self._check_modelfile(label, file)):
                hops.append(modelfile)
            if file_scores and client and (gguf or client.serves_gguf()):
                served = label, file_scores
        if client:
            hop, before = _make_hop(served[0], "server"), served[1]
            if reference and before:
                questions = self._build_questions(stops)
                compare = self._compare_server
                asked = self._measure(compare, hop, client, questions, reference, before)
                hop = asked or self._doubt_memory(hop)
            hops.append(hop)
        else:
            self._notes.append("No server was asked: --server URL --model NAME.")
        settle = functools.partial(_settle, reference) if reference else self._doubt_memory
        return Custody(hops=[*map(settle, hops)], prompts=len(self._probes), notes=self._notes)

    def _measure(self, work: Callable[..., _T], *arguments: Any) -> _T | None:
        """Return what ``work`` measures; None if it does not fit into memory."""
        try:
            return work(*arguments)
        except Exception as error:
            if not ending.find_shortage(error):
                raise
        self._models.unload()
        return None

    def _doubt_memory(self, hop: Hop) -> Hop:
        """Return ``hop`` as undecided for lack of memory, unless it is known to be broken."""
        folder, precision = Path(self._tuned.model), self._models.choose_precision(self._tuned)
        needed, free = placement.needed_bytes(folder, precision), machine.get_free_memory()
        return comparison.doubt(hop, "no_memory", needed_bytes=int(needed), free_bytes=free)

    def _choose_recipe(self) -> Recipe:
        """Return a recipe that computes in 32 bit if that fits: then only the weights differ."""
        fits = placement.choose_device(self._base, None, "fp32")
        recipe = self._plan.recipe
        return msgspec.structs.replace(recipe, precision="fp32") if fits else recipe

    def _choose_probes(self) -> tuple[list[Probe], list[list[int]]]:
        """Return the prompts that leave room for an answer in the model's context, and their tokens."""
        chosen = probes.choose(self._folder)
        if self._encoder.route == "plain":  # without a template, a prompt is one text
            chosen = [probe for probe in chosen if len(probe.messages) == 1]
        limit = self._context - local_forms.MAX_ANSWER_TOKENS
        rendered = local_forms.render(self._encoder, chosen)
        pairs = [pair for pair in zip(chosen, rendered, strict=True) if len(pair[1]) <= limit]
        return [probe for probe, _ in pairs], [ids for _, ids in pairs]

    @property
    def _context(self) -> int:
        config = json.loads((Path(self._tuned.model) / "config.json").read_text())
        return int(config.get("max_position_embeddings") or 2048)

    def _build_reference(self) -> tuple[Reference, list[int]]:
        """Return the reference, and the prompts whose answers end."""
        prompts = self._prompts
        self._say("verifying", what="answers of the tuned model")
        stops: list[int] = []
        with self._models.select(self._tuned) as model:
            answers = local_forms.answer(model, self._encoder, prompts)
            tuned = local_forms.score(model, prompts, answers)
            stops = [index for index, answer in enumerate(answers) if answer.ended]
            if not stops:
                stops = self._find_stops(model, prompts[:STOP_PROBES])
        self._say("verifying", what="answers of the base model")
        with self._models.select(Arm(name="base", model=str(self._base))) as model:
            base_answers = local_forms.answer(model, self._encoder, prompts)
            base = local_forms.score(model, prompts, answers)
        return Reference(prompts, answers, base_answers, base, tuned), stops

    def _find_stops(self, model: Any, prompts: Sequence[list[int]]) -> list[int]:
        limit = min(server_hop.STOP_LIMIT - 20, self._context - max(map(len, prompts)))
        rows = generate.generate_tokens(model, self._encoder, prompts, limit)
        ends = self._encoder.end_ids | self._encoder.stop_ids
        return [index for index, row in enumerate(rows) if not ends.isdisjoint(row)]

    def _compare_files(self, hop: Hop) -> Hop:
        """Compare the files of the merged model with those that base and adapter give."""
        self._say("verifying", what="the files of the merged model")

        def compare() -> Hop:
            merged, tokenizer = self._folder.merged, self._encoder.tokenizer
            model_loading.load_config(merged)  # a model without one is not loaded either
            encoder = local_forms.load_encoder(merged, merged, [])
            tokenizers = (tokenizer, encoder.tokenizer)
            files = merged, self._base
            ends = self._trained.end_ids
            result, settings = merge_hop.compare_stops(hop, *files, ends, tokenizers)
            templates = [source.read_template(part) for part in tokenizers]
            result = comparison.compare_prompts(
                result,
                (self._prompts, local_forms.render(encoder, self._probes)),
                [
                    [gguf_hop.render(part, template, probe) for probe in self._probes]
                    for part, template in zip(tokenizers, templates, strict=True)
                ],
                tokenizer.decode,
                templates,
                merge_hop.find_tokenizer_changes(*tokenizers),
            )
            if settings:
                result = comparison.fail(result, "generation_settings", settings=settings)
            return merge_hop.prove(result, *files, self._folder.adapter)

        return self._read_merged(hop, compare) or self._doubt_memory(hop)

    def _read_merged(self, hop: Hop, work: Callable[[], _T]) -> _T | Hop | None:
        """Return what ``work`` measures; a broken hop if the merged model cannot be loaded, None if it
        does not fit into memory."""
        try:
            return self._measure(work)
        except (FtwizardError, OSError) as error:
            detail = error.message if isinstance(error, FtwizardError) else str(error)
            damaged = ", ".join(merge_proof.find_damage(self._folder.merged) or [])
            file = damaged or "The merged model"
            return comparison.fail(hop, "unreadable", file=file, detail=detail.rstrip("."))

    def _compare_merged(self, hop: Hop, reference: Reference) -> tuple[Hop, Scores | None]:
        """Compare the answers of the merged model; without scores if it cannot be loaded."""
        self._say("verifying", what="the merged model")

        def score() -> Scores:
            with self._models.select(Arm(name="merged", model=str(self._folder.merged))) as model:
                return local_forms.score(model, reference.prompts, reference.answers)

        scores = self._read_merged(hop, score)
        if not isinstance(scores, Scores):
            return scores or self._doubt_memory(hop), None
        is_proved = hop.tensors_proved is not None
        hop = comparison.compare_scores(
            hop, reference, reference.tuned, scores, quantized=False, is_proved=is_proved
        )
        if is_proved and hop.strength is not None and hop.strength < MIN_ROUNDED_STRENGTH:
            self._notes.append(
                f"Rounding to 16 bit keeps {hop.strength:.0%} of what the adapter changes: it changes "
                "little. Train longer or at a higher learning rate, merge with --dtype float32, or serve "
                "the adapter itself."
            )
        return hop, scores

    def _list_files(self) -> list[tuple[str, Path, bool]]:
        """Return the exported GGUF files: name of the form, path, and whether it changed since."""
        files = []
        for folder in sorted(self._folder.exports.glob("[!.]*/")):
            record, changed = exports.find_changed(folder)
            if record is None:
                files += [(folder.name, file, False) for file in sorted(folder.glob("*.gguf"))]
            elif record.form.startswith("gguf") and (file := folder / record.model).is_file():
                files.append((record.form, file, bool(changed)))
            elif record.form.startswith("gguf"):
                self._notes.append(f"The file of {record.form} is gone: {file.name}")
        return files

    def _compare_gguf(
        self, hop: Hop, file: Path, reference: Reference, before: Scores
    ) -> tuple[Hop, Scores | None]:
        self._say("verifying", what=hop.target)
        hop, scores = gguf_hop.compare(
            hop, file, reference, before, self._probes, self._encoder.tokenizer,
            self._trained.end_ids, lambda: self._say("verifying", what=hop.target),
        )  # fmt: skip
        if scores is None:
            return hop, None
        logits, rescale = scores.logits, self._make_rescale(reference)
        return comparison.name_scale(
            hop, reference, lambda other: measures.nmse(logits, other.logits), rescale
        ), scores

    def _check_modelfile(self, label: str, file: Path) -> Hop | None:
        """Return a broken hop if the Modelfile of a GGUF file would not do as training did."""
        folder = file.parent.with_name(file.parent.name.replace("gguf", "ollama", 1))
        record = exports.read_record(file.parent)
        if record is None or record.gguf is None or not exports.find_changed(folder)[1]:
            return None
        try:
            defect = ollama.find_defect(source.from_run(self._folder), file, record, folder)
        except (FtwizardError, OSError):  # of the merged model, whose own hop says it
            return None
        hop = _make_hop(label, folder.name)
        return comparison.fail(hop, "modelfile", detail=defect) if defect else None

    def _build_questions(self, stops: list[int]) -> Questions:
        wanted = max(MIN_LONG_TOKENS, self._plan.recipe.max_length)
        wanted = min(wanted, self._context - local_forms.MAX_ANSWER_TOKENS)
        word = "word "
        long = Probe(messages=[{"role": "user", "content": word}])
        (fixed,) = local_forms.render(self._encoder, [long])
        per_word = len(self._encoder.tokenizer(word * 100, add_special_tokens=False)["input_ids"])
        count = max(1, (wanted - len(fixed)) * 100 // per_word)
        long = Probe(messages=[{"role": "user", "content": word * count}])
        (ids,) = local_forms.render(self._encoder, [long])
        return Questions(self._probes, long, len(ids), stops)

    def _compare_server(
        self, hop: Hop, client: Client, questions: Questions, reference: Reference, before: Scores
    ) -> Hop:
        def report(done: int) -> None:
            self._say(
                "verifying", what="the server", done=done, total=len(self._probes), unit="prompts"
            )

        return server_hop.compare(
            hop, client, questions, reference, before, self._encoder, report,
            self._make_rescale(reference),
        )  # fmt: skip

    def _make_rescale(self, reference: Reference) -> Callable[[float], Scores] | None:
        """Return what scores the adapter at another strength; None without an adapter."""
        if self._tuned.adapter is None:
            return None

        def rescale(factor: float) -> Scores:
            self._say("verifying", what=f"the adapter at {factor:g} of its strength")
            arm = msgspec.structs.replace(self._tuned, scale=self._tuned.scale * factor)
            with self._models.select(arm) as model:
                return local_forms.score(model, reference.prompts, reference.answers)

        return rescale


def _make_hop(source: str, target: str) -> Hop:
    return Hop(
        source=source, target=target, ok=True, token_ids_equal=None, max_logprob_difference=None
    )


def _settle(reference: Reference, hop: Hop) -> Hop:
    """Return ``hop`` as undecided where something that must be measured was not."""
    if not reference.canaries:
        return comparison.doubt(hop, "no_canary")
    if hop.token_ids_equal is None:
        return comparison.doubt(hop, "not_measured", detail="the tokens of the prompts are unknown")
    if hop.stops is None:
        detail = "no answer ended, so that the stop token was not seen"
        return comparison.doubt(hop, "not_measured", detail=detail)
    return hop
