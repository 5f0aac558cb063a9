"""What pickles name, by their opcodes."""

from __future__ import annotations

import collections
import pickle
import subprocess

from consilience.pickles import foreign_globals, is_pickle


def test_globals_of_a_pickle_are_listed_whatever_its_protocol() -> None:
    names = (print, collections.OrderedDict, subprocess.Popen)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        listed = foreign_globals(pickle.dumps(names, protocol=protocol))
        assert listed == ("builtins.print", "subprocess.Popen")
    assert foreign_globals(pickle.dumps(1) + pickle.dumps(print)) == ("builtins.print",)


def test_pickles_of_every_protocol_are_recognised() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for value in ({"a": 1}, [1.0], collections.OrderedDict(a=1)):
            assert is_pickle(pickle.dumps(value, protocol=protocol))
    for head in (b"", b"{}", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"energy = 1\n"):
        assert not is_pickle(head)
