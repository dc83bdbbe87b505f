/* watch.c - look at it. Plays a policy, a prior or noise in a MuJoCo world, in a window.
 *
 * You learn: bp_mj_film in a context of one's own (bprior_mujoco.h, chapter M9), bp_agent.
 * Build and run: make watch ARGS="--policy build/demo/behavior --prior build/demo/behavior"
 * Needs GLFW 3 and a display. Keys: press h.
 */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"
#include "play.h"
#include <GLFW/glfw3.h>

/* The window's state; GLFW hands it to the callbacks. */
typedef struct watch {
    play player;
    bp_mj_film *film;
    bp_mj_shot shot;
    bool paused, single, next, again, help, trail, targets, predicates, numbers, curve;
    double speed; /* 1: as fast as the body would be */
    double mouse[2];
    uint64_t episode;
} watch;

static const char *const help_keys = "space\nright\nup, down\nn, r\nc\nmouse\nt, g\np\n1, 2, 3\nh\nq";
static const char *const help_words = "pause, go on\none step\nfaster, slower\nnext episode, again\ncamera: track, top, fixed\n"
                                      "turn, move, zoom\ntargets, goal\ntrail\nnumbers, predicates, KL curve\nthis help\nquit";

static void change_view(watch *w, bp_mj_view view) {
    w->shot.camera = bp_mj_camera_default(w->player.world, view);
}

static void on_key(GLFWwindow *window, int key, int scancode, int action, int mods) {
    watch *w = (watch *)glfwGetWindowUserPointer(window);
    (void)scancode;
    (void)mods;
    if (action == GLFW_RELEASE) return;
    switch (key) {
    case GLFW_KEY_SPACE: w->paused = !w->paused; break;
    case GLFW_KEY_RIGHT: w->paused = w->single = true; break;
    case GLFW_KEY_UP: w->speed = w->speed < 64 ? 2 * w->speed : w->speed; break;
    case GLFW_KEY_DOWN: w->speed = w->speed > 1.0 / 64 ? w->speed / 2 : w->speed; break;
    case GLFW_KEY_N: w->next = true; break;
    case GLFW_KEY_R: w->again = true; break;
    case GLFW_KEY_C:
        change_view(w, w->shot.camera.view == BP_MJ_VIEW_TRACK ? BP_MJ_VIEW_TOP
                       : w->shot.camera.view == BP_MJ_VIEW_TOP ? BP_MJ_VIEW_FIXED
                                                               : BP_MJ_VIEW_TRACK);
        break;
    case GLFW_KEY_T: w->targets = !w->targets; break;
    case GLFW_KEY_G: w->shot.goal = !w->shot.goal; break;
    case GLFW_KEY_P: w->trail = !w->trail; break;
    case GLFW_KEY_1: w->numbers = !w->numbers; break;
    case GLFW_KEY_2: w->predicates = !w->predicates; break;
    case GLFW_KEY_3: w->curve = !w->curve; break;
    case GLFW_KEY_H: w->help = !w->help; break;
    case GLFW_KEY_Q:
    case GLFW_KEY_ESCAPE: glfwSetWindowShouldClose(window, GLFW_TRUE); break;
    default: break;
    }
}

/* Left button: turn about what one looks at. Right button: move along the floor (the camera then stays where it is put). */
static void on_move(GLFWwindow *window, double x, double y) {
    watch *w = (watch *)glfwGetWindowUserPointer(window);
    bp_mj_camera *c = &w->shot.camera;
    const double dx = x - w->mouse[0], dy = y - w->mouse[1];
    w->mouse[0] = x;
    w->mouse[1] = y;
    if (glfwGetMouseButton(window, GLFW_MOUSE_BUTTON_LEFT) == GLFW_PRESS) {
        if (c->view == BP_MJ_VIEW_TOP) change_view(w, BP_MJ_VIEW_FIXED); /* a map cannot be tilted */
        c->azimuth -= 0.4 * dx;
        c->elevation -= 0.4 * dy;
        if (c->elevation > 5) c->elevation = 5;
        if (c->elevation < -89) c->elevation = -89;
    } else if (glfwGetMouseButton(window, GLFW_MOUSE_BUTTON_RIGHT) == GLFW_PRESS) {
        int width, height;
        double scale, a = c->azimuth * 0.0174532925;
        glfwGetWindowSize(window, &width, &height);
        scale = 2 * c->distance * tan(0.5 * c->fovy * 0.0174532925) / (height > 0 ? height : 1); /* m per pixel */
        if (c->view == BP_MJ_VIEW_TRACK) {
            double at[3];
            bp_mj_env_position(at, &w->player.env);
            c->view = BP_MJ_VIEW_FIXED;
            c->lookat[0] = at[0];
            c->lookat[1] = at[1];
        }
        c->lookat[0] += scale * (dy * cos(a) - dx * sin(a));
        c->lookat[1] += scale * (dx * cos(a) + dy * sin(a));
    }
}

static void on_scroll(GLFWwindow *window, double dx, double dy) {
    watch *w = (watch *)glfwGetWindowUserPointer(window);
    (void)dx;
    w->shot.camera.distance *= exp(-0.1 * dy);
}

static void begin(watch *w) {
    play_begin(&w->player, w->episode);
    w->next = w->again = false;
}

