// Rows that nothing reads are not computed.
#pragma once

#include "runtime/engine/program.h"

namespace rtai::exec {

/// The same program with what only the first token of each sequence needs computed for that row
/// alone: first_token moves up through row-local operators to the last attention, which answers
/// one query for each sequence then. Every output keeps its bits.
///
/// A classifier that reads [CLS] so skips the output projection, the feed-forward layer and the
/// norms of its last layer for all other tokens.
engine::Program without_unread_rows(const engine::Program& program);

}  // namespace rtai::exec
