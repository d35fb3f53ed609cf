"""The policy against slow twins: what it leaves out, fills up or batches changes nothing."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from refusals import one_line
from safetensors import safe_open
from safetensors.torch import save_file

from scalept_lab import runs
from scalept_lab.config import parse
from scalept_lab.errors import InputError
from scalept_lab.model.transformer import norm
from scalept_lab.vla import demos, model, worlds
from scalept_lab.vla.model import SYMBOLS, Policy, PolicyConfig, clone_loss, parameters
from scalept_lab.vla.rollouts import actor, rollout


def random_policy(seed: int = 0, **changes) -> Policy:
    """A policy whose blocks do something: they begin by adding nothing."""
    torch.manual_seed(seed)
    policy = Policy(PolicyConfig(**({"width": 12, "heads": 3} | changes)))
    for block in policy.blocks:
        for linear in (block.out, block.down):
            torch.nn.init.normal_(linear.weight, std=0.5)
        if block.film is not None:
            torch.nn.init.normal_(block.film.bias, std=0.2)
    return policy


@pytest.fixture(scope="module")
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Views, missions of 5 words (one of a made-up 4, filled up), last actions."""
    steps = demos.steps(demos.read(runs.data_folder() / "demonstrations/GoToLocalS8N4/00000000.parquet"))
    rows = slice(0, 240, 20)
    mission = steps.mission_SxM[rows].copy()
    mission[3] = worlds.encode("open the red door", mission.shape[1])
    arrays = (steps.image_Sx7x7x3[rows], mission, steps.history_SxK(4)[rows])
    return tuple(torch.from_numpy(np.array(array)) for array in arrays)  # type: ignore[return-value]


@torch.no_grad()
def test_a_policy_that_cannot_be_saved_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    policy = Policy(PolicyConfig.family(8))
    one_line(
        lambda: model.save(policy, tmp_path / "file" / "p.safetensors"), "p.safetensors cannot be written: "
    )


def test_the_last_block_need_not_be_run_for_all_tokens(batch):
    policy = random_policy()
    x, meant, there = policy.tokens(*batch)
    for block in policy.blocks:
        x = block(x, meant, there)
    whole = (norm(x[:, -1]) @ policy.act.weight.T + policy.act.bias)[:, None]
    assert torch.allclose(policy(*batch), whole, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("film", [True, False])
def test_filling_a_mission_up_changes_nothing(batch, film):
    image, mission, history = batch
    policy = random_policy(film=film)
    longer = F.pad(mission, (0, 6))
    assert torch.allclose(policy(image, mission, history), policy(image, longer, history), atol=1e-5)
    assert torch.allclose(
        policy.pointing(image, mission, history), policy.pointing(image, longer, history), atol=1e-5
    )


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"chunk": 3}, {"history": 0}, {"film": False, "depth": 1}])
def test_an_items_logits_do_not_depend_on_its_batch(batch, changes):
    image, mission, history = batch
    policy = random_policy(**changes)
    history = history[:, : policy.config.history]
    together = policy(image, mission, history)
    assert together.shape == (len(image), policy.config.chunk, len(worlds.ACTIONS))
    for i in range(len(image)):
        words = int((mission[i] > 0).sum())
        alone = policy(image[i : i + 1], mission[i : i + 1, :words], history[i : i + 1])
        assert torch.allclose(together[i : i + 1], alone, atol=1e-5)


@torch.no_grad()
def test_all_that_it_is_shown_reaches_the_answer(batch):
    policy = random_policy()
    before = policy(*batch)
    for which, shape in enumerate(((7, 7, 3), (5,), (4,))):
        changed = [part.clone() for part in batch]
        place = (0, *(size - 1 for size in shape))
        changed[which][place] = 1 if changed[which][place] != 1 else 2
        after = policy(*changed)
        assert not torch.allclose(after[0], before[0], atol=1e-6)
        assert torch.allclose(after[1:], before[1:], atol=1e-6)


