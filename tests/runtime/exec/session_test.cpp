#include "runtime/exec/session.h"

#include "libopt/lower/lower.h"
#include "libopt/pass/pipeline.h"
#include "libopt/reference/interpret.h"
#include "passes/passes.h"
#include "runtime/exec/team.h"
#include "runtime/kernels/target.h"
#include "tests/support/allocations.h"
#include "tests/support/batches.h"
#include "tests/support/models.h"
#include "tests/support/small_engines.h"

#include <catch2/catch.hpp>
#include <sched.h>

#include <cmath>
#include <memory>
#include <set>
#include <thread>

namespace rtai {
namespace {

using testing::make_int8_model;
using testing::make_model;
using testing::random_sequences;
using testing::TinyModel;
using testing::TokenSequences;

Session make_session(const ir::Graph& graph, const SessionOptions& options = {}) {
  auto engine = std::make_shared<const engine::Engine>(lower(graph).value());
  return Session::create(std::move(engine), options).value();
}

std::vector<float> run(Session& session, const TokenSequences& tokens) {
  const auto status = session.run(tokens.batch());
  REQUIRE(status);
  const auto output = session.output(0).flat();
  return {output.begin(), output.end()};
}

std::vector<float> reference(const ir::Graph& graph, const TokenSequences& tokens) {
  std::vector<ir::Tensor> inputs = tokens.tensors();
  inputs.resize(graph.inputs().size());
  const auto outputs = reference::interpret(graph, inputs, {.offsets = tokens.wide_offsets()});
  REQUIRE(outputs);
  const auto values = outputs->front().data<float>();
  return {values.begin(), values.end()};
}

double max_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::fabs(double{a[i]} - b[i]));
  return most;
}

std::vector<std::string> available_targets() {
  std::vector<std::string> names;
  for (const Target target : all_targets()) {
    if (is_available(target)) names.emplace_back(target_name(target));
  }
  return names;
}

// Lengths that reach every way of sharing work: one token, less than a tile, few rows (threads
// share columns), many rows (threads share rows), more than one block.
const std::vector<std::vector<int>> kHostBatches = {
    {1}, {3}, {17}, {40}, {5, 1, 40, 12}, std::vector<int>(9, 33)};

TEST_CASE("a session gives the reference's floats on every target, batch and thread count") {
  const std::vector<TinyModel> shapes = {
      {},
      {.segments = false, .pooled = true},
      {.relative = true},
      {.relative = true, .pooled = true},
      {.hidden = 48, .heads = 3, .head_dim = 8, .ffn = 80, .labels = 3, .activation = "gelu_tanh"},
      {.layers = 1,
       .hidden = 40,
       .heads = 1,
       .head_dim = 5,
       .ffn = 7,
       .labels = 1,
       .activation = "relu"},
  };
  for (const TinyModel& shape : shapes) {
    const ir::Graph graph = make_model(shape);
    for (const std::string& target : available_targets()) {
      for (const int threads : {1, 2, 3}) {
        Session session = make_session(graph, {.threads = threads, .target = target});
        CHECK(session.target() == target);
        for (const std::vector<int>& lengths : kHostBatches) {
          const TokenSequences tokens = random_sequences(lengths, 101);
          INFO(target << ", " << threads << " threads, " << lengths.size() << " sequences of "
                      << lengths[0]);
          // Sums of some hundred products in another order, through two layers.
          CHECK(max_difference(run(session, tokens), reference(graph, tokens)) < 1e-5);
        }
      }
    }
  }
}

TEST_CASE("a session with 16-bit weights gives the reference's answers on every target") {
  ir::Graph graph = make_model({.hidden = 48, .heads = 3, .head_dim = 8, .ffn = 81});
  PassContext context;
  REQUIRE(run_pipeline("narrow-weights", graph, context, passes::make));
  for (const std::string& target : available_targets()) {
    Session session = make_session(graph, {.threads = 2, .target = target});
    for (const std::vector<int>& lengths : kHostBatches) {
      const TokenSequences tokens = random_sequences(lengths, 101);
      INFO(target << ", " << lengths.size() << " sequences of " << lengths[0]);
      CHECK(max_difference(run(session, tokens), reference(graph, tokens)) < 1e-5);
    }
  }
}

