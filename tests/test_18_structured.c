/* Chapters 14, 18 and 20 with structure: policies that remember, and policies of two levels.
 *
 * (test_18_oracle.c compares whole steps with PyTorch.) Here, without any other program: the gradients of whole steps
 * against central differences, where what is differentiated holds nothing constant; the same bits for any number of
 * threads, and the same numbers for any cut of the batch; what an actor writes down step by step against what the learner
 * makes of it all at once; files; and what is refused.
 */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* mkdtemp */
#endif
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"
#include "test_scratch.h"


enum { O = 7,
       A = 2,
       K = 3,
       Z = 2,
       T = 5,
       B = 3 }; /* of the small problem */

/* ---- configurations --------------------------------------------------------------------------------- */

static void make_spec(bp_spec *spec, bool discrete) {
    bp_error error;
    bp_spec_begin(spec, "robot");
    bpt_ok(bp_spec_add_field(spec, "body", 3, &error), &error);
    bpt_ok(bp_spec_add_field(spec, "goal", 2, &error), &error);
    bpt_ok(bp_spec_add_field(spec, "task", 2, &error), &error);
    if (discrete) bpt_ok(bp_spec_actions_discrete(spec, K, &error), &error);
    else bpt_ok(bp_spec_actions_continuous(spec, A, -1, 1, &error), &error);
}

static void narrow(bp_policy_config *c, size_t width) {
    c->hidden_layers = 1;
    c->width[0] = width;
}

/* One level, no memory, small networks and penalties that matter. */
static bp_rs0_config flat(void) {
    bp_rs0_config c = bp_rs0_config_default();
    c.batch = B;
    c.length = T;
    c.samples = 2;
    c.shards = 2;
    c.kernel = BP_KERNEL_REFERENCE;
    c.alpha = bp_schedule_constant(0.3);
    c.entropy_cost = bp_schedule_constant(0.05);
    c.prior_kind = BP_PRIOR_LEARNED;
    c.prior.fields[0] = "body";
    narrow(&c.policy, 4);
    narrow(&c.prior, 3);
    c.critic_layers = 1;
    c.critic_width[0] = 5;
    c.target_period = 2;
    c.policy_adam.lr = c.prior_adam.lr = c.critic_adam.lr = 1e-2;
    return c;
}

static bp_rs0_config remembering(void) {
    bp_rs0_config c = flat();
    c.policy.lstm = 3;
    c.prior.lstm = 2;
    c.critic_lstm = 3;
    return c;
}

static bp_rs0_config levels(bp_high_kind kind) {
    bp_rs0_config c = flat();
    c.latent = bp_latent_config_default(Z);
    c.policy.fields[0] = "body";
    c.latent.prior_kind = kind;
    c.latent.high_prior.fields[0] = "task";
    c.latent.phi = 0.7;
    narrow(&c.latent.high, 4);
    narrow(&c.latent.high_prior, 3);
    return c;
}

/* Everything there is. */
static bp_rs0_config everything(void) {
    bp_rs0_config c = levels(BP_HIGH_AUTOREGRESSIVE);
    c.policy.lstm = 2;
    c.prior.lstm = 3;
    c.critic_lstm = 2;
    c.latent.high.lstm = 3;
    c.latent.high_prior.lstm = 2;
    c.latent.shared_low = false;
    c.latent.hold = 3;
    c.twin_critics = true;
    return c;
}

enum { CONFIGS = 13 };
/* Number i of a list that has a bit of everything; `discrete`: with which actions. */
static bp_rs0_config config_number(size_t i, bool *discrete) {
    bp_rs0_config c;
    *discrete = i % 4 == 3;
    switch (i) {
    case 0: c = remembering(); break;
    case 1: c = levels(BP_HIGH_AR1); break;
    case 2: c = everything(); break;
    case 3: c = everything(), c.latent.joint_ratio = true, c.twin_critics = false; break;
    case 4: c = levels(BP_HIGH_LEARNED), c.policy.lstm = 2, c.latent.hold = 0; break;
    case 5: c = levels(BP_HIGH_AR1), c.latent.joint_ratio = true, c.latent.hold = 4, c.critic_lstm = 2; break;
    case 6: c = levels(BP_HIGH_ISOTROPIC), c.latent.shared_low = false, c.latent.critic_sees_latent = false; break;
    case 7: c = remembering(), c.prior_kind = BP_PRIOR_PREVIOUS, c.twin_critics = true; break;
    case 8: c = levels(BP_HIGH_LEARNED), c.prior_kind = BP_PRIOR_FIXED, c.latent.high.lstm = 2; break;
    case 9: c = levels(BP_HIGH_LEARNED), c.prior_kind = BP_PRIOR_NONE, c.latent.joint_ratio = true; break;
    case 10: c = remembering(), c.memory_start = BP_MEMORY_ZERO, c.burn_in = 2; break;
    case 11: c = remembering(), c.n_tasks = 2, c.policy.lstm = 0; break;
    default: c = everything(), c.memory_start = BP_MEMORY_ZERO, c.burn_in = 1, c.prior.hidden_layers = 0; break;
    }
    return c;
}

/* ---- a learner and a batch for it --------------------------------------------------------------------- */

typedef struct world {
    bp_spec spec;
    bp_rs0 *l;
    bp_batch batch;
    bp_real *data;
    bp_rng rng;
} world;

static void normals(bp_real *x, size_t n, double scale, bp_rng *rng) {
    size_t i;
    bp_rng_normals(x, rng, n);
    for (i = 0; i < n; i++) x[i] *= BP_R(scale);
}

/* Weights of a learner that has learned something: far from each other and from their targets. */
static void scramble(bp_rs0 *l, bp_rng *rng) {
    bp_learned *p[3];
    size_t k;
    p[0] = &l->policy_p, p[1] = &l->prior_p, p[2] = &l->critic_p;
    for (k = 0; k < 3; k++) {
        normals(p[k]->online, p[k]->n, 0.5, rng);
        normals(p[k]->target, p[k]->n, 0.5, rng);
    }
}

static size_t age_at(const bp_rs0 *l) { return l->high.state_size + l->policy.state_size + l->latent.size; }

/* Boundary rows, memories, latents of every age. Sequence 1 starts an episode. */
static void fill_batch(world *w) {
    bp_batch *b = &w->batch;
    const size_t n = b->batch, rows = b->length * n;
    size_t i;
    normals(b->observation, (rows + n) * O, 1, &w->rng);
    normals(b->action, rows * w->spec.action_size, 0.8, &w->rng);
    if (w->spec.action_kind == BP_ACTION_DISCRETE)
        for (i = 0; i < rows; i++) b->action[i] = BP_R(bp_rng_index(&w->rng, K));
    normals(b->reward, rows, 1, &w->rng);
    for (i = 0; i < rows; i++) b->discount[i] = b->mask[i] = BP_R(1), b->log_mu[i] = BP_R(w->l->latent.size ? -4 : -2);
    b->mask[2 * n] = BP_R(0);
    b->mask[n + 2] = BP_R(0);
    normals(b->latent, rows * b->latent_size, 1, &w->rng);
    normals(b->state, n * b->state_size, 0.4, &w->rng);
    for (i = 0; w->l->latent.size && i < n; i++) b->state[i * b->state_size + age_at(w->l)] = BP_R(1 + i % 3);
    memset(b->state + b->state_size, 0, b->state_size * sizeof(bp_real));
}

