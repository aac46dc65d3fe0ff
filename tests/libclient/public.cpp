// The public headers from C++: an app written and handed over, every call named.
#include "cantus/cantus.h"

struct Count {
    uint64_t n;
};

static const char *const topics[] = { "/count", nullptr };

static cantus_app make_app()
{
    cantus_app app = {};
    app.abi = CANTUS_APP_ABI;
    app.name = "count";
    app.topics = topics;
    app.state_size = sizeof(Count);
    app.apply = [](void *state, const cantus_message *) { static_cast<Count *>(state)->n++; };
    app.digest = [](const void *state) { return static_cast<const Count *>(state)->n; };
    return app;
}

uint64_t follow(const char *source);
uint64_t follow(const char *source)
{
    char error[CANTUS_ERROR_MAX];
    cantus_client_options options = {};
    options.source = source;
    options.level = CANTUS_STABLE;
    cantus_client *client = cantus_client_open(&options, error);
    if (client == nullptr)
        return 0;
    static const cantus_app app = make_app();
    cantus_machine *machine = cantus_client_add_app(client, &app, "", "counter", error);
    if (!cantus_client_publish_digests(client, machine, nullptr, CANTUS_DIGEST_EVERY, error))
        return 0;
    auto see = [](void *, const cantus_message *) {};
    if (!cantus_client_subscribe(client, "/count", see, nullptr, error) ||
        !cantus_client_unsubscribe(client, "/count", see, nullptr))
        return 0;
    while (cantus_client_poll(client, 1000) == CANTUS_OK) {
    }
    uint64_t digest = cantus_machine_digest(machine);
    cantus_client_close(client);
    return digest;
}
