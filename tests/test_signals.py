"""A signal ends this process tidily, and forked processes at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from consilience.signals import end_on

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks of Unix")


def run(code: str) -> subprocess.CompletedProcess[str]:
    text = textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)


def test_a_signal_calls_the_handler_and_is_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    remove = end_on(["SIGTERM", "SIGNONE"], signal.default_int_handler)
    try:
        if before is signal.SIG_DFL:
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
    finally:
        remove()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_pool_of_forked_processes_can_be_ended() -> None:
    """Again and again: a handler of the parent's was lost where the child waited for a lock."""
    done = run("""
        import multiprocessing, signal
        from consilience.signals import end_on
        end_on(["SIGTERM"], signal.default_int_handler)
        for _ in range(60):
            pool = multiprocessing.get_context("fork").Pool(2)
            assert list(pool.imap(abs, [-1, 2])) == [1, 2]
            pool.terminate()
            pool.join()
        print("ended")
    """)
    assert done.stdout.strip() == "ended", done.stderr


def test_what_is_ignored_stays_ignored() -> None:
    done = run("""
        import os, signal
        from consilience.signals import end_on
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        end_on(["SIGHUP"], signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGHUP)
        print("goes on")
    """)
    assert done.stdout.strip() == "goes on"
