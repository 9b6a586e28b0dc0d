#include "runtime/exec/unread_rows.h"

#include <utility>

namespace rtai::exec {
namespace {

using engine::kNone;
using engine::OpKind;
using engine::Program;
using engine::Rows;
using engine::Step;
using engine::ValueIndex;

bool is_row_local(OpKind op) {
  return op == OpKind::linear || op == OpKind::layer_norm || op == OpKind::activation ||
         op == OpKind::add || op == OpKind::l2_normalize || op == OpKind::columns;
}

/// True for each value of tokens of which only the first row of each sequence is read.
std::vector<bool> find_first_only(const Program& program) {
  std::vector<bool> all(program.values.size());  // all rows are read
  const auto read = [&](ValueIndex value) {
    if (value != kNone) all[static_cast<std::size_t>(value)] = true;
  };
  for (const engine::Output& output : program.outputs)
    read(output.value);
  std::vector<bool> first_only(program.values.size());
  for (std::size_t i = program.steps.size(); i-- > 0;) {
    const Step& step = program.steps[i];
    const auto dst = static_cast<std::size_t>(step.dst);
    const bool is_tokens = program.values[dst].rows == Rows::tokens;
    const bool can_skip = is_row_local(step.op) || engine::is_attention(step);
    first_only[dst] = is_tokens && can_skip && !all[dst];
    if (step.op == OpKind::first_token || (first_only[dst] && is_row_local(step.op))) continue;
    for (const ValueIndex src : step.src)
      read(src);
  }
  return first_only;
}

class Rewriter {
 public:
  explicit Rewriter(const Program& program)
      : old_(program),
        first_only_(find_first_only(program)),
        values_(program.values.size(), kNone),
        first_rows_(program.values.size(), kNone) {
    new_.inputs = program.inputs;
    new_.tensors = program.tensors;
    for (std::size_t i = 0; i < program.inputs.size(); ++i) {
      values_[i] = static_cast<ValueIndex>(i);
      new_.values.push_back(program.values[i]);
    }
  }

  Program run() {
    for (const Step& step : old_.steps)
      rewrite(step);
    for (const engine::Output& output : old_.outputs)
      new_.outputs.push_back({output.name, at(values_, output.value)});
    return std::move(new_);
  }

 private:
  static ValueIndex& at(std::vector<ValueIndex>& map, ValueIndex i) {
    return map[static_cast<std::size_t>(i)];
  }

  void rewrite(Step step) {
    const ValueIndex dst = step.dst;
    if (step.op == OpKind::first_token) {
      at(values_, dst) = first_rows(step.src[0]);
      return;
    }
    const bool first_only = first_only_[static_cast<std::size_t>(dst)];
    if (first_only && engine::is_attention(step)) gather_residuals();
    const bool reads_first = first_only && is_row_local(step.op);
    for (ValueIndex& src : step.src) {
      if (src != kNone) src = reads_first ? first_rows(src) : at(values_, src);
    }
    engine::ValueInfo info = old_.values[static_cast<std::size_t>(dst)];
    if (first_only) info.rows = Rows::sequences;
    at(first_only ? first_rows_ : values_, dst) = push(std::move(step), info);
  }

  /// Takes the first rows of all values so far that later steps want them of. Here threads meet
  /// anyway, and a linear layer can add what is there before it.
  void gather_residuals() {
    for (const Step& step : old_.steps) {
      if (!first_only_[static_cast<std::size_t>(step.dst)] || !is_row_local(step.op)) continue;
      for (const ValueIndex src : step.src) {
        if (src != kNone && at(values_, src) != kNone) first_rows(src);
      }
    }
  }

  /// The first row of each sequence of an old value.
  ValueIndex first_rows(ValueIndex value) {
    ValueIndex& rows = at(first_rows_, value);
    if (rows != kNone) return rows;
    engine::ValueInfo info = old_.values[static_cast<std::size_t>(value)];
    info.rows = Rows::sequences;
    Step gather;
    gather.op = OpKind::first_token;
    gather.src[0] = at(values_, value);
    return rows = push(std::move(gather), info);
  }

  ValueIndex push(Step step, const engine::ValueInfo& info) {
    step.dst = static_cast<ValueIndex>(new_.values.size());
    new_.values.push_back(info);
    new_.steps.push_back(std::move(step));
    return new_.steps.back().dst;
  }

  const Program& old_;
  std::vector<bool> first_only_;
  std::vector<ValueIndex> values_;      // old value -> the new one with all its rows
  std::vector<ValueIndex> first_rows_;  // old value -> the new one with its first rows
  Program new_;
};

}  // namespace

Program without_unread_rows(const Program& program) {
  return Rewriter(program).run();
}

}  // namespace rtai::exec
