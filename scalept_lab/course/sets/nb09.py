"""Exercises of notebook 09, transfer with BERT.

A build's solution is the source of a function of this module, and its skeleton is what stands above the body: what is
shown, what is compared with and what serves while the exercise is open are one piece of code.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np

from scalept_lab.course.answers import UNANSWERED, Verdict, build, choice, judged, number, several
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.sets import nb09_privacy
from scalept_lab.course.sets.pieces import NUMPY, skeleton, slips, source

# --- 09.1: the loss -------------------------------------------------------------------------------------------------------


def masked_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """The masked-language loss of a batch, in nats per chosen token.

    logits  (batch, length, vocabulary), not normalised
    labels  (batch, length): the id of the right token at the positions that were chosen, -100 at all others
    Returns the mean of -ln P(right token) over the chosen positions of the whole batch; 0.0 if none was chosen. Logits may be
    as large as 1,000.
    """
    chosen = labels != -100
    if not chosen.any():
        return 0.0
    picked = logits[chosen]
    picked = picked - picked.max(-1, keepdims=True)
    log_sums = np.log(np.exp(picked).sum(-1))
    right = picked[np.arange(len(picked)), labels[chosen]]
    return float((log_sums - right).mean())


def _loss_cases() -> list[tuple]:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 5, 7))
    labels = np.full((2, 5), -100)
    labels[0, [0, 2, 3]], labels[1, 4] = [3, 0, 6], 1
    return [
        (logits, labels),
        (1000 * logits, labels),
        (logits, np.full((2, 5), -100)),
        (logits[:1], labels[:1]),
    ]


_LOSS_DIAGNOSES, _LOSS_SLIPS = slips(
    masked_loss,
    ("(log_sums - right).mean()", "(log_sums - right).sum() / labels.size", "of all positions", "the sum is right, but "
     "divide by the number of chosen positions, not of all positions."),
    ("(log_sums - right).mean()", "(log_sums - right).sum()", "this is the sum", "this is the sum; the loss is the mean over "
     "the chosen positions."),
    ("(log_sums - right).mean()", "(right - log_sums).mean()", "the sign", "the sign: probabilities are below one, so their "
     "logarithms are negative."),
    ("(log_sums - right).mean()", "(log_sums - right).mean() / np.log(2)", "looks like bits", "this looks like bits; the loss "
     "is in nats, with the natural logarithm."),
    ("(log_sums - right).mean()", "np.mean([(log_sums - right)[chosen.nonzero()[0] == row].mean() for row in "
     "set(chosen.nonzero()[0])])", "mean of the rows' means", "this is the mean of the rows' means; a row with "
     "few chosen tokens must not count as much as one with many."),
    ("        return 0.0\n", "        return float('nan')\n", "nothing was chosen", "where nothing was chosen, the mean of "
     "nothing is no number; return 0.0 there."),
    ("    picked = picked - picked.max(-1, keepdims=True)\n", "", "overflows", "with large logits exp overflows: subtract the "
     "largest logit of each position first, which changes no probability."),
)  # fmt: skip


# --- 09.2: masking --------------------------------------------------------------------------------------------------------


def corrupt(ids: np.ndarray, special: np.ndarray, vocabulary: int, rng: np.random.Generator) -> tuple:
    """(corrupted ids, labels): what BERT reads, and what it is asked for.

    ids      (batch, length) whole numbers; 0 to 4 are the special tokens, 4 is [MASK]
    special  (batch, length): true where a token must not be chosen
    Each other token is chosen with probability 0.15. Of the chosen, 80 % become [MASK], 10 % a token drawn evenly from 5 to
    vocabulary - 1, 10 % stay. labels: the original id where a token was chosen, -100 elsewhere. `ids` itself stays as it is.
    """
    chosen = (rng.random(ids.shape) < 0.15) & ~special
    how = rng.random(ids.shape)
    labels = np.where(chosen, ids, -100)
    made = ids.copy()
    made[chosen & (how < 0.8)] = 4
    swapped = chosen & (how >= 0.8) & (how < 0.9)
    made[swapped] = rng.integers(5, vocabulary, swapped.sum())
    return made, labels


def _judge_corrupt(answer: Callable) -> Verdict:
    """Counts on 48,000 tokens: a share of .8 among 6,000 has a standard error of .005, so .025 is five of them."""
    rng = np.random.default_rng(1)
    ids = rng.integers(5, 1000, (480, 100))
    ids[:, 0], ids[:, 50], ids[::2, 90:] = 2, 3, 0
    special, before = ids < 5, ids.copy()
    given = answer(ids, special, 1000, np.random.default_rng(2))
    if given is None or given is ...:
        return Verdict(False, answered=False)
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        return Verdict(False, "return two arrays: the corrupted ids and the labels.")
    made, labels = (np.asarray(part) for part in given)
    if made.shape != ids.shape or labels.shape != ids.shape:
        return Verdict(
            False,
            f"both arrays need the shape of ids, {ids.shape}; these are {made.shape} and {labels.shape}.",
        )
    if (ids != before).any():
        return Verdict(False, "your function changes its input ids: work on a copy, the labels come from it.")
    asked = labels != -100
    share = asked[~special].mean()
    n = max(1, int(asked.sum()))
    masks, same = (made == 4) & asked, (made == ids) & asked
    other = asked & ~masks & ~same
    rows = (
        ("special tokens are never chosen", f"{int((asked & special).sum())} chosen", not (asked & special).any()),
        ("15 % of the others are", f"{share:.1%}", abs(share - 0.15) < 0.01),
        ("labels are the original ids", "", bool((labels[asked] == before[asked]).all())),
        ("what is not chosen stays", "", bool((made == before)[~asked].all())),
        ("[MASK], of the chosen", f"{masks.sum() / n:.1%}", abs(masks.sum() / n - 0.8) < 0.025),
        ("another token, of the chosen", f"{other.sum() / n:.1%}", abs(other.sum() / n - 0.1) < 0.025),
        ("the same token, of the chosen", f"{same.sum() / n:.1%}", abs(same.sum() / n - 0.1) < 0.025),
        ("other tokens are drawn from 5 on, evenly", "", not other.any() or bool(
            made[other].min() >= 5 and made[other].max() < 1000 and abs(made[other].mean() - 502) < 60)),
    )  # fmt: skip
    if all(ok for _, _, ok in rows):
        return Verdict(
            True,
            "Nothing tells the model which of the tokens that look normal it will be asked for.",
            rows=rows,
        )
    return Verdict(False, _what_went_wrong(rows, asked, special, made, before, labels), rows=rows)


def _what_went_wrong(rows: Any, asked: Any, special: Any, made: Any, before: Any, labels: Any) -> str:
    ok = {name: good for name, _, good in rows}
    if asked.all():
        return "every position has a label: the model is asked where nothing was chosen; write -100 there."
    if not ok["special tokens are never chosen"]:
        return "special tokens are chosen: [CLS], [SEP] and padding must never be."
    if not ok["labels are the original ids"] and (labels[asked] == made[asked]).all():
        return "the labels are what stands there after the corruption; the model is asked for what stood there before."
    if not ok["labels are the original ids"]:
        return "the labels are not the ids that stood there before."
    if not ok["15 % of the others are"]:
        return "the share of chosen tokens is not 15 % of those that may be chosen."
    if not ok["what is not chosen stays"]:
        return "tokens that were not chosen are changed: 80 % and 10 % are of the chosen ones, not of all."
    if not ok["[MASK], of the chosen"]:
        return "the share of [MASK] among the chosen is off: one draw decides that a token is chosen, another what becomes of it."
    if not ok["the same token, of the chosen"]:
        return "of the chosen, 10 % should stay as they are, though the model is asked for them."
    return "the other tokens should be drawn evenly from the ordinary ones, 5 to vocabulary - 1."


_, _CORRUPT_SLIPS = slips(
    corrupt,
    (" & ~special", "", "special tokens are chosen", ""),
    ("np.where(chosen, ids, -100)", "ids.copy()", "every position has a label", ""),
    ("(how >= 0.8) & (how < 0.9)", "(how >= 0.8)", "should stay as they are", ""),
    ("made[chosen & (how < 0.8)]", "made[~special & (how < 0.8)]", "not of all", ""),
    ("    how = rng.random(ids.shape)\n", "    how = rng.random(ids.shape) * 0.85\n", "share of [MASK]", ""),
    ("made = ids.copy()", "made = ids", "changes its input", ""),
    ("rng.integers(5, vocabulary, swapped.sum())", "rng.integers(0, vocabulary // 2, swapped.sum())", "drawn evenly", ""),
)  # fmt: skip


# --- 09.5: the scores -----------------------------------------------------------------------------------------------------


def metrics(labels: np.ndarray, predictions: np.ndarray) -> dict:
    """Five scores of predictions 0 or 1 against labels 0 or 1.

    Returns {"accuracy": …, "precision": …, "recall": …, "f1": …, "macro_f1": …}. Precision, recall and f1 are those of
    label 1; macro_f1 is the plain mean of the f1 of label 1 and the f1 of label 0. A quotient with zero below counts as 0,
    also for a label that does not occur. The two are of one length, at least 1.
    """

    def of(label):
        hits = np.sum((predictions == label) & (labels == label))
        found, there = np.sum(predictions == label), np.sum(labels == label)
        precision = hits / found if found else 0.0
        recall = hits / there if there else 0.0
        f1 = 2 * hits / (found + there) if found + there else 0.0
        return precision, recall, f1

    precision, recall, f1 = of(1)
    return {
        "accuracy": float(np.mean(labels == predictions)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "macro_f1": float((f1 + of(0)[2]) / 2),
    }


def _metric_cases() -> list[tuple]:
    def pair(tp: int, fp: int, fn: int, tn: int) -> tuple:
        return np.repeat([1, 0, 1, 0], [tp, fp, fn, tn]), np.repeat([1, 1, 0, 0], [tp, fp, fn, tn])

    return [pair(30, 20, 10, 140), pair(0, 0, 5, 5), pair(0, 4, 0, 6), pair(0, 0, 0, 8), pair(50, 50, 0, 0)]


_METRIC_DIAGNOSES, _METRIC_SLIPS = slips(
    metrics,
    ("return precision, recall, f1", "return recall, precision, f1", "swapped", "precision and recall are swapped: precision "
     "is about what was called true, recall about what is."),
    ("2 * hits / (found + there) if found + there else 0.0", "(precision + recall) / 2", "harmonic", "F1 is the harmonic mean, "
     "2·P·R/(P + R): the plain mean forgives a zero."),
    ("(f1 + of(0)[2]) / 2", "f1", "the other label", "macro_f1 is F1 of label 1 alone; it is the mean over both: compute F1 of "
     "the other label as well."),
    ("(f1 + of(0)[2]) / 2", "np.mean(labels == predictions)", "this is accuracy", "macro_f1: this is accuracy. It counts all "
     "pairs together; the macro mean gives each label the same weight."),
    ("(f1 + of(0)[2]) / 2", "f1 * np.mean(labels) + of(0)[2] * (1 - np.mean(labels))", "weighted", "macro_f1 is weighted by "
     "how often a label occurs; the macro mean gives each label the same weight."),
    ("hits / found if found else 0.0", "hits / found if found else 1.0", "counts as 0", "a precision with nothing found has "
     "zero below: by the convention of the question it counts as 0."),
)  # fmt: skip


# --- 09.6: low-rank factors -----------------------------------------------------------------------------------------------

_LORA = '''class LoRA(torch.nn.Module):
    """y = W x + b + (alpha / rank) B A x, with W and b frozen.

    linear  a torch.nn.Linear that is already trained; rank  columns of B, rows of A;  alpha  a number
    Keeps A as the parameter `down` (rank, in_features), drawn at random, and B as `up` (out_features, rank), zero at first;
    nothing else of it can be trained. merged() returns one plain torch.nn.Linear that does the same; linear stays as it is.
    Raises ValueError, in one line, for a rank below 1 or above the smaller side of W.
    """
'''


def _lora() -> type:
    import torch

    class LoRA(torch.nn.Module):
        def __init__(self, linear, rank, alpha):
            super().__init__()
            rows, columns = linear.weight.shape
            if not 1 <= rank <= min(rows, columns):
                raise ValueError(f"rank: expected 1 to {min(rows, columns)}, got {rank}")
            self.linear = linear
            for parameter in linear.parameters():
                parameter.requires_grad_(False)
            self.scale = alpha / rank
            self.down = torch.nn.Parameter(torch.randn(rank, columns) / columns**0.5)
            self.up = torch.nn.Parameter(torch.zeros(rows, rank))

        def forward(self, x):
            return self.linear(x) + self.scale * (x @ self.down.T @ self.up.T)

        def merged(self):
            plain = torch.nn.Linear(self.down.shape[1], self.up.shape[0], self.linear.bias is not None)
            plain.load_state_dict(self.linear.state_dict())
            with torch.no_grad():
                plain.weight += self.scale * self.up @ self.down
            return plain

    return LoRA


_LORA_BODY = textwrap.dedent(
    inspect.getsource(_lora).split("import torch\n\n")[1].split("    return LoRA\n")[0]
)
_LORA_SOLUTION = f"import torch\n\n\n{_LORA_BODY.rstrip()}\n\n\nanswer = LoRA"


def _lora_slip(right: str, wrong: str) -> Callable:
    """The class with a piece of it changed, made when it is first asked for: torch is not imported before."""
    from scalept_lab.course.sets.pieces import slip

    made = slip(_lora, right, wrong)
    return lambda *inputs: made()(*inputs)


def _judge_lora(answer: Callable) -> Verdict:
    import torch

    if isinstance(answer, type) and "forward" not in vars(answer):
        return UNANSWERED
    torch.manual_seed(0)
    x = torch.randn(6, 24)
    rows: list[tuple[str, str, bool]] = []

    def verdict(text: str) -> Verdict:
        rows[-1] = (rows[-1][0], rows[-1][1], False)
        return Verdict(False, text, rows=tuple(rows))

    for bias, rank, alpha in ((True, 4, 12.0), (False, 3, 1.5)):
        linear = torch.nn.Linear(24, 10, bias=bias)
        weights = {name: value.clone() for name, value in linear.state_dict().items()}
        layer = answer(linear, rank, alpha)
        if layer is None or layer is ... or not isinstance(layer, torch.nn.Module):
            return Verdict(
                False, "LoRA(linear, rank, alpha) should be a torch.nn.Module.", answered=layer is not None
            )
        case = f"rank {rank}, alpha {alpha:g}, {'a' if bias else 'no'} bias: "
        named = dict(layer.named_parameters())
        if not {"down", "up"} <= set(named):
            return Verdict(
                False, "the factors should be parameters with the names down and up (torch.nn.Parameter)."
            )
        shapes = tuple(named["down"].shape), tuple(named["up"].shape)
        rows.append(
            (case + "shapes of the factors", f"{shapes[0]}, {shapes[1]}", shapes == ((rank, 24), (10, rank)))
        )
        if not rows[-1][2]:
            return verdict(
                "the factors' shapes are off: down makes rank numbers of in_features, up makes out_features of rank."
            )
        rows.append((case + "starts as the plain layer", "", torch.allclose(layer(x), linear(x), atol=1e-6)))
        if not rows[-1][2]:
            return verdict(
                "before any step the output is not that of the plain layer: one factor has to start at zero."
            )
        if not named["down"].abs().sum():
            return verdict(
                "both factors start at zero: the gradient of each is a product with the other, so neither ever moves."
            )
        trained = sorted(name for name, p in named.items() if p.requires_grad)
        count = sum(named[name].numel() for name in trained)
        rows.append((case + "numbers to train", f"{count}", count == rank * 34))
        if not rows[-1][2]:
            return verdict(
                "more or less can be trained than the two factors: freeze the weight and the bias of linear."
            )
        optimizer = torch.optim.SGD([p for p in layer.parameters() if p.requires_grad], lr=0.05)
        for _ in range(3):
            optimizer.zero_grad()
            layer(x).square().mean().backward()
            optimizer.step()
        with torch.no_grad():
            down, up = (dict(layer.named_parameters())[name] for name in ("down", "up"))
            wanted = (
                torch.nn.functional.linear(x, weights["weight"], weights.get("bias"))
                + alpha / rank * x @ down.T @ up.T
            )
            rows.append(
                (case + "after three steps, by the formula", "", torch.allclose(layer(x), wanted, atol=1e-5))
            )
            if not rows[-1][2]:
                unscaled = torch.allclose(
                    layer(x), wanted + (1 - alpha / rank) * x @ down.T @ up.T, atol=1e-5
                )
                times = torch.allclose(
                    layer(x), wanted + (alpha - alpha / rank) * x @ down.T @ up.T, atol=1e-5
                )
                return verdict(
                    "the product is not scaled: alpha / rank stands before it." if unscaled else
                    "the product is scaled by alpha alone; divide by the rank, so that a larger rank takes no larger steps."
                    if times else "the output is not W x + b + (alpha / rank) B A x."
                )  # fmt: skip
            plain: Any = layer.merged()  # type: ignore[operator]  # a method that the learner has written
            same = isinstance(plain, torch.nn.Linear) and torch.allclose(plain(x), wanted, atol=1e-5)
            rows.append((case + "merged, to 1e-5", "", same))
            if not same:
                bare = (
                    isinstance(plain, torch.nn.Linear)
                    and bias
                    and torch.allclose(plain(x) + weights["bias"], wanted, atol=1e-5)
                )
                return verdict(
                    "the merged layer has lost the bias." if bare else
                    "the merged layer does something else than the layer before: its weight is W + (alpha / rank) B A."
                )  # fmt: skip
            kept = all(torch.equal(value, weights[name]) for name, value in linear.state_dict().items())
            rows.append((case + "the old layer is as it was", "", kept))
            if not kept:
                return verdict(
                    "the layer that was handed in has changed: merged() must add to a copy of its weight."
                )
    for rank in (0, 11):
        told = ""
        try:
            answer(torch.nn.Linear(24, 10), rank, 1.0)
        except ValueError as error:
            told = str(error)
        rows.append((f"rank {rank} of a 10 × 24 matrix", told or "taken", bool(told) and "\n" not in told))
        if not rows[-1][2]:
            return verdict(
                f'a rank of {rank} is taken, or refused otherwise than by one line: raise ValueError("rank: …").'
            )
    return Verdict(True, "With the factors merged, the model costs what it cost before.", rows=tuple(rows))


_LORA_SLIPS = (
    (_lora_slip("torch.zeros(rows, rank)", "torch.randn(rows, rank)"), "has to start at zero"),
    (_lora_slip("torch.randn(rank, columns) / columns**0.5", "torch.zeros(rank, columns)"), "both factors start at zero"),
    (_lora_slip("parameter.requires_grad_(False)", "pass"), "freeze the weight"),
    (_lora_slip("self.scale = alpha / rank", "self.scale = 1.0"), "is not scaled"),
    (_lora_slip("self.scale = alpha / rank", "self.scale = alpha"), "by alpha alone"),
    (_lora_slip("plain.weight += self.scale * self.up @ self.down", "plain.weight += self.up @ self.down"),
     "something else than the layer before"),
    (_lora_slip("plain = torch.nn.Linear(self.down.shape[1], self.up.shape[0], self.linear.bias is not None)\n"
                "            plain.load_state_dict(self.linear.state_dict())", "plain = self.linear"), "has changed"),
    (_lora_slip("if not 1 <= rank <= min(rows, columns):", "if rank < 1:"), "a rank of 11 is taken"),
)  # fmt: skip


# --- 09.9, 09.10: calibration ---------------------------------------------------------------------------------------------


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """The expected calibration error of predictions.

    confidence  the probability of the predicted class, one for each prediction;  right  true where it is the label
    Bin k of `bins` holds the confidences above k / bins and up to (k + 1) / bins (k from 0). Of each bin that holds anything,
    take the distance between the mean confidence and the share that is right; the error is their mean, weighted by the number
    of predictions in the bin.
    """
    edges = np.linspace(0, 1, bins + 1)
    error = 0.0
    for k in range(bins):
        inside = (confidence > edges[k]) & (confidence <= edges[k + 1])
        if inside.any():
            gap = abs(confidence[inside].mean() - right[inside].mean())
            error += inside.mean() * gap
    return float(error)


def _calibration_cases() -> list[tuple]:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 200)
    return [
        (sure, rng.random(200) < sure, 10),
        (sure, rng.random(200) < 0.6, 10),
        (np.array([0.55, 0.55, 0.95]), np.array([True, False, True]), 5),
        (np.array([1.0, 1.0, 0.5]), np.array([True, False, True]), 2),
    ]


_ERROR_DIAGNOSES, _ERROR_SLIPS = slips(
    calibration_error,
    ("error += inside.mean() * gap", "error += gap / bins", "the same weight", "each bin has the same weight; weigh it by the "
     "share of the predictions that it holds."),
    ("abs(confidence[inside].mean() - right[inside].mean())", "(confidence[inside].mean() - right[inside].mean())",
     "cancel", "bins that are too sure and bins that are too careful cancel: take the distance, without its sign."),
    ("abs(confidence[inside].mean() - right[inside].mean())", "abs((edges[k] + edges[k + 1]) / 2 - right[inside].mean())",
     "middle of the bin", "this compares with the middle of the bin; take the mean of the confidences that are in it."),
    ("confidence <= edges[k + 1]", "confidence < edges[k + 1]", "lost", "predictions with a confidence of exactly 1 "
     "are lost: a bin includes its upper end."),
    ("error += inside.mean() * gap", "error = max(error, gap)", "largest gap", "this is the largest gap (the maximum calibration "
     "error); the expected one is a weighted mean."),
)  # fmt: skip


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T, between 0.05 and 20, at which softmax(logits / T) has the lowest cross-entropy on these labels.

    logits  (predictions, classes);  labels  (predictions,) whole numbers
    Right within 1 %. scipy.optimize.minimize_scalar(…, bounds=…, method="bounded") finds the minimum of a function of one
    number; over ln T it is well behaved.
    """
    from scipy.optimize import minimize_scalar

    def cost(log_T):
        scaled = logits / np.exp(log_T)
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        right = scaled[np.arange(len(labels)), labels]
        return np.mean(np.log(np.exp(scaled).sum(axis=1)) - right)

    best = minimize_scalar(cost, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(best.x))


