#include "tools/answer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string_view>
#include <unordered_map>

namespace rtai::tools {
namespace {

Json rows_json(const SampleOutput& output) {
  Json rows = Json::array();
  for (Index r = 0; r < output.rows; ++r)
    rows.push_back(std::vector<float>(output.row(r).begin(), output.row(r).end()));
  return rows;
}

/// The classes of a sequence are one list; tokens are a list of lists.
Json output_json(const engine::Program& program, std::size_t i, const SampleOutput& output) {
  const auto rows = program.values[static_cast<std::size_t>(program.outputs[i].value)].rows;
  return rows == engine::Rows::tokens ? rows_json(output) : rows_json(output)[0];
}

/// Names for every class the model can give: its own, or `made` where it lacks some.
const std::vector<std::string>& all_names(const AnswerModel& model,
                                          Index classes,
                                          std::vector<std::string>& made) {
  if (std::ssize(model.labels) >= classes) return model.labels;
  for (Index i = 0; i < classes; ++i)
    made.push_back(label_name(model, static_cast<std::size_t>(i)));
  return made;
}

/// {name: score}; of a name that stands twice, the last score. A Json looks for a new key among all
/// that it has, which of ten thousand classes is fifty million comparisons: so it is not asked.
Json scores_json(const std::vector<std::string>& names,
                 bool has_namesakes,
                 const std::vector<float>& scores) {
  Json json = Json::object();
  auto& members = json.get_ref<Json::object_t&>();
  std::unordered_map<std::string_view, std::size_t> places;
  members.reserve(scores.size());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (has_namesakes) {
      const auto [place, is_new] = places.emplace(names[i], members.size());
      if (!is_new) {
        (members.begin() + static_cast<std::ptrdiff_t>(place->second))->second = scores[i];
        continue;
      }
    }
    members.Json::object_t::Container::emplace_back(names[i], scores[i]);
  }
  return json;
}

/// Shortest digits that read back as the number, and in JSON no integer.
void append_number(std::string& text, double value) {
  const std::size_t begin = text.size();
  fmt::format_to(std::back_inserter(text), "{}", value);
  if (text.find_first_of(".e", begin) == std::string::npos) text += ".0";
}

/// "scores": {name: score}, of names that are all different.
void append_scores(std::string& text,
                   const std::vector<std::string>& quoted_names,
                   const std::vector<float>& scores) {
  text += "\"scores\":{";
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (i > 0) text += ',';
    text += quoted_names[i];
    text += ':';
    append_number(text, scores[i]);
  }
  text += '}';
}

Json text_json(const Sample& sample) {
  Json line = {{"text", sample.text}};
  if (sample.text_b) line["text_b"] = *sample.text_b;
  return line;
}

/// The line of a text's class, but for "scores".
Json class_json(const Sample& sample,
                const std::vector<std::string>& names,
                const text::Classification& classes) {
  Json line = text_json(sample);
  line["label"] = names[classes.label];
  line["score"] = classes.score;
  return line;
}

Result<std::vector<text::LabelledSpan>> spans_of(const std::vector<std::string>& names,
                                                 const Answer& answer) {
  std::vector<text::WordLabel> labels;
  for (const AnsweredWord& word : answer.words)
    labels.push_back(word.label);
  return text::find_spans(labels, names);
}

Json spans_json(const Answer& answer,
                const std::vector<text::LabelledSpan>& spans,
                const std::string& text) {
  Json list = Json::array();
  for (const text::LabelledSpan& span : spans) {
    const std::uint32_t start = answer.words[span.begin].characters.begin;
    const std::uint32_t end = answer.words[span.end - 1].characters.end;
    list.push_back({{"label", span.label},
                    {"start", start},
                    {"end", end},
                    {"text", code_point_range(text, start, end)}});
  }
  return list;
}

Json words_json(const Answer& answer, const std::vector<std::string>& names) {
  Json words = Json::array();
  for (const AnsweredWord& word : answer.words) {
    const bool labelled = word.label.label != text::WordLabel::kNone;
    words.push_back({{"word", word.word},
                     {"start", word.characters.begin},
                     {"end", word.characters.end},
                     {"label", labelled ? Json(names[static_cast<std::size_t>(word.label.label)])
                                        : Json(nullptr)},
                     {"score", labelled ? Json(word.label.score) : Json(nullptr)}});
  }
  return words;
}

std::string label_text(const std::string& label, const Json& score) {
  return fmt::format("{} ({:.1f} %)", label, 100 * score.get<double>());
}

}  // namespace

