/* information.c - which information should a prior have? Experiment (b): going and pushing, seven priors.
 *
 * WHAT YOU SEE  In a room with one puck and two targets the goal is one of four: be at a target, or have the puck at one
 *   (push_world.h; 1 for each goal achieved, else nothing, and the places differ in each episode). One policy, which sees
 *   everything, learns all goals; what it is pulled toward (E14) comes in seven kinds:
 *
 *       no prior            plain SVG(0)/Retrace
 *       isotropic           N(0, 1) in every state: entropy regularisation
 *       body                a learned prior that sees the body's own place and velocity
 *       body + puck         ... and where the puck is
 *       body + targets      ... and where the targets are
 *       all but the goal    ... and both: all that the four tasks share
 *       everything          a prior that sees what the policy sees, the goal included
 *
 *   Same alpha, seeds and settings for all. The talk's question: does it matter what is hidden from the prior?
 *
 * LEFT   learning curves, mean over the seeds.     RIGHT  the mean while learning (area under the curve / width), each seed
 *        a dot, their mean a bar.
 *
 * FILES  KIND-SEED/                  one run each
 *        curves.csv                  steps; mean and standard deviation of the return per kind
 *        table.csv runs.csv          what the table on stdout shows; the same for each run
 *        information.png settings.txt
 *
 * The priors learned here are what transfer.c carries to new tasks: transfer --from DIR.
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "../cli.h"
#include "paper.h"
#include "study.h"
#include "push_world.h"
#include "push_study.h"

/* The numbers of all runs of one kind. */
typedef struct kind_result {
    double area[STUDY_SEEDS], end[STUDY_SEEDS], pushed[STUDY_SEEDS], nats[STUDY_SEEDS], alone[STUDY_SEEDS], mode[STUDY_SEEDS];
    paper_curve_data curve[STUDY_SEEDS];
} kind_result;

static bool write_curves(const char *out, const kind_result *r, size_t seeds) {
    FILE *f = paper_file(out, "curves.csv");
    double x[STUDY_SEEDS];
    size_t i, k, s;
    if (f == NULL) return false;
    fprintf(f, "env_steps");
    for (k = 0; k < PUSH_KINDS; k++) fprintf(f, ",%s_mean,%s_std", push_kinds[k].name, push_kinds[k].name);
    for (i = 0; i < r[0].curve[0].n; i++) {
        fprintf(f, "\n%g", r[0].curve[0].steps[i]);
        for (k = 0; k < PUSH_KINDS; k++) {
            for (s = 0; s < seeds; s++) x[s] = i < r[k].curve[s].n ? r[k].curve[s].value[i] : (double)NAN;
            fprintf(f, ",%.4g,%.4g", paper_mean(x, seeds), paper_spread(x, seeds));
        }
    }
    fprintf(f, "\n");
    return fclose(f) == 0;
}

static bool write_tables(const cli_options *o, const kind_result *r, size_t seeds) {
    FILE *runs = paper_file(o->out, "runs.csv"), *table = paper_file(o->out, "table.csv");
    char text[5][40];
    size_t k, s;
    int c;
    if (runs == NULL || table == NULL) return false;
    fprintf(runs, "kind,number,seed,area,final_return,for_the_puck,final_return_of_the_mode,nats_per_step,prior_alone\n");
    fprintf(table, "kind,area_mean,area_std,final_mean,final_std,for_the_puck_mean,for_the_puck_std,nats_mean,nats_std,"
                   "prior_alone_mean,prior_alone_std\n");
    printf("\n%-18s %14s %15s %15s %15s %15s\n", "the prior sees", "while learning", "at the end", "for the puck", "nats per step",
           "prior alone");
    for (k = 0; k < PUSH_KINDS; k++) {
        const kind_result *q = &r[k];
        for (s = 0; s < seeds; s++)
            fprintf(runs, "%s,%lu,%llu,%.4g,%.4g,%.4g,%.4g,%.4g,%.4g\n", push_kinds[k].name, (unsigned long)k,
                    (unsigned long long)(o->seed + s), q->area[s], q->end[s], q->pushed[s], q->mode[s], q->nats[s], q->alone[s]);
        fprintf(table, "%s", push_kinds[k].name);
        for (c = 0; c < 5; c++) {
            const double *x = c == 0 ? q->area : c == 1 ? q->end
                                             : c == 2   ? q->pushed
                                             : c == 3   ? q->nats
                                                        : q->alone;
            fprintf(table, ",%.4g,%.4g", paper_mean(x, seeds), paper_spread(x, seeds));
            push_pm(text[c], x, seeds);
        }
        fprintf(table, "\n");
        printf("%-18s %15s %16s %16s %16s %16s\n", push_kinds[k].title, text[0], text[1], text[2], text[3], text[4]);
    }
    return fclose(runs) == 0 && fclose(table) == 0;
}

