// What `rtai bench --save` wrote, for --against.
#pragma once

#include "tools/bench.h"
#include "tools/gates.h"
#include "tools/json.h"

#include <string>

namespace rtai::tools {

/// The results of an earlier run.
class Baseline {
 public:
  /// Errors: those of reading; invalid_input if it is not what --save or --json writes.
  static Result<Baseline> read(const std::string& path);

  /// Of the result of the same workload; of the same model, or of the only one there was.
  ///
  /// Errors: invalid_input if there is none, or its times are not above 0.
  Result<Figures> figures_for(const BenchResult& result) const;

  /// The processor it was measured on, or an empty text.
  std::string cpu() const;

 private:
  Result<Figures> checked_figures(const Json& result) const;

  std::string path_;
  Json document_;
};

}  // namespace rtai::tools
