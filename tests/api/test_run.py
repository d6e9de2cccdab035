"""`Run`: what it computes, what it refuses, and that its docstrings' examples hold."""

import doctest
import inspect
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flaxae
from flaxae.errors import InputError
from flaxae.objectives import LOSSES, MEASURES
from flaxae.objectives.losses import sigmoid_cross_entropy
from flaxae.training import processes

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = flaxae.TrainConfig(
        model=flaxae.ConvolutionalConfig(filters=(4,)),
        optimizer=flaxae.OptimizerConfig(batch_size=12),
        workdir=str(tmp_path_factory.mktemp("api") / "run"),
        epochs=2,
    )
    return flaxae.train(config, IMAGES)


def apply(run, method, x):
    return run.model.apply(run.variables, jnp.asarray(x), method=method)


def test_encode_decode_and_reconstruct_are_those_of_the_model(run):
    pixels = IMAGES[..., None] / np.float32(255)
    embedding = run.encode(IMAGES)
    np.testing.assert_allclose(embedding, apply(run, "encode", pixels), atol=1e-5)
    expected = jax.nn.sigmoid(apply(run, "decode", embedding))
    np.testing.assert_allclose(run.decode(embedding), expected, atol=1e-5)
    np.testing.assert_allclose(run.reconstruct(pixels), expected, atol=1e-5)
    assert run.reconstruct(IMAGES).shape == (60, 8, 8)
    assert run.reconstruct(IMAGES).dtype == np.float32


@pytest.mark.parametrize("count", [0, 1, 2, 11, 12, 13, 60])
def test_any_number_of_images(run, count):
    some = IMAGES[:count]
    np.testing.assert_allclose(run.encode(some), run.encode(IMAGES)[:count], atol=1e-5)
    assert run.reconstruct(some).shape == some.shape
    assert run.decode(run.encode(some)).shape == (count, 8, 8, 1)


def test_bytes_and_floats_are_the_same_images(run):
    np.testing.assert_allclose(run.encode(IMAGES), run.encode(IMAGES / 255), atol=1e-5)
    finer = (IMAGES / 255 * 0.999).astype(np.float64)
    assert not np.allclose(run.encode(finer), run.encode(IMAGES), atol=1e-6)


def test_bfloat16_images_are_floats(run):
    halves = jnp.asarray(IMAGES / 255, jnp.bfloat16)
    np.testing.assert_allclose(run.encode(halves), run.encode(IMAGES), atol=0.05)


def test_floats_can_be_drawn_and_evaluated(run):
    assert run.picture(images=IMAGES / 255).size == run.picture(images=IMAGES).size
    assert run.evaluate(images=IMAGES / 255)["mse"] == pytest.approx(
        run.evaluate(images=IMAGES)["mse"], rel=1e-4
    )


def test_the_model_works_under_jit_vmap_and_grad(run):
    image = jnp.asarray(IMAGES[0, ..., None] / np.float32(255))

    def encode(x):
        return run.model.apply(run.variables, x[None], method="encode")[0]

    expected = run.encode(IMAGES[:1])[0]
    np.testing.assert_allclose(jax.jit(encode)(image), expected, atol=1e-5)
    np.testing.assert_allclose(jax.vmap(encode)(jnp.stack([image] * 2))[1], expected, atol=1e-5)
    gradient = jax.grad(lambda x: encode(x).sum())(image)
    step = jnp.full_like(image, 1e-3)
    change = encode(image + step).sum() - encode(image - step).sum()
    assert float((gradient * 2 * step).sum()) == pytest.approx(float(change), rel=0.05)


@pytest.mark.parametrize(
    ("method", "argument", "message"),
    [
        ("encode", IMAGES[0], r"images has the shape \(8, 8\); expected \[N, H, W\] or"),
        ("encode", IMAGES[:, 1:], "images has images of 7x8x1; this run has 8x8x1"),
        ("encode", IMAGES.astype(np.int32), r"images is int32 in 0\.\.255; expected uint8, or"),
        ("reconstruct", IMAGES * 1.0, r"images is float64 in 0\.0\.\.255\.0; expected floats in"),
        ("reconstruct", np.array(["a"]), r"images has the shape \(1,\)"),
        ("reconstruct", np.full((1, 8, 8), "a"), "images is <U1; expected uint8"),
        ("decode", np.zeros((2, 63)), r"embedding is float64 \(2, 63\); expected floats of the"),
        ("decode", np.zeros((2, 64), int), r"embedding is int64 \(2, 64\); expected floats"),
        ("decode", np.full((2, 64), np.nan), "embedding has NaN or infinite numbers"),
        ("decode", np.full((2, 64), 1e300), "embedding has NaN or infinite numbers"),
        ("decode", [[1.0], [1.0, 2.0]], "embedding is no array"),
        ("encode", [np.zeros((8, 8)), np.zeros((4, 8))], "images is no array"),
        ("evaluate", "dev", "split got 'dev'; expected one of train, validation, test, all"),
        ("picture", "dev", "split got 'dev'"),
    ],
)
def test_what_cannot_be_used_is_named(run, method, argument, message):
    with pytest.raises(flaxae.InputError, match=message):
        getattr(run, method)(argument)


