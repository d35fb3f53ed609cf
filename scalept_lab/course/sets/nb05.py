"""Exercises of notebook 05, distributed training."""

from __future__ import annotations

from scalept_lab.course.answers import choice, function, number, several
from scalept_lab.course.exercises import Exercise


def _weight(rows_here, batch, ranks):
    return rows_here * ranks / batch


def _stages_busy(p, share):
    """Fewest micro-batches with (p − 1)/(m + p − 1) of at most `share`."""
    return round((p - 1) / share - (p - 1))


_SIXTEEN_BIT = 2e9  # bytes of 1e9 parameters

EXERCISES = (
    Exercise(
        "05.1",
        "Three ranks hold [1, 2, 3], [10, 20, 30] and [100, 200, 300]. What does rank 1 (the middle one) hold after an "
        "all-reduce (sum), after an all-gather (as one list), and after a reduce-scatter (sum, one number each)?",
        several(
            all_reduce=choice(
                (111, 222, 333),
                {
                    (111, 222, 333): "",
                    (37, 74, 111): "this is the mean; the sum was asked for.",
                    (222,): "this is what a reduce-scatter leaves: an all-reduce leaves the whole sum.",
                    (10, 20, 30): "this is what rank 1 began with.",
                    (6, 60, 600): "these are sums within each rank; the sum goes over ranks, place by place.",
                },
            ),
            all_gather=choice(
                (1, 2, 3, 10, 20, 30, 100, 200, 300),
                {
                    (1, 2, 3, 10, 20, 30, 100, 200, 300): "",
                    (111, 222, 333): "a gather adds nothing up: it puts pieces side by side.",
                    (
                        1,
                        10,
                        100,
                        2,
                        20,
                        200,
                        3,
                        30,
                        300,
                    ): "the pieces stand in the order of the ranks, each in one piece.",
                },
            ),
            reduce_scatter=choice(
                (222,),
                {
                    (222,): "",
                    (
                        111,
                        222,
                        333,
                    ): "this is the whole sum; after scattering, each rank keeps its part only.",
                    (111,): "this is the part of rank 0: ranks count from 0.",
                    (333,): "this is the part of the last rank.",
                    (60,): "this is the sum within the rank; the sum goes over ranks.",
                },
            ),
        ),
        (
            "Sums go over ranks, place by place: the first place holds 1 + 10 + 100.",
            "An all-gather puts the lists side by side, in rank order. A reduce-scatter sums, then each keeps a part.",
            "The sum is [111, 222, 333]; with three ranks a part is one number, and the middle rank keeps the middle one.",
        ),
        """answer = {
    "all_reduce": (111, 222, 333),
    "all_gather": (1, 2, 3, 10, 20, 30, 100, 200, 300),
    "reduce_scatter": (222,),
}""",
        wrong=(
            (
                {
                    "all_reduce": (37, 74, 111),
                    "all_gather": (1, 2, 3, 10, 20, 30, 100, 200, 300),
                    "reduce_scatter": (222,),
                },
                "the mean",
            ),
            (
                {"all_reduce": (111, 222, 333), "all_gather": (111, 222, 333), "reduce_scatter": (222,)},
                "side by side",
            ),
            (
                {
                    "all_reduce": (111, 222, 333),
                    "all_gather": (1, 2, 3, 10, 20, 30, 100, 200, 300),
                    "reduce_scatter": (111,),
                },
                "ranks count from 0",
            ),
        ),
        placeholder={"all_reduce": ..., "all_gather": ..., "reduce_scatter": ...},
    ),
    Exercise(
        "05.2",
        "DDP takes the mean of the ranks' gradients. A rank computes the mean loss over its own rows. By which factor must it "
        "multiply that loss, so that DDP's mean is the gradient of the mean over the whole batch? A function of rows_here, "
        "batch and ranks.",
        function(
            _weight,
            [(3, 5, 2), (2, 5, 2), (4, 8, 2), (1, 7, 4), (2, 7, 4)],
            diagnoses=[
                (
                    lambda rows_here, batch, ranks: 1.0,
                    "without a factor, a row of a short share counts more than others.",
                ),
                (
                    lambda rows_here, batch, ranks: rows_here / batch,
                    "right for a sum over ranks; DDP takes the mean, so that it comes out `ranks` times too small.",
                ),
                (
                    lambda rows_here, batch, ranks: batch / (rows_here * ranks),
                    "the other way round: this is its inverse.",
                ),
                (lambda rows_here, batch, ranks: 1 / ranks, "DDP divides by the number of ranks already."),
                (
                    lambda rows_here, batch, ranks: rows_here / ranks,
                    "the size of the whole batch is missing.",
                ),
            ],
            right="With equal shares it is 1, which is why the slip goes unnoticed until a batch does not divide.",
        ),
        (
            "Write both down: the mean over the batch is the sum over all rows divided by batch.",
            "A rank's mean loss is its sum divided by rows_here. DDP adds the ranks' gradients up and divides by ranks.",
            "factor · (sum / rows_here) / ranks has to be sum / batch. Solve for the factor.",
        ),
        """def answer(rows_here, batch, ranks):
    return rows_here * ranks / batch""",
        wrong=(
            (lambda rows_here, batch, ranks: 1.0, "counts more"),
            (lambda rows_here, batch, ranks: rows_here / batch, "takes the mean"),
            (lambda rows_here, batch, ranks: batch / (rows_here * ranks), "inverse"),
        ),
    ),
    Exercise(
        "05.3",
        "A model of 1e9 parameters is trained in 16 bits on 8 ranks, one micro-batch a step. How many GB (1e9 bytes) does each "
        "rank send per step under plain data parallelism, and how many under ZeRO-3 (gathered again for the backward pass)?",
        several(
            data_parallel=number(
                2 * 7 / 8 * _SIXTEEN_BIT / 1e9,
                diagnoses=[
                    (
                        7 / 8 * _SIXTEEN_BIT / 1e9,
                        "half of it: an all-reduce is a reduce-scatter and an all-gather.",
                    ),
                    (_SIXTEEN_BIT / 1e9, "this is the payload; a rank sends 2(n−1)/n of it."),
                    (
                        2 * _SIXTEEN_BIT / 1e9,
                        "nearly: a rank need not send its own eighth to itself, (n−1)/n.",
                    ),
                    (2 * 7 / 8 * 4, "twice that: this is for 32 bits, 4 bytes each."),
                ],
            ),
            zero3=number(
                3 * 7 / 8 * _SIXTEEN_BIT / 1e9,
                diagnoses=[
                    (
                        2 * 7 / 8 * _SIXTEEN_BIT / 1e9,
                        "one call is missing: gather, gather again, reduce-scatter.",
                    ),
                    (3 * _SIXTEEN_BIT / 1e9, "this is the payload; on the wire (n−1)/n of it."),
                    (7 / 8 * _SIXTEEN_BIT / 1e9, "this is one all-gather alone."),
                    (3 * 7 / 8 * 4, "twice that: this is for 32 bits, 4 bytes each."),
                ],
                right="One and a half times the traffic, for an eighth of the memory.",
            ),
        ),
        (
            "All gradients together are 1e9 · 2 bytes = 2 GB. A ring all-reduce sends 2(n−1)/n of that.",
            "ZeRO-3: parameters are gathered twice, gradients are reduce-scattered once. Each sends (n−1)/n of 2 GB.",
            "2 · 7/8 · 2 GB and 3 · 7/8 · 2 GB.",
        ),
        """full = 1e9 * 2 / 1e9  # GB
answer = {"data_parallel": 2 * 7 / 8 * full, "zero3": 3 * 7 / 8 * full}""",
        wrong=(
            ({"data_parallel": 2.0, "zero3": 5.25}, "payload"),
            ({"data_parallel": 3.5, "zero3": 3.5}, "one call is missing"),
            ({"data_parallel": 7.0, "zero3": 10.5}, "32 bits"),
        ),
        placeholder={"data_parallel": ..., "zero3": ...},
    ),
    Exercise(
        "05.4",
        "In a block whose query, key and value matrices are three modules of their own, each split by columns, how many "
        "all-reduces of activations does tensor parallelism issue per block and step, if nothing else is changed? (One joint "
        "qkv matrix: 4.)",
        number(
            6,
            rel=1e-9,
            slips=(),
            diagnoses=[
                (
                    4,
                    "four is the count with one joint matrix; look at the backward pass of three that share an input.",
                ),
                (2, "these are the ones of the forward pass alone."),
                (3, "three in the backward pass of q, k, v, yes; and the MLP, and the forward pass?"),
                (8, "q, k and v bring two more, not four: only the backward pass repeats."),
                (12, "nothing in the forward pass repeats: columns need no sum."),
            ],
            right="Two more, each as large as the others. Adding up before sending (one shared input, prepared once) mends it.",
        ),
        (
            "Forward, columns need no sum; rows do: one after attention, one after the MLP. That does not change.",
            "Backward, the gradient of a column-split matrix's input is a sum over ranks. How many such inputs are there?",
            "MLP 1; q, k and v each ask for the sum of their own gradient of the same input: 3. Forward 2.",
        ),
        "answer = 2 + 1 + 3  # forward; backward of the MLP; backward of q, k and v",
        wrong=((4, "backward pass of three"), (8, "only the backward pass"), (2, "forward pass alone")),
    ),
    Exercise(
        "05.5",
        "A pipeline has 8 stages and no interleaving. How many micro-batches does a step need at least, so that at most 10 % of "
        "the time is idle?",
        number(
            _stages_busy(8, 0.1),
            rel=1e-9,
            slips=(),
            diagnoses=[
                (
                    70,
                    "this solves (p−1)/m = 0.1, the ratio to the ideal time; asked is the share of the whole time.",
                ),
                (72, "p − 1 = 7 stages wait, not 8."),
                (9, "too few by far: with m = 9 the share is 7/16. Solve (p−1)/(m+p−1) for m."),
                (64, "nearly: 63 already gives 7/70, exactly a tenth."),
                (80, "this solves 8/m = 0.1; the formula is (p−1)/(m+p−1)."),
            ],
            right="63 micro-batches of a sequence or more, times the data-parallel ranks: pipelines ask for large batches.",
        ),
        (
            "The share of idle time is (p − 1)/(m + p − 1).",
            "Set it to 0.1 and solve for m.",
            "7/(m + 7) = 0.1 means m + 7 = 70.",
        ),
        "p = 8\nanswer = (p - 1) / 0.1 - (p - 1)",
        wrong=((70, "ratio to the ideal"), (72, "7 stages wait"), (9, "too few")),
    ),
)
