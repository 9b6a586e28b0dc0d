#include "tools/serve/tensors.h"

#include "runtime/base/byte_stream.h"
#include "tools/answer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace rtai::serve {
namespace {

using tools::Json;
using tools::Sample;
using tools::Task;

std::size_t elements_of(const std::vector<std::size_t>& shape) {
  std::size_t elements = 1;
  for (const std::size_t size : shape)
    elements *= size;
  return elements;
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

/// Where the tokens that the mask keeps stand in their rows.
std::vector<std::vector<std::size_t>> places_of(const InputTensor& mask) {
  std::vector<std::vector<std::size_t>> places(mask.shape[0]);
  for (std::size_t i = 0; i < mask.numbers.size(); ++i) {
    if (mask.numbers[i] != 0) places[i / mask.shape[1]].push_back(i % mask.shape[1]);
  }
  return places;
}

OutputTensor numbers_of(const AnsweredTexts& answered, std::size_t which, const Padding& padding) {
  const engine::Program& program = answered.program;
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
  std::size_t longest = padding.columns;
  for (const auto& output : answered.outputs)
    longest = std::max(longest, static_cast<std::size_t>(output[which].rows));
  tensor.shape = {texts, longest, columns};
  tensor.numbers.assign(texts * longest * columns, 0.0f);
  for (std::size_t t = 0; t < texts; ++t) {
    const tools::SampleOutput& output = answered.outputs[t][which];
    for (std::size_t r = 0; r < static_cast<std::size_t>(output.rows); ++r) {
      const std::size_t place = padding.places.empty() ? r : padding.places[t][r];
      std::ranges::copy(
          output.row(static_cast<Index>(r)),
          tensor.numbers.begin() + static_cast<std::ptrdiff_t>((t * longest + place) * columns));
    }
  }
  return tensor;
}

Result<std::vector<OutputTensor>> labels_of(const AnsweredTexts& answered) {
  OutputTensor labels{.name = "label", .type = "BYTES", .shape = {answered.outputs.size()}};
  OutputTensor scores{.name = "score", .type = "FP32", .shape = {answered.outputs.size()}};
  for (std::size_t i = 0; i < answered.outputs.size(); ++i) {
    RTAI_TRY(const tools::Answer answer,
             tools::make_answer(answered.model, answered.samples[i], answered.encodings[i],
                                answered.outputs[i]));
    labels.texts.push_back(tools::label_name(answered.model, answer.classes.label));
    scores.numbers.push_back(answer.classes.score);
  }
  return std::vector<OutputTensor>{std::move(labels), std::move(scores)};
}

Result<OutputTensor> answers_of(const AnsweredTexts& answered) {
  OutputTensor tensor{.name = "answer", .type = "BYTES", .shape = {answered.outputs.size()}};
  for (std::size_t i = 0; i < answered.outputs.size(); ++i) {
    RTAI_TRY(const Json line, tools::answer_json(answered.model, answered.samples[i],
                                                 answered.encodings[i], answered.outputs[i]));
    tensor.texts.push_back(tools::one_line(line));
  }
  return tensor;
}

}  // namespace

std::vector<TensorInfo> input_infos(const tools::AnswerModel& model) {
  std::vector<TensorInfo> infos;
  for (const std::string_view name : kInputNames) {
    if (!is_text_input(name)) {
      infos.push_back({std::string(name), "INT64", {-1, -1}});
    } else if (model.tokenizer) {
      infos.push_back({std::string(name), "BYTES", {-1}});
    }
  }
  return infos;
}

std::vector<TensorInfo> output_infos(const tools::AnswerModel& model,
                                     const engine::Program& program) {
  std::vector<TensorInfo> infos;
  for (const engine::Output& output : program.outputs) {
    const auto& value = program.values[static_cast<std::size_t>(output.value)];
    TensorInfo info{output.name, "FP32", {-1, value.columns}};
    if (value.rows == engine::Rows::tokens) info.shape.insert(info.shape.begin(), -1);
    infos.push_back(std::move(info));
  }
  if (model.task == Task::sequence_classification) {
    infos.push_back({"label", "BYTES", {-1}});
    infos.push_back({"score", "FP32", {-1}});
  }
  if (model.tokenizer && model.task != Task::unknown) infos.push_back({"answer", "BYTES", {-1}});
  return infos;
}

Result<std::int32_t> token_of(std::int64_t wide, const std::string& name) {
  if (wide < std::numeric_limits<std::int32_t>::min() ||
      wide > std::numeric_limits<std::int32_t>::max())
    return invalid_input(fmt::format("input '{}': a number that is no token", name));
  return static_cast<std::int32_t>(wide);
}

Result<void> read_binary(std::string_view bytes, std::string_view type, InputTensor& tensor) {
  if (type == "BYTES") return read_binary_texts(bytes, tensor);
  if (type == "INT64") return read_binary_numbers<std::int64_t>(bytes, tensor);
  return read_binary_numbers<std::int32_t>(bytes, tensor);
}

Result<void> check_count(const InputTensor& tensor) {
  const std::size_t count =
      is_text_input(tensor.name) ? tensor.texts.size() : tensor.numbers.size();
  if (count == elements_of(tensor.shape)) return {};
  return invalid_input(fmt::format("input '{}': {} elements, the shape has {}", tensor.name, count,
                                   elements_of(tensor.shape)));
}

Result<PaddedSamples> read_samples(std::vector<InputTensor> inputs) {
  const auto input = [&inputs](std::string_view name) -> InputTensor* {
    const auto found = std::ranges::find(inputs, name, &InputTensor::name);
    return found == inputs.end() ? nullptr : &*found;
  };
  InputTensor* ids = input("input_ids");
  InputTensor* texts = input("text");
  if ((ids != nullptr) == (texts != nullptr))
    return invalid_input("expected the input 'text' or 'input_ids'");
  const bool stray = ids != nullptr
                         ? input("text_b") != nullptr
                         : input("attention_mask") != nullptr || input("token_type_ids") != nullptr;
  if (stray) return invalid_input("inputs for texts and for ids in one request");
  PaddedSamples padded;
  if (ids == nullptr) {
    RTAI_TRY(padded.samples, samples_of_texts(*texts, input("text_b")));
    return padded;
  }
  const InputTensor* mask = input("attention_mask");
  RTAI_TRY(padded.samples, samples_of_ids(*ids, mask, input("token_type_ids")));
  if (mask != nullptr) padded.padding.places = places_of(*mask);
  padded.padding.columns = ids->shape[1];
  return padded;
}

Result<std::vector<OutputTensor>> output_tensors(const AnsweredTexts& answered,
                                                 const Padding& padding,
                                                 bool with_answers) {
  std::vector<OutputTensor> tensors;
  for (std::size_t i = 0; i < answered.program.outputs.size(); ++i)
    tensors.push_back(numbers_of(answered, i, padding));
  if (answered.model.task == Task::sequence_classification) {
    RTAI_TRY(std::vector<OutputTensor> labels, labels_of(answered));
    std::ranges::move(labels, std::back_inserter(tensors));
  }
  if (with_answers) {
    RTAI_TRY(OutputTensor answers, answers_of(answered));
    tensors.push_back(std::move(answers));
  }
  return tensors;
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

}  // namespace rtai::serve
