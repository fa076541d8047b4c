"""Lines, intervals and agreement: known answers, invariants, and small versions of the coverage study."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aloe.seeding import derive_rng
from aloe.stats import (
    Clusters,
    bootstrap_interval,
    cohen_kappa,
    fit_line,
    is_flat,
    mean_interval,
    pearson,
    rank,
    spearman,
    t_quantile,
    t_tail,
)

CROSSED = Clusters([i // 5 for i in range(100)], [i % 5 for i in range(100)])


def test_line_through_points():
    line = fit_line([1.0, 3.0, 2.0, 5.0, 4.0])
    assert line is not None
    assert (line.slope, line.intercept) == (pytest.approx(0.8), pytest.approx(0.6))
    assert line.r2 == pytest.approx(0.64)


def test_line_leaves_unscored_out_with_their_place():
    line = fit_line([1.0, np.nan, 3.0, 4.0])
    assert line is not None
    assert (line.slope, line.intercept, line.r2) == pytest.approx((1.0, 0.0, 1.0))


def test_line_undefined():
    assert fit_line([]) is None
    assert fit_line([2.0]) is None
    assert fit_line([1.0, 2.0], x=[3.0, 3.0]) is None
    flat = fit_line([0.1 + 0.2, 0.3, 0.3])
    assert flat is not None
    assert flat.slope == 0.0
    assert flat.r2 is None


def test_line_refuses_other_shapes():
    with pytest.raises(ValueError, match="one length"):
        fit_line([1.0, 2.0], x=[1.0])


@given(st.floats(-1e6, 1e6), st.integers(1, 12))
def test_a_repeated_value_is_flat(value, n):
    assert is_flat([value] * n)


# quantiles as printed in any table of Student's t
@pytest.mark.parametrize(
    ("level", "df", "expected"),
    [(0.95, 1, 12.706), (0.95, 4, 2.776), (0.95, 19, 2.093), (0.99, 10, 3.169), (0.90, 30, 1.697), (0.95, 1e7, 1.960)],
)
def test_t_quantiles(level, df, expected):
    assert t_quantile(level, df) == pytest.approx(expected, abs=6e-4)


@given(st.floats(0.05, 0.999), st.floats(1.0, 500.0))
def test_t_quantile_inverts_the_tail(level, df):
    assert t_tail(t_quantile(level, df), df) == pytest.approx(1.0 - level, abs=1e-9)


def test_textbook_interval():
    # mean 5, s = 2 over 9 values: 5 +- 2.306 * 2 / 3
    found = mean_interval([3, 3, 3, 5, 5, 5, 7, 7, 7])
    assert found is not None
    s = np.std([3, 3, 3, 5, 5, 5, 7, 7, 7], ddof=1)
    assert found.df == 8
    assert found.high - 5 == pytest.approx(2.306 * s / 3, abs=1e-3)


def test_personas_that_share_nothing_are_the_textbook_case():
    values = derive_rng(0, "x").normal(size=40)
    own = Clusters([f"p{i}" for i in range(40)], [f"t{i}" for i in range(40)])
    assert len(own.partitions) == 1
    assert mean_interval(values, own) == mean_interval(values)


def test_crossed_design_is_the_analysis_of_variance():
    # of the balanced two-way table: (MS_profile + MS_personality - MS_rest) / n with Satterthwaite's df
    z = derive_rng(3, "anova").normal(size=(20, 5)) + np.arange(5) + np.arange(20)[:, None] / 5
    grand = z.mean()
    rest = z - z.mean(1, keepdims=True) - z.mean(0, keepdims=True) + grand
    ms = [5 * np.sum((z.mean(1) - grand) ** 2) / 19, 20 * np.sum((z.mean(0) - grand) ** 2) / 4, np.sum(rest**2) / 76]
    total = ms[0] + ms[1] - ms[2]
    df = total**2 / (ms[0] ** 2 / 19 + ms[1] ** 2 / 4 + ms[2] ** 2 / 76)
    assert CROSSED.variance_of_mean(z.ravel()) == (pytest.approx(total / 100), pytest.approx(df))


def test_a_component_without_evidence_is_pooled():
    z = np.tile([0.0, 1.0], 50)  # personalities' means are equal by construction
    z = z.reshape(20, 5) - z.reshape(20, 5).mean(0)
    variance, df = CROSSED.variance_of_mean(z.ravel())
    assert variance > 0
    assert df > 4


def variance_table(z):
    """Mean squares of a balanced 20 x 5 table: profile, personality, rest."""
    rest = z - z.mean(1, keepdims=True) - z.mean(0, keepdims=True) + z.mean()
    return [20 * 5 * np.var(z.mean(1)) / 19, 20 * 5 * np.var(z.mean(0)) / 4, np.sum(rest**2) / 76]


# the upper quarter point of F(4, 76) is 1.38
@pytest.mark.parametrize(("f", "pooled"), [(0.2, True), (1.3, True), (1.45, False), (3.0, False)])
def test_an_effect_counts_from_the_quarter_point_of_f(f, pooled):
    z = derive_rng(5, "pool").normal(size=(20, 5))
    z -= z.mean(1, keepdims=True)
    z -= z.mean(0)
    rest = variance_table(z)[2]
    z += np.sqrt(rest * 19 / 100) * np.repeat([[-1.0], [1.0]], 10, axis=0)  # profiles: F = 1, which is pooled
    z += np.sqrt(f * rest / 20) * np.array([-2, -1, 0, 1, 2]) / np.sqrt(2.5)
    profile, personality, rest = variance_table(z)
    assert (profile / rest, personality / rest) == pytest.approx((1, f))
    variance, df = CROSSED.variance_of_mean(z.ravel())
    if pooled:
        assert (variance, df) == (pytest.approx((4 * personality + 95 * rest) / 99 / 100), pytest.approx(99))
    else:
        assert (variance, df) == (pytest.approx(personality / 100), pytest.approx(4))


def test_sums_of_effects_without_any_rest():
    z = derive_rng(6, "additive").normal(size=(20, 1)) + derive_rng(7, "additive").normal(size=5)
    variance, df = CROSSED.variance_of_mean(z.ravel())
    ms = variance_table(z)
    assert variance == pytest.approx((ms[0] + ms[1]) / 100)
    assert df == pytest.approx((ms[0] + ms[1]) ** 2 / (ms[0] ** 2 / 19 + ms[1] ** 2 / 4))


@pytest.mark.parametrize(
    ("profiles", "personalities"),
    [([0] * 12, list(range(12))), (list(range(12)), [0] * 12), ([0] * 12, [0] * 12), (["a"] * 6 + ["b"] * 6, [0] * 12)],
    ids=["one profile", "one personality", "one of both", "two profiles"],
)
def test_small_designs_have_a_finite_interval(profiles, personalities):
    values = derive_rng(8, "small").normal(size=12)
    found = mean_interval(values, Clusters(profiles, personalities))
    assert found is not None
    assert 0 < found.se < np.inf
    assert 1 <= found.df <= 11
    if len({*profiles}) in (1, 12):  # nothing can be shared that varies
        assert found == mean_interval(values)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.9), st.sampled_from([0.0, 0.3, 3.0]))
def test_variance_is_never_negative_whatever_is_missing(seed, missing, effect):
    rng = derive_rng(seed, "gaps")
    values = rng.normal(size=100) + effect * np.tile(rng.normal(size=5), 20)
    values[rng.random(100) < missing] = np.nan
    found = mean_interval(values, CROSSED)
    n = int(np.isfinite(values).sum())
    if n < 2:
        assert found is None
        return
    assert found is not None
    assert np.isfinite([found.low, found.high, found.se, found.df]).all()
    assert found.se > 0
    assert 1 <= found.df <= n - 1


def test_scale_does_not_matter():
    values = derive_rng(9, "scale").normal(size=100) + np.tile(derive_rng(10, "scale").normal(size=5), 20)
    one, million = mean_interval(values, CROSSED), mean_interval(1e6 * values, CROSSED)
    tiny = mean_interval(1e-9 * values, CROSSED)
    assert one is not None and million is not None and tiny is not None
    assert million.se == pytest.approx(1e6 * one.se)
    assert tiny.se == pytest.approx(1e-9 * one.se)
    assert one.df == pytest.approx(million.df) == pytest.approx(tiny.df)


@settings(deadline=None)
@given(arrays(float, 30, elements=st.floats(-5, 5, width=32)), st.randoms(use_true_random=False))
def test_interval_does_not_depend_on_names_or_order(values, random):
    profiles, personalities = [i // 5 for i in range(30)], [i % 5 for i in range(30)]
    order = list(range(30))
    random.shuffle(order)
    first = mean_interval(values, Clusters(profiles, personalities))
    second = mean_interval(
        values[order], Clusters([f"p{profiles[i]}" for i in order], [f"t{personalities[i]}" for i in order])
    )
    assert first is not None
    assert second is not None
    assert first.value == pytest.approx(second.value, abs=1e-9)
    assert first.se == pytest.approx(second.se, abs=1e-6)
    assert first.low <= first.value <= first.high


def test_equal_values_have_an_interval_without_width():
    found = mean_interval([2.5] * 100, CROSSED)
    assert found is not None
    assert (found.low, found.high, found.se) == (2.5, 2.5, 0.0)


def test_too_few_values():
    assert mean_interval([]) is None
    assert mean_interval([1.0]) is None
    assert mean_interval([1.0, np.nan]) is None


@pytest.mark.parametrize(
    ("profiles", "personalities", "groups"),
    [
        ([1, 1, 2, 2, 3, 3], [0] * 6, [6, 3]),  # one personality tells nothing about personalities
        ([1, 1, 2, 2, 3, 3], [7, 7, 8, 8, 9, 9], [6, 3]),  # each profile has its own personality
        (list(range(6)), [0, 0, 0, 1, 1, 1], [6, 2]),  # own profiles, shared personalities
        ([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1], [6, 3, 2]),
        ([0] * 6, [0] * 6, [6]),
    ],
)
def test_only_separable_partitions_remain(profiles, personalities, groups):
    found = Clusters(profiles, personalities)
    assert [int(codes.max()) + 1 for codes in found.partitions] == groups


def test_several_personas_of_one_cell():
    profiles, personalities = [i // 10 for i in range(100)], [(i // 2) % 5 for i in range(100)]
    found = Clusters(profiles, personalities)
    assert [int(codes.max()) + 1 for codes in found.partitions] == [100, 50, 10, 5]
    assert len(found.shared) == 2  # cells are no label of their own


def test_clusters_refuse_labels_of_different_length():
    with pytest.raises(ValueError, match="same length"):
        Clusters([1, 2], [1])


def share_covered(draw, clusters, n_runs, name):
    hits = 0
    for run in range(n_runs):
        found = mean_interval(draw(derive_rng(1, name, run)), clusters)
        hits += found is not None and found.low <= 0.0 <= found.high
    return hits / n_runs


def crossed_draw(profile_share, personality_share):
    def draw(rng):
        own = np.sqrt(1 - profile_share - personality_share)
        profile = np.sqrt(profile_share) * rng.normal(size=20).repeat(5)
        personality = np.tile(np.sqrt(personality_share) * rng.normal(size=5), 20)
        return profile + personality + own * rng.normal(size=100)

    return draw


# 600 runs: the binomial spread of 0.95 is +-0.018
@pytest.mark.parametrize(("profile", "personality"), [(0.25, 0.25), (0.0, 0.1), (0.1, 0.5), (0.0, 0.0)])
def test_intervals_cover_on_crossed_personas(profile, personality):
    covered = share_covered(crossed_draw(profile, personality), CROSSED, 600, f"{profile}/{personality}")
    assert 0.92 <= covered <= 0.985


def test_ignoring_the_personalities_does_not_cover():
    covered = share_covered(crossed_draw(0.25, 0.25), Clusters.independent(100), 300, "ignored")
    assert covered < 0.75


def test_intervals_cover_with_gaps():
    draw = crossed_draw(0.25, 0.25)

    def with_gaps(rng):
        values = draw(rng)
        values[rng.random(100) < 0.2] = np.nan
        return values

    assert 0.92 <= share_covered(with_gaps, CROSSED, 400, "gaps") <= 0.98


def test_bootstrap_counts_keep_groups_together():
    weights = CROSSED.draw_weights(derive_rng(0, "w"), 50).reshape(50, 20, 5)
    for draw in weights:
        assert np.linalg.matrix_rank(draw) == 1  # profile count x personality count
    assert np.all(Clusters.independent(7).draw_weights(derive_rng(0, "w"), 20).sum(axis=1) == 7)


def test_bootstrap_interval():
    draws = derive_rng(0, "draws").normal(7, 2, 20_000)
    assert bootstrap_interval(5.0, draws) == pytest.approx((5 - 1.96 * 2, 5 + 1.96 * 2), abs=0.1)
    assert bootstrap_interval(1.0, [np.nan, np.nan, 1.0]) is None
    assert bootstrap_interval(1.0, []) is None


def test_kappa_known_answer():
    # 2 x 2 table 20, 5 / 10, 15: observed 0.7, expected 0.5
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)


def test_kappa_weights_and_edges():
    assert cohen_kappa([1, 2, 3], [1, 2, 3], "quadratic") == 1.0
    near = cohen_kappa([1, 2, 3, 4, 5], [2, 3, 4, 5, 5], "quadratic")
    plain = cohen_kappa([1, 2, 3, 4, 5], [2, 3, 4, 5, 5])
    assert near is not None
    assert plain is not None
    assert near > 0.7 > plain
    assert cohen_kappa([], []) is None
    assert cohen_kappa([1, 1], [1, 1]) is None
    with pytest.raises(ValueError, match="same items"):
        cohen_kappa([1], [1, 2])


def test_spearman_and_ranks():
    assert rank([10, 20, 20, 5]).tolist() == [2.0, 3.5, 3.5, 1.0]
    assert spearman([1, 2, 3, 4], [1, 8, 27, 64]) == pytest.approx(1.0)
    assert spearman([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]) == pytest.approx(0.8208, abs=1e-4)
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    assert pearson([1, 2, np.nan], [2, 4, 9]) == pytest.approx(1.0)
