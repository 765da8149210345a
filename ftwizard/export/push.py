"""Uploads to the Hugging Face Hub: a merged model or an adapter, with its card, private by default.

Everything is checked and described before anything is sent: the token, the repository, the license
of the base model. Large files are sent one by one and the commit comes last, so that an upload that
broke off leaves the repository as it was, and the next one sends only what is missing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ftwizard.data.hub.errors import why_unreachable
from ftwizard.errors import FtwizardError
from ftwizard.export.card import curve, write
from ftwizard.export.card.facts import License, find_license
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.models import hub, model_folder
from ftwizard.runs import base_weights, next_steps
from ftwizard.runs.checkpoints import MARKER
from ftwizard.runs.evaluation_files import find_newest
from ftwizard.runs.exports import PUSH_RECORD, PushRecord, UploadPlan
from ftwizard.runs.merge_proof import PROOF
from ftwizard.runs.result import TrainResult, read_trained
from ftwizard.text import format_count, make_visible

README = "README.md"
TIMEOUT_S = 20.0
_ALWAYS_THERE = {".gitattributes", README}
"""Files of a repository that nothing was pushed to."""
_WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt")
_LOGIN = (
    "Create one with write access at https://huggingface.co/settings/tokens, then: hf auth login"
)


class Upload(NamedTuple):
    """An upload that was checked and can begin."""

    plan: UploadPlan
    files: dict[str, Path | bytes]
    """Local files, or their content, by their path in the repository."""
    run: JobFolder
    creates: bool
    """Whether the repository has to be created."""


def prepare(run: JobFolder, repo: str, *, adapter: bool, public: bool, replace: bool) -> Upload:
    """Check an upload and return what it would send; nothing is sent yet.

    Raises FtwizardError without a token or with one that may not write, for a run without that
    model, and for a repository with other content or another visibility.
    """
    trained = read_trained(run)
    folder = run.adapter if adapter else run.merged
    if trained is None or not folder.is_dir():
        part = "adapter" if adapter else "merged model"
        other = "without --adapter" if adapter else "with --adapter"
        raise FtwizardError(
            f"Run {make_visible(run.id)} has no {part} to upload.",
            f"Upload {other}, or see what it has: ftwizard status {make_visible(run.id)}",
        )
    if hub.is_offline():
        raise FtwizardError("Hub access is turned off (HF_HUB_OFFLINE).", "Unset HF_HUB_OFFLINE.")
    api = _make_api()
    user = _read_user(api)
    full_name = repo if "/" in repo else f"{user}/{repo}"
    creates = _check_repository(api, full_name, public=public, replace=replace)
    base, newest = _find_base(run, trained), find_newest(run, merged=not adapter)
    terms = _read_terms(api, base, trained)
    title = full_name.rpartition("/")[2]
    files = _list_files(folder) | _list_card(run, title, adapter=adapter, license=terms)
    plan = UploadPlan(
        repo=full_name,
        private=not public,
        content="adapter" if adapter else "merged",
        files={name: _measure(content) for name, content in files.items()},
        base=base or trained.base_name,
        license=terms.name,
        gated=terms.gated,
        card=_find_origin(run, files[README]),
        ship=newest.evaluation.verdict if newest else None,
        user=user,
    )
    return Upload(plan, files, run, creates)


def upload(prepared: Upload, say: Callable[..., None]) -> PushRecord:
    """Send the files; return where they are. Raises FtwizardError if the Hub refuses or is away."""
    from huggingface_hub import CommitOperationAdd

    plan, api = prepared.plan, _make_api()
    total, done = sum(plan.files.values()), 0
    operations = [
        CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
        for name, content in sorted(prepared.files.items())
    ]
    with _explain(plan.repo):
        if prepared.creates:
            api.create_repo(plan.repo, private=plan.private, exist_ok=True)
        for operation in operations:
            name = operation.path_in_repo
            say("uploading", what=name, done=done, total=total, unit="bytes")
            api.preupload_lfs_files(plan.repo, [operation], num_threads=1)
            done += plan.files[name]
        say("uploading", what="the commit", done=done, total=total, unit="bytes")
        commit = api.create_commit(
            plan.repo,
            operations,
            commit_message=f"Upload {plan.content} model of {prepared.run.id}",
        )
    record = PushRecord(
        repo=plan.repo, url=str(commit.commit_url), commit=str(commit.oid), private=plan.private,
        content=plan.content, files=plan.files, created=time.time(),
    )  # fmt: skip
    write_json(prepared.run.path / PUSH_RECORD, record)
    return record


def _list_files(folder: Path) -> dict[str, Path | bytes]:
    """Return the files of a model, without peft's empty form of a card."""
    files: dict[str, Path | bytes] = {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and not path.name.startswith(".")
        and path.name not in (MARKER, PROOF, README)
    }
    return files


