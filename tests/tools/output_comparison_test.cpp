// Figures of two models' outputs, and which outputs correspond.
#include "tools/output_comparison.h"

#include "tests/support/temp_folder.h"
#include "tools/text_data.h"

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace rtai::tools {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

using Outputs = std::vector<std::vector<SampleOutput>>;  // [samples][outputs]

/// Samples of one output of one row.
Outputs rows_of(const std::vector<std::vector<float>>& rows) {
  Outputs samples;
  for (const std::vector<float>& row : rows)
    samples.push_back({{.values = row, .rows = 1, .columns = std::ssize(row)}});
  return samples;
}

OutputDifference compare_rows(const std::vector<std::vector<float>>& first,
                              const std::vector<std::vector<float>>& second,
                              Classes classes = Classes::none) {
  const SharedOutput output{.name = "out", .classes = classes};
  return compare_output(output, rows_of(first), rows_of(second));
}

struct NamedShape {
  std::string name;
  engine::Rows rows;
  Index columns;
};

engine::Program program_of(const std::vector<NamedShape>& outputs) {
  engine::Program program;
  for (const NamedShape& output : outputs) {
    program.outputs.push_back(
        {output.name, static_cast<engine::ValueIndex>(program.values.size())});
    program.values.push_back({.rows = output.rows, .dtype = DType::f32, .columns = output.columns});
  }
  return program;
}

AnswerModel model_for(Task task) {
  AnswerModel model;
  model.task = task;
  return model;
}

constexpr auto kTokens = engine::Rows::tokens;
constexpr auto kSequences = engine::Rows::sequences;

TEST_CASE("the errors of an output are absolute, and relative to no less than 1 % of the range") {
  const OutputDifference d = compare_rows({{-50, 50}, {0, 25}}, {{-50, 51}, {0.5f, 25}});
  CHECK(d.range == 100);
  CHECK(d.max_error == 1);
  CHECK(d.mean_error == Approx(1.5 / 4));
  CHECK(d.max_relative_error == Approx(0.5));  // of the zero, which counts as 1
  CHECK(d.samples[0].max_error == 1);
  CHECK(d.samples[1].max_error == 0.5);
  const double mean = 25.0 / 4;
  const double variance = 50 * 50 + 50 * 50 + 25 * 25 - 4 * mean * mean;
  CHECK(d.nmse == Approx(1.25 / variance));
  CHECK(d.cosine == Approx(1).margin(1e-3));
  CHECK_FALSE(d.kl);
  CHECK_FALSE(d.max_kl);
}

TEST_CASE("the nmse of models with one value a text is over all texts") {
  CHECK(compare_rows({{1}, {3}}, {{1}, {4}}).nmse == Approx(0.5));
}

TEST_CASE("outputs that are the same do not differ, whatever they hold") {
  const std::vector<std::vector<float>> rows = {{0, 0}, {-3, kInfinity}};
  const OutputDifference d = compare_rows(rows, rows);
  CHECK(d.max_error == 0);
  CHECK(d.mean_error == 0);
  CHECK(d.max_relative_error == 0);
  CHECK(compare_rows({{1, 2}}, {{1, 2}}, Classes::columns).max_kl == 0.0);
}

TEST_CASE("any error of an output that is always zero is infinitely large beside it") {
  CHECK(std::isinf(compare_rows({{0}}, {{1e-6f}}).max_relative_error));
}

TEST_CASE("a value that is no number is the worst of all") {
  const OutputDifference d =
      compare_rows({{1, 2}, {1, 2}, {1, 2}}, {{1, 9}, {kNaN, 2}, {1, 2}}, Classes::columns);
  for (const double figure : {d.max_error, d.mean_error, d.max_relative_error, d.nmse, d.cosine,
                              d.kl.value(), d.max_kl.value()})
    CHECK(std::isnan(figure));
  const auto worst = worst_samples({&d, 1}, 2);
  REQUIRE(worst.size() == 2);
  CHECK(worst[0].sample == 1);
  CHECK(worst[1].sample == 0);
}

TEST_CASE("the divergence of classes is that of the softmax of each row") {
  const auto log = [](double p) { return static_cast<float>(std::log(p)); };
  // KL((1/2, 1/2) || (1/4, 3/4)) = ln(2 / sqrt(3)), and a row that is moved is the same.
  const OutputDifference d = compare_rows({{log(0.5), log(0.5)}, {7, 7}},
                                          {{log(0.25), log(0.75)}, {3, 3}}, Classes::columns);
  const double one = std::log(2 / std::sqrt(3.0));
  CHECK(d.max_kl.value() == Approx(one));
  CHECK(d.kl.value() == Approx(one / 2));
}

TEST_CASE("where an answer begins is a distribution over the tokens") {
  const SharedOutput output{.name = "start_logits", .classes = Classes::rows};
  const auto tokens = [](std::vector<float> values) {
    return Outputs{{{.values = std::move(values), .rows = 2, .columns = 1}}};
  };
  const float third = std::log(3.0f);
  const OutputDifference d = compare_output(output, tokens({0, 0}), tokens({0, third}));
  CHECK(d.kl.value() == Approx(std::log(2 / std::sqrt(3.0))));
}

TEST_CASE("outputs belong together by name, else by shape in their order") {
  const AnswerModel model = model_for(Task::unknown);
  const auto first = program_of({{"hidden", kTokens, 8}, {"pooled", kSequences, 8}});
  const auto turned = program_of({{"pooled", kSequences, 8}, {"hidden", kTokens, 8}});
  auto shared = shared_outputs(model, first, turned);
  REQUIRE(shared);
  REQUIRE(shared->size() == 2);
  CHECK((*shared)[0].name == "hidden");
  CHECK((*shared)[0].second == 1);
  CHECK((*shared)[1].second == 0);

  const auto renamed = program_of({{"1", kTokens, 8}, {"2", kTokens, 8}, {"3", kSequences, 8}});
  shared = shared_outputs(model, first, renamed);
  REQUIRE(shared);
  REQUIRE(shared->size() == 2);
  CHECK((*shared)[0].second == 0);
  CHECK((*shared)[1].second == 2);
}

TEST_CASE("models without an output in common, or with one of two shapes, are refused") {
  const AnswerModel model = model_for(Task::unknown);
  const auto first = program_of({{"hidden", kTokens, 8}});
  for (const auto& [other, part] :
       {std::pair(program_of({{"hidden", kTokens, 4}}), "'hidden': expected [tokens, 8]"),
        std::pair(program_of({{"pooled", kSequences, 8}}), "the first gives hidden")}) {
    const auto shared = shared_outputs(model, first, other);
    REQUIRE_FALSE(shared);
    CHECK(shared.error().code() == ErrorCode::invalid_input);
    CHECK_THAT(shared.error().message(), Catch::Contains(part));
  }
}

TEST_CASE("labels and places of answers are distributions, embeddings and values are none") {
  const auto classes = [](const AnswerModel& model, const std::vector<NamedShape>& outputs) {
    const engine::Program program = program_of(outputs);
    std::vector<Classes> all;
    for (const SharedOutput& output : shared_outputs(model, program, program).value())
      all.push_back(output.classes);
    return all;
  };
  using All = std::vector<Classes>;
  AnswerModel model = model_for(Task::sequence_classification);
  CHECK(classes(model, {{"logits", kSequences, 3}, {"hidden", kTokens, 8}}) ==
        All{Classes::columns, Classes::none});
  CHECK(classes(model, {{"score", kSequences, 1}}) == All{Classes::none});
  model.multi_label = true;
  CHECK(classes(model, {{"logits", kSequences, 3}}) == All{Classes::none});
  CHECK(classes(model_for(Task::token_classification), {{"logits", kTokens, 3}}) ==
        All{Classes::columns});
  CHECK(
      classes(model_for(Task::question_answering),
              {{"start_logits", kTokens, 1}, {"end_logits", kTokens, 1}, {"other", kTokens, 8}}) ==
      All{Classes::rows, Classes::rows, Classes::none});
  CHECK(classes(model_for(Task::sentence_embedding), {{"embedding", kSequences, 8}}) ==
        All{Classes::none});
}

TEST_CASE("the worst samples are those with the largest share of their output's range") {
  OutputDifference wide{.name = "wide", .range = 100, .samples = {{5, 1}, {10, 1}, {0, 1}}};
  OutputDifference narrow{.name = "narrow", .range = 1, .samples = {{0.2, 1}, {0, 1}, {0, 1}}};
  const std::vector<OutputDifference> outputs = {wide, narrow};
  const auto worst = worst_samples(outputs, 5);
  REQUIRE(worst.size() == 3);
  CHECK(worst[0].sample == 0);
  CHECK(worst[0].output == 1);
  CHECK(worst[1].sample == 1);
  CHECK(worst[1].output == 0);
  CHECK(worst[2].sample == 2);
  CHECK(worst_samples(outputs, 1).size() == 1);
}

TEST_CASE("samples of all kinds are read again as they were written") {
  const testing::TempFolder folder;
  const auto path = folder.path() / "samples.jsonl";
  const std::vector<std::string> lines = {
      R"({"text":"a \"b\"","label":"yes"})", R"({"text_a":"a","text_b":"b","score":0.5})",
      R"({"tokens":["a","b"],"tags":["O","B-X"]})", R"({"question":"a?","context":"b"})",
      R"({"input_ids":[1,2],"token_type_ids":[0,1]})"};
  std::vector<Sample> samples;
  for (const std::string& line : lines)
    samples.push_back(parse_sample(std::string_view(line)).value());
  REQUIRE(write_samples(samples, path));
  const auto again = read_samples(path);
  REQUIRE(again);
  REQUIRE(again->size() == samples.size());
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const Sample &a = samples[i], &b = (*again)[i];
    CHECK(a.text == b.text);
    CHECK(a.text_b == b.text_b);
    CHECK(a.label == b.label);
    CHECK(a.score == b.score);
    CHECK(a.words == b.words);
    CHECK(a.tags == b.tags);
    CHECK(a.question == b.question);
    CHECK(a.ids == b.ids);
    CHECK(a.segments == b.segments);
  }
}

}  // namespace
}  // namespace rtai::tools
