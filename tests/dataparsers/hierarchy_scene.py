"""A tiny scene in the layout of Blender-HS, in our form of its files or in the released one."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from nerfseg_plugins.segments.masks import write_ids

WIDTH, HEIGHT = 8, 6
ANGLE = 0.69
COLLECTIONS = np.array([[0, 0, 0, 0, 0, 0, 0, 0], *[[0, 1, 1, 1, 2, 2, 2, 0]] * 5], np.int32)
OBJECTS = np.array([[0, 0, 0, 0, 0, 0, 0, 0], *[[0, 1, 1, 2, 3, 3, 3, 0]] * 5], np.int32)


def look_at_origin(eye: np.ndarray) -> np.ndarray:
    """(4, 4) OpenGL camera-to-world of a camera at `eye`, up is z."""
    back = eye / np.linalg.norm(eye)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, eye], axis=1)
    return pose


class BlenderHS:
    """Three training and two held-out RGBA views; masks, ids, depth and rotated views where asked for."""

    def __init__(self, folder: Path, released: bool = False):
        self.folder = folder
        self.released = released
        rng = np.random.default_rng(5)
        for split, count in (("train", 3), ("val", 2)):
            self.split(split, [self.pose(rng) for _ in range(count)])
            for index in range(count):
                self.masks(split, f"r_{index}")
                self.truth(split, f"r_{index}")
                self.depth(split, f"r_{index}")

    @staticmethod
    def pose(rng: np.random.Generator) -> np.ndarray:
        """From a point of the upper half of a sphere of radius 4."""
        eye = np.append(rng.normal(size=2), abs(rng.normal()))
        return look_at_origin(4 * eye / np.linalg.norm(eye))

    def split(self, split: str, poses: list[np.ndarray], name: str = "transforms_{}.json", images: str = "") -> None:
        """Write images and the JSON file of a split."""
        frames = []
        for index, pose in enumerate(poses):
            self.image(f"{images or split}/r_{index}.png")
            frames.append({"file_path": f"./{images or split}/r_{index}", "transform_matrix": pose.tolist()})
        path = self.folder / name.format(split)
        path.write_text(json.dumps({"camera_angle_x": ANGLE, "frames": frames}))

    def image(self, name: str) -> None:
        """A transparent picture."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((HEIGHT, WIDTH, 4), np.uint8)).save(path)

    def masks(self, split: str, name: str) -> None:
        """One picture a mask."""
        folder = self.folder / f"{split}_seg" / name
        folder.mkdir(parents=True)
        for number, mask in enumerate((COLLECTIONS == 1, COLLECTIONS == 2, OBJECTS == 1)):
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{number}.png")

    def truth(self, split: str, name: str) -> None:
        """Ids of two levels; the released ones are pictures of four channels."""
        folder = self.folder / "gt_seg" / split
        folder.mkdir(parents=True, exist_ok=True)
        for level, ids in (("collections", COLLECTIONS), ("objects", OBJECTS)):
            if self.released:
                array = np.stack([ids, ids * 0 + 7, ids * 0, ids * 0 + 255], axis=-1).astype(np.uint8)
                Image.fromarray(array).save(folder / f"{name}_seg_{level}.tif", compression="tiff_lzw")
            else:
                write_ids(folder / f"{name}_{level}.png", ids)

    def depth(self, split: str, name: str) -> None:
        """Everything at depth 4, background at 0."""
        folder = self.folder / f"{split}_depth"
        folder.mkdir(exist_ok=True)
        if self.released:
            array = np.repeat(np.where(COLLECTIONS > 0, 128, 0).astype(np.uint8)[..., None], 4, axis=2)
            Image.fromarray(array).save(folder / f"{name}_depth.png")
        else:
            np.save(folder / f"{name}.npy", np.where(COLLECTIONS > 0, 4, 0).astype(np.float16))

    def rotated(self, name: str = "transforms_val_rotate.json") -> None:
        """Views beside those of val, and what both see."""
        rng = np.random.default_rng(6)
        self.split("val", [self.pose(rng) for _ in range(2)], name, images="val_rotate")
        (self.folder / "val_visible").mkdir()
        # The masks lie in the lower right corner of larger pictures.
        array = np.full((220, 230, 4), 255, np.uint8)
        array[20:120, 30:] = 0
        for index in range(2):
            for suffix in ("", "_rotate"):
                Image.fromarray(array).save(self.folder / "val_visible" / f"r_{index}{suffix}.png")
