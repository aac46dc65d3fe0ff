/* Someone's program, built against an installed Cantus: publishes one message and reads it back. */
#include <cantus/cantus.h>
#include <stdio.h>
#include <string.h>

static bool seen;

static void on_message(void *ctx, const struct cantus_message *message)
{
    const char *wanted = ctx;
    if (message->length == strlen(wanted) &&
        memcmp(message->payload, wanted, message->length) == 0) {
        printf("%s %s\n", message->topic, wanted);
        seen = true;
    }
}

int main(int argc, char **argv)
{
    char error[CANTUS_ERROR_MAX] = "";
    if (argc != 3) {
        fprintf(stderr, "usage: %s DIR TEXT\n", argv[0]);
        return 2;
    }
    struct cantus_client_options options = { .source = argv[1] };
    struct cantus_client *client = cantus_client_open(&options, error);
    struct cantus_pipe *pipe = client != NULL ? cantus_pipe_open(client, "app", error) : NULL;
    if (pipe == NULL || !cantus_client_subscribe(client, "/app", on_message, argv[2], error)) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    bool pushed = false;
    enum cantus_status status = CANTUS_OK;
    while (status == CANTUS_OK && !seen) {
        if (!pushed)
            pushed = cantus_pipe_push(pipe, "/app", argv[2], strlen(argv[2]));
        status = cantus_client_poll(client, 10 * 1000 * 1000);
    }
    if (status < 0)
        fprintf(stderr, "%s\n", cantus_client_error(client));
    cantus_client_close(client);
    return status < 0;
}
