#include "trainer/run/bits.h"

#include "trainer/eval/bits.h"
#include "trainer/io/atomic_file.h"
#include "trainer/run/run.h"
#include "trainer/run/signals.h"

namespace sterna::run {
namespace {

std::string measured(const Session& session, Progress& progress) {
  model::Decoder decoder = model::load_decoder(session.source, at::kFloat);
  const eval::BitAssignment bits =
      eval::assign_bits(session.plan, decoder, session.bit_tokens, [&](const std::string& line) {
        progress.line(line);
        SignalWatch::check();
      });
  progress.line(eval::table_text(session.plan, bits));
  return eval::rules_text(session.plan, bits);
}

}  // namespace

void give_bits(recipes::Recipe& recipe, const Session& session, const BitsOf& of) {
  const std::filesystem::path file = of.folder.path() / eval::kBitsFile;
  const bool known = of.resuming && std::filesystem::exists(file);
  if (!known) {
    require_folder(recipe, of.folder, of.resuming);
    keep_recipe(recipe, of.folder);
    io::write_atomically(file, measured(session, of.progress));
  }
  eval::add_rules(recipe, io::read_text(file), file.string());
  if (!known)
    keep_recipe(recipe, of.folder);
}

}  // namespace sterna::run
