"""Checkpoints: what comes back, into which layout, and what is refused."""

import errno
import json
import pathlib
import pickle
import re
import shutil
from functools import cache

import pytest
import torch
from refusals import one_line
from torch import nn
from torch.distributed.checkpoint.metadata import MetadataIndex

from scalept_lab import outside
from scalept_lab.config import ModelConfig, Parallel, TrainConfig
from scalept_lab.errors import InputError
from scalept_lab.model.optim import learning_rate, make_optimizer, set_rate
from scalept_lab.model.transformer import Transformer, cross_entropy
from scalept_lab.parallel import checkpoint
from scalept_lab.parallel.checkpoint import ShardReader
from scalept_lab.parallel.launcher import launch

ID = "0123456789abcdef"
SHAPE = ModelConfig(width=32, depth=2, heads=4, context=16)


def train(folder, optimizer="adamw", strategy=None, stop=4, steps=8, resume=False, save=True):
    """Steps up to `stop` on made-up tokens, alone or in any strategy. Returns losses, whole parameters, random number."""
    from scalept_lab.parallel.pipeline import Pipeline
    from scalept_lab.parallel.spread import full_parameters, spread

    config = TrainConfig(model=SHAPE, batch=8, tokens=steps * 8 * 16, optimizer=optimizer, lr=0.01)
    torch.manual_seed(0)
    whole = Transformer(SHAPE)
    pipe = Pipeline(whole, Parallel(strategy="pipeline")) if strategy == "pipeline" else None
    if pipe:
        model, ranks = pipe.module, pipe.ranks
    else:
        model, ranks = spread(whole, Parallel(strategy=strategy) if strategy else None)
    made = make_optimizer(pipe.module if pipe else whole, config)
    first = checkpoint.load(checkpoint.latest(folder), model, made, ID)["step"] if resume else 0
    losses = []
    for step in range(first, stop):
        rows = torch.randint(256, (8, 17), generator=torch.Generator().manual_seed(step))
        x, y = ranks.share(rows[:, :-1]), ranks.share(rows[:, 1:])
        set_rate(made, learning_rate(step, config))
        if pipe:
            loss = pipe.forward_backward(x, y)
        else:
            loss = cross_entropy(model(x), y) / ranks.data
            (loss * ranks.data).backward()
        made.step()
        made.zero_grad()
        losses.append(ranks.total(loss.detach()).item())
    if save:
        checkpoint.save(folder, stop, model, made, ID, {"losses": losses})
    return losses, full_parameters(model, ranks), torch.rand(1).item()


