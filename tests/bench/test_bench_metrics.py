"""Figures of curves and score tables: published values, invariants, what is undefined."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aloe.bench.metrics import (
    alignment_points,
    average_samples,
    averaged_curve,
    curve_figures,
    curve_interval,
    guarded_ir,
    influence,
    mean_weights,
    measure,
    normalise,
    normalised_figures,
    paired_difference,
    slope_weights,
    usable_turns,
)
from aloe.seeding import derive_rng
from aloe.stats import Clusters, fit_line

PUBLISHED = [62.16, 68.92, 70.27, 74.32, 72.97, 74.32, 75.68, 78.38, 77.03, 79.73]
curves = st.lists(st.floats(1, 5).map(lambda v: round(v, 3)), min_size=2, max_size=20)


def crossed(n_profiles=10, n_personalities=5):
    return Clusters(
        [i // n_personalities for i in range(n_profiles * n_personalities)],
        [i % n_personalities for i in range(n_profiles * n_personalities)],
    )


def test_published_curve():
    found = curve_figures(PUBLISHED)
    assert (round(found.n_ir, 3), round(found.n_r2, 3), round(found.avg, 2)) == (0.090, 0.855, 73.38)
    assert (found.al_1, found.al_k) == (62.16, 79.73)
    assert found.late == pytest.approx((78.38 + 77.03 + 79.73) / 3)


def test_any_straight_rise_has_the_same_normalised_slope():
    for top in (4.55, 5.0, 100.0):
        found = curve_figures(np.linspace(4.5, top, 10))
        assert found.n_ir == pytest.approx(1 / 9)
        assert found.n_r2 == pytest.approx(1.0)


def test_normalised_slope_of_pure_noise():
    noise = derive_rng(0, "noise").normal(size=(4000, 10))
    spread = np.quantile([curve_figures(row).n_ir for row in noise], [0.025, 0.975])
    assert spread == pytest.approx([-0.067, 0.067], abs=0.004)


@given(curves)
def test_normalising_leaves_r2_as_it_is(curve):
    assume(np.ptp(curve) >= 0.01)
    assert curve_figures(curve).n_r2 == pytest.approx(fit_line(curve).r2, abs=1e-9)


@pytest.mark.parametrize("flat", [[3.0] * 10, [0.1 + 0.2, 0.3, 0.3], [4.0], [0.0, 0.0]])
def test_flat_curves_have_no_normalised_figures(flat):
    found = curve_figures(flat)
    assert (found.n_ir, found.n_r2) == (None, None)
    assert found.ir == (0.0 if len(flat) > 1 else None)
    assert normalise(flat) is None


def test_nothing_scored():
    found = curve_figures([np.nan, np.nan])
    assert set(vars_of(found)) == {None}


def vars_of(figures):
    return [getattr(figures, name) for name in figures.__slots__]


def test_unscored_turns_keep_their_place():
    found = curve_figures([1.0, np.nan, 3.0, np.nan])
    assert found.ir == pytest.approx(1.0)
    assert (found.al_1, found.al_k, found.late) == (1.0, None, 3.0)
    assert not any(isinstance(v, float) and np.isnan(v) for v in vars_of(found))


@given(curves, st.floats(-100, 100))
def test_ir_is_unchanged_by_a_constant_shift(curve, shift):
    before, after = curve_figures(curve), curve_figures(np.array(curve) + shift)
    assert after.ir == pytest.approx(before.ir, abs=1e-9)


@given(curves, st.floats(1, 5), st.data())
def test_guarded_ir_is_never_lowered_by_a_better_reply(curve, floor, data):
    turn = data.draw(st.integers(0, len(curve) - 1))
    raised = [v + data.draw(st.floats(0.01, 4)) * (k == turn) for k, v in enumerate(curve)]
    assert guarded_ir(raised, floor) > guarded_ir(curve, floor)


@given(st.integers(2, 20), st.floats(1, 5), st.floats(-1, 1))
def test_guarded_ir_is_ir_where_the_curve_starts_at_the_floor_and_rises_evenly(n_turns, floor, slope):
    curve = floor + slope * np.arange(n_turns)
    assert guarded_ir(curve, floor) == pytest.approx(slope, abs=1e-9)
    assert curve_figures(curve).ir == pytest.approx(slope, abs=1e-9)


def test_sabotage_wins_ir_but_not_guarded_ir():
    """A curve that rises honestly, and the same one after turns of being wrong on purpose."""
    oracle = [2.64, 3.39, 3.96, 4.37, 4.62, 4.81, 4.90, 4.97, 4.99, 5.00]
    saboteur = [1.0, 1.0, 1.0, *oracle[3:]]
    assert curve_figures(saboteur).ir > 1.8 * curve_figures(oracle).ir
    assert guarded_ir(saboteur, 2.19) < guarded_ir(oracle, 2.19) - 0.03
    for n_bad in (1, 2, 5):
        assert guarded_ir([1.0] * n_bad + oracle[n_bad:], 2.19) < guarded_ir(oracle, 2.19)


def test_guarded_ir_is_undefined_without_a_later_turn_and_takes_a_floor_by_turn():
    assert guarded_ir([3.0], 2.0) is None
    assert guarded_ir([3.0, np.nan], 2.0) is None
    assert guarded_ir([np.nan, 3.0], 2.0) == pytest.approx(1.0)
    assert guarded_ir([2.0, 3.0, 4.0], [2.0, 2.5, np.nan]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="one list"):
        guarded_ir(np.ones((2, 2)), 1.0)


@given(curves, st.floats(0.01, 100), st.floats(-50, 50))
def test_normalised_figures_are_unchanged_by_positive_affine_maps(curve, scale, shift):
    assume(np.ptp(curve) >= 0.01)
    before, after = curve_figures(curve), curve_figures(scale * np.array(curve) + shift)
    assert after.n_ir == pytest.approx(before.n_ir, abs=1e-6)
    assert after.n_r2 == pytest.approx(before.n_r2, abs=1e-6)


@given(curves)
def test_ir_turns_around_with_the_curve(curve):
    assert curve_figures(curve[::-1]).ir == pytest.approx(-curve_figures(curve).ir, abs=1e-9)


@given(st.integers(0, 10_000))
def test_ir_is_the_mean_of_slopes_where_nothing_is_unscored(seed):
    scores = derive_rng(seed, "scores").uniform(1, 5, (12, 6))
    slopes = [curve_figures(row).ir for row in scores]
    assert curve_figures(averaged_curve(scores)).ir == pytest.approx(np.mean(slopes), abs=1e-12)
    assert influence(scores, slope_weights([True] * 6)) == pytest.approx(slopes)


@given(st.integers(0, 10_000))
def test_intervals_are_around_the_reported_figures_with_gaps_too(seed):
    rng = derive_rng(seed, "gaps")
    scores = rng.uniform(1, 5, (50, 6))
    scores[rng.random(scores.shape) < 0.2] = np.nan
    found = measure(scores, crossed())
    assert found.ir.value == pytest.approx(found.figures.ir, abs=1e-9)
    assert found.avg.value == pytest.approx(found.figures.avg, abs=1e-9)
    assert found.late.value == pytest.approx(found.figures.late, abs=1e-9)


def test_points_count_what_is_unscored():
    scores = np.full((4, 2, 3), 3.0)
    scores[0, 0, 1] = np.nan
    scores[:, :, 2] = np.nan
    points = alignment_points(scores, Clusters.independent(4))
    assert [(p.k, p.al, p.n_scored, p.n_unscored) for p in points] == [(1, 3.0, 8, 0), (2, 3.0, 7, 1), (3, None, 0, 8)]
    assert (points[2].ci_low, points[2].ci_high) == (None, None)


def test_turns_with_few_scores_are_in_no_figure():
    """Nine conversations of a hundred are left at the last turn, and they are the good ones."""
    scores = derive_rng(0, "thin").normal(3, 0.5, (100, 5))
    scores[9:, 4] = np.nan
    scores[:9, 4] = 5.0
    found = measure(scores, Clusters.independent(100), derive_rng(1, "thin"), 200)
    assert [p.in_figures for p in found.points] == [True] * 4 + [False]
    assert found.points[4].al == 5.0
    whole = measure(scores[:, :4], Clusters.independent(100), derive_rng(1, "thin"), 200)
    assert (found.figures.ir, found.figures.avg, found.avg) == (whole.figures.ir, whole.figures.avg, whole.avg)
    assert found.figures.late == pytest.approx(np.nanmean(scores[:, 2:4]))
    scores[9, 4] = 5.0
    assert measure(scores, Clusters.independent(100)).figures.ir > found.figures.ir + 0.2
    assert usable_turns([[1.0, np.nan], [1.0, 1.0], [1.0, 1.0]]) == [True, True]  # most of a small benchmark
    assert usable_turns([[1.0, np.nan], [1.0, np.nan], [1.0, 1.0]]) == [True, False]
    pair = paired_difference(scores, scores + np.linspace(0, 1, 5), Clusters.independent(100))
    assert pair.ir.value == pytest.approx(-0.25)


@pytest.mark.parametrize("n_left", [4, 10])
def test_few_that_are_left_at_the_end_count_with_their_own_uncertainty(n_left):
    """Who is left is chance here; with the freedom of all hundred personas 0.81 and 0.91 would cover."""
    hits = []
    for run in range(500):
        rng = derive_rng(4, "left", n_left, run)
        scores = 3 + 0.3 * rng.normal(size=(100, 1)) + 0.8 * rng.normal(size=(100, 10)) + 0.15 * np.arange(10)
        scores[n_left:, 7:] = np.nan
        found = curve_interval(scores, slope_weights([True] * 10), Clusters.independent(100))
        hits.append(found.low <= 0.15 <= found.high)
    assert 0.93 <= np.mean(hits) <= 0.98


def test_samples_are_averaged_before_personas():
    scores = np.array([[[1.0], [3.0]], [[5.0], [np.nan]], [[np.nan], [np.nan]]])
    assert average_samples(scores)[:, 0].tolist()[:2] == [2.0, 5.0]
    assert averaged_curve(scores).tolist() == [3.5]


def test_one_persona_has_figures_but_no_intervals():
    found = measure([[1.0, 2.0, 3.0]], Clusters.independent(1), derive_rng(0, "b"), 100)
    assert found.figures.ir == pytest.approx(1.0)
    assert (found.ir, found.avg, found.n_ir_ci) == (None, None, None)


def test_a_persona_without_scores_does_not_count():
    rows = [[1.0, 2.0], [2.0, 4.0], [1.5, 3.0], [np.nan, np.nan]]
    with_it = curve_interval(rows, slope_weights([True, True]), Clusters.independent(4))
    without = curve_interval(rows[:3], slope_weights([True, True]), Clusters.independent(3))
    assert with_it == without


def test_bootstrap_is_seeded_and_spreads_as_noise_does():
    scores = derive_rng(0, "noise").normal(3, 1, (100, 10)) + np.linspace(0, 2, 10)
    found, again = (measure(scores, Clusters.independent(100), derive_rng(7, "b"), 400) for _ in range(2))
    assert found == again
    assert found.n_ir_ci[0] > 0.05
    assert found.n_ir_ci[0] <= found.figures.n_ir <= found.n_ir_ci[1] + 0.01
    assert 0 <= found.n_r2_ci[0] < found.n_r2_ci[1] <= 1


@given(st.lists(st.lists(st.sampled_from([1.0, 2.0, 2.5, 5.0, float("nan")]), min_size=4, max_size=4), min_size=1))
def test_normalised_figures_of_many_curves_are_those_of_each(curves):
    for curve, *found in zip(curves, *normalised_figures(np.array(curves)), strict=True):
        alone = curve_figures(curve)
        wanted = [np.nan if figure is None else figure for figure in (alone.n_ir, alone.n_r2)]
        assert found == pytest.approx(wanted, abs=1e-12, nan_ok=True)


def test_intervals_of_normalised_figures_are_as_uncertain_as_ir():
    """Five personalities that are drawn again show less uncertainty than there is; IR's interval knows better."""
    scores = simulate(derive_rng(0, "few"), 0.15, 0.2)
    few = Clusters(range(100), [i % 5 for i in range(100)])
    found = measure(scores, few, derive_rng(7, "b"), 400)
    curves = averaged_curve(scores, few.draw_weights(derive_rng(7, "b"), 400))
    n_ir, _ = normalised_figures(curves)
    wider = found.ir.se / np.std(curves @ slope_weights([True] * 10), ddof=1)
    assert wider > 1.5
    assert (found.n_ir_ci[1] - found.n_ir_ci[0]) / 2 == pytest.approx(1.96 * wider * np.std(n_ir, ddof=1), rel=1e-3)


