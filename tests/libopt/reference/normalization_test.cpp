#include "tests/libopt/reference/apply.h"

#include <cmath>
#include <limits>

namespace rtai::reference {
namespace {

using ir::Op;
using ir::Tensor;

TEST_CASE("softmax sums to one along its axis and survives large numbers") {
  const Tensor large = f32({2, 2}, {1000, 1000, -1000, 0});
  CHECK(apply(Op::softmax, {large}) == f32({2, 2}, {0.5f, 0.5f, 0, 1}));
  check_close(apply(Op::softmax, {f32({2, 1}, {0, 1.0986123f})}, {{"axis", 0}}),
              f32({2, 1}, {0.25f, 0.75f}), 1e-6);
  check_close(apply(Op::log_softmax, {large}), f32({2, 2}, {-0.6931472f, -0.6931472f, -1000, 0}),
              1e-6);
  const float hidden = -std::numeric_limits<float>::infinity();
  CHECK(apply(Op::softmax, {f32({2}, {hidden, 3})}) == f32({2}, {0, 1}));
  CHECK(std::isnan(apply(Op::softmax, {f32({1}, {hidden})}).value(0)));
  CHECK(apply(Op::softmax, {f32({0, 2}, {})}).elements() == 0);
  CHECK(refusal(Op::softmax, {f32({}, {1})}).find("axis -1") != std::string::npos);
}

TEST_CASE("layer_normalization gives its statistics, too") {
  const auto results = apply_all(Op::layer_normalization,
                                 {f32({2, 2}, {1, 3, 2, 2}), f32({2}, {2, 2}), f32({2}, {1, 1})},
                                 {{"axis", -1}, {"epsilon", 1e-5f}}, 3);
  REQUIRE(results);
  check_close(results->at(0), f32({2, 2}, {-0.99999f, 2.99999f, 1, 1}), 1e-5);
  check_close(results->at(1), f32({2, 1}, {2, 2}), 1e-6);
  check_close(results->at(2), f32({2, 1}, {0.999995f, 316.22777f}), 1e-2);
  CHECK(refusal(Op::layer_normalization, {f32({2, 2}, {1, 2, 3, 4}), f32({3}, {1, 1, 1})})
            .find("broadcast") != std::string::npos);
  CHECK(refusal(Op::layer_normalization, {f32({2}, {1, 2}), f32({2}, {1, 1})}, {{"axis", 1}})
            .find("axis 1") != std::string::npos);
}

}  // namespace
}  // namespace rtai::reference
