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
        modality="string",
        # Lets the suite ask for the same network with random weights: what architecture alone gives.
        untrained=True,
        # A private target needs no more. A published row also states:
        #   title, revision, parameters, dimension, layer, pooling, trained_on=("PubChem",), licence_code,
        #   licence_weights, reference, source, weights_sha256; accepts="what file load() can read"
        # A model of SELFIES says view="selfies".
    ),
)
def load(card, weights, device):
    """Return the function that embeds a batch; heavy imports stand here, so that listing targets stays quick."""
    import zlib

    import numpy as np

    # REPLACE: load the model here, for instance
    #   model = MyModel.load(weights.path if weights.kind == "file" else "mymodel-1.2.3.pt").to(device).eval()
    # weights.kind is "published", "file" (a user's, --align-checkpoint) or "random" (the untrained twin, weights.seed).
    generator = np.random.default_rng(1 + weights.seed if weights.random else 0)
    network = generator.normal(size=(1024, 32))

    def embed(items):
        # REPLACE: `items` is a list of strings (SMILES, or protein sequences). One row each: the last hidden layer
        # before the read-out, averaged over tokens; padding and special tokens left out. An item that can't be embedded
        # gets a row of NaN and a reason; the others go on.
        rows, reasons = [], []
        for text in items:
            counts = np.zeros(1024)
            for length in (1, 2, 3, 4):
                for start in range(len(text) - length + 1):
                    counts[zlib.crc32(text[start : start + length].encode()) % 1024] += 1
            reasons.append(None if text else "an empty string")
            rows.append(np.tanh(counts / len(text) @ network) if text else np.full(32, np.nan))
        return Embedded(np.array(rows, dtype=np.float32), reasons=reasons)

    return embed
