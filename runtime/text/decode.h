// From logits to answers: classes, labelled words, spans.
#pragma once

#include "runtime/base/result.h"
#include "runtime/text/tokenizer.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::text {

/// What the outputs of a classifier mean; the names are those of `problem_type` in a config.json.
enum class Problem : std::uint8_t {
  single_label_classification,  // one class is right: scores are a softmax
  multi_label_classification,   // any number of classes are right: a sigmoid each
  regression,                   // the outputs are the scores
};

/// What a classifier's outputs mean if it is not one of many labels: a single output is a value,
/// several are classes.
constexpr Problem problem_of(std::size_t outputs) {
  return outputs == 1 ? Problem::regression : Problem::single_label_classification;
}

/// probabilities[i] = exp(logits[i]) / sum of exp(logits). The spans have one size and may be the
/// same. Of infinities the largest share the whole; a NaN makes all of them NaN.
void softmax(std::span<const float> logits, std::span<float> probabilities);

/// 1 / (1 + exp(-logit)), without overflow.
float sigmoid(float logit);

/// The class with the highest score, the first of equals, and the scores of all of them.
struct Classification {
  std::size_t label = 0;
  float score = 0;
  std::vector<float> scores;  // [labels]
};

/// Errors: invalid_input if there are no logits or one is NaN.
Result<Classification> classify(std::span<const float> logits, Problem problem);

/// A word of a text.
struct Word {
  Offset characters;  // code points
  Offset bytes;       // where it stands in the text's UTF-8

  std::string_view in(std::string_view text) const {
    return text.substr(bytes.begin, bytes.end - bytes.begin);
  }
};

/// The words that a user labels: what stands between whitespace, "Westbam's" and "Berlin." being
/// one each, since that is how data for token classification is split; and each Chinese character,
/// if the tokenizer separates them, since there is no whitespace between them.
std::vector<Word> split_words(std::string_view text, const TokenizerSettings& settings);

/// For each token the word of `words`, in ascending order, that it begins in; -1 for special ones.
std::vector<std::int32_t> words_of_tokens(const Encoding& encoding, std::span<const Word> words);

struct WordLabel {
  static constexpr std::int32_t kNone = -1;
  std::int32_t label = kNone;  // kNone: the word has no token: nothing but controls, or cut off
  float score = 0;
};

/// The label of a word is that of its first token, as in training.
///
/// Shapes: logits [tokens, labels]; words_of_tokens [tokens], which word each belongs to or -1;
///         -> [word_count].
/// Errors: invalid_input if the sizes do not fit each other, a word is out of range, or a logit of
///         a word's first token is NaN.
Result<std::vector<WordLabel>> label_words(std::span<const float> logits,
                                           std::span<const std::int32_t> words_of_tokens,
                                           std::size_t word_count,
                                           std::size_t label_count);

/// Words [begin, end) that together are one `label`, its B- or I- removed.
struct LabelledSpan {
  std::string_view label;
  std::size_t begin = 0;
  std::size_t end = 0;

  friend bool operator==(const LabelledSpan&, const LabelledSpan&) = default;
};

/// Spans in the manner of seqeval's default mode: B- begins one; I- continues one of its type, and
/// begins one after anything else; E- and S- end theirs. "O" and words without a label belong to
/// none. A label of another form is a type of its own, which runs as far as it is repeated. The
/// spans point into `names`.
///
/// Errors: invalid_input if a label has no name.
/// Source: seqeval 1.2, metrics/sequence_labeling.py, get_entities.
Result<std::vector<LabelledSpan>> find_spans(std::span<const WordLabel> words,
                                             std::span<const std::string> names);

}  // namespace rtai::text