def test_a_split_of_ones_own_is_checked_like_an_array(run):
    with pytest.raises(InputError, match="9x7x1; this run has 8x8x1"):
        run.evaluate(images=flaxae.Split(np.zeros((3, 9, 7, 1), np.uint8)))
    with pytest.raises(InputError, match=r"images.*0\.\.1"):
        run.evaluate(images=flaxae.Split(np.full((3, 8, 8, 1), 255.0, np.float32)))
    own = flaxae.Split(IMAGES[..., None])
    assert run.evaluate(images=own) == run.evaluate(images=IMAGES)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (flaxae.Split(IMAGES[:0]), "images is empty; give at least one image"),
        (flaxae.Split(IMAGES, targets=IMAGES[:30]), "targets has 30 entries for 60 images"),
        (flaxae.Split(IMAGES, np.zeros(30, np.int32)), "labels has 30 entries for 60 images"),
        (flaxae.Split(IMAGES, files=("a.png", "b.png")), "files has 2 entries for 60 images"),
        (flaxae.Split(IMAGES, targets=IMAGES.astype(int)), "targets is int64 in 0..255; expected"),
        (flaxae.Split(IMAGES, targets=IMAGES[:, 1:]), "targets has images of 7x8x1; this run has"),
    ],
)
def test_what_cannot_be_used_of_a_split_is_named(run, part, message):
    with pytest.raises(InputError, match=message):
        run.evaluate(images=part)


def test_targets_of_a_split_are_images_in_any_form(run):
    targets = IMAGES[:, ::-1]
    found = [
        run.evaluate(images=flaxae.Split(IMAGES, targets=form))["mse"]
        for form in (targets, targets[..., None], targets / 255)
    ]
    assert found == pytest.approx([found[0]] * 3, rel=1e-4)
    assert found[0] != pytest.approx(run.evaluate(images=IMAGES)["mse"], rel=1e-4)


def test_images_without_the_targets_that_the_run_had_are_said(run, monkeypatch, caplog):
    data = replace(run.config.data, targets="clean")
    monkeypatch.setattr(run, "config", replace(run.config, data=data))
    images = IMAGES[..., None]
    run.evaluate(images=flaxae.Split(images, targets=images))
    assert not caplog.records
    run.evaluate(images=flaxae.Split(images))
    (record,) = caplog.records
    assert "the images have no targets" in record.getMessage()


def test_a_run_is_shown_by_its_folder_and_epoch(run):
    assert repr(run) == f"<Run {str(run.workdir)!r}: convolutional, epoch 2>"


