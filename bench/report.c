#include "bench/report.h"

#include <string.h>

#include "bench/chart.h"

static void count_reached(const struct bench_lines *l, uint32_t *judged, uint32_t *reached)
{
    *judged = *reached = 0;
    for (uint32_t i = 0; i < l->count; i++) {
        *judged += l->lines[i]->judged;
        *reached += l->lines[i]->judged && l->lines[i]->reached;
    }
}

/* "processor, 2 cores, Linux 6.18, clock source tsc", as far as it is known. */
static void put_machine(FILE *f, const struct bench_lines *l)
{
    for (uint32_t i = 0; i < l->machine_count; i++) {
        const struct line_field *m = &l->machine[i];
        if (i > 0)
            fputs(", ", f);
        if (strcmp(m->key, "kernel") == 0)
            fputs("Linux ", f);
        else if (strcmp(m->key, "clock_source") == 0)
            fputs("clock source ", f);
        else if (strcmp(m->key, "governor") == 0)
            fputs("governor ", f);
        chart_text(f, m->value);
        if (strcmp(m->key, "cores") == 0)
            fputs(strcmp(m->value, "1") == 0 ? " core" : " cores", f);
    }
}

/* What the figure is, when it is not plainly the median. */
static const char *figure_of(const struct bench_line *line)
{
    if (line->rate_per_s > 0)
        return line->unit;
    if (line->messages_max > 0)
        return "messages, max";
    return line->target_p999_us > 0 && line->target_p50_us == 0 && line->wanted == BENCH_NO_TARGET
               ? "p99.9"
               : "p50";
}

static const char *verdict(const struct bench_line *line)
{
    return !line->judged ? "" : line->reached ? "reached" : "missed";
}

/* ---- the table ------------------------------------------------------------------------------- */

void report_markdown(FILE *f, const struct bench_lines *l)
{
    char figure[CHART_NUMBER_MAX], floor[CHART_NUMBER_MAX], ratio[CHART_NUMBER_MAX],
        wanted[CHART_NUMBER_MAX], p99[CHART_NUMBER_MAX], p999[CHART_NUMBER_MAX],
        chain[CHART_NUMBER_MAX], chain_ratio[CHART_NUMBER_MAX];
    fputs("| case | p50, or rate | p99 | p99.9 | floor | ratio | chain | of it | wanted | |\n", f);
    fputs("|---|--:|--:|--:|--:|--:|--:|--:|--:|---|\n", f);
    for (uint32_t i = 0; i < l->count; i++) {
        const struct bench_line *line = l->lines[i];
        p99[0] = p999[0] = figure[0] = floor[0] = 0;
        if (line->latency.p50 > 0) {
            chart_duration(figure, line->latency.p50);
            chart_duration(p99, line->latency.p99);
            chart_duration(p999, line->latency.p999);
        } else {
            chart_figure(figure, line);
        }
        if (line->floor_latency.p50 > 0)
            chart_duration(floor, line->floor_latency.p50);
        else
            chart_floor(floor, line);
        ratio[0] = 0;
        if (line->ratio > 0)
            snprintf(ratio, sizeof ratio, "%.2f", line->ratio);
        chart_chain(chain, line);
        chart_chain_ratio(chain_ratio, line);
        chart_wanted(wanted, line);
        fprintf(f, "| `%s %s` | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", line->bench,
                line->name, figure, p99, p999, floor, ratio, chain, chain_ratio, wanted,
                verdict(line));
    }
}

/* ---- the picture ----------------------------------------------------------------------------- */

enum {
    PICTURE_WIDTH = 924,
    PICTURE_TOP = 84,
    PICTURE_ROW = 24,
    PICTURE_GAP = 10, /* between benches */
    PICTURE_BOTTOM = 34,
    COLUMN_FIGURE = 306,
    COLUMN_FLOOR = 396,
    COLUMN_RATIO = 456,
    COLUMN_CHAIN = 520,
    COLUMN_WANTED = 594,
    COLUMN_DOT = 620,
    DOT_WIDTH = 276
};

static bool begins_bench(const struct bench_lines *l, uint32_t i)
{
    return i > 0 && strcmp(l->lines[i]->bench, l->lines[i - 1]->bench) != 0;
}

static void put_cell(FILE *f, const char *class, int x, double y, const char *text)
{
    fprintf(f, "<text class=\"%s\" x=\"%d\" y=\"%.0f\">", class, x, y);
    chart_text(f, text);
    fputs("</text>", f);
}

