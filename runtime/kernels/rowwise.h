// Small ops on rows of f32: activation, add, l2_normalize, mean_pool.
#pragma once

#include "runtime/base/function.h"
#include "runtime/kernels/kernel.h"

namespace rtai {

/// dst[i] = f(src[i]). dst may be src.
struct Activation {
  static constexpr std::string_view kName = "activation";
  struct Args {
    const float* src;
    float* dst;
    Function function;
    Index elements;
  };
};

/// dst[i] = a[i] + b[i]. dst may be a or b.
struct Add {
  static constexpr std::string_view kName = "add";
  struct Args {
    const float* a;
    const float* b;
    float* dst;
    Index elements;
  };
};

/// dst[r] = src[r] / max(|src[r]|, 1e-12), the euclidean norm. Shapes: [rows, hidden]. dst may be
/// src.
struct L2Normalize {
  static constexpr std::string_view kName = "l2_normalize";
  struct Args {
    const float* src;
    float* dst;
    Index rows;
    Index hidden;
  };
};

/// dst = mean of the rows of src, summed in ascending order. Shapes: src [rows, hidden], dst
/// [hidden].
struct MeanPool {
  static constexpr std::string_view kName = "mean_pool";
  struct Args {
    const float* src;
    float* dst;
    Index rows;
    Index hidden;
  };
};

}  // namespace rtai
