#include "runtime/text/decode.h"

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>

namespace rtai::text {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr std::int32_t kNone = WordLabel::kNone;

std::vector<float> softmax_of(std::vector<float> values) {
  softmax(values, values);
  return values;
}

TEST_CASE("softmax shares out the whole, whatever the size of the logits") {
  const std::vector<float> shares = softmax_of({1, 2, 3});
  CHECK(shares[0] == Approx(0.09003057));
  CHECK(shares[1] == Approx(0.24472847));
  CHECK(shares[2] == Approx(0.66524096));
  CHECK(softmax_of({1000, 1000}) == std::vector<float>{0.5f, 0.5f});
  CHECK(softmax_of({-1e30f, 1e30f}) == std::vector<float>{0, 1});
  CHECK(softmax_of({7}) == std::vector<float>{1});
  CHECK(softmax_of({}).empty());
}

TEST_CASE("softmax of infinities is shared by the largest, NaN spreads") {
  CHECK(softmax_of({kInfinity, 0, kInfinity}) == std::vector<float>{0.5f, 0, 0.5f});
  CHECK(softmax_of({-kInfinity, 0}) == std::vector<float>{0, 1});
  CHECK(softmax_of({-kInfinity, -kInfinity}) == std::vector<float>{0.5f, 0.5f});
  for (const float share : softmax_of({0, kNaN, 1}))
    CHECK(std::isnan(share));
}

TEST_CASE("sigmoid reaches its ends without overflow") {
  CHECK(sigmoid(0) == 0.5f);
  CHECK(sigmoid(2) == Approx(0.8807971));
  CHECK(sigmoid(-2) == Approx(0.1192029));
  CHECK(sigmoid(1e30f) == 1);
  CHECK(sigmoid(-1e30f) == 0);
}

TEST_CASE("a text is classified by its largest logit, the first of equals") {
  const std::vector<float> logits = {0, 2, 2};
  const auto single = classify(logits, Problem::single_label_classification);
  REQUIRE(single);
  CHECK(single->label == 1);
  CHECK(single->score == Approx(0.46831053));
  CHECK(single->scores.size() == 3);

  const auto multi = classify(logits, Problem::multi_label_classification);
  REQUIRE(multi);
  CHECK(multi->label == 1);
  CHECK(multi->scores[0] == 0.5f);
  CHECK(multi->scores[2] == Approx(0.8807971));

  CHECK(classify(logits, Problem::regression)->scores == logits);
}

TEST_CASE("a single output is a value, several are classes") {
  CHECK(problem_of(1) == Problem::regression);
  CHECK(problem_of(2) == Problem::single_label_classification);
}

TEST_CASE("logits that mean nothing are refused") {
  CHECK(classify({}, Problem::regression).error().message() ==
        "expected at least one logit, found none");
  const std::vector<float> logits = {1, kNaN};
  CHECK(classify(logits, Problem::single_label_classification).error().message() ==
        "a logit is not a number");
}

TokenizerSettings bert(bool clean_text = true, bool handle_chinese_chars = true) {
  return {.normalizer = bert_normalizer(clean_text, handle_chinese_chars, true, true)};
}

std::vector<std::string> words_in(std::string_view text,
                                  const TokenizerSettings& settings = bert()) {
  std::vector<std::string> words;
  for (const Word& word : split_words(text, settings))
    words.emplace_back(word.in(text));
  return words;
}

TEST_CASE("words stand between whitespace, and Chinese characters alone") {
  using Words = std::vector<std::string>;
  CHECK(words_in("play Westbam's  song\u00a0now.") == Words{"play", "Westbam's", "song", "now."});
  CHECK(words_in("\u6211\u7231Berlin \u4eac") == Words{"\u6211", "\u7231", "Berlin", "\u4eac"});
  CHECK(words_in(" \t\n").empty());
  CHECK(words_in("").empty());
  CHECK(words_in("\u6211\u7231Berlin", bert(true, false)) == Words{"\u6211\u7231Berlin"});
}

TEST_CASE("controls neither make nor split words") {
  using Words = std::vector<std::string>;
  CHECK(words_in("\u200ba\u200bb\u200b \u200b c") == Words{"a\u200bb", "c"});
  CHECK(words_in("a\x0b"
                 "b") == Words{"a\x0b"
                               "b"});  // BERT drops this whitespace, too
  CHECK(words_in("a\x0b"
                 "b",
                 bert(false)) == Words{"a", "b"});
}

TEST_CASE("words know where they are in code points and in bytes") {
  const std::vector<Word> words = split_words("\u00e9a \xff\U0001f600", bert());
  REQUIRE(words.size() == 2);
  CHECK(words[0].characters == Offset{0, 2});
  CHECK(words[0].bytes == Offset{0, 3});
  CHECK(words[1].characters == Offset{4, 5});
  CHECK(words[1].bytes == Offset{5, 9});
}

TEST_CASE("tokens belong to the word they begin in") {
  const std::vector<std::string> pieces = {"[CLS]", "[SEP]", "[UNK]", "a", "'", "##b", "c"};
  WordPieceSettings settings;
  settings.added_tokens = {{.content = "[M]", .id = 7, .lstrip = true}};
  const auto tokenizer = Tokenizer::create(pieces, settings);
  REQUIRE(tokenizer);
  const std::string text = "ab'c \u200b a'  [M]c";
  const Encoding encoding = tokenizer->encode(text);
  CHECK(words_of_tokens(encoding, split_words(text, tokenizer->settings())) ==
        std::vector<std::int32_t>{-1, 0, 0, 0, 0, 1, 1, 2, 2, -1});
  CHECK(words_of_tokens(encoding, {}) == std::vector<std::int32_t>(10, -1));
}

TEST_CASE("a word is labelled by its first token") {
  // [CLS], two tokens of word 0, one of word 2, [SEP]; two labels.
  const std::vector<float> logits = {9, 0, 0, 2, 5, 0, 1, 0, 0, 9};
  const std::vector<std::int32_t> words = {-1, 0, 0, 2, -1};
  const auto labels = label_words(logits, words, 4, 2);
  REQUIRE(labels);
  REQUIRE(labels->size() == 4);
  CHECK((*labels)[0].label == 1);
  CHECK((*labels)[0].score == Approx(0.8807971));
  CHECK((*labels)[1].label == kNone);
  CHECK((*labels)[2].label == 0);
  CHECK((*labels)[3].label == kNone);
}

TEST_CASE("labels that do not fit the words are refused") {
  const std::vector<float> logits = {1, 0, 0, 1};
  const std::vector<std::int32_t> words = {0, 1};
  CHECK(label_words(logits, words, 2, 2));
  CHECK(label_words(logits, words, 2, 3).error().message() ==
        "expected logits for 2 tokens and 3 labels, found 4");
  CHECK_FALSE(label_words(logits, words, 2, 0));
  CHECK(label_words(logits, words, 1, 2).error().message() == "expected words up to 1, found 1");
  const std::vector<float> broken = {1, 0, kNaN, 1};
  CHECK_FALSE(label_words(broken, words, 2, 2));
}

const std::vector<std::string> kNames = {"O",     "B-PER", "I-PER", "B-LOC", "I-LOC",
                                         "E-PER", "S-PER", "NOUN",  "B",     "I"};

std::vector<LabelledSpan> spans_of(const std::vector<std::string>& labels) {
  std::vector<WordLabel> words;
  for (const std::string& label : labels) {
    const auto name = std::find(kNames.begin(), kNames.end(), label);
    words.push_back(
        {name == kNames.end() ? kNone : static_cast<std::int32_t>(name - kNames.begin())});
  }
  const auto spans = find_spans(words, kNames);
  REQUIRE(spans);
  return *spans;
}

TEST_CASE("spans are those of seqeval") {
  using Spans = std::vector<LabelledSpan>;
  CHECK(spans_of({"B-PER", "I-PER", "O", "B-LOC"}) == Spans{{"PER", 0, 2}, {"LOC", 3, 4}});
  CHECK(spans_of({"B-PER", "B-PER", "I-PER"}) == Spans{{"PER", 0, 1}, {"PER", 1, 3}});
  CHECK(spans_of({"O", "I-PER", "I-PER"}) == Spans{{"PER", 1, 3}});  // I- after O begins one
  CHECK(spans_of({"B-PER", "I-LOC", "I-LOC"}) == Spans{{"PER", 0, 1}, {"LOC", 1, 3}});
  CHECK(spans_of({"B-PER", "O", "I-PER"}) == Spans{{"PER", 0, 1}, {"PER", 2, 3}});
  CHECK(spans_of({"B-PER", "E-PER", "I-PER"}) == Spans{{"PER", 0, 2}, {"PER", 2, 3}});
  CHECK(spans_of({"S-PER", "S-PER", "E-PER"}) ==
        Spans{{"PER", 0, 1}, {"PER", 1, 2}, {"PER", 2, 3}});
  CHECK(spans_of({"B", "I", "B"}) == Spans{{"_", 0, 2}, {"_", 2, 3}});
  CHECK(spans_of({"O", "O"}).empty());
  CHECK(spans_of({}).empty());
}

TEST_CASE("a word without a label ends a span, and other labels run as far as they repeat") {
  using Spans = std::vector<LabelledSpan>;
  CHECK(spans_of({"B-PER", "none", "I-PER"}) == Spans{{"PER", 0, 1}, {"PER", 2, 3}});
  CHECK(spans_of({"NOUN", "NOUN", "B-PER", "NOUN"}) ==
        Spans{{"NOUN", 0, 2}, {"PER", 2, 3}, {"NOUN", 3, 4}});
}

TEST_CASE("a label without a name is refused") {
  const std::vector<WordLabel> words = {{12}};
  CHECK(find_spans(words, kNames).error().message() == "label 12 has no name: there are 10");
}

}  // namespace
}  // namespace rtai::text
