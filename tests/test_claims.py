"""The registry: its claims hold on the standard maps, and each of them can fail."""

from dataclasses import replace

import numpy as np
import pytest
from rich.cells import cell_len

import faqd_math as fm
from faqd_math import claims, losses
from faqd_math.claims import (
    Evidence,
    audit,
    audit_training,
    chance,
    costs,
    estimates,
    floating_point,
    identities,
    quantizers,
    subjects,
    tails,
)
from faqd_math.claims import estimators as claim_estimators
from faqd_math.claims.standard_cases import standard_pairs, standard_weights
from faqd_math.claims.statements import STATEMENTS
from faqd_math.claims.verification import holm_limit
from faqd_math.confidence import mean_estimate
from faqd_math.quantize import Projection
from faqd_math.quantize import alternating_projection as alternating
from faqd_math.released import losses as released
from faqd_math.theory import moments, order_one

FALSE_ALARM = 1e-6


@pytest.fixture(scope="module")
def standard():
    rng = np.random.default_rng(0)
    pairs = standard_pairs(rng, side=6, batch=2)
    return claims.verification_subjects(pairs, standard_weights(rng), samples=1)


def check(claim_id, given, seed=1):
    claim = next(c for c in claims.CLAIMS if c.id == claim_id)
    of_claim = [subject for subject in given if isinstance(subject, claim.on)]
    sampling = claims.Sampling((seed,), 2000, FALSE_ALARM / len(of_claim), k=15)
    return {s.name: claim.check(s, sampling.of(claim_id, s)) for s in of_claim}


@pytest.mark.parametrize("claim_id", [claim.id for claim in claims.CLAIMS])
def test_every_claim_holds_on_the_standard_subjects(claim_id, standard):
    """At a false-alarm rate of 1e-6 for each claim."""
    for name, evidence in check(claim_id, standard).items():
        assert evidence.holds, (name, evidence)
        assert evidence.p_value is None or evidence.p_value > FALSE_ALARM


def test_every_claim_is_stated_and_every_statement_claimed():
    assert sorted(claim.id for claim in claims.CLAIMS) == sorted(STATEMENTS)
    for claim_id, said in STATEMENTS.items():
        for field, text in vars(said).items():
            assert text.strip(), f"{claim_id} lacks its {field}"
        assert cell_len(said.sentence) <= 60, claim_id


def scaled(function, factor):
    return lambda *args, **kwargs: factor * function(*args, **kwargs)


def stale_probes(n, k, *, rng, law="gaussian", batch=None):
    return np.broadcast_to(fm.sample_probes(n, k, law=law, rng=rng), (batch or 1, n, k))


SLIGHTLY = 1 + 1e-9


def epsilon_in_the_norm(student, teacher, **options):
    padded = np.concatenate([student, np.full((1, *student.shape[1:]), 1e-3)])
    return fm.fa_loss(padded, teacher, **options)


def with_step_scaled(weights, bits, factor):
    values, codes, step = fm.quantize.project_weights(weights, bits)
    return Projection(factor * values, codes, factor * step)


def from_values(values):
    step = np.abs(values).max() or 1.0
    return Projection(values, np.rint(values / step).astype(int), step)


def rising(weights, bits, **options):
    projection, errors = alternating(weights, bits, **options)
    return projection, errors[::-1]


def inside_without_its_right_end(x, bits, step):
    return fm.quantize.activation_derivatives(np.nextafter(x, np.inf), bits, step)


def rounded_to_nearest(x, bits, step):
    return step * np.rint(x / step).clip(0, 2**bits - 1)


def without_reseeding(n, k, *, rng, **_):
    return fm.sample_probes(n, k, rng=rng)


def unrooted(student, teacher, probes, **_):
    """FFA itself, in the units of its root."""
    return fm.ffa_loss(student, teacher, probes) / np.sqrt(fm.fa_loss(student, teacher))


def by_gram(student, teacher, method="auto"):
    """Cancel where the method asked for does not."""
    del method
    return fm.fa_loss(student, teacher, method="gram")


