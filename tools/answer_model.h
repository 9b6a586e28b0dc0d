// What turns an engine's outputs into answers: its task, labels and tokenizer.
#pragma once

#include "runtime/base/result.h"
#include "runtime/engine/engine.h"
#include "runtime/text/tokenizer.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::tools {

/// What the answers of a model are.
enum class Task : std::uint8_t {
  unknown,
  sequence_classification,
  token_classification,
  sentence_embedding,
  question_answering,
};
std::string_view task_name(Task task);
std::optional<Task> task_from_name(std::string_view name);

struct AnswerModel {
  std::string name;  // as it was given
  std::optional<text::Tokenizer> tokenizer;
  std::vector<std::string> labels;         // of classes; set by name_classes()
  std::vector<std::string> quoted_labels;  // as keys of JSON; likewise
  bool has_namesakes = false;              // two classes of one name
  Task task = Task::unknown;
  bool multi_label = false;  // sequence classification by sigmoid
};

/// What an engine says about its answers; its tokenizer cuts texts to what the engine takes.
///
/// Errors: corrupt for a damaged tokenizer.
Result<AnswerModel> answer_model(const engine::Engine& engine, const std::string& name);

/// Sets the labels, and whether two are alike.
void name_classes(AnswerModel& model, std::vector<std::string> labels);

/// The name of class `i`: the model's label, or "LABEL_3".
std::string label_name(const AnswerModel& model, std::size_t i);

}  // namespace rtai::tools
