#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "trainer/model/config.h"
#include "trainer/run/step.h"

namespace sterna::run {

/// Floating-point operations per token of a distillation step, by the published convention: student
/// 6 N + 6 L D T (forward and backward, causal attention), teacher 2 N + 2 L D T. Recomputation,
/// quantizer, loss and optimizer do not count.
struct StepFlops {
  double student = 0;
  double teacher = 0;  ///< 0 without one
};
StepFlops step_flops(const model::DecoderConfig& student,
                     const model::DecoderConfig* teacher,
                     int64_t seq_len);

/// What a log line needs besides the report.
struct LogContext {
  std::vector<std::string> terms;
  StepFlops flops;
  double peak_tflops = 0;  ///< 0: unknown, then mfu and kd_mfu are null
  at::Device device = at::kCPU;
};

/// One line of log.jsonl. `step` counts from 1: complete attempts, this one included.
nlohmann::json step_line(int64_t step,
                         const StepReport& report,
                         int64_t skipped_so_far,
                         const LogContext& context);

/// The same for people: "kl 1.234  lr 1.0e-04  |g| 0.52  812 tok/s  quant 2.1 %  rss 3.1 GiB".
std::string step_text(const StepReport& report, const LogContext& context);

}  // namespace sterna::run
