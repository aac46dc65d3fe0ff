#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The length of the UTF-8 sequence at s, 0 if there is none: overlong forms and surrogates are
 * none. */
static size_t utf8_length(const uint8_t *s, size_t left)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (s[0] < 0x80)
        return 1;
    size_t n = s[0] >= 0xf0 && s[0] < 0xf5   ? 4
               : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
               : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
                                             : 0;
    if (n == 0 || n > left)
        return 0;
    uint32_t code = s[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3f);
    }
    bool fine = code >= least[n] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    return fine ? n : 0;
}

bool cli_is_text(const void *bytes, size_t length)
{
    const uint8_t *s = bytes;
    for (size_t i = 0, n; i < length; i += n) {
        n = utf8_length(s + i, length - i);
        bool control = s[i] < 0x20 && s[i] != '\t' && s[i] != '\n' && s[i] != '\r';
        /* C1: a terminal may take these for the beginning of an escape sequence. */
        control = control || (n == 2 && s[i] == 0xc2 && s[i + 1] < 0xa0);
        if (n == 0 || control || s[i] == 0x7f)
            return false;
    }
    return true;
}

bool cli_is_line(const void *bytes, size_t length)
{
    const char *s = bytes;
    for (size_t i = 0; i < length; i++)
        if (s[i] == '\n' || s[i] == '\r')
            return false;
    return cli_is_text(bytes, length);
}

static void clean(char *text, const char *kept)
{
    size_t length = strlen(text);
    for (size_t i = 0, n; i < length; i += n) {
        n = utf8_length((const uint8_t *)text + i, length - i);
        bool fine = n > 0 && text[i] != '\t' && cli_is_line(text + i, n);
        n = n > 0 ? n : 1;
        if (!fine && strchr(kept, text[i]) == NULL)
            memset(text + i, '?', n);
    }
}

void cli_clean(char *text)
{
    clean(text, "");
}

void cli_clean_lines(char *text)
{
    clean(text, "\n\t");
}

void cli_json_string(FILE *f, const void *text, size_t length)
{
    const uint8_t *s = text;
    fputc('"', f);
    for (size_t i = 0; i < length; i++) {
        if (s[i] == '"' || s[i] == '\\')
            fprintf(f, "\\%c", s[i]);
        else if (s[i] == '\n')
            fputs("\\n", f);
        else if (s[i] == '\t')
            fputs("\\t", f);
        else if (s[i] < 0x20)
            fprintf(f, "\\u%04x", s[i]);
        else
            fputc(s[i], f);
    }
    fputc('"', f);
}

void cli_base64(FILE *f, const void *bytes, size_t length)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *s = bytes;
    for (size_t i = 0; i < length; i += 3) {
        uint32_t three = (uint32_t)s[i] << 16;
        three |= i + 1 < length ? (uint32_t)s[i + 1] << 8 : 0;
        three |= i + 2 < length ? s[i + 2] : 0;
        fputc(digits[three >> 18], f);
        fputc(digits[three >> 12 & 63], f);
        fputc(i + 1 < length ? digits[three >> 6 & 63] : '=', f);
        fputc(i + 2 < length ? digits[three & 63] : '=', f);
    }
}

uint64_t cli_mono_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void cli_progress_show(struct cli_progress *p, uint64_t done, uint64_t total)
{
    enum { BAR = 40, FRAME_NS = 50 * 1000 * 1000 };
    uint64_t now = cli_mono_ns();
    if (!isatty(STDERR_FILENO) || (p->drawn && now - p->shown_ns < FRAME_NS))
        return;
    p->shown_ns = now;
    p->drawn = true;
    if (total == 0) {
        fprintf(stderr, "\r%s %" PRIu64 " ", p->what, done);
        return;
    }
    int filled = (int)(done >= total ? BAR : done * BAR / total);
    fprintf(stderr, "\r%s [%.*s%*s] %3d %%  %" PRIu64 " of %" PRIu64 " ", p->what, filled,
            "########################################", BAR - filled, "",
            (int)(done >= total ? 100 : done * 100 / total), done, total);
}

void cli_progress_end(struct cli_progress *p)
{
    if (p->drawn)
        fputc('\n', stderr);
    p->drawn = false;
}
