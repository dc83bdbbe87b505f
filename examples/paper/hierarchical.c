/* hierarchical.c - one Gaussian or two levels: what a prior can say where going left and going right are equally good.
 *
 * WHAT YOU SEE  A point mass in the middle of the room, always the same, a target on its left and one on its right, always the same;
 *   one of them is the goal, each as often as the other. Touching it pays 1 and ends the episode. The policy is told which
 *   one it is. The prior is not, so the best it could do is what the policy does on the average over goals: left or right, but
 *   not in between. Two kinds of policy and prior are trained, with the same settings as far as both have them,
 *   but for the initial size of the latent kind's last layers:
 *
 *   gaussian   pi(a|x, goal) and pi0(a|x), x = (position, velocity): one level each
 *   latent     a high level draws one number z at the start of an episode: pi^H(z|x, goal), and pi0^H(z|x) for the prior; one low
 *              level pi(a|z, x) for both (E28), which does not see the goal
 *
 *   Then both priors play by themselves (pictured), and their distribution of the first action is compared with what it
 *   stands for, the equal mixture of the policy's two: KL[mixture || prior] in nats, by numerical integration, beside the
 *   smallest that any single Gaussian could have (the one with the mixture's mean and variance).
 *
 * BUILD  make examples && build/examples/paper/hierarchical    (needs MuJoCo)
 * FILES  gaussian-1/ latent-1/ ...   one run each: progress.csv, settings, checkpoint, policy, prior
 *        runs.csv       one row for each run: the numbers      curves.csv   returns while learning, mean and deviation
 *        trails.csv     episodes of the priors of the first seed
 *        density.csv    density of the first action's x part, first seed
 *        hierarchical.png
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"
#include "../cli.h"
#include "paper.h"
#include "runs.h"

enum { GAUSSIAN,
       LATENT,
       KINDS };
static const char *const kind_name[KINDS] = {"gaussian", "latent"};

enum { MAX_SEEDS = 50,
       TRAILS = 40,  /* episodes drawn of each prior */
       LEVELS = 201, /* values of z in an integral over it */
       NODES = 12 }; /* places in an integral over one part of a Gaussian action */

typedef struct experiment {
    cli_options options;
    bp_mj_task task;
    bp_mj_world *world;
} experiment;

static void say(const bp_error *error) { fprintf(stderr, "hierarchical: %s\n", error->text); }

/* ---- training ----------------------------------------------------------------------------------------------------- */

static bp_run_config settings(const experiment *e, int kind) {
    bp_run_config c = bp_run_config_default();
    bp_rs0_config *l = &c.learner;
    c.envs = bp_mj_maker(e->world);
    c.env_steps = e->options.steps;
    c.actors = 4;
    c.replay_capacity = 4000;
    c.min_sequences = 200; /* 5000 steps of noise, which finds both targets, before learning starts */
    c.samples_per_insert = 64;
    c.evaluate_every = c.log_every = 1000;
    c.evaluation_episodes = 20;
    c.evaluation_stochastic = true;
    c.checkpoint_every = 0;
    if (e->options.quick) c.min_sequences = 40, c.samples_per_insert = 8, c.evaluation_episodes = 4;
    l->batch = 16;
    l->length = 25;
    l->samples = 4;
    l->discount = 0.95;
    l->target_period = 50;
    l->critic_adam.lr = l->prior_adam.lr = 1e-3;
    l->policy_adam.lr = 5e-4;
    l->alpha = bp_schedule_constant(0.01);
    l->prior_kind = BP_PRIOR_LEARNED;
    l->policy.init_std = 1.0;
    /* Aim at standard deviations of e^(0/2) / sqrt(2 pi e) = 0.24: less, and the low level stops looking around before it knows
     * that there are two targets; a constant bonus, and where no reward is known yet they grow without bound, since
     * actions are clipped and no KL holds a shared low level back. */
    l->entropy_mode = BP_WEIGHT_ADAPTED;
    l->entropy_target = 0.0;
    l->entropy_lr = 0.01;
    l->entropy_cost = bp_schedule_constant(0.001);
    l->prior.n_fields = 2; /* x^D: not "next", the goal */
    l->prior.fields[0] = "position";
    l->prior.fields[1] = "velocity";
    if (kind == LATENT) {
        bp_latent_config *z = &l->latent;
        *z = bp_latent_config_default(1);
        z->hold = 0;                /* one z for an episode */
        z->high.head_scale = 1.0;   /* begin with latents that depend on the goal, */
        l->policy.head_scale = 0.3; /* and with actions that depend on the latent: else it takes long to find out what z is for */
        l->policy.n_fields = z->high_prior.n_fields = 2;
        l->policy.fields[0] = z->high_prior.fields[0] = "position";
        l->policy.fields[1] = z->high_prior.fields[1] = "velocity";
    }
    return c;
}

