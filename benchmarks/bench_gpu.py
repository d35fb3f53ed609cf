"""How much of a GPU a training step uses: the kit's step, plain and compiled, against bare compiled PyTorch, in turns.

    python benchmarks/bench_gpu.py [--models 124M 350M] [--rounds 7] [--steps 10]

The ceiling is what a bare product of two 8,192 × 8,192 matrices reaches in bfloat16 on the same card; MFU (model FLOPs
utilisation) is a step's FLOPs a second, head and attention included, as a share of it. Every arm trains the same shape on the
same batch under bfloat16 autocast with fused AdamW and clipping. `--smoke` runs tiny shapes on the CPU, to see that it runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import nn

from scalept_lab import machine
from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.costs import counts
from scalept_lab.model.optim import make_optimizer
from scalept_lab.model.precision import autocast, use_tf32
from scalept_lab.model.transformer import Transformer, cross_entropy
from scalept_lab.train.step import set_up
from scalept_lab.train.timing import against, product_flops

MODELS = {  # name: (width, depth, context, vocabulary, batch)
    "3M": (256, 4, 256, 256, 64),
    "25M": (512, 8, 512, 8192, 64),
    "124M": (768, 12, 1024, 50304, 16),
    "350M": (1024, 24, 1024, 50304, 8),
    "tiny": (32, 2, 32, 256, 4),
}
HEAD = 64


def config(name: str, compile: bool) -> TrainConfig:
    width, depth, context, vocabulary, batch = MODELS[name]
    model = ModelConfig(
        width=width, depth=depth, heads=max(1, width // HEAD), context=context, vocab_size=vocabulary
    )
    return TrainConfig(model=model, batch=batch, lr=1e-3, dtype="bfloat16", compile=compile)


def kit(given: TrainConfig, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    run = set_up(given, device)
    return lambda x_BxL: run.step(x_BxL, x_BxL)


def bare(given: TrainConfig, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The same model in the shortest loop that one would write with `torch.compile`."""
    torch.manual_seed(given.seed)
    model = Transformer(given.model).to(device)
    optimizer = make_optimizer(model, given)

    @torch.compile
    def loss_of(x_BxL: torch.Tensor) -> torch.Tensor:
        return cross_entropy(model(x_BxL), x_BxL)

    def step(x_BxL: torch.Tensor) -> torch.Tensor:
        with autocast("bfloat16", device):
            loss = loss_of(x_BxL)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), given.clip)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def arm(step: Callable[[torch.Tensor], torch.Tensor], x_BxL: torch.Tensor, steps: int) -> Callable[[], float]:
    """Seconds of a step. Reading one number at the end waits for a GPU that works ahead."""

    def run() -> float:
        started = time.perf_counter()
        for _ in range(steps):
            loss = step(x_BxL)
        loss.item()
        return (time.perf_counter() - started) / steps

    return run


def peak_bytes(step: Callable[[torch.Tensor], torch.Tensor], x_BxL: torch.Tensor) -> float:
    if x_BxL.device.type != "cuda":
        return float("nan")
    torch.cuda.reset_peak_memory_stats()
    step(x_BxL)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=["3M", "25M", "124M", "350M"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    device = "cpu" if options.smoke else machine.device()
    if device == "cpu" and not options.smoke:
        parser.error("expected a GPU, found none; --smoke runs tiny shapes on the CPU")
    if device == "cuda":
        use_tf32()
        print(torch.cuda.get_device_name(0), f"torch {torch.__version__}")
    ceiling = product_flops("bfloat16", device=device)
    print(f"ceiling: {ceiling / 1e12:.3g} TFLOP/s, a bare bfloat16 product\n")
    print(
        f"{'model':>6} {'batch':>6}   {'arm':<14}{'tokens/s':>12}{'MFU':>7}{'peak GB':>9}{'time / bare':>13}"
    )
    for name in ["tiny"] if options.smoke else options.models:
        plain = config(name, compile=False)
        steps = {
            "kit": kit(plain, device),
            "kit, compiled": kit(plain.replace(compile=True), device),
            "bare, compiled": bare(plain, device),
        }
        x_BxL = torch.randint(plain.model.vocab_size, (plain.batch, plain.model.context), device=device)
        arms = {label: arm(step, x_BxL, options.steps) for label, step in steps.items()}
        ratios = against(arms, "bare, compiled", options.rounds)
        for label, ratio in ratios.items():
            flops = counts.flops_per_token(plain.model) * plain.tokens_per_step / ratio.seconds
            print(
                f"{name:>6} {plain.batch:>6}   {label:<14}{plain.tokens_per_step / ratio.seconds:>12,.0f}"
                f"{flops / ceiling:>7.1%}{peak_bytes(steps[label], x_BxL) / 1e9:>9.2f}{ratio.median:>13.2f}",
                flush=True,
            )
        del steps, arms


if __name__ == "__main__":
    main()
