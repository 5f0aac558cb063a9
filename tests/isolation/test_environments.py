from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from consilience.isolation import environments
from consilience.isolation.environments import EnvironmentBuildError, Header

HEADER = """\
# /// script
# requires-python = ">=3.11"
# dependencies = [{}]
# [tool.uv]
# override-dependencies = ["torch-scatter ; sys_platform == 'never'"]
# ///
"""


def header(tmp_path: Path, *dependencies: str, uv: bool = False) -> Header:
    path = tmp_path / "target_x.py"
    text = HEADER.format(", ".join(f'"{d}"' for d in dependencies))
    if not uv:
        text = "\n".join(line for line in text.splitlines() if "uv" not in line and "override" not in line) + "\n"
    path.write_text(text + '"""A model."""\n')
    return Header.of(path)


def test_the_header_is_read(tmp_path: Path) -> None:
    found = header(tmp_path, "chgnet==0.4.2", "torch==2.13.0", uv=True)
    assert found.dependencies == ("chgnet==0.4.2", "torch==2.13.0")
    assert json.loads(found.tool_uv) == {"override-dependencies": ["torch-scatter ; sys_platform == 'never'"]}


def test_equal_headers_share_an_environment_whatever_their_order(tmp_path: Path) -> None:
    one, two = header(tmp_path, "a==1", "b==2"), header(tmp_path, "b==2", "a==1")
    assert one.digest == two.digest
    assert one.digest != header(tmp_path, "a==1", "b==3").digest
    assert one.digest != header(tmp_path, "a==1", "b==2", uv=True).digest


def test_a_file_without_header_runs_in_place(tmp_path: Path) -> None:
    path = tmp_path / "target_plain.py"
    path.write_text("x = 1\n")
    assert environments.python_of(Header.of(path)) == Path(sys.executable)


def test_a_header_that_is_satisfied_runs_in_place(tmp_path: Path) -> None:
    import numpy

    assert header(tmp_path, f"numpy=={numpy.__version__}").satisfied_here()
    assert not header(tmp_path, "numpy==1.0.0").satisfied_here()
    assert not header(tmp_path, "a-package-that-is-not-there").satisfied_here()


@pytest.mark.parametrize("text", ["# /// script\n# dependencies = [\n# ///\n", "# /// script\n# a=1\n# ///\n\n" * 2])
def test_a_broken_header_is_an_error_naming_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "target_broken.py"
    path.write_text(text)
    with pytest.raises(ValueError, match="target_broken"):
        Header.of(path)


