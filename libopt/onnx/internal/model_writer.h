// A model while it is exported: nodes by operator name, initializers once each, unique names.
#pragma once

#include "libopt/ir/tensor.h"

#include <onnx/onnx_pb.h>

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::onnx_io {

class ModelWriter {
 public:
  using Names = std::vector<std::string>;

  /// An attribute of a node: an integer, a real, or a list of integers.
  struct Attribute {
    Attribute(std::string_view key, Index value) : name(key), integer(value) {}
    Attribute(std::string_view key, float value) : name(key), real(value), is_real(true) {}
    Attribute(std::string_view key, std::vector<Index> values)
        : name(key), integers(std::move(values)), is_list(true) {}

    std::string name;
    Index integer = 0;
    float real = 0;
    std::vector<Index> integers = {};
    bool is_real = false;
    bool is_list = false;
  };
  using Attributes = std::vector<Attribute>;

  explicit ModelWriter(const std::string& producer_version);

  /// A fact about the model that runtimes show and do not need.
  void fact(const std::string& key, const std::string& value);

  /// Takes a name for an input or output of the model. False if it is taken.
  bool reserve(const std::string& name) { return taken_.insert(name).second; }

  /// `dims`: a number, or the name of a dimension.
  void input(const std::string& name, DType dtype, const Names& dims);
  void output(const std::string& name, const Names& dims);

  /// Appends a node with one output, whose name is made unique from `name`, and returns that.
  std::string node(std::string_view op_type,
                   const Names& inputs,
                   std::string name,
                   const Attributes& attributes = {});
  /// Appends a node with several outputs.
  Names node(std::string_view op_type,
             const Names& inputs,
             Names names,
             const Attributes& attributes = {});
  /// As node, with an output whose name was reserved.
  void node_as(std::string_view op_type,
               const Names& inputs,
               const std::string& reserved,
               const Attributes& attributes = {});

  /// An initializer. The caller sees to it that it is added once.
  std::string initializer(std::string name, const ir::Tensor& tensor);
  std::string initializer(std::string name, DType dtype, const ir::Dims& dims, std::string bytes);
  /// Constants that several nodes may share.
  std::string real(float value);
  std::string integer(Index value);
  std::string list(const std::vector<Index>& values);

  /// Errors: unsupported above protobuf's limit of 2 GiB.
  Result<std::vector<std::byte>> serialize() const;

 private:
  std::string unique(std::string name);
  std::string shared(const std::string& key, const ir::Tensor& tensor);

  onnx::ModelProto model_;
  std::set<std::string> taken_;
  std::map<std::string, std::string> shared_;
};

}  // namespace rtai::onnx_io
