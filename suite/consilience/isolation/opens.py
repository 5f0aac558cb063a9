"""Observation of the files that a process and its children open, on Linux, without privileges.

The traced process installs a seccomp filter that reports its `open` calls to another process, which notes the path and
lets the call continue (``SECCOMP_RET_USER_NOTIF``, Linux 5.5; see seccomp(2) and seccomp_unotify(2)). Every reader is
observed, whatever it is written in: Python's audit events miss those in C++ and Rust, and child processes. No `open` is
denied. A `connect` to another machine is, unless the job may use the network. This keeps what can't be traced out of an
embedding; it is no sandbox, which :mod:`.sandbox` is.

Needs the standard library alone: the first half runs in the worker's environment.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import ipaddress
import os
import platform
import select
import socket
import struct
import sys
import threading

#: System calls by machine: open (None where there is none), openat, openat2, connect, seccomp; the audit architecture.
_MACHINES: dict[str, tuple[int | None, int, int, int, int, int]] = {
    "x86_64": (2, 257, 437, 42, 317, 0xC000003E),
    "aarch64": (None, 56, 437, 203, 277, 0xC00000B7),
}
_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _NEW_LISTENER, _WAIT_KILLABLE = 1, 1 << 3, 1 << 5
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=Qqii")
_AT_FDCWD = -100
_PAGE = 4096
#: Places whose content describes the machine and the process, not the model.
_IGNORED = ("/proc/", "/sys/", "/dev/")


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("true", ctypes.c_ubyte), ("false", ctypes.c_ubyte), ("k", ctypes.c_uint))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


class _Span(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def report_opens(channel: int) -> bool:
    """Report what this process and its children open from now on to the other end of a socket.

    Parameters
    ----------
    channel
        File descriptor of a Unix socket; it is closed.

    Returns
    -------
    bool
        Whether the system allows it. Where it does not, the other end reads the end of the stream.
    """
    with socket.socket(fileno=channel) as connection:
        listener = _listener()
        if listener is None:
            return False
        # The first `open` after the filter waits until the other end has this descriptor.
        socket.send_fds(connection, [b"l"], [listener])
        os.close(listener)
    return True


def _listener() -> int | None:
    machine = _MACHINES.get(platform.machine()) if sys.platform == "linux" else None
    if machine is None or struct.calcsize("P") != 8:
        return None
    legacy, openat, openat2, connect, seccomp, architecture = machine
    calls = [number for number in (legacy, openat, openat2, connect) if number is not None]
    program = [
        _Instruction(_LOAD_WORD, 0, 0, 4),  # seccomp_data.arch
        _Instruction(_JUMP_IF_EQUAL, 0, len(calls) + 1, architecture),
        _Instruction(_LOAD_WORD, 0, 0, 0),  # seccomp_data.nr
        *(_Instruction(_JUMP_IF_EQUAL, len(calls) - i, 0, number) for i, number in enumerate(calls)),
        _Instruction(_RETURN, 0, 0, _ALLOW),
        _Instruction(_RETURN, 0, 0, _NOTIFY),
    ]
    instructions = (_Instruction * len(program))(*program)
    argument = _Program(len(program), instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return None
    for flags in (_NEW_LISTENER | _WAIT_KILLABLE, _NEW_LISTENER):  # the second flag: Linux 5.19
        listener = libc.syscall(seccomp, _SET_MODE_FILTER, flags, ctypes.byref(argument))
        if listener >= 0:
            return int(listener)
    return None


class Opens:
    """What a traced process opened, noted in a thread of this process until the traced one and its children end.

    Parameters
    ----------
    network
        Whether connections to other machines are allowed.

    Attributes
    ----------
    files
        Status of each path when it was first opened for reading (`os.stat_result`), None where there was no such file.
    written
        Paths that were created, truncated or opened for writing alone.
    shared
        Paths of files that were opened for reading and writing.
    relative
        Paths that were named relative to the working folder.
    complete
        Whether every call was observed: the traced process could install the filter.
    remote
        Addresses of other machines that it connected to, or would have.
    """

    def __init__(self, *, network: bool = False) -> None:
        self.network = network
        self.remote: set[str] = set()
        self.files: dict[str, os.stat_result | None] = {}
        self.written: set[str] = set()
        self.shared: set[str] = set()
        self.relative: set[str] = set()
        self.complete = False
        self._own, self._theirs = socket.socketpair()
        self._thread: threading.Thread | None = None

    @property
    def channel(self) -> int:
        """File descriptor to hand to the traced process."""
        return self._theirs.fileno()

    def start(self) -> None:
        """Begin to listen, once the traced process has inherited its end."""
        self._theirs.close()
        self._thread = threading.Thread(target=self._serve, daemon=True, name="opens")
        self._thread.start()

    def finish(self, timeout: float = 5.0) -> None:
        """Wait until the traced processes have ended; call it after they were."""
        if self._thread is not None:
            self._thread.join(timeout)
        self._own.close()

    def _serve(self) -> None:
        try:
            _, descriptors, _, _ = socket.recv_fds(self._own, 1, 1)
        except OSError:
            return
        if not descriptors:  # the filter is not allowed here
            return
        listener = descriptors[0]
        self.complete = True
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        buffer = bytearray(_NOTIFICATION.size)
        try:
            while True:
                events = poll.poll()
                if not any(event & select.POLLIN for _, event in events):
                    return  # nobody is left under the filter
                buffer[:] = bytes(_NOTIFICATION.size)
                try:
                    fcntl.ioctl(listener, _RECEIVE, buffer)
                except OSError:  # the caller was interrupted or killed meanwhile
                    continue
                identifier, pid, _, call, _, _, *arguments = _NOTIFICATION.unpack(buffer)
                denied = False
                try:
                    if call == _MACHINES[platform.machine()][3]:
                        denied = self._note_connection(pid, arguments)
                    else:
                        self._note(pid, call, arguments)
                except Exception:  # whatever it is, the caller must go on; what was not noted is not complete
                    self.complete = False
                answer = (-errno.ENETUNREACH, 0) if denied else (0, _CONTINUE)
                with contextlib.suppress(OSError):
                    fcntl.ioctl(listener, _SEND, _RESPONSE.pack(identifier, 0, *answer))
        finally:
            os.close(listener)

    def _note_connection(self, pid: int, arguments: list[int]) -> bool:
        """Note the address of a connection to another machine; whether to deny it."""
        remote = _remote_address(_memory_at(pid, arguments[1], min(arguments[2], 128)))
        if remote is None:
            return False
        self.remote.add(remote)
        return not self.network

    def _note(self, pid: int, call: int, arguments: list[int]) -> None:
        legacy, openat, *_ = _MACHINES[platform.machine()]
        if call == legacy:
            folder, address, flags = _AT_FDCWD, arguments[0], arguments[1]
        else:
            folder, address = ctypes.c_int(arguments[0] & 0xFFFFFFFF).value, arguments[1]
            flags = arguments[2] if call == openat else os.O_RDONLY
        name = os.fsdecode(_text_at(pid, address))
        relative = not name.startswith("/") and folder == _AT_FDCWD
        if not name.startswith("/"):
            link = f"/proc/{pid}/cwd" if folder == _AT_FDCWD else f"/proc/{pid}/fd/{folder}"
            name = os.path.join(os.readlink(link), name)
        if name.startswith(_IGNORED):
            return
        path = plain_path(name)
        if relative:
            self.relative.add(path)
        writes = flags & os.O_ACCMODE == os.O_WRONLY or bool(flags & os.O_TRUNC)
        if flags & os.O_ACCMODE == os.O_RDWR:
            self.shared.add(path)
        if path in self.files:
            if writes:
                self.written.add(path)
            return
        try:
            status = os.stat(path)
        except OSError:
            status = None
        if writes or (status is None and flags & os.O_CREAT):
            self.written.add(path)
        elif path not in self.written:
            self.files[path] = status


def plain_path(name: str) -> str:
    """Absolute path without ``.`` and ``..``; of ``link/..`` the folder that the system would open."""
    if "/.." in name:
        folder, last = os.path.split(name)
        return os.path.realpath(name) if last == ".." else os.path.join(os.path.realpath(folder), last)
    return os.path.normpath(name)


def _remote_address(content: bytes) -> str | None:
    """Address and port in a ``sockaddr``; None where it is this machine's, or no address of the internet."""
    if len(content) < 8:
        return None
    (family,) = struct.unpack_from("=H", content)
    if family == socket.AF_INET:
        address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.IPv4Address(content[4:8])
    elif family == socket.AF_INET6 and len(content) >= 24:
        address = ipaddress.IPv6Address(content[8:24])
        address = address.ipv4_mapped or address
    else:
        return None
    if address.is_loopback or address.is_unspecified or _is_own(str(address), family):
        return None
    (port,) = struct.unpack_from("!H", content, 2)
    return f"{f'[{address}]' if address.version == 6 else address}:{port}"


def _is_own(address: str, family: int) -> bool:
    """Whether this machine has the address: processes of one job may talk to each other."""
    try:
        with socket.socket(family if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind((address, 0))
    except OSError:
        return False
    return True


def _text_at(pid: int, address: int) -> bytes:
    """Text that ends with a zero byte, from the memory of another process."""
    return _memory_at(pid, address, _PAGE).split(b"\0", 1)[0]


def _memory_at(pid: int, address: int, length: int) -> bytes:
    """Up to so many bytes from the memory of another process; they may end with the page."""
    local = ctypes.create_string_buffer(length)
    first = min(_PAGE - address % _PAGE, length)
    remote = (_Span * 2)(_Span(address, first), _Span(address + first, length - first))
    own = _Span(ctypes.addressof(local), length)
    count = ctypes.CDLL(None, use_errno=True).process_vm_readv(
        pid, ctypes.byref(own), 1, ctypes.byref(remote), 2 if first < length else 1, 0
    )
    if count <= 0:
        raise OSError(ctypes.get_errno(), "memory of the traced process can't be read")
    return local.raw[:count]
