"""A policy comes back from disk as it went, or one line says why not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from refusals import one_line
from safetensors import safe_open
from safetensors.torch import save_file

from scalept_lab.errors import InputError
from scalept_lab.vla import model, worlds
from scalept_lab.vla.model import Policy, PolicyConfig


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
    refused("none or a damaged one")
    path.rmdir()

    save_file(policy.state_dict(), path)
    refused("without a config")
    for config in ("{}x", '{"width": -3}', '{"wings": 2}', '{"width": 25, "heads": 3}'):
        save_file(policy.state_dict(), path, metadata={"config": config})
        refused("expected the config of a policy")
    save_file(policy.state_dict(), path, metadata={"config": PolicyConfig.family(16).model_dump_json()})
    refused("the weights that its config asks for")


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
