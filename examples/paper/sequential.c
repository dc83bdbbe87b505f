/* sequential.c - a prior that remembers: sequential navigation under a second-order Markov law.
 *
 * WHAT YOU SEE  The point mass must touch four targets in an order that it is told one target at a time. The order has a law:
 *   given the last two targets, the next one is nearly known (.9 and .1); given the last one alone it is uniform. Two layouts
 *   of the targets, a square and a diamond, one law. The policy sees everything, "next" included. Its prior sees
 *   position, velocity and where the targets are, but not which is next.
 *
 *   1. Learning curves without a prior, with an MLP prior and with an LSTM prior, learned together with the policy (E22, E35).
 *   2. Under the hood: the prior plays by itself. Which target does it go to, given the last two it has touched? An LSTM could have
 *      learned the law. An MLP sees no past; but a body that comes from somewhere still moves away from there, so a
 *      prior that sees the velocity is not quite without memory when it arrives.
 *   3. Transfer: targets half as wide, in a layout between the two, the same law. A new policy starts from nothing, without a
 *      prior or with one of stage 1's, frozen: two seeds for each of those.
 *
 * BUILD  make examples && build/examples/paper/sequential    (needs MuJoCo)
 * FILES  none-1/ mlp-1/ lstm-1/ ... new-none-1-1/ ...   one run each: progress.csv, settings, checkpoint, policy, prior
 *        curves.csv transfer.csv    what the learning curves show: mean and standard deviation over runs
 *        visits.csv                 touches of the priors alone, for each (last but one, last, next)
 *        runs.csv                   one row for each run of stage 1, transfer_runs.csv of stage 3
 *        trails.csv                 where the two priors of the first seed go
 *        sequential.png visits.png transfer.png
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"
#include "../cli.h"
#include "paper.h"
#include "runs.h"

enum { NONE,
       MLP,
       LSTM,
       KINDS };
static const char *const kind_name[KINDS] = {"none", "mlp", "lstm"};
static const char *const colour[4] = {"blue", "green", "black", "red"};

enum { K = 4,          /* targets */
       AGAIN = 2,      /* runs of stage 3 for each one of stage 1 */
       MAX_SEEDS = 50, /* of --seeds */
       TRAIL = 150 };  /* steps of the trails drawn */

typedef struct experiment {
    cli_options options;
    uint64_t new_steps;    /* of each run of stage 3 */
    size_t rollouts;       /* episodes that each prior plays by itself, of 500 steps */
    bp_mj_task old, fresh; /* the two tasks */
    bp_mj_world *old_world, *new_world, *long_world;
} experiment;

/* ---- training ----------------------------------------------------------------------------------------------------- */

static bp_run_config settings(const experiment *e, int kind, bool old) {
    bp_run_config c = bp_run_config_default();
    bp_rs0_config *l = &c.learner;
    c.envs = bp_mj_maker(old ? e->old_world : e->new_world);
    c.env_steps = old ? e->options.steps : e->new_steps;
    c.actors = 4;
    c.replay_capacity = 4000;
    c.min_sequences = 40;
    c.samples_per_insert = 64;
    c.evaluate_every = c.log_every = old ? 2000 : 1000;
    c.evaluation_episodes = 20;
    c.checkpoint_every = 0;
    if (e->options.quick) c.samples_per_insert = 8, c.evaluation_episodes = 2, c.evaluate_every = c.log_every = 500;
    l->batch = 16;
    l->length = 25; /* half an episode: four or five targets, so that the LSTM's gradient sees what it has to remember */
    l->samples = 4;
    l->discount = 0.95;
    l->target_period = 50;
    l->policy_adam.lr = l->critic_adam.lr = l->prior_adam.lr = 1e-3;
    l->entropy_cost = bp_schedule_constant(0.0);
    l->alpha = bp_schedule_constant(old ? 0.01 : 0.003);
    l->prior_kind = kind == NONE ? BP_PRIOR_NONE : old ? BP_PRIOR_LEARNED
                                                       : BP_PRIOR_FIXED;
    l->prior.n_fields = 3; /* x^D: not "next" */
    l->prior.fields[0] = "position";
    l->prior.fields[1] = "velocity";
    l->prior.fields[2] = "targets";
    if (kind == LSTM) l->prior.hidden_layers = 1, l->prior.lstm = 64; /* in place of the second layer of 64 */
    return c;
}

