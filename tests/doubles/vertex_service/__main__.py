"""The double as a process: prints its address and the environment for a shell, and serves until it ends."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path

import msgspec

from tests.doubles.vertex_service import Scenario, serve


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(prog="vertex_service")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--scenario", type=Path, help="JSON file with fields of Scenario")
    options = parser.parse_args()
    scenario = Scenario()
    if options.scenario:
        scenario = msgspec.json.decode(options.scenario.read_bytes(), type=Scenario)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with serve(scenario, options.port) as service:
        print(service.address, flush=True)
        for name, value in service.environment.items():
            print(f"export {name}={shlex.quote(value)}")
        print(flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