def test_a_cell_is_ones_and_zeros_and_a_patch_of_pixels_its_pixels():
    rng = np.random.default_rng(0)
    cells = torch.from_numpy(rng.integers(0, SYMBOLS, (2, 7, 7, 3)))
    found = random_policy().cut(cells)
    for b, x, y in ((0, 0, 0), (1, 3, 6), (0, 6, 2)):
        wanted = []
        for part, size in enumerate(SYMBOLS):
            wanted += [float(cells[b, x, y, part] == value) for value in range(size)]
        assert found[b, 7 * x + y].tolist() == wanted
    picture = torch.from_numpy(rng.integers(0, 256, (2, 56, 56, 3), dtype=np.uint8))
    found = random_policy(view="pixels", tile=8, patch=14).cut(picture)
    assert found.shape == (2, 16, 14 * 14 * 3)
    wanted = [
        (int(v) / 255 - 0.25) * 10 / (14 * 14 * 3)
        for row in range(14, 28)
        for column in range(28, 42)
        for v in picture[1, row, column]
    ]
    assert torch.allclose(found[1, 4 * 1 + 2], torch.tensor(wanted), atol=1e-7)


def test_gradients_are_those_of_finite_differences(batch):
    policy = random_policy(width=6, heads=2, chunk=2).double()
    image, mission, history = (part[:4] for part in batch)
    actions = torch.tensor([[0, 2], [1, -1], [2, 2], [2, -1]])

    def loss() -> torch.Tensor:
        logits = policy(image, mission, history)
        return clone_loss(logits, actions) + policy.pointing(image, mission, history).logsumexp(-1).mean()

    loss().backward()
    rng = np.random.default_rng(0)
    for name, weight in policy.named_parameters():
        assert weight.grad is not None, name
        flat, gradient = weight.data.view(-1), weight.grad.view(-1)
        # the steepest, so that the difference is not rounding alone, and some at random
        for i in {int(gradient.abs().argmax()), *rng.integers(0, len(flat), 3).tolist()}:
            kept, h = flat[i].item(), 1e-5
            with torch.no_grad():
                flat[i] = kept + h
                up = loss().item()
                flat[i] = kept - h
                down = loss().item()
                flat[i] = kept
            assert math.isclose((up - down) / (2 * h), gradient[i].item(), rel_tol=1e-5, abs_tol=1e-8), name


def test_the_loss_leaves_out_what_is_after_the_end():
    logits = torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(0))
    actions = torch.tensor([[0, 1, -1], [6, -1, -1], [2, 2, 2], [3, 0, 1], [5, -1, -1]])
    each = [
        -math.log(math.exp(logits[b, a, actions[b, a]]) / logits[b, a].exp().sum().item())
        for b in range(5)
        for a in range(3)
        if actions[b, a] >= 0
    ]
    assert math.isclose(clone_loss(logits, actions).item(), sum(each) / len(each), rel_tol=1e-5)


@pytest.mark.parametrize(
    "changes", [{}, {"film": False}, {"history": 0}, {"chunk": 4}, {"view": "pixels", "patch": 8}]
)
def test_parameters_are_counted(changes):
    config = PolicyConfig(**changes)
    assert parameters(config) == sum(weight.numel() for weight in Policy(config).parameters())


def test_the_family_has_the_sizes_that_it_names():
    assert parameters(PolicyConfig.family(4)) == 1247
    assert 2.1e6 < parameters(PolicyConfig.family(256)) < 2.3e6
    sizes = [parameters(PolicyConfig.family(width)) for width in (4, 8, 16, 24, 32, 64, 128, 256)]
    assert sizes == sorted(sizes)


def test_it_begins_without_an_opinion_of_its_blocks(batch):
    """What a block adds begins at zero, so the query comes out as it went in, for every view."""
    policy = Policy(PolicyConfig())
    logits = policy(*batch)
    assert torch.allclose(logits, logits[:1].expand_as(logits), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 20, "heads": 3}, "width 20 is not a multiple of heads 3"),
        ({"view": "pixels", "tile": 8, "patch": 10}, "patches of 10 do not tile a view of 56 × 56"),
        ({"patch": 2}, "patches of 2 do not tile a view of 7 × 7"),
        ({"depth": 0}, "depth"),
        ({"view": "sound"}, "view"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(InputError) as error:
        parse(PolicyConfig, changes)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_it_comes_back_as_it_went(tmp_path):
    policy = Policy(PolicyConfig.family(8, chunk=2, history=2))
    for block in policy.blocks:
        torch.nn.init.normal_(block.out.weight)
    model.save(policy, tmp_path / "p.safetensors")
    found = model.load(tmp_path / "p.safetensors")
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 3, (3, 7, 7, 3), dtype=np.uint8))
    mission = torch.from_numpy(rng.integers(1, 30, (3, 6), dtype=np.uint8))
    history = torch.full((3, 2), len(worlds.ACTIONS))
    assert found.config == policy.config
    assert torch.equal(found(image, mission, history), policy(image, mission, history))


