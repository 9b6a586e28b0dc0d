// How right a model is: against labels, and against another model.
#pragma once

#include "tools/predict.h"

#include <optional>
#include <span>
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

/// Of the angle between two vectors of one size: 1 if both are zero, 0 if one of them is.
double cosine(std::span<const float> a, std::span<const float> b);

/// The share of texts (token classification: of words) with the same label; embeddings: the mean
/// cosine.
double agreement(const Model& model,
                 const std::vector<Answer>& answers,
                 const Model& reference,
                 const std::vector<Answer>& reference_answers);

/// Squared errors over the variance of the values that were expected (nmse); 0 if those are all
/// one.
class SquaredErrors {
 public:
  void add(double expected, double found) {
    errors_ += (found - expected) * (found - expected);
    sum_ += expected;
    squares_ += expected * expected;
    count_ += 1;
  }
  double nmse() const {
    const double variance = count_ > 0 ? squares_ - sum_ * sum_ / count_ : 0;
    return variance <= 0 ? 0 : errors_ / variance;  // NaN stays NaN
  }

 private:
  double errors_ = 0;
  double sum_ = 0;
  double squares_ = 0;
  double count_ = 0;
};

/// KL(softmax(expected) || softmax(found)), in nats. The spans have one size, of at least one.
double kl_divergence(std::span<const float> expected, std::span<const float> found);

/// How far the first outputs of a model are from another's.
struct Distance {
  double nmse = 0;           // squared error over the variance of the other's
  std::optional<double> kl;  // KL(other || model) of the softmax, the mean over rows; classes only
};
Distance distance(const Model& model,
                  const std::vector<Answer>& answers,
                  const std::vector<Answer>& reference_answers);

/// Labels that the model cannot give make a metric meaningless: a warning with their share, an
/// error if there are no others. Classes may be given by their number.
///
/// Errors: invalid_input.
Result<void> check_labels(const Model& model, const std::vector<Sample>& samples, Log& log);

/// True if the sample says what its answer should be.
bool is_labelled(const Sample& sample);

/// True if every sample says what its answer should be: a metric needs all of them.
bool are_labelled(const std::vector<Sample>& samples);

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
