#include "libopt/raise/internal/reading.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::raise {

bool Reading::is_known(ir::ValueId id) const {
  return id != ir::kNoValue && std::all_of(probes().begin(), probes().end(),
                                           [&](const Probe& p) { return p.is_known(id); });
}

const ir::Tensor* Reading::constant(ir::ValueId id) const {
  if (id == ir::kNoValue) return nullptr;
  if (const ir::Tensor* constant = graph_.constant(id)) return constant;
  if (!is_known(id)) return nullptr;
  const ir::Tensor* first = probes()[0].contents(id);
  const bool same = std::all_of(probes().begin() + 1, probes().end(),
                                [&](const Probe& p) { return *p.contents(id) == *first; });
  return same ? first : nullptr;
}

std::optional<double> Reading::number(ir::ValueId id) const {
  const ir::Tensor* tensor = constant(id);
  return tensor != nullptr && tensor->elements() == 1 ? std::optional(tensor->value(0))
                                                      : std::nullopt;
}

std::vector<ir::Dims> Reading::dims(ir::ValueId id) const {
  std::vector<ir::Dims> dims;
  for (const Probe& probe : probes())
    dims.push_back(probe.dims(id));
  return dims;
}

std::string Reading::describe(ir::ValueId id) const {
  if (id == ir::kNoValue) return "nothing";
  struct Describer {
    std::string operator()(const Plain&) const { return ""; }
    std::string operator()(const Opaque&) const { return ""; }
    std::string operator()(const Rows& rows) const { return "rows " + to_string(rows.axes); }
    std::string operator()(const Lookups& lookups) const {
      return "products of rows and a table " + to_string(lookups.axes);
    }
    std::string operator()(const RelativeScores& scores) const {
      return "relative attention scores " + to_string(scores.axes);
    }
    std::string operator()(const Scores& scores) const {
      return "attention scores " + to_string(scores.axes);
    }
    std::string operator()(const Probabilities& p) const {
      return "attention probabilities " + to_string(p.axes);
    }
    std::string operator()(const NotANumber&) const { return "places without a number"; }
    std::string operator()(const RowStatistic& s) const {
      return "a statistic of rows " + to_string(s.axes);
    }
  };
  std::string text = std::visit(Describer{}, meaning(id));
  if (!text.empty()) return text;
  if (const ir::Tensor* tensor = constant(id)) {
    return fmt::format("a constant {}{}", dtype_name(tensor->dtype()),
                       ir::to_string(tensor->dims()));
  }
  const Probe& probe = probes()[0];
  return fmt::format("{} {}{} (batch {}, seq {})",
                     is_known(id) ? "a value of masks and shapes" : "a value not understood",
                     dtype_name(probe.dtype(id)), ir::to_string(probe.dims(id)), probe.batch,
                     probe.length);
}

Axis Reading::batch_axis() const {
  return interface().batch == Index{1} ? Axis{} : Axis{kBatch};
}

TermId Reading::add(TermKind kind, Index columns, std::string name) {
  terms_.push_back({.kind = std::move(kind), .columns = columns, .name = std::move(name)});
  return static_cast<TermId>(terms_.size() - 1);
}

}  // namespace rtai::raise