#: Places in the code and a wrong function there, one or more a claim.
PLANTED = [
    ("I1", identities, "affinity", scaled(fm.affinity, SLIGHTLY)),
    ("I2", identities, "fa_loss", epsilon_in_the_norm),
    ("I3", identities, "fa_loss", scaled(fm.fa_loss, 100.0)),
    (
        "I4",
        identities,
        "fa_loss",
        lambda s, t, method: fm.fa_loss(s, t) * (SLIGHTLY ** len(method)),
    ),
    ("I5", identities, "fa_loss", scaled(fm.fa_loss, SLIGHTLY)),
    ("I6", subjects, "gap_spectrum", lambda s, t: np.abs(fm.gap_spectrum(s, t))),
    ("I7", identities, "ffa_loss", scaled(fm.ffa_loss, SLIGHTLY)),
    ("I8", identities, "fa_gradient", scaled(fm.fa_gradient, 0.5)),
    ("I8", identities, "fa_gradient", lambda s, t: fm.fa_gradient(s, t) + 1e-9 * s),
    ("I9", identities, "ffa_gradient", scaled(fm.ffa_gradient, 0.5)),
    ("I9", identities, "ffa_gradient", lambda s, t, z: fm.ffa_gradient(s, t, z) + 1e-6 * s),
    ("I10", identities, "ffa_mean", scaled(order_one.ffa_mean, 0.5)),
    ("P1", estimates, "ffa_loss", scaled(fm.ffa_loss, 1.1)),
    ("P2", estimates, "sample_probes", stale_probes),
    ("P3", moments, "rademacher_variance", scaled(moments.rademacher_variance, 0.5)),
    ("P4", moments, "sphere_variance", scaled(moments.sphere_variance, 0.5)),
    ("P5", moments, "third_cumulant", scaled(moments.third_cumulant, 1.0001)),
    ("P7", moments, "root_mean", lambda spectrum, k: biased_root(spectrum, 1e9 * k)),
    ("P7", moments, "root_mean", lambda spectrum, k: biased_root(spectrum, k / 2)),
    ("P8", moments, "gradient_noise", scaled(moments.gradient_noise, 1.25)),
    ("P9", order_one, "ffa_mean", fm.fa_loss),
    ("P10", order_one, "ffa_variance", scaled(order_one.ffa_variance, 2.0)),
    ("P11", order_one, "fa_order_one_estimate", scaled(order_one.fa_order_one_estimate, 1.2)),
    ("LAW", tails, "failure_probability", scaled(fm.law.failure_probability, 0.5)),
    ("B10", estimates, "sample_probes", lambda n, _, **o: fm.sample_probes(n, 1, **o)),
    ("B11", tails, "ffa_mean", scaled(order_one.ffa_mean, 2.0)),
    ("E1", claim_estimators, "sampled_fa_loss", scaled(fm.estimators.sampled_fa_loss, 1.1)),
    ("E2", claim_estimators, "sampled_variance", scaled(fm.estimators.sampled_variance, 1.5)),
    ("E3", claim_estimators, "deflated_probes", scaled(fm.estimators.deflated_probes, 1.1)),
    *(
        (claim_id, tails, "failure_probability", scaled(fm.law.failure_probability, 5.0))
        for claim_id in fm.bounds.gaussian_bounds()
    ),
    ("Q1", quantizers, "project_weights", lambda w, b: with_step_scaled(w, b, 1.001)),
    ("Q1", quantizers, "project_weights", lambda w, b: with_step_scaled(w, b, -1)),
    ("Q2", quantizers, "project_weights", lambda w, _: from_values(released.ternary(w))),
    ("Q2", quantizers, "project_weights", lambda w, _: Projection(w, np.sign(w).astype(int), 1.0)),
    ("Q3", quantizers, "project_weights", lambda w, b: alternating(w, b, iterations=9)[0]),
    (
        "Q3",
        quantizers,
        "project_weights",
        lambda w, b: fm.quantize.project_weights(w, min(b + 1, 8)),
    ),
    ("Q3", quantizers, "alternating_projection", rising),
    ("Q4", quantizers, "project_weights", lambda w, b: with_step_scaled(w, b, 1.001)),
    ("Q4", quantizers, "project_weights", lambda w, b: fm.quantize.project_weights(w + 0.1, b)),
    ("Q5", quantizers, "quantize_activations", rounded_to_nearest),
    ("Q5", quantizers, "activation_derivatives", inside_without_its_right_end),
    ("R1", released, "ffa_loss", lambda s, t, _, order: fm.fa_loss(s, t, order=order)),
    ("R1", audit, "_LARGEST_RATIO", 0.5),
    ("R2", audit_training, "sample_probes", lambda n, _, rng: fm.sample_probes(n, n, rng=rng)),
    ("R2", audit_training, "ffa_gradient", lambda s, t, _: fm.fa_gradient(s, t)),
    ("R3", audit_training, "reseeded_probes", without_reseeding),
    ("R4", released, "ffa_loss", lambda s, t, z, order: fm.ffa_loss(s, t, z, order=order)),
    ("R4", audit, "ffa_loss", lambda s, t, z, order: released.ffa_loss(s, t, z, order)),
    ("R5", released, "ffa_loss", unrooted),
    ("R5", moments, "root_mean", lambda spectrum, k: biased_root(spectrum, k / 2)),
    ("R6", released, "ffa_loss", lambda s, t, z: fm.ffa_loss(s, t, z, order=1)),
    ("R6", audit, "fa_loss", lambda s, t, order: fm.fa_loss(s, t, order=order, reduction="sum")),
    ("R7", audit_training, "parameter_groups", lambda student, adapters, **_: [student, adapters]),
    ("R7", audit_training, "parameter_groups", lambda student, _, **__: [student]),
    ("R8", audit_training, "QUANTIZED_GROUP", {"CIFAR": 1, "Tiny ImageNet": 1}),
    ("P6", moments, "shared_probes_variance", scaled(moments.shared_probes_variance, 1.5)),
    ("P6B", moments, "shared_probes_variance", scaled(moments.shared_probes_variance, 1.1)),
    ("P12", moments, "projected_loss", scaled(moments.projected_loss, 0.8)),
    ("P12", moments, "projected_loss", scaled(moments.projected_loss, 1.2)),
    ("C1", losses, "direct_total", losses.gram_total),
    ("C2", losses, "apply_gap", lambda x, y, z: (x.mT @ x - y.mT @ y) @ z),
    ("C3", losses, "gram_total", losses.direct_total),
    ("C4", losses, "apply_gap", lambda x, y, z: x.mT @ (x @ z - y @ z)),
    ("C5", losses, "cheapest_exact", lambda *_: "gram"),
    ("C5", losses, "cheapest_exact", lambda *_: "direct"),
    ("C6", losses, "gram_total", losses.direct_total),
    ("C6", costs.cost, "extra_bytes", scaled(fm.cost.extra_bytes, 0.9)),
    ("F1", floating_point, "fa_loss", by_gram),
    ("F2", floating_point, "fa_loss", scaled(fm.fa_loss, SLIGHTLY)),
    ("F3", floating_point, "fa_loss", by_gram),
    ("F4", floating_point, "ffa_loss", scaled(fm.ffa_loss, SLIGHTLY)),
    ("F5", floating_point, "fa_loss", by_gram),
    ("F5", floating_point, "fa_loss", scaled(fm.fa_loss, -1.0)),
]


