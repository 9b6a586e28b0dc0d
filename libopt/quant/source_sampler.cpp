#include "libopt/quant/source_sampler.h"

#include <algorithm>
#include <cmath>

namespace rtai::quant {

SourceSampler::SourceSampler(Index rows, std::size_t sources, Index kept)
    : step_(std::max<Index>(1, (rows + kept - 1) / kept)), sources_(sources) {}

void SourceSampler::add(std::span<const ir::Tensor> values) {
  for (std::size_t s = 0; s < sources_.size(); ++s) {
    Source& source = sources_[s];
    const auto k = static_cast<std::size_t>(values[s].dim(1));
    const std::span<const float> all = values[s].data<float>();
    source.absmax.resize(k, 0.0f);
    for (Index r = 0; r < values[s].dim(0); ++r, ++source.seen) {
      const std::span<const float> row = all.subspan(static_cast<std::size_t>(r) * k, k);
      for (std::size_t j = 0; j < k; ++j) {
        source.absmax[j] = std::max(source.absmax[j], std::fabs(row[j]));
        source.is_finite = source.is_finite && std::isfinite(row[j]);
      }
      if (source.seen % step_ == 0) source.rows.insert(source.rows.end(), row.begin(), row.end());
    }
  }
}

Result<SourceRows> SourceSampler::take(std::size_t source) {
  Source& from = sources_[source];
  if (from.rows.empty()) return Error{ErrorCode::invalid_input, "no calibration text reaches it"};
  if (!from.is_finite) {
    return Error{ErrorCode::invalid_input, "the calibration texts make NaN or infinity here"};
  }
  const Index k = std::ssize(from.absmax);
  SourceRows taken{.rows = ir::Tensor::from<float>({std::ssize(from.rows) / k, k}, from.rows),
                   .absmax = std::move(from.absmax)};
  from = {};
  return taken;
}

}  // namespace rtai::quant
