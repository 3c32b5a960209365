"""`nerfseg eval` and `nerfseg export` on a real run: an untrained nerfacto of a room of noise, on the CPU."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from plyfile import PlyData
from scipy.spatial import cKDTree

from nerfseg_plugins.cli.eval import Eval, classes_of, evaluate_run, rename_ids
from nerfseg_plugins.cli.export import ExportMasks, ExportPointcloud
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.evaluation.report import METRIC_NAMES
from nerfseg_plugins.scene.colors import colors_to_ids, palette
from nerfseg_plugins.segments.masks import read_ids, write_ids

WIDTH, HEIGHT, FOCAL = 20, 16, 15.0
INSTANCE_METRICS = ("miou", "pq", "sq", "rq", "pq_view", "class_miou", "nc", "vc", "tree_agreement")


def true_ids(view: int) -> np.ndarray:
    """Instance 1 on the left, 2 on the right, background above, one ignored pixel."""
    ids = np.where(np.arange(WIDTH)[None] < 8 + view, 1, 2).repeat(HEIGHT, 0).astype(np.int32)
    ids[:4] = 0
    ids[0, 0] = -1
    return ids


def pose(view: int) -> np.ndarray:
    """Inside the room, turned about the vertical."""
    c, s = np.cos(view), np.sin(view)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[c, 0, s], [s, 0, -c], [0, 1, 0]])
    matrix[:3, 3] = (0.3 * view - 0.5, 0.2, 1.2)
    return matrix


def write_room(folder: Path) -> None:
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    frames = []
    for view in range(5):
        name = f"images/{view:04d}.png"
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)).save(folder / name)
        write_ids(folder / "masks" / f"{view:04d}.png", true_ids(view))
        frames.append({"file_path": name, "transform_matrix": pose(view).tolist()})
    room = {
        "w": WIDTH,
        "h": HEIGHT,
        "fl_x": FOCAL,
        "fl_y": FOCAL,
        "cx": WIDTH / 2,
        "cy": HEIGHT / 2,
        "room_bbox": [[-2, -2, 0], [2, 2, 2.5]],
        "room_margin": 0.5,
        "bounding_boxes": [{"instance_id": i, "name": f"thing {i}", "class_id": i + 4} for i in (1, 2)],
    }
    for split, part in (("train", frames[:3]), ("val", frames[3:])):
        (folder / f"{split}_transforms.json").write_text(json.dumps({**room, "frames": part}))


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The data folder, and config.yml of a run on it."""
    from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
    from nerfstudio.engine.trainer import TrainerConfig
    from nerfstudio.models.nerfacto import NerfactoModelConfig
    from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig

    from nerfseg_plugins import compat
    from nerfseg_plugins.dataparsers.front3d import Front3DDataParserConfig

    compat.apply()
    folder = tmp_path_factory.mktemp("room")
    write_room(folder / "data")
    proposal = {"hidden_dim": 8, "log2_hashmap_size": 8, "num_levels": 2, "max_res": 16, "use_linear": False}
    config = TrainerConfig(
        method_name="nerfacto",
        output_dir=folder / "outputs",
        experiment_name="room",
        timestamp="once",
        pipeline=VanillaPipelineConfig(
            datamanager=VanillaDataManagerConfig(dataparser=Front3DDataParserConfig(data=folder / "data")),
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
    torch.manual_seed(0)
    config.save_config()
    pipeline = config.pipeline.setup(device="cpu", test_mode="val")
    config.get_checkpoint_dir().mkdir(parents=True)
    state = {"step": 0, "pipeline": pipeline.state_dict()}
    torch.save(state, config.get_checkpoint_dir() / "step-000000000.ckpt")
    return folder / "data", config.get_base_dir() / "config.yml"


@pytest.fixture(scope="module")
def loaded(room: tuple[Path, Path]):
    """The run, loaded."""
    from nerfseg_plugins.scene.run import load_run

    return load_run(room[1], test_mode="val")


@pytest.fixture
def segmenting_run(loaded, monkeypatch: pytest.MonkeyPatch):
    """The run with a stand-in for a head: it calls the right instances 7 and 5, when it is asked in order."""
    views = iter((3, 4))

    def predict_ids(outputs: dict[str, torch.Tensor]) -> torch.Tensor:
        assert outputs["rgb"].shape == (HEIGHT, WIDTH, 3)
        return torch.from_numpy(np.array([0, 7, 5, 0])[true_ids(next(views))])

    monkeypatch.setattr(loaded.pipeline.model, "predict_ids", predict_ids, raising=False)
    return loaded


def test_eval_of_a_method_without_instances(room: tuple[Path, Path], tmp_path: Path, capsys):
    Eval(room[1], tmp_path / "metrics.json", images=tmp_path / "pictures").main()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert tuple(metrics) == METRIC_NAMES
    assert metrics["num_views"] == 2 and 0 < metrics["psnr"] < 30 and metrics["seconds"] > 0
    assert {metrics[name] for name in INSTANCE_METRICS} == {None}
    said = capsys.readouterr().out
    assert "no instance metrics: nerfacto does not segment" in said and "psnr" in said
    with Image.open(tmp_path / "pictures" / "0003.png") as picture:
        assert picture.size == (3 * WIDTH, HEIGHT)  # photo, rendering, true ids


def test_eval_twice_gives_the_same_figures(loaded):
    first, second = (evaluate_run(loaded, "train").metrics for _ in range(2))
    assert first["num_views"] == 3
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_eval_of_right_instances_under_other_names(segmenting_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # A model that numbers instances itself: that its ids occur in the masks that it learned from means nothing.
    monkeypatch.setattr(segmenting_run.config.pipeline.model, "label_mode", "view", raising=False)
    metrics, reason, legacy_pq = evaluate_run(segmenting_run, "val", tmp_path)
    assert reason is None and legacy_pq == 1
    assert [metrics[name] for name in ("miou", "pq", "sq", "rq", "pq_view")] == [1, 1, 1, 1, 1]
    with Image.open(tmp_path / "0004.png") as picture:
        panels = np.split(np.asarray(picture), 4, axis=1)
    # Matched predictions wear the colours of the truth.
    shown, true = (colors_to_ids(panel, palette(3)) for panel in panels[2:])
    np.testing.assert_array_equal(true, true_ids(4))
    np.testing.assert_array_equal(shown, np.where(true_ids(4) < 0, 0, true_ids(4)))


def test_classes_follow_the_masks_that_were_learned(segmenting_run, monkeypatch: pytest.MonkeyPatch):
    run = segmenting_run
    val, train = run.pipeline.datamanager.eval_dataset, run.pipeline.datamanager.train_dataset
    assert classes_of(run, val) == ({1: 5, 2: 6}, {1: 5, 2: 6})
    monkeypatch.setitem(train.metadata, "mask_filenames", [Path("elsewhere/0000.png")])
    assert classes_of(run, val) == (None, {1: 5, 2: 6})
    monkeypatch.undo()
    monkeypatch.setattr(run.config.pipeline.model, "label_mode", "view", raising=False)
    assert classes_of(run, val) == (None, {1: 5, 2: 6})
    monkeypatch.setattr(run.pipeline.model, "instance_classes", {7: 5}, raising=False)
    assert classes_of(run, val) == ({7: 5}, {1: 5, 2: 6})
    monkeypatch.setattr(run.config.pipeline.datamanager.dataparser, "truth", Path("parts"))
    assert classes_of(run, val) == ({7: 5}, None)


def test_an_untrained_head_gives_no_instance_metrics(segmenting_run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(segmenting_run.pipeline.model, "head_trained", False, raising=False)
    metrics, reason, _ = evaluate_run(segmenting_run, "val")
    assert reason is not None and "head is not trained yet" in reason
    assert metrics["pq"] is None and metrics["psnr"] is not None


def test_true_masks_of_another_size_are_named(segmenting_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_ids(tmp_path / "0003.png", np.ones((4, 4), np.int32))
    metadata = segmenting_run.pipeline.datamanager.eval_dataset.metadata
    monkeypatch.setitem(metadata, "truth_filenames", [tmp_path / "0003.png", None])
    with pytest.raises(InputError, match=r"0003\.png is 4x4"):
        evaluate_run(segmenting_run, "val")


def test_views_without_true_masks_are_said(segmenting_run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(segmenting_run.pipeline.datamanager.eval_dataset.metadata, "truth_filenames")
    metrics, reason, _ = evaluate_run(segmenting_run, "val")
    assert reason is not None and "no true masks" in reason
    assert metrics["pq"] is None


def test_export_masks_of_a_method_without_instances(room: tuple[Path, Path], tmp_path: Path):
    with pytest.raises(InputError, match="nerfacto does not segment") as caught:
        ExportMasks(tmp_path, load_config=room[1]).main()
    assert str(room[1]) in str(caught.value)


def test_export_masks(segmenting_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("nerfseg_plugins.scene.run.load_run", lambda *args, **kwargs: segmenting_run)
    ExportMasks(tmp_path, load_config=Path("config.yml"), previews=True).main()
    for view in (3, 4):
        expected = np.array([0, 7, 5, 0])[true_ids(view)]
        np.testing.assert_array_equal(read_ids(tmp_path / f"{view:04d}.png"), expected)
    assert (tmp_path / "palette.json").is_file() and (tmp_path / "previews" / "0003.png").is_file()


def test_export_pointcloud_is_in_the_frame_of_the_data(room: tuple[Path, Path], loaded, tmp_path: Path):
    from nerfseg_plugins.scene.run import render_views

    ExportPointcloud(room[1], tmp_path / "cloud.ply", num_points=200, min_accumulation=0.0).main()
    vertex = PlyData.read(str(tmp_path / "cloud.ply"))["vertex"]
    points = np.stack([vertex[c] for c in "xyz"], 1)
    assert 0 < len(points) <= 200 and set(vertex["label"].tolist()) == {-1}

    # By hand: the poses of transforms.json, pixel centres, and depth divided by the scale of the room,
    # whose longest side of 4 m plus half a metre on either side becomes 2.
    scale = 2 / 5
    u, v = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    camera = np.stack([(u - WIDTH / 2) / FOCAL, -(v - HEIGHT / 2) / FOCAL, -np.ones_like(u)], -1)
    camera /= np.linalg.norm(camera, axis=-1, keepdims=True)
    expected = []
    for view in render_views(loaded, split="train", names=("depth",)):
        depth = view.outputs["depth"].numpy() / scale
        expected.append((pose(view.index)[:3, 3] + depth * (camera @ pose(view.index)[:3, :3].T)).reshape(-1, 3))
    distance, _ = cKDTree(np.concatenate(expected)).query(points)
    assert distance.max() < 1e-3


def test_a_scene_without_surface_is_refused(room: tuple[Path, Path], tmp_path: Path):
    with pytest.raises(InputError, match="no ray of the training views") as caught:
        ExportPointcloud(room[1], tmp_path / "cloud.ply", min_accumulation=1.1).main()
    assert str(room[1]) in str(caught.value) and not (tmp_path / "cloud.ply").exists()


def test_a_run_that_does_not_exist_is_refused(tmp_path: Path):
    for command in (Eval(tmp_path / "config.yml"), ExportPointcloud(tmp_path / "config.yml")):
        with pytest.raises(InputError) as caught:
            command.main()
        assert str(tmp_path / "config.yml") in str(caught.value)
    with pytest.raises(InputError, match=r"must end in \.json"):
        Eval(tmp_path / "config.yml", tmp_path / "metrics.txt").main()


def test_unmatched_predictions_keep_apart_from_matched_ones():
    ids = np.array([[-1, 0, 7], [5, 1, 7]], np.int32)
    assert rename_ids(ids, {7: 1, 5: 3}).tolist() == [[-1, 0, 1], [3, 4, 1]]
    assert rename_ids(ids, {}).tolist() == ids.tolist()
