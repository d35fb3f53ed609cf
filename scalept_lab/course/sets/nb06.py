"""Exercises of notebook 06, delayed synchronisation and faults."""

from __future__ import annotations

from scalept_lab.course.answers import choice, function, number, several
from scalept_lab.course.exercises import Exercise

_N, _STEPS, _H, _WORKERS = 1e9, 20_000, 500, 8
_DILOCO = _STEPS / _H * _N * 4

_YEAR = 365.25 * 24 * 3600
_GPUS, _COST = 24_576, 90.0
_MTBF = 5.8 * _YEAR / _GPUS
_MINUTES = (2 * _COST * _MTBF) ** 0.5 / 60


def _outer(theta, mean, velocity, rate, momentum):
    gradient = theta - mean
    velocity = momentum * velocity + gradient
    return theta - rate * (gradient + momentum * velocity), velocity


def _upwards(theta, mean, velocity, rate, momentum):
    gradient = mean - theta
    velocity = momentum * velocity + gradient
    return theta - rate * (gradient + momentum * velocity), velocity


def _heavy_ball(theta, mean, velocity, rate, momentum):
    velocity = momentum * velocity + theta - mean
    return theta - rate * velocity, velocity


def _averaged(theta, mean, velocity, rate, momentum):
    return mean, velocity


def _position(step, batch, windows):
    return divmod(step * batch, windows)


