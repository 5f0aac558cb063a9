"""Pinned files that recipes read: fetched once, checked each time, never installed or run."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from consilience.callbacks import Tell

from .errors import SourceError as SourceError


@dataclass(frozen=True)
class FileSet:
    """Files of one source.

    Attributes
    ----------
    root
        Folder that they lie in.
    names
        Their paths inside it, with forward slashes, in order.
    origin
        Which files these are, exactly: repository and commit, or a digest. For the table's metadata.
    """

    root: Path
    names: tuple[str, ...]
    origin: str

    @property
    def paths(self) -> list[Path]:
        """Full paths, in order."""
        return [self.root / name for name in self.names]


class Sources:
    """Fetches sources and remembers what a table was made of.

    Parameters
    ----------
    folder
        Where they are kept: a build that was interrupted, or a second data set of the same source, finds them there.
    tell
        Called with a line for people before anything is downloaded.
    local
        Folder with files that the user has already (on a cluster without a network): they are read instead of those
        of a hub.
    """

    def __init__(self, folder: Path, tell: Tell = lambda line: None, local: Path | None = None) -> None:
        self.folder = folder
        self.tell = tell
        self.local = local
        self.used: list[dict[str, str]] = []
        """What was fetched, for the table's manifest."""

    def package(self, requirement: str, sha256: str, *, wheel: bool = True) -> Path:
        """Return one archive (``name==version``) of the configured package index, a wheel or a source archive.

        pip refuses an archive of another hash before it runs any of its code; we look once more, because the whole
        recipe rests on it.

        Raises
        ------
        SourceError
            The archive can't be obtained, or its SHA-256 differs.
        """

        def download(scratch: Path) -> None:
            requirements = scratch / "requirements.txt"
            requirements.write_text(f"{requirement} --hash=sha256:{sha256}\n")
            kind = ["--only-binary", ":all:"] if wheel else []
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            _run(
                [*command, "--require-hashes", *kind, "--dest", str(scratch), "-r", str(requirements)],
                scratch,
                requirement,
            )
            requirements.unlink()

        return self._keep(requirement, sha256, download)

    def debian(self, requirement: str, sha256: str) -> Path:
        """Return one archive (``name=version``) of the configured Debian mirror.

        Needs apt-get, with a release that has this version among its sources; raises `SourceError` otherwise.
        """
        if shutil.which("apt-get") is None:
            raise SourceError(f"{requirement} comes from Debian's archive, and there is no apt-get here")
        return self._keep(
            requirement,
            sha256,
            lambda scratch: _run(["apt-get", "download", "--quiet", requirement], scratch, requirement),
        )

    def installed(self, path: Path, sha256: str) -> Path:
        """Return a file of a package that the recipe's header asks for; raises `SourceError` where it is another."""
        self.used.append({"source": path.name, "sha256": sha256})
        digest = _sha256(path)
        if digest != sha256:
            raise SourceError(f"{path.name}: SHA-256 is {digest}, expected {sha256}")
        return path

    def hub(self, repository: str, patterns: Sequence[str], *, revision: str = "main", gated: bool = False) -> FileSet:
        """Return files of a data set on the Hugging Face hub, from the hub's own cache where they lie there.

        A branch is resolved to a commit once and remembered in `folder`, so that whatever is made later, or goes on
        after an interruption, is made of the same files.

        Parameters
        ----------
        repository
            ``owner/name``.
        patterns
            Which files, as the hub's own tools match them (``*`` crosses slashes).
        revision
            Commit, branch or tag.
        gated
            Whether its owner has to grant access: said at once to a user who is not logged in.

        Raises
        ------
        SourceError
            One line: no network, no such repository or files, no access.
        """
        if self.local is not None:
            return self.files(repository, patterns)
        from .hub import fetch

        root, commit = fetch(repository, patterns, revision=revision, gated=gated, folder=self.folder, tell=self.tell)
        self.used.append({"source": f"hub:datasets/{repository}", "commit": commit})
        return FileSet(root, _matching(root, patterns), f"hub:datasets/{repository}@{commit}")

    def files(self, what: str, patterns: Sequence[str], *, hint: str = "Get them yourself") -> FileSet:
        """Return files from the folder that the user named, where they have to be: no tool can fetch them.

        Their SHA-256 is kept as one: that of what ``sha256sum`` prints for them, in order.

        Parameters
        ----------
        what
            What they are, for people.
        patterns
            Which files: path inside the folder or, where none fits, the file's name alone.
        hint
            How to get them: what a user is told who named no folder.

        Raises
        ------
        SourceError
            No folder was named, or it has no such file.
        """
        if self.local is None:
            raise SourceError(f"{what}: can't be downloaded for you. {hint}; then name their folder (--from FOLDER)")
        if not self.local.is_dir():
            raise SourceError(f"{what}: there is no folder {self.local}")
        root = self.local.resolve()
        names = _matching(root, patterns) or _matching(root, [PurePosixPath(pattern).name for pattern in patterns])
        if not names:
            raise SourceError(f"{what}: no file in {self.local} is named {' or '.join(patterns)}")
        self.tell(f"reading {len(names):,} files of {what}")
        listing = "".join(f"{_sha256(root / name)}  {name}\n" for name in names)
        digest = hashlib.sha256(listing.encode()).hexdigest()
        self.used.append({"source": f"{what}: {len(names)} files of the user's", "sha256": digest})
        return FileSet(root, names, f"{what}: {len(names)} local files, SHA-256 of their list {digest}")

    def unpack(self, archive: Path, pattern: str) -> list[Path]:
        """Unpack those files of a ``.tar.gz`` whose name fits, once; returns them in order.

        Raises
        ------
        SourceError
            The archive is damaged, holds no such file, or one that would be written elsewhere.
        """
        home = self.folder / "unpacked" / _sha256(archive) / archive.name.removesuffix(".tar.gz")
        if not home.is_dir():
            self.tell(f"unpacking {archive.name}")
            home.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=home.parent, prefix="part-") as scratch:
                content = Path(scratch) / "content"
                try:
                    with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
                        for member in tar:
                            if member.isfile() and fnmatch(PurePosixPath(member.name).name, pattern):
                                tar.extract(member, content, filter="data")
                        while stream.read(2**20):  # to the checksum: a tar may end before its file does
                            pass
                # A truncated archive shows as any of these, depending on where it ends.
                except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
                    raise SourceError(f"{archive}: can't be unpacked: {error}") from error
                if not content.is_dir():
                    raise SourceError(f"{archive}: holds no {pattern}")
                content.replace(home)
        return [home / name for name in _matching(home, [pattern])]

    def _keep(self, requirement: str, sha256: str, download: Callable[[Path], None]) -> Path:
        self.used.append({"source": requirement, "sha256": sha256})
        home = self.folder / sha256
        stored_files = [path for path in home.glob("*") if path.is_file()]
        if len(stored_files) == 1 and _sha256(stored_files[0]) == sha256:
            return stored_files[0]
        shutil.rmtree(home, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tell(f"downloading {requirement}")
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="part-") as scratch:
            download(Path(scratch))
            archives = list(Path(scratch).iterdir())
            if len(archives) != 1:
                raise SourceError(
                    f"{requirement}: expected one archive, found {sorted(path.name for path in archives)}"
                )
            digest = _sha256(archives[0])
            if digest != sha256:
                raise SourceError(f"{archives[0].name}: SHA-256 is {digest}, expected {sha256}")
            home.mkdir()
            return archives[0].replace(home / archives[0].name)


def _run(command: list[str], folder: Path, what: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise SourceError(f"{what} could not be downloaded: {error}") from error
    if done.returncode != 0:
        words = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise SourceError(f"{what} could not be downloaded: {' '.join(words[-2:]) or f'exit code {done.returncode}'}")


def _matching(root: Path, patterns: Sequence[str]) -> tuple[str, ...]:
    """Files below a folder whose path fits a pattern, in order; what begins with a dot is nobody's data."""
    names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    names = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    return tuple(sorted(name for name in names if any(fnmatch(name, pattern) for pattern in patterns)))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