def differences(one, other):
    losses = max(abs(a - b) for a, b in zip(one[0], other[0], strict=True))
    assert one[1].keys() == other[1].keys()
    return losses, max((one[1][name] - other[1][name]).abs().max().item() for name in one[1])


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Eight steps in one process without a break: the losses of the last four, and the parameters."""
    losses, parameters, _ = train(tmp_path_factory.mktemp("straight"), stop=8)
    return losses[4:], parameters


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "momentum", "muon"])
def test_one_process_goes_on_to_the_last_bit(tmp_path, optimizer):
    losses, parameters, number = train(tmp_path / "straight", optimizer, stop=8)
    train(tmp_path / "broken", optimizer)
    again = launch(train, 1, tmp_path / "broken", optimizer, stop=8, resume=True)[0]  # a new process
    assert again[0] == losses[4:]
    assert all(torch.equal(parameters[name], again[1][name]) for name in parameters)
    assert again[2] == number


@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "pipeline"])
def test_two_ranks_go_on_to_the_last_bit(tmp_path, strategy):
    whole = launch(train, 2, tmp_path / "straight", strategy=strategy, stop=8)
    launch(train, 2, tmp_path / "broken", strategy=strategy)
    again = launch(train, 2, tmp_path / "broken", strategy=strategy, stop=8, resume=True)
    for before, after in zip(whole, again, strict=True):
        assert after[0] == before[0][4:]
        assert all(torch.equal(before[1][name], after[1][name]) for name in before[1])


SAVED = {"alone": (None, 1), "ddp": ("ddp", 2), "fsdp": ("fsdp", 4), "tensor": ("tensor", 2), "sequence": ("sequence", 2),
         "pipeline": ("pipeline", 2), "mesh": ("fsdp_tensor", 4)}  # fmt: skip
LOADED = {**SAVED, "fsdp": ("fsdp", 2), "tensor": ("tensor", 4), "zero2": ("zero2", 2)}


PAIRS = [
    (saved, name)
    for saved in SAVED
    for name in [name for name in LOADED if name != saved][: None if saved in ("fsdp", "tensor") else 3]
]  # every one at least once each way


@pytest.fixture(scope="module")
def saved_by(tmp_path_factory):
    """The folder of a checkpoint that a layout saved after four steps; each is made once."""

    @cache
    def folder(saved):
        (strategy, ranks), made = SAVED[saved], tmp_path_factory.mktemp(saved)
        launch(train, ranks, made, strategy=strategy)
        return made

    return folder


@pytest.mark.parametrize(("saved", "loaded"), PAIRS)
def test_any_layout_goes_on_in_any_other(saved_by, straight, saved, loaded):
    strategy, ranks = LOADED[loaded]
    again = launch(train, ranks, saved_by(saved), strategy=strategy, stop=8, resume=True, save=False)[0]
    losses, parameters = differences(again, straight)
    assert losses < 1e-5 and parameters < 1e-3


def test_without_the_moments_it_would_differ(tmp_path, straight):
    """That the comparisons above can fail: the same break with a fresh optimizer."""
    train(tmp_path)
    path = checkpoint.latest(tmp_path)
    config = TrainConfig(model=SHAPE, batch=8, tokens=8 * 8 * 16, lr=0.01)
    model = Transformer(SHAPE)
    checkpoint.load(path, model, None, ID)
    made = make_optimizer(model, config)
    losses = []
    for step in range(4, 8):
        rows = torch.randint(256, (8, 17), generator=torch.Generator().manual_seed(step))
        set_rate(made, learning_rate(step, config))
        loss = cross_entropy(model(rows[:, :-1]), rows[:, 1:])
        loss.backward()
        made.step()
        made.zero_grad()
        losses.append(loss.item())
    assert max(abs(a - b) for a, b in zip(losses, straight[0], strict=True)) > 1e-3


def dropping(folder, first, last):
    """A model whose steps draw random numbers; each rank its own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5), nn.Linear(64, 1))
    torch.manual_seed(1 + torch.distributed.get_rank())
    made = torch.optim.SGD(model.parameters(), lr=0.0)
    if first:
        assert checkpoint.load(checkpoint.latest(folder), model, made, ID)["step"] == first
    out = [model(torch.ones(1, 4)).item() for _ in range(first, last)]
    if not first and last == 2:
        checkpoint.save(folder, last, model, made, ID, {})
    return out


def test_random_state_of_each_rank_comes_back(tmp_path):
    straight = launch(dropping, 2, tmp_path / "none", 0, 4)
    launch(dropping, 2, tmp_path, 0, 2)
    again = launch(dropping, 2, tmp_path, 2, 4)
    assert again[0] == straight[0][2:]
    assert again[0] != again[1]
    more = launch(dropping, 3, tmp_path, 2, 4)
    assert more[:2] == again and more[2] not in again


def small(seed=0, width=3):
    torch.manual_seed(seed)
    model = nn.Linear(width, 2)
    made = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(1, width)).sum().backward()
    made.step()
    made.zero_grad()
    return model, made


@pytest.fixture
def saved(tmp_path):
    for step in (10, 20):
        path = checkpoint.save(tmp_path, step, *small(), ID, {"curve": [[10, 1.5]]})
    return path


def test_extra_and_step_come_back(saved):
    assert saved.name == "step-00000020" and checkpoint.latest(saved.parent) == saved
    assert checkpoint.load(saved, *small(1), ID) == {"curve": [[10, 1.5]], "step": 20}


def test_the_last_two_are_kept_and_drafts_of_a_killed_run_are_not(saved):
    folder = saved.parent
    (folder / "step-00000025.tmp").mkdir()  # what a kill in the middle of writing leaves
    (folder / "step-00000025.tmp" / "__0_0.distcp").write_bytes(b"half")
    assert checkpoint.latest(folder) == saved
    checkpoint.save(folder, 30, *small(), ID, {})
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000020", "step-00000030"]


