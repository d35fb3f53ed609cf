"""A small BERT on the corpus: tokenizer, masking, pre-training (Devlin et al. 2019, §3.1).

Of every text, 15 % of the tokens are *chosen*; the loss is the mean of -log P(original token) over them alone. Of the
chosen, 80 % become [MASK], 10 % a random token, 10 % stay, because there is no [MASK] at fine-tuning time. Beside it stands
BERT's second task, on the [CLS] token: does the second segment belong to the first, or is it another text's?
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scalept_lab.errors import InputError
from scalept_lab.train.outcome import Watch
from scalept_lab.transfer.pairs import Function, words

if TYPE_CHECKING:
    import transformers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CHOSEN, MASKED, RANDOM = 0.15, 0.8, 0.1
IGNORED = -100  # torch's mark for positions without a label
LENGTH = 64  # tokens of a pair, with [CLS] and two [SEP]


@dataclass(frozen=True)
class Shape:
    """A BERT: blocks, width, heads. Its MLP is four times as wide, as in all of them."""

    depth: int = 2
    width: int = 64
    heads: int = 4
    vocab_size: int = 2048

    def config(self, **more: Any) -> transformers.BertConfig:
        from transformers import BertConfig

        return BertConfig(
            vocab_size=self.vocab_size, hidden_size=self.width, num_hidden_layers=self.depth,
            num_attention_heads=self.heads, intermediate_size=4 * self.width, max_position_embeddings=LENGTH,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=self.width**-0.5, **more,
        )  # fmt: skip


def make_tokenizer(texts: Iterable[str], vocab_size: int = 2048) -> transformers.PreTrainedTokenizerFast:
    """A WordPiece tokenizer (Wu et al. 2016) learned from texts. It may end with fewer entries than asked for.

    The same texts give the same ids: the trainer numbers equally frequent pieces as they come, so they are sorted here.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL), show_progress=False
    )
    pieces.train_from_iterator(texts, trainer)
    learned = sorted(pieces.get_vocab().keys() - set(SPECIAL))
    numbered = {piece: i for i, piece in enumerate([*SPECIAL, *learned])}
    pieces.model = models.WordPiece(numbered, unk_token="[UNK]", max_input_chars_per_word=100)
    cls, sep = (("[CLS]", 2), ("[SEP]", 3))
    pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[cls, sep]
    )
    named = {f"{name[1:-1].lower()}_token": name for name in SPECIAL}
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        model_max_length=LENGTH,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **named,
    )


def segments(found: Sequence[Function], undocumented: bool = False) -> list[tuple[str, str]]:
    """What the encoder reads in pre-training: a sentence and its code; and, if asked for, of functions without a sentence
    the words of the name (two or more) and the code that follows it."""
    made = []
    for function in found:
        name = words(function.name)
        if function.sentence:
            made.append((function.sentence, function.code))
        elif undocumented and len(name) > 1 and not function.name.startswith("__"):
            made.append((" ".join(name), " ".join(function.code.split()[1 + len(name) :])))
    return made


class Masked(NamedTuple):
    ids_BxL: Tensor
    labels_BxL: Tensor


def mask(ids_BxL: Tensor, special_BxL: Tensor, vocab_size: int, generator: torch.Generator) -> Masked:
    """Choose 15 % of the tokens that are not special, corrupt them 80/10/10, and label them alone.

    Returns the corrupted ids and the labels (original id where chosen, else -100).
    """

    def draw() -> Tensor:
        return torch.rand(ids_BxL.shape, generator=generator)

    chosen = (draw() < CHOSEN) & ~special_BxL
    how = draw()
    other = torch.randint(len(SPECIAL), vocab_size, ids_BxL.shape, generator=generator)
    ids = torch.where(chosen & (how < MASKED), SPECIAL.index("[MASK]"), ids_BxL)
    ids = torch.where(chosen & (how >= MASKED) & (how < MASKED + RANDOM), other, ids)
    return Masked(ids, torch.where(chosen, ids_BxL, IGNORED))


