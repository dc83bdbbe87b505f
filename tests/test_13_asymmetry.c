/* Chapter 13: field sets, priors that see only the class of a state, and the information bottleneck. */
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

/* Which fields a network sees (E14): names, gathering, its transpose. */
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
        /* [e17_test] */
        for (trial = 0; trial < 200; trial++) {
            const double mix = pow(10, -(double)(trial % 10) / 2);
            bp_mdp_random_policy(other, &rng, C, m.A);
            for (k = 0; k < C * m.A; k++) other[k] = (1 - mix) * best[k] + mix * other[k];
            assert_true(bp_distillation_loss(other, d, pi, phi, m.S, m.A) >= least - 1e-13);
        }
        /* [e17_test] */
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

/* [e14_test] */
/* What E14 is for: two goals at the two ends of a corridor. A prior that sees the position but not the goal learns
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
/* [e14_test] */

/* ---- the information bottleneck (E15, E16) ---------------------------------------------------------- */

/* Entropy in nats of weights w [n] with sum W: the textbook formula, not the library's KL. */
static double entropy(const double *w, size_t n, double W) {
    double H = 0;
    size_t i;
    for (i = 0; i < n; i++)
        if (w[i] > 0) H -= w[i] / W * log(w[i] / W);
    return H;
}

/* Everything of E15 and E16 from the list of all (state, action) pairs, with visits counted by walking forward in time
 * and the information as H(a|x^D) - H(a|x). */
typedef struct listed {
    double visits[MAX_S], joint[MAX_C * MAX_A], seen[MAX_C];
    double reward, steps, information, bound, gap;
} listed;

/* [e15_list_test] */
static void list_all(listed *l, const bp_mdp *m, const double *pi, const double *prior, const size_t *phi, size_t C) {
    double p[MAX_S], next[MAX_S], weight = 1;
    size_t s, a, k, c;
    int t;
    memset(l, 0, sizeof *l);
    for (s = 0; s < m->S; s++) p[s] = m->p0[s];
    for (t = 0; t < 4000 && weight > 1e-18; t++, weight *= m->gamma) {
        memset(next, 0, sizeof next);
        for (s = 0; s < m->S; s++) {
            if (m->terminal[s]) continue;
            l->visits[s] += weight * p[s];
            for (a = 0; a < m->A; a++)
                for (k = 0; k < m->S; k++) next[k] += p[s] * pi[s * m->A + a] * m->P[(s * m->A + a) * m->S + k];
        }
        memcpy(p, next, sizeof p);
    }
    for (s = 0; s < m->S; s++) {
        l->steps += l->visits[s];
        l->seen[phi[s]] += l->visits[s];
        for (a = 0; a < m->A; a++) {
            const double w = l->visits[s] * pi[s * m->A + a];
            l->joint[phi[s] * m->A + a] += w;
            l->reward += w * m->R[s * m->A + a];
            if (w > 0) l->bound += w * log(pi[s * m->A + a] / prior[phi[s] * m->A + a]);
        }
        l->information -= l->visits[s] * entropy(pi + s * m->A, m->A, 1);
    }
    for (c = 0; c < C; c++) {
        if (!(l->seen[c] > 0)) continue;
        l->information += l->seen[c] * entropy(l->joint + c * m->A, m->A, l->seen[c]);
        for (a = 0; a < m->A; a++) {
            const double w = l->joint[c * m->A + a];
            if (w > 0) l->gap += w * log(w / l->seen[c] / prior[c * m->A + a]);
        }
    }
}
/* [e15_list_test] */

