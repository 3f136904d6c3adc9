#include "trainer/run/deliver.h"

#include <sstream>

#include <nlohmann/json.hpp>

#include "trainer/data/eval_text.h"
#include "trainer/eval/perplexity.h"
#include "trainer/export/certify.h"
#include "trainer/export/export.h"
#include "trainer/io/atomic_file.h"
#include "trainer/model/same_tokens.h"
#include "trainer/run/session.h"
#include "trainer/run/signals.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;

std::string first_of(const std::vector<std::string>& lines) {
  return lines.front() + (lines.size() > 1 ? " (and " + std::to_string(lines.size() - 1) + " more)"
                                           : std::string());
}

fs::path with(const fs::path& folder, const char* suffix) {
  return folder.string() + suffix;
}

/// Clears away what a killed run left beside its exports, and gives an export its name back that
/// was killed between losing it to its successor and that one's taking it.
void sweep(const fs::path& exports) {
  for (const std::string& format : exporter::formats().names()) {
    const fs::path folder = exports / format;
    if (fs::exists(with(folder, ".old")) && !fs::exists(folder))
      fs::rename(with(folder, ".old"), folder);
    std::vector<fs::path> left = {with(folder, ".old"), with(folder, ".new")};
    for (const auto& entry : fs::directory_iterator(exports))
      if (entry.path().filename().string().starts_with(format + ".new.tmp-"))
        left.push_back(entry.path());
    for (const fs::path& each : left)
      fs::remove_all(each);
  }
}

/// The earlier export of the run goes once its successor is in place.
void put_in_place(const fs::path& fresh, const fs::path& folder) {
  const fs::path old = with(folder, ".old");
  if (fs::exists(folder))
    fs::rename(folder, old);
  io::publish_folder(fresh, folder);
  fs::remove_all(old);
}

/// Writes the export and reads it back. The weights that it was made of are let go with this call.
exporter::Certificate prove(const exporter::Format& format,
                            const model::CheckpointInfo& trained,
                            const fs::path& fresh,
                            Delivery& delivery) {
  const exporter::ExportSource source = exporter::open_source(trained);
  SignalWatch::check();
  exporter::export_folder(source, format, fresh);
  SignalWatch::check();
  exporter::Certificate certificate = exporter::certify(fresh, source);
  if (!certificate.mismatches.empty())
    throw std::runtime_error(fresh.string() +
                             " is not what was trained: " + first_of(certificate.mismatches) +
                             "; is the disk failing? `sterna export` writes it again");
  delivery.text = std::to_string(certificate.tensors) + " tensors (" +
                  std::to_string(certificate.with_codes) +
                  " with codes) re-read and equal to the checkpoint bit for bit";
  return certificate;
}

eval::EvalOptions windows_of(const VerifyConfig& config) {
  eval::EvalOptions options;
  options.window = config.window;
  options.max_windows = config.max_windows;
  options.between = SignalWatch::check;
  return options;
}

}  // namespace

std::vector<int32_t> read_verify_ids(const VerifyConfig& config,
                                     const text::Tokenizer& tokenizer,
                                     const model::DecoderConfig& decoder) {
  if (config.text.empty())
    return {};
  data::EvalTextOptions text;
  text.text = {config.text};
  std::vector<int32_t> ids;
  try {
    ids = data::read_eval_ids(text, tokenizer);
    eval::require_windows(static_cast<int64_t>(ids.size()), windows_of(config), decoder);
  } catch (const recipes::UserError& error) {
    throw recipes::UserError(std::string("verify.text: ") + error.what());
  }
  return ids;
}

double divergence(const VerifyConfig& config,
                  const std::vector<int32_t>& ids,
                  const model::CheckpointInfo& checkpoint,
                  const model::CheckpointInfo& reference) {
  if (ids.empty())
    return -1;
  const at::NoGradGuard no_grad;
  const model::Decoder expected = model::load_decoder(reference, at::kFloat);
  const model::Decoder found = model::load_decoder(checkpoint, at::kFloat);
  return eval::evaluate(found, ids, windows_of(config), &expected).divergence->mean;
}

exporter::Prospect prospect_of(const recipes::Recipe& recipe, const Session& session) {
  std::ostringstream resolved;
  recipe.write(resolved);
  exporter::Prospect prospect = exporter::prospect_of(
      session.source.config, session.plan, model::act_recipe(resolved.str(), "recipe"));
  prospect.merged = !session.adapters.empty();
  return prospect;
}

Delivery deliver(recipes::Recipe& recipe, const fs::path& run_folder, const fs::path& checkpoint) {
  Delivery delivery;
  delivery.folder = run_folder / "export" / recipe.section("export").choose("format");
  const fs::path fresh = with(delivery.folder, ".new");
  fs::create_directories(fresh.parent_path());
  sweep(fresh.parent_path());
  SignalWatch::check();
  const auto format = exporter::formats().build(recipe.section("export"), "format");
  const model::CheckpointInfo trained = model::inspect(checkpoint);
  const exporter::Certificate certificate = prove(*format, trained, fresh, delivery);
  SignalWatch::check();
  const auto wanted = recipe.section("verify").read<VerifyConfig>();
  const auto tokenizer = model::open_tokenizer(trained);
  const auto ids = read_verify_ids(wanted, *tokenizer, trained.config);
  const double kld = divergence(wanted, ids, model::inspect(fresh), trained);
  exporter::write_certificate(fresh, certificate, kld < 0 ? nlohmann::json() : nlohmann::json(kld));
  put_in_place(fresh, delivery.folder);
  delivery.bytes = exporter::folder_bytes(delivery.folder);
  delivery.text = delivery.folder.string() + ": " + std::to_string(delivery.bytes / 1000) +
                  " kB, " + delivery.text;
  return delivery;
}

}  // namespace sterna::run
