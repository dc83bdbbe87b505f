/* two_rooms.c - does a prior that is learned from ten tasks help to learn them, and does it walk the corridor?
 *
 * The two-room grid world of the Distral paper (Teh et al. 2017): ten tasks, one goal each, somewhere in two rooms that a
 * corridor joins. The state holds the previous action and reward, so a prior that sees the state but not the goal can keep its
 * direction. Four learners, all on tables and all soft Q-learning from rollouts of ten steps (E13):
 *
 *     distral-5       one prior for all tasks, distilled from their actions; beta = 5, the paper's temperature
 *     alone-5         the same with a uniform prior that never learns: each task by itself
 *     distral-20      both again at beta = 20, a temperature at which even a task by itself ends near its optimum, so that
 *     alone-20        the comparison is not one between a good and a bad temperature
 *
 * and for each the exact optimum of what it maximises: E12 (policies and prior in turn) with a learned prior, E7 without.
 *
 * FILES  curves.csv     mean and standard deviation over seeds of return and L against environment steps
 *        runs.csv       the same, seed by seed             optimum.csv    exact optima, seed by seed
 *        tasks.csv      at the end, task by task: learned L, the best for its own prior, the best of all
 *        corridor.csv   how surely the learned prior keeps its direction
 *        arrows.csv cells.csv   the first seed's prior, drawn      two_rooms.gp, two_rooms.png   the plot
 * BUILD  make examples; build/examples/paper/two_rooms --out build/two_rooms   (some minutes; --quick: seconds)
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "../cli.h"
#include "paper.h"

#define MAX_SEEDS 50
#define POINTS 40 /* evaluations of a run, the one before it starts not counted */
#define KINDS 4
#define CORRIDOR 5 /* cells */

enum { W = 10,
       S = 230,
       A = 5,
       CELLS = 23 };

static const struct kind {
    const char *name, *title, *colour;
    double c_kl;
    bool learn_prior;
} kinds[KINDS] = {
    {"distral-5", "one learned prior, {/Symbol b} = 5", "#0060ad", 0.2, true},
    {"alone-5", "each task alone, {/Symbol b} = 5", "#dd5511", 0.2, false},
    {"distral-20", "one learned prior, {/Symbol b} = 20", "#66aadd", 0.05, true},
    {"alone-20", "each task alone, {/Symbol b} = 20", "#f0a860", 0.05, false},
};

/* Everything that is measured. */
typedef struct results {
    double J[KINDS][POINTS + 1][MAX_SEEDS], L[KINDS][POINTS + 1][MAX_SEEDS]; /* learning curves */
    double best_J[MAX_SEEDS];                                                /* no regulariser at all */
    double exact_J[KINDS][MAX_SEEDS], exact_L[KINDS][MAX_SEEDS];             /* optimum of what is maximised */
    double task_J[KINDS][MAX_SEEDS][W];                                      /* at the end */
    double task_L[KINDS][MAX_SEEDS][W], response_L[KINDS][MAX_SEEDS][W], optimum_L[KINDS][MAX_SEEDS][W];
    double keeps[KINDS][MAX_SEEDS][2], crosses[KINDS][MAX_SEEDS][2]; /* left, right */
} results;

static results res;
static double pi[W * S * A], prior[CELLS * 12 * A], V[S];
static size_t phi[S];
static bp_error error;

static bool ok(bp_status status) {
    if (status != BP_OK) fprintf(stderr, "\ntwo_rooms: %s: %s\n", bp_status_str(status), error.text);
    return status == BP_OK;
}