static void say(const bp_error *error) { fprintf(stderr, "sequential: %s\n", error->text); }

/* Train one run to its end, with a frozen prior from a file if there is one. Exit code 0, 1 (error, told) or 130. */
static int train(const bp_run_config *config, const char *prior, const cli_options *o, const char *name) {
    bp_run *run = NULL;
    bp_error error;
    bp_status status = bp_run_create(&run, config, NULL, &error);
    if (status == BP_OK && prior && !run->resumed) status = bp_rs0_load_prior(run->learner, prior, NULL, &error);
    if (status == BP_OK) status = bp_run_train(run, &error);
    cli_profile(o, name, run);
    bp_run_destroy(run);
    if (status == BP_INTERRUPTED) return 130;
    if (status != BP_OK) say(&error);
    return status == BP_OK ? 0 : 1;
}

/* ---- under the hood: a saved policy or prior plays by itself ------------------------------------------------------ */

typedef struct visits {
    double steps, count[K][K][K]; /* touches of `next` after `last but one` and `last` */
} visits;

/* Does the way from a to b (straight) come within r of c? */
static bool touches(const double a[2], const double b[2], const double *c, double r) {
    const double dx = b[0] - a[0], dy = b[1] - a[1], length = dx * dx + dy * dy;
    double t = length > 0 ? ((c[0] - a[0]) * dx + (c[1] - a[1]) * dy) / length : 0.0, x, y;
    t = t < 0 ? 0 : t > 1 ? 1
                          : t;
    x = a[0] + t * dx - c[0], y = a[1] + t * dy - c[1];
    return x * x + y * y <= r * r;
}

/* Long episodes. A touch counts when it is of another target than the one before: the goal plays no part in it.
 * trail: where to write the first steps of the first episode, or NULL. */
static bool wander(visits *out, const experiment *e, const char *file, FILE *trail, const char *name) {
    bp_env env;
    bp_agent *agent = NULL;
    bp_rng rng = bp_rng_make(e->options.seed, 77);
    bp_error error;
    bp_real observation[64], action[2];
    size_t episode, step, k;
    memset(out, 0, sizeof *out);
    if (bp_agent_load(&agent, file, NULL, &error) != BP_OK || bp_mj_env_make(e->long_world, &env, &error) != BP_OK) {
        say(&error);
        bp_agent_destroy(agent);
        return false;
    }
    for (episode = 0; episode < e->rollouts; episode++) {
        size_t last = K, before = K; /* K: none yet */
        double target[3 * K], a[2], b[2];
        bp_step result = {0, 1, false};
        env.reset(env.self, bp_seed_mix(99, 0, episode), observation);
        bp_agent_reset(agent); /* forget the episode before */
        bp_mj_env_targets(&env, target, K);
        for (step = 0; !result.last; step++) {
            for (k = 0; k < 2; k++) a[k] = 0.29 * (double)observation[k]; /* "position" comes first, in half rooms */
            if (trail && episode == 0 && step < TRAIL)
                fprintf(trail, "%s,%u,%.4f,%.4f\n", name, (unsigned)step, a[0], a[1]);
            if (bp_agent_sample(agent, action, NULL, observation, &rng) != BP_OK ||
                env.step(env.self, action, observation, &result) != BP_OK) break;
            for (k = 0; k < 2; k++) b[k] = 0.29 * (double)observation[k];
            for (k = 0; k < K; k++) {
                if (k == last || !touches(a, b, target + 3 * k, e->old.hit_radius)) continue;
                if (before < K) out->count[before][last][k] += 1;
                before = last, last = k;
            }
            out->steps += 1;
        }
    }
    env.close(env.self);
    bp_agent_destroy(agent);
    return true;
}

