// Pipelines: passes and their options as text, and the manager that runs them.
//
//   fold-constants,repeat(fuse-gelu,fuse-linear){max=4},prune-heads{ratio=0.25,min-heads=2}
#pragma once

#include "libopt/pass/pass.h"

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rtai {

/// One element of a pipeline: a pass with its options, or a `repeat` of others.
struct PipelineItem {
  std::string name;                // of a pass, or "repeat"
  OptionValues options;            // as they were written
  std::vector<PipelineItem> body;  // of a repeat
};

/// Errors: invalid_input with the position in the text, what was expected and what was found.
Result<std::vector<PipelineItem>> parse_pipeline(std::string_view text);

/// The text that parse_pipeline reads back to the same items.
std::string print_pipeline(std::span<const PipelineItem> items);

/// What one pass did, as reports show it.
struct PassRecord {
  std::string name;
  PassReport report;
  Milliseconds time{};
  ir::Footprint before;
  ir::Footprint after;
};

/// Makes passes by name; passes::all() is the usual one.
using PassFactory = std::function<std::unique_ptr<Pass>(std::string_view name)>;

struct PipelineOptions {
  std::vector<std::string> disabled = {};  // passes to leave out
  std::string stop_after = {};             // end after this pass
  /// Called after every pass that changed the graph, with the pass's name.
  std::function<void(std::string_view, const ir::Graph&)> after_pass = {};
};

/// Runs the passes in order, verifying the graph before the first and after each.
///
/// Errors: invalid_input for an unknown pass or option; whatever a pass returns, with its name in
/// front; internal if a pass leaves an invalid graph.
Result<std::vector<PassRecord>> run_pipeline(std::string_view pipeline,
                                             ir::Graph& graph,
                                             PassContext& context,
                                             const PassFactory& make_pass,
                                             const PipelineOptions& options = {});

}  // namespace rtai