/* Exact optima: of the return alone, and of what each kind maximises. */
static bool solve_exactly(size_t k, const bp_distral_tasks *tasks, size_t rounds) {
    bp_distral_value v, each[W];
    size_t kind, w, s;
    res.best_J[k] = 0.0;
    for (w = 0; w < W; w++) {
        if (!ok(bp_mdp_value_iteration(V, NULL, &tasks->mdp[w], 1e-9, NULL, &error))) return false;
        for (s = 0; s < S; s++) res.best_J[k] += tasks->mdp[w].p0[s] * V[s] / W;
    }
    for (kind = 0; kind < KINDS; kind++) {
        const double c_kl = kinds[kind].c_kl;
        bp_mdp_uniform_policy(prior, tasks->classes, A);
        if (!ok(kinds[kind].learn_prior ? bp_distral_solve(pi, prior, NULL, tasks, c_kl, 0.0, rounds, &error)
                                        : bp_distral_best_policies(pi, NULL, tasks, prior, c_kl, 0.0, 1e-9, &error)) ||
            !ok(bp_distral_objective(&v, each, tasks, pi, prior, c_kl, 0.0, &error))) return false;
        res.exact_J[kind][k] = v.reward;
        res.exact_L[kind][k] = v.value;
        for (w = 0; w < W; w++) res.optimum_L[kind][k][w] = each[w].value;
    }
    return true;
}

/* How surely a prior goes on: mean over the corridor's cells, and all of them in a row. */
static void walk(size_t kind, size_t k, const double *learned, const bp_tworooms *rooms) {
    static const bp_tworooms_memory way[2] = {BP_MEMORY_LEFT, BP_MEMORY_RIGHT};
    static const size_t action[2] = {BP_GRID_LEFT, BP_GRID_RIGHT};
    double slice[CELLS * A];
    size_t i, x;
    for (i = 0; i < 2; i++) {
        bp_tworooms_slice(slice, learned, phi, rooms, way[i]);
        res.keeps[kind][k][i] = 0.0;
        res.crosses[kind][k][i] = 1.0;
        for (x = 4; x < 4 + CORRIDOR; x++) {
            const double p = slice[bp_gridworld_state(&rooms->grid, 2, x) * A + action[i]];
            res.keeps[kind][k][i] += p / CORRIDOR;
            res.crosses[kind][k][i] *= p;
        }
    }
}

/* The prior as arrows: from the middle of a cell, as long as likely. */
static bool draw_prior(const char *out, const double *learned, const bp_tworooms *rooms) {
    static const bp_tworooms_memory memory[3] = {BP_MEMORY_START, BP_MEMORY_LEFT, BP_MEMORY_RIGHT};
    static const int dx[A] = {0, 0, 0, -1, 1}, dy[A] = {0, 1, -1, 0, 0};
    FILE *file = paper_file(out, "arrows.csv");
    double slice[CELLS * A];
    size_t m, cell, a, w;
    if (file == NULL) return false;
    fprintf(file, "memory,column,row,action,dx,dy,p\n");
    for (m = 0; m < 3; m++) {
        bp_tworooms_slice(slice, learned, phi, rooms, memory[m]);
        for (cell = 0; cell < CELLS; cell++)
            for (a = 0; a < A; a++) {
                const double p = slice[cell * A + a];
                fprintf(file, "%d,%u,%u,%u,%.4f,%.4f,%.4f\n", (int)memory[m],
                        (unsigned)(rooms->grid.cell[cell] % rooms->grid.cols),
                        (unsigned)(rooms->grid.cell[cell] / rooms->grid.cols), (unsigned)a, 0.48 * dx[a] * p, 0.48 * dy[a] * p, p);
            }
    }
    if (fclose(file) != 0 || (file = paper_file(out, "cells.csv")) == NULL) return false;
    fprintf(file, "column,row,goal\n");
    for (cell = 0; cell < CELLS; cell++) {
        bool goal = false;
        for (w = 0; w < W; w++) goal = goal || rooms->goal[w] == cell;
        fprintf(file, "%u,%u,%d\n", (unsigned)(rooms->grid.cell[cell] % rooms->grid.cols),
                (unsigned)(rooms->grid.cell[cell] / rooms->grid.cols), goal ? 1 : 0);
    }
    return fclose(file) == 0;
}

