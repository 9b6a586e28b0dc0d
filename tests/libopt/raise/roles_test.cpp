#include "libopt/raise/roles.h"

#include "tests/libopt/raise/raising.h"

namespace rtai::raise {
namespace {

/// The roles in the order of the inputs.
std::string roles(std::string_view text) {
  const auto interface = recognize_inputs(parsed(text));
  if (!interface) return interface.error().message();
  std::string names;
  for (const InputRole& input : interface->inputs)
    names += (names.empty() ? "" : ", ") + std::string(to_string(input.role));
  return names;
}

}  // namespace

TEST_CASE("inputs are told by the tables they read, whatever their names and order") {
  CHECK(roles(R"(
    graph (%a: i64[b, s], %c: i64[b, s], %d: f32[b, s]) {
      @words: f32[50, 4] = random
      @types: f32[2, 4] = random
      %0 = cast(%c) {to = "i32"} : i32
      %1 = gather(@words, %0) : f32
      %2 = gather(@types, %a) : f32
      %3 = add(%1, %2) : f32
      %4 = mul(%3, %d) : f32
      return %4
    })") == "segments, token ids, mask");
}

TEST_CASE("positions are told from segments by the size of their table or by name") {
  const auto text = [](std::string_view position_name) {
    return "graph (%ids: i64[b, s], %" + std::string(position_name) + R"(: i64[b, s]) {
      @words: f32[50, 4] = random
      @places: f32[30, 4] = random
      %1 = gather(@words, %ids) : f32
      %2 = gather(@places, %)" +
           std::string(position_name) + R"() : f32
      %3 = add(%1, %2) : f32
      return %3
    })";
  };
  CHECK(roles(text("position_ids")) == "token ids, positions");
  CHECK(roles(text("x")) == "token ids, positions");
}

TEST_CASE("a position table may be larger than the vocabulary when its input says so") {
  CHECK(roles(R"(
    graph (%position_ids: i64[b, s], %x: i64[b, s]) {
      @words: f32[50, 4] = random
      @places: f32[512, 4] = random
      %1 = gather(@words, %x) : f32
      %2 = gather(@places, %position_ids) : f32
      %3 = add(%1, %2) : f32
      return %3
    })") == "positions, token ids");
}

TEST_CASE("inputs that nothing reads are unused, hidden states stand for ids") {
  CHECK(roles(R"(
    graph (%x: f32[b, s, 8], %mask: i64[b, s], %y: i64[b, s]) {
      @two: i64[1] = [2]
      %0 = cast(%mask) {to = "f32"} : f32
      %1 = unsqueeze(%0, @two) : f32
      %2 = mul(%x, %1) : f32
      return %2
    })") == "hidden states, mask, unused");
}

TEST_CASE("inputs of no known role are refused by name") {
  CHECK(roles(R"(
    graph (%ids: i64[b, s], %mask: i64[b, s], %past_key: f32[b, 4, s, 8]) {
      @words: f32[50, 4] = random
      %1 = gather(@words, %ids) : f32
      %2 = cast(%mask) {to = "f32"} : f32
      %3 = add(%1, %past_key) : f32
      return %3, %2
    })") ==
        "input 'past_key' (f32[b, 4, s, 8]): expected token ids, a mask, segments or positions");
  CHECK(roles("graph (%x: f32[b, s]) { %1 = tanh(%x) : f32 return %1 }") ==
        "no input selects rows of a constant table: expected token ids");
  CHECK(roles(R"(
    graph (%ids: i64[b, s], %mask: i64[b, s]) {
      @words: f32[50, 4] = random
      %1 = mul(%ids, %mask) : i64
      %2 = gather(@words, %1) : f32
      return %2
    })") ==
        "node '2' (Gather): rows of a table are selected by a computed value: expected "
        "token ids as they are given");
}

TEST_CASE("sizes that the file prescribes must agree") {
  const auto interface = recognize_inputs(parsed(R"(
    graph (%ids: i64[1, 128], %mask: i64[1, 128]) {
      @words: f32[50, 4] = random
      %1 = gather(@words, %ids) : f32
      %2 = cast(%mask) {to = "f32"} : f32
      return %1, %2
    })"));
  REQUIRE(interface);
  CHECK(interface->batch == 1);
  CHECK(interface->length == 128);
  CHECK(interface->inputs[0].limit == 50);
  CHECK(roles(R"(
    graph (%ids: i64[b, 128], %mask: i64[b, 64]) {
      @words: f32[50, 4] = random
      %1 = gather(@words, %ids) : f32
      %2 = cast(%mask) {to = "f32"} : f32
      return %1, %2
    })") == "input 'mask': length is 64, another input has 128");
  CHECK(roles(R"(
    graph (%ids: i64[n]) {
      @words: f32[50, 4] = random
      %1 = gather(@words, %ids) : f32
      return %1
    })") ==
        "input 'ids' is i64[n], expected [batch, seq], or [batch, choices, seq] with any number of "
        "choices");
}

TEST_CASE("sizes that the file prescribes must be those of a model") {
  const auto of = [](const std::string& type) {
    return roles("graph (%x: f32" + type + ") {\n  %1 = softmax(%x) : f32\n  return %1\n}");
  };
  CHECK(of("[8, 512, 1024]") == "hidden states");
  CHECK(of("[b, n, 65536]") == "hidden states");
  CHECK(of("[b, n, 65537]") == "inputs of 1 x 1 tokens and 65537 columns");
  CHECK(of("[64, 512, 1024]") == "inputs of 64 x 512 tokens and 1024 columns");
  CHECK(of("[2097152, 1, 4]") == "inputs of 2097152 x 1 tokens and 4 columns");
  CHECK(of("[b, n, 0]") == "inputs of 1 x 1 tokens and 0 columns");
}

}  // namespace rtai::raise