def biased_root(spectrum, k):
    """P7 with its bias for any k: with a large one, hardly any."""
    return fm.moments.mean(spectrum) ** 0.5 * (1 - 1 / (4 * k * fm.effective_rank(spectrum)))


@pytest.mark.parametrize(
    ("claim_id", "module", "name", "wrong"), PLANTED, ids=[planted[0] for planted in PLANTED]
)
def test_every_claim_fails_on_a_planted_error(claim_id, module, name, wrong, standard, monkeypatch):
    monkeypatch.setattr(module, name, wrong)
    fresh = [replace(subject) for subject in standard]  # whose spectra are not computed yet
    assert not all(evidence.holds for evidence in check(claim_id, fresh).values())


def test_shared_probes_are_told_from_independent_ones(monkeypatch):
    maps = np.random.default_rng(6).standard_normal((2, 1, 3, 4, 4)).repeat(3, axis=1)
    batch = claims.Batch("three equal samples", *maps)
    assert check("P6", [batch])[batch.name].holds
    assert check("P6B", [batch])[batch.name].tightness == pytest.approx(1.0)
    monkeypatch.setattr(moments, "shared_probes_variance", moments.independent_probes_variance)
    assert not check("P6", [batch])[batch.name].holds


def test_every_claim_has_its_planted_error():
    assert {claim.id for claim in claims.CLAIMS} == {planted[0] for planted in PLANTED}


@pytest.mark.parametrize(
    ("evidence", "holds"),
    [
        (Evidence(1.1, 1.0, "<=", 0.2), True),
        (Evidence(1.3, 1.0, "<=", 0.2), False),
        (Evidence(0.0, 1.0, "<=", 0.2), True),
        (Evidence(0.7, 1.0, "=", 0.2), False),
        (Evidence(np.nan, 1.0, "=", 0.2), False),
        (Evidence(np.nan, 1.0, "<=", 0.2), False),
    ],
)
def test_evidence_holds_within_its_allowance_only(evidence, holds):
    assert evidence.holds is holds
    assert (evidence.strain <= 1) is holds


