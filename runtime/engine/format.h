// The engine file, format versions 1 and 2, byte by byte. Everything is little-endian.
//
//   Header                64 bytes
//   SectionEntry          64 bytes each, `section_count` of them
//   sections              in the order of their entries, each at the next multiple of 64 bytes,
//                         zeros between; the last one is padded to a multiple of 64 too
//
// The sections tile the file: every byte is header, table, section or zero padding. Sections, each
// at most once, in this order of kinds:
//
//   1 program     values, inputs, tensors, steps, outputs        required
//   2 weights     the tensors, each 64-byte aligned, zeros between   required
//   3 checksums   CRC-32C (u32) of each 64 KiB of the weights       required
//   4 tokenizer   as runtime/text/tokenizer.h writes it
//   5 labels      u32 count, then count strings
//   6 metadata    u32 count, then count pairs of strings, in alphabetical order of the first
//
// A string is a u32 count of bytes and that many bytes of UTF-8. The program section is
//
//   u32 count of values,  each: u8 rows, u8 dtype, u16 zero, u32 columns
//   u32 count of inputs,  each: string                               (they are the first values)
//   u32 count of tensors, each: string name, u8 dtype, u8 layout, u16 group,
//                               u64 dims[2], u64 offset, u64 bytes
//   u32 count of steps,   each: u16 op, u8 function, u8 causal, i32 src[2], i32 dst, i32
//   tensors[6],
//                               i32 heads, i32 head_dim, i32 first, i32 last, f32 real
//   u32 count of outputs, each: string name, i32 value
//
// A group is zero in version 1. In version 2 it may be 32, 64 or 128 for a tensor of i8: then the
// weights hold it in 4 bits. With e the bytes that it would take as i8 in its layout:
//
//   ceil(e / 64) * 32 bytes    byte i of each 32: element i of 64 in the low 4 bits, element i + 32
//                              in the high ones; an element is -7 .. 7
//   a byte, 1 .. 18, for each group of `group` elements of each row (fewer in the last one of a
//   row): row-major [rows][groups], in panels [n/16][groups][16]
//
// and the i8 is the product of the two. Sizes and places (`bytes`, `offset`) are those in the file.
// A file has version 2 if a tensor of it has groups, else version 1.
//
// Enumerations and the meaning of every operator: runtime/engine/program.h, docs/engine-format.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace rtai::engine {

constexpr std::size_t kEngineAlignment = 64;  // bytes: one cache line, one zmm register
constexpr std::array<char, 8> kMagic = {'R', 'T', 'A', 'I', 'E', 'N', 'G', '\n'};
constexpr std::uint32_t kFormatVersion = 1;
constexpr std::uint32_t kPackedFormatVersion = 2;    // with weights of 4 bits
constexpr std::uint64_t kChecksumBlock = 64 * 1024;  // bytes of weights under one CRC
// Bytes that must follow a tensor in panels: kernels load whole tiles of 16 rows of k, and multiply
// what lies beyond the last k by zero.
constexpr std::uint64_t kPanelSlack = 1024;

enum class SectionKind : std::uint32_t {
  program = 1,
  weights = 2,
  checksums = 3,
  tokenizer = 4,
  labels = 5,
  metadata = 6,
};
constexpr std::uint32_t kSectionKinds = 6;

struct Header {
  std::array<char, 8> magic;
  std::uint32_t version;
  std::uint32_t section_count;
  std::uint64_t file_bytes;
  std::array<std::uint8_t, 32> digest;  // SHA-256 of the header with this field zero, and the table
  std::uint64_t reserved;               // zero
};
static_assert(sizeof(Header) == 64);

struct SectionEntry {
  std::uint32_t kind;
  std::uint32_t reserved;               // zero
  std::uint64_t offset;                 // bytes from the start of the file
  std::uint64_t bytes;                  // without the padding
  std::array<std::uint8_t, 32> digest;  // SHA-256 of the section
  std::uint64_t reserved2;              // zero
};
static_assert(sizeof(SectionEntry) == 64);

// Limits that no real model comes near; they bound what a hostile file can ask for.
constexpr std::uint32_t kMaxValues = 1u << 20;
constexpr std::uint32_t kMaxNameBytes = 1u << 12;
constexpr std::int64_t kMaxColumns = 1 << 20;
constexpr std::int64_t kMaxRows = std::int64_t{1} << 28;  // of a table, such as a vocabulary

}  // namespace rtai::engine
