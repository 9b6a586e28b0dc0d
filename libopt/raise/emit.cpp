#include "libopt/raise/internal/emit.h"

#include "libopt/ir/ops.h"
#include "runtime/base/aligned_buffer.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

namespace rtai::raise {
namespace {

using ir::Op;
using ir::ValueId;

/// The terms that a term reads.
std::vector<TermId> sources(const Term& term) {
  struct Sources {
    std::vector<TermId> operator()(const InputTerm&) const { return {}; }
    std::vector<TermId> operator()(const EmbeddingTerm&) const { return {}; }
    std::vector<TermId> operator()(const AttentionTerm& t) const {
      return {t.query.term, t.key.term, t.value.term};
    }
    std::vector<TermId> operator()(const AddTerm& t) const { return {t.a, t.b}; }
    std::vector<TermId> operator()(const LinearTerm& t) const { return {t.src}; }
    std::vector<TermId> operator()(const LayerNormTerm& t) const { return {t.src}; }
    std::vector<TermId> operator()(const ActivationTerm& t) const { return {t.src}; }
    std::vector<TermId> operator()(const ColumnsTerm& t) const { return {t.src}; }
    std::vector<TermId> operator()(const RowsTerm& t) const { return {t.src}; }
    std::vector<TermId> operator()(const TokenSumTerm& t) const { return {t.src}; }
  };
  return std::visit(Sources{}, term.kind);
}

/// Some rows of a matrix, times a number.
struct RowPart {
  const Matrix* matrix;
  double scale;
  std::vector<Index> rows;
};

/// Copies rows[i] of the part to dst[i]. Blocks keep both sides in the cache where one is turned.
void copy_rows(const RowPart& part, float* dst) {
  constexpr Index kBlock = 32;
  const float* src = part.matrix->values.data<float>().data();
  const Index n = part.matrix->rows();
  const Index k = part.matrix->columns();
  const auto scale = static_cast<float>(part.scale);
  const Index count = std::ssize(part.rows);
  if (!part.matrix->turned) {
    for (Index i = 0; i < count; ++i) {
      const float* row = src + part.rows[static_cast<std::size_t>(i)] * k;
      std::transform(row, row + k, dst + i * k, [scale](float x) { return x * scale; });
    }
    return;
  }
  for (Index i0 = 0; i0 < count; i0 += kBlock) {
    for (Index j0 = 0; j0 < k; j0 += kBlock) {
      for (Index i = i0; i < std::min(i0 + kBlock, count); ++i) {
        const float* column = src + part.rows[static_cast<std::size_t>(i)];
        for (Index j = j0; j < std::min(j0 + kBlock, k); ++j)
          dst[i * k + j] = column[j * n] * scale;
      }
    }
  }
}

/// The parts one below the other, `rows` in all. Errors: device if memory runs out.
Result<ir::Tensor> join_rows(std::span<const RowPart> parts, Index rows) {
  const Index k = parts[0].matrix->columns();
  const auto count = static_cast<std::size_t>(rows * k);
  // In huge pages: a large model's weights are 100,000 small ones.
  RTAI_TRY(AlignedBuffer buffer, AlignedBuffer::make(count * sizeof(float)));
  const auto owner = std::make_shared<const AlignedBuffer>(std::move(buffer));
  auto* dst = reinterpret_cast<float*>(owner->data());
  for (const RowPart& part : parts) {
    copy_rows(part, dst);
    dst += std::ssize(part.rows) * k;
  }
  return ir::Tensor::borrow(DType::f32, {rows, k}, owner, owner->span());
}

std::vector<Index> all_rows(Index n) {
  std::vector<Index> rows(static_cast<std::size_t>(n));
  for (Index i = 0; i < n; ++i)
    rows[static_cast<std::size_t>(i)] = i;
  return rows;
}

/// The columns of heads in order: head by head.
std::vector<Index> columns_of(const Heads& heads) {
  std::vector<Index> columns;
  for (const Index head : heads.heads) {
    for (const Index dim : heads.dims)
      columns.push_back(head + dim);
  }
  return columns;
}

class Emitter {
 public:
  Emitter(std::span<const Term> terms, const Interface& interface)
      : terms_(terms), interface_(interface), values_(terms.size(), ir::kNoValue) {}

