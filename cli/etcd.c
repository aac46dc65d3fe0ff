#include "cli/etcd.h"

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { URL_MAX = 255, BODY_MAX = 2048, CALL_MIN_MS = 50, CALL_MAX_MS = 2000 };
#define BASE64_MAX(bytes) (((bytes) + 2) / 3 * 4 + 1)

struct etcd {
    CURL *curl;
    struct curl_slist *headers;
    uint32_t endpoint_count;
    uint32_t at; /* the endpoint that answered last */
    char endpoints[ETCD_ENDPOINTS_MAX][URL_MAX + 1];
    char key[BASE64_MAX(ETCD_KEY_MAX)];
    char value[BASE64_MAX(ETCD_VALUE_MAX)];
    uint32_t ttl_s;
    char error[ETCD_ERROR_MAX];
    char problem[CURL_ERROR_SIZE];
    size_t have;
    char answer[ETCD_ANSWER_MAX + 1];
};

/* ---- base 64: keys and values are bytes to etcd ---------------------------------------------- */

static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void encode64(const char *text, char *out)
{
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i += 3) {
        uint32_t three = (uint32_t)(uint8_t)text[i] << 16;
        three |= i + 1 < length ? (uint32_t)(uint8_t)text[i + 1] << 8 : 0;
        three |= i + 2 < length ? (uint8_t)text[i + 2] : 0;
        *out++ = DIGITS[three >> 18];
        *out++ = DIGITS[three >> 12 & 63];
        *out++ = i + 1 < length ? DIGITS[three >> 6 & 63] : '=';
        *out++ = i + 2 < length ? DIGITS[three & 63] : '=';
    }
    *out = '\0';
}

/* What is no text comes out as question marks; what is too long, cut. */
static void decode64(const char *in, char *out, size_t capacity)
{
    uint32_t bits = 0;
    uint32_t count = 0;
    size_t at = 0;
    for (; *in != '\0' && *in != '=' && at + 1 < capacity; in++) {
        const char *digit = strchr(DIGITS, *in);
        if (digit == NULL)
            break;
        bits = bits << 6 | (uint32_t)(digit - DIGITS);
        count += 6;
        if (count < 8)
            continue;
        count -= 8;
        char c = (char)(bits >> count & 255);
        out[at++] = c >= ' ' && c <= '~' ? c : '?';
    }
    out[at] = '\0';
}

/* ---- one call -------------------------------------------------------------------------------- */

static size_t take(char *bytes, size_t size, size_t count, void *ctx)
{
    struct etcd *e = ctx;
    size_t length = size * count;
    if (length > ETCD_ANSWER_MAX - e->have)
        return 0; /* curl ends the transfer */
    memcpy(e->answer + e->have, bytes, length);
    e->have += length;
    return length;
}

/* The answer's error text, if it is one; or what stands for it. */
static void explain(struct etcd *e, const cJSON *answer, long http)
{
    const cJSON *said = cJSON_GetObjectItemCaseSensitive(answer, "error");
    if (cJSON_IsString(said))
        snprintf(e->error, sizeof e->error, "%.250s: %.100s", e->endpoints[e->at],
                 said->valuestring);
    else
        snprintf(e->error, sizeof e->error, "%.250s: HTTP status %ld; no etcd?",
                 e->endpoints[e->at], http);
}

/* One question to the endpoint at hand. The answer, to be deleted; NULL: see error. */
static cJSON *ask_one(struct etcd *e, const char *path, const char *body, bool *gone)
{
    char url[URL_MAX + 32];
    long http = 0;
    snprintf(url, sizeof url, "%s%s", e->endpoints[e->at], path);
    e->have = 0;
    e->problem[0] = '\0';
    curl_easy_setopt(e->curl, CURLOPT_URL, url);
    curl_easy_setopt(e->curl, CURLOPT_POSTFIELDS, body);
    CURLcode code = curl_easy_perform(e->curl);
    if (code != CURLE_OK) {
        snprintf(e->error, sizeof e->error, "%.250s: %.120s", e->endpoints[e->at],
                 e->problem[0] != '\0' ? e->problem : curl_easy_strerror(code));
        return NULL;
    }
    e->answer[e->have] = '\0';
    curl_easy_getinfo(e->curl, CURLINFO_RESPONSE_CODE, &http);
    cJSON *answer = cJSON_ParseWithLength(e->answer, e->have);
    if (http == 200 && cJSON_IsObject(answer))
        return answer;
    *gone = strstr(e->answer, "requested lease not found") != NULL;
    explain(e, answer, http);
    cJSON_Delete(answer);
    return NULL;
}

