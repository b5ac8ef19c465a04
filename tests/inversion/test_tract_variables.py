"""Tract variables: answers known on paper, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest

from phonemi.inversion.tract_variables import (
    PELLETS,
    VARIABLES,
    arc,
    estimate_palate,
    join_traces,
    nearest,
    tract_variables,
)

FLAT = np.array([[0.0, 20.0], [-80.0, 20.0]])


def pellets(**positions: tuple[float, float]) -> dict[str, np.ndarray]:
    rest = {"UL": (12, 6), "LL": (10, -8), "T1": (-10, 0), "T2": (-22, 4), "T3": (-36, 6), "T4": (-50, 2)}
    return {name: np.array([positions.get(name, rest[name])], dtype=float) for name in PELLETS}


def random_pellets(frames: int = 50) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: value + rng.normal(0, 2, (frames, 2)) for name, value in pellets().items()}


def test_lips_and_tip_before_a_flat_palate() -> None:
    values, reasons = tract_variables(pellets(UL=(12, 6), LL=(9, 2), T1=(-10, 17.5)), FLAT)
    assert dict(zip(VARIABLES[:4], values[0], strict=False)) == {"LA": 5, "LP": 9, "TTCL": -10, "TTCD": 2.5}
    assert not reasons


def test_the_body_is_the_circle_through_three_pellets() -> None:
    # Centre (-36, -4), radius 10: its top is (-36, 6), between pellets at 160, 120 and 45 degrees.
    angles = np.radians([45, 120, 160])
    points = np.array([-36, -4]) + 10 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    values, _ = tract_variables(pellets(T2=points[0], T3=points[1], T4=points[2]), FLAT)
    assert values[0, 5] == pytest.approx(14, abs=0.01)
    assert values[0, 4] == pytest.approx(-36, abs=0.3)  # points of the arc are 0.5 mm apart


def test_an_arc_stays_on_its_circle_and_passes_the_middle_pellet() -> None:
    a, b, c = (np.array([[np.cos(t), np.sin(t)]]) for t in (2.5, 1.2, 0.3))
    for first, last in ((a, c), (c, a)):
        points = arc(first, b, last)[0]
        np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)
        np.testing.assert_allclose(points[[0, -1]], [first[0], last[0]], atol=1e-12)
        assert np.linalg.norm(points - b[0], axis=1).min() < 0.05
    np.testing.assert_allclose(arc(a, b, c, from_middle=True)[0][[0, -1]], [b[0], c[0]], atol=1e-12)


@pytest.mark.parametrize("middle", [(-36.0, 4.0), (-36.0, 4.0 + 1e-9), (-22.0, 4.0), (-50.0, 4.0)])
def test_pellets_on_a_line_or_in_one_place_are_a_polyline(middle: tuple[float, float]) -> None:
    values, _ = tract_variables(pellets(T2=(-22, 4), T3=middle, T4=(-50, 4)), FLAT)
    assert values[0, 5] == pytest.approx(16)
    assert -50 <= values[0, 4] <= -22


def test_all_pellets_in_one_place() -> None:
    values, _ = tract_variables(pellets(T2=(-30, 4), T3=(-30, 4), T4=(-30, 4)), FLAT)
    np.testing.assert_allclose(values[0, 4:], [-30, 16])


def test_an_arc_of_more_than_half_a_circle_is_a_polyline() -> None:
    values, _ = tract_variables(pellets(T2=(-30, 4), T3=(-40, -40), T4=(-31, 4)), FLAT)
    assert values[0, 5] == pytest.approx(16)


def test_moving_everything_moves_locations_and_leaves_distances() -> None:
    positions, shift = random_pellets(), np.array([3.0, -7.0])
    before, _ = tract_variables(positions, FLAT)
    after, _ = tract_variables({name: value + shift for name, value in positions.items()}, FLAT + shift)
    np.testing.assert_allclose(after - before, np.tile([0, 3, 3, 0, 3, 0], (50, 1)), atol=1e-9)


def test_scaling_everything_scales_every_variable() -> None:
    positions = random_pellets()
    before, _ = tract_variables(positions, FLAT)
    after, _ = tract_variables({name: 1.5 * value for name, value in positions.items()}, 1.5 * FLAT)
    np.testing.assert_allclose(after, 1.5 * before)


def test_frames_do_not_depend_on_each_other() -> None:
    positions = random_pellets(600)  # more than one chunk
    together, _ = tract_variables(positions, FLAT)
    alone = [tract_variables({name: value[i : i + 1] for name, value in positions.items()}, FLAT) for i in range(600)]
    np.testing.assert_allclose(together, np.concatenate([one.values for one in alone]))


def test_a_mistracked_pellet_costs_only_what_needs_it() -> None:
    positions = random_pellets(3)
    positions["T3"][1] = np.nan
    values, reasons = tract_variables(positions, FLAT)
    assert np.isnan(values).tolist() == [[False] * 6, [False] * 4 + [True] * 2, [False] * 6]
    assert not reasons


def test_missing_pellets_and_no_palate_are_nan_with_a_reason() -> None:
    positions = random_pellets(3)
    del positions["UL"]
    positions["T4"][:] = np.nan
    values, reasons = tract_variables(positions, None)
    assert reasons == {"LA": "no UL", "TTCD": "no palate", "TBCL": "no T4", "TBCD": "no T4"}
    assert np.isnan(values[:, [0, 3, 4, 5]]).all()
    assert np.isfinite(values[:, [1, 2]]).all()


def test_no_pellets_at_all() -> None:
    values, reasons = tract_variables({}, FLAT)
    assert values.shape == (0, 6)
    assert set(reasons) == set(VARIABLES)


def test_pellets_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="same length"):
        tract_variables({"UL": np.zeros((3, 2)), "LL": np.zeros((4, 2))}, None)


def test_three_tongue_sensors_use_the_arc_behind_the_middle_one() -> None:
    angles = np.radians([170, 120, 60])  # the top of the circle is between T3 and T4 alone
    points = np.array([-36, -4]) + 10 * np.stack([-np.cos(angles), np.sin(angles)], axis=1)
    positions = pellets(T1=points[0], T3=points[1], T4=points[2])
    del positions["T2"]
    values, _ = tract_variables(positions, FLAT)
    assert values[0, 5] == pytest.approx(14, abs=0.01)


def test_a_trace_may_move_with_the_frames() -> None:
    points = np.zeros((2, 1, 2))
    traces = np.array([[[-1.0, 3.0], [1.0, 3.0]], [[-1.0, 5.0], [1.0, 5.0]]])
    assert nearest(points, traces)[0].tolist() == [3, 5]


def test_the_palate_goes_on_to_the_pharynx() -> None:
    palate = np.array([[-40.0, 15.0], [0.0, 5.0], [-20.0, 20.0]])
    pharynx = np.array([[-65.0, -40.0], [-62.0, 0.0]])
    assert join_traces(palate, pharynx)[:, 0].tolist() == [0, -20, -40, -62, -65]
    assert join_traces(palate, None)[:, 0].tolist() == [0, -20, -40]


def test_a_palate_is_estimated_from_where_the_tongue_has_been() -> None:
    rng = np.random.default_rng(2)
    x = rng.uniform(-50, -5, 20_000)
    roof = 20 - (x + 25) ** 2 / 80
    palate = estimate_palate(np.stack([x, roof - rng.exponential(3, x.shape)], axis=1))
    assert palate is not None
    assert (np.diff(palate[:, 0]) < 0).all()
    inside = (palate[:, 0] < -8) & (palate[:, 0] > -48)
    np.testing.assert_allclose(palate[inside, 1], 20 - (palate[inside, 0] + 25) ** 2 / 80, atol=1.0)
    shift = np.array([2.0, 5.0])  # by whole bins
    moved = estimate_palate(np.stack([x, roof], axis=1) + shift)
    np.testing.assert_allclose(moved, estimate_palate(np.stack([x, roof], axis=1)) + shift)


def test_too_few_positions_give_no_palate() -> None:
    assert estimate_palate(np.full((500, 2), np.nan)) is None
    assert estimate_palate(np.zeros((500, 2))) is None
    assert estimate_palate(np.random.default_rng(0).uniform(-40, 0, (20, 2))) is None
