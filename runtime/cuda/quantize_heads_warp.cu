#include "runtime/cuda/internal/numbers.cuh"
#include "runtime/cuda/kernel.h"

namespace rtai::cuda::RTAI_GRID {
namespace {

constexpr int kThreads = 128;

/// A warp quantizes one head of one row.
__global__ void __launch_bounds__(kThreads)
    quantize_heads_kernel(const __grid_constant__ QuantizeHeads::Args args) {
  const int index = block_index() * (kThreads / 32) + thread_index() / 32;
  const int row = index / args.dst.heads;
  const int head = index % args.dst.heads;
  let_next_grid_start();
  if (row >= *args.rows.count) return;
  wait_for_grid_in_front();
  const int lane = thread_index() % 32;
  const int head_dim = args.dst.head_dim;
  const int padded = padded_head_dim(head_dim);
  const float* src = args.src +
                     static_cast<std::int64_t>(row) * row_stride(args.dst.heads * head_dim, 4) +
                     head * head_dim;
  std::uint32_t most = 0;
  for (int i = lane; i < head_dim; i += 32)
    most = larger(most, magnitude_bits(src[i]));
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2)
    most = larger(most, shuffle_xor(most, mask));
  const Quantization q = dynamic_quantization(most);
  std::int8_t* dst = args.dst.data +
                     static_cast<std::int64_t>(row) * row_stride(args.dst.heads * padded, 1) +
                     head * padded;
  for (int i = lane; i < padded; i += 32)
    dst[i] = i < head_dim ? to_integer(src[i] * q.factor) : std::int8_t{0};
  if (lane == 0) args.dst.scale[static_cast<std::int64_t>(row) * args.dst.heads + head] = q.scale;
}

void run(const QuantizeHeads::Args& args, Stream stream) {
  launch(&quantize_heads_kernel,
         {.blocks = div_up(args.rows.most * args.dst.heads, kThreads / 32), .threads = kThreads},
         stream, args);
}

}  // namespace

extern const Kernel<QuantizeHeads> quantize_heads_warp{"quantize_heads_warp", 80, &run};

}  // namespace rtai::cuda::RTAI_GRID
