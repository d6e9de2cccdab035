"""`cpu` and `gpu` compute the values of `plain`, and the same gradients of every argument.

Gradients are computed for a random cotangent.
"""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from flaxae.models.ops import cpu, gpu, operations, plain

FORMS = (cpu, gpu)
OPERATIONS = ("conv", "conv_max_pool", "conv_transpose", "upsample_head")
# (operation, options of this operation only)
LAYERS = [
    ("conv", {}),
    ("conv", {"stride": 2}),
    ("conv_max_pool", {}),
    ("conv_transpose", {"stride": 1}),
    ("conv_transpose", {"stride": 2}),
]
HEAD = ("upsample_head", {"size": (9, 7)})
# (batch, height, width, channels), features, kernel size. Heights and widths are odd and even,
# channels are 1 to 5 and more than 16.
SHAPES = [
    ((3, 28, 28, 1), 4, 3),
    ((1, 7, 5, 2), 1, 3),
    ((3, 9, 6, 5), 3, 3),
    ((1, 6, 8, 3), 17, 3),
    ((3, 6, 8, 4), 2, 5),
    ((1, 4, 3, 3), 5, 1),
    ((2, 5, 6, 3), 9, 2),
    ((2, 6, 5, 2), 8, 4),
]


def arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def layer_arrays(name, shape=(3, 6, 5, 4), features=6, k=3, layout="NHWC", channels=2):
    """Returns x, kernel and bias; for the head, kernel and bias of both layers."""
    x, *weights = arrays(
        shape, (k, k, shape[3], features), (features,), (k, k, features, channels), (channels,)
    )
    x = x if layout == "NHWC" else x.transpose(0, 3, 1, 2)
    return [x, *weights] if name == "upsample_head" else [x, *weights[:2]]


def value_and_gradients(module, name, args, **options):
    def run(cotangent, *args):
        y, vjp = jax.vjp(operation, *args)
        return y, *vjp(cotangent.astype(y.dtype))

    def operation(*args):
        return getattr(module, name)(*args, **options)

    (cotangent,) = arrays(jax.eval_shape(operation, *args).shape, seed=1)
    return jax.tree.map(np.asarray, jax.jit(run)(cotangent, *args))


def assert_same(name, args, forms=FORMS, **options):
    want = value_and_gradients(plain, name, args, **options)
    for form in forms:
        got = value_and_gradients(form, name, args, **options)
        for label, g, w in zip(
            ["y", "x", "kernel", "bias", "out_kernel", "out_bias"], got, want, strict=False
        ):
            assert g.shape == w.shape
            assert g.dtype == w.dtype
            # The float32 sums have a few hundred terms in a different order.
            np.testing.assert_allclose(
                g, w, rtol=0, atol=1e-5 * np.abs(w).max(), err_msg=f"{label} of {name}"
            )


@pytest.mark.parametrize(("shape", "features", "k"), SHAPES)
@pytest.mark.parametrize(("name", "options"), LAYERS)
def test_layers_match_plain(name, options, shape, features, k):
    assert_same(
        name, layer_arrays(name, shape, features, k), **options, activation="tanh", layout="NHWC"
    )


@pytest.mark.parametrize(
    ("shape", "size", "channels", "k"),
    [
        ((3, 16, 16, 4), (28, 28), 1, 3),
        ((1, 4, 3, 1), (7, 5), 3, 3),
        ((3, 5, 4, 2), (9, 6), 5, 3),
        ((1, 3, 4, 5), (6, 8), 4, 3),
        ((1, 8, 8, 2), (9, 10), 2, 5),
    ],
)
def test_head_matches_plain(shape, size, channels, k):
    args = layer_arrays("upsample_head", shape, k=k, channels=channels)
    assert_same("upsample_head", args, size=size, activation="tanh", layout="NHWC")


@pytest.mark.parametrize(
    ("size", "channels"),
    [
        ((8, 12), 1),  # no surplus
        ((7, 11), 3),  # 1: the crop starts at the border
        ((6, 10), 2),  # 2: blocks begin with even rows
        ((5, 9), 1),  # 3
        ((4, 8), 3),  # 4: with odd rows
        ((3, 12), 1),  # 5, and the border on one axis only
        ((8, 7), 5),
        ((1, 6), 4),
    ],
)
def test_gpu_head_matches_plain_at_every_crop(size, channels):
    args = layer_arrays("upsample_head", (2, 4, 6, 3), channels=channels)
    assert_same("upsample_head", args, (gpu,), size=size, activation="tanh", layout="NHWC")


@pytest.mark.parametrize("activation", ["relu", "elu", "leaky_relu", "tanh"])
def test_gpu_convolution_of_one_channel(activation):
    """It is computed as sums where cuDNN lacks the activation."""
    args = layer_arrays("conv", (3, 7, 6, 1), 5)
    assert_same("conv", args, (gpu,), activation=activation, layout="NHWC")


