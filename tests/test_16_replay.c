/* Replay of sequences: what is stored is what was experienced, in order, and every sequence is drawn equally often. */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"

enum { O = 3,
       A = 2,
       T = 4 };
static uint64_t seed;

static bp_replay_config make_config(size_t capacity) {
    bp_replay_config config = bp_replay_config_default(NULL);
    config.capacity = capacity;
    config.length = T;
    config.observation_size = O;
    config.action_size = A;
    return config;
}

/* Numbers that say where they belong: observation k is (k, k + .25, k + .5), step k's action (100 + k, 200 + k). */
static void observation_of(bp_real *x, size_t k) {
    size_t i;
    for (i = 0; i < O; i++) x[i] = BP_R((double)k + 0.25 * (double)i);
}
static void add_step(bp_sequence *s, size_t k, double discount, size_t next) {
    bp_real a[A], x[O];
    a[0] = BP_R(100 + (double)k), a[1] = BP_R(200 + (double)k);
    observation_of(x, next);
    bp_sequence_add(s, a, BP_R(-0.5 * (double)k), BP_R(10 * (double)k), BP_R(discount), x);
}
static void check_observation(const bp_real *x, size_t k) {
    bp_real want[O];
    observation_of(want, k);
    assert_memory_equal(x, want, sizeof want);
}

static void test_default_config(void **state) {
    bp_spec spec;
    bp_error error;
    bp_replay_config config;
    (void)state;
    bp_spec_begin(&spec, "replay");
    bpt_ok(bp_spec_add_field(&spec, "x", 5, &error), &error);
    bpt_ok(bp_spec_actions_continuous(&spec, 2, -1, 1, &error), &error);
    config = bp_replay_config_default(&spec);
    assert_int_equal(config.capacity, 1000);
    assert_int_equal(config.length, 10);
    assert_int_equal(config.observation_size, 5);
    assert_int_equal(config.action_size, 2);
    assert_int_equal(bp_sequence_reals(&config), 11 * 5 + 10 * (2 + 4));
}

static void test_sequence_rows(void **state) {
    const bp_replay_config config = make_config(1);
    bp_real data[(T + 1) * O + T * (A + 4)], x[O];
    bp_sequence s;
    size_t t;
    (void)state;
    assert_int_equal(bp_sequence_reals(&config), sizeof data / sizeof data[0]);
    bp_sequence_init(&s, data, &config);
    observation_of(x, 0);
    bp_sequence_begin(&s, x);
    for (t = 0; t < T; t++) {
        assert_false(bp_sequence_full(&s));
        assert_int_equal(s.filled, t);
        add_step(&s, t, t == 2 ? 0.5 : 1.0, t + 1);
    }
    assert_true(bp_sequence_full(&s));
    for (t = 0; t <= T; t++) check_observation(s.observation + t * O, t);
    for (t = 0; t < T; t++) {
        assert_true(s.action[t * A] == BP_R(100 + (double)t) && s.action[t * A + 1] == BP_R(200 + (double)t));
        assert_true(s.reward[t] == BP_R(10 * (double)t));
        assert_true(s.discount[t] == (t == 2 ? BP_R(0.5) : BP_R(1)));
        assert_true(s.log_mu[t] == BP_R(-0.5 * (double)t));
        assert_true(s.mask[t] == BP_R(1));
    }
}