/* One learner from nothing to `steps` environment steps. False: an error (told) or Ctrl-C. */
static bool learn(size_t kind, size_t k, const bp_distral_tasks *tasks, const bp_tworooms *rooms, const cli_options *o) {
    bp_distral_config config = bp_distral_config_default();
    bp_distral_learner *learner;
    bp_distral_value v, each[W];
    bp_rng rng = bp_rng_make(o->seed + k, 100 + kind);
    bool good = true;
    size_t i, w;
    config.c_kl = kinds[kind].c_kl;
    config.learn_prior = kinds[kind].learn_prior;
    if (!ok(bp_distral_learner_create(&learner, tasks, &config, NULL, &error))) return false;
    for (i = 0; good && i <= POINTS; i++) {
        while (learner->steps < o->steps * i / POINTS) bp_distral_learner_round(learner, &rng);
        bp_distral_learner_policies(pi, learner);
        good = ok(bp_distral_objective(&v, each, tasks, pi, learner->prior, config.c_kl, 0.0, &error)) && !cli_interrupted;
        res.J[kind][i][k] = v.reward;
        res.L[kind][i][k] = v.value;
    }
    for (w = 0; good && w < W; w++) {
        res.task_J[kind][k][w] = each[w].reward;
        res.task_L[kind][k][w] = each[w].value;
    }
    good = good && ok(bp_distral_best_policies(pi, NULL, tasks, learner->prior, config.c_kl, 0.0, 1e-9, &error)) &&
           ok(bp_distral_objective(&v, each, tasks, pi, learner->prior, config.c_kl, 0.0, &error));
    for (w = 0; good && w < W; w++) res.response_L[kind][k][w] = each[w].value;
    if (good) walk(kind, k, learner->prior, rooms);
    if (good && kind == 0 && k == 0) good = draw_prior(o->out, learner->prior, rooms);
    bp_distral_learner_destroy(learner);
    return good;
}

static bool write_tables(const cli_options *o, size_t seeds) {
    FILE *curves = paper_file(o->out, "curves.csv"), *runs = paper_file(o->out, "runs.csv");
    FILE *optimum = paper_file(o->out, "optimum.csv"), *tasks = paper_file(o->out, "tasks.csv");
    FILE *corridor = paper_file(o->out, "corridor.csv");
    size_t kind, i, k, w;
    if (!curves || !runs || !optimum || !tasks || !corridor) return false;
    fprintf(curves, "steps");
    for (kind = 0; kind < KINDS; kind++)
        fprintf(curves, ",%s_return_mean,%s_return_std,%s_L_mean,%s_L_std", kinds[kind].name, kinds[kind].name, kinds[kind].name,
                kinds[kind].name);
    fprintf(curves, "\n");
    fprintf(runs, "seed,learner,steps,return,L\n");
    fprintf(optimum, "seed,learner,return,L\n");
    fprintf(tasks, "seed,learner,task,return,L,L_best_for_its_prior,L_optimum\n");
    fprintf(corridor, "seed,learner,previous_action,keeps_direction,crosses_all_cells\n");
    for (i = 0; i <= POINTS; i++) {
        fprintf(curves, "%llu", (unsigned long long)(o->steps * i / POINTS));
        for (kind = 0; kind < KINDS; kind++)
            fprintf(curves, ",%.5f,%.5f,%.5f,%.5f", paper_mean(res.J[kind][i], seeds), paper_spread(res.J[kind][i], seeds),
                    paper_mean(res.L[kind][i], seeds), paper_spread(res.L[kind][i], seeds));
        fprintf(curves, "\n");
    }
    for (k = 0; k < seeds; k++) {
        const unsigned long long seed = o->seed + k;
        fprintf(optimum, "%llu,no-regulariser,%.5f,%.5f\n", seed, res.best_J[k], res.best_J[k]);
        for (kind = 0; kind < KINDS; kind++) {
            fprintf(optimum, "%llu,%s,%.5f,%.5f\n", seed, kinds[kind].name, res.exact_J[kind][k], res.exact_L[kind][k]);
            for (i = 0; i <= POINTS; i++)
                fprintf(runs, "%llu,%s,%llu,%.5f,%.5f\n", seed, kinds[kind].name, (unsigned long long)(o->steps * i / POINTS),
                        res.J[kind][i][k], res.L[kind][i][k]);
            for (w = 0; w < W; w++)
                fprintf(tasks, "%llu,%s,%u,%.5f,%.5f,%.5f,%.5f\n", seed, kinds[kind].name, (unsigned)w, res.task_J[kind][k][w],
                        res.task_L[kind][k][w], res.response_L[kind][k][w], res.optimum_L[kind][k][w]);
            for (i = 0; i < 2; i++)
                fprintf(corridor, "%llu,%s,%s,%.5f,%.5f\n", seed, kinds[kind].name, i ? "right" : "left", res.keeps[kind][k][i],
                        res.crosses[kind][k][i]);
        }
    }
    return !((fclose(curves) != 0) | (fclose(runs) != 0) | (fclose(optimum) != 0) | (fclose(tasks) != 0) | (fclose(corridor) != 0));
}

