import gzip
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from flaxae.commands.train import train
from flaxae.errors import RunError
from flaxae.runs.profile import costliest_operations, origins, recording


def test_the_costliest_operation_comes_first(tmp_path):
    """A product of 300 x 300 matrices beside one of 3 x 3, in calls of which five are recorded."""

    @jax.jit
    def products(large, small):
        return large @ large, jnp.sin(small)

    seen = []
    with recording(tmp_path, lambda *args: seen.append(args)) as on_call:
        for call in range(9):
            jax.block_until_ready(products(jnp.ones((300, 300)), jnp.ones((3, 3))))
            on_call(1, float(call), 0.0)
    assert [loss for _, loss, _ in seen] == list(range(9))
    operations = costliest_operations(tmp_path, [])
    assert [op.milliseconds for op in operations] == sorted(
        (op.milliseconds for op in operations), reverse=True
    )
    assert operations[0].times == 5
    assert 0.5 < operations[0].share <= 1
    assert sum(op.share for op in operations) == pytest.approx(1)


def test_a_record_cut_short_is_whole(tmp_path):
    with recording(tmp_path, lambda *args: None) as on_call:
        for _ in range(4):
            jax.block_until_ready(jnp.ones((50, 50)) @ jnp.ones((50, 50)))
            on_call(1, 0.0, 0.0)
    assert costliest_operations(tmp_path, [])


def test_too_few_calls_are_named(tmp_path):
    with recording(tmp_path, lambda *args: None) as on_call:
        on_call(1, 0.0, 0.0)
    with pytest.raises(RunError, match="an epoch has fewer than 3 calls"):
        costliest_operations(tmp_path, [])


def test_train_writes_one_and_prints_the_operations(tiny_config, capsys):
    train(replace(tiny_config, epochs=1, profile=True))
    folder = tiny_config.workdir_path() / "profile"
    (trace,) = folder.rglob("perfetto_trace.json.gz")
    assert json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    said = capsys.readouterr().out
    assert "% of all" in said
    assert "encoder/blocks_0/layers_0" in said


def test_operations_are_told_by_their_layers():
    path = "jit(steps)/while/body/transpose(jvp(Autoencoder))/Autoencoder.decode/decoder/head/dot"
    program = f"""
  %fusion.1 = f32[2]{{0}} fusion(%x), kind=kLoop, metadata={{op_name="{path}" stack_frame_id=1}}
  ROOT %add = f32[] add(%y, %z), metadata={{op_name="jit(steps)/add_any"}}
  %unnamed = f32[] parameter(0)"""
    assert origins(program) == {"fusion.1": "gradient of decode/decoder/head/dot", "add": "add_any"}
