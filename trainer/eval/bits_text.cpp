// An assignment of bits, for people and as a recipe.
#include <algorithm>
#include <array>
#include <cstdio>

#include "trainer/eval/bits.h"

namespace sterna::eval {
namespace {

std::string number(const char* format, double value) {
  std::array<char, 32> buffer{};
  std::snprintf(buffer.data(), buffer.size(), format, value);
  return buffer.data();
}

using Line = std::vector<std::string>;

std::string aligned(const std::vector<Line>& lines) {
  std::vector<size_t> widths(lines.front().size());
  for (const Line& line : lines) {
    for (size_t i = 0; i < line.size(); ++i)
      widths[i] = std::max(widths[i], line[i].size());
  }
  std::string text;
  for (const Line& line : lines) {
    for (size_t i = 0; i < line.size(); ++i)
      text += line[i] + std::string(i + 1 < line.size() ? widths[i] - line[i].size() + 2 : 0, ' ');
    text += "\n";
  }
  return text;
}

/// What the assignment came to, and against what.
std::string sum_text(const quant::Plan& plan, const BitAssignment& bits) {
  std::string text = number("%.4f", bits.bits) + " bits a weight (budget " +
                     recipes::Section::to_text(plan.budget().config.budget_bits) +
                     "), KL divergence " + number("%.4g", bits.divergence);
  if (bits.has_uniform)
    text += "; bits = " + std::to_string(plan.budget().candidates[bits.uniform].bits) +
            " everywhere: " + number("%.4f", bits.uniform_bits) + ", " +
            number("%.4g", bits.uniform_divergence);
  return text;
}

}  // namespace

std::string table_text(const quant::Plan& plan, const BitAssignment& bits) {
  const std::vector<quant::BitCandidate>& candidates = plan.budget().candidates;
  std::vector<Line> lines{{"matrix", "shape"}};
  for (const quant::BitCandidate& candidate : candidates)
    lines.front().push_back("KLD at " + std::to_string(candidate.bits));
  lines.front().insert(lines.front().end(), {"bits", "bits/weight"});
  for (size_t i = 0; i < bits.matrices.size(); ++i) {
    const BitMatrix& m = bits.matrices[i];
    Line& line = lines.emplace_back(
        Line{m.module, "[" + std::to_string(m.shape[0]) + ", " + std::to_string(m.shape[1]) + "]"});
    for (const double loss : m.costs.loss)
      line.push_back(number("%.3g", loss));
    line.push_back(std::to_string(candidates[bits.chosen[i]].bits));
    line.push_back(number("%.4f", m.costs.bits[bits.chosen[i]]));
  }
  return aligned(lines) + "assigned: " + std::to_string(bits.matrices.size()) + " matrices, " +
         sum_text(plan, bits) + "\n";
}

std::string rules_text(const quant::Plan& plan, const BitAssignment& bits) {
  const quant::BudgetConfig& config = plan.budget().config;
  std::string text = "# Bits by sensitivity, measured on " +
                     config.budget_text.filename().string() + " (at most " +
                     std::to_string(config.budget_tokens) + " tokens):\n# " + sum_text(plan, bits) +
                     ".\n";
  for (size_t i = 0; i < bits.matrices.size(); ++i)
    text += "\n[[quant.rule]]\nmatch = \"" + bits.matrices[i].module +
            "\"\nweight = " + plan.budget().candidates[bits.chosen[i]].weight + "\n";
  return text;
}

}  // namespace sterna::eval
