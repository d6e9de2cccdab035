import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import flaxae.runs.workdir
from flaxae.config import TrainConfig
from flaxae.config.serialization import to_json
from flaxae.data.splits import Split
from flaxae.errors import InputError, RunError
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.runs.workdir import (
    claim,
    describe,
    has_saved,
    mark_saved,
    read_config,
    read_dataset_info,
    rename_old,
)
from flaxae.training import SCHEDULES, OptimizerConfig

SPLITS = {
    "train": Split(np.zeros((4, 9, 7, 1), np.uint8), class_names=("bar", "box")),
    "validation": Split(np.zeros((2, 9, 7, 1), np.uint8), class_names=("bar", "box")),
    "test": Split(np.zeros((3, 9, 7, 1), np.uint8), class_names=("bar", "box")),
}
DATASET = describe("tiny", SPLITS, "abc")
CONFIG = TrainConfig(optimizer=OptimizerConfig(schedule="constant", warmup=0.0))

HOSTILE = (
    "[" * 100_000,
    '{"name": "x", "sizes": {"train": 1' + "0" * 400 + "}, " + '"schema": 4}',
    '{"schema": 1' + "0" * 5000 + "}",
    to_json(CONFIG).replace('"epochs": 50', '"epochs": 1e999'),
    to_json(CONFIG).replace('"learning_rate": 0.02', '"learning_rate": 1' + "0" * 400),
    to_json(CONFIG).replace('"seed": 0', '"seed": 1' + "0" * 400),
    "\udcff\udcfe",
    '"' + "x" * 100_000 + '"',
    " " * (20 << 20),
)


@pytest.fixture
def workdir(tmp_path):
    return tmp_path / "run"


def start(workdir, config=CONFIG, dataset=DATASET, checkpoint=False):
    """What a training run does with its folder; returns the config that it trains with."""
    with claim(workdir, config, dataset) as config:
        if checkpoint:
            mark_saved(workdir)
    return config


def test_a_run_that_came_between_the_check_and_the_lock_is_not_written_over(workdir, monkeypatch):
    other = replace(CONFIG, seed=1)
    locked = flaxae.runs.workdir._locked

    def late(folder):
        monkeypatch.setattr("flaxae.runs.workdir._locked", locked)
        start(workdir, other, checkpoint=True)
        return locked(folder)

    monkeypatch.setattr("flaxae.runs.workdir._locked", late)
    with pytest.raises(InputError, match="holds another run: --seed 1"):
        start(workdir)
    assert read_config(workdir).seed == 1


def test_the_config_can_be_read_again(workdir):
    with claim(workdir, CONFIG, DATASET) as config:
        assert read_config(workdir) == config == CONFIG


def test_the_number_of_epochs_may_change(workdir):
    start(workdir, checkpoint=True)
    with claim(workdir, replace(CONFIG, epochs=99), DATASET) as config:
        assert read_config(workdir).epochs == config.epochs == 99


def test_another_run_is_refused_and_stays_as_it_is(workdir):
    start(workdir, checkpoint=True)
    other = replace(CONFIG, model=FullyConnectedConfig(), seed=3)
    expected = (
        r"holds another run: --model convolutional there, fully_connected here; .*--seed 0 there"
    )
    with pytest.raises(InputError, match=expected):
        start(workdir, other)
    assert read_config(workdir) == CONFIG


def test_a_run_without_a_checkpoint_is_replaced(workdir):
    start(workdir)
    other = replace(CONFIG, seed=3)
    with claim(workdir, other, DATASET):
        assert read_config(workdir) == other


COSINE = replace(CONFIG, optimizer=OptimizerConfig(schedule="cosine", final_learning_rate=1e-4))


def test_a_schedule_keeps_the_epochs_of_the_first_start(workdir):
    """Otherwise the learning rate of the steps that remain would change."""
    first = start(workdir, replace(COSINE, epochs=20), checkpoint=True)
    assert first.optimizer.schedule_epochs == 20
    assert read_config(workdir) == first
    second = start(workdir, replace(COSINE, epochs=30))
    assert second.optimizer.schedule_epochs == 20
    assert second.epochs == 30
    assert read_config(workdir) == second


