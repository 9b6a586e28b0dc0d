// What the server says at /metrics, in the text format of Prometheus.
#include "tools/serve/service.h"
#include "tools/version.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <string_view>
#include <utility>

namespace rtai::serve {
namespace {

double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  double total = 0, resident = 0;
  file >> total >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

using Labelled = std::pair<std::string_view, std::uint64_t>;

/// A metric that a label splits in two.
std::string pair_text(std::string_view name,
                      std::string_view label,
                      Labelled a,
                      Labelled b,
                      std::string_view kind = "counter") {
  return fmt::format("# TYPE {0} {1}\n{0}{{{2}=\"{3}\"}} {4}\n{0}{{{2}=\"{5}\"}} {6}\n", name, kind,
                     label, a.first, a.second, b.first, b.second);
}

}  // namespace

std::string Service::metrics_text() const {
  const Batcher::Load load = batcher_.load();
  const HttpCounts http = server_->counts();
  const auto count = [](std::uint64_t value) { return static_cast<double>(value); };
  std::string text = metrics_.request_text() + metrics_.engine_text();
  text += metrics_.request_seconds.text("rtai_request_seconds");
  text += metrics_.queue_seconds.text("rtai_queue_seconds");
  text += metrics_.compute_seconds.text("rtai_batch_seconds");
  text += metrics_.batch_texts.text("rtai_batch_texts");
  text += metrics_.batch_tokens.text("rtai_batch_tokens");
  text += metric("rtai_queue_texts", "gauge", count(load.texts));
  text += metric("rtai_queue_tokens", "gauge", count(load.tokens));
  text += metric("rtai_queue_expected_wait_seconds", "gauge", load.expected_wait_s);
  text += pair_text("rtai_refused_total", "reason", {"queue", metrics_.refused_queue},
                    {"deadline", metrics_.refused_deadline});
  text += metric("rtai_expired_total", "counter", count(metrics_.expired));
  text += pair_text("rtai_reloads_total", "result", {"done", metrics_.reloads_done},
                    {"failed", metrics_.reloads_failed});
  text += metric("rtai_engine_shifts_total", "counter", count(metrics_.engine_shifts));
  text += "# TYPE rtai_engine_current gauge\n";
  for (const SharedSet& set : reloader_.current()) {
    text += fmt::format("rtai_engine_current{} {}\n", metrics_.model_labels(set->model_name),
                        batcher_.current_engine(set->model) + 1);
  }
  text += pair_text("rtai_promise_total", "kept", {"yes", metrics_.promise_kept},
                    {"no", metrics_.promise_missed});
  const CacheCounts answers = answers_.counts(), encodings = encodings_.counts();
  const auto caches = [&](std::string_view name, std::string_view kind, auto member) {
    text +=
        pair_text(name, "cache", {"answers", answers.*member}, {"tokens", encodings.*member}, kind);
  };
  caches("rtai_cache_hits_total", "counter", &CacheCounts::hits);
  caches("rtai_cache_misses_total", "counter", &CacheCounts::misses);
  caches("rtai_cache_entries", "gauge", &CacheCounts::entries);
  caches("rtai_cache_bytes", "gauge", &CacheCounts::bytes);
  text += metric("rtai_connections", "gauge", http.connections);
  text += metric("rtai_connections_accepted_total", "counter", count(http.accepted));
  text += metric("rtai_connections_turned_away_total", "counter", count(http.turned_away));
  text += metric("rtai_malformed_requests_total", "counter", count(http.malformed));
  text += metric("rtai_slow_clients_total", "counter", count(http.timed_out));
  text += metric("rtai_ready", "gauge", is_ready() ? 1 : 0);
  text += metric("process_resident_memory_bytes", "gauge", resident_bytes());
  text += metric("process_start_time_seconds", "gauge", started_s_);
  return text + fmt::format("# TYPE rtai_build_info gauge\nrtai_build_info{{version=\"{}\"}} 1\n",
                            tools::version());
}

}  // namespace rtai::serve