static void run_name(char *out, size_t i) { snprintf(out, 64, "%s-%u", kind_name[i % KINDS], (unsigned)(i / KINDS) + 1); }

/* Run i: kind i % KINDS, seed i / KINDS. */
static int job(void *ctx, size_t i) {
    const experiment *e = (const experiment *)ctx;
    bp_run_config config = settings(e, (int)(i % KINDS));
    bp_run *run = NULL;
    bp_error error;
    bp_status status;
    char name[64], place[1024];
    run_name(name, i);
    if (paper_done(&e->options, name, e->options.steps)) return 0;
    paper_attach(&e->options, &config, place, name, e->options.seed + i / KINDS);
    status = bp_run_create(&run, &config, NULL, &error);
    if (status == BP_OK) status = bp_run_train(run, &error);
    cli_profile(&e->options, name, run);
    bp_run_destroy(run);
    if (status == BP_INTERRUPTED) return 130;
    if (status != BP_OK) say(&error);
    else paper_mark_done(&e->options, name, e->options.steps);
    return status == BP_OK ? 0 : 1;
}

/* ---- distributions of the first action --------------------------------------------------------------------------- */

/* A mixture of diagonal Gaussians over the two parts of an action. */
typedef struct mixture {
    size_t n;
    double weight[2 * LEVELS], mean[2 * LEVELS][2], std[2 * LEVELS][2];
} mixture;

static double normal(double x, double mean, double std) {
    const double z = (x - mean) / std;
    return 0.39894228040143268 / std * exp(-0.5 * z * z);
}

static double density(const mixture *m, double x, double y) {
    double sum = 0.0;
    size_t i;
    for (i = 0; i < m->n; i++) {
        const double u = (x - m->mean[i][0]) / m->std[i][0], v = (y - m->mean[i][1]) / m->std[i][1];
        sum += m->weight[i] * 0.15915494309189535 / (m->std[i][0] * m->std[i][1]) * exp(-0.5 * (u * u + v * v));
    }
    return sum + 1e-300;
}

static double density_x(const mixture *m, double x) {
    double sum = 0.0;
    size_t i;
    for (i = 0; i < m->n; i++) sum += m->weight[i] * normal(x, m->mean[i][0], m->std[i][0]);
    return sum;
}

static void add(mixture *m, double weight, const bp_real *dist) {
    m->weight[m->n] = weight;
    m->mean[m->n][0] = (double)dist[0], m->mean[m->n][1] = (double)dist[1];
    m->std[m->n][0] = (double)dist[2], m->std[m->n][1] = (double)dist[3];
    m->n++;
}

/* Add what an agent does in this observation at the start of an episode: one Gaussian, or the integral over z (E23) as a sum
 * over z = mean + std u for u from -4 to 4. */
