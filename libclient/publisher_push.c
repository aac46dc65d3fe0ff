/* How a publisher takes items: whether there is room, and where they lie. */
#include "libclient/publisher_private.h"
#include "proto/ledger.h"
#include "proto/topic.h"

static uint32_t fragments_of(const struct publisher *p, uint32_t length)
{
    return length <= p->fragment_max ? 1 : (length + p->fragment_max - 1) / p->fragment_max;
}

uint32_t publisher_find_item_max(const struct publisher *p)
{
    uint32_t count = p->options.window < RUN_MESSAGES_MAX ? p->options.window : RUN_MESSAGES_MAX;
    uint64_t max = (uint64_t)count * p->fragment_max;
    if (max > p->options.run_bytes_max)
        max = p->options.run_bytes_max;
    if (max > p->options.bytes_max / 2)
        max = p->options.bytes_max / 2;
    return (uint32_t)max;
}

uint32_t publisher_item_max(const struct publisher *p)
{
    return p->item_max;
}

/* Where an item's bytes would begin, in one piece; false if they don't fit now. */
static bool place(const struct publisher *p, uint32_t length, uint64_t *begin)
{
    uint64_t at = p->bytes_head;
    uint64_t left = p->bytes_mask + 1 - (at & p->bytes_mask);
    if (length > left)
        at += left;
    *begin = at;
    return at + length - p->bytes_tail <= p->bytes_mask + 1;
}

/* `more`: bytes beside the payload. */
static inline bool find_room(const struct publisher *p, uint32_t length, uint32_t more,
                             uint32_t count, uint64_t *begin)
{
    return p->state == PUBLISHER_ACTIVE && length <= p->item_max &&
           p->next - p->done + count <= p->options.window &&
           p->next - p->base + count <= p->entries_max && p->next + count <= PUBLISHER_SEQ_MAX &&
           place(p, length + more, begin);
}

bool publisher_has_room(const struct publisher *p, uint32_t length)
{
    uint64_t begin;
    uint32_t more = p->options.by_proxy     ? 2 * TOPIC_PATH_MAX
                    : p->options.takes_runs ? MESSAGE_HEADER_SIZE
                                            : 0;
    return find_room(p, length, more, fragments_of(p, length), &begin);
}

/* Where the next plain item goes, and how much may follow there before this is asked again. False if there is no room
 * for one of this length. */
static bool open_room(struct publisher *p, uint32_t length)
{
    uint64_t begin;
    if (!p->options.takes_runs || length > p->fragment_max ||
        !find_room(p, length, MESSAGE_HEADER_SIZE, 1, &begin))
        return false;
    p->open.alike = 0;
    if (p->next > p->base) {
        const struct publisher_entry *last = publisher_entry(p, p->next - 1);
        if ((last->flags & MESSAGE_MORE) != 0)
            return false; /* it ends a group */
        if (begin == p->bytes_head && (begin & p->bytes_mask) != 0)
            p->open.alike = last->alike;
    }
    uint64_t window = p->options.window - (p->next - p->done);
    uint64_t kept = p->entries_max - (p->next - p->base);
    uint64_t numbers = PUBLISHER_SEQ_MAX - p->next;
    numbers = window < numbers ? window : numbers;
    numbers = kept < numbers ? kept : numbers;
    uint64_t lap = p->bytes_mask + 1 - (begin & p->bytes_mask);
    uint64_t bytes = p->bytes_mask + 1 - (begin - p->bytes_tail);
    p->open.numbers = (uint32_t)numbers;
    p->open.bytes = bytes < lap ? bytes : lap;
    p->bytes_head = begin;
    return true;
}

uint64_t publisher_push_plain(struct publisher *p, uint32_t topic, const void *payload,
                              uint32_t length, const struct position *position)
{
    const uint32_t taken = MESSAGE_HEADER_SIZE + length;
    if ((p->open.numbers == 0 || length > p->fragment_max || taken > p->open.bytes) &&
        !open_room(p, length))
        return 0;
    const uint64_t number = p->next++, begin = p->bytes_head;
    struct publisher_entry *e = publisher_entry(p, number);
    batch_put(publisher_bytes(p, begin), topic, p->id, number, 0, payload, length);
    p->bytes_head = begin + taken;
    p->open.numbers--;
    p->open.bytes -= taken;
    if (p->open.alike < PUBLISHER_ALIKE_MAX)
        p->open.alike++;
    e->position = *position;
    e->begin = begin + MESSAGE_HEADER_SIZE;
    e->first_sent_ns = 0;
    e->topic = topic;
    e->length = (uint16_t)length;
    e->alike = p->open.alike;
    e->flags = 0;
    e->begins = true;
    e->resent = e->filled = false;
    p->items_in_flight++;
    p->counters[COUNTER_PUBLISHED]++;
    return number;
}

uint64_t publisher_push(struct publisher *p, const struct publisher_item *item,
                        struct position position)
{
    assert(item->topic != TOPIC_NONE && item->topic <= TOPIC_ID_MAX);
    if (p->options.takes_runs && !item->more && !item->conditional) {
        uint64_t number =
            publisher_push_plain(p, item->topic, item->payload, item->length, &position);
        if (number != 0)
            return number;
    }
    p->open.numbers = 0;
    uint32_t count = fragments_of(p, item->length);
    uint64_t begin = 0;
    uint32_t paths = (uint32_t)item->path_length + item->condition_path_length;
    if (!find_room(p, item->length, paths, count, &begin))
        return 0;
    if (item->length > 0)
        memcpy(publisher_bytes(p, begin), item->payload, item->length);
    p->bytes_head = begin + item->length + paths;
    if (item->path_length > 0)
        memcpy(publisher_bytes(p, begin + item->length), item->path, item->path_length);
    if (item->condition_path_length > 0)
        memcpy(publisher_bytes(p, begin + item->length + item->path_length), item->condition_path,
               item->condition_path_length);
    uint64_t first = p->next;
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t length = item->length - at < p->fragment_max ? item->length - at : p->fragment_max;
        *publisher_entry(p, p->next) = (struct publisher_entry) {
            .position = position,
            .begin = begin + at,
            .topic = item->topic,
            .length = (uint16_t)length,
            .flags = i + 1 < count ? MESSAGE_MORE | MESSAGE_FRAGMENT
                     : item->more  ? MESSAGE_MORE
                                   : 0,
            .begins = i == 0,
        };
        *publisher_rest(p, p->next++) = (struct publisher_rest) {
            .condition_after = i == 0 ? item->condition_after : 0,
            .condition_topic = i == 0 ? item->condition_topic : 0,
            .conditional = i == 0 && item->conditional,
            .item_length = item->length,
            .item_entries = count,
            .path_length = item->path_length,
            .condition_path_length = item->condition_path_length,
        };
        at += length;
    }
    p->items_in_flight++;
    p->counters[COUNTER_PUBLISHED]++;
    return first;
}
