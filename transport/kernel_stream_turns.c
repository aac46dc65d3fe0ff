/* Clients that come and go, so many in a millisecond. When thousands are dropped, and are back at once, their ends and
 * beginnings are tens of microseconds each, and whoever talks to us would wait behind all of them: an end that epoll
 * tells of is parked, where epoll does not tell of it again, and who comes is left in the kernel's queue. Ends have
 * their turns first, so that whoever comes back does not find its former place taken. While somebody talks who has been
 * there for a while, it is half as many, one at a time; else several at once, which is less work for all. */
#include <assert.h>
#include <sys/epoll.h>

#include "transport/kernel_stream.h"

#define TALK_NS UINT64_C(100000000)
#define NEWCOMER_NS                                                                                \
    UINT64_C(1000000000) /* who comes back says hello, and is told what it has missed */

struct pace {
    uint64_t turn_ns;
    uint32_t max;     /* behind a pause */
    uint32_t at_once; /* while others wait for theirs */
};

static const struct pace among_themselves = { .turn_ns = 250000, .max = 64, .at_once = 4 };
static const struct pace beside_others = { .turn_ns = 500000, .max = 4, .at_once = 1 };

static const struct pace *pace_of(const struct kernel_streams *s)
{
    bool talk = s->talk_ns != 0 && s->now_ns - s->talk_ns < TALK_NS;
    return talk ? &beside_others : &among_themselves;
}

uint32_t kernel_streams_turns_max(void)
{
    return among_themselves.max;
}

void kernel_stream_talks(struct kernel_streams *s, const struct kernel_stream *stream)
{
    if (stream->client && s->now_ns - stream->since_ns >= NEWCOMER_NS)
        s->talk_ns = s->now_ns;
}

bool kernel_stream_turn(struct kernel_streams *s)
{
    if (s->parked_count > 0 || s->turns == 0)
        return false;
    s->turns--;
    return true;
}

void kernel_stream_park(struct kernel_streams *s, struct kernel_stream *stream)
{
    int failed = epoll_ctl(s->epoll, EPOLL_CTL_DEL, stream->fd, NULL);
    assert(failed == 0);
    stream->parked = true;
    if (stream->in_parked)
        return;
    stream->in_parked = true;
    s->parked[(s->parked_first + s->parked_count++) % s->max] = (uint16_t)(stream - s->table);
}

static void watch_clients(struct kernel_streams *s, bool accepts)
{
    struct epoll_event event = { .events = accepts ? EPOLLIN : 0, .data = { .u32 = 1u << 16 } };
    int failed = epoll_ctl(s->epoll, EPOLL_CTL_MOD, s->listen[1], &event);
    assert(failed == 0);
    s->holds_back = !accepts;
}

void kernel_stream_hold_back(struct kernel_streams *s)
{
    watch_clients(s, false);
}

static void take_from_parked(struct kernel_streams *s)
{
    struct kernel_stream *stream = &s->table[s->parked[s->parked_first]];
    s->parked_first = (s->parked_first + 1) % s->max;
    s->parked_count--;
    stream->in_parked = false;
    if (!stream->parked)
        return; /* ended otherwise */
    s->turns--;
    stream->parked = false;
    stream->had_turn = true;
    kernel_stream_add(s, stream);
}

void kernel_streams_turns(struct kernel_streams *s, uint64_t now_ns)
{
    s->now_ns = now_ns;
    const struct pace *pace = pace_of(s);
    uint64_t more = (now_ns - s->turns_ns) / pace->turn_ns;
    s->turns_ns += more * pace->turn_ns;
    s->turns = more + s->turns > pace->max ? pace->max : s->turns + (uint32_t)more;
    if (s->turns < pace->at_once)
        return;
    while (s->parked_count > 0 && s->turns > 0)
        take_from_parked(s);
    if (!s->holds_back || s->turns == 0)
        return;
    watch_clients(s, true);
    s->look_again = true;
}

uint64_t kernel_streams_due_ns(const struct kernel_streams *s)
{
    if (s->parked_count == 0 && !s->holds_back)
        return 0;
    const struct pace *pace = pace_of(s);
    uint32_t left = pace->at_once - (s->turns < pace->at_once ? s->turns : 0);
    return s->turns_ns + left * pace->turn_ns;
}
