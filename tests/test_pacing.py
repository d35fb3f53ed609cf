import itertools

import numpy as np
import pytest

from scalept_lab import difficulty, pacing, stepwise, tokens
from scalept_lab.config import Curriculum, ModelConfig, TrainConfig
from scalept_lab.costs import flops_per_token
from scalept_lab.data import Prepared
from scalept_lab.errors import InputError
from scalept_lab.resume import Keep
from scalept_lab.train import train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    random = np.random.default_rng(0)
    words = random.integers(97, 123, (40, 5)).astype(np.uint8)
    stream = words[random.integers(0, 40, 6000)].reshape(-1)
    return Prepared(
        "words", stream[:25_000], stream[25_000:], 256, "0" * 64, {}, tmp_path_factory.mktemp("w")
    )


def config(plan=None, **changes):
    values = {"model": ModelConfig(width=16, depth=1, heads=2, context=32), "tokens": 40 * 4 * 32, "batch": 4,
              "eval_windows": 32, "corpus": "words", "curriculum": plan}  # fmt: skip
    return TrainConfig(**{**values, **changes})


def drawn(plan, corpus, **changes):
    return list(pacing.stream(config(plan, **changes), corpus.train))


def test_without_a_curriculum_it_is_the_plain_stream(corpus):
    plain = tokens.batches(corpus.train, batch=4, context=32, steps=40, seed=0)
    for (x, y), (u, v) in zip(drawn(None, corpus), plain, strict=True):
        assert (x == u).all() and (y == v).all()


def test_length_warmup_reads_the_same_tokens_in_the_same_steps(corpus):
    short, plain = drawn(Curriculum(start=0.25), corpus), drawn(None, corpus)
    assert [x.shape for x, _ in short[:1] + short[19:21]] == [(16, 8), (8, 16), (4, 32)]
    assert all((x.ravel() == u.ravel()).all() and (y.ravel() == v.ravel()).all()
               for (x, y), (u, v) in zip(short, plain, strict=True))  # fmt: skip


@pytest.mark.parametrize("order", ["easy", "hard"])
def test_paced_runs_start_at_their_end_of_the_scale(corpus, order):
    batches = drawn(Curriculum(order=order, measure="rarity", start=0.1), corpus)
    hard = [difficulty.scores("rarity", list(x), corpus.train).mean() for x, _ in batches]
    early, late = np.mean(hard[:5]), np.mean(hard[25:])
    assert early < late if order == "easy" else early > late
    assert all((x[:, 1:] == y[:, :-1]).all() for x, y in batches)


def test_every_order_stays_within_the_windows_of_the_plain_run(corpus):
    plain = {x.tobytes() for batch, _ in drawn(None, corpus) for x in batch}
    for order in ("easy", "hard", "random", "sorted"):
        mine = [x.tobytes() for batch, _ in drawn(Curriculum(order=order), corpus) for x in batch]
        assert set(mine) <= plain
        assert order != "sorted" or set(mine) == plain


def test_a_batch_depends_on_its_step_alone(corpus):
    for order in ("easy", "random", "sorted", "length"):
        whole = drawn(Curriculum(order=order), corpus)
        later = list(pacing.stream(config(Curriculum(order=order)), corpus.train, 15))
        assert len(later) == 25
        assert all((a[0] == b[0]).all() for a, b in zip(whole[15:], later, strict=True))


def test_a_paced_run_is_resumed_where_it_stopped(corpus, tmp_path):
    paced = config(Curriculum(start=0.25))
    straight = train(paced, corpus=corpus)

    class Killed(Exception):
        pass

    def kill(step):
        if step == 25:
            raise Killed

    with pytest.raises(Killed):
        train(paced, corpus=corpus, keep=Keep(tmp_path, every=10), progress=kill)
    assert train(paced, corpus=corpus, keep=Keep(tmp_path)).L == pytest.approx(straight.L, abs=1e-6)


def test_flops_count_the_attention_that_is_there(corpus):
    full, short = config(), config(Curriculum(start=0.25))
    lengths = [x.shape[1] for x, _ in drawn(Curriculum(start=0.25), corpus)]
    by_hand = sum(flops_per_token(full.model, context=at) * full.tokens_per_step for at in lengths)
    assert pacing.flops(short) == pytest.approx(by_hand) and pacing.flops(short) < pacing.flops(full)
    assert train(short, corpus=corpus).C == pytest.approx(by_hand)
    grown = pacing.at_flops(config(Curriculum(start=0.25), tokens=400 * 128), 1e9)
    assert pacing.flops(grown) == pytest.approx(1e9, rel=0.01)


def test_stepping_by_hand_follows_the_curriculum(corpus):
    paced = config(Curriculum(start=0.25))
    run = stepwise.go_on(stepwise.start(paced, corpus), stepwise.schedule(paced), watch=True)
    assert stepwise.score(run) == pytest.approx(train(paced, corpus=corpus).L, abs=1e-6)
    assert len(run.norms) == len(run.losses) == 40 and min(run.norms) > 0
    assert run.watch.curve[-1][:2] == (40, paced.tokens)


@pytest.mark.parametrize(
    "plan, changes, words",
    [
        (Curriculum(start=0.3), {}, "start: expected context over a power of two"),
        (Curriculum(order="easy"), {"tokens": 10**6}, "with a curriculum"),
    ],
)
def test_what_cannot_be_paced_is_said_in_one_line(corpus, plan, changes, words):
    with pytest.raises(InputError, match=words):
        list(itertools.islice(pacing.stream(config(plan, **changes), corpus.train), 1))
    with pytest.raises(InputError, match="expected a config with one"):
        pacing.schedule(config())
