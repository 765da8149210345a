"""Serve the double as a process: prints its base address, and ends with SIGTERM or Ctrl-C.

python -m tests.doubles.together_service --port 0 --scenario FILE.json
"""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

import msgspec

from tests.doubles.together_service.scenario import Scenario
from tests.doubles.together_service.server import serve_together


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--scenario", type=Path, help="JSON with the fields of Scenario")
    arguments = parser.parse_args()
    scenario = Scenario()
    if arguments.scenario:
        scenario = msgspec.json.decode(arguments.scenario.read_bytes(), type=Scenario)
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    with serve_together(scenario, port=arguments.port) as service:
        print(service.address, flush=True)
        done.wait()


if __name__ == "__main__":
    main()
