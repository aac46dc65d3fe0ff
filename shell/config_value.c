/* The values of cantus.yaml's keys. */
#include <arpa/inet.h>
#include <stdio.h>

#include "shell/config_reader.h"

static bool parse_u64(const char *text, unsigned base, uint64_t *out)
{
    uint64_t value = 0;
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        unsigned digit = *text >= '0' && *text <= '9'   ? (unsigned)(*text - '0')
                         : *text >= 'a' && *text <= 'f' ? (unsigned)(*text - 'a' + 10)
                         : *text >= 'A' && *text <= 'F' ? (unsigned)(*text - 'A' + 10)
                                                        : 16u;
        if (digit >= base || value > (UINT64_MAX - digit) / base)
            return false;
        value = value * base + digit;
    }
    *out = value;
    return true;
}

static bool parse_ip(const char *text, uint32_t *out)
{
    struct in_addr in;
    if (inet_pton(AF_INET, text, &in) != 1)
        return false;
    *out = ntohl(in.s_addr);
    return true;
}

static bool parse_address(const char *text, struct port_addr *out)
{
    const char *colon = strrchr(text, ':');
    char ip[INET_ADDRSTRLEN];
    uint64_t port;
    if (colon == NULL || (size_t)(colon - text) >= sizeof ip || !parse_u64(colon + 1, 10, &port) ||
        port == 0 || port > 65535)
        return false;
    memcpy(ip, text, (size_t)(colon - text));
    ip[colon - text] = '\0';
    out->port = (uint16_t)port;
    return parse_ip(ip, &out->ip);
}

static bool is_multicast(uint32_t ip)
{
    return ip >> 28 == 0xe;
}

static bool is_host(uint32_t ip)
{
    return ip != 0 && ip >> 28 < 0xe;
}

static bool set_number(struct config_reader *r, const struct config_key *key,
                       const yaml_node_t *node, void *field)
{
    uint64_t value;
    if (!parse_u64(config_text_of(node), 10, &value)) {
        config_complain(r, config_line(node), "%s: '%s' is not a whole number", key->name,
                        config_text_of(node));
        return false;
    }
    if (value < key->min || value > key->max) {
        config_complain(r, config_line(node), "%s: %s is out of range: %llu to %llu", key->name,
                        config_text_of(node), (unsigned long long)key->min,
                        (unsigned long long)key->max);
        return false;
    }
    if (key->type == CONFIG_PORT)
        *(uint16_t *)field = (uint16_t)value;
    else
        *(uint32_t *)field = (uint32_t)value;
    return true;
}

static bool set_bool(struct config_reader *r, const struct config_key *key, const yaml_node_t *node,
                     bool *field)
{
    bool yes = strcmp(config_text_of(node), "true") == 0;
    if (!yes && strcmp(config_text_of(node), "false") != 0) {
        config_complain(r, config_line(node), "%s: '%s' is neither true nor false", key->name,
                        config_text_of(node));
        return false;
    }
    *field = yes;
    return true;
}

