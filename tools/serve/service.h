// What the server does with a request: who may ask, which endpoint, which engine, what is said.
#pragma once

#include "runtime/base/digest.h"
#include "tools/serve/batcher.h"
#include "tools/serve/cache.h"
#include "tools/serve/http_server.h"
#include "tools/serve/inquiry.h"
#include "tools/serve/metrics.h"
#include "tools/serve/reloader.h"

#include <atomic>
#include <memory>
#include <string>
#include <vector>

namespace rtai::serve {

struct ServiceOptions {
  BatchOptions batch;
  std::size_t most_texts = 256;           // of one request
  double timeout_s = 0;                   // of requests that name none; 0: none
  std::uint64_t answer_cache_bytes = 0;   // 0: off
  std::uint64_t token_cache_bytes = 0;    // 0: off
  std::vector<Sha256Digest> key_digests;  // of the API keys; empty: everyone may ask
  double watchdog_s = 30;                 // a computing thread silent for longer ends the process
};

/// Neither keeps nor writes texts beyond the request they are in.
class Service {
 public:
  /// `models`: at least one, each with its number and a name of its own. The first answers where a
  /// request names none.
  Service(ServiceOptions options, std::vector<ServedModel> models, Say say);

  /// Answers the server's requests until it has ended, then ends the computing threads.
  void run(HttpServer& server, bool computing_threads_serve);

  void handle(HttpRequest request, Respond respond);

  /// Four times a second: looks at the files and at the computing threads.
  void look_around();
  void reload() { reloader_.reload(); }
  /// No longer ready; what comes is answered still.
  void begin_drain() { draining_ = true; }

 private:
  struct Exchange;
  using Shared = std::shared_ptr<Exchange>;  // owned by the job and, later, by posted work

  bool is_allowed(const HttpRequest& request) const;
  bool is_ready() const;
  void route(const HttpRequest& request, const Shared& exchange);
  void route_model(const HttpRequest& request, std::string_view path, const Shared& exchange);
  SharedSet named_in(const Body& body) const;
  HttpResponse ready_response() const;
  bool turn_away(Exchange& exchange);
  void overloaded(Exchange& exchange, const Refused& refused);
  void ask(const Shared& exchange, Result<Inquiry> read);
  Result<std::vector<text::Encoding>> encode(const Exchange& exchange);
  bool answer_from_cache(const Shared& exchange);
  void remember(const Exchange& exchange);
  void finish(const Shared& exchange, JobResult result);
  void conclude(const Shared& exchange, JobResult result);
  void answer(const Shared& exchange);
  void send(Exchange& exchange, HttpResponse response);
  void refuse(Exchange& exchange,
              int status,
              std::string_view type,
              std::string_view message,
              double retry_after_s = 0);
  std::string metrics_text() const;

  ServiceOptions options_;
  Say say_;
  Metrics metrics_;
  KeyMaker keys_;
  Cache<std::shared_ptr<const std::vector<tools::SampleOutput>>> answers_;  // shared with readers
  Cache<std::shared_ptr<const text::Encoding>> encodings_;                  // likewise
  std::atomic<bool> draining_{false};
  double started_s_;  // seconds since 1970
  HttpServer* server_ = nullptr;
  Batcher batcher_;
  Reloader reloader_;
};

}  // namespace rtai::serve