static void world_make(world *w, bool discrete, const bp_rs0_config *config) {
    bp_replay_config shape;
    bp_error error;
    memset(w, 0, sizeof *w);
    make_spec(&w->spec, discrete);
    bpt_ok(bp_rs0_create(&w->l, &w->spec, config, NULL, &error), &error);
    w->rng = bp_rng_make(18, 18);
    scramble(w->l, &w->rng);
    shape = bp_rs0_replay_config(w->l);
    w->data = (bp_real *)malloc(bp_batch_reals(&shape, config->batch) * sizeof(bp_real));
    assert_non_null(w->data);
    bp_batch_init(&w->batch, w->data, &shape, config->batch);
    fill_batch(w);
    if (!discrete) {
        const size_t per_step = config->batch * config->samples * A;
        normals(w->l->target_noise, (config->length + 1) * per_step, 1, &w->rng);
        normals(w->l->policy_noise, config->length * per_step, 1, &w->rng);
    }
    normals(w->l->target_latent_noise, (config->length + 1) * config->batch * w->l->latent.size, 1, &w->rng);
    normals(w->l->policy_latent_noise, config->length * config->batch * w->l->latent.size, 1, &w->rng);
}

static void world_free(world *w) {
    bp_rs0_destroy(w->l);
    free(w->data);
}

static void gradients(world *w) {
    bp_error error;
    bpt_ok(bp_rs0_gradients(w->l, &w->batch, NULL, &error), &error);
}

/* ---- gradients ----------------------------------------------------------------------------------------- */

static double policy_loss(void *ctx) {
    gradients((world *)ctx);
    return ((world *)ctx)->l->metrics.policy_loss;
}

static double prior_loss(void *ctx) {
    gradients((world *)ctx);
    return ((world *)ctx)->l->metrics.prior_loss;
}

static double critic_loss(void *ctx) {
    gradients((world *)ctx);
    return ((world *)ctx)->l->metrics.critic_loss;
}

/* Sanitizers cost a factor of ten: there each check looks at some of the numbers only. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SOME(n) ((n) > 8 ? (n) / 8 : (n))
#else
#define SOME(n) (n)
#endif

static void check_network(world *w, double (*loss)(void *), bp_learned *p, size_t first, size_t n, const char *name) {
    bp_real *grad = (bp_real *)malloc(n * sizeof(bp_real));
    assert_non_null(grad);
    gradients(w);
    memcpy(grad, p->grad + first, n * sizeof(bp_real));
    bpt_check_gradient_at(loss, w, p->online + first, grad, SOME(n), BPT_TOL(3e-3, 2e-5), BPT_TOL(2e-2, 1e-6), name, __FILE__,
                          __LINE__);
    free(grad);
}

static void check_gradients(const bp_rs0_config *config, bool discrete) {
    world w;
    size_t high, critic;
    world_make(&w, discrete, config);
    high = w.l->high.n_params;
    critic = w.l->critic.n_params;
    if (high) check_network(&w, policy_loss, &w.l->policy_p, 0, high, "high level");
    check_network(&w, policy_loss, &w.l->policy_p, high, w.l->policy.n_params, "policy");
    check_network(&w, critic_loss, &w.l->critic_p, 0, critic, "critic");
    if (config->critic_lstm) check_network(&w, critic_loss, &w.l->critic_p, critic, w.l->critic_rnn.n_params, "critic's LSTM");
    if (config->prior_kind == BP_PRIOR_LEARNED) {
        if (w.l->high_prior.n_params) check_network(&w, prior_loss, &w.l->prior_p, 0, w.l->high_prior.n_params, "high prior");
        if (w.l->prior.n_params)
            check_network(&w, prior_loss, &w.l->prior_p, w.l->high_prior.n_params, w.l->prior.n_params, "prior");
    }
    world_free(&w);
}

/* Differences know nothing of what a loss holds constant: no burn-in, a critic that does not see z, a prior that does not
 * see the z before. All the rest is there: memories everywhere, z held over rows and drawn anew, both levels' KL. */
static void test_gradients_of_memory(void **state) {
    bp_rs0_config c = remembering();
    (void)state;
    check_gradients(&c, false);
    check_gradients(&c, true);
    c.twin_critics = true;
    c.policy.hidden_layers = 0;
    c.policy.tanh_mean = false;
    check_gradients(&c, false);
}

static void test_gradients_of_levels(void **state) {
    bp_rs0_config c = everything();
    (void)state;
    c.latent.prior_kind = BP_HIGH_LEARNED;
    c.latent.critic_sees_latent = false;
    c.twin_critics = false;
    check_gradients(&c, false);
    check_gradients(&c, true);
    c = levels(BP_HIGH_LEARNED);
    c.latent.critic_sees_latent = false;
    c.latent.shared_low = false;
    c.latent.hold = 2;
    check_gradients(&c, false);
    c.latent.joint_ratio = true;
    check_gradients(&c, false);
    c = levels(BP_HIGH_ISOTROPIC);
    c.latent.critic_sees_latent = false;
    c.latent.hold = 0;
    check_gradients(&c, false);
}

/* A frozen low level: no gradient of its own, and differences agree about the high one above it. */
static void test_gradients_of_frozen(void **state) {
    bp_rs0_config c = levels(BP_HIGH_LEARNED);
    world w;
    size_t i;
    (void)state;
    c.prior_kind = BP_PRIOR_FIXED;
    c.latent.critic_sees_latent = false;
    c.policy.lstm = 2;
    world_make(&w, false, &c);
    check_network(&w, policy_loss, &w.l->policy_p, 0, w.l->high.n_params, "above a frozen level");
    for (i = w.l->high.n_params; i < w.l->policy_p.n; i++) assert_true(w.l->policy_p.grad[i] == BP_R(0));
    world_free(&w);
}

/* ---- the same bits, the same numbers --------------------------------------------------------------------- */

static bool same_arrays(const bp_rs0 *a, const bp_rs0 *b) {
    size_t i, k;
    for (i = 0; i < bp_rs0_tensor_count(a); i++) {
        bp_tensor x, y;
        bp_rs0_tensor(&x, a, i);
        bp_rs0_tensor(&y, b, i);
        assert_string_equal(x.name, y.name);
        if (memcmp(x.data, y.data, x.rows * x.cols * sizeof(bp_real)) != 0) return false;
    }
    for (k = 0; k < bp_rs0_metric_count(); k++)
        if (bp_rs0_metric_value(&a->metrics, k) != bp_rs0_metric_value(&b->metrics, k)) return false;
    return memcmp(a->retrace, b->retrace, a->config.length * a->config.batch * sizeof(bp_real)) == 0;
}