static void put_row(FILE *f, const struct bench_line *line, double y)
{
    char text[CHART_NUMBER_MAX];
    fprintf(f, "<text x=\"28\" y=\"%.0f\"><tspan class=\"strong\">", y + 16);
    chart_text(f, line->bench);
    fputs("</tspan> <tspan class=\"ink\">", f);
    chart_text(f, line->name);
    fputs("</tspan></text>", f);
    chart_figure(text, line);
    put_cell(f, "end strong", COLUMN_FIGURE, y + 16, text);
    chart_floor(text, line);
    put_cell(f, "end", COLUMN_FLOOR, y + 16, text);
    chart_ratio(text, line);
    put_cell(f, "end ink", COLUMN_RATIO, y + 16, text);
    chart_chain_ratio(text, line);
    put_cell(f, "end", COLUMN_CHAIN, y + 16, text);
    chart_wanted(text, line);
    put_cell(f, "end", COLUMN_WANTED, y + 16, text);
    chart_margin_dot(f, line, COLUMN_DOT, y + 2, DOT_WIDTH, PICTURE_ROW - 4);
    fputc('\n', f);
}

static void put_head(FILE *f, const struct bench_lines *l)
{
    const double y = PICTURE_TOP - 8;
    uint32_t judged, reached;
    count_reached(l, &judged, &reached);
    fprintf(f,
            "<text class=\"title\" x=\"28\" y=\"34\">%u of %u targets reached</text>\n"
            "<text x=\"28\" y=\"53\">",
            reached, judged);
    put_machine(f, l);
    fputs("</text>\n", f);
    put_cell(f, "end", COLUMN_FIGURE, y, "measured");
    put_cell(f, "end", COLUMN_FLOOR, y, "floor");
    put_cell(f, "end", COLUMN_RATIO, y, "ratio");
    put_cell(f, "end", COLUMN_CHAIN, y, "of chain");
    put_cell(f, "end", COLUMN_WANTED, y, "wanted");
    put_cell(f, "", COLUMN_DOT, y, "missed");
    put_cell(f, "mid", COLUMN_DOT + DOT_WIDTH / 2, y, "target");
    put_cell(f, "end", COLUMN_DOT + DOT_WIDTH, y, "beyond");
    fputc('\n', f);
}

void report_picture(FILE *f, const struct bench_lines *l)
{
    uint32_t gaps = 0;
    for (uint32_t i = 0; i < l->count; i++)
        gaps += begins_bench(l, i);
    uint32_t height = PICTURE_TOP + l->count * PICTURE_ROW + gaps * PICTURE_GAP + PICTURE_BOTTOM;
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%u\" "
            "viewBox=\"0 0 %d %u\" role=\"img\" aria-label=\"cantus bench\">\n<style>\n%s"
            "svg .title{font-size:17px;font-weight:600;fill:var(--ink)}\nsvg "
            ".sheet{fill:var(--card);stroke:var(--rule)}\n</style>\n"
            "<rect class=\"sheet\" x=\".5\" y=\".5\" width=\"%d\" height=\"%u\" rx=\"8\"/>\n",
            PICTURE_WIDTH, height, PICTURE_WIDTH, height, chart_style, PICTURE_WIDTH - 1,
            height - 1);
    put_head(f, l);
    double y = PICTURE_TOP;
    for (uint32_t i = 0; i < l->count; i++) {
        y += begins_bench(l, i) ? PICTURE_GAP : 0;
        put_row(f, l->lines[i], y);
        y += PICTURE_ROW;
    }
    put_cell(f, "mid", COLUMN_DOT + DOT_WIDTH / 2, y + 16, "an eighth … eight times the target");
    fputs("\n</svg>\n", f);
}

/* ---- the page -------------------------------------------------------------------------------- */

