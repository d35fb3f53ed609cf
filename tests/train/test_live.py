"""A schedule that drives training: what a choice draws, what it is shown, and that a killed run goes on as before."""

import itertools

import numpy as np
import pytest
import torch

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.costs.counts import flops_per_token
from scalept_lab.errors import InputError
from scalept_lab.model.transformer import Transformer
from scalept_lab.train import live, stepwise
from scalept_lab.train.curriculum import Adaptive, Competence, LengthWarmup, Mixture, Stepwise
from scalept_lab.train.loop import Keep, train

MODEL = ModelConfig(width=16, depth=1, heads=2, context=32)
CONFIG = TrainConfig(model=MODEL, tokens=40 * 4 * 32, batch=4, eval_windows=32, corpus="words")
UP = Adaptive((0.25, 0.5, 1.0), promote=0.22, demote=0.05, patience=2, deadline=30)


@pytest.fixture(scope="module")
def pools(word_corpus):
    return live.levels(word_corpus, 32, number=4)


def test_levels_are_equal_parts_and_harder_one_after_the_other(word_corpus, pools):
    from scalept_lab.data.difficulty import scores

    sizes = [len(pool.train) for pool in pools.values()]
    assert list(pools) == ["level 1", "level 2", "level 3", "level 4"] and max(sizes) - min(sizes) <= 1
    for side in ("train", "heldout"):
        hard = [scores("loss", list(getattr(pool, side)), word_corpus.train) for pool in pools.values()]
        assert all(a.max() <= b.min() for a, b in itertools.pairwise(hard))
    edge = [scores("loss", list(pool.train), word_corpus.train) for pool in pools.values()]
    tested = scores("loss", list(pools["level 2"].heldout), word_corpus.train)
    assert edge[0].max() <= tested.min() and tested.max() <= edge[2].min()


def two(a=30, b=10):
    """Two pools whose tokens say where they come from: 1, 2, … in the first and 101, 102, … in the second."""
    rows = [
        np.repeat(first + np.arange(n)[:, None], 33, 1).astype(np.uint8) for first, n in ((1, a), (101, b))
    ]
    return {"easy": live.Pool(rows[0], rows[0][:4]), "hard": live.Pool(rows[1], rows[1][:4])}


def drawn(choice, pools, steps=200):
    found = [live.draw(choice, pools, CONFIG, step) for step in range(steps)]
    return np.concatenate([x[:, 0] for (x, _), _ in found]), np.sum([counted for _, counted in found], 0)


def test_a_choice_says_what_is_drawn():
    pools = two()
    first, counted = drawn("hard", pools)
    assert first.min() == 101 and first.max() == 110 and counted.tolist() == [0, 800]
    first, counted = drawn({"easy": 0.25, "hard": 0.75}, pools)
    assert counted[0] / 800 == pytest.approx(0.25, abs=0.05) and set(first) == {
        *range(1, 31),
        *range(101, 111),
    }
    first, counted = drawn(0.5, pools)  # 20 of the 40 windows
    assert (first.min(), first.max()) == (1, 20) and counted.tolist() == [800, 0]
    first, counted = drawn(0.8, pools)  # 32 of 40: all easy ones, and two of the hard
    assert set(first) == {*range(1, 31), 101, 102} and counted[1] / 800 == pytest.approx(2 / 32, abs=0.03)
    (x, y), _ = live.draw(8, pools, CONFIG, 0)
    assert x.shape == y.shape == (16, 8) and x.dtype == np.int64
    again, _ = live.draw(8, pools, CONFIG, 0)
    assert (again[0] == x).all() and (live.draw(8, pools, CONFIG, 1)[0][0] != x).any()


def test_targets_are_the_next_tokens(pools):
    (x, y), _ = live.draw(1.0, pools, CONFIG, 3)
    assert (x[:, 1:] == y[:, :-1]).all()


