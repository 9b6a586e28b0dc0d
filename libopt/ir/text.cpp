#include "libopt/ir/text.h"

#include "libopt/ir/ops.h"
#include "runtime/base/digest.h"

#include <fmt/format.h>

#include <charconv>
#include <map>

namespace rtai::ir {
namespace {

constexpr Index kLongestPrinted = 16;  // elements of a constant that stand in full

// --- printing

std::string print_number(double value) {
  // fmt prints the shortest text that reads back to the same float.
  return fmt::format("{}", static_cast<float>(value));
}

std::string print_data(const Tensor& tensor) {
  if (tensor.elements() > kLongestPrinted) {
    return fmt::format("sha256:{}", to_hex(sha256(tensor.bytes())).substr(0, 16));
  }
  std::string text = "[";
  for (Index i = 0; i < tensor.elements(); ++i) {
    if (i > 0) text += ", ";
    text += print_number(tensor.value(i));
  }
  return text + "]";
}

std::string print_attribute(const Attribute& attribute) {
  struct Printer {
    std::string operator()(std::int64_t value) const { return fmt::format("{}", value); }
    std::string operator()(float value) const {
      std::string text = fmt::format("{}", value);
      // A real stays a real when it is read back.
      if (text.find_first_of(".en") == std::string::npos) text += ".0";
      return text;
    }
    std::string operator()(const std::string& value) const { return fmt::format("\"{}\"", value); }
    std::string operator()(const std::vector<std::int64_t>& values) const {
      return fmt::format("[{}]", fmt::join(values, ", "));
    }
    std::string operator()(const std::vector<float>& values) const {
      std::string text = "[";
      for (const float value : values)
        text += (text.size() > 1 ? ", " : "") + (*this)(value);
      return text + "]";
    }
    std::string operator()(const Tensor& value) const {
      return fmt::format("{} {}{}", print_data(value), dtype_name(value.dtype()),
                         to_string(value.dims()));
    }
  };
  return std::visit(Printer{}, attribute);
}

std::string reference(const Graph& graph, ValueId id) {
  if (id == kNoValue) return "none";
  return (graph.is_constant(id) ? "@" : "%") + graph.name(id);
}

std::string print_node(const Graph& graph, const Node& node) {
  std::string results;
  std::string types;
  for (const ValueId output : node.outputs()) {
    results += (results.empty() ? "" : ", ") + reference(graph, output);
    types += (types.empty() ? "" : ", ") + to_string(graph.type(output));
  }
  std::string inputs;
  for (const ValueId input : node.inputs()) {
    inputs += (inputs.empty() ? "" : ", ") + reference(graph, input);
  }
  std::string attributes;
  for (const auto& [name, value] : node.attributes()) {
    attributes +=
        (attributes.empty() ? "" : ", ") + fmt::format("{} = {}", name, print_attribute(value));
  }
  if (!attributes.empty()) attributes = fmt::format(" {{{}}}", attributes);
  return fmt::format("  {} = {}({}){} : {}\n", results, info(node.op()).name, inputs, attributes,
                     types);
}

// --- parsing: a cursor over the text, one function per phrase of the grammar

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<Graph> graph() {
    RTAI_TRY_VOID(expect("graph"));
    RTAI_TRY_VOID(expect("("));
    while (!accept(")")) {
      RTAI_TRY_VOID(expect("%"));
      RTAI_TRY(const std::string name, this->name());
      RTAI_TRY_VOID(expect(":"));
      RTAI_TRY(Type type, this->type());
      values_["%" + name] = graph_.add_input(name, std::move(type));
      if (!peek(")")) RTAI_TRY_VOID(expect(","));
    }
    RTAI_TRY_VOID(expect("{"));
    while (!accept("return")) {
      if (accept("@")) {
        RTAI_TRY_VOID(constant());
      } else {
        RTAI_TRY_VOID(node());
      }
    }
    std::vector<ValueId> outputs;
    do {
      RTAI_TRY(const ValueId output, value());
      outputs.push_back(output);
    } while (accept(","));
    graph_.set_outputs(std::move(outputs));
    RTAI_TRY_VOID(expect("}"));
    return std::move(graph_);
  }

