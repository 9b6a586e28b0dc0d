#include "libopt/prune/refine.h"

#include "libopt/grad/tape.h"
#include "libopt/prune/internal/eigen.h"
#include "libopt/prune/texts.h"
#include "runtime/base/parallel.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <set>

namespace rtai::prune {
namespace {

/// What the dense model answers at once, a step's texts, and the parts that threads take of it;
/// sums of parts do not depend on threads.
constexpr Index kTokensPerLesson = 2048;
constexpr Index kTokensPerStep = 512;
constexpr Index kTokensPerPart = 256;

/// The share of the time in which the rate rises.
constexpr double kWarmUp = 0.05;

/// What the steps move: weights, biases and norms, but not the remains of modules that are to be
/// dropped, which must stay without effect.
std::vector<ir::ValueId> parameters(const ir::Graph& student,
                                    std::span<const Module> modules,
                                    std::span<const std::vector<Index>> kept) {
  std::set<ir::NodeId> fixed;
  for (std::size_t m = 0; m < modules.size(); ++m) {
    if (kept[m].empty()) fixed.insert({modules[m].in, modules[m].out});
  }
  std::set<ir::ValueId> chosen;
  for (const ir::NodeId id : student.order()) {
    const ir::Node& node = student.node(id);
    if (node.op() != ir::Op::linear && node.op() != ir::Op::layer_norm) continue;
    if (fixed.contains(id)) continue;
    for (const ir::ValueId input : node.inputs().subspan(1)) {
      if (input != ir::kNoValue && student.constant(input) != nullptr) chosen.insert(input);
    }
  }
  return {chosen.begin(), chosen.end()};
}

class Adam {
 public:
  /// Moves `values` against `gradient`; t counts the steps from 1.
  void step(std::span<float> values, std::span<const float> gradient, double rate, Index t) {
    constexpr float kKeepFirst = 0.9f;
    constexpr float kKeepSecond = 0.999f;
    constexpr float kEpsilon = 1e-8f;
    first_.resize(values.size());
    second_.resize(values.size());
    // Both begin at zero: what is missing at first is made up for.
    const auto whole = [t](float keep) { return 1 - std::pow(static_cast<double>(keep), t); };
    const auto to_second = static_cast<float>(1 / whole(kKeepSecond));
    const auto size = static_cast<float>(rate / whole(kKeepFirst));
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float g = gradient[i];
      first_[i] = kKeepFirst * first_[i] + (1 - kKeepFirst) * g;
      second_[i] = kKeepSecond * second_[i] + (1 - kKeepSecond) * g * g;
      values[i] -= size * first_[i] / (std::sqrt(second_[i] * to_second) + kEpsilon);
    }
  }

 private:
  std::vector<float> first_;
  std::vector<float> second_;
};

/// d (|dense - now|^2 / |dense - mean of its columns|^2) / d now, times `weight`.
ir::Tensor derivative_of_error(const ir::Tensor& dense, const ir::Tensor& now, double weight) {
  const auto target = matrix_of(dense);
  const RowMatrixF centred = target.rowwise() - target.colwise().mean();
  // A single row has no spread: its size stands in.
  const double spread = target.rows() > 1 ? centred.squaredNorm() : target.squaredNorm();
  const auto factor = static_cast<float>(spread > 0 ? 2 * weight / spread : 0);
  return to_tensor(factor * (matrix_of(now) - target));
}

/// d divergence / d output, times `weight`.
Result<ir::Tensor> derivative_of_divergence(Comparison comparison,
                                            const ir::Tensor& dense,
                                            const ir::Tensor& now,
                                            std::span<const Index> offsets,
                                            double weight) {
  if (comparison == Comparison::values) return derivative_of_error(dense, now, weight);
  RTAI_TRY(ir::Tensor derivative, ir::Tensor::zeros(DType::f32, now.dims()));
  const auto values = derivative.mutable_data<float>();
  const std::vector<Group> groups = softmax_groups(comparison, now, offsets);
  std::vector<double> aim;
  std::vector<double> is;
  for (const Group& group : groups) {
    softmax(group, dense.data<float>(), aim);
    softmax(group, now.data<float>(), is);
    for (Index i = 0; i < group.count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      values[static_cast<std::size_t>(group.first + i * group.stride)] =
          static_cast<float>((is[at] - aim[at]) * weight / static_cast<double>(groups.size()));
    }
  }
  return derivative;
}

/// Texts for some steps, one after the other, forever, in an order of chance that changes each time
/// round.
class Lessons {
 public:
  Lessons(const TokenBatch& texts, double swap, std::uint64_t seed)
      : texts_(&texts), swap_(swap), seed_(seed) {}

