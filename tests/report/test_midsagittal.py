"""The drawn mouth does what the numbers say: lips, tip and body come as near as they do, there and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonemi.inversion.tracks import Tracks, tracks_of
from phonemi.report.midsagittal import TIP_START, TYPICAL, WALL, Outlines, distance_to_wall, outlines

UPPER = 22  # points of the tongue's outline that face the wall


def still(**values: float) -> Outlines:
    """A mouth at rest, apart from some values."""
    rest = {name: mean for name, (mean, _) in TYPICAL.items() if name not in ("VO", "NAS")}
    return outlines(tracks_of({name: np.full(5, value) for name, value in (rest | values).items()}), {})


def lips_mm(shape: Outlines) -> float:
    """Between the lowest point of the upper and the highest of the lower lip."""
    in_front = shape.lines["lower"][0][:8]
    return float(shape.lines["upper"][0, :, 1].min() - in_front[:, 1].max())


def nearest_mm(points: np.ndarray) -> tuple[float, float]:
    """How near points come to the wall, and x where they do."""
    distances = distance_to_wall(points)
    return float(distances.min()), float(points[distances.argmin(), 0])


def test_distances_are_those_to_the_wall() -> None:
    assert np.abs(distance_to_wall(WALL)).max() < 0.6
    points = np.array([[-31.0, 12], [-60, -20], [-74, -20], [-31, 26], [-90, -20]])
    expected = [np.linalg.norm(points[0] - [-31, 22]), None, 9.3, -4, -6.7]
    for distance, value in zip(distance_to_wall(points), expected, strict=True):
        assert value is None or abs(distance - value) < 0.6


@pytest.mark.parametrize("la_mm", [0.0, 3.0, 12.0])
def test_lips_are_as_far_apart_as_la(la_mm: float) -> None:
    assert lips_mm(still(LA=la_mm)) == pytest.approx(la_mm)


def test_the_jaw_follows_the_lips_and_the_lips_come_forward() -> None:
    closed, wide, rounded = still(LA=0), still(LA=12), still(LP=19)
    assert wide.lines["teeth"][0, 0, 1] < closed.lines["teeth"][0, 0, 1] - 5
    for lip in ("upper", "lower"):
        assert rounded.lines[lip][0, :, 0].max() > closed.lines[lip][0, :, 0].max() + 5


@pytest.mark.parametrize("ttcl_mm", [-5.0, -9.0, -14.0])
def test_an_alveolar_closure_is_at_its_place(ttcl_mm: float) -> None:
    tongue = still(TTCL=ttcl_mm, TTCD=0.0).lines["tongue"][0]
    gap, x = nearest_mm(tongue[TIP_START:UPPER])
    assert abs(gap) < 0.3
    assert abs(x - ttcl_mm) < 1.5
    assert nearest_mm(tongue[:TIP_START])[0] > 3


@pytest.mark.parametrize("tbcl_mm", [-20.0, -35.0, -50.0, -65.0])
def test_a_closure_of_the_body_is_at_its_place(tbcl_mm: float) -> None:
    tongue = still(TBCL=tbcl_mm, TBCD=0.0).lines["tongue"][0]
    gap, x = nearest_mm(tongue[:TIP_START])
    assert abs(gap) < 0.3
    assert abs(x - tbcl_mm) < 5
    assert nearest_mm(tongue[TIP_START:UPPER])[0] > 3


@pytest.mark.slow
@given(
    la=st.floats(-5, 40),
    lp=st.floats(-10, 30),
    ttcl=st.floats(-60, 20),
    ttcd=st.floats(-5, 40),
    tbcl=st.floats(-100, 10),
    tbcd=st.floats(-5, 40),
)
def test_no_estimate_puts_the_tongue_into_the_wall(
    la: float, lp: float, ttcl: float, ttcd: float, tbcl: float, tbcd: float
) -> None:
    shape = still(LA=la, LP=lp, TTCL=ttcl, TTCD=ttcd, TBCL=tbcl, TBCD=tbcd)
    assert all(np.isfinite(line).all() for line in shape.lines.values())
    assert nearest_mm(shape.lines["tongue"][0, :UPPER])[0] > -0.6


@given(tbcl=st.floats(-66, -20), tbcd=st.floats(0, 12))
def test_the_body_is_as_near_as_tbcd(tbcl: float, tbcd: float) -> None:
    tongue = still(TBCL=tbcl, TBCD=tbcd, TTCL=-9, TTCD=14).lines["tongue"][0]
    assert nearest_mm(tongue[:TIP_START])[0] == pytest.approx(tbcd, abs=0.8)


def test_what_is_unknown_says_so_and_rests() -> None:
    columns = {name: np.full(6, mean + 1) for name, (mean, _) in TYPICAL.items() if name != "NAS"}
    columns["TTCD"][2:4] = np.nan
    columns["LA"][4:] = np.nan
    shape = outlines(tracks_of(columns))
    assert {part: known.tolist() for part, known in shape.known.items()} == {
        "body": [True, True, True],
        "tip": [True, False, True],
        "lips": [True, True, False],
        "velum": [True, True, True],
        "voice": [True, True, True],
    }
    assert np.isfinite(shape.lines["tongue"]).all()
    mean, _ = TYPICAL["LA"]
    np.testing.assert_allclose(shape.lines["teeth"][2], still(LA=mean).lines["teeth"][0])


def test_variables_may_be_absent() -> None:
    shape = outlines(tracks_of({"F0": np.full(4, 100.0)}))
    assert not any(known.any() for known in shape.known.values())
    assert shape.voice.tolist() == [0, 0]
    assert {len(line) for line in shape.lines.values()} == {2}
    assert {len(line) for line in outlines(Tracks(np.zeros((0, 1), np.float32), ("LA",), ("mm",))).lines.values()} == {
        0
    }


def test_tracks_in_range_are_those_of_a_typical_mouth() -> None:
    rng = np.random.default_rng(0)
    names = ("LA", "LP", "TTCL", "TTCD", "TBCL", "TBCD")
    means, reaches = np.array([TYPICAL[name] for name in names]).T
    shares = rng.uniform(-1, 1, (20, 6))
    in_mm = Tracks((means + reaches * shares).astype(np.float32), names, ("mm",) * 6)
    in_range = Tracks(shares.astype(np.float32), names, ("range",) * 6)
    for name, line in outlines(in_mm).lines.items():
        np.testing.assert_allclose(outlines(in_range).lines[name], line, atol=1e-3)


def test_lips_of_pellets_touch_at_their_own_distance() -> None:
    pellets = tracks_of({"LA": np.full(3, 10.0), "LP": np.full(3, 9.0)})
    assert lips_mm(outlines(pellets, {"LA": 10.0})) == 0
    assert lips_mm(outlines(pellets)) == pytest.approx(10)


def test_closures_of_the_synthetic_corpus_are_drawn_closed() -> None:
    closure = {"TBCL": -50.0, "TBCD": 2.0, "TTCL": -12.0, "TTCD": 8.0}
    tongue = outlines(tracks_of({name: np.full(3, value) for name, value in closure.items()})).lines["tongue"][0]
    assert abs(nearest_mm(tongue[:TIP_START])[0]) < 0.3


@pytest.mark.parametrize(("name", "value"), [("VO", 45.0), ("NAS", 0.9)])
def test_the_velum_hangs_down_in_nasals(name: str, value: float) -> None:
    raised, lowered = (still(**{name: opening}).lines["velum"][0] for opening in (0.0, value))
    assert lowered[:, 1].min() < raised[:, 1].min() - 4


def test_the_nearest_place_that_jumps_moves_smoothly() -> None:
    columns = {name: np.full(100, mean) for name, (mean, _) in TYPICAL.items()}
    columns["TBCL"] = np.repeat([-18.0, -62.0], 50)
    tongue = outlines(tracks_of(columns)).lines["tongue"]
    steps_mm = np.linalg.norm(np.diff(tongue, axis=0), axis=2)
    assert steps_mm.max() < 12  # of 44
    assert steps_mm[:18].max() < 1e-6


def test_a_short_closure_keeps_its_place() -> None:
    columns = {name: np.full(100, mean) for name, (mean, _) in TYPICAL.items()}
    columns["TBCL"], columns["TBCD"] = np.full(100, -18.0), np.full(100, 11.0)
    columns["TBCL"][47:53], columns["TBCD"][47:53] = -55, 2.0
    gap, x = nearest_mm(outlines(tracks_of(columns)).lines["tongue"][25, :TIP_START])
    assert abs(gap) < 0.3
    assert abs(x + 55) < 6
