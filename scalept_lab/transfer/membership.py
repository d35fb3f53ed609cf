"""Membership inference: does a fine-tuned model give away which pairs it was trained on?

An attacker who sees the loss of a pair says "member" where it is low (Yeom et al. 2018). How well that works is an ROC curve:
the share of members that are caught against the share of others that are falsely accused, at every threshold. Members and
others must differ in nothing but membership, so `groups` draws both from the same modules, with no function or sentence in two
groups. A reference model, trained on yet another group, says how hard a pair is for any model; its loss less that of the
attacked model is the sharper score (the idea behind LiRA, Carlini et al. 2022, with one reference instead of many).
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from scalept_lab.errors import InputError
from scalept_lab.runs import RunRecord
from scalept_lab.train import outcome
from scalept_lab.transfer.bert import LENGTH
from scalept_lab.transfer.checkpoints import load_checkpoint
from scalept_lab.transfer.finetuning import FineTuning, evaluate, finetune, tokenize
from scalept_lab.transfer.measure import Start, Task, pretrained, provenance, sizes
from scalept_lab.transfer.pairs import check_columns, pair_up, part_of, subset

if TYPE_CHECKING:
    import datasets

GROUPS = ("members", "others", "strangers", "reference")
TESTS = 400  # pairs of other modules that held-out accuracy is measured on


class Roc(NamedTuple):
    """Shares of non-members accused and of members caught, from the strictest threshold to the loosest, and the area below."""

    accused: np.ndarray
    caught: np.ndarray
    auc: float


def roc(scores: Any, members: Any) -> Roc:
    """The curve of "member if the score is at least t", for every t. Equal scores are told at once: a diagonal step.

    scores   (n,), larger where membership is more likely
    members  (n,), truth: 1 or 0
    Raises: InputError if one of the two kinds is missing, the lengths differ or a score is not a number.
    """
    scores, members = np.asarray(scores, float), np.asarray(members, bool)
    if scores.shape != members.shape or scores.ndim != 1:
        raise InputError(
            f"scores: expected one for each of {members.size} members and others, got {scores.size}"
        )
    if members.all() or not members.any():
        raise InputError(
            f"members: expected some of both kinds, got {members.sum()} members among {len(members)}"
        )
    if np.isnan(scores).any():
        raise InputError(f"scores: expected numbers, got {np.isnan(scores).sum()} that are none (NaN)")
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of each run of equal scores
    caught = np.append(0, np.cumsum(members[order])[last]) / members.sum()
    accused = np.append(0, np.cumsum(~members[order])[last]) / (~members).sum()
    return Roc(accused, caught, float(np.trapezoid(caught, accused)))


def caught_at(curve: Roc, allowed: float) -> float:
    """The largest share of members caught at a threshold that accuses at most a share `allowed` of the others."""
    return float(curve.caught[curve.accused <= allowed + 1e-12].max())


def interval(scores: Any, members: Any, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of the area, for pairs drawn anew (DeLong, DeLong and Clarke-Pearson 1988).

    For each member, the share of others that it beats; for each other, the share of members that beat it. The variances of
    both, each over its number, add up to that of the area. Raises: InputError as `roc`.
    """
    area = roc(scores, members).auc
    scores, members = np.asarray(scores, float), np.asarray(members, bool)
    ours, theirs = scores[members], scores[~members]
    beats = (ours[:, None] > theirs) + 0.5 * (ours[:, None] == theirs)
    variance = sum(
        share.var(ddof=1) / len(share) for share in (beats.mean(1), beats.mean(0)) if len(share) > 1
    )
    half = z * math.sqrt(variance)
    return max(0.0, area - half), min(1.0, area + half)


@torch.no_grad()
def logits(model: Any, tokenizer: Any, pairs: datasets.Dataset, chunk: int = 128) -> np.ndarray:
    """(n, 2): what the model says of each pair. Raises: InputError for pairs without the columns."""
    check_columns(pairs)
    model.eval()
    rows, found = tokenize(tokenizer, pairs, LENGTH).remove_columns("label"), []
    for start in range(0, len(rows), chunk):
        batch = tokenizer.pad(rows[start : start + chunk], return_tensors="pt").to(model.device)
        found.append(model(**batch).logits.float().cpu())
    return torch.cat(found).numpy()


