#include "libopt/quant/ladder.h"

#include "libopt/ir/text.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <string>

namespace rtai::quant {
namespace {

/// Three nodes; the attribute "form" says on which rung each stands.
struct Ladder {
  ir::Graph graph = ir::parse(R"(
    graph (%x: f32[tokens, 2]) {
      %a = activation(%x) {kind = "relu"}
      %b = activation(%a) {kind = "relu"}
      %c = activation(%b) {kind = "relu"}
      return %c
    })")
                        .value();
  std::vector<Site> sites;

  Ladder() {
    const std::vector<ir::NodeId> order(graph.order().begin(), graph.order().end());
    for (const ir::NodeId id : order) {
      Site site{.node = id, .rungs = {}};
      for (const int form : {0, 1, 2}) {
        site.rungs.push_back(rung_of(graph, id, std::to_string(form)));
        site.rungs.back().attributes.set("form", std::int64_t{form});
      }
      put(graph, site, 0);
      sites.push_back(std::move(site));
    }
  }

  static std::int64_t form(const ir::Graph& graph, std::size_t i) {
    return graph.node(graph.order()[i]).attributes().integer("form", -1);
  }

  /// What each node adds to the divergence on each rung.
  std::vector<std::vector<double>> losses = {{1, 1, 0}, {8, 2, 0}, {4, 3, 0}};

  Result<double> run(double limit) {
    for (std::size_t i = 0; i < sites.size(); ++i)
      sites[i].sensitivity = losses[i][0];
    return fall_back(
        graph, sites, limit,
        [&](const ir::Graph& candidate) -> Result<double> {
          double sum = 0;
          for (std::size_t i = 0; i < sites.size(); ++i)
            sum += losses[i][static_cast<std::size_t>(form(candidate, i))];
          return sum;
        },
        [&](const Site& site, std::size_t rung) -> Result<double> {
          return losses[static_cast<std::size_t>(&site - sites.data())][rung];
        },
        silent_log());
  }
};

TEST_CASE("nothing moves while the outputs are near enough") {
  Ladder ladder;
  CHECK(ladder.run(13).value() == 13);
  CHECK(Ladder::form(ladder.graph, 1) == 0);
}

TEST_CASE("the most sensitive site moves first, one rung at a time") {
  Ladder ladder;
  CHECK(ladder.run(7).value() == 7);
  CHECK(Ladder::form(ladder.graph, 1) == 1);
  CHECK(ladder.sites[1].at == 1);
  CHECK(Ladder::form(ladder.graph, 0) == 0);
  CHECK(Ladder::form(ladder.graph, 2) == 0);
}

TEST_CASE("a cheap move comes before a dear one that helps a little more") {
  Ladder ladder;
  ladder.sites[0].times = ladder.sites[2].times = {1, 2, 3};
  ladder.sites[1].times = {1, 101, 201};
  CHECK(ladder.run(12).value() == 12);
  CHECK(Ladder::form(ladder.graph, 2) == 1);
  CHECK(Ladder::form(ladder.graph, 1) == 0);
}

TEST_CASE("a rung that does not help is passed over") {
  Ladder ladder;
  CHECK(ladder.run(0).value() == 0);
  for (const std::size_t i : {0, 1, 2})
    CHECK(Ladder::form(ladder.graph, i) == 2);
}

TEST_CASE("where no move helps all go to their last rung, and what is left is returned") {
  Ladder ladder;
  ladder.losses[0] = {5, 5, 5};
  CHECK(ladder.run(1).value() == 5);
  CHECK(Ladder::form(ladder.graph, 0) == 2);
}

TEST_CASE("many sites that must move take few runs of the model, and no more go than it takes") {
  constexpr int kSites = 120;
  std::string text = "graph (%n0: f32[tokens, 2]) {\n";
  for (int i = 1; i <= kSites; ++i)
    text += "  %n" + std::to_string(i) + " = activation(%n" + std::to_string(i - 1) +
            ") {kind = \"relu\"}\n";
  ir::Graph graph = ir::parse(text + "  return %n" + std::to_string(kSites) + "\n}").value();
  const std::vector<ir::NodeId> order(graph.order().begin(), graph.order().end());
  std::vector<Site> sites;
  for (std::size_t i = 0; i < order.size(); ++i) {
    Site site{.node = order[i], .rungs = {}, .sensitivity = 1 + 1e-3 * static_cast<double>(i)};
    for (const int form : {0, 1, 2}) {
      site.rungs.push_back(rung_of(graph, order[i], std::to_string(form)));
      site.rungs.back().attributes.set("form", std::int64_t{form});
    }
    put(graph, site, 0);
    sites.push_back(std::move(site));
  }
  // Every site adds 1 until it stands on its last rung.
  int runs = 0;
  const auto divergence = [&](const ir::Graph& candidate) -> Result<double> {
    ++runs;
    double sum = 0;
    for (const ir::NodeId id : order)
      sum += candidate.node(id).attributes().integer("form", -1) == 2 ? 0 : 1;
    return sum;
  };
  const double limit = GENERATE(0, 1, 20, 41.5, 77, 119);
  const auto left = fall_back(
      graph, sites, limit, divergence, [](const Site&, std::size_t) -> Result<double> { return 1; },
      silent_log());
  CHECK(left.value() == std::floor(limit));
  CHECK(runs <= 32);
  CHECK(std::ranges::count(sites, 2u, &Site::at) == kSites - static_cast<int>(limit));
  CHECK(divergence(graph).value() == left.value());
}

}  // namespace
}  // namespace rtai::quant
