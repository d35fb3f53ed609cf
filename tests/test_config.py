"""What a run is: validated, frozen, named by its hash; every fault in one line."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from scalept_lab.config import (
    HEAD_DIM,
    HOW_IT_RUNS,
    LATER,
    Curriculum,
    Delayed,
    Distillation,
    Growth,
    Live,
    ModelConfig,
    Parallel,
    TrainConfig,
    parse,
    recommend,
    round_width,
    run_id,
)
from scalept_lab.errors import InputError
from scalept_lab.runs import data_folder, recorded


def line(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 400
    return text


# --- the model


@pytest.mark.parametrize("width", [HEAD_DIM * k for k in (1, 2, 5, 8, 32)])
def test_one_dial_sets_the_shape(width):
    model = ModelConfig.family(width)
    assert model.width == width and model.width == model.heads * HEAD_DIM
    assert model.depth >= 2


@pytest.mark.parametrize(
    ("width", "heads", "depth", "params"),
    [
        (8, 1, 2, 1_536),
        (16, 2, 2, 6_144),
        (96, 12, 2, 221_184),
        (104, 13, 2, 259_584),
        (192, 24, 3, 1_327_104),
    ],
)
def test_members_of_the_family_by_hand(width, heads, depth, params):
    """Heads of 8, a block for every 64 channels, 12 d² parameters in each."""
    model = ModelConfig.family(width)
    assert (model.heads, model.depth, 12 * depth * width**2) == (heads, depth, params)


def test_the_family_grows_with_its_dial():
    depths = [ModelConfig.family(width).depth for width in range(HEAD_DIM, 513, HEAD_DIM)]
    assert depths == sorted(depths)
    assert len({ModelConfig.family(width).width for width in (16, 32, 48)}) == 3


def test_changes_override_the_family():
    model = ModelConfig.family(64, depth=7, context=32, positions="learned")
    assert (model.depth, model.context, model.positions) == (7, 32, "learned")


@pytest.mark.parametrize("width", [HEAD_DIM + 1, 3, 0, -HEAD_DIM])
def test_a_width_outside_the_family_is_refused(width):
    with pytest.raises(InputError) as error:
        ModelConfig.family(width)
    assert "width" in line(error)


def test_a_refused_width_comes_with_one_that_is_not():
    with pytest.raises(InputError, match=rf"got {HEAD_DIM * 4 + 1}; take {HEAD_DIM * 4}"):
        ModelConfig.family(HEAD_DIM * 4 + 1)


@pytest.mark.parametrize("width", [0.1, 1, 17, 30.0, 1000.4])
def test_round_width_lands_in_the_family(width):
    rounded = round_width(width)
    assert rounded >= HEAD_DIM and rounded % HEAD_DIM == 0
    assert abs(rounded - width) <= max(HEAD_DIM / 2, HEAD_DIM - width)
    ModelConfig.family(rounded)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"width": 33, "heads": 2}, "not a multiple of heads"),
        ({"width": 6, "heads": 2}, "even head size"),
        ({"vocab_size": 1}, "vocab_size"),
        ({"depth": 0}, "depth"),
        ({"context": 1}, "context"),
        ({"width": "wide"}, "width"),
        ({"positions": "absolute"}, "positions"),
        (
            {"width": 32, "heads": 4, "kv_heads": 3},
            "heads 4 cannot share 3 kv_heads equally; take a divisor of 4",
        ),
        ({"kv_heads": 0}, "kv_heads"),
        ({"heads": 2, "kv_heads": 4}, "cannot share 4"),
        ({"colour": "red"}, "colour"),
        ({"width": float("nan")}, "width"),
    ],
)
def test_a_model_that_cannot_be_is_told_in_one_line(fields, says):
    with pytest.raises(InputError, match=says) as error:
        parse(ModelConfig, fields)
    assert line(error).startswith("ModelConfig: ")


def test_learned_positions_allow_odd_heads():
    assert parse(ModelConfig, {"width": 6, "heads": 2, "positions": "learned"}).width == 6


# --- the run


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"tokens": 0}, "tokens"),
        ({"tokens": -5}, "tokens"),
        ({"tokens": "many"}, "tokens: .*'many'"),
        ({"tokens": 1.5}, "tokens"),
        ({"batch": 0}, "batch"),
        ({"lr": 0}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"lr": float("inf")}, "lr"),
        ({"clip": float("inf")}, "clip"),
        ({"warmup": 1.0}, "warmup"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"corpus": ""}, "corpus"),
        ({"corpus": None}, "corpus"),
        ({"schedule": "staircase"}, "schedule"),
        ({"model": {"width": 33}}, "model: width 33"),
        ({"model": 3}, "model"),
        ({"learning_rate": 0.1}, "learning_rate"),
        ({"a\nb": 1}, "a b"),
        ({"tokens": 0, "batch": 0}, r"and 1 more"),
        ({"corpus": ["x"] * 10_000}, "corpus"),
        ([1, 2], "dictionary"),
        (None, "dictionary"),
        ("text", "dictionary"),
    ],
)
def test_a_run_that_cannot_be_is_told_in_one_line(fields, says):
    with pytest.raises(InputError, match=says) as error:
        parse(TrainConfig, fields)
    assert line(error).startswith("TrainConfig: ")


def test_a_config_is_frozen():
    with pytest.raises(ValidationError):
        TrainConfig().tokens = 3  # type: ignore[misc]


def test_replace_validates_and_leaves_the_original():
    config = TrainConfig()
    assert config.replace(seed=4).seed == 4 and config.seed == 0
    with pytest.raises(InputError, match="lr"):
        config.replace(lr=-1)
    with pytest.raises(InputError, match="colour"):
        config.replace(colour="red")
    assert config.replace(model=ModelConfig.family(64)).model.width == 64


@pytest.mark.parametrize(("tokens", "steps"), [(1, 1), (63, 1), (640, 10), (650, 10), (700, 11)])
def test_steps_follow_the_token_budget(tokens, steps):
    config = TrainConfig(model=ModelConfig(context=16), batch=4, tokens=tokens)
    assert config.tokens_per_step == 64
    assert config.steps == steps


# --- the recipe, and limits


@pytest.mark.parametrize(("tokens", "sequences"), [(1e5, 4), (1_499_999, 4), (1.5e6, 8), (4e6, 8)])
def test_the_recipe_of_a_width_and_a_number_of_tokens(tokens, sequences):
    found = recommend(48, tokens, context=32, vocab_size=300)
    assert found.model == ModelConfig.family(48, context=32, vocab_size=300)
    assert (found.tokens, found.batch, found.lr) == (round(tokens), sequences, 0.01)


def test_single_fields_of_the_recipe_can_be_changed():
    odd = ModelConfig(width=20, heads=2, context=8)
    found = recommend(48, 1000.4, model=odd, batch=2, lr=0.5, seed=3)
    assert (found.model, found.tokens, found.batch, found.lr, found.seed) == (odd, 1000, 2, 0.5, 3)
    assert recommend(16, 256).tokens == 256  # 4 sequences of 64: one step
    for arguments, says in (
        ((16, 255), "at least one step of 4 × 64, got 255; ask for more"),
        ((17, 1e6), "width: expected a multiple of 8, got 17; take 16"),
        ((16, -1), "tokens: expected a positive number"),
    ):
        with pytest.raises(InputError, match=says) as error:
            recommend(*arguments)
        line(error)


@pytest.mark.parametrize(
    ("cls", "most", "too_much"),
    [
        (
            ModelConfig,
            {"width": 4, "depth": 1, "context": 2, "vocab_size": 2, "mlp_ratio": 1},
            {"width": 3, "heads": 1},
        ),
        (ModelConfig, {"heads": 1}, {"heads": 0}),
        (ModelConfig, {"mlp_ratio": 1}, {"mlp_ratio": 0}),
        (Parallel, {"tensor": 1, "microbatches": 1}, {"tensor": 0}),
        (Parallel, {}, {"microbatches": 0}),
        (Curriculum, {"start": 1, "until": 0.99}, {"start": 1.01}),
        (Curriculum, {"start": 0.001}, {"start": 0}),
        (Curriculum, {"until": 0.01}, {"until": 0}),
        (Curriculum, {"power": 0.1}, {"until": 1}),
        (Curriculum, {}, {"power": 0}),
        (Delayed, {"workers": 1, "every": 1, "outer_momentum": 0}, {"workers": 0}),
        (Delayed, {}, {"every": 0}),
        (Delayed, {"outer_momentum": 0.99}, {"outer_momentum": 1}),
        (Delayed, {}, {"outer_lr": 0}),
        (
            TrainConfig,
            {"warmup": 0, "weight_decay": 0, "eval_windows": 1, "unique_tokens": 1},
            {"weight_decay": -0.1},
        ),
        (TrainConfig, {"batch": 4, "accumulate": 4}, {"batch": 4, "accumulate": 5}),
        (TrainConfig, {"seed": 2**63 - 1}, {"beta2": 1}),
        (TrainConfig, {}, {"beta2": 0}),
        (TrainConfig, {}, {"eval_windows": 0}),
        (TrainConfig, {}, {"unique_tokens": 0}),
        (TrainConfig, {}, {"clip": 0}),
        (TrainConfig, {}, {"accumulate": 0}),
    ],
)
def test_limits_are_where_they_are_said_to_be(cls, most, too_much):
    assert parse(cls, most)
    with pytest.raises(InputError) as error:
        parse(cls, too_much)
    assert "more)" not in line(error)


def test_a_teacher_has_a_fingerprint_and_a_weight_and_a_growth_a_share():
    teacher = "0123456789abcdef"
    assert parse(Distillation, {"teacher": teacher, "weight": 1}).temperature == 1
    for wrong in ({"teacher": teacher.upper()}, {"teacher": teacher[1:]}, {"teacher": teacher, "weight": 0},
                  {"teacher": teacher, "weight": 1.1}, {"teacher": teacher, "temperature": 0}):  # fmt: skip
        with pytest.raises(InputError, match="Distillation"):
            parse(Distillation, wrong)
    start = ModelConfig().model_dump()
    assert parse(Growth, {"start": start, "flops": 1, "share": 0}).how is None
    for wrong in ({"flops": 0}, {"flops": 1, "share": 1}, {"flops": 1, "share": -0.1}):
        with pytest.raises(InputError, match="Growth"):
            parse(Growth, {"start": start, **wrong})


# --- the name of a run


def test_the_same_config_has_the_same_name_however_it_was_written():
    one = TrainConfig(tokens=500_000, lr=1)
    assert one.id() == parse(TrainConfig, {"lr": 1.0, "tokens": 5e5}).id()
    assert one.id() == parse(TrainConfig, json.loads(one.model_dump_json())).id()
    assert one.id() == parse(TrainConfig, {"tokens": np.int64(500_000), "lr": np.float64(1)}).id()
    assert len(one.id()) == 16 and int(one.id(), 16) >= 0


def test_the_name_of_the_plain_run_is_what_it_always_was():
    """Sixteen digits of the SHA-256 of its JSON, keys sorted, without the fields that came later."""
    assert TrainConfig().id() == "673a9395f3fe3b14"
    assert TrainConfig(growth=None, accumulate=1, recompute=False).id() == TrainConfig().id()
    assert run_id({"b": 1, "a": [2.5, None]}) == hashlib.sha256(b'{"a":[2.5,null],"b":1}').hexdigest()[:16]


def test_every_field_counts_in_the_name():
    config = TrainConfig()
    changed = {
        "model": ModelConfig.family(64), "corpus": "language", "tokens": 1, "unique_tokens": 5, "batch": 1, "lr": 0.5,
        "parametrization": "standard", "beta2": 0.5, "weight_decay": 0.1, "schedule": "cosine", "warmup": 0.5, "clip": 2.0,
        "seed": 9, "eval_windows": 1, "optimizer": "sgd", "dtype": "bfloat16", "accumulate": 2, "recompute": True,
        "parallel": Parallel(), "curriculum": Curriculum(), "delayed": Delayed(),
        "distillation": Distillation(teacher="0123456789abcdef"),
        "growth": Growth(start=ModelConfig.family(16), flops=1e9),
        "live": Live(schedule="Competence(steps=9)", texts="levels"),
    }  # fmt: skip
    assert set(changed) | HOW_IT_RUNS == set(TrainConfig.model_fields)
    names = {config.replace(**{field: value}).id() for field, value in changed.items()}
    assert len(names | {config.id()}) == len(changed) + 1


def test_shared_heads_count_in_the_name_only_where_there_are_any():
    full = ModelConfig.family(32)
    same, shared = full.replace(kv_heads=4), full.replace(kv_heads=2)
    assert TrainConfig(model=same).id() == TrainConfig(model=full).id() != TrainConfig(model=shared).id()
    assert "kv_heads" not in full.model_dump() and shared.model_dump()["kv_heads"] == 2
    assert parse(ModelConfig, json.loads(shared.model_dump_json())) == shared
    assert (full.kv_width, same.kv_width, shared.kv_width) == (32, 32, 16)


def test_a_compiled_run_is_the_same_run():
    assert TrainConfig(compile=True).id() == TrainConfig().id()


def test_fields_that_came_later_are_left_out_of_a_name_at_their_defaults_alone():
    assert {name: TrainConfig.model_fields[name].default for name in LATER} == LATER
    teacher = Distillation(teacher="0123456789abcdef")
    names = [TrainConfig(distillation=plan).id() for plan in (
        teacher, teacher.replace(weight=0.25), teacher.replace(temperature=2.0), teacher.replace(teacher="f" * 16),
    )]  # fmt: skip
    assert len(set(names)) == 4


SWEEPS = sorted(path.stem for path in (data_folder() / "records").glob("*.jsonl"))


@pytest.mark.parametrize("name", SWEEPS)
def test_every_recorded_run_has_the_name_of_its_config(name):
    """Fields that were added after the runs were recorded must not rename them; and nothing but its config names a run."""
    records = recorded(name)
    assert [run_id(record.config) for record in records] == [record.id for record in records]
    assert len({record.id for record in records}) == len(records)
    plain = [record for record in records if set(record.config) <= set(TrainConfig.model_fields)]
    assert [parse(TrainConfig, record.config).id() for record in plain] == [record.id for record in plain]


def test_the_name_is_the_same_in_another_process():
    code = "from scalept_lab.config import TrainConfig; print(TrainConfig(seed=3).id())"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == TrainConfig(seed=3).id()


@pytest.mark.parametrize("field", ["tokens", "batch", "eval_windows", "unique_tokens"])
def test_a_number_that_fits_no_array_is_one_line(field):
    for value in (2**63, 10**4000):
        with pytest.raises(
            InputError, match=f"TrainConfig: {field}: expected at most 9,223,372,036,854,775,807"
        ) as error:
            parse(TrainConfig, {field: value})
        assert "\n" not in str(error.value) and len(str(error.value)) < 200
    with pytest.raises(InputError, match=r"TrainConfig: model\.width: expected at most"):
        parse(TrainConfig, {"model": {"width": 10**40}})