/* x_5 a_5 | x_6 final, mask 0 | x_0 of the next episode */
static void test_boundary_row(void **state) {
    const bp_replay_config config = make_config(1);
    bp_real data[(T + 1) * O + T * (A + 4)], x[O];
    bp_sequence s;
    (void)state;
    bp_sequence_init(&s, data, &config);
    observation_of(x, 5);
    bp_sequence_begin(&s, x);
    add_step(&s, 5, 0.0, 6); /* terminates in observation 6 */
    observation_of(x, 40);   /* the reset */
    bp_sequence_boundary(&s, x);
    add_step(&s, 40, 1.0, 41);
    add_step(&s, 41, 1.0, 42);
    assert_true(bp_sequence_full(&s));
    check_observation(s.observation + 0 * O, 5);
    check_observation(s.observation + 1 * O, 6); /* the boundary row holds the final observation */
    check_observation(s.observation + 2 * O, 40);
    check_observation(s.observation + 3 * O, 41);
    check_observation(s.observation + 4 * O, 42);
    assert_true(s.mask[0] == BP_R(1) && s.mask[1] == BP_R(0) && s.mask[2] == BP_R(1) && s.mask[3] == BP_R(1));
    assert_true(s.discount[0] == BP_R(0) && s.discount[2] == BP_R(1));
    assert_true(s.action[1 * A] == s.action[1 * A] && s.log_mu[1] == s.log_mu[1]); /* finite, whatever it is */
    assert_true(s.action[2 * A] == BP_R(140));
}

/* Sequences follow each other without gap, a boundary row at the end of one included. */
static void test_carry(void **state) {
    const bp_replay_config config = make_config(1);
    bp_real data[(T + 1) * O + T * (A + 4)], x[O];
    bp_sequence s;
    size_t t;
    (void)state;
    bp_sequence_init(&s, data, &config);
    observation_of(x, 0);
    bp_sequence_begin(&s, x);
    for (t = 0; t < T - 1; t++) add_step(&s, t, 1.0, t + 1);
    observation_of(x, 70);
    bp_sequence_boundary(&s, x); /* last row */
    assert_true(bp_sequence_full(&s));
    bp_sequence_carry(&s);
    assert_int_equal(s.filled, 0);
    check_observation(s.observation, 70);
    for (t = 0; t < T; t++) add_step(&s, 70 + t, 1.0, 71 + t);
    bp_sequence_carry(&s);
    check_observation(s.observation, 70 + T);
    /* begin drops what was there */
    add_step(&s, 74, 1.0, 75);
    observation_of(x, 9);
    bp_sequence_begin(&s, x);
    assert_int_equal(s.filled, 0);
    check_observation(s.observation, 9);
}

/* A full sequence whose numbers start at k. */
static void fill(bp_sequence *s, size_t k) {
    bp_real x[O];
    size_t t;
    observation_of(x, k);
    bp_sequence_begin(s, x);
    for (t = 0; t < T; t++) add_step(s, k + t, 1.0, k + t + 1);
}

static void test_ring_overwrites_the_oldest(void **state) {
    enum { CAPACITY = 3,
           B = 64 };
    const bp_replay_config config = make_config(CAPACITY);
    bp_rng rng = bp_rng_make(seed, 1);
    bp_real data[(T + 1) * O + T * (A + 4)];
    bp_real *block = (bp_real *)malloc(bpt_batch_reals(T, B, O, A) * sizeof(bp_real));
    bp_sequence s;
    bp_replay *replay;
    bp_batch batch;
    bp_error error;
    size_t n, b, t, i;
    (void)state;
    assert_non_null(block);
    bpt_ok(bp_replay_create(&replay, &config, NULL, &error), &error);
    bp_sequence_init(&s, data, &config);
    bpt_batch_init(&batch, block, T, B, O, A);
    assert_int_equal(bp_replay_sample(&batch, replay, &rng, &error), BP_ERR_EMPTY);
    for (n = 0; n < 8; n++) {
        const size_t oldest = n < CAPACITY ? 0 : n - CAPACITY + 1;
        size_t seen[8] = {0};
        fill(&s, 1000 * n);
        bpt_ok(bp_replay_insert(replay, &s, &error), &error);
        assert_int_equal(replay->inserted, n + 1);
        assert_int_equal(replay->count, n < CAPACITY ? n + 1 : CAPACITY);
        assert_int_equal(replay->next, (n + 1) % CAPACITY);
        bpt_ok(bp_replay_sample(&batch, replay, &rng, &error), &error);
        for (b = 0; b < B; b++) {
            const size_t k = (size_t)(double)batch.observation[b * O] / 1000;
            assert_true(k >= oldest && k <= n);
            seen[k]++;
            for (t = 0; t <= T; t++) check_observation(batch.observation + (t * B + b) * O, 1000 * k + t);
            for (t = 0; t < T; t++) {
                const double step = (double)(1000 * k + t);
                i = t * B + b;
                assert_true(batch.action[i * A] == BP_R(100 + step) && batch.action[i * A + 1] == BP_R(200 + step));
                assert_true(batch.reward[i] == BP_R(10 * step) && batch.log_mu[i] == BP_R(-0.5 * step));
                assert_true(batch.discount[i] == BP_R(1) && batch.mask[i] == BP_R(1));
            }
        }
        for (i = oldest; i <= n; i++) assert_true(seen[i] > 0); /* 64 draws from at most 3 */
    }
    bp_replay_destroy(replay);
    free(block);
}

