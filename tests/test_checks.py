import subprocess
import sys

import numpy as np
import pytest
from refusals import one_line

from scalept_lab.checks import one_of, positive, shown, unknown, whole
from scalept_lab.config import ModelConfig
from scalept_lab.costs import counts, failures, footprint, layouts, planner, published, traffic

NAN = float("nan")
NO_NUMBERS = [
    NAN,
    float("inf"),
    -float("inf"),
    "x",
    "",
    True,
    np.True_,
    None,
    [2],
    np.ones(2),
    -1,
    10**5000,
    "9" * 4000,
]


def test_numbers_come_back_as_plain_ones_whatever_their_type():
    for value in (3, 3.0, np.int64(3), np.float32(3)):
        assert positive("x", value) == 3.0 and type(positive("x", value)) is float
        assert whole("x", value) == 3 and type(whole("x", value)) is int
    assert positive("x", "2.5") == 2.5
    assert positive("x", 0, zero=True) == 0 and positive("x", 1, most=1) == 1
    assert whole("x", 0, 0) == 0 and whole("x", 7, 5, 7) == 7


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: shown(value, 12))
def test_what_is_no_number_is_refused_in_one_short_line(value):
    for call in (positive, whole):
        with pytest.raises(ValueError) as error:
            call("steps", value)
        assert str(error.value).startswith("steps: expected a ") and len(str(error.value)) < 130
        assert "\n" not in str(error.value)


def test_limits_are_part_of_the_line():
    one_line(lambda: positive("x", 0), "x: expected a positive number, got 0")
    one_line(lambda: positive("x", -2, zero=True), "expected a number of at least 0, got -2")
    one_line(
        lambda: positive("x", 1.5, most=1, hint="a share"), "a positive number of at most 1, got 1.5; a share"
    )
    one_line(lambda: positive("x", 2, zero=True, most=1), "expected a number from 0 to 1, got 2")
    one_line(lambda: whole("x", 2.5), "expected a whole number of at least 1, got 2.5")
    one_line(lambda: whole("x", "2"), "got '2'")
    one_line(lambda: whole("x", 4, 0, 3, "a stage"), "expected a whole number from 0 to 3, got 4; a stage")
    one_line(lambda: whole("x", 2**63), "got 9223372036854775808")


def test_one_of_lists_what_there_is_and_guesses_what_was_meant():
    assert one_of("how", "copy", ("stack", "copy")) == "copy"
    assert one_of("how", 2, {1: "a", 2: "b"}) == 2
    one_line(
        lambda: one_of("optimizer", "adam", ("sgd", "adamw"), "see `optim`"),
        "optimizer: expected one of sgd, adamw, got 'adam' (did you mean adamw?); see `optim`",
    )
    for value in (NAN, None, [], {}, np.array(["sgd", "x"]), "a\nb", "z" * 10**6):
        one_line(
            lambda value=value: one_of("optimizer", value, ("sgd", "adamw")),
            "optimizer: expected one of sgd, adamw",
        )
    assert str(unknown("sweep", "a", [])) == "sweep: expected one of none, got 'a'"


def test_long_and_broken_values_are_shown_in_short():
    class Broken:
        def __repr__(self):
            raise RuntimeError("no")

    assert shown("ab\ncd") == r"'ab\ncd'" and shown(np.ones((2, 1))) == "array([[1.], [1.]])"
    assert shown("z" * 100, most=5) == "'zzzz…"
    assert shown(Broken()) == "a value of type Broken"


LAYOUT, SMALL = layouts.Layout(), ModelConfig()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: counts.memory(1e9, gpus=x), "gpus"),
        (lambda x: counts.memory(1e9, zero=x), "zero"),
        (lambda x: counts.memory(1e9, precision=x), "precision"),
        (lambda x: counts.seconds(1e9, 1e9, utilisation=x), "utilisation"),
        (lambda x: counts.seconds(1e9, 1e9, gpus=x), "gpus"),
        (lambda x: counts.price(x, 2.0), "run_seconds"),
        (lambda x: counts.price(3600, 2.0, gpus=x), "gpus"),
        (lambda x: counts.activation_bytes(64, x, 32, 2), "batch"),
        (lambda x: counts.activation_bytes(64, 4, 32, 2, tensor_parallel=x), "tensor_parallel"),
        (lambda x: counts.shape({"width": x, "depth": 2}), "width"),
        (lambda x: traffic.wire_bytes("all_reduce", x, 2), "payload"),
        (lambda x: traffic.wire_bytes(x, 10, 2), "kind"),
        (lambda x: traffic.data_parallel(x, 2), "params"),
        (lambda x: traffic.data_parallel(10, 2, buckets=x), "buckets"),
        (lambda x: traffic.sharded_optimizer(10, 2, tensors=x), "tensors"),
        (lambda x: traffic.sharded([x], 2), "units"),
        (lambda x: traffic.sharded([8], 2, root=x), "root"),
        (lambda x: traffic.sharded([8], 2, zero=x), "zero"),
        (lambda x: traffic.hybrid_sharded([8], 2, x), "copies"),
        (lambda x: traffic.tensor_parallel(4, 8, x, 2, 2), "width"),
        (lambda x: traffic.pipeline(x, 8, 16, 2, 4), "batch"),
        (lambda x: traffic.bubble(4, x), "microbatches"),
        (lambda x: footprint.activations(SMALL, x), "batch"),
        (lambda x: footprint.activations(SMALL, 4, x), "dtype"),
        (lambda x: footprint.states(SMALL, x), "optimizer"),
        (lambda x: layouts.Cluster(x), "gpus"),
        (lambda x: layouts.Cluster(8, efficiency=x), "efficiency"),
        (lambda x: layouts.Layout(data=x).check(layouts.model("llama-7b"), 1, 8), "data"),
        (lambda x: layouts.Layout(recompute=x).check(layouts.model("llama-7b"), 1, 8), "recompute"),
        (lambda x: planner.plan("llama-7b", layouts.Cluster(8), x), "batch"),
        (lambda x: planner.estimate("llama-7b", LAYOUT, layouts.Cluster(1), 8, x), "precision"),
        (lambda x: published.rows(x), "source"),
        (lambda x: failures.machine_mtbf(1e6, x), "gpus"),
        (lambda x: failures.goodput(x, 5, 1e4), "interval"),
        (lambda x: failures.goodput(60, 5, 1e4, x), "restart"),
        (lambda x: failures.simulate(60, 5, 1e4, 10, x), "intervals"),
        (lambda x: failures.simulate(60, 5, x, 10, 3), "mtbf"),
    ],
)  # fmt: skip
def test_what_is_counted_at_scale_refuses_no_numbers_in_one_line(call, words):
    for value in (NAN, float("inf"), "x", -1, True):
        one_line(lambda value=value: call(value), f"{words}: expected ")


@pytest.mark.parametrize(
    "arguments", [["memory", "--params", "1e9", "--gpus", "nan"], ["plan", "--flops", "nan"]]
)
def test_the_command_line_says_so_too(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "scalept_lab.cli", *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
