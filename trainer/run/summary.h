#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace sterna::run {

/// What one stage of a run is worth, as eval/*.json holds it.
struct SummaryRow {
  std::string stage;  ///< "full precision", "rounded (PTQ)", "block-wise", "trained"
  double bits = 0;    ///< stored bits of a quantized weight, scales included; 0: none quantized
  uint64_t disk_bytes = 0;  ///< measured, or 0 where nothing was written
  /// One entry per evaluation text that was measured.
  struct Cell {
    std::string text;  ///< file name
    double ppl = 0;
    double kld = -1;           ///< nats; negative: not measured
    double same_top = -1;      ///< share; negative: not measured
    std::string conditions{};  ///< Evaluator::conditions(); empty in files of earlier programs
  };
  std::vector<Cell> cells;
  std::vector<std::string> samples;  ///< continuations of eval.prompts, one line each
};

/// The table that a run ends with, and below it what each stage wrote behind each prompt. Figures
/// that were measured under other conditions than a text's last one are marked: they do not
/// compare.
std::string summary_text(const std::vector<SummaryRow>& rows);

/// What a file below eval/ holds; null where it is damaged or no evaluation of a run's stage.
nlohmann::json evaluation_in(const std::filesystem::path& file);

/// Removes the evaluations of a run folder that come behind this stage: after falling back to an
/// older checkpoint they are those of another future. Files that evaluation_in() does not know
/// stay.
/// @param cell  as in eval/*.json: "ptq", "blockwise", "step-40"
void drop_evaluations_behind(const std::filesystem::path& run_folder, const std::string& cell);

/// Rows of the evaluations that a run folder holds, in the order of its stages; other files below
/// eval/ are left out.
std::vector<SummaryRow> read_summary(const std::filesystem::path& run_folder);

}  // namespace sterna::run
