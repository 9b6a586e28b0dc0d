#include "libopt/prune/rebuild.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::prune {
namespace {

ir::Tensor difference(ir::Tensor a, const ir::Tensor& b) {
  const auto values = a.mutable_data<float>();
  std::ranges::transform(values, b.data<float>(), values.begin(), std::minus<>());
  return a;
}

/// Both models walking over the same texts side by side.
class Rebuild {
 public:
  Rebuild(const ir::Graph& dense,
          ir::Graph& student,
          const TokenBatch& texts,
          Evaluator& evaluator,
          const RebuildOptions& options,
          Log& log)
      : dense_(dense),
        student_(student),
        options_(options),
        log_(log),
        dense_walk_(texts, evaluator),
        student_walk_(texts, evaluator) {}

  Result<void> start(const Module& first) {
    const auto cut = cut_before(dense_, first);
    if (!cut) return {};
    RTAI_TRY_VOID(dense_walk_.advance(dense_, *cut));
    return student_walk_.advance(student_, *cut);
  }

  /// The layer that makes the units: on the student's source, towards the dense model's rows.
  Result<void> refit_inner(const Module& module, std::span<const Index> kept) {
    if (kept.empty() || !differs_) return {};
    const Layer now = layer_of(student_, module.in);
    const Index hidden = now.weight.dim(1);
    RTAI_TRY(Moments moments, Moments::make(hidden, hidden, options_.threads));
    const std::span source(&module.source, 1);
    for (Index batch = 0; batch < dense_walk_.batches(); ++batch) {
      RTAI_TRY(const std::vector<ir::Tensor> x, student_walk_.run(student_, batch, source));
      RTAI_TRY(const std::vector<ir::Tensor> t, dense_walk_.run(dense_, batch, source));
      RTAI_TRY_VOID(moments.add(x[0], t[0]));
    }
    RTAI_TRY(const Covariance sources, std::move(moments).finish());
    // What is aimed at is linear in the dense source, so its moments with it say everything.
    const Layer dense = layer_of(dense_, module.in);
    const std::vector<Index> rows = unit_rows(module, kept);
    RTAI_TRY(const Covariance covariance,
             map_targets(sources, {.weight = pick_rows(dense.weight, rows),
                                   .bias = pick(dense.bias, rows)}));
    return solve(covariance, module, module.in, now);
  }

  /// Past a module that is as it was, reading what it always read.
  Result<void> skip(std::optional<ir::ValueId> next) {
    if (!next) return {};
    RTAI_TRY_VOID(dense_walk_.advance(dense_, *next));
    return student_walk_.advance(student_, *next);
  }
  bool is_untouched(const Module& module, std::span<const Index> kept) const {
    return !differs_ && std::ssize(kept) == module.count;
  }

  /// The layer in front of the residual addition; then both models move on to `next`.
  Result<void> refit_outer(const Module& module,
                           std::span<const Index> kept,
                           std::optional<ir::ValueId> next) {
    const Layer now = layer_of(student_, module.out);
    const Index columns = std::ssize(kept) * module.width;
    RTAI_TRY(Moments moments, Moments::make(columns, now.weight.dim(0), options_.threads));
    for (Index batch = 0; batch < dense_walk_.batches(); ++batch) {
      const ir::ValueId inner[] = {module.residual, module.units};
      RTAI_TRY(const std::vector<ir::Tensor> mine,
               student_walk_.run(student_, batch, std::span(inner).first(kept.empty() ? 1 : 2)));
      const std::span sum(&module.sum, 1);
      RTAI_TRY(std::vector<ir::Tensor> goal,
               next ? dense_walk_.run_towards(dense_, batch, sum, *next)
                    : dense_walk_.run(dense_, batch, sum));
      const ir::Tensor target = difference(std::move(goal[0]), mine[0]);
      const ir::Tensor none = ir::Tensor::from<float>({target.dim(0), 0}, std::vector<float>{});
      RTAI_TRY_VOID(moments.add(kept.empty() ? none : mine[1], target));
    }
    RTAI_TRY(const Covariance covariance, std::move(moments).finish());
    if (options_.refit == Refit::scales) {
      if (!kept.empty()) RTAI_TRY_VOID(rescale(covariance, module, now));
    } else if (kept.empty()) {
      // Only the bias is left of it: the mean of what is missing.
      Layer layer = now;
      std::ranges::transform(covariance.mean_t, layer.bias.begin(),
                             [](double mean) { return static_cast<float>(mean); });
      set_layer(student_, module.out, layer);
    } else {
      RTAI_TRY_VOID(solve(covariance, module, module.out, now));
    }
    differs_ = true;
    if (!next) return {};
    dense_walk_.step(*next);
    return student_walk_.advance(student_, *next);
  }

 private:
  Result<void> solve(const Covariance& covariance,
                     const Module& module,
                     ir::NodeId linear,
                     const Layer& now) {
    RTAI_TRY(const RidgeFit fit,
             solve_ridge(covariance, now.weight, options_.ridge).in(module.name()));
    put(fit, module, linear);
    return {};
  }

  Result<void> rescale(const Covariance& covariance, const Module& module, const Layer& now) {
    RTAI_TRY(const RidgeFit fit,
             solve_scales(covariance, now, module.width, options_.ridge).in(module.name()));
    put(fit, module, module.out);
    return {};
  }

  void put(const RidgeFit& fit, const Module& module, ir::NodeId linear) {
    if (fit.ridge > options_.ridge) {
      log_.warning(fmt::format("{}: singular statistics, solved with a ridge of {}", module.name(),
                               fit.ridge));
    }
    set_layer(student_, linear, fit.layer);
  }

  const ir::Graph& dense_;
  ir::Graph& student_;
  const RebuildOptions& options_;
  Log& log_;
  Walk dense_walk_;
  Walk student_walk_;
  bool differs_ = false;  // the student's source is not the dense one any more
};

}  // namespace

Result<std::size_t> rebuild(const ir::Graph& dense,
                            ir::Graph& student,
                            std::span<const Module> modules,
                            std::span<const std::vector<Index>> kept,
                            const TokenBatch& texts,
                            Evaluator& evaluator,
                            const RebuildOptions& options,
                            Log& log) {
  Rebuild work(dense, student, texts, evaluator, options, log);
  RTAI_TRY_VOID(work.start(modules.front()));
  for (std::size_t m = 0; m < modules.size(); ++m) {
    if (options.is_late()) return m;
    log.progress("reconstruction", static_cast<double>(m), static_cast<double>(modules.size()));
    const auto next = cut_before(dense, modules, m + 1);
    if (work.is_untouched(modules[m], kept[m])) {
      RTAI_TRY_VOID(work.skip(next));
      continue;
    }
    if (options.refit == Refit::all) RTAI_TRY_VOID(work.refit_inner(modules[m], kept[m]));
    RTAI_TRY_VOID(work.refit_outer(modules[m], kept[m], next));
  }
  log.progress("reconstruction", 0, 0);
  return modules.size();
}

}  // namespace rtai::prune
