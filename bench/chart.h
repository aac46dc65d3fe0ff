/* Drawings of a case as SVG. Colours are classes of the style sheet in chart_style, which follows
 * the reader's preference for light or dark; text is text, numbers stand in columns. */
#ifndef CANTUS_BENCH_CHART_H
#define CANTUS_BENCH_CHART_H

#include "bench/lines.h"

enum { CHART_NUMBER_MAX = 32, CHART_WIDTH = 520 };

extern const char chart_style[]; /* CSS */

/* Escaped for XML. */
void chart_text(FILE *f, const char *text);

/* Three significant digits with a unit: "13.3 µs", "45.2 M/s". */
void chart_duration(char out[CHART_NUMBER_MAX], double us);
void chart_rate(char out[CHART_NUMBER_MAX], double per_s);
/* What a case is judged by, its floor, its chain and what is wanted; "" where there is none. */
void chart_figure(char out[CHART_NUMBER_MAX], const struct bench_line *line);
void chart_floor(char out[CHART_NUMBER_MAX], const struct bench_line *line);
void chart_ratio(char out[CHART_NUMBER_MAX], const struct bench_line *line);
void chart_chain(char out[CHART_NUMBER_MAX], const struct bench_line *line);
void chart_chain_ratio(char out[CHART_NUMBER_MAX], const struct bench_line *line);
void chart_wanted(char out[CHART_NUMBER_MAX], const struct bench_line *line);
/* How far beyond its target, as a factor; below 1: missed. Of several the worst; 0: there is
 * none. */
double chart_margin(const struct bench_line *line);

/* Whole <svg> elements, CHART_WIDTH wide. */
void chart_percentiles(FILE *f, const struct bench_line *line);
void chart_bars(FILE *f, const struct bench_line *line);
void chart_series(FILE *f, const struct bench_line *line);

/* A dot on a scale of factors with the target in the middle, in a box. Nothing but shapes. */
void chart_margin_dot(FILE *f, const struct bench_line *line, double x, double y, double width,
                      double height);

#endif
