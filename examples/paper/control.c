/* control.c - the control challenge: what does a body do before anybody has told it what to do?
 *
 * QUESTION  A random policy hardly moves an ant and throws a humanoid on the floor: with many joints, noise adds up to
 *   nothing. A behavior prior is a better kind of noise. How much of the floor is visited, and how long does the body stay
 *   upright, under a random Gaussian, under a prior that was not trained, and under one that was? None of the three has a goal.
 *
 * SET-UP    The ant learns go_to_k_targets, the humanoid of the control suite learns to run at 1 m/s; each from nothing, by SVG(0) with
 *   Retrace, its prior learned along with the policy. The prior sees the body alone: joints, feet, attitude, speeds (x^D of E14).
 *   Then 20 seconds at a time each of the three plays by itself on the floor of its task; falls and targets end nothing.
 *
 * HONESTY   One training run for each body, on one core of a small machine: the authors had 32 actors and far more steps. What has been
 *   trained here is what comes out of --steps steps, no more. The untrained prior has the same network, N(0, 0.7) nearly.
 *
 * BUILD     make examples; build/examples/paper/control [options]      (needs MuJoCo)
 *   --body NAME    ant or humanoid only
 *   --from DIR     no training: what an earlier run of this program has in DIR, finished or not
 *   --prior FILE   no training: play this checkpoint's prior.safetensors (or policy.safetensors) of any walker and task. May be repeated
 * FILES     ant/ humanoid/        the training runs: progress.csv, checkpoint, policy and prior
 *           training.csv          learning curves: means over 10 rows of progress.csv
 *           control.csv           body, mover, episodes, then mean and spread of the three measures
 *           trails.csv            where the roots went        control.png  training.png  plots        settings.txt
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"
#include "../play.h"
#include "paper.h"
#include "study.h"

#define MAX_BODIES 8
#define MAX_EPISODES 64
#define MOVERS 3
#define CELL 0.5 /* m: side of the cells that are counted as visited */
#define MAX_CELLS 128
#define OBSERVATION 1024

static const char *const mover_name[MOVERS] = {"gaussian", "untrained", "trained"};
static const char *const body_fields[] = {"walker/body_height", "walker/end_effectors_pos", "walker/joints_pos",
                                          "walker/joints_vel", "walker/sensors_accelerometer", "walker/sensors_gyro",
                                          "walker/sensors_velocimeter", "walker/world_zaxis"};

/* A body, its task, and the prior that was trained in it. */
typedef struct contender {
    char name[64];
    bp_mj_task task;
    char prior[1100];
    bp_mj_world *world; /* of training */
} contender;

/* What was seen of a mover, episode by episode. */
typedef struct measures {
    size_t n;
    double covered[MAX_EPISODES]; /* m^2 of floor under the root */
    double upright[MAX_EPISODES]; /* part of the time */
    double reach[MAX_EPISODES];   /* m: farthest from the start */
} measures;

static bp_mj_task task_of(bp_mj_task_kind kind, bp_mj_walker_kind walker) {
    bp_mj_task task = bp_mj_task_default(kind, walker);
    task.observe = BP_MJ_OBSERVE_COMPACT;
    task.goal_field = true;
    task.speed = 1;
    return task;
}

/* The settings of both trainings; those of the learner not named here are the library's defaults. */
static bp_run_config settings(bp_mj_world *world, const cli_options *o) {
    bp_run_config c = bp_run_config_default();
    bp_rs0_config *l = &c.learner;
    const bp_spec *spec = bp_mj_world_spec(world);
    size_t i;
    c.envs = bp_mj_maker(world);
    c.actors = 8;
    c.replay_capacity = 200000; /* sequences: 2 million steps */
    c.min_sequences = 2000;
    c.samples_per_insert = 16;
    c.normalise = true;
    c.evaluate_every = 200000;
    c.evaluation_episodes = 20;
    c.evaluation_stochastic = true;
    c.log_every = 20000;
    c.checkpoint_every = 1000000;
    l->batch = 64;
    l->length = 10;
    l->samples = 4;
    l->policy.width[0] = l->policy.width[1] = 128;
    l->prior.width[0] = l->prior.width[1] = 128;
    l->critic_width[0] = l->critic_width[1] = 128;
    l->policy_adam.lr = l->prior_adam.lr = l->critic_adam.lr = 3e-4;
    l->prior_kind = BP_PRIOR_LEARNED;
    l->alpha = bp_schedule_constant(0.03);
    l->entropy_cost = bp_schedule_constant(0.001);
    for (i = l->prior.n_fields = 0; i < sizeof body_fields / sizeof *body_fields; i++)
        if (bp_spec_find(spec, body_fields[i])) l->prior.fields[l->prior.n_fields++] = body_fields[i];
    cli_attach(o, &c);
    if (o->quick) {
        c.actors = 2;
        c.replay_capacity = 2000;
        c.min_sequences = 50;
        c.evaluate_every = 0;
        c.log_every = 200;
        l->batch = 16;
    }
    return c;
}

