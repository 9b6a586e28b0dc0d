#include "libopt/pass/pipeline.h"

#include "libopt/ir/ops.h"
#include "libopt/ir/text.h"

#include <catch2/catch.hpp>

namespace rtai {
namespace {

struct AddOptions {
  int times = 1;
  double factor = 0.5;
  bool loud = false;
  std::string word = "none";
  static constexpr auto fields() {
    return std::tuple{option("times", &AddOptions::times, Range{0, 9}, "how often"),
                      option("factor", &AddOptions::factor, Range{0, 1}, "a share"),
                      option("loud", &AddOptions::loud, "a switch"),
                      option("word", &AddOptions::word, "a text")};
  }
};

constexpr PassInfo kInfo = {.name = "add-activations",
                            .summary = "adds some",
                            .source = "-",
                            .exactness = Exactness::exact};

/// Appends activations until the graph has `times` of them.
class AddActivations final : public PassWith<AddOptions> {
 public:
  const PassInfo& info() const override { return kInfo; }
  Result<PassReport> run(ir::Graph& graph, PassContext&) override {
    if (std::ssize(graph.nodes_of(ir::Op::activation)) >= chosen().times) return PassReport{};
    RTAI_TRY(const ir::ValueId made, ir::append(graph, ir::Op::activation, {graph.outputs()[0]},
                                                {{"kind", std::string("relu")}}));
    graph.set_outputs({made});
    return PassReport{.changed = true, .counters = {{"added", 1}}};
  }
};

std::unique_ptr<Pass> make(std::string_view name) {
  return name == kInfo.name ? std::make_unique<AddActivations>() : nullptr;
}

ir::Graph small_graph() {
  return ir::parse("graph (%x: f32[tokens, 2]) { %y = add(%x, %x) return %y }").value();
}

Result<std::vector<PassRecord>> run(std::string_view pipeline,
                                    ir::Graph& graph,
                                    const PipelineOptions& options = {}) {
  PassContext context;
  return run_pipeline(pipeline, graph, context, make, options);
}

TEST_CASE("printing a parsed pipeline gives the same text") {
  for (const std::string_view text : {"a", "a,b", "a{x=1}", "a{ratio=0.25,word=some text},b",
                                      "repeat(a,b{x=1}){max=4},c", "repeat(repeat(a))"}) {
    CHECK(print_pipeline(parse_pipeline(text).value()) == text);
  }
}

TEST_CASE("mistakes in a pipeline are named with their column") {
  const auto message = [](std::string_view text) {
    const auto items = parse_pipeline(text);
    REQUIRE_FALSE(items);
    CHECK(items.error().code() == ErrorCode::invalid_input);
    return items.error().message();
  };
  CHECK(message("a,,b") == "pipeline, column 3: expected a name, found ',b'");
  CHECK(message("a{x}") == "pipeline, column 4: expected '=', found '}'");
  CHECK(message("a{x=1,x=2}") == "pipeline, column 9: expected 'x' only once, found '2}'");
  CHECK(message("a(b)") ==
        "pipeline, column 3: expected no '(': only repeat(...) has a body, found 'b)'");
  CHECK(message("repeat") == "pipeline, column 7: expected '(', found ''");
  CHECK(message("a b") == "pipeline, column 3: expected ',' or the end, found 'b'");
  const std::string deep =
      "repeat(repeat(repeat(repeat(repeat(repeat(repeat(repeat(repeat(repeat(a))))))))))";
  CHECK(message(deep).find("less nesting") != std::string::npos);
}

TEST_CASE("options outside their range or unknown are refused before any pass runs") {
  ir::Graph graph = small_graph();
  const std::string before = ir::print(graph);
  const auto message = [&](std::string_view pipeline) {
    const auto records = run(pipeline, graph);
    REQUIRE_FALSE(records);
    CHECK(records.error().code() == ErrorCode::invalid_input);
    return records.error().message();
  };
  CHECK(message("add-activations,add-activations{times=10}") ==
        "add-activations: option 'times': expected a whole number in [0, 9], found '10'");
  CHECK(message("add-activations,add-activations{times=1.5}") ==
        "add-activations: option 'times': expected a whole number in [0, 9], found '1.5'");
  CHECK(message("add-activations{loud=yes}") ==
        "add-activations: option 'loud': expected true or false, found 'yes'");
  CHECK(message("add-activations{size=1}") ==
        "add-activations: unknown option 'size'; known: times, factor, loud, word");
  CHECK(message("add-activations,subtract") == "unknown pass 'subtract'");
  CHECK(ir::print(graph) == before);
}

TEST_CASE("repeat goes on until nothing changes, at most max times") {
  ir::Graph graph = small_graph();
  CHECK(run("repeat(add-activations{times=5})", graph).value().size() == 6);
  CHECK(graph.nodes_of(ir::Op::activation).size() == 5);
  graph = small_graph();
  CHECK(run("repeat(add-activations{times=9}){max=3}", graph).value().size() == 3);
}

TEST_CASE("records say what a pass did and how large the graph was") {
  ir::Graph graph = small_graph();
  const std::vector<PassRecord> records = run("add-activations", graph).value();
  REQUIRE(records.size() == 1);
  CHECK(records[0].name == "add-activations");
  CHECK(records[0].report.changed);
  CHECK(records[0].report.counters[0].name == "added");
  CHECK(records[0].before.parameters == 0);
}

TEST_CASE("passes can be left out, and a pipeline can stop early") {
  ir::Graph graph = small_graph();
  CHECK(run("add-activations", graph, {.disabled = {"add-activations"}}).value().empty());
  const auto records = run("add-activations{times=2},add-activations{times=2}", graph,
                           {.stop_after = "add-activations"});
  CHECK(records.value().size() == 1);
}

}  // namespace
}  // namespace rtai
