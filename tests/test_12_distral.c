/* Chapter 12: Distral on random sets of finite MDPs, each claim against something computed another way; then the two rooms. */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"

enum { N_SETS = 60,
       MAX_W = 4,
       MAX_S = 6,
       MAX_A = 4,
       MAX_PI = MAX_W * MAX_S * MAX_A };

/* A random set of tasks and what it borrows. */
typedef struct task_set {
    bp_distral_tasks tasks;
    bp_mdp mdp[MAX_W];
    double p[MAX_W];
    size_t phi[MAX_S];
    size_t S, A, C;
    bp_rng rng;
} task_set;

/* Set number i: 1..4 tasks, 3..6 states, 2..4 actions; uniform or uneven p(w), a prior that sees all or classes, some with a
 * terminal state, every third deterministic. */
static void make_set(task_set *t, int i) {
    bp_error e;
    size_t w, s;
    memset(t, 0, sizeof *t);
    t->rng = bp_rng_make(1200 + (uint64_t)i, 12);
    t->tasks.n = 1 + (size_t)i % MAX_W;
    t->S = 3 + (size_t)(i / 2) % 4;
    t->A = 2 + (size_t)(i / 3) % 3;
    for (w = 0; w < t->tasks.n; w++) {
        bpt_ok(bp_mdp_create(&t->mdp[w], t->S, t->A, 0.5 + 0.045 * (double)(i % 11), NULL, &e), &e);
        bp_mdp_random(&t->mdp[w], &t->rng, i % 3 == 0 ? 1 : 0);
        if (i % 5 == 4) t->mdp[w].terminal[t->S - 1] = true;
    }
    bp_mdp_random_policy(t->p, &t->rng, 1, t->tasks.n);
    t->tasks.mdp = t->mdp;
    if (i % 2) t->tasks.p = t->p;
    else
        for (w = 0; w < t->tasks.n; w++) t->p[w] = 1 / (double)t->tasks.n;
    t->C = t->S;
    for (s = 0; s < t->S; s++) t->phi[s] = s;
    if (i % 3) {
        t->C = t->tasks.classes = 1 + (size_t)i % 3;
        for (s = 0; s < t->S; s++) t->phi[s] = s % t->C;
        t->tasks.phi = t->phi;
    }
    bpt_ok(bp_distral_check(&t->tasks, &e), &e);
    assert_int_equal(bp_distral_classes(&t->tasks), t->C);
}

static void free_set(task_set *t) {
    size_t w;
    for (w = 0; w < t->tasks.n; w++) bp_mdp_destroy(&t->mdp[w]);
}

static void random_policies(double *pi, task_set *t) {
    bp_mdp_random_policy(pi, &t->rng, t->tasks.n * t->S, t->A);
}

/* [e10_slow_test] */
/* L as published, by plain iteration of V = sum_a pi [ r - c_kl log(pi/pi0) - c_ent log pi + gamma E V' ]: shares no code. */
static double slow_L(const task_set *t, const double *pi, const double *prior, double c_kl, double c_ent) {
    double L = 0;
    size_t w, s, a, k;
    for (w = 0; w < t->tasks.n; w++) {
        const bp_mdp *m = &t->mdp[w];
        double V[MAX_S] = {0, 0, 0, 0, 0, 0}, next[MAX_S];
        int sweep;
        for (sweep = 0; sweep < 1500; sweep++) {
            for (s = 0; s < t->S; s++) {
                next[s] = 0;
                for (a = 0; a < t->A && !m->terminal[s]; a++) {
                    const double p = pi[(w * t->S + s) * t->A + a], p0 = prior[t->phi[s] * t->A + a];
                    double q = m->R[s * t->A + a] - c_kl * (log(p) - log(p0)) - c_ent * log(p);
                    for (k = 0; k < t->S; k++) q += m->gamma * m->P[(s * t->A + a) * t->S + k] * V[k];
                    next[s] += p * q;
                }
            }
            memcpy(V, next, sizeof V);
        }
        for (s = 0; s < t->S; s++) L += t->p[w] * m->p0[s] * V[s];
    }
    return L;
}
/* [e10_slow_test] */

/* E10, E13: the objective, its parts, its tasks. */
static void test_objective(void **state) {
    int i;
    (void)state;
    for (i = 0; i < N_SETS; i++) {
        task_set t;
        bp_error e;
        bp_distral_value v, each[MAX_W];
        double pi[MAX_PI], prior[MAX_S * MAX_A], pi0[MAX_S * MAX_A], loss, sum = 0, reward = 0;
        size_t w;
        make_set(&t, i);
        random_policies(pi, &t);
        bp_mdp_random_policy(prior, &t.rng, t.C, t.A);
        bpt_ok(bp_distral_objective(&v, each, &t.tasks, pi, prior, 0.3, 0.2, &e), &e);
        bpt_close(v.value, slow_L(&t, pi, prior, 0.3, 0.2), 1e-10);
        bpt_close(v.value, v.reward - 0.3 * v.divergence + 0.2 * v.entropy, 1e-12);
        bpt_ok(bp_distral_loss(&loss, &t.tasks, pi, prior, &e), &e);
        bpt_close(loss, v.divergence, 1e-12);
        assert_true(v.divergence > 0 && v.entropy > 0);
        for (w = 0; w < t.tasks.n; w++) sum += t.p[w] * each[w].value, reward += t.p[w] * each[w].reward;
        bpt_close(v.value, sum, 1e-12);
        bpt_close(v.reward, reward, 1e-12);
        /* c_ent = 0: every task's E4 */
        bpt_ok(bp_distral_objective(&v, each, &t.tasks, pi, prior, 0.3, 0, &e), &e);
        bp_asymmetric_expand(pi0, prior, t.phi, t.S, t.A);
        for (w = 0; w < t.tasks.n; w++) {
            bp_objective o;
            bpt_ok(bp_mdp_objective(&o, &t.mdp[w], pi + w * t.S * t.A, pi0, 0.3, &e), &e);
            bpt_close(each[w].value, o.value, 1e-12);
            bpt_close(each[w].divergence, o.divergence, 1e-12);
        }
        free_set(&t);
    }
}

