// What an ONNX file says of itself, and what of it rtai cannot do, as people and programs read it.
#pragma once

#include "libopt/onnx/outline.h"
#include "tools/json.h"
#include "tools/report/card.h"

#include <span>
#include <string>

namespace rtai::tools {

/// {"producer", "ir_version", "opsets", "inputs", "outputs", "nodes", "operators"}
Json file_json(const onnx_io::Outline& outline);

/// Origin, inputs, outputs and operators, a few lines.
void add_file(Card& card, const onnx_io::Outline& outline);

/// [{"node", "operator", "reason"}], of very many the first ones.
Json obstacles_json(std::span<const ir::Obstacle> obstacles);

/// Each operator and reason with the names of its nodes; empty without any.
std::string obstacles_text(std::span<const ir::Obstacle> obstacles);

/// "input_ids i64[batch, seq]"
std::string declared_text(const onnx_io::DeclaredValue& value);

}  // namespace rtai::tools
