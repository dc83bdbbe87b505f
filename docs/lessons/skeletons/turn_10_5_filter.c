/* 10_5_filter.c - lesson 10, exercise 5: the forward algorithm
 *
 * Three options, seven steps: 3^7 = 2187 histories of options could have made the same movements. Sum over them in two ways:
 * one by one, and by the forward algorithm (E31), which needs 7 x 3 numbers.
 */
#include "../lesson.h"

enum { K = 3,
       T = 7 };
static double emission[T][K], option[K], b; /* p(a_t | y), p(y) when drawn, probability of drawing again */

/* p(a_0 .. a_{T-1}), by the forward algorithm. belief [K]: P(y_t | a_0 .. a_t) at the end. */
static double forward(double belief[K]) {
    double likelihood = 1;
    for (int k = 0; k < K; k++) belief[k] = option[k];
    for (int t = 0; t < T; t++) {
        /* Predict (t > 0): an option stays with probability 1 - b, or is drawn anew. Weigh by the emission. The sum of the weights is
         * p(a_t | a_0 .. a_{t-1}); what is left after dividing by it is the new belief. */
        /* YOUR TURN: one step of this */
    }
    return likelihood;
}

/* The same, history by history; last[k] collects those that end in option k. */
static void visit(double last[K], int t, int y, double p) {
    if (t == T) {
        last[y] += p;
        return;
    }
    for (int k = 0; k < K; k++) {
        const double move = t == 0 ? option[k] : (1 - b) * (k == y) + b * option[k];
        visit(last, t + 1, k, p * move * emission[t][k]);
    }
}

int main(void) {
    double belief[K], last[K] = {0}, likelihood, total = 0, worst = 0, library = 0;
    bp_real log_prob[T], saved[2 * T * K], log_emission[T * K], log_option[T * K], redraw[T];
    bp_rng rng = bp_rng_make(10, 5);
    for (int t = 0; t < T; t++)
        for (int k = 0; k < K; k++) emission[t][k] = 0.05 + bp_rng_uniform(&rng);
    bp_mdp_random_policy(option, &rng, 1, K);
    b = 0.3;
    likelihood = forward(belief);
    visit(last, 0, 0, 1);
    for (int k = 0; k < K; k++) total += last[k];
    for (int k = 0; k < K; k++) {
        printf("option %d at the end: by the forward algorithm %.6f, by counting %.6f\n", k, belief[k], last[k] / total);
        worst = fmax(worst, fabs(belief[k] - last[k] / total));
    }
    for (int i = 0; i < T * K; i++) {
        log_emission[i] = BP_R(log(emission[i / K][i % K])), log_option[i] = BP_R(log(option[i % K]));
        redraw[i / K] = BP_R(log(b / (1 - b)));
    }
    bp_option_forward(log_prob, saved, log_emission, log_option, redraw, NULL, T, 1, K);
    for (int t = 0; t < T; t++) library += (double)log_prob[t];
    printf("log likelihood %.6f, by counting %.6f, by bp_option_forward() %.6f\n", log(likelihood), log(total), library);
    claim(fabs(likelihood / total - 1) < 1e-12, "the forward algorithm sums over all 2187 histories");
    claim(worst < 1e-12, "and ends with the exact posterior");
    claim(fabs(library - log(likelihood)) < 1e-4, "as bp_option_forward() does, in logarithms");
    return false_claims;
}
