/* What is made of the lines of `cantus bench`: a page, a picture, a table. */
#ifndef CANTUS_BENCH_REPORT_H
#define CANTUS_BENCH_REPORT_H

#include "bench/lines.h"

/* One self-contained HTML file, which is well-formed XML, too, needs no script, and holds the
 * lines. */
void report_page(FILE *f, const struct bench_lines *lines);
/* The summary as an SVG of its own. */
void report_picture(FILE *f, const struct bench_lines *lines);
/* The summary as a table in Markdown. */
void report_markdown(FILE *f, const struct bench_lines *lines);

#endif
