// Quantized ONNX graphs, whoever made them: their integers are taken out before a graph is
// understood and put back into what it means.
//
// Taken out, a product of integers is the same product of real numbers, and the quantization of
// its source is remembered. What quantized graphs look like does not matter to anybody else: the
// rest is read like any float graph. Afterwards the integers of each linear layer are found again
// by looking for the grid that its weights lie on.
#pragma once

#include "libopt/ir/graph.h"
#include "runtime/base/result.h"

#include <map>
#include <string>
#include <vector>

namespace rtai::quant {

/// How the source of a product was quantized.
struct SourceForm {
  enum class Kind : std::uint8_t {
    real,    // not at all, or to more than 8 bits
    fixed,   // symmetric int8 with one scale: what rtai calls static
    skewed,  // 8 bits with a zero point, or several scales: rtai has no such form
    batch,   // a scale for everything that is multiplied at once, found at run time
    row,     // a scale for each row, found at run time: what rtai calls dynamic
  };
  Kind kind = Kind::real;
  float scale = 0;                 // of `fixed`
  std::vector<float> factor = {};  // [k], of the columns before they are quantized; empty: one

  friend bool operator==(const SourceForm&, const SourceForm&) = default;
};

/// What was taken out of a graph.
struct TakenIntegers {
  /// The sources' forms of products with weights, by the integers of each column of the weights.
  std::map<std::vector<std::int32_t>, SourceForm> sources;
  Index products = 0;            // with weights
  Index attention_products = 0;  // of two quantized values
  Index tables = 0;              // of embeddings
};

/// True if nodes of the graph quantize, round or multiply integers.
bool has_integers(const ir::Graph& graph);

/// Rewrites `graph`, whose constants have been folded, to real numbers: quantize_linear followed by
/// dequantize_linear, dynamic_quantize_linear, matmul_integer, rows of int8 tables, attention whose
/// numbers are rounded to steps.
///
/// Errors: unsupported, naming the node, where integers do something else.
Result<TakenIntegers> take_out_integers(ir::Graph& graph);

/// What became of the integers.
struct PutIntegers {
  Index layers = 0;        // linear layers whose weights are the integers of the file
  Index fixed = 0;         // of them, with the file's scale for their source
  Index rows = 0;          // of them, with a scale for each row, as in the file
  Index finer = 0;         // of them, with a scale for each row where the file's form is another
  Index tables = 0;        // of embeddings
  Index real_tables = 0;   // of embeddings whose integers do not fit
  bool attention = false;  // in int8
  std::vector<std::string> real = {};  // layers whose integers do not fit; they hold real numbers
  bool weights_alone = false;          // no source of a product was quantized

  /// "13 linear layers int8 as in the file (...), 2 tables"
  std::string text() const;
};

/// Puts integers back into the linear layers and tables of a transformer-level graph. Weights are
/// those of the file exactly. A source gets the file's form if that is `fixed` or `row`, else a
/// scale for each row, which is finer.
///
/// Errors: unsupported if a layer whose columns had factors is not found again.
Result<PutIntegers> put_back_integers(ir::Graph& raised, const TakenIntegers& taken);

}  // namespace rtai::quant
