"""The metrics once more, from their definitions with loops and dense masks; no code shared with the suite."""

import math
from fractions import Fraction

import numpy as np


def nearest(x, k):
    """Lists of the k largest inner products, self excluded, ties to the lower index."""
    n = len(x)
    lists = []
    for i in range(n):
        products = [(-math.fsum(x[i] * x[j]), j) for j in range(n) if j != i]
        lists.append([j for _, j in sorted(products)[:k]])
    return lists


def mask(x, k):
    m = np.zeros((len(x), len(x)), dtype=bool)
    for i, row in enumerate(nearest(x, k)):
        m[i, row] = True
    return m


def gram(x):
    return np.array([[math.fsum(a * b) for b in x] for a in x])


def cknna(x, y, k):
    kernels = []
    for z in (x, y):
        g = np.array([[math.fsum(a * b) for b in z] for a in z], dtype=np.longdouble)
        kernels.append(g - g.mean(axis=1, keepdims=True))
    a, b = kernels
    in_x, in_y = mask(x, k), mask(y, k)
    joint = np.sum(np.where(in_x & in_y, a * b, 0))
    own_x = np.sum(np.where(in_x, a * a, 0))
    own_y = np.sum(np.where(in_y, b * b, 0))
    return float(joint / np.sqrt(own_x * own_y))


def unbiased_hsic(a, b):
    """Song et al. 2012, equation 5, with its matrix products; needs no symmetry."""
    n = len(a)
    a, b = a.copy(), b.copy()
    np.fill_diagonal(a, 0)
    np.fill_diagonal(b, 0)
    one = np.ones(n)
    total = np.trace(a @ b) + (one @ a @ one) * (one @ b @ one) / ((n - 1) * (n - 2))
    return (total - 2 / (n - 2) * (one @ a @ b @ one)) / (n * (n - 3))


def platonic_cknna(x, y, k, eps):
    a, b, in_x, in_y = gram(x), gram(y), mask(x, k), mask(y, k)
    xy = unbiased_hsic(np.where(in_x & in_y, a, 0), np.where(in_x & in_y, b, 0))
    xx = unbiased_hsic(np.where(in_x, a, 0), np.where(in_x, a, 0))
    yy = unbiased_hsic(np.where(in_y, b, 0), np.where(in_y, b, 0))
    return xy / (math.sqrt(xx * yy) + eps)


def mutual_knn(x, y, k):
    shared = [len(set(a) & set(b)) for a, b in zip(nearest(x, k), nearest(y, k), strict=True)]
    return sum(shared) / (len(x) * k)


def cka(x, y, unbiased):
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    a, b = gram(x), gram(y)
    if unbiased:
        return unbiased_hsic(a, b) / math.sqrt(unbiased_hsic(a, a) * unbiased_hsic(b, b))
    h = np.eye(len(x)) - 1 / len(x)
    hsic = lambda p, q: np.trace(p @ h @ q @ h)  # noqa: E731
    return hsic(a, b) / math.sqrt(hsic(a, a) * hsic(b, b))


def squared(x):
    """Squared distances; differences before squares."""
    return np.array([[math.fsum((a - b) ** 2) for b in x] for a in x])


def distance_correlation(x, y, variant):
    centered = []
    for z in (x, y):
        d = np.sqrt(squared(z)).astype(np.longdouble)
        n = len(d)
        c = np.zeros_like(d)
        for i in range(n):
            for j in range(n):
                if variant != "unbiased":
                    c[i, j] = d[i, j] - d[i].mean() - d[:, j].mean() + d.mean()
                elif i != j:
                    whole = d.sum() / ((n - 1) * (n - 2))
                    c[i, j] = d[i, j] - d[i].sum() / (n - 2) - d[:, j].sum() / (n - 2) + whole
        centered.append(c)
    a, b = centered
    value = float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
    return math.sqrt(value) if variant == "biased" else value


def information_imbalance(x, y, k):
    """From x to y in exact arithmetic: mid-ranks, and the mean over choices where nearest neighbours tie."""
    dx, dy, n = squared(x), squared(y), len(x)
    total = Fraction(0)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        rank = {}
        for j in others:
            below = sum(dy[i, m] < dy[i, j] for m in others)
            equal = sum(dy[i, m] == dy[i, j] for m in others)
            rank[j] = Fraction(2 * int(below) + int(equal) + 1, 2)
        boundary = sorted(dx[i, j] for j in others)[k - 1]
        sure = [j for j in others if dx[i, j] < boundary]
        tied = [j for j in others if dx[i, j] == boundary]
        total += sum((rank[j] for j in sure), Fraction(0))
        total += Fraction(k - len(sure), len(tied)) * sum(rank[j] for j in tied)
    return float(2 * total / (n * n * k))


def two_nn(d2, fraction=0.9):
    ratios = []
    for i, row in enumerate(d2):
        first, second = sorted(np.delete(row, i))[:2]
        if 0 < first < second:
            ratios.append(math.sqrt(second) / math.sqrt(first))
    ratios.sort()
    n = len(ratios)
    points = [(math.log(r), -math.log(1 - (i + 1) / n)) for i, r in enumerate(ratios[:-1])]
    points = points[: math.floor(n * fraction)]
    return sum(a * b for a, b in points) / sum(a * a for a, _ in points)


def levina_bickel(x, k):
    local = []
    for i, row in enumerate(np.sqrt(squared(x))):
        near = sorted(np.delete(row, i))[:k]
        if near[0] > 0 and near[-1] > near[0]:
            local.append((k - 1) / sum(math.log(near[-1] / t) for t in near[:-1]))
    return sum(local) / len(local)


def dimension_correlation(x, y):
    x, y = ((z - z.mean(axis=0)) / (z.std(axis=0, ddof=1) + 1e-9) for z in (x, y))
    a, b, c = two_nn(squared(x)), two_nn(squared(y)), two_nn(squared(np.hstack([x, y])))
    return (a + b - c) / max(a, b)
