// The kernel contract of linear_i8 and linear_f32.
#include "runtime/kernels/linear_f32.h"
#include "runtime/kernels/linear_i8.h"
#include "tests/support/compare.h"
#include "tests/support/guarded.h"
#include "tests/support/kernel_variants.h"
#include "tests/support/kernels_under_test.h"
#include "tests/support/random.h"
#include "tests/support/tolerance.h"

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <string>

namespace rtai::test {
namespace {

/// Those of kernels.inc, and variants of those that this machine cannot run.
std::vector<const Kernel<LinearI8>*> linear_i8_kernels() {
  auto kernels = kernels_under_test<LinearI8>();
  add_variant(linear_i8_amx_variant, Target::avx2, kernels);
  add_variant(linear_i8_avxvnni_variant, Target::avx512_vnni, kernels);
  return kernels;
}

std::vector<const Kernel<LinearF32>*> linear_f32_kernels() {
  auto kernels = kernels_under_test<LinearF32>();
  add_variant(linear_f32_amx_variant, Target::avx2, kernels);
  return kernels;
}

struct LinearCase {
  Index rows = 1;
  Index columns = 1;
  Index k = 1;
  Function function = Function::none;
  bool bias = true;
  bool residual = false;
  bool in_place = false;  // dst is the residual
  bool absmax = true;
  Index gap = 0;  // strides are wider than rows by this many elements

  std::string text() const {
    return fmt::format(
        "rows {} columns {} k {} {} bias {} residual {} in place {} absmax {} gap {}", rows,
        columns, k, function_name(function), bias, residual, in_place, absmax, gap);
  }
};

/// Everything random: shape up to the given sizes, options, function.
LinearCase random_case(Random& random, Index rows, Index columns, Index k) {
  LinearCase c{.rows = random.integer(1, rows),
               .columns = random.integer(1, columns),
               .k = random.integer(1, k),
               .bias = random.coin(),
               .residual = random.coin(),
               .absmax = random.coin(),
               .gap = random.integer(0, 3)};
  if (random.coin()) {
    c.function = static_cast<Function>(random.integer(0, kFunctionCount - 1));
  }
  c.in_place = c.residual && random.coin();
  return c;
}

/// Panels of 16 columns and groups of consecutive k that fill 4 bytes, as the contracts say:
/// [columns/16][k/group][16][group], zeros where there is no weight.
template <class T>
GuardedRows<T> pack_panels(const std::vector<T>& weight, Index columns, Index k, Index beyond) {
  constexpr Index kGroup = 4 / static_cast<Index>(sizeof(T));
  const Index groups = div_up<Index>(k, kGroup);
  const Index panels = div_up<Index>(columns, 16);
  GuardedRows<T> packed(1, panels * groups * 16 * kGroup + beyond, 0, 64);
  std::fill_n(packed.data(), packed.columns() - beyond, T{0});
  for (Index j = 0; j < columns; ++j) {
    for (Index i = 0; i < k; ++i) {
      const Index at = ((j / 16 * groups + i / kGroup) * 16 + j % 16) * kGroup + i % kGroup;
      packed.data()[at] = weight[static_cast<std::size_t>(j * k + i)];
    }
  }
  return packed;
}

/// What both ops take beside source and weights, and the results.
struct LinearSides {
  explicit LinearSides(const LinearCase& c)
      : bias(1, c.columns), residual(c.rows, c.columns, c.columns + c.gap) {}

  template <class Args>
  void fill(const LinearCase& c, GuardedRows<float>& dst, GuardedRows<float>& absmax, Args& args) {
    args.bias = c.bias ? bias.data() : nullptr;
    args.residual = !c.residual ? nullptr : c.in_place ? dst.data() : residual.data();
    args.residual_stride = residual.stride();
    args.dst = dst.data();
    args.dst_stride = dst.stride();
    args.absmax = c.absmax ? absmax.data() : nullptr;
    args.function = c.function;
    args.rows = c.rows;
    args.columns = c.columns;
    args.k = c.k;
  }

