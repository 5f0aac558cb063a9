# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy>=1.26"]
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
        modality="protein_structure",
        # load() also returns the untrained twin: the same network with random weights. Its alignment with the
        # references is what the architecture alone gives.
        untrained=True,
        # A private target needs no more. The card of a published target also states:
        #   title, revision, parameters, dimension, layer, pooling, trained_on=("PDB",), licence_code, licence_weights,
        #   reference, source, weights_sha256; accepts="what file load() can read"
    ),
)
def load(card, weights, device):
    """Load the model and return the function that embeds a batch. Import heavy packages here, not at the top."""
    import numpy as np

    # REPLACE: load the model here, for instance
    #   model = MyModel.load(weights.path if weights.kind == "file" else "mymodel-1.2.3.pt").to(device).eval()
    # weights.kind is "published", "file" (the user's --align-checkpoint) or "random" (the untrained twin; seed it with
    # weights.seed).
    generator = np.random.default_rng(1 + weights.seed if weights.random else 0)
    network = generator.normal(size=(16, 16))
    centres = np.linspace(3.0, 20.0, 16)

    def embed(items):
        # REPLACE: `items` is a batch of a data set: a list of Backbone with .sequence (one letter per residue) and
        # .coordinates (n, 4, 3) of N, CA, C, O in Angstrom (NaN where unresolved). Return one row per item: the last
        # hidden layer before the read-out, averaged over residues. For an item that the model can't embed, return a row
        # of NaN and a reason.
        rows, reasons = [], []
        for chain in items:
            alpha = chain.coordinates[:, 1].astype(float)
            alpha = alpha[np.isfinite(alpha).all(axis=1)]
            reasons.append(None if len(alpha) else "no residue with a CA")
            apart = np.linalg.norm(alpha[:, None] - alpha[None], axis=-1)
            around = np.exp(-((apart[..., None] - centres) ** 2) / 4).sum(axis=1)
            rows.append(np.tanh(0.2 * around @ network).mean(axis=0) if len(alpha) else np.full(16, np.nan))
        return Embedded(np.array(rows, dtype=np.float32), reasons=reasons)

    return embed