/* E15, E16: all parts against the list; bound = information + gap to 1e-12; tight at the marginal and only there. */
static void test_bottleneck(void **state) {
    int i, loose = 0;
    (void)state;
    for (i = 0; i < N_MDPS; i++) {
        bp_mdp m;
        bp_rng rng;
        bp_error e;
        bp_objective o;
        bp_bottleneck b, tight;
        listed l;
        size_t phi[MAX_S], id[MAX_S], C, c, s, k;
        double pi[MAX_S * MAX_A], prior[MAX_C * MAX_A], marginal[MAX_C * MAX_A], again[MAX_S * MAX_A];
        const double alpha = 0.1 + 0.05 * i;
        make_mdp(&m, &rng, phi, &C, i);
        bp_mdp_random_policy(pi, &rng, m.S, m.A);
        bp_mdp_random_policy(prior, &rng, C, m.A);
        if (i % 3 == 1) pi[0] += pi[1], pi[1] = 0; /* an action that is never taken here: 0 log 0 = 0 */
        list_all(&l, &m, pi, prior, phi, C);
        /* [e16_test] */
        bpt_ok(bp_bottleneck_objective(&b, marginal, &m, pi, prior, phi, C, alpha, &e), &e);
        bpt_close(b.steps, l.steps, 1e-10);
        bpt_close(b.reward, l.reward, 1e-10);
        bpt_close(b.information, l.information, 1e-10);
        bpt_close(b.bound, l.bound, 1e-10);
        bpt_close(b.gap, l.gap, 1e-10);
        bpt_close(b.value, l.reward - alpha * l.information, 1e-10);
        bpt_close(b.alpha, alpha, 0);
        for (c = 0; c < C; c++)
            for (k = 0; k < m.A; k++) {
                const double p = l.seen[c] > 0 ? l.joint[c * m.A + k] / l.seen[c] : 1 / (double)m.A;
                bpt_close(marginal[c * m.A + k], p, 1e-10);
            }
        /* the identity and the inequalities of E16 */
        bpt_close(b.bound, b.information + b.gap, 1e-12);
        assert_true(b.information >= 0 && b.gap > 1e-6 && b.bound >= b.information && b.lower <= b.value);
        /* [e16_test] */
        loose += C < m.S && b.information > 1e-3;
        bpt_close(b.information_rate * b.steps, b.information, 1e-12);
        bpt_close(b.bound_rate * b.steps, b.bound, 1e-12);
        bpt_close(b.gap_rate * b.steps, b.gap, 1e-12);
        /* `lower` is E14 */
        bpt_ok(bp_asymmetric_objective(&o, &m, pi, prior, phi, C, alpha, &e), &e);
        bpt_close(b.lower, o.value, 1e-12);
        bpt_close(b.bound, o.divergence, 1e-12);
        bpt_close(b.reward, o.reward, 1e-12);
        /* tight at the policy's own marginal, whether it is passed or meant */
        bpt_ok(bp_bottleneck_objective(&tight, again, &m, pi, marginal, phi, C, alpha, &e), &e);
        bpt_close(tight.gap, 0, 1e-14);
        bpt_close(tight.bound, b.information, 1e-12);
        bpt_ok(bp_bottleneck_objective(&tight, again, &m, pi, NULL, phi, C, alpha, &e), &e);
        assert_memory_equal(again, marginal, C * m.A * sizeof(double));
        assert_true(!(tight.gap > 0) && !(tight.bound < tight.information) && !(tight.bound > tight.information));
        bpt_close(tight.lower, b.value, 1e-12);
        /* who sees everything hides nothing, and a policy that looks at the class alone reveals nothing */
        for (s = 0; s < m.S; s++) id[s] = s;
        bpt_ok(bp_bottleneck_objective(&tight, again, &m, pi, NULL, id, m.S, alpha, &e), &e);
        bpt_close(tight.information, 0, 1e-13);
        bp_asymmetric_expand(again, prior, phi, m.S, m.A);
        bpt_ok(bp_bottleneck_objective(&tight, marginal, &m, again, prior, phi, C, alpha, &e), &e);
        bpt_close(tight.information, 0, 1e-13);
        bpt_close(tight.bound, 0, 1e-13);
        bp_mdp_destroy(&m);
    }
    assert_true(loose > N_MDPS / 2); /* most of these policies do reveal something */
}

/* E15 with a clock: a state that contains the time, seen by the prior or not. Taking the information at each t by itself is
 * never more, and the difference is the information between time and action given the class. */