  Result<ir::Graph> run(std::span<const OutputTerm> outputs) {
    std::vector<bool> needed = needed_terms(outputs);
    RTAI_TRY_VOID(declare_inputs(needed));
    for (std::size_t i = 0; i < terms_.size(); ++i) {
      if (!needed[i]) continue;
      RTAI_TRY(values_[i], emit(terms_[i]).in(fmt::format("node '{}'", terms_[i].name)));
    }
    std::vector<ValueId> results;
    for (const OutputTerm& output : outputs) {
      RTAI_TRY(const ValueId result, name_output(output, results));
      results.push_back(result);
    }
    graph_.set_outputs(std::move(results));
    return std::move(graph_);
  }

 private:
  const Term& term(TermId id) const { return terms_[static_cast<std::size_t>(id)]; }
  ValueId value(TermId id) const { return values_[static_cast<std::size_t>(id)]; }

  /// Terms are made in an order of execution: one walk backwards finds what the outputs need. Of
  /// the linear layers behind attention only the fused one is made.
  std::vector<bool> needed_terms(std::span<const OutputTerm> outputs) const {
    std::vector<bool> needed(terms_.size(), false);
    for (const OutputTerm& output : outputs)
      needed[static_cast<std::size_t>(output.term)] = true;
    for (std::size_t i = terms_.size(); i-- > 0;) {
      if (!needed[i]) continue;
      const bool is_attention = std::holds_alternative<AttentionTerm>(terms_[i].kind);
      for (const TermId source : sources(terms_[i])) {
        const auto* linear = std::get_if<LinearTerm>(&term(source).kind);
        const TermId read = is_attention && linear != nullptr ? linear->src : source;
        needed[static_cast<std::size_t>(read)] = true;
      }
    }
    return needed;
  }

  Result<void> declare_inputs(const std::vector<bool>& needed) {
    bool reads_segments = false;
    bool reads_ids = false;
    for (std::size_t i = 0; i < terms_.size(); ++i) {
      const auto* embedding = std::get_if<EmbeddingTerm>(&terms_[i].kind);
      if (!needed[i] || embedding == nullptr) continue;
      reads_ids = true;
      reads_segments = reads_segments || embedding->segment.has_value();
    }
    const ir::Type ids{DType::i32, std::vector<ir::Dim>{"tokens"}};
    if (reads_ids) ids_ = graph_.add_input("ids", ids);
    if (reads_segments) segments_ = graph_.add_input("segments", ids);
    if (const auto input = interface_.find(Role::hidden)) {
      const ir::Type rows{DType::f32,
                          std::vector<ir::Dim>{"tokens", ir::Dim(interface_.inputs[*input].limit)}};
      hidden_ = graph_.add_input("hidden", rows);
    }
    return {};
  }

  /// An output carries its name; a value that is two outputs is copied.
  Result<ValueId> name_output(const OutputTerm& output, const std::vector<ValueId>& before) {
    ValueId result = value(output.term);
    const bool is_taken = std::find(before.begin(), before.end(), result) != before.end();
    if (is_taken || graph_.producer(result) == nullptr) {
      const Index columns = term(output.term).columns;
      RTAI_TRY(result, ir::append(graph_, Op::columns, {result},
                                  {{"begin", std::int64_t{0}}, {"end", columns}}, output.name));
    }
    graph_.rename(result, output.name);
    return result;
  }

  // --- constants

  /// A constant that others may share: by where its data lie.
  ValueId constant(const std::string& name, const ir::Tensor& tensor) {
    const auto key = std::pair{tensor.bytes().data(), tensor.dims()};
    const auto [found, is_new] = constants_.try_emplace(key, ir::kNoValue);
    if (is_new) found->second = graph_.add_constant(name, tensor);
    return found->second;
  }