/* Chi-square over the stored sequences, ring full and half full: expected value 19 and 9, and a value above 70 (50) has
 * probability below 1e-7 whatever the seed. */
static void test_sampling_is_uniform(void **state) {
    enum { CAPACITY = 20,
           B = 50,
           DRAWS = 400 };
    const bp_replay_config config = make_config(CAPACITY);
    bp_rng rng = bp_rng_make(seed, 2);
    bp_real data[(T + 1) * O + T * (A + 4)];
    bp_real *block = (bp_real *)malloc(bpt_batch_reals(T, B, O, A) * sizeof(bp_real));
    bp_sequence s;
    bp_replay *replay;
    bp_batch batch;
    bp_error error;
    size_t half, n, b, i;
    (void)state;
    assert_non_null(block);
    bpt_ok(bp_replay_create(&replay, &config, NULL, &error), &error);
    bp_sequence_init(&s, data, &config);
    bpt_batch_init(&batch, block, T, B, O, A);
    for (half = 0; half < 2; half++) {
        const size_t stored = half ? CAPACITY : CAPACITY / 2;
        const double expected = (double)(B * DRAWS) / (double)stored;
        double chi2 = 0;
        size_t count[CAPACITY] = {0};
        while (replay->count < stored) {
            fill(&s, 10 * replay->count);
            bpt_ok(bp_replay_insert(replay, &s, &error), &error);
        }
        for (n = 0; n < DRAWS; n++) {
            bpt_ok(bp_replay_sample(&batch, replay, &rng, &error), &error);
            for (b = 0; b < B; b++) count[(size_t)(double)batch.observation[b * O] / 10]++;
        }
        for (i = 0; i < stored; i++) chi2 += ((double)count[i] - expected) * ((double)count[i] - expected) / expected;
        for (; i < CAPACITY; i++) assert_int_equal(count[i], 0);
        print_message("chi-square %.1f with %lu degrees of freedom\n", chi2, (unsigned long)stored - 1);
        assert_true(chi2 < (half ? 70.0 : 50.0));
        assert_true(chi2 > 0.1); /* random, not dealt out in turn */
    }
    bp_replay_destroy(replay);
    free(block);
}