@pytest.mark.parametrize(("name", "options"), [*LAYERS, HEAD])
def test_gradients_of_bias_rows_are_sums_over_parts_of_the_batch(name, options):
    options = {"activation": "relu", "layout": "NHWC", **options}
    args = layer_arrays(name, (6, 6, 5, 4))
    places = [index for index, array in enumerate(args) if array.ndim == 1]
    for form in (gpu, plain):
        with_rows = [
            np.tile(array, (3, 1)) if index in places else array for index, array in enumerate(args)
        ]
        got = value_and_gradients(form, name, with_rows, **options)
        want = value_and_gradients(plain, name, args, **options)
        for index, (g, w) in enumerate(zip(got, want, strict=True)):
            if index - 1 in places:
                assert g.shape == (3, *w.shape)
                assert not np.allclose(g[0], g[1])
                g = g.sum(axis=0)
            np.testing.assert_allclose(g, w, rtol=0, atol=2e-5 * np.abs(w).max())


def test_center_crop_removes_more_at_the_end_for_an_odd_surplus():
    x = jnp.arange(5.0 * 8).reshape(1, 5, 8, 1)
    assert plain.center_crop(x, (2, 4), "NHWC")[0, :, :, 0].tolist() == [
        [10, 11, 12, 13],
        [18, 19, 20, 21],
    ]


@pytest.mark.parametrize(("name", "options"), [*LAYERS, HEAD])
def test_nchw_matches_plain(name, options):
    args = layer_arrays(name, layout="NCHW")
    assert_same(name, args, **options, activation="tanh", layout="NCHW")
    shapes = [
        value_and_gradients(
            plain,
            name,
            layer_arrays(name, layout=layout),
            **options,
            activation="tanh",
            layout=layout,
        )[0].shape
        for layout in ("NHWC", "NCHW")
    ]
    assert tuple(np.array(shapes[0])[[0, 3, 1, 2]]) == shapes[1]


@pytest.mark.parametrize("activation", plain.ACTIVATIONS)
@pytest.mark.parametrize(("name", "options"), [("conv", {}), ("conv_max_pool", {}), HEAD])
def test_activations_match_plain(name, options, activation):
    assert_same(name, layer_arrays(name), **options, activation=activation, layout="NHWC")


@pytest.mark.parametrize(("name", "options"), [*LAYERS, HEAD])
def test_bfloat16_error_is_close_to_that_of_plain(name, options):
    """Compares root mean squares: rounding creates ties, which the two resolve differently."""
    rounded = [jnp.asarray(a, jnp.bfloat16) for a in layer_arrays(name)]
    options = options | {"activation": "relu", "layout": "NHWC"}
    exact = value_and_gradients(plain, name, [a.astype(jnp.float32) for a in rounded], **options)

    def errors(module):
        results = value_and_gradients(module, name, rounded, **options)
        assert all(r.dtype == jnp.bfloat16 for r in results)
        return [
            np.sqrt(np.mean((r.astype(np.float32) - e) ** 2) / np.mean(e**2))
            for r, e in zip(results, exact, strict=False)
        ]

    unit = 2.0**-8  # relative rounding error of bfloat16
    for form in FORMS:
        for f, p in zip(errors(form), errors(plain), strict=False):
            assert f <= 1.5 * p + unit


@pytest.mark.parametrize("form", [plain, *FORMS])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(("name", "options"), [*LAYERS, ("upsample_head", {"size": (32, 32)})])
def test_bfloat16_gradients_of_biases_count_every_pixel(name, options, layout, form):
    """All terms are positive, and more than 256: where a sum of ones in bfloat16 stops."""
    args = [abs(a) for a in layer_arrays(name, (8, 16, 16, 4), layout=layout)]
    rounded = [jnp.asarray(a, jnp.bfloat16) for a in args]
    options = options | {"activation": "identity", "layout": layout}

    def gradients(module, args):
        y, vjp = jax.vjp(lambda *args: getattr(module, name)(*args, **options), *args)
        return [g for g, a in zip(vjp(jnp.ones_like(y)), args, strict=True) if a.ndim == 1]

    want = gradients(plain, [a.astype(jnp.float32) for a in rounded])
    assert len(want) == (2 if name == "upsample_head" else 1)
    for g, w in zip(gradients(form, rounded), want, strict=True):
        assert g.dtype == jnp.bfloat16
        assert min(w) > 256
        np.testing.assert_allclose(np.asarray(g, np.float32), w, rtol=0.02)


def test_max_pool_of_ties():
    """All pixels of a constant image tie. The gradient of x may then go to any of them."""
    _, kernel, bias = layer_arrays("conv_max_pool")
    args = [np.full((3, 6, 5, 4), 0.5, np.float32), kernel, bias]
    options = {"activation": "leaky_relu", "layout": "NHWC"}
    (y, x, *weights), (y2, _x2, *weights2) = (
        value_and_gradients(m, "conv_max_pool", args, **options) for m in (cpu, plain)
    )
    for got, want in zip([y, *weights], [y2, *weights2], strict=False):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())
    # Pooling alone, without a border: the gradients in each window add up to its cotangent.
    x, (g,) = np.ones((1, 4, 6, 2), np.float32), arrays((1, 2, 3, 2))
    shares = jax.vjp(cpu.max_pool, x)[1](jnp.asarray(g))[0]
    np.testing.assert_allclose(shares.reshape(1, 2, 2, 3, 2, 2).sum((2, 4)), g, rtol=1e-6)


