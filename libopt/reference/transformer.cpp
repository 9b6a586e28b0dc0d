// The transformer level: libopt/ir/ops.h says what each operator means.
#include "libopt/ir/ops.h"
#include "libopt/reference/internal/multiply.h"
#include "libopt/reference/internal/operators.h"
#include "libopt/reference/internal/walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace rtai::reference {
namespace {

using ir::Tensor;

/// The offsets of the run, checked: 0 < ... = tokens. Without offsets, one sequence of all tokens.
Result<std::vector<Index>> sequence_offsets(const Call& call, Index tokens) {
  std::vector<Index> offsets(call.offsets().begin(), call.offsets().end());
  if (offsets.empty()) offsets = {0, tokens};
  const bool rises = std::ranges::adjacent_find(offsets, std::greater_equal{}) == offsets.end();
  if (offsets.size() >= 2 && offsets.front() == 0 && offsets.back() == tokens && rises)
    return offsets;
  return invalid_input(
      fmt::format("offsets from {} to {} for {} tokens", offsets.front(), offsets.back(), tokens));
}

/// src as f32 rows.
Result<void> expect_rows(const Tensor& src) {
  RTAI_TRY_VOID(expect_type(src, DType::f32, "src"));
  return expect_rank(src, 2, "src");
}

/// Adds row `row` of an embedding table, real or quantized, to dst.
Result<void> add_table_row(const Call& call, std::size_t table, Index row, std::span<float> dst) {
  const Tensor& rows = call[table];
  if (row < 0 || row >= rows.dim(0)) {
    constexpr std::array<std::string_view, 3> kNames = {"id", "position", "segment"};
    return invalid_input(fmt::format("{} {} is outside of the table of {}",
                                     kNames[table - ir::Embedding::word], row, rows.dim(0)));
  }
  const std::size_t begin = static_cast<std::size_t>(row) * dst.size();
  if (rows.dtype() == DType::i8) {
    const std::size_t scales = table - ir::Embedding::word + ir::Embedding::word_scale;
    const float scale = call[scales].data<float>()[static_cast<std::size_t>(row)];
    const auto values = rows.data<std::int8_t>().subspan(begin, dst.size());
    for (std::size_t i = 0; i < dst.size(); ++i)
      dst[i] += static_cast<float>(values[i]) * scale;
  } else {
    const auto values = rows.data<float>().subspan(begin, dst.size());
    for (std::size_t i = 0; i < dst.size(); ++i)
      dst[i] += values[i];
  }
  return {};
}

Result<void> expect_table(const Call& call, std::size_t table, Index hidden) {
  const Tensor& rows = call[table];
  RTAI_TRY_VOID(expect_rank(rows, 2, "table"));
  if (rows.dim(1) != hidden)
    return invalid_input(fmt::format("table {} for width {}", describe(rows), hidden));
  if (rows.dtype() == DType::f32) return {};
  const std::size_t scales = table - ir::Embedding::word + ir::Embedding::word_scale;
  const bool scaled = rows.dtype() == DType::i8 && call.has(scales) &&
                      call[scales].dtype() == DType::f32 && call[scales].elements() == rows.dim(0);
  if (scaled) return {};
  return invalid_input(fmt::format("table {} without a scale for each row", describe(rows)));
}

// --- linear

/// x / scale as an integer in [-127, 127], ties to even; NaN becomes 0.
std::int32_t quantize_symmetric(float x, float scale) {
  const float rounded = std::nearbyint(x / scale);
  return rounded == rounded ? static_cast<std::int32_t>(std::clamp(rounded, -127.0f, 127.0f)) : 0;
}

/// One scale for each row: static ones are all the same, dynamic ones map the largest magnitude to
/// 127.
std::vector<float> row_scales(const Tensor& src, float static_scale) {
  const Index k = src.dim(1);
  std::vector<float> scales;
  for (Index r = 0; r < src.dim(0); ++r) {
    float largest = 0;
    for (const float x :
         src.data<float>().subspan(static_cast<std::size_t>(r * k), static_cast<std::size_t>(k))) {
      largest = std::max(largest, std::fabs(x));
    }
    const float dynamic_scale = largest > 0 ? largest / 127.0f : 1.0f;
    scales.push_back(static_scale > 0 ? static_scale : dynamic_scale);
  }
  return scales;
}

/// The source, its columns multiplied by src_factor if there is one.
Result<Tensor> scaled_source(const Call& call, Index k) {
  Tensor src = call[ir::Linear::src];
  if (!call.has(ir::Linear::src_factor)) return src;
  const Tensor& factors = call[ir::Linear::src_factor];
  RTAI_TRY_VOID(expect_type(factors, DType::f32, "src_factor"));
  if (factors.elements() != k)
    return invalid_input(fmt::format("src_factor {}", describe(factors)));
  const std::span<const float> factor = factors.data<float>();
  const std::span<float> values = src.mutable_data<float>();
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] *= factor[i % factor.size()];
  return src;
}