static int say(const bp_error *error) {
    fprintf(stderr, "control: %s\n", error->text);
    return 1;
}

/* The same prior before any training, as a file. */
static int export_untrained(const contender *c, const char *path, const cli_options *o) {
    bp_run_config config = settings(c->world, o);
    bp_run *run = NULL;
    bp_error error;
    bp_status status;
    config.actors = 1; /* it takes part in nothing */
    config.replay_capacity = 100;
    config.min_sequences = 10;
    config.normalise = false; /* nothing has been seen to normalise by */
    status = bp_run_create(&run, &config, NULL, &error);
    if (status == BP_OK) status = bp_run_export(run, BP_PLAY_PRIOR, path, &error);
    bp_run_destroy(run);
    return status == BP_OK ? 0 : say(&error);
}

/* One episode of 20 s. Cells are counted from a corner of a square that is larger than any arena here. */
static int episode(measures *m, FILE *trails, const contender *c, int mover, bp_env *env, bp_agent *agent, bp_rng *rng, uint64_t seed) {
    static bool seen[MAX_CELLS][MAX_CELLS];
    bp_real observation[OBSERVATION], action[BP_MAX_ACTION];
    double start[2] = {0, 0}, covered = 0, upright = 0, reach = 0;
    size_t steps = 0;
    bp_step step;
    memset(seen, 0, sizeof seen);
    step.last = false;
    if (env->reset(env->self, seed, observation) != BP_OK) return 1;
    if (agent) bp_agent_reset(agent);
    while (!step.last) {
        const bp_mj_info info = bp_mj_env_info(env);
        const int column = (int)floor(info.root[0] / CELL) + MAX_CELLS / 2, row = (int)floor(info.root[1] / CELL) + MAX_CELLS / 2;
        const double away = hypot(info.root[0] - start[0], info.root[1] - start[1]);
        if (steps == 0) memcpy(start, info.root, sizeof start);
        else if (away > reach) reach = away;
        if (column >= 0 && column < MAX_CELLS && row >= 0 && row < MAX_CELLS && !seen[row][column]) {
            seen[row][column] = true;
            covered += CELL * CELL;
        }
        upright += info.aliveness >= -0.5;
        if (steps++ % 4 == 0) fprintf(trails, "%s,%s,%d,%.4f,%.4f\n", c->name, mover_name[mover], (int)m->n, info.root[0], info.root[1]);
        if (agent) bp_agent_sample(agent, action, NULL, observation, rng);
        else bp_rng_normals(action, rng, env->spec.action_size);
        if (env->step(env->self, action, observation, &step) != BP_OK) return 1;
    }
    m->covered[m->n] = covered;
    m->upright[m->n] = upright / (double)steps;
    m->reach[m->n++] = reach;
    return 0;
}

/* All three movers of a body. */
static int compare(const contender *c, FILE *table, FILE *trails, size_t episodes, const cli_options *o) {
    bp_mj_task endless = c->task;
    bp_mj_world *world = NULL;
    const char *names[BP_MAX_FIELDS];
    bp_env env;
    bp_error error;
    char untrained[1200];
    int mover, code = 0;
    play_fit(&endless, names, bp_mj_world_spec(c->world)); /* the same observation */
    endless.alive_threshold = -2;                          /* falls end nothing */
    endless.contact_ends = false;
    endless.regenerate = true; /* nor do targets */
    endless.episode_steps = (size_t)(20 / (endless.timestep * (double)endless.n_substeps) + 0.5);
    if (o->quick) endless.episode_steps /= 10;
    memset(&env, 0, sizeof env);
    if (bp_mj_world_create(&world, &endless, NULL, &error) != BP_OK || bp_mj_env_make(world, &env, &error) != BP_OK) code = say(&error);
    snprintf(untrained, sizeof untrained, "%s/%s-untrained.safetensors", o->out, c->name);
    if (code == 0) code = export_untrained(c, untrained, o);
    for (mover = 0; mover < MOVERS && code == 0; mover++) {
        bp_rng rng = bp_rng_make(o->seed, (uint64_t)mover);
        bp_agent *agent = NULL;
        static measures m;
        memset(&m, 0, sizeof m);
        if (mover && bp_agent_load(&agent, mover == 1 ? untrained : c->prior, NULL, &error) != BP_OK) code = say(&error);
        while (m.n < episodes && code == 0) {
            code = episode(&m, trails, c, mover, &env, agent, &rng, bp_seed_mix(o->seed, 7, m.n));
            if (code) fprintf(stderr, "control: %s: %s\n", c->name, bp_mj_env_info(&env).error.text);
        }
        bp_agent_destroy(agent);
        if (code) break;
        fprintf(table, "%s,%s,%d,%.3f,%.3f,%.4f,%.4f,%.3f,%.3f\n", c->name, mover_name[mover], (int)m.n, paper_mean(m.covered, m.n),
                paper_spread(m.covered, m.n), paper_mean(m.upright, m.n), paper_spread(m.upright, m.n), paper_mean(m.reach, m.n),
                paper_spread(m.reach, m.n));
        printf("%-22s %-10s %6.2f +- %5.2f    %5.3f +- %5.3f    %6.2f +- %5.2f\n", c->name, mover_name[mover],
               paper_mean(m.covered, m.n), paper_spread(m.covered, m.n), paper_mean(m.upright, m.n), paper_spread(m.upright, m.n),
               paper_mean(m.reach, m.n), paper_spread(m.reach, m.n));
    }
    bp_env_close(&env);
    bp_mj_world_destroy(world);
    return code;
}

