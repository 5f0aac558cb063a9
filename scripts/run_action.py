"""Run the steps of `action.yml` on this machine, as GitHub's runner would run them.

Usage: ``python scripts/run_action.py REPOSITORY [--action action.yml] [--input name=value ...]``. Steps that are
actions of their own (checkout, caches, uploads) are named and passed over; every ``run`` step runs with bash in the
repository, with its variables, and the first that fails ends the run with its exit code.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

EXPRESSION = re.compile(r"\$\{\{\s*(inputs|steps)\.([\w.-]+)\s*\}\}")


def main() -> int:
    """Run the steps; return the exit code of the first that fails, 0 where none does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--action", type=Path, default=Path(__file__).resolve().parents[1] / "action.yml")
    parser.add_argument("--input", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--skip", action="append", default=[], metavar="STEP", help="name of a step to pass over")
    options = parser.parse_args()
    action = yaml.safe_load(options.action.read_text("utf-8"))
    inputs = {name: str(one.get("default", "")) for name, one in action["inputs"].items()}
    for pair in options.input:
        name, _, value = pair.partition("=")
        if name not in inputs:
            parser.error(f"--input: the action has no input {name!r}; it has {', '.join(inputs)}")
        inputs[name] = value
    outputs: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        summary, output = Path(scratch) / "summary.md", Path(scratch) / "output"
        summary.touch()
        done = subprocess.CompletedProcess[bytes]([], 0)
        for step in action["runs"]["steps"]:
            title = step.get("name") or step.get("uses")
            if "run" not in step or title in options.skip:
                print(f"-- {title}: passed over", flush=True)
                continue
            print(f"-- {title}", flush=True)
            output.write_text("")
            files = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
            variables = (
                os.environ
                | files
                | {name: _filled(value, inputs, outputs) for name, value in step.get("env", {}).items()}
            )
            # What GitHub's runner does for `shell: bash`.
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            done = subprocess.run(command, cwd=options.repository, env=variables, check=False)
            for line in output.read_text().splitlines():
                name, _, value = line.partition("=")
                outputs[f"{step['id']}.outputs.{name}"] = value
            if done.returncode != 0:
                break
        print(f"-- summary\n{summary.read_text('utf-8')}", end="", flush=True)
    return done.returncode


def _filled(text: Any, inputs: dict[str, str], outputs: dict[str, str]) -> str:
    """Put values for the expressions that a composite action may use."""
    return EXPRESSION.sub(lambda m: (inputs if m[1] == "inputs" else outputs)[m[2]], str(text))


if __name__ == "__main__":
    sys.exit(main())
