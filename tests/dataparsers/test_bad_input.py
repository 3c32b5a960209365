"""front3d-data: every kind of bad capture is refused in one sentence that names the file and the mend."""

import json
from pathlib import Path

import pytest

from nerfseg_plugins.dataparsers.front3d import Front3DDataParserConfig
from nerfseg_plugins.errors import InputError


def refusal(folder: Path, **settings) -> str:
    """The message with which the capture is refused."""
    with pytest.raises(InputError) as caught:
        Front3DDataParserConfig(data=folder, **settings).setup().get_dataparser_outputs("train")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_folder_that_does_not_exist(tmp_path):
    assert refusal(tmp_path / "nowhere").startswith(f"{tmp_path / 'nowhere'} does not exist; give --data")


def test_an_empty_folder(tmp_path):
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path} holds neither transforms.json nor train_transforms.json")
    assert "ns-process-data" in message


def test_a_json_file_that_does_not_exist(tmp_path):
    assert "transforms.json does not exist" in refusal(tmp_path / "transforms.json")


@pytest.mark.parametrize("text", ["", "{", "images/0.png", "\ufffe\x00"])
def test_transforms_that_are_not_json(capture, text):
    path = capture.folder / "transforms.json"
    path.write_text(text)
    assert refusal(capture.folder).startswith(f"{path} is not valid JSON")


def test_transforms_that_are_not_text(capture):
    path = capture.folder / "transforms.json"
    path.write_bytes(b"\xff\xfe\x00{")
    assert refusal(capture.folder).startswith(f"{path} is not valid JSON")


@pytest.mark.parametrize("meta", [[], {}, {"frames": None}, {"frames": {"0": {}}}, 5])
def test_transforms_without_frames(capture, meta):
    (capture.folder / "transforms.json").write_text(json.dumps(meta))
    assert f'{capture.folder / "transforms.json"} has no "frames" list; it must' in refusal(capture.folder)


def test_transforms_with_empty_frames(capture):
    capture.save(frames=[])
    assert f"{capture.folder / 'transforms.json'} lists no frames" in refusal(capture.folder)


@pytest.mark.parametrize("keys", [("fl_x", "fl_y"), ("fl_x", "fl_y", "cx", "cy", "w", "h")])
def test_transforms_without_intrinsics(capture, keys):
    for key in keys:
        del capture.meta[key]
    capture.save()
    message = refusal(capture.folder)
    assert f"of {capture.folder / 'transforms.json'} has no intrinsics; add fl_x" in message


@pytest.mark.parametrize(
    ("key", "value"), [("fl_x", -3), ("fl_x", "wide"), ("cx", float("nan")), ("k1", [0.1]), ("fl_y", 0)]
)
def test_intrinsics_that_are_no_numbers(capture, key, value):
    capture.save(**{key: value})
    message = refusal(capture.folder)
    assert str(capture.folder / "transforms.json") in message
    assert key in message or "focal length" in message


def test_an_unknown_camera_model(capture):
    capture.save(camera_model="PEPPER")
    message = refusal(capture.folder)
    assert "transforms.json has camera_model 'PEPPER'; supported are SIMPLE_PINHOLE" in message


@pytest.mark.parametrize("value", [None, "", 5])
def test_a_frame_without_file_path(capture, value):
    capture.meta["frames"][3]["file_path"] = value
    capture.save()
    assert f"frame 3 of {capture.folder / 'transforms.json'} has no file_path" in refusal(capture.folder)


def test_a_frame_without_pose(capture):
    del capture.meta["frames"][3]["transform_matrix"]
    capture.save()
    expected = f"frame 3 (images/0003.png) of {capture.folder / 'transforms.json'} has no transform_matrix; add"
    assert expected in refusal(capture.folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 3)])
def test_a_pose_that_is_not_finite(capture, value, row, column):
    capture.meta["frames"][3]["transform_matrix"][row][column] = value
    capture.save()
    expected = f"frame 3 (images/0003.png) of {capture.folder / 'transforms.json'} has a pose that is not finite;"
    assert expected in refusal(capture.folder)


