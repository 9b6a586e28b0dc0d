#include "tools/triton/config.h"

#include <algorithm>
#include <charconv>

namespace rtai::triton {
namespace {

constexpr int kMostTexts = 256;  // of a batch, where the configuration names no number

std::string in_quotes(std::string_view text) {
  return "'" + std::string(text) + "'";
}

std::string joined(std::span<const std::string> words) {
  std::string all;
  for (const std::string& word : words)
    all += (all.empty() ? "" : ", ") + word;
  return all;
}

std::string shown(std::span<const std::int64_t> dims) {
  std::vector<std::string> words;
  for (const std::int64_t dim : dims)
    words.push_back(std::to_string(dim));
  return "[" + joined(words) + "]";
}

Result<std::int64_t> read_number(const std::string& name,
                                 const std::string& text,
                                 std::int64_t least) {
  std::int64_t number = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  constexpr std::int64_t kMost = 1 << 24;
  if (status != std::errc{} || end != text.data() + text.size() || number < least || number > kMost)
    return invalid_input("parameter " + in_quotes(name) + ": expected a whole number from " +
                         std::to_string(least) + " up");
  return number;
}

Result<void> read_parameter(const std::string& name, const std::string& value, Settings& settings) {
  if (name == "threads") {
    RTAI_TRY(const std::int64_t threads, read_number(name, value, 0));
    settings.threads = static_cast<int>(threads);
    return {};
  }
  if (name == "batch_tokens") {
    RTAI_TRY(settings.batch_tokens, read_number(name, value, 1));
    return {};
  }
  if (name == "target") {
    settings.target = value;
    return {};
  }
  if (name.starts_with("TRITON_")) return {};  // the server's own
  return invalid_input("parameter " + in_quotes(name) +
                       ": unknown; expected one of batch_tokens, target, threads");
}

std::string type_name(const serve::TensorInfo& tensor) {
  return tensor.type == "BYTES" ? "TYPE_STRING" : "TYPE_" + tensor.type;
}

/// Whole numbers of 64 bits may be written as texts in protobuf's JSON.
std::int64_t number_of(const Json& value) {
  if (!value.is_string()) return value.is_number_integer() ? value.get<std::int64_t>() : 0;
  const auto text = value.get<std::string>();
  std::int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::vector<std::int64_t> numbers_of(const Json& list) {
  std::vector<std::int64_t> numbers;
  for (const Json& value : list)
    numbers.push_back(number_of(value));
  return numbers;
}

bool is_missing(const Json& config, const char* key) {
  const auto found = config.find(key);
  return found == config.end() || found->empty();
}

Json described(const serve::TensorInfo& tensor) {
  return {{"name", tensor.name}, {"data_type", type_name(tensor)}, {"dims", dims_of(tensor)}};
}

/// A size that the engine leaves open may be fixed for inputs; an open one promises nothing.
bool fits(std::span<const std::int64_t> given, std::span<const std::int64_t> own, bool is_input) {
  return std::ranges::equal(given, own, [is_input](std::int64_t a, std::int64_t b) {
    return a == b || (is_input ? b == -1 && a > 0 : a == -1);
  });
}

Result<void> check_tensor(const Json& given,
                          std::span<const serve::TensorInfo> known,
                          bool is_input) {
  const std::string name = given.value("name", "");
  const std::string place = (is_input ? "input " : "output ") + in_quotes(name);
  const auto own = std::ranges::find(known, name, &serve::TensorInfo::name);
  if (own == known.end()) {
    std::vector<std::string> names;
    for (const serve::TensorInfo& tensor : known)
      names.push_back(tensor.name);
    return invalid_input(place + ": the engine has none of that name, only " + joined(names));
  }
  const std::string type = given.value("data_type", "");
  const bool as_int32 = own->type == "INT64" && type == "TYPE_INT32";
  if (type != type_name(*own) && !as_int32)
    return invalid_input(place + ": expected " + type_name(*own) + ", found " + type);
  const std::vector<std::int64_t> dims = numbers_of(given.value("dims", Json::array()));
  const std::vector<std::int64_t> expected = dims_of(*own);
  if (!fits(dims, expected, is_input))
    return invalid_input(place + ": expected dims " + shown(expected) + ", found " + shown(dims));
  if (given.contains("reshape") && !given["reshape"].empty())
    return invalid_input(place + ": expected no reshape");
  return {};
}

}  // namespace

Result<Settings> read_settings(const Json& config) {
  Settings settings;
  const std::string file = config.value("default_model_filename", "");
  if (!file.empty()) settings.file = file;
  const Json parameters = config.value("parameters", Json::object());
  for (const auto& [name, value] : parameters.items()) {
    RTAI_TRY_VOID(read_parameter(name, value.value("string_value", ""), settings));
  }
  return settings;
}

std::vector<std::int64_t> dims_of(const serve::TensorInfo& tensor) {
  std::vector<std::int64_t> dims(tensor.shape.begin() + 1, tensor.shape.end());
  if (dims.empty()) dims.push_back(1);
  return dims;
}

Json complete_config(Json config, const Tensors& tensors) {
  if (is_missing(config, "input")) {
    config["input"] = Json::array();
    for (const serve::TensorInfo& tensor : tensors.inputs) {
      Json input = described(tensor);
      input["optional"] = true;
      input["allow_ragged_batch"] = true;  // requests of several lengths make one batch
      config["input"].push_back(std::move(input));
    }
  }
  if (is_missing(config, "output")) {
    const bool has_labels = std::ranges::any_of(
        tensors.outputs, [](const serve::TensorInfo& tensor) { return tensor.name == "label"; });
    const bool per_token = tensors.outputs.front().shape.size() == 3;
    config["output"] = Json::array();
    for (const serve::TensorInfo& tensor : tensors.outputs) {
      if (tensor.name != "answer" || (per_token && !has_labels))
        config["output"].push_back(described(tensor));
    }
  }
  if (number_of(config.value("max_batch_size", Json(0))) <= 0)
    config["max_batch_size"] = kMostTexts;
  if (!config.contains("dynamic_batching") && !config.contains("sequence_batching"))
    config["dynamic_batching"] = {{"max_queue_delay_microseconds", 0}};
  return config;
}

Result<void> check_config(const Json& config, const Tensors& tensors) {
  if (number_of(config.value("max_batch_size", Json(0))) <= 0)
    return invalid_input("max_batch_size: expected at least 1");
  if (is_missing(config, "input") || is_missing(config, "output"))
    return invalid_input("expected inputs and outputs, or no --disable-auto-complete-config");
  bool has_ids_or_texts = false;
  for (const Json& input : config["input"]) {
    RTAI_TRY_VOID(check_tensor(input, tensors.inputs, true));
    has_ids_or_texts |= input["name"] == "text" || input["name"] == "input_ids";
  }
  if (!has_ids_or_texts) return invalid_input("expected an input 'text' or 'input_ids'");
  for (const Json& output : config["output"])
    RTAI_TRY_VOID(check_tensor(output, tensors.outputs, false));
  return {};
}

std::vector<std::string> output_names(const Json& config) {
  std::vector<std::string> names;
  for (const Json& output : config["output"])
    names.push_back(output.value("name", ""));
  return names;
}

}  // namespace rtai::triton