/* Left the learning curves, right the prior of the first seed, one panel for each previous action. */
static bool write_plot(const cli_options *o, size_t seeds) {
    static const char *const title[3] = {"the prior when an episode begins", "after a step LEFT", "after a step RIGHT"};
    static const int memory[3] = {BP_MEMORY_START, BP_MEMORY_LEFT, BP_MEMORY_RIGHT};
    FILE *f = paper_file(o->out, "two_rooms.gp");
    size_t kind, m;
    if (f == NULL) return false;
    fprintf(f,
            "set datafile separator ','\n"
            "set terminal pngcairo enhanced size 1500,760 font 'sans,13'\n"
            "set output 'two_rooms.png'\n"
            "set multiplot\n"
            "set lmargin at screen 0.065\nset rmargin at screen 0.53\nset bmargin at screen 0.1\nset tmargin at screen 0.93\n"
            "set title 'ten tasks in two rooms: mean of %u seeds, band: standard deviation'\n"
            "set xlabel 'environment steps, all tasks together'\nset ylabel 'discounted return, mean over tasks'\n"
            "set format x '%%.0s%%c'\nset grid lc rgb '#dddddd'\nset key bottom right reverse Left\n"
            "set xrange [0:%llu]\nset yrange [-3:0.7]\nset style fill transparent solid 0.2 noborder\n"
            "plot ",
            (unsigned)seeds, (unsigned long long)o->steps);
    for (kind = 0; kind < KINDS; kind++) {
        const unsigned mean = 2 + 4 * (unsigned)kind;
        fprintf(f,
                "'curves.csv' every ::1 using 1:($%u-$%u):($%u+$%u) with filledcurves lc rgb '%s' notitle, "
                "'' every ::1 using 1:%u with lines lw 3 lc rgb '%s' title '%s', %g with lines dt 3 lw 2 lc rgb '%s' notitle, ",
                mean, mean + 1, mean, mean + 1, kinds[kind].colour, mean, kinds[kind].colour, kinds[kind].title,
                paper_mean(res.exact_J[kind], seeds), kinds[kind].colour);
    }
    fprintf(f,
            "NaN with lines dt 3 lw 2 lc rgb '#666666' title 'return at the exact regularised optimum', "
            "%g with lines dt 2 lw 2 lc rgb '#222222' title 'best possible return'\n",
            paper_mean(res.best_J, seeds));
    fprintf(f, "unset key\nunset grid\nunset xlabel\nunset ylabel\nunset xtics\nunset ytics\nunset border\n"
               "set xrange [0.4:11.6]\nset yrange [-3.6:-0.4]\nset style fill solid 1.0 border lc rgb '#bbbbbb'\n"
               "set object 1 rect from graph 0,0 to graph 1,1 behind fc rgb '#8c8c8c' fs solid noborder\n"
               "set lmargin at screen 0.57\nset rmargin at screen 0.985\n");
    for (m = 0; m < 3; m++) {
        const double bottom = 0.675 - 0.315 * (double)m;
        fprintf(f,
                "set bmargin at screen %g\nset tmargin at screen %g\nset title '%s (seed %llu)' offset 0,-0.7\n"
                "plot 'cells.csv' every ::1 using 1:(-$2):(0.5):(0.5):($3 > 0 ? 0xdff0d8 : 0xf6f6f6) with boxxyerror lc rgb variable, "
                "'arrows.csv' every ::1 using (($1 == %d && $4 == 0) ? $2 : NaN):(-$3):(0.2*sqrt($7)) with circles "
                "fill solid 1.0 noborder lc rgb '#999999', "
                "'' every ::1 using (($1 == %d && $4 > 0 && $7 > 0.02) ? $2 : NaN):(-$3):5:6 with vectors filled head "
                "size 0.12,25 lw 2.5 lc rgb '#0060ad'\n",
                bottom, bottom + 0.255, title[m], (unsigned long long)o->seed, memory[m], memory[m]);
    }
    fprintf(f, "set label 1 'arrow: probability of a move     dot: of staying     green: a goal of one of the ten tasks' "
               "at screen 0.777,0.022 center font 'sans,11'\nunset title\nunset object 1\n"
               "set bmargin at screen 0.0\nset tmargin at screen 0.01\nplot NaN\nunset multiplot\n");
    return fclose(f) == 0;
}