def _temperature_cases() -> list[tuple]:
    rng = np.random.default_rng(0)
    cases = []
    for classes, factor in ((2, 3.0), (2, 0.5), (5, 2.0)):
        true = rng.normal(size=(400, classes)) * 1.5
        chances = np.exp(true) / np.exp(true).sum(1, keepdims=True)
        labels = (rng.random((400, 1)) > chances.cumsum(1)).sum(1).clip(max=classes - 1)
        cases.append((factor * true, labels))
    return cases


_TEMPERATURE_DIAGNOSES, _TEMPERATURE_SLIPS = slips(
    fit_temperature,
    ("return float(np.exp(best.x))", "return float(np.exp(-best.x))", "reciprocal", "this is the reciprocal: logits are divided "
     "by the temperature, so that a high one makes a model less sure."),
    ("return float(np.exp(best.x))", "return float(best.x)", "logarithm", "this is the logarithm of the temperature."),
    ("np.mean(np.log(np.exp(scaled).sum(axis=1)) - right)", "-np.mean(scaled.argmax(axis=1) == labels)",
     "accuracy", "accuracy cannot choose: dividing all logits by one number changes no prediction. Take the cross-entropy."),
    ("np.mean(np.log(np.exp(scaled).sum(axis=1)) - right)", "np.mean(np.log(np.exp(scaled).sum(axis=1)) - scaled.max(axis=1))",
     "surest", "this looks at the predicted class in place of the label, and ends with the surest model there is."),
)  # fmt: skip