 private:
  Error error(std::string_view expected) {
    skip_space();
    const auto line =
        1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at_), '\n');
    const std::string_view rest = text_.substr(at_, 20);
    return {ErrorCode::invalid_input, fmt::format("line {}: expected {}, found '{}'", line,
                                                  expected, rest.substr(0, rest.find('\n')))};
  }

  void skip_space() {
    while (at_ < text_.size()) {
      if (text_[at_] == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (std::isspace(static_cast<unsigned char>(text_[at_])) != 0) {
        ++at_;
      } else {
        return;
      }
    }
  }
  bool peek(std::string_view token) {
    skip_space();
    return text_.substr(at_).starts_with(token);
  }
  bool accept(std::string_view token) {
    if (!peek(token)) return false;
    at_ += token.size();
    return true;
  }
  Result<void> expect(std::string_view token) {
    if (accept(token)) return {};
    return error(fmt::format("'{}'", token));
  }

  static bool is_name_char(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("_./:-").find(c) != std::string_view::npos;
  }
  Result<std::string> name() {
    skip_space();
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_name_char(text_[at_]))
      ++at_;
    // "%a: f32": the colon of a declaration is not part of the name.
    while (at_ > begin && text_[at_ - 1] == ':')
      --at_;
    if (at_ == begin) return error("a name");
    return std::string(text_.substr(begin, at_ - begin));
  }

  Result<double> number(bool* is_real = nullptr) {
    skip_space();
    double value = 0;
    const char* begin = text_.data() + at_;
    const auto [end, status] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (status != std::errc{}) return error("a number");
    const std::string_view token(begin, static_cast<std::size_t>(end - begin));
    if (is_real != nullptr) *is_real = token.find_first_of(".en") != std::string_view::npos;
    at_ += token.size();
    return value;
  }

  Result<Type> type() {
    RTAI_TRY(const std::string word, name());
    const std::optional<DType> dtype = dtype_from_name(word);
    if (!dtype) return error("an element type");
    Type type{*dtype, std::nullopt};
    if (!accept("[")) return type;
    type.dims.emplace();
    while (!accept("]")) {
      skip_space();
      if (std::isdigit(static_cast<unsigned char>(text_[at_])) != 0) {
        RTAI_TRY(const double size, number());
        type.dims->push_back(Dim(static_cast<Index>(size)));
      } else {
        RTAI_TRY(std::string symbol, name());
        type.dims->push_back(Dim(std::move(symbol)));
      }
      if (!peek("]")) RTAI_TRY_VOID(expect(","));
    }
    return type;
  }

  Result<std::vector<double>> numbers(bool* any_real = nullptr) {
    RTAI_TRY_VOID(expect("["));
    std::vector<double> values;
    while (!accept("]")) {
      bool is_real = false;
      RTAI_TRY(const double value, number(&is_real));
      if (any_real != nullptr) *any_real = *any_real || is_real;
      values.push_back(value);
      if (!peek("]")) RTAI_TRY_VOID(expect(","));
    }
    return values;
  }

  /// [1, 2] or random, zeros, ones, for the tensor `name` of `type`.
  Result<Tensor> data(const std::string& name, const Type& type) {
    Dims dims;
    for (const Dim& dim : type.dims.value_or(std::vector<Dim>{})) {
      if (!dim.is_fixed()) return error("fixed dimensions");
      dims.push_back(dim.size);
    }
    RTAI_TRY(const Index elements, element_count(dims));
    std::vector<float> values(static_cast<std::size_t>(elements));
    if (accept("random")) {
      // Values in [-1, 1), (integers: [-100, 100)), the same on every machine.
      std::uint64_t state = 0x9e3779b97f4a7c15;
      for (const char c : name)
        state = (state ^ static_cast<std::uint8_t>(c)) * 0x100000001b3;
      const float scale = type.dtype == DType::f32 ? 1.0f : 100.0f;
      for (float& value : values) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        value = scale * (static_cast<float>(state >> 40) * 0x1p-23f - 1.0f);
      }
    } else if (accept("ones")) {
      std::fill(values.begin(), values.end(), 1.0f);
    } else if (!accept("zeros")) {
      RTAI_TRY(const std::vector<double> given, numbers());
      if (std::ssize(given) != elements) return error(fmt::format("{} values", elements));
      std::transform(given.begin(), given.end(), values.begin(),
                     [](double v) { return static_cast<float>(v); });
    }
    return Tensor::from<float>(std::move(dims), values).converted(type.dtype);
  }

  Result<void> constant() {
    RTAI_TRY(const std::string name, this->name());
    RTAI_TRY_VOID(expect(":"));
    RTAI_TRY(const Type type, this->type());
    RTAI_TRY_VOID(expect("="));
    RTAI_TRY(Tensor tensor, data(name, type));
    values_["@" + name] = graph_.add_constant(name, std::move(tensor));
    return {};
  }

  Result<ValueId> value() {
    skip_space();
    if (accept("none")) return kNoValue;
    if (!peek("%") && !peek("@")) return error("%value, @constant or none");
    const char sigil = text_[at_++];
    RTAI_TRY(const std::string name, this->name());
    const auto found = values_.find(sigil + name);
    if (found == values_.end())
      return error(fmt::format("a declared value instead of '{}{}'", sigil, name));
    return found->second;
  }

  Result<Attribute> attribute() {
    skip_space();
    if (accept("\"")) {
      const std::size_t end = text_.find('"', at_);
      if (end == std::string_view::npos) return error("a closing quote");
      std::string text(text_.substr(at_, end - at_));
      at_ = end + 1;
      return Attribute(std::move(text));
    }
    if (peek("[")) {
      bool any_real = false;
      RTAI_TRY(const std::vector<double> values, numbers(&any_real));
      if (any_real) return Attribute(std::vector<float>(values.begin(), values.end()));
      return Attribute(std::vector<std::int64_t>(values.begin(), values.end()));
    }
    if (at_ < text_.size() && std::isalpha(static_cast<unsigned char>(text_[at_])) != 0) {
      RTAI_TRY(std::string word, name());  // kind = gelu
      return Attribute(std::move(word));
    }
    bool is_real = false;
    RTAI_TRY(const double value, number(&is_real));
    if (is_real) return Attribute(static_cast<float>(value));
    return Attribute(static_cast<std::int64_t>(value));
  }

  Result<void> node() {
    std::vector<std::string> results;
    do {
      RTAI_TRY_VOID(expect("%"));
      RTAI_TRY(std::string result, name());
      results.push_back(std::move(result));
    } while (accept(","));
    RTAI_TRY_VOID(expect("="));
    RTAI_TRY(const std::string op_name, name());
    const OpInfo* op = find_op(op_name);
    if (op == nullptr) return error(fmt::format("a known operator instead of '{}'", op_name));

    NodeSpec spec{.op = op->op, .inputs = {}, .outputs = {}, .attributes = {}, .name = results[0]};
    RTAI_TRY_VOID(expect("("));
    while (!accept(")")) {
      RTAI_TRY(const ValueId input, value());
      spec.inputs.push_back(input);
      if (!peek(")")) RTAI_TRY_VOID(expect(","));
    }
    if (accept("{")) {
      while (!accept("}")) {
        RTAI_TRY(const std::string key, name());
        RTAI_TRY_VOID(expect("="));
        RTAI_TRY(Attribute attribute, this->attribute());
        spec.attributes.set(key, std::move(attribute));
        if (!peek("}")) RTAI_TRY_VOID(expect(","));
      }
    }
    if (accept(":")) {
      do {
        RTAI_TRY(Type type, this->type());
        spec.outputs.push_back(std::move(type));
      } while (accept(","));
    } else if (op->level == Level::transformer || op->op == Op::add) {
      const Result<Type> type = infer_type(graph_, op->op, spec.inputs, spec.attributes);
      if (!type) return error(fmt::format("a valid {} ({})", op_name, type.error().message()));
      spec.outputs.push_back(*type);
    }
    if (spec.outputs.size() != results.size()) return error("one type for each result");
    const NodeId id = graph_.append(std::move(spec));
    for (std::size_t i = 0; i < results.size(); ++i) {
      const ValueId made = graph_.node(id).output(i);
      graph_.rename(made, results[i]);
      values_["%" + results[i]] = made;
    }
    return {};
  }

  std::string_view text_;
  std::size_t at_ = 0;
  Graph graph_;
  std::map<std::string, ValueId> values_;
};

}  // namespace

std::string print(const Graph& graph) {
  std::string inputs;
  for (const ValueId input : graph.inputs()) {
    inputs += (inputs.empty() ? "" : ", ") +
              fmt::format("{}: {}", reference(graph, input), to_string(graph.type(input)));
  }
  std::string text = fmt::format("graph ({}) {{\n", inputs);
  for (const ValueId id : graph.constants()) {
    text += fmt::format("  @{}: {} = {}\n", graph.name(id), to_string(graph.type(id)),
                        print_data(*graph.constant(id)));
  }
  for (const NodeId id : graph.order())
    text += print_node(graph, graph.node(id));
  std::string outputs;
  for (const ValueId output : graph.outputs()) {
    outputs += (outputs.empty() ? "" : ", ") + reference(graph, output);
  }
  return text + fmt::format("  return {}\n}}\n", outputs);
}

Result<Graph> parse(std::string_view text) {
  return Parser(text).graph();
}

}  // namespace rtai::ir