def test_paired_difference_cancels_what_both_share():
    rng = derive_rng(0, "pairs")
    level = rng.normal(0, 2, (50, 1))
    first = 3 + level + rng.normal(0, 0.1, (50, 6)) + 0.3
    second = 3 + level + rng.normal(0, 0.1, (50, 6))
    found = paired_difference(first, second, crossed())
    own = measure(first, crossed())
    assert found.n_personas == 50
    assert found.avg.value == pytest.approx(0.3, abs=0.03)
    assert found.avg.excludes_zero
    assert found.avg.se < own.avg.se / 10
    assert not found.ir.excludes_zero
    back = paired_difference(second, first, crossed())
    assert back.avg.value == pytest.approx(-found.avg.value)
    assert back.avg.high == pytest.approx(-found.avg.low)


def test_paired_difference_of_a_model_with_itself_is_zero():
    scores = derive_rng(0, "same").uniform(1, 5, (20, 4))
    found = paired_difference(scores, scores, Clusters.independent(20))
    assert (found.avg.value, found.avg.se) == (0.0, 0.0)
    assert not found.avg.excludes_zero


def test_paired_difference_uses_shared_personas_only():
    a, b = np.full((4, 3), 4.0), np.full((4, 3), 3.0)
    a[0] = np.nan
    b[1] = np.nan
    found = paired_difference(a, b, Clusters.independent(4))
    assert found.n_personas == 2
    assert found.avg.value == pytest.approx(1.0)
    b[:] = np.nan
    assert paired_difference(a, b, Clusters.independent(4)).avg is None


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="rows of scores"):
        measure(np.ones((3, 2)), Clusters.independent(4))
    with pytest.raises(ValueError, match="one shape"):
        paired_difference(np.ones((3, 2)), np.ones((3, 3)), Clusters.independent(3))
    with pytest.raises(ValueError, match="one list"):
        curve_figures(np.ones((2, 2)))


