#include "tests/libopt/reference/apply.h"

namespace rtai::reference {
namespace {

using ir::Op;
using ir::Tensor;

const Tensor kTall = f32({3, 2}, {1, 2, 3, 4, 5, 6});

ir::Attributes mode(const char* name) {
  return {{"mode", std::string(name)}};
}

TEST_CASE("gather takes slices, counting negative indices from the end") {
  CHECK(apply(Op::gather, {kTall, i64({2}, {-1, 0})}) == f32({2, 2}, {5, 6, 1, 2}));
  CHECK(apply(Op::gather, {kTall, i32({}, {1})}) == f32({2}, {3, 4}));
  CHECK(apply(Op::gather, {kTall, i64({1, 1}, {1})}, {{"axis", -1}}) == f32({3, 1, 1}, {2, 4, 6}));
  CHECK(apply(Op::gather, {kTall, i64({0}, {})}).dims() == ir::Dims{0, 2});
  CHECK(refusal(Op::gather, {kTall, i64({1}, {3})}).find("index 3 is outside of [-3, 3)") !=
        std::string::npos);
  CHECK(refusal(Op::gather, {kTall, i64({1}, {-4})}).find("index -4") != std::string::npos);
  CHECK(refusal(Op::gather, {kTall, f32({1}, {0})}).find("expected i64") != std::string::npos);
  CHECK(refusal(Op::gather, {f32({}, {1}), i64({}, {0})}).find("axis 0") != std::string::npos);
  CHECK(refusal(Op::gather, {f32({0, 2}, {}), i64({1}, {0})}).find("index 0") != std::string::npos);
}

TEST_CASE("gather_elements takes single elements along an axis") {
  CHECK(apply(Op::gather_elements, {kTall, i64({2, 2}, {2, 0, -3, 1})}) ==
        f32({2, 2}, {5, 2, 1, 4}));
  CHECK(apply(Op::gather_elements, {kTall, i64({3, 1}, {1, 0, -1})}, {{"axis", 1}}) ==
        f32({3, 1}, {2, 3, 6}));
  CHECK(refusal(Op::gather_elements, {kTall, i64({1}, {0})}).find("expected rank 2") !=
        std::string::npos);
  CHECK(
      refusal(Op::gather_elements, {kTall, i64({1, 3}, {0, 0, 0})}).find("indices are i64[1, 3]") !=
      std::string::npos);
  CHECK(refusal(Op::gather_elements, {kTall, i64({1, 1}, {3})}).find("index 3") !=
        std::string::npos);
}

TEST_CASE("gather_nd takes slices by several indices at once, within batches") {
  CHECK(apply(Op::gather_nd, {kTall, i64({2, 2}, {0, 1, -1, 0})}) == f32({2}, {2, 5}));
  CHECK(apply(Op::gather_nd, {kTall, i64({1, 1}, {1})}) == f32({1, 2}, {3, 4}));
  const Tensor cube = f32({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(apply(Op::gather_nd, {cube, i64({2, 1}, {1, 0})}, {{"batch_dims", 1}}) ==
        f32({2, 2}, {3, 4, 5, 6}));
  CHECK(refusal(Op::gather_nd, {kTall, i64({1, 3}, {0, 0, 0})}).find("last dimension") !=
        std::string::npos);
  CHECK(refusal(Op::gather_nd, {kTall, i64({1, 0}, {})}).find("last dimension") !=
        std::string::npos);
  CHECK(refusal(Op::gather_nd, {kTall, i64({}, {0})}).find("batch_dims 0") != std::string::npos);
  CHECK(refusal(Op::gather_nd, {kTall, i64({1, 1}, {3})}).find("index 3") != std::string::npos);
  CHECK(refusal(Op::gather_nd, {cube, i64({3, 1}, {0, 0, 0})}, {{"batch_dims", 1}})
            .find("batch_dims 1") != std::string::npos);
  CHECK(refusal(Op::gather_nd, {cube, i64({2, 1}, {0, 0})}, {{"batch_dims", -1}})
            .find("batch_dims -1") != std::string::npos);
}

TEST_CASE("scatter_nd replaces or combines slices and leaves its input alone") {
  const Tensor src = f32({3}, {1, 2, 3});
  const auto scatter = [&](const char* reduction) {
    return apply(Op::scatter_nd, {src, i64({2, 1}, {0, 0}), f32({2}, {5, 7})},
                 {{"reduction", std::string(reduction)}});
  };
  CHECK(scatter("none") == f32({3}, {7, 2, 3}));
  CHECK(scatter("add") == f32({3}, {13, 2, 3}));
  CHECK(scatter("mul") == f32({3}, {35, 2, 3}));
  CHECK(scatter("max") == f32({3}, {7, 2, 3}));
  CHECK(scatter("min") == f32({3}, {1, 2, 3}));
  CHECK(src == f32({3}, {1, 2, 3}));
  CHECK(apply(Op::scatter_nd, {kTall, i64({1, 1}, {-1}), f32({1, 2}, {8, 9})}) ==
        f32({3, 2}, {1, 2, 3, 4, 8, 9}));
  CHECK(refusal(Op::scatter_nd, {src, i64({1, 1}, {3}), f32({1}, {1})}).find("index 3") !=
        std::string::npos);
  CHECK(refusal(Op::scatter_nd, {src, i64({1, 1}, {0}), f32({2}, {1, 1})}).find("expected [1]") !=
        std::string::npos);
  CHECK(refusal(Op::scatter_nd, {src, i64({1, 1}, {0}), f32({1}, {1})},
                {{"reduction", std::string("x")}})
            .find("'x'") != std::string::npos);
}

TEST_CASE("one_hot turns out-of-range indices off") {
  const Tensor values = f32({2}, {-1, 1});
  CHECK(apply(Op::one_hot, {i64({4}, {0, -1, 3, -4}), i64({}, {3}), values}) ==
        f32({4, 3}, {1, -1, -1, -1, -1, 1, -1, -1, -1, -1, -1, -1}));
  CHECK(apply(Op::one_hot, {i64({2}, {0, 1}), i64({}, {2}), values}, {{"axis", 0}}) ==
        f32({2, 2}, {1, -1, -1, 1}));
  CHECK(refusal(Op::one_hot, {i64({1}, {0}), i64({}, {0}), values}).find("depth is 0") !=
        std::string::npos);
  CHECK(refusal(Op::one_hot, {i64({1}, {0}), i64({}, {2}), f32({1}, {1})}).find("values are") !=
        std::string::npos);
}

TEST_CASE("pad fills, mirrors, repeats and crops") {
  const Tensor src = f32({3}, {1, 2, 3});
  const Tensor two = i64({2}, {2, 1});
  CHECK(apply(Op::pad, {src, two}) == f32({6}, {0, 0, 1, 2, 3, 0}));
  CHECK(apply(Op::pad, {src, two, f32({}, {9})}) == f32({6}, {9, 9, 1, 2, 3, 9}));
  CHECK(apply(Op::pad, {src, two}, mode("reflect")) == f32({6}, {3, 2, 1, 2, 3, 2}));
  CHECK(apply(Op::pad, {src, two}, mode("edge")) == f32({6}, {1, 1, 1, 2, 3, 3}));
  CHECK(apply(Op::pad, {src, two}, mode("wrap")) == f32({6}, {2, 3, 1, 2, 3, 1}));
  CHECK(apply(Op::pad, {src, i64({2}, {7, 0})}, mode("reflect")).value(0) ==
        2);  // more than the axis has
  CHECK(apply(Op::pad, {src, i64({2}, {-1, 2})}) == f32({4}, {2, 3, 0, 0}));
  CHECK(apply(Op::pad, {src, i64({2}, {-1, -2})}).elements() == 0);
  CHECK(apply(Op::pad, {kTall, i64({2}, {1, 0}), std::nullopt, i64({1}, {-1})}) ==
        f32({3, 3}, {0, 1, 2, 0, 3, 4, 0, 5, 6}));
  CHECK(refusal(Op::pad, {src, i64({2}, {-2, -2})}).find("pads -2 and -2") != std::string::npos);
  CHECK(refusal(Op::pad, {src, i64({1}, {1})}).find("1 pads for 1 axes") != std::string::npos);
  CHECK(refusal(Op::pad, {src, two}, mode("x")).find("'x'") != std::string::npos);
  CHECK(refusal(Op::pad, {src, two, i64({}, {9})}).find("differ") != std::string::npos);
  CHECK(refusal(Op::pad, {src, i64({2}, {Index{1} << 61, 0})}).find("pads") != std::string::npos);
  CHECK(refusal(Op::pad, {f32({0}, {}), two}, mode("edge")).find("empty axis") !=
        std::string::npos);
}

TEST_CASE("non_zero lists places by axis") {
  CHECK(apply(Op::non_zero, {f32({2, 2}, {1, 0, 3, 4})}) == i64({2, 3}, {0, 1, 1, 0, 0, 1}));
  CHECK(apply(Op::non_zero, {bools({3}, {0, 1, 1})}) == i64({1, 2}, {1, 2}));
  CHECK(apply(Op::non_zero, {f32({}, {5})}).dims() == ir::Dims{0, 1});
}

TEST_CASE("trilu keeps one side of a diagonal of the last two axes") {
  const Tensor src = f32({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(apply(Op::trilu, {src}) == f32({2, 2, 2}, {1, 2, 0, 4, 5, 6, 0, 8}));
  CHECK(apply(Op::trilu, {src}, {{"upper", 0}}) == f32({2, 2, 2}, {1, 0, 3, 4, 5, 0, 7, 8}));
  CHECK(apply(Op::trilu, {src, i64({}, {1})}) == f32({2, 2, 2}, {0, 2, 0, 0, 0, 6, 0, 0}));
  CHECK(refusal(Op::trilu, {f32({2}, {1, 2})}).find("rank 2 or more") != std::string::npos);
}

}  // namespace
}  // namespace rtai::reference
