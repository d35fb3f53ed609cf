"""Exercises of notebook 09 on privacy: what a fine-tuned model gives away about its training pairs. The others are in `nb09`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scalept_lab.course.answers import build, choice, number, several
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.sets.pieces import NUMPY, skeleton, slips, source

if TYPE_CHECKING:
    import numpy as np

FIRST = 12  # number of the first exercise here

# --- the pieces that the learner writes -----------------------------------------------------------------------------------


def roc(scores: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The ROC curve of an attack that says "member" where the score is at least t, for every t, from the strictest on.

    scores   (n,), larger where membership is more likely; some may be equal
    members  (n,), the truth: 1 for a member, 0 for another
    Returns (accused, caught, area). accused is the share of the others that are called members, caught the share of the members
    that are: (k + 1,) each for k different scores, from 0 to 1. area is what lies below the straight lines between the points.
    """
    import numpy as np

    scores, members = np.asarray(scores, float), np.asarray(members, bool)
    order = np.argsort(-scores)
    ranked, truth = scores[order], members[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    caught = np.cumsum(truth)[last] / truth.sum()
    accused = np.cumsum(~truth)[last] / (~truth).sum()
    caught, accused = np.append(0, caught), np.append(0, accused)
    area = np.sum(np.diff(accused) * (caught[1:] + caught[:-1]) / 2)
    return accused, caught, float(area)


def attack(
    logits: np.ndarray, labels: np.ndarray, reference: np.ndarray | None, members: np.ndarray, allowed: float
) -> tuple[np.ndarray, float, float]:
    """Membership told by the loss, at a threshold that accuses few others.

    logits     (n, 2), the attacked model's for n pairs; labels (n,), 0 or 1
    reference  (n, 2), logits of a model that has seen none of these pairs, or None
    members    (n,), the truth: 1 for a member, 0 for another
    allowed    largest share of the others that may be accused
    Returns (scores, caught, accused). A score is minus the loss of a pair in nats; with a reference, the reference's loss minus
    the model's. "Member" is said where the score is at least a threshold, the lowest that accuses at most `allowed`; caught and
    accused are the shares of members and of others that it names, 0.0 both where every threshold accuses too many.
    """
    import numpy as np

    def nats(logits):
        rows = np.asarray(logits, float)
        rows = rows - rows.max(1, keepdims=True)
        right = rows[np.arange(len(rows)), np.asarray(labels)]
        return np.log(np.exp(rows).sum(1)) - right

    own = nats(logits)
    scores = -own if reference is None else nats(reference) - own
    ours, theirs = scores[np.asarray(members) == 1], scores[np.asarray(members) == 0]
    caught = accused = 0.0
    for threshold in np.unique(scores)[::-1]:
        share = np.mean(theirs >= threshold)
        if share > allowed:
            break
        caught, accused = np.mean(ours >= threshold), share
    return scores, float(caught), float(accused)


def _own_roc() -> Any:
    from scalept_lab.transfer import membership

    return membership.roc


# --- the ROC curve --------------------------------------------------------------------------------------------------------


def _slowly(scores: Any, members: Any) -> tuple[Any, Any, float]:
    """The oracle: every threshold by itself, and the area as a probability: that a member scores above another, ties half."""
    import numpy as np

    ours = [s for s, m in zip(scores, members, strict=True) if m]
    theirs = [s for s, m in zip(scores, members, strict=True) if not m]
    thresholds = [np.inf, *sorted(set(map(float, scores)), reverse=True)]
    accused = [sum(s >= t for s in theirs) / len(theirs) for t in thresholds]
    caught = [sum(s >= t for s in ours) / len(ours) for t in thresholds]
    area = sum((a > b) + 0.5 * (a == b) for a in ours for b in theirs) / (len(ours) * len(theirs))
    return np.array(accused), np.array(caught), float(area)


def _roc_cases() -> list[tuple[Any, ...]]:
    import numpy as np

    rng = np.random.default_rng(0)
    members = np.repeat([0, 1], [12, 8])
    apart = rng.normal(size=20) + members
    return [
        (np.array([0.9, 0.7, 0.4, 0.1]), np.array([1, 0, 1, 0])),
        (apart, members),
        (np.round(apart), members),
        (np.array([1.0, 1.0, 0.0, 0.0, 1.0, 1.0]), np.array([0, 1, 0, 0, 1, 0])),
        (np.zeros(5), np.array([0, 1, 0, 1, 1])),
    ]


_ORDER = """    order = np.argsort(-scores)
    ranked, truth = scores[order], members[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
"""
_FAVOUR = """    order = np.lexsort((~members, -scores))
    truth, last = members[order], np.arange(len(order))
"""
_ROC_DIAGNOSES, _ROC_SLIPS = slips(
    roc,
    ("np.argsort(-scores)", "np.argsort(scores)", "other way round", "the curve runs the other way round: the strictest "
     "threshold comes first, so that the largest scores are named first. (A loss is small for members: a score is minus it.)"),
    (_ORDER, _FAVOUR, "in favour", "ties are broken in favour of the attack: where scores are equal, members come first. A "
     "threshold cannot tell them apart, and an attack that knows nothing then gets an area of 1."),
    (_ORDER, _ORDER.replace("np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)", "np.arange(len(ranked))"),
     "one by one", "equal scores are told one by one, in the order in which they happen to stand: a threshold names all of them "
     "at once, with one diagonal step."),
    ("    caught, accused = np.append(0, caught), np.append(0, accused)\n", "", "(0, 0)", "the curve lacks its first point, "
     "(0, 0): the threshold above all scores names nobody. The area up to the second point is lost with it."),
    ("(caught[1:] + caught[:-1]) / 2", "caught[1:]", "staircase", "the area is that of a staircase: where scores are equal, "
     "a step goes up and to the right at once, and below a straight line lies the mean of its two ends."),
    ("truth.sum()", "len(truth)", "all n", "shares are taken of all n: caught is a share of the members, and accused one of the "
     "others."),
)  # fmt: skip

# --- the attack -----------------------------------------------------------------------------------------------------------


def _brute(
    logits: Any, labels: Any, reference: Any, members: Any, allowed: float
) -> tuple[Any, float, float]:
    """The oracle: torch's loss, and every threshold that there is, the one that names most of the allowed."""
    import numpy as np
    import torch

    def loss(of: Any) -> Any:
        rows = torch.tensor(np.asarray(of), dtype=torch.float64)
        return torch.nn.functional.cross_entropy(
            rows, torch.tensor(np.asarray(labels)), reduction="none"
        ).numpy()

    scores = -loss(logits) if reference is None else loss(reference) - loss(logits)
    named = [(0.0, 0.0)]
    for threshold in scores:
        share = [float(np.mean(scores[np.asarray(members) == kind] >= threshold)) for kind in (1, 0)]
        if share[1] <= allowed:
            named.append((share[0], share[1]))
    return scores, *max(named)


def _attack_cases() -> list[tuple[Any, ...]]:
    import numpy as np

    rng = np.random.default_rng(1)
    members, labels = np.repeat([1, 0], 10), rng.integers(0, 2, 20)
    sure = (2 * labels - 1)[:, None] * np.array([-1.0, 1.0]) * (0.4 + 0.8 * members[:, None])
    own = sure + rng.normal(size=(20, 2))
    hard = rng.normal(size=(20, 2))
    steps = np.round(own)
    few = np.array([1, 1, 0, 0])
    return [
        (own, labels, None, members, 0.2),
        (own, labels, hard, members, 0.2),
        (steps, labels, None, members, 0.3),
        (1000 * own, labels, None, members, 0.1),
        (np.zeros((4, 2)), np.array([0, 1, 0, 1]), None, few, 0.25),
        (own, labels, None, members, 1.0),
    ]


_ATTACK_DIAGNOSES, _ATTACK_SLIPS = slips(
    attack,
    ("scores = -own if", "scores = own if", "minus the loss", "the sign is turned: a pair that was trained on has a small loss, "
     "so that a score is minus the loss."),
    ("nats(reference) - own", "own - nats(reference)", "less than the reference", "with a reference the sign is turned: a "
     "member's loss is less than the reference says it should be."),
    ("rows = rows - rows.max(1, keepdims=True)", "rows = rows + 0.0", "overflow", "the loss is not finite where the logits are "
     "large: exp overflows. Take the largest logit of a row off first; the loss does not change."),
    (">= threshold", "> threshold", "at least", '"member" is said where the score is at least the threshold: yours leaves out '
     "the pairs that have just that score."),
    ("np.mean(theirs >= threshold)", "np.mean(scores >= threshold)", "of the others", "`allowed` is a share of the others, not "
     "of all pairs: the threshold has to be found on them."),
    ("if share > allowed", "if share >= allowed", "at most", "a threshold that accuses exactly `allowed` is one that may be "
     "used: at most is meant."),
)  # fmt: skip

EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        f"09.{FIRST}",
        "Write roc(scores, members): the ROC curve of an attack, a point for each threshold from the strictest on, and the area "
        "below it. Equal scores come in at once, with one diagonal step.",
        build(
            _slowly,
            _roc_cases,
            names=["by hand", "twenty scores", "with ties", "two scores", "all equal"],
            diagnoses=_ROC_DIAGNOSES,
            right="The area is the probability that a member scores above another, ties half: counted pair by pair, too.",
        ),
        (
            "Sort by score, the largest first. What are caught and accused if the threshold lies just below the i-th of them? "
            "Two running counts say it.",
            "A threshold cannot lie between equal scores. Of each run of equal ones only the last is a point of the curve.",
            "np.cumsum counts; np.flatnonzero(ranked[1:] != ranked[:-1]) finds where a run ends, and the last place ends one, "
            "too. Put (0, 0) in front, and add up trapezoids: width times the mean of both heights.",
        ),
        source(roc, NUMPY),
        kind="build",
        minutes=15,
        difficulty=3,
        wrong=_ROC_SLIPS,
        skeleton=skeleton(roc),
        own=_own_roc,
    ),
    Exercise(
        f"09.{FIRST + 1}",
        "Write attack(logits, labels, reference, members, allowed): turn logits into losses, losses into scores, and find the "
        "lowest threshold that accuses at most a share `allowed` of the others. What share of the members does it catch?",
        build(
            _brute,
            _attack_cases,
            names=[
                "by loss",
                "with a reference",
                "with ties",
                "large logits",
                "nothing to tell",
                "all allowed",
            ],
            rel=1e-6,
            diagnoses=_ATTACK_DIAGNOSES,
            right="Every threshold, tried one by one, gives the same.",
        ),
        (
            "The loss of a pair is -ln of the probability of its label: log of the sum of the exponentials, minus the logit of "
            "the label. What has a member, a small loss or a large one?",
            "Only scores that occur need to be tried as thresholds. Go through them from the largest down: the share of others "
            "that are accused can only grow.",
            "Take the largest logit of each row off before np.exp. np.unique(scores)[::-1] lists the thresholds, and "
            "np.mean(theirs >= threshold) is the share accused: keep the last pair of shares that was still allowed.",
        ),
        source(attack, NUMPY),
        kind="build",
        minutes=20,
        difficulty=3,
        wrong=_ATTACK_SLIPS,
        skeleton=skeleton(attack),
        own=lambda: attack,
    ),
    Exercise(
        f"09.{FIRST + 2}",
        "A classifier is right on 94 % of its training pairs and on 70 % of others. An attacker who sees only whether it is "
        'right says "member" where it is. What share of the members does he catch (caught), and what is the area under '
        "his curve, through (0, 0), his one point and (1, 1) (auc)?",
        several(
            caught=number(
                0.94,
                rel=1e-3,
                diagnoses=(
                    (
                        0.24,
                        "that is how much more he catches than he accuses; asked is the share of the "
                        "members that he names.",
                    ),
                    (0.70, "that is the share of the others whom he accuses."),
                ),
            ),
            auc=number(
                0.62,
                rel=1e-3,
                diagnoses=(
                    (
                        0.24,
                        "that is his advantage, caught minus accused: the curve has an area of one half "
                        "already without it.",
                    ),
                    (0.74, "half of the advantage is above the diagonal, not all of it."),
                    (
                        0.658,
                        "that is "
                        "the rectangle below his point; the curve goes on to (1, 1) in straight lines.",
                    ),
                ),
            ),
        ),
        (
            "He names exactly the pairs on which the classifier is right.",
            "His point is (accused, caught). Draw it, and the two straight lines.",
            "Two pieces: a triangle from (0, 0) to his point, and a trapezoid from there to (1, 1).",
        ),
        """
caught, accused = 0.94, 0.70
answer = {"caught": caught, "auc": accused * caught / 2 + (1 - accused) * (caught + 1) / 2}
""",
        kind="compute",
        minutes=5,
        difficulty=2,
        placeholder={"caught": ..., "auc": ...},
        wrong=(
            ({"caught": 0.94, "auc": 0.24}, "one half already"),
            ({"caught": 0.94, "auc": 0.74}, "half of the advantage"),
            ({"caught": 0.70, "auc": 0.62}, "others whom he accuses"),
        ),
    ),
    Exercise(
        f"09.{FIRST + 3}",
        "You want to know whether a model gives away its training pairs, and nothing else. The members are pairs of functions of "
        "some modules. Whom do you take as the others? 'test': the test pairs, of other modules. 'rest': pairs of the same "
        "functions and sentences, joined differently. 'dealt': pairs of other functions of the same modules, dealt out at "
        "random. 'easy': pairs of the same modules on which the model is right.",
        choice(
            "dealt",
            {
                "dealt": "",
                "test": "other modules have other words: an attack may tell the module, and look as if it told membership.",
                "rest": "a pair that shares a sentence with a member was half trained on, with the other label: its loss is "
                "raised by that.",
                "easy": "choosing the others by the model's answers changes their losses, and so what the attack sees.",
            },
            right="Members and others then differ in nothing but membership. Against pairs that share a sentence with a "
            "member, the same model looks leakier than it is.",
        ),
        (
            "Imagine an attack that scores well against a model that was never trained on any of these pairs. What did it tell?",
            "Members and others should differ in one thing only. Go through the four and name what else differs.",
            "A coin could have decided, for each function, in which group it lands.",
        ),
        'answer = "dealt"',
        kind="design",
        minutes=5,
        difficulty=2,
        wrong=(("test", "tell the module"), ("rest", "half trained on"), ("easy", "by the model's answers")),
    ),
)
