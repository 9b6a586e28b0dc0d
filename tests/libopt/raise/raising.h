// Small ONNX-level graphs as text, raised and proved.
#pragma once

#include "libopt/ir/text.h"
#include "libopt/raise/prove.h"
#include "libopt/raise/raise.h"

#include <catch2/catch.hpp>

#include <string>
#include <string_view>

namespace rtai::raise {

inline ir::Graph parsed(std::string_view text) {
  auto graph = ir::parse(text);
  INFO((graph ? "" : graph.error().message()));
  REQUIRE(graph);
  return *std::move(graph);
}

/// The raised graph of a text that must raise and must compute the same.
inline ir::Graph raised(std::string_view text) {
  const ir::Graph imported = parsed(text);
  auto graph = raise_transformer(imported);
  INFO((graph ? "" : graph.error().message()));
  REQUIRE(graph);
  REQUIRE(ir::verify(*graph));
  const auto proof = prove(imported, *graph);
  INFO((proof ? "" : proof.error().message()) << "\n" << ir::print(*graph));
  REQUIRE(proof);
  return *std::move(graph);
}

/// The message of a text that must be refused.
inline std::string refusal(std::string_view text) {
  const auto graph = raise_transformer(parsed(text));
  REQUIRE_FALSE(graph);
  CHECK(graph.error().code() == ErrorCode::unsupported);
  return graph.error().message();
}

/// The operators in order: "linear attention linear add layer_norm".
inline std::string ops(const ir::Graph& graph) {
  std::string text;
  for (const ir::NodeId id : graph.order()) {
    text += (text.empty() ? "" : " ") + std::string(info(graph.node(id).op()).name);
  }
  return text;
}

/// The only node of a kind.
inline const ir::Node& only(const ir::Graph& graph, ir::Op op) {
  const std::vector<ir::NodeId> found = graph.nodes_of(op);
  REQUIRE(found.size() == 1);
  return graph.node(found[0]);
}

}  // namespace rtai::raise
