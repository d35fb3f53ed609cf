"""Exercises of notebook 02, model scaling.

A build's solution is the source of a function of this module, and its skeleton is what stands above the body: what is
shown, what is compared with and what serves while the exercise is open are one piece of code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from scalept_lab.course.answers import build, choice, number, several
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.sets.pieces import NUMPY, skeleton, slips, source

# --- the pieces that the learner writes -----------------------------------------------------------------------------------


def parameters(m: dict) -> int:
    """All parameters of a decoder, to the last one.

    m  its sizes: depth, width, heads, kv_heads, head_size, hidden (units of the MLP), vocab;
       gated      whether the MLP has a third matrix, beside the one up, width x hidden, and the one down
       positions  rows of a table of learned positions (0: there is none)
       tied       whether the output layer is the token table once more
       norm       vectors in a norm: 1 (a gain) or 2 (a gain and a bias), each as long as the stream is wide
       biases     "none", "qkv" (on query, key and value) or "all" (on every matrix of a block)
    """
    d, q, kv = m["width"], m["heads"] * m["head_size"], m["kv_heads"] * m["head_size"]
    matrices = d * q + 2 * d * kv + q * d + (3 if m["gated"] else 2) * d * m["hidden"]
    biases = {"none": 0, "qkv": q + 2 * kv, "all": q + 2 * kv + d + m["hidden"] + d}[m["biases"]]
    block = matrices + biases + 2 * m["norm"] * d
    tables = (m["vocab"] * (1 if m["tied"] else 2) + m["positions"]) * d
    return tables + m["depth"] * block + m["norm"] * d


def training_flops(m: dict, context: int) -> dict:
    """FLOPs that training spends on each token of a window of `context` tokens, by where they are spent.

    m  the sizes of a decoder, as above
    Returns {"matrices": …, "attention": …, "output": …}: the weights of all blocks; the two products of attention, each query
    with all `context` keys, and their weights with all values; the output layer. Forward and backward.
    """
    d, q, kv = m["width"], m["heads"] * m["head_size"], m["kv_heads"] * m["head_size"]
    weights = d * q + 2 * d * kv + q * d + (3 if m["gated"] else 2) * d * m["hidden"]
    products = 2 * context * q
    forward = {
        "matrices": 2 * m["depth"] * weights,
        "attention": 2 * m["depth"] * products,
        "output": 2 * m["vocab"] * d,
    }
    return {part: 3 * flops for part, flops in forward.items()}


def rivals(sizes: list, losses: list, target: float) -> dict:
    """What two forecasters say who know no law.

    sizes   parameters of the models measured, in any order; losses  theirs
    target  parameters of the model to forecast
    Returns {"no change": the loss of the largest model measured, "straight line": the value at `target` of the straight line
    that fits all points best (least squares) when both axes are logarithmic}.
    """
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(losses, float))
    slope, height = np.polyfit(x, y, 1)
    return {
        "no change": float(losses[int(np.argmax(x))]),
        "straight line": float(np.exp(slope * np.log(target) + height)),
    }


def paired_interval(a: list, b: list) -> tuple:
    """(low, high): the 95 % interval of the mean difference a - b, paired: a[i] and b[i] share a seed.

    A pair in which either is missing (NaN) is left out. Student's t with n - 1 degrees of freedom; scipy.stats.t has it.
    """
    from scipy.stats import t

    difference = np.asarray(a, float) - np.asarray(b, float)
    difference = difference[np.isfinite(difference)]
    n = len(difference)
    half = t.ppf(0.975, n - 1) * difference.std(ddof=1) / np.sqrt(n)
    return float(difference.mean() - half), float(difference.mean() + half)


def mup_rates(tensors: dict, lr: float, base_width: int = 32) -> dict:
    """The peak rate of every tensor under µP with Adam.

    tensors  {name: shape}, as "embed.weight": (256, 64) or "blocks.0.mlp.up.weight": (256, 64), which has 64 inputs
    lr       the rate of the matrices inside a model of width `base_width`
    Returns {name: rate}.
    """
    width = tensors["embed.weight"][1]
    rates = {}
    for name in tensors:
        if name.startswith(("embed.", "position.")):
            rates[name] = 10 * lr
        elif name.startswith("head."):
            rates[name] = 3 * lr * base_width / width
        else:
            rates[name] = lr * base_width / width
    return rates


def coordinate_check(width: int, rule: Callable, batches: np.ndarray, lr: float = 0.01) -> dict:
    """How far every layer's output moves in a few steps of training.

    width    of a model of two blocks: torch.manual_seed(0), then sl.Transformer(sl.ModelConfig.family(width, depth=2))
    rule     tensors {name: shape}, lr -> {name: rate}, as above; the optimizer is torch.optim.Adam, a group for each tensor
    batches  integers (steps, sequences, length + 1): a step learns to predict batches[t, :, 1:] from batches[t, :, :-1]
    Returns {"embedding": …, "block 1": …, "block 2": …, "logits": …}: the root mean square of (output after - output before)
    on the first batch. A model has x = model.embedded(tokens), x = block(x, model.rotary(length)) for each of model.blocks, and
    model(tokens), the logits.
    """
    import torch

    import scalept_lab as sl

    def outputs(window):
        x = model.embedded(window)
        found = {"embedding": x}
        for i, block in enumerate(model.blocks, 1):
            x = block(x, model.rotary(window.shape[1]))
            found[f"block {i}"] = x
        return {**found, "logits": model(window)}

    torch.manual_seed(0)
    model = sl.Transformer(sl.ModelConfig.family(width, depth=2))
    rates = rule({name: tuple(p.shape) for name, p in model.named_parameters()}, lr)
    optimizer = torch.optim.Adam([{"params": [p], "lr": rates[name]} for name, p in model.named_parameters()])
    tokens = torch.as_tensor(np.asarray(batches), dtype=torch.long)
    with torch.no_grad():
        before = outputs(tokens[0, :, :-1])
    for batch in tokens:
        logits = model(batch[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        after = outputs(tokens[0, :, :-1])
    return {name: float((after[name] - before[name]).square().mean().sqrt()) for name in after}


_NEW: dict[str, Any] = {"gated": True, "positions": 0, "norm": 1}
SIZES: dict[str, dict[str, Any]] = {
    "gpt2": dict(depth=12, width=768, heads=12, kv_heads=12, head_size=64, hidden=3072, vocab=50257,
                 gated=False, positions=1024, norm=2, tied=True, biases="all"),
    "pythia-410m": dict(depth=24, width=1024, heads=16, kv_heads=16, head_size=64, hidden=4096, vocab=50304,
                        gated=False, positions=0, norm=2, tied=False, biases="all"),
    "llama3-8b": dict(depth=32, width=4096, heads=32, kv_heads=8, head_size=128, hidden=14336, vocab=128256,
                      tied=False, biases="none", **_NEW),
    "qwen2-0.5b": dict(depth=24, width=896, heads=14, kv_heads=2, head_size=64, hidden=4864, vocab=151936,
                       tied=True, biases="qkv", **_NEW),
    "gemma-7b": dict(depth=28, width=3072, heads=16, kv_heads=16, head_size=256, hidden=24576, vocab=256000,
                     tied=True, biases="none", **_NEW),
}  # fmt: skip
"""Decoders of five families; a test holds `parameters` and `training_flops` to what `transformers` builds and runs."""


def _tensors(width: int, depth: int = 2) -> dict[str, tuple[int, int]]:
    """Names and shapes of the kit's transformer with learned positions."""
    block = {"attention.qkv": (3 * width, width), "attention.out": (width, width), "mlp.up": (4 * width, width),
             "mlp.down": (width, 4 * width)}  # fmt: skip
    inside = {f"blocks.{i}.{name}.weight": shape for i in range(depth) for name, shape in block.items()}
    return {
        "embed.weight": (256, width),
        "position.weight": (64, width),
        **inside,
        "head.weight": (256, width),
    }


