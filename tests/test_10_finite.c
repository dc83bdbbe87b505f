/* Chapter 10: exact solvers on 100 random finite MDPs, each against something computed another way. */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"

enum { N_MDPS = 100,
       MAX_S = 7,
       MAX_A = 4,
       MAX_T = 4 };

/* MDP number i: 2..7 states, 2..4 actions; every third deterministic, every fourth with a terminal state. */
static void make_mdp(bp_mdp *m, bp_rng *rng, int i) {
    bp_error e;
    const size_t S = 2 + (size_t)i % 6, A = 2 + (size_t)(i / 6) % 3;
    *rng = bp_rng_make(1000 + (uint64_t)i, 10);
    bpt_ok(bp_mdp_create(m, S, A, 0.5 + 0.045 * (double)(i % 11), NULL, &e), &e);
    bp_mdp_random(m, rng, i % 3 == 0 ? 1 : i % 3 == 1 ? 2
                                                      : 0);
    if (i % 4 == 3) m->terminal[S - 1] = true;
    bpt_ok(bp_mdp_check(m, &e), &e);
}

static double kl_row(const double *p, const double *q, size_t n) {
    double kl = 0;
    size_t i;
    for (i = 0; i < n; i++) kl += p[i] * (log(p[i]) - log(q[i]));
    return kl;
}

/* L by plain iteration of E6 to convergence: the slow way that shares no code with the linear solve. */
static void evaluate_slowly(double *V, const bp_mdp *m, const double *pi, const double *pi0, double alpha) {
    double next[MAX_S];
    size_t s, a, k;
    int sweep;
    memset(V, 0, m->S * sizeof(double));
    for (sweep = 0; sweep < 2500; sweep++) {
        for (s = 0; s < m->S; s++) {
            next[s] = 0;
            if (m->terminal[s]) continue;
            for (a = 0; a < m->A; a++) {
                double q = m->R[s * m->A + a];
                for (k = 0; k < m->S; k++) q += m->gamma * m->P[(s * m->A + a) * m->S + k] * V[k];
                next[s] += pi[s * m->A + a] * q;
            }
            if (alpha > 0) next[s] -= alpha * kl_row(pi + s * m->A, pi0 + s * m->A, m->A);
        }
        memcpy(V, next, m->S * sizeof(double));
    }
}

/* E3, E6: linear solve = iteration; Q is consistent; J from p0 V = J from the visitation. */
static void test_evaluation(void **state) {
    int i;
    (void)state;
    for (i = 0; i < N_MDPS; i++) {
        bp_mdp m;
        bp_rng rng;
        bp_error e;
        double pi[MAX_S * MAX_A], pi0[MAX_S * MAX_A], V[MAX_S], Q[MAX_S * MAX_A], slow[MAX_S], d[MAX_S];
        double J = 0, J2 = 0, total = 0;
        size_t s, a;
        make_mdp(&m, &rng, i);
        bp_mdp_random_policy(pi, &rng, m.S, m.A);
        bp_mdp_random_policy(pi0, &rng, m.S, m.A);
        bpt_ok(bp_mdp_evaluate(V, Q, &m, pi, &e), &e);
        evaluate_slowly(slow, &m, pi, NULL, 0);
        for (s = 0; s < m.S; s++) {
            double v = 0;
            bpt_close(V[s], slow[s], 1e-10);
            for (a = 0; a < m.A; a++) v += pi[s * m.A + a] * Q[s * m.A + a];
            bpt_close(V[s], m.terminal[s] ? 0 : v, 1e-11);
            J += m.p0[s] * V[s];
        }
        bpt_ok(bp_mdp_visitation(d, &m, pi, &e), &e);
        for (s = 0; s < m.S; s++) {
            total += d[s];
            for (a = 0; a < m.A; a++) J2 += d[s] * pi[s * m.A + a] * m.R[s * m.A + a];
            if (m.terminal[s]) assert_true(d[s] <= 0);
        }
        bpt_close(J, J2, 1e-10);
        if (i % 4 != 3) bpt_close(total, 1 / (1 - m.gamma), 1e-10);

        /* [e6_test] */
        bpt_ok(bp_mdp_soft_evaluate(V, Q, &m, pi, pi0, 0.3, &e), &e);
        evaluate_slowly(slow, &m, pi, pi0, 0.3);
        for (s = 0; s < m.S; s++) {
            double v = 0;
            bpt_close(V[s], slow[s], 1e-10);
            for (a = 0; a < m.A; a++) v += pi[s * m.A + a] * Q[s * m.A + a];
            v -= 0.3 * kl_row(pi + s * m.A, pi0 + s * m.A, m.A); /* Q does not contain the KL of its own step */
            bpt_close(V[s], m.terminal[s] ? 0 : v, 1e-11);
        }
        /* [e6_test] */
        bp_mdp_destroy(&m);
    }
}

