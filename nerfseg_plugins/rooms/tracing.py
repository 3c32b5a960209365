"""Rays against triangles: Embree, with hits as barycentric coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nerfseg_plugins.rooms.meshes import Mesh


@dataclass(frozen=True)
class Surfaces:
    """All triangles of a room.

    Attributes:
        vertices: (V, 3) world, metres.
        local: (V, 3) the same in the frame of the object, where textures live.
        normals: (V, 3) world, unit length.
        faces: (F, 3) vertex indices, counter-clockwise seen from outside.
        face_surface: (F,) index of the surface that a triangle belongs to.
        face_local_normal: (F, 3) normal in the frame of the object.
    """

    vertices: np.ndarray
    local: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    face_surface: np.ndarray
    face_local_normal: np.ndarray

    @classmethod
    def of(cls, world: Sequence[Mesh], local: Sequence[Mesh]) -> Surfaces:
        """Join the meshes of all surfaces; triangles without area (the tips of round shapes) are left out."""
        starts = np.cumsum([0] + [len(mesh.vertices) for mesh in world[:-1]])
        faces = np.concatenate([mesh.faces + start for mesh, start in zip(world, starts, strict=True)])
        owner = np.repeat(np.arange(len(world)), [len(mesh.faces) for mesh in world])
        flat = np.concatenate([mesh.vertices for mesh in local])
        corners = flat[faces]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = np.linalg.norm(normal, axis=1)
        keep = area > 1e-10
        return cls(
            np.concatenate([mesh.vertices for mesh in world]),
            flat,
            np.concatenate([mesh.normals for mesh in world]),
            faces[keep],
            owner[keep],
            normal[keep] / area[keep, None],
        )


@dataclass(frozen=True)
class Hits:
    """First hits of N rays.

    Attributes:
        face: (N,) triangle, -1 where a ray leaves the room.
        weights: (N, 3) barycentric weights of the triangle's corners; zero without a hit.
    """

    face: np.ndarray
    weights: np.ndarray


class Tracer:
    """Casts rays at fixed geometry.

    Args:
        surfaces: what there is to hit.
    """

    def __init__(self, surfaces: Surfaces) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self._scene = EmbreeScene()
        # Embree keeps no copy: the mesh object must live as long as the scene.
        self._mesh = TriangleMesh(self._scene, surfaces.vertices.astype(np.float32), surfaces.faces.astype(np.int32))

    def first(self, origins: np.ndarray, directions: np.ndarray) -> Hits:
        """First hits of rays.

        Args:
            origins: (N, 3) metres.
            directions: (N, 3), any length above zero.
        """
        if len(origins) == 0:
            return Hits(np.zeros(0, dtype=np.int64), np.zeros((0, 3)))
        result = self._scene.run(
            np.ascontiguousarray(origins, dtype=np.float32),
            np.ascontiguousarray(directions, dtype=np.float32),
            output=1,
        )
        face = result["primID"].astype(np.int64)
        u, v = result["u"].astype(float), result["v"].astype(float)
        weights = np.stack([1 - u - v, u, v], -1)
        weights[face < 0] = 0.0
        return Hits(face, weights)

    def blocked(self, origins: np.ndarray, directions: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """(N,) bool: whether something stands within `distances` (N,) metres along unit `directions` (N, 3)."""
        result = self._scene.run(
            np.ascontiguousarray(origins, dtype=np.float32),
            np.ascontiguousarray(directions, dtype=np.float32),
            dists=np.ascontiguousarray(distances, dtype=np.float32),
            query="OCCLUDED",
        )
        return np.asarray(result) != -1


def interpolate(values: np.ndarray, surfaces: Surfaces, hits: Hits) -> np.ndarray:
    """(N, C) values at hits of quantities (V, C) given at the vertices; rays without a hit give zero."""
    corners = values[surfaces.faces[hits.face]]
    return np.einsum("nk,nkc->nc", hits.weights, corners)
