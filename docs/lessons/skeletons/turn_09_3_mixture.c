/* 09_3_mixture.c - lesson 9, exercise 3: the best prior for three policies
 *
 * E11: the mixture of the policies, each weighted by how often it is there. Compute it, and try to beat it: by ten thousand
 * perturbations, and by the plain average that the talk's slide has.
 */
#include "../lesson.h"

enum { W = 3,
       S = 8,
       A = 3,
       CLASSES = 4 };

int main(void) {
    double pi[W * S * A], prior[CLASSES * A] = {0}, plain[CLASSES * A] = {0}, judge[CLASSES * A], rival[CLASSES * A], d[S];
    double best = 0, loss = 0, average = 0, smallest = HUGE_VAL, worst = 0;
    static const double p[W] = {0.5, 0.3, 0.2};
    size_t phi[S];
    bp_rng rng = bp_rng_make(9, 3);
    bp_mdp m[W];
    bp_distral_tasks tasks = {W, m, p, phi, CLASSES};
    for (size_t s = 0; s < S; s++) phi[s] = s / 2; /* two states look alike */
    for (size_t w = 0; w < W; w++) {
        must(bp_mdp_create(&m[w], S, A, 0.9, NULL, &error));
        bp_mdp_random(&m[w], &rng, 2);
        bp_mdp_random_policy(pi + w * S * A, &rng, S, A);
    }
    must(bp_distral_check(&tasks, &error));

    for (size_t i = 0; i < CLASSES * A; i++) prior[i] = plain[i] = 1.0 / A;
    for (size_t w = 0; w < W; w++) {
        must(bp_mdp_visitation(d, &m[w], pi + w * S * A, &error));
        /* Rows are normalised below. */
        /* YOUR TURN: clear both at the first task; add p(w) d(s) pi_w(a|s) to row phi(s) of prior, p(w) pi_w(a|s) to that of plain. */
    }
    for (size_t c = 0; c < CLASSES; c++) {
        double sum = 0, plain_sum = 0;
        for (size_t a = 0; a < A; a++) sum += prior[c * A + a], plain_sum += plain[c * A + a];
        for (size_t a = 0; a < A; a++) prior[c * A + a] /= sum, plain[c * A + a] /= plain_sum;
    }

    must(bp_distral_loss(&best, &tasks, pi, prior, &error));
    must(bp_distral_loss(&average, &tasks, pi, plain, &error));
    for (int n = 0; n < 10000; n++) { /* multiply each number by something near 1, and normalise */
        for (size_t c = 0; c < CLASSES; c++) {
            double sum = 0;
            for (size_t a = 0; a < A; a++) sum += rival[c * A + a] = prior[c * A + a] * exp(0.1 * (double)bp_rng_normal(&rng));
            for (size_t a = 0; a < A; a++) rival[c * A + a] /= sum;
        }
        must(bp_distral_loss(&loss, &tasks, pi, rival, &error));
        smallest = fmin(smallest, loss);
    }
    must(bp_distral_best_prior(judge, &tasks, pi, &error));
    for (size_t i = 0; i < CLASSES * A; i++) worst = fmax(worst, fabs(prior[i] - judge[i]));
    printf("nats away: weighted mixture %.6f, best of 10000 perturbations %.6f, plain average %.6f\n", best, smallest, average);
    claim(smallest >= best, "no perturbation is better");
    claim(average > best + 1e-4, "the plain average is worse: it counts a policy where it never goes");
    claim(worst < 1e-12, "bp_distral_best_prior() agrees");
    for (size_t w = 0; w < W; w++) bp_mdp_destroy(&m[w]);
    return false_claims;
}
