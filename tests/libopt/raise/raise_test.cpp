#include "libopt/raise/raise.h"

#include "libopt/ir/ops.h"
#include "tests/libopt/raise/raising.h"

namespace rtai::raise {
namespace {

using ir::Op;

/// An attention layer of 2 heads of 4 columns on x f32[b, s, 6], with a key padding mask. The
/// pieces of text take the place of the usual spelling.
struct AttentionText {
  std::string scale_queries = "%qs = identity(%qh) : f32";
  std::string scores = "%scores = matmul(%qs, %kt) : f32";
  std::string mask = "%masked = add(%scores, %additive) : f32";
  std::string softmax = "%p = softmax(%masked) {axis = -1} : f32";

  std::string str() const {
    return R"(
    graph (%x: f32[b, s, 6], %mask: i64[b, s]) {
      @wq: f32[6, 8] = random
      @wk: f32[6, 8] = random
      @wv: f32[6, 8] = random
      @wo: f32[8, 6] = random
      @bq: f32[8] = random
      @bv: f32[8] = random
      @heads: i64[4] = [0, 0, 2, 4]
      @flat: i64[3] = [0, 0, 8]
      @inner: i64[2] = [1, 2]
      @one: f32 = [1]
      @zero: f32 = [0]
      @low: f32 = [-10000]
      @lowest: f32 = [-3.4028235e38]
      @half: f32 = [0.5]
      @two: f32 = [2]
      @i0: i64 = [0]
      %m = unsqueeze(%mask, @inner) : i64
      %real = cast(%m) {to = "f32"} : f32
      %is_real = cast(%m) {to = "bool"} : bool
      %is_padding = logical_not(%is_real) : bool
      %gap = sub(@one, %real) : f32
      %additive = mul(%gap, @low) : f32
      %q0 = matmul(%x, @wq) : f32
      %q1 = add(@bq, %q0) : f32
      %k1 = matmul(%x, @wk) : f32
      %v0 = matmul(%x, @wv) : f32
      %v1 = add(%v0, @bv) : f32
      %q2 = reshape(%q1, @heads) : f32
      %k2 = reshape(%k1, @heads) : f32
      %v2 = reshape(%v1, @heads) : f32
      %qh = transpose(%q2) {perm = [0, 2, 1, 3]} : f32
      %kt = transpose(%k2) {perm = [0, 2, 3, 1]} : f32
      %vh = transpose(%v2) {perm = [0, 2, 1, 3]} : f32
      )" + scale_queries +
           "\n" + scores + "\n" + mask + "\n" + softmax + R"(
      %c = matmul(%p, %vh) : f32
      %c1 = transpose(%c) {perm = [0, 2, 1, 3]} : f32
      %c2 = reshape(%c1, @flat) : f32
      %out = matmul(%c2, @wo) : f32
      return %out
    })";
  }
};

double scale_of(const ir::Graph& graph) {
  return static_cast<double>(only(graph, Op::attention).attributes().real("scale", 0));
}

}  // namespace

TEST_CASE("queries, keys and values become one linear layer before attention") {
  const ir::Graph graph = raised(AttentionText{}.str());
  CHECK(ops(graph) == "linear attention linear");
  const ir::Node& attention = only(graph, Op::attention);
  CHECK(head_shape(attention).heads == 2);
  CHECK(head_shape(attention).head_dim == 4);
  CHECK(attention.attributes().integer("causal", 0) == 0);
  CHECK(scale_of(graph) == 1.0);
  const ir::Node& qkv = graph.node(graph.order()[0]);
  CHECK(to_string(graph.type(qkv.input(ir::Linear::weight))) == "f32[24, 6]");
  // The keys have no bias of their own.
  const ir::Tensor& bias = *graph.constant(qkv.input(ir::Linear::bias));
  CHECK(bias.value(0) != 0);
  CHECK(bias.value(8) == 0);
  CHECK(bias.value(16) != 0);
  CHECK(to_string(graph.type(graph.inputs()[0])) == "f32[tokens, 6]");
  CHECK(graph.name(graph.outputs()[0]) == "out");
}

TEST_CASE("the scale is found wherever it is applied") {
  AttentionText text;
  SECTION("after the product") {
    text.mask = "%a = div(%scores, @two) : f32 %masked = add(%a, %additive) : f32";
  }
  SECTION("on the queries") {
    text.scale_queries = "%qs = mul(@half, %qh) : f32";
  }
  SECTION("after the mask") {
    text.mask = "%a = add(%scores, %additive) : f32 %masked = mul(%a, @half) : f32";
  }
  SECTION("in parts, on queries and on scores") {
    text.scale_queries = "%qs = mul(%qh, @two) : f32";
    text.mask = R"(%a = div(%scores, @two) : f32 %b = div(%a, @two) : f32
                   %masked = add(%additive, %b) : f32)";
  }
  CHECK(scale_of(raised(text.str())) == 0.5);
}

