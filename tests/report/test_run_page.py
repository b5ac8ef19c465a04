"""The page of a made-up run: whole HTML, every row, no request to anywhere, and what is missing is said."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from phonemi import audio
from phonemi.errors import DataError
from phonemi.files import write_json, write_jsonl
from phonemi.report.figures import information_figures, run_figures
from phonemi.report.run_page import build_report, worst_utterances
from phonemi.results.evaluation import EvaluatedRow, Evaluation
from phonemi.results.information import Information
from phonemi.results.run_folder import RunResults

pytestmark = pytest.mark.slow  # a run with every kind of result is drawn first
LABELS = {"ws-acoustic": "WS (Acoustic)", "ws-linguistic": "WS <Linguistic> & $1", "dws-linguistic": "DWS (Linguistic)"}
VOID = {"meta", "br", "img", "input", "link", "hr"}


class Page(HTMLParser):
    """Checks that tags nest, and collects addresses, ids and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def write_information(run: Path) -> None:
    rows = [
        {"representation": name, "layer": layer, "snr_db": snr_db, "mi_bits": 1 + 0.1 * layer + 0.02 * snr_db,
         "mi_bits_low": 0.9, "mi_bits_high": 1.5, "entropy_bits": 4.7, "frames": 900}
        for name, layers in (("mini", 3), ("log1p", 1)) for layer in range(layers) for snr_db in (-5, 10)
    ]  # fmt: skip
    write_json(run / "information.json", {"unit": "bits", "classes": 40, "protocol": {"probe": "mlp"}, "rows": rows})


def write_weights(run: Path, rng: np.random.Generator) -> None:
    weights = rng.dirichlet(np.ones(3), size=(3, 12))
    rows = [
        {"row": row, "label": label, "weights": frames.mean(0).tolist()}
        for (row, label), frames in zip(LABELS.items(), weights, strict=True)
    ]
    write_json(run / "layer_weights.json", {"rows": rows})
    dynamic = [{"row": "dws-linguistic", "label": "DWS (Linguistic)", "weights": weights[2].tolist()}]
    snr_db = [None, *rng.normal(size=23).tolist()]
    log_mel = rng.normal(size=(24, 8)).tolist()
    write_json(
        run / "dynamic_weights.json", {"frame_s": 0.02, "log_mel": log_mel, "local_snr_db": snr_db, "rows": dynamic}
    )


def write_scores(run: Path, rng: np.random.Generator) -> None:
    names = {"noisy": "noisy", **LABELS, "clean": "clean"}
    scores = {row: {"stoi": 0.8, "pesq_wb_lqo": 2.0 + 0.1 * place, "wer": 0.3} for place, row in enumerate(names)}
    rows = [
        {"row": row, "label": label, **scores[row], "stoi_low": 0.7, "stoi_high": 0.9, "pesq_wb_lqo_scored": 7,
         "pesq_wb_lqo_total": 8, "wer_insertions": 3, "wer_words": 90}
        for row, label in names.items()
    ]  # fmt: skip
    pair = {"row": "ws-linguistic", "against": "ws-acoustic", "metric": "wer", "pairs": 8}
    comparisons = [{**pair, "difference": -0.01, "low": -0.02, "high": 0.01, "p_value": 0.2, "p_adjusted": 0.2}]
    by_snr = [{"row": row, "snr_db": snr_db, **scores[row]} for row in names for snr_db in (-5, 10)]
    data = {"utterances": 8, "speakers": 2, "snrs_db": [-5, 10], "recogniser": "made-up"}
    write_json(run / "metrics.json", {"data": data, "rows": rows, "comparisons": comparisons, "by_snr": by_snr})
    with open(run / "per_utterance.csv", "w", newline="") as file:
        lines = csv.DictWriter(file, ["row", "id", "wer"])
        lines.writeheader()
        lines.writerows({"row": row, "id": f"u{index}", "wer": index / 10} for row in names for index in range(3))
    for kind in ("noisy", "clean"):
        audio.save(run / "examples" / f"a.{kind}.flac", 0.1 * rng.standard_normal(4000).astype(np.float32), 16_000)
    files = {kind: f"examples/a.{kind}.flac" for kind in ("noisy", "clean")}
    example = {"id": "u1@-5dB", "snr_db": -5, "text": "red <b> door", "files": files, "words": {"noisy": "red floor"}}
    write_json(run / "examples.json", [example])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run <one>"
    (folder / "examples").mkdir(parents=True)
    rng = np.random.default_rng(0)
    write_information(folder)
    write_weights(folder, rng)
    write_scores(folder, rng)
    log = [
        {"stage": "train", "label": "ws-linguistic", "step": step, "loss": 1 / step, "time": 1.0}
        for step in range(1, 9)
    ]
    write_jsonl(folder / "log.jsonl", [*log, {"stage": "train", "label": "ws-linguistic", "step": 8, "loss": None}])
    write_json(folder / "timings.json", {"stages": [{"stage": "train", "seconds": 75}]})
    (folder / "config.yaml").write_text("seed: 1 # <script>\n")
    return folder