/* E11 is p(w|x)-weighted, minimises the loss over random priors near and far, and is chapter 13's for a single task. */
static void test_best_prior(void **state) {
    int i;
    (void)state;
    for (i = 0; i < N_SETS; i++) {
        task_set t;
        bp_error e;
        double pi[MAX_PI], best[MAX_S * MAX_A], other[MAX_S * MAX_A], d[MAX_W][MAX_S], least, loss;
        size_t w, s, a, c;
        int trial;
        make_set(&t, i);
        random_policies(pi, &t);
        bpt_ok(bp_distral_best_prior(best, &t.tasks, pi, &e), &e);
        for (w = 0; w < t.tasks.n; w++) bpt_ok(bp_mdp_visitation(d[w], &t.mdp[w], pi + w * t.S * t.A, &e), &e);
        for (c = 0; c < t.C; c++)
            for (a = 0; a < t.A; a++) {
                double top = 0, bottom = 0;
                for (w = 0; w < t.tasks.n; w++)
                    for (s = 0; s < t.S; s++)
                        if (t.phi[s] == c) top += t.p[w] * d[w][s] * pi[(w * t.S + s) * t.A + a], bottom += t.p[w] * d[w][s];
                bpt_close(best[c * t.A + a], bottom > 0 ? top / bottom : 1 / (double)t.A, 1e-12);
            }
        bpt_ok(bp_distral_loss(&least, &t.tasks, pi, best, &e), &e);
        /* [e11_test] */
        for (trial = 0; trial < 100; trial++) {
            const double mix = pow(10, -(double)(trial % 10) / 2);
            bp_mdp_random_policy(other, &t.rng, t.C, t.A);
            for (c = 0; c < t.C * t.A; c++) other[c] = (1 - mix) * best[c] + mix * other[c];
            bpt_ok(bp_distral_loss(&loss, &t.tasks, pi, other, &e), &e);
            assert_true(loss >= least - 1e-13);
        }
        /* [e11_test] */
        if (t.tasks.n == 1) {
            bp_distilled_prior(other, d[0], pi, t.phi, t.S, t.A, t.C);
            for (c = 0; c < t.C * t.A; c++) bpt_close(best[c], other[c], 1e-14);
        }
        free_set(&t);
    }
}

/* [e13_slow_test] */
/* E13's fixed point, iterated exactly as published, with pi0^alpha' as it stands. */
static void slow_distral(double *V, double *Q, double *pi, const bp_mdp *m, const double *pi0, double c_kl, double c_ent) {
    const double power = c_kl / (c_kl + c_ent), beta = 1 / (c_kl + c_ent);
    size_t s, a, k;
    int sweep;
    for (s = 0; s < m->S; s++) V[s] = 0;
    for (sweep = 0; sweep < 1500; sweep++) {
        for (s = 0; s < m->S; s++)
            for (a = 0; a < m->A; a++) {
                Q[s * m->A + a] = 0;
                if (m->terminal[s]) continue;
                Q[s * m->A + a] = m->R[s * m->A + a];
                for (k = 0; k < m->S; k++) Q[s * m->A + a] += m->gamma * m->P[(s * m->A + a) * m->S + k] * V[k];
            }
        for (s = 0; s < m->S; s++) {
            double sum = 0;
            for (a = 0; a < m->A; a++) sum += pow(pi0[s * m->A + a], power) * exp(beta * Q[s * m->A + a]);
            V[s] = m->terminal[s] ? 0 : log(sum) / beta;
            for (a = 0; a < m->A; a++)
                pi[s * m->A + a] = pow(pi0[s * m->A + a], power) * exp(beta * Q[s * m->A + a]) / sum;
        }
    }
}
/* [e13_slow_test] */

/* E13, soft value iteration; the limits c_ent = 0 (E7) and c_kl = 0; no other policy scores higher. */
static void test_value_iteration(void **state) {
    static const double price[4][2] = {{0.3, 0}, {0.2, 0.1}, {0, 0.4}, {0.05, 0.5}};
    int i;
    (void)state;
    for (i = 0; i < N_SETS; i++) {
        task_set t;
        bp_error e;
        const double c_kl = price[i % 4][0], c_ent = price[i % 4][1];
        double prior[MAX_S * MAX_A], pi0[MAX_S * MAX_A], V[MAX_W * MAX_S], Q[MAX_S * MAX_A], pi[MAX_PI];
        double V2[MAX_S], Q2[MAX_S * MAX_A], pi2[MAX_S * MAX_A], other[MAX_PI], best = 0;
        bp_distral_value v;
        size_t s, k, w, sweeps;
        int trial;
        make_set(&t, i);
        bp_mdp_random_policy(prior, &t.rng, t.C, t.A);
        bp_asymmetric_expand(pi0, prior, t.phi, t.S, t.A);
        bpt_ok(bp_distral_value_iteration(V, Q, pi, &t.mdp[0], pi0, c_kl, c_ent, 1e-12, &sweeps, &e), &e);
        assert_true(sweeps > 1);
        slow_distral(V2, Q2, pi2, &t.mdp[0], pi0, c_kl, c_ent);
        for (s = 0; s < t.S; s++) bpt_close(V[s], V2[s], 1e-10);
        for (k = 0; k < t.S * t.A; k++) {
            bpt_close(Q[k], Q2[k], 1e-10);
            if (!t.mdp[0].terminal[k / t.A]) bpt_close(pi[k], pi2[k], 1e-9);
        }
        if (c_ent <= 0) { /* E7, to the last bit */
            bpt_ok(bp_mdp_soft_value_iteration(V2, Q2, pi2, &t.mdp[0], pi0, c_kl, 1e-12, NULL, &e), &e);
            assert_memory_equal(V, V2, t.S * sizeof(double));
            assert_memory_equal(Q, Q2, t.S * t.A * sizeof(double));
            assert_memory_equal(pi, pi2, t.S * t.A * sizeof(double));
        }
        if (c_kl <= 0) { /* the prior plays no part */
            bpt_ok(bp_distral_value_iteration(V2, NULL, NULL, &t.mdp[0], NULL, c_kl, c_ent, 1e-12, NULL, &e), &e);
            for (s = 0; s < t.S; s++) bpt_close(V[s], V2[s], 1e-11);
        }
        /* all tasks at once: L is the mean of V over starts and tasks, and the most that can be had */
        bpt_ok(bp_distral_best_policies(pi, V, &t.tasks, prior, c_kl, c_ent, 1e-12, &e), &e);
        bpt_ok(bp_distral_objective(&v, NULL, &t.tasks, pi, prior, c_kl, c_ent, &e), &e);
        for (w = 0; w < t.tasks.n; w++)
            for (s = 0; s < t.S; s++) best += t.p[w] * t.mdp[w].p0[s] * V[w * t.S + s];
        bpt_close(v.value, best, 1e-10);
        for (trial = 0; trial < 50; trial++) {
            const double mix = pow(10, -(double)(trial % 10) / 2);
            random_policies(other, &t);
            for (k = 0; k < t.tasks.n * t.S * t.A; k++) other[k] = (1 - mix) * pi[k] + mix * other[k];
            bpt_ok(bp_distral_objective(&v, NULL, &t.tasks, other, prior, c_kl, c_ent, &e), &e);
            assert_true(v.value <= best + 1e-11);
        }
        free_set(&t);
    }
}