TEST_CASE("key padding is told by what the mask does") {
  AttentionText text;
  SECTION("-10000 is added") {}
  SECTION("the lowest number is chosen by a condition") {
    text.mask = "%masked = where(%is_real, %scores, @lowest) : f32";
  }
  SECTION("the condition is the other way round") {
    text.mask = "%masked = where(%is_padding, @lowest, %scores) : f32";
  }
  SECTION("a mask of its own is chosen from and added") {
    text.mask = R"(%chosen = where(%is_real, @zero, @lowest) : f32
                   %masked = add(%chosen, %scores) : f32)";
  }
  SECTION("scores are cleared before -10000 is added") {
    text.mask = "%a = mul(%scores, %real) : f32 %masked = sub(%a, %down) : f32";
    text.scores += " %up = neg(%additive) : f32 %down = identity(%up) : f32";
  }
  SECTION("probabilities that are no numbers are replaced") {
    text.mask = R"(%bits = where(%is_real, @zero, @lowest) : f32
                   %masked = add(%bits, %scores) : f32)";
    text.softmax = R"(%p0 = softmax(%masked) {axis = 3} : f32 %bad = is_nan(%p0) : bool
                      %p = where(%bad, @zero, %p0) : f32)";
  }
  CHECK(ops(raised(text.str())) == "linear attention linear");
}

TEST_CASE("a lower triangle beside the padding makes attention causal") {
  AttentionText text;
  text.mask = R"(
      %length = shape(%mask) {start = 1} : i64
      %square = concat(%length, %length) {axis = 0} : i64
      %ones = expand(@one, %square) : f32
      %triangle = trilu(%ones) {upper = 0} : f32
      %visible = cast(%triangle) {to = "bool"} : bool
      %later = where(%visible, %scores, @lowest) : f32
      %masked = add(%later, %additive) : f32)";
  const ir::Graph graph = raised(text.str());
  CHECK(only(graph, Op::attention).attributes().integer("causal", 0) == 1);
}

/// Distances of key and query in 8 buckets: i64[seq, seq], by their sign and up to 3, as MPNet has
/// it.
constexpr std::string_view kBuckets = R"(
      %length = shape(%mask) {start = 1, end = 2} : i64
      %last = squeeze(%length) : i64
      %keys = range(@i0, %last, @i1) : i64
      %queries = unsqueeze(%keys, @inner1) : i64
      %apart = sub(%keys, %queries) : i64
      %far = abs(%apart) : i64
      %near = min(%far, @i3) : i64
      %is_later = less(@i0, %apart) : bool
      %later = cast(%is_later) {to = "i64"} : i64
      %shift = mul(%later, @i4) : i64
      %bucket = add(%near, %shift) : i64)";

std::string with_tables(std::string text, std::string_view tables) {
  return text.insert(text.find("@i0: i64"), R"(@i1: i64 = [1]
      @i3: i64 = [3]
      @i4: i64 = [4]
      @inner1: i64[1] = [1]
      @first: i64[1] = [0]
      )" + std::string(tables) + "\n      ");
}

TEST_CASE("scores shifted by how far key and query are apart get a table of biases") {
  // bias[head, q, k] = table[bucket, head], as MPNet and T5 have it
  AttentionText text;
  text.mask = std::string(kBuckets) + R"(
      %by_head_last = gather(@table, %bucket) {axis = 0} : f32
      %by_head = transpose(%by_head_last) {perm = [2, 0, 1]} : f32
      %bias = unsqueeze(%by_head, @first) : f32
      %a = add(%scores, %bias) : f32
      %masked = add(%a, %additive) : f32)";
  std::string full = with_tables(text.str(), "@table: f32[8, 2] = random");
  SECTION("of one layer") {
    const ir::Graph graph = raised(full);
    CHECK(ops(graph) == "linear attention linear");
    const ir::Tensor& bias = *graph.constant(only(graph, Op::attention).input(ir::Attention::bias));
    CHECK(ir::to_string(bias.dims()) == "[2, 1023]");  // without positions: 512 tokens
    const ir::Graph imported = parsed(full);
    const ir::Tensor& table = *imported.constant(*imported.find_value("table"));
    for (const Index head : {0, 1}) {
      CHECK(bias.value(head * 1023 + 511) == table.value(head));
      CHECK(bias.value(head * 1023 + 511 - 2) == table.value(2 * 2 + head));
      CHECK(bias.value(head * 1023 + 511 + 2) == table.value(2 * 6 + head));
      CHECK(bias.value(head * 1023) == table.value(2 * 3 + head));
      CHECK(bias.value(head * 1023 + 1022) == table.value(2 * 7 + head));
    }
  }
  SECTION("unless a distance has two values") {
    full.replace(full.find("%a = add(%scores, %bias)"), 24,
                 "%ramp0 = cast(%keys) {to = \"f32\"} : f32 %ramp = add(%bias, %ramp0) : f32 "
                 "%a = add(%scores, %ramp)");
    CHECK(refusal(full).find("neither key padding nor causal") != std::string::npos);
  }
}