static void test_threads(void **state) {
    size_t i, k;
    bp_error error;
    (void)state;
    for (i = 0; i < CONFIGS; i++) {
        bool discrete;
        bp_rs0_config c = config_number(i, &discrete);
        world one, three;
        bp_team *team = NULL;
        c.batch = 7;
        c.shards = 4;
        c.kernel = BP_KERNEL_AUTO;
        world_make(&one, discrete, &c);
        world_make(&three, discrete, &c);
#if defined(BPRIOR_THREADS)
        bpt_ok(bp_team_create(&team, 3, NULL, &error), &error);
#endif
        for (k = 0; k < 3; k++) {
            bpt_ok(bp_rs0_step(one.l, &one.batch, &one.rng, NULL, &error), &error);
            bpt_ok(bp_rs0_step(three.l, &three.batch, &three.rng, team, &error), &error);
            assert_true(same_arrays(one.l, three.l));
        }
        bp_team_destroy(team);
        world_free(&one);
        world_free(&three);
    }
}

static bp_real *all_gradients(const bp_rs0 *l) {
    const size_t n = l->policy_p.n + l->prior_p.n + l->critic_p.n;
    bp_real *out = (bp_real *)malloc(n * sizeof(bp_real));
    assert_non_null(out);
    memcpy(out, l->policy_p.grad, l->policy_p.n * sizeof(bp_real));
    memcpy(out + l->policy_p.n, l->critic_p.grad, l->critic_p.n * sizeof(bp_real));
    if (l->prior_p.n) memcpy(out + l->policy_p.n + l->critic_p.n, l->prior_p.grad, l->prior_p.n * sizeof(bp_real));
    return out;
}

/* to [n][times*m] <- from [n][m], each row repeated */
static void repeat(bp_real *to, const bp_real *from, size_t n, size_t m, size_t times) {
    size_t i, k;
    for (i = 0; i < n; i++)
        for (k = 0; k < times; k++) memcpy(to + (i * times + k) * m, from + i * m, m * sizeof(bp_real));
}

/* The cut of the batch into shards, and of a shard into pieces that fit the cache, changes the order of sums only: a batch
 * of 3 sequences gives the gradients of one in which each of them stands forty times. */
static void test_cuts(void **state) {
    enum { TIMES = 40 };
    size_t i, k;
    (void)state;
    for (i = 0; i < CONFIGS; i++) {
        bool discrete;
        bp_rs0_config c = config_number(i, &discrete);
        bp_real *first, *other;
        world small, large;
        world_make(&small, discrete, &c);
        gradients(&small);
        first = all_gradients(small.l);
        c.batch = B * TIMES;
        for (k = 0; k < 3; k++) {
            const size_t S = discrete ? 0 : c.samples * A;
            c.shards = k == 0 ? 1 : k == 1 ? 3
                                           : 7;
            world_make(&large, discrete, &c);
#define COPY(net)                                                                           \
    if (small.l->net.n) {                                                                   \
        memcpy(large.l->net.online, small.l->net.online, small.l->net.n * sizeof(bp_real)); \
        memcpy(large.l->net.target, small.l->net.target, small.l->net.n * sizeof(bp_real)); \
    }
            COPY(policy_p)
            COPY(prior_p)
            COPY(critic_p)
#undef COPY
            repeat(large.batch.observation, small.batch.observation, T + 1, B * O, TIMES);
            repeat(large.batch.action, small.batch.action, T, B * small.batch.action_size, TIMES);
            repeat(large.batch.reward, small.batch.reward, T, B, TIMES);
            repeat(large.batch.discount, small.batch.discount, T, B, TIMES);
            repeat(large.batch.log_mu, small.batch.log_mu, T, B, TIMES);
            repeat(large.batch.mask, small.batch.mask, T, B, TIMES);
            repeat(large.batch.latent, small.batch.latent, T, B * small.batch.latent_size, TIMES);
            repeat(large.batch.state, small.batch.state, 1, B * small.batch.state_size, TIMES);
            repeat(large.l->target_noise, small.l->target_noise, T + 1, B * S, TIMES);
            repeat(large.l->policy_noise, small.l->policy_noise, T, B * S, TIMES);
            repeat(large.l->target_latent_noise, small.l->target_latent_noise, T + 1, B * small.l->latent.size, TIMES);
            repeat(large.l->policy_latent_noise, small.l->policy_latent_noise, T, B * small.l->latent.size, TIMES);
            gradients(&large);
            other = all_gradients(large.l);
            bpt_close_array(first, other, small.l->policy_p.n + small.l->critic_p.n + small.l->prior_p.n, BPT_TOL(2e-4, 1e-12));
            for (size_t m = 0; m < bp_rs0_metric_count(); m++)
                bpt_close(bp_rs0_metric_value(&small.l->metrics, m), bp_rs0_metric_value(&large.l->metrics, m),
                          BPT_TOL(1e-4, 1e-12));
            free(other);
            world_free(&large);
        }
        free(first);
        world_free(&small);
    }
}

/* ---- acting and learning ---------------------------------------------------------------------------------- */

static void make_observation(bp_real *x, bp_rng *rng) {
    const size_t task = bp_rng_index(rng, 2);
    normals(x, O, 1, rng);
    x[5] = BP_R(task == 0);
    x[6] = BP_R(task == 1);
}

/* What one level's or critic's memory, started from `before`, is after a sequence; against what acting made of it. */
static void check_memory(const bp_real *got, const bp_real *want, size_t n) {
    size_t i;
    double norm = 0;
    for (i = 0; i < n; i++) norm += fabs((double)want[i]);
    assert_true(norm > 0);
    bpt_close_array(got, want, n, BPT_TOL(1e-5, 1e-13));
}

/* An actor fills sequences one after the other, with a policy that is the learner's own (online and target alike). Then
 *   - the learner's ratio of each action is 1: its unrolled networks say what the actor's said step by step. With two levels that
 *     holds for the joint ratio, and for the other if learning draws the same noise as acting did;
 *   - each part of the state that the actor stored before a sequence is what unrolling the one before ends with. */
