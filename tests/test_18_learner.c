/* Chapter 18: the SVG(0)/Retrace learner, by its own promises.
 *
 * (test_18_oracle.c compares whole steps with an implementation in another language.) Here: the three gradients
 * against central differences of the three reported losses, for every kind of prior; same bits for any number of
 * threads; what a broken batch may and may not do; every setting out of range; how targets and weights move; and
 * bandits small enough that the optimum is known on paper, which the learner has to find.
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"

#define NOT_A_NUMBER ((double)NAN)
#define INFINITE ((double)INFINITY)

enum { O = 7,
       A = 2,
       K = 3,
       T = 5,
       B = 4 }; /* of the small problem that most tests use */

static bp_kernel kernel = BP_KERNEL_REFERENCE;

static void make_spec(bp_spec *spec, bool discrete) {
    bp_error error;
    bp_spec_begin(spec, "robot");
    bpt_ok(bp_spec_add_field(spec, "body", 3, &error), &error);
    bpt_ok(bp_spec_add_field(spec, "goal", 2, &error), &error);
    bpt_ok(bp_spec_add_field(spec, "task", 2, &error), &error);
    if (discrete) bpt_ok(bp_spec_actions_discrete(spec, K, &error), &error);
    else bpt_ok(bp_spec_actions_continuous(spec, A, -1, 1, &error), &error);
}

/* Small networks; penalties that matter; a prior that sees only the body. */
static bp_rs0_config small_config(void) {
    bp_rs0_config c = bp_rs0_config_default();
    c.batch = B;
    c.length = T;
    c.samples = 3;
    c.kernel = kernel;
    c.alpha = bp_schedule_constant(0.3);
    c.entropy_cost = bp_schedule_constant(0.05);
    c.prior.n_fields = 1;
    c.prior.fields[0] = "body";
    c.policy.width[0] = 5;
    c.policy.width[1] = 4;
    c.prior.width[0] = 4;
    c.prior.width[1] = 4;
    c.critic_width[0] = 6;
    c.critic_width[1] = 5;
    c.policy_adam.lr = c.prior_adam.lr = c.critic_adam.lr = 1e-2;
    return c;
}

/* A learner and a batch for it. */
typedef struct world {
    bp_spec spec;
    bp_rs0 *l;
    bp_batch batch;
    bp_real *data;
    bp_rng rng;
} world;

static void scaled_normals(bp_real *x, size_t n, double scale, bp_rng *rng) {
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
        scaled_normals(p[k]->online, p[k]->n, 0.5, rng);
        scaled_normals(p[k]->target, p[k]->n, 0.5, rng);
    }
}

/* A batch with everything in it: a boundary row in sequence 3, a termination, samples outside the box. */
static void fill_batch(bp_batch *batch, const bp_spec *spec, bp_rng *rng) {
    const size_t rows = batch->length * batch->batch, actions = rows * spec->action_size;
    size_t i;
    scaled_normals(batch->observation, (rows + batch->batch) * O, 1, rng);
    for (i = 0; i < rows + batch->batch; i++) {
        const size_t task = bp_rng_index(rng, 2);
        batch->observation[i * O + 5] = BP_R(task == 0);
        batch->observation[i * O + 6] = BP_R(task == 1);
    }
    scaled_normals(batch->action, actions, 0.8, rng);
    if (spec->action_kind == BP_ACTION_DISCRETE)
        for (i = 0; i < actions; i++) batch->action[i] = BP_R(bp_rng_index(rng, K));
    scaled_normals(batch->reward, rows, 1, rng);
    for (i = 0; i < rows; i++) {
        batch->discount[i] = batch->mask[i] = BP_R(1);
        batch->log_mu[i] = BP_R(-2);
    }
    batch->discount[3] = BP_R(0);
    if (rows > 7) batch->mask[7] = BP_R(0);
}

static void world_make_with(world *w, bool discrete, const bp_rs0_config *config) {
    bp_error error;
    size_t action_size;
    memset(w, 0, sizeof *w);
    make_spec(&w->spec, discrete);
    action_size = w->spec.action_size;
    bpt_ok(bp_rs0_create(&w->l, &w->spec, config, NULL, &error), &error);
    w->rng = bp_rng_make(7, 7);
    scramble(w->l, &w->rng);
    w->data = (bp_real *)malloc(bpt_batch_reals(config->length, config->batch, O, action_size) * sizeof(bp_real));
    assert_non_null(w->data);
    bpt_batch_init(&w->batch, w->data, config->length, config->batch, O, action_size);
    fill_batch(&w->batch, &w->spec, &w->rng);
    if (!discrete) {
        const size_t per_step = config->batch * config->samples * A;
        scaled_normals(w->l->target_noise, (config->length + 1) * per_step, 1, &w->rng);
        scaled_normals(w->l->policy_noise, config->length * per_step, 1, &w->rng);
    }
}

static void world_free(world *w) {
    bp_rs0_destroy(w->l);
    free(w->data);
}

static void gradients(world *w) {
    bp_error error;
    bpt_ok(bp_rs0_gradients(w->l, &w->batch, NULL, &error), &error);
}

static void step(world *w) {
    bp_error error;
    bpt_ok(bp_rs0_step(w->l, &w->batch, &w->rng, NULL, &error), &error);
}

/* All that a learner remembers between steps, in one block. */
static unsigned char *remember(const bp_rs0 *l, size_t *bytes) {
    const bp_learned *p[3];
    unsigned char *block, *at;
    size_t k;
    p[0] = &l->policy_p, p[1] = &l->prior_p, p[2] = &l->critic_p;
    *bytes = sizeof l->steps + 2 * sizeof(bp_dual);
    for (k = 0; k < 3; k++) *bytes += 4 * p[k]->n * sizeof(bp_real);
    at = block = (unsigned char *)malloc(*bytes);
    assert_non_null(block);
#define PUT(from, size) (memcpy(at, from, size), at += (size))
    for (k = 0; k < 3; k++) {
        const size_t size = p[k]->n * sizeof(bp_real);
        if (size == 0) continue;
        PUT(p[k]->online, size);
        PUT(p[k]->target, size);
        PUT(p[k]->m, size);
        PUT(p[k]->v, size);
    }
    PUT(&l->steps, sizeof l->steps);
    PUT(&l->alpha_dual, sizeof(bp_dual));
    PUT(&l->entropy_dual, sizeof(bp_dual));
#undef PUT
    return block;
}

static bool same_state(const bp_rs0 *a, const bp_rs0 *b) {
    size_t na, nb;
    unsigned char *x = remember(a, &na), *y = remember(b, &nb);
    const bool same = na == nb && memcmp(x, y, na) == 0;
    free(x);
    free(y);
    return same;
}

static bool all_zero(const bp_real *x, size_t n) {
    size_t i;
    for (i = 0; i < n; i++)
        if (x[i] != BP_R(0)) return false;
    return true;
}

/* Sanitizers cost a factor of ten: there each check looks at a few numbers, the next one at the next few, and the learning
 * curves, which run no other code, are left out. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOW 1
#else
#define SLOW 0
#endif
static size_t turn; /* which few */

/* ---- gradients ----------------------------------------------------------------------------------- */

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

static void check_network(world *w, double (*loss)(void *), bp_learned *p, const double *norm, const char *name) {
    bp_real *grad = (bp_real *)malloc(p->n * sizeof(bp_real));
    double sum = 0;
    size_t i, first = 0, count = p->n;
    assert_non_null(grad);
    gradients(w);
    memcpy(grad, p->grad, p->n * sizeof(bp_real));
    for (i = 0; i < p->n; i++) sum += (double)grad[i] * (double)grad[i];
    bpt_close(sqrt(sum), *norm, BPT_TOL(1e-5, 1e-12)); /* the reported norm */
    /* the step is small in double because the loss has kinks: the box, ELU, the smaller of two critics */
    if (SLOW) {
        first = turn++ % 8 * (p->n / 8);
        count = p->n / 8;
    }
    bpt_check_gradient_at(loss, w, p->online + first, grad + first, count, BPT_TOL(3e-3, 2e-5), BPT_TOL(2e-2, 1e-6), name,
                          __FILE__, __LINE__);
    free(grad);
}

static void check_gradients(const bp_rs0_config *config, bool discrete) {
    world w;
    char name[96];
    world_make_with(&w, discrete, config);
    gradients(&w);
#define NAME(what)                                                                                             \
    (snprintf(name, sizeof name, "%s, %s, prior %s, critics %d, tasks %d", what, discrete ? "choices" : "box", \
              bp_prior_kind_str(config->prior_kind), config->twin_critics ? 2 : 1, (int)config->n_tasks),      \
     name)
    check_network(&w, policy_loss, &w.l->policy_p, &w.l->metrics.policy_grad_norm, NAME("policy"));
    check_network(&w, critic_loss, &w.l->critic_p, &w.l->metrics.critic_grad_norm, NAME("critic"));
    if (config->prior_kind == BP_PRIOR_LEARNED)
        check_network(&w, prior_loss, &w.l->prior_p, &w.l->metrics.prior_grad_norm, NAME("prior"));
    else {
        assert_true(w.l->metrics.prior_loss == 0 && w.l->metrics.prior_grad_norm == 0);
        assert_true(all_zero(w.l->prior_p.grad, w.l->prior_p.n));
    }
#undef NAME
    world_free(&w);
}

static void check_all_kinds(bool discrete) {
    int kind, twin;
    size_t tasks;
    for (kind = 0; kind < BP_PRIOR_KINDS; kind++)
        for (twin = 0; twin < 2; twin++)
            for (tasks = 1; tasks <= 2; tasks++) {
                bp_rs0_config c = small_config();
                if (twin && kind != BP_PRIOR_NONE && kind != BP_PRIOR_LEARNED) continue; /* critics and priors never meet */
                c.batch = 2;
                c.policy.width[0] = 4;
                c.policy.width[1] = 3;
                c.critic_width[0] = 5;
                c.critic_width[1] = 4;
                c.prior_kind = (bp_prior_kind)kind;
                c.twin_critics = twin != 0;
                c.n_tasks = tasks;
                check_gradients(&c, discrete);
            }
}

