/* test_mujoco_film.c - chapter M9 of bprior_mujoco.h: pictures.
 *
 * Oracles: EGL and OSMesa, two ways to the same picture; and where things must be on a map: under the camera from
 * above a point (x, y) of the floor is drawn at the middle + (x, -y) / (distance tan(fovy / 2)) half heights.
 * Built without a GL library it tests that films say so.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"
#include "test_util.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define W 160
#define H 120
#define PIXELS (3 * W * H)
#define MAX_OBS 256

#if defined(BPRIOR_MUJOCO_EGL) || defined(BPRIOR_MUJOCO_OSMESA)
#define HAS_GL 1
#else
#define HAS_GL 0
#endif

#if defined(__SANITIZE_ADDRESS__)
/* Mesa keeps what it has allocated until the process ends. Whatever is ours still counts. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libEGL\nleak:libOSMesa\nleak:libgallium\nleak:swrast_dri\nleak:libLLVM\nleak:libGLdispatch\nleak:libglapi\nleak:_dl_\n";
}
#endif

/* One ant and one point mass, both in the middle of an episode, and films of them. */
typedef struct rig {
    bp_mj_world *world;
    bp_env env;
    bp_mj_film *film;
    bp_mj_shot top, track;
    bp_real obs[MAX_OBS], action[8];
    bp_step out;
    bp_error error;
} rig;

static void rig_world(rig *r, bool ant, uint64_t seed) {
    const bp_mj_task task = ant ? bp_mj_task_default(BP_MJ_GO_TO_K_TARGETS, BP_MJ_WALKER_ANT)
                                : bp_mj_task_default(BP_MJ_SEQUENCE, BP_MJ_WALKER_POINTMASS);
    int i, j;
    bp_rng rng = bp_rng_make(seed, 7);
    memset(r, 0, sizeof *r);
    bpt_ok(bp_mj_world_create(&r->world, &task, NULL, &r->error), &r->error);
    bpt_ok(bp_mj_env_make(r->world, &r->env, &r->error), &r->error);
    assert_true(r->env.spec.observation_size <= MAX_OBS);
    assert_int_equal(r->env.reset(r->env.self, seed, r->obs), BP_OK);
    for (i = 0; i < 5; i++) {
        for (j = 0; j < 8; j++) r->action[j] = (bp_real)(bp_rng_uniform(&rng) - 0.5);
        assert_int_equal(r->env.step(r->env.self, r->action, r->obs, &r->out), BP_OK);
    }
    r->top = bp_mj_shot_default(r->world, BP_MJ_VIEW_TOP);
    r->track = bp_mj_shot_default(r->world, BP_MJ_VIEW_TRACK);
}

static void rig_film(rig *r, bp_mj_gl gl) {
    bp_mj_film_config config = bp_mj_film_config_default(W, H);
    config.gl = gl;
    config.max_shapes = 50;
    bpt_ok(bp_mj_film_create(&r->film, &config, r->world, NULL, &r->error), &r->error);
}

static void rig_free(rig *r) {
    bp_mj_film_destroy(r->film);
    bp_env_close(&r->env);
    bp_mj_world_destroy(r->world);
}

static void shoot(rig *r, const bp_mj_shot *shot, unsigned char *rgb) {
    bpt_ok(bp_mj_film_render(r->film, &r->env, shot, rgb, &r->error), &r->error);
}

/* Mean over a rectangle of the pictures' absolute difference, all colours. */
static double differ(const unsigned char *a, const unsigned char *b, int x0, int y0, int x1, int y1) {
    double sum = 0;
    int x, y, k;
    for (y = y0; y < y1; y++)
        for (x = x0; x < x1; x++)
            for (k = 0; k < 3; k++) sum += fabs((double)a[3 * (y * W + x) + k] - (double)b[3 * (y * W + x) + k]);
    return sum / (3.0 * (x1 - x0) * (y1 - y0));
}

static double differ_all(const unsigned char *a, const unsigned char *b) { return differ(a, b, 0, 0, W, H); }

