// Running encoded samples through an engine.
#pragma once

#include "runtime/base/log.h"
#include "runtime/exec/session.h"
#include "runtime/text/tokenizer.h"

#include <memory>
#include <span>
#include <vector>

namespace rtai::tools {

/// One output for one sample.
struct SampleOutput {
  std::vector<float> values;  // [rows, columns]
  Index rows = 0;             // its tokens, or 1
  Index columns = 0;

  std::span<const float> row(Index i) const {
    return std::span(values).subspan(static_cast<std::size_t>(i * columns),
                                     static_cast<std::size_t>(columns));
  }
};

/// An engine ready to run.
class Predictor {
 public:
  /// options.max_tokens: of what runs as one batch, unless one sample alone is longer.
  ///
  /// Errors: as Session::create.
  static Result<Predictor> create(std::shared_ptr<const engine::Engine> engine,
                                  const SessionOptions& options);

  /// Outputs of the engine for each encoding: [sample][output]. Many run as one batch, which
  /// changes no answer.
  Result<std::vector<std::vector<SampleOutput>>> run(std::span<const text::Encoding> encodings,
                                                     Log& log);

  const engine::Engine& engine() const { return session_.engine(); }

 private:
  Predictor(Session session, Index tokens_at_once)
      : session_(std::move(session)), tokens_at_once_(tokens_at_once) {}

  Session session_;
  Index tokens_at_once_;
};

}  // namespace rtai::tools