/* E18, E20, E21, E22. */
static void test_gradients_box(void **state) {
    (void)state;
    check_all_kinds(false);
}

/* E20, E21, E22, with the expectation over choices as a sum. */
static void test_gradients_choices(void **state) {
    (void)state;
    check_all_kinds(true);
}

/* Whose expectation, which lambda, narrow critics' views, uneven shards: no gradient may care. */
static void test_gradients_of_other_settings(void **state) {
    bp_rs0_config c = small_config();
    (void)state;
    c.prior_kind = BP_PRIOR_LEARNED;
    c.value_source = BP_SOURCE_ONLINE;
    c.kl_source = BP_SOURCE_ONLINE;
    c.lambda = 0.5;
    c.shards = 3; /* of 4 sequences: 2, 1, 1 */
    c.n_critic_fields = 2;
    c.critic_fields[0] = "goal";
    c.critic_fields[1] = "body";
    check_gradients(&c, false);
    check_gradients(&c, true);
    c = small_config();
    c.prior_kind = BP_PRIOR_LEARNED;
    c.kl_source = BP_SOURCE_ONLINE; /* as in the authors' code */
    c.samples = 300;                /* fewer than two states fit into a chunk */
    c.batch = 2;
    c.length = 2;
    c.policy.width[0] = c.policy.width[1] = c.prior.width[0] = c.prior.width[1] = 3;
    c.policy.tanh_mean = false;
    c.critic_layer_norm = false;
    c.critic_activation = BP_ACT_TANH;
    c.critic_layers = 1;
    check_gradients(&c, false);
    c.policy.hidden_layers = c.prior.hidden_layers = c.critic_layers = 0; /* linear */
    c.length = 1;
    c.shards = 1;
    c.samples = 1;
    check_gradients(&c, true);
}

/* ---- the same bits --------------------------------------------------------------------------------- */

static bp_rs0_config variant_config(size_t variant) {
    bp_rs0_config c = small_config();
    c.prior_kind = BP_PRIOR_LEARNED;
    c.twin_critics = (variant & 2) != 0;
    c.n_tasks = variant & 4 ? 2 : 1;
    c.batch = 13;
    c.shards = 4;
    c.target_period = 2;
    c.alpha_mode = c.entropy_mode = BP_WEIGHT_ADAPTED;
    return c;
}

static void test_repeat(void **state) {
    size_t variant, k;
    (void)state;
    for (variant = 0; variant < 8; variant++) {
        bp_rs0_config c = variant_config(variant);
        world one, two;
        world_make_with(&one, variant & 1, &c);
        world_make_with(&two, variant & 1, &c);
        assert_true(same_state(one.l, two.l));
        for (k = 0; k < 5; k++) step(&one);
        assert_false(same_state(one.l, two.l));
        gradients(&two); /* computes, but changes nothing that lasts */
        for (k = 0; k < 5; k++) step(&two);
        assert_true(same_state(one.l, two.l));
        assert_memory_equal(&one.l->metrics, &two.l->metrics, sizeof one.l->metrics);
        assert_int_equal(one.l->steps, 5);
        world_free(&one);
        world_free(&two);
    }
}

static void test_threads_do_not_matter(void **state) {
#if defined(BPRIOR_THREADS)
    size_t variant, threads, k;
    bp_error error;
    (void)state;
    for (variant = 0; variant < 8; variant++) {
        bp_rs0_config c = variant_config(variant);
        world alone;
        world_make_with(&alone, variant & 1, &c);
        for (k = 0; k < 5; k++) step(&alone);
        for (threads = 1; threads <= 3; threads++) {
            bp_team *team;
            world w;
            world_make_with(&w, variant & 1, &c);
            bpt_ok(bp_team_create(&team, threads, NULL, &error), &error);
            for (k = 0; k < 5; k++) bpt_ok(bp_rs0_step(w.l, &w.batch, &w.rng, team, &error), &error);
            bp_team_destroy(team);
            assert_true(same_state(alone.l, w.l));
            assert_memory_equal(&alone.l->metrics, &w.l->metrics, sizeof w.l->metrics);
            assert_memory_equal(alone.l->value, w.l->value, (T + 1) * c.batch * sizeof(bp_real));
            world_free(&w);
        }
        world_free(&alone);
    }
#else
    (void)state;
    skip();
#endif
}

/* The number of shards fixes the order of sums, nothing else. */
static void test_shards_agree(void **state) {
    static const size_t shards[4] = {1, 2, 4, 13};
    size_t variant, i, k;
    (void)state;
    for (variant = 0; variant < 8; variant++) {
        bp_rs0_config c = variant_config(variant);
        world one;
        c.shards = 1;
        world_make_with(&one, variant & 1, &c);
        gradients(&one);
        for (i = 1; i < 4; i++) {
            world w;
            c.shards = shards[i];
            world_make_with(&w, variant & 1, &c);
            gradients(&w);
            bpt_close_array(w.l->policy_p.grad, one.l->policy_p.grad, one.l->policy_p.n, BPT_TOL(1e-5, 1e-13));
            bpt_close_array(w.l->prior_p.grad, one.l->prior_p.grad, one.l->prior_p.n, BPT_TOL(1e-5, 1e-13));
            bpt_close_array(w.l->critic_p.grad, one.l->critic_p.grad, one.l->critic_p.n, BPT_TOL(1e-5, 1e-13));
            bpt_close_array(w.l->retrace, one.l->retrace, T * c.batch, BPT_TOL(1e-5, 1e-13));
            for (k = 0; k < bp_rs0_metric_count(); k++)
                bpt_close(bp_rs0_metric_value(&w.l->metrics, k), bp_rs0_metric_value(&one.l->metrics, k), BPT_TOL(1e-5, 1e-12));
            world_free(&w);
        }
        world_free(&one);
    }
}

/* ---- broken batches ---------------------------------------------------------------------------------- */

static void test_nonfinite_batch(void **state) {
    size_t variant, poison;
    (void)state;
    for (variant = 0; variant < 8; variant++) {
        for (poison = 0; poison < 9; poison++) {
            bp_rs0_config c = variant_config(variant);
            world healthy, ill;
            bp_real *where, keep;
            bp_error error;
            bp_status status;
            world_make_with(&healthy, variant & 1, &c);
            world_make_with(&ill, variant & 1, &c);
            step(&healthy);
            step(&ill);
            switch (poison) {
            case 0:
            case 1: where = &ill.batch.reward[16]; break;
            case 2:
            case 3: where = &ill.batch.observation[20 * O + 1]; break;
            case 4: where = &ill.batch.observation[1]; break;               /* x_0, which no value is asked of */
            case 5: where = &ill.batch.observation[T * c.batch * O]; break; /* x_T, which is only bootstrapped from */
            case 6: where = &ill.batch.log_mu[40]; break;
            case 7: where = &ill.batch.discount[50]; break;
            default: where = &ill.batch.action[(variant & 1 ? 1 : A) * 30]; break;
            }
            if (poison == 8 && (variant & 1)) where = &ill.batch.reward[0]; /* choices: see chapter 14 */
            keep = *where;
            *where = BP_R(poison == 1 ? INFINITE : poison == 3 ? -INFINITE
                                                               : NOT_A_NUMBER);
            {
                bp_rng rng = ill.rng;
                status = bp_rs0_step(ill.l, &ill.batch, &rng, NULL, &error);
            }
            assert_int_equal(status, BP_ERR_NONFINITE);
            assert_int_equal(error.status, BP_ERR_NONFINITE);
            if (!strstr(error.text, "_loss is not finite") || !strstr(error.text, "step 2"))
                fail_msg("which loss, which step? %s", error.text);
            assert_int_equal(ill.l->rejected, 1);
            assert_true(same_state(ill.l, healthy.l)); /* not one bit of it has moved */
            *where = keep;
            step(&ill);
            step(&healthy);
            assert_true(same_state(ill.l, healthy.l)); /* and the next step is what it would have been */
            assert_int_equal(ill.l->steps, 2);
            assert_int_equal(healthy.l->rejected, 0);
            world_free(&healthy);
            world_free(&ill);
        }
    }
}

/* A gradient can be finite and its square not: Adam's second moment would be infinite for ever after. */
static void test_huge_reward(void **state) {
    bp_rs0_config c = small_config();
    world w;
    bp_status status;
    bp_error error;
    size_t i;
    (void)state;
    world_make_with(&w, false, &c);
    w.batch.reward[6] = BP_R(BPT_TOL(1e30, 1e200));
    status = bp_rs0_step(w.l, &w.batch, &w.rng, NULL, &error);
    for (i = 0; i < w.l->critic_p.n; i++) {
        assert_true(fabs((double)w.l->critic_p.v[i]) < INFINITE);
        assert_true(fabs((double)w.l->critic_p.online[i]) < INFINITE);
    }
    assert_true(status == BP_ERR_NONFINITE && w.l->rejected == 1);
    world_free(&w);
}

/* What nobody looks at may be anything. */
static void test_nonfinite_but_unseen(void **state) {
    bp_rs0_config c = small_config();
    world w, clean;
    (void)state;
    c.policy.fields[0] = "body";
    c.n_critic_fields = 2;
    c.critic_fields[0] = "body";
    c.critic_fields[1] = "goal";
    world_make_with(&w, false, &c);
    world_make_with(&clean, false, &c);
    w.batch.observation[9 * O + 5] = BP_R(NOT_A_NUMBER); /* in "task" */
    w.batch.log_mu[0] = BP_R(NOT_A_NUMBER);              /* there is no trace into the first row */
    step(&w);
    step(&clean);
    assert_true(same_state(w.l, clean.l));
    world_free(&w);
    world_free(&clean);
}

