#include "tools/serve/service.h"

#include "tools/memory_reserve.h"
#include "tools/serve/oip.h"
#include "tools/serve/text_api.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cmath>

namespace rtai::serve {
namespace {

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::span<const std::byte> bytes_of(const std::vector<std::int32_t>& values) {
  return std::as_bytes(std::span(values));
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

int status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::not_found:
      return 404;
    case ErrorCode::invalid_input:
    case ErrorCode::unsupported:
      return 400;
    case ErrorCode::device:
      return 503;
    default:
      return 500;
  }
}

/// A header that holds a number, if it is there and does.
std::optional<std::size_t> number_in(const HttpRequest& request, std::string_view name) {
  const std::string_view text = header(request.headers, name);
  std::size_t number = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || status != std::errc{} || end != text.data() + text.size())
    return std::nullopt;
  return number;
}

/// Compares all bytes, whatever differs: the time must not tell how much was right.
bool are_equal(const Sha256Digest& a, const Sha256Digest& b) {
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    difference |= static_cast<unsigned>(a[i] ^ b[i]);
  return difference == 0;
}

std::uint64_t memory_of(const std::vector<tools::SampleOutput>& outputs) {
  std::uint64_t bytes = 0;
  for (const tools::SampleOutput& output : outputs)
    bytes += sizeof output + output.values.size() * sizeof(float);
  return bytes;
}

std::uint64_t memory_of(const text::Encoding& encoding) {
  constexpr std::uint64_t kPerToken = sizeof(text::Offset) + 3 * sizeof(std::int32_t);
  return sizeof encoding + encoding.ids.size() * kPerToken;
}

}  // namespace

/// One request on its way through the service.
struct Service::Exchange {
  std::string_view endpoint;  // for the metrics
  Clock::time_point arrival;
  Respond respond;
  bool is_openai = false;  // errors as OpenAI's clients expect them
  std::optional<double> timeout_s;
  SharedSet set;
  Inquiry inquiry;
  std::vector<text::Encoding> encodings;
  std::size_t engine = 0;
  Outputs outputs;
};

Service::Service(ServiceOptions options, std::vector<ServedModel> models, Say say)
    : options_(std::move(options)),
      say_(std::move(say)),
      metrics_(models.size()),
      answers_(options_.answer_cache_bytes),
      encodings_(options_.token_cache_bytes),
      started_s_(std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch())
                     .count()),
      batcher_(options_.batch, lane_count(models.front().options.threads), models.size(), metrics_),
      reloader_(std::move(models), metrics_, say_) {}

void Service::run(HttpServer& server, bool computing_threads_serve) {
  struct Stop {
    Batcher& batcher;
    ~Stop() { batcher.stop(); }
  };
  server_ = &server;
  const Stop stop{batcher_};  // the server may be gone after this, whatever happens
  batcher_.start(computing_threads_serve ? &server : nullptr);
  server.run([this] { return batcher_.is_busy(); });
}

bool Service::is_ready() const {
  return !draining_ && batcher_.is_alive(Clock::now());
}

bool Service::is_allowed(const HttpRequest& request) const {
  if (options_.key_digests.empty()) return true;
  constexpr std::string_view kScheme = "Bearer ";
  const std::string_view value = header(request.headers, "authorization");
  if (!value.starts_with(kScheme)) return false;
  const Sha256Digest digest = sha256(bytes_of(value.substr(kScheme.size())));
  bool allowed = false;
  for (const Sha256Digest& key : options_.key_digests)
    allowed = are_equal(digest, key) || allowed;
  return allowed;
}

void Service::handle(HttpRequest request, Respond respond) {
  tools::hold_memory_reserve();  // the request before may have needed it
  auto exchange = std::make_shared<Exchange>();
  exchange->arrival = request.arrival;
  exchange->respond = std::move(respond);
  exchange->endpoint = "other";
  try {
    route(request, exchange);
  } catch (const std::bad_alloc&) {
    refuse(*exchange, 503, "backend", "out of memory");
  }
}

namespace {

/// NAME of /models/NAME/PATH, and "/PATH".
struct ModelPath {
  std::string_view name;
  std::string_view rest;
};
std::optional<ModelPath> model_path(std::string_view path) {
  constexpr std::string_view kPrefix = "/models/";
  if (!path.starts_with(kPrefix)) return std::nullopt;
  path.remove_prefix(kPrefix.size());
  const std::size_t slash = path.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  return ModelPath{path.substr(0, slash), path.substr(slash)};
}

}  // namespace

