#include "libopt/prune/obs.h"

#include "libopt/prune/internal/algebra.h"

#include <algorithm>
#include <numeric>

namespace rtai::prune {
namespace {

/// The state of one elimination: what is left of the weights and of the inverse moments.
class Surgery {
 public:
  /// counted: the weight times a metric, which says how errors of its rows count.
  Surgery(Matrix weight, Matrix counted, Matrix inverse, Index width)
      : weight_(std::move(weight)),
        counted_(std::move(counted)),
        inverse_(std::move(inverse)),
        width_(width) {
    left_.resize(static_cast<std::size_t>(weight_.cols() / width_));
    std::iota(left_.begin(), left_.end(), Index{0});
  }

  Index groups() const { return std::ssize(left_); }

  /// Removes the `count` groups of least damage; appends them to `order`, returns their damage.
  double remove(Index count, std::vector<Index>& order) {
    const std::vector<double> damage = damage_of_each();
    std::vector<Index> ranked(left_.size());
    std::iota(ranked.begin(), ranked.end(), Index{0});
    std::ranges::stable_sort(ranked, {},
                             [&](Index g) { return damage[static_cast<std::size_t>(g)]; });
    for (Index i = 0; i < count; ++i)
      order.push_back(left_[static_cast<std::size_t>(ranked[static_cast<std::size_t>(i)])]);
    std::vector<Index> gone(ranked.begin(), ranked.begin() + count);
    std::vector<Index> stay(ranked.begin() + count, ranked.end());
    std::ranges::sort(gone);
    std::ranges::sort(stay);
    return eliminate(gone, stay);
  }

 private:
  std::vector<Index> columns_of(std::span<const Index> groups) const {
    std::vector<Index> columns;
    for (const Index group : groups) {
      for (Index i = 0; i < width_; ++i)
        columns.push_back(group * width_ + i);
    }
    return columns;
  }

  /// What a metric says holds for small errors. Where few groups are left errors are large, and all
  /// of them count alike; docs/pruning.md has what each order costs.
  bool metric_holds() const {
    constexpr double kFew = 0.3;
    return static_cast<double>(left_.size()) > kFew * static_cast<double>(all_);
  }

  std::vector<double> damage_of_each() const {
    const Matrix& weight = metric_holds() ? counted_ : weight_;
    std::vector<double> damage(left_.size());
    for (std::size_t g = 0; g < left_.size(); ++g) {
      const Index begin = static_cast<Index>(g) * width_;
      const auto columns = weight.middleCols(begin, width_);
      damage[g] = width_ == 1 ? columns.squaredNorm() / inverse_(begin, begin)
                              : joint_damage(inverse_.block(begin, begin, width_, width_), columns);
    }
    return damage;
  }

  /// tr(W_S C^-1 W_S^T), C the block of the inverse moments.
  static double joint_damage(const Matrix& block, const Matrix& columns) {
    return product_by_columns(columns, columns)
        .cwiseProduct(solve(block, Matrix::Identity(block.rows(), block.cols())))
        .sum();
  }

  double eliminate(std::span<const Index> gone, std::span<const Index> stay) {
    const std::vector<Index> r = columns_of(gone);
    const std::vector<Index> k = columns_of(stay);
    const Matrix block = inverse_(r, r);
    const double damage = joint_damage(block, counted_(Eigen::all, r));
    if (stay.empty()) {  // Eigen solves for nothing by reading its first element
      weight_.resize(weight_.rows(), 0);
      counted_.resize(counted_.rows(), 0);
      inverse_.resize(0, 0);
      left_.clear();
      return damage;
    }
    const Matrix cross = inverse_(r, k);
    const Matrix update = solve(block, cross);
    for (Matrix* matrix : {&weight_, &counted_}) {
      const Matrix removed = (*matrix)(Eigen::all, r);
      Matrix rest = (*matrix)(Eigen::all, k);
      subtract_product(removed, update, rest);
      *matrix = std::move(rest);
    }
    Matrix inverse = inverse_(k, k);
    subtract_product_by_columns(cross, update, inverse);
    inverse_ = std::move(inverse);
    std::vector<Index> left;
    for (const Index group : stay)
      left.push_back(left_[static_cast<std::size_t>(group)]);
    left_ = std::move(left);
    return damage;
  }

