/* Retrace (E19): the recursion against the double sum it comes from, its limits, and its fixed point.
 *
 * The last part is the one that matters: data of a different policy, and still the values of ours. On a finite
 * MDP small enough to enumerate all sequences, the *expected* Retrace target is an operator on Q; applied again and
 * again it must arrive at the exact soft Q of E6.
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"

#define TOL BPT_TOL(1e-4, 1e-12)

static uint64_t seed;

/* ---- random data ------------------------------------------------------------------------------- */

enum { MAX_T = 12,
       MAX_B = 9 };
typedef struct data {
    bp_real target[MAX_T * MAX_B], reference[MAX_T * MAX_B], reward[MAX_T * MAX_B], discount[MAX_T * MAX_B];
    bp_real value[(MAX_T + 1) * MAX_B], q[MAX_T * MAX_B], c[MAX_T * MAX_B];
    bp_real log_pi[MAX_T * MAX_B], log_mu[MAX_T * MAX_B], mask[MAX_T * MAX_B];
} data;

static void random_data(data *d, bp_rng *rng, double lambda, size_t T, size_t B) {
    size_t i;
    bp_rng_normals(d->reward, rng, T * B);
    bp_rng_normals(d->value, rng, (T + 1) * B);
    bp_rng_normals(d->q, rng, T * B);
    bp_rng_normals(d->log_pi, rng, T * B);
    bp_rng_normals(d->log_mu, rng, T * B);
    for (i = 0; i < T * B; i++) {
        d->mask[i] = bp_rng_uniform(rng) < 0.15 ? BP_R(0) : BP_R(1);
        d->discount[i] = bp_rng_uniform(rng) < 0.1 ? BP_R(0) : BP_R(0.97);
    }
    bp_retrace_trace(d->c, d->log_pi, d->log_mu, d->mask, lambda, T, B);
}

static void test_recursion_is_the_double_sum(void **state) {
    bp_rng rng = bp_rng_make(seed, 1);
    data d;
    size_t round;
    (void)state;
    for (round = 0; round < 300; round++) {
        const size_t T = 1 + bp_rng_index(&rng, MAX_T), B = 1 + bp_rng_index(&rng, MAX_B);
        double size = 0;
        size_t i;
        random_data(&d, &rng, round % 3 ? 0.9 : 1.0, T, B);
        bp_retrace(d.target, d.reward, d.discount, d.value, d.q, d.c, T, B);
        bp_retrace_reference(d.reference, d.reward, d.discount, d.value, d.q, d.c, T, B);
        bpt_close_array(d.target, d.reference, T * B, TOL);
        for (i = 0; i < T * B; i++) size += fabs((double)d.target[i]);
        assert_true(size > 0);
    }
}

/* [e19_three_rows_test] */
/* A sum written out by hand for T = 3, so that the two functions cannot share a misreading. */
static void test_three_rows_by_hand(void **state) {
    const bp_real reward[3] = {BP_R(1), BP_R(2), BP_R(-1)}, discount[3] = {BP_R(0.5), BP_R(0.25), BP_R(0.5)};
    const bp_real value[4] = {BP_R(99), BP_R(2), BP_R(4), BP_R(8)}, q[3] = {BP_R(77), BP_R(1), BP_R(3)};
    const bp_real c[3] = {BP_R(55), BP_R(0.5), BP_R(0.25)};
    bp_real target[3];
    (void)state;
    /* t = 2: -1 + .5 * 8 = 3;  t = 1: 2 + .25 (4 + .25 (3 - 3)) = 3;  t = 0: 1 + .5 (2 + .5 (3 - 1)) = 2.5 */
    bp_retrace(target, reward, discount, value, q, c, 3, 1);
    bpt_close(target[2], 3.0, 0.0);
    bpt_close(target[1], 3.0, 0.0);
    bpt_close(target[0], 2.5, 0.0);
}
/* [e19_three_rows_test] */

/* ---- traces ------------------------------------------------------------------------------------ */

