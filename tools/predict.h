// Samples through a model: loading it for that, and all answers at once.
#pragma once

#include "tools/answer.h"
#include "tools/model.h"
#include "tools/predictor.h"
#include "tools/text_data.h"

#include <string>
#include <vector>

namespace rtai::tools {

/// A model ready to run. Errors: as make_engine and Predictor::create.
Result<Predictor> make_predictor(const Model& model, int threads, const std::string& target);

/// Answers for all samples, in order.
Result<std::vector<Answer>> answer_all(const Model& model,
                                       Predictor& predictor,
                                       const std::vector<Sample>& samples,
                                       Log& log);

}  // namespace rtai::tools