static const char page_style[] =
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--page);color:var(--ink);font:14px/1.5 system-ui,-apple-system,"
    "'Segoe UI',Roboto,'Noto Sans',sans-serif;font-variant-numeric:tabular-nums}\n"
    "main{max-width:1160px;margin:0 auto;padding:40px 24px 64px}\n"
    "h1{font-size:26px;line-height:1.2;font-weight:650;margin:0 0 6px;letter-spacing:-.01em}\n"
    "h2{font-size:15px;font-weight:600;margin:0}\n"
    "h2 .case{font-weight:400;color:var(--soft)}\n"
    "p{margin:0}\n"
    ".soft{color:var(--soft)}\n"
    ".card{background:var(--card);border:1px solid var(--rule);border-radius:10px}\n"
    ".summary{margin:28px 0 36px;padding:6px 20px 10px;overflow-x:auto}\n"
    "table{border-collapse:collapse;width:100%}\n"
    "th{font-weight:400;color:var(--soft);text-align:right;padding:10px 0 8px 18px;"
    "border-bottom:1px solid var(--rule);font-size:12px}\n"
    "td{text-align:right;padding:4px 0 4px 18px;white-space:nowrap}\n"
    "tr.first td{border-top:1px solid var(--grid)}\n"
    "th:first-child,td:first-child{text-align:left;padding-left:0}\n"
    "td a{color:inherit;text-decoration:none}\n"
    "td a:hover{text-decoration:underline}\n"
    "td b{font-weight:600}\n"
    ".of{text-align:left;color:var(--soft);padding-left:8px;font-size:12px}\n"
    ".dot{width:200px;text-align:center}\n"
    ".dot svg{width:200px;height:20px}\n"
    ".good{color:var(--good)}\n"
    ".bad{color:var(--bad)}\n"
    ".cases{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,480px),1fr));"
    "gap:20px}\n"
    "section.card{padding:20px 22px 16px;display:flex;flex-direction:column}\n"
    ".top{display:flex;justify-content:space-between;gap:16px;align-items:baseline}\n"
    ".what{color:var(--soft);font-size:13px;margin-top:2px}\n"
    ".figures{display:flex;gap:8px 22px;margin:14px 0 14px;align-items:baseline;flex-wrap:wrap}\n"
    ".figures div{line-height:1.25}\n"
    ".figures .big{font-size:24px;font-weight:600;letter-spacing:-.01em}\n"
    ".figures .mid{font-size:15px}\n"
    ".figures span{display:block;font-size:12px;color:var(--soft)}\n"
    ".badge{font-size:12px;font-weight:600;white-space:nowrap}\n"
    ".badge:before{content:'';display:inline-block;width:8px;height:8px;border-radius:50%;"
    "background:currentColor;margin-right:6px}\n"
    ".legend{font-size:12px;color:var(--soft);margin:8px 0 14px}\n"
    ".legend span:before{content:'';display:inline-block;width:14px;height:2px;"
    "vertical-align:middle;margin-right:7px;background:var(--measured)}\n"
    ".legend .of-floor:before{background:var(--floor);margin-left:18px}\n"
    ".legend .of-chain:before{background:var(--chain);margin-left:18px}\n"
    "dl{margin:auto 0 0;padding-top:12px;border-top:1px solid var(--grid);display:grid;"
    "grid-template-columns:repeat(auto-fill,minmax(195px,1fr));gap:1px 20px;font-size:12px}\n"
    "dl div{display:flex;justify-content:space-between;gap:10px}\n"
    "dt{color:var(--soft)}\n"
    "dd{margin:0;text-align:right}\n"
    "footer{margin-top:36px;font-size:13px;color:var(--soft)}\n"
    "code{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;color:var(--ink)}\n"
    "@media (max-width:640px){main{padding:24px 14px}}\n";

static void put_summary_row(FILE *f, const struct bench_lines *l, uint32_t i)
{
    const struct bench_line *line = l->lines[i];
    char figure[CHART_NUMBER_MAX], floor[CHART_NUMBER_MAX], ratio[CHART_NUMBER_MAX],
        chain[CHART_NUMBER_MAX], chain_ratio[CHART_NUMBER_MAX], wanted[CHART_NUMBER_MAX];
    chart_figure(figure, line);
    chart_floor(floor, line);
    chart_ratio(ratio, line);
    chart_chain(chain, line);
    chart_chain_ratio(chain_ratio, line);
    chart_wanted(wanted, line);
    fprintf(f, "<tr%s><td><a href=\"#%s-%s\">%s <span class=\"soft\">%s</span></a></td>",
            begins_bench(l, i) ? " class=\"first\"" : "", line->bench, line->name, line->bench,
            line->name);
    fprintf(f, "<td><b>%s</b></td><td class=\"of\">%s</td><td>%s</td><td>%s</td>", figure,
            figure_of(line), floor, ratio);
    fprintf(f, "<td>%s</td><td>%s</td><td>%s</td>", chain, chain_ratio, wanted);
    fputs("<td class=\"dot\">", f);
    if (line->judged) {
        fputs("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 200 20\">", f);
        chart_margin_dot(f, line, 0, 0, 200, 20);
        fputs("</svg>", f);
    }
    fprintf(f, "</td><td class=\"%s\">%s</td></tr>\n", line->reached ? "good" : "bad",
            verdict(line));
}

static void put_summary(FILE *f, const struct bench_lines *l)
{
    fputs("<div class=\"card summary\"><table>\n<thead><tr><th>case</th><th>measured</th><th></th>"
          "<th>floor</th><th>ratio</th><th>chain</th><th>of it</th><th>wanted</th>"
          "<th class=\"dot\">missed · target · beyond</th><th></th></tr></thead>\n<tbody>\n",
          f);
    for (uint32_t i = 0; i < l->count; i++)
        put_summary_row(f, l, i);
    fputs("</tbody></table></div>\n", f);
}

static void put_figure(FILE *f, const char *class, const char *number, const char *what)
{
    if (number[0] == 0)
        return;
    fprintf(f, "<div><div class=\"%s\">%s</div><span>", class, number);
    chart_text(f, what);
    fputs("</span></div>\n", f);
}

