/* 04_4_optimism.c - lesson 4, exercise 4: at what odds does who infers begin to play?
 *
 * The lottery of example 3: a ticket wins 10 with probability p, else loses 1; not playing gives 0. Somebody who maximises the
 * mean plays when 10 p - (1 - p) > 0. At which p does the repaired planner (E7) play with probability one half, and at which p
 * does inference (E9)? Both by bisection, both with a formula to compare.
 */
#include "../lesson.h"

/* The probability of playing, for inference or for the planner, at price alpha = 1 and with a uniform prior. */
static double plays(double p, bool infer) {
    bp_mdp m;
    double log_beta_sa[2 * 4 * 2], log_beta[3 * 4], pi[2 * 4 * 2], V[3 * 4];
    must(bp_mdp_create(&m, 4, 2, 1, NULL, &error)); /* states: 0 choice, 1 won, 2 lost, 3 end; action 0 plays, 1 does not */
    m.p0[0] = 1;
    m.P[(0 * 2 + 0) * 4 + 1] = p, m.P[(0 * 2 + 0) * 4 + 2] = 1 - p;
    m.P[(0 * 2 + 1) * 4 + 3] = 1;
    for (size_t a = 0; a < 2; a++) {
        m.P[(1 * 2 + a) * 4 + 3] = m.P[(2 * 2 + a) * 4 + 3] = 1;
        m.R[1 * 2 + a] = 10, m.R[2 * 2 + a] = -1;
    }
    m.terminal[3] = true;
    must(bp_mdp_check(&m, &error));
    if (infer) {
        must(bp_inference_backward_messages(log_beta_sa, log_beta, &m, NULL, 1, 2, &error));
        bp_inference_policy(pi, log_beta_sa, log_beta, &m, NULL, 2);
    } else must(bp_mdp_soft_horizon(V, NULL, pi, &m, NULL, 1, 2, &error));
    bp_mdp_destroy(&m);
    return pi[0];
}

/* The p at which the probability of playing is 1/2; plays() rises with p. */
static double threshold(bool infer) {
    double low = 1e-9, high = 0.5;
    /* YOUR TURN: bisection, in the logarithm of p, since the answers are far apart */
    return low;
}

int main(void) {
    const double planner = threshold(false), inference = threshold(true);
    double formula = 0, won = 0;
    /* `formula`: the p at which inference plays with probability 1/2. `won`: at p = .01, the probability that the ticket won, given
     * that it was played and that all steps were "optimal". */
    /* YOUR TURN: both, from exp(10) and exp(-1) alone */
    printf("the planner plays from p = %.6f on, inference from p = %.3e on (formula %.3e)\n", planner, inference, formula);
    printf("at p = .01 inference believes that a ticket wins with probability %.4f\n", won);
    claim(near(planner, 1.0 / 11, 1e-6), "the planner's threshold is where the mean is 0: 1/11");
    claim(formula > 0 && fabs(inference / formula - 1) < 1e-6, "inference plays from (1 - e^-1) / (e^10 - e^-1) on: less than 1 in 30000");
    claim(won > 0.99, "since, given success, a played ticket has almost certainly won");
    return false_claims;
}
