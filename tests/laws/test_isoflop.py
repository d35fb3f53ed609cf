"""Approaches 1 and 2 on surfaces whose optimum is known, their known faults, and the rollout."""

import numpy as np
import pytest
from refusals import one_line

from scalept_lab.errors import InputError
from scalept_lab.laws import formulas
from scalept_lab.laws.isoflop import _scatter, best_runs, group, parabolas, rollout

BUDGETS = np.geomspace(1e18, 1e21, 5)


def surface(alpha, beta):
    return formulas.NamedLaw(
        "", "chinchilla", {"E": 1.7, "A": 400.0, "B": 1000.0, "alpha": alpha, "beta": beta}, ""
    )


def slices(law, spread=8.0, sizes=9, shift=1.0, noise=0.0, seed=0):
    """Runs at each budget, sizes spread evenly (in log) around `shift` times the true optimum."""
    C = np.repeat(BUDGETS, sizes)
    centre = np.array([law.optimal(c).N for c in C]) * shift
    N = centre * np.tile(np.geomspace(1 / spread, spread, sizes), len(BUDGETS))
    D = C / 6 / N
    return N, D, law(N, D) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(N)))


def test_parabolas_are_exact_on_a_symmetric_surface():
    law = surface(0.35, 0.35)
    found = parabolas(*slices(law))
    assert (found.a, found.b) == pytest.approx((law.a, law.b), abs=1e-6)
    assert found.D(1e22) == pytest.approx(law.optimal(1e22).D, rel=1e-6)
    assert not found.warnings


def test_parabolas_on_an_asymmetric_surface_get_the_exponent_right_and_the_data_wrong():
    law = surface(0.34, 0.28)
    found = parabolas(*slices(law))
    assert (found.a, found.b) == pytest.approx((law.a, law.b), abs=1e-6)
    off = found.D(1e22) / law.optimal(1e22).D - 1
    assert 0.02 < abs(off) < 0.2
    assert found.N(1e22) * found.D(1e22) * 6 == pytest.approx(1e22, rel=1e-6)
    narrow = parabolas(*slices(law, spread=3)).D(1e22) / law.optimal(1e22).D - 1
    assert abs(narrow) < abs(off) / 2  # the further from the optimum, the less a parabola fits


def test_sizes_far_from_the_valley_do_not_rule():
    """Sizes from 1/1000 of the optimum to 1000 times it: those beyond a factor of 10 of the best change nothing."""
    law = surface(0.34, 0.28)
    N, D, L = slices(law, spread=1000, sizes=19)
    found = parabolas(N, D, L)
    inside = np.abs(np.tile(np.linspace(-1, 1, 19), 5) * np.log(1000)) <= np.log(10)
    assert [len(s.index) for s in found.slices] == [19] * 5 and [len(s.near) for s in found.slices] == [7] * 5
    alone = parabolas(N[inside], D[inside], L[inside])
    assert (found.a, found.k) == pytest.approx((alone.a, alone.k))
    assert abs(found.D(1e22) / law.optimal(1e22).D - 1) < 0.05  # 27 % off with all
    coarse = parabolas(*slices(law, spread=1000, sizes=5))  # no others than five
    assert [len(s.near) for s in coarse.slices] == [5] * 5


def test_budgets_may_be_close_where_their_compute_is_exact():
    """8 budgets × 1.24 apart, five sizes each, once more with a run astray between two of them; and in pairs."""
    law = formulas.NamedLaw(
        "", "chinchilla", {"E": 1.8, "A": 480, "B": 2000, "alpha": 0.35, "beta": 0.37}, ""
    )
    C = np.repeat(1e19 * 1.24 ** np.arange(8), 5)
    N = np.array([law.optimal(c).N for c in C]) * np.tile(np.geomspace(1 / 4, 4, 5), 8)
    for given in (C, None):
        found = parabolas(N, C / 6 / N, law(N, C / 6 / N), given)
        assert len(found.slices) == 8 and found.a == pytest.approx(0.514, abs=5e-4)
    astray = group(np.append(C, 1.1e19), np.append(N, 1e8))
    assert sorted(map(len, astray)) == [1] + [5] * 8
    pairs = C * 10.0 ** np.repeat(np.arange(4), 10)
    assert [len(part) for part in group(pairs, N)] == [5] * 8
    planned = C * np.tile([1, 1.005, 0.995, 1.01, 1], 8)
    assert [len(part) for part in group(planned, N)] == [5] * 8