static void put_figures(FILE *f, const struct bench_line *line)
{
    char text[CHART_NUMBER_MAX];
    fputs("<div class=\"figures\">\n", f);
    chart_figure(text, line);
    put_figure(f, "big", text, figure_of(line));
    chart_floor(text, line);
    put_figure(f, "mid", text, "floor");
    chart_ratio(text, line);
    put_figure(f, "mid", text, "ratio");
    chart_chain(text, line);
    put_figure(f, "mid", text, "chain");
    chart_chain_ratio(text, line);
    put_figure(f, "mid", text, "of the chain");
    chart_wanted(text, line);
    put_figure(f, "mid", text, "wanted");
    if (line->latency.p50 > 0) {
        chart_duration(text, line->latency.p99);
        put_figure(f, "mid", text, "p99");
        chart_duration(text, line->latency.max);
        put_figure(f, "mid", text, "max");
    }
    fputs("</div>\n", f);
}

static void put_settings(FILE *f, const struct bench_line *line)
{
    if (line->setting_count == 0)
        return;
    fputs("<dl>\n", f);
    for (uint32_t i = 0; i < line->setting_count; i++) {
        fputs("<div><dt>", f);
        chart_text(f, line->settings[i].key);
        fputs("</dt><dd>", f);
        chart_text(f, line->settings[i].value);
        fputs("</dd></div>\n", f);
    }
    fputs("</dl>\n", f);
}

static void put_case(FILE *f, const struct bench_line *line)
{
    const char *help = lines_help(line);
    fprintf(f,
            "<section class=\"card\" id=\"%s-%s\">\n<div class=\"top\"><h2>%s <span "
            "class=\"case\">%s</span></h2>",
            line->bench, line->name, line->bench, line->name);
    if (line->judged)
        fprintf(f, "<span class=\"badge %s\">%s</span>", line->reached ? "good" : "bad",
                verdict(line));
    fputs("</div>\n<p class=\"what\">", f);
    chart_text(f, help != NULL ? help : "");
    fputs("</p>\n", f);
    put_figures(f, line);
    if (line->latency.p50 > 0)
        chart_percentiles(f, line);
    if (line->rate_per_s > 0)
        chart_bars(f, line);
    chart_series(f, line);
    if (line->latency.p50 > 0 || line->floor_is[0] != 0) {
        fputs("<p class=\"legend\"><span>measured</span>", f);
        if (line->floor_rate_per_s > 0 || line->floor_latency.p50 > 0) {
            fputs("<span class=\"of-floor\">floor: ", f);
            chart_text(f, line->floor_is[0] != 0 ? line->floor_is : "see its help");
            fputs("</span>", f);
        }
        if (line->chain_rate_per_s > 0)
            fputs("<span class=\"of-chain\">chain: as many bare processes as are measured</span>",
                  f);
        fputs("</p>\n", f);
    }
    put_settings(f, line);
    fputs("</section>\n", f);
}

/* JSON that is good inside a script of both HTML and XML. */
static void put_line(FILE *f, const char *text)
{
    for (; *text != 0; text++) {
        if (*text == '<' || *text == '>' || *text == '&')
            fprintf(f, "\\u00%02x", (unsigned)*text);
        else
            fputc(*text, f);
    }
    fputc('\n', f);
}

void report_page(FILE *f, const struct bench_lines *l)
{
    uint32_t judged, reached;
    count_reached(l, &judged, &reached);
    fprintf(f,
            "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n"
            "<meta charset=\"utf-8\"/>\n"
            "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/>\n"
            "<title>cantus bench</title>\n<style>\n%s%s</style>\n</head>\n<body>\n<main>\n"
            "<h1>How fast Cantus is here</h1>\n<p class=\"soft\">",
            chart_style, page_style);
    put_machine(f, l);
    fprintf(f, "</p>\n<p class=\"soft\">%u cases, each next to its floor in the same run.",
            l->count);
    if (judged > 0)
        fprintf(f, " %u of %u targets reached.", reached, judged);
    fputs("</p>\n", f);
    put_summary(f, l);
    fputs("<div class=\"cases\">\n", f);
    for (uint32_t i = 0; i < l->count; i++)
        put_case(f, l->lines[i]);
    fputs(
        "</div>\n<footer><p>Made by <code>cantus bench --report</code>. This page holds its lines: "
        "<code>cantus bench --from THIS.html --report FILE.html</code> makes it again.</p>"
        "</footer>\n</main>\n<script type=\"application/json-lines\">\n",
        f);
    if (l->machine_text != NULL)
        put_line(f, l->machine_text);
    for (uint32_t i = 0; i < l->count; i++)
        put_line(f, l->lines[i]->text);
    fputs("</script>\n</body>\n</html>\n", f);
}