def test_what_is_no_policy_is_one_line(tmp_path):
    path, policy = tmp_path / "p.safetensors", Policy(PolicyConfig.family(8))

    def refused(*words: str) -> None:
        one_line(lambda: model.load(path), path.name, *words)

    refused("expected a saved policy")
    model.save(policy, path)
    whole = path.read_bytes()
    for kept in (whole[:-10], whole[:100], whole[:5], b"", b"x" * 500):
        path.write_bytes(kept)
        refused("none or a damaged one")
    path.unlink()
    path.mkdir()
    refused("got a folder")
    path.rmdir()

    save_file(policy.state_dict(), path)
    refused("without a config")
    for config in ("{}x", '{"width": -3}', '{"wings": 2}', '{"width": 25, "heads": 3}'):
        save_file(policy.state_dict(), path, metadata={"config": config})
        refused("expected the config of a policy")
    for name in ("width", "depth", "history", "chunk"):
        save_file(policy.state_dict(), path, metadata={"config": json.dumps({"heads": 1, name: 2**60})})
        refused("expected the config of a policy")
    for asked in ({"width": 16}, {"width": 2**16, "mlp_ratio": 64}, {"depth": 1000}, {"history": 1000}):
        large = PolicyConfig.model_validate({"width": 8, "heads": 1, **asked})
        save_file(policy.state_dict(), path, metadata={"config": large.model_dump_json()})
        refused("the weights that its config asks for")  # before any of them is made


def test_a_policy_of_another_vocabulary_is_refused(tmp_path):
    path, words = tmp_path / "p.safetensors", ("<pad>", "go", "to", "it")
    model.save(Policy(PolicyConfig.family(8, words=words)), path)
    with pytest.raises(
        InputError, match=r"vocabulary in use \(34 words\), got one for 4 other words"
    ) as error:
        model.load(path)
    assert "\n" not in str(error.value)
    assert model.load(path, words=words).config.words == words
    with safe_open(path, "pt") as file:
        assert "words" in file.metadata()["config"]


def test_the_same_policy_reads_them():
    """One patch per cell, in the same place: and it acts on pictures in its worlds."""
    config = PolicyConfig(width=8, heads=2, view="pixels", tile=8, patch=8)
    policy = Policy(config)
    episode = worlds.demonstrate("GoToLocalS8N4", 0)
    picture = worlds.render_steps(episode.image_Tx7x7x3)
    patches = policy.cut(torch.from_numpy(picture))
    assert patches.shape == (len(episode), 49, 8 * 8 * 3)
    top_right = (picture[0, :8, 48:].reshape(-1) / 255 - 0.25) * 10 / 192
    assert np.allclose(patches[0, 6].numpy(), top_right, atol=1e-7)
    found = rollout(actor(policy), "GoToLocalS8N4", range(demos.TEST, demos.TEST + 4), see=worlds.view, cap=3)
    assert found.length.max() <= 3


def test_pixels_speak_about_as_loudly_as_symbols():
    """Else one of the two would need rates of its own: the spread of a patch's tokens over real views, at the beginning."""
    steps = demos.steps(demos.read(runs.data_folder() / "demonstrations/GoToLocalS8N4/00000000.parquet"))
    spread = {}
    for view, images in (
        ("symbols", steps.image_Sx7x7x3),
        ("pixels", worlds.render_steps(steps.image_Sx7x7x3)),
    ):
        torch.manual_seed(0)
        policy = Policy(PolicyConfig(view=view, patch=8 if view == "pixels" else 1))
        tokens = policy.patch(policy.cut(torch.from_numpy(np.array(images[:200]))))
        spread[view] = float(tokens.detach().std(dim=(0, 1)).mean())
    assert 0.3 < spread["pixels"] / spread["symbols"] < 3
