#include "tools/serve/oip.h"

#include "tools/serve/tensors.h"
#include "tools/version.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

namespace rtai::serve {
namespace {

constexpr std::size_t kMostElements = 1u << 22;  // of a tensor in a request

Result<std::vector<std::size_t>> shape_of(const Body& input, const std::string& name) {
  std::vector<std::size_t> shape;
  std::size_t elements = 1;
  const auto found = input.find("shape");
  const Error error =
      invalid_input(fmt::format("input '{}': \"shape\": expected positive sizes", name));
  if (found == input.end() || !found->is_array() || found->empty() || found->size() > 4)
    return error;
  for (const Body& size : *found) {
    if (!size.is_number_unsigned() || size == 0u || size > kMostElements) return error;
    shape.push_back(size.get<std::size_t>());
    elements *= shape.back();
    if (elements > kMostElements)
      return invalid_input(fmt::format("input '{}': too many elements", name));
  }
  return shape;
}

/// The elements of "data", which may be nested as the shape is.
void flatten(const Body& data, std::vector<const Body*>& elements) {
  for (const Body& item : data) {
    if (item.is_array())
      flatten(item, elements);  // no deeper than parse_body lets through
    else
      elements.push_back(&item);
  }
}

Result<void> read_json_data(const Body& data, bool is_text, InputTensor& tensor) {
  if (!data.is_array())
    return invalid_input(fmt::format("input '{}': \"data\": expected a list", tensor.name));
  std::vector<const Body*> elements;
  flatten(data, elements);
  for (const Body* element : elements) {
    if (is_text && element->is_string()) {
      tensor.texts.push_back(element->get<std::string>());
    } else if (!is_text && element->is_number_integer() &&
               !(element->is_number_unsigned() &&
                 element->get<std::uint64_t>() > std::numeric_limits<std::int32_t>::max())) {
      RTAI_TRY(const std::int32_t number, token_of(element->get<std::int64_t>(), tensor.name));
      tensor.numbers.push_back(number);
    } else {
      return invalid_input(fmt::format("input '{}': \"data\": expected {}", tensor.name,
                                       is_text ? "texts" : "whole numbers"));
    }
  }
  return {};
}

Result<std::size_t> size_of(const Body& value, const std::string& name) {
  if (!value.is_number_unsigned())
    return invalid_input(fmt::format("input '{}': \"binary_data_size\": expected a number", name));
  return value.get<std::size_t>();
}

/// Takes what it needs from the front of `binary`.
Result<InputTensor> read_input(const Body& input, std::string_view& binary) {
  const auto text = [&](const char* key) {
    const auto found = input.is_object() ? input.find(key) : input.end();
    return found != input.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  InputTensor tensor;
  if (!input.is_object()) return invalid_input("\"inputs\": expected a list of objects");
  tensor.name = text("name");
  if (std::ranges::find(kInputNames, tensor.name) == kInputNames.end())
    return invalid_input(
        fmt::format("unknown input; expected one of {}", fmt::join(kInputNames, ", ")));
  RTAI_TRY(tensor.shape, shape_of(input, tensor.name));
  const bool is_text = is_text_input(tensor.name);
  const std::string type = text("datatype");
  if (is_text ? type != "BYTES" : type != "INT64" && type != "INT32") {
    return invalid_input(fmt::format("input '{}': \"datatype\": expected {}", tensor.name,
                                     is_text ? "BYTES" : "INT64 or INT32"));
  }
  const Body parameters = input.value("parameters", Body::object());
  if (parameters.is_object() && parameters.contains("binary_data_size")) {
    RTAI_TRY(const std::size_t size, size_of(parameters["binary_data_size"], tensor.name));
    if (size > binary.size())
      return invalid_input(fmt::format("input '{}': binary data that ends too soon", tensor.name));
    const std::string_view own = binary.substr(0, size);
    binary.remove_prefix(size);
    RTAI_TRY_VOID(read_binary(own, type, tensor));
  } else {
    RTAI_TRY_VOID(read_json_data(input.value("data", Body()), is_text, tensor));
  }
  RTAI_TRY_VOID(check_count(tensor));
  return tensor;
}

/// An output that was asked for.
struct WantedOutput {
  std::string name;
  bool binary = false;
};

/// The names of what read_infer can give, "answer" only with texts.
std::vector<std::string> output_names(const EngineSet& set, bool with_texts) {
  std::vector<std::string> names;
  for (const TensorInfo& info : output_infos(set.first().model, set.first().program())) {
    if (info.name != "answer" || with_texts) names.push_back(info.name);
  }
  return names;
}

struct Request {
  std::string id;
  std::vector<WantedOutput> outputs;  // empty: all
  bool all_binary = false;
  Padding padding;
};

Result<HttpResponse> respond(const Answered& answered, const Request& request) {
  const bool with_answers =
      std::ranges::find(request.outputs, "answer", &WantedOutput::name) != request.outputs.end();
  RTAI_TRY(const std::vector<OutputTensor> tensors,
           output_tensors({.model = answered.engine.model,
                           .program = answered.engine.program(),
                           .samples = answered.samples,
                           .encodings = answered.encodings,
                           .outputs = answered.outputs},
                          request.padding, with_answers));

  Json outputs = Json::array();
  std::string binary;
  bool any_binary = false;
  const auto add = [&](const OutputTensor& tensor, bool as_binary) {
    Json output = {{"name", tensor.name}, {"datatype", tensor.type}, {"shape", tensor.shape}};
    if (as_binary) {
      const std::string bytes = binary_of(tensor);
      output["parameters"] = {{"binary_data_size", bytes.size()}};
      binary += bytes;
      any_binary = true;
    } else if (tensor.type == "FP32") {
      output["data"] = tensor.numbers;
    } else {
      output["data"] = tensor.texts;
    }
    outputs.push_back(std::move(output));
  };
  if (request.outputs.empty()) {
    for (const OutputTensor& tensor : tensors)
      add(tensor, request.all_binary);
  }
  for (const WantedOutput& wanted : request.outputs)
    add(*std::ranges::find(tensors, wanted.name, &OutputTensor::name), wanted.binary);

  Json json = {{"model_name", answered.set.model_name},
               {"model_version", std::to_string(answered.version)}};
  if (!request.id.empty()) json["id"] = request.id;
  json["parameters"] = {{"engine", answered.engine.name}};
  json["outputs"] = std::move(outputs);
  HttpResponse response = json_response(json);
  if (!any_binary) return response;
  response.headers.emplace_back("Inference-Header-Content-Length",
                                std::to_string(response.body.size()));
  response.content_type = "application/octet-stream";
  response.body += binary;
  return response;
}

Result<void> read_wanted(const EngineSet& set,
                         const Body& body,
                         bool with_texts,
                         Request& request) {
  const auto is_set = [](const Body& object, const char* key) {
    const auto parameters = object.find("parameters");
    return parameters != object.end() && parameters->is_object() && parameters->contains(key) &&
           (*parameters)[key] == true;
  };
  request.all_binary = is_set(body, "binary_data_output");
  const auto wanted = body.find("outputs");
  if (wanted == body.end()) return {};
  if (!wanted->is_array()) return invalid_input("\"outputs\": expected a list of objects");
  const std::vector<std::string> names = output_names(set, with_texts);
  for (const Body& output : *wanted) {
    if (!output.is_object() || !output.contains("name") || !output["name"].is_string())
      return invalid_input("\"outputs\": expected a list of objects with a name");
    const auto name = output["name"].get<std::string>();
    if (std::ranges::find(names, name) == names.end())
      return invalid_input(
          fmt::format("unknown output; expected one of {}", fmt::join(names, ", ")));
    if (std::ranges::find(request.outputs, name, &WantedOutput::name) != request.outputs.end())
      return invalid_input("an output is asked for twice");
    request.outputs.push_back({name, request.all_binary || is_set(output, "binary_data")});
  }
  return {};
}

}  // namespace

Json server_metadata() {
  return {{"name", "rtai"},
          {"version", tools::version()},
          {"extensions", Json::array({"binary_tensor_data"})}};
}

Json model_metadata(const EngineSet& set) {
  Json versions = Json::array(), inputs = Json::array(), outputs = Json::array();
  for (std::size_t i = 0; i < set.engines.size(); ++i)
    versions.push_back(std::to_string(i + 1));
  const auto describe = [](const TensorInfo& tensor) {
    return Json{{"name", tensor.name}, {"datatype", tensor.type}, {"shape", tensor.shape}};
  };
  const tools::AnswerModel& model = set.first().model;
  for (const TensorInfo& tensor : input_infos(model))
    inputs.push_back(describe(tensor));
  for (const TensorInfo& tensor : output_infos(model, set.first().program()))
    outputs.push_back(describe(tensor));
  return {{"name", set.model_name},
          {"versions", std::move(versions)},
          {"platform", "rtai"},
          {"inputs", std::move(inputs)},
          {"outputs", std::move(outputs)}};
}

std::optional<std::size_t> engine_of_version(const EngineSet& set, std::string_view version) {
  std::size_t number = 0;
  const auto [end, status] =
      std::from_chars(version.data(), version.data() + version.size(), number);
  if (status != std::errc{} || end != version.data() + version.size()) return std::nullopt;
  if (number < 1 || number > set.engines.size()) return std::nullopt;
  return number - 1;
}

Result<Inquiry> read_infer(const EngineSet& set,
                           const std::string& body,
                           std::optional<std::size_t> json_bytes) {
  if (json_bytes.value_or(0) > body.size())
    return invalid_input("Inference-Header-Content-Length: expected no more than the body");
  const std::string_view whole(body);
  std::string_view binary = json_bytes ? whole.substr(*json_bytes) : std::string_view();
  RTAI_TRY(const Body json, parse_body(whole.substr(0, json_bytes.value_or(whole.size()))));
  const auto list = json.find("inputs");
  if (list == json.end() || !list->is_array() || list->empty() || list->size() > 5)
    return invalid_input("\"inputs\": expected a list of objects");
  std::vector<InputTensor> inputs;
  for (const Body& input : *list) {
    RTAI_TRY(InputTensor tensor, read_input(input, binary));
    if (std::ranges::find(inputs, tensor.name, &InputTensor::name) != inputs.end())
      return invalid_input(fmt::format("input '{}': given twice", tensor.name));
    inputs.push_back(std::move(tensor));
  }
  if (!binary.empty()) return invalid_input("binary data that belongs to no input");
  const bool with_texts = std::ranges::find(inputs, "text", &InputTensor::name) != inputs.end();
  Inquiry inquiry;
  Request request;
  RTAI_TRY(PaddedSamples padded, read_samples(std::move(inputs)));
  inquiry.samples = std::move(padded.samples);
  request.padding = std::move(padded.padding);
  if (json.contains("id")) {
    if (!json["id"].is_string()) return invalid_input("\"id\": expected a text");
    request.id = json["id"].get<std::string>();
  }
  RTAI_TRY_VOID(read_wanted(set, json, with_texts, request));
  const Body parameters = json.value("parameters", Body::object());
  if (parameters.is_object() && parameters.contains("timeout")) {  // microseconds, as Triton has it
    const Body& timeout = parameters["timeout"];
    if (!timeout.is_number_unsigned()) return invalid_input("\"timeout\": expected microseconds");
    if (timeout.get<std::uint64_t>() > 0) inquiry.timeout_s = timeout.get<double>() * 1e-6;
  }
  inquiry.respond = [request = std::move(request)](const Answered& answered) {
    return respond(answered, request);
  };
  return inquiry;
}

}  // namespace rtai::serve