static void test_batch_of_another_shape(void **state) {
    size_t k;
    (void)state;
    for (k = 0; k < 4; k++) {
        bp_rs0_config c = small_config();
        world w, untouched;
        bp_error error;
        world_make_with(&w, false, &c);
        world_make_with(&untouched, false, &c);
        if (k == 0) w.batch.length = T - 1;
        if (k == 1) w.batch.batch = B - 1;
        if (k == 2) w.batch.observation_size = O + 1;
        if (k == 3) w.batch.action_size = 1;
        assert_int_equal(bp_rs0_step(w.l, &w.batch, &w.rng, NULL, &error), BP_ERR_SIZE);
        assert_non_null(strstr(error.text, "expected 5 x 4"));
        assert_int_equal(bp_rs0_gradients(w.l, &w.batch, NULL, NULL), BP_ERR_SIZE);
        assert_true(same_state(w.l, untouched.l));
        assert_int_equal(w.l->rejected, 0); /* that is the caller's mistake, not the data's */
        world_free(&w);
        world_free(&untouched);
    }
}

/* [e20_masked_test] */
/* Masked rows hold whatever happened to be there; E20 and the other losses are means over the rest. */
static void test_masked_rows_contribute_nothing(void **state) {
    size_t variant;
    (void)state;
    for (variant = 0; variant < 8; variant++) {
        bp_rs0_config c = variant_config(variant);
        world w, other;
        size_t row;
        world_make_with(&w, variant & 1, &c);
        world_make_with(&other, variant & 1, &c);
        w.batch.mask[30] = other.batch.mask[30] = BP_R(0);
        for (row = 7; row < 31; row += 23) { /* the masked rows 7 and 30 */
            other.batch.reward[row] += BP_R(100);
            other.batch.discount[row] = BP_R(0.125);
            other.batch.log_mu[row] = BP_R(3);
            other.batch.action[row * w.spec.action_size] = BP_R(variant & 1 ? 1 - (int)w.batch.action[row] % 2 : 0.123);
        }
        step(&w);
        step(&other);
        assert_memory_equal(w.l->policy_p.grad, other.l->policy_p.grad, w.l->policy_p.n * sizeof(bp_real));
        assert_memory_equal(w.l->prior_p.grad, other.l->prior_p.grad, w.l->prior_p.n * sizeof(bp_real));
        assert_memory_equal(w.l->critic_p.grad, other.l->critic_p.grad, w.l->critic_p.n * sizeof(bp_real));
        assert_memory_equal(&w.l->metrics, &other.l->metrics, sizeof w.l->metrics);
        assert_true(same_state(w.l, other.l));
        other.batch.reward[8] += BP_R(1); /* an unmasked row is felt */
        step(&w);
        step(&other);
        assert_false(same_state(w.l, other.l));
        world_free(&w);
        world_free(&other);
    }
}
/* [e20_masked_test] */

/* Nothing but boundary rows: losses and gradients of nothing are zero, not 0/0. */
static void test_all_masked(void **state) {
    bp_rs0_config c = small_config();
    world w;
    size_t i;
    (void)state;
    c.prior_kind = BP_PRIOR_LEARNED;
    world_make_with(&w, false, &c);
    for (i = 0; i < T * B; i++) w.batch.mask[i] = BP_R(0);
    step(&w);
    assert_true(all_zero(w.l->policy_p.grad, w.l->policy_p.n) && all_zero(w.l->critic_p.grad, w.l->critic_p.n));
    assert_true(w.l->metrics.critic_loss == 0 && w.l->metrics.policy_loss == 0 && w.l->metrics.prior_loss == 0);
    world_free(&w);
}

/* ---- configurations ------------------------------------------------------------------------------------ */

static void refuse(const bp_rs0_config *config, const bp_spec *spec, bp_status status, const char *word) {
    bp_rs0 *l = (bp_rs0 *)&l; /* must not be left */
    bp_error error;
    bp_status got;
    size_t bytes = 1;
    memset(&error, 0, sizeof error);
    got = bp_rs0_create(&l, spec, config, NULL, &error);
    if (got == BP_OK) bp_rs0_destroy(l);
    if (got != status || error.status != status || !strstr(error.text, word)) {
        print_error("status %d, wanted %d with \"%s\" in: %s\n", (int)got, (int)status, word, error.text);
        fail();
    }
    assert_null(l);
    assert_int_equal(bp_rs0_size(spec, config, &bytes, NULL), status);
    assert_int_equal(bytes, 0);
}

#define BAD(field, value, word)                     \
    do {                                            \
        bp_rs0_config bad = small_config();         \
        bad.prior_kind = BP_PRIOR_LEARNED;          \
        bad.field = value;                          \
        refuse(&bad, &spec, BP_ERR_ARGUMENT, word); \
    } while (0)

static void test_numbers_out_of_range(void **state) {
    bp_spec spec;
    (void)state;
    make_spec(&spec, false);
    BAD(batch, 0, "batch");
    BAD(length, 0, "length");
    BAD(samples, 0, "samples");
    BAD(shards, 0, "shards");
    BAD(shards, B + 1, "shards");
    BAD(n_tasks, 0, "n_tasks");
    BAD(n_critic_fields, BP_MAX_FIELDS + 1, "n_critic_fields");
    BAD(discount, -0.01, "discount");
    BAD(discount, 1.01, "discount");
    BAD(discount, NOT_A_NUMBER, "discount");
    BAD(lambda, -0.01, "lambda");
    BAD(lambda, 1.01, "lambda");
    BAD(lambda, NOT_A_NUMBER, "lambda");
    BAD(prior_std, 0, "prior_std");
    BAD(prior_std, NOT_A_NUMBER, "prior_std");
    BAD(alpha.start, -1, "alpha");
    BAD(alpha.start, INFINITE, "alpha");
    BAD(alpha.end, NOT_A_NUMBER, "alpha");
    BAD(entropy_cost.start, -1, "entropy_cost");
    BAD(entropy_cost.end, NOT_A_NUMBER, "entropy_cost");
    BAD(kl_target, -1, "kl_target");
    BAD(alpha_lr, -1, "alpha_lr");
    BAD(entropy_target, INFINITE, "entropy_target");
    BAD(entropy_lr, NOT_A_NUMBER, "entropy_lr");
    BAD(tau, -0.1, "tau");
    BAD(tau, 1.1, "tau");
    BAD(target_period, 0, "target_period");
    BAD(prior_kind, (bp_prior_kind)6, "prior_kind");
    BAD(prior_kind, (bp_prior_kind)-1, "prior_kind");
    BAD(critic_layers, BP_MAX_LAYERS + 1, "hidden_layers");
    BAD(critic_width[1], 0, "width[1]");
    BAD(critic_output_scale, NOT_A_NUMBER, "output_scale");
    BAD(policy.init_std, 0, "init_std");
    BAD(prior.min_std, -1, "min_std");
    BAD(policy.width[0], 0, "width[0]");
    BAD(policy_adam.lr, -1, "policy_adam");
    BAD(prior_adam.lr, NOT_A_NUMBER, "prior_adam");
    BAD(critic_adam.lr, INFINITE, "critic_adam");
}

static void test_optimiser_settings_out_of_range(void **state) {
    bp_spec spec;
    bp_rs0_config c = small_config();
    (void)state;
    make_spec(&spec, false);
    BAD(policy_adam.beta1, 1, "beta1");
    BAD(prior_adam.beta2, -0.1, "beta2");
    BAD(critic_adam.epsilon, 0, "epsilon"); /* with a zero gradient that would be 0/0 */
    BAD(critic_adam.clip_norm, NOT_A_NUMBER, "clip_norm");
    memset(&c.policy_adam, 0, sizeof c.policy_adam); /* forgotten, not configured */
    refuse(&c, &spec, BP_ERR_CONFIG, "bp_adam_config");
}

static void test_enums_out_of_range(void **state) {
    bp_spec spec;
    (void)state;
    make_spec(&spec, false);
    BAD(value_source, (bp_rs0_source)2, "value_source");
    BAD(kl_source, (bp_rs0_source)-1, "kl_source");
    BAD(alpha_mode, (bp_weight_mode)2, "alpha_mode");
    BAD(entropy_mode, (bp_weight_mode)-1, "entropy_mode");
    BAD(alpha.kind, (bp_schedule_kind)9, "kind");
    BAD(alpha, bp_schedule_make(BP_SCHEDULE_EXPONENTIAL, 1, 0, 10), "exponential");
    BAD(critic_activation, (bp_activation)99, "activation");
}

static void test_adapted_weights_start_above_zero(void **state) {
    bp_rs0_config c = small_config();
    bp_spec spec;
    (void)state;
    make_spec(&spec, false);
    c.alpha_mode = BP_WEIGHT_ADAPTED;
    c.alpha = bp_schedule_constant(0);
    refuse(&c, &spec, BP_ERR_ARGUMENT, "alpha");
    c = small_config();
    c.entropy_mode = BP_WEIGHT_ADAPTED;
    c.entropy_cost = bp_schedule_constant(0);
    refuse(&c, &spec, BP_ERR_ARGUMENT, "entropy_cost");
}

/* Sizes whose product does not fit must be noticed before anything is allocated, however they wrap around. */
static void test_sizes_that_overflow(void **state) {
    bp_rs0_config c = small_config();
    bp_spec spec;
    bp_error error;
    (void)state;
    make_spec(&spec, false);
    c.batch = c.length = c.samples = 1000000000;
    refuse(&c, &spec, BP_ERR_SIZE, "overflow");
    bpt_ok(bp_spec_actions_continuous(&spec, 64, -1, 1, &error), &error);
    c.batch = c.samples = (size_t)1 << 29; /* times 64 actions: 2^64 = 0 noise numbers */
    c.length = 1;
    refuse(&c, &spec, BP_ERR_SIZE, "overflow");
}

