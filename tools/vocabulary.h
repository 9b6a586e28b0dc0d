// Which tokens a model must know, and the tokenizer of those alone.
#pragma once

#include "runtime/base/dtype.h"
#include "runtime/base/result.h"
#include "runtime/text/tokenizer.h"

#include <cstdint>
#include <span>
#include <vector>

namespace rtai::tools {

/// The ids, ascending, that must stay so that every text can still be read: special and added
/// tokens, what was `seen` in texts, every character that is a piece by itself, and every piece
/// with a character that is not.
///
/// A word whose characters are pieces, both alone and as a continuation, never becomes unknown:
/// where its longest piece is gone, a shorter one stands in for it.
///
/// Errors: unsupported unless the tokenizer is WordPiece.
Result<std::vector<Index>> needed_tokens(const text::Tokenizer& tokenizer,
                                         std::span<const std::int32_t> seen);

/// The tokenizer that knows the `kept` ids (ascending) alone; kept[i] becomes id i.
///
/// Errors: unsupported unless the tokenizer is WordPiece; as Tokenizer::create.
Result<text::Tokenizer> narrow_tokenizer(const text::Tokenizer& tokenizer,
                                         std::span<const Index> kept);

}  // namespace rtai::tools
