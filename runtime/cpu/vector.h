// What the kernels for special instructions are written in: vectors of sixteen numbers.
//
// A kernel's source is written once, in its op's header (layer_norm_vector.h), over the types and
// functions of vector_avx512.h or vector_avx2.h, which are the same by name and by result: a kernel
// gives the same bits on every target. A file for a target (layer_norm_avx2.cpp) compiles that
// header with its flags. All of it is in unnamed namespaces, so that no copy for one target can
// take the place of another's.
//
// Of two operands of which one is NaN, min and max give the second.
#pragma once

#if defined(__AVX512F__)
#include "runtime/cpu/vector_avx512.h"
#else
#include "runtime/cpu/vector_avx2.h"
#endif

namespace rtai::cpu {
namespace {

template <Index kValue>
struct Constant {
  static constexpr int kIndex = kValue;
  // NOLINTNEXTLINE(google-explicit-constructor): an index like any other
  constexpr operator Index() const { return kValue; }
};

/// Calls body(Constant<0>{}), ... body(Constant<kCount - 1>{}): a loop whose index may choose
/// registers. (gcc 12 unrolls loops too late to keep all arrays of registers out of memory.)
template <Index kCount, Index kFirst = 0, class F>
[[gnu::always_inline]] inline void unroll(F&& body) {
  if constexpr (kFirst < kCount) {
    body(Constant<kFirst>{});
    unroll<kCount, kFirst + 1>(body);
  }
}

/// Gives `value` back after making the compiler compute it before all that follows. Without it gcc
/// 12 moves all multiplications of an unrolled loop before all additions and runs out of registers.
/// By value: with a reference it keeps what is referred to in memory.
template <class T>
[[gnu::always_inline]] inline const T* computed_now(const T* value) {
  asm volatile("" : "+r"(value));
  return value;
}
template <class Register>
[[gnu::always_inline]] inline Register computed_now(Register value) {
  asm volatile("" : "+x"(value));
  return value;
}

/// All lanes, where some code takes Lanes or all of them.
struct AllLanes {};

inline Floats load(const float* from, AllLanes /*lanes*/) {
  return load(from);
}
inline Ints load_ints(const void* from, AllLanes /*lanes*/) {
  return load_ints(from);
}
inline void store(float* to, Floats a, AllLanes /*lanes*/) {
  store(to, a);
}
inline Floats load_bytes(const std::int8_t* from, AllLanes /*lanes*/) {
  return load_bytes(from);
}
inline Floats keep(Floats a, AllLanes /*lanes*/) {
  return a;
}
inline Floats choose(AllLanes /*lanes*/, Floats a, Floats /*b*/) {
  return a;
}

/// Calls body(i, lanes) for i = 0, 16, ... below `count`: all lanes, or what is left for the last.
template <class F>
void for_vectors(Index count, F&& body) {
  Index i = 0;
  for (; i + 16 <= count; i += 16)
    body(i, AllLanes{});
  if (i < count) body(i, first_lanes(count - i));
}

/// The larger magnitudes, lane by lane, as the bits of floats: as integers NaN is above all.
inline Ints larger_magnitudes(Ints largest, Floats a) {
  return max(largest, bits(magnitude(a)));
}

/// The largest lane of larger_magnitudes.
inline float largest_magnitude(Ints magnitudes) {
  const std::int32_t largest = max_lanes(magnitudes);
  float value = 0;
  __builtin_memcpy(&value, &largest, sizeof(value));
  return value;
}

/// Rows a stride apart that are walked through together, with a pointer for every third: gcc 12
/// takes one for each, keeps some of them in vector registers, and fetches them from there in each
/// step, as long as a multiplication (4 % of linear_i8 on Zen 4).
template <Index kRows, class T>
class RowCursor {
 public:
  RowCursor(const T* first, Index stride) : stride_(stride) {
    unroll<kPointers>([&](auto i) { at_[i] = first + 3 * i * stride; });
  }

  template <Index kRow>
  const T* row() const {
    return at_[kRow / 3] + kRow % 3 * stride_;
  }

  void advance(Index elements) {
    unroll<kPointers>([&](auto i) { at_[i] = computed_now(at_[i] + elements); });
  }

 private:
  static constexpr Index kPointers = (kRows + 2) / 3;
  const T* at_[kPointers];
  Index stride_;
};

}  // namespace
}  // namespace rtai::cpu