/* E12 never goes down, not in either half, by more than rounding. */
static void test_solve(void **state) {
    enum { ROUNDS = 25 };
    int i;
    (void)state;
    for (i = 0; i < N_SETS; i++) {
        task_set t;
        bp_error e;
        bp_distral_value v;
        const double c_kl = 0.05 + 0.1 * (i % 4), c_ent = i % 3 ? 0.0 : 0.1;
        double pi[MAX_PI], prior[MAX_S * MAX_A], L[2 * ROUNDS], risen;
        size_t k;
        make_set(&t, i);
        if (i % 2) bp_mdp_uniform_policy(prior, t.C, t.A);
        else bp_mdp_random_policy(prior, &t.rng, t.C, t.A);
        /* [e12_test] */
        bpt_ok(bp_distral_solve(pi, prior, L, &t.tasks, c_kl, c_ent, ROUNDS, &e), &e);
        for (k = 1; k < 2 * ROUNDS; k++) assert_true(L[k] >= L[k - 1] - 1e-12);
        /* [e12_test] */
        risen = L[2 * ROUNDS - 1] - L[0];
        assert_true(risen > 1e-6);
        bpt_ok(bp_distral_objective(&v, NULL, &t.tasks, pi, prior, c_kl, c_ent, &e), &e);
        bpt_close(v.value, L[2 * ROUNDS - 1], 1e-12);
        /* without the record: the same */
        if (i < 6) {
            double again[MAX_PI], start[MAX_S * MAX_A];
            bp_mdp_uniform_policy(start, t.C, t.A);
            bpt_ok(bp_distral_solve(again, start, NULL, &t.tasks, c_kl, c_ent, ROUNDS, &e), &e);
            if (i % 2) assert_memory_equal(start, prior, t.C * t.A * sizeof(double));
        }
        free_set(&t);
    }
}

/* L as a function of the two columns. */
static double column_L(const task_set *t, const double *h, const double *f, double c_kl, double c_ent) {
    double pi[MAX_PI], prior[MAX_S * MAX_A];
    bp_distral_value v;
    bp_error e;
    bpt_ok(bp_distral_two_column(pi, prior, h, f, &t->tasks, c_kl, c_ent, &e), &e);
    bpt_ok(bp_distral_objective(&v, NULL, &t->tasks, pi, prior, c_kl, c_ent, &e), &e);
    return v.value;
}

/* d L / d x by central differences at two steps (Richardson: error O(step^4)). */
static double difference(const task_set *t, const double *h, const double *f, double *x, double c_kl, double c_ent) {
    const double keep = *x;
    double d[2];
    int k;
    for (k = 0; k < 2; k++) {
        const double step = k ? 5e-4 : 1e-3;
        double up, down;
        *x = keep + step, up = column_L(t, h, f, c_kl, c_ent);
        *x = keep - step, down = column_L(t, h, f, c_kl, c_ent);
        d[k] = (up - down) / (2 * step);
    }
    *x = keep;
    return (4 * d[1] - d[0]) / 3;
}

/* E13's gradients: finite differences of the exact objective, every coordinate of both columns. */
static void test_gradients(void **state) {
    static const double price[4][2] = {{0.3, 0}, {0.2, 0.1}, {0, 0.4}, {0.05, 0.5}};
    int i;
    (void)state;
    for (i = 0; i < N_SETS; i++) {
        task_set t;
        bp_error e;
        const double c_kl = price[i % 4][0], c_ent = price[i % 4][1], power = c_kl / (c_kl + c_ent), beta = 1 / (c_kl + c_ent);
        double h[MAX_S * MAX_A], f[MAX_PI], dh[MAX_S * MAX_A], df[MAX_PI], pi[MAX_PI], prior[MAX_S * MAX_A];
        double norm_h = 0, norm_f = 0;
        size_t k, a, n;
        make_set(&t, i);
        n = t.tasks.n * t.S * t.A;
        for (k = 0; k < t.C * t.A; k++) h[k] = 2 * bp_rng_uniform(&t.rng) - 1, dh[k] = 7;
        for (k = 0; k < n; k++) f[k] = bp_rng_uniform(&t.rng) - 0.5, df[k] = -3;
        bpt_ok(bp_distral_two_column(pi, prior, h, f, &t.tasks, c_kl, c_ent, &e), &e);
        for (k = 0; k < n; k++) { /* pi proportional to exp(alpha' h + beta f) */
            const size_t row = k - k % t.A, c = t.phi[(k / t.A) % t.S] * t.A;
            double sum = 0;
            for (a = 0; a < t.A; a++) sum += exp(power * h[c + a] + beta * f[row + a]);
            bpt_close(pi[k], exp(power * h[c + k % t.A] + beta * f[k]) / sum, 1e-12);
        }
        /* [e13_gradient_test] */
        /* added to what is there, and scaled */
        bpt_ok(bp_distral_backward(dh, df, 2, &t.tasks, pi, prior, c_kl, c_ent, &e), &e);
        for (k = 0; k < t.C * t.A; k++) dh[k] = (dh[k] - 7) / 2, norm_h += fabs(dh[k]);
        for (k = 0; k < n; k++) df[k] = (df[k] + 3) / 2, norm_f += fabs(df[k]);
        assert_true(norm_f > 1e-3);
        if (c_kl > 0) assert_true(norm_h > 1e-3);
        else assert_true(norm_h <= 0); /* no KL: the prior moves nothing */
        for (k = 0; k < t.C * t.A; k++) bpt_close(dh[k], difference(&t, h, f, &h[k], c_kl, c_ent), 1e-7);
        for (k = 0; k < n; k++) bpt_close(df[k], difference(&t, h, f, &f[k], c_kl, c_ent), 1e-7);
        /* [e13_gradient_test] */
        /* each alone */
        {
            double only_h[MAX_S * MAX_A] = {0}, only_f[MAX_PI] = {0};
            bpt_ok(bp_distral_backward(only_h, NULL, 1, &t.tasks, pi, prior, c_kl, c_ent, &e), &e);
            bpt_ok(bp_distral_backward(NULL, only_f, 1, &t.tasks, pi, prior, c_kl, c_ent, &e), &e);
            for (k = 0; k < t.C * t.A; k++) bpt_close(only_h[k], dh[k], 1e-10);
            for (k = 0; k < n; k++) bpt_close(only_f[k], df[k], 1e-10);
        }
        /* c_ent = 0, one task, a prior that sees all: chapter 11's gradients */
        if (c_ent <= 0 && t.tasks.n == 1 && !t.tasks.phi) {
            double x[MAX_S * MAX_A] = {0}, x0[MAX_S * MAX_A] = {0};
            bpt_ok(bp_mdp_objective_backward(x, x0, 1, &t.mdp[0], pi, prior, c_kl, &e), &e);
            for (k = 0; k < n; k++) bpt_close(df[k], beta * x[k], 1e-10), bpt_close(dh[k], x[k] + x0[k], 1e-10);
        }
        /* f = Q* and h = log prior are the best policies of that prior: no gradient by f is left, and that by h is the
         * distillation's alone, which E11's prior makes vanish, too, at a fixed point of E12 */
        {
            double V[MAX_S], Q[MAX_S * MAX_A], pi0[MAX_S * MAX_A];
            size_t w;
            bp_asymmetric_expand(pi0, prior, t.phi, t.S, t.A);
            for (w = 0; w < t.tasks.n; w++) {
                bpt_ok(bp_distral_value_iteration(V, Q, NULL, &t.mdp[w], pi0, c_kl, c_ent, 1e-12, NULL, &e), &e);
                memcpy(f + w * t.S * t.A, Q, t.S * t.A * sizeof(double));
            }
            memset(df, 0, sizeof df);
            bpt_ok(bp_distral_two_column(pi, prior, h, f, &t.tasks, c_kl, c_ent, &e), &e);
            bpt_ok(bp_distral_backward(NULL, df, 1, &t.tasks, pi, prior, c_kl, c_ent, &e), &e);
            for (k = 0; k < n; k++) assert_true(fabs(df[k]) < 1e-9);
        }
        free_set(&t);
    }
}

