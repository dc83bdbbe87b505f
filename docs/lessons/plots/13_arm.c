/* 13_arm.c - the picture of examples/13_own_model.c: the arm learns as it does there, then one episode is photographed.
 *
 *     cc -O2 -I. $(tools/mujoco.sh cflags) $(tools/gl.sh cflags) docs/lessons/plots/13_arm.c -o build/lessons/13_arm \
 *         $(tools/mujoco.sh libs) $(tools/gl.sh libs) -lm
 *     build/lessons/13_arm | ffmpeg -y -loglevel error -f ppm_pipe -i - docs/lessons/plots/13_arm.png
 *
 * Three pictures side by side, as one PPM on stdout: the first, the middle and the last step.
 */
#define main example_main
#include "../../../examples/13_own_model.c"
#undef main

enum { SIZE = 300 };
/* Where the ball was put: pictures leave out sites, so it is drawn by hand. */
static double ball[3];
static void begin_and_remember(void *ctx, const mjModel *m, mjData *d, bp_rng *rng) {
    begin(ctx, m, d, rng);
    for (int k = 0; k < 3; k++) ball[k] = (double)d->mocap_pos[k];
}

static unsigned char frame[40][SIZE * SIZE * 3];

int main(void) {
    static const char policy[] = "13_arm.safetensors";
    static const double green[4] = {0.2, 0.8, 0.3, 0.8};
    bp_mj_model_config config = arm("examples/13_arm.xml");
    bp_mj_film_config size = bp_mj_film_config_default(SIZE, SIZE);
    bp_mj_film *film;
    bp_mj_world *world;
    bp_mj_shot shot;
    bp_agent *agent;
    bp_run *run;
    bp_env env;
    bp_step out = {0, 1, false};
    bp_real observation[64], action[BP_MAX_ACTION];
    size_t n = 0;

    config.begin = begin_and_remember;
    must(bp_mj_model_world(&world, &config, NULL, &error));
    run = student(world, 1);
    must(bp_run_train(run, &error));
    must(bp_run_export(run, BP_PLAY_POLICY, policy, &error));
    must(bp_agent_load(&agent, policy, NULL, &error));
    must(bp_mj_env_make(world, &env, &error));
    must(bp_mj_film_create(&film, &size, world, NULL, &error));
    shot = bp_mj_shot_default(world, BP_MJ_VIEW_FIXED);
    shot.camera.lookat[0] = 0.2, shot.camera.lookat[1] = 0, shot.camera.lookat[2] = 0.25;
    shot.camera.distance = 1.35, shot.camera.azimuth = 130, shot.camera.elevation = -30;

    must(env.reset(env.self, 5003, observation));
    must(bp_mj_film_ball(film, ball, 0.05, green, &error));
    must(bp_mj_film_render(film, &env, &shot, frame[n++], &error));
    while (!out.last && n < 40) {
        must(bp_agent_act(agent, action, observation));
        must(env.step(env.self, action, observation, &out));
        must(bp_mj_film_render(film, &env, &shot, frame[n++], &error));
    }
    printf("P6\n%d %d\n255\n", 3 * SIZE, SIZE);
    for (size_t row = 0; row < SIZE; row++)
        for (size_t k = 0; k < 3; k++)
            fwrite(frame[k * (n - 1) / 2] + row * SIZE * 3, 3, SIZE, stdout);
    fprintf(stderr, "%d steps\n", (int)n - 1);
    bp_mj_film_destroy(film);
    bp_env_close(&env);
    bp_agent_destroy(agent);
    bp_run_destroy(run);
    bp_mj_world_destroy(world);
    remove(policy);
    return 0;
}
