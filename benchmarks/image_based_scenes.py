"""Scenes on which `image_based.py` measures, and what is measured on one of them."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nerfseg_plugins.cli.features import Features
from nerfseg_plugins.cli.image_based import DataOptions
from nerfseg_plugins.cli.open import Open
from nerfseg_plugins.cli.room import Room
from nerfseg_plugins.dataparsers.dvr import DVRDataParserConfig
from nerfseg_plugins.dataparsers.srn import SRNDataParserConfig
from nerfseg_plugins.evaluation.image import psnr, ssim
from nerfseg_plugins.evaluation.image_baselines import Pinhole, best_plane_blend, nearest_view
from nerfseg_plugins.evaluation.visual_hull import hull_iou
from nerfseg_plugins.image_based.scene import Scene
from nerfseg_plugins.scene.run import load_run, render_views

ROOM_SEEDS = {"train": range(100, 112), "val": (120, 121), "test": (130, 131)}
FERN_WIDTH = 168
"""Pixels: a third of what is at hand, near the size of the rooms."""


def chairs(folder: Path) -> Path:
    """32 chairs to train on, 6 and 6 others, 50 views of 64 px each."""
    path = folder / "chairs"
    if not path.is_dir():
        Room(path, layout="srn", count=(32, 6, 6)).main()
    return path


def objects(data: Path, split: str) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, photos (N, H, W, 3) in [0, 1] and poses (N, 3, 4) of every object of a split."""
    whole = SRNDataParserConfig(data=data).setup()
    for name in whole.scene_names(split):
        outputs = whole.of_scene(name).setup().get_dataparser_outputs("train")
        photos = [np.asarray(Image.open(path).convert("RGB")) for path in outputs.image_filenames]
        yield name, torch.from_numpy(np.stack(photos)).float() / 255, outputs.cameras.camera_to_worlds


def rooms(folder: Path, split: str) -> Path:
    """A folder of forward-facing procedural rooms, 24 + 4 views at 120x90."""
    path = folder / "rooms" / split
    for seed in ROOM_SEEDS[split]:
        if not (path / f"room_{seed}").is_dir():
            target = path / f"room_{seed}"
            Room(target, layout="llff", seed=seed, width=120, height=90, views=24, val_views=4).main()
    return path


def described_rooms(folder: Path, split: str) -> Path:
    """The same, with features made from class and part embeddings and noise."""
    path = rooms(folder, split)
    for room in sorted(path.iterdir()):
        if not (room / "features" / "labels" / "manifest.json").is_file():
            Features(data=room, source="labels").main()
    return path


def small_fern(data: Path, folder: Path) -> Path:
    """LLFF's fern at a third of its size."""
    source, path = data / "fern", folder / "fern"
    if not (path / "poses_bounds.npy").is_file():
        images = sorted((source / "images_8").glob("*.png"))
        (path / "images").mkdir(parents=True, exist_ok=True)
        for image in images:
            with Image.open(image) as opened:
                size = FERN_WIDTH, round(FERN_WIDTH * opened.height / opened.width)
                opened.convert("RGB").resize(size, Image.Resampling.BOX).save(path / "images" / image.name)
        np.save(path / "poses_bounds.npy", np.load(source / "poses_bounds.npy", allow_pickle=False))
    return path


def opened(config: Path, data: Path, name: str) -> Path:
    """The configuration that shows a scene with a run's weights."""
    path = config.parent / f"{name}.yml"
    Open(load_config=config, where=DataOptions(data=data), name=name, overwrite=True).main()
    return path


# Views ---------------------------------------------------------------------------------------------------------------


def measure_views(config: Path, data: Path, name: str, pictures: Path) -> dict[str, Any]:
    """PSNR of a scene's held-out views, beside the nearest source view's and that of the best blend on one plane."""
    run = load_run(opened(config, data, name))
    manager: Any = run.pipeline.datamanager
    cameras, images = pinholes(manager.shown), photos(manager.shown)
    targets, truths = pinholes(manager.held_out), photos(manager.held_out)
    sheet, found = [], {key: [] for key in ("psnr", "ssim", "nearest_psnr", "plane_psnr")}
    begin = time.perf_counter()
    for view in render_views(run, "val", ("rgb",)):
        rendered, truth, target = view.outputs["rgb"], truths[view.index], targets[view.index]
        model: Any = run.pipeline.model
        near = [int(index) for index in model.choose(target.c2w)]
        chosen, shown = [cameras[index] for index in near], [images[index] for index in near]
        nearest = nearest_view(target, chosen, shown)
        plane = best_plane_blend(target, truth, chosen, shown, manager.shown.bounds.near, manager.shown.bounds.far)
        for key, picture in (("psnr", rendered), ("nearest_psnr", nearest), ("plane_psnr", plane.image)):
            found[key].append(psnr(picture.clamp(0, 1), truth))
        found["ssim"].append(ssim(rendered.clamp(0, 1), truth))
        sheet.append([truth, rendered, nearest, plane.image])
    save_sheet(pictures / f"{name}.png", sheet)
    means = {key: float(np.mean(values)) for key, values in found.items()}
    return {
        **means,
        "above_nearest": means["psnr"] - means["nearest_psnr"],
        "above_plane": means["psnr"] - means["plane_psnr"],
        "views": len(sheet),
        "seconds": time.perf_counter() - begin,
    }


def pinholes(scene: Scene) -> list[Pinhole]:
    """The cameras of a scene's views."""
    found = []
    for index in range(len(scene)):
        (fx, fy), (cx, cy) = scene.focal[index].tolist(), scene.center[index].tolist()
        found.append(Pinhole(scene.c2w[index], (fx, fy), (cx, cy), scene.size(index)))
    return found


def photos(scene: Scene) -> list[Tensor]:
    """Its photos (H, W, 3) in [0, 1]."""
    return [torch.from_numpy(scene.image(index).copy()).float() / 255 for index in range(len(scene))]


def save_sheet(path: Path, rows: Sequence[Sequence[Tensor]]) -> None:
    """Pictures (H, W, 3) in [0, 1], row by row."""
    sheet = torch.cat([torch.cat(list(row), dim=1) for row in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((sheet.clamp(0, 1) * 255 + 0.5).byte().numpy()).save(path)


# DTU -----------------------------------------------------------------------------------------------------------------


def hull_of_dtu(data: Path) -> dict[str, Any]:
    """Mean IoU of the reprojected hull of all masks of a DTU scan with these masks."""
    parser = DVRDataParserConfig(data=data).setup()
    outputs = parser.get_dataparser_outputs("train")
    masks = [np.asarray(Image.open(path).convert("L")) > 127 for path in outputs.metadata["foreground_filenames"]]
    box = outputs.scene_box.aabb.double().numpy()
    found = hull_iou(outputs.cameras, np.stack(masks), box, 192)
    return {"mean_iou": float(found.mean()), "smallest": float(found.min()), "views": len(found)}
