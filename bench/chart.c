#include "bench/chart.h"

#include <math.h>
#include <string.h>

/* Light and dark by the reader's preference. Fonts are the reader's own. */
const char chart_style[] =
    ":root{color-scheme:light dark;--page:#f7f7f5;--card:#ffffff;--ink:#1b1d21;--soft:#62676f;"
    "--rule:#e3e3df;--grid:#eeeeea;--measured:#2459b3;--wash:#2459b31a;--floor:#9a9fa6;"
    "--chain:#c3b48a;--good:#1b7a4b;--bad:#b4470f}\n"
    "@media (prefers-color-scheme:dark){:root{--page:#131518;--card:#1b1e22;--ink:#e8e8e4;"
    "--soft:#9ba1a9;--rule:#2f333a;--grid:#262a30;--measured:#7aabff;--wash:#7aabff1f;"
    "--floor:#767c85;--chain:#8f8158;--good:#55c78d;--bad:#f2935c}}\n"
    "svg{display:block}\n"
    "svg text{font:11px/1 system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif;"
    "fill:var(--soft);font-variant-numeric:tabular-nums}\n"
    "svg .strong{fill:var(--ink);font-weight:600}\n"
    "svg .ink{fill:var(--ink)}\n"
    "svg .halo{paint-order:stroke;stroke:var(--card);stroke-width:4px}\n"
    "svg .end{text-anchor:end}\n"
    "svg .mid{text-anchor:middle}\n"
    "svg .grid{stroke:var(--grid);fill:none}\n"
    "svg .axis{stroke:var(--rule);fill:none}\n"
    "svg .measured{stroke:var(--measured);fill:none;stroke-width:2;stroke-linejoin:round}\n"
    "svg .floor{stroke:var(--floor);fill:none;stroke-width:2;stroke-linejoin:round}\n"
    "svg .bar-measured,svg .dot-measured{fill:var(--measured)}\n"
    "svg .bar-floor,svg .dot-floor{fill:var(--floor)}\n"
    "svg .bar-chain{fill:var(--chain)}\n"
    "svg .wash{fill:var(--wash)}\n"
    "svg .wanted{stroke:var(--ink);stroke-dasharray:3 3;fill:none}\n"
    "svg .good{fill:var(--good)}\n"
    "svg .bad{fill:var(--bad)}\n"
    "svg .good-line{stroke:var(--good);stroke-width:2}\n"
    "svg .bad-line{stroke:var(--bad);stroke-width:2}\n";

void chart_text(FILE *f, const char *text)
{
    for (; *text != 0; text++) {
        if (*text == '<')
            fputs("&lt;", f);
        else if (*text == '>')
            fputs("&gt;", f);
        else if (*text == '&')
            fputs("&amp;", f);
        else if (*text == '"')
            fputs("&quot;", f);
        else
            fputc(*text, f);
    }
}

/* ---- numbers --------------------------------------------------------------------------------- */

static void three_digits(char out[CHART_NUMBER_MAX], double value, const char *unit)
{
    int decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
    snprintf(out, CHART_NUMBER_MAX, "%.*f %s", decimals, value, unit);
}

void chart_duration(char out[CHART_NUMBER_MAX], double us)
{
    if (us < 1)
        three_digits(out, us * 1e3, "ns");
    else if (us < 999.5)
        three_digits(out, us, "µs");
    else if (us < 999.5e3)
        three_digits(out, us / 1e3, "ms");
    else
        three_digits(out, us / 1e6, "s");
}

void chart_rate(char out[CHART_NUMBER_MAX], double per_s)
{
    if (per_s < 999.5)
        three_digits(out, per_s, "/s");
    else if (per_s < 999.5e3)
        three_digits(out, per_s / 1e3, "k/s");
    else if (per_s < 999.5e6)
        three_digits(out, per_s / 1e6, "M/s");
    else
        three_digits(out, per_s / 1e9, "G/s");
}

/* Judged by its 99.9th percentile. */
static bool by_tail(const struct bench_line *line)
{
    return line->target_p999_us > 0 && line->target_p50_us == 0 && line->wanted == BENCH_NO_TARGET;
}

