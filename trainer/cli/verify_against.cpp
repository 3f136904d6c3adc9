#include "trainer/cli/verify_against.h"

#include <ostream>

#include <nlohmann/json.hpp>

#include "recipes/blame.h"
#include "trainer/cli/checkpoint.h"
#include "trainer/export/certify.h"
#include "trainer/model/same_tokens.h"
#include "trainer/run/deliver.h"

namespace sterna::cli {

namespace {

constexpr size_t kShownFaults = 20;

/// The recipe of the run that `against` is or belongs to, where there is one, below what was typed.
recipes::Recipe recipe_of(const Invocation& typed, const std::filesystem::path& against) {
  recipes::Recipe base;
  for (const auto& folder : {against, against / ".." / ".."}) {
    if (!std::filesystem::exists(folder / "recipe.toml"))
      continue;
    base = recipes::Recipe::load(folder / "recipe.toml");
    break;
  }
  recipes::Recipe recipe = open_recipe(typed, std::move(base));
  recipes::ignore_other_tables(recipe, {"verify"});
  return recipe;
}

}  // namespace

int verify_against(const Invocation& typed, Streams streams) {
  const std::filesystem::path folder = typed.paths.front();
  const std::filesystem::path against = typed.text("against");
  recipes::Recipe recipe = recipe_of(typed, against);
  const auto wanted = recipe.section("verify").read<run::VerifyConfig>();
  recipe.reject_unknown();
  const model::CheckpointInfo trained = open_checkpoint(against, streams);
  const auto tokenizer = model::open_tokenizer(trained);
  const auto ids = recipes::at_its_key(
      recipe, [&] { return run::read_verify_ids(wanted, *tokenizer, trained.config); });
  const exporter::ExportSource source = exporter::open_source(trained);
  const exporter::Certificate certificate = exporter::certify(folder, source);
  const auto& wrong = certificate.mismatches;
  for (size_t i = 0; i < std::min(kShownFaults, wrong.size()); ++i)
    streams.out << wrong[i] << "\n";
  if (!wrong.empty()) {
    streams.out << wrong.size() << " differences: " << folder.string() << " is not what "
                << against.string() << " holds; no certificate written\n";
    return kAnswerIsNo;
  }
  const double kld = run::divergence(wanted, ids, open_checkpoint(folder, streams), trained);
  exporter::write_certificate(
      folder, certificate, kld < 0 ? nlohmann::json() : nlohmann::json(kld));
  streams.out
      << folder.string() << ": " << certificate.tensors << " tensors (" << certificate.with_codes
      << " with codes) are those of the checkpoint, bit for bit after the declared rounding; "
         "certificate.json written\n";
  if (kld >= 0)
    streams.out << "KL divergence from it on " << wanted.text.filename().string() << ": " << kld
                << " nats\n";
  return kDone;
}

}  // namespace sterna::cli
