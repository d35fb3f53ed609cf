import numpy as np
import pytest

from scalept_lab.config import Curriculum, ModelConfig, TrainConfig
from scalept_lab.costs.counts import flops_per_token
from scalept_lab.data import difficulty, tokens
from scalept_lab.errors import InputError
from scalept_lab.train import pacing, stepwise
from scalept_lab.train.loop import Keep, train


@pytest.fixture
def corpus(word_corpus):
    return word_corpus


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


def test_flops_by_hand_of_a_run_in_three_lengths():
    """Width 4 and context 32: 6·(12·4² + 256·4) a token for the weights, 12·4·L for attention; 12 steps of 64 tokens."""
    small = ModelConfig(width=4, depth=1, heads=1, context=32)
    paced = TrainConfig(model=small, tokens=12 * 64, batch=2, curriculum=Curriculum(start=0.25, until=0.5))
    # The line 8 + 24·t/6 reaches 16 at step 2 and 32 at step 6: 2 steps of 8, 4 of 16, 6 of 32.
    weights = flops_per_token(small) - 12 * 4 * 32
    assert weights == 6 * (12 * 4**2 + 256 * 4)
    assert pacing.flops(paced) == 64 * (12 * weights + 48 * (2 * 8 + 4 * 16 + 6 * 32))
    assert pacing.flops(paced, 3) == 64 * (3 * weights + 48 * (2 * 8 + 16))


@pytest.mark.parametrize("until", [0.1, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("start", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("budget", [2e7, 1e8, 1e9, 7.3e10])
def test_a_run_for_a_budget_costs_it_to_within_a_step(start, until, budget):
    found = pacing.at_flops(config(Curriculum(start=start, until=until)), budget)
    step = flops_per_token(found.model) * found.tokens_per_step
    assert abs(pacing.flops(found) - budget) <= step
    assert found == config(Curriculum(start=start, until=until), tokens=found.tokens)


def test_orders_that_change_no_length_cost_what_plain_runs_cost():
    for plan in (None, Curriculum(order="easy"), Curriculum(order="sorted")):
        found = pacing.at_flops(config(plan), 1e9)
        assert found.tokens == round(1e9 / flops_per_token(found.model))
    with pytest.raises(InputError, match=r"flops: expected at least .*, the cost of one step, got 1e\+03"):
        pacing.at_flops(config(), 1e3)


def windows(config, corpus, unique):
    """The windows of a run's text as its seed chooses them, by hand."""
    rows = np.random.default_rng([config.seed, 0]).permutation((len(corpus.train) - 1) // 32)[:unique]
    return rows, [corpus.train[row * 32 : row * 32 + 32] for row in rows]


@pytest.mark.parametrize("plan", [None, Curriculum(start=1.0)])
def test_plain_batches_follow_the_seed_and_the_unique_tokens(corpus, plan):
    """Seven windows, 225 tokens rounded up, over and over: each comes once in an epoch."""
    given = config(plan, seed=3, unique_tokens=6 * 32 + 1, batch=7)
    _, texts = windows(given, corpus, 7)
    for x, _ in list(pacing.stream(given, corpus.train))[:3]:
        assert sorted(row.tobytes() for row in x) == sorted(t.astype(np.int64).tobytes() for t in texts)


@pytest.mark.parametrize("measure", ["rarity", "compression"])
def test_a_paced_run_orders_the_windows_of_its_seed_by_its_measure(corpus, measure):
    given = config(Curriculum(order="easy", measure=measure), seed=3, unique_tokens=11 * 32 - 5)
    rows, texts = windows(given, corpus, 11)
    score = difficulty.scores(measure, texts, corpus.train)
    assert pacing.order(given, corpus.train).tolist() == rows[np.argsort(score, kind="stable")].tolist()
    hard = given.replace(curriculum=Curriculum(order="hard", measure=measure))
    assert pacing.order(hard, corpus.train).tolist() == rows[np.argsort(score, kind="stable")][::-1].tolist()
    shuffled = given.replace(curriculum=Curriculum(order="random"))
    assert pacing.order(shuffled, corpus.train).tolist() == rows.tolist()


def test_a_paced_batch_is_drawn_by_seed_and_step_from_the_open_share(corpus):
    """40 steps, half of them paced: at step 10 a quarter of the way from 0.1² to 1 under the root, half under the line."""
    for power, share in ((1.0, 0.55), (2.0, (0.5 * 0.99 + 0.01) ** 0.5)):
        given = config(Curriculum(order="random", start=0.1, until=0.5, power=power), seed=3)
        assert pacing.schedule(given)(10) == pytest.approx(share)
        rows, _ = windows(given, corpus, 160)
        chosen = np.random.default_rng([3, 10]).choice(rows[: int(np.ceil(share * 160))], 4)
        x, _ = list(pacing.stream(given, corpus.train))[10]
        assert x.tolist() == [corpus.train[row * 32 : row * 32 + 32].tolist() for row in chosen]


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
        (
            Curriculum(order="sorted"),
            {"unique_tokens": 1024},
            "unique_tokens: expected at least 5,120, .* got 1,024; leave",
        ),
        (Curriculum(order="sorted"), {"unique_tokens": 5120 - 32}, "unique_tokens: expected at least 5,120"),
        (None, {"unique_tokens": 10**6}, "unique_tokens 1000000: expected 1 to"),
        (Curriculum(), {"unique_tokens": 10**6}, "unique_tokens 1000000: expected 1 to"),
        (None, {"model": ModelConfig(context=25_000)}, "no window of 25000"),
    ],
)
def test_what_cannot_be_paced_is_said_in_one_line_before_anything_is_built(
    corpus, monkeypatch, plan, changes, words
):
    asked = config(plan, **changes)
    with pytest.raises(InputError, match=words) as error:
        pacing.check(asked, corpus.train)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=words):
        pacing.stream(asked, corpus.train)
    monkeypatch.setattr("scalept_lab.train.loop.set_up", lambda *_: pytest.fail("a model was built"))
    with pytest.raises(InputError, match=words):
        train(asked, corpus=corpus)


@pytest.mark.parametrize("order", ["length", "easy", "hard", "random", "sorted", None])
def test_what_passes_the_check_has_a_batch_for_every_step(corpus, order):
    given = config(Curriculum(order=order) if order else None, unique_tokens=5120)
    pacing.check(given, corpus.train)
    batches = list(pacing.stream(given, corpus.train))
    assert len(batches) == 40 and {x.size for x, _ in batches} == {128}


def test_a_sorted_run_does_not_end_in_silence_when_it_is_stepped_too_far(corpus):
    run = stepwise.go_on(stepwise.start(config(Curriculum(order="sorted")), corpus), [0.5] * 40)
    with pytest.raises(InputError, match="steps: expected at most 40, as sorted data are read once"):
        stepwise.go_on(run, [0.5])


def test_the_shortest_windows_have_eight_tokens():
    lengths = pacing.schedule(config(Curriculum(start=1 / 32)))
    assert [lengths(step) for step in (0, 6, 7, 19, 20)] == [8, 8, 16, 16, 32] and lengths.ends() == 20


def test_a_run_without_a_curriculum_has_no_schedule():
    with pytest.raises(InputError, match="expected a config with one"):
        pacing.schedule(config())