  /// Rows of matrices one below the other, made once for all terms that ask for the same.
  Result<ValueId> weight(const std::string& name, std::span<const RowPart> parts) {
    if (parts.size() == 1 && !parts[0].matrix->turned && parts[0].scale == 1 &&
        parts[0].rows == all_rows(parts[0].matrix->rows())) {
      return constant(name, parts[0].matrix->values);
    }
    WeightKey key;
    Index rows = 0;
    for (const RowPart& part : parts) {
      key.emplace_back(part.matrix->values.bytes().data(), part.matrix->turned, part.scale,
                       part.rows);
      rows += std::ssize(part.rows);
    }
    const auto [found, is_new] = weights_.try_emplace(std::move(key), ir::kNoValue);
    if (!is_new) return found->second;
    RTAI_TRY(ir::Tensor all, join_rows(parts, rows));
    found->second = graph_.add_constant(name, std::move(all));
    return found->second;
  }

  // --- nodes

  Result<ValueId> append(const Term& from,
                         Op op,
                         std::vector<ValueId> inputs,
                         ir::Attributes attributes = {}) {
    return ir::append(graph_, op, std::move(inputs), std::move(attributes), from.name);
  }

  Result<ValueId> emit(const Term& from) {
    return std::visit([&](const auto& kind) { return emit(from, kind); }, from.kind);
  }

  Result<ValueId> emit(const Term& /*from*/, const InputTerm& /*input*/) { return hidden_; }

  Result<ValueId> emit(const Term& from, const EmbeddingTerm& embedding) {
    EmbeddingTerm tables = embedding;
    if (!tables.word) return unsupported("an embedding without a table for token ids");
    if (tables.row) {  // every token has one position and one segment
      auto& table = tables.position  ? tables.position
                    : tables.segment ? tables.segment
                                     : tables.word;
      add_to_rows(*table, *tables.row);
    }
    std::vector<ValueId> inputs = {ids_, tables.segment ? segments_ : ir::kNoValue,
                                   constant("word", *tables.word)};
    if (tables.position || tables.segment) {
      inputs.push_back(tables.position ? constant("position", *tables.position) : ir::kNoValue);
    }
    if (tables.segment) inputs.push_back(constant("segment", *tables.segment));
    ir::Attributes attributes;
    if (tables.position) attributes.set("position_offset", tables.position_offset);
    return append(from, Op::embedding, std::move(inputs), std::move(attributes));
  }

  static void add_to_rows(ir::Tensor& table, const ir::Tensor& row) {
    const std::span<float> values = table.mutable_data<float>();
    const std::span<const float> added = row.data<float>();
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] += added[i % added.size()];
  }

  Result<ValueId> emit(const Term& from, const LinearTerm& linear) {
    const RowPart part{&linear.weight, linear.weight_scale, all_rows(linear.weight.rows())};
    RTAI_TRY(const ValueId weight, this->weight(from.name + ".weight", std::span(&part, 1)));
    std::vector<ValueId> inputs = {value(linear.src), weight};
    if (linear.bias) inputs.push_back(constant(from.name + ".bias", *linear.bias));
    return append(from, Op::linear, std::move(inputs));
  }

  Result<ValueId> emit(const Term& from, const LayerNormTerm& norm) {
    return append(from, Op::layer_norm,
                  {value(norm.src), constant(from.name + ".weight", norm.weight),
                   constant(from.name + ".bias", norm.bias)},
                  {{"epsilon", norm.epsilon}});
  }

  Result<ValueId> emit(const Term& from, const AttentionTerm& attention) {
    RTAI_TRY(const ValueId qkv, emit_qkv(from, attention));
    ir::Attributes attributes = {{"heads", std::ssize(attention.query.heads)},
                                 {"head_dim", std::ssize(attention.query.dims)},
                                 {"scale", static_cast<float>(attention.scale)}};
    if (attention.causal) attributes.set("causal", std::int64_t{1});
    std::vector<ValueId> inputs = {qkv};
    const RelativeTables& relative = attention.relative;
    std::size_t count = 1;
    for (const auto* table : {&relative.bias, &relative.key, &relative.query}) {
      inputs.push_back(*table ? constant(from.name + ".relative", **table) : ir::kNoValue);
      if (*table) count = inputs.size();
    }
    inputs.resize(count);
    return append(from, Op::attention, std::move(inputs), std::move(attributes));
  }

