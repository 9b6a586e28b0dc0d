#include "libopt/onnx/internal/convert.h"

#include "libopt/onnx/internal/order.h"
#include "libopt/onnx/internal/rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

namespace rtai::onnx_io {
namespace {

using ir::ValueId;

constexpr std::string_view kContribDomain = "com.microsoft";

bool is_default_domain(std::string_view domain) {
  return domain.empty() || domain == "ai.onnx";
}

/// The versions of the operator sets a model is written in.
class OperatorSets {
 public:
  static Result<OperatorSets> read(const onnx::ModelProto& model) {
    OperatorSets sets;
    for (const onnx::OperatorSetIdProto& set : model.opset_import()) {
      const std::string domain = is_default_domain(set.domain()) ? "" : set.domain();
      if (!sets.versions_.emplace(domain, set.version()).second) {
        return invalid_input(fmt::format("two versions of operator set '{}'", domain));
      }
    }
    constexpr Index kFirstWithSets = 3;  // IR version; before, there was only operator set 1
    if (sets.versions_.empty() && model.ir_version() < kFirstWithSets) sets.versions_[""] = 1;
    const Index version = sets.version("");
    if (version > kNewestOpset) {
      return Error{
          ErrorCode::unsupported,
          fmt::format("opset {} is not supported; supported: 1 to {}", version, kNewestOpset)};
    }
    if (sets.versions_.contains("") && version < 1)
      return invalid_input(fmt::format("opset {}", version));
    return sets;
  }

  /// 0 if the domain is not declared; exporters forget that of ONNX Runtime, which has one version.
  Index version(std::string_view domain) const {
    if (domain == kContribDomain) return 1;
    const auto found = versions_.find(is_default_domain(domain) ? "" : domain);
    return found == versions_.end() ? 0 : found->second;
  }

 private:
  std::map<std::string, Index, std::less<>> versions_;
};

/// The rule for a node, or null if rtai lacks the operator.
Rule rule_of(const onnx::NodeProto& node) {
  if (node.domain() == kContribDomain) return find_contrib_rule(node.op_type());
  return is_default_domain(node.domain()) ? find_rule(node.op_type()) : nullptr;
}

/// How often an operator is used, and where first.
struct Use {
  std::string first;
  int count = 0;
};
using Uses = std::map<std::string, Use>;

bool has_branches(const onnx::NodeProto& node) {
  return node.op_type() == "If" && is_default_domain(node.domain());
}

void find_lacking(const onnx::GraphProto& graph, std::vector<const onnx::NodeProto*>& lacking) {
  for (const onnx::NodeProto& node : graph.node()) {
    if (has_branches(node)) {
      for (const onnx::AttributeProto& attribute : node.attribute())
        find_lacking(attribute.g(), lacking);
    }
    if (rule_of(node) == nullptr) lacking.push_back(&node);
  }
}

/// Errors: unsupported, with every operator that rtai lacks.
Result<void> expect_supported(const onnx::GraphProto& graph, const OperatorSets& sets) {
  constexpr std::size_t kMostListed = 20;
  Uses missing;
  for (const onnx::NodeProto* node : lacking_nodes(graph)) {
    const Index version = sets.version(node->domain());
    Use& use = missing[fmt::format("'{}'{}", operator_of(*node),
                                   version > 0 ? fmt::format(" version {}", version) : "")];
    if (use.count++ == 0) use.first = place_of(*node);
  }
  if (missing.empty()) return {};
  std::vector<std::string> parts;
  for (const auto& [name, use] : missing) {
    if (parts.size() == kMostListed) {
      parts.push_back(fmt::format("and {} more", missing.size() - kMostListed));
      break;
    }
    parts.push_back(fmt::format("{} ({}, first at {})", name,
                                use.count == 1 ? "1 node" : fmt::format("{} nodes", use.count),
                                use.first));
  }
  return Error{ErrorCode::unsupported,
               fmt::format("not supported: operator {}", fmt::join(parts, ", "))};
}

Result<ir::Type> type_of(const onnx::ValueInfoProto& value) {
  if (!value.type().has_tensor_type()) {
    return Error{ErrorCode::unsupported, "it is no tensor, or its type is missing"};
  }
  const onnx::TypeProto::Tensor& tensor = value.type().tensor_type();
  RTAI_TRY(const DType dtype, dtype_from_onnx(tensor.elem_type()));
  ir::Type type{.dtype = dtype, .dims = std::nullopt};
  if (!tensor.has_shape()) return type;
  type.dims.emplace();
  for (const onnx::TensorShapeProto::Dimension& dim : tensor.shape().dim()) {
    // Some exporters write -1 for what is not fixed.
    if (dim.has_dim_value() && dim.dim_value() >= 0)
      type.dims->emplace_back(Index{dim.dim_value()});
    else if (!dim.dim_param().empty())
      type.dims->emplace_back(dim.dim_param());
    else
      type.dims->emplace_back(fmt::format("{}.{}", value.name(), type.dims->size()));
  }
  return type;
}

/// What rtai itself wrote about the making of a model: export.h.
constexpr const char* kOwnFacts = "rtai.";

class Converter {
 public:
  Converter(onnx::ModelProto& model, const OperatorSets& sets, ExternalData& external, Log& log)
      : graph_(*model.mutable_graph()), sets_(sets), external_(external), build_(log) {}

