/* demo.c - learn a behavior prior from four tasks, then learn a fifth one with it and without it.
 *
 * WHAT YOU SEE  The point mass of MuJoCo's control suite must touch four targets in a given order; a touch of the right
 *   one pays 1, nothing else pays anything (sequential navigation with sparse rewards).
 *
 *   1. One policy learns four tasks at once: two layouts of the targets, each with two laws of the sequence. It sees
 *      everything, which target is next and which task it is included. Its prior sees where the body and the targets are,
 *      but neither the goal nor the task (E14). So all it can learn is what the tasks share: one moves from target to target.
 *   2. A task that was not among the four, and harder: targets half as wide, in another layout, with another sequence. A
 *      new policy starts from nothing, three times with the frozen prior and three times without any: same seeds,
 *      same settings otherwise.
 *
 * BUILD  make demo    (needs MuJoCo; by hand: cc -O2 -I. examples/demo.c -lmujoco -lm)
 * FILES  behavior/ with-N/ without-N/  one run each: progress.csv, config, checkpoint, policy and prior (safetensors)
 *        curves.csv trails.csv         what the plot shows          demo.png  the plot
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"
#include "cli.h"
#include <math.h>

#define SEEDS 3
#define GRID 1000   /* environment steps between two evaluations */
#define POINTS 1000 /* most evaluations of a run */
#define TRAILS 12   /* episodes drawn for each panel */

typedef struct curve {
    size_t n;
    double steps[POINTS], hits[POINTS];
} curve;

/* [settings] */
/* The settings that all seven runs share. */
static bp_run_config settings(const cli_options *options, bp_mj_world *world, const char *directory, uint64_t steps) {
    bp_run_config c = bp_run_config_default();
    c.envs = bp_mj_maker(world);
    c.directory = directory;
    c.env_steps = steps;
    c.actors = 4;
    c.replay_capacity = 10000;
    c.min_sequences = 100;
    c.samples_per_insert = 64;
    c.evaluate_every = c.log_every = GRID;
    c.evaluation_episodes = 20;
    c.checkpoint_every = 10000;
    c.learner.batch = 32;
    c.learner.length = 10;
    c.learner.samples = 4;
    c.learner.discount = 0.95;
    c.learner.target_period = 50;
    c.learner.policy_adam.lr = c.learner.prior_adam.lr = c.learner.critic_adam.lr = 1e-3;
    c.learner.entropy_cost = bp_schedule_constant(0.0);
    /* x^D, what the prior sees: not "next", the goal, and not "task" */
    c.learner.prior.n_fields = 3;
    c.learner.prior.fields[0] = "position";
    c.learner.prior.fields[1] = "velocity";
    c.learner.prior.fields[2] = "targets";
    cli_attach(options, &c);
    return c;
}
/* [settings] */

/* Read (env_steps, eval_return_mean) back from a run's progress.csv: a resumed run has its whole past there. */
static bool read_curve(curve *out, const char *directory) {
    char path[1024], line[4096];
    FILE *file;
    out->n = 0;
    snprintf(path, sizeof path, "%s/progress.csv", directory);
    file = fopen(path, "r");
    if (file == NULL) return false;
    while (fgets(line, sizeof line, file) && out->n < POINTS) {
        char *cell = line, *end;
        double value[7];
        int i;
        for (i = 0; i < 7; i++) { /* the evaluation's mean is column 7 */
            value[i] = strtod(cell, &end);
            if (end == cell || (*end != ',' && *end != '\n')) break;
            cell = end + 1;
        }
        if (i < 7 || !(value[6] >= 0.0)) continue; /* the header, or a row without evaluation */
        out->steps[out->n] = value[0];
        out->hits[out->n++] = value[6];
    }
    fclose(file);
    return out->n > 1;
}

/* Area under a learning curve divided by its width: mean hits per episode while learning (trapezoids). */
static double area(const curve *c) {
    double sum = 0.0;
    size_t i;
    for (i = 1; i < c->n; i++) sum += 0.5 * (c->hits[i] + c->hits[i - 1]) * (c->steps[i] - c->steps[i - 1]);
    return sum / (c->steps[c->n - 1] - c->steps[0]);
}