static bool expand(mixture *m, double weight, bp_agent *agent, const bp_real *observation) {
    const bp_behavior *b = &agent->behavior;
    bp_real dist[4], high[2], z;
    bp_unroll in;
    bp_real *work = (bp_real *)calloc(bp_behavior_work_reals(b) + 1, sizeof *work);
    double sum = 0.0;
    size_t i;
    if (work == NULL) return false;
    memset(&in, 0, sizeof in);
    in.T = in.B = 1;
    in.observation = observation;
    if (b->latent.size == 0) {
        bp_policy_unroll_eval(&agent->compute, dist, NULL, work, &in, b->params, b->policy);
        add(m, weight, dist);
    } else {
        bp_policy_unroll_eval(&agent->compute, high, NULL, work, &in, b->high_params, b->high);
        for (i = 0; i < LEVELS; i++) sum += normal(8.0 * (double)i / (LEVELS - 1) - 4.0, 0, 1);
        for (i = 0; i < LEVELS; i++) {
            const double u = 8.0 * (double)i / (LEVELS - 1) - 4.0;
            z = (bp_real)((double)high[0] + (double)high[1] * u);
            in.latent = &z;
            bp_policy_unroll_eval(&agent->compute, dist, NULL, work, &in, b->params, b->policy);
            add(m, weight * normal(u, 0, 1) / sum, dist);
        }
    }
    free(work);
    return true;
}

/* The Gaussian with the mean and variance of m: of all single (diagonal) Gaussians g it has the smallest KL[m || g]. */
static void best_gaussian(mixture *g, const mixture *m) {
    size_t i;
    int k;
    g->n = 1;
    g->weight[0] = 1.0;
    for (k = 0; k < 2; k++) {
        double mean = 0.0, square = 0.0;
        for (i = 0; i < m->n; i++) {
            mean += m->weight[i] * m->mean[i][k];
            square += m->weight[i] * (m->mean[i][k] * m->mean[i][k] + m->std[i][k] * m->std[i][k]);
        }
        g->mean[0][k] = mean;
        g->std[0][k] = sqrt(square - mean * mean);
    }
}

/* KL[p || q] in nats: each of p's Gaussians integrated on a grid of its own, +-4 standard deviations. */
static double divergence(const mixture *p, const mixture *q) {
    double sum = 0.0, total = 0.0;
    size_t i;
    int j, k;
    for (i = 0; i < p->n; i++) {
        if (p->weight[i] < 1e-6) continue;
        for (j = 0; j < NODES; j++)
            for (k = 0; k < NODES; k++) {
                const double u = 8.0 * (j + 0.5) / NODES - 4.0, v = 8.0 * (k + 0.5) / NODES - 4.0;
                const double w = p->weight[i] * normal(u, 0, 1) * normal(v, 0, 1);
                const double x = p->mean[i][0] + p->std[i][0] * u, y = p->mean[i][1] + p->std[i][1] * v;
                if (w < 1e-9) continue;
                sum += w * log(density(p, x, y) / density(q, x, y));
                total += w;
            }
    }
    return sum > 0.0 ? sum / total : 0.0; /* rounding may leave a little less than 0 */
}

/* ---- after training ----------------------------------------------------------------------------------------------- */

/* Play episodes: share that touches a target at all, and of those the share that went left. What the environment calls the
 * goal is nothing to a prior, so either target counts. trail: where to write episodes, or NULL. */
