// Text in, answer out: rtai's own endpoint, OpenAI's for embeddings, and those of Hugging Face's
// text-embeddings-inference (TEI).
#pragma once

#include "tools/serve/inquiry.h"

#include <span>

namespace rtai::serve {

/// POST /v1/predict: a line of `rtai run --data FILE.jsonl`, or {"texts": [...]} or
/// {"samples": [lines]}; beside them "model", "engine", "logits", "timeout_ms". The answer to one
/// is a line of `rtai run --json` with "engine"; to several, {"engine", "answers": [lines]}.
///
/// Errors: invalid_input; not_found if "model" is not the name of this one.
Result<Inquiry> read_predict(const EngineSet& set, const Body& body);

/// POST /v1/embeddings, as OpenAI's clients send it: "input" is a text, texts, ids or lists of ids;
/// "encoding_format" float or base64; "model" the model's name or that of one of its engines.
Result<Inquiry> read_openai_embeddings(const EngineSet& set, const Body& body);

/// GET /v1/models, as OpenAI's clients read it.
Json openai_models(std::span<const SharedSet> sets);

/// POST /embed: {"inputs", "normalize"} to [[...]].
Result<Inquiry> read_tei_embed(const EngineSet& set, const Body& body);
/// POST /predict: {"inputs", "raw_scores"} to [{"score", "label"}], the highest first.
Result<Inquiry> read_tei_predict(const EngineSet& set, const Body& body);
/// GET /info.
Json tei_info(const EngineSet& set, const BatchOptions& options, std::size_t most_texts);

}  // namespace rtai::serve
