#include "bench/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* ---- writing --------------------------------------------------------------------------------- */

static void print_string(FILE *f, const char *text)
{
    fputc('"', f);
    for (; *text != 0; text++) {
        if (*text == '"' || *text == '\\')
            fprintf(f, "\\%c", *text);
        else if ((unsigned char)*text >= ' ')
            fputc(*text, f);
    }
    fputc('"', f);
}

static void print_histogram(FILE *f, const char *key, const struct histogram *h)
{
    if (h->total == 0)
        return;
    fprintf(f, ",\"%s\":[", key);
    const char *comma = "";
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (h->counts[i] == 0)
            continue;
        fprintf(f, "%s%llu,%llu", comma, (unsigned long long)histogram_highest(i),
                (unsigned long long)h->counts[i]);
        comma = ",";
    }
    fputc(']', f);
}

void lines_print_detailed(FILE *f, const struct bench_case *c, const struct bench_result *r)
{
    char *plain = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&plain, &length);
    if (memory == NULL)
        return;
    bench_print(memory, c, r);
    if (fclose(memory) != 0 || length == 0)
        return;
    fwrite(plain, 1, length - 1, f); /* all but the brace */
    free(plain);
    if (r->floor != NULL) {
        fputs(",\"floor_is\":", f);
        print_string(f, r->floor);
    }
    if (r->series_count > 0) {
        fprintf(f, ",\"series_interval_s\":%.4g,\"series_per_s\":[", r->series_interval_s);
        for (uint32_t i = 0; i < r->series_count; i++)
            fprintf(f, "%s%.0f", i > 0 ? "," : "", r->series[i]);
        fputc(']', f);
    }
    print_histogram(f, "histogram_ns", &r->latency);
    print_histogram(f, "floor_histogram_ns", &r->floor_latency);
    fputc('}', f);
}

/* The first line of a file, or "". */
static void first_line(const char *path, char *out, size_t size)
{
    out[0] = 0;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return;
    if (fgets(out, (int)size, f) == NULL)
        out[0] = 0;
    fclose(f);
    out[strcspn(out, "\n")] = 0;
}

static void processor_name(char *out, size_t size)
{
    char line[256];
    snprintf(out, size, "unknown processor");
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL)
            continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(out, size, "%.*s", (int)size - 1, colon + 1 + strspn(colon + 1, " "));
        break;
    }
    if (f != NULL)
        fclose(f);
}

void lines_print_machine(FILE *f)
{
    char text[LINES_TEXT_MAX], date[16];
    struct utsname names;
    struct tm utc;
    time_t now = time(NULL);
    processor_name(text, sizeof text);
    fputs("{\"machine\":", f);
    print_string(f, text);
    fprintf(f, ",\"cores\":%ld", sysconf(_SC_NPROCESSORS_ONLN));
    if (uname(&names) == 0) {
        fputs(",\"kernel\":", f);
        print_string(f, names.release);
    }
    first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource", text,
               sizeof text);
    if (text[0] != 0) {
        fputs(",\"clock_source\":", f);
        print_string(f, text);
    }
    first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", text, sizeof text);
    if (text[0] != 0) {
        fputs(",\"governor\":", f);
        print_string(f, text);
    }
    strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &utc));
    fprintf(f, ",\"date\":\"%s\"}", date);
}

/* ---- reading: one object of strings, numbers, truths, and arrays of numbers ------------------ */