/* Let the simulation catch up with the clock: at most a quarter of a second's worth, or it could never. */
static double advance(watch *w, double due) {
    play *p = &w->player;
    const double start = glfwGetTime();
    if (w->single) due = 0;
    while (!p->last && !p->failed && (w->single || due > 0) && glfwGetTime() - start < 0.25) {
        play_step(p);
        due -= p->seconds > 0 ? p->seconds : 0.02;
        w->single = false;
    }
    w->single = false;
    return due > 0 ? 0 : due;
}

static bool draw(watch *w, GLFWwindow *window) {
    static const double orange[4] = {0.835, 0.369, 0, 0.8};
    bp_mj_shot shot = w->shot;
    char title[120];
    int width, height;
    glfwGetFramebufferSize(window, &width, &height);
    if (width < 1 || height < 1) return true; /* minimised */
    play_shot(&shot, &w->player);
    snprintf(title, sizeof title, "%s, episode %lu, speed %g%s", play_who(&w->player), (unsigned long)w->episode, w->speed,
             w->paused ? ", paused" : "");
    shot.title = title;
    shot.targets = w->targets;
    shot.numbers = w->numbers;
    shot.predicates = w->predicates;
    if (!w->curve) shot.curve = NULL;
    shot.keys = w->help ? help_keys : "h";
    shot.words = w->help ? help_words : "help";
    bp_mj_film_clear(w->film);
    if (w->trail) play_trail(w->film, &w->player, 0, 0.008 * shot.camera.distance * shot.camera.fovy / 45, orange);
    if (bp_mj_film_resize(w->film, (size_t)width, (size_t)height, &w->player.error) != BP_OK ||
        bp_mj_film_render(w->film, &w->player.env, &shot, NULL, &w->player.error) != BP_OK)
        return false;
    glfwSwapBuffers(window);
    return true;
}

/* The loop. Returns an exit code. */
static int run(watch *w, GLFWwindow *window, uint64_t steps, bool quick) {
    double before = glfwGetTime(), due = 0, ended = 0;
    uint64_t frames = 0;
    begin(w);
    while (!glfwWindowShouldClose(window) && !cli_interrupted && !w->player.failed && !(quick && frames >= 60)) {
        const double now = glfwGetTime();
        const bool was_last = w->player.last;
        glfwPollEvents();
        if (!w->paused) due += w->speed * (now - before);
        before = now;
        if (!w->paused || w->single) due = advance(w, due);
        if (w->player.n >= steps) w->player.last = true;
        if (w->player.last && !was_last) ended = glfwGetTime();
        if (!draw(w, window)) break;
        if (w->player.last && !w->paused && glfwGetTime() - ended > 1) w->next = true; /* a second to read how it ended */
        if (w->next) w->episode++;
        if (w->next || w->again) begin(w);
        if (w->paused) glfwWaitEventsTimeout(0.05);
        frames++;
    }
    if (w->player.error.text[0]) fprintf(stderr, "watch: %s\n", w->player.error.text);
    return w->player.error.text[0] ? 1 : 0;
}

int main(int argc, char **argv) {
    static watch w;
    play_options options = play_defaults("watch",
                                         "Plays a policy, a prior by itself, or Gaussian noise, in a window; h shows the keys.\n"
                                         "--steps is the longest an episode may get.",
                                         PLAY_MAX_STEPS - 1);
    bp_mj_film_config config;
    GLFWwindow *window = NULL;
    const char *why = NULL;
    int code;
    options.width = 960;
    options.height = 640;
    code = play_parse(&options, argc, argv);
    if (code >= 0) return code;
    code = 1;
    if (!play_open(&w.player, &options)) {
        fprintf(stderr, "watch: %s\n", w.player.error.text);
    } else if (!glfwInit()) {
        glfwGetError(&why);
        fprintf(stderr, "watch: no window: %s (make film needs no display)\n", why ? why : "GLFW does not say why");
    } else {
        glfwWindowHint(GLFW_SAMPLES, 4);
        window = glfwCreateWindow((int)options.width, (int)options.height, "bprior", NULL, NULL);
        if (!window) glfwGetError(&why);
        if (!window) fprintf(stderr, "watch: no window: %s\n", why ? why : "GLFW does not say why");
    }
    if (window) {
        glfwMakeContextCurrent(window);
        glfwSwapInterval(1);
        w.shot = bp_mj_shot_default(w.player.world, play_view(options.camera));
        w.trail = w.targets = w.predicates = w.numbers = w.curve = true;
        w.speed = 1;
        glfwSetWindowUserPointer(window, &w);
        glfwSetKeyCallback(window, on_key);
        glfwSetCursorPosCallback(window, on_move);
        glfwSetScrollCallback(window, on_scroll);
        config = bp_mj_film_config_default((size_t)options.width, (size_t)options.height);
        config.gl = BP_MJ_GL_CURRENT;
        if (bp_mj_film_create(&w.film, &config, w.player.world, NULL, &w.player.error) == BP_OK)
            code = run(&w, window, options.cli.steps, options.cli.quick);
        else fprintf(stderr, "watch: %s\n", w.player.error.text);
        bp_mj_film_destroy(w.film);
        glfwDestroyWindow(window);
    }
    glfwTerminate();
    play_close(&w.player);
    return code;
}