static void play(const bp_rs0_config *config, bool discrete) {
    enum { SEQUENCES = 12 };
    bp_rs0_config settings = *config;
    world w;
    bp_sequence s[SEQUENCES];
    bp_real *data, *state, *work, *z_before, *z_used, x[O], action[A];
    bp_replay_config shape;
    bp_compute compute;
    bp_error error;
    void *memory = bp_alloc(NULL, bp_compute_bytes());
    size_t k, t, i, rows = 0, compared = 0, length = 0;
    bool ended = false;
    const bp_rs0 *l;
    settings.batch = SEQUENCES;
    settings.value_source = BP_SOURCE_ONLINE;
    settings.burn_in = 0;
    world_make(&w, discrete, &settings);
    l = w.l;
    bpt_ok(bp_compute_init(&compute, settings.kernel, memory, &error), &error);
    shape = bp_rs0_replay_config(l);
    assert_int_equal(shape.length, T);
    assert_int_equal(shape.latent_size, settings.latent.joint_ratio ? Z : 0);
    assert_int_equal(shape.state_size, l->state_size);
    data = (bp_real *)calloc(SEQUENCES * bp_sequence_reals(&shape), sizeof(bp_real));
    state = (bp_real *)calloc(l->state_size + 1, sizeof(bp_real));
    work = (bp_real *)malloc(bp_rs0_act_work_reals(l) * sizeof(bp_real));
    z_before = (bp_real *)calloc(SEQUENCES * T * Z, sizeof(bp_real));
    z_used = (bp_real *)calloc(SEQUENCES * T * Z, sizeof(bp_real));
    assert_true(data && state && work && z_before && z_used);
    for (k = 0; k < SEQUENCES; k++) bp_sequence_init(&s[k], data + k * bp_sequence_reals(&shape), &shape);
    normals(w.l->target_latent_noise, (T + 1) * SEQUENCES * l->latent.size, 1, &w.rng);

    make_observation(x, &w.rng);
    for (k = 0; k < SEQUENCES; k++) {
        bp_sequence_begin(&s[k], x);
        memcpy(s[k].state, state, l->state_size * sizeof(bp_real));
        while (!bp_sequence_full(&s[k])) {
            const size_t row = s[k].filled;
            const bp_real *z;
            bp_real log_mu;
            bp_rng copy = w.rng;
            if (ended) {
                make_observation(x, &w.rng);
                bp_sequence_boundary(&s[k], x);
                memset(state, 0, l->state_size * sizeof(bp_real));
                ended = false;
                continue;
            }
            if (l->latent.size) { /* what acting will draw first */
                memcpy(z_before + (k * T + row) * Z, state + age_at(l) - Z, Z * sizeof(bp_real));
                if (bp_latent_due(&l->latent, (double)state[age_at(l)]))
                    bp_rng_normals(w.l->target_latent_noise + (row * SEQUENCES + k) * Z, &copy, Z);
            }
            z = bp_rs0_act(&compute, action, &log_mu, state, work, &w.rng, x, l->policy_p.online, l->prior_p.online,
                           l->critic_p.online, l);
            assert_true((z != NULL) == (l->latent.size > 0));
            if (z) {
                assert_ptr_equal(z, state + age_at(l) - Z);
                assert_true(state[age_at(l)] >= BP_R(1) && (l->latent.hold == 0 || state[age_at(l)] <= BP_R(l->latent.hold)));
                memcpy(z_used + (k * T + row) * Z, z, Z * sizeof(bp_real));
                if (shape.latent_size) memcpy(s[k].latent + row * Z, z, Z * sizeof(bp_real));
            }
            make_observation(x, &w.rng);
            ended = ++length % 8 == 7 || bp_rng_index(&w.rng, 12) == 0;
            bp_sequence_add(&s[k], action, log_mu, BP_R(1), BP_R(1), x);
        }
    }
    for (k = 0; k < SEQUENCES; k++) { /* time first */
        memcpy(w.batch.state + k * l->state_size, s[k].state, l->state_size * sizeof(bp_real));
        for (t = 0; t <= T; t++) memcpy(w.batch.observation + (t * SEQUENCES + k) * O, s[k].observation + t * O, O * sizeof(bp_real));
        for (t = 0; t < T; t++) {
            const size_t to = t * SEQUENCES + k, size = w.spec.action_size;
            memcpy(w.batch.action + to * size, s[k].action + t * size, size * sizeof(bp_real));
            w.batch.log_mu[to] = s[k].log_mu[t] + BP_R(1); /* e times too likely: a ratio above 1 would be cut off */
            w.batch.mask[to] = s[k].mask[t];
            if (shape.latent_size) memcpy(w.batch.latent + to * Z, s[k].latent + t * Z, Z * sizeof(bp_real));
        }
    }
    gradients(&w);
    for (i = SEQUENCES; i < T * SEQUENCES; i++) {
        if (!(w.batch.mask[i] > BP_R(0))) continue;
        bpt_close(log((double)l->trace[i]) + 1.0, 0.0, BPT_TOL(3e-5, 1e-12));
        rows++;
    }
    assert_true(rows > 20);

    for (k = 0; k + 1 < SEQUENCES; k++) { /* memories, piece by piece */
        const bp_real *before = s[k].state, *after = s[k + 1].state;
        bp_real reset[T], h[T * 3 * 2], end[64], dist[T * 2 * (K + A + Z)];
        bp_real *scratch_work;
        bp_unroll in;
        size_t at_state = 0, c;
        if (!(s[k].mask[T - 1] > BP_R(0))) continue; /* the next one starts with an episode */
        for (t = 0; t < T; t++) reset[t] = BP_R(t > 0 && !(s[k].mask[t - 1] > BP_R(0)));
        memset(&in, 0, sizeof in);
        in.T = T, in.B = 1, in.observation = s[k].observation, in.reset = reset;
#define PIECE(structure, parameters, input)                                                                  \
    if ((structure).state_size) {                                                                            \
        in.latent = (input), in.state = before + at_state;                                                   \
        scratch_work = (bp_real *)malloc(bp_policy_unroll_work_reals(&(structure), T, 1) * sizeof(bp_real)); \
        bp_policy_unroll_eval(&compute, dist, end, scratch_work, &in, parameters, &(structure));             \
        check_memory(after + at_state, end, (structure).state_size);                                         \
        at_state += (structure).state_size, compared++;                                                      \
        free(scratch_work);                                                                                  \
    }
        PIECE(l->high, l->policy_p.online, NULL)
        PIECE(l->policy, l->policy_p.online + l->high.n_params, z_used + k * T * Z)
        if (l->latent.size) {
            assert_memory_equal(after + at_state, z_used + (k * T + T - 1) * Z, Z * sizeof(bp_real));
            at_state += Z + 1;
        }
        if (settings.memory_start == BP_MEMORY_STORED) {
            PIECE(l->high_prior, l->prior_p.online, z_before + k * T * Z)
            PIECE(l->prior, l->prior_p.online + l->high_prior.n_params, z_used + k * T * Z)
            for (c = 0; l->critic_rnn.units && c < (settings.twin_critics ? 2u : 1u); c++) {
                const size_t size = 2 * l->critic_rnn.units, each = l->critic.n_params + l->critic_rnn.n_params;
                scratch_work = (bp_real *)malloc(bp_rnn_work_reals(&l->critic_rnn, T, 1) * sizeof(bp_real));
                /* critics see all fields */
                bp_rnn_eval(&compute, h, end, scratch_work, s[k].observation, NULL, before + at_state, reset,
                            l->critic_p.online + c * each + l->critic.n_params, &l->critic_rnn, T, 1);
                check_memory(after + at_state, end, size);
                at_state += size, compared++;
                free(scratch_work);
            }
            assert_int_equal(at_state, l->state_size);
        }
#undef PIECE
    }
    if (l->state_size > (l->latent.size ? Z + 1u : 0u)) assert_true(compared > 0);
    free(data);
    free(state);
    free(work);
    free(z_before);
    free(z_used);
    bp_free(NULL, memory, bp_compute_bytes());
    world_free(&w);
}

static void test_acting_is_learning(void **state) {
    size_t i;
    (void)state;
    for (i = 0; i < CONFIGS; i++) {
        bool discrete;
        const bp_rs0_config c = config_number(i, &discrete);
        if (c.memory_start == BP_MEMORY_ZERO) continue; /* there the learner forgets on purpose */
        play(&c, discrete);
    }
}

/* ---- what the parameters are called ------------------------------------------------------------------------ */

