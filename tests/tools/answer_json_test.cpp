#include "tools/answer_json.h"

#include <catch2/catch.hpp>

#include <string>
#include <vector>

namespace rtai::tools {
namespace {

Json scores_of(const std::vector<std::string>& labels, std::vector<float> logits) {
  AnswerModel model;
  name_classes(model, labels);
  model.task = Task::sequence_classification;
  const auto classes = static_cast<Index>(logits.size());
  const std::vector<SampleOutput> outputs = {
      {.values = std::move(logits), .rows = 1, .columns = classes}};
  return answer_json(model, Sample("text"), {}, outputs).value()["scores"];
}

std::vector<std::string> keys_of(const Json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items())
    keys.push_back(key);
  return keys;
}

TEST_CASE("an answer names the score of every class in the order of the classes") {
  const Json scores = scores_of({"b", "a"}, {0, 0, 0, 0});
  CHECK(keys_of(scores) == std::vector<std::string>{"b", "a", "LABEL_2", "LABEL_3"});
  CHECK(scores["a"] == 0.25f);
}

TEST_CASE("of two classes of one name an answer has the score of the second") {
  const Json scores = scores_of({"same", "other", "same"}, {0, 0, 10});
  CHECK(keys_of(scores) == std::vector<std::string>{"same", "other"});
  CHECK(scores["same"].get<float>() > 0.99f);
}

TEST_CASE("an answer of fifty thousand classes has them all") {
  const Json scores = scores_of({}, std::vector<float>(50'000));
  CHECK(scores.size() == 50'000);
  CHECK(scores.back() == scores.front());
}

TEST_CASE("a line of text says what its document does") {
  const engine::Program program;
  const auto check = [&](const std::vector<std::string>& labels, const Json& more) {
    AnswerModel model;
    name_classes(model, labels);
    model.task = Task::sequence_classification;
    const std::vector<SampleOutput> outputs = {
        {.values = {-40, 0.25f, 3, 1e4f}, .rows = 1, .columns = 4}};
    Sample sample("\"one\"\n\xc3\xa4");
    sample.text_b = "two";
    Json expected = answer_json(model, sample, {}, outputs).value();
    expected.update(more);
    const std::string text = line_text(model, program, sample, {}, outputs, false, more).value();
    CHECK(text == one_line(expected));
  };
  check({"a", "b\"\\", "\xc3\xa4", "d"}, Json::object());
  check({"a", "b", "c", "d"}, {{"truncated", true}, {"engine", "full"}});
  check({"a", "a", "c", "d"}, {{"engine", "full"}});
  check({"a"}, Json::object());
  check({"a", "b", "c", "\xff"}, Json::object());
}

TEST_CASE("the best scores are in their order, of equals the first") {
  Json line = {{"label", "c"}, {"scores", {{"a", 0.25}, {"b", 0.1}, {"c", 0.4}, {"d", 0.25}}}};
  REQUIRE(keep_best_scores(line, 3));
  CHECK(keys_of(line["scores"]) == std::vector<std::string>{"c", "a", "d"});
  CHECK(scores_text(line) == "c (40.0 %), a (25.0 %), d (25.0 %)\n");
  REQUIRE(keep_best_scores(line, 10));
  CHECK(line["scores"].size() == 3);
  CHECK(line["label"] == "c");
}

TEST_CASE("an answer without scores has no best ones") {
  for (Json line : {Json{{"spans", Json::array()}}, Json{{"scores", {1, 2}}},
                    Json{{"scores", {{"a", nullptr}}}}}) {
    const auto kept = keep_best_scores(line, 1);
    REQUIRE_FALSE(kept);
    CHECK(kept.error().code() == ErrorCode::invalid_input);
  }
}

}  // namespace
}  // namespace rtai::tools
