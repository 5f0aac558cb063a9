# mypy: allow-untyped-defs, allow-untyped-calls, disallow-any-unimported=False
"""Loops compiled by numba on first use and stored in its cache.

Every function works on plain arrays, releases the interpreter lock and writes to arrays of its caller, so that
threads can share the work. Imported by functions, never by modules: numba takes half a second to load.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

# Sums may be reordered (that is what makes them fast); NaN and infinity keep their meaning.
_REORDER = {"reassoc", "contract", "nsz"}
_jit: Any = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=_REORDER)
_plain: Any = numba.njit(nogil=True, cache=True, error_model="numpy")

#: Entries looked at together before any of them is looked at alone.
_GROUP = 16
_LONG_GROUP = 64
#: Largest reduced value of an entry.
_LEVELS = 8192


@_plain
def _replace_root(values, indices, value, index):
    """Replace the smallest entry of a min-heap."""
    size = len(values)
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and values[child + 1] < values[child]:
            child += 1
        if values[child] >= value:
            break
        values[place] = values[child]
        indices[place] = indices[child]
        place = child
    values[place] = value
    indices[place] = index


@_jit
def keep_largest(products, first_row, first_column, bias, cutoffs, values, indices):
    """Put the entries of one tile of inner products into the heaps of both of its sides.

    Item ``first_row + i`` is offered item ``first_column + j`` with the key ``products[i, j] + bias[item]``, the
    bias that of the item offered; off the diagonal also the other way round. `cutoffs` (n,) are the smallest
    keys in the heaps, `values` and `indices` (n, length) the heaps.
    """
    rows, columns = products.shape
    last = first_column + columns
    offered = bias[first_column:last]
    limits = cutoffs[first_column:last]
    diagonal = first_row == first_column
    whole = columns - columns % _GROUP
    for i in range(rows):
        line = products[i]
        item = first_row + i
        own = bias[item]
        for start in range(0, columns, _GROUP):
            stop = min(start + _GROUP, columns)
            cutoff = cutoffs[item]
            above = np.int32(start >= whole)
            if start < whole:
                entries, biases = line[start : start + _GROUP], offered[start : start + _GROUP]
                for at in range(_GROUP):
                    above += np.int32(entries[at] + biases[at] > cutoff)
            if above > 0:
                for j in range(start, stop):
                    value = line[j] + offered[j]
                    if value > cutoffs[item] and first_column + j != item:
                        _replace_root(values[item], indices[item], value, first_column + j)
                        cutoffs[item] = values[item, 0]
            if diagonal:
                continue
            above = np.int32(start >= whole)
            if start < whole:
                entries, least = line[start : start + _GROUP], limits[start : start + _GROUP]
                for at in range(_GROUP):
                    above += np.int32(entries[at] + own > least[at])
            if above > 0:
                for j in range(start, stop):
                    value = line[j] + own
                    if value > limits[j]:
                        other = first_column + j
                        _replace_root(values[other], indices[other], value, item)
                        limits[j] = values[other, 0]


@_jit
def exact_inner_products(x, mean, indices, values):
    """Fill `values` (m, length) with ``x_i . (x_j - mean)`` in float64, j from `indices`."""
    for i in range(len(indices)):
        for place in range(indices.shape[1]):
            j = indices[i, place]
            total = 0.0
            for column in range(x.shape[1]):
                total += np.float64(x[i, column]) * (np.float64(x[j, column]) - mean[column])
            values[i, place] = total


@_jit
def squared_distance(x, factors, i, j):
    """Squared distance of two rows with each column scaled; differences first, float64."""
    total = 0.0
    for column in range(x.shape[1]):
        difference = (np.float64(x[i, column]) - np.float64(x[j, column])) * factors[column]
        total += difference * difference
    return total


@_jit
def exact_squared_distances(x, factors, indices, values):
    """Fill `values` (m, length) with minus the squared distances of rows i and ``indices[i]``."""
    for i in range(len(indices)):
        for place in range(indices.shape[1]):
            values[i, place] = -squared_distance(x, factors, i, indices[i, place])


@_plain
def order_candidates(values, indices, tolerances, relative, k, ends):
    """Sort each row by descending value; values whose gaps are within the tolerance, by index.

    The tolerance is that of the row plus `relative` times the value.

    `ends` (m,) become the least value tied with the k-th, minus infinity if the tie reaches the last candidate.
    """
    length = values.shape[1]
    for i in range(len(values)):
        value, index = values[i], indices[i]
        ends[i] = -np.inf
        for place in range(1, length):
            v, j = value[place], index[place]
            hole = place
            while hole > 0 and value[hole - 1] < v:
                value[hole], index[hole] = value[hole - 1], index[hole - 1]
                hole -= 1
            value[hole], index[hole] = v, j
        start = 0
        for place in range(1, length + 1):
            allowed = tolerances[i] + relative * abs(value[min(place, length - 1)])
            if place < length and value[place - 1] - value[place] <= allowed:
                continue
            if start < k <= place < length:
                ends[i] = value[place - 1]
            for inner in range(start + 1, place):
                v, j = value[inner], index[inner]
                hole = inner
                while hole > start and index[hole - 1] > j:
                    value[hole], index[hole] = value[hole - 1], index[hole - 1]
                    hole -= 1
                value[hole], index[hole] = v, j
            start = place


@_jit
def shared_products(indices, values, k, order, first_row, last_row, scratch, sums):
    """Add to `sums` (M, M), above the diagonal, the products of values at shared neighbours of the rows given.

    `indices` and `values` (M, n, at least k); `order` (n,) a permutation: item i of the first model is set
    against item ``order[i]`` of the second; `scratch` (n,) float64 zeros, unchanged on return.
    """
    models = len(indices)
    for i in range(first_row, last_row):
        other = order[i]
        for a in range(models):
            for place in range(k):
                scratch[order[indices[a, i, place]]] = values[a, i, place]
            for b in range(a + 1, models):
                total = 0.0
                for place in range(k):
                    total += scratch[indices[b, other, place]] * values[b, other, place]
                sums[a, b] += total
            for place in range(k):
                scratch[order[indices[a, i, place]]] = 0.0


@_jit
def shared_counts(indices, k, order, first_row, last_row, scratch, counts):
    """Add to `counts` (M, M), above the diagonal, how many of the k nearest two models share; see above."""
    models = len(indices)
    for i in range(first_row, last_row):
        other = order[i]
        for a in range(models):
            for place in range(k):
                scratch[order[indices[a, i, place]]] = 1
            for b in range(a + 1, models):
                total = 0
                for place in range(k):
                    total += scratch[indices[b, other, place]]
                counts[a, b] += total
            for place in range(k):
                scratch[order[indices[a, i, place]]] = 0


@_jit
def mean_ranks(ranks, rows, columns, weights, starts, order, out):
    """Fill `out` (M, M) with the weighted sums of ranks, in each model, of the neighbours in each other one.

    `ranks` (M, n, n) twice the ranks, integers; neighbours of model a are the entries ``starts[a]`` up to
    ``starts[a + 1]`` of `rows`, `columns` and `weights`; `order` (n,) permutes the items of the model that ranks.
    """
    models = len(ranks)
    for a in range(models):
        for b in range(models):
            if a == b:
                continue
            table = ranks[b]
            total = 0.0
            for entry in range(starts[a], starts[a + 1]):
                total += weights[entry] * table[order[rows[entry]], order[columns[entry]]]
            out[a, b] = 0.5 * total


@_plain
def reciprocal_edges(indices, mutual):
    """Fill `mutual` (n, k): whether i is among the neighbours of its own neighbour j."""
    n, k = indices.shape
    for i in range(n):
        for place in range(k):
            back = indices[indices[i, place]]
            hit = False
            for other in range(k):
                hit |= back[other] == i
            mutual[i, place] = hit


@_jit
def masked_hsic(first, first_values, first_back, second, second_values, second_back, places, columns, rows):
    """Unbiased HSIC of two kernels set to zero outside their shared neighbours, times n (n - 3).

    Song et al. 2012, equation 5. `places` (n,) int32 filled with -1 and left so; `columns`, `rows` (n,) scratch.
    """
    n, k = first.shape
    trace = first_total = second_total = 0.0
    for i in range(n):
        columns[i] = rows[i] = 0.0
    for i in range(n):
        for place in range(k):
            places[first[i, place]] = place
        for place in range(k):
            j = second[i, place]
            other = places[j]
            if other >= 0:
                a, b = first_values[i, other], second_values[i, place]
                columns[j] += a
                rows[i] += b
                first_total += a
                second_total += b
                if first_back[i, other] and second_back[i, place]:
                    trace += a * b
        for place in range(k):
            places[first[i, place]] = -1
    crossed = 0.0
    for i in range(n):
        crossed += columns[i] * rows[i]
    return trace + first_total * second_total / ((n - 1) * (n - 2)) - 2 * crossed / (n - 2)


@_jit
def to_squared_distances(products, row_squares, column_squares, row_values, column_values, doubtful):
    """Turn a tile of inner products into squared distances, in place.

    Where rounding would show (distances below `doubtful` of the squared norms) differences are taken instead,
    so that duplicates are exactly 0 apart.
    """
    rows, columns = products.shape
    width = row_values.shape[1]
    for i in range(rows):
        line = products[i]
        own = row_squares[i]
        for start in range(0, columns, _GROUP):
            stop = min(start + _GROUP, columns)
            near = 0
            for j in range(start, stop):
                size = own + column_squares[j]
                value = size - 2 * line[j]
                line[j] = value
                near += value <= doubtful * size
            if near > 0:
                for j in range(start, stop):
                    if line[j] <= doubtful * (own + column_squares[j]):
                        total = np.float32(0)
                        for column in range(width):
                            difference = row_values[i, column] - column_values[j, column]
                            total += difference * difference
                        line[j] = total


@_jit
def shifted_tile(tile, row_shifts, column_shifts, diagonal, root, out, row_sums, column_sums):
    """Write the tile (its root, if `root`) minus both shifts to `out`, zeros on the diagonal; add up its sums."""
    rows, columns = tile.shape
    for i in range(rows):
        line, target = tile[i], out[i]
        own = row_shifts[i]
        if root:
            for j in range(columns):
                target[j] = np.sqrt(line[j]) - own - column_shifts[j]
        else:
            for j in range(columns):
                target[j] = line[j] - own - column_shifts[j]
        if diagonal:
            target[i] = 0
        total = np.float32(0)
        for j in range(columns):
            total += target[j]
            column_sums[j] += target[j]
        row_sums[i] += total


@_jit
def near_squared_distances(values, targets, out):
    """Fill `out` (n, L) with the squared distances of each item to its `targets` (n, L); -1: infinity."""
    width = values.shape[1]
    for i in range(len(targets)):
        for place in range(targets.shape[1]):
            j = targets[i, place]
            if j < 0:
                out[i, place] = np.inf
                continue
            total = np.float32(0)
            for column in range(width):
                difference = values[i, column] - values[j, column]
                total += difference * difference
            out[i, place] = total


@_jit
def _count_below(levels, limit):
    """How many levels lie below `limit`."""
    count = np.int16(0)
    for j in range(len(levels)):
        count = np.int16(count + np.int16(levels[j] < limit))
    return count


@_jit
def _rank_share(x, factors, relative, item, target, other):
    """1 if `other` is nearer to `item` than `target`, one half if equally near, else 0; in float64."""
    limit = squared_distance(x, factors, item, target)
    gap = limit - squared_distance(x, factors, item, other)
    return 1.0 if gap > relative * limit else (0.5 if gap >= -relative * limit else 0.0)


@_jit
def add_ranks(squared, first_row, first_column, thresholds, targets, owners, weights, bands, exact, sums):
    """Add to `sums` (M,) how many entries of each row of a tile lie below each threshold of that row.

    Parameters
    ----------
    squared : (rows, columns) float32, first_row, first_column : int
        A tile of squared distances and where it lies; infinite where an item meets itself.
    thresholds : (n, L) float32
        Squared distances to the targets of each item, infinite beyond their number.
    targets, owners, weights : (n, L)
        Item whose rank is counted (-1: none), entry of `sums` it counts for, and its weight.
    bands : (n,) float32
        Rounding error of the tile's rows: entries this close to a threshold are compared in float64.
    exact : tuple (x, factors, relative)
        Rows and column factors for that comparison; squared distances that differ by less than the share
        `relative` are equal, and
        count one half.

    Notes
    -----
    A row is reduced to small integers over the range of its thresholds, so that one instruction compares many
    entries. Entries on a level that the band of a threshold touches are looked at again.
    """
    x, factors, relative = exact
    rows, columns = squared.shape
    count = thresholds.shape[1]
    # entries beyond all thresholds are cut off at levels that no threshold touches
    levels, zero, margin = np.float32(_LEVELS), np.float32(0), np.float32(3)
    reduced = np.empty(columns, dtype=np.int16)
    starts = np.empty(count, dtype=np.int16)
    ranks = np.empty(count, dtype=np.float64)
    flagged = np.empty(columns + 1, dtype=np.int32)
    # of each level: whether the band of a threshold touches it, and the chain of those that do
    touched = np.zeros(_LEVELS + 3, dtype=np.uint8)
    chain = np.zeros(_LEVELS + 3, dtype=np.int16)
    links = np.empty((count, 2), dtype=np.int16)
    for i in range(rows):
        item = first_row + i
        line, band, limits = squared[i], bands[item], thresholds[item]
        filled = 0
        least, most = np.float32(np.inf), zero
        while filled < count and targets[item, filled] >= 0:
            least, most = min(least, limits[filled]), max(most, limits[filled])
            filled += 1
        if filled == 0:
            continue
        low = least - 2 * band
        # a band is never wider than a level, so that it touches two of them at most
        scale = min((levels - margin - margin) / (most + 2 * band - low), np.float32(0.49) / band)
        for j in range(columns):
            level = (line[j] - low) * scale + margin
            level = level if level < levels else levels
            level = level if level > zero else zero
            reduced[j] = np.int16(level)
        for at in range(filled):
            starts[at] = np.int16((limits[at] - band - low) * scale + margin)
        for at in range(filled):
            ranks[at] = _count_below(reduced, starts[at])
        for at in range(filled):
            for side in range(2):
                level = starts[at] + side
                links[at, side] = chain[level] if touched[level] else -1
                chain[level] = at
                touched[level] = 1
        waiting = 0
        for j in range(columns):
            flagged[waiting] = j
            waiting += touched[reduced[j]]
        for w in range(waiting):
            j = flagged[w]
            level, other = reduced[j], first_column + j
            at = chain[level]
            while at >= 0:
                target = targets[item, at]
                if other != target and other != item:
                    if line[j] + band < limits[at]:
                        ranks[at] += 1.0
                    elif line[j] - band <= limits[at]:
                        ranks[at] += _rank_share(x, factors, relative, item, target, other)
                at = links[at, level - starts[at]]
        for at in range(filled):
            sums[owners[item, at]] += ranks[at] * weights[item, at]
            touched[starts[at]] = touched[starts[at] + 1] = 0


@_plain
def two_nearest(stack, places):
    """Fill `places` (M, rows, 2) with the columns of the two smallest entries of each row."""
    models, rows, columns = stack.shape
    for m in range(models):
        for i in range(rows):
            line = stack[m, i]
            one, two = np.float32(np.inf), np.float32(np.inf)
            first, second = 0, 1
            for j in range(columns):
                value = line[j]
                if value < two:
                    if value < one:
                        one, two, first, second = value, one, j, first
                    else:
                        two, second = value, j
            places[m, i, 0], places[m, i, 1] = first, second


@_jit
def joint_minima(left, right, pairs, left_near, right_near, smallest, second):
    """Update the two smallest sums of squared distances, per row and pair of models.

    `left` and `right` (M, rows, columns) float32, infinite where an item meets itself; `pairs` (P, 2) of
    models of either side; `left_near` and `right_near` (M, rows, 2) two columns that are near in each model, or
    the same twice; `smallest` and `second` (rows, P).
    """
    _, rows, columns = left.shape
    whole = columns - columns % _LONG_GROUP
    for i in range(rows):
        for p in range(len(pairs)):
            a, b = pairs[p, 0], pairs[p, 1]
            first, other = left[a, i], right[b, i]
            one, two = smallest[i, p], second[i, p]
            # two columns that are near in one model bound the second smallest sum: few entries pass the bound
            bound = two
            for j, m in ((left_near[a, i, 0], left_near[a, i, 1]), (right_near[b, i, 0], right_near[b, i, 1])):
                if j != m:
                    bound = min(bound, max(first[j] + other[j], first[m] + other[m]))
            for start in range(0, whole, _LONG_GROUP):
                c, d = first[start : start + _LONG_GROUP], other[start : start + _LONG_GROUP]
                below = np.int32(0)
                for at in range(_LONG_GROUP):
                    below += np.int32(c[at] + d[at] <= bound)
                if below == 0:
                    continue
                for inner in range(0, _LONG_GROUP, _GROUP):
                    e, f = c[inner : inner + _GROUP], d[inner : inner + _GROUP]
                    below = np.int32(0)
                    for at in range(_GROUP):
                        below += np.int32(e[at] + f[at] <= bound)
                    if below > 0:
                        for at in range(_GROUP):
                            value = e[at] + f[at]
                            if value < two:
                                one, two = min(one, value), max(one, value)
                bound = min(bound, two)
            for j in range(whole, columns):
                value = first[j] + other[j]
                if value < two:
                    one, two = min(one, value), max(one, value)
            smallest[i, p], second[i, p] = one, two


@_jit
def shared_by_rank(indices, values, shifts, items, member, bins, scratch, sums):
    """Add to `sums` (B, M, M), on and above the diagonal, the products of values at neighbours two models share.

    Parameters
    ----------
    indices, values : (M, rows, depth)
        Lists of a block of items, nearest first.
    shifts : (M, rows)
        What is subtracted from the values of each list.
    items : (r,) integers
        Rows of the block that take part.
    member : (n,) bool
        Neighbours that count; the others are passed over, and ranks count members only.
    bins : (k,) integers
        Bin of each rank, ascending; a pair falls into the bin of the larger of its two ranks.
    scratch : tuple
        (M, k) int32 and float64; (n,) int32 full of B and float64 zeros, unchanged on return.

    Returns
    -------
    bool
        Whether each list held k members. If not, `sums` are of no use.
    """
    near, kernel, first_bins, left = scratch
    models, _, depth = indices.shape
    k, count = len(bins), len(sums)
    totals = np.zeros(count + 1)  # one more, for neighbours that are not shared
    for i in items:
        for m in range(models):
            rank = 0
            for place in range(depth):
                j = indices[m, i, place]
                if member[j]:
                    near[m, rank] = j
                    kernel[m, rank] = values[m, i, place] - shifts[m, i]
                    rank += 1
                    if rank == k:
                        break
            if rank < k:
                return False
        for a in range(models):
            for rank in range(k):
                first_bins[near[a, rank]] = bins[rank]
                left[near[a, rank]] = kernel[a, rank]
            for b in range(a, models):
                totals[:] = 0.0
                for rank in range(k):
                    j = near[b, rank]
                    totals[max(first_bins[j], bins[rank])] += left[j] * kernel[b, rank]
                for at in range(count):
                    sums[at, a, b] += totals[at]
            for rank in range(k):
                first_bins[near[a, rank]] = count
                left[near[a, rank]] = 0.0
    return True


@_jit
def permuted_rows(matrices, order, first, last, out):
    """Fill `out` (M, last - first, n - first) with matrices whose rows and columns are permuted, from `first` on."""
    n = len(order)
    for m in range(len(matrices)):
        for i in range(first, last):
            line, target = matrices[m, order[i]], out[m, i - first]
            for j in range(first, n):
                target[j - first] = line[order[j]]
