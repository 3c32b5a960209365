"""Photos of cars made like renderings."""

import math

import cv2
import numpy as np
import pytest
from skimage.measure import label, regionprops

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.pixelnerf.photos import (
    Ellipse,
    Square,
    check_mask,
    dummy_camera,
    fit_ellipse,
    normalised,
    square_around,
    without_specks,
)


def drawn_ellipse(center: tuple[float, float], major: float, minor: float, angle: float) -> np.ndarray:
    """(200, 300) bool of the pixels whose centres lie in an ellipse; whole axes, angle in degrees on the screen."""
    y, x = np.mgrid[:200, :300] + 0.5
    turn = math.radians(angle)
    along = (x - center[0]) * math.cos(turn) + (y - center[1]) * math.sin(turn)
    across = (y - center[1]) * math.cos(turn) - (x - center[0]) * math.sin(turn)
    return (along / (major / 2)) ** 2 + (across / (minor / 2)) ** 2 <= 1


@pytest.mark.parametrize("angle", [0, 20, 90, -35])
def test_an_ellipse_is_found_again(angle: float):
    found = fit_ellipse(drawn_ellipse((140.0, 95.5), 120, 40, angle))
    assert found.center == pytest.approx((140.0, 95.5), abs=0.1)
    assert found.major == pytest.approx(120, rel=0.01) and found.minor == pytest.approx(40, rel=0.01)
    assert math.degrees(found.angle) == pytest.approx(angle, abs=1)


def test_two_other_libraries_agree():
    mask = drawn_ellipse((140.0, 95.5), 120, 40, 20)
    mask[90:96, 120:140] = False  # a hole, as of a window
    found = fit_ellipse(mask)
    region = regionprops(label(mask, connectivity=2))[0]
    # skimage takes pixels for points: its moments lack the twelfth of a pixel.
    for axis, other in ((found.major, region.axis_major_length), (found.minor, region.axis_minor_length)):
        assert (axis / 4) ** 2 == pytest.approx((other / 4) ** 2 + 1 / 12)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    _, axes, _ = cv2.fitEllipse(contours[0])
    assert max(axes) == pytest.approx(found.major, rel=0.04) and min(axes) == pytest.approx(found.minor, rel=0.06)


def test_a_rectangle_by_hand():
    """Of a w x h rectangle the second moments are w^2/12 and h^2/12; four standard deviations are an axis."""
    mask = np.zeros((100, 100), bool)
    mask[40:60, 10:70] = True
    found = fit_ellipse(mask)
    assert found.center == (40, 50) and found.angle == 0
    assert (found.major, found.minor) == pytest.approx((4 * 60 / math.sqrt(12), 4 * 20 / math.sqrt(12)))


def test_specks_go_and_halves_stay():
    """A lamp post before a car leaves two parts of it."""
    car = drawn_ellipse((140.0, 95.5), 120, 40, 0)
    car[:, 130:134] = False
    specks = car.copy()
    specks[10:18, 10:18] = True
    np.testing.assert_array_equal(without_specks(specks), car)
    np.testing.assert_array_equal(without_specks(np.zeros((4, 4), bool)), False)


def test_how_large_the_car_becomes():
    """From the side 4.37 heights are more than 0.8 lengths; something flat and long is bounded by its length."""
    assert square_around(Ellipse((150.2, 99.9), 120, 40, 0.0)) == Square(150 - 88, 100 - 88, 176)
    assert square_around(Ellipse((150.0, 100.0), 300, 40, 0.0)) == Square(150 - 120, 100 - 120, 240)


def test_cut_out_in_front_of_white():
    image = np.zeros((40, 60, 3), np.uint8)
    image[..., 0] = 200
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:40] = True
    # 80 pixels around the mask's middle, of which 40x60 are the photo: each result pixel is a square of 2x2.
    found = normalised(image, mask, Square(-10, -20, 80), side=40)
    assert found.shape == (40, 40, 3) and found.dtype == np.uint8
    expected = np.full((40, 40, 3), 255, np.uint8)
    expected[15:25, 15:25] = (200, 0, 0)
    np.testing.assert_array_equal(found, expected)
    outside = normalised(image, mask, Square(100, 100, 20), side=8)
    assert (outside == 255).all()
    larger = normalised(image, mask, Square(15, 5, 30), side=60)
    assert larger.shape == (60, 60, 3) and (larger[30, 30] == (200, 0, 0)).all() and (larger[0] == 255).all()


def test_masks_that_show_no_whole_car():
    image = np.zeros((40, 60, 3), np.uint8)
    mask = np.zeros((40, 60), bool)
    with pytest.raises(InputError, match=r"car\.jpg: no car is found \(0 pixels\)"):
        check_mask(mask, image, "car.jpg")
    with pytest.raises(InputError, match=r"mask\.png: the mask is 61x40 but the photo 60x40"):
        check_mask(np.ones((40, 61), bool), image, "mask.png")
    mask[5:39, 5:60] = True
    with pytest.raises(InputError, match=r"car\.jpg: the car touches the right border"):
        check_mask(mask, image, "car.jpg")
    mask[39, 30] = True
    with pytest.raises(InputError, match="the right and the lower border"):
        check_mask(mask, image, "car.jpg")
    mask[39], mask[:, 59] = False, False
    check_mask(mask, image, "car.jpg")


def test_the_dummy_camera_looks_at_the_origin():
    camera = dummy_camera()
    np.testing.assert_array_equal(camera[:, 3] - 1.3 * camera[:, 2], 0)
    np.testing.assert_array_equal(camera[:, 1], [0, 1, 0])