static cJSON *ask(struct etcd *e, const char *path, const char *body, enum etcd_result *result)
{
    for (uint32_t tried = 0; tried < e->endpoint_count; tried++) {
        bool gone = false;
        cJSON *answer = ask_one(e, path, body, &gone);
        *result = answer != NULL ? ETCD_OK : gone ? ETCD_GONE : ETCD_FAILED;
        if (*result != ETCD_FAILED)
            return answer;
        e->at = (e->at + 1) % e->endpoint_count;
    }
    return NULL;
}

/* The gateway writes 64-bit integers as strings. */
static bool read_number(const cJSON *object, const char *name, uint64_t *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    char *end = NULL;
    if (!cJSON_IsString(item) || item->valuestring[0] < '0' || item->valuestring[0] > '9')
        return false;
    errno = 0;
    *out = strtoull(item->valuestring, &end, 10);
    return errno == 0 && *end == '\0';
}

static enum etcd_result malformed(struct etcd *e)
{
    snprintf(e->error, sizeof e->error, "%.250s: answered with something else; no etcd?",
             e->endpoints[e->at]);
    return ETCD_FAILED;
}

/* ---- leases ---------------------------------------------------------------------------------- */

enum etcd_result etcd_grant(struct etcd *e, uint64_t *lease, uint32_t *ttl_s)
{
    char body[BODY_MAX];
    enum etcd_result result;
    uint64_t ttl = 0;
    snprintf(body, sizeof body, "{\"TTL\":\"%" PRIu32 "\"}", e->ttl_s);
    cJSON *answer = ask(e, "/v3/lease/grant", body, &result);
    if (result == ETCD_OK && (!read_number(answer, "ID", lease) || *lease == 0 ||
                              !read_number(answer, "TTL", &ttl) || ttl == 0 || ttl > UINT32_MAX))
        result = malformed(e);
    *ttl_s = (uint32_t)ttl;
    cJSON_Delete(answer);
    return result;
}

enum etcd_result etcd_keep_alive(struct etcd *e, uint64_t lease, uint32_t *ttl_s)
{
    char body[BODY_MAX];
    enum etcd_result result;
    uint64_t ttl = 0;
    snprintf(body, sizeof body, "{\"ID\":\"%" PRIu64 "\"}", lease);
    cJSON *answer = ask(e, "/v3/lease/keepalive", body, &result);
    if (result == ETCD_OK) {
        const cJSON *kept = cJSON_GetObjectItemCaseSensitive(answer, "result");
        if (!cJSON_IsObject(kept))
            result = malformed(e);
        else if (!read_number(kept, "TTL", &ttl) || ttl == 0 || ttl > UINT32_MAX)
            result = ETCD_GONE; /* a lease that has ended is said to have no time left */
    }
    *ttl_s = (uint32_t)ttl;
    cJSON_Delete(answer);
    return result;
}

enum etcd_result etcd_revoke(struct etcd *e, uint64_t lease)
{
    char body[BODY_MAX];
    enum etcd_result result;
    snprintf(body, sizeof body, "{\"ID\":\"%" PRIu64 "\"}", lease);
    cJSON_Delete(ask(e, "/v3/lease/revoke", body, &result));
    return result;
}

/* The key's value and lease, from the answer of a transaction that found it. */
static bool read_holder(const cJSON *answer, uint64_t *lease, char *holder)
{
    const cJSON *responses = cJSON_GetObjectItemCaseSensitive(answer, "responses");
    const cJSON *range =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(responses, 0), "response_range");
    const cJSON *kv = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(range, "kvs"), 0);
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(kv, "value");
    holder[0] = '\0';
    if (cJSON_IsString(value))
        decode64(value->valuestring, holder, ETCD_VALUE_MAX + 1);
    if (!read_number(kv, "lease", lease))
        *lease = 0; /* somebody wrote it by hand */
    return cJSON_IsObject(kv);
}