/* E3: value iteration against all A^S deterministic policies where there are few, and against Bellman's equation. */
static void test_value_iteration(void **state) {
    int i, enumerated = 0;
    (void)state;
    for (i = 0; i < N_MDPS; i++) {
        bp_mdp m;
        bp_rng rng;
        bp_error e;
        double V[MAX_S], Q[MAX_S * MAX_A], pi[MAX_S * MAX_A], W[MAX_S], best[MAX_S];
        size_t s, a, n = 0, code, codes = 1;
        make_mdp(&m, &rng, i);
        bpt_ok(bp_mdp_value_iteration(V, Q, &m, 1e-12, &n, &e), &e);
        assert_true(n > 1);
        for (s = 0; s < m.S; s++) {
            double top = Q[s * m.A];
            for (a = 1; a < m.A; a++) top = fmax(top, Q[s * m.A + a]);
            bpt_close(V[s], m.terminal[s] ? 0 : top, 1e-11);
            codes *= m.A;
        }
        bp_mdp_greedy(pi, Q, m.S, m.A);
        bpt_ok(bp_mdp_evaluate(W, NULL, &m, pi, &e), &e);
        for (s = 0; s < m.S; s++) bpt_close(V[s], W[s], 1e-10);
        if (codes <= 1024) {
            enumerated++;
            for (s = 0; s < m.S; s++) best[s] = -1e9;
            /* [e3_test] */
            for (code = 0; code < codes; code++) {
                size_t c = code;
                for (s = 0; s < m.S; s++, c /= m.A)
                    for (a = 0; a < m.A; a++) pi[s * m.A + a] = a == c % m.A ? 1 : 0;
                bp_mdp_evaluate(W, NULL, &m, pi, &e);
                for (s = 0; s < m.S; s++) best[s] = fmax(best[s], W[s]);
            }
            for (s = 0; s < m.S; s++) bpt_close(V[s], best[s], 1e-10);
            /* [e3_test] */
        }
        bp_mdp_destroy(&m);
    }
    assert_true(enumerated > 50);
}

static double score(const bp_mdp *m, const double *pi, const double *pi0, double alpha) {
    double V[MAX_S], J = 0;
    size_t s;
    bp_error e;
    bpt_ok(bp_mdp_soft_evaluate(V, NULL, m, pi, pi0, alpha, &e), &e);
    for (s = 0; s < m->S; s++) J += m->p0[s] * V[s];
    return J;
}

/* E7: the closed form is a fixed point, its own value is V*, and neither random policies nor policies near it score
 * higher. (The gradient side of the proof is in test_11.) */
static void test_soft_optimum(void **state) {
    static const double alphas[] = {0.02, 0.1, 0.5, 2, 20};
    int i;
    (void)state;
    for (i = 0; i < N_MDPS; i++) {
        const double alpha = alphas[i % 5];
        bp_mdp m;
        bp_rng rng;
        bp_error e;
        double V[MAX_S], Q[MAX_S * MAX_A], pi[MAX_S * MAX_A], pi0[MAX_S * MAX_A], other[MAX_S * MAX_A], W[MAX_S], top = 0;
        size_t s, a;
        int trial;
        make_mdp(&m, &rng, i);
        bp_mdp_random_policy(pi0, &rng, m.S, m.A);
        bpt_ok(bp_mdp_soft_value_iteration(V, Q, pi, &m, pi0, alpha, 1e-12, NULL, &e), &e);
        for (s = 0; s < m.S; s++) {
            double z = 0;
            top += m.p0[s] * V[s];
            if (m.terminal[s]) continue;
            for (a = 0; a < m.A; a++) z += pi0[s * m.A + a] * exp((Q[s * m.A + a] - Q[s * m.A]) / alpha);
            bpt_close(V[s], Q[s * m.A] + alpha * log(z), 1e-10);
            for (a = 0; a < m.A; a++)
                bpt_close(pi[s * m.A + a], pi0[s * m.A + a] * exp((Q[s * m.A + a] - V[s]) / alpha), 1e-9);
        }
        bpt_ok(bp_mdp_soft_evaluate(W, NULL, &m, pi, pi0, alpha, &e), &e);
        for (s = 0; s < m.S; s++) bpt_close(V[s], W[s], 1e-10);
        /* [e7_test] */
        for (trial = 0; trial < 100; trial++) {
            double mix = trial < 50 ? 1 : pow(10, -(double)(trial - 49) / 12);
            bp_mdp_random_policy(other, &rng, m.S, m.A);
            for (s = 0; s < m.S * m.A; s++) other[s] = (1 - mix) * pi[s] + mix * other[s];
            assert_true(score(&m, other, pi0, alpha) <= top + 1e-10);
        }
        /* [e7_test] */
        assert_true(score(&m, pi0, pi0, alpha) <= top + 1e-10);
        bp_mdp_destroy(&m);
    }
}

