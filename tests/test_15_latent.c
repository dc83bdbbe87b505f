/* Chapter 15: every bound against enumeration (gap included), its gradients against finite differences. */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"

enum { N_PROBLEMS = 60,
       MAX_K = 3,
       MAX_PARAMS = 64,
       MAX_CELLS = 6000 }; /* trajectories times values of the latent */

static uint64_t seed = 1;

/* For gradients in bp_real; those in double have check() below. */
#define CHECK(loss, p, array, grad, n) \
    bpt_check_gradient_at(loss, &(p), (p).array, grad, n, BPT_TOL(1e-2, 1e-3), BPT_TOL(1e-3, 1e-7), #loss " by " #array, __FILE__, __LINE__)

/* ---- a random tiny problem ----------------------------------------------------------------------------------------- */

typedef enum kind { E24,
                    E25,
                    E26,
                    KINDS } kind;

/* Policy, prior and inference table, each given by its logits. */
typedef struct problem {
    kind which;
    bp_mdp mdp;
    bp_trajectories tr;
    size_t N, M;
    bp_latent_tables policy, prior;
    double theta[MAX_PARAMS], phi[MAX_PARAMS]; /* logits of policy and prior */
    double *infer;                             /* [N][M] logits of f or g; E26 has none */
    /* scratch */
    double logp[MAX_PARAMS], logp0[MAX_PARAMS];
    double *log_p, *log_q, *log_infer, *log_one;
} problem;

static double *cells(void) {
    double *p = (double *)calloc(MAX_CELLS, sizeof *p);
    assert_non_null(p);
    return p;
}

static double normal(bp_rng *rng) { return (double)bp_rng_normal(rng); }

static void problem_make(problem *p, kind which, int i) {
    bp_rng rng = bp_rng_make(seed, 1500 + (uint64_t)i);
    const size_t S = 2 + (size_t)i % 2, A = 2, T = 1 + (size_t)i % 3, K = 2 + (size_t)(i / 3) % 2;
    const bool held = i % 2 == 0 || T == 1;
    bp_error e;
    memset(p, 0, sizeof *p);
    p->which = which;
    bpt_ok(bp_mdp_create(&p->mdp, S, A, 0.9, NULL, &e), &e);
    bp_mdp_random(&p->mdp, &rng, i % 4 == 0 ? 0 : 1);
    if (i % 5 == 4) p->mdp.terminal[S - 1] = true; /* short trajectories, some of no step at all */
    bpt_ok(bp_trajectories_create(&p->tr, &p->mdp, T, NULL, &e), &e);
    p->policy = bp_latent_tables_make(S, A, which == E24 ? 1 : K, which == E24 ? true : held);
    p->prior = bp_latent_tables_make(S, A, which == E25 ? 1 : K, which == E25 ? true : held);
    assert_true(p->policy.n_params <= MAX_PARAMS && p->prior.n_params <= MAX_PARAMS);
    p->N = p->tr.N;
    p->M = bp_latent_paths(which == E24 ? &p->prior : &p->policy, T);
    assert_true(p->N * p->M <= MAX_CELLS);
    p->infer = cells(), p->log_p = cells(), p->log_q = cells(), p->log_infer = cells(), p->log_one = cells();
    for (size_t k = 0; k < p->policy.n_params; k++) p->theta[k] = normal(&rng);
    for (size_t k = 0; k < p->prior.n_params; k++) p->phi[k] = normal(&rng);
    for (size_t k = 0; k < p->N * p->M; k++) p->infer[k] = normal(&rng);
    if (which != E26) { /* the inference table leaves out what is impossible anyway: in E24 the bound would be infinite */
        double *joint = which == E24 ? p->log_q : p->log_p;
        bp_latent_tables_eval(p->logp, which == E24 ? p->phi : p->theta, which == E24 ? &p->prior : &p->policy);
        bp_latent_log_joint(joint, &p->tr, p->logp, which == E24 ? &p->prior : &p->policy);
        for (size_t k = 0; k < p->N * p->M; k++)
            if (joint[k] < -1e300) p->infer[k] = -(double)INFINITY;
    }
}

static void problem_free(problem *p) {
    bp_trajectories_destroy(&p->tr);
    bp_mdp_destroy(&p->mdp);
    free(p->infer), free(p->log_p), free(p->log_q), free(p->log_infer), free(p->log_one);
}

/* The joints of the table at the head of the chapter. log_one [N]: the side that has no latent. */
static void problem_joints(problem *p) {
    bp_latent_tables_eval(p->logp, p->theta, &p->policy);
    bp_latent_tables_eval(p->logp0, p->phi, &p->prior);
    if (p->which != E26) bp_latent_softmax(p->log_infer, p->infer, p->N, p->M);
    if (p->which == E24) bp_latent_log_joint(p->log_one, &p->tr, p->logp, &p->policy);
    else bp_latent_log_joint(p->log_p, &p->tr, p->logp, &p->policy);
    if (p->which == E25) bp_latent_log_joint(p->log_one, &p->tr, p->logp0, &p->prior);
    else bp_latent_log_joint(p->log_q, &p->tr, p->logp0, &p->prior);
    for (size_t n = 0; n < p->N; n++)
        for (size_t m = 0; m < p->M; m++) {
            const size_t at = n * p->M + m;
            if (p->which == E24) p->log_p[at] = p->log_one[n] + p->log_infer[at];
            if (p->which == E25) p->log_q[at] = p->log_one[n] + p->log_infer[at];
        }
}

static double problem_bound(problem *p) {
    bp_bound b;
    problem_joints(p);
    bp_bound_exact(&b, p->log_p, p->log_q, p->N, p->M);
    return b.bound;
}

/* f or g set to the exact posterior: of the prior in E24, of the policy in E25. */
static void problem_exact_posterior(problem *p) {
    const double *joint = p->which == E24 ? p->log_q : p->log_p;
    problem_joints(p);
    for (size_t n = 0; n < p->N; n++) bp_latent_posterior(p->infer + n * p->M, joint + n * p->M, p->M);
}

/* ---- enumeration and marginalisation (E23) ------------------------------------------------------------------------- */

static void trajectories_are_all(void **state) {
    (void)state;
    for (int i = 0; i < N_PROBLEMS; i++) {
        problem p;
        bp_error e;
        bp_trajectory_sums sums;
        double pi[6], pi0[6], total = 0, total0 = 0, kl = 0;
        problem_make(&p, E24, i);
        problem_joints(&p);
        for (size_t k = 0; k < p.mdp.S * 2; k++) pi[k] = exp(p.logp[k]);
        bp_mdp_random_policy(pi0, &(bp_rng){.seed = 5}, p.mdp.S, 2);
        bpt_ok(bp_trajectory_enumerate(&sums, &p.mdp, pi, 0, pi0, 0, p.tr.T, &e), &e);
        assert_int_equal(sums.count, p.N);
        for (size_t n = 0; n < p.N; n++) {
            double q = p.tr.log_dynamics[n];
            for (size_t t = 0; t < p.tr.steps[n]; t++) q += log(pi0[p.tr.state[n * (p.tr.T + 1) + t] * 2 + p.tr.action[n * p.tr.T + t]]);
            kl += exp(p.log_one[n]) * (p.log_one[n] - q);
            total += exp(p.log_one[n]);
            total0 += exp(bp_latent_marginal(p.log_q + n * p.M, p.M));
        }
        bpt_close(kl, sums.trajectory_kl, 1e-12);
        bpt_close(total, 1, 1e-12);  /* a policy */
        bpt_close(total0, 1, 1e-12); /* a latent-variable prior, marginalised */
        problem_free(&p);
    }
}

static void trajectories_refuse(void **state) {
    bp_mdp m;
    bp_error e;
    bp_trajectories tr;
    bpt_memory memory;
    size_t bytes = 0;
    char small[8];
    (void)state;
    bpt_ok(bp_mdp_create(&m, 10, 10, 1, NULL, &e), &e);
    assert_int_equal(bp_trajectories_size(&m, 2, &bytes, &e), BP_ERR_ARGUMENT); /* no MDP yet */
    bp_rng rng = bp_rng_make(seed, 1);
    bp_mdp_random(&m, &rng, 0);
    assert_int_equal(bp_trajectories_size(&m, 0, &bytes, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_trajectories_size(NULL, 1, &bytes, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_trajectories_size(&m, 100, &bytes, &e), BP_ERR_SIZE);
    assert_non_null(strstr(e.text, "100 steps"));
    assert_int_equal(bp_trajectories_init(&tr, &m, 1, small, sizeof small, &e), BP_ERR_SIZE);
    bpt_memory_use(&memory);
    memory.fail_at = 1;
    assert_int_equal(bp_trajectories_create(&tr, &m, 1, &memory.allocator, &e), BP_ERR_MEMORY);
    bpt_ok(bp_trajectories_create(&tr, &m, 1, &memory.allocator, &e), &e);
    assert_int_equal(tr.N, 1000);
    bp_trajectories_destroy(&tr);
    bp_trajectories_destroy(&tr);
    bpt_memory_check(&memory);
    bp_mdp_destroy(&m);
}

/* ---- E24, E25, E26 ------------------------------------------------------------------------------------------------- */

static double worst_gap;

static void bounds_hold(void **state) {
    (void)state;
    worst_gap = 0;
    for (int i = 0; i < KINDS * N_PROBLEMS; i++) {
        problem p;
        bp_bound b;
        double kl = 0, rows = 0, gap = 0, post[81], post0[81];
        problem_make(&p, (kind)(i % KINDS), i / KINDS);
        problem_joints(&p);
        bp_bound_exact(&b, p.log_p, p.log_q, p.N, p.M);
        for (size_t n = 0; n < p.N; n++) {
            const double *lp = p.log_p + n * p.M, *lq = p.log_q + n * p.M, *li = p.log_infer + n * p.M;
            const double marginal = bp_latent_marginal(lp, p.M);
            double row = 0;
            kl += exp(marginal) * (marginal - bp_latent_marginal(lq, p.M));
            bp_latent_posterior(post, lp, p.M);
            bp_latent_posterior(post0, lq, p.M);
            for (size_t m = 0; m < p.M; m++)
                if (exp(post[m]) > 0) gap += exp(marginal + post[m]) * (post[m] - post0[m]);
            /* the row functions, each trajectory weighted by its probability */
            if (p.which == E24) row = bp_bound_prior(p.log_one[n], lq, li, p.M);
            if (p.which == E25) row = bp_bound_policy(lp, li, p.log_one[n], p.M);
            if (p.which == E26) row = bp_bound_both(lp, lq, p.M);
            assert_true(row >= marginal - bp_latent_marginal(lq, p.M) - 1e-12);
            rows += exp(marginal) * row;
        }
        /* [e24_test] */
        bpt_close(b.kl, kl, 1e-12);
        assert_true(b.kl >= -1e-12 && b.gap > 0 && b.bound > b.kl);
        bpt_close(b.bound - b.kl, gap, 1e-9);
        bpt_close(b.gap, gap, 1e-9);
        bpt_close(rows, b.bound, 1e-11);
        worst_gap = fmax(worst_gap, fabs(b.bound - b.kl - gap));
        if (p.which != E26) { /* tight at the exact posterior, and only more when pushed away from it */
            problem_exact_posterior(&p);
            problem_joints(&p);
            bp_bound_exact(&b, p.log_p, p.log_q, p.N, p.M);
            bpt_close(b.bound, kl, 1e-11);
            bpt_close(b.gap, 0, 1e-11);
            /* [e24_test] */
        } else { /* with z first: KL of the latents plus the mean KL of the rest; here where z is held */
            problem twin = p;
            if (p.policy.held) {
                double first = 0, rest = 0;
                for (size_t m = 0; m < p.M; m++) {
                    /* all mass of both models on latent m: log_joint minus log p(z|s_0) */
                    for (size_t n = 0; n < p.N; n++) {
                        const size_t at = n * p.M + m, s0 = p.tr.state[n * (p.tr.T + 1)];
                        const double z = p.logp[p.policy.latent + s0 * p.M + m], z0 = p.logp0[p.prior.latent + s0 * p.M + m];
                        if (p.tr.steps[n] == 0) continue;
                        first += exp(p.log_p[at]) * (z - z0);
                        rest += exp(p.log_p[at]) * ((p.log_p[at] - z) - (p.log_q[at] - z0));
                    }
                }
                bpt_close(first + rest, problem_bound(&twin), 1e-11);
                assert_true(first >= 0 && rest >= -1e-12);
            }
        }
        problem_free(&p);
    }
    print_message("worst error of a gap: %.2e nats\n", worst_gap);
}

/* One sample of the latent, M = 1, estimates the same number: the average over the latent is the row. */
static void one_sample_is_unbiased(void **state) {
    (void)state;
    for (int i = 0; i < KINDS * 6; i++) {
        problem p;
        problem_make(&p, (kind)(i % KINDS), i / KINDS);
        problem_joints(&p);
        for (size_t n = 0; n < p.N; n++) {
            const double *lp = p.log_p + n * p.M, *lq = p.log_q + n * p.M, *li = p.log_infer + n * p.M;
            const double marginal = bp_latent_marginal(lp, p.M);
            double mean = 0, row = 0;
            for (size_t m = 0; m < p.M; m++) {
                const double w = exp(lp[m] - marginal);
                if (!(w > 0)) continue;
                if (p.which == E24) mean += w * bp_bound_prior(p.log_one[n], lq + m, li + m, 1);
                if (p.which == E25) mean += w * bp_bound_policy(lp + m, li + m, p.log_one[n], 1);
                if (p.which == E26) mean += w * bp_bound_both(lp + m, lq + m, 1);
            }
            if (p.which == E24) row = bp_bound_prior(p.log_one[n], lq, li, p.M);
            if (p.which == E25) row = bp_bound_policy(lp, li, p.log_one[n], p.M);
            if (p.which == E26) row = bp_bound_both(lp, lq, p.M);
            bpt_close(mean, row, 1e-12);
        }
        problem_free(&p);
    }
}

/* ---- gradients: central differences in double, with Richardson's correction ---------------------------------------- */

static double worst_gradient;

typedef double (*loss_fn)(void *ctx);

static double central(loss_fn loss, void *ctx, double *x, double h) {
    const double keep = *x;
    double up, down;
    *x = keep + h, up = loss(ctx);
    *x = keep - h, down = loss(ctx);
    *x = keep;
    return (up - down) / (2 * h);
}

/* Every stride-th coordinate. */
static void check_at(loss_fn loss, void *ctx, double *x, const double *grad, size_t n, size_t stride, const char *what, int line) {
    double norm = 0;
    for (size_t i = 0; i < n; i += stride) {
        const double d = (4 * central(loss, ctx, x + i, 5e-4) - central(loss, ctx, x + i, 1e-3)) / 3;
        const double error = fabs(d - grad[i]) / fmax(1, fabs(d));
        norm += fabs(grad[i]);
        if (!(error <= worst_gradient)) worst_gradient = error;
        if (!(error < 1e-8)) {
            print_error("%s [%lu]: analytic %.12g, differences %.12g\n", what, (unsigned long)i, grad[i], d);
            _fail(__FILE__, line);
        }
    }
    if (!(norm > 0)) {
        print_error("%s: the gradient is zero\n", what);
        _fail(__FILE__, line);
    }
}
#define check(loss, ctx, x, grad, n, stride) check_at(loss, ctx, x, grad, n, stride, #loss " by " #x, __LINE__)

static double loss_bound(void *ctx) { return problem_bound((problem *)ctx); }

static void bounds_gradients(void **state) {
    (void)state;
    double *dp = cells(), *dq = cells(), *done = cells(), *dinfer = cells();
    worst_gradient = 0;
    for (int i = 0; i < KINDS * 20; i++) {
        problem p;
        double dtheta[MAX_PARAMS] = {0}, dphi[MAX_PARAMS] = {0}, dlog[MAX_PARAMS] = {0}, dlog0[MAX_PARAMS] = {0};
        problem_make(&p, (kind)(i % KINDS), i / KINDS);
        if (p.N * p.M > 1500) {
            problem_free(&p);
            continue;
        }
        problem_joints(&p);
        memset(dp, 0, MAX_CELLS * sizeof *dp), memset(dq, 0, MAX_CELLS * sizeof *dq);
        memset(done, 0, MAX_CELLS * sizeof *done), memset(dinfer, 0, MAX_CELLS * sizeof *dinfer);
        bp_bound_exact_backward(dp, dq, 1, p.log_p, p.log_q, p.N, p.M);
        if (p.which != E26) {
            for (size_t n = 0; n < p.N; n++)
                for (size_t m = 0; m < p.M; m++) done[n] += p.which == E24 ? dp[n * p.M + m] : dq[n * p.M + m];
            bp_latent_softmax_backward(dinfer, p.which == E24 ? dp : dq, p.log_infer, p.N, p.M);
        }
        bp_latent_log_joint_backward(dlog, p.which == E24 ? done : dp, &p.tr, p.logp, &p.policy);
        bp_latent_log_joint_backward(dlog0, p.which == E25 ? done : dq, &p.tr, p.logp0, &p.prior);
        bp_latent_tables_backward(dtheta, dlog, p.logp, &p.policy);
        bp_latent_tables_backward(dphi, dlog0, p.logp0, &p.prior);
        check(loss_bound, &p, p.theta, dtheta, p.policy.n_params, 1);
        check(loss_bound, &p, p.phi, dphi, p.prior.n_params, 1);
        if (p.which != E26) check(loss_bound, &p, p.infer, dinfer, p.N * p.M, 7);
        problem_free(&p);
    }
    print_message("worst gradient error: %.2e\n", worst_gradient);
    free(dp), free(dq), free(done), free(dinfer);
}

/* The row functions, by every number they are given. */
typedef struct row {
    kind which;
    double one, p[5], q[5];
} row;
static double loss_row(void *ctx) {
    const row *r = (const row *)ctx;
    return r->which == E24   ? bp_bound_prior(r->one, r->q, r->p, 5)
           : r->which == E25 ? bp_bound_policy(r->p, r->q, r->one, 5)
                             : bp_bound_both(r->p, r->q, 5);
}

static void rows_gradients(void **state) {
    bp_rng rng = bp_rng_make(seed, 3);
    (void)state;
    for (int i = 0; i < KINDS * 10; i++) {
        row r;
        double dp[5] = {0}, dq[5] = {0}, added[5], done;
        r.which = (kind)(i % KINDS);
        r.one = normal(&rng);
        for (size_t k = 0; k < 5; k++) r.p[k] = normal(&rng), r.q[k] = normal(&rng), added[k] = 2;
        if (r.which == E24) bp_bound_prior_backward(dq, dp, 1, r.one, r.q, r.p, 5);
        if (r.which == E25) bp_bound_policy_backward(dp, dq, 1, r.p, r.q, r.one, 5);
        if (r.which == E26) bp_bound_both_backward(dp, dq, 1, r.p, r.q, 5);
        check(loss_row, &r, r.p, dp, 5, 1);
        check(loss_row, &r, r.q, dq, 5, 1);
        done = r.which == E24 ? 1 : -1;
        if (r.which != E26) check(loss_row, &r, &r.one, &done, 1, 1);
        /* adds, scales, and NULL is allowed */
        if (r.which == E24) bp_bound_prior_backward(NULL, added, 3, r.one, r.q, r.p, 5);
        if (r.which == E25) bp_bound_policy_backward(added, NULL, 3, r.p, r.q, r.one, 5);
        if (r.which == E26) bp_bound_both_backward(added, NULL, 3, r.p, r.q, 5);
        for (size_t k = 0; k < 5; k++) bpt_close(added[k], 2 + 3 * dp[k], 1e-14);
    }
}

/* ---- the mutual-information bonus (E25) ---------------------------------------------------------------------------- */

/* Its mean is at most I[z; tau], and equal to it at the exact posterior. Without reward and with an uninformative prior, the
 * bound on the KL is the plain ratio minus the bonus. */
static void information_bonus(void **state) {
    (void)state;
    for (int i = 0; i < 30; i++) {
        problem p;
        double mean[2] = {0, 0}, information = 0, ratio = 0;
        bp_bound b;
        problem_make(&p, E25, 2 * i); /* z held, so that p(z) is one table row */
        for (int exact = 0; exact < 2; exact++) {
            if (exact) problem_exact_posterior(&p);
            problem_joints(&p);
            bp_bound_exact(&b, p.log_p, p.log_q, p.N, p.M);
            information = ratio = 0;
            for (size_t n = 0; n < p.N; n++)
                for (size_t m = 0; m < p.M; m++) {
                    const size_t at = n * p.M + m, s0 = p.tr.state[n * (p.tr.T + 1)];
                    const double log_z = p.logp[p.policy.latent + s0 * p.M + m], marginal = bp_latent_marginal(p.log_p + n * p.M, p.M);
                    if (!(exp(p.log_p[at]) > 0) || p.tr.steps[n] == 0) continue;
                    mean[exact] += exp(p.log_p[at]) * bp_information_bonus(p.log_infer[at], log_z);
                    information += exp(p.log_p[at]) * (p.log_p[at] - marginal - log_z);
                    ratio += exp(p.log_p[at]) * (p.log_p[at] - log_z - p.log_one[n]); /* log pi(tau|z) - log pi0(tau) */
                }
            bpt_close(ratio - mean[exact], b.bound, 1e-11);
        }
        assert_true(mean[0] < information && information >= 0);
        bpt_close(mean[1], information, 1e-11);
        problem_free(&p);
    }
}

/* ---- one step, two levels (E27, E28) ------------------------------------------------------------------------------- */

enum { K2 = 4,
       A2 = 3 };
typedef struct levels {
    double x[2 * K2 + 2 * K2 * A2]; /* logits: high, high0, low, low0 */
    double logp[2 * K2 + 2 * K2 * A2];
    bool shared;
} levels;

static void levels_eval(levels *l) {
    bp_latent_softmax(l->logp, l->x, 2, K2);
    bp_latent_softmax(l->logp + 2 * K2, l->x + 2 * K2, 2 * K2, A2);
}
static const double *low0(const levels *l) { return l->shared ? NULL : l->logp + 2 * K2 + K2 * A2; }
static double loss_levels(void *ctx) {
    levels *l = (levels *)ctx;
    bp_two_level out;
    levels_eval(l);
    bp_bound_two_level(&out, l->logp, l->logp + K2, l->logp + 2 * K2, low0(l), K2, A2);
    return out.bound;
}

static void two_levels(void **state) {
    bp_rng rng = bp_rng_make(seed, 4);
    double worst = 0;
    (void)state;
    worst_gradient = 0;
    for (int i = 0; i < 100; i++) {
        levels l;
        bp_two_level out;
        bp_bound same;
        double pi[A2] = {0}, pi0[A2] = {0}, kl = 0, d[2 * K2 + 2 * K2 * A2] = {0}, dx[2 * K2 + 2 * K2 * A2] = {0};
        double joint[A2 * K2], joint0[A2 * K2];
        l.shared = i % 2 == 1;
        for (size_t k = 0; k < 2 * K2 + 2 * K2 * A2; k++) l.x[k] = normal(&rng);
        levels_eval(&l);
        bp_bound_two_level(&out, l.logp, l.logp + K2, l.logp + 2 * K2, low0(&l), K2, A2);
        /* [e27_test] */
        for (size_t a = 0; a < A2; a++)
            for (size_t z = 0; z < K2; z++) {
                const double *lower = l.logp + 2 * K2, *lower0 = l.shared ? lower : lower + K2 * A2;
                joint[a * K2 + z] = l.logp[z] + lower[z * A2 + a];
                joint0[a * K2 + z] = l.logp[K2 + z] + lower0[z * A2 + a];
                pi[a] += exp(joint[a * K2 + z]);
                pi0[a] += exp(joint0[a * K2 + z]);
            }
        for (size_t a = 0; a < A2; a++) kl += pi[a] * log(pi[a] / pi0[a]);
        bpt_close(out.kl, kl, 1e-12);
        bpt_close(out.bound, out.kl + out.gap, 1e-12);
        assert_true(out.gap >= -1e-15 && out.high > 0 && (l.shared ? out.low == 0 : out.low > 0));
        /* [e27_test] */
        worst = fmax(worst, fabs(out.bound - out.kl - out.gap));
        bp_bound_exact(&same, joint, joint0, A2, K2); /* the one inequality, with the action for a trajectory */
        bpt_close(same.bound, out.bound, 1e-12);
        bpt_close(same.gap, out.gap, 1e-12);

        bp_bound_two_level_backward(d, d + K2, d + 2 * K2, d + 2 * K2 + K2 * A2, 1, l.logp, l.logp + K2, l.logp + 2 * K2,
                                    low0(&l), K2, A2);
        bp_latent_softmax_backward(dx, d, l.logp, 2, K2);
        bp_latent_softmax_backward(dx + 2 * K2, d + 2 * K2, l.logp + 2 * K2, 2 * K2, A2);
        check(loss_levels, &l, l.x, dx, 2 * K2 + 2 * K2 * A2, 1);
        bp_bound_two_level_backward(NULL, NULL, NULL, NULL, 1, l.logp, l.logp + K2, l.logp + 2 * K2, low0(&l), K2, A2);
    }
    print_message("worst error of a gap: %.2e nats; of a gradient: %.2e\n", worst, worst_gradient);
}

/* E28: the lifted KL bounds L from below, and so does E27's; both reach L when the levels of policy and prior agree on z. */
static void two_level_objective(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        bp_rng rng = bp_rng_make(seed, 700 + (uint64_t)i);
        const size_t S = 2 + (size_t)i % 4, A = 2 + (size_t)i % 2, K = 2 + (size_t)(i / 2) % 3;
        const bool shared = i % 2 == 1;
        const bp_latent_tables tables = bp_latent_tables_make(S, A, K, false);
        bp_mdp m;
        bp_error e;
        bp_objective lower, exact;
        double x[200], logp[200], logp0[200], pi[20], pi0[20];
        assert_true(tables.n_params <= 200);
        bpt_ok(bp_mdp_create(&m, S, A, 0.8, NULL, &e), &e);
        bp_mdp_random(&m, &rng, 2);
        for (size_t k = 0; k < tables.n_params; k++) x[k] = normal(&rng);
        bp_latent_tables_eval(logp, x, &tables);
        for (size_t k = shared ? tables.latent : 0; k < tables.n_params; k++) x[k] = normal(&rng);
        bp_latent_tables_eval(logp0, x, &tables);
        bpt_ok(bp_two_level_objective(&lower, pi0, &m, logp0, logp0, &tables, shared, 0.5, &e), &e); /* for pi0 */
        bpt_close(lower.divergence, 0, 1e-12);
        /* [e28_test] */
        bpt_ok(bp_two_level_objective(&lower, pi, &m, logp, logp0, &tables, shared, 0.5, &e), &e);
        bpt_ok(bp_mdp_objective(&exact, &m, pi, pi0, 0.5, &e), &e);
        bpt_close(lower.reward, exact.reward, 1e-11);
        assert_true(lower.value < exact.value && lower.divergence > exact.divergence);
        /* [e28_test] */
        assert_int_equal(bp_two_level_objective(&lower, pi, &m, logp, logp0, &tables, shared, -1, &e), BP_ERR_ARGUMENT);
        const bp_latent_tables wrong = bp_latent_tables_make(S + 1, A, K, false);
        assert_int_equal(bp_two_level_objective(&lower, pi, &m, logp, logp0, &wrong, shared, 1, &e), BP_ERR_ARGUMENT);
        bp_mdp_destroy(&m);
    }
}

/* A Gaussian latent below a linear lower level: z ~ N(m, s^2), a ~ N(w z + c, u^2), so a ~ N(w m + c, w^2 s^2 + u^2) and everything
 * has a closed form. E27's one-sample estimate averages to its bound, which exceeds the KL of the marginals. */
typedef struct linear {
    bp_real m, s, m0, s0, w, c, u, w0, c0, u0, noise;
} linear;
static double linear_sample(linear *l, bp_real *dhigh, bp_real *dlow, bp_real *dz) {
    const bp_real z = l->m + l->s * l->noise, mean = l->w * z + l->c, mean0 = l->w0 * z + l->c0;
    bp_gaussian_pair high, low;
    high.mean = &l->m, high.std = &l->s, high.mean0 = &l->m0, high.std0 = &l->s0, high.dim = 1;
    low.mean = &mean, low.std = &l->u, low.mean0 = &mean0, low.std0 = &l->u0, low.dim = 1;
    if (dhigh) {
        bp_gaussian_pair_grad gh, gl;
        gh.dmean = dhigh, gh.dstd = dhigh + 1, gh.dmean0 = dhigh + 2, gh.dstd0 = dhigh + 3;
        gl.dmean = dlow, gl.dstd = dlow + 1, gl.dmean0 = dlow + 2, gl.dstd0 = dlow + 3;
        bp_bound_two_level_gaussian_backward(&gh, &gl, 1, &high, &low);
        *dz = dlow[0] * l->w + dlow[2] * l->w0;
        bp_gaussian_sample_backward(dhigh, dhigh + 1, dz, &l->noise, 1);
        assert_true(bp_bound_two_level_gaussian(&high, NULL) == bp_gaussian_kl(&l->m, &l->s, &l->m0, &l->s0, 1)); /* E28 */
        bp_bound_two_level_gaussian_backward(NULL, NULL, 1, &high, &low);
    }
    return (double)bp_bound_two_level_gaussian(&high, &low);
}
static double loss_linear(void *ctx) { return linear_sample((linear *)ctx, NULL, NULL, NULL); }

static void two_levels_gaussian(void **state) {
    bp_rng rng = bp_rng_make(seed, 5);
    (void)state;
    for (int i = 0; i < 5; i++) {
        linear l;
        bp_real dhigh[4] = {0}, dlow[4] = {0}, dz, all[4];
        const int n = 20000;
        double sum = 0, sum2 = 0;
        l.m = bp_rng_normal(&rng), l.m0 = bp_rng_normal(&rng), l.w = bp_rng_normal(&rng), l.c = bp_rng_normal(&rng);
        l.w0 = bp_rng_normal(&rng), l.c0 = bp_rng_normal(&rng);
        l.s = bp_rng_uniform_in(&rng, BP_R(0.5), 2), l.s0 = bp_rng_uniform_in(&rng, BP_R(0.5), 2);
        l.u = bp_rng_uniform_in(&rng, BP_R(0.5), 2), l.u0 = bp_rng_uniform_in(&rng, BP_R(0.5), 2);
        for (int k = 0; k < n; k++) {
            l.noise = bp_rng_normal(&rng);
            const double x = loss_linear(&l);
            sum += x, sum2 += x * x;
        }
        const double mean = sum / n, error = sqrt((sum2 / n - mean * mean) / n);
        /* E_z of the lower level's KL: E (w z + c - w0 z - c0)^2 = ((w - w0) m + c - c0)^2 + (w - w0)^2 s^2 */
        const double dw = (double)(l.w - l.w0), dc = (double)(l.c - l.c0), s = (double)l.s, u = (double)l.u, u0 = (double)l.u0;
        const double square = pow(dw * (double)l.m + dc, 2) + dw * dw * s * s;
        const double bound = (double)bp_gaussian_kl(&l.m, &l.s, &l.m0, &l.s0, 1) + log(u0 / u) + (u * u + square) / (2 * u0 * u0) - 0.5;
        const bp_real am = l.w * l.m + l.c, as = BP_R(sqrt(pow((double)l.w * s, 2) + u * u)), am0 = l.w0 * l.m0 + l.c0;
        const bp_real as0 = BP_R(sqrt(pow((double)l.w0 * (double)l.s0, 2) + u0 * u0));
        const double kl = (double)bp_gaussian_kl(&am, &as, &am0, &as0, 1);
        print_message("KL %.4f, E27 %.4f, one-sample average %.4f +- %.4f\n", kl, bound, mean, error);
        assert_true(fabs(mean - bound) < 4 * error && bound > kl);
        linear_sample(&l, dhigh, dlow, &dz);
        memcpy(all, dhigh, sizeof all);
        bpt_check_gradient_at(loss_linear, &l, &l.m, all, 4, BPT_TOL(1e-2, 1e-3), BPT_TOL(1e-3, 1e-7), "high level", __FILE__, __LINE__);
        bpt_check_gradient_at(loss_linear, &l, &l.u, dlow + 1, 1, BPT_TOL(1e-2, 1e-3), BPT_TOL(2e-3, 1e-7), "std", __FILE__, __LINE__);
        bpt_check_gradient_at(loss_linear, &l, &l.c0, dlow + 2, 1, BPT_TOL(1e-2, 1e-3), BPT_TOL(2e-3, 1e-7), "mean0", __FILE__, __LINE__);
    }
}

/* ---- options (E31) ------------------------------------------------------------------------------------------------- */

enum { OT = 5,
       OB = 2,
       OK = 3,
       ON = OT * OB * OK };
typedef struct options {
    bp_real emission[ON], option_logits[ON], redraw[OT * OB], restart[OT * OB];
    bp_real option[ON], log_prob[OT * OB], saved[2 * ON];
    double weight[OT * OB]; /* makes a loss of the log densities */
} options;

static void options_make(options *o, bp_rng *rng, int i) {
    for (size_t k = 0; k < ON; k++) o->emission[k] = bp_rng_normal(rng), o->option_logits[k] = bp_rng_normal(rng);
    for (size_t k = 0; k < OT * OB; k++) {
        o->redraw[k] = bp_rng_normal(rng);
        o->restart[k] = i % 2 && bp_rng_index(rng, 4) == 0 ? BP_R(1) : BP_R(0);
        o->weight[k] = 1;
    }
}

static double options_run(options *o) {
    double sum = 0;
    for (size_t k = 0; k < OT * OB; k++) bp_categorical_log_softmax(o->option + k * OK, o->option_logits + k * OK, OK);
    bp_option_forward(o->log_prob, o->saved, o->emission, o->option, o->redraw, o->restart, OT, OB, OK);
    for (size_t k = 0; k < OT * OB; k++) sum += o->weight[k] * (double)o->log_prob[k];
    return sum;
}
static double loss_options(void *ctx) { return options_run((options *)ctx); }

/* [e31_test] */
/* All K^n sequences of latents of sequence b, n steps long: the log-likelihood, and how probable y_t = y is given everything. */
static double options_brute(double *marginal, const options *o, size_t b, size_t n) {
    size_t paths = 1;
    double total = 0;
    for (size_t t = 0; t < n; t++) paths *= OK;
    for (size_t k = 0; k < n * OK; k++) marginal[k] = 0;
    for (size_t path = 0; path < paths; path++) {
        double p = 1;
        size_t code = path, last = 0;
        for (size_t t = 0; t < n; t++, code /= OK) {
            const size_t y = code % OK, row = t * OB + b;
            const double redraw = 1 / (1 + exp(-(double)o->redraw[row])), draw = exp((double)o->option[row * OK + y]);
            if (t == 0 || o->restart[row] != 0) p *= draw;
            else p *= (y == last ? 1 - redraw : 0) + redraw * draw;
            p *= exp((double)o->emission[row * OK + y]);
            last = y;
        }
        total += p;
        code = path;
        for (size_t t = 0; t < n; t++, code /= OK) marginal[t * OK + code % OK] += p;
    }
    for (size_t k = 0; k < n * OK; k++) marginal[k] /= total;
    return log(total);
}
/* [e31_test] */

static void options_match_enumeration(void **state) {
    bp_rng rng = bp_rng_make(seed, 6);
    double worst = 0;
    (void)state;
    for (int i = 0; i < 40; i++) {
        options o;
        bp_real smooth[ON], work[OB * OK];
        options_make(&o, &rng, i);
        if (i % 8 == 2) /* the limits: held for the episode, redrawn in every step */
            for (size_t k = 0; k < OT * OB; k++) o.redraw[k] = BP_R(HUGE_VAL) * (i % 16 == 2 ? BP_R(1) : BP_R(-1));
        options_run(&o);
        bp_option_smooth(smooth, work, o.saved, o.option, o.redraw, o.restart, OT, OB, OK);
        for (size_t b = 0; b < OB; b++) {
            double marginal[OT * OK], before = 0;
            for (size_t n = 1; n <= OT; n++) {
                const double now = options_brute(marginal, &o, b, n), got = (double)o.log_prob[(n - 1) * OB + b];
                worst = fmax(worst, fabs(got - (now - before)));
                bpt_close(got, now - before, BPT_TOL(1e-5, 1e-12));
                for (size_t y = 0; y < OK; y++) /* filtering: what is believed at step n-1 knows nothing of later steps */
                    bpt_close(exp((double)o.saved[ON + ((n - 1) * OB + b) * OK + y]), marginal[(n - 1) * OK + y], BPT_TOL(1e-5, 1e-12));
                before = now;
            }
            for (size_t t = 0; t < OT; t++)
                for (size_t y = 0; y < OK; y++) bpt_close(smooth[(t * OB + b) * OK + y], marginal[t * OK + y], BPT_TOL(1e-5, 1e-12));
        }
    }
    print_message("worst error of a predictive log density: %.2e\n", worst);
}

/* The forward algorithm against the joints of the tiny models: log p(tau) of every trajectory. */
static void options_match_tables(void **state) {
    (void)state;
    for (int i = 1; i < 12; i += 2) { /* odd: not held */
        problem p;
        problem_make(&p, E26, i);
        problem_joints(&p);
        const size_t K = p.prior.K, T = p.tr.T;
        if (p.prior.held) {
            problem_free(&p);
            continue;
        }
        for (size_t n = 0; n < p.N; n++) {
            const size_t *s = p.tr.state + n * (T + 1), steps = p.tr.steps[n];
            bp_real emission[3 * MAX_K], option[3 * MAX_K], redraw[3], log_prob[3], saved[6 * MAX_K];
            double sum = p.tr.log_dynamics[n];
            for (size_t t = 0; t < steps; t++) {
                const double *stay = p.logp0 + p.prior.redraw + 2 * s[t];
                redraw[t] = BP_R(stay[1] - stay[0]); /* log b - log(1-b) is the logit */
                for (size_t y = 0; y < K; y++) {
                    emission[t * K + y] = BP_R(p.logp0[(s[t] * K + y) * 2 + p.tr.action[n * T + t]]);
                    option[t * K + y] = BP_R(p.logp0[p.prior.latent + s[t] * K + y]);
                }
            }
            bp_option_forward(log_prob, saved, emission, option, redraw, NULL, steps, 1, K);
            for (size_t t = 0; t < steps; t++) sum += (double)log_prob[t];
            bpt_close(sum, bp_latent_marginal(p.log_q + n * p.M, p.M), BPT_TOL(1e-5, 1e-12));
        }
        problem_free(&p);
    }
}

static void options_gradients(void **state) {
    bp_rng rng = bp_rng_make(seed, 7);
    (void)state;
    for (int i = 0; i < 10; i++) {
        options o;
        bp_real demission[ON] = {0}, doption[ON] = {0}, dlogits[ON] = {0}, dredraw[OT * OB] = {0}, ones[ON] = {0};
        bp_real work[OB * OK], d[OT * OB];
        options_make(&o, &rng, i);
        for (size_t k = 0; k < OT * OB; k++) o.weight[k] = i < 2 ? 1 : normal(&rng), d[k] = BP_R(o.weight[k]);
        options_run(&o);
        bp_option_backward(demission, doption, dredraw, work, d, o.saved, o.option, o.redraw, o.restart, OT, OB, OK);
        for (size_t k = 0; k < OT * OB; k++)
            bp_categorical_log_softmax_backward(dlogits + k * OK, doption + k * OK, o.option + k * OK, OK);
        CHECK(loss_options, o, emission, demission, ON);
        CHECK(loss_options, o, option_logits, dlogits, ON);
        CHECK(loss_options, o, redraw, dredraw, OT * OB);
        bp_option_backward(NULL, NULL, NULL, work, d, o.saved, o.option, o.redraw, o.restart, OT, OB, OK);
        if (i < 2) {         /* NULL is 1 everywhere; and it adds */
            options_run(&o); /* the differences have left other numbers in saved */
            bp_option_backward(ones, NULL, NULL, work, NULL, o.saved, o.option, o.redraw, o.restart, OT, OB, OK);
            bpt_close_array(ones, demission, ON, 0);
            bp_option_backward(ones, NULL, NULL, work, NULL, o.saved, o.option, o.redraw, o.restart, OT, OB, OK);
            for (size_t k = 0; k < ON; k++) bpt_close(ones[k], 2 * (double)demission[k], BPT_TOL(1e-6, 1e-14));
        }
    }
}

/* Stepping by hand is the same; with b = 1 each step is a mixture; an impossible action is survived. */
static void options_step_by_step(void **state) {
    bp_rng rng = bp_rng_make(seed, 8);
    options o;
    (void)state;
    options_make(&o, &rng, 0);
    options_run(&o);
    bp_real belief[OK], logits[OK], mean[2 * OK], std[2 * OK], a[2], emission[OK];
    for (size_t t = 0; t < OT; t++) {
        const size_t row = t * OB + 1;
        bp_option_predict(belief, t ? belief : NULL, o.option + row * OK, o.redraw[row], OK);
        bpt_close(bp_option_update(belief, belief, o.emission + row * OK, OK), o.log_prob[row], 0);
        bpt_close_array(belief, o.saved + ON + row * OK, OK, 0);
    }
    for (size_t k = 0; k < 2 * OK; k++) mean[k] = bp_rng_normal(&rng), std[k] = bp_rng_uniform_in(&rng, BP_R(0.5), 1);
    for (size_t k = 0; k < OK; k++) logits[k] = bp_rng_normal(&rng);
    a[0] = bp_rng_normal(&rng), a[1] = bp_rng_normal(&rng);
    bp_option_gaussian(emission, a, mean, std, 1, OK, 2);
    bp_categorical_log_softmax(o.option, logits, OK);
    bp_option_predict(belief, belief, o.option, BP_R(HUGE_VAL), OK); /* whatever was believed */
    bpt_close(bp_option_update(belief, belief, emission, OK), bp_mixture_log_prob(a, logits, mean, std, OK, 2), BPT_TOL(1e-5, 1e-13));

    for (size_t k = 0; k < OK; k++) emission[k] = -BP_R(HUGE_VAL);
    memcpy(logits, belief, sizeof logits);
    assert_true(isinf((double)bp_option_update(belief, belief, emission, OK)));
    assert_memory_equal(belief, logits, sizeof belief);
    assert_true(bp_option_saved_reals(SIZE_MAX, 2, 2) == SIZE_MAX && bp_option_saved_reals(OT, OB, OK) == 2 * ON);
}

/* Emissions: Gaussian and categorical, with their derivatives, through the whole recursion. */
enum { EA = 2 };
typedef struct emissions {
    options o;
    bp_real action[OT * OB * EA], mean[ON * EA], std[ON * EA], logits[ON * EA];
    size_t choice[OT * OB];
} emissions;
static double loss_gaussian_options(void *ctx) {
    emissions *e = (emissions *)ctx;
    bp_option_gaussian(e->o.emission, e->action, e->mean, e->std, OT * OB, OK, EA);
    return options_run(&e->o);
}
static double loss_categorical_options(void *ctx) {
    emissions *e = (emissions *)ctx;
    bp_option_categorical(e->o.emission, e->choice, e->logits, OT * OB, OK, EA);
    return options_run(&e->o);
}

static void options_emissions(void **state) {
    bp_rng rng = bp_rng_make(seed, 9);
    emissions e;
    bp_real d[ON], dmean[ON * EA] = {0}, dstd[ON * EA] = {0}, dlogits[ON * EA] = {0}, work[OB * OK];
    (void)state;
    options_make(&e.o, &rng, 1);
    for (size_t k = 0; k < OT * OB * EA; k++) e.action[k] = bp_rng_normal(&rng);
    for (size_t k = 0; k < OT * OB; k++) e.choice[k] = bp_rng_index(&rng, EA);
    for (size_t k = 0; k < ON * EA; k++) {
        e.mean[k] = bp_rng_normal(&rng), e.logits[k] = bp_rng_normal(&rng);
        e.std[k] = bp_rng_uniform_in(&rng, BP_R(0.5), 2);
    }
    loss_gaussian_options(&e);
    memset(d, 0, sizeof d);
    bp_option_backward(d, NULL, NULL, work, NULL, e.o.saved, e.o.option, e.o.redraw, e.o.restart, OT, OB, OK);
    bp_option_gaussian_backward(dmean, dstd, d, e.action, e.mean, e.std, OT * OB, OK, EA);
    CHECK(loss_gaussian_options, e, mean, dmean, ON * EA);
    CHECK(loss_gaussian_options, e, std, dstd, ON * EA);
    loss_categorical_options(&e);
    memset(d, 0, sizeof d);
    bp_option_backward(d, NULL, NULL, work, NULL, e.o.saved, e.o.option, e.o.redraw, e.o.restart, OT, OB, OK);
    bp_option_categorical_backward(dlogits, d, e.choice, e.logits, OT * OB, OK, EA);
    CHECK(loss_categorical_options, e, logits, dlogits, ON * EA);
}

/* ---- E24 for Gaussians, by Monte Carlo ----------------------------------------------------------------------------- */

/* Both pi and pi0 are a_t = w y + sigma noise with y ~ N(0,1) held for T steps; pi is used through its density alone. In the
 * direction (1 ... 1) the variance is sigma^2 + T w^2, in all others sigma^2, so KL[pi || pi0] has a closed form. So has the gap
 * of an inference network f = N(c sum a, s^2) that is not the posterior. */
static double log_gaussian_sum(const double *a, size_t T, double w, double sigma) {
    const double along = sigma * sigma + (double)T * w * w;
    double sum = 0, square = 0, log_p;
    for (size_t t = 0; t < T; t++) sum += a[t], square += a[t] * a[t];
    log_p = -0.5 * (square - sum * sum / (double)T) / (sigma * sigma) - 0.5 * sum * sum / (double)T / along;
    return log_p - 0.5 * log(along) - (double)(T - 1) * log(sigma) - 0.5 * (double)T * log(2 * 3.14159265358979323846);
}

static double log_normal(double x, double mean, double std) {
    return -0.5 * (x - mean) * (x - mean) / (std * std) - log(std) - 0.5 * log(2 * 3.14159265358979323846);
}

static void gaussian_latent_monte_carlo(void **state) {
    bp_rng rng = bp_rng_make(seed, 10);
    const double w = 1.2, sigma = 0.7, w0 = 0.8, sigma0 = 1;
    const size_t T = 4;
    const int n = 100000;
    (void)state;
    for (int exact = 0; exact < 2; exact++) {
        const double l = sigma * sigma, l0 = sigma0 * sigma0, along = l + 4 * w * w, along0 = l0 + 4 * w0 * w0;
        const double kl = 0.5 * (3 * (l / l0 - 1 - log(l / l0)) + along / along0 - 1 - log(along / along0));
        const double precision = 1 + 4 * w0 * w0 / l0, c_exact = w0 / l0 / precision, s_exact = 1 / sqrt(precision);
        const double c = exact ? c_exact : 0.15, s = exact ? s_exact : 0.6, var = 4 * l + 16 * w * w; /* of sum a, under pi */
        const double gap = log(s_exact / s) + (s * s + (c - c_exact) * (c - c_exact) * var) / (2 * s_exact * s_exact) - 0.5;
        double sum = 0, sum2 = 0;
        for (int k = 0; k < n; k++) {
            const double z = normal(&rng);
            double a[4], total = 0, joint0, log_f;
            for (size_t t = 0; t < T; t++) total += a[t] = w * z + sigma * normal(&rng);
            const double y = c * total + s * normal(&rng); /* one sample of f */
            joint0 = log_normal(y, 0, 1);
            for (size_t t = 0; t < T; t++) joint0 += log_normal(a[t], w0 * y, sigma0);
            log_f = log_normal(y, c * total, s);
            const double row = bp_bound_prior(log_gaussian_sum(a, T, w, sigma), &joint0, &log_f, 1);
            sum += row, sum2 += row * row;
        }
        const double mean = sum / n, error = sqrt((sum2 / n - mean * mean) / n);
        print_message("KL %.4f, gap %.4f, E24 by Monte Carlo %.4f +- %.4f\n", kl, gap, mean, error);
        assert_true(fabs(mean - (kl + gap)) < 4 * error);
        if (exact) assert_true(fabs(gap) < 1e-12);
        else assert_true(gap > 0.05);
    }
}

/* ---- the latent prior (E24) ---------------------------------------------------------------------------------------- */

enum { PT = 4,
       PB = 3,
       PA = 2 };
typedef struct setup {
    bp_latent_prior *prior;
    bp_rng rng; /* copied before use, so that the noise is the same each time */
    bp_real observation[PT * PB * 3], action[PT * PB * PA], mask[PT * PB];
} setup;

static void make_spec(bp_spec *spec, bool discrete) {
    bp_error e;
    bp_spec_begin(spec, "toy");
    bpt_ok(bp_spec_add_field(spec, "body", 2, &e), &e);
    bpt_ok(bp_spec_add_field(spec, "goal", 1, &e), &e);
    if (discrete) bpt_ok(bp_spec_actions_discrete(spec, 3, &e), &e);
    else bpt_ok(bp_spec_actions_continuous(spec, PA, -1, 1, &e), &e);
}

static bp_latent_prior_config small_config(int i) {
    bp_latent_prior_config c = bp_latent_prior_config_default();
    c.fields[0] = "body";
    c.latent = 2;
    c.hold = (size_t)i % 3; /* an episode, a row, two rows */
    c.length = PT, c.batch = PB, c.samples = 1 + (size_t)i % 2;
    c.hidden_layers = 1, c.width[0] = 5;
    c.kl_weight = i % 2 ? 0.5 : 1;
    c.seed = 3 + (uint64_t)i;
    return c;
}

static void setup_make(setup *s, int i, const bp_allocator *allocator) {
    bp_latent_prior_config c = small_config(i);
    const bool discrete = i % 4 >= 2;
    bp_spec spec;
    bp_error e;
    bp_rng rng = bp_rng_make(seed, 11);
    if (i == 5) c.n_fields = 0; /* sees nothing */
    make_spec(&spec, discrete);
    bpt_ok(bp_latent_prior_create(&s->prior, &spec, &c, allocator, &e), &e);
    for (size_t k = 0; k < PT * PB * 3; k++) s->observation[k] = bp_rng_normal(&rng);
    for (size_t k = 0; k < PT * PB * PA; k++) s->action[k] = discrete ? BP_R(bp_rng_index(&rng, 3)) : bp_rng_normal(&rng);
    for (size_t k = 0; k < PT * PB; k++) s->mask[k] = 1;
    s->mask[1 * PB + 0] = 0; /* sequence 0: an episode of one row, a boundary, two rows */
    s->mask[3 * PB + 1] = 0; /* sequence 1: ends with a boundary */
    s->rng = bp_rng_make(seed, 12);
}

static double setup_loss(void *ctx) {
    setup *s = (setup *)ctx;
    bp_rng rng = s->rng;
    bp_error e;
    bpt_ok(bp_latent_prior_gradients(s->prior, s->observation, s->action, s->mask, PT, PB, &rng, &e), &e);
    return s->prior->metrics.loss;
}

static void latent_prior_gradients(void **state) {
    (void)state;
    for (int i = 0; i < 8; i++) {
        setup s;
        bp_real *grad;
        double total = 0;
        setup_make(&s, i, NULL);
        setup_loss(&s);
        grad = (bp_real *)malloc(s.prior->n_params * sizeof *grad);
        memcpy(grad, s.prior->grad, s.prior->n_params * sizeof *grad);
        bpt_check_gradient_at(setup_loss, &s, s.prior->params, grad, s.prior->decoder.n_params, BPT_TOL(1e-2, 1e-3), BPT_TOL(3e-3, 1e-6),
                              "decoder", __FILE__, __LINE__);
        bpt_check_gradient_at(setup_loss, &s, s.prior->params + s.prior->decoder.n_params, grad + s.prior->decoder.n_params,
                              s.prior->encoder.n_params, BPT_TOL(1e-2, 1e-3), BPT_TOL(3e-3, 1e-6), "encoder", __FILE__, __LINE__);
        /* the metrics are what they say, and the rows add up to them */
        const bp_latent_prior_metrics *m = &s.prior->metrics;
        setup_loss(&s);
        assert_int_equal(m->rows, PT * PB - 2);
        assert_int_equal(m->latents, i % 3 == 1 ? PT * PB - 2 : i % 3 == 0 ? 4
                                                                           : 6);
        for (size_t k = 0; k < PT * PB; k++) {
            total += (double)s.prior->row_log_prob[k] - (double)s.prior->row_kl[k];
            if (!(s.mask[k] > 0)) assert_true(s.prior->row_log_prob[k] == 0 && s.prior->row_kl[k] == 0);
        }
        bpt_close(total / (double)m->rows, m->bound, BPT_TOL(1e-5, 1e-12));
        bpt_close(m->loss, -m->log_prob + s.prior->config.kl_weight * m->kl, 1e-12);
        assert_true(m->kl >= 0);
        bp_latent_prior_destroy(s.prior);
        free(grad);
    }
}

/* The rows of the newest loss from the public pieces: encode, sample, decode, log density. What is masked has no influence. */
static void latent_prior_pieces(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        setup s;
        bp_error e;
        bp_real mean[PT * PB * 2], std[PT * PB * 2], y[PT * PB * 2], dist[PT * PB * 4], noise[PT * PB * 2 * 2], before;
        const bp_real zero[2] = {0, 0}, one[2] = {1, 1};
        size_t next = 0, S;
        setup_make(&s, i, NULL);
        S = s.prior->config.samples;
        setup_loss(&s);
        bpt_ok(bp_latent_prior_encode(mean, std, s.prior, s.observation, s.action, s.mask, PT, PB, &e), &e);
        bp_rng rng = s.rng;
        bp_rng_normals(noise, &rng, s.prior->metrics.latents * S * 2);
        if (i != 1) { /* each latent's first sample; with hold = 1 rows and latents coincide */
            bpt_close(std[(1 * PB + 0) * 2], 1, 0);
            assert_true(mean[(1 * PB + 0) * 2 + 1] == 0);
        }
        for (size_t r = 0; r < PT * PB; r++)
            if (s.prior->row_kl[r] > 0) {
                bpt_close(s.prior->row_kl[r], bp_gaussian_kl(mean + r * 2, std + r * 2, zero, one, 2), 1e-6);
                if (i == 0) /* held to the end: rows of one sequence share y */
                    for (size_t q = r; q < PT * PB && s.mask[q] > 0; q += PB)
                        bp_gaussian_sample(y + q * 2, mean + q * 2, std + q * 2, noise + next * 2, 2);
                next++;
            }
        assert_int_equal(next, s.prior->metrics.latents);
        if (i == 0) {
            bpt_ok(bp_latent_prior_decode(dist, s.prior, s.observation, y, PT * PB, &e), &e);
            for (size_t r = 0; r < PT * PB; r++)
                if (s.mask[r] > 0)
                    bpt_close(s.prior->row_log_prob[r],
                              bp_gaussian_log_prob(s.action + r * PA, dist + r * PA, dist + (PT * PB + r) * PA, PA), BPT_TOL(1e-5, 1e-12));
        }
        before = BP_R(s.prior->metrics.loss);
        s.observation[(1 * PB + 0) * 3] = 100;
        s.action[(1 * PB + 0) * (i >= 2 ? 1 : PA)] = 50; /* not even a choice */
        setup_loss(&s);
        assert_true(BP_R(s.prior->metrics.loss) == before);
        bp_latent_prior_destroy(s.prior);
    }
}

static void latent_prior_refuses(void **state) {
    bp_spec spec;
    bp_error e;
    bp_latent_prior *prior;
    bp_latent_prior_config c, bad;
    bpt_memory memory;
    size_t bytes;
    setup s;
    char small[64];
    (void)state;
    make_spec(&spec, false);
    c = small_config(0);
    memset(&bad, 0, sizeof bad);
    assert_int_equal(bp_latent_prior_size(&spec, &bad, &bytes, &e), BP_ERR_CONFIG);
    assert_int_equal(bp_latent_prior_size(NULL, &c, &bytes, &e), BP_ERR_ARGUMENT);
    bad = c, bad.latent = 0;
    assert_int_equal(bp_latent_prior_size(&spec, &bad, &bytes, &e), BP_ERR_ARGUMENT);
    bad = c, bad.samples = 0;
    assert_int_equal(bp_latent_prior_size(&spec, &bad, &bytes, &e), BP_ERR_ARGUMENT);
    bad = c, bad.kl_weight = -1;
    assert_int_equal(bp_latent_prior_size(&spec, &bad, &bytes, &e), BP_ERR_ARGUMENT);
    bad = c, bad.adam.lr = 0;
    assert_int_equal(bp_latent_prior_size(&spec, &bad, &bytes, &e), BP_ERR_ARGUMENT);
    bad = c, bad.head.init_std = 0;
    assert_int_equal(bp_latent_prior_size(&spec, &bad, &bytes, &e), BP_ERR_ARGUMENT);
    bad = c, bad.fields[0] = "tail";
    assert_int_equal(bp_latent_prior_size(&spec, &bad, &bytes, &e), BP_ERR_FIELD);
    bad = c, bad.length = SIZE_MAX / 4;
    assert_int_equal(bp_latent_prior_size(&spec, &bad, &bytes, &e), BP_ERR_SIZE);
    assert_int_equal(bp_latent_prior_init(&prior, small, sizeof small, &spec, &c, &e), BP_ERR_SIZE);
    bpt_memory_use(&memory);
    memory.fail_at = 1;
    assert_int_equal(bp_latent_prior_create(&prior, &spec, &c, &memory.allocator, &e), BP_ERR_MEMORY);
    assert_null(prior);
    memory.fail_at = 0;
    setup_make(&s, 2, &memory.allocator);
    assert_int_equal(memory.requests, 2); /* one block, then nothing more */
    setup_loss(&s);
    bp_rng rng = s.rng;
    bpt_ok(bp_latent_prior_step(s.prior, s.observation, s.action, NULL, PT, PB, &rng, &e), &e);
    assert_int_equal(memory.requests, 2);
    s.action[4] = 3; /* of 3 choices */
    assert_int_equal(bp_latent_prior_step(s.prior, s.observation, s.action, NULL, PT, PB, &rng, &e), BP_ERR_ARGUMENT);
    assert_non_null(strstr(e.text, "row 4"));
    s.action[4] = 0;
    assert_int_equal(bp_latent_prior_step(s.prior, s.observation, s.action, NULL, PT + 1, PB, &rng, &e), BP_ERR_SIZE);
    assert_int_equal(bp_latent_prior_decode(s.observation, s.prior, s.observation, s.action, PT * PB + 1, &e), BP_ERR_SIZE);
    memset(s.mask, 0, sizeof s.mask);
    assert_int_equal(bp_latent_prior_step(s.prior, s.observation, s.action, s.mask, PT, PB, &rng, &e), BP_ERR_ARGUMENT);
    s.observation[0] = BP_R(NAN);
    assert_int_equal(bp_latent_prior_step(s.prior, s.observation, s.action, NULL, PT, PB, &rng, &e), BP_ERR_NONFINITE);
    assert_int_equal(s.prior->steps, 1);
    bp_latent_prior_destroy(s.prior);
    bp_latent_prior_destroy(NULL);
    bpt_memory_check(&memory);
}

/* Two equally good directions, one of which is kept for an episode of T rows: a_t = +-0.6 + noise of 0.2. The latent prior learns both;
 * the best Gaussian stands in the middle. KL[pi(tau) || pi0(tau)] by samples of tau, pi0(tau) by quadrature over y. */
enum { BT = 4,
       BB = 32,
       GRID = 161 };

static void bimodal_batch(bp_real *action, bp_rng *rng) {
    for (size_t b = 0; b < BB; b++) {
        const double way = bp_rng_index(rng, 2) ? 0.6 : -0.6;
        for (size_t t = 0; t < BT; t++) action[t * BB + b] = BP_R(way + 0.2 * normal(rng));
    }
}

static void bimodal_target(void **state) {
    bp_spec spec;
    bp_error e;
    bp_latent_prior *prior, *twin;
    bp_latent_prior_config c = bp_latent_prior_config_default();
    bp_rng rng = bp_rng_make(seed, 13), other;
    static bp_real observation[BT * BB], action[BT * BB], y[GRID], dist[2 * GRID];
    double log_weight[GRID], kl = 0, kl2 = 0, kl_gaussian = 0, bound = 0;
    const double broad = sqrt(0.36 + 0.04);
    const int rounds = 60;
    (void)state;
    bp_spec_begin(&spec, "fork");
    bpt_ok(bp_spec_add_field(&spec, "nothing", 1, &e), &e);
    bpt_ok(bp_spec_actions_continuous(&spec, 1, -1, 1, &e), &e);
    c.latent = 1, c.length = BT, c.batch = BB, c.hidden_layers = 1, c.width[0] = 16;
    c.head.init_std = 0.4, c.head.min_std = 0.01;
    c.adam.lr = 1e-2;
    bpt_ok(bp_latent_prior_create(&prior, &spec, &c, NULL, &e), &e);
    bpt_ok(bp_latent_prior_create(&twin, &spec, &c, NULL, &e), &e);
    for (int k = 0; k < 1500; k++) {
        if (k == 1000) prior->config.adam.lr = 1e-3, twin->config.adam.lr = 1e-3;
        bimodal_batch(action, &rng);
        other = rng;
        bpt_ok(bp_latent_prior_step(prior, observation, action, NULL, BT, BB, &rng, &e), &e);
        if (k < 50) bpt_ok(bp_latent_prior_step(twin, observation, action, NULL, BT, BB, &other, &e), &e);
        if (k == 49) assert_memory_equal(prior->params, twin->params, prior->n_params * sizeof(bp_real));
    }
    for (size_t g = 0; g < GRID; g++) y[g] = BP_R(-4 + 8 * (double)g / (GRID - 1));
    bpt_ok(bp_latent_prior_decode(dist, prior, observation, y, 100, &e), &e); /* in two parts: at most BT * BB rows */
    {
        static bp_real rest[2 * GRID];
        bpt_ok(bp_latent_prior_decode(rest, prior, observation, y + 100, GRID - 100, &e), &e);
        memmove(dist + GRID, dist + 100, 100 * sizeof *dist);
        memcpy(dist + 100, rest, (GRID - 100) * sizeof *dist);
        memcpy(dist + GRID + 100, rest + (GRID - 100), (GRID - 100) * sizeof *dist);
    }
    for (size_t g = 0; g < GRID; g++) log_weight[g] = log_normal((double)y[g], 0, 1) + log(8.0 / (GRID - 1));
    for (int k = 0; k < rounds; k++) {
        bimodal_batch(action, &rng);
        bpt_ok(bp_latent_prior_gradients(prior, observation, action, NULL, BT, BB, &rng, &e), &e);
        for (size_t b = 0; b < BB; b++) {
            double left = 0, right = 0, middle = 0, joint[GRID], evidence = 0;
            memcpy(joint, log_weight, sizeof joint);
            for (size_t t = 0; t < BT; t++) {
                const double a = (double)action[t * BB + b];
                left += log_normal(a, -0.6, 0.2), right += log_normal(a, 0.6, 0.2), middle += log_normal(a, 0, broad);
                for (size_t g = 0; g < GRID; g++) joint[g] += log_normal(a, (double)dist[g], (double)dist[GRID + g]);
                evidence += (double)prior->row_log_prob[t * BB + b] - (double)prior->row_kl[t * BB + b];
            }
            const double both[2] = {left + log(0.5), right + log(0.5)}, log_pi = bp_latent_marginal(both, 2);
            const double ratio = log_pi - bp_latent_marginal(joint, GRID);
            kl += ratio, kl2 += ratio * ratio, kl_gaussian += log_pi - middle, bound += log_pi - evidence;
        }
    }
    {
        const double n = rounds * BB;
        kl /= n, kl2 /= n, kl_gaussian /= n, bound /= n;
        print_message("KL of %d rows: latent prior %.3f +- %.3f nats, its bound %.3f, best Gaussian %.3f\n", BT, kl,
                      sqrt((kl2 - kl * kl) / n), bound, kl_gaussian);
    }
    assert_true(kl < 0.3 && kl > 0 && bound > kl && bound < kl + 0.5);
    assert_true(kl_gaussian > 2);
    bp_latent_prior_destroy(prior);
    bp_latent_prior_destroy(twin);
}

/* ---- the discriminator (E25) --------------------------------------------------------------------------------------- */

enum { CELLS = 6,
       SKILLS = 3 };
typedef struct guesser {
    bp_discriminator *d;
    bp_real x[CELLS * SKILLS * CELLS]; /* every pair (cell, z): one-hot cell */
    size_t z[CELLS * SKILLS];
} guesser;
static double loss_guesser(void *ctx) {
    guesser *g = (guesser *)ctx;
    bp_error e;
    bpt_ok(bp_discriminator_gradients(g->d, g->x, g->z, CELLS * SKILLS, &e), &e);
    return g->d->loss;
}

/* Skills that visit cells with probability p(x|z). The exact mean of the bonus never exceeds I[z;x], and training closes the gap. */
static void discriminator_learns(void **state) {
    bp_rng rng = bp_rng_make(seed, 14);
    bp_spec spec;
    bp_error e;
    bp_discriminator_config c = bp_discriminator_config_default();
    guesser g;
    double visit[SKILLS * CELLS], px[CELLS] = {0}, information = 0, first = 0, last = 0;
    const double pz[SKILLS] = {0.5, 0.3, 0.2};
    bp_real log_pz[SKILLS], bonus[CELLS * SKILLS];
    (void)state;
    bp_mdp_random_policy(visit, &rng, SKILLS, CELLS);
    visit[0] = 0.9, visit[1] = 0.02, visit[2] = 0.02, visit[3] = 0.02, visit[4] = 0.02, visit[5] = 0.02;
    for (size_t z = 0; z < SKILLS; z++) {
        log_pz[z] = BP_R(log(pz[z]));
        for (size_t x = 0; x < CELLS; x++) px[x] += pz[z] * visit[z * CELLS + x];
    }
    for (size_t z = 0; z < SKILLS; z++)
        for (size_t x = 0; x < CELLS; x++) information += pz[z] * visit[z * CELLS + x] * log(visit[z * CELLS + x] / px[x]);
    bp_spec_begin(&spec, "cells");
    bpt_ok(bp_spec_add_field(&spec, "cell", CELLS, &e), &e);
    bpt_ok(bp_spec_actions_discrete(&spec, 2, &e), &e);
    c.choices = SKILLS, c.batch = 64, c.hidden_layers = 1, c.width[0] = 8;
    c.adam.lr = 3e-3;
    bpt_ok(bp_discriminator_create(&g.d, &spec, &c, NULL, &e), &e);
    memset(g.x, 0, sizeof g.x);
    for (size_t k = 0; k < CELLS * SKILLS; k++) g.z[k] = k % SKILLS, g.x[k * CELLS + k / SKILLS] = 1;
    for (int step = 0; step <= 4000; step++) {
        bp_real x[64 * CELLS] = {0};
        size_t z[64];
        if (step % 1000 == 0) {
            double mean = 0;
            bpt_ok(bp_discriminator_bonus(bonus, g.d, g.x, g.z, log_pz, CELLS * SKILLS, &e), &e);
            for (size_t k = 0; k < CELLS * SKILLS; k++) mean += pz[g.z[k]] * visit[g.z[k] * CELLS + k / SKILLS] * (double)bonus[k];
            assert_true(mean <= information + 1e-6);
            if (step == 0) first = mean;
            last = mean;
        }
        for (size_t k = 0; k < 64; k++) {
            double mark = bp_rng_uniform(&rng), sum = 0;
            size_t at = 0;
            z[k] = mark < 0.5 ? 0 : mark < 0.8 ? 1
                                               : 2;
            mark = bp_rng_uniform(&rng);
            while (at + 1 < CELLS && mark >= (sum += visit[z[k] * CELLS + at])) at++;
            x[k * CELLS + at] = 1;
        }
        if (step == 3000) g.d->config.adam.lr = 3e-4;
        bpt_ok(bp_discriminator_step(g.d, x, z, 64, &e), &e);
        if (step == 10) { /* not at the start, where the last layer is almost nothing */
            bp_real grad[200];
            assert_true(g.d->net.n_params <= 200);
            loss_guesser(&g);
            memcpy(grad, g.d->grad, g.d->net.n_params * sizeof *grad);
            bpt_check_gradient_at(loss_guesser, &g, g.d->params, grad, g.d->net.n_params, BPT_TOL(1e-2, 1e-3), BPT_TOL(1e-2, 1e-6),
                                  "discriminator", __FILE__, __LINE__);
        }
    }
    print_message("I[z;x] = %.4f nats; mean bonus untrained %.4f, trained %.4f\n", information, first, last);
    assert_true(last > information - 0.01 && first < 0.2 * information);
    bpt_ok(bp_discriminator_bonus(bonus, g.d, g.x, g.z, NULL, 1, &e), &e); /* uniform pi(z) */
    bp_discriminator_destroy(g.d);
}

static void discriminator_refuses(void **state) {
    bp_spec spec;
    bp_error e;
    bp_discriminator *d;
    bp_discriminator_config c = bp_discriminator_config_default(), bad;
    bpt_memory memory;
    size_t bytes, z[2] = {0, 8};
    bp_real x[6] = {0}, bonus[2];
    (void)state;
    make_spec(&spec, true);
    memset(&bad, 0, sizeof bad);
    assert_int_equal(bp_discriminator_size(&spec, &bad, &bytes, &e), BP_ERR_CONFIG);
    assert_int_equal(bp_discriminator_size(NULL, &c, &bytes, &e), BP_ERR_ARGUMENT);
    bad = c, bad.choices = 0;
    assert_int_equal(bp_discriminator_size(&spec, &bad, &bytes, &e), BP_ERR_ARGUMENT);
    bad = c, bad.n_fields = 0;
    assert_int_equal(bp_discriminator_size(&spec, &bad, &bytes, &e), BP_ERR_ARGUMENT);
    bad = c, bad.fields[0] = "tail";
    assert_int_equal(bp_discriminator_size(&spec, &bad, &bytes, &e), BP_ERR_FIELD);
    bad = c, bad.batch = SIZE_MAX / 8;
    assert_int_equal(bp_discriminator_size(&spec, &bad, &bytes, &e), BP_ERR_SIZE);
    bpt_memory_use(&memory);
    memory.fail_at = 1;
    assert_int_equal(bp_discriminator_create(&d, &spec, &c, &memory.allocator, &e), BP_ERR_MEMORY);
    bpt_ok(bp_discriminator_create(&d, &spec, &c, &memory.allocator, &e), &e);
    assert_int_equal(bp_discriminator_bonus(bonus, d, x, z, NULL, 2, &e), BP_ERR_ARGUMENT);
    assert_non_null(strstr(e.text, "z[1] is 8"));
    assert_int_equal(bp_discriminator_step(d, x, z, 0, &e), BP_ERR_SIZE);
    assert_int_equal(bp_discriminator_step(d, x, z, 257, &e), BP_ERR_SIZE);
    z[1] = 7;
    bpt_ok(bp_discriminator_step(d, x, z, 2, &e), &e);
    x[0] = BP_R(NAN);
    assert_int_equal(bp_discriminator_step(d, x, z, 2, &e), BP_ERR_NONFINITE);
    assert_int_equal(d->steps, 1);
    assert_int_equal(memory.requests, 2);
    bp_discriminator_destroy(d);
    bp_discriminator_destroy(NULL);
    bpt_memory_check(&memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trajectories_are_all),
        cmocka_unit_test(trajectories_refuse),
        cmocka_unit_test(bounds_hold),
        cmocka_unit_test(one_sample_is_unbiased),
        cmocka_unit_test(bounds_gradients),
        cmocka_unit_test(rows_gradients),
        cmocka_unit_test(information_bonus),
        cmocka_unit_test(two_levels),
        cmocka_unit_test(two_level_objective),
        cmocka_unit_test(two_levels_gaussian),
        cmocka_unit_test(options_match_enumeration),
        cmocka_unit_test(options_match_tables),
        cmocka_unit_test(options_gradients),
        cmocka_unit_test(options_step_by_step),
        cmocka_unit_test(options_emissions),
        cmocka_unit_test(gaussian_latent_monte_carlo),
        cmocka_unit_test(latent_prior_gradients),
        cmocka_unit_test(latent_prior_pieces),
        cmocka_unit_test(latent_prior_refuses),
        cmocka_unit_test(bimodal_target),
        cmocka_unit_test(discriminator_learns),
        cmocka_unit_test(discriminator_refuses),
    };
    seed = bpt_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
