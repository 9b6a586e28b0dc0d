// The program section of an engine, written as format.h says whatever the program is: the writer of
// rtai refuses programs that do not verify.
#pragma once

#include "runtime/base/byte_stream.h"
#include "runtime/engine/program.h"

namespace rtai::testing {

inline std::vector<std::byte> program_section(const engine::Program& program) {
  ByteWriter writer;
  const auto count = [&](std::size_t size) { writer.write(static_cast<std::uint32_t>(size)); };
  count(program.values.size());
  for (const engine::ValueInfo& value : program.values) {
    writer.write(value.rows);
    writer.write(value.dtype);
    writer.write(std::uint16_t{0});
    writer.write(static_cast<std::uint32_t>(value.columns));
  }
  count(program.inputs.size());
  for (const std::string& input : program.inputs)
    writer.write_string(input);
  count(program.tensors.size());
  for (const engine::TensorInfo& tensor : program.tensors) {
    writer.write_string(tensor.name);
    writer.write(tensor.dtype);
    writer.write(tensor.layout);
    writer.write(std::uint16_t{0});
    writer.write(tensor.dims);
    writer.write(tensor.offset);
    writer.write(tensor.bytes);
  }
  count(program.steps.size());
  for (const engine::Step& step : program.steps) {
    writer.write(step.op);
    writer.write(step.function);
    writer.write(static_cast<std::uint8_t>(step.causal));
    writer.write(step.src);
    writer.write(step.dst);
    writer.write(step.tensors);
    writer.write(step.heads);
    writer.write(step.head_dim);
    writer.write(step.first);
    writer.write(step.last);
    writer.write(step.real);
  }
  count(program.outputs.size());
  for (const engine::Output& output : program.outputs) {
    writer.write_string(output.name);
    writer.write(output.value);
  }
  return std::move(writer.bytes());
}

}  // namespace rtai::testing
