// Answers as JSON: the one shape that `rtai run --json` prints and `rtai serve` sends.
#pragma once

#include "tools/answer.h"
#include "tools/json.h"

#include <string>
#include <vector>

namespace rtai::tools {

/// {"text", "label", "score", "scores"}, {"text", "words", "spans"} or {"text", "embedding"}, by
/// the model's task.
///
/// Errors: unsupported if the task has no answers; invalid_input if the outputs hold NaN.
Result<Json> answer_json(const AnswerModel& model,
                         const Sample& sample,
                         const text::Encoding& encoding,
                         const std::vector<SampleOutput>& outputs);

/// The keys that --logits adds: "input_ids", "logits", and "outputs" where there are several.
Json logits_json(const engine::Program& program,
                 const text::Encoding& encoding,
                 const std::vector<SampleOutput>& outputs);

/// The answer and, if asked for or if there is nothing else to say of ids, the logits: a line of
/// `rtai run --json`.
Result<Json> line_json(const AnswerModel& model,
                       const engine::Program& program,
                       const Sample& sample,
                       const text::Encoding& encoding,
                       const std::vector<SampleOutput>& outputs,
                       bool logits);

/// line_json() as text, with the members of `more` behind its own. It makes no document of the
/// scores of many classes: that took twice the time of the rest of an HTTP request.
Result<std::string> line_text(const AnswerModel& model,
                              const engine::Program& program,
                              const Sample& sample,
                              const text::Encoding& encoding,
                              const std::vector<SampleOutput>& outputs,
                              bool logits,
                              const Json& more = Json::object());

/// Leaves the `count` highest of an answer's "scores", the highest first; of equals that which came
/// first.
///
/// Errors: invalid_input if the answer has no scores.
Result<void> keep_best_scores(Json& line, int count);

/// The scores for people: "weather (93.1 %), music (4.0 %)".
std::string scores_text(const Json& line);

/// An answer for people, made of its JSON: the label, the spans a line, or the vector.
std::string answer_text(const Json& line);

}  // namespace rtai::tools
