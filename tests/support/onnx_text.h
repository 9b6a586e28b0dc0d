// ONNX models in ONNX's own text syntax, for tests of import.
//
//   onnx_model("float[2] x => float[2] y", "y = Add(x, x)", 17)
#pragma once

#include <catch2/catch.hpp>
#include <onnx/defs/parser.h>
#include <onnx/onnx_pb.h>

#include <cstddef>
#include <string>
#include <vector>

namespace rtai {

inline onnx::ModelProto parse_onnx(const std::string& text) {
  onnx::ModelProto model;
  const onnx::Common::Status status = onnx::OnnxParser::Parse(model, text.c_str());
  INFO(status.ErrorMessage());
  REQUIRE(status.IsOK());
  return model;
}

/// A model of opset `version`; `graph` begins with its inputs: "(float[2] x) => (float[2] y) { ...
/// }".
inline onnx::ModelProto onnx_model(int version, const std::string& graph) {
  return parse_onnx("<ir_version: 8, opset_import: [\"\" : " + std::to_string(version) +
                    ", \"com.microsoft\" : 1]> g " + graph);
}

inline std::vector<std::byte> onnx_bytes(const onnx::ModelProto& model) {
  const std::string text = model.SerializeAsString();
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

}  // namespace rtai