TEST_CASE("products with a vector for each distance make attention disentangled") {
  AttentionText text;
  text.mask = std::string(kBuckets) + R"(
      %dims = shape(%scores) : i64
      %by_query = matmul(%qh, @of_queries) : f32
      %index = expand(%bucket, %dims) : i64
      %of_query = gather_elements(%by_query, %index) {axis = -1} : f32
      %kh = transpose(%k2) {perm = [0, 2, 1, 3]} : f32
      %by_key = matmul(%kh, @of_keys) : f32
      %bucket_by_key = transpose(%bucket) {perm = [1, 0]} : i64
      %index_by_key = expand(%bucket_by_key, %dims) : i64
      %of_key0 = gather_elements(%by_key, %index_by_key) {axis = -1} : f32
      %of_key = transpose(%of_key0) {perm = [0, 1, 3, 2]} : f32
      %both = add(%of_query, %of_key) : f32
      %a = add(%scores, %both) : f32
      %halved = mul(%a, @half) : f32
      %masked = add(%halved, %additive) : f32)";
  const std::string full = with_tables(
      text.str(), "@of_queries: f32[2, 4, 8] = random\n      @of_keys: f32[2, 4, 8] = random");
  const ir::Graph graph = raised(full);
  CHECK(ops(graph) == "linear attention linear");
  CHECK(scale_of(graph) == 0.5);
  const ir::Node& attention = only(graph, Op::attention);
  CHECK(attention.input(ir::Attention::bias) == ir::kNoValue);
  const ir::Graph imported = parsed(full);
  for (const auto& [input, name] : {std::pair{ir::Attention::relative_key, "of_queries"},
                                    std::pair{ir::Attention::relative_query, "of_keys"}}) {
    const ir::Tensor& by_distance = *graph.constant(attention.input(input));
    const ir::Tensor& table = *imported.constant(*imported.find_value(name));
    CHECK(ir::to_string(by_distance.dims()) == "[8, 1023]");
    for (Index row = 0; row < 8; ++row) {
      CHECK(by_distance.value(row * 1023 + 511) == table.value(row * 8));
      CHECK(by_distance.value(row * 1023 + 511 - 1) == table.value(row * 8 + 1));
      CHECK(by_distance.value(row * 1023 + 511 + 5) == table.value(row * 8 + 7));
    }
  }
}

TEST_CASE("a mask may be the number of real tokens") {
  AttentionText text;
  std::string full = text.str();
  full.replace(full.find("%mask: i64[b, s]"), 16, "%mask: i64[b]");
  full.replace(full.find("%m = unsqueeze(%mask, @inner) : i64"), 35, R"(
      %length = shape(%x) {start = 1, end = 2} : i64
      %last = squeeze(%length) : i64
      %places = range(@i0, %last, @i1) : i64
      %counts = unsqueeze(%mask, @inner1) : i64
      %seen = less(%places, %counts) : bool
      %as_number = cast(%seen) {to = "i64"} : i64
      %m = unsqueeze(%as_number, @inner) : i64)");
  full.insert(full.find("@i0: i64"), "@i1: i64 = [1]\n @inner1: i64[1] = [1]\n");
  CHECK(ops(raised(full)) == "linear attention linear");
}

TEST_CASE("choices of a question are sequences of their own") {
  // [batch, choices, seq] -> one number for each choice -> [batch, choices]
  const auto text = [](std::string_view ids) {
    return "graph (%ids: i64[" + std::string(ids) + R"(], %mask: i64[b, c, s]) {
      @words: f32[50, 6] = random
      @w: f32[6, 1] = random
      @flat: i64[2] = [-1, 1]
      @two: i64[1] = [2]
      @i0: i64 = [0]
      @minus: i64[1] = [-1]
      %length = shape(%ids) {start = 2} : i64
      %rows = concat(@minus, %length) {axis = 0} : i64
      %ids2 = reshape(%ids, %rows) : i64
      %mask2 = reshape(%mask, %rows) : i64
      %e = gather(@words, %ids2) : f32
      %real = cast(%mask2) {to = "f32"} : f32
      %column = unsqueeze(%real, @two) : f32
      %kept = mul(%e, %column) : f32
      %first = gather(%e, @i0) {axis = 1} : f32
      %y = matmul(%first, @w) : f32
      %choices = shape(%ids) {start = 1, end = 2} : i64
      %answers = concat(@minus, %choices) {axis = 0} : i64
      %logits = reshape(%y, %answers) : f32
      return %logits
    })";
  };
  const ir::Graph graph = raised(text("b, c, s"));
  CHECK(ops(graph) == "embedding first_token linear");
  CHECK(to_string(graph.type(graph.outputs()[0])) == "f32[sequences, 1]");
  CHECK(refusal(text("b, 4, s")).find("with any number of choices") != std::string::npos);
}

TEST_CASE("masks that are neither are refused with the place that differs") {
  AttentionText text;
  SECTION("padding that stays visible") {
    text.mask = "%a = mul(%additive, @zero) : f32 %masked = add(%scores, %a) : f32";
    CHECK(refusal(text.str()) ==
          "output 'out': node 'p' (Softmax): the mask is neither key padding nor causal: for token "
          "0 of 3, padded token 3 is changed by 0, expected to be hidden");
  }
  SECTION("a bias that depends on the distance") {
    text.mask = R"(
      %length = shape(%mask) {start = 1, end = 2} : i64
      %last = squeeze(%length) : i64
      %range = range(@i0, %last, @i1) : i64
      %places = cast(%range) {to = "f32"} : f32
      %a = add(%scores, %places) : f32
      %masked = add(%a, %additive) : f32)";
    std::string full = text.str();
    full.insert(full.find("@i0: i64"), "@i1: i64 = [1]\n");
    CHECK(refusal(full).find("real token 1 is changed by 1, others by 0") != std::string::npos);
  }
  SECTION("a mask that is not low enough") {
    text.mask = R"(%a = div(%additive, @low) : f32 %masked = sub(%scores, %a) : f32)";
    CHECK(refusal(text.str()).find("padded token 3 is changed by -1, expected to be hidden") !=
          std::string::npos);
  }
}

