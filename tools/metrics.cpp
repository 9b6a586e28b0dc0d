#include "tools/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

namespace rtai::tools {
namespace {

using Span = std::tuple<std::size_t, std::size_t, std::string>;

/// Spans of labels given as names; "" where a word has none.
std::set<Span> spans_of(const std::vector<std::string>& labels) {
  // find_spans wants indices into names; here every word names its own.
  std::vector<text::WordLabel> words;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    words.push_back(
        {.label = labels[i].empty() ? text::WordLabel::kNone : static_cast<std::int32_t>(i),
         .score = 1});
  }
  std::set<Span> spans;
  const auto found = text::find_spans(words, labels);
  if (!found) return spans;
  for (const text::LabelledSpan& span : *found)
    spans.emplace(span.begin, span.end, std::string(span.label));
  return spans;
}

std::vector<std::string> labels_of(const Model& model, const Answer& answer) {
  std::vector<std::string> labels;
  for (const AnsweredWord& word : answer.words) {
    const std::int32_t label = word.label.label;
    labels.push_back(
        label == text::WordLabel::kNone ? "" : label_name(model, static_cast<std::size_t>(label)));
  }
  return labels;
}

std::optional<double> span_f1(const Model& model,
                              const std::vector<Sample>& samples,
                              const std::vector<Answer>& answers) {
  std::size_t right = 0;
  std::size_t wrong = 0;  // found but not there, and there but not found
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (samples[i].tags.empty()) return std::nullopt;
    const std::set<Span> expected = spans_of(samples[i].tags);
    const std::set<Span> found = spans_of(labels_of(model, answers[i]));
    const auto common = static_cast<std::size_t>(std::count_if(
        found.begin(), found.end(), [&](const Span& span) { return expected.contains(span); }));
    right += common;
    wrong += found.size() + expected.size() - 2 * common;
  }
  if (right + wrong == 0) return std::nullopt;
  return 2.0 * static_cast<double>(right) / static_cast<double>(2 * right + wrong);
}

std::optional<double> accuracy(const Model& model,
                               const std::vector<Sample>& samples,
                               const std::vector<Answer>& answers) {
  std::size_t right = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (!samples[i].label) return std::nullopt;
    const std::size_t found = answers[i].classes.label;
    // Data sets name classes by their label or by their number.
    right +=
        label_name(model, found) == *samples[i].label || std::to_string(found) == *samples[i].label
            ? 1
            : 0;
  }
  return static_cast<double>(right) / static_cast<double>(samples.size());
}

/// Ranks from 0, equal values sharing the mean of theirs.
std::vector<double> ranks(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<double> rank(values.size());
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]])
      ++end;
    for (std::size_t i = begin; i < end; ++i)
      rank[order[i]] = static_cast<double>(begin + end - 1) / 2;
    begin = end;
  }
  return rank;
}

/// Pearson's correlation of the ranks.
std::optional<double> spearman(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() < 2) return std::nullopt;
  const std::vector<double> x = ranks(a);
  const std::vector<double> y = ranks(b);
  const double mean = static_cast<double>(a.size() - 1) / 2;
  double xy = 0;
  double xx = 0;
  double yy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  if (xx <= 0 || yy <= 0) return std::nullopt;
  return xy / std::sqrt(xx * yy);
}

std::optional<double> pair_spearman(const std::vector<Sample>& samples,
                                    const std::vector<Answer>& answers) {
  std::vector<double> expected;
  std::vector<double> found;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (!samples[i].score || !samples[i].text_b) return std::nullopt;
    expected.push_back(*samples[i].score);
    found.push_back(cosine(answers[i].embedding, answers[samples.size() + i].embedding));
  }
  return spearman(expected, found);
}

}  // namespace

Score score(const Model& model,
            const std::vector<Sample>& samples,
            const std::vector<Answer>& answers) {
  switch (model.task) {
    case Task::token_classification:
      return {"span_f1", span_f1(model, samples, answers)};
    case Task::sentence_embedding:
      return {"spearman", pair_spearman(samples, answers)};
    default:
      break;
  }
  // A cross-encoder scores pairs with one output.
  const bool scored_pairs = std::all_of(samples.begin(), samples.end(),
                                        [](const Sample& s) { return s.score && s.text_b; });
  if (!scored_pairs) return {"accuracy", accuracy(model, samples, answers)};
  std::vector<double> expected;
  std::vector<double> found;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    expected.push_back(*samples[i].score);
    found.push_back(answers[i].classes.scores.empty() ? 0.0 : answers[i].classes.scores[0]);
  }
  return {"spearman", spearman(expected, found)};
}

double cosine(std::span<const float> a, std::span<const float> b) {
  double dot = 0;
  double aa = 0;
  double bb = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    dot += double{a[i]} * b[i];
    aa += double{a[i]} * a[i];
    bb += double{b[i]} * b[i];
  }
  if (aa == 0 || bb == 0) return aa == bb ? 1 : 0;
  return dot / std::sqrt(aa * bb);
}

