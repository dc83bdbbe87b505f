/* film.c - what does it do? Plays a policy, a prior or noise in a MuJoCo world, and films it. No window, no display server.
 *
 * You learn: bp_mj_film (bprior_mujoco.h, chapter M9), bp_agent, the KL of a policy from a prior step by step.
 * Build and run: make film ARGS="--policy build/demo/behavior --prior build/demo/behavior"
 * Needs EGL or OSMesa to draw, and ffmpeg for films (without it: PNG only, uncompressed).
 *
 *     film.mp4, film.gif, frames/00000.png ...    one picture per control step: films run at fps times the step's length
 *     trails.png                                  with --trails: where many episodes wander, seen from above
 */
#ifndef _WIN32
#define _XOPEN_SOURCE 700 /* popen() */
#endif
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#define BPRIOR_MUJOCO_IMPLEMENTATION
#include "bprior_mujoco.h"
#include "play.h"

#ifdef _WIN32
#define popen _popen
#define pclose _pclose
#endif

/* ---- PNG, without compression ------------------------------------------------------ */

/* The CRC of PNG: x^32 + ..., reflected, bit by bit. */
static uint32_t crc(uint32_t c, const unsigned char *data, size_t n) {
    size_t i;
    int k;
    for (i = 0; i < n; i++)
        for (c ^= data[i], k = 0; k < 8; k++) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
    return c;
}

static void big(unsigned char *out, uint32_t x) {
    out[0] = (unsigned char)(x >> 24);
    out[1] = (unsigned char)(x >> 16);
    out[2] = (unsigned char)(x >> 8);
    out[3] = (unsigned char)x;
}

static bool chunk(FILE *file, const char *type, const unsigned char *data, size_t n) {
    unsigned char head[8], tail[4];
    big(head, (uint32_t)n);
    memcpy(head + 4, type, 4);
    big(tail, ~crc(crc(~0u, head + 4, 4), data, n));
    return fwrite(head, 1, 8, file) == 8 && fwrite(data, 1, n, file) == n && fwrite(tail, 1, 4, file) == 4;
}

/* Each row, with its filter byte 0, is one or more "stored" blocks of deflate: what a decoder must accept, and nothing to compute. */
static bool write_png(const char *path, const unsigned char *rgb, size_t width, size_t height) {
    static const unsigned char signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    const size_t row = 3 * width + 1, blocks = (row + 65534) / 65535, bytes = 2 + height * (row + 5 * blocks) + 4;
    unsigned char header[13] = {0}, *z = (unsigned char *)malloc(bytes), *p = z;
    FILE *file = fopen(path, "wb");
    uint32_t a = 1, b = 0; /* Adler-32 */
    size_t i, j, k;
    bool fine = z != NULL && file != NULL;
    if (fine) {
        *p++ = 0x78;
        *p++ = 0x01;
        for (i = 0; i < height; i++)
            for (j = 0; j < row;) {
                const size_t n = row - j < 65535 ? row - j : 65535;
                *p++ = i + 1 == height && j + n == row; /* the last block? */
                *p++ = (unsigned char)(n & 255);
                *p++ = (unsigned char)(n >> 8);
                *p++ = (unsigned char)(~n & 255);
                *p++ = (unsigned char)((~n >> 8) & 255);
                for (k = 0; k < n; k++, j++) {
                    *p = j ? rgb[i * 3 * width + j - 1] : 0;
                    a = (a + *p++) % 65521;
                    b = (b + a) % 65521;
                }
            }
        big(p, (b << 16) | a);
        p += 4;
        big(header, (uint32_t)width);
        big(header + 4, (uint32_t)height);
        header[8] = 8; /* bits */
        header[9] = 2; /* RGB */
        fine = fwrite(signature, 1, 8, file) == 8 && chunk(file, "IHDR", header, 13) &&
               chunk(file, "IDAT", z, (size_t)(p - z)) && chunk(file, "IEND", header, 0);
    }
    if (file) fine = fclose(file) == 0 && fine;
    free(z);
    return fine;
}

/* ---- files ----------------------------------------------------------------------------- */

#define MAX_SINKS 3

/* Where pictures go: pipes into ffmpeg, and without ffmpeg single files. */
typedef struct sinks {
    FILE *pipe[MAX_SINKS];
    char path[MAX_SINKS][700];
    size_t n, pictures;
    bool loose; /* PNG by ourselves */
    const char *out;
    size_t width, height;
} sinks;

static bool have_ffmpeg(void) { return system("ffmpeg -version >/dev/null 2>&1") == 0; }

/* after (nullable) are ffmpeg's words for this kind of output. */
static bool sink_open(sinks *s, const char *name, const char *after, unsigned fps) {
    char command[1600];
    snprintf(s->path[s->n], sizeof s->path[0], "%.500s/%s", s->out, name);
    snprintf(command, sizeof command, "ffmpeg -y -loglevel error -f rawvideo -pix_fmt rgb24 -s %lux%lu -r %u -i - -an %s '%s'",
             (unsigned long)s->width, (unsigned long)s->height, fps, after, s->path[s->n]);
    s->pipe[s->n] = popen(command, "w");
    return s->pipe[s->n] != NULL && ++s->n;
}

