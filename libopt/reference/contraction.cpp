// Products of matrices.
#include "libopt/reference/internal/multiply.h"
#include "libopt/reference/internal/operators.h"
#include "libopt/reference/internal/walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace rtai::reference {
namespace {

using ir::Dims;
using ir::Tensor;

using Multipliable = Types<float, double, std::int32_t, std::uint32_t, std::int64_t, std::uint64_t>;

/// What a product of Ts is computed in: integers wrap around, which only unsigned ones may.
template <class T>
struct Wrapping {
  using type = T;
};
template <>
struct Wrapping<std::int32_t> {
  using type = std::uint32_t;
};
template <>
struct Wrapping<std::int64_t> {
  using type = std::uint64_t;
};

/// numpy's matmul: batches broadcast, a vector is a row on the left and a column on the right.
template <class T>
Result<Tensor> batched_product(const Call& call, const Tensor& a, const Tensor& b) {
  if (a.rank() == 0 || b.rank() == 0) return invalid_input("a scalar in a matrix product");
  Dims a_dims = a.dims();
  Dims b_dims = b.dims();
  if (a.rank() == 1) a_dims.insert(a_dims.begin(), 1);
  if (b.rank() == 1) b_dims.push_back(1);
  const Index m = a_dims.end()[-2];
  const Index k = a_dims.back();
  const Index n = b_dims.back();
  if (b_dims.end()[-2] != k) {
    return invalid_input(fmt::format("{} and {} do not multiply", describe(a), describe(b)));
  }
  const std::span<const Index> a_batch = std::span<const Index>(a_dims).first(a_dims.size() - 2);
  const std::span<const Index> b_batch = std::span<const Index>(b_dims).first(b_dims.size() - 2);
  RTAI_TRY(const Dims batch, broadcast(a_batch, b_batch));
  Dims dims = batch;
  if (a.rank() > 1) dims.push_back(m);
  if (b.rank() > 1) dims.push_back(n);
  RTAI_TRY(Tensor result, call.allocate(a.dtype(), dims));
  RTAI_TRY_VOID(call.spend(result.elements(), k, 1));
  if (result.elements() == 0) return result;

  using U = typename Wrapping<T>::type;
  const auto* left = reinterpret_cast<const U*>(a.data<T>().data());
  const auto* right = reinterpret_cast<const U*>(b.data<T>().data());
  auto* dst = reinterpret_cast<U*>(result.mutable_data<T>().data());
  if (b_batch.empty()) {  // one product, which reads a large weight once
    multiply<U>({left, k, 1}, {right, n, 1}, result.elements() / n, n, k, dst, n);
    return result;
  }
  for_each_row<2>(batch, {broadcast_strides(a_batch, batch), broadcast_strides(b_batch, batch)},
                  [&](const Row<2>& row) {
                    for (Index i = 0; i < row.count; ++i) {
                      multiply<U>({left + (row.at[0] + i * row.step[0]) * m * k, k, 1},
                                  {right + (row.at[1] + i * row.step[1]) * k * n, n, 1}, m, n, k,
                                  dst + (row.dst + i) * m * n, n);
                    }
                  });
  return result;
}

/// a or b of MatMulInteger in i32, its zero point taken off.
///
/// `zero_point` is null, one number, or one for each row of a (column of b) as [m] or [..., m, 1].
Result<Tensor> centered(const Call& call, const Tensor& src, const Tensor* zero_point, Index axis) {
  RTAI_TRY(Tensor wide, call.convert(src, DType::i32));
  if (zero_point == nullptr) return wide;
  RTAI_TRY_VOID(expect_same_type(src, *zero_point));
  RTAI_TRY(Tensor offset, call.convert(*zero_point, DType::i32));
  if (offset.rank() == 1 && offset.elements() > 1) {
    Dims dims(static_cast<std::size_t>(std::max<Index>(src.rank(), 1)), 1);
    if (axis < -src.rank()) return invalid_input("a zero point for each row of a vector");
    dims[static_cast<std::size_t>(src.rank() + axis)] = offset.elements();
    offset = offset.reshaped(dims);
  } else if (offset.elements() == 1) {
    offset = offset.reshaped({});
  }
  RTAI_TRY(const Dims dims, broadcast(src.dims(), offset.dims()));
  if (dims != src.dims()) {
    return invalid_input(fmt::format("zero point {} for {}", describe(*zero_point), describe(src)));
  }
  std::int32_t* values = wide.mutable_data<std::int32_t>().data();
  const std::int32_t* offsets = offset.data<std::int32_t>().data();
  for_each_row<1>(dims, {broadcast_strides(offset.dims(), dims)}, [&](const Row<1>& row) {
    for (Index i = 0; i < row.count; ++i) {
      values[row.dst + i] -= offsets[row.at[0] + i * row.step[0]];
    }
  });
  return wide;
}

// --- einsum

/// The axes of one operand by label; an ellipsis stands for labels of its own ('0', '1', ...).
using Labels = std::string;

struct Equation {
  std::vector<Labels> operands;
  Labels result;
};

/// Labels of the axes that "..." stands for: the last of `count` is always '0', as in broadcasting.
Labels ellipsis_labels(std::size_t count) {
  Labels labels;
  for (std::size_t i = count; i-- > 0;)
    labels += static_cast<char>('0' + i);
  return labels;
}

/// One side of a comma, for an operand of `rank`.
Result<Labels> expand_term(std::string_view term, std::size_t rank) {
  constexpr std::string_view kDots = "...";
  const std::size_t dots = term.find(kDots);
  const std::size_t letters = dots == std::string_view::npos ? term.size() : term.size() - 3;
  if (letters > rank || (dots == std::string_view::npos && letters != rank) ||
      rank - letters > 10) {
    return invalid_input(fmt::format("term '{}' for an operand of rank {}", term, rank));
  }
  if (dots == std::string_view::npos) return Labels(term);
  return Labels(term.substr(0, dots)) + ellipsis_labels(rank - letters) +
         Labels(term.substr(dots + kDots.size()));
}

/// Without "->": the ellipsis, then the labels that occur once, in alphabetical order.
Labels implicit_result(const std::vector<Labels>& operands) {
  std::map<char, int> counts;
  for (const Labels& labels : operands) {
    for (const char label : labels)
      ++counts[label];
  }
  Labels dots;
  Labels once;
  for (const auto& [label, count] : counts) {
    if (label >= '0' && label <= '9')
      dots.insert(dots.begin(), label);
    else if (count == 1)
      once += label;
  }
  return dots + once;
}

Result<Equation> parse_equation(std::string text, const Call& call) {
  std::erase(text, ' ');
  if (text.find_first_of("0123456789") != std::string::npos) {
    return invalid_input(fmt::format("equation '{}'", text));
  }
  const std::size_t arrow = text.find("->");
  std::string_view left = std::string_view(text).substr(0, arrow);
  Equation equation;
  std::size_t dots = 0;  // axes of the longest ellipsis
  for (std::size_t i = 0; i < call.input_count(); ++i) {
    const std::size_t comma = left.find(',');
    if ((comma == std::string_view::npos) != (i + 1 == call.input_count())) {
      return invalid_input(fmt::format("equation '{}' for {} operands", text, call.input_count()));
    }
    const std::string_view term = left.substr(0, comma);
    RTAI_TRY(Labels labels, expand_term(term, call[i].dims().size()));
    if (term.find("...") != std::string_view::npos) {
      dots = std::max(dots, labels.size() - (term.size() - 3));
    }
    equation.operands.push_back(std::move(labels));
    if (comma != std::string_view::npos) left.remove_prefix(comma + 1);
  }
  if (arrow == std::string::npos) {
    equation.result = implicit_result(equation.operands);
  } else {
    const std::string term = text.substr(arrow + 2);
    const std::size_t letters =
        term.find("...") == std::string::npos ? term.size() : term.size() - 3 + dots;
    RTAI_TRY(equation.result, expand_term(term, letters));
  }
  return equation;
}

/// All labels with their sizes: those of the result first, then those that are summed over.
struct LabelSizes {
  Labels order;
  Dims dims;
};

Result<LabelSizes> sizes_of(const Equation& equation, const Call& call) {
  std::map<char, Index> sizes;
  for (std::size_t i = 0; i < equation.operands.size(); ++i) {
    for (std::size_t axis = 0; axis < equation.operands[i].size(); ++axis) {
      const char label = equation.operands[i][axis];
      const bool is_letter = (label >= 'a' && label <= 'z') || (label >= 'A' && label <= 'Z');
      const bool is_ellipsis = label >= '0' && label <= '9';
      if (!is_letter && !is_ellipsis)
        return invalid_input(fmt::format("label '{}' in the equation", label));
      const Index size = call[i].dims()[axis];
      Index& known = sizes.emplace(label, size).first->second;
      if (known == 1) known = size;
      if (size != known && size != 1) {
        return invalid_input(fmt::format("label '{}' has sizes {} and {}", label, known, size));
      }
    }
  }
  LabelSizes all;
  for (const char label : equation.result) {
    if (!sizes.contains(label) || all.order.find(label) != Labels::npos) {
      return invalid_input(fmt::format("label '{}' of the result", label));
    }
    all.order += label;
  }
  for (const auto& [label, size] : sizes) {
    if (all.order.find(label) == Labels::npos) all.order += label;
  }
  for (const char label : all.order)
    all.dims.push_back(sizes[label]);
  return all;
}

/// How far one step along each label moves in a tensor of `dims`; a label twice is its diagonal.
Dims label_strides(const Labels& order, const Labels& labels, const Dims& dims) {
  const Dims own = strides_of(dims);
  Dims strides(order.size(), 0);
  for (std::size_t axis = 0; axis < labels.size(); ++axis) {
    if (dims[axis] != 1) strides[order.find(labels[axis])] += own[axis];
  }
  return strides;
}

}  // namespace