def _list_card(
    run: JobFolder, title: str, *, adapter: bool, license: License
) -> dict[str, Path | bytes]:
    """Return the model card and its picture: those that a person edited, else new ones."""
    if write.is_edited(run.card):
        edited: dict[str, Path | bytes] = {README: run.card}
        if (picture := run.path / curve.NAME).is_file():
            edited[curve.NAME] = picture
        return edited
    card = write.make_card(
        run, title=title, content="adapter" if adapter else "merged", license=license
    )
    files: dict[str, Path | bytes] = {README: card.text.encode("utf-8", "replace")}
    return files | ({curve.NAME: card.picture.encode()} if card.picture else {})


def _find_origin(run: JobFolder, card: Path | bytes) -> Literal["new", "edited", "older"]:
    if isinstance(card, bytes):
        return "new"
    return "older" if next_steps.is_card_older(run) else "edited"


def _measure(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _make_api() -> Any:
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    return HfApi()


def _read_user(api: Any) -> str:
    """Return who the token belongs to; raise FtwizardError without one that may write."""
    from huggingface_hub import get_token

    if not get_token():
        raise FtwizardError("There is no Hugging Face token, which an upload needs.", _LOGIN)
    with _explain("your account"):
        owner = api.whoami()
    token = (owner.get("auth") or {}).get("accessToken") or {}
    if token.get("role") == "read":
        shown = make_visible(str(token.get("displayName") or ""), 40)
        raise FtwizardError(f"The Hugging Face token “{shown}” may only read.", _LOGIN)
    return str(owner["name"])


def _check_repository(api: Any, repo: str, *, public: bool, replace: bool) -> bool:
    """Return whether the repository has to be created; raise FtwizardError if it may not be used."""
    from huggingface_hub.errors import RepositoryNotFoundError

    with _explain(repo):
        try:
            info = api.model_info(repo, timeout=TIMEOUT_S)
        except RepositoryNotFoundError:
            return True
    shown = make_visible(repo, 120)
    if not info.private and not public:
        raise FtwizardError(
            f"The repository {shown} exists and is public.",
            "Name another one, or pass --public.",
        )
    names = {file.rfilename for file in info.siblings or []} - _ALWAYS_THERE
    if names and not replace:
        weights = sorted(name for name in names if name.endswith(_WEIGHTS)) or sorted(names)
        more = f" and {format_count(len(names) - 1, 'more file')}" if len(names) > 1 else ""
        raise FtwizardError(
            f"The repository {shown} has other content: {make_visible(weights[0], 80)}{more}.",
            "Name another one, or pass --replace: files of the same name become a new version, the "
            "others stay.",
        )
    return False


def _find_base(run: JobFolder, trained: TrainResult) -> str | None:
    """Return the base model's name on the Hub; None for a folder."""
    if source := base_weights.read_source(run):
        return None if source.kind == "folder" else source.name
    name = trained.base_name
    return name if name.count("/") == 1 and not name.startswith((".", "/")) else None


def _read_terms(api: Any, base: str | None, trained: TrainResult) -> License:
    """Return the base model's license, and whether it is gated; None where unknown."""
    if base:
        try:
            info = api.model_info(base, timeout=TIMEOUT_S)
        except Exception:  # noqa: BLE001 (whatever the cause: then its folder may say)
            info = None
        if info is not None:
            card = info.card_data or {}
            license = card.get("license_name") or card.get("license")
            return License(model_folder.clean_license(license), bool(info.gated))
    return find_license(base, trained)


@contextlib.contextmanager
def _explain(subject: str) -> Iterator[None]:
    """Turn the errors of a request about ``subject`` into sentences."""
    try:
        yield
    except FtwizardError:
        raise
    except Exception as error:
        raise _describe_error(error, make_visible(subject, 120)) from error


def _describe_error(error: Exception, subject: str) -> FtwizardError:
    from huggingface_hub.errors import HFValidationError

    if isinstance(error, HFValidationError):
        return FtwizardError(
            f"“{subject}” is not a valid repository name.", "Use owner/name, or a name."
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return FtwizardError("The Hugging Face token is not valid, or has expired.", _LOGIN)
    if status == 403:
        return FtwizardError(
            f"The Hugging Face token may not write to {subject}.",
            "Give it write access there (https://huggingface.co/settings/tokens), or name another "
            "repository with --repo.",
        )
    if reason := why_unreachable(error):
        return FtwizardError(
            f"{reason[0].upper()}{reason[1:]}; nothing was published.",
            "Check the network and HF_ENDPOINT, then run the same command again: what was sent "
            "already is not sent twice.",
        )
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return FtwizardError(
        f"The Hub did not take the upload to {subject}: {make_visible(lines[0], 200)}",
        "Run the same command again: what was sent already is not sent twice.",
    )