def _by_fan_in(tensors: dict, lr: float) -> dict:
    """A rule to check `coordinate_check` with; not the one that 02.8 asks for."""
    return {name: 16 * lr / shape[-1] for name, shape in tensors.items()}


def _batches(steps: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (steps, 4, 33))


COLLEAGUES = {  # µP with one group's rate wrong: what a width of `m` times the base does to (tables, inside, output layer)
    "A": lambda m: (1.0, 1 / m, 1.0),
    "B": lambda m: (1 / m, 1 / m, 1 / m),
}
"""Whose coordinates exercise 02.10 shows."""


# --- the exercises --------------------------------------------------------------------------------------------------------

_V, _S, _D, _DEPTH = 50_257, 1_024, 768, 12  # GPT-2
_GPT2 = 124_439_808
_WEIGHTS = 12 * _DEPTH * _D**2
_TABLES = (_V + _S) * _D

_PARAMETER_DIAGNOSES, _PARAMETER_SLIPS = slips(
    parameters,
    ("2 * d * kv", "2 * d * q", "query heads", "every key and value got as many channels as the queries: in grouped-query "
     "attention there are fewer key heads than query heads."),
    ('(3 if m["gated"] else 2)', "2", "three matrices", "a gated MLP has three matrices, a gate beside the one "
     "up and the one "
     "down."),
    ('m["heads"] * m["head_size"], m["kv_heads"] * m["head_size"]',
     'm["width"], m["kv_heads"] * m["width"] // m["heads"]', "need not be the width",
     "heads times head_size need not be the width of the stream: look at Gemma."),
    ('(1 if m["tied"] else 2)', "2", "counts once", "a tied output layer is the token table once more: it counts once."),
    ('(1 if m["tied"] else 2)', "1", "matrix of its own", "an output layer that is not tied is a matrix of its own."),
    ('tables + m["depth"] * block + m["norm"] * d', 'tables + m["depth"] * block', "after the last block",
     "one norm is missing: it stands after the last block."),
    ('block + m["norm"] * d', "block + 2 * d", "gains alone", "the last norm has a gain and a bias in every model here; "
     "some norms have gains alone."),
    ("matrices + biases + 2", "matrices + 2", "biases are missing", "the biases are missing: a bias is as long as what its "
     "matrix puts out."),
    ('"qkv": q + 2 * kv', '"qkv": q + 2 * kv + d', "no bias on the output", 'with "qkv" there is no bias on the output '
     "matrix, nor on the MLP."),
    ('"all": q + 2 * kv + d + m["hidden"] + d', '"all": d + m["hidden"] + d', "query, key and value have",
     "with \"all\", query, key and value have biases, too."),
    ('2 * m["norm"] * d', 'm["norm"] * d', "two norms", "a block has two norms, one before attention and one "
     "before the MLP."),
    (' + m["positions"]) * d', ") * d", "learned positions", "the table of learned positions is missing."),
    ('return tables + m["depth"]', 'return m["depth"]', "tables are missing", "the tables are missing: these are the "
     "non-embedding parameters."),
)  # fmt: skip