/* Shares of the common successor, the rare one, and back to where it came from (which the law forbids); pooled. */
static void shares(double out[3], double *total, const visits *v, const bp_mj_sequence *task) {
    size_t p, c, n;
    out[0] = out[1] = out[2] = *total = 0.0;
    for (p = 0; p < K; p++)
        for (c = 0; c < K; c++)
            for (n = 0; n < K; n++) {
                double law[K];
                if (p == c || n == c) continue;
                bp_mj_sequence_law(law, task, K, p, c);
                out[n == p ? 2 : law[n] > 0.5 ? 0
                                              : 1] += v->count[p][c][n];
                *total += v->count[p][c][n];
            }
    for (n = 0; n < 3; n++) out[n] = *total > 0 ? out[n] / *total : 0.0;
}

/* ---- jobs --------------------------------------------------------------------------------------------------------- */

static void old_name(char *out, size_t i) { snprintf(out, 64, "%s-%u", kind_name[i % KINDS], (unsigned)(i / KINDS) + 1); }
static void new_name(char *out, size_t i) {
    snprintf(out, 64, "new-%s-%u-%u", kind_name[i % KINDS], (unsigned)(i / KINDS / AGAIN) + 1, (unsigned)(i / KINDS % AGAIN) + 1);
}

/* Stage 1, run i: kind i % KINDS, seed i / KINDS. */
static int old_job(void *ctx, size_t i) {
    const experiment *e = (const experiment *)ctx;
    bp_run_config config = settings(e, (int)(i % KINDS), true);
    char name[64], place[1024];
    int code;
    old_name(name, i);
    if (paper_done(&e->options, name, e->options.steps)) return 0;
    paper_attach(&e->options, &config, place, name, e->options.seed + i / KINDS);
    code = train(&config, NULL, &e->options, name);
    if (code == 0) paper_mark_done(&e->options, name, e->options.steps);
    return code;
}

/* Stage 3: the prior of run i / AGAIN of stage 1; the same seeds for the three kinds. */
static int new_job(void *ctx, size_t i) {
    const experiment *e = (const experiment *)ctx;
    const int kind = (int)(i % KINDS);
    const size_t nth = i / KINDS;
    bp_run_config config = settings(e, kind, false);
    char name[64], place[1024], from[64], prior[1200];
    int code;
    new_name(name, i);
    old_name(from, nth / AGAIN * KINDS + (size_t)kind);
    snprintf(prior, sizeof prior, "%s/%s/prior.safetensors", e->options.out, from);
    if (paper_done(&e->options, name, e->new_steps)) return 0;
    paper_attach(&e->options, &config, place, name, bp_seed_mix(e->options.seed + nth / AGAIN, 2, nth % AGAIN));
    code = train(&config, kind == NONE ? NULL : prior, &e->options, name);
    if (code == 0) paper_mark_done(&e->options, name, e->new_steps);
    return code;
}

/* ---- tables and pictures ------------------------------------------------------------------------------------------ */

/* CSV of a stage's learning curves: steps, then mean and standard deviation over the `runs` runs of each kind. area and
 * last [KINDS][runs]: mean over the curve, and over its last three points. */
