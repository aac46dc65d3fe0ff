#include "plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SAMPLE_MS = 60 * 1000,
    SAMPLES_MAX = 2000,
    ROWS = 72, /* of the heat map */
    WIDTH = 1200,
    HEIGHT = 760,
    LEFT = 70,
    RIGHT = 20,
    TOP = 56,
    MIDDLE = 520, /* bottom of the upper panel */
    LOWER = 570,  /* top of the lower panel */
    BOTTOM = 710
};

struct sample {
    uint64_t time_ms;
    uint32_t bid, ask;
    double near_bid, near_ask; /* BTC within 1 % of the middle */
    struct book_level *levels; /* within 3 % of the middle: bids first */
    uint32_t bid_levels, ask_levels;
};

struct plot {
    struct book book;
    struct sample samples[SAMPLES_MAX];
    uint32_t count;
    uint64_t next_ms;
};

struct plot *plot_create(void)
{
    struct plot *p = calloc(1, sizeof *p);
    if (p != NULL && !book_app.init(&p->book, "", NULL)) {
        book_app.close(&p->book);
        free(p);
        p = NULL;
    }
    return p;
}

void plot_destroy(struct plot *p)
{
    if (p == NULL)
        return;
    book_app.close(&p->book);
    for (uint32_t i = 0; i < p->count; i++)
        free(p->samples[i].levels);
    free(p);
}

static uint32_t copy_near(const struct book_side *side, uint32_t low, uint32_t high,
                          struct book_level *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < side->count; i++)
        if (side->levels[i].price >= low && side->levels[i].price <= high)
            out[n++] = side->levels[i];
    return n;
}

static double volume_near(const struct book_side *side, uint32_t low, uint32_t high)
{
    double sum = 0;
    for (uint32_t i = 0; i < side->count; i++)
        if (side->levels[i].price >= low && side->levels[i].price <= high)
            sum += (double)side->levels[i].volume;
    return sum / 1e8;
}

static void take_sample(struct plot *p)
{
    const struct book *b = &p->book;
    uint32_t bid = book_best_bid(b), ask = book_best_ask(b);
    if (p->count == SAMPLES_MAX || bid == 0 || ask == 0)
        return;
    const struct book_side *bids = &b->sides[0], *asks = &b->sides[1];
    uint32_t middle = bid / 2 + ask / 2, wide = middle * 3 / 100, tight = middle / 100;
    struct sample s = { .time_ms = b->last_time_ms, .bid = bid, .ask = ask };
    s.near_bid = volume_near(bids, middle - tight, middle + tight);
    s.near_ask = volume_near(asks, middle - tight, middle + tight);
    s.levels = calloc(bids->count + asks->count, sizeof *s.levels);
    if (s.levels == NULL)
        return;
    s.bid_levels = copy_near(bids, middle - wide, middle + wide, s.levels);
    s.ask_levels = copy_near(asks, middle - wide, middle + wide, s.levels + s.bid_levels);
    p->samples[p->count++] = s;
}

void plot_message(struct plot *p, const struct cantus_message *m)
{
    book_app.apply(&p->book, m);
    if (p->book.last_time_ms < p->next_ms)
        return;
    take_sample(p);
    p->next_ms = p->book.last_time_ms + SAMPLE_MS;
}

/* ---- drawing --------------------------------------------------------------------------------- */

struct scale {
    double from, to;   /* values */
    double begin, end; /* pixels */
};

static double at(const struct scale *s, double value)
{
    double span = s->to > s->from ? s->to - s->from : 1;
    return s->begin + (value - s->from) / span * (s->end - s->begin);
}

static double nice_step(double span, int wanted)
{
    double raw = span / wanted, power = pow(10, floor(log10(raw))), rest = raw / power;
    return power * (rest < 1.5 ? 1 : rest < 3.5 ? 2 : rest < 7.5 ? 5 : 10);
}

static void draw_axis(FILE *f, const struct scale *y, int decimals)
{
    double step = nice_step(y->to - y->from, 6);
    for (double v = ceil(y->from / step) * step; v <= y->to; v += step) {
        fprintf(f, "<line class='grid' x1='%d' x2='%d' y1='%.1f' y2='%.1f'/>", LEFT, WIDTH - RIGHT,
                at(y, v), at(y, v));
        fprintf(f, "<text class='tick' text-anchor='end' x='%d' y='%.1f'>%.*f</text>\n", LEFT - 8,
                at(y, v) + 4, decimals, v);
    }
}

static void draw_hours(FILE *f, const struct scale *x)
{
    const double half_hour = 1800e3;
    for (double t = ceil(x->from / half_hour) * half_hour; t <= x->to; t += half_hour) {
        time_t seconds = (time_t)(t / 1000);
        struct tm parts;
        gmtime_r(&seconds, &parts);
        fprintf(f, "<line class='grid' x1='%.1f' x2='%.1f' y1='%d' y2='%d'/>", at(x, t), at(x, t),
                TOP, BOTTOM);
        fprintf(f, "<text class='tick' text-anchor='middle' x='%.1f' y='%d'>%02d:%02d</text>\n",
                at(x, t), BOTTOM + 20, parts.tm_hour, parts.tm_min);
    }
}

