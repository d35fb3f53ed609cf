"""A vision-language-action policy: it looks at the view, reads the mission, and says which action comes next.

A small transformer over four kinds of tokens: patches of the view (as in ViT, Dosovitskiy et al. 2021, §3.1), the words of
the mission, the last actions, and one query from which the action is read. All see all. The mission also scales and shifts
what every block reads (FiLM, Perez et al. 2018, eq. 1 and 2), so that a patch soon knows whether it is the one that is meant.

Shape suffixes: B steps, P patches, M words, K last actions, L = P + M + K + 1 tokens, D width, F hidden units, A actions ahead,
V kinds of action.

A trained policy is kept in one safetensors file, its shape and vocabulary beside the weights; `attention` says where it looks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
import torch
from pydantic import Field, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as packed
from torch import Tensor, nn
from torch.nn import functional as F

from scalept_lab import outside
from scalept_lab.config import Frozen, parse
from scalept_lab.errors import InputError
from scalept_lab.model.transformer import norm
from scalept_lab.runs import write_atomically
from scalept_lab.vla import worlds
from scalept_lab.vla.worlds import ACTIONS, COLOURS, KINDS, STATES, VIEW, WORDS

POLICY = 10**9  # bytes of a saved one
SYMBOLS = (len(KINDS), len(COLOURS), len(STATES) + 1)  # values of the three numbers of a cell; a spare state


class PolicyConfig(Frozen):
    """The shape of a policy.

    `view`: "symbols" (7 × 7 cells of three whole numbers) or "pixels" (a picture of `tile` pixels per cell). `patch`: cells or
    pixels along one side of a patch. `history`: last actions that it sees. `chunk`: actions that it says at once.
    """

    width: int = Field(24, ge=4, le=2**16)
    depth: int = Field(2, ge=1, le=1000)
    heads: int = Field(3, ge=1, le=2**12)
    mlp_ratio: int = Field(4, ge=1, le=64)
    view: Literal["symbols", "pixels"] = "symbols"
    tile: int = Field(8, ge=1, le=64)
    patch: int = Field(1, ge=1, le=2**10)
    mission: int = Field(24, ge=1, le=10**4)  # words at most
    words: tuple[str, ...] = WORDS
    history: int = Field(4, ge=0, le=10**4)
    chunk: int = Field(1, ge=1, le=10**4)
    film: bool = True

    @model_validator(mode="after")
    def _divides(self) -> PolicyConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.side % self.patch:
            raise ValueError(f"patches of {self.patch} do not tile a view of {self.side} × {self.side}")
        return self

    @property
    def side(self) -> int:
        """Rows and columns of the view: cells, or pixels."""
        return VIEW if self.view == "symbols" else VIEW * self.tile

    @property
    def channels(self) -> int:
        return sum(SYMBOLS) if self.view == "symbols" else 3

    @classmethod
    def family(cls, width: int, **changes: Any) -> PolicyConfig:
        """Policies by one dial: two blocks, a head for every 8 channels. Width 4 has 1,247 parameters, 256 has 2.2 million."""
        return parse(cls, {"width": width, "heads": max(1, width // 8), **changes})


class Policy(nn.Module):
    """What to do next: (B, rows, columns, 3), missions (B, M) and last actions (B, K) in, logits (B, A, V) out."""

    def __init__(self, config: PolicyConfig):
        super().__init__()
        self.config, D = config, config.width
        patches = (config.side // config.patch) ** 2
        self.patch = nn.Linear(config.patch**2 * config.channels, D)
        self.place = nn.Embedding(patches, D)
        self.word = nn.Embedding(len(config.words), D)
        self.order = nn.Embedding(config.mission, D)
        self.past = nn.Embedding(max(1, config.history) * (len(ACTIONS) + 1), D)
        self.query = nn.Parameter(torch.randn(D))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.act = nn.Linear(D, config.chunk * len(ACTIONS))
        self.point = nn.Linear(D, D)
        self.apply(_init)
        # what is in a patch must speak louder than where it is, or the words never find their object
        size = (
            math.sqrt(3) * config.patch
            if config.view == "symbols"
            else 3.2 / math.sqrt(self.patch.in_features)
        )
        nn.init.normal_(self.patch.weight, std=1 / size)
        nn.init.normal_(self.place.weight, std=0.3)

    def forward(self, image_BxHxWx3: Tensor, mission_BxM: Tensor, history_BxK: Tensor) -> Tensor:
        asked_BxD, _ = self.read(image_BxHxWx3, mission_BxM, history_BxK)
        return self.act(asked_BxD).unflatten(-1, (self.config.chunk, len(ACTIONS)))

    def pointing(self, image_BxHxWx3: Tensor, mission_BxM: Tensor, history_BxK: Tensor) -> Tensor:
        """Logits (B, P) of "this patch holds what the mission names": how well each patch answers to the query."""
        asked_BxD, patches_BxPxD = self.read(image_BxHxWx3, mission_BxM, history_BxK)
        return torch.einsum("bd,bpd->bp", self.point(asked_BxD), patches_BxPxD) / math.sqrt(self.config.width)

    def read(self, image_BxHxWx3: Tensor, mission_BxM: Tensor, history_BxK: Tensor) -> tuple[Tensor, Tensor]:
        """The query after the last block, (B, D), and the patches as that block found them, (B, P, D)."""
        x_BxLxD, meant_BxD, there_BxL = self.tokens(image_BxHxWx3, mission_BxM, history_BxK)
        for block in self.blocks[:-1]:
            x_BxLxD = block(x_BxLxD, meant_BxD, there_BxL)
        # of the last block only the query is read, so only the query is computed: half the work, with two blocks
        asked_Bx1xD = self.blocks[-1](x_BxLxD, meant_BxD, there_BxL, asking=1)
        return norm(asked_Bx1xD[:, 0]), norm(x_BxLxD[:, : self.place.num_embeddings])

    def tokens(
        self, image_BxHxWx3: Tensor, mission_BxM: Tensor, history_BxK: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What goes into the first block (B, L, D), the mission's mean (B, D), and which tokens are there (B, L)."""
        patches_BxPxD = self.patch(self.cut(image_BxHxWx3)) + self.place.weight
        mission_BxM, there_BxM = mission_BxM.long(), mission_BxM > 0  # short missions are filled up with 0
        words_BxMxD = self.word(mission_BxM) + self.order.weight[: mission_BxM.shape[1]]
        slots_K = torch.arange(history_BxK.shape[1], device=history_BxK.device) * (len(ACTIONS) + 1)
        past_BxKxD = self.past(history_BxK.long() + slots_K)
        query_Bx1xD = self.query.expand(len(mission_BxM), 1, -1)
        there_BxL = F.pad(there_BxM, (patches_BxPxD.shape[1], history_BxK.shape[1] + 1), value=True)
        meant_BxD = (words_BxMxD * there_BxM[..., None]).sum(1) / there_BxM.sum(1, keepdim=True)
        return torch.cat([patches_BxPxD, words_BxMxD, past_BxKxD, query_Bx1xD], dim=1), meant_BxD, there_BxL

    def cut(self, image_BxHxWx3: Tensor) -> Tensor:
        """The view in patches, (B, P, values of a patch): symbols as ones and zeros, pixels as small numbers."""
        if self.config.view == "symbols":
            codes = [
                F.one_hot(part.long(), n) for part, n in zip(image_BxHxWx3.unbind(-1), SYMBOLS, strict=True)
            ]
            x_BxHxWxC = torch.cat(codes, dim=-1).to(self.query.dtype)
        else:
            # around 0, and small: a step of Adam moves all weights alike, and a patch has hundreds of pixels
            x_BxHxWxC = (image_BxHxWx3.to(self.query.dtype) / 255 - 0.25) * 10 / self.patch.in_features
        p, (B, H, W, C) = self.config.patch, x_BxHxWxC.shape
        return x_BxHxWxC.view(B, H // p, p, W // p, p, C).transpose(2, 3).reshape(B, -1, p * p * C)


class Block(nn.Module):
    """x + attention(read(x)), then x + mlp(read(x)), where read is a norm, scaled and shifted by the mission."""

    def __init__(self, config: PolicyConfig):
        super().__init__()
        D = config.width
        self.heads = config.heads
        self.q, self.kv = nn.Linear(D, D, bias=False), nn.Linear(D, 2 * D, bias=False)
        self.out = nn.Linear(D, D, bias=False)
        hidden = config.mlp_ratio * D
        self.up, self.down = nn.Linear(D, hidden, bias=False), nn.Linear(hidden, D, bias=False)
        self.film = nn.Linear(D, 4 * D) if config.film else None

    def forward(self, x_BxLxD: Tensor, meant_BxD: Tensor, there_BxL: Tensor, asking: int = 0) -> Tensor:
        """`asking`: give back only so many tokens from the end (0: all); they still see all the others."""
        scale_1, shift_1, scale_2, shift_2 = self.modulation(meant_BxD)
        q, k, v = self.attended(norm(x_BxLxD) * (1 + scale_1) + shift_1, asking)
        mixed_BxHxLxK = F.scaled_dot_product_attention(q, k, v, attn_mask=there_BxL[:, None, None])
        x_BxLxD = x_BxLxD[:, -asking:] + self.out(mixed_BxHxLxK.transpose(1, 2).flatten(2))
        hidden_BxLxF = F.gelu(self.up(norm(x_BxLxD) * (1 + scale_2) + shift_2), approximate="tanh")
        return x_BxLxD + self.down(hidden_BxLxF)

    def attended(self, x_BxLxD: Tensor, asking: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (of the last `asking` tokens), keys and values, each (B, heads, L, K)."""
        k, v = self.kv(x_BxLxD).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.q(x_BxLxD[:, -asking:]).unflatten(-1, (self.heads, -1)).transpose(1, 2), k, v

    def modulation(self, meant_BxD: Tensor) -> tuple[Tensor, ...]:
        if self.film is None:
            return (torch.zeros((), device=meant_BxD.device),) * 4
        return self.film(meant_BxD)[:, None].chunk(4, dim=-1)


def clone_loss(logits_BxAxV: Tensor, actions_BxA: Tensor) -> Tensor:
    """Behaviour cloning: mean −log p(the expert's action) in nats. -1 stands for "after the end" and does not count."""
    return F.cross_entropy(logits_BxAxV.flatten(0, 1), actions_BxA.flatten(), ignore_index=-1)


def parameters(config: PolicyConfig) -> int:
    """All parameters of a policy; the embeddings are few."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in Policy(config).parameters())


def _init(module: nn.Module) -> None:
    """Variance 1/fan_in; what a block adds begins at zero."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=1 / math.sqrt(module.in_features))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, Block):
        nn.init.zeros_(module.out.weight)
        nn.init.zeros_(module.down.weight)


def save(policy: Policy, path: str | Path) -> None:
    """Write weights and config to one file, all of it or nothing. Raises: InputError where it cannot be written."""
    values = {"config": policy.config.model_dump_json()}
    write_atomically(Path(path), packed(policy.state_dict(), metadata=values))


def load(path: str | Path, words: tuple[str, ...] = WORDS) -> Policy:
    """A saved policy. Nothing is built before its shapes are those that its config asks for.

    Raises: InputError if there is none at `path`, it is larger than a policy is, or it reads another vocabulary than `words`.
    """
    with outside.opened(path, "a saved policy", most=POLICY):
        pass  # a regular file, and no larger
    try:
        with safe_open(path, "pt") as file:
            values = (file.metadata() or {}).get("config")
            if values is None:
                raise InputError(f"{path}: expected a policy saved by vla.save, got weights without a config")
            config = _config(path, values)
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  not a dict
            if config.words != words:
                raise InputError(
                    f"{path}: expected a policy for the vocabulary in use ({len(words)} words), got one for "
                    f"{len(config.words)} other words; load it with its own, or train one anew"
                )
            if config.depth > len(shapes) or shapes != _shapes(config):
                raise InputError(
                    f"{path}: expected the weights that its config asks for, got others; save it anew"
                )
            policy = Policy(config)
            policy.load_state_dict({name: file.get_tensor(name) for name in shapes})
            return policy
    except (OSError, SafetensorError):
        raise InputError(f"{path}: expected a saved policy, found none or a damaged one") from None
    except RuntimeError:  # a kind of number that cannot be copied
        raise InputError(
            f"{path}: expected the weights that its config asks for, got others; save it anew"
        ) from None


def _config(path: str | Path, values: str) -> PolicyConfig:
    try:
        return PolicyConfig.model_validate_json(values)
    except pydantic.ValidationError as error:
        raise InputError(
            f"{path}: expected the config of a policy, got one with {error.error_count()} faults; save it anew"
        ) from None


def _shapes(config: PolicyConfig) -> dict[str, tuple[int, ...]]:
    """Of its weights, without making them."""
    with torch.device("meta"):
        return {name: tuple(weight.shape) for name, weight in Policy(config).state_dict().items()}


@dataclass(frozen=True)
class Gaze:
    """Shares of attention, the mean over heads; rows and columns as in a picture of the view, the agent looking up."""

    words: list[str]
    words_MxRxC: np.ndarray  # in the first block, from each word to each patch
    query_RxC: np.ndarray  # in the last block, from the query


@torch.no_grad()
def attention(policy: Policy, image: np.ndarray, mission: str, history: np.ndarray | None = None) -> Gaze:
    """What a policy attends to at one step: `image` as it sees it, `history` its last actions (default: none yet).

    What is not spent on the view goes to words, past actions and the query itself.
    Raises: InputError for another view, an unknown word, or a mission longer than the policy reads.
    """
    config = policy.config
    if image.shape != (config.side, config.side, 3):
        raise InputError(
            f"image: expected {config.side} × {config.side} × 3, what the policy sees, "
            f"got {' × '.join(map(str, image.shape))}"
        )
    tokens = worlds.encode(mission, config.mission)
    tokens = tokens[tokens > 0]
    past = np.full(config.history, len(worlds.ACTIONS)) if history is None else np.asarray(history)
    inputs = (
        torch.from_numpy(np.array(part)[None]).to(policy.query.device) for part in (image, tokens, past)
    )
    x_1xLxD, meant_1xD, there_1xL = policy.tokens(*inputs)
    first_LxL = _weights(policy.blocks[0], x_1xLxD, meant_1xD, there_1xL)
    for block in policy.blocks[:-1]:
        x_1xLxD = block(x_1xLxD, meant_1xD, there_1xL)
    last_LxL = _weights(policy.blocks[-1], x_1xLxD, meant_1xD, there_1xL)
    side = config.side // config.patch
    P, M = side * side, len(tokens)

    def placed(rows_RxP: Tensor) -> np.ndarray:
        grid = rows_RxP.float().cpu().numpy().reshape(-1, side, side)
        return grid.swapaxes(1, 2) if config.view == "symbols" else grid  # cells are numbered [x, y]

    words = worlds.decode(tokens).replace(",", " ,").split()
    return Gaze(words, placed(first_LxL[P : P + M, :P]), placed(last_LxL[-1:, :P])[0])


def _weights(block: Any, x_1xLxD: Tensor, meant_1xD: Tensor, there_1xL: Tensor) -> Tensor:
    """softmax(QKᵀ/√K) of a block for one item, the mean over its heads, (L, L)."""
    scale, shift, *_ = block.modulation(meant_1xD)
    q, k, _ = block.attended(norm(x_1xLxD) * (1 + scale) + shift)
    logits_1xHxLxL = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return logits_1xHxLxL.masked_fill(~there_1xL[:, None, None], -torch.inf).softmax(-1).mean(1)[0]