  /// One linear layer that makes the queries, keys and values of every head.
  Result<ValueId> emit_qkv(const Term& from, const AttentionTerm& attention) {
    std::vector<RowPart> parts;
    std::vector<float> bias;
    bool has_bias = false;
    std::optional<TermId> src;
    for (const Heads* heads : {&attention.query, &attention.key, &attention.value}) {
      const auto* linear = std::get_if<LinearTerm>(&term(heads->term).kind);
      if (linear == nullptr) {
        return unsupported(
            "queries, keys or values that are not a linear layer of the hidden states");
      }
      if (src && *src != linear->src) {
        return unsupported("queries, keys and values of different hidden states");
      }
      src = linear->src;
      parts.push_back({&linear->weight, linear->weight_scale, columns_of(*heads)});
      for (const Index row : parts.back().rows)
        bias.push_back(linear->bias ? static_cast<float>(linear->bias->value(row)) : 0.0f);
      has_bias = has_bias || linear->bias.has_value();
    }
    const bool is_one =
        attention.query.term == attention.key.term && attention.key.term == attention.value.term;
    if (is_one) join(parts);
    RTAI_TRY(const ValueId weight, this->weight(from.name + ".qkv.weight", parts));
    std::vector<ValueId> inputs = {value(*src), weight};
    if (has_bias) {
      const auto count = std::ssize(bias);
      inputs.push_back(
          graph_.add_constant(from.name + ".qkv.bias", ir::Tensor::from<float>({count}, bias)));
    }
    return ir::append(graph_, Op::linear, std::move(inputs), {}, from.name + ".qkv");
  }

  /// Parts of the same matrix as one, which may turn out to be the whole matrix as it is.
  static void join(std::vector<RowPart>& parts) {
    for (std::size_t i = 1; i < parts.size(); ++i) {
      parts[0].rows.insert(parts[0].rows.end(), parts[i].rows.begin(), parts[i].rows.end());
    }
    parts.resize(1);
  }

  Result<ValueId> emit(const Term& from, const ActivationTerm& activation) {
    return append(from, Op::activation, {value(activation.src)}, {{"kind", activation.kind}});
  }

  Result<ValueId> emit(const Term& from, const AddTerm& add) {
    return append(from, Op::add, {value(add.a), value(add.b)});
  }

  Result<ValueId> emit(const Term& from, const ColumnsTerm& columns) {
    return append(from, Op::columns, {value(columns.src)},
                  {{"begin", columns.begin}, {"end", columns.end}});
  }

  Result<ValueId> emit(const Term& from, const RowsTerm& rows) {
    return append(from, rows.op, {value(rows.src)});
  }

  Result<ValueId> emit(const Term& /*from*/, const TokenSumTerm& /*sum*/) {
    return unsupported("a sum over the tokens that is not divided by their number");
  }

  using WeightKey = std::vector<std::tuple<const std::byte*, bool, double, std::vector<Index>>>;

  std::span<const Term> terms_;
  const Interface& interface_;
  ir::Graph graph_;
  std::vector<ValueId> values_;
  ValueId ids_ = ir::kNoValue;
  ValueId segments_ = ir::kNoValue;
  ValueId hidden_ = ir::kNoValue;
  std::map<std::pair<const std::byte*, ir::Dims>, ValueId> constants_;
  std::map<WeightKey, ValueId> weights_;
};

}  // namespace

Result<ir::Graph> emit(std::span<const Term> terms,
                       std::span<const OutputTerm> outputs,
                       const Interface& interface) {
  return Emitter(terms, interface).run(outputs);
}

}  // namespace rtai::raise