@pytest.mark.parametrize("seed", range(20))
def test_budgets_that_scatter_are_found_where_they_are_far_apart(seed):
    rng = np.random.default_rng(seed)
    C = np.repeat(1e10 * 2.15 ** np.arange(6), 5) * np.exp(rng.uniform(-0.06, 0.06, 30))
    mixed = rng.permutation(30)
    found = group(C[mixed], np.tile(np.arange(1, 6.0), 6)[mixed])
    assert [sorted(mixed[part]) for part in found] == [list(range(5 * i, 5 * i + 5)) for i in range(6)]


def test_seeds_of_one_size_are_no_budget_of_their_own():
    """Three sizes with three seeds each: the compute is exact within a size, and off by 8 % between two."""
    C, N = np.repeat([1e10, 1.08e10, 1.16e10, 1e11], 3), np.repeat([1.0, 2.0, 3.0, 1.0], 3)
    assert [len(part) for part in group(C, N)] == [9, 3]


@pytest.mark.parametrize(("runs", "seed"), [(240, 0), (240, 1), (24, 0), (24, 1)])
def test_runs_that_form_no_budgets_get_no_answer(runs, seed):
    rng = np.random.default_rng(seed)
    law = surface(0.34, 0.28)
    N, D = np.exp(rng.uniform(np.log([[1e7], [1e9]]), np.log([[1e10], [1e12]]), (2, runs)))
    for estimate in (parabolas, best_runs):
        one_line(lambda: estimate(N, D, law(N, D)), "in budgets of equal compute", f" of {runs} runs")  # noqa: B023


def studies(sizes, budgets, factor, seeds):
    """Share of studies whose 95 % interval holds the true exponent; every other budget is `factor` times as noisy."""
    law, hits = surface(0.35, 0.35), 0
    C = np.repeat(np.geomspace(1e18, 1e21, budgets), sizes)
    N = np.array([law.optimal(c).N for c in C]) * np.tile(np.geomspace(1 / 4, 4, sizes), budgets)
    sigma = 0.002 * np.repeat(np.where(np.arange(budgets) % 2, factor, 1.0), sizes)
    for seed in range(seeds):
        L = law(N, C / 6 / N) + sigma * np.random.default_rng(seed).standard_normal(len(N))
        low, high = parabolas(N, C / 6 / N, L, C, bootstrap=400, seed=seed).interval95["a"]
        hits += low <= law.a <= high
    return hits / seeds


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("factor", [1, 5])
def test_the_interval_of_the_exponent_covers_with_equal_and_with_unequal_noise(factor):
    assert 0.91 <= studies(7, 6, factor, 100) <= 0.99


def test_a_noisy_budget_does_not_lend_its_noise_to_the_others():
    """Five budgets of nine, the last 30 times as noisy: without it the interval is as if it had never been there."""
    law = surface(0.35, 0.35)
    N, D, L = slices(law, spread=4, noise=0.001, seed=3)
    L[-9:] *= np.exp(0.03 * np.random.default_rng(4).standard_normal(9))
    found = parabolas(N, D, L)
    sigma = _scatter(
        np.array([np.sum((L[s.near] - np.polyval(s.parabola, np.log(N[s.near]))) ** 2) for s in found.slices]),
        np.full(5, 6.0), 2000, np.random.default_rng(0),
    )  # fmt: skip
    typical = np.median(sigma, axis=0)
    assert (typical[:4] < 0.005).all() and typical[4] > 0.03


