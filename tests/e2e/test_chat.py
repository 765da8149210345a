"""A small run: its verdict, chat as commands, and its serve command."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftwizard.jobs.folder import JobFolder
from ftwizard.runs.serving import make_transformers_command
from tests.e2e import tmux
from tests.e2e.cli import FTWIZARD, as_json, as_json_here, ok, ok_here, run
from tests.e2e.plain_terminal import Wizard
from tests.e2e.workspace import Workspace
from tests.helpers.jobs import events
from tests.helpers.results import read_target

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(small_workspace: Workspace) -> JobFolder:
    plan = small_workspace.plan(finish=True)
    assert run("train", plan, "--name", "one", "--watch").returncode == 0
    return small_workspace.folder("one")


def test_run_is_judged_talked_to_and_served(folder: JobFolder) -> None:
    _check_verdict(folder)
    _check_single_answers()
    _check_requests_by_line(folder)
    _check_lines_from_a_pipe(folder)
    if tmux.is_installed():
        _check_lines(folder)
    _check_server(folder)
    _check_own_server(folder)


def _check_verdict(folder: JobFolder) -> None:
    judged = json.loads(folder.evaluation.read_text())["target"]
    assert judged["kind"] == "json" and judged["outcome"] == "cannot_tell"
    change = read_target(folder).loss_difference
    assert change and change.value < 0
    assert as_json("status", "one")["verdict"] == judged
    status = ok("status", "one")
    assert all(part in status for part in ("Cannot tell: ", "0 of ", "ftwizard chat one"))


def _check_single_answers() -> None:
    prompt = ("chat", "one", "--prompt", "Where is my parcel?", "--max-tokens", "6")
    report = as_json_here(*prompt, "--base")
    assert report["system"] == "Route this ticket."
    assert report["tuned"]["tokens"] == report["base"]["tokens"] == 6
    assert report["tuned"]["reason"] == "limit"
    text = ok_here(*prompt, "--no-system", "--base")
    assert text.startswith("tuned:\n") and "\nbase:\n" in text
    refused = run("chat", "one")
    assert refused.returncode == 2 and "ftwizard chat one --prompt TEXT" in refused.stderr


def _check_requests_by_line(folder: JobFolder) -> None:
    def ask(id: int, tokens: int) -> dict[str, Any]:
        messages = [{"role": "user", "content": "Hello"}]
        return {
            "kind": "answer", "id": id, "side": "tuned", "messages": messages,
            "max_new_tokens": tokens,
        }  # fmt: skip

    child = subprocess.Popen(
        [FTWIZARD, "chat", str(folder.path), "--json"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    assert child.stdin and child.stdout

    def send(request: dict[str, Any]) -> None:
        assert child.stdin
        child.stdin.write(json.dumps(request) + "\n")

    def wait_for(kind: str) -> dict[str, Any]:
        assert child.stdout
        for line in child.stdout:
            if (event := json.loads(line))["kind"] == kind:
                return dict(event)
        raise AssertionError(f"ended before {kind}: {child.stderr and child.stderr.read()}")

    assert wait_for("ready")["has_base"] is False
    child.stdin.write("nonsense\n")
    send(ask(1, 2000))
    wait_for("text")
    send(ask(2, 2000))
    send({"kind": "stop"})
    assert wait_for("done")["reason"] == "stopped"
    send(ask(3, 3))
    done = wait_for("done")
    assert (done["id"], done["tokens"]) == (3, 3), "the second was dropped"
    child.stdin.close()
    assert child.wait(30) == 0, "ends with its input"
    assert child.stderr and "not a request" in child.stderr.read()


def _check_lines_from_a_pipe(folder: JobFolder) -> None:
    lines = "Where is it?\n/again\n/add\nOn its way.\n"
    options = ("--base", "--plain", "--max-tokens", "5")
    child = subprocess.run(
        [FTWIZARD, "chat", str(folder.path), *options], input=lines, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert child.stdout.count("base> ") == 2 and "Answer 2, temperature 0.7:" in child.stdout
    file = child.stdout.partition("Created ")[2].partition(" (")[0].replace("\n", "")
    (row,) = (json.loads(line) for line in Path(file).read_text().splitlines())
    system, prompt, answer = row["messages"]
    assert system["content"] == "Route this ticket." and prompt["content"] == "Where is it?"
    assert answer == {"role": "assistant", "content": "On its way."}


def _check_lines(folder: JobFolder) -> None:
    arguments = "chat one --base --plain --max-tokens 5"
    with Wizard(folder.path, numbered=True, arguments=arguments) as terminal:
        terminal.wait("you>", 240)
        terminal.keys("Where is it?", "Enter")
        terminal.wait(r"base> [\s\S]*you>", 240)
        terminal.keys("/system", "Enter")
        terminal.wait("No system prompt.")


def _check_server(folder: JobFolder) -> None:
    """Run the offered command and ask it as a client of OpenAI's API does."""
    command = make_transformers_command(folder.merged)
    assert not command.install
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    server = subprocess.Popen(
        [*shlex.split(command.line), "--port", str(port)], start_new_session=True,
        env={**os.environ, "PATH": scripts},
    )  # fmt: skip
    body = {
        "model": str(folder.merged),
        "messages": [{"role": "user", "content": "Where is my parcel?"}],
        "max_tokens": 4,
    }
    try:
        answer = _post(server, f"http://127.0.0.1:{port}/v1/chat/completions", body)
        assert isinstance(answer["choices"][0]["message"]["content"], str)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _check_own_server(folder: JobFolder) -> None:
    """Serve with a key; its clients get the greedy answer of the merged model."""
    import openai
    from openai import OpenAI

    with _serve("one", "--key", "--json") as (command, served):
        assert (served["model"], served["engine"]) == ("one", "transformers")
        key_file = Path(served["key_file"])
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
        key = key_file.read_text().strip()
        files = [path for path in folder.path.rglob("*") if path.is_file()]
        assert not [path for path in files if key.encode() in path.read_bytes()]
        job = max((folder.path / "jobs").glob("*-serve"))
        (ready,) = events(JobFolder(job), "ready")
        assert ready["url"] == served["url"].replace("localhost", "127.0.0.1")
        client = OpenAI(base_url=served["url"], api_key=key, max_retries=0)
        assert [model.id for model in client.models.list().data] == ["one"]
        message: Any = {"role": "user", "content": "Where is my parcel?"}
        answer = client.chat.completions.create(
            model="one", messages=[message], temperature=0, max_tokens=12
        )
        assert answer.choices[0].message.content == _generate(folder.merged, message, 12)
        with pytest.raises(openai.NotFoundError, match="base does not exist; this is one"):
            client.chat.completions.create(model="base", messages=[message])
        with pytest.raises(openai.AuthenticationError, match="missing or wrong"):
            client.with_options(api_key="guess").models.list()
        with pytest.raises(openai.NotFoundError):
            client.post("/load_model", cast_to=object, body={"model": "other"})
        taken = run("serve", "one", "--port", served["url"].split(":")[2].split("/")[0])
        assert taken.returncode == 1 and "cannot be used: Address already in use" in taken.stderr
        command.kill()  # even then the server ends
        command.wait()
        _wait_until_closed(served["url"])
    with _serve("one", "--json") as (command, served):
        command.send_signal(signal.SIGINT)
        assert command.wait(60) == 0
        _wait_until_closed(served["url"])