@pytest.mark.parametrize(
    ("factors", "what"),
    [
        ((1, 1, 0), "is singular"),
        ((0, 0, 0), "is singular"),
        ((1, 1, -1), "mirrors"),
        ((2, 2, 2), "scales or shears"),
        ((2, 0.5, 1), "scales or shears"),
        ((1, 1, 1.02), "scales or shears"),
    ],
)
def test_a_pose_whose_rotation_is_none(capture, factors, what):
    matrix = capture.meta["frames"][3]["transform_matrix"]
    for row in range(3):
        for column in range(3):
            matrix[row][column] *= factors[column]
    capture.save()
    message = refusal(capture.folder)
    assert f"frame 3 (images/0003.png) of {capture.folder / 'transforms.json'}" in message
    assert f"rotation {what}" in message and "correct it or remove the frame" in message


def test_a_pose_rounded_to_three_digits_passes(capture):
    for frame in capture.meta["frames"]:
        frame["transform_matrix"] = [[round(value, 3) for value in row] for row in frame["transform_matrix"]]
    capture.save()
    Front3DDataParserConfig(data=capture.folder).setup().get_dataparser_outputs("train")


@pytest.mark.parametrize("matrix", [[[1, 0], [0, 1]], "eye", [[1, 0, 0, 0], [0, 1]], None])
def test_a_pose_of_another_shape(capture, matrix):
    capture.meta["frames"][3]["transform_matrix"] = matrix
    capture.save()
    message = refusal(capture.folder)
    assert "frame 3 (images/0003.png)" in message and "write a 4x4 camera-to-world" in message


def test_opposite_up_directions(capture):
    frames = capture.meta["frames"][:2]
    frames[0]["transform_matrix"] = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    frames[1]["transform_matrix"] = [[-1, 0, 0, 1], [0, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    capture.save(frames=frames)
    assert f"the cameras of {capture.folder} share no up direction" in refusal(capture.folder)


def test_no_image_left(capture):
    for path in (capture.folder / "images").iterdir():
        path.unlink()
    message = refusal(capture.folder)
    assert f"none of the 10 images listed in {capture.folder / 'transforms.json'} exists" in message
    assert "images/0000.png" in message


@pytest.mark.parametrize("file_path", ["../secret.png", "/etc/passwd", "images/../../secret.png"])
def test_a_path_out_of_the_data_folder(capture, tmp_path, file_path):
    capture.image("../secret.png")
    capture.meta["frames"][3]["file_path"] = file_path
    capture.save()
    message = refusal(capture.folder)
    assert repr(file_path) in message and "points outside the data folder" in message


def test_an_image_of_another_size(capture):
    path = capture.image("images/0003.png", 16, 12)
    message = refusal(capture.folder)
    assert message.startswith(f"{path} is 16x12 pixels but frame 3 (images/0003.png) of")
    assert "says w 8, h 6; correct the intrinsics" in message


def test_an_image_that_is_none(capture):
    path = capture.folder / "images" / "0003.png"
    path.write_bytes(path.read_bytes()[:10])
    assert refusal(capture.folder).startswith(f"{path} is not a readable image; restore it or remove its frame")


@pytest.mark.parametrize(
    "box", [5, "room", [[0, 0, 0]], [[0, 0, 0], [1, 1, 0]], [[1, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, float("inf")]]]
)
def test_a_room_that_is_no_box(capture, box):
    capture.save(room_bbox=box)
    assert f"{capture.folder / 'transforms.json'} has a room_bbox that is no box; write" in refusal(capture.folder)


def test_a_negative_margin(capture):
    capture.save(room_bbox=[[0, 0, 0], [1, 1, 1]], room_margin=-1)
    assert f"{capture.folder / 'transforms.json'} has a negative room_margin" in refusal(capture.folder)
    capture.save(room_bbox=[[0, 0, 0], [1, 1, 1]])
    assert "room_margin is -2" in refusal(capture.folder, room_margin=-2.0)


@pytest.mark.parametrize("boxes", [5, [{"instance_id": "one", "class_id": 2}], [{"instance_id": 1, "class_id": None}]])
def test_instances_that_cannot_be_read(capture, boxes):
    capture.save(bounding_boxes=boxes)
    assert f"{capture.folder / 'transforms.json'} has bounding_boxes without whole" in refusal(capture.folder)


def test_images_without_the_downscaled_folder(capture):
    message = refusal(capture.folder, downscale_factor=4)
    assert "none of the 10 images" in message
    assert message.endswith(f"put the images in {capture.folder / 'images_4'}")