/* The learner against forty lines that do the same in the paper's own formulas (E13). */
static void test_learner(void **state) {
    int i;
    (void)state;
    for (i = 0; i < 12; i++) {
        task_set t;
        bp_error e;
        bp_distral_config c = bp_distral_config_default();
        bp_distral_learner *l;
        bp_rng rng = bp_rng_make(5, (uint64_t)i), twin = rng;
        double Q[MAX_PI] = {0}, count[MAX_S * MAX_A] = {0}, prior[MAX_S * MAX_A], pi[MAX_PI];
        size_t w, s, a, k, steps = 0, total;
        int round;
        make_set(&t, i);
        c.c_kl = 0.3, c.c_ent = i % 2 ? 0.1 : 0, c.rollout = 1 + (size_t)i % 4, c.keep = 0.9, c.rate = 0.2, c.pseudo_count = 0.5;
        total = t.tasks.n * t.S * t.A;
        bpt_ok(bp_distral_learner_create(&l, &t.tasks, &c, NULL, &e), &e);
        bp_mdp_uniform_policy(prior, t.C, t.A);
        for (k = 0; k < t.C * t.A; k++) bpt_close(l->prior[k], prior[k], 1e-15);
        for (round = 0; round < 40; round++) {
            const double tau = c.c_kl + c.c_ent, power = c.c_kl / tau;
            bp_distral_learner_round(l, &rng);
            for (k = 0; k < t.C * t.A; k++) count[k] *= 0.9;
            for (w = 0; w < t.tasks.n; w++) {
                const bp_mdp *m = &t.mdp[w];
                double u = bp_rng_uniform(&twin);
                size_t step, next;
                for (s = 0; u >= m->p0[s] && s + 1 < t.S; s++) u -= m->p0[s];
                for (step = 0; step < c.rollout && !m->terminal[s]; step++) {
                    double weight[MAX_A], sum = 0, v = 0;
                    const double *q = Q + (w * t.S + s) * t.A, *q2;
                    for (a = 0; a < t.A; a++) {
                        weight[a] = pow(prior[t.phi[s] * t.A + a], power) * exp(q[a] / tau);
                        sum += weight[a];
                    }
                    u = bp_rng_uniform(&twin) * sum;
                    for (a = 0; u >= weight[a] && a + 1 < t.A; a++) u -= weight[a];
                    u = bp_rng_uniform(&twin);
                    for (next = 0; u >= m->P[(s * t.A + a) * t.S + next] && next + 1 < t.S; next++)
                        u -= m->P[(s * t.A + a) * t.S + next];
                    q2 = Q + (w * t.S + next) * t.A;
                    for (k = 0; k < t.A; k++) v += pow(prior[t.phi[next] * t.A + k], power) * exp(q2[k] / tau);
                    v = m->terminal[next] ? 0 : tau * log(v);
                    Q[(w * t.S + s) * t.A + a] += 0.2 * (m->R[s * t.A + a] + m->gamma * v - q[a]);
                    count[t.phi[s] * t.A + a] += t.p[w] * (double)t.tasks.n;
                    s = next, steps++;
                }
            }
            for (k = 0; k < t.C; k++) {
                double sum = 0;
                for (a = 0; a < t.A; a++) sum += count[k * t.A + a] + 0.5;
                for (a = 0; a < t.A; a++) prior[k * t.A + a] = (count[k * t.A + a] + 0.5) / sum;
            }
            for (k = 0; k < total; k++) bpt_close(l->Q[k], Q[k], 1e-11);
            for (k = 0; k < t.C * t.A; k++) bpt_close(l->prior[k], prior[k], 1e-11);
        }
        assert_int_equal(l->steps, steps);
        assert_int_equal(l->rounds, 40);
        bp_distral_learner_policies(pi, l);
        for (k = 0; k < total; k += t.A) {
            double sum = 0;
            for (a = 0; a < t.A; a++) sum += pi[k + a];
            bpt_close(sum, 1, 1e-12);
        }
        bp_distral_learner_destroy(l);
        free_set(&t);
    }
}

