// The axes of a tensor of hidden states as products of named factors.
//
// [batch * heads, seq, head_dim] has three axes: {batch, feature 12 (stride 64)}, {token} and
// {feature 64 (stride 1)}. A reshape groups the factors in another way, a transpose reorders the
// axes; the rows themselves stay where they are, packed, one for each token.
#pragma once

#include "libopt/ir/tensor.h"
#include "libopt/raise/trace.h"

#include <optional>
#include <span>
#include <vector>

namespace rtai::raise {

enum class Unit : std::uint8_t {
  batch,
  token,    // the row of a sequence
  key,      // in attention scores: the token that is looked at
  feature,  // a column of the row; in attention scores: the head
};

struct Atom {
  Unit unit = Unit::feature;
  Index size = 0;    // of a feature
  Index stride = 0;  // of a feature: columns from one to the next; 0 repeats the same column

  friend bool operator==(const Atom&, const Atom&) = default;
};

inline constexpr Atom kBatch{.unit = Unit::batch};
inline constexpr Atom kToken{.unit = Unit::token};
inline constexpr Atom kKey{.unit = Unit::key};
constexpr Atom feature(Index size, Index stride) {
  return {.unit = Unit::feature, .size = size, .stride = stride};
}

/// The product of its atoms, the last one varying fastest; none: an axis of size 1.
using Axis = std::vector<Atom>;
using Axes = std::vector<Axis>;

Index size_of(const Atom& atom, const Probe& probe);
Index size_of(const Axis& axis, const Probe& probe);
bool has(const Axes& axes, Unit unit);

/// "[batch, 12, seq, 64]"
std::string to_string(const Axes& axes);

/// The same elements in the same order under other dimensions, given as those of each probe.
/// Nothing if an atom would have to be cut that is not a feature.
std::optional<Axes> regroup(const Axes& axes,
                            std::span<const ir::Dims> dims,
                            std::span<const Probe> probes);

/// Repeats axes of size 1 to the dimensions of each probe; axes are added in front. Nothing if an
/// axis would have to be repeated along tokens or by something that is not known.
std::optional<Axes> expand(const Axes& axes,
                           std::span<const ir::Dims> dims,
                           std::span<const Probe> probes);

/// The columns that the atoms of features of `axis` stand for, in order; nothing if it has others.
std::optional<std::vector<Index>> columns_of(const Axis& axis);

/// Where an element of a tensor stands.
struct Place {
  Index batch = 0;
  Index token = 0;
  Index key = 0;
  Index feature = 0;  // the column, from the offset of the view
};

/// The place that each index of `axis` stands for; the place of an element is the sum over axes.
std::vector<Place> places_of(const Axis& axis, const Probe& probe);

/// Calls f(place, i) for every place of `axes`; i is the element of a tensor of `dims` that is
/// broadcast to them. `dims` has no more axes and each is 1 or that of `axes`.
template <class F>
void for_each_place(const Axes& axes, const Probe& probe, const ir::Dims& dims, F&& f) {
  std::vector<std::vector<Place>> places;
  for (const Axis& axis : axes)
    places.push_back(places_of(axis, probe));
  std::vector<Index> strides(axes.size(), 0);
  Index stride = 1;
  for (std::size_t i = 1; i <= dims.size(); ++i) {
    const Index dim = dims[dims.size() - i];
    strides[axes.size() - i] = dim == 1 ? 0 : stride;
    stride *= dim;
  }
  const auto walk = [&](const auto& self, std::size_t axis, Place place, Index element) -> void {
    if (axis == axes.size()) return f(place, element);
    for (std::size_t i = 0; i < places[axis].size(); ++i) {
      const Place& step = places[axis][i];
      self(self, axis + 1,
           {.batch = place.batch + step.batch,
            .token = place.token + step.token,
            .key = place.key + step.key,
            .feature = place.feature + step.feature},
           element + static_cast<Index>(i) * strides[axis]);
    }
  };
  walk(walk, 0, {}, 0);
}

}  // namespace rtai::raise
