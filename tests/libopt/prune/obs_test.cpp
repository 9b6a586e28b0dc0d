#include "libopt/prune/obs.h"

#include "libopt/prune/texts.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace rtai::prune {
namespace {

ir::Tensor random_matrix(Index rows, Index columns, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  for (float& value : values)
    value = static_cast<float>(2 * random.unit() - 1);
  return ir::Tensor::from<float>({rows, columns}, values);
}

ir::Tensor moments_of(const ir::Tensor& x) {
  Moments moments = Moments::make(x.dim(1), 0, 1).value();
  REQUIRE(moments.add(x));
  return std::move(moments).finish().value().xx;
}

/// E |W x - V x_kept|^2 / E |W x|^2 for centred x with moments xx.
double loss(const ir::Tensor& w,
            const ir::Tensor& v,
            const std::vector<Index>& kept,
            const ir::Tensor& xx) {
  const Index k = w.dim(1);
  double error = 0, energy = 0;
  for (Index n = 0; n < w.dim(0); ++n) {
    std::vector<double> whole(static_cast<std::size_t>(k)), rest(static_cast<std::size_t>(k));
    for (Index i = 0; i < k; ++i)
      whole[static_cast<std::size_t>(i)] = rest[static_cast<std::size_t>(i)] = w.value(n * k + i);
    for (std::size_t j = 0; j < kept.size(); ++j)
      rest[static_cast<std::size_t>(kept[j])] -=
          v.value(n * std::ssize(kept) + static_cast<Index>(j));
    for (Index i = 0; i < k; ++i) {
      for (Index j = 0; j < k; ++j) {
        const double h = xx.value(i * k + j);
        error += rest[static_cast<std::size_t>(i)] * h * rest[static_cast<std::size_t>(j)];
        energy += whole[static_cast<std::size_t>(i)] * h * whole[static_cast<std::size_t>(j)];
      }
    }
  }
  return error / energy;
}

TEST_CASE("the damage of a level is the loss of the best weights on its columns") {
  const Index width = GENERATE(1, 3);
  const ir::Tensor w = random_matrix(5, 12, 1);
  // Correlated columns: what one loses, others can make up for.
  const ir::Tensor mixed = moments_of(random_matrix(14, 12, 2));
  const SurgeryTask task{
      .weight = &w, .xx = &mixed, .width = width, .groups_at_once = 1, .ridge = 1e-6};
  std::vector<Index> levels(static_cast<std::size_t>(12 / width) + 1);
  std::iota(levels.begin(), levels.end(), Index{0});
  const RemovalPath path = removal_path(task, levels).value();
  REQUIRE(std::ssize(path.order) == 12 / width);
  CHECK(path.damage.front() == Approx(1).epsilon(1e-3));
  CHECK(path.damage.back() == 0);
  for (std::size_t level = 0; level + 1 < levels.size(); ++level) {
    const std::vector<Index> kept = path.kept(level);
    REQUIRE(std::ssize(kept) == levels[level]);
    CHECK(path.damage[level] >= path.damage[level + 1]);
    std::vector<Index> columns;
    for (const Index group : kept) {
      for (Index i = 0; i < width; ++i)
        columns.push_back(group * width + i);
    }
    const ir::Tensor v = weight_on(task, columns).value();
    CHECK(loss(w, v, columns, mixed) == Approx(path.damage[level]).epsilon(1e-2).margin(1e-5));
  }
}

TEST_CASE("a column that another one repeats is removed first and costs nothing") {
  ir::Tensor x = random_matrix(50, 4, 3);
  const auto values = x.mutable_data<float>();
  for (std::size_t row = 0; row < 50; ++row)
    values[row * 4 + 2] = values[row * 4];
  const ir::Tensor xx = moments_of(x);
  const ir::Tensor w = random_matrix(3, 4, 4);
  const SurgeryTask task{.weight = &w, .xx = &xx, .ridge = 1e-6};
  const RemovalPath path = removal_path(task, {0, 3, 4}).value();
  CHECK((path.order[0] == 0 || path.order[0] == 2));
  CHECK(path.damage[1] < 1e-4);
  CHECK(path.damage[0] > 0.9);
}

TEST_CASE("a metric says which rows an error hurts in") {
  // Row 0 is large, row 1 is what counts.
  const ir::Tensor w = ir::Tensor::from<float>({2, 2}, std::vector<float>{5, 0.1f, 0, 1});
  const ir::Tensor xx = ir::Tensor::from<float>({2, 2}, std::vector<float>{1, 0, 0, 1});
  const ir::Tensor metric = ir::Tensor::from<float>({2, 2}, std::vector<float>{0.01f, 0, 0, 1});
  SurgeryTask task{.weight = &w, .xx = &xx, .ridge = 1e-9};
  CHECK(removal_path(task, {0, 1, 2}).value().order == std::vector<Index>{1, 0});
  task.metric = &metric;
  const RemovalPath path = removal_path(task, {0, 1, 2}).value();
  CHECK(path.order == std::vector<Index>{0, 1});
  // Of (0.05^2 + 0.001^2 + 1) all but the first column's 0.05^2 is left.
  CHECK(path.damage[1] == Approx(0.0025 / (0.0025 + 1e-6 + 1)).epsilon(1e-4));
}

TEST_CASE("removing several columns at once still ends in the exact damage") {
  const ir::Tensor w = random_matrix(6, 40, 5);
  const ir::Tensor xx = moments_of(random_matrix(60, 40, 6));
  const SurgeryTask task{.weight = &w, .xx = &xx, .groups_at_once = 8, .ridge = 1e-6};
  const RemovalPath path = removal_path(task, {0, 20, 40}).value();
  const std::vector<Index> kept = path.kept(1);
  const ir::Tensor v = weight_on(task, kept).value();
  CHECK(loss(w, v, kept, xx) == Approx(path.damage[1]).epsilon(1e-2));
}

TEST_CASE("singular moments get the ridge they need, and the path says which") {
  const ir::Tensor w = random_matrix(3, 2, 7);
  // Rounding has made one eigenvalue of two equal columns negative.
  const ir::Tensor xx = ir::Tensor::from<float>({2, 2}, {1, 1.001f, 1.001f, 1});
  SurgeryTask task{.weight = &w, .xx = &xx, .ridge = 0};
  const RemovalPath path = removal_path(task, {0, 1, 2}).value();
  CHECK(path.ridge > 5e-4);
  CHECK(path.ridge < 0.1);
  task.ridge = path.ridge;
  CHECK(weight_on(task, path.kept(1)));
  CHECK(removal_path({.weight = &w, .xx = &xx, .ridge = 0.01}, {0, 1, 2}).value().ridge == 0.01);
}

TEST_CASE("moments that are not numbers are refused, whatever the ridge") {
  const ir::Tensor w = random_matrix(3, 2, 7);
  const ir::Tensor xx = ir::Tensor::from<float>({2, 2}, {1, NAN, NAN, 1});
  const auto path = removal_path({.weight = &w, .xx = &xx, .ridge = 0.01}, {0, 1, 2});
  REQUIRE_FALSE(path);
  CHECK(path.error().code() == ErrorCode::invalid_input);
}

TEST_CASE("levels go from nothing to everything in tiles") {
  CHECK(head_levels(3) == std::vector<Index>{0, 1, 2, 3});
  const std::vector<Index> levels = column_levels(1536);
  CHECK(levels.front() == 0);
  CHECK(levels[1] == 32);
  CHECK(levels.back() == 1536);
  CHECK(std::ranges::is_sorted(levels));
  CHECK(levels.size() == 29);
  CHECK(column_levels(5) == std::vector<Index>{0, 4, 5});
  CHECK(column_levels(130).back() == 130);
}

}  // namespace
}  // namespace rtai::prune