@dataclass(frozen=True)
class Pretraining:
    """How a BERT is pre-trained: sequences seen, in batches; AdamW with warm-up and a linear decay to zero."""

    sequences: int = 20_000
    batch: int = 32
    lr: float = 2e-3
    pair_weight: float = 1.0  # of BERT's second task beside the masked-language loss
    seed: int = 0

    @property
    def steps(self) -> int:
        return max(1, self.sequences // self.batch)


def pretrain(
    model: transformers.BertForPreTraining,
    tokenizer: transformers.PreTrainedTokenizerFast,
    texts: Sequence[tuple[str, str]],
    plan: Pretraining,
    progress: Callable[[int, float, float], None] | None = None,
) -> list[tuple[int, float, float]]:
    """Train `model` in place. Half of the pairs keep their second segment, half get one of any other text.

    Returns (sequences seen, masked-language loss, pair loss), means over fifty steps, in nats.
    Raises: InputError if the vocabulary of the model is not the tokenizer's, or the loss leaves the range of a model.
    """
    check_vocabulary(model, tokenizer)
    watch = Watch(plan.steps, plan.batch, model.config.vocab_size)
    generator = torch.Generator().manual_seed(plan.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.lr, weight_decay=0.01)
    first, second = (encode(tokenizer, [text[i] for text in texts]) for i in (0, 1))
    curve, sums, positions = [], [], model.config.max_position_embeddings
    model.train()
    torch.manual_seed(plan.seed)
    for step in range(plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.lr * min((step + 1) / (0.06 * plan.steps + 1), 1 - step / plan.steps)
        rows = torch.randint(len(texts), (plan.batch,), generator=generator)
        wrong = torch.rand(plan.batch, generator=generator) < 0.5
        anywhere = torch.randint(len(texts), (plan.batch,), generator=generator)
        others = torch.where(wrong, anywhere, rows)
        batch = join([first[i] for i in rows], [second[i] for i in others], positions)
        special = batch["input_ids"] < len(SPECIAL)
        ids, labels = mask(batch["input_ids"], special, model.config.vocab_size, generator)
        batch, ids, labels = _on(model, batch), ids.to(model.device), labels.to(model.device)
        hidden = model.bert(**{**batch, "input_ids": ids})
        at = labels != IGNORED  # the output layer is the dearest part: only where it is asked something
        told = model.cls.predictions(hidden.last_hidden_state[at])
        masked_loss = torch.nn.functional.cross_entropy(told, labels[at])
        pair_loss = torch.nn.functional.cross_entropy(
            model.cls.seq_relationship(hidden.pooler_output), (others == rows).long().to(model.device)
        )
        (masked_loss + plan.pair_weight * pair_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        watch.note(masked_loss.detach())
        if watch.diverged:
            raise InputError(watch.why())
        sums.append((masked_loss.item(), pair_loss.item()))
        if len(sums) == 50 or step + 1 == plan.steps:
            curve.append(((step + 1) * plan.batch, *np.mean(sums, axis=0).tolist()))
            sums = []
            if progress:
                progress(*curve[-1])
    model.eval()
    return curve


@torch.no_grad()
def masked_loss(model: Any, tokenizer: Any, texts: Sequence[tuple[str, str]], seed: int = 0) -> float:
    """The masked-language loss on texts, in nats per chosen token: the same tokens of a seed for every model."""
    check_vocabulary(model, tokenizer)
    generator = torch.Generator().manual_seed(seed)
    first, second = (encode(tokenizer, [text[i] for text in texts]) for i in (0, 1))
    model.eval()
    total, count = 0.0, 0
    for start in range(0, len(texts), 100):
        batch = join(
            first[start : start + 100], second[start : start + 100], model.config.max_position_embeddings
        )
        ids, labels = mask(
            batch["input_ids"], batch["input_ids"] < len(SPECIAL), model.config.vocab_size, generator
        )
        batch, ids, labels = _on(model, batch), ids.to(model.device), labels.to(model.device)
        at = labels != IGNORED
        told = model.cls.predictions(model.bert(**{**batch, "input_ids": ids}).last_hidden_state[at])
        total += torch.nn.functional.cross_entropy(told, labels[at], reduction="sum").item()
        count += int(at.sum())
    return total / count


def _on(model: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch where the model lives."""
    return {name: part.to(model.device) for name, part in batch.items()}


def encode(tokenizer: transformers.PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    return tokenizer(list(texts), add_special_tokens=False, truncation=True)["input_ids"]


def join(first: Sequence[list[int]], second: Sequence[list[int]], length: int = LENGTH) -> dict[str, Tensor]:
    """[CLS] a [SEP] b [SEP], padded to the longest: input_ids, token_type_ids, attention_mask, each (B, L)."""
    cls, sep = SPECIAL.index("[CLS]"), SPECIAL.index("[SEP]")
    rows, kinds = [], []
    for a, b in zip(first, second, strict=True):
        a = a[: length // 2 - 2]
        b = b[: length - len(a) - 3]
        rows.append([cls, *a, sep, *b, sep])
        kinds.append([0] * (len(a) + 2) + [1] * (len(b) + 1))
    ids, types, seen = (torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long) for _ in range(3))
    for i, (row, kind) in enumerate(zip(rows, kinds, strict=True)):
        ids[i, : len(row)], types[i, : len(row)], seen[i, : len(row)] = (
            torch.tensor(row),
            torch.tensor(kind),
            1,
        )
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": seen}


def check_vocabulary(model: Any, tokenizer: Any, name: object = "checkpoint") -> None:
    """Raises: InputError if the tokenizer can give ids that the model's table does not hold."""
    have, need = model.get_input_embeddings().num_embeddings, len(tokenizer)
    if have < need:  # more rows are usual: tables are padded to a multiple that a GPU likes
        raise InputError(
            f"{name}: its table has {have} rows and its tokenizer {need} entries; load both from the same folder"
        )


def two_logits(model: Any, batch: Any) -> Tensor:
    """The logits (B, 2) of a classifier of pairs. Raises: InputError, whatever the model is instead, or does with a pair."""
    try:
        logits = getattr(model(**batch), "logits", None)
    except torch.OutOfMemoryError:
        raise InputError(
            f"chunk: expected pairs that fit into the memory of {model.device}, got {len(batch['input_ids'])} at once; take fewer"
        ) from None
    except Exception as error:  # models of the hub fail in many ways
        reason = " ".join(str(error).split())[:100]
        raise InputError(
            f"model: expected one that classifies pairs, got {type(model).__name__}, which cannot read one ({reason})"
        ) from None
    shape = tuple(getattr(logits, "shape", ()))
    if logits is None or shape != (len(batch["input_ids"]), 2):
        raise InputError(
            f"model: expected a classifier with 2 classes, got {type(model).__name__} with outputs {shape or 'without logits'}; "
            "load_checkpoint draws such a head"
        )
    return logits


@contextmanager
def quiet() -> Iterator[None]:
    """Keep out of a notebook what transformers and what it imports say: of new layers, of long texts."""
    from transformers.utils import logging as hf

    before, bars = hf.get_verbosity(), hf.is_progress_bar_enabled()
    hf.set_verbosity_error()
    hf.disable_progress_bar()
    try:
        yield
    finally:
        hf.set_verbosity(before)
        if bars:
            hf.enable_progress_bar()