/// dst[r, j] = (sum of q[r, p] * weight[j, p]) * scale of row r * scale of column j
Result<void> multiply_quantized(const Call& call, Index rows, Index n, Index k, float* dst) {
  RTAI_TRY(const Tensor src, scaled_source(call, k));
  const Tensor& weight = call[ir::Linear::weight];
  if (!call.has(ir::Linear::weight_scale)) return invalid_input("an i8 weight without scales");
  const Tensor& weight_scale = call[ir::Linear::weight_scale];
  RTAI_TRY_VOID(expect_type(weight_scale, DType::f32, "weight_scale"));
  constexpr Index kLongestSum = Index{1} << 17;  // 127 * 128 * 2^17 < 2^31
  if (weight_scale.elements() != n || k > kLongestSum) {
    return invalid_input(
        fmt::format("weight {}, weight_scale {}", describe(weight), describe(weight_scale)));
  }
  const std::vector<float> scales = row_scales(src, call.attributes().real("src_scale", 0.0f));
  RTAI_TRY(Tensor quantized, call.allocate(DType::i32, {rows, k}));
  RTAI_TRY(const Tensor wide, call.convert(weight, DType::i32));
  RTAI_TRY(Tensor sums, call.allocate(DType::i32, {rows, n}));
  std::int32_t* q = quantized.mutable_data<std::int32_t>().data();
  for (Index i = 0; i < rows * k; ++i) {
    q[i] = quantize_symmetric(src.data<float>().data()[i], scales[static_cast<std::size_t>(i / k)]);
  }
  std::int32_t* sum = sums.mutable_data<std::int32_t>().data();
  multiply<std::int32_t>({q, k, 1}, {wide.data<std::int32_t>().data(), 1, k}, rows, n, k, sum, n);
  for (Index i = 0; i < rows * n; ++i) {
    dst[i] = static_cast<float>(sum[i]) * scales[static_cast<std::size_t>(i / n)] *
             weight_scale.data<float>().data()[i % n];
  }
  return {};
}

// --- attention

/// One head of one sequence. Shapes: q, k, v [seq, head_dim] with rows `step` apart; dst likewise.
struct Head {
  const float* q;
  const float* k;
  const float* v;
  float* dst;
  Index seq, head_dim, step, dst_step;
  float scale;
  bool causal;
  // Of a key and a query as far apart as column span - 1 + key - query; or null.
  const float* bias;                           // [2 * span - 1]
  const float *relative_key, *relative_query;  // [head_dim, 2 * span - 1]
  Index span;
};

/// Adds to scores[i, j] what query i and key j have to say about how far they are apart.
void add_relative(const Head& head, std::vector<float>& scores) {
  const Index distances = 2 * head.span - 1;
  for (Index i = 0; i < head.seq; ++i) {
    for (Index j = 0; j < head.seq; ++j) {
      float& score = scores[static_cast<std::size_t>(i * head.seq + j)];
      for (Index d = 0; d < head.head_dim; ++d) {
        const Index at = d * distances + head.span - 1 + j - i;
        if (head.relative_key != nullptr)
          score += head.q[i * head.step + d] * head.relative_key[at];
        if (head.relative_query != nullptr)
          score += head.k[j * head.step + d] * head.relative_query[at];
      }
    }
  }
}

void attend(const Head& head, std::vector<float>& scores) {
  const Index seq = head.seq;
  scores.resize(static_cast<std::size_t>(seq * seq));
  multiply<float>({head.q, head.step, 1}, {head.k, 1, head.step}, seq, seq, head.head_dim,
                  scores.data(), seq);
  if (head.relative_key != nullptr || head.relative_query != nullptr) add_relative(head, scores);
  for (Index i = 0; i < seq; ++i) {
    const std::span<float> row =
        std::span(scores).subspan(static_cast<std::size_t>(i * seq), static_cast<std::size_t>(seq));
    const std::span<float> seen = row.first(static_cast<std::size_t>(head.causal ? i + 1 : seq));
    std::ranges::fill(row.subspan(seen.size()), 0.0f);
    for (float& score : seen)
      score *= head.scale;
    for (Index j = 0; head.bias != nullptr && j < std::ssize(seen); ++j)
      seen[static_cast<std::size_t>(j)] += head.bias[head.span - 1 + j - i];
    const float largest = *std::ranges::max_element(seen);
    double sum = 0;
    for (float& score : seen) {
      score = std::exp(score - largest);
      sum += static_cast<double>(score);
    }
    for (float& score : seen)
      score = static_cast<float>(static_cast<double>(score) / sum);
  }
  multiply<float>({scores.data(), seq, 1}, {head.v, head.step, 1}, seq, head.head_dim, seq,
                  head.dst, head.dst_step);
}

