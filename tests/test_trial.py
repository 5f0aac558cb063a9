from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from consilience.trial import Trial


def test_a_killed_parent_leaves_no_file(tmp_path: Path) -> None:
    """The report of a trial has no name in the folder of temporary files."""
    target, temporary = tmp_path / "target_slow.py", tmp_path / "tmp"
    temporary.mkdir()
    target.write_text(
        f"from pathlib import Path\nimport time\nPath({str(tmp_path / 'began')!r}).touch()\ntime.sleep(3)\n"
    )
    code = (
        "import sys\nfrom pathlib import Path\nfrom consilience.trial import Trial\nTrial(Path(sys.argv[1])).failure()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(target)], env=os.environ | {"TMPDIR": str(temporary)})
    until = time.monotonic() + 60
    while not (tmp_path / "began").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert (tmp_path / "began").exists()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("print('noise' * 100_000)", None),
        ("import sys\nprint('{}', flush=True)\nsys.exit(3)", "calls sys.exit"),
        ("import os\nos.write(1, b'{\"error\": null}')\nos._exit(0)", "ends Python when it is imported"),
        ("x = ", "SyntaxError"),
    ],
)
def test_what_a_file_prints_is_no_report(tmp_path: Path, text: str, says: str | None) -> None:
    path = tmp_path / "target_a.py"
    path.write_text(f"{text}\n")
    failure = Trial(path).failure()
    assert failure is None if says is None else says in (failure or "")