  GuardedRows<float> bias;
  GuardedRows<float> residual;
};

/// The tolerance of the function, for a result to which residuals up to 2 are added.
Tolerance before_residual(const LinearCase& c) {
  const Tolerance function = function_tolerance(c.function);
  return {.absolute = function.absolute + (c.residual ? 4 * function.relative : 0.0f),
          .relative = function.relative};
}

/// Operands of one linear_i8 case, and its exact sums.
struct I8Data {
  using Op = LinearI8;

  I8Data(const LinearCase& shape, Random& random) : c(shape), sides(shape) {
    for (std::int8_t& value : src)
      value = static_cast<std::int8_t>(random.integer(-127, 127));
    for (std::int8_t& value : weight)
      value = static_cast<std::int8_t>(random.integer(-127, 127));
    // Results of a few units, where functions are not yet straight lines.
    const float size = 3.0f / (127.0f * 127.0f * std::sqrt(static_cast<float>(c.k)) / 3.0f);
    random.fill(src_scale.row_span(0), 0.5f * size, 1.5f * size);
    random.fill(weight_scale.row_span(0), 0.5f, 1.5f);
    random.fill(sides.bias.row_span(0), -1.0f, 1.0f);
    for (Index r = 0; r < c.rows; ++r)
      random.fill(sides.residual.row_span(r), -2.0f, 2.0f);
  }

  std::int64_t sum(Index r, Index j) const {
    std::int64_t total = 0;
    for (Index i = 0; i < c.k; ++i) {
      total += src[static_cast<std::size_t>(r * c.k + i)] *
               std::int64_t{weight[static_cast<std::size_t>(j * c.k + i)]};
    }
    return total;
  }

  /// Makes every result its sum: exact in float while the sum has few significant bits.
  void make_results_sums() {
    std::ranges::fill(src_scale.row_span(0), 1.0f);
    std::ranges::fill(weight_scale.row_span(0), 1.0f);
  }

  LinearI8::Args args(Target target, GuardedRows<float>& dst, GuardedRows<float>& absmax) {
    const std::uint8_t flip = source_flip(target);
    packed_src.emplace(c.rows, round_up<Index>(c.k, 64), round_up<Index>(c.k, 64) + 64 * c.gap, 64);
    for (Index r = 0; r < c.rows; ++r) {
      std::ranges::fill(packed_src->row_span(r), flip);
      for (Index i = 0; i < c.k; ++i) {
        packed_src->row(r)[i] =
            static_cast<std::uint8_t>(src[static_cast<std::size_t>(r * c.k + i)]) ^ flip;
      }
    }
    packed_weight.emplace(pack_panels(weight, c.columns, c.k, 1024));
    for (Index j = 0; j < c.columns; ++j) {
      const auto first = weight.begin() + j * c.k;
      weight_sum.data()[j] = std::accumulate(first, first + c.k, std::int32_t{0});
    }
    LinearI8::Args made{};
    sides.fill(c, dst, absmax, made);
    made.src = packed_src->data();
    made.src_stride = packed_src->stride();
    made.src_scale = src_scale.data();
    made.flip = flip;
    made.weight = packed_weight->data();
    made.weight_scale = weight_scale.data();
    made.weight_sum = weight_sum.data();
    return made;
  }

  static void advance_rows(LinearI8::Args& args, Index rows) {
    args.src += rows * args.src_stride;
    args.src_scale += rows;
  }
  static void advance_columns(LinearI8::Args& args, Index columns) {
    args.weight += columns * round_up<Index>(args.k, 4);
    args.weight_scale += columns;
    args.weight_sum += columns;
  }

  static Tolerance tolerance(const Kernel<Op>& /*kernel*/, Index /*r*/, Index /*j*/) { return {}; }
  static bool has_common_bits(const Kernel<Op>& /*kernel*/) { return true; }
  static std::byte* scratch() { return nullptr; }