static void test_stale_configs(void **state) {
    bp_rs0_config c;
    bp_spec spec;
    (void)state;
    make_spec(&spec, false);
    memset(&c, 0, sizeof c);
    refuse(&c, &spec, BP_ERR_CONFIG, "bp_rs0_config");
    c = small_config();
    c.cookie ^= 0x08000000u;
    refuse(&c, &spec, BP_ERR_ABI, "bp_real"); /* compiled with the other scalar */
    c = small_config();
    c.cookie ^= 0x00010000u;
    refuse(&c, &spec, BP_ERR_ABI, "version");
    c = small_config();
    memset(&c.policy, 0, sizeof c.policy);
    refuse(&c, &spec, BP_ERR_CONFIG, "bp_policy_config");
    c = small_config();
    c.prior_kind = BP_PRIOR_LEARNED;
    memset(&c.prior, 0, sizeof c.prior);
    refuse(&c, &spec, BP_ERR_CONFIG, "bp_policy_config");
}

static void test_unknown_fields(void **state) {
    bp_rs0_config c = small_config();
    bp_spec spec;
    (void)state;
    make_spec(&spec, false);
    c.policy.fields[0] = "velocity";
    refuse(&c, &spec, BP_ERR_FIELD, "velocity");
    refuse(&c, &spec, BP_ERR_FIELD, "body, goal, task");
    c = small_config();
    c.critic_fields[0] = "touch";
    refuse(&c, &spec, BP_ERR_FIELD, "touch");
    c = small_config();
    c.prior_kind = BP_PRIOR_FIXED;
    c.prior.fields[0] = "smell";
    refuse(&c, &spec, BP_ERR_FIELD, "smell");
    c.prior_kind = BP_PRIOR_ISOTROPIC; /* which has no network: nobody asks for that field */
    {
        bp_rs0 *l;
        bp_error error;
        bpt_ok(bp_rs0_create(&l, &spec, &c, NULL, &error), &error);
        bp_rs0_destroy(l);
    }
    c = small_config();
    c.n_tasks = 2;
    memcpy(c.task_field, "job", 4);
    refuse(&c, &spec, BP_ERR_FIELD, "job");
    c.n_tasks = 3; /* but the field has two numbers */
    memcpy(c.task_field, "task", 5);
    refuse(&c, &spec, BP_ERR_SIZE, "task");
    c.n_tasks = 2;
    memset(c.task_field, 'x', BP_NAME); /* not terminated */
    refuse(&c, &spec, BP_ERR_FIELD, "xxx");
}

static void test_action_box(void **state) {
    bp_rs0_config c = small_config();
    bp_spec spec;
    bp_error error;
    (void)state;
    make_spec(&spec, false);
    spec.action_high[1] = 2;
    refuse(&c, &spec, BP_ERR_MISMATCH, "bp_env_rescale_actions");
    refuse(&c, &spec, BP_ERR_MISMATCH, "action 1");
    make_spec(&spec, false);
    spec.action_low[0] = -INFINITE;
    refuse(&c, &spec, BP_ERR_MISMATCH, "action 0");
    bp_spec_begin(&spec, "empty");
    assert_true(bp_rs0_size(&spec, &c, (size_t[1]){0}, &error) != BP_OK);
}

/* ---- memory -------------------------------------------------------------------------------------------- */

static void test_allocation(void **state) {
    bp_rs0_config c = variant_config(6);
    bpt_memory m;
    bp_rs0 *l;
    bp_error error;
    bp_spec spec;
    size_t bytes, k;
    (void)state;
    make_spec(&spec, false);
    bpt_memory_use(&m);
    m.fail_at = 1;
    assert_int_equal(bp_rs0_create(&l, &spec, &c, &m.allocator, &error), BP_ERR_MEMORY);
    assert_null(l);
    bpt_memory_check(&m);
    bpt_memory_use(&m);
    bpt_ok(bp_rs0_create(&l, &spec, &c, &m.allocator, &error), &error);
    bpt_ok(bp_rs0_size(&spec, &c, &bytes, &error), &error);
    assert_int_equal(m.requests, 1); /* one block, as large as was said */
    assert_true(m.peak_bytes >= bytes && m.peak_bytes < bytes + 4096);
    { /* and no step asks for more */
        bp_real *data = (bp_real *)malloc(bpt_batch_reals(T, c.batch, O, A) * sizeof(bp_real));
        bp_rng rng = bp_rng_make(1, 1);
        bp_batch batch;
        assert_non_null(data);
        bpt_batch_init(&batch, data, T, c.batch, O, A);
        fill_batch(&batch, &spec, &rng);
        for (k = 0; k < 3; k++) bpt_ok(bp_rs0_step(l, &batch, &rng, NULL, &error), &error);
        free(data);
    }
    assert_int_equal(m.requests, 1);
    bp_rs0_destroy(l);
    bpt_memory_check(&m);
    bp_rs0_destroy(NULL);

    /* a failure after the block was there: no machine has both of these kernels */
    for (k = 0; k < 2; k++) {
        bp_status status;
        c.kernel = k ? BP_KERNEL_AVX512 : BP_KERNEL_NEON;
        bpt_memory_use(&m);
        status = bp_rs0_create(&l, &spec, &c, &m.allocator, &error);
        if (status == BP_OK) bp_rs0_destroy(l);
        else assert_true(status == BP_ERR_UNSUPPORTED && l == NULL);
        bpt_memory_check(&m);
    }
}

static void test_memory_of_the_callers(void **state) {
    bp_rs0_config c = small_config();
    bp_rs0 *l, *other;
    bp_error error;
    bp_spec spec;
    size_t bytes;
    void *memory;
    (void)state;
    make_spec(&spec, false);
    bpt_ok(bp_rs0_size(&spec, &c, &bytes, &error), &error);
    memory = bp_alloc(NULL, bytes);
    assert_non_null(memory);
    assert_int_equal(bp_rs0_init(&l, memory, bytes - 1, &spec, &c, &error), BP_ERR_SIZE);
    assert_null(l);
    assert_int_equal(bp_rs0_init(&l, NULL, bytes, &spec, &c, &error), BP_ERR_SIZE);
    memset(memory, 0xA5, bytes);
    bpt_ok(bp_rs0_init(&l, memory, bytes, &spec, &c, &error), &error);
    bpt_ok(bp_rs0_create(&other, &spec, &c, NULL, &error), &error);
    assert_true(same_state(l, other)); /* weights are a function of the seed */
    assert_memory_equal(l->policy_p.online, l->policy_p.target, l->policy_p.n * sizeof(bp_real));
    assert_memory_equal(l->critic_p.online, l->critic_p.target, l->critic_p.n * sizeof(bp_real));
    bp_rs0_destroy(other);
    c.seed = 2;
    bpt_ok(bp_rs0_create(&other, &spec, &c, NULL, &error), &error);
    assert_false(same_state(l, other));
    bp_rs0_destroy(other);
    c.seed = 1;
    c.prior_kind = BP_PRIOR_LEARNED; /* a prior does not change where policy and critic start */
    bpt_ok(bp_rs0_create(&other, &spec, &c, NULL, &error), &error);
    assert_memory_equal(l->policy_p.online, other->policy_p.online, l->policy_p.n * sizeof(bp_real));
    assert_memory_equal(l->critic_p.online, other->critic_p.online, l->critic_p.n * sizeof(bp_real));
    bp_rs0_destroy(other);
    bp_rs0_destroy(l); /* of the caller's memory: frees nothing */
    bp_free(NULL, memory, bytes);
}

/* ---- targets (E22) and weights -------------------------------------------------------------------------------- */

static bp_learned *network(bp_rs0 *l, size_t k) { return k == 0 ? &l->policy_p : k == 1 ? &l->prior_p
                                                                                        : &l->critic_p; }

static void test_hard_targets(void **state) {
    bp_rs0_config c = small_config();
    world w, start;
    size_t s, k;
    (void)state;
    c.prior_kind = BP_PRIOR_LEARNED;
    c.target_period = 3;
    world_make_with(&w, false, &c);
    world_make_with(&start, false, &c);
    for (s = 1; s <= 7; s++) {
        step(&w);
        for (k = 0; k < 3; k++) {
            const bp_learned *p = network(w.l, k), *p0 = network(start.l, k);
            const size_t bytes = p->n * sizeof(bp_real);
            assert_memory_not_equal(p->online, p0->online, bytes);
            if (s < 3) assert_memory_equal(p->target, p0->target, bytes);
            else if (s % 3 == 0) assert_memory_equal(p->target, p->online, bytes);
            else assert_memory_not_equal(p->target, p->online, bytes);
        }
    }
    world_free(&w);
    world_free(&start);
}

static void test_polyak_targets(void **state) {
    bp_rs0_config c = small_config();
    world w, before;
    size_t i, k;
    (void)state;
    c.prior_kind = BP_PRIOR_LEARNED;
    c.tau = 0.25;
    c.target_period = 0; /* not needed then */
    world_make_with(&w, false, &c);
    world_make_with(&before, false, &c);
    step(&w);
    for (k = 0; k < 3; k++) {
        const bp_learned *p = network(w.l, k), *p0 = network(before.l, k);
        for (i = 0; i < p->n; i++)
            bpt_close(p->target[i], 0.75 * (double)p0->target[i] + 0.25 * (double)p->online[i], BPT_TOL(1e-6, 1e-14));
    }
    world_free(&w);
    world_free(&before);
}

static void test_scheduled_weights(void **state) {
    bp_rs0_config c = small_config();
    world w;
    size_t s;
    (void)state;
    c.prior_kind = BP_PRIOR_ISOTROPIC;
    c.alpha = bp_schedule_make(BP_SCHEDULE_LINEAR, 1, 0.2, 4);
    c.entropy_cost = bp_schedule_make(BP_SCHEDULE_EXPONENTIAL, 0.1, 0.001, 4);
    world_make_with(&w, false, &c);
    for (s = 0; s < 6; s++) {
        step(&w);
        bpt_close(w.l->metrics.alpha, s < 4 ? 1 - 0.2 * (double)s : 0.2, 1e-12);
        bpt_close(w.l->metrics.entropy_cost, s < 4 ? 0.1 * pow(0.01, (double)s / 4) : 0.001, 1e-12);
    }
    world_free(&w);
}

