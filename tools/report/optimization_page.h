// The report of prune, quantize and optimize for people: a page, and a table for pull requests.
#pragma once

#include "tools/json.h"

#include <string>

namespace rtai::tools {

/// `report` is what OptimizationReport::json() gives; what it does not say is left out.
std::string optimization_html(const Json& report);

/// GitHub's Markdown, for a pull request or $GITHUB_STEP_SUMMARY.
std::string optimization_markdown(const Json& report);

/// One test case for the verdict, or one for each gate that was missed.
std::string optimization_junit(const Json& report);

}  // namespace rtai::tools
