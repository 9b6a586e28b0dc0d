// Records a device plan: turns launches and slots into kernel arguments.
#pragma once

#include "runtime/exec/device_plan.h"
#include "runtime/exec/internal/device_weights.h"
#include "runtime/exec/tile_tuner.h"

#include <optional>

namespace rtai::exec {

/// Sizes of a batch, or of the largest that a graph serves.
struct BatchSize {
  Index tokens = 0;
  Index sequences = 0;

  /// Tiles of queries, at most: every sequence may leave one that is not full.
  Index tiles() const { return tokens / cuda::kAttentionQueries + sequences; }
  friend auto operator<=>(const BatchSize&, const BatchSize&) = default;
};

/// What a run reads and where blocks meet, on the device, for batches up to a capacity.
struct DeviceInputs {
  // counts[0]: tokens, [1]: sequences, [2]: tiles of all queries
  const std::int32_t* counts = nullptr;
  const std::int32_t* ids = nullptr;
  const std::int32_t* positions = nullptr;
  const std::int32_t* segments = nullptr;
  const std::int32_t* offsets = nullptr;             // [sequences + 1]
  const cuda::AttentionTile* tiles = nullptr;        // of all queries
  const cuda::AttentionTile* first_tiles = nullptr;  // of the first query of each sequence
};

/// Everything that is the same for every graph of a session.
struct DeviceRun {
  const Plan* plan = nullptr;
  const DevicePlan* device_plan = nullptr;
  const DeviceWeights* weights = nullptr;
  const cuda::DeviceInfo* device = nullptr;
  BatchSize capacity;
  DeviceInputs inputs;
  std::byte* arena = nullptr;
  // meeting_bytes: the fault word, then for each launch where its blocks meet. All zeros before a
  // run.
  std::byte* meeting = nullptr;
  const TileTuner* tuner = nullptr;
};

/// Bytes of DeviceRun::meeting.
std::size_t meeting_bytes(const DevicePlan& plan, BatchSize capacity);

/// Launch `i`, if it is a layer that TileTuner tunes: blocks of whose rows do not meet.
std::optional<TileTuner::Layer> tunable_layer(const DeviceRun& run, std::size_t i, BatchSize bound);

/// Puts launch `i` on the device for batches up to `bound`.
void record_launch(const DeviceRun& run, std::size_t i, BatchSize bound, cuda::Recorder& recorder);

}  // namespace rtai::exec