/* Every number of the four arrays of each network belongs to exactly one tensor, and no two have the same name. */
static void test_tensors(void **state) {
    size_t i, j, k, m;
    (void)state;
    for (i = 0; i < CONFIGS; i++) {
        bool discrete;
        const bp_rs0_config c = config_number(i, &discrete);
        const bp_learned *p[3];
        world w;
        size_t total = 0, count;
        world_make(&w, discrete, &c);
        p[0] = &w.l->policy_p, p[1] = &w.l->prior_p, p[2] = &w.l->critic_p;
        count = bp_rs0_tensor_count(w.l);
        for (k = 0; k < 3; k++) {
            bp_real *array[4];
            array[0] = p[k]->online, array[1] = p[k]->target, array[2] = p[k]->m, array[3] = p[k]->v;
            for (m = 0; p[k]->n && m < 4; m++) {
                unsigned char *seen = (unsigned char *)calloc(p[k]->n, 1);
                assert_non_null(seen);
                for (j = 0; j < count; j++) {
                    bp_tensor t;
                    size_t e;
                    bp_rs0_tensor(&t, w.l, j);
                    if (t.data < array[m] || t.data >= array[m] + p[k]->n) continue;
                    assert_true((size_t)(t.data - array[m]) + t.rows * t.cols <= p[k]->n);
                    for (e = 0; e < t.rows * t.cols; e++) assert_int_equal(seen[(size_t)(t.data - array[m]) + e]++, 0);
                    assert_non_null(strstr(t.name, m == 0 ? "/online/" : m == 1 ? "/target/"
                                                                     : m == 2   ? "/adam_m/"
                                                                                : "/adam_v/"));
                    assert_int_equal(strncmp(t.name, k == 0 ? "policy" : k == 1 ? "prior"
                                                                                : "critic",
                                             5),
                                     0);
                }
                for (j = 0; j < p[k]->n; j++) assert_int_equal(seen[j], 1);
                free(seen);
                total += p[k]->n;
            }
        }
        for (j = 0; j < count; j++) {
            bp_tensor t, u;
            bp_rs0_tensor(&t, w.l, j);
            assert_true(total >= t.rows * t.cols);
            total -= t.rows * t.cols;
            for (k = 0; k < j; k++) {
                bp_rs0_tensor(&u, w.l, k);
                assert_string_not_equal(t.name, u.name);
            }
        }
        assert_int_equal(total, 0);
        world_free(&w);
    }
}

/* ---- refusals ------------------------------------------------------------------------------------------------ */

static void refuses_at(const bp_rs0_config *config, bp_status want, const char *word, int line) {
    bp_rs0 *l = (bp_rs0 *)1;
    bp_error error;
    bp_spec spec;
    size_t bytes;
    bp_status status;
    make_spec(&spec, false);
    status = bp_rs0_create(&l, &spec, config, NULL, &error);
    if (status != want || l || !strstr(error.text, word)) {
        print_error("expected %d with '%s', got %d: %s\n", (int)want, word, (int)status, error.text);
        _fail(__FILE__, line);
    }
    if (bp_rs0_create(&l, &spec, config, NULL, NULL) != want || bp_rs0_size(&spec, config, &bytes, NULL) != want)
        _fail(__FILE__, line);
}
#define refuses(config, want, word) refuses_at(config, want, word, __LINE__)

static void test_bad_configurations(void **state) {
    const bp_rs0_config good = levels(BP_HIGH_AR1), memory = remembering();
    bp_rs0_config c;
    (void)state;
    c = good, c.n_tasks = 2;
    refuses(&c, BP_ERR_UNSUPPORTED, "n_tasks");
    c = good, c.prior_kind = BP_PRIOR_ISOTROPIC;
    refuses(&c, BP_ERR_UNSUPPORTED, "prior_kind");
    c = good, c.prior_kind = BP_PRIOR_UNIFORM;
    refuses(&c, BP_ERR_UNSUPPORTED, "prior_kind");
    c = good, c.prior_kind = BP_PRIOR_PREVIOUS;
    refuses(&c, BP_ERR_UNSUPPORTED, "prior_kind");
    c = memory, c.n_tasks = 2;
    refuses(&c, BP_ERR_UNSUPPORTED, "n_tasks");
    c = memory, c.burn_in = T;
    refuses(&c, BP_ERR_ARGUMENT, "burn_in");
    c = memory, c.burn_in = SIZE_MAX;
    refuses(&c, BP_ERR_ARGUMENT, "burn_in");
    c = memory, c.memory_start = (bp_memory_start)2;
    refuses(&c, BP_ERR_ARGUMENT, "memory_start");
    c = good, c.latent.phi = 1;
    refuses(&c, BP_ERR_ARGUMENT, "phi");
    c = good, c.latent.phi = -1;
    refuses(&c, BP_ERR_ARGUMENT, "phi");
    c = good, c.latent.phi = (double)NAN;
    refuses(&c, BP_ERR_ARGUMENT, "phi");
    c = good, c.latent.prior_kind = (bp_high_kind)4;
    refuses(&c, BP_ERR_ARGUMENT, "latent.prior_kind");
    c = good, c.latent.hold = ((size_t)1 << 24) + 1;
    refuses(&c, BP_ERR_ARGUMENT, "latent.hold");
    c = good, c.latent.hold = SIZE_MAX;
    refuses(&c, BP_ERR_ARGUMENT, "latent.hold");
    c = good, c.latent.size = SIZE_MAX;
    refuses(&c, BP_ERR_ARGUMENT, "latent.size");
    c = memory, c.critic_lstm = SIZE_MAX / 8;
    refuses(&c, BP_ERR_SIZE, "");
    c = memory, c.policy.lstm = SIZE_MAX / 8;
    refuses(&c, BP_ERR_SIZE, "");
    c = good, c.latent.high.lstm = SIZE_MAX / 8;
    refuses(&c, BP_ERR_SIZE, "");
    /* who forgot the default function, or compiled against another header */
    c = good, memset(&c.latent, 0, sizeof c.latent);
    refuses(&c, BP_ERR_CONFIG, "bp_latent_config");
    c = memory, memset(&c.latent, 0, sizeof c.latent); /* also with one level */
    refuses(&c, BP_ERR_CONFIG, "bp_latent_config");
    c = good, c.latent.cookie ^= 0x08000000u;
    refuses(&c, BP_ERR_ABI, "bp_real");
    c = good, c.latent = bp_latent_config_make(12345, Z);
    refuses(&c, BP_ERR_CONFIG, "bp_latent_config");
    c = good, memset(&c.latent, 0xff, sizeof c.latent);
    refuses(&c, BP_ERR_CONFIG, "bp_latent_config");
    c = good, memset(&c.latent.high, 0, sizeof c.latent.high);
    refuses(&c, BP_ERR_CONFIG, "bp_policy_config");
    c = levels(BP_HIGH_LEARNED), memset(&c.latent.high_prior, 0, sizeof c.latent.high_prior);
    refuses(&c, BP_ERR_CONFIG, "bp_policy_config");
    c = good, c.latent.high.fields[0] = "gaol";
    refuses(&c, BP_ERR_FIELD, "gaol");
    c = levels(BP_HIGH_LEARNED), c.latent.high_prior.fields[0] = "gaol";
    refuses(&c, BP_ERR_FIELD, "gaol");
    c = good, c.latent.high.init_std = 0;
    refuses(&c, BP_ERR_ARGUMENT, "init_std");
    {
        bp_policy p;
        bp_spec spec;
        bp_error error;
        make_spec(&spec, false);
        assert_int_equal(bp_policy_init_level(&p, &spec, &good.policy, 0, true, false, &error), BP_ERR_ARGUMENT);
        assert_non_null(strstr(error.text, "latent_size"));
    }
}