static void draw_cells(FILE *f, const struct sample *s, const struct book_level *levels,
                       uint32_t count, const struct scale *x, const struct scale *y, double width,
                       const char *colour)
{
    double row = (MIDDLE - TOP) / (double)ROWS, sums[ROWS] = { 0 };
    for (uint32_t i = 0; i < count; i++) {
        int cell = (int)((at(y, levels[i].price / 100.0) - TOP) / row);
        if (cell >= 0 && cell < ROWS)
            sums[cell] += (double)levels[i].volume / 1e8;
    }
    for (int cell = 0; cell < ROWS; cell++) {
        if (sums[cell] <= 0)
            continue;
        double strength = log10(1 + sums[cell]) / 2.2;
        fprintf(f, "<rect x='%.1f' y='%.1f' width='%.1f' height='%.1f' fill='%s' opacity='%.2f'/>",
                at(x, (double)s->time_ms), TOP + cell * row, width, row + .3, colour,
                strength > .95   ? .95
                : strength < .05 ? .05
                                 : strength);
    }
    fputc('\n', f);
}

static void draw_line(FILE *f, const struct plot *p, const struct scale *x, const struct scale *y,
                      bool bid, const char *class)
{
    fprintf(f, "<path class='%s' d='", class);
    for (uint32_t i = 0; i < p->count; i++) {
        double price = (bid ? p->samples[i].bid : p->samples[i].ask) / 100.0;
        if (i == 0)
            fprintf(f, "M%.1f %.1f", at(x, (double)p->samples[i].time_ms), at(y, price));
        else
            fprintf(f, "H%.1fV%.1f", at(x, (double)p->samples[i].time_ms), at(y, price));
    }
    fprintf(f, "'/>\n");
}

static void draw_depth(FILE *f, const struct plot *p, const struct scale *x, const struct scale *y,
                       bool bid, const char *class)
{
    fprintf(f, "<path class='%s' d='M%.1f %.1f", class, at(x, x->from), at(y, 0));
    for (uint32_t i = 0; i < p->count; i++) {
        const struct sample *s = &p->samples[i];
        fprintf(f, "L%.1f %.1f", at(x, (double)s->time_ms), at(y, bid ? s->near_bid : s->near_ask));
    }
    fprintf(f, "L%.1f %.1fZ'/>\n", at(x, x->to), at(y, 0));
}

static void draw_head(FILE *f, const struct plot *p)
{
    fprintf(f,
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' "
            "font-family='system-ui,sans-serif'>\n<style>.grid{stroke:#8883;stroke-width:1}"
            ".tick{font-size:12px;fill:#666}.title{font-size:18px;fill:#222}"
            ".label{font-size:13px;fill:#444}.bid{fill:none;stroke:#06703c;stroke-width:1.6}"
            ".ask{fill:none;stroke:#b01528;stroke-width:1.6}.bids{fill:#0a8f4d66}"
            ".asks{fill:#d0253a55}</style>\n<rect width='%d' height='%d' fill='#fff'/>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT);
    time_t seconds = (time_t)(p->samples[0].time_ms / 1000);
    struct tm day;
    gmtime_r(&seconds, &day);
    fprintf(f,
            "<text class='title' x='%d' y='26'>BTC/USD limit order book, %04d-%02d-%02d (UTC), "
            "%llu events</text>\n",
            LEFT, day.tm_year + 1900, day.tm_mon + 1, day.tm_mday,
            (unsigned long long)p->book.events);
    fprintf(f,
            "<text class='label' x='%d' y='45'>depth within 3 %% of the middle: "
            "<tspan fill='#06703c'>bids</tspan> and <tspan fill='#b01528'>asks</tspan>, darker is "
            "more; lines: best bid and best ask, USD</text>\n",
            LEFT);
    fprintf(f, "<text class='label' x='%d' y='%d'>BTC within 1 %% of the middle</text>\n", LEFT,
            LOWER - 10);
}

bool plot_write(const struct plot *p, const char *path)
{
    FILE *f = fopen(path, "w");
    if (f == NULL)
        return false;
    if (p->count == 0) {
        fprintf(f, "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 400 40'>"
                   "<text x='10' y='25'>no events with both sides of the book</text></svg>\n");
        return fclose(f) == 0;
    }
    double low = 1e18, high = 0, deepest = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        const struct sample *s = &p->samples[i];
        low = fmin(low, s->bid / 100.0);
        high = fmax(high, s->ask / 100.0);
        deepest = fmax(deepest, fmax(s->near_bid, s->near_ask));
    }
    double margin = (high - low) * .15 + .1;
    struct scale x = { (double)p->samples[0].time_ms,
                       (double)p->samples[p->count - 1].time_ms + SAMPLE_MS, LEFT, WIDTH - RIGHT };
    struct scale y = { low - margin, high + margin, MIDDLE, TOP };
    struct scale depth = { 0, deepest * 1.1 + 1, BOTTOM, LOWER };
    double width = at(&x, x.from + SAMPLE_MS) - at(&x, x.from) + .3;

    draw_head(f, p);
    for (uint32_t i = 0; i < p->count; i++) {
        const struct sample *s = &p->samples[i];
        draw_cells(f, s, s->levels, s->bid_levels, &x, &y, width, "#0a8f4d");
        draw_cells(f, s, s->levels + s->bid_levels, s->ask_levels, &x, &y, width, "#d0253a");
    }
    draw_hours(f, &x);
    draw_axis(f, &y, 2);
    draw_axis(f, &depth, 0);
    draw_line(f, p, &x, &y, true, "bid");
    draw_line(f, p, &x, &y, false, "ask");
    draw_depth(f, p, &x, &depth, true, "bids");
    draw_depth(f, p, &x, &depth, false, "asks");
    fprintf(f, "</svg>\n");
    return fclose(f) == 0;
}
