# /// script
# requires-python = ">=3.11"
# dependencies = ["ase>=3.23", "numpy>=1.26"]
# ///
# The block above lists the packages that the model needs, with exact versions ("mymodel==1.2.3", "torch==2.13.0"). uv
# builds an environment from it once. If the environment that runs pytest satisfies the list, that one is used.
"""One line that names the model and cites its publication."""

from consilience import Card, Embedded, target


@target(
    Card(
        name="mymodel",
        # Models of one family share an architecture. References of the target's own family do not enter its alignment.
        family="mymodel",
        modality="atoms",
        # load() also returns the untrained twin: the same network with random weights. Its alignment with the
        # references is what the architecture alone gives.
        untrained=True,
        # A private target needs no more. The card of a published target also states:
        #   title, revision, parameters, dimension, layer, pooling, trained_on=("MPtrj",), level_of_theory, elements,
        #   licence_code, licence_weights, reference, source, weights_sha256; accepts="what file load() can read"
    ),
)
def load(card, weights, device):
    """Load the model and return the function that embeds a batch. Import heavy packages here, not at the top."""
    import numpy as np
    from ase.neighborlist import neighbor_list

    # REPLACE: load the model here, for instance
    #   model = MyModel.load(weights.path if weights.kind == "file" else "mymodel-1.2.3.pt").to(device).eval()
    # weights.kind is "published", "file" (the user's --align-checkpoint) or "random" (the untrained twin; seed it with
    # weights.seed).
    generator = np.random.default_rng(1 + weights.seed if weights.random else 0)
    network = generator.normal(size=(24, 16))
    centres = np.linspace(0.5, 5.0, 12)

    def embed(items):
        # REPLACE: `items` is a batch of a data set: a list of ase.Atoms (lengths in Angstrom, info["charge"],
        # info["spin"]). Return one row per item: the last hidden layer before the read-out, averaged over atoms. If the
        # model predicts energies (eV), return Embedded(features, energies). For an item that the model can't embed,
        # return a row of NaN and a reason (`reasons=`).
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
