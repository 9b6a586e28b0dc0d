#include "libopt/quant/ladder.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <span>

namespace rtai::quant {
namespace {

/// What a move costs at least, so that a free one does not outweigh everything: microseconds.
constexpr double kLeastPrice = 0.5;

double price(const Site& site, std::size_t to) {
  if (site.times.empty()) return 1;
  return std::max(site.times[to] - site.times[site.at], kLeastPrice);
}

std::string price_text(const Site& site, std::size_t to) {
  if (site.times.empty()) return "";
  return fmt::format(", {:+.0f} us", site.times[to] - site.times[site.at]);
}

}  // namespace

Rung rung_of(const ir::Graph& graph, ir::NodeId node, std::string name, int bits) {
  const ir::Node& as_it_is = graph.node(node);
  return {.name = std::move(name),
          .bits = bits,
          .inputs = {as_it_is.inputs().begin(), as_it_is.inputs().end()},
          .attributes = as_it_is.attributes()};
}

void put(ir::Graph& graph, const Site& site, std::size_t rung) {
  const Rung& wanted = site.rungs[rung];
  graph.resize_inputs(site.node, wanted.inputs.size());
  for (std::size_t i = 0; i < graph.node(site.node).inputs().size(); ++i)
    graph.set_input(site.node, i, i < wanted.inputs.size() ? wanted.inputs[i] : ir::kNoValue);
  graph.node(site.node).attributes() = wanted.attributes;
}

namespace {

/// Moves that are tried one by one; each is a run of the whole model.
constexpr int kMostSingleMoves = 16;

/// Moves of sites from rung to rung, what they lead to, and the words for it.
class Climb {
 public:
  Climb(ir::Graph& graph, std::vector<Site>& sites, const Divergence& together, Log& log)
      : graph_(graph), sites_(sites), together_(together), log_(log) {}

  Result<void> begin() {
    RTAI_TRY(divergence_, together_(graph_));
    return {};
  }
  double divergence() const { return divergence_; }

  /// Moves the site that promises most for its price, while that is more than `limit` away.
  Result<void> one_by_one(
      double limit,
      const std::function<Result<double>(const Site& site, std::size_t rung)>& alone) {
    std::vector<std::size_t> next;  // the rung that each site would move to
    for (const Site& site : sites_)
      next.push_back(site.at + 1);
    const auto promise = [&](std::size_t i) {
      return next[i] < sites_[i].rungs.size() ? sites_[i].sensitivity / price(sites_[i], next[i])
                                              : -1;
    };
    for (int move = 0; move < kMostSingleMoves && !(divergence_ <= limit); ++move) {
      std::size_t best = 0;
      for (std::size_t i = 1; i < sites_.size(); ++i)
        if (promise(i) > promise(best)) best = i;
      if (sites_.empty() || promise(best) < 0) break;
      Site& site = sites_[best];
      const std::size_t to = next[best]++;
      put(graph_, site, to);
      RTAI_TRY(const double left, together_(graph_));
      if (!(left < divergence_)) {
        put(graph_, site, site.at);
        continue;
      }
      tell(site, to, left);
      divergence_ = left;
      site.at = to;
      RTAI_TRY(site.sensitivity, alone(site, to));
    }
    return {};
  }

  /// Moves sites to a rung of so many bits, the most sensitive first, each time twice as many; of
  /// the last ones only as many as it takes. Moves that do not help one by one, because errors
  /// cancelled, do so together.
  Result<void> by_groups(double limit, int bits) {
    std::vector<Site*> waiting;
    for (Site& site : sites_) {
      if (rung_with(site, bits) != site.at) waiting.push_back(&site);
    }
    std::ranges::stable_sort(waiting, std::greater(), &Site::sensitivity);
    std::span<Site* const> rest = waiting;
    for (std::size_t size = 1; !(divergence_ <= limit) && !rest.empty(); size *= 2) {
      const std::span<Site* const> group = rest.first(std::min(size, rest.size()));
      rest = rest.subspan(group.size());
      RTAI_TRY(double left, with_first(group, group.size(), bits));
      std::size_t needed = group.size();
      if (left <= limit) {
        std::size_t too_few = 0;
        while (needed - too_few > 1) {
          const std::size_t middle = (needed + too_few) / 2;
          RTAI_TRY(const double fewer, with_first(group, middle, bits));
          (fewer <= limit ? needed : too_few) = middle;
          if (fewer <= limit) left = fewer;
        }
        RTAI_TRY_VOID(with_first(group, needed, bits));
      }
      for (Site* site : group.first(needed)) {
        const std::size_t to = rung_with(*site, bits);
        tell(*site, to, left);
        site->at = to;
      }
      divergence_ = left;
    }
    return {};
  }

 private:
  /// The cheapest rung of at least so many bits, from where the site is on; the last if none has.
  static std::size_t rung_with(const Site& site, int bits) {
    std::size_t rung = site.at;
    while (rung + 1 < site.rungs.size() && site.rungs[rung].bits < bits)
      ++rung;
    return rung;
  }

  /// The divergence with the first `count` of a group on their rung of so many bits, the others
  /// where they are.
  Result<double> with_first(std::span<Site* const> group, std::size_t count, int bits) {
    for (std::size_t i = 0; i < group.size(); ++i)
      put(graph_, *group[i], i < count ? rung_with(*group[i], bits) : group[i]->at);
    return together_(graph_);
  }

  void tell(const Site& site, std::size_t to, double left) const {
    log_.warning(fmt::format("'{}' is {} instead of {}{}: divergence {:.2g} -> {:.2g}",
                             graph_.node(site.node).name(), site.rungs[to].name,
                             site.rungs[site.at].name, price_text(site, to), divergence_, left));
  }

  ir::Graph& graph_;
  std::vector<Site>& sites_;
  const Divergence& together_;
  Log& log_;
  double divergence_ = 0;
};

}  // namespace

Result<double> fall_back(
    ir::Graph& graph,
    std::vector<Site>& sites,
    double limit,
    const Divergence& together,
    const std::function<Result<double>(const Site& site, std::size_t rung)>& alone,
    Log& log) {
  Climb climb(graph, sites, together, log);
  RTAI_TRY_VOID(climb.begin());
  RTAI_TRY_VOID(climb.one_by_one(limit, alone));
  for (const int bits : {8, 32})
    RTAI_TRY_VOID(climb.by_groups(limit, bits));
  return climb.divergence();
}

}  // namespace rtai::quant