/* E7's limits. alpha -> 0: greedy in Q* on the prior's support, without overflow on the way; alpha -> inf: the prior. */
static void test_soft_limits(void **state) {
    int i;
    (void)state;
    for (i = 0; i < N_MDPS; i++) {
        bp_mdp m, masked;
        bp_rng rng;
        bp_error e;
        double V[MAX_S], Q[MAX_S * MAX_A], pi[MAX_S * MAX_A], pi0[MAX_S * MAX_A], Vg[MAX_S], Qg[MAX_S * MAX_A];
        double Vz[MAX_S], piz[MAX_S * MAX_A];
        size_t s, a;
        make_mdp(&m, &rng, i);
        bp_mdp_random_policy(pi0, &rng, m.S, m.A);
        /* forbid one action per state (never all) */
        for (s = 0; s < m.S; s++) {
            const size_t f = bp_rng_index(&rng, m.A);
            const double lost = pi0[s * m.A + f];
            for (a = 0; a < m.A; a++) pi0[s * m.A + a] = a == f ? 0 : pi0[s * m.A + a] / (1 - lost);
        }
        /* hard planning where forbidden actions cost a fortune */
        bpt_ok(bp_mdp_create(&masked, m.S, m.A, m.gamma, NULL, &e), &e);
        memcpy(masked.P, m.P, m.S * m.A * m.S * sizeof(double));
        memcpy(masked.p0, m.p0, m.S * sizeof(double));
        for (s = 0; s < m.S; s++) masked.terminal[s] = m.terminal[s];
        for (s = 0; s < m.S * m.A; s++) masked.R[s] = m.R[s] - (pi0[s] > 0 ? 0 : 1e6);
        bpt_ok(bp_mdp_value_iteration(Vg, Qg, &masked, 1e-9, NULL, &e), &e);
        bpt_ok(bp_mdp_soft_value_iteration(Vz, NULL, piz, &m, pi0, 0, 1e-12, NULL, &e), &e);
        bpt_ok(bp_mdp_soft_value_iteration(V, Q, pi, &m, pi0, 1e-5, 1e-12, NULL, &e), &e);
        for (s = 0; s < m.S; s++) {
            size_t best = 0;
            double gap = 1e9;
            bpt_close(Vz[s], Vg[s], 1e-8);
            /* V_alpha = V_0 - alpha KL..., and KL <= -log of the smallest probability */
            assert_true(fabs(V[s] - Vg[s]) <= 1e-5 * 20 / (1 - m.gamma));
            if (m.terminal[s]) continue;
            for (a = 1; a < m.A; a++)
                if (Qg[s * m.A + a] > Qg[s * m.A + best]) best = a;
            for (a = 0; a < m.A; a++)
                if (a != best) gap = fmin(gap, Qg[s * m.A + best] - Qg[s * m.A + a]);
            for (a = 0; a < m.A; a++) {
                if (!(pi0[s * m.A + a] > 0)) assert_true(pi[s * m.A + a] <= 0 && piz[s * m.A + a] <= 0);
                if (gap > 0.01) {
                    bpt_close(pi[s * m.A + a], a == best, 1e-9);
                    bpt_close(piz[s * m.A + a], a == best, 0);
                }
            }
        }
        bpt_ok(bp_mdp_soft_value_iteration(V, Q, pi, &m, pi0, 1e9, 1e-12, NULL, &e), &e);
        for (s = 0; s < m.S; s++)
            for (a = 0; a < m.A && !m.terminal[s]; a++) bpt_close(pi[s * m.A + a], pi0[s * m.A + a], 1e-6);
        bp_mdp_destroy(&masked);
        bp_mdp_destroy(&m);
    }
    /* a tie is shared in proportion to the prior */
    {
        bp_mdp m;
        bp_error e;
        double V, pi[3];
        const double pi0[3] = {0.2, 0.6, 0.2};
        bpt_ok(bp_mdp_create(&m, 1, 3, 0.5, NULL, &e), &e);
        m.P[0] = m.P[1] = m.P[2] = m.p0[0] = m.R[0] = m.R[1] = 1;
        bpt_ok(bp_mdp_soft_value_iteration(&V, NULL, pi, &m, pi0, 0, 1e-12, NULL, &e), &e);
        bpt_close(V, 2, 1e-11);
        bpt_close(pi[0], 0.25, 1e-12);
        bpt_close(pi[1], 0.75, 1e-12);
        bpt_close(pi[2], 0, 0);
        /* ... and alpha = 1e-300 is still finite */
        bpt_ok(bp_mdp_soft_value_iteration(&V, NULL, pi, &m, pi0, 1e-300, 1e-12, NULL, &e), &e);
        bpt_close(V, 2, 1e-11);
        bp_mdp_destroy(&m);
    }
}

