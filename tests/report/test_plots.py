"""Figures say what their arrays say: heights, places, marks and labels are read back from the drawn axes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonemi.report import plots
from phonemi.report.figure_style import THEME, save_figure
from phonemi.report.row_style import series_styles
from phonemi.results.information import InformationTable
from phonemi.results.weights import RowWeights


def table(name: str, mi_bits: list[list[float]]) -> InformationTable:
    values = np.array(mi_bits, dtype=float)
    return InformationTable(name, np.arange(values.shape[1]) * 5.0 - 5.0, values, values - 0.1, values + 0.1)


MINI = table("mini", [[0.2, 0.4, 0.6], [0.5, 0.9, 1.0], [0.3, 0.8, 1.4]])
LOG1P = table("log1p", [[0.1, 0.2, 0.3]])


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_information_by_layer_marks_the_peak_and_the_baseline():
    (axes,) = plots.information_by_layer([MINI, LOG1P]).axes
    assert texts(axes) == ["layer 2: 0.83 bits", "log1p: 0.20 bits"]
    curve = axes.lines[0]
    np.testing.assert_allclose(curve.get_ydata(), [0.4, 0.8, 2.5 / 3])


def test_a_negative_bound_stays_visible():
    (axes,) = plots.information_by_layer([table("mini", [[-0.4, -0.2], [0.3, 0.5]])]).axes
    assert axes.get_ylim()[0] <= -0.4


@pytest.mark.parametrize("draw", [plots.information_by_layer, plots.information_peak])
@pytest.mark.parametrize("spread", [0.1, np.nan])
def test_no_line_is_cut_off_below_zero(draw, spread):
    """Neither where the best layer knows less than nothing, nor where there are too few speakers for intervals."""
    below, above = np.array([[-0.5, -0.3], [-0.9, -0.8]]), np.array([[1.5, 2.5], [0.1, 0.2]])
    tables = [
        InformationTable(name, np.array([0.0, 10.0]), values, values - spread, values + spread)
        for name, values in (("below", below), ("above", above))
    ]
    (axes,) = draw(tables).axes
    low, high = axes.get_ylim()
    drawn = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
    assert low < np.nanmin(drawn)
    assert np.nanmax(drawn) < high


def test_information_by_snr_names_every_line_at_its_end():
    (axes,) = plots.information_by_snr(MINI).axes
    assert texts(axes) == ["−5 dB", "0 dB", "5 dB"]
    assert [line.get_ydata()[-1] for line in axes.lines] == [0.3, 0.8, 1.4]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=9), st.floats(0.01, 1))
def test_labels_are_spread_without_overlap_and_in_order(values, gap):
    spread = plots._spread(np.array(values), gap)
    order = np.argsort(values, kind="stable")
    assert np.diff(spread[order]).min(initial=gap) >= gap - 1e-5
    assert abs(spread.mean() - np.mean(values)) < 1e-5


def test_information_heatmap_prints_every_cell_and_boxes_each_peak():
    axes = plots.information_heatmap(MINI).axes[0]
    assert sorted(texts(axes)) == sorted(f"{value:.2f}" for value in MINI.mi_bits.ravel())
    boxed = {(round(box.get_x() + 0.47), round(box.get_y() + 0.46)) for box in axes.patches}
    assert boxed == {(0, 1), (1, 1), (2, 2)}


def test_unmeasured_cells_are_dashes_in_the_table_and_gaps_in_the_curves():
    holes = table("mini", [[0.2, np.nan], [0.4, np.nan]])
    assert sorted(texts(plots.information_heatmap(holes).axes[0])) == ["0.20", "0.40", "–", "–"]
    (by_snr,) = plots.information_by_snr(holes).axes
    np.testing.assert_array_equal([line.get_ydata() for line in by_snr.lines], [[0.2, 0.4], [np.nan, np.nan]])
    (peak,) = plots.information_peak([holes]).axes
    np.testing.assert_array_equal(peak.lines[0].get_ydata(), [0.4, np.nan])
    assert texts(peak) == ["L1"]


def test_information_peak_names_the_layer_of_each_point():
    (axes,) = plots.information_peak([MINI, LOG1P]).axes
    assert texts(axes) == ["L1", "L1", "L2"]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.5, 0.9, 1.4])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), LOG1P.mi_bits[0])


def test_layer_weights_are_the_heights_of_the_bars():
    rows = [
        RowWeights(row="ws-acoustic", label="WS (Acoustic)", weights=(0.7, 0.2, 0.1)),
        RowWeights(row="ws-linguistic", label="WS (Linguistic)", weights=(0.1, 0.3, 0.6)),
    ]
    figure = plots.layer_weights(rows)
    bars = figure.axes[0].containers
    assert [tuple(bar.get_height() for bar in group) for group in bars] == [row.weights for row in rows]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["WS (Acoustic)", "WS (Linguistic)"]


def test_dynamic_weights_share_one_time_axis():
    weights = np.full((5, 3), 1 / 3)
    figure = plots.dynamic_weights(np.zeros((10, 8)), np.full(10, np.nan), [("a", weights), ("b", weights)])
    spectrum, _, first, second = figure.axes[:4]
    # Frame t is centred at (320 t + 200) / 16000 = 0.0125 + 0.02 t seconds.
    assert spectrum.images[0].get_extent()[:2] == pytest.approx((0.0025, 0.1025))
    assert first.images[0].get_extent()[:2] == pytest.approx((0.0025, 0.1025))
    assert first.images[0].get_clim() == second.images[0].get_clim()
    assert first.get_xlim() == second.get_xlim() == spectrum.get_xlim()


def test_small_multiples_draw_every_curve_once_in_the_legend():
    curve = ("WS (Acoustic)", [0.0, 5.0], [1.0, 2.0])
    panels = {"STOI": {"ws-acoustic": curve}, "PESQ": {"ws-acoustic": curve}, "WER": {"noisy": ("noisy", [0.0], [0.4])}}
    figure = plots.small_multiples(panels, "SNR (dB)")
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()] == ["STOI", "PESQ", "WER"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["WS (Acoustic)", "noisy"]


def grey(colour: str) -> float:
    return float(np.dot([int(colour[place : place + 2], 16) for place in (1, 3, 5)], [0.299, 0.587, 0.114]))


def test_rows_differ_in_grey_and_in_shape():
    looks = series_styles(["ws-linguistic", "ws-hybrid", "ws-acoustic"]).values()
    assert np.diff([grey(look.colour) for look in looks]).min() > 25
    assert len({look.marker for look in looks}) == 3
    looks = series_styles(["ws-linguistic", "dws-linguistic", "ws-linguistic+log1p", "ws-linguistic@2"])
    assert looks["dws-linguistic"].dash != looks["ws-linguistic"].dash
    assert looks["ws-linguistic+log1p"].hollow
    assert looks["ws-linguistic@2"] == looks["ws-linguistic"], "another model of the same row"
    assert len(set(THEME.values())) == len(THEME)


def test_rows_that_nobody_knows_differ_from_each_other_and_from_the_known_ones():
    rows = ["noisy", "theirs", "ours", "ws-linguistic", "layer", "layer-3", "my-ws-linguistic", "log1p-like", "last"]
    looks = series_styles(rows)
    assert len({(look.colour, look.dash) for look in looks.values()}) == len(rows), "curves without markers"
    assert len({(look.marker, look.dash) for look in looks.values()}) == len(rows), "in grey"
    assert looks["ws-linguistic"] == series_styles(["ws-linguistic"])["ws-linguistic"], "the same in every figure"
    assert len(set(series_styles([f"system {number}" for number in range(15)]).values())) == 15
    assert len(series_styles([f"system {number}" for number in range(100)])) == 100, "some look the same then"


def test_places_too_near_to_be_named_are_not_ticks():
    def ticks(*places: float) -> list[str]:
        panels = {"STOI": {"a": ("a", places, places)}}
        return [text.get_text() for text in plots.small_multiples(panels, "SNR (dB)").axes[0].get_xticklabels()]

    assert ticks(-5.0, 0.0, 12.5) == ["−5", "0", "12.5"]
    labels = ticks(5.4e-06, 5.9e-05, 4.99999)
    assert len(set(labels)) == len(labels), "no two ticks on one another"


@pytest.mark.slow
def test_saved_figures_are_the_same_bytes_again_and_change_no_settings(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    for folder in ("one", "two"):
        save_figure(plots.information_peak([LOG1P, MINI]), tmp_path / folder, "peak")
    assert (tmp_path / "one/peak.svg").read_bytes() == (tmp_path / "two/peak.svg").read_bytes()
    assert (tmp_path / "one/peak.png").read_bytes()[1:4] == b"PNG"
    assert dict(matplotlib.rcParams) == before


@pytest.mark.slow
def test_a_dollar_sign_in_a_name_is_not_mathematics(tmp_path):
    save_figure(
        plots.layer_weights([RowWeights(row="a", label="cost $x_$ $", weights=(0.5, 0.5))]), tmp_path, "weights"
    )
    assert "cost $x_$ $" in (tmp_path / "weights.svg").read_text()