/// The endpoints, at /models/NAME/ too: there the model of this name is the first. Health is for
/// everyone, all else for those with a key.
void Service::route(const HttpRequest& request, const Shared& exchange) {
  std::string_view path = request.path;
  SharedSet set = reloader_.first();
  if (const auto own = model_path(path)) {
    set = reloader_.called(own->name);
    if (set) path = own->rest;
  }
  const bool is_get = request.method == "GET";
  const auto wrong_method = [&](std::string_view allowed) {
    HttpResponse response = {.status = 405, .headers = {{"Allow", std::string(allowed)}}};
    response.body = R"({"error":"wrong method","error_type":"method"})";
    send(*exchange, std::move(response));
  };
  const auto get = [&](std::string_view endpoint, auto make) {
    exchange->endpoint = endpoint;
    if (!is_get) return wrong_method("GET");
    send(*exchange, make());
  };
  const auto post = [&](std::string_view endpoint, auto read) {
    exchange->endpoint = endpoint;
    if (request.method != "POST") return wrong_method("POST");
    exchange->set = set;
    if (turn_away(*exchange)) return;
    const auto read_json = [&]() -> Result<Inquiry> {
      RTAI_TRY(const Body body, parse_body(request.body));
      if (SharedSet named = named_in(body)) exchange->set = std::move(named);
      return read(*exchange->set, body);
    };
    ask(exchange, read_json());
  };

  if (path == "/v2/health/live")
    return get("health", [] { return json_response({{"live", true}}); });
  if (path == "/v2/health/ready" || path == "/health" || path == "/ready")
    return get("health", [this] { return ready_response(); });
  if (!is_allowed(request)) {
    HttpResponse response = {.status = 401, .headers = {{"WWW-Authenticate", "Bearer"}}};
    response.body = R"({"error":"expected an API key","error_type":"authentication"})";
    return send(*exchange, std::move(response));
  }
  if (const auto ms = number_in(request, "rtai-timeout-ms"); ms && *ms > 0)
    exchange->timeout_s = static_cast<double>(*ms) * 1e-3;

  if (!set) return refuse(*exchange, 404, "model", "no such model or version");
  if (path == "/v1/predict") return post("v1_predict", &read_predict);
  if (path == "/v1/embeddings") {
    exchange->is_openai = true;
    return post("v1_embeddings", &read_openai_embeddings);
  }
  if (path == "/v1/models")
    return get("v1_models", [this] { return json_response(openai_models(reloader_.current())); });
  if (path == "/embed") return post("embed", &read_tei_embed);
  if (path == "/predict") return post("predict", &read_tei_predict);
  if (path == "/info")
    return get("info",
               [&] { return json_response(tei_info(*set, options_.batch, options_.most_texts)); });
  if (path == "/metrics")
    return get("metrics", [this] {
      return HttpResponse{.content_type = "text/plain; version=0.0.4", .body = metrics_text()};
    });
  if (path == "/v2") return get("metadata", [] { return json_response(server_metadata()); });
  if (path.starts_with("/v2/models/")) return route_model(request, path, exchange);
  refuse(*exchange, 404, "path", "no such path");
}

/// /v2/models/NAME[/versions/V][/ready|/infer]
void Service::route_model(const HttpRequest& request,
                          std::string_view path,
                          const Shared& exchange) {
  std::string_view rest = path.substr(std::string_view("/v2/models/").size());
  const auto next = [&rest] {
    const std::size_t end = std::min(rest.find('/'), rest.size());
    const std::string_view part = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return part;
  };
  exchange->endpoint = "metadata";
  exchange->set = reloader_.called(next());
  if (!exchange->set) return refuse(*exchange, 404, "model", "no such model or version");
  std::optional<std::size_t> engine;
  std::string_view action = next();
  bool is_version = true;
  if (action == "versions") {
    engine = engine_of_version(*exchange->set, next());
    is_version = engine.has_value();
    action = next();
  }
  if (!is_version || !rest.empty())
    return refuse(*exchange, 404, "model", "no such model or version");
  if (action == "infer") {
    exchange->endpoint = "infer";
    if (request.method != "POST") return refuse(*exchange, 405, "method", "expected POST");
    const std::string_view length = header(request.headers, "inference-header-content-length");
    const auto json_bytes = number_in(request, "inference-header-content-length");
    if (!length.empty() && !json_bytes)
      return refuse(*exchange, 400, "validation",
                    "Inference-Header-Content-Length: expected a number");
    if (turn_away(*exchange)) return;
    Result<Inquiry> read = read_infer(*exchange->set, request.body, json_bytes);
    if (read) read->engine = engine;
    return ask(exchange, std::move(read));
  }
  if (request.method != "GET") return refuse(*exchange, 405, "method", "expected GET");
  if (action == "ready") return send(*exchange, ready_response());
  if (action.empty()) return send(*exchange, json_response(model_metadata(*exchange->set)));
  refuse(*exchange, 404, "path", "no such path");
}