Result<Json> answer_json(const AnswerModel& model,
                         const Sample& sample,
                         const text::Encoding& encoding,
                         const std::vector<SampleOutput>& outputs) {
  RTAI_TRY(const Answer answer, make_answer(model, sample, encoding, outputs));
  std::vector<std::string> made;
  const std::vector<std::string>& names = all_names(model, outputs.front().columns, made);
  Json line = text_json(sample);
  switch (model.task) {
    case Task::sequence_classification: {
      line = class_json(sample, names, answer.classes);
      line["scores"] = scores_json(names, model.has_namesakes, answer.classes.scores);
      return line;
    }
    case Task::token_classification: {
      line["words"] = words_json(answer, names);
      RTAI_TRY(const std::vector<text::LabelledSpan> spans, spans_of(names, answer));
      line["spans"] = spans_json(answer, spans, sample.text);
      return line;
    }
    default:
      line["embedding"] = answer.embedding;
      return line;
  }
}

Json logits_json(const engine::Program& program,
                 const text::Encoding& encoding,
                 const std::vector<SampleOutput>& outputs) {
  Json keys = {{"input_ids", encoding.ids}, {"logits", output_json(program, 0, outputs[0])}};
  if (outputs.size() == 1) return keys;
  Json all = Json::object();
  for (std::size_t i = 0; i < outputs.size(); ++i)
    all[program.outputs[i].name] = output_json(program, i, outputs[i]);
  keys["outputs"] = std::move(all);
  return keys;
}

Result<Json> line_json(const AnswerModel& model,
                       const engine::Program& program,
                       const Sample& sample,
                       const text::Encoding& encoding,
                       const std::vector<SampleOutput>& outputs,
                       bool logits) {
  Json line = Json::object();
  const bool has_text = sample.ids.empty();
  if (has_text && (model.task != Task::unknown || !logits)) {
    RTAI_TRY(line, answer_json(model, sample, encoding, outputs));
  }
  if (logits) line.update(logits_json(program, encoding, outputs));
  if (line.empty()) line["logits"] = output_json(program, 0, outputs[0]);
  return line;
}

Result<std::string> line_text(const AnswerModel& model,
                              const engine::Program& program,
                              const Sample& sample,
                              const text::Encoding& encoding,
                              const std::vector<SampleOutput>& outputs,
                              bool logits,
                              const Json& more) {
  const bool writes_scores = model.task == Task::sequence_classification && sample.ids.empty() &&
                             !logits && !model.has_namesakes &&
                             std::ssize(model.labels) >= outputs.front().columns;
  if (!writes_scores) {
    RTAI_TRY(Json line, line_json(model, program, sample, encoding, outputs, logits));
    line.update(more);
    return one_line(line);
  }
  RTAI_TRY(const Answer answer, make_answer(model, sample, encoding, outputs));
  std::string text = one_line(class_json(sample, model.labels, answer.classes));
  text.back() = ',';
  append_scores(text, model.quoted_labels, answer.classes.scores);
  if (more.empty()) return text + '}';
  const std::string rest = one_line(more);
  return text.append(",").append(rest, 1);  // without its brace
}

Result<void> keep_best_scores(Json& line, int count) {
  const auto scores = line.find("scores");
  const bool has_scores =
      scores != line.end() && scores->is_object() &&
      std::ranges::all_of(*scores, [](const Json& score) { return score.is_number(); });
  if (!has_scores)
    return invalid_input("--top-k is for sequence classification: this answer has no scores");
  std::vector<const Json::object_t::value_type*> order;
  for (const auto& member : scores->get_ref<const Json::object_t&>())
    order.push_back(&member);
  std::ranges::stable_sort(order, std::greater(), [](const auto* member) {
    return member->second.template get<double>();
  });
  Json best = Json::object();
  auto& members = best.get_ref<Json::object_t&>();  // as in scores_json
  order.resize(std::min(order.size(), static_cast<std::size_t>(count)));
  for (const auto* member : order)
    members.Json::object_t::Container::push_back(*member);
  *scores = std::move(best);
  return {};
}

std::string scores_text(const Json& line) {
  std::string text;
  for (const auto& [label, score] : line["scores"].items())
    text += fmt::format("{}{}", text.empty() ? "" : ", ", label_text(label, score));
  return text + "\n";
}

std::string answer_text(const Json& line) {
  if (line.contains("label"))
    return label_text(line["label"].get<std::string>(), line["score"]) + "\n";
  if (line.contains("answer")) {
    const auto answer = line["answer"].get<std::string>();
    if (answer.empty()) return "(no answer)\n";
    return label_text(answer, line["score"]) + "\n";
  }
  if (line.contains("spans")) {
    std::string text;
    for (const Json& span : line["spans"]) {
      text += fmt::format("{:<24} {}\n", span["label"].get<std::string>(),
                          span["text"].get<std::string>());
    }
    return text.empty() ? std::string("(no spans)\n") : text;
  }
  if (line.contains("embedding")) {
    return fmt::format("[{:.5f}]\n", fmt::join(line["embedding"].get<std::vector<float>>(), ", "));
  }
  return one_line(line) + "\n";
}

}  // namespace rtai::tools