/* On random tasks the learner comes to the values of E13 for the prior that it made itself. */
static void test_learner_converges(void **state) {
    int i;
    (void)state;
    for (i = 1; i < 10; i += 4) {
        task_set t;
        bp_error e;
        bp_distral_config c = bp_distral_config_default();
        bp_distral_learner *l;
        bp_distral_value learned[MAX_W], best[MAX_W], v;
        bp_rng rng = bp_rng_make(8, (uint64_t)i);
        double pi[MAX_PI];
        size_t w;
        int round;
        make_set(&t, i);
        for (w = 0; w < t.tasks.n; w++) t.mdp[w].gamma = 0.8;
        c.rate = 0.05;
        bpt_ok(bp_distral_learner_create(&l, &t.tasks, &c, NULL, &e), &e);
        for (round = 0; round < 20000; round++) bp_distral_learner_round(l, &rng);
        bp_distral_learner_policies(pi, l);
        bpt_ok(bp_distral_objective(&v, learned, &t.tasks, pi, l->prior, 0.2, 0, &e), &e);
        bpt_ok(bp_distral_best_policies(pi, NULL, &t.tasks, l->prior, 0.2, 0, 1e-10, &e), &e);
        bpt_ok(bp_distral_objective(&v, best, &t.tasks, pi, l->prior, 0.2, 0, &e), &e);
        for (w = 0; w < t.tasks.n; w++) {
            assert_true(learned[w].value <= best[w].value + 1e-9);
            assert_true(learned[w].value >= best[w].value - 0.05);
        }
        bp_distral_learner_destroy(l);
        free_set(&t);
    }
}

/* Repeatable, silent on the heap after create, p(w) in the counts, a prior that does not learn. */
static void test_learner_rules(void **state) {
    task_set t;
    bp_error e;
    bpt_memory mem;
    bp_distral_config c = bp_distral_config_default();
    bp_distral_learner *one, *two;
    bp_rng r1 = bp_rng_make(1, 2), r2 = r1;
    unsigned char *memory;
    size_t bytes, k, requests, n;
    int round;
    (void)state;
    make_set(&t, 7); /* four tasks, uneven p */
    n = t.tasks.n * t.S * t.A;
    bpt_memory_use(&mem);
    bpt_ok(bp_distral_learner_create(&one, &t.tasks, &c, &mem.allocator, &e), &e);
    requests = mem.requests;
    assert_int_equal(requests, 1);
    bpt_ok(bp_distral_learner_size(&t.tasks, &c, &bytes, &e), &e);
    memory = (unsigned char *)malloc(bytes + 8);
    assert_non_null(memory);
    bpt_ok(bp_distral_learner_init(&two, memory + 8, bytes, &t.tasks, NULL, &e), &e); /* NULL: the same defaults */
    for (round = 0; round < 50; round++) {
        bp_distral_learner_round(one, &r1);
        bp_distral_learner_round(two, &r2);
    }
    assert_int_equal(mem.requests, requests);
    assert_memory_equal(one->Q, two->Q, n * sizeof(double));
    assert_memory_equal(one->prior, two->prior, t.C * t.A * sizeof(double));
    assert_int_equal(one->steps, 50 * t.tasks.n * c.rollout);
    bp_distral_learner_round(two, &r1); /* other numbers */
    bp_distral_learner_round(one, &r1);
    assert_true(memcmp(one->Q, two->Q, n * sizeof(double)) != 0);
    bp_distral_learner_destroy(one);
    bpt_memory_check(&mem);
    bp_distral_learner_destroy(two); /* the caller's memory stays the caller's */
    bp_arena_unpoison(memory, bytes + 8);

    c.learn_prior = false;
    bpt_ok(bp_distral_learner_init(&two, memory + 8, bytes, &t.tasks, &c, &e), &e);
    for (round = 0; round < 10; round++) bp_distral_learner_round(two, &r2);
    for (k = 0; k < t.C * t.A; k++) bpt_close(two->prior[k], 1 / (double)t.A, 1e-15);
    bp_arena_unpoison(memory, bytes + 8);

    /* a task that never comes is learned, but does not shape the prior */
    c.learn_prior = true, c.keep = 1;
    for (k = 0; k < t.tasks.n; k++) t.p[k] = k == 1 ? 1 : 0;
    bpt_ok(bp_distral_learner_init(&two, memory + 8, bytes, &t.tasks, &c, &e), &e);
    for (round = 0; round < 10; round++) bp_distral_learner_round(two, &r2);
    {
        double sum = 0, moved = 0;
        for (k = 0; k < t.C * t.A; k++) sum += two->count[k];
        for (k = 0; k < t.S * t.A; k++) moved += fabs(two->Q[k]);
        bpt_close(sum, 10.0 * (double)t.tasks.n * (double)c.rollout, 1e-12);
        assert_true(moved > 0);
    }
    bp_arena_unpoison(memory, bytes + 8);
    free(memory);
    free_set(&t);
}