double agreement(const Model& model,
                 const std::vector<Answer>& answers,
                 const Model& reference,
                 const std::vector<Answer>& reference_answers) {
  double same = 0;
  double count = 0;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (model.task == Task::token_classification) {
      const std::vector<std::string> ours = labels_of(model, answers[i]);
      const std::vector<std::string> theirs = labels_of(reference, reference_answers[i]);
      for (std::size_t w = 0; w < std::min(ours.size(), theirs.size()); ++w)
        same += ours[w] == theirs[w] ? 1 : 0;
      count += static_cast<double>(std::max(ours.size(), theirs.size()));
    } else if (model.task == Task::sentence_embedding) {
      same += cosine(answers[i].embedding, reference_answers[i].embedding);
      count += 1;
    } else {
      same += label_name(model, answers[i].classes.label) ==
                      label_name(reference, reference_answers[i].classes.label)
                  ? 1
                  : 0;
      count += 1;
    }
  }
  return count > 0 ? same / count : 0;
}

double kl_divergence(std::span<const float> expected, std::span<const float> found) {
  const auto log_sum = [](std::span<const float> x) {
    const float most = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (const float value : x)
      sum += std::exp(static_cast<double>(value - most));
    return most + std::log(sum);
  };
  const double log_expected = log_sum(expected);
  const double log_found = log_sum(found);
  double sum = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double probability = std::exp(expected[i] - log_expected);
    if (probability == 0) continue;  // its logarithm may be infinite
    sum += probability * ((expected[i] - log_expected) - (found[i] - log_found));
  }
  return std::max(sum, 0.0);  // rounding alone is below
}

Distance distance(const Model& model,
                  const std::vector<Answer>& answers,
                  const std::vector<Answer>& reference_answers) {
  SquaredErrors errors;
  double kl = 0;
  double rows = 0;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const SampleOutput& found = answers[i].logits;
    const SampleOutput& expected = reference_answers[i].logits;
    for (std::size_t j = 0; j < std::min(found.values.size(), expected.values.size()); ++j)
      errors.add(expected.values[j], found.values[j]);
    for (Index row = 0; row < std::min(found.rows, expected.rows); ++row, rows += 1)
      kl += kl_divergence(expected.row(row), found.row(row));
  }
  Distance result{.nmse = errors.nmse(), .kl = std::nullopt};
  const bool has_classes =
      (model.task == Task::sequence_classification || model.task == Task::token_classification) &&
      !model.multi_label;
  if (has_classes && rows > 0) result.kl = kl / rows;
  return result;
}

bool is_labelled(const Sample& sample) {
  return sample.label || sample.score || !sample.tags.empty();
}

bool are_labelled(const std::vector<Sample>& samples) {
  return std::ranges::all_of(samples, is_labelled);
}

Result<void> check_labels(const Model& model, const std::vector<Sample>& samples, Log& log) {
  if (model.labels.empty()) return {};
  std::set<std::string> known(model.labels.begin(), model.labels.end());
  for (std::size_t i = 0; i < model.labels.size(); ++i)
    known.insert(std::to_string(i));
  double all = 0;
  double missing = 0;
  std::string example;
  std::size_t place = 0;  // of the example, from 1 on
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const auto look_at = [&](const std::string& label) {
      all += 1;
      if (known.contains(label)) return;
      missing += 1;
      if (place != 0) return;
      example = label;
      place = i + 1;
    };
    if (samples[i].label) look_at(*samples[i].label);
    for (const std::string& tag : samples[i].tags)
      look_at(tag);
  }
  if (missing == 0) return {};
  const std::string what = fmt::format(
      "sample {}: label '{}', expected one of the model's {}: {}, ...", place, example,
      model.labels.size(),
      fmt::join(model.labels.begin(),
                model.labels.begin() + std::min<std::ptrdiff_t>(3, std::ssize(model.labels)),
                ", "));
  if (missing == all) return Error{ErrorCode::invalid_input, what};
  log.warning(fmt::format("{:.1f} % of the labels are none of the model's and count as wrong: {}",
                          100 * missing / all, what));
  return {};
}

Result<Evaluation> evaluate(const Model& model,
                            const std::vector<Sample>& samples,
                            int threads,
                            const std::string& target,
                            Log& log) {
  std::vector<Sample> texts = samples;
  if (model.task == Task::sentence_embedding) {
    for (const Sample& sample : samples) {
      if (sample.text_b) texts.emplace_back(*sample.text_b);
    }
    for (std::size_t i = 0; i < samples.size(); ++i)
      texts[i].text_b.reset();
  }
  RTAI_TRY(Predictor predictor, make_predictor(model, threads, target));
  Evaluation evaluation;
  RTAI_TRY(evaluation.answers, answer_all(model, predictor, texts, log).in(model.name));
  evaluation.score = score(model, samples, evaluation.answers);
  return evaluation;
}

}  // namespace rtai::tools