/// The longest sequence that the relative tables of an attention cover, 0 if it has none.
Result<Index> relative_span(const Call& call, Index heads, Index head_dim, Index longest) {
  using A = ir::Attention;
  Index distances = 0;
  for (const std::size_t i : {A::bias, A::relative_key, A::relative_query}) {
    if (!call.has(i)) continue;
    const Tensor& table = call[i];
    RTAI_TRY_VOID(expect_type(table, DType::f32, "relative table"));
    RTAI_TRY_VOID(expect_rank(table, 2, "relative table"));
    if (distances == 0) distances = table.dim(1);
    const Index rows = i == A::bias ? heads : heads * head_dim;
    if (table.dim(0) != rows || table.dim(1) != distances || distances % 2 != 1 ||
        longest > distances / 2 + 1) {
      return invalid_input(fmt::format("relative table {} for {} heads of {} and {} tokens",
                                       describe(table), heads, head_dim, longest));
    }
  }
  return distances == 0 ? 0 : distances / 2 + 1;
}

/// Rows of a head as integers, each with a scale.
struct QuantizedRows {
  std::vector<std::int32_t> integers;  // [seq, head_dim]
  std::vector<float> scales;           // [seq]
};

QuantizedRows quantize_rows(const float* rows, const Head& head) {
  QuantizedRows quantized;
  for (Index t = 0; t < head.seq; ++t) {
    const std::span row(rows + t * head.step, static_cast<std::size_t>(head.head_dim));
    float largest = 0;
    for (const float x : row)
      largest = std::max(largest, std::fabs(x));
    const float scale = largest > 0 ? largest / 127.0f : 1.0f;
    quantized.scales.push_back(scale);
    for (const float x : row)
      quantized.integers.push_back(quantize_symmetric(x, scale));
  }
  return quantized;
}

/// As attend, in int8; what runtime/kernels/attention_i8.h says.
void attend_quantized(const Head& head) {
  const QuantizedRows q = quantize_rows(head.q, head);
  const QuantizedRows k = quantize_rows(head.k, head);
  const QuantizedRows v = quantize_rows(head.v, head);
  const auto seq = static_cast<std::size_t>(head.seq);
  const auto dim = static_cast<std::size_t>(head.head_dim);
  std::vector<double> scores(seq);
  std::vector<std::int32_t> sums(dim);
  for (std::size_t i = 0; i < seq; ++i) {
    const std::span<double> seen = std::span(scores).first(head.causal ? i + 1 : seq);
    for (std::size_t t = 0; t < seen.size(); ++t) {
      std::int32_t dot = 0;
      for (std::size_t d = 0; d < dim; ++d)
        dot += q.integers[i * dim + d] * k.integers[t * dim + d];
      const double score = double{head.scale} * dot * double{q.scales[i]} * double{k.scales[t]};
      seen[t] = score * std::numbers::log2e + std::log2(double{v.scales[t]});
    }
    const double largest = *std::ranges::max_element(seen);
    double divisor = 0;
    std::ranges::fill(sums, 0);
    for (std::size_t t = 0; t < seen.size(); ++t) {
      const double weight = 255 * std::exp2(seen[t] - largest);
      divisor += weight / double{v.scales[t]};
      if (!std::isfinite(weight)) continue;
      for (std::size_t d = 0; d < dim; ++d)
        sums[d] += static_cast<std::int32_t>(std::nearbyint(weight)) * v.integers[t * dim + d];
    }
    for (std::size_t d = 0; d < dim; ++d)
      head.dst[static_cast<Index>(i) * head.dst_step + static_cast<Index>(d)] =
          static_cast<float>(sums[d] / divisor);
  }
}

}  // namespace

