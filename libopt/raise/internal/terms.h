// What is computed on packed rows, before it becomes nodes: one term for each operator of the
// transformer level, made in an order of execution. Terms that no output needs are never emitted,
// so that folding a bias or a scale makes a new term and leaves the old one to whoever else uses
// it.
#pragma once

#include "libopt/ir/graph.h"

#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace rtai::raise {

enum class TermId : std::uint32_t {};

/// Rows given from outside: hidden states.
struct InputTerm {};

/// The sum of rows selected from tables [rows, columns], and one row for all tokens.
struct EmbeddingTerm {
  std::optional<ir::Tensor> word;
  std::optional<ir::Tensor> position;
  std::optional<ir::Tensor> segment;
  Index position_offset = 0;
  std::optional<ir::Tensor> row;  // [columns]
};

/// Weights as the model stores them.
struct Matrix {
  ir::Tensor values;    // of two dimensions
  bool turned = false;  // stored as [k, n]

  Index rows() const { return values.dim(turned ? 1 : 0); }     // n: outputs
  Index columns() const { return values.dim(turned ? 0 : 1); }  // k: inputs
};

/// weight_scale * weight * src + bias
struct LinearTerm {
  TermId src;
  Matrix weight;
  double weight_scale = 1;
  std::optional<ir::Tensor> bias = {};  // [n]
};

struct LayerNormTerm {
  TermId src;
  ir::Tensor weight;
  ir::Tensor bias;
  float epsilon;
};

/// Columns of a term, head by head: column (h, d) is heads[h] + dims[d].
struct Heads {
  TermId term;
  std::vector<Index> heads;
  std::vector<Index> dims;

  friend bool operator==(const Heads&, const Heads&) = default;
};

/// What attention adds by how far key and query are apart, as ir::Attention has it.
struct RelativeTables {
  std::optional<ir::Tensor> bias = {};
  std::optional<ir::Tensor> key = {};
  std::optional<ir::Tensor> query = {};
};

struct AttentionTerm {
  Heads query;
  Heads key;
  Heads value;
  double scale = 1;
  bool causal = false;
  RelativeTables relative = {};
};

struct ActivationTerm {
  TermId src;
  std::string kind;
};

struct AddTerm {
  TermId a;
  TermId b;
};

struct ColumnsTerm {
  TermId src;
  Index begin;
  Index end;
};

/// first_token, mean_pool or l2_normalize.
struct RowsTerm {
  TermId src;
  ir::Op op;
};

/// The sum over the tokens of each sequence; only divided by their number it becomes a node.
struct TokenSumTerm {
  TermId src;
};

using TermKind = std::variant<InputTerm,
                              EmbeddingTerm,
                              LinearTerm,
                              LayerNormTerm,
                              AttentionTerm,
                              ActivationTerm,
                              AddTerm,
                              ColumnsTerm,
                              RowsTerm,
                              TokenSumTerm>;

struct Term {
  TermKind kind;
  Index columns = 0;
  std::string name = {};  // of the node that it came from
};

}  // namespace rtai::raise
