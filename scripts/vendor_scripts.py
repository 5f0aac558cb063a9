"""Make ``suite/consilience/site/static/vendor`` anew: the scripts of the site, from their packages, with licences.

Packages are had through npm as it is set up here. Run it after changing a version below, look at the site, and commit
the folder; tests/site hold the files to the checksums in ``vendor.toml``.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "suite" / "consilience" / "site" / "static" / "vendor"


@dataclass(frozen=True)
class Script:
    """A file of a package of npm."""

    name: str
    package: str
    version: str
    licence: str
    member: str
    licence_member: str

    @property
    def file(self) -> str:
        """Name in the folder."""
        return Path(self.member).name

    @property
    def licence_file(self) -> str:
        """Name of the licence's text in the folder."""
        return f"{self.package}.LICENSE.txt"


#: The version of plotly.js has to be the one that the Python package plotly writes figures for. Its whole bundle is
#: three times the size of these two, and a page is to stay below 5 MB with its scripts.
SCRIPTS = (
    Script("plotly-cartesian", "plotly.js", "4.1.1", "MIT", "dist/plotly-cartesian.min.js", "LICENSE"),
    Script("plotly-gl2d", "plotly.js", "4.1.1", "MIT", "dist/plotly-gl2d.min.js", "LICENSE"),
    Script("3dmol", "3dmol", "2.5.5", "BSD-3-Clause", "build/3Dmol-min.js", "LICENSE"),
)
_HEAD = "# Made by scripts/vendor_scripts.py; do not edit.\n"
_ENTRY = """
[[script]]
name = "{name}"
package = "{package}"
version = "{version}"
licence = "{licence}"
file = "{file}"
sha256 = "{sha256}"
licence_file = "{licence_file}"
licence_sha256 = "{licence_sha256}"
"""


def fetch(package: str, version: str, folder: Path) -> Path:
    """Archive of a package, by npm."""
    packed = subprocess.run(
        ["npm", "pack", f"{package}@{version}", "--silent", "--pack-destination", str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    return folder / packed.stdout.split()[-1]


def main() -> int:
    """Write the folder anew."""
    if shutil.which("npm") is None:
        print("vendor_scripts: npm is needed and not on the PATH", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as temporary:
        new = Path(temporary) / "vendor"
        new.mkdir()
        archives: dict[tuple[str, str], Path] = {}
        text = _HEAD
        for script in SCRIPTS:
            key = (script.package, script.version)
            archive = archives[key] = archives.get(key) or fetch(*key, Path(temporary))
            for member, file in ((script.member, script.file), (script.licence_member, script.licence_file)):
                with tarfile.open(archive) as opened:
                    content = opened.extractfile(f"package/{member}")
                    if content is None:
                        raise ValueError(f"{script.package} {script.version} holds no {member}")
                    (new / file).write_bytes(content.read())
            text += _ENTRY.format(
                **{name: getattr(script, name) for name in ("name", "package", "version", "licence")},
                file=script.file,
                licence_file=script.licence_file,
                sha256=hashlib.sha256((new / script.file).read_bytes()).hexdigest(),
                licence_sha256=hashlib.sha256((new / script.licence_file).read_bytes()).hexdigest(),
            )
        (new / "vendor.toml").write_text(text, "utf-8")
        shutil.rmtree(FOLDER, ignore_errors=True)
        shutil.copytree(new, FOLDER)
    for file in sorted(FOLDER.iterdir()):
        print(f"{file.name}: {file.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
