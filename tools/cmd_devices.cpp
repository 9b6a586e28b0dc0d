// rtai devices: what this machine has, what was chosen and why.
#include "runtime/base/usable_cores.h"
#include "runtime/cuda/backend.h"
#include "runtime/kernels/target.h"
#include "tools/cli.h"
#include "tools/json.h"
#include "tools/machine.h"
#include "tools/report/table.h"
#include "tools/written_files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace rtai::tools {
namespace {

/// "9.0".
std::string capability_text(const cuda::DeviceInfo& gpu) {
  return fmt::format("{}.{}", gpu.capability / 10, gpu.capability % 10);
}

Json gpus_json(const Result<std::vector<cuda::DeviceInfo>>& gpus) {
  Json all = Json::array();
  if (!gpus) return all;
  for (const cuda::DeviceInfo& gpu : *gpus) {
    all.push_back({{"name", gpu.name},
                   {"compute_capability", capability_text(gpu)},
                   {"memory_bytes", gpu.memory_bytes},
                   {"multiprocessors", gpu.multiprocessors},
                   {"driver_cuda_version", gpu.driver}});
  }
  return all;
}

/// A line for each GPU, or why there is none.
std::string gpus_text(const Result<std::vector<cuda::DeviceInfo>>& gpus) {
  if (!gpus) return fmt::format("gpu      none: {}\n", gpus.error().message());
  std::string text;
  for (std::size_t i = 0; i < gpus->size(); ++i) {
    const cuda::DeviceInfo& gpu = (*gpus)[i];
    text += fmt::format("cuda:{}   {}, compute capability {}, {}, driver for CUDA {}\n", i,
                        gpu.name, capability_text(gpu),
                        human_bytes(static_cast<double>(gpu.memory_bytes)), gpu.driver);
  }
  return text;
}

Result<int> run_devices(const std::optional<std::string>& json, const GlobalFlags& global) {
  RTAI_TRY(const Target chosen, select_target());
  const int threads = usable_cores();
  const Peaks peaks = measure_peaks(threads);
  const auto gpus = cuda::devices();
  if (json) {
    Json targets = Json::array();
    for (const Target target : all_targets()) {
      targets.push_back({{"name", target_name(target)},
                         {"available", is_available(target)},
                         {"reason", availability_reason(target)}});
    }
    RTAI_TRY_VOID(
        write_json({{"cpu", cpu_name()},
                    {"threads", threads},
                    {"target", target_name(chosen)},
                    {"targets", targets},
                    {"peak",
                     {{"int8_gops", peaks.int8_gops},
                      {"f32_gflops", peaks.f32_gflops},
                      {"read_gb_per_s", peaks.read_gb_per_s}}},
                    {"gpus", gpus_json(gpus)},
                    {"no_gpu_reason", gpus ? Json(nullptr) : Json(gpus.error().message())}},
                   *json));
  }
  if (is_stdout(json)) return 0;
  std::string text = fmt::format("cpu      {}\nthreads  {} usable\n", cpu_name(), threads);
  text += fmt::format(
      "peak     {:.0f} int8 GOPS, {:.0f} f32 GFLOPS, {:.0f} GB/s read, measured on {} threads\n\n",
      peaks.int8_gops, peaks.f32_gflops, peaks.read_gb_per_s, threads);
  Table table({"target", "", ""});
  for (const Target target : all_targets()) {
    const std::string reason = availability_reason(target);
    table.add({std::string(target_name(target)), is_available(target) ? "available" : "no",
               target == chosen ? "chosen: the best available"
               : reason == "ok" ? ""
                                : reason});
  }
  text += table.text() + "\n" + gpus_text(gpus);
  print(global, text);
  return 0;
}

}  // namespace

void add_devices(Commands& commands) {
  auto json = std::make_shared<std::optional<std::string>>();
  CLI::App& command = *commands.app.add_subcommand(
      "devices", "Show processors, instruction sets and what would be used");
  command.add_option("--json", *json, "Write as JSON to this file, - for standard output")
      ->type_name(kWrittenFile);
  command.footer("Example: rtai devices");
  command.callback([json, &commands] {
    commands.chosen = [json, &global = commands.flags](Log&) { return run_devices(*json, global); };
  });
}

}  // namespace rtai::tools