# --- the exercises --------------------------------------------------------------------------------------------------------

# A published table: 12 blocks of width 768, vocabulary 32,000, "24 M parameters". 24.6 M is the token table alone.
_D, _V, _POSITIONS, _SEGMENTS, _DEPTH = 768, 32_000, 512, 2, 12
_TABLES = (_V + _POSITIONS + _SEGMENTS) * _D + 2 * _D  # and the norm behind them
_BLOCK = 12 * _D**2 + 13 * _D
_POOLER = _D**2 + _D
_TOTAL = _TABLES + _DEPTH * _BLOCK + _POOLER

_CAUSES = {
    "both factors start at zero": "then both would still be zero after training.",
    "the optimizer does not hold the factors": "then both would be after training what they were before it.",
    "neither factor starts at zero": "then the output would differ before the first step.",
    "down is frozen": "then up would have moved, and down would not.",
    "nothing is wrong": "look at what moved: in a sound run up has left zero and down has changed, too.",
}


def _cause(right: str) -> Any:
    return choice(right, {name: "" if name == right else text for name, text in _CAUSES.items()})


def _keeps(right: str, why: str) -> Any:
    return choice(
        right, {"can change": "" if right == "can change" else why, "stays": "" if right == "stays" else why}
    )


EXERCISES = (
    Exercise(
        "09.1",
        "Write masked_loss(logits, labels): the mean of −ln P(right token) over the positions that were chosen, in nats. "
        "A label of −100 marks a position that was not.",
        build(
            masked_loss,
            _loss_cases,
            names=("two rows", "logits a thousand times larger", "nothing chosen", "one row"),
            rel=1e-6,
            diagnoses=_LOSS_DIAGNOSES,
            right="Positions that were not chosen have no say, however sure the model is of them.",
        ),
        (
            "Which positions does the model get a mark for?",
            "Pick their logits first, logits[labels != -100]: what remains is a plain cross-entropy of (chosen, vocabulary).",
            "−ln P of a token is the logarithm of the sum of exp over the vocabulary, minus the token's own logit. Subtract the "
            "largest logit of each row from both before you take exp, and mind the batch in which nothing was chosen.",
        ),
        source(masked_loss, NUMPY),
        kind="build",
        minutes=10,
        difficulty=2,
        wrong=_LOSS_SLIPS,
        placeholder=lambda logits, labels: ...,
        skeleton=skeleton(masked_loss),
        own=lambda: masked_loss,
    ),
    Exercise(
        "09.2",
        "Write corrupt(ids, special, vocabulary, rng): choose 15 % of the tokens that are not special, corrupt the chosen ones "
        "80/10/10, and label them alone.",
        judged(_judge_corrupt, wanted="shares counted on 48,000 tokens"),
        (
            "Does a token need one draw, or one that says whether it is chosen and another that says what becomes of it?",
            "Two arrays of random numbers of the shape of ids, and masks made of comparisons. Take the labels before anything is "
            "changed, and change a copy.",
            "chosen = first draw below 0.15 and not special; of these, second draw below 0.8: [MASK]; from 0.8 to 0.9: "
            "rng.integers from the ordinary ids; the rest stays. np.where(chosen, …, …) gives the labels.",
        ),
        source(corrupt, NUMPY),
        kind="build",
        minutes=15,
        difficulty=3,
        wrong=_CORRUPT_SLIPS,
        placeholder=lambda ids, special, vocabulary, rng: ...,
        skeleton=skeleton(corrupt),
        own=lambda: corrupt,
    ),
    Exercise(
        "09.3",
        "Of 1,000 tokens (none of them special), how many does BERT see as [MASK] on average, and at how many is it asked for "
        "a token that still stands there unchanged?",
        several(
            masks=number(
                120,
                rel=0.001,
                diagnoses=[
                    (150, "150 are chosen; not all of the chosen become [MASK]."),
                    (800, "80 % of the chosen ones, not of all."),
                ],
                slips=(),
            ),
            unchanged=number(
                15,
                rel=0.001,
                diagnoses=[
                    (850, "the 850 that were not chosen are not asked for at all."),
                    (100, "10 % of the chosen ones, not of all."),
                    (30, "15 of these hold another token, drawn at random."),
                ],
                slips=(),
                right="A model that trusted every token it sees would be caught by the 15 random ones.",
            ),
        ),
        (
            "First: how many of the 1,000 are chosen at all?",
            "15 % are chosen. The 80/10/10 split is of these.",
            "150 chosen: 80 % become [MASK], 10 % another token, 10 % stay.",
        ),
        """chosen = 0.15 * 1000
answer = {"masks": 0.8 * chosen, "unchanged": 0.1 * chosen}""",
        wrong=(
            ({"masks": 150, "unchanged": 15}, "not all of the chosen"),
            ({"masks": 120, "unchanged": 850}, "not asked for at all"),
            ({"masks": 800, "unchanged": 100}, "80 % of the chosen"),
        ),
        placeholder={"masks": ..., "unchanged": ...},
        minutes=3,
        difficulty=1,
    ),
    Exercise(
        "09.4",
        "A published table gives an encoder of 12 blocks, d = 768 and a vocabulary of 32,000 as 24 million parameters. Count it "
        "as a BERT: with 512 positions, 2 segments, the norm behind the tables and the pooler. How many exactly, and which "
        "part alone has about 24 million?",
        several(
            parameters=number(
                _TOTAL,
                rel=0,
                abs=0.5,
                diagnoses=[
                    (_TOTAL - _POOLER, "the pooler is missing: a matrix of d × d and its bias."),
                    (
                        _TOTAL - 2 * _D,
                        "2·d are missing: the segment table (two rows), or the norm behind the tables (gain and bias).",
                    ),
                    (_TOTAL - _POSITIONS * _D, "the position table is missing."),
                    (_TOTAL - _TABLES, "these are the blocks and the pooler; add the tables."),
                    (_TOTAL - 12 * 13 * _D, "biases and norms of the blocks are missing: 13·d in each."),
                    (12 * 12 * _D**2, "these are the matrices of the blocks alone."),
                    (24e6, "that is the table's claim. Count one block first: 12·d² is 7 million."),
                    (109_482_240, "this is bert-base with its own vocabulary of 30,522; here it is 32,000."),
                ],
                slips=((1e-6, "this looks like millions; an exact count is asked for."),),
            ),
            counted=choice(
                "tokens",
                {
                    "tokens": "",
                    "blocks": "the twelve blocks together have 85 million.",
                    "positions": "the position table has 0.4 million.",
                    "pooler": "the pooler has 0.6 million.",
                },
                right="Whoever made the table counted the dictionary and forgot the network.",
            ),
        ),
        (
            "Tables first: (tokens + positions + segments)·d. Which of the three is about 24 million?",
            "A block has 12·d² in its matrices; biases (9·d) and two norms (4·d) make it 12·d² + 13·d.",
            "Add the norm behind the tables (2·d) and the pooler (d² + d).",
        ),
        """d, depth = 768, 12
tables = (32_000 + 512 + 2) * d + 2 * d
blocks = depth * (12 * d**2 + 13 * d)
pooler = d**2 + d
answer = {"parameters": tables + blocks + pooler, "counted": "tokens"}""",
        wrong=(
            ({"parameters": 24e6, "counted": "tokens"}, "claim"),
            ({"parameters": _TOTAL - _POOLER, "counted": "tokens"}, "pooler is missing"),
            ({"parameters": _TOTAL, "counted": "blocks"}, "85 million"),
            ({"parameters": _TOTAL - _SEGMENTS * _D, "counted": "tokens"}, "segment table"),
        ),
        placeholder={"parameters": ..., "counted": ...},
        minutes=10,
        difficulty=2,
    ),
    Exercise(
        "09.5",
        "Write metrics(labels, predictions): accuracy, and precision, recall and F1 of label 1, and the mean of the F1 of both "
        "labels (macro). A quotient with a zero below counts as 0.",
        build(
            metrics,
            _metric_cases,
            names=(
                "200 pairs, 40 true",
                "never says yes",
                "no pair is true",
                "none true, none called true",
                "always says yes",
            ),
            rel=1e-6,
            diagnoses=_METRIC_DIAGNOSES,
            right="Of the 200 pairs accuracy is 0.85 and F1 0.67: accuracy looks better because most pairs are not true.",
        ),
        (
            "Which pairs were called true? Which are true? How many are both?",
            "precision = hits / called true, recall = hits / true. F1 of label 0 is the same computation with the labels' parts "
            "exchanged: write it once, for a label.",
            "F1 = 2 · hits / (called + true): it needs no precision and no recall, and has one zero to look after. Each quotient "
            "gets an `if … else 0.0`.",
        ),
        source(metrics, NUMPY),
        kind="build",
        minutes=15,
        difficulty=2,
        wrong=_METRIC_SLIPS,
        placeholder=lambda labels, predictions: ...,
        skeleton=skeleton(metrics),
        own=lambda: metrics,
    ),
    Exercise(
        "09.6",
        "The error 1 − F1 of a model falls as A·n^(−α) with the number n of labelled pairs: 0.40 at 100 pairs and 0.32 at 400. "
        "How many pairs bring it to 0.256?",
        number(
            1600,
            rel=0.01,
            diagnoses=[
                (
                    640,
                    "this goes on along a straight line; a power law loses the same *ratio* for each factor in n.",
                ),
                (
                    700,
                    "this goes on along a straight line; a power law loses the same *ratio* for each factor in n.",
                ),
                (800, "the ratio 0.8 costs a factor of 4 in pairs, not of 2."),
                (
                    500,
                    "this goes on along a straight line; a power law loses the same *ratio* for each factor in n.",
                ),
            ],
            slips=(),
            right="And the next 20 % cost 6,400: why one buys pre-training instead of labels.",
        ),
        (
            "By what ratio did the error fall when n grew fourfold?",
            "0.32/0.40 = 0.8 for a factor of 4. And 0.256/0.32?",
            "0.256/0.32 is 0.8 again, so the pairs grow by a factor of 4 again.",
        ),
        """import math

alpha = -math.log(0.32 / 0.40) / math.log(400 / 100)
answer = 400 * (0.256 / 0.32) ** (-1 / alpha)""",
        wrong=((640, "straight line"), (800, "factor of 4")),
        minutes=4,
        difficulty=2,
    ),
    Exercise(
        "09.7",
        "Write LoRA(linear, rank, alpha), a layer that adds (alpha / rank) B A x to a frozen linear layer: A random, B zero, "
        "nothing but A and B trained, merged() one plain layer that does the same, a rank above the width refused.",
        judged(_judge_lora, wanted="a class, judged before, during and after three steps of training"),
        (
            "What has to be zero at first so that the new layer starts as the old one? Why must the other factor not be?",
            "In __init__: super().__init__(), check the rank, freeze the parameters of linear (requires_grad_(False)), make two "
            "torch.nn.Parameter. x has its features last, so A x is x @ down.T.",
            "merged(): a new torch.nn.Linear of the same sizes, load_state_dict from linear, and inside torch.no_grad() add "
            "scale · (up @ down) to its weight.",
        ),
        _LORA_SOLUTION,
        kind="build",
        minutes=25,
        difficulty=4,
        wrong=_LORA_SLIPS,
        placeholder=lambda linear, rank, alpha: ...,
        skeleton=_LORA + "\n    ...",
        own=lambda: __import__("scalept_lab.transfer.lora", fromlist=["LowRank"]).LowRank,
    ),
    Exercise(
        "09.8",
        "Four LoRA runs, each with one fault or none. From the change of the output before the first step and from the sizes of "
        "the factors before and after training: what is the fault of each?",
        several(
            A=_cause("both factors start at zero"),
            B=_cause("the optimizer does not hold the factors"),
            C=_cause("neither factor starts at zero"),
            D=_cause("down is frozen"),
        ),
        (
            "Which run begins with another output than the model that it adapts? Which factors moved at all?",
            "The gradient of B is a product with A, and that of A a product with B. What follows if one of them is zero? "
            "If both are?",
            "A factor that has a gradient and an optimizer moves. Where neither moves, ask whether it had a gradient.",
        ),
        """answer = {
    "A": "both factors start at zero",
    "B": "the optimizer does not hold the factors",
    "C": "neither factor starts at zero",
    "D": "down is frozen",
}""",
        kind="debug",
        minutes=8,
        difficulty=3,
        wrong=(
            (
                {
                    "A": "the optimizer does not hold the factors",
                    "B": "both factors start at zero",
                    "C": "neither factor starts at zero",
                    "D": "down is frozen",
                },
                "what they were before",
            ),
            (
                {
                    "A": "both factors start at zero",
                    "B": "both factors start at zero",
                    "C": "neither factor starts at zero",
                    "D": "down is frozen",
                },
                "still be zero",
            ),
            (
                {
                    "A": "both factors start at zero",
                    "B": "the optimizer does not hold the factors",
                    "C": "neither factor starts at zero",
                    "D": "nothing is wrong",
                },
                "what moved",
            ),
        ),
        placeholder={"A": ..., "B": ..., "C": ..., "D": ...},
    ),
    Exercise(
        "09.9",
        "Write calibration_error(confidence, right, bins): the mean distance, over bins of confidence, between how sure the "
        "predictions are and how many are right, weighted by how many a bin holds.",
        build(
            calibration_error,
            _calibration_cases,
            names=("well calibrated", "too sure", "three predictions", "a confidence of 1"),
            rel=1e-6,
            diagnoses=_ERROR_DIAGNOSES,
            right="Even a perfectly calibrated classifier gets more than zero on 200 pairs.",
        ),
        (
            "Which predictions are in the bin from 0.7 to 0.8, and how many of them are right?",
            "Go through the bins; `inside = (confidence > low) & (confidence <= high)`; skip the empty ones.",
            "Of each bin |mean of confidence − mean of right|, times inside.mean(), which is its share of all predictions.",
        ),
        source(calibration_error, NUMPY),
        kind="build",
        minutes=10,
        difficulty=2,
        wrong=_ERROR_SLIPS,
        placeholder=lambda confidence, right, bins=10: ...,
        skeleton=skeleton(calibration_error),
        own=lambda: calibration_error,
    ),
    Exercise(
        "09.10",
        "Write fit_temperature(logits, labels): the one number by which all logits are divided so that the cross-entropy on "
        "held-out pairs is lowest.",
        build(
            fit_temperature,
            _temperature_cases,
            names=("too sure", "too careful", "five classes"),
            rel=0.01,
            diagnoses=_TEMPERATURE_DIAGNOSES,
            right="It changes no prediction, so accuracy and F1 stay as they are.",
        ),
        (
            "Which of the scores can change when all logits are divided by the same number?",
            "Write the cross-entropy as a function of ln T, as in 09.1, and let scipy find its minimum.",
            "cost(log_T): scaled = logits / exp(log_T), log of the sum of exp minus the label's own, the mean. Bounds ln 0.05 "
            "and ln 20; return exp of what minimize_scalar calls .x.",
        ),
        source(fit_temperature, NUMPY),
        kind="build",
        minutes=12,
        difficulty=3,
        wrong=_TEMPERATURE_SLIPS,
        placeholder=lambda logits, labels: ...,
        skeleton=skeleton(fit_temperature),
        own=lambda: fit_temperature,
    ),
    Exercise(
        "09.11",
        "A rule counts the words that sentence and function have in common. For each disturbance: can that number change? Answer "
        '"can change" or "stays" for typos (in the sentence), prefix (a word that no function uses, before the sentence), '
        "own (names that the sentence does not use), shared (names that both use, renamed in both) and one_side (names that "
        "both use, renamed in the function alone).",
        several(
            typos=_keeps("can change", "a shared word with two letters swapped is shared no longer."),
            prefix=_keeps("stays", "a word that no function uses can be common to no pair."),
            own=_keeps(
                "stays", "these words are not counted before, and their new names are not counted after."
            ),
            shared=_keeps("stays", "a shared word becomes a shared new name: one for one."),
            one_side=_keeps("can change", "the sentence still has the old name, the function does not."),
        ),
        (
            "For each: take one word that both sides have. Do both still have it, or its new name?",
            "Then take a word that one side has alone. Can it become common to both?",
            "In two of the five a shared word is changed on one side only.",
        ),
        'answer = {"typos": "can change", "prefix": "stays", "own": "stays", "shared": "stays", "one_side": "can change"}',
        kind="design",
        minutes=5,
        difficulty=2,
        wrong=(
            (
                {
                    "typos": "stays",
                    "prefix": "stays",
                    "own": "stays",
                    "shared": "stays",
                    "one_side": "can change",
                },
                "swapped",
            ),
            (
                {
                    "typos": "can change",
                    "prefix": "stays",
                    "own": "stays",
                    "shared": "can change",
                    "one_side": "can change",
                },
                "one for one",
            ),
            (
                {
                    "typos": "can change",
                    "prefix": "stays",
                    "own": "stays",
                    "shared": "stays",
                    "one_side": "stays",
                },
                "still has",
            ),
        ),
        placeholder={"typos": ..., "prefix": ..., "own": ..., "shared": ..., "one_side": ...},
    ),
    *nb09_privacy.EXERCISES,
)
