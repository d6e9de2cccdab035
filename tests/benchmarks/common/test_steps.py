import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.common.steps import in_flaxae, in_linen
from benchmarks.common.steps.workload import (
    IMAGE_SHAPE,
    MODELS,
    Layer,
    Workload,
    crops,
    layers,
    make_batches,
)
from benchmarks.train_step.comparison import compare_losses
from benchmarks.train_step.worker import losses
from flaxae import ComputeConfig
from flaxae.models.ops import plain

_TINY = {"filters": (3, 2), "hidden_units": (6, 5, 4), "image_shape": (9, 7, 2)}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("sizes", [{}, _TINY], ids=["default", "tiny"])
def test_weights_have_the_names_and_shapes_of_flaxae(model: str, sizes: dict):
    workload = Workload(model, **sizes)
    _, fresh, _ = in_flaxae.make_step(workload, "plain")
    images = jnp.zeros((1, *workload.image_shape))
    config = in_flaxae.model_config(workload)
    autoencoder = config.build(ComputeConfig(), workload.image_shape)
    own = jax.eval_shape(autoencoder.init, jax.random.key(0), images)["params"]
    shapes = jax.tree.map(lambda leaf: leaf.shape, own)
    assert shapes == jax.tree.map(lambda leaf: leaf.shape, fresh.params)


@pytest.mark.parametrize("model", MODELS)
def test_flaxae_and_linen_have_the_same_losses(model: str):
    workload = Workload(model, **_TINY)
    programs = [
        in_flaxae.build(workload, "plain"),
        in_flaxae.build(workload, "fast"),
        in_linen.build(workload, "plain"),
    ]
    batches = make_batches(5, workload.image_shape, 3)
    found = [_train(program, batches, 4) for program in programs]
    assert found[0][-1] < found[0][0]
    assert all(compare_losses(each, found[0]).equal for each in found[1:])


def test_a_wrong_kernel_fails_the_proof(monkeypatch):
    workload = Workload("convolutional", **_TINY)
    batches = make_batches(5, workload.image_shape, 3)
    right = _train(in_linen.build(workload, "plain"), batches, 4)
    turned = [
        layer._replace(kernel=layer.kernel[::-1, ::-1]) if layer.kind == "transposed" else layer
        for layer in layers(workload)
    ]
    monkeypatch.setattr(in_linen, "layers", lambda workload: turned)
    wrong = _train(in_linen.build(workload, "plain"), batches, 4)
    assert not compare_losses(wrong, right).equal


def test_the_default_model_has_the_documented_size():
    sizes = [layer.kernel.size + layer.bias.size for layer in layers(Workload("convolutional"))]
    assert sum(sizes) == 7873
    assert crops(Workload("convolutional")) == (4, 4)


def test_an_unknown_model_is_refused():
    with pytest.raises(ValueError, match="got the model 'transformer'"):
        layers(Workload("transformer"))


def test_a_model_can_learn_the_images():
    one, other = make_batches(16, IMAGE_SHAPE, 2)
    assert one.dtype == np.uint8
    assert not np.array_equal(one, other)
    assert 0.05 < (one / 255).mean() < 0.3  # a constant explains it: not half and half
    assert one.max() > 200


def test_transposed_kernels_are_rotated_for_keras_and_torch():
    generator = np.random.default_rng(0)
    kernel = generator.normal(size=(3, 3, 2, 4)).astype(np.float32)  # HWIO
    layer = Layer("transposed", kernel, np.zeros(4, np.float32), 2, None, False)
    x = generator.normal(size=(1, 5, 4, 2)).astype(np.float32)
    arrays = map(jnp.asarray, (x, kernel, layer.bias))
    expected = plain.conv_transpose(*arrays, stride=2, activation="identity", layout="NHWC")
    # Keras HWOI: pixel i adds the kernel from pixel 2i on; cropped to the doubled size.
    np.testing.assert_allclose(_stamp(x, layer.for_keras().swapaxes(2, 3)), expected, atol=1e-5)
    # PyTorch IOHW
    stamped = _stamp(x, layer.for_torch().transpose(2, 3, 0, 1))
    np.testing.assert_allclose(stamped, expected, atol=1e-5)


def test_other_kernels_only_change_their_order():
    kernel = np.arange(3 * 3 * 2 * 4, dtype=np.float32).reshape(3, 3, 2, 4)
    layer = Layer("convolution", kernel, np.zeros(4, np.float32), 1, "relu", False)
    assert layer.for_keras() is kernel
    assert layer.for_torch()[3, 1, 0, 2] == kernel[0, 2, 1, 3]
    dense = layer._replace(kind="dense", kernel=kernel.reshape(18, 4))
    assert dense.for_torch()[3, 17] == dense.kernel[17, 3]


def _stamp(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Stride-2 transposed convolution by its definition: each pixel adds the kernel (HWIO)."""
    _, height, width, _ = x.shape
    y = np.zeros((len(x), 2 * height + 1, 2 * width + 1, kernel.shape[3]), np.float32)
    for row in range(height):
        for column in range(width):
            stamp = np.einsum("bi,hwio->bhwo", x[:, row, column], kernel)
            y[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3] += stamp
    return y[:, : 2 * height, : 2 * width]


def _train(program, batches: list[np.ndarray], steps: int) -> list[float]:
    return losses(program, [program.to_input(images) for images in batches], steps)