@contextlib.contextmanager
def _serve(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Start ``ftwizard serve``; yield its process, and its document once it answers."""
    command = subprocess.Popen(
        [FTWIZARD, "serve", *arguments], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )  # fmt: skip
    assert command.stdout
    try:
        lines: list[str] = []
        while (line := command.stdout.readline()) not in ("}\n", ""):
            lines.append(line)
        yield command, json.loads("".join([*lines, line]))
    finally:
        command.terminate()
        command.wait()
        command.stdout.close()


def _generate(model: Path, message: dict[str, str], count: int) -> str:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ftwizard.hardware import machine

    dtype = torch.bfloat16 if machine.has_bfloat16_cpu() else torch.float32
    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
    ids: Any = tokenizer.apply_chat_template(
        [message], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = loaded.generate(**ids, max_new_tokens=count, do_sample=False)
    new = output[0, ids["input_ids"].shape[1] :]
    return str(tokenizer.decode(new, skip_special_tokens=True))


def _wait_until_closed(url: str) -> None:
    port = int(url.split(":")[2].split("/")[0])
    end = time.monotonic() + 60
    while True:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)):
                return
        assert time.monotonic() < end, "the server outlives its command"
        time.sleep(0.2)


def _post(server: subprocess.Popen[bytes], url: str, body: dict[str, Any]) -> Any:
    """Return the JSON answer of a server as soon as it listens."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    end = time.monotonic() + 300
    while True:
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(request, timeout=240) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        except urllib.error.URLError:
            assert time.monotonic() < end
            time.sleep(0.5)
