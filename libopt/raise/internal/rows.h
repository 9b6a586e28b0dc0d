// What can be done to rows without a node of their own: choosing columns, adding a vector, scaling.
#pragma once

#include "libopt/raise/internal/reading.h"

#include <optional>
#include <vector>

namespace rtai::raise {

/// How many columns the features of the axes stand for; nothing if a column occurs twice or one is
/// left out between others.
std::optional<Index> dense_columns(const Axes& axes);

/// The term that has just the columns [begin, begin + count) of `src`.
TermId take_columns(Reading& reading, TermId src, Index begin, Index count);

/// The same rows as all columns of a term, not scaled. Errors: unsupported if the view repeats or
/// leaves out columns, or the scale has no place to go.
Result<Rows> settle(Reading& reading, const Rows& rows);

/// A value that is known, as a number for each column of the term that rows show.
struct ByColumn {
  std::vector<double> values;  // one for each column of the term; 0 where the view does not look
  bool uniform = true;         // all that were looked at are the same
  double first = 0;            // the first of them
  std::optional<double> at_padding = {};    // if it is the same at all padded tokens
  std::optional<ir::Tensor> constant = {};  // `values` as the graph stores them, to be shared
};

/// Nothing if `value`, broadcast to the axes of `rows`, differs between real tokens or sequences.
std::optional<ByColumn> by_column(const Reading& reading, const Rows& rows, ir::ValueId value);

/// rows + vector, the vector given as by_column(). Errors: unsupported if the term behind the rows
/// has no bias that could take it.
Result<Rows> plus(Reading& reading, const Rows& rows, const ByColumn& vector);

/// rows * vector. Errors: as plus().
Result<Rows> times(Reading& reading, const Rows& rows, const ByColumn& vector);

}  // namespace rtai::raise
