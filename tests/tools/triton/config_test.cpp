#include "tools/triton/config.h"

#include <catch2/catch.hpp>

namespace rtai::triton {
namespace {

const Tensors kClassifier = {
    .inputs = {{"text", "BYTES", {-1}}, {"input_ids", "INT64", {-1, -1}}},
    .outputs = {{"logits", "FP32", {-1, 3}},
                {"label", "BYTES", {-1}},
                {"score", "FP32", {-1}},
                {"answer", "BYTES", {-1}}},
};
const Tensors kLabeller = {
    .inputs = {{"text", "BYTES", {-1}}, {"input_ids", "INT64", {-1, -1}}},
    .outputs = {{"logits", "FP32", {-1, -1, 3}}, {"answer", "BYTES", {-1}}},
};

Json parameter(const char* name, const char* value) {
  return {{"parameters", {{name, {{"string_value", value}}}}}};
}

std::string message_of(const Json& config) {
  const Result<void> checked = check_config(config, kClassifier);
  return checked ? "" : checked.error().message();
}

}  // namespace

TEST_CASE("an empty configuration completes itself for the engine and then fits it") {
  const Json config = complete_config(Json::object(), kClassifier);
  CHECK(config["input"][0] == Json::parse(R"({"name": "text", "data_type": "TYPE_STRING",
                                              "dims": [1], "optional": true,
                                              "allow_ragged_batch": true})"));
  CHECK(config["input"][1]["dims"] == Json::parse("[-1]"));
  CHECK(output_names(config) == std::vector<std::string>{"logits", "label", "score"});
  CHECK(config["output"][0]["dims"] == Json::parse("[3]"));
  CHECK(config["max_batch_size"] == 256);
  CHECK(config["dynamic_batching"]["max_queue_delay_microseconds"] == 0);
  CHECK(message_of(config).empty());
}

TEST_CASE("a model that labels words is completed with its answers in words") {
  const Json config = complete_config(Json::object(), kLabeller);
  CHECK(output_names(config) == std::vector<std::string>{"logits", "answer"});
  CHECK(config["output"][0]["dims"] == Json::parse("[-1, 3]"));
}

TEST_CASE("what the user's configuration says stays as it is") {
  const Json given = Json::parse(R"({
    "max_batch_size": 4, "dynamic_batching": {"max_queue_delay_microseconds": 7},
    "input": [{"name": "input_ids", "data_type": "TYPE_INT32", "dims": ["128"]}],
    "output": [{"name": "logits", "data_type": "TYPE_FP32", "dims": [-1]}]})");
  CHECK(complete_config(given, kClassifier) == given);
  CHECK(message_of(given).empty());
}

TEST_CASE("what does not fit the engine is said in one line") {
  const auto with_input = [](const char* input) {
    Json config = complete_config(Json::object(), kClassifier);
    config["input"] = Json::parse(input);
    return message_of(config);
  };
  CHECK(with_input(R"([{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}])") ==
        "input 'x': the engine has none of that name, only text, input_ids");
  CHECK(with_input(R"([{"name": "text", "data_type": "TYPE_FP32", "dims": [1]}])") ==
        "input 'text': expected TYPE_STRING, found TYPE_FP32");
  CHECK(with_input(R"([{"name": "text", "data_type": "TYPE_STRING", "dims": [2]}])") ==
        "input 'text': expected dims [1], found [2]");
  CHECK(with_input(R"([{"name": "text", "data_type": "TYPE_STRING", "dims": [1],
                        "reshape": {"shape": [1]}}])") == "input 'text': expected no reshape");
  Json config = complete_config(Json::object(), kClassifier);
  config["output"][0]["dims"] = Json::array({7});
  CHECK(message_of(config) == "output 'logits': expected dims [3], found [7]");
  config["max_batch_size"] = 0;
  CHECK(message_of(config) == "max_batch_size: expected at least 1");
  CHECK(message_of({{"max_batch_size", 1}}) ==
        "expected inputs and outputs, or no --disable-auto-complete-config");
}

TEST_CASE("parameters are numbers and names that rtai knows") {
  const Result<Settings> defaults = read_settings(Json::object());
  REQUIRE(defaults);
  CHECK(defaults->file == "model.rtai");
  CHECK(defaults->threads == 0);
  Json config = parameter("batch_tokens", "64");
  config["default_model_filename"] = "own.rtai";
  const Result<Settings> settings = read_settings(config);
  REQUIRE(settings);
  CHECK(settings->batch_tokens == 64);
  CHECK(settings->file == "own.rtai");
  CHECK(read_settings(parameter("TRITON_BATCH_STRATEGY_PATH", "x")));
  for (const auto& [name, value] :
       std::vector<std::pair<const char*, const char*>>{{"threads", "-1"},
                                                        {"threads", "2x"},
                                                        {"batch_tokens", "0"},
                                                        {"thraeds", "1"},
                                                        {"threads", ""}}) {
    INFO(name << " " << value);
    const Result<Settings> refused = read_settings(parameter(name, value));
    REQUIRE(!refused);
    CHECK(refused.error().code() == ErrorCode::invalid_input);
    CHECK(refused.error().message().starts_with("parameter '" + std::string(name) + "': "));
  }
}

}  // namespace rtai::triton