static bool write_curves(const experiment *e, const char *csv, void (*name_of)(char *, size_t), size_t runs, double *area, double *last) {
    static paper_curve_data curve[KINDS][AGAIN * MAX_SEEDS];
    FILE *file;
    size_t i, k, n = PAPER_POINTS;
    for (i = 0; i < KINDS * runs; i++) {
        paper_curve_data *c = &curve[i % KINDS][i / KINDS];
        char name[64];
        name_of(name, i);
        if (!paper_curve(c, e->options.out, name, "eval_return_mean")) return false;
        if (c->n < n) n = c->n;
        area[i % KINDS * runs + i / KINDS] = paper_area(c);
        last[i % KINDS * runs + i / KINDS] = paper_tail(c, 3);
    }
    file = paper_file(e->options.out, csv);
    if (file == NULL) return false;
    fprintf(file, "env_steps");
    for (k = 0; k < KINDS; k++) fprintf(file, ",%s_mean,%s_std", kind_name[k], kind_name[k]);
    fprintf(file, "\n");
    for (i = 0; i < n; i++) {
        double value[AGAIN * MAX_SEEDS];
        size_t r;
        fprintf(file, "%g", curve[0][0].steps[i]);
        for (k = 0; k < KINDS; k++) {
            for (r = 0; r < runs; r++) value[r] = curve[k][r].value[i];
            fprintf(file, ",%.4f,%.4f", paper_mean(value, runs), paper_spread(value, runs));
        }
        fprintf(file, "\n");
    }
    return fclose(file) == 0;
}

/* Learning curves of a CSV file of write_curves(), in gnuplot. */
static void plot_curves(FILE *file, const char *csv, const char *title) {
    static const char *const ink[KINDS] = {"#dd5511", "#888888", "#0060ad"};
    static const char *const label[KINDS] = {"no prior", "MLP prior", "LSTM prior"};
    int k;
    fprintf(file,
            "set xlabel 'environment steps, thousands'\nset ylabel 'targets reached per episode'\n"
            "set yrange [0:*]\nset xrange [0:*]\nset grid\nset style fill transparent solid 0.2 noborder\nset title \"%s\"\nplot ",
            title);
    for (k = 0; k < KINDS; k++)
        fprintf(file, "'%s' every ::1 using ($1/1000):($%d-$%d):($%d+$%d) with filledcurves lc rgb '%s' notitle, ", csv,
                2 * k + 2, 2 * k + 3,
                2 * k + 2, 2 * k + 3, ink[k]);
    for (k = 0; k < KINDS; k++)
        fprintf(file, "'%s' every ::1 using ($1/1000):%d with lines lw 3 lc rgb '%s' title '%s'%s", csv, 2 * k + 2, ink[k], label[k],
                k + 1 < KINDS ? ", " : "\n");
}

