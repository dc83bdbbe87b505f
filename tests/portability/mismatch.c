/* A unit compiled for one scalar meets a library compiled for the other: every object that is made from a
 * configuration answers BP_ERR_ABI, with a text that says so. The same calls succeed when both agree. */
#include "bprior.h"
#include <stdio.h>
#include <string.h>

static int failures;

static void expect(const char *what, bp_status status, bp_error *error) {
    if (status != EXPECTED || (status != BP_OK && strlen(error->text) == 0)) {
        printf("error: %s: status %d (%s): %s\n", what, (int)status, bp_status_str(status), error->text);
        failures++;
    }
    memset(error, 0, sizeof *error);
}

int main(void) {
    static bp_spec spec; /* numbers in it are double and size_t: the same in both builds */
    bp_error error;
    size_t bytes = 0;
    bp_env env;
    bp_mlp mlp;
    bp_policy policy;
    bp_run *run = NULL;
    bp_mlp_config mlp_config = bp_mlp_config_default(2, 1);
    bp_pendulum_config pendulum_config = bp_pendulum_config_default();
    bp_policy_config policy_config = bp_policy_config_default();
    bp_rs0_config learner_config = bp_rs0_config_default();
    bp_run_config run_config = bp_run_config_default();
    bp_replay_config replay_config;
    memset(&error, 0, sizeof error);

    bp_spec_begin(&spec, "two numbers");
    if (bp_spec_add_field(&spec, "both", 2, &error) != BP_OK) return 1;
    if (bp_spec_actions_continuous(&spec, 1, -1, 1, &error) != BP_OK) return 1;
    replay_config = bp_replay_config_default(&spec);

    expect("bp_mlp_init", bp_mlp_init(&mlp, &mlp_config, &error), &error);
    expect("bp_policy_init", bp_policy_init(&policy, &spec, &policy_config, &error), &error);
    expect("bp_replay_size", bp_replay_size(&replay_config, &bytes, &error), &error);
    expect("bp_rs0_size", bp_rs0_size(&spec, &learner_config, &bytes, &error), &error);
    if (bp_pendulum_env(&env, &pendulum_config, NULL, &error) == EXPECTED) {
        if (EXPECTED == BP_OK) bp_env_close(&env);
    } else {
        expect("bp_pendulum_env", BP_ERR_ENV, &error);
    }
    run_config.envs = bp_pendulum_maker(NULL);
    run_config.min_sequences = 1, run_config.replay_capacity = 10;
    expect("bp_run_create", bp_run_create(&run, &run_config, NULL, &error), &error);
    bp_run_destroy(run);
    return failures;
}