def losses(model: Any, tokenizer: Any, pairs: datasets.Dataset) -> np.ndarray:
    """(n,): the loss of each pair, -ln of the probability that the model gives to its label, in nats.

    Raises: InputError for pairs without the columns.
    """
    said = torch.from_numpy(logits(model, tokenizer, pairs))
    return torch.nn.functional.cross_entropy(
        said, torch.tensor(list(pairs["label"])), reduction="none"
    ).numpy()


def groups(of: Task, pairs: int, seed: int = 0) -> dict[str, datasets.Dataset]:
    """`members`, `others`, `strangers` and `reference`: pairs of the training modules, the functions dealt out at random.

    No function and no sentence is in two of them. Raises: InputError if there are not so many pairs.
    """
    found = [f for f in of.functions if part_of(f.module) == "train" and f.sentence]
    random.Random(seed).shuffle(found)
    size = len(found) // len(GROUPS)
    return {
        name: subset(pair_up(found[i * size : (i + 1) * size], of.negatives, seed), pairs, seed)  # type: ignore[arg-type]
        for i, name in enumerate(GROUPS)
    }


def attacks(
    model: Any, tokenizer: Any, dealt: dict[str, datasets.Dataset], reference: Any = None
) -> dict[str, np.ndarray]:
    """Scores of each attack on members, others and strangers: a dictionary from attack to (3, n).

    "right": 1 where the model is right; "loss": minus the loss; with a reference model, "reference": its loss less the model's.
    """
    judged = [dealt[name] for name in GROUPS[:3]]
    own = np.array([losses(model, tokenizer, part) for part in judged])
    found = {"right": (own < math.log(2)).astype(float), "loss": -own}
    if reference is not None:
        found["reference"] = np.array([losses(reference, tokenizer, part) for part in judged]) - own
    return found


def attacked(start: Start, of: Task, pairs: int, epochs: int, seed: int = 0) -> RunRecord:
    """Fine-tune on `pairs` members for some epochs, attack the result, and record it.

    Metrics: accuracy on members, others and test pairs of other modules; for each attack its `auc`, `null` (strangers, who were
    never trained on either, in the place of the members) and the share `caught` with 1 % and 5 % of the others accused.
    """
    plan = FineTuning(epochs=epochs, least_steps=1, seed=seed)
    dealt, test = groups(of, pairs, seed), of.test.select(range(min(TESTS, len(of.test))))
    began, trained = time.perf_counter(), []
    for name in ("members", "reference"):
        torch.manual_seed(seed)
        model, tokenizer = load_checkpoint(pretrained(start, of))
        score = finetune(model, tokenizer, dealt[name], test if name == "members" else dealt["others"], plan)
        trained.append((model, score))
    (model, score), (reference, _) = trained
    metrics = {"accuracy": score.accuracy}
    metrics |= {f"accuracy {name}": evaluate(model, tokenizer, dealt[name]).accuracy for name in GROUPS[:2]}
    truth = np.repeat([True, False], pairs)
    for name, (members, others, strangers) in attacks(model, tokenizer, dealt, reference).items():
        curve = roc(np.concatenate([members, others]), truth)
        metrics[f"{name} auc"] = curve.auc
        metrics[f"{name} null"] = roc(np.concatenate([strangers, others]), truth).auc
        metrics |= {f"{name} caught {share:.0%}": caught_at(curve, share) for share in (0.01, 0.05)}
    N, total = sizes(start.shape)
    D = (start.sequences + plan.steps(pairs) * plan.batch) * LENGTH
    return outcome.record(
        described(start, of.negatives, pairs, epochs, seed), score.loss, N=N, N_total=total, D=D, C=6.0 * N * D,
        metrics=metrics, seconds=time.perf_counter() - began, provenance=provenance(of),
    )  # fmt: skip


def described(start: Start, negatives: str, pairs: int, epochs: int, seed: int) -> dict[str, Any]:
    """What the record of `attacked` says of the run: its config, whose `config.run_id` is its name."""
    plan = FineTuning(epochs=epochs, least_steps=1, seed=seed)
    return {
        "kind": "membership", "start": start.told, "negatives": negatives, "pairs": pairs, "tests": TESTS,
        "plan": asdict(plan),
    }  # fmt: skip
