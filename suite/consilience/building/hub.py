"""Files of the Hugging Face hub: one commit per data set, resolved once; errors in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from consilience.callbacks import Tell

from .errors import SourceError

#: Seconds to wait for an answer of the hub. Its library would try five times, for 24 s in all.
HUB_TIMEOUT_S = 10.0


def fetch(
    repository: str,
    patterns: Sequence[str],
    *,
    revision: str,
    gated: bool,
    folder: Path,
    tell: Tell,
) -> tuple[Path, str]:
    """Return the folder of a data set's files and their commit (see :meth:`Sources.hub`)."""
    from huggingface_hub import HfApi, get_token, snapshot_download
    from huggingface_hub.errors import CachedRepoTreeNotFoundError, LocalEntryNotFoundError

    commit = revision if _is_commit(revision) else _remembered(folder, repository, revision)
    with _one_line(repository):
        if commit is not None:
            try:
                return Path(_cached(repository, patterns, commit)), commit
            except (CachedRepoTreeNotFoundError, LocalEntryNotFoundError):
                pass
        if gated and get_token() is None:
            raise SourceError(_access(repository))
        # One request without retries: it tells at once whether the hub can be reached, and which commit there is.
        info = HfApi().dataset_info(repository, revision=commit or revision, timeout=HUB_TIMEOUT_S)
        files = [file.rfilename for file in info.siblings or ()]
        if not any(fnmatch(file, pattern) for file in files for pattern in patterns):
            raise SourceError(f"{repository} has no file named {' or '.join(patterns)} (commit {info.sha})")
        commit = str(info.sha)
        _remember(folder, repository, revision, commit)
        tell(f"downloading {repository} at {commit[:12]}")
        root = snapshot_download(
            repository, repo_type="dataset", revision=commit, allow_patterns=list(patterns), etag_timeout=HUB_TIMEOUT_S
        )
    return Path(root), commit


def _cached(repository: str, patterns: Sequence[str], commit: str) -> str:
    """Folder of a snapshot that is complete on this machine; raises an error of the hub where there is none."""
    from huggingface_hub import get_cached_repo_tree, snapshot_download

    # Without a listing of the commit's files, the library would take whatever lies there for all of them.
    get_cached_repo_tree(repository, repo_type="dataset", revision=commit)
    return snapshot_download(
        repository, repo_type="dataset", revision=commit, allow_patterns=list(patterns), local_files_only=True
    )


def _is_commit(revision: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def _note(folder: Path, repository: str, revision: str) -> Path:
    return folder / "commits" / re.sub(r"[^A-Za-z0-9._@-]+", "--", f"{repository}@{revision}")


def _remembered(folder: Path, repository: str, revision: str) -> str | None:
    note = _note(folder, repository, revision)
    commit = note.read_text("ascii").strip() if note.is_file() else ""
    return commit if _is_commit(commit) else None


def _remember(folder: Path, repository: str, revision: str, commit: str) -> None:
    note = _note(folder, repository, revision)
    note.parent.mkdir(parents=True, exist_ok=True)
    temporary = note.with_name(note.name + ".part")
    temporary.write_text(commit + "\n", "ascii")
    temporary.replace(note)


def _access(repository: str) -> str:
    page = f"https://huggingface.co/datasets/{repository}"
    return f"{repository} is gated: ask for access at {page}, then log in with `hf auth login`"


@contextmanager
def _one_line(repository: str) -> Iterator[None]:
    """Turn what the hub's library raises into one line that says what to do."""
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    otherwise = "or name a folder that holds its files (--from FOLDER)"
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise SourceError(
            f"{repository} is not on this machine and HF_HUB_OFFLINE forbids to fetch it: unset it, {otherwise}"
        ) from error
    except GatedRepoError as error:  # before its base class
        raise SourceError(_access(repository)) from error
    except RepositoryNotFoundError as error:
        raise SourceError(
            f"the hub has no data set {repository}, or it is private: see https://huggingface.co/datasets/{repository}"
        ) from error
    except RevisionNotFoundError as error:
        raise SourceError(f"{repository} has no such revision: {_first_line(error)}") from error
    except HfHubHTTPError as error:
        raise SourceError(f"the hub refused {repository}: {_first_line(error)}") from error
    except (httpx2.HTTPError, OSError) as error:
        raise SourceError(
            f"{repository}: the hub can't be reached ({_first_line(error)}): try again with a network, {otherwise}"
        ) from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
