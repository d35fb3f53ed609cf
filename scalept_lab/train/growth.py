"""Growing a model while it trains: deeper or wider, with the outputs it had before, its optimizer's memory included.

`deepen` adds blocks, `widen` multiplies the width; `grow` does either to a `stepwise.Run`. Sources: Chen et al. 2016,
"Net2Net" (function-preserving width and depth), Gong et al. 2019, "Efficient Training of BERT by Progressively Stacking",
Chen et al. 2022, "bert2BERT" (width of transformers). Tensors are (outputs, inputs), as torch keeps them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scalept_lab.checks import one_of, positive
from scalept_lab.config import Growth, ModelConfig, TrainConfig, parse
from scalept_lab.costs.counts import flops_per_token
from scalept_lab.data.corpora import Prepared
from scalept_lab.errors import InputError
from scalept_lab.model.experts import need_dense
from scalept_lab.model.optim import learning_rate, make_optimizer
from scalept_lab.model.transformer import Transformer, device_of
from scalept_lab.runs import RunRecord
from scalept_lab.train import stepwise
from scalept_lab.train.loop import check
from scalept_lab.train.outcome import outcome
from scalept_lab.train.stepwise import Run

DEEPEN = ("zero", "stack", "copy")
WIDEN = ("copy", "pad")
State = dict[str, Tensor]  # weights by name
# what a block adds to the residual stream comes out of these
ENDS = ("attention.out.weight", "mlp.down.weight")


def deepen(model: Transformer, depth: int, how: str = "zero") -> Transformer:
    """A copy of `model` with `depth` blocks, the new ones on top.

    zero   new random blocks whose two output matrices are zero: they add nothing, so the outputs are the same
    stack  copies of the blocks below, in turn, with those matrices zero: the same outputs, and a better start inside
    copy   plain copies: the outputs change
    Raises: InputError for a depth that is not larger, an unknown way, or a model with experts.
    """
    one_of("how", how, DEEPEN)
    old = model.config
    need_dense(old, "deepen")
    if depth <= old.depth:
        raise InputError(f"depth: expected more than the {old.depth} blocks there are, got {depth}")
    grown = Transformer(old.replace(depth=depth)).to(device_of(model))
    # new blocks are the random ones of the new model, or copies
    new = grown.state_dict() if how == "zero" else {}
    grown.load_state_dict(deep_state(model.state_dict(), depth, ends=float(how == "copy"), new=new))
    return grown


def deep_state(state: State, depth: int, ends: float = 0.0, new: State | None = None) -> State:
    """Weights by name of the same model with `depth` blocks: those there are, and above them copies in turn, or the blocks of
    `new`, their two output matrices times `ends`: at 0 they add nothing to the residual stream, so the outputs are the same."""
    blocks = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    deep = {name: weight.clone() for name, weight in state.items()}
    for number in range(blocks, depth):
        below = f"blocks.{number % blocks}."
        for name in [name for name in state if name.startswith(below)]:
            inside = name.removeprefix(below)
            weight = (new or {}).get(f"blocks.{number}.{inside}", state[name])
            deep[f"blocks.{number}.{inside}"] = weight * (ends if inside in ENDS else 1.0)
    return deep


def widen(
    model: Transformer, width: int, how: str = "copy", noise: float = 1.0, seed: int = 0
) -> Transformer:
    """A copy of `model` at a multiple of its width, with as many times the heads.

    copy   every channel k times, what reads them divided by k: the outputs are the same, since layer norm does not see the
           copies (mean and variance stay). Alone, the copies would get the same gradients and stay the same for ever; so
           matrices that read copies get noise that cancels over them, `noise` times as large as fresh weights would be.
    pad    zeros for the new channels: the outputs change, since layer norm divides by the deviation over all channels.
    Raises: InputError for a width that is no multiple, an unknown way, or a model with experts.
    """
    one_of("how", how, WIDEN)
    old = model.config
    need_dense(old, "widen")
    k, rest = divmod(width, old.width)
    if rest or k < 2:
        raise InputError(f"width: expected 2, 3, … times the width {old.width}, got {width}")
    shared = {"kv_heads": k * old.kv_heads} if old.kv_heads else {}
    config = old.replace(width=width, heads=k * old.heads, **shared)
    grown = Transformer(config).to(device_of(model))
    if how == "pad":
        new = grown.state_dict()
        state = {name: _pad(name, weight, new[name].shape) for name, weight in model.state_dict().items()}
    else:
        state = wide_state(model.state_dict(), k, noise, seed)
    grown.load_state_dict(state)
    return grown


def wide_state(state: State, k: int = 2, noise: float = 1.0, seed: int = 0) -> State:
    """Weights by name of the same model with every channel k times: what reads copies is divided by k, so the outputs stay, and
    gets noise that cancels over the copies, so that they learn different things."""
    generator, wide = torch.Generator().manual_seed(seed), {}
    for name, weight in state.items():
        wide[name] = _spread(name, weight, k, 1 / k)
        if noise and _reads_channels(name):
            wide[name] = wide[name] + noise * _cancelling(wide[name].shape, k, generator).to(weight)
    return wide


def grow(
    run: Run, model: ModelConfig, how: str | None = None, seed: int = 0, state: State | None = None
) -> Run:
    """A run that goes on with a deeper or wider `model`: same outputs, Adam's moments and step counts, place in the data.

    The rates are those of the new width's parameter groups. Moments go where the weights went, scaled as the gradients
    are (a channel's copies share its gradient); new blocks start without any. `state`: the weights to go on with, in place of
    those that `how` makes.
    Raises: InputError if more than depth or width differs, the optimizer is not AdamW, or `state` does not fit the model.
    """
    old = run.config.model
    if run.config.optimizer != "adamw":
        raise InputError(
            f"optimizer: expected adamw, whose moments can be carried over, got {run.config.optimizer}"
        )
    deeper = old.replace(depth=model.depth) == model
    wider = (
        old.replace(width=model.width, heads=model.heads, kv_heads=model.kv_heads) == model
        and model.width // model.heads == old.width // old.heads
        and model.kv_width * old.width == old.kv_width * model.width
    )
    if model == old or not (deeper or wider):
        raise InputError(
            "model: expected the present one with more depth, or more width and heads in proportion"
        )
    config: TrainConfig = run.config.replace(model=model)
    if deeper:
        grown, k = deepen(run.model, model.depth, how or "zero"), 1
    else:
        grown, k = widen(run.model, model.width, how or "copy", seed=seed), model.width // old.width
    if state is not None:
        try:
            grown.load_state_dict(state)
        except (RuntimeError, TypeError, AttributeError) as error:
            said = " ".join(str(error).split("\n")[-1].split())
            raise InputError(f"state: expected the weights of the new model by name; {said}") from None
    optimizer = make_optimizer(grown, config)
    before = {name: run.optimizer.state.get(p) for name, p in run.model.named_parameters()}
    for name, p in grown.named_parameters():
        if kept := before.get(name):
            state = {key: value.clone() for key, value in kept.items()}
            if k > 1:
                less = 1.0 if name.startswith("head.") else 1 / k
                state["exp_avg"] = less * _spread(name, kept["exp_avg"], k, 1.0)
                state["exp_avg_sq"] = less**2 * _spread(name, kept["exp_avg_sq"], k, 1.0)
            optimizer.state[p] = state
    return run.copy(config, grown, optimizer)


def grown(
    small: TrainConfig, model: ModelConfig, flops: float, share: float = 0.5, how: str | None = None
) -> TrainConfig:
    """The run that spends `share` of `flops` on the model of `small`, grows it to `model`, and spends the rest on that.

    The share 0 is the large model from the start. Raises: InputError for a share outside [0, 1), or FLOPs that are not above 0.
    """
    plan = parse(
        Growth, {"start": small.model, "flops": positive("flops", flops), "share": share, "how": how}
    )
    config: TrainConfig = small.replace(model=model, growth=plan)
    return config.replace(tokens=sum(_steps(config)) * config.tokens_per_step)


def fit_grown(config: TrainConfig, corpus: Prepared | None = None) -> tuple[Run, RunRecord]:
    """Train, grow, train on, as `grown` planned it.

    The learning rate follows the share of the FLOPs that is spent, in the shape that `config` names, across the growth: one
    warm-up and one decay, the same for every share, so that the schedule is not what is compared.
    Raises: InputError as `grow` and `train` do.
    """
    plan = config.growth
    if plan is None:
        raise InputError("growth: expected a config made by growth.grown, got one without")
    check(config, loop="growth")
    if config.curriculum is not None:
        raise InputError(
            "curriculum: expected none in a run that grows, as its length is counted in FLOPs; leave it out"
        )
    steps, costs = _steps(config), _costs(config)
    spent = [step * costs[0] for step in range(steps[0])]
    spent += [steps[0] * costs[0] + step * costs[1] for step in range(steps[1])]
    total = steps[0] * costs[0] + steps[1] * costs[1]
    large: TrainConfig = config.replace(growth=None)
    ruler: TrainConfig = large.replace(tokens=10_000 * large.tokens_per_step)  # the schedule, finely divided
    rates = [learning_rate(int(at / total * ruler.steps), ruler) for at in spent]
    run = stepwise.start(large.replace(model=plan.start) if steps[0] else large, corpus)
    if steps[0]:
        run = grow(stepwise.go_on(run, rates[: steps[0]]), config.model, plan.how, seed=config.seed)
    stepwise.go_on(run, rates[steps[0] :])
    done = sum(part * cost for part, cost in zip(_split(run.step, steps[0]), costs, strict=True))
    return run, outcome(
        config, run.corpus.sha256, run.watch, stepwise.score(run), device=device_of(run.model).type, C=done,
        metrics={"steps_before": float(steps[0])},
    )  # fmt: skip


def _costs(config: TrainConfig) -> tuple[float, float]:
    """FLOPs of a step before the growth, and after it."""
    assert config.growth is not None
    before, after = (
        flops_per_token(model) * config.tokens_per_step for model in (config.growth.start, config.model)
    )
    return before, after


def _steps(config: TrainConfig) -> tuple[int, int]:
    """Steps before the growth, and after it."""
    assert config.growth is not None
    before, after = _costs(config)
    share, flops = config.growth.share, config.growth.flops
    return round(share * flops / before), round((1 - share) * flops / after)


def _split(step: int, at: int) -> tuple[int, int]:
    return min(step, at), max(0, step - at)


def _reads_channels(name: str) -> bool:
    return not name.startswith(("embed.", "position."))


def _spread(name: str, weight: Tensor, k: int, scale: float) -> Tensor:
    """Copies of rows and columns: inputs k times (times `scale`), outputs k times, but for tables and for the vocabulary."""
    if not _reads_channels(name):
        return weight.repeat(1, k)
    wide = weight.repeat(1, k) * scale
    if name.startswith("head."):
        return wide
    if "qkv" in name:  # queries, keys and values each by themselves, whole heads after one another
        return torch.cat([part.repeat(k, 1) for part in _parts(wide, weight.shape[1])])
    return wide.repeat(k, 1)


def _cancelling(shape: torch.Size, k: int, generator: torch.Generator) -> Tensor:
    """Random weights whose sum over the k copies of each input is zero."""
    rows, columns = shape
    noise_RxkxC = torch.randn(rows, k, columns // k, generator=generator) / math.sqrt(columns)
    return (noise_RxkxC - noise_RxkxC.mean(1, keepdim=True)).reshape(rows, columns)


def _pad(name: str, weight: Tensor, shape: torch.Size) -> Tensor:
    """Zeros for new rows and columns; in queries, keys and values each by themselves."""
    if "qkv" in name:
        pairs = zip(_parts(weight, weight.shape[1]), _parts(weight.new_zeros(shape), shape[1]), strict=True)
        return torch.cat([_pad("", old, new.shape) for old, new in pairs])
    padded = weight.new_zeros(shape)
    padded[: weight.shape[0], : weight.shape[1]] = weight
    return padded


def _parts(qkv_RxC: Tensor, queries: int) -> tuple[Tensor, ...]:
    """Rows of the queries, as many as the model is wide, of the keys, and of the values."""
    shared = (len(qkv_RxC) - queries) // 2
    return qkv_RxC.split([queries, shared, shared])
