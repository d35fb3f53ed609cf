"""Exercises of notebook 01, data scaling: copies, units of loss, leaks, repetition, a filter that learns, and mixtures."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import zlib
from collections.abc import Callable
from typing import Any

from scalept_lab.course.answers import UNANSWERED, Verdict, build, choice, judged, number, several
from scalept_lab.course.equal import as_number, kind
from scalept_lab.course.exercises import Exercise

# --- 01.1: Jaccard -------------------------------------------------------------------------------------------


def _runs(text: str, k: int) -> set[tuple[str, ...]]:
    words = text.split()
    size = min(k, len(words))
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)} if words else set()


def _long_enough(text: str, k: int) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i : i + k]) for i in range(len(words) - k + 1)}


def _over(x: set, y: set, below: Callable[[set, set], float]) -> float:
    return len(x & y) / (below(x, y) or 1)


def _union(x: set, y: set) -> float:
    return len(x | y)


def _jaccard(a: str, b: str, k: int) -> float:
    return _over(_runs(a, k), _runs(b, k), _union)


def _bag(a: str, b: str, k: int) -> float:
    return _jaccard(a, b, 1)


def _contained(a: str, b: str, k: int) -> float:
    return _over(_runs(a, k), _runs(b, k), lambda x, y: min(len(x), len(y)))


def _counted_twice(a: str, b: str, k: int) -> float:
    return _over(_runs(a, k), _runs(b, k), lambda x, y: len(x) + len(y))


def _dice(a: str, b: str, k: int) -> float:
    return 2 * _counted_twice(a, b, k)


def _letters(a: str, b: str, k: int) -> float:
    return _over(set(a), set(b), _union)


def _short_lost(a: str, b: str, k: int) -> float:
    return _over(_long_enough(a, k), _long_enough(b, k), _union)


def _one_run_less(a: str, b: str, k: int) -> float:
    return _over(_cut_early(a, k), _cut_early(b, k), _union)


def _cut_early(text: str, k: int) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i : i + k]) for i in range(len(words) - k)}


_PAIRS = {
    "a word added": ("to be or not to be that is the question", "to be or not to be is this the question", 2),
    "two words changed places": (
        "the cat sat on the mat and the dog sat on the rug", "the dog sat on the mat and the cat sat on the rug", 3,
    ),
    "single words": ("return the sum of all terms", "return the product of all terms of the sum", 1),
    "fewer words than k": ("two words", "two words", 5),
    "one text empty": ("", "not empty at all", 2),
    "both texts empty": ("", " ", 2),
}  # fmt: skip

# --- 01.2 and 01.3: MinHash ----------------------------------------------------------------------------------


def _numpy() -> Any:
    import numpy

    return numpy


def _signature(shingles: Any, a: Any, b: Any) -> Any:
    from scalept_lab.data import duplicates

    return duplicates.signature(shingles, a, b)


def _hashed_all(shingles: Any, a: Any, b: Any) -> Any:
    np = _numpy()
    x = np.asarray(shingles, np.uint64)
    return (x[:, None] * a + b) % np.uint64(2**61 - 1) & np.uint64(2**32 - 1)


def _largest_kept(shingles: Any, a: Any, b: Any) -> Any:
    found = _hashed_all(shingles, a, b)
    return found.max(0) if len(found) else _signature(shingles, a, b)


def _one_per_shingle(shingles: Any, a: Any, b: Any) -> Any:
    return _hashed_all(shingles, a, b).min(1)


def _zeros_for_none(shingles: Any, a: Any, b: Any) -> Any:
    return _signature(shingles, a, b) if len(shingles) else _numpy().zeros(len(a))


def _not_cut(shingles: Any, a: Any, b: Any) -> Any:
    np = _numpy()
    x = np.asarray(shingles, np.uint64)
    found = (x[:, None] * a + b) % np.uint64(2**61 - 1)
    return found.min(0) if len(found) else _signature(shingles, a, b)


def _overflowing(shingles: Any, a: Any, b: Any) -> Any:
    np = _numpy()
    x, a, b = (np.asarray(values).astype(np.uint32) for values in (shingles, a, b))
    found = (x[:, None] * a + b).astype(np.uint64) % np.uint64(2**61 - 1) & np.uint64(2**32 - 1)
    return found.min(0) if len(found) else _signature(shingles, a, b)


def _sets() -> list[tuple[Any, Any, Any]]:
    np = _numpy()
    rng = np.random.default_rng(1)
    a, b = (rng.integers(1, 2**31, 16, dtype=np.uint64) for _ in range(2))
    some = np.unique(rng.integers(0, 2**32, 200, dtype=np.uint32))
    return [(some, a, b), (some[:1], a, b), (some[::-1], a[:3], b[:3]), (some[:0], a, b)]


def _candidates(signatures: Any, bands: int) -> Any:
    from scalept_lab.data import duplicates

    return duplicates.candidates(signatures, bands)


def _pairs(signatures: Any, agree: Callable[[Any, Any], bool]) -> list[tuple[int, int]]:
    rows = range(len(signatures))
    return [(i, j) for i in rows for j in rows if i < j and agree(signatures[i], signatures[j])]


def _any_place(signatures: Any, bands: int) -> Any:
    return _pairs(signatures, lambda x, y: bool((x == y).any()))


def _all_places(signatures: Any, bands: int) -> Any:
    return _pairs(signatures, lambda x, y: bool((x == y).all()))


def _across_bands(signatures: Any, bands: int) -> Any:
    def keys(x: Any) -> set[bytes]:
        return {part.tobytes() for part in _numpy().split(x, bands)}

    return _pairs(signatures, lambda x, y: bool(keys(x) & keys(y)))


def _bands_for_rows(signatures: Any, bands: int) -> Any:
    return _candidates(signatures, len(signatures[0]) // bands)


def _neighbours(signatures: Any, bands: int) -> Any:
    """Only each document and the one before it in the bucket: of three alike, one pair is lost."""
    last: dict[tuple[int, bytes], int] = {}
    found = set()
    for row, values in enumerate(signatures):
        for band, part in enumerate(_numpy().split(values, bands)):
            if (band, part.tobytes()) in last:
                found.add((last[band, part.tobytes()], row))
            last[band, part.tobytes()] = row
    return sorted(found)


def _both_ways(signatures: Any, bands: int) -> Any:
    pairs = _candidates(signatures, bands)
    return sorted(pairs + [(j, i) for i, j in pairs])


def _with_itself(signatures: Any, bands: int) -> Any:
    return sorted(_candidates(signatures, bands) + [(i, i) for i in range(len(signatures))])


def _as_set(signatures: Any, bands: int) -> Any:
    return set(_candidates(signatures, bands))


def _signatures() -> list[tuple[Any, int]]:
    np = _numpy()
    rng = np.random.default_rng(2)
    far = rng.integers(0, 3, (12, 12), dtype=np.uint64)
    alike = np.array([[1, 2, 3, 4], [9, 9, 3, 4], [1, 2, 3, 4], [3, 4, 7, 7], [1, 2, 8, 8]], np.uint64)
    return [(alike, 2), (far, 4), (far, 6), (far[:1], 3), (np.repeat(far[:1], 4, axis=0), 2)]


# --- 01.6: a split that leaks --------------------------------------------------------------------------------


def _documents(count: int = 600, seed: int = 0) -> tuple[list[str], list[str]]:
    rng = random.Random(seed)
    texts = [f"text {rng.random()}" for _ in range(count)]
    for copy in range(0, count, 7):
        texts[copy] = texts[rng.randrange(count)]
    return [f"package/module_{rng.randrange(10**9)}.py" for _ in range(count)], texts


def _sides(split: Callable[..., Any], paths: list[str], texts: list[str]) -> Any:
    """Two lists of row numbers; or whatever else came back."""
    found = split(list(paths), list(texts))
    if (
        isinstance(found, (tuple, list))
        and len(found) == 2
        and all(hasattr(side, "__iter__") for side in found)
    ):
        return [int(row) for row in found[0]], [int(row) for row in found[1]]
    return found


def _judge_split(split: Callable[..., Any]) -> Verdict:
    paths, texts = _documents()
    found = _sides(split, paths, texts)
    if found is None or found is ...:
        return UNANSWERED
    if not isinstance(found, tuple):
        return Verdict(
            False, f"two lists of row numbers are asked for, (train, heldout); this is {kind(found)}."
        )
    train, heldout = found
    both = {texts[row] for row in train} & {texts[row] for row in heldout}
    kept = {texts[row] for row in train + heldout}
    more_paths, more_texts = _documents(37, seed=1)
    later: Any = _sides(split, more_paths + paths, more_texts + texts) or ([], [])
    before = {paths[row]: side for side, rows in enumerate(found) for row in rows}
    after = {(more_paths + paths)[row]: side for side, rows in enumerate(later) for row in rows}
    moved = sum(after.get(path, side) != side for path, side in before.items())
    share = len(heldout) / max(1, len(train) + len(heldout))
    salted = "hash" in _names(getattr(split, "__code__", None))
    tests = [
        ("texts on both sides", f"{len(both)}", not both,
         "a text stands on both sides under two paths: look for copies while all documents are together."),
        ("texts lost", f"{len(set(texts) - kept)}", not set(texts) - kept,
         "some texts are on neither side: of copies, one has to stay."),
        ("copies left on a side", f"{len(train) + len(heldout) - len(kept)}", len(train) + len(heldout) == len(kept),
         "a text is kept more than once: of copies, only the first stays."),
        ("held out", f"{share:.0%}", 0.02 < share < 0.1, "about one document in twenty belongs to the held-out side."),
        ("moved when documents are added", f"{moved}", not moved,
         "documents change sides when others come before them: decide by the path alone, not by the place in the list."),
        ("the same tomorrow", "no: hash() of text is salted" if salted else "yes", not salted,
         "Python's hash() of a text is another number each time Python starts: take a digest of the path."),
    ]  # fmt: skip
    rows = tuple((name, value, ok) for name, value, ok, _ in tests)
    wrong = next((text for *_, ok, text in tests if not ok), "")
    return Verdict(
        not wrong,
        wrong or "Two leaks less: no text on both sides, and no document ever changes sides.",
        rows=rows,
    )


def _names(code: Any) -> set[str]:
    """Global names that a function uses, its inner ones included."""
    inner = [each for each in getattr(code, "co_consts", ()) if hasattr(each, "co_names")]
    return set(getattr(code, "co_names", ())).union(*map(_names, inner))


def _held(path: str) -> bool:
    return int(hashlib.sha256(path.encode()).hexdigest(), 16) % 20 == 0


def _split_with(held: Callable[[int, str], bool], first: bool) -> Callable[[list[str], list[str]], Any]:
    """A split by `held`, that removes copies over everything (`first`) or on each side by itself."""

    def split(paths: list[str], texts: list[str]) -> tuple[list[int], list[int]]:
        def unique(rows: Any) -> list[int]:
            seen: dict[str, int] = {}
            for row in rows:
                seen.setdefault(texts[row], row)
            return list(seen.values())

        rows = unique(range(len(paths))) if first else list(range(len(paths)))
        sides = [[row for row in rows if held(row, paths[row]) == side] for side in (False, True)]
        return (sides[0], sides[1]) if first else (unique(sides[0]), unique(sides[1]))

    return split


_by_row = _split_with(lambda row, path: row % 20 == 0, True)
_each_side = _split_with(lambda row, path: _held(path), False)


def _copies_dropped_altogether(paths: list[str], texts: list[str]) -> tuple[list[int], list[int]]:
    rows = [row for row in range(len(paths)) if texts.count(texts[row]) == 1]
    return [row for row in rows if not _held(paths[row])], [row for row in rows if _held(paths[row])]


def _salted_split(paths: list[str], texts: list[str]) -> tuple[list[int], list[int]]:
    rows = list({text: row for row, text in reversed(list(enumerate(texts)))}.values())
    held = [hash(path) % 20 == 0 for path in paths]
    return [row for row in rows if not held[row]], [row for row in rows if held[row]]


# --- 01.8: what repetition is worth --------------------------------------------------------------------------


def _worth(unique: float, epochs: Any, R_star: float) -> Any:
    return unique * (1 + R_star * (1 - _numpy().exp(-(epochs - 1) / R_star)))


def _fit_R(unique: float, epochs: Any, worth: Any, formula: Callable[..., Any] = _worth) -> float:
    np = _numpy()
    epochs, worth = np.asarray(epochs, float), np.asarray(worth, float)
    low, high = math.log(0.05), math.log(500)
    for _ in range(4):  # a grid over ln R*, each finer than the one before
        grid = np.linspace(low, high, 60)
        misfit = [np.sum(np.log(worth / formula(unique, epochs, math.exp(g))) ** 2) for g in grid]
        best, step = int(np.argmin(misfit)), grid[1] - grid[0]
        low, high = grid[best] - step, grid[best] + step
    return math.exp(grid[best])


def _epochs_counted(unique: float, epochs: Any, worth: Any) -> float:
    return _fit_R(unique, _numpy().asarray(epochs) + 1.0, worth)


def _first_pass_lost(unique: float, epochs: Any, worth: Any) -> float:
    return _fit_R(unique, epochs, worth, lambda u, e, R: _worth(u, e, R) - u + 1e-9)


def _published(unique: float, epochs: Any, worth: Any) -> float:
    return 15.39


def _log_left(unique: float, epochs: Any, worth: Any) -> float:
    return math.log(_fit_R(unique, epochs, worth))


def _judge_R(fit: Callable[..., Any]) -> Verdict:
    np = _numpy()
    rows, wrong = [], ""
    for name, unique, epochs, R, noise in (
        ("planted, without noise", 1e5, (1, 2, 4, 8, 16, 32), 6.2, 0.0),
        ("another unit", 3.0, (1, 3, 9, 27), 2.4, 0.0),
        ("slow wear", 1e9, (2, 5, 12, 40, 64), 31.0, 0.0),
        ("with noise of 2 %", 3e4, (1, 2, 3, 4, 6, 8, 12, 16), 5.1, 0.02),
    ):
        passes = np.array(epochs, float)
        worth = _worth(unique, passes, R) * np.exp(
            noise * np.random.default_rng(3).standard_normal(len(passes))
        )
        found = fit(unique, passes.copy(), worth.copy())
        if found is None or found is ...:
            return UNANSWERED
        target, value = _fit_R(unique, passes, worth), as_number(found)
        if value is None or not math.isfinite(value):
            what = kind(found) if value is None else value
            return Verdict(False, f"one finite number is asked for, R*; with {name!r} this is {what}.")
        off = abs(value / target - 1)
        rows.append((name, "agrees" if off < 0.01 else f"{100 * off:.3g} % off", bool(off < 0.01)))
        if not off < 0.01 and not wrong:
            slips = [
                (_epochs_counted, "the first pass is no repetition: R is the number of passes less one."),
                (
                    _first_pass_lost,
                    "these are the repetitions alone; the first pass is worth U and comes on top.",
                ),
                (_published, "that is the published constant; these points have their own."),
                (_log_left, "that is the logarithm of the constant: raise e to it at the end."),
                (lambda *given: 1 / _fit_R(*given), "that is the reciprocal."),
                (lambda *given: -_fit_R(*given), "the sign is the other way round: R* is positive."),
            ]
            told = (
                text for slip, text in slips if abs(value - slip(unique, passes, worth)) < 0.01 * abs(value)
            )
            wrong = next(
                told, f"{name}: the misfit has a lower point elsewhere; look at it over a wide range of R*."
            )
    right = "One constant, found from points: the same code now reads ours off the record."
    return Verdict(not wrong, wrong or right, rows=tuple(rows))


# --- 01.9 and 01.10: a filter that learns --------------------------------------------------------------------


def _hashed(texts: Any, buckets: int) -> Any:
    from scalept_lab.data import quality

    return quality.hashed(texts, buckets)


def _hashed_as(
    texts: Any,
    buckets: int,
    words_too: bool = True,
    pairs: bool = True,
    unit: bool = True,
    once: bool = False,
):
    np = _numpy()
    X = np.zeros((len(texts), buckets))
    for row, text in zip(X, texts, strict=True):
        words = text.split()
        grams = words * words_too + [f"{a} {b}" for a, b in itertools.pairwise(words)] * pairs
        for gram in grams:
            place = zlib.crc32(gram.encode()) % buckets
            row[place] = 1 if once else row[place] + 1
    lengths = np.linalg.norm(X, axis=1, keepdims=True)
    return X / np.where(lengths > 0, lengths, 1) if unit else X


def _words_alone(texts: Any, buckets: int) -> Any:
    return _hashed_as(texts, buckets, pairs=False)


def _pairs_alone(texts: Any, buckets: int) -> Any:
    return _hashed_as(texts, buckets, words_too=False)


def _not_unit(texts: Any, buckets: int) -> Any:
    return _hashed_as(texts, buckets, unit=False)


def _shares(texts: Any, buckets: int) -> Any:
    X = _not_unit(texts, buckets)
    return X / _numpy().maximum(1, X.sum(axis=1, keepdims=True))


def _of_letters(texts: Any, buckets: int) -> Any:
    return _hashed([" ".join(text) for text in texts], buckets)


def _counted_once(texts: Any, buckets: int) -> Any:
    return _hashed_as(texts, buckets, once=True)


_SENTENCES = [
    (["def f(x): return x", "def f(x): return x x x", ""], 16),
    (["one"], 5),
    (["", "  "], 3),
    (["a b a b a", "数据 质量 数据"], 64),
]


def _logistic(X: Any, y: Any, steps: int, rate: float) -> Any:
    from scalept_lab.data import quality

    return quality.logistic(X, y, steps, rate)


def _descend(
    X: Any,
    y: Any,
    steps: int,
    rate: float,
    link: Callable[[Any], Any],
    total: bool = False,
    bias: bool = True,
):
    np = _numpy()
    w, b = np.zeros(X.shape[1]), 0.0
    for _ in range(steps):
        error = (link(X @ w + b) - y) / (1 if total else len(y))
        w -= rate * X.T @ error
        b -= rate * float(error.sum()) * bias
    return w, b


def _sigmoid(z: Any) -> Any:
    return 1 / (1 + _numpy().exp(-z))


def _summed(X: Any, y: Any, steps: int, rate: float) -> Any:
    return _descend(X, y, steps, rate, _sigmoid, total=True)


def _no_bias(X: Any, y: Any, steps: int, rate: float) -> Any:
    return _descend(X, y, steps, rate, _sigmoid, bias=False)


def _linear(X: Any, y: Any, steps: int, rate: float) -> Any:
    return _descend(X, y, steps, rate, lambda z: z)


def _uphill(X: Any, y: Any, steps: int, rate: float) -> Any:
    return _descend(X, y, steps, -rate, _sigmoid)


def _labelled() -> list[tuple[Any, ...]]:
    np = _numpy()
    rng = np.random.default_rng(4)
    X = rng.standard_normal((12, 3))
    y = (X[:, 0] + 0.5 * rng.standard_normal(12) > 0.3).astype(float)
    return [(X, y, 25, 0.3), (X, 1 - y, 1, 1.0), (X[:, :1], y, 40, 0.5), (X, y, 0, 0.5), (X, y > 0.5, 7, 0.2)]


# --- 01.11: a mixing law -------------------------------------------------------------------------------------


def _law(r: Any, c: float, k: float, t: float) -> Any:
    return c + k * _numpy().exp(t * r)


def _mixing_law(shares: Any, losses: Any) -> tuple[float, float, float]:
    np = _numpy()
    r, L = np.asarray(shares, float), np.asarray(losses, float)
    found = (math.inf, 0.0, 0.0, 0.0)
    for t in [sign * size for size in np.geomspace(0.05, 30, 600) for sign in (-1, 1)]:
        X = np.stack([np.ones_like(r), np.exp(t * r)], axis=1)
        c, k = np.linalg.lstsq(X, L, rcond=None)[0]
        found = min(found, (float(np.sum((X @ (c, k) - L) ** 2)), float(c), float(k), float(t)))
    return found[1:]


def _sign_of_t(shares: Any, losses: Any) -> tuple[float, float, float]:
    c, k, t = _mixing_law(shares, losses)
    return c, k, -t


def _no_floor(shares: Any, losses: Any) -> tuple[float, float, float]:
    t, log_k = _numpy().polyfit(shares, _numpy().log(losses), 1)
    return 0.0, math.exp(log_k), float(t)


def _falling_only(shares: Any, losses: Any) -> tuple[float, float, float]:
    c, k, t = _mixing_law(shares, losses)
    return (c, k, t) if t < 0 else (float(_numpy().mean(losses)), 0.0, -1.0)


def _straight(shares: Any, losses: Any) -> tuple[float, float, float]:
    slope, start = _numpy().polyfit(shares, losses, 1)
    return float(start - slope / 1e-3), float(slope / 1e-3), 1e-3


def _judge_mixing(fit: Callable[..., Any]) -> Verdict:
    np = _numpy()
    rows, wrong, ahead = [], "", np.linspace(0, 1, 21)
    for name, shares, (c, k, t) in (
        ("falls with the share", (0, 0.5, 1), (2.1, 0.9, -2.0)),
        ("rises with the share", (0, 0.25, 0.5, 1), (2.0, 0.05, 3.0)),
        ("steep at one end", (0, 0.125, 0.5, 1), (1.4, 1.1, -6.5)),
        ("shares in another order", (1, 0, 0.75, 0.25), (3.0, 0.4, -1.2)),
    ):
        r = np.array(shares, float)
        found = fit(r.copy(), _law(r, c, k, t))
        if found is None or found is ...:
            return UNANSWERED
        values = [value for value in map(as_number, found) if value is not None and math.isfinite(value)]
        if len(found) != 3:
            return Verdict(False, f"three constants are asked for: c, k and t; these are {len(found)}.")
        if len(values) != 3:
            return Verdict(False, f"three finite numbers are asked for; with {name!r} not all of these are.")
        off = float(np.abs(_law(ahead, *values) - _law(ahead, c, k, t)).max())
        rows.append((name, "agrees" if off < 0.01 else f"forecasts up to {off:.2g} nats off", off < 0.01))
        if off < 0.01 or wrong:
            continue
        slips = [
            (_sign_of_t, "the sign of t is the other way round."),
            (lambda *given: _mixing_law(*given)[::-1], "the order is the other way round: c, k, t."),
            (lambda *given: tuple(_mixing_law(*given)[i] for i in (1, 0, 2)), "c and k have changed places."),
            (_falling_only, "a share can also hurt: try positive t as well as negative."),
            (_no_floor, "without c the law falls towards zero; no text has a loss of zero."),
            (_straight, "that is a straight line; the law bends."),
        ]
        there = _law(ahead, *values)
        told = (
            text
            for slip, text in slips
            if np.allclose(there, _law(ahead, *slip(r, _law(r, c, k, t))), atol=1e-2)
        )
        wrong = next(
            told, f"{name}: another c, k and t are nearer to these points; is the range of t wide enough?"
        )
    right = "For each t the rest is a straight line: that is why one loop is enough."
    return Verdict(not wrong, wrong or right, rows=tuple(rows))


EXERCISES = (
    Exercise(
        "01.1",
        "Write jaccard(a, b, k): the Jaccard similarity of two texts, by their sets of runs of k words (words are split at "
        "blanks). A text of fewer than k words has one run, all its words; an empty text has none; two empty texts have "
        "similarity 0.",
        build(
            _jaccard,
            list(_PAIRS.values()),
            names=list(_PAIRS),
            diagnoses=[
                (_letters, "a set of a text is the set of its letters; split it into words first."),
                (
                    lambda a, b, k: 100 * _jaccard(a, b, k),
                    "this looks like percent; between 0 and 1 is asked for.",
                ),
                (
                    _bag,
                    "these are sets of single words; take runs of k words, or word order counts for nothing.",
                ),
                (_contained, "that divides by the smaller set (containment); divide by the union."),
                (
                    _counted_twice,
                    "what both have is counted twice below the line: the union is a + b minus both.",
                ),
                (_dice, "that is Dice's coefficient, 2·both/(a + b); Jaccard divides both by the union."),
                (_short_lost, "a text shorter than k words loses its one run."),
                (_one_run_less, "the last run of each text is missing: n words have n − k + 1 runs."),
                (
                    lambda a, b, k: 1 - _jaccard(a, b, k),
                    "that is the distance; the similarity is 1 minus it.",
                ),
            ],
            right="A million documents have 5e11 pairs: that is why MinHash looks for candidates first.",
        ),
        (
            "Python's sets do the work: `x & y` is what both have, `x | y` what either has.",
            "A text of n words has n − k + 1 runs of k words; make each a tuple, so that it can be in a set.",
            "Let the run's length be the smaller of k and n, return early for no words, and mind dividing by an empty union.",
        ),
        """def jaccard(a, b, k):
    def runs(text):
        words = text.split()
        size = min(k, len(words))
        if not words:
            return set()
        return {tuple(words[i:i + size]) for i in range(len(words) - size + 1)}
    x, y = runs(a), runs(b)
    return len(x & y) / max(1, len(x | y))

