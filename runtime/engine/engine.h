// An engine: a program with its weights, tokenizer, labels and history. Pure data.
#pragma once

#include "runtime/base/result.h"
#include "runtime/engine/program.h"

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace rtai::engine {

/// Read-only once made. Weights and tokenizer point into `storage`, which the engine and every
/// session made from it own together.
struct Engine {
  Program program;
  std::span<const std::byte> weights;    // 64-byte aligned
  std::span<const std::byte> tokenizer;  // as text::Tokenizer::serialize; empty: none
  std::vector<std::string> labels;       // by class index; empty: none
  // Facts in alphabetical order: "task", "pipeline", "source_sha256", "rtai_version", ...
  std::map<std::string, std::string> metadata;
  std::shared_ptr<const void> storage;
  std::uint64_t file_bytes = 0;  // 0: never was a file

  std::span<const std::byte> bytes_of(const TensorInfo& tensor) const {
    return weights.subspan(tensor.offset, tensor.bytes);
  }
  /// The elements of tensor `index`; an empty span for kNone.
  template <class T>
  std::span<const T> data(TensorIndex index) const {
    if (index == kNone) return {};
    const std::span<const std::byte> bytes =
        bytes_of(program.tensors[static_cast<std::size_t>(index)]);
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
};

/// How much of the file is read before it is trusted.
enum class Verify : std::uint8_t {
  checksums,  // all structure, the digests of all tables, a CRC of every block of the weights
  digests,    // also the SHA-256 of the weights: what `rtai verify` does
};

/// Opens an engine file: maps it, checks it, and points into it.
///
/// Errors: not_found, io, invalid_input (not an engine file), unsupported (another format version,
/// with how to rebuild it), corrupt (anything that does not fit, with the byte offset).
Result<Engine> open(const std::filesystem::path& path, Verify verify = Verify::checksums);

/// The same, but read into memory of its own, which has huge pages: weights that are streamed from
/// memory come faster (BERT-base, 16 tokens: a tenth of the time, Zen 4), and what becomes of the
/// file does no harm. It takes longer, and processes do not share it. Errors: also device, for want
/// of memory.
Result<Engine> read(const std::filesystem::path& path, Verify verify = Verify::checksums);

/// The same for bytes in memory, which `storage` keeps alive.
Result<Engine> parse(std::span<const std::byte> bytes,
                     std::shared_ptr<const void> storage,
                     Verify verify = Verify::checksums);

/// The file of an engine. Equal engines give equal bytes.
///
/// Errors: internal if the program does not verify, or what is to be packed does not fit; device if
/// there is not enough memory.
Result<std::vector<std::byte>> serialize(const Engine& engine);

/// Writes the file whole or not at all.
///
/// Errors: as serialize; io.
Result<void> save(const Engine& engine, const std::filesystem::path& path);

/// Bytes that `file` begins with, so that commands can tell an engine from a model.
bool looks_like_engine(std::span<const std::byte> bytes);

}  // namespace rtai::engine