@pytest.fixture(scope="module")
def page(run) -> str:
    path = build_report(run)
    assert path == run / "report.html"
    return path.read_text()


def test_the_page_nests_and_asks_for_nothing_outside(page):
    parsed = Page(page)
    assert parsed.open == []
    assert not re.search(r"https?:", page)
    assert all(
        address.startswith(("#", "data:")) or "/" not in address or address.startswith("figures/")
        for address in parsed.addresses
    )
    assert "url(http" not in page
    assert "@import" not in page
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert {address[1:] for address in parsed.addresses if address.startswith("#")} <= set(parsed.ids)


def test_every_row_every_section_and_every_number_is_there(page, run):
    words = Page(page).words
    for text in (
        *LABELS.values(),
        "noisy",
        "clean",
        "7 of 8 scored",
        "1 min 15 s",
        "red <b> door",
        "seed: 1 # <script>",
    ):
        assert text in words
    assert (
        "Phonetic information in mini peaks at layer 2: 1.25 bits of the 4.70 that a phone carries, log1p 1.05" in words
    )
    assert "WER −0.010 (95 % [−0.020, +0.010], not significant)" in words
    assert "has not been run" not in words
    assert "Not run yet" not in words
    assert page.count("<audio") == 2
    assert page.count("<script>") == 1


def test_figures_are_saved_twice_and_shown_once(page, run):
    names = {path.stem for path in (run / "figures").iterdir()}
    assert names == {
        "information_by_layer", "information_by_snr", "information_heatmap", "information_peak",
        "layer_weights", "dynamic_weights", "metrics_by_snr", "training_curves",
    }  # fmt: skip
    assert len(list((run / "figures").iterdir())) == 2 * len(names)
    assert page.count("<svg") == len(names)


def test_figures_of_results_that_are_gone_go_with_the_next_report(tmp_path):
    """Those of two encoders, of which one is left, for instance; files of other names stay."""
    write_information(tmp_path)
    figures = tmp_path / "figures"
    figures.mkdir()
    old = ["layer_weights.png", "information_by_snr_wavlm.svg", "training_curves.svg", "information_heatmap_a-b.png"]
    kept = ["figure-1a.png", "layer_weights.pdf", "my layer_weights.png"]
    for name in (*old, *kept):
        (figures / name).touch()
    build_report(tmp_path)
    assert {path.name for path in figures.iterdir() if not path.stat().st_size} == set(kept)
    assert (figures / "information_by_layer.svg").stat().st_size


