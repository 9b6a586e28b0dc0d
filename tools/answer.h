// What the outputs of an engine say about a sample.
#pragma once

#include "runtime/text/decode.h"
#include "tools/answer_model.h"
#include "tools/predictor.h"
#include "tools/sample.h"

#include <string>
#include <string_view>
#include <vector>

namespace rtai::tools {

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
Result<text::Encoding> encode_for(const AnswerModel& model, const Sample& sample);

/// Errors: unsupported if the task has no answers, naming what the model has.
Result<Answer> make_answer(const AnswerModel& model,
                           const Sample& sample,
                           const text::Encoding& encoding,
                           const std::vector<SampleOutput>& outputs);

/// Code points [begin, end) of a text.
std::string code_point_range(std::string_view text, std::uint32_t begin, std::uint32_t end);

}  // namespace rtai::tools
