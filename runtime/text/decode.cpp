#include "runtime/text/decode.h"

#include "runtime/text/unicode_tables.h"
#include "runtime/text/utf8.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace rtai::text {
namespace {

using unicode::CharacterFlag;

Result<std::size_t> index_of_largest(std::span<const float> logits) {
  if (logits.empty()) return invalid_input("expected at least one logit, found none");
  if (std::any_of(logits.begin(), logits.end(), [](float logit) { return std::isnan(logit); })) {
    return invalid_input("a logit is not a number");
  }
  const auto largest = std::max_element(logits.begin(), logits.end());
  return static_cast<std::size_t>(largest - logits.begin());
}

// What a character is to the words of a text.
enum class Role { inside, alone, between, nothing };

struct WordRules {
  bool clean_text;
  bool separates_chinese;
};
Role role_of(char32_t c, WordRules rules) {
  const unicode::CharacterProperties properties = unicode::properties(c);
  if (rules.clean_text && properties.has(CharacterFlag::removed)) return Role::nothing;
  if (properties.has(CharacterFlag::whitespace)) return Role::between;
  const bool alone = rules.separates_chinese && properties.has(CharacterFlag::chinese);
  return alone ? Role::alone : Role::inside;
}

// A label taken apart: B-PER is B and PER. Without a type it is "_", as in seqeval.
struct Tag {
  char prefix;  // O: belongs to nothing; else B, I, E or S
  std::string_view type;
};

Tag tag_of(std::string_view name) {
  if (name == "O") return {'O', {}};
  const bool has_prefix = !name.empty() && std::string_view("BIES").find(name[0]) != name.npos;
  if (has_prefix && name.size() == 1) return {name[0], "_"};
  if (has_prefix && name[1] == '-') return {name[0], name.size() == 2 ? "_" : name.substr(2)};
  return {'I', name};
}

}  // namespace

void softmax(std::span<const float> logits, std::span<float> probabilities) {
  if (logits.empty()) return;
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    // Infinity less infinity is no number, so infinities are compared instead.
    const bool is_largest = logits[i] == largest;
    probabilities[i] = is_largest ? 1.0f : std::exp(logits[i] - largest);
    sum += static_cast<double>(probabilities[i]);
  }
  for (float& probability : probabilities.first(logits.size())) {
    probability = static_cast<float>(static_cast<double>(probability) / sum);
  }
}

float sigmoid(float logit) {
  if (logit >= 0) return 1 / (1 + std::exp(-logit));
  const float small = std::exp(logit);
  return small / (1 + small);
}

Result<Classification> classify(std::span<const float> logits, Problem problem) {
  Classification answer;
  RTAI_TRY(answer.label, index_of_largest(logits));
  answer.scores.assign(logits.begin(), logits.end());
  switch (problem) {
    case Problem::single_label_classification:
      softmax(logits, answer.scores);
      break;
    case Problem::multi_label_classification:
      std::transform(logits.begin(), logits.end(), answer.scores.begin(), sigmoid);
      break;
    case Problem::regression:
      break;
  }
  answer.score = answer.scores[answer.label];
  return answer;
}

std::vector<Word> split_words(std::string_view text, const TokenizerSettings& settings) {
  const WordRules rules{
      .clean_text = settings.normalizes(NormalizerStep::Kind::clean_text),
      .separates_chinese = settings.normalizes(NormalizerStep::Kind::separate_chinese)};
  text = text.substr(0, std::numeric_limits<std::uint32_t>::max() - 1);
  std::vector<Word> words;
  bool inside = false;  // of a word that may go on
  std::uint32_t character = 0;
  for (std::size_t position = 0; position < text.size(); ++character) {
    const DecodedCharacter c = decode_utf8(text, position);
    const auto begin = static_cast<std::uint32_t>(position);
    const Word here{{character, character + 1}, {begin, begin + c.bytes}};
    position += c.bytes;
    const Role role = role_of(c.value, rules);
    if (role == Role::nothing) continue;
    if (role == Role::inside && inside) {
      words.back().characters.end = here.characters.end;
      words.back().bytes.end = here.bytes.end;
    } else if (role != Role::between) {
      words.push_back(here);
    }
    inside = role == Role::inside;
  }
  return words;
}

std::vector<std::int32_t> words_of_tokens(const Encoding& encoding, std::span<const Word> words) {
  std::vector<std::int32_t> result;
  result.reserve(encoding.offsets.size());
  for (const Offset token : encoding.offsets) {
    // The first word that ends after the token begins. A token that took whitespace along begins
    // before its word.
    const auto word = std::partition_point(words.begin(), words.end(), [&](const Word& candidate) {
      return candidate.characters.end <= token.begin;
    });
    const bool inside = word != words.end() && word->characters.begin < token.end;
    result.push_back(inside ? static_cast<std::int32_t>(word - words.begin()) : -1);
  }
  return result;
}

Result<std::vector<WordLabel>> label_words(std::span<const float> logits,
                                           std::span<const std::int32_t> words_of_tokens,
                                           std::size_t word_count,
                                           std::size_t label_count) {
  const std::size_t tokens = words_of_tokens.size();
  if (label_count == 0 || logits.size() % label_count != 0 ||
      logits.size() / label_count != tokens) {
    return invalid_input("expected logits for " + std::to_string(tokens) + " tokens and " +
                         std::to_string(label_count) + " labels, found " +
                         std::to_string(logits.size()));
  }
  std::vector<WordLabel> labels(word_count);
  for (std::size_t token = 0; token < tokens; ++token) {
    if (words_of_tokens[token] < 0) continue;
    const auto word = static_cast<std::size_t>(words_of_tokens[token]);
    if (word >= word_count) {
      return invalid_input("expected words up to " + std::to_string(word_count) + ", found " +
                           std::to_string(word));
    }
    if (labels[word].label != WordLabel::kNone) continue;
    RTAI_TRY(const Classification answer, classify(logits.subspan(token * label_count, label_count),
                                                   Problem::single_label_classification));
    labels[word] = {static_cast<std::int32_t>(answer.label), answer.score};
  }
  return labels;
}

Result<std::vector<LabelledSpan>> find_spans(std::span<const WordLabel> words,
                                             std::span<const std::string> names) {
  std::vector<LabelledSpan> spans;
  bool open = false;  // whether the last span may go on
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::int32_t label = words[i].label;
    if (label == WordLabel::kNone) {
      open = false;
      continue;
    }
    if (label < 0 || static_cast<std::size_t>(label) >= names.size()) {
      return invalid_input("label " + std::to_string(label) + " has no name: there are " +
                           std::to_string(names.size()));
    }
    const Tag tag = tag_of(names[static_cast<std::size_t>(label)]);
    const bool continues =
        open && (tag.prefix == 'I' || tag.prefix == 'E') && spans.back().label == tag.type;
    if (continues) {
      spans.back().end = i + 1;
    } else if (tag.prefix != 'O') {
      spans.push_back({tag.type, i, i + 1});
    }
    open = tag.prefix == 'B' || tag.prefix == 'I';
  }
  return spans;
}

}  // namespace rtai::text
