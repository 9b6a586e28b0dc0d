#include "libopt/raise/prove.h"

#include "tests/libopt/raise/raising.h"

namespace rtai::raise {
namespace {

constexpr std::string_view kImported = R"(
    graph (%ids: i64[b, s], %mask: i64[b, s]) {
      @words: f32[50, 6] = random
      @w: f32[6, 3] = random
      @b: f32[3] = random
      @l2: i64[1] = [2]
      %1 = gather(@words, %ids) : f32
      %2 = matmul(%1, @w) : f32
      %3 = add(%2, @b) : f32
      %4 = cast(%mask) {to = "f32"} : f32
      %5 = unsqueeze(%4, @l2) : f32
      %logits = mul(%3, %5) : f32
      return %logits
    })";

std::string packed(std::string_view weights) {
  return R"(
    graph (%ids: i32[tokens]) {
      @words: f32[50, 6] = random
      @w: f32[6, 3] = random
      @wt: f32[3, 6] = random
      @b: f32[3] = random
      %1 = embedding(%ids, none, @words)
      )" +
         std::string(weights) + "\n return %logits }";
}

}  // namespace

TEST_CASE("prove accepts what raising makes") {
  const ir::Graph imported = parsed(kImported);
  const auto graph = raise_transformer(imported);
  REQUIRE(graph);
  for (const std::vector<Index>& lengths :
       {std::vector<Index>{1}, std::vector<Index>{9, 1, 4}, std::vector<Index>{}}) {
    const auto proof = prove(imported, *graph, {.seed = 7, .lengths = lengths});
    REQUIRE(proof);
    CHECK(proof->difference <= 1e-5);
    CHECK(proof->magnitude >= 1);
  }
}

TEST_CASE("prove refuses a model whose finite weights overflow") {
  std::string text(kImported);
  const auto huge = [&](const std::string& weight, int count) {
    std::string values;
    for (int i = 0; i < count; ++i)
      values += i == 0 ? "3e38" : ", 3e38";
    const std::size_t at = text.find(weight) + weight.size();
    text.replace(at, std::string_view("random").size(), "[" + values + "]");
  };
  huge("@w: f32[6, 3] = ", 18);
  huge("@b: f32[3] = ", 3);
  const ir::Graph imported = parsed(text);
  const auto graph = raise_transformer(imported);
  REQUIRE(graph);
  const auto proof = prove(imported, *graph);
  REQUIRE_FALSE(proof);
  CHECK(proof.error().code() == ErrorCode::invalid_input);
  CHECK(proof.error().message().find("output 'logits' is ") == 0);
}

TEST_CASE("prove finds a wrong weight and says where the output differs") {
  const auto proof = prove(parsed(kImported), parsed(packed("%logits = linear(%1, @wt, @b)")));
  REQUIRE_FALSE(proof);
  CHECK(proof.error().code() == ErrorCode::internal);
  CHECK(proof.error().message().find("output 'logits' differs at row 0, column") == 0);
}

TEST_CASE("prove finds outputs of another size or number") {
  const ir::Graph wide = parsed(packed("%logits = columns(%1) {begin = 0, end = 6}"));
  const auto proof = prove(parsed(kImported), wide);
  REQUIRE_FALSE(proof);
  CHECK(proof.error().message().find("elements, expected") != std::string::npos);
  ir::Graph two = wide;
  two.set_outputs({two.outputs()[0], two.outputs()[0]});
  const auto count = prove(parsed(kImported), two);
  REQUIRE_FALSE(count);
  CHECK(count.error().message() == "2 outputs instead of 1");
}

TEST_CASE("prove finds an input that the imported graph does not have") {
  const auto proof = prove(parsed(kImported), parsed(R"(
    graph (%ids: i32[tokens], %segments: i32[tokens]) {
      @words: f32[50, 3] = random
      @s: f32[2, 3] = random
      %logits = embedding(%ids, %segments, @words, none, @s)
      return %logits
    })"));
  REQUIRE_FALSE(proof);
  CHECK(proof.error().message() == "input 'segments' has no counterpart");
}

}  // namespace rtai::raise
