#include "tools/serve/metrics.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::serve {

const std::array<double, 15> kSecondLimits = {
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5};
const std::array<double, 13> kCountLimits = {1,   2,   4,   8,    16,   32,  64,
                                             128, 256, 512, 1024, 2048, 4096};

void Histogram::add(double value) {
  const auto place = std::ranges::lower_bound(limits_, value) - limits_.begin();
  counts_[static_cast<std::size_t>(place)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

std::string Histogram::text(std::string_view name, std::string_view labels) const {
  const std::string_view comma = labels.empty() ? "" : ",";
  std::string text = fmt::format("# TYPE {} histogram\n", name);
  std::uint64_t count = 0;
  for (std::size_t i = 0; i <= limits_.size(); ++i) {
    count += counts_[i].load(std::memory_order_relaxed);
    const std::string limit = i < limits_.size() ? fmt::format("{}", limits_[i]) : "+Inf";
    text += fmt::format("{}_bucket{{{}{}le=\"{}\"}} {}\n", name, labels, comma, limit, count);
  }
  const std::string braces = labels.empty() ? "" : fmt::format("{{{}}}", labels);
  text += fmt::format("{}_sum{} {}\n", name, braces, sum_.load(std::memory_order_relaxed));
  return text + fmt::format("{}_count{} {}\n", name, braces, count);
}

void Metrics::count_request(std::string_view endpoint, int status) {
  const std::lock_guard lock(mutex_);
  ++requests_[{std::string(endpoint), status}];
}

void Metrics::count_batch(const std::string& model,
                          const std::string& engine,
                          std::size_t texts,
                          std::size_t tokens,
                          double seconds) {
  batch_texts.add(static_cast<double>(texts));
  batch_tokens.add(static_cast<double>(tokens));
  compute_seconds.add(seconds);
  const std::lock_guard lock(mutex_);
  EngineCounts& counts = engines_[{model, engine}];
  counts.texts += texts;
  counts.tokens += tokens;
  ++counts.batches;
  counts.seconds += seconds;
}

std::string Metrics::request_text() const {
  std::string text = "# TYPE rtai_requests_total counter\n";
  const std::lock_guard lock(mutex_);
  for (const auto& [key, count] : requests_) {
    text += fmt::format("rtai_requests_total{{endpoint=\"{}\",code=\"{}\"}} {}\n",
                        escape_label(key.first), key.second, count);
  }
  return text;
}

std::string Metrics::model_labels(std::string_view model) const {
  return names_models_ ? fmt::format("{{model=\"{}\"}}", escape_label(model)) : std::string();
}

std::string Metrics::engine_text() const {
  const std::lock_guard lock(mutex_);
  std::string text;
  const auto add = [&](std::string_view name, auto member) {
    text += fmt::format("# TYPE {} counter\n", name);
    for (const auto& [key, counts] : engines_) {
      const std::string model =
          names_models_ ? fmt::format("model=\"{}\",", escape_label(key.first)) : std::string();
      text += fmt::format("{}{{{}engine=\"{}\"}} {}\n", name, model, escape_label(key.second),
                          counts.*member);
    }
  };
  add("rtai_engine_texts_total", &EngineCounts::texts);
  add("rtai_engine_tokens_total", &EngineCounts::tokens);
  add("rtai_engine_batches_total", &EngineCounts::batches);
  add("rtai_engine_seconds_total", &EngineCounts::seconds);
  return text;
}

std::string metric(std::string_view name, std::string_view kind, double value) {
  return fmt::format("# TYPE {0} {1}\n{0} {2}\n", name, kind, value);
}

std::string escape_label(std::string_view value) {
  std::string escaped;
  for (const char c : value) {
    if (c == '\n') {
      escaped += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

}  // namespace rtai::serve