static bool sinks_write(sinks *s, const unsigned char *rgb) {
    size_t i;
    char path[700];
    for (i = 0; i < s->n; i++)
        if (fwrite(rgb, 3 * s->width, s->height, s->pipe[i]) != s->height) return false;
    if (s->loose) {
        snprintf(path, sizeof path, "%.500s/frames/%05lu.png", s->out, (unsigned long)s->pictures);
        if (!write_png(path, rgb, s->width, s->height)) return false;
    }
    s->pictures++;
    return true;
}

static bool sinks_close(sinks *s) {
    bool fine = true;
    size_t i;
    for (i = 0; i < s->n; i++) {
        const bool good = pclose(s->pipe[i]) == 0;
        fine = good && fine;
        if (good && strstr(s->path[i], "%05d")) printf("%s: %lu pictures\n", s->path[i], (unsigned long)s->pictures);
        else if (good) printf("%s\n", s->path[i]);
    }
    if (s->loose) printf("%s/frames/ (%lu pictures)\n", s->out, (unsigned long)s->pictures);
    return fine;
}

/* "png,mp4" -> has it "png"? */
static bool listed(const char *list, const char *word) {
    const char *at = strstr(list, word);
    return at && (at == list || at[-1] == ',') && (at[strlen(word)] == ',' || at[strlen(word)] == '\0');
}

static bool sinks_begin(sinks *s, const play_options *o, bp_error *error) {
    const bool ffmpeg = have_ffmpeg();
    const unsigned fps = (unsigned)o->fps;
    char frames[700], gif[300];
    bool fine = true;
    snprintf(frames, sizeof frames, "%.500s/frames", o->cli.out);
    if (!ffmpeg) fprintf(stderr, "film: no ffmpeg here, so PNG only (Debian: apt-get install ffmpeg)\n");
    if (listed(o->format, "png") || !ffmpeg) {
        if (bp_file_make_directory(frames, error) != BP_OK) return false;
        if (!ffmpeg) s->loose = true;
        else fine = sink_open(s, "frames/%05d.png", "-start_number 0", fps) && fine;
    }
    /* the usual pixel format of MP4 wants even sizes */
    if (ffmpeg && listed(o->format, "mp4"))
        fine = sink_open(s, "film.mp4",
                         "-vf 'crop=trunc(iw/2)*2:trunc(ih/2)*2' -c:v libx264 -preset medium -crf 20 -pix_fmt yuv420p -movflags +faststart",
                         fps) &&
               fine;
    snprintf(gif, sizeof gif, "-vf 'fps=%u,split[a][b];[a]palettegen=stats_mode=diff[p];[b][p]paletteuse=dither=bayer:bayer_scale=4'",
             fps > 50 ? 50 : fps);
    if (ffmpeg && listed(o->format, "gif")) fine = sink_open(s, "film.gif", gif, fps) && fine;
    if (!fine) snprintf(error->text, sizeof error->text, "ffmpeg cannot be started");
    return fine;
}

/* ---- what is filmed ------------------------------------------------------------------------ */

static int complain(const char *text) {
    fprintf(stderr, "film: %s\n", text);
    return 1;
}

/* All episodes on one picture, from above. */
static int trails(play *p, bp_mj_film *film, const play_options *o, unsigned char *rgb) {
    bp_mj_shot shot = bp_mj_shot_default(p->world, BP_MJ_VIEW_TOP);
    const double width = shot.camera.distance * tan(0.0262 * shot.camera.fovy / 3) / 100; /* 1/160 or so of the picture */
    const uint64_t episodes = o->episodes > 1 ? o->episodes : o->cli.quick ? 3
                                                                           : 12;
    char path[700], title[80];
    double rgba[4], total = 0;
    uint64_t episode;
    size_t steps = 0;
    for (episode = 0; episode < episodes && !cli_interrupted; episode++) {
        double end[3];
        if (!play_begin(p, episode)) return complain(p->error.text);
        while (!p->last && p->n < o->cli.steps && !cli_interrupted) play_step(p);
        if (p->failed) return complain(p->error.text);
        bp_mj_color(rgba, episode);
        rgba[3] = 0.9;
        play_trail(film, p, 0, width, rgba);
        memcpy(end, p->trail[p->n], sizeof end);
        end[2] = 2 * width;
        bp_mj_film_ball(film, end, 1.5 * width, rgba, NULL);
        total += p->total;
        steps += p->n;
    }
    snprintf(title, sizeof title, "%s\n%lu\n%.3f", play_who(p), (unsigned long)episodes, total / (double)episodes);
    shot.keys = "who\nepisodes\nmean return";
    shot.words = title;
    shot.goal = false; /* it was another one in each episode */
    shot.shadows = false;
    if (bp_mj_film_render(film, &p->env, &shot, rgb, &p->error) != BP_OK) return complain(p->error.text);
    snprintf(path, sizeof path, "%.500s/trails.png", o->cli.out);
    if (!write_png(path, rgb, o->width, o->height)) return complain("cannot write trails.png");
    printf("%s\nfilm: %s, %lu episodes, %lu steps, mean return %.3f\n", path, play_who(p), (unsigned long)episodes,
           (unsigned long)steps, total / (double)episodes);
    return 0;
}

