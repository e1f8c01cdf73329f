"""`luperson plan`: what a compiled program moves, and what is said of a machine."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from PIL import Image

from data_pipeline.errors import InputError
from data_pipeline.read import picture_sizes
from luperson_jax import cli, sharding
from luperson_jax.commands import plan
from luperson_jax.measure import chips, traffic
from luperson_jax.run import planning

PROGRAM = """\
HloModule jit_step

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%body (state: (s32[], bf16[4,8])) -> (s32[], bf16[4,8]) {
  %state = (s32[], bf16[4,8]{1,0:T(8,128)(2,1)}) parameter(0)
  %part = bf16[4,8]{1,0:T(8,128)(2,1)} get-tuple-element(%state), index=1
  %half = bf16[4,8]{1,0} fusion(%part), kind=kLoop, calls=%add
  ROOT %next = (s32[], bf16[4,8]{1,0}) tuple(%state, %half)
}

ENTRY %main (x: f32[16], y: u8[2,2,3]) -> f32[16] {
  %x = f32[16]{0} parameter(0)
  %y = u8[2,2,3]{2,1,0} parameter(1)
  %both = (f32[16]{0}, pred[4]{0}) fusion(%x, %y), kind=kLoop, calls=%add
  %one = f32[16]{0} get-tuple-element(%both), index=0
  %start = (f32[16]{0}, f32[16]{0}) all-reduce-start(%one), to_apply=%add
  %done = f32[16]{0} all-reduce-done(%start)
  %all = u8[4,2,3]{2,1,0} all-gather(%y), dimensions={0}
  %loop = (s32[], bf16[4,8]{1,0}) while(%both), condition=%add, body=%body, \
backend_config={"known_trip_count":{"n":"5"}}
  ROOT %copied = f32[16]{0} copy(%done)
}
"""


def test_bytes_of_every_instruction_count_and_loops_as_often_as_they_run():
    found = traffic.of_text(PROGRAM)
    assert found.collectives == {"all-gather": (1, 24), "all-reduce": (1, 64)}
    both = 64 + 4 + 64 + 12
    start, gathered, loop, copied = 128 + 64, 24 + 12, 5 * (64 + 64), 64 + 64
    assert found.memory == both + start + gathered + loop + copied
    rings = 2 * 64 * 3 / 4 + 24 * 3 / 4
    assert found.seconds_on_links(4, 10.0) == pytest.approx(rings / 10)


def test_of_an_operand_that_is_only_sliced_the_slices_count():
    program = """\
HloModule jit_step

%middle (a: bf16[8,64], b: bf16[8,64]) -> f32[8,1] {
  %a = bf16[8,64]{1,0} parameter(0)
  %b = bf16[8,64]{1,0} parameter(1)
  %wide = f32[8,64]{1,0} convert(%a)
  %one = f32[8,1]{1,0} slice(%wide), slice={[0:8], [31:32]}
  %two = bf16[8,1]{1,0} slice(%b), slice={[0:8], [31:32]}
  %other = bf16[8,64]{1,0} negate(%b)
  ROOT %sum = f32[8,1]{1,0} add(%one, %two)
}

