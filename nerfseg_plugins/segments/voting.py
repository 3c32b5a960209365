"""Voxel votes: what instance every voxel belongs to, and with that every segment and every pixel.

K instances are numbered 0..K-1 here; in labels 0 is background, k + 1 is instance k and -1 is unknown.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from nerfseg_plugins.segments.incidence import Incidence


@dataclass(frozen=True)
class VoxelLabels:
    """Outcome of a vote over V voxels."""

    labels: np.ndarray
    """(V,) int32: 0 background, k + 1 instance k, -1 no vote."""
    votes: np.ndarray
    """(V,) float32 weighted votes cast, those of the neighbourhood included."""
    share: np.ndarray
    """(V,) float32 part of them that the label received."""


def vote(
    table: Incidence, cluster: np.ndarray, background_weight: float, parents: list[sparse.csr_matrix]
) -> VoxelLabels:
    """Let every view vote on every voxel that it sees.

    Args:
        table: voxels against segments.
        cluster: (S,) instance of each segment, -1 for none (such a segment does not vote).
        background_weight: weight of a view that sees background; a detector's background may be a missed instance.
        parents: see `voxel_parents`; their votes, with their weights, count for every voxel in them.

    Returns:
        The labels; of equally good ones the smallest wins.
    """
    number = int(cluster.max(initial=-1)) + 1
    voting = np.flatnonzero(cluster >= 0)
    columns = sparse.csr_matrix(
        (np.ones(len(voting), np.float32), (voting, cluster[voting] + 1)), (len(cluster), number + 1)
    )
    views = table.num_views
    to_background = sparse.csr_matrix(
        (np.full(views, background_weight, np.float32), (np.arange(views), np.zeros(views, np.int64))),
        (views, number + 1),
    )
    ballots = table.shows @ columns + table.background @ to_background
    total = ballots
    for parent in parents:
        total = total + parent.T @ (parent @ ballots)
    return count_ballots(sparse.csr_matrix(total))


def count_ballots(ballots: sparse.csr_matrix) -> VoxelLabels:
    """Winner, votes and share of each row of a sparse (V, K+1) table of non-negative votes."""
    ballots = ballots.tocsr()
    ballots.eliminate_zeros()
    ballots.sort_indices()
    number = len(ballots.indptr) - 1
    rows = np.repeat(np.arange(number), np.diff(ballots.indptr))
    cast = np.asarray(ballots.data, np.float32)
    order = np.lexsort((ballots.indices, -cast, rows))
    row, column, votes = rows[order], ballots.indices[order], cast[order]
    first = np.concatenate([[True], row[1:] != row[:-1]]) if len(row) else np.zeros(0, bool)
    labels = np.full(number, -1, np.int32)
    best = np.zeros(number, np.float32)
    labels[row[first]], best[row[first]] = column[first], votes[first]
    total = np.asarray(ballots.sum(axis=1)).ravel().astype(np.float32)
    return VoxelLabels(labels, total, best / np.maximum(total, 1e-9))


def voxel_parents(coordinates: np.ndarray, weight: float = 0.1, levels: int = 2) -> list[sparse.csr_matrix]:
    """Coarser voxels of 2, 4, ... voxels' side, through which a voxel hears its neighbourhood.

    Depth that is off by more than a voxel spreads a surface over several; the coarse vote decides where the fine one is
    thin, and is too light to move an edge where it is not.

    Args:
        coordinates: (V, 3) voxel coordinates.
        weight: the vote of level l counts weight^l.
        levels: how many coarser levels.

    Returns:
        For each level a (P, V) matrix with sqrt(weight^l) where the voxel lies in the parent.
    """
    tables = []
    for level in range(1, levels + 1):
        _, parent = np.unique(coordinates >> level, axis=0, return_inverse=True)
        parent = parent.ravel()
        weights = np.full(len(parent), np.sqrt(weight**level), np.float32)
        tables.append(
            sparse.csr_matrix((weights, (parent, np.arange(len(parent)))), (parent.max(initial=-1) + 1, len(parent)))
        )
    return tables


def label_shares(table: Incidence, labels: np.ndarray, num_instances: int) -> np.ndarray:
    """How the voxels of each segment are labelled.

    Args:
        table: voxels against segments.
        labels: (V,) as in `VoxelLabels`.
        num_instances: K.

    Returns:
        (S, K+1) float32 shares of the labelled voxels that are background, instance 0, instance 1, ...; rows add up to
        1, or are 0 where nothing is labelled.
    """
    known = np.flatnonzero(labels >= 0)
    columns = sparse.csr_matrix(
        (np.ones(len(known), np.float32), (known, labels[known])), (len(labels), num_instances + 1)
    )
    counts = np.asarray((table.shows.T @ columns).todense(), np.float32)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def reassign(table: Incidence, shares: np.ndarray, min_purity: float, min_views: int) -> np.ndarray:
    """Give every segment to the instance that most of its voxels belong to, and forget instances that few views see.

    Args:
        table: voxels against segments.
        shares: (S, K+1) of `label_shares`.
        min_purity: a segment with less of its best instance belongs to none.
        min_views: an instance needs segments in that many views.

    Returns:
        (S,) int64 instances, renumbered without gaps, -1 none.
    """
    instances = shares[:, 1:]
    if instances.size == 0:
        return np.full(len(shares), -1, np.int64)
    best = instances.argmax(axis=1)
    cluster = np.where(instances.max(axis=1) > min_purity, best, -1)
    return drop_rare(table, cluster, min_views)


def drop_rare(table: Incidence, cluster: np.ndarray, min_views: int) -> np.ndarray:
    """Unassign instances with segments in fewer than `min_views` views; renumber the rest in order: (S,) int64."""
    assigned = np.flatnonzero(cluster >= 0)
    pairs = np.unique(np.stack([cluster[assigned], table.view_of[assigned]], axis=1), axis=0)
    kept, views = np.unique(pairs[:, 0], return_counts=True)
    kept = kept[views >= min_views]
    renumbered = np.full(int(cluster.max(initial=-1)) + 2, -1, np.int64)
    renumbered[kept] = np.arange(len(kept))
    return renumbered[cluster]  # cluster -1 reads the last entry, which stays -1