static void test_trace(void **state) {
    bp_real log_pi[6], log_mu[6], mask[6], c[6];
    size_t i;
    (void)state;
    for (i = 0; i < 6; i++) log_pi[i] = BP_R(0), log_mu[i] = BP_R(0), mask[i] = BP_R(1);
    log_pi[0] = BP_R(-2), log_mu[0] = BP_R(-1);      /* less likely under pi */
    log_pi[1] = BP_R(3), log_mu[1] = BP_R(1);        /* more likely: cut at 1 */
    mask[2] = BP_R(0);                               /* a boundary row */
    log_pi[3] = BP_R(5000), log_mu[3] = BP_R(-5000); /* no overflow on the way to 1 */
    log_pi[4] = BP_R(-5000), log_mu[4] = BP_R(5000);
    log_pi[5] = BP_R(NAN);
    bp_retrace_trace(c, log_pi, log_mu, mask, 0.8, 3, 2);
    bpt_close(c[0], 0.8 * exp(-1.0), BPT_TOL(1e-6, 1e-14));
    bpt_close(c[1], 0.8, BPT_TOL(1e-7, 1e-15));
    assert_true(c[2] == BP_R(0));
    bpt_close(c[3], 0.8, BPT_TOL(1e-7, 1e-15));
    assert_true(c[4] == BP_R(0));
    assert_true(c[5] != c[5]); /* NaN is not swallowed */
    mask[5] = BP_R(0);
    bp_retrace_trace(c, log_pi, log_mu, mask, 0.8, 3, 2);
    assert_true(c[5] == BP_R(0)); /* except where there is no action at all */
}

/* Impossible under pi: no trace. Impossible under mu, yet it happened: as likely as can be. Both at once: unknown. */
static void test_trace_of_infinities(void **state) {
    bp_real log_pi[3], log_mu[3], mask[3], c[3];
    (void)state;
    mask[0] = mask[1] = mask[2] = BP_R(1);
    log_pi[0] = BP_R(-INFINITY), log_mu[0] = BP_R(0);
    log_pi[1] = BP_R(0), log_mu[1] = BP_R(-INFINITY);
    log_pi[2] = log_mu[2] = BP_R(-INFINITY);
    bp_retrace_trace(c, log_pi, log_mu, mask, 0.75, 3, 1);
    assert_true(c[0] == BP_R(0));
    assert_true(c[1] == BP_R(0.75));
    assert_true(c[2] != c[2]);
}

static void test_lambda_zero_is_one_step(void **state) {
    bp_rng rng = bp_rng_make(seed, 2);
    data d;
    size_t i;
    (void)state;
    random_data(&d, &rng, 0.0, MAX_T, MAX_B);
    bp_retrace(d.target, d.reward, d.discount, d.value, d.q, d.c, MAX_T, MAX_B);
    for (i = 0; i < MAX_T * MAX_B; i++)
        bpt_close(d.target[i], d.reward[i] + d.discount[i] * d.value[i + MAX_B], BPT_TOL(1e-6, 1e-15));
}

/* Whatever happens after a boundary row must not be felt before it, except the value of the final observation. */
static void test_boundary_cuts_the_trace(void **state) {
    enum { T = 8,
           B = 2,
           CUT = 4 };
    bp_rng rng = bp_rng_make(seed, 3);
    data a, b;
    size_t i;
    (void)state;
    random_data(&a, &rng, 1.0, T, B);
    for (i = 0; i < T * B; i++) a.mask[i] = BP_R(1), a.discount[i] = BP_R(0.9);
    a.mask[CUT * B] = BP_R(0); /* column 0 has a truncation: the row before keeps its discount. Column 1 has none */
    bp_retrace_trace(a.c, a.log_pi, a.log_mu, a.mask, 1.0, T, B);
    b = a;
    for (i = CUT * B; i < T * B; i++) {
        b.reward[i] = -a.reward[i] - BP_R(1);
        b.q[i] += BP_R(3);
        b.value[i + B] += BP_R(2); /* values of the rows after the boundary's */
    }
    bp_retrace(a.target, a.reward, a.discount, a.value, a.q, a.c, T, B);
    bp_retrace(b.target, b.reward, b.discount, b.value, b.q, b.c, T, B);
    for (i = 0; i < CUT; i++) {
        assert_true(a.target[i * B] == b.target[i * B]);
        assert_true(a.target[i * B + 1] != b.target[i * B + 1]); /* the uncut column feels all of it */
    }
    /* a truncated episode does bootstrap from its final observation */
    b = a;
    b.value[CUT * B] += BP_R(1);
    bp_retrace(b.target, b.reward, b.discount, b.value, b.q, b.c, T, B);
    bpt_close(b.target[(CUT - 1) * B] - a.target[(CUT - 1) * B], 0.9, BPT_TOL(1e-5, 1e-14));
    /* and a terminated one does not */
    a.discount[(CUT - 1) * B] = b.discount[(CUT - 1) * B] = BP_R(0);
    bp_retrace(a.target, a.reward, a.discount, a.value, a.q, a.c, T, B);
    bp_retrace(b.target, b.reward, b.discount, b.value, b.q, b.c, T, B);
    for (i = 0; i < CUT; i++) assert_true(a.target[i * B] == b.target[i * B]);
    assert_true(a.target[(CUT - 1) * B] == a.reward[(CUT - 1) * B]);
}