def headings(page: str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", page)


def test_an_empty_run_says_which_stages_are_missing(tmp_path):
    page = build_report(tmp_path).read_text()
    assert "Not run yet: phonemi information, phonemi train, phonemi evaluate." in Page(page).words
    assert headings(page) == []
    assert not (tmp_path / "figures").exists()


@pytest.mark.slow
def test_a_page_has_the_sections_for_which_there_are_results(tmp_path):
    write_information(tmp_path)
    (tmp_path / "log.jsonl").touch()
    page = build_report(tmp_path).read_text()
    assert headings(page) == re.findall('<a href="#.*?">(.*?)</a>', page) == ["Phonetic information"]
    assert "Not run yet: phonemi train, phonemi evaluate." in Page(page).words


def test_systems_from_elsewhere_alone_need_no_other_stage(tmp_path):
    rows = [{"row": row, "label": row, "stoi": 0.8} for row in ("noisy", "theirs")]
    data = {"utterances": 3, "speakers": 1, "unknown_speakers": 2, "snrs_db": [4.99999144, 9.99995542]}
    write_json(tmp_path / "metrics.json", {"data": data, "rows": rows, "comparisons": [], "by_snr": []})
    lines = ["row,id,speaker,stoi", "noisy,a,,0.5", "noisy,b,101,0.5", "noisy,c,,0.5", "theirs,a,,0.5"]
    (tmp_path / "per_utterance.csv").write_text("\n".join(lines))
    page = build_report(tmp_path).read_text()
    assert headings(page) == ["Enhancement", "Worst utterances"]
    words = Page(page).words
    assert "Test data: 3 utterances; 1 speaker, unknown of 2 utterances; SNR 5 to 10 dB, measured. Below" in words
    assert "Not run yet" not in words
    assert "weighted sum" not in words


def logged(label: str, **values: float) -> list[dict]:
    return [{"stage": "train", "label": label, "step": step, **values} for step in (1, 2)]


def test_training_curves_are_called_as_in_the_tables_and_losses_are_kept_apart():
    log = [
        *logged("round 1 (mel)", loss=4.0, skipped_steps=0, steps_per_s=3.0),
        *logged("ws (linguistic)", loss=2.0, skipped_steps=0),
        *logged("ws-linguistic", loss=9.0, skipped_steps=0, si_sdr_db=3.0, pesq_wb_lqo=2.0),
        *logged("ws-linguistic@2", loss=8.0, skipped_steps=1),
    ]
    evaluation = Evaluation(rows=(EvaluatedRow(row="ws-linguistic", label="WS (Linguistic)"),))
    figure = run_figures(RunResults(log=tuple(log), evaluation=evaluation))["training_curves"]
    panels = {axes.get_title(loc="left"): len(axes.lines) for axes in figure.axes if axes.get_visible()}
    assert panels == {
        "Encoder: loss (nats)": 1, "Aggregation: loss (nats)": 1, "Enhancer: loss": 2, "Enhancer: skipped steps": 2,
        "Enhancer: SI-SDR (dB)": 1, "Enhancer: PESQ (MOS)": 1,
    }  # fmt: skip
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["round 1 (mel)", "WS (Linguistic)"]
    looks = {
        axes.lines[0].get_label(): (axes.lines[0].get_color(), axes.lines[0].get_linestyle()) for axes in figure.axes
    }
    assert len(set(looks.values())) == 2


def test_words_in_names_are_explained_once_before_they_are_used(page):
    terms = "WS: weighted sum of the encoder&#39;s layers; DWS: "
    assert page.count(terms) == page.count("log1p: the plain spectrum") == 1
    assert page.index(terms) < page.index('<ul class="headlines">')
    assert "hybrid: starts" not in page


def test_two_representations_get_their_own_figures():
    rows = [
        {
            "representation": name,
            "layer": layer,
            "snr_db": 0,
            "mi_bits": 1.0 + layer,
            "mi_bits_low": 1,
            "mi_bits_high": 3,
        }
        for name in ("mini", "org/name")
        for layer in (0, 1)
    ]
    names = list(information_figures(Information.from_json({"rows": rows})))
    assert names[:2] == ["information_by_layer", "information_peak"]
    assert names[-2:] == ["information_by_snr_org-name", "information_heatmap_org-name"]


def test_the_worst_utterances_come_first_and_failures_do_not_count():
    rows = [{"row": "a", "id": f"u{index}", "wer": str(index / 20)} for index in range(15)]
    ranked_by, tables = worst_utterances([*rows, {"row": "a", "id": "failed", "wer": ""}], {"a": "Row A"})
    assert ranked_by == "wer"
    ((title, table),) = tables
    assert title == "Row A"
    assert [row.cells[0].text for row in table.rows] == [f"u{index}" for index in range(14, 4, -1)]
    muted = {"row": "a", "id": "muted", "stoi": "", "failed": "stoi: estimate silent"}
    ((_, table),) = worst_utterances([{"row": "a", "id": "u", "stoi": "0.1", "failed": ""}, muted], {})[1]
    assert [row.cells[0].text for row in table.rows] == ["muted", "u"]
    assert worst_utterances([], {}) == worst_utterances([{"row": "a", "id": "u"}], {}) == ("", [])


@pytest.mark.parametrize(
    ("file", "content"),
    [("information.json", {}), ("metrics.json", {"rows": [{}]}), ("examples.json", [{"id": 1}]), ("timings.json", [])],
)
def test_a_file_of_the_wrong_form_is_one_line(tmp_path, file, content):
    write_json(tmp_path / file, content)
    with pytest.raises(DataError, match="is not what its stage writes"):
        build_report(tmp_path)


def test_an_error_of_our_own_is_not_reported_as_a_broken_file(tmp_path, monkeypatch):
    def broken(*_: object) -> None:
        raise KeyError("ours")

    write_weights(tmp_path, np.random.default_rng(0))
    monkeypatch.setattr("phonemi.report.plots.layer_weights", broken)
    with pytest.raises(KeyError, match="ours"):
        build_report(tmp_path)
