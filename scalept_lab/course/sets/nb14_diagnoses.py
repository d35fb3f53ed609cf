"""The first half of notebook 14: what eight broken runs died of, and which piece of evidence proves it.

A wrong diagnosis is told what its cause would show, and where to look. The tables are complete: every wrong cause of every run
has its line, and no line names the right one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from scalept_lab.course.answers import Check, choice, number, several
from scalept_lab.course.exercises import Exercise

FACTOR = 1 / math.log(2)  # between the two logs of the last case

# The causes to choose from, the same for all runs. Three of them are the cause of none.
CAUSES: dict[str, str] = {
    "skipped call": "one rank leaves out a collective call that the others make",
    "slow rank": "one rank takes far longer over its work than the others",
    "other weights": "the ranks start from weights of their own",
    "same batch": "all ranks read the same rows",
    "underflow": "gradients fall below the smallest number of a 16-bit format",
    "rate too high": "the learning rate is too high for this model",
    "rate too low": "the learning rate is too low, or has run out",
    "leak": "held-out text stands in the training text as well",
    "easier text": "the text itself becomes easier in the course of the run",
    "repeated text": "the run reads the same text again",
    "mean of means": "parts of unequal size count equally",
    "other unit": "the losses of some runs are in another unit",
    "total N": "the parameters of some runs are counted with embeddings",
}

# What a cause would show, by the kind of evidence that can speak against it.
_ALIKE = "changes what the ranks compute, and not which calls they make: each of them would make the same calls and return"
_NO_PARTS = "does not depend on how a batch is cut: the gradient of one batch would be the same in four parts as in one"
_NOT_SPLIT = (
    "has nothing to do with how a text is split: of two splits of one text, as much would stand in both parts"
)
_NO_RATIO = (
    "harms some runs more than others: it would not put all runs of one logger off by one and the same factor"
)
_ONE_RANK = "takes two ranks or more"
WOULD: dict[str, dict[str, str]] = {
    "skipped call": {
        "loss": "stops a run for good: its curve would end before the last step",
        "overlap": _NOT_SPLIT, "parts": _ONE_RANK, "ratio": "stops a run for good: there would be no final loss to fit",
    },
    "slow rank": {
        "calls": "makes the others wait and then goes on: no rank would ever begin another kind of call than its neighbour at "
                 "the "
        "same place",
        "loss": "costs seconds and changes no number: step for step, the curve would be that of the healthy run",
        "overlap": _NOT_SPLIT, "parts": _NO_PARTS, "ratio": "costs seconds and changes no loss",
    },
    "other weights": {
        "calls": _ALIKE, "log": _ONE_RANK, "overlap": _NOT_SPLIT, "parts": _NO_PARTS, "ratio": _NO_RATIO,
    },
    "same batch": {
        "calls": _ALIKE, "rows": "is seen in what was read: all rows of one rank would be rows of the other as well",
        "log": _ONE_RANK, "overlap": _NOT_SPLIT, "parts": _NO_PARTS, "ratio": _NO_RATIO,
    },
    "underflow": {
        "calls": _ALIKE, "log": "takes gradients in 16 bits", "zeros": "turns gradients into exact zeros, and many of them",
        "overlap": _NOT_SPLIT, "format": "goes away when one computes in more bits", "ratio": _NO_RATIO,
    },
    "rate too high": {
        "calls": _ALIKE, "log": "takes a rate above that of the healthy run",
        "rate": "takes a rate above that of the healthy run", "overlap": _NOT_SPLIT, "parts": _NO_PARTS, "ratio": _NO_RATIO,
    },
    "rate too low": {
        "calls": _ALIKE, "log": "takes a rate below that of the healthy run",
        "rate": "takes a rate below that of the healthy run",
        "sweep": "is mended by raising the rate: the run would stand to the left of the best rate of its width",
        "overlap": _NOT_SPLIT, "parts": _NO_PARTS, "ratio": _NO_RATIO,
    },
    "leak": {
        "calls": _ALIKE, "loss": "flatters the loss on held-out text, and nothing gets worse by it",
        "heldout": "flatters the loss on held-out text: it would lie below that of the healthy run from early on",
        "parts": _NO_PARTS, "ratio": _NO_RATIO,
    },
    "easier text": {
        "calls": _ALIKE, "loss": "lets the loss fall below that of the healthy run", "overlap": _NOT_SPLIT,
        "easy": "is seen without any model: a compressor would need fewer bits for the later batches", "parts": _NO_PARTS,
        "ratio": _NO_RATIO,
    },
    "repeated text": {
        "calls": _ALIKE, "loss": "lets the training loss fall below that of the healthy run", "overlap": _NOT_SPLIT,
        "again": "is seen in what was read: windows would come that the run has had before", "parts": _NO_PARTS,
        "ratio": _NO_RATIO,
    },
    "mean of means": {
        "calls": _ALIKE, "log": "takes parts of unequal size", "overlap": _NOT_SPLIT, "ratio": _NO_RATIO,
    },
    "other unit": {
        "calls": _ALIKE, "loss": "multiplies a whole curve by one factor, from its first value to its last",
        "overlap": _NOT_SPLIT, "parts": _NO_PARTS,
    },
    "total N": {
        "calls": _ALIKE, "loss": "moves a run in a figure over sizes, and changes no loss", "overlap": _NOT_SPLIT,
        "parts": _NO_PARTS, "count": "is seen when parameters are counted anew from the shape of a model: the logged number "
                                     "would be larger",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One broken run: its cause, the piece that proves it, what each piece is, and for every other cause the kind that speaks
    against it. `proofs`: what is said to a piece that proves nothing."""

    cause: str
    proof: str
    kinds: Mapping[str, str]  # letter -> kind; "the log" is what the run wrote down
    against: Mapping[str, str]  # cause -> kind
    proofs: Mapping[str, str]

    def line(self, cause: str) -> str:
        """What is said to a wrong cause: what it would show, and where to look."""
        kind = self.against[cause]
        letter = next(letter for letter, has in self.kinds.items() if has == kind)
        return (
            f"“{cause}” {WOULD[cause][kind]}. Look at {letter if letter == 'the log' else f'piece {letter}'}."
        )

    def checks(self) -> tuple[Check, Check]:
        """Of the cause and of the proof."""
        causes = {cause: "" if cause == self.cause else self.line(cause) for cause in CAUSES}
        pieces = {letter: self.proofs.get(letter, "") for letter in self.kinds if letter != "the log"}
        return choice(self.cause, causes), choice(self.proof, pieces)