  bool is_intact() const {
    return sides.bias.is_intact() && sides.residual.is_intact() && src_scale.is_intact() &&
           weight_scale.is_intact() && weight_sum.is_intact() && packed_src->is_intact() &&
           packed_weight->is_intact();
  }

  LinearCase c;
  LinearSides sides;
  std::vector<std::int8_t> src = std::vector<std::int8_t>(static_cast<std::size_t>(c.rows * c.k));
  std::vector<std::int8_t> weight =
      std::vector<std::int8_t>(static_cast<std::size_t>(c.columns * c.k));
  GuardedRows<float> src_scale = GuardedRows<float>(1, c.rows);
  GuardedRows<float> weight_scale = GuardedRows<float>(1, c.columns);
  GuardedRows<std::int32_t> weight_sum = GuardedRows<std::int32_t>(1, c.columns);
  std::optional<GuardedRows<std::uint8_t>> packed_src;
  std::optional<GuardedRows<std::int8_t>> packed_weight;
};

/// Operands of one linear_f32 case.
struct F32Data {
  using Op = LinearF32;

  F32Data(const LinearCase& shape, Random& random, bool is_narrow = false)
      : c(shape), sides(shape), narrow(is_narrow) {
    const float size = 3.0f / std::sqrt(static_cast<float>(c.k));
    for (Index r = 0; r < c.rows; ++r)
      random.fill(src.row_span(r), -size, size);
    random.fill(weight, -2.0f, 2.0f);
    random.fill(sides.bias.row_span(0), -1.0f, 1.0f);
    for (Index r = 0; r < c.rows; ++r)
      random.fill(sides.residual.row_span(r), -2.0f, 2.0f);
  }

  LinearF32::Args args(Target /*target*/, GuardedRows<float>& dst, GuardedRows<float>& absmax) {
    LinearF32::Args made{};
    sides.fill(c, dst, absmax, made);
    made.src = src.data();
    made.src_stride = src.stride();
    if (narrow) {
      std::vector<std::uint16_t> bits;
      for (float& value : weight) {
        bits.push_back(f32_to_bf16(value));
        value = bf16_to_f32(bits.back());
      }
      packed_bf16.emplace(pack_panels(bits, c.columns, c.k, 0));
      made.weight_bf16 = packed_bf16->data();
    } else {
      packed_weight.emplace(pack_panels(weight, c.columns, c.k, 0));
      made.weight = packed_weight->data();
    }
    return made;
  }

  static void advance_rows(LinearF32::Args& args, Index rows) {
    args.src += rows * args.src_stride;
  }
  static void advance_columns(LinearF32::Args& args, Index columns) {
    if (args.weight_bf16 != nullptr)
      args.weight_bf16 += columns * ((args.k + 1) / 2 * 2);
    else
      args.weight += columns * args.k;
  }

  /// Weights of 16 bits are multiplied in a way of its own on AMX.
  bool has_common_bits(const Kernel<Op>& kernel) const {
    return !narrow || kernel.target != Target::amx;
  }
  std::byte* scratch() const { return narrow ? scratch_memory.data() : nullptr; }

  /// The slope of every function is below 1.2.
  Tolerance tolerance(const Kernel<Op>& kernel, Index r, Index j) const {
    float magnitude = 1;
    for (Index i = 0; i < c.k; ++i) {
      magnitude += std::fabs(src.row(r)[i] * weight[static_cast<std::size_t>(j * c.k + i)]);
    }
    const Tolerance dot = dot_tolerance(c.k, magnitude);
    const Tolerance function = before_residual(c);
    const float taken_apart = has_common_bits(kernel) ? 0 : 0x1p-16f * magnitude;
    return {.absolute = 1.2f * (dot.absolute + taken_apart) + function.absolute,
            .relative = function.relative};
  }

  bool is_intact() const {
    return sides.bias.is_intact() && sides.residual.is_intact() && src.is_intact() &&
           (!packed_weight || packed_weight->is_intact()) &&
           (!packed_bf16 || packed_bf16->is_intact()) && scratch_memory.is_intact();
  }