_FLOP_DIAGNOSES, _FLOP_SLIPS = slips(
    training_flops,
    ("3 * flops", "flops", "forward pass alone", "this is the forward pass alone; the backward pass costs twice "
     "as much again."),
    ("3 * flops", "1.5 * flops", "multiplied and added", "half of it: a weight that meets a token is multiplied and added, "
     "two FLOPs."),
    ("3 * flops", "2 * flops", "two such products", "two thirds of it: the backward pass needs two such "
     "products for each one "
     "of the forward pass, one for the gradient of the input and one for that of the weight."),
    ("2 * context * q", "context * q", "both products", "attention is half of what it should be: count both "
     "products, queries "
     "with keys and weights with values, over the whole window; a causal mask is not discounted here."),
    ("2 * context * q", "2 * context * kv", "query head", "every query head multiplies with all keys, also "
     "where several heads "
     "share one key head: sharing saves parameters and memory, not these products."),
    ("2 * context * q", "2 * q", "whole window", "the context is missing: each token looks at a whole window."),
    ('2 * m["vocab"] * d', '4 * m["vocab"] * d', "lookup", "the output layer is twice too large: the input "
     "table is a lookup, "
     "which multiplies nothing."),
    ("2 * d * kv", "2 * d * q", "fewer", "the matrices of key and value are too large: grouped heads make them smaller; "
     "there are fewer key heads than query heads."),
    ('(3 if m["gated"] else 2)', "2", "three matrices", "a gated MLP has three matrices."),
    ('2 * m["depth"] * products', "2 * products", "every block", "attention is counted for one block; every block has it."),
    ("3 * flops", "3 * flops * context", "each token", "this is the cost of the whole window; it is asked for each token."),
)  # fmt: skip

_RIVAL_DIAGNOSES, _RIVAL_SLIPS = slips(
    rivals,
    ("losses[int(np.argmax(x))]", "losses[-1]", "in any order", 
     '"no change" takes the last of the list; the sizes come in any order.'),
    ("losses[int(np.argmax(x))]", "min(losses)", "lowest loss", 
     '"no change" takes the lowest loss; it means the largest model, '
     "even where chance made a smaller one better."),
    ("np.polyfit(x, y, 1)", "np.polyfit(np.sort(x)[-2:], y[np.argsort(x)[-2:]], 1)", "all points",
     "the line goes through the two largest models alone; it shall fit all points."),
    ("np.asarray(sizes, float)), np.log(np.asarray(losses, float))", "np.asarray(sizes, float)), np.log(np.exp(losses))",
     "both axes", "the loss is not logarithmic: on both axes it is the logarithm that is straight."),
    ("float(np.exp(slope * np.log(target) + height))", "float(slope * np.log(target) + height)", "logarithm of the loss",
     "the line gives the logarithm of the loss; the loss itself is asked for."),
    ("float(np.exp(slope * np.log(target) + height))", "float(np.exp(slope * np.log10(target) + height))", "log10",
     "log and log10 are mixed: fit and forecast need the same one."),
)  # fmt: skip

