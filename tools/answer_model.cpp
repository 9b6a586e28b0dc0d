#include "tools/answer_model.h"

#include "tools/json.h"

#include <algorithm>
#include <array>
#include <set>

namespace rtai::tools {
namespace {

constexpr std::array<std::string_view, 5> kTaskNames = {"unknown", "sequence-classification",
                                                        "token-classification",
                                                        "sentence-embedding", "question-answering"};

/// No more tokens of a text than the engine has positions for.
Result<void> limit_length(text::Tokenizer& tokenizer, Index positions) {
  const Index limit = tokenizer.settings().max_length;
  if (positions <= 0 || (limit > 0 && limit <= positions)) return {};
  return tokenizer.set_max_length(static_cast<std::int32_t>(positions));
}

}  // namespace

std::string_view task_name(Task task) {
  return kTaskNames[static_cast<std::size_t>(task)];
}

std::optional<Task> task_from_name(std::string_view name) {
  const auto* found = std::find(kTaskNames.begin(), kTaskNames.end(), name);
  if (found == kTaskNames.end()) return std::nullopt;
  return static_cast<Task>(found - kTaskNames.begin());
}

Result<AnswerModel> answer_model(const engine::Engine& engine, const std::string& name) {
  AnswerModel model;
  model.name = name;
  if (!engine.tokenizer.empty()) {
    RTAI_TRY(model.tokenizer,
             text::Tokenizer::deserialize(engine.tokenizer).in(name + ": tokenizer"));
    RTAI_TRY_VOID(limit_length(*model.tokenizer, engine::longest_sequence(engine.program)));
  }
  name_classes(model, engine.labels);
  const auto fact = [&](const char* key) {
    const auto found = engine.metadata.find(key);
    return found == engine.metadata.end() ? std::string() : found->second;
  };
  model.task = task_from_name(fact("task")).value_or(Task::unknown);
  model.multi_label = fact("problem_type") == "multi_label_classification";
  return model;
}

void name_classes(AnswerModel& model, std::vector<std::string> labels) {
  const std::set<std::string_view> different(labels.begin(), labels.end());
  model.has_namesakes = different.size() < labels.size();
  model.quoted_labels.clear();
  for (const std::string& label : labels)
    model.quoted_labels.push_back(one_line(Json(label)));
  model.labels = std::move(labels);
}

std::string label_name(const AnswerModel& model, std::size_t i) {
  return i < model.labels.size() ? model.labels[i] : "LABEL_" + std::to_string(i);
}

}  // namespace rtai::tools
