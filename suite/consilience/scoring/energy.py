"""Errors of a model's own energies and of a linear probe of its embedding.

Energies of different models have different references (which atoms count as zero), so a plain error means
nothing across models. Following the paper (arXiv 2512.03750, eqs 1-4), a linear function of composition is
fitted to the true energies and another to each model's energies; what remains is compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from consilience.records.record import EnergyError, Probe

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Raised when the error of the same energies changes, and when that of the same probe does.
VERSION, PROBE_VERSION = 1, 1
FOLDS = 5
_RIDGE = np.logspace(-3, 5, 17)


def energy_error(
    predicted: NDArray[np.float64], true: NDArray[np.float64], counts: NDArray[np.float64], *, seed: int = 0
) -> EnergyError | None:
    """Composition-corrected error of a model's energies.

    Parameters
    ----------
    predicted, true
        (n,) total energies, eV; NaN where there is none.
    counts
        (n, n_elements) atoms of each element.
    seed
        Seed of the folds of the out-of-sample figure.

    Returns
    -------
    EnergyError or None
        None where fewer than ten items have both energies.

    References
    ----------
    Edamadaka et al., arXiv 2512.03750, eqs 1-4 (fit on the same items). The out-of-sample figure is ours.
    """
    has_both = np.isfinite(predicted) & np.isfinite(true)
    if has_both.sum() < 10:
        return None
    predicted, true, counts = predicted[has_both], true[has_both], counts[has_both]
    everyone = np.arange(len(true))
    inside = composition_residual(true, counts, everyone, everyone) - composition_residual(
        predicted, counts, everyone, everyone
    )
    outside = np.empty(len(true))
    for train, test in folds(len(true), seed):
        outside[test] = composition_residual(true, counts, train, test) - composition_residual(
            predicted, counts, train, test
        )
    atoms = counts.sum(axis=1)
    return EnergyError(
        mae=float(np.abs(inside).mean()),
        mae_out_of_sample=float(np.abs(outside).mean()),
        mae_per_atom=float(np.abs(outside / atoms).mean()),
        items=int(has_both.sum()),
    )


def probe(
    features: NDArray[np.float64],
    energies: NDArray[np.float64],
    counts: NDArray[np.float64],
    controls: NDArray[np.float64],
    *,
    seed: int = 0,
) -> Probe | None:
    """Out-of-fold ridge regression from an embedding to the energy per atom beyond composition.

    Parameters
    ----------
    features
        (n, d) embedding; rows with NaN are left out.
    energies
        (n,) true energies, eV per item.
    counts
        (n, n_elements) atoms of each element.
    controls
        (n, c) what composition and size alone tell; their out-of-fold prediction is taken from the target first,
        so that the probe is not paid for reading the formula.
    seed
        Seed of the folds.

    Returns
    -------
    Probe or None
        None where fewer than fifty items have an embedding and an energy.
    """
    has_both = np.isfinite(features).all(axis=1) & np.isfinite(energies)
    if has_both.sum() < 50:
        return None
    y = energies[has_both] / counts[has_both].sum(axis=1)
    y = y - ridge_out_of_fold(controls[has_both], y, seed)
    predicted = ridge_out_of_fold(features[has_both], y, seed + 1)
    return Probe(mae=float(np.abs(y - predicted).mean()), baseline=float(np.abs(y).mean()))


def composition_residual(
    energies: NDArray[np.float64],
    counts: NDArray[np.float64],
    train: NDArray[np.intp],
    test: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Energies of some items minus a linear function of composition that was fitted to others, (n_test,)."""
    design = np.column_stack([counts, np.ones(len(counts))])
    # Least squares of least norm: elements that occur in no training item get coefficient zero.
    offset = energies[train].mean()
    coefficients = np.linalg.lstsq(design[train], energies[train] - offset, rcond=1e-10)[0]
    return np.asarray(energies[test] - offset - design[test] @ coefficients)


def ridge_out_of_fold(x: NDArray[np.float64], y: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Predict each y by a ridge regression on x that has not seen it, its strength chosen among the others.

    Several properties, (n, p), have a strength each; the result has the shape of `y`.
    """
    from sklearn.linear_model import RidgeCV

    predicted = np.empty(y.shape)
    for train, test in folds(len(y), seed):
        mean, scale = x[train].mean(axis=0), x[train].std(axis=0)
        varying = scale > 1e-9 * np.maximum(np.abs(mean), 1e-30)
        if not varying.any():
            predicted[test] = y[train].mean(axis=0)
            continue
        standard = (x[:, varying] - mean[varying]) / scale[varying]
        model = RidgeCV(alphas=_RIDGE, gcv_mode="svd", alpha_per_target=y.ndim > 1).fit(standard[train], y[train])
        predicted[test] = model.predict(standard[test]).reshape(len(test), *y.shape[1:])
    return predicted


def folds(n: int, seed: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Train and test items of each fold."""
    from sklearn.model_selection import KFold

    return list(KFold(FOLDS, shuffle=True, random_state=seed).split(np.arange(n)))