/* Stage 2 and the table of stage 1. */
static bool under_the_hood(const experiment *e, const double *area, const double *last) {
    static visits seen[KINDS][MAX_SEEDS]; /* NONE: the policy of the run without prior, which is told the goal: does counting work? */
    const size_t seeds = (size_t)e->options.seeds;
    const bp_mj_sequence *task = &e->old.sequence[0];
    FILE *runs = paper_file(e->options.out, "runs.csv"), *table = paper_file(e->options.out, "visits.csv");
    FILE *trail = paper_file(e->options.out, "trails.csv"), *bars = paper_file(e->options.out, "shares.csv");
    double share[KINDS][3][MAX_SEEDS], touched[KINDS][MAX_SEEDS], total;
    size_t i, p, c, n;
    int k;
    if (!runs || !table || !trail || !bars) return false;
    fprintf(runs, "kind,seed,hits_area,hits_end,who_plays_alone,common,rare,back,counted,touches_per_50_steps\n");
    fprintf(table, "who,seed,last_but_one,last,next,count,share,law\n");
    fprintf(trail, "who,step,x,y\n");
    for (i = 0; i < KINDS * seeds; i++) {
        char name[64], path[1200];
        double s[3];
        const size_t seed = i / KINDS;
        visits *v = &seen[i % KINDS][seed];
        k = (int)(i % KINDS);
        old_name(name, i);
        snprintf(path, sizeof path, "%s/%s/%s.safetensors", e->options.out, name, k == NONE ? "policy" : "prior");
        if (!wander(v, e, path, seed == 0 ? trail : NULL, kind_name[k])) return false;
        shares(s, &total, v, task);
        for (n = 0; n < 3; n++) share[k][n][seed] = s[n];
        touched[k][seed] = 50.0 * total / v->steps;
        fprintf(runs, "%s,%u,%.4f,%.4f,%s,%.4f,%.4f,%.4f,%.0f,%.3f\n", kind_name[k], (unsigned)seed + 1,
                area[(size_t)k * seeds + seed], last[(size_t)k * seeds + seed], k == NONE ? "policy" : "prior", s[0], s[1], s[2],
                total, touched[k][seed]);
        for (p = 0; p < K; p++)
            for (c = 0; c < K; c++) {
                const char *who = k == NONE ? "policy" : kind_name[k];
                double law[K], sum = 0.0;
                if (p == c) continue;
                bp_mj_sequence_law(law, task, K, p, c);
                for (n = 0; n < K; n++) sum += v->count[p][c][n];
                for (n = 0; n < K; n++)
                    if (n != c)
                        fprintf(table, "%s,%u,%s,%s,%s,%.0f,%.4f,%.2f\n", who, (unsigned)seed + 1, colour[p],
                                colour[c], colour[n], v->count[p][c][n], sum > 0 ? v->count[p][c][n] / sum : 0.0, law[n]);
            }
    }
    /* for the bars: given (p, green), the share of each next target; mean and standard deviation over seeds */
    fprintf(bars, "last_but_one,next,law,lstm_mean,lstm_std,mlp_mean,mlp_std\n");
    for (p = 0; p < K; p++)
        for (n = 0; n < K; n++) {
            double law[K], value[MAX_SEEDS];
            if (p == 1 || n == 1) continue;
            bp_mj_sequence_law(law, task, K, p, 1);
            fprintf(bars, "%s,%s,%.2f", colour[p], colour[n], law[n]);
            for (k = LSTM; k >= MLP; k--) {
                for (i = 0; i < seeds; i++) {
                    const double *count = seen[k][i].count[p][1], sum = count[0] + count[1] + count[2] + count[3];
                    value[i] = sum > 0 ? count[n] / sum : 0.0;
                }
                fprintf(bars, ",%.4f,%.4f", paper_mean(value, seeds), paper_spread(value, seeds));
            }
            fprintf(bars, "\n");
        }
    printf("\n1. targets reached per episode      while learning       at the end\n");
    for (k = 0; k < KINDS; k++) {
        const double *a = area + (size_t)k * seeds, *b = last + (size_t)k * seeds;
        printf("   %-10s                      %5.2f +- %4.2f      %5.2f +- %4.2f\n", kind_name[k], paper_mean(a, seeds),
               paper_spread(a, seeds), paper_mean(b, seeds), paper_spread(b, seeds));
    }
    printf("\n2. alone, given the last two           common         rare           back     touches in 50 steps\n");
    printf("   the law                              .90            .10            .00\n");
    for (k = KINDS - 1; k >= 0; k--) {
        printf("   %-34s", k == NONE ? "a policy (it sees the goal)" : k == MLP ? "MLP prior"
                                                                                : "LSTM prior");
        for (n = 0; n < 3; n++) printf("%5.2f +- %4.2f  ", paper_mean(share[k][n], seeds), paper_spread(share[k][n], seeds));
        printf("%5.1f +- %3.1f\n", paper_mean(touched[k], seeds), paper_spread(touched[k], seeds));
    }
    return fclose(runs) == 0 && fclose(table) == 0 && fclose(trail) == 0 && fclose(bars) == 0;
}

static bool transfer_table(const experiment *e, const double *area, const double *last) {
    const size_t runs = AGAIN * (size_t)e->options.seeds;
    FILE *file = paper_file(e->options.out, "transfer_runs.csv");
    size_t i;
    int k;
    if (file == NULL) return false;
    fprintf(file, "kind,prior_seed,seed,hits_area,hits_end\n");
    printf("\n3. new task, frozen prior           while learning       at the end      more than without, same seeds\n");
    for (k = 0; k < KINDS; k++) {
        const double *a = area + (size_t)k * runs, *b = last + (size_t)k * runs;
        double gain[AGAIN * MAX_SEEDS];
        for (i = 0; i < runs; i++) {
            gain[i] = a[i] - area[i];
            fprintf(file, "%s,%u,%u,%.4f,%.4f\n", kind_name[k], (unsigned)(i / AGAIN) + 1, (unsigned)(i % AGAIN) + 1, a[i], b[i]);
        }
        printf("   %-10s                      %5.2f +- %4.2f      %5.2f +- %4.2f", kind_name[k], paper_mean(a, runs), paper_spread(a, runs),
               paper_mean(b, runs), paper_spread(b, runs));
        if (k != NONE) printf("      %5.2f +- %4.2f", paper_mean(gain, runs), paper_spread(gain, runs));
        printf("\n");
    }
    return fclose(file) == 0;
}

