from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from consilience.scratch import PREFIX, scratch_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_a_folder_goes_with_its_job_and_leftovers_with_the_next(temporary: Path) -> None:
    code = "import time\nfrom consilience.scratch import scratch_folder\nwith scratch_folder() as f:\n"
    code += "    (f / 'x').write_text('x')\n    print(f, flush=True)\n    time.sleep(600)\n"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    other = Path(process.stdout.readline().strip())
    with scratch_folder() as own:
        assert own.is_dir()
        assert other.is_dir(), "the folder of a process that lives was removed"
    assert not own.exists()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert other.is_dir()
    with scratch_folder():
        assert not other.exists()


def test_folders_of_other_names_stay(temporary: Path) -> None:
    kept = [temporary / "consilience-data", temporary / f"{PREFIX}my-own-folder", temporary / f"{PREFIX}abcdefgh"]
    for folder in kept:
        folder.mkdir()
        (folder / "file").touch()
        os.utime(folder, (time.time() - 10**6,) * 2)
    (kept[0] / ".lock").touch()
    (kept[1] / ".lock").touch()
    with scratch_folder():
        assert all((folder / "file").exists() for folder in kept)


@pytest.mark.parametrize("moment", ["before it has the lock", "while the folder is removed"])
def test_a_folder_without_a_lock_goes_when_its_process_has_ended(temporary: Path, moment: str) -> None:
    """Killed between the making of a folder and its lock, or within the removal."""
    kill = "lambda *given, **more: os.kill(os.getpid(), 9)"
    code = f"import os, shutil\nfrom consilience import scratch\nmoment = {moment!r}\n"
    code += f"if moment.startswith('before'):\n    scratch.fcntl.flock = {kill}\n"
    code += "else:\n    def half(folder, **more):\n"
    code += f"        os.unlink(folder / '.lock')\n        ({kill})()\n    shutil.rmtree = half\n"
    code += "with scratch.scratch_folder() as folder:\n    (folder / 'x').write_text('x')\n"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    (left,) = temporary.iterdir()
    assert not (left / ".lock").exists()
    living = temporary / left.name.replace(left.name.split("-")[3], str(os.getpid()))
    living.mkdir()  # of a process that lives, a moment before it has its lock
    elsewhere = temporary / f"{PREFIX}{'0000' if '-0000-' not in left.name else '1111'}-1-abcdefgh"
    elsewhere.mkdir()
    with scratch_folder():
        assert not left.exists()
        assert living.is_dir()
        assert elsewhere.is_dir(), "whether a process of another host lives, nobody knows"
