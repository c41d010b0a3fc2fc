"""Visual meshes of the robot: split by colour, decimated, cached.

The vendor's GLB files hold some 3 million triangles, too many for a software renderer. Each file is read
once, simplified, and kept under ``${XDG_CACHE_HOME:-~/.cache}/resfit/meshes`` by the hash of its content.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RECIPE = 'v2'  # part of the cache's key: raise it whenever _simplify changes
COLOUR_STEP = 0.05  # colours closer than this are drawn as one part
MIN_AREA = 0.02  # parts with less than this share of the surface are left out (screws, logos)
MIN_FACES = 40
COARSE_BELOW = 1500  # triangles; below, vertices within 1 mm are joined: gaps stop the simplification early


@dataclass(frozen=True)
class Part:
    """One colour of one link. vertices (V, 3) float32 m, faces (F, 3) int32, rgb (3,) float32 0..1."""

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    rgb: NDArray[np.float32]


def cache_dir() -> Path:
    base = os.environ.get('XDG_CACHE_HOME') or str(Path.home() / '.cache')
    return Path(base) / 'resfit' / 'meshes'


def visual_parts(path: Path, faces: int) -> list[Part]:
    """Parts of the GLB file ``path`` with about ``faces`` triangles in all, cached."""
    digest = hashlib.sha256(f'{RECIPE} {faces} '.encode() + path.read_bytes()).hexdigest()
    cached = cache_dir() / f'{path.stem}-{digest[:20]}.npz'
    try:
        return _load(cached)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # absent, or damaged: build it again
        parts = _simplify(path, faces)
    try:
        _save(cached, parts)
    except OSError:
        pass  # a read-only home only costs time
    return parts


def _load(path: Path) -> list[Part]:
    with path.open('rb') as file, np.load(file, allow_pickle=False) as data:
        return [Part(data[f'v{i}'], data[f'f{i}'], data[f'c{i}']) for i in range(len(data.files) // 3)]


def _save(path: Path, parts: list[Part]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix='.tmp')
    try:
        with os.fdopen(handle, 'wb') as file:
            arrays: dict[str, Any] = {}
            for i, part in enumerate(parts):
                arrays |= {f'v{i}': part.vertices, f'f{i}': part.faces, f'c{i}': part.rgb}
            np.savez(file, **arrays)
        os.replace(name, path)  # whole or not at all, whoever else builds the same file
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _simplify(path: Path, faces: int) -> list[Part]:
    import trimesh  # slow to import, and needed only while the cache is cold

    scene = trimesh.load_scene(path)
    groups: dict[tuple[float, ...], list[trimesh.Trimesh]] = {}
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        mesh = scene.geometry[name].copy().apply_transform(transform)
        material = getattr(mesh.visual, 'material', None)
        factor = getattr(material, 'baseColorFactor', None)
        colour = np.full(3, 0.8) if factor is None else np.asarray(factor[:3], float) / 255
        key = tuple(float(x) for x in np.round(np.round(colour / COLOUR_STEP) * COLOUR_STEP, 3))
        groups.setdefault(key, []).append(trimesh.Trimesh(mesh.vertices, mesh.faces))
    total = sum(mesh.area for meshes in groups.values() for mesh in meshes)
    parts = []
    for rgb, meshes in sorted(groups.items()):
        mesh = trimesh.util.concatenate(meshes)
        mesh.merge_vertices(digits_vertex=3 if faces < COARSE_BELOW else None)
        mesh.update_faces(mesh.nondegenerate_faces())
        if mesh.area < MIN_AREA * total:
            continue
        budget = max(MIN_FACES, int(faces * mesh.area / total))
        if len(mesh.faces) > budget:
            mesh = mesh.simplify_quadric_decimation(face_count=budget)
        parts.append(Part(mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32), np.array(rgb, np.float32)))
    return parts
