#include "trainer/run/summary.h"

#include <algorithm>
#include <charconv>
#include <iomanip>
#include <limits>
#include <sstream>

#include <nlohmann/json.hpp>

#include "trainer/io/atomic_file.h"
#include "trainer/run/log.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kStageWidth = 18;

constexpr int64_t kNoStage = -4;

/// Stages in the order in which a run goes through them; steps by number.
int64_t rank_of(const std::string& cell) {
  if (cell == "full-precision")
    return -3;
  if (cell == "ptq")
    return -2;
  if (cell == "blockwise")
    return -1;
  int64_t step = kNoStage;
  if (cell.starts_with("step-"))
    std::from_chars(cell.data() + 5, cell.data() + cell.size(), step);
  return step >= 0 && cell == "step-" + std::to_string(step) ? step : kNoStage;
}

std::string fixed(double value, int digits) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(digits) << value;
  return text.str();
}

std::string column(const std::string& text, int width) {
  return std::string(std::max<int>(width - static_cast<int>(text.size()), 0), ' ') + text;
}

/// A text, and the conditions under which its last figure was measured.
struct Column {
  std::string text;
  std::string conditions;
};

/// Every text of any row, in the order in which they first come.
std::vector<Column> columns_of(const std::vector<SummaryRow>& rows) {
  std::vector<Column> columns;
  for (const SummaryRow& row : rows) {
    for (const SummaryRow::Cell& cell : row.cells) {
      auto found = std::find_if(columns.begin(), columns.end(), [&](const Column& each) {
        return each.text == cell.text;
      });
      if (found == columns.end())
        found = columns.insert(found, {cell.text, ""});
      if (!cell.conditions.empty())
        found->conditions = cell.conditions;
    }
  }
  return columns;
}

void header(std::ostream& out, const std::vector<Column>& columns) {
  out << std::left << std::setw(kStageWidth) << "stage" << column("bits", 7) << column("MB", 8);
  for (const Column& each : columns)
    out << "  " << column("PPL " + each.text, 24) << column("KLD", 8) << column("same top", 10);
  out << "\n";
}

/// @return  false where a figure does not compare with its column's last one, and is marked
bool line(std::ostream& out, const SummaryRow& row, const std::vector<Column>& columns) {
  const std::string disk =
      row.disk_bytes > 0 ? fixed(static_cast<double>(row.disk_bytes) / 1e6, 1) : "-";
  out << std::left << std::setw(kStageWidth) << row.stage
      << column(row.bits > 0 ? fixed(row.bits, 2) : "-", 7) << column(disk, 8);
  bool all_compare = true;
  for (const Column& each : columns) {
    const auto found = std::find_if(row.cells.begin(), row.cells.end(), [&](const auto& cell) {
      return cell.text == each.text;
    });
    const bool there = found != row.cells.end();
    const SummaryRow::Cell cell = there ? *found : SummaryRow::Cell();
    const bool compares = cell.conditions.empty() || cell.conditions == each.conditions;
    all_compare = all_compare && compares;
    const std::string mark = compares ? "" : "*";
    out << "  " << column(there ? short_number(cell.ppl, 5) + mark : "-", 24)
        << column(cell.kld < 0 ? "-" : fixed(cell.kld, 3), 8)
        << column(cell.same_top < 0 ? "-" : fixed(100 * cell.same_top, 1) + " %", 10);
  }
  out << "\n";
  return all_compare;
}

/// JSON has no NaN: what is not a number was not finite.
double number_of(const json& object, const char* key, double absent) {
  if (!object.contains(key))
    return absent;
  return object[key].is_number() ? object[key].get<double>()
                                 : std::numeric_limits<double>::quiet_NaN();
}

SummaryRow row_of(const json& evaluation) {
  SummaryRow row;
  row.stage = evaluation.value("cell", "");
  row.bits = evaluation.value("bits_per_weight", 0.0);
  row.disk_bytes = evaluation.value("bytes", uint64_t{0});
  row.samples = evaluation.value("samples", std::vector<std::string>());
  return row;
}

SummaryRow::Cell cell_of(const json& evaluation) {
  SummaryRow::Cell cell;
  cell.text = evaluation.value("text", "");
  cell.ppl = number_of(evaluation, "ppl", 0);
  if (evaluation.contains("kld"))
    cell.kld = number_of(evaluation["kld"], "mean", -1);
  cell.same_top = number_of(evaluation, "same_top", -1);
  cell.conditions = evaluation.value("conditions", "");
  return cell;
}

bool is_evaluation(const json& object) {
  try {
    const SummaryRow row = row_of(object);
    const SummaryRow::Cell cell = cell_of(object);
    return rank_of(row.stage) != kNoStage && !cell.text.empty();
  } catch (const json::exception&) {
    return false;
  }
}

std::vector<fs::path> files_of(const fs::path& run_folder) {
  std::vector<fs::path> files;
  if (fs::exists(run_folder / "eval"))
    for (const auto& entry : fs::directory_iterator(run_folder / "eval"))
      if (entry.path().extension() == ".json")
        files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

std::string summary_text(const std::vector<SummaryRow>& rows) {
  if (rows.empty())
    return {};
  std::ostringstream out;
  const std::vector<Column> columns = columns_of(rows);
  header(out, columns);
  bool all_compare = true;
  for (const SummaryRow& row : rows)
    all_compare = line(out, row, columns) && all_compare;
  if (!all_compare)
    out << "* measured with other eval settings than the last stage: does not compare\n";
  for (const SummaryRow& row : rows) {
    if (!row.samples.empty())
      out << "\n" << row.stage << "\n";
    for (const std::string& sample : row.samples)
      out << "  " << sample << "\n";
  }
  return out.str();
}

json evaluation_in(const fs::path& file) {
  json object = json::parse(io::read_text(file), nullptr, /*allow_exceptions=*/false);
  return is_evaluation(object) ? object : json();
}

void drop_evaluations_behind(const fs::path& run_folder, const std::string& cell) {
  for (const fs::path& file : files_of(run_folder)) {
    const json evaluation = evaluation_in(file);
    if (!evaluation.is_null() && rank_of(evaluation["cell"]) > rank_of(cell))
      fs::remove(file);
  }
}

std::vector<SummaryRow> read_summary(const fs::path& run_folder) {
  std::vector<SummaryRow> rows;
  for (const fs::path& file : files_of(run_folder)) {
    const json evaluation = evaluation_in(file);
    if (evaluation.is_null())
      continue;
    const std::string stage = evaluation["cell"];
    auto row = std::find_if(
        rows.begin(), rows.end(), [&](const SummaryRow& each) { return each.stage == stage; });
    if (row == rows.end())
      row = rows.insert(rows.end(), row_of(evaluation));
    if (row->samples.empty())
      row->samples = evaluation.value("samples", std::vector<std::string>());
    row->cells.push_back(cell_of(evaluation));
  }
  std::stable_sort(rows.begin(), rows.end(), [](const SummaryRow& a, const SummaryRow& b) {
    return rank_of(a.stage) < rank_of(b.stage);
  });
  return rows;
}

}  // namespace sterna::run
