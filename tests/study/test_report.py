"""The report: complete, self-contained, escaped, and honest about what is missing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
import synthetic
from markupsafe import escape

from scalept_lab.errors import InputError
from scalept_lab.laws.compare import paired
from scalept_lab.study import miniature, report, rivals
from scalept_lab.study.plan import bill, seal
from scalept_lab.study.predictions import Shot
from scalept_lab.study.report import write_report

EVIL_FOLDER = "<b id=x>&"  # what a file system takes as a name


def evil(name: str) -> str:
    return f"<script>alert('{name}')</script><img src=x onerror=alert(1)>\"&"


VOID = {"meta", "img", "br", "source"}


class Page(HTMLParser):
    """Tags, attributes and text; complains of tags that do not close."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text, self.open = "", []
        self.feed(text)
        assert not self.open, self.open
        self.text = re.sub("[ \n]+", " ", self.text)  # as a browser shows it

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
    monkeypatch.setattr(report, "png", lambda fig: b"\x89PNG")


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


def test_a_phone_gets_the_narrow_twin_of_each_figure(whole):
    seen = Page(whole[1])
    twins, wide = seen.all("source"), seen.all("img")
    assert len(twins) == len(wide) == 6
    assert all(twin["media"] == "(max-width: 36rem)" for twin in twins)
    assert all(twin["srcset"].startswith("data:image/png;base64,") for twin in twins)
    assert not any(twin["srcset"] == picture["src"] for twin, picture in zip(twins, wide, strict=True))


def test_the_title_says_what_was_studied(whole):
    records = synthetic.isoflop_records()
    assert report._title("mine", records) == "Scaling study: mine"
    assert report._title("study", records) == "Scaling study: 15 models of 6.1k to 98k parameters"


def test_what_files_say_is_escaped(tmp_path):
    """Each value of a file carries its own number, so that one that is lost or shown raw is named."""
    study = synthetic.study(tmp_path / "x", name=evil("name"), hero=False)
    study.folder = study.folder.rename(tmp_path / EVIL_FOLDER)
    study.store.folder = study.folder / "runs"
    study.heroes.folder = study.folder / "hero"
    run = study.store.records()[3]
    config = {**run.config, "corpus": evil("corpus"), "lr": evil("lr"), "seed": evil("seed")}
    config["model"] = {"width": evil("width")}
    versions = {evil("package"): evil("version")}
    provenance = {"machine": evil("machine"), "versions": versions, "commit": evil("commit")}
    provenance |= {key: evil(key) for key in ("device", "threads", "corpus_sha256", "created")}
    study.store.save(run.model_copy(update={"config": config, "provenance": provenance}))
    lost = {"D": 0, "C": 0.0, "curve": [], "error": evil("error")}
    study.store.save(synthetic.record(synthetic.config(64, 3e6), status="failed", **lost))
    resealed(study, tokens=3_000_000, sealed_at=evil("sealed"))
    text = write_report(study, tmp_path / "r.html").read_text(encoding="utf-8")
    seen = Page(text)
    assert "<script" not in text and "onerror" not in {key for _, attrs in seen.tags for key in attrs}
    for name in ("name", "corpus", "lr", "seed", "width", "package", "version", "machine", "commit", "device", "threads",
                 "corpus_sha256", "created", "error", "sealed"):  # fmt: skip
        assert str(escape(evil(name))) in text, name
    assert EVIL_FOLDER in seen.text
    assert seen.text.count("alert('name')") == 2 and str(escape(repr(evil("name")))) in text