def test_the_same_step_is_not_written_twice(saved):
    before = {file.name: file.stat().st_mtime_ns for file in saved.iterdir()}
    assert checkpoint.save(saved.parent, 20, *small(5), ID, {"other": 1}) == saved
    assert {file.name: file.stat().st_mtime_ns for file in saved.iterdir()} == before


def test_a_fresh_optimizer_can_be_saved(tmp_path):
    model = nn.Linear(3, 2)
    made = torch.optim.AdamW(model.parameters(), lr=0.1)
    path = checkpoint.save(tmp_path, 0, model, made, ID, {})
    assert checkpoint.load(path, model, made, ID) == {"step": 0} and not made.state


def test_no_checkpoint_there(tmp_path):
    assert checkpoint.latest(tmp_path) is None and checkpoint.latest(tmp_path / "none") is None
    for path in (None, tmp_path / "step-00000001"):
        with pytest.raises(InputError, match="no checkpoint at"):
            checkpoint.load(path, *small(), ID)


def test_a_checkpoint_of_another_run_is_refused(saved):
    with pytest.raises(InputError, match=f"run {ID}, this is run {'f' * 16}; give the config"):
        checkpoint.load(saved, *small(), "f" * 16)
    with pytest.raises(InputError, match=r"weight is 2×3 there and 2×5 here"):
        checkpoint.load(saved, *small(width=5), "f" * 16)
    with pytest.raises(InputError, match=r"another model: weight is 2×3 there and 2×5 here"):
        checkpoint.load(saved, *small(width=5), ID)
    with pytest.raises(InputError, match=r"bias is missing there|0.weight is missing"):
        checkpoint.load(saved, nn.Sequential(nn.Linear(3, 2)), None, ID)
    model, _ = small()
    with pytest.raises(InputError, match=r"holds no optimizer\.weight\.momentum_buffer"):
        checkpoint.load(saved, model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), ID)
    with pytest.raises(InputError, match=r"holds checkpoints of run .* give another folder"):
        checkpoint.save(saved.parent, 30, *small(), "f" * 16, {})
    assert len(list(saved.parent.iterdir())) == 2


def refused(path, text):
    """Loading raises one line that has `text`, and changes nothing."""
    model, made = small(7)
    before = [tensor.clone() for tensor in checkpoint._tensors(model, made).values()]
    random = torch.get_rng_state()
    with pytest.raises(InputError, match=text) as caught:
        checkpoint.load(path, model, made, ID)
    assert "\n" not in str(caught.value)
    after = checkpoint._tensors(model, made).values()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert torch.equal(random, torch.get_rng_state())


def test_damage_is_named(saved):
    shard = saved / "__0_0.distcp"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1  # one bit
    shard.write_bytes(content)
    refused(saved, r"step-00000020/__0_0\.distcp: damaged.*remove step-00000020 to go on from step-00000010")
    shard.write_bytes(content[:100])
    refused(saved, r"__0_0\.distcp: damaged")
    shard.unlink()
    refused(saved, r"__0_0\.distcp: missing")
    shutil.rmtree(checkpoint._complete(saved.parent)[0])
    refused(saved, "no other checkpoint: begin anew")
    (saved / "checkpoint.json").write_text("{")
    refused(saved, r"checkpoint\.json: expected what was written with a checkpoint, got what is not JSON")


def test_the_size_of_a_file_is_asked_before_it_is_read(saved, monkeypatch):
    with open(saved / "__0_0.distcp", "ab") as shard:
        shard.truncate(30 * 10**9)  # a hole: it takes no room, and half a minute to read
    sha256, read = checkpoint.outside.file_sha256, []
    monkeypatch.setattr(
        checkpoint.outside, "file_sha256", lambda file: read.append(file.name) or sha256(file)
    )
    assert "damaged" in str(checkpoint._fault(saved)) and read == [".metadata"]


def test_no_bit_of_the_manifest_can_turn_unseen(saved):
    """Blanks apart, which mean nothing: each bit of every seventh byte."""
    file = saved / "checkpoint.json"
    content = file.read_bytes()
    assert len(content) > 300
    for at in range(0, len(content), 7):
        for bit in range(8):
            turned = bytearray(content)
            turned[at] ^= 1 << bit
            file.write_bytes(turned)
            try:
                checkpoint._manifest(saved)
            except InputError:
                continue
            assert json.loads(turned) == json.loads(content), (at, bit)
    file.write_bytes(content)