@pytest.mark.filterwarnings("error")
def test_redraws_without_a_valley_are_left_out_and_counted():
    """Five sizes in two budgets, noise as large as the valley is deep; then so large that most redraws have none."""
    t = np.arange(-2, 3)
    some = parabolas(*five_sizes(*(2 + 0.05 * t**2 + 0.1 * np.array([-1, 2, 0, -2, 1]))), bootstrap=500)
    (said,) = [w for w in some.warnings if "redraws left out" in w]
    assert 0 < int(said.split()[0]) < 250 and np.isfinite(some.interval95["a"]).all()
    most = parabolas(*five_sizes(*(2 + 0.001 * t**2 + 0.3 * np.array([-1, 2, 0, -2, 1]))), bootstrap=500)
    assert most.interval95 == {
        "a": (-np.inf, np.inf), "b": (-np.inf, np.inf), "k": (0, np.inf), "m": (0, np.inf)
    }  # fmt: skip


def test_best_runs_know_only_the_sizes_tried():
    law = surface(0.34, 0.28)
    N, D, L = slices(law, spread=8, sizes=5, shift=1.3)
    found = best_runs(N, D, L)
    assert {s.N_opt for s in found.slices} <= set(np.exp(np.log(N)))
    assert found.k != pytest.approx(parabolas(N, D, L).k, rel=0.02)


def test_intervals_cover_and_shrink_with_noise():
    law = surface(0.34, 0.28)
    hits = 0
    for seed in range(40):
        found = parabolas(*slices(law, noise=0.003, seed=seed), bootstrap=300, seed=seed)
        hits += found.interval95["a"][0] <= law.a <= found.interval95["a"][1]
    assert hits >= 34
    law = surface(0.35, 0.35)  # elsewhere the misfit of the parabola counts as noise too
    quiet = parabolas(*slices(law, spread=3, noise=0.0003), bootstrap=300).interval95["a"]
    loud = parabolas(*slices(law, spread=3, noise=0.003), bootstrap=300).interval95["a"]
    assert np.ptp(quiet) < np.ptp(loud) / 4
    assert best_runs(*slices(law, noise=0.003), bootstrap=100).interval95["b"][0] < law.b + 0.1


@pytest.mark.parametrize("estimate", [parabolas, best_runs])
@pytest.mark.parametrize(("shift", "side"), [(20.0, "smallest"), (0.05, "largest")])
def test_an_optimum_at_the_edge_is_called_out(estimate, shift, side):
    found = estimate(*slices(surface(0.34, 0.28), spread=4, shift=shift))
    assert len(found.warnings) == len(BUDGETS)
    assert side in found.warnings[0]


def five_sizes(*losses):
    """Two budgets of five sizes, log N at −2 to 2 around 10 and 20, with the same losses."""
    t = np.tile(np.arange(-2.0, 3.0), 2)
    C, N = np.repeat([1e9, 1e11], 5), np.exp(t + np.repeat([10.0, 20.0], 5))
    return N, C / 6 / N, np.tile(np.array(losses), 2), C


def test_the_vertex_by_hand():
    """2 + (t − 0.3)² at t = −2 … 2."""
    N, D, L, C = five_sizes(*(2 + (t - 0.3) ** 2 for t in range(-2, 3)))
    found = parabolas(N, D, L, C)
    assert [s.loss for s in found.slices] == pytest.approx([2, 2]) and not found.warnings
    assert [np.log(s.N_opt) for s in found.slices] == pytest.approx([10.3, 20.3])
    assert found.slices[0].D_opt == pytest.approx(1e9 / 6 / np.exp(10.3))
    assert found.a == pytest.approx(10 / np.log(100)) and found.b == pytest.approx(1 - found.a)
    best = best_runs(N, D, L, C)
    assert [s.loss for s in best.slices] == [2 + 0.3**2] * 2 and np.log(
        best.slices[1].N_opt
    ) == pytest.approx(20)