/* One step at a time: alpha goes up when the KL is above its target, c_H when the entropy is below its own. */
static void test_adapted_weights_move_the_right_way(void **state) {
    int above, wide;
    (void)state;
    for (above = 0; above < 2; above++) {
        for (wide = 0; wide < 2; wide++) {
            bp_rs0_config c = small_config();
            world w;
            double kl, entropy, alpha = 0.3, cost = 0.05;
            size_t s;
            c.prior_kind = BP_PRIOR_ISOTROPIC;
            c.alpha_mode = c.entropy_mode = BP_WEIGHT_ADAPTED;
            c.alpha_lr = c.entropy_lr = 0.1;
            world_make_with(&w, false, &c);
            gradients(&w);
            bpt_close(w.l->metrics.alpha, 0.3, 1e-12);
            bpt_close(w.l->metrics.entropy_cost, 0.05, 1e-12);
            kl = w.l->metrics.kl;
            entropy = w.l->metrics.entropy;
            world_free(&w);
            assert_true(kl > 0.01);
            c.kl_target = above ? kl * 0.5 : kl * 2;
            c.entropy_target = wide ? entropy - 1 : entropy + 1;
            world_make_with(&w, false, &c);
            for (s = 0; s < 3; s++) {
                step(&w);
                if (s) assert_true((w.l->metrics.alpha > alpha) == (above != 0));
                if (s) assert_true((w.l->metrics.entropy_cost < cost) == (wide != 0));
                alpha = w.l->metrics.alpha;
                cost = w.l->metrics.entropy_cost;
            }
            world_free(&w);
        }
    }
}

/* ---- kinds of priors ---------------------------------------------------------------------------------------- */

/* The target policy is its own prior: no KL in V. With the online policy's KL there is one. */
static void test_previous_prior_in_values(void **state) {
    int discrete, online;
    (void)state;
    for (discrete = 0; discrete < 2; discrete++) {
        for (online = 0; online < 2; online++) {
            bp_rs0_config c = small_config();
            world with, without;
            bool same;
            c.prior_kind = BP_PRIOR_PREVIOUS;
            c.kl_source = online ? BP_SOURCE_ONLINE : BP_SOURCE_TARGET;
            c.alpha = bp_schedule_constant(50);
            world_make_with(&with, discrete != 0, &c);
            c.prior_kind = BP_PRIOR_NONE;
            world_make_with(&without, discrete != 0, &c);
            gradients(&with);
            gradients(&without);
            same = memcmp(with.l->value + B, without.l->value + B, T * B * sizeof(bp_real)) == 0;
            assert_true(same == (online == 0));
            assert_true(with.l->metrics.kl > 0); /* but the policy is held back */
            assert_true(with.l->metrics.policy_loss > without.l->metrics.policy_loss);
            assert_true(without.l->metrics.kl == 0);
            world_free(&with);
            world_free(&without);
        }
    }
}

static void test_fixed_prior(void **state) {
    bp_rs0_config c = small_config();
    world w;
    bp_error error;
    bp_real *given;
    size_t k, n;
    (void)state;
    c.prior_kind = BP_PRIOR_FIXED;
    c.target_period = 1;
    world_make_with(&w, false, &c);
    n = w.l->prior_p.n;
    given = (bp_real *)malloc(n * sizeof(bp_real));
    assert_non_null(given);
    scaled_normals(given, n, 0.3, &w.rng);
    bpt_ok(bp_rs0_set_prior(w.l, given, n, &error), &error);
    assert_int_equal(bp_rs0_set_prior(w.l, given, n - 1, &error), BP_ERR_SIZE);
    for (k = 0; k < 4; k++) step(&w);
    assert_memory_equal(w.l->prior_p.online, given, n * sizeof(bp_real));
    assert_memory_equal(w.l->prior_p.target, given, n * sizeof(bp_real));
    assert_true(all_zero(w.l->prior_p.grad, n) && all_zero(w.l->prior_p.m, n));
    assert_true(w.l->metrics.kl > 0 && w.l->metrics.prior_loss == 0);
    free(given);
    world_free(&w);
    c.prior_kind = BP_PRIOR_UNIFORM;
    world_make_with(&w, false, &c);
    assert_int_equal(bp_rs0_set_prior(w.l, w.data, 1, &error), BP_ERR_ARGUMENT);
    world_free(&w);
}

/* [e8_uniform_test] */
/* With a uniform prior, -KL is the entropy but for a constant (E8): the same gradient as an entropy bonus of the same size. */
static void test_uniform_prior_is_entropy(void **state) {
    int discrete;
    (void)state;
    for (discrete = 0; discrete < 2; discrete++) {
        bp_rs0_config c = small_config();
        world prior, bonus;
        c.alpha = bp_schedule_constant(0.4);
        c.entropy_cost = bp_schedule_constant(0.1);
        c.prior_kind = BP_PRIOR_UNIFORM;
        world_make_with(&prior, discrete != 0, &c);
        c.prior_kind = BP_PRIOR_NONE;
        c.entropy_cost = bp_schedule_constant(0.5);
        world_make_with(&bonus, discrete != 0, &c);
        gradients(&prior);
        gradients(&bonus);
        bpt_close_array(prior.l->policy_p.grad, bonus.l->policy_p.grad, prior.l->policy_p.n, BPT_TOL(1e-6, 1e-14));
        bpt_close(prior.l->metrics.kl, (discrete ? log((double)K) : A * log(2.0)) - prior.l->metrics.entropy,
                  BPT_TOL(1e-5, 1e-12));
        world_free(&prior);
        world_free(&bonus);
    }
}
/* [e8_uniform_test] */

/* [e14_learner_test] */
/* What the prior may not see (E14) does not reach it: other goals in the batch, the same prior (its loss changes, as the
 * policy does). */
static void test_prior_sees_only_its_fields(void **state) {
    bp_rs0_config c = small_config();
    world w, other;
    size_t i;
    (void)state;
    c.prior_kind = BP_PRIOR_LEARNED;
    c.policy.fields[0] = "body"; /* policies that see the goal would change what the prior is taught */
    c.n_critic_fields = 2;
    c.critic_fields[0] = "body";
    c.critic_fields[1] = "goal";
    world_make_with(&w, false, &c);
    world_make_with(&other, false, &c);
    for (i = 0; i < (T + 1) * B; i++) other.batch.observation[i * O + 3] += BP_R(1);
    gradients(&w);
    gradients(&other);
    assert_false(all_zero(w.l->prior_p.grad, w.l->prior_p.n));
    assert_memory_equal(w.l->prior_p.grad, other.l->prior_p.grad, w.l->prior_p.n * sizeof(bp_real));
    assert_memory_not_equal(w.l->critic_p.grad, other.l->critic_p.grad, w.l->critic_p.n * sizeof(bp_real));
    world_free(&w);
    world_free(&other);
}
/* [e14_learner_test] */

/* ---- several tasks ------------------------------------------------------------------------------------------ */

static void set_tasks(world *w, size_t task) {
    size_t i;
    for (i = 0; i < (T + 1) * B; i++) {
        w->batch.observation[i * O + 5] = BP_R(task == 0);
        w->batch.observation[i * O + 6] = BP_R(task == 1);
    }
}

/* The sum of E10 has one term per task: a task pulls on its own policy and on what is shared. */
static void test_a_task_teaches_only_its_policy(void **state) {
    int discrete;
    size_t task;
    (void)state;
    for (discrete = 0; discrete < 2; discrete++) {
        for (task = 0; task < 2; task++) {
            bp_rs0_config c = small_config();
            world w, single;
            bp_real *own, *foreign;
            size_t n;
            c.prior_kind = BP_PRIOR_LEARNED;
            c.n_tasks = 1;
            world_make_with(&single, discrete != 0, &c);
            c.n_tasks = 2;
            world_make_with(&w, discrete != 0, &c);
            n = w.l->policy.n_params;
            assert_int_equal(w.l->policy_p.n, 2 * n);
            set_tasks(&w, task);
            gradients(&w);
            own = w.l->policy_p.grad + task * n;
            foreign = w.l->policy_p.grad + (1 - task) * n;
            assert_true(all_zero(foreign, n));
            assert_false(all_zero(own, n));
            assert_false(all_zero(w.l->prior_p.grad, w.l->prior_p.n));

            assert_ptr_equal(bp_rs0_policy_params(w.l, w.l->policy_p.online, w.batch.observation),
                             w.l->policy_p.online + task * n);
            assert_ptr_equal(bp_rs0_policy_params(single.l, single.l->policy_p.target, w.batch.observation),
                             single.l->policy_p.target);

            /* the task's own policy alone, in a learner without tasks, gets the same gradient */
            memcpy(single.l->policy_p.online, w.l->policy_p.online + task * n, n * sizeof(bp_real));
            memcpy(single.l->policy_p.target, w.l->policy_p.target + task * n, n * sizeof(bp_real));
            memcpy(single.l->prior_p.online, w.l->prior_p.online, w.l->prior_p.n * sizeof(bp_real));
            memcpy(single.l->prior_p.target, w.l->prior_p.target, w.l->prior_p.n * sizeof(bp_real));
            memcpy(single.l->critic_p.online, w.l->critic_p.online, w.l->critic_p.n * sizeof(bp_real));
            memcpy(single.l->critic_p.target, w.l->critic_p.target, w.l->critic_p.n * sizeof(bp_real));
            memcpy(single.data, w.data, bpt_batch_reals(T, B, O, w.spec.action_size) * sizeof(bp_real));
            if (!discrete) {
                memcpy(single.l->target_noise, w.l->target_noise, (T + 1) * B * 3 * A * sizeof(bp_real));
                memcpy(single.l->policy_noise, w.l->policy_noise, T * B * 3 * A * sizeof(bp_real));
            }
            gradients(&single);
            bpt_close_array(single.l->policy_p.grad, own, n, BPT_TOL(1e-6, 1e-14));
            bpt_close_array(single.l->critic_p.grad, w.l->critic_p.grad, w.l->critic_p.n, BPT_TOL(1e-6, 1e-14));
            world_free(&w);
            world_free(&single);
        }
    }
}

