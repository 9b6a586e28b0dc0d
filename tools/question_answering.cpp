#include "tools/question_answering.h"

#include "runtime/text/unicode_tables.h"
#include "runtime/text/utf8.h"
#include "tools/answer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace rtai::tools {
namespace {

using text::Encoding;
using text::FrameStep;

constexpr std::size_t kWindowTokens = 384;
constexpr std::size_t kOverlapTokens = 128;
constexpr std::size_t kAnswerTokens = 15;

// Tokens of the frame of a pair: before the question, between it and the text, after the text.
struct PairFrame {
  std::size_t before = 0;
  std::size_t between = 0;
  std::size_t after = 0;

  explicit PairFrame(const std::vector<FrameStep>& steps) {
    std::size_t* count = &before;
    for (const FrameStep& step : steps) {
      if (step.id >= 0) ++*count;
      if (step.id == FrameStep::kFirst) count = &between;
      if (step.id == FrameStep::kSecond) count = &after;
    }
  }
};

std::size_t frame_tokens(const std::vector<FrameStep>& steps) {
  return static_cast<std::size_t>(std::count_if(
      steps.begin(), steps.end(), [](const FrameStep& step) { return step.id >= 0; }));
}

void append(const Encoding& from, std::size_t begin, std::size_t end, Encoding& to) {
  const auto copy = [=](const auto& source, auto& target) {
    target.insert(target.end(), source.begin() + static_cast<std::ptrdiff_t>(begin),
                  source.begin() + static_cast<std::ptrdiff_t>(end));
  };
  copy(from.ids, to.ids);
  copy(from.segments, to.segments);
  copy(from.offsets, to.offsets);
  copy(from.words, to.words);
}

/// Start and end logits of the tokens.
struct SpanLogits {
  std::vector<float> start;  // [tokens]
  std::vector<float> end;    // [tokens]
};

Result<SpanLogits> span_logits(std::span<const SampleOutput> outputs, std::size_t tokens) {
  const auto is = [&](const SampleOutput& output, Index columns) {
    return output.columns == columns && static_cast<std::size_t>(output.rows) == tokens;
  };
  SpanLogits logits;
  if (outputs.size() >= 2 && is(outputs[0], 1) && is(outputs[1], 1)) {
    logits = {outputs[0].values, outputs[1].values};
  } else if (!outputs.empty() && is(outputs[0], 2)) {
    for (Index token = 0; token < outputs[0].rows; ++token) {
      logits.start.push_back(outputs[0].row(token)[0]);
      logits.end.push_back(outputs[0].row(token)[1]);
    }
  } else {
    return Error{ErrorCode::unsupported,
                 "expected a start and an end logit for each token; --logits prints the outputs"};
  }
  for (const std::vector<float>* values : {&logits.start, &logits.end}) {
    if (std::any_of(values->begin(), values->end(), [](float v) { return std::isnan(v); }))
      return invalid_input("a logit is not a number");
  }
  return logits;
}

// Probabilities of the tokens of the text, [end - begin]. The first token of all shares in them.
std::vector<double> probabilities(const std::vector<float>& logits, const QuestionWindow& window) {
  const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(window.begin);
  const auto end = logits.begin() + static_cast<std::ptrdiff_t>(window.end);
  const double most = std::max(logits[0], *std::max_element(begin, end));
  double sum = std::exp(logits[0] - most);
  std::vector<double> result;
  for (auto logit = begin; logit != end; ++logit) {
    result.push_back(std::exp(*logit - most));
    sum += result.back();
  }
  for (double& probability : result)
    probability /= sum;
  return result;
}

// The first of `characters` and what follows its last, without whitespace around.
text::Offset trimmed(std::string_view text, text::Offset characters) {
  const auto is_space = [](char32_t c) {
    return text::unicode::properties(c).has(text::unicode::CharacterFlag::whitespace);
  };
  text::Offset result{characters.end, characters.end};
  std::uint32_t place = 0;
  for (std::size_t at = 0; at < text.size() && place < characters.end; ++place) {
    const text::DecodedCharacter c = text::decode_utf8(text, at);
    at += c.bytes;
    if (place < characters.begin || is_space(c.value)) continue;
    result.begin = std::min(result.begin, place);
    result.end = place + 1;
  }
  return result.begin < result.end && result.begin < characters.end
             ? text::Offset{result.begin, result.end}
             : text::Offset{};
}

}  // namespace

Result<QuestionReader> QuestionReader::create(const text::Tokenizer& tokenizer) {
  RTAI_TRY(text::Tokenizer whole, text::Tokenizer::deserialize(tokenizer.serialize()));
  const auto limit = static_cast<std::size_t>(tokenizer.settings().max_length);
  RTAI_TRY_VOID(whole.set_max_length(0));
  return QuestionReader(std::move(whole),
                        limit == 0 ? kWindowTokens : std::min(limit, kWindowTokens));
}

