// Requests and answers as tensors of the Open Inference Protocol, whoever carries them: `rtai
// serve` over HTTP, or Triton's server.
//
// Inputs: "text" BYTES, one for each text (and "text_b" for pairs), or "input_ids" INT64 or INT32
// [n, seq] with "attention_mask" and "token_type_ids" of the same shape. Outputs: those of the
// engine, FP32 [n, columns], or [n, seq, columns] with zeros behind short texts; of a text
// classifier also "label" BYTES [n] and "score" FP32 [n]; with texts "answer" BYTES [n], a line of
// `rtai run --json` each.
#pragma once

#include "runtime/base/result.h"
#include "runtime/engine/program.h"
#include "runtime/text/tokenizer.h"
#include "tools/answer.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::serve {

using Outputs = std::vector<std::vector<tools::SampleOutput>>;  // [text][output]

inline constexpr std::array<std::string_view, 5> kInputNames = {"text", "text_b", "input_ids",
                                                                "attention_mask", "token_type_ids"};
inline bool is_text_input(std::string_view name) {
  return name.starts_with("text");
}

/// What a tensor is like; -1 for sizes that the request decides.
struct TensorInfo {
  std::string name;
  std::string type;
  std::vector<std::int64_t> shape;
};
std::vector<TensorInfo> input_infos(const tools::AnswerModel& model);
/// "answer" last, if there is one.
std::vector<TensorInfo> output_infos(const tools::AnswerModel& model,
                                     const engine::Program& program);

/// One input of a request, its data as texts or as whole numbers.
struct InputTensor {
  std::string name;
  std::vector<std::size_t> shape;
  std::vector<std::string> texts;     // BYTES
  std::vector<std::int32_t> numbers;  // INT32, INT64
};

/// Errors: invalid_input for what no token can be.
Result<std::int32_t> token_of(std::int64_t wide, const std::string& name);
/// Appends raw data: numbers as they lie in memory; of "BYTES" each element behind its length in
/// four bytes. `type` is "BYTES", "INT64" or "INT32".
///
/// Errors: invalid_input, without a word of the data.
Result<void> read_binary(std::string_view bytes, std::string_view type, InputTensor& tensor);
/// Errors: invalid_input if there are not as many elements as the shape has.
Result<void> check_count(const InputTensor& tensor);

/// Where ids that came as padded rows stood, so that outputs can stand there too.
struct Padding {
  // The columns of the tokens that the mask keeps, [text][token]; empty: there was no mask.
  std::vector<std::vector<std::size_t>> places = {};
  std::size_t columns = 0;  // of the rows; 0: texts
};

struct PaddedSamples {
  std::vector<tools::Sample> samples;
  Padding padding;
};

/// The samples of a request: of each row of ids what the mask keeps.
///
/// Errors: invalid_input for inputs that do not go together or shapes that do not fit.
Result<PaddedSamples> read_samples(std::vector<InputTensor> inputs);

/// One output: numbers or texts.
struct OutputTensor {
  std::string name;
  std::string type;
  std::vector<std::size_t> shape = {};
  std::vector<float> numbers = {};
  std::vector<std::string> texts = {};
};

/// A request's texts with what the engine made of them; all [text].
struct AnsweredTexts {
  const tools::AnswerModel& model;
  const engine::Program& program;
  std::span<const tools::Sample> samples;
  std::span<const text::Encoding> encodings;
  std::span<const std::vector<tools::SampleOutput>> outputs;
};

/// In the order of output_infos. Errors: as of answer_json.
Result<std::vector<OutputTensor>> output_tensors(const AnsweredTexts& answered,
                                                 const Padding& padding,
                                                 bool with_answers);

/// The data as read_binary takes it.
std::string binary_of(const OutputTensor& tensor);

}  // namespace rtai::serve