/* ---- what it tells ----------------------------------------------------------------------------------------- */

static void test_metrics(void **state) {
    const size_t n = bp_rs0_metric_count();
    bp_rs0_config c = small_config();
    world w;
    size_t i, j, found = 0;
    (void)state;
    c.prior_kind = BP_PRIOR_LEARNED;
    world_make_with(&w, false, &c);
    gradients(&w);
    assert_int_equal(n, sizeof(bp_rs0_metrics) / sizeof(double));
    for (i = 0; i < n; i++) {
        const char *name = bp_rs0_metric_name(i);
        assert_true(strlen(name) > 0);
        for (j = 0; j < i; j++) assert_string_not_equal(name, bp_rs0_metric_name(j));
        if (strcmp(name, "critic_loss") == 0) found += bp_rs0_metric_value(&w.l->metrics, i) == w.l->metrics.critic_loss;
        if (strcmp(name, "alpha") == 0) found += bp_rs0_metric_value(&w.l->metrics, i) == 0.3;
        if (strcmp(name, "prior_grad_norm") == 0) found += bp_rs0_metric_value(&w.l->metrics, i) == w.l->metrics.prior_grad_norm;
        if (strcmp(name, "kl_high") == 0 || strncmp(name, "em_", 3) == 0) /* one level, and no EM */
            assert_true(bp_rs0_metric_value(&w.l->metrics, i) == 0);
        else assert_true(bp_rs0_metric_value(&w.l->metrics, i) != 0);
    }
    assert_int_equal(found, 3);
    assert_string_equal(bp_rs0_metric_name(n), "");
    assert_true(bp_rs0_metric_value(&w.l->metrics, n) == 0);
    world_free(&w);
}

/* The metrics against the learner's own arrays. */
static void test_metrics_are_means_over_unmasked_rows(void **state) {
    bp_rs0_config c = small_config();
    world w;
    double loss = 0, q = 0, q2 = 0, target = 0, value = 0, td = 0, trace = 0;
    size_t i;
    (void)state;
    world_make_with(&w, false, &c);
    gradients(&w);
    for (i = 0; i < T * B; i++) {
        const double d = (double)w.l->q[i] - (double)w.l->retrace[i];
        bpt_close(w.l->discount[i], i == 3 ? 0.0 : 0.99, BPT_TOL(1e-7, 1e-15));
        if (i >= B && i != 7) trace += (double)w.l->trace[i] / (T * B - B - 1);
        if (i == 7) {
            assert_true(w.l->trace[i] == BP_R(0));
            continue;
        }
        loss += 0.5 * d * d / (T * B - 1);
        td += fabs(d) / (T * B - 1);
        q += (double)w.l->q[i] / (T * B - 1);
        q2 += (double)w.l->q[i] * (double)w.l->q[i] / (T * B - 1);
        target += (double)w.l->retrace[i] / (T * B - 1);
        value += (double)w.l->value[i + B] / (T * B - 1);
    }
    bpt_close(w.l->metrics.critic_loss, loss, BPT_TOL(1e-5, 1e-12));
    bpt_close(w.l->metrics.td_abs, td, BPT_TOL(1e-5, 1e-12));
    bpt_close(w.l->metrics.q_mean, q, BPT_TOL(1e-5, 1e-12));
    bpt_close(w.l->metrics.q_std, sqrt(q2 - q * q), BPT_TOL(1e-5, 1e-12));
    bpt_close(w.l->metrics.target_mean, target, BPT_TOL(1e-5, 1e-12));
    bpt_close(w.l->metrics.value_mean, value, BPT_TOL(1e-5, 1e-12));
    bpt_close(w.l->metrics.trace_mean, trace, BPT_TOL(1e-5, 1e-12));
    world_free(&w);
}

/* Every remembered number belongs to exactly one named tensor. */
static void test_tensors(void **state) {
    size_t variant, i, j, k;
    (void)state;
    for (variant = 0; variant < 8; variant++) {
        bp_rs0_config c = variant_config(variant);
        size_t sum = 0, total = 0, count;
        bool first = false, last = false;
        world w;
        bp_tensor t, u;
        if (variant & 1) c.prior_kind = BP_PRIOR_NONE;
        world_make_with(&w, false, &c);
        count = bp_rs0_tensor_count(w.l);
        for (k = 0; k < 3; k++) {
            bp_learned *p = network(w.l, k);
            const size_t bytes = p->n * sizeof(bp_real);
            total += 4 * p->n;
            if (p->n == 0) continue;
            memset(p->online, 0, bytes);
            memset(p->target, 0, bytes);
            memset(p->m, 0, bytes);
            memset(p->v, 0, bytes);
        }
        for (i = 0; i < count; i++) {
            bp_rs0_tensor(&t, w.l, i);
            assert_true(strlen(t.name) > 0 && strlen(t.name) < BP_TENSOR_NAME && t.rows > 0 && t.cols > 0);
            for (j = 0; j < i; j++) {
                bp_rs0_tensor(&u, w.l, j);
                assert_string_not_equal(t.name, u.name);
            }
            for (j = 0; j < t.rows * t.cols; j++) t.data[j] += BP_R(1);
            sum += t.rows * t.cols;
            first = first || (strcmp(t.name, "policy/online/0/w") == 0 && t.rows == O && t.cols == 5 &&
                              t.data == w.l->policy_p.online);
            last = last || strcmp(t.name, c.twin_critics ? "critic.1/adam_v/2/b" : "critic/adam_v/2/b") == 0;
        }
        assert_int_equal(sum, total);
        assert_true(first && last);
        for (k = 0; k < 3; k++) {
            bp_learned *p = network(w.l, k);
            for (i = 0; i < p->n; i++)
                assert_true(p->online[i] == BP_R(1) && p->target[i] == BP_R(1) && p->m[i] == BP_R(1) && p->v[i] == BP_R(1));
        }
        bp_rs0_tensor(&t, w.l, count); /* there is none */
        assert_true(t.name[0] == '\0' && t.data == NULL);
        world_free(&w);
    }
}

static void test_macs(void **state) {
    bp_rs0_config c = small_config();
    uint64_t few, more, twin, prior;
    world w;
    int discrete;
    (void)state;
    for (discrete = 0; discrete < 2; discrete++) {
        world_make_with(&w, discrete != 0, &c);
        assert_true(bp_rs0_macs(w.l) > 0);
        world_free(&w);
    }
#define MACS(x) (world_make_with(&w, false, &c), x = bp_rs0_macs(w.l), world_free(&w))
    MACS(few);
    c.samples = 6;
    MACS(more);
    assert_true(more > few && more < 2 * few);
    c.twin_critics = true;
    MACS(twin);
    assert_true(twin > more);
    c.prior_kind = BP_PRIOR_LEARNED;
    MACS(prior);
    assert_true(prior > twin);
#undef MACS
}

/* What the learner says it uses; and the caller's strings may go away. */
static void test_resolved_config(void **state) {
    bp_rs0_config c = small_config();
    bp_spec spec;
    bp_error error;
    bp_rs0 *l;
    char name[8] = "goal";
    (void)state;
    make_spec(&spec, false);
    c.critic_fields[0] = name;
    bpt_ok(bp_rs0_create(&l, &spec, &c, NULL, &error), &error);
    memset(name, 'x', sizeof name);
    assert_true(l->config.batch == B && l->config.discount == 0.99 && l->config.policy.width[0] == 5);
    assert_null(l->config.critic_fields[0]);
    assert_null(l->config.policy.fields[0]);
    assert_int_equal(l->critic_fields.size, 2);
    assert_true(bp_spec_equal(&l->spec, &spec));
    bp_rs0_destroy(l);
}

/* ---- does it learn? ------------------------------------------------------------------------------------------ *
 * One-step problems: T = 1, every row terminates, so Q^ret is the reward and all that is left is E20-E22. */

enum { ROWS = 32 };

typedef struct bandit {
    bp_spec spec;
    bp_rs0 *l;
    bp_batch batch;
    bp_real *data;
    bp_rng rng;
} bandit;

static bp_rs0_config bandit_config(void) {
    bp_rs0_config c = bp_rs0_config_default();
    c.batch = ROWS;
    c.length = 1;
    c.shards = 1;
    c.kernel = kernel;
    c.policy.hidden_layers = 0;
    c.prior.hidden_layers = 0;
    c.samples = 4;
    c.policy_adam.lr = c.critic_adam.lr = c.prior_adam.lr = 1e-2;
    c.entropy_cost = bp_schedule_constant(0);
    c.tau = 0.1;
    return c;
}

/* Fields "body" = 1 and "goal" [2], one-hot. */
static void bandit_make(bandit *b, size_t choices, const bp_rs0_config *config) {
    bp_error error;
    memset(b, 0, sizeof *b);
    bp_spec_begin(&b->spec, "bandit");
    bpt_ok(bp_spec_add_field(&b->spec, "body", 1, &error), &error);
    bpt_ok(bp_spec_add_field(&b->spec, "goal", 2, &error), &error);
    if (choices) bpt_ok(bp_spec_actions_discrete(&b->spec, choices, &error), &error);
    else bpt_ok(bp_spec_actions_continuous(&b->spec, 1, -1, 1, &error), &error);
    bpt_ok(bp_rs0_create(&b->l, &b->spec, config, NULL, &error), &error);
    b->data = (bp_real *)calloc(bpt_batch_reals(1, ROWS, 3, 1), sizeof(bp_real));
    assert_non_null(b->data);
    bpt_batch_init(&b->batch, b->data, 1, ROWS, 3, 1);
    b->rng = bp_rng_make(11, 0);
}