/* Standard deviation of brightness: a blank picture has none. */
static double contrast(const unsigned char *rgb) {
    double s = 0, ss = 0;
    int i;
    for (i = 0; i < PIXELS; i++) {
        s += rgb[i];
        ss += (double)rgb[i] * rgb[i];
    }
    s /= PIXELS;
    return sqrt(fmax(0, ss / PIXELS - s * s));
}

/* Where a point of the floor is on the map, in pixels. */
static void on_map(int *column, int *row, const bp_mj_shot *shot, double x, double y) {
    const double scale = 0.5 * H / (shot->camera.distance * tan(0.5 * shot->camera.fovy * 3.14159265358979 / 180));
    *column = (int)floor(0.5 * W + scale * x);
    *row = (int)floor(0.5 * H - scale * y);
}

static const unsigned char *pixel(const unsigned char *rgb, int x, int y) {
    assert_true(x >= 0 && x < W && y >= 0 && y < H);
    return rgb + 3 * (y * W + x);
}

/* ---- two ways to the same picture ------------------------------------------------------------ */

/* Runs first: the child must not inherit a process in which MuJoCo has already chosen. */
static void test_egl_and_osmesa_agree(void **state) {
#if defined(BPRIOR_MUJOCO_EGL) && defined(BPRIOR_MUJOCO_OSMESA)
    static unsigned char egl[4][PIXELS];
    unsigned char *shared = (unsigned char *)mmap(NULL, 4 * PIXELS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    rig r;
    int i, status;
    pid_t child;
    (void)state;
    assert_true(shared != (unsigned char *)MAP_FAILED);
    child = fork();
    assert_true(child >= 0);
    for (i = 0; i < 4; i++) {
        if (child == 0 && i == 0) alarm(100);
        rig_world(&r, i < 2, 3);
        if (child == 0) {
            bp_mj_film_config config = bp_mj_film_config_default(W, H);
            config.gl = BP_MJ_GL_OSMESA;
            if (bp_mj_film_create(&r.film, &config, r.world, NULL, &r.error) != BP_OK) _exit(7);
            if (bp_mj_film_render(r.film, &r.env, i % 2 ? &r.top : &r.track, shared + i * PIXELS, &r.error) != BP_OK) _exit(8);
            if (bp_mj_film_gl(r.film) != BP_MJ_GL_OSMESA) _exit(9);
            if (i == 3) _exit(0);
        } else {
            rig_film(&r, BP_MJ_GL_EGL);
            assert_int_equal(bp_mj_film_gl(r.film), BP_MJ_GL_EGL);
            shoot(&r, i % 2 ? &r.top : &r.track, egl[i]);
        }
        rig_free(&r);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    for (i = 0; i < 4; i++) {
        assert_true(contrast(egl[i]) > 15);
        assert_true(contrast(shared + i * PIXELS) > 15);
        assert_true(differ_all(egl[i], shared + i * PIXELS) < 0.5);
    }
    assert_true(differ_all(egl[0], egl[1]) > 10); /* and the four are four */
    assert_true(differ_all(egl[0], egl[2]) > 10);
    munmap(shared, 4 * PIXELS);
#else
    (void)state;
    skip();
#endif
}

/* MuJoCo has looked up EGL's functions by now: OSMesa's cannot follow. A status, and EGL goes on. */
static void test_first_library_decides(void **state) {
#if defined(BPRIOR_MUJOCO_EGL) && defined(BPRIOR_MUJOCO_OSMESA)
    static unsigned char a[PIXELS], b[PIXELS];
    bp_mj_film_config config = bp_mj_film_config_default(W, H);
    bp_mj_film *other = (bp_mj_film *)&config;
    rig r;
    (void)state;
    rig_world(&r, false, 3);
    rig_film(&r, BP_MJ_GL_AUTO);
    assert_int_equal(bp_mj_film_gl(r.film), BP_MJ_GL_EGL);
    shoot(&r, &r.track, a);
    config.gl = BP_MJ_GL_OSMESA;
    assert_int_equal(bp_mj_film_create(&other, &config, r.world, NULL, &r.error), BP_ERR_ENV);
    assert_null(other);
    assert_true(r.error.text[0] != '\0');
    shoot(&r, &r.track, b);
    assert_memory_equal(a, b, PIXELS);
    rig_free(&r);
#else
    (void)state;
    skip();
#endif
}

/* ---- the picture ------------------------------------------------------------------------------ */

static void test_same_state_same_picture(void **state) {
    static unsigned char a[PIXELS], b[PIXELS], c[PIXELS];
    rig r, s;
    int ant;
    (void)state;
    if (!HAS_GL) skip();
    for (ant = 0; ant < 2; ant++) {
        rig_world(&r, ant, 11);
        rig_world(&s, ant, 11);
        rig_film(&r, BP_MJ_GL_AUTO);
        rig_film(&s, BP_MJ_GL_AUTO);
        shoot(&r, &r.track, a);
        assert_true(contrast(a) > 15);
        shoot(&r, &r.top, b); /* something else in between */
        shoot(&r, &r.track, b);
        shoot(&s, &s.track, c);
        assert_memory_equal(a, b, PIXELS);
        assert_memory_equal(a, c, PIXELS);

        /* the other film goes, this one stays */
        bp_mj_film_destroy(s.film);
        s.film = NULL;
        shoot(&r, &r.track, b);
        assert_memory_equal(a, b, PIXELS);

        /* another state, another picture */
        assert_int_equal(r.env.reset(r.env.self, 12, r.obs), BP_OK);
        shoot(&r, &r.track, b);
        assert_true(differ_all(a, b) > 1);
        rig_free(&r);
        rig_free(&s);
    }
}

/* An episode that is filmed is the same episode, bit for bit. */
static void test_looking_changes_nothing(void **state) {
    static unsigned char rgb[PIXELS], before[8192], after[8192];
    rig r, s;
    size_t n;
    int i;
    (void)state;
    if (!HAS_GL) skip();
    rig_world(&r, true, 21);
    rig_world(&s, true, 21);
    rig_film(&r, BP_MJ_GL_AUTO);
    for (i = 0; i < 20; i++) {
        assert_int_equal(r.env.step(r.env.self, r.action, r.obs, &r.out), BP_OK);
        assert_int_equal(s.env.step(s.env.self, s.action, s.obs, &s.out), BP_OK);
        n = r.env.save(r.env.self, before, sizeof before);
        shoot(&r, i % 2 ? &r.track : &r.top, rgb);
        assert_int_equal(r.env.save(r.env.self, after, sizeof after), n);
        assert_true(n > 0);
        assert_memory_equal(before, after, n);
        assert_memory_equal(r.obs, s.obs, r.env.spec.observation_size * sizeof(bp_real));
    }
    rig_free(&r);
    rig_free(&s);
}

/* Zones appear where the targets are, and nowhere else. */
static void test_targets_are_where_they_are(void **state) {
    static unsigned char with[PIXELS], without[PIXELS];
    double target[BP_MJ_MAX_TARGETS][3];
    rig r;
    size_t n, i;
    int ant, x, y, k, changed;
    (void)state;
    if (!HAS_GL) skip();
    for (ant = 0; ant < 2; ant++) {
        rig_world(&r, ant, 5);
        rig_film(&r, BP_MJ_GL_AUTO);
        r.top.shadows = false; /* of the arrow */
        r.top.goal = r.top.targets = false;
        shoot(&r, &r.top, without);
        n = bp_mj_env_targets(&r.env, &target[0][0], BP_MJ_MAX_TARGETS);
        r.top.targets = true;
        shoot(&r, &r.top, with);
        for (i = 0; i < n; i++) {
            on_map(&x, &y, &r.top, target[i][0], target[i][1]);
            assert_true(differ(with, without, x - 2, y - 2, x + 2, y + 2) > 8);
        }
        for (y = 0, changed = 0; y < H; y++)
            for (x = 0; x < W; x++) {
                int far_off = 1;
                for (i = 0; i < n; i++) {
                    int cx, cy, ex, ey;
                    on_map(&cx, &cy, &r.top, target[i][0], target[i][1]);
                    on_map(&ex, &ey, &r.top, target[i][0] + (ant ? 0.5 : 0.06), target[i][1]);
                    /* 12 pixels for the number, which begins at the middle */
                    if (abs(x - cx) <= (ex - cx) + 12 && abs(y - cy) <= (ex - cx) + 12) far_off = 0;
                }
                for (k = 0; k < 3; k++) {
                    const bool same = pixel(with, x, y)[k] == pixel(without, x, y)[k];
                    if (far_off) assert_true(same);
                    changed += !same;
                }
            }
        assert_true(changed > 100);

        /* the goal stands out */
        r.top.goal = true;
        shoot(&r, &r.top, without);
        i = bp_mj_env_info(&r.env).goal;
        on_map(&x, &y, &r.top, target[i][0], target[i][1]);
        assert_true(differ(with, without, x - 2, y - 2, x + 2, y + 2) > 8);
        rig_free(&r);
    }
}

/* The tracking camera keeps the body in the middle of the picture, wherever it is. */
static void test_track(void **state) {
    static unsigned char rgb[PIXELS];
    static const double place[3][2] = {{0, 0}, {0.25, -0.2}, {-0.28, 0.28}};
    rig r;
    int i;
    (void)state;
    if (!HAS_GL) skip();
    rig_world(&r, false, 5);
    rig_film(&r, BP_MJ_GL_AUTO);
    r.track.targets = r.track.goal = false;
    r.track.camera.distance = 0.2;
    r.track.camera.lookat[2] = 0.01;
    for (i = 0; i < 3; i++) {
        double position[3];
        const unsigned char *p;
        bpt_ok(bp_mj_env_set_state(&r.env, place[i], NULL, NULL, &r.error), &r.error);
        bp_mj_env_position(position, &r.env);
        assert_true(fabs(position[0] - place[i][0]) < 1e-9 && fabs(position[1] - place[i][1]) < 1e-9);
        shoot(&r, &r.track, rgb);
        p = pixel(rgb, W / 2, H / 2);
        assert_true(p[0] > p[1] + 40 && p[1] > p[2] + 20); /* the ball is orange, the floor is not */
        p = pixel(rgb, W / 2, 5);
        assert_false(p[0] > p[1] + 40);
    }
    rig_free(&r);
}

/* Text and curve are written over their corners only. */
static void test_text(void **state) {
    static unsigned char plain[PIXELS], text[PIXELS];
    static const double curve[4] = {0, 1, 0.5, 2};
    rig r;
    (void)state;
    if (!HAS_GL) skip();
    rig_world(&r, true, 5);
    rig_film(&r, BP_MJ_GL_AUTO);
    shoot(&r, &r.top, plain);
    r.top.numbers = true;
    r.top.reward = 1;
    r.top.kl = 0.125;
    shoot(&r, &r.top, text);
    assert_true(differ(plain, text, 0, 0, 40, 30) > 10);
    assert_true(differ(plain, text, 3 * W / 4, 0, W, H) == 0 && differ(plain, text, 0, 3 * H / 4, W, H) == 0);
    r.top.numbers = false;
    r.top.predicates = true;
    shoot(&r, &r.top, text);
    assert_true(differ(plain, text, 0, H - 20, 30, H) > 10);
    assert_true(differ(plain, text, 0, 0, W, H / 2) == 0);
    r.top.predicates = false;
    r.top.keys = "a\nb";
    shoot(&r, &r.top, text);
    assert_true(differ(plain, text, W - 10, 0, W, 10) > 10);
    assert_true(differ(plain, text, 0, 0, W / 2, H) == 0);
    r.top.keys = NULL;
    r.top.curve = curve;
    r.top.n_curve = 4;
    r.top.curve_name = "KL";
    shoot(&r, &r.top, text);
    assert_true(differ(plain, text, W - 30, H - 20, W, H) > 10);
    assert_true(differ(plain, text, 0, 0, W / 2, H) == 0);
    rig_free(&r);
}

/* Trails: there, in their colour, pen up at NaN, until cleared; all or nothing when the room is gone. */
static void test_shapes(void **state) {
    static unsigned char plain[PIXELS], drawn[PIXELS];
    static const double red[4] = {1, 0, 0, 1};
    const double points[5][3] = {{-4, -4, 0.1}, {-4, 4, 0.1}, {NAN, 0, 0}, {4, 4, 0.1}, {4, -4, 0.1}};
    double many[52][3], at[3] = {0, 4.2, 0.1};
    const unsigned char *p;
    rig r;
    int x, y, i;
    (void)state;
    if (!HAS_GL) skip();
    rig_world(&r, true, 5);
    rig_film(&r, BP_MJ_GL_AUTO);
    r.top.shadows = false;
    shoot(&r, &r.top, plain);
    bpt_ok(bp_mj_film_trail(r.film, &points[0][0], 5, 0.4, red, &r.error), &r.error);
    bpt_ok(bp_mj_film_ball(r.film, at, 0.4, red, &r.error), &r.error);
    shoot(&r, &r.top, drawn);
    for (i = 0; i < 3; i++) { /* left line, right line, ball */
        on_map(&x, &y, &r.top, i == 2 ? 0 : 8 * i - 4, i == 2 ? 4.2 : 1);
        p = pixel(drawn, x, y);
        assert_true(p[0] > 150 && p[1] < 110 && p[2] < 110);
    }
    on_map(&x, &y, &r.top, 0, -4.2); /* nothing from the one to the other */
    assert_true(differ(plain, drawn, x - 3, y - 3, x + 3, y + 3) == 0);

    memset(many, 0, sizeof many);
    for (i = 0; i < 52; i++) many[i][0] = 0.01 * i;
    assert_int_equal(bp_mj_film_trail(r.film, &many[0][0], 49, 0.1, red, &r.error), BP_ERR_SIZE); /* 48 of the 47 left */
    assert_non_null(strstr(r.error.text, "max_shapes"));
    bpt_ok(bp_mj_film_trail(r.film, &many[0][0], 48, 0.1, red, &r.error), &r.error);
    assert_int_equal(bp_mj_film_line(r.film, at, at, 0.1, red, &r.error), BP_ERR_SIZE);
    bp_mj_film_clear(r.film);
    shoot(&r, &r.top, drawn);
    assert_memory_equal(plain, drawn, PIXELS);
    at[1] = NAN;
    assert_int_equal(bp_mj_film_ball(r.film, at, 0.4, red, &r.error), BP_ERR_NONFINITE);
    bpt_ok(bp_mj_film_trail(r.film, &many[0][0], 0, 0.1, red, &r.error), &r.error);
    rig_free(&r);
}

static void test_resize(void **state) {
    static unsigned char big[PIXELS], small[PIXELS];
    rig r;
    (void)state;
    if (!HAS_GL) skip();
    rig_world(&r, true, 5);
    rig_film(&r, BP_MJ_GL_AUTO);
    shoot(&r, &r.top, big);
    bpt_ok(bp_mj_film_resize(r.film, W / 2, H / 2, &r.error), &r.error);
    memset(small, 7, sizeof small);
    shoot(&r, &r.top, small);
    assert_int_equal(small[PIXELS / 4 - 1] == 7 && small[PIXELS / 4 - 2] == 7 && small[PIXELS / 4 - 3] == 7, 0);
    assert_int_equal(small[PIXELS / 4], 7); /* not a byte more */
    assert_int_equal(bp_mj_film_resize(r.film, W + 1, H, &r.error), BP_ERR_SIZE);
    assert_int_equal(bp_mj_film_resize(r.film, 0, H, &r.error), BP_ERR_SIZE);
    bpt_ok(bp_mj_film_resize(r.film, W, H, &r.error), &r.error);
    shoot(&r, &r.top, small);
    assert_memory_equal(big, small, PIXELS);
    rig_free(&r);
}

/* ---- errors ------------------------------------------------------------------------------------- */

static void test_refused(void **state) {
    bp_mj_film_config good = bp_mj_film_config_default(W, H), c;
    bp_mj_film *film;
    bp_error e;
    rig r;
    (void)state;
    rig_world(&r, false, 1);
#define REFUSED(change, status, word)                                              \
    do {                                                                           \
        c = good;                                                                  \
        change;                                                                    \
        film = (bp_mj_film *)&c;                                                   \
        assert_int_equal(bp_mj_film_create(&film, &c, r.world, NULL, &e), status); \
        assert_non_null(strstr(e.text, word));                                     \
        assert_null(film);                                                         \
    } while (0)
    REFUSED(memset(&c, 0, sizeof c), BP_ERR_CONFIG, "default");
    REFUSED(c.width = 0, BP_ERR_ARGUMENT, "width");
    REFUSED(c.height = 0, BP_ERR_ARGUMENT, "height");
    REFUSED(c.width = 8193, BP_ERR_ARGUMENT, "8193");
    REFUSED(c.gl = (bp_mj_gl)4, BP_ERR_ARGUMENT, "gl");
    REFUSED(c.max_shapes = 1000001, BP_ERR_ARGUMENT, "max_shapes");
    REFUSED(c.samples = 33, BP_ERR_ARGUMENT, "samples");
    REFUSED(c.font = 70, BP_ERR_ARGUMENT, "font");
#ifndef BPRIOR_MUJOCO_EGL
    REFUSED(c.gl = BP_MJ_GL_EGL, BP_ERR_UNSUPPORTED, "BPRIOR_MUJOCO_EGL");
#endif
#ifndef BPRIOR_MUJOCO_OSMESA
    REFUSED(c.gl = BP_MJ_GL_OSMESA, BP_ERR_UNSUPPORTED, "BPRIOR_MUJOCO_OSMESA");
#endif
#if !HAS_GL
    REFUSED(c.gl = BP_MJ_GL_AUTO, BP_ERR_UNSUPPORTED, "BPRIOR_MUJOCO_EGL");
#endif
#undef REFUSED
    assert_int_equal(bp_mj_film_create(NULL, &good, r.world, NULL, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_mj_film_create(&film, NULL, r.world, NULL, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_mj_film_create(&film, &good, NULL, NULL, &e), BP_ERR_ARGUMENT);
    assert_int_equal(bp_mj_film_gl(NULL), BP_MJ_GL_AUTO);
    bp_mj_film_destroy(NULL);
    rig_free(&r);
}

/* "Current" without anything current is MuJoCo's complaint, not the end of the process. In a child that has no GL yet. */
static void test_nothing_current(void **state) {
    int status;
    pid_t child = fork();
    (void)state;
    assert_true(child >= 0);
    if (child == 0) {
        bp_mj_film_config c = bp_mj_film_config_default(W, H);
        bp_mj_film *film = NULL;
        rig r;
        alarm(60);
        rig_world(&r, false, 1);
        c.gl = BP_MJ_GL_CURRENT;
        status = (int)bp_mj_film_create(&film, &c, r.world, NULL, &r.error);
        _exit(status == BP_ERR_ENV && film == NULL && r.error.text[0] ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_bad_shots(void **state) {
    static unsigned char rgb[PIXELS];
    bp_mj_shot shot;
    rig r, s;
    (void)state;
    if (!HAS_GL) skip();
    rig_world(&r, false, 1);
    rig_world(&s, false, 1);
    rig_film(&r, BP_MJ_GL_AUTO);
#define REFUSED(change)                                                                             \
    do {                                                                                            \
        shot = r.track;                                                                             \
        change;                                                                                     \
        assert_int_equal(bp_mj_film_render(r.film, &r.env, &shot, rgb, &r.error), BP_ERR_ARGUMENT); \
    } while (0)
    REFUSED(shot.camera.distance = 0);
    REFUSED(shot.camera.distance = NAN);
    REFUSED(shot.camera.azimuth = NAN);
    REFUSED(shot.camera.elevation = 91);
    REFUSED(shot.camera.fovy = 180);
    REFUSED(shot.camera.lookat[2] = INFINITY);
#undef REFUSED
    assert_int_equal(bp_mj_film_render(r.film, &s.env, &r.track, rgb, &r.error), BP_ERR_ARGUMENT); /* of another world */
    assert_int_equal(bp_mj_film_render(r.film, NULL, &r.track, rgb, &r.error), BP_ERR_ARGUMENT);
    assert_int_equal(bp_mj_film_render(r.film, &r.env, NULL, rgb, &r.error), BP_ERR_ARGUMENT);
    assert_int_equal(bp_mj_film_render(NULL, &r.env, &r.track, rgb, &r.error), BP_ERR_ARGUMENT);
    bpt_ok(bp_mj_film_render(r.film, &r.env, &r.track, NULL, &r.error), &r.error); /* drawn, not read */
    rig_free(&r);
    rig_free(&s);
}

static void test_out_of_memory(void **state) {
    bp_mj_film_config config = bp_mj_film_config_default(W, H);
    static unsigned char rgb[PIXELS];
    bpt_memory memory;
    rig r;
    size_t n;
    (void)state;
    if (!HAS_GL) skip();
    rig_world(&r, false, 1);
    for (n = 1;; n++) {
        bp_status status;
        bpt_memory_use(&memory);
        memory.fail_at = n;
        status = bp_mj_film_create(&r.film, &config, r.world, &memory.allocator, &r.error);
        if (status == BP_OK) {
            const size_t requests = memory.requests;
            shoot(&r, &r.track, rgb);
            assert_int_equal(memory.requests, requests);
        }
        bp_mj_film_destroy(r.film);
        r.film = NULL;
        bpt_memory_check(&memory);
        if (status == BP_OK) break;
        assert_int_equal(status, BP_ERR_MEMORY);
    }
    assert_true(n > 2);
    rig_free(&r);
}

/* ---- helpers ------------------------------------------------------------------------------------ */

static void test_walker_and_cameras(void **state) {
    bp_mj_camera c;
    double position[3], a[4], b[4];
    rig r;
    (void)state;
    rig_world(&r, true, 1);
    assert_int_equal(bp_mj_world_focus(r.world), mj_name2id(bp_mj_world_model(r.world), mjOBJ_BODY, "torso"));
    bp_mj_env_position(position, &r.env);
    assert_true(position[2] > 0.3 && position[2] < 0.8);
    c = bp_mj_camera_default(r.world, BP_MJ_VIEW_TOP);
    assert_true(fabs(c.distance * tan(0.5 * c.fovy * 3.14159265358979 / 180) - 1.03 * 7) < 1e-6); /* the floor, 14 m wide */
    rig_free(&r);
    rig_world(&r, false, 1);
    assert_int_equal(bp_mj_world_focus(r.world), mj_name2id(bp_mj_world_model(r.world), mjOBJ_BODY, "pointmass"));
    rig_free(&r);
    assert_int_equal(bp_mj_world_focus(NULL), 0);
    c = bp_mj_camera_default(NULL, BP_MJ_VIEW_TRACK);
    assert_true(c.distance > 0);
    memset(&r.env, 0, sizeof r.env);
    bp_mj_env_position(position, &r.env);
    assert_true(position[0] == 0 && position[1] == 0 && position[2] == 0);
    bp_mj_color(a, 3);
    bp_mj_color(b, 11);
    assert_memory_equal(a, b, sizeof a);
    assert_true(a[3] == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_current),
        cmocka_unit_test(test_egl_and_osmesa_agree),
        cmocka_unit_test(test_first_library_decides),
        cmocka_unit_test(test_same_state_same_picture),
        cmocka_unit_test(test_looking_changes_nothing),
        cmocka_unit_test(test_targets_are_where_they_are),
        cmocka_unit_test(test_track),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bad_shots),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_walker_and_cameras),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