/* The map as an MDP: what is remembered, what is paid, and the values of the plain grid world with the same goal. */
static void test_tworooms(void **state) {
    bp_tworooms_config c = bp_tworooms_config_default();
    bp_tworooms r;
    bp_gridworld plain;
    bp_error e;
    size_t w, cell, m, k, phi[230], s;
    double V[230], plain_V[23];
    (void)state;
    bpt_ok(bp_tworooms_create(&r, &c, NULL, &e), &e);
    assert_int_equal(r.grid.mdp.S, 23);
    assert_int_equal(r.S, 230);
    assert_int_equal(r.W, 10);
    for (w = 0; w < r.W; w++) {
        char map[128];
        const size_t at = r.grid.cell[r.goal[w]];
        bpt_ok(bp_mdp_check(&r.mdp[w], &e), &e);
        for (k = 0; k < w; k++) assert_true(r.goal[k] != r.goal[w]);
        assert_true(at % r.grid.cols < 4 || at % r.grid.cols > 8); /* not in the corridor */
        strcpy(map, c.map);
        map[at / r.grid.cols * (r.grid.cols + 1) + at % r.grid.cols] = 'G';
        bpt_ok(bp_gridworld_create(&plain, map, NULL, NULL, &e), &e);
        bpt_ok(bp_mdp_value_iteration(plain_V, NULL, &plain.mdp, 1e-12, NULL, &e), &e);
        bpt_ok(bp_mdp_value_iteration(V, NULL, &r.mdp[w], 1e-12, NULL, &e), &e);
        for (cell = 0; cell < 23; cell++)
            for (m = 0; m < BP_MEMORIES; m++) {
                s = bp_tworooms_state(cell, (bp_tworooms_memory)m);
                bpt_close(V[s], plain_V[cell], 1e-10);
                bpt_close(r.mdp[w].p0[s], m == BP_MEMORY_START ? plain.mdp.p0[cell] : 0, 1e-15);
                assert_int_equal(r.mdp[w].terminal[s], cell == r.goal[w]);
            }
        bp_gridworld_destroy(&plain);
    }
    /* the upper left corner: right moves and is remembered, up bumps and is */
    w = r.goal[0] == 0 || r.goal[0] == 1;
    s = bp_tworooms_state(0, BP_MEMORY_LEFT);
    bpt_close(r.mdp[w].P[(s * 5 + BP_GRID_RIGHT) * 230 + bp_tworooms_state(1, BP_MEMORY_RIGHT)], 1, 0);
    bpt_close(r.mdp[w].P[(s * 5 + BP_GRID_UP) * 230 + bp_tworooms_state(0, BP_MEMORY_UP_BUMPED)], 1, 0);
    bpt_close(r.mdp[w].P[(s * 5 + BP_GRID_STAY) * 230 + bp_tworooms_state(0, BP_MEMORY_STAY)], 1, 0);
    bpt_close(r.mdp[w].P[(s * 5 + BP_GRID_LEFT) * 230 + bp_tworooms_state(0, BP_MEMORY_LEFT_BUMPED)], 1, 0);
    bpt_close(r.mdp[w].R[s * 5 + BP_GRID_RIGHT], -0.1, 1e-15);
    bpt_close(r.mdp[w].R[s * 5 + BP_GRID_UP], -0.5, 1e-15);

    /* what a prior sees: two states look alike just when what is seen agrees */
    for (k = 0; k <= BP_SEES_ALL; k++) {
        const size_t C = bp_tworooms_classes(phi, &r, (unsigned)k);
        size_t other;
        assert_int_equal(C, (k & 1 ? 23u : 1u) * (k & 2 ? 6u : 1u) * (k & 4 ? 2u : 1u));
        for (s = 0; s < 230; s++) {
            assert_true(phi[s] < C);
            for (other = 0; other < 230; other++) {
                const size_t ma = s % 10, mb = other % 10, aa = ma > 5 ? ma - 4 : ma, ab = mb > 5 ? mb - 4 : mb;
                const int alike = (!(k & 1) || s / 10 == other / 10) && (!(k & 2) || aa == ab) && (!(k & 4) || (ma > 5) == (mb > 5));
                assert_int_equal(phi[s] == phi[other], alike);
            }
        }
    }
    bp_tworooms_destroy(&r);
    bp_tworooms_destroy(&r);
    /* marked starts; only '.' cells are goals */
    c.map = "S. \n .S", c.tasks = 2, c.seed = 3;
    bpt_ok(bp_tworooms_create(&r, &c, NULL, &e), &e);
    bpt_close(r.mdp[1].p0[bp_tworooms_state(0, BP_MEMORY_START)], 0.5, 1e-15);
    bpt_close(r.mdp[1].p0[bp_tworooms_state(5, BP_MEMORY_START)], 0.5, 1e-15);
    assert_int_equal(r.goal[0] + r.goal[1], 1 + 4);
    bp_tworooms_destroy(&r);
}

/* Probability that the prior goes on through all five cells of the corridor; the least of the five in *least. */
static double crosses(const double *prior, const size_t *phi, const bp_tworooms *r, bp_tworooms_memory way, double *least) {
    double p = 1, slice[23 * 5];
    size_t x;
    *least = 1;
    bp_tworooms_slice(slice, prior, phi, r, way);
    for (x = 4; x <= 8; x++) {
        const double q = slice[bp_gridworld_state(&r->grid, 2, x) * 5 + (size_t)way - 1];
        p *= q;
        if (q < *least) *least = q;
    }
    return p;
}

/* The paper's finding about E10, exactly and from samples: the prior keeps its direction in the corridor. */
static void test_corridor(void **state) {
    static double pi[6 * 230 * 5], prior[276 * 5], L[20];
    static size_t phi[230];
    bp_tworooms_config c = bp_tworooms_config_default();
    bp_tworooms r;
    bp_distral_tasks tasks;
    bp_distral_value v, exact[6], learned[6], response[6], blind, avoiding;
    bp_distral_learner *l;
    bp_rng rng = bp_rng_make(4, 4);
    bp_error e;
    double least;
    size_t w, k;
    int round;
    (void)state;
    c.tasks = 6, c.seed = 12;
    bpt_ok(bp_tworooms_create(&r, &c, NULL, &e), &e);
    memset(&tasks, 0, sizeof tasks);
    tasks.n = r.W, tasks.mdp = r.mdp, tasks.phi = phi;

    /* a prior that only sees the cell cannot keep a direction */
    tasks.classes = bp_tworooms_classes(phi, &r, BP_SEES_CELL);
    bp_mdp_uniform_policy(prior, tasks.classes, 5);
    bpt_ok(bp_distral_solve(pi, prior, NULL, &tasks, 0.2, 0, 5, &e), &e);
    bpt_ok(bp_distral_objective(&blind, NULL, &tasks, pi, prior, 0.2, 0, &e), &e);
    assert_true(crosses(prior, phi, &r, BP_MEMORY_LEFT, &least) * crosses(prior, phi, &r, BP_MEMORY_RIGHT, &least) < 0.01);

    /* one that sees everything but the goal does, both ways, and is worth more */
    tasks.classes = bp_tworooms_classes(phi, &r, BP_SEES_ALL);
    bp_mdp_uniform_policy(prior, tasks.classes, 5);
    bpt_ok(bp_distral_solve(pi, prior, L, &tasks, 0.2, 0, 10, &e), &e);
    for (k = 1; k < 20; k++) assert_true(L[k] >= L[k - 1] - 1e-12);
    bpt_ok(bp_distral_objective(&v, exact, &tasks, pi, prior, 0.2, 0, &e), &e);
    assert_true(v.value > blind.value + 0.1);
    assert_true(crosses(prior, phi, &r, BP_MEMORY_LEFT, &least) > 0.95);
    assert_true(crosses(prior, phi, &r, BP_MEMORY_RIGHT, &least) > 0.95);

    /* staying alive: an entropy bonus of .2 log 5 a step beats a step cost of .1, so the best policy avoids its goal */
    bpt_ok(bp_distral_best_policies(pi, NULL, &tasks, NULL, 0, 0.2, 1e-8, &e), &e);
    bpt_ok(bp_distral_objective(&avoiding, NULL, &tasks, pi, prior, 0, 0.2, &e), &e);
    assert_true(avoiding.reward < -0.5 && avoiding.value > 0.3);
    bpt_ok(bp_distral_best_policies(pi, NULL, &tasks, NULL, 0.2, 0, 1e-8, &e), &e);
    bp_mdp_uniform_policy(prior, tasks.classes, 5);
    bpt_ok(bp_distral_objective(&v, NULL, &tasks, pi, prior, 0.2, 0, &e), &e);
    assert_true(v.reward > 0);

    /* from samples: within .1 of the exact optimum on every task, and down the corridor both ways */
    bpt_ok(bp_distral_learner_create(&l, &tasks, NULL, NULL, &e), &e);
    for (round = 0; round < 12000; round++) bp_distral_learner_round(l, &rng);
    bp_distral_learner_policies(pi, l);
    bpt_ok(bp_distral_objective(&v, learned, &tasks, pi, l->prior, 0.2, 0, &e), &e);
    bpt_ok(bp_distral_best_policies(pi, NULL, &tasks, l->prior, 0.2, 0, 1e-8, &e), &e);
    bpt_ok(bp_distral_objective(&v, response, &tasks, pi, l->prior, 0.2, 0, &e), &e);
    for (w = 0; w < r.W; w++) {
        assert_true(learned[w].value > response[w].value - 0.05); /* the best for its own prior */
        assert_true(learned[w].value > exact[w].value - 0.1);     /* the best pair of E12 */
    }
    assert_true(crosses(l->prior, phi, &r, BP_MEMORY_LEFT, &least) > 0.5 && least > 0.8);
    assert_true(crosses(l->prior, phi, &r, BP_MEMORY_RIGHT, &least) > 0.5 && least > 0.8);
    bp_distral_learner_destroy(l);
    bp_tworooms_destroy(&r);
}

