/* Files and logs: the safetensors reader and writer, policy files, CSV, TensorBoard events, whole-or-nothing writing. */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* setrlimit, mkdtemp */
#endif
#define BPRIOR_IMPLEMENTATION
#include "bprior.h"
#include "test_util.h"
#include "test_scratch.h"

#include <locale.h>
#include <signal.h>
#include <sys/resource.h>

static int exists(const char *path) { return access(path, F_OK) == 0; }

/* ---- checksum --------------------------------------------------------------------------------------- */

static void test_crc32c(void **state) {
    static unsigned char data[5000];
    uint32_t parts = 0, whole, tables, slow = 0;
    size_t i, left;
    (void)state;
    assert_int_equal(bp_crc32c(0, "123456789", 9), 0xE3069283u); /* the check value of every CRC catalogue */
    memset(data, 0, 32);
    assert_int_equal(bp_crc32c(0, data, 32), 0x8A9136AAu); /* RFC 3720, B.4 */
    memset(data, 0xFF, 32);
    assert_int_equal(bp_crc32c(0, data, 32), 0x62A8AB43u);
    for (i = 0; i < 32; i++) data[i] = (unsigned char)i;
    assert_int_equal(bp_crc32c(0, data, 32), 0x46DD794Eu);
    for (i = 0; i < sizeof data; i++) data[i] = (unsigned char)(i * i * 31 + i);
    whole = bp_crc32c(0, data, sizeof data); /* by the processor's instruction, if it has one */
    left = sizeof data;
    tables = ~bpi_crc32c_tables(~(uint32_t)0, data, &left);
    assert_int_equal(left, 0);
    for (i = 0; i < sizeof data; i++) slow = bp_crc32c(slow, data + i, 1); /* by bits */
    assert_int_equal(whole, slow);
    assert_int_equal(tables, slow);
    for (i = 0; i < 40; i++) { /* in two parts, at every alignment */
        parts = bp_crc32c(bp_crc32c(0, data, 1777 + i), data + 1777 + i, sizeof data - 1777 - i);
        assert_int_equal(parts, slow);
    }
}

/* ---- safetensors ------------------------------------------------------------------------------------ */

static void test_round_trip(void **state) {
    const float f[6] = {1.5f, -2.25f, 0.0f, 3e38f, 1e-45f, -0.0f};
    const double d[2] = {0.1, -1e300};
    const uint64_t u[3] = {0, 1, UINT64_MAX};
    const unsigned char b[5] = {0, 255, 3, 4, 5};
    bp_array arrays[5];
    const bp_text texts[3] = {{"plain", "value"}, {"odd \"key\"", "back\\slash\nnew line \x01 and \xC3\xA9"}, {"empty", ""}};
    char path[300];
    bp_safetensors *file;
    bp_error error;
    bp_real real[6];
    double wide[6];
    uint64_t whole[3];
    unsigned char bytes[5], raw[4096];
    uint32_t crc = 0;
    uint64_t size = 0;
    size_t i, n;
    (void)state;
    arrays[0] = bp_array_of("b/f", BP_DTYPE_F32, 2, 3, f);
    arrays[1] = bp_array_of("a/d", BP_DTYPE_F64, 0, 2, d);
    arrays[2] = bp_array_of("u", BP_DTYPE_U64, 0, 3, u);
    arrays[3] = bp_array_of("none", BP_DTYPE_F32, 0, 0, NULL);
    arrays[4] = bp_array_of("bytes", BP_DTYPE_U8, 0, 5, b);
    bpt_at(path, "round.safetensors");
    bpt_ok(bp_safetensors_write(path, arrays, 5, texts, 3, &crc, &size, &error), &error);
    n = bpt_slurp(raw, sizeof raw, path);
    assert_int_equal(n, size);
    assert_int_equal(bp_crc32c(0, raw, n), crc);
    assert_int_equal(raw[0] % 8, 0); /* numbers begin aligned */

    bpt_ok(bp_safetensors_open(&file, path, NULL, &error), &error);
    assert_int_equal(file->n, 5);
    assert_int_equal(file->n_texts, 3);
    for (i = 0; i < 3; i++) assert_string_equal(bp_safetensors_text(file, texts[i].key), texts[i].value);
    assert_null(bp_safetensors_text(file, "absent"));
    assert_null(bp_safetensors_find(file, "absent"));
    assert_int_equal(bp_safetensors_find(file, "b/f")->n_dims, 2);
    assert_int_equal(bp_safetensors_find(file, "b/f")->shape[1], 3);
    assert_int_equal(bp_safetensors_find(file, "none")->count, 0);
    bpt_ok(bp_safetensors_read_real(file, "b/f", real, 6, &error), &error);
    bpt_ok(bp_safetensors_read_double(file, "b/f", wide, 6, &error), &error);
    for (i = 0; i < 6; i++) assert_true((double)real[i] == (double)f[i] && wide[i] == (double)f[i]);
    bpt_ok(bp_safetensors_read_double(file, "a/d", wide, 2, &error), &error);
    assert_true(wide[0] == 0.1 && wide[1] == -1e300);
    bpt_ok(bp_safetensors_read_real(file, "a/d", real, 2, &error), &error);
    assert_true(real[0] == BP_R(0.1));
    assert_true(sizeof(bp_real) == 8 ? (double)real[1] == -1e300 : !bpi_finite(real[1])); /* does not fit a float: -inf */
    bpt_ok(bp_safetensors_read_u64(file, "u", whole, 3, &error), &error);
    assert_memory_equal(whole, u, sizeof u);
    bpt_ok(bp_safetensors_read_bytes(file, "bytes", bytes, 5, &error), &error);
    assert_memory_equal(bytes, b, 5);

    /* asked for the wrong thing */
    assert_int_equal(bp_safetensors_read_real(file, "b/f", real, 5, &error), BP_ERR_MISMATCH);
    assert_non_null(strstr(error.text, "6 numbers, expected 5"));
    assert_int_equal(bp_safetensors_read_real(file, "u", real, 3, &error), BP_ERR_MISMATCH);
    assert_int_equal(bp_safetensors_read_u64(file, "a/d", whole, 2, NULL), BP_ERR_MISMATCH);
    assert_int_equal(bp_safetensors_read_bytes(file, "u", bytes, 3, &error), BP_ERR_MISMATCH);
    assert_int_equal(bp_safetensors_read_real(file, "absent", real, 1, &error), BP_ERR_MISMATCH);
    bp_safetensors_close(file);

    /* the file loses its tail between opening and reading */
    bpt_ok(bp_safetensors_open(&file, path, NULL, &error), &error);
    assert_int_equal(truncate(path, (off_t)(n - 20)), 0);
    assert_int_equal(bp_safetensors_read_u64(file, "u", whole, 3, &error), BP_ERR_FORMAT);
    bp_safetensors_close(file);
}