/* Train one run to its end. Exit code 0, 1 (error, told) or 130 (interrupted, told). */
static int train(const bp_run_config *config, const char *prior, const cli_options *options, const char *title) {
    bp_run *run = NULL;
    bp_error error;
    bp_status status = bp_run_create(&run, config, NULL, &error);
    fprintf(stderr, "%s\n", title);
    if (status == BP_OK && prior && !run->resumed) status = bp_rs0_load_prior(run->learner, prior, NULL, &error);
    if (status == BP_OK) status = bp_run_train(run, &error);
    if (status == BP_OK) fprintf(stderr, "\n");
    cli_profile(options, title, run);
    bp_run_destroy(run);
    if (status == BP_INTERRUPTED) {
        fprintf(stderr, "\nstopped and saved; to go on: demo --resume --out %s\n", options->out);
        return 130;
    }
    if (status != BP_OK) fprintf(stderr, "\ndemo: %s\n", error.text);
    return status == BP_OK ? 0 : 1;
}

/* Where a policy file (or NULL: noise of standard deviation 1) wanders by itself. */
static bool trails(FILE *file, const char *name, const bp_mj_world *world, const char *policy, double *hits) {
    bp_env env;
    bp_agent *agent = NULL;
    bp_rng rng = bp_rng_make(1, 1);
    bp_error error;
    bp_real observation[64], action[2];
    bp_step step;
    int episode;
    *hits = 0.0;
    if (policy && bp_agent_load(&agent, policy, NULL, &error) != BP_OK) {
        fprintf(stderr, "demo: %s\n", error.text);
        return false;
    }
    if (bp_mj_env_make(world, &env, &error) != BP_OK) {
        fprintf(stderr, "demo: %s\n", error.text);
        bp_agent_destroy(agent);
        return false;
    }
    for (episode = 0; episode < TRAILS; episode++) {
        env.reset(env.self, bp_seed_mix(99, 0, (uint64_t)episode), observation);
        do {
            /* field "position" comes first, in units of half the room */
            fprintf(file, "%s,%d,%g,%g\n", name, episode, 0.29 * (double)observation[0], 0.29 * (double)observation[1]);
            if (agent) bp_agent_sample(agent, action, NULL, observation, &rng);
            else bp_rng_normals(action, &rng, 2);
            if (env.step(env.self, action, observation, &step) != BP_OK) break;
            *hits += (double)step.reward / TRAILS;
        } while (!step.last);
        fprintf(file, "%s,%d,nan,nan\n", name, episode); /* lifts the pen */
    }
    env.close(env.self);
    bp_agent_destroy(agent);
    return true;
}

static double mean(const double *x, int n) {
    double sum = 0.0;
    int i;
    for (i = 0; i < n; i++) sum += x[i];
    return sum / n;
}

static double spread(const double *x, int n) /* sample standard deviation */
{
    const double m = mean(x, n);
    double sum = 0.0;
    int i;
    for (i = 0; i < n; i++) sum += (x[i] - m) * (x[i] - m);
    return n > 1 ? sqrt(sum / (n - 1)) : 0.0;
}

/* curves.csv: steps, then mean and spread over the seeds with and without prior. */
static bool write_curves(const char *out, const curve with[SEEDS], const curve without[SEEDS]) {
    char path[1024];
    FILE *file;
    size_t i;
    int k;
    snprintf(path, sizeof path, "%s/curves.csv", out);
    file = fopen(path, "w");
    if (file == NULL) return false;
    fprintf(file, "env_steps,with_mean,with_std,without_mean,without_std\n");
    for (i = 0; i < with[0].n; i++) {
        double a[SEEDS], b[SEEDS];
        for (k = 0; k < SEEDS; k++) {
            if (i >= with[k].n || i >= without[k].n) break;
            a[k] = with[k].hits[i];
            b[k] = without[k].hits[i];
        }
        if (k < SEEDS) break;
        fprintf(file, "%g,%g,%g,%g,%g\n", with[0].steps[i], mean(a, SEEDS), spread(a, SEEDS), mean(b, SEEDS),
                spread(b, SEEDS));
    }
    return fclose(file) == 0;
}