ENTRY %main (x: bf16[8,64], y: bf16[8,64]) -> f32[8,1] {
  %x = bf16[8,64]{1,0} parameter(0)
  %y = bf16[8,64]{1,0} parameter(1)
  ROOT %got = f32[8,1]{1,0} fusion(%x, %y), kind=kLoop, calls=%middle
}
"""
    assert traffic.of_text(program).memory == 8 * 4 + 8 * 4 + 8 * 64 * 2


def test_the_gradient_of_two_devices_is_one_sum():
    mesh = sharding.make_mesh(jax.devices()[:2])
    whole = NamedSharding(mesh, PartitionSpec())
    cut = NamedSharding(mesh, PartitionSpec("data"))

    def loss(weights, batch):
        return jnp.mean((batch @ weights) ** 2)

    step = jax.jit(jax.grad(loss), in_shardings=(whole, cut), out_shardings=whole)
    shapes = (
        jax.ShapeDtypeStruct((32, 16), jnp.float32),
        jax.ShapeDtypeStruct((8, 32), jnp.float32),
    )
    found = traffic.of_text(step.lower(*shapes).compile().as_text())
    assert found.collectives["all-reduce"][1] == 32 * 16 * 4
    assert found.memory > 2 * 32 * 16 * 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("h10:8", "no chip is called 'h10'; did you mean 'h100'"),
        ("h100:2x2", "GPUs are a number"),
        ("v5e:0", "expected a number of chips"),
        ("here:x", "expected a number of chips"),
    ],
)
def test_machines_that_are_none(text, words):
    with pytest.raises(InputError, match=words):
        chips.machine(text)


def test_machines_in_the_words_of_xla():
    assert chips.machine("v5e:4x4").topology == {"platform": "tpu", "topology_name": "v5e:4x4"}
    assert chips.machine("v5e:4x4").size == 16
    card = chips.machine("h100:8").topology
    assert card["topology"] == "1x1x8"
    assert "memory_bandwidth: 3352320000000" in card["target_config"]


def test_drawn_tracklets_are_of_one_person_and_camera():
    table = planning.drawn_table(1000, people=7, cameras=3, tracklets=84)
    assert len(np.unique(table.track)) == 84
    both = np.stack([table.track, table.pid, table.camera])
    assert len(np.unique(both, axis=1).T) == 84
    assert np.unique(both[1:], axis=1).shape == (2, 21)
    few = planning.drawn_table(100, people=7, cameras=3)
    assert len(np.unique(few.track)) == 21
    many = planning.drawn_table(1000, people=7, cameras=3)
    assert len(np.unique(many.track)) == 125


def test_pictures_of_the_folder_that_one_stands_in_are_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("0.jpg", "1.jpg"):
        Image.new("RGB", (350, 700)).save(tmp_path / name)
    table = planning.drawn_table(2, people=1, cameras=1)
    assert len(picture_sizes.sample(table.media, 2)) == 0


SMALL = ["model.width=4", "data.size=32,16", "data.batch_size=32"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--json", "."], "--json is ., which is a folder"),
        (["data.dataset=nosuch"], "there is no data set 'nosuch'"),
        (["--on", "here:99999"], "is not divisible by the 99999 devices"),
        (["--images", "20"], "--images=20"),
        (["--images", "99999999999999"], "does not fit into the memory"),
        (["--tracklets", "-1"], "--tracklets 0"),
    ],
)
def test_wrong_plans_are_told_in_one_message(capsys, more, words):
    asked = ["plan", "--config", "small:bot", *SMALL, "model.bn_group_size=0", *more]
    assert cli.main(asked) == 2
    assert words in capsys.readouterr().err


def test_a_plan_for_the_devices_of_a_cpu(tmp_path, capsys):
    small = [*SMALL, "data.canvas=0,0"]
    small += ["augment.recipe=test", "task.queue_size=64", "train.steps_per_epoch=7"]
    out = tmp_path / "plan.json"
    asked = ["plan", "--config", "small:pretrain", "--on", "here:2", "--json", str(out), *small]
    assert cli.main(asked) == 0
    figures = json.loads(out.read_text())
    assert figures["devices"] == 2
    assert figures["memory"] >= figures["arguments"] + figures["temporary"] > 0
    assert figures["collectives"]["all-reduce"][1] > 1000
    assert figures["fits"] is None
    assert figures["canvas"] == [32, 16]
    assert figures["steps"] == 7 * figures["epochs"] > 0
    said = capsys.readouterr().out
    assert "GiB on each of 2" in said
    assert "canvas of 32x16" in said
    assert cli.main([*asked, "data.batch_size=33"]) == 2
    assert "data.batch_size=33" in capsys.readouterr().err


ANSWER = {
    **{"devices": 8, "batch_size": 256, "epochs": 5, "steps": 40_000_000, "canvas": [64, 32]},
    **{"flops": 8e12, "arguments": 2**30, "temporary": 2**33},
    **{"memory": 9 * 2**30, "moved": 40e9, "collectives": {"all-reduce": [1, 100e6]}},
    "compile_seconds": 60.0,
}


@pytest.mark.parametrize(
    ("gib", "status", "words"), [(9, 0, "bound by memory"), (90, 1, "NOT FIT")]
)
def test_what_is_said_of_a_chip(monkeypatch, capsys, gib, status, words):
    monkeypatch.setattr(plan, "_check_plugin", lambda machine: None)
    answer = {**ANSWER, "memory": gib * 2**30}
    monkeypatch.setattr(plan, "_answer", lambda request, machine: answer)
    asked = ["plan", "--config", "small:pretrain", "--on", "h100:8"]
    assert cli.main(asked) == status
    said = capsys.readouterr().out
    assert words in said
    # 1 TFLOP at 989 TFLOP/s, 40 GB at 3.35 TB/s, 7/4 of 100 MB at 450 GB/s
    assert "arithmetic 1.0 ms, memory 11.9 ms, links 0.4 ms" in said
    rate = 256 / (40e9 / 3.35232e12)
    assert f"{rate:,.0f} images/s" in said
    assert "5 epochs, 40,000,000 steps: 5 days, 12:34:" in said


def test_a_compiler_that_is_missing_is_named(monkeypatch, capsys):
    monkeypatch.setattr(chips.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["plan", "--config", "small:pretrain", "--on", "v5e:2x2"]) == 2
    assert "pip install 'luperson_jax[plan-tpu]'" in capsys.readouterr().err
