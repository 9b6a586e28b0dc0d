// Model files of sentencepiece: spiece.model, sentencepiece.bpe.model, spm.model.
#pragma once

#include "runtime/base/result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace rtai::tools {

/// What a tokenizer needs of the message ModelProto.
struct SentencePieceFile {
  enum class PieceType : std::uint8_t {
    normal = 1,
    unknown = 2,
    control = 3,
    user_defined = 4,
    unused = 5,
    byte = 6
  };
  struct Piece {
    std::string text;
    float score = 0;
    PieceType type = PieceType::normal;
  };
  enum class Algorithm : std::uint8_t { unigram = 1, bpe = 2, word = 3, character = 4 };

  std::vector<Piece> pieces;  // by id
  Algorithm algorithm = Algorithm::unigram;
  std::size_t unknown_id = 0;
  std::string charsmap;  // the precompiled rules of its normalizer; empty: none
};

/// Errors: invalid_input if the bytes are no such message, or one without pieces.
/// Source: sentencepiece_model.proto of sentencepiece 0.2; protobuf's wire format.
Result<SentencePieceFile> parse_sentencepiece(std::span<const std::byte> bytes);

}  // namespace rtai::tools
