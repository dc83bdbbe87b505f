/* 12_5_repeat.c - lesson 12, exercise 5: the same seed, the same bits
 *
 * A result that cannot be repeated cannot be examined. Train a pendulum for 1500 steps three times: with seed 1, with seed 1
 * again, with seed 2; and once more with seed 1, but evaluated in between. Which runs end with the same weights, to the last
 * bit?
 */
#include "../lesson.h"

static bp_run *train(uint64_t seed, bool looked_at) {
    bp_run_config config = bp_run_config_default();
    bp_run *run;
    config.envs = bp_pendulum_maker(NULL);
    config.env_steps = 1500, config.min_sequences = 100, config.samples_per_insert = 16, config.evaluate_every = 0;
    config.learner.length = 5, config.learner.batch = 16, config.learner.samples = 2;
    config.learner.prior_kind = BP_PRIOR_ISOTROPIC;
    config.seed = config.learner.seed = seed;
    must(bp_run_create(&run, &config, NULL, &error));
    while (!run->done) {
        bp_evaluation e;
        must(bp_run_round(run, &error));
        if (looked_at) must(bp_run_evaluate(&e, NULL, run, BP_PLAY_POLICY, 1, 5, true, &error));
    }
    must(bp_run_finish(run, &error));
    return run;
}

/* Have two runs the same policy and the same critic, bit for bit? */
static bool same(const bp_run *a, const bp_run *b) {
    bool equal = false;
    /* YOUR TURN: compare learner->policy_p.online and critic_p.online; n says how many numbers there are. */
    return equal;
}

int main(void) {
    bp_run *first = train(1, false), *again = train(1, false), *other = train(2, false), *watched = train(1, true);
    claim(first->learner->steps > 50, "something has been learned");
    claim(same(first, again), "the same seed gives the same weights, bit for bit");
    claim(!same(first, other), "another seed gives others");
    claim(same(first, watched), "looking at a run does not change it: evaluation has random numbers of its own");
    bp_run_destroy(first), bp_run_destroy(again), bp_run_destroy(other), bp_run_destroy(watched);
    return false_claims;
}
