// dst = src weight^T + bias
#include "libopt/grad/internal/operators.h"

namespace rtai::grad {
namespace {

using L = ir::Linear;

Result<ir::Tensor> multiply(const Call& call) {
  if (call[L::weight].dtype() != DType::f32 || call.has(L::src_factor))
    return Error{ErrorCode::unsupported, "int8 weights have no derivative"};
  const Rows src = rows_of(call[L::src]);
  const Rows weight = rows_of(call[L::weight]);
  RTAI_TRY(ir::Tensor result, ir::Tensor::zeros(DType::f32, {src.rows(), weight.rows()}));
  MutableRows dst = rows_of(result);
  if (call.has(L::bias)) dst.rowwise() = rows_of(call[L::bias]).row(0);
  add_product_by_rows(src, weight, dst);
  return result;
}

void multiply_back(const Call& call, const ir::Tensor& d_dst, Slots slots) {
  const Rows d = rows_of(d_dst);
  if (slots[L::src] != nullptr) add_product(d, rows_of(call[L::weight]), rows_of(*slots[L::src]));
  if (slots[L::weight] != nullptr)
    add_product_by_columns(d, rows_of(call[L::src]), rows_of(*slots[L::weight]));
  if (slots.size() > L::bias && slots[L::bias] != nullptr)
    rows_of(*slots[L::bias]).row(0) += d.colwise().sum();
}

}  // namespace

const Operator kLinear = {ir::Op::linear, multiply, multiply_back};

}  // namespace rtai::grad
