import gzip
import json
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import pytest

from flaxae.commands import train as command
from flaxae.errors import RunError
from flaxae.runs.profile import Profile, costliest_operations, origins
from flaxae.training.loop import View

VIEW = Mock(spec=View)


@jax.jit
def products(large, small):
    return large @ large, jnp.sin(small)


def call_products(profile, times):
    """Calls a product of 300 x 300 matrices beside the sine of 3 x 3 numbers."""
    large, small = jnp.ones((300, 300)), jnp.ones((3, 3))
    for _ in range(times):
        jax.block_until_ready(products(large, small))
        profile.on_call(VIEW)


def test_the_costliest_operation_comes_first(tmp_path):
    """Of nine calls, five are recorded."""
    profile = Profile(tmp_path)
    call_products(profile, 9)
    operations = costliest_operations(tmp_path, [])
    assert [op.milliseconds for op in operations] == sorted(
        (op.milliseconds for op in operations), reverse=True
    )
    assert operations[0].times == 5
    assert 0.5 < operations[0].share <= 1
    assert sum(op.share for op in operations) == pytest.approx(1)
    assert profile.operations() == operations


def test_the_record_of_a_stopped_epoch_can_be_read(tmp_path):
    profile = Profile(tmp_path)
    call_products(profile, 4)
    profile.on_end(VIEW)
    assert profile.operations()


def test_only_the_first_epoch_is_recorded(tmp_path):
    """The record ends with an epoch that has few calls, and none begins later."""
    profile = Profile(tmp_path)
    text = '%dot = f32[2]{0} dot(%x, %y), metadata={op_name="jit(products)/dot_general"}'
    task = SimpleNamespace(trainer=SimpleNamespace(programs=lambda: [text]))
    call_products(profile, 4)
    profile.on_epoch(Mock(spec=View, task=task))
    call_products(profile, 12)
    profile.on_end(VIEW)
    assert len(list(tmp_path.glob("plugins/profile/*"))) == 1
    assert {operation.times for operation in profile.operations()} == {1}


def test_too_few_calls_are_an_error(tmp_path):
    profile = Profile(tmp_path)
    profile.on_call(VIEW)
    profile.on_end(VIEW)
    with pytest.raises(RunError, match="an epoch has fewer than 3 calls"):
        profile.operations()


def test_an_older_record_is_not_that_of_this_start(tmp_path):
    call_products(Profile(tmp_path), 9)
    profile = Profile(tmp_path)
    profile.on_call(VIEW)
    profile.on_end(VIEW)
    with pytest.raises(RunError, match="an epoch has fewer than 3 calls"):
        profile.operations()


def test_a_finished_run_says_that_nothing_was_trained(tiny_config):
    options = command.Options(config=replace(tiny_config, epochs=1, profile=True), report=False)
    assert command.run(options) == 0
    with pytest.raises(RunError, match="nothing was trained, because the run has all its epochs"):
        command.run(options)


def test_train_writes_a_profile_and_prints_the_operations(tiny_config, capsys):
    command.run(command.Options(config=replace(tiny_config, epochs=1, profile=True)))
    folder = tiny_config.workdir_path() / "profile"
    (trace,) = folder.rglob("perfetto_trace.json.gz")
    assert json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    out = capsys.readouterr().out
    assert "% of all" in out
    assert "encoder/blocks_0/layers_0" in out


def test_operations_have_the_names_of_their_layers():
    path = "jit(steps)/while/body/transpose(jvp(Autoencoder))/Autoencoder.decode/decoder/head/dot"
    program = f"""
  %fusion.1 = f32[2]{{0}} fusion(%x), kind=kLoop, metadata={{op_name="{path}" stack_frame_id=1}}
  ROOT %add = f32[] add(%y, %z), metadata={{op_name="jit(steps)/add_any"}}
  %unnamed = f32[] parameter(0)"""
    assert origins(program) == {"fusion.1": "gradient of decode/decoder/head/dot", "add": "add_any"}
