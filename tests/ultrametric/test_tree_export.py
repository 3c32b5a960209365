"""The exported tree and points, read back with json and plyfile."""

import json
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

from nerfseg_plugins.ultrametric.tree_export import cut_colors, describe_tree, write_points

from .scenes import patches

GRANULARITIES = (0.35, 0.6, 1.0, 2.0)
MIN_SIZE = 5
TREE = patches()
CUTS = [TREE.cut(granularity, MIN_SIZE) for granularity in GRANULARITIES]


def to_data(points: np.ndarray) -> np.ndarray:
    return 10 * points + 1


@pytest.fixture(scope="module")
def described() -> dict:
    """As a file gives it back."""
    return json.loads(json.dumps(describe_tree(TREE, GRANULARITIES, CUTS, MIN_SIZE, to_data)))


def test_every_segment_of_every_granularity_is_a_node(described: dict) -> None:
    assert described["num_segments"] == [len(cut) for cut in CUTS] and len(CUTS[0]) > 5
    for level, cut in enumerate(CUTS):
        sizes = {node["ids"][level]: node["size"] for node in described["nodes"] if node["ids"][level] is not None}
        assert sizes == dict(enumerate(np.bincount(cut.labels[cut.labels >= 0]).tolist(), start=1))


def test_parents_hold_their_children(described: dict) -> None:
    nodes = {node["id"]: node for node in described["nodes"]}
    assert len(nodes) == len(described["nodes"])
    for node in nodes.values():
        if node["parent"] is None:
            assert node["ids"][-1] is not None
            continue
        members = set(TREE.members(node["id"]))
        holders = [other for other in nodes if members < set(TREE.members(other))]
        assert node["parent"] == min(holders, key=lambda other: nodes[other]["size"])


def test_a_node_is_a_segment_from_its_joining_to_the_next(described: dict) -> None:
    for node in described["nodes"]:
        for granularity, own in zip(GRANULARITIES, node["ids"], strict=True):
            alive = node["from"] <= granularity and (node["to"] is None or granularity < node["to"])
            assert (own is not None) == alive


def test_boxes_are_in_the_frame_of_the_data(described: dict) -> None:
    for node in described["nodes"]:
        points = to_data(TREE.points[TREE.members(node["id"])])
        np.testing.assert_allclose(node["box"], [points.min(axis=0), points.max(axis=0)], rtol=1e-6)
        np.testing.assert_allclose(node["center"], points.mean(axis=0), rtol=1e-4)


def test_points_have_an_id_for_every_granularity(tmp_path: Path) -> None:
    path = tmp_path / "points.ply"
    write_points(path, TREE, GRANULARITIES, CUTS, 1, to_data)
    stored = PlyData.read(str(path))
    vertex = stored["vertex"].data
    assert vertex.dtype.names == ("x", "y", "z", "red", "green", "blue", "id_0", "id_1", "id_2", "id_3")
    assert stored.comments[1] == "id_1 granularity 0.6" and not stored.text and stored.byte_order == "<"
    np.testing.assert_allclose(np.stack([vertex[name] for name in "xyz"], axis=1), to_data(TREE.points), rtol=1e-6)
    for level, cut in enumerate(CUTS):
        assert (vertex[f"id_{level}"] == np.where(cut.labels < 0, 0, cut.labels + 1)).all()
    colors = np.stack([vertex[name] for name in ("red", "green", "blue")], axis=1)
    assert (colors == cut_colors(TREE, CUTS[1])[vertex["id_1"]]).all()


def test_no_segment_at_all() -> None:
    cut = TREE.cut(0.5, 10**6)
    assert describe_tree(TREE, [0.5], [cut], 10**6, to_data)["nodes"] == []
