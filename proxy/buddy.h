/* Memory by the piece from one block: for what is small as a rule and may be large, like the subtrees of a
 * subscription. Pieces are powers of two; a free one joins its neighbour. Pure but for create. */
#ifndef CANTUS_PROXY_BUDDY_H
#define CANTUS_PROXY_BUDDY_H

#include <stddef.h>
#include <stdint.h>

enum { BUDDY_PIECE_MIN = 64 };

struct buddy;

size_t buddy_memory(size_t bytes);
struct buddy *buddy_create(size_t bytes); /* rounded up to a power of two; NULL: no memory */
void buddy_destroy(struct buddy *b);

void *buddy_take(struct buddy *b, size_t length);             /* NULL: none is free */
void buddy_give(struct buddy *b, void *piece, size_t length); /* as it was taken; NULL is fine */
size_t buddy_size(size_t length);                             /* what a piece really takes */

#endif
