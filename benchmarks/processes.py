"""Running one benchmark task in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 1_800


class TaskError(Exception):
    """A task failed or its process died; the message says how."""


def run_task(task: str, program: str, timeout: float = TIMEOUT_SECONDS, **parameters: Any) -> dict:
    """Run a task of `benchmarks.child` in a fresh process and return its answer.

    `program` is a name, or `module:attribute`, as `benchmarks.programs.find` takes it.
    """
    request = json.dumps({"task": task, "program": program, **parameters})
    search_path = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, search_path))}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "benchmarks.child", request, str(result)]
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise TaskError(f"{task}: took more than {timeout:g} s") from None
        if not result.exists():
            raise TaskError(f"{task}: {_cause_of_death(done)}")
        answer = json.loads(result.read_text())
    if "error" in answer:
        raise TaskError(f"{task}: {answer['error']}")
    return answer["value"]


def _cause_of_death(done: subprocess.CompletedProcess) -> str:
    if done.returncode == -signal.SIGKILL:
        return "the process was killed, most likely for want of memory"
    if done.returncode < 0:
        return f"the process died of {signal.Signals(-done.returncode).name}"
    last_lines = done.stderr.strip().splitlines()[-3:]
    return f"the process ended with status {done.returncode}: {' / '.join(last_lines)}"
