"""The report: complete, self-contained, escaped, and honest about what is missing."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser

import pytest
import synthetic

from scalept_lab import page
from scalept_lab.errors import InputError
from scalept_lab.report import write_report

EVIL = "<script>alert('1')</script><img src=x onerror=alert(1)>\"&"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Tags, attributes and text; complains of tags that do not close."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text, self.open = "", []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style"} & set(self.open):
            self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Pictures are drawn once, in `whole`; elsewhere a stand-in saves the seconds."""
    monkeypatch.setattr(page, "png", lambda fig: b"\x89PNG")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    study = synthetic.study(tmp_path_factory.mktemp("study") / "planted")
    path = write_report(study, study.folder / "out" / "report.html")
    return study, path.read_text(encoding="utf-8")


def test_tells_the_study(whole):
    study, text = whole
    seen = Page(text)
    records, (hero,) = study.store.records(), study.heroes.records()
    (score,) = study.scores()
    for record in [*records, hero]:
        assert record.L is None or f"{record.L:.4f}" in seen.text
    for record in records:
        assert record.id in seen.text and f"{record.N:,}" in seen.text and f"{record.D:,}" in seen.text
    assert f"predicted {score.shot.predicted:.4f}, measured {score.measured:.4f}" in seen.text
    assert f"{score.error_percent:+.2f}".replace("-", "−") in seen.text
    assert ("inside" if score.inside else "outside") in seen.text
    assert "diverged: the loss left the range" in seen.text and "1 diverged" in seen.text
    for name in ("Sealed predictions", "The fitted law", "All runs", "Where it was made", "To do it again"):
        assert name in seen.text
    assert "Status: " in seen.text and "Planted CPU" in seen.text and "torch 2.13.0" in seen.text
    assert "scalept study --budget-flops 6e+12 --out results/planted" in seen.text


def test_needs_nothing_else(whole):
    seen = Page(whole[1])
    assert not {"script", "link", "iframe", "object", "a", "form"} & {tag for tag, _ in seen.tags}
    assert all(attrs["src"].startswith("data:image/png;base64,iVBORw0KGgo") for attrs in seen.all("img"))
    assert not re.search(r"https?://|url\(|@import", whole[1])
    assert any("default-src 'none'" in attrs.get("content", "") for attrs in seen.all("meta"))
    assert len(whole[1]) < 2_000_000


def test_can_be_read_by_everyone(whole):
    seen = Page(whole[1])
    assert seen.all("html") == [{"lang": "en"}]
    assert any(attrs.get("name") == "viewport" for attrs in seen.all("meta"))
    images = seen.all("img")
    assert len(images) == 6 and all(len(attrs["alt"]) > 40 for attrs in images)
    assert len(seen.all("figcaption")) == 6 and len(seen.all("caption")) == 3
    assert all(attrs.get("scope") in ("col", "row") for attrs in seen.all("th"))
    assert "prefers-color-scheme:dark" in whole[1] and len(seen.all("h1")) == 1


def test_what_files_say_is_escaped(tmp_path):
    study = synthetic.study(tmp_path / "x", name=EVIL, hero=False)
    run = study.store.records()[3]
    evil = run.model_copy(
        update={
            "provenance": {"machine": EVIL, "versions": {EVIL: EVIL}, "commit": {"a": EVIL}, "created": EVIL},
            "config": {**run.config, "corpus": EVIL, "lr": EVIL, "model": {"width": EVIL}},
        }
    )
    study.store.save(evil)
    lost = synthetic.record(synthetic.config(64, 3e6), status="failed", D=0, C=0.0, curve=[], error=EVIL)
    study.store.save(lost)
    text = write_report(study, tmp_path / "r.html").read_text(encoding="utf-8")
    seen = Page(text)
    assert "<script" not in text and "onerror" not in {key for _, attrs in seen.tags for key in attrs}
    assert seen.text.count("alert('1')") >= 7
    assert html.escape(EVIL) in text


@pytest.mark.parametrize("model", [None, [], "text", {}])
def test_records_of_others_may_lack_anything(tmp_path, model):
    study = synthetic.study(tmp_path / "x", hero=False, lost=False)
    run = study.store.records()[0]
    study.store.save(run.model_copy(update={"config": {"model": model}, "provenance": {}, "curve": []}))
    assert run.id in write_report(study, tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_study_under_way(tmp_path):
    study = synthetic.study(tmp_path / "x", hero=False)
    for record in study.store.records()[2:]:
        study.store.path(record.id).unlink()
    seen = Page(write_report(study, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "No law: expected at least 6 points" in seen.text and "not trained yet" in seen.text
    assert len(seen.all("img")) == 4  # runs without a law can still be looked at


def test_a_broken_seal_and_no_prediction_are_said(tmp_path):
    study = synthetic.study(tmp_path / "x")
    (path,) = (study.folder / "shots").glob("*.json")
    shot = json.loads(path.read_text())
    path.write_text(json.dumps({**shot, "predicted": 1.0}))
    text = write_report(study, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "the seal of" in text and "is broken" in text and "no prediction has been scored yet" in text
    path.unlink()
    assert "None yet" in write_report(study, tmp_path / "r.html").read_text(encoding="utf-8")


def test_no_runs_no_report(tmp_path):
    from scalept_lab.study import Study

    with pytest.raises(InputError, match="no runs yet"):
        write_report(Study("empty", budget_flops=1e12, folder=tmp_path / "e"), tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_only_lost_runs(tmp_path):
    study = synthetic.study(tmp_path / "x", hero=False)
    for record in study.store.records():
        if record.ok:
            study.store.path(record.id).unlink()
    seen = Page(write_report(study, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "No law" in seen.text and "at least one finished run" in seen.text
