// Questions to texts of any length, and where their answers stand.
#include "tools/question_answering.h"

#include "tests/support/models.h"

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace rtai::tools {
namespace {

constexpr float kNever = -50;

/// Ids: [PAD] [UNK] [CLS] [SEP] [MASK], then words and letters.
text::Tokenizer make_tokenizer(std::int32_t max_length) {
  std::vector<std::string> pieces = {"[PAD]", "[UNK]", "[CLS]",  "[SEP]", "[MASK]",
                                     "where", "?",     "berlin", "##s",   "."};
  for (char c = 'a'; c <= 'z'; ++c) {
    pieces.emplace_back(1, c);
    pieces.push_back("##" + std::string(1, c));
  }
  auto tokenizer = text::Tokenizer::create(
      pieces, text::WordPieceSettings{.added_tokens = {}, .max_length = max_length});
  REQUIRE(tokenizer);
  return *std::move(tokenizer);
}

QuestionReader make_reader(std::int32_t max_length) {
  auto reader = QuestionReader::create(make_tokenizer(max_length));
  REQUIRE(reader);
  return *std::move(reader);
}

std::vector<QuestionWindow> windows_of(std::int32_t max_length, const std::string& text) {
  auto windows = make_reader(max_length).read("where?", text);
  REQUIRE(windows);
  return *std::move(windows);
}

/// Start and end logits that are `kNever` but at one token each.
std::vector<SampleOutput> outputs_of(const QuestionWindow& window,
                                     std::size_t start,
                                     std::size_t end) {
  const std::size_t tokens = window.encoding.ids.size();
  std::vector<SampleOutput> outputs(2, {.values = std::vector<float>(tokens, kNever),
                                        .rows = std::ssize(window.encoding.ids),
                                        .columns = 1});
  outputs[0].values[start] = 5;
  outputs[1].values[end] = 5;
  return outputs;
}

TEST_CASE("a text that fits is one window, as the pair is") {
  const auto windows = windows_of(64, "a b berlin c.");
  REQUIRE(windows.size() == 1);
  const text::Encoding pair = make_tokenizer(64).encode_pair("where?", "a b berlin c.");
  CHECK(windows[0].encoding.ids == pair.ids);
  CHECK(windows[0].encoding.segments == pair.segments);
  CHECK(windows[0].begin == 4);  // [CLS] where ? [SEP]
  CHECK(windows[0].end == pair.ids.size() - 1);
}

TEST_CASE("a long text is read in windows that overlap and leave nothing out") {
  std::string text;
  for (int i = 0; i < 300; ++i)
    text += std::string(1, static_cast<char>('a' + i % 26)) + " ";
  const auto windows = windows_of(45, text);  // 40 tokens of the text, 20 of them new
  REQUIRE(windows.size() == 14);
  for (std::size_t i = 0; i < windows.size(); ++i) {
    const QuestionWindow& window = windows[i];
    CHECK(window.encoding.ids.size() <= 45);
    CHECK(window.encoding.ids[0] == 2);
    CHECK(window.encoding.ids.back() == 3);
    CHECK(window.encoding.offsets[window.begin].begin == 40 * i);
  }
  CHECK(windows.back().encoding.offsets[windows.back().end - 1].end == 599);
}

TEST_CASE("windows have 384 tokens at most, 128 of them again") {
  const auto windows = windows_of(512, std::string(800, '.'));
  REQUIRE(windows.size() == 3);
  CHECK(windows[0].encoding.ids.size() == 384);
  CHECK(windows[1].encoding.offsets[windows[1].begin].begin == 384 - 5 - 128);
}

TEST_CASE("a question that leaves no room is refused") {
  const auto windows = make_reader(20).read("where where where where " + std::string(20, '?'), "a");
  REQUIRE_FALSE(windows);
  CHECK(windows.error().code() == ErrorCode::invalid_input);
}

TEST_CASE("a text of no tokens has no answer") {
  const auto windows = windows_of(64, " \t");
  REQUIRE(windows.size() == 1);
  const auto found = find_answer(windows[0], outputs_of(windows[0], 1, 2));
  REQUIRE(found);
  CHECK(found->characters == text::Offset{});
  CHECK(found->score == 0);
}

TEST_CASE("an answer is whole words between the best start and the best end") {
  const auto windows = windows_of(64, "a berlins b");  // berlin ##s are tokens 5 and 6
  for (const auto& [start, end] : {std::pair(5, 6), std::pair(6, 6), std::pair(5, 5)}) {
    const auto outputs =
        outputs_of(windows[0], static_cast<std::size_t>(start), static_cast<std::size_t>(end));
    const auto found = find_answer(windows[0], outputs);
    REQUIRE(found);
    CHECK(found->characters == text::Offset{2, 9});
    CHECK(found->score == Approx(1).margin(1e-6));
  }
}

TEST_CASE(
    "an answer neither ends before it begins, nor has more than 15 tokens, nor is a question") {
  std::string letters;
  for (int i = 0; i < 20; ++i)
    letters += "a ";
  const auto windows = windows_of(64, letters);
  auto outputs = outputs_of(windows[0], 10, 6);
  outputs[1].values[12] = 4;
  auto found = find_answer(windows[0], outputs);
  REQUIRE(found);
  CHECK(found->characters == text::Offset{12, 17});

  outputs = outputs_of(windows[0], 4, 4 + 15);
  outputs[1].values[4 + 14] = 1;
  found = find_answer(windows[0], outputs);
  REQUIRE(found);
  CHECK(found->characters == text::Offset{0, 29});

  outputs = outputs_of(windows[0], 1, 2);  // where ?
  outputs[0].values[7] = 0;
  outputs[1].values[7] = 0;
  found = find_answer(windows[0], outputs);
  REQUIRE(found);
  CHECK(found->characters == text::Offset{6, 7});
}

TEST_CASE("the first token takes its share of the probability") {
  const auto windows = windows_of(64, "a b");
  auto outputs = outputs_of(windows[0], 4, 4);
  outputs[0].values[0] = 5;
  const auto found = find_answer(windows[0], outputs);
  REQUIRE(found);
  CHECK(found->score == Approx(0.5));
}

TEST_CASE("start and end may be columns of one output; other shapes and no numbers are refused") {
  const auto windows = windows_of(64, "a b");
  SampleOutput both{.values = std::vector<float>(14, kNever), .rows = 7, .columns = 2};
  both.values[2 * 5] = 3;
  both.values[2 * 5 + 1] = 3;
  auto found = find_answer(windows[0], {&both, 1});
  REQUIRE(found);
  CHECK(found->characters == text::Offset{2, 3});
  both.values[3] = std::numeric_limits<float>::quiet_NaN();
  found = find_answer(windows[0], {&both, 1});
  REQUIRE_FALSE(found);
  CHECK(found.error().code() == ErrorCode::invalid_input);
  both.columns = 7;
  both.rows = 2;
  found = find_answer(windows[0], {&both, 1});
  REQUIRE_FALSE(found);
  CHECK(found.error().code() == ErrorCode::unsupported);
}

TEST_CASE("a model answers a question to a text longer than it reads at once") {
  Model model;
  model.name = "tiny";
  model.graph = testing::make_model({.labels = 2});
  model.tokenizer = make_tokenizer(40);
  model.task = Task::question_answering;
  auto predictor = make_predictor(model, 1, "");
  REQUIRE(predictor);
  const auto reader = QuestionReader::create(*model.tokenizer);
  REQUIRE(reader);
  Sample sample;
  for (int i = 0; i < 30; ++i)
    sample.text += "\xc3\xa9" + std::string(1, static_cast<char>('a' + i % 26)) + " berlins. ";
  auto lines = answer_questions(model, *reader, *predictor, {&sample, 1}, true);
  REQUIRE_FALSE(lines);  // no question
  CHECK(lines.error().code() == ErrorCode::invalid_input);

  sample.question = "where?";
  lines = answer_questions(model, *reader, *predictor, {&sample, 1}, true);
  REQUIRE(lines);
  const Json& line = lines->front();
  const auto start = line["start"].get<std::uint32_t>();
  const auto end = line["end"].get<std::uint32_t>();
  CHECK(start < end);
  CHECK(line["answer"] == code_point_range(sample.text, start, end));
  CHECK(line["score"].get<float>() > 0);
  CHECK(line["logits"].size() == line["input_ids"].size());

  // No window holds a better one.
  const auto windows = reader->read(*sample.question, sample.text);
  REQUIRE(windows->size() > 3);
  for (const QuestionWindow& window : *windows) {
    const auto outputs = predictor->run({&window.encoding, 1}, silent_log());
    REQUIRE(outputs);
    const auto found = find_answer(window, outputs->front());
    REQUIRE(found);
    CHECK(found->score <= line["score"].get<float>());
  }
}

}  // namespace
}  // namespace rtai::tools