void chart_figure(char out[CHART_NUMBER_MAX], const struct bench_line *line)
{
    out[0] = 0;
    if (line->rate_per_s > 0)
        chart_rate(out, line->rate_per_s);
    else if (line->latency.p50 > 0)
        chart_duration(out, by_tail(line) ? line->latency.p999 : line->latency.p50);
    else if (line->messages_max > 0)
        snprintf(out, CHART_NUMBER_MAX, "%.0f", line->messages_max);
}

void chart_floor(char out[CHART_NUMBER_MAX], const struct bench_line *line)
{
    out[0] = 0;
    if (line->floor_rate_per_s > 0)
        chart_rate(out, line->floor_rate_per_s);
    else if (line->floor_latency.p50 > 0)
        chart_duration(out, by_tail(line) ? line->floor_latency.p999 : line->floor_latency.p50);
}

void chart_ratio(char out[CHART_NUMBER_MAX], const struct bench_line *line)
{
    out[0] = 0;
    /* The line's is of the medians: beside the tails it would mislead. */
    if (line->ratio > 0 && !by_tail(line))
        snprintf(out, CHART_NUMBER_MAX, "%.2f", line->ratio);
}

void chart_chain(char out[CHART_NUMBER_MAX], const struct bench_line *line)
{
    out[0] = 0;
    if (line->chain_rate_per_s > 0)
        chart_rate(out, line->chain_rate_per_s);
}

void chart_chain_ratio(char out[CHART_NUMBER_MAX], const struct bench_line *line)
{
    out[0] = 0;
    if (line->chain_ratio > 0)
        snprintf(out, CHART_NUMBER_MAX, "%.2f", line->chain_ratio);
}

void chart_wanted(char out[CHART_NUMBER_MAX], const struct bench_line *line)
{
    char number[CHART_NUMBER_MAX];
    out[0] = 0;
    if (line->wanted != BENCH_NO_TARGET) {
        snprintf(out, CHART_NUMBER_MAX, "%s %.2f", line->wanted == BENCH_AT_MOST ? "≤" : "≥",
                 line->target);
    } else if (line->target_p50_us > 0 || line->target_p999_us > 0) {
        chart_duration(number, by_tail(line) ? line->target_p999_us : line->target_p50_us);
        snprintf(out, CHART_NUMBER_MAX, "≤ %.24s", number);
    } else if (line->target_rate_per_s > 0) {
        chart_rate(number, line->target_rate_per_s);
        snprintf(out, CHART_NUMBER_MAX, "≥ %.24s", number);
    } else if (line->target_messages_max > 0) {
        snprintf(out, CHART_NUMBER_MAX, "≤ %.0f", line->target_messages_max);
    }
}

static double worse(double margin, double other)
{
    return margin == 0 || other < margin ? other : margin;
}

double chart_margin(const struct bench_line *line)
{
    double margin = 0;
    if (line->wanted == BENCH_AT_MOST && line->ratio > 0)
        margin = worse(margin, line->target / line->ratio);
    if (line->wanted == BENCH_AT_LEAST && line->target > 0 && line->ratio > 0)
        margin = worse(margin, line->ratio / line->target);
    if (line->target_p50_us > 0 && line->latency.p50 > 0)
        margin = worse(margin, line->target_p50_us / line->latency.p50);
    if (line->target_p999_us > 0 && line->latency.p999 > 0)
        margin = worse(margin, line->target_p999_us / line->latency.p999);
    if (line->target_rate_per_s > 0 && line->rate_per_s > 0)
        margin = worse(margin, line->rate_per_s / line->target_rate_per_s);
    if (line->target_messages_max > 0 && line->messages_max > 0)
        margin = worse(margin, line->target_messages_max / line->messages_max);
    return margin;
}

/* ---- percentile curves ----------------------------------------------------------------------- */

enum { CURVE_HEIGHT = 236, CURVE_LEFT = 56, CURVE_RIGHT = 16, CURVE_TOP = 12, CURVE_BOTTOM = 26 };
static const double nines_first = 0.30103, nines_last = 5; /* of 50 and of 99.999 % */

struct curve_scale {
    double low, high; /* us */
};

static double nines_x(double nines)
{
    const double width = CHART_WIDTH - CURVE_LEFT - CURVE_RIGHT;
    return CURVE_LEFT + width * (nines - nines_first) / (nines_last - nines_first);
}

static double value_y(const struct curve_scale *s, double us)
{
    const double height = CURVE_HEIGHT - CURVE_TOP - CURVE_BOTTOM;
    double share = log(fmin(fmax(us, s->low), s->high) / s->low) / log(s->high / s->low);
    return CURVE_TOP + height * (1 - share);
}

