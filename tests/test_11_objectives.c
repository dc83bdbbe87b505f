/* Chapter 11: L on finite MDPs against enumeration, finite differences and improvement by gradient. */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"

enum { N_MDPS = 100,
       MAX_S = 6,
       MAX_A = 4,
       MAX_T = 4 };

static void make_mdp(bp_mdp *m, bp_rng *rng, int i) {
    bp_error e;
    const size_t S = 2 + (size_t)i % 5, A = 2 + (size_t)(i / 5) % 3;
    *rng = bp_rng_make(2000 + (uint64_t)i, 11);
    bpt_ok(bp_mdp_create(m, S, A, 0.5 + 0.045 * (double)(i % 11), NULL, &e), &e);
    bp_mdp_random(m, rng, i % 3 == 0 ? 1 : i % 3 == 1 ? 2
                                                      : 0);
    if (i % 4 == 3) m->terminal[S - 1] = true;
}

/* E2, E4: L = E_p0 V of the soft evaluation, and its two parts add up. */
static void test_objective(void **state) {
    int i;
    (void)state;
    for (i = 0; i < N_MDPS; i++) {
        bp_mdp m;
        bp_rng rng;
        bp_error e;
        bp_objective o, free_of_charge;
        double pi[MAX_S * MAX_A], pi0[MAX_S * MAX_A], V[MAX_S], L = 0, J = 0;
        size_t s;
        make_mdp(&m, &rng, i);
        bp_mdp_random_policy(pi, &rng, m.S, m.A);
        bp_mdp_random_policy(pi0, &rng, m.S, m.A);
        /* [e4_test] */
        bpt_ok(bp_mdp_objective(&o, &m, pi, i % 2 ? pi0 : NULL, 0.4, &e), &e);
        bpt_ok(bp_mdp_soft_evaluate(V, NULL, &m, pi, i % 2 ? pi0 : NULL, 0.4, &e), &e);
        for (s = 0; s < m.S; s++) L += m.p0[s] * V[s];
        bpt_ok(bp_mdp_evaluate(V, NULL, &m, pi, &e), &e);
        for (s = 0; s < m.S; s++) J += m.p0[s] * V[s];
        bpt_close(o.value, L, 1e-10);
        bpt_close(o.reward, J, 1e-10);
        bpt_close(o.value, o.reward - 0.4 * o.divergence, 1e-12);
        /* [e4_test] */
        assert_true(o.divergence > 0);
        bpt_ok(bp_mdp_objective(&free_of_charge, &m, pi, i % 2 ? pi0 : NULL, 0, &e), &e);
        bpt_close(free_of_charge.value, J, 1e-10);
        bpt_close(free_of_charge.divergence, o.divergence, 1e-12);
        bpt_ok(bp_mdp_objective(&o, &m, pi, pi, 5, &e), &e);
        bpt_close(o.divergence, 0, 1e-12);
        assert_int_equal(bp_mdp_objective(&o, &m, pi, pi0, -1, &e), BP_ERR_ARGUMENT);
        bp_mdp_destroy(&m);
    }
}

/* E1, E2, E5: all trajectories of a short horizon. The dynamics cancel in the KL of trajectories; L/alpha =
 * E[R/alpha] - KL[pi(tau) || pi0(tau)]; and the sums are those of dynamic programming. */