#define REFUSES(call, want, word)                                                         \
    do {                                                                                  \
        assert_int_equal(call, want);                                                     \
        if (!strstr(e.text, word)) print_error("'%s' does not say '%s'\n", e.text, word); \
        assert_non_null(strstr(e.text, word));                                            \
    } while (0)

static void test_errors(void **state) {
    task_set t;
    bp_error e;
    bp_distral_value v;
    bp_distral_tasks bad;
    bp_distral_config c;
    bp_distral_learner *l;
    bpt_memory mem;
    double pi[MAX_PI], prior[MAX_S * MAX_A], h[MAX_S * MAX_A] = {0}, f[MAX_PI] = {0}, V[MAX_S], loss, L[2];
    size_t bytes, k;
    unsigned char small[64];
    (void)state;
    make_set(&t, 7); /* four tasks, two classes */
    random_policies(pi, &t);
    bp_mdp_random_policy(prior, &t.rng, t.C, t.A);

    /* tasks */
    bad = t.tasks, bad.n = 0;
    REFUSES(bp_distral_check(&bad, &e), BP_ERR_ARGUMENT, "no tasks");
    REFUSES(bp_distral_objective(&v, NULL, &bad, pi, prior, 1, 0, &e), BP_ERR_ARGUMENT, "no tasks");
    REFUSES(bp_distral_loss(&loss, &bad, pi, prior, &e), BP_ERR_ARGUMENT, "no tasks");
    REFUSES(bp_distral_best_prior(prior, &bad, pi, &e), BP_ERR_ARGUMENT, "no tasks");
    REFUSES(bp_distral_best_policies(pi, NULL, &bad, prior, 1, 0, 1e-6, &e), BP_ERR_ARGUMENT, "no tasks");
    REFUSES(bp_distral_solve(pi, prior, L, &bad, 1, 0, 1, &e), BP_ERR_ARGUMENT, "no tasks");
    REFUSES(bp_distral_two_column(pi, prior, h, f, &bad, 1, 0, &e), BP_ERR_ARGUMENT, "no tasks");
    REFUSES(bp_distral_backward(h, f, 1, &bad, pi, prior, 1, 0, &e), BP_ERR_ARGUMENT, "no tasks");
    assert_int_equal(bp_distral_check(NULL, NULL), BP_ERR_ARGUMENT);
    bad = t.tasks, bad.mdp = NULL;
    REFUSES(bp_distral_check(&bad, &e), BP_ERR_ARGUMENT, "no tasks");
    bad = t.tasks, bad.classes = 1;
    REFUSES(bp_distral_check(&bad, &e), BP_ERR_ARGUMENT, "class 1");
    t.mdp[2].S--;
    REFUSES(bp_distral_check(&t.tasks, &e), BP_ERR_ARGUMENT, "task 2 has");
    t.mdp[2].S++;
    t.mdp[1].gamma = 2;
    REFUSES(bp_distral_check(&t.tasks, &e), BP_ERR_ARGUMENT, "task 1: the MDP's gamma");
    t.mdp[1].gamma = 1; /* nobody ever stops: no value */
    REFUSES(bp_distral_objective(&v, NULL, &t.tasks, pi, prior, 1, 0, &e), BP_ERR_ARGUMENT, "task 1: I - gamma P");
    REFUSES(bp_distral_loss(&loss, &t.tasks, pi, prior, &e), BP_ERR_ARGUMENT, "task 1");
    REFUSES(bp_distral_best_prior(prior, &t.tasks, pi, &e), BP_ERR_ARGUMENT, "task 1");
    bp_mdp_random_policy(prior, &t.rng, t.C, t.A);
    REFUSES(bp_distral_backward(h, f, 1, &t.tasks, pi, prior, 1, 0, &e), BP_ERR_ARGUMENT, "task 1");
    t.mdp[1].gamma = 0.5;
    t.p[0] += 0.5;
    REFUSES(bp_distral_check(&t.tasks, &e), BP_ERR_ARGUMENT, "over 4 tasks");
    t.p[0] -= 0.5;

    /* prices */
    REFUSES(bp_distral_objective(&v, NULL, &t.tasks, pi, prior, -1, 0, &e), BP_ERR_ARGUMENT, "c_kl -1");
    REFUSES(bp_distral_objective(&v, NULL, &t.tasks, pi, prior, 0, (double)NAN, &e), BP_ERR_ARGUMENT, "c_ent");
    REFUSES(bp_distral_value_iteration(V, NULL, NULL, &t.mdp[0], NULL, 0, 0, 1e-6, NULL, &e), BP_ERR_ARGUMENT, "both 0");
    REFUSES(bp_distral_value_iteration(V, NULL, NULL, &t.mdp[0], NULL, 1, 0, 0, NULL, &e), BP_ERR_ARGUMENT, "tolerance");
    REFUSES(bp_distral_two_column(pi, prior, h, f, &t.tasks, 0, 0, &e), BP_ERR_ARGUMENT, "both 0");
    REFUSES(bp_distral_solve(pi, prior, L, &t.tasks, 0, 0, 1, &e), BP_ERR_ARGUMENT, "both 0");
    random_policies(pi, &t);

    /* priors */
    prior[0] += 0.1;
    REFUSES(bp_distral_best_policies(pi, NULL, &t.tasks, prior, 1, 0, 1e-6, &e), BP_ERR_ARGUMENT, "task 0: the prior of state 0");
    for (k = 0; k < t.C * t.A; k++) prior[k] = k % t.A == 0;
    REFUSES(bp_distral_objective(&v, NULL, &t.tasks, pi, prior, 1, 0, &e), BP_ERR_NONFINITE, "task 0: the policy has mass");
    bpt_ok(bp_distral_objective(&v, NULL, &t.tasks, pi, prior, 0, 1, &e), &e); /* not paid for, but told */
    assert_true(v.divergence > 1e300 && v.value < 1e300);
    bpt_ok(bp_distral_loss(&loss, &t.tasks, pi, prior, &e), &e);
    assert_true(loss > 1e300);
    /* E13 keeps to a prior's support */
    bpt_ok(bp_distral_best_policies(pi, NULL, &t.tasks, prior, 0.2, 0.2, 1e-6, &e), &e);
    bpt_close(pi[0], 1, 0);
    assert_int_equal(bp_distral_objective(&v, NULL, &t.tasks, pi, prior, -1, 0, NULL), BP_ERR_ARGUMENT);

    /* the learner's configuration */
    memset(&c, 0, sizeof c);
    REFUSES(bp_distral_learner_create(&l, &t.tasks, &c, NULL, &e), BP_ERR_CONFIG, "bp_distral_config");
    assert_null(l);
#define BAD(field, value, word)      \
    c = bp_distral_config_default(); \
    c.field = value;                 \
    REFUSES(bp_distral_learner_create(&l, &t.tasks, &c, NULL, &e), BP_ERR_ARGUMENT, word);
    BAD(c_kl, -1, "c_kl")
    BAD(c_kl, 0, "both 0")
    BAD(rate, 0, "rate")
    BAD(rate, 1.5, "rate")
    BAD(pseudo_count, 0, "pseudo_count")
    BAD(keep, 1.1, "keep")
    BAD(keep, (double)NAN, "keep")
    BAD(rollout, 0, "rollout")
#undef BAD
    bad = t.tasks, bad.n = 0;
    REFUSES(bp_distral_learner_create(&l, &bad, NULL, NULL, &e), BP_ERR_ARGUMENT, "no tasks");
    REFUSES(bp_distral_learner_init(&l, small, sizeof small, &t.tasks, NULL, &e), BP_ERR_SIZE, "64");
    REFUSES(bp_distral_learner_init(&l, NULL, 1u << 20, &t.tasks, NULL, &e), BP_ERR_SIZE, "got 0");
    bpt_ok(bp_distral_learner_size(&t.tasks, NULL, &bytes, &e), &e);
    assert_true(bytes > sizeof *l);
    bpt_memory_use(&mem);
    mem.fail_at = 1;
    REFUSES(bp_distral_learner_create(&l, &t.tasks, NULL, &mem.allocator, &e), BP_ERR_MEMORY, "no memory");
    bpt_memory_check(&mem);
    bp_distral_learner_destroy(NULL);
    free_set(&t);
}

