"""Trees of models: neighbour joining on distances between profiles of agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Added to every entry of a profile, so that none is zero; the paper does not state its own.
EPSILON = 1e-6
#: Weight of rows against columns; of no consequence for a symmetric matrix. The paper does not state its own.
ALPHA = 0.5


def profile_distances(
    matrix: NDArray[np.float64], *, alpha: float = ALPHA, epsilon: float = EPSILON
) -> NDArray[np.float64]:
    """Jensen-Shannon distances between the models' profiles of agreement.

    The profile of a model is its row (and its column) of the matrix, with `epsilon` added and scaled to a sum of 1:
    how its agreement is spread over all models. ``D = alpha sqrt(JSD of rows) + (1 - alpha) sqrt(JSD of columns)``,
    with logarithms to base 2, hence between 0 and 1.

    Parameters
    ----------
    matrix
        (M, M) agreement, each model with itself on the diagonal; negative values count as zero.
    alpha
        Weight of the rows.
    epsilon
        Added to every entry.

    Raises
    ------
    ValueError
        A value is missing, or `alpha` or `epsilon` is out of range.

    References
    ----------
    Edamadaka et al., arXiv 2512.03750, section on the evolutionary tree.
    """
    from scipy.spatial.distance import pdist, squareform

    if np.isnan(matrix).any():
        raise ValueError(f"matrix: {int(np.isnan(matrix).sum())} values are NaN")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha: expected a weight between 0 and 1, found {alpha}")
    if epsilon <= 0:
        raise ValueError(f"epsilon: expected a number above 0, found {epsilon}")
    total = np.zeros(matrix.shape)
    for weight, profiles in ((alpha, matrix), (1 - alpha, matrix.T)):
        spread = np.maximum(profiles, 0) + epsilon
        spread = spread / spread.sum(axis=1, keepdims=True)
        # natural logarithms: a JSD to base 2 is smaller by ln 2
        total += weight * squareform(pdist(spread, "jensenshannon")) / np.sqrt(np.log(2))
    return total


def neighbor_joining(names: Sequence[str], distances: NDArray[np.float64]) -> Any:
    """Tree of three or more models by neighbour joining, rooted at its midpoint.

    Parameters
    ----------
    names
        Models.
    distances
        (M, M), symmetric.

    Returns
    -------
    skbio.TreeNode
        Branches that come out negative have length zero. The root is there to draw it: neighbour joining knows none.

    Raises
    ------
    ValueError
        There are fewer than three models.

    References
    ----------
    N. Saitou, M. Nei, Mol. Biol. Evol. 4, 406 (1987).
    """
    if len(names) < 3:
        raise ValueError(f"names: a tree takes at least three models, found {len(names)}")
    from skbio.stats.distance import DistanceMatrix
    from skbio.tree import nj

    distances = (distances + distances.T) / 2
    np.fill_diagonal(distances, 0)
    tree = nj(DistanceMatrix(distances, list(names)))
    # Where all models are equally far apart there is no midpoint to look for.
    return tree.root_at_midpoint() if distances.any() else tree


@dataclass(frozen=True)
class Layout:
    """A tree as lines on paper.

    Attributes
    ----------
    leaves
        Models by their place (x: distance from the root, y: line), from top to bottom.
    x, y
        Corners of all branches, with None between two branches.
    """

    leaves: dict[str, tuple[float, float]]
    x: list[float | None]
    y: list[float | None]


def layout(tree: Any) -> Layout:
    """Lay a tree out as a rectangular dendrogram: leaves on lines 0, 1, 2..., large clades below small ones."""
    depth: dict[int, float] = {}
    size: dict[int, int] = {}
    for node in tree.preorder():
        depth[id(node)] = 0.0 if node.parent is None else depth[id(node.parent)] + max(0.0, float(node.length or 0.0))
    for node in tree.postorder():
        size[id(node)] = 1 if node.is_tip() else sum(size[id(child)] for child in node.children)
        node.children.sort(key=lambda child: (size[id(child)], _first(child)))
    leaves: dict[str, tuple[float, float]] = {}
    lines: dict[int, float] = {}
    x: list[float | None] = []
    y: list[float | None] = []
    for node in tree.postorder():
        own = depth[id(node)]
        if node.is_tip():
            lines[id(node)] = float(len(leaves))
            leaves[node.name] = (own, lines[id(node)])
            continue
        below = [lines[id(child)] for child in node.children]
        lines[id(node)] = (min(below) + max(below)) / 2
        x += [own, own, None]
        y += [min(below), max(below), None]
        for child, line in zip(node.children, below, strict=True):
            x += [own, depth[id(child)], None]
            y += [line, line, None]
    return Layout(leaves, x, y)


def newick(tree: Any) -> str:
    """Newick text of a tree, branch lengths among it."""
    return str(tree).strip() + "\n"


def _first(node: Any) -> str:
    return min(str(tip.name) for tip in node.tips(include_self=True))
