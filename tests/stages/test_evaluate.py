from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phonemi import audio
from phonemi.config import load_config
from phonemi.config.sections import Evaluate
from phonemi.data.manifest import read_manifest, write_manifest
from phonemi.data.mixing import Mixtures
from phonemi.enhancers.enhancer import Enhancer
from phonemi.errors import ConfigError, DataError, MissingExtra, ModelError
from phonemi.files import read_json
from phonemi.information.phones_kept import PhoneJudge
from phonemi.metrics.composite import composite
from phonemi.metrics.score import Score
from phonemi.metrics.words.whisper import WhisperRecogniser
from phonemi.metrics.words.word_errors import count_words
from phonemi.report.markdown import write_markdown
from phonemi.report.run_page import build_report
from phonemi.results.evaluation import Evaluation, ScoredUtterance, UtteranceScore
from phonemi.results.metrics import METRIC
from phonemi.results.record import read_record
from phonemi.results.tables import metrics_table
from phonemi.stages import aggregate, evaluate, showcase, train
from phonemi.stages.calibration import NOISY_TRACKS, check_noisy_scores
from phonemi.stages.comparison import compare_rows
from phonemi.stages.evaluate import load_recogniser
from phonemi.stages.phone_judge import PhoneLabels, prepare_phone_judge
from phonemi.stages.run import Run
from phonemi.stages.test_sets import find_signal, find_test_set, signal_version


@pytest.fixture
def copy(finished: Any, tmp_path: Path) -> Callable[..., Run]:
    """The finished run in a folder of its own, with changes to its settings."""
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    return lambda *changes: Run(folder, load_config(folder / "config.yaml", changes), save=False)


def find_set(run: Run) -> Mixtures:
    return find_test_set(run.config.evaluate, run.data)


def rows_of(run: Run) -> dict[str, Any]:
    return {row["row"]: row for row in read_json(run.folder / "metrics.json")["rows"]}