Result<std::vector<QuestionWindow>> QuestionReader::read(std::string_view question,
                                                         std::string_view text) const {
  const PairFrame frame(tokenizer_.settings().pair);
  const std::size_t question_tokens =
      tokenizer_.encode(question).ids.size() - frame_tokens(tokenizer_.settings().single);
  const std::size_t fixed = frame.before + question_tokens + frame.between + frame.after;
  if (fixed >= window_tokens_) {
    return invalid_input(fmt::format("the question has {} tokens, the model reads {} with the text",
                                     question_tokens, window_tokens_));
  }
  const std::size_t room = window_tokens_ - fixed;
  const std::size_t step = room - std::min(kOverlapTokens, room / 2);
  const Encoding whole = tokenizer_.encode_pair(question, text);
  const std::size_t head = fixed - frame.after;
  const std::size_t tail = whole.ids.size() - frame.after;
  std::vector<QuestionWindow> windows;
  for (std::size_t begin = head;; begin += step) {
    const std::size_t end = std::min(begin + room, tail);
    QuestionWindow window{.encoding = {}, .begin = head, .end = head + (end - begin)};
    append(whole, 0, head, window.encoding);
    append(whole, begin, end, window.encoding);
    append(whole, tail, whole.ids.size(), window.encoding);
    windows.push_back(std::move(window));
    if (end == tail) return windows;
  }
}

Result<FoundAnswer> find_answer(const QuestionWindow& window,
                                std::span<const SampleOutput> outputs) {
  RTAI_TRY(const SpanLogits logits, span_logits(outputs, window.encoding.ids.size()));
  if (window.begin == window.end) return FoundAnswer();
  const std::vector<double> start = probabilities(logits.start, window);
  const std::vector<double> end = probabilities(logits.end, window);
  std::size_t first = 0;
  std::size_t last = 0;
  double best = -1;
  for (std::size_t i = 0; i < start.size(); ++i) {
    for (std::size_t j = i; j < std::min(end.size(), i + kAnswerTokens); ++j) {
      if (start[i] * end[j] <= best) continue;
      best = start[i] * end[j];
      first = i;
      last = j;
    }
  }
  // Tokens are parts of words, answers are not.
  const Encoding& encoding = window.encoding;
  const auto word = [&](std::size_t token) { return encoding.words[window.begin + token]; };
  while (first > 0 && word(first - 1) == word(first))
    --first;
  while (last + 1 < end.size() && word(last + 1) == word(last))
    ++last;
  return FoundAnswer{.characters = {encoding.offsets[window.begin + first].begin,
                                    encoding.offsets[window.begin + last].end},
                     .score = static_cast<float>(best)};
}

Result<std::vector<Json>> answer_questions(const Model& model,
                                           const QuestionReader& reader,
                                           Predictor& predictor,
                                           std::span<const Sample> samples,
                                           bool logits) {
  std::vector<QuestionWindow> windows;
  std::vector<std::size_t> ends;  // [samples]: of their windows
  std::vector<Encoding> encodings;
  for (const Sample& sample : samples) {
    if (!sample.question) {
      return invalid_input(
          fmt::format("{}: expected a question: --question, or lines with \"question\" "
                      "and \"context\"",
                      model.name));
    }
    RTAI_TRY(std::vector<QuestionWindow> more, reader.read(*sample.question, sample.text));
    for (QuestionWindow& window : more) {
      encodings.push_back(window.encoding);
      windows.push_back(std::move(window));
    }
    ends.push_back(windows.size());
  }
  RTAI_TRY(const auto outputs, predictor.run(encodings, silent_log()));
  std::vector<Json> lines;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    FoundAnswer best;
    std::size_t best_window = i == 0 ? 0 : ends[i - 1];
    for (std::size_t w = best_window; w < ends[i]; ++w) {
      RTAI_TRY(const FoundAnswer found, find_answer(windows[w], outputs[w]));
      if (found.score <= best.score) continue;
      best = found;
      best_window = w;
    }
    best.characters = trimmed(samples[i].text, best.characters);
    Json line = {
        {"text", samples[i].text},
        {"question", *samples[i].question},
        {"answer", code_point_range(samples[i].text, best.characters.begin, best.characters.end)},
        {"start", best.characters.begin},
        {"end", best.characters.end},
        {"score", best.score}};
    if (logits) {
      line.update(logits_json(predictor.engine().program, windows[best_window].encoding,
                              outputs[best_window]));
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace rtai::tools
