"""How language models are asked about matter: the paper's three styles, from one template.

The paper (arXiv 2512.03750, appendix B) prompts each model with a long system prompt and a SMILES, with one sentence
and a SMILES, and with one sentence and the atoms printed out. Its wording was not at hand; this is ours.
"""

from __future__ import annotations

from typing import Any

#: One sentence ("blank" in the paper).
SHORT = "You are given the description of a chemical structure."
#: The default style of the paper has a long system prompt.
LONG = """You are an expert in chemistry, physics and materials science. You are given the description of one chemical \
structure: a molecule written as a SMILES string. Read it carefully and form a complete picture of the structure: \
which atoms there are, how they are bonded and arranged in space, which functional groups and rings they form, what \
charge and spin state the structure has, and how stable it is. Consider the properties that follow from it: its total \
energy and heat of formation, its geometry and vibrations, its dipole moment and polarizability, the energies of its \
frontier orbitals, its reactivity and its solubility. Represent everything that tells this structure from similar \
ones. Do not answer with text; your understanding of the structure is what is wanted."""


def describe(item: Any) -> str:
    """Description of an item: its SMILES, or its atoms printed out (symbols, numbers, positions, cell, pbc)."""
    if isinstance(item, str):
        if not item:
            raise ValueError("empty: there is nothing to read")
        return f"SMILES: {item}"
    positions = [[round(float(x), 4) for x in row] for row in item.positions]
    cell = [[round(float(x), 4) for x in row] for row in item.cell]
    return (
        f"Atoms(symbols={item.get_chemical_formula()!r}, numbers={item.numbers.tolist()}, positions={positions}, "
        f"cell={cell}, pbc={item.pbc.tolist()})"
    )