/* ---- E9 ------------------------------------------------------------------------------------------ */

/* Sums over all trajectories s_0 a_0 ... s_T, weighted by p(tau) prod_t exp(r/alpha): independent of the messages. */
typedef struct brute {
    const bp_mdp *m;
    const double *prior;
    double alpha;
    size_t T;
    size_t s[MAX_T + 1], a[MAX_T];
    double evidence;
    double joint[MAX_T + 1][MAX_S];     /* weight of s_t = s over whole trajectories */
    double beta[MAX_T + 1][MAX_S];      /* p(O_t.. | s_t = s) */
    double beta_a[MAX_T][MAX_S][MAX_A]; /* p(O_t.. | s_t = s, a_t = a) */
    double pair[MAX_T][MAX_S][MAX_A];   /* weight of (s_t, a_t) over whole trajectories */
} brute;

static void brute_from(brute *b, size_t t, double w) {
    const bp_mdp *m = b->m;
    const size_t s = b->s[t];
    size_t a, k, i;
    if (t == b->T) {
        b->evidence += w;
        for (i = 0; i <= b->T; i++) b->joint[i][b->s[i]] += w;
        for (i = 0; i < b->T; i++) b->pair[i][b->s[i]][b->a[i]] += w;
        return;
    }
    for (a = 0; a < m->A; a++) {
        b->a[t] = a;
        for (k = 0; k < m->S; k++) {
            const double p = m->terminal[s] ? (k == s) : m->P[(s * m->A + a) * m->S + k];
            const double r = m->terminal[s] ? 0 : m->R[s * m->A + a];
            if (!(p > 0)) continue;
            b->s[t + 1] = k;
            brute_from(b, t + 1, w * b->prior[s * m->A + a] * p * exp(r / b->alpha));
        }
    }
}

/* weight of all continuations from s at time t, by recursion on trajectories */
static double brute_beta(const brute *b, size_t t, size_t s) {
    const bp_mdp *m = b->m;
    double sum = 0;
    size_t a, k;
    if (t == b->T || m->terminal[s]) return 1;
    for (a = 0; a < m->A; a++)
        for (k = 0; k < m->S; k++)
            if (m->P[(s * m->A + a) * m->S + k] > 0)
                sum += b->prior[s * m->A + a] * exp(m->R[s * m->A + a] / b->alpha) * m->P[(s * m->A + a) * m->S + k] *
                       brute_beta(b, t + 1, k);
    return sum;
}

/* E9: messages and policy against all trajectories; E7 over the same horizon is the same where nothing is random. */
static void test_inference(void **state) {
    int i, random_differs = 0, random_total = 0;
    (void)state;
    for (i = 0; i < N_MDPS; i++) {
        const size_t T = 2 + (size_t)i % 6 <= 4 ? 4 : 3; /* longer where there are few states to enumerate */
        const double alpha = i % 5 == 0 ? 0.2 : 0.7;
        static brute b;
        static double lba[MAX_T * MAX_S * MAX_A], lb[(MAX_T + 1) * MAX_S], pi[MAX_T * MAX_S * MAX_A];
        static double f[(MAX_T + 1) * MAX_S], marg[(MAX_T + 1) * MAX_S];
        static double V[(MAX_T + 1) * MAX_S], Q[MAX_T * MAX_S * MAX_A], soft[MAX_T * MAX_S * MAX_A];
        double prior[MAX_S * MAX_A], worst = 0;
        bool deterministic = i % 3 == 0;
        bp_mdp m;
        bp_rng rng;
        bp_error e;
        size_t t, s, a;
        make_mdp(&m, &rng, i);
        m.gamma = 1;
        bp_mdp_random_policy(prior, &rng, m.S, m.A);
        bpt_ok(bp_inference_backward_messages(lba, lb, &m, prior, alpha, T, &e), &e);
        bp_inference_policy(pi, lba, lb, &m, prior, T);
        bpt_ok(bp_inference_forward_messages(f, &m, prior, alpha, T, &e), &e);
        bp_inference_marginals(marg, f, lb, m.S, T);
        memset(&b, 0, sizeof b);
        b.m = &m, b.prior = prior, b.alpha = alpha, b.T = T;
        for (s = 0; s < m.S; s++) {
            b.s[0] = s;
            brute_from(&b, 0, m.p0[s]);
        }
        for (t = 0; t <= T; t++)
            for (s = 0; s < m.S; s++) {
                bpt_close(exp(lb[t * m.S + s]), brute_beta(&b, t, s), 1e-9);
                bpt_close(marg[t * m.S + s], b.joint[t][s] / b.evidence, 1e-9);
                for (a = 0; t < T && a < m.A; a++)
                    if (b.joint[t][s] > 1e-12)
                        bpt_close(pi[(t * m.S + s) * m.A + a], b.pair[t][s][a] / b.joint[t][s], 1e-9);
            }
        /* forward messages: condition on the past only, i.e. the marginal of the problem that ends at t */
        for (t = 1; t <= T; t++) {
            brute c;
            memset(&c, 0, sizeof c);
            c.m = &m, c.prior = prior, c.alpha = alpha, c.T = t;
            for (s = 0; s < m.S; s++) {
                c.s[0] = s;
                brute_from(&c, 0, m.p0[s]);
            }
            for (s = 0; s < m.S; s++) bpt_close(f[t * m.S + s], c.joint[t][s] / c.evidence, 1e-9);
        }
        /* E7 over the same horizon: the same for deterministic dynamics, never more for random ones */
        bpt_ok(bp_mdp_soft_horizon(V, Q, soft, &m, prior, alpha, T, &e), &e);
        for (t = 0; t < T; t++)
            for (s = 0; s < m.S; s++)
                for (a = 0; a < m.A; a++) {
                    const size_t k = (t * m.S + s) * m.A + a;
                    if (m.terminal[s]) continue;
                    if (deterministic) {
                        bpt_close(alpha * lba[k], Q[k], 1e-11);
                        bpt_close(pi[k], soft[k], 1e-11);
                    }
                    assert_true(alpha * lba[k] >= Q[k] - 1e-11); /* optimism: Jensen */
                    worst = fmax(worst, alpha * lba[k] - Q[k]);
                }
        if (!deterministic) {
            random_total++;
            random_differs += worst > 1e-4;
        }
        bp_mdp_destroy(&m);
    }
    assert_true(random_total > 60);
    assert_int_equal(random_differs, random_total);
}