static bool play(double *arrive, double *left, const experiment *e, bp_agent *agent, size_t episodes, FILE *trail, const char *name) {
    bp_env env;
    bp_error error;
    bp_rng rng = bp_rng_make(e->options.seed, 77);
    size_t episode, step, count[3] = {0, 0, 0};
    if (bp_mj_env_make(e->world, &env, &error) != BP_OK) {
        say(&error);
        return false;
    }
    for (episode = 0; episode < episodes; episode++) {
        bp_real observation[32], action[2];
        bp_step result = {0, 1, false};
        int where = 2;
        env.reset(env.self, bp_seed_mix(99, 0, episode), observation);
        bp_agent_reset(agent); /* a new z */
        for (step = 0; !result.last && where == 2; step++) {
            if (trail && episode < TRAILS)
                fprintf(trail, "%s,%u,%u,%.4f,%.4f\n", name, (unsigned)episode, (unsigned)step, 0.29 * (double)observation[0],
                        0.29 * (double)observation[1]);
            if (bp_agent_sample(agent, action, NULL, observation, &rng) != BP_OK ||
                env.step(env.self, action, observation, &result) != BP_OK) break;
            for (int k = 0; k < 2; k++) {
                const double dx = 0.29 * (double)observation[0] - e->task.sequence[0].target[k][0], dy = 0.29 * (double)observation[1];
                if (dx * dx + dy * dy <= e->task.hit_radius * e->task.hit_radius) where = k;
            }
        }
        if (trail && episode < TRAILS) {
            fprintf(trail, "%s,%u,%u,%.4f,%.4f\n", name, (unsigned)episode, (unsigned)step, 0.29 * (double)observation[0],
                    0.29 * (double)observation[1]);
            fprintf(trail, "%s,%u,%u,nan,nan\n", name, (unsigned)episode, (unsigned)step + 1); /* lifts the pen */
        }
        count[where]++;
    }
    env.close(env.self);
    *arrive = (double)(count[0] + count[1]) / (double)episodes;
    *left = count[0] + count[1] ? (double)count[0] / (double)(count[0] + count[1]) : 0.0;
    return true;
}

/* The first observation of an episode with this goal. */
static bool first_look(const experiment *e, size_t goal, bp_real *observation) {
    bp_env env;
    uint64_t seed = 0;
    if (bp_mj_env_make(e->world, &env, NULL) != BP_OK) return false;
    do env.reset(env.self, seed++, observation);
    while (bp_mj_env_info(&env).goal != goal);
    env.close(env.self);
    return true;
}