static void test_bottleneck_time(void **state) {
    enum { T = 3,
           N = 2,
           S = T * N + 1,
           A = 3 }; /* state = t*N + x, then the end */
    int i;
    (void)state;
    for (i = 0; i < 50; i++) {
        bp_mdp m;
        bp_rng rng = bp_rng_make(77, (uint64_t)i);
        bp_error e;
        bp_bottleneck with_clock, without;
        size_t clock[S], blind[S], s, a, t;
        double pi[S * A], marginal[S * A], by_hand = 0, weight = 1, moved[S * A];
        bpt_ok(bp_mdp_create(&m, S, A, 0.8, NULL, &e), &e);
        for (s = 0; s < S; s++) {
            clock[s] = s < T * N ? s / N : T; /* x^D = t */
            blind[s] = s < T * N ? 0 : 1;     /* x^D = nothing */
            m.terminal[s] = s == T * N;
            for (a = 0; a < A; a++) {
                double *p = m.P + (s * A + a) * S;
                if (s >= (T - 1) * N) p[T * N] = 1;
                else p[(s / N + 1) * N] = bp_rng_uniform(&rng), p[(s / N + 1) * N + 1] = 1 - p[(s / N + 1) * N];
            }
        }
        m.p0[0] = 0.3, m.p0[1] = 0.7;
        bpt_ok(bp_mdp_check(&m, &e), &e);
        bp_mdp_random_policy(pi, &rng, S, A);
        bpt_ok(bp_bottleneck_objective(&with_clock, marginal, &m, pi, NULL, clock, T + 1, 1, &e), &e);
        /* sum_t gamma^t I_t with the distribution of each step */
        {
            double p[N] = {0.3, 0.7}, next[N];
            for (t = 0; t < T; t++, weight *= m.gamma) {
                double mix[A] = {0, 0, 0}, I = 0;
                next[0] = next[1] = 0;
                for (s = 0; s < N; s++)
                    for (a = 0; a < A; a++) {
                        const double w = p[s] * pi[(t * N + s) * A + a];
                        mix[a] += w;
                        if (t + 1 < T) {
                            next[0] += w * m.P[((t * N + s) * A + a) * S + (t + 1) * N];
                            next[1] += w * m.P[((t * N + s) * A + a) * S + (t + 1) * N + 1];
                        }
                    }
                I = entropy(mix, A, 1);
                for (s = 0; s < N; s++) I -= p[s] * entropy(pi + (t * N + s) * A, A, 1);
                by_hand += weight * I;
                for (a = 0; a < A; a++) moved[t * A + a] = weight * mix[a];
                memcpy(p, next, sizeof p);
            }
        }
        bpt_close(with_clock.steps, 1 + 0.8 + 0.64, 1e-12);
        bpt_close(with_clock.information, by_hand, 1e-12);
        bpt_ok(bp_bottleneck_objective(&without, marginal, &m, pi, NULL, blind, 2, 1, &e), &e);
        assert_true(without.information >= with_clock.information - 1e-13);
        { /* I[time; action] of the blind prior's only class, as H(a) - H(a|t) */
            double all[A] = {0, 0, 0}, I, D = without.steps;
            for (t = 0; t < T; t++)
                for (a = 0; a < A; a++) all[a] += moved[t * A + a];
            I = D * entropy(all, A, D);
            for (t = 0, weight = 1; t < T; t++, weight *= m.gamma) I -= weight * entropy(moved + t * A, A, weight);
            bpt_close(without.information - with_clock.information, I, 1e-12);
        }
        bp_mdp_destroy(&m);
    }
}

/* The corridor of test_corridor(): goal at one end, a prior that sees the cell. phi [2*cells]. */
static void make_corridor(bp_mdp *m, size_t *phi, size_t cells, double gamma) {
    bp_error e;
    size_t g, x, a;
    bpt_ok(bp_mdp_create(m, 2 * cells, 2, gamma, NULL, &e), &e);
    for (g = 0; g < 2; g++) {
        const size_t goal = g ? cells - 1 : 0;
        for (x = 0; x < cells; x++) {
            const size_t s = g * cells + x;
            phi[s] = x;
            m->terminal[s] = x == goal;
            for (a = 0; a < 2; a++) {
                const size_t to = a ? (x < cells - 1 ? x + 1 : x) : (x > 0 ? x - 1 : x);
                m->P[(s * 2 + a) * m->S + g * cells + to] = 1;
                m->R[s * 2 + a] = to == goal && !m->terminal[s] ? 1 : 0;
            }
        }
        m->p0[g * cells + cells / 2] = 0.5;
    }
    bpt_ok(bp_mdp_check(m, &e), &e);
}

