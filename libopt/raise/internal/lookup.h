// Tables read by token ids, segments or positions.
#pragma once

#include "libopt/raise/internal/reading.h"

#include <optional>

namespace rtai::raise {

/// What an index that is known stands for at every real token.
struct IndexMeaning {
  enum class Kind : std::uint8_t { ids, segments, positions };
  Kind kind;
  Index offset = 0;  // positions: index = position + offset
  Axes axes;
};

/// Nothing for an index that is constant or stands for none of them. `indices` has the elements in
/// each probe.
std::optional<IndexMeaning> index_meaning(const Reading& reading,
                                          std::span<const ir::Tensor> indices);

/// A value that is known and differs only from position to position, as a table [length, columns]
/// for rows of `axes`. Only where the file prescribes the length.
std::optional<ir::Tensor> position_table(const Reading& reading,
                                         const Rows& rows,
                                         ir::ValueId value);

/// The sum of two embeddings that use different tables.
std::optional<EmbeddingTerm> merge(const EmbeddingTerm& a, const EmbeddingTerm& b);

}  // namespace rtai::raise
