/* transfer.c - what is a prior worth on a new task, and does it depend on what it sees? Experiment (e).
 *
 * WHAT YOU SEE  The priors that `information` learned on its four tasks (be at a target; have the puck at one) are frozen and
 *   carried to new and harder tasks in the same room: the puck at one target *and* the body at the other, at the same time.
 *   A new policy starts from nothing, pulled toward the frozen prior (E14), next to one without a prior and one with N(0, 1).
 *   As in the talk, each kind is run 2 x 5 times: the priors of two seeds, five seeds of the new policy each; all kinds use
 *   the same ten seeds.
 *
 *   A goal is one bit per wish, so the prior that sees everything sees familiar bits, two at a time where it knew one.
 *
 * LEFT   learning curves, mean and standard deviation of the ten.
 * RIGHT  the mean while learning divided by that without a prior, each run a dot, their mean a bar.
 *
 * FILES  source/KIND-SEED/           the priors, when there is no --from DIR
 *        KIND-pP-SEED/               one run each: prior number P, seed SEED
 *        curves.csv table.csv runs.csv transfer.png settings.txt
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "../cli.h"
#include "paper.h"
#include "study.h"
#include "push_world.h"
#include "push_study.h"

#define PRIORS 2   /* seeds of the priors */
#define ALPHA 0.01 /* reward per nat */

/* The new tasks: the same room, other goals. */
static push_config new_tasks(void) {
    push_config c = push_config_default();
    c.goals = PUSH_BOTH;
    return c;
}

/* The numbers of all runs of one kind. */
typedef struct kind_result {
    double area[STUDY_SEEDS], end[STUDY_SEEDS], nats[STUDY_SEEDS], alone[STUDY_SEEDS];
    paper_curve_data curve[STUDY_SEEDS];
} kind_result;

static bool write_tables(const cli_options *o, const kind_result *r, size_t n) {
    FILE *runs = paper_file(o->out, "runs.csv"), *table = paper_file(o->out, "table.csv"), *curves = paper_file(o->out, "curves.csv");
    const double none = paper_mean(r[0].area, n), none_end = paper_mean(r[0].end, n);
    double x[STUDY_SEEDS];
    char a[40], b[40], c[40], d[40];
    size_t i, k, s;
    if (runs == NULL || table == NULL || curves == NULL) return false;
    fprintf(runs, "kind,number,prior,seed,area,final_return,nats_per_step,prior_alone,area_ratio\n");
    fprintf(table, "kind,area_mean,area_std,final_mean,final_std,area_ratio,area_ratio_std,final_ratio,nats_mean,prior_alone_mean\n");
    printf("\n%-18s %14s %15s %15s %18s %11s\n", "the prior sees", "while learning", "ratio to none", "at the end", "nats per step",
           "prior alone");
    for (k = 0; k < PUSH_KINDS; k++) {
        const kind_result *q = &r[k];
        for (s = 0; s < n; s++) {
            x[s] = q->area[s] / none;
            fprintf(runs, "%s,%lu,%lu,%lu,%.4g,%.4g,%.4g,%.4g,%.4g\n", push_kinds[k].name, (unsigned long)k,
                    (unsigned long)(s / o->seeds + 1), (unsigned long)(s % o->seeds + 1), q->area[s], q->end[s], q->nats[s], q->alone[s],
                    x[s]);
        }
        fprintf(table, "%s,%.4g,%.4g,%.4g,%.4g,%.4g,%.4g,%.4g,%.4g,%.4g\n", push_kinds[k].name, paper_mean(q->area, n),
                paper_spread(q->area, n), paper_mean(q->end, n), paper_spread(q->end, n), paper_mean(x, n), paper_spread(x, n),
                paper_mean(q->end, n) / none_end, paper_mean(q->nats, n), paper_mean(q->alone, n));
        printf("%-18s %15s %16s %16s %16s %11.2f\n", push_kinds[k].title, push_pm(a, q->area, n), push_pm(b, x, n),
               push_pm(c, q->end, n), push_pm(d, q->nats, n), paper_mean(q->alone, n));
    }
    fprintf(curves, "env_steps");
    for (k = 0; k < PUSH_KINDS; k++) fprintf(curves, ",%s_mean,%s_std", push_kinds[k].name, push_kinds[k].name);
    for (i = 0; i < r[0].curve[0].n; i++) {
        fprintf(curves, "\n%g", r[0].curve[0].steps[i]);
        for (k = 0; k < PUSH_KINDS; k++) {
            for (s = 0; s < n; s++) x[s] = i < r[k].curve[s].n ? r[k].curve[s].value[i] : (double)NAN;
            fprintf(curves, ",%.4g,%.4g", paper_mean(x, n), paper_spread(x, n));
        }
    }
    fprintf(curves, "\n");
    return fclose(runs) == 0 && fclose(table) == 0 && fclose(curves) == 0;
}

static bool draw(const cli_options *o) {
    FILE *f = paper_file(o->out, "transfer.gp");
    char run[60], title[80];
    if (f == NULL) return false;
    snprintf(run, sizeof run, "($3-1)*%llu+$4-1", (unsigned long long)o->seeds);
    snprintf(title, sizeof title, "new task, mean and standard deviation of %d x %llu runs", PRIORS, (unsigned long long)o->seeds);
    push_plot_head(f, "transfer");
    push_plot_curves(f, title);
    push_plot_kinds(f, "mean while learning / that without a prior", "ratio", 6, 9, run, PRIORS * o->seeds);
    if (fclose(f) != 0) return false;
    paper_plot(o->out, "transfer");
    return true;
}