/* A batch of another shape is refused before anything is read or changed. */
static void test_bad_batches(void **state) {
    bp_rs0_config c = everything();
    bp_error error;
    world w;
    size_t i;
    (void)state;
    c.latent.joint_ratio = true;
    world_make(&w, false, &c);
    w.batch.state_size--;
    assert_int_equal(bp_rs0_step(w.l, &w.batch, &w.rng, NULL, &error), BP_ERR_SIZE);
    assert_non_null(strstr(error.text, "state"));
    w.batch.state_size = 0;
    assert_int_equal(bp_rs0_gradients(w.l, &w.batch, NULL, &error), BP_ERR_SIZE);
    w.batch.state_size = w.l->state_size;
    w.batch.latent_size = 0;
    assert_int_equal(bp_rs0_gradients(w.l, &w.batch, NULL, &error), BP_ERR_SIZE);
    w.batch.latent_size = Z;
    assert_int_equal(w.l->steps + w.l->rejected, 0);
    bpt_ok(bp_rs0_step(w.l, &w.batch, &w.rng, NULL, &error), &error);
    /* memories and latents that are not finite: the step is not taken */
    for (i = 0; i < w.l->state_size; i++) {
        const bp_real keep = w.batch.state[i];
        if (i == age_at(w.l)) continue; /* not a number of the networks */
        w.batch.state[i] = (bp_real)NAN;
        assert_int_equal(bp_rs0_step(w.l, &w.batch, &w.rng, NULL, &error), BP_ERR_NONFINITE);
        w.batch.state[i] = keep;
    }
    w.batch.latent[1] = (bp_real)NAN;
    assert_int_equal(bp_rs0_step(w.l, &w.batch, &w.rng, NULL, &error), BP_ERR_NONFINITE);
    assert_int_equal(w.l->steps, 1);
    world_free(&w);
    /* state where none is wanted */
    c = flat();
    world_make(&w, false, &c);
    w.batch.state_size = 1;
    assert_int_equal(bp_rs0_gradients(w.l, &w.batch, NULL, &error), BP_ERR_SIZE);
    world_free(&w);
}

/* Sizes of scratch, with tasks and an observation much longer than the policy's parameters. */
static void test_scratch_with_tasks(void **state) {
    bp_rs0_config c = flat();
    bp_spec spec;
    bp_rs0 *l;
    bp_error error;
    (void)state;
    bp_spec_begin(&spec, "long");
    bpt_ok(bp_spec_add_field(&spec, "x", 1, &error), &error);
    bpt_ok(bp_spec_add_field(&spec, "picture", 5000000, &error), &error);
    bpt_ok(bp_spec_add_field(&spec, "task", 2, &error), &error);
    bpt_ok(bp_spec_actions_continuous(&spec, 1, -1, 1, &error), &error);
    c.n_tasks = 2;
    c.prior_kind = BP_PRIOR_NONE;
    c.policy.hidden_layers = c.critic_layers = 0;
    c.policy.fields[0] = c.critic_fields[0] = "x";
    bpt_ok(bp_rs0_create(&l, &spec, &c, NULL, &error), &error);
    assert_true(bp_rs0_act_work_reals(l) > 0);
    bp_rs0_destroy(l);
}

/* ---- files ---------------------------------------------------------------------------------------------------- */

static void export_of(bp_policy_export *what, const world *w, bp_rs0_who who) {
    bp_error error;
    memset(what, 0, sizeof *what);
    bpt_ok(bp_rs0_behavior(&what->behavior, w->l, who, w->batch.observation, &error), &error);
    what->spec = &w->spec;
}

/* A loaded agent does, step by step, what the behavior does that was saved; after a reset as if nothing had been. */
static void check_agent(const bp_policy_export *what, const char *path) {
    const bp_behavior *b = &what->behavior;
    bp_agent *agent;
    bp_compute compute;
    bp_error error;
    void *memory = bp_alloc(NULL, bp_compute_bytes());
    bp_real *state = (bp_real *)malloc((bp_behavior_state_size(b) + 1) * sizeof(bp_real));
    bp_real *work = (bp_real *)malloc(bp_behavior_work_reals(b) * sizeof(bp_real));
    bp_real dist[16], x[O], want[A], got[A], log_want, log_got;
    bp_rng rng = bp_rng_make(4, 4), one, two;
    int episode, step;
    assert_true(state && work);
    bpt_ok(bp_compute_init(&compute, BP_KERNEL_AUTO, memory, &error), &error);
    bpt_ok(bp_policy_save(path, what, &error), &error);
    bpt_ok(bp_agent_load(&agent, path, NULL, &error), &error);
    assert_int_equal(bp_behavior_state_size(&agent->behavior), bp_behavior_state_size(b));
    if (b->latent.size) assert_memory_equal(&agent->behavior.latent, &b->latent, sizeof b->latent);
    else assert_int_equal(agent->behavior.latent.size, 0);
    for (episode = 0; episode < 4; episode++) {
        const bool sampled = episode % 2 == 1;
        memset(state, 0, bp_behavior_state_size(b) * sizeof(bp_real));
        bp_agent_reset(agent);
        one = two = bp_rng_make(5, (uint64_t)episode);
        for (step = 0; step < 9; step++) {
            normals(x, O, 1, &rng);
            bp_behavior_act(&compute, want, &log_want, NULL, dist, state, work, sampled ? &one : NULL, x, b);
            if (sampled) {
                bpt_ok(bp_agent_sample(agent, got, &log_got, x, &two), NULL);
                assert_true(log_got == log_want);
            } else bpt_ok(bp_agent_act(agent, got, x), NULL);
            assert_memory_equal(agent->canonical, want, what->spec->action_size * sizeof(bp_real));
            assert_memory_equal(agent->state, state, bp_behavior_state_size(b) * sizeof(bp_real));
        }
    }
    { /* a broken observation leaves the memory alone */
        bp_real broken[O];
        memset(broken, 0, sizeof broken);
        broken[1] = (bp_real)NAN;
        assert_int_equal(bp_agent_act(agent, got, broken), BP_ERR_NONFINITE);
        assert_memory_equal(agent->state, state, bp_behavior_state_size(b) * sizeof(bp_real));
    }
    bp_agent_destroy(agent);
    { /* without memory */
        bpt_memory m;
        size_t k;
        for (k = 1;; k++) {
            bp_status status;
            bpt_memory_use(&m);
            m.fail_at = k;
            status = bp_agent_load(&agent, path, &m.allocator, &error);
            if (status == BP_OK) break;
            assert_int_equal(status, BP_ERR_MEMORY);
            assert_null(agent);
            bpt_memory_check(&m);
        }
        bp_agent_destroy(agent);
        bpt_memory_check(&m);
    }
    free(state);
    free(work);
    bp_free(NULL, memory, bp_compute_bytes());
}

