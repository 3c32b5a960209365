"""Which segments of different views are one thing: the views vote, then a greedy contraction decides.

Two segments belong together when views that see the places of both put them into one segment (the view consensus of
MaskClustering, Yan et al., CVPR 2024). Where they cluster by falling thresholds, votes for and against are added up
here and pairs are contracted while the sum favours it (greedy additive edge contraction, Keuper et al., ICCV 2015): no
number of instances and no order of views is needed, and a few wrong views are outvoted.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from nerfseg_plugins.segments.incidence import Incidence


@dataclass(frozen=True)
class Consensus:
    """What the views say of each pair of segments; S segments."""

    observers: np.ndarray
    """(S, S) float32, views that see the places of both."""
    supporters: np.ndarray
    """(S, S) float32, views among them that put both into one segment."""
    split_rate: np.ndarray
    """(S,) float32, part of the observing views that spread the segment over several of theirs: a merged segment."""


def view_consensus(table: Incidence, min_voxels: int = 8, containment: float = 0.7) -> Consensus:
    """Count for each pair of segments the views that can judge it and those that join it.

    A view observes a segment when at least `min_voxels` of the segment's voxels show a segment there and more show
    segments than show background: a detector that misses a thing says nothing about its parts. It contains the segment
    when one of its segments holds at least `containment` of these voxels.

    Args:
        table: voxels against segments.
        min_voxels: voxels that an observing view needs.
        containment: part of a segment's voxels that must lie in one segment of the view.
    """
    overlap = np.asarray((table.shows.T @ table.shows).todense(), np.float32)
    own_view = table.views_by_segment()
    labelled = overlap @ own_view
    background = np.asarray((table.shows.T @ table.background).todense(), np.float32)
    observes = (labelled >= min_voxels) & (labelled > background)
    contained = (overlap >= containment * np.maximum(labelled, 1)[:, table.view_of]) & observes[:, table.view_of]
    links = sparse.csr_matrix(contained.astype(np.float32))
    supporters = np.asarray((links @ links.T).todense(), np.float32)
    judged = observes.astype(np.float32)
    observing = judged.sum(axis=1)
    split_rate = 1 - contained.sum(axis=1) / np.maximum(observing, 1)
    return Consensus(judged @ judged.T, supporters, np.where(observing > 0, split_rate, 0).astype(np.float32))


def contract_greedily(weights: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Cluster the nodes of a signed graph by greedy additive edge contraction.

    Args:
        weights: (S, S) symmetric; positive joins, negative keeps apart, 0 is indifferent.
        active: (S,) bool, nodes to cluster.

    Returns:
        (S,) int64 clusters 0.. in the order of their first node, -1 for inactive nodes.
    """
    number = len(weights)
    weights = np.array(weights, dtype=np.float32)
    np.fill_diagonal(weights, -np.inf)
    weights[~active] = -np.inf
    weights[:, ~active] = -np.inf
    cluster = np.arange(number)
    if number == 0:
        return cluster
    partner = weights.argmax(axis=1)
    gain = weights[np.arange(number), partner]
    while True:
        keep = int(gain.argmax())
        if gain[keep] <= 0:
            break
        gone = int(partner[keep])
        keep, gone = min(keep, gone), max(keep, gone)
        cluster[cluster == gone] = keep
        weights[keep] += weights[gone]
        weights[keep, keep] = -np.inf
        weights[:, keep] = weights[keep]
        weights[gone] = -np.inf
        weights[:, gone] = -np.inf
        # Each row keeps its best partner; only rows that pointed at the pair need a new search.
        stale = (partner == keep) | (partner == gone)
        better = ~stale & (weights[:, keep] > gain)
        partner[better], gain[better] = keep, weights[better, keep]
        stale[[keep, gone]] = True
        partner[stale] = weights[stale].argmax(axis=1)
        gain[stale] = weights[stale, partner[stale]]
    clusters = np.full(number, -1, np.int64)
    _, clusters[active] = np.unique(cluster[active], return_inverse=True)
    return clusters