static void test_enumeration(void **state) {
    int i;
    (void)state;
    for (i = 0; i < N_MDPS; i++) {
        const size_t T = 1 + (size_t)i % 4;
        const double alpha = 0.3;
        bp_mdp m;
        bp_rng rng;
        bp_error e;
        bp_trajectory_sums sums;
        double pi[MAX_T * MAX_S * MAX_A], pi0[MAX_S * MAX_A], V[MAX_S], next[MAX_S], L = 0;
        const size_t gamma_one = (size_t)(i % 2);
        size_t s, a, k, t, SA;
        make_mdp(&m, &rng, i);
        SA = m.S * m.A;
        if (gamma_one) m.gamma = 1;
        for (t = 0; t < T; t++) bp_mdp_random_policy(pi + t * SA, &rng, m.S, m.A);
        bp_mdp_random_policy(pi0, &rng, m.S, m.A);
        /* [e5_test] */
        bpt_ok(bp_trajectory_enumerate(&sums, &m, pi, SA, pi0, 0, T, &e), &e);
        bpt_close(sums.probability, 1, 1e-12);
        assert_true(sums.count > 1);
        /* backward in time, E6 with the policy of each step */
        memset(V, 0, sizeof V);
        for (t = T; t-- > 0;) {
            for (s = 0; s < m.S; s++) {
                next[s] = 0;
                for (a = 0; a < m.A && !m.terminal[s]; a++) {
                    const double p = pi[t * SA + s * m.A + a];
                    double q = m.R[s * m.A + a] - alpha * log(p / pi0[s * m.A + a]);
                    for (k = 0; k < m.S; k++) q += m.gamma * m.P[(s * m.A + a) * m.S + k] * V[k];
                    next[s] += p * q;
                }
            }
            memcpy(V, next, sizeof V);
        }
        for (s = 0; s < m.S; s++) L += m.p0[s] * V[s];
        bpt_close(sums.reward - alpha * sums.divergence, L, 1e-11);
        if (gamma_one) {
            bpt_close(sums.trajectory_kl, sums.divergence, 1e-11);
            bpt_close(L / alpha, sums.reward / alpha - sums.trajectory_kl, 1e-10);
        }
        assert_true(sums.trajectory_kl >= -1e-12);
        /* [e5_test] */
        pi0[0] = 0, pi0[1] = 1; /* forbids what pi does, unless state 0 never occurs */
        if (m.p0[0] > 0) assert_int_equal(bp_trajectory_enumerate(&sums, &m, pi, SA, pi0, 0, T, &e), BP_ERR_NONFINITE);
        bp_mdp_destroy(&m);
    }
    /* with gamma near 1 a long horizon is the infinite one: enumeration against the linear solve */
    {
        bp_mdp m;
        bp_rng rng;
        bp_error e;
        bp_trajectory_sums sums;
        bp_objective o;
        double pi[4], pi0[4];
        make_mdp(&m, &rng, 1); /* 3 states */
        bp_mdp_destroy(&m);
        bpt_ok(bp_mdp_create(&m, 2, 2, 0.2, NULL, &e), &e);
        bp_mdp_random(&m, &rng, 1);
        bp_mdp_random_policy(pi, &rng, 2, 2);
        bp_mdp_random_policy(pi0, &rng, 2, 2);
        bpt_ok(bp_trajectory_enumerate(&sums, &m, pi, 0, pi0, 0, 14, &e), &e);
        bpt_ok(bp_mdp_objective(&o, &m, pi, pi0, 1, &e), &e);
        bpt_close(sums.reward, o.reward, 1e-8);
        bpt_close(sums.divergence, o.divergence, 1e-8);
        assert_int_equal(sums.count, 2 * 16384);
        bp_mdp_destroy(&m);
    }
}

static double score(const bp_mdp *m, const double *logits, const double *logits0, double alpha) {
    double pi[MAX_S * MAX_A], pi0[MAX_S * MAX_A];
    bp_objective o;
    bp_error e;
    bp_mdp_softmax(pi, logits, m->S, m->A);
    bp_mdp_softmax(pi0, logits0, m->S, m->A);
    bpt_ok(bp_mdp_objective(&o, m, pi, pi0, alpha, &e), &e);
    return o.value;
}