@pytest.mark.parametrize("factor", [0.0, 1.0, -2.5])
def test_pairs_without_a_gap_are_refused(factor):
    """Also where rounding leaves a gap: nothing relative can be said of it."""
    maps = np.random.default_rng(2).standard_normal((2, 3, 4, 4))
    student = maps if factor else np.zeros_like(maps)
    with pytest.raises(ValueError, match="student and teacher agree on every sample of same"):
        claims.cases_from_pairs({"same": (student, factor * maps)})
    teacher = np.stack([factor * maps[0], maps[0]])
    mixed = claims.cases_from_pairs({"mixed": (student, teacher)})
    assert [case.name for case in mixed] == ["mixed[1]"]


def test_a_gap_as_small_as_1e_10_is_verified():
    student, teacher = np.random.default_rng(3).standard_normal((2, 1, 3, 4, 4))
    (case,) = claims.cases_from_pairs({"close": (student, student + 1e-10 * teacher)})
    for claim_id in ("P1", "P2", "P5", "P8", "LAW", "B9"):
        assert check(claim_id, [case])[case.name].holds


@pytest.mark.parametrize("claim_id", ["B6", "B9"])
def test_wide_maps_whose_probabilities_underflow_pass(claim_id):
    student, teacher = np.random.default_rng(4).standard_normal((2, 1, 300, 20, 20))
    (case,) = claims.cases_from_pairs({"wide": (student, teacher)})
    assert check(claim_id, [case])[case.name].holds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replications": 10}, "replications is 10; an integer of at least 100"),
        ({"false_alarm": 2}, "false_alarm is 2; a finite number above 0 and below 1"),
        ({"k": 2}, "k is 2; an integer of at least 5"),
        ({"rng": 0}, "rng is a int"),
        ({"subjects": [claims.Standalone()]}, "I1 has no subject; at least one Case is accepted"),
    ],
)
def test_verify_refuses_bad_requests(options, message, standard):
    request = {"subjects": standard, "rng": np.random.default_rng(0)} | options
    with pytest.raises((TypeError, ValueError), match=message):
        claims.verify(claims.CLAIMS, **request)


@pytest.mark.parametrize(
    ("p_values", "refused"),
    [
        ([0.5, 0.04, 0.9], []),  # 0.04 > 0.05/3
        ([0.016, 0.024, 0.049], [0.016, 0.024, 0.049]),  # below 0.05/3, 0.05/2, 0.05/1
        ([0.001, 0.04, 0.03], [0.001]),  # 0.03 > 0.05/2 stops what 0.04 < 0.05/1 would pass
        ([0.0, 0.0], [0.0, 0.0]),
        ([], []),
    ],
)
def test_holm_steps_down(p_values, refused):
    limit = holm_limit(p_values, 0.05, len(p_values))
    assert [p for p in p_values if p <= limit] == refused


def test_p_values_of_true_claims_are_uniform_and_allowances_match_them():
    """Mean, rate and bound: of 4,000 p-values, shares below 0.05 and 0.3 within 4.9 σ (1e-6)."""
    rng = np.random.default_rng(11)
    sampling = claims.Sampling((0,), replications=100, false_alarm=0.05, k=5)
    trials = 4000
    means = [
        chance.estimate_is(mean_estimate(rng.standard_normal(400)), 0.0, sampling)
        for _ in range(trials)
    ]
    hits = rng.binomial(2000, 0.3, size=trials)
    rates = [chance.rate_is(int(h), 2000, 0.3, sampling) for h in hits]
    bounds = [chance.rate_is_at_most(int(h), 2000, 0.3, sampling) for h in hits]
    for found in (means, rates, bounds):
        for level in (0.05, 0.3):
            share = np.mean([e.p_value <= level for e in found])
            # Binomial tails are discrete: a p-value is at most its level, less by 1/√(2000) · 2.
            assert level - 0.035 - 4.9 * 0.0073 < share < level + 4.9 * 0.0073
        # 4 of a thousand may fall between the discrete quantile and its p-value.
        assert np.mean([e.holds != (e.p_value > 0.05) for e in found]) < 0.03


@pytest.mark.parametrize("wrong", [1.0, -1.0])
def test_a_detectable_deviation_is_detected_nine_times_in_ten(wrong):
    """Of 1,000 estimates off by just that; 870 to 930 at 3 σ."""
    rng = np.random.default_rng(5)
    sampling = claims.Sampling((0,), replications=100, false_alarm=1e-3, k=5)
    found = 0
    for _ in range(1000):
        samples = rng.standard_normal(2000)
        clean = chance.estimate_is(mean_estimate(samples), 0.0, sampling)
        moved = chance.estimate_is(mean_estimate(samples), wrong * clean.detectable, sampling)
        found += not moved.holds
    assert 870 <= found <= 930