def test_evaluate_is_a_mean_over_images(run):
    found = run.evaluate(images=IMAGES)
    pixels = jnp.asarray(IMAGES[..., None] / np.float32(255))
    logits = run.model.apply(run.variables, pixels)
    errors = np.mean(np.asarray(jax.nn.sigmoid(logits) - pixels) ** 2, axis=(1, 2, 3))
    losses = sigmoid_cross_entropy(logits, pixels)
    assert found["mse"] == pytest.approx(errors.mean(), rel=1e-5)
    assert found["loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
    assert found["rmse"] == pytest.approx(np.sqrt(errors.mean()), rel=1e-5)
    assert found["examples"] == 60
    assert run.evaluate("validation")["loss"] == pytest.approx(
        min(record["validation_loss"] for record in run.history), rel=1e-6
    )


def test_a_loaded_run_is_the_same(run):
    loaded = flaxae.load(run.workdir)
    np.testing.assert_array_equal(loaded.encode(IMAGES), run.encode(IMAGES))
    assert loaded.history == run.history
    assert loaded.config == run.config
    assert (loaded.epoch, loaded.step) == (run.epoch, run.step)
    with pytest.raises(flaxae.InputError, match=r"flaxae\.load\(workdir, images=\.\.\.\)"):
        loaded.evaluate("test")
    again = flaxae.load(run.workdir, images=IMAGES)
    assert again.evaluate("test") == run.evaluate("test")


def test_load_names_what_is_missing(run, tmp_path):
    with pytest.raises(flaxae.InputError, match=r"holds no run: there is no config\.json"):
        flaxae.load(tmp_path)
    with pytest.raises(flaxae.InputError, match="there is no checkpoint of step 99; there are"):
        flaxae.load(run.workdir, 99)
    with pytest.raises(flaxae.InputError, match="--checkpoint got newest; expected best, latest"):
        flaxae.load(run.workdir, "newest")
    with pytest.raises(flaxae.InputError, match="labels came without images"):
        flaxae.load(run.workdir, labels=[1])
    step = flaxae.load(run.workdir, "latest").step
    assert flaxae.load(run.workdir, str(step)).step == step


def test_images_can_be_exported_with_labels(run, tmp_path):
    labels = np.array(["ant", "bee", "cow"] * 20)
    exported = run.export_embedding(tmp_path / "e", images=IMAGES / 255, labels=labels, limit=9)
    assert (exported.points, exported.dimensions) == (9, 64)
    lines = (tmp_path / "e/metadata.tsv").read_text().splitlines()
    assert len(lines) == 10
    assert lines[1].split("\t")[:3] == ["0", "0", "ant"]


def test_a_measure_travels_by_name_without_a_further_edit(monkeypatch, capsys, tmp_path):
    """From a table to metrics.jsonl, the terminal, TensorBoard and `evaluate`."""

    def brightness(reconstructions, images):
        return jnp.mean(reconstructions, axis=(1, 2, 3))

    def charbonnier(logits, images, extras):
        roots = jnp.sqrt((jax.nn.sigmoid(logits) - images) ** 2 + 1e-6)
        return {"loss": jnp.mean(roots, axis=(1, 2, 3)), "logit_mean": logits.mean((1, 2, 3))}

    monkeypatch.setitem(LOSSES, "charbonnier", charbonnier)
    monkeypatch.setitem(MEASURES, "brightness", brightness)
    config = flaxae.TrainConfig(
        model=flaxae.ConvolutionalConfig(filters=(4,)),
        objective=flaxae.ObjectiveConfig(loss="charbonnier"),
        workdir=str(tmp_path / "run"),
        epochs=1,
    )
    run = flaxae.train(config, IMAGES, verbose=True)
    assert {"train_logit_mean", "validation_logit_mean"} <= set(run.history[0])
    assert "validation logit mean" in capsys.readouterr().out
    assert {"logit_mean", "brightness", "loss"} <= set(run.evaluate(images=IMAGES))
    (events,) = (tmp_path / "run").glob("events.out.tfevents.*")
    assert b"validation_logit_mean" in events.read_bytes()


def examples():
    """Every public name with a docstring that has an example, and every method of `Run`."""
    for name in flaxae.__all__:
        value = getattr(flaxae, name)
        yield name, value
        if name == "Run":
            members = inspect.getmembers(value, inspect.isfunction)
            yield from ((f"Run.{n}", f) for n, f in members if not n.startswith("_"))


@pytest.mark.parametrize(("name", "value"), list(examples()))
def test_examples_in_docstrings_hold(name, value, run, tmp_path):
    if name in ("__version__",):
        return
    docstring = inspect.getdoc(value)
    assert docstring, f"{name} has no docstring"
    names = {"run": run, "images": IMAGES, "flaxae": flaxae, "tmp": tmp_path}
    names["Callback"] = flaxae.Callback
    test = doctest.DocTestParser().get_doctest(docstring, names, name, None, 0)
    assert test.examples, f"{name} has no example"
    result = doctest.DocTestRunner(verbose=False).run(test)
    assert result.failed == 0


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda run, path: run.report(path), "a report"),
        (lambda run, path: run.write_reconstructions(path), "a folder of reconstructions"),
    ],
    ids=["report", "reconstructions"],
)
def test_what_one_process_writes_is_refused_in_several(run, tmp_path, monkeypatch, make, what):
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "name", lambda: "process 0 of 2 (a)")
    with pytest.raises(InputError, match=f"{what} is made by one process, and this is process 0"):
        make(run, tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()
