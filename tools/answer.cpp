#include "tools/answer.h"

#include "runtime/text/utf8.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::tools {
namespace {

/// The words of a sample and, for each token, which of them it belongs to.
struct SampleWords {
  std::vector<AnsweredWord> words;
  std::vector<std::int32_t> of_tokens;
};

SampleWords words_of(const AnswerModel& model,
                     const Sample& sample,
                     const text::Encoding& encoding) {
  SampleWords result;
  if (!sample.words.empty()) {  // words given by the caller; the text is them joined by spaces
    std::uint32_t at = 0;
    for (const std::string& word : sample.words) {
      const std::uint32_t size = text::count_characters(word);
      result.words.push_back({.word = word, .characters = {at, at + size}, .label = {}});
      at += size + 1;
    }
    result.of_tokens = encoding.words;
    return result;
  }
  if (!model.tokenizer || !sample.ids.empty()) {  // ids alone: every token is a word
    for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
      result.words.push_back(
          {.word = std::to_string(encoding.ids[i]), .characters = {}, .label = {}});
      result.of_tokens.push_back(static_cast<std::int32_t>(i));
    }
    return result;
  }
  const std::vector<text::Word> words = text::split_words(sample.text, model.tokenizer->settings());
  for (const text::Word& word : words) {
    result.words.push_back(
        {.word = std::string(word.in(sample.text)), .characters = word.characters, .label = {}});
  }
  result.of_tokens = text::words_of_tokens(encoding, words);
  return result;
}

Result<Answer> answer_words(const AnswerModel& model,
                            const Sample& sample,
                            const text::Encoding& encoding,
                            const SampleOutput& logits) {
  SampleWords words = words_of(model, sample, encoding);
  RTAI_TRY(const std::vector<text::WordLabel> labels,
           text::label_words(logits.values, words.of_tokens, words.words.size(),
                             static_cast<std::size_t>(logits.columns)));
  for (std::size_t i = 0; i < labels.size(); ++i)
    words.words[i].label = labels[i];
  return Answer{.classes = {}, .words = std::move(words.words), .embedding = {}};
}

}  // namespace

Result<text::Encoding> encode_for(const AnswerModel& model, const Sample& sample) {
  return encode(sample, model.tokenizer ? &*model.tokenizer : nullptr);
}

Result<Answer> make_answer(const AnswerModel& model,
                           const Sample& sample,
                           const text::Encoding& encoding,
                           const std::vector<SampleOutput>& outputs) {
  const SampleOutput& first = outputs.front();
  switch (model.task) {
    case Task::sequence_classification: {
      const std::span<const float> row = first.row(0);
      const auto problem = model.multi_label ? text::Problem::multi_label_classification
                                             : text::problem_of(row.size());
      RTAI_TRY(text::Classification classes, text::classify(row, problem));
      return Answer{.classes = std::move(classes), .words = {}, .embedding = {}};
    }
    case Task::token_classification:
      return answer_words(model, sample, encoding, first);
    case Task::sentence_embedding:
      return Answer{.classes = {}, .words = {}, .embedding = first.values};
    case Task::question_answering:
    case Task::unknown:
      break;
  }
  return Error{ErrorCode::unsupported,
               fmt::format("{}: its outputs are no answers rtai knows ({}); --logits prints them",
                           model.name, task_name(model.task))};
}

std::string code_point_range(std::string_view text, std::uint32_t begin, std::uint32_t end) {
  std::string range;
  std::uint32_t at = 0;  // code points begun so far
  for (const char c : text) {
    if (!text::is_continuation(c)) ++at;
    if (at > begin && at <= end) range += c;
  }
  return range;
}

}  // namespace rtai::tools