def test_a_manifest_that_says_another_step_or_stands_elsewhere_is_refused(saved):
    manifest = json.loads((saved / "checkpoint.json").read_text())
    (saved / "checkpoint.json").write_text(json.dumps(manifest | {"step": 8}))
    refused(saved, "damaged, its content is not what was saved")
    forge(saved, (saved / ".metadata").read_bytes(), step=8)
    refused(saved, "of step 8, in the folder of step-00000020")


@pytest.mark.parametrize("content", [{}, {"step": 20}])
def test_a_manifest_without_its_parts_is_refused(saved, content):
    """By somebody who has written the right checksum."""
    (saved / "checkpoint.json").write_text(json.dumps(outside.marked(content)))
    refused(saved, r"checkpoint\.json: expected config_id, extra, files")


def test_a_damaged_one_is_told_and_the_one_before_is_used(saved, capsys):
    assert checkpoint.newest_whole(saved.parent) == saved and capsys.readouterr().err == ""
    (saved / "__0_0.distcp").write_bytes(b"half")
    before = saved.parent / "step-00000010"
    assert checkpoint.newest_whole(saved.parent) == before
    told = f"{saved}/__0_0.distcp: damaged, its content is not what was saved; training goes on from step-00000010\n"
    assert capsys.readouterr().err == told
    (before / "checkpoint.json").unlink()
    with pytest.raises(InputError, match="no other checkpoint: begin anew in another folder"):
        checkpoint.newest_whole(saved.parent)
    assert checkpoint.newest_whole(saved.parent / "empty") is None


def newest(folder):
    path = checkpoint.newest_whole(folder)
    return path and path.name


def test_ranks_agree_on_the_one_to_go_on_from(saved):
    """One file, so only one of the ranks has seen the damage."""
    (saved / "__0_0.distcp").write_bytes(b"half")
    assert launch(newest, 2, saved.parent, seconds=60) == ["step-00000010"] * 2


class Evil:
    def __reduce__(self):
        return (open, ("executed", "w"))


def forge(path, table, **changes):
    """Replace the table of contents, with the right checksums: by somebody who wants it to be read."""
    (path / ".metadata").write_bytes(table if isinstance(table, bytes) else pickle.dumps(table))
    manifest = json.loads((path / "checkpoint.json").read_text())
    manifest["files"][".metadata"], manifest["sizes"][".metadata"] = checkpoint._marks(path / ".metadata")
    manifest.update(changes)
    del manifest["sha256"]
    manifest = outside.marked(manifest)
    (path / "checkpoint.json").write_text(json.dumps(manifest))


def test_nothing_in_a_checkpoint_is_executed(saved, tmp_path, monkeypatch):
    from torch.distributed.checkpoint.metadata import BytesStorageMetadata

    monkeypatch.chdir(tmp_path)
    table = ShardReader(saved).read_metadata()
    forge(saved, Evil())
    refused(saved, r"not a table of tensors \(it names (_?io|builtins)\.open")
    assert not (tmp_path / "executed").exists()

    # would be unpickled without weights_only
    table.state_dict_metadata["model.weight"] = BytesStorageMetadata()
    forge(saved, table)
    refused(saved, "not a table of tensors")


@pytest.mark.parametrize(
    ("names", "changes"),
    [
        (b"cpathlib\nPosixPath\n", b"PosixPath"),
        (b"ctorch.distributed.checkpoint.metadata\nMetadataIndex\n", b"a class"),
        (b"ctorch\nfloat32\n", b"an object that is there for all"),
    ],
)
def test_what_a_table_names_cannot_be_changed(saved, names, changes):
    """BUILD with a pair sets attributes of whatever stands before it: here `parts` of a class, for the whole process."""
    kept = vars(pathlib.PosixPath).get("parts"), vars(MetadataIndex).get("parts")
    forge(saved, b"\x80\x02" + names + b"N}X\x05\x00\x00\x00partsK\x01s\x86b.")
    refused(saved, "it changes .*, which it has not made")
    assert kept == (vars(pathlib.PosixPath).get("parts"), vars(MetadataIndex).get("parts"))