/* [e9_lottery_test] */
/* The optimism of E9 in one picture: a lottery (1 % of 10, else -1) against a sure 0. */
static void test_lottery(void **state) {
    bp_mdp m;
    bp_error e;
    double lba[2 * 4 * 2], lb[3 * 4], pi[2 * 4 * 2], V[3 * 4], soft[2 * 4 * 2];
    size_t s;
    (void)state;
    bpt_ok(bp_mdp_create(&m, 4, 2, 1, NULL, &e), &e); /* 0 choice, 1 won, 2 lost, 3 end */
    m.p0[0] = 1;
    m.P[0 * 8 + 0 * 4 + 1] = 0.01, m.P[0 * 8 + 0 * 4 + 2] = 0.99; /* action 0: play */
    m.P[0 * 8 + 1 * 4 + 3] = 1;                                   /* action 1: do not */
    for (s = 1; s < 3; s++) m.P[s * 8 + 3] = m.P[s * 8 + 4 + 3] = 1;
    m.R[1 * 2] = m.R[1 * 2 + 1] = 10;
    m.R[2 * 2] = m.R[2 * 2 + 1] = -1;
    m.terminal[3] = true;
    bpt_ok(bp_mdp_check(&m, &e), &e);
    bpt_ok(bp_inference_backward_messages(lba, lb, &m, NULL, 1, 2, &e), &e);
    bp_inference_policy(pi, lba, lb, &m, NULL, 2);
    bpt_ok(bp_mdp_soft_horizon(V, NULL, soft, &m, NULL, 1, 2, &e), &e);
    bpt_close(lba[0], log(0.01 * exp(10.0) + 0.99 * exp(-1.0)), 1e-12);
    assert_true(pi[0] > 0.99);                            /* "given that it went well, I must have played" */
    bpt_close(soft[0] / soft[1], exp(0.1 - 0.99), 1e-12); /* mean -0.89: better not */
    bp_mdp_destroy(&m);
}
/* [e9_lottery_test] */

/* ---- E3b --------------------------------------------------------------------------------------- */

/* [e3b_test] */
/* E3b: the worked example of the lecture, all cells after each of its seven steps; states S1..S4, actions
 * up, down, left, right. Each line: state, action, next, reward, new value of the cell. */
