/* rate_return.c - what does a nat buy? Experiment (f): return against information, the weight alpha swept.
 *
 * WHAT YOU SEE  The four tasks of information.c, and the prior that sees all but the goal. What the policy does beyond that
 *   prior it can only have from the goal: KL[pi || pi0], in nats per step, is a bound on I[x^G; a | x^D], on how much
 *   of the goal is in the actions (E16), and alpha is its price. Learning at several prices draws the curve from "ask for
 *   nothing and get what the prior gets" to "all the information there is".
 *
 * LEFT   return of the trained policy, actions sampled, against nats per step along its own way: each run a dot, the mean of the
 *        seeds and their standard deviations in both directions per alpha.
 * RIGHT  the same two numbers and the prior's own return, against alpha (0 stands at the left edge).
 *
 * FILES  alpha-A-SEED/  one run each         table.csv runs.csv rate_return.png settings.txt
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "../cli.h"
#include "paper.h"
#include "study.h"
#include "push_world.h"
#include "push_study.h"

#define ALPHAS 7
static const double alphas[ALPHAS] = {0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3};
#define KIND 5 /* of push_kinds: all but the goal */

typedef struct price_result {
    double end[STUDY_SEEDS], nats[STUDY_SEEDS], alone[STUDY_SEEDS], replayed[STUDY_SEEDS], area[STUDY_SEEDS];
} price_result;

static bool write_tables(const cli_options *o, const price_result *r, size_t seeds) {
    FILE *runs = paper_file(o->out, "runs.csv"), *table = paper_file(o->out, "table.csv");
    char a[40], b[40], c[40], d[40];
    size_t k, s;
    if (runs == NULL || table == NULL) return false;
    fprintf(runs, "alpha,seed,nats_per_step,return,prior_alone,nats_in_replay,area\n");
    fprintf(table, "alpha,nats_mean,nats_std,return_mean,return_std,prior_alone_mean,prior_alone_std,area_mean,area_std\n");
    printf("\n%8s %14s %16s %16s %18s\n", "alpha", "nats per step", "return", "prior alone", "nats in replay");
    for (k = 0; k < ALPHAS; k++) {
        const price_result *q = &r[k];
        for (s = 0; s < seeds; s++)
            fprintf(runs, "%g,%llu,%.4g,%.4g,%.4g,%.4g,%.4g\n", alphas[k], (unsigned long long)(o->seed + s), q->nats[s], q->end[s],
                    q->alone[s], q->replayed[s], q->area[s]);
        fprintf(table, "%g,%.4g,%.4g,%.4g,%.4g,%.4g,%.4g,%.4g,%.4g\n", alphas[k], paper_mean(q->nats, seeds),
                paper_spread(q->nats, seeds), paper_mean(q->end, seeds), paper_spread(q->end, seeds), paper_mean(q->alone, seeds),
                paper_spread(q->alone, seeds), paper_mean(q->area, seeds), paper_spread(q->area, seeds));
        printf("%8g %15s %17s %17s %17s\n", alphas[k], push_pm(a, q->nats, seeds), push_pm(b, q->end, seeds),
               push_pm(c, q->alone, seeds), push_pm(d, q->replayed, seeds));
    }
    return fclose(runs) == 0 && fclose(table) == 0;
}

