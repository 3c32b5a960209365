"""Light that is computed once for a room, at the vertices: area lamps with soft shadows and three diffuse bounces.

Everything is Lambertian, so what leaves a surface is the same in every direction: all views agree on every colour.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nerfseg_plugins.rooms.shell import AreaLight
from nerfseg_plugins.rooms.textures import TextureTable
from nerfseg_plugins.rooms.tracing import Surfaces, Tracer

LAMP_SAMPLES = 5
"""Per side of an area light: 25 shadow rays from each vertex."""
BOUNCE_RAYS = 64
"""Directions in which each vertex looks for light from other surfaces."""
BOUNCES = 3
BOUNCE_GAIN = 0.7
"""Share of the bounced light that is kept: less than all of it, for deeper shadows."""
EXPOSURE = 0.42
"""What the 60 % quantile of the light in a room is scaled to."""


def bake(
    surfaces: Surfaces,
    textures: TextureTable,
    tracer: Tracer,
    lights: Sequence[AreaLight],
    sky: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Irradiance over pi at every vertex: multiplied by the albedo it is the radiance that leaves a surface.

    The radiosity equation (Goral et al. 1984) with Monte Carlo form factors: the rays are cast once, and every bounce
    looks up what the triangles that they hit send out.

    Args:
        surfaces: geometry.
        textures: of the surfaces.
        tracer: of the same geometry.
        lights: lamps.
        sky: (3,) radiance of rays that hit nothing.
        seed: of the sampling.

    Returns:
        (V, 3) linear RGB, scaled so that a mid-grey in typical light comes out as mid-grey.
    """
    rng = np.random.default_rng([seed, 17])
    points = _sample_points(surfaces)
    direct = np.zeros_like(points)
    for light in lights:
        direct += _from_light(points, surfaces.normals, tracer, light, rng)
    centres = surfaces.local[surfaces.faces].mean(1)
    albedo = textures.albedo(surfaces.face_surface, centres, surfaces.face_local_normal)
    glow = albedo * textures.emissions[surfaces.face_surface, None] * 0.25
    seen = _look_around(points, surfaces.normals, tracer, rng)
    total = direct
    for _ in range(BOUNCES):
        leaving = albedo * total[surfaces.faces].mean(1) + glow
        leaving = np.concatenate([leaving, sky[None]]).astype(np.float32)
        total = direct + BOUNCE_GAIN * leaving[seen].mean(1)
    total = _smooth(total, surfaces)
    return total * (EXPOSURE / np.percentile(total.mean(1), 60))


def _sample_points(surfaces: Surfaces) -> np.ndarray:
    """(V, 3) where light is measured: just off the surface, and drawn in from edges that touch other surfaces."""
    centres = surfaces.vertices[surfaces.faces].mean(1)
    count = np.bincount(surfaces.faces.ravel(), minlength=len(surfaces.vertices))
    inward = np.zeros_like(surfaces.vertices)
    for axis in range(3):
        inward[:, axis] = np.bincount(
            surfaces.faces.ravel(), np.repeat(centres[:, axis], 3), minlength=len(surfaces.vertices)
        )
    inward = inward / np.maximum(count, 1)[:, None] - surfaces.vertices
    inward[count == 0] = 0.0
    length = np.maximum(np.linalg.norm(inward, axis=1, keepdims=True), 1e-9)
    return surfaces.vertices + inward * np.minimum(0.3, 0.012 / length) + 0.004 * surfaces.normals


def _from_light(
    points: np.ndarray, normals: np.ndarray, tracer: Tracer, light: AreaLight, rng: np.random.Generator
) -> np.ndarray:
    """(V, 3) irradiance over pi from one lamp, by stratified samples over its area."""
    area_normal = np.cross(light.edge_u, light.edge_v)
    area = float(np.linalg.norm(area_normal))
    area_normal = area_normal / area
    cells = np.stack(np.meshgrid(np.arange(LAMP_SAMPLES), np.arange(LAMP_SAMPLES), indexing="ij"), -1).reshape(-1, 2)
    total = np.zeros(len(points))
    for cell in cells:
        st = (cell + rng.uniform(size=(len(points), 2))) / LAMP_SAMPLES
        offset = light.corner + st[:, :1] * light.edge_u + st[:, 1:] * light.edge_v - points
        distance = np.linalg.norm(offset, axis=1)
        direction = offset / distance[:, None]
        form = np.einsum("ij,ij->i", direction, normals) * -(direction @ area_normal)
        near = np.flatnonzero(form > 0)
        near = near[~tracer.blocked(points[near], direction[near], distance[near] - 1e-3)]
        total[near] += form[near] / np.maximum(distance[near], 0.15) ** 2
    return (total * area / (np.pi * len(cells)))[:, None] * light.power


def _look_around(points: np.ndarray, normals: np.ndarray, tracer: Tracer, rng: np.random.Generator) -> np.ndarray:
    """(V, BOUNCE_RAYS) triangle seen in cosine-distributed directions; -1 is the sky."""
    index = np.arange(BOUNCE_RAYS) + 0.5
    radius = np.sqrt(index / BOUNCE_RAYS)
    golden = np.pi * (3 - np.sqrt(5))
    up = np.sqrt(1 - radius**2)
    helper = np.where(np.abs(normals[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    tangent = np.cross(helper, normals)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    bitangent = np.cross(normals, tangent)
    # One fixed set of directions, turned by a random angle at each vertex: noise instead of bands.
    phase = rng.uniform(0, 2 * np.pi, len(points))
    seen = np.empty((len(points), BOUNCE_RAYS), dtype=np.int32)
    for start in range(0, len(points), 8192):
        rows = slice(start, start + 8192)
        angle = index * golden + phase[rows, None]
        x, y = radius * np.cos(angle), radius * np.sin(angle)
        directions = (
            x[..., None] * tangent[rows, None]
            + y[..., None] * bitangent[rows, None]
            + up[:, None] * normals[rows, None]
        )
        origins = np.broadcast_to(points[rows, None], directions.shape)
        seen[rows] = tracer.first(origins.reshape(-1, 3), directions.reshape(-1, 3)).face.reshape(-1, BOUNCE_RAYS)
    return seen


def _smooth(values: np.ndarray, surfaces: Surfaces) -> np.ndarray:
    """Average each vertex with its neighbours on the same flat piece once: less noise, shadows stay."""
    pairs = surfaces.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    a, b = np.concatenate([pairs, pairs[:, ::-1]]).T
    count = np.bincount(a, minlength=len(values))
    mean = np.stack([np.bincount(a, values[b, axis], minlength=len(values)) for axis in range(3)], -1)
    mean /= np.maximum(count, 1)[:, None]
    return np.where(count[:, None] > 0, 0.5 * values + 0.5 * mean, values)
