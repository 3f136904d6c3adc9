#include "trainer/run/bits.h"

#include "trainer/eval/bits.h"
#include "trainer/io/atomic_file.h"
#include "trainer/run/run.h"
#include "trainer/run/signals.h"
#include "trainer/run/together.h"

namespace sterna::run {
namespace {

std::string measured(const Session& session, Progress& progress) {
  model::Decoder decoder = model::load_decoder(session.source, at::kFloat);
  dist::World& world = *session.world;
  eval::BitWork work;
  work.say = [&](const std::string& line) {
    progress.line(line);
    SignalWatch::check();
  };
  work.share = {world.rank(), world.size(), [&world](const std::function<std::string()>& measure) {
                  return told_together(world, measure);
                }};
  const eval::BitAssignment bits =
      eval::assign_bits(session.plan, decoder, session.bit_tokens, work);
  progress.line(eval::table_text(session.plan, bits));
  return eval::rules_text(session.plan, bits);
}

}  // namespace

void give_bits(recipes::Recipe& recipe, const Session& session, const BitsOf& of) {
  dist::World& world = *session.world;
  const std::filesystem::path file = of.folder.path() / eval::kBitsFile;
  const bool known = as_rank_0(world, [&] { return of.resuming && std::filesystem::exists(file); });
  if (!known) {
    if (of.resuming)
      on_rank_0(world, [&] { require_folder(recipe, of.folder, /*resuming=*/true); });
    const std::string rules = measured(session, of.progress);
    on_rank_0(world, [&] { io::write_atomically(file, rules); });
  }
  eval::add_rules(recipe, io::read_text(file), file.string());
  if (known)
    return;
  read_all_sections(recipe);  // it is kept as far as it was read
  on_rank_0(world, [&] { keep_recipe(recipe, of.folder); });
}

}  // namespace sterna::run
