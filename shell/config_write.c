#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shell/config_keys.h"

enum { COLUMNS = 96 };

struct writer {
    char *out;
    size_t capacity;
    size_t length;
    bool overflow;
};

__attribute__((format(printf, 2, 3))) static void put(struct writer *w, const char *format, ...)
{
    if (w->overflow)
        return;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(w->out + w->length, w->capacity - w->length, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= w->capacity - w->length)
        w->overflow = true;
    else
        w->length += (size_t)n;
}

/* A comment, wrapped between words. */
static void put_comment(struct writer *w, const char *indent, const char *text)
{
    size_t width = COLUMNS - strlen(indent) - 2;
    while (*text != '\0') {
        size_t length = strlen(text);
        if (length > width) {
            length = width;
            while (length > 0 && text[length] != ' ')
                length--;
        }
        put(w, "%s# %.*s\n", indent, (int)length, text);
        text += length;
        while (*text == ' ')
            text++;
    }
}

static void put_ip(struct writer *w, uint32_t ip)
{
    put(w, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255);
}

static void put_path(struct writer *w, const char *path)
{
    put(w, "\"");
    for (; *path != '\0'; path++)
        put(w, *path == '"' || *path == '\\' ? "\\%c" : "%c", *path);
    put(w, "\"");
}

static void put_word(struct writer *w, enum config_type type, int value)
{
    for (const struct config_word *word = config_words(type); word->word != NULL; word++)
        if (word->value == value)
            put(w, "%s", word->word);
}

static void put_value(struct writer *w, const struct config_key *key, const void *field)
{
    switch (key->type) {
    case CONFIG_U32:
        put(w, "%" PRIu32, *(const uint32_t *)field);
        break;
    case CONFIG_BOOL:
        put(w, "%s", *(const bool *)field ? "true" : "false");
        break;
    case CONFIG_STREAM_ID:
        put(w, "\"%016" PRIx64 "\"", *(const uint64_t *)field);
        break;
    case CONFIG_NAME:
    case CONFIG_SESSION:
    case CONFIG_PATH:
        put_path(w, field);
        break;
    case CONFIG_IP:
        put_ip(w, *(const uint32_t *)field);
        break;
    case CONFIG_ADDRESS:
    case CONFIG_LISTEN:
    case CONFIG_GROUP:
        put_ip(w, ((const struct port_addr *)field)->ip);
        put(w, ":%u", ((const struct port_addr *)field)->port);
        break;
    case CONFIG_PORT:
        put(w, "%u", *(const uint16_t *)field);
        break;
    case CONFIG_IDLE:
        put_word(w, key->type, (int)*(const enum loop_idle *)field);
        break;
    case CONFIG_SYNC:
        put_word(w, key->type, (int)*(const enum disk_sync *)field);
        break;
    case CONFIG_PROMOTION:
        put_word(w, key->type, (int)*(const enum config_promotion *)field);
        break;
    }
}

/* Keys that need not be there and are not: written as comments, with an example. */
static const char *absent(const struct config_key *key, const void *field)
{
    if (key->required)
        return NULL;
    if (key->type == CONFIG_IP && *(const uint32_t *)field == 0)
        return "192.0.2.1";
    if (key->type == CONFIG_GROUP && ((const struct port_addr *)field)->port == 0)
        return "239.1.2.3:20000";
    if (key->type == CONFIG_PATH && *(const char *)field == '\0')
        return strcmp(key->name, "counters") == 0 ? "/run/cantus" : "/etc/cantus/proxy.pem";
    return NULL;
}

static void put_keys(struct writer *w, const struct config_section *section, const void *base,
                     const char *indent, bool list_item, bool explain)
{
    for (uint32_t i = 0; i < section->key_count; i++) {
        const struct config_key *key = &section->keys[i];
        const void *field = (const uint8_t *)base + key->offset;
        const char *example = absent(key, field);
        if (example != NULL && !explain)
            continue;
        char help[512];
        if (key->type == CONFIG_U32)
            snprintf(help, sizeof help, "%s (%" PRIu64 " to %" PRIu64 ")", key->help, key->min,
                     key->max);
        else
            snprintf(help, sizeof help, "%s", key->help);
        if (explain)
            put_comment(w, indent, help);
        size_t lead = strlen(indent);
        if (list_item && i == 0)
            put(w, "%.*s- ", (int)(lead - 2), indent);
        else
            put(w, "%s", indent);
        put(w, "%s%s: ", example != NULL ? "# " : "", key->name);
        if (example != NULL)
            put(w, "%s", example);
        else
            put_value(w, key, field);
        put(w, "\n");
    }
}

size_t config_format(const struct config *config, char *out, size_t capacity)
{
    struct writer w = { .out = out, .capacity = capacity };
    put(&w,
        "# A Cantus deployment. Every process of it reads this file; `cantus-sequencer --config\n"
        "# FILE --check` tells what is wrong with it. A key that is left out has its default.\n\n");
    for (int s = 0; s < CONFIG_SECTIONS; s++) {
        const struct config_section *section = &config_sections[s];
        const uint8_t *base = (const uint8_t *)config + section->offset;
        if (section->name == NULL) {
            put_keys(&w, section, base, "", false, true);
            continue;
        }
        put(&w, "\n");
        put_comment(&w, "", section->help);
        if (section->items_max == 0) {
            put(&w, "%s:\n", section->name);
            put_keys(&w, section, base, "  ", false, true);
            continue;
        }
        uint32_t count =
            *(const uint32_t *)(const void *)((const uint8_t *)config + section->count_offset);
        put(&w, count > 0 ? "%s:\n" : "%s: []\n", section->name);
        for (uint32_t i = 0; i < count; i++)
            put_keys(&w, section, base + i * section->item_size, "    ", true, i == 0);
    }
    return w.overflow ? 0 : w.length;
}

static bool fail(char *error, const char *what, const char *path)
{
    snprintf(error, CONFIG_ERROR_MAX, "%s: cannot %s: %s", path, what, strerror(errno));
    return false;
}

static bool write_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        bytes += n;
        length -= (size_t)n;
    }
    return true;
}

bool config_write(const char *path, const struct config *config, char *error)
{
    static char text[CONFIG_TEXT_MAX];
    size_t length = config_format(config, text, sizeof text);
    char temporary[CONFIG_PATH_MAX + 1];
    int n = snprintf(temporary, sizeof temporary, "%s.new", path);
    if (length == 0 || n < 0 || (size_t)n >= sizeof temporary) {
        errno = ENAMETOOLONG;
        return fail(error, "write", path);
    }
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return fail(error, "create", temporary);
    bool ok = write_all(fd, text, length) && fsync(fd) == 0;
    int reason = errno;
    close(fd);
    errno = reason;
    if (ok && rename(temporary, path) == 0)
        return true;
    fail(error, "write", path);
    unlink(temporary);
    return false;
}