def test_the_parabola_is_one_over_the_plain_logarithm():
    """2 + (t − 10.3)² = t² − 20.6 t + 108.09."""
    found = parabolas(*five_sizes(*(2 + (t - 0.3) ** 2 for t in range(-2, 3))))
    assert found.slices[0].parabola == pytest.approx((1, -20.6, 108.09))
    assert found.N(1e10) == pytest.approx(np.exp(15.3)) and found.k == pytest.approx(found.N(1.0))
    assert found.D(1e10) == pytest.approx(1e10 / 6 / np.exp(15.3)) and found.m == pytest.approx(found.D(1.0))
    assert found.interval95 == {} and [s.index.tolist() for s in found.slices] == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
    ]


def test_the_interval_of_the_exponent_by_hand():
    """Misses of s·(−1, 2, 0, −2, 1), which no parabola follows: 10 s² in each budget, 20 s² in all with 4 degrees of freedom.

    The variance of the noise is then 5 s², that of p1 a tenth and that of p2 a fourteenth of it. The vertex −p1/(2·p2) varies
    by 1/4 of the one and 0.09 of the other, the exponent is the difference of two over ln 100, and Student's t with 4 degrees of
    freedom holds 95 % within 2.776 standard deviations.
    """
    s = 0.01
    off = s * np.array([-1, 2, 0, -2, 1])
    found = parabolas(*five_sizes(*(2 + (np.arange(-2, 3) - 0.3) ** 2 + off)), bootstrap=10_000)
    half = 2.776 * s * np.sqrt(2 * 5 * (1 / 40 + 0.09 / 14)) / np.log(100)
    low, high = found.interval95["a"]
    assert (found.a - low, high - found.a) == pytest.approx((half, half), rel=0.06)
    low, high = found.interval95["b"]
    assert (found.b - low, high - found.b) == pytest.approx((half, half), rel=0.06)


def test_a_budget_is_the_geometric_mean_of_its_runs_and_no_wider_than_a_tenth_of_a_decade():
    N, D, L, C = five_sizes(5, 3, 2, 3, 5)
    C = C * np.tile([1, 1, 1, 1, 1.2], 2)
    assert parabolas(N, D, L, C).slices[0].C == pytest.approx(1e9 * 1.2**0.2)
    for width, parts in ((1.25, [4]), (1.27, [3, 1])):
        assert [len(part) for part in group(np.array([1, 1, 1, width]), np.arange(4.0))] == parts
    # 20 % wide: two widths from the next they are one budget, nearer than that they are not
    for away, parts in ((1.2 * 1.45, [3, 1]), (1.2 * 1.43, [1, 1, 1, 1])):
        assert [len(part) for part in group(np.array([1, 1.1, 1.2, away]), np.arange(4.0))] == parts


def test_both_the_vertex_and_the_best_run_must_lie_inside():
    """Losses 4, 3, 2, 1, 1.01 have their lowest inside and the vertex at t = 2.77, beyond; 0.9, 1, 1, 4, 9 the other way
    round: the lowest is the smallest size, the vertex at t = −1.05, inside."""
    beyond, lowest = parabolas(*five_sizes(4, 3, 2, 1, 1.01)), parabolas(*five_sizes(0.9, 1, 1, 4, 9))
    assert [np.log(found.slices[0].N_opt) - 10 for found in (beyond, lowest)] == pytest.approx(
        [2.77, -1.05], abs=0.01
    )
    assert len(beyond.warnings) == 2 and "at or beyond the largest tried" in beyond.warnings[0]
    assert len(lowest.warnings) == 2 and "at or beyond the smallest tried" in lowest.warnings[0]


@pytest.mark.parametrize("estimate", [parabolas, best_runs])
def test_every_interval_is_around_its_estimate(estimate):
    found = estimate(*slices(surface(0.35, 0.35), noise=0.003), bootstrap=300)
    for name in ("a", "b", "k", "m"):
        low, high = found.interval95[name]
        assert 0 < low <= getattr(found, name) * 1.0001 and getattr(found, name) <= high * 1.0001


