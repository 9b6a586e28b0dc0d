// What the inputs of an imported encoder are for, found by where they lead.
#pragma once

#include "libopt/ir/graph.h"

#include <optional>
#include <string_view>
#include <vector>

namespace rtai::raise {

enum class Role : std::uint8_t { ids, mask, segments, positions, hidden, unused };

/// "token ids", "mask", ...
std::string_view to_string(Role role);

struct InputRole {
  Role role = Role::unused;
  /// ids, segments, positions: values are below this, the rows of the table that they select from.
  /// hidden: the width.
  Index limit = 0;
};

/// The inputs of an encoder and the sizes its file prescribes.
struct Interface {
  std::vector<InputRole> inputs;  // one for each graph input, in order
  std::optional<Index> batch;     // absent: any
  std::optional<Index> length;    // tokens of a padded sequence; absent: any
  bool has_choices = false;       // [batch, choices, seq]: multiple choice, any number of choices

  /// Which input has `role`.
  std::optional<std::size_t> find(Role role) const;
};

/// Integer inputs that select rows of constant tables are token ids, segments or positions; real
/// ones of [batch, seq, width] are hidden states, where a graph begins behind the embeddings; the
/// one input left is the mask.
///
/// Errors: unsupported, naming an input that is neither, or the role that nothing fills; sizes
/// declared so large that the inputs themselves would take the memory.
Result<Interface> recognize_inputs(const ir::Graph& graph);

}  // namespace rtai::raise
