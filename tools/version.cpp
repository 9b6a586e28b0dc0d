#include "tools/version.h"

namespace rtai::tools {

std::string_view version() {
  return RTAI_VERSION;
}

}  // namespace rtai::tools