/* What is worth reading off all that, on the terminal and in table.txt. */
static void summary(FILE *f, size_t seeds) {
    size_t kind, i, k, w;
    fprintf(f, "mean over tasks, mean and standard deviation over %u seeds\n\n", (unsigned)seeds);
    fprintf(f, "                 return at the end   return, optimum    L at the end        L, optimum      mean return while learning\n");
    for (kind = 0; kind < KINDS; kind++) {
        double area[MAX_SEEDS];
        for (k = 0; k < seeds; k++) {
            area[k] = 0.0;
            for (i = 1; i <= POINTS; i++) area[k] += 0.5 * (res.J[kind][i - 1][k] + res.J[kind][i][k]) / POINTS;
        }
        fprintf(f, "%-12s %9.3f +- %.3f  %9.3f +- %.3f %8.3f +- %.3f %8.3f +- %.3f %10.3f +- %.3f\n", kinds[kind].name,
                paper_mean(res.J[kind][POINTS], seeds), paper_spread(res.J[kind][POINTS], seeds), paper_mean(res.exact_J[kind], seeds),
                paper_spread(res.exact_J[kind], seeds), paper_mean(res.L[kind][POINTS], seeds),
                paper_spread(res.L[kind][POINTS], seeds), paper_mean(res.exact_L[kind], seeds), paper_spread(res.exact_L[kind], seeds),
                paper_mean(area, seeds), paper_spread(area, seeds));
    }
    fprintf(f, "best possible return %.3f +- %.3f\n\n", paper_mean(res.best_J, seeds), paper_spread(res.best_J, seeds));
    fprintf(f, "worst task of all seeds: how far its L is below ...\n");
    for (kind = 0; kind < KINDS; kind++) {
        double response = 0.0, optimum = 0.0;
        size_t far = 0;
        for (k = 0; k < seeds; k++)
            for (w = 0; w < W; w++) {
                response = fmax(response, res.response_L[kind][k][w] - res.task_L[kind][k][w]);
                optimum = fmax(optimum, res.optimum_L[kind][k][w] - res.task_L[kind][k][w]);
                far += res.optimum_L[kind][k][w] - res.task_L[kind][k][w] > 0.1;
            }
        fprintf(f, "%-12s ... the best for its own prior %.3f   ... the exact optimum %.3f (%u of %u tasks are more than .1 below)\n",
                kinds[kind].name, response, optimum, (unsigned)far, (unsigned)(seeds * W));
    }
    fprintf(f, "\nthe learned prior in the corridor: probability to go on as before, a cell on average, and five cells in a row\n");
    for (kind = 0; kind < KINDS; kind += 2)
        for (i = 0; i < 2; i++) {
            double keeps[MAX_SEEDS], crosses[MAX_SEEDS];
            for (k = 0; k < seeds; k++) keeps[k] = res.keeps[kind][k][i], crosses[k] = res.crosses[kind][k][i];
            fprintf(f, "%-12s %-5s  %.3f +- %.3f   %.3f +- %.3f\n", kinds[kind].name, i ? "right" : "left", paper_mean(keeps, seeds),
                    paper_spread(keeps, seeds), paper_mean(crosses, seeds), paper_spread(crosses, seeds));
        }
}

