#include "trainer/io/atomic_file.h"
#include "trainer/run/deliver.h"
#include "trainer/run/run.h"
#include "trainer/run/summary.h"

namespace sterna::run {

void finish(recipes::Recipe& recipe,
            const RunFolder& folder,
            const std::filesystem::path& checkpoint,
            Progress& progress) {
  progress.line("done: " + checkpoint.string());
  std::vector<SummaryRow> rows = read_summary(folder.path());
  if (recipe.section("export").has("format")) {
    const Delivery delivery = deliver(recipe, folder.path(), checkpoint);
    progress.line(delivery.text);
    if (!rows.empty())
      rows.back().disk_bytes = delivery.bytes;
  }
  if (rows.empty())
    return;
  io::write_atomically(folder.path() / "summary.txt", summary_text(rows));
  progress.line("\n" + summary_text(rows));
}

}  // namespace sterna::run
