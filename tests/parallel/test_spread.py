"""One run, the same on any number of ranks and by any strategy: losses and weights."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from strategies import STEPS, STRATEGIES, alone, config, parallel, spread_over

from scalept_lab.config import Curriculum, ModelConfig, Parallel, TrainConfig
from scalept_lab.errors import InputError
from scalept_lab.parallel import spread
from scalept_lab.train.trials import Trial, largest_difference, trial

# Other heads, positions, MLP, context; it works in parts, and a batch of 7 divides into nothing either.
LEARNED = ModelConfig(width=48, depth=4, heads=8, context=16, mlp_ratio=2, positions="learned")


def assert_same(given: TrainConfig, spread: Trial) -> None:
    one = alone(given)
    loss, weights = largest_difference(one, spread)  # raises where a parameter is missing
    assert one.losses[-1] < one.losses[0] - 0.01, "a run that learns nothing proves nothing"
    assert loss < 1e-5 and weights < 1e-4


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("name", STRATEGIES)
def test_many_ranks_equal_one_process(tiny_corpus, name, ranks):
    given = config(tiny_corpus)
    assert_same(given, spread_over(ranks, name, given))


@pytest.mark.parametrize("name", ["ddp", "zero1", "fsdp", "tensor", "1f1b"])
def test_another_model_in_parts_with_recomputation(tiny_corpus, name):
    whole = config(tiny_corpus, LEARNED, batch=7)
    parts = 1 if name == "1f1b" else 3
    given = whole.replace(accumulate=parts, recompute=True, parallel=parallel(name))
    assert_same(whole, trial(given, 2, STEPS))


def test_bfloat16_autocast_on_two_ranks_stays_near_one(tiny_corpus):
    """16 bits round differently when sums are cut differently: near, not equal."""
    given = config(tiny_corpus, dtype="bfloat16")
    one = alone(given)
    for name in ("fsdp", "tensor", "1f1b"):
        loss, _ = largest_difference(one, trial(given.replace(parallel=parallel(name)), 2, STEPS))
        assert loss < 0.02


def test_a_seed_builds_the_same_model_on_every_rank(tiny_corpus):
    other = trial(config(tiny_corpus, seed=1, parallel=parallel("ddp")), 2, 2)
    assert largest_difference(trial(config(tiny_corpus), 1, 2), other)[1] > 0.1


# --- what is refused


@pytest.mark.parametrize(
    ("changes", "ranks", "says"),
    [
        ({"batch": 3}, 4, "3 sequences cannot feed 4 ranks"),
        (
            {"batch": 5, "accumulate": 3},
            2,
            r"cannot feed 2 ranks with 3 part\(s\) each; take a batch of at least 6",
        ),
        (
            {"parallel": Parallel(strategy="tensor")},
            3,
            "heads: 4 cannot be split over 3 tensor-parallel ranks",
        ),
        ({"parallel": Parallel(strategy="fsdp_tensor")}, 3, "parallel.tensor: 2 does not divide the 3 ranks"),
        (
            {"parallel": Parallel(strategy="hsdp")},
            3,
            "parallel.shard: 2 does not divide the 3 ranks; start a multiple",
        ),
        ({"parallel": Parallel(strategy="pipeline")}, 3, "4 blocks cannot be divided into 3 equal stages"),
        ({"parallel": parallel("interleaved")}, 4, "4 blocks cannot be divided into 8 equal stages"),
        ({"parallel": Parallel(strategy="pipeline", microbatches=9)}, 2, "cannot be cut into 9 microbatches"),
        ({"parallel": Parallel(strategy="pipeline", microbatches=2)}, 4, "at least one per rank"),
        (
            {"parallel": Parallel(strategy="pipeline"), "accumulate": 2},
            2,
            "a pipeline cuts the batch by itself",
        ),
        (
            {"parallel": Parallel(strategy="pipeline"), "curriculum": Curriculum()},
            2,
            "curriculum: a pipeline passes batches of one shape",
        ),
        ({"parallel": Parallel(strategy="sequence"), "model": LEARNED}, 2, "expected rotary positions"),
        (
            {"parallel": Parallel(strategy="tensor"), "model": LEARNED.replace(kv_heads=2)},
            2,
            "kv_heads: 8 heads that share 2 of keys and values are not split over ranks",
        ),
        ({"parallel": Parallel(strategy="fsdp"), "dtype": "float16"}, 2, "take bfloat16"),
        ({"parallel": Parallel(strategy="fsdp"), "optimizer": "muon"}, 2, "muon needs whole matrices"),
    ],
)
def test_a_run_that_cannot_be_shared_is_refused_before_it_starts(tiny_corpus, changes, ranks, says):
    given = config(tiny_corpus).replace(**changes)
    with pytest.raises(InputError, match=says) as caught:
        trial(given, ranks, 2)
    assert "\n" not in str(caught.value)
    spread.check(given, 1)  # alone, every strategy runs


@pytest.mark.parametrize(
    ("changes", "ranks"),
    [
        ({"batch": 6, "accumulate": 3}, 2),
        ({"batch": 4, "accumulate": 2, "parallel": Parallel(strategy="fsdp_tensor", tensor=2)}, 4),
        ({"batch": 4, "parallel": Parallel(strategy="pipeline", schedule="1f1b", microbatches=4)}, 4),
        ({"batch": 4, "parallel": Parallel(strategy="pipeline", schedule="gpipe", microbatches=1)}, 4),
        ({"parallel": Parallel(strategy="pipeline"), "curriculum": Curriculum(order="easy")}, 2),
        ({"parallel": Parallel(strategy="sequence")}, 4),
        ({"parallel": Parallel(strategy="tensor"), "batch": 1}, 4),
        ({"dtype": "float16", "optimizer": "muon"}, 2),
    ],
)
def test_what_just_fits_may_start(changes, ranks):
    spread.check(config("words").replace(**changes), ranks)


def test_shares_of_a_batch_and_rows_of_heads_by_hand():
    rows = torch.arange(5)
    assert [spread.Ranks(data=2, data_rank=rank).share(rows).tolist() for rank in (0, 1)] == [
        [0, 1, 2],
        [3, 4],
    ]
    assert spread.ALONE.share(rows) is rows
    # Two heads of one row: q0 q1, k0 k1, v0 v1. A rank gets q, k and v of its own head.
    weight = torch.arange(6.0)[:, None].repeat(1, 2)
    spread._reorder_heads(weight, 2)
    assert weight[:, 0].tolist() == [0, 2, 4, 1, 3, 5]
    spread._reorder_heads(weight, 2, back=True)
    assert weight[:, 1].tolist() == [0, 1, 2, 3, 4, 5]


def test_an_unknown_strategy_is_refused():
    with pytest.raises(InputError, match="strategy: Input should be 'ddp', 'zero1'"):
        TrainConfig().replace(parallel={"strategy": "magic"})


# --- the command line, under torchrun and alone


def scalept_train(path, ranks: int = 0, **environment) -> subprocess.CompletedProcess:
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks else []
    command = [sys.executable, *start, "-m", "scalept_lab.cli", "train", str(path), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)


@pytest.mark.parametrize(("name", "ranks"), [("ddp", 2), ("fsdp_tensor", 4), ("1f1b", 2)])
def test_scalept_train_under_torchrun_is_the_run_alone(tiny_corpus, tmp_path, name, ranks):
    given = config(tiny_corpus, eval_windows=50, parallel=parallel(name))
    path = tmp_path / "config.json"
    path.write_text(given.model_dump_json())
    done = scalept_train(path, ranks)
    assert done.returncode == 0, done.stderr[-2000:]
    spread = json.loads(done.stdout)  # one object: the first rank answers for all
    alone = json.loads(scalept_train(path).stdout)
    assert spread["L"] == pytest.approx(alone["L"], abs=1e-5) and spread["id"] == alone["id"]
    assert spread["provenance"]["world_size"] == ranks and alone["provenance"]["world_size"] == 1
    assert [seen for _, seen, _ in spread["curve"]] == [seen for _, seen, _ in alone["curve"]]


def test_bad_input_under_torchrun_is_said_once(tiny_corpus, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(config(tiny_corpus).replace(batch=1).model_dump_json())
    done = scalept_train(path, 2)
    assert done.returncode != 0 and done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("scalept train:")]
    assert lines == ["scalept train: batch: 1 sequences cannot feed 2 ranks with 1 part(s) each; "
                     "take a batch of at least 2, or fewer ranks"]  # fmt: skip


def test_a_port_in_use_is_one_line(tiny_corpus, tmp_path):
    """Started by Slurm or by hand, with the variables that torchrun would set."""
    path = tmp_path / "config.json"
    path.write_text(config(tiny_corpus).model_dump_json())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        where = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        done = scalept_train(path, **where)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(
        f"scalept train: 127.0.0.1:{port} is in use by another process"
    )
    assert "Traceback" not in done.stderr


def test_clipping_scales_to_the_norm_over_all_ranks():
    """Alone: torch's own. (Sharded: every trial above clips, at half the norm that its gradients have.)"""
    torch.manual_seed(0)
    mine, torchs = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
    for layer in (mine, torchs):
        layer.weight.grad, layer.bias.grad = torch.ones(8, 8), torch.ones(8)
    spread.ALONE.clip(mine.parameters(), 0.5)
    torch.nn.utils.clip_grad_norm_(torchs.parameters(), 0.5)
    assert torch.equal(mine.weight.grad, torchs.weight.grad)