TEST_CASE("an int8 session gives the reference's answers on every target") {
  for (const TinyModel& shape :
       {TinyModel{}, TinyModel{.hidden = 48, .heads = 3, .head_dim = 8, .ffn = 80}}) {
    const ir::Graph graph = make_int8_model(shape);
    for (const std::string& target : available_targets()) {
      Session session = make_session(graph, {.threads = 2, .target = target});
      for (const std::vector<int>& lengths : kHostBatches) {
        const TokenSequences tokens = random_sequences(lengths, 101);
        INFO(target << ", " << lengths.size() << " sequences of " << lengths[0]);
        // A float that differs in its last bit may round to the neighbouring integer, and one
        // integer of 127 moves the few logits it feeds by about a hundredth.
        CHECK(max_difference(run(session, tokens), reference(graph, tokens)) < 0.1);
      }
    }
  }
}

bool is_i8_linear(const engine::Program& program, const engine::Step& step) {
  const auto weight = static_cast<std::size_t>(step.tensors[engine::linear_tensor::weight]);
  return step.op == engine::OpKind::linear && program.tensors[weight].dtype == DType::i8;
}

/// An engine of which every int8 layer takes its source at a fixed scale, and every second one with
/// factors of its columns: whatever vector of that length there is.
engine::Engine make_static_engine(const TinyModel& shape) {
  engine::Engine made = lower(make_int8_model(shape)).value();
  engine::Program& program = made.program;
  bool with_factors = false;
  for (engine::Step& step : program.steps) {
    if (!is_i8_linear(program, step)) continue;
    step.real = 0.03f;
    with_factors = !with_factors;
    if (!with_factors) continue;
    const auto weight = static_cast<std::size_t>(step.tensors[engine::linear_tensor::weight]);
    const std::array<Index, 2> vector = {program.tensors[weight].dims[1], 1};
    const auto found = std::ranges::find_if(program.tensors, [&](const auto& tensor) {
      return tensor.dtype == DType::f32 && tensor.dims == vector;
    });
    REQUIRE(found != program.tensors.end());
    step.tensors[engine::linear_tensor::src_factor] =
        static_cast<engine::TensorIndex>(found - program.tensors.begin());
  }
  REQUIRE(engine::verify(program, made.weights.size()));
  return made;
}

TEST_CASE(
    "what a layer or attention makes as int8 at a fixed scale is what an own step makes of it") {
  // Heads of 16 are made as int8, heads of 8 are not; 84 columns end within a group of 16.
  for (const TinyModel& shape :
       {TinyModel{}, TinyModel{.hidden = 80, .heads = 5, .head_dim = 16, .ffn = 84},
        TinyModel{.hidden = 48, .heads = 3, .head_dim = 8, .ffn = 80, .pooled = true}}) {
    engine::Engine whole = make_static_engine(shape);
    // As outputs, sources are wanted as floats, too.
    for (const engine::Step& step : whole.program.steps) {
      if (is_i8_linear(whole.program, step))
        whole.program.outputs.push_back({.name = "source", .value = step.src[0]});
    }
    const auto with_floats = std::make_shared<const engine::Engine>(std::move(whole));
    const auto without = std::make_shared<const engine::Engine>(make_static_engine(shape));
    for (const std::string& target : available_targets()) {
      for (const int threads : {1, 2, 3}) {
        const SessionOptions options = {.threads = threads, .target = target, .profile = true};
        Session session = Session::create(without, options).value();
        Session other = Session::create(with_floats, options).value();
        for (const std::vector<int>& lengths : kHostBatches) {
          const TokenSequences tokens = random_sequences(lengths, 101);
          INFO(target << ", " << threads << " threads, " << lengths.size() << " sequences of "
                      << lengths[0]);
          CHECK(run(session, tokens) == run(other, tokens));
        }
        CHECK(session.take_profile().size() < other.take_profile().size());
      }
    }
  }
}