enum etcd_result etcd_campaign(struct etcd *e, uint64_t lease, bool *holds,
                               char holder[ETCD_VALUE_MAX + 1])
{
    char body[BODY_MAX];
    enum etcd_result result;
    uint64_t holders = 0;
    *holds = false;
    holder[0] = '\0';
    snprintf(body, sizeof body,
             "{\"compare\":[{\"key\":\"%s\",\"target\":\"CREATE\",\"result\":\"EQUAL\","
             "\"create_revision\":\"0\"}],"
             "\"success\":[{\"request_put\":{\"key\":\"%s\",\"value\":\"%s\","
             "\"lease\":\"%" PRIu64 "\"}}],"
             "\"failure\":[{\"request_range\":{\"key\":\"%s\"}}]}",
             e->key, e->key, e->value, lease, e->key);
    cJSON *answer = ask(e, "/v3/kv/txn", body, &result);
    if (result == ETCD_OK) {
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(answer, "succeeded"))) {
            *holds = true;
            decode64(e->value, holder, ETCD_VALUE_MAX + 1);
        } else if (read_holder(answer, &holders, holder)) {
            *holds = holders == lease;
        } else {
            result = malformed(e);
        }
    }
    cJSON_Delete(answer);
    return result;
}

/* ---- open ------------------------------------------------------------------------------------ */

static bool take_endpoints(struct etcd *e, const char *endpoints)
{
    while (*endpoints != '\0') {
        size_t length = strcspn(endpoints, ",");
        size_t kept = length;
        while (kept > 0 && endpoints[kept - 1] == '/')
            kept--;
        bool known =
            strncmp(endpoints, "http://", 7) == 0 || strncmp(endpoints, "https://", 8) == 0;
        if (!known || kept > URL_MAX || e->endpoint_count == ETCD_ENDPOINTS_MAX)
            return false;
        memcpy(e->endpoints[e->endpoint_count], endpoints, kept);
        e->endpoints[e->endpoint_count++][kept] = '\0';
        endpoints += length + (endpoints[length] == ',');
    }
    return e->endpoint_count > 0;
}

static bool set_options(struct etcd *e)
{
    long timeout_ms = (long)e->ttl_s * 1000 / 3 / (long)e->endpoint_count;
    timeout_ms = timeout_ms < CALL_MIN_MS ? CALL_MIN_MS : timeout_ms;
    timeout_ms = timeout_ms > CALL_MAX_MS ? CALL_MAX_MS : timeout_ms;
    e->headers = curl_slist_append(NULL, "Content-Type: application/json");
    return e->headers != NULL &&
           curl_easy_setopt(e->curl, CURLOPT_HTTPHEADER, e->headers) == CURLE_OK &&
           curl_easy_setopt(e->curl, CURLOPT_POST, 1L) == CURLE_OK &&
           curl_easy_setopt(e->curl, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(e->curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(e->curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(e->curl, CURLOPT_ERRORBUFFER, e->problem) == CURLE_OK &&
           curl_easy_setopt(e->curl, CURLOPT_WRITEFUNCTION, take) == CURLE_OK &&
           curl_easy_setopt(e->curl, CURLOPT_WRITEDATA, e) == CURLE_OK &&
           curl_easy_setopt(e->curl, CURLOPT_TIMEOUT_MS, timeout_ms) == CURLE_OK;
}

struct etcd *etcd_open(const char *endpoints, const char *key, const char *value, uint32_t ttl_s,
                       char *error)
{
    struct etcd *e = calloc(1, sizeof *e);
    snprintf(error, ETCD_ERROR_MAX, "out of memory");
    if (e == NULL)
        return NULL;
    e->ttl_s = ttl_s;
    if (key[0] == '\0' || strlen(key) > ETCD_KEY_MAX || strlen(value) > ETCD_VALUE_MAX) {
        snprintf(error, ETCD_ERROR_MAX, "a key has 1 to %d bytes, its value at most %d",
                 ETCD_KEY_MAX, ETCD_VALUE_MAX);
    } else if (!take_endpoints(e, endpoints)) {
        snprintf(error, ETCD_ERROR_MAX,
                 "endpoints are http://HOST:PORT, with commas between, 1 to %d",
                 ETCD_ENDPOINTS_MAX);
    } else {
        encode64(key, e->key);
        encode64(value, e->value);
        e->curl = curl_easy_init();
        if (e->curl != NULL && set_options(e))
            return e;
    }
    etcd_close(e);
    return NULL;
}

void etcd_close(struct etcd *e)
{
    if (e == NULL)
        return;
    curl_slist_free_all(e->headers);
    curl_easy_cleanup(e->curl);
    free(e);
}

const char *etcd_error(const struct etcd *e)
{
    return e->error;
}