/* ---- the expected operator on a finite MDP --------------------------------------------------------- */

enum { S = 3,
       A = 2,
       H = 3,
       COLUMNS = S * A * S * A * S * A * S }; /* (s0,a0,s1,a1,s2,a2,s3): 648 sequences */
#define GAMMA 0.9
#define ALPHA 0.4

typedef struct world {
    double P[S][A][S], R[S][A], pi[S][A], mu[S][A], pi0[S][A], kl[S];
    double Q[S][A], V[S]; /* exact */
} world;

static void random_distribution(double *p, size_t n, bp_rng *rng) {
    double sum = 0;
    size_t i;
    for (i = 0; i < n; i++) sum += p[i] = 0.05 + bp_rng_uniform(rng);
    for (i = 0; i < n; i++) p[i] /= sum;
}

static void soft_value(double V[S], double Q[S][A], const world *w) {
    size_t s, a;
    for (s = 0; s < S; s++) {
        V[s] = -ALPHA * w->kl[s];
        for (a = 0; a < A; a++) V[s] += w->pi[s][a] * Q[s][a];
    }
}

/* E6 by a direct solve: V = r_pi - alpha KL + gamma P_pi V, an S x S system by Gaussian elimination. */
static void exact_soft_values(world *w) {
    double m[S][S + 1];
    size_t s, a, i, j, k;
    for (s = 0; s < S; s++) {
        for (j = 0; j < S; j++) m[s][j] = s == j ? 1.0 : 0.0;
        m[s][S] = -ALPHA * w->kl[s];
        for (a = 0; a < A; a++) {
            m[s][S] += w->pi[s][a] * w->R[s][a];
            for (j = 0; j < S; j++) m[s][j] -= GAMMA * w->pi[s][a] * w->P[s][a][j];
        }
    }
    for (k = 0; k < S; k++) /* diagonally dominant: no pivoting needed */
        for (i = 0; i < S; i++) {
            const double f = i == k ? 0.0 : m[i][k] / m[k][k];
            for (j = k; j <= S; j++) m[i][j] -= f * m[k][j];
        }
    for (s = 0; s < S; s++) w->V[s] = m[s][S] / m[s][s];
    for (s = 0; s < S; s++)
        for (a = 0; a < A; a++) {
            w->Q[s][a] = w->R[s][a];
            for (j = 0; j < S; j++) w->Q[s][a] += GAMMA * w->P[s][a][j] * w->V[j];
        }
}

static void random_world(world *w, bp_rng *rng, bool on_policy) {
    size_t s, a;
    for (s = 0; s < S; s++) {
        random_distribution(w->pi[s], A, rng);
        random_distribution(w->mu[s], A, rng);
        random_distribution(w->pi0[s], A, rng);
        if (on_policy) memcpy(w->mu[s], w->pi[s], sizeof w->mu[s]);
        w->kl[s] = 0;
        for (a = 0; a < A; a++) {
            random_distribution(w->P[s][a], S, rng);
            w->R[s][a] = 2 * bp_rng_uniform(rng) - 1;
            w->kl[s] += w->pi[s][a] * log(w->pi[s][a] / w->pi0[s][a]);
        }
    }
    exact_soft_values(w);
}

