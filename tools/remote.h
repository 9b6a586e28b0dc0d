// Models that another process serves: asking them, and putting a load on them.
#pragma once

#include "tools/cli.h"
#include "tools/gates.h"
#include "tools/json.h"
#include "tools/serve/http_client.h"
#include "tools/text_data.h"

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace rtai::tools {

/// A model behind `rtai serve`.
class RemoteModel {
 public:
  /// `api_key_file` may be empty. Errors: those of the URL and the file.
  static Result<RemoteModel> create(const std::string& url, const std::string& api_key_file);

  /// Lines of `rtai run --json`, in order.
  ///
  /// Errors: io if there is no answer; what the server says, by its status.
  Result<std::vector<Json>> answer(std::span<const Sample> samples, bool logits);

 private:
  RemoteModel(std::string url, std::unique_ptr<serve::HttpClient> client)
      : url_(std::move(url)), client_(std::move(client)) {}

  std::string url_;
  std::unique_ptr<serve::HttpClient> client_;
};

/// Flags of `rtai bench URL` beside those it shares with the bench of models.
struct LoadFlags {
  double rate_per_s = 0;  // 0: closed loop
  bool poisson = false;
  int connections = 64;
  double duration_s = 0;  // 0: ten seconds
  std::string data;       // texts to send; empty: made of common words
  std::string path = "/v1/predict";
  std::string api_key_file;
  std::optional<std::string> json;
  std::vector<std::string> fail_if;
};

/// Measures a server and reports as `rtai bench` does.
Result<int> bench_url(const std::string& url,
                      const LoadFlags& flags,
                      const GlobalFlags& global,
                      Log& log);

}  // namespace rtai::tools