EXERCISES = (
    Exercise(
        "06.1",
        "A model of 1e9 parameters is trained for 20,000 steps by 8 workers with DiLoCo, H = 500, everything in 32 bits. How "
        "many bytes does each worker give to all-reduces in the whole run (the payload, not what a ring makes of it)?",
        number(
            _DILOCO,
            rel=0.01,
            diagnoses=[
                (_STEPS * _N * 4, "this is plain data parallel training: DiLoCo meets once in 500 steps."),
                (_DILOCO * _WORKERS, "this is all 8 workers together; the question is about each."),
                (
                    _DILOCO * 2 * (_WORKERS - 1) / _WORKERS,
                    "this is what a ring sends; the payload is asked for.",
                ),
                (_DILOCO / 4, "each parameter has 4 bytes in 32 bits, this counts one."),
                (_DILOCO / 2, "each parameter has 4 bytes in 32 bits, this counts two."),
                (
                    2 * _DILOCO,
                    "parameters only: the moments of the inner AdamW stay at home, and so does the outer's.",
                ),
                (3 * _DILOCO, "parameters only: the moments of the inner AdamW stay at home."),
                (_N * 4, "this is one meeting; how many are there?"),
            ],
            slips=(
                (1e-9, "this looks like gigabytes; bytes are asked for."),
                (1e-12, "this looks like terabytes."),
            ),
            right="Plain data parallel training would give 80 TB: 500 times as much.",
        ),
        (
            "How often do the workers meet in 20,000 steps?",
            "20,000/500 = 40 meetings. What does a worker hand over at each?",
            "All its parameters, 4 bytes each, and nothing of its optimizer: 4e9 bytes a meeting.",
        ),
        """meetings = 20_000 / 500
answer = meetings * 1e9 * 4""",
        wrong=(
            (_STEPS * _N * 4, "plain data parallel"),
            (_DILOCO * _WORKERS, "all 8 workers"),
            (_DILOCO * 7 / 4, "ring"),
            (_DILOCO / 4, "4 bytes"),
            (_N * 4, "one meeting"),
        ),
    ),
    Exercise(
        "06.2",
        "Write DiLoCo's outer step: `outer(theta, mean, velocity, rate, momentum)` returns the new parameters and the new "
        "velocity, with Nesterov momentum as torch writes it. `mean` is the mean of the workers' parameters.",
        function(
            _outer,
            [(1.0, 0.0, 0.0, 0.5, 0.8), (0.3, 0.7, -0.2, 0.7, 0.9), (2.0, 1.5, 0.4, 1.0, 0.0)],
            diagnoses=[
                (
                    _upwards,
                    "the sign: with mean − theta as the gradient, the step goes away from where the workers went.",
                ),
                (
                    _heavy_ball,
                    "that is plain momentum; Nesterov adds the new gradient once more: g + momentum · v.",
                ),
                (_averaged, "that is local SGD: the outer optimizer has not been used."),
            ],
            right="With rate 1 and momentum 0 it returns the mean: local SGD is the special case.",
        ),
        (
            "An optimizer needs a gradient. Which difference plays it, and which sign must it have so that the step goes "
            "towards the workers?",
            "g = theta − mean. Then v ← momentum · v + g.",
            "Nesterov, as torch has it: theta ← theta − rate · (g + momentum · v), with the new v.",
        ),
        """def outer(theta, mean, velocity, rate, momentum):
    gradient = theta - mean
    velocity = momentum * velocity + gradient
    return theta - rate * (gradient + momentum * velocity), velocity

answer = outer""",
        wrong=(
            (_upwards, "sign"),
            (_heavy_ball, "plain momentum"),
            (_averaged, "local SGD"),
        ),
        placeholder=lambda theta, mean, velocity, rate, momentum: ...,
    ),
    Exercise(
        "06.3",
        "A report says: 'At the learning rate 0.08, the same for both, local SGD with H = 4 reaches a lower loss than data "
        "parallel training, with a quarter of the bytes; three seeds agree. So delay helps.' Which question goes "
        "to its heart: 'seeds', 'bytes', 'rates' or 'model'?",
        choice(
            "rates",
            {
                "rates": "",
                "seeds": "three seeds agree: the difference is real at that rate. But is that rate fair to both?",
                "bytes": "the count is right: one meeting in 4 steps. The doubt is about the loss.",
                "model": "a larger model may change the answer; but first, is the comparison fair at this one?",
            },
            right="Averaging parameters damps noise: at a rate that is too high for data parallel training, that helps.",
        ),
        (
            "What does a mean over four workers do to the noise that a high rate leaves in the parameters?",
            "It damps it. Who profits from that: a method whose rate is too high, or one whose rate is right?",
            "Each method has a best rate of its own. Was 0.08 the best of either?",
        ),
        'answer = "rates"',
        wrong=(("seeds", "difference is real"), ("bytes", "count is right"), ("model", "comparison fair")),
    ),
    Exercise(
        "06.4",
        "A run is resumed at `step` (so many steps are done). Its stream has `windows` windows, shuffled anew for each epoch, "
        "and a step takes `batch` of them. Write `position(step, batch, windows)`: the epoch (from 0) and the place in that "
        "epoch's shuffle (from 0) of the first window to read.",
        function(
            _position,
            [(0, 4, 10), (5, 4, 10), (7, 3, 21), (100, 8, 37)],
            diagnoses=[
                (
                    lambda step, batch, windows: divmod(step, windows),
                    "a step takes `batch` windows, not one.",
                ),
                (
                    lambda step, batch, windows: (0, step * batch),
                    "the epochs are missing: beyond the last window the next shuffle begins.",
                ),
                (
                    lambda step, batch, windows: divmod((step + 1) * batch, windows),
                    "one step too far: with `step` steps done, that batch would be skipped.",
                ),
                (
                    lambda step, batch, windows: divmod((step - 1) * batch, windows),
                    "one step too early: the last batch would be seen twice.",
                ),
                (
                    lambda step, batch, windows: divmod(step, windows // batch),
                    "an epoch need not end at a batch's end: count windows, not batches.",
                ),
            ],
            right="So a data position needs no list of what was read: the seed, the epoch and one number.",
        ),
        (
            "How many windows have been read before this step, all epochs together?",
            "step · batch of them. An epoch has `windows`; batches go on across its end.",
            "Whole epochs and the rest: divmod.",
        ),
        """def position(step, batch, windows):
    return divmod(step * batch, windows)

answer = position""",
        wrong=(
            (lambda step, batch, windows: divmod(step, windows), "not one"),
            (lambda step, batch, windows: divmod((step + 1) * batch, windows), "one step too far"),
            (lambda step, batch, windows: (0, step * batch), "epochs are missing"),
            (lambda step, batch, windows: divmod(step, windows // batch), "count windows"),
        ),
        placeholder=lambda step, batch, windows: ...,
    ),
    Exercise(
        "06.5",
        "24,576 GPUs, each of which fails once in 5.8 years (of 365.25 days); any failure stops all of them. A checkpoint takes "
        "90 seconds. How many minutes of training should lie between two checkpoints (Young), and which share of the time is "
        "then lost to saving and to doing work again, restarts aside, to first order (in percent)?",
        several(
            minutes=number(
                _MINUTES,
                rel=0.02,
                diagnoses=[
                    (60 * _MINUTES, "these are seconds; minutes are asked for."),
                    (
                        _MINUTES / 2**0.5,
                        "the factor 2 under the root is missing: on average half an interval is lost.",
                    ),
                    (
                        (2 * _COST * 5.8 * _YEAR) ** 0.5 / 60,
                        "that is for one GPU; 24,576 fail as many times as often.",
                    ),
                    (_MTBF / 60, "this is the time between failures, not between checkpoints."),
                ],
            ),
            percent=number(
                100 * (2 * _COST / _MTBF) ** 0.5,
                rel=0.03,
                diagnoses=[
                    (
                        50 * (2 * _COST / _MTBF) ** 0.5,
                        "that is one of the two parts; saving and doing again cost the same.",
                    ),
                    ((2 * _COST / _MTBF) ** 0.5, "a fraction; percent are asked for."),
                    (100 * (1 - (2 * _COST / _MTBF) ** 0.5), "that is what is kept; the loss is asked for."),
                ],
            ),
        ),
        (
            "First the time between failures of the whole machine: that of one GPU, divided by how many there are.",
            "M is about 2 hours. τ = √(2·δ·M), all in seconds.",
            "The loss is δ/τ + τ/(2M). At the best τ the two parts are equal.",
        ),
        """mtbf = 5.8 * 365.25 * 24 * 3600 / 24_576
interval = (2 * 90 * mtbf) ** 0.5
answer = {"minutes": interval / 60, "percent": 100 * (90 / interval + interval / (2 * mtbf))}""",
        wrong=(
            ({"minutes": 60 * _MINUTES, "percent": 15}, "seconds"),
            ({"minutes": _MINUTES / 2**0.5, "percent": 15}, "factor 2"),
            ({"minutes": (2 * _COST * 5.8 * _YEAR) ** 0.5 / 60, "percent": 15}, "one GPU"),
            ({"minutes": _MINUTES, "percent": 50 * (2 * _COST / _MTBF) ** 0.5}, "one of the two parts"),
        ),
        placeholder={"minutes": ..., "percent": ...},
    ),
)
