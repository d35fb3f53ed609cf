"""Checkpoints as people have them: what loads, what is said in one line, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
import transformers
from refusals import one_line
from transformers import (
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
)

from scalept_lab.transfer import checkpoints, finetuning
from scalept_lab.transfer.checkpoints import load_checkpoint
from scalept_lab.transfer.finetuning import FineTuning

ONE_STEP = FineTuning(epochs=1, least_steps=1, batch=8)


@pytest.fixture
def copy(checkpoint, tmp_path):
    """A checkpoint's folder that may be spoilt."""
    return shutil.copytree(checkpoint, tmp_path / "copy")


def saved(model, tokenizer, folder):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_length_that_is_none_is_refused_in_one_line(copy):
    file = copy / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_max_length": [1.5]}))
    one_line(lambda: load_checkpoint(copy), "cannot be loaded as a checkpoint")


def test_what_is_no_checkpoint_is_refused_in_one_line(small, shape, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "hub_reachable", lambda: False)
    one_line(
        lambda: load_checkpoint("bert-base-uncased"),
        "bert-base-uncased: no such folder, not in the hub's cache on this machine, and the hub cannot be reached",
    )
    one_line(lambda: load_checkpoint(str(tmp_path / "nothing")), "no such folder")
    one_line(lambda: load_checkpoint(tmp_path), "config.json")
    (tmp_path / "config.json").write_text("{")
    one_line(lambda: load_checkpoint(tmp_path / "config.json"), "give the folder that it lies in")
    one_line(
        lambda: load_checkpoint(tmp_path),
        "config.json: expected the config of a checkpoint, got what is not JSON",
    )


def test_a_table_may_be_larger_than_its_tokenizer_and_not_smaller(small, shape, tmp_path):
    """Tables are padded to a multiple of 64, as in many published checkpoints; a smaller table would be read beyond its end."""
    padded = replace(shape, vocab_size=-(-shape.vocab_size // 64) * 64)
    assert padded.vocab_size > len(small.tokenizer)
    folder = saved(BertForPreTraining(padded.config()), small.tokenizer, tmp_path / "padded")
    model, tokenizer = load_checkpoint(folder)
    few = small.train.select(range(8))
    assert finetuning.finetune(model, tokenizer, few, few, ONE_STEP).loss < 5
    small_table = replace(shape, vocab_size=shape.vocab_size - 7)
    folder = saved(BertForPreTraining(small_table.config()), small.tokenizer, tmp_path / "small")
    one_line(
        lambda: load_checkpoint(folder), f"{shape.vocab_size - 7} rows and its tokenizer {shape.vocab_size}"
    )


def test_a_missing_tokenizer_is_not_made_up(copy):
    """transformers makes one of five special tokens, to which every word is [UNK]."""
    for file in copy.glob("tokenizer*"):
        file.unlink()
    one_line(lambda: load_checkpoint(copy), "its tokenizer holds no words")


@pytest.mark.parametrize("classes", [1, 3])
def test_a_head_of_another_task_is_replaced_and_said(small, shape, tmp_path, capsys, classes):
    """A published sentiment model, or one for regression, whose config would ask for another loss."""
    config = shape.config(num_labels=classes, problem_type="regression" if classes == 1 else None)
    trained = BertForSequenceClassification(config)
    folder = saved(trained, small.tokenizer, tmp_path)
    model, tokenizer = load_checkpoint(folder)
    said = capsys.readouterr().out
    assert said == f"{folder}: its head for {classes} classes is left out; a new one for 2 is drawn\n"
    assert model.classifier.out_features == 2
    assert torch.equal(model.bert.pooler.dense.weight, trained.bert.pooler.dense.weight)
    few = small.train.select(range(8))
    assert 0 < finetuning.finetune(model, tokenizer, few, few, ONE_STEP).loss < 5


def test_a_head_for_two_classes_stays(small, shape, tmp_path, capsys):
    trained = BertForSequenceClassification(shape.config(num_labels=2))
    model, _ = load_checkpoint(saved(trained, small.tokenizer, tmp_path))
    assert torch.equal(model.classifier.weight, trained.classifier.weight) and not capsys.readouterr().out


def test_a_body_that_is_not_all_there_is_refused(small, shape, tmp_path):
    folder = saved(BertForMaskedLM(shape.config()), small.tokenizer, tmp_path)
    load_checkpoint(folder)  # without a pooler, which is drawn with the head
    written = json.loads((folder / "config.json").read_text())
    for change, told in (
        ({"num_hidden_layers": 2}, "the weights lack 16 parts of the body"),
        ({"vocab_size": shape.vocab_size + 9}, "word_embeddings.weight has another shape"),
    ):
        (folder / "config.json").write_text(json.dumps({**written, **change}))
        one_line(lambda: load_checkpoint(folder), told)


def test_a_model_without_a_padding_token_pads_with_its_end_of_text(small, tmp_path, capsys):
    """GPT-2 has none: it loaded, and fine-tuning failed. It reads the last token that is no padding."""
    torch.manual_seed(0)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=small.tokenizer.backend_tokenizer, eos_token="[SEP]", unk_token="[UNK]"
    )
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=16, n_layer=1, n_head=2)
    folder = saved(GPT2LMHeadModel(config), tokenizer, tmp_path / "gpt2")
    model, found = load_checkpoint(folder)
    assert capsys.readouterr().out == f"{folder}: its tokenizer has no padding token; '[SEP]' stands in\n"
    few = small.train.select(range(8))
    score = finetuning.finetune(model, found, few, few, ONE_STEP)
    one_by_one = finetuning.evaluate(model, found, few, chunk=1)
    assert one_by_one.loss == pytest.approx(score.loss, rel=1e-4), "padding changes the result"
    nothing = transformers.PreTrainedTokenizerFast(
        tokenizer_object=small.tokenizer.backend_tokenizer, unk_token="[UNK]"
    )
    folder = saved(GPT2LMHeadModel(config), nothing, tmp_path / "bare")
    one_line(lambda: load_checkpoint(folder), "neither a padding nor an end-of-text token")


