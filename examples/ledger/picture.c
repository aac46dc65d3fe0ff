#include "picture.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    BARS = 192,
    WIDTH = 1200,
    LEFT = 70,
    RIGHT = 20,
    TOP = 70,
    MIDDLE = 430, /* bottom of the upper panel */
    LOWER = 480,  /* top of the lower panel */
    BOTTOM = 620,
    HEIGHT = 660
};

enum band { BAND_PAID, BAND_HELD, BAND_OTHER, BAND_REFUSED, BANDS };

static const char *const colours[BANDS] = { "#0a8f4d", "#e0a320", "#8fa3b8", "#d0253a" };

struct bar {
    uint32_t counts[BANDS];
    int64_t held; /* at most */
};

static const char *const picture_topics[] = { LEDGER_INSTRUCTIONS, LEDGER_SETTLEMENTS, NULL };
static const struct cantus_part picture_parts[] = { { &ledger_app,
                                                      offsetof(struct picture, ledger) } };

static void picture_apply(void *state, const struct cantus_message *m)
{
    struct picture *p = state;
    if (strcmp(m->topic, LEDGER_SETTLEMENTS) == 0) {
        if (p->settled < sizeof p->settled_ns / sizeof p->settled_ns[0])
            p->settled_ns[p->settled++] = m->timestamp_ns;
    } else if (p->count < PICTURE_POINTS_MAX) {
        p->points[p->count++] = (struct picture_point) { .time_ns = m->timestamp_ns,
                                                         .held = p->ledger.held,
                                                         .outcome = (uint8_t)p->ledger.last };
    }
}

static enum band band_of(uint8_t outcome)
{
    if (outcome >= LEDGER_MALFORMED)
        return BAND_REFUSED;
    if (outcome == LEDGER_HELD)
        return BAND_HELD;
    return outcome == LEDGER_PAID || outcome == LEDGER_CAPTURED ? BAND_PAID : BAND_OTHER;
}

/* ---- drawing --------------------------------------------------------------------------------- */

struct frame {
    uint64_t from_ns, to_ns;
    struct bar bars[BARS];
    uint32_t most;     /* instructions in one bar */
    int64_t most_held; /* cents */
};

static void frame_fill(struct frame *f, const struct picture *p)
{
    *f = (struct frame) { .from_ns = p->points[0].time_ns,
                          .to_ns = p->points[p->count - 1].time_ns + 1,
                          .most = 1,
                          .most_held = 1 };
    if (p->settled > 0 && p->settled_ns[p->settled - 1] > f->to_ns)
        f->to_ns = p->settled_ns[p->settled - 1];
    for (uint32_t i = 0; i < p->count; i++) {
        const struct picture_point *point = &p->points[i];
        double passed = (double)(point->time_ns - f->from_ns) / (double)(f->to_ns - f->from_ns);
        struct bar *bar = &f->bars[(int)(passed * BARS)];
        bar->counts[band_of(point->outcome)]++;
        bar->held = point->held > bar->held ? point->held : bar->held;
    }
    for (int i = 0; i < BARS; i++) {
        uint32_t sum = 0;
        for (int band = 0; band < BANDS; band++)
            sum += f->bars[i].counts[band];
        f->most = sum > f->most ? sum : f->most;
        f->most_held = f->bars[i].held > f->most_held ? f->bars[i].held : f->most_held;
    }
}

static double x_of(double fraction)
{
    return LEFT + fraction * (WIDTH - LEFT - RIGHT);
}

static void draw_bars(FILE *out, const struct frame *f)
{
    double width = x_of(1. / BARS) - x_of(0);
    for (int i = 0; i < BARS; i++) {
        double y = MIDDLE;
        for (int band = 0; band < BANDS; band++) {
            double high = (double)f->bars[i].counts[band] / f->most * (MIDDLE - TOP);
            if (high == 0)
                continue;
            y -= high;
            fprintf(out, "<rect x='%.1f' y='%.1f' width='%.1f' height='%.1f' fill='%s'/>",
                    x_of((double)i / BARS), y, width - .6, high, colours[band]);
        }
    }
    fprintf(out, "\n<path class='held' d='M%d %d", LEFT, BOTTOM);
    for (int i = 0; i < BARS; i++)
        fprintf(out, "L%.1f %.1f", x_of((i + .5) / BARS),
                BOTTOM - (double)f->bars[i].held / (double)f->most_held * (BOTTOM - LOWER));
    fprintf(out, "L%d %dZ'/>\n", WIDTH - RIGHT, BOTTOM);
}

static void draw_settlements(FILE *out, const struct frame *f, const struct picture *p)
{
    double span = (double)(f->to_ns - f->from_ns);
    for (uint32_t i = 0; i < p->settled; i++) {
        double x = x_of((double)(p->settled_ns[i] - f->from_ns) / span);
        fprintf(out, "<line class='grid' x1='%.1f' x2='%.1f' y1='%d' y2='%d'/>", x, x, TOP, BOTTOM);
        fprintf(out, "<text class='tick' text-anchor='middle' x='%.1f' y='%d'>%u</text>\n", x,
                BOTTOM + 18, i + 1);
    }
}

static void draw_scale(FILE *out, int top, const char *most, int bottom)
{
    fprintf(out,
            "<text class='tick' text-anchor='end' x='%d' y='%d'>%s</text><text class='tick' "
            "text-anchor='end' x='%d' y='%d'>0</text>\n",
            LEFT - 8, top + 10, most, LEFT - 8, bottom);
}

bool picture_write(const struct picture *p, const char *path)
{
    static const char *const names[BANDS] = { "paid", "held", "other", "refused" };
    FILE *out = fopen(path, "w");
    if (out == NULL)
        return false;
    fprintf(out,
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' "
            "font-family='system-ui,sans-serif'>\n<style>.grid{stroke:#8885;stroke-width:1}"
            ".tick{font-size:12px;fill:#666}.title{font-size:18px;fill:#222}"
            ".label{font-size:13px;fill:#444}.held{fill:#e0a32066;stroke:#b07c10}</style>\n"
            "<rect width='%d' height='%d' fill='#fff'/>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
    fprintf(out,
            "<text class='title' x='%d' y='28'>A day of %u payment instructions, and %u "
            "settlements</text>\n<text class='label' x='%d' y='50'>instructions: ",
            LEFT, p->count, p->settled, LEFT);
    for (int band = 0; band < BANDS; band++)
        fprintf(out, "<tspan fill='%s'>%s</tspan>%s", colours[band], names[band],
                band + 1 < BANDS ? ", " : "</text>\n");
    fprintf(out,
            "<text class='label' x='%d' y='%d'>money on hold; the lines are settlements, with "
            "their numbers</text>\n",
            LEFT, LOWER - 12);
    if (p->count > 0) {
        struct frame f;
        char most[32];
        frame_fill(&f, p);
        draw_settlements(out, &f, p);
        draw_bars(out, &f);
        snprintf(most, sizeof most, "%u", f.most);
        draw_scale(out, TOP, most, MIDDLE);
        snprintf(most, sizeof most, "%" PRId64, f.most_held / 100);
        draw_scale(out, LOWER, most, BOTTOM);
    }
    fprintf(out, "</svg>\n");
    return fclose(out) == 0;
}

const struct cantus_app picture_app = {
    .abi = CANTUS_APP_ABI,
    .logic_version = 1,
    .name = "ledger-picture",
    .topics = picture_topics,
    .state_size = sizeof(struct picture),
    .parts = picture_parts,
    .part_count = 1,
    .apply = picture_apply,
};
