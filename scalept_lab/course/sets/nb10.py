"""Exercises of notebook 10, scaling of vision-language-action policies. The builds that act in worlds are in `nb10_acting`."""

from __future__ import annotations

import math

from scalept_lab.course.answers import build, choice, number, several
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.sets import nb10_heads
from scalept_lab.course.sets.nb10_acting import OPEN_LOOP, ROLL_OUT, TARGETS, VISITED

_LENGTH = (224 // 14) ** 2 + 12 + 4 + 1


def _wilson(successes, trials, z=1.96):
    share = successes / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return middle - half, middle + half


def _plain(successes, trials, z):
    share = successes / trials
    half = z * math.sqrt(share * (1 - share) / trials)
    return share - half, share + half


def _centred(successes, trials, z):
    low, high = _wilson(successes, trials, z)
    share = successes / trials
    return share - (high - low) / 2, share + (high - low) / 2


def _halved(successes, trials, z):
    share = successes / trials
    middle = (share + z * z / trials) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return middle - half, middle + half


def _pair(successes, trials, z):
    low, high = _wilson(successes, trials, z)
    return (low + high) / 2, (high - low) / 2


_ALPHA = math.log(1.6 / 0.4) / math.log(10)
_NEXT = 0.4 * 5**-_ALPHA

EXERCISES = (
    Exercise(
        "10.1",
        "A policy for a robot arm sees one camera picture of 224 × 224 pixels in patches of 14 × 14, reads 12 words, its last 4 "
        "actions, and has one query. How many tokens does its transformer see?",
        number(
            _LENGTH,
            rel=1e-4,
            abs=0.4,
            diagnoses=[
                (224 // 14 + 17, "16 patches stand along one side; a picture has two sides."),
                (224 * 224 + 17, "a token is a patch, not a pixel."),
                ((224 // 14) ** 2, "those are the patches; words, actions and the query are tokens, too."),
                (_LENGTH - 1, "the query is a token of its own."),
                (224 * 224 / 14 + 17, "divide both sides by 14."),
            ],
            right="Pictures take nearly all of the tokens, which is why patches are not made smaller than they must be.",
        ),
        (
            "How many patches of 14 fit along one side of 224 pixels? And over the whole picture?",
            "16 along a side. Square it.",
            "256 patches, and then words, last actions and the query: one token each.",
        ),
        "answer = (224 // 14) ** 2 + 12 + 4 + 1",
        kind="compute",
        minutes=4,
        difficulty=1,
        wrong=(
            (224 // 14 + 17, "two sides"),
            (224 * 224 + 17, "not a pixel"),
            ((224 // 14) ** 2, "are tokens, too"),
            (_LENGTH - 1, "query"),
        ),
    ),
    Exercise(
        "10.2",
        "Write interval(successes, trials, z): Wilson's interval for the true rate, its low and its high end.",
        build(
            _wilson,
            [(240, 256, 1.96), (256, 256, 1.96), (0, 20, 1.96), (9, 30, 1.0)],
            names=("240 of 256", "all of them", "none of 20", "9 of 30, z = 1"),
            diagnoses=[
                (
                    _plain,
                    "that is share ± z standard errors: for 256 of 256 it has no width, as if nothing could ever fail.",
                ),
                (
                    _centred,
                    "the width is right, but the interval stands around the share, and so leaves [0, 1]; its middle is pulled "
                    "towards one half.",
                ),
                (_halved, "the middle is pulled twice as far as it should be: look at the 2 in z²/2n."),
                (_pair, "those are the middle and half the width; the two ends are asked for."),
            ],
            right="With 256 of 256 it still allows for failures in about 1.5 % of the worlds.",
        ),
        (
            "Compute the middle and half the width apart. Both are divided by 1 + z²/n.",
            "The middle is (p + z²/2n)/(1 + z²/n), with p = successes/trials: not p itself.",
            "Half the width has z times a root above the same 1 + z²/n; the root holds two terms, both divided by n.",
        ),
        """def interval(successes, trials, z=1.96):
    share, n = successes / trials, trials
    scale = 1 + z**2 / n
    middle = (share + z**2 / (2 * n)) / scale
    root = (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    half = z * root / scale
    return middle - half, middle + half

answer = interval""",
        kind="build",
        minutes=8,
        difficulty=2,
        skeleton='''
def interval(successes, trials, z=1.96):
    """successes, trials: whole numbers; z: standard errors, 1.96 for 95 %. Returns (low, high), the ends of Wilson's interval."""
    ...
''',
        own=lambda: _wilson,
        wrong=(
            (_plain, "no width"),
            (_centred, "pulled towards"),
            (_halved, "twice as far"),
            (_pair, "two ends"),
        ),
        placeholder=lambda successes, trials, z=1.96: ...,
    ),
    ROLL_OUT,
    Exercise(
        "10.4",
        "A policy does what the bot would do in 95 % of the steps, and an episode has 6 steps. If every other action were fatal, "
        "and slips came independently, which success rate would it have? And what does it say if 0.93 is measured: "
        "'luck', 'recovers' or 'leaks'?",
        several(
            success=number(
                0.95**6,
                abs=0.002,
                diagnoses=[
                    (1 - 6 * 0.05, "nearly: that counts episodes with two slips twice. Multiply instead."),
                    (0.95, "that is one step; all six must be right."),
                    (1 - 0.95**6, "that is the share of episodes that fail."),
                ],
                slips=((100, "this looks like percent; a share from 0 to 1 is asked for."),),
            ),
            says=choice(
                "recovers",
                {
                    "recovers": "",
                    "luck": "256 worlds put ± 0.03 around it: luck does not bridge 0.2.",
                    "leaks": "held-out worlds have seeds of their own; no demonstration was made in them.",
                },
                right="Most slips are mended: a turn too far is turned back, and often two actions are equally good. So per-step "
                "accuracy is not success, nor is the loss.",
            ),
        ),
        (
            "All six steps have to be right, each with probability 0.95.",
            "0.95 to the sixth power.",
            "It does better than if every slip were fatal. What can an agent do after a turn in the wrong direction?",
        ),
        """answer = {"success": 0.95**6, "says": "recovers"}""",
        kind="compute",
        minutes=5,
        difficulty=2,
        wrong=(
            ({"success": 0.7, "says": "recovers"}, "twice"),
            ({"success": 0.95, "says": "recovers"}, "one step"),
            ({"success": 0.95**6, "says": "luck"}, "luck"),
            ({"success": 0.95**6, "says": "leaks"}, "seeds of their own"),
        ),
        placeholder={"success": ..., "says": ...},
    ),
    Exercise(
        "10.5",
        "With 100 demonstrations a policy has a loss of 1.6, with 1,000 one of 0.4. If the loss is a power law of the "
        "demonstrations without a floor, what is its exponent, and which loss does it forecast for 5,000?",
        several(
            alpha=number(
                _ALPHA,
                abs=0.005,
                diagnoses=[
                    (-_ALPHA, "the size is right; the exponent of L = A/n^alpha is positive."),
                    (math.log(4), "divide by the logarithm of the factor between the two sizes, 10."),
                    (0.4, "an exponent is a ratio of logarithms."),
                ],
            ),
            loss=number(
                _NEXT,
                abs=0.003,
                diagnoses=[
                    (0.4 / 5, "that would be an exponent of 1: five times the data, a fifth of the loss."),
                    (0.4 * 50**-_ALPHA, "5,000 is five times 1,000, not fifty times."),
                    (
                        1.6 * 5**-_ALPHA,
                        "go on from the loss at 1,000, or take the factor 50 from the one at 100.",
                    ),
                ],
                right="Measured losses there lie above it: the steps, not the data, have become the limit. A power law holds "
                "in the range where it was fitted, and as long as nothing else binds.",
            ),
        ),
        (
            "On logarithmic axes a power law is a line. Its slope is the change of log L over the change of log n.",
            "alpha = log(1.6/0.4)/log(1,000/100).",
            "From 1,000 to 5,000 the loss is divided by 5 to the power alpha.",
        ),
        """import math

alpha = math.log(1.6 / 0.4) / math.log(1000 / 100)
answer = {"alpha": alpha, "loss": 0.4 * 5**-alpha}""",
        kind="compute",
        minutes=5,
        difficulty=2,
        wrong=(
            ({"alpha": -_ALPHA, "loss": _NEXT}, "positive"),
            ({"alpha": math.log(4), "loss": _NEXT}, "logarithm"),
            ({"alpha": _ALPHA, "loss": 0.08}, "fifth"),
            ({"alpha": _ALPHA, "loss": 1.6 * 5**-_ALPHA}, "go on from"),
        ),
        placeholder={"alpha": ..., "loss": ...},
    ),
    Exercise(
        "10.6",
        "A policy has a held-out loss of 0.36. Three times the demonstrations give 0.24, three times the parameters 0.33, and "
        "three times the steps 0.41. What is its bottleneck: 'data', 'size' or 'steps'? And what do the further steps do: "
        "'learn', 'overfit' or 'nothing'?",
        several(
            bottleneck=choice(
                "data",
                {
                    "data": "",
                    "size": "the larger policy gains 0.03 of 0.36; is there something that gains more?",
                    "steps": "with more steps the loss is higher, so steps are not what is missing.",
                },
            ),
            steps=choice(
                "overfit",
                {
                    "overfit": "",
                    "learn": "a loss that rises on held-out demonstrations is no sign of learning.",
                    "nothing": "0.05 of 0.36 is more than the seeds differ by, in the table above.",
                },
                right="Each demonstration is seen more often, and the policy grows sure of what it has learned by heart. No law "
                "in which every term falls can say that.",
            ),
        ),
        (
            "Compare the three losses with 0.36, one by one.",
            "The bottleneck is the thing of which three times as much lowers the loss most.",
            "With three times the steps each demonstration is seen three times as often. Which loss would go down, and which up?",
        ),
        """answer = {"bottleneck": "data", "steps": "overfit"}""",
        kind="read",
        minutes=4,
        difficulty=2,
        wrong=(
            ({"bottleneck": "size", "steps": "overfit"}, "gains 0.03"),
            ({"bottleneck": "steps", "steps": "overfit"}, "is higher"),
            ({"bottleneck": "data", "steps": "learn"}, "no sign of learning"),
            ({"bottleneck": "data", "steps": "nothing"}, "seeds differ"),
        ),
        placeholder={"bottleneck": ..., "steps": ...},
    ),
    VISITED,
    TARGETS,
    OPEN_LOOP,
    *nb10_heads.EXERCISES,
)