static bool tables(const experiment *e) {
    static mixture own, prior, best;
    static paper_curve_data curve[KINDS][MAX_SEEDS];
    static double nats[KINDS][2][MAX_SEEDS], arrives[KINDS][MAX_SEEDS], goes_left[KINDS][MAX_SEEDS], value[MAX_SEEDS];
    const size_t seeds = (size_t)e->options.seeds;
    FILE *runs = paper_file(e->options.out, "runs.csv"), *trail = paper_file(e->options.out, "trails.csv");
    FILE *shape = paper_file(e->options.out, "density.csv"), *curves = paper_file(e->options.out, "curves.csv");
    bp_real look[2][32];
    bp_error error;
    size_t i, k, n = PAPER_POINTS;
    if (!runs || !trail || !shape || !curves || !first_look(e, 0, look[0]) || !first_look(e, 1, look[1])) return false;
    fprintf(runs, "kind,seed,return_end,nats_prior,nats_best_gaussian,prior_arrives,prior_goes_left\n");
    fprintf(trail, "who,episode,step,x,y\n");
    fprintf(shape, "who,x,mixture,prior,best_gaussian\n");
    for (i = 0; i < KINDS * seeds; i++) {
        const size_t seed = i / KINDS;
        bp_agent *agent = NULL;
        char name[64], path[1200];
        int which;
        k = i % KINDS;
        own.n = prior.n = 0;
        run_name(name, i);
        for (which = 0; which < 2; which++) {
            const size_t episodes = e->options.quick ? 40 : 400;
            bool fine;
            snprintf(path, sizeof path, "%s/%s/%s.safetensors", e->options.out, name, which ? "prior" : "policy");
            if (bp_agent_load(&agent, path, NULL, &error) != BP_OK) {
                say(&error);
                return false;
            }
            fine = which ? expand(&prior, 1.0, agent, look[0]) && play(&arrives[k][seed], &goes_left[k][seed], e, agent, episodes,
                                                                       seed ? NULL : trail, kind_name[k])
                         : expand(&own, 0.5, agent, look[0]) && expand(&own, 0.5, agent, look[1]);
            bp_agent_destroy(agent);
            if (!fine) return false;
        }
        best_gaussian(&best, &own);
        nats[k][0][seed] = divergence(&own, &prior);
        nats[k][1][seed] = divergence(&own, &best);
        if (seed == 0)
            for (which = -100; which <= 100; which++)
                fprintf(shape, "%s,%.2f,%.5f,%.5f,%.5f\n", kind_name[k], 0.025 * which, density_x(&own, 0.025 * which),
                        density_x(&prior, 0.025 * which), density_x(&best, 0.025 * which));
        if (!paper_curve(&curve[k][seed], e->options.out, name, "eval_return_mean")) return false;
        if (curve[k][seed].n < n) n = curve[k][seed].n;
        fprintf(runs, "%s,%u,%.4f,%.4f,%.4f,%.4f,%.4f\n", kind_name[k], (unsigned)seed + 1, paper_tail(&curve[k][seed], 3),
                nats[k][0][seed], nats[k][1][seed], arrives[k][seed], goes_left[k][seed]);
    }
    fprintf(curves, "env_steps");
    for (k = 0; k < KINDS; k++) fprintf(curves, ",%s_mean,%s_std", kind_name[k], kind_name[k]);
    fprintf(curves, "\n");
    for (i = 0; i < n; i++) {
        size_t s;
        fprintf(curves, "%g", (double)e->options.steps * (double)i / (double)(n - 1)); /* rounds end within some steps of it */
        for (k = 0; k < KINDS; k++) {
            for (s = 0; s < seeds; s++) value[s] = curve[k][s].value[i];
            fprintf(curves, ",%.4f,%.4f", paper_mean(value, seeds), paper_spread(value, seeds));
        }
        fprintf(curves, "\n");
    }
    printf("\n                                              gaussian          latent\n");
    printf("KL[mixture || prior], nats             ");
    for (k = 0; k < KINDS; k++) printf("  %6.2f +- %4.2f ", paper_mean(nats[k][0], seeds), paper_spread(nats[k][0], seeds));
    printf("\nKL[mixture || best single Gaussian]    ");
    for (k = 0; k < KINDS; k++) printf("  %6.2f +- %4.2f ", paper_mean(nats[k][1], seeds), paper_spread(nats[k][1], seeds));
    printf("\nepisodes of the prior that arrive      ");
    for (k = 0; k < KINDS; k++) printf("  %6.2f +- %4.2f ", paper_mean(arrives[k], seeds), paper_spread(arrives[k], seeds));
    printf("\nof these on the left                   ");
    for (k = 0; k < KINDS; k++) printf("  %6.2f +- %4.2f ", paper_mean(goes_left[k], seeds), paper_spread(goes_left[k], seeds));
    printf("\n\n");
    return fclose(runs) == 0 && fclose(trail) == 0 && fclose(shape) == 0 && fclose(curves) == 0;
}