TEST_CASE("weights of 4 bits in a file give the same bytes as the int8 they stand for") {
  const TinyModel shape{.hidden = 48, .heads = 3, .head_dim = 8, .ffn = 84};
  const ir::Graph packed = testing::make_int4_model(shape);
  ir::Graph wide = packed;
  for (const ir::NodeId id : wide.order()) {
    for (const char* group : {"weight_group", "word_group", "position_group", "segment_group"})
      if (wide.node(id).attributes().integer(group, 0) > 0)
        wide.node(id).attributes().set(group, Index{0});
  }
  const std::vector<std::byte> file = engine::serialize(lower(packed).value()).value();
  REQUIRE(file.size() < engine::serialize(lower(wide).value()).value().size());
  const auto read = std::make_shared<const engine::Engine>(testing::parse_copy(file).value());
  for (const std::string& target : available_targets()) {
    Session session = Session::create(read, {.threads = 2, .target = target}).value();
    Session other = make_session(wide, {.threads = 2, .target = target});
    for (const std::vector<int>& lengths : kHostBatches) {
      const TokenSequences tokens = random_sequences(lengths, 101);
      INFO(target << ", " << lengths.size() << " sequences of " << lengths[0]);
      CHECK(run(session, tokens) == run(other, tokens));
    }
  }
}

TEST_CASE(
    "a sequence gets the same bytes whatever else is in the batch, on any number of threads") {
  for (const ir::Graph& graph : {make_model(), make_int8_model(), make_model({.relative = true})}) {
    for (const std::string& target : available_targets()) {
      const TokenSequences all = random_sequences({7, 33, 1, 40, 21, 2, 38}, 101);
      std::vector<std::vector<float>> alone;
      Session single = make_session(graph, {.threads = 1, .target = target});
      for (std::size_t s = 0; s + 1 < all.offsets.size(); ++s) {
        TokenSequences one;
        for (std::int32_t t = all.offsets[s]; t < all.offsets[s + 1]; ++t) {
          one.ids.push_back(all.ids[static_cast<std::size_t>(t)]);
          one.segments.push_back(all.segments[static_cast<std::size_t>(t)]);
        }
        one.offsets.push_back(static_cast<std::int32_t>(one.ids.size()));
        alone.push_back(run(single, one));
      }
      for (const int threads : {1, 2, 3, 5}) {
        Session session = make_session(graph, {.threads = threads, .target = target});
        const std::vector<float> together = run(session, all);
        std::vector<float> expected;
        for (const auto& part : alone)
          expected.insert(expected.end(), part.begin(), part.end());
        INFO(target << ", " << threads << " threads");
        CHECK(together == expected);
      }
    }
  }
}

/// The model with the hidden states of all tokens as a second output, so that all are computed.
ir::Graph with_hidden_states(ir::Graph graph) {
  std::vector<ir::ValueId> outputs(graph.outputs().begin(), graph.outputs().end());
  for (const ir::NodeId id : graph.order()) {
    const ir::Node& node = graph.node(id);
    if (node.op() == ir::Op::first_token) outputs.push_back(node.input(0));
  }
  REQUIRE(outputs.size() == 2);
  graph.set_outputs(std::move(outputs));
  return graph;
}

TEST_CASE("a classifier of the first token gives the same bytes as with all rows computed") {
  for (const bool quantized : {false, true}) {
    const TinyModel shape = {.pooled = true};
    const ir::Graph graph = quantized ? make_int8_model(shape) : make_model(shape);
    for (const std::string& target : available_targets()) {
      for (const int threads : {1, 2, 3}) {
        const SessionOptions options = {.threads = threads, .target = target};
        Session smaller = make_session(graph, options);
        Session whole = make_session(with_hidden_states(graph), options);
        for (const std::vector<int>& lengths : kHostBatches) {
          const TokenSequences tokens = random_sequences(lengths, 101);
          INFO(target << ", " << threads << " threads, " << lengths.size() << " sequences of "
                      << lengths[0] << ", quantized " << quantized);
          CHECK(run(smaller, tokens) == run(whole, tokens));
        }
        // More sequences than threads share the columns of.
        const TokenSequences many = random_sequences(std::vector<int>(150, 2), 101);
        CHECK(run(smaller, many) == run(whole, many));
      }
    }
  }
}

