/* MuJoCo's environments allocate nothing after they have been made: every walker at every task, and a whole run of the ant with
 * checkpoints on two threads. What libmujoco itself asks of the heap counts, too (test_heap.h).
 */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* mkdtemp */
#endif
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"
#include "test_util.h"
#include "test_heap.h"
#include "test_mujoco.h"
#include "test_scratch.h"

/* The test can fail: what libmujoco does with the heap is seen. */
static void test_it_sees_mujoco(void **state) {
    bp_mj_task task = bp_mj_task_default(BP_MJ_GO_TO_TARGET, BP_MJ_WALKER_POINTMASS);
    mj_rig r;
    (void)state;
    if (!BPT_HEAP_SEES) skip();
    mj_rig_make(&r, &task);
    bpt_heap_watch();
    mj_deleteData(mj_makeData(bp_mj_world_model(r.world)));
    assert_true(bpt_heap_calls() >= 2);
    mj_rig_free(&r);
}

/* Resets and steps under random actions, three episodes of 25 steps; those that fall begin anew. Counting starts with the first. */
static void test_all(void **state) {
    int kind, walker;
    bp_rng rng = bp_rng_make(bpt_seed(), 0);
    bp_real action[BP_MAX_ACTION];
    (void)state;
    if (!BPT_HEAP_SEES) skip();
    for (kind = 0; kind < BP_MJ_TASK_COUNT_; kind++)
        for (walker = 0; walker < BP_MJ_WALKER_COUNT_; walker++) {
            bp_mj_task task = bp_mj_task_default((bp_mj_task_kind)kind, (bp_mj_walker_kind)walker);
            bp_status status = BP_OK;
            size_t heap, bytes, steps = 0, i;
            unsigned char saved[1 << 14];
            mj_rig r;
            task.episode_steps = 25;
            mj_rig_make(&r, &task);
            bpt_heap_watch();
            for (r.out.last = true; steps < 75 && status == BP_OK; steps++) {
                if (r.out.last) status = r.env.reset(r.env.self, (uint64_t)steps, r.obs);
                for (i = 0; i < r.env.spec.action_size; i++) action[i] = (bp_real)(2 * bp_rng_uniform(&rng) - 1);
                if (status == BP_OK) status = r.env.step(r.env.self, action, r.obs, &r.out);
            }
            bytes = r.env.save(r.env.self, saved, sizeof saved);
            if (bytes && status == BP_OK) status = r.env.load(r.env.self, saved, bytes);
            heap = bpt_heap_calls();
            if (heap)
                print_error("%s, %s: %lu calls, the first: %s\n", bp_mj_task_name(task.kind), task.walker->name, (unsigned long)heap,
                            bpt_heap_first());
            assert_int_equal(status, BP_OK);
            assert_true(bytes > 0);
            assert_int_equal(heap, 0);
            mj_rig_free(&r);
        }
}

/* The ant learns, with everything that a run writes; then as many threads as there are actors. */
static void test_run(void **state) {
    bp_mj_task task = bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT);
    bp_run_config c = bp_run_config_default();
    char path[300];
    bp_mj_world *world;
    bpt_memory memory;
    bp_run *run;
    bp_error error;
    size_t heap, requests, i;
    (void)state;
    task.episode_steps = 20;
    task.observe = BP_MJ_OBSERVE_COMPACT;
    bpt_memory_use(&memory);
    bpt_ok(bp_mj_world_create(&world, &task, &memory.allocator, &error), &error);
    c.envs = bp_mj_maker(world);
    c.directory = bpt_at(path, "ant");
    c.actors = 2;
#ifdef BPRIOR_THREADS
    c.threads = 2;
#endif
    c.env_steps = 400;
    c.min_sequences = 8;
    c.replay_capacity = 50;
    c.samples_per_insert = 4;
    c.evaluate_every = 200;
    c.evaluation_episodes = 1;
    c.log_every = 40;
    c.checkpoint_every = 100;
    c.normalise = true;
    c.learner.batch = 8;
    c.learner.length = 5;
    c.learner.samples = 2;
    for (i = 0; i < 2; i++) c.learner.policy.width[i] = c.learner.critic_width[i] = 8;
    bpt_ok(bp_run_create(&run, &c, &memory.allocator, &error), &error);
    bpt_ok(bp_run_round(run, &error), &error);
    requests = memory.requests;
    bpt_heap_gather(run->self->team);
    bpt_heap_watch();
    (void)bp_run_train(run, &error);
    heap = bpt_heap_calls();
    bpt_ok(error.status, &error);
    assert_true(run->env_steps >= 400 && run->episodes > 10 && run->learner->steps > 10);
    if (heap) print_error("%lu calls, the first: %s\n", (unsigned long)heap, bpt_heap_first());
    assert_int_equal(heap, 0);
    assert_int_equal(memory.requests, requests);
    bp_run_destroy(run);
    bp_mj_world_destroy(world);
    bpt_memory_check(&memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_sees_mujoco),
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_run),
    };
    if (bp_mj_init(NULL) != BP_OK) return 1;
    bpt_make_scratch("mujoco-heap");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
