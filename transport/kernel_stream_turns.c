/* Clients that come and go, so many in a millisecond. When thousands are dropped, and are back at once, their ends and
 * beginnings are tens of microseconds each, and whoever talks to us would wait behind all of them: an end that epoll
 * tells of is parked, where epoll does not tell of it again, and who comes is left in the kernel's queue. Ends have
 * their turns first, so that whoever comes back does not find its former place taken. */
#include <assert.h>
#include <sys/epoll.h>

#include "transport/kernel_stream.h"

#define TURN_NS UINT64_C(250000)

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
    uint64_t more = (now_ns - s->turns_ns) / TURN_NS;
    s->turns_ns += more * TURN_NS;
    s->turns = more > KERNEL_TURNS_MAX - s->turns ? KERNEL_TURNS_MAX : s->turns + (uint32_t)more;
    if (s->turns < KERNEL_TURNS_AT_ONCE)
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
    uint32_t left = KERNEL_TURNS_AT_ONCE - (s->turns < KERNEL_TURNS_AT_ONCE ? s->turns : 0);
    return s->turns_ns + left * TURN_NS;
}
