#include "libopt/prune/fisher.h"

#include "libopt/grad/multiply.h"
#include "libopt/grad/tape.h"
#include "libopt/prune/internal/algebra.h"
#include "libopt/prune/texts.h"
#include "runtime/base/parallel.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace rtai::prune {
namespace {

/// Bounds what one piece of work remembers: 40 MiB for a layer of BERT-base.
constexpr Index kTokensPerGradient = 512;

/// The place in the group that a draw from its softmax hits; `shares` gets the softmax.
Index draw(const Group& group,
           std::span<const float> logits,
           Random& random,
           std::vector<double>& shares) {
  softmax(group, logits, shares);
  double left = random.unit();
  Index drawn = 0;
  while (drawn + 1 < group.count && left >= shares[static_cast<std::size_t>(drawn)])
    left -= shares[static_cast<std::size_t>(drawn++)];
  return drawn;
}

/// Normally distributed numbers (Box and Muller 1958).
double normal(Random& random) {
  const double radius = std::sqrt(-2 * std::log(1 - random.unit()));
  return radius * std::cos(2 * std::numbers::pi * random.unit());
}

/// d -log p(answer) / d output for an answer drawn from the output.
Result<ir::Tensor> derivative_of_draw(Comparison comparison,
                                      const ir::Tensor& output,
                                      std::span<const Index> offsets,
                                      Random& random) {
  RTAI_TRY(ir::Tensor derivative, ir::Tensor::zeros(DType::f32, output.dims()));
  const auto values = derivative.mutable_data<float>();
  if (comparison == Comparison::values) {
    for (float& value : values)
      value = static_cast<float>(normal(random));
    return derivative;
  }
  std::vector<double> shares;
  for (const Group& group : softmax_groups(comparison, output, offsets)) {
    const Index drawn = draw(group, output.data<float>(), random, shares);
    for (Index i = 0; i < group.count; ++i) {
      values[static_cast<std::size_t>(group.first + i * group.stride)] =
          static_cast<float>(shares[static_cast<std::size_t>(i)] - (i == drawn ? 1 : 0));
    }
  }
  return derivative;
}

/// Derivatives by the masks of one module, [sequences, count]: a mask scales its unit's columns.
RowMatrixF by_masks(const Module& module,
                    const ir::Tensor& units,
                    const ir::Tensor& derivative,
                    std::span<const Index> offsets) {
  const auto x = matrix_of(units);
  const auto d = matrix_of(derivative);
  RowMatrixF masks(std::ssize(offsets) - 1, module.count);
  for (Index s = 0; s < masks.rows(); ++s) {
    const Index begin = offsets[static_cast<std::size_t>(s)];
    const Index seq = offsets[static_cast<std::size_t>(s) + 1] - begin;
    const Eigen::RowVectorXf columns =
        x.middleRows(begin, seq).cwiseProduct(d.middleRows(begin, seq)).colwise().sum();
    for (Index unit = 0; unit < module.count; ++unit)
      masks(s, unit) = columns.segment(unit * module.width, module.width).sum();
  }
  return masks;
}

/// Draws answers and takes derivatives by `wanted`, piece by piece: visit(piece, draw, tape,
/// gradients) on several threads, `at_once` pieces at a time, then done(first, count) for those.
template <class Visit, class Done>
Result<void> for_each_draw(const ir::Graph& dense,
                           std::span<const ir::ValueId> wanted,
                           std::span<const TokenBatch> pieces,
                           const FisherOptions& options,
                           Index at_once,
                           Log& log,
                           const Visit& visit,
                           const Done& done) {
  const auto work = [&](Index p) -> Result<void> {
    const TokenBatch& piece = pieces[static_cast<std::size_t>(p)];
    RTAI_TRY(const grad::Tape tape,
             grad::Tape::record(dense, model_inputs(dense, piece), piece.offsets));
    Random random(options.seed * 0x10001 + static_cast<std::uint64_t>(p));
    for (Index drawn = 0; drawn < options.draws; ++drawn) {
      grad::Gradients given;
      for (const ir::ValueId output : dense.outputs()) {
        RTAI_TRY(ir::Tensor derivative,
                 derivative_of_draw(comparison_of(dense, output), tape.value(output), piece.offsets,
                                    random));
        given.emplace(output, std::move(derivative));
      }
      RTAI_TRY(const grad::Gradients gradients, tape.back(given, wanted));
      visit(p, drawn, tape, gradients);
    }
    return {};
  };
  for (Index p = 0; p < std::ssize(pieces); p += at_once) {
    log.progress("derivatives", static_cast<double>(p), static_cast<double>(pieces.size()));
    const Index count = std::min(at_once, std::ssize(pieces) - p);
    RTAI_TRY_VOID(for_each_piece(count, options.threads, [&](Index i) { return work(p + i); }));
    RTAI_TRY_VOID(done(p, count));
  }
  log.progress("derivatives", 0, 0);
  return {};
}

/// S with S^T S = information + a hundredth of its mean diagonal.
Result<ir::Tensor> root_of(Matrix information) {
  constexpr double kRidge = 0.01;
  information.diagonal().array() += kRidge * information.diagonal().mean() + 1e-30;
  const std::optional<Matrix> root = upper_factor(std::move(information));
  if (!root)
    return Error{ErrorCode::invalid_input, "the derivatives of the outputs are not finite"};
  return to_tensor(*root);
}

/// Of the rows of `sums`, as output_metrics has it.
Result<std::vector<ir::Tensor>> roots_of_information(const ir::Graph& dense,
                                                     std::span<const ir::ValueId> sums,
                                                     const TokenBatch& texts,
                                                     const FisherOptions& options,
                                                     Log& log) {
  const std::vector<TokenBatch> pieces = cut(texts, kTokensPerGradient);
  std::vector<RowMatrixF> information(sums.size());
  std::vector<std::vector<RowMatrixF>> parts(pieces.size());  // of it, by module

  const auto visit = [&](Index p, Index, const grad::Tape&, const grad::Gradients& gradients) {
    std::vector<RowMatrixF>& products = parts[static_cast<std::size_t>(p)];
    products.resize(sums.size());
    for (std::size_t m = 0; m < sums.size(); ++m) {
      const auto g = matrix_of(gradients.at(sums[m]));
      if (products[m].size() == 0) products[m] = RowMatrixF::Zero(g.cols(), g.cols());
      grad::add_product_by_columns(g, g, products[m]);
    }
  };
  // Added piece by piece, so that sums do not depend on which thread was faster.
  const auto add = [&](Index first, Index count) -> Result<void> {
    for (Index p = first; p < first + count; ++p) {
      for (std::size_t m = 0; m < sums.size(); ++m) {
        RowMatrixF& part = parts[static_cast<std::size_t>(p)][m];
        if (p == 0)
          information[m] = std::move(part);
        else
          information[m] += part;
      }
      parts[static_cast<std::size_t>(p)] = {};
    }
    return {};
  };
  RTAI_TRY_VOID(for_each_draw(dense, sums, pieces, options, options.threads, log, visit, add));
  std::vector<ir::Tensor> metrics;
  const auto rows_of_all = static_cast<double>(texts.tokens() * options.draws);
  for (const RowMatrixF& sum : information) {
    RTAI_TRY(ir::Tensor metric, root_of(sum.cast<double>() / rows_of_all));
    metrics.push_back(std::move(metric));
  }
  return metrics;
}

}  // namespace