static void plot_priors(const experiment *e) {
    const char *const out = e->options.out;
    char title[160];
    FILE *file = paper_file(out, "sequential.gp");
    int k;
    if (file == NULL) return;
    fprintf(file, "set datafile separator ','\nset terminal pngcairo size 1500,520 font 'sans,12'\nset output 'sequential.png'\n"
                  "set multiplot layout 1,3\nset key bottom right reverse Left\n");
    snprintf(title, sizeof title, "learning with three priors (%u seeds)", (unsigned)e->options.seeds);
    plot_curves(file, "curves.csv", title);
    fprintf(file, "set size ratio 1\nset xrange [-0.31:0.31]\nset yrange [-0.31:0.31]\nunset key\nunset grid\n"
                  "set xtics 0.2\nset ytics 0.2\nunset xlabel\nunset ylabel\n"
                  "set object 1 rect from -0.29,-0.29 to 0.29,0.29 fs empty border rgb '#888888'\n");
    for (k = 0; k < K; k++) {
        const double angle = e->old.sequence[0].angle + 2 * 3.14159265358979 * k / K, r = e->old.sequence[0].radius;
        fprintf(file, "set object %d circle at %g,%g size %g fs transparent solid 0.35 border lw 2 fc rgb '%s'\n", k + 2, r * cos(angle),
                r * sin(angle), e->old.hit_radius, k == 1 ? "dark-green" : colour[k]);
    }
    for (k = MLP; k <= LSTM; k++)
        fprintf(file, "set title 'the %s prior alone: %d steps'\nplot 'trails.csv' every ::1 using (strcol(1) eq '%s' ? $3 : NaN):4 "
                      "with linespoints pt 7 ps 0.3 lw 1 lc rgb '#444444'\n",
                k == MLP ? "MLP" : "LSTM", TRAIL, kind_name[k]);
    fprintf(file, "unset multiplot\n");
    fclose(file);
    paper_plot(out, "sequential");

    file = paper_file(out, "visits.gp");
    if (file == NULL) return;
    fprintf(file, "set datafile separator ','\nset terminal pngcairo size 1200,420 font 'sans,12'\nset output 'visits.png'\n"
                  "set multiplot layout 1,3 title 'at green: which target is next?  priors alone, %u seeds'\n"
                  "set style data histograms\nset style histogram errorbars gap 1 lw 1\nset style fill solid 0.85 border -1\n"
                  "set yrange [0:1.4]\nset ytics 0,0.2,1\nset grid ytics\nset key top right samplen 1\nset xtics nomirror\n",
            (unsigned)e->options.seeds);
    for (k = 0; k < K - 1; k++)
        fprintf(file, "set title 'came from %s'\nplot 'shares.csv' every ::%d::%d using 3:(0):xtic(2) lc rgb '#bbbbbb' title 'law', "
                      "'' every ::%d::%d using 4:5 lc rgb '#0060ad' title 'LSTM', "
                      "'' every ::%d::%d using 6:7 lc rgb '#dd8833' title 'MLP'\n",
                colour[k == 0 ? 0 : k + 1], 3 * k + 1, 3 * k + 3, 3 * k + 1, 3 * k + 3, 3 * k + 1, 3 * k + 3);
    fprintf(file, "unset multiplot\n");
    fclose(file);
    paper_plot(out, "visits");
}

