"""What no run can have measured is refused in one line; all that this kit ever recorded is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import synthetic

from scalept_lab.config import run_id
from scalept_lab.errors import InputError
from scalept_lab.runs import RunRecord, data_folder, parse_record, recorded
from scalept_lab.study import plausible as study_plausible
from scalept_lab.study.plausible import plausible

SHIPPED = sorted(path.stem for path in (data_folder() / "records").glob("*.jsonl"))


def made(**changes: Any) -> RunRecord:
    return synthetic.record(synthetic.config(16, 1e5), **changes)


def with_config(**changes: Any) -> RunRecord:
    """A run whose config says something else, with the id that belongs to it."""
    config = {**made().config, **changes}
    return made(config=config, id=run_id(config))


def language(name: str, loss: float, windows: int = 1024) -> RunRecord:
    config = with_config(corpus=name, eval_windows=windows).config
    config = {**config, "model": {**config["model"], "vocab_size": 40}}
    run = synthetic.TrainConfig.model_validate(config)
    return synthetic.record(run, L=loss)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": "0123456789abcdef"}, "id: expected "),
        ({"L": 1e-4}, "L: expected at least 0.28 nats per token"),
        ({"L": 11.2}, "L: expected at most 11.09 nats per token"),
        ({"C": 1e6}, "C: expected at least 6 N D"),
        ({"N": 2 * made().N, "C": 2 * made().C}, f"N: expected {made().N:,}, as its config says"),
        ({"D": 2 * made().D, "C": 2 * made().C}, f"D: expected {made().D:,}, as its config says"),
        ({"N": made().D, "D": made().N}, f"N: expected {made().N:,}, as its config says"),
        ({"seconds": 1e-9}, "seconds: expected at least"),
    ],
)
def test_what_no_run_can_have_measured_is_named(changes, says):
    with pytest.raises(InputError, match=says) as error:
        plausible(made(**changes))
    assert "\n" not in str(error.value)


def test_a_record_says_what_its_json_may_say():
    for changes in ({"N": 10**400}, {"L": 1e308}):
        with pytest.raises(InputError, match=r"run record: [NL]: "):
            parse_record(json.dumps({**json.loads(made().model_dump_json()), **changes}))


def test_a_machine_of_many_processes_is_that_much_faster_and_unknown_seconds_say_nothing():
    slow = made().C / 1e16
    plausible(made(seconds=2 * slow))
    plausible(made(seconds=0.0))
    with pytest.raises(InputError, match="seconds"):
        plausible(made(seconds=slow / 2))
    shared = {**made().provenance, "world_size": 4}
    plausible(made(seconds=slow / 2, provenance=shared))


def test_the_same_run_in_other_words_is_no_second_one():
    """A config with 100000.0 tokens is another text, and another id, of a run that is told already."""
    with pytest.raises(
        InputError, match=f"config: expected it as this kit writes it, with the id {made().id}"
    ):
        plausible(with_config(tokens=float(made().config["tokens"])))


def test_all_recorded_runs_of_the_kit_are_plausible():
    """Those that no plain run explains as well: mixtures, grown models, policies, what was trained after pruning."""
    plain = [plausible(run) for name in SHIPPED for run in recorded(name)]
    assert len(plain) > 2000 and 1000 < sum(plain) < len(plain)


def test_no_model_knows_a_generated_language_better_than_its_entropy():
    """2.395 nats for seed 0, 2.226 for the deep one (`Language.named(…).entropy_rate`), less what so many tokens leave open."""
    plausible(language("language/0", 2.38))
    plausible(language("language/0", 2.2, windows=2))
    for name, loss in (("language/0", 2.35), ("language", 2.35), ("language/deep/0", 2.1)):
        with pytest.raises(InputError, match=f"L: expected at least .* the entropy of '{name}', got {loss}"):
            plausible(language(name, loss))


def test_a_language_of_somebodys_own_may_be_known_better_than_any_text():
    for name in ("language/low", "language/" + "9" * 5000):
        plausible(with_config(corpus=name).model_copy(update={"L": 0.05}))


def test_many_languages_do_not_keep_a_teacher_waiting(monkeypatch):
    monkeypatch.setattr(study_plausible, "_entropies", {})
    monkeypatch.setattr(study_plausible, "LANGUAGES", 1)
    plausible(language("language/1", 2.6))
    plausible(language("language/2", 1.0))
