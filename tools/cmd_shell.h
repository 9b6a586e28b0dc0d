// Commands about the command line itself.
#pragma once

#include "tools/cli.h"

namespace rtai::tools {

void add_completion(Commands& commands);
void add_init(Commands& commands);
void add_man(Commands& commands);

}  // namespace rtai::tools
