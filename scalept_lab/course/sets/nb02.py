"""Exercises of notebook 02, model scaling."""

from __future__ import annotations

from scalept_lab.course.answers import choice, function, number, several
from scalept_lab.course.exercises import Exercise

_V, _S, _D, _DEPTH = 50_257, 1_024, 768, 12  # GPT-2
_GPT2 = 124_439_808
_WEIGHTS = 12 * _DEPTH * _D**2
_TABLES = (_V + _S) * _D


def _flops_per_token(width, depth, context, vocab):
    return 6 * (12 * depth * width**2 + vocab * width) + 12 * depth * width * context


EXERCISES = (
    Exercise(
        "02.1",
        "How many parameters has GPT-2 (12 blocks, width 768, vocabulary 50,257, context 1,024, learned positions, output "
        "layer tied to the token table, biases and norms everywhere)? To the last one.",
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
                (
                    _GPT2 - _TABLES,
                    "these are the non-embedding parameters; the total has the two tables as well.",
                ),
            ],
            slips=(),
            right="Matrices are 68 % of it, tables 32 %, and all biases and norms together 0.1 %.",
        ),
        (
            "Three parts: two tables, twelve blocks, one last norm. A norm has a gain and a bias of width 768 each.",
            "A block: 12·768² in matrices; biases 3·768 (query, key, value), 768 (output), 4·768 and 768 (MLP); two norms.",
            "Tables: (50,257 + 1,024)·768. Each block: 12·768² + 13·768. The last norm: 2·768. Add them up.",
        ),
        """d, depth, vocab, context = 768, 12, 50_257, 1_024
tables = (vocab + context) * d
block = 12 * d**2 + (3 + 1 + 4 + 1) * d + 2 * (2 * d)   # matrices, biases, two norms
answer = tables + depth * block + 2 * d""",
        wrong=(
            (_WEIGHTS, "blocks alone"),
            (_WEIGHTS + _TABLES, "biases and the norms"),
            (_GPT2 + _V * _D, "tied"),
            (_GPT2 - _S * _D, "positions"),
        ),
    ),
    Exercise(
        "02.2",
        "A table lists an encoder with 12 blocks of width 768 and a vocabulary of 32,000 at 24 million parameters. How many "
        "has it (in millions, within 2 %), and what was left out: 'tables', 'attention', 'biases' or 'blocks'?",
        several(
            millions=number(
                (_WEIGHTS + 32_000 * _D) / 1e6,
                rel=0.02,
                diagnoses=[
                    (32_000 * _D / 1e6, "this is the vocabulary's table alone, the very slip of the table."),
                    (_WEIGHTS / 1e6, "these are the blocks alone; the vocabulary has a table of its own."),
                    ((_WEIGHTS / 3 + 32_000 * _D) / 1e6, "the MLP is missing: 8·width² in every block."),
                    (
                        (2 * _WEIGHTS / 3 + 32_000 * _D) / 1e6,
                        "attention is missing: 4·width² in every block.",
                    ),
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
                right="24.6 million is the table of the vocabulary; all twelve blocks were left out.",
            ),
        ),
        (
            "Count the two big parts apart: the vocabulary's table, and the twelve blocks.",
            "The table has 32,000·768 entries. The blocks have 12·depth·width².",
            "24.6 million + 84.9 million, and a little for positions and norms. Which of the two was published?",
        ),
        """millions = (12 * 12 * 768**2 + 32_000 * 768) / 1e6
answer = {"millions": millions, "forgotten": "blocks"}""",
        wrong=(
            ({"millions": 24.6, "forgotten": "blocks"}, "vocabulary's table alone"),
            ({"millions": 84.9, "forgotten": "tables"}, "blocks alone"),
            ({"millions": 109.5, "forgotten": "tables"}, "other way round"),
            ({"millions": 109.5, "forgotten": "biases"}, "0.1 million"),
        ),
        placeholder={"millions": ..., "forgotten": ...},
    ),
    Exercise(
        "02.3",
        "Write a function of width, depth, context and vocab that returns the training FLOPs per token of our GPT: block "
        "matrices, output layer, and the two products of attention over the whole context.",
        function(
            _flops_per_token,
            [(32, 2, 64, 256), (768, 12, 1024, 50257), (12288, 96, 2048, 50257)],
            rel=1e-6,
            diagnoses=[
                (lambda w, d, c, v: 72 * d * w**2, "that is 6N; the output layer and attention are missing."),
                (
                    lambda w, d, c, v: _flops_per_token(w, d, c, v) / 3,
                    "that is the forward pass alone; the backward pass costs twice as much again.",
                ),
                (
                    lambda w, d, c, v: 72 * d * w**2 + 6 * v * w,
                    "the products of attention are missing: they grow with the context.",
                ),
                (
                    lambda w, d, c, v: 72 * d * w**2 + 12 * d * w * c,
                    "the output layer is missing: width·vocab weights that every token passes.",
                ),
                (
                    lambda w, d, c, v: _flops_per_token(w, d, c, v) + 6 * v * w,
                    "the input table is a lookup, not a product: it costs no FLOPs.",
                ),
            ],
            right="The same count as sl.costs.flops_per_token.",
        ),
        (
            "A weight that multiplies a token costs 2 FLOPs forward and 4 backward.",
            "Which weights multiply every token? 12·depth·width² in the blocks and width·vocab at the output; no lookup.",
            "Attention without weights: scores and mixture, each 2·context·width forward in every block, times three.",
        ),
        """def flops_per_token(width, depth, context, vocab):
    weights = 12 * depth * width**2 + width * vocab
    attention = 3 * depth * 2 * (2 * context * width)
    return 6 * weights + attention

answer = flops_per_token""",
        wrong=(
            (lambda width, depth, context, vocab: 72 * depth * width**2, "that is 6N"),
            (
                lambda width, depth, context, vocab: _flops_per_token(width, depth, context, vocab) / 3,
                "forward pass alone",
            ),
            (
                lambda width, depth, context, vocab: 72 * depth * width**2 + 6 * vocab * width,
                "products of attention",
            ),
        ),
        placeholder=lambda width, depth, context, vocab: ...,
    ),
    Exercise(
        "02.4",
        "How many parameters can a model have whose weights, gradients and Adam states in mixed precision fill one GPU of "
        "24 GB (24e9 bytes), with nothing left for activations?",
        number(
            1.5e9,
            rel=0.02,
            diagnoses=[
                (
                    12e9,
                    "2 bytes count the 16-bit weights alone; training also keeps gradients and Adam's states.",
                ),
                (6e9, "4 bytes count 16-bit weights and gradients; Adam's states are the larger part."),
                (2e9, "12 bytes count the optimizer's part alone; add the 16-bit weights and gradients."),
                (3e9, "8 bytes count Adam's two moments alone; there are four more parts."),
                (1.5, "the unit: how many parameters, not how many billions."),
                (384e9, "divide: bytes on the GPU over bytes for each parameter."),
            ],
            slips=(),
            right="GPT-2 XL just about, with no room for a single activation.",
        ),
        (
            "How many bytes does one parameter cost while it is trained? It is more than it costs in a file.",
            "16-bit weight 2, 16-bit gradient 2, and three 32-bit numbers: a copy of the weight and Adam's two moments.",
            "That is 16 bytes for each parameter, and there are 24e9 bytes.",
        ),
        """bytes_per_parameter = 2 + 2 + 4 + 4 + 4
answer = 24e9 / bytes_per_parameter""",
        wrong=((12e9, "16-bit weights alone"), (2e9, "optimizer's part alone"), (6e9, "gradients")),
    ),
)