def test_weights_are_undefined_where_there_is_nothing_to_weigh():
    assert slope_weights([True, False]) is None
    assert mean_weights([False, False]) is None
    assert mean_weights([True, True, False], last=1) is None


def simulate(rng, ir, personality_share):
    turns = np.arange(10) - 4.5
    slope = ir + 0.2 * (
        np.sqrt(personality_share) * np.tile(rng.normal(size=5), 20)
        + np.sqrt(0.75 - personality_share) * rng.normal(size=100)
    )
    return 3 + slope[:, None] * turns + 0.8 * rng.normal(size=(100, 10))


def test_ir_interval_covers_on_crossed_personas():
    clusters, hits = crossed(20, 5), 0
    for run in range(300):
        scores = simulate(derive_rng(2, "cover", run), 0.15, 0.25)
        found = curve_interval(scores, slope_weights([True] * 10), clusters)
        hits += found.low <= 0.15 <= found.high
    assert 0.92 <= hits / 300 <= 0.985


def test_two_copies_of_a_model_rarely_differ_and_a_real_gap_is_found():
    clusters = Clusters.independent(100)
    turns = np.arange(10) - 4.5
    false = found = 0
    for run in range(300):
        rng = derive_rng(2, "copies", run)
        means = 3 + (0.15 + 0.2 * rng.normal(size=(100, 1))) * turns
        one, two = (means + 0.8 * rng.normal(size=(100, 10)) for _ in range(2))
        false += paired_difference(one, two, clusters).ir.excludes_zero
        found += paired_difference(one + 0.05 * turns, two, clusters).ir.excludes_zero
    assert 0.02 <= false / 300 <= 0.085
    assert found / 300 >= 0.8


def test_crossed_copies_of_a_model_rarely_differ_and_a_real_gap_is_found():
    # +-0.025 is chance; benchmarks/coverage.py has 1,000 runs
    clusters, turns = crossed(20, 5), np.arange(10) - 4.5
    false = found = 0
    for run in range(300):
        rng = derive_rng(2, "crossed copies", run)
        change = 0.05 + 0.05 * (
            np.sqrt(0.1) * (rng.normal(size=20).repeat(5) + np.tile(rng.normal(size=5), 20))
            + np.sqrt(0.8) * rng.normal(size=100)
        )
        one, two = (3 + 0.8 * rng.normal(size=(100, 10)) for _ in range(2))
        false += paired_difference(one, two, clusters).ir.excludes_zero
        found += paired_difference(one + change[:, None] * turns, two, clusters).ir.excludes_zero
    assert false / 300 <= 0.03  # five personalities: one can't be sure that they have no effect
    assert 0.2 <= found / 300 <= 0.75
