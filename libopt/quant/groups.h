// Integers of 4 bits with a multiplier for each group of a row, as engines store them in less space
// (runtime/engine/packed_weights.h). What is computed with is their product, which is int8.
#pragma once

#include "libopt/quant/site.h"

#include <vector>

namespace rtai::quant {

/// Rounds each row to integers in -7..7 times a multiplier, 1..18, of each `group` consecutive
/// columns (the last group of a row is what is left), times a scale of the row. Scale and
/// multipliers are those of the smallest squared error among some; the error in a column counts
/// its `importance` [columns] times, or once if that is empty. The integers of a row have no common
/// factor.
///
/// Errors: invalid_input if a row holds NaN or infinity. A row of zeros gets scale 1.
/// Source: scales of groups that are integers, so that the arithmetic is that of 8 bits: Lin et al.
/// 2024, arXiv:2405.04532.
Result<QuantizedMatrix> quantize_groups(const ir::Tensor& matrix,
                                        Index group,
                                        const std::vector<float>& importance = {});

/// The same column after column: what the rounding of one changes in the results for `rows` [m, k],
/// the columns to come make up for, as far as they can.
///
/// Source: Frantar et al. 2022, arXiv:2210.17323, with multipliers chosen when their group is
/// reached.
Result<QuantizedMatrix> quantize_groups_in_turn(const ir::Tensor& matrix,
                                                Index group,
                                                const ir::Tensor& rows);

}  // namespace rtai::quant