answer = jaccard""",
        kind="build",
        minutes=8,
        difficulty=2,
        wrong=(
            (_bag, "single words"),
            (_contained, "containment"),
            (_counted_twice, "counted twice"),
            (_dice, "Dice"),
            (_short_lost, "loses its one run"),
        ),
        placeholder=lambda a, b, k: ...,
        skeleton='''def jaccard(a, b, k):
    """Jaccard similarity of the texts a and b, by their runs of k words: between 0 and 1."""
    ...
''',
        own=lambda: _jaccard,
    ),
    Exercise(
        "01.2",
        "Write signature(shingles, a, b): the MinHash signature of one document. For each of the P hash functions "
        "h(x) = ((a·x + b) mod (2^61 − 1)) mod 2^32 keep the smallest value over the document's shingles x. "
        "A document without shingles gets 2^32 − 1 in every place.",
        build(
            _signature,
            _sets,
            names=["200 shingles", "one shingle", "another order, three functions", "no shingle"],
            rel=1e-12,
            diagnoses=[
                (
                    _zeros_for_none,
                    "without shingles each place gets the largest value, above every real minimum.",
                ),
                (_largest_kept, "these are the largest values; keep the smallest."),
                (_one_per_shingle, "that has one value for each shingle; keep one for each hash function."),
                (_not_cut, "the last step is missing: modulo 2^32."),
                (
                    _overflowing,
                    "32 bits are too few for a·x: turn the shingles into uint64 before you multiply.",
                ),
            ],
            right="A document of any length is now a row of P numbers.",
        ),
        (
            "Give the shingles an axis of their own: x[:, None] against a and b makes a table, shingles × functions.",
            "uint64 holds a·x + b, because a is below 2^31 and x below 2^32. Then take the two remainders.",
            "The minimum over the first axis of that table is the signature; an empty table has none.",
        ),
        """import numpy as np

