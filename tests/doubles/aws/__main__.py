"""The service as a process: prints its address and its environment, and serves until it is ended."""

from __future__ import annotations

import argparse
import shlex
import signal
import threading
from pathlib import Path

import msgspec

from tests.doubles.aws import UNSET, AwsScenario, serve_aws


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(prog="aws")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--scenario", type=Path, help="JSON file with fields of AwsScenario")
    options = parser.parse_args()
    scenario = AwsScenario()
    if options.scenario:
        scenario = msgspec.json.decode(options.scenario.read_bytes(), type=AwsScenario)
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    with serve_aws(scenario, port=options.port) as service:
        print(service.endpoint, flush=True)
        for name, value in service.environment.items():
            print(f"export {name}={shlex.quote(value)}")
        print(f"unset {' '.join(UNSET)}", flush=True)
        done.wait()


if __name__ == "__main__":
    main()
