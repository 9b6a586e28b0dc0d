#include "tests/libopt/reference/apply.h"

namespace rtai::reference {
namespace {

using ir::Op;
using ir::Tensor;

/// 1, 2, 3, ... modulo 7, so that sums stay exact.
Tensor counted(ir::Dims dims) {
  const Index elements = ir::element_count(dims).value();
  std::vector<float> values;
  for (Index i = 0; i < elements; ++i)
    values.push_back(static_cast<float>((i + 1) % 7));
  return f32(std::move(dims), values);
}

TEST_CASE("matmul of every size around its tiles is the plain sum") {
  for (const Index m : {1, 3, 4, 5, 9}) {
    for (const Index n : {1, 7, 8, 9, 17}) {
      for (const Index k : {1, 2, 13}) {
        const Tensor a = counted({m, k});
        const Tensor b = counted({k, n});
        const Tensor result = apply(Op::matmul, {a, b});
        for (Index i = 0; i < m; ++i) {
          for (Index j = 0; j < n; ++j) {
            double sum = 0;
            for (Index p = 0; p < k; ++p)
              sum += a.value(i * k + p) * b.value(p * n + j);
            REQUIRE(result.value(i * n + j) == sum);
          }
        }
      }
    }
  }
}

TEST_CASE("matmul broadcasts batches and takes vectors on either side") {
  const Tensor a = f32({2, 1, 2}, {1, 2, 3, 4});
  CHECK(apply(Op::matmul, {a, f32({2, 1}, {1, 1})}) == f32({2, 1, 1}, {3, 7}));
  CHECK(apply(Op::matmul, {f32({2}, {1, 2}), f32({2}, {3, 4})}) == f32({}, {11}));
  CHECK(apply(Op::matmul, {f32({2}, {1, 2}), f32({2, 2}, {1, 2, 3, 4})}) == f32({2}, {7, 10}));
  CHECK(apply(Op::matmul, {f32({1, 2, 2}, {1, 2, 3, 4}), f32({2}, {1, 1})}) == f32({1, 2}, {3, 7}));
  CHECK(apply(Op::matmul, {f32({2, 0}, {}), f32({0, 2}, {})}) == f32({2, 2}, {0, 0, 0, 0}));
  CHECK(apply(Op::matmul, {i64({1, 2}, {1, 2}), i64({2, 1}, {3, 4})}) == i64({1, 1}, {11}));
  CHECK(refusal(Op::matmul, {f32({}, {1}), f32({1}, {1})}).find("scalar") != std::string::npos);
  CHECK(refusal(Op::matmul, {f32({1, 2}, {1, 2}), f32({1, 2}, {1, 2})}).find("do not multiply") !=
        std::string::npos);
  CHECK(refusal(Op::matmul, {counted({2, 1, 2}), counted({3, 2, 1})}).find("do not broadcast") !=
        std::string::npos);
}

TEST_CASE("gemm transposes, scales and adds") {
  const Tensor a = f32({2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor b = f32({2, 3}, {1, 0, 1, 0, 1, 0});
  CHECK(apply(Op::gemm, {a, b, f32({2}, {10, 20})},
              {{"transB", 1}, {"alpha", 2.0f}, {"beta", 0.5f}}) == f32({2, 2}, {13, 14, 25, 20}));
  CHECK(apply(Op::gemm, {a, b}, {{"transA", 1}}) == f32({3, 3}, {1, 4, 1, 2, 5, 2, 3, 6, 3}));
  CHECK(refusal(Op::gemm, {a, b}).find("do not multiply") != std::string::npos);
  CHECK(refusal(Op::gemm, {a, b, f32({3}, {1, 2, 3})}, {{"transB", 1}}).find("do not broadcast") !=
        std::string::npos);
  CHECK(refusal(Op::gemm, {a, f32({3}, {1, 2, 3})}).find("expected rank 2") != std::string::npos);
}

TEST_CASE("matmul_integer takes zero points off, for all, rows or columns") {
  const Tensor a = u8({2, 2}, {1, 2, 255, 4});
  const Tensor b = i8({2, 2}, {1, -1, 2, 0});
  CHECK(apply(Op::matmul_integer, {a, b}) == i32({2, 2}, {5, -1, 263, -255}));
  CHECK(apply(Op::matmul_integer, {a, b, u8({}, {1})}) == i32({2, 2}, {2, 0, 260, -254}));
  CHECK(apply(Op::matmul_integer, {a, b, u8({2}, {1, 255}), i8({2}, {1, 0})}) ==
        i32({2, 2}, {1, 0, -251, 0}));
  CHECK(refusal(Op::matmul_integer, {a, b, u8({3}, {1, 1, 1})}).find("do not broadcast") !=
        std::string::npos);
  CHECK(refusal(Op::matmul_integer, {a, b, i8({}, {1})}).find("differ") != std::string::npos);
  CHECK(refusal(Op::matmul_integer, {i32({1, 1}, {1}), b}).find("i32 is not allowed") !=
        std::string::npos);
}

TEST_CASE("einsum sums over what the result lacks") {
  const Tensor a = f32({2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor b = f32({3, 2}, {1, 0, 0, 1, 1, 1});
  const auto einsum = [](const char* equation, const std::vector<std::optional<Tensor>>& operands) {
    return apply(Op::einsum, operands, {{"equation", std::string(equation)}});
  };
  CHECK(einsum("ij,jk->ik", {a, b}) == f32({2, 2}, {4, 5, 10, 11}));
  CHECK(einsum("ij, jk", {a, b}) == f32({2, 2}, {4, 5, 10, 11}));
  CHECK(einsum("ij->ji", {a}) == f32({3, 2}, {1, 4, 2, 5, 3, 6}));
  CHECK(einsum("ij->", {a}) == f32({}, {21}));
  CHECK(einsum("ii->i", {f32({2, 2}, {1, 2, 3, 4})}) == f32({2}, {1, 4}));
  CHECK(einsum("...j,...j->...", {a, f32({3}, {1, 1, 1})}) == f32({2}, {6, 15}));
  CHECK(einsum("b...,b->...b", {a, f32({2}, {1, 2})}) == f32({3, 2}, {1, 8, 2, 10, 3, 12}));
}

TEST_CASE("einsum refuses equations that do not fit") {
  const Tensor a = f32({2, 3}, {1, 2, 3, 4, 5, 6});
  for (const char* equation :
       {"i->i", "ijk->i", "ij,jk->ik", "ij->k", "ij->ii", "00->0", "i$->i", "", "ij->i,j"}) {
    INFO(equation);
    CHECK_FALSE(refusal(Op::einsum, {a}, {{"equation", std::string(equation)}}).empty());
  }
  CHECK(
      refusal(Op::einsum, {a, a}, {{"equation", std::string("ij,jk->ik")}}).find("sizes 3 and 2") !=
      std::string::npos);
}

}  // namespace
}  // namespace rtai::reference