def test_performance_is_that_of_the_chosen_text():
    """A model that always says token 3: certain of a pool of threes, wrong on any other; a uniform guess has 0."""
    torch.manual_seed(0)
    model = Transformer(MODEL)
    torch.nn.init.zeros_(model.head.weight)
    assert live.performance(model, "easy", two()) == pytest.approx(0, abs=1e-6)

    class Threes(torch.nn.Module):
        config = MODEL

        def __init__(self):
            super().__init__()
            self.one = torch.nn.Parameter(torch.ones(1))

        def forward(self, x):
            logits = torch.zeros(*x.shape, 256)
            logits[..., 3] = 5.0
            return logits

    three, other = np.full((5, 33), 3, np.uint8), np.full((5, 33), 4, np.uint8)
    pools = {"three": live.Pool(three, three), "other": live.Pool(other, other)}
    sure = 1 - (np.log(np.exp(5) + 255) - 5) / np.log(256)
    assert live.performance(Threes(), "three", pools) == pytest.approx(sure)
    assert live.performance(Threes(), "other", pools) == 0
    assert live.performance(Threes(), 0.5, pools) == pytest.approx(sure)  # the first half is threes
    mixed = 1 - (np.log(np.exp(5) + 255) - 0.75 * 5) / np.log(256)
    assert live.performance(Threes(), {"three": 0.75, "other": 0.25}, pools) == pytest.approx(mixed)


