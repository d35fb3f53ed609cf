"""A checkpoint as people have it, made ready for sentence pairs: a folder in the hub's layout, or a name on the hub.

What cannot work is refused before anything trains: a table with fewer rows than the tokenizer has entries, a tokenizer without
words, a body whose weights are not all there. What can work is made to, and said in one line: a head of another task is
replaced, and a tokenizer without a padding token (GPT-2's) pads with its end-of-text token.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch

from scalept_lab import outside
from scalept_lab.checks import shown
from scalept_lab.data.local import is_path
from scalept_lab.data.sources import hub_reachable
from scalept_lab.errors import InputError
from scalept_lab.transfer.bert import check_vocabulary, quiet, two_logits

CLASSES = 2  # right and wrong pairs
WEIGHTS, BESIDE = 10**11, 10**8  # bytes of a file with weights, and of one beside it
# what a config counts and is built one by one: at most
PARTS = {"layer": 256, "depth": 256, "head": 1024, "expert": 1024}
PER_BYTE = 4  # parameters that a byte of weights may hold
NEW = 10**7  # parameters that need not be among the weights: a pooler, a head


def load_checkpoint(name: str | Path, **more: Any) -> tuple[Any, Any]:
    """(classifier, tokenizer) from a folder in the hub's layout (config.json, weights, tokenizer) or from the hub by name.

    Without network, a name is looked up in the hub's cache on this machine. The classifier's own layer, which a pre-trained
    checkpoint does not have, is drawn at random from torch's generator; so is one for another number of classes.
    Raises: InputError for a folder that is no checkpoint, for a name that is neither cached nor to be had, if part of the body
    is missing, if vocabulary and tokenizer do not match, and for a model that cannot read a pair.
    """
    with quiet():
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

    where, offline = _found(name)
    # code of the checkpoint's own would be executed
    local = {"trust_remote_code": False} | ({"local_files_only": True} if offline else {})
    with quiet():
        try:
            if os.path.isdir(where):
                _check_files(Path(where))
                _check_size(Path(where))
            tokenizer = AutoTokenizer.from_pretrained(where, **local)
            model, loaded = AutoModelForSequenceClassification.from_pretrained(
                where,
                num_labels=CLASSES,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **local,
                **more,
            )
        except InputError:
            raise
        except Exception as error:  # the library raises many types
            if offline:
                raise InputError(
                    f"{name}: no such folder, not in the hub's cache on this machine, and the hub cannot be reached; "
                    "offline, use a local checkpoint"
                ) from error
            raise _damaged(name, error) from error
    try:
        _check_tokenizer(name, tokenizer)
        _check_body(name, model, loaded)
        check_vocabulary(model, tokenizer, name)
        _make_padding(name, model, tokenizer)
        # the config of a regression head would ask for another loss
        model.config.problem_type = "single_label_classification"
        _check_pair(name, model, tokenizer)
    except InputError:
        raise
    except Exception as error:  # what a config says of the tokenizer may be of any type
        raise _damaged(name, error) from error
    return model, tokenizer


def _damaged(name: str | Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:160]
    return InputError(f"{name}: cannot be loaded as a checkpoint ({reason})")


def _found(name: str | Path) -> tuple[str, bool]:
    """What to ask transformers for, and whether only for what is on this machine."""
    folder = Path(os.path.expanduser(name))
    if (folder / "snapshots").is_dir():
        folder = _snapshot(folder)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InputError(
                f"{name}: expected a folder with config.json, weights and tokenizer, got none of a checkpoint"
            )
        return str(folder), False
    if folder.is_file():
        raise InputError(
            f"{name}: expected a checkpoint's folder, got a file; give the folder that it lies in"
        )
    if is_path(str(name)):
        raise InputError(f"{name}: no such folder; give a checkpoint's folder or its name on the hub")
    from huggingface_hub import constants

    return str(name), constants.HF_HUB_OFFLINE or not hub_reachable()


def _check_files(folder: Path) -> None:
    """Only regular files of a size that they may have: what reads them asks for neither."""
    for file in folder.iterdir():
        if not file.is_dir():
            with outside.opened(file, "a file of a checkpoint", WEIGHTS if _is_weights(file) else BESIDE):
                pass


def _is_weights(file: Path) -> bool:
    return file.suffix in (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx")


def _check_size(folder: Path) -> None:
    """A config may ask for any size. What it describes is built without memory, and has to be what the weights can hold."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    fields = outside.json_object(folder / "config.json", "the config of a checkpoint")
    for key, value in fields.items():
        most = min((most for part, most in PARTS.items() if part in key), default=math.inf)
        if (
            isinstance(value, int) and value > most and not key.endswith(("size", "dim"))
        ):  # expert_intermediate_size
            raise InputError(f"{folder}: config.json: {key}: expected at most {most:,}, got {shown(value)}")
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, num_labels=CLASSES)
    with torch.device("meta"):
        described = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    count = sum(weight.numel() for weight in described.parameters())
    there = sum(file.stat().st_size for file in folder.iterdir() if _is_weights(file))
    if count > PER_BYTE * there + NEW:
        raise InputError(
            f"{folder}: config.json describes {count:,} parameters, and the weights are {there:,} bytes; take both from the same "
            "checkpoint"
        )