def test_pip_settings_are_handed_to_uv_but_never_over_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_FIND_LINKS", "UV_DEFAULT_INDEX", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels /more")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    assert environments.uv_variables()["UV_FIND_LINKS"] == "/wheels,/more"
    assert environments.uv_variables()["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    monkeypatch.setenv("UV_FIND_LINKS", "/uv")
    assert environments.uv_variables()["UV_FIND_LINKS"] == "/uv"


@pytest.mark.environment
def test_an_environment_is_built_once_and_works(tmp_path: Path, own_cache: Path) -> None:
    wanted = header(tmp_path, "tomli-w==1.2.0")
    assert environments.python_of(wanted) is None
    python = environments.ensure(wanted)
    done = subprocess.run([python, "-c", "import tomli_w, safetensors, pydantic"], check=False)
    assert done.returncode == 0
    assert python.is_relative_to(own_cache)
    assert "tomli-w==1.2.0" in environments.packages_of(wanted)
    stamp = (environments.environments_dir() / wanted.digest[:16] / "ready.json").stat().st_mtime_ns
    assert environments.ensure(wanted) == python
    assert (environments.environments_dir() / wanted.digest[:16] / "ready.json").stat().st_mtime_ns == stamp
    (entry,) = environments.inventory({tmp_path / "target_x.py": ["mine"]})
    assert entry["targets"] == ["mine"]
    assert entry["mib"] > 1
    environments.remove(entry["digest"])
    assert environments.python_of(wanted) is None


@pytest.mark.environment
def test_a_build_that_was_killed_is_begun_anew(tmp_path: Path, own_cache: Path) -> None:
    wanted = header(tmp_path, "tomli-w==1.2.0")
    half = environments.environments_dir() / wanted.digest[:16] / "bin"
    half.mkdir(parents=True)
    (half / "python").write_text("not an interpreter")
    python = environments.ensure(wanted)
    assert subprocess.run([python, "-c", "import tomli_w"], check=False).returncode == 0


@pytest.mark.environment
def test_a_header_that_cannot_be_met_says_what_uv_said(tmp_path: Path, own_cache: Path) -> None:
    with pytest.raises(EnvironmentBuildError, match="tomli-w"):
        environments.ensure(header(tmp_path, "tomli-w==99.0"))


def test_remove_refuses_what_is_not_a_digest() -> None:
    with pytest.raises(ValueError, match="digest"):
        environments.remove("../..")


@pytest.mark.environment
def test_scripts_of_an_environment_start_its_interpreter(tmp_path: Path, own_cache: Path) -> None:
    """It is built beside its place and renamed: a script's first line names no folder that is gone."""
    python = environments.ensure(header(tmp_path, "wheel==0.45.1"))
    done = subprocess.run([python.with_name("wheel"), "version"], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("wheel 0.45.1"), done.stderr
    assert not list(environments.environments_dir().glob(".*"))


@pytest.mark.environment
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_uv_ends_with_a_killed_parent_and_its_folder_with_the_next_build(tmp_path: Path, own_cache: Path) -> None:
    wanted = header(tmp_path, "scipy==1.15.3", "pandas==2.3.3", "scikit-learn==1.7.2")
    code = "import sys; from pathlib import Path; from consilience.isolation.environments import Header, ensure\n"
    code += "ensure(Header.of(Path(sys.argv[1])))"
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "target_x.py")])
    folder = environments.environments_dir()
    until = time.monotonic() + 120
    while not list(folder.glob(".*/*/requirements.txt")) and time.monotonic() < until:
        time.sleep(0.01)
    (beside,) = folder.glob(".*")
    parent.kill()
    parent.wait()
    until = time.monotonic() + 10
    while processes_of(beside) and time.monotonic() < until:
        time.sleep(0.05)
    assert not processes_of(beside), "uv goes on without its parent"
    assert environments.python_of(wanted) is None
    small = header(tmp_path, "tomli-w==1.2.0")
    environments.ensure(small)
    assert beside.exists(), "the folder of another header was swept"
    environments.remove(wanted.digest[:16])
    environments.ensure(wanted)
    assert not beside.exists()


def processes_of(folder: Path) -> list[int]:
    """Processes whose command line names a folder."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder) in one.read_text(errors="replace"):
                found.append(int(one.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.environment
def test_of_a_stranger_wheels_are_installed_only(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that is there as source only is refused, and its build does not run; what a wheel starts does not."""
    import tarfile
    import zipfile

    index, mark = tmp_path / "index", tmp_path / "mark"
    index.mkdir()
    source = tmp_path / "evil_source-1.0"
    source.mkdir()
    (source / "pyproject.toml").write_text("[build-system]\nrequires = []\nbuild-backend = 'b'\nbackend-path = ['.']\n")
    (source / "b.py").write_text(f"open({str(mark)!r}, 'w')\n")
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: evil-source\nVersion: 1.0\n")
    with tarfile.open(index / "evil_source-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, source.name)
    with zipfile.ZipFile(index / "evil_start-1.0-py3-none-any.whl", "w") as wheel:
        info = "evil_start-1.0.dist-info"
        wheel.writestr("evil.pth", f"import os; open({str(mark)!r}, 'w')\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: evil-start\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"evil.pth,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    with pytest.raises(EnvironmentBuildError, match="evil-source"):
        environments.ensure(header(tmp_path, "evil-source==1.0"), wheels_only=True)
    one = header(tmp_path, "evil-start==1.0")
    environments.ensure(one, wheels_only=True)
    assert "evil-start==1.0" in environments.packages_of(one)
    assert not mark.exists()
