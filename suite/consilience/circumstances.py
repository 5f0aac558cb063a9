"""Failures of circumstance: those that memory, time, disk, network or a signal cause, and no property of a model.

They are never stored as an item's own failure nor published as a target's: the next run tries again. This module is
imported by the worker too and needs the standard library alone.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

#: What exceptions of numpy, torch, CUDA, JAX, TensorFlow, Arrow and the C library say when memory ends.
_OUT_OF_MEMORY = re.compile(
    r"out of (?:\w+ )?memory|outofmemory|(?:can't|cannot|could not|unable to|failed to) allocate|alloc_failed"
    r"|not enough memory|insufficient memory|bad_alloc|memoryerror|memory allocation (?:failed|of)"
    r"|malloc\w* (?:of|failed)"
    r"|resource_exhausted|resourceexhausted|cudaerrormemoryallocation|mmap failed|unable to mmap",
    re.IGNORECASE,
)
#: What else the machine, not the model, is to blame for.
_CIRCUMSTANCE = re.compile(
    r"no space left on device|disk quota exceeded|too many open files|can't start new thread|read-only file system"
    r"|resource temporarily unavailable|input/output error|stale file handle|no file descriptors available"
    r"|no cuda-capable device|cuda driver initialization failed|cuda error:|hip error:"
    r"|timed out|time limit of|timeouterror|brokenprocesspool|killed by signal|was ended by sig",
    re.IGNORECASE,
)
#: The network among it.
_NETWORK = re.compile(
    r"connect(?:error|ion(?:error|reset| reset| refused| aborted))|max retries exceeded|urlerror|urlopen"
    r"|temporary failure in name resolution|name or service not known|network is unreachable|dns error"
    r"|error sending request|failed to (?:fetch|download)|could not be fetched|localentrynotfound",
    re.IGNORECASE,
)
_ERRNO_NAMES = """
    EAGAIN ECONNREFUSED ECONNRESET EDQUOT EFBIG EHOSTUNREACH EINTR EIO EMFILE ENETUNREACH ENFILE ENODEV ENOLCK ENOMEM
    ENOSPC EROFS ESTALE ETIMEDOUT
"""
_ERRNOS = frozenset(getattr(errno, name) for name in _ERRNO_NAMES.split() if hasattr(errno, name))
#: Kinds of exception, by name: the packages that define them need not be there.
_KIND_NAMES = """
    ArrowMemoryError BrokenProcessPool ConnectError ConnectTimeout ConnectionError HTTPError IncompleteRead
    LocalEntryNotFoundError MemoryError OfflineModeIsEnabled OutOfMemoryError ReadTimeout TimeoutError URLError
"""
_KINDS = frozenset(_KIND_NAMES.split())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ended, here or in an exception that led to this one."""
    return any(
        isinstance(one, MemoryError)
        or (isinstance(one, OSError) and one.errno == errno.ENOMEM)
        or _OUT_OF_MEMORY.search(f"{type(one).__name__} {_text(one)}") is not None
        for one in chain(error)
    )


def is_circumstance(error: BaseException) -> bool:
    """Whether the machine, not the model, is to blame for an exception, or for one that led to it."""
    return is_out_of_memory(error) or any(
        (isinstance(one, OSError) and one.errno in _ERRNOS)
        or any(kind.__name__ in _KINDS for kind in type(one).__mro__)
        or _CIRCUMSTANCE.search(_text(one)) is not None
        or tells_of_network(_text(one))
        for one in chain(error)
    )


def tells_of_circumstance(text: str) -> bool:
    """Whether a reason, stated in words, is one of circumstance: targets catch exceptions themselves."""
    return any(one.search(text) is not None for one in (_OUT_OF_MEMORY, _CIRCUMSTANCE, _NETWORK))


def tells_of_network(text: str) -> bool:
    """Whether a reason says that another machine could not be reached."""
    return _NETWORK.search(text) is not None


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, and those that it was raised from, or while they were handled."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        cause = following.__cause__
        following = cause if cause is not None or following.__suppress_context__ else following.__context__


def cut(text: str, limit: int = 300) -> str:
    """Text in one line, its middle left out where it is longer than the limit."""
    if len(text) > 8 * limit:  # not split as a whole: it may be gigabytes
        text = f"{text[: 4 * limit]} ... {text[-4 * limit :]}"
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit * 2 // 3]} ... {text[-(limit // 3) :]}"


def in_words(error: BaseException, limit: int = 1000) -> str:
    """One line for people: what an exception says, without Python's quotes and numbers."""
    if isinstance(error, MemoryError):
        details = cut(str(error), limit)
        return f"out of memory ({details})" if details else "out of memory"
    if isinstance(error, OSError) and error.strerror:
        files = " -> ".join(str(one) for one in (error.filename, error.filename2) if one is not None)
        return cut(f"{files}: {error.strerror}" if files else error.strerror, limit)
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}: " if error.filename else ""
        return cut(f"{place}{type(error).__name__}: {error.msg}", limit)
    first = error.args[0] if len(error.args) == 1 else None
    text = cut(first if isinstance(first, str) else _text(error), limit)
    return text or type(error).__name__


def named(error: BaseException, limit: int = 300) -> str:
    """Kind of an exception and what it says, in one line."""
    text = cut(_text(error), limit)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # an exception whose text can't be made
        return ""