def _snapshot(cached: Path) -> Path:
    """Of a model's folder in the hub's cache, the files of its main branch, or the only ones there are."""
    main = cached / "refs" / "main"
    if main.is_file():
        return cached / "snapshots" / outside.text(main, "the name of a snapshot", 1000).strip()
    found = list((cached / "snapshots").iterdir())
    return found[0] if len(found) == 1 else cached


def _check_tokenizer(name: str | Path, tokenizer: Any) -> None:
    """Where a folder has no tokenizer, transformers makes one up that knows the special tokens alone: all words are [UNK]."""
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise InputError(
            f"{name}: its tokenizer holds no words, only {len(tokenizer)} special tokens; put its tokenizer.json (or vocab.txt) "
            "beside config.json"
        )


def _check_body(name: str | Path, model: Any, loaded: dict[str, Any]) -> None:
    """All that pre-training has learned must be there and fit; what belongs to the head, and a pooler, may be new."""
    body = f"{model.base_model_prefix}."
    wrong = sorted(key for key, *_ in loaded["mismatched_keys"] if key.startswith(body))
    if wrong:
        raise InputError(
            f"{name}: {wrong[0]} has another shape in the weights than config.json says; take both from the same checkpoint"
        )
    lacks = sorted(key for key in loaded["missing_keys"] if key.startswith(body) and ".pooler." not in key)
    if lacks:
        raise InputError(
            f"{name}: the weights lack {len(lacks)} parts of the body that config.json describes, such as {lacks[0]}; take both "
            "from the same checkpoint"
        )
    replaced = [shape for _, shape, _ in loaded["mismatched_keys"]]
    if replaced:
        classes = f" for {replaced[0][0]} classes" if replaced[0] else ""
        print(f"{name}: its head{classes} is left out; a new one for {CLASSES} is drawn")


@torch.no_grad()
def _check_pair(name: str | Path, model: Any, tokenizer: Any) -> None:
    """One pair goes through the model, without the kind of segment where its table holds one kind (RoBERTa's)."""
    if getattr(model.config, "type_vocab_size", 2) < 2 and "token_type_ids" in tokenizer.model_input_names:
        tokenizer.model_input_names = [
            name for name in tokenizer.model_input_names if name != "token_type_ids"
        ]
    training = model.training
    try:
        two_logits(model.eval(), tokenizer(["a"], ["b"], return_tensors="pt"))
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    finally:
        model.train(training)


def _make_padding(name: str | Path, model: Any, tokenizer: Any) -> None:
    """Batches are padded. The mask hides what is padded, so that any token will do for it."""
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise InputError(
                f"{name}: its tokenizer has neither a padding nor an end-of-text token; set tokenizer.pad_token to a token that "
                "it has, and save it again"
            )
        tokenizer.pad_token = tokenizer.eos_token
        print(f"{name}: its tokenizer has no padding token; {tokenizer.eos_token!r} stands in")
    # a model that reads its last token (GPT-2) finds it by this number
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
