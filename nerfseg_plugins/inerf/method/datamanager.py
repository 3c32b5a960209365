"""The query photos as nerfstudio's trainer, viewer and renderer want data: a dataset of images with cameras.

Here the cameras are what is sought, so the dataset follows the estimates.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional, Union

import numpy as np
import torch
import tyro
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import DataManager, VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig, DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader
from torch import Tensor

from nerfseg_plugins.inerf.query import Query


class QueryDataset(InputDataset):
    """Photos at their present poses.

    Args:
        queries: the photos.
        transform: A (3, 4) and s of the scene, x_scene = s * (A @ [x_data, 1]).
        scene_box: that of the scene.
    """

    def __init__(self, queries: list[Query], transform: tuple[np.ndarray, float], scene_box: SceneBox) -> None:
        self._images = [query.image.cpu() for query in queries]
        matrix, scale = transform
        outputs = DataparserOutputs(
            image_filenames=[query.path for query in queries],
            cameras=_together([query.camera.to("cpu") for query in queries]),
            scene_box=scene_box,
            dataparser_transform=torch.from_numpy(np.asarray(matrix)).float(),
            dataparser_scale=float(scale),
        )
        super().__init__(outputs)

    def place(self, c2w: Tensor) -> None:
        """Move the cameras to poses (N, 3, 4), scene frame."""
        for cameras in (self.cameras, self._dataparser_outputs.cameras):
            cameras.camera_to_worlds = c2w.detach().to(cameras.camera_to_worlds)

    @property
    def outputs(self) -> DataparserOutputs:
        """What a dataparser would have said."""
        return self._dataparser_outputs

    def get_data(self, image_idx: int, image_type: Literal["uint8", "float32"] = "float32") -> dict[str, Any]:
        """The photo as it is compared: in front of the scene's background, at the size that was asked for."""
        image = self._images[image_idx]
        return {"image_idx": image_idx, "image": image if image_type == "float32" else (image * 255).to(torch.uint8)}


@dataclass
class QueryDataManagerConfig(VanillaDataManagerConfig):
    """Configuration of the photos; `data` names an image, a folder of images or a transforms.json that lists some."""

    _target: type = field(default_factory=lambda: QueryDataManager)
    """target class to instantiate"""
    # The photos are read by the pipeline, which knows the scene; what nerfstudio's own data take is of no use.
    dataparser: tyro.conf.Suppress[tyro.conf.Fixed[DataParserConfig]] = field(default_factory=DataParserConfig)
    """Not used."""

    def hand_over(self, dataset: QueryDataset) -> None:
        """Let every datamanager of this configuration serve this dataset.

        `ns-render dataset` makes a second datamanager and gives it nothing else. No field, since it is not written to
        config.yml.
        """
        vars(self)["_dataset"] = dataset

    @property
    def handed_over(self) -> Optional[QueryDataset]:
        """That dataset."""
        return vars(self).get("_dataset")


class QueryDataManager(VanillaDataManager):
    """Serves the photos at their present poses, for training and evaluation alike."""

    config: QueryDataManagerConfig
    train_dataset: QueryDataset
    eval_dataset: QueryDataset

    def __init__(
        self,
        config: QueryDataManagerConfig,
        device: Union[torch.device, str] = "cpu",
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        **kwargs: Any,
    ) -> None:
        dataset = config.handed_over
        assert dataset is not None, "the pipeline hands the photos over"
        self.config = config
        self.device, self.test_mode = device, test_mode
        self.test_split = "test" if test_mode in ("test", "inference") else "val"
        self.world_size, self.local_rank = world_size, local_rank
        self.includes_time = False
        self.train_dataparser_outputs = dataset.outputs
        DataManager.__init__(self)
        self.train_dataset = self.eval_dataset = dataset
        self.eval_dataloader = self.fixed_indices_eval_dataloader = FixedIndicesEvalDataloader(
            input_dataset=dataset, device=device, num_workers=1
        )
        # The viewer would move photos by the scene's own camera optimiser, which is about other cameras.
        self.train_camera_optimizer = CameraOptimizerConfig(mode="off").setup(num_cameras=len(dataset), device=device)

    def place(self, c2w: Tensor) -> None:
        """Move the cameras to poses (N, 3, 4), scene frame."""
        self.train_dataset.place(c2w)
        self.eval_dataloader.cameras = self.train_dataset.cameras.to(self.device)  # it keeps a copy

    def setup_train(self) -> None:
        """Nothing to prepare."""

    def setup_eval(self) -> None:
        """Nothing to prepare."""

    def next_train(self, step: int) -> tuple[RayBundle, dict]:
        """Not used: the pipeline draws rays itself, since it moves them."""
        raise NotImplementedError

    def next_eval(self, step: int) -> tuple[RayBundle, dict]:
        """Not used either."""
        raise NotImplementedError

    def next_eval_image(self, step: int) -> tuple[Cameras, dict]:
        """One photo with its camera, in turn."""
        index = self.eval_count % len(self.eval_dataset)
        self.eval_count += 1
        return self.eval_dataset.cameras[index : index + 1].to(self.device), self.eval_dataset[index]

    def get_train_rays_per_batch(self) -> int:
        """Rays of a step."""
        return self.config.train_num_rays_per_batch

    def get_eval_rays_per_batch(self) -> int:
        """Rays of an evaluation."""
        return self.config.eval_num_rays_per_batch

    def get_datapath(self) -> Path:
        """Where the photos lie."""
        return self.train_dataset.image_filenames[0].parent

    def get_param_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """None: the poses are the pipeline's."""
        return {}


def _together(cameras: list[Cameras]) -> Cameras:
    """N cameras as one batch, of any lenses and sizes."""
    distortion = [
        camera.distortion_params if camera.distortion_params is not None else camera.fx.new_zeros(1, 6)
        for camera in cameras
    ]

    def batch(name: str) -> Tensor:
        return torch.cat([getattr(camera, name) for camera in cameras])

    return Cameras(
        camera_to_worlds=batch("camera_to_worlds")[:, :3],
        fx=batch("fx"),
        fy=batch("fy"),
        cx=batch("cx"),
        cy=batch("cy"),
        width=batch("width"),
        height=batch("height"),
        distortion_params=torch.cat(distortion) if any(part.any() for part in distortion) else None,
        camera_type=batch("camera_type"),
    )
