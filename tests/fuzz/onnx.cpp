// ONNX files: imported; what imports is run, and some of it raised to the transformer level and
// proved, all on a few tokens.
#include "libopt/onnx/import.h"
#include "libopt/raise/prove.h"
#include "libopt/raise/raise.h"
#include "libopt/reference/interpret.h"
#include "runtime/base/checked.h"
#include "tests/fuzz/fuzz.h"

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

namespace rtai::fuzz {
namespace {

constexpr Index kMostMemory = 1 << 20;  // bytes of results
constexpr Index kMostWork = 1 << 17;    // multiplications

/// Ones for all inputs; nothing if they are large: what declares much is what tests/tools/hostile
/// tries.
std::optional<std::vector<ir::Tensor>> few_ones(const ir::Graph& graph) {
  std::vector<ir::Tensor> inputs;
  for (const ir::ValueId input : graph.inputs()) {
    ir::Dims dims;
    for (const ir::Dim& dim : graph.type(input).dims.value_or(std::vector<ir::Dim>{}))
      dims.push_back(dim.is_fixed() ? dim.size : 2);
    const auto elements = ir::element_count(dims);
    if (!elements || *elements > kMostMemory / 64) return std::nullopt;
    const std::vector<float> ones(static_cast<std::size_t>(*elements), 1.0f);
    inputs.push_back(ir::Tensor::from<float>(dims, ones).converted(graph.type(input).dtype));
  }
  return inputs;
}

void run(const ir::Graph& graph, const std::vector<ir::Tensor>& inputs) {
  (void)reference::interpret(graph, inputs,
                             {.memory_limit_bytes = kMostMemory, .work_limit = kMostWork});
}

void understand(const ir::Graph& graph) {
  const auto raised = raise::raise_transformer(graph);
  if (!raised) {
    expect(!raised.error().message().empty());
    return;
  }
  (void)raise::prove(graph, *raised, {.lengths = {2, 1}});
}

/// One random change of a model as its fields, so that most of them still parse.
class ModelMutator {
 public:
  ModelMutator(onnx::ModelProto& model, std::uint64_t seed) : dice_(seed) { collect(model); }

  void change() {
    if (messages_.empty()) return;
    Message& message = *messages_[dice_.below(messages_.size())];
    const google::protobuf::Descriptor& type = *message.GetDescriptor();
    if (type.field_count() == 0) return;
    const Field& field =
        *type.field(static_cast<int>(dice_.below(static_cast<std::size_t>(type.field_count()))));
    if (field.is_repeated())
      change_repeated(message, field);
    else
      change_single(message, field);
  }

 private:
  using Message = google::protobuf::Message;
  using Field = google::protobuf::FieldDescriptor;

  void collect(Message& message) {
    constexpr std::size_t kMostMessages = 2000;
    if (messages_.size() > kMostMessages) return;
    messages_.push_back(&message);
    const google::protobuf::Reflection& access = *message.GetReflection();
    std::vector<const Field*> fields;
    access.ListFields(message, &fields);
    for (const Field* field : fields) {
      if (field->cpp_type() == Field::CPPTYPE_STRING) {
        if (!field->is_repeated()) {
          texts_.push_back(access.GetString(message, field));
          continue;
        }
        for (int i = 0; i < access.FieldSize(message, field); ++i)
          texts_.push_back(access.GetRepeatedString(message, field, i));
      }
      if (field->cpp_type() != Field::CPPTYPE_MESSAGE) continue;
      if (!field->is_repeated()) {
        collect(*access.MutableMessage(&message, field));
        continue;
      }
      for (int i = 0; i < access.FieldSize(message, field); ++i)
        collect(*access.MutableRepeatedMessage(&message, field, i));
    }
  }

