// The state of reading an imported graph: what each value means, and the terms found so far.
#pragma once

#include "libopt/raise/internal/meaning.h"

#include <string>
#include <vector>

namespace rtai::raise {

/// A node that does not fit. The reader puts the node's name in front.
inline Error misfit(std::string message) {
  return {ErrorCode::unsupported, std::move(message)};
}

class Reading {
 public:
  Reading(const ir::Graph& graph, const Trace& trace)
      : graph_(graph), trace_(trace), meanings_(graph.value_count(), Plain{}) {}

  const ir::Graph& graph() const { return graph_; }
  const Interface& interface() const { return trace_.interface; }
  std::span<const Probe> probes() const { return trace_.probes; }

  // --- values
  const Meaning& meaning(ir::ValueId id) const { return meanings_[static_cast<std::size_t>(id)]; }
  void set_meaning(ir::ValueId id, Meaning meaning) {
    meanings_[static_cast<std::size_t>(id)] = std::move(meaning);
  }
  /// The meaning as a T, or null.
  template <class T>
  const T* get(ir::ValueId id) const {
    return id == ir::kNoValue ? nullptr : std::get_if<T>(&meaning(id));
  }
  /// True if the elements are known in every probe.
  bool is_known(ir::ValueId id) const;
  /// The elements if they are known and the same in every probe, else null.
  const ir::Tensor* constant(ir::ValueId id) const;
  /// A constant of one element.
  std::optional<double> number(ir::ValueId id) const;
  /// The dimensions in each probe.
  std::vector<ir::Dims> dims(ir::ValueId id) const;
  Index rank(ir::ValueId id) const { return std::ssize(probes()[0].dims(id)); }
  /// For messages: "rows [batch, seq, 384]", "a constant f32[64]", ...
  std::string describe(ir::ValueId id) const;

  // --- sequences
  /// {batch}; empty if the file prescribes a batch of one.
  Axis batch_axis() const;
  /// True if sequences may be padded: there is a mask.
  bool may_be_padded() const { return interface().find(Role::mask).has_value(); }

  // --- terms
  TermId add(TermKind kind, Index columns, std::string name);
  const Term& term(TermId id) const { return terms_[static_cast<std::size_t>(id)]; }
  std::span<const Term> terms() const { return terms_; }
  /// Scores shifted by distance, with the biases found for them.
  std::vector<std::pair<Scores, ir::Tensor>>& biases() { return biases_; }
  template <class T>
  const T* term_as(TermId id) const {
    return std::get_if<T>(&term(id).kind);
  }

 private:
  const ir::Graph& graph_;
  const Trace& trace_;
  std::vector<Meaning> meanings_;
  std::vector<Term> terms_;
  std::vector<std::pair<Scores, ir::Tensor>> biases_;
};

// --- what the operators mean, one function for a family of them (read_*.cpp)

using Meanings = std::vector<Meaning>;

/// What a node with one output means.
inline Result<Meanings> one(Result<Meaning> meaning) {
  if (!meaning) return std::move(meaning).error();
  return Meanings{*std::move(meaning)};
}

/// Operators that only move elements, on whatever has axes.
Result<Meanings> read_layout(Reading& reading, const ir::Node& node);
/// gather and slice of constant tables, and products with one-hot rows.
Result<Meaning> read_lookup(Reading& reading, const ir::Node& node);
/// add, sub, mul, div, sum, pow, where, ...
Result<Meaning> read_arithmetic(Reading& reading, const ir::Node& node);
/// matmul, gemm, einsum.
Result<Meaning> read_contraction(Reading& reading, const ir::Node& node);
/// softmax, layer_normalization and reductions.
Result<Meaning> read_reduction(Reading& reading, const ir::Node& node);

}  // namespace rtai::raise