static double curve_end(const struct line_latency *l)
{
    if (l->histogram == NULL)
        return 3;
    double end = log10((double)l->histogram->total);
    return l->histogram->total < 3 || end > nines_last ? nines_last : end;
}

static double curve_at(const struct line_latency *l, double nines)
{
    return (double)histogram_at(l->histogram, 1 - pow(10, -nines)) / 1e3;
}

static double highest(const struct line_latency *l)
{
    return l->histogram != NULL ? curve_at(l, curve_end(l)) : fmax(l->p999, l->p50);
}

/* The next of 1, 2, 5, 10 ... at or beyond. */
static double round_up(double value)
{
    double decade = pow(10, floor(log10(value) + 1e-9));
    double digit = value / decade;
    return decade * (digit <= 1.001 ? 1 : digit <= 2.001 ? 2 : digit <= 5.001 ? 5 : 10);
}

static struct curve_scale scale_of(const struct bench_line *line)
{
    double low = line->latency.p50, high = highest(&line->latency);
    if (line->floor_latency.p50 > 0) {
        low = fmin(low, line->floor_latency.p50);
        high = fmax(high, highest(&line->floor_latency));
    }
    high = fmax(fmax(high, low), fmax(line->target_p50_us, line->target_p999_us));
    struct curve_scale s = { .low = round_up(low), .high = round_up(high * 1.05) };
    while (s.low > low * 0.95)
        s.low = round_up(s.low * 0.39);
    while (s.high < s.low * 5)
        s.high = round_up(s.high * 1.1);
    return s;
}

static void draw_grid(FILE *f, const struct curve_scale *s)
{
    static const struct {
        double nines;
        const char *text;
    } ticks[] = { { 0.30103, "50 %" }, { 1, "90 %" },    { 2, "99 %" },
                  { 3, "99.9 %" },     { 4, "99.99 %" }, { 5, "99.999 %" } };
    char text[CHART_NUMBER_MAX];
    const double right = CHART_WIDTH - CURVE_RIGHT, bottom = CURVE_HEIGHT - CURVE_BOTTOM;
    bool wide = s->high / s->low > 150; /* then decades only */
    for (double us = s->low; us <= s->high * 1.001; us = round_up(us * 1.1)) {
        double decade = pow(10, floor(log10(us) + 1e-9));
        if (wide && fabs(us / decade - 1) > .01)
            continue;
        double y = value_y(s, us);
        chart_duration(text, us);
        char *point = strchr(text, '.'), *space = strchr(text, ' ');
        if (point != NULL && space != NULL) /* ticks are whole */
            memmove(point, space, strlen(space) + 1);
        fprintf(f, "<path class=\"grid\" d=\"M%d %.1fH%.0f\"/>", CURVE_LEFT, y, right);
        fprintf(f, "<text class=\"end\" x=\"%d\" y=\"%.1f\">%s</text>\n", CURVE_LEFT - 8, y + 4,
                text);
    }
    for (size_t i = 0; i < sizeof ticks / sizeof ticks[0]; i++) {
        double x = nines_x(ticks[i].nines);
        fprintf(f, "<path class=\"grid\" d=\"M%.1f %dV%.0f\"/>", x, CURVE_TOP, bottom);
        fprintf(f, "<text class=\"%s\" x=\"%.1f\" y=\"%d\">%s</text>\n", i == 5 ? "end" : "mid",
                i == 5 ? x + 8 : x, CURVE_HEIGHT - 8, ticks[i].text);
    }
    fprintf(f, "<path class=\"axis\" d=\"M%d %.0fH%.0f\"/>\n", CURVE_LEFT, bottom, right);
}