/* The learning curve: means over runs of 10 rows. */
static bool write_training(FILE *file, const contender *c, const char *runs, const cli_options *o) {
    static paper_curve_data returns, lengths;
    const size_t bin = o->quick ? 2 : 10;
    size_t i;
    if (!paper_curve(&returns, runs, c->name, "return_mean") || !paper_curve(&lengths, runs, c->name, "length_mean")) return false;
    for (i = 0; i + bin <= returns.n && i + bin <= lengths.n; i += bin)
        fprintf(file, "%s,%.0f,%.4f,%.2f\n", c->name, returns.steps[i + bin - 1], paper_mean(returns.value + i, bin),
                paper_mean(lengths.value + i, bin));
    return true;
}

static void plot(const contender *c, size_t n, bool trained, const char *out) {
    FILE *file = paper_file(out, "control.gp");
    size_t i;
    int mover;
    if (file == NULL) return;
    fprintf(file,
            "set datafile separator ','\nset terminal pngcairo size 1200,%d font 'sans,11'\nset output 'control.png'\n"
            "set multiplot layout %d,3\nset size ratio -1\nset xrange [-6:6]\nset yrange [-6:6]\nunset key\nset xtics 4\nset ytics 4\n",
            (int)(410 * n), (int)n);
    for (i = 0; i < n; i++)
        for (mover = 0; mover < MOVERS; mover++)
            fprintf(file,
                    "set title '%s: %s' noenhanced\n"
                    "plot for [k=0:%d] 'trails.csv' every ::1 using (strcol(1) eq '%s' && strcol(2) eq '%s' && $3 == k ? $4 : NaN):5 "
                    "with lines lw 1.2 lc k+1\n",
                    c[i].name, mover == 0 ? "random Gaussian" : mover == 1 ? "prior, untrained"
                                                                           : "prior, trained",
                    MAX_EPISODES,
                    c[i].name, mover_name[mover]);
    fprintf(file, "unset multiplot\n");
    fclose(file);
    paper_plot(out, "control");
    if (!trained || (file = paper_file(out, "training.gp")) == NULL) return;
    fprintf(file, "set datafile separator ','\nset terminal pngcairo size %d,400 font 'sans,11'\nset output 'training.png'\n"
                  "set multiplot layout 1,%d\nset grid\nunset key\nset yrange [0:*]\nset xlabel 'million environment steps'\n",
            (int)(600 * n), (int)n);
    for (i = 0; i < n; i++)
        fprintf(file,
                "set title '%s: %s' noenhanced\nset ylabel 'return of an episode'\n"
                "plot 'training.csv' every ::1 using (strcol(1) eq '%s' ? $2/1e6 : NaN):3 with linespoints pt 7 ps 0.4 lw 2\n",
                c[i].name, bp_mj_task_name(c[i].task.kind), c[i].name);
    fprintf(file, "unset multiplot\n");
    fclose(file);
    paper_plot(out, "training");
}

/* Which walker and task does a checkpoint come from? Those whose observation and action are the same. */
static int recognise(contender *c, const char *path) {
    bp_agent *agent = NULL;
    bp_error error;
    bp_status status = bp_agent_load(&agent, path, NULL, &error);
    if (status == BP_OK) status = play_world(&c->world, NULL, NULL, &agent->spec, &error);
    if (status == BP_OK) c->task = *bp_mj_world_task(c->world);
    snprintf(c->prior, sizeof c->prior, "%s", path);
    bp_agent_destroy(agent);
    return status == BP_OK ? 0 : say(&error);
}