@pytest.fixture
def launched(monkeypatch):
    """The variables of two ranks, with changes."""

    def set_them(**changes):
        two = dict(WORLD_SIZE="2", RANK="0", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT="29501")
        for name, value in {**two, **changes}.items():
            monkeypatch.setenv(name, value)

    return set_them


@pytest.mark.parametrize("empty", [{"WORLD_SIZE": ""}, {"WORLD_SIZE": " ", "RANK": "", "MASTER_PORT": ""}])
def test_an_empty_variable_counts_as_not_set(launched, empty):
    launched(**empty)
    with spread.joined():
        assert not spread.many()


@pytest.mark.parametrize(
    "name, value", [("WORLD_SIZE", "two"), ("WORLD_SIZE", "0"), ("WORLD_SIZE", "-1"), ("RANK", "first"), ("RANK", "2"),
                    ("WORLD_SIZE", "9" * 5000),
                    ("LOCAL_RANK", "1.5"), ("MASTER_PORT", "http"), ("MASTER_PORT", "70000")],
)  # fmt: skip
def test_a_variable_that_is_no_number_is_one_line(launched, name, value):
    launched(**{name: value})
    with (
        pytest.raises(InputError, match=f"^{name}: expected a whole number .*; torchrun sets it") as error,
        spread.joined(),
    ):
        pass
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["RANK", "MASTER_PORT", "MASTER_ADDR"])
def test_a_rank_without_its_address_is_one_line(launched, name):
    launched(**{name: ""})
    says = f"could not join the other ranks at .*{name} expected, but not set"
    with pytest.raises(InputError, match=says) as error, spread.joined():
        pass
    assert "\n" not in str(error.value)
