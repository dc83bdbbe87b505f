/* bits.c - fingerprints of what is promised to have the same bits on every machine (docs/pages/63_determinism.md): random
 * numbers, elementary functions, and a training run with the reference kernel. run.sh compares what two machines print. */
#include "bprior.h"
#include <stdio.h>

#define N 100000

static bp_real x[N], y[N];

static void print(const char *name, const bp_real *numbers, size_t n) {
    printf("%-10s %08lx\n", name, (unsigned long)bp_crc32c(0, numbers, n * sizeof *numbers));
}

static void print_function(const char *name, bp_real (*f)(bp_real)) {
    size_t i;
    for (i = 0; i < N; i++) y[i] = f(BP_R(9.0) * x[i]);
    print(name, y, N);
}

static bp_real log_of_square(bp_real v) { return bp_log(v * v); }

int main(void) {
    bp_run_config config = bp_run_config_default();
    bp_pointmass_config room = bp_pointmass_config_default();
    bp_rng rng = bp_rng_make(7, 7);
    bp_run *run = NULL;
    bp_error error;
    bp_rng_normals(x, &rng, N);
    print("normals", x, N);
    print_function("exp", bp_exp);
    print_function("log", log_of_square);
    print_function("tanh", bp_tanh);
    print_function("softplus", bp_softplus);

    config.envs = bp_pointmass_maker(&room);
    config.env_steps = 600;
    config.actors = 4;
    config.min_sequences = 20;
    config.evaluate_every = 0;
    config.learner.batch = 16;
    config.learner.shards = 4;
    config.learner.kernel = BP_KERNEL_REFERENCE;
    if (bp_run_create(&run, &config, NULL, &error) != BP_OK || bp_run_train(run, &error) != BP_OK) {
        printf("%s\n", error.text);
        return 1;
    }
    printf("%lu learner steps\n", (unsigned long)run->learner->steps);
    print("weights", run->learner->policy_p.online, run->learner->policy_p.n);
    bp_run_destroy(run);
    return 0;
}
