#include "tools/triton/served_model.h"

namespace rtai::triton {

Result<std::unique_ptr<ServedModel>> load_model(const Json& config,
                                                const std::filesystem::path& folder) {
  auto model = std::make_unique<ServedModel>();
  RTAI_TRY(model->settings, read_settings(config));
  const std::filesystem::path path = folder / model->settings.file;
  RTAI_TRY(engine::Engine engine, engine::read(path, engine::Verify::digests));
  RTAI_TRY(model->answers, tools::answer_model(engine, path.string()));
  model->limits = serve::limits_of(engine.program);
  model->tensors = {.inputs = serve::input_infos(model->answers),
                    .outputs = serve::output_infos(model->answers, engine.program)};
  model->engine = std::make_shared<const engine::Engine>(std::move(engine));
  return model;
}

}  // namespace rtai::triton
