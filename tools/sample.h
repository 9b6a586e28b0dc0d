// One thing to answer: a text, two, words, or token ids.
#pragma once

#include "runtime/base/result.h"
#include "runtime/text/tokenizer.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rtai::tools {

/// One line of a data file; which fields are set depends on its form.
struct Sample {
  Sample() = default;
  explicit Sample(std::string plain_text) : text(std::move(plain_text)) {}

  std::string text;                   // {"text"}, or a line of a .txt file; or text_a
  std::optional<std::string> text_b;  // {"text_a", "text_b"}
  std::optional<std::string> label;   // {"text", "label"}
  std::vector<std::string> words;     // {"tokens", "tags"}
  std::vector<std::string> tags;      // one for each word
  std::optional<double> score;        // {"text_a", "text_b", "score"}
  std::vector<std::int32_t> ids;      // {"input_ids", ...}, real tokens only
  std::vector<std::int32_t> segments;
  std::optional<std::string> question;  // {"question", "context"}: text is the context
};

/// The tokens of a sample. Errors: invalid_input if it has text and the model no tokenizer.
Result<text::Encoding> encode(const Sample& sample, const text::Tokenizer* tokenizer);

}  // namespace rtai::tools
