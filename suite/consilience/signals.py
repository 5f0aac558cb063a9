"""Handlers of signals that end this process tidily, and that processes forked from it do not inherit."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any


def end_on(names: Iterable[str], end: Callable[[int, FrameType | None], Any]) -> Callable[[], None]:
    """Call `end` where a signal would end this process at once.

    A forked process (of a pool, say) ends at once as before: a handler in Python is lost where its process waits in C.

    Parameters
    ----------
    names
        Names of signals; one that is not there, or is handled or ignored already (nohup), is left as it is.
    end
        Called with the signal's number and the frame; it raises.

    Returns
    -------
    Callable
        Removes the handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    numbers = [number for name in names if (number := getattr(signal, name, None)) is not None]
    numbers = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    own = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        end(number, frame)

    def remove() -> None:
        for number in numbers:
            if signal.getsignal(number) is handle:
                signal.signal(number, signal.SIG_DFL)

    for number in numbers:
        signal.signal(number, handle)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=remove)
    return remove
