// Answers to questions: where they stand in a text of any length.
#pragma once

#include "runtime/base/result.h"
#include "runtime/text/tokenizer.h"
#include "tools/json.h"
#include "tools/predict.h"

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace rtai::tools {

/// A question and as much of a text as the model reads at once.
struct QuestionWindow {
  text::Encoding encoding;
  std::size_t begin = 0;  // tokens [begin, end) are the text's
  std::size_t end = 0;
};

/// Makes windows of questions and texts.
class QuestionReader {
 public:
  /// Errors: those of Tokenizer::deserialize, of which there are none.
  static Result<QuestionReader> create(const text::Tokenizer& tokenizer);

  /// Windows of up to 384 tokens, or what the model reads at most, in which a text too long for one
  /// comes piece by piece, each beginning with the last 128 tokens (at most half) of the one
  /// before. At least one window; one without text if the text has no tokens.
  ///
  /// Errors: invalid_input if the question leaves no room for the text.
  /// Source: the question-answering pipeline of Transformers 4.57, its default lengths.
  Result<std::vector<QuestionWindow>> read(std::string_view question, std::string_view text) const;

 private:
  QuestionReader(text::Tokenizer tokenizer, std::size_t window_tokens)
      : tokenizer_(std::move(tokenizer)), window_tokens_(window_tokens) {}

  text::Tokenizer tokenizer_;  // without a length limit
  std::size_t window_tokens_;
};

/// The most likely answer that a window holds: whole words, of up to 15 tokens.
struct FoundAnswer {
  text::Offset characters;  // of the text; empty: the window holds none
  float score = 0;          // probability of the first token times that of the last
};

/// `outputs` are those of the model for the window: start and end, [tokens, 1] each, or both in one
/// of [tokens, 2]. The probabilities are among the tokens of the text and the first of all, which
/// models learn to give for "not here".
///
/// Errors: unsupported for outputs of other shapes; invalid_input if they hold NaN.
/// Source: the same pipeline, decode_spans and postprocess.
Result<FoundAnswer> find_answer(const QuestionWindow& window,
                                std::span<const SampleOutput> outputs);

/// The answers for samples that have a question, as `rtai run --json` prints them: {"text",
/// "question", "answer", "start", "end", "score"}; with `logits` also what the model put out for
/// the window that holds the answer. A sample without an answer has "" from 0 to 0.
///
/// Errors: invalid_input if the model has no tokenizer, a sample no question, or as the above.
Result<std::vector<Json>> answer_questions(const Model& model,
                                           const QuestionReader& reader,
                                           Predictor& predictor,
                                           std::span<const Sample> samples,
                                           bool logits);

}  // namespace rtai::tools
