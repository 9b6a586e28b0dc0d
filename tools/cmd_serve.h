// rtai serve, for main().
#pragma once

#include "tools/cli.h"

namespace rtai::tools {

void add_serve(Commands& commands);

}  // namespace rtai::tools
