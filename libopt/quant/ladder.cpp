#include "libopt/quant/ladder.h"

#include <fmt/format.h>

#include <algorithm>

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

Rung rung_of(const ir::Graph& graph, ir::NodeId node, std::string name) {
  const ir::Node& as_it_is = graph.node(node);
  return {.name = std::move(name),
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

Result<double> fall_back(
    ir::Graph& graph,
    std::vector<Site>& sites,
    double limit,
    const Divergence& together,
    const std::function<Result<double>(const Site& site, std::size_t rung)>& alone,
    Log& log) {
  RTAI_TRY(double divergence, together(graph));
  std::vector<std::size_t> next;  // the rung that each site would move to
  for (const Site& site : sites)
    next.push_back(site.at + 1);
  const auto promise = [&](std::size_t i) {
    return next[i] < sites[i].rungs.size() ? sites[i].sensitivity / price(sites[i], next[i]) : -1;
  };
  while (!(divergence <= limit)) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < sites.size(); ++i)
      if (promise(i) > promise(best)) best = i;
    if (sites.empty() || promise(best) < 0) break;
    Site& site = sites[best];
    const std::size_t to = next[best]++;
    put(graph, site, to);
    RTAI_TRY(const double left, together(graph));
    if (!(left < divergence)) {
      put(graph, site, site.at);
      continue;
    }
    log.warning(fmt::format("'{}' is {} instead of {}{}: divergence {:.2g} -> {:.2g}",
                            graph.node(site.node).name(), site.rungs[to].name,
                            site.rungs[site.at].name, price_text(site, to), divergence, left));
    divergence = left;
    site.at = to;
    RTAI_TRY(site.sensitivity, alone(site, to));
  }
  return divergence;
}

}  // namespace rtai::quant