static bool draw(const cli_options *o, size_t seeds) {
    FILE *f = paper_file(o->out, "information.gp");
    char title[80], run[40];
    if (f == NULL) return false;
    snprintf(title, sizeof title, "learning curves, mean and standard deviation of %lu seeds", (unsigned long)seeds);
    snprintf(run, sizeof run, "$3-%llu", (unsigned long long)o->seed);
    push_plot_head(f, "information");
    push_plot_curves(f, title);
    push_plot_kinds(f, "mean while learning, each seed", "mean return per episode", 2, 4, run, seeds);
    if (fclose(f) != 0) return false;
    paper_plot(o->out, "information");
    return true;
}

int main(int argc, char **argv) {
    static study_job jobs[PUSH_KINDS * STUDY_SEEDS];
    static kind_result result[PUSH_KINDS];
    cli_options o = cli_defaults("information",
                                 "One policy learns to go to two targets and to push a puck there, pulled toward each of seven\n"
                                 "priors that differ in what they see. Ends with a table of the return while learning, the\n"
                                 "return at the end and the nats per step that the policy pays, and with a plot.\n"
                                 "--steps is for each run; --threads says how many runs at a time.",
                                 48000);
    push_config world = push_config_default();
    bp_error error;
    double hand, noise;
    FILE *f;
    size_t k, s, n = 0;
    int code;
    o.seeds = 5;
    code = cli_parse(&o, argc, argv);
    if (code >= 0) return code;
    if (o.quick) o.steps = 1600, o.seeds = 2;
    if (o.seeds > STUDY_SEEDS) o.seeds = STUDY_SEEDS;
    if (bp_file_make_directory(o.out, &error) != BP_OK || !push_yardstick(&hand, &noise, &world, 200, &error)) {
        fprintf(stderr, "information: %s\n", error.text);
        return 1;
    }

    for (s = 0; s < o.seeds; s++) /* seed by seed: whoever stops early has all kinds */
        for (k = 0; k < PUSH_KINDS; k++, n++) {
            snprintf(jobs[n].name, sizeof jobs[n].name, "%s-%llu", push_kinds[k].name, (unsigned long long)(o.seed + s));
            jobs[n].config = push_settings(&o, &world, &push_kinds[k], PUSH_ALPHA, o.steps, o.seed + s);
        }
    f = paper_settings(&o);
    if (f == NULL) return 1;
    fprintf(f, "alpha = %g\n", PUSH_ALPHA);
    push_write_settings(f, "", &world, &jobs[0].config);
    fprintf(f, "judged by = %d episodes of the sampled policy after training\n", PUSH_EPISODES);
    fprintf(f, "return of the player by hand = %.2f\nreturn of noise = %.2f\n", hand, noise);
    fprintf(f, "tuned on = " PUSH_TUNED "; alpha: 0.003, 0.01 and 0.03 tried with all but the goal, 0.01 and 0.03 with body\n");
    fclose(f);
    code = study_train(jobs, n, &o);
    if (code) return code;

    for (s = 0, n = 0; s < o.seeds; s++)
        for (k = 0; k < PUSH_KINDS; k++, n++) {
            kind_result *q = &result[k];
            push_judgement j;
            if (!paper_curve(&q->curve[s], o.out, jobs[n].name, "eval_return_mean") ||
                !push_judge(&j, o.out, jobs[n].name, &push_kinds[k], "", &world, PUSH_EPISODES, &error)) {
                fprintf(stderr, "information: cannot read what %s has left\n", jobs[n].name);
                return 1;
            }
            q->area[s] = paper_area(&q->curve[s]);
            q->end[s] = j.sampled, q->pushed[s] = j.pushed, q->mode[s] = j.mode, q->nats[s] = j.nats, q->alone[s] = j.alone;
        }
    if (!write_curves(o.out, result, o.seeds) || !write_tables(&o, result, o.seeds) || !draw(&o, o.seeds)) return 1;
    printf("%-18s %.2f; noise %.2f\n", "player by hand", hand, noise);
    return 0;
}
