/* Writes policy.safetensors: a policy for the pendulum, never trained, for the other programs of this directory to load. */
#include "bprior.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    bp_env env;
    bp_policy policy;
    bp_policy_config config = bp_policy_config_default();
    bp_policy_export what;
    bp_error error;
    bp_rng rng = bp_rng_make(1, 0);
    bp_real *params = NULL;
    bp_status status = bp_pendulum_env(&env, NULL, NULL, &error);
    config.head_scale = 1; /* so that it says something */
    if (status == BP_OK) status = bp_policy_init(&policy, &env.spec, &config, &error);
    if (status == BP_OK) {
        params = (bp_real *)calloc(policy.n_params, sizeof(bp_real));
        if (!params) return 1;
        bp_policy_init_params(params, &policy, &rng);
        memset(&what, 0, sizeof what);
        what.behavior.policy = &policy;
        what.behavior.params = params;
        what.spec = &env.spec;
        status = bp_policy_save("policy.safetensors", &what, &error);
        free(params);
    }
    if (status != BP_OK) fprintf(stderr, "%s\n", error.text);
    bp_env_close(&env);
    return status == BP_OK ? 0 : 1;
}