  TokenBatch next() {
    if (at_ == lessons_.size()) begin_round();
    return std::move(lessons_[at_++]);
  }

 private:
  void begin_round() {
    const std::uint64_t seed = seed_ * 0x10001 + ++rounds_;
    const TokenBatch copies = swap_words(*texts_, swap_ > 0 ? 1 : 0, swap_, seed);
    lessons_ = cut(shuffled(concat(*texts_, copies), seed), kTokensPerLesson);
    at_ = 0;
  }

  const TokenBatch* texts_;
  double swap_;
  std::uint64_t seed_;
  std::uint64_t rounds_ = 0;
  std::vector<TokenBatch> lessons_;
  std::size_t at_ = 0;
};

/// The student with all that its steps need.
class Refiner {
 public:
  Refiner(const ir::Graph& dense,
          ir::Graph& student,
          std::span<const Module> modules,
          std::span<const std::vector<Index>> kept,
          Evaluator& evaluator,
          int threads)
      : dense_(&dense),
        student_(&student),
        parameters_(parameters(student, modules, kept)),
        adam_(parameters_.size()),
        evaluator_(&evaluator),
        threads_(threads) {
    for (const ir::ValueId output : dense.outputs())
      comparisons_.push_back(comparison_of(dense, output));
    for (const Module& module : modules)
      places_.push_back(module.sum);
  }

  std::vector<ir::Tensor> weights() const {
    std::vector<ir::Tensor> all;
    for (const ir::ValueId parameter : parameters_)
      all.push_back(*student_->constant(parameter));
    return all;
  }
  void put_back(std::span<const ir::Tensor> weights) {
    for (std::size_t p = 0; p < parameters_.size(); ++p)
      student_->set_constant(parameters_[p], weights[p]);
  }

  /// One step after the other on some texts; `rate` says how far each goes, nothing ends them.
  Result<void> learn(const TokenBatch& lesson, const std::function<std::optional<double>()>& rate) {
    RTAI_TRY(const std::vector<ir::Tensor> aims, dense_values(lesson));
    Index first = 0;  // sequence of the step
    for (const TokenBatch& texts : cut(lesson, kTokensPerStep)) {
      const std::optional<double> now = rate();
      if (!now) return {};
      RTAI_TRY_VOID(step(lesson, first, texts, aims, *now));
      first += texts.sequences();
    }
    return {};
  }

  Index steps() const { return steps_; }

 private:
  /// A step on `texts`, which are those of `lesson` from `first` on; aims: of the whole lesson.
  Result<void> step(const TokenBatch& lesson,
                    Index first,
                    const TokenBatch& texts,
                    std::span<const ir::Tensor> aims,
                    double rate) {
    const std::vector<TokenBatch> parts = cut(texts, kTokensPerPart);
    std::vector<Index> begins;
    for (const TokenBatch& part : parts) {
      begins.push_back(first);
      first += part.sequences();
    }
    std::vector<grad::Gradients> by_part(parts.size());
    const auto all = static_cast<double>(texts.tokens());
    RTAI_TRY_VOID(for_each_piece(std::ssize(parts), threads_, [&](Index i) -> Result<void> {
      const auto part = static_cast<std::size_t>(i);
      std::vector<ir::Tensor> of_part;
      for (const ir::Tensor& aim : aims)
        of_part.push_back(rows_of_texts(aim, lesson, begins[part], parts[part].sequences()));
      const double share = static_cast<double>(parts[part].tokens()) / all;
      RTAI_TRY(by_part[part], gradients(parts[part], of_part, share));
      return {};
    }));
    ++steps_;
    for (std::size_t p = 0; p < parameters_.size(); ++p) {
      ir::Tensor sum = std::move(by_part.front().at(parameters_[p]));
      const auto total = sum.mutable_data<float>();
      for (std::size_t part = 1; part < by_part.size(); ++part) {
        const auto more = by_part[part].at(parameters_[p]).data<float>();
        std::ranges::transform(total, more, total.begin(), std::plus{});
      }
      ir::Tensor values = *student_->constant(parameters_[p]);
      adam_[p].step(values.mutable_data<float>(), total, rate, steps_);
      student_->set_constant(parameters_[p], std::move(values));
    }
    return {};
  }