def signature(shingles, a, b):
    x = np.asarray(shingles).astype(np.uint64)
    if len(x) == 0:
        return np.full(len(a), 2**32 - 1, np.uint64)
    products = x[:, None] * np.asarray(a, np.uint64) + np.asarray(b, np.uint64)
    hashed = products % np.uint64(2**61 - 1)
    hashed = hashed % np.uint64(2**32)
    return hashed.min(axis=0)

answer = signature""",
        kind="build",
        minutes=12,
        difficulty=3,
        wrong=(
            (_largest_kept, "largest"),
            (_one_per_shingle, "one for each hash function"),
            (_not_cut, "modulo 2^32"),
            (_overflowing, "too few"),
        ),
        placeholder=lambda shingles, a, b: ...,
        skeleton='''def signature(shingles: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """shingles (S,) uint32, may be empty; a, b (P,) uint64 below 2**31. Returns (P,): the smallest hash by each function."""
    ...
''',
        own=lambda: _signature,
    ),
    Exercise(
        "01.3",
        "Write candidates(signatures, bands): cut each signature into that many equal bands, and return the sorted list of "
        "pairs (i, j), i < j, of documents that agree in every place of at least one band.",
        build(
            _candidates,
            _signatures,
            names=[
                "two bands",
                "chance agreements, 4 bands",
                "chance agreements, 6 bands",
                "one document",
                "four copies",
            ],
            diagnoses=[
                (_both_ways, "each pair comes twice: keep the one with i < j."),
                (_with_itself, "a document is no pair with itself: i < j."),
                (
                    lambda signatures, bands: _candidates(signatures, bands)[::-1],
                    "the pairs are right; sort them.",
                ),
                (_as_set, "the pairs are right; return them as a sorted list, sorted(…)."),
                (_any_place, "one equal place is not enough: all places of a band have to agree."),
                (_all_places, "only whole signatures are compared: one equal band is enough."),
                (
                    _across_bands,
                    "the first band of one document is compared with the second of another: keep bands apart.",
                ),
                (
                    _bands_for_rows,
                    "bands and rows are swapped: `bands` says how many bands, not how long one is.",
                ),
                (_neighbours, "of three documents alike in a band, all three pairs count."),
            ],
            right="More bands: more pairs are found, and more are compared for nothing.",
        ),
        (
            "A dictionary from a band's values to the documents that have them finds equal bands without comparing pairs.",
            "Start a new dictionary for each band; a tuple or .tobytes() of the values can be its key.",
            "When a document comes to a key that others have, it makes a pair with each of them; a set keeps a pair once.",
        ),
        """import numpy as np