static void bandit_free(bandit *b) {
    bp_rs0_destroy(b->l);
    free(b->data);
}

/* Actions of a behavior policy that knows nothing: uniform. reward(goal, action) is the problem. */
static void bandit_step(bandit *b, double (*reward)(size_t goal, double action)) {
    bp_error error;
    size_t i;
    for (i = 0; i < ROWS; i++) {
        const size_t goal = bp_rng_index(&b->rng, 2);
        bp_real *x = b->batch.observation + i * 3, *last = x + ROWS * 3;
        x[0] = last[0] = BP_R(1);
        x[1] = last[1] = BP_R(goal == 0);
        x[2] = last[2] = BP_R(goal == 1);
        b->batch.action[i] = b->spec.action_kind == BP_ACTION_DISCRETE ? BP_R(bp_rng_index(&b->rng, b->spec.n_choices))
                                                                       : BP_R(2 * bp_rng_uniform(&b->rng) - 1);
        b->batch.reward[i] = BP_R(reward(goal, (double)b->batch.action[i]));
        b->batch.mask[i] = BP_R(1);
    }
    bpt_ok(bp_rs0_step(b->l, &b->batch, &b->rng, NULL, &error), &error);
}

/* The online policy's distribution for one goal, or the prior's. */
static void look(bp_real *dist, const bandit *b, size_t goal, bool prior) {
    const bp_policy *policy = prior ? &b->l->prior : &b->l->policy;
    const bp_real *params = prior ? b->l->prior_p.online : b->l->policy_p.online;
    bp_real x[3], work[256];
    bp_compute c;
    bp_error error;
    void *memory = bp_alloc(NULL, bp_compute_bytes());
    x[0] = BP_R(1), x[1] = BP_R(goal == 0), x[2] = BP_R(goal == 1);
    bpt_ok(bp_compute_init(&c, kernel, memory, &error), &error);
    assert_true(bp_policy_work_reals(policy, 1) <= 256);
    bp_policy_eval(&c, dist, work, x, NULL, params, policy, 1);
    bp_free(NULL, memory, bp_compute_bytes());
}

#define SHARPNESS 2.0

static double quadratic(size_t goal, double a) {
    const double d = a - (goal ? 0.3 : -0.2);
    return -SHARPNESS * d * d;
}

/* Average the distribution over the last steps: rewards have no noise but actions are random, and Adam's step does not
 * shrink by itself. */
static void train_quadratic(double mean[2], double std[2], bp_prior_kind kind, double alpha) {
    const size_t steps = 2500, averaged = 500;
    bp_rs0_config c = bandit_config();
    bandit b;
    size_t i, goal;
    c.prior_kind = kind;
    c.alpha = bp_schedule_constant(alpha);
    c.policy.tanh_mean = false;
    c.policy.min_std = 0.02;
    c.critic_width[0] = c.critic_width[1] = 16;
    c.critic_activation = BP_ACT_TANH;
    c.policy_adam.lr = 3e-3;
    bandit_make(&b, 0, &c);
    memset(mean, 0, 2 * sizeof *mean);
    memset(std, 0, 2 * sizeof *std);
    for (i = 0; i < steps; i++) {
        bandit_step(&b, quadratic);
        if (i == steps / 2) b.l->config.critic_adam.lr *= 0.1; /* end with small steps */
        if (i + averaged < steps) continue;
        for (goal = 0; goal < 2; goal++) {
            bp_real dist[2];
            look(dist, &b, goal, false);
            mean[goal] += (double)dist[0] / (double)averaged;
            std[goal] += (double)dist[1] / (double)averaged;
        }
    }
    bandit_free(&b);
}

/* E18 with no prior, no entropy: the mean at the optimum and as little noise as the head allows. */
static void test_quadratic_bandit(void **state) {
    double mean[2], std[2];
    (void)state;
    train_quadratic(mean, std, BP_PRIOR_NONE, 0);
    assert_true(fabs(mean[0] + 0.2) < 0.06 && fabs(mean[1] - 0.3) < 0.06); /* Q is flat there, its top hard to find */
    assert_true(std[0] < 0.06 && std[1] < 0.06);
}

/* [e18_bandit_test] */
/* With N(0,1) as prior the loss (E21) of N(m,s) is, with c = SHARPNESS,
 *     c ((m - a*)^2 + s^2) + alpha (-log s + (s^2 + m^2 - 1) / 2)
 * so m = 2 c a* / (2 c + alpha) and s^2 = alpha / (2 c + alpha). */
static void test_quadratic_bandit_with_isotropic_prior(void **state) {
    const double alpha = 0.25, shrink = 2 * SHARPNESS / (2 * SHARPNESS + alpha), s = sqrt(alpha / (2 * SHARPNESS + alpha));
    double mean[2], std[2];
    (void)state;
    train_quadratic(mean, std, BP_PRIOR_ISOTROPIC, alpha);
    assert_true(fabs(mean[0] + 0.2 * shrink) < 0.03 && fabs(mean[1] - 0.3 * shrink) < 0.03);
    assert_true(fabs(std[0] - s) < 0.02 && fabs(std[1] - s) < 0.02);
}
/* [e18_bandit_test] */

/* A uniform prior only spreads: s^2 = alpha / 2c, and the mean stays. */
static void test_quadratic_bandit_with_uniform_prior(void **state) {
    const double alpha = 0.2, s = sqrt(alpha / (2 * SHARPNESS));
    double mean[2], std[2];
    (void)state;
    train_quadratic(mean, std, BP_PRIOR_UNIFORM, alpha);
    assert_true(fabs(mean[0] + 0.2) < 0.03 && fabs(mean[1] - 0.3) < 0.03);
    assert_true(fabs(std[0] - s) < 0.02 && fabs(std[1] - s) < 0.02);
}

enum { ARMS = 4 };
static const double pay[2][ARMS] = {{1.0, 0.1, 0.5, -0.3}, {-0.2, 0.9, 0.4, 0.2}};

static double arms(size_t goal, double action) { return pay[goal][(size_t)action]; }

static void softmax(double *p, const double *logits) {
    double sum = 0;
    size_t k;
    for (k = 0; k < ARMS; k++) sum += p[k] = exp(logits[k]);
    for (k = 0; k < ARMS; k++) p[k] /= sum;
}

static void look_at_probabilities(double *p, const bandit *b, size_t goal, bool prior) {
    bp_real dist[ARMS];
    double logits[ARMS];
    size_t k;
    look(dist, b, goal, prior);
    for (k = 0; k < ARMS; k++) logits[k] = (double)dist[k];
    softmax(p, logits);
}

/* [e21_fixed_prior_test] */
/* E7 for one step, from E21: pi = softmax(log pi0 + Q / alpha). */
static void test_discrete_bandit_with_fixed_prior(void **state) {
    static const double prior_logits[ARMS] = {-1, 1, 0, 0.5};
    const double alpha = 0.5;
    bp_rs0_config c = bandit_config();
    bp_error error;
    bandit b;
    bp_real *prior;
    size_t i, k, goal;
    (void)state;
    c.prior_kind = BP_PRIOR_FIXED;
    c.prior.n_fields = 1;
    c.prior.fields[0] = "body";
    c.alpha = bp_schedule_constant(alpha);
    c.critic_width[0] = c.critic_width[1] = 16;
    bandit_make(&b, ARMS, &c);
    prior = (bp_real *)calloc(b.l->prior_p.n, sizeof(bp_real));
    assert_non_null(prior);
    for (k = 0; k < ARMS; k++) prior[b.l->prior.net.layer[0].b + k] = BP_R(prior_logits[k]);
    bpt_ok(bp_rs0_set_prior(b.l, prior, b.l->prior_p.n, &error), &error);
    for (i = 0; i < 1500; i++) bandit_step(&b, arms);
    for (goal = 0; goal < 2; goal++) {
        double want[ARMS], got[ARMS], logits[ARMS];
        for (k = 0; k < ARMS; k++) logits[k] = prior_logits[k] + pay[goal][k] / alpha;
        softmax(want, logits);
        look_at_probabilities(got, &b, goal, false);
        for (k = 0; k < ARMS; k++)
            if (fabs(got[k] - want[k]) > 0.01) fail_msg("goal %d arm %d: %.4f, E7 says %.4f", (int)goal, (int)k, got[k], want[k]);
        look_at_probabilities(got, &b, goal, true);
        softmax(want, prior_logits);
        for (k = 0; k < ARMS; k++) bpt_close(got[k], want[k], 1e-5); /* it stayed what it was */
    }
    free(prior);
    bandit_free(&b);
}
/* [e21_fixed_prior_test] */

/* A learned prior that cannot see the goal: where E7 and E11 meet, found here by alternating them. One policy that
 * sees the goal, or one policy per task. */
