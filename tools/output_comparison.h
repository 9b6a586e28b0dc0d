// How far the outputs of one model are from another's.
#pragma once

#include "tools/answer_model.h"
#include "tools/predictor.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace rtai::tools {

/// Over what in an output a softmax is a distribution.
enum class Classes : std::uint8_t {
  none,
  columns,  // of a row: the classes of a text or of a token
  rows,     // of a column: the tokens that an answer may begin or end with
};

/// An output that two models have, and where it is among those of each.
struct SharedOutput {
  std::string name;  // in the first model
  std::size_t first = 0;
  std::size_t second = 0;
  Classes classes = Classes::none;
};

/// What has the same name in both programs, then of the others what has the same shape, in the
/// order of the first program. `model` is the first, which knows what its outputs are for.
///
/// Errors: invalid_input if there is nothing to compare, or outputs of one name differ in shape.
Result<std::vector<SharedOutput>> shared_outputs(const AnswerModel& model,
                                                 const engine::Program& first,
                                                 const engine::Program& second);

/// One sample in one output.
struct SampleDifference {
  double max_error = 0;
  double cosine = 1;
};

/// One output over all samples. Errors are absolute unless they are called relative. A value that
/// is no number makes figures that are none, which pass no gate.
struct OutputDifference {
  std::string name;
  double range = 0;  // of the first model's values: the largest less the smallest
  double max_error = 0;
  double mean_error = 0;
  /// The largest error over the size of the first model's value, which counts as no less than 1 %
  /// of the range: what is small beside the others may be rounded as they are.
  double max_relative_error = 0;
  double nmse = 0;                // squared error over the variance of the first model's values
  double cosine = 1;              // the mean over samples
  std::optional<double> kl = {};  // KL(first || second) of the softmax, the mean over distributions
  std::optional<double> max_kl = {};
  std::vector<SampleDifference> samples = {};  // in their order
};

/// Shapes: first, second [samples][outputs], of the same samples.
OutputDifference compare_output(const SharedOutput& output,
                                std::span<const std::vector<SampleOutput>> first,
                                std::span<const std::vector<SampleOutput>> second);

/// A sample, and the output in which the models lie furthest apart on it.
struct WorstSample {
  std::size_t sample = 0;
  std::size_t output = 0;
};

/// The samples with the largest errors, each as a share of its output's range, the worst first.
std::vector<WorstSample> worst_samples(std::span<const OutputDifference> outputs, std::size_t most);

}  // namespace rtai::tools
