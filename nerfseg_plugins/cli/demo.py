"""`nerfseg demo`: room, training, evaluation, masks, video and a contact sheet, from nothing."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from nerfseg_plugins.scene.run import Run


@dataclass
class Demo:
    """Make a furnished room, learn its instances and render them from new views, in about five minutes on two cores.

    What is done already is kept: an interrupted demo continues when it is started again.
    """

    output_path: Path = Path("demo")
    """Folder to write into."""
    seed: int = 3
    """Seed of the room and of the training."""
    geometry_steps: int = 2000
    """Steps that train geometry and colour."""
    head_steps: int = 1500
    """Steps that train the instance field."""
    video_frames: int = 36
    """Frames of the video, at 10 a second; 0 writes none."""

    def main(self) -> None:
        """Run every step and say where things are."""
        from nerfseg_plugins.cli.eval import evaluate_run
        from nerfseg_plugins.cli.export import ExportMasks
        from nerfseg_plugins.files import write_json
        from nerfseg_plugins.scene.run import load_run
        from nerfseg_plugins.scene.train import train_run

        start = time.perf_counter()
        folder = self.output_path
        self._make_room(folder / "room")
        config_path = train_run(self._config())
        run = load_run(config_path)
        metrics = evaluate_run(run, "val").metrics
        write_json(folder / "metrics.json", metrics)
        ExportMasks(output_path=folder / "masks", load_config=config_path, previews=True).main()
        write_contact_sheet(run, folder / "contact_sheet.png")
        if self.video_frames:
            write_tour(run, folder / "tour.mp4", self.video_frames)
        print(
            f"\n{metrics['num_views']} views never trained on: PSNR {metrics['psnr']:.1f} dB, "
            f"mIoU {metrics['miou']:.3f}, PQ {metrics['pq']:.3f}; {time.perf_counter() - start:.0f} s in all\n"
            f"pictures  {folder / 'contact_sheet.png'}\nvideo     {folder / 'tour.mp4'}\n"
            f"masks     {folder / 'masks'}\nmetrics   {folder / 'metrics.json'}\n"
            f"viewer    ns-viewer --load-config {config_path}"
        )

    def _make_room(self, folder: Path) -> None:
        from nerfseg_plugins.cli.room import Room

        if not (folder / "transforms.json").is_file():
            Room(output_path=folder, seed=self.seed).main()

    def _config(self):  # TrainerConfig, imported late
        from copy import deepcopy

        from nerfseg_plugins.method_configs.instance_nerf import instance_nerf_tiny
        from nerfseg_plugins.scene.train import run_quietly

        config = deepcopy(instance_nerf_tiny.config)
        config.data = (self.output_path / "room").resolve()
        config.output_dir = self.output_path.resolve() / "runs"
        config.experiment_name = "room"
        config.timestamp = "demo"
        config.machine.seed = self.seed
        config.max_num_iterations = self.geometry_steps + self.head_steps
        config.pipeline.model.geometry_steps = self.geometry_steps  # type: ignore[attr-defined]
        run_quietly(config)
        return config


def write_contact_sheet(run: "Run", path: Path, rows: int = 4) -> None:
    """Photo, rendering, predicted and true instances of held-out views, predictions in the colours of their true ones.

    Args:
        run: a run with a trained head.
        path: PNG to write.
        rows: how many views, spread evenly.
    """
    import numpy as np

    from nerfseg_plugins.cli.eval import rename_ids
    from nerfseg_plugins.cli.pictures import contact_sheet
    from nerfseg_plugins.evaluation.panoptic import ContingencyTable, best_assignment
    from nerfseg_plugins.scene.colors import ids_to_colors, palette
    from nerfseg_plugins.scene.run import render_views
    from nerfseg_plugins.segments.masks import read_ids

    dataset = run.dataset("val")
    truth = dataset.metadata.get("truth_filenames")
    indices = np.unique(np.linspace(0, len(dataset) - 1, rows).round().astype(int)).tolist()
    table = ContingencyTable()
    views = []
    for view in render_views(run, "val", ("rgb", "instance_logits"), indices):
        ids = run.pipeline.model.predict_ids(view.outputs).numpy()  # type: ignore[operator]
        true = read_ids(truth[view.index]) if truth and truth[view.index] is not None else None
        if true is not None:
            table.add(true, ids)
        views.append((view.batch["image"][..., :3].numpy(), view.outputs["rgb"].numpy(), ids, true))
    matched = {p: t for p, (t, _) in best_assignment(table).items()} if truth else {}
    titles = ["photo", "rendering", "instances", *(["truth"] if truth else [])]
    sheet = []
    for photo, rendering, ids, true in views:
        maps = [rename_ids(ids, matched) if matched else ids, *([true] if true is not None else [])]
        painted = [ids_to_colors(ids, palette(int(max(ids.max(), 0)) + 1)) for ids in maps]
        sheet.append([_bytes(picture) for picture in (photo, rendering, *painted)])
    contact_sheet(path, titles, sheet)


def write_tour(run: "Run", path: Path, frames: int, fps: int = 10) -> None:
    """A flight through held-out views: rendering beside instances, as mp4.

    Args:
        run: a run with a trained head.
        path: mp4 to write.
        frames: how many frames in all.
        fps: frames a second.
    """
    from nerfseg_plugins.cli.views import with_progress
    from nerfseg_plugins.scene.video import write_video

    write_video(path, with_progress(_tour(run, frames), frames, "rendering the video"), fps)


def _tour(run: "Run", frames: int) -> "Iterator[np.ndarray]":
    import numpy as np
    import torch
    from nerfstudio.cameras.camera_paths import get_interpolated_camera_path

    cameras = run.dataset("val").cameras
    steps = -(-frames // max(len(cameras) - 1, 1))
    path = get_interpolated_camera_path(cameras, steps, order_poses=True).to(run.pipeline.device)
    for index in range(min(frames, len(path))):
        with torch.no_grad():
            outputs = run.pipeline.model.get_outputs_for_camera(path[index : index + 1])
        panels = [outputs["rgb"].cpu().numpy(), outputs["instance_colormap"].cpu().numpy()]
        yield _bytes(np.concatenate(panels, axis=1))


def _bytes(image: "np.ndarray") -> "np.ndarray":
    return (image.clip(0, 1) * 255 + 0.5).astype("uint8")