/* [e19_expected_test] */
/* out(s,a) = E[ target of row 0 | s_0 = s, a_0 = a, then mu ] over every sequence of H rows. V_t comes from `value`
 * (what bootstraps), the correction from `q`. The targets themselves are bp_retrace()'s, one column per sequence. */
static void expected_retrace(double out[S][A], double value[S], double q[S][A], const world *w, double lambda) {
    static bp_real target[H * COLUMNS], reward[H * COLUMNS], discount[H * COLUMNS], v[(H + 1) * COLUMNS];
    static bp_real qs[H * COLUMNS], c[H * COLUMNS], log_pi[H * COLUMNS], log_mu[H * COLUMNS], mask[H * COLUMNS];
    static double p[COLUMNS];
    double total = 0;
    size_t b, t, s, a;
    for (b = 0; b < COLUMNS; b++) {
        size_t digits = b, state = digits % S;
        digits /= S;
        p[b] = 1;
        for (t = 0; t < H; t++) {
            const size_t action = digits % A, next = digits / A % S, i = t * COLUMNS + b;
            digits /= A * S;
            if (t > 0) p[b] *= w->mu[state][action];
            p[b] *= w->P[state][action][next];
            reward[i] = BP_R(w->R[state][action]);
            discount[i] = BP_R(GAMMA);
            v[i] = BP_R(value[state]);
            qs[i] = BP_R(q[state][action]);
            log_pi[i] = BP_R(log(w->pi[state][action]));
            log_mu[i] = BP_R(log(w->mu[state][action]));
            mask[i] = BP_R(1);
            state = next;
        }
        v[H * COLUMNS + b] = BP_R(value[state]);
        total += p[b];
    }
    assert_true(fabs(total - S * A) < 1e-12); /* the enumeration is complete */
    bp_retrace_trace(c, log_pi, log_mu, mask, lambda, H, COLUMNS);
    bp_retrace(target, reward, discount, v, qs, c, H, COLUMNS);
    for (s = 0; s < S; s++)
        for (a = 0; a < A; a++) out[s][a] = 0;
    for (b = 0; b < COLUMNS; b++) out[b % S][b / S % A] += p[b] * (double)target[b];
}
/* [e19_expected_test] */

static void test_exact_solution_is_a_solution(void **state) {
    bp_rng rng = bp_rng_make(seed, 4);
    world w;
    double V[S];
    size_t s;
    (void)state;
    random_world(&w, &rng, false);
    soft_value(V, w.Q, &w); /* V of Q of V: the solve above solved E6 */
    for (s = 0; s < S; s++) assert_true(fabs(V[s] - w.V[s]) < 1e-12);
}

/* Chapter 10 solves the same equation with its own code. */
static void test_chapter_10_agrees(void **state) {
    bp_rng rng = bp_rng_make(seed, 8);
    bp_error error;
    size_t round, s, a;
    (void)state;
    for (round = 0; round < 10; round++) {
        world w;
        bp_mdp mdp;
        double V[S], Q[S * A];
        random_world(&w, &rng, false);
        bpt_ok(bp_mdp_create(&mdp, S, A, GAMMA, NULL, &error), &error);
        memcpy(mdp.P, w.P, sizeof w.P);
        memcpy(mdp.R, w.R, sizeof w.R);
        mdp.p0[0] = 1;
        bpt_ok(bp_mdp_check(&mdp, &error), &error);
        bpt_ok(bp_mdp_soft_evaluate(V, Q, &mdp, &w.pi[0][0], &w.pi0[0][0], ALPHA, &error), &error);
        for (s = 0; s < S; s++) {
            assert_true(fabs(V[s] - w.V[s]) < 1e-11);
            for (a = 0; a < A; a++) assert_true(fabs(Q[s * A + a] - w.Q[s][a]) < 1e-11);
        }
        bp_mdp_destroy(&mdp);
    }
}

