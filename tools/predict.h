// Running samples through an engine, and turning outputs into answers.
#pragma once

#include "runtime/exec/session.h"
#include "runtime/text/decode.h"
#include "tools/model.h"
#include "tools/text_data.h"

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

/// A model ready to answer.
class Predictor {
 public:
  static Result<Predictor> create(const Model& model, int threads, const std::string& target);

  /// Outputs of the engine for each encoding: [sample][output]. Many run as one batch, which
  /// changes no answer.
  Result<std::vector<std::vector<SampleOutput>>> run(std::span<const text::Encoding> encodings,
                                                     Log& log);

  const engine::Engine& engine() const { return session_.engine(); }

 private:
  explicit Predictor(Session session) : session_(std::move(session)) {}

  Session session_;
};

/// A labelled word of a sample.
struct AnsweredWord {
  std::string word;
  text::Offset characters;  // in the sample's text
  text::WordLabel label;
};

/// What a model says about one sample; which fields are set depends on its task.
struct Answer {
  text::Classification classes;     // sequence classification
  std::vector<AnsweredWord> words;  // token classification
  std::vector<float> embedding;     // sentence embedding
  SampleOutput logits = {};         // the first output, as answer_all() found it
};

/// Encodes a sample as the task wants it. Errors: as tools::encode.
Result<text::Encoding> encode_for(const Model& model, const Sample& sample);

/// Errors: unsupported if the task has no answers, naming what the model has.
Result<Answer> make_answer(const Model& model,
                           const Sample& sample,
                           const text::Encoding& encoding,
                           const std::vector<SampleOutput>& outputs);

/// Answers for all samples, in order.
Result<std::vector<Answer>> answer_all(const Model& model,
                                       Predictor& predictor,
                                       const std::vector<Sample>& samples,
                                       Log& log);

/// The name of class `i`: the model's label, or "LABEL_3".
std::string label_name(const Model& model, std::size_t i);

/// Code points [begin, end) of a text.
std::string code_point_range(std::string_view text, std::uint32_t begin, std::uint32_t end);

}  // namespace rtai::tools