Result<std::vector<ir::Tensor>> mask_derivatives(const ir::Graph& dense,
                                                 std::span<const Module> modules,
                                                 const TokenBatch& texts,
                                                 const FisherOptions& options,
                                                 Log& log) {
  if (texts.tokens() == 0)
    return Error{ErrorCode::invalid_input, "no tokens to take derivatives of"};
  std::vector<ir::Tensor> all;
  std::vector<ir::ValueId> units;
  for (const Module& module : modules) {
    RTAI_TRY(ir::Tensor rows,
             ir::Tensor::zeros(DType::f32, {texts.sequences() * options.draws, module.count}));
    all.push_back(std::move(rows));
    units.push_back(module.units);
  }
  std::vector<float*> rows_of;
  for (ir::Tensor& rows : all)
    rows_of.push_back(rows.mutable_data<float>().data());
  const std::vector<TokenBatch> pieces = cut(texts, kTokensPerGradient);
  std::vector<Index> first = {0};  // sequence of each piece
  for (const TokenBatch& piece : pieces)
    first.push_back(first.back() + piece.sequences());

  const auto visit = [&](Index p, Index drawn, const grad::Tape& tape,
                         const grad::Gradients& gradients) {
    const TokenBatch& piece = pieces[static_cast<std::size_t>(p)];
    for (std::size_t m = 0; m < modules.size(); ++m) {
      const RowMatrixF masks =
          by_masks(modules[m], tape.value(units[m]), gradients.at(units[m]), piece.offsets);
      const Index row = drawn * texts.sequences() + first[static_cast<std::size_t>(p)];
      std::copy_n(masks.data(), masks.size(), rows_of[m] + row * masks.cols());
    }
  };
  RTAI_TRY_VOID(for_each_draw(dense, units, pieces, options, 4 * options.threads, log, visit,
                              [](Index, Index) -> Result<void> { return {}; }));
  return all;
}