def _against(**kinds: str) -> dict[str, str]:
    """kind -> causes, turned round."""
    return {cause: kind for kind, causes in kinds.items() for cause in causes.split(", ")}


_SYMPTOM = "this is the first symptom: at least one other cause of the list shows the same."
_RULES_OUT = "this rules something else out, and would look the same without the fault."
CASES: dict[str, Case] = {
    "1": Case(
        "skipped call", "B", {"A": "loss", "B": "calls", "C": "memory", "D": "left", "the log": "log"},
        _against(calls=", ".join(cause for cause in CAUSES if cause != "skipped call")),
        {"A": _SYMPTOM, "C": _RULES_OUT, "D": "both runs had this batch, and one of them ended well."},
    ),
    "2": Case(
        "other weights", "B", {"A": "loss", "B": "weights", "C": "rows", "the log": "log"},
        _against(rows="same batch", log="underflow, rate too high, rate too low, mean of means",
                 loss="skipped call, slow rank, leak, easier text, repeated text, other unit, total N"),
        {"A": _SYMPTOM, "C": _RULES_OUT},
    ),
    "3X": Case(
        "underflow", "B", {"A": "loss", "B": "zeros", "C": "rate", "the log": "log"},
        _against(rate="rate too high, rate too low", log="other weights, same batch, mean of means",
                 loss="skipped call, slow rank, leak, easier text, repeated text, other unit, total N"),
        {"A": _SYMPTOM, "C": _RULES_OUT},
    ),
    "3Y": Case(
        "rate too low", "C", {"A": "loss", "B": "zeros", "C": "rate", "the log": "log"},
        _against(zeros="underflow", rate="rate too high", log="other weights, same batch, mean of means",
                 loss="skipped call, slow rank, leak, easier text, repeated text, other unit, total N"),
        {"A": _SYMPTOM, "B": _RULES_OUT},
    ),
    "4": Case(
        "leak", "B", {"A": "loss", "B": "overlap", "C": "fresh", "the log": "log"},
        _against(overlap=", ".join(cause for cause in CAUSES if cause != "leak")),
        {"A": _SYMPTOM, "C": "this says that the model is no better in truth, and not where the good number comes from."},
    ),
    "5": Case(
        "rate too high", "C", {"A": "loss", "B": "norm", "C": "sweep", "the log": "log"},
        _against(sweep="rate too low", log="other weights, same batch, underflow, mean of means",
                 loss="skipped call, slow rank, leak, easier text, repeated text, other unit, total N"),
        {"A": _SYMPTOM, "B": "the healthy run's gradient is larger than the narrow model's, too, and it learns well."},
    ),
    "6": Case(
        "mean of means", "B", {"A": "loss", "B": "parts", "C": "format", "D": "targets", "the log": "log"},
        _against(format="underflow", parts="skipped call, slow rank, other weights, same batch, rate too high, rate too low, "
            "leak, "
                 "easier text, repeated text, other unit, total N"),
        {"A": _SYMPTOM, "C": _RULES_OUT, "D": "both runs had these parts, and one of them is right."},
    ),
    "7X": Case(
        "repeated text", "C", {"A": "loss", "B": "heldout", "C": "again", "D": "easy", "the log": "log"},
        _against(easy="easier text", heldout="leak", log="other weights, same batch, underflow, rate too high, rate too low, "
                 "mean of means", loss="skipped call, slow rank, other unit, total N"),
        {"A": _SYMPTOM, "B": "a held-out loss above that of the healthy run has many causes.", "D": _RULES_OUT},
    ),
    "7Y": Case(
        "easier text", "D", {"A": "loss", "B": "heldout", "C": "again", "D": "easy", "the log": "log"},
        _against(again="repeated text", heldout="leak", log="other weights, same batch, underflow, rate too high, rate too low, "
                 "mean of means", loss="skipped call, slow rank, other unit, total N"),
        {"A": _SYMPTOM, "B": "a held-out loss above that of the healthy run has many causes.", "C": _RULES_OUT},
    ),
    "8": Case(
        "other unit", "B", {"A": "points", "B": "ratio", "C": "count", "the log": "log"},
        _against(count="total N", ratio="skipped call, slow rank, other weights, same batch, underflow, rate too high, rate too "
            "low, "
                 "leak, easier text, repeated text, mean of means"),
        {"A": _SYMPTOM, "C": _RULES_OUT},
    ),
}  # fmt: skip

