"""docs/glossary.md holds few terms, and a target's author meets six of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
from click.testing import CliRunner

from consilience.cli import main

ROOT = Path(__file__).parents[1]
MODALITIES = ("atoms", "string", "graph", "protein_sequence", "protein_structure", "text")
#: What a target's author has to know: README's instructions and the file that `consilience new target` writes.
AUTHOR_TERMS = {"target", "card", "data set", "reference", "alignment", "twin"}


def glossary() -> list[str]:
    """Return the terms that the glossary defines."""
    return re.findall(r"^- \*\*(.+?)\*\*: \S", (ROOT / "docs" / "glossary.md").read_text("utf-8"), flags=re.MULTILINE)


def terms_in(text: str) -> set[str]:
    """Return the terms of the glossary that occur in a text, in singular or plural, in any case."""
    words = " ".join(text.split())
    return {term for term in glossary() if re.search(rf"\b{term}s?\b", words, flags=re.IGNORECASE)}


def instructions() -> str:
    """Return README's section "Score your checkpoint", up to the table of options."""
    section = (ROOT / "README.md").read_text("utf-8").split("\n## Score your checkpoint\n")[1]
    return section.split("\n## ")[0].split("<!-- options -->")[0]


def new_target(modality: str, folder: Path) -> str:
    """Return what `consilience new target` writes to a file and prints."""
    path = folder / "target_mymodel.py"
    result = CliRunner().invoke(main, ["new", "target", "--modality", modality, "--output", str(path)])
    assert result.exit_code == 0, result.output
    return path.read_text("utf-8") + result.output.replace(str(path), path.name)


def test_the_glossary_has_at_most_15_terms_each_defined_once() -> None:
    terms = glossary()
    assert len(terms) == len(set(terms)) <= 15
    assert set(terms) >= AUTHOR_TERMS


def test_plurals_and_line_breaks_count_and_parts_of_words_do_not() -> None:
    assert terms_in("Targets on two data\nsets.") == {"target", "data set"}
    assert terms_in("cellular, keyboard, misalignment") == set()


def test_what_a_target_author_reads_uses_six_terms(tmp_path: Path) -> None:
    text = instructions()
    for modality in MODALITIES:
        (tmp_path / modality).mkdir()
        text += new_target(modality, tmp_path / modality)
    assert terms_in(text) == AUTHOR_TERMS


def test_each_new_target_names_all_six_terms(tmp_path: Path) -> None:
    for modality in MODALITIES:
        (tmp_path / modality).mkdir()
        assert terms_in(new_target(modality, tmp_path / modality)) == AUTHOR_TERMS, modality


def help_texts() -> str:
    """Return the help of every command."""

    def texts(command: click.Command, context: click.Context) -> Iterator[str]:
        yield command.get_help(context)
        for name, child in getattr(command, "commands", {}).items():
            yield from texts(child, click.Context(child, context, info_name=name))

    return "\n".join(texts(main, click.Context(main, info_name="consilience")))


def test_phrases_that_were_replaced_stay_out() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    text = " ".join("\n".join([*(page.read_text("utf-8") for page in pages), help_texts()]).split())
    for phrase in ("at hand", "whose neighbours", "the picture clears", "and nothing else", "are had", "no merit",
                   "No interval knows", "tells nothing apart", "who is whose"):  # fmt: skip
        assert phrase not in text, phrase
