# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy>=1.26"]
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
        modality="protein_structure",
        # Lets the suite ask for the same network with random weights: what architecture alone gives.
        untrained=True,
        # A private target needs no more. A published row also states:
        #   title, revision, parameters, dimension, layer, pooling, trained_on=("PDB",), licence_code, licence_weights,
        #   reference, source, weights_sha256; accepts="what file load() can read"
    ),
)
def load(card, weights, device):
    """Return the function that embeds a batch; heavy imports stand here, so that listing targets stays quick."""
    import numpy as np

    # REPLACE: load the model here, for instance
    #   model = MyModel.load(weights.path if weights.kind == "file" else "mymodel-1.2.3.pt").to(device).eval()
    # weights.kind is "published", "file" (a user's, --align-checkpoint) or "random" (the untrained twin, weights.seed).
    generator = np.random.default_rng(1 + weights.seed if weights.random else 0)
    network = generator.normal(size=(16, 16))
    centres = np.linspace(3.0, 20.0, 16)

    def embed(items):
        # REPLACE: `items` is a list of Backbone: .sequence (one letter a residue) and .coordinates (n, 4, 3) of N, CA,
        # C, O in Angstrom, NaN where a structure does not show them. One row each: the last hidden layer before the
        # read-out, averaged over residues. An item that can't be embedded gets a row of NaN and a reason.
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