Result<std::vector<ir::Tensor>> output_metrics(const ir::Graph& dense,
                                               std::span<const Module> modules,
                                               const TokenBatch& texts,
                                               const FisherOptions& options,
                                               Log& log) {
  if (texts.tokens() == 0)
    return Error{ErrorCode::invalid_input, "no tokens to take derivatives of"};
  std::vector<ir::ValueId> sums;
  for (const Module& module : modules)
    sums.push_back(module.sum);
  return guarded([&] { return roots_of_information(dense, sums, texts, options, log); });
}

Scores fisher_scores(std::span<const ir::Tensor> derivatives) {
  Scores scores;
  for (const ir::Tensor& rows : derivatives) {
    const Eigen::VectorXd squares =
        matrix_of(rows).cast<double>().colwise().squaredNorm().transpose();
    scores.emplace_back(squares.begin(), squares.end());
  }
  return scores;
}

std::vector<Index> rearranged(std::span<const Index> kept, const ir::Tensor& derivatives) {
  const Matrix rows = widened(matrix_of(derivatives));
  const Matrix information = product_by_columns(rows, rows);
  std::vector<char> is_kept(static_cast<std::size_t>(information.rows()), 0);
  for (const Index unit : kept)
    is_kept[static_cast<std::size_t>(unit)] = 1;
  // Of each unit with all that are removed.
  Eigen::VectorXd together = Eigen::VectorXd::Zero(information.rows());
  for (Index unit = 0; unit < information.rows(); ++unit) {
    if (is_kept[static_cast<std::size_t>(unit)] == 0) together += information.col(unit);
  }
  std::vector<Index> turns(kept.begin(), kept.end());
  std::ranges::stable_sort(turns, {}, [&](Index unit) { return information(unit, unit); });
  for (const Index unit : turns) {
    is_kept[static_cast<std::size_t>(unit)] = 0;
    together += information.col(unit);
    // Without unit u the removed ones do less harm by 2 together(u) - information(u, u).
    Index back = unit;
    const auto relief = [&](Index u) { return 2 * together(u) - information(u, u); };
    for (Index u = 0; u < information.rows(); ++u) {
      if (is_kept[static_cast<std::size_t>(u)] == 0 && relief(u) > relief(back)) back = u;
    }
    is_kept[static_cast<std::size_t>(back)] = 1;
    together -= information.col(back);
  }
  std::vector<Index> result;
  for (Index unit = 0; unit < information.rows(); ++unit) {
    if (is_kept[static_cast<std::size_t>(unit)] != 0) result.push_back(unit);
  }
  return result;
}

}  // namespace rtai::prune
