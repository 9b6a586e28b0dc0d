#include "libopt/quant/ladder.h"

#include "libopt/ir/text.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
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
        site.rungs.push_back(rung_of(graph, id, std::to_string(form), 8 << form));
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

/// `count` nodes in a row, each on the first of three rungs of these bits.
struct LongLadder {
  ir::Graph graph;
  std::vector<Site> sites;

  LongLadder(int count, const std::array<int, 3>& bits) : graph(chain(count)) {
    for (const ir::NodeId id : std::vector(graph.order().begin(), graph.order().end())) {
      Site site{
          .node = id, .rungs = {}, .sensitivity = 1 + 1e-3 * static_cast<double>(sites.size())};
      for (const int form : {0, 1, 2}) {
        site.rungs.push_back(
            rung_of(graph, id, std::to_string(form), bits[static_cast<std::size_t>(form)]));
        site.rungs.back().attributes.set("form", std::int64_t{form});
      }
      put(graph, site, 0);
      sites.push_back(std::move(site));
    }
  }

  static ir::Graph chain(int count) {
    std::string text = "graph (%n0: f32[tokens, 2]) {\n";
    for (int i = 1; i <= count; ++i) {
      text += "  %n" + std::to_string(i) + " = activation(%n" + std::to_string(i - 1) +
              ") {kind = \"relu\"}\n";
    }
    return ir::parse(text + "  return %n" + std::to_string(count) + "\n}").value();
  }

  /// The sum of what nodes add on their rungs.
  static double sum(const ir::Graph& of, const std::array<double, 3>& losses) {
    double sum = 0;
    for (const ir::NodeId id : of.order())
      sum += losses[static_cast<std::size_t>(of.node(id).attributes().integer("form", -1))];
    return sum;
  }
};

constexpr int kMany = 120;

TEST_CASE("many sites that must move take few runs of the model, and no more go than it takes") {
  LongLadder ladder(kMany, {8, 8, 32});
  // Every site adds 1 until it stands on its last rung.
  int runs = 0;
  const auto divergence = [&](const ir::Graph& candidate) -> Result<double> {
    ++runs;
    return LongLadder::sum(candidate, {1, 1, 0});
  };
  const double limit = GENERATE(0, 1, 20, 41.5, 77, 119);
  const auto left = fall_back(
      ladder.graph, ladder.sites, limit, divergence,
      [](const Site&, std::size_t) -> Result<double> { return 1; }, silent_log());
  CHECK(left.value() == std::floor(limit));
  CHECK(runs <= 32);
  CHECK(std::ranges::count(ladder.sites, 2u, &Site::at) == kMany - static_cast<int>(limit));
  CHECK(divergence(ladder.graph).value() == left.value());
}

TEST_CASE(
    "of many sites in 4 bits as many as must go to 8, and further only if that is not enough") {
  LongLadder ladder(kMany, {4, 8, 32});
  // Of the 1 that a site adds, 8 bits leave an eighth.
  int runs = 0;
  const auto divergence = [&](const ir::Graph& candidate) -> Result<double> {
    ++runs;
    return LongLadder::sum(candidate, {1, 0.125, 0});
  };
  const double limit = GENERATE(50, 16, 15, 10, 0);
  const auto left = fall_back(
      ladder.graph, ladder.sites, limit, divergence,
      [](const Site&, std::size_t rung) -> Result<double> { return rung == 1 ? 0.125 : 0; },
      silent_log());
  CHECK(left.value() <= limit);
  CHECK(left.value() > limit - 0.875);
  CHECK(runs <= 42);
  const auto wide = std::ranges::count(ladder.sites, 2u, &Site::at);
  CHECK(wide == (limit >= 15 ? 0 : static_cast<int>((15 - limit) * 8)));
}

}  // namespace
}  // namespace rtai::quant