static const char *skip_space(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

/* What a JSON string holds. Escapes are those that lines and reports write: of quote, of backslash,
 * and \u00XX. NULL: bad. */
static const char *read_string(const char *at, char *out, size_t size)
{
    size_t n = 0;
    unsigned code;
    if (*at++ != '"')
        return NULL;
    for (; *at != '"'; at++) {
        bool escaped = *at == '\\';
        at += escaped;
        if (*at == 0 || n + 1 >= size)
            return NULL;
        out[n++] = *at;
        if (escaped && *at == 'u') {
            if (sscanf(at + 1, "00%2x", &code) != 1)
                return NULL;
            out[n - 1] = (char)code;
            at += 4;
        }
    }
    out[n] = 0;
    return at + 1;
}

static const char *read_bare(const char *at, char *out, size_t size)
{
    size_t n = strcspn(at, ",}] \t\r\n");
    if (n == 0 || n >= size)
        return NULL;
    memcpy(out, at, n);
    out[n] = 0;
    return at + n;
}

/* Hands every number of an array to `take`. NULL: bad. */
static const char *read_array(const char *at, void (*take)(void *ctx, uint32_t index, double value),
                              void *ctx)
{
    at = skip_space(at + 1);
    for (uint32_t i = 0; *at != ']'; i++) {
        char *end;
        double value = strtod(at, &end);
        if (end == at)
            return NULL;
        take(ctx, i, value);
        at = skip_space(end);
        if (*at == ',')
            at = skip_space(at + 1);
        else if (*at != ']')
            return NULL;
    }
    return at + 1;
}

/* What is no figure at all is none. */
#define NUMBER_MIN 1e-6
#define NUMBER_MAX 1e15

struct pairs {
    struct histogram *into;
    uint64_t value;
};

static void take_pair(void *ctx, uint32_t index, double value)
{
    struct pairs *p = ctx;
    uint64_t whole = value >= 0 && value < 1e15 ? (uint64_t)value : 0;
    if (index % 2 == 0)
        p->value = whole;
    else
        histogram_add(p->into, p->value, whole);
}

static void take_rate(void *ctx, uint32_t index, double value)
{
    struct bench_line *line = ctx;
    if (index < LINES_SERIES_MAX) {
        line->series_per_s[index] = value >= 0 && value <= NUMBER_MAX ? value : 0;
        line->series_count = index + 1;
    }
}

static void take_nothing(void *ctx, uint32_t index, double value)
{
    (void)ctx;
    (void)index;
    (void)value;
}

static const char *take_array(struct bench_line *line, const char *key, const char *at)
{
    bool floor = strcmp(key, "floor_histogram_ns") == 0;
    if (!floor && strcmp(key, "histogram_ns") != 0)
        return read_array(at, strcmp(key, "series_per_s") == 0 ? take_rate : take_nothing, line);
    struct line_latency *latency = floor ? &line->floor_latency : &line->latency;
    if (latency->histogram == NULL)
        latency->histogram = calloc(1, sizeof *latency->histogram);
    struct pairs pairs = { .into = latency->histogram };
    return pairs.into != NULL ? read_array(at, take_pair, &pairs) : NULL;
}

static bool take_number(struct bench_line *line, const char *key, const char *value)
{
    const struct {
        const char *key;
        double *to;
    } numbers[] = {
        { "p50_us", &line->latency.p50 },
        { "p99_us", &line->latency.p99 },
        { "p999_us", &line->latency.p999 },
        { "max_us", &line->latency.max },
        { "floor_p50_us", &line->floor_latency.p50 },
        { "floor_p99_us", &line->floor_latency.p99 },
        { "floor_p999_us", &line->floor_latency.p999 },
        { "floor_max_us", &line->floor_latency.max },
        { "rate_per_s", &line->rate_per_s },
        { "floor_rate_per_s", &line->floor_rate_per_s },
        { "ratio", &line->ratio },
        { "chain_rate_per_s", &line->chain_rate_per_s },
        { "chain_ratio", &line->chain_ratio },
        { "wanted_at_most", &line->target },
        { "wanted_at_least", &line->target },
        { "wanted_rate_per_s", &line->target_rate_per_s },
        { "wanted_p50_us", &line->target_p50_us },
        { "wanted_p999_us", &line->target_p999_us },
        { "messages_max", &line->messages_max },
        { "wanted_messages_max", &line->target_messages_max },
        { "series_interval_s", &line->series_interval_s },
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(key, numbers[i].key) != 0)
            continue;
        double number = strtod(value, NULL);
        *numbers[i].to = number >= NUMBER_MIN && number <= NUMBER_MAX ? number : 0;
        if (strcmp(key, "wanted_at_most") == 0)
            line->wanted = BENCH_AT_MOST;
        else if (strcmp(key, "wanted_at_least") == 0)
            line->wanted = BENCH_AT_LEAST;
        return true;
    }
    return false;
}

static void take_scalar(struct bench_line *line, const char *key, const char *value)
{
    if (strcmp(key, "bench") == 0) {
        snprintf(line->bench, sizeof line->bench, "%.31s", value);
    } else if (strcmp(key, "case") == 0) {
        snprintf(line->name, sizeof line->name, "%.31s", value);
    } else if (strcmp(key, "unit") == 0) {
        snprintf(line->unit, sizeof line->unit, "%.31s", value);
    } else if (strcmp(key, "floor_is") == 0) {
        snprintf(line->floor_is, sizeof line->floor_is, "%s", value);
    } else if (strcmp(key, "reached") == 0) {
        line->judged = true;
        line->reached = strcmp(value, "true") == 0;
    } else if (!take_number(line, key, value) && line->setting_count < BENCH_SETTINGS_MAX) {
        struct line_field *s = &line->settings[line->setting_count++];
        snprintf(s->key, sizeof s->key, "%s", key);
        snprintf(s->value, sizeof s->value, "%s", value);
    }
}

