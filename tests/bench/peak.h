// What one core can do at most, measured: loops of nothing but multiplications in registers.
#pragma once

namespace rtai::test {

/// Operations (a multiply-add counts two) per nanosecond, best of several runs.
struct Peak {
  double int8 = 0;  // 8-bit products summed into 32 bits
  double f32 = 0;
  double bf16 = 0;  // 0: not there
};

Peak measure_peak();

}  // namespace rtai::test