static void test_files(void **state) {
    char path[300];
    size_t i;
    (void)state;
    bpt_at(path, "structured.safetensors");
    for (i = 0; i < CONFIGS; i++) {
        bool discrete;
        const bp_rs0_config c = config_number(i, &discrete);
        bp_policy_export what;
        world w;
        if (c.n_tasks > 1) continue;
        world_make(&w, discrete, &c);
        export_of(&what, &w, BP_PLAY_POLICY);
        check_agent(&what, path);
        export_of(&what, &w, BP_PLAY_TARGET);
        check_agent(&what, path);
        if (c.prior_kind == BP_PRIOR_LEARNED || c.prior_kind == BP_PRIOR_FIXED) {
            export_of(&what, &w, BP_PLAY_PRIOR);
            check_agent(&what, path);
        }
        world_free(&w);
    }
    { /* z held for longer than the file has bytes */
        bp_rs0_config c = levels(BP_HIGH_AR1);
        bp_policy_export what;
        world w;
        c.latent.hold = (size_t)1 << 24; /* the most there is */
        world_make(&w, false, &c);
        export_of(&what, &w, BP_PLAY_POLICY);
        check_agent(&what, path);
        world_free(&w);
    }
}

/* Replace the first `from` in bytes[n] by `to`, which is as long. */
static void swap_text(unsigned char *bytes, size_t n, const char *from, const char *to) {
    const size_t m = strlen(from);
    size_t i;
    assert_int_equal(m, strlen(to));
    for (i = 0; i + m <= n; i++)
        if (memcmp(bytes + i, from, m) == 0) {
            memcpy(bytes + i, to, m);
            return;
        }
    fail_msg("no %s in the file", from);
}

static void test_hostile_files(void **state) {
    static const struct {
        const char *from, *to;
        int status;
    } lie[] = {
        {"\"lstm\":\"2\"", "\"lstm\":\"3\"", BP_ERR_MISMATCH},
        {"\"lstm\":\"2\"", "\"lstm\":\"0\"", BP_ERR_MISMATCH},
        {"\"lstm\":\"2\"", "\"lstm\":\"x\"", BP_ERR_FORMAT},
        {"\"lstm\":\"2\"", "\"lstn\":\"2\"", BP_ERR_MISMATCH},
        {"\"latent\":\"2\"", "\"latent\":\"3\"", BP_ERR_MISMATCH},
        {"\"latent\":\"2\"", "\"latent\":\"0\"", BP_ERR_MISMATCH},
        {"\"latent\":\"2\"", "\"latent\":\"-\"", BP_ERR_FORMAT},
        {"\"latent\":\"2\"", "\"latemt\":\"2\"", BP_ERR_MISMATCH},
        {"\"hold\":\"3\"", "\"hold\":\"/\"", BP_ERR_FORMAT},
        {"\"high\":\"learned\"", "\"high\":\"lernaed\"", BP_ERR_FORMAT},
        {"\"high.hidden\":\"4\"", "\"high.hidden\":\"5\"", BP_ERR_MISMATCH},
        {"\"high.hidden\":\"4\"", "\"high.hidden\":\",\"", BP_ERR_FORMAT},
        {"\"high.lstm\":\"3\"", "\"high.lstm\":\"2\"", BP_ERR_MISMATCH},
        {"\"high.activation\":\"elu\"", "\"high.activation\":\"elf\"", BP_ERR_FORMAT},
        {"\"high.sees.0\":\"body\"", "\"high.sees.0\":\"bodi\"", BP_ERR_FORMAT},
        {"\"tasks\":\"1\"", "\"tasks\":\"2\"", BP_ERR_FORMAT},
        {"\"high/head\"", "\"high/hood\"", BP_ERR_MISMATCH},
        {"\"high/h/w\"", "\"high/i/w\"", BP_ERR_MISMATCH},
        {"\"policy/head/w\"", "\"policy/heap/w\"", BP_ERR_MISMATCH},
    };
    static unsigned char good[100000], bad[100000];
    const bp_rs0_config c = everything();
    bp_rng rng = bp_rng_make(bpt_seed(), 9);
    bp_policy_export what;
    bp_agent *agent;
    bp_error error;
    char path[300];
    world w;
    size_t n, i, k, refused = 0, accepted = 0, tries = 8000;
    (void)state;
    world_make(&w, false, &c);
    export_of(&what, &w, BP_PLAY_POLICY);
    bpt_ok(bp_policy_save(bpt_at(path, "hostile.safetensors"), &what, &error), &error);
    n = bpt_slurp(good, sizeof good, path);
    assert_true(n < sizeof good);
    for (i = 0; i < sizeof lie / sizeof lie[0]; i++) {
        bp_status status;
        memcpy(bad, good, n);
        swap_text(bad, n, lie[i].from, lie[i].to);
        status = bp_agent_load_memory(&agent, bad, n, NULL, &error);
        if ((int)status != lie[i].status || agent) {
            print_error("%s -> %s: status %d, %s\n", lie[i].from, lie[i].to, (int)status, error.text);
            fail();
        }
    }
    /* phi of a file: the last of high/head, wherever it is */
    for (i = 0, k = 0; i + 8 <= n; i++) {
        double phi = 0.7, one = 1.0;
        if (memcmp(good + i, &phi, 8) != 0) continue;
        memcpy(bad, good, n);
        memcpy(bad + i, &one, 8);
        k += bp_agent_load_memory(&agent, bad, n, NULL, &error) == BP_ERR_FORMAT && strstr(error.text, "phi");
        bp_agent_destroy(agent);
    }
    assert_int_equal(k, 1);
    if (SOME(1000) < 1000) tries = 800;
    for (k = 0; k < tries; k++) {
        size_t m = n, changes = 1 + bp_rng_index(&rng, 3);
        memcpy(bad, good, n);
        while (changes--) {
            const size_t where = bp_rng_index(&rng, k % 4 ? 3400 : n), other = bp_rng_index(&rng, 3400);
            switch (bp_rng_index(&rng, 4)) {
            case 0: bad[where] = (unsigned char)bp_rng_index(&rng, 256); break;
            case 1: bad[where] = (unsigned char)"0123456789\"{}[],:\\"[bp_rng_index(&rng, 18)]; break;
            case 2: bad[where] = bad[other]; break;
            default:
                if (k % 10 == 0) m = where;
            }
        }
        if (bp_agent_load_memory(&agent, bad, m, NULL, &error) == BP_OK) {
            bp_real observation[64], action[BP_MAX_ACTION];
            bp_rng copy = rng;
            memset(observation, 0, sizeof observation);
            if (agent->spec.observation_size <= 64) {
                (void)bp_agent_act(agent, action, observation);
                (void)bp_agent_sample(agent, action, NULL, observation, &copy);
            }
            bp_agent_destroy(agent);
            accepted++;
        } else {
            assert_true(error.text[0] != '\0');
            refused++;
        }
    }
    assert_true(refused > tries / 20 && accepted > 0);
    world_free(&w);
}

