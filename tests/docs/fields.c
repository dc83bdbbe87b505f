/* fields.c - prints what the pages of the environments say in numbers: fields, actions, times, masses.
 *
 *     tests/docs/fields.sh            is docs/pages/fields.txt what this program prints?
 *     tests/docs/fields.sh --write    make it so
 *
 * Pieces are marked [like this] for the pages that show them. Nothing printed depends on the machine or on MuJoCo's version.
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"

static bp_error error;
static void must(bp_status status) {
    if (status < 0) fprintf(stderr, "%s\n", error.text), exit(1);
}

/* Fields first .. end - 1; those that the compact form has, too, are marked. */
static void print_fields(const bp_spec *spec, size_t first, size_t end, const bp_spec *compact) {
    size_t i;
    printf("  offset   size   field%s\n", compact ? "                             c: compact, too" : "");
    for (i = first; i < end; i++) {
        const bp_field *f = &spec->field[i];
        const bool both = compact && bp_spec_find(compact, f->name);
        printf(both ? "  %6lu   %4lu   %-30s    c\n" : "  %6lu   %4lu   %s\n", (unsigned long)f->offset, (unsigned long)f->size, f->name);
    }
}

static void print_actions(const bp_spec *spec) {
    if (spec->action_kind == BP_ACTION_DISCRETE) printf("  one of %lu choices\n", (unsigned long)spec->n_choices);
    else printf("  %lu actions in [%g, %g]\n", (unsigned long)spec->action_size, spec->action_low[0], spec->action_high[0]);
}

static void core(const char *mark, bp_env *env, size_t steps, double seconds) {
    printf("/* [%s] */\n  %s: %lu numbers observed\n", mark, env->spec.name, (unsigned long)env->spec.observation_size);
    print_actions(&env->spec);
    if (seconds > 0) printf("  %lu steps of %g s in an episode\n", (unsigned long)steps, seconds);
    else printf("  %lu steps in an episode\n", (unsigned long)steps);
    print_fields(&env->spec, 0, env->spec.n_fields, NULL);
    printf("/* [%s] */\n\n", mark);
    bp_env_close(env);
}

static bp_mj_world *make(const bp_mj_task *task) {
    bp_mj_world *world;
    must(bp_mj_world_create(&world, task, NULL, &error));
    return world;
}

static double mass(const mjModel *m) {
    double sum = 0;
    int i;
    for (i = 1; i < (int)m->nbody; i++) sum += (double)m->body_mass[i];
    return sum;
}

static void body(bp_mj_walker_kind kind) {
    bp_mj_task task = bp_mj_task_default(BP_MJ_RUN, kind);
    const bp_mj_walker *w = task.walker;
    bp_mj_world *world = make(&task), *small;
    const mjModel *m = bp_mj_world_model(world);
    size_t i;
    task.observe = BP_MJ_OBSERVE_COMPACT;
    small = make(&task);
    printf("/* [body_%s] */\n  %s: %.1f kg, %lu bodies, %lu joints beside those of the root, nq %d, nv %d\n", w->name, w->name, mass(m),
           (unsigned long)w->n_bodies, (unsigned long)w->n_joints, (int)m->nq, (int)m->nv);
    printf("  physics every %g s, %lu physics steps to a control step: %g s\n", w->timestep, (unsigned long)w->n_substeps,
           w->timestep * (double)w->n_substeps);
    printf("  a brisk pace is %g m/s; ", w->speed);
    if (w->min_height > 0) printf("fallen below %g m or with its axis below the horizon\n", w->min_height);
    else if (w->up[0] || w->up[1] || w->up[2]) printf("fallen with its axis below the horizon\n");
    else printf("cannot fall\n");
    printf("  %lu numbers of its own observed, %lu in the compact form\n",
           (unsigned long)(bp_mj_world_spec(world)->observation_size - 3), (unsigned long)(bp_mj_world_spec(small)->observation_size - 3));
    print_fields(bp_mj_world_spec(world), 0, bp_mj_world_spec(world)->n_fields - 1, bp_mj_world_spec(small)); /* the last is the task's */
    printf("  actions, all in [-1, 1]:");
    for (i = 0; i < w->n_actuators; i++) printf("%s%s", i % 4 ? " " : "\n    ", w->actuators[i]);
    printf("\n/* [body_%s] */\n\n", w->name);
    bp_mj_world_destroy(small);
    bp_mj_world_destroy(world);
}

