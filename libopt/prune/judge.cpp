#include "libopt/prune/judge.h"

#include <algorithm>
#include <cmath>

namespace rtai::prune {
namespace {

/// A weighted sum that becomes a mean.
struct Mean {
  double sum = 0;
  double count = 0;
  double value() const { return count > 0 ? sum / count : 0; }
};

/// log(sum(exp(values))) of `count` values, `stride` apart.
double log_sum_exp(const float* values, Index count, Index stride) {
  float most = values[0];
  for (Index i = 1; i < count; ++i)
    most = std::max(most, values[i * stride]);
  double sum = 0;
  for (Index i = 0; i < count; ++i)
    sum += std::exp(static_cast<double>(values[i * stride] - most));
  return most + std::log(sum);
}

/// KL(softmax(dense) || softmax(changed)) of one group.
double divergence_of(const Group& group, const ir::Tensor& dense, const ir::Tensor& changed) {
  const float* p = dense.data<float>().data() + group.first;
  const float* q = changed.data<float>().data() + group.first;
  const double log_p = log_sum_exp(p, group.count, group.stride);
  const double log_q = log_sum_exp(q, group.count, group.stride);
  double sum = 0;
  for (Index i = 0; i < group.count; ++i) {
    const double lp = p[i * group.stride] - log_p;
    const double lq = q[i * group.stride] - log_q;
    sum += std::exp(lp) * (lp - lq);
  }
  return sum;
}

/// Sums for the squared error relative to the variance.
struct ErrorSums {
  double error = 0;
  double sum = 0;
  double squares = 0;
  double count = 0;

  double value() const {
    const double variance = count > 0 ? squares - sum * sum / count : 0;
    return variance > 0 ? error / variance : 0;
  }
};

void compare_values(const ir::Tensor& dense, const ir::Tensor& changed, ErrorSums& sums) {
  const auto p = dense.data<float>();
  const auto q = changed.data<float>();
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double error = static_cast<double>(p[i]) - q[i];
    sums.error += error * error;
    sums.sum += p[i];
    sums.squares += static_cast<double>(p[i]) * p[i];
    sums.count += 1;
  }
}

}  // namespace

Comparison comparison_of(const ir::Graph& graph, ir::ValueId output) {
  const ir::Node* producer = graph.producer(output);
  while (producer != nullptr && producer->op() == ir::Op::columns)
    producer = graph.producer(producer->input(0));
  if (producer == nullptr || producer->op() != ir::Op::linear) return Comparison::values;
  const std::vector<ir::Dim>& dims = *graph.type(output).dims;
  if (dims[1].size > 1) return Comparison::classes;
  return dims[0] == ir::Dim("sequences") ? Comparison::values : Comparison::positions;
}

std::vector<Group> softmax_groups(Comparison comparison,
                                  const ir::Tensor& output,
                                  std::span<const Index> offsets) {
  std::vector<Group> groups;
  if (comparison == Comparison::values) return groups;
  const Index columns = output.dim(1);
  const bool of_tokens = output.dim(0) == offsets.back();
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    Index begin = of_tokens ? offsets[s] : static_cast<Index>(s);
    Index end = of_tokens ? offsets[s + 1] : begin + 1;
    if (comparison == Comparison::positions) {
      for (Index c = 0; c < columns; ++c)
        groups.push_back({.first = begin * columns + c, .count = end - begin, .stride = columns});
      continue;
    }
    if (of_tokens && end - begin > 2) ++begin, --end;
    for (Index r = begin; r < end; ++r)
      groups.push_back({.first = r * columns, .count = columns});
  }
  return groups;
}

void softmax(const Group& group, std::span<const float> values, std::vector<double>& shares) {
  shares.clear();
  for (Index i = 0; i < group.count; ++i)
    shares.push_back(values[static_cast<std::size_t>(group.first + i * group.stride)]);
  const double most = *std::ranges::max_element(shares);
  double sum = 0;
  for (double& share : shares)
    sum += share = std::exp(share - most);
  for (double& share : shares)
    share /= sum;
}

Result<Judge> Judge::make(const ir::Graph& dense, const TokenBatch& texts, Evaluator& evaluator) {
  Judge judge(texts, evaluator);
  for (const ir::ValueId output : dense.outputs())
    judge.comparisons_.push_back(comparison_of(dense, output));
  for (Index batch = 0; batch < judge.walk_.batches(); ++batch) {
    RTAI_TRY(std::vector<ir::Tensor> outputs, judge.walk_.run(dense, batch, dense.outputs()));
    judge.dense_.push_back(std::move(outputs));
  }
  return judge;
}

Result<double> Judge::divergence(const ir::Graph& changed) {
  std::vector<Mean> means(comparisons_.size());
  std::vector<ErrorSums> errors(comparisons_.size());
  for (Index batch = 0; batch < walk_.batches(); ++batch) {
    RTAI_TRY(const std::vector<ir::Tensor> outputs, walk_.run(changed, batch, changed.outputs()));
    for (std::size_t o = 0; o < outputs.size(); ++o) {
      const ir::Tensor& dense = dense_[static_cast<std::size_t>(batch)][o];
      for (const Group& group : softmax_groups(comparisons_[o], dense, walk_.offsets(batch))) {
        means[o].sum += divergence_of(group, dense, outputs[o]);
        means[o].count += 1;
      }
      if (comparisons_[o] == Comparison::values) compare_values(dense, outputs[o], errors[o]);
    }
  }
  double sum = 0;
  for (std::size_t o = 0; o < means.size(); ++o)
    sum += means[o].value() + errors[o].value();
  return sum;
}

}  // namespace rtai::prune
