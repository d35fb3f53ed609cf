"""Exercises of notebook 00, start here."""

from __future__ import annotations

import math

from scalept_lab.course.answers import choice, number
from scalept_lab.course.exercises import Exercise

EXERCISES = (
    Exercise(
        "00.1",
        "GPT-2 chooses among 50,257 tokens. What is its loss, in nats per token, before it has learned anything?",
        number(
            math.log(50_257),
            rel=1e-3,
            diagnoses=[
                (
                    math.log2(50_257),
                    "this is in bits, with the logarithm to base 2; nats take the natural one.",
                ),
                (math.log10(50_257), "this is the logarithm to base 10; nats take the natural one."),
                (math.log(256), "this is the uniform guess over 256 bytes; GPT-2 has more to choose from."),
                (
                    1 / 50_257,
                    "this is the probability that it gives the right token; the loss is minus its logarithm.",
                ),
            ],
            slips=(),
            right="A first loss far from this number means a bug, and costs one step to see.",
        ),
        (
            "A model that knows nothing gives every token the same probability.",
            "That probability is 1/50,257. The loss is minus its natural logarithm.",
            "−log(1/50,257) = log(50,257); in Python, math.log.",
        ),
        """import math

answer = math.log(50_257)""",
        wrong=((math.log2(50_257), "base 2"), (math.log(256), "256 bytes"), (1 / 50_257, "probability")),
    ),
    Exercise(
        "00.2",
        "A model has a loss of 2.0 nats per byte. To how many bytes could a perfect coder that uses its predictions compress "
        "a file of 1,000,000 bytes?",
        number(
            2e6 / math.log(2) / 8,
            rel=0.01,
            diagnoses=[
                (250_000, "2.0 nats were taken for 2.0 bits; one nat is 1/ln 2 = 1.443 bits."),
                (2e6 / math.log(2), "this is in bits; eight of them make a byte."),
                (2e6 * math.log(2) / 8, "nats become bits by dividing by ln 2, not by multiplying."),
                (2e6, "this is the loss of the whole file in nats; turn nats into bits and bits into bytes."),
            ],
            slips=(),
            right="36 % of the file: predicting well and compressing well are the same thing.",
        ),
        (
            "The loss is the average length of a code for one byte, in an unusual unit.",
            "One nat is 1/ln 2 bits; eight bits are a byte.",
            "2.0 / ln 2 = 2.885 bits for each byte of the file; how many bytes is that for a million of them?",
        ),
        """import math

bits_per_byte = 2.0 / math.log(2)
answer = 1_000_000 * bits_per_byte / 8""",
        wrong=((250_000, "2.0 bits"), (2e6 / math.log(2), "in bits"), (2e6, "whole file")),
    ),
    Exercise(
        "00.3",
        "On logarithmic axes, runs on 1, 2 and 4 million tokens lie on a straight line. The first two have losses of 4.0 and "
        "3.0. What is the third?",
        number(
            2.25,
            rel=0.005,
            diagnoses=[
                (
                    2.0,
                    "that takes the same difference away again; on logarithmic axes equal steps are equal ratios.",
                ),
                (2.5, "that halves the difference; on logarithmic axes equal steps are equal ratios."),
                (1.5, "the loss does not halve when the data doubles; look at what the first doubling did."),
                (3.0 * math.sqrt(0.75), "the second step is as long as the first: both double the tokens."),
            ],
            slips=(),
            right="Each doubling multiplies the loss by 0.75. (Real losses level off above such a line sooner or later.)",
        ),
        (
            "Going from 1 to 2 million is one doubling; from 2 to 4 million is one more.",
            "A straight line on logarithmic axes: equal ratios of tokens give equal ratios of loss.",
            "The first doubling multiplied the loss by 3.0 / 4.0.",
        ),
        """answer = 3.0 * (3.0 / 4.0)""",
        wrong=((2.0, "same difference"), (2.5, "halves the difference"), (1.5, "does not halve")),
    ),
    Exercise(
        "00.4",
        "A new trick lowers the loss by 0.01 nats in one pair of runs; other seeds alone move the loss by 0.03. What has been "
        "shown: 'it helps', 'it does nothing', or 'nothing yet'?",
        choice(
            "nothing yet",
            {
                "nothing yet": "",
                "it helps": "chance alone moves the loss three times as far as this.",
                "it does nothing": "it may help by 0.01; this pair of runs is too coarse to tell.",
            },
            right="More seeds, or a larger experiment, would tell. A claim in this course says NOT SHOWN in such a case.",
        ),
        (
            "Compare the gain with what happens when nothing changes but the seed.",
            "0.01 against 0.03: could chance have done this alone?",
            "It could. Does that prove that the trick is useless?",
        ),
        """answer = "nothing yet\"""",
        wrong=(("it helps", "three times"), ("it does nothing", "too coarse")),
    ),
)