int main(int argc, char **argv) {
    static study_job sources[PUSH_KINDS * PRIORS], jobs[PUSH_KINDS * STUDY_SEEDS];
    static kind_result result[PUSH_KINDS];
    cli_options o = cli_defaults("transfer",
                                 "Carries the frozen priors of `information` to new tasks (the puck at one target and the body at\n"
                                 "the other), 2 priors x 5 seeds per kind, against no prior. Ends with a table of ratios and\n"
                                 "a plot. --from takes the --out directory of `information`; without it the priors are made\n"
                                 "here first. --steps is for each new run; --threads says how many runs at a time.",
                                 12000);
    cli_options source_options;
    push_config old_world = push_config_default(), new_world = new_tasks();
    bp_error error;
    char from[600];
    double hand, noise;
    uint64_t source_steps = PUSH_STEPS;
    FILE *f;
    size_t k, p, s, n = 0, m = 0;
    int code;
    o.seeds = 5;
    o.from = "";
    code = cli_parse(&o, argc, argv);
    if (code >= 0) return code;
    if (o.quick) o.steps = source_steps = 1600, o.seeds = 1;
    if (o.seeds > STUDY_SEEDS / PRIORS) o.seeds = STUDY_SEEDS / PRIORS;
    if (bp_file_make_directory(o.out, &error) != BP_OK || !push_yardstick(&hand, &noise, &new_world, 200, &error)) {
        fprintf(stderr, "transfer: %s\n", error.text);
        return 1;
    }
    snprintf(from, sizeof from, "%s%s", *o.from ? o.from : o.out, *o.from ? "" : "/source");

    /* the priors: kind k, seed o.seed + p */
    for (p = 0; p < PRIORS; p++)
        for (k = PUSH_FIRST_LEARNED; k < PUSH_KINDS; k++, m++) {
            snprintf(sources[m].name, sizeof sources[m].name, "%s-%llu", push_kinds[k].name, (unsigned long long)(o.seed + p));
            sources[m].config = push_settings(&o, &old_world, &push_kinds[k], PUSH_ALPHA, source_steps, o.seed + p);
            if (*o.from) sources[m].config.env_steps = study_done_steps(&sources[m], from); /* as long as they were trained there */
            if (sources[m].config.env_steps == 0) {
                fprintf(stderr, "transfer: there is no complete run %s in %s\n", sources[m].name, from);
                return 1;
            }
        }
    for (p = 0; p < PRIORS; p++)
        for (s = 0; s < o.seeds; s++)
            for (k = 0; k < PUSH_KINDS; k++, n++) {
                snprintf(jobs[n].name, sizeof jobs[n].name, "%s-p%lu-%lu", push_kinds[k].name, (unsigned long)(p + 1),
                         (unsigned long)(s + 1));
                jobs[n].config = push_settings(&o, &new_world, &push_kinds[k], ALPHA, o.steps, bp_seed_mix(o.seed, 2, p * o.seeds + s));
                if (k < PUSH_FIRST_LEARNED) continue;
                jobs[n].config.learner.prior_kind = BP_PRIOR_FIXED;
                snprintf(jobs[n].prior, sizeof jobs[n].prior, "%s/%s-%llu/prior.safetensors", from, push_kinds[k].name,
                         (unsigned long long)(o.seed + p));
            }
    f = paper_settings(&o);
    if (f == NULL) return 1;
    fprintf(f, "priors = %s\n", *o.from ? "from the runs of `information`" : "made here, in source/");
    fprintf(f, "seeds of the priors = %llu to %llu\n", (unsigned long long)o.seed, (unsigned long long)(o.seed + PRIORS - 1));
    fprintf(f, "alpha = %g\nsource.alpha = %g\n", ALPHA, PUSH_ALPHA);
    push_write_settings(f, "source.", &old_world, &sources[0].config);
    push_write_settings(f, "", &new_world, &jobs[0].config);
    fprintf(f, "judged by = %d episodes of the sampled policy after training\n", PUSH_EPISODES);
    fprintf(f, "return of the player by hand = %.2f\nreturn of noise = %.2f\n", hand, noise);
    fprintf(f, "tuned on = " PUSH_TUNED "; alpha: 0.01 and 0.03 tried with the prior of all but the goal\n");
    fclose(f);
    source_options = o;
    source_options.out = from;
    code = *o.from ? 0 : study_train(sources, m, &source_options);
    if (code == 0) code = study_train(jobs, n, &o);
    if (code) return code;

    for (p = 0, n = 0; p < PRIORS * o.seeds; p++)
        for (k = 0; k < PUSH_KINDS; k++, n++) {
            kind_result *q = &result[k];
            push_judgement j;
            if (!paper_curve(&q->curve[p], o.out, jobs[n].name, "eval_return_mean") ||
                !push_judge(&j, o.out, jobs[n].name, &push_kinds[k], jobs[n].prior, &new_world, PUSH_EPISODES, &error)) {
                fprintf(stderr, "transfer: cannot read what %s has left\n", jobs[n].name);
                return 1;
            }
            q->area[p] = paper_area(&q->curve[p]);
            q->end[p] = j.sampled, q->nats[p] = j.nats, q->alone[p] = j.alone;
        }
    if (!write_tables(&o, result, PRIORS * o.seeds) || !draw(&o)) return 1;
    printf("%-18s %.2f; noise %.2f\n", "player by hand", hand, noise);
    return 0;
}
