#include "tools/triton/request.h"

#include "tools/triton/status.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <string_view>

namespace rtai::triton {
namespace {

struct RawInput {
  TRITONBACKEND_Input* handle = nullptr;
  std::string_view name;
  TRITONSERVER_DataType type = {};
  std::span<const std::int64_t> shape;  // with the batch
  std::uint64_t bytes = 0;
  std::uint32_t buffers = 0;
};

Result<std::vector<RawInput>> inputs_of(TRITONBACKEND_Request* request) {
  std::uint32_t count = 0;
  RTAI_TRY_VOID(checked(TRITONBACKEND_RequestInputCount(request, &count)));
  std::vector<RawInput> inputs(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    RawInput& input = inputs[i];
    RTAI_TRY_VOID(checked(TRITONBACKEND_RequestInputByIndex(request, i, &input.handle)));
    const char* name = nullptr;
    const std::int64_t* shape = nullptr;
    std::uint32_t dims = 0;
    RTAI_TRY_VOID(checked(TRITONBACKEND_InputProperties(input.handle, &name, &input.type, &shape,
                                                        &dims, &input.bytes, &input.buffers)));
    input.name = name;
    input.shape = {shape, dims};
  }
  return inputs;
}

/// The data of an input, which may lie in pieces.
Result<std::string> bytes_of(const RawInput& input) {
  std::string bytes;
  bytes.reserve(input.bytes);
  for (std::uint32_t i = 0; i < input.buffers; ++i) {
    const void* buffer = nullptr;
    std::uint64_t size = 0;
    TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
    std::int64_t memory_id = 0;
    RTAI_TRY_VOID(
        checked(TRITONBACKEND_InputBuffer(input.handle, i, &buffer, &size, &memory, &memory_id)));
    if (memory == TRITONSERVER_MEMORY_GPU)
      return unsupported("input '" + std::string(input.name) + "': lies on a GPU");
    bytes.append(static_cast<const char*>(buffer), size);
  }
  return bytes;
}

Result<std::string_view> type_of(const RawInput& input) {
  const bool is_text = serve::is_text_input(input.name);
  if (is_text && input.type == TRITONSERVER_TYPE_BYTES) return std::string_view("BYTES");
  if (!is_text && input.type == TRITONSERVER_TYPE_INT64) return std::string_view("INT64");
  if (!is_text && input.type == TRITONSERVER_TYPE_INT32) return std::string_view("INT32");
  return invalid_input("input '" + std::string(input.name) + "': expected " +
                       (is_text ? "BYTES" : "INT64 or INT32"));
}

Result<serve::InputTensor> read_input(const RawInput& input) {
  serve::InputTensor tensor;
  tensor.name = input.name;
  for (const std::int64_t size : input.shape) {
    if (size <= 0) return invalid_input("input '" + tensor.name + "': expected positive sizes");
    tensor.shape.push_back(static_cast<std::size_t>(size));
  }
  RTAI_TRY(const std::string_view type, type_of(input));
  RTAI_TRY(const std::string bytes, bytes_of(input));
  RTAI_TRY_VOID(serve::read_binary(bytes, type, tensor));
  RTAI_TRY_VOID(serve::check_count(tensor));
  return tensor;
}

Result<std::vector<std::string>> wanted_outputs(TRITONBACKEND_Request* request) {
  std::uint32_t count = 0;
  RTAI_TRY_VOID(checked(TRITONBACKEND_RequestOutputCount(request, &count)));
  std::vector<std::string> names;
  for (std::uint32_t i = 0; i < count; ++i) {
    const char* name = nullptr;
    RTAI_TRY_VOID(checked(TRITONBACKEND_RequestOutputName(request, i, &name)));
    names.emplace_back(name);
  }
  return names;
}

/// Who names no outputs is given all there are: of ids all but "answer", which is made of texts.
Result<void> settle_answer(const ServedModel& model, Inquiry& inquiry) {
  const auto answer = std::ranges::find(inquiry.outputs, "answer");
  if (answer == inquiry.outputs.end() || inquiry.padding.columns == 0) return {};
  if (inquiry.outputs.size() < model.outputs.size())
    return invalid_input("output 'answer': expected the input 'text'");
  inquiry.outputs.erase(answer);
  return {};
}

Result<void> write_output(const serve::OutputTensor& tensor, TRITONBACKEND_Response* response) {
  std::vector<std::int64_t> shape(tensor.shape.begin(), tensor.shape.end());
  if (shape.size() == 1) shape.push_back(1);
  const bool is_text = tensor.type == "BYTES";
  TRITONBACKEND_Output* output = nullptr;
  RTAI_TRY_VOID(checked(
      TRITONBACKEND_ResponseOutput(response, &output, tensor.name.c_str(),
                                   is_text ? TRITONSERVER_TYPE_BYTES : TRITONSERVER_TYPE_FP32,
                                   shape.data(), static_cast<std::uint32_t>(shape.size()))));
  const std::string bytes = serve::binary_of(tensor);
  void* buffer = nullptr;
  TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
  std::int64_t memory_id = 0;
  RTAI_TRY_VOID(
      checked(TRITONBACKEND_OutputBuffer(output, &buffer, bytes.size(), &memory, &memory_id)));
  if (memory == TRITONSERVER_MEMORY_GPU)
    return unsupported("output '" + tensor.name + "': wanted on a GPU");
  bytes.copy(static_cast<char*>(buffer), bytes.size());
  return {};
}

}  // namespace

Result<Inquiry> read_request(const ServedModel& model, TRITONBACKEND_Request* request) {
  RTAI_TRY(const std::vector<RawInput> raw, inputs_of(request));
  std::vector<serve::InputTensor> inputs;
  for (const RawInput& input : raw) {
    RTAI_TRY(serve::InputTensor tensor, read_input(input));
    inputs.push_back(std::move(tensor));
  }
  RTAI_TRY(serve::PaddedSamples padded, serve::read_samples(std::move(inputs)));
  Inquiry inquiry{.samples = std::move(padded.samples),
                  .encodings = {},
                  .padding = std::move(padded.padding),
                  .outputs = {}};
  for (std::size_t i = 0; i < inquiry.samples.size(); ++i) {
    RTAI_TRY(text::Encoding encoding, tools::encode_for(model.answers, inquiry.samples[i]));
    RTAI_TRY_VOID(serve::check_encoding(model.limits, encoding).in("text " + std::to_string(i)));
    inquiry.encodings.push_back(std::move(encoding));
  }
  RTAI_TRY(inquiry.outputs, wanted_outputs(request));
  RTAI_TRY_VOID(settle_answer(model, inquiry));
  return inquiry;
}

Result<void> fill_response(const ServedModel& model,
                           const Inquiry& inquiry,
                           std::span<const std::vector<tools::SampleOutput>> outputs,
                           TRITONBACKEND_Response* response) {
  const auto wants = [&](std::string_view name) {
    return std::ranges::find(inquiry.outputs, name) != inquiry.outputs.end();
  };
  RTAI_TRY(const std::vector<serve::OutputTensor> tensors,
           serve::output_tensors({.model = model.answers,
                                  .program = model.engine->program,
                                  .samples = inquiry.samples,
                                  .encodings = inquiry.encodings,
                                  .outputs = outputs},
                                 inquiry.padding, wants("answer")));
  for (const serve::OutputTensor& tensor : tensors) {
    if (wants(tensor.name)) RTAI_TRY_VOID(write_output(tensor, response));
  }
  return {};
}

Result<Index> estimated_tokens(const ServedModel& model, TRITONBACKEND_Request* request) {
  constexpr Index kBytesPerToken = 4, kSpecialTokens = 3;
  RTAI_TRY(const std::vector<RawInput> inputs, inputs_of(request));
  Index tokens = 0, texts = 0;
  for (const RawInput& input : inputs) {
    const Index elements =
        std::accumulate(input.shape.begin(), input.shape.end(), Index{1}, std::multiplies<>());
    if (input.name == "input_ids") tokens += elements;
    if (!serve::is_text_input(input.name)) continue;
    tokens += static_cast<Index>(input.bytes) / kBytesPerToken;
    texts = elements;
  }
  if (texts == 0) return tokens;
  return std::min(tokens + texts * kSpecialTokens, texts * model.limits.positions);
}

}  // namespace rtai::triton
