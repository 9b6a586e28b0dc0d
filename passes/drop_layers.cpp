// Removes whole encoder layers.
//
//   before: %y = layer(%x), %z = next_layer(%y)
//   after:  %z = next_layer(%x)
//
// What follows a dropped layer reads what the layer read. For time that goes into the number of
// kernels rather than into their work (a GPU with one short text), and as a control.
#include "libopt/ir/ops.h"
#include "libopt/prune/modules.h"
#include "passes/passes.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace rtai::passes {
namespace {

constexpr PassInfo kInfo = {
    .name = "drop-layers",
    .summary = "removes whole encoder layers",
    .source = "Sajjad et al. 2020, arXiv:2004.03844",
    .exactness = Exactness::approximate,
};

struct Options {
  std::string layers;

  static constexpr auto fields() {
    return std::tuple{option("layers", &Options::layers,
                             "numbers of the layers, counted from 0, separated by ';'")};
  }
};

/// "3;5" as numbers, ascending, each once.
Result<std::vector<Index>> parse_list(std::string_view text) {
  std::vector<Index> numbers;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(';'));
    text.remove_prefix(std::min(item.size() + 1, text.size()));
    Index number = 0;
    const auto [end, status] = std::from_chars(item.data(), item.data() + item.size(), number);
    if (status != std::errc{} || end != item.data() + item.size() || number < 0) {
      return Error{ErrorCode::invalid_input,
                   fmt::format("option 'layers': expected numbers, found '{}'", item)};
    }
    numbers.push_back(number);
  }
  std::ranges::sort(numbers);
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  return numbers;
}

/// What a layer reads and what it makes.
struct Span {
  ir::ValueId src;
  ir::ValueId dst;
};

/// The layer norm that alone reads the sum, where layers end with one; else the sum.
ir::ValueId end_of(const ir::Graph& graph, const prune::Module& last, ir::ValueId src) {
  const ir::Node* maker = graph.producer(src);
  const bool norm_in_front = maker != nullptr && maker->op() == ir::Op::layer_norm;
  const auto users = graph.users(last.sum);
  if (!norm_in_front || users.size() != 1) return last.sum;
  const ir::Node& user = graph.node(users[0]);
  return user.op() == ir::Op::layer_norm ? user.output() : last.sum;
}

class DropLayers final : public PassWith<Options> {
 public:
  const PassInfo& info() const override { return kInfo; }

  Result<void> configure(const OptionValues& values) override {
    RTAI_TRY_VOID(PassWith::configure(values));
    RTAI_TRY(layers_, parse_list(chosen().layers));
    if (!layers_.empty()) return {};
    return Error{ErrorCode::invalid_input, "option 'layers': expected numbers, found ''"};
  }

  Result<PassReport> run(ir::Graph& graph, PassContext&) override {
    RTAI_TRY(const std::vector<prune::Module> modules, prune::find_modules(graph));
    const Index count = modules.back().layer + 1;
    if (layers_.back() >= count) {
      return Error{ErrorCode::invalid_input,
                   fmt::format("option 'layers': {} is outside [0, {})", layers_.back(), count)};
    }
    // Last to first: an earlier layer's values are still there when its turn comes.
    for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
      RTAI_TRY(const Span span, span_of(graph, modules, *layer));
      graph.replace_uses(span.dst, span.src);
      graph.erase_dead();
    }
    return PassReport{.changed = true,
                      .counters = {{"layers dropped", static_cast<double>(std::ssize(layers_))}}};
  }

 private:
  static Result<Span> span_of(const ir::Graph& graph,
                              std::span<const prune::Module> modules,
                              Index layer) {
    const auto in = [&](const prune::Module& module) { return module.layer == layer; };
    const auto first = std::ranges::find_if(modules, in);
    const auto cut = first == modules.end() ? std::nullopt : prune::cut_before(graph, *first);
    if (!cut || *cut != first->residual) {
      return Error{ErrorCode::unsupported,
                   fmt::format("layer {} has no single value to begin with", layer)};
    }
    const prune::Module* last = &*first;
    for (const prune::Module& module : modules)
      if (in(module)) last = &module;
    return Span{*cut, end_of(graph, *last, *cut)};
  }

  std::vector<Index> layers_;
};

}  // namespace

std::unique_ptr<Pass> make_drop_layers() {
  return std::make_unique<DropLayers>();
}

}  // namespace rtai::passes
