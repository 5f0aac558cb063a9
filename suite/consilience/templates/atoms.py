# /// script
# requires-python = ">=3.11"
# dependencies = ["ase>=3.23", "numpy>=1.26"]
# ///
# The block above is the model's environment: put its own packages there, pinned ("mymodel==1.2.3", "torch==2.13.0").
# uv builds it once; what the environment that runs pytest already has is used as it is.
"""One line about the model: what it is, and where it was published."""

from consilience import Card, Embedded, target


@target(
    Card(
        name="mymodel",
        # Models of one family share an architecture; a score leaves the target's own family out.
        family="mymodel",
        modality="atoms",
        # Lets the suite ask for the same network with random weights: what architecture alone gives.
        untrained=True,
        # A private target needs no more. A published row also states:
        #   title, revision, parameters, dimension, layer, pooling, trained_on=("MPtrj",), level_of_theory, elements,
        #   licence_code, licence_weights, reference, source, weights_sha256; accepts="what file load() can read"
    ),
)
def load(card, weights, device):
    """Return the function that embeds a batch; heavy imports stand here, so that listing targets stays quick."""
    import numpy as np
    from ase.neighborlist import neighbor_list

    # REPLACE: load the model here, for instance
    #   model = MyModel.load(weights.path if weights.kind == "file" else "mymodel-1.2.3.pt").to(device).eval()
    # weights.kind is "published", "file" (a user's, --align-checkpoint) or "random" (the untrained twin, weights.seed).
    generator = np.random.default_rng(1 + weights.seed if weights.random else 0)
    network = generator.normal(size=(24, 16))
    centres = np.linspace(0.5, 5.0, 12)

    def embed(items):
        # REPLACE: `items` is a list of ase.Atoms (positions and cell in Angstrom, info["charge"], info["spin"]).
        # One row each: the last hidden layer before the read-out, averaged over atoms; Embedded(features, energies) if
        # the model has energies (eV). An item that can't be embedded gets a row of NaN and a reason (`reasons=`).
        rows = []
        for atoms in items:
            first, second, distance = neighbor_list("ijd", atoms, 5.0)
            bumps = np.exp(-((distance[:, None] - centres) ** 2)) * ((5.0 - distance) ** 2)[:, None]
            heavy = atoms.numbers[second, None] ** 0.5
            around = np.zeros((len(atoms), 24))
            np.add.at(around, first, np.hstack([bumps, bumps * heavy]))
            own = atoms.numbers[:, None] ** 0.5
            rows.append(np.tanh(0.01 * own * around @ network).mean(axis=0))
        return Embedded(np.array(rows, dtype=np.float32))

    return embed
