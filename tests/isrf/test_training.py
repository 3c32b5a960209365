"""ISRF trained from end to end on the tiny room, and what it refuses to train on."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.store import FeatureMaps, find_map
from nerfseg_plugins.scene.checkpoint import find_checkpoint, read_checkpoint
from nerfseg_plugins.scene.run import load_run, render_views

from .conftest import FEATURE_DIM

METHOD = "isrf-tiny"
FOLDER = Path("features") / "classical"


def weights(config: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(find_checkpoint(config.parent / "nerfstudio_models"))["pipeline"]


def geometry(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    prefixes = ("_model.field.", "_model.proposal", "_model.camera")
    return {key: value for key, value in state.items() if key.startswith(prefixes)}


@pytest.fixture
def room(featured_room: Path, tmp_path: Path) -> Path:
    """A copy of the room with features, to be spoiled."""
    return Path(shutil.copytree(featured_room, tmp_path / "room"))


# What is learned -----------------------------------------------------------------------------------------------------


def test_geometry_and_colour_stay_bit_identical_while_features_are_learned(isrf_run: Path):
    models = isrf_run.parent / "nerfstudio_models"
    first, last = (read_checkpoint(path)["pipeline"] for path in sorted(models.iterdir()))
    frozen = geometry(first)
    assert len(frozen) > 10 and all(torch.equal(value, last[key]) for key, value in frozen.items())
    changed = [key for key in first if not torch.equal(first[key], last[key])]
    assert changed and all(key.startswith(("_model.head", "_model.trained_positions")) for key in changed)


def test_rendered_features_are_those_of_the_images(isrf_run: Path, featured_room: Path):
    """In views trained on and in those held out, and much more than those of other images."""
    run = load_run(isrf_run)
    for split, least in (("train", 0.7), ("val", 0.6)):
        images = [Path(path) for path in run.dataset(split).image_filenames]
        maps = FeatureMaps.load(featured_room / FOLDER, images, "")
        own, other = [], []
        for view in render_views(run, split, ("features",)):
            found = view.outputs["features"]
            pixels = torch.cartesian_prod(*[torch.arange(side) for side in found.shape[:2]])
            for index, scores in ((view.index, own), ((view.index + 1) % len(images), other)):
                target = maps.sample(torch.cat([torch.full_like(pixels[:, :1], index), pixels], dim=1))
                scores.append(float((found.view(-1, FEATURE_DIM) * target).sum(dim=-1).mean()))
        assert np.mean(own) > least and np.mean(own) > np.mean(other) + 0.1, (split, np.mean(own), np.mean(other))


def test_a_loaded_run_needs_no_features_and_shows_the_same_colours(isrf_run: Path, featured_room: Path, tmp_path: Path):
    first = next(iter(render_views(load_run(isrf_run), "val"))).outputs
    (featured_room / "features").rename(tmp_path / "away")
    try:
        second = next(iter(render_views(load_run(isrf_run), "val"))).outputs
    finally:
        (tmp_path / "away").rename(featured_room / "features")
    assert first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_geometry_of_another_method_is_taken_over(ns_train, isrf_flags, tiny_run, room: Path, tmp_path: Path):
    flags = isrf_flags(room, 4, 8)
    config = ns_train(METHOD, tmp_path, *flags, f"--pipeline.pretrained={tiny_run.config}")
    ours, theirs = weights(config), geometry(weights(tiny_run.config))
    assert len(theirs) > 10 and all(torch.equal(ours[key], value) for key, value in theirs.items())
    assert int(ours["_model.head_steps"]) == 4
    assert load_run(config).pipeline.model.head_dim() == FEATURE_DIM


def test_a_run_resumes(ns_train, isrf_flags, room: Path, tmp_path: Path):
    config = ns_train(METHOD, tmp_path, *isrf_flags(room, 3, 6))
    first = weights(config)
    ns_train(METHOD, tmp_path, *isrf_flags(room, 3, 9), f"--load-dir={config.parent / 'nerfstudio_models'}")
    last = weights(config)
    assert int(last["_model.head_steps"]) == 6 and load_run(config).step == 8
    assert all(torch.equal(value, last[key]) for key, value in geometry(first).items())
    assert any(not torch.equal(first[key], last[key]) for key in first if key.startswith("_model.head."))


def test_total_variation_is_learned_from_too(ns_train, isrf_flags, room: Path, tmp_path: Path):
    """With much of it, neighbouring cells say nearly the same."""

    def roughness(config: Path) -> float:
        model = load_run(config).pipeline.model
        points = model.trained_positions[model.trained_positions.isfinite().all(dim=-1)][:200]
        beside = points + 0.05 * torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
        values = [model.head(place, model.query_geometry(place)[1]).detach() for place in (points, beside)]
        return float((values[0] - values[1]).square().mean() / values[0].var())

    runs = [
        ns_train(METHOD, tmp_path, *isrf_flags(room, 3, 60, tv_weight=weight), name=f"tv-{weight}")
        for weight in (0.0, 0.1)
    ]
    plain, smooth = (roughness(config) for config in runs)
    assert smooth < 0.7 * plain


def test_masks_play_no_part(ns_train, isrf_flags, room: Path, tmp_path: Path):
    """Neither ones that are missing nor ones that cannot be read; evaluation has them still."""
    masks = sorted((room / "masks").iterdir())
    for path in masks[1:]:
        path.unlink()
    masks[0].write_bytes(b"no mask")
    config = ns_train(METHOD, tmp_path, *isrf_flags(room, 2, 4))
    run = load_run(config)
    assert run.pipeline.model.head_trained
    assert "mask_filenames" not in run.dataset("train").metadata
    assert "truth_filenames" in run.dataset("train").metadata


def test_a_capture_in_llff_s_layout_is_trained(ns_train, isrf_flags, tmp_path: Path):
    """A contracted scene, with masks of other images beside it."""
    from nerfseg_plugins.cli.features import Features
    from nerfseg_plugins.rooms.generate import make_scene, write_scene

    data = tmp_path / "capture"
    room, shots = make_scene(2, "llff", num_objects=3, num_train=5, num_val=1, width=32, height=24)
    write_scene(data, room, shots, "llff")
    for path in (data / "masks").iterdir():
        path.rename(path.with_stem(f"of_another_{path.stem}"))
    Features(data, channels=FEATURE_DIM).main()
    flags = isrf_flags(data, 3, 6, tv_weight=0.1)
    config = ns_train(METHOD, tmp_path, *flags, "llff-data", f"--data={data}")
    run = load_run(config)
    assert run.pipeline.model.head_trained and run.pipeline.model.field.spatial_distortion is not None
    view = next(iter(render_views(run, "val", ("features", "feature_colormap"))))
    assert all(torch.isfinite(value).all() for value in view.outputs.values())


# What is refused -----------------------------------------------------------------------------------------------------


def refused(ns_train, flags: list[str], tmp_path: Path, match: str) -> str:
    with pytest.raises(InputError, match=match) as caught:
        ns_train(METHOD, tmp_path, *flags, name="refused")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_features_the_command_is_told(ns_train, isrf_flags, room: Path, tmp_path: Path):
    shutil.rmtree(room / "features")
    match = r"cannot be trained on .*room.*no features; make them with: nerfseg features --data .*room.*iterations 3"
    refused(ns_train, isrf_flags(room, 3, 6), tmp_path, match)
    config = ns_train(METHOD, tmp_path, *isrf_flags(room, 3, 3))
    assert not load_run(config).pipeline.model.head_trained, "geometry alone needs none"


def test_of_several_features_one_is_named(ns_train, isrf_flags, room: Path, tmp_path: Path):
    shutil.copytree(room / FOLDER, room / "features" / "other")
    flags = isrf_flags(room, 2, 4)
    refused(ns_train, flags, tmp_path, r"features of classical, other; say which.*--pipeline\.datamanager\.features")
    refused(ns_train, [*flags, "--pipeline.datamanager.features=third"], tmp_path, "holds no features 'third'")
    for number, wanted in enumerate(["classical", str(room / "features" / "other")]):
        config = ns_train(METHOD, tmp_path, *flags, f"--pipeline.datamanager.features={wanted}", name=f"named-{number}")
        assert load_run(config).pipeline.model.head_trained


def test_features_of_other_images_are_refused(ns_train, isrf_flags, room: Path, tmp_path: Path):
    image = sorted((room / "images").iterdir())[1]
    pixels = np.asarray(Image.open(image))
    Image.fromarray(255 - pixels).save(image)
    said = refused(ns_train, isrf_flags(room, 2, 4), tmp_path, r"nerfseg features --data .*--overwrite")
    assert str(image) in said


def test_features_of_images_of_another_size_are_refused(ns_train, isrf_flags, room: Path, tmp_path: Path):
    """The images and the cameras have shrunk since."""
    import json

    for image in (room / "images").iterdir():
        with Image.open(image) as picture:
            picture.resize((24, 18)).save(image)
    for path in room.glob("*transforms.json"):
        meta = json.loads(path.read_text())
        meta.update({key: meta[key] / 2 for key in ("fl_x", "fl_y", "cx", "cy")}, w=24, h=18)
        path.write_text(json.dumps(meta))
    refused(ns_train, isrf_flags(room, 2, 4), tmp_path, r"nerfseg features --data .*--overwrite")


def test_a_damaged_image_is_named(ns_train, isrf_flags, room: Path, tmp_path: Path):
    image = sorted((room / "images").iterdir())[1]
    image.write_bytes(image.read_bytes()[:60])
    assert str(image) in refused(ns_train, isrf_flags(room, 2, 4), tmp_path, "cannot be decoded.*restore it")


def test_features_that_are_not_finite_are_refused(ns_train, isrf_flags, room: Path, tmp_path: Path):
    path = find_map(room / FOLDER, sorted((room / "images").iterdir())[0])
    assert path is not None
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["features"][0, 0, 0] = np.nan
    np.savez(path, **arrays)
    said = refused(ns_train, isrf_flags(room, 2, 4), tmp_path, "not finite")
    assert str(path) in said


def test_features_of_other_channels_are_refused(ns_train, isrf_flags, room: Path, tmp_path: Path):
    flags = [flag for flag in isrf_flags(room, 2, 4) if "feature-dim" not in flag]
    match = (
        rf"features have {FEATURE_DIM} channels and the head has 24; pass --pipeline\.model\.feature-dim {FEATURE_DIM}"
    )
    refused(ns_train, [*flags, "--pipeline.model.feature-dim=24"], tmp_path, match)
