"""DAgger: whose states, whose actions, and how many of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scalept_lab.course.sets.nb10_acting import visited
from scalept_lab.errors import InputError
from scalept_lab.vla import worlds
from scalept_lab.vla.cloning import Source
from scalept_lab.vla.dagger import DaggerConfig, collect, dagger, examples, joined, loops
from scalept_lab.vla.model import PolicyConfig
from scalept_lab.vla.rollouts import Rollouts

LEVEL = "GoToLocalS5N2"
LEFT, RIGHT, FORWARD = (worlds.ACTIONS.index(name) for name in ("left", "right", "forward"))


@pytest.fixture(scope="module")
def env():
    return worlds.make(LEVEL)


def turning(image, mission, taken):
    return [LEFT if len(taken) % 2 else RIGHT]


def test_where_the_bot_acts_the_rows_are_its_demonstrations(env):
    shown = [worlds.demonstrate(LEVEL, seed) for seed in (5, 6)]
    rows = collect(None, env, (5, 6))
    assert [row.label for row in rows] == np.concatenate([e.action_T for e in shown]).tolist()
    assert np.array_equal(
        np.stack([row.image for row in rows]), np.concatenate([e.image_Tx7x7x3 for e in shown])
    )
    assert rows[len(shown[0])].taken == ()


def test_where_the_policy_acts_the_states_are_its_own_and_the_labels_the_bots(env):
    rows = collect(turning, env, (5,), cap=6)
    assert [row.taken for row in rows][:4] == [(), (RIGHT,), (RIGHT, LEFT), (RIGHT, LEFT, RIGHT)]
    assert rows[0].label == int(worlds.demonstrate(LEVEL, 5).action_T[0])
    assert not {row.label for row in rows} - {LEFT, RIGHT, FORWARD}


def test_the_expert_hears_what_was_really_done(env):
    worlds.reset(env, 5)
    says = worlds.expert(env)
    first = says(None)
    env.step(RIGHT if first != RIGHT else LEFT)
    told = says(RIGHT if first != RIGHT else LEFT)
    assert told in (LEFT, RIGHT, FORWARD)


def test_the_learners_round_is_the_kits(env):
    mine = visited(turning, worlds.expert, env, [5, 6, 7])
    kits = collect(turning, env, (5, 6, 7))
    assert [row[1:] for row in mine] == [tuple(row)[1:] for row in kits]


def test_so_many_labels_and_no_more(env):
    assert len(collect(None, env, range(50), labels=17)) == 17
    with pytest.raises(InputError, match="labels: expected seeds enough for 900"):
        collect(None, env, range(2), labels=900)


def test_history_is_what_was_done_and_the_target_what_the_expert_said(env):
    rows = collect(turning, env, (5,), cap=3)
    feed = examples(rows, Source(level=LEVEL), PolicyConfig(history=2))
    none = len(worlds.ACTIONS)
    assert feed.inputs[2].tolist() == [[none, none], [none, RIGHT], [RIGHT, LEFT]]
    assert feed.targets[:, 0].tolist() == [row.label for row in rows]


def test_examples_refuse_what_they_cannot_make(env):
    rows = collect(None, env, (5,))
    for shape in (PolicyConfig(chunk=2), PolicyConfig(view="pixels", patch=8)):
        with pytest.raises(InputError, match="examples: expected rows for a policy that sees symbols"):
            examples(rows, Source(level=LEVEL), shape)
    with pytest.raises(InputError, match="got 0 rows"):
        examples([], Source(level=LEVEL), PolicyConfig())


def test_joined_fills_up_the_shorter_missions(env):
    rows = collect(None, env, (5,))
    short = examples(rows, Source(level=LEVEL), PolicyConfig())
    long = examples(
        [row._replace(mission="go to the red ball and then go to a key") for row in rows],
        Source(level=LEVEL),
        PolicyConfig(),
    )
    for both in (joined(short, long), joined(long, short)):
        assert both.inputs[1].shape == (2 * len(rows), 11) and len(both.targets) == 2 * len(rows)
    assert torch.equal(joined(short, long).inputs[1][0, :5], short.inputs[1][0, :5])


def test_a_run_gets_as_many_labels_whoever_acts(monkeypatch, tmp_path):
    monkeypatch.setenv("SCALEPT_CACHE", str(tmp_path))
    from scalept_lab.vla import dagger as module

    sizes = []
    monkeypatch.setattr(module, "joined", lambda old, new: sizes.append(len(new.targets)) or joined(old, new))
    for acting in ("policy", "bot"):
        config = DaggerConfig(
            policy=PolicyConfig.family(8), sources=(Source(episodes=5),), steps=6, batch=8, rounds=(2, 4), labels=12,
            acting=acting,
        )  # fmt: skip
        record = dagger(config)[1]
        assert record.config["acting"] == acting and record.D == 48
    assert sizes == [12] * 4


def test_a_round_after_the_end_is_refused():
    with pytest.raises(InputError, match="rounds: expected steps from 0 to 5, got"):
        dagger(DaggerConfig(steps=6, rounds=(2, 6)))


def test_loops_are_failures_that_end_in_turns_to_and_fro():
    turns = [FORWARD] * 12 + [LEFT, RIGHT] * 4
    found = Rollouts(LEVEL, [1, 2, 3, 4], np.array([False, True, False, False]), np.full(4, 20), [""] * 4,
                     [turns, turns, [LEFT] * 20, [*turns, FORWARD]])  # fmt: skip
    assert loops(found).tolist() == [True, False, False, False]