def test_gpu_max_pool_of_ties_gives_the_gradient_to_the_first_pixel():
    """As `plain` does, whose ReLU before the pooling makes many ties of zeros."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(-1, 2, size=(3, 7, 5, 4)), jnp.float32)
    g = jnp.asarray(arrays((3, 4, 3, 4))[0])
    for relu, before in ((False, lambda x: x), (True, jax.nn.relu)):
        got, got_vjp = jax.vjp(lambda x, relu=relu: gpu.max_pool(x, relu=relu), x)
        want, want_vjp = jax.vjp(
            lambda x, before=before: plain.max_pool(before(x), layout="NHWC"), x
        )
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(got_vjp(g)[0], want_vjp(g)[0])


def test_monotone_lists_the_activations_that_never_decrease():
    """Checks all activations on a fine grid."""
    x = jnp.linspace(-8, 8, 4001)
    for table in (plain.ACTIVATIONS, cpu.ACTIVATIONS, gpu.ACTIVATIONS):
        never_decrease = {n for n, f in table.items() if np.diff(f(x)).min() >= -1e-6}
        assert never_decrease == plain.MONOTONE


def test_all_modules_have_the_same_activations():
    assert set(cpu.ACTIVATIONS) == set(gpu.ACTIVATIONS) == set(plain.ACTIVATIONS)
    assert {n for n, f in cpu.ACTIVATIONS.items() if f is not plain.ACTIVATIONS[n]} == {"elu"}


def test_elu_is_that_of_jax():
    """Values and gradients, near 0 too, and far from it."""
    tiny = np.geomspace(1e-30, 1, 200, dtype=np.float32)
    x = np.concatenate([np.linspace(-50, 50, 5001, dtype=np.float32), tiny, -tiny, [0.0, -0.0]])
    x = x.astype(np.float32)
    assert 0 in x
    np.testing.assert_allclose(jax.jit(cpu.elu)(x), jax.nn.elu(x), rtol=0, atol=1e-6)
    (g,) = arrays(x.shape)

    def slopes(function):
        return jax.jit(lambda x, g: jax.vjp(function, x)[1](g)[0])(x, g)

    np.testing.assert_allclose(slopes(cpu.elu), slopes(jax.nn.elu), rtol=0, atol=1e-6)
    ends = jnp.array([-jnp.inf, -3e38, 0.0, 3e38, jnp.inf, jnp.nan])
    np.testing.assert_array_equal(cpu.elu(ends), jax.nn.elu(ends))
    assert jax.vmap(jax.grad(cpu.elu))(ends[:5]).tolist() == [0, 0, 1, 1, 1]


def test_gradients_in_a_loop_use_nhwc_convolutions():
    """Only NHWC convolutions without dilation of x are fast on XLA:CPU; see `convolve`."""

    def loss(params, x):
        y = cpu.conv_max_pool(x, *params[0], activation="relu", layout="NHWC")
        y = cpu.conv(y, *params[1], stride=2, activation="relu", layout="NHWC")
        y = cpu.conv_transpose(y, *params[2], stride=2, activation="relu", layout="NHWC")
        return cpu.upsample_head(y, *params[3], activation="relu", size=(8, 8), layout="NHWC").sum()

    layers = [("conv_max_pool", 3), ("conv", 6), ("conv_transpose", 6), ("upsample_head", 6)]
    params = [layer_arrays(name, (1, 1, 1, channels))[1:] for name, channels in layers]
    scan = jax.jit(lambda params, xs: lax.map(lambda x: jax.grad(loss)(params, x), xs))
    hlo = scan.lower(params, np.zeros((2, 4, 8, 8, 3), np.float32)).compile().as_text()
    convolutions = re.findall(r" convolution\(.*", hlo)
    assert convolutions
    for convolution in convolutions:
        assert "b01f_01io->b01f" in convolution
        assert "lhs_dilate" not in convolution


def test_operations_chooses_by_option_and_platform():
    chosen = [operations("auto", platform) for platform in ("cpu", "gpu", "tpu")]
    assert chosen == [cpu, gpu, plain]
    assert operations("plain", "cpu") is plain
    assert operations("cpu", "gpu") is operations("fast", "gpu") is cpu
    assert operations("gpu", "cpu") is gpu


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_all_forms_have_the_same_signatures(name, form):
    def parameters(module):
        found = inspect.signature(getattr(module, name)).parameters.values()
        return [(p.name, p.kind, p.default) for p in found]

    assert parameters(form) == parameters(plain)
