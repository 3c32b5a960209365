"""Joining instances that touch: an over-segmented thing is put together by where its pieces meet.

A piece of a thing meets the thing along most of its rim; a thing meets the floor.
"""

import numpy as np
from scipy.spatial import KDTree


def touching(coordinates: np.ndarray, labels: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Which instances meet where.

    Args:
        coordinates: (V, 3) voxel coordinates.
        labels: (V,) 0 background, 1..number instances; others are not looked at.
        number: of instances.

    Returns:
        (number+1, number+1) int64: voxels of the first that have one of the second among their 26 neighbours (0 on the
        diagonal), and (number+1,) int64: voxels of each that have any other label among their neighbours, its rim.
    """
    known = np.flatnonzero((labels >= 0) & (labels <= number))
    pairs = KDTree(coordinates[known]).query_pairs(1.0, p=np.inf, output_type="ndarray")
    own, other = labels[known][pairs[:, 0]], labels[known][pairs[:, 1]]
    differ = own != other
    voxel = np.concatenate([pairs[differ, 0], pairs[differ, 1]])
    meets = np.concatenate([other[differ], own[differ]])
    # Each voxel meets each label at most once, however many of its neighbours carry it.
    met = np.unique(voxel.astype(np.int64) * (number + 1) + meets)
    voxel, meets = np.divmod(met, number + 1)
    own = labels[known][voxel].astype(np.int64)
    contact = np.bincount(own * (number + 1) + meets, minlength=(number + 1) ** 2).reshape(number + 1, number + 1)
    rim = np.bincount(labels[known][np.unique(voxel)], minlength=number + 1)
    return contact, rim


def join_touching(contact: np.ndarray, rim: np.ndarray, min_share: float, joinable: np.ndarray) -> np.ndarray:
    """Join instances, the most enclosed first, while one meets another along at least `min_share` of its rim.

    Args:
        contact: of `touching`.
        rim: likewise.
        min_share: part of the rim.
        joinable: (number+1,) bool, labels that may be joined; background (0) never is.

    Returns:
        (number+1,) int64: label that each label becomes, the smallest of its group; labels that stay keep their own.
    """
    contact = contact.astype(np.float64)
    rim = rim.astype(np.float64)
    joinable = joinable.copy()
    joinable[0] = False
    group = np.arange(len(rim))
    while True:
        share = np.where(joinable[:, None] & joinable[None], contact / np.maximum(rim, 1)[:, None], 0.0)
        np.fill_diagonal(share, 0)
        piece, host = np.unravel_index(int(share.argmax()), share.shape)
        if share[piece, host] < min_share or share[piece, host] == 0:
            return group
        keep, gone = min(piece, host), max(piece, host)
        # What the two shared is rim no more. A voxel that met both is counted twice from here on, which is harmless.
        rim[keep] = max(rim[keep] + rim[gone] - contact[keep, gone] - contact[gone, keep], 0)
        contact[keep] += contact[gone]
        contact[:, keep] += contact[:, gone]
        contact[keep, keep] = 0
        contact[gone] = contact[:, gone] = 0
        joinable[gone] = False
        group[group == gone] = keep
