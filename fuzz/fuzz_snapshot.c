/* Snapshots of a machine: what is taken leaves a machine that works and saves the same bytes again;
 * what is refused leaves the initial state. */
#include "fuzz/fuzz.h"
#include "libclient/machine.h"
#include "proto/hash.h"

enum { SEED = 0x6e537443, CHECKSUM_SIZE = 8 }; /* of the checksum: the magic */

struct pair {
    uint64_t first, second;
};

static void save(const void *state, struct cantus_writer *w)
{
    const struct pair *s = state;
    cantus_write_u64(w, s->first);
    cantus_write(w, &s->second, sizeof s->second);
}

static bool load(void *state, struct cantus_reader *r)
{
    struct pair *s = state;
    s->first = cantus_read_u64(r);
    return cantus_read(r, &s->second, sizeof s->second);
}

static uint64_t digest(const void *state)
{
    return cantus_hash(0, state, sizeof(struct pair));
}

static const struct cantus_app inner = { .abi = CANTUS_APP_ABI,
                                         .name = "inner",
                                         .state_size = sizeof(struct pair),
                                         .save = save,
                                         .load = load,
                                         .digest = digest };
static const struct cantus_part parts[] = { { &inner, sizeof(struct pair) } };
static const struct cantus_app outer = { .abi = CANTUS_APP_ABI,
                                         .name = "outer",
                                         .state_size = 2 * sizeof(struct pair),
                                         .parts = parts,
                                         .part_count = 1,
                                         .save = save,
                                         .load = load,
                                         .digest = digest };

static void try_load(struct machine *m, uint64_t fresh, const uint8_t *bytes, size_t size)
{
    static uint8_t again[64 * 1024];
    struct position position;
    if (!machine_load(m, bytes, size, &position)) {
        assert(machine_digest(m) == fresh && position.seq == 0);
        return;
    }
    size_t length = machine_save(m, position, again, sizeof again);
    assert(length == size && memcmp(again, bytes, size) == 0);
    machine_advance(m, UINT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t mended[64 * 1024];
    static struct machine *m;
    char error[MACHINE_ERROR_MAX];
    if (m == NULL)
        m = machine_create(&outer, "", error);
    assert(m != NULL && machine_reset(m));
    uint64_t fresh = machine_digest(m);
    try_load(m, fresh, data, size);
    if (size < CHECKSUM_SIZE || size > sizeof mended)
        return 0;
    memcpy(mended, data, size);
    size_t body = size - CHECKSUM_SIZE;
    wire_store64(mended + body, hash64(mended, body, SEED));
    try_load(m, fresh, mended, size);
    return 0;
}