def test_a_schedule_drives_the_run_by_what_it_is_shown(word_corpus, pools):
    seen = []

    def watching(step, performance):
        seen.append((step, list(performance)))
        return "level 1" if len(performance) < 2 else "level 4"

    model, record = live.fit_live(CONFIG, watching, pools, word_corpus, every=10)
    told = record.provenance["performance"]
    assert record.ok and len(told) == 3 and all(0 < value < 1 for value in told)
    assert all(len(given) == step // 10 and given == told[: len(given)] for step, given in seen[1:41])
    config = TrainConfig.model_validate(record.config)
    done = live.trajectory(config, watching, pools, told)
    assert done.choices == ["level 1"] * 20 + ["level 4"] * 20
    assert done.drawn[:20].sum(0).tolist() == [80, 0, 0, 0] and done.drawn[20:].sum(0).tolist() == [
        0,
        0,
        0,
        80,
    ]
    assert live.performance(model, "level 4", pools) > told[0]


def test_two_functions_that_do_otherwise_are_two_runs(word_corpus, pools):
    one, two_ = (
        live.fit_live(CONFIG.replace(tokens=256), lambda step, told, name=name: name, pools, word_corpus)[1]
        for name in ("level 1", "level 2")
    )
    assert one.id != two_.id


def test_what_follows_from_the_evaluations_is_up_and_down(word_corpus, pools):
    plan = live.planned(CONFIG, UP, pools, every=5)
    told = [0.3, 0.3, 0.01, 0.01, 0.3]
    found = live.trajectory(plan, UP, pools, told)
    assert [found.choices[k] for k in (0, 9, 10, 19, 20, 29, 30)] == [0.25, 0.25, 0.5, 0.5, 0.25, 0.25, 1.0]
    assert found.drawn[:10, 1:].sum() == 0 and found.drawn[30:].sum(0).min() > 0


def test_a_constant_share_of_everything_learns_as_plain_training_does(word_corpus, pools):
    """Another draw of the same text: what is left between the two is the draw."""
    _, record = live.fit_live(CONFIG, Stepwise((1.0,), ()), pools, word_corpus)
    assert record.L == pytest.approx(train(CONFIG, corpus=word_corpus).L, abs=0.15)
    assert record.C == pytest.approx(flops_per_token(MODEL) * CONFIG.tokens)


def test_short_windows_cost_what_they_cost(word_corpus, pools):
    _, record = live.fit_live(CONFIG, LengthWarmup(8, 32, 20, doubling=True), pools, word_corpus)
    by_hand = sum(128 * flops_per_token(MODEL, context=at) for at in [8] * 7 + [16] * 13 + [32] * 20)
    assert record.C == pytest.approx(by_hand)


@pytest.mark.parametrize("schedule", [UP, Competence(20), LengthWarmup(8, 32, 20, doubling=True)])
def test_a_killed_run_goes_on_as_the_unbroken_one(word_corpus, pools, tmp_path, schedule):
    model, straight = live.fit_live(CONFIG, schedule, pools, word_corpus, every=4)

    class Killed(Exception):
        pass

    def kill(step):
        if step == 27:
            raise Killed

    with pytest.raises(Killed):
        live.fit_live(
            CONFIG, schedule, pools, word_corpus, every=4, keep=Keep(tmp_path, every=10), progress=kill
        )
    again, resumed = live.fit_live(CONFIG, schedule, pools, word_corpus, every=4, keep=Keep(tmp_path))
    assert resumed.id == straight.id and resumed.C == straight.C and resumed.D == straight.D
    assert resumed.provenance["performance"] == straight.provenance["performance"]
    assert resumed.L == pytest.approx(straight.L, abs=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


BAD = [
    (
        Adaptive(("level 1", "levle 4"), promote=0.5, deadline=9),
        "choice: expected among level 1, .*, got 'levle 4'",
    ),
    (Stepwise((0.25, 1), (9,)), "choice: expected a length that divides the context, 8 to 32 tokens, got 1;"),
    (Stepwise((64,), ()), "choice: expected a length that divides the context, 8 to 32 tokens, got 64"),
    (Stepwise((12,), ()), "choice: expected a length that divides the context, .* got 12"),
    (
        Stepwise((0.0, 1.0), (9,)),
        "choice: expected a pool, weights, a share of the windows above 0 .* got 0.0",
    ),
    (Stepwise((float("nan"),), ()), "choice: .* got nan"),
    (Stepwise((1.5,), ()), "choice: .* got 1.5"),
    (Mixture({"prose": 1.0}, {"prose": 1.0}, 9), "choice: expected among level 1, .*, got 'prose'"),
    (Adaptive((0.25, 1.0), promote=0.5), "schedule: expected one that reaches its target within 40 steps"),
    (lambda step, told: True, "choice: .* got True"),
    (lambda step, told: None, "choice: .* got None"),
    (lambda step, told: {"level 1": float("nan")}, "choice: expected weights of 0 or more that sum to 1"),
    (
        lambda step, told: {"level 1": 0.4, "level 2": 0.4},
        "choice: expected weights of 0 or more that sum to 1",
    ),
]


@pytest.mark.parametrize(("schedule", "words"), BAD)
def test_what_is_not_there_is_refused_in_one_line_before_anything_is_built(
    word_corpus, pools, monkeypatch, schedule, words
):
    monkeypatch.setattr(live, "set_up", lambda *_: pytest.fail("a model was built"))
    with pytest.raises(InputError, match=words) as error:
        live.fit_live(CONFIG, schedule, pools, word_corpus)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("late", "words"), [("level 9", "got 'level 9'"), (0, "got 0"), (float("nan"), "got nan")]
)
def test_what_a_function_asks_for_in_the_middle_is_told_with_its_step(word_corpus, pools, late, words):
    with pytest.raises(InputError, match=rf"schedule, step 7: choice: .*{words}") as error:
        live.fit_live(CONFIG, lambda step, told: 1.0 if step < 7 else late, pools, word_corpus)
    assert "\n" not in str(error.value)


def test_what_else_cannot_be_is_said(word_corpus, pools, tmp_path):
    with pytest.raises(InputError, match="keep: expected a schedule of train"):
        live.fit_live(CONFIG, lambda step, told: 1.0, pools, word_corpus, keep=Keep(tmp_path))
    with pytest.raises(
        InputError, match=r"windows of 16 \+ 1 tokens in level 1 \(train\), got an array \(\d+, 33\)"
    ):
        live.planned(CONFIG.replace(model=MODEL.replace(context=16)), UP, pools)
    with pytest.raises(InputError, match="pools: expected at least one"):
        live.planned(CONFIG, UP, {})
    with pytest.raises(InputError, match="live: expected none in this loop"):
        train(live.planned(CONFIG, UP, pools), corpus=word_corpus)
    with pytest.raises(InputError, match="pools: expected those of the run"):
        live.trajectory(live.planned(CONFIG, UP, pools), UP, two(), [])
    with pytest.raises(InputError, match=r"config: expected one of live\.planned"):
        live.trajectory(CONFIG, UP, pools, [])
    with pytest.raises(InputError, match="every"):
        live.planned(CONFIG, UP, pools, every=0)
    assert not list(tmp_path.iterdir())


def test_sources_are_cut_into_windows(word_corpus):
    pools = live.sources({"a": (word_corpus.train[:330], word_corpus.heldout)}, 32)
    assert pools["a"].train.shape == (10, 33) and (pools["a"].train[1] == word_corpus.train[32:65]).all()


def test_stages_by_hand_are_the_steps_of_a_live_run(word_corpus, pools):
    """Two stages, one after the other, and the schedule that chooses the same: equal weights."""
    run = live.go_on(stepwise.start(CONFIG, word_corpus), "level 1", pools, 15)
    live.go_on(run, 1.0, pools, 100)  # more than there are: to the end
    assert run.step == 40
    model, record = live.fit_live(
        CONFIG, lambda step, told: "level 1" if step < 15 else 1.0, pools, word_corpus
    )
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), run.model.parameters(), strict=True))
    assert stepwise.score(run) == pytest.approx(record.L)
    with pytest.raises(InputError, match="got 'level 7'"):
        live.go_on(run, "level 7", pools, 1)
