#include "libopt/onnx/internal/export_relative.h"

#include <fmt/format.h>

namespace rtai::onnx_io {

/// span - 1 + key - query: int64[seq, seq]
std::string RelativeWriter::distances(Index span, const std::string& seq) {
  std::string& name = distances_[span];
  if (!name.empty()) return name;
  const std::string prefix = fmt::format("distance{}", span);
  const std::string places =
      write_.node("Range", {write_.integer(0), seq, write_.integer(1)}, prefix + "/places");
  const std::string rows = write_.node("Unsqueeze", {places, write_.list({1})}, prefix + "/rows");
  const std::string apart = write_.node("Sub", {places, rows}, prefix + "/apart");
  return name = write_.node("Add", {apart, write_.integer(span - 1)}, prefix + "/index");
}

std::string RelativeWriter::bias(const std::string& table, Index span, const std::string& seq) {
  std::string& name = biases_[table];
  if (!name.empty()) return name;
  return name = write_.node("Gather", {table, distances(span, seq)}, table + "/by_distance",
                            {{"axis", Index{1}}});
}

std::string RelativeWriter::product(const Product& parts, const std::string& seq) {
  const auto part = [&](std::string_view what) { return parts.prefix + "_" + std::string(what); };
  const std::string table = write_.node(
      "Reshape", {parts.table, write_.list({parts.heads, parts.head_dim, 2 * parts.span - 1})},
      part("table"));
  const std::string all = write_.node("MatMul", {parts.rows, table}, part("all"));
  std::string index = distances(parts.span, seq);
  if (parts.of_keys) {  // by key and query
    index = write_.node("Transpose", {index}, part("index"), {{"perm", std::vector<Index>{1, 0}}});
  }
  const std::string shape = write_.node("Shape", {all}, part("shape"));
  const std::string outer =
      write_.node("Slice", {shape, write_.list({0}), write_.list({3})}, part("outer"));
  const std::string length = write_.node("Unsqueeze", {seq, write_.list({0})}, part("length"));
  const std::string dims =
      write_.node("Concat", {outer, length}, part("dims"), {{"axis", Index{0}}});
  const std::string each = write_.node("Expand", {index, dims}, part("each"));
  const std::string chosen =
      write_.node("GatherElements", {all, each}, part("chosen"), {{"axis", Index{-1}}});
  if (!parts.of_keys) return chosen;
  return write_.node("Transpose", {chosen}, part("turned"),
                     {{"perm", std::vector<Index>{0, 1, 3, 2}}});
}

}  // namespace rtai::onnx_io
