"""Headers of strangers: packages of the configured index, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from consilience.header import ForeignHeaderError, Header, refuse_foreign


def header_of(folder: Path, text: str) -> Header:
    path = folder / "target_x.py"
    path.write_text("# /// script\n" + "".join(f"# {line}\n" for line in text.splitlines()) + "# ///\n", "utf-8")
    return Header.of(path)


@pytest.mark.parametrize(
    "text",
    [
        'dependencies = ["evil @ https://evil.example/evil-1.0-py3-none-any.whl"]',
        'dependencies = ["evil @ git+https://evil.example/evil"]',
        'dependencies = ["evil@git+ssh://git@evil.example/evil"]',
        'dependencies = ["evil @ file:///tmp/evil"]',
        "dependencies = [\"numpy[x] @ https://evil.example/evil.whl ; python_version > '3'\"]",
        'dependencies = ["./evil"]',
        'dependencies = ["/tmp/evil-1.0-py3-none-any.whl"]',
        'dependencies = ["../evil"]',
        'dependencies = ["https://evil.example/evil.whl"]',
        'dependencies = ["git+https://evil.example/evil"]',
        'dependencies = ["-e ./evil"]',
        'dependencies = ["--index-url https://evil.example"]',
        'dependencies = ["-r other.txt"]',
        'dependencies = ["numpy\\n--index-url https://evil.example"]',
        'dependencies = ["numpy --hash=sha256:0"]',
        "dependencies = [3]",
        '[tool.uv.sources]\nevil = { path = "/tmp/evil" }',
        '[tool.uv.sources]\nevil = { git = "https://evil.example" }',
        '[[tool.uv.index]]\nurl = "https://evil.example"',
        '[tool.uv]\nindex-url = "https://evil.example"',
        '[tool.uv]\nextra-index-url = ["https://evil.example"]',
        '[tool.uv]\nfind-links = ["https://evil.example"]',
        '[tool.uv]\nno-build-isolation-package = ["evil"]',
        '[tool.uv]\noverride-dependencies = ["numpy @ https://evil.example/evil.whl"]',
        '[tool.uv]\noverride-dependencies = "numpy @ https://evil.example/evil.whl"',
        'requires-python = "/tmp/evil/python"',
        '[tool.consilience]\npaths = ["/home/you"]',
        '[tool.consilience]\npaths = ["../../private"]',
        '[tool.consilience]\ninputs = ["~/.ssh/*"]',
    ],
)
def test_a_strangers_header_names_packages_of_the_index_only(tmp_path: Path, text: str) -> None:
    with pytest.raises(ForeignHeaderError) as error:
        refuse_foreign(header_of(tmp_path, text), "target_x.py")
    assert str(error.value).startswith("target_x.py: ")
    assert "\n" not in str(error.value)


def test_an_ordinary_header_passes(tmp_path: Path) -> None:
    text = (
        'requires-python = ">=3.11,<3.13"\ndependencies = ["torch==2.9.1", '
        "\"ase[test]>=3.23 ; sys_platform != 'win32'\"]\n"
        '[tool.uv]\noverride-dependencies = ["numpy<2"]\n[tool.consilience]\npaths = ["lib"]\ninputs = ["*.pt"]'
    )
    refuse_foreign(header_of(tmp_path, text), "target_x.py")


def test_every_header_of_the_suite_would_pass() -> None:
    """Those that need a package built from its source are known: a stranger can't ask for these."""
    from consilience.registry import PACKAGE, list_targets

    refused = []
    for path in sorted({target.path for target in list_targets().values() if target.path.is_relative_to(PACKAGE)}):
        try:
            refuse_foreign(Header.of(path), path.name)
        except ForeignHeaderError:
            refused.append(path.name)
    assert len(refused) <= 10, refused
