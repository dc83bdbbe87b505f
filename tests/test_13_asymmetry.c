/* Chapter 13: field sets, and priors that see only the class of a state. */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"

enum { N_MDPS = 100,
       MAX_S = 7,
       MAX_A = 4,
       MAX_C = 3 };

static void make_spec(bp_spec *spec) {
    bp_error e;
    bp_spec_begin(spec, "toy");
    bpt_ok(bp_spec_add_field(spec, "position", 2, &e), &e);
    bpt_ok(bp_spec_add_field(spec, "velocity", 3, &e), &e);
    bpt_ok(bp_spec_add_field(spec, "goal", 1, &e), &e);
    bpt_ok(bp_spec_actions_continuous(spec, 1, -1, 1, &e), &e);
}

static void test_field_set(void **state) {
    static const char *const two[] = {"goal", "position"};
    static const char *const all[] = {"*"};
    static const char *const twice[] = {"goal", "goal"};
    static const char *const mixed[] = {"goal", "*"};
    static const char *const wrong[] = {"goal", "speed"};
    static const char *const null_name[] = {NULL};
    static const size_t rows[4] = {3, 0, 3, 1};
    bp_spec spec;
    bp_field_set set;
    bp_error e;
    bp_real x[4 * 6], out[4 * 6], dx[4 * 6], dout[4 * 3];
    size_t r, i;
    double left = 0, right = 0;
    (void)state;
    make_spec(&spec);
    bpt_ok(bp_field_set_make(&set, &spec, two, 2, &e), &e);
    assert_int_equal(set.n, 2);
    assert_int_equal(set.size, 3);
    assert_true(bp_field_set_has(&set, 2) && bp_field_set_has(&set, 0) && !bp_field_set_has(&set, 1));
    for (i = 0; i < 24; i++) x[i] = (bp_real)(10 * (i / 6) + i % 6);
    memset(out, 0, sizeof out);
    bp_field_gather(out, x, &set, 6, 4, NULL);
    for (r = 0; r < 4; r++) { /* in the order of the names */
        bpt_close(out[r * 3], 10 * r + 5, 0);
        bpt_close(out[r * 3 + 1], 10 * r, 0);
        bpt_close(out[r * 3 + 2], 10 * r + 1, 0);
    }
    bp_field_gather(out, x, &set, 6, 4, rows);
    for (r = 0; r < 4; r++) bpt_close(out[r * 3], 10 * rows[r] + 5, 0);

    /* gather is linear, so its pullback is its transpose: <dout, gather x> = <pullback dout, x> */
    for (i = 0; i < 12; i++) dout[i] = (bp_real)(i * i % 7) - 3;
    for (i = 0; i < 24; i++) dx[i] = 0;
    bp_field_gather_backward(dx, dout, &set, 6, 4, rows);
    for (i = 0; i < 12; i++) left += (double)(dout[i] * out[i]);
    for (i = 0; i < 24; i++) right += (double)(dx[i] * x[i]);
    assert_true(fabs(left) > 1);
    bpt_close(left, right, 0);
    bpt_close(dx[2 * 6], 0, 0);                           /* row 2 was not gathered */
    bpt_close(dx[3 * 6 + 5], dout[0] + dout[6], 0);       /* row 3 was, twice */
    bp_field_gather_backward(dx, dout, &set, 6, 4, rows); /* adds */
    bpt_close(dx[3 * 6 + 5], 2 * (dout[0] + dout[6]), 0);

    bpt_ok(bp_field_set_make(&set, &spec, all, 1, &e), &e);
    assert_int_equal(set.size, 6);
    bp_field_gather(out, x, &set, 6, 4, NULL);
    assert_memory_equal(out, x, sizeof x);
    bpt_ok(bp_field_set_make(&set, &spec, NULL, 0, &e), &e); /* a prior that sees nothing */
    assert_int_equal(set.size, 0);
    bp_field_gather(NULL, x, &set, 6, 4, NULL);

    assert_int_equal(bp_field_set_make(&set, &spec, wrong, 2, &e), BP_ERR_FIELD);
    assert_non_null(strstr(e.text, "'speed'"));
    assert_non_null(strstr(e.text, "position, velocity, goal"));
    assert_int_equal(set.n, 0);
    assert_int_equal(bp_field_set_make(&set, &spec, twice, 2, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_field_set_make(&set, &spec, mixed, 2, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_field_set_make(&set, &spec, null_name, 1, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_field_set_make(&set, &spec, NULL, 1, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_field_set_make(&set, NULL, all, 1, NULL), BP_ERR_ARGUMENT);
    /* many long names: the list is cut, and says so */
    bp_spec_begin(&spec, "crowd");
    for (i = 0; i < BP_MAX_FIELDS; i++) {
        char name[BP_NAME];
        snprintf(name, sizeof name, "a_field_with_a_long_name_%d", (int)i);
        bpt_ok(bp_spec_add_field(&spec, name, 1, &e), &e);
    }
    assert_int_equal(bp_field_set_make(&set, &spec, wrong, 2, &e), BP_ERR_FIELD);
    assert_non_null(strstr(e.text, "..."));
    assert_non_null(strstr(e.text, "'goal'"));
}

static void make_mdp(bp_mdp *m, bp_rng *rng, size_t *phi, size_t *C, int i) {
    bp_error e;
    const size_t S = 3 + (size_t)i % 5, A = 2 + (size_t)(i / 5) % 3;
    size_t s;
    *rng = bp_rng_make(3000 + (uint64_t)i, 13);
    bpt_ok(bp_mdp_create(m, S, A, 0.5 + 0.045 * (double)(i % 11), NULL, &e), &e);
    bp_mdp_random(m, rng, (size_t)i % 3);
    if (i % 4 == 3) m->terminal[S - 1] = true;
    *C = 1 + (size_t)i % MAX_C;
    for (s = 0; s < S; s++) phi[s] = s % *C;
}

/* E14 is E4 with a prior that is the same in states of one class. */
static void test_objective(void **state) {
    int i;
    (void)state;
    for (i = 0; i < N_MDPS; i++) {
        bp_mdp m;
        bp_rng rng;
        bp_error e;
        bp_objective o;
        size_t phi[MAX_S], C, s;
        double pi[MAX_S * MAX_A], prior[MAX_C * MAX_A], pi0[MAX_S * MAX_A], V[MAX_S], d[MAX_S], L = 0;
        make_mdp(&m, &rng, phi, &C, i);
        bp_mdp_random_policy(pi, &rng, m.S, m.A);
        bp_mdp_random_policy(prior, &rng, C, m.A);
        bp_asymmetric_expand(pi0, prior, phi, m.S, m.A);
        bpt_ok(bp_mdp_soft_evaluate(V, NULL, &m, pi, pi0, 0.4, &e), &e);
        for (s = 0; s < m.S; s++) L += m.p0[s] * V[s];
        bpt_ok(bp_asymmetric_objective(&o, &m, pi, prior, phi, C, 0.4, &e), &e);
        bpt_close(o.value, L, 1e-10);
        bpt_ok(bp_mdp_visitation(d, &m, pi, &e), &e);
        bpt_close(o.divergence, bp_distillation_loss(prior, d, pi, phi, m.S, m.A), 1e-10);
        phi[0] = C;
        assert_int_equal(bp_asymmetric_objective(&o, &m, pi, prior, phi, C, 0.4, &e), BP_ERR_ARGUMENT);
        bp_mdp_destroy(&m);
    }
}

/* E17: the visitation-weighted mixture minimises the distillation loss over random priors near and far; at it the gradient
 * vanishes; elsewhere the gradient is that of the loss. */
static void test_distillation(void **state) {
    int i;
    (void)state;
    for (i = 0; i < N_MDPS; i++) {
        bp_mdp m;
        bp_rng rng;
        bp_error e;
        size_t phi[MAX_S], C, k, s, a;
        double pi[MAX_S * MAX_A], best[MAX_C * MAX_A], other[MAX_C * MAX_A], d[MAX_S], g[MAX_C * MAX_A], x[MAX_C * MAX_A];
        double least, norm = 0, seen[MAX_C] = {0, 0, 0};
        int trial;
        make_mdp(&m, &rng, phi, &C, i);
        bp_mdp_random_policy(pi, &rng, m.S, m.A);
        bpt_ok(bp_mdp_visitation(d, &m, pi, &e), &e);
        bp_distilled_prior(best, d, pi, phi, m.S, m.A, C);
        least = bp_distillation_loss(best, d, pi, phi, m.S, m.A);
        assert_true(least >= -1e-14);
        for (trial = 0; trial < 200; trial++) {
            const double mix = pow(10, -(double)(trial % 10) / 2);
            bp_mdp_random_policy(other, &rng, C, m.A);
            for (k = 0; k < C * m.A; k++) other[k] = (1 - mix) * best[k] + mix * other[k];
            assert_true(bp_distillation_loss(other, d, pi, phi, m.S, m.A) >= least - 1e-13);
        }
        memset(g, 0, sizeof g);
        bp_distillation_backward(g, 1, best, d, pi, phi, m.S, m.A);
        for (k = 0; k < C * m.A; k++) assert_true(fabs(g[k]) < 1e-12);
        for (k = 0; k < C * m.A; k++) x[k] = 2 * bp_rng_uniform(&rng) - 1;
        bp_mdp_softmax(other, x, C, m.A);
        bp_distillation_backward(g, 3, other, d, pi, phi, m.S, m.A);
        for (k = 0; k < C * m.A; k++) {
            const double keep = x[k], h = 1e-5;
            double up, down;
            x[k] = keep + h;
            bp_mdp_softmax(other, x, C, m.A);
            up = bp_distillation_loss(other, d, pi, phi, m.S, m.A);
            x[k] = keep - h;
            bp_mdp_softmax(other, x, C, m.A);
            down = bp_distillation_loss(other, d, pi, phi, m.S, m.A);
            x[k] = keep;
            norm += fabs(g[k]);
            assert_true(fabs(g[k] / 3 - (up - down) / (2 * h)) < 1e-7 * fmax(1, fabs(g[k])));
        }
        assert_true(norm > 1e-6);
        /* one class: the mixture over all states; as many classes as states: the policy itself, at no loss */
        for (s = 0; s < m.S; s++) seen[phi[s]] += d[s];
        for (a = 0; a < m.A; a++) {
            double p = 0;
            for (s = 0; s < m.S; s++) p += phi[s] == 0 ? d[s] * pi[s * m.A + a] / seen[0] : 0;
            bpt_close(best[a], p, 1e-12);
        }
        {
            double own[MAX_S * MAX_A];
            size_t id[MAX_S];
            for (s = 0; s < m.S; s++) id[s] = s;
            bp_distilled_prior(own, d, pi, id, m.S, m.A, m.S);
            bpt_close(bp_distillation_loss(own, d, pi, id, m.S, m.A), 0, 1e-12);
            /* a class nobody visits is uniform */
            if (m.terminal[m.S - 1]) bpt_close(own[(m.S - 1) * m.A], 1 / (double)m.A, 0);
        }
        bp_mdp_destroy(&m);
    }
}

/* E7 and E17 in turn never lower E14, and the best policy against the distilled prior beats random pairs near it. */
static void test_solve(void **state) {
    int i;
    (void)state;
    for (i = 0; i < N_MDPS; i++) {
        enum { ROUNDS = 30 };
        bp_mdp m;
        bp_rng rng;
        bp_error e;
        bp_objective o;
        size_t phi[MAX_S], C, k;
        double pi[MAX_S * MAX_A], prior[MAX_C * MAX_A], pi0[MAX_S * MAX_A], d[MAX_S], L[ROUNDS];
        int trial;
        make_mdp(&m, &rng, phi, &C, i);
        bp_mdp_uniform_policy(prior, C, m.A);
        bpt_ok(bp_asymmetric_solve(pi, prior, L, pi0, d, &m, phi, C, 0.3, ROUNDS, &e), &e);
        for (k = 1; k < ROUNDS; k++) assert_true(L[k] >= L[k - 1] - 1e-9);
        bpt_ok(bp_asymmetric_objective(&o, &m, pi, prior, phi, C, 0.3, &e), &e);
        bpt_close(o.value, L[ROUNDS - 1], 1e-10);
        for (trial = 0; trial < 50; trial++) {
            double p[MAX_S * MAX_A], q[MAX_C * MAX_A];
            const double mix = 0.02;
            bp_mdp_random_policy(p, &rng, m.S, m.A);
            bp_mdp_random_policy(q, &rng, C, m.A);
            for (k = 0; k < m.S * m.A; k++) p[k] = (1 - mix) * pi[k] + mix * p[k];
            for (k = 0; k < C * m.A; k++) q[k] = (1 - mix) * prior[k] + mix * q[k];
            bpt_ok(bp_asymmetric_objective(&o, &m, p, q, phi, C, 0.3, &e), &e);
            assert_true(o.value <= L[ROUNDS - 1] + 5e-3); /* slack: 30 rounds may not be at the end yet */
        }
        phi[1] = C;
        assert_int_equal(bp_asymmetric_solve(pi, prior, NULL, pi0, d, &m, phi, C, 0.3, 1, &e), BP_ERR_ARGUMENT);
        bp_mdp_destroy(&m);
    }
}

/* What asymmetry is for: two goals at the two ends of a corridor. A prior that sees the position but not the goal learns
 * "leave the middle"; one that sees everything is the policy. */
static void test_corridor(void **state) {
    enum { CELLS = 7,
           S = 2 * CELLS };
    bp_mdp m;
    bp_error e;
    size_t phi[S], s, g, x, a;
    double pi[S * 2], prior[CELLS * 2], pi0[S * 2], d[S], L[40];
    (void)state;
    bpt_ok(bp_mdp_create(&m, S, 2, 0.9, NULL, &e), &e); /* state = goal*CELLS + cell; actions left, right */
    for (g = 0; g < 2; g++) {
        for (x = 0; x < CELLS; x++) {
            s = g * CELLS + x;
            phi[s] = x;
            m.terminal[s] = x == (g ? CELLS - 1 : 0);
            for (a = 0; a < 2; a++) {
                const size_t to = a ? (x < CELLS - 1 ? x + 1 : x) : (x > 0 ? x - 1 : x);
                m.P[(s * 2 + a) * S + g * CELLS + to] = 1;
                m.R[s * 2 + a] = to == (g ? CELLS - 1 : 0) && !m.terminal[s] ? 1 : 0;
            }
        }
        m.p0[g * CELLS + CELLS / 2] = 0.5;
    }
    bpt_ok(bp_mdp_check(&m, &e), &e);
    bp_mdp_uniform_policy(prior, CELLS, 2);
    bpt_ok(bp_asymmetric_solve(pi, prior, L, pi0, d, &m, phi, CELLS, 0.05, 40, &e), &e);
    bpt_close(prior[3 * 2], 0.5, 1e-9); /* in the middle either goal is possible */
    assert_true(prior[1 * 2] > 0.9);    /* further left, only one of them is likely */
    assert_true(prior[5 * 2 + 1] > 0.9);
    assert_true(pi[(0 * CELLS + 3) * 2] > 0.9); /* the policy knows */
    assert_true(pi[(1 * CELLS + 3) * 2 + 1] > 0.9);
    bp_mdp_destroy(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_field_set),
        cmocka_unit_test(test_objective),
        cmocka_unit_test(test_distillation),
        cmocka_unit_test(test_solve),
        cmocka_unit_test(test_corridor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