def candidates(signatures, bands):
    pairs = set()
    for band in np.split(np.asarray(signatures), bands, axis=1):
        alike = {}
        for j, values in enumerate(band):
            key = values.tobytes()
            for i in alike.get(key, []):
                pairs.add((i, j))
            alike.setdefault(key, []).append(j)
    return sorted(pairs)

answer = candidates""",
        kind="build",
        minutes=12,
        difficulty=3,
        wrong=(
            (_any_place, "one equal place"),
            (_all_places, "whole signatures"),
            (_across_bands, "keep bands apart"),
            (_bands_for_rows, "swapped"),
            (_neighbours, "all three pairs"),
        ),
        placeholder=lambda signatures, bands: ...,
        skeleton='''def candidates(signatures: np.ndarray, bands: int) -> list[tuple[int, int]]:
    """signatures (T, P), a row for each document, P a multiple of bands. Returns sorted pairs (i, j) with i < j."""
    ...
''',
        own=lambda: _candidates,
    ),
    Exercise(
        "01.4",
        "Model X has 2.60 nats per token with BPE tokens of 2.4 bytes on average; model Y has 1.20 nats per token and its "
        'tokens are bytes. How many bits per byte has X, and which of the two predicts the text better, "X" or "Y"?',
        several(
            bits_per_byte=number(
                2.60 / 2.4 / math.log(2),
                rel=0.01,
                diagnoses=[
                    (
                        2.60 / 2.4,
                        "these are nats per byte; a bit is ln 2 = 0.693 nats, so there are more bits.",
                    ),
                    (2.60 / math.log(2), "these are bits per token; a token of X has 2.4 bytes."),
                    (2.60 / 2.4 * math.log(2), "the unit the wrong way round: divide by ln 2."),
                    (2.60 * 2.4 / math.log(2), "a loss per token is spread over 2.4 bytes: divide by them."),
                    (
                        2.60 * 2.4,
                        "a loss per token is spread over 2.4 bytes: divide; and turn nats into bits.",
                    ),
                    (1.20 / math.log(2), "that is Y; X is asked for."),
                    (2.60 / 2.4 / math.log(10), "a bit is ln 2 nats, not ln 10."),
                ],
                slips=(),
            ),
            better=choice(
                "X",
                {"X": "", "Y": "compare per byte: per token they have different units."},
                right="Per token X looks twice as bad, per byte it is the better one.",
            ),
        ),
        (
            "Both models must explain the same bytes. How many nats does each spend on one byte?",
            "X spends its nats on 2.4 bytes. Then nats into bits: 1 bit = ln 2 nats.",
            "Divide twice: by the bytes of a token, and by the nats of a bit. Y needs only the second division.",
        ),
        """import math