/* E15's rate-return curve: from one bit to nothing, monotone, tight everywhere, no point beaten by another at its price. */
static void test_bottleneck_curve(void **state) {
    enum { CELLS = 7,
           N = 9 };
    static const double alpha[N] = {0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 2, 100};
    bp_mdp m;
    bp_error e;
    bp_bottleneck curve[N];
    size_t phi[2 * CELLS], i, k;
    double pi[2 * CELLS * 2], prior[CELLS * 2], pi0[2 * CELLS * 2], d[2 * CELLS];
    (void)state;
    make_corridor(&m, phi, CELLS, 0.9);
    bpt_ok(bp_bottleneck_curve(curve, pi, prior, pi0, d, &m, phi, CELLS, alpha, N, 200, &e), &e);
    /* almost free: three steps to the goal, and one bit said once, where the goal shows */
    bpt_close(curve[0].reward, 0.9 * 0.9, 1e-3);
    bpt_close(curve[0].steps, 1 + 0.9 + 0.81, 1e-2);
    bpt_close(curve[0].information, log(2.0), 1e-2);
    bpt_close(curve[N - 1].information, 0, 1e-4); /* too dear to say anything */
    for (i = 0; i < N; i++) {
        bpt_close(curve[i].alpha, alpha[i], 0);
        assert_true(!(curve[i].gap > 0));
        bpt_close(curve[i].lower, curve[i].value, 1e-12);
        if (i) assert_true(curve[i].information <= curve[i - 1].information + 1e-9);
        if (i) assert_true(curve[i].reward <= curve[i - 1].reward + 1e-9);
        for (k = 0; k < N; k++)
            assert_true(curve[i].value >= curve[k].reward - alpha[i] * curve[k].information - 1e-6);
    }
    { /* what comes out belongs to the last price */
        bp_bottleneck b;
        double marginal[CELLS * 2];
        bpt_ok(bp_bottleneck_objective(&b, marginal, &m, pi, prior, phi, CELLS, alpha[N - 1], &e), &e);
        bpt_close(b.value, curve[N - 1].value, 1e-12);
        bpt_close(b.gap, 0, 1e-14);
    }
    bp_mdp_destroy(&m);
}

/* E16 from samples: episodes that stop with probability 1 - gamma visit states as often as d(s) says, so the mean must
 * lie around the exact rate, and its error bar must be as long as the errors are. */
static void test_bottleneck_estimate(void **state) {
    enum { T = 60,
           B = 200,
           REPEATS = 200 };
    static bp_real kl[T * B], mask[T * B];
    bp_mdp m;
    bp_rng rng;
    bp_error e;
    bp_bottleneck exact;
    bp_bottleneck_sample x;
    size_t phi[MAX_S], C, t, b, r;
    double pi[MAX_S * MAX_A], prior[MAX_C * MAX_A], marginal[MAX_C * MAX_A], z, zz = 0, sum_z = 0;
    (void)state;
    make_mdp(&m, &rng, phi, &C, 8); /* 6 states, 3 actions, gamma .86 */
    assert_true(C > 1 && m.gamma > 0.8);
    bp_mdp_random_policy(pi, &rng, m.S, m.A);
    bp_mdp_random_policy(prior, &rng, C, m.A);
    bpt_ok(bp_bottleneck_objective(&exact, marginal, &m, pi, prior, phi, C, 1, &e), &e);
    for (r = 0; r < REPEATS; r++) {
        for (b = 0; b < B; b++) {
            double p[MAX_S], u;
            size_t s, a;
            bool alive = true;
            for (s = 0, u = bp_rng_uniform(&rng); s + 1 < m.S && u >= m.p0[s]; s++) u -= m.p0[s];
            for (t = 0; t < T; t++) {
                mask[t * B + b] = alive ? 1 : 0;
                kl[t * B + b] = (bp_real)NAN; /* a row that is masked is not read */
                if (!alive) continue;
                for (a = 0, z = 0; a < m.A; a++) z += pi[s * m.A + a] * log(pi[s * m.A + a] / prior[phi[s] * m.A + a]);
                kl[t * B + b] = (bp_real)z;
                alive = bp_rng_uniform(&rng) < m.gamma;
                for (a = 0, u = bp_rng_uniform(&rng); a + 1 < m.A && u >= pi[s * m.A + a]; a++) u -= pi[s * m.A + a];
                memcpy(p, m.P + (s * m.A + a) * m.S, m.S * sizeof(double));
                for (s = 0, u = bp_rng_uniform(&rng); s + 1 < m.S && u >= p[s]; s++) u -= p[s];
            }
        }
        bpt_ok(bp_bottleneck_estimate(&x, kl, mask, T, B, &e), &e);
        assert_int_equal(x.sequences, B);
        assert_true(x.standard_error > 0 && fabs(x.mean - exact.bound_rate) < 6 * x.standard_error);
        z = (x.mean - exact.bound_rate) / x.standard_error;
        sum_z += z, zz += z * z;
    }
    assert_true(fabs(sum_z / REPEATS) < 0.3);                /* unbiased: 4 standard errors of the mean of z */
    assert_true(zz / REPEATS > 0.65 && zz / REPEATS < 1.45); /* the error bar has the right length */
    bp_mdp_destroy(&m);
}

