#include "tools/version.h"

namespace rtai::tools {

std::string_view version() {
  return RTAI_VERSION;
}

std::string_view commit() {
  return RTAI_COMMIT;
}

}  // namespace rtai::tools