bits_per_byte = 2.60 / 2.4 / math.log(2)
answer = {"bits_per_byte": bits_per_byte, "better": "X"}""",
        kind="compute",
        minutes=4,
        difficulty=2,
        wrong=(
            ({"bits_per_byte": 1.083, "better": "X"}, "nats per byte"),
            ({"bits_per_byte": 3.751, "better": "X"}, "bits per token"),
            ({"bits_per_byte": 1.563, "better": "Y"}, "different units"),
        ),
        placeholder={"bits_per_byte": ..., "better": ...},
    ),
    Exercise(
        "01.5",
        'Four ways to prepare a corpus. Which one keeps the held-out loss honest: "a", "b", "c" or "d"?',
        choice(
            "c",
            {
                "a": "windows of one document land on both sides: the model has read the lines around them.",
                "b": "a copy of a training document may be held out: looking at one side never sees that pair.",
                "c": "",
                "d": "who picks a filter by the held-out loss has fitted it: choose on a third, separate part.",
            },
            right="Copies go first, over everything; then whole documents, by a hash that no later step can move.",
        ),
        (
            "For each, ask: can anything the model learned from, or you chose by, stand in the held-out text?",
            "Three leaks are hidden: within a document, between copies, and through your own choices.",
            "Copies must be found while all documents are still together, and the split must be by document.",
        ),
        """answer = "c\"""",
        kind="design",
        minutes=4,
        difficulty=2,
        wrong=(("a", "both sides"), ("b", "never sees that pair"), ("d", "third, separate part")),
    ),
    Exercise(
        "01.6",
        "The function leaky above leaks in two ways. Write split(paths, texts), which does the same job without them: "
        "no text on both sides, whichever path it has; of copies the first stays; about one document in twenty held out; "
        "and no document changes sides when others are added.",
        judged(
            _judge_split,
            wanted="a function, judged on 600 documents with copies, and again with others added in front",
        ),
        (
            "Copies first: which rows hold a text that no earlier row holds?",
            "Then the side: what of a document stays the same when others are added? Not its row.",
            "hashlib.sha256(path.encode()).hexdigest() is a number in base 16, int(…, 16); one in twenty leaves the remainder 0.",
        ),
        """import hashlib

def split(paths, texts):
    first = {}
    for row, text in enumerate(texts):
        first.setdefault(text, row)
    train, heldout = [], []
    for row in first.values():
        number = int(hashlib.sha256(paths[row].encode()).hexdigest(), 16)
        if number % 20 == 0:
            heldout.append(row)
        else:
            train.append(row)
    return train, heldout

answer = split""",
        kind="debug",
        minutes=12,
        difficulty=3,
        wrong=(
            (_by_row, "change sides"),
            (_each_side, "both sides"),
            (_copies_dropped_altogether, "neither side"),
            (_salted_split, "each time Python starts"),
        ),
        placeholder=lambda paths, texts: ...,
        skeleton='''def split(paths: list[str], texts: list[str]) -> tuple[list[int], list[int]]:
    """Row numbers of the training and of the held-out documents."""
    ...
''',
    ),
    Exercise(
        "01.7",
        "A loss follows L = E + A/D^0.3. By which factor must D grow to halve what lies above E?",
        number(
            2 ** (1 / 0.3),
            rel=0.02,
            diagnoses=[
                (2.0, "twice the data divides it by 2^0.3 = 1.23 only."),
                (
                    2**0.3,
                    "that is by how much twice the data shrinks it; the question is the other way round.",
                ),
                (
                    0.5**0.3,
                    "that is what is left of it after twice the data; the question is the other way round.",
                ),
                (0.5 ** (1 / 0.3), "that is the reciprocal: D grows, so the factor is above 1."),
                (2 * 0.3, "the exponent is above: solve (D'/D)^0.3 = 2."),
                (2 / 0.3, "the exponent is not a factor: solve (D'/D)^0.3 = 2."),
                (10 ** (1 / 0.3), "halve, not a tenth: put 2 in place of 10."),
                (math.exp(1 / 0.3), "that would divide it by e; put 2 in its place."),
            ],
            slips=(
                (0.5, "too small by half: solve (D'/D)^0.3 = 2."),
                (-1.0, "a factor of growth is positive."),
            ),
            right="Ten times the data for half the gap, and ten times again for the next half.",
        ),
        (
            "Write A/D^0.3 for D and for x·D, and divide the one by the other.",
            "A and D cancel. What is left is one equation for x.",
            "x to the power 0.3 has to be 2; undo the power.",
        ),
        "answer = 2 ** (1 / 0.3)",
        kind="compute",
        minutes=4,
        difficulty=2,
        wrong=(
            (2, "1.23 only"),
            (2**0.3, "other way round"),
            (2 / 0.3, "not a factor"),
            (0.0992, "reciprocal"),
        ),
    ),
    Exercise(
        "01.8",
        "Write fit_R(unique, epochs, worth): given what several numbers of passes over U unique tokens were worth in fresh "
        "tokens, find the constant R* that fits them best: the least sum of squared differences of the logarithms of worth "
        "and formula. R* may lie anywhere between 0.1 and 100.",
        judged(_judge_R, wanted="a function, R* within 1 % on planted points"),
        (
            "Two steps: the formula as a function of R*, and a search for the lowest misfit.",
            "Search over the logarithm of R*, by a grid from 0.1 to 100 or by scipy.optimize.minimize_scalar.",
            "First turn epochs into repetitions. Then refine a grid of some hundred values around the best.",
        ),
        """import numpy as np

def fit_R(unique, epochs, worth):
    R = np.asarray(epochs, float) - 1
    log_worth = np.log(np.asarray(worth, float))
    low, high = np.log(0.1), np.log(100)
    for _ in range(4):
        grid = np.linspace(low, high, 200)
        misfit = []
        for R_star in np.exp(grid):
            formula = unique + unique * R_star * (1 - np.exp(-R / R_star))
            misfit.append(np.sum((log_worth - np.log(formula)) ** 2))
        best = grid[np.argmin(misfit)]
        low, high = best - 0.1, best + 0.1
    return float(np.exp(best))

answer = fit_R""",
        kind="build",
        minutes=15,
        difficulty=3,
        wrong=(
            (_epochs_counted, "no repetition"),
            (_first_pass_lost, "on top"),
            (_published, "published constant"),
            (_log_left, "logarithm"),
        ),
        placeholder=lambda unique, epochs, worth: ...,
        skeleton='''def fit_R(unique: float, epochs: np.ndarray, worth: np.ndarray) -> float:
    """unique: U tokens; epochs (K,) passes; worth (K,) fresh tokens of the same loss. Returns R*, in repetitions."""
    ...
''',
        own=lambda: _fit_R,
    ),
    Exercise(
        "01.9",
        "Write hashed(texts, buckets): a table with a row for each text. Split a text at blanks; count every word, and every "
        "pair of neighbouring words joined by one blank, in the bucket zlib.crc32(gram.encode()) % buckets; then divide the row "
        "by its Euclidean length. A text without words is a row of zeros.",
        build(
            _hashed,
            _SENTENCES,
            names=["two lines of code and an empty text", "one word", "nothing but blanks", "two scripts"],
            diagnoses=[
                (
                    _shares,
                    "that divides by the sum of the counts; the length is the root of the sum of their squares.",
                ),
                (_of_letters, "these are letters; split the text into words first."),
                (_words_alone, "the pairs of neighbouring words are missing."),
                (_pairs_alone, "the single words are missing."),
                (_not_unit, "the rows still have different lengths: divide each by its own."),
                (_counted_once, "each bucket is marked once; count how often something falls into it."),
            ],
            right="A document of any length is now a point on a sphere.",
        ),
        (
            "zip(words, words[1:]) gives the pairs of neighbours.",
            "np.zeros((len(texts), buckets)), and one step up at [row, bucket] for each word and each pair.",
            "np.linalg.norm of a row is its length; leave a row alone where that is zero.",
        ),
        """import zlib
import numpy as np

def hashed(texts, buckets):
    X = np.zeros((len(texts), buckets))
    for row, text in enumerate(texts):
        words = text.split()
        grams = words + [" ".join(pair) for pair in zip(words, words[1:])]
        for gram in grams:
            X[row, zlib.crc32(gram.encode()) % buckets] += 1
        length = np.linalg.norm(X[row])
        if length > 0:
            X[row] /= length
    return X

answer = hashed""",
        kind="build",
        minutes=12,
        difficulty=3,
        wrong=(
            (_words_alone, "pairs of neighbouring words"),
            (_pairs_alone, "single words"),
            (_not_unit, "different lengths"),
            (_counted_once, "how often"),
        ),
        placeholder=lambda texts, buckets: ...,
        skeleton='''def hashed(texts: list[str], buckets: int) -> np.ndarray:
    """(T, buckets): hashed counts of words and pairs of words, each row of length 1 (or all zeros)."""
    ...
''',
        own=lambda: _hashed,
    ),
    Exercise(
        "01.10",
        "Write logistic(X, y, steps, rate): logistic regression by gradient descent. With p = 1/(1 + e^−(X·w + b)), start from "
        "zeros and take that many steps of the given rate down the gradient of the mean log loss, which is the mean of (p − y)·x "
        "for w and the mean of (p − y) for b. Return (w, b).",
        build(
            _logistic,
            _labelled,
            names=["25 steps", "one step", "one feature", "no step", "labels true and false"],
            diagnoses=[
                (lambda *given: _logistic(*given)[0], "the bias is missing: return both, (w, b)."),
                (lambda *given: _logistic(*given)[::-1], "w comes first: return (w, b)."),
                (lambda X, y, steps, rate: _logistic(X, y, steps + 1, rate), "that is one step too many."),
                (
                    lambda X, y, steps, rate: _logistic(X, y, max(0, steps - 1), rate),
                    "that is one step too few.",
                ),
                (_summed, "that goes down the gradient of the sum; divide by the number of examples."),
                (_no_bias, "the bias never moves."),
                (_linear, "that is linear regression: put X·w + b through the logistic function."),
                (_uphill, "these steps go up the gradient: subtract."),
            ],
            right="X·w + b is now the log of the odds that a document is one of the good ones.",
        ),
        (
            "Each step has three lines: p from w and b, then w, then b.",
            "X @ w is (T,), the error p − y is (T,), and X.T @ error sums error·x over the examples.",
            "Compute the error once, before you change w, and use it for both; divide both sums by the number of examples.",
        ),
        """import numpy as np

def logistic(X, y, steps, rate):
    w = np.zeros(X.shape[1])
    b = 0.0
    for _ in range(steps):
        p = 1 / (1 + np.exp(-(X @ w + b)))
        error = p - np.asarray(y, float)
        w = w - rate * X.T @ error / len(error)
        b = b - rate * error.mean()
    return w, b

answer = logistic""",
        kind="build",
        minutes=12,
        difficulty=3,
        wrong=(
            (_summed, "of the sum"),
            (_no_bias, "never moves"),
            (_linear, "linear regression"),
            (_uphill, "subtract"),
        ),
        placeholder=lambda X, y, steps, rate: ...,
        skeleton='''def logistic(X: np.ndarray, y: np.ndarray, steps: int, rate: float) -> tuple[np.ndarray, float]:
    """X (T, B), y (T,) of zeros and ones. Returns the weights (B,) and the bias."""
    ...
''',
        own=lambda: _logistic,
    ),
    Exercise(
        "01.11",
        "Write mixing_law(shares, losses): the constants (c, k, t) of L = c + k·e^(t·r) with the least sum of squared errors, "
        "for shares r between 0 and 1. A share may help (t < 0) or hurt (t > 0).",
        judged(_judge_mixing, wanted="a function, its law within 0.01 nats everywhere between 0 and 1"),
        (
            "If you knew t, only c and k were left, and the law is linear in them.",
            "np.linalg.lstsq solves for c and k, with a column of ones and a column of e^(t·r).",
            "Try many sizes of t, np.geomspace(0.05, 30, 600), each with both signs, and keep the best.",
        ),
        """import numpy as np

def mixing_law(shares, losses):
    r = np.asarray(shares, float)
    L = np.asarray(losses, float)
    best = None
    for size in np.geomspace(0.05, 30, 600):
        for t in (-size, size):
            X = np.stack([np.ones_like(r), np.exp(t * r)], axis=1)
            c, k = np.linalg.lstsq(X, L, rcond=None)[0]
            error = np.sum((X @ [c, k] - L) ** 2)
            if best is None or error < best[0]:
                best = error, c, k, t
    return best[1:]

answer = mixing_law""",
        kind="build",
        minutes=15,
        difficulty=4,
        wrong=(
            (_sign_of_t, "sign of t"),
            (_falling_only, "positive t"),
            (_no_floor, "falls towards zero"),
            (_straight, "bends"),
        ),
        placeholder=lambda shares, losses: ...,
        skeleton='''def mixing_law(shares: np.ndarray, losses: np.ndarray) -> tuple[float, float, float]:
    """shares r (K,) between 0 and 1, losses (K,) in nats per token. Returns (c, k, t) of L = c + k·exp(t·r)."""
    ...
''',
        own=lambda: _mixing_law,
    ),
)
