#include <string.h>

#include "cli/administer.h"
#include "cli/cli.h"
#include "cli/key_file.h"

static const char help[] =
    "usage: cantus key new FILE\n"
    "       cantus key show FILE\n"
    "\n"
    "Makes an Ed25519 key pair in FILE, which only its owner may read and which is never overwritten,\n"
    "or reads one. Prints the public key as grants name it: 43 characters of base64url. With --dir\n"
    "and no FILE, show is about the administrator's key.\n";

static int run(const struct cli_globals *globals, int argc, char **argv)
{
    struct cli_globals g = *globals;
    int operand = cli_options(&verb_key, &g, argc, argv, NULL, NULL, NULL);
    if (operand < 0)
        return operand == -2 ? CLI_OK : CLI_USAGE;
    const char *action = operand < argc ? argv[operand] : "";
    const char *path = operand + 1 < argc ? argv[operand + 1] : NULL;
    bool make = strcmp(action, "new") == 0;
    char admin[4096];
    if (path == NULL && !make && g.dir != NULL && administer_key_path(g.dir, admin, sizeof admin))
        path = admin;
    if ((!make && strcmp(action, "show") != 0) || path == NULL || argc - operand > 2) {
        cli_fail("key wants new FILE or show FILE");
        return CLI_USAGE;
    }
    uint8_t key[ACCESS_KEY_SIZE];
    char text[ACCESS_KEY_TEXT + 1], error[KEY_FILE_ERROR_MAX];
    if (!(make ? key_file_new : key_file_read)(path, key, error))
        return cli_fail("%s", error);
    access_key_write(key, text);
    puts(text);
    return CLI_OK;
}

const struct cli_verb verb_key = { "key", "make a key, or show the public one", help, run };
