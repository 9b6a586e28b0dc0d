// How right a model is: against labels, and against another model.
#pragma once

#include "tools/predict.h"

#include <optional>
#include <string>
#include <vector>

namespace rtai::tools {

/// A metric in [0, 1] (spearman: [-1, 1]), or nothing where the labels cannot give it.
struct Score {
  std::string metric;  // accuracy, span_f1, spearman
  std::optional<double> value;
};

/// accuracy for {"text", "label"}, span_f1 for {"tokens", "tags"} (micro-averaged F1 of exact
/// spans, as seqeval counts them), spearman for embeddings of {"text_a", "text_b", "score"}. A
/// class or span that the model cannot name counts as wrong.
Score score(const Model& model,
            const std::vector<Sample>& samples,
            const std::vector<Answer>& answers);

/// The share of texts (token classification: of words) with the same label; embeddings: the mean
/// cosine.
double agreement(const Model& model,
                 const std::vector<Answer>& answers,
                 const Model& reference,
                 const std::vector<Answer>& reference_answers);

/// Answers of one model on a data set, and what they are worth. For embeddings of pairs, the second
/// texts stand behind the first ones.
struct Evaluation {
  std::vector<Answer> answers;
  Score score;
};
Result<Evaluation> evaluate(const Model& model,
                            const std::vector<Sample>& samples,
                            int threads,
                            const std::string& target,
                            Log& log);

}  // namespace rtai::tools