def test_a_schedule_of_ones_own_keeps_the_epochs_of_the_first_start(workdir, monkeypatch):
    """Of a run of an earlier version too, which did not note them."""
    monkeypatch.setitem(SCHEDULES, "linear", lambda config, steps: lambda step: step / steps)
    own = replace(CONFIG, optimizer=OptimizerConfig(schedule="linear", warmup=0.0), epochs=20)
    first = start(workdir, own, checkpoint=True)
    assert first.optimizer.schedule_epochs == 20
    (workdir / "config.json").write_text(to_json(own))
    assert read_config(workdir).optimizer.schedule_epochs is None
    second = start(workdir, replace(own, epochs=30))
    assert (second.epochs, second.optimizer.schedule_epochs) == (30, 20)


def test_a_replaced_run_has_the_epochs_of_its_own_schedule(workdir):
    start(workdir, replace(COSINE, epochs=20))
    assert start(workdir, replace(COSINE, epochs=30)).optimizer.schedule_epochs == 30


def test_a_schedule_that_ends_at_a_rate_of_0_cannot_be_continued(workdir):
    config = replace(CONFIG, optimizer=OptimizerConfig(schedule="cosine"), epochs=20)
    start(workdir, config, checkpoint=True)
    with pytest.raises(InputError, match="--epochs got 30, but the cosine schedule reaches"):
        start(workdir, replace(config, epochs=30))
    assert read_config(workdir).epochs == 20


def test_a_description_of_the_dataset_is_kept(workdir):
    start(workdir)
    found = read_dataset_info(workdir)
    assert found == DATASET
    assert found.image_shape == (9, 7, 1)
    assert found.class_names == ("bar", "box")
    assert found.sizes == {"train": 4, "validation": 2, "test": 3}


def test_other_images_are_refused(workdir):
    start(workdir, checkpoint=True)
    message = (
        r"trained on other images \(as many, but the sha256 of pixels and labels was abc, now def\)"
    )
    with pytest.raises(InputError, match=message):
        start(workdir, dataset=DATASET._replace(digest="def"))
    more = DATASET._replace(digest="def", sizes={**DATASET.sizes, "train": 5})
    with pytest.raises(InputError, match=r"other images \(train had 4 and has 5\)"):
        start(workdir, dataset=more)
    larger = DATASET._replace(digest="def", image_shape=(10, 7, 1))
    with pytest.raises(InputError, match=r"shape \(9, 7, 1\), now \(10, 7, 1\)"):
        start(workdir, dataset=larger)
    assert read_dataset_info(workdir) == DATASET


def test_a_run_that_knows_no_digest_of_its_images_continues(workdir):
    start(workdir, checkpoint=True, dataset=DATASET._replace(digest=None))
    start(workdir, dataset=DATASET)


def test_a_run_of_flaxae_0_1_has_no_description_and_continues(workdir):
    start(workdir, checkpoint=True)
    (workdir / "dataset.json").unlink()
    assert read_dataset_info(workdir) is None
    start(workdir, dataset=DATASET._replace(digest="def"))
    assert read_dataset_info(workdir).digest == "def"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"name": 3}', *HOSTILE])
