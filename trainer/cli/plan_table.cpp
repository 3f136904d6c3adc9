#include "trainer/cli/plan_table.h"

#include <array>
#include <cstdio>
#include <ostream>
#include <tuple>

#include "trainer/model/plan_fits.h"
#include "trainer/model/quantizers.h"

namespace sterna::cli {
namespace {

std::string shape_of(const PlannedMatrix& m) {
  return "[" + std::to_string(m.rows) + ", " + std::to_string(m.columns) + "]";
}

void fill(const quant::Plan& plan, PlannedMatrix& m) {
  const std::string module = model::module_of(m.tensor);
  m.rule = plan.rule_of(module, m.place);
  m.scheme = plan.scheme_of(module, m.place);
  const auto fit = model::try_fit(plan, m.tensor, {m.rows, m.columns}, m.place);
  m.bits = fit ? fit->bits : 0;
  m.group = fit ? fit->group : 0;
  m.bits_per_weight = fit ? fit->bits_per_weight : kFullPrecisionBits;
}

std::string decimals(double value) {
  std::array<char, 32> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "%.4f", value);
  return buffer.data();
}

using Line = std::array<std::string, 8>;

Line line_of(const PlannedMatrix& m) {
  const bool full = m.bits == 0;
  const std::string group = m.group == 0           ? "matrix"
                            : m.group == m.columns ? "row"
                                                   : std::to_string(m.group);
  return {m.tensor,
          shape_of(m),
          m.rule,
          m.scheme,
          full ? "-" : std::to_string(m.bits),
          full ? "-" : group,
          decimals(m.bits_per_weight),
          m.input};
}

void print_aligned(const std::vector<Line>& lines, std::ostream& out) {
  std::array<size_t, std::tuple_size_v<Line>> widths{};
  for (const Line& line : lines) {
    for (size_t i = 0; i < line.size(); ++i)
      widths[i] = std::max(widths[i], line[i].size());
  }
  for (const Line& line : lines) {
    std::string text;
    for (size_t i = 0; i < line.size(); ++i)
      text += line[i] + std::string(widths[i] - line[i].size() + 2, ' ');
    text.erase(text.find_last_not_of(' ') + 1);
    out << text << "\n";
  }
}

/// Weights and their bits, added up.
struct Total {
  int64_t matrices = 0;
  double weights = 0;
  double bits = 0;

  void add(const PlannedMatrix& m) {
    const double size = static_cast<double>(m.rows) * static_cast<double>(m.columns);
    ++matrices;
    weights += size;
    bits += size * m.bits_per_weight;
  }
  std::string text() const {
    return std::to_string(matrices) + " matrices, " +
           std::to_string(static_cast<int64_t>(weights)) + " weights, " +
           (weights > 0 ? decimals(bits / weights) : "0") + " bits per weight\n";
  }
};

}  // namespace

void fill_plan(const quant::Plan& plan, std::vector<PlannedMatrix>& matrices) {
  std::vector<std::string> modules;
  for (const PlannedMatrix& m : matrices)
    modules.push_back(model::module_of(m.tensor));
  plan.require_matches(modules);
  for (PlannedMatrix& m : matrices)
    fill(plan, m);
}

void print_plan(const std::vector<PlannedMatrix>& matrices, std::ostream& out) {
  std::vector<Line> lines{
      {"tensor", "shape", "rule", "scheme", "bits", "group", "bits/weight", ""}};
  Total quantized;
  Total all;
  for (const PlannedMatrix& m : matrices) {
    lines.push_back(line_of(m));
    if (!m.input.empty())
      lines.front().back() = "input";
    all.add(m);
    if (m.bits > 0)
      quantized.add(m);
  }
  print_aligned(lines, out);
  out << "\nquantized: " << quantized.text() << "all:       " << all.text()
      << "(scales and zero points counted; full precision counts as bf16)\n";
}

}  // namespace sterna::cli
