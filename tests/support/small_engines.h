// Engines of a few kilobytes with every section and every operator, for tests that change them.
#pragma once

#include "libopt/ir/text.h"
#include "libopt/lower/lower.h"
#include "runtime/engine/engine.h"
#include "runtime/text/tokenizer.h"
#include "tests/support/models.h"

#include <cstring>
#include <memory>
#include <vector>

namespace rtai::testing {

inline std::vector<std::byte> small_engine_file(const ir::Graph& graph) {
  engine::Engine engine = lower(graph).value();
  const std::vector<std::string> pieces = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b"};
  const std::vector<std::byte> tokenizer =
      text::Tokenizer::create(pieces, text::WordPieceSettings{}).value().serialize();
  engine.tokenizer = tokenizer;
  engine.labels = {"O", "B-x"};
  engine.metadata = {{"rtai_version", "0.1.0"}, {"task", "token-classification"}};
  return engine::serialize(engine).value();
}

/// embedding, layer_norm, linear, attention, add, activation; int8.
inline std::vector<std::byte> small_encoder_file() {
  return small_engine_file(make_int8_model({.layers = 1,
                                            .hidden = 8,
                                            .heads = 2,
                                            .head_dim = 4,
                                            .ffn = 8,
                                            .vocabulary = 6,
                                            .positions = 5,
                                            .labels = 2}));
}

/// The same with FFN layers and words in 4 bits: a group of 8, or two of 32, to a row.
inline std::vector<std::byte> small_int4_file() {
  return small_engine_file(make_int4_model({.layers = 1,
                                            .hidden = 8,
                                            .heads = 2,
                                            .head_dim = 4,
                                            .ffn = 64,
                                            .vocabulary = 70,
                                            .positions = 5,
                                            .labels = 2}));
}

/// The operators that encoders lack.
inline constexpr const char* kRowsGraph = R"(graph (%x: f32[tokens, 4]) {
    %a = add(%x, %x)
    %b = columns(%a) {begin = 1, end = 3}
    %c = mean_pool(%b)
    %d = l2_normalize(%c)
    %e = first_token(%a)
    return %d, %e
  })";
inline std::vector<std::byte> small_rows_file() {
  return small_engine_file(ir::parse(kRowsGraph).value());
}

/// Bytes on a 64-byte boundary, as a mapped file has them, with nothing behind the last one.
class AlignedCopy {
 public:
  explicit AlignedCopy(std::span<const std::byte> bytes) : size_(bytes.size()) {
    void* memory = nullptr;
    if (::posix_memalign(&memory, 64, size_ == 0 ? 1 : size_) != 0) std::abort();
    data_.reset(static_cast<std::byte*>(memory));
    if (size_ > 0) std::memcpy(memory, bytes.data(), size_);
  }
  std::span<const std::byte> span() const { return {data_.get(), size_}; }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> data_;
  std::size_t size_;
};

inline Result<engine::Engine> parse_copy(std::span<const std::byte> bytes,
                                         engine::Verify level = engine::Verify::checksums) {
  const auto copy = std::make_shared<const AlignedCopy>(bytes);
  return engine::parse(copy->span(), copy, level);
}

}  // namespace rtai::testing