/* Take --body and --prior out of the arguments, which cli.h does not know. Returns the new argc, or -1 after a complaint. */
static int own_options(int argc, char **argv, contender *c, size_t *n, const char **body) {
    int i, kept = 1;
    for (i = 1; i < argc; i++) {
        const bool is_body = !strcmp(argv[i], "--body"), is_prior = !strcmp(argv[i], "--prior");
        if (!is_body && !is_prior) {
            argv[kept++] = argv[i];
            continue;
        }
        if (++i == argc || (is_prior && *n == MAX_BODIES)) {
            fprintf(stderr, "control: %s: value missing, or too many of them\n", argv[i - 1]);
            return -1;
        }
        if (is_body) *body = argv[i];
        else if (recognise(&c[*n], argv[i])) return -1;
        else {
            snprintf(c[*n].name, sizeof c[*n].name, "%.20s-%.20s-%d", c[*n].task.walker->name,
                     bp_mj_task_name(c[*n].task.kind), (int)*n + 1);
            ++*n;
        }
    }
    argv[kept] = NULL;
    return kept;
}

int main(int argc, char **argv) {
    static contender c[MAX_BODIES];
    static study_job jobs[2];
    cli_options o = cli_defaults("control",
                                 "Trains the ant and the humanoid with behavior priors, then lets a random Gaussian, the untrained and\n"
                                 "the trained prior play without any goal: how much floor do they visit, how long do they stay upright?\n"
                                 "Trains two runs at a time, hours in all. More options:\n"
                                 "  --body ant|humanoid   only this one\n"
                                 "  --prior FILE          no training: play this policy or prior file, of any walker and task; repeatable",
                                 10000000);
    const char *body = NULL, *runs;
    FILE *table, *trails, *training;
    bp_error error;
    size_t n = 0, i, episodes;
    bool trained;
    int code;
    o.from = "";
    argc = own_options(argc, argv, c, &n, &body);
    if (argc < 0) return 2;
    code = cli_parse(&o, argc, argv);
    if (code >= 0) return code;
    if (strlen(o.out) > 500) {
        fprintf(stderr, "control: --out is too long\n");
        return 2;
    }
    if (o.quick) o.steps = 1200;
    episodes = o.quick ? 2 : 12;
    trained = n == 0;
    runs = *o.from ? o.from : o.out;
    if (trained) {
        for (i = 0; i < 2; i++) {
            const char *name = i ? "humanoid" : "ant";
            if (body && strcmp(body, name)) continue;
            snprintf(c[n].name, sizeof c[n].name, "%s", name);
            c[n].task = i ? task_of(BP_MJ_RUN, BP_MJ_WALKER_HUMANOID) : task_of(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT);
            snprintf(c[n].prior, sizeof c[n].prior, "%.900s/%s/prior.safetensors", runs, name);
            n++;
        }
        if (n == 0) {
            fprintf(stderr, "control: --body is ant or humanoid, not %s\n", body);
            return 2;
        }
    }
    if (bp_mj_init(&error) != BP_OK || bp_file_make_directory(o.out, &error) != BP_OK) return say(&error);
    table = paper_settings(&o);
    if (table == NULL) return 1;
    fprintf(table, "episodes of each mover = %d\nseconds of an episode = %g\ncell = %g m\n", (int)episodes, o.quick ? 2.0 : 20.0, CELL);
    fclose(table);

    for (i = 0; i < n && trained; i++) {
        if (bp_mj_world_create(&c[i].world, &c[i].task, NULL, &error) != BP_OK) return say(&error);
        memcpy(jobs[i].name, c[i].name, sizeof jobs[i].name);
        jobs[i].config = settings(c[i].world, &o);
        jobs[i].config.env_steps = o.steps;
        jobs[i].config.threads = 1; /* the two runs are the two threads */
    }
    code = trained && runs == o.out ? study_train(jobs, n, &o) : 0;
    if (code) return code;

    training = trained ? paper_file(o.out, "training.csv") : NULL;
    if (training) fprintf(training, "body,env_steps,return_mean,length_mean\n");
    table = paper_file(o.out, "control.csv");
    trails = paper_file(o.out, "trails.csv");
    if (table == NULL || trails == NULL || (trained && training == NULL)) return 1;
    fprintf(table, "body,mover,episodes,covered_m2_mean,covered_m2_std,upright_mean,upright_std,reach_m_mean,reach_m_std\n");
    fprintf(trails, "body,mover,episode,x,y\n");
    printf("                                  floor visited, m^2   time upright        farthest from the start, m\n");
    for (i = 0; i < n && code == 0; i++) {
        if (training && !write_training(training, &c[i], runs, &o)) code = 1;
        if (code == 0) code = compare(&c[i], table, trails, episodes, &o);
    }
    if (training) fclose(training);
    fclose(table);
    fclose(trails);
    if (code == 0) plot(c, n, trained, o.out);
    for (i = 0; i < n; i++) bp_mj_world_destroy(c[i].world);
    return code;
}
