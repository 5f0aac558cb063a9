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
        modality="string",
        # load() also returns the untrained twin: the same network with random weights. Its alignment with the
        # references is what the architecture alone gives.
        untrained=True,
        # A private target needs no more. The card of a published target also states:
        #   title, revision, parameters, dimension, layer, pooling, trained_on=("PubChem",), licence_code,
        #   licence_weights, reference, source, weights_sha256; accepts="what file load() can read"
        # A model that reads SELFIES sets view="selfies".
    ),
)
def load(card, weights, device):
    """Load the model and return the function that embeds a batch. Import heavy packages here, not at the top."""
    import zlib

    import numpy as np

    # REPLACE: load the model here, for instance
    #   model = MyModel.load(weights.path if weights.kind == "file" else "mymodel-1.2.3.pt").to(device).eval()
    # weights.kind is "published", "file" (the user's --align-checkpoint) or "random" (the untrained twin; seed it with
    # weights.seed).
    generator = np.random.default_rng(1 + weights.seed if weights.random else 0)
    network = generator.normal(size=(1024, 32))

    def embed(items):
        # REPLACE: `items` is a batch of a data set: a list of strings (SMILES, protein sequences or text). Return one
        # row per item: the last hidden layer before the read-out, averaged over tokens without padding and special
        # tokens. For an item that the model can't embed, return a row of NaN and a reason.
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