/* Exactly these bytes: a file must not change its meaning with the next version. */
static void test_exact_bytes(void **state) {
    static const char want[] =
        "\x78\0\0\0\0\0\0\0"
        "{\"__metadata__\":{\"k\":\"v\"},\"w\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
        "\"z\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[8,9]}}"
        "  \0\0\x80\x3f\0\0\0\xc0\x07";
    const float w[2] = {1.0f, -2.0f};
    const unsigned char z = 7;
    const bp_text text = {"k", "v"};
    bp_array arrays[2];
    unsigned char got[512];
    char path[300];
    bp_error error;
    size_t n;
    (void)state;
    arrays[0] = bp_array_of("w", BP_DTYPE_F32, 1, 2, w);
    arrays[1] = bp_array_of("z", BP_DTYPE_U8, 0, 1, &z);
    bpt_ok(bp_safetensors_write(bpt_at(path, "exact.safetensors"), arrays, 2, &text, 1, NULL, NULL, &error), &error);
    n = bpt_slurp(got, sizeof got, path);
    {
        const size_t header = got[0];
        assert_int_equal(header % 8, 0);
        assert_int_equal(n, 8 + header + 9);
        /* the header up to its padding, and the numbers */
        assert_memory_equal(got + 8, want + 8, strlen(want + 8) - 2);
        assert_memory_equal(got + 8 + header, want + sizeof want - 1 - 9, 9);
    }
}

static bp_status open_header(const char *header, size_t data, bp_error *error) {
    unsigned char bytes[2048];
    const size_t n = strlen(header);
    bp_safetensors *file;
    bp_status status;
    memset(bytes, 0, sizeof bytes);
    bytes[0] = (unsigned char)(n & 255);
    bytes[1] = (unsigned char)(n >> 8);
    memcpy(bytes + 8, header, n);
    status = bp_safetensors_open_memory(&file, bytes, 8 + n + data, NULL, error);
    bp_safetensors_close(file);
    return status;
}