static int film_episodes(play *p, bp_mj_film *film, const play_options *o, unsigned char *rgb) {
    bp_mj_shot shot = bp_mj_shot_default(p->world, play_view(o->camera));
    sinks s;
    double width, rgba[4], total = 0, kl = 0;
    uint64_t episode, steps = 0;
    size_t hold, i;
    memset(&s, 0, sizeof s);
    s.out = o->cli.out;
    s.width = (size_t)o->width;
    s.height = (size_t)o->height;
    if (!sinks_begin(&s, o, &p->error)) return complain(p->error.text);
    width = 0.008 * shot.camera.distance * shot.camera.fovy / 45; /* an eighth of a per cent of what is in view */
    for (episode = 0; episode < o->episodes && steps < o->cli.steps && !cli_interrupted; episode++) {
        bool going = play_begin(p, episode);
        bp_mj_film_clear(film);
        bp_mj_color(rgba, 3);
        rgba[3] = 0.8;
        while (going) {
            play_shot(&shot, p);
            play_trail(film, p, p->n, width, rgba);
            if (bp_mj_film_render(film, &p->env, &shot, rgb, &p->error) != BP_OK) return complain(p->error.text);
            hold = p->last ? (size_t)o->fps / 2 + 1 : 1; /* half a second to read how it ended */
            for (i = 0; i < hold; i++)
                if (!sinks_write(&s, rgb)) return complain("ffmpeg or the disk takes no more");
            going = !p->last && steps < o->cli.steps && !cli_interrupted;
            if (going) going = play_step(p);
            steps += going;
        }
        if (p->failed) return complain(p->error.text);
        total += p->total;
        for (i = 0; i < p->n; i++) kl += p->kl[i];
    }
    if (!sinks_close(&s)) return complain("ffmpeg failed");
    printf("film: %s, %lu episodes, %lu steps, mean return %.3f", play_who(p), (unsigned long)episode, (unsigned long)steps,
           episode ? total / (double)episode : 0.0);
    if (p->has_kl) printf(", mean KL %.4f nats per step", steps ? kl / (double)steps : 0.0);
    printf("\n");
    return 0;
}

int main(int argc, char **argv) {
    static play player;
    play_options options = play_defaults("film",
                                         "Plays a policy, a prior by itself, or Gaussian noise, and writes films and pictures of it.\n"
                                         "--steps is the number of control steps in all.",
                                         400);
    bp_mj_film_config config;
    bp_mj_film *film = NULL;
    unsigned char *rgb;
    int code;
    options.format = "png,mp4,gif";
    options.has_trails = true;
    options.more = "  --fps N         pictures per second of film, one picture per control step (default 20)\n"
                   "  --format LIST   of png, mp4, gif (default png,mp4,gif)\n"
                   "  --episodes N    how many (default 1; with --trails 12)\n"
                   "  --trails        one picture, trails.png: where the episodes went, seen from above\n"
                   "  --gl NAME       auto, egl or osmesa (default auto)\n";
    code = play_parse(&options, argc, argv);
    if (code >= 0) return code;
    if (strlen(options.cli.out) > 500 || strchr(options.cli.out, '\'')) {
        fprintf(stderr, "film: --out is too long, or has a quote in it\n");
        return 2;
    }
    if (strcmp(options.gl, "auto") && strcmp(options.gl, "egl") && strcmp(options.gl, "osmesa")) {
        fprintf(stderr, "film: --gl is auto, egl or osmesa\n");
        return 2;
    }
    if (!listed(options.format, "png") && !listed(options.format, "mp4") && !listed(options.format, "gif")) {
        fprintf(stderr, "film: --format is a list of png, mp4 and gif\n");
        return 2;
    }
    if (options.cli.quick && options.cli.steps > 20 && !options.trails) options.cli.steps = 20;
#ifdef SIGPIPE
    signal(SIGPIPE, SIG_IGN); /* an ffmpeg that gives up is told by fwrite() */
#endif

    config = bp_mj_film_config_default((size_t)options.width, (size_t)options.height);
    config.gl = options.gl[0] == 'e' ? BP_MJ_GL_EGL : options.gl[0] == 'o' ? BP_MJ_GL_OSMESA
                                                                           : BP_MJ_GL_AUTO;
    rgb = (unsigned char *)malloc(3 * config.width * config.height);
    code = 1;
    if (!rgb) complain("no memory");
    else if (!play_open(&player, &options) || bp_file_make_directory(options.cli.out, &player.error) != BP_OK ||
             bp_mj_film_create(&film, &config, player.world, NULL, &player.error) != BP_OK) complain(player.error.text);
    else if (options.trails) code = trails(&player, film, &options, rgb);
    else code = film_episodes(&player, film, &options, rgb);
    bp_mj_film_destroy(film);
    play_close(&player);
    free(rgb);
    return code;
}
