#include "tools/baseline.h"

#include "tools/json_file.h"
#include "tools/report/bench.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::tools {

Result<Baseline> Baseline::read(const std::string& path) {
  RTAI_TRY(JsonFile file, read_json(path));
  const auto is_result = [](const Json& result) {
    return result.is_object() && result.contains("model") && result.contains("latency_ms") &&
           result["latency_ms"].is_object();
  };
  const Json& document = file.document;
  if (!document.contains("results") || !document["results"].is_array() ||
      !std::ranges::all_of(document["results"], is_result))
    return invalid_input(fmt::format("{}: expected the results of `rtai bench --save`", path));
  Baseline baseline;
  baseline.path_ = path;
  baseline.document_ = std::move(file.document);
  return baseline;
}

Result<Figures> Baseline::figures_for(const BenchResult& result) const {
  std::vector<const Json*> candidates;
  for (const Json& old : document_["results"]) {
    const bool is_same_seq = result.workload.lengths.empty()
                                 ? old.value("seq", Json()) == result.workload.seq
                                 : old.value("seq", Json()).is_null();
    if (is_same_seq && old.value("batch", Json()) == result.workload.batch &&
        old.value("threads", Json()) == result.run.threads &&
        old.value("streams", Json(1)) == result.workload.streams)
      candidates.push_back(&old);
  }
  for (const Json* old : candidates) {
    if ((*old)["model"] == result.model) return checked_figures(*old);
  }
  if (candidates.size() == 1) return checked_figures(*candidates.front());
  return invalid_input(
      fmt::format("{}: no result for {} ({})", path_, result.model, result.workload_text));
}

std::string Baseline::cpu() const {
  const Json machine = document_.value("machine", Json::object());
  return machine.is_object() && machine.contains("cpu") && machine["cpu"].is_string()
             ? machine["cpu"].get<std::string>()
             : "";
}

Result<Figures> Baseline::checked_figures(const Json& result) const {
  for (const auto& [key, value] : result["latency_ms"].items()) {
    if (!value.is_number() || value.get<double>() <= 0)
      return invalid_input(fmt::format("{}: latency_ms.{}: expected a number above 0", path_, key));
  }
  return figures_of(result);
}

}  // namespace rtai::tools