  /// Another text of the model, the name of an operator or attribute, or the same but for some
  /// bytes.
  std::string text(std::string now) {
    static constexpr auto kKnown = std::to_array<const char*>({"",
                                                               "Add",
                                                               "Attention",
                                                               "BiasGelu",
                                                               "Cast",
                                                               "Clip",
                                                               "Concat",
                                                               "Constant",
                                                               "ConstantOfShape",
                                                               "Div",
                                                               "Dropout",
                                                               "EmbedLayerNormalization",
                                                               "Equal",
                                                               "Erf",
                                                               "Expand",
                                                               "FastGelu",
                                                               "Flatten",
                                                               "FusedMatMul",
                                                               "Gather",
                                                               "GatherND",
                                                               "Gelu",
                                                               "Gemm",
                                                               "Identity",
                                                               "If",
                                                               "LayerNormalization",
                                                               "LogSoftmax",
                                                               "MatMul",
                                                               "MatMulInteger",
                                                               "Max",
                                                               "Min",
                                                               "Mod",
                                                               "Mul",
                                                               "MultiHeadAttention",
                                                               "Neg",
                                                               "OneHot",
                                                               "Pad",
                                                               "Pow",
                                                               "DequantizeLinear",
                                                               "DynamicQuantizeLinear",
                                                               "QAttention",
                                                               "QuantizeLinear",
                                                               "Range",
                                                               "ReduceMean",
                                                               "ReduceSum",
                                                               "Reshape",
                                                               "Resize",
                                                               "Shape",
                                                               "SkipLayerNormalization",
                                                               "Slice",
                                                               "Softmax",
                                                               "Split",
                                                               "Sqrt",
                                                               "Squeeze",
                                                               "Sub",
                                                               "Sum",
                                                               "Tile",
                                                               "TopK",
                                                               "Transpose",
                                                               "Trilu",
                                                               "Unsqueeze",
                                                               "Where",
                                                               "alpha",
                                                               "axes",
                                                               "axis",
                                                               "beta",
                                                               "epsilon",
                                                               "keepdims",
                                                               "perm",
                                                               "to",
                                                               "transA",
                                                               "transB",
                                                               "value",
                                                               "com.microsoft",
                                                               "ai.onnx",
                                                               "location",
                                                               "offset",
                                                               "length",
                                                               "num_heads",
                                                               "allowzero"});
    switch (dice_.below(4)) {
      case 0:
        return kKnown[dice_.below(kKnown.size())];
      case 1: {
        const std::size_t size = now.size();
        now.resize(size + 8);
        now.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(now.data()), size, size + 8));
        return now;
      }
      default:
        return texts_.empty() ? now : texts_[dice_.below(texts_.size())];
    }
  }

  std::int64_t number(std::int64_t now) {
    if (dice_.one_in(3)) {
      const std::int64_t step = dice_.one_in(2) ? 1 : -1;
      return checked_add(now, step).value_or(now);
    }
    return telling_number(dice_);
  }

  /// Another message of the same type, or null.
  const Message* another(const google::protobuf::Descriptor* type) {
    std::vector<const Message*> candidates;
    for (const Message* message : messages_) {
      if (message->GetDescriptor() == type) candidates.push_back(message);
    }
    return candidates.empty() ? nullptr : candidates[dice_.below(candidates.size())];
  }

  void change_single(Message& message, const Field& field) {
    const google::protobuf::Reflection& access = *message.GetReflection();
    if (dice_.one_in(8)) return access.ClearField(&message, &field);
    switch (field.cpp_type()) {
      case Field::CPPTYPE_INT32:
        return access.SetInt32(&message, &field,
                               static_cast<std::int32_t>(number(access.GetInt32(message, &field))));
      case Field::CPPTYPE_INT64:
        return access.SetInt64(&message, &field, number(access.GetInt64(message, &field)));
      case Field::CPPTYPE_FLOAT:
        return access.SetFloat(&message, &field, real());
      case Field::CPPTYPE_ENUM:
        return access.SetEnumValue(&message, &field, static_cast<int>(dice_.below(20)));
      case Field::CPPTYPE_STRING:
        return access.SetString(&message, &field, text(access.GetString(message, &field)));
      case Field::CPPTYPE_MESSAGE: {
        const Message* source = another(field.message_type());
        if (source == nullptr) {
          access.MutableMessage(&message, &field);
          return;
        }
        const std::string copy = source->SerializePartialAsString();
        access.MutableMessage(&message, &field)->ParsePartialFromString(copy);
        return;
      }
      default:
        return;
    }
  }

