"""Knowledge distillation: a small model trained on the probabilities of a larger one (Hinton, Vinyals & Dean 2015).

    loss = (1 - w) · cross-entropy with the text + w · T² · KL( softmax(teacher / T) ‖ softmax(student / T) )

T² keeps the soft part's gradient at the same size when T changes (their section 2).
"""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalept_lab.checks import positive
from scalept_lab.compress.copies import need_floats, plain_copy
from scalept_lab.config import Distillation, TrainConfig
from scalept_lab.costs import counts
from scalept_lab.data.corpora import Prepared
from scalept_lab.errors import InputError
from scalept_lab.model.experts import auxiliary_loss
from scalept_lab.model.transformer import Transformer, cross_entropy
from scalept_lab.runs import RunRecord
from scalept_lab.train import pacing
from scalept_lab.train.loop import Keep, fit_model
from scalept_lab.train.placement import device_for


def soft_loss(student_BxLxV: Tensor, teacher_BxLxV: Tensor, temperature: float = 1.0) -> Tensor:
    """T² · KL(teacher ‖ student) of the softened probabilities, mean over tokens, in nats. Raises: InputError."""
    _check_temperature(temperature)
    if student_BxLxV.shape != teacher_BxLxV.shape:
        raise InputError(
            f"logits: expected the same shape of both, got {tuple(student_BxLxV.shape)} and "
            f"{tuple(teacher_BxLxV.shape)}; student and teacher need one vocabulary"
        )
    log_p, log_q = (F.log_softmax(x.flatten(0, -2) / temperature, -1) for x in (teacher_BxLxV, student_BxLxV))
    return temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def fit_student(
    config: TrainConfig,
    teacher: Transformer,
    *,
    temperature: float = 1.0,
    weight: float = 0.5,
    corpus: Prepared | None = None,
    keep: Keep | None = None,
) -> tuple[nn.Module, RunRecord]:
    """`train.loop.fit_model` with a teacher looking on; with `weight=0` it is that, step for step, and under its name.

    The teacher's fingerprint, the weight and the temperature stand in the record's config. Its curve is the loss on the text
    alone, and its compute counts the teacher's forward passes (a third of a training step's FLOPs) as well.
    Raises: InputError if the teacher is smaller, has another vocabulary or a shorter context or is in a library's 8 bits, or T
    or w make no sense.
    """
    check(config, teacher, temperature, weight)
    if not weight:
        return fit_model(config, corpus=corpus, keep=keep)
    device = device_for(config)
    teacher = plain_copy(teacher, "distillation").to(device).eval()  # the caller's stays where it is
    plan = Distillation(teacher=fingerprint(teacher), weight=weight, temperature=temperature)

    def objective(model: nn.Module, x_BxL: Tensor, y_BxL: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            taught_BxLxV = teacher(x_BxL)
        logits_BxLxV = model(x_BxL)
        hard = cross_entropy(logits_BxLxV, y_BxL)
        soft = soft_loss(logits_BxLxV, taught_BxLxV, temperature)
        return (1 - weight) * hard + weight * soft + auxiliary_loss(model), hard.detach()

    config = config.replace(distillation=plan)
    student, record = fit_model(config, corpus=corpus, keep=keep, objective=objective, device=device)
    shown = config.replace(
        model=teacher.config.replace(context=config.model.context)
    )  # what the student reads
    watched = pacing.flops(shown, record.D // config.tokens_per_step) / 3
    return student, record.model_copy(update={"C": record.C + watched})


def fingerprint(model: nn.Module) -> str:
    """Sixteen hexadecimal digits of a model's weights: of the same weights the same, on any machine.

    Raises: InputError for a model in a library's 8 bits.
    """
    need_floats(model, "a fingerprint")
    digest = hashlib.sha256()
    for name, weight in model.state_dict().items():
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def check(config: TrainConfig, teacher: Transformer, temperature: float, weight: float) -> None:
    """Raises: InputError, in one line, for a pair that cannot be distilled."""
    _check_temperature(temperature)
    positive("weight", weight, zero=True, most=1, hint="0 is the text alone, 1 the teacher alone")
    small, large = config.model, teacher.config
    if small.vocab_size != large.vocab_size:
        raise InputError(
            f"vocabulary: expected the teacher's {large.vocab_size} tokens, got {small.vocab_size}; "
            "distillation compares probabilities token by token, so both need one tokenizer"
        )
    if small.context > large.context:
        raise InputError(
            f"context: expected at most the teacher's {large.context} tokens, got {small.context}"
        )
    sizes = [counts.count_params(shape)["total"] for shape in (small, large)]
    if sizes[0] > sizes[1]:
        raise InputError(
            f"student: expected at most the teacher's {sizes[1]:,} parameters, got {sizes[0]:,}; swap the two"
        )


def _check_temperature(temperature: float) -> None:
    positive("temperature", temperature, hint="1 leaves probabilities alone")