static void cannot_load_at(const bp_rs0_config *config, const char *path, bp_status want, const char *word, int line) {
    world w;
    bp_error error;
    bp_status status;
    bp_real *before;
    world_make(&w, false, config);
    before = (bp_real *)malloc((w.l->policy_p.n + w.l->prior_p.n) * sizeof(bp_real));
    assert_non_null(before);
    memcpy(before, w.l->policy_p.online, w.l->policy_p.n * sizeof(bp_real));
    if (w.l->prior_p.n) memcpy(before + w.l->policy_p.n, w.l->prior_p.online, w.l->prior_p.n * sizeof(bp_real));
    status = bp_rs0_load_prior(w.l, path, NULL, &error);
    if (status != want || !strstr(error.text, word)) {
        print_error("expected %d with '%s', got %d: %s\n", (int)want, word, (int)status, error.text);
        _fail(__FILE__, line);
    }
    assert_memory_equal(before, w.l->policy_p.online, w.l->policy_p.n * sizeof(bp_real));
    if (w.l->prior_p.n) assert_memory_equal(before + w.l->policy_p.n, w.l->prior_p.online, w.l->prior_p.n * sizeof(bp_real));
    free(before);
    world_free(&w);
}
#define cannot_load(config, path, want, word) cannot_load_at(config, path, want, word, __LINE__)

/* What was learned in one task, its low level and its high-level prior, goes into another and stays as it is there. */
static void check_transfer(const bp_rs0_config *config, const char *path) {
    bp_rs0_config c = *config;
    bp_policy_export what;
    bp_error error;
    world first, second;
    bp_real *low, *prior, *high;
    size_t n, at_low, k;
    const bool shared = config->latent.size && config->latent.shared_low;
    c.prior_kind = BP_PRIOR_LEARNED;
    world_make(&first, false, &c);
    export_of(&what, &first, BP_PLAY_PRIOR);
    bpt_ok(bp_policy_save(path, &what, &error), &error);
    c.prior_kind = BP_PRIOR_FIXED;
    c.seed = 3;
    world_make(&second, false, &c);
    scramble(second.l, &first.rng);
    bpt_ok(bp_rs0_load_prior(second.l, path, NULL, &error), &error);
    n = first.l->policy.n_params;
    at_low = first.l->high.n_params;
    low = first.l->policy_p.online + at_low;
    prior = first.l->prior_p.online;
    high = (bp_real *)malloc(second.l->policy_p.n * sizeof(bp_real));
    assert_non_null(high);
    memcpy(high, second.l->policy_p.online, second.l->policy_p.n * sizeof(bp_real));
    for (k = 0; k < 4; k++) { /* before and after steps that copy targets */
        if (first.l->prior_p.n) {
            assert_memory_equal(second.l->prior_p.online, prior, first.l->prior_p.n * sizeof(bp_real));
            assert_memory_equal(second.l->prior_p.target, prior, first.l->prior_p.n * sizeof(bp_real));
        }
        if (shared) {
            assert_memory_equal(second.l->policy_p.online + at_low, low, n * sizeof(bp_real));
            assert_memory_equal(second.l->policy_p.target + at_low, low, n * sizeof(bp_real));
        }
        bpt_ok(bp_rs0_step(second.l, &second.batch, &second.rng, NULL, &error), &error);
        if (at_low) assert_memory_not_equal(second.l->policy_p.online, high, at_low * sizeof(bp_real));
        if (!shared) assert_memory_not_equal(second.l->policy_p.online + at_low, high + at_low, n * sizeof(bp_real));
    }
    free(high);
    world_free(&first);
    world_free(&second);
}

static void test_transfer(void **state) {
    bp_rs0_config c, good;
    char path[300];
    (void)state;
    bpt_at(path, "prior.safetensors");
    c = everything();
    check_transfer(&c, path);
    cannot_load(&c, "no/such", BP_ERR_IO, "no/such");
    c.prior.lstm = 2;
    cannot_load(&c, path, BP_ERR_MISMATCH, "LSTM of 3 units, this one of 2");
    c = everything(), c.latent.high_prior.lstm = 0;
    cannot_load(&c, path, BP_ERR_MISMATCH, "high level has an LSTM of 2 units, this one of 0");
    c = everything(), c.latent.hold = 4;
    cannot_load(&c, path, BP_ERR_MISMATCH, "held 3 steps");
    c = everything(), c.latent.prior_kind = BP_HIGH_LEARNED;
    cannot_load(&c, path, BP_ERR_MISMATCH, "is autoregressive, this one's learned");
    c = everything(), c.latent.size = 3;
    cannot_load(&c, path, BP_ERR_MISMATCH, "latent of 2 numbers, this one of 3");
    c = remembering();
    cannot_load(&c, path, BP_ERR_MISMATCH, "latent of 2 numbers, this one of 0");
    check_transfer(&c, path);
    c = everything();
    cannot_load(&c, path, BP_ERR_MISMATCH, "latent of 0 numbers, this one of 2");
    good = levels(BP_HIGH_LEARNED);
    good.policy.lstm = 2;
    check_transfer(&good, path);
    c = good, c.policy.width[0] = 9;
    cannot_load(&c, path, BP_ERR_MISMATCH, "units there, 9 here");
    c = good, c.policy.fields[0] = "goal";
    cannot_load(&c, path, BP_ERR_MISMATCH, "'body'");
    c = good, c.latent.high_prior.fields[0] = "goal";
    cannot_load(&c, path, BP_ERR_MISMATCH, "'task'");
    c = good, c.latent.high_prior.init_std = 0.5;
    cannot_load(&c, path, BP_ERR_MISMATCH, "init_std");
    c = good, c.prior_kind = BP_PRIOR_NONE;
    cannot_load(&c, path, BP_ERR_UNSUPPORTED, "prior_kind");
    good = levels(BP_HIGH_AR1);
    check_transfer(&good, path);
    c = good, c.latent.phi = 0.6;
    cannot_load(&c, path, BP_ERR_MISMATCH, "phi 0.7");
    good = levels(BP_HIGH_ISOTROPIC);
    good.latent.shared_low = false;
    check_transfer(&good, path);
    { /* memory */
        bpt_memory m;
        bp_error error;
        world w;
        size_t k;
        world_make(&w, false, &good);
        for (k = 1;; k++) {
            bp_status status;
            bpt_memory_use(&m);
            m.fail_at = k;
            status = bp_rs0_load_prior(w.l, path, &m.allocator, &error);
            bpt_memory_check(&m);
            if (status == BP_OK) break;
            assert_int_equal(status, BP_ERR_MEMORY);
        }
        world_free(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_of_memory),
        cmocka_unit_test(test_gradients_of_levels),
        cmocka_unit_test(test_gradients_of_frozen),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_acting_is_learning),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_bad_configurations),
        cmocka_unit_test(test_bad_batches),
        cmocka_unit_test(test_scratch_with_tasks),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_hostile_files),
        cmocka_unit_test(test_transfer),
    };
    bpt_make_scratch("structured");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