  /// The rows that texts [first, first + count) of `lesson` have in a value for all of it.
  static ir::Tensor rows_of_texts(const ir::Tensor& value,
                                  const TokenBatch& lesson,
                                  Index first,
                                  Index count) {
    const bool of_tokens = value.dim(0) == lesson.tokens();
    const auto row_of = [&](Index text) {
      return of_tokens ? lesson.offsets[static_cast<std::size_t>(text)] : text;
    };
    const Index begin = row_of(first);
    return to_tensor(matrix_of(value).middleRows(begin, row_of(first + count) - begin));
  }

  /// The dense model's outputs, then its sums.
  Result<std::vector<ir::Tensor>> dense_values(const TokenBatch& texts) const {
    std::vector<ir::ValueId> wanted(dense_->outputs().begin(), dense_->outputs().end());
    wanted.insert(wanted.end(), places_.begin(), places_.end());
    return evaluator_->run(*dense_, model_inputs(*dense_, texts), texts.offsets, wanted);
  }

  Result<grad::Gradients> gradients(const TokenBatch& texts,
                                    std::span<const ir::Tensor> aims,
                                    double share) const {
    RTAI_TRY(const grad::Tape tape,
             grad::Tape::record(*student_, model_inputs(*student_, texts), texts.offsets));
    grad::Gradients given;
    const auto add = [&](ir::ValueId value, ir::Tensor derivative) {
      const auto found = given.find(value);
      if (found == given.end()) {
        given.emplace(value, std::move(derivative));
      } else {  // a sum may be an output
        found->second = to_tensor(matrix_of(found->second) + matrix_of(derivative));
      }
    };
    const std::size_t outputs = comparisons_.size();
    for (std::size_t o = 0; o < outputs; ++o) {
      const ir::ValueId output = student_->outputs()[o];
      RTAI_TRY(ir::Tensor derivative,
               derivative_of_divergence(comparisons_[o], aims[o], tape.value(output), texts.offsets,
                                        share));
      add(output, std::move(derivative));
    }
    const double of_each = share / static_cast<double>(std::max<std::size_t>(places_.size(), 1));
    for (std::size_t i = 0; i < places_.size(); ++i)
      add(places_[i], derivative_of_error(aims[outputs + i], tape.value(places_[i]), of_each));
    return tape.back(given, parameters_);
  }

  const ir::Graph* dense_;
  ir::Graph* student_;
  std::vector<ir::ValueId> parameters_;
  std::vector<Adam> adam_;  // by parameter
  std::vector<Comparison> comparisons_;
  std::vector<ir::ValueId> places_;
  Evaluator* evaluator_;
  int threads_;
  Index steps_ = 0;
};

}  // namespace

Result<Refinement> refine(const ir::Graph& dense,
                          ir::Graph& student,
                          std::span<const Module> modules,
                          std::span<const std::vector<Index>> kept,
                          const TokenBatch& texts,
                          Judge& judge,
                          Evaluator& evaluator,
                          const RefineOptions& options,
                          Log& log) {
  if (texts.tokens() == 0) return Error{ErrorCode::invalid_input, "no tokens to refine with"};
  Refinement done;
  RTAI_TRY(done.before, judge.divergence(student));
  Refiner refiner(dense, student, modules, kept, evaluator, options.threads);
  const std::vector<ir::Tensor> before = refiner.weights();
  Lessons lessons(texts, options.swap, options.seed);
  const auto begin = std::chrono::steady_clock::now();
  const auto progress = [&] {
    const std::chrono::duration<double> gone = std::chrono::steady_clock::now() - begin;
    const double of_steps = options.steps > 0 ? static_cast<double>(refiner.steps()) /
                                                    static_cast<double>(options.steps)
                                              : 0;
    // Only what decides sets the rate: steps that end before the time do not depend on it.
    const double of_time = gone.count() / options.seconds;
    return of_time >= 1 || options.steps == 0 ? of_time : of_steps;
  };
  bool is_over = false;
  const auto rate = [&]() -> std::optional<double> {
    const double at = progress();
    is_over = at >= 1 || options.is_late();
    if (is_over) return std::nullopt;
    log.progress("refining", at, 1);
    return options.rate * std::min(at / kWarmUp, 1 - at);
  };
  while (!is_over)
    RTAI_TRY_VOID(guarded([&] { return refiner.learn(lessons.next(), rate); }));
  log.progress("refining", 0, 0);
  done.steps = refiner.steps();
  RTAI_TRY(done.after, judge.divergence(student));
  log.info(fmt::format("{} gradient steps: divergence {:.4g} -> {:.4g}", done.steps, done.before,
                       done.after));
  if (done.after >= done.before || !std::isfinite(done.after)) {
    refiner.put_back(before);
    done.after = done.before;
  }
  return done;
}

}  // namespace rtai::prune