  void change_repeated(Message& message, const Field& field) {
    const google::protobuf::Reflection& access = *message.GetReflection();
    const int size = access.FieldSize(message, &field);
    const std::size_t choice = dice_.below(6);
    if (choice == 0 && size > 0) return access.RemoveLast(&message, &field);
    if (choice == 1 && size > 1) {
      const auto pick = [&] {
        return static_cast<int>(dice_.below(static_cast<std::size_t>(size)));
      };
      return access.SwapElements(&message, &field, pick(), pick());
    }
    const bool change_one = choice < 4 && size > 0;
    const int at = size > 0 ? static_cast<int>(dice_.below(static_cast<std::size_t>(size))) : 0;
    switch (field.cpp_type()) {
      case Field::CPPTYPE_INT32: {
        const auto value = static_cast<std::int32_t>(
            number(size > 0 ? access.GetRepeatedInt32(message, &field, at) : 0));
        return change_one ? access.SetRepeatedInt32(&message, &field, at, value)
                          : access.AddInt32(&message, &field, value);
      }
      case Field::CPPTYPE_INT64: {
        const std::int64_t value =
            number(size > 0 ? access.GetRepeatedInt64(message, &field, at) : 0);
        return change_one ? access.SetRepeatedInt64(&message, &field, at, value)
                          : access.AddInt64(&message, &field, value);
      }
      case Field::CPPTYPE_UINT64:
        return access.AddUInt64(&message, &field, static_cast<std::uint64_t>(number(0)));
      case Field::CPPTYPE_FLOAT:
        return change_one ? access.SetRepeatedFloat(&message, &field, at, real())
                          : access.AddFloat(&message, &field, real());
      case Field::CPPTYPE_DOUBLE:
        return access.AddDouble(&message, &field, real());
      case Field::CPPTYPE_STRING: {
        const std::string value =
            text(size > 0 ? access.GetRepeatedString(message, &field, at) : std::string());
        return change_one ? access.SetRepeatedString(&message, &field, at, value)
                          : access.AddString(&message, &field, value);
      }
      case Field::CPPTYPE_MESSAGE: {
        const Message* source = another(field.message_type());
        const std::string copy = source == nullptr ? "" : source->SerializePartialAsString();
        access.AddMessage(&message, &field)->ParsePartialFromString(copy);
        return;
      }
      default:
        return;
    }
  }

  float real() {
    static constexpr auto kReals = std::to_array<float>(
        {0, 1, -1, 0.5f, 1e-30f, 1e30f, 3e38f, __builtin_inff(), __builtin_nanf("")});
    return kReals[dice_.below(kReals.size())];
  }

  Dice dice_;
  std::vector<Message*> messages_;
  std::vector<std::string> texts_;
};

}  // namespace
}  // namespace rtai::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rtai;
  const auto bytes = fuzz::bytes_of(data, size);
  const auto graph = onnx_io::import_onnx(bytes);
  if (!graph) {
    fuzz::expect(!graph.error().message().empty());
    fuzz::expect(graph.error().code() != ErrorCode::internal);
    return 0;
  }
  const std::uint64_t hash = fuzz::hash_of(bytes);
  if (hash % 4 != 0) return 0;
  const auto inputs = fuzz::few_ones(*graph);
  if (!inputs) return 0;
  fuzz::run(*graph, *inputs);
  if (hash % 32 == 0) fuzz::understand(*graph);
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data,
                                               std::size_t size,
                                               std::size_t most,
                                               unsigned int seed) {
  rtai::fuzz::Dice dice(seed);
  onnx::ModelProto model;
  if (dice.one_in(8) || !model.ParseFromArray(data, static_cast<int>(size))) {
    return LLVMFuzzerMutate(data, size, most);
  }
  // Messages that a change removes stay unused by the next: each collects anew.
  for (std::size_t i = 1 + dice.below(3); i > 0; --i)
    rtai::fuzz::ModelMutator(model, dice.next()).change();
  if (model.ByteSizeLong() > most) return LLVMFuzzerMutate(data, size, most);
  model.SerializePartialToArray(data, static_cast<int>(most));
  return model.ByteSizeLong();
}
