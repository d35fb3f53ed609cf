"""Magnitude pruning of our Transformer: single weights set to zero, or whole hidden units and heads taken out.

`unstructured` keeps every shape and puts zeros in (by torch.nn.utils.prune); `fewer_units` and `fewer_heads` give smaller dense
matrices, which any hardware multiplies faster. `fine_tune` trains on; zeros stay zeros.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from scalept_lab.checks import positive
from scalept_lab.compress import gptq
from scalept_lab.compress.copies import need_floats, plain_copy
from scalept_lab.data import tokens
from scalept_lab.data.corpora import Prepared
from scalept_lab.errors import InputError
from scalept_lab.model.experts import need_dense
from scalept_lab.model.transformer import MLP, Attention, Transformer, cross_entropy, device_of
from scalept_lab.train.outcome import Watch
from scalept_lab.train.step import to


def unstructured(model: Transformer, sparsity: float) -> Transformer:
    """A copy in which the `sparsity` share of all weights of the blocks, those of smallest size, are zero.

    Sizes are compared over all matrices at once. Each keeps a mask beside it (`weight_orig`, `weight_mask`), so that training on
    leaves the zeros alone; `made_permanent` multiplies it in. Raises: InputError unless 0 <= sparsity < 1 and the model
    is dense.
    """
    _check_share("sparsity", sparsity)
    need_dense(model.config, "pruning")
    made = plain_copy(model, "pruning")
    prune.global_unstructured(_weights(made), pruning_method=prune.L1Unstructured, amount=float(sparsity))
    return made


@torch.no_grad()
def two_of_four(model: Transformer, hessians: Mapping[str, Tensor] | None = None) -> Transformer:
    """A copy in which, of any four neighbours in a row of a block's matrices, two are zero: the pattern that NVIDIA's GPUs skip.

    The two smallest go. With `hessians` (of `gptq.hessians`) those go whose loss does least to the output, and the weights that
    are still to come make up for it: SparseGPT (Frantar & Alistarh 2023). Masks as in `unstructured`.
    Raises: InputError for a model with experts, rows that fours do not fill, and where a layer has no H.
    """
    need_dense(model.config, "pruning")
    made = plain_copy(model, "pruning")
    names = {module: name for name, module in made.named_modules()}
    for layer, _ in _weights(made):
        weight_OxI: Tensor = layer.weight  # type: ignore[assignment]
        if hessians is None:
            mask_OxI = gptq.largest_of(weight_OxI.abs())
        else:
            H_IxI = gptq.hessian_of(names[layer], hessians).to(weight_OxI.device)
            pruned_OxI = gptq.compensated(weight_OxI, H_IxI, gptq.two_smallest(H_IxI))
            mask_OxI = pruned_OxI != 0
            weight_OxI.copy_(pruned_OxI)
        prune.custom_from_mask(layer, "weight", mask_OxI)
    return made


def sparse_bytes(model: nn.Module) -> int:
    """Bytes in a format that leaves zeros out: for each weight of the blocks a bit says whether it is there.

    (2:4 on a GPU stores two positions of two bits for four weights, which is as much.) All else counts as it is.
    Raises: InputError for a model in a library's 8 bits.
    """
    need_floats(model, "counting zeros")
    inside: list[Tensor] = [module.weight for module, _ in _weights(model)]  # type: ignore[misc]
    kept = sum(
        int((weight != 0).sum()) * weight.element_size() + -(-weight.numel() // 8) for weight in inside
    )
    return kept + sum(p.nbytes for p in model.parameters()) - sum(weight.nbytes for weight in inside)


def made_permanent(model: nn.Module) -> nn.Module:
    """The same model with its masks multiplied in and taken off: plain parameters, some of them zero. In place."""
    for module in model.modules():
        if prune.is_pruned(module) and hasattr(module, "weight_mask"):
            prune.remove(module, "weight")
    return model


def sparsity(model: nn.Module) -> float:
    """Share of zeros among the weights of the blocks. Raises: InputError for a model in a library's 8 bits."""
    need_floats(model, "counting zeros")
    weights: list[Tensor] = [module.weight for module, _ in _weights(model)]  # type: ignore[misc]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