static bool parse(struct bench_line *line, const char *text)
{
    char key[LINES_NAME_MAX], value[LINES_TEXT_MAX];
    const char *at = skip_space(text);
    if (*at++ != '{')
        return false;
    for (at = skip_space(at); *at != '}'; at = skip_space(at)) {
        at = read_string(at, key, sizeof key);
        at = at != NULL ? skip_space(at) : NULL;
        if (at == NULL || *at++ != ':')
            return false;
        at = skip_space(at);
        if (*at == '[') {
            at = take_array(line, key, at);
        } else {
            at = *at == '"' ? read_string(at, value, sizeof value)
                            : read_bare(at, value, sizeof value);
            if (at != NULL)
                take_scalar(line, key, value);
        }
        at = at != NULL ? skip_space(at) : NULL;
        if (at == NULL || (*at != ',' && *at != '}'))
            return false;
        at += *at == ',';
    }
    return *skip_space(at + 1) == 0;
}

/* ---- lines ----------------------------------------------------------------------------------- */

static void line_free(struct bench_line *line)
{
    if (line == NULL)
        return;
    free(line->latency.histogram);
    free(line->floor_latency.histogram);
    free(line->text);
    free(line);
}

void lines_free(struct bench_lines *l)
{
    for (uint32_t i = 0; i < l->count; i++)
        line_free(l->lines[i]);
    free(l->machine_text);
    *l = (struct bench_lines) { 0 };
}

void lines_select(struct bench_lines *l,
                  bool (*wanted)(const void *ctx, const struct bench_line *line), const void *ctx)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < l->count; i++) {
        if (wanted(ctx, l->lines[i]))
            l->lines[count++] = l->lines[i];
        else
            line_free(l->lines[i]);
    }
    l->count = count;
}

static bool keep(struct bench_lines *l, struct bench_line *line)
{
    /* The histogram knows a bucket's end where the line knows the value. */
    if (line->latency.histogram != NULL)
        line->latency.histogram->max = (uint64_t)(line->latency.max * 1e3);
    if (line->floor_latency.histogram != NULL)
        line->floor_latency.histogram->max = (uint64_t)(line->floor_latency.max * 1e3);
    for (uint32_t i = 0; i < l->count; i++) {
        if (strcmp(l->lines[i]->bench, line->bench) != 0 ||
            strcmp(l->lines[i]->name, line->name) != 0)
            continue;
        line_free(l->lines[i]);
        l->lines[i] = line;
        return true;
    }
    if (l->count == LINES_MAX)
        return false;
    l->lines[l->count++] = line;
    return true;
}

static void keep_machine(struct bench_lines *l, struct bench_line *line)
{
    memcpy(l->machine, line->settings, sizeof l->machine);
    l->machine_count = line->setting_count;
    free(l->machine_text);
    l->machine_text = line->text;
    line->text = NULL;
    line_free(line);
}

bool lines_add(struct bench_lines *l, const char *text, char *error)
{
    struct bench_line *line = calloc(1, sizeof *line);
    snprintf(error, BENCH_ERROR_MAX, "out of memory");
    if (line == NULL || (line->text = strdup(text)) == NULL) {
        line_free(line);
        return false;
    }
    line->text[strcspn(line->text, "\r\n")] = 0;
    if (!parse(line, line->text)) {
        snprintf(error, BENCH_ERROR_MAX, "not a line of `cantus bench`: %.80s", line->text);
        line_free(line);
        return false;
    }
    if (line->setting_count > 0 && strcmp(line->settings[0].key, "machine") == 0) {
        keep_machine(l, line);
        return true;
    }
    if (line->bench[0] == 0 || line->name[0] == 0) {
        line_free(line);
        return true;
    }
    if (keep(l, line))
        return true;
    snprintf(error, BENCH_ERROR_MAX, "more than %d cases", LINES_MAX);
    line_free(line);
    return false;
}

bool lines_read(struct bench_lines *l, const char *path, char *error)
{
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        snprintf(error, BENCH_ERROR_MAX, "%.800s: %s", path, strerror(errno));
        return false;
    }
    char *text = NULL;
    size_t size = 0;
    bool fine = true;
    while (fine && getline(&text, &size, f) >= 0)
        fine = strncmp(text, "{\"", 2) != 0 || lines_add(l, text, error);
    free(text);
    fclose(f);
    return fine;
}

const char *lines_help(const struct bench_line *line)
{
    for (size_t i = 0; i < bench_case_count; i++)
        if (strcmp(bench_cases[i].bench, line->bench) == 0 &&
            strcmp(bench_cases[i].name, line->name) == 0)
            return bench_cases[i].help;
    return NULL;
}
