/* 01_5_time_limit.c - lesson 1, exercise 5: the end of the world, and the end of looking
 *
 * A machine that pays 1 in every step, for ever: with gamma = .9 it is worth 1 / (1 - .9) = 10. We look at it in episodes of five
 * steps. Whoever takes the end of an episode for the end of the world learns another number, and without any error message.
 */
#include "../lesson.h"

#define GAMMA 0.9
enum { STEPS = 5 };

/* Learn the value of the only state by E3b, 20000 steps. With `mistaken`, every end of an episode counts as a termination. */
static double learn(bp_env *env, bool mistaken) {
    double Q[1] = {0};
    for (int k = 0, seed = 0; k < 20000; seed++) {
        bp_real x[1], action[1] = {0};
        bp_step out = {0, 1, false};
        must(env->reset(env->self, (uint64_t)seed, x));
        while (!out.last) {
            double discount = mistaken && out.last ? 0 : GAMMA;
            must(env->step(env->self, action, x, &out));
            /* YOUR TURN: set `discount`: what the future is multiplied by after this step. Look at out.last and at out.discount. */
            (void)bp_q_learning_update(Q, 0, 0, (double)out.reward, discount, 0, 0.01, 1);
            k++;
        }
    }
    return Q[0];
}

int main(void) {
    bp_mdp m;
    bp_env env;
    double right, wrong;
    must(bp_mdp_create(&m, 1, 1, GAMMA, NULL, &error));
    m.P[0] = m.p0[0] = m.R[0] = 1;
    must(bp_mdp_check(&m, &error));
    must(bp_mdp_env(&env, &m, STEPS, NULL, &error)); /* last after five steps, with discount 1 */
    right = learn(&env, false);
    wrong = learn(&env, true);
    printf("learned %.2f; with the mistake %.2f\n", right, wrong);
    claim(fabs(right - 10) < 0.3, "with the discount of the environment the value is 1/(1-gamma) = 10");
    claim(fabs(wrong - 1 / (1 - GAMMA * (STEPS - 1) / STEPS)) < 0.3,
          "with the mistake it is 1/(1 - gamma 4/5) = 3.57: one step in five is taken for the last there is");
    bp_env_close(&env);
    bp_mdp_destroy(&m);
    return false_claims;
}
