/* 08_3_information.c - lesson 8, exercise 3: information, bound and gap by three loops
 *
 * A random MDP of twelve states, of which the prior sees only the class phi(s) = s mod 3. Compute what the actions tell about
 * the rest (E15), what the KL to some prior charges for it (E16), and the gap. The judge is bp_bottleneck_objective().
 */
#include "../lesson.h"

enum { S = 12,
       A = 3,
       CLASSES = 3 };

/* sum_a p(a) log(p(a)/q(a)) */
static double kl(const double *p, const double *q) {
    double sum = 0;
    for (size_t a = 0; a < A; a++) sum += p[a] * log(p[a] / q[a]);
    return sum;
}

int main(void) {
    double pi[S * A], prior[CLASSES * A], d[S], marginal[CLASSES * A] = {0}, judge_marginal[CLASSES * A];
    double weight[CLASSES] = {0}, information = 0, bound = 0, gap = 0, worst = 0;
    size_t phi[S];
    bp_rng rng = bp_rng_make(8, 3);
    bp_bottleneck judge;
    bp_mdp m;
    must(bp_mdp_create(&m, S, A, 0.9, NULL, &error));
    bp_mdp_random(&m, &rng, 3);
    bp_mdp_random_policy(pi, &rng, S, A);
    bp_mdp_random_policy(prior, &rng, CLASSES, A);
    for (size_t s = 0; s < S; s++) phi[s] = s % CLASSES;
    must(bp_mdp_visitation(d, &m, pi, &error)); /* d(s): how often each state is visited, discounted */

    /* YOUR TURN: marginal(a|c): the average of pi(a|s) over the states of class c, weighted by d(s); weight(c): the sum of their d(s). */

    /* YOUR TURN: information, bound, gap: sums of d(s) or weight(c) times a KL */

    must(bp_bottleneck_objective(&judge, judge_marginal, &m, pi, prior, phi, CLASSES, 0.1, &error));
    for (size_t i = 0; i < CLASSES * A; i++) worst = fmax(worst, fabs(marginal[i] - judge_marginal[i]));
    printf("bound %.4f = information %.4f + gap %.4f nats an episode\n", bound, information, gap);
    claim(worst < 1e-12, "the marginal is that of the library");
    claim(near(information, judge.information, 1e-12) && near(bound, judge.bound, 1e-12) && near(gap, judge.gap, 1e-12),
          "so are the three numbers");
    claim(bound > 0 && near(bound, information + gap, 1e-12), "bound = information + gap");
    bp_mdp_destroy(&m);
    return false_claims;
}