static bool draw(const cli_options *o, size_t seeds) {
    FILE *f = paper_file(o->out, "rate_return.gp");
    size_t k;
    if (f == NULL) return false;
    fprintf(f,
            "set datafile separator ','\nset terminal pngcairo size 1300,520 font 'sans,11'\nset output 'rate_return.png'\n"
            "set multiplot layout 1,2\nset grid\nset yrange [0:*]\nset bmargin 5\nunset key\nset logscale x\n"
            "set xlabel 'KL[policy || prior], nats per step: a bound on I[goal; action | the rest]'\nset ylabel 'return per episode'\n"
            "set title 'return against information, %lu seeds per alpha'\n"
            "plot 'runs.csv' every ::1 using 3:4 with points pt 7 ps 0.7 lc rgb '#99bbdd', "
            "'table.csv' every ::1 using 2:4 with lines lw 1.5 lc rgb '#0060ad', "
            "'' every ::1 using 2:4:3:5 with xyerrorbars lw 1.5 lc rgb '#0060ad' pt 7 ps 1.2, "
            "'' every ::1 using 2:(0.1):(sprintf('alpha %%g', $1)) with labels rotate by 90 left tc rgb '#003366'\n"
            "set title 'the same against alpha'\nset xlabel 'alpha, reward per nat'\nset ylabel 'return per episode; nats per step'\n"
            "set key below horizontal\nset xrange [0.0002:0.5]\nset xtics ('0' 0.0003",
            (unsigned long)seeds);
    for (k = 1; k < ALPHAS; k++) fprintf(f, ", '%g' %g", alphas[k], alphas[k]);
    fprintf(f, ")\nat(a) = a > 0 ? a : 0.0003\n"
               "plot 'table.csv' every ::1 using (at($1)):4:5 with yerrorlines lw 2 pt 7 lc rgb '#0060ad' title 'return', "
               "'' every ::1 using (at($1)*1.04):2:3 with yerrorlines lw 2 pt 7 lc rgb '#dd5511' title 'nats per step', "
               "'' every ::1 using (at($1)*0.96):6:7 with yerrorlines lw 2 pt 7 lc rgb '#33aa55' title 'prior alone'\n"
               "unset multiplot\n");
    if (fclose(f) != 0) return false;
    paper_plot(o->out, "rate_return");
    return true;
}

int main(int argc, char **argv) {
    static study_job jobs[ALPHAS * STUDY_SEEDS];
    static price_result result[ALPHAS];
    cli_options o = cli_defaults("rate_return",
                                 "Sweeps alpha, the price of a nat, for the prior that sees all but the goal on the four tasks\n"
                                 "of `information`: the return against the nats per step that the policy pays. Ends with a\n"
                                 "table and a plot. --steps is for each run; --threads says how many runs at a time.",
                                 PUSH_STEPS);
    push_config world = push_config_default();
    bp_error error;
    FILE *f;
    size_t k, s, n = 0;
    int code;
    o.seeds = 5;
    code = cli_parse(&o, argc, argv);
    if (code >= 0) return code;
    if (o.quick) o.steps = 1600, o.seeds = 2;
    if (o.seeds > STUDY_SEEDS) o.seeds = STUDY_SEEDS;
    if (bp_file_make_directory(o.out, &error) != BP_OK) {
        fprintf(stderr, "rate_return: %s\n", error.text);
        return 1;
    }

    for (s = 0; s < o.seeds; s++)
        for (k = 0; k < ALPHAS; k++, n++) {
            snprintf(jobs[n].name, sizeof jobs[n].name, "alpha-%g-%llu", alphas[k], (unsigned long long)(o.seed + s));
            jobs[n].config = push_settings(&o, &world, &push_kinds[KIND], alphas[k], o.steps, o.seed + s);
        }
    f = paper_settings(&o);
    if (f == NULL) return 1;
    fprintf(f, "alpha =");
    for (k = 0; k < ALPHAS; k++) fprintf(f, " %g", alphas[k]);
    fprintf(f, "\nprior sees = %s\n", push_kinds[KIND].title);
    push_write_settings(f, "", &world, &jobs[0].config);
    fprintf(f, "judged by = %d episodes of the sampled policy after training\n", PUSH_EPISODES);
    fprintf(f, "tuned on = " PUSH_TUNED "\n");
    fclose(f);
    code = study_train(jobs, n, &o);
    if (code) return code;

    for (s = 0, n = 0; s < o.seeds; s++)
        for (k = 0; k < ALPHAS; k++, n++) {
            price_result *q = &result[k];
            paper_curve_data curve, kl;
            push_judgement j;
            if (!paper_curve(&curve, o.out, jobs[n].name, "eval_return_mean") ||
                !paper_curve(&kl, o.out, jobs[n].name, "prior_loss") ||
                !push_judge(&j, o.out, jobs[n].name, &push_kinds[KIND], "", &world, PUSH_EPISODES, &error)) {
                fprintf(stderr, "rate_return: cannot read what %s has left\n", jobs[n].name);
                return 1;
            }
            q->area[s] = paper_area(&curve), q->replayed[s] = paper_tail(&kl, (kl.n + 3) / 4); /* E17 in replay */
            q->end[s] = j.sampled, q->nats[s] = j.nats, q->alone[s] = j.alone;
        }
    return write_tables(&o, result, o.seeds) && draw(&o, o.seeds) ? 0 : 1;
}
