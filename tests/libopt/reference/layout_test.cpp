#include "tests/libopt/reference/apply.h"

#include <limits>

namespace rtai::reference {
namespace {

using ir::Op;
using ir::Tensor;

constexpr std::int64_t kFar = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kNear = std::numeric_limits<std::int64_t>::min();

const Tensor kWide = f32({2, 3}, {1, 2, 3, 4, 5, 6});

TEST_CASE("cast saturates reals, wraps integers and keeps bools apart") {
  const auto cast = [](const Tensor& src, const char* to) {
    return apply(Op::cast, {src}, {{"to", std::string(to)}});
  };
  CHECK(cast(f32({3}, {1.9f, -1.9f, 1e30f}), "i32") ==
        i32({3}, {1, -1, std::numeric_limits<std::int32_t>::max()}));
  CHECK(cast(i64({2}, {300, -1}), "u8") == u8({2}, {44, 255}));
  CHECK(cast(f32({3}, {0, 0.5f, -2}), "bool") == bools({3}, {0, 1, 1}));
  CHECK(cast(bools({2}, {0, 1}), "f32") == f32({2}, {0, 1}));
  CHECK(cast(f32({1}, {2}), "f16").dtype() == DType::f16);
  CHECK(refusal(Op::cast, {kWide}, {{"to", std::string("text")}}).find("'text'") !=
        std::string::npos);
  CHECK(apply(Op::cast_like, {f32({1}, {2.5f}), i64({}, {0})}) == i64({1}, {2}));
}

TEST_CASE("shape and size, whole or in part") {
  const Tensor src = Tensor::zeros(DType::f32, {2, 3, 4}).value();
  CHECK(apply(Op::shape, {src}) == i64({3}, {2, 3, 4}));
  CHECK(apply(Op::shape, {src}, {{"start", 1}}) == i64({2}, {3, 4}));
  CHECK(apply(Op::shape, {src}, {{"start", -1}}) == i64({1}, {4}));
  CHECK(apply(Op::shape, {src}, {{"start", -9}, {"end", 9}}) == i64({3}, {2, 3, 4}));
  CHECK(apply(Op::shape, {src}, {{"start", 2}, {"end", 1}}) == i64({0}, {}));
  CHECK(apply(Op::shape, {f32({}, {1})}) == i64({0}, {}));
  CHECK(apply(Op::size, {src}) == i64({}, {24}));
}

TEST_CASE("reshape copies and infers dimensions and keeps the number of elements") {
  CHECK(apply(Op::reshape, {kWide, i64({1}, {-1})}).dims() == ir::Dims{6});
  CHECK(apply(Op::reshape, {kWide, i64({3}, {0, -1, 1})}).dims() == ir::Dims{2, 3, 1});
  CHECK(apply(Op::reshape, {f32({1}, {5}), i64({0}, {})}) == f32({}, {5}));
  const Tensor empty = f32({0, 3}, {});
  CHECK(apply(Op::reshape, {empty, i64({2}, {3, 0})}, {{"allowzero", 1}}).dims() == ir::Dims{3, 0});
  CHECK(refusal(Op::reshape, {kWide, i64({1}, {5})}).find("does not reshape to [5]") !=
        std::string::npos);
  CHECK(refusal(Op::reshape, {kWide, i64({2}, {-1, -1})}).find("two dimensions") !=
        std::string::npos);
  CHECK(refusal(Op::reshape, {kWide, i64({2}, {-1, 4})}).find("does not reshape") !=
        std::string::npos);
  CHECK(refusal(Op::reshape, {kWide, i64({3}, {6, 1, 0})}).find("not there to copy") !=
        std::string::npos);
  CHECK(refusal(Op::reshape, {kWide, i64({1}, {-6})}).find("impossible") != std::string::npos);
  CHECK(refusal(Op::reshape, {empty, i64({2}, {0, -1})}).find("does not reshape") !=
        std::string::npos);
  CHECK(refusal(Op::reshape, {kWide, f32({1}, {6})}).find("list of i64") != std::string::npos);
}

TEST_CASE("flatten, squeeze and unsqueeze") {
  const Tensor src = Tensor::zeros(DType::f32, {2, 1, 3, 1}).value();
  CHECK(apply(Op::flatten, {src}).dims() == ir::Dims{2, 3});
  CHECK(apply(Op::flatten, {src}, {{"axis", 0}}).dims() == ir::Dims{1, 6});
  CHECK(apply(Op::flatten, {src}, {{"axis", 4}}).dims() == ir::Dims{6, 1});
  CHECK(apply(Op::flatten, {src}, {{"axis", -2}}).dims() == ir::Dims{2, 3});
  CHECK(refusal(Op::flatten, {src}, {{"axis", 5}}).find("axis 5") != std::string::npos);
  CHECK(apply(Op::squeeze, {src}).dims() == ir::Dims{2, 3});
  CHECK(apply(Op::squeeze, {src, i64({1}, {-1})}).dims() == ir::Dims{2, 1, 3});
  CHECK(refusal(Op::squeeze, {src, i64({1}, {0})}).find("is not 1") != std::string::npos);
  CHECK(refusal(Op::squeeze, {src, i64({1}, {4})}).find("axis 4") != std::string::npos);
  CHECK(apply(Op::unsqueeze, {kWide, i64({2}, {-1, 0})}).dims() == ir::Dims{1, 2, 3, 1});
  CHECK(refusal(Op::unsqueeze, {kWide, i64({2}, {0, -4})}).find("stands twice") !=
        std::string::npos);
  CHECK(refusal(Op::unsqueeze, {kWide, i64({1}, {3})}).find("axis 3") != std::string::npos);
  std::vector<std::int64_t> many(100);
  for (std::size_t i = 0; i < many.size(); ++i)
    many[i] = static_cast<std::int64_t>(i);
  CHECK(refusal(Op::unsqueeze, {kWide, i64({100}, many)}).find("rank 102") != std::string::npos);
}

TEST_CASE("transpose, expand and tile") {
  CHECK(apply(Op::transpose, {kWide}) == f32({3, 2}, {1, 4, 2, 5, 3, 6}));
  CHECK(apply(Op::transpose, {kWide}, {{"perm", std::vector<std::int64_t>{0, 1}}}) == kWide);
  CHECK(apply(Op::transpose, {f32({}, {1})}) == f32({}, {1}));
  CHECK(
      refusal(Op::transpose, {kWide}, {{"perm", std::vector<std::int64_t>{0}}}).find("perm [0]") !=
      std::string::npos);
  CHECK(
      refusal(Op::transpose, {kWide}, {{"perm", std::vector<std::int64_t>{0, 0}}}).find("twice") !=
      std::string::npos);
  CHECK(apply(Op::expand, {f32({2, 1}, {1, 2}), i64({3}, {2, 1, 2})}) ==
        f32({2, 2, 2}, {1, 1, 2, 2, 1, 1, 2, 2}));
  CHECK(apply(Op::expand, {kWide, i64({1}, {1})}) == kWide);
  CHECK(refusal(Op::expand, {kWide, i64({1}, {2})}).find("do not broadcast") != std::string::npos);
  CHECK(refusal(Op::expand, {f32({1}, {1}), i64({1}, {-1})}).find("impossible") !=
        std::string::npos);
  CHECK(apply(Op::tile, {kWide, i64({2}, {1, 2})}) ==
        f32({2, 6}, {1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6}));
  CHECK(apply(Op::tile, {kWide, i64({2}, {0, 2})}).dims() == ir::Dims{0, 6});
  CHECK(refusal(Op::tile, {kWide, i64({1}, {2})}).find("1 repeats") != std::string::npos);
  CHECK(refusal(Op::tile, {kWide, i64({2}, {1, -1})}).find("impossible") != std::string::npos);
}

TEST_CASE("concat and split are opposites") {
  const Tensor joined = apply(Op::concat, {kWide, f32({2, 1}, {7, 8})}, {{"axis", -1}});
  CHECK(joined == f32({2, 4}, {1, 2, 3, 7, 4, 5, 6, 8}));
  const auto parts = apply_all(Op::split, {joined, i64({2}, {3, 1})}, {{"axis", 1}}, 2);
  REQUIRE(parts);
  CHECK(parts->at(0) == kWide);
  CHECK(parts->at(1) == f32({2, 1}, {7, 8}));
  const auto uneven = apply_all(Op::split, {f32({5}, {1, 2, 3, 4, 5})}, {}, 2);
  CHECK(uneven->at(0) == f32({3}, {1, 2, 3}));
  CHECK(uneven->at(1) == f32({2}, {4, 5}));
  const auto more = apply_all(Op::split, {f32({1}, {1})}, {}, 3);
  CHECK(more->at(2).dims() == ir::Dims{0});
  CHECK(refusal(Op::concat, {kWide, f32({3}, {1, 2, 3})}).find("do not join") != std::string::npos);
  CHECK(refusal(Op::concat, {kWide, f32({1, 2}, {1, 2})}).find("do not join") != std::string::npos);
  CHECK(refusal(Op::concat, {kWide}, {{"axis", 2}}).find("axis 2") != std::string::npos);
  CHECK(refusal(Op::split, {kWide, i64({1}, {3})}).find("does not split 2") != std::string::npos);
  CHECK(refusal(Op::split, {kWide, i64({1}, {kFar})}).find("does not split") != std::string::npos);
  CHECK_FALSE(apply_all(Op::split, {kWide, i64({2}, {3, -1})}, {}, 2));
}

TEST_CASE("slice clamps its ends and steps in both directions") {
  const Tensor src = f32({5}, {0, 1, 2, 3, 4});
  const auto slice = [&](std::int64_t start, std::int64_t end, std::int64_t step) {
    return apply(Op::slice,
                 {src, i64({1}, {start}), i64({1}, {end}), i64({1}, {0}), i64({1}, {step})});
  };
  CHECK(slice(1, 3, 1) == f32({2}, {1, 2}));
  CHECK(slice(-2, kFar, 1) == f32({2}, {3, 4}));
  CHECK(slice(0, 5, 2) == f32({3}, {0, 2, 4}));
  CHECK(slice(kFar, kNear, -2) == f32({3}, {4, 2, 0}));
  CHECK(slice(3, 0, -1) == f32({3}, {3, 2, 1}));
  CHECK(slice(3, 1, 1).dims() == ir::Dims{0});
  CHECK(slice(9, 9, 1).dims() == ir::Dims{0});
  CHECK(slice(0, kFar, kFar) == f32({1}, {0}));
  CHECK(slice(-1, kNear, kNear) == f32({1}, {4}));
  CHECK(apply(Op::slice, {kWide, i64({2}, {1, 0}), i64({2}, {2, 2})}) == f32({1, 2}, {4, 5}));
  CHECK(apply(Op::slice,
              {f32({0}, {}), i64({1}, {0}), i64({1}, {kNear}), i64({1}, {0}), i64({1}, {-1})})
            .elements() == 0);
  CHECK(refusal(Op::slice, {src, i64({1}, {0}), i64({1}, {1}), i64({1}, {0}), i64({1}, {0})})
            .find("step of 0") != std::string::npos);
  CHECK(refusal(Op::slice, {src, i64({1}, {0}), i64({1}, {1}), i64({1}, {1})}).find("axis 1") !=
        std::string::npos);
  CHECK(refusal(Op::slice, {src, i64({2}, {0, 0}), i64({1}, {1})}).find("differ in length") !=
        std::string::npos);
  CHECK(refusal(Op::slice, {kWide, i64({2}, {0, 0}), i64({2}, {1, 1}), i64({2}, {0, -2})})
            .find("twice") != std::string::npos);
}

TEST_CASE("constants and ranges") {
  CHECK(apply(Op::constant_of_shape, {i64({2}, {1, 2})}) == f32({1, 2}, {0, 0}));
  CHECK(apply(Op::constant_of_shape, {i64({1}, {2})}, {{"value", i64({1}, {7})}}) ==
        i64({2}, {7, 7}));
  CHECK(refusal(Op::constant_of_shape, {i64({1}, {-1})}).find("impossible") != std::string::npos);
  CHECK(apply(Op::range, {i64({}, {1}), i64({}, {8}), i64({}, {3})}) == i64({3}, {1, 4, 7}));
  CHECK(apply(Op::range, {i64({}, {3}), i64({}, {-1}), i64({}, {-2})}) == i64({2}, {3, 1}));
  CHECK(apply(Op::range, {f32({}, {0}), f32({}, {1}), f32({}, {0.5f})}) == f32({2}, {0, 0.5f}));
  CHECK(apply(Op::range, {i64({}, {1}), i64({}, {1}), i64({}, {1})}).elements() == 0);
  CHECK(apply(Op::range, {i64({}, {kNear}), i64({}, {kFar}), i64({}, {kFar})}) ==
        i64({3}, {kNear, -1, kFar - 1}));
  CHECK(refusal(Op::range, {i64({}, {1}), i64({}, {2}), i64({}, {0})}).find("step of 0") !=
        std::string::npos);
  CHECK(refusal(Op::range, {f32({}, {0}), f32({}, {1}), f32({}, {0})}).find("without end") !=
        std::string::npos);
  CHECK_FALSE(apply_all(Op::range, {i64({}, {kNear}), i64({}, {kFar}), i64({}, {1})}));
}

TEST_CASE("dropout passes its input on, with a mask of ones") {
  const auto results = apply_all(Op::dropout, {kWide, f32({}, {0.5f})}, {}, 2);
  CHECK(results->at(0) == kWide);
  CHECK(results->at(1) == bools({2, 3}, {1, 1, 1, 1, 1, 1}));
}

}  // namespace
}  // namespace rtai::reference