/* [e19_fixed_point_test] */
static void test_fixed_point_off_policy(void **state) {
    static const double lambdas[4] = {0.0, 0.5, 0.9, 1.0};
    bp_rng rng = bp_rng_make(seed, 5);
    size_t round, k, s, a;
    int n;
    (void)state;
    for (round = 0; round < 5; round++) {
        world w;
        random_world(&w, &rng, false);
        for (k = 0; k < 4; k++) {
            double Q[S][A], V[S], next[S][A], start = 0, first = 0, end = 0, farness = 0;
            for (s = 0; s < S; s++)
                for (a = 0; a < A; a++) {
                    Q[s][a] = 3 * bp_rng_uniform(&rng) - 5; /* far from the answer */
                    start = fmax(start, fabs(Q[s][a] - w.Q[s][a]));
                    farness = fmax(farness, fabs(log(w.pi[s][a] / w.mu[s][a])));
                }
            assert_true(start > 0.1 && farness > 0.05);
            for (n = 0; n < 400; n++) {
                double error = 0;
                soft_value(V, Q, &w);
                expected_retrace(next, V, Q, &w, lambdas[k]);
                memcpy(Q, next, sizeof Q);
                for (s = 0; s < S; s++)
                    for (a = 0; a < A; a++) error = fmax(error, fabs(Q[s][a] - w.Q[s][a]));
                if (n == 0) first = error;
                end = error;
                if (error < BPT_TOL(1e-6, 1e-13)) break;
            }
            assert_true(first <= GAMMA * start * (1 + 1e-5)); /* a gamma-contraction (Munos et al. 2016, theorem 1) */
            if (!(end < BPT_TOL(1e-4, 1e-9))) {
                print_error("lambda %g: %.3g from the exact soft Q\n", lambdas[k], end);
                fail();
            }
        }
    }
}
/* [e19_fixed_point_test] */

/* Without the minimum's and the ratio's protection it would not work: traces of 1 whatever mu did (Q(lambda) with
 * uncorrected returns) have another fixed point. This shows that the test above can fail. */
static void test_uncorrected_traces_miss(void **state) {
    bp_rng rng = bp_rng_make(seed, 6);
    world w, lie;
    double Q[S][A], V[S], next[S][A], error = 0;
    size_t s, a;
    int n;
    (void)state;
    random_world(&w, &rng, false);
    /* values of mu instead of pi, reached by calling the data on-policy */
    lie = w;
    memcpy(lie.pi, w.mu, sizeof lie.pi);
    memset(Q, 0, sizeof Q);
    for (n = 0; n < 300; n++) {
        soft_value(V, Q, &lie);
        expected_retrace(next, V, Q, &lie, 1.0);
        memcpy(Q, next, sizeof Q);
    }
    for (s = 0; s < S; s++)
        for (a = 0; a < A; a++) error = fmax(error, fabs(Q[s][a] - w.Q[s][a]));
    assert_true(error > 1e-3);
}

static void test_on_policy_lambda_one(void **state) {
    bp_rng rng = bp_rng_make(seed, 7);
    size_t round, s, a;
    (void)state;
    for (round = 0; round < 10; round++) {
        world w;
        double out[S][A];
        random_world(&w, &rng, true);
        expected_retrace(out, w.V, w.Q, &w, 1.0);
        for (s = 0; s < S; s++)
            for (a = 0; a < A; a++) bpt_close(out[s][a], w.Q[s][a], BPT_TOL(1e-5, 1e-12));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recursion_is_the_double_sum),
        cmocka_unit_test(test_three_rows_by_hand),
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_trace_of_infinities),
        cmocka_unit_test(test_lambda_zero_is_one_step),
        cmocka_unit_test(test_boundary_cuts_the_trace),
        cmocka_unit_test(test_exact_solution_is_a_solution),
        cmocka_unit_test(test_chapter_10_agrees),
        cmocka_unit_test(test_fixed_point_off_policy),
        cmocka_unit_test(test_uncorrected_traces_miss),
        cmocka_unit_test(test_on_policy_lambda_one),
    };
    seed = bpt_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