_HINTS = (
    "Write down three causes from the list that would give the first symptom. For each, ask what else it would show.",
    "Strike out a cause as soon as one piece contradicts it; a piece in which the broken run equals the healthy one strikes out "
    "most.",
)


def _short(check: Check) -> Check:
    """What is wanted, without the whole list of causes each time."""
    return replace(check, wanted="names of causes from the list in section 1, and letters of pieces")


def _read(
    number_: int,
    question: str,
    minutes: int,
    difficulty: int,
    last: str,
    wrong: tuple[str, str],
    **more: Check,
) -> Exercise:
    """A diagnosis of one run. `wrong`: two causes that a hasty reader names."""
    case = CASES[str(number_)]
    cause, proof = case.checks()
    right = {"cause": case.cause, "proof": case.proof} | {name: round(FACTOR, 3) for name in more}
    return Exercise(
        f"14.{number_}", question, _short(several(cause=cause, proof=proof, **more)), (*_HINTS, last),
        f"answer = {right!r}", kind="read", minutes=minutes, difficulty=difficulty,
        wrong=(*(({**right, "cause": bad}, f"cause: {case.line(bad)}") for bad in wrong),
               ({**right, "proof": "A"}, "proof: this is the first symptom"),
               *(({**right, "ratio": value}, said) for value, said in _OFF if more)),
        placeholder=dict.fromkeys(right, ...),
    )  # fmt: skip