  LinearCase c;
  LinearSides sides;
  GuardedRows<float> src = GuardedRows<float>(c.rows, c.k, c.k + c.gap);
  std::vector<float> weight = std::vector<float>(static_cast<std::size_t>(c.columns * c.k));
  bool narrow = false;  // weights in bf16
  std::optional<GuardedRows<float>> packed_weight;
  std::optional<GuardedRows<std::uint16_t>> packed_bf16;
  GuardedMemory scratch_memory = GuardedMemory(LinearF32::scratch_bytes(c.k), 64);
};

/// Results of a run: dst, and absmax raised from a small start.
struct LinearResult {
  explicit LinearResult(const LinearCase& c)
      : dst(c.rows, c.columns, c.columns + c.gap), absmax(1, c.rows) {
    std::ranges::fill(absmax.row_span(0), kStart);
  }
  bool same_bits(const LinearResult& other) const {
    const auto equal = [](const GuardedRows<float>& a, const GuardedRows<float>& b) {
      const std::vector<float> x = a.values();
      const std::vector<float> y = b.values();
      return std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
    };
    return equal(dst, other.dst) && equal(absmax, other.absmax);
  }

  static constexpr float kStart = 0.25f;
  GuardedRows<float> dst;
  GuardedRows<float> absmax;
};

/// Where a run of `data` writes; in place, it holds the residual.
template <class Data>
LinearResult fresh_result(const Data& data) {
  LinearResult result(data.c);
  for (Index r = 0; data.c.in_place && r < data.c.rows; ++r)
    std::ranges::copy(data.sides.residual.row_span(r), result.dst.row(r));
  return result;
}

template <class Args>
void advance_sides(Args& args, Index rows, Index columns) {
  args.dst += rows * args.dst_stride + columns;
  if (args.residual != nullptr) args.residual += rows * args.residual_stride + columns;
  if (args.bias != nullptr) args.bias += columns;
  if (args.absmax != nullptr) args.absmax += rows;
}

/// Runs rows in pieces of `step` and columns in two pieces.
template <class Data>
LinearResult run_in_pieces(const Kernel<typename Data::Op>& kernel, Data& data, Index step) {
  LinearResult result = fresh_result(data);
  const auto all = data.args(kernel.target, result.dst, result.absmax);
  const Index half = std::min(round_up<Index>(div_up<Index>(all.columns, 2), 16), all.columns);
  for (Index r = 0; r < all.rows; r += step) {
    for (const Index begin : {Index{0}, half}) {
      const Index end = begin == 0 ? half : all.columns;
      if (begin >= end) continue;
      auto part = all;
      Data::advance_rows(part, r);
      Data::advance_columns(part, begin);
      advance_sides(part, r, begin);
      part.rows = std::min(step, all.rows - r);
      part.columns = end - begin;
      run_kernel(kernel, part, data.scratch());
    }
  }
  return result;
}

template <class Data>
LinearResult run_whole(const Kernel<typename Data::Op>& kernel, Data& data) {
  LinearResult result = fresh_result(data);
  run_kernel(kernel, data.args(kernel.target, result.dst, result.absmax), data.scratch());
  return result;
}

/// What is wrong with a kernel's result, beside how close it is; empty: nothing.
template <class Data>
std::string check_promises(const Kernel<typename Data::Op>& kernel,
                           Data& data,
                           const LinearResult& result) {
  if (!data.is_intact() || !result.dst.is_intact() || !result.absmax.is_intact()) {
    return "wrote outside of its results";
  }
  for (Index r = 0; data.c.absmax && r < data.c.rows; ++r) {
    float largest = LinearResult::kStart;
    for (const float value : result.dst.row_span(r))
      largest = std::max(largest, std::fabs(value));
    if (result.absmax.data()[r] != largest) return fmt::format("absmax of row {} is wrong", r);
  }
  const Index step = data.c.rows <= 16 ? 1 : data.c.rows / 3;
  if (!result.same_bits(run_in_pieces(kernel, data, step))) {
    return "results depend on the rows or columns around them";
  }
  return {};
}

/// Runs a kernel in all ways and compares with the reference.
template <class Data>
std::string check_against(const LinearResult& expected,
                          const LinearResult& result,
                          const Kernel<typename Data::Op>& kernel,
                          Data& data) {
  for (Index r = 0; r < data.c.rows; ++r) {
    for (Index j = 0; j < data.c.columns; ++j) {
      const float value = result.dst.row(r)[j];
      const float wanted = expected.dst.row(r)[j];
      if (!is_close(value, wanted, data.tolerance(kernel, r, j))) {
        return fmt::format("[{}, {}] is {} instead of {}", r, j, value, wanted);
      }
    }
  }
  return check_promises(kernel, data, result);
}

template <class Data>
void check_data(Data& data, const std::vector<const Kernel<typename Data::Op>*>& kernels) {
  const LinearResult expected = run_whole(reference_kernel<typename Data::Op>(), data);
  std::optional<LinearResult> vector_result;  // the same bits for every target but ref
  for (const auto* kernel : kernels) {
    const LinearResult result = run_whole(*kernel, data);
    std::string problem = check_against(expected, result, *kernel, data);
    if (kernel->target != Target::ref && data.has_common_bits(*kernel)) {
      if (!vector_result) vector_result.emplace(run_whole(*kernel, data));
      if (!vector_result->same_bits(result)) problem = "differs from other targets";
    }
    if (!problem.empty()) FAIL(kernel->name << ": " << data.c.text() << ": " << problem);
  }
}

template <class Data>
void check_case(const LinearCase& c,
                Random& random,
                const std::vector<const Kernel<typename Data::Op>*>& kernels) {
  Data data(c, random);
  check_data(data, kernels);
}

/// Products of real models, whole and pruned, and sizes around every block: rows of tiles, panels
/// of 16 columns and their groups, groups of 4, blocks of 64 and stretches in k.
std::vector<LinearCase> notable_cases() {
  std::vector<LinearCase> cases = {
      {.rows = 13, .columns = 1152, .k = 384},
      {.rows = 33, .columns = 384, .k = 384, .residual = true},
      {.rows = 9, .columns = 1536, .k = 384, .function = Function::gelu},
      {.rows = 7, .columns = 384, .k = 1536, .residual = true, .in_place = true},
      {.rows = 5, .columns = 768, .k = 3072, .residual = true},
      {.rows = 3, .columns = 3072, .k = 768, .function = Function::gelu},
      {.rows = 31, .columns = 72, .k = 224},
      {.rows = 65, .columns = 224, .k = 72, .function = Function::gelu_tanh},
      {.rows = 2, .columns = 2, .k = 768, .absmax = false},
      {.rows = 1, .columns = 3072, .k = 768, .function = Function::gelu},
      // Rows that tiles multiply in stretches of k: whole groups of panels, cut ones, a single one;
      // a last stretch of one step; tiles of rows that overlap.
      {.rows = 64, .columns = 256, .k = 1536, .residual = true},
      {.rows = 50, .columns = 177, .k = 1100, .function = Function::gelu},
      {.rows = 35, .columns = 16, .k = 1030},
      {.rows = 81, .columns = 144, .k = 840, .residual = true},
  };
  for (const Index rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 31, 32, 33, 47, 49})
    cases.push_back({.rows = rows, .columns = 48, .k = 68, .gap = 1});
  for (const Index columns : {1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 80, 95, 127, 129})
    cases.push_back({.rows = 7, .columns = columns, .k = 36, .residual = true, .gap = 2});
  for (const Index k : {1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 67, 68, 127, 128, 129, 191, 193, 255})
    cases.push_back({.rows = 5, .columns = 34, .k = k});
  return cases;
}

TEST_CASE("linear_i8 agrees with the reference on shapes of models and around blocks") {
  const auto kernels = linear_i8_kernels();
  Random random(1);
  for (const LinearCase& c : notable_cases())
    check_case<I8Data>(c, random, kernels);
}

TEST_CASE("linear_f32 agrees with the reference on shapes of models and around blocks") {
  const auto kernels = linear_f32_kernels();
  Random random(2);
  for (const LinearCase& c : notable_cases())
    check_case<F32Data>(c, random, kernels);
}

TEST_CASE("linear_i8 agrees with the reference on random shapes and options") {
  const auto kernels = linear_i8_kernels();
  Random random(3);
  for (int i = 0; i < 1500; ++i)
    check_case<I8Data>(random_case(random, 20, 100, 150), random, kernels);
}

TEST_CASE("linear_f32 agrees with the reference on random shapes and options") {
  const auto kernels = linear_f32_kernels();
  Random random(4);
  for (int i = 0; i < 1500; ++i)
    check_case<F32Data>(random_case(random, 20, 100, 70), random, kernels);
}

TEST_CASE("linear_f32 widens bf16 weights as the reference does") {
  const auto kernels = linear_f32_kernels();
  Random random(12);
  std::vector<LinearCase> cases = notable_cases();
  for (int i = 0; i < 300; ++i)
    cases.push_back(random_case(random, 20, 100, 70));
  // Around what is taken apart at a time, and steps of 32 k.
  for (const Index rows : {63, 64, 65, 127, 130})
    cases.push_back({.rows = rows, .columns = 40, .k = 70, .residual = true, .gap = 1});
  for (const Index k : {30, 31, 32, 33, 34, 62, 96})
    cases.push_back({.rows = 20, .columns = 33, .k = k});
  for (const LinearCase& c : cases) {
    F32Data data(c, random, true);
    check_data(data, kernels);
  }
}

/// Results as integers, `columns_at_once` (a multiple of 16, or all).
template <class Data>
GuardedRows<std::uint8_t> run_quantized(const Kernel<typename Data::Op>& kernel,
                                        Data& data,
                                        QuantizedRows quantized,
                                        Index columns_at_once) {
  const Index written = round_up<Index>(data.c.columns, 16);
  GuardedRows<std::uint8_t> bytes(data.c.rows, written, round_up<Index>(written, 64), 64);
  LinearResult floats(data.c);
  const auto all = data.args(kernel.target, floats.dst, floats.absmax);
  for (Index begin = 0; begin < data.c.columns; begin += columns_at_once) {
    auto part = all;
    Data::advance_columns(part, begin);
    advance_sides(part, 0, begin);
    part.dst = nullptr;
    part.absmax = nullptr;
    part.columns = std::min(columns_at_once, data.c.columns - begin);
    part.quantized = quantized;
    part.quantized.data = bytes.data() + begin;
    part.quantized.stride = bytes.stride();
    if (quantized.column_factor != nullptr) part.quantized.column_factor += begin;
    run_kernel(kernel, part, data.scratch());
  }
  return bytes;
}

/// The integers must be those that quantize_rows makes of the kernel's own floats.
template <class Data>
std::string check_quantized(const Kernel<typename Data::Op>& kernel,
                            Data& data,
                            const QuantizedRows& quantized) {
  const LinearResult floats = run_whole(kernel, data);
  const Index stride = round_up<Index>(data.c.columns, 64);
  GuardedRows<std::uint8_t> expected(data.c.rows, stride, stride, 64);
  GuardedRows<float> scale(1, data.c.rows);
  QuantizedRows dst = quantized;
  dst.data = expected.data();
  dst.stride = stride;
  dst.scale = scale.data();
  run_kernel(reference_kernel<QuantizeRows>(),
             {.src = floats.dst.data(),
              .src_stride = floats.dst.stride(),
              .absmax = nullptr,
              .dst = dst,
              .rows = data.c.rows,
              .columns = data.c.columns},
             nullptr);
  for (const Index columns_at_once : {data.c.columns, Index{16}}) {
    const auto bytes = run_quantized(kernel, data, quantized, columns_at_once);
    if (!bytes.is_intact() || !data.is_intact()) return "wrote outside of its results";
    for (Index r = 0; r < data.c.rows; ++r) {
      if (!std::equal(bytes.row(r), bytes.row(r) + data.c.columns, expected.row(r)))
        return fmt::format("row {} differs from quantize_rows", r);
    }
  }
  return {};
}

template <class Data>
void check_quantized_cases(const std::vector<const Kernel<typename Data::Op>*>& kernels,
                           std::uint64_t seed) {
  Random random(seed);
  std::vector<LinearCase> cases = notable_cases();
  for (int i = 0; i < 300; ++i)
    cases.push_back(random_case(random, 20, 100, 70));
  for (LinearCase& c : cases) {
    c.in_place = false;
    Data data(c, random);
    GuardedRows<float> factors(1, c.columns);
    random.fill(factors.row_span(0), 0.2f, 1.5f);
    // From scales that clamp most results to some that leave few integers.
    const QuantizedRows quantized = {.fixed_scale = std::exp2(random.real(-9.0f, -1.0f)),
                                     .flip = static_cast<std::uint8_t>(random.coin() ? 0x80 : 0),
                                     .column_factor = random.coin() ? factors.data() : nullptr};
    for (const auto* kernel : kernels) {
      INFO(kernel->name << ": " << c.text());
      CHECK(check_quantized(*kernel, data, quantized) == kNothing);
    }
  }
}

TEST_CASE("linear_i8 makes the integers that quantize_rows makes of its results") {
  check_quantized_cases<I8Data>(linear_i8_kernels(), 13);
}

TEST_CASE("linear_f32 makes the integers that quantize_rows makes of its results") {
  check_quantized_cases<F32Data>(linear_f32_kernels(), 14);
}

/// The sums themselves, the reference included.
std::string check_sums(const Kernel<LinearI8>& kernel, I8Data& data) {
  data.make_results_sums();
  const LinearResult result = run_whole(kernel, data);
  for (Index r = 0; r < data.c.rows; ++r) {
    for (Index j = 0; j < data.c.columns; ++j) {
      const auto wanted = static_cast<float>(data.sum(r, j));
      if (result.dst.row(r)[j] != wanted) {
        return fmt::format("sum [{}, {}] is {} instead of {}", r, j, result.dst.row(r)[j], wanted);
      }
    }
  }
  return {};
}

TEST_CASE("linear_i8 sums exactly on ten thousand random shapes") {
  const auto kernels = linear_i8_kernels();
  Random random(5);
  for (int i = 0; i < 10000; ++i) {
    const LinearCase c{.rows = random.integer(1, 9),
                       .columns = random.integer(1, 70),
                       .k = random.integer(1, 140),
                       .bias = false,
                       .absmax = false};
    I8Data data(c, random);
    for (const auto* kernel : kernels) {
      const std::string problem = check_sums(*kernel, data);
      if (!problem.empty()) FAIL(kernel->name << ": " << c.text() << ": " << problem);
    }
  }
}

TEST_CASE("linear_i8 sums exactly when every product is extreme") {
  const auto kernels = linear_i8_kernels();
  Random random(6);
  struct Extreme {
    int src;
    int weight;
  };
  for (const Extreme value : {Extreme{127, 127},
                              {127, -127},
                              {-127, 127},
                              {-127, -127},
                              {0, 127},
                              {127, 0},
                              {0, 0},
                              {-127, 1},
                              {1, -127}}) {
    for (const Index k : {1, 4, 6, 64, 100, 1024}) {
      I8Data data({.rows = 7, .columns = 18, .k = k, .bias = false}, random);
      std::ranges::fill(data.src, static_cast<std::int8_t>(value.src));
      std::ranges::fill(data.weight, static_cast<std::int8_t>(value.weight));
      for (const auto* kernel : kernels) {
        INFO(kernel->name << ": " << value.src << " * " << value.weight << ", k " << k);
        CHECK(check_sums(*kernel, data).empty());
      }
    }
  }
}

TEST_CASE("linear_i8 sums exactly up to the largest k") {
  // Multiples of 4096 up to 2^31 are exact in float, and so is 127 * 127 * 2^17.
  constexpr Index kLongest = Index{1} << 17;
  const auto kernels = linear_i8_kernels();
  Random random(7);
  I8Data mixed({.rows = 2, .columns = 17, .k = kLongest, .bias = false}, random);
  for (std::int8_t& value : mixed.src)
    value = random.coin() ? 64 : -64;
  for (std::int8_t& value : mixed.weight)
    value = random.integer(0, 3) != 0 ? 64 : -64;
  I8Data largest({.rows = 2, .columns = 17, .k = kLongest, .bias = false}, random);
  std::ranges::fill(largest.src, std::int8_t{127});
  std::ranges::fill(largest.weight, std::int8_t{127});
  for (std::size_t i = 0; i < static_cast<std::size_t>(kLongest); ++i)
    largest.src[i] = -127;  // row 0: the most negative sum
  for (const auto* kernel : kernels) {
    INFO(kernel->name);
    CHECK(check_sums(*kernel, mixed) == kNothing);
    CHECK(check_sums(*kernel, largest) == kNothing);
  }
}

TEST_CASE("linear_i8 treats extreme scales as the reference does") {
  const auto kernels = linear_i8_kernels();
  Random random(8);
  for (const float scale : {0.0f, 1e-45f, 1e-38f, 1.0f, kLargest, kInfinity, kNan}) {
    for (const Function function : {Function::none, Function::relu}) {
      I8Data data({.rows = 5, .columns = 33, .k = 20, .function = function, .absmax = false},
                  random);
      std::ranges::fill(data.src_scale.row_span(0), scale);
      INFO("scale " << scale);
      check_data(data, kernels);
    }
  }
}

TEST_CASE("linear_i8's gelu is gelu to a hundredth of what its integers tell apart") {
  std::vector<float> arguments = {kLargest, -kLargest, kInfinity, -kInfinity, kNan, 1e4f, -1e4f};
  for (float x = -9.0f; x < 9.0f; x += 0.01f)
    arguments.push_back(x);
  const auto count = static_cast<Index>(arguments.size());
  Random random(10);
  for (const auto* kernel : linear_i8_kernels()) {
    I8Data data({.rows = 1,
                 .columns = count,
                 .k = 4,
                 .function = Function::gelu,
                 .residual = false,
                 .absmax = false},
                random);
    std::ranges::fill(data.src, std::int8_t{0});
    std::ranges::copy(arguments, data.sides.bias.data());
    const LinearResult result = run_whole(*kernel, data);
    INFO(kernel->name);
    for (Index i = 0; i < count; ++i) {
      const double x = arguments[static_cast<std::size_t>(i)];
      const double exact =
          std::isinf(x) ? std::max(x, 0.0) : 0.5 * x * std::erfc(-x * std::sqrt(0.5));
      const float value = result.dst.data()[i];
      INFO("x = " << x << ": " << value << ", expected " << exact);
      REQUIRE(is_close(value, static_cast<float>(exact), kGeluOfI8Tolerance));
    }
  }
}

TEST_CASE("a NaN in a row of linear_i8 is the row's largest magnitude") {
  Random random(9);
  for (const auto* kernel : linear_i8_kernels()) {
    for (const Index column : {0, 15, 16, 40}) {
      I8Data data({.rows = 3, .columns = 41, .k = 20}, random);
      data.sides.bias.data()[column] = kNan;
      const LinearResult result = run_whole(*kernel, data);
      INFO(kernel->name << ", column " << column);
      CHECK(std::isnan(result.absmax.data()[0]));
    }
  }
}

}  // namespace
}  // namespace rtai::test