def test_an_unreadable_description_is_an_error(workdir, text):
    start(workdir)
    (workdir / "dataset.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"dataset\.json cannot be read") as error:
        read_dataset_info(workdir)
    assert len(str(error.value)) < 1000


def test_a_folder_with_other_files_is_refused(workdir):
    workdir.mkdir()
    (workdir / "thesis.tex").touch()
    with pytest.raises(InputError, match="holds files but no run"):
        start(workdir)
    assert [p.name for p in workdir.iterdir()] == ["thesis.tex"]


def test_a_file_is_refused(workdir):
    workdir.touch()
    with pytest.raises(InputError, match="is a file; give a folder"):
        start(workdir)


def test_a_folder_that_cannot_be_written_is_refused():
    with pytest.raises(InputError, match="--workdir /proc/run cannot be written"):
        start(Path("/proc/run"))


def test_two_writers_are_refused(workdir):
    with (
        claim(workdir, CONFIG, DATASET),
        pytest.raises(RunError, match=f"process {os.getpid()} trains in"),
        claim(workdir, CONFIG, DATASET),
    ):
        pass
    start(workdir)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "holds no run: there is no config.json; train one with"),
        ("{", "config.json cannot be read"),
        ("[]", "config.json cannot be read"),
        ('{"epochs": 5}', "lacks the fields"),
        ('{"schema": 2, "epochs": 5}', "lacks the fields"),
        *((text, "config.json cannot be read") for text in HOSTILE),
    ],
)
def test_an_unreadable_config_is_an_error(tmp_path, text, message):
    if text is not None:
        (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=message) as error:
        read_config(tmp_path)
    assert len(str(error.value)) < 1000


def test_a_folder_of_runs_names_them(tmp_path):
    for name in ("a", "b c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    message = "holds no run: there is no config.json; it has folders of runs: a, b c; give one"
    with pytest.raises(InputError, match=message):
        read_config(tmp_path)


def test_the_advice_for_a_folder_without_a_run_can_be_pasted(tmp_path):
    with pytest.raises(InputError, match=r"python run\.py train --workdir '.*/my run'$"):
        read_config(tmp_path / "my run")


def test_a_folder_of_other_files_is_not_recommended_for_training(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"there is no config\.json; give the folder of a run$"):
        read_config(tmp_path)


def test_a_run_can_be_renamed_but_not_while_it_trains(workdir):
    assert rename_old(workdir) is None
    with claim(workdir, CONFIG, DATASET), pytest.raises(RunError, match="trains in"):
        rename_old(workdir)
    (workdir.with_name("run-old-1")).mkdir()
    assert rename_old(workdir) == workdir.with_name("run-old-2")
    assert not workdir.exists()


def test_a_run_remembers_that_it_has_saved(workdir):
    start(workdir)
    assert not has_saved(workdir)
    mark_saved(workdir)
    assert has_saved(workdir)


@pytest.mark.parametrize("what", ["checkpoints/8/flaxae_sha256.json", "metrics.jsonl"])
def test_a_run_of_an_earlier_version_has_saved(workdir, what):
    start(workdir)
    (workdir / what).parent.mkdir(parents=True, exist_ok=True)
    (workdir / what).write_text("{}")
    assert has_saved(workdir)


def test_a_linked_run_starts_anew_in_a_folder_that_the_link_names(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    start(link)
    assert rename_old(link) == tmp_path / "real-old-1"
    start(link)
    assert (real / "config.json").exists()


def test_what_a_kill_left_of_the_first_files_does_not_block_the_folder(workdir):
    workdir.mkdir()
    for name in (".lock", ".config.json.123", ".metrics.jsonl.9"):
        (workdir / name).touch()
    start(workdir)
    assert sorted(p.name for p in workdir.iterdir()) == [".lock", "config.json", "dataset.json"]


def test_a_lock_that_is_a_link_is_made_anew(workdir):
    workdir.mkdir()
    (workdir / ".lock").symlink_to(".lock")
    start(workdir)
    assert (workdir / ".lock").is_file()
    assert not (workdir / ".lock").is_symlink()


def test_a_lock_that_is_a_folder_is_made_anew_if_it_is_empty(workdir):
    (workdir / ".lock").mkdir(parents=True)
    start(workdir)
    assert (workdir / ".lock").is_file()


def test_a_lock_that_is_a_folder_with_files_is_kept(workdir):
    (workdir / ".lock" / "mine").mkdir(parents=True)
    with pytest.raises(InputError, match=r"not empty.*\.lock"):
        start(workdir)
    assert (workdir / ".lock" / "mine").is_dir()
