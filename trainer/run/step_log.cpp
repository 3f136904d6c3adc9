#include "trainer/run/step_log.h"

#include <nlohmann/json.hpp>

#include "trainer/run/device.h"
#include "trainer/run/log.h"

namespace sterna::run {
namespace {

double matrix_and_attention(const model::DecoderConfig& c, int64_t seq_len) {
  return static_cast<double>(c.multiplies_per_token()) +
         static_cast<double>(c.layers) * static_cast<double>(c.heads * c.head_dim) *
             static_cast<double>(seq_len);
}

constexpr double kBytesOfMiB = 1024 * 1024;

double tokens_per_second(const StepReport& report) {
  return 1e3 * static_cast<double>(report.tokens) / report.ms.total;
}

}  // namespace

StepFlops step_flops(const model::DecoderConfig& student,
                     const model::DecoderConfig* teacher,
                     int64_t seq_len) {
  StepFlops flops;
  flops.student = 6 * matrix_and_attention(student, seq_len);
  if (teacher != nullptr)
    flops.teacher = 2 * matrix_and_attention(*teacher, seq_len);
  return flops;
}

nlohmann::json step_line(int64_t step,
                         const StepReport& report,
                         int64_t skipped_so_far,
                         const LogContext& context) {
  nlohmann::json line = {{"stage", "train"}, {"step", step}};
  line["loss"] = report.loss;
  for (size_t i = 0; i < context.terms.size(); ++i)
    line["terms"][context.terms[i]] = report.losses[i];
  line["lr"] = report.rates.lr;
  line["lr_quant"] = report.rates.lr_quantizer;
  line["grad_norm"] = report.outcome.grad_norm;
  line["skipped"] = !report.outcome.applied;
  line["found_inf"] = skipped_so_far;
  line["tokens"] = report.tokens;
  const double rate = tokens_per_second(report);
  line["tokens_per_s"] = rate;
  const double peak = context.peak_tflops * 1e12;
  line["mfu"] = nullptr;
  line["kd_mfu"] = nullptr;
  if (peak > 0) {
    line["mfu"] = rate * context.flops.student / peak;
    line["kd_mfu"] = rate * (context.flops.student + context.flops.teacher) / peak;
  }
  line["tflops"] = rate * (context.flops.student + context.flops.teacher) / 1e12;
  const Memory memory = process_memory();
  line["rss_mib"] = memory.now;
  line["peak_rss_mib"] = memory.peak;
  if (const auto peak_there = peak_memory(context.device))
    line["peak_device_mib"] = static_cast<double>(*peak_there) / kBytesOfMiB;
  line["step_ms"] = report.ms.total;
  line["data_ms"] = report.ms.data;
  line["quant_ms"] = report.ms.quant;
  line["teacher_ms"] = report.ms.teacher;
  line["forward_ms"] = report.ms.forward;
  line["loss_ms"] = report.ms.loss;
  line["backward_ms"] = report.ms.backward;
  line["exchange_ms"] = report.ms.exchange;
  line["optimizer_ms"] = report.ms.optimizer;
  line["save_ms"] = report.ms.save;
  return line;
}

std::string step_text(const StepReport& report, const LogContext& context) {
  std::string text;
  for (size_t i = 0; i < context.terms.size(); ++i)
    text += context.terms[i] + " " + short_number(report.losses[i]) + "  ";
  text += "lr " + short_number(report.rates.lr, 2) + "  |g| " +
          short_number(report.outcome.grad_norm, 3) + "  " +
          short_number(tokens_per_second(report), 3) + " tok/s  quant " +
          short_number(100 * report.ms.quant / report.ms.total, 2) + " %  rss " +
          short_number(process_memory().now / 1024, 3) + " GiB";
  return text;
}

}  // namespace sterna::run