namespace op {

Result<Tensors> matmul(const Call& call) {
  RTAI_TRY_VOID(expect_same_type(call[0], call[1]));
  return one(with_type(Multipliable{}, call[0].dtype(), [&](auto zero) {
    return batched_product<decltype(zero)>(call, call[0], call[1]);
  }));
}

Result<Tensors> matmul_integer(const Call& call) {
  for (std::size_t i = 0; i < 2; ++i) {
    if (call[i].dtype() != DType::i8 && call[i].dtype() != DType::u8) {
      return wrong_type(call[i].dtype());
    }
  }
  RTAI_TRY(const Tensor a, centered(call, call[0], call.has(2) ? &call[2] : nullptr, -2));
  RTAI_TRY(const Tensor b, centered(call, call[1], call.has(3) ? &call[3] : nullptr, -1));
  return one(batched_product<std::int32_t>(call, a, b));
}

Result<Tensors> gemm(const Call& call) {
  const Tensor& a = call[0];
  const Tensor& b = call[1];
  RTAI_TRY_VOID(expect_same_type(a, b));
  RTAI_TRY_VOID(expect_rank(a, 2, "a"));
  RTAI_TRY_VOID(expect_rank(b, 2, "b"));
  const Index a_turned = call.attributes().integer("transA", 0) != 0 ? 1 : 0;
  const Index b_turned = call.attributes().integer("transB", 0) != 0 ? 1 : 0;
  const Index m = a.dim(a_turned);
  const Index k = a.dim(1 - a_turned);
  const Index n = b.dim(1 - b_turned);
  if (b.dim(b_turned) != k) {
    return invalid_input(fmt::format("{} and {} do not multiply", describe(a), describe(b)));
  }
  if (call.has(2)) {
    RTAI_TRY_VOID(expect_same_type(a, call[2]));
    RTAI_TRY(const Dims dims, broadcast(call[2].dims(), Dims{m, n}));
    if (dims != Dims{m, n})
      return invalid_input(fmt::format("c is {} for [{}, {}]", describe(call[2]), m, n));
  }
  RTAI_TRY(Tensor result, call.allocate(a.dtype(), {m, n}));
  RTAI_TRY_VOID(call.spend(m, n, k));
  return one(with_type(Multipliable{}, a.dtype(), [&](auto zero) -> Result<Tensor> {
    using T = decltype(zero);
    using U = typename Wrapping<T>::type;
    if (result.elements() == 0) return result;
    auto* dst = reinterpret_cast<U*>(result.mutable_data<T>().data());
    const auto* left = reinterpret_cast<const U*>(a.data<T>().data());
    const auto* right = reinterpret_cast<const U*>(b.data<T>().data());
    multiply<U>(a_turned == 1 ? Strided<U>{left, 1, m} : Strided<U>{left, k, 1},
                b_turned == 1 ? Strided<U>{right, 1, k} : Strided<U>{right, n, 1}, m, n, k, dst, n);
    const float alpha_real = call.attributes().real("alpha", 1.0f);
    const float beta_real = call.attributes().real("beta", 1.0f);
    if (std::integral<T> && (alpha_real != 1.0f || beta_real != 1.0f)) {
      return invalid_input("alpha and beta must be 1 for integers");
    }
    const auto alpha = static_cast<U>(alpha_real);
    const auto beta = static_cast<U>(beta_real);
    for (Index i = 0; i < m * n; ++i)
      dst[i] *= alpha;
    if (!call.has(2)) return result;
    const auto* c = reinterpret_cast<const U*>(call[2].data<T>().data());
    for_each_row<1>({m, n}, {broadcast_strides(call[2].dims(), Dims{m, n})},
                    [&](const Row<1>& row) {
                      for (Index i = 0; i < row.count; ++i) {
                        dst[row.dst + i] += beta * c[row.at[0] + i * row.step[0]];
                      }
                    });
    return result;
  }));
}

/// A loop over all labels: the sum over those that the result lacks of the product of the operands.
Result<Tensors> einsum(const Call& call) {
  RTAI_TRY(const Equation equation, parse_equation(call.attributes().text("equation", ""), call));
  RTAI_TRY(const LabelSizes sizes, sizes_of(equation, call));
  RTAI_TRY_VOID(expect_possible_dims(sizes.dims));
  for (std::size_t i = 1; i < call.input_count(); ++i) {
    RTAI_TRY_VOID(expect_same_type(call[0], call[i]));
  }
  const std::size_t kept = equation.result.size();
  RTAI_TRY(
      Tensor result,
      call.allocate(call[0].dtype(), Dims(sizes.dims.begin(),
                                          sizes.dims.begin() + static_cast<std::ptrdiff_t>(kept))));
  const Index total = product(sizes.dims);
  RTAI_TRY_VOID(call.spend(total, static_cast<Index>(call.input_count()), 1));
  return one(with_type(Multipliable{}, call[0].dtype(), [&](auto zero) -> Result<Tensor> {
    using T = decltype(zero);
    using U = typename Wrapping<T>::type;
    const Labels summed = sizes.order.substr(kept);
    std::vector<Dims> strides;
    for (std::size_t i = 0; i < call.input_count(); ++i) {
      strides.push_back(label_strides(sizes.order, equation.operands[i], call[i].dims()));
    }
    const Index per_element = result.elements() == 0 ? 0 : total / result.elements();
    auto* dst = reinterpret_cast<U*>(result.mutable_data<T>().data());
    Dims place(sizes.order.size(), 0);
    std::vector<Index> at(call.input_count(), 0);
    for (Index i = 0; i < result.elements(); ++i) {
      U sum{0};
      for (Index s = 0; s < per_element; ++s) {
        U term{1};
        for (std::size_t t = 0; t < at.size(); ++t) {
          term *= reinterpret_cast<const U*>(call[t].data<T>().data())[at[t]];
        }
        sum += term;
        for (std::size_t axis = place.size(); axis-- > 0;) {  // to the next place
          for (std::size_t t = 0; t < at.size(); ++t)
            at[t] += strides[t][axis];
          if (++place[axis] < sizes.dims[axis]) break;
          for (std::size_t t = 0; t < at.size(); ++t)
            at[t] -= strides[t][axis] * sizes.dims[axis];
          place[axis] = 0;
        }
      }
      dst[i] = sum;
    }
    return result;
  }));
}

}  // namespace op
}  // namespace rtai::reference