static void test_sampling_is_reproducible(void **state) {
    enum { B = 16 };
    const bp_replay_config config = make_config(50);
    bp_real data[(T + 1) * O + T * (A + 4)];
    const size_t reals = bpt_batch_reals(T, B, O, A);
    bp_real *block = (bp_real *)malloc(2 * reals * sizeof(bp_real));
    bp_rng one = bp_rng_make(seed, 3), two = one;
    bp_sequence s;
    bp_replay *replay;
    bp_batch first, second;
    bp_error error;
    size_t n;
    (void)state;
    assert_non_null(block);
    bpt_ok(bp_replay_create(&replay, &config, NULL, &error), &error);
    bp_sequence_init(&s, data, &config);
    for (n = 0; n < 50; n++) {
        fill(&s, 10 * n);
        bpt_ok(bp_replay_insert(replay, &s, &error), &error);
    }
    bpt_batch_init(&first, block, T, B, O, A);
    bpt_batch_init(&second, block + reals, T, B, O, A);
    bpt_ok(bp_replay_sample(&first, replay, &one, &error), &error);
    bpt_ok(bp_replay_sample(&second, replay, &two, &error), &error);
    assert_memory_equal(block, block + reals, reals * sizeof(bp_real));
    bpt_ok(bp_replay_sample(&second, replay, &two, &error), &error);
    assert_true(memcmp(block, block + reals, reals * sizeof(bp_real)) != 0);
    bp_replay_destroy(replay);
    free(block);
}

/* What size says is what create asks for, to the byte, and capacity_for is its inverse. */
static void test_exact_bytes(void **state) {
    static const size_t capacities[4] = {1, 2, 7, 1000};
    bpt_memory memory;
    bp_error error;
    size_t i;
    (void)state;
    for (i = 0; i < 4; i++) {
        const bp_replay_config config = make_config(capacities[i]);
        bp_replay_config larger = config;
        bp_replay *replay;
        size_t bytes, next, fits;
        bpt_ok(bp_replay_size(&config, &bytes, &error), &error);
        bpt_memory_use(&memory);
        bpt_ok(bp_replay_create(&replay, &config, &memory.allocator, &error), &error);
        assert_int_equal(memory.live_bytes, bytes);
        assert_true(bytes >= sizeof(bp_replay) + capacities[i] * bp_sequence_reals(&config) * sizeof(bp_real));
        bp_replay_destroy(replay);
        bpt_memory_check(&memory);
        fits = bp_replay_capacity_for(&config, bytes);
        assert_true(fits >= capacities[i]); /* blocks are rounded up to 64 bytes: one more may fit */
        larger.capacity = fits;
        bpt_ok(bp_replay_size(&larger, &next, &error), &error);
        assert_true(next <= bytes);
        larger.capacity = fits + 1;
        bpt_ok(bp_replay_size(&larger, &next, &error), &error);
        assert_true(next > bytes);
        if (capacities[i] == 1) assert_int_equal(bp_replay_capacity_for(&config, bytes - 1), 0);
    }
    bp_replay_destroy(NULL);
}

static void test_init_in_callers_memory(void **state) {
    const bp_replay_config config = make_config(5);
    bp_real data[(T + 1) * O + T * (A + 4)];
    bp_replay *replay;
    bp_sequence s;
    bp_error error;
    size_t bytes;
    void *memory;
    (void)state;
    bpt_ok(bp_replay_size(&config, &bytes, &error), &error);
    memory = bp_alloc(NULL, bytes);
    assert_non_null(memory);
    assert_int_equal(bp_replay_init(&replay, memory, bytes - 1, &config, &error), BP_ERR_SIZE);
    assert_null(replay);
    bpt_ok(bp_replay_init(&replay, memory, bytes, &config, &error), &error);
    bp_sequence_init(&s, data, &config);
    fill(&s, 3);
    bpt_ok(bp_replay_insert(replay, &s, &error), &error);
    bp_replay_destroy(replay); /* must not free what is not its own */
    bp_free(NULL, memory, bytes);
}

