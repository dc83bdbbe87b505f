/* 06_4_long_ratios.c - lesson 6, exercise 4: why the ratios are cut at 1
 *
 * Importance sampling corrects a sequence of T actions by the product of pi/mu. Its mean is 1, whatever pi and mu are. Its second moment
 * grows exponentially with T. Retrace multiplies min(1, pi/mu): biased, and never larger than 1.
 */
#include "../lesson.h"

enum { A = 3,
       LONGEST = 16,
       N = 200000 };

int main(void) {
    static const double pi[A] = {0.6, 0.3, 0.1}, mu[A] = {0.3, 0.3, 0.4};
    double sum[LONGEST + 1] = {0}, square[LONGEST + 1] = {0}, cut_sum[LONGEST + 1] = {0}, largest_cut = 0;
    double growth = 0, shrink = 0; /* per step: E_mu[(pi/mu)^2] and E_mu[min(1, pi/mu)] */
    bool mean_is_one = true, square_grows = true, cut_shrinks = true;
    bp_rng rng = bp_rng_make(6, 4);
    /* YOUR TURN: growth and shrink, as sums over actions */
    for (int n = 0; n < N; n++) {
        double product = 1, cut = 1;
        for (int t = 1; t <= LONGEST; t++) {
            const double u = bp_rng_uniform(&rng);
            const int a = u < mu[0] ? 0 : u < mu[0] + mu[1] ? 1
                                                            : 2;
            /* YOUR TURN: multiply the ratio of action a into `product`, and the ratio cut at 1 into `cut`. */
            sum[t] += product, square[t] += product * product, cut_sum[t] += cut;
            largest_cut = fmax(largest_cut, cut);
        }
    }
    printf("steps   mean of the product +- error bar   second moment (exactly)    mean when cut (exactly)\n");
    for (int t = 1; t <= LONGEST; t *= 2) {
        const double mean = sum[t] / N, second = square[t] / N, bar = sqrt((second - mean * mean) / N), cut = cut_sum[t] / N;
        printf("%5d   %16.3f +- %.3f %20.2f (%.2f) %18.4f (%.4f)\n", t, mean, bar, second, pow(growth, t), cut, pow(shrink, t));
        mean_is_one = mean_is_one && fabs(mean - 1) <= 5 * bar && bar > 0;
        if (t <= 4) square_grows = square_grows && fabs(second / pow(growth, t) - 1) < 0.1;
        cut_shrinks = cut_shrinks && fabs(cut - pow(shrink, t)) < 0.01;
    }
    claim(mean_is_one, "the mean of the product is 1 at every length");
    claim(square_grows && growth > 1.4, "its second moment grows like (sum pi^2/mu)^T");
    claim(cut_shrinks && shrink > 0 && shrink < 1, "cut at 1, the mean fades like (sum min(pi, mu))^T");
    claim(largest_cut <= 1 && largest_cut > 0, "and no single sequence ever weighs more than 1");
    return false_claims;
}
