#include "distill/term.h"

#include <algorithm>

#include "recipes/blame.h"

namespace sterna::distill {
namespace {

using recipes::Section;

/// The TSLD paper's own strength: its code sums over a batch of 4.
constexpr double kTsldWeight = 4;

constexpr const char* kDefaultLoss = "gt";
constexpr const char* kDefaultWeighting = "uniform";

/// The keys of a term's table beside the components.
struct TermConfig {
  double weight = 1;

  template <class Visitor>
  void fields(Visitor& v) {
    v("weight", weight, "factor of this term", recipes::Range{0.0, 1e6});
  }
};

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == at)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names)
    text += ", " + name;
  return text;
}

Term plain(const std::string& divergence, const std::string& weighting, double weight) {
  return {divergence,
          weight,
          divergences().make_default(divergence),
          weightings().make_default(weighting)};
}

void add_shorthand(const std::string& name, const Section& own, std::vector<Term>& terms) {
  for (const std::string& part : split(name, '+')) {
    if (part == "tsld") {
      terms.push_back(plain("gt", "uniform", 1));
      terms.push_back(plain("soft_ce", "tsld", kTsldWeight));
      terms.back().name = "tsld";
    } else if (divergences().contains(part)) {
      terms.push_back(plain(part, "uniform", 1));
    } else {
      own.fail("name",
               "no loss is called '" + part + "'; expected tsld" + listed(divergences().names()) +
                   ", or some of these joined by '+', as in \"kl+gt\"");
    }
  }
}

Term read_term(const std::string& name, Section own) {
  Term term = plain(name, kDefaultWeighting, own.read<TermConfig>().weight);
  term.divergence =
      recipes::blame_on(own, "name", [&] { return divergences().build_named(name, own); });
  const std::string weighting = own.choose("weighting", kDefaultWeighting);
  term.weighting = weightings().build(own, "weighting", kDefaultWeighting);
  if (weighting != kDefaultWeighting)
    term.name = name == "soft_ce" ? weighting : name + "_" + weighting;
  return term;
}

void make_names_unique(std::vector<Term>& terms) {
  for (size_t i = 0; i < terms.size(); ++i) {
    const auto same = [&](const Term& other) { return other.name == terms[i].name; };
    const auto before = std::count_if(terms.begin(), terms.begin() + static_cast<int64_t>(i), same);
    if (before > 0)
      terms[i].name += "_" + std::to_string(before + 1);
  }
}

}  // namespace

recipes::Field loss_field() {
  return recipes::component_field(
      "loss",
      divergences(),
      kDefaultLoss,
      "one or several, joined by '+' or as a list; \"tsld\" is gt plus " +
          Section::to_text(kTsldWeight) + " times soft_ce weighted by tsld",
      {"tsld"});
}

std::vector<recipes::Field> term_fields() {
  std::vector<recipes::Field> fields = recipes::list_fields<TermConfig>();
  fields.insert(fields.begin(),
                recipes::component_field("name", divergences(), "", "what is summed over tokens"));
  fields.push_back(recipes::component_field(
      "weighting", weightings(), kDefaultWeighting, "how much each token counts"));
  return fields;
}

std::vector<Term> read_terms(Section kd) {
  std::vector<Term> terms;
  for (Section own : kd.tables("loss")) {
    const std::string name = own.selected();
    if (divergences().contains(name))
      terms.push_back(read_term(name, own));
    else
      add_shorthand(name, own, terms);
  }
  const bool preferences = kd.has("dpo");
  if (terms.empty() && kd.has("loss") && !preferences)
    kd.fail("loss", "expected at least one term, found none");
  if (terms.empty() && !preferences)
    terms.push_back(plain(kDefaultLoss, kDefaultWeighting, 1));
  make_names_unique(terms);
  return terms;
}

}  // namespace sterna::distill