static void test_q_learning_example(void **state) {
    enum { UP,
           DOWN,
           LEFT,
           RIGHT };
    static const struct {
        size_t s, a, next;
        double r, cell;
    } steps[] = {
        {0, UP, 1, -1, -0.7},
        {1, RIGHT, 2, -1, -0.7},
        {2, RIGHT, 2, -1, -0.7},
        {2, DOWN, 3, -1, -0.7},
        {3, LEFT, 3, 10, 7},
        {3, UP, 2, 10, 7},
        {2, DOWN, 3, -1, 3.5},
    };
    static const double last[16] = {-0.7, 0, 0, 0, 0, 0, 0, -0.7, 0, 3.5, 0, -0.7, 7, 0, 7, 0};
    double Q[16], want[16];
    size_t i, k;
    (void)state;
    memset(Q, 0, sizeof Q);
    memset(want, 0, sizeof want);
    for (i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        const double before = Q[steps[i].s * 4 + steps[i].a];
        const double td = bp_q_learning_update(Q, steps[i].s, steps[i].a, steps[i].r, 0.9, steps[i].next, 0.7, 4);
        want[steps[i].s * 4 + steps[i].a] = steps[i].cell;
        for (k = 0; k < 16; k++) bpt_close(Q[k], want[k], 1e-14);
        bpt_close(before + 0.7 * td, steps[i].cell, 1e-14);
    }
    for (k = 0; k < 16; k++) bpt_close(Q[k], last[k], 1e-14);
    /* at a termination the next state does not count */
    Q[4] = (double)INFINITY;
    bpt_close(bp_q_learning_update(Q, 0, 1, 2, 0, 1, 0.5, 4), 2, 0);
    bpt_close(Q[1], 1, 0);
}
/* [e3b_test] */

/* E3b from samples finds Q* of a random MDP. */
static void test_q_learning_converges(void **state) {
    bp_mdp m;
    bp_rng rng;
    bp_error e;
    bp_env env;
    double V[MAX_S], Q[MAX_S * MAX_A], learned[MAX_S * MAX_A];
    int visits[MAX_S * MAX_A];
    bp_real obs[MAX_S], a;
    bp_step out;
    size_t s = 0, k, i;
    long n;
    (void)state;
    make_mdp(&m, &rng, 8); /* 4 states, 3 actions, stochastic */
    m.gamma = 0.7;
    bpt_ok(bp_mdp_value_iteration(V, Q, &m, 1e-12, NULL, &e), &e);
    bpt_ok(bp_mdp_env(&env, &m, 50, NULL, &e), &e);
    memset(learned, 0, sizeof learned);
    memset(visits, 0, sizeof visits);
    env.reset(env.self, 0, obs);
    for (n = 0; n < 400000; n++) {
        for (k = 0; k < m.S; k++)
            if (obs[k] > 0) s = k;
        k = bp_rng_index(&rng, m.A);
        a = (bp_real)k;
        bpt_ok(env.step(env.self, &a, obs, &out), NULL);
        i = s * m.A + k;
        for (s = 0; obs[s] < BP_R(0.5); s++) {}
        bp_q_learning_update(learned, i / m.A, k, (double)out.reward, m.gamma * (double)out.discount, s,
                             1 / pow(1 + visits[i]++, 0.8), m.A);
        if (out.last) env.reset(env.self, (uint64_t)n, obs);
    }
    for (i = 0; i < m.S * m.A; i++) bpt_close(learned[i], Q[i], 0.02);
    bp_env_close(&env);
    bp_mdp_destroy(&m);
}

/* ---- grid worlds and the environment ------------------------------------------------------------- */