TEST_CASE("keys times queries is the same attention when softmax runs over the other axis") {
  AttentionText text;
  text.scale_queries =
      "%k_rows = transpose(%k2) {perm = [0, 2, 1, 3]} : f32 "
      "%q_columns = transpose(%q2) {perm = [0, 2, 3, 1]} : f32";
  text.scores = "%scores = matmul(%k_rows, %q_columns) : f32";
  text.mask =
      "%up = transpose(%additive) {perm = [0, 1, 3, 2]} : f32 "
      "%masked = add(%scores, %up) : f32";
  text.softmax =
      "%p0 = softmax(%masked) {axis = 2} : f32 "
      "%p = transpose(%p0) {perm = [0, 1, 3, 2]} : f32";
  CHECK(ops(raised(text.str())) == "linear attention linear");
}

TEST_CASE("heads may be folded into the batch") {
  AttentionText text;
  text.scale_queries = "%q3 = reshape(%qh, @folded) : f32 %kt3 = reshape(%kt, @folded_t) : f32";
  text.scores = R"(%s3 = matmul(%q3, %kt3) : f32
                   %dims = shape(%additive) : i64
                   %inner_dims = slice(%dims, @i3, @i4) : i64
                   %full = concat(@unknown_two, %inner_dims, %inner_dims) {axis = 0} : i64
                   %scores = reshape(%s3, %full) : f32)";
  std::string full = text.str();
  full.insert(full.find("@i0: i64"), R"(@folded: i64[3] = [-1, 5, 4]
      @folded_t: i64[3] = [-1, 4, 5]
      @unknown_two: i64[2] = [-1, 2]
      @i3: i64[1] = [3]
      @i4: i64[1] = [4]
      )");
  full.replace(full.find("%x: f32[b, s, 6], %mask: i64[b, s]"), 34,
               "%x: f32[b, 5, 6], %mask: i64[b, 5]");
  CHECK(ops(raised(full)) == "linear attention linear");
}

TEST_CASE("a fused projection is used as it is, whichever way it is cut") {
  const auto text = [](std::string_view cut) {
    return R"(
    graph (%x: f32[b, s, 6]) {
      @w: f32[24, 6] = random
      @b: f32[24] = random
      @five: i64[5] = [0, 0, 3, 2, 4]
      @heads: i64[4] = [0, 0, 2, 12]
      @rows: i64[4] = [0, 0, 2, 4]
      @flat: i64[3] = [0, 0, 8]
      @i0: i64 = [0]
      @i1: i64 = [1]
      @i2: i64 = [2]
      @b0: i64[1] = [0]
      @b1: i64[1] = [8]
      @b2: i64[1] = [16]
      @b3: i64[1] = [24]
      @last: i64[1] = [-1]
      %wt = transpose(@w) {perm = [1, 0]} : f32
      %y0 = matmul(%x, %wt) : f32
      %y = add(%y0, @b) : f32
      )" + std::string(cut) +
           R"(
      %kt = transpose(%k) {perm = [0, 1, 3, 2]} : f32
      %s = matmul(%q, %kt) : f32
      %p = softmax(%s) {axis = -1} : f32
      %c = matmul(%p, %v) : f32
      %c1 = transpose(%c) {perm = [0, 2, 1, 3]} : f32
      %out = reshape(%c1, @flat) : f32
      return %out
    })";
  };
  const std::string to_heads = R"(
      %q4 = reshape(%q3, @rows) : f32 %k4 = reshape(%k3, @rows) : f32 %v4 = reshape(%v3, @rows) : f32
      %q = transpose(%q4) {perm = [0, 2, 1, 3]} : f32
      %k = transpose(%k4) {perm = [0, 2, 1, 3]} : f32
      %v = transpose(%v4) {perm = [0, 2, 1, 3]} : f32)";
  bool keeps_order = true;
  std::string cut;
  SECTION("split") {
    cut = "%q3, %k3, %v3 = split(%y) {axis = -1, num_outputs = 3} : f32, f32, f32" + to_heads;
  }
  SECTION("slices") {
    cut = R"(%q3 = slice(%y, @b0, @b1, @last) : f32 %k3 = slice(%y, @b1, @b2, @last) : f32
             %v3 = slice(%y, @b2, @b3, @last) : f32)" +
          to_heads;
  }
  SECTION("[3, heads, head_dim] and gather") {
    cut = R"(%y5 = reshape(%y, @five) : f32
             %yt = transpose(%y5) {perm = [2, 0, 3, 1, 4]} : f32
             %q = gather(%yt, @i0) {axis = 0} : f32
             %k = gather(%yt, @i1) {axis = 0} : f32
             %v = gather(%yt, @i2) {axis = 0} : f32)";
  }
  SECTION("[heads, 3 * head_dim] and split") {
    keeps_order = false;
    cut = R"(%y4 = reshape(%y, @heads) : f32
             %yt = transpose(%y4) {perm = [0, 2, 1, 3]} : f32
             %q, %k, %v = split(%yt) {axis = 3, num_outputs = 3} : f32, f32, f32)";
  }
  const ir::Graph imported = parsed(text(cut));
  const ir::Graph graph = raised(text(cut));
  CHECK(ops(graph) == "linear attention");
  const ir::Node& qkv = only(graph, Op::linear);
  const bool same = *graph.constant(qkv.input(ir::Linear::weight)) ==
                    *imported.constant(*imported.find_value("w"));
  CHECK(same == keeps_order);
}

