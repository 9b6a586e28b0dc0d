// An engine file taken apart and put together again with right digests: what somebody who forges
// engines can do, so the structure alone must give the change away.
#pragma once

#include "runtime/base/byte_stream.h"
#include "runtime/base/checked.h"
#include "runtime/base/digest.h"
#include "runtime/engine/format.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace rtai::testing {

struct EngineSection {
  std::uint32_t kind = 0;
  std::vector<std::byte> bytes;
};

struct EngineParts {
  std::uint32_t version = engine::kFormatVersion;
  std::vector<EngineSection> sections;

  /// The section of that kind, or null.
  std::vector<std::byte>* find(engine::SectionKind kind) {
    const auto found = std::find_if(sections.begin(), sections.end(), [&](const EngineSection& s) {
      return s.kind == static_cast<std::uint32_t>(kind);
    });
    return found == sections.end() ? nullptr : &found->bytes;
  }
};

/// Nothing if header and table do not describe the file.
inline std::optional<EngineParts> take_apart(std::span<const std::byte> file) {
  ByteReader reader(file);
  const auto header = reader.read<engine::Header>();
  if (!header || header->magic != engine::kMagic) return std::nullopt;
  EngineParts parts{.version = header->version, .sections = {}};
  for (std::uint32_t i = 0; i < header->section_count; ++i) {
    const auto entry = reader.read<engine::SectionEntry>();
    if (!entry || entry->offset > file.size() || entry->bytes > file.size() - entry->offset) {
      return std::nullopt;
    }
    const auto bytes = file.subspan(entry->offset, entry->bytes);
    parts.sections.push_back({entry->kind, {bytes.begin(), bytes.end()}});
  }
  return parts;
}

/// The section that guards the weights.
inline std::vector<std::byte> checksums_of(std::span<const std::byte> weights) {
  ByteWriter writer;
  for (std::size_t at = 0; at < weights.size(); at += engine::kChecksumBlock) {
    writer.write(
        crc32c(weights.subspan(at, std::min(engine::kChecksumBlock, weights.size() - at))));
  }
  return std::move(writer.bytes());
}

/// Writes the digest of header and table anew.
inline void seal_header(std::span<std::byte> file, std::uint32_t section_count) {
  engine::Header header{};
  std::memcpy(&header, file.data(), sizeof header);
  header.digest = {};
  Sha256 hash;
  hash.update(std::as_bytes(std::span(&header, 1)));
  hash.update(file.subspan(sizeof(engine::Header), section_count * sizeof(engine::SectionEntry)));
  header.digest = hash.finish();
  std::memcpy(file.data(), &header, sizeof header);
}

/// A file that tiles as it should; its checksums are what the section holds, right or wrong.
inline std::vector<std::byte> put_together(const EngineParts& parts) {
  const auto count = static_cast<std::uint32_t>(parts.sections.size());
  std::uint64_t end = sizeof(engine::Header) + count * sizeof(engine::SectionEntry);
  ByteWriter writer;
  engine::Header header{.magic = engine::kMagic,
                        .version = parts.version,
                        .section_count = count,
                        .file_bytes = 0,
                        .digest = {},
                        .reserved = 0};
  header.file_bytes = end;
  for (const EngineSection& section : parts.sections) {
    header.file_bytes =
        round_up<std::uint64_t>(header.file_bytes + section.bytes.size(), engine::kEngineAlignment);
  }
  writer.write(header);
  for (const EngineSection& section : parts.sections) {
    writer.write(engine::SectionEntry{.kind = section.kind,
                                      .reserved = 0,
                                      .offset = end,
                                      .bytes = section.bytes.size(),
                                      .digest = sha256(section.bytes),
                                      .reserved2 = 0});
    end = round_up<std::uint64_t>(end + section.bytes.size(), engine::kEngineAlignment);
  }
  for (const EngineSection& section : parts.sections) {
    writer.append(section.bytes);
    writer.bytes().resize(round_up(writer.size(), engine::kEngineAlignment));
  }
  seal_header(writer.bytes(), count);
  return std::move(writer.bytes());
}

}  // namespace rtai::testing
