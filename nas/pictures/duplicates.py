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
MIN_CORRELATION = 0.985
"""Least correlation of the pixels of near duplicates."""
MIN_CONTRAST = 0.02
"""Standard deviation of grey, 0-1, below which a picture is blank, and only exact duplicates count."""
COMPARED_SIDE = 32
"""Largest side, in pixels, at which pictures are compared."""
BLOCK = 1024
"""Pictures of one band that are compared with each other at a time."""


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
    pairs = _candidates(hashes)
    kept = _same_pixels(pixels, np.asarray(rows)[members], pairs)
    return sorted((int(a), int(b)) for a, b in np.sort(members[kept], axis=1))


def clusters(facts: Sequence[PictureFacts], pixels: np.ndarray, rows: np.ndarray) -> list[list[int]]:
    """Exact duplicates and pairs of near duplicates together, of positions in `facts`; see `near_duplicates`."""
    return [*exact_duplicates(facts), *([a, b] for a, b in near_duplicates(facts, pixels, rows))]


def _candidates(hashes: np.ndarray) -> np.ndarray:
    """Pairs of positions with a Hamming distance of at most `MAX_DISTANCE`, (P, 2)."""
    found = [
        pairs[_distance(hashes[pairs[:, 0]], hashes[pairs[:, 1]]) <= MAX_DISTANCE]
        for bucket in _buckets(hashes)
        for pairs in _pairs(bucket)
    ]
    if not found:
        return np.zeros((0, 2), dtype=np.int64)
    return np.unique(np.concatenate(found), axis=0)


def _buckets(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Positions with an equal band of bits, band by band. Bits that vary much are dealt out evenly to the bands."""
    bits = np.unpackbits(hashes.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)
    if not len(bits):
        return
    share = bits.mean(0)
    ordered = np.argsort(np.abs(share - 0.5), kind="stable")
    for band in range(MAX_DISTANCE + 1):
        chosen = np.zeros(64, dtype=np.uint8)
        chosen[ordered[band :: MAX_DISTANCE + 1]] = 1
        mask = np.packbits(chosen).view(">u8").astype(np.uint64)[0]
        values = hashes & mask
        order = np.argsort(values, kind="stable")
        starts = np.flatnonzero(np.diff(values[order])) + 1
        for bucket in np.split(order, starts):
            if len(bucket) > 1:
                yield bucket


def _pairs(bucket: np.ndarray) -> Iterator[np.ndarray]:
    """All pairs of a bucket, the smaller position first, in pieces of bounded memory."""
    bucket = np.sort(bucket)
    for start in range(0, len(bucket), BLOCK):
        left = bucket[start : start + BLOCK]
        a, b = np.triu_indices(len(left), 1)
        yield np.stack((left[a], left[b]), axis=1)
        for other in range(start + BLOCK, len(bucket), BLOCK):
            right = bucket[other : other + BLOCK]
            yield np.stack((np.repeat(left, len(right)), np.tile(right, len(left))), axis=1)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamming distances of 64-bit numbers: their bits are counted in pairs, in fours and in eights at once."""
    bits: np.ndarray = a ^ b
    bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (bits * np.uint64(0x0101010101010101)) >> np.uint64(56)


def _same_pixels(pixels: np.ndarray, rows: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Those of the pairs whose pixels agree up to brightness and contrast."""
    kept = []
    step = max(pixels.shape[-1] // COMPARED_SIDE, 1)
    for start in range(0, len(pairs), BLOCK):
        block = pairs[start : start + BLOCK]
        a, b = (_standardised(pixels[rows[block[:, side]]], step) for side in (0, 1))
        kept.append(block[(a * b).sum(1) >= MIN_CORRELATION])
    return np.concatenate(kept) if kept else pairs


def _standardised(pixels: np.ndarray, step: int) -> np.ndarray:
    """Rows of pixels with mean 0 and norm 1, pooled to fewer pixels."""
    count, channels, height, width = pixels.shape
    small = pixels[:, :, : height // step * step, : width // step * step].astype(np.float32)
    small = small.reshape(count, channels, height // step, step, width // step, step).mean((3, 5)).reshape(count, -1)
    small -= small.mean(1, keepdims=True)
    return small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-6)
