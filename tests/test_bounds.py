from __future__ import annotations

import json
from pathlib import Path

import pytest

from consilience.board.groups import read_pairs
from consilience.bounds import parse_json, parse_toml
from consilience.header import Header
from consilience.records.migrations import parse_record
from consilience.records.spec import read_spec
from consilience.session.request import SessionError, find_repository_table

GOLDEN = Path(__file__).parent / "records" / "golden"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' stands twice"),
        ('{"a": NaN}', "NaN is no JSON"),
        ('{"a": -Infinity}', "Infinity is no JSON"),
        ('{"a": 1e999}', "too large"),
        (f'{{"a": {"9" * 5000}}}', "digits"),
    ],
)
def test_json_that_is_none_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_json(text)
    with pytest.raises(ValueError, match=says):
        parse_json(text.encode())


def test_deep_toml_is_refused_wherever_it_is_read(tmp_path: Path) -> None:
    deep = "a = " + "[" * 100_000
    with pytest.raises(ValueError, match="nested too deep"):
        parse_toml(deep)
    path = tmp_path / "spec.toml"
    path.write_text(deep)
    with pytest.raises(ValueError, match=r"spec\.toml: it is nested too deep"):
        read_spec(path)
    path = tmp_path / "target_a.py"
    path.write_text(f"# /// script\n# {deep}\n# ///\n")
    with pytest.raises(ValueError, match=r"target_a\.py: .* nested too deep"):
        Header.of(path)
    (tmp_path / "pyproject.toml").write_text(f"# consilience\n{deep}\n")
    with pytest.raises(SessionError, match=r"pyproject\.toml: it is nested too deep"):
        find_repository_table(tmp_path)


def test_a_header_that_is_no_text_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "target_a.py").write_bytes(b"# \xff\n")
    with pytest.raises(ValueError, match=r"target_a\.py: not a text of UTF-8"):
        Header.of(tmp_path / "target_a.py")


@pytest.mark.parametrize("value", ["0.5", True, [0.5], {"value": 0.5}])
def test_a_field_of_another_type_is_refused(value: object) -> None:
    content = json.loads((GOLDEN / "record.v2.json").read_bytes())
    content["coverage"] = value
    with pytest.raises(ValueError, match="coverage"):
        parse_record(json.dumps(content).encode(), "a.json")


def test_a_field_that_stands_twice_is_refused(tmp_path: Path) -> None:
    text = (GOLDEN / "record.v2.json").read_text().rstrip().removesuffix("}")
    with pytest.raises(ValueError, match="'coverage' stands twice"):
        parse_record(f'{text}, "coverage": 0.1}}'.encode(), "a.json")
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "mp-1k.json").write_text('{"board": "v1", "board": "v2"}')
    with pytest.raises(ValueError, match="'board' stands twice"):
        read_pairs(tmp_path, "mp-1k")