@pytest.mark.filterwarnings("error")
def test_a_valley_without_a_bottom_in_sight_is_beyond_the_edge():
    """Losses that fall in a line but for 1e-9: the vertex lies beyond any float in one budget, and rules nothing."""
    t = np.arange(-2, 3)
    N, D, L, C = five_sizes(*(2 + (t - 0.3) ** 2))
    N, D, C = (
        np.append(N, np.exp(t + 30.0)),
        np.append(D, 1e13 / 6 / np.exp(t + 30.0)),
        np.append(C, [1e13] * 5),
    )
    found = parabolas(N, D, np.append(L, 3 - 0.1 * t + 1e-9 * t**2), C)
    assert found.a == pytest.approx(10 / np.log(100)) and "at or beyond the largest" in found.warnings[0]


def test_slices_without_a_minimum_are_left_out():
    N, D, L = slices(surface(0.34, 0.28))
    L[:9] = 5 - (np.arange(9) - 4.0) ** 2 / 50
    found = parabolas(N, D, L, bootstrap=20)
    assert "no minimum" in found.warnings[0] and np.isnan(found.slices[0].N_opt)
    assert found.a == pytest.approx(surface(0.34, 0.28).a, abs=1e-6)
    with pytest.raises(InputError, match="fewer than two budgets"):
        parabolas(N, D, np.tile(L[:9], 5))


def test_runs_of_nearly_equal_compute_are_one_budget():
    groups = group(np.array([1e10, 1.05e10, 3e10, 0.97e10, 3.1e10]), np.arange(5.0))
    assert [sorted(map(int, g)) for g in groups] == [[0, 1, 3], [2, 4]]


def test_a_budget_with_two_sizes_is_left_out_aloud():
    N, D, L = (v[:-7] for v in slices(surface(0.34, 0.28)))
    found = parabolas(N, D, L)
    assert len(found.slices) == 4 and "2 of the three sizes" in found.warnings[0]


def test_bad_input():
    N, D, L = slices(surface(0.34, 0.28))
    with pytest.raises(InputError, match="two budgets"):
        parabolas(N[:9], D[:9], L[:9])
    with pytest.raises(InputError, match="C: expected 45"):
        parabolas(N, D, L, C=np.ones(3))
    with pytest.raises(InputError, match="no scatter"):
        N, D, L = slices(surface(0.34, 0.28), sizes=3)
        parabolas(N, D, L, bootstrap=10)


def test_rollout_scores_each_step_on_runs_not_yet_seen():
    law = surface(0.34, 0.28)
    table = rollout(*slices(law, noise=0.003), steps=3, bootstrap=200)
    assert [row["fitted"] for row in table] == [22, 30, 38]
    assert sum(row["scored"] for row in table) == 45 - 22
    assert all(row["C_scored"] > row["C_fitted"] for row in table)
    assert all(abs(row["error_percent"]) < 1.5 for row in table)
    assert np.mean([row["inside"] for row in table]) > 0.8
    # a law that bends: what the small runs say is wrong for the large ones, and the rollout shows it
    N, D, L = slices(law)
    bent = rollout(N, D, L * (1 + 0.02 * np.log10(6 * N * D / 1e18) ** 2), steps=2, bootstrap=100)
    assert max(abs(row["error_percent"]) for row in bent) > 1.5
    with pytest.raises(InputError, match="at least 11 runs"):
        rollout(N[:10], D[:10], L[:10])


def test_rollout_says_how_far_off_it_was():
    """Every run of the last part came out 3 % above the law, but one 5 %: mean, largest in size, and none inside."""
    N, D, L = slices(surface(0.34, 0.28), sizes=4)
    order = np.argsort(6 * N * D, kind="stable")
    L[order[15:]] *= 1.03
    L[order[16]] *= 1.05 / 1.03
    (row,) = rollout(N[order[:20]], D[order[:20]], L[order[:20]], steps=1, bootstrap=50)
    assert (row["fitted"], row["scored"]) == (10, 10)
    assert row["error_percent"] == pytest.approx((4 * 3 + 5) / 10, abs=0.02)
    assert row["worst_percent"] == pytest.approx(5, abs=0.02) and row["inside"] == pytest.approx(
        0.5, abs=0.11
    )
    with pytest.raises(InputError, match="expected at least 9 runs for 0 steps"):
        rollout(N[:9], D[:9], L[:9], steps=0)