static void plot_transfer(const experiment *e) {
    const char *const out = e->options.out;
    char title[160];
    FILE *file = paper_file(out, "transfer.gp");
    if (file == NULL) return;
    fprintf(file, "set datafile separator ','\nset terminal pngcairo size 640,520 font 'sans,12'\nset output 'transfer.png'\n"
                  "set key top left reverse Left\n");
    snprintf(title, sizeof title, "a new task with frozen priors (%u runs each)", AGAIN * (unsigned)e->options.seeds);
    plot_curves(file, "transfer.csv", title);
    fclose(file);
    paper_plot(out, "transfer");
}

int main(int argc, char **argv) {
    static double area[KINDS * AGAIN * MAX_SEEDS], last[KINDS * AGAIN * MAX_SEEDS];
    experiment e;
    bp_mj_task longer;
    bp_error error;
    FILE *file;
    size_t seeds;
    int code;
    memset(&e, 0, sizeof e);
    e.options = cli_defaults("sequential",
                             "Sequential navigation under a second-order Markov law (MuJoCo point mass): learning without a\n"
                             "prior, with an MLP prior and with an LSTM prior; what the priors do by themselves; and what they\n"
                             "are worth, frozen, in a new task. --steps is for each run of the first stage; those in the new\n"
                             "task get a quarter.",
                             48000);
    e.options.seeds = 5;
    e.options.jobs = 2;
    e.options.threads = 1;
    code = cli_parse(&e.options, argc, argv);
    if (code >= 0) return code;
    if (e.options.seeds > MAX_SEEDS || strlen(e.options.out) > 800) {
        fprintf(stderr, "sequential: at most %d seeds, and a shorter --out\n", MAX_SEEDS);
        return 2;
    }
    if (e.options.quick) e.options.steps = 4000, e.options.seeds = 1;
    seeds = (size_t)e.options.seeds;
    e.new_steps = e.options.steps / 4;
    e.rollouts = e.options.quick ? 2 : 40;

    e.old = e.fresh = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    e.old.n_sequences = 2;
    e.old.sequence[1].angle = 0.0;                  /* task 0 is the square, at pi/4 */
    e.fresh.sequence[0].angle = 0.3926990816987241; /* pi/8 */
    e.fresh.hit_radius = 0.03;
    longer = e.old;
    longer.fixed_sequence = 0;
    longer.episode_steps = 500;
    if (bp_mj_init(&error) != BP_OK || bp_mj_world_create(&e.old_world, &e.old, NULL, &error) != BP_OK ||
        bp_mj_world_create(&e.new_world, &e.fresh, NULL, &error) != BP_OK ||
        bp_mj_world_create(&e.long_world, &longer, NULL, &error) != BP_OK || bp_file_make_directory(e.options.out, &error) != BP_OK) {
        say(&error);
        return 1;
    }
    file = paper_settings(&e.options);
    if (file == NULL) return 1;
    fprintf(file, "steps in the new task = %llu\nepisodes of 500 steps of each prior alone = %u\n", (unsigned long long)e.new_steps,
            (unsigned)e.rollouts);
    fprintf(file, "all other settings = settings.txt of each run\n");
    fclose(file);

    code = paper_runs(KINDS * seeds, e.options.jobs, old_job, &e);
    if (code == 0) code = write_curves(&e, "curves.csv", old_name, seeds, area, last) && under_the_hood(&e, area, last) ? 0 : 1;
    if (code == 0) plot_priors(&e);
    if (code == 0) code = paper_runs(KINDS * AGAIN * seeds, e.options.jobs, new_job, &e);
    if (code == 0)
        code = write_curves(&e, "transfer.csv", new_name, AGAIN * seeds, area, last) && transfer_table(&e, area, last) ? 0 : 1;
    if (code == 130) fprintf(stderr, "\nstopped and saved; to go on: sequential --resume --out %s\n", e.options.out);
    if (code == 0) plot_transfer(&e);
    bp_mj_world_destroy(e.old_world);
    bp_mj_world_destroy(e.new_world);
    bp_mj_world_destroy(e.long_world);
    return code;
}