namespace op {

Result<Tensors> embedding(const Call& call) {
  using E = ir::Embedding;
  const Tensor& ids = call[E::ids];
  RTAI_TRY_VOID(expect_type(ids, DType::i32, "ids"));
  RTAI_TRY_VOID(expect_rank(ids, 1, "ids"));
  RTAI_TRY_VOID(expect_rank(call[E::word], 2, "word"));
  const Index tokens = ids.elements();
  const Index hidden = call[E::word].dim(1);
  for (const std::size_t table : {E::word, E::position, E::segment}) {
    if (call.has(table)) RTAI_TRY_VOID(expect_table(call, table, hidden));
  }
  const bool has_segments = call.has(E::segment);
  if (has_segments) {
    if (!call.has(E::segments)) return invalid_input("a segment table without segments");
    RTAI_TRY_VOID(expect_type(call[E::segments], DType::i32, "segments"));
    if (call[E::segments].dims() != ids.dims())
      return invalid_input("ids and segments differ in length");
  }
  RTAI_TRY(const std::vector<Index> offsets, sequence_offsets(call, tokens));
  RTAI_TRY(Tensor result, call.allocate(DType::f32, {tokens, hidden}));
  const Index position_offset = call.attributes().integer("position_offset", 0);
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    for (Index t = offsets[s]; t < offsets[s + 1]; ++t) {
      const auto at = static_cast<std::size_t>(t);
      const std::span<float> dst = result.mutable_data<float>().subspan(
          at * static_cast<std::size_t>(hidden), static_cast<std::size_t>(hidden));
      RTAI_TRY_VOID(add_table_row(call, E::word, ids.data<std::int32_t>()[at], dst));
      if (call.has(E::position)) {
        RTAI_TRY_VOID(
            add_table_row(call, E::position, wrapping_add(position_offset, t - offsets[s]), dst));
      }
      if (has_segments) {
        RTAI_TRY_VOID(
            add_table_row(call, E::segment, call[E::segments].data<std::int32_t>()[at], dst));
      }
    }
  }
  return Tensors{result};
}

Result<Tensors> linear(const Call& call) {
  using L = ir::Linear;
  const Tensor& src = call[L::src];
  const Tensor& weight = call[L::weight];
  RTAI_TRY_VOID(expect_rows(src));
  RTAI_TRY_VOID(expect_rank(weight, 2, "weight"));
  const Index rows = src.dim(0);
  const Index k = src.dim(1);
  const Index n = weight.dim(0);
  if (weight.dim(1) != k)
    return invalid_input(fmt::format("src {}, weight {}", describe(src), describe(weight)));
  if (call.has(L::bias)) {
    RTAI_TRY_VOID(expect_type(call[L::bias], DType::f32, "bias"));
    if (call[L::bias].elements() != n)
      return invalid_input(
          fmt::format("bias {} for {}", describe(call[L::bias]), describe(weight)));
  }
  RTAI_TRY(Tensor result, call.allocate(DType::f32, {rows, n}));
  RTAI_TRY_VOID(call.spend(rows, n, k));
  if (result.elements() == 0) return Tensors{result};
  float* dst = result.mutable_data<float>().data();
  if (weight.dtype() == DType::i8) {
    RTAI_TRY_VOID(multiply_quantized(call, rows, n, k, dst));
  } else {
    const bool is_narrow = weight.dtype() == DType::bf16;
    RTAI_TRY(const Tensor wide,
             is_narrow ? call.convert(weight, DType::f32) : Result<Tensor>(weight));
    RTAI_TRY_VOID(expect_type(wide, DType::f32, "weight"));
    multiply<float>({src.data<float>().data(), k, 1}, {wide.data<float>().data(), 1, k}, rows, n, k,
                    dst, n);
  }
  if (call.has(L::bias)) {
    const float* bias = call[L::bias].data<float>().data();
    for (Index i = 0; i < rows * n; ++i)
      dst[i] += bias[i % n];
  }
  return Tensors{result};
}