/// The model that "model" names; null if none is called so, which may be the name of an engine.
SharedSet Service::named_in(const Body& body) const {
  const auto name = body.find("model");
  if (name == body.end() || !name->is_string()) return nullptr;
  return reloader_.called(name->get_ref<const std::string&>());
}

HttpResponse Service::ready_response() const {
  const bool ready = is_ready();
  HttpResponse response = json_response({{"ready", ready}});
  if (!ready) response.status = 503;
  return response;
}

Result<std::vector<text::Encoding>> Service::encode(const Exchange& exchange) {
  const EngineSet& set = *exchange.set;
  const LoadedEngine& first = set.first();
  std::vector<text::Encoding> encodings;
  for (const tools::Sample& sample : exchange.inquiry.samples) {
    // Texts alone: ids need no tokenizer, and words are rare.
    const bool is_text = sample.ids.empty() && sample.words.empty() && !sample.question;
    std::optional<CacheKey> key;
    if (is_text && encodings_.is_on()) {
      const std::string_view second = sample.text_b ? std::string_view(*sample.text_b) : "";
      key = keys_.make({bytes_of(set.model_name), bytes_of(first.digest), bytes_of(sample.text),
                        bytes_of(second), bytes_of(sample.text_b ? "pair" : "one")});
      if (const auto found = encodings_.find(*key)) {
        encodings.push_back(**found);
        continue;
      }
    }
    RTAI_TRY(text::Encoding encoding, tools::encode_for(first.model, sample));
    for (const auto& engine : set.engines)
      RTAI_TRY_VOID(check_encoding(engine->limits, encoding));
    if (key) {
      encodings_.put(*key, std::make_shared<const text::Encoding>(encoding), memory_of(encoding));
    }
    encodings.push_back(std::move(encoding));
  }
  return encodings;
}

namespace {

/// With the model's name: a digest of a folder is that of its ONNX file, which others may share.
CacheKey answer_key(const KeyMaker& keys,
                    const EngineSet& set,
                    std::size_t engine,
                    const text::Encoding& encoding) {
  return keys.make({bytes_of(set.model_name), bytes_of(set.engines[engine]->digest),
                    bytes_of(encoding.ids), bytes_of(encoding.segments)});
}

}  // namespace

/// All texts of one engine, the most accurate first; a faster one's answers only while it would be
/// asked anyway.
bool Service::answer_from_cache(const Shared& exchange) {
  if (!answers_.is_on()) return false;
  const EngineSet& set = *exchange->set;
  const std::size_t last = exchange->inquiry.engine.value_or(batcher_.current_engine(set.model));
  for (std::size_t e = exchange->inquiry.engine.value_or(0); e <= last && e < set.engines.size();
       ++e) {
    exchange->outputs.clear();
    for (const text::Encoding& encoding : exchange->encodings) {
      const auto found = answers_.find(answer_key(keys_, set, e, encoding));
      if (!found) break;
      exchange->outputs.push_back(**found);
    }
    if (exchange->outputs.size() < exchange->encodings.size()) continue;
    exchange->engine = e;
    answer(exchange);
    return true;
  }
  return false;
}

void Service::remember(const Exchange& exchange) {
  if (!answers_.is_on()) return;
  for (std::size_t i = 0; i < exchange.encodings.size(); ++i) {
    answers_.put(answer_key(keys_, *exchange.set, exchange.engine, exchange.encodings[i]),
                 std::make_shared<const std::vector<tools::SampleOutput>>(exchange.outputs[i]),
                 memory_of(exchange.outputs[i]));
  }
}

