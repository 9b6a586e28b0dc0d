#include "tools/serve/oip.h"

#include "runtime/base/byte_stream.h"
#include "tools/version.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

namespace rtai::serve {
namespace {

using tools::Sample;
using tools::Task;

constexpr std::size_t kMostElements = 1u << 22;  // of a tensor in a request

/// One input of a request, its data as texts or as whole numbers.
struct InputTensor {
  std::string name;
  std::vector<std::size_t> shape;
  std::vector<std::string> texts;     // BYTES
  std::vector<std::int32_t> numbers;  // INT32, INT64
};

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

std::size_t elements_of(const std::vector<std::size_t>& shape) {
  std::size_t elements = 1;
  for (const std::size_t size : shape)
    elements *= size;
  return elements;
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

Result<std::int32_t> token_of(std::int64_t wide, const std::string& name) {
  if (wide < std::numeric_limits<std::int32_t>::min() ||
      wide > std::numeric_limits<std::int32_t>::max())
    return invalid_input(fmt::format("input '{}': a number that is no token", name));
  return static_cast<std::int32_t>(wide);
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

/// BYTES: each element its length in four bytes, then itself.
Result<void> read_binary_texts(std::string_view bytes, InputTensor& tensor) {
  ByteReader reader(std::as_bytes(std::span(bytes)));
  while (reader.remaining() > 0) {
    const Result<std::string> element = reader.read_string(bytes.size());
    if (!element)
      return invalid_input(fmt::format("input '{}': binary data that ends too soon", tensor.name));
    tensor.texts.push_back(*element);
  }
  return {};
}

template <class Number>
Result<void> read_binary_numbers(std::string_view bytes, InputTensor& tensor) {
  if (bytes.size() % sizeof(Number) != 0)
    return invalid_input(
        fmt::format("input '{}': binary data of a size that does not fit", tensor.name));
  ByteReader reader(std::as_bytes(std::span(bytes)));
  while (reader.remaining() > 0) {
    RTAI_TRY(const auto wide, reader.read<Number>());
    RTAI_TRY(const std::int32_t number, token_of(wide, tensor.name));
    tensor.numbers.push_back(number);
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
  static constexpr std::array<std::string_view, 5> kNames = {"text", "text_b", "input_ids",
                                                             "attention_mask", "token_type_ids"};
  if (std::ranges::find(kNames, tensor.name) == kNames.end())
    return invalid_input(fmt::format("unknown input; expected one of {}", fmt::join(kNames, ", ")));
  RTAI_TRY(tensor.shape, shape_of(input, tensor.name));
  const bool is_text = tensor.name.starts_with("text");
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
    RTAI_TRY_VOID(is_text           ? read_binary_texts(own, tensor)
                  : type == "INT64" ? read_binary_numbers<std::int64_t>(own, tensor)
                                    : read_binary_numbers<std::int32_t>(own, tensor));
  } else {
    RTAI_TRY_VOID(read_json_data(input.value("data", Body()), is_text, tensor));
  }
  const std::size_t count = is_text ? tensor.texts.size() : tensor.numbers.size();
  if (count != elements_of(tensor.shape))
    return invalid_input(fmt::format("input '{}': {} elements, the shape has {}", tensor.name,
                                     count, elements_of(tensor.shape)));
  return tensor;
}

/// One sample a row of ids; where the mask is 0 nothing is computed.
Result<std::vector<Sample>> samples_of_ids(const InputTensor& ids,
                                           const InputTensor* mask,
                                           const InputTensor* types) {
  if (ids.shape.size() != 2)
    return invalid_input("input 'input_ids': expected the shape [texts, tokens]");
  for (const InputTensor* other : {mask, types}) {
    if (other != nullptr && other->shape != ids.shape)
      return invalid_input(
          fmt::format("input '{}': expected the shape of 'input_ids'", other->name));
  }
  std::vector<Sample> samples(ids.shape[0]);
  for (std::size_t row = 0; row < ids.shape[0]; ++row) {
    for (std::size_t column = 0; column < ids.shape[1]; ++column) {
      const std::size_t i = row * ids.shape[1] + column;
      if (mask != nullptr && mask->numbers[i] == 0) continue;
      samples[row].ids.push_back(ids.numbers[i]);
      samples[row].segments.push_back(types != nullptr ? types->numbers[i] : 0);
    }
    if (samples[row].ids.empty())
      return invalid_input("input 'attention_mask': a text without a token");
  }
  return samples;
}

Result<std::vector<Sample>> samples_of_texts(InputTensor& texts, InputTensor* second) {
  if (second != nullptr && second->texts.size() != texts.texts.size())
    return invalid_input("inputs 'text' and 'text_b': expected as many of one as of the other");
  std::vector<Sample> samples;
  for (std::size_t i = 0; i < texts.texts.size(); ++i) {
    samples.emplace_back(std::move(texts.texts[i]));
    if (second != nullptr) samples.back().text_b = std::move(second->texts[i]);
  }
  return samples;
}

/// An output that was asked for.
struct WantedOutput {
  std::string name;
  bool binary = false;
};

struct Request {
  std::string id;
  std::vector<WantedOutput> outputs;  // empty: all
  bool all_binary = false;
  // Where in the padded rows each token stands, when ids came with a mask: [text][token].
  std::vector<std::vector<std::size_t>> places;
  std::size_t columns = 0;  // of the ids as they came; 0: texts
};

/// One output, ready to be written: in JSON, or as bytes.
struct OutputTensor {
  std::string name;
  std::string type;
  std::vector<std::size_t> shape = {};
  std::vector<float> numbers = {};
  std::vector<std::string> texts = {};
};

OutputTensor numbers_of(const Answered& answered, std::size_t which, const Request& request) {
  const engine::Program& program = answered.engine.predictor->engine().program;
  const auto& value = program.values[static_cast<std::size_t>(program.outputs[which].value)];
  const auto columns = static_cast<std::size_t>(value.columns);
  OutputTensor tensor{.name = program.outputs[which].name, .type = "FP32"};
  const std::size_t texts = answered.outputs.size();
  if (value.rows != engine::Rows::tokens) {
    tensor.shape = {texts, columns};
    for (const auto& output : answered.outputs)
      tensor.numbers.insert(tensor.numbers.end(), output[which].values.begin(),
                            output[which].values.end());
    return tensor;
  }
  std::size_t longest = request.columns;
  for (const auto& output : answered.outputs)
    longest = std::max(longest, static_cast<std::size_t>(output[which].rows));
  tensor.shape = {texts, longest, columns};
  tensor.numbers.assign(texts * longest * columns, 0.0f);
  for (std::size_t t = 0; t < texts; ++t) {
    const tools::SampleOutput& output = answered.outputs[t][which];
    for (std::size_t r = 0; r < static_cast<std::size_t>(output.rows); ++r) {
      const std::size_t place = request.places.empty() ? r : request.places[t][r];
      std::ranges::copy(
          output.row(static_cast<Index>(r)),
          tensor.numbers.begin() + static_cast<std::ptrdiff_t>((t * longest + place) * columns));
    }
  }
  return tensor;
}

Result<std::vector<OutputTensor>> labels_of(const Answered& answered) {
  OutputTensor labels{.name = "label", .type = "BYTES", .shape = {answered.outputs.size()}};
  OutputTensor scores{.name = "score", .type = "FP32", .shape = {answered.outputs.size()}};
  for (std::size_t i = 0; i < answered.outputs.size(); ++i) {
    RTAI_TRY(const tools::Answer answer,
             tools::make_answer(answered.engine.model, answered.samples[i], answered.encodings[i],
                                answered.outputs[i]));
    labels.texts.push_back(tools::label_name(answered.engine.model, answer.classes.label));
    scores.numbers.push_back(answer.classes.score);
  }
  return std::vector<OutputTensor>{std::move(labels), std::move(scores)};
}

Result<OutputTensor> answers_of(const Answered& answered) {
  OutputTensor tensor{.name = "answer", .type = "BYTES", .shape = {answered.outputs.size()}};
  for (std::size_t i = 0; i < answered.outputs.size(); ++i) {
    RTAI_TRY(const Json line, tools::answer_json(answered.engine.model, answered.samples[i],
                                                 answered.encodings[i], answered.outputs[i]));
    tensor.texts.push_back(tools::one_line(line));
  }
  return tensor;
}

/// The names of what read_infer can give, "answer" only on request: it repeats the others.
std::vector<std::string> output_names(const EngineSet& set, bool with_texts) {
  std::vector<std::string> names;
  for (const engine::Output& output : set.first().predictor->engine().program.outputs)
    names.push_back(output.name);
  if (set.first().model.task == Task::sequence_classification) {
    names.emplace_back("label");
    names.emplace_back("score");
  }
  if (with_texts && set.first().model.task != Task::unknown) names.emplace_back("answer");
  return names;
}

std::string binary_of(const OutputTensor& tensor) {
  std::string bytes;
  const auto append = [&bytes](const void* data, std::size_t size) {
    bytes.append(static_cast<const char*>(data), size);
  };
  if (tensor.type == "FP32") {
    append(tensor.numbers.data(), tensor.numbers.size() * sizeof(float));
    return bytes;
  }
  for (const std::string& text : tensor.texts) {
    const auto size = static_cast<std::uint32_t>(text.size());
    append(&size, sizeof size);
    bytes += text;
  }
  return bytes;
}

Result<HttpResponse> respond(const Answered& answered,
                             const Request& request,
                             const std::string& model_name) {
  std::vector<OutputTensor> tensors;
  const engine::Program& program = answered.engine.predictor->engine().program;
  for (std::size_t i = 0; i < program.outputs.size(); ++i)
    tensors.push_back(numbers_of(answered, i, request));
  if (answered.engine.model.task == Task::sequence_classification) {
    RTAI_TRY(std::vector<OutputTensor> labels, labels_of(answered));
    std::ranges::move(labels, std::back_inserter(tensors));
  }
  if (std::ranges::find(request.outputs, "answer", &WantedOutput::name) != request.outputs.end()) {
    RTAI_TRY(OutputTensor answers, answers_of(answered));
    tensors.push_back(std::move(answers));
  }

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

  Json json = {{"model_name", model_name}, {"model_version", std::to_string(answered.version)}};
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

/// Where the tokens that the mask keeps stand in their rows.
std::vector<std::vector<std::size_t>> places_of(const InputTensor& mask) {
  std::vector<std::vector<std::size_t>> places(mask.shape[0]);
  for (std::size_t i = 0; i < mask.numbers.size(); ++i) {
    if (mask.numbers[i] != 0) places[i / mask.shape[1]].push_back(i % mask.shape[1]);
  }
  return places;
}

}  // namespace

Json server_metadata() {
  return {{"name", "rtai"},
          {"version", tools::version()},
          {"extensions", Json::array({"binary_tensor_data"})}};
}

Json model_metadata(const EngineSet& set, const std::string& model_name) {
  Json versions = Json::array(), inputs = Json::array(), outputs = Json::array();
  for (std::size_t i = 0; i < set.engines.size(); ++i)
    versions.push_back(std::to_string(i + 1));
  if (set.first().model.tokenizer) {
    inputs.push_back({{"name", "text"}, {"datatype", "BYTES"}, {"shape", {-1}}});
    inputs.push_back({{"name", "text_b"}, {"datatype", "BYTES"}, {"shape", {-1}}});
  }
  for (const char* name : {"input_ids", "attention_mask", "token_type_ids"})
    inputs.push_back({{"name", name}, {"datatype", "INT64"}, {"shape", {-1, -1}}});
  const engine::Program& program = set.first().predictor->engine().program;
  for (const engine::Output& output : program.outputs) {
    const auto& value = program.values[static_cast<std::size_t>(output.value)];
    const Json shape = value.rows == engine::Rows::tokens ? Json::array({-1, -1, value.columns})
                                                          : Json::array({-1, value.columns});
    outputs.push_back({{"name", output.name}, {"datatype", "FP32"}, {"shape", shape}});
  }
  for (const std::string& name : output_names(set, set.first().model.tokenizer.has_value())) {
    if (name != "label" && name != "score" && name != "answer") continue;
    outputs.push_back(
        {{"name", name}, {"datatype", name == "score" ? "FP32" : "BYTES"}, {"shape", {-1}}});
  }
  return {{"name", model_name},
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
                           const std::string& model_name,
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
  const auto input = [&inputs](std::string_view name) -> InputTensor* {
    const auto found = std::ranges::find(inputs, name, &InputTensor::name);
    return found == inputs.end() ? nullptr : &*found;
  };

  Inquiry inquiry;
  Request request;
  InputTensor* ids = input("input_ids");
  InputTensor* texts = input("text");
  if ((ids != nullptr) == (texts != nullptr))
    return invalid_input("expected the input 'text' or 'input_ids'");
  const bool stray = ids != nullptr
                         ? input("text_b") != nullptr
                         : input("attention_mask") != nullptr || input("token_type_ids") != nullptr;
  if (stray) return invalid_input("inputs for texts and for ids in one request");
  if (ids != nullptr) {
    const InputTensor* mask = input("attention_mask");
    RTAI_TRY(inquiry.samples, samples_of_ids(*ids, mask, input("token_type_ids")));
    if (mask != nullptr) request.places = places_of(*mask);
    request.columns = ids->shape[1];
  } else {
    RTAI_TRY(inquiry.samples, samples_of_texts(*texts, input("text_b")));
  }
  if (json.contains("id")) {
    if (!json["id"].is_string()) return invalid_input("\"id\": expected a text");
    request.id = json["id"].get<std::string>();
  }
  RTAI_TRY_VOID(read_wanted(set, json, texts != nullptr, request));
  const Body parameters = json.value("parameters", Body::object());
  if (parameters.is_object() && parameters.contains("timeout")) {  // microseconds, as Triton has it
    const Body& timeout = parameters["timeout"];
    if (!timeout.is_number_unsigned()) return invalid_input("\"timeout\": expected microseconds");
    if (timeout.get<std::uint64_t>() > 0) inquiry.timeout_s = timeout.get<double>() * 1e-6;
  }
  inquiry.respond = [request = std::move(request), model_name](const Answered& answered) {
    return respond(answered, request, model_name);
  };
  return inquiry;
}

}  // namespace rtai::serve
