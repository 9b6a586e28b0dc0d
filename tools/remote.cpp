#include "tools/remote.h"

#include "runtime/base/mapped_file.h"
#include "tools/answer_json.h"
#include "tools/cli.h"
#include "tools/json_file.h"
#include "tools/timing.h"
#include "tools/version.h"

#include <fmt/format.h>

#include <array>
#include <random>

namespace rtai::tools {
namespace {

/// The first key of the file.
Result<std::string> read_key(const std::string& path) {
  if (path.empty()) return std::string();
  RTAI_TRY(const MappedFile file, MappedFile::open(path));
  std::string_view rest = file.text();
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string line(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    while (line.ends_with('\r') || line.ends_with(' '))
      line.pop_back();
    if (!line.empty() && !line.starts_with('#')) return line;
  }
  return Error{ErrorCode::invalid_input, fmt::format("{}: no key in this file", path)};
}

/// What the server said when it did not answer.
Error refusal(const std::string& url, const serve::HttpResponse& response) {
  const Result<nlohmann::json> body = parse_json(response.body);
  std::string reason = "no reason given";
  if (body && body->is_object() && body->contains("error") && (*body)["error"].is_string())
    reason = (*body)["error"].get<std::string>();
  const ErrorCode code = response.status == 404  ? ErrorCode::not_found
                         : response.status < 429 ? ErrorCode::invalid_input
                                                 : ErrorCode::device;
  return {code, fmt::format("{}: {} ({})", url, reason, response.status)};
}

/// Texts of 8 to 64 tokens for tokenizers that know common words.
std::vector<std::string> common_texts(std::uint64_t seed) {
  static constexpr std::array<std::string_view, 24> kWords = {
      "the", "music", "play", "my",   "card",  "what",  "is",   "weather",
      "in",  "for",   "book", "a",    "table", "money", "new",  "song",
      "of",  "to",    "and",  "find", "show",  "me",    "time", "please"};
  constexpr std::size_t kTexts = 256, kFewest = 6, kMost = 62;  // [CLS] and [SEP] come on top
  std::mt19937_64 random(seed);
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < kTexts; ++i) {
    const std::size_t words = kFewest + random() % (kMost - kFewest + 1);
    std::string text;
    for (std::size_t w = 0; w < words; ++w)
      text += fmt::format("{}{}", w > 0 ? " " : "", kWords[random() % kWords.size()]);
    texts.push_back(std::move(text));
  }
  return texts;
}

Result<std::vector<std::string>> bodies_of(const LoadFlags& flags, std::uint64_t seed) {
  std::vector<std::string> bodies;
  const bool is_embedding = flags.path == "/v1/embeddings";
  const auto add = [&](const Sample& sample) {
    const bool is_tei = flags.path == "/embed" || flags.path == "/predict";
    const Json body = is_embedding ? Json{{"input", sample.text}}
                      : is_tei     ? Json{{"inputs", sample.text}}
                                   : input_json(sample);
    bodies.push_back(one_line(body));
  };
  if (flags.data.empty()) {
    for (const std::string& text : common_texts(seed))
      add(Sample(text));
    return bodies;
  }
  RTAI_TRY(const std::vector<Sample> samples, read_samples(flags.data));
  for (const Sample& sample : samples)
    add(sample);
  return bodies;
}

Json latency_json(const std::vector<double>& samples) {
  if (samples.empty()) return nullptr;
  const LatencySummary l = summarize(samples);
  return {{"min", l.min}, {"mean", l.mean}, {"p50", l.p50}, {"p90", l.p90},
          {"p95", l.p95}, {"p99", l.p99},   {"max", l.max}, {"mad", l.mad}};
}

Json report_json(const std::string& url,
                 const LoadFlags& flags,
                 const serve::LoadOptions& options,
                 const serve::LoadReport& report) {
  Json statuses = Json::object();
  for (const auto& [status, count] : report.statuses)
    statuses[std::to_string(status)] = count;
  return {{"url", url + flags.path},
          {"loop", options.rate_per_s > 0 ? "open" : "closed"},
          {"rate_per_s", options.rate_per_s > 0 ? Json(options.rate_per_s) : Json(nullptr)},
          {"connections", options.connections},
          {"seconds", report.seconds},
          {"requests", report.sent},
          {"answered", report.answered_ms.size()},
          {"refused", report.refused_ms.size()},
          {"failed", report.failed},
          {"statuses", std::move(statuses)},
          {"engines", report.engines},
          {"throughput_per_s", static_cast<double>(report.answered_ms.size()) / report.seconds},
          {"latency_ms", latency_json(report.answered_ms)},
          {"refused_latency_ms", latency_json(report.refused_ms)}};
}

std::string latency_line(std::string_view what, const std::vector<double>& samples) {
  if (samples.empty()) return {};
  const LatencySummary l = summarize(samples);
  return fmt::format(
      "{:<9} {:>8}   p50 {:.2f}   p90 {:.2f}   p95 {:.2f}   p99 {:.2f}   max {:.2f} ms\n", what,
      samples.size(), l.p50, l.p90, l.p95, l.p99, l.max);
}

std::string report_text(const serve::LoadOptions& options, const serve::LoadReport& report) {
  std::string text = options.rate_per_s > 0
                         ? fmt::format("open loop, {} requests/s", options.rate_per_s)
                         : std::string("closed loop");
  text += fmt::format(", {} connections, {:.1f} s\n\n", options.connections, report.seconds);
  text += latency_line("answered", report.answered_ms);
  text += latency_line("refused", report.refused_ms);
  for (const auto& [status, count] : report.statuses) {
    if (status != 200 && status != 429) text += fmt::format("status {}: {}\n", status, count);
  }
  if (report.failed > 0) text += fmt::format("failed    {:>8}\n", report.failed);
  for (const auto& [engine, count] : report.engines)
    text += fmt::format("engine {}: {} answers\n", engine.empty() ? "?" : engine, count);
  text += fmt::format("{:.1f} answers/s\n",
                      static_cast<double>(report.answered_ms.size()) / report.seconds);
  if (options.rate_per_s > 0) text += "latency counts from when each request was due\n";
  return text;
}

Figures figures_of(const serve::LoadReport& report) {
  Figures figures = {
      {"failed", static_cast<double>(report.failed)},
      {"refused", static_cast<double>(report.refused_ms.size())},
      {"throughput_per_s", static_cast<double>(report.answered_ms.size()) / report.seconds}};
  if (report.answered_ms.empty()) return figures;
  const LatencySummary l = summarize(report.answered_ms);
  figures.insert({{"min_ms", l.min},
                  {"mean_ms", l.mean},
                  {"p50_ms", l.p50},
                  {"p90_ms", l.p90},
                  {"p95_ms", l.p95},
                  {"p99_ms", l.p99},
                  {"max_ms", l.max}});
  return figures;
}

}  // namespace

