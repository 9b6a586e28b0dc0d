#include "tools/output_comparison.h"

#include "tools/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace rtai::tools {
namespace {

constexpr double kLeastShareOfRange = 0.01;

const engine::ValueInfo& shape_of(const engine::Program& program, std::size_t output) {
  return program.values[static_cast<std::size_t>(program.outputs[output].value)];
}

bool same_shape(const engine::ValueInfo& a, const engine::ValueInfo& b) {
  return a.rows == b.rows && a.columns == b.columns;
}

std::string shape_text(const engine::ValueInfo& shape) {
  return fmt::format("[{}, {}]", shape.rows == engine::Rows::tokens ? "tokens" : "texts",
                     shape.columns);
}

std::vector<std::string> names_of(const engine::Program& program) {
  std::vector<std::string> names;
  for (const engine::Output& output : program.outputs)
    names.push_back(output.name);
  return names;
}

/// Labels are given by the first output; where an answer begins and ends, by one each or by both
/// columns of one.
Classes classes_of(const AnswerModel& model, const engine::ValueInfo& shape, std::size_t output) {
  switch (model.task) {
    case Task::sequence_classification:
    case Task::token_classification: {
      const bool is_softmax = output == 0 && shape.columns > 1 && !model.multi_label;
      return is_softmax ? Classes::columns : Classes::none;
    }
    case Task::question_answering: {
      const bool is_place = shape.rows == engine::Rows::tokens && shape.columns <= 2;
      return is_place ? Classes::rows : Classes::none;
    }
    default:
      return Classes::none;
  }
}

/// The larger one; what is no number is larger than all.
double worse(double a, double b) {
  return std::isnan(a) || a > b ? a : b;
}

/// Equal infinities do not differ.
double error_of(double expected, double found) {
  return expected == found ? 0 : std::fabs(expected - found);
}

/// Of the finite values in an output.
double range_of(std::span<const std::vector<SampleOutput>> samples, std::size_t output) {
  double least = std::numeric_limits<double>::infinity();
  double most = -least;
  for (const std::vector<SampleOutput>& sample : samples) {
    for (const double value : sample[output].values) {
      if (!std::isfinite(value)) continue;
      least = std::min(least, value);
      most = std::max(most, value);
    }
  }
  return most > least ? most - least : 0;
}

std::vector<float> column_of(const SampleOutput& output, Index column) {
  std::vector<float> values;
  for (Index r = 0; r < output.rows; ++r)
    values.push_back(output.row(r)[static_cast<std::size_t>(column)]);
  return values;
}

/// KL divergences of all distributions in one sample.
std::vector<double> divergences(const SampleOutput& first,
                                const SampleOutput& second,
                                Classes classes) {
  std::vector<double> all;
  if (classes == Classes::columns) {
    for (Index r = 0; r < first.rows; ++r)
      all.push_back(kl_divergence(first.row(r), second.row(r)));
  } else if (classes == Classes::rows) {
    for (Index c = 0; c < first.columns; ++c)
      all.push_back(kl_divergence(column_of(first, c), column_of(second, c)));
  }
  return all;
}

/// Sums over samples, from which the figures follow.
class OutputSums {
 public:
  explicit OutputSums(double range) : least_size_(kLeastShareOfRange * range) {}

  SampleDifference add(const SampleOutput& first, const SampleOutput& second) {
    SampleDifference difference;
    for (std::size_t i = 0; i < first.values.size(); ++i) {
      const double x = first.values[i];
      const double y = second.values[i];
      const double error = error_of(x, y);
      difference.max_error = worse(difference.max_error, error);
      if (error != 0)
        max_relative_error_ =
            worse(max_relative_error_, error / std::max(std::fabs(x), least_size_));
      error_ += error;
      squares_.add(x, y);
    }
    difference.cosine = tools::cosine(first.values, second.values);
    values_ += static_cast<double>(first.values.size());
    cosine_ += difference.cosine;
    samples_ += 1;
    return difference;
  }

  double max_relative_error() const { return max_relative_error_; }
  double mean_error() const { return values_ > 0 ? error_ / values_ : 0; }
  double nmse() const { return squares_.nmse(); }
  double cosine() const { return samples_ > 0 ? cosine_ / samples_ : 1; }