  Matrix weight_;   // [n, k]
  Matrix counted_;  // [m, k]
  Matrix inverse_;  // [k, k]
  Index width_;
  Index all_ = weight_.cols() / width_;  // groups there were
  std::vector<Index> left_;              // original numbers of the groups that are left
};

/// (moments + ridge * mean(diag) I)^-1, or nothing where that is singular.
std::optional<Matrix> damped_inverse(const Eigen::Map<const RowMatrixF>& moments, double ridge) {
  const double lambda = ridge * mean_diagonal(moments) + 1e-8;
  return solve_damped(widened(moments), lambda, Matrix::Identity(moments.rows(), moments.cols()));
}

Error singular() {
  return {ErrorCode::invalid_input, "the statistics of the calibration texts are singular"};
}

}  // namespace

std::vector<Index> RemovalPath::kept(std::size_t i) const {
  std::vector<Index> groups(order.end() - levels[i], order.end());
  std::ranges::sort(groups);
  return groups;
}

std::size_t RemovalPath::level_of(Index groups) const {
  return static_cast<std::size_t>(std::ranges::lower_bound(levels, groups) - levels.begin());
}

Result<RemovalPath> removal_path(const SurgeryTask& task, std::vector<Index> levels) {
  return guarded([&]() -> Result<RemovalPath> {
    const Matrix weight = widened(matrix_of(*task.weight));
    // Damage is all that a metric changes: each row of the best weights is the best by itself.
    Matrix counted = weight;
    if (task.metric != nullptr) counted = product(widened(matrix_of(*task.metric)), weight);
    const auto xx = matrix_of(*task.xx);
    const double energy = product(counted, widened(xx)).cwiseProduct(counted).sum();
    RemovalPath path{.order = {}, .levels = std::move(levels), .damage = {}, .ridge = task.ridge};
    std::optional<Matrix> inverse = damped_inverse(xx, path.ridge);
    while (!inverse) {
      const std::optional<double> larger = next_ridge(path.ridge);
      if (!larger) return singular();
      path.ridge = *larger;
      inverse = damped_inverse(xx, path.ridge);
    }
    path.damage.assign(path.levels.size(), 0.0);
    Surgery surgery(weight, std::move(counted), *std::move(inverse), task.width);
    double damage = 0;
    for (std::size_t i = path.levels.size() - 1; i-- > 0;) {
      while (surgery.groups() > path.levels[i]) {
        const Index count = std::min(task.groups_at_once, surgery.groups() - path.levels[i]);
        damage += surgery.remove(count, path.order);
      }
      path.damage[i] = damage / std::max(energy, 1e-30);
    }
    return path;
  });
}

Result<ir::Tensor> weight_on(const SurgeryTask& task, std::span<const Index> columns) {
  if (columns.empty()) return ir::Tensor::zeros(DType::f32, {task.weight->dim(0), 0});
  return guarded([&]() -> Result<ir::Tensor> {
    // H W^T is what the kept columns must reproduce, H with the ridge that also pulls towards W.
    const auto xx = matrix_of(*task.xx);
    const double lambda = task.ridge * mean_diagonal(xx) + 1e-8;
    const auto weight = matrix_of(*task.weight);
    const ir::Tensor kept_rows = pick_rows(*task.xx, columns);
    Matrix right = product(widened(matrix_of(kept_rows)), widened(weight).transpose());
    right += lambda * widened(matrix_of(pick_columns(*task.weight, columns))).transpose();
    const ir::Tensor block = pick_columns(kept_rows, columns);
    const auto solution = solve_damped(widened(matrix_of(block)), lambda, std::move(right));
    if (!solution) return singular();
    return to_tensor(solution->transpose());
  });
}

std::vector<Index> head_levels(Index heads) {
  std::vector<Index> levels(static_cast<std::size_t>(heads) + 1);
  std::iota(levels.begin(), levels.end(), Index{0});
  return levels;
}

std::vector<Index> column_levels(Index columns) {
  const Index fine = columns >= 256 ? 32 : std::max<Index>(4, columns / 8);
  std::vector<Index> levels;
  for (Index level = 0; level < columns; level += level < 256 ? fine : 64)
    levels.push_back(level);
  levels.push_back(columns);
  return levels;
}

}  // namespace rtai::prune