def test_a_broken_seal_under_a_name_of_html_is_escaped(tmp_path):
    study = synthetic.study(tmp_path / "x")
    (path,) = (study.folder / "shots").glob("*.json")
    path.rename(path.with_name(f"{EVIL_FOLDER}.json"))
    text = write_report(study, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<b id=x>" not in text and f"the seal of {EVIL_FOLDER}.json is broken" in Page(text).text


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


def test_a_broken_seal_is_one_line_and_then_nothing_is_scored(tmp_path):
    study = synthetic.study(tmp_path / "x")
    second = resealed(study, tokens=3_000_000, predicted=1.5)
    (score,) = study.scores()
    path = study.folder / "shots" / f"{second.id}.json"
    path.write_text(second.model_copy(update={"predicted": 1.0}).model_dump_json())
    seen = Page(write_report(study, tmp_path / "r.html").read_text(encoding="utf-8"))
    with pytest.raises(InputError) as refused:
        study.scores()
    assert seen.text.count(str(refused.value)) == 1 and f"the seal of {path.name} is broken" in seen.text
    assert "no prediction is scored, because a seal is broken" in seen.text
    assert f"predicted {score.shot.predicted:.4f}" not in seen.text and "verdict" not in seen.text
    path.unlink()
    seen = Page(write_report(study, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert f"predicted {score.shot.predicted:.4f}" in seen.text and "broken" not in seen.text


def test_no_prediction_is_said(tmp_path):
    study = synthetic.study(tmp_path / "x")
    (path,) = (study.folder / "shots").glob("*.json")
    path.unlink()
    seen = Page(write_report(study, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "None yet" in seen.text and "no prediction has been scored yet" in seen.text


@pytest.mark.parametrize("tokens", [2_000_000, 3_000_000, 5_000_000])
def test_the_page_opens_with_the_prediction_sealed_last(tmp_path, tokens):
    """Files are named by hashes, whose order says nothing: among three runs one at least would come out wrong."""
    study = synthetic.study(tmp_path / "x")
    (first,) = study.shots()
    last = resealed(
        study, tokens=tokens, predicted=1.25, low=1.2, high=9.0, sealed_at="2031-01-01T00:00:00+00:00"
    )
    study.heroes.save(synthetic.record(last.config, L=1.5))
    assert [score.shot for score in study.scores()] == [first, last]
    seen = Page(write_report(study, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert (
        "predicted 1.2500, measured 1.5000 nats per token, +20.00\xa0%, inside the 95 % interval" in seen.text
    )


def resealed(study, tokens: int, **changes) -> Shot:
    """A second prediction beside the study's own, with another run and a seal that holds."""
    shot = study.shots()[0]
    shot = shot.model_copy(update={"config": shot.config.replace(tokens=tokens), **changes, "seal": ""})
    shot = shot.model_copy(update={"seal": shot.digest()})
    (study.folder / "shots" / f"{shot.id}.json").write_text(shot.model_dump_json())
    return shot


def test_no_runs_no_report(tmp_path):
    from scalept_lab.study.study import Study

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


def test_numbers_of_the_page_by_hand():
    assert [report._flops(value) for value in (3e11, 1e10, 1.25e9, 0, float("nan"))] == [
        "3\xa0×\xa010<sup>11</sup>", "10<sup>10</sup>", "1.25\xa0×\xa010<sup>9</sup>", "0", "0",
    ]  # fmt: skip
    assert [report._duration(s) for s in (119.4, 120, 7199, 7200)] == ["119 s", "2 min", "120 min", "2.0 h"]
    assert report._span([3e4, 2e3, 5e3]) == "2k to 30k" and report._span([7.0, 7.0]) == "7"


def test_the_extent_of_a_study_by_hand():
    runs = [synthetic.record(synthetic.config_at(32, C)) for C in (1e10, 1e11)]
    lost = synthetic.record(synthetic.config(64, 1e6), status="diverged", C=1e12)
    untrained = synthetic.record(synthetic.config(48, 1e6), status="failed", C=0, D=0)
    found = report._extent([*runs, lost, untrained], None)
    assert (found["finished"], found["lost"], found["times"]) == (2, "1 diverged, 1 failed", 1.0)
    assert found["decades"] == pytest.approx(2, abs=0.02)
    assert (found["smallest"], found["largest"]) == (runs[0].C, 1e12)
    assert found["corpora"] == "python" and report._extent([untrained], None)["decades"] == 0


def test_the_exponents_stand_below_the_parameters_where_they_are_known(whole):
    study, _ = whole
    law, bare = (study.fit(bootstrap=count) for count in (20, 0))
    rows = report._parameters(law)
    assert [symbol for symbol, *_ in rows] == ["E", "A", "B", "α", "β", "a", "b"]
    assert [(value, interval) for _, value, interval, _ in rows[5:]] == [
        (law.a, law.interval95["a"]), (law.b, law.interval95["b"]),
    ]  # fmt: skip
    assert [(symbol, interval) for symbol, _, interval, _ in report._parameters(bare)] == [
        (symbol, None) for symbol in ("E", "A", "B", "α", "β")
    ]


# --- the page of a plan


def test_the_page_of_a_plan_tells_checks_bill_standing_and_assumptions(tmp_path):
    made = seal(rivals.best("serving").replace(curriculum={"choice": "none", "why": evil("why it is so")}))
    text = report.write_plan_report(made, tmp_path / "plan.html").read_text(encoding="utf-8")
    seen = Page(text)
    cost, found = bill(made), rivals.score(made)
    for said in (f"{cost['dollars']:,.0f} $", f"{found.loss:.4f}", f"{found.naive:.4f}", found.verdict, "All 9 checks are kept",
                 made.case.story, "assumption of this course", "Serving a token takes a third", "Not trained"):  # fmt: skip
        assert said in seen.text, said
    assert "<script" not in text and len(seen.all("img")) == 1
    assert evil("why it is so") in seen.text  # shown as text


def test_the_page_of_a_plan_that_fits_nowhere_says_why(tmp_path):
    made = rivals.naive("day").replace(model={"width": 65536, "depth": 512, "heads": 512})
    seen = Page(report.write_plan_report(made, tmp_path / "plan.html").read_text(encoding="utf-8"))
    assert "no layout of these GPUs holds this model" in seen.text and "Not scored" in seen.text
    undivided = made.replace(layout={"data": 3})
    seen = Page(report.write_plan_report(undivided, tmp_path / "plan.html").read_text(encoding="utf-8"))
    assert "Nothing can be billed" in seen.text


def test_the_page_shows_a_miniature(tmp_path):
    made = seal(rivals.best("month"))
    runs = [miniature.small(each) for each in (made, rivals.naive("month"))]
    small = miniature.Miniature(
        *runs, (2.0, 2.1, 2.2), (2.1, 2.2, 2.31), paired((2.1, 2.2, 2.31), (2.0, 2.1, 2.2)), 0.01
    )
    seen = Page(report.write_plan_report(made, tmp_path / "plan.html", small).read_text(encoding="utf-8"))
    assert "+0.103 nats" in seen.text and small.verdict in seen.text and len(seen.all("img")) == 2