TEST_CASE("rows that nothing reads are not computed") {
  const ir::Graph graph = make_int8_model({.pooled = true});
  const auto operations = [](const ir::Graph& model, std::string_view name) {
    Session session = make_session(model, {.threads = 1, .profile = true});
    const TokenSequences tokens = random_sequences({12, 20}, 101);
    REQUIRE(session.run(tokens.batch()));
    for (const StepProfile& step : session.take_profile()) {
      if (step.name == name) return step.operations;
    }
    return 0.0;
  };
  CHECK(operations(graph, "layer.0.ffn_in.weight") == 2.0 * 32 * 128 * 64);
  CHECK(operations(graph, "layer.1.qkv.weight") == 2.0 * 32 * 192 * 64);  // keys and values of all
  CHECK(operations(graph, "layer.1.attention_out.weight") == 2.0 * 2 * 64 * 64);
  CHECK(operations(graph, "layer.1.ffn_in.weight") == 2.0 * 2 * 128 * 64);
  CHECK(operations(with_hidden_states(graph), "layer.1.ffn_in.weight") == 2.0 * 32 * 128 * 64);
}

TEST_CASE("running allocates nothing once the session has seen the batch size") {
  Session session =
      make_session(make_int8_model(), {.threads = 2, .max_tokens = 80, .max_sequences = 4});
  const TokenSequences tokens = random_sequences({40, 12, 5}, 101);
  REQUIRE(session.run(tokens.batch()));
  const long before = testing::allocation_count();
  for (int i = 0; i < 10; ++i)
    REQUIRE(session.run(tokens.batch()));
  CHECK(testing::allocation_count() == before);
}

TEST_CASE("a batch larger than promised still runs") {
  Session session = make_session(make_model(), {.threads = 2, .max_tokens = 8, .max_sequences = 1});
  const TokenSequences tokens = random_sequences(std::vector<int>(20, 30), 101);
  CHECK(max_difference(run(session, tokens), reference(make_model(), tokens)) < 1e-5);
}

TEST_CASE("segments default to zero") {
  Session session = make_session(make_model());
  TokenSequences tokens = random_sequences({9, 4}, 101);
  std::fill(tokens.segments.begin(), tokens.segments.end(), 0);
  const std::vector<float> with = run(session, tokens);
  tokens.segments.clear();
  CHECK(run(session, tokens) == with);
}

TEST_CASE("bad batches are refused with what is wrong") {
  Session session = make_session(make_model());
  const std::vector<std::int32_t> three = {1, 2, 3};
  const auto message = [&](const Batch& batch) {
    const auto status = session.run(batch);
    REQUIRE_FALSE(status);
    CHECK(status.error().code() == ErrorCode::invalid_input);
    return status.error().message();
  };
  const std::vector<std::int32_t> whole = {0, 3};
  const std::vector<std::int32_t> negative = {-1, 2, 3};
  const std::vector<std::int32_t> large = {1, 101, 3};
  const std::vector<std::int32_t> empty_sequence = {0, 3, 3};
  const std::vector<std::int32_t> backwards = {0, 5, 3};
  const std::vector<std::int32_t> short_offsets = {0, 2};
  const std::vector<std::int32_t> none = {0};
  const std::vector<std::int32_t> long_ids(41, 1);
  const std::vector<std::int32_t> long_offsets = {0, 41};
  const std::vector<std::int32_t> odd_segments = {0, 2, 0};
  CHECK(message({.ids = negative, .segments = {}, .offsets = whole}) ==
        "ids: -1 is outside [0, 101)");
  CHECK(message({.ids = large, .segments = {}, .offsets = whole}) ==
        "ids: 101 is outside [0, 101)");
  CHECK(message({.ids = three, .segments = odd_segments, .offsets = whole}) ==
        "segments: 2 is outside [0, 2)");
  CHECK(message({.ids = three, .segments = {}, .offsets = empty_sequence}) ==
        "sequence 1 is empty");
  CHECK(message({.ids = three, .segments = {}, .offsets = backwards}) == "sequence 1 is empty");
  CHECK(message({.ids = three, .segments = {}, .offsets = short_offsets}) ==
        "2 ids expected, found 3");
  CHECK(message({.ids = three, .segments = {}, .offsets = none}) == "a batch without sequences");
  CHECK(message({.ids = long_ids, .segments = {}, .offsets = long_offsets}) ==
        "a sequence of 41 tokens; the model has 40 positions");
}