_INTERVAL_DIAGNOSES, _INTERVAL_SLIPS = slips(
    paired_interval,
    ("t.ppf(0.975, n - 1)", "1.96", "1.96", "1.96 holds for many seeds; a few need Student's t, which is wider."),
    ("t.ppf(0.975, n - 1)", "t.ppf(0.95, n - 1)", "both sides", "this is the 90 % interval: 95 % leave 2.5 % on both sides."),
    ("t.ppf(0.975, n - 1)", "t.ppf(0.975, n)", "degrees of freedom", "n differences have n − 1 degrees of freedom."),
    ("ddof=1", "ddof=0", "n − 1", "the standard deviation is divided by n; from a sample, divide by n − 1 (numpy: ddof=1)."),
    (" / np.sqrt(n)", "", "not of the mean", "this is how far single differences scatter, not of the mean: "
     "divide by the root "
     "of n."),
    ("np.asarray(a, float) - np.asarray(b, float)", "np.asarray(b, float) - np.asarray(a, float)", "a − b", "the sign is the "
     "other way round: a − b is asked for."),
    ("difference.std(ddof=1)", "np.sqrt(np.nanvar(a, ddof=1) + np.nanvar(b, ddof=1))", "paired", "this treats the two as "
     "strangers; they are paired by seed: take the differences first, then their spread."),
)  # fmt: skip

_RATE_DIAGNOSES, _RATE_SLIPS = slips(
    mup_rates,
    (" * base_width / width", "", "same at every width", "these rates are the same at every width: this is the standard "
     "parametrization."),
    ("10 * lr", "10 * lr * base_width / width", "a single input", "the tables shrink, too: a row of a table has "
     "a single input "
     "however wide the model is, so nothing adds up."),
    ("3 * lr * base_width / width", "3 * lr", "output layer", "the output layer adds up as many inputs as any "
     "matrix: its rate "
     "has to fall as well."),
    ("= lr * base_width / width", "= lr", "inside the blocks", "the matrices inside the blocks add up more inputs in a wider "
     "model: their rate has to fall."),
    ("base_width / width", "width / base_width", "upside down", "upside down: a wider model adds up more, so "
     "its rate is lower."),
    ("base_width / width", "(base_width / width) ** 0.5", "the same way", "the root would be right for moves in random "
     "directions; Adam's moves pull the same way, so they add up in proportion."),
    ("10 * lr", "lr", "ten times", "at the base width a table learns ten times as fast as a matrix inside."),
    ("3 * lr", "lr", "three times", "at the base width the output layer learns three times as fast as a matrix inside."),
)  # fmt: skip

_COORDINATE_DIAGNOSES, _COORDINATE_SLIPS = slips(
    coordinate_check,
    ("(after[name] - before[name])", "after[name]", "how large", "this is how large the outputs are after "
     "training; asked is how "
     "far they moved."),
    (".square().mean().sqrt()", ".abs().mean()", "absolute", "this is the mean absolute move; asked is the root "
     "mean square."),
    (".square().mean().sqrt()", ".square().mean()", "root", "the root of the mean square is missing."),
    (".square().mean().sqrt()", ".norm()", "over all", "this is the norm, a sum over all tokens and channels; "
     "it grows with the "
     "width for that reason alone. Take the mean."),
    ('"lr": rates[name]', '"lr": lr', "one rate", "every tensor learns at one rate, lr; the rule's rates are not used."),
    ("        optimizer.zero_grad()\n", "", "zero_grad", "gradients of earlier steps are still in the sum: "
     "zero_grad is missing."),
    ("after = outputs(tokens[0, :, :-1])", "after = outputs(tokens[-1, :, :-1])", "another batch", "before and after are "
     "measured on another batch each; take the first for both."),
    ("for batch in tokens:", "for batch in tokens[:1]:", "one step", "this is one step of training; there is one for each "
     "batch."),
    ("batch[:, 1:].flatten()", "batch[:, :-1].flatten()", "next token", "the model learns to copy: the target "
     "of a token is the "
     "next token."),
)  # fmt: skip