static void draw_curve(FILE *f, const struct curve_scale *s, const struct line_latency *l,
                       const char *kind)
{
    double end = curve_end(l);
    if (l->histogram == NULL) {
        fprintf(f, "<path class=\"%s\" d=\"M%.1f %.1fL%.1f %.1fL%.1f %.1f\"/>\n", kind,
                nines_x(nines_first), value_y(s, l->p50), nines_x(2), value_y(s, l->p99),
                nines_x(3), value_y(s, l->p999));
        return;
    }
    fprintf(f, "<path class=\"%s\" d=\"", kind);
    double last = -1;
    for (double nines = nines_first; nines < end + .005; nines += .02) {
        double at = fmin(nines, end), y = value_y(s, curve_at(l, at));
        if (last < 0)
            fprintf(f, "M%.1f %.1f", nines_x(at), y);
        else if (fabs(y - last) > .05)
            fprintf(f, "L%.1f %.1f", nines_x(at), y);
        else if (at >= end || nines + .02 >= end + .005)
            fprintf(f, "H%.1f", nines_x(at));
        else
            continue;
        last = y;
    }
    fputs("\"/>\n", f);
    fprintf(f, "<circle class=\"dot-%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", kind, nines_x(end),
            value_y(s, curve_at(l, end)));
}

static void draw_wanted(FILE *f, const struct bench_line *line, const struct curve_scale *s)
{
    double us = line->wanted == BENCH_AT_MOST ? line->target * line->floor_latency.p50
                                              : line->target_p50_us;
    double from = nines_first, to = 0.75;
    if (us == 0 && line->target_p999_us > 0) {
        us = line->target_p999_us;
        from = 2.7;
        to = 3.3;
    }
    if (us <= s->low || us > s->high)
        return;
    double y = value_y(s, us);
    fprintf(f, "<path class=\"wanted\" d=\"M%.1f %.1fH%.1f\"/>", nines_x(from), y, nines_x(to));
    fprintf(f, "<text class=\"ink halo\" x=\"%.1f\" y=\"%.1f\">wanted</text>\n", nines_x(to) + 5,
            y + 4);
}

static void begin(FILE *f, double height, const char *title)
{
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" role=\"img\" "
            "aria-label=\"%s\">\n",
            CHART_WIDTH, height, title);
}

void chart_percentiles(FILE *f, const struct bench_line *line)
{
    struct curve_scale s = scale_of(line);
    begin(f, CURVE_HEIGHT, "latency by percentile");
    draw_grid(f, &s);
    if (line->floor_latency.p50 > 0)
        draw_curve(f, &s, &line->floor_latency, "floor");
    draw_curve(f, &s, &line->latency, "measured");
    draw_wanted(f, line, &s);
    fputs("</svg>\n", f);
}

/* ---- bars ------------------------------------------------------------------------------------ */

enum { BAR_LEFT = 74, BAR_HEIGHT = 20, BAR_RIGHT = 84, BAR_TOP = 24, BAR_STEP = 28 };

static void draw_bar(FILE *f, const char *kind, double y, double width, double per_s)
{
    char text[CHART_NUMBER_MAX];
    chart_rate(text, per_s);
    fprintf(f, "<text class=\"end\" x=\"%d\" y=\"%.0f\">%s</text>", BAR_LEFT - 10, y + 14, kind);
    fprintf(f, "<rect class=\"bar-%s\" x=\"%d\" y=\"%.0f\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>",
            kind, BAR_LEFT, y, width, BAR_HEIGHT);
    fprintf(f, "<text class=\"strong\" x=\"%.1f\" y=\"%.0f\">%s</text>\n", BAR_LEFT + width + 8,
            y + 14, text);
}

void chart_bars(FILE *f, const struct bench_line *line)
{
    const double room = CHART_WIDTH - BAR_LEFT - BAR_RIGHT;
    const struct {
        const char *kind;
        double per_s;
    } bars[] = { { "measured", line->rate_per_s },
                 { "floor", line->floor_rate_per_s },
                 { "chain", line->chain_rate_per_s } };
    double wanted = line->target_rate_per_s, bottom = BAR_TOP - 2;
    if (line->wanted == BENCH_AT_LEAST && line->floor_rate_per_s > 0)
        wanted = fmax(wanted, line->target * line->floor_rate_per_s);
    double most = wanted;
    for (size_t i = 0; i < sizeof bars / sizeof bars[0]; i++) {
        most = fmax(most, bars[i].per_s);
        bottom += bars[i].per_s > 0 ? BAR_STEP : 0;
    }
    begin(f, bottom + 4, "rate beside its floor");
    double y = BAR_TOP;
    for (size_t i = 0; i < sizeof bars / sizeof bars[0]; i++) {
        if (bars[i].per_s <= 0)
            continue;
        draw_bar(f, bars[i].kind, y, room * bars[i].per_s / most, bars[i].per_s);
        y += BAR_STEP;
    }
    if (wanted > 0) {
        char text[CHART_NUMBER_MAX];
        double x = BAR_LEFT + room * wanted / most;
        chart_rate(text, wanted);
        fprintf(f, "<path class=\"wanted\" d=\"M%.1f 18V%.0f\"/>", x, bottom);
        fprintf(f, "<text class=\"ink %s\" x=\"%.1f\" y=\"12\">wanted %s</text>\n",
                x > CHART_WIDTH * .8   ? "end"
                : x < CHART_WIDTH * .3 ? ""
                                       : "mid",
                x, text);
    }
    fputs("</svg>\n", f);
}