/* The estimator of E16 by hand, its weights, and everything it must refuse. */
static void test_bottleneck_estimate_inputs(void **state) {
    static const bp_real four[4] = {1, 2, 3, 6}, twice[8] = {1, 2, 3, 6, 1, 2, 3, 6};
    bp_real kl[4] = {1, 2, 3, 6}, mask[4] = {1, 0, 2, 0};
    bp_bottleneck_sample x;
    bp_error e;
    (void)state;
    /* four independent numbers: mean 3, variance 14/3 */
    bpt_ok(bp_bottleneck_estimate(&x, four, NULL, 1, 4, &e), &e);
    bpt_close(x.mean, 3, 1e-15);
    bpt_close(x.standard_error, sqrt(14.0 / 3 / 4), 1e-14);
    bpt_close(x.steps, 4, 0);
    assert_int_equal(x.sequences, 4);
    /* the same four, each said twice within its sequence: no smaller error, though there are twice as many steps */
    bpt_ok(bp_bottleneck_estimate(&x, twice, NULL, 2, 4, &e), &e);
    bpt_close(x.standard_error, sqrt(14.0 / 3 / 4), 1e-14);
    bpt_close(x.steps, 8, 0);
    /* weights: [2][2], column 0 holds 1 and twice 3, column 1 nothing */
    kl[1] = (bp_real)INFINITY;
    bpt_ok(bp_bottleneck_estimate(&x, kl, mask, 2, 2, &e), &e);
    bpt_close(x.mean, 7.0 / 3, 1e-15);
    assert_int_equal(x.sequences, 1);
    assert_true(x.standard_error > 1e300); /* one sequence says nothing about the spread */

    assert_int_equal(bp_bottleneck_estimate(&x, kl, NULL, 2, 2, &e), BP_ERR_NONFINITE);
    assert_non_null(strstr(e.text, "kl[0][1]"));
    assert_true(!(x.mean > 0) && x.sequences == 0);
    mask[2] = -1;
    assert_int_equal(bp_bottleneck_estimate(&x, kl, mask, 2, 2, &e), BP_ERR_ARGUMENT);
    assert_non_null(strstr(e.text, "mask[1][0]"));
    mask[2] = (bp_real)NAN;
    assert_int_equal(bp_bottleneck_estimate(&x, kl, mask, 2, 2, NULL), BP_ERR_ARGUMENT);
    mask[0] = mask[2] = 0;
    assert_int_equal(bp_bottleneck_estimate(&x, kl, mask, 2, 2, &e), BP_ERR_EMPTY);
    assert_int_equal(bp_bottleneck_estimate(&x, NULL, NULL, 0, 4, &e), BP_ERR_EMPTY);
    assert_int_equal(bp_bottleneck_estimate(&x, NULL, NULL, 2, 2, &e), BP_ERR_ARGUMENT);
}