EXERCISES = (
    Exercise(
        "02.1",
        "GPT-2 has 12 blocks of width 768, a vocabulary of 50,257, a table of 1,024 learned positions, a bias "
        "on every matrix in "
        "the blocks, and a norm (gain and bias) before attention, before the MLP and once after the last block. "
        "Its output layer "
        "is the token table, used a second time (tied). How many parameters does it have, to the last one?",
        number(
            _GPT2,
            rel=1e-9,
            diagnoses=[
                (
                    _WEIGHTS,
                    "these are the matrices of the blocks alone; the tables, biases and norms are missing.",
                ),
                (_WEIGHTS + _TABLES, "matrices and tables are right; the biases and the norms are missing."),
                (
                    _GPT2 + _V * _D,
                    "the output layer is tied: it is the token table once more, and counts once.",
                ),
                (
                    _GPT2 - _S * _D,
                    "the table of learned positions is missing: one row for each of 1,024 places.",
                ),
                (_GPT2 - 2 * _D, "one norm is missing: it stands after the last block."),
                (_GPT2 - _D, "the last norm has a bias as well as a gain."),
                (_GPT2 - 3 * _D * _DEPTH, "the biases of query, key and value are missing in every block."),
                (_GPT2 - 9 * _D * _DEPTH, "the biases are missing; every matrix in the blocks has one."),
                (
                    _GPT2 - 4 * _D * _DEPTH,
                    "the norms of the blocks are missing: two in each, with gain and bias.",
                ),
                (_GPT2 - 2 * _D * _DEPTH, "a block has two norms, each with a gain and a bias."),
                (
                    _GPT2 - (4 * _DEPTH + 2) * _D,
                    "the norms are missing: two in each block and one at the end.",
                ),
                (_GPT2 - (2 * _DEPTH + 1) * _D, "a norm has two vectors here, a gain and a bias."),
                (
                    _GPT2 - 5 * _D * _DEPTH,
                    "the biases of the MLP are missing, the wide one and the narrow one.",
                ),
                (
                    _GPT2 - _TABLES,
                    "these are the non-embedding parameters; the total has the two tables as well.",
                ),
            ],
            slips=(),
            right="Matrices are 68 % of it, tables 32 %, and all biases and norms together 0.1 %.",
        ),
        (
            "Three parts: two tables, twelve blocks, one last norm. Write each part down before you add.",
            "A bias is as long as what its matrix puts out; a norm has a gain and a bias, each as long as the "
            "stream is wide.",
            "In units of the width, a block has 3 + 1 + 4 + 1 of bias and 2 · 2 of norms, beside its 12·768² of matrices.",
        ),
        """d, depth, vocab, context = 768, 12, 50_257, 1_024
tables = (vocab + context) * d
block = 12 * d**2 + (3 + 1 + 4 + 1) * d + 2 * (2 * d)   # matrices, biases, two norms
answer = tables + depth * block + 2 * d""",
        kind="compute",
        minutes=6,
        difficulty=2,
        wrong=(
            (_WEIGHTS, "blocks alone"),
            (_WEIGHTS + _TABLES, "biases and the norms"),
            (_GPT2 + _V * _D, "tied"),
            (_GPT2 - _S * _D, "positions"),
            (_GPT2 - 3 * _D * _DEPTH, "query, key and value"),
            (_GPT2 - 9 * _D * _DEPTH, "biases are missing; every"),
        ),
    ),
    Exercise(
        "02.2",
        "Write parameters(m): all parameters of a decoder from its sizes, to the last one. Every block has "
        "attention (query, key, "
        "value and output), an MLP and two norms; one more norm follows the last block. Query and output have "
        "heads · head_size "
        "channels beside the width, key and value only kv_heads · head_size: in grouped-query attention several "
        "query heads share "
        "one key head. It is compared for five families.",
        build(
            parameters,
            [(sizes,) for sizes in SIZES.values()],
            names=list(SIZES),
            rel=1e-12,
            diagnoses=_PARAMETER_DIAGNOSES,
            right="The next cell holds it against the models themselves.",
        ),
        (
            "Start with one block: list its matrices as (inputs, outputs), and multiply. Then what is added to "
            "their results.",
            "Four numbers are enough: width, channels of the queries, channels of the keys, hidden units. Which "
            "matrix has which two?",
            "depth times (matrices + biases + two norms), one norm, and the tables: the vocabulary's once or "
            "twice, the positions' "
            "once.",
        ),
        source(parameters),
        kind="build",
        minutes=15,
        difficulty=3,
        wrong=_PARAMETER_SLIPS,
        skeleton=skeleton(parameters),
        own=lambda: parameters,
    ),
    Exercise(
        "02.3",
        "A published table lists an encoder with 12 blocks of width 768 and a vocabulary of 32,000 at 24 million parameters. How "
        "many millions does it really have (within 2 %), and what was left out: 'tables', 'attention', 'biases' or 'blocks'?",
        several(
            millions=number(
                (_WEIGHTS + 32_000 * _D) / 1e6,
                rel=0.02,
                diagnoses=[
                    (
                        32_000 * _D / 1e6,
                        "this is the vocabulary's table alone, the very slip of the published one.",
                    ),
                    (24, "this is the published number; part of the model is missing in it."),
                    (_WEIGHTS / 1e6, "these are the blocks alone; the vocabulary has a table of its own."),
                    ((_WEIGHTS / 3 + 32_000 * _D) / 1e6, "the MLP is missing: 8·width² in every block."),
                    (
                        (2 * _WEIGHTS / 3 + 32_000 * _D) / 1e6,
                        "attention is missing: 4·width² in every block.",
                    ),
                    (
                        (_WEIGHTS + 64_000 * _D) / 1e6,
                        "the table of the vocabulary counts once in an encoder.",
                    ),
                    (_WEIGHTS + 32_000 * _D, "the unit: how many millions?"),
                ],
            ),
            forgotten=choice(
                "blocks",
                {
                    "blocks": "",
                    "tables": "the other way round: compute 32,000·768 and compare with 24 million.",
                    "attention": "without attention 81 million would remain, not 24.",
                    "biases": "biases and norms are about 0.1 million here.",
                },
                right="The published number is the table of the vocabulary, rounded; all twelve blocks were left out.",
            ),
        ),
        (
            "Count the two big parts apart: the vocabulary's table, and the twelve blocks.",
            "The table has a row of 768 for each entry. The blocks have 12·depth·width².",
            "Which of your two parts is about the published number? Then the other one is what was forgotten.",
        ),
        """millions = (12 * 12 * 768**2 + 32_000 * 768) / 1e6
answer = {"millions": millions, "forgotten": "blocks"}""",
        kind="debug",
        minutes=4,
        difficulty=2,
        wrong=(
            ({"millions": 24.6, "forgotten": "blocks"}, "vocabulary's table alone"),
            ({"millions": 24, "forgotten": "blocks"}, "published number"),
            ({"millions": 84.9, "forgotten": "tables"}, "blocks alone"),
            ({"millions": 109.5, "forgotten": "tables"}, "other way round"),
            ({"millions": 109.5, "forgotten": "biases"}, "0.1 million"),
        ),
        placeholder={"millions": ..., "forgotten": ...},
    ),
    Exercise(
        "02.4",
        "Write training_flops(m, context): what training spends on each token, forward and backward, in three "
        "parts: the matrices "
        "of all blocks, the two products of attention over the whole window, and the output layer. Norms, "
        "softmax and biases are "
        "left out.",
        build(
            training_flops,
            [(SIZES["gpt2"], 1024), *((sizes, 256) for name, sizes in SIZES.items() if name != "gpt2")],
            names=[f"{name}, context {1024 if name == 'gpt2' else 256}" for name in SIZES],
            rel=1e-9,
            diagnoses=_FLOP_DIAGNOSES,
            right="The next cell lets torch count the products as they run.",
        ),
        (
            "Take the forward pass first. A matrix with w weights costs 2w FLOPs for each token; what follows "
            "from it for the "
            "backward pass is the same for all three parts.",
            "Attention owns no weight. One query channel meets one key channel for each token of the window, "
            "and then once more "
            "when values are mixed.",
            "Matrices as in 02.2, without biases and norms. Attention counts channels of the queries, whatever "
            "the keys have. "
            "Lookups cost nothing.",
        ),
        source(training_flops),
        kind="build",
        minutes=12,
        difficulty=3,
        wrong=_FLOP_SLIPS,
        skeleton=skeleton(training_flops),
        own=lambda: training_flops,
    ),
    Exercise(
        "02.5",
        "How many parameters can a model have whose weights, gradients and Adam states in mixed precision fill "
        "one GPU of 24 GB "
        "(24e9 bytes), with nothing left for activations?",
        number(
            1.5e9,
            rel=0.01,
            diagnoses=[
                (
                    12e9,
                    "2 bytes count the 16-bit weights alone; training also keeps gradients and Adam's states.",
                ),
                (6e9, "4 bytes count 16-bit weights and gradients; Adam's states are the larger part."),
                (2e9, "12 bytes count the optimizer's part alone; add the 16-bit weights and gradients."),
                (3e9, "8 bytes count Adam's two moments alone; there are three more parts."),
                (
                    24e9 / 14,
                    "14 bytes leave out either the weights or the gradients in 16 bits; both are there.",
                ),
                (24e9 / 18, "18 bytes keep the gradients in 32 bits; here they have 16."),
                (24 * 2**30 / 16, "24 GB are taken for 24 · 2³⁰ bytes; here they are 24e9."),
                (1.5, "the unit: how many parameters, not how many billions."),
                (384e9, "divide: bytes on the GPU over bytes for each parameter."),
            ],
            slips=(),
            right="GPT-2 XL, with 1.56 billion, needs 24.9 GB: it just does not fit.",
        ),
        (
            "How many bytes does one parameter cost while it is trained? It is more than it costs in a file.",
            "A 16-bit weight, a 16-bit gradient, and three numbers in 32 bits. Section 4 names them.",
            "Add up the bytes of the five numbers that belong to one parameter, and see how often that goes into 24e9.",
        ),
        """bytes_per_parameter = 2 + 2 + 4 + 4 + 4
answer = 24e9 / bytes_per_parameter""",
        kind="compute",
        minutes=3,
        difficulty=1,
        wrong=(
            (12e9, "16-bit weights alone"),
            (2e9, "optimizer's part alone"),
            (6e9, "gradients"),
            (24e9 / 18, "32 bits"),
            (1.5, "unit"),
        ),
    ),
    Exercise(
        "02.6",
        "Write rivals(sizes, losses, target): what two forecasters say who know no law, 'no change' and "
        "'straight line'. A law has "
        "to beat both before its forecast is worth anything.",
        build(
            rivals,
            [
                ([100, 200, 400, 800], [4.0, 3.0, 2.5, 2.2], 3200),
                ([800, 100, 400, 200], [2.2, 4.0, 2.5, 3.0], 3200),
                ([1e3, 8e3, 9e3, 2e3], [2.4, 2.05, 2.07, 2.3], 1e5),
            ],
            names=["four sizes", "the same, not sorted", "a larger model by chance worse"],
            rel=1e-6,
            diagnoses=_RIVAL_DIAGNOSES,
        ),
        (
            "'No change' needs one loss. Which model is the largest, if the list is in no order?",
            "A straight line on logarithmic axes: fit the logarithm of the loss against the logarithm of the "
            "size, numpy.polyfit "
            "does that.",
            "polyfit gives slope and height of the line. At the target you get a logarithm; bring it back.",
        ),
        source(rivals, NUMPY),
        kind="build",
        minutes=8,
        difficulty=2,
        wrong=_RIVAL_SLIPS,
        skeleton=skeleton(rivals),
        own=lambda: rivals,
    ),
    Exercise(
        "02.7",
        "Write paired_interval(a, b): the 95 % interval of the mean difference a − b of runs that share their "
        "seeds. Whether two "
        "things differ, and by how much at most, is read from it.",
        build(
            paired_interval,
            [
                ([2.10, 2.12, 2.09, 2.13, 2.11], [2.08, 2.11, 2.08, 2.10, 2.10]),
                ([1.0, 2.0, 3.5], [1.5, 1.0, 2.0]),
                ([2.1, 2.2, float("nan"), 2.4, 2.3], [2.0, 2.15, 2.3, float("nan"), 2.2]),
            ],
            names=["five seeds", "three seeds", "two runs missing"],
            rel=1e-4,
            diagnoses=_INTERVAL_DIAGNOSES,
            right="The kit's own is sl.laws.compare.paired.",
        ),
        (
            "Reduce it to one list first: a difference for each seed. What two runs of one seed share drops out of it.",
            "The mean of n differences scatters less than one of them does: its standard error is their "
            "standard deviation over "
            "the root of n.",
            "Mean ± factor · standard error. The factor is Student's t, at a probability that leaves 2.5 % on either side.",
        ),
        source(paired_interval, NUMPY),
        kind="build",
        minutes=10,
        difficulty=3,
        wrong=_INTERVAL_SLIPS,
        skeleton=skeleton(paired_interval),
        own=lambda: paired_interval,
    ),
    Exercise(
        "02.8",
        "Write mup_rates(tensors, lr, base_width): the peak rate of every tensor of our transformer under µP "
        "with Adam. At the base "
        "width a matrix inside the blocks learns at lr, a table (tokens, positions) at ten times and the output "
        "layer at three "
        "times that. What happens to each at another width follows from the number of inputs that it adds up.",
        build(
            mup_rates,
            [
                (_tensors(64), 0.01, 32),
                (_tensors(8), 0.01, 32),
                (_tensors(32), 0.02, 32),
                (_tensors(256, 4), 0.002, 64),
            ],
            names=["width 64", "width 8", "the base width", "width 256, base 64"],
            rel=1e-6,
            diagnoses=_RATE_DIAGNOSES,
            right="The same rates as sl.model.param_groups.",
        ),
        (
            "For each of the three kinds of tensor: how many products does one of its outputs add up, and does "
            "that number grow with "
            "the width?",
            "The width is the length of a row of the token table. Names say which kind a tensor is.",
            "Two of the three kinds add up a number of inputs in proportion to the width. Their steps have to "
            "become smaller by the "
            "same factor.",
        ),
        source(mup_rates),
        kind="build",
        minutes=10,
        difficulty=3,
        wrong=_RATE_SLIPS,
        skeleton=skeleton(mup_rates),
        own=lambda: mup_rates,
    ),
    Exercise(
        "02.9",
        "Write coordinate_check(width, rule, batches): how far the output of every layer moves in a few steps "
        "of training, the root "
        "mean square over all tokens and channels of the first batch. If a rule is right for every width, these "
        "numbers do not "
        "depend on the width.",
        build(
            coordinate_check,
            [(16, _by_fan_in, _batches(3)), (32, _by_fan_in, _batches(3)), (16, _by_fan_in, _batches(1))],
            names=["width 16", "width 32", "a single step"],
            rel=5e-3,
            diagnoses=_COORDINATE_DIAGNOSES,
            seconds=20.0,
        ),
        (
            "Three parts: outputs of the untrained model, a training loop, outputs of the trained one. Write a "
            "small function for "
            "the outputs, since you need it twice.",
            "The loop is the one of every training: logits, cross-entropy against the next token, zero_grad, backward, step.",
            "Adam takes a list of groups, one for each named parameter, with its own lr. Measure without "
            "gradients, on the inputs of "
            "the first batch both times.",
        ),
        source(coordinate_check, f"from collections.abc import Callable\n\n{NUMPY}"),
        kind="build",
        minutes=25,
        difficulty=4,
        wrong=_COORDINATE_SLIPS,
        skeleton=skeleton(coordinate_check),
        own=lambda: coordinate_check,
    ),
    Exercise(
        "02.10",
        "Two colleagues wrote µP's rates themselves, and each got the rates of one kind of tensor wrong. Read "
        "their coordinate "
        "checks: which kind is it in A, and which in B? Choose among 'tables', 'inside' (the matrices in the "
        "blocks) and 'output'.",
        several(
            A=choice(
                "output",
                {
                    "output": "",
                    "tables": "in A the embedding moves alike at every width: its table is right.",
                    "inside": "if the matrices inside were wrong, the blocks would move further in wider models.",
                },
            ),
            B=choice(
                "tables",
                {
                    "tables": "",
                    "output": "in B the logits move alike at every width: the output layer is right.",
                    "inside": "in B the blocks move alike at every width: what is inside them is right.",
                },
                right="A grows: a rate that should fall does not. B shrinks: a rate falls that should not. "
                "Later layers tell less, "
                "because they also see what the earlier ones did.",
            ),
        ),
        (
            "In a right check all lines are level. Go along the layers in their order, and look for the first that is not.",
            "A line that rises: the rate does not fall where it should. A line that falls: the rate falls where "
            "it should not.",
            "Each line is moved by the tensor that makes it: the embedding by the tables, the blocks by the "
            "matrices inside, the logits "
            "by the output layer.",
        ),
        """answer = {"A": "output", "B": "tables"}""",
        kind="read",
        minutes=5,
        difficulty=3,
        wrong=(
            ({"A": "tables", "B": "tables"}, "A: in A the embedding"),
            ({"A": "inside", "B": "tables"}, "A: if the matrices"),
            ({"A": "output", "B": "output"}, "B: in B the logits"),
            ({"A": "output", "B": "inside"}, "B: in B the blocks"),
        ),
        placeholder={"A": ..., "B": ...},
    ),
)
