"""`nerfseg eval` of hierarchies on a real run: an untrained nerfacto of a Blender-HS scene, on the CPU.

Only what a head would say is put in its place: the label maps.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfseg_plugins.cli.eval import Eval, evaluate_run
from nerfseg_plugins.cli.eval_hierarchy import HierarchyEvaluation, view_camera, why_no_hierarchy
from nerfseg_plugins.dataparsers.truth_levels import read_level
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.evaluation.report import METRIC_NAMES

SIZE = 48


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """config.yml of a run on a procedural scene."""
    from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
    from nerfstudio.engine.trainer import TrainerConfig
    from nerfstudio.models.nerfacto import NerfactoModelConfig
    from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig

    from nerfseg_plugins import compat
    from nerfseg_plugins.dataparsers.sam_hierarchy import SamHierarchyDataParserConfig
    from nerfseg_plugins.rooms.generate import make_scene, write_scene

    compat.apply()
    folder = tmp_path_factory.mktemp("object")
    room, shots = make_scene(1, "sam-hierarchy", num_objects=5, num_train=3, num_val=3, width=SIZE, height=SIZE)
    write_scene(folder / "data", room, shots, "sam-hierarchy")
    proposal = {"hidden_dim": 8, "log2_hashmap_size": 8, "num_levels": 2, "max_res": 16, "use_linear": False}
    settings = TrainerConfig(
        method_name="nerfacto",
        output_dir=folder / "outputs",
        experiment_name="object",
        timestamp="once",
        pipeline=VanillaPipelineConfig(
            datamanager=VanillaDataManagerConfig(dataparser=SamHierarchyDataParserConfig(data=folder / "data")),
            model=NerfactoModelConfig(
                implementation="torch",
                num_levels=2,
                max_res=16,
                log2_hashmap_size=8,
                hidden_dim=8,
                hidden_dim_color=8,
                num_proposal_samples_per_ray=(8, 8),
                num_nerf_samples_per_ray=8,
                num_proposal_iterations=2,
                proposal_net_args_list=[proposal, proposal],
            ),
        ),
    )
    settings.save_config()
    pipeline = settings.pipeline.setup(device="cpu", test_mode="val")
    settings.get_checkpoint_dir().mkdir(parents=True)
    state = {"step": 0, "pipeline": pipeline.state_dict()}
    torch.save(state, settings.get_checkpoint_dir() / "step-000000000.ckpt")
    return settings.get_base_dir() / "config.yml"


@pytest.fixture
def run(config: Path):
    from nerfseg_plugins.scene.run import load_run

    return load_run(config, test_mode="val")


class TrueTree:
    """Label maps that know the truth; the finest third of the granularities has parts, then objects, collections."""

    def __init__(self, run: Any, mirrored: Sequence[int] = ()) -> None:
        self.dataset = run.dataset("val")
        self.mirrored = mirrored
        self.asked: list[list[float]] = []

    def __call__(self, camera: Any, outputs: Any, granularities: Sequence[float]) -> Iterator[np.ndarray]:
        self.asked.append(list(granularities))
        poses = self.dataset.cameras.camera_to_worlds
        index = int((poses - camera.camera_to_worlds.cpu()).abs().sum(dim=(1, 2)).argmin())
        levels = [read_level(level, index) for level in self.dataset.metadata["truth_levels"].values()][::-1]
        for position in range(len(granularities)):
            ids = levels[position * 3 // len(granularities)]
            labels = np.where(ids > 0, ids, -1)
            yield labels[:, ::-1] if index in self.mirrored else labels


def test_the_truth_itself(run, monkeypatch):
    tree = TrueTree(run)
    monkeypatch.setattr(run.pipeline.model, "label_maps", tree, raising=False)
    metrics = evaluate_run(run, "val").metrics
    assert list(metrics)[: len(METRIC_NAMES)] == list(METRIC_NAMES)
    levels = ["collections", "objects", "parts"]
    assert list(run.dataset("val").metadata["truth_levels"]) == levels
    for key in ("nc", "tree_agreement", "segmentation_injectivity"):
        assert metrics[key] == pytest.approx(1) and metrics[f"{key}_parts"] == pytest.approx(1)
    assert metrics["vc"] > 0.8  # thin parts lose pixels at their edges
    assert all(asked == [round(0.03 * step, 2) for step in range(1, 51)] for asked in tree.asked)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_the_released_estimates_are_drawn_beside_the_exact_figures(run, monkeypatch):
    monkeypatch.setattr(run.pipeline.model, "label_maps", TrueTree(run), raising=False)
    first, again = (evaluate_run(run, "val", None, (0.1, 0.2, 0.3), 7).metrics for _ in range(2))
    assert first["nc_sampled"] == pytest.approx(1) and first["vc_sampled"] == again["vc_sampled"]
    assert first["vc_sampled"] == pytest.approx(first["vc"], abs=0.05)
    assert list(first)[-2:] == ["nc_sampled", "vc_sampled"]


def test_a_view_that_is_wrong_costs_covering_and_consistency(run, monkeypatch):
    monkeypatch.setattr(run.pipeline.model, "label_maps", TrueTree(run), raising=False)
    right = evaluate_run(run, "val", granularities=(0.1, 0.2, 0.3)).metrics
    monkeypatch.setattr(run.pipeline.model, "label_maps", TrueTree(run, mirrored=[1]), raising=False)
    wrong = evaluate_run(run, "val", granularities=(0.1, 0.2, 0.3)).metrics
    assert wrong["nc"] < right["nc"] and wrong["vc"] < right["vc"] and wrong["tree_agreement"] < 1


def test_methods_without_a_hierarchy_have_the_fixed_keys_alone(run, monkeypatch):
    metrics = evaluate_run(run, "val").metrics
    assert tuple(metrics) == METRIC_NAMES and metrics["nc"] is None
    assert why_no_hierarchy(run, "val").startswith("nerfacto makes no hierarchy")
    monkeypatch.setattr(run.pipeline.model, "label_maps", TrueTree(run), raising=False)
    monkeypatch.setattr(run.pipeline.model, "why_no_ids", lambda: "make it first", raising=False)
    assert why_no_hierarchy(run, "val") == "make it first"
    assert tuple(evaluate_run(run, "val").metrics) == METRIC_NAMES
    monkeypatch.setattr(run.pipeline.model, "why_no_ids", lambda: None, raising=False)
    monkeypatch.setitem(run.dataset("val").metadata, "truth_levels", {})
    assert "no true ids" in why_no_hierarchy(run, "val")


def test_without_depth_views_are_not_compared(run, monkeypatch):
    monkeypatch.setattr(run.pipeline.model, "label_maps", TrueTree(run), raising=False)
    monkeypatch.delitem(run.dataset("val").metadata, "z_depth_filenames")
    metrics = evaluate_run(run, "val", granularities=(0.1, 0.2, 0.3)).metrics
    assert metrics["vc"] is None and metrics["nc"] == pytest.approx(1)


def test_views_are_compared_with_rotated_ones_where_there_are_any(run, monkeypatch):
    """The rotated views are those of val in another order, so that their truth is known."""
    from PIL import Image

    data = Path(run.config.pipeline.datamanager.dataparser.data)
    meta = json.loads((data / "transforms_val.json").read_text())
    turned = [{**frame, "file_path": f"./val_rotate/r_{i}"} for i, frame in enumerate(np.roll(meta["frames"], 1))]
    (data / "val_rotate").mkdir()
    (data / "val_visible").mkdir()
    for index in range(3):
        Image.open(data / "val" / f"r_{index}.png").save(data / "val_rotate" / f"r_{index}.png")
        for suffix in ("", "_rotate"):
            Image.new("RGBA", (200, 200), "white").save(data / "val_visible" / f"r_{index}{suffix}.png")
    (data / "transforms_val_rotate.json").write_text(json.dumps({**meta, "frames": turned}))
    outputs = run.config.pipeline.datamanager.dataparser.setup().get_dataparser_outputs("val")
    monkeypatch.setitem(run.dataset("val").metadata, "visible_filenames", outputs.metadata["visible_filenames"])
    tree = TrueTree(run)
    monkeypatch.setattr(run.pipeline.model, "label_maps", tree, raising=False)
    metrics = evaluate_run(run, "val", granularities=(0.1, 0.2, 0.3)).metrics
    assert len(tree.asked) == 6  # three views and three rotated ones
    assert 0.2 < metrics["vc"] < 1  # what is hidden was declared visible
    for name in ("val_rotate", "val_visible"):
        for path in (data / name).iterdir():
            path.unlink()
        (data / name).rmdir()
    (data / "transforms_val_rotate.json").unlink()


def test_truth_and_depth_of_another_size(run, monkeypatch):
    evaluation = HierarchyEvaluation(run, "val")
    ids = np.arange(16).reshape(4, 4)
    path = Path("r_0.png")
    with pytest.raises(InputError, match=r"r_0\.png is 4x4 pixels but its view is 2x2"):
        evaluation._fit(ids, (2, 2), path)
    monkeypatch.setattr(run.config.pipeline.datamanager, "camera_res_scale_factor", 0.5)
    assert evaluation._fit(ids, (2, 2), path).tolist() == [[5, 7], [13, 15]]


def test_only_perspective_cameras_are_compared():
    from nerfstudio.cameras.cameras import Cameras, CameraType

    pose = torch.eye(4)[None, :3]
    fisheye = Cameras(pose, 8.0, 8.0, 4.0, 3.0, 8, 6, camera_type=CameraType.FISHEYE)
    assert view_camera(fisheye) is None
    bent = Cameras(pose, 8.0, 9.0, 4.0, 3.0, 8, 6, distortion_params=torch.tensor([[0.1, 0, 0, 0, 0, 0]]))
    found = view_camera(bent)
    assert found is not None and found.distortion == pytest.approx((0.1, 0, 0, 0, 0, 0)) and found.fy == 9


def test_the_command_writes_null_for_a_method_without_hierarchy(config, tmp_path, capsys):
    Eval(load_config=config, output_path=tmp_path / "metrics.json").main()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["nc"] is None and metrics["vc"] is None and metrics["tree_agreement"] is None
    assert "no metrics of hierarchies" not in capsys.readouterr().out
