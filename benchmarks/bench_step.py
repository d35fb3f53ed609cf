"""What a training step costs: our loop against a bare PyTorch loop and against `transformers.Trainer`, in one run.

    python benchmarks/bench_step.py [--width 32] [--rounds 9]

The same model, batch, optimizer and clipping in all three. The arms take turns, so that other load on the machine hits
all of them; what is printed is the median over rounds of each arm's time per step, as a ratio to the bare loop of that
round. The bare loop has its batches ready in memory and reports nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from functools import partial

import numpy as np
import torch
from torch import nn

from scalept_lab.config import TrainConfig, recommend
from scalept_lab.data import corpora, tokens
from scalept_lab.model.optim import make_optimizer
from scalept_lab.model.transformer import Transformer, cross_entropy
from scalept_lab.train.loop import train
from scalept_lab.train.timing import against


def bare(config: TrainConfig, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    model = Transformer(config.model)
    optimizer = make_optimizer(model, config)
    started = time.perf_counter()
    for x, y in batches:
        loss = cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - started


def ours(config: TrainConfig, corpus: corpora.Prepared) -> float:
    return train(config, corpus=corpus).seconds


class ForTrainer(nn.Module):
    """Our model in the shape that Trainer expects: keyword arguments in, a dictionary with the loss out."""

    def __init__(self, config: TrainConfig):
        super().__init__()
        self.inner = Transformer(config.model)

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": cross_entropy(self.inner(input_ids), labels)}


def trainer(config: TrainConfig, rows: list[dict[str, torch.Tensor]], folder: str) -> float:
    from transformers import PrinterCallback, Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=folder, per_device_train_batch_size=config.batch, max_steps=config.steps, max_grad_norm=config.clip,
        lr_scheduler_type="linear", warmup_steps=config.steps // 10, report_to=[], save_strategy="no", disable_tqdm=True,
        logging_steps=max(1, config.steps // 100), use_cpu=True, dataloader_num_workers=0, optim="adamw_torch_fused",
    )  # fmt: skip
    model = ForTrainer(config)
    optimizer = make_optimizer(model.inner, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    run = Trainer(model=model, args=arguments, train_dataset=rows, optimizers=(optimizer, schedule))
    run.remove_callback(PrinterCallback)
    started = time.perf_counter()
    run.train()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    corpus = corpora.prepare("python")
    in_memory = dataclasses.replace(corpus, train=np.array(corpus.train[:4_000_000]))
    print(
        f"{'width':>5} {'ms/step, bare':>14} {'ours / bare':>12} {'Trainer / bare':>15}   medians of {options.rounds} rounds"
    )
    for width in options.width:
        config = recommend(width, 1e6)
        config = config.replace(tokens=options.steps * config.tokens_per_step)
        drawn = tokens.batches(in_memory.train, batch=config.batch, context=64, steps=config.steps, seed=0)
        batches = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in drawn]
        rows = [{"input_ids": a, "labels": b} for x, y in batches for a, b in zip(x, y, strict=True)]
        with tempfile.TemporaryDirectory() as folder:
            arms = {
                "bare": partial(bare, config, batches),
                "ours": partial(ours, config, in_memory),
                "trainer": partial(trainer, config, rows, folder),
            }
            ratio = against(arms, "bare", options.rounds)
        each = 1e3 * ratio["bare"].seconds / config.steps
        print(
            f"{width:>5} {each:>14.2f} {ratio['ours'].median:>12.3f} {ratio['trainer'].median:>15.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