/* What E15 and E16 refuse, and the infinite bound. */
static void test_bottleneck_inputs(void **state) {
    enum { CELLS = 3 };
    bp_mdp m;
    bp_error e;
    bp_bottleneck b;
    size_t phi[2 * CELLS], i;
    double pi[2 * CELLS * 2], prior[CELLS * 2], marginal[CELLS * 2], pi0[2 * CELLS * 2], d[2 * CELLS];
    double alpha[2] = {0.1, 0.2};
    (void)state;
    make_corridor(&m, phi, CELLS, 0.9);
    bp_mdp_uniform_policy(pi, 2 * CELLS, 2);
    bp_mdp_uniform_policy(prior, CELLS, 2);
    bpt_ok(bp_bottleneck_objective(&b, marginal, &m, pi, prior, phi, CELLS, 0.1, &e), &e);
    bpt_ok(bp_bottleneck_objective(&b, marginal, &m, pi, prior, phi, CELLS, 0.1, NULL), &e);

    assert_int_equal(bp_bottleneck_objective(&b, marginal, &m, pi, prior, phi, CELLS, -0.1, &e), BP_ERR_ARGUMENT);
    assert_true(!(b.steps > 0));
    assert_int_equal(bp_bottleneck_objective(&b, marginal, &m, pi, prior, phi, CELLS, NAN, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_bottleneck_objective(&b, marginal, &m, pi, prior, phi, CELLS, INFINITY, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_bottleneck_objective(&b, marginal, &m, pi, prior, phi, CELLS - 1, 0.1, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_bottleneck_objective(&b, prior, &m, pi, prior, phi, CELLS, 0.1, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_bottleneck_objective(&b, NULL, &m, pi, prior, phi, CELLS, 0.1, &e), BP_ERR_ARGUMENT);
    prior[1 * 2] = 0.6; /* adds up to 1.1 in the cell where episodes start */
    assert_int_equal(bp_bottleneck_objective(&b, marginal, &m, pi, prior, phi, CELLS, 0.1, &e), BP_ERR_ARGUMENT);
    assert_non_null(strstr(e.text, "class 1"));
    prior[1 * 2] = 1, prior[1 * 2 + 1] = 0; /* the prior never goes right, the policy does */
    assert_int_equal(bp_bottleneck_objective(&b, marginal, &m, pi, prior, phi, CELLS, 0.1, &e), BP_ERR_NONFINITE);
    assert_true(!(b.steps > 0));
    bpt_ok(bp_bottleneck_objective(&b, marginal, &m, pi, prior, phi, CELLS, 0, &e), &e); /* reported, not paid */
    assert_true(b.bound > 1e300 && b.gap > 1e300);
    bpt_close(b.lower, b.reward, 0);
    pi[1 * 2] = 0.7;
    assert_int_equal(bp_bottleneck_objective(&b, marginal, &m, pi, NULL, phi, CELLS, 0.1, &e), BP_ERR_ARGUMENT);
    assert_non_null(strstr(e.text, "pi(.|1)"));
    pi[1 * 2] = 0.5;
    m.p0[1] = m.p0[CELLS + 1] = 0, m.p0[0] = 1; /* an episode that starts at its end decides nothing */
    bpt_ok(bp_bottleneck_objective(&b, marginal, &m, pi, NULL, phi, CELLS, 0.1, &e), &e);
    assert_true(!(b.steps > 0) && !(b.information > 0) && !(b.information_rate > 0));
    for (i = 0; i < CELLS * 2; i++) bpt_close(marginal[i], 0.5, 0); /* nothing seen: uniform */

    bpt_ok(bp_bottleneck_curve(&b, pi, prior, pi0, d, &m, phi, CELLS, alpha, 1, 3, &e), &e);
    bpt_ok(bp_bottleneck_curve(NULL, pi, prior, pi0, d, &m, phi, CELLS, alpha, 0, 3, &e), &e); /* no prices, no points */
    assert_int_equal(bp_bottleneck_curve(&b, pi, prior, pi0, d, &m, phi, CELLS, alpha, 1, 0, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_bottleneck_curve(&b, pi, prior, pi0, d, &m, phi, 1, alpha, 1, 3, &e), BP_ERR_ARGUMENT);
    alpha[1] = 0;
    assert_int_equal(bp_bottleneck_curve(&b, pi, prior, pi0, d, &m, phi, CELLS, alpha, 2, 3, &e), BP_ERR_ARGUMENT);
    assert_non_null(strstr(e.text, "price 1"));
    bp_mdp_destroy(&m);
    /* gamma = 1 and a policy that never arrives */
    make_corridor(&m, phi, CELLS, 1);
    for (i = 0; i < 2 * CELLS; i++) pi[i * 2] = i < CELLS ? 0 : 1, pi[i * 2 + 1] = i < CELLS ? 1 : 0;
    assert_int_equal(bp_bottleneck_objective(&b, marginal, &m, pi, NULL, phi, CELLS, 0.1, &e), BP_ERR_ARGUMENT);
    bp_mdp_destroy(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_field_set),
        cmocka_unit_test(test_objective),
        cmocka_unit_test(test_distillation),
        cmocka_unit_test(test_solve),
        cmocka_unit_test(test_corridor),
        cmocka_unit_test(test_bottleneck),
        cmocka_unit_test(test_bottleneck_time),
        cmocka_unit_test(test_bottleneck_curve),
        cmocka_unit_test(test_bottleneck_estimate),
        cmocka_unit_test(test_bottleneck_estimate_inputs),
        cmocka_unit_test(test_bottleneck_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