@pytest.mark.parametrize("module", [b"pathlib", b"pathlib._local"])
def test_a_checkpoint_of_another_python_is_read(saved, module):
    """Python 3.13 says of a path that it comes from `pathlib._local`; no other Python does."""
    # protocol 2 writes the names of modules without their lengths
    table = pickle.dumps(ShardReader(saved).read_metadata(), protocol=2)
    table, found = re.subn(rb"cpathlib(\._local)?\n", b"c%b\n" % module, table)
    assert found
    forge(saved, table)
    model, made = small(1)
    assert checkpoint.load(saved, model, made, ID)["step"] == 20
    assert torch.equal(model.weight, small()[0].weight)


def test_a_table_that_points_elsewhere_is_refused(saved):
    table = ShardReader(saved).read_metadata()
    index = next(iter(table.storage_data))
    table.storage_data[index].relative_path = "../elsewhere"
    forge(saved, table)
    refused(saved, "outside the checkpoint")


def test_extra_must_be_json(tmp_path):
    with pytest.raises(InputError, match="JSON"):
        checkpoint.save(tmp_path, 1, *small(), ID, {"rate": torch.ones(1)})
    assert not list(tmp_path.iterdir())


def load_damaged(path):
    checkpoint.load(path, *small(), ID)


def test_what_one_rank_finds_is_raised_on_all(saved):
    """Each rank checks a share of the files: without a word to the others, they would wait for ever."""
    (saved / "__0_0.distcp").unlink()
    with pytest.raises(InputError, match="missing"):
        launch(load_damaged, 2, saved, seconds=60)


def test_heads_are_put_in_the_order_of_as_many_ranks_as_there_are_now():
    """Four heads of one row each; q 0 to 3, k 4 to 7, v 8 to 11. Laid out for two ranks, for four, for one."""
    two, four = [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11], [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]

    def moved(rows, then, now):
        return checkpoint._heads_in_order(torch.tensor(rows)[:, None], then, now)[:, 0].tolist()

    assert (
        moved(two, 2, 4) == four
        and moved(four, 4, 1) == list(range(12))
        and moved(list(range(12)), 1, 2) == two
    )


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path):
    (tmp_path / "taken").write_text("a file")
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    one_line(
        lambda: checkpoint.save(tmp_path / "taken" / "run", 1, model, optimizer, "0" * 16, {}),
        "cannot be written",
    )


# --- written while training goes on


def in_background(folder, strategy=None):
    """Save after 4 steps in the background, take 4 more while it is written; what the checkpoint then holds."""
    from scalept_lab.parallel.spread import full_parameters, spread

    torch.manual_seed(0)
    model, ranks = spread(Transformer(SHAPE), Parallel(strategy=strategy) if strategy else None)
    made = torch.optim.AdamW(model.parameters(), lr=0.01)
    later, said = checkpoint.Background(), ["four"]
    for step in range(8):
        rows = torch.randint(256, (8, 17), generator=torch.Generator().manual_seed(step))
        cross_entropy(model(ranks.share(rows[:, :-1])), ranks.share(rows[:, 1:])).backward()
        made.step()
        made.zero_grad()
        if step == 3:
            then = {name: value.clone() for name, value in full_parameters(model, ranks).items()}
            later.save(folder, 4, model, made, ID, {"at": said})
            said.append("and later")
    later.wait()
    now = full_parameters(model, ranks)
    moved = max((now[name] - then[name]).abs().max().item() for name in now)
    extra = checkpoint.load(checkpoint.latest(folder), model, made, ID)
    back = full_parameters(model, ranks)
    return moved, max((back[name] - then[name]).abs().max().item() for name in then), extra


def _full(error: BaseException):
    """Every file of tensors fails as on a full disk, or is interrupted."""

    class Full(torch.distributed.checkpoint.FileSystemWriter):
        def write_data(self, *args, **kwargs):
            (self.path / "__0_0.distcp").write_bytes(b"half")
            raise error

    return Full


