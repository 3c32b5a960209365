"""From strokes of several objects to a label of everything that some views see.

The original implementation compares each view's features with centroids of those under the stroke, and takes what is
nearer than a threshold. Here that is only where it begins. Strokes of all objects compete, and a scene's depth says
what lies beside what, in a view and across views: labels spread over surfaces of like features and colours, as in
`isrf`'s walk over voxels, so that two objects of one class keep apart and views agree.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.queries import centroids, squared_distance
from nerfseg_plugins.gsn.surfels import REACH, Surfels, links
from nerfseg_plugins.segments.random_walk import harmonic
from nerfseg_plugins.segments.select_config import SelectConfig

DISTINCT = 0.25
"""A centroid is dropped of which the strokes cover less than this part of what they cover of the best one: it is that
of what shines through at an object's border, or lies behind it."""
EVERYTHING = 0.99
"""Part of all surfels that counts as everything."""


@dataclass(frozen=True)
class Marks:
    """What the rays of strokes meet."""

    points: Tensor
    """(P, 3) float32, scene frame."""
    features: Tensor
    """(P, C) float32 of unit length."""
    labels: Tensor
    """(P,) long: 1 to K for objects, 0 for what is none of them."""

    def __len__(self) -> int:
        return len(self.points)

    @classmethod
    def cat(cls, parts: "list[Marks]") -> "Marks":
        """Those of several strokes as one."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in ("points", "features", "labels")))

    @property
    def count(self) -> int:
        """K."""
        return int(self.labels.max()) if len(self) else 0

    @property
    def objects(self) -> list[int]:
        """The labels that occur, but 0."""
        return [label for label in self.labels.unique().tolist() if label]


@dataclass(frozen=True)
class Exemplars:
    """What objects look like."""

    features: Tensor
    """(M, C) float32 of unit length."""
    labels: Tensor
    """(M,) long, 0 to K, ascending."""


@dataclass(frozen=True)
class Segmentation:
    """Which object each of N surfels belongs to."""

    shares: Tensor
    """(N, K + 1) float32 in [0, 1]: how likely it is none, or the first, ... object."""
    exemplars: Exemplars

    @property
    def labels(self) -> Tensor:
        """(N,) long: 0 for none, else 1 to K."""
        return self.shares.argmax(dim=-1)


def segment(surfels: Surfels, marks: Marks, config: SelectConfig) -> Segmentation:
    """Label what some views see.

    Args:
        surfels: what they see.
        marks: what strokes lie on; objects without a stroke, between others, get nothing.
        config: how. `walker`: strokes spread over what is alike; `seed`: features alone, as in the original.

    Raises:
        InputError: a number makes no sense, the method is one of voxels, no object is marked, strokes lie where no
            view looks, or an object would be nothing or everything.
    """
    check_config(config)
    count = marks.count
    if not count:
        raise InputError("nothing says what the object is; draw a stroke on it first")
    if marks.features.shape[-1] != surfels.features.shape[-1]:
        raise InputError(
            f"the strokes' features have {marks.features.shape[-1]} channels and the views' "
            f"{surfels.features.shape[-1]}; make both from the same run"
        )
    models = exemplars(marks, surfels.features, config)
    shares = likely(surfels.features, models, count, config)
    seeds = seeds_of(surfels, marks)
    if config.method == "walker" or config.connected:
        graph = links(surfels, config.walker)
        for label in marks.objects:
            if not bool((seeds == label).any()):
                raise InputError(
                    f"the strokes of object {label} lie where none of the views looks; draw it in one of them"
                )
        if config.method == "walker":
            shares = walk(graph, shares, seeds, config.walker.prior)
        if config.connected:
            shares = only_connected(graph, shares, seeds, config.walker.floor)
    _check_found(shares.argmax(dim=-1), marks.objects)
    return Segmentation(shares, models)


def check_config(config: SelectConfig) -> None:
    """Refuse numbers that make no sense.

    Raises:
        InputError: names the number.
    """
    if config.method == "bilateral":
        raise InputError("the method bilateral grows through the voxels of an isrf run; take walker or seed")
    if not config.tau >= 0:
        raise InputError(f"tau is {config.tau}; it must be 0 or more")
    walker = config.walker
    for name in ("sigma_f", "sigma_c", "softness"):
        if not getattr(walker, name) > 0:
            raise InputError(f"walker.{name} is {getattr(walker, name)}; it must be greater than 0")
    for name in ("floor", "prior"):
        if not getattr(walker, name) >= 0:
            raise InputError(f"walker.{name} is {getattr(walker, name)}; it must be 0 or more")


# What features say ----------------------------------------------------------------------------------------------------


def exemplars(marks: Marks, scene: Tensor, config: SelectConfig) -> Exemplars:
    """Centroids of the features under the strokes of each label.

    A stroke that strays over an object's border, or lies where features are blurred, also says what the wall behind
    looks like. Of such a centroid it covers next to nothing of what the scene has, so it is dropped.

    Args:
        marks: what strokes lie on.
        scene: (N, C) features of all that is seen.
        config: how many centroids, and how near is alike.

    Raises:
        InputError: the number of clusters is not positive, or features are not finite.
    """
    found, labels = [], []
    for label in marks.labels.unique().tolist():
        features = marks.features[marks.labels == label].float()
        middles = centroids(features, config.clusters, config.random_seed)
        if label:
            covering = torch.bincount((features @ middles.T).argmax(dim=-1), minlength=len(middles))
            alike = torch.stack([(squared_distance(scene, one[None]) < config.tau).sum() for one in middles])
            covered = covering / alike.clamp_min(1)
            middles = middles[covered >= DISTINCT * covered.max()]
        found.append(middles)
        labels.append(torch.full((len(middles),), label))
    return Exemplars(torch.cat(found), torch.cat(labels))


def likely(features: Tensor, models: Exemplars, count: int, config: SelectConfig) -> Tensor:
    """What each feature says on its own.

    Args:
        features: (N, C) of unit length.
        models: what objects look like.
        count: K.
        config: how near is alike, and how clear a difference is.

    Returns:
        (N, K + 1) float32 that sum to 1: softmax of -distance / softness, where the squared distance to a label is that
        to its nearest exemplar, and to none of the objects at most tau.
    """
    distance = torch.full((len(features), count + 1), torch.inf, device=features.device)
    distance[:, 0] = config.tau
    for label in models.labels.unique().tolist():
        nearest = squared_distance(features, models.features[models.labels == label].to(features.device))
        distance[:, label] = torch.minimum(distance[:, label], nearest)
    return torch.softmax(-distance / config.walker.softness, dim=-1)


# What surroundings say ------------------------------------------------------------------------------------------------


def seeds_of(surfels: Surfels, marks: Marks) -> Tensor:
    """(N,) long labels of the surfels that strokes lie on, -1 elsewhere and where strokes contradict each other."""
    distance, nearest = KDTree(surfels.points.numpy()).query(marks.points.cpu().numpy())
    nearest = torch.from_numpy(np.asarray(nearest))
    on = torch.from_numpy(distance) <= REACH * surfels.size[nearest]
    votes = torch.zeros(len(surfels), marks.count + 1, dtype=torch.long)
    votes.index_put_((nearest[on], marks.labels.cpu()[on]), torch.tensor(1), accumulate=True)
    top = votes.sort(dim=-1, descending=True)
    second = top.values[:, 1] if votes.shape[1] > 1 else torch.zeros(len(votes), dtype=torch.long)
    return torch.where(top.values[:, 0] > second, top.indices[:, 0], -1)


def walk(graph: sparse.csr_matrix, prior: Tensor, seeds: Tensor, weight: float) -> Tensor:
    """Where a walk ends that prefers to step between like surfels.

    Args:
        graph: see `links`.
        prior: (N, L) what each surfel says on its own; sums to 1.
        seeds: (N,) long, a label or -1.
        weight: of the priors, beside 1 for an equal neighbour.

    Returns:
        (N, L) float32 that sum to 1.
    """
    fixed = (seeds >= 0).numpy()
    values = prior.clone()
    values[fixed] = torch.nn.functional.one_hot(seeds[fixed], prior.shape[1]).to(prior)
    # The last one is what is left: the systems are linear and the priors sum to 1.
    solved = [harmonic(graph, values[:, label].numpy(), fixed, weight) for label in range(1, prior.shape[1])]
    found = torch.from_numpy(np.stack(solved, axis=1))
    return torch.cat([(1 - found.sum(dim=1, keepdim=True)).clamp_min(0), found], dim=1)


def only_connected(graph: sparse.csr_matrix, shares: Tensor, seeds: Tensor, floor: float) -> Tensor:
    """Takes away what does not hang together with a stroke of its object, over links above the floor.

    Args:
        graph: see `links`.
        shares: (N, K + 1).
        seeds: (N,) long, a label or -1.
        floor: of the links.

    Returns:
        (N, K + 1); what is taken away belongs to none.
    """
    labels = shares.argmax(dim=-1)
    edges = graph.tocoo()
    held = (labels[edges.row] == labels[edges.col]).numpy() & (edges.data > 2 * floor)
    same = sparse.coo_matrix((np.ones(held.sum(), bool), (edges.row[held], edges.col[held])), shape=graph.shape)
    _, piece = connected_components(same, directed=False)
    piece = torch.from_numpy(piece).long()
    marked = torch.zeros(int(piece.max()) + 1, dtype=torch.bool)
    marked[piece[(seeds > 0) & (seeds == labels)]] = True
    loose = (labels > 0) & ~marked[piece]
    found = shares.clone()
    found[loose] = 0
    found[loose, 0] = 1
    return found


def _check_found(labels: Tensor, objects: list[int]) -> None:
    sizes = torch.bincount(labels, minlength=max(objects) + 1)
    for label in objects:
        if not sizes[label]:
            raise InputError(f"nothing is like the strokes of object {label}; raise tau, or draw a longer stroke")
        if sizes[label] >= EVERYTHING * len(labels):
            raise InputError(
                f"everything is like the strokes of object {label}; lower tau, or mark something that is no part of it"
            )
