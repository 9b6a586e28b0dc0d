#include "runtime/base/log.h"

namespace rtai {
namespace {

class SilentLog final : public Log {
 public:
  void info(std::string_view /*message*/) override {}
  void warning(std::string_view /*message*/) override {}
  void progress(std::string_view /*what*/, double /*done*/, double /*total*/) override {}
};

}  // namespace

Log& silent_log() {
  static SilentLog log;
  return log;
}

}  // namespace rtai
