// What attention scores get by how far key and query are apart, as ONNX operators.
#pragma once

#include "libopt/onnx/internal/model_writer.h"

#include <map>
#include <string>

namespace rtai::onnx_io {

class RelativeWriter {
 public:
  explicit RelativeWriter(ModelWriter& write) : write_(write) {}

  /// A table f32[heads, 2 * span - 1] read at span - 1 + key - query: [heads, seq, seq]. Once for
  /// all layers that share a table. `seq` is the padded length, an int64 scalar.
  std::string bias(const std::string& table, Index span, const std::string& seq);

  struct Product {
    std::string rows;   // queries or keys: [batch, heads, seq, head_dim]
    std::string table;  // of vectors: [heads * head_dim, 2 * span - 1]
    Index heads;
    Index head_dim;
    Index span;
    bool of_keys;  // the rows are keys
    std::string prefix;
  };
  /// Rows times the vectors of which each pair of query and key chooses one: [batch, heads, seq,
  /// seq].
  std::string product(const Product& parts, const std::string& seq);

 private:
  std::string distances(Index span, const std::string& seq);

  ModelWriter& write_;
  std::map<Index, std::string> distances_;     // by span
  std::map<std::string, std::string> biases_;  // by table
};

}  // namespace rtai::onnx_io