def _twins(number_: int, question: str, minutes: int, difficulty: int, last: str) -> Exercise:
    """A diagnosis of two runs with the same first symptom and two causes."""
    x, y = CASES[f"{number_}X"], CASES[f"{number_}Y"]
    parts = {"X": x.checks()[0], "proof_X": x.checks()[1], "Y": y.checks()[0], "proof_Y": y.checks()[1]}
    right = {"X": x.cause, "proof_X": x.proof, "Y": y.cause, "proof_Y": y.proof}
    return Exercise(
        f"14.{number_}", question, _short(several(**parts)), (*_HINTS, last), f"answer = {right!r}",
        kind="read", minutes=minutes, difficulty=difficulty,
        wrong=(({**right, "X": y.cause}, f"X: {x.line(y.cause)}"), ({**right, "Y": x.cause}, f"Y: {y.line(x.cause)}"),
               ({**right, "proof_X": "A"}, "proof_X: this is the first symptom")),
        placeholder=dict.fromkeys(right, ...),
    )  # fmt: skip


_OFF = (
    (1.0, "this is the ratio of the healthy rows."),
    (1 / FACTOR, "this is the way back, by which the losses have to be multiplied."),
    (FACTOR - 1, "this is by how much more they are: the factor itself is asked for."),
)
_ASKED = "Which cause of the list is it (cause), and which piece proves it (proof)?"

DIAGNOSES: tuple[Exercise, ...] = (
    _read(1, f"Two ranks train together, and after six steps nothing more is printed. {_ASKED}", 6, 2,
          "Go along the two rows of the broken run, call by call, and look for the first place where they differ.",
          ("slow rank", "same batch")),
    _read(2, f"Two ranks average their gradients in every step, and learn more slowly than they should. {_ASKED}", 6, 3,
          "One piece shows a difference before the first step is done.", ("same batch", "rate too low")),
    _twins(3, "Two broken runs, X and Y, flatten out early, and not from the same cause. Name the cause and the piece that "
              "proves "
           "it for each (X, proof_X, Y, proof_Y).", 8, 3,
           "In one of the pieces X stands alone, in another one Y does."),
    _read(4, f"The held-out loss is better than that of the healthy run, on the same text. {_ASKED}", 6, 2,
          "Ask which piece compares the two halves of a split with each other, and not with a model.",
          ("easier text", "repeated text")),
    _read(5, f"A model of width 128 is trained with the recipe of width 16, and is worse than the narrow one. {_ASKED}", 6, 3,
          "Find the rate of the broken run in the figure of recorded runs, and ask on which side of the valley it lies for "
          "either "
          "width.", ("rate too low", "underflow")),
    _read(6, f"The same batches, computed in four parts, give another run than in one pass. {_ASKED}", 6, 3,
          "Ask what all lines have in common that lie at zero.", ("underflow", "same batch")),
    _twins(7, "Two runs that were killed and resumed every 12 steps, X and Y, fall below the healthy one, and not from the same "
              "cause. "
           "Name the cause and the piece that proves it for each (X, proof_X, Y, proof_Y).", 8, 3,
           "Two pieces look at the text that was read, and at no loss at all."),
    _read(8, "Two people have logged runs of one study, and the runs of the cluster lie far above those of the laptop. "
          "Which cause of the list is it (cause), which piece proves it (proof), and by which factor are the logged losses of "
          "the "
          "cluster off, to 2 % (ratio)?", 8, 3,
          "A factor that is the same for all sizes is a constant of mathematics more often than one of nature.",
          ("total N", "rate too high"),
          ratio=number(FACTOR, rel=0.02, slips=(), diagnoses=_OFF)),
)  # fmt: skip