Result<Tensors> attention(const Call& call) {
  const Tensor& qkv = call[ir::Attention::qkv];
  RTAI_TRY_VOID(expect_rows(qkv));
  const Index tokens = qkv.dim(0);
  const Index heads = call.attributes().integer("heads", 0);
  const Index head_dim = call.attributes().integer("head_dim", 0);
  const Index width = qkv.dim(1) / 3;
  if (heads < 1 || head_dim < 1 || heads > width || head_dim > width ||
      3 * heads * head_dim != qkv.dim(1)) {
    return invalid_input(
        fmt::format("qkv {}, heads {}, head_dim {}", describe(qkv), heads, head_dim));
  }
  const bool quantized = call.attributes().integer("bits", 0) == 8;
  RTAI_TRY(const std::vector<Index> offsets, sequence_offsets(call, tokens));
  RTAI_TRY(Tensor result, call.allocate(DType::f32, {tokens, width}));
  const float* src = qkv.data<float>().data();
  float* dst = result.mutable_data<float>().data();
  Index longest = 0;
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    longest = std::max(longest, offsets[s + 1] - offsets[s]);
  }
  RTAI_TRY(const Index span, relative_span(call, heads, head_dim, longest));
  constexpr Index kLongestSum = (Index{1} << 16) - 1;  // 255 * 127 * 2^16 < 2^31
  if (quantized && longest > kLongestSum)
    return invalid_input(fmt::format("{} tokens for int8 attention", longest));
  RTAI_TRY_VOID(call.reserve(DType::f32, std::array{longest, quantized ? 3 * head_dim : longest}));
  const auto table = [&](std::size_t i, Index row) {
    return call.has(i) ? call[i].data<float>().data() + row * (2 * span - 1) : nullptr;
  };
  std::vector<float> scores;
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    const Index seq = offsets[s + 1] - offsets[s];
    RTAI_TRY_VOID(call.spend(seq, seq, (span == 0 ? 2 : 4) * width));
    for (Index h = 0; h < heads; ++h) {
      const float* q = src + offsets[s] * 3 * width + h * head_dim;
      const Head head{.q = q,
                      .k = q + width,
                      .v = q + 2 * width,
                      .dst = dst + offsets[s] * width + h * head_dim,
                      .seq = seq,
                      .head_dim = head_dim,
                      .step = 3 * width,
                      .dst_step = width,
                      .scale = call.attributes().real("scale", 1.0f),
                      .causal = call.attributes().integer("causal", 0) != 0,
                      .bias = table(ir::Attention::bias, h),
                      .relative_key = table(ir::Attention::relative_key, h * head_dim),
                      .relative_query = table(ir::Attention::relative_query, h * head_dim),
                      .span = span};
      if (quantized)
        attend_quantized(head);
      else
        attend(head, scores);
    }
  }
  return Tensors{result};
}

Result<Tensors> first_token(const Call& call) {
  const Tensor& src = call[0];
  RTAI_TRY_VOID(expect_rows(src));
  RTAI_TRY(const std::vector<Index> offsets, sequence_offsets(call, src.dim(0)));
  RTAI_TRY(Tensor result, call.allocate(DType::f32, {std::ssize(offsets) - 1, src.dim(1)}));
  float* dst = result.mutable_data<float>().data();
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    dst = std::copy_n(src.data<float>().data() + offsets[s] * src.dim(1), src.dim(1), dst);
  }
  return Tensors{result};
}

Result<Tensors> mean_pool(const Call& call) {
  const Tensor& src = call[0];
  RTAI_TRY_VOID(expect_rows(src));
  const Index hidden = src.dim(1);
  RTAI_TRY(const std::vector<Index> offsets, sequence_offsets(call, src.dim(0)));
  RTAI_TRY(Tensor result, call.allocate(DType::f32, {std::ssize(offsets) - 1, hidden}));
  float* dst = result.mutable_data<float>().data();
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    for (Index i = 0; i < hidden; ++i) {
      double sum = 0;
      for (Index t = offsets[s]; t < offsets[s + 1]; ++t) {
        sum += static_cast<double>(src.data<float>().data()[t * hidden + i]);
      }
      *dst++ = static_cast<float>(sum / static_cast<double>(offsets[s + 1] - offsets[s]));
    }
  }
  return Tensors{result};
}

Result<Tensors> l2_normalize(const Call& call) {
  constexpr double kSmallestNorm = 1e-12;
  const Tensor& src = call[0];
  RTAI_TRY_VOID(expect_rows(src));
  RTAI_TRY(Tensor result, call.allocate(DType::f32, src.dims()));
  const Index hidden = src.dim(1);
  for (Index r = 0; r < src.dim(0); ++r) {
    const float* row = src.data<float>().data() + r * hidden;
    double sum = 0;
    for (Index i = 0; i < hidden; ++i)
      sum += static_cast<double>(row[i]) * static_cast<double>(row[i]);
    const double norm = std::max(std::sqrt(sum), kSmallestNorm);
    float* dst = result.mutable_data<float>().data() + r * hidden;
    for (Index i = 0; i < hidden; ++i)
      dst[i] = static_cast<float>(static_cast<double>(row[i]) / norm);
  }
  return Tensors{result};
}

Result<Tensors> columns(const Call& call) {
  const Tensor& src = call[0];
  RTAI_TRY_VOID(expect_rows(src));
  const Index begin = call.attributes().integer("begin", -1);
  const Index end = call.attributes().integer("end", -1);
  if (begin < 0 || end <= begin || end > src.dim(1)) {
    return invalid_input(fmt::format("columns [{}, {}) of {}", begin, end, describe(src)));
  }
  return one(copy_strided(call, src, {src.dim(0), end - begin}, {src.dim(1), 1}, begin));
}

}  // namespace op
}  // namespace rtai::reference