 private:
  double least_size_;
  double max_relative_error_ = 0;
  double error_ = 0;
  double values_ = 0;
  SquaredErrors squares_;
  double cosine_ = 0;
  double samples_ = 0;
};

}  // namespace

Result<std::vector<SharedOutput>> shared_outputs(const AnswerModel& model,
                                                 const engine::Program& first,
                                                 const engine::Program& second) {
  constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
  std::vector<std::size_t> partners(first.outputs.size(), kNone);
  std::vector<bool> is_taken(second.outputs.size(), false);
  const auto match = [&](const auto& belong_together) {
    for (std::size_t i = 0; i < partners.size(); ++i) {
      for (std::size_t j = 0; j < is_taken.size() && partners[i] == kNone; ++j) {
        if (is_taken[j] || !belong_together(i, j)) continue;
        partners[i] = j;
        is_taken[j] = true;
      }
    }
  };
  match([&](std::size_t i, std::size_t j) {
    return first.outputs[i].name == second.outputs[j].name;
  });
  match([&](std::size_t i, std::size_t j) {
    return same_shape(shape_of(first, i), shape_of(second, j));
  });
  std::vector<SharedOutput> shared;
  for (std::size_t i = 0; i < partners.size(); ++i) {
    if (partners[i] == kNone) continue;
    const std::string& name = first.outputs[i].name;
    const engine::ValueInfo& a = shape_of(first, i);
    const engine::ValueInfo& b = shape_of(second, partners[i]);
    if (!same_shape(a, b))
      return invalid_input(fmt::format("output '{}': expected {} as in the first model, found {}",
                                       name, shape_text(a), shape_text(b)));
    shared.push_back({name, i, partners[i], classes_of(model, a, i)});
  }
  if (!shared.empty()) return shared;
  return invalid_input(fmt::format("the models share no output: the first gives {}, the second {}",
                                   fmt::join(names_of(first), ", "),
                                   fmt::join(names_of(second), ", ")));
}

OutputDifference compare_output(const SharedOutput& output,
                                std::span<const std::vector<SampleOutput>> first,
                                std::span<const std::vector<SampleOutput>> second) {
  OutputDifference difference{.name = output.name, .range = range_of(first, output.first)};
  OutputSums sums(difference.range);
  std::vector<double> kl;
  for (std::size_t i = 0; i < first.size(); ++i) {
    const SampleOutput& a = first[i][output.first];
    const SampleOutput& b = second[i][output.second];
    difference.samples.push_back(sums.add(a, b));
    difference.max_error = worse(difference.max_error, difference.samples.back().max_error);
    const std::vector<double> more = divergences(a, b, output.classes);
    kl.insert(kl.end(), more.begin(), more.end());
  }
  difference.mean_error = sums.mean_error();
  difference.max_relative_error = sums.max_relative_error();
  difference.nmse = sums.nmse();
  difference.cosine = sums.cosine();
  if (output.classes == Classes::none) return difference;
  const double sum = std::accumulate(kl.begin(), kl.end(), 0.0);
  difference.kl = kl.empty() ? 0 : sum / static_cast<double>(kl.size());
  difference.max_kl = std::accumulate(kl.begin(), kl.end(), 0.0, worse);
  return difference;
}

std::vector<WorstSample> worst_samples(std::span<const OutputDifference> outputs,
                                       std::size_t most) {
  constexpr double kNoNumber = std::numeric_limits<double>::infinity();
  const auto share = [&](const WorstSample& at) {
    const double error = outputs[at.output].samples[at.sample].max_error;
    if (error == 0) return 0.0;
    return std::isnan(error) ? kNoNumber : error / outputs[at.output].range;
  };
  const auto is_worse = [&](const WorstSample& a, const WorstSample& b) {
    return share(a) > share(b);
  };
  std::vector<WorstSample> worst;
  for (std::size_t sample = 0; sample < outputs.front().samples.size(); ++sample) {
    WorstSample one{.sample = sample};
    for (std::size_t output = 1; output < outputs.size(); ++output) {
      if (is_worse({sample, output}, one)) one.output = output;
    }
    worst.push_back(one);
  }
  std::stable_sort(worst.begin(), worst.end(), is_worse);
  worst.resize(std::min(worst.size(), most));
  return worst;
}

}  // namespace rtai::tools
