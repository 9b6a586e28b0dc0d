// A pass rewrites a graph. One file in passes/, one line in passes/passes.inc.
#pragma once

#include "libopt/ir/graph.h"
#include "libopt/pass/evaluator.h"
#include "libopt/pass/options.h"
#include "runtime/base/log.h"
#include "runtime/base/result.h"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rtai {

/// exact: the same outputs up to rounding. approximate: the outputs change, and the report says how
/// much.
enum class Exactness : std::uint8_t { exact, approximate };

/// What a pass is called and what it promises. All fields are shown by `rtai passes`.
struct PassInfo {
  std::string_view name;     // kebab-case, unique
  std::string_view summary;  // one line, starts with a verb
  std::string_view source;   // paper, specification or "-"
  Exactness exactness;
};

/// How long an optimization may take. What was begun is finished: the end comes a little later.
class TimeBudget {
 public:
  TimeBudget() = default;  // as long as it takes
  explicit TimeBudget(std::chrono::duration<double> all) : all_(all) {}

  /// True once more than this share of the time is gone.
  bool is_spent(double share = 1) const {
    return all_ && std::chrono::steady_clock::now() - begin_ > share * *all_;
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::optional<std::chrono::duration<double>> all_;
};

/// What passes are given beside the graph.
struct PassContext {
  const TokenBatch* calibration = nullptr;  // null: no texts were given
  Evaluator* evaluator = nullptr;           // null: nothing can be measured
  Log* log = &silent_log();
  std::uint64_t seed = 0;
  TimeBudget time = {};
};

/// One thing a pass did, or one figure it measured: {"heads removed", 36}.
struct Counter {
  std::string name;
  double value = 0;
};

/// Figures of one kind about several things: a row for each layer, each candidate, ...
struct FigureTable {
  std::string name;                       // snake_case, as reports spell it
  std::vector<std::string> columns;       // likewise, with the unit in the name
  std::vector<std::vector<double>> rows;  // a value for each column
  std::vector<std::string> names = {};    // of the rows, if they have names
};

/// changed == false promises that the graph is exactly as before.
struct PassReport {
  bool changed = false;
  std::vector<Counter> counters = {};
  std::vector<FigureTable> tables = {};
};

class Pass {
 public:
  virtual ~Pass() = default;
  virtual const PassInfo& info() const = 0;
  virtual std::vector<OptionInfo> options() const = 0;

  /// Errors: invalid_input for an unknown option or a value outside its range.
  virtual Result<void> configure(const OptionValues& values) = 0;

  /// Changes `graph` in place and leaves it valid, or returns an error and the graph is discarded.
  /// Keeps no state between runs and reads nothing but the graph, its options and `context`.
  virtual Result<PassReport> run(ir::Graph& graph, PassContext& context) = 0;
};

/// Supplies configure() for a pass whose options are described by Options::fields().
template <class Options>
class PassWith : public Pass {
 public:
  std::vector<OptionInfo> options() const override { return describe_options<Options>(); }
  Result<void> configure(const OptionValues& values) override {
    RTAI_TRY(options_, parse_options<Options>(values));
    return {};
  }

 protected:
  const Options& chosen() const { return options_; }

 private:
  Options options_;
};

struct NoOptions {
  static constexpr auto fields() { return std::tuple{}; }
};

}  // namespace rtai