@torch.no_grad()
def fewer_units(model: Transformer, share: float) -> Transformer:
    """A copy whose MLPs have lost the `share` of their hidden units with the smallest norm of incoming weights.

    torch.nn.utils.prune chooses them and sets their rows to zero; here those rows of `up`, and the columns of `down` that
    they feed, are cut out. Raises: InputError unless 0 <= share < 1, a unit is left and the
    model is dense.
    """
    _check_share("share", share)
    need_dense(model.config, "pruning")
    made = plain_copy(model, "pruning")
    for mlp in (module for module in made.modules() if isinstance(module, MLP)):
        units = mlp.up.out_features
        if round(share * units) >= units:
            raise InputError(f"share: expected to leave a hidden unit of {units}, got {share}; take less")
        prune.ln_structured(mlp.up, "weight", amount=round(share * units), n=2, dim=0)
        mask_FxD: Tensor = mlp.up.weight_mask  # type: ignore[assignment]
        kept = mask_FxD[:, 0].bool()
        prune.remove(mlp.up, "weight")
        mlp.up, mlp.down = _linear(mlp.up.weight[kept]), _linear(mlp.down.weight[:, kept])
    return made


@torch.no_grad()
def fewer_heads(model: Transformer, share: float) -> Transformer:
    """A copy whose attention layers have lost the `share` of their heads with the smallest norm of outgoing weights.

    Raises: InputError unless 0 <= share < 1, a head is left and no heads share their keys and values.
    """
    _check_share("share", share)
    made = plain_copy(model, "pruning")
    for layer in (module for module in made.modules() if isinstance(module, Attention)):
        if layer.shared_by > 1:
            raise InputError(
                f"heads: expected keys and values of their own, got heads that share them by {layer.shared_by}; "
                "prune units instead"
            )
        out_DxHxK = layer.out.weight.unflatten(1, (-1, layer.head_dim))
        heads = out_DxHxK.shape[1]
        keep = heads - round(share * heads)
        if keep < 1:
            raise InputError(f"share: expected to leave a head of {heads}, got {share}; take less")
        kept = out_DxHxK.norm(dim=(0, 2)).topk(keep).indices.sort().values
        qkv_3xHxKxD = layer.qkv.weight.unflatten(0, (3, heads, layer.head_dim))
        layer.qkv = _linear(qkv_3xHxKxD[:, kept].flatten(0, 2))
        layer.out = _linear(out_DxHxK[:, kept].flatten(1, 2))
    return made


def fine_tune(
    model: Transformer,
    corpus: Prepared,
    budget: float,
    lr: float = 1e-3,
    batch: int = 4,
    seed: int = 100,
) -> Transformer:
    """Train on for `budget` tokens, in place: AdamW, the rate falling linearly to zero. Masked weights stay zero.

    `seed` orders the text; take another than the model was trained with, or it sees the same windows again.
    Raises: InputError for less than one step, a rate that is not above zero, or one at which the loss leaves a model's range.
    """
    context = model.config.context
    steps = int(budget // (batch * context))
    if steps < 1:
        raise InputError(
            f"budget: expected at least one step of {batch} × {context} tokens, got {budget:g}; ask for more"
        )
    need_floats(model, "fine-tuning")
    lr = positive("lr", lr, hint="1e-3 suits a trained model")
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.0)
    device = device_of(model)
    stream = tokens.batches(corpus.train, batch=batch, context=context, steps=steps, seed=seed)
    watch = Watch(steps, batch * context, model.config.vocab_size)
    for step, (x_BxL, y_BxL) in enumerate(stream):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        loss = cross_entropy(model(to(x_BxL, device)), to(y_BxL, device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        watch.note(loss.detach())
        if watch.diverged:
            raise InputError(watch.why())
    return model


def _weights(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """The matrices inside the blocks: embeddings and the output layer are looked up, or read out, and stay whole."""
    layers = [module for block in model.blocks for module in block.modules()]  # type: ignore[union-attr]
    return [(module, "weight") for module in layers if isinstance(module, nn.Linear)]


def _linear(weight_OxI: Tensor) -> nn.Linear:
    outputs, inputs = weight_OxI.shape
    layer = nn.Linear(inputs, outputs, bias=False, device=weight_OxI.device, dtype=weight_OxI.dtype)
    layer.weight.data.copy_(weight_OxI)
    return layer


def _check_share(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise InputError(
            f"{name}: expected a share from 0 up to, not including, 1, got {value!r}; 0.5 is half"
        )