static void test_malformed_headers(void **state) {
#define ONE(dtype, shape, offsets) "{\"a\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" offsets "]}}"
    static const struct {
        const char *header;
        size_t data;
        const char *word; /* NULL: it is fine */
    } c[] = {
        {"{}", 0, NULL},
        {" { } ", 0, NULL},
        {"{}", 1, "1"},
        {"", 0, "expected '{'"},
        {"[]", 0, "expected '{'"},
        {"{", 0, "expected a string"},
        {"{}x", 0, "after"},
        {"{\"__metadata__\":{}}", 0, NULL},
        {"{\"__metadata__\":{\"a\":\"b\"}}", 0, NULL},
        {"{\"__metadata__\":{\"a\":1}}", 0, "expected a string"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "two __metadata__"},
        {"{\"__metadata__\":{\"a\":\"b\",}}", 0, "expected a string"},
        {ONE("F32", "2,3", "0,24"), 24, NULL},
        {ONE("F32", "", "0,4"), 4, NULL}, /* a scalar */
        {ONE("F32", "0,5", "0,0"), 0, NULL},
        {ONE("BF16", "2", "0,4"), 4, NULL},
        {ONE("F33", "2", "0,8"), 8, "unknown dtype"},
        {ONE("F32", "2", "0,9"), 9, "do not fit"},
        {ONE("F32", "2", "8,0"), 8, "do not fit"},
        {ONE("F32", "2", "1,9"), 9, "gap"},
        {ONE("F32", "2", "0,8"), 7, "describes 8"},
        {ONE("F32", "2", "0,8"), 9, "describes 8"},
        {ONE("F32", "02", "0,8"), 8, "leading zero"},
        {ONE("F32", "-2", "0,8"), 8, "whole number"},
        {ONE("F32", "2.0", "0,8"), 8, "expected ']'"},
        {ONE("F32", "1,1,1,1,1,1,1,1,2", "0,8"), 8, "too many dimensions"},
        {ONE("F32", "99999999999999999999999999", "0,8"), 8, "too large"},
        {ONE("F32", "4294967296,4294967296,4294967296", "0,0"), 0, "overflow"},
        {ONE("F64", "2305843009213693952", "0,0"), 0, "do not fit"}, /* times 8 wraps to 0 */
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "lacks"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "repeated"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"more\":1}}", 4, "unknown"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
         "offsets\":[4,8]}}",
         8, "twice"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
         "offsets\":[0,4]}}",
         4, "overlaps"},
        {"{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
         "offsets\":[0,4]}}",
         8, NULL},
        {"{\"\\u00e9\\ud83d\\ude00\\n\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, NULL},
        {"{\"\\ud83d\":{}}", 0, "surrogate"},
        {"{\"\\udc00\":{}}", 0, "surrogate"},
        {"{\"\\u00g0\":{}}", 0, "escape"},
        {"{\"\\q\":{}}", 0, "escape"},
        {"{\"\\u0000\":{}}", 0, "NUL"},
        {"{\"a\nb\":{}}", 0, "control"},
        {"{\"a", 0, "without end"},
        {"{\"a\\", 0, "without end"},
        {"{\"a\\u12", 0, "escape"},
        /* "__metadata__" in disguise: no metadata in either scan (once a way past the end of the index) */
        {"{\"\\u005f_metadata__\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, NULL},
        {"{\"a\":{\"\\u0064type\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "unknown"},
    };
    size_t i;
    (void)state;
    for (i = 0; i < sizeof c / sizeof c[0]; i++) {
        bp_error error;
        const bp_status status = open_header(c[i].header, c[i].data, &error);
        if (status != (c[i].word ? BP_ERR_FORMAT : BP_OK) || (c[i].word && !strstr(error.text, c[i].word))) {
            print_error("%s (+%lu): status %d, %s\n", c[i].header, (unsigned long)c[i].data, (int)status, error.text);
            fail();
        }
    }
    { /* lengths that lie */
        unsigned char bytes[64];
        bp_safetensors *file;
        bp_error error;
        size_t n;
        memset(bytes, 0xFF, sizeof bytes);
        for (n = 0; n <= sizeof bytes; n++)
            assert_int_equal(bp_safetensors_open_memory(&file, bytes, n, NULL, &error), BP_ERR_FORMAT);
        assert_null(file);
        assert_int_equal(bp_safetensors_open_memory(&file, NULL, 0, NULL, &error), BP_ERR_FORMAT);
        assert_int_equal(bp_safetensors_open(&file, "no/such/file", NULL, &error), BP_ERR_IO);
        assert_non_null(strstr(error.text, "no/such/file"));
        assert_int_equal(bp_safetensors_open(&file, bpt_scratch, NULL, &error), BP_ERR_IO); /* a directory */
    }
}

/* ---- writing all or nothing --------------------------------------------------------------------------- */

static void test_failed_writes(void **state) {
    static double big[20000];
    char path[300], temporary[310], below[320];
    unsigned char before[64], after[64];
    struct rlimit limit, small;
    bp_array array;
    bp_error error;
    size_t n;
    (void)state;
    bpt_at(path, "precious");
    (void)snprintf(temporary, sizeof temporary, "%s.tmp", path);
    array = bp_array_of("x", BP_DTYPE_F64, 0, 1, big);
    bpt_ok(bp_safetensors_write(path, &array, 1, NULL, 0, NULL, NULL, &error), &error);
    assert_false(exists(temporary));
    n = bpt_slurp(before, sizeof before, path);

    /* the disk is full (here: files may not grow beyond 10 kB) */
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 10000;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    array = bp_array_of("x", BP_DTYPE_F64, 0, 20000, big);
    assert_int_equal(bp_safetensors_write(path, &array, 1, NULL, 0, NULL, NULL, &error), BP_ERR_IO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_non_null(strstr(error.text, "precious"));
    assert_non_null(strstr(error.text, strerror(EFBIG)));
    assert_false(exists(temporary));
    assert_int_equal(bpt_slurp(after, sizeof after, path), n);
    assert_memory_equal(before, after, n);

    /* /dev/full: here a log meets a full disk */
    if (exists("/dev/full")) {
        static const char *const names[2] = {"a", "b"};
        bp_csv csv;
        assert_int_equal(bp_csv_open(&csv, "/dev/full", names, 2, 0, &error), BP_ERR_IO);
        assert_non_null(strstr(error.text, strerror(ENOSPC)));
        bp_csv_close(&csv);
    }

    /* no such directory; a file where a directory should be; a directory in the file's place */
    (void)snprintf(below, sizeof below, "%s/x", path);
    assert_int_equal(bp_safetensors_write(below, &array, 1, NULL, 0, NULL, NULL, &error), BP_ERR_IO);
    assert_int_equal(bp_file_make_directory(below, &error), BP_ERR_IO);
    assert_int_equal(bp_file_make_directory(path, &error), BP_ERR_IO);
    assert_int_equal(bp_safetensors_write("no/such/directory", &array, 1, NULL, 0, NULL, NULL, &error), BP_ERR_IO);
    bpt_at(path, "directory");
    bpt_ok(bp_file_make_directory(path, &error), &error);
    bpt_ok(bp_file_make_directory(path, &error), &error);
    assert_int_equal(bp_safetensors_write(path, &array, 1, NULL, 0, NULL, NULL, &error), BP_ERR_IO);
    (void)snprintf(temporary, sizeof temporary, "%s.tmp", path);
    assert_false(exists(temporary));
    bpt_at(path, "a/b/c/");
    bpt_ok(bp_file_make_directory(path, &error), &error);
    assert_true(exists(path));
    assert_int_equal(bp_file_make_directory("", &error), BP_ERR_ARGUMENT);
    { /* abandoned half-way */
        bp_file file;
        bpt_ok(bp_file_begin(&file, bpt_at(path, "abandoned"), &error), &error);
        (void)bp_file_write(&file, "half", 4);
        bp_file_abort(&file);
        bp_file_abort(&file);
        assert_false(exists(path));
        assert_int_equal(bp_file_commit(&file, &error), BP_ERR_ARGUMENT);
    }
    array.dtype = BP_DTYPE_I16;
    assert_int_equal(bp_safetensors_write(path, &array, 1, NULL, 0, NULL, NULL, &error), BP_ERR_ARGUMENT);
}

/* ---- logs ------------------------------------------------------------------------------------------- */

static void test_csv(void **state) {
    static const char *const names[4] = {"step", "value", "gap", "last"};
    static const char *const others[4] = {"step", "valve", "gap", "last"};
    const double row[4] = {1e6, 0.1, 0.0 / 1.0, -1.5e-20};
    double odd[4];
    unsigned char text[512];
    char path[300];
    bp_csv csv;
    bp_error error;
    uint64_t keep;
    size_t n;
    (void)state;
    odd[0] = 3;
    odd[1] = bpi_nan();
    odd[2] = HUGE_VAL;
    odd[3] = 1.0 / 3.0;
    /* a locale with decimal commas, if there is one, must change nothing */
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8")) (void)setlocale(LC_NUMERIC, "fr_FR.UTF-8");
    bpt_ok(bp_csv_open(&csv, bpt_at(path, "log.csv"), names, 4, 0, &error), &error);
    bpt_ok(bp_csv_row(&csv, row, &error), &error);
    keep = csv.bytes;
    bpt_ok(bp_csv_row(&csv, odd, &error), &error);
    bpt_ok(bp_csv_sync(&csv, &error), &error);
    n = bpt_slurp(text, sizeof text, path); /* visible although it is still open */
    assert_int_equal(n, csv.bytes);
    text[n] = '\0';
    assert_string_equal((char *)text, "step,value,gap,last\n1000000,0.1,0,-1.5e-20\n3,,inf,0.333333333\n");
    bp_csv_close(&csv);
    bp_csv_close(&csv);
    (void)setlocale(LC_NUMERIC, "C");

    bpt_ok(bp_csv_open(&csv, path, names, 4, keep, &error), &error); /* the second row goes */
    bpt_ok(bp_csv_row(&csv, row, &error), &error);
    bp_csv_close(&csv);
    n = bpt_slurp(text, sizeof text, path);
    text[n] = '\0';
    assert_string_equal((char *)text, "step,value,gap,last\n1000000,0.1,0,-1.5e-20\n1000000,0.1,0,-1.5e-20\n");
    assert_int_equal(bp_csv_open(&csv, path, names, 4, 10000, &error), BP_ERR_MISMATCH);
    assert_int_equal(bp_csv_open(&csv, path, others, 4, keep, &error), BP_ERR_MISMATCH);
    assert_int_equal(bp_csv_open(&csv, path, names, 3, keep, &error), BP_ERR_MISMATCH);
    assert_int_equal(bpt_slurp(text, sizeof text, path), n); /* refusals left it alone */
}

/* Byte for byte a file that TensorBoard's own reader has accepted, checksums included (tests/oracle/check_events.py). */
static void test_events(void **state) {
    static const unsigned char want[] = {
        /* length 24, its masked crc; wall_time 1.5, "brain.Event:2"; masked crc */
        24,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0xa3,
        0x7f,
        0x4b,
        0x22,
        0x09,
        0,
        0,
        0,
        0,
        0,
        0,
        0xf8,
        0x3f,
        0x1a,
        13,
        'b',
        'r',
        'a',
        'i',
        'n',
        '.',
        'E',
        'v',
        'e',
        'n',
        't',
        ':',
        '2',
        0x2a,
        0x28,
        0x64,
        0x6c,
        /* length 27; wall_time 2.5, step 300, summary { value { tag "loss", simple_value 0.25 } } */
        27,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0x1a,
        0x0d,
        0x9e,
        0x13,
        0x09,
        0,
        0,
        0,
        0,
        0,
        0,
        0x04,
        0x40,
        0x10,
        0xac,
        0x02,
        0x2a,
        13,
        0x0a,
        11,
        0x0a,
        4,
        'l',
        'o',
        's',
        's',
        0x15,
        0,
        0,
        0x80,
        0x3e,
        0x20,
        0x5d,
        0x38,
        0x96,
    };
    unsigned char got[512];
    char path[300];
    bp_events events;
    bp_error error;
    size_t n;
    uint64_t keep;
    (void)state;
    bpt_ok(bp_events_open(&events, bpt_at(path, "events.out.tfevents.1"), 0, 1.5, &error), &error);
    keep = events.bytes;
    bpt_ok(bp_events_scalar(&events, "loss", 300, 0.25, 2.5, &error), &error);
    bpt_ok(bp_events_sync(&events, &error), &error);
    n = bpt_slurp(got, sizeof got, path);
    assert_int_equal(n, events.bytes);
    assert_int_equal(keep, 16 + 24);
    assert_int_equal(n, sizeof want);
    assert_memory_equal(got, want, n);
    bp_events_close(&events);
    bpt_ok(bp_events_open(&events, path, keep, 9.0, &error), &error);
    bpt_ok(bp_events_scalar(&events, "loss", 300, 0.25, 2.5, &error), &error);
    bp_events_close(&events);
    {
        unsigned char again[512];
        assert_int_equal(bpt_slurp(again, sizeof again, path), n);
        assert_memory_equal(got, again, n);
    }
}

static void test_status_line(void **state) {
    bp_progress p;
    char line[200];
    size_t n;
    (void)state;
    p.done = 12000;
    p.total = 50000;
    p.steps_per_second = 8312.4;
    p.episode_return = -312.41;
    p.evaluation = -150.2;
    p.kl = 0.1321;
    p.seconds_left = 281;
    n = bp_status_line(line, sizeof line, &p);
    assert_string_equal(line, "  12000/50000  24%  8312/s  return -312.4  eval -150.2  kl 0.132  eta 0:04:41");
    assert_int_equal(n, strlen(line));
    for (n = 1; n < 90; n++) assert_true(bp_status_line(line, n, &p) < n);
    assert_int_equal(bp_status_line(line, 0, &p), 0);
    p.episode_return = p.evaluation = p.kl = p.seconds_left = bpi_nan();
    p.steps_per_second = 0;
    p.total = 0;
    (void)bp_status_line(line, sizeof line, &p);
    assert_string_equal(line, "  12000");
}

/* ---- policies ------------------------------------------------------------------------------------------ */

typedef struct {
    bp_spec spec;
    bp_policy policy;
    bp_normaliser normaliser;
    bp_real *params;
    bp_policy_export what;
} sample;

static void make_sample(sample *s, size_t tasks, bool discrete) {
    bp_policy_config config = bp_policy_config_default();
    bp_rng rng = bp_rng_make(5, 6);
    bp_error error;
    bp_real rows[10 * 7];
    size_t i;
    memset(s, 0, sizeof *s);
    bp_spec_begin(&s->spec, "robot");
    bpt_ok(bp_spec_add_field(&s->spec, "position", 2, &error), &error);
    bpt_ok(bp_spec_add_field(&s->spec, "speed", 1, &error), &error);
    bpt_ok(bp_spec_add_field(&s->spec, "task", 4, &error), &error);
    if (discrete) bpt_ok(bp_spec_actions_discrete(&s->spec, 3, &error), &error);
    else {
        bpt_ok(bp_spec_actions_continuous(&s->spec, 2, -2, 2, &error), &error);
        s->spec.action_low[1] = 10;
        s->spec.action_high[1] = 30;
    }
    config.n_fields = 2;
    config.fields[0] = "speed";
    config.fields[1] = "position";
    config.hidden_layers = 2;
    config.width[0] = 7;
    config.width[1] = 5;
    config.head_scale = 1;
    config.init_std = 0.3;
    bpt_ok(bp_policy_init(&s->policy, &s->spec, &config, &error), &error);
    s->params = (bp_real *)malloc(tasks * s->policy.n_params * sizeof(bp_real));
    for (i = 0; i < tasks; i++) bp_policy_init_params(s->params + i * s->policy.n_params, &s->policy, &rng);
    bpt_ok(bp_normaliser_create(&s->normaliser, 7, NULL, &error), &error);
    bp_rng_normals(rows, &rng, 70);
    bp_normaliser_update(&s->normaliser, rows, 10);
    s->what.behavior.policy = &s->policy;
    s->what.behavior.params = s->params;
    s->what.spec = &s->spec;
    s->what.normaliser = &s->normaliser;
    s->what.n_tasks = tasks;
    s->what.task_field = "task";
}

static void free_sample(sample *s) {
    free(s->params);
    bp_normaliser_destroy(&s->normaliser);
}

static void test_agent(void **state) {
    const bp_real observation[7] = {BP_R(0.3), BP_R(-0.5), BP_R(1.5), 0, 0, 1, 0};
    int variant;
    (void)state;
    for (variant = 0; variant < 3; variant++) {
        const size_t tasks = variant == 1 ? 4 : 1, task = variant == 1 ? 2 : 0;
        const bool discrete = variant == 2;
        sample s;
        bp_agent *agent, *twin;
        bp_error error;
        char path[300];
        static unsigned char bytes[100000];
        size_t n;
        bp_compute compute;
        void *scratch_memory = bp_alloc(NULL, bp_compute_bytes());
        bp_real seen[7], dist[8], work[512], mode[2], action[2], sampled[2], log_prob = 0, again = 0;
        bp_rng a = bp_rng_make(1, 1), b = a;
        make_sample(&s, tasks, discrete);
        bpt_ok(bp_policy_save(bpt_at(path, "policy.safetensors"), &s.what, &error), &error);
        bpt_ok(bp_agent_load(&agent, path, NULL, &error), &error);
        assert_true(bp_spec_equal(&agent->spec, &s.spec));
        assert_int_equal(agent->policy.n_params, s.policy.n_params);
        assert_memory_equal(agent->params, s.params, tasks * s.policy.n_params * sizeof(bp_real));

        bpt_ok(bp_compute_init(&compute, BP_KERNEL_AUTO, scratch_memory, &error), &error);
        assert_true(bp_policy_work_reals(&s.policy, 1) <= 512);
        bp_normaliser_apply(seen, &s.normaliser, observation, 1);
        bp_policy_eval(&compute, dist, work, seen, NULL, s.params + task * s.policy.n_params, &s.policy, 1);
        bp_policy_mode(mode, dist, &s.policy, 1);
        bpt_ok(bp_agent_act(agent, action, observation), NULL);
        if (discrete) {
            assert_true(action[0] == mode[0]);
        } else {
            bpt_close(action[0], 2 * (double)mode[0], 1e-6);
            bpt_close(action[1], 20 + 10 * (double)mode[1], 1e-6);
        }
        bpt_ok(bp_agent_sample(agent, sampled, &log_prob, observation, &a), NULL);
        bp_policy_sample(mode, &again, &b, dist, &s.policy, 1);
        assert_true(log_prob == again);
        if (!discrete) assert_true(sampled[1] >= 10 && sampled[1] <= 30);
        {
            bp_real broken[7];
            memcpy(broken, observation, sizeof broken);
            broken[3] = (bp_real)bpi_nan();
            action[0] = 77;
            assert_int_equal(bp_agent_act(agent, action, broken), BP_ERR_NONFINITE);
            assert_true(action[0] == 77);
        }

        /* the same from memory, and without memory */
        n = bpt_slurp(bytes, sizeof bytes, path);
        bpt_ok(bp_agent_load_memory(&twin, bytes, n, NULL, &error), &error);
        bpt_ok(bp_agent_act(twin, mode, observation), NULL);
        bpt_ok(bp_agent_act(agent, action, observation), NULL);
        assert_memory_equal(mode, action, s.spec.action_size * sizeof(bp_real));
        bp_agent_destroy(twin);
        {
            bpt_memory memory;
            size_t k;
            for (k = 1;; k++) {
                bp_status status;
                bpt_memory_use(&memory);
                memory.fail_at = k;
                status = bp_agent_load(&twin, path, &memory.allocator, &error);
                if (status == BP_OK) break;
                assert_int_equal(status, BP_ERR_MEMORY);
                assert_null(twin);
                bpt_memory_check(&memory);
            }
            assert_true(k > 3);
            { /* acting allocates nothing */
                const size_t requests = memory.requests;
                bpt_ok(bp_agent_act(twin, mode, observation), NULL);
                assert_int_equal(memory.requests, requests);
            }
            bp_agent_destroy(twin);
            bpt_memory_check(&memory);
        }

        /* for another robot? */
        bpt_ok(bp_agent_check(agent, &s.spec, &error), &error);
        if (!discrete) {
            bp_spec other = s.spec;
            other.action_high[1] = 31;
            assert_int_equal(bp_agent_check(agent, &other, &error), BP_ERR_MISMATCH);
            assert_non_null(strstr(error.text, "action 1 is in [10, 30] there, in [10, 31] here"));
        }
        bp_agent_destroy(agent);

        /* weights that are not finite are refused */
        s.params[3] = (bp_real)HUGE_VAL;
        bpt_ok(bp_policy_save(path, &s.what, &error), &error);
        assert_int_equal(bp_agent_load(&agent, path, NULL, &error), BP_ERR_NONFINITE);
        free_sample(&s);
        bp_free(NULL, scratch_memory, bp_compute_bytes());
    }
    {
        bp_agent *agent;
        bp_error error;
        char path[300];
        bp_real x[3] = {1, 2, 3};
        bp_array array = bp_array_of("x", BP_DTYPE_REAL, 0, 3, x);
        sample s;
        bpt_ok(bp_safetensors_write(bpt_at(path, "other.safetensors"), &array, 1, NULL, 0, NULL, NULL, &error), &error);
        assert_int_equal(bp_agent_load(&agent, path, NULL, &error), BP_ERR_MISMATCH);
        assert_int_equal(bp_agent_load(&agent, "no/such", NULL, &error), BP_ERR_IO);
        make_sample(&s, 4, false);
        s.what.task_field = "tusk";
        assert_int_equal(bp_policy_save(path, &s.what, &error), BP_ERR_FIELD);
        free_sample(&s);
    }
}

/* Policy files with single bytes changed, cut and swapped: an error or an agent that can act, never a crash. */
static void test_hostile_policies(void **state) {
    static unsigned char good[100000], bad[100000];
    bp_rng rng = bp_rng_make(bpt_seed(), 9);
    sample s;
    char path[300];
    bp_error error;
    size_t n, k, refused = 0, accepted = 0;
    (void)state;
    make_sample(&s, 4, false);
    bpt_ok(bp_policy_save(bpt_at(path, "policy.safetensors"), &s.what, &error), &error);
    n = bpt_slurp(good, sizeof good, path);
    free_sample(&s);
    for (k = 0; k < 20000; k++) {
        size_t m = n, changes = 1 + bp_rng_index(&rng, 3);
        bp_agent *agent;
        memcpy(bad, good, n);
        while (changes--) {
            const size_t where = bp_rng_index(&rng, k % 4 ? 2200 : n), other = bp_rng_index(&rng, 2200);
            switch (bp_rng_index(&rng, 4)) {
            case 0: bad[where] = (unsigned char)bp_rng_index(&rng, 256); break;
            case 1: bad[where] = (unsigned char)"0123456789\"{}[],:\\"[bp_rng_index(&rng, 18)]; break;
            case 2: bad[where] = bad[other]; break;
            default:
                if (k % 10 == 0) m = where;
            }
        }
        if (bp_agent_load_memory(&agent, bad, m, NULL, &error) == BP_OK) {
            bp_real observation[64], action[BP_MAX_ACTION];
            memset(observation, 0, sizeof observation);
            if (agent->spec.observation_size <= 64) (void)bp_agent_act(agent, action, observation);
            bp_agent_destroy(agent);
            accepted++;
        } else {
            assert_true(error.text[0] != '\0');
            refused++;
        }
    }
    assert_true(refused > 1000 && accepted > 0);
}

/* A prior from one learner into another with other observations. */
static void test_load_prior(void **state) {
    bp_spec a, b;
    bp_rs0_config config = bp_rs0_config_default();
    bp_rs0 *first, *second;
    bp_policy_export what;
    bp_error error;
    char path[300];
    size_t i;
    (void)state;
    bp_spec_begin(&a, "old");
    bpt_ok(bp_spec_add_field(&a, "position", 2, &error), &error);
    bpt_ok(bp_spec_add_field(&a, "goal", 3, &error), &error);
    bpt_ok(bp_spec_actions_continuous(&a, 2, -1, 1, &error), &error);
    bp_spec_begin(&b, "new");
    bpt_ok(bp_spec_add_field(&b, "puzzle", 5, &error), &error);
    bpt_ok(bp_spec_add_field(&b, "position", 2, &error), &error);
    bpt_ok(bp_spec_actions_continuous(&b, 2, -1, 1, &error), &error);
    config.batch = 2;
    config.samples = 2;
    config.prior_kind = BP_PRIOR_LEARNED;
    config.prior.fields[0] = "position";
    for (i = 0; i < 2; i++) config.prior.width[i] = config.policy.width[i] = config.critic_width[i] = 8;
    bpt_ok(bp_rs0_create(&first, &a, &config, NULL, &error), &error);
    memset(&what, 0, sizeof what);
    what.behavior.policy = &first->prior;
    what.behavior.params = first->prior_p.online;
    what.spec = &a;
    bpt_ok(bp_policy_save(bpt_at(path, "prior.safetensors"), &what, &error), &error);

    config.seed = 99;
    config.prior_kind = BP_PRIOR_FIXED;
    bpt_ok(bp_rs0_create(&second, &b, &config, NULL, &error), &error);
    assert_memory_not_equal(first->prior_p.online, second->prior_p.online, first->prior_p.n * sizeof(bp_real));
    bpt_ok(bp_rs0_load_prior(second, path, NULL, &error), &error);
    assert_memory_equal(first->prior_p.online, second->prior_p.online, first->prior_p.n * sizeof(bp_real));
    assert_memory_equal(first->prior_p.online, second->prior_p.target, first->prior_p.n * sizeof(bp_real));
    bp_rs0_destroy(second);

    config.prior.fields[0] = "puzzle";
    bpt_ok(bp_rs0_create(&second, &b, &config, NULL, &error), &error);
    assert_int_equal(bp_rs0_load_prior(second, path, NULL, &error), BP_ERR_MISMATCH);
    assert_non_null(strstr(error.text, "sees 'position' (2 numbers), this one 'puzzle' (5)"));
    bp_rs0_destroy(second);

    config.prior.fields[0] = "position";
    config.prior.width[1] = 9;
    bpt_ok(bp_rs0_create(&second, &b, &config, NULL, &error), &error);
    assert_int_equal(bp_rs0_load_prior(second, path, NULL, &error), BP_ERR_MISMATCH);
    assert_non_null(strstr(error.text, "hidden layer 1 of the prior has 8 units there, 9 here"));
    assert_int_equal(bp_rs0_load_prior(second, "no/such", NULL, &error), BP_ERR_IO);
    bp_rs0_destroy(second);

    config.prior_kind = BP_PRIOR_NONE;
    bpt_ok(bp_rs0_create(&second, &b, &config, NULL, &error), &error);
    assert_int_equal(bp_rs0_load_prior(second, path, NULL, &error), BP_ERR_UNSUPPORTED);
    bp_rs0_destroy(second);
    bp_rs0_destroy(first);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_exact_bytes),
        cmocka_unit_test(test_malformed_headers),
        cmocka_unit_test(test_failed_writes),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_status_line),
        cmocka_unit_test(test_agent),
        cmocka_unit_test(test_hostile_policies),
        cmocka_unit_test(test_load_prior),
    };
    bpt_make_scratch("files");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