/* [e4_gradient_test] */
/* Exact gradients of E4 by both sets of logits, against central differences. */
static void test_gradient(void **state) {
    int i;
    (void)state;
    for (i = 0; i < N_MDPS; i++) {
        const double alpha = i % 7 == 0 ? 0 : 0.1 * (double)(1 + i % 9), h = 1e-5;
        bp_mdp m;
        bp_rng rng;
        bp_error e;
        double x[2][MAX_S * MAX_A], g[2][MAX_S * MAX_A], pi[MAX_S * MAX_A], pi0[MAX_S * MAX_A], norm[2] = {0, 0};
        size_t k, which;
        make_mdp(&m, &rng, i);
        for (which = 0; which < 2; which++)
            for (k = 0; k < m.S * m.A; k++) {
                x[which][k] = 2 * bp_rng_uniform(&rng) - 1;
                g[which][k] = 3; /* backward adds */
            }
        bp_mdp_softmax(pi, x[0], m.S, m.A);
        bp_mdp_softmax(pi0, x[1], m.S, m.A);
        bpt_ok(bp_mdp_objective_backward(g[0], g[1], 2, &m, pi, pi0, alpha, &e), &e);
        for (which = 0; which < 2; which++)
            for (k = 0; k < m.S * m.A; k++) {
                const double keep = x[which][k];
                double up, down;
                x[which][k] = keep + h;
                up = score(&m, x[0], x[1], alpha);
                x[which][k] = keep - h;
                down = score(&m, x[0], x[1], alpha);
                x[which][k] = keep;
                norm[which] += fabs(g[which][k] - 3);
                assert_true(fabs((g[which][k] - 3) / 2 - (up - down) / (2 * h)) <= 1e-7 * fmax(1, fabs(g[which][k])));
            }
        assert_true(norm[0] > 1e-6);
        if (alpha > 0) assert_true(norm[1] > 1e-6);
        bpt_ok(bp_mdp_objective_backward(NULL, NULL, 1, &m, pi, NULL, alpha, &e), &e);
        bp_mdp_destroy(&m);
    }
}
/* [e4_gradient_test] */

/* E7 by gradient: at the optimum the gradient is zero; ascent from anywhere climbs towards its value, never above. */
static void test_optimum_by_gradient(void **state) {
    int i, near = 0;
    (void)state;
    for (i = 0; i < N_MDPS; i++) {
        const double alpha = 0.3 + 0.1 * (double)(i % 5);
        bp_mdp m;
        bp_rng rng;
        bp_error e;
        double V[MAX_S], pi[MAX_S * MAX_A], pi0[MAX_S * MAX_A], g[MAX_S * MAX_A], x[MAX_S * MAX_A], top = 0, last = -1e9;
        double rate = 1;
        bp_objective o;
        size_t s, k;
        int step;
        make_mdp(&m, &rng, i);
        bp_mdp_random_policy(pi0, &rng, m.S, m.A);
        bpt_ok(bp_mdp_soft_value_iteration(V, NULL, pi, &m, pi0, alpha, 1e-12, NULL, &e), &e);
        for (s = 0; s < m.S; s++) top += m.p0[s] * V[s];
        memset(g, 0, sizeof g);
        bpt_ok(bp_mdp_objective_backward(g, NULL, 1, &m, pi, pi0, alpha, &e), &e);
        for (k = 0; k < m.S * m.A; k++) assert_true(fabs(g[k]) < 1e-9);

        for (k = 0; k < m.S * m.A; k++) x[k] = 4 * bp_rng_uniform(&rng) - 2;
        for (step = 0; step < 400; step++) {
            double try_x[MAX_S * MAX_A];
            memset(g, 0, sizeof g);
            bp_mdp_softmax(pi, x, m.S, m.A);
            bpt_ok(bp_mdp_objective_backward(g, NULL, 1, &m, pi, pi0, alpha, &e), &e);
            for (k = 0; k < m.S * m.A; k++) try_x[k] = x[k] + rate * g[k];
            bp_mdp_softmax(pi, try_x, m.S, m.A);
            bpt_ok(bp_mdp_objective(&o, &m, pi, pi0, alpha, &e), &e);
            assert_true(o.value <= top + 1e-10); /* the claim */
            if (o.value < last) rate *= 0.5;
            else {
                memcpy(x, try_x, sizeof x);
                last = o.value;
                rate *= 1.1;
            }
        }
        near += top - last < 1e-3; /* rarely visited states climb slowly */
        bp_mdp_destroy(&m);
    }
    assert_true(near >= 98); /* and the climb gets there: the bound is the optimum */
}

