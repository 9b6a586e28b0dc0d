#include "tools/serve/text_api.h"

#include "tools/text_data.h"
#include "tools/version.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

namespace rtai::serve {
namespace {

using tools::Sample;
using tools::Task;

Result<bool> flag_of(const Body& body, const char* key, bool otherwise) {
  const auto found = body.find(key);
  if (found == body.end() || found->is_null()) return otherwise;
  if (!found->is_boolean())
    return invalid_input(fmt::format("\"{}\": expected true or false", key));
  return found->get<bool>();
}

Result<std::optional<std::string>> name_in(const Body& body, const char* key) {
  const auto name = body.find(key);
  if (name == body.end()) return std::optional<std::string>();
  if (!name->is_string()) return invalid_input(fmt::format("\"{}\": expected a name", key));
  return std::optional(name->get<std::string>());
}

Result<void> need_embeddings(const EngineSet& set) {
  if (set.first().model.task == Task::sentence_embedding) return {};
  return Error{ErrorCode::unsupported, fmt::format("this model gives no embeddings, its task is {}",
                                                   tools::task_name(set.first().model.task))};
}

Result<Sample> sample_of(const Body& item) {
  if (item.is_string()) return Sample(item.get<std::string>());
  return tools::parse_sample(item);
}

Result<std::vector<Sample>> predict_samples(const Body& body) {
  std::vector<Sample> samples;
  if (const auto texts = body.find("texts"); texts != body.end()) {
    RTAI_TRY(std::vector<std::string> list, texts_of(*texts, "texts"));
    for (std::string& text : list)
      samples.emplace_back(std::move(text));
    return samples;
  }
  if (const auto list = body.find("samples"); list != body.end()) {
    if (!list->is_array()) return invalid_input("\"samples\": expected a list");
    for (const Body& item : *list) {
      RTAI_TRY(Sample sample, sample_of(item));
      samples.push_back(std::move(sample));
    }
    return samples;
  }
  RTAI_TRY(Sample sample, tools::parse_sample(body));
  samples.push_back(std::move(sample));
  return samples;
}

std::string base64(std::span<const std::byte> bytes) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t j = 0; j < 3; ++j)
      bits = bits << 8 | (i + j < bytes.size() ? std::to_integer<std::uint32_t>(bytes[i + j]) : 0);
    for (std::size_t j = 0; j < 4; ++j)
      text += i + j <= bytes.size() ? kDigits[bits >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

/// "input": a text, texts, ids, or lists of ids.
Result<std::vector<Sample>> openai_samples(const Body& input) {
  const auto ids_of = [](const Body& list) -> Result<Sample> {
    return tools::parse_sample(Body{{"input_ids", list}});
  };
  std::vector<Sample> samples;
  const bool is_ids = input.is_array() && !input.empty() && input.front().is_number();
  const bool is_lists = input.is_array() && !input.empty() && input.front().is_array();
  if (is_ids) {
    RTAI_TRY(Sample sample, ids_of(input));
    samples.push_back(std::move(sample));
    return samples;
  }
  if (is_lists) {
    for (const Body& list : input) {
      RTAI_TRY(Sample sample, ids_of(list));
      samples.push_back(std::move(sample));
    }
    return samples;
  }
  RTAI_TRY(std::vector<std::string> texts, texts_of(input, "input"));
  for (std::string& text : texts)
    samples.emplace_back(std::move(text));
  return samples;
}

Json openai_json(const Answered& answered, const std::string& model, bool as_base64) {
  Json data = Json::array();
  std::size_t tokens = 0;
  for (std::size_t i = 0; i < answered.outputs.size(); ++i) {
    const std::vector<float>& values = answered.outputs[i].front().values;
    tokens += answered.encodings[i].ids.size();
    Json vector = as_base64 ? Json(base64(std::as_bytes(std::span(values)))) : Json(values);
    data.push_back({{"object", "embedding"}, {"index", i}, {"embedding", std::move(vector)}});
  }
  return {{"object", "list"},
          {"data", std::move(data)},
          {"model", model},
          {"usage", {{"prompt_tokens", tokens}, {"total_tokens", tokens}}}};
}

bool ends_normalized(const LoadedEngine& engine) {
  const auto& steps = engine.program().steps;
  return !steps.empty() && steps.back().op == engine::OpKind::l2_normalize;
}

std::vector<float> normalized(std::vector<float> values) {
  double sum = 0;
  for (const float value : values)
    sum += static_cast<double>(value) * static_cast<double>(value);
  const double norm = std::sqrt(sum);
  if (norm <= 0) return values;
  for (float& value : values)
    value = static_cast<float>(static_cast<double>(value) / norm);
  return values;
}

/// A text, or a pair of them.
Result<Sample> tei_sample(const Body& item) {
  RTAI_TRY(std::vector<std::string> texts, texts_of(item, "inputs"));
  if (texts.empty() || texts.size() > 2)
    return invalid_input("\"inputs\": expected a text or a pair of them");
  Sample sample(std::move(texts[0]));
  if (texts.size() == 2) sample.text_b = std::move(texts[1]);
  return sample;
}

Result<Json> tei_scores(const Answered& answered, std::size_t i, bool raw) {
  const tools::Model& model = answered.engine.model;
  RTAI_TRY(
      const tools::Answer answer,
      tools::make_answer(model, answered.samples[i], answered.encodings[i], answered.outputs[i]));
  std::vector<float> scores = answer.classes.scores;
  if (raw) scores = answered.outputs[i].front().values;
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order,
                           [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  Json list = Json::array();
  for (const std::size_t label : order)
    list.push_back({{"score", scores[label]}, {"label", tools::label_name(model, label)}});
  return list;
}

}  // namespace

Result<Inquiry> read_predict(const EngineSet& set, const Body& body) {
  RTAI_TRY(const auto model, name_in(body, "model"));
  if (model && *model != set.model_name)
    return Error{ErrorCode::not_found, "no model of this name"};
  Inquiry inquiry;
  RTAI_TRY(inquiry.samples, predict_samples(body));
  RTAI_TRY(const bool logits, flag_of(body, "logits", false));
  RTAI_TRY(const auto engine, name_in(body, "engine"));
  if (engine) {
    RTAI_TRY(inquiry.engine, engine_called(set, *engine));
  }
  if (const auto timeout = body.find("timeout_ms"); timeout != body.end()) {
    if (!timeout->is_number() || timeout->get<double>() <= 0)
      return invalid_input("\"timeout_ms\": expected a positive number");
    inquiry.timeout_s = timeout->get<double>() * 1e-3;
  }
  const bool is_list = body.contains("texts") || body.contains("samples");
  inquiry.respond = [logits, is_list](const Answered& answered) -> Result<HttpResponse> {
    const auto line = [&](std::size_t i) {
      Json more = Json::object();
      if (answered.encodings[i].truncated) more["truncated"] = true;
      if (!is_list) more["engine"] = answered.engine.name;
      return tools::line_text(answered.engine.model, answered.engine.program(), answered.samples[i],
                              answered.encodings[i], answered.outputs[i], logits, more);
    };
    HttpResponse response;
    if (!is_list) {
      RTAI_TRY(response.body, line(0));
      return response;
    }
    response.body =
        fmt::format("{{\"engine\":{},\"answers\":[", tools::one_line(Json(answered.engine.name)));
    for (std::size_t i = 0; i < answered.samples.size(); ++i) {
      RTAI_TRY(const std::string one, line(i));
      if (i > 0) response.body += ',';
      response.body += one;
    }
    response.body += "]}";
    return response;
  };
  return inquiry;
}

Result<Inquiry> read_openai_embeddings(const EngineSet& set, const Body& body) {
  Inquiry inquiry;
  RTAI_TRY(const auto name, name_in(body, "model"));
  if (name) {
    RTAI_TRY(inquiry.engine, engine_called(set, *name));
  }
  RTAI_TRY_VOID(need_embeddings(set));
  if (!body.contains("input"))
    return invalid_input("\"input\": expected a text or a list of texts");
  RTAI_TRY(inquiry.samples, openai_samples(body["input"]));
  const Body format = body.value("encoding_format", Body("float"));
  if (format != "float" && format != "base64")
    return invalid_input("\"encoding_format\": expected float or base64");
  const engine::Program& program = set.first().program();
  const Index columns =
      program.values[static_cast<std::size_t>(program.outputs.front().value)].columns;
  if (body.contains("dimensions") && !body["dimensions"].is_null() && body["dimensions"] != columns)
    return invalid_input(fmt::format("\"dimensions\": this model gives {}", columns));
  inquiry.respond = [model = name.value_or(set.model_name), as_base64 = format == "base64"](
                        const Answered& answered) -> Result<HttpResponse> {
    return json_response(openai_json(answered, model, as_base64));
  };
  return inquiry;
}

Result<Inquiry> read_tei_embed(const EngineSet& set, const Body& body) {
  RTAI_TRY_VOID(need_embeddings(set));
  Inquiry inquiry;
  if (!body.contains("inputs"))
    return invalid_input("\"inputs\": expected a text or a list of texts");
  RTAI_TRY(std::vector<std::string> texts, texts_of(body["inputs"], "inputs"));
  for (std::string& text : texts)
    inquiry.samples.emplace_back(std::move(text));
  RTAI_TRY(const bool normalize, flag_of(body, "normalize", true));
  inquiry.respond = [normalize](const Answered& answered) -> Result<HttpResponse> {
    Json list = Json::array();
    for (const auto& output : answered.outputs) {
      const bool as_it_is = !normalize || ends_normalized(answered.engine);
      list.push_back(as_it_is ? output.front().values : normalized(output.front().values));
    }
    return json_response(list);
  };
  return inquiry;
}

Result<Inquiry> read_tei_predict(const EngineSet& set, const Body& body) {
  if (set.first().model.task != Task::sequence_classification)
    return Error{ErrorCode::unsupported, "this model classifies no texts"};
  Inquiry inquiry;
  if (!body.contains("inputs"))
    return invalid_input("\"inputs\": expected a text or a list of texts");
  const Body& inputs = body["inputs"];
  const bool is_batch = inputs.is_array() && !inputs.empty() && inputs.front().is_array();
  for (const Body& item : is_batch ? inputs : Body::array({inputs})) {
    RTAI_TRY(Sample sample, tei_sample(item));
    inquiry.samples.push_back(std::move(sample));
  }
  RTAI_TRY(const bool raw, flag_of(body, "raw_scores", false));
  inquiry.respond = [raw, is_batch](const Answered& answered) -> Result<HttpResponse> {
    Json lists = Json::array();
    for (std::size_t i = 0; i < answered.samples.size(); ++i) {
      RTAI_TRY(Json list, tei_scores(answered, i, raw));
      lists.push_back(std::move(list));
    }
    return json_response(is_batch ? lists : lists[0]);
  };
  return inquiry;
}

Json openai_models(std::span<const SharedSet> sets) {
  constexpr std::int64_t kNanoseconds = 1'000'000'000;
  Json models = Json::array();
  for (const SharedSet& set : sets) {
    models.push_back({{"id", set->model_name},
                      {"object", "model"},
                      {"created", set->first().stamp.changed_ns / kNanoseconds},
                      {"owned_by", "rtai"}});
  }
  return {{"object", "list"}, {"data", std::move(models)}};
}

Json tei_info(const EngineSet& set, const BatchOptions& options, std::size_t most_texts) {
  const LoadedEngine& engine = set.first();
  const tools::Model& model = engine.model;
  Json type = Json::object();
  if (model.task == Task::sentence_embedding) type["embedding"] = {{"pooling", "as-exported"}};
  if (model.task == Task::sequence_classification) {
    Json names = Json::object(), numbers = Json::object();
    for (std::size_t i = 0; i < model.labels.size(); ++i) {
      names[std::to_string(i)] = model.labels[i];
      numbers[model.labels[i]] = i;
    }
    type["classifier"] = {{"id2label", std::move(names)}, {"label2id", std::move(numbers)}};
  }
  return {{"model_id", set.model_name},
          {"model_sha", engine.digest},
          {"model_dtype", model.dtype()},
          {"model_type", std::move(type)},
          {"max_concurrent_requests", options.most_texts},
          {"max_input_length", engine.limits.positions},
          {"max_batch_tokens", options.most_tokens},
          {"max_client_batch_size", most_texts},
          {"auto_truncate", true},
          {"version", tools::version()}};
}

}  // namespace rtai::serve
