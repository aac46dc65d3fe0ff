/* Huge pages for the large memory of a process.
 *
 * Rings and tables are taken once, at start, and looked at in no order, so that with pages of 4 KiB every look may
 * cost a walk through the page tables. Where the kernel gives huge pages to who asks (transparent ones,
 * `madvise`), a daemon asks when it has made its tables. A page that is touched first then brings its 2 MiB with
 * it: a process that rests takes more memory, and never more than it has reserved and says when it starts. That is
 * not for a proxy, of which a client takes a few pages here and there. */
#ifndef CANTUS_SHELL_PAGES_H
#define CANTUS_SHELL_PAGES_H

#include <stdint.h>

/* Asks for all private memory of this process that lies in mappings of PAGES_LARGE bytes at least. What has been
 * touched in small pages already is put into huge ones where most of a huge one is in use. Returns how many bytes
 * were asked for; 0 where the kernel has none. Call once, when everything is allocated: it reads /proc and may copy. */
enum { PAGES_LARGE = 4 << 20, PAGES_HUGE = 2 << 20 };
uint64_t pages_ask(void);

#endif
