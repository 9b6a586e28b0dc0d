#include "libopt/onnx/internal/facts.h"

#include <algorithm>

namespace rtai::onnx_io {
namespace {

using ir::Op;
using Operands = std::span<const Operand>;
using Known = std::optional<Index>;

DType result_dtype(Op op, Operands inputs, const ir::Attributes& attributes, std::size_t output) {
  const auto named = [&](const char* name, DType fallback) {
    return dtype_from_name(attributes.text(name, "")).value_or(fallback);
  };
  const DType first = inputs.empty() ? DType::f32 : inputs[0].fact.dtype;
  switch (op) {
    case Op::equal:
    case Op::less:
    case Op::less_or_equal:
    case Op::greater:
    case Op::greater_or_equal:
    case Op::is_nan:
    case Op::is_inf:
      return DType::boolean;
    case Op::shape:
    case Op::size:
    case Op::non_zero:
    case Op::arg_max:
      return DType::i64;
    case Op::matmul_integer:
      return DType::i32;
    case Op::cast:
      return named("to", first);
    case Op::cast_like:
    case Op::where:
    case Op::choose:
      return inputs[1].fact.dtype;
    case Op::dequantize_linear: {
      const DType scale = inputs[1].fact.dtype;
      return scale == DType::f8e8m0 ? DType::f32 : scale;
    }
    case Op::one_hot:
      return inputs[2].fact.dtype;
    case Op::quantize_linear:
      return inputs.size() > 2 ? inputs[2].fact.dtype : named("output_dtype", DType::u8);
    case Op::dynamic_quantize_linear:
      return output == 1 ? DType::f32 : DType::u8;
    case Op::dropout:
      return output == 1 ? DType::boolean : first;
    case Op::layer_normalization:
      return output == 0 ? first : DType::f32;
    case Op::constant_of_shape: {
      const ir::Attribute* value = attributes.find("value");
      return value == nullptr ? DType::f32 : std::get<ir::Tensor>(*value).dtype();
    }
    default:
      return first;
  }
}

Known sum(Known a, Known b) {
  return a && b ? Known(*a + *b) : std::nullopt;
}

Known largest(Operands inputs, Known Fact::*what) {
  Known result = 0;
  for (const Operand& input : inputs) {
    result =
        result && input.fact.*what ? Known(std::max(*result, *(input.fact.*what))) : std::nullopt;
  }
  return result;
}

/// How many axes an operator is told to work on: the length of its second input.
Known axis_count(Operands inputs) {
  return inputs.size() > 1 ? inputs[1].fact.length : std::nullopt;
}

Known matmul_rank(Known a, Known b) {
  if (!a || !b) return std::nullopt;
  if (*a == 1 || *b == 1) return std::max(*a, *b) - 1;
  return std::max(*a, *b);
}

bool is_reduction(Op op) {
  switch (op) {
    case Op::reduce_mean:
    case Op::reduce_sum:
    case Op::reduce_max:
    case Op::reduce_min:
    case Op::reduce_prod:
    case Op::reduce_sum_square:
    case Op::reduce_l2:
      return true;
    default:
      return false;
  }
}

Known reduced_rank(Operands inputs, const ir::Attributes& attributes) {
  if (attributes.integer("keepdims", 1) != 0) return inputs[0].fact.rank;
  const Known axes = axis_count(inputs);
  return inputs[0].fact.rank && axes && *axes > 0 ? Known(*inputs[0].fact.rank - *axes)
                                                  : std::nullopt;
}

Known result_rank(Op op, Operands inputs, const ir::Attributes& attributes) {
  const Known first = inputs.empty() ? std::nullopt : inputs[0].fact.rank;
  if (is_reduction(op)) return reduced_rank(inputs, attributes);
  switch (op) {
    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::div:
    case Op::pow:
    case Op::mod:
    case Op::min:
    case Op::max:
    case Op::sum:
    case Op::equal:
    case Op::less:
    case Op::less_or_equal:
    case Op::greater:
    case Op::greater_or_equal:
    case Op::logical_and:
    case Op::logical_or:
    case Op::logical_xor:
    case Op::where:
      return largest(inputs, &Fact::rank);
    case Op::choose:
      return inputs[1].fact.rank == inputs[2].fact.rank ? inputs[1].fact.rank : std::nullopt;
    case Op::expand: {
      const Known target = axis_count(inputs);
      return first && target ? Known(std::max(*first, *target)) : std::nullopt;
    }
    case Op::shape:
    case Op::range:
      return 1;
    case Op::size:
      return 0;
    case Op::flatten:
    case Op::gemm:
    case Op::non_zero:
      return 2;
    case Op::reshape:
      return axis_count(inputs);
    case Op::constant_of_shape:
      return inputs[0].fact.length;
    case Op::squeeze: {
      const Known axes = axis_count(inputs);
      return first && axes ? Known(*first - *axes) : std::nullopt;
    }
    case Op::unsqueeze:
      return sum(first, axis_count(inputs));
    case Op::gather: {
      const Known both = sum(first, inputs[1].fact.rank);
      return both ? Known(*both - 1) : std::nullopt;
    }
    case Op::gather_elements:
      return inputs[1].fact.rank;
    case Op::one_hot:
      return sum(first, 1);
    case Op::arg_max:
      return attributes.integer("keepdims", 1) != 0 || !first ? first : Known(*first - 1);
    case Op::matmul:
    case Op::matmul_integer:
      return matmul_rank(first, inputs[1].fact.rank);
    case Op::gather_nd:
    case Op::einsum:
      return std::nullopt;
    default:
      return first;
  }
}

Index clamp_place(Index place, Index length) {
  return std::clamp<Index>(place < 0 ? place + length : place, 0, length);
}

/// The length of a list from which a constant range is taken in steps of one.
Known sliced_length(Operands inputs) {
  const Known length = inputs[0].fact.length;
  const auto number = [&](std::size_t i) -> Known {
    if (i >= inputs.size() || inputs[i].constant == nullptr) return std::nullopt;
    if (inputs[i].constant->elements() != 1) return std::nullopt;
    return inputs[i].constant->to_indices()[0];
  };
  const bool steps = inputs.size() > 4 && number(4) != 1;
  if (!length || !number(1) || !number(2) || steps) return std::nullopt;
  return std::max<Index>(0, clamp_place(*number(2), *length) - clamp_place(*number(1), *length));
}

Known result_length(Op op, Operands inputs, const ir::Attributes& attributes) {
  switch (op) {
    case Op::shape: {
      const Known rank = inputs[0].fact.rank;
      if (!rank) return std::nullopt;
      const Index start = clamp_place(attributes.integer("start", 0), *rank);
      return std::max<Index>(0, clamp_place(attributes.integer("end", *rank), *rank) - start);
    }
    case Op::unsqueeze:  // a scalar
      return 1;
    case Op::concat: {
      Known total = 0;
      for (const Operand& input : inputs)
        total = sum(total, input.fact.length);
      return total;
    }
    case Op::gather:
      return inputs[1].fact.length;
    case Op::slice:
      return sliced_length(inputs);
    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::div:
    case Op::equal:
    case Op::where: {
      Known longest = 1;
      for (const Operand& input : inputs) {
        const Known length = input.fact.rank == 0 ? Known(1) : input.fact.length;
        if (!longest || !length || *length == 0) return std::nullopt;
        longest = std::max(*longest, *length);
      }
      return longest;
    }
    case Op::cast:
    case Op::neg:
    case Op::cum_sum:
      return inputs[0].fact.length;
    case Op::constant_of_shape: {
      const ir::Tensor* shape = inputs[0].constant;
      return shape == nullptr || shape->elements() != 1 ? std::nullopt
                                                        : Known(shape->to_indices()[0]);
    }
    default:
      return std::nullopt;
  }
}

}  // namespace

Fact infer(Op op, Operands inputs, const ir::Attributes& attributes, std::size_t output) {
  Fact fact{.dtype = result_dtype(op, inputs, attributes, output),
            .rank = result_rank(op, inputs, attributes),
            .length = std::nullopt};
  if (op == Op::dynamic_quantize_linear && output > 0) fact.rank = 0;
  if (fact.rank && *fact.rank < 0) fact.rank.reset();  // the node cannot run; running it will tell
  if (fact.rank == 1) fact.length = result_length(op, inputs, attributes);
  return fact;
}

}  // namespace rtai::onnx_io
