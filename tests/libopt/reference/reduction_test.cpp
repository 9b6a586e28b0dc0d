#include "tests/libopt/reference/apply.h"

#include <cmath>
#include <limits>

namespace rtai::reference {
namespace {

using ir::Op;
using ir::Tensor;

TEST_CASE("reductions over all, some and no axes") {
  const Tensor a = f32({2, 3}, {1, 2, 3, 4, 5, 6});
  CHECK(apply(Op::reduce_sum, {a}) == f32({1, 1}, {21}));
  CHECK(apply(Op::reduce_sum, {a, i64({1}, {-1})}, {{"keepdims", 0}}) == f32({2}, {6, 15}));
  CHECK(apply(Op::reduce_sum, {a, i64({1}, {0})}) == f32({1, 3}, {5, 7, 9}));
  CHECK(apply(Op::reduce_sum, {a, i64({0}, {})}, {{"noop_with_empty_axes", 1}}) == a);
  CHECK(apply(Op::reduce_mean, {a, i64({2}, {0, 1})}, {{"keepdims", 0}}) == f32({}, {3.5f}));
  CHECK(apply(Op::reduce_max, {a, i64({1}, {0})}) == f32({1, 3}, {4, 5, 6}));
  CHECK(apply(Op::reduce_min, {a, i64({1}, {1})}) == f32({2, 1}, {1, 4}));
  CHECK(apply(Op::reduce_prod, {a, i64({1}, {1})}) == f32({2, 1}, {6, 120}));
  CHECK(apply(Op::reduce_sum_square, {f32({2}, {3, 4})}) == f32({1}, {25}));
  CHECK(apply(Op::reduce_l2, {f32({2}, {3, 4})}) == f32({1}, {5}));
  CHECK(apply(Op::reduce_mean, {i64({2}, {-3, -4})}) == i64({1}, {-3}));
  CHECK(apply(Op::reduce_max, {bools({2}, {0, 1})}) == bools({1}, {1}));
  CHECK(refusal(Op::reduce_sum, {a, i64({1}, {2})}).find("axis 2") != std::string::npos);
  CHECK(refusal(Op::reduce_sum, {a, i64({2}, {1, -1})}).find("twice") != std::string::npos);
}

TEST_CASE("reductions of nothing give their neutral element") {
  const Tensor empty = f32({0, 2}, {});
  const Tensor axis = i64({1}, {0});
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(apply(Op::reduce_sum, {empty, axis}) == f32({1, 2}, {0, 0}));
  CHECK(apply(Op::reduce_prod, {empty, axis}) == f32({1, 2}, {1, 1}));
  CHECK(apply(Op::reduce_max, {empty, axis}) == f32({1, 2}, {-infinity, -infinity}));
  CHECK(apply(Op::reduce_min, {empty, axis}) == f32({1, 2}, {infinity, infinity}));
  CHECK(std::isnan(apply(Op::reduce_mean, {empty, axis}).value(0)));
  CHECK(apply(Op::reduce_sum, {empty, i64({1}, {1})}).dims() == ir::Dims{0, 1});
}

TEST_CASE("arg_max takes the first or last of equals") {
  const Tensor a = f32({2, 3}, {1, 3, 3, 2, 2, 1});
  CHECK(apply(Op::arg_max, {a}, {{"axis", 1}}) == i64({2, 1}, {1, 0}));
  CHECK(apply(Op::arg_max, {a}, {{"axis", -1}, {"keepdims", 0}, {"select_last_index", 1}}) ==
        i64({2}, {2, 1}));
  CHECK(refusal(Op::arg_max, {f32({2, 0}, {})}, {{"axis", 1}}).find("empty axis") !=
        std::string::npos);
}

TEST_CASE("cum_sum runs both ways, with and without its own element") {
  const Tensor a = f32({3}, {1, 2, 3});
  const Tensor axis = i64({}, {0});
  CHECK(apply(Op::cum_sum, {a, axis}) == f32({3}, {1, 3, 6}));
  CHECK(apply(Op::cum_sum, {a, axis}, {{"exclusive", 1}}) == f32({3}, {0, 1, 3}));
  CHECK(apply(Op::cum_sum, {a, axis}, {{"reverse", 1}}) == f32({3}, {6, 5, 3}));
  CHECK(apply(Op::cum_sum, {i64({2, 2}, {1, 2, 3, 4}), i64({1}, {-2})}) ==
        i64({2, 2}, {1, 2, 4, 6}));
  CHECK(refusal(Op::cum_sum, {a, i64({}, {1})}).find("axis 1") != std::string::npos);
}

}  // namespace
}  // namespace rtai::reference