@pytest.mark.parametrize("background", [False, True])
def test_a_full_disk_is_one_line_and_leaves_the_one_before(tmp_path, monkeypatch, background):
    later = checkpoint.Background()
    model = torch.nn.Linear(2, 2)
    checkpoint.save(tmp_path, 1, model, None, ID, {})
    monkeypatch.setattr(
        checkpoint.dcp, "FileSystemWriter", _full(OSError(errno.ENOSPC, "No space left on device"))
    )
    with pytest.raises(InputError, match=r"cannot be written: No space left on device; make room") as caught:
        if background:
            later.save(tmp_path, 2, model, None, ID, {})
            later.wait()
        else:
            checkpoint.save(tmp_path, 2, model, None, ID, {})
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert checkpoint.newest_whole(tmp_path) is not None


def test_no_room_is_found_behind_what_the_writer_says_of_it(tmp_path, monkeypatch):
    """Closing its file, it complains of that file's length."""
    error = RuntimeError("unexpected pos 704 vs 598\nat line 3")
    error.__context__ = OSError(errno.ENOSPC, "No space left on device")
    for context, says in (
        (error.__context__, "No space left on device; make room"),
        (None, "unexpected pos 704 vs 598 at line 3;"),
    ):
        error.__context__ = context
        monkeypatch.setattr(checkpoint.dcp, "FileSystemWriter", _full(error))
        with pytest.raises(InputError, match=f"cannot be written: {says}"):
            checkpoint.save(tmp_path, 2, torch.nn.Linear(2, 2), None, ID, {})


def test_an_interrupt_while_one_is_written_stays_an_interrupt(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint.dcp, "FileSystemWriter", _full(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, 2, torch.nn.Linear(2, 2), None, ID, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("strategy", [None, "fsdp"])
def test_what_is_written_in_the_background_is_the_moment_it_was_asked_for(tmp_path, strategy):
    found = launch(in_background, 2, tmp_path, strategy) if strategy else [in_background(tmp_path)]
    for moved, apart, extra in found:
        assert moved > 1e-3 and apart == 0.0 and extra == {"at": ["four"], "step": 4}


def test_an_error_in_the_background_is_raised_by_the_next_call(tmp_path):
    model = Transformer(SHAPE)
    later = checkpoint.Background()
    place = tmp_path / "file"
    later.save(place / "run", 1, model, None, ID, {})
    later.wait()
    later.save(tmp_path / "run", 1, model, None, ID, {})
    (tmp_path / "blocked").write_text("")  # a file where a folder is needed
    later.save(tmp_path / "blocked", 2, model, None, ID, {})
    one_line(later.wait, "blocked")
    later.wait()  # said once


def test_the_next_save_waits_for_the_one_before(tmp_path, monkeypatch):
    import threading

    model, order, gate = Transformer(SHAPE), [], threading.Event()
    write = checkpoint._write

    def slowly(folder, moment, group=None):
        if moment.step == 1:
            gate.wait(10)
        order.append(moment.step)
        return write(folder, moment, group)

    monkeypatch.setattr(checkpoint, "_write", slowly)
    later = checkpoint.Background()
    later.save(tmp_path, 1, model, None, ID, {})
    assert order == [], "training went on"
    threading.Timer(0.2, gate.set).start()
    later.save(tmp_path, 2, model, None, ID, {})
    later.wait()
    assert order == [1, 2]
    assert checkpoint.latest(tmp_path).name == "step-00000002"


@pytest.mark.parametrize(
    "changes",
    [{"random": {"x": {}}}, {"random": "x"}, {"random": [{"cpu": ["AAAA"]}]}, {"random": [{"cpu": ""}]}, {"extra": "x"},
     {"tensor": [None]}, {"tensor": 0}, {"step": True}, {"files": []}],
)  # fmt: skip
def test_a_manifest_of_other_kinds_is_refused_though_its_checksum_fits(tmp_path, changes):
    """And before anything is changed."""
    train(tmp_path, stop=2)
    path = checkpoint.latest(tmp_path)
    file = path / checkpoint.MANIFEST
    told = {**json.loads(file.read_text()), **changes}
    told.pop("sha256")
    file.write_text(json.dumps(checkpoint.outside.marked(told)))
    model = Transformer(SHAPE)
    weights = [value.clone() for value in model.state_dict().values()]
    state = torch.get_rng_state()
    one_line(lambda: checkpoint.load(path, model, None, ID), str(file), "expected config_id, extra, files")
    assert all(torch.equal(a, b) for a, b in zip(weights, model.state_dict().values(), strict=True))
    assert torch.equal(state, torch.get_rng_state())