static void test_gridworld(void **state) {
    static const char map[] = "#######\n"
                              "#S.#..#\n"
                              "#.....G\n"
                              "#..#\n";
    bp_gridworld g;
    bp_gridworld_config cfg = bp_gridworld_config_default();
    bp_error e;
    bpt_memory mem;
    double V[16], Q[16 * 5], pi[16 * 5], sum;
    char text[64];
    size_t s, t, a, k, start;
    (void)state;
    bpt_memory_use(&mem);
    bpt_ok(bp_gridworld_create(&g, map, NULL, &mem.allocator, &e), &e);
    bpt_ok(bp_mdp_check(&g.mdp, &e), &e);
    assert_int_equal(g.rows, 4);
    assert_int_equal(g.cols, 7);
    assert_int_equal(g.mdp.S, 12);
    start = bp_gridworld_state(&g, 1, 1);
    assert_int_equal(start, 0);
    bpt_close(g.mdp.p0[start], 1, 0);
    assert_int_equal(bp_gridworld_state(&g, 0, 0), 12);
    assert_int_equal(bp_gridworld_state(&g, 99, 0), 12);
    assert_int_equal(bp_gridworld_state(&g, 3, 6), 12); /* right of a short line */
    t = bp_gridworld_state(&g, 2, 6);
    assert_true(g.mdp.terminal[t]);
    /* down from the start, up into the wall, stay */
    s = bp_gridworld_state(&g, 2, 1);
    bpt_close(g.mdp.P[(start * 5 + BP_GRID_DOWN) * 12 + s], 1, 0);
    bpt_close(g.mdp.R[start * 5 + BP_GRID_DOWN], -0.1, 1e-15);
    bpt_close(g.mdp.P[(start * 5 + BP_GRID_UP) * 12 + start], 1, 0);
    bpt_close(g.mdp.R[start * 5 + BP_GRID_UP], -0.5, 1e-15);
    bpt_close(g.mdp.R[start * 5 + BP_GRID_STAY], -0.1, 1e-15);
    bpt_close(g.mdp.R[bp_gridworld_state(&g, 2, 5) * 5 + BP_GRID_RIGHT], 1, 1e-15);
    /* five moves at -.1, then 1 */
    bpt_ok(bp_mdp_value_iteration(V, Q, &g.mdp, 1e-12, NULL, &e), &e);
    for (sum = 0, k = 0; k < 5; k++) sum -= 0.1 * pow(0.95, (double)k);
    bpt_close(V[start], sum + pow(0.95, 5), 1e-11);
    bp_mdp_greedy(pi, Q, g.mdp.S, 5);
    assert_false(bp_gridworld_draw(text, 32, &g, pi));
    assert_true(bp_gridworld_draw(text, sizeof text, &g, pi));
    assert_string_equal(text, "#######\n#vv#vv#\n#>>>>>G\n#^^####\n");
    bp_gridworld_destroy(&g);
    bp_gridworld_destroy(&g);
    bpt_memory_check(&mem);

    /* slip: with probability .2 one of the four moves, each .05 */
    cfg.slip = 0.2;
    bpt_ok(bp_gridworld_create(&g, map, &cfg, &mem.allocator, &e), &e);
    bpt_ok(bp_mdp_check(&g.mdp, &e), &e);
    s = bp_gridworld_state(&g, 2, 1);
    bpt_close(g.mdp.P[(start * 5 + BP_GRID_DOWN) * 12 + s], 0.85, 1e-15);
    bpt_close(g.mdp.P[(start * 5 + BP_GRID_DOWN) * 12 + start], 0.1, 1e-15);
    bpt_close(g.mdp.R[start * 5 + BP_GRID_DOWN], 0.9 * -0.1 + 0.1 * -0.5, 1e-15);
    bp_gridworld_destroy(&g);
    /* every allocation may fail */
    for (k = 1; k <= 2; k++) {
        mem.requests = 0, mem.fail_at = k;
        assert_int_equal(bp_gridworld_create(&g, map, NULL, &mem.allocator, &e), BP_ERR_MEMORY);
        bpt_memory_check(&mem);
    }

    assert_int_equal(bp_gridworld_create(&g, "##\n#x", NULL, NULL, &e), BP_ERR_ARGUMENT);
    assert_non_null(strstr(e.text, "line 2, column 2"));
    assert_int_equal(bp_gridworld_create(&g, "#G#", NULL, NULL, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_gridworld_create(&g, "", NULL, NULL, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_gridworld_create(&g, NULL, NULL, NULL, &e), BP_ERR_ARGUMENT);
    cfg.gamma = 2;
    assert_int_equal(bp_gridworld_create(&g, map, &cfg, NULL, &e), BP_ERR_ARGUMENT);
    memset(&cfg, 0, sizeof cfg);
    assert_int_equal(bp_gridworld_create(&g, map, &cfg, NULL, &e), BP_ERR_CONFIG);
    /* no start: uniform over cells that are no goals */
    bpt_ok(bp_gridworld_create(&g, "..\nG.\n\n", NULL, NULL, &e), &e);
    assert_int_equal(g.mdp.S, 4);
    for (s = 0; s < 4; s++) bpt_close(g.mdp.p0[s], s == 2 ? 0 : 1.0 / 3, 1e-15);
    for (a = 0; a < 5; a++)
        for (sum = 0, k = 0; k < 4; k++) sum += g.mdp.P[a * 4 + k];
    bpt_close(sum, 1, 1e-15);
    bp_gridworld_destroy(&g);
}

/* The environment draws what the tables say, and is a good environment. */
static void test_mdp_env(void **state) {
    bp_mdp m;
    bp_rng rng;
    bp_error e;
    bp_env env;
    bp_real obs[MAX_S], a;
    bp_step out;
    double seen[MAX_S], first[MAX_S];
    unsigned char buffer[64];
    const int n = 20000;
    int i;
    size_t k, bytes;
    (void)state;
    make_mdp(&m, &rng, 11); /* 7 states, 3 actions, the last state terminal */
    assert_true(m.terminal[6]);
    bpt_ok(bp_mdp_env(&env, &m, 30, NULL, &e), &e);
    bpt_ok(bp_env_check(&env, 4, 500, &e), &e);
    memset(seen, 0, sizeof seen);
    memset(first, 0, sizeof first);
    for (i = 0; i < n; i++) {
        size_t s;
        env.reset(env.self, (uint64_t)i, obs);
        for (s = 0; obs[s] < BP_R(0.5); s++) {}
        first[s] += 1.0 / n;
        a = 1;
        if (m.terminal[s]) continue;
        bpt_ok(env.step(env.self, &a, obs, &out), NULL);
        bpt_close(out.reward, m.R[s * m.A + 1], 1e-6);
        for (k = 0; obs[k] < BP_R(0.5); k++) {}
        if (s == 2) seen[k] += 1;
        assert_int_equal(out.last, m.terminal[k]);
        bpt_close(out.discount, m.terminal[k] ? 0 : 1, 0);
    }
    for (k = 0; k < m.S; k++) {
        assert_true(fabs(first[k] - m.p0[k]) < 4 * sqrt(0.25 / n));
        if (first[2] > 0.01)
            assert_true(fabs(seen[k] / (first[2] * n) - m.P[(2 * m.A + 1) * m.S + k]) < 4 * sqrt(0.25 / (first[2] * n)));
    }
    env.reset(env.self, 2, obs);
    a = BP_R(0.5);
    assert_int_equal(env.step(env.self, &a, obs, &out), BP_ERR_ENV);
    a = 3;
    assert_int_equal(env.step(env.self, &a, obs, &out), BP_ERR_ENV);
    a = (bp_real)NAN;
    assert_int_equal(env.step(env.self, &a, obs, &out), BP_ERR_ENV);
    bytes = env.save(env.self, buffer, sizeof buffer);
    memset(buffer + 8, 0xFF, bytes - 8); /* a state that does not exist */
    assert_int_equal(env.load(env.self, buffer, bytes), BP_ERR_FORMAT);
    bp_env_close(&env);
    m.P[0] += 0.1;
    assert_int_equal(bp_mdp_env(&env, &m, 30, NULL, &e), BP_ERR_ARGUMENT);
    bp_mdp_destroy(&m);
}

static void test_errors(void **state) {
    bp_mdp m;
    bp_error e;
    bpt_memory mem;
    double V[2], pi[4] = {0.5, 0.5, 0.5, 0.5}, bad[4] = {1, 0, 1, 0};
    double f[6];
    size_t bytes;
    (void)state;
    bpt_memory_use(&mem);
    mem.fail_at = 1;
    assert_int_equal(bp_mdp_create(&m, 2, 2, 0.9, &mem.allocator, &e), BP_ERR_MEMORY);
    assert_int_equal(bp_mdp_create(&m, 0, 2, 0.9, NULL, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_mdp_size((size_t)1 << 40, 2, &bytes, &e), BP_ERR_SIZE);
    bpt_ok(bp_mdp_create(&m, 2, 2, 0.9, &mem.allocator, &e), &e);
    assert_int_equal(bp_mdp_check(&m, &e), BP_ERR_ARGUMENT); /* all zero */
    m.p0[0] = m.P[0] = m.P[2] = m.P[5] = m.P[7] = 1;
    bpt_ok(bp_mdp_check(&m, &e), &e);
    m.R[1] = (double)NAN;
    assert_int_equal(bp_mdp_check(&m, &e), BP_ERR_ARGUMENT);
    assert_non_null(strstr(e.text, "a=1"));
    m.R[1] = 1;
    assert_int_equal(bp_mdp_soft_evaluate(V, NULL, &m, pi, bad, 0.1, &e), BP_ERR_NONFINITE);
    assert_int_equal(bp_mdp_soft_evaluate(V, NULL, &m, pi, bad, -1, &e), BP_ERR_ARGUMENT);
    bpt_ok(bp_mdp_soft_evaluate(V, NULL, &m, pi, bad, 0, &e), &e); /* free of charge */
    bad[0] = 0.5;
    assert_int_equal(bp_mdp_soft_value_iteration(V, NULL, NULL, &m, bad, 1, 1e-9, NULL, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_mdp_soft_value_iteration(V, NULL, NULL, &m, NULL, -1, 1e-9, NULL, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_mdp_value_iteration(V, NULL, &m, 0, NULL, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_inference_forward_messages(f, &m, NULL, 0, 2, &e), BP_ERR_ARGUMENT);
    m.gamma = 1; /* and no end in sight */
    assert_int_equal(bp_mdp_evaluate(V, NULL, &m, pi, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_mdp_visitation(V, &m, pi, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_mdp_value_iteration(V, NULL, &m, 1e-9, NULL, &e), BP_ERR_NONFINITE);
    bp_mdp_destroy(&m);
    bp_mdp_destroy(&m);
    bpt_memory_check(&mem);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_value_iteration),
        cmocka_unit_test(test_soft_optimum),
        cmocka_unit_test(test_soft_limits),
        cmocka_unit_test(test_inference),
        cmocka_unit_test(test_lottery),
        cmocka_unit_test(test_q_learning_example),
        cmocka_unit_test(test_q_learning_converges),
        cmocka_unit_test(test_gridworld),
        cmocka_unit_test(test_mdp_env),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