static void test_errors(void **state) {
    bp_replay_config config = make_config(0), other = make_config(2);
    bp_real data[(T + 1) * O + T * (A + 4)], wide[(T + 1) * (O + 1) + T * (A + 4)], x[O];
    bp_real block[((T + 1) * 2 * O + T * 2 * (A + 4)) * 2];
    bp_rng rng = bp_rng_make(seed, 4);
    bp_replay *replay;
    bp_sequence s;
    bp_batch batch;
    bp_error error;
    (void)state;
    assert_int_equal(bp_replay_create(&replay, &config, NULL, &error), BP_ERR_ARGUMENT);
    assert_null(replay);
    assert_non_null(strstr(error.text, "capacity"));
    assert_int_equal(bp_replay_create(&replay, &config, NULL, NULL), BP_ERR_ARGUMENT); /* error is nullable */
    config = make_config(2), config.length = 0;
    assert_int_equal(bp_replay_create(&replay, &config, NULL, &error), BP_ERR_ARGUMENT);
    config = make_config(2), config.observation_size = 0;
    assert_int_equal(bp_replay_create(&replay, &config, NULL, &error), BP_ERR_ARGUMENT);
    config = make_config(2), config.action_size = 0;
    assert_int_equal(bp_replay_create(&replay, &config, NULL, &error), BP_ERR_ARGUMENT);
    memset(&config, 0, sizeof config);
    assert_int_equal(bp_replay_create(&replay, &config, NULL, &error), BP_ERR_CONFIG);
    config = make_config(((size_t)-1) / 8);
    assert_int_equal(bp_replay_create(&replay, &config, NULL, &error), BP_ERR_SIZE);
    config = make_config(2), config.observation_size = ((size_t)-1) / 2;
    assert_int_equal(bp_replay_create(&replay, &config, NULL, &error), BP_ERR_SIZE);
    assert_null(replay);

    bpt_ok(bp_replay_create(&replay, &other, NULL, &error), &error);
    bp_sequence_init(&s, data, &other);
    observation_of(x, 0);
    bp_sequence_begin(&s, x);
    add_step(&s, 0, 1.0, 1);
    assert_int_equal(bp_replay_insert(replay, &s, &error), BP_ERR_SIZE); /* not full */
    assert_int_equal(replay->count, 0);
    config = other, config.observation_size = O + 1;
    bp_sequence_init(&s, wide, &config);
    s.filled = T;
    assert_int_equal(bp_replay_insert(replay, &s, &error), BP_ERR_SIZE); /* another shape */
    bp_sequence_init(&s, data, &other);
    fill(&s, 0);
    bpt_ok(bp_replay_insert(replay, &s, &error), &error);
    bpt_batch_init(&batch, block, T - 1, 2, O, A);
    assert_int_equal(bp_replay_sample(&batch, replay, &rng, &error), BP_ERR_SIZE);
    bpt_batch_init(&batch, block, T, 2, O, A);
    bpt_ok(bp_replay_sample(&batch, replay, &rng, &error), &error);
    bp_replay_destroy(replay);
}

static void test_out_of_memory(void **state) {
    const bp_replay_config config = make_config(10);
    bpt_memory memory;
    bp_replay *replay;
    bp_error error;
    size_t n;
    (void)state;
    for (n = 1;; n++) {
        bp_status status;
        bpt_memory_use(&memory);
        memory.fail_at = n;
        replay = (bp_replay *)&memory; /* must be overwritten */
        status = bp_replay_create(&replay, &config, &memory.allocator, &error);
        if (status == BP_OK) break;
        assert_int_equal(status, BP_ERR_MEMORY);
        assert_null(replay);
        bpt_memory_check(&memory);
        assert_true(n < 10);
    }
    assert_true(n > 1); /* it did fail once */
    bp_replay_destroy(replay);
    bpt_memory_check(&memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_config),
        cmocka_unit_test(test_sequence_rows),
        cmocka_unit_test(test_boundary_row),
        cmocka_unit_test(test_carry),
        cmocka_unit_test(test_ring_overwrites_the_oldest),
        cmocka_unit_test(test_sampling_is_uniform),
        cmocka_unit_test(test_sampling_is_reproducible),
        cmocka_unit_test(test_exact_bytes),
        cmocka_unit_test(test_init_in_callers_memory),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_out_of_memory),
    };
    seed = bpt_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
