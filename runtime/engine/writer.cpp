#include "runtime/base/aligned_buffer.h"
#include "runtime/base/atomic_write.h"
#include "runtime/base/byte_stream.h"
#include "runtime/base/checked.h"
#include "runtime/base/digest.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/format.h"
#include "runtime/engine/packed_weights.h"
#include "runtime/engine/program_section.h"

#include <algorithm>

namespace rtai::engine {

std::vector<std::byte> write_program(const Program& program) {
  ByteWriter writer;
  const auto count = [&](const auto& list) {
    writer.write(static_cast<std::uint32_t>(list.size()));
  };
  count(program.values);
  for (const ValueInfo& value : program.values) {
    writer.write(value.rows);
    writer.write(value.dtype);
    writer.write(std::uint16_t{0});
    writer.write(static_cast<std::uint32_t>(value.columns));
  }
  count(program.inputs);
  for (const std::string& input : program.inputs)
    writer.write_string(input);
  count(program.tensors);
  for (const TensorInfo& tensor : program.tensors) {
    writer.write_string(tensor.name);
    writer.write(tensor.dtype);
    writer.write(tensor.layout);
    writer.write(tensor.group);
    writer.write(tensor.dims);
    writer.write(tensor.offset);
    writer.write(tensor.bytes);
  }
  count(program.steps);
  for (const Step& step : program.steps) {
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
  count(program.outputs);
  for (const Output& output : program.outputs) {
    writer.write_string(output.name);
    writer.write(output.value);
  }
  return std::move(writer.bytes());
}

namespace {

std::vector<std::byte> write_checksums(std::span<const std::byte> weights) {
  ByteWriter writer;
  for (std::uint64_t begin = 0; begin < weights.size(); begin += kChecksumBlock) {
    const std::uint64_t size = std::min<std::uint64_t>(kChecksumBlock, weights.size() - begin);
    writer.write(crc32c(weights.subspan(begin, size)));
  }
  return std::move(writer.bytes());
}

std::vector<std::byte> write_labels(const std::vector<std::string>& labels) {
  ByteWriter writer;
  writer.write(static_cast<std::uint32_t>(labels.size()));
  for (const std::string& label : labels)
    writer.write_string(label);
  return std::move(writer.bytes());
}

std::vector<std::byte> write_metadata(const std::map<std::string, std::string>& facts) {
  ByteWriter writer;
  writer.write(static_cast<std::uint32_t>(facts.size()));
  for (const auto& [key, value] : facts) {
    writer.write_string(key);
    writer.write_string(value);
  }
  return std::move(writer.bytes());
}

/// The parts of a file in order: header and table first, the sections and their padding after.
struct Layouted {
  std::vector<std::byte> head;
  std::vector<std::pair<SectionKind, std::span<const std::byte>>> sections;
};

Layouted lay_out(std::uint32_t version,
                 std::vector<std::pair<SectionKind, std::span<const std::byte>>> sections) {
  Header header{.magic = kMagic,
                .version = version,
                .section_count = static_cast<std::uint32_t>(sections.size()),
                .file_bytes = 0,
                .digest = {},
                .reserved = 0};
  std::vector<SectionEntry> table;
  std::uint64_t offset = sizeof(Header) + sections.size() * sizeof(SectionEntry);
  for (const auto& [kind, bytes] : sections) {
    table.push_back({.kind = static_cast<std::uint32_t>(kind),
                     .reserved = 0,
                     .offset = offset,
                     .bytes = bytes.size(),
                     .digest = sha256(bytes),
                     .reserved2 = 0});
    offset = round_up<std::uint64_t>(offset + bytes.size(), kEngineAlignment);
  }
  header.file_bytes = offset;
  Sha256 hash;
  hash.update(std::as_bytes(std::span(&header, 1)));
  hash.update(std::as_bytes(std::span(table)));
  header.digest = hash.finish();

  ByteWriter writer;
  writer.write(header);
  for (const SectionEntry& entry : table)
    writer.write(entry);
  return {std::move(writer.bytes()), std::move(sections)};
}

/// Program and weights as they stand in a file where some are packed.
struct Packed {
  Program program;
  AlignedBuffer weights;
};

Result<Packed> pack(const Engine& engine) {
  Packed packed{.program = engine.program, .weights = {}};
  RTAI_TRY(const std::uint64_t bytes, place_tensors(packed.program, Place::file));
  RTAI_TRY(packed.weights, AlignedBuffer::make(bytes));
  for (std::size_t i = 0; i < packed.program.tensors.size(); ++i) {
    const TensorInfo& tensor = packed.program.tensors[i];
    const std::span<const std::byte> memory = engine.bytes_of(engine.program.tensors[i]);
    const std::span<std::byte> target = packed.weights.span().subspan(tensor.offset, tensor.bytes);
    if (tensor.group > 0) {
      RTAI_TRY_VOID(pack_weights(tensor, memory, target).in("engine to be written"));
    } else {
      std::ranges::copy(memory, target.begin());
    }
  }
  return packed;
}

/// Calls `use` with the parts of the file; they live only during the call.
template <class Use>
auto with_parts(const Engine& engine, Use&& use)
    -> decltype(use(std::vector<std::span<const std::byte>>{})) {
  if (auto status = verify(engine.program, engine.weights.size()); !status) {
    return Error{ErrorCode::internal, "engine to be written: " + status.error().message()};
  }
  const bool is_packed = has_packed(engine.program);
  Packed packed;
  if (is_packed) {
    RTAI_TRY(packed, pack(engine));
  }
  const std::span<const std::byte> weights = is_packed ? packed.weights.span() : engine.weights;
  const std::vector<std::byte> program = write_program(is_packed ? packed.program : engine.program);
  const std::vector<std::byte> checksums = write_checksums(weights);
  const std::vector<std::byte> labels = write_labels(engine.labels);
  const std::vector<std::byte> metadata = write_metadata(engine.metadata);
  std::vector<std::pair<SectionKind, std::span<const std::byte>>> sections = {
      {SectionKind::program, program},
      {SectionKind::weights, weights},
      {SectionKind::checksums, checksums}};
  if (!engine.tokenizer.empty()) sections.emplace_back(SectionKind::tokenizer, engine.tokenizer);
  if (!engine.labels.empty()) sections.emplace_back(SectionKind::labels, labels);
  if (!engine.metadata.empty()) sections.emplace_back(SectionKind::metadata, metadata);

  const Layouted layouted =
      lay_out(is_packed ? kPackedFormatVersion : kFormatVersion, std::move(sections));
  static constexpr std::array<std::byte, kEngineAlignment> kZeros{};
  std::vector<std::span<const std::byte>> parts = {layouted.head};
  for (const auto& [kind, bytes] : layouted.sections) {
    parts.push_back(bytes);
    const std::size_t padding = round_up(bytes.size(), kEngineAlignment) - bytes.size();
    parts.push_back(std::span(kZeros).first(padding));
  }
  return use(parts);
}

}  // namespace

Result<std::vector<std::byte>> serialize(const Engine& engine) {
  return with_parts(engine, [](const std::vector<std::span<const std::byte>>& parts) {
    std::vector<std::byte> file;
    for (const std::span<const std::byte> part : parts) {
      file.insert(file.end(), part.begin(), part.end());
    }
    return Result<std::vector<std::byte>>(std::move(file));
  });
}

Result<void> save(const Engine& engine, const std::filesystem::path& path) {
  return with_parts(engine, [&](const std::vector<std::span<const std::byte>>& parts) {
    return write_file_atomically(path, parts);
  });
}

}  // namespace rtai::engine