void Service::ask(const Shared& exchange, Result<Inquiry> read) {
  if (!read) {
    return refuse(*exchange, status_of(read.error().code()), "validation", read.error().message());
  }
  exchange->inquiry = *std::move(read);
  const std::size_t texts = exchange->inquiry.samples.size();
  if (texts == 0) return refuse(*exchange, 400, "validation", "no texts");
  if (texts > options_.most_texts) {
    return refuse(*exchange, 413, "validation",
                  fmt::format("{} texts, at most {} in a request", texts, options_.most_texts));
  }
  Result<std::vector<text::Encoding>> encodings = encode(*exchange);
  if (!encodings) {
    return refuse(*exchange, status_of(encodings.error().code()), "validation",
                  encodings.error().message());
  }
  exchange->encodings = *std::move(encodings);
  if (answer_from_cache(exchange)) return;

  Job job{.set = exchange->set,
          .encodings = std::move(exchange->encodings),
          .engine = exchange->inquiry.engine,
          .arrival = exchange->arrival};
  std::optional<double> timeout =
      exchange->inquiry.timeout_s ? exchange->inquiry.timeout_s : exchange->timeout_s;
  if (!timeout && options_.timeout_s > 0) timeout = options_.timeout_s;
  if (timeout) {
    job.deadline =
        exchange->arrival + std::chrono::duration_cast<Clock::duration>(
                                std::chrono::duration<double>(std::min(*timeout, 86'400.0)));
  }
  job.done = [this, exchange](Job& done, JobResult result) {
    auto shared = std::make_shared<JobResult>(std::move(result));  // std::function copies
    exchange->encodings = std::move(done.encodings);
    server_->post([this, exchange, shared] { finish(exchange, std::move(*shared)); });
  };
  if (const auto refused = batcher_.submit(std::move(job))) overloaded(*exchange, *refused);
}

void Service::overloaded(Exchange& exchange, const Refused& refused) {
  const bool by_deadline = refused.reason == Refused::Reason::deadline;
  ++(by_deadline ? metrics_.refused_deadline : metrics_.refused_queue);
  refuse(exchange, 429, "overloaded",
         by_deadline ? "the deadline cannot be kept" : "too much is waiting",
         std::max(1.0, std::ceil(refused.wait_s)));
}

/// Where too much is waiting, reading another request would take time from those that wait. Not if
/// its answer may be kept, or if its size has a say in which engine answers.
bool Service::turn_away(Exchange& exchange) {
  if (answers_.is_on() || options_.batch.promise_s > 0) return false;
  const std::optional<Refused> refused = batcher_.refusal(*exchange.set);
  if (refused) overloaded(exchange, *refused);
  return refused.has_value();
}

void Service::finish(const Shared& exchange, JobResult result) {
  try {
    conclude(exchange, std::move(result));
  } catch (const std::bad_alloc&) {
    refuse(*exchange, 503, "backend", "out of memory");
  }
}

void Service::conclude(const Shared& exchange, JobResult result) {
  switch (result.end) {
    case JobResult::End::expired:
      ++metrics_.expired;
      return refuse(*exchange, 504, "deadline", "the deadline passed");
    case JobResult::End::stopped:
      return refuse(*exchange, 503, "unavailable", "the server ends", 1);
    case JobResult::End::failed:
      return refuse(*exchange, 500, "backend", "the engine failed");
    case JobResult::End::no_memory:
      return refuse(*exchange, 503, "backend", "out of memory");
    case JobResult::End::done:
      break;
  }
  exchange->engine = result.engine;
  exchange->outputs = std::move(result.outputs);
  remember(*exchange);
  answer(exchange);
}

void Service::answer(const Shared& exchange) {
  const LoadedEngine& engine = *exchange->set->engines[exchange->engine];
  Result<HttpResponse> response = exchange->inquiry.respond({.set = *exchange->set,
                                                             .engine = engine,
                                                             .version = exchange->engine + 1,
                                                             .samples = exchange->inquiry.samples,
                                                             .encodings = exchange->encodings,
                                                             .outputs = exchange->outputs});
  if (!response) {
    return refuse(*exchange, status_of(response.error().code()), "backend",
                  response.error().message());
  }
  response->headers.emplace_back("rtai-engine", engine.name);
  response->headers.emplace_back("rtai-engine-digest", engine.digest);
  if (options_.batch.promise_s > 0) {
    const bool kept = seconds_since(exchange->arrival) <= options_.batch.promise_s;
    ++(kept ? metrics_.promise_kept : metrics_.promise_missed);
  }
  send(*exchange, *std::move(response));
}

void Service::send(Exchange& exchange, HttpResponse response) {
  metrics_.count_request(exchange.endpoint, response.status);
  if (exchange.set && response.status == 200)
    metrics_.request_seconds.add(seconds_since(exchange.arrival));
  exchange.respond(std::move(response));
}

void Service::refuse(Exchange& exchange,
                     int status,
                     std::string_view type,
                     std::string_view message,
                     double retry_after_s) {
  Json body = {{"error", message}, {"error_type", type}};
  if (exchange.is_openai) body = {{"error", {{"message", message}, {"type", type}}}};
  HttpResponse response = json_response(body);
  response.status = status;
  if (retry_after_s > 0)
    response.headers.emplace_back("Retry-After", fmt::format("{:.0f}", retry_after_s));
  send(exchange, std::move(response));
}

void Service::look_around() {
  reloader_.look_at_files();
  const double silent = batcher_.silent_s(Clock::now());
  if (silent < options_.watchdog_s) return;
  say_(fmt::format("a computing thread has been stuck for {:.0f} s: ending, to be started anew",
                   silent));
  constexpr int kDeviceFailed = 6;
  ::_exit(kDeviceFailed);  // that thread will not be joined
}

}  // namespace rtai::serve