/* Three panels: noise, the prior, the learning curves. */
static void plot(const char *out) {
    char path[1024], command[2200];
    FILE *file;
    snprintf(path, sizeof path, "%s/demo.gp", out);
    file = fopen(path, "w");
    if (file == NULL) return;
    fprintf(file,
            "set datafile separator ','\n"
            "set terminal pngcairo size 1500,520 font 'sans,12'\n"
            "set output '%s/demo.png'\n"
            "set multiplot layout 1,3\n"
            "set size ratio 1\nset xrange [-0.31:0.31]\nset yrange [-0.31:0.31]\nunset key\nset xtics 0.2\nset ytics 0.2\n"
            "set object 1 rect from -0.29,-0.29 to 0.29,0.29 fs empty border rgb '#888888'\n",
            out);
    for (int panel = 0; panel < 2; panel++) {
        fprintf(file,
                "set title '%s'\n"
                "plot for [k=0:%d] '%s/trails.csv' every ::1 using "
                "(strcol(1) eq '%s' && $2 == k ? $3 : NaN):4 with lines lw 1.5 lc k+1, "
                "'%s/targets.csv' every ::1 using 1:2:3 with circles lw 2 lc rgb '#222222'\n",
                panel ? "the learned prior alone: 12 episodes" : "Gaussian noise: 12 episodes", TRAILS - 1, out,
                panel ? "prior" : "noise", out);
    }
    fprintf(file,
            "unset object 1\nset size noratio\nset key top left reverse Left\nset autoscale\nset xtics auto\nset ytics auto\n"
            "set yrange [0:*]\nset grid\nset xlabel 'environment steps on the new task'\n"
            "set ylabel 'targets reached per episode'\nset title 'a new task, %d seeds (mean, standard deviation)'\n"
            "set style fill transparent solid 0.2 noborder\n"
            "plot '%s/curves.csv' every ::1 using 1:($2-$3):($2+$3) with filledcurves lc rgb '#0060ad' notitle, "
            "'' every ::1 using 1:($4-$5):($4+$5) with filledcurves lc rgb '#dd5511' notitle, "
            "'' every ::1 using 1:2 with lines lw 3 lc rgb '#0060ad' title 'with the prior', "
            "'' every ::1 using 1:4 with lines lw 3 lc rgb '#dd5511' title 'without'\n"
            "unset multiplot\n",
            SEEDS, out);
    fclose(file);
    snprintf(command, sizeof command, "gnuplot '%s' 2>&1", path);
    if (system(command) == 0) printf("plot: %s/demo.png\n", out);
    else printf("no plot: gnuplot is missing or failed; install gnuplot-nox, then run: gnuplot %s\n", path);
}