static void check_learned_prior(size_t tasks) {
    const double alpha = 0.5;
    double want[2][ARMS], mixture[ARMS] = {0.25, 0.25, 0.25, 0.25}, got[ARMS];
    bp_rs0_config c = bandit_config();
    bandit b;
    size_t i, k, goal;
    /* [e22_learned_prior_test] */
    for (i = 0; i < 2000; i++) {
        for (goal = 0; goal < 2; goal++) {
            double logits[ARMS];
            for (k = 0; k < ARMS; k++) logits[k] = log(mixture[k]) + pay[goal][k] / alpha;
            softmax(want[goal], logits);
        }
        for (k = 0; k < ARMS; k++) mixture[k] = 0.5 * want[0][k] + 0.5 * want[1][k];
    }
    /* [e22_learned_prior_test] */
    assert_true(fabs(want[0][0] - want[1][0]) > 0.3); /* the goals still differ */

    c.prior_kind = BP_PRIOR_LEARNED;
    c.prior.n_fields = 1;
    c.prior.fields[0] = "body";
    c.alpha = bp_schedule_constant(alpha);
    c.critic_width[0] = c.critic_width[1] = 16;
    c.n_tasks = tasks;
    memcpy(c.task_field, "goal", 5);
    bandit_make(&b, ARMS, &c);
    for (i = 0; i < 3000; i++) {
        bandit_step(&b, arms);
        if (i == 2200) { /* end with small steps: the goals of a batch are random, and the prior follows their share */
            b.l->config.prior_adam.lr *= 0.1;
            b.l->config.policy_adam.lr *= 0.1;
        }
    }
    for (goal = 0; goal < 2; goal++) {
        if (tasks == 1) look_at_probabilities(got, &b, goal, false);
        else {
            bp_learned whole = b.l->policy_p;
            b.l->policy_p.online += goal * b.l->policy.n_params;
            look_at_probabilities(got, &b, goal, false);
            b.l->policy_p = whole;
        }
        for (k = 0; k < ARMS; k++)
            if (fabs(got[k] - want[goal][k]) > 0.03)
                fail_msg("goal %d arm %d: %.4f, should be %.4f", (int)goal, (int)k, got[k], want[goal][k]);
    }
    look_at_probabilities(got, &b, 0, true);
    for (k = 0; k < ARMS; k++)
        if (fabs(got[k] - mixture[k]) > 0.03) fail_msg("prior, arm %d: %.4f, should be %.4f", (int)k, got[k], mixture[k]);
    bandit_free(&b);
}

/* E17 and E22: the prior becomes the mixture while the policies move toward it. */
static void test_discrete_bandit_with_learned_prior(void **state) {
    (void)state;
    check_learned_prior(1);
}

/* The same with a policy for each task (E10): the prior is the mixture of E11. */
static void test_discrete_bandit_with_two_policies(void **state) {
    (void)state;
    check_learned_prior(2);
}

/* The adapted alpha ends where the KL is what was asked for. */
static void test_adapted_alpha_reaches_its_target(void **state) {
    bp_rs0_config c = bandit_config();
    bandit b;
    size_t i;
    double kl = 0;
    (void)state;
    c.prior_kind = BP_PRIOR_UNIFORM;
    c.alpha_mode = BP_WEIGHT_ADAPTED;
    c.alpha = bp_schedule_constant(5);
    c.alpha_lr = 0.02;
    c.kl_target = 0.4;
    c.critic_width[0] = c.critic_width[1] = 16;
    bandit_make(&b, ARMS, &c);
    for (i = 0; i < 2500; i++) {
        bandit_step(&b, arms);
        if (i >= 2000) kl += b.l->metrics.kl / 500;
    }
    assert_true(fabs(kl - 0.4) < 0.04);
    assert_true(b.l->metrics.alpha < 2);
    bandit_free(&b);
}

static int use_auto(void **state) {
    (void)state;
    kernel = BP_KERNEL_AUTO;
    return 0;
}

/* Separate critics (E10): while all tasks' critics are equal they are one critic, whose gradient is the sum of theirs; and each
 * gets its gradient from its own task's rows alone. */
static void test_separate_critics(void **state) {
    bp_rs0_config c = small_config();
    world shared, apart;
    size_t n, i, k;
    bp_spec spec;
    bp_rs0 *l;
    bp_error error;
    (void)state;
    c.prior_kind = BP_PRIOR_LEARNED;
    c.n_tasks = 2;
    c.twin_critics = true;
    world_make_with(&shared, false, &c);
    c.separate_critics = true;
    world_make_with(&apart, false, &c);
    n = shared.l->critic_p.n;
    assert_int_equal(apart.l->critic_p.n, 2 * n);
    memcpy(apart.data, shared.data, bpt_batch_reals(T, B, O, A) * sizeof(bp_real));
    memcpy(apart.l->policy_p.online, shared.l->policy_p.online, shared.l->policy_p.n * sizeof(bp_real));
    memcpy(apart.l->policy_p.target, shared.l->policy_p.target, shared.l->policy_p.n * sizeof(bp_real));
    memcpy(apart.l->prior_p.online, shared.l->prior_p.online, shared.l->prior_p.n * sizeof(bp_real));
    memcpy(apart.l->prior_p.target, shared.l->prior_p.target, shared.l->prior_p.n * sizeof(bp_real));
    memcpy(apart.l->target_noise, shared.l->target_noise, (T + 1) * B * c.samples * A * sizeof(bp_real));
    memcpy(apart.l->policy_noise, shared.l->policy_noise, T * B * c.samples * A * sizeof(bp_real));
    for (k = 0; k < 2; k++) {
        memcpy(apart.l->critic_p.online + k * n, shared.l->critic_p.online, n * sizeof(bp_real));
        memcpy(apart.l->critic_p.target + k * n, shared.l->critic_p.target, n * sizeof(bp_real));
    }
    gradients(&shared);
    gradients(&apart);
    bpt_close(apart.l->metrics.critic_loss, shared.l->metrics.critic_loss, BPT_TOL(1e-5, 1e-12));
    bpt_close(apart.l->metrics.policy_loss, shared.l->metrics.policy_loss, BPT_TOL(1e-5, 1e-12));
    bpt_close_array(apart.l->value + B, shared.l->value + B, T * B, BPT_TOL(1e-5, 1e-12));
    bpt_close_array(apart.l->retrace, shared.l->retrace, T * B, BPT_TOL(1e-5, 1e-12));
    bpt_close_array(apart.l->policy_p.grad, shared.l->policy_p.grad, shared.l->policy_p.n, BPT_TOL(1e-4, 1e-11));
    for (i = 0; i < n; i++) {
        const double sum = (double)apart.l->critic_p.grad[i] + (double)apart.l->critic_p.grad[n + i];
        bpt_close(sum, shared.l->critic_p.grad[i], BPT_TOL(1e-4, 1e-11));
    }
    assert_false(all_zero(apart.l->critic_p.grad, n));
    assert_false(all_zero(apart.l->critic_p.grad + n, n));
    /* all rows of task 0: nothing for the other critic */
    for (i = 0; i < (T + 1) * B; i++) {
        apart.batch.observation[i * O + 5] = BP_R(1);
        apart.batch.observation[i * O + 6] = BP_R(0);
    }
    gradients(&apart);
    assert_false(all_zero(apart.l->critic_p.grad, n));
    assert_true(all_zero(apart.l->critic_p.grad + n, n));
    assert_int_equal(bp_rs0_tensor_count(apart.l) - bp_rs0_tensor_count(shared.l), 4 * 2 * shared.l->critic.n_views);
    world_free(&shared);
    world_free(&apart);
    make_spec(&spec, false);
    c.n_tasks = 1;
    assert_int_equal(bp_rs0_create(&l, &spec, &c, NULL, &error), BP_ERR_UNSUPPORTED);
    assert_non_null(strstr(error.text, "separate_critics"));
}

int main(void) {
    const struct CMUnitTest with_reference[] = {
        cmocka_unit_test(test_separate_critics),
        cmocka_unit_test(test_gradients_box),
        cmocka_unit_test(test_gradients_choices),
        cmocka_unit_test(test_gradients_of_other_settings),
        cmocka_unit_test(test_repeat),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_shards_agree),
        cmocka_unit_test(test_nonfinite_batch),
        cmocka_unit_test(test_huge_reward),
        cmocka_unit_test(test_nonfinite_but_unseen),
        cmocka_unit_test(test_batch_of_another_shape),
        cmocka_unit_test(test_masked_rows_contribute_nothing),
        cmocka_unit_test(test_all_masked),
        cmocka_unit_test(test_numbers_out_of_range),
        cmocka_unit_test(test_optimiser_settings_out_of_range),
        cmocka_unit_test(test_enums_out_of_range),
        cmocka_unit_test(test_adapted_weights_start_above_zero),
        cmocka_unit_test(test_sizes_that_overflow),
        cmocka_unit_test(test_stale_configs),
        cmocka_unit_test(test_unknown_fields),
        cmocka_unit_test(test_action_box),
        cmocka_unit_test(test_allocation),
        cmocka_unit_test(test_memory_of_the_callers),
        cmocka_unit_test(test_hard_targets),
        cmocka_unit_test(test_polyak_targets),
        cmocka_unit_test(test_scheduled_weights),
        cmocka_unit_test(test_adapted_weights_move_the_right_way),
        cmocka_unit_test(test_previous_prior_in_values),
        cmocka_unit_test(test_fixed_prior),
        cmocka_unit_test(test_uniform_prior_is_entropy),
        cmocka_unit_test(test_prior_sees_only_its_fields),
        cmocka_unit_test(test_a_task_teaches_only_its_policy),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_metrics_are_means_over_unmasked_rows),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_macs),
        cmocka_unit_test(test_resolved_config),
    };
    const struct CMUnitTest with_auto[] = {
        cmocka_unit_test(test_gradients_of_other_settings),
        cmocka_unit_test(test_repeat),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_shards_agree),
        cmocka_unit_test(test_nonfinite_batch),
        cmocka_unit_test(test_masked_rows_contribute_nothing),
        cmocka_unit_test(test_a_task_teaches_only_its_policy),
    };
    const struct CMUnitTest learning[] = {
        cmocka_unit_test(test_quadratic_bandit),
        cmocka_unit_test(test_quadratic_bandit_with_isotropic_prior),
        cmocka_unit_test(test_quadratic_bandit_with_uniform_prior),
        cmocka_unit_test(test_discrete_bandit_with_fixed_prior),
        cmocka_unit_test(test_discrete_bandit_with_learned_prior),
        cmocka_unit_test(test_discrete_bandit_with_two_policies),
        cmocka_unit_test(test_adapted_alpha_reaches_its_target),
    };
    return cmocka_run_group_tests(with_reference, NULL, NULL) + cmocka_run_group_tests(with_auto, use_auto, NULL) +
           (SLOW ? 0 : cmocka_run_group_tests(learning, use_auto, NULL));
}