/* ---- rate over time -------------------------------------------------------------------------- */

enum { SERIES_HEIGHT = 92, SERIES_TOP = 20, SERIES_BOTTOM = 72 };

static void draw_rates(FILE *f, const struct bench_line *line, double most, double each, char first)
{
    for (uint32_t i = 0; i < line->series_count; i++) {
        double share = fmax(line->series_per_s[i], 0) / most;
        fprintf(f, "%c%.1f %.1f", i == 0 ? first : 'L', CURVE_LEFT + each * i,
                SERIES_BOTTOM - (SERIES_BOTTOM - SERIES_TOP) * share);
    }
}

void chart_series(FILE *f, const struct bench_line *line)
{
    char text[CHART_NUMBER_MAX];
    double most = 0;
    for (uint32_t i = 0; i < line->series_count; i++)
        most = fmax(most, line->series_per_s[i]);
    if (most <= 0 || line->series_count < 2)
        return;
    const double right = CHART_WIDTH - CURVE_RIGHT;
    double each = (right - CURVE_LEFT) / (line->series_count - 1);
    begin(f, SERIES_HEIGHT, "rate over time");
    fprintf(f, "<text x=\"%d\" y=\"10\">rate over time</text>\n", CURVE_LEFT);
    chart_rate(text, most);
    fprintf(f, "<path class=\"grid\" d=\"M%d %dH%.0f\"/>", CURVE_LEFT, SERIES_TOP, right);
    fprintf(f, "<text class=\"end\" x=\"%d\" y=\"%d\">%s</text>\n", CURVE_LEFT - 8, SERIES_TOP + 4,
            text);
    fprintf(f, "<text class=\"end\" x=\"%d\" y=\"%d\">0</text>\n", CURVE_LEFT - 8,
            SERIES_BOTTOM + 4);
    fprintf(f, "<path class=\"wash\" d=\"M%d %d", CURVE_LEFT, SERIES_BOTTOM);
    draw_rates(f, line, most, each, 'L');
    fprintf(f, "V%dZ\"/>\n<path class=\"measured\" d=\"", SERIES_BOTTOM);
    draw_rates(f, line, most, each, 'M');
    fputs("\"/>\n", f);
    fprintf(f, "<path class=\"axis\" d=\"M%d %dH%.0f\"/>", CURVE_LEFT, SERIES_BOTTOM, right);
    fprintf(f, "<text x=\"%d\" y=\"%d\">0 s</text>", CURVE_LEFT, SERIES_HEIGHT - 5);
    if (line->series_interval_s > 0)
        fprintf(f, "<text class=\"end\" x=\"%.0f\" y=\"%d\">%.3g s</text>", right,
                SERIES_HEIGHT - 5, line->series_interval_s * line->series_count);
    fputs("\n</svg>\n", f);
}

/* ---- against what is wanted ------------------------------------------------------------------ */

void chart_margin_dot(FILE *f, const struct bench_line *line, double x, double y, double width,
                      double height)
{
    const double octaves = 3; /* to either side: an eighth to eight times */
    double margin = chart_margin(line), middle = x + width / 2, centre = y + height / 2;
    fprintf(f, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>", x, centre, x + width);
    fprintf(f, "<path class=\"axis\" d=\"M%.1f %.1fV%.1f\"/>", middle, y, y + height);
    if (margin <= 0)
        return;
    double share = fmax(-1, fmin(1, log2(margin) / octaves));
    double at = middle + share * (width / 2 - 5);
    const char *kind = line->reached ? "good" : "bad";
    fprintf(f, "<path class=\"%s-line\" d=\"M%.1f %.1fH%.1f\"/>", kind, middle, centre, at);
    fprintf(f, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>\n", kind, at, centre);
}