TEST_CASE("einsum is read by its labels") {
  const ir::Graph graph = raised(R"(
    graph (%x: f32[b, s, 6]) {
      @wq: f32[6, 2, 4] = random
      @wk: f32[6, 2, 4] = random
      @wv: f32[2, 6, 4] = random
      @wo: f32[2, 4, 6] = random
      @bq: f32[2, 4] = random
      %q0 = einsum(%x, @wq) {equation = "bsf,fhd->bshd"} : f32
      %q = add(%q0, @bq) : f32
      %k = einsum(%x, @wk) {equation = "bsf,fhd->bhsd"} : f32
      %v = einsum(@wv, %x) {equation = "hfd,bsf->bshd"} : f32
      %s = einsum(%q, %k) {equation = "bqhd,bhkd->bhqk"} : f32
      %p = softmax(%s) {axis = -1} : f32
      %c = einsum(%p, %v) {equation = "bhqk, bkhd -> bqhd"} : f32
      %out = einsum(%c, @wo) {equation = "bqhd,hdf->bqf"} : f32
      return %out
    })");
  CHECK(ops(graph) == "linear attention linear");
  CHECK(refusal(R"(
    graph (%x: f32[b, s, 6]) {
      @w: f32[6, 4] = random
      %y = einsum(%x, @w) {equation = "...f,fd->...d"} : f32
      return %y
    })") == "output 'y': node 'y' (Einsum): equation '...f,fd->...d'");
}

TEST_CASE("one key head may serve several query heads") {
  const ir::Graph graph = raised(R"(
    graph (%x: f32[b, s, 6]) {
      @wq: f32[6, 8] = random
      @wk: f32[6, 4] = random
      @wv: f32[6, 4] = random
      @rows: i64[4] = [0, 0, 2, 4]
      @flat: i64[3] = [0, 0, 8]
      @one: i64[1] = [1]
      %q0 = matmul(%x, @wq) : f32
      %q1 = reshape(%q0, @rows) : f32
      %q = transpose(%q1) {perm = [0, 2, 1, 3]} : f32
      %k0 = matmul(%x, @wk) : f32
      %k1 = unsqueeze(%k0, @one) : f32
      %k = transpose(%k1) {perm = [0, 1, 3, 2]} : f32
      %v0 = matmul(%x, @wv) : f32
      %v = unsqueeze(%v0, @one) : f32
      %s = matmul(%q, %k) : f32
      %p = softmax(%s) {axis = -1} : f32
      %c = matmul(%p, %v) : f32
      %c1 = transpose(%c) {perm = [0, 2, 1, 3]} : f32
      %out = reshape(%c1, @flat) : f32
      return %out
    })");
  CHECK(ops(graph) == "linear attention");
  CHECK(head_shape(only(graph, Op::attention)).heads == 2);
}

TEST_CASE("layers that share weights share the constants") {
  const ir::Graph graph = raised(R"(
    graph (%x: f32[b, s, 6]) {
      @w: f32[6, 6] = random
      @b: f32[6] = random
      %1 = matmul(%x, @w) : f32
      %2 = add(%1, @b) : f32
      %3 = tanh(%2) : f32
      %4 = matmul(%3, @w) : f32
      %5 = add(%4, @b) : f32
      return %5
    })");
  CHECK(ops(graph) == "linear activation linear");
  CHECK(graph.constants().size() == 2);
}

TEST_CASE("gemm is a linear layer with its alpha, beta and transposition") {
  const ir::Graph graph = raised(R"(
    graph (%x: f32[b, s, 6]) {
      @w: f32[4, 6] = random
      @c: f32[1, 4] = random
      @flat: i64[2] = [-1, 6]
      %1 = reshape(%x, @flat) : f32
      %2 = gemm(%1, @w, @c) {transB = 1, alpha = 0.5, beta = 2.0} : f32
      return %2
    })");
  CHECK(ops(graph) == "linear");
  CHECK(to_string(graph.type(graph.outputs()[0])) == "f32[tokens, 4]");
}

TEST_CASE("a bias finds the linear layer or the normalization that takes it") {
  SECTION("behind the residual") {
    CHECK(ops(raised(R"(
      graph (%x: f32[b, s, 6]) {
        @w: f32[6, 6] = random
        @b: f32[6] = random
        %1 = matmul(%x, @w) : f32
        %2 = add(%x, %1) : f32
        %3 = add(%2, @b) : f32
        return %3
      })")) == "linear add");
  }
  SECTION("behind the residual, and not in the normalization that the residual is") {
    CHECK(ops(raised(R"(
      graph (%x: f32[b, s, 6]) {
        @w: f32[6, 6] = random
        @b: f32[6] = random
        @g: f32[6] = random
        %n = layer_normalization(%x, @g, @b) : f32
        %1 = matmul(%n, @w) : f32
        %2 = add(%1, %n) : f32
        %3 = add(%2, @b) : f32
        return %3
      })")) == "layer_norm linear add");
  }
  SECTION("in heads, on one part of a fused projection") {
    CHECK(ops(raised(R"(
      graph (%x: f32[b, s, 6]) {
        @w: f32[6, 8] = random
        @b: f32[4] = random
        %1 = matmul(%x, @w) : f32
        %2, %3 = split(%1) {axis = -1, num_outputs = 2} : f32, f32
        %4 = add(%3, @b) : f32
        return %4
      })")) == "linear columns");
  }
  SECTION("nowhere") {
    CHECK(refusal(R"(
      graph (%x: f32[b, s, 6]) {
        @b: f32[6] = random
        %1 = tanh(%x) : f32
        %2 = add(%1, @b) : f32
        return %2
      })") ==
          "output '2': node '2' (Add): a constant added where no linear layer or normalization can "
          "take it");
  }
}

TEST_CASE("normalization, activations and residuals keep their meaning") {
  const ir::Graph graph = raised(R"(
    graph (%x: f32[b, s, 6]) {
      @w: f32[6, 8] = random
      @v: f32[8, 6] = random
      @g: f32[6] = random
      @b: f32[6] = random
      @h: f32 = [0.5]
      %1 = layer_normalization(%x, @g, @b) {axis = 2, epsilon = 1e-5} : f32
      %2 = matmul(%1, @w) : f32
      %3 = gelu(%2) {approximate = "tanh"} : f32
      %4 = matmul(%3, @v) : f32
      %5 = mul(%4, @h) : f32
      %6 = add(%5, %x) : f32
      %7 = matmul(%6, @w) : f32
      %8 = sigmoid(%7) : f32
      %9 = mul(%8, %7) : f32
      %10 = layer_normalization(%6, @g) {axis = -1} : f32
      return %9, %10
    })");
  CHECK(ops(graph) == "layer_norm linear activation linear add linear activation layer_norm");
  const std::vector<ir::NodeId> activations = graph.nodes_of(Op::activation);
  CHECK(graph.node(activations[0]).attributes().text("kind", "") == "gelu_tanh");
  CHECK(graph.node(activations[1]).attributes().text("kind", "") == "silu");
}

TEST_CASE("embeddings in any order become one") {
  const auto text = [](std::string_view position, std::string_view sum) {
    return R"(
    graph (%ids: i64[b, s], %mask: i64[b, s], %types: i64[b, s]) {
      @words: f32[50, 4] = random
      @places: f32[20, 4] = random
      @place_rows: f32[1, 20, 4] = random
      @segments: f32[2, 4] = random
      @i0: i64 = [0]
      @i1: i64 = [1]
      @l0: i64[1] = [0]
      @l1: i64[1] = [1]
      @l2: i64[1] = [2]
      @pad: i64 = [1]
      @numbers: i64[1, 20] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]
      %dims = shape(%ids) : i64
      %length = gather(%dims, @i1) {axis = 0} : i64
      %end = unsqueeze(%length, @l0) : i64
      %w = gather(@words, %ids) : f32
      %t = gather(@segments, %types) : f32
      )" + std::string(position) +
           "\n" + std::string(sum) + R"(
      return %e
    })";
  };
  std::string position;
  std::string sum = "%1 = add(%w, %t) : f32 %e = add(%1, %p) : f32";
  Index offset = 0;
  SECTION("a slice of constant positions") {
    position = "%n = slice(@numbers, @l0, %end, @l1) : i64 %p = gather(@places, %n) : f32";
  }
  SECTION("a range") {
    position = "%n = range(@i0, %length, @i1) : i64 %p = gather(@places, %n) : f32";
    sum = "%1 = add(%p, %t) : f32 %e = add(%w, %1) : f32";
  }
  SECTION("a slice of the table itself") {
    position = "%p = slice(@place_rows, @l0, %end, @l1) : f32";
    sum = "%1 = add(%p, %w) : f32 %e = add(%1, %t) : f32";
  }
  SECTION("a slice of the table from its third row on") {
    offset = 2;
    position = R"(%end2 = add(%end, @l2) : i64
                  %p = slice(@place_rows, @l2, %end2, @l1) : f32)";
  }
  SECTION("counted ids that are not padding, as in RoBERTa") {
    offset = 2;
    position = R"(%is = equal(%ids, @pad) : bool %not = logical_not(%is) : bool
                  %k = cast(%not) {to = "i64"} : i64 %c = cum_sum(%k, @i1) : i64
                  %d = mul(%c, %k) : i64 %n = add(%d, @pad) : i64
                  %p = gather(@places, %n) : f32)";
  }
  const ir::Graph graph = raised(text(position, sum));
  CHECK(ops(graph) == "embedding");
  const ir::Node& embedding = only(graph, Op::embedding);
  CHECK(embedding.attributes().integer("position_offset", 0) == offset);
  CHECK(graph.name(embedding.input(ir::Embedding::ids)) == "ids");
  CHECK(graph.name(embedding.input(ir::Embedding::segments)) == "segments");
  CHECK(to_string(graph.type(graph.inputs()[1])) == "i32[tokens]");
}

TEST_CASE("one segment for all tokens is added to the positions and needs no input") {
  const ir::Graph graph = raised(R"(
    graph (%ids: i64[b, s]) {
      @words: f32[50, 4] = random
      @places: f32[20, 4] = random
      @segments: f32[2, 4] = random
      @i0: i64 = [0]
      @i1: i64 = [1]
      %dims = shape(%ids) : i64
      %length = gather(%dims, @i1) {axis = 0} : i64
      %n = range(@i0, %length, @i1) : i64
      %none = expand(@i0, %dims) : i64
      %w = gather(@words, %ids) : f32
      %p = gather(@places, %n) : f32
      %t = gather(@segments, %none) : f32
      %1 = add(%w, %t) : f32
      %2 = add(%1, %p) : f32
      return %2
    })");
  CHECK(ops(graph) == "embedding");
  CHECK(graph.inputs().size() == 1);
  CHECK(graph.constants().size() == 2);
}

TEST_CASE("a one-hot row times a table is a row of it") {
  const ir::Graph graph = raised(R"(
    graph (%ids: i64[b, s], %types: i64[b, s]) {
      @words: f32[50, 4] = random
      @segments: f32[3, 4] = random
      @depth: i64 = [3]
      @values: f32[2] = [0, 1]
      @flat: i64[1] = [-1]
      @full: i64[3] = [0, 0, 4]
      %w = gather(@words, %ids) : f32
      %f = reshape(%types, @flat) : i64
      %h = one_hot(%f, @depth, @values) : f32
      %t0 = matmul(%h, @segments) : f32
      %dims = shape(%w) : i64
      %t = reshape(%t0, %dims) : f32
      %e = add(%t, %w) : f32
      return %e
    })");
  CHECK(ops(graph) == "embedding");
  CHECK(graph.inputs().size() == 2);
}

TEST_CASE("positions that were folded for a fixed length become a table") {
  const ir::Graph graph = raised(R"(
    graph (%ids: i64[2, 6]) {
      @words: f32[50, 4] = random
      @places: f32[1, 6, 4] = random
      %w = gather(@words, %ids) : f32
      %e = add(%w, @places) : f32
      return %e
    })");
  CHECK(ops(graph) == "embedding");
  CHECK(to_string(graph.type(only(graph, Op::embedding).input(ir::Embedding::position))) ==
        "f32[6, 4]");
}

TEST_CASE("the first token and the mean of the tokens stand for a sequence") {
  const auto text = [](std::string_view pool) {
    return R"(
    graph (%x: f32[b, s, 6], %mask: i64[b, s]) {
      @w: f32[6, 6] = random
      @i0: i64 = [0]
      @l0: i64[1] = [0]
      @l1: i64[1] = [1]
      @l2: i64[1] = [2]
      @tiny: f32 = [1e-9]
      @zero: f32 = [0]
      %y = matmul(%x, @w) : f32
      %m1 = unsqueeze(%mask, @l2) : i64
      %m2 = cast(%m1) {to = "f32"} : f32
      )" + std::string(pool) +
           "\n return %out }";
  };
  SECTION("gather") {
    CHECK(ops(raised(text("%out = gather(%y, @i0) {axis = 1} : f32"))) == "linear first_token");
  }
  SECTION("slice") {
    CHECK(ops(raised(text("%1 = slice(%y, @l0, @l1, @l1) : f32 %out = squeeze(%1, @l1) : f32"))) ==
          "linear first_token");
  }
  SECTION("a sum of masked rows by the clipped sum of the mask") {
    CHECK(ops(raised(text(R"(
        %dims = shape(%y) : i64
        %m = expand(%m2, %dims) : f32
        %1 = mul(%y, %m) : f32
        %2 = reduce_sum(%1, @l1) {keepdims = 0} : f32
        %3 = reduce_sum(%m, @l1) {keepdims = 0} : f32
        %4 = clip(%3, @tiny) : f32
        %out = div(%2, %4) : f32)"))) == "linear mean_pool");
  }
  SECTION("rows cleared by a condition") {
    CHECK(ops(raised(text(R"(
        %real = cast(%m1) {to = "bool"} : bool
        %gap = logical_not(%real) : bool
        %1 = where(%gap, @zero, %y) : f32
        %2 = reduce_sum(%1, @l1) {keepdims = 0} : f32
        %3 = reduce_sum(%m2, @l1) {keepdims = 0} : f32
        %out = div(%2, %3) : f32)"))) == "linear mean_pool");
  }
  SECTION("the mean with padding is something else") {
    CHECK(refusal(text("%1 = reduce_mean(%y, @l1) {keepdims = 0} : f32 %out = mul(%1, %1) : f32"
                       " %n = reduce_sum(%m2, @l1) : f32")) ==
          "output 'out': node '1' (ReduceMean): reduce_mean of rows [batch, seq, 6], padded ones "
          "included");
  }
  SECTION("a sum divided by something else") {
    CHECK(refusal(text(R"(
        %1 = mul(%y, %m2) : f32
        %2 = reduce_sum(%1, @l1) {keepdims = 0} : f32
        %out = div(%2, @tiny) : f32)"))
              .find("a sum over tokens and a constant f32[], expected their number") !=
          std::string::npos);
  }
}

TEST_CASE("rows divided by their norm are normalized, however the norm is written") {
  const auto text = [](std::string_view norm) {
    return R"(
    graph (%x: f32[b, s, 6]) {
      @w: f32[6, 6] = random
      @last: i64[1] = [-1]
      @tiny: f32 = [1e-12]
      @two: f32 = [2]
      %y = matmul(%x, @w) : f32
      )" + std::string(norm) +
           "\n %out = div(%y, %n) : f32 return %out }";
  };
  std::string norm;
  SECTION("reduce_l2, clip, expand") {
    norm = R"(%1 = reduce_l2(%y, @last) : f32 %2 = clip(%1, @tiny) : f32
              %3 = shape(%y) : i64 %n = expand(%2, %3) : f32)";
  }
  SECTION("the root of a sum of products") {
    norm = R"(%1 = mul(%y, %y) : f32 %2 = reduce_sum(%1, @last) : f32 %n = sqrt(%2) : f32)";
  }
  SECTION("powers and a maximum") {
    norm = R"(%1 = pow(%y, @two) : f32 %2 = reduce_sum(%1, @last) : f32 %3 = sqrt(%2) : f32
              %n = max(@tiny, %3) : f32)";
  }
  CHECK(ops(raised(text(norm))) == "linear l2_normalize");
}

TEST_CASE("columns of the result become outputs of their own") {
  const ir::Graph graph = raised(R"(
    graph (%x: f32[b, s, 6]) {
      @w: f32[6, 2] = random
      @last: i64[1] = [-1]
      %1 = matmul(%x, @w) : f32
      %2, %3 = split(%1) {axis = -1, num_outputs = 2} : f32, f32
      %start = squeeze(%2, @last) : f32
      %end = squeeze(%3, @last) : f32
      return %start, %end
    })");
  CHECK(ops(graph) == "linear columns columns");
  CHECK(graph.name(graph.outputs()[0]) == "start");
  CHECK(graph.name(graph.outputs()[1]) == "end");
  CHECK(to_string(graph.type(graph.outputs()[1])) == "f32[tokens, 1]");
}

TEST_CASE("a value that is two outputs gets both names") {
  const ir::Graph graph = raised(R"(
    graph (%x: f32[b, s, 6]) {
      @w: f32[6, 2] = random
      %y = matmul(%x, @w) : f32
      %again = identity(%y) : f32
      return %y, %again, %x
    })");
  CHECK(graph.outputs().size() == 3);
  CHECK(graph.name(graph.outputs()[1]) == "again");
}

TEST_CASE("what no output needs disappears, even if it could not be raised") {
  const ir::Graph graph = raised(R"(
    graph (%x: f32[b, s, 6]) {
      @w: f32[6, 2] = random
      @v: f32[6, 3] = random
      %y = matmul(%x, @w) : f32
      %1 = matmul(%x, @v) : f32
      %2 = exp(%1) : f32
      return %y
    })");
  CHECK(ops(graph) == "linear");
  CHECK(graph.constants().size() == 1);
}

TEST_CASE("the first node that does not fit is named, not the last") {
  CHECK(refusal(R"(
    graph (%x: f32[b, s, 6]) {
      @w: f32[6, 6] = random
      %1 = exp(%x) : f32
      %2 = matmul(%1, @w) : f32
      %3 = tanh(%2) : f32
      return %3
    })") == "output '3': node '1' (Exp): rows [batch, seq, 6]");
}

TEST_CASE("outputs must be rows") {
  CHECK(refusal(R"(
    graph (%x: f32[b, s, 6], %mask: i64[b, s]) {
      @axis: i64[1] = [2]
      %1 = cast(%mask) {to = "f32"} : f32
      %2 = unsqueeze(%1, @axis) : f32
      %3 = mul(%x, %2) : f32
      return %3, %1
    })") ==
        "output '1': a value of masks and shapes f32[2, 5] (batch 2, seq 5), expected rows of "
        "tokens or sequences");
  CHECK(refusal(R"(
    graph (%x: f32[b, s, 6]) {
      @w: f32[6, 6] = random
      %1 = matmul(%x, @w) : f32
      %2 = transpose(%1) {perm = [2, 0, 1]} : f32
      return %2
    })") == "output '2': rows [6, batch, seq], expected [batch, seq, columns]");
}

TEST_CASE("every node that does not fit is found, not those behind it or without an output") {
  const auto obstacles = find_obstacles(parsed(R"(
    graph (%x: f32[b, s, 6]) {
      %unused = floor(%x) : f32
      %a = exp(%x) : f32
      %behind = neg(%a) : f32
      %b = erf(%x) : f32
      %sum = add(%behind, %b) : f32
      %turned = transpose(%x) {perm = [2, 0, 1]} : f32
      return %sum, %turned
    })"));
  REQUIRE(obstacles);
  CHECK(*obstacles ==
        std::vector<ir::Obstacle>{
            {"a", "Exp", "rows [batch, seq, 6]"},
            {"b", "Erf", "rows [batch, seq, 6]"},
            {"turned", "Transpose",
             "output 'turned': rows [6, batch, seq], expected [batch, seq, columns]"}});
}

TEST_CASE("nothing is in the way of a graph that raises") {
  const auto obstacles = find_obstacles(parsed(R"(
    graph (%x: f32[b, s, 6]) {
      %y = relu(%x) : f32
      return %y
    })"));
  REQUIRE(obstacles);
  CHECK(obstacles->empty());
}

TEST_CASE("a graph that cannot run on the probes says at which node and size") {
  const auto graph = raise_transformer(parsed(R"(
    graph (%x: f32[b, s, 6]) {
      @baked: i64[3] = [2, 8, 6]
      %1 = reshape(%x, @baked) : f32
      return %1
    })"));
  REQUIRE_FALSE(graph);
  CHECK(graph.error().message() ==
        "on a batch of [2, 5]: node '1' (Reshape): f32[2, 5, 6] does not reshape to [2, 8, 6]");
}

}  // namespace rtai::raise