def lines_of(run: Run) -> list[dict[str, str]]:
    with open(run.folder / "per_utterance.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_test_set_is_of_test_speakers_and_test_noise(copy: Callable[..., Run]) -> None:
    run = copy()
    mixtures = [find_set(run)[index] for index in range(len(find_set(run)))]
    assert {mixture.speaker for mixture in mixtures} == {recording.speaker for recording in run.data.speech["test"]}
    assert {mixture.noise_id for mixture in mixtures} == {"5-5-A-0"}
    assert sorted(mixture.snr_db for mixture in mixtures) == [5, 5, 15, 15]
    assert len(find_set(copy("evaluate.utterances=3", "evaluate.per_utterance=null"))) == 6


def test_words_need_transcripts(copy: Callable[..., Run], corpus: Any, tmp_path: Path) -> None:
    write_manifest(tmp_path / "speech.jsonl", [replace(r, text=None) for r in read_manifest(corpus.speech)])
    with pytest.raises(DataError, match="no recording of the test split has a transcript"):
        find_set(copy(f"data.speech=[{tmp_path / 'speech.jsonl'}]"))


def test_references_are_the_mixture_itself(copy: Callable[..., Run]) -> None:
    run = copy()
    mixture = find_set(run)[0]
    assert find_signal(run, "noisy")(mixture) is mixture.noisy
    assert find_signal(run, "clean")(mixture) is mixture.clean
    enhanced = find_signal(run, "ws-hybrid")(mixture)
    assert enhanced.shape == mixture.noisy.shape
    assert not np.array_equal(enhanced, mixture.noisy)
    with pytest.raises(DataError, match=f"row 'layer-0' is not trained .* run `phonemi train --run {run.folder.path}`"):
        find_signal(run, "layer-0")


def test_a_row_judged_in_parts_has_the_same_scores(copy: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    run = copy()
    before = {path: read_json(path) for path in run.folder.path.glob("rows/*/scores.json")}
    assert {len(scores["utterances"]) for scores in before.values()} == {4}
    for path in before:
        path.unlink()
    (run.folder / "metrics.json").unlink()
    monkeypatch.setattr(evaluate, "PART_UTTERANCES", 3)
    score, judged = evaluate._score_part, list[tuple[str, range]]()

    def killed_in_the_second_part(run: Run, name: str, *rest: Any) -> None:
        *_, indices, _ = rest
        judged.append((name, indices))
        if len(judged) == 2:
            raise KeyboardInterrupt
        score(run, name, *rest)

    monkeypatch.setattr(evaluate, "_score_part", killed_in_the_second_part)
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate_systems(run)
    evaluate.evaluate_systems(run)
    assert judged[:3] == [("noisy", range(3)), ("noisy", range(3, 4)), ("noisy", range(3, 4))]
    assert len(judged) == 1 + 2 * len(before)
    assert {path: read_json(path) for path in before} == before
    assert not list(run.folder.path.glob("rows/*/parts"))


def test_another_endpoint_judges_nothing_again(copy: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    run = copy("evaluate.endpoint={row: log1p, against: noisy}")
    monkeypatch.setattr("phonemi.stages.test_sets.find_signal", None)
    before = rows_of(run)
    evaluate.evaluate_systems(run)
    after = rows_of(run)
    assert {name: row["stoi"] for name, row in before.items()} == {name: row["stoi"] for name, row in after.items()}
    monkeypatch.setattr(evaluate, "_scores_of", None)
    evaluate.evaluate_systems(run)  # all is done


def test_an_enhancer_is_judged_for_the_purpose_behind_its_name(copy: Callable[..., Run], finished: Any) -> None:
    model = finished.folder / "rows" / "ws-linguistic" / "model"
    systems = {"heard": f"{model}", "recognised": f"{model} --for recognition", "typed": f"{model} --for typing"}
    run = copy(f"evaluate.systems={json.dumps(systems)}")
    enhancer, mixture = Enhancer.from_pretrained(model), find_set(run)[0]
    found = {name: find_signal(run, name)(mixture) for name in ("heard", "recognised")}
    assert np.abs(found["heard"] - found["recognised"]).max() > 1e-4
    np.testing.assert_array_equal(found["heard"], enhancer.enhance(mixture.noisy, 16_000))
    np.testing.assert_array_equal(found["recognised"], enhancer.enhance(mixture.noisy, 16_000, purpose="recognition"))
    assert signal_version(run, "heard") != signal_version(run, "recognised")
    with pytest.raises(ConfigError, match="purpose is 'typing'"):
        find_signal(run, "typed")


def test_no_recogniser(copy: Callable[..., Run]) -> None:
    run = copy("evaluate.recogniser=none", "enhance.rows=[log1p]")
    assert load_recogniser(run.config.evaluate, run.config.seed, "cpu") is None
    evaluate.evaluate_systems(run)
    found = read_json(run.folder / "metrics.json")
    assert found["data"]["recogniser"] == "none"
    assert found["rows"][0]["wer"] is None
    assert found["rows"][0]["wer_reasons"] == {"no recogniser asked for": 4}
    assert found["rows"][0]["stoi"] is not None
    assert all("no recogniser asked for" in line["failed"] for line in lines_of(run))


def test_a_whisper_that_cannot_be_read_is_not_replaced_behind_the_keys(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    advice = "holds no model that can be loaded .*; or do without Whisper: evaluate.recogniser=pocketsphinx"
    with pytest.raises(ModelError, match=advice):
        load_recogniser(Evaluate(whisper=str(tmp_path)), 0, "cpu")


def test_words_by_whisper(
    copy: Callable[..., Run], whisper_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(whisper_folder, tmp_path / "wee-whisper")
    changes = ("evaluate.recogniser=whisper", f"evaluate.whisper={folder}", "enhance.rows=[log1p]")
    run = copy(*changes)
    choice = load_recogniser(run.config.evaluate, run.config.seed, "cpu")
    assert choice is not None
    whisper = choice.recogniser
    assert isinstance(whisper, WhisperRecogniser)
    evaluate.evaluate_systems(run)
    data = read_json(run.folder / "metrics.json")["data"]
    assert data["recogniser"] == "Whisper (wee-whisper)"
    assert data["recogniser_settings"] == whisper.settings
    scores = read_json(run.folder / "rows/clean/scores.json")
    mixtures = {mixture.id: mixture for mixture in (find_set(run)[index] for index in range(4))}
    for utterance in scores["utterances"]:
        assert utterance["heard"] == whisper.transcribe(mixtures[utterance["id"]].clean)
        counts = count_words(utterance["text"], utterance["heard"])
        assert utterance["words"] == asdict(counts)
    assert rows_of(run)["clean"]["wer_scored"] == 4
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1] + b"\1")
    evaluate.evaluate_systems(copy(*changes))
    assert read_json(run.folder / "rows/clean/scores.json")["key"] != scores["key"]
    monkeypatch.setattr(evaluate, "_scores_of", None)
    with pytest.raises(ModelError, match="large-v9"):
        evaluate.evaluate_systems(copy(*changes, "evaluate.whisper=large-v9"))


def test_phones_kept_are_judged_by_a_probe_that_is_trained_once(copy: Callable[..., Run]) -> None:
    changes = ("evaluate.phone_bits=true", "evaluate.recogniser=none", "enhance.rows=[log1p]")
    run = copy(*changes)
    evaluate.evaluate_systems(run)
    rows = rows_of(run)
    assert all(rows[name]["phone_bits_scored"] == 4 for name in ("noisy", "clean", "log1p"))
    weights = run.folder / "phone_judge/model.safetensors"
    judge, written = prepare_phone_judge(copy(*changes)), weights.stat().st_mtime_ns
    mixture = find_set(run)[0]
    labels = PhoneLabels(run, judge, find_set(run)).of(0, mixture)
    scores = read_json(run.folder / "rows/noisy/scores.json")["utterances"][0]
    assert judge.bits(mixture.noisy, labels).value == pytest.approx(scores["phone_bits"]["value"])
    assert weights.stat().st_mtime_ns == written
    assert judge.distribution.sum() == pytest.approx(1)
    by_itself = PhoneJudge.load(run.folder / "phone_judge")
    assert by_itself.bits(mixture.noisy, labels) == judge.bits(mixture.noisy, labels)


def test_composite_measures_are_in_every_table_of_a_run_that_asks_for_them(
    copy: Callable[..., Run], blank_figures: None
) -> None:
    pytest.importorskip("pesq")
    changes = ["evaluate.recogniser=none", "enhance.rows=[log1p]"]
    before, plain = copy(*changes), ["csig", "cbak", "covl", "ssnr_db"]
    evaluate.evaluate_systems(before)
    assert not set(plain) & rows_of(before)["noisy"].keys()
    assert not set(plain) & lines_of(before)[0].keys()
    for value, keys in (("true", plain), ("divided", [*(f"{key}_divided" for key in plain[:3]), "ssnr_db"])):
        run = copy(*changes, f"evaluate.composite={value}")
        evaluate.evaluate_systems(run)
        rows, lines, index = rows_of(run), lines_of(run), 1
        assert {key for key in rows["noisy"] if key in {*plain, *keys}} == set(keys)
        mixture = find_set(run)[index]
        noisy = [line for line in lines if line["row"] == "noisy"][index]
        scores = composite(
            mixture.noisy, mixture.clean, Score(float(noisy["pesq_wb_lqo"])), run.config.evaluate.composite
        )
        assert {key: float(noisy[key]) for key in keys} == pytest.approx({key: scores[key].value for key in keys})
        assert rows["clean"][keys[0]] == 5
        evaluation = read_record(run.folder / evaluate.RESULT, Evaluation)
        page = build_report(run.folder.path).read_text()
        for text in (metrics_table(evaluation).text(), write_markdown(run.folder.path).read_text(), page):
            assert ("CSIG /32768" in text) == (value == "divided")
            assert all(METRIC[key].title in text for key in keys)
        compared = {comparison.metric for comparison in evaluation.comparisons}
        assert compared & {*plain, *keys} == ({*plain} if value == "true" else {"ssnr_db"})


def test_composite_measures_need_clean_speech(copy: Callable[..., Run]) -> None:
    with pytest.raises(ConfigError, match="have no clean speech"):
        copy("evaluate.recordings=some.jsonl", "evaluate.composite=true")


def test_a_score_whose_package_is_missing_is_made_up_for(
    copy: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pesq")
    changes = ["evaluate.recogniser=none", "enhance.rows=[log1p]"]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pesq", None)
        patch.setattr(evaluate, "count_processes", lambda: 1)  # others would have it
        evaluate.evaluate_systems(copy(*changes))
        rows = rows_of(copy(*changes))
        assert rows["noisy"]["pesq_wb_lqo"] is None
        assert rows["noisy"]["pesq_wb_lqo_reasons"] == {"pesq is not installed": 4}
        assert rows["noisy"]["stoi"] is not None
        assert all("pesq is not installed" in line["failed"] for line in lines_of(copy(*changes)))
    evaluate.evaluate_systems(copy(*changes))
    assert rows_of(copy(*changes))["noisy"]["pesq_wb_lqo"] > 1


@pytest.mark.parametrize("package", ["jiwer", "pocketsphinx"])
def test_words_are_not_begun_without_their_packages(
    copy: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(evaluate, "_scores_of", None)
    with pytest.raises(MissingExtra, match=f"{package} is not installed"):
        evaluate.evaluate_systems(copy("evaluate.recogniser=pocketsphinx", "evaluate.dnsmos=true"))


def test_earlier_stages_are_asked_for_before_anything_is_judged(
    copy: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "_scores_of", None)
    with pytest.raises(DataError, match=r"information\.json, which is of another configuration or data"):
        evaluate.evaluate_systems(copy("information.hidden=9"))
    with pytest.raises(DataError, match="row 'layer-0' is not trained with this configuration"):
        evaluate.evaluate_systems(copy("enhance.rows=[log1p, layer-0]"))


def test_mutual_information_of_each_row_is_that_of_its_features(copy: Callable[..., Run]) -> None:
    run = copy()
    aggregated = read_json(run.folder / "aggregated_information.json")["average"]
    average = {row["row"]: row["mi_bits"] for row in aggregated}
    rows = rows_of(run)
    assert {name: rows[name]["mi_bits"] for name in average} == average
    measured = read_json(run.folder / "information.json")["average"]
    assert rows["log1p"]["mi_bits"] == next(row["mi_bits"] for row in measured if row["representation"] == "log1p")
    assert "mi_bits" not in rows["noisy"]


def test_files_of_another_program_are_judged_beside(
    copy: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy()
    mixtures = [find_set(run)[index] for index in range(4)]
    for mixture in mixtures:
        audio.save(tmp_path / "files" / f"{mixture.id}.wav", mixture.clean, 16_000, subtype="FLOAT")
    run = copy(f"evaluate.systems={{perfect: '{tmp_path / 'files'}'}}", "enhance.rows=[log1p]")
    evaluate.evaluate_systems(run)
    rows = rows_of(run)
    assert list(rows) == ["noisy", "clean", "log1p", "perfect"]
    assert rows["perfect"]["stoi"] == pytest.approx(1)
    (tmp_path / "files" / f"{mixtures[0].id}.wav").unlink()
    run = copy(f"evaluate.systems={{other: '{tmp_path / 'files'}'}}", "enhance.rows=[log1p]")
    monkeypatch.setattr(evaluate, "_scores_of", None)  # it is said before anything is judged
    with pytest.raises(DataError, match=f"has no file named {mixtures[0].id}"):
        evaluate.evaluate_systems(run)


def test_the_report_has_no_layer_weights_of_rows_that_are_gone(copy: Callable[..., Run]) -> None:
    files = ("layer_weights.json", "dynamic_weights.json")
    for rows, left in (("ws-hybrid", {"layer_weights.json"}), ("log1p", set())):
        run = copy(f"enhance.rows=[{rows}]", "evaluate.recogniser=none")
        evaluate.evaluate_systems(run)
        showcase.write_showcase(run)
        assert {name for name in files if (run.folder / name).exists()} == left


def test_a_silent_output_loses_all_words_and_gets_the_worst_scores(copy: Callable[..., Run], tmp_path: Path) -> None:
    run = copy()
    mixtures = [find_set(run)[index] for index in range(4)]
    for mixture in mixtures:
        signal = mixture.clean if mixture is not mixtures[0] else np.zeros_like(mixture.clean)
        audio.save(tmp_path / "files" / f"{mixture.id}.wav", signal, 16_000, subtype="FLOAT")
    run = copy(f"evaluate.systems={{muted: '{tmp_path / 'files'}'}}", "enhance.rows=[]")
    evaluate.evaluate_systems(run)
    row = rows_of(run)["muted"]
    assert row["stoi"] == pytest.approx(0.75)
    assert (row["stoi_scored"], row["stoi_total"]) == (3, 4)
    assert row["si_sdri_db"] == -30.0, "the others are the clean speech, whose ratio to itself has no number"
    line = next(line for line in lines_of(run) if line["row"] == "muted" and line["id"] == mixtures[0].id)
    assert (line["wer"], line["stoi"]) == ("1.0", "")
    assert "stoi: estimate silent; pesq_wb_lqo: estimate silent" in line["failed"]
    shown = metrics_table(read_record(run.folder / evaluate.RESULT, Evaluation)).markdown()
    assert "(3 of 4 scored, 1 counted as the worst)" in shown


def test_an_endpoint_that_cannot_be_tested_is_said(copy: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    run = copy("evaluate.endpoint={row: ws-linguistic, against: ws-acoustic, metric: stoi}")
    said: list[str] = []
    monkeypatch.setattr(run, "say", said.append)
    evaluate.evaluate_systems(run)
    assert any("stoi of ws-linguistic against ws-acoustic, is not tested: it needs 3 models" in text for text in said)
    with pytest.raises(ConfigError, match="unknown row 'ws-linguistics'"):
        evaluate.evaluate_systems(copy("evaluate.endpoint={row: ws-linguistics, against: noisy}"))
    with pytest.raises(ConfigError, match="compares log1p with itself"):
        copy("evaluate.endpoint={row: log1p, against: log1p}")


def test_a_model_by_name_scores_as_its_files_do(copy: Callable[..., Run], tmp_path: Path) -> None:
    run = copy()
    model = run.folder / "rows" / "log1p" / "model"
    enhancer, mixtures = Enhancer.from_pretrained(model), find_set(run)
    for mixture in (mixtures[index] for index in range(len(mixtures))):
        enhanced = enhancer.enhance(mixture.noisy, 16_000)
        audio.save(tmp_path / "files" / f"{mixture.id}.wav", enhanced, 16_000, subtype="FLOAT")
    run = copy(f"evaluate.systems={{named: '{model}', files: '{tmp_path / 'files'}'}}", "enhance.rows=[]")
    evaluate.evaluate_systems(run)
    rows = rows_of(run)
    assert rows["named"]["stoi"] == pytest.approx(rows["files"]["stoi"], abs=1e-6)
    shown = metrics_table(read_record(run.folder / evaluate.RESULT, Evaluation)).text().splitlines()
    assert [line.split()[0] for line in shown[2:]] == list(rows)
    assert f"{rows['named']['stoi']:.3f}" in shown[-2]


def test_several_models_of_a_row_are_one_row_of_the_table(copy: Callable[..., Run]) -> None:
    run = copy("enhance.rows=[log1p, ws-acoustic, ws-linguistic]", "enhance.seeds=2", "evaluate.recogniser=none")
    aggregate.pretrain_aggregations(run)
    train.train_systems(run)
    evaluate.evaluate_systems(run)
    rows = rows_of(run)
    assert list(rows) == ["noisy", "clean", "log1p", "ws-acoustic", "ws-linguistic"]
    by_model: dict[str, list[float]] = {}
    for line in lines_of(run):
        by_model.setdefault(line["row"], []).append(float(line["stoi"]))
    means = [np.mean(by_model[name]) for name in ("ws-acoustic", "ws-acoustic@2")]
    assert means[0] != means[1]
    assert rows["ws-acoustic"]["models"] == 2
    assert rows["ws-acoustic"]["stoi"] == pytest.approx(np.mean(means))
    assert rows["ws-acoustic"]["stoi_spread"] == pytest.approx(np.std(means, ddof=1))
    assert rows["ws-acoustic"]["stoi_total"] == 2 * rows["noisy"]["stoi_total"]
    assert "models" not in rows["noisy"]
    compared = read_json(run.folder / "metrics.json")["comparisons"]
    (found,) = [
        one for one in compared if (one["row"], one["against"], one["metric"]) == ("log1p", "ws-acoustic", "stoi")
    ]
    each = [np.mean(by_model["log1p" + end]) - np.mean(by_model["ws-acoustic" + end]) for end in ("", "@2")]
    assert found["by_model"] == pytest.approx(each)
    assert found["difference"] == pytest.approx(np.mean(each))
    assert all(len(one["by_model"]) == 2 for one in compared)
    (spectrum,) = [one for one in compared if (one["row"], one["metric"]) == ("log1p", "mi_bits")]
    assert spectrum["difference"] == pytest.approx(rows["log1p"]["mi_bits"] - rows["ws-acoustic"]["mi_bits"])

    aggregated = read_json(run.folder / "aggregated_information.json")["average"]
    average = {row["row"]: row["mi_bits"] for row in aggregated}
    assert set(average) == {"ws-acoustic", "ws-acoustic@2", "ws-linguistic", "ws-linguistic@2"}
    both = [average["ws-acoustic"], average["ws-acoustic@2"]]
    assert rows["ws-acoustic"]["mi_bits"] == pytest.approx(np.mean(both))
    assert rows["ws-acoustic"]["mi_bits_spread"] == pytest.approx(np.std(both, ddof=1))
    assert rows["ws-acoustic"]["mi_bits_low"] < min(both) <= max(both) < rows["ws-acoustic"]["mi_bits_high"]
    assert rows["ws-linguistic"]["mi_bits_spread"] > 0  # each model has an aggregation of its own
    assert all(one["p_adjusted"] is None for one in compared)  # two models say nothing of their method
    protocol = read_json(run.folder / "metrics.json")["protocol"]
    settings = run.config.enhance
    assert f"{settings.steps} updates of {settings.batch} of {settings.train_mixtures} mix" in protocol["enhancers"]
    assert "2 models of each row" in protocol["enhancers"]
    assert "trained by masked prediction of k-means units (self-supervised)" in protocol["encoder"]
    assert protocol["test"] == "4 mixtures of 2 speakers at 5, 15 dB."
    assert "words" not in protocol, "nothing heard any"
    assert "what was trained here is not tested, for want of 3 models" in protocol["statistics"]

    showcase.write_showcase(run)
    assert {row["row"] for row in read_json(run.folder / "layer_weights.json")["rows"]} == {
        "ws-acoustic", "ws-linguistic"
    }  # fmt: skip
    assert "ws-acoustic@2" not in read_json(run.folder / "examples.json")[0]["files"]


def test_a_row_is_compared_with_the_acoustic_one_it_is_an_alternative_to(copy: Callable[..., Run]) -> None:
    rows = "log1p, layer-0, ws-acoustic, ws-hybrid, ws-acoustic+log1p, ws-hybrid+log1p, dws-acoustic, dws-linguistic"
    run = copy(f"enhance.rows=[{rows}]")
    stoi = {"stoi": UtteranceScore(value=1.0)}
    utterances = [ScoredUtterance(id=str(number), scores=stoi, word_failure="none") for number in range(3)]
    models = {name: [utterances] for name in ("noisy", "clean", *rows.split(", "), "theirs")}
    comparisons = compare_rows(models, run.systems)
    assert {pair.row: pair.against for pair in comparisons if pair.against != "noisy"} == {
        "log1p": "ws-acoustic",
        "layer-0": "ws-acoustic",
        "ws-hybrid": "ws-acoustic",
        "ws-acoustic+log1p": "ws-acoustic",
        "ws-hybrid+log1p": "ws-acoustic+log1p",
        "dws-acoustic": "ws-acoustic",
        "dws-linguistic": "dws-acoustic",
        "theirs": "ws-acoustic",
    }


def test_the_noisy_voicebank_demand_test_set_is_checked_first() -> None:
    composite = {"csig": 3.35, "cbak": 2.44, "covl": 2.63, "ssnr_db": 1.68}

    def noisy(stoi: float, count: int = 824, **changes: float | None) -> list[ScoredUtterance]:
        usual = {"pesq_wb_lqo": 1.975, "stoi": stoi, "si_sdr_db": 8.45} | changes
        names = [f"p{(232, 257)[index % 2]}_{index:03d}" for index in range(count - 3)]
        names += ["p232_001", "p232_003", "p232_005"][: count - len(names)]
        return [
            ScoredUtterance(
                id=name,
                scores={
                    key: UtteranceScore(value=None if value is None else NOISY_TRACKS.get(name, {}).get(key, value))
                    for key, value in usual.items()
                },
            )
            for name in names
        ]

    lines = check_noisy_scores(noisy(0.92))
    assert lines[2] == "stoi 0.920 of 824 recordings, known 0.921 within 0.004"
    assert lines[4] == "10 of 10 scores known of single recordings are met"
    assert not any("WARNING" in line for line in lines)
    one_off = noisy(0.92)
    one_off[-1].scores["pesq_wb_lqo"] = UtteranceScore(value=NOISY_TRACKS["p232_005"]["pesq_wb_lqo"] + 0.06)
    assert check_noisy_scores(one_off)[-1].startswith("WARNING: pesq_wb_lqo of p232_005 of the noisy recordings is OFF")
    assert check_noisy_scores(noisy(0.93))[-1].startswith("WARNING: stoi of the noisy recordings is OFF")
    without_pesq = check_noisy_scores(noisy(0.92, pesq_wb_lqo=None))
    assert without_pesq[-1].startswith("WARNING: pesq_wb_lqo, pesq_wb_lqo of p232_001, ")
    with_composite = check_noisy_scores(noisy(0.92, **composite))
    assert with_composite[4:] == [
        "csig 3.350 of 824 recordings, known 3.345 within 0.03",
        "cbak 2.440 of 824 recordings, known 2.443 within 0.03",
        "covl 2.630 of 824 recordings, known 2.632 within 0.03",
        "ssnr_db 1.679 of 824 recordings, known 1.679 within 0.1",
        "30 of 30 scores known of single recordings are met",
    ]
    inflated = check_noisy_scores(noisy(0.92, **composite | {"csig": 3.44}))
    assert inflated[-1].startswith("WARNING: csig of the noisy recordings is OFF")
    assert check_noisy_scores(noisy(0.92, 100)) == []