int main(int argc, char **argv) {
    cli_options o = cli_defaults("two_rooms",
                                 "Distral (Teh et al. 2017) on tables: ten tasks in two rooms joined by a corridor, learned with one\n"
                                 "shared prior and each alone, next to the exact optima. Ends with a table, CSV files and a plot of the\n"
                                 "learning curves and of the prior, which walks the corridor both ways.\n"
                                 "--steps is for each learner, over all ten tasks together.",
                                 1000000);
    bp_tworooms_config world = bp_tworooms_config_default();
    const bp_distral_config learner = bp_distral_config_default();
    size_t k, kind, rounds = 30;
    FILE *file;
    int code;
    o.seeds = 5;
    o.no_run = true;
    code = cli_parse(&o, argc, argv);
    if (code >= 0) return code;
    if (o.quick) {
        if (o.steps > 20000) o.steps = 20000;
        if (o.seeds > 2) o.seeds = 2;
        rounds = 2;
    }
    if (o.steps < POINTS || o.steps > 1000000000 || o.seeds > MAX_SEEDS) {
        fprintf(stderr, "two_rooms: --steps must be %d to 1000000000, --seeds at most %d\n", POINTS, MAX_SEEDS);
        return 2;
    }
    if (!ok(bp_file_make_directory(o.out, &error))) return 1;
    world.tasks = W;
    for (k = 0; k < o.seeds; k++) {
        bp_tworooms rooms;
        bp_distral_tasks tasks;
        bool good;
        world.seed = o.seed + k; /* every seed has its own goals */
        if (!ok(bp_tworooms_create(&rooms, &world, NULL, &error))) return 1;
        memset(&tasks, 0, sizeof tasks);
        tasks.n = W;
        tasks.mdp = rooms.mdp;
        tasks.phi = phi;
        tasks.classes = bp_tworooms_classes(phi, &rooms, BP_SEES_ALL);
        fprintf(stderr, "seed %llu: exact optima", (unsigned long long)world.seed);
        good = solve_exactly(k, &tasks, rounds);
        for (kind = 0; good && kind < KINDS; kind++) {
            fprintf(stderr, ", %s", kinds[kind].name);
            good = learn(kind, k, &tasks, &rooms, &o);
        }
        fprintf(stderr, "\n");
        bp_tworooms_destroy(&rooms);
        if (!good) return cli_interrupted ? 130 : 1;
    }

    file = paper_settings(&o);
    if (file == NULL) return 1;
    fprintf(file,
            "tasks = %d\nstates = %d\nE12 rounds = %u\nprior sees = cell, previous action, previous reward\n", W, S, (unsigned)rounds);
    fprintf(file, "gamma = %g\nstep reward = %g\nwall reward = %g\ngoal reward = %g\n", world.costs.gamma, world.costs.step_reward,
            world.costs.wall_reward, world.costs.goal_reward);
    fprintf(file, "rate = %g\npseudo-count = %g\nkeep = %g\nrollout = %u\nc_ent = 0\n", learner.rate, learner.pseudo_count, learner.keep,
            (unsigned)learner.rollout);
    for (kind = 0; kind < KINDS; kind++)
        fprintf(file, "%s = c_kl %g, prior %s\n", kinds[kind].name, kinds[kind].c_kl, kinds[kind].learn_prior ? "learned" : "uniform");
    if (fclose(file) != 0 || !write_tables(&o, (size_t)o.seeds) || !write_plot(&o, (size_t)o.seeds)) return 1;
    file = paper_file(o.out, "table.txt");
    if (file == NULL) return 1;
    summary(file, (size_t)o.seeds);
    fclose(file);
    summary(stdout, (size_t)o.seeds);
    paper_plot(o.out, "two_rooms");
    return 0;
}
