"""Foldseek's 3Di letters: mini3di's `Encoder`."""

import numpy as np
from calls import CARD, run
from mini3di import Encoder
from mini3di.layers import Model

encoder = Encoder()
network = Model(encoder.vae_encoder.layers[:-1])  # without the centroids


def call(chain):
    n, ca, c, _ = chain[1].astype(np.float64).transpose(1, 0, 2)
    beta = np.full_like(ca, np.nan)  # the package then places them
    if CARD == "foldseek-3di":
        letters = encoder.encode_atoms(ca=ca, cb=beta, n=n, c=c).compressed()
        return np.bincount(letters, minlength=20) / len(letters)
    features = encoder.feature_encoder.encode_atoms(ca=ca, cb=beta, n=n, c=c)
    latent = network(features.data)[~features.mask[:, 0]]
    return np.concatenate([latent.mean(axis=0), latent.std(axis=0)])


run(call)