Result<RemoteModel> RemoteModel::create(const std::string& url, const std::string& api_key_file) {
  RTAI_TRY(const serve::Url parsed, serve::parse_url(url));
  RTAI_TRY(const std::string key, read_key(api_key_file));
  return RemoteModel(url, serve::HttpClient::make(parsed, key));
}

Result<std::vector<Json>> RemoteModel::answer(std::span<const Sample> samples, bool logits) {
  Json body = {{"samples", Json::array()}, {"logits", logits}};
  for (const Sample& sample : samples)
    body["samples"].push_back(input_json(sample));
  RTAI_TRY(const serve::HttpResponse response, client_->post("/v1/predict", one_line(body)));
  if (response.status != 200) return refusal(url_, response);
  const Json answers = Json::parse(response.body, nullptr, false);
  const bool is_whole = answers.is_object() && answers.contains("answers") &&
                        answers["answers"].is_array() &&
                        answers["answers"].size() == samples.size();
  if (!is_whole) return Error{ErrorCode::io, fmt::format("{}: not an answer of rtai serve", url_)};
  return std::vector<Json>(answers["answers"].begin(), answers["answers"].end());
}

Result<int> bench_url(const std::string& url,
                      const LoadFlags& flags,
                      const GlobalFlags& global,
                      Log& log) {
  RTAI_TRY(const serve::Url parsed, serve::parse_url(url));
  RTAI_TRY(const std::vector<Gate> gates, parse_gates(flags.fail_if));
  serve::LoadOptions options{.rate_per_s = flags.rate_per_s,
                             .poisson = flags.poisson,
                             .duration_s = flags.duration_s > 0 ? flags.duration_s : 10,
                             .connections = flags.connections,
                             .seed = global.seed,
                             .path = flags.path};
  RTAI_TRY(options.api_key, read_key(flags.api_key_file));
  RTAI_TRY(options.bodies, bodies_of(flags, global.seed));
  RTAI_TRY(const serve::LoadReport report, serve::run_load(parsed, options));
  if (!is_stdout(flags.json)) print(global, report_text(options, report));
  if (flags.json) {
    const Json document = {{"rtai_version", version()},
                           {"results", Json::array({report_json(url, flags, options, report)})}};
    RTAI_TRY_VOID(write_json(document, *flags.json));
  }
  RTAI_TRY(const std::vector<std::string> missed, missed_gates(gates, figures_of(report)));
  for (const std::string& line : missed)
    log.warning(fmt::format("{}: gate missed: {}", url, line));
  return missed.empty() ? 0 : exit_code(ErrorCode::gate);
}

}  // namespace rtai::tools
