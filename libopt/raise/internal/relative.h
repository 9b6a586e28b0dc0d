// Attention that depends on how far key and query are apart.
#pragma once

#include "libopt/raise/internal/mask.h"
#include "libopt/raise/internal/reading.h"

namespace rtai::raise {

/// The same with queries and keys in each other's place.
Axes turned(const Axes& axes);
Scores turned(const Scores& scores);

/// Of each lookup the entry that `index` chooses for each other token: gather_elements.
Result<Meaning> choose_entries(const Reading& reading, const ir::Node& node);

/// The sum of parts, or of scores and parts. Errors: unsupported if their axes differ.
Result<Meaning> add_relative(const RelativeScores& a, const RelativeScores& b);
Result<Meaning> add_relative(const Scores& scores, const RelativeScores& relative);

/// Lookups or parts times a number.
Meaning times(Meaning relative, double factor);

/// What softmax(scores) adds by distance, for the longest sequence the model takes.
///
/// Errors: unsupported if it depends on anything but the distance.
Result<RelativeTables> relative_tables(Reading& reading,
                                       const Scores& scores,
                                       const MaskMeaning& mask);

}  // namespace rtai::raise
