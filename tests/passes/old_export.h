// A graph below the transformer level, for tests of raising.
#pragma once

#include <string_view>

namespace rtai::passes {

/// A layer as TorchScript exports of 2020 have it: decomposed normalization, erf, shape arithmetic,
/// weights behind Transpose, a mask of -10000.
inline constexpr std::string_view kOldExport = R"(
    graph (%input_ids: i64[batch, seq], %attention_mask: i64[batch, seq],
           %token_type_ids: i64[batch, seq]) {
      @words: f32[40, 4] = random
      @places: f32[16, 4] = random
      @kinds: f32[2, 4] = random
      @numbers: i64[1, 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
      @w: f32[4, 4] = random
      @wi: f32[6, 4] = random
      @wo: f32[4, 6] = random
      @wc: f32[3, 4] = random
      @b: f32[4] = random
      @bi: f32[6] = random
      @bc: f32[3] = random
      @gain: f32[4] = random
      @i0: i64 = [0]
      @i1: i64 = [1]
      @l0: i64[1] = [0]
      @l1: i64[1] = [1]
      @l2: i64[1] = [2]
      @last: i64[1] = [-1]
      @count: i64[1] = [2]
      @inner: i64[2] = [1, 2]
      @one: f32 = [1]
      @two: f32 = [2]
      @half: f32 = [0.5]
      @sqrt2: f32 = [1.4142135]
      @low: f32 = [-10000]
      @eps: f32 = [1e-12]
      %dims = shape(%input_ids) : i64
      %length = gather(%dims, @i1) {axis = 0} : i64
      %end = unsqueeze(%length, @l0) : i64
      %batch0 = gather(%dims, @i0) {axis = 0} : i64
      %batch = unsqueeze(%batch0, @l0) : i64
      %n = slice(@numbers, @l0, %end, @l1) : i64
      %e1 = gather(@words, %input_ids) : f32
      %e2 = gather(@places, %n) : f32
      %e3 = gather(@kinds, %token_type_ids) : f32
      %e4 = add(%e1, %e2) : f32
      %x = add(%e4, %e3) : f32
      %m0 = unsqueeze(%attention_mask, @inner) : i64
      %m1 = cast(%m0) {to = "f32"} : f32
      %m2 = sub(@one, %m1) : f32
      %m = mul(%m2, @low) : f32
      %wt = transpose(@w) {perm = [1, 0]} : f32
      %heads = concat(%batch, %end, @count, @count) {axis = 0} : i64
      %flat = concat(%batch, %end, @last) {axis = 0} : i64
      %q0 = matmul(%x, %wt) : f32
      %q1 = add(%q0, @b) : f32
      %q2 = reshape(%q1, %heads) : f32
      %q = transpose(%q2) {perm = [0, 2, 1, 3]} : f32
      %k2 = reshape(%q1, %heads) : f32
      %k = transpose(%k2) {perm = [0, 2, 3, 1]} : f32
      %s0 = matmul(%q, %k) : f32
      %s1 = div(%s0, @sqrt2) : f32
      %s2 = add(%s1, %m) : f32
      %p0 = softmax(%s2) {axis = -1} : f32
      %p = dropout(%p0) : f32
      %c0 = matmul(%p, %q) : f32
      %c1 = transpose(%c0) {perm = [0, 2, 1, 3]} : f32
      %c = reshape(%c1, %flat) : f32
      %o0 = matmul(%c, %wt) : f32
      %o1 = add(%o0, @b) : f32
      %r = add(%o1, %x) : f32
      %mean = reduce_mean(%r, @last) : f32
      %d = sub(%r, %mean) : f32
      %d2 = pow(%d, @two) : f32
      %var = reduce_mean(%d2, @last) : f32
      %ve = add(%var, @eps) : f32
      %dev = sqrt(%ve) : f32
      %norm = div(%d, %dev) : f32
      %scaled = mul(%norm, @gain) : f32
      %y = add(%scaled, @b) : f32
      %wit = transpose(@wi) {perm = [1, 0]} : f32
      %f0 = matmul(%y, %wit) : f32
      %f1 = add(%f0, @bi) : f32
      %g0 = div(%f1, @sqrt2) : f32
      %g1 = erf(%g0) : f32
      %g2 = add(%g1, @one) : f32
      %g3 = mul(%f1, %g2) : f32
      %g = mul(%g3, @half) : f32
      %wot = transpose(@wo) {perm = [1, 0]} : f32
      %f2 = matmul(%g, %wot) : f32
      %f3 = add(%f2, @b) : f32
      %f = add(%f3, %y) : f32
      %first = gather(%f, @i0) {axis = 1} : f32
      %pooled0 = gemm(%first, @w, @b) {transB = 1} : f32
      %pooled = tanh(%pooled0) : f32
      %unused = exp(%pooled) : f32
      %logits = gemm(%pooled, @wc, @bc) {transB = 1} : f32
      return %logits
    })";

}  // namespace rtai::passes
