// TensorProto to ir::Tensor.
#pragma once

#include "libopt/ir/tensor.h"
#include "libopt/onnx/import.h"

#include <onnx/onnx_pb.h>

#include <filesystem>
#include <optional>

namespace rtai::onnx_io {

/// Where external data may lie, and how much of it may still be read.
class ExternalData {
 public:
  ExternalData(std::filesystem::path model, const ImportOptions& options)
      : model_(std::move(model)),
        allow_hardlinks_(options.allow_hardlinks),
        bytes_left_(options.limits.weight_bytes) {}

  /// Fills a new tensor from the file that `proto` names.
  ///
  /// Errors: invalid_input for keys, places and sizes that do not fit; as InputFile; unsupported if
  /// the limit would be passed.
  Result<ir::Tensor> read(const onnx::TensorProto& proto, DType dtype, ir::Dims dims);

 private:
  std::filesystem::path model_;  // empty: a model in memory, which has no folder
  bool allow_hardlinks_;
  Index bytes_left_;
};

/// The tensor that `proto` describes. Its data is moved, not copied, where it lies as the graph
/// needs it: `proto` is empty afterwards.
///
/// Errors: invalid_input if dimensions and data do not fit; unsupported element types and segments.
Result<ir::Tensor> take_tensor(onnx::TensorProto& proto, ExternalData& external);

/// The element type of an ONNX number. Errors: unsupported, by name.
Result<DType> dtype_from_onnx(Index type);
/// Its name: rtai's own, or that of ONNX in small letters for what rtai lacks, "string".
std::string element_name(Index type);
/// And back.
int onnx_from_dtype(DType dtype);

}  // namespace rtai::onnx_io
