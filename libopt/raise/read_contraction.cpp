// Products: linear layers, attention scores, and values weighted by probabilities.
//
// matmul, gemm and einsum are one thing here: axes with labels, as einsum writes them. A label of
// both operands and of the result is a batch (or head) axis, one of both operands alone is summed
// over, one of a single operand is an axis of its own.
#include "libopt/raise/internal/reading.h"
#include "libopt/raise/internal/rows.h"
#include "libopt/reference/interpret.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::raise {
namespace {

using ir::Op;
using ir::ValueId;

using Labels = std::vector<int>;

struct Product {
  ValueId a;
  ValueId b;
  Labels of_a;
  Labels of_b;
  Labels of_result;
};

bool has(const Labels& labels, int label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

std::size_t place(const Labels& labels, int label) {
  return static_cast<std::size_t>(std::find(labels.begin(), labels.end(), label) - labels.begin());
}

/// Labels of [..., m, k] @ [..., k, n]: batches count from the right; m, k, n are -1, -2, -3.
Result<Product> matmul_labels(const Reading& reading, const ir::Node& node) {
  const auto a = static_cast<int>(reading.rank(node.input(0)));
  const auto b = static_cast<int>(reading.rank(node.input(1)));
  if (a < 2 || b < 2) return misfit("a product with a vector");
  Product product{.a = node.input(0), .b = node.input(1), .of_a = {}, .of_b = {}, .of_result = {}};
  for (int i = a - 2; i-- > 0;)
    product.of_a.push_back(i);
  for (int i = b - 2; i-- > 0;)
    product.of_b.push_back(i);
  for (int i = std::max(a, b) - 2; i-- > 0;)
    product.of_result.push_back(i);
  product.of_a.insert(product.of_a.end(), {-1, -2});
  product.of_b.insert(product.of_b.end(), {-2, -3});
  product.of_result.insert(product.of_result.end(), {-1, -3});
  return product;
}

Product gemm_labels(const ir::Node& node) {
  Product product{.a = node.input(0),
                  .b = node.input(1),
                  .of_a = {-1, -2},
                  .of_b = {-2, -3},
                  .of_result = {-1, -3}};
  if (node.attributes().integer("transA", 0) != 0) product.of_a = {-2, -1};
  if (node.attributes().integer("transB", 0) != 0) product.of_b = {-3, -2};
  return product;
}

/// "bqhd,bkhd->bhqk"; an ellipsis or a missing result is not read.
Result<Product> einsum_labels(const ir::Node& node) {
  std::string equation = node.attributes().text("equation", "");
  std::erase(equation, ' ');
  const std::size_t comma = equation.find(',');
  const std::size_t arrow = equation.find("->");
  if (node.inputs().size() != 2 || comma == std::string::npos || arrow == std::string::npos ||
      arrow < comma || equation.find('.') != std::string::npos) {
    return misfit(fmt::format("equation '{}'", equation));
  }
  const std::string of_b = equation.substr(comma + 1, arrow - comma - 1);
  return Product{
      .a = node.input(0),
      .b = node.input(1),
      .of_a = Labels(equation.begin(), equation.begin() + static_cast<std::ptrdiff_t>(comma)),
      .of_b = Labels(of_b.begin(), of_b.end()),
      .of_result =
          Labels(equation.begin() + static_cast<std::ptrdiff_t>(arrow) + 2, equation.end())};
}

Product swapped(const Product& product) {
  return {product.b, product.a, product.of_b, product.of_a, product.of_result};
}

/// The axes with these labels one after the other.
Axis joined(const Axes& axes, const Labels& of_axes, const Labels& wanted) {
  Axis all;
  for (const int label : wanted) {
    const Axis& axis = axes[place(of_axes, label)];
    all.insert(all.end(), axis.begin(), axis.end());
  }
  return all;
}

// --- rows and weights

/// The constant with its axes in the given order, as a matrix of `rows` rows.
Result<ir::Tensor> permuted(const ir::Tensor& src, std::vector<std::int64_t> order, Index rows) {
  ir::Graph graph;
  const ValueId value = graph.add_constant("", src);
  const ir::NodeId node =
      graph.append({Op::transpose, {value}, {{}}, {{"perm", std::move(order)}}, "transpose"});
  graph.set_outputs({graph.result(node)});
  RTAI_TRY(const std::vector<ir::Tensor> result, reference::interpret(graph, {}));
  return result[0].reshaped({rows, rows == 0 ? 0 : src.elements() / rows});
}

struct Weight {
  Matrix matrix;
  Labels summed;  // in the order of its columns
  Labels made;    // in the order of its rows
};

/// A constant as a matrix [made, summed]; axes of size 1 do not count.
Result<Weight> weight_of(const Product& product, const ir::Tensor& constant) {
  Weight weight;
  std::vector<std::int64_t> made;
  std::vector<std::int64_t> summed;
  Index rows = 1;
  for (std::size_t i = 0; i < product.of_b.size(); ++i) {
    const int label = product.of_b[i];
    const bool of_a = has(product.of_a, label);
    const bool of_result = has(product.of_result, label);
    const Index size = constant.dims()[i];
    if (of_a == of_result && size != 1) return misfit("weights that differ along a batch");
    (of_result ? made : summed).push_back(static_cast<std::int64_t>(i));
    if (of_a && !of_result) weight.summed.push_back(label);
    if (!of_a && of_result) {
      weight.made.push_back(label);
      rows *= size;
    }
  }
  const Index columns = rows == 0 ? 0 : constant.elements() / rows;
  std::vector<std::int64_t> order = made;
  order.insert(order.end(), summed.begin(), summed.end());
  if (std::is_sorted(order.begin(), order.end())) {
    weight.matrix.values = constant.reshaped({rows, columns});
  } else if (std::vector<std::int64_t> turned = summed;
             turned.insert(turned.end(), made.begin(), made.end()),
             std::is_sorted(turned.begin(), turned.end())) {
    weight.matrix = {constant.reshaped({columns, rows}), true};
  } else {
    RTAI_TRY(weight.matrix.values, permuted(constant, order, rows));
  }
  return weight;
}

/// Operand a is rows, operand b a constant.
Result<Rows> linear(Reading& reading,
                    const ir::Node& node,
                    const Product& product,
                    const Rows& rows,
                    const ir::Tensor& constant) {
  if (constant.dtype() != DType::f32) return misfit("weights that are not f32");
  RTAI_TRY(const Weight weight, weight_of(product, constant));
  const Axis summed = joined(rows.axes, product.of_a, weight.summed);
  const auto columns = columns_of(summed);
  const Index k = weight.matrix.columns();
  if (!columns || std::ssize(*columns) != k || dense_columns(rows.axes) != k) {
    return misfit(
        fmt::format("a product of rows {} and {} weights for each", to_string(rows.axes), k));
  }
  for (Index i = 0; i < k; ++i) {
    if ((*columns)[static_cast<std::size_t>(i)] != i) return misfit("columns in another order");
  }
  const Index n = weight.matrix.rows();
  const TermId src = take_columns(reading, rows.term, rows.offset, k);
  const TermId term = reading.add(
      LinearTerm{.src = src, .weight = weight.matrix, .weight_scale = rows.scale}, n, node.name());
  Axes axes;
  for (const int label : product.of_result) {
    if (has(product.of_a, label)) {
      axes.push_back(rows.axes[place(product.of_a, label)]);
    } else if (has(weight.made, label)) {
      const Index size = constant.dims()[place(product.of_b, label)];
      Index stride = 1;
      for (std::size_t i = place(weight.made, label) + 1; i < weight.made.size(); ++i)
        stride *= constant.dims()[place(product.of_b, weight.made[i])];
      axes.push_back(size == 1 ? Axis{} : Axis{feature(size, stride)});
    } else {
      axes.emplace_back();  // an axis of size 1 that only the weights have
    }
  }
  return Rows{.term = term, .axes = std::move(axes)};
}

// --- attention

/// The features of an axis and what stands before them.
struct HeadAxis {
  Axis outer;
  std::vector<Index> columns;
};

std::optional<HeadAxis> split_heads(const Axis& axis) {
  const auto first =
      std::find_if(axis.begin(), axis.end(), [](const Atom& a) { return a.unit == Unit::feature; });
  auto columns = columns_of(Axis(first, axis.end()));
  if (!columns) return std::nullopt;
  return HeadAxis{Axis(axis.begin(), first), *std::move(columns)};
}

/// Each of `inner` after each of `outer`.
void multiply_out(std::vector<Index>& outer, const std::vector<Index>& inner) {
  std::vector<Index> all;
  for (const Index x : outer) {
    for (const Index y : inner)
      all.push_back(x + y);
  }
  outer = std::move(all);
}

/// Labels of one operand that neither the other nor a sum takes: its own axis.
Axis own_axis(const Axes& axes, const Labels& labels, const Labels& others) {
  Axis own;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (!has(others, labels[i])) own.insert(own.end(), axes[i].begin(), axes[i].end());
  }
  return own;
}

Labels summed_labels(const Product& product) {
  Labels summed;
  for (const int label : product.of_a) {
    if (has(product.of_b, label) && !has(product.of_result, label)) summed.push_back(label);
  }
  return summed;
}

const Axis& axis_or_one(const Axes& axes, const Labels& labels, int label) {
  static const Axis kOne;
  return has(labels, label) ? axes[place(labels, label)] : kOne;
}

/// Queries times keys, head by head.
Result<Meaning> scores(const Product& product, const Rows& a, const Rows& b) {
  const auto refuse = [&] {
    return misfit(fmt::format("the product of rows {} and rows {}, expected queries and keys",
                              to_string(a.axes), to_string(b.axes)));
  };
  const Labels summed = summed_labels(product);
  const auto a_dims = columns_of(joined(a.axes, product.of_a, summed));
  const auto b_dims = columns_of(joined(b.axes, product.of_b, summed));
  const bool tokens = own_axis(a.axes, product.of_a, product.of_b) == Axis{kToken} &&
                      own_axis(b.axes, product.of_b, product.of_a) == Axis{kToken};
  if (!a_dims || !b_dims || a_dims->size() != b_dims->size() || !tokens) return refuse();

  Scores result{.query = {a.term, {a.offset}, *a_dims},
                .key = {b.term, {b.offset}, *b_dims},
                .axes = {},
                .scale = a.scale * b.scale};
  for (const int label : product.of_result) {
    const bool of_a = has(product.of_a, label);
    const bool of_b = has(product.of_b, label);
    const Axis& x = axis_or_one(a.axes, product.of_a, label);
    const Axis& y = axis_or_one(b.axes, product.of_b, label);
    if (x == Axis{kToken} && !of_b) {
      result.axes.push_back({kToken});
    } else if (y == Axis{kToken} && !of_a) {
      result.axes.push_back({kKey});
    } else {
      auto heads = split_heads(x);
      auto other = split_heads(y);
      if (!heads || !other || heads->outer != other->outer) return refuse();
      if (heads->columns.size() == 1)
        heads->columns.resize(other->columns.size(), heads->columns[0]);
      if (other->columns.size() == 1)
        other->columns.resize(heads->columns.size(), other->columns[0]);
      if (heads->columns.size() != other->columns.size()) return refuse();
      multiply_out(result.query.heads, heads->columns);
      multiply_out(result.key.heads, other->columns);
      Axis axis = heads->outer;
      if (heads->columns.size() > 1) axis.push_back(feature(std::ssize(heads->columns), 1));
      result.axes.push_back(std::move(axis));
    }
  }
  // The head axes in the order they stand in: the last varies fastest.
  Index stride = 1;
  for (std::size_t i = result.axes.size(); i-- > 0;) {
    if (result.axes[i].empty() || result.axes[i].back().unit != Unit::feature) continue;
    result.axes[i].back().stride = stride;
    stride *= result.axes[i].back().size;
  }
  return result;
}

/// True if an axis of both operands is an axis of the result, too: batches or heads of their own.
bool is_batched(const Reading& reading, const Product& product) {
  return std::ranges::any_of(product.of_b, [&](int label) {
    return has(product.of_a, label) && has(product.of_result, label) &&
           reading.probes()[0].dims(product.b)[place(product.of_b, label)] > 1;
  });
}

/// The vectors of a known operand for each head, [heads, head_dim, entries], seen through `axes`
/// with columns in that order; null if they differ from batch to batch.
std::shared_ptr<const std::vector<float>> read_table(const Reading& reading,
                                                     ValueId known,
                                                     const Axes& axes,
                                                     Index elements) {
  std::vector<float> table(static_cast<std::size_t>(elements), 0.0f);
  std::vector<bool> seen(table.size(), false);
  bool same = true;
  for (const Probe& probe : reading.probes()) {
    const ir::Tensor& values = *probe.contents(known);
    for_each_place(axes, probe, values.dims(), [&](const Place& at, Index element) {
      const auto i = static_cast<std::size_t>(at.feature);
      const auto x = static_cast<float>(values.value(element));
      same = same && (!seen[i] || table[i] == x);
      table[i] = x;
      seen[i] = true;
    });
  }
  if (!same) return nullptr;
  return std::make_shared<const std::vector<float>>(std::move(table));
}

/// Rows times a table of vectors for each head.
Result<Meaning> lookups(const Reading& reading, const Product& product, const Rows& a) {
  const auto refuse = [&] {
    return misfit(fmt::format("the product of rows {} and {}", to_string(a.axes),
                              reading.describe(product.b)));
  };
  const auto dims = columns_of(joined(a.axes, product.of_a, summed_labels(product)));
  if (!dims) return refuse();
  const Index head_dim = std::ssize(*dims);
  Index entries = 1;
  for (const int label : product.of_b) {
    if (!has(product.of_a, label))
      entries *= reading.probes()[0].dims(product.b)[place(product.of_b, label)];
  }
  Lookups made{.rows = {a.term, {a.offset}, *dims},
               .entries = entries,
               .table = {},
               .axes = Axes(product.of_result.size()),
               .scale = a.scale};
  Axes table_axes(product.of_b.size());
  Index stride = 1;  // of heads, counted from the last one
  for (std::size_t i = product.of_result.size(); i-- > 0;) {
    const int label = product.of_result[i];
    if (!has(product.of_b, label)) {
      made.axes[i] = a.axes[place(product.of_a, label)];
      continue;
    }
    Axis& of_table = table_axes[place(product.of_b, label)];
    if (!has(product.of_a, label)) {
      of_table = made.axes[i] = entries == 1 ? Axis{} : Axis{feature(entries, 1)};
      continue;
    }
    auto heads = split_heads(a.axes[place(product.of_a, label)]);
    if (!heads) return refuse();
    const auto count = std::ssize(heads->columns);
    made.axes[i] = of_table = heads->outer;
    if (count > 1) {
      made.axes[i].push_back(feature(count, stride * entries));
      of_table.push_back(feature(count, stride * entries * head_dim));
    }
    stride *= count;
  }
  for (const int label : product.of_result) {  // heads in the order they stand in
    if (!has(product.of_a, label) || !has(product.of_b, label)) continue;
    multiply_out(made.rows.heads, split_heads(a.axes[place(product.of_a, label)])->columns);
  }
  const Labels summed = summed_labels(product);
  if (summed.size() != 1 || std::ranges::count(made.axes, Axis{kToken}) != 1) return refuse();
  table_axes[place(product.of_b, summed[0])] =
      head_dim == 1 ? Axis{} : Axis{feature(head_dim, entries)};
  made.table =
      read_table(reading, product.b, table_axes, std::ssize(made.rows.heads) * head_dim * entries);
  if (made.table == nullptr) return refuse();
  return made;
}

/// Probabilities times values, head by head: attention, whose result is head by head, too.
Result<Meaning> weighted_values(Reading& reading,
                                const ir::Node& node,
                                const Product& product,
                                const Probabilities& p,
                                const Rows& v) {
  const auto refuse = [&] {
    return misfit(fmt::format("the product of attention probabilities {} and rows {}",
                              to_string(p.axes), to_string(v.axes)));
  };
  const Labels summed = summed_labels(product);
  const auto dims = columns_of(own_axis(v.axes, product.of_b, product.of_a));
  const bool fits = joined(p.axes, product.of_a, summed) == Axis{kKey} &&
                    joined(v.axes, product.of_b, summed) == Axis{kToken} &&
                    own_axis(p.axes, product.of_a, product.of_b) == Axis{kToken};
  const auto heads = std::ssize(p.query.heads);
  if (!fits || !dims) return refuse();
  if (dims->size() != p.query.dims.size()) {
    return misfit(fmt::format("values of {} columns for each head, queries of {}", dims->size(),
                              p.query.dims.size()));
  }
  const Index head_dim = std::ssize(*dims);
  std::vector<Index> numbers = {0};  // of the heads, in the order of the axes
  std::vector<Index> columns = {v.offset};
  Axes axes;
  for (const int label : product.of_result) {
    const bool of_p = has(product.of_a, label);
    const Axis& x = axis_or_one(p.axes, product.of_a, label);
    const Axis& y = axis_or_one(v.axes, product.of_b, label);
    if (x == Axis{kToken} && !has(product.of_b, label)) {
      axes.push_back(x);
    } else if (!of_p) {
      axes.push_back(y.empty() ? Axis{} : Axis{feature(head_dim, 1)});
    } else {
      auto of_axis = split_heads(x);
      auto values = split_heads(y);
      if (!of_axis || !values || of_axis->outer != values->outer) return refuse();
      if (values->columns.size() == 1)
        values->columns.resize(of_axis->columns.size(), values->columns[0]);
      if (values->columns.size() != of_axis->columns.size()) return refuse();
      multiply_out(numbers, of_axis->columns);
      multiply_out(columns, values->columns);
      Axis axis = x;
      for (Atom& atom : axis)
        atom.stride *= head_dim;
      axes.push_back(std::move(axis));
    }
  }
  Heads value{v.term, std::vector<Index>(static_cast<std::size_t>(heads), -1), *dims};
  for (std::size_t i = 0; i < numbers.size(); ++i)
    value.heads[static_cast<std::size_t>(numbers[i])] = columns[i];
  if (std::ssize(numbers) != heads || has(Labels(value.heads.begin(), value.heads.end()), -1)) {
    return refuse();
  }
  const TermId term = reading.add(AttentionTerm{.query = p.query,
                                                .key = p.key,
                                                .value = value,
                                                .scale = p.scale,
                                                .causal = p.causal,
                                                .relative = p.relative},
                                  heads * head_dim, node.name());
  return Rows{.term = term, .axes = std::move(axes), .scale = v.scale};
}

/// One order of the operands; nothing if it has no meaning.
Result<std::optional<Meaning>> contract(Reading& reading,
                                        const ir::Node& node,
                                        const Product& product) {
  const Rows* a = reading.get<Rows>(product.a);
  const Rows* b = reading.get<Rows>(product.b);
  if (a != nullptr && b == nullptr && reading.is_known(product.b) && is_batched(reading, product)) {
    RTAI_TRY(Meaning meaning, lookups(reading, product, *a));
    return std::optional(std::move(meaning));
  }
  if (a != nullptr && reading.get<Rows>(product.b) == nullptr) {
    const ir::Tensor* constant = reading.constant(product.b);
    if (constant == nullptr) return std::optional<Meaning>{};
    RTAI_TRY(Rows rows, linear(reading, node, product, Rows(*a), *constant));
    return std::optional<Meaning>(std::move(rows));
  }
  if (a != nullptr && b != nullptr) {
    RTAI_TRY(Meaning meaning, scores(product, *a, *b));
    return std::optional(std::move(meaning));
  }
  const auto* p = reading.get<Probabilities>(product.a);
  if (p != nullptr && b != nullptr) {
    RTAI_TRY(Meaning meaning, weighted_values(reading, node, product, Probabilities(*p), Rows(*b)));
    return std::optional(std::move(meaning));
  }
  return std::optional<Meaning>{};
}

Result<Meaning> contract_either(Reading& reading, const ir::Node& node, const Product& product) {
  RTAI_TRY(std::optional<Meaning> meaning, contract(reading, node, product));
  if (!meaning) {
    RTAI_TRY(meaning, contract(reading, node, swapped(product)));
  }
  if (meaning) return *std::move(meaning);
  return misfit(fmt::format("the product of {} and {}", reading.describe(product.a),
                            reading.describe(product.b)));
}

/// alpha * a @ b + beta * c
Result<Meaning> gemm(Reading& reading, const ir::Node& node) {
  RTAI_TRY(const Meaning product, contract_either(reading, node, gemm_labels(node)));
  const auto* made = std::get_if<Rows>(&product);
  if (made == nullptr) return product;
  Rows rows = *made;
  rows.scale *= static_cast<double>(node.attributes().real("alpha", 1.0f));
  if (node.input(2) == ir::kNoValue) return rows;
  if (!reading.is_known(node.input(2))) {
    return misfit(fmt::format("adds {}", reading.describe(node.input(2))));
  }
  std::optional<ByColumn> bias = by_column(reading, rows, node.input(2));
  if (!bias) return misfit("a bias that differs from row to row");
  const auto beta = static_cast<double>(node.attributes().real("beta", 1.0f));
  if (beta != 1) {
    bias->constant.reset();
    bias->first *= beta;
    for (double& value : bias->values)
      value *= beta;
  }
  RTAI_TRY(rows, plus(reading, rows, *bias));
  return rows;
}

}  // namespace

Result<Meaning> read_contraction(Reading& reading, const ir::Node& node) {
  if (node.op() == Op::gemm) return gemm(reading, node);
  RTAI_TRY(const Product product,
           node.op() == Op::matmul ? matmul_labels(reading, node) : einsum_labels(node));
  return contract_either(reading, node, product);
}

}  // namespace rtai::raise
