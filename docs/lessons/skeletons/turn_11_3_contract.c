/* 11_3_contract.c - lesson 11, exercise 3: a prior moves house
 *
 * A prior that sees the velocity of a pendulum alone leaves its run as a file. A second run takes it in and keeps it as it is;
 * a third one, whose prior sees something else, must refuse it.
 */
#include "../lesson.h"

static bp_run *make(bp_prior_kind kind, const char *field, uint64_t seed) {
    bp_run_config config = bp_run_config_default();
    bp_rs0_config *learner = &config.learner;
    bp_run *run;
    config.envs = bp_pendulum_maker(NULL);
    config.env_steps = 1500, config.min_sequences = 100, config.samples_per_insert = 16, config.evaluate_every = 0;
    config.seed = learner->seed = seed;
    learner->length = 5, learner->batch = 16, learner->samples = 2;
    learner->policy.hidden_layers = learner->prior.hidden_layers = learner->critic_layers = 1;
    learner->policy.width[0] = learner->prior.width[0] = learner->critic_width[0] = 16;
    learner->prior_adam.lr = 1e-3;
    learner->alpha = bp_schedule_constant(0.1);
    learner->prior_kind = kind;
    learner->prior.n_fields = 1;
    learner->prior.fields[0] = field;
    must(bp_run_create(&run, &config, NULL, &error));
    return run;
}

int main(void) {
    static const char file[] = "11_3_prior.safetensors";
    bp_run *source = make(BP_PRIOR_LEARNED, "velocity", 1), *keeps = make(BP_PRIOR_FIXED, "velocity", 2),
           *learns = make(BP_PRIOR_LEARNED, "velocity", 3), *blind = make(BP_PRIOR_FIXED, "angle", 4);
    const size_t bytes = source->learner->prior_p.n * sizeof(bp_real);
    bp_real *copy = (bp_real *)malloc(bytes);
    bp_status refused = BP_OK;
    if (!copy) return 2;
    must(bp_run_train(source, &error));
    memcpy(copy, source->learner->prior_p.online, bytes);
    /* YOUR TURN: export the prior of `source`; bp_rs0_load_prior() it into `keeps`, `learns` and `blind`; refused = the last status. */
    if (refused != BP_OK) printf("refused: %s\n", error.text);
    claim(memcmp(keeps->learner->prior_p.online, copy, bytes) == 0, "the prior arrives bit for bit");
    claim(refused < 0 && strstr(error.text, "velocity") != NULL, "a prior that sees something else refuses it, and says what is wrong");
    must(bp_run_train(keeps, &error));
    must(bp_run_train(learns, &error));
    claim(memcmp(keeps->learner->prior_p.online, copy, bytes) == 0, "BP_PRIOR_FIXED leaves it as it is for the whole run");
    claim(memcmp(learns->learner->prior_p.online, copy, bytes) != 0 && refused < 0, "BP_PRIOR_LEARNED goes on training it");
    remove(file);
    free(copy);
    bp_run_destroy(source), bp_run_destroy(keeps), bp_run_destroy(learns), bp_run_destroy(blind);
    return false_claims;
}