/* E8, pi0 = previous policy: each round improves the plain return, and it converges to the unregularised optimum. */
static void test_previous_policy(void **state) {
    int i;
    (void)state;
    for (i = 0; i < 30; i++) {
        bp_mdp m;
        bp_rng rng;
        bp_error e;
        double V[MAX_S], pi[MAX_S * MAX_A], pi0[MAX_S * MAX_A], last = -1e9, best = 0;
        bp_objective o;
        size_t s;
        int round;
        make_mdp(&m, &rng, i);
        /* [e8_previous_test] */
        bp_mdp_uniform_policy(pi, m.S, m.A);
        for (round = 0; round < 300; round++) {
            memcpy(pi0, pi, sizeof pi);
            bpt_ok(bp_mdp_soft_value_iteration(V, NULL, pi, &m, pi0, 0.5, 1e-11, NULL, &e), &e);
            bpt_ok(bp_mdp_objective(&o, &m, pi, NULL, 0, &e), &e);
            assert_true(o.reward >= last - 1e-9);
            last = o.reward;
        }
        /* [e8_previous_test] */
        bpt_ok(bp_mdp_value_iteration(V, NULL, &m, 1e-11, NULL, &e), &e);
        for (s = 0; s < m.S; s++) best += m.p0[s] * V[s];
        assert_true(last <= best + 1e-9 && last > best - 2e-2);
        bp_mdp_destroy(&m);
    }
}

/* E8, uniform prior: -KL = H - log Omega, for choices (exactly) and on a box (by quadrature of a density inside it). */
static void test_uniform(void **state) {
    static const double p[4] = {0.1, 0.2, 0.3, 0.4};
    bp_spec spec;
    bp_error e;
    double kl = 0, H = 0, volume, x;
    size_t i;
    (void)state;
    bp_spec_begin(&spec, "box");
    bpt_ok(bp_spec_actions_discrete(&spec, 4, &e), &e);
    for (i = 0; i < 4; i++) {
        H -= p[i] * log(p[i]);
        kl += p[i] * log(p[i] / 0.25);
    }
    bpt_close(bp_uniform_kl(H, bp_box_log_volume(&spec)), kl, 1e-14);
    /* the triangle density f(a) = (a + 2)/12.5 on [-2, 3], times uniform on the other axis of [-2, 3] */
    bpt_ok(bp_spec_actions_continuous(&spec, 2, -2, 3, &e), &e);
    volume = bp_box_log_volume(&spec);
    bpt_close(volume, log(25.0), 1e-14);
    for (kl = 0, H = 0, i = 0; i < 100000; i++) {
        const double da = 5.0 / 100000, a = -2 + ((double)i + 0.5) * da, f = (a + 2) / 12.5 / 5;
        H -= f * log(f) * da * 5;
        kl += f * log(f * 25) * da * 5;
    }
    bpt_close(bp_uniform_kl(H, volume), kl, 1e-9);
    /* E4's summand has mean r - alpha KL */
    for (x = 0, i = 0; i < 4; i++)
        x += p[i] * (double)bp_regularised_reward(2, (bp_real)log(p[i]), (bp_real)log(0.25), BP_R(0.5));
    for (kl = 0, i = 0; i < 4; i++) kl += p[i] * log(p[i] / 0.25);
    bpt_close(x, 2 - 0.5 * kl, BPT_TOL(1e-6, 1e-14));
    spec.action_high[1] = (double)INFINITY;
    assert_true(bp_box_log_volume(&spec) > 1e300);
}

static void test_kinds(void **state) {
    int i;
    bp_prior_kind k;
    bp_error e;
    (void)state;
    for (i = 0; i < BP_PRIOR_KINDS; i++) {
        bpt_ok(bp_prior_kind_parse(&k, bp_prior_kind_str((bp_prior_kind)i), &e), &e);
        assert_int_equal(k, i);
    }
    assert_int_equal(bp_prior_kind_parse(&k, "Learned", &e), BP_ERR_ARGUMENT);
    assert_non_null(strstr(e.text, "learned"));
    assert_int_equal(bp_prior_kind_parse(&k, NULL, &e), BP_ERR_ARGUMENT);
    assert_string_equal(bp_prior_kind_str(BP_PRIOR_KINDS == 6 ? BP_PRIOR_FIXED : BP_PRIOR_NONE), "fixed");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objective),
        cmocka_unit_test(test_enumeration),
        cmocka_unit_test(test_gradient),
        cmocka_unit_test(test_optimum_by_gradient),
        cmocka_unit_test(test_previous_policy),
        cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
