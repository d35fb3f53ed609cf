"""What `tests/test_devices.py` runs on a device that is not the CPU: every loop, and every function that takes a model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import datasets
import numpy as np
import torch
from transformers import BertForPreTraining, BertForSequenceClassification

import scalept_lab as sl
from scalept_lab.compress import decode, distill, gptq, prune, quantize, speculative, variants
from scalept_lab.config import Curriculum, Delayed, ModelConfig, TrainConfig
from scalept_lab.course.sets.nb03 import adamw_step
from scalept_lab.data.corpora import Prepared
from scalept_lab.model import activations, blocks, experts, optim, optimizers, precision
from scalept_lab.model.transformer import Transformer, device_of
from scalept_lab.parallel import ring
from scalept_lab.train import (
    broken,
    curriculum,
    delayed,
    growth,
    live,
    loop,
    miniature,
    questions,
    step,
    stepwise,
    timing,
)
from scalept_lab.transfer import bert, finetuning, heads, lora, membership
from scalept_lab.vla import cloning, dagger, rollouts
from scalept_lab.vla import heads as action_heads
from scalept_lab.vla import model as policy_model

WHERE = "elsewhere"
LEVEL = "GoToLocalS5N2"
POLICY = policy_model.PolicyConfig(width=8, depth=1, heads=1)
TINY = ModelConfig(width=16, context=16, heads=2)
MIXTURE = TINY.replace(mlp_ratio=2, experts={"number": 4, "active": 2})


@cache
def corpus() -> Prepared:
    stream = np.random.default_rng(0).integers(97, 101, 4000).astype(np.uint8)
    return Prepared("letters", stream[:3000], stream[3000:], 256, "0" * 64, {}, Path())


def config(**changes) -> TrainConfig:
    return TrainConfig(**{"model": TINY, "tokens": 6 * 64, "eval_windows": 8, **changes})


def model(shape: ModelConfig = TINY) -> Transformer:
    torch.manual_seed(0)
    return Transformer(shape).to(WHERE)


def trained(made: torch.nn.Module, record: sl.runs.RunRecord) -> None:
    """The run came to its end, on the device."""
    assert device_of(made).type == WHERE, f"trained on {device_of(made)}"
    assert record.status == "ok" and record.provenance["device"] == WHERE, record.provenance["device"]


def fit(**changes) -> None:
    trained(*loop.fit_model(config(**changes), corpus=corpus()))


def grown() -> None:
    plan = growth.grown(config(), TINY.replace(depth=3), flops=1e8)
    run, record = growth.fit_grown(plan, corpus())
    trained(run.model, record)


def driven() -> None:
    pools = live.levels(corpus(), TINY.context, number=2)
    schedule = curriculum.Adaptive((0.5, 1.0), promote=0.01, deadline=4)
    made, record = live.fit_live(config(), schedule, pools, corpus(), every=2, judged=4)
    trained(made, record)
    assert len(record.provenance["performance"]) == 2
    run = live.go_on(stepwise.start(config(), corpus()), 8, pools, 2)
    assert run.step == 2 and live.performance(run.model, "level 2", pools) >= 0


def by_hand() -> None:
    made = model()
    assert device_of(growth.deepen(made, 3)) == device_of(growth.widen(made, 32)) == device_of(made)
    run = stepwise.start(config(), corpus())
    stepwise.go_on(stepwise.branch(stepwise.go_on(run, [1.0, 0.5], watch=True)), [0.5])
    assert stepwise.score(run) > 0
    assert stepwise.pieces(run, size=2, count=2).shape[0] == 2
    groups = optim.param_groups(run.model, run.config)
    run.optimizer = optimizers.ByHand([{**group, "rule": adamw_step} for group in groups])
    stepwise.go_on(run, [0.5])
    run = stepwise.start(config(), corpus())
    for wanted in (TINY.replace(depth=3), TINY.replace(width=32, heads=4)):
        larger = growth.grow(run, wanted)
        assert device_of(stepwise.go_on(larger, [0.5]).model).type == WHERE


def batch() -> torch.Tensor:
    return torch.randint(256, (4, 16)).to(WHERE)


def one_step() -> None:
    made = model()
    optimizer = optim.make_optimizer(made, config())
    step.train_step(made, optimizer, batch(), batch(), 1.0, parts=2)
    step.next_token(made, batch(), batch())
    step.stepper(made, optimizer, config(), WHERE)(batch(), batch())
    stepwise.gradient(made, batch(), batch())
    step.next_token(made, batch(), batch())[0].backward()
    assert precision.gradients(made).device.type == WHERE
    optim.param_groups(made, config())


def in_a_ring() -> None:
    """Of one rank: the positions were made on the CPU."""
    made = ring.split(model(), ring.zigzag(TINY.context, 1))
    step.next_token(made, batch(), batch())[0].backward()


def kept_for_the_backward_pass() -> None:
    made = model()
    with activations.saving(made):
        step.next_token(made, batch(), batch())[0].backward()
    activations.states_bytes(made, optim.make_optimizer(made, config()))


def decoded() -> None:
    made = model()
    prompt = torch.randint(256, (2, 4))  # as a learner writes it: on the CPU
    slow, fast = (decode.generate(made, prompt, 5, cached=cached) for cached in (False, True))
    assert torch.equal(slow, fast) and torch.equal(slow[:, :4], prompt)
    with torch.no_grad():
        decode.forward(made, prompt.to(WHERE), decode.Cache(made, 2, 4))


def guessed_ahead() -> None:
    target, prompt = model(), torch.randint(256, (1, 4))
    counts = speculative.Ngrams(corpus().train, 256, 1)
    for draft in (model(), counts):
        made = speculative.speculate(target, draft, prompt, 6, 2).tokens_1xL
        assert torch.equal(made, decode.generate(target, prompt, 6))
        assert torch.equal(made, speculative.alone(target, prompt, 6))
        assert len(speculative.overlaps(target, draft, made)) == 10
    assert speculative.Reader(target, 4)(prompt, 4).device.type == WHERE


def pruned() -> None:
    made = model()
    for smaller in (
        prune.unstructured(made, 0.5),
        prune.fewer_units(made, 0.5),
        prune.fewer_heads(made, 0.5),
    ):
        assert device_of(smaller).type == WHERE
        step.next_token(smaller, batch(), batch())
    prune.sparsity(prune.made_permanent(prune.unstructured(made, 0.5)))
    prune.fine_tune(prune.unstructured(made, 0.5), corpus(), budget=200)
    assert device_of(prune.unstructured(prune.unstructured(made, 0.5), 0.75)).type == WHERE


def with_activations() -> None:
    """GPTQ, AWQ and 2:4, with a calibration text of the CPU."""
    made, text = model(TINY.replace(width=32, heads=4)), variants.calibration(corpus(), 8, 16)
    found = gptq.hessians(made, text)
    assert all(H.device.type == WHERE for H in found.values())
    for smaller in (
        gptq.gptq(made, found, 3, "group")[0],
        gptq.awq(made, found, 4)[0],
        prune.two_of_four(made, found),
    ):
        assert device_of(smaller).type == WHERE
        step.next_token(smaller, batch(), batch())
    prune.two_of_four(made)
    prune.sparse_bytes(made)


def block_scaled() -> None:
    """Gradients rounded by chance, mixed by a Hadamard matrix: random numbers and the matrix are made where the model lives."""
    made = blocks.emulate(model(), blocks.Recipe("nvfp4", stochastic=True, hadamard=True), head=True)
    step.next_token(made, batch(), batch())[0].backward()
    assert precision.gradients(made).device.type == WHERE


def looked_at() -> None:
    made = model()
    variants.window_losses(made, corpus(), 8, 16)
    variants.measured({"one": made, "other": model()}, "one", corpus(), batch=2, rounds=2, windows=8)
    variants.longer(made, 32)
    timing.forward_pass(made, batch())()
    quantize.rounded(made, bits=8)
    quantize.saved_bytes(made)
    distill.fingerprint(made)
    assert loop.evaluate(made, corpus(), 8) > 0


def asked() -> None:
    made, text = model(), corpus()
    assert 0 <= questions.accuracy(made, text, 8) <= 1
    some = questions.questions(np.random.default_rng(0).integers(0, 4, 4000), made.config.context, 4)
    assert 0 <= questions.score(made, some) <= 1


def cloned() -> None:
    sources = (cloning.Source(task="point", level=LEVEL, episodes=5), cloning.Source(level=LEVEL, episodes=5))
    setting = cloning.CloneConfig(policy=POLICY, sources=sources, steps=4, batch=8)
    policy, record = cloning.clone(setting)
    assert policy.query.device.type == WHERE and record.provenance["device"] == WHERE
    cloning.score(policy, record, episodes=4, cap=3)
    cloning.act_in(policy, LEVEL, 2, cap=2)
    view, mission = np.zeros((7, 7, 3), np.uint8), "go to the red ball"
    policy_model.attention(policy, view, mission)
    assert len(rollouts.decider(policy)(view, mission, [])) == policy.config.chunk
    asking = dagger.DaggerConfig(policy=POLICY, sources=sources[-1:], steps=4, batch=8, rounds=(2,), labels=6)
    assert dagger.dagger(asking)[1].provenance["device"] == WHERE


def bert_pretrained() -> None:
    texts = [(f"{a} {b}", f"{b} {a} {a}") for a in "abcde" for b in "fghij"]
    tokenizer = bert.make_tokenizer((" ".join(text) for text in texts), 60)
    shape = bert.Shape(depth=1, width=16, heads=2, vocab_size=len(tokenizer))
    made = BertForPreTraining(shape.config()).to(WHERE)
    bert.pretrain(made, tokenizer, texts, bert.Pretraining(sequences=24, batch=8))
    assert bert.masked_loss(made, tokenizer, texts) > 0
    pairs = datasets.Dataset.from_dict({
        "sentence1": [a for a, _ in texts], "sentence2": [b for _, b in texts], "label": [i % 2 for i in range(25)],
    })  # fmt: skip
    judge = BertForSequenceClassification(made.config).to(WHERE)
    finetuning.evaluate(judge, tokenizer, pairs, chunk=10)
    finetuning.attention(judge, tokenizer, *texts[3])
    dealt = dict.fromkeys(membership.GROUPS, pairs)
    membership.attacks(judge, tokenizer, dealt, reference=judge)
    lora.adapt(judge, 2)
    finetuning.evaluate(lora.merge(judge), tokenizer, pairs, chunk=10)
    heads.same_word(judge, tokenizer, pairs)


def written_in_chunks() -> None:
    shape = action_heads.HeadConfig(chunk=4, width=8, steps=3, batch=4, demonstrations=10)
    for head in ("mean", "bins", "frequencies", "flow"):
        policy, record = action_heads.fit(shape.replace(head=head))
        trained(policy, record)
        assert action_heads.score(policy, record, count=3)[0].shape == (3, 4, 2)
        assert action_heads.passes(policy) > 0


def mixed() -> None:
    made = model(MIXTURE)
    text = torch.randint(256, (2, 16))  # on the CPU, as windows of a corpus are
    assert experts.loads(made, text).device.type == experts.router_logits(made, text).device.type == WHERE
    loss, _ = step.next_token(made, batch(), batch())
    (loss + experts.auxiliary_loss(made)).backward()
    step.balanced(step.next_token)(made, batch(), batch())[0].backward()
    x_TxD, layer = torch.randn(6, 16).to(WHERE), made.blocks[0].mlp
    experts.apply_experts(x_TxD, *layer.routed(layer.router(x_TxD)), layer.up, layer.down)


def in_parts() -> None:
    rows = np.random.default_rng(0).integers(97, 101, (4, 17))
    kept = np.arange(16) < np.array([[16], [9], [4], [1]])
    assert broken.in_parts(model(), rows, kept, 2, False).device.type == WHERE
    assert miniature.loss_of(model(), rows).item() == miniature.score(model(), rows)


CASES: dict[str, Callable[[], None]] = {
    "fit_model": fit,
    "fit_model, in parts": lambda: fit(accumulate=2),
    "fit_model, Muon": lambda: fit(optimizer="muon"),
    "fit_model, short to long": lambda: fit(curriculum=Curriculum(start=0.25)),
    "fit_model, easy to hard": lambda: fit(curriculum=Curriculum(order="easy")),
    "fit_model, learned positions": lambda: fit(model=TINY.replace(positions="learned")),
    "fit_model, experts": lambda: fit(model=MIXTURE),
    "fit_model, experts balanced by a bias": lambda: fit(
        model=MIXTURE.replace(experts={"number": 4, "active": 1, "balance": "bias", "capacity": 1.0})
    ),
    "experts": mixed,
    "fit_student": lambda: trained(*distill.fit_student(config(), model(), corpus=corpus())),
    "fit_student, teacher from the CPU": lambda: trained(
        *distill.fit_student(config(), model().to("cpu"), corpus=corpus())
    ),
    "fit_grown": grown,
    "fit_live": driven,
    "stepwise": by_hand,
    "train_step": one_step,
    "in parts": in_parts,
    "ring": in_a_ring,
    "activations": kept_for_the_backward_pass,
    "blocks": block_scaled,
    "generate": decoded,
    "speculate": guessed_ahead,
    "fit_model, shared heads": lambda: fit(model=TINY.replace(kv_heads=1)),
    "prune": pruned,
    "GPTQ": with_activations,
    "variants": looked_at,
    "questions": asked,
    "clone": cloned,
    "heads": written_in_chunks,
    "BERT": bert_pretrained,
    **{
        f"fit_delayed, {method}": lambda method=method: trained(
            *delayed.fit_delayed(config(), Delayed(method=method, workers=2, every=2), corpus())
        )
        for method in ("gradients", "local", "diloco")
    },
}
