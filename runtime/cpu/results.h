// Where kernels put their results: floats, or integers of 8 bits at a scale that is known before.
#pragma once

#include "runtime/cpu/quantize_rows_vector.h"

namespace rtai::cpu {
namespace {

/// args.dst.
class FloatResults {
 public:
  template <class Args>
  explicit FloatResults(const Args& args) : to_(args.dst), stride_(args.dst_stride) {}

  template <class AnyLanes>
  void store(Index row, Index column, Floats x, AnyLanes lanes) const {
    cpu::store(to_ + row * stride_ + column, x, lanes);
  }

 private:
  float* to_;
  Index stride_;
};

/// args.quantized, of a scale that is fixed; lanes that are not used become zeros.
class ByteResults {
 public:
  template <class Args>
  explicit ByteResults(const Args& args)
      : to_(args.quantized), factor_(1.0f / args.quantized.fixed_scale) {}

  /// column: a multiple of 16.
  template <class AnyLanes>
  void store(Index row, Index column, Floats x, AnyLanes lanes) const {
    if (to_.column_factor != nullptr) x = x * load(to_.column_factor + column, lanes);
    store_bytes(to_.data + row * to_.stride + column, bounded_integers(keep(x, lanes), factor_),
                to_.flip);
  }

 private:
  QuantizedRows to_;
  float factor_;
};

/// Calls body(results) with where `args` wants its results.
template <class Args, class Body>
void with_results(const Args& args, Body&& body) {
  if (args.quantized.data == nullptr)
    body(FloatResults(args));
  else
    body(ByteResults(args));
}

}  // namespace
}  // namespace rtai::cpu