  Result<ir::Graph> run() {
    RTAI_TRY_VOID(expect_supported(graph_, sets_));
    RTAI_TRY_VOID(initializers(graph_));
    RTAI_TRY_VOID(inputs());
    RTAI_TRY_VOID(nodes(graph_));
    RTAI_TRY_VOID(outputs());
    return std::move(build_.graph());
  }

 private:
  /// Those that nothing uses are checked and dropped.
  Result<void> initializers(onnx::GraphProto& graph) {
    if (graph.sparse_initializer_size() > 0) {
      return Error{
          ErrorCode::unsupported,
          fmt::format("sparse initializer '{}'", graph.sparse_initializer(0).values().name())};
    }
    std::set<std::string, std::less<>> used;
    for (const onnx::NodeProto& node : graph.node()) {
      for (const std::string_view name : names_read(node))
        used.emplace(name);
    }
    for (const onnx::ValueInfoProto& output : graph.output())
      used.insert(output.name());
    std::set<std::string> seen;
    for (onnx::TensorProto& initializer : *graph.mutable_initializer()) {
      const std::string name = initializer.name();
      const std::string place = fmt::format("initializer '{}'", name);
      if (name.empty()) return invalid_input("an initializer without a name");
      if (!seen.insert(name).second) return invalid_input(fmt::format("{} stands twice", place));
      RTAI_TRY(ir::Tensor tensor, take_tensor(initializer, external_).in(place));
      if (used.contains(name)) bind(name, build_.constant(std::move(tensor), name));
    }
    return {};
  }

  /// Initializers that are listed as inputs, too, only have a default there: they stay constants.
  Result<void> inputs() {
    std::set<std::string> initialized;
    for (const onnx::TensorProto& initializer : graph_.initializer())
      initialized.insert(initializer.name());
    std::set<std::string> seen;
    for (const onnx::ValueInfoProto& input : graph_.input()) {
      const std::string place = fmt::format("input '{}'", input.name());
      if (input.name().empty()) return invalid_input("an input without a name");
      if (!seen.insert(input.name()).second)
        return invalid_input(fmt::format("{} stands twice", place));
      if (initialized.contains(input.name())) continue;
      RTAI_TRY(ir::Type type, type_of(input).in(place));
      bind(input.name(), build_.input(input.name(), std::move(type)));
    }
    return {};
  }

  Result<void> nodes(onnx::GraphProto& graph) {
    RTAI_TRY(const std::vector<int> order, order_of(graph, values_));
    for (const int i : order) {
      onnx::NodeProto& node = *graph.mutable_node(i);
      RTAI_TRY_VOID((has_branches(node) ? choose(node) : convert(node)).in(place_of(node)));
    }
    return {};
  }

  /// Both branches become part of the graph; for each output there is a choice between theirs.
  Result<void> choose(onnx::NodeProto& proto) {
    if (proto.output_size() == 0) return invalid_input("has no outputs");
    const auto condition = proto.input_size() == 1 ? values_.find(proto.input(0)) : values_.end();
    if (condition == values_.end()) return invalid_input("expected a condition as its only input");
    const ValueId chooser = condition->second;
    RTAI_TRY(const Values if_true, branch(proto, "then_branch"));
    RTAI_TRY(const Values if_false, branch(proto, "else_branch"));
    const auto count = static_cast<std::size_t>(proto.output_size());
    if (if_true.size() != count || if_false.size() != count)
      return invalid_input("branches of other outputs than its own");
    build_.set_source(proto.name().empty() ? proto.output(0) : proto.name());
    for (std::size_t i = 0; i < count; ++i) {
      const std::string& output = proto.output(static_cast<int>(i));
      if (output.empty()) continue;
      RTAI_TRY(const ValueId chosen,
               build_.add(ir::Op::choose, {chooser, if_true[i], if_false[i]}));
      bind(output, chosen);
    }
    return {};
  }

  /// The outputs of a branch. Names of the branch end with it.
  Result<Values> branch(onnx::NodeProto& proto, std::string_view name) {
    const auto attribute = std::ranges::find_if(
        *proto.mutable_attribute(), [&](const auto& a) { return a.name() == name && a.has_g(); });
    if (attribute == proto.mutable_attribute()->end() || attribute->g().input_size() > 0)
      return invalid_input(
          fmt::format("expected a graph without inputs as its attribute '{}'", name));
    onnx::GraphProto& graph = *attribute->mutable_g();
    const std::size_t outside = bound_.size();
    RTAI_TRY_VOID(initializers(graph));
    RTAI_TRY_VOID(nodes(graph));
    Values results;
    for (const onnx::ValueInfoProto& output : graph.output()) {
      const auto found = values_.find(output.name());
      if (found == values_.end())
        return invalid_input(
            fmt::format("output '{}' of a branch is made by nothing", output.name()));
      results.push_back(found->second);
    }
    for (; bound_.size() > outside; bound_.pop_back())
      values_.erase(bound_.back());
    return results;
  }