static void test_tworooms_errors(void **state) {
    bp_tworooms r;
    bp_error e;
    bp_tworooms_config c;
    bpt_memory mem;
    size_t n;
    (void)state;
    memset(&c, 0, sizeof c);
    REFUSES(bp_tworooms_create(&r, &c, NULL, &e), BP_ERR_CONFIG, "bp_tworooms_config");
#define BAD(field, value, word)                                           \
    c = bp_tworooms_config_default();                                     \
    c.field = value;                                                      \
    REFUSES(bp_tworooms_create(&r, &c, NULL, &e), BP_ERR_ARGUMENT, word); \
    bp_tworooms_destroy(&r);
    BAD(map, NULL, "NULL")
    BAD(map, "..G", "'G'")
    BAD(map, "..x", "column 3")
    BAD(map, "   ", "1 to 0 goals")
    BAD(tasks, 0, "0 tasks")
    BAD(tasks, 19, "1 to 18 goals")
    BAD(costs.slip, 0.1, "slip is 0.1")
    BAD(costs.goal_ends, false, "goal_ends")
    BAD(costs.gamma, 2, "gamma")
#undef BAD
    c = bp_tworooms_config_default();
    c.map = ".", c.tasks = 1;
    REFUSES(bp_tworooms_create(&r, &c, NULL, &e), BP_ERR_ARGUMENT, "no other cell");
    c = bp_tworooms_config_default();
    memset(&c.costs, 0, sizeof c.costs);
    REFUSES(bp_tworooms_create(&r, &c, NULL, &e), BP_ERR_CONFIG, "bp_gridworld_config");
    /* every allocation may fail */
    c = bp_tworooms_config_default();
    c.tasks = 3;
    bpt_memory_use(&mem);
    for (n = 1;; n++) {
        bp_status status;
        mem.requests = 0, mem.fail_at = n;
        status = bp_tworooms_create(&r, &c, &mem.allocator, &e);
        if (status == BP_OK) break;
        assert_int_equal(status, BP_ERR_MEMORY);
        bpt_memory_check(&mem);
    }
    assert_int_equal(n, 7); /* grid 2, list 1, tasks 3, and then none failed */
    bp_tworooms_destroy(&r);
    bpt_memory_check(&mem);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objective),
        cmocka_unit_test(test_best_prior),
        cmocka_unit_test(test_value_iteration),
        cmocka_unit_test(test_solve),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_learner),
        cmocka_unit_test(test_learner_converges),
        cmocka_unit_test(test_learner_rules),
        cmocka_unit_test(test_tworooms),
        cmocka_unit_test(test_corridor),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_tworooms_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