/* What a task adds: fields from number `first` on. */
static void one_task(const char *mark, const bp_mj_task *task, size_t first) {
    bp_mj_world *world = make(task);
    const bp_spec *spec = bp_mj_world_spec(world);
    printf("/* [task_%s] */\n  %s: %lu numbers observed, %lu steps of %g s in an episode\n", mark, spec->name,
           (unsigned long)spec->observation_size, (unsigned long)task->episode_steps, task->timestep * (double)task->n_substeps);
    print_fields(spec, first, spec->n_fields, NULL);
    printf("/* [task_%s] */\n\n", mark);
    bp_mj_world_destroy(world);
}

int main(void) {
    bp_pendulum_config p = bp_pendulum_config_default();
    bp_pointmass_config q = bp_pointmass_config_default();
    bp_gridworld grid;
    bp_tworooms rooms;
    bp_mj_task task;
    bp_env env;
    int k, b;
    must(bp_pendulum_env(&env, NULL, NULL, &error));
    core("pendulum", &env, p.steps, p.dt);
    must(bp_pointmass_env(&env, NULL, NULL, &error));
    core("pointmass", &env, q.steps, q.dt);
    must(bp_gridworld_create(&grid, "S  \n # \n  G\n", NULL, NULL, &error));
    must(bp_mdp_env(&env, &grid.mdp, 100, NULL, &error));
    core("grid", &env, 100, 0);
    bp_gridworld_destroy(&grid);
    must(bp_tworooms_create(&rooms, NULL, NULL, &error));
    printf("/* [tworooms] */\n  %lu cells x %d memories = %lu states, %lu tasks\n/* [tworooms] */\n\n",
           (unsigned long)rooms.grid.mdp.S, BP_MEMORIES, (unsigned long)rooms.S, (unsigned long)rooms.W);
    bp_tworooms_destroy(&rooms);

    for (b = 0; b < BP_MJ_WALKER_COUNT_; b++) body((bp_mj_walker_kind)b);

    task = bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    one_task("suite_sequence", &task, 0);
    task.show_previous = true;
    bp_mj_sequence_multitask(&task);
    one_task("suite_multitask", &task, 0);
    for (k = 0; k < BP_MJ_TASK_COUNT_; k++) {
        task = bp_mj_task_default((bp_mj_task_kind)k, BP_MJ_WALKER_ANT);
        one_task(bp_mj_task_name((bp_mj_task_kind)k), &task, 13); /* the ant has 13 of its own */
    }

    printf("/* [sizes] */\n  %-18s", "");
    for (b = 0; b < BP_MJ_WALKER_COUNT_; b++) printf("%13s", bp_mj_walker_of((bp_mj_walker_kind)b)->name);
    for (k = 0; k < BP_MJ_TASK_COUNT_; k++) {
        printf("\n  %-18s", bp_mj_task_name((bp_mj_task_kind)k));
        for (b = 0; b < BP_MJ_WALKER_COUNT_; b++) {
            char sizes[40];
            bp_mj_world *world, *small;
            task = bp_mj_task_default((bp_mj_task_kind)k, (bp_mj_walker_kind)b);
            world = make(&task);
            task.observe = BP_MJ_OBSERVE_COMPACT;
            small = make(&task);
            snprintf(sizes, sizeof sizes, "%lu/%lu", (unsigned long)bp_mj_world_spec(world)->observation_size,
                     (unsigned long)bp_mj_world_spec(small)->observation_size);
            printf("%13s", sizes);
            bp_mj_world_destroy(small);
            bp_mj_world_destroy(world);
        }
    }
    printf("\n/* [sizes] */\n");
    return 0;
}