TEST_CASE("an unknown or missing target is refused by name") {
  auto engine = std::make_shared<const engine::Engine>(lower(make_model()).value());
  const auto session = Session::create(engine, {.target = "sse9"});
  REQUIRE_FALSE(session);
  CHECK(session.error().code() == ErrorCode::unsupported);
  CHECK(session.error().message() ==
        "unknown target 'sse9'; known: amx, avx512_vnni, avxvnni, avx2, ref");
}

TEST_CASE("a profile names every step and its weights") {
  Session session = make_session(make_int8_model({.layers = 1}), {.threads = 1, .profile = true});
  const TokenSequences tokens = random_sequences({12}, 101);
  REQUIRE(session.run(tokens.batch()));
  REQUIRE(session.run(tokens.batch()));
  const std::vector<StepProfile> profile = session.take_profile();
  const auto found = std::find_if(profile.begin(), profile.end(), [](const StepProfile& s) {
    return s.name == "layer.0.ffn_in.weight";
  });
  REQUIRE(found != profile.end());
  CHECK(found->kind == "linear_i8");
  CHECK(found->bytes == 128 * 64);
  CHECK(found->operations == 2.0 * 12 * 128 * 64);
  CHECK(found->seconds > 0);
}

TEST_CASE("every member of a team works and they meet at barriers") {
  for (const int size : {1, 2, 5}) {
    const std::unique_ptr<Team> team = Team::start(size).value();
    struct Shared {
      Team* team;
      std::atomic<int> first{0};
      std::atomic<int> wrong{0};
    } shared{team.get()};
    for (int round = 1; round <= 200; ++round) {
      team->run(
          [](void* data, int) noexcept {
            auto& s = *static_cast<Shared*>(data);
            ++s.first;
            s.team->barrier();
            if (s.first % s.team->size() != 0) ++s.wrong;
            s.team->barrier();
          },
          &shared);
      REQUIRE(shared.first == round * size);
    }
    CHECK(shared.wrong == 0);
  }
}

TEST_CASE("a team of all cores has a member on each, wherever its caller runs") {
  cpu_set_t all;
  REQUIRE(::sched_getaffinity(0, sizeof all, &all) == 0);
  const std::unique_ptr<Team> team = Team::start(CPU_COUNT(&all)).value();
  std::vector<int> cores(static_cast<std::size_t>(team->size()));
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &all)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
    team->run(
        [](void* data, int member) noexcept {
          (*static_cast<std::vector<int>*>(data))[static_cast<std::size_t>(member)] =
              ::sched_getcpu();
        },
        &cores);
    CHECK(cores.front() == core);
    CHECK(std::set<int>(cores.begin(), cores.end()).size() == cores.size());
  }
  REQUIRE(::sched_setaffinity(0, sizeof all, &all) == 0);
}

TEST_CASE("a caller may run where it could before, also when the team slept") {
  cpu_set_t before, after;
  REQUIRE(::sched_getaffinity(0, sizeof before, &before) == 0);
  const std::unique_ptr<Team> team = Team::start(CPU_COUNT(&before)).value();
  for (int run = 0; run < 5; ++run) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // members sleep after less
    team->run([](void*, int) noexcept {}, nullptr);
    REQUIRE(::sched_getaffinity(0, sizeof after, &after) == 0);
    CHECK(CPU_EQUAL(&before, &after));
  }
}

}  // namespace
}  // namespace rtai