static bool set_stream_id(struct config_reader *r, const struct config_key *key,
                          const yaml_node_t *node, uint64_t *field)
{
    const char *text = config_text_of(node);
    if (strlen(text) == 16 && parse_u64(text, 16, field) && *field != 0)
        return true;
    config_complain(r, config_line(node),
                    "%s: '%s' is not a stream id: 16 hex digits, not all zero", key->name, text);
    return false;
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static bool allowed(enum config_type type, char c)
{
    if (type == CONFIG_NAME)
        return name_char(c);
    if (type == CONFIG_SESSION)
        return c >= ' ' && c <= '~';
    return (unsigned char)c >= ' ' && c != 0x7f;
}

static bool set_string(struct config_reader *r, const struct config_key *key,
                       const yaml_node_t *node, char *field)
{
    const char *text = config_text_of(node);
    size_t length = strlen(text);
    if (length < key->min || length > key->max) {
        config_complain(r, config_line(node), "%s: must have %llu to %llu bytes, has %zu",
                        key->name, (unsigned long long)key->min, (unsigned long long)key->max,
                        length);
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (!allowed(key->type, text[i])) {
            config_complain(r, config_line(node),
                            "%s: '%s' has a character that is not allowed there%s", key->name, text,
                            key->type == CONFIG_NAME ? ": letters, digits, '.', '_' and '-' are"
                            : key->type == CONFIG_SESSION ? ": printable ASCII is"
                                                          : "");
            return false;
        }
    }
    memcpy(field, text, length + 1);
    return true;
}

static bool set_ip(struct config_reader *r, const struct config_key *key, const yaml_node_t *node,
                   uint32_t *field)
{
    uint32_t ip;
    if (!parse_ip(config_text_of(node), &ip) || !is_host(ip)) {
        config_complain(r, config_line(node), "%s: '%s' is not an IPv4 address of an interface",
                        key->name, config_text_of(node));
        return false;
    }
    *field = ip;
    return true;
}

static bool set_address(struct config_reader *r, const struct config_key *key,
                        const yaml_node_t *node, struct port_addr *field)
{
    struct port_addr a;
    bool group = key->type == CONFIG_GROUP;
    if (!parse_address(config_text_of(node), &a)) {
        config_complain(r, config_line(node), "%s: '%s' is not an address: write %s", key->name,
                        config_text_of(node), group ? "239.1.2.3:20000" : "192.0.2.1:20000");
        return false;
    }
    if (group && !is_multicast(a.ip)) {
        config_complain(r, config_line(node),
                        "%s: '%s' is not multicast: groups are 224.0.0.0 to 239.255.255.255",
                        key->name, config_text_of(node));
        return false;
    }
    if (!group && !is_host(a.ip) && (key->type != CONFIG_LISTEN || a.ip != 0)) {
        config_complain(r, config_line(node), "%s: '%s' is not the address of a host", key->name,
                        config_text_of(node));
        return false;
    }
    *field = a;
    return true;
}

static bool set_word(struct config_reader *r, const struct config_key *key, const yaml_node_t *node,
                     void *field)
{
    char list[64] = "";
    size_t length = 0;
    for (const struct config_word *w = config_words(key->type); w->word != NULL; w++) {
        if (strcmp(w->word, config_text_of(node)) == 0) {
            if (key->type == CONFIG_IDLE)
                *(enum loop_idle *)field = (enum loop_idle)w->value;
            else if (key->type == CONFIG_SYNC)
                *(enum disk_sync *)field = (enum disk_sync)w->value;
            else
                *(enum config_promotion *)field = (enum config_promotion)w->value;
            return true;
        }
        int n =
            snprintf(list + length, sizeof list - length, "%s%s", length > 0 ? ", " : "", w->word);
        length += n > 0 && (size_t)n < sizeof list - length ? (size_t)n : 0;
    }
    config_complain(r, config_line(node), "%s: '%s' is none of: %s", key->name,
                    config_text_of(node), list);
    return false;
}

bool config_set_value(struct config_reader *r, const struct config_key *key,
                      const yaml_node_t *node, void *field)
{
    if (!config_is_text(node)) {
        config_complain(r, config_line(node), "%s: must be a single value", key->name);
        return false;
    }
    switch (key->type) {
    case CONFIG_U32:
    case CONFIG_PORT:
        return set_number(r, key, node, field);
    case CONFIG_BOOL:
        return set_bool(r, key, node, field);
    case CONFIG_STREAM_ID:
        return set_stream_id(r, key, node, field);
    case CONFIG_NAME:
    case CONFIG_SESSION:
    case CONFIG_PATH:
        return set_string(r, key, node, field);
    case CONFIG_IP:
        return set_ip(r, key, node, field);
    case CONFIG_ADDRESS:
    case CONFIG_LISTEN:
    case CONFIG_GROUP:
        return set_address(r, key, node, field);
    case CONFIG_IDLE:
    case CONFIG_SYNC:
    case CONFIG_PROMOTION:
        return set_word(r, key, node, field);
    }
    return false;
}
