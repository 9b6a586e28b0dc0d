#include "libopt/pass/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace rtai {
namespace {

class PipelineParser {
 public:
  explicit PipelineParser(std::string_view text) : text_(text) {}

  Result<std::vector<PipelineItem>> parse() {
    RTAI_TRY(std::vector<PipelineItem> items, list(0));
    if (at_ < text_.size()) return error("',' or the end");
    return items;
  }

 private:
  static constexpr int kDeepestNesting = 8;

  Error error(std::string_view expected) const {
    return {ErrorCode::invalid_input, fmt::format("pipeline, column {}: expected {}, found '{}'",
                                                  at_ + 1, expected, text_.substr(at_, 12))};
  }
  bool accept(char c) {
    while (at_ < text_.size() && text_[at_] == ' ')
      ++at_;
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  Result<std::string> name() {
    while (at_ < text_.size() && text_[at_] == ' ')
      ++at_;
    const std::size_t begin = at_;
    while (at_ < text_.size() &&
           (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 || text_[at_] == '-')) {
      ++at_;
    }
    if (at_ == begin) return error("a name");
    return std::string(text_.substr(begin, at_ - begin));
  }

  Result<std::vector<PipelineItem>> list(int depth) {
    if (depth > kDeepestNesting) return error("less nesting");
    std::vector<PipelineItem> items;
    do {
      RTAI_TRY(PipelineItem item, this->item(depth));
      items.push_back(std::move(item));
    } while (accept(','));
    return items;
  }

  Result<PipelineItem> item(int depth) {
    PipelineItem item;
    RTAI_TRY(item.name, name());
    if (accept('(')) {
      if (item.name != "repeat") return error("no '(': only repeat(...) has a body");
      RTAI_TRY(item.body, list(depth + 1));
      if (!accept(')')) return error("')'");
    } else if (item.name == "repeat") {
      return error("'('");
    }
    if (!accept('{')) return item;
    while (!accept('}')) {
      RTAI_TRY(const std::string key, name());
      if (!accept('=')) return error("'='");
      const std::size_t end = text_.find_first_of(",}", at_);
      if (end == std::string_view::npos) return error("'}'");
      if (!item.options.emplace(key, text_.substr(at_, end - at_)).second) {
        return error(fmt::format("'{}' only once", key));
      }
      at_ = end;
      if (!accept(',') && (at_ >= text_.size() || text_[at_] != '}')) return error("',' or '}'");
    }
    return item;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

struct RepeatOptions {
  int max = 8;
  static constexpr auto fields() {
    return std::tuple{option("max", &RepeatOptions::max, Range{1, 1000}, "rounds at most")};
  }
};

/// The parsed pipeline with its passes made and configured, so that a typing error in the last item
/// is found before the first pass spends minutes.
struct Runnable {
  std::unique_ptr<Pass> pass;  // null: a repeat
  std::vector<Runnable> body;
  int rounds = 1;
};

Result<std::vector<Runnable>> make_runnables(std::span<const PipelineItem> items,
                                             const PassFactory& make_pass) {
  std::vector<Runnable> made;
  for (const PipelineItem& item : items) {
    Runnable runnable;
    if (item.name == "repeat") {
      RTAI_TRY(const RepeatOptions options,
               parse_options<RepeatOptions>(item.options).in("repeat"));
      runnable.rounds = options.max;
      RTAI_TRY(runnable.body, make_runnables(item.body, make_pass));
    } else {
      runnable.pass = make_pass(item.name);
      if (runnable.pass == nullptr) {
        return Error{ErrorCode::invalid_input, fmt::format("unknown pass '{}'", item.name)};
      }
      RTAI_TRY_VOID(runnable.pass->configure(item.options).in(item.name));
    }
    made.push_back(std::move(runnable));
  }
  return made;
}

class Runner {
 public:
  Runner(ir::Graph& graph, PassContext& context, const PipelineOptions& options)
      : graph_(graph), context_(context), options_(options) {}

  /// True if a pass changed the graph.
  Result<bool> run(std::span<Runnable> runnables) {
    bool changed = false;
    for (Runnable& runnable : runnables) {
      if (stopped_) break;
      for (int round = 0; round < runnable.rounds; ++round) {
        RTAI_TRY(const bool again,
                 runnable.pass != nullptr ? run_pass(*runnable.pass) : run(runnable.body));
        changed = changed || again;
        if (!again || stopped_) break;
      }
    }
    return changed;
  }

  std::vector<PassRecord> take_records() { return std::move(records_); }

 private:
  Result<bool> run_pass(Pass& pass) {
    const std::string_view name = pass.info().name;
    const auto& disabled = options_.disabled;
    if (std::find(disabled.begin(), disabled.end(), name) != disabled.end()) return false;
    PassRecord record{
        .name = std::string(name), .report = {}, .before = footprint(graph_), .after = {}};
    const auto start = std::chrono::steady_clock::now();
    RTAI_TRY(record.report, pass.run(graph_, context_).in(name));
    record.time = std::chrono::steady_clock::now() - start;
    RTAI_TRY_VOID(verify(graph_).in(fmt::format("after pass '{}'", name)));
    record.after = footprint(graph_);
    const bool changed = record.report.changed;
    records_.push_back(std::move(record));
    if (changed && options_.after_pass) options_.after_pass(name, graph_);
    stopped_ = name == options_.stop_after;
    return changed;
  }

  ir::Graph& graph_;
  PassContext& context_;
  const PipelineOptions& options_;
  std::vector<PassRecord> records_;
  bool stopped_ = false;
};

}  // namespace

Result<std::vector<PipelineItem>> parse_pipeline(std::string_view text) {
  if (text.empty()) return std::vector<PipelineItem>{};
  return PipelineParser(text).parse();
}

std::string print_pipeline(std::span<const PipelineItem> items) {
  std::string text;
  for (const PipelineItem& item : items) {
    text += (text.empty() ? "" : ",") + item.name;
    if (!item.body.empty()) text += "(" + print_pipeline(item.body) + ")";
    std::string options;
    for (const auto& [key, value] : item.options) {
      options += (options.empty() ? "" : ",") + key + "=" + value;
    }
    if (!options.empty()) text += "{" + options + "}";
  }
  return text;
}

Result<std::vector<PassRecord>> run_pipeline(std::string_view pipeline,
                                             ir::Graph& graph,
                                             PassContext& context,
                                             const PassFactory& make_pass,
                                             const PipelineOptions& options) {
  RTAI_TRY(const std::vector<PipelineItem> items, parse_pipeline(pipeline));
  RTAI_TRY(std::vector<Runnable> runnables, make_runnables(items, make_pass));
  RTAI_TRY_VOID(ir::verify(graph).in("before the first pass"));
  Runner runner(graph, context, options);
  RTAI_TRY([[maybe_unused]] const bool changed, runner.run(runnables));
  return runner.take_records();
}

}  // namespace rtai