static void plot(const experiment *e) {
    FILE *file = paper_file(e->options.out, "hierarchical.gp");
    int k;
    if (file == NULL) return;
    fprintf(file, "set datafile separator ','\nset terminal pngcairo size 1100,900 font 'sans,12'\nset output 'hierarchical.png'\n"
                  "set multiplot layout 2,2\nunset key\n");
    for (k = 0; k < KINDS; k++) {
        fprintf(file,
                "set title 'the %s prior alone: %d episodes'\nset size ratio 1\nset xrange [-0.31:0.31]\nset yrange [-0.31:0.31]\n"
                "set xtics 0.2\nset ytics 0.2\nunset xlabel\nunset ylabel\n"
                "set object 1 rect from -0.29,-0.29 to 0.29,0.29 fs empty border rgb '#888888'\n"
                "set object 2 circle at -0.2,0 size %g fs transparent solid 0.3 fc rgb '#0060ad'\n"
                "set object 3 circle at 0.2,0 size %g fs transparent solid 0.3 fc rgb '#dd5511'\n"
                "plot 'trails.csv' every ::1 using (strcol(1) eq '%s' ? $4 : NaN):5 with lines lw 1.2 lc rgb '#333333'\n",
                kind_name[k], TRAILS, e->task.hit_radius, e->task.hit_radius, kind_name[k]);
    }
    fprintf(file, "unset object 1\nunset object 2\nunset object 3\nset size noratio\nset key top center samplen 2\nset xrange [-2:2]\n"
                  "set yrange [0:*]\nset offsets 0, 0, graph 0.35, 0\nset xtics 1\nset ytics auto\n"
                  "set xlabel 'first action, x'\nset ylabel 'density'\n");
    for (k = 0; k < KINDS; k++)
        fprintf(file,
                "set title 'first action, %s'\n"
                "plot 'density.csv' every ::1 using (strcol(1) eq '%s' ? $2 : NaN):3 with filledcurves y1=0 fs transparent solid 0.3 "
                "lc rgb '#888888' title 'policy, both goals', '' every ::1 using (strcol(1) eq '%s' ? $2 : NaN):4 with lines lw 3 "
                "lc rgb '#0060ad' title 'prior', '' every ::1 using (strcol(1) eq '%s' ? $2 : NaN):5 with lines lw 2 dt 2 lc rgb '#dd5511' "
                "title 'best single Gaussian'\n",
                kind_name[k], kind_name[k], kind_name[k], kind_name[k]);
    fprintf(file, "unset multiplot\n");
    fclose(file);
    paper_plot(e->options.out, "hierarchical");
}

int main(int argc, char **argv) {
    experiment e;
    bp_error error;
    FILE *file;
    int code;
    memset(&e, 0, sizeof e);
    e.options = cli_defaults("hierarchical",
                             "A point mass between two equally good targets, the goal hidden from the prior (MuJoCo): a\n"
                             "Gaussian prior and a two-level one, how they play by themselves, and how many nats they are\n"
                             "from what they stand for.",
                             16000);
    e.options.seeds = 5;
    e.options.jobs = 2;
    e.options.threads = 1;
    code = cli_parse(&e.options, argc, argv);
    if (code >= 0) return code;
    if (e.options.seeds > MAX_SEEDS || strlen(e.options.out) > 800) {
        fprintf(stderr, "hierarchical: at most %d seeds, and a shorter --out\n", MAX_SEEDS);
        return 2;
    }
    if (e.options.quick) e.options.steps = 3000, e.options.seeds = 1;

    e.task = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    e.task.n_targets = 2;
    e.task.max_hits = 1;
    e.task.n_substeps = 15; /* 0.3 s: the targets are 5 steps away */
    e.task.episode_steps = 60;
    e.task.spawn = BP_MJ_SPAWN_FIXED; /* in the middle */
    e.task.sequence[0].law = BP_MJ_LAW_UNIFORM;
    e.task.sequence[0].places = BP_MJ_PLACES_LISTED;
    e.task.sequence[0].target[0][0] = -0.2;
    e.task.sequence[0].target[1][0] = 0.2;
    if (bp_mj_init(&error) != BP_OK || bp_mj_world_create(&e.world, &e.task, NULL, &error) != BP_OK ||
        bp_file_make_directory(e.options.out, &error) != BP_OK) {
        say(&error);
        return 1;
    }
    file = paper_settings(&e.options);
    if (file == NULL) return 1;
    fprintf(file, "values of z in an integral = %d\nplaces for each part of a Gaussian = %d\n", LEVELS, NODES);
    fprintf(file, "all other settings = settings.txt of each run\n");
    fclose(file);

    code = paper_runs(KINDS * (size_t)e.options.seeds, e.options.jobs, job, &e);
    if (code == 0) code = tables(&e) ? 0 : 1;
    if (code == 130) fprintf(stderr, "\nstopped and saved; to go on: hierarchical --resume --out %s\n", e.options.out);
    if (code == 0) plot(&e);
    bp_mj_world_destroy(e.world);
    return code;
}
