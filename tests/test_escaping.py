"""Text of others does nothing where it is shown: terminals, CI logs, Markdown, HTML, CSV; secrets are masked."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from consilience.board.markdown import tabulated
from consilience.escaping import clean, code, csv_cell, markdown, masked, one_line, shown
from consilience.study.export import table_csv

SECRET = "hf_abcdefghijklmnop"  # noqa: S105
NASTY = [
    "a|b||c",
    "line one\nline two\r\nthree\rfour\u2028five\x85six",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!-- comment",
    "</details></td></table>",
    "&lt;b&gt; &#60;b&#62;",
    "[here](https://evil.example/a)",
    "[here] (https://evil.example)",
    "[here]\n(https://evil.example)",
    "![picture](https://evil.example/a.png)",
    "[a][b]",
    "[a]: https://evil.example",
    "https://evil.example/path www.evil.example",
    "<https://evil.example>",
    "@everyone and @org/team",
    "`code` ``more``",
    "```\nfence",
    "\\|\\`\\[x](y)",
    "**bold** __bold__ _it_ ~~gone~~",
    "# heading",
    "> quote",
    "- item",
    "1. item",
    "$x^2$ $$y$$",
    "#1 GH-1",
    "=HYPERLINK(\"https://evil.example\")",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1",
    " =1+1",
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;https://evil.example\x07link\x1b]8;;\x07",
    "\x1b]0;title\x07\x9b2J",
    "\x00\x07\x08\x7f",
    "safe\u202egnp.exe \u2066x\u2069 \u200f \ufeff",
    "progress\rfake: all passed",
    "::set-output name=a::b",
    "  ::warning file=x::text",
    "fine\n::error::bad",
    "##[error]bad and more ##[warning]",
    "::stop-commands::x",
    f"the token is {SECRET}.",
]  # fmt: skip
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("HTTPS_PROXY", "http://user:pa55w0rd@proxy:3128")
    monkeypatch.setenv("DEPLOY_KEY", "-----BEGIN KEY-----\nline1\nline2\n")


def disarmed(text: str) -> bool:
    """Whether neither a terminal nor GitHub Actions does anything with a text."""
    return not (
        CONTROL.search(text)
        or SECRET in text
        or "##[" in text
        or any(line.lstrip().startswith("::") for line in text.splitlines())
    )


@pytest.mark.parametrize("text", NASTY)
def test_a_terminal_and_ci_do_nothing_with_it(text: str) -> None:
    assert disarmed(shown(text))
    assert disarmed(one_line(text))
    assert "\n" not in one_line(text)
    for line in (tabulated([["name", "reason"], ["a", text]], "simple"), f"not scored {one_line(text)}"):
        assert disarmed(line)


def test_every_nasty_text_is_one() -> None:
    """Each does something in one place at least: an escape that leaves all as they are would not pass."""
    for text in NASTY:
        assert (
            not disarmed(text) or markdown(text) != text or csv_cell(text) != text or text != one_line(text)
        ), text  # fmt: skip


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append(tag)


def rendered(source: str) -> list[str]:
    """Tags of HTML that a Markdown source becomes."""
    markdown_it = pytest.importorskip("markdown_it")
    page = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(source)
    parser = _Tags()
    parser.feed(page)
    return parser.tags


@pytest.mark.parametrize("text", NASTY)
def test_markdown_shows_it_as_text(text: str) -> None:
    escaped = markdown(text)
    assert "\n" not in escaped
    assert not CONTROL.search(escaped)
    assert not re.search(r"(?<![\w.+-])@\w", escaped)
    assert "://" not in escaped
    assert SECRET not in escaped
    assert set(rendered(escaped)) <= {"p"}
    table = rendered(tabulated([["target", "reason"], ["a", text]], "pipe"))
    assert table.count("td") == 2
    assert set(table) <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert set(rendered(f"x `{code(text)}` y")) <= {"p", "code"}


@pytest.mark.parametrize("text", NASTY)
def test_a_spreadsheet_takes_it_for_text(text: str) -> None:
    content = table_csv([{"id": text, "value": -0.5}])
    (_, row) = csv.reader(io.StringIO(content))
    assert row[0].lstrip(" ")[:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert not CONTROL.search(row[0])
    assert row[1] == "-0.5"


@pytest.mark.parametrize("text", NASTY)
def test_html_shows_it_as_text(text: str) -> None:
    from consilience.site.pages import environment

    page = environment().from_string('<p title="{{ text }}">{{ text }}</p>').render(text=text)
    parser = _Tags()
    parser.feed(page)
    assert parser.tags == ["p"]
    assert not CONTROL.search(page)
    assert SECRET not in page


def test_secrets_are_masked() -> None:
    assert masked(f"Bearer {SECRET}") == "Bearer ***"
    assert masked("http://user:pa55w0rd@proxy:3128 refused") == "http://user:***@proxy:3128 refused"
    assert masked("-----BEGIN KEY----- line1 line2") == "***"
    assert clean("CUDA_VISIBLE_DEVICES=0") == "CUDA_VISIBLE_DEVICES=0"


def test_a_model_that_says_a_token_is_masked_everywhere(tmp_path: Path, write_target: Any) -> None:
    """In the reason, in the log, on the terminal; commands of CI in the exception do nothing."""
    from consilience.cli import main

    file = write_target(
        "return Embedded([[len(a), a.positions.std()] for a in items])\n",
        name="talks",
        preamble=f"print('token {SECRET}')\nraise RuntimeError('::error::{SECRET}\\n::set-output name=x::y\\x1b[2J')\n",
    )
    done = CliRunner().invoke(main, ["check", str(file), "--items", "4"])
    assert done.exit_code == 1
    assert "***" in done.output
    assert disarmed(done.output), done.output


@pytest.mark.slow
def test_pytest_shows_a_failed_cell_without_secrets_or_commands(
    pytester: pytest.Pytester, write_target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_target(
        "return Embedded([[1.0]])\n",
        name="cries",
        preamble=f"raise RuntimeError('{SECRET} ##[error]x | <b>')\n",
    )
    report = pytester.path / "report.md"
    done = pytester.runpytest_subprocess(
        str(file), "--benchmark", "--align-datasets=qm9-1k", "--align-limit=24", f"--align-report={report}", "-rA"
    )
    text = done.stdout.str()
    assert "cries" in text
    assert disarmed("\n".join(line for line in text.splitlines()))
    assert "\\|" in report.read_text("utf-8")
    assert "<b>" not in report.read_text("utf-8")
    assert SECRET not in report.read_text("utf-8")
