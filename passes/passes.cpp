#include "passes/passes.h"

#include <array>

namespace rtai::passes {
namespace {

constexpr auto kAll = std::to_array<MakePass>({
#define RTAI_PASS(name) &make_##name,
#include "passes/passes.inc"
#undef RTAI_PASS
});

}  // namespace

std::span<const MakePass> all() {
  return kAll;
}

std::unique_ptr<Pass> make(std::string_view name) {
  for (const MakePass make_pass : kAll) {
    std::unique_ptr<Pass> pass = make_pass();
    if (pass->info().name == name) return pass;
  }
  return nullptr;
}

}  // namespace rtai::passes
