"""Who plans: a cluster, a budget and a supply of text or demonstrations. Four of them, each number with its source.

What a data sheet or a paper says stands with it; what nobody can look up is called an assumption of this course, so that a
reader knows which number to replace by his own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scalept_lab.checks import one_of
from scalept_lab.costs.layouts import Cluster
from scalept_lab.costs.published import GPUS

ASSUMED = "assumption of this course"
OVERHEAD = 1.4  # energy of servers, network and cooling on top of the GPUs' own
DECODING = 0.1  # share of the peak that serving reaches: it reads all weights for few tokens (notebook 11)


@dataclass(frozen=True)
class Card:
    """A GPU: facts of the data sheet. Peaks in FLOP/s by precision, dense; watts of the card alone; dollars per hour."""

    name: str
    memory: float
    peaks: dict[str, float]
    inside: float
    between: float
    watts: float
    price: float
    source: str


def _peaks(half: float, single: float, **more: float) -> dict[str, float]:
    return {"mixed": half, "mixed-fp32-grads": half, "bf16": half, "fp32": single, **more}


CARDS = {
    card.name: card
    for card in (
        Card("A100-80GB", GPUS["A100-80GB"]["memory"], _peaks(312e12, 19.5e12), GPUS["A100-80GB"]["inside"],
             GPUS["A100-80GB"]["between"], 400.0, 2.0,
             "Narayanan et al. 2021, §5; power and 32-bit peak: NVIDIA A100 data sheet"),
        Card("H100-80GB", GPUS["H100-80GB"]["memory"], _peaks(989e12, 67e12, fp8=989e12), GPUS["H100-80GB"]["inside"],
             GPUS["H100-80GB"]["between"], 700.0, 3.0,
             "Dubey et al. 2024, §3.3.1; power and 32-bit peak: NVIDIA H100 data sheet"),
        Card("A10-24GB", 24 * 2**30, _peaks(125e12, 31.2e12), 32e9, 32e9, 150.0, 0.8,
             "NVIDIA A10 data sheet (PCIe 4.0: 32 GB/s one way)"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """What a plan may spend, and on what.

    hours: of the whole cluster, or None where `money` (dollars) is the limit. unique: tokens of different text at hand; for
    robots the tokens of all demonstrations. served: tokens to be generated over the model's life, paid out of the same budget.
    feed: tokens per second that data loading brings to each GPU. most_batch: tokens of a step beyond which a larger batch saves
    no steps (notebook 03). habit: what a beginner does here; see `rivals.naive`.
    """

    name: str
    title: str
    story: str
    task: Literal["text", "robots", "serving"]
    gpus: int
    card: Card
    node: int
    unique: float
    context: int
    vocabulary: int
    most_batch: int
    habit: Literal["20 tokens per parameter", "the largest model that fits"]
    hours: float | None = None
    money: float | None = None
    served: float = 0.0
    demonstrations: int = 0
    feed: float = 2e6

    def cluster(self, precision: str = "mixed") -> Cluster:
        """The GPUs with the peak that they have in this precision."""
        card = self.card
        return Cluster(
            self.gpus, memory=card.memory, peak=card.peaks[precision], node=self.node, inside=card.inside, between=card.between
        )  # fmt: skip

    @property
    def gpu_hours(self) -> float:
        """All that may be spent, training and serving together."""
        if self.hours is not None:
            return self.hours * self.gpus
        assert self.money is not None
        return self.money / self.card.price

    def facts(self) -> list[tuple[str, str, str]]:
        """(what, value, where it comes from): all that a plan for this scenario rests on."""
        card = self.card
        rows = [
            ("GPUs", f"{self.gpus:,} × {card.name}, {self.node} in a server", ASSUMED),
            ("memory of a GPU", f"{card.memory / 2**30:.0f} GiB", card.source),
            ("peak in 16 bits", f"{card.peaks['mixed'] / 1e12:.0f} TFLOP/s", card.source),
            ("links in a server, between servers",
             f"{card.inside / 1e9:.0f} and {card.between / 1e9:.0f} GB/s", card.source),
            ("share of the peak, of the links", "0.57 and 0.63", "read off two published runs (costs.published)"),
        ]  # fmt: skip
        if self.hours is not None:
            rows.append(("time", f"{self.hours:,.0f} hours", ASSUMED))
        if self.money is not None:
            rows.append(("money", f"{self.money:,.0f} $", ASSUMED))
        if self.demonstrations:
            rows.append(("demonstrations", f"{self.demonstrations:,}", ASSUMED))
        rows.append(("different tokens at hand", f"{self.unique:,.0f}", ASSUMED))
        if self.served:
            rows.append(("tokens to be served", f"{self.served:,.0f}", ASSUMED))
            rows.append(("share of the peak in serving", f"{DECODING:g}", ASSUMED))
        return [
            *rows,
            ("largest useful batch", f"{self.most_batch:,} tokens", ASSUMED),
            ("data loading", f"{self.feed:,.0f} tokens per second and GPU", ASSUMED),
            ("price", f"{card.price:g} $ per GPU and hour", ASSUMED),
            ("power", f"{card.watts:.0f} W a GPU, times {OVERHEAD:g} for server and cooling",
             f"data sheet; the factor: {ASSUMED}"),
        ]  # fmt: skip


_SEEN = 1024  # tokens of one example: four camera pictures of 256 patches
_ACTIONS = 8.5  # of a demonstration
SCENARIOS: dict[str, Scenario] = {
    each.name: each
    for each in (
        Scenario(
            "day", "8 GPUs for a day",
            "A small team has one server for a day, and all the text there is in its language: a billion tokens.",
            "text", 8, CARDS["A100-80GB"], 8, unique=1e9, context=2048, vocabulary=50304, most_batch=524_288,
            habit="20 tokens per parameter", hours=24,
        ),
        Scenario(
            "month", "1,024 GPUs for a month",
            "A company trains its large model. Clean text is half a trillion tokens, fewer than the budget could read.",
            "text", 1024, CARDS["H100-80GB"], 8, unique=5e11, context=4096, vocabulary=50304, most_batch=4_194_304,
            habit="the largest model that fits", hours=720,
        ),
        Scenario(
            "robots", "a robotics lab, 20,000 demonstrations and 2 GPUs",
            "A lab has shown its robot 20,000 times what to do, and has two GPUs of 24 GB for an hour.",
            "robots", 2, CARDS["A10-24GB"], 2, unique=20_000 * _ACTIONS * _SEEN, context=_SEEN, vocabulary=256,
            most_batch=256 * _SEEN, habit="the largest model that fits", hours=1, demonstrations=20_000, feed=500 * _SEEN,
        ),
        Scenario(
            "serving", "one budget for training and serving",
            "A service pays for training its model and for a trillion generated tokens out of the same 300,000 dollars.",
            "serving", 64, CARDS["H100-80GB"], 8, unique=2e12, context=4096, vocabulary=50304, most_batch=4_194_304,
            habit="20 tokens per parameter", money=300_000, served=1e12,
        ),
    )
}  # fmt: skip


def scenario(name: str) -> Scenario:
    """A scenario by its name. Raises: InputError that lists them."""
    return SCENARIOS[one_of("scenario", name, SCENARIOS)]