def test_shards_load_and_a_missing_one_is_named(small, shape, tmp_path):
    trained = BertForPreTraining(shape.config())
    trained.save_pretrained(tmp_path, max_shard_size="6KB")
    small.tokenizer.save_pretrained(tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    model, _ = load_checkpoint(tmp_path)
    assert torch.equal(model.bert.pooler.dense.weight, trained.bert.pooler.dense.weight)
    shards[1].unlink()
    one_line(lambda: load_checkpoint(tmp_path), shards[1].name)


def test_a_model_that_cannot_read_a_pair_is_refused_and_one_with_one_kind_of_segment_is_not(small, tmp_path):
    shape = {"vocab_size": len(small.tokenizer), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 32, "pad_token_id": 0}  # fmt: skip
    roberta = transformers.RobertaConfig(**shape, type_vocab_size=1, max_position_embeddings=80)
    transformers.RobertaForMaskedLM(roberta).save_pretrained(tmp_path / "roberta")
    small.tokenizer.save_pretrained(tmp_path / "roberta")
    model, tokenizer = load_checkpoint(tmp_path / "roberta")
    assert finetuning.evaluate(model, tokenizer, small.test).logits.shape == (len(small.test), 2)
    pieces = transformers.T5Config(
        vocab_size=len(small.tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    )
    transformers.T5ForConditionalGeneration(pieces).save_pretrained(tmp_path / "t5")
    small.tokenizer.save_pretrained(tmp_path / "t5")
    one_line(lambda: load_checkpoint(tmp_path / "t5"), "expected one that classifies pairs, got T5")


def test_the_hubs_cache_serves_without_network(checkpoint, tmp_path, monkeypatch):
    """The layout that the hub's client writes: what AutoModel finds offline is found here."""
    import huggingface_hub.constants as hub

    root = tmp_path / "models--somebody--tiny"
    shutil.copytree(checkpoint, root / "snapshots" / "abc123")
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("abc123")
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    with monkeypatch.context() as asked:  # HF_HUB_OFFLINE=1: nobody is asked
        asked.setattr(hub, "HF_HUB_OFFLINE", True)
        asked.setattr(checkpoints, "hub_reachable", lambda: pytest.fail("asked the network"))
        load_checkpoint("somebody/tiny")
    monkeypatch.setattr(checkpoints, "hub_reachable", lambda: False)
    for place in (root, root / "snapshots" / "abc123"):  # and so does its folder in the cache
        load_checkpoint(place)
    (root / "refs" / "main").unlink()
    load_checkpoint(root)
    (root / "refs" / "main").write_text("abc123")
    model, tokenizer = load_checkpoint("somebody/tiny")
    assert model.classifier.out_features == 2 and len(tokenizer) > 100
    one_line(lambda: load_checkpoint("somebody/other"), "not in the hub's cache")


def test_the_hub_gets_the_same_call(checkpoint, monkeypatch):
    """With a network, a name that is no folder goes to transformers as it is."""
    asked = []
    monkeypatch.setattr(checkpoints, "hub_reachable", lambda: True)
    for auto in (transformers.AutoTokenizer, transformers.AutoModelForSequenceClassification):
        real = auto.from_pretrained

        def told(name, real=real, **more):
            asked.append(name)
            return real(str(checkpoint), **more)

        monkeypatch.setattr(auto, "from_pretrained", told)
    load_checkpoint("bert-base-uncased")
    assert asked == ["bert-base-uncased"] * 2


@pytest.mark.parametrize("changes, words", [
    ({"hidden_size": 10**9}, "parameters, and the weights are"), ({"vocab_size": 10**12}, "parameters, and the weights are"),
    ({"num_hidden_layers": 10**7}, "num_hidden_layers: expected at most 256, got 10000000"),
    ({"num_attention_heads": 10**7}, "num_attention_heads: expected at most 1,024"),
])  # fmt: skip
def test_a_config_that_asks_for_more_than_the_weights_hold_is_refused_before_it_is_built(
    copy, changes, words, monkeypatch
):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | changes))
    built = []
    monkeypatch.setattr(
        transformers.AutoModelForSequenceClassification, "from_pretrained", lambda *a, **k: built.append(a)
    )
    one_line(lambda: load_checkpoint(copy), str(copy), words)
    assert not built


def test_nothing_of_a_checkpoint_is_waited_for_or_executed(copy, tmp_path):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(
        json.dumps(config | {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}})
    )
    (copy / "own.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    one_line(lambda: load_checkpoint(copy), str(copy))
    assert not (tmp_path / "executed").exists()
    (copy / "tokenizer.json").unlink()
    os.mkfifo(copy / "tokenizer.json")
    one_line(lambda: load_checkpoint(copy), "tokenizer.json: expected a file of a checkpoint, got a pipe")
