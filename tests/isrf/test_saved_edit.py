"""A saved edit, shown by every command that takes a --load-config, and measured and exported."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from plyfile import PlyData
from scipy.spatial import cKDTree

from nerfseg_plugins.cli.eval import Eval, evaluate_run
from nerfseg_plugins.cli.export import ExportMasks, ExportPointcloud
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.edit_file import save_edits, write_run_with_edit
from nerfseg_plugins.isrf.edits import Edit
from nerfseg_plugins.isrf.solid import VoxelSet
from nerfseg_plugins.isrf.voxels import VoxelGrid
from nerfseg_plugins.scene.config_file import read_config
from nerfseg_plugins.scene.fingerprint import fingerprint
from nerfseg_plugins.scene.run import Run, load_run, render_views
from nerfseg_plugins.segments.masks import read_ids


def side_of(run: Run, side: int) -> VoxelSet:
    """All of the scene with x below (0) or above (1) the middle."""
    box = run.pipeline.model.scene_box.aabb.cpu().numpy()
    grid = VoxelGrid.of_scene(box, False, 16)
    middle = float(box[:, 0].mean())
    coords = torch.cartesian_prod(*[torch.arange(count) for count in grid.shape])
    return VoxelSet.of_coords(grid, coords[(grid.centres(coords)[:, 0] > middle) == bool(side)])


def half_turn(run: Run) -> torch.Tensor:
    """About the vertical through the middle of the scene."""
    matrix = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64))
    middle = run.pipeline.model.scene_box.aabb.double().mean(dim=0)
    matrix[:2, 3] = 2 * middle[:2]
    return matrix


@pytest.fixture(scope="module")
def copied(isrf_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """config.yml of a copy of the run, so that files can be added to it."""
    folder = tmp_path_factory.mktemp("copied") / "run"
    shutil.copytree(isrf_run.parent, folder)
    return folder / "config.yml"


@pytest.fixture(scope="module")
def edits(copied: Path) -> list[Edit]:
    """One half of the scene is turned to the other side, the other half is painted."""
    run = load_run(copied)
    return [
        Edit("left", side_of(run, 0), "move", transform=half_turn(run)),
        Edit("right", side_of(run, 1), "recolor", (0.0, 1.0, 0.0), 0.8, 0.5),
    ]


@pytest.fixture(scope="module")
def edited(copied: Path, edits: list[Edit]) -> Path:
    """RUN/halves.yml."""
    path = copied.parent / "edits" / "halves.npz"
    save_edits(path, edits, fingerprint(load_run(copied).pipeline.model))
    return write_run_with_edit(copied.parent, "halves", path)


def shown(config: Path, edits: Any = None) -> dict[str, torch.Tensor]:
    run = load_run(config)
    if edits is not None:
        run.pipeline.model.edits = edits
    return next(iter(render_views(run, "val"))).outputs


# Loading -------------------------------------------------------------------------------------------------------------


def test_a_saved_edit_is_shown_as_the_one_in_memory(copied: Path, edited: Path, edits: list[Edit]):
    plain, memory, saved = shown(copied), shown(copied, edits), shown(edited)
    assert memory.keys() == saved.keys()
    assert all(torch.equal(value, saved[name]) for name, value in memory.items())
    assert not torch.equal(plain["rgb"], saved["rgb"]) and not torch.equal(plain["depth"], saved["depth"])


def test_the_run_itself_is_untouched(copied: Path, isrf_run: Path, edited: Path):
    assert edited == copied.with_name("halves.yml") and copied.read_bytes() == isrf_run.read_bytes()
    before, after = read_config(copied), read_config(edited)
    assert before.pipeline.model.edit is None
    assert after.pipeline.model.edit == (copied.parent / "edits" / "halves.npz").resolve()
    after.pipeline.model.edit = None
    assert repr(before) == repr(after)


def test_nerfstudio_s_own_loader_shows_it(copied: Path, edited: Path, edits: list[Edit]):
    """What ns-viewer and ns-eval load a run with."""
    from nerfstudio.utils.eval_utils import eval_setup

    _, pipeline, _, _ = eval_setup(edited, test_mode="val")
    assert [edit.name for edit in pipeline.model.edits] == ["left", "right"]
    camera = pipeline.datamanager.eval_dataset.cameras[0:1]
    with torch.no_grad():
        found = pipeline.model.get_outputs_for_camera(camera)
    assert torch.equal(found["rgb"], shown(copied, edits)["rgb"])


def test_ns_render_shows_it(copied: Path, edited: Path, edits: list[Edit], tmp_path: Path):
    """All outputs, through the colours that nerfstudio gives them."""
    from nerfstudio.scripts.render import DatasetRender

    folder = tmp_path / "renders"
    names = ["rgb", "features", "selection", "selection_id", "feature_colormap"]
    DatasetRender(edited, folder, split="test", image_format="png", rendered_output_names=names).main()
    expected = shown(copied, edits)
    first = sorted((folder / "test" / "rgb").iterdir())[0]
    with Image.open(first) as picture:
        assert np.abs(np.asarray(picture) / 255 - expected["rgb"].numpy()).max() < 1 / 255
    assert all(len(list((folder / "test" / name).iterdir())) == 3 for name in names)


def test_an_edit_can_be_added_to(copied: Path, edited: Path):
    """The configuration of an edit is one of the run."""
    third = write_run_with_edit(edited, "again", copied.parent / "edits" / "halves.npz")
    assert third == copied.with_name("again.yml") and len(load_run(third).pipeline.model.edits) == 2


def test_an_edit_of_other_weights_is_refused(edited: Path, copied: Path, edits: list[Edit]):
    """Of a checkpoint before the last one: the head has learned since."""
    with pytest.raises(InputError, match=r"halves\.npz was made for other weights"):
        load_run(edited, step=119)
    path = copied.parent / "edits" / "early.npz"
    save_edits(path, edits, fingerprint(load_run(copied, step=119).pipeline.model))
    config = write_run_with_edit(copied, "early", path)
    assert len(load_run(config, step=119).pipeline.model.edits) == 2
    with pytest.raises(InputError, match=r"early\.npz was made for other weights"):
        load_run(config)


def test_an_edit_that_is_gone_is_named(copied: Path, edits: list[Edit]):
    path = copied.parent / "edits" / "lost.npz"
    save_edits(path, edits, "")
    config = write_run_with_edit(copied, "lost", path)
    path.unlink()
    with pytest.raises(InputError, match=r"lost\.npz does not exist"):
        load_run(config)


def test_metrics_of_training_are_about_the_scene_as_it_was_trained(copied: Path, edited: Path):
    plain, other = (load_run(path).pipeline.get_average_eval_image_metrics() for path in (copied, edited))
    assert plain["psnr"] == pytest.approx(other["psnr"])
    assert evaluate_run(load_run(edited), "val").metrics["psnr"] < plain["psnr"] - 0.1, (
        "and nerfseg eval about what it shows"
    )


# Measuring and exporting ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def marked(copied: Path) -> Path:
    """RUN/marked.yml: both halves have names, and stay where they are."""
    run = load_run(copied)
    path = copied.parent / "edits" / "marked.npz"
    save_edits(path, [Edit("a", side_of(run, 0)), Edit("b", side_of(run, 1))], fingerprint(run.pipeline.model))
    return write_run_with_edit(copied, "marked", path)


def test_parts_are_exported_as_masks(marked: Path, featured_room: Path, tmp_path: Path):
    ExportMasks(tmp_path / "masks", load_config=marked, split="all").main()
    run = load_run(marked)
    model: Any = run.pipeline.model
    for split in ("train", "val"):
        for view in render_views(run, split):
            ids = read_ids(tmp_path / "masks" / f"{view.image_path.stem}.png")
            assert np.array_equal(ids, model.predict_ids(view.outputs).numpy())
    assert len(list((tmp_path / "masks").glob("*.png"))) == 13


def test_parts_are_labels_of_the_point_cloud(marked: Path, tmp_path: Path):
    """Each point has the label of the ray that it ends."""
    ExportPointcloud(marked, tmp_path / "cloud.ply", num_points=2000, min_accumulation=0.5).main()
    vertex = PlyData.read(str(tmp_path / "cloud.ply"))["vertex"]
    run = load_run(marked)
    points, labels = [], []
    for view in render_views(run, "train"):
        rays = view.camera.generate_rays(camera_indices=0, keep_shape=True)
        points.append((rays.origins + view.outputs["depth"] * rays.directions).view(-1, 3).numpy())
        labels.append(run.pipeline.model.predict_ids(view.outputs).flatten().numpy())
    found = run.to_scene_frame(np.stack([vertex[axis] for axis in "xyz"], 1).astype(np.float64))
    distance, place = cKDTree(np.concatenate(points)).query(found)
    assert distance.max() < 1e-5
    assert np.array_equal(np.concatenate(labels)[place], vertex["label"])
    assert {1, 2} <= set(vertex["label"].tolist()) <= {0, 1, 2}


def test_parts_are_measured(marked: Path, tmp_path: Path):
    Eval(marked, tmp_path / "metrics.json").main()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["miou"] is not None and metrics["class_miou"] is None, (
        "nobody knows the classes of what was selected"
    )


def test_without_a_selection_it_is_said_how_to_get_one(copied: Path, tmp_path: Path, capsys):
    with pytest.raises(InputError, match="nothing is selected in this run; select with nerfseg segment") as caught:
        ExportMasks(tmp_path, load_config=copied).main()
    assert str(copied) in str(caught.value)
    Eval(copied, tmp_path / "metrics.json").main()
    assert "nothing is selected" in capsys.readouterr().out
    assert json.loads((tmp_path / "metrics.json").read_text())["miou"] is None
    ExportPointcloud(copied, tmp_path / "cloud.ply", num_points=100, min_accumulation=0.0).main()
    assert set(PlyData.read(str(tmp_path / "cloud.ply"))["vertex"]["label"].tolist()) == {-1}


# Poses ---------------------------------------------------------------------------------------------------------------


def test_features_pull_a_camera_to_its_place(isrf_run: Path):
    """The photo's colours are not looked at: what the run's features say from the true pose is."""
    from nerfseg_plugins.evaluation.poses import rotation_error_degrees
    from nerfseg_plugins.inerf.config import PRESETS
    from nerfseg_plugins.inerf.hypotheses import perturbed
    from nerfseg_plugins.inerf.of_run import estimator_of_run
    from nerfseg_plugins.inerf.protocol import held_out_queries

    run = load_run(isrf_run)
    query = held_out_queries(run, 1)[0]
    assert query.truth is not None
    features = next(iter(render_views(run, "val", ("features",)))).outputs["features"]
    query = replace(query, image=torch.rand(query.image.shape), features=features)
    preset = PRESETS["lm"]
    photometric = replace(preset.photometric, channels="none", scale=1.0)
    config = replace(preset, features="features", samples_per_ray=0, photometric=photometric)
    start = perturbed(query.truth, 6.0, 0.02, torch.Generator().manual_seed(1))
    estimate = estimator_of_run(run, config).estimate(query, start)
    before, after = (
        rotation_error_degrees(pose.numpy()[None], query.truth.numpy()[None])[0] for pose in (start, estimate.c2w)
    )
    assert before > 0.8 and after < 0.05


@pytest.mark.parametrize("name", ["rgb", "features"])
def test_outputs_can_be_differentiated_by_rays(edited: Path, name: str):
    """Of an edited scene too."""
    from nerfseg_plugins.inerf.scene import FrozenScene

    run = load_run(edited)
    scene = FrozenScene(run.pipeline.model, (name,))
    camera = run.dataset("val").cameras[0:1]
    bundle = camera.generate_rays(camera_indices=0, coords=torch.tensor([[10.0, 12.0], [20.0, 30.0]]))
    origins, directions = (part.reshape(-1, 3).clone().requires_grad_() for part in (bundle.origins, bundle.directions))
    scene.render(origins, directions).values.square().sum(dim=-1).sum().backward()
    for part in (origins, directions):
        assert part.grad is not None and torch.isfinite(part.grad).all()
    values = scene.render(origins, directions).values
    gradient = torch.autograd.grad(values[:, 0].sum(), origins)[0]
    assert gradient.abs().max() > 1e-4
