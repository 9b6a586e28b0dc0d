// What a value of the imported graph means.
#pragma once

#include "libopt/raise/internal/axes.h"
#include "libopt/raise/internal/terms.h"

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace rtai::raise {

/// Nothing but what its elements say, if they are known: masks, shapes, indices, numbers.
struct Plain {};

/// scale * columns of the rows of a term, seen through axes.
struct Rows {
  TermId term;
  Axes axes;
  Index offset = 0;  // the column of feature 0
  double scale = 1;
  bool zero_padding = false;  // what stands at padded tokens is zero
};

/// One operator between known numbers and attention scores, in the layout they had then.
struct ScoreChange {
  enum class Kind : std::uint8_t {
    add,
    subtract,
    multiply,
    divide,
    fill_where_true,  // `known` is a condition
    fill_where_false,
  };
  Kind kind;
  ir::ValueId known;
  Axes axes;
  double fill = 0;
};

/// Rows times a vector for each head and entry of a table (DeBERTa: for each bucket of distances).
///
/// `axes` has the batch, the head and the entry as features (head * entries + entry), the token.
struct Lookups {
  Heads rows;
  Index entries;
  std::shared_ptr<const std::vector<float>> table;  // [heads, head_dim, entries]; shared by copies
  Axes axes;
  double scale = 1;
};

/// Of lookups, one for each key and query: the entry that an index chooses.
struct RelativePart {
  Lookups lookups;
  ir::ValueId index;
  Axes index_axes;      // the token of the rows is a token here, the other one a key
  bool by_key = false;  // the rows are keys
};

/// A sum of such parts, to be added to attention scores.
struct RelativeScores {
  std::vector<RelativePart> parts;
  Axes axes;
};

/// Attention scores: for each head, the products of queries and keys, times `scale`, then changed
/// by numbers that depend on the place alone: scales and masks.
///
/// `axes` has the batch, the head as a feature, the query as a token, and the key.
struct Scores {
  Heads query;
  Heads key;
  Axes axes;
  double scale = 1;
  std::vector<ScoreChange> changes = {};
  std::vector<RelativePart> parts = {};
};

/// Softmax of scores over the keys.
struct Probabilities {
  Heads query;
  Heads key;
  double scale = 1;
  bool causal = false;
  RelativeTables relative = {};
  Axes axes;
};

/// True where a probability is not a number: queries that see no key.
struct NotANumber {};

/// A number for each row, or the squares it is made of.
struct RowStatistic {
  enum class Kind : std::uint8_t { squares, sum_of_squares, norm };
  Kind kind;
  Rows of;
  Axes axes;
};

/// What does not fit: the first node that did not, and why.
struct Opaque {
  ir::NodeId node;
  std::string reason;
};

using Meaning = std::variant<Plain,
                             Rows,
                             Lookups,
                             RelativeScores,
                             Scores,
                             Probabilities,
                             NotANumber,
                             RowStatistic,
                             Opaque>;

/// The axes of a meaning that has some, else null.
inline const Axes* axes_of(const Meaning& meaning) {
  return std::visit(
      [](const auto& kind) -> const Axes* {
        if constexpr (requires { kind.axes; })
          return &kind.axes;
        else
          return nullptr;
      },
      meaning);
}

/// The same meaning, which has axes, with others.
inline Meaning with_axes(Meaning meaning, Axes axes) {
  std::visit(
      [&](auto& kind) {
        if constexpr (requires { kind.axes; }) kind.axes = std::move(axes);
      },
      meaning);
  return meaning;
}

}  // namespace rtai::raise
