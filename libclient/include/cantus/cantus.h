/* Everything an application needs of Cantus. */
#ifndef CANTUS_H
#define CANTUS_H

#include "cantus/app.h"
#include "cantus/client.h"

#endif
