"""Finds pictures that are the same, or nearly: saved again, resized, brightened, or from the same burst.

Exact duplicates have the same digest. Candidates for near duplicates have difference hashes of a small Hamming
distance; they are found without comparing all pairs, since of more bands than the distance one must be equal. Hashes
of pictures with little content, such as digits, are alike without meaning much, so each candidate is compared by its
pixels too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from nas.pictures.facts import PictureFacts

MAX_DISTANCE = 4
"""Largest Hamming distance of candidates, of 64 bits."""
CORRELATIONS = (0.95, 0.998)
"""Least and largest bound of the correlation of the pixels of near duplicates."""
CLOSER = 12
"""How much closer to 1 than that of most pictures with their nearest neighbour the correlation must be: digits are
more alike than photographs."""
SAMPLED = 1000
"""Pictures, about, that tell how alike pictures of a data set are."""
MIN_CONTRAST = 0.02
"""Standard deviation of grey, 0-1, below which a picture is blank, and only exact duplicates count."""
COMPARED_SIDE = 32
"""Largest side, in pixels, at which pictures are compared."""
BLOCK = 1024
"""Pairs whose pixels are compared at a time."""
MAX_NEIGHBOURS = 1000
"""Following pictures with the same band of bits that each picture is compared with, in the order of their hashes."""
MAX_CANDIDATES = 200_000
"""Candidates of one band after which no further neighbours are compared: so many come only from pictures with hardly
any content."""


def exact_duplicates(facts: Sequence[PictureFacts]) -> list[list[int]]:
    """Clusters of pictures with the same pixels, each sorted, those of the first picture first."""
    same: dict[str, list[int]] = {}
    for position, one in enumerate(facts):
        if one.error is None:
            same.setdefault(one.digest, []).append(position)
    return [positions for positions in same.values() if len(positions) > 1]


def near_duplicates(facts: Sequence[PictureFacts], pixels: np.ndarray, rows: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of pictures that are nearly the same; of exact duplicates only the first takes part.

    Args:
        facts: Facts of the pictures.
        pixels: uint8, (M, C, H, W).
        rows: Row of each picture in `pixels`.

    Returns:
        Positions in `facts`, the smaller one first, sorted.
    """
    first: dict[str, int] = {}
    for position, one in enumerate(facts):
        if one.error is None and one.contrast >= MIN_CONTRAST:
            first.setdefault(one.digest, position)
    members = np.fromiter(first.values(), dtype=np.int64, count=len(first))
    hashes = np.array([facts[position].difference_hash for position in members], dtype=np.uint64)
    rows = np.asarray(rows)[members]
    kept = _same_pixels(pixels, rows, _candidates(hashes), _least_correlation(pixels, rows))
    return sorted((int(a), int(b)) for a, b in np.sort(members[kept], axis=1))


def _candidates(hashes: np.ndarray) -> np.ndarray:
    """Pairs of positions with a Hamming distance of at most `MAX_DISTANCE`, (P, 2)."""
    keys = [np.zeros(0, dtype=np.int64)]
    for mask in _bands(hashes):
        order = np.lexsort((hashes, hashes & mask))
        ordered = hashes[order]
        band = ordered & mask
        ends = np.searchsorted(band, band, side="right")  # of the pictures with the same band
        left = np.arange(len(order))
        found = 0
        for step in range(1, MAX_NEIGHBOURS + 1):
            left = left[left + step < ends[left]]
            if not len(left) or found > MAX_CANDIDATES:
                break
            near = left[_distance(ordered[left], ordered[left + step]) <= MAX_DISTANCE]
            found += len(near)
            first, second = order[near], order[near + step]
            keys.append(np.minimum(first, second) * len(hashes) + np.maximum(first, second))
    unique = np.unique(np.concatenate(keys))
    return np.stack(np.divmod(unique, max(len(hashes), 1)), axis=1)


def _bands(hashes: np.ndarray) -> Iterator[np.uint64]:
    """Masks of disjoint bits; of two hashes within the distance, one band is equal. Bits that vary are dealt evenly."""
    share = np.unpackbits(hashes.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1).sum(0, dtype=np.int64)
    ordered = np.argsort(np.abs(2 * share - len(hashes)), kind="stable")
    for band in range(MAX_DISTANCE + 1):
        bits = np.zeros(64, dtype=np.uint8)
        bits[ordered[band :: MAX_DISTANCE + 1]] = 1
        yield np.uint64(int.from_bytes(np.packbits(bits).tobytes(), "big"))


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamming distances of 64-bit numbers: their bits are counted in pairs, in fours and in eights at once."""
    bits: np.ndarray = a ^ b
    bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    bits = (bits * np.uint64(0x0101010101010101)) >> np.uint64(56)
    return bits


def _least_correlation(pixels: np.ndarray, rows: np.ndarray) -> float:
    """Correlation above which pictures of this data set are near duplicates."""
    if len(rows) < 2:
        return CORRELATIONS[1]
    values = _pooled(pixels, rows[:: len(rows) // SAMPLED + 1]).astype(np.float64)  # whole numbers: products are exact
    count, sums = values.shape[1], values.sum(1)
    covariance = count * (values @ values.T) - np.outer(sums, sums)
    spread = np.sqrt(np.maximum(np.diag(covariance), 1.0))
    correlation = covariance / np.outer(spread, spread)
    np.fill_diagonal(correlation, -1.0)
    typical = float(np.median(correlation.max(1)))
    return min(max(1.0 - (1.0 - typical) / CLOSER, CORRELATIONS[0]), CORRELATIONS[1])


def _same_pixels(pixels: np.ndarray, rows: np.ndarray, pairs: np.ndarray, least: float) -> np.ndarray:
    """Those of the pairs whose pixels agree up to brightness and contrast; sums are of whole numbers, and so exact."""
    kept = [np.zeros((0, 2), dtype=np.int64)]
    for start in range(0, len(pairs), BLOCK):
        block = pairs[start : start + BLOCK]
        a, b = (_pooled(pixels, rows[block[:, side]]) for side in (0, 1))
        count, sum_a, sum_b = a.shape[1], a.sum(1), b.sum(1)
        covariance = count * np.einsum("ij,ij->i", a, b) - sum_a * sum_b
        variance_a = count * np.einsum("ij,ij->i", a, a) - sum_a**2
        variance_b = count * np.einsum("ij,ij->i", b, b) - sum_b**2
        spread = np.sqrt(variance_a.astype(np.float64)) * np.sqrt(variance_b.astype(np.float64))
        kept.append(block[(covariance >= least * spread) & (spread > 0)])
    return np.concatenate(kept)


def _pooled(pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows of pixels as whole numbers, pooled to at most `COMPARED_SIDE` a side, int64, (N, values)."""
    chosen = pixels[rows]
    step = max(chosen.shape[-1] // COMPARED_SIDE, 1)
    side = chosen.shape[-1] // step
    small = chosen[:, :, : side * step, : side * step].reshape(len(rows), -1, side, step, side, step)
    means: np.ndarray = small.sum((3, 5), dtype=np.int64) // (step * step)
    return means.reshape(len(rows), -1)
