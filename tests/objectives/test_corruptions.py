import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxae.objectives import CORRUPTIONS, ObjectiveConfig
from flaxae.objectives.corruptions import add_noise, corrupt

STILL = {"rotation": 0.0, "shear": 0.0, "scaling": 0.0, "translation": 0.0}


def corrupted(images, *names, key=0, rows=None, **amounts):
    """The images as a training step distorts them; rows from 0 on unless they are given."""
    rows = jnp.arange(len(images)) if rows is None else jnp.asarray(rows)
    config = ObjectiveConfig(corrupt=names, **amounts)
    return np.asarray(corrupt(jnp.asarray(images), rows, jax.random.key(key), config))


def random_images(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def test_noise_has_the_right_mean_and_deviation():
    """Around mid-gray little noise is clipped: mean 0.5, standard deviation 0.1."""
    images, rows = jnp.full((64, 20, 20, 1), 0.5), jnp.arange(64)
    noisy = add_noise(images, rows, jax.random.key(0), 0.1)
    assert float(noisy.mean()) == pytest.approx(0.5, abs=0.002)
    assert float(noisy.std()) == pytest.approx(0.1, rel=0.02)


def test_noise_is_clipped_to_the_pixel_range():
    images, rows = jnp.zeros((64, 20, 20, 1)), jnp.arange(64)
    noisy = add_noise(images, rows, jax.random.key(0), 3.0)
    assert float(noisy.min()) == 0
    assert float(noisy.max()) == 1
    assert float((noisy == 0).mean()) == pytest.approx(0.5, abs=0.02)
    # P(3 * N(0, 1) > 1) = 0.369
    assert float((noisy == 1).mean()) == pytest.approx(0.369, abs=0.02)


def test_noise_depends_on_the_row_and_not_on_the_batch():
    images = jnp.full((4, 5, 5, 1), 0.5)
    together = add_noise(images, jnp.arange(4), jax.random.key(0), 0.1)
    alone = add_noise(images[2:3], jnp.array([2]), jax.random.key(0), 0.1)
    np.testing.assert_array_equal(together[2:3], alone)
    assert not np.array_equal(together[0], together[1])


def test_noise_comes_last_and_is_that_of_the_key_and_the_row():
    images, key = random_images(4, 6, 5, 2), jax.random.key(3)
    draws = [jax.random.normal(jax.random.fold_in(key, row), (6, 5, 2)) for row in range(4)]
    noisy = np.clip(images + 0.3 * np.stack(draws), 0, 1)
    np.testing.assert_allclose(corrupted(images, key=3, noise_factor=0.3), noisy, atol=1e-6)
    masked = corrupted(images, "mask", key=3)
    expected = add_noise(jnp.asarray(masked), jnp.arange(4), key, 0.3)
    found = corrupted(images, "mask", key=3, noise_factor=0.3)
    np.testing.assert_array_equal(found, expected)


def test_without_corruptions_the_images_stay_as_they_are():
    images = random_images(3, 6, 5, 2)
    np.testing.assert_array_equal(corrupted(images), images)


@pytest.mark.parametrize("names", [("affine",), ("shift",), ("mask",), tuple(CORRUPTIONS)])
def test_a_corruption_depends_on_key_and_row_and_not_on_the_batch(names):
    image = random_images(1, 12, 10, 2)
    together = corrupted(np.repeat(image, 6, axis=0), *names, translation=0.5)
    alone = corrupted(image, *names, rows=[3], translation=0.5)
    np.testing.assert_allclose(together[3:4], alone, atol=1e-6)
    moved = corrupted(np.repeat(image, 2, axis=0), *names, rows=[5, 3], translation=0.5)
    np.testing.assert_allclose(moved, together[[5, 3]], atol=1e-6)
    assert len({one.tobytes() for one in together}) >= 5
    other = corrupted(np.repeat(image, 6, axis=0), *names, key=1, translation=0.5)
    assert sum(np.array_equal(a, b) for a, b in zip(together, other, strict=True)) <= 1


@pytest.mark.parametrize("names", [("affine",), ("shift",), ("mask",), tuple(CORRUPTIONS)])
@pytest.mark.parametrize("noise_factor", [0.0, 0.5])
def test_pixels_stay_in_their_range(names, noise_factor):
    """Black and white only, so that the least excess shows."""
    images = np.round(random_images(64, 9, 7, 3))
    found = corrupted(
        images, *names, rotation=180.0, shear=60.0, scaling=0.9, noise_factor=noise_factor
    )
    assert found.shape == images.shape
    assert found.min() == 0
    assert 0.99 < found.max() <= 1
    assert not np.array_equal(found, images)


def test_an_affine_map_without_amounts_changes_nothing():
    images = random_images(4, 9, 6, 3)
    np.testing.assert_allclose(corrupted(images, "affine", **STILL), images, atol=1e-6)


def test_an_affine_map_repeats_the_edge():
    """White stays white, however far the image is turned and moved."""
    white = np.ones((32, 9, 6, 2), np.float32)
    large = {"rotation": 180.0, "shear": 60.0, "scaling": 0.9, "translation": 1.0}
    np.testing.assert_allclose(corrupted(white, "affine", **large), white, atol=1e-6)


CENTER = np.array([20, 16])  # of images with 41 rows and 33 columns


def moved_dots(place, **amounts):
    """Where dots of many images at `place` = (y, x) from the center go to, and their brightness."""
    positions = np.indices((41, 33)).reshape(2, -1).T
    squares = np.sum((positions - CENTER - place) ** 2, axis=1)
    dot = np.exp(-squares / (2 * 1.5**2)).astype(np.float32).reshape(41, 33, 1)
    found = corrupted(np.repeat(dot[None], 256, axis=0), "affine", **{**STILL, **amounts})
    weights = found.reshape(256, -1)
    total = weights.sum(axis=1, keepdims=True)
    return weights @ positions / total - CENTER, total[:, 0] / dot.sum()


def assert_uniform(values, most):
    """Between minus and plus `most`, with the mean and the deviation of 256 uniform numbers."""
    assert np.abs(values).max() == pytest.approx(most, rel=0.03)
    assert np.mean(values) == pytest.approx(0, abs=0.12 * most)
    assert np.std(values) == pytest.approx(most / 3**0.5, rel=0.1)


@pytest.mark.parametrize("degrees", [25.0, 180.0])
def test_a_turn_keeps_the_distance_from_the_center(degrees):
    places, brightness = moved_dots((0, 10), rotation=degrees)
    np.testing.assert_allclose(np.hypot(*places.T), 10, atol=0.05)
    np.testing.assert_allclose(brightness, 1, atol=0.01)
    assert_uniform(np.rad2deg(np.arctan2(*places.T)), degrees)


def test_a_shear_moves_rows_in_proportion_to_their_distance_from_the_center():
    places, _ = moved_dots((0, 8), shear=30.0)
    np.testing.assert_allclose(places[:, 1], 8, atol=0.05)
    assert_uniform(np.rad2deg(np.arctan(places[:, 0] / 8)), 30)
    still, _ = moved_dots((8, 0), shear=30.0)
    np.testing.assert_allclose(still, np.broadcast_to((8, 0), still.shape), atol=0.05)


def test_scaling_changes_the_distance_from_the_center_and_the_size():
    places, brightness = moved_dots((6, 6), scaling=0.25)
    np.testing.assert_allclose(places[:, 0], places[:, 1], atol=0.05)
    factors = places[:, 0] / 6
    assert_uniform(factors - 1, 0.25)
    np.testing.assert_allclose(brightness, factors**2, rtol=0.06)


def test_a_translation_is_a_fraction_of_each_side():
    places, brightness = moved_dots((0, 0), translation=0.2)
    assert_uniform(places[:, 0], 0.2 * 41)
    assert_uniform(places[:, 1], 0.2 * 33)
    assert abs(np.corrcoef(places.T)[0, 1]) < 0.2
    np.testing.assert_allclose(brightness, 1, atol=0.01)


def shifts_of(images, found):
    """How each image was moved, as (down, right), with its edge repeated."""
    height, width, _ = images.shape[1:]
    steps = [(y, x) for y in range(1 - height, height) for x in range(1 - width, width)]
    moves = {}
    for image, other in zip(images, found, strict=True):
        for down, right in steps:
            rows = np.clip(np.arange(height) - down, 0, height - 1)
            columns = np.clip(np.arange(width) - right, 0, width - 1)
            if np.array_equal(image[rows][:, columns], other):
                moves[down, right] = moves.get((down, right), 0) + 1
                break
        else:
            raise AssertionError("not a shift with a repeated edge")
    return moves


@pytest.mark.parametrize(
    ("translation", "down", "right"), [(0.0, 0, 0), (0.07, 1, 0), (0.2, 2, 1), (0.25, 2, 2)]
)
def test_a_shift_is_by_whole_pixels_to_every_side_alike(translation, down, right):
    """At most `round(translation * side)`; 10 and 7 pixels."""
    images = np.repeat(random_images(1, 10, 7, 2), 300, axis=0)
    moves = shifts_of(images, corrupted(images, "shift", translation=translation))
    expected = {(y, x) for y in range(-down, down + 1) for x in range(-right, right + 1)}
    assert set(moves) == expected
    mean = 300 / len(expected)
    assert min(moves.values()) > mean - 5 * mean**0.5 - 1e-9


@pytest.mark.parametrize(
    ("mask_size", "height", "width"), [(0.3, 3, 2), (0.5, 5, 4), (1.0, 10, 7), (0.01, 1, 1)]
)
def test_a_mask_blackens_a_rectangle_inside_the_image(mask_size, height, width):
    """It has `round(mask_size * side)` pixels, at least one; the rest stays as it is."""
    images = np.repeat(random_images(1, 10, 7, 2), 400, axis=0) / 2 + 0.5
    found = corrupted(images, "mask", mask_size=mask_size)
    places = set()
    for image, masked in zip(images, found, strict=True):
        black = masked == 0
        np.testing.assert_array_equal(masked[~black], image[~black])
        np.testing.assert_array_equal(black[..., 0], black[..., 1])
        rows, columns = np.nonzero(black[..., 0])
        assert len(rows) == height * width
        assert np.ptp(rows) + 1 == height
        assert np.ptp(columns) + 1 == width
        places.add((int(rows[0]), int(columns[0])))
    possible = (10 - height + 1) * (7 - width + 1)
    assert len(places) == possible if possible < 60 else len(places) > 0.95 * possible


def test_a_square_image_gets_a_square_mask():
    found = corrupted(np.ones((20, 28, 28, 1), np.float32), "mask")
    np.testing.assert_array_equal((found == 0).sum(axis=(1, 2, 3)), round(0.3 * 28) ** 2)


def test_several_corruptions_follow_each_other_in_their_order():
    images = random_images(16, 12, 10, 2) / 2 + 0.5
    shifted, masked = corrupted(images, "shift"), corrupted(images, "mask")
    found = corrupted(images, "shift", "mask")
    np.testing.assert_array_equal(found, corrupted(shifted, "mask"))
    np.testing.assert_array_equal(found == 0, masked == 0)
    turned = corrupted(images, "mask", "shift")
    np.testing.assert_array_equal(turned, corrupted(masked, "shift"))
    assert not np.array_equal(turned, found)


def test_corruptions_draw_numbers_of_their_own():
    """The mask's place is not that of the shift, although both draw from the same row's key."""
    images = np.repeat(random_images(1, 10, 10, 1), 200, axis=0) / 2 + 0.5
    options = {"translation": 0.2, "mask_size": 0.6}  # five places in either direction
    shifts = [
        next(iter(shifts_of(images[:1], one[None])))
        for one in corrupted(images, "shift", **options)
    ]
    masks = [np.argwhere(one[..., 0] == 0)[0] for one in corrupted(images, "mask", **options)]
    correlations = np.corrcoef(np.array(shifts).T, np.array(masks).T)
    assert np.abs(correlations[:2, 2:]).max() < 0.25


def test_a_user_may_add_a_corruption(monkeypatch):
    def darken(config, image, key):
        return image * jax.random.uniform(key) * config.scaling

    monkeypatch.setitem(CORRUPTIONS, "darken", darken)
    found = corrupted(np.ones((64, 3, 3, 1), np.float32), "darken", scaling=0.5)
    assert found.max() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(np.ptp(found, axis=(1, 2, 3)), 0)
    assert len(np.unique(found)) == 64
