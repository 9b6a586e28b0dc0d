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

/// KL(softmax(p) || softmax(q)) of two vectors of logits.
double divergence_of(const float* p, const float* q, Index count, Index stride) {
  const double log_p = log_sum_exp(p, count, stride);
  const double log_q = log_sum_exp(q, count, stride);
  double sum = 0;
  for (Index i = 0; i < count; ++i) {
    const double lp = p[i * stride] - log_p;
    const double lq = q[i * stride] - log_q;
    sum += std::exp(lp) * (lp - lq);
  }
  return sum;
}

/// One sequence's rows of an output.
struct Rows {
  Index begin;
  Index end;
};

void compare_classes(const ir::Tensor& dense, const ir::Tensor& changed, Rows rows, Mean& mean) {
  const Index columns = dense.dim(1);
  for (Index r = rows.begin; r < rows.end; ++r) {
    mean.sum += divergence_of(dense.data<float>().data() + r * columns,
                              changed.data<float>().data() + r * columns, columns, 1);
    mean.count += 1;
  }
}

void compare_positions(const ir::Tensor& dense, const ir::Tensor& changed, Rows rows, Mean& mean) {
  const Index columns = dense.dim(1);
  for (Index c = 0; c < columns; ++c) {
    mean.sum += divergence_of(dense.data<float>().data() + rows.begin * columns + c,
                              changed.data<float>().data() + rows.begin * columns + c,
                              rows.end - rows.begin, columns);
    mean.count += 1;
  }
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

void compare_values(const ir::Tensor& dense,
                    const ir::Tensor& changed,
                    Rows rows,
                    ErrorSums& sums) {
  const Index columns = dense.dim(1);
  const auto p = dense.data<float>();
  const auto q = changed.data<float>();
  for (auto i = static_cast<std::size_t>(rows.begin * columns);
       i < static_cast<std::size_t>(rows.end * columns); ++i) {
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
    const auto offsets = walk_.offsets(batch);
    for (std::size_t o = 0; o < outputs.size(); ++o) {
      const ir::Tensor& dense = dense_[static_cast<std::size_t>(batch)][o];
      const bool of_tokens = dense.dim(0) == offsets.back();
      for (Index s = 0; s + 1 < std::ssize(offsets); ++s) {
        Rows rows = of_tokens ? Rows{offsets[static_cast<std::size_t>(s)],
                                     offsets[static_cast<std::size_t>(s) + 1]}
                              : Rows{s, s + 1};
        switch (comparisons_[o]) {
          case Comparison::classes:
            if (of_tokens && rows.end - rows.begin > 2) rows = {rows.begin + 1, rows.end - 1};
            compare_classes(dense, outputs[o], rows, means[o]);
            break;
          case Comparison::positions:
            compare_positions(dense, outputs[o], rows, means[o]);
            break;
          case Comparison::values:
            compare_values(dense, outputs[o], rows, errors[o]);
            break;
        }
      }
    }
  }
  double sum = 0;
  for (std::size_t o = 0; o < means.size(); ++o)
    sum += means[o].value() + errors[o].value();
  return sum;
}

}  // namespace rtai::prune