  Result<void> convert(onnx::NodeProto& proto) {
    Values inputs;
    for (const std::string& name : proto.input()) {
      inputs.push_back(name.empty() ? ir::kNoValue : values_.find(name)->second);
    }
    const Index version = sets_.version(proto.domain());
    if (version == 0)
      return invalid_input(
          fmt::format("the model declares no version of operator set '{}'", proto.domain()));
    SourceNode node(proto, version, std::move(inputs), external_);
    if (node.output_count() == 0) return invalid_input("has no outputs");
    build_.set_source(node.name());
    RTAI_TRY(const Values results, rule_of(proto)(node, build_));
    RTAI_TRY_VOID(node.finish());
    for (std::size_t i = 0; i < node.output_count(); ++i) {
      if (!node.wants_output(i)) continue;
      if (i >= results.size() || results[i] == ir::kNoValue) {
        return Error{ErrorCode::unsupported, fmt::format("output {} is not supported", i)};
      }
      bind(proto.output(static_cast<int>(i)), results[i]);
    }
    return {};
  }

  /// An output keeps its name, even where the model only passes another value through.
  Result<void> outputs() {
    if (graph_.output_size() == 0) return invalid_input("the model has no outputs");
    std::set<std::string> seen;
    Values outputs;
    for (const onnx::ValueInfoProto& output : graph_.output()) {
      const auto found = values_.find(output.name());
      const std::string place = fmt::format("output '{}'", output.name());
      if (found == values_.end()) return invalid_input(fmt::format("{} is made by nothing", place));
      if (!seen.insert(output.name()).second)
        return invalid_input(fmt::format("{} stands twice", place));
      ValueId value = found->second;
      if (named_[value] != output.name()) {
        build_.set_source(output.name());
        RTAI_TRY(value, build_.add(ir::Op::identity, {value}));
        take_name(value, output.name());
      }
      outputs.push_back(value);
      declare(value, output);
    }
    build_.graph().set_outputs(std::move(outputs));
    return {};
  }

  /// The shape that the file declares for an output, where it agrees with what is known.
  void declare(ValueId value, const onnx::ValueInfoProto& output) {
    const Result<ir::Type> type = type_of(output);
    const Fact& fact = build_.fact(value);
    if (!type || !type->dims || type->dtype != fact.dtype || build_.graph().type(value).dims)
      return;
    if (!fact.rank || *fact.rank == std::ssize(*type->dims)) build_.graph().set_type(value, *type);
  }

  /// The first name a value is given becomes its own.
  void bind(const std::string& name, ValueId value) {
    if (values_.emplace(name, value).second) bound_.push_back(name);
    if (!named_.emplace(value, name).second) return;
    take_name(value, name);
  }

  /// Names of the file go before those that the graph gives to new values.
  void take_name(ValueId value, const std::string& name) {
    ir::Graph& graph = build_.graph();
    const std::optional<ValueId> holder = graph.find_value(name);
    if (holder && *holder != value) graph.rename(*holder, name + ".inner");
    graph.rename(value, name);
  }

  onnx::GraphProto& graph_;
  const OperatorSets& sets_;
  ExternalData& external_;
  Builder build_;
  KnownValues values_;
  std::vector<std::string> bound_;  // names of values_ in the order they came
  std::map<ValueId, std::string> named_;
};

}  // namespace

Error no_graph() {
  return invalid_input("not an ONNX model: it has no graph");
}

std::vector<const onnx::NodeProto*> lacking_nodes(const onnx::GraphProto& graph) {
  std::vector<const onnx::NodeProto*> lacking;
  find_lacking(graph, lacking);
  return lacking;
}

Result<ir::Graph> convert(onnx::ModelProto& model, ExternalData& external, Log& log) {
  if (!model.has_graph()) return no_graph();
  RTAI_TRY(const OperatorSets sets, OperatorSets::read(model));
  const std::string producer = model.producer_name();
  const std::string version = model.producer_version();
  const std::string name = model.graph().name();
  RTAI_TRY(ir::Graph graph, Converter(model, sets, external, log).run());
  graph.metadata()["producer"] = version.empty() ? producer : producer + " " + version;
  graph.metadata()["opset"] = std::to_string(sets.version(""));
  graph.metadata()["ir_version"] = std::to_string(model.ir_version());
  graph.metadata()["name"] = name;
  for (const onnx::StringStringEntryProto& entry : model.metadata_props()) {
    if (entry.key().starts_with(kOwnFacts)) graph.metadata()[entry.key()] = entry.value();
  }
  return graph;
}

}  // namespace rtai::onnx_io