int main(int argc, char **argv) {
    static curve with[SEEDS], without[SEEDS], behavior;
    cli_options options = cli_defaults("demo",
                                       "Learns a behavior prior from four tasks of sequential navigation (MuJoCo point mass,\n"
                                       "sparse rewards; the prior does not see the goal), then learns a new task from scratch\n"
                                       "with the frozen prior and without any, 3 seeds each. Ends with a table, a plot and\n"
                                       "'demo: with prior A +- a, without B +- b, area ratio R', where A and B are targets\n"
                                       "reached per episode, averaged over the learning curve, and R = A / B.\n"
                                       "--steps is for the new task; the prior gets four times as many.",
                                       12000);
    bp_mj_task old_tasks = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS), new_task = old_tasks;
    bp_mj_world *old_world = NULL, *new_world = NULL;
    bp_run_config config;
    bp_error error;
    char directory[600], prior[700], path[700], title[100];
    double with_area[SEEDS], without_area[SEEDS], noise_hits = 0, prior_hits = 0;
    FILE *file;
    int k, code = cli_parse(&options, argc, argv);
    if (code >= 0) return code;
    if (strlen(options.out) > 500) {
        fprintf(stderr, "demo: --out is too long\n");
        return 2;
    }
    if (options.quick) options.steps = 2000;

    /* [tasks] */
    bp_mj_sequence_multitask(&old_tasks);
    bp_mj_sequence_transfer(&new_task, BP_MJ_NEW_BOTH);
    new_task.hit_radius = 0.03; /* half of what the four tasks had: noise hardly ever finds one */
    /* [tasks] */
    if (bp_mj_init(&error) != BP_OK || bp_mj_world_create(&old_world, &old_tasks, NULL, &error) != BP_OK ||
        bp_mj_world_create(&new_world, &new_task, NULL, &error) != BP_OK ||
        bp_file_make_directory(options.out, &error) != BP_OK) {
        fprintf(stderr, "demo: %s\n", error.text);
        return 1;
    }

    /* [behavior] */
    /* 1. policy and prior together on four tasks */
    snprintf(directory, sizeof directory, "%s/behavior", options.out);
    snprintf(prior, sizeof prior, "%s/prior.safetensors", directory);
    config = settings(&options, old_world, directory, 4 * options.steps);
    config.learner.prior_kind = BP_PRIOR_LEARNED;
    config.learner.alpha = bp_schedule_constant(0.01);
    code = train(&config, NULL, &options, "1. four tasks: policy and prior");
    if (code) return code;
    /* [behavior] */
    if (!read_curve(&behavior, directory)) return 1;

    /* 2. a new task, with and without */
    for (k = 0; k < 2 * SEEDS; k++) {
        const bool use = k % 2 == 0;
        snprintf(directory, sizeof directory, "%s/%s-%d", options.out, use ? "with" : "without", k / 2 + 1);
        snprintf(title, sizeof title, "2. new task %s prior, seed %d of %d", use ? "with the" : "without", k / 2 + 1, SEEDS);
        config = settings(&options, new_world, directory, options.steps);
        config.seed = config.learner.seed = bp_seed_mix(options.seed, 2, (uint64_t)(k / 2));
        /* [frozen] */
        if (use) {
            config.learner.prior_kind = BP_PRIOR_FIXED;
            config.learner.alpha = bp_schedule_constant(0.003);
        }
        /* [frozen] */
        code = train(&config, use ? prior : NULL, &options, title);
        if (code) return code;
        if (!read_curve(use ? &with[k / 2] : &without[k / 2], directory)) return 1;
        (use ? with_area : without_area)[k / 2] = area(use ? &with[k / 2] : &without[k / 2]);
    }

    /* what the prior does by itself, next to noise */
    snprintf(path, sizeof path, "%s/trails.csv", options.out);
    file = fopen(path, "w");
    if (file == NULL) return 1;
    fprintf(file, "who,episode,x,y\n");
    if (!trails(file, "noise", new_world, NULL, &noise_hits) || !trails(file, "prior", new_world, prior, &prior_hits)) return 1;
    fclose(file);
    snprintf(path, sizeof path, "%s/targets.csv", options.out);
    file = fopen(path, "w");
    if (file == NULL) return 1;
    fprintf(file, "x,y,radius\n");
    for (k = 0; k < 4; k++) {
        const bp_mj_sequence *task = &new_task.sequence[0];
        const double angle = task->angle + 1.5707963267948966 * k;
        fprintf(file, "%g,%g,%g\n", task->radius * cos(angle), task->radius * sin(angle), new_task.hit_radius);
    }
    fclose(file);
    if (!write_curves(options.out, with, without)) return 1;
    plot(options.out);

    printf("\ntargets reached per episode            mean while learning   at the end\n");
    printf("four tasks, policy and prior together  %10.2f        %10.2f\n", area(&behavior), behavior.hits[behavior.n - 1]);
    for (k = 0; k < SEEDS; k++)
        printf("new task with the prior, seed %d        %10.2f        %10.2f\n", k + 1, with_area[k], with[k].hits[with[k].n - 1]);
    for (k = 0; k < SEEDS; k++)
        printf("new task without, seed %d               %10.2f        %10.2f\n", k + 1, without_area[k],
               without[k].hits[without[k].n - 1]);
    printf("new task, nothing learned: noise %.2f, the prior by itself %.2f\n\n", noise_hits, prior_hits);
    printf("demo: with prior %.2f \xc2\xb1 %.2f, without %.2f \xc2\xb1 %.2f, area ratio %.2f\n", mean(with_area, SEEDS),
           spread(with_area, SEEDS), mean(without_area, SEEDS), spread(without_area, SEEDS),
           mean(with_area, SEEDS) / mean(without_area, SEEDS));
    bp_mj_world_destroy(old_world);
    bp_mj_world_destroy(new_world);
    return 0;
}
